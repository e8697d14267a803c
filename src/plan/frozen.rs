//! A plan in a file: made now, carried out later, exactly or not at all. Pure.

use super::moved::Outline;
use crate::chart::lock::Lock;
use crate::error::{Failure, Kind};
use crate::render::Bundle;
use crate::render::digest::document_digest;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The form of the file.
const SCHEMA: &str = "drivemaster-mon/frozen-plan/v1";

/// Everything that a plan needs to be carried out elsewhere, with the same program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frozen {
    /// Version of the program that made it.
    pub program: String,
    /// The cluster it is for.
    pub cluster: ClusterIdentity,
    /// The resolved configuration.
    pub configuration: Value,
    /// What is to stand; its charts come without their files.
    pub bundle: Bundle,
    /// Where its charts were published, for the record of the deploy.
    pub lock: Lock,
    /// The releases that it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_to: Option<BTreeSet<String>>,
    /// The steps as they were shown.
    pub steps: Vec<Outline>,
}

/// A cluster, however it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// Name of the context it was reached by, for people.
    pub context: String,
    /// UID of the namespace `kube-system`, which lives as long as the cluster.
    pub uid: String,
}

/// The files of charts: by release, then by path, in base64.
type Files = BTreeMap<String, BTreeMap<String, String>>;

impl Frozen {
    /// The file, and the digest of what it holds.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn encode(&self) -> Result<(String, String)> {
        let encoded = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, String> {
            files.iter().map(|(path, content)| (path.clone(), STANDARD.encode(content))).collect()
        };
        let releases = self.bundle.releases.iter();
        let files: Files = releases.map(|release| (release.name.clone(), encoded(&release.chart.files))).collect();
        let content = json!({ "plan": self, "files": files });
        let digest = document_digest(&content);
        let text = format!("{:#}\n", json!({ "schema": SCHEMA, "digest": digest, "content": content }));
        Ok((text, digest))
    }

    /// What `encode` wrote as the file `name`, and its digest.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is no such file, or not the one that was written; [`Kind::Refused`] when another version
    /// of this program wrote it.
    pub fn decode(name: &str, text: &str) -> Result<(Frozen, String)> {
        let refuse = |message: &str| {
            Failure::new(Kind::Usage, format!("`{name}` {message}")).hint("drivemaster-mon plan --out FILE makes one")
        };
        let document: Value =
            serde_json::from_str(text).map_err(|error| refuse("is no frozen plan").caused_by(error))?;
        if document["schema"] != SCHEMA {
            return Err(refuse("is no frozen plan of this program").into());
        }
        let content = &document["content"];
        let digest = document_digest(content);
        if document["digest"] != digest.as_str() {
            return Err(refuse("was changed after it was made: its digest is another").into());
        }
        let (made_by, own) = (content["plan"]["program"].as_str().unwrap_or_default(), env!("CARGO_PKG_VERSION"));
        if made_by != own {
            // Before it is read: another version may have another form.
            let message = format!("the plan `{name}` was made by drivemaster-mon {made_by}, this is {own}");
            return Err(Failure::new(Kind::Refused, message)
                .hint("drivemaster-mon plan --out FILE makes a new one")
                .into());
        }
        let unreadable = |error| refuse("cannot be read as a frozen plan").caused_by(error);
        let mut frozen = Frozen::deserialize(&content["plan"]).map_err(unreadable)?;
        let mut files = Files::deserialize(&content["files"]).map_err(unreadable)?;
        for release in &mut frozen.bundle.releases {
            for (path, text) in files.remove(&release.name).unwrap_or_default() {
                let bytes =
                    STANDARD.decode(text).map_err(|error| refuse("holds a chart that is cut").caused_by(error))?;
                release.chart.files.insert(path, bytes);
            }
        }
        Ok((frozen, digest))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::{chain_of, exit_code_of};
    use crate::plan::{Action, Reason};
    use crate::render::bundle::{Chart, Release};

    fn frozen() -> Frozen {
        let chart = Chart {
            name: "a".to_owned(),
            version: "1".to_owned(),
            app_version: "2".to_owned(),
            files: BTreeMap::from([("Chart.yaml".to_owned(), vec![0, 159, 146, 150])]),
        };
        let release = Release {
            name: "a".to_owned(),
            namespace: "m".to_owned(),
            chart,
            values: json!({"z": 1.5, "a": null}),
            needs: vec!["b".to_owned()],
        };
        Frozen {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: ClusterIdentity { context: "c".to_owned(), uid: "u".to_owned() },
            configuration: json!({"domain": "example.org"}),
            bundle: Bundle { releases: vec![release], ..Bundle::default() },
            lock: Lock::embedded().unwrap(),
            limited_to: Some(BTreeSet::from(["a".to_owned()])),
            steps: vec![Outline {
                id: "release a".to_owned(),
                action: Action::Update,
                reason: Reason::Repair { status: "failed".to_owned() },
                changes: vec!["x".to_owned()],
            }],
        }
    }

    #[test]
    fn what_was_frozen_comes_back_and_has_one_name() {
        let (text, digest) = frozen().encode().unwrap();
        assert_eq!(Frozen::decode("p", &text).unwrap(), (frozen(), digest.clone()));
        assert_eq!(frozen().encode().unwrap().1, digest);
        let other = Frozen { program: "0.2.0".to_owned(), ..frozen() };
        let (text, another) = other.encode().unwrap();
        assert_ne!(another, digest);
        let error = Frozen::decode("p", &text).unwrap_err();
        assert_eq!(exit_code_of(&error), 5);
        assert!(error.to_string().contains("made by drivemaster-mon 0.2.0"), "{error}");
    }

    #[test]
    fn a_file_that_was_changed_or_is_another_is_refused() {
        let (text, _) = frozen().encode().unwrap();
        for (text, told) in [
            (text.replace("example.org", "example.com"), "was changed after it was made"),
            (text.replace("frozen-plan", "deploy"), "is no frozen plan of this program"),
            (text[..text.len() / 2].to_owned(), "is no frozen plan"),
            ("[1]".to_owned(), "is no frozen plan of this program"),
        ] {
            let error = Frozen::decode("p", &text).unwrap_err();
            assert!(chain_of(&error)[0].starts_with(&format!("`p` {told}")), "{error}");
        }
    }
}
