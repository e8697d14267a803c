//! Every release of the bundle is deployed.

use super::facts::{Need, ReleaseFact};
use super::{Check, Facts, Scope, Severity, Verdict, counted};

pub(super) const CHECK: Check = Check {
    id: "releases/deployed",
    title: "every Helm release is deployed",
    severity: Severity::Critical,
    hint: "drivemaster-mon deploy",
    doc: "docs/checks.md#releases-deployed",
    component: None,
    needs: &[Need::Releases],
    judge: judge_releases,
};

fn judge_releases(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let found = match &facts.releases {
        Ok(found) => found,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    for release in &scope.bundle.releases {
        let is_it = |fact: &&ReleaseFact| fact.namespace == release.namespace && fact.name == release.name;
        match found.iter().find(is_it) {
            Some(fact) if fact.status == "deployed" => right.push(format!("{} revision {}", fact.name, fact.revision)),
            Some(fact) => {
                wrong.push(format!("release `{}` is {} (revision {})", fact.name, fact.status, fact.revision))
            }
            None => {
                wrong.push(format!("release `{}` is not installed in namespace `{}`", release.name, release.namespace))
            }
        }
    }
    vec![match (wrong.len(), scope.bundle.releases.len()) {
        (_, 0) => Verdict::skip("the bundle has no release"),
        (0, _) => Verdict::pass().evidence(right),
        (count, all) => Verdict::fail(format!("{count} of {} not deployed", counted(all, "release"))).evidence(wrong),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{judge, outcomes};
    use super::*;
    use crate::event::Outcome;

    fn release(name: &str, status: &str) -> ReleaseFact {
        ReleaseFact {
            namespace: "drivemaster-monitoring".to_owned(),
            name: name.to_owned(),
            status: status.to_owned(),
            revision: 2,
            base: Some(2),
            chart_digest: None,
        }
    }

    #[test]
    fn each_release_of_the_bundle_must_be_deployed() {
        let facts = |releases| Facts { releases: Ok(releases), ..Facts::default() };
        let good = judge(&CHECK, &facts(vec![release("prometheus", "deployed"), release("loki", "deployed")]));
        assert_eq!(outcomes(&good), [Outcome::Pass]);
        let bad = judge(&CHECK, &facts(vec![release("prometheus", "pending-upgrade"), release("other", "deployed")]));
        assert_eq!(outcomes(&bad), [Outcome::Fail]);
        assert_eq!(
            bad[0].evidence,
            [
                "release `prometheus` is pending-upgrade (revision 2)",
                "release `loki` is not installed in namespace `drivemaster-monitoring`"
            ]
        );
    }
}
