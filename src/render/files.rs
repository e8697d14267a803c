//! A bundle as a folder that a person can install by hand, and as one stream of YAML.

use super::bundle::{Bundle, GeneratedSecret, Release};
use super::yaml::to_yaml;
use crate::object::Manifest;
use crate::plan::model::FIELD_MANAGER;
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
    let mut out = String::from(
        "# DriveMaster monitoring, to install by hand\n\n\
         Run these lines in this folder, in this order. They may be run again: what stands is brought up to date.\n\n\
         ## 1. Namespaces\n\n",
    );
    shell(&mut out, &[apply("01-namespaces")]);
    if !bundle.generated_secrets.is_empty() {
        out.push_str("## 2. Passwords\n\nMade once from random bytes, and kept when they are there already.\n\n");
        shell(&mut out, &bundle.generated_secrets.iter().map(secret_line).collect::<Vec<_>>());
    }
    if !bundle.objects.is_empty() {
        out.push_str("## 3. Rules and dashboards\n\n");
        shell(&mut out, &[apply("03-objects")]);
    }
    out.push_str("## 4. Releases\n\n");
    let lines = in_order(bundle).into_iter().map(|release| {
        format!(
            "helm upgrade --install {name} charts/{chart} --namespace {namespace} -f 02-values/{name}.yaml",
            name = release.name,
            chart = release.chart.name,
            namespace = release.namespace
        )
    });
    shell(&mut out, &lines.collect::<Vec<_>>());
    out.push_str("Then `drivemaster-mon verify` proves that it works.\n");
    out
}

fn shell(out: &mut String, lines: &[String]) {
    let _ = write!(out, "```sh\n{}\n```\n\n", lines.join("\n"));
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
