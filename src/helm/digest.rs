//! Short digests of a release's chart and values, as they stand in the labels of its release Secret.

use crate::render::bundle::Chart;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Length of a short digest in hexadecimal digits. A label's value ends at 63 characters, so the
/// 64 digits of a whole SHA-256 do not fit.
pub const SHORT_DIGEST_LENGTH: usize = 32;

/// The first [`SHORT_DIGEST_LENGTH`] hexadecimal digits of the SHA-256 of `parts`.
///
/// Each part goes in with its length first, so that moving a byte from one to the next changes the
/// digest.
pub fn short_digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut text = String::new();
    for byte in hasher.finalize().iter().take(SHORT_DIGEST_LENGTH / 2) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Short digest of a chart: its name, version and every file.
pub fn chart_digest(chart: &Chart) -> String {
    let head = [chart.name.as_bytes(), chart.version.as_bytes()];
    let files = chart.files.iter().flat_map(|(path, content)| [path.as_bytes(), content.as_slice()]);
    short_digest(head.into_iter().chain(files))
}

/// Short digest of a release's values; the order of keys does not count.
pub fn values_digest(values: &Value) -> String {
    // `serde_json` keeps objects in a sorted map, so equal values have equal text.
    short_digest([values.to_string().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn chart(path: &str, content: &str) -> Chart {
        Chart {
            name: "tiny".to_owned(),
            version: "0.1.0".to_owned(),
            app_version: "1".to_owned(),
            files: BTreeMap::from([(path.to_owned(), content.as_bytes().to_vec())]),
        }
    }

    #[test]
    fn a_digest_fits_a_label_and_depends_on_every_byte() {
        let digest = chart_digest(&chart("templates/a.yaml", "a"));
        assert_eq!(digest.len(), SHORT_DIGEST_LENGTH);
        assert_ne!(digest, chart_digest(&chart("templates/a.yaml", "b")));
        assert_ne!(digest, chart_digest(&chart("templates/b.yaml", "a")));
        assert_ne!(chart_digest(&chart("ab", "c")), chart_digest(&chart("a", "bc")));
    }

    #[test]
    fn the_order_of_keys_in_values_does_not_count() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(values_digest(&one), values_digest(&other));
        assert_ne!(values_digest(&one), values_digest(&json!({"a": 1})));
    }
}
