//! What must stand in the cluster, and what must not stand in the way: classes, definitions, Secrets,
//! webhooks, owners. Pure.

use crate::error::{Failure, Kind};
use crate::labels::{labels_of, selects};
use crate::object::{FIELD_MANAGER, Manifest, ObjectRef};
use crate::render::bundle::RequiredSecret;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What was gathered of it; `None` where it may not be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Names of the IngressClasses.
    pub ingress_classes: Option<BTreeSet<String>>,
    /// Names of the PriorityClasses.
    pub priority_classes: Option<BTreeSet<String>>,
    /// Gateways and definitions of others that are needed: each, and whether it is there.
    pub needed: Vec<(ObjectRef, bool)>,
    /// The keys of each required Secret by namespace and name; `None` where there is no such Secret.
    /// A Secret that may not be read is left out.
    pub secrets: BTreeMap<(String, String), Option<BTreeSet<String>>>,
    /// Metadata of the objects of our own that stand and would be changed.
    pub own: Vec<(ObjectRef, Value)>,
    /// The webhook configurations, validating and mutating.
    pub webhooks: Vec<Value>,
    /// Services of webhooks (namespace, name) that no ready endpoint stands behind.
    pub without_endpoints: BTreeSet<(String, String)>,
}

/// What is wanted of it.
pub(super) struct Wanted<'w> {
    /// IngressClasses by name.
    pub ingress_classes: &'w [String],
    /// PriorityClasses by name, each with a workload that names it.
    pub priority_classes: BTreeMap<String, ObjectRef>,
    /// The Secrets.
    pub secrets: &'w [RequiredSecret],
    /// Every object that will be written: those of the releases and our own.
    pub objects: Vec<&'w Manifest>,
    /// Names of the namespaces with their labels.
    pub namespaces: BTreeMap<String, Value>,
}

/// The problems.
pub(super) fn judge_standing(standing: &Standing, wanted: &Wanted<'_>) -> Vec<Failure> {
    let mut problems = judge_classes(standing, wanted);
    problems.extend(standing.needed.iter().filter(|(_, there)| !there).map(|(object, _)| judge_needed(object)));
    problems.extend(wanted.secrets.iter().filter_map(|secret| judge_secret(standing, secret)));
    problems.extend(standing.own.iter().filter_map(|(object, live)| judge_owner(object, live)));
    problems.extend(judge_webhooks(standing, wanted));
    problems
}

fn judge_classes(standing: &Standing, wanted: &Wanted<'_>) -> Vec<Failure> {
    let mut problems = Vec::new();
    if let Some(there) = &standing.ingress_classes {
        let list: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
        let list =
            if list.is_empty() { "the cluster has none".to_owned() } else { format!("there is {}", list.join(", ")) };
        for name in wanted.ingress_classes.iter().filter(|name| !there.contains(*name)) {
            problems.push(
                Failure::new(
                    Kind::Refused,
                    format!("an Ingress names the IngressClass `{name}`, which does not exist"),
                )
                .hint(format!("set `ingress.className` and `ingress.internalClassName`: {list}")),
            );
        }
    }
    if let Some(there) = &standing.priority_classes {
        for (name, user) in wanted.priority_classes.iter().filter(|(name, _)| !there.contains(*name)) {
            problems.push(
                Failure::new(Kind::Refused, format!("`{user}` names the PriorityClass `{name}`, which does not exist"))
                    .hint("kubectl get priorityclasses"),
            );
        }
    }
    problems
}

fn judge_needed(object: &ObjectRef) -> Failure {
    let hint = match object.kind.as_str() {
        "Gateway" => "set `ingress.gateway`, or `ingress.kind: ingress`".to_owned(),
        _ if object.name.ends_with(".cert-manager.io") => {
            "install cert-manager, or set `security.internalTls.mode: secret` and empty `ingress.clusterIssuer`"
                .to_owned()
        }
        _ => "install the Gateway API, or set `ingress.kind: ingress`".to_owned(),
    };
    Failure::new(Kind::Refused, format!("`{object}` does not exist, and the configuration needs it")).hint(hint)
}

fn judge_secret(standing: &Standing, secret: &RequiredSecret) -> Option<Failure> {
    let found = standing.secrets.get(&(secret.namespace.clone(), secret.name.clone()))?;
    let missing: Vec<&str> = secret
        .keys
        .iter()
        .filter(|key| found.as_ref().is_none_or(|keys| !keys.contains(&key.key)))
        .map(|key| key.key.as_str())
        .collect();
    let first = missing.first()?;
    let place = format!("{}/{}", secret.namespace, secret.name);
    let message = match found {
        None => format!("the Secret `{place}` does not exist; it needs {}", quoted(&missing)),
        Some(_) => format!("the Secret `{place}` lacks {}", quoted(&missing)),
    };
    let word = if missing.len() == 1 { format!("{}/{first}", secret.name) } else { secret.name.clone() };
    Some(Failure::new(Kind::Refused, message).hint(format!("drivemaster-mon secrets set {word}")))
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// An object of our own that somebody else made: one without our label and without a field of ours. A definition
/// may be taken over, unless a Helm release holds it, which would bring its own version back.
fn judge_owner(object: &ObjectRef, live: &Value) -> Option<Failure> {
    let labels = labels_of(live);
    let manager = labels.get("app.kubernetes.io/managed-by").map(String::as_str);
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let managers: Vec<&str> = entries.filter_map(|entry| entry.get("manager")?.as_str()).collect();
    if manager == Some(FIELD_MANAGER) || managers.contains(&FIELD_MANAGER) {
        return None;
    }
    let annotation = |key: &str| live.pointer("/metadata/annotations").and_then(|all| all.get(key)?.as_str());
    let name = object.kubectl_name();
    let option = object.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    if let (Some("Helm"), Some(release)) = (manager, annotation("meta.helm.sh/release-name")) {
        let namespace = annotation("meta.helm.sh/release-namespace").unwrap_or_default();
        return Some(
            Failure::new(Kind::Refused, format!("`{object}` belongs to the release `{namespace}/{release}`"))
                .hint(format!("uninstall that release and keep the object, then: kubectl label{option} {name} app.kubernetes.io/managed-by-")),
        );
    }
    if object.kind == "CustomResourceDefinition" {
        return None;
    }
    let by = managers.first().map(|manager| format!(", made by `{manager}`")).unwrap_or_default();
    Some(
        Failure::new(Kind::Refused, format!("`{object}` is there already and is not ours{by}"))
            .hint(format!("kubectl get{option} {name} -o yaml")),
    )
}

/// Webhooks that refuse what they cannot judge, that nobody answers, and that would be asked about our objects.
fn judge_webhooks(standing: &Standing, wanted: &Wanted<'_>) -> Vec<Failure> {
    let mut problems = Vec::new();
    for configuration in &standing.webhooks {
        let name = configuration.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let webhooks = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        for webhook in webhooks.filter(|webhook| webhook.get("failurePolicy").and_then(Value::as_str) != Some("Ignore"))
        {
            let text = |pointer: &str| webhook.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let service = (text("/clientConfig/service/namespace"), text("/clientConfig/service/name"));
            if !standing.without_endpoints.contains(&service) {
                continue;
            }
            let Some(object) = wanted.objects.iter().find(|object| is_asked(webhook, object, wanted)) else { continue };
            problems.push(
                Failure::new(
                    Kind::Refused,
                    format!(
                        "the webhook `{}` of `{name}` would be asked about `{}`, refuses what it cannot judge, and nothing \
                         is ready behind its Service `{}/{}`",
                        text("/name"),
                        object.reference(),
                        service.0,
                        service.1
                    ),
                )
                .hint(format!("kubectl get endpointslices -n {} -l kubernetes.io/service-name={}", service.0, service.1)),
            );
            break;
        }
    }
    problems
}

/// Whether the API server asks `webhook` about `object`, as far as rules and selectors tell.
fn is_asked(webhook: &Value, object: &Manifest, wanted: &Wanted<'_>) -> bool {
    let reference = object.reference();
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    let plural = crate::cluster::objects::resource(&reference).plural;
    let rules = webhook.get("rules").and_then(Value::as_array).into_iter().flatten();
    let has = |rule: &Value, key: &str, values: &[&str]| {
        let all = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).any(|value| value == "*" || value == "*/*" || values.contains(&value))
    };
    let scope = if reference.namespace.is_some() { "Namespaced" } else { "Cluster" };
    let by_rule = rules.into_iter().any(|rule| {
        let scoped = rule.get("scope").and_then(Value::as_str).is_none_or(|wanted| wanted == "*" || wanted == scope);
        scoped
            && has(rule, "apiGroups", &[group])
            && has(rule, "apiVersions", &[version])
            && has(rule, "resources", &[&plural])
            && has(rule, "operations", &["CREATE", "UPDATE"])
    });
    let by_namespace = match &reference.namespace {
        None => true,
        Some(name) => {
            let labels = wanted.namespaces.get(name).map(labels_of).unwrap_or_default();
            selects(webhook.get("namespaceSelector"), &labels)
        }
    };
    by_rule && by_namespace && selects(webhook.get("objectSelector"), &labels_of(&object.0))
}

/// The Services of all webhooks that refuse what they cannot judge: namespace and name, without those in `made`,
/// which come with the deploy.
pub(super) fn services_of_webhooks(
    webhooks: &[Value],
    made: &BTreeSet<(String, String)>,
) -> BTreeSet<(String, String)> {
    let all = webhooks.iter().filter_map(|configuration| configuration.get("webhooks")?.as_array()).flatten();
    all.filter(|webhook| webhook.get("failurePolicy").and_then(Value::as_str) != Some("Ignore"))
        .filter_map(|webhook| {
            let service = webhook.pointer("/clientConfig/service")?;
            Some((service.get("namespace")?.as_str()?.to_owned(), service.get("name")?.as_str()?.to_owned()))
        })
        .filter(|service| !made.contains(service))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::bundle::{RequiredKey, SecretForm};
    use serde_json::json;

    fn secret() -> RequiredSecret {
        let key = |key: &str| RequiredKey {
            key: key.to_owned(),
            meaning: String::new(),
            form: SecretForm::Any,
            used_by: String::new(),
        };
        RequiredSecret { namespace: "m".to_owned(), name: "s".to_owned(), keys: vec![key("a"), key("b")] }
    }

    fn told(standing: &Standing, wanted: &Wanted<'_>) -> Vec<(String, String)> {
        let problems = judge_standing(standing, wanted);
        problems.into_iter().map(|problem| (problem.message, problem.hint.unwrap_or_default())).collect()
    }

    fn nothing<'w>() -> Wanted<'w> {
        Wanted {
            ingress_classes: &[],
            priority_classes: BTreeMap::new(),
            secrets: &[],
            objects: Vec::new(),
            namespaces: BTreeMap::new(),
        }
    }

    #[test]
    fn missing_classes_are_named_with_those_there_are() {
        let classes = ["nginx".to_owned(), "inner".to_owned()];
        let owner = ObjectRef::namespaced("apps/v1", "Deployment", "m", "a");
        let wanted = Wanted {
            ingress_classes: &classes,
            priority_classes: BTreeMap::from([("high".to_owned(), owner)]),
            ..nothing()
        };
        let standing = Standing {
            ingress_classes: Some(BTreeSet::from(["nginx".to_owned()])),
            priority_classes: Some(BTreeSet::new()),
            ..Standing::default()
        };
        let told_of = told(&standing, &wanted);
        assert!(told_of[0].0.contains("`inner`") && told_of[0].1.contains("there is `nginx`"), "{told_of:?}");
        assert!(told_of[1].0.contains("PriorityClass `high`"), "{told_of:?}");
        assert!(told(&Standing::default(), &wanted).is_empty(), "what may not be read is not judged");
    }

    #[test]
    fn missing_secrets_and_keys_are_named_with_the_command() {
        let secrets = [secret()];
        let wanted = Wanted { secrets: &secrets, ..nothing() };
        let with = |keys: Option<&[&str]>| Standing {
            secrets: BTreeMap::from([(
                ("m".to_owned(), "s".to_owned()),
                keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
            )]),
            ..Standing::default()
        };
        assert_eq!(
            told(&with(None), &wanted),
            [(
                "the Secret `m/s` does not exist; it needs `a`, `b`".to_owned(),
                "drivemaster-mon secrets set s".to_owned()
            )]
        );
        assert_eq!(
            told(&with(Some(&["a"])), &wanted),
            [("the Secret `m/s` lacks `b`".to_owned(), "drivemaster-mon secrets set s/b".to_owned())]
        );
        assert!(told(&with(Some(&["a", "b", "c"])), &wanted).is_empty());
        assert!(told(&Standing::default(), &wanted).is_empty());
    }

    #[test]
    fn what_others_own_is_not_taken() {
        let object = ObjectRef::namespaced("v1", "ConfigMap", "m", "rules");
        let definition = ObjectRef::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", "a.b");
        let helm = json!({"metadata": {
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "crds", "meta.helm.sh/release-namespace": "x"},
        }});
        let by = |manager: &str| json!({"metadata": {"managedFields": [{"manager": manager}]}});
        for (object, live, expected) in [
            (&object, by("kubectl"), Some("not ours, made by `kubectl`")),
            (&object, by(FIELD_MANAGER), None),
            (&object, json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER}}}), None),
            (&object, helm.clone(), Some("belongs to the release `x/crds`")),
            (&definition, helm, Some("belongs to the release `x/crds`")),
            (&definition, by("kubectl"), None),
        ] {
            let told = judge_owner(object, &live).map(|problem| problem.message);
            assert_eq!(told.is_some(), expected.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
    }

    #[test]
    fn a_webhook_that_nobody_answers_is_in_the_way_of_what_it_judges() {
        let object = Manifest(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "m", "labels": {"x": "y"}}
        }));
        let webhook = |change: &dyn Fn(&mut Value)| {
            let mut webhook = json!({
                "name": "w", "failurePolicy": "Fail",
                "clientConfig": {"service": {"namespace": "p", "name": "judge"}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
            });
            change(&mut webhook);
            let without_endpoints = BTreeSet::from([("p".to_owned(), "judge".to_owned())]);
            let webhooks = vec![json!({"metadata": {"name": "c"}, "webhooks": [webhook]})];
            let namespaces = BTreeMap::from([("m".to_owned(), json!({"metadata": {"labels": {"n": "m"}}}))]);
            let wanted = Wanted { objects: vec![&object], namespaces, ..nothing() };
            told(&Standing { webhooks, without_endpoints, ..Standing::default() }, &wanted)
        };
        let told_of = webhook(&|_| {});
        assert!(told_of[0].0.contains("`w` of `c`") && told_of[0].0.contains("`ConfigMap m/a`"), "{told_of:?}");
        let fine: [&dyn Fn(&mut Value); 6] = [
            &|webhook| webhook["failurePolicy"] = json!("Ignore"),
            &|webhook| webhook["clientConfig"]["service"]["name"] = json!("other"),
            &|webhook| webhook["rules"][0]["resources"] = json!(["secrets"]),
            &|webhook| webhook["rules"][0]["operations"] = json!(["DELETE"]),
            &|webhook| webhook["namespaceSelector"] = json!({"matchLabels": {"n": "other"}}),
            &|webhook| {
                webhook["objectSelector"] = json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]})
            },
        ];
        for change in fine {
            assert!(webhook(change).is_empty());
        }
    }

    #[test]
    fn what_the_configuration_needs_of_others_is_named() {
        let crd = ObjectRef::cluster_scoped(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "certificates.cert-manager.io",
        );
        let gateway = ObjectRef::namespaced("gateway.networking.k8s.io/v1", "Gateway", "g", "public");
        let standing =
            Standing { needed: vec![(crd, false), (gateway.clone(), false), (gateway, true)], ..Standing::default() };
        let told_of = told(&standing, &nothing());
        assert_eq!(told_of.len(), 2);
        assert!(
            told_of[0].1.contains("install cert-manager") && told_of[1].1.contains("ingress.gateway"),
            "{told_of:?}"
        );
    }
}
