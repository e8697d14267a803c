//! What Helm keeps of a release in its Secret, understood. Pure.

use crate::helm::parse::manifest;
use crate::plan::StoredRelease;
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;

/// How a gzip stream begins; Helm 2 kept its releases without.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
/// The most that a release may be unpacked: a Secret holds a megabyte, and text shrinks to a tenth.
const LIMIT: u64 = 64 << 20;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    chart: Chart,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    manifest: String,
}

#[derive(Default, Deserialize)]
struct Chart {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    version: String,
    #[serde(default)]
    app_version: String,
}

/// The release of `namespace` under the key `release` of its Secret: base64 of gzip of JSON. Objects that
/// name no namespace are in that of the release.
///
/// # Errors
/// When it is none of that; the error holds nothing of the content.
pub fn decode(content: &[u8], namespace: &str) -> Result<StoredRelease> {
    let bytes = BASE64_STANDARD.decode(content).ok().context("it is no base64")?;
    let mut text = Vec::new();
    if bytes.starts_with(&GZIP) {
        GzDecoder::new(bytes.as_slice()).take(LIMIT).read_to_end(&mut text).context("it cannot be unpacked")?;
    } else {
        text = bytes;
    }
    let document: Document = serde_json::from_slice(&text).ok().context("it is no release of Helm")?;
    let mut objects = manifest(&document.manifest).ok().context("its manifest is no YAML")?;
    objects.iter_mut().for_each(|object| object.place(namespace));
    let Metadata { version, app_version } = document.chart.metadata;
    Ok(StoredRelease { chart_version: version, app_version, values: document.config, manifest: objects })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use std::io::Write;

    fn packed(document: &Value) -> String {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(document.to_string().as_bytes()).unwrap();
        BASE64_STANDARD.encode(gzip.finish().unwrap())
    }

    #[test]
    fn a_release_comes_out_with_its_objects_in_their_place() {
        let document = json!({"name": "loki", "version": 3, "config": {"password": "s3cret"},
            "chart": {"metadata": {"name": "loki", "version": "1.2.3", "appVersion": "3.7"}, "templates": [{"data": "eA=="}]},
            "manifest": "---\n# Source: a\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n\
                apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: b}\n"});
        let plain = BASE64_STANDARD.encode(document.to_string());
        for text in [packed(&document), plain] {
            let stored = decode(text.as_bytes(), "m").unwrap();
            let names: Vec<String> = stored.manifest.iter().map(|object| object.reference().to_string()).collect();
            assert_eq!(names, ["ConfigMap m/a", "ClusterRole b"]);
            assert_eq!((stored.chart_version.as_str(), stored.app_version.as_str()), ("1.2.3", "3.7"));
            assert_eq!(stored.values, document["config"]);
            assert!(!format!("{stored:?}").contains("s3cret"));
        }
    }

    #[test]
    fn what_is_no_release_is_refused_without_its_content() {
        let cut = packed(&json!({"manifest": "s3cret"}));
        let bad_manifest = packed(&json!({"manifest": "s3cret: ["}));
        for (text, told) in [
            ("s3cret!", "it is no base64"),
            (&BASE64_STANDARD.encode("s3cret"), "it is no release of Helm"),
            (&cut[..cut.len() / 8 * 4], "it cannot be unpacked"),
            (&bad_manifest, "its manifest is no YAML"),
        ] {
            let error = decode(text.as_bytes(), "m").unwrap_err();
            assert_eq!(error.to_string(), told);
            assert!(!format!("{error:#}").contains("s3cret"));
        }
    }
}
