//! `images`: every image that a deploy would run.

use super::session::Session;
use crate::chart::crds::{served_kinds, served_versions};
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use crate::render::images::{images, problem};
use crate::report::table::aligned;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The Kubernetes that charts are rendered for: no cluster is asked.
const KUBERNETES: &str = "v1.34.0";
/// How many charts are rendered at once.
const CONCURRENCY: usize = 4;
/// What is not part of a release.
const OUR_OWN: &str = "our own objects";

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let helm = session.any_helm()?;
    let versions: BTreeSet<String> =
        bundle.crds.iter().flat_map(|crd| served_versions(&crd.0).into_iter().chain(served_kinds(&crd.0))).collect();
    let rendered: Vec<(&str, Vec<Manifest>)> = session
        .unless_interrupted(
            stream::iter(&bundle.releases)
                .map(|release| {
                    let (helm, versions) = (&helm, &versions);
                    async move {
                        Ok::<_, anyhow::Error>((
                            release.name.as_str(),
                            helm.render(release, KUBERNETES, versions).await?,
                        ))
                    }
                })
                .buffer_unordered(CONCURRENCY)
                .try_collect(),
        )
        .await?;
    let mut used: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let own = bundle.objects.iter().chain(bundle.late_objects.iter().map(|late| &late.manifest));
    let own = own.map(|manifest| (OUR_OWN, manifest));
    let all = rendered.iter().flat_map(|(name, objects)| objects.iter().map(|manifest| (*name, manifest)));
    for (name, manifest) in all.chain(own) {
        for image in images(&manifest.0) {
            used.entry(image).or_default().insert(name);
        }
    }
    let registry = config.images.registry.trim_end_matches('/');
    let judged: Vec<(&String, &BTreeSet<&str>, Option<String>)> =
        used.iter().map(|(image, releases)| (image, releases, judge(image, registry))).collect();
    let rows: Vec<Value> = judged
        .iter()
        .map(|(image, releases, finding)| json!({ "image": image, "releases": releases, "finding": finding }))
        .collect();
    let lines: Vec<Vec<String>> = judged
        .iter()
        .map(|(image, releases, finding)| {
            let releases = releases.iter().copied().collect::<Vec<_>>().join(", ");
            vec![(*image).clone(), releases, finding.clone().unwrap_or_default()]
        })
        .collect();
    session.terminal.result("images", json!({ "images": rows }), &aligned(&lines));
    match judged.iter().filter(|(_, _, finding)| finding.is_some()).count() {
        0 => Ok(()),
        count => Err(Failure::new(Kind::Negative, format!("{count} images have a finding")).already_shown().into()),
    }
}

fn judge(image: &str, registry: &str) -> Option<String> {
    let elsewhere = !registry.is_empty() && !image.starts_with(&format!("{registry}/"));
    let foreign = elsewhere.then(|| format!("not of the registry `{registry}`"));
    let findings: Vec<String> = problem(image).map(str::to_owned).into_iter().chain(foreign).collect();
    (!findings.is_empty()).then(|| findings.join("; "))
}
