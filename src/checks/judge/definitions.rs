//! Every CustomResourceDefinition of the bundle is served, under the names that it asks for.

use super::facts::{KindNames, Need};
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use crate::event::Outcome;
use crate::render::bundle::served_versions;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
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
    let wrong: Vec<(&str, Lack)> = definitions
        .iter()
        .filter_map(|definition| {
            let lack = lacking(&definition.0, served)?;
            Some((definition.0.pointer("/metadata/name")?.as_str()?, lack))
        })
        .collect();
    let all = counted(definitions.len(), "definition");
    let Some((name, _)) = wrong.first() else { return vec![Verdict::pass().evidence(vec![all])] };
    let reason = format!("{} of {all} not served as they ask for", wrong.len());
    let works = wrong.iter().all(|(_, lack)| matches!(lack, Lack::Name { .. }));
    let verdict = if works { Verdict::new(Outcome::Warn, reason) } else { Verdict::fail(reason) };
    let evidence = wrong.iter().map(|(name, lack)| format!("`{name}` {lack}")).collect();
    let hint = format!("kubectl describe customresourcedefinition {name}");
    vec![verdict.evidence(evidence).hint(hint).again(Again::Within(ESTABLISHED_WITHIN))]
}

/// What of a definition is not served.
enum Lack {
    /// A version, or its kind in it.
    Version(String),
    /// A name that people may use for its kind.
    Name { version: String, name: String },
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Version(version) => write!(formatter, "is not served in `{version}`"),
            Lack::Name { version, name } => {
                write!(formatter, "is served in `{version}`, but not under its name `{name}`")
            }
        }
    }
}

/// The first thing that the API server does not serve of `definition`. Names that another definition has already are
/// refused without an error, and the former ones stay.
fn lacking(definition: &Value, served: &BTreeMap<String, KindNames>) -> Option<Lack> {
    let names = definition.pointer("/spec/names")?;
    let text = |key: &str| names.get(key).and_then(Value::as_str);
    let (plural, kind) = (text("plural")?, text("kind")?);
    let found: Vec<(String, Option<&KindNames>)> = served_versions(definition)
        .into_iter()
        .map(|version| {
            let found = served.get(&format!("{version}/{plural}")).filter(|found| found.kind == kind);
            (version, found)
        })
        .collect();
    if let Some((version, _)) = found.iter().find(|(_, found)| found.is_none()) {
        return Some(Lack::Version(version.clone()));
    }
    let short = names.get("shortNames").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let wanted: Vec<&str> = text("singular").into_iter().chain(short).collect();
    found.into_iter().find_map(|(version, found)| {
        let has = |name: &str| found.is_some_and(|found| found.singular == name || found.short.contains(name));
        let name = wanted.iter().find(|name| !has(name))?;
        Some(Lack::Name { version, name: (*name).to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{outcomes, scope};
    use super::*;
    use crate::checks::CannotAsk;
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
        let evidence = |facts: &Facts, outcome: Outcome| {
            let bad = verdict(facts);
            assert_eq!(bad.outcome, outcome);
            assert_eq!(bad.reason, "1 of 1 definition not served as they ask for");
            assert_eq!(
                bad.hint.as_deref(),
                Some("kubectl describe customresourcedefinition probes.monitoring.coreos.com")
            );
            bad.evidence.join("\n")
        };
        let not_served = "`probes.monitoring.coreos.com` is not served in `monitoring.coreos.com/v1`";
        let in_another_version = serving("monitoring.coreos.com/v1alpha1/probes", |_| {});
        let of_another_kind = serving("monitoring.coreos.com/v1/probes", |names| names.kind = "Other".to_owned());
        for facts in [in_another_version, of_another_kind] {
            assert_eq!(evidence(&facts, Outcome::Fail), not_served);
        }
        // It works, only not under every name that people know.
        let under = "`probes.monitoring.coreos.com` is served in `monitoring.coreos.com/v1`, but not under its name";
        let former = serving("monitoring.coreos.com/v1/probes", |names| names.singular = "former".to_owned());
        assert_eq!(evidence(&former, Outcome::Warn), format!("{under} `probe`"));
        let none = serving("monitoring.coreos.com/v1/probes", |names| names.short.clear());
        assert_eq!(evidence(&none, Outcome::Warn), format!("{under} `prb`"));
    }

    #[test]
    fn what_cannot_be_asked_is_unknown_and_no_definition_is_nothing_to_ask() {
        let facts = Facts { kinds: Err(CannotAsk::lasting("no such list")), ..Facts::default() };
        assert_eq!(verdict(&facts).outcome, Outcome::Unknown);
        assert_eq!(outcomes(&super::super::testing::judge(&CHECK, &facts)), [Outcome::Skip]);
    }
}
