//! Each namespace has the Pod Security labels that were deployed, and no pod in it violates them.

use super::facts::{Need, PodSecurityFact};
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use serde_json::Value;

/// What the labels begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";

pub(super) const CHECK: Check = Check {
    id: "security/pod-security",
    title: "Pod Security is enforced, and no pod violates it",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#security-pod-security",
    component: None,
    needs: &[Need::PodSecurity],
    judge: judge_pod_security,
};

fn judge_pod_security(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let found = match &facts.pod_security {
        Ok(found) => found,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    for manifest in &scope.bundle.namespaces {
        let name = manifest.reference().name;
        let Some(fact) = found.iter().find(|fact| fact.namespace == name) else { continue };
        let problems = problems_of(&manifest.0, fact);
        if problems.is_empty() {
            let level = fact.labels.as_ref().and_then(|labels| labels.get(&format!("{PREFIX}enforce")));
            right.push(format!("`{name}` enforces {}", level.map_or("nothing", String::as_str)));
        }
        wrong.extend(problems.into_iter().map(|problem| format!("`{name}`: {problem}")));
    }
    if !wrong.is_empty() {
        return vec![Verdict::fail("Pod Security is not as deployed").evidence(wrong)];
    }
    // Labels alone prove nothing of pods that were there before them.
    if let Some(why) = found.iter().find_map(|fact| fact.violations.as_ref().err()) {
        return vec![if why.passing { Verdict::unknown(why) } else { Verdict::skip(why.reason.clone()) }];
    }
    vec![match right.len() {
        0 => Verdict::skip("no namespace is deployed"),
        count => {
            right.insert(0, format!("no pod of {} violates its level", counted(count, "namespace")));
            Verdict::pass().evidence(right)
        }
    }]
}

fn problems_of(manifest: &Value, fact: &PodSecurityFact) -> Vec<String> {
    let Some(labels) = &fact.labels else { return vec!["it does not exist".to_owned()] };
    let wanted = manifest.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let mut problems: Vec<String> = wanted
        .filter(|(name, _)| name.starts_with(PREFIX))
        .filter_map(|(name, value)| {
            let value = value.as_str()?;
            match labels.get(name) {
                Some(found) if found == value => None,
                Some(found) => Some(format!("label `{name}` is `{found}`, not `{value}`")),
                None => Some(format!("label `{name}` is missing")),
            }
        })
        .collect();
    problems.extend(fact.violations.iter().flatten().cloned());
    problems
}

#[cfg(test)]
mod tests {
    use super::super::facts::{CannotAsk, Fact};
    use super::super::testing;
    use super::*;
    use crate::event::Outcome;
    use crate::object::Manifest;
    use serde_json::json;

    fn on(label: Option<&str>, violations: Fact<Vec<String>>) -> Verdict {
        let (config, mut bundle) = testing::scope();
        bundle.namespaces = vec![Manifest(json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "m", "labels": {"pod-security.kubernetes.io/enforce": "restricted", "other": "x"}}}))];
        let labels = label.map(|label| [("pod-security.kubernetes.io/enforce".to_owned(), label.to_owned())].into());
        let fact = PodSecurityFact { namespace: "m".to_owned(), labels, violations };
        let facts = Facts { pod_security: Ok(vec![fact]), ..Facts::default() };
        judge_pod_security(&Scope { config: &config, bundle: &bundle }, &facts).remove(0)
    }

    #[test]
    fn labels_must_be_as_deployed_and_pods_within_them() {
        assert_eq!(on(Some("restricted"), Ok(vec![])).outcome, Outcome::Pass);
        let looser = on(Some("baseline"), Ok(vec![]));
        assert_eq!(
            looser.evidence,
            ["`m`: label `pod-security.kubernetes.io/enforce` is `baseline`, not `restricted`"]
        );
        assert_eq!(on(None, Ok(vec![])).evidence, ["`m`: it does not exist"]);
        let violating = on(Some("restricted"), Ok(vec!["alloy: allowPrivilegeEscalation != false".to_owned()]));
        assert_eq!((violating.outcome, violating.evidence.len()), (Outcome::Fail, 1));
    }

    #[test]
    fn what_may_not_be_tried_is_said_and_no_pass() {
        let refused = on(Some("restricted"), Err(CannotAsk::lasting("not allowed")));
        assert_eq!((refused.outcome, refused.reason.as_str()), (Outcome::Skip, "not allowed"));
    }
}
