//! The NetworkPolicies that were deployed are there.

use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict};

pub(super) const CHECK: Check = Check {
    id: "security/network-policies",
    title: "the network policies are there",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#security-network-policies",
    component: None,
    needs: &[Need::NetworkPolicies],
    judge: judge_policies,
};

fn judge_policies(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    if !scope.config.security.network_policies {
        return vec![Verdict::skip("`security.networkPolicies` is false")];
    }
    let found = match &facts.network_policies {
        Ok(found) => found,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let references = scope.bundle.own_objects().map(crate::object::Manifest::reference);
    let wanted: Vec<String> = references
        .filter(|reference| reference.kind == "NetworkPolicy")
        .map(|reference| format!("{}/{}", reference.namespace.unwrap_or_default(), reference.name))
        .collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !found.contains(name))
        .map(|name| format!("network policy `{name}` does not exist"))
        .collect();
    vec![match (wanted.len(), missing.len()) {
        (0, _) => Verdict::fail("network policies are configured and none is rendered"),
        (all, 0) => Verdict::pass().evidence(vec![format!("{all} present")]),
        (all, count) => Verdict::fail(format!("{count} of {all} missing")).evidence(missing),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::event::Outcome;
    use crate::object::Manifest;
    use serde_json::json;

    #[test]
    fn each_policy_of_the_bundle_must_exist() {
        let (mut config, mut bundle) = testing::scope();
        let policy = |name: &str| {
            Manifest(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": name, "namespace": "m"}}))
        };
        bundle.objects = vec![policy("default-deny"), policy("grafana")];
        let facts = |names: &[&str]| Facts {
            network_policies: Ok(names.iter().map(|name| (*name).to_owned()).collect()),
            ..Facts::default()
        };
        let off = judge_policies(&Scope { config: &config, bundle: &bundle }, &facts(&[]));
        assert_eq!(off[0].outcome, Outcome::Skip);
        config.security.network_policies = true;
        let scope = Scope { config: &config, bundle: &bundle };
        assert_eq!(judge_policies(&scope, &facts(&["m/default-deny", "m/grafana"]))[0].outcome, Outcome::Pass);
        let missing = &judge_policies(&scope, &facts(&["m/grafana", "n/default-deny"]))[0];
        assert_eq!(missing.evidence, ["network policy `m/default-deny` does not exist"]);
        assert_eq!(missing.reason, "1 of 2 missing");
    }
}
