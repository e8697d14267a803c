//! What the gathered facts mean for a plan. Pure.

use crate::error::{Failure, Kind};
use crate::helm::Version;
use crate::helm::parse::{NEWEST_MAJOR, OLDEST, version};
use crate::object::{Manifest, ObjectRef};
use crate::plan::change::is_kept;
use crate::plan::{Action, Reason, Step, Target};
use crate::ready::snapshot::StorageClassSeen;
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The oldest Kubernetes that is supported: the first whose Pod Security admission is stable.
const OLDEST_SERVER: (u64, u64) = (1, 25);

/// Leave to do something with an object, or with every one of a kind in a namespace or in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// The kind and namespace; the name is empty where every one is meant.
    pub kind: ObjectRef,
    /// The verb, such as `create`.
    pub verb: &'static str,
}

impl Access {
    /// The same with every object of the kind.
    pub fn of_kind(&self) -> Self {
        Access { kind: ObjectRef { name: String::new(), ..self.kind.clone() }, verb: self.verb }
    }
}

/// What was gathered.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the API server.
    pub server_version: String,
    /// Version of helm.
    pub helm_version: Version,
    /// What we may not do but would have to.
    pub denied: BTreeSet<Access>,
    /// The StorageClasses of the cluster; `None` where they may not be read.
    pub storage_classes: Option<Vec<StorageClassSeen>>,
    /// The StorageClasses that claims ask for; `None` among them asks for the default.
    pub claimed_classes: BTreeSet<Option<String>>,
    /// The namespaces that are being deleted.
    pub terminating: Vec<String>,
    /// Objects that a release would make but that belong to another release (`namespace/name`), or to
    /// none (empty).
    pub taken: Vec<(ObjectRef, String)>,
    /// The releases that an earlier helm left in the middle: namespace, name, status.
    pub stuck: Vec<(String, String, String)>,
}

/// The problems in `facts`; `configured_class` is the configuration's `storage.class`.
pub fn judge_preflight(facts: &Facts, configured_class: &str) -> Vec<Failure> {
    let mut problems = Vec::new();
    problems.extend(judge_server(&facts.server_version));
    problems.extend(judge_helm(facts.helm_version));
    problems.extend(facts.terminating.iter().map(|namespace| {
        Failure::new(Kind::Refused, format!("the namespace `{namespace}` is being deleted"))
            .hint(format!("kubectl wait --for=delete namespace/{namespace} --timeout=120s"))
    }));
    problems.extend(facts.stuck.iter().map(|(namespace, name, status)| judge_stuck(namespace, name, status)));
    problems.extend(facts.taken.iter().map(|(object, owner)| judge_taken(object, owner)));
    problems.extend(judge_storage(facts, configured_class));
    problems.extend(judge_access(&facts.denied));
    problems
}

/// One failure of all `problems`.
///
/// # Errors
/// When there is any.
pub fn refuse(mut problems: Vec<Failure>) -> Result<()> {
    if problems.len() > 1 {
        let lines = problems.iter().map(|problem| match &problem.hint {
            Some(hint) => format!("{} (hint: {hint})", problem.message),
            None => problem.message.clone(),
        });
        let chain = lines.rev().fold(None, |below: Option<anyhow::Error>, line| {
            Some(below.map_or_else(|| anyhow::anyhow!(line.clone()), |below| below.context(line.clone())))
        });
        let failure =
            Failure::new(Kind::Refused, format!("{} problems stand in the way; nothing was changed", problems.len()));
        return Err(chain.map_or_else(|| anyhow::anyhow!("no problem"), |chain| chain.context(failure)));
    }
    problems.pop().map_or(Ok(()), |problem| Err(problem.into()))
}

fn judge_server(text: &str) -> Option<Failure> {
    // A version that cannot be read is a distribution's own: not our business to refuse.
    let found = version(text)?;
    let (major, minor) = OLDEST_SERVER;
    ((found.major, found.minor) < OLDEST_SERVER).then(|| {
        Failure::new(Kind::Refused, format!("the cluster runs Kubernetes `{text}`; {major}.{minor} or later is needed"))
            .hint("upgrade the cluster, or name another with --context")
    })
}

fn judge_helm(found: Version) -> Option<Failure> {
    (!found.is_supported()).then(|| {
        let message = format!("helm `{found}` is not supported; {OLDEST} or later up to {NEWEST_MAJOR}.x is needed");
        Failure::new(Kind::Refused, message).hint("name another with --helm")
    })
}

fn judge_stuck(namespace: &str, name: &str, status: &str) -> Failure {
    let message = format!("the release `{name}` is `{status}`: another helm works on it, or was killed");
    let way_out = match status {
        "pending-upgrade" | "pending-rollback" => format!("helm rollback {name} -n {namespace}"),
        _ => format!("helm uninstall {name} -n {namespace}"),
    };
    Failure::new(Kind::Refused, message).hint(way_out)
}

fn judge_taken(object: &ObjectRef, owner: &str) -> Failure {
    match owner {
        "" => Failure::new(Kind::Refused, format!("`{object}` is there already, and no Helm release made it"))
            .hint(format!("kubectl get {}", kubectl_words(object))),
        owner => Failure::new(Kind::Refused, format!("`{object}` belongs to the release `{owner}`"))
            .hint("deploy to the namespace of that release, or uninstall it first"),
    }
}

fn kubectl_words(object: &ObjectRef) -> String {
    let namespace = object.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("{}{namespace}", object.kubectl_name())
}

/// The release that made an object, as `namespace/name`, by the marks that helm puts on it.
pub(super) fn owner(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<String> {
    let by_helm = labels.get("app.kubernetes.io/managed-by").is_some_and(|manager| manager == "Helm");
    let name = annotations.get("meta.helm.sh/release-name").filter(|_| by_helm)?;
    Some(format!("{}/{name}", annotations.get("meta.helm.sh/release-namespace")?))
}

fn judge_storage(facts: &Facts, configured_class: &str) -> Vec<Failure> {
    let Some(classes) = &facts.storage_classes else { return Vec::new() };
    let names: Vec<String> = classes.iter().map(|class| format!("`{}`", class.name)).collect();
    let there =
        if names.is_empty() { "the cluster has none".to_owned() } else { format!("there is {}", names.join(", ")) };
    let key = if configured_class.is_empty() { "set `storage.class`" } else { "change `storage.class`" };
    let hint = format!("{key}: {there}");
    let missing = |wanted: &Option<String>| match wanted {
        None => (!classes.iter().any(|class| class.default))
            .then(|| "the volumes ask for the default StorageClass and the cluster has no default".to_owned()),
        Some(name) if name.is_empty() => None,
        Some(name) => (!classes.iter().any(|class| class.name == *name))
            .then(|| format!("the volumes ask for the StorageClass `{name}`, which does not exist")),
    };
    let messages = facts.claimed_classes.iter().filter_map(missing);
    messages.map(|message| Failure::new(Kind::Refused, message).hint(hint.clone())).collect()
}

/// The rights that are missing, by kind.
pub fn judge_access(denied: &BTreeSet<Access>) -> Vec<Failure> {
    let mut verbs: BTreeMap<&ObjectRef, Vec<&str>> = BTreeMap::new();
    for access in denied {
        verbs.entry(&access.kind).or_default().push(access.verb);
    }
    let problem = |(kind, verbs): (&ObjectRef, Vec<&str>)| {
        let (place, option) = match &kind.namespace {
            Some(namespace) => (format!("in namespace `{namespace}`"), format!(" -n {namespace}")),
            None => ("in the cluster".to_owned(), String::new()),
        };
        let first = verbs.first().copied().unwrap_or_default();
        Failure::new(
            Kind::Refused,
            format!("not allowed to {} objects of kind `{}` {place}", verbs.join(", "), kind.kind),
        )
        .hint(format!("kubectl auth can-i {first} {}{option}", kind.kind.to_lowercase()))
    };
    verbs.into_iter().map(problem).collect()
}

/// What the steps themselves write, without the objects of the releases.
pub fn accesses_of_steps(steps: &[Step]) -> BTreeSet<Access> {
    let mut accesses = BTreeSet::new();
    for step in steps {
        let verbs: &[&'static str] = match (step.action, &step.target) {
            (Action::Create, Target::GeneratedSecret { .. }) => &["create"],
            (_, Target::WebhookAuthority { .. }) => &["get", "patch"],
            // Helm keeps its revisions there.
            (_, Target::Release { .. } | Target::UnwantedRelease { .. }) => {
                &["create", "delete", "get", "list", "update"]
            }
            (Action::Create, _) => &["create", "patch"],
            (Action::Update, _) => &["patch"],
            (Action::Delete, _) => &["delete", "get"],
        };
        let kind = match &step.target {
            Target::Namespace { manifest } | Target::Object { manifest } => {
                ObjectRef { name: String::new(), ..manifest.reference() }
            }
            Target::GeneratedSecret { secret } => ObjectRef::namespaced("v1", "Secret", &secret.namespace, ""),
            Target::WebhookCertificate { certificate } => {
                ObjectRef { name: String::new(), ..certificate.secret_reference() }
            }
            Target::WebhookAuthority { configuration, .. } => {
                ObjectRef { name: String::new(), ..configuration.clone() }
            }
            Target::Release { release } => ObjectRef::namespaced("v1", "Secret", &release.namespace, ""),
            Target::UnwantedRelease { namespace, .. } => ObjectRef::namespaced("v1", "Secret", namespace, ""),
            Target::UnwantedObject { reference, .. } => ObjectRef { name: String::new(), ..reference.clone() },
        };
        accesses.extend(verbs.iter().map(|verb| Access { kind: kind.clone(), verb }));
    }
    accesses
}

/// What the records of deploys in `namespace` take.
pub fn accesses_of_records(namespace: &str) -> BTreeSet<Access> {
    let kind = ObjectRef::namespaced("v1", "Secret", namespace, "");
    ["create", "delete", "get", "list", "patch"].map(|verb| Access { kind: kind.clone(), verb }).into()
}

/// What helm does with the objects of the releases that it installs or upgrades.
pub fn accesses_of_objects(objects: &[Manifest]) -> BTreeSet<Access> {
    accesses_of_kinds(objects, &["create", "get", "patch"])
}

/// What helm does with the objects of the releases that it takes away, except those that it keeps.
pub fn accesses_of_removed(objects: &[Manifest], helm: Version) -> BTreeSet<Access> {
    accesses_of_kinds(objects.iter().filter(|object| !is_kept(&object.0)), verbs_of_removal(helm))
}

/// What helm does with an object that goes with its release. Helm 4 leaves behind what it may not read, and says that
/// the release is gone.
pub fn verbs_of_removal(helm: Version) -> &'static [&'static str] {
    if helm.major >= 4 { &["delete", "get"] } else { &["delete"] }
}

fn accesses_of_kinds<'o>(objects: impl IntoIterator<Item = &'o Manifest>, verbs: &[&'static str]) -> BTreeSet<Access> {
    let kinds: BTreeSet<ObjectRef> =
        objects.into_iter().map(|object| ObjectRef { name: String::new(), ..object.reference() }).collect();
    kinds.into_iter().flat_map(|kind| verbs.iter().map(move |verb| Access { kind: kind.clone(), verb })).collect()
}

/// The StorageClasses that the claims among `objects` ask for.
pub fn claimed_classes(objects: &[Manifest]) -> BTreeSet<Option<String>> {
    let mut classes = BTreeSet::new();
    for Manifest(object) in objects {
        let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        // The operator makes claims of these of its objects' fields.
        let of_operator = ["/spec/storage/volumeClaimTemplate", "/spec/storageSpec/volumeClaimTemplate"];
        let claims = templates
            .into_iter()
            .flatten()
            .chain(of_operator.iter().filter_map(|pointer| object.pointer(pointer)))
            .chain((object["kind"] == "PersistentVolumeClaim").then_some(object));
        for claim in claims.filter(|claim| claim.pointer("/spec/volumeName").is_none()) {
            classes.insert(claim.pointer("/spec/storageClassName").and_then(Value::as_str).map(str::to_owned));
        }
    }
    classes
}

/// The releases that another helm left in the middle.
pub fn stuck_releases(steps: &[Step]) -> Vec<(String, String, String)> {
    let stuck = steps.iter().filter_map(|step| match (&step.target, &step.reason) {
        (Target::Release { release }, Reason::Stuck { status }) => {
            Some((release.namespace.clone(), release.name.clone(), status.clone()))
        }
        _ => None,
    });
    stuck.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{chain_of, exit_code_of};
    use crate::render::bundle::{Chart, Release};
    use serde_json::json;

    fn facts() -> Facts {
        Facts {
            server_version: "v1.37.2".to_owned(),
            helm_version: version("v4.3.1").unwrap(),
            denied: BTreeSet::new(),
            storage_classes: Some(vec![StorageClassSeen { name: "fast-ssd".to_owned(), default: false }]),
            claimed_classes: BTreeSet::from([Some("fast-ssd".to_owned())]),
            terminating: Vec::new(),
            taken: Vec::new(),
            stuck: Vec::new(),
        }
    }

    #[test]
    fn an_object_of_somebody_else_is_in_the_way() {
        let object = ObjectRef::namespaced("v1", "Service", "m", "loki");
        let told = |owner: &str| {
            let facts = Facts { taken: vec![(object.clone(), owner.to_owned())], ..facts() };
            judge_preflight(&facts, "fast-ssd").iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(""), ["`Service m/loki` is there already, and no Helm release made it"]);
        assert_eq!(told("other/loki"), ["`Service m/loki` belongs to the release `other/loki`"]);
    }

    #[test]
    fn the_owner_is_read_from_helms_marks() {
        let map = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let marks = map(&[("meta.helm.sh/release-name", "loki"), ("meta.helm.sh/release-namespace", "m")]);
        let helm = map(&[("app.kubernetes.io/managed-by", "Helm")]);
        assert_eq!(owner(&helm, &marks).as_deref(), Some("m/loki"));
        assert_eq!(owner(&map(&[]), &marks), None);
        assert_eq!(owner(&helm, &map(&[])), None);
    }

    fn access(verb: &'static str) -> Access {
        Access { kind: ObjectRef::namespaced("v1", "ConfigMap", "m", ""), verb }
    }

    #[test]
    fn each_problem_is_named_with_its_way_out() {
        type Fault = fn(&mut Facts);
        let cases: [(Fault, &str, &str); 10] = [
            (|facts| facts.server_version = "v1.24.9".to_owned(), "`v1.24.9`", "upgrade the cluster"),
            (|facts| facts.helm_version = version("v3.13.0").unwrap(), "helm `3.13.0`", "--helm"),
            (|facts| facts.helm_version = version("v5.0.0").unwrap(), "helm `5.0.0`", "--helm"),
            (|facts| facts.terminating = vec!["m".to_owned()], "namespace `m`", "kubectl wait"),
            (
                |facts| facts.stuck = vec![("m".to_owned(), "loki".to_owned(), "pending-install".to_owned())],
                "`loki` is `pending-install`",
                "helm uninstall loki -n m",
            ),
            (
                |facts| facts.stuck = vec![("m".to_owned(), "loki".to_owned(), "pending-upgrade".to_owned())],
                "`pending-upgrade`",
                "helm rollback loki -n m",
            ),
            (
                |facts| facts.claimed_classes = BTreeSet::from([Some("slow".to_owned())]),
                "`slow`",
                "there is `fast-ssd`",
            ),
            (|facts| facts.claimed_classes = BTreeSet::from([None]), "no default", "there is `fast-ssd`"),
            (|facts| facts.storage_classes = Some(Vec::new()), "`fast-ssd`", "the cluster has none"),
            (
                |facts| facts.denied = BTreeSet::from([access("patch"), access("create")]),
                "not allowed to create, patch objects of kind `ConfigMap` in namespace `m`",
                "kubectl auth can-i create configmap -n m",
            ),
        ];
        for (plant, message, hint) in cases {
            let mut facts = facts();
            plant(&mut facts);
            let problems = judge_preflight(&facts, "fast-ssd");
            assert_eq!(problems.len(), 1, "{message}: {problems:?}");
            assert!(problems[0].message.contains(message), "{problems:?}");
            assert!(problems[0].hint.as_ref().unwrap().contains(hint), "{problems:?}");
            assert_eq!(problems[0].kind, Kind::Refused);
        }
    }

    #[test]
    fn a_fit_cluster_has_no_problem() {
        let fine: [fn(&mut Facts); 5] = [
            |_| {},
            |facts| facts.server_version = "v1.25.0-gke.1".to_owned(),
            |facts| facts.server_version = "mine".to_owned(),
            |facts| facts.storage_classes = None,
            |facts| (facts.claimed_classes, facts.storage_classes) = (BTreeSet::new(), Some(Vec::new())),
        ];
        for change in fine {
            let mut facts = facts();
            change(&mut facts);
            assert!(judge_preflight(&facts, "").is_empty(), "{facts:?}");
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let mut facts = facts();
        facts.terminating = vec!["m".to_owned()];
        facts.server_version = "v1.20.0".to_owned();
        let error = refuse(judge_preflight(&facts, "")).unwrap_err();
        assert_eq!(exit_code_of(&error), 5);
        let chain = chain_of(&error);
        assert!(chain[0].starts_with("2 problems"), "{chain:?}");
        assert!(chain[1].contains("v1.20.0") && chain[2].contains("namespace `m`"), "{chain:?}");
        assert!(refuse(Vec::new()).is_ok());
        assert!(refuse(vec![Failure::new(Kind::Refused, "one")]).unwrap_err().to_string() == "one");
    }

    fn step(action: Action, reason: Reason, target: Target) -> Step {
        Step { id: "x".to_owned(), action, reason, needs: Vec::new(), changes: Vec::new(), target }
    }

    fn release() -> Target {
        let chart = Chart { name: "loki".into(), version: "1".into(), app_version: "1".into(), files: BTreeMap::new() };
        let release =
            Release { name: "loki".into(), namespace: "m".into(), chart, values: json!({}), needs: Vec::new() };
        Target::Release { release }
    }

    #[test]
    fn what_a_plan_writes_is_what_is_asked_for() {
        let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "m"}});
        let object = |action| step(action, Reason::New, Target::Object { manifest: Manifest(config_map.clone()) });
        assert_eq!(accesses_of_steps(&[object(Action::Update)]), BTreeSet::from([access("patch")]));
        assert_eq!(accesses_of_steps(&[object(Action::Create)]), BTreeSet::from([access("create"), access("patch")]));
        assert_eq!(accesses_of_steps(&[object(Action::Delete)]), BTreeSet::from([access("delete"), access("get")]));
        let secrets = accesses_of_steps(&[step(Action::Create, Reason::New, release())]);
        assert!(accesses_of_records("m").iter().all(|access| access.kind.kind == "Secret"));
        assert_eq!(accesses_of_records("m").len(), 5);
        assert!(secrets.iter().all(|access| access.kind.kind == "Secret") && secrets.len() == 5, "{secrets:?}");
        let two = [Manifest(config_map.clone()), Manifest(config_map)];
        assert_eq!(accesses_of_objects(&two).len(), 3);
        let helm = |major| Version { major, minor: 14, patch: 0 };
        assert_eq!(accesses_of_removed(&two, helm(4)), BTreeSet::from([access("delete"), access("get")]));
        assert_eq!(accesses_of_removed(&two, helm(3)), BTreeSet::from([access("delete")]));
        let mut kept = two[0].clone();
        kept.0["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        assert!(accesses_of_removed(&[kept], helm(4)).is_empty());
    }

    #[test]
    fn classes_are_found_in_claims_and_in_their_templates() {
        let objects = [
            json!({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [{"spec": {"storageClassName": "a"}}, {"spec": {}}]}}),
            json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": "b"}}),
            json!({"kind": "Prometheus", "spec": {"storage": {"volumeClaimTemplate": {"spec": {"storageClassName": "c"}}}}}),
            json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": "by-hand", "volumeName": "v"}}),
            json!({"kind": "ConfigMap"}),
        ]
        .map(Manifest);
        assert_eq!(
            claimed_classes(&objects),
            BTreeSet::from([None, Some("a".to_owned()), Some("b".to_owned()), Some("c".to_owned())])
        );
    }

    #[test]
    fn only_releases_left_in_the_middle_are_stuck() {
        let with = |reason: Reason| step(Action::Update, reason, release());
        let stuck = with(Reason::Stuck { status: "pending-install".to_owned() });
        let failed = with(Reason::Repair { status: "failed".to_owned() });
        assert_eq!(stuck_releases(&[stuck, failed]).len(), 1);
    }
}
