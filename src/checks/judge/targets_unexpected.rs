//! Nothing is scraped that nobody expects: a renamed job would be watched by no rule.

use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict};
use crate::stack;
use std::collections::BTreeMap;

pub(super) const CHECK: Check = Check {
    id: "targets/none-unexpected",
    title: "only expected jobs are scraped",
    severity: Severity::Warning,
    hint: "drivemaster-mon plan",
    doc: "docs/checks.md#targets-none-unexpected",
    component: Some("prometheus"),
    needs: &[Need::Targets],
    judge: judge_unexpected,
};

fn judge_unexpected(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let targets = match &facts.targets {
        Ok(targets) => &targets.active_targets,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let mut unexpected: BTreeMap<&str, usize> = BTreeMap::new();
    // Whoever annotates a Service asks for its job.
    for target in targets.iter().filter(|target| !target.scrape_pool.contains(stack::ANNOTATED_SERVICES)) {
        if !scope.bundle.expected.targets.iter().any(|expected| expected.job == target.job()) {
            *unexpected.entry(target.job()).or_default() += 1;
        }
    }
    if unexpected.is_empty() {
        return vec![Verdict::pass()];
    }
    let evidence = unexpected.iter().map(|(job, count)| format!("job `{job}`: {}", super::counted(*count, "target")));
    vec![Verdict::fail("jobs are scraped that the configuration does not know").evidence(evidence.collect())]
}

#[cfg(test)]
mod tests {
    use super::super::facts::{ActiveTarget, Targets};
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_job_that_nobody_expects_is_named() {
        let target =
            |job: &str| ActiveTarget { labels: [("job".to_owned(), job.to_owned())].into(), ..ActiveTarget::default() };
        let facts = |jobs: &[&str]| Facts {
            targets: Ok(Targets { active_targets: jobs.iter().map(|job| target(job)).collect(), ..Targets::default() }),
            ..Facts::default()
        };
        assert_eq!(judge(&CHECK, &facts(&["user-service"]))[0].outcome, Outcome::Pass);
        for pool in ["annotated-services", "serviceMonitor/drivemaster/drivemaster-annotated-services/0"] {
            let mut annotated = facts(&["reports"]);
            annotated.targets.as_mut().unwrap().active_targets[0].scrape_pool = pool.to_owned();
            assert_eq!(judge(&CHECK, &annotated)[0].outcome, Outcome::Pass, "{pool}");
        }
        let verdict = &judge(&CHECK, &facts(&["user-service", "users", "users"]))[0];
        assert_eq!(
            (verdict.outcome, verdict.evidence.as_slice()),
            (Outcome::Fail, &["job `users`: 2 targets".to_owned()][..])
        );
    }
}
