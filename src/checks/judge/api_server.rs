//! The API server answers.

use super::{Check, Facts, Scope, Severity, Verdict, facts::Need};

pub(super) const CHECK: Check = Check {
    id: "cluster/api-server-answers",
    title: "the API server answers",
    severity: Severity::Critical,
    hint: "kubectl cluster-info",
    doc: "docs/checks.md#cluster-api-server-answers",
    component: None,
    needs: &[Need::ApiServer],
    judge: judge_api_server,
};

fn judge_api_server(_: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    vec![match &facts.api_server {
        Ok(version) => Verdict::pass().evidence(vec![format!("Kubernetes {version}")]),
        Err(why) => Verdict::unknown(why),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{judge, outcomes};
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_version_is_an_answer() {
        let facts = Facts { api_server: Ok("v1.37.2".to_owned()), ..Facts::default() };
        let verdicts = judge(&CHECK, &facts);
        assert_eq!(outcomes(&verdicts), [Outcome::Pass]);
        assert_eq!(verdicts[0].evidence, ["Kubernetes v1.37.2"]);
    }
}
