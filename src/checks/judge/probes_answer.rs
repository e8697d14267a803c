//! Every probe from outside finds what it asks for.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// A probe is judged by its next result.
const SETTLING: Duration = Duration::from_secs(40);

pub(super) const CHECK: Check = Check {
    id: "probes/answer",
    title: "every probe of the blackbox exporter is answered",
    severity: Severity::Critical,
    hint: "drivemaster-mon port-forward prometheus; look at `probe_http_status_code` and `probe_success`",
    doc: "docs/checks.md#probes-answer",
    component: Some("blackboxExporter"),
    needs: &[Need::Probes],
    judge: judge_probes,
};

fn judge_probes(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let samples = match &facts.probes {
        Ok(samples) => samples,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let wanted: BTreeSet<&str> = scope.bundle.own_objects().flat_map(|manifest| targets_of(&manifest.0)).collect();
    let instance = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get("instance").or_else(|| labels.get("target")).cloned().unwrap_or_default()
    };
    let failed: Vec<String> =
        samples.iter().filter(|sample| sample.value < 1.0).map(|sample| instance(&sample.labels)).collect();
    let seen: BTreeSet<String> = samples.iter().map(|sample| instance(&sample.labels)).collect();
    let missing: Vec<String> =
        wanted.iter().filter(|target| !seen.contains(**target)).map(|t| (*t).to_owned()).collect();
    vec![if !failed.is_empty() {
        let evidence = failed.iter().map(|target| format!("`{target}` is not answered as it should be"));
        Verdict::fail(format!("{} of {} failed", failed.len(), counted(samples.len(), "probe")))
            .evidence(evidence.collect())
            .again(Again::Within(SETTLING))
    } else if !missing.is_empty() {
        let evidence = missing.iter().map(|target| format!("`{target}` has no result"));
        Verdict::fail(format!("{} without a result", counted(missing.len(), "probe")))
            .evidence(evidence.collect())
            .again(Again::UntilTimeout)
    } else if samples.is_empty() {
        Verdict::skip("nothing is probed")
    } else {
        Verdict::pass().evidence(vec![format!("{} answered", counted(samples.len(), "probe"))])
    }]
}

/// The targets of a `Probe` object.
fn targets_of(object: &Value) -> Vec<&str> {
    if object.get("kind").and_then(Value::as_str) != Some("Probe") {
        return Vec::new();
    }
    let targets = object.pointer("/spec/targets/staticConfig/static").and_then(Value::as_array);
    targets.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::Sample;
    use super::super::testing;
    use super::*;
    use crate::event::Outcome;
    use crate::object::Manifest;
    use serde_json::json;

    #[test]
    fn each_target_needs_a_good_result() {
        let (config, mut bundle) = testing::scope();
        bundle.objects.push(Manifest(json!({"kind": "Probe", "metadata": {"name": "health"},
            "spec": {"targets": {"staticConfig": {"static": ["http://a/health", "http://b/health"]}}}})));
        let judged = |results: &[(&str, f64)]| {
            let sample = |(target, value): &(&str, f64)| Sample {
                labels: [("instance".to_owned(), (*target).to_owned())].into(),
                time: 0.0,
                value: *value,
            };
            let facts = Facts { probes: Ok(results.iter().map(sample).collect()), ..Facts::default() };
            judge_probes(&Scope { config: &config, bundle: &bundle }, &facts).remove(0)
        };
        assert_eq!(judged(&[("http://a/health", 1.0), ("http://b/health", 1.0)]).outcome, Outcome::Pass);
        let failed = judged(&[("http://a/health", 0.0), ("http://b/health", 1.0)]);
        assert_eq!((failed.outcome, failed.reason.as_str()), (Outcome::Fail, "1 of 2 probes failed"));
        let missing = judged(&[("http://a/health", 1.0)]);
        assert_eq!((missing.reason.as_str(), missing.again), ("1 probe without a result", Again::UntilTimeout));
        assert_eq!(missing.evidence, ["`http://b/health` has no result"]);
    }
}
