//! A bundle as a folder that a person can install by hand, and as one stream of YAML.

use super::bundle::{Bundle, GeneratedSecret, Release, RequiredSecret, WebhookCertificate};
use super::yaml::to_yaml;
use crate::chart::lock::{Lock, LockedChart};
use crate::object::{FIELD_MANAGER, Manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Folders of the definitions, of our own objects, and of those that come after their releases.
const CRDS: &str = "00-crds";
const OBJECTS: &str = "03-objects";
const LATE_OBJECTS: &str = "04-late-objects";

/// Every file of the folder by its path in it, with the charts.
pub fn files(bundle: &Bundle) -> BTreeMap<String, Vec<u8>> {
    files_with(bundle, None)
}

/// The same; a chart that `published` has is not copied: helm gets it from where it is published.
pub fn files_with(bundle: &Bundle, published: Option<&Lock>) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for crd in &bundle.crds {
        files.insert(format!("{CRDS}/{}.yaml", crd.reference().name), document(crd));
    }
    for namespace in &bundle.namespaces {
        files.insert(format!("01-namespaces/{}.yaml", namespace.reference().name), document(namespace));
    }
    for release in &bundle.releases {
        files.insert(format!("02-values/{}.yaml", release.name), to_yaml(&release.values).into_bytes());
        if locked(release, published).is_some() {
            continue;
        }
        for (path, content) in &release.chart.files {
            files.insert(format!("charts/{}/{path}", release.chart.name), content.clone());
        }
    }
    for (path, object) in object_paths(OBJECTS, bundle.objects.iter()) {
        files.insert(path, document(object));
    }
    for (path, object) in object_paths(LATE_OBJECTS, bundle.late_objects.iter().map(|late| &late.manifest)) {
        files.insert(path, document(object));
    }
    files.insert("README.md".to_owned(), readme(bundle, published).into_bytes());
    files
}

/// The bundle as one stream of YAML documents that kubectl takes: definitions, namespaces and objects as
/// they are, the values of each release in comments, because a release is made by helm alone.
pub fn stream(bundle: &Bundle) -> String {
    stream_with(bundle, None)
}

/// The same; the comments say where `published` has the chart.
pub fn stream_with(bundle: &Bundle, published: Option<&Lock>) -> String {
    let mut out = String::new();
    for manifest in bundle.crds.iter().chain(&bundle.namespaces).chain(&bundle.objects) {
        let _ = write!(out, "---\n{}", to_yaml(&manifest.0));
    }
    for release in &bundle.releases {
        let chart = &release.chart;
        let place = locked(release, published).map(|locked| format!(" of {}", locked.repository)).unwrap_or_default();
        let _ = writeln!(
            out,
            "---\n# Values of release {} (chart {} {}{place}) in namespace {}:",
            release.name, chart.name, chart.version, release.namespace
        );
        for line in to_yaml(&release.values).lines() {
            let _ = writeln!(out, "{}", format!("#   {line}").trim_end());
        }
    }
    for late in &bundle.late_objects {
        let _ = write!(out, "---\n# Once ready: {}\n{}", late.after.join(", "), to_yaml(&late.manifest.0));
    }
    out
}

fn document(manifest: &Manifest) -> Vec<u8> {
    to_yaml(&manifest.0).into_bytes()
}

/// Where the chart of `release` is published, in that very version.
fn locked<'l>(release: &Release, published: Option<&'l Lock>) -> Option<&'l LockedChart> {
    published?.get(&release.chart.name).filter(|locked| locked.version == release.chart.version)
}

/// Each object with its path in `folder`; the namespace stands in it where two would have the same.
fn object_paths<'a>(folder: &str, objects: impl Iterator<Item = &'a Manifest> + Clone) -> Vec<(String, &'a Manifest)> {
    let plain = |object: &Manifest| {
        let reference = object.reference();
        format!("{folder}/{}-{}.yaml", reference.kind.to_lowercase(), reference.name)
    };
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for object in objects.clone() {
        *count.entry(plain(object)).or_default() += 1;
    }
    let path = |object: &Manifest| {
        let (path, reference) = (plain(object), object.reference());
        match (count.get(&path), reference.namespace) {
            (Some(2..), Some(namespace)) => {
                format!("{folder}/{}-{namespace}-{}.yaml", reference.kind.to_lowercase(), reference.name)
            }
            _ => path,
        }
    };
    objects.map(|object| (path(object), object)).collect()
}

/// The namespaces and our own objects, early and late ones, each with its path in the folder.
pub fn object_files(bundle: &Bundle) -> Vec<(String, &Manifest)> {
    let namespaces = bundle.namespaces.iter().map(|one| (format!("01-namespaces/{}.yaml", one.reference().name), one));
    let late = object_paths(LATE_OBJECTS, bundle.late_objects.iter().map(|late| &late.manifest));
    namespaces.chain(object_paths(OBJECTS, bundle.objects.iter())).chain(late).collect()
}

/// The releases, each behind those it needs; otherwise as the bundle has them.
fn in_order(bundle: &Bundle) -> Vec<&Release> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut left: Vec<&Release> = bundle.releases.iter().collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_free = |release: &&Release| {
            let waits = |need: &String| !done.contains(need.as_str()) && left.iter().any(|other| other.name == *need);
            !release.needs.iter().any(waits)
        };
        // A circle cannot be ordered: then the order of the bundle holds.
        let release = left.remove(left.iter().position(is_free).unwrap_or_default());
        done.insert(&release.name);
        ordered.push(release);
    }
    ordered
}

fn readme(bundle: &Bundle, published: Option<&Lock>) -> String {
    let secrets: Vec<String> = bundle.generated_secrets.iter().map(secret_line).collect();
    let objects = if bundle.objects.is_empty() { Vec::new() } else { vec![apply(OBJECTS)] };
    let definitions = if bundle.crds.is_empty() {
        Vec::new()
    } else {
        vec![
            format!("{} --force-conflicts", apply(CRDS)),
            format!("kubectl wait --for=condition=Established --timeout=60s -f {CRDS}"),
        ]
    };
    let releases = in_order(bundle).into_iter().map(|release| release_line(release, locked(release, published)));
    let certificates: Vec<String> = bundle.webhook_certificates.iter().map(certificate_line).collect();
    let authorities: Vec<String> = bundle.webhook_certificates.iter().flat_map(authority_lines).collect();
    let sections = [
        ("Definitions", "", definitions),
        ("Namespaces", "", vec![apply("01-namespaces")]),
        ("Passwords", "Made once from random bytes, and kept when they are there already.\n\n", secrets),
        (
            "Certificates of webhooks",
            "Made once, for ten years, and kept when they are there already.\n\n",
            certificates,
        ),
        ("Rules and dashboards", "", objects),
        ("Releases", "", releases.collect()),
        ("What the API server trusts", "The authority of each webhook.\n\n", authorities),
        ("Objects after their releases", "", late_lines(bundle)),
    ];
    let mut out = String::from(
        "# DriveMaster monitoring, to install by hand\n\n\
         Run these lines in this folder, in this order. They may be run again: what stands is brought up to date.\n",
    );
    out.push_str(&required(&bundle.required_secrets));
    let sections = sections.iter().filter(|(_, _, lines)| !lines.is_empty());
    for (number, (title, text, lines)) in sections.enumerate() {
        let _ = write!(out, "\n## {}. {title}\n\n{text}```sh\n{}\n```\n", number + 1, lines.join("\n"));
    }
    out.push_str("\nThen `drivemaster-mon verify` proves that it works.\n");
    out
}

/// The Secrets that must be there before anything of this, each key with what it holds.
fn required(secrets: &[RequiredSecret]) -> String {
    if secrets.is_empty() {
        return String::new();
    }
    let mut out =
        String::from("\n## Secrets of your own\n\nThe stack reads these; make them after the namespaces.\n\n");
    for secret in secrets {
        for key in &secret.keys {
            let RequiredSecret { namespace, name, .. } = secret;
            let _ = writeln!(out, "- `{name}` in `{namespace}`, key `{}`: {} ({})", key.key, key.meaning, key.used_by);
        }
    }
    out
}

fn release_line(release: &Release, locked: Option<&LockedChart>) -> String {
    let Release { name, namespace, chart, .. } = release;
    let place = match locked {
        None => format!("charts/{}", chart.name),
        Some(locked) if locked.is_oci() => {
            let plain = if locked.plain_http { " --plain-http" } else { "" };
            format!("{} --version {}{plain} --skip-crds", locked.oci_reference(), locked.version)
        }
        Some(locked) => {
            format!("{} --repo {} --version {} --skip-crds", locked.name, locked.repository, locked.version)
        }
    };
    format!("helm upgrade --install {name} {place} --namespace {namespace} -f 02-values/{name}.yaml")
}

/// What waits for the releases, then applies what comes after them.
fn late_lines(bundle: &Bundle) -> Vec<String> {
    if bundle.late_objects.is_empty() {
        return Vec::new();
    }
    let after: BTreeSet<&String> = bundle.late_objects.iter().flat_map(|late| &late.after).collect();
    let namespaces: BTreeSet<&String> = bundle
        .releases
        .iter()
        .filter(|release| after.contains(&release.name))
        .map(|release| &release.namespace)
        .collect();
    let wait = |namespace| {
        format!("kubectl wait --for=condition=Available deployment --all --namespace {namespace} --timeout=300s")
    };
    namespaces.into_iter().map(wait).chain([apply(LATE_OBJECTS)]).collect()
}

fn apply(folder: &str) -> String {
    format!("kubectl apply --server-side --field-manager={FIELD_MANAGER} -f {folder}")
}

/// One line that makes the certificate of a webhook, its own authority, when it is not there.
fn certificate_line(certificate: &WebhookCertificate) -> String {
    let WebhookCertificate { namespace, secret, service, .. } = certificate;
    let names: Vec<String> = certificate.dns_names().iter().map(|name| format!("DNS:{name}")).collect();
    format!(
        "kubectl get secret {secret} --namespace {namespace} > /dev/null 2>&1 || (made=$(mktemp -d) && \\\n  \
         openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN={service} -addext subjectAltName={} \\\n    \
         -keyout \"$made/key\" -out \"$made/cert\" && \\\n  \
         kubectl create secret generic {secret} --namespace {namespace} --from-file=ca=\"$made/cert\" \\\n    \
         --from-file=cert=\"$made/cert\" --from-file=key=\"$made/key\"; rm -r \"$made\")",
        names.join(",")
    )
}

/// One line for each webhook configuration that tells it the authority.
fn authority_lines(certificate: &WebhookCertificate) -> Vec<String> {
    let WebhookCertificate { namespace, secret, configurations, .. } = certificate;
    let line = |object: String| {
        format!(
            "for number in $(kubectl get {object} -o go-template='{{{{range $i, $_ := .webhooks}}}}{{{{$i}}}} {{{{end}}}}'); do \\\n  \
             kubectl patch {object} --type=json -p \"[{{\\\"op\\\": \\\"add\\\", \\\"path\\\": \\\"/webhooks/$number/clientConfig/caBundle\\\", \\\n    \
             \\\"value\\\": \\\"$(kubectl get secret {secret} --namespace {namespace} -o jsonpath='{{.data.ca}}')\\\"}}]\"; done"
        )
    };
    configurations.iter().map(|reference| line(reference.kubectl_name())).collect()
}

/// One line that makes the Secret when it is not there. `printf` belongs to the shell, so the
/// password is in no file and in the arguments of no process.
fn secret_line(secret: &GeneratedSecret) -> String {
    let GeneratedSecret { namespace, name, fixed, generated } = secret;
    let mut lines: Vec<String> = fixed.iter().map(|(key, value)| format!("{key}={value}\\n")).collect();
    lines.extend(generated.iter().map(|key| format!("{key}=%s\\n")));
    let passwords = " \"$(head -c 24 /dev/urandom | base64)\"".repeat(generated.len());
    format!(
        "kubectl get secret {name} --namespace {namespace} > /dev/null 2>&1 || \\\n  \
         printf '{}'{passwords} | \\\n  \
         kubectl create secret generic {name} --namespace {namespace} --from-env-file=/dev/stdin",
        lines.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::bundle::{Chart, Expected, LateObject, RequiredKey, SecretForm};
    use serde_json::json;

    fn release(name: &str, needs: &[&str]) -> Release {
        Release {
            name: name.to_owned(),
            namespace: "m".to_owned(),
            chart: Chart {
                name: format!("{name}-chart"),
                version: "0.1.0".to_owned(),
                app_version: "1".to_owned(),
                files: BTreeMap::from([("Chart.yaml".to_owned(), b"x".to_vec())]),
            },
            values: json!({ "a": "yes" }),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        }
    }

    fn bundle(releases: Vec<Release>) -> Bundle {
        let object = |kind: &str, name: &str| {
            Manifest(json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, "data": {} }))
        };
        Bundle {
            namespaces: vec![object("Namespace", "m")],
            generated_secrets: vec![GeneratedSecret {
                namespace: "m".to_owned(),
                name: "s".to_owned(),
                fixed: BTreeMap::from([("user".to_owned(), "admin".to_owned())]),
                generated: vec!["one".to_owned(), "two".to_owned()],
            }],
            objects: vec![object("ConfigMap", "rules")],
            releases,
            expected: Expected::default(),
            ..Bundle::default()
        }
    }

    #[test]
    fn the_folder_holds_everything_in_its_place() {
        let files = files(&bundle(vec![release("a", &[])]));
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "01-namespaces/m.yaml",
                "02-values/a.yaml",
                "03-objects/configmap-rules.yaml",
                "README.md",
                "charts/a-chart/Chart.yaml"
            ]
        );
        assert_eq!(files["02-values/a.yaml"], b"a: \"yes\"\n");
    }

    #[test]
    fn the_readme_installs_a_release_behind_what_it_needs() {
        let order = |releases| {
            let readme = readme(&bundle(releases), None);
            let lines = readme.lines().filter_map(|line| line.strip_prefix("helm upgrade --install "));
            lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(
            order(vec![release("a", &["b", "absent"]), release("b", &["c"]), release("c", &[])]),
            ["c", "b", "a"]
        );
        assert_eq!(order(vec![release("a", &[]), release("b", &[])]), ["a", "b"]);
        assert_eq!(order(vec![release("a", &["b"]), release("b", &["a"])]), ["a", "b"]);
    }

    #[test]
    fn every_generated_key_gets_a_password_of_its_own_that_stands_nowhere() {
        let line = secret_line(&bundle(Vec::new()).generated_secrets[0]);
        assert!(line.contains(r"printf 'user=admin\none=%s\ntwo=%s\n'"), "{line}");
        assert_eq!(line.matches("/dev/urandom").count(), 2);
        assert!(!line.contains("--from-literal"));
    }

    #[test]
    fn the_stream_has_documents_for_objects_and_comments_for_values() {
        let expected = "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: m\ndata: {}\n\
            ---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: rules\ndata: {}\n\
            ---\n# Values of release a (chart a-chart 0.1.0) in namespace m:\n#   a: \"yes\"\n";
        assert_eq!(stream(&bundle(vec![release("a", &[])])), expected);
    }

    fn production() -> (Bundle, Lock) {
        let mut bundle = bundle(vec![release("a", &[]), release("b", &[])]);
        let named = |kind: &str, namespace: &str| {
            Manifest(json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "x", "namespace": namespace } }))
        };
        bundle.crds = vec![named("CustomResourceDefinition", "")];
        bundle.objects = vec![named("NetworkPolicy", "one"), named("NetworkPolicy", "two"), named("ConfigMap", "one")];
        bundle.late_objects = vec![LateObject { manifest: named("Schedule", "one"), after: vec!["a".to_owned()] }];
        let key = RequiredKey {
            key: "password".to_owned(),
            meaning: "the password of the mail server".to_owned(),
            form: SecretForm::Line,
            used_by: "alertmanager".to_owned(),
        };
        bundle.required_secrets =
            vec![RequiredSecret { namespace: "m".to_owned(), name: "mail".to_owned(), keys: vec![key] }];
        let text = "charts:\n- {name: a-chart, repository: https://x.example, version: 0.1.0, appVersion: '1'}\n\
                    - {name: b-chart, repository: oci://x.example/y, version: 0.1.0, appVersion: '1'}\n";
        (bundle, Lock::parse("x", text).unwrap())
    }

    #[test]
    fn published_charts_are_named_and_not_copied() {
        let (bundle, lock) = production();
        let files = files_with(&bundle, Some(&lock));
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "00-crds/x.yaml",
                "01-namespaces/m.yaml",
                "02-values/a.yaml",
                "02-values/b.yaml",
                "03-objects/configmap-x.yaml",
                "03-objects/networkpolicy-one-x.yaml",
                "03-objects/networkpolicy-two-x.yaml",
                "04-late-objects/schedule-x.yaml",
                "README.md",
            ]
        );
        let readme = String::from_utf8_lossy(&files["README.md"]);
        let in_order = [
            "- `mail` in `m`, key `password`: the password of the mail server (alertmanager)",
            "kubectl apply --server-side --field-manager=drivemaster-mon -f 00-crds --force-conflicts\n\
             kubectl wait --for=condition=Established --timeout=60s -f 00-crds",
            "-f 03-objects",
            "helm upgrade --install a a-chart --repo https://x.example --version 0.1.0 --skip-crds --namespace m",
            "helm upgrade --install b oci://x.example/y/b-chart --version 0.1.0 --skip-crds --namespace m",
            "kubectl wait --for=condition=Available deployment --all --namespace m --timeout=300s",
            "-f 04-late-objects",
        ];
        let places: Vec<usize> = in_order
            .iter()
            .map(|line| readme.find(line).unwrap_or_else(|| panic!("no `{line}` in\n{readme}")))
            .collect();
        assert!(places.is_sorted(), "{readme}");
        // Another version is published than was rendered.
        let other = Lock::parse("x", &lock.to_yaml().unwrap().replace("0.1.0", "0.2.0")).unwrap();
        assert!(files_with(&bundle, Some(&other)).contains_key("charts/a-chart/Chart.yaml"));
    }

    #[test]
    fn the_stream_begins_with_definitions_and_ends_with_late_objects() {
        let (bundle, lock) = production();
        let text = stream_with(&bundle, Some(&lock));
        assert!(text.starts_with("---\napiVersion: v1\nkind: CustomResourceDefinition\n"), "{text}");
        assert!(text.contains("(chart a-chart 0.1.0 of https://x.example) in namespace m:"), "{text}");
        let late = text.find("---\n# Once ready: a\napiVersion: v1\nkind: Schedule\n").unwrap();
        assert!(late > text.find("# Values of release b").unwrap());
    }
}
