//! What runs behind a pod has the version of the pod's image, where somebody says what runs there.

use super::expected::namespaces;
use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use k8s_openapi::api::core::v1::Pod;

/// Annotation of a pod whose program is not that of its image; its value is the program's version,
/// or `name=version`, several parted by commas.
const PROGRAM_VERSION: &str = "drivemaster-mon/program-version";

pub(super) const CHECK: Check = Check {
    id: "programs/version",
    title: "the programs have the versions of their images",
    severity: Severity::Warning,
    hint: "what these programs prove holds for their own version",
    doc: "docs/checks.md#programs-version",
    component: None,
    needs: &[Need::Snapshot],
    judge: judge_versions,
};

fn judge_versions(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let mut told = 0;
    let mut differing: Vec<String> = Vec::new();
    for namespace in namespaces(scope.config) {
        let snapshot = match facts.snapshot(namespace) {
            Ok(snapshot) => snapshot,
            Err(why) => return vec![Verdict::unknown(&why)],
        };
        for pod in &snapshot.pods {
            let Some(version) = pod.metadata.annotations.as_ref().and_then(|all| all.get(PROGRAM_VERSION)) else {
                continue;
            };
            told += 1;
            let tags = tags_of(pod);
            if !tags.iter().any(|tag| same(tag, version)) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                differing.push(format!("pod `{name}` runs {version}, deployed is {}", tags.join(", ")));
            }
        }
    }
    vec![match (told, differing.len()) {
        (0, _) => Verdict::skip("every pod runs its own image"),
        (_, 0) => Verdict::pass().evidence(vec![format!("{} as deployed", counted(told, "program"))]),
        (_, count) => {
            Verdict::fail(format!("{count} of {} of another version", counted(told, "program"))).evidence(differing)
        }
    }]
}

/// The tags of the images of a pod's containers.
fn tags_of(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.filter_map(|container| tag_of(container.image.as_deref()?)).collect()
}

/// The tag of an image reference `registry:port/name:tag@digest`.
fn tag_of(image: &str) -> Option<String> {
    let without_digest = image.split('@').next().unwrap_or(image);
    let last = without_digest.rsplit('/').next().unwrap_or(without_digest);
    last.split_once(':').map(|(_, tag)| tag.to_owned())
}

/// Whether a tag and a version mean the same: `v3.14.0-distroless` is 3.14.0.
fn same(tag: &str, version: &str) -> bool {
    let plain = |text: &str| {
        let text = text.rsplit('=').next().unwrap_or(text);
        text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default().to_owned()
    };
    plain(tag) == plain(version)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holding, judge, snapshot_of};
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;

    fn on(version: Option<&str>, image: &str) -> Verdict {
        let mut pod = json!({"kind": "Pod", "metadata": {"name": "jaeger-0"},
            "spec": {"containers": [{"name": "jaeger", "image": image}]}});
        if let Some(version) = version {
            pod["metadata"]["annotations"] = json!({PROGRAM_VERSION: version});
        }
        judge(&CHECK, &holding(snapshot_of(&[pod]))).remove(0)
    }

    #[test]
    fn only_a_program_of_another_version_is_worth_a_word() {
        let cases = [
            (None, "r:5000/jaeger:2.19.0", Outcome::Skip),
            (Some("2.19.0"), "r:5000/jaeger:2.19.0@sha256:abc", Outcome::Pass),
            (Some("3.14.0"), "quay.io/prometheus/prometheus:v3.14.0-distroless", Outcome::Pass),
            (Some("2.13.0"), "jaeger:2.19.0", Outcome::Fail),
        ];
        for (version, image, expected) in cases {
            assert_eq!(on(version, image).outcome, expected, "{version:?} {image}");
        }
        let verdict = on(Some("2.13.0"), "jaeger:2.19.0");
        assert_eq!(verdict.evidence, ["pod `jaeger-0` runs 2.13.0, deployed is 2.19.0"]);
    }
}
