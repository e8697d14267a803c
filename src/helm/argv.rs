//! The argument vectors helm is called with. Pure.
//!
//! Never `--wait` or `--atomic`: readiness, progress and deadlines are ours, so that the reason is
//! known and told. Never a value or a secret: values go in as JSON on standard input.

use crate::helm::parse::Version;
use crate::plan::bookkeeping::HISTORY_MAX;
use crate::plan::model::{API_DIGEST_LABEL, CHART_DIGEST_LABEL, VALUES_DIGEST_LABEL};
use crate::render::bundle::Release;
use crate::render::digest::{chart_digest, values_digest};
use std::time::Duration;

/// The digests a release is labelled with, by which the next plan sees that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Short digest of the chart.
    pub chart: String,
    /// Short digest of the values.
    pub values: String,
    /// Short digest of the API versions that the chart may ask for, of those the cluster serves.
    pub api: String,
}

impl Labels {
    /// The labels of `release` on a cluster that serves the API versions behind `api_digest`, of those it may ask for.
    pub fn of(release: &Release, api_digest: &str) -> Self {
        Labels {
            chart: chart_digest(&release.chart),
            values: values_digest(&release.values),
            api: api_digest.to_owned(),
        }
    }
}

/// `helm upgrade --install` of the chart in the folder `chart_path`, values on standard input.
///
/// `timeout` bounds the hooks, the only thing helm itself waits for.
pub fn upgrade(
    version: Version,
    release: &Release,
    chart_path: &str,
    labels: &Labels,
    timeout: Duration,
) -> Vec<String> {
    let mut argv = words(&["upgrade", "--install", &release.name, chart_path]);
    argv.extend(words(&["--namespace", &release.namespace, "--values", "-", "--skip-crds"]));
    argv.extend(words(&["--timeout", &seconds(timeout), "--history-max", &HISTORY_MAX.to_string()]));
    argv.push("--labels".to_owned());
    argv.push(format!(
        "{CHART_DIGEST_LABEL}={},{VALUES_DIGEST_LABEL}={},{API_DIGEST_LABEL}={}",
        labels.chart, labels.values, labels.api
    ));
    if version.major >= 4 {
        // A field that somebody else took over is put back, as Helm 3 does and as our own objects
        // are applied; without it the upgrade ends in a conflict and the release in `failed`.
        argv.extend(words(&["--server-side=true", "--force-conflicts"]));
    }
    argv
}

/// `helm uninstall` of `name`; a release that is not there is fine.
pub fn uninstall(name: &str, namespace: &str, timeout: Duration) -> Vec<String> {
    words(&["uninstall", name, "--namespace", namespace, "--ignore-not-found", "--timeout", &seconds(timeout)])
}

/// `helm template` of the chart in the folder `chart_path`, values on standard input, for a cluster of
/// version `server_version`, as helm asks no cluster and would take its own client's.
///
/// `api_versions` are those of that cluster (`apps/v1`, also `monitoring.coreos.com/v1/Probe`): charts leave
/// out what it does not know.
pub fn template<'a>(
    release: &Release,
    chart_path: &str,
    server_version: &str,
    api_versions: impl IntoIterator<Item = &'a String>,
) -> Vec<String> {
    let mut argv = words(&[
        "template",
        &release.name,
        chart_path,
        "--namespace",
        &release.namespace,
        "--values",
        "-",
        "--skip-crds",
    ]);
    argv.extend(words(&["--kube-version", server_version]));
    for version in api_versions {
        argv.extend(words(&["--api-versions", version]));
    }
    argv
}

/// `helm version` as `vX.Y.Z`, the same in Helm 3 and 4.
pub fn version() -> Vec<String> {
    words(&["version", "--template", "{{.Version}}"])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Whole seconds, at least one: helm takes `0s` for "no time at all".
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::bundle::Chart;
    use serde_json::json;
    use std::collections::BTreeMap;

    const HELM_3: Version = Version { major: 3, minor: 22, patch: 0 };
    const HELM_4: Version = Version { major: 4, minor: 3, patch: 1 };

    fn release() -> Release {
        Release {
            name: "loki".to_owned(),
            namespace: "drivemaster-monitoring".to_owned(),
            chart: Chart {
                name: "loki".to_owned(),
                version: "0.1.0".to_owned(),
                app_version: "3".to_owned(),
                files: BTreeMap::new(),
            },
            values: json!({"password": "s3cret"}),
            needs: Vec::new(),
        }
    }

    fn labels() -> Labels {
        Labels { chart: "c".to_owned(), values: "v".to_owned(), api: "a".to_owned() }
    }

    #[test]
    fn an_upgrade_names_everything_and_waits_for_nothing() {
        let argv = upgrade(HELM_4, &release(), "/tmp/chart", &labels(), Duration::from_millis(90_500));
        assert_eq!(
            argv.join(" "),
            "upgrade --install loki /tmp/chart --namespace drivemaster-monitoring --values - --skip-crds \
             --timeout 90s --history-max 10 \
             --labels drivemaster-mon/chart=c,drivemaster-mon/values=v,drivemaster-mon/api=a \
             --server-side=true --force-conflicts"
        );
    }

    #[test]
    fn helm_3_knows_no_server_side_apply() {
        let argv = upgrade(HELM_3, &release(), "/tmp/chart", &labels(), Duration::from_secs(5));
        assert!(!argv.iter().any(|word| word.contains("server-side") || word.contains("force")), "{argv:?}");
    }

    #[test]
    fn no_value_and_no_wait_stands_in_any_argument_vector() {
        for version in [HELM_3, HELM_4] {
            let argv = upgrade(version, &release(), "/tmp/chart", &labels(), Duration::ZERO);
            assert!(!argv.iter().any(|word| word.contains("s3cret")), "{argv:?}");
            assert!(!argv.iter().any(|word| word.starts_with("--wait") || word.starts_with("--atomic")), "{argv:?}");
            assert!(argv.contains(&"1s".to_owned()), "a timeout of zero would be no time at all: {argv:?}");
        }
    }

    #[test]
    fn labels_follow_chart_and_values() {
        let one = Labels::of(&release(), "api");
        let mut changed = release();
        changed.values = json!({});
        let other = Labels::of(&changed, "api");
        assert_eq!(one.chart, other.chart);
        assert_ne!(one.values, other.values);
    }
}
