//! Profile `production` on a sandbox: its options, its secrets, and its charts in other versions.

use super::Answer;
use super::sandbox::Sandbox;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

/// Every key that the configuration needs, each with a value that is found nowhere else.
pub const SECRETS: &[(&str, &str)] = &[
    ("alertmanager-credentials/slack-webhook-url", "https://hooks.slack.example.com/planted-pq1"),
    ("alertmanager-credentials/smtp-password", "planted-pq2"),
    ("alertmanager-credentials/pagerduty-routing-key", "plantedpq3plantedpq3plantedpq3pl"),
    ("postgres-exporter-dsn/dsn", "postgresql://exporter:planted-pq4@db.example.com:5432/postgres"),
    ("redis-exporter-password/password", "planted-pq5"),
    ("kafka-exporter-sasl/username", "planted-pq6"),
    ("kafka-exporter-sasl/password", "planted-pq7"),
    ("elasticsearch-exporter-credentials/username", "planted-pq8"),
    ("elasticsearch-exporter-credentials/password", "planted-pq9"),
];

/// The verb on profile `production`. Nobody issues certificates here, so the ingresses go without.
pub fn production<'a>(verb: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    [verb, &["--profile", "production", "--set", "ingress.tls=false"], options].concat()
}

/// Stores every secret, through standard input.
pub fn store_secrets(sandbox: &Sandbox, charts: &str) {
    for (name, value) in SECRETS {
        let mut child = sandbox
            .command(&production(&["secrets", "set", name], &["--charts", charts]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        Answer::from(child.wait_with_output().unwrap()).exits(0);
    }
}

/// The chart archive at `path` of version `from` as one of version `to`, each other file as `edit` makes it.
pub fn archive_of_version(path: &Path, from: &str, to: &str, edit: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut source = tar::Archive::new(GzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut made = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in source.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        content = if name.ends_with("/Chart.yaml") && name.matches('/').count() == 1 {
            let chart = String::from_utf8(content).unwrap();
            chart.replace(&format!("version: {from}"), &format!("version: {to}")).into_bytes()
        } else {
            edit(&name, content)
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        made.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    made.into_inner().unwrap().finish().unwrap()
}
