//! What a deploy was to bring about, kept so that it can be brought about again.

use crate::chart::lock::{Lock, LockedChart};
use crate::error::{Failure, Kind};
use crate::object::{Manifest, ObjectRef};
use crate::render::Bundle;
use crate::render::bundle::{Chart, Release};
use crate::render::digest::chart_digest;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was to stand. No secret is in it: none is in a configuration or a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The resolved configuration.
    pub configuration: Value,
    /// The bundle, without its definitions and without the files of its charts.
    pub bundle: Bundle,
    /// The definitions that it needs: they are never taken back.
    pub definitions: Vec<ObjectRef>,
    /// The charts, by the name of their release.
    pub charts: BTreeMap<String, RecordedChart>,
}

/// The chart of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedChart {
    /// Short digest of its files.
    pub digest: String,
    /// Where it comes from.
    pub source: ChartSource,
}

/// Where a chart comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChartSource {
    /// From the record: its files by path, in base64.
    Files(BTreeMap<String, String>),
    /// From a repository, where it was published.
    Published(LockedChart),
}

impl Intent {
    /// What `bundle` is to bring about by `configuration`. Charts that `lock` says where to find are named, of
    /// the others the files are kept.
    pub fn of(configuration: Value, bundle: &Bundle, lock: &Lock) -> Self {
        let recorded = |release: &Release| {
            let chart = &release.chart;
            let plain = |version: &str| version.trim_start_matches('v').to_owned();
            let published = lock.get(&chart.name).filter(|locked| plain(&locked.version) == plain(&chart.version));
            let source = match published {
                Some(locked) => ChartSource::Published(locked.clone()),
                None => {
                    let encoded = chart.files.iter().map(|(path, bytes)| (path.clone(), STANDARD.encode(bytes)));
                    ChartSource::Files(encoded.collect())
                }
            };
            (release.name.clone(), RecordedChart { digest: chart_digest(chart), source })
        };
        Intent {
            configuration,
            definitions: bundle.crds.iter().map(Manifest::reference).collect(),
            charts: bundle.releases.iter().map(recorded).collect(),
            bundle: without_content(bundle),
        }
    }

    /// The charts that must be got from where they were published.
    pub fn published(&self) -> impl Iterator<Item = &LockedChart> {
        self.charts.values().filter_map(|chart| match &chart.source {
            ChartSource::Published(locked) => Some(locked),
            ChartSource::Files(_) => None,
        })
    }

    /// The bundle with the files of its charts; `published` are those that were got, by their names, and
    /// `definitions` those that stand in the cluster.
    ///
    /// # Errors
    /// [`Kind::Refused`] naming a chart that is missing or another than the one that was recorded.
    pub fn bundle(self, published: &BTreeMap<String, Chart>, definitions: Vec<Manifest>) -> Result<Bundle> {
        let mut bundle = self.bundle;
        for release in &mut bundle.releases {
            let recorded = self.charts.get(&release.name);
            let recorded = recorded.ok_or_else(|| missing(&release.chart, "is not in the record"))?;
            release.chart.files = match &recorded.source {
                ChartSource::Files(files) => decoded(files).ok_or_else(|| missing(&release.chart, "is cut"))?,
                ChartSource::Published(_) => {
                    let got = published.get(&release.chart.name);
                    got.ok_or_else(|| missing(&release.chart, "is gone"))?.files.clone()
                }
            };
            if chart_digest(&release.chart) != recorded.digest {
                return Err(missing(&release.chart, "is another than the one that was deployed then").into());
            }
        }
        bundle.crds = definitions;
        Ok(bundle)
    }
}

fn missing(chart: &Chart, why: &str) -> Failure {
    Failure::new(Kind::Refused, format!("the chart `{}` {} {why}", chart.name, chart.version))
        .hint("`--charts DIR` names a folder with its archive as it was")
}

fn decoded(files: &BTreeMap<String, String>) -> Option<BTreeMap<String, Vec<u8>>> {
    files.iter().map(|(path, text)| Some((path.clone(), STANDARD.decode(text).ok()?))).collect()
}

/// The bundle without definitions and without the files of charts, which are most of it.
fn without_content(bundle: &Bundle) -> Bundle {
    let mut kept = Bundle { crds: Vec::new(), releases: Vec::new(), ..bundle.clone() };
    kept.releases.extend(bundle.releases.iter().map(|release| {
        let Chart { name, version, app_version, .. } = &release.chart;
        let (name, version, app_version) = (name.clone(), version.clone(), app_version.clone());
        Release {
            name: release.name.clone(),
            namespace: release.namespace.clone(),
            chart: Chart { name, version, app_version, files: BTreeMap::new() },
            values: release.values.clone(),
            needs: release.needs.clone(),
        }
    }));
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use crate::error::exit_code_of;
    use serde_json::json;

    pub(in crate::record) fn bundle() -> Bundle {
        let release = |name: &str, version: &str| Release {
            name: format!("{name}-release"),
            namespace: "m".to_owned(),
            chart: Chart {
                name: name.to_owned(),
                version: version.to_owned(),
                app_version: "1".to_owned(),
                files: BTreeMap::from([("Chart.yaml".to_owned(), vec![0, 159, 146, 150])]),
            },
            values: json!({"a": 1.5}),
            needs: Vec::new(),
        };
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "a.example.org"}});
        Bundle {
            releases: vec![release("light", "0.1.0"), release("loki", "6.0.0")],
            crds: vec![Manifest(crd)],
            ..Bundle::default()
        }
    }

    pub(in crate::record) fn lock() -> Lock {
        let chart = |name: &str, version: &str| {
            format!("{{name: {name}, repository: 'https://charts.example.org', version: {version}, appVersion: '1'}}")
        };
        let text = format!("charts: [{}, {}]", chart("loki", "v6.0.0"), chart("light", "9.9.9"));
        Lock::parse("lock", &text).unwrap()
    }

    #[test]
    fn what_was_recorded_comes_back_with_its_charts() {
        let whole = bundle();
        let intent = Intent::of(json!({"profile": "local"}), &whole, &lock());
        assert_eq!(intent.definitions.len(), 1);
        let named: Vec<&str> = intent.published().map(|chart| chart.name.as_str()).collect();
        assert_eq!(named, ["loki"], "another version than the lock's cannot be found by it");
        let got = BTreeMap::from([("loki".to_owned(), whole.releases[1].chart.clone())]);
        assert_eq!(intent.bundle(&got, whole.crds.clone()).unwrap(), whole);
    }

    #[test]
    fn a_chart_that_is_gone_or_another_is_named() {
        let intent = || Intent::of(json!({}), &bundle(), &lock());
        let error = intent().bundle(&BTreeMap::new(), Vec::new()).unwrap_err();
        assert_eq!((error.to_string(), exit_code_of(&error)), ("the chart `loki` 6.0.0 is gone".to_owned(), 5));
        let mut other = bundle().releases[1].chart.clone();
        other.files.insert("values.yaml".to_owned(), Vec::new());
        let error = intent().bundle(&BTreeMap::from([("loki".to_owned(), other)]), Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`loki` 6.0.0 is another than"), "{error}");
    }
}
