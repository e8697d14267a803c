//! Objects of our own that templates make: every document of `templates/objects/<profile>/*.yaml`, and
//! those of `templates/objects/<profile>/after/<release>/*.yaml` once that release is ready.

use super::bundle::LateObject;
use super::sources::Sources;
use super::templates::Templates;
use super::{FIELD_MANAGER, PART_OF};
use crate::config::model::{Config, Profile};
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Folder of these templates.
pub(super) const FOLDER: &str = "templates/objects/";

/// The objects of the profile's templates: early ones, and late ones whose release is in `releases`.
///
/// # Errors
/// [`Kind::Usage`] naming the template that renders to something else than objects, or to one object twice.
pub(super) fn objects(
    config: &Config,
    releases: &[&str],
    sources: &Sources,
    templates: &Templates<'_>,
) -> Result<(Vec<Manifest>, Vec<LateObject>)> {
    let profile = match config.profile {
        Profile::Local => "local",
        Profile::Production => "production",
    };
    let folder = format!("{FOLDER}{profile}/");
    let mut early = Vec::new();
    let mut late = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, _) in sources.below(&folder) {
        let path = format!("{folder}{file}");
        let after = file.strip_prefix("after/").and_then(|rest| rest.split_once('/')).map(|(release, _)| release);
        if after.is_some_and(|release| !releases.contains(&release)) {
            continue;
        }
        for manifest in documents(&path, &templates.render(&path)?)? {
            if !seen.insert(manifest.reference()) {
                let message = format!("template `{path}` makes `{}` a second time", manifest.reference());
                return Err(Failure::new(Kind::Usage, message).into());
            }
            match after {
                Some(release) => late.push(LateObject { manifest, after: vec![release.to_owned()] }),
                None => early.push(manifest),
            }
        }
    }
    Ok((early, late))
}

/// The objects in the YAML documents of `text`, with the labels of everything that is ours.
fn documents(path: &str, text: &str) -> Result<Vec<Manifest>> {
    let wrong = |what: &str| Failure::new(Kind::Usage, format!("template `{path}` {what}"));
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let mut value =
            Value::deserialize(document).map_err(|error| wrong("renders to invalid YAML").caused_by(error))?;
        if value.is_null() {
            continue;
        }
        let has = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if !["/apiVersion", "/kind", "/metadata/name"].into_iter().all(has) {
            return Err(wrong("renders to a document without `apiVersion`, `kind` or `metadata.name`").into());
        }
        let labels = &mut value["metadata"]["labels"];
        labels["app.kubernetes.io/managed-by"] = json!(FIELD_MANAGER);
        labels["app.kubernetes.io/part-of"] = json!(PART_OF);
        found.push(Manifest(value));
    }
    Ok(found)
}
