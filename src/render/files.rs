//! A bundle as a folder that a person can install by hand, and as one stream of YAML.

use super::bundle::{Bundle, GeneratedSecret, Release};
use super::yaml::to_yaml;
use crate::object::{FIELD_MANAGER, Manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Every file of the folder by its path in it.
pub fn files(bundle: &Bundle) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for namespace in &bundle.namespaces {
        files.insert(format!("01-namespaces/{}.yaml", namespace.reference().name), document(namespace));
    }
    for release in &bundle.releases {
        files.insert(format!("02-values/{}.yaml", release.name), to_yaml(&release.values).into_bytes());
        for (path, content) in &release.chart.files {
            files.insert(format!("charts/{}/{path}", release.chart.name), content.clone());
        }
    }
    for object in &bundle.objects {
        files.insert(object_path(object), document(object));
    }
    files.insert("README.md".to_owned(), readme(bundle).into_bytes());
    files
}

/// The bundle as one stream of YAML documents that kubectl takes: namespaces and objects as they
/// are, the values of each release in comments, because a release is made by helm alone.
pub fn stream(bundle: &Bundle) -> String {
    let mut out = String::new();
    for manifest in bundle.namespaces.iter().chain(&bundle.objects) {
        let _ = write!(out, "---\n{}", to_yaml(&manifest.0));
    }
    for release in &bundle.releases {
        let chart = &release.chart;
        let _ = writeln!(
            out,
            "---\n# Values of release {} (chart {} {}) in namespace {}:",
            release.name, chart.name, chart.version, release.namespace
        );
        for line in to_yaml(&release.values).lines() {
            let _ = writeln!(out, "{}", format!("#   {line}").trim_end());
        }
    }
    out
}

fn document(manifest: &Manifest) -> Vec<u8> {
    to_yaml(&manifest.0).into_bytes()
}

fn object_path(object: &Manifest) -> String {
    let reference = object.reference();
    format!("03-objects/{}-{}.yaml", reference.kind.to_lowercase(), reference.name)
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

fn readme(bundle: &Bundle) -> String {
    let secrets: Vec<String> = bundle.generated_secrets.iter().map(secret_line).collect();
    let objects = if bundle.objects.is_empty() { Vec::new() } else { vec![apply("03-objects")] };
    let releases = in_order(bundle).into_iter().map(|release| {
        format!(
            "helm upgrade --install {name} charts/{chart} --namespace {namespace} -f 02-values/{name}.yaml",
            name = release.name,
            chart = release.chart.name,
            namespace = release.namespace
        )
    });
    let sections = [
        ("Namespaces", "", vec![apply("01-namespaces")]),
        ("Passwords", "Made once from random bytes, and kept when they are there already.\n\n", secrets),
        ("Rules and dashboards", "", objects),
        ("Releases", "", releases.collect()),
    ];
    let mut out = String::from(
        "# DriveMaster monitoring, to install by hand\n\n\
         Run these lines in this folder, in this order. They may be run again: what stands is brought up to date.\n",
    );
    let sections = sections.iter().filter(|(_, _, lines)| !lines.is_empty());
    for (number, (title, text, lines)) in sections.enumerate() {
        let _ = write!(out, "\n## {}. {title}\n\n{text}```sh\n{}\n```\n", number + 1, lines.join("\n"));
    }
    out.push_str("\nThen `drivemaster-mon verify` proves that it works.\n");
    out
}

fn apply(folder: &str) -> String {
    format!("kubectl apply --server-side --field-manager={FIELD_MANAGER} -f {folder}")
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
    use crate::render::bundle::{Chart, Expected};
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
            let readme = readme(&bundle(releases));
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
}
