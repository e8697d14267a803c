//! The controllers of Chaos Mesh look at the experiments. Its program answers, and its webhooks too, while none of
//! them works: they wait for a kind that they may not list, and no fault is ever injected or taken back.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use crate::object::Manifest;

pub(super) const CHECK: Check = Check {
    id: "chaos/controllers",
    title: "the controllers of Chaos Mesh look at the experiments",
    severity: Severity::Critical,
    hint: "drivemaster-mon verify --only targets/chaos-mesh-controller-manager",
    doc: "docs/checks.md#chaos-controllers",
    component: Some("chaosMesh"),
    needs: &[Need::Reconciliations],
    judge: judge_controllers,
};

fn judge_controllers(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let objects = scope.bundle.own_objects().map(Manifest::reference);
    let experiments = objects.filter(|reference| reference.kind == "Schedule").count();
    let verdict = if !scope.config.prometheus.enabled {
        Verdict::skip("`prometheus.enabled` is false")
    } else if experiments == 0 {
        Verdict::skip("there is no experiment")
    } else {
        match &facts.reconciliations {
            Err(why) => Verdict::unknown(why),
            Ok(controllers) => match controllers.iter().filter(|sample| sample.value > 0.0).count() {
                // They start after the program does, and Prometheus scrapes them now and then.
                0 => Verdict::fail(format!("none of them looked at the {}", counted(experiments, "experiment")))
                    .hint(format!(
                        "kubectl logs -n {} deployment/chaos-controller-manager",
                        scope.config.namespaces.chaos_mesh
                    ))
                    .again(Again::UntilTimeout),
                acting => Verdict::pass().evidence(vec![format!("{} at work", counted(acting, "controller"))]),
            },
        }
    };
    vec![Verdict { component: Some("chaosMesh".to_owned()), ..verdict }]
}

#[cfg(test)]
mod tests {
    use super::super::facts::Sample;
    use super::super::testing;
    use super::*;
    use crate::event::Outcome;
    use crate::render::bundle::LateObject;
    use serde_json::json;

    #[test]
    fn a_controller_that_never_looked_at_an_experiment_fails() {
        let (config, mut bundle) = testing::scope();
        let schedule = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule",
            "metadata": {"name": "pod-kill", "namespace": "drivemaster"}});
        bundle.late_objects = vec![LateObject { manifest: Manifest(schedule), after: vec![] }];
        let judged = |values: &[f64]| {
            let sample = |value: &f64| Sample { labels: [].into(), time: 0.0, value: *value };
            let facts = Facts { reconciliations: Ok(values.iter().map(sample).collect()), ..Facts::default() };
            judge_controllers(&Scope { config: &config, bundle: &bundle }, &facts).remove(0)
        };
        for none in [&[][..], &[0.0, 0.0]] {
            let verdict = judged(none);
            assert_eq!((verdict.outcome, verdict.again), (Outcome::Fail, Again::UntilTimeout));
            assert_eq!(verdict.reason, "none of them looked at the 1 experiment");
        }
        let verdict = judged(&[0.0, 3.0, 1.0]);
        assert_eq!((verdict.outcome, verdict.evidence), (Outcome::Pass, vec!["2 controllers at work".to_owned()]));
    }

    #[test]
    fn where_there_is_no_experiment_they_have_nothing_to_do() {
        let (config, bundle) = testing::scope();
        let facts = Facts { reconciliations: Ok(Vec::new()), ..Facts::default() };
        let verdict = judge_controllers(&Scope { config: &config, bundle: &bundle }, &facts).remove(0);
        assert_eq!(verdict.outcome, Outcome::Skip);
    }
}
