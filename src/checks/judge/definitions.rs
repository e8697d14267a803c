//! Every CustomResourceDefinition of the bundle is served, under the names that it asks for.

use super::facts::{KindNames, Need};
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use crate::chart::crds::served_versions;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a definition that was just written may take.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(10);

pub(super) const CHECK: Check = Check {
    id: "cluster/definitions-served",
    title: "every definition is served under its names",
    severity: Severity::Critical,
    hint: "kubectl get customresourcedefinitions",
    doc: "docs/checks.md#cluster-definitions-served",
    component: None,
    needs: &[Need::Kinds],
    judge: judge_definitions,
};

fn judge_definitions(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let definitions = &scope.bundle.crds;
    if definitions.is_empty() {
        return vec![Verdict::skip("the bundle has no definition")];
    }
    let served = match &facts.kinds {
        Ok(served) => served,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let wrong: Vec<(&str, String)> = definitions
        .iter()
        .filter_map(|definition| {
            let reason = lacking(&definition.0, served)?;
            Some((definition.0.pointer("/metadata/name")?.as_str()?, reason))
        })
        .collect();
    let all = counted(definitions.len(), "definition");
    vec![match wrong.first() {
        None => Verdict::pass().evidence(vec![all]),
        Some((name, _)) => Verdict::fail(format!("{} of {all} not served as they ask for", wrong.len()))
            .evidence(wrong.iter().map(|(name, reason)| format!("`{name}` {reason}")).collect())
            .hint(format!("kubectl describe customresourcedefinition {name}"))
            .again(Again::Within(ESTABLISHED_WITHIN)),
    }]
}

/// What the API server does not serve of `definition`; `None` when it serves all of it. Names that another
/// definition has already are refused without an error, and the former ones stay.
fn lacking(definition: &Value, served: &BTreeMap<String, KindNames>) -> Option<String> {
    let names = definition.pointer("/spec/names")?;
    let text = |key: &str| names.get(key).and_then(Value::as_str);
    let plural = text("plural")?;
    served_versions(definition).into_iter().find_map(|version| {
        let Some(found) = served.get(&format!("{version}/{plural}")) else {
            return Some(format!("is not served in `{version}`"));
        };
        let other = |wanted: Option<&str>, found: &str| wanted.filter(|wanted| *wanted != found).map(str::to_owned);
        let short = names.get("shortNames").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let refused = other(text("kind"), &found.kind)
            .or_else(|| other(text("singular"), &found.singular))
            .or_else(|| short.map(str::to_owned).find(|name| !found.short.contains(name)))?;
        Some(format!("is served in `{version}`, but not under its name `{refused}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{outcomes, scope};
    use super::*;
    use crate::checks::CannotAsk;
    use crate::event::Outcome;
    use crate::object::Manifest;
    use serde_json::json;

    fn definition() -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "probes.monitoring.coreos.com"},
            "spec": {
                "group": "monitoring.coreos.com",
                "names": {"plural": "probes", "singular": "probe", "kind": "Probe", "shortNames": ["prb"]},
                "versions": [{"name": "v1", "served": true}, {"name": "v1alpha1", "served": false}],
            },
        })
    }

    fn verdict(facts: &Facts) -> Verdict {
        let (config, mut bundle) = scope();
        bundle.crds = vec![Manifest(definition())];
        (CHECK.judge)(&Scope { config: &config, bundle: &bundle }, facts).pop().unwrap()
    }

    fn serving(place: &str, change: impl Fn(&mut KindNames)) -> Facts {
        let mut names =
            KindNames { kind: "Probe".to_owned(), singular: "probe".to_owned(), short: ["prb".to_owned()].into() };
        change(&mut names);
        Facts { kinds: Ok([(place.to_owned(), names)].into()), ..Facts::default() }
    }

    #[test]
    fn a_definition_is_served_in_its_versions_under_all_of_its_names() {
        let good = verdict(&serving("monitoring.coreos.com/v1/probes", |names| {
            names.short.insert("more".to_owned());
        }));
        assert_eq!((good.outcome, good.evidence), (Outcome::Pass, vec!["1 definition".to_owned()]));
        let evidence = |facts: &Facts| {
            let bad = verdict(facts);
            assert_eq!(bad.outcome, Outcome::Fail);
            assert_eq!(bad.reason, "1 of 1 definition not served as they ask for");
            assert_eq!(
                bad.hint.as_deref(),
                Some("kubectl describe customresourcedefinition probes.monitoring.coreos.com")
            );
            bad.evidence.join("\n")
        };
        let not_served = "`probes.monitoring.coreos.com` is not served in `monitoring.coreos.com/v1`";
        assert_eq!(evidence(&serving("monitoring.coreos.com/v1alpha1/probes", |_| {})), not_served);
        let mut refusals = Vec::new();
        for change in [
            (|names: &mut KindNames| names.kind = "Former".to_owned()) as fn(&mut KindNames),
            |names| names.singular = "former".to_owned(),
            |names| names.short.clear(),
        ] {
            refusals.push(evidence(&serving("monitoring.coreos.com/v1/probes", change)));
        }
        let under = "`probes.monitoring.coreos.com` is served in `monitoring.coreos.com/v1`, but not under its name";
        assert_eq!(refusals, ["Probe", "probe", "prb"].map(|name| format!("{under} `{name}`")));
    }

    #[test]
    fn what_cannot_be_asked_is_unknown_and_no_definition_is_nothing_to_ask() {
        let facts = Facts { kinds: Err(CannotAsk::lasting("no such list")), ..Facts::default() };
        assert_eq!(verdict(&facts).outcome, Outcome::Unknown);
        assert_eq!(outcomes(&super::super::testing::judge(&CHECK, &facts)), [Outcome::Skip]);
    }
}
