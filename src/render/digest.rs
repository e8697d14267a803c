//! Short digests that tell whether a release would change. They fit into a label value.

use super::bundle::Chart;
use crate::object::{CONTENT_DIGEST_ANNOTATION, Manifest};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Bytes of the SHA-256 that are kept: 128 bits, 32 hexadecimal digits; a label value ends at 63.
const KEPT: usize = 16;

/// The short digest of a chart: over the sorted paths and contents of its files.
pub fn chart_digest(chart: &Chart) -> String {
    let mut hash = Sha256::new();
    for (path, content) in &chart.files {
        // With their lengths, so that no other split into files gives the same bytes.
        for part in [path.as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    short(hash)
}

/// The short digest of values: over their JSON with sorted keys.
pub fn values_digest(values: &Value) -> String {
    let mut text = String::new();
    canonical(values, &mut text);
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    short(hash)
}

/// The short digest of the versions of a cluster that a release is rendered for: over the sorted set of them.
pub fn api_digest(versions: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    for version in versions {
        hash.update(version.as_bytes());
        hash.update(b"\n");
    }
    short(hash)
}

/// The whole SHA-256 of a document, with its name in front: over its JSON with sorted keys.
pub fn document_digest(document: &Value) -> String {
    let mut text = String::new();
    canonical(document, &mut text);
    Sha256::digest(text.as_bytes()).iter().fold("sha256:".to_owned(), |mut digest, byte| {
        let _ = write!(digest, "{byte:02x}");
        digest
    })
}

/// The object with the digest of its content as an annotation.
pub fn with_digest(mut manifest: Manifest) -> Manifest {
    let digest = document_digest(&manifest.0);
    manifest.0["metadata"]["annotations"][CONTENT_DIGEST_ANNOTATION] = digest.into();
    manifest
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in entries {
                let _ = write!(out, "{}:", Value::String(key.clone()));
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(KEPT).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn chart(files: &[(&str, &str)]) -> Chart {
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Chart { name: "a".to_owned(), version: "1".to_owned(), app_version: "1".to_owned(), files }
    }

    #[test]
    fn a_digest_is_a_label_value() {
        let digest = values_digest(&json!({ "a": 1 }));
        assert_eq!(digest.len(), 32);
        assert!(digest.chars().all(|character| character.is_ascii_hexdigit()));
    }

    #[test]
    fn equal_content_has_equal_digests_and_other_content_has_others() {
        let values = |text: &str| values_digest(&serde_json::from_str(text).unwrap_or_default());
        assert_eq!(values(r#"{"a":1,"b":{"c":2,"d":3}}"#), values(r#"{"b":{"d":3,"c":2},"a":1}"#));
        for (left, right) in [
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":null}"#, "{}"),
            (r#"["a,b"]"#, r#"["a","b"]"#),
        ] {
            assert_ne!(values(left), values(right), "{left} {right}");
        }
        assert_eq!(chart_digest(&chart(&[("a", "1"), ("b", "2")])), chart_digest(&chart(&[("b", "2"), ("a", "1")])));
        assert_ne!(chart_digest(&chart(&[("a", "1b2")])), chart_digest(&chart(&[("a", "1"), ("b", "2")])));
        assert_ne!(chart_digest(&chart(&[("a", "1")])), chart_digest(&chart(&[("a", "2")])));
    }

    #[test]
    fn the_digest_of_versions_follows_their_set() {
        let digest = |versions: &[&str]| api_digest(&versions.iter().map(|version| (*version).to_owned()).collect());
        assert_eq!(digest(&["v1", "apps/v1"]), digest(&["apps/v1", "v1"]));
        assert_ne!(digest(&["v1", "apps/v1"]), digest(&["v1"]));
    }
}
