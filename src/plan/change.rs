//! What the step of a release would do: from which chart to which, which values, which objects, which hooks. Pure.

use super::definitions::unknown_fields;
use super::difference::{Mask, cut, whole_difference};
use super::drift::{Owner, autoscaled};
use super::model::{Action, StoredRelease};
use crate::object::{Manifest, ObjectRef};
use crate::render::bundle::Release;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The annotation of what is no object of a release but run beside it.
const HOOK: &str = "helm.sh/hook";
/// The annotation of what Helm leaves when it goes from a release, with [`KEEP`].
const POLICY: &str = "helm.sh/resource-policy";
const KEEP: &str = "keep";

/// What the step of a release would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseChange {
    /// Version of the chart that stands; `None` where none does, or it could not be read.
    pub from_version: Option<String>,
    /// Version of the chart that is to stand.
    pub to_version: String,
    /// What differs in the values, one line each, secrets masked.
    pub values: Vec<String>,
    /// What would become of the release's objects.
    pub objects: Vec<ObjectChange>,
    /// What would be run beside them.
    pub hooks: Vec<Hook>,
    /// What is wrong with it as it would be.
    pub problems: Vec<String>,
}

/// What would become of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// The object.
    pub object: ObjectRef,
    /// What happens to it.
    pub action: Action,
    /// What changes in it, one line each, the content of Secrets masked.
    pub changes: Vec<String>,
}

/// An object that helm makes for the moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// When, such as `pre-upgrade`.
    pub event: String,
    /// The object.
    pub object: ObjectRef,
}

/// What helm would make of a release.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// Its objects, hooks among them, each with its namespace.
    pub objects: Vec<Manifest>,
    /// The same once more, where the chart may make something else each time.
    pub again: Option<Vec<Manifest>>,
}

/// What stands of the objects of a release.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing<'o> {
    /// Those that are there, and others.
    pub live: Option<&'o BTreeMap<ObjectRef, Value>>,
    /// Those that Helm's record names and a helm that failed did not make.
    pub gone: BTreeSet<ObjectRef>,
}

impl ReleaseChange {
    /// What is known where helm could not be asked, and why.
    pub fn unknown(release: &Release, stored: Option<&StoredRelease>, why: String) -> Self {
        let known = release_change(release, stored, &Rendered::default(), &[], &Standing::default());
        ReleaseChange {
            objects: Vec::new(),
            problems: vec![format!("what becomes of its objects is not known: {why}")],
            ..known
        }
    }
}

/// What deploying `release` would change of what Helm has `stored` of it. What the chart makes anew each time
/// (passwords, certificates) is no change.
pub fn release_change(
    release: &Release,
    stored: Option<&StoredRelease>,
    rendered: &Rendered,
    definitions: &[Manifest],
    standing: &Standing<'_>,
) -> ReleaseChange {
    let values = stored.map(|stored| whole_difference(&release.values, &stored.values, Mask::Names));
    let event = if stored.is_some() { "upgrade" } else { "install" };
    let is_hook = |object: &&Manifest| annotation(object, HOOK).is_some();
    let objects: Vec<&Manifest> = rendered.objects.iter().filter(|object| !is_hook(object)).collect();
    ReleaseChange {
        from_version: stored.map(|stored| stored.chart_version.clone()),
        to_version: release.chart.version.clone(),
        values: cut(values.unwrap_or_default()),
        objects: object_changes(&objects, stored, rendered.again.as_deref(), &standing.gone),
        hooks: rendered.objects.iter().filter(is_hook).flat_map(|object| hooks_of(object, event)).collect(),
        problems: objects
            .iter()
            .flat_map(|object| problems_of(object, definitions).into_iter().chain(set_back(object, standing)))
            .collect(),
    }
}

fn object_changes(
    objects: &[&Manifest],
    stored: Option<&StoredRelease>,
    again: Option<&[Manifest]>,
    gone: &BTreeSet<ObjectRef>,
) -> Vec<ObjectChange> {
    let by_reference = |objects: &[Manifest]| -> BTreeMap<ObjectRef, Value> {
        objects.iter().map(|object| (object.reference(), object.0.clone())).collect()
    };
    let old = stored.map(|stored| by_reference(&stored.manifest)).unwrap_or_default();
    let again = again.map(by_reference).unwrap_or_default();
    let mut changes = Vec::new();
    let mut kept = BTreeSet::new();
    for object in objects {
        let reference = object.reference();
        let (action, lines) = match old.get(&reference).filter(|_| !gone.contains(&reference)) {
            None => (Action::Create, Vec::new()),
            Some(old) => {
                let mut new = object.0.clone();
                if let Some(again) = again.get(&reference) {
                    settle(&mut new, again, old);
                }
                (Action::Update, cut(whole_difference(&new, old, Mask::of(old))))
            }
        };
        if action == Action::Create || !lines.is_empty() {
            changes.push(ObjectChange { object: reference.clone(), action, changes: lines });
        }
        kept.insert(reference);
    }
    let gone = old.into_iter().filter(|(reference, object)| !kept.contains(reference) && !is_kept(object));
    changes.extend(gone.map(|(object, _)| ObjectChange { object, action: Action::Delete, changes: Vec::new() }));
    changes.sort_by(|one, other| one.object.cmp(&other.object));
    changes
}

/// Gives `new` what `old` has wherever `again` is something else: there the chart makes it anew each time.
fn settle(new: &mut Value, again: &Value, old: &Value) {
    if new == again {
        return;
    }
    match (new, again, old) {
        (Value::Object(new), Value::Object(again), Value::Object(old)) => {
            for (key, value) in new.iter_mut() {
                if let (Some(again), Some(old)) = (again.get(key), old.get(key)) {
                    settle(value, again, old);
                }
            }
        }
        (Value::Array(new), Value::Array(again), Value::Array(old))
            if new.len() == again.len() && new.len() == old.len() =>
        {
            for ((value, again), old) in new.iter_mut().zip(again).zip(old) {
                settle(value, again, old);
            }
        }
        (new, _, old) => *new = old.clone(),
    }
}

/// Whether Helm leaves `object` when it goes from a release, or its release goes.
pub fn is_kept(object: &Value) -> bool {
    let policy = object.pointer("/metadata/annotations").and_then(|all| all.get(POLICY));
    policy.and_then(Value::as_str) == Some(KEEP)
}

fn annotation<'o>(object: &'o Manifest, key: &str) -> Option<&'o str> {
    object.0.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// The hooks of `event` (`install` or `upgrade`) that the object is.
fn hooks_of(object: &Manifest, event: &str) -> Vec<Hook> {
    let events = annotation(object, HOOK).unwrap_or_default().split(',').map(str::trim);
    let wanted = events.filter(|name| name.strip_prefix("pre-").or(name.strip_prefix("post-")) == Some(event));
    wanted.map(|name| Hook { event: name.to_owned(), object: object.reference() }).collect()
}

/// Fields that the definition of the object's kind, as it is planned, does not know.
pub fn problems_of(object: &Manifest, definitions: &[Manifest]) -> Vec<String> {
    let fields = unknown_fields(definitions, &object.0).into_iter();
    fields.map(|field| format!("{} {field}: its definition knows no such field", object.reference())).collect()
}

/// That helm sets back the replicas that an autoscaler chose, where the chart names some.
fn set_back(object: &Manifest, standing: &Standing<'_>) -> Option<String> {
    let reference = object.reference();
    let (manager, theirs, ours) = autoscaled(object, standing.live?.get(&reference)?, Owner::Helm)?;
    Some(format!("{reference} spec.replicas: {theirs} -> {ours}, until {manager} scales it again"))
}

/// What makes keys, in the templates of charts.
const KEYS: &[&str] = &["genCA", "genPrivateKey", "genSelfSignedCert", "genSignedCert"];
/// What else makes something else each time it is asked.
const RANDOM: &[&str] = &[
    "bcrypt",
    "encryptAES",
    "htpasswd",
    "randAlpha",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "shuffle",
    "uuidv4",
    "{{ now",
    "{{- now",
    "(now",
];

/// Whether two renderings of the chart of `release` may differ.
pub fn is_random(release: &Release) -> bool {
    has_any(release, RANDOM) || makes_keys(release)
}

/// Whether the chart of `release` may make keys when it is rendered.
pub fn makes_keys(release: &Release) -> bool {
    has_any(release, KEYS)
}

fn has_any(release: &Release, words: &[&str]) -> bool {
    let templates = release.chart.files.iter().filter(|(path, _)| path.contains("templates/"));
    templates
        .map(|(_, content)| String::from_utf8_lossy(content))
        .any(|text| words.iter().any(|word| text.contains(word)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::bundle::Chart;
    use serde_json::json;

    fn release() -> Release {
        let chart =
            Chart { name: "a".into(), version: "2.0.0".into(), app_version: "1".into(), files: BTreeMap::new() };
        let values = json!({"replicas": 2, "same": 1, "adminPassword": "s3cret"});
        Release { name: "a".into(), namespace: "m".into(), chart, values, needs: Vec::new() }
    }

    fn object(kind: &str, name: &str, with: Value) -> Manifest {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "m"}});
        for (key, value) in with.as_object().unwrap() {
            object[key] = value.clone();
        }
        Manifest(object)
    }

    fn hook(name: &str, events: &str) -> Manifest {
        object("Job", name, json!({"metadata": {"name": name, "namespace": "m", "annotations": {HOOK: events}}}))
    }

    fn shown(change: &ReleaseChange) -> Vec<String> {
        let lines =
            change.objects.iter().map(|one| format!("{} {} {}", one.action.done(), one.object, one.changes.join("; ")));
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn an_upgrade_tells_chart_values_objects_and_hooks() {
        let stored = StoredRelease {
            chart_version: "1.0.0".into(),
            app_version: "1".into(),
            values: json!({"replicas": 1, "same": 1, "adminPassword": "old-s3cret", "gone": true}),
            manifest: vec![
                object("ConfigMap", "same", json!({"data": {"a": "b"}})),
                object("ConfigMap", "changed", json!({"data": {"a": "b", "c": "d"}})),
                object("Secret", "s", json!({"data": {"k": "b2xk"}})),
                object("Service", "gone", json!({})),
                object(
                    "ConfigMap",
                    "kept",
                    json!({"metadata": {"name": "kept", "namespace": "m", "annotations": {POLICY: KEEP}}}),
                ),
            ],
        };
        let rendered = Rendered {
            objects: vec![
                object("ConfigMap", "same", json!({"data": {"a": "b"}})),
                object("ConfigMap", "changed", json!({"data": {"a": "x"}})),
                object("Secret", "s", json!({"data": {"k": "bmV3"}})),
                object("Service", "new", json!({})),
                hook("h", "pre-install, pre-upgrade,post-upgrade"),
                hook("t", "test"),
            ],
            again: None,
        };
        let change = release_change(&release(), Some(&stored), &rendered, &[], &Standing::default());
        assert_eq!((change.from_version.as_deref(), change.to_version.as_str()), (Some("1.0.0"), "2.0.0"));
        assert_eq!(change.values, ["~ adminPassword: (masked) -> (masked)", "~ replicas: 1 -> 2", "- gone"]);
        assert_eq!(
            shown(&change),
            [
                "updated ConfigMap m/changed ~ data.a: b -> x; - data.c",
                "updated Secret m/s ~ data.k: (masked) -> (masked)",
                "deleted Service m/gone",
                "created Service m/new",
            ]
        );
        let events: Vec<&str> = change.hooks.iter().map(|hook| hook.event.as_str()).collect();
        assert_eq!(events, ["pre-upgrade", "post-upgrade"]);
        let install = release_change(&release(), None, &rendered, &[], &Standing::default());
        assert_eq!((install.hooks.len(), install.objects.len(), install.values.len()), (1, 4, 0));
    }

    #[test]
    fn replicas_of_an_autoscaler_that_helm_sets_back_are_told() {
        let workload = |replicas: Value| object("Deployment", "w", json!({"spec": {"replicas": replicas}}));
        let live = |manager: &str, subresource: Value| {
            let mut live = workload(json!(3));
            live.0["metadata"]["managedFields"] = json!([
                {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}},
                {"manager": manager, "operation": "Update", "subresource": subresource,
                 "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ]);
            BTreeMap::from([(live.reference(), live.0)])
        };
        let told = |wanted: Value, live: &BTreeMap<ObjectRef, Value>| {
            let rendered = Rendered { objects: vec![workload(wanted)], again: None };
            release_change(&release(), None, &rendered, &[], &Standing { live: Some(live), ..Standing::default() })
                .problems
        };
        let scaled = live("autoscaler", json!("scale"));
        assert_eq!(told(json!(1), &scaled), ["Deployment m/w spec.replicas: 3 -> 1, until autoscaler scales it again"]);
        assert!(told(json!(3), &scaled).is_empty());
        assert!(told(Value::Null, &scaled).is_empty(), "the chart names none");
        assert!(told(json!(1), &live("kubectl-scale", json!("scale"))).is_empty(), "a person is no autoscaler");
        assert!(told(json!(1), &live("kubectl-edit", Value::Null)).is_empty(), "that is drift");
        assert!(told(json!(1), &BTreeMap::new()).is_empty());
    }

    #[test]
    fn what_a_helm_that_failed_did_not_make_is_made() {
        let objects = ["there", "gone"].map(|name| object("ConfigMap", name, json!({"data": {"a": "b"}})));
        let stored = StoredRelease { manifest: objects.to_vec(), ..StoredRelease::default() };
        let standing = Standing { gone: [objects[1].reference()].into(), ..Standing::default() };
        let rendered = Rendered { objects: objects.to_vec(), again: None };
        let change = release_change(&release(), Some(&stored), &rendered, &[], &standing);
        assert_eq!(shown(&change), ["created ConfigMap m/gone"]);
    }

    #[test]
    fn what_a_chart_makes_anew_each_time_is_no_change() {
        let made = |password: &str, sum: &str, image: &str| {
            vec![
                object("Secret", "s", json!({"data": {"password": password, "user": "dQ=="}})),
                object(
                    "ConfigMap",
                    "c",
                    json!({"data": {"sum": sum, "image": image}, "list": [{"sum": sum}, {"n": 1}]}),
                ),
            ]
        };
        let stored = StoredRelease { manifest: made("MQ==", "1", "i:1"), ..StoredRelease::default() };
        let rendered = Rendered { objects: made("Mg==", "2", "i:1"), again: Some(made("Mw==", "3", "i:1")) };
        assert_eq!(
            shown(&release_change(&release(), Some(&stored), &rendered, &[], &Standing::default())),
            Vec::<String>::new()
        );
        let rendered = Rendered { objects: made("Mg==", "2", "i:2"), again: Some(made("Mw==", "3", "i:2")) };
        let expected = ["updated ConfigMap m/c ~ data.image: i:1 -> i:2"];
        assert_eq!(shown(&release_change(&release(), Some(&stored), &rendered, &[], &Standing::default())), expected);
    }

    #[test]
    fn a_chart_that_makes_passwords_is_known() {
        let with = |path: &str, text: &str| {
            let mut release = release();
            release.chart.files.insert(path.to_owned(), text.as_bytes().to_vec());
            assert_eq!(makes_keys(&release), path.ends_with(".tpl"), "{path}");
            is_random(&release)
        };
        assert!(with("templates/secret.yaml", "{{ randAlphaNum 40 }}"));
        assert!(with("charts/sub/templates/cert.tpl", "{{- $ca := genCA \"a\" 365 }}"));
        assert!(!with("templates/a.yaml", "{{ .Values.a }} # right now"));
        assert!(!with("README.md", "genCA"));
    }

    #[test]
    fn an_object_is_judged_by_the_definition_that_is_planned() {
        let definition = Manifest(
            json!({"kind": "CustomResourceDefinition", "spec": {"group": "g", "names": {"kind": "K"},
            "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": {"a": {}}}}}}}]}}),
        );
        let made = |fields: Value| {
            Manifest(json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": fields}))
        };
        let definitions = [definition];
        assert!(problems_of(&made(json!({"a": 1})), &definitions).is_empty());
        assert_eq!(
            problems_of(&made(json!({"b": 1})), &definitions),
            ["K x spec.b: its definition knows no such field"]
        );
        let other = Manifest(json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "x"}, "spec": {"b": 1}}));
        assert!(problems_of(&other, &definitions).is_empty(), "nothing defines this version");
    }
}
