//! The experiments exist, and none runs before somebody says so.

use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::event::Outcome;
use serde_json::Value;

/// Annotation that stops Chaos Mesh from starting an experiment.
const PAUSE: &str = "experiment.chaos-mesh.org/pause";

pub(super) const CHECK: Check = Check {
    id: "chaos/paused",
    title: "the chaos experiments are there and paused",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#chaos-paused",
    component: Some("chaosMesh"),
    needs: &[Need::Schedules],
    judge: judge_schedules,
};

fn judge_schedules(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let found = match &facts.schedules {
        Ok(found) => found,
        Err(why) => return vec![Verdict { component: Some("chaosMesh".to_owned()), ..Verdict::unknown(why) }],
    };
    let objects = scope.bundle.own_objects().map(crate::object::Manifest::reference);
    let wanted: Vec<String> =
        objects.filter(|reference| reference.kind == "Schedule").map(|reference| reference.name).collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !found.iter().any(|schedule| name_of(schedule) == name.as_str()))
        .map(|name| format!("schedule `{name}` does not exist"))
        .collect();
    let states: Vec<String> =
        found.iter().map(|schedule| format!("`{}` {}", name_of(schedule), state_of(schedule))).collect();
    let running = found.iter().filter(|schedule| !is_paused(schedule)).count();
    vec![if !missing.is_empty() {
        Verdict::fail(format!("{} of {} missing", missing.len(), counted(wanted.len(), "experiment"))).evidence(missing)
    } else if running > 0 {
        // Somebody's decision, most likely; but one that everybody should know of.
        Verdict::new(Outcome::Warn, format!("{running} of {} not paused", counted(found.len(), "experiment")))
            .evidence(states)
            .hint(format!(
                "kubectl annotate schedules.chaos-mesh.org -n {} --all --overwrite {PAUSE}=true",
                scope.config.namespaces.platform
            ))
    } else if found.is_empty() {
        Verdict::skip("there is no experiment")
    } else {
        Verdict::pass().evidence(vec![format!("{} paused", counted(found.len(), "experiment"))])
    }]
}

fn name_of(schedule: &Value) -> &str {
    schedule.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn is_paused(schedule: &Value) -> bool {
    schedule.pointer("/metadata/annotations").and_then(|all| all.get(PAUSE)).and_then(Value::as_str) == Some("true")
}

fn state_of(schedule: &Value) -> String {
    let cron = schedule.pointer("/spec/schedule").and_then(Value::as_str).unwrap_or_default();
    let active = schedule.pointer("/status/active").and_then(Value::as_array).is_some_and(|active| !active.is_empty());
    match (is_paused(schedule), active) {
        (true, _) => "is paused".to_owned(),
        (false, true) => "runs now".to_owned(),
        (false, false) => format!("will run at `{cron}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::object::Manifest;
    use crate::render::bundle::LateObject;
    use serde_json::json;

    fn schedule(name: &str, paused: &str) -> Value {
        json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule",
            "metadata": {"name": name, "namespace": "drivemaster", "annotations": {PAUSE: paused}},
            "spec": {"schedule": "7 * * * *"}})
    }

    #[test]
    fn a_missing_experiment_fails_and_one_that_may_run_is_said() {
        let (config, mut bundle) = testing::scope();
        let wanted = ["latency", "pod-kill"];
        bundle.late_objects =
            wanted.map(|name| LateObject { manifest: Manifest(schedule(name, "true")), after: vec![] }).into();
        let judged = |found: Vec<Value>| {
            let facts = Facts { schedules: Ok(found), ..Facts::default() };
            judge_schedules(&Scope { config: &config, bundle: &bundle }, &facts).remove(0)
        };
        let both = judged(vec![schedule("latency", "true"), schedule("pod-kill", "true")]);
        assert_eq!((both.outcome, both.evidence), (Outcome::Pass, vec!["2 experiments paused".to_owned()]));
        let missing = judged(vec![schedule("latency", "true")]);
        assert_eq!(
            (missing.outcome, missing.evidence[0].as_str()),
            (Outcome::Fail, "schedule `pod-kill` does not exist")
        );
        let loose = judged(vec![schedule("latency", "true"), schedule("pod-kill", "false")]);
        assert_eq!((loose.outcome, loose.reason.as_str()), (Outcome::Warn, "1 of 2 experiments not paused"));
        assert_eq!(loose.evidence, ["`latency` is paused", "`pod-kill` will run at `7 * * * *`"]);
    }
}
