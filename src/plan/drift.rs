//! What others did to an object since its owner wrote it. Pure.
//!
//! The API server keeps for every field who set it last (`metadata.managedFields`). A field that its owner
//! still has is as the owner wrote it, however the server spells it; so only fields that somebody else took
//! over, or that are gone, are compared at all. Fields that others rightly have are left: replicas that an
//! autoscaler sets, and injected authorities.

use super::difference::{Mask, is_empty, join, told};
use crate::object::{FIELD_MANAGER, Manifest, ObjectRef};
use crate::quantity::thousandths;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;

/// The annotation that Helm alone writes to every object of a release: who has it is Helm.
const HELM_ANNOTATION: &str = "f:meta.helm.sh/release-name";
/// What Helm calls itself unless its executable has another name.
const HELM: &str = "helm";
/// Maps whose keys no schema knows, so that the server keeps all of them.
const FREE_MAPS: &[&str] = &["labels", "annotations", "data", "binaryData", "matchLabels", "nodeSelector"];

/// Who wrote an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Helm, for a release.
    Helm,
    /// This program.
    Us,
}

/// Who changed a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    /// The field manager, such as `kubectl-edit`.
    pub manager: String,
    /// How: `Update` or `Apply`.
    pub operation: String,
    /// When it last wrote fields of this object.
    pub time: Option<Timestamp>,
}

/// One thing that is not as its owner wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drifted {
    /// The object.
    pub object: ObjectRef,
    /// The field; empty where the whole object is gone.
    pub path: String,
    /// What a deploy changes, one line each, secrets masked.
    pub changes: Vec<String>,
    /// Who changed it, where the server knows: of what is gone it keeps nothing.
    pub by: Option<Author>,
}

impl fmt::Display for Drifted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(formatter, "{}", self.object),
            path => write!(formatter, "{} {path}", self.object),
        }
    }
}

impl Drifted {
    /// The object is gone.
    pub fn gone(object: ObjectRef) -> Self {
        let changes = vec![format!("+ {object}: it is gone")];
        Drifted { object, path: String::new(), changes, by: None }
    }

    /// The lines with the object in front, and behind the first who changed it and, as of `now`, when.
    pub fn lines(&self, now: Option<Timestamp>) -> Vec<String> {
        let mut lines = self.changes.clone();
        if let Some(first) = lines.first_mut() {
            if !self.path.is_empty()
                && let Some((sign, rest)) = first.split_once(' ')
            {
                *first = format!("{sign} {} {rest}", self.object);
            }
            if let Some(author) = &self.by {
                first.push_str(&author.shown(now));
            }
        }
        lines
    }
}

impl Author {
    /// ` (kubectl-edit)`, or ` (kubectl-edit, 2 min ago)`.
    pub fn shown(&self, now: Option<Timestamp>) -> String {
        let age = now.zip(self.time).map(|(now, time)| format!(", {} ago", age(now.as_second() - time.as_second())));
        format!(" ({}{})", self.manager, age.unwrap_or_default())
    }
}

/// A number of seconds as people say it.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What of `wanted`, which `owner` wrote, others changed in `live`, which is there. Of a Secret `live` may be
/// its metadata alone.
pub fn drift(wanted: &Manifest, live: &Value, owner: Owner) -> Vec<Drifted> {
    let entries = entries(live, owner);
    let mut judge = Judge {
        object: wanted.reference(),
        mask: Mask::of(&wanted.0),
        applies: entries.iter().any(|entry| entry.is_owner && entry.operation == "Apply"),
        found: Vec::new(),
    };
    let root: Vec<Claim> = entries.iter().map(|entry| Claim { entry, fields: Fields::of(entry.fields) }).collect();
    for (key, value) in wanted.0.as_object().into_iter().flatten() {
        let claims = below(&root, &format!("f:{key}"));
        match key.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for key in ["labels", "annotations"] {
                    let claims = below(&claims, &format!("f:{key}"));
                    judge.field(value.get(key), live["metadata"].get(key), &format!("metadata.{key}"), &claims);
                }
            }
            // The one becomes the other.
            "data" | "stringData" if judge.mask == Mask::Secret => judge.secret_keys(value, &below(&root, "f:data")),
            // Not in the metadata, and it cannot be changed.
            "type" if judge.mask == Mask::Secret => {}
            _ => judge.field(Some(value), live.get(key), key, &claims),
        }
    }
    judge.found
}

/// One entry of `managedFields`.
struct Entry<'v> {
    manager: &'v str,
    operation: &'v str,
    time: Option<Timestamp>,
    is_owner: bool,
    /// Whether its fields are left to it.
    is_rightful: bool,
    fields: &'v Value,
}

/// The entries of `live`, without those of its status.
fn entries(live: &Value, owner: Owner) -> Vec<Entry<'_>> {
    let all = live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let (manager, operation, subresource) = (text("manager"), text("operation"), text("subresource"));
        if subresource == "status" {
            return None;
        }
        let fields = entry.get("fieldsV1")?;
        let is_us = manager == FIELD_MANAGER;
        let is_owner = match owner {
            Owner::Us => is_us && operation == "Apply",
            Owner::Helm => manager == HELM || fields["f:metadata"]["f:annotations"].get(HELM_ANNOTATION).is_some(),
        };
        // A person who scales by hand is no autoscaler.
        let scales = subresource == "scale" && !manager.starts_with("kubectl");
        Some(Entry {
            manager,
            operation,
            time: text("time").parse().ok(),
            is_owner,
            is_rightful: scales || (is_us && owner == Owner::Helm),
            fields,
        })
    })
    .collect()
}

/// The fields of an entry at some path.
#[derive(Clone, Copy)]
enum Fields<'v> {
    /// The field itself and everything below it.
    Whole,
    /// Some of what is below it.
    Some(&'v Map<String, Value>),
}

impl<'v> Fields<'v> {
    fn of(fields: &'v Value) -> Self {
        match fields.as_object() {
            Some(map) if !map.is_empty() => Fields::Some(map),
            _ => Fields::Whole,
        }
    }
}

/// That an entry has (something of) a field.
struct Claim<'v> {
    entry: &'v Entry<'v>,
    fields: Fields<'v>,
}

/// The claims below `key` of a field: `f:name`, `k:{...}` or `v:...`.
fn below<'v>(claims: &[Claim<'v>], key: &str) -> Vec<Claim<'v>> {
    let step = |claim: &Claim<'v>| {
        let fields = match claim.fields {
            Fields::Whole => Fields::Whole,
            Fields::Some(map) => Fields::of(map.get(key)?),
        };
        Some(Claim { entry: claim.entry, fields })
    };
    claims.iter().filter_map(step).collect()
}

/// The keys with `prefix` that any of `claims` has here.
fn keys<'v>(claims: &[Claim<'v>], prefix: &str) -> Vec<&'v str> {
    let maps = claims.iter().filter_map(|claim| match claim.fields {
        Fields::Some(map) => Some(map),
        Fields::Whole => None,
    });
    maps.flat_map(|map| map.keys()).filter_map(|key| key.strip_prefix(prefix)).collect()
}

struct Judge {
    object: ObjectRef,
    mask: Mask,
    /// Whether the owner applies on the server: then the server knows each of its fields.
    applies: bool,
    found: Vec<Drifted>,
}

impl Judge {
    fn field(&mut self, wanted: Option<&Value>, live: Option<&Value>, path: &str, claims: &[Claim]) {
        let Some(wanted) = wanted else { return };
        match (wanted, live) {
            (_, None | Some(Value::Null)) => self.gone(wanted, path, claims),
            (Value::Object(wanted), Some(Value::Object(live))) if !is_whole(claims) => {
                for (key, value) in wanted {
                    let claims = below(claims, &format!("f:{key}"));
                    self.field(Some(value), live.get(key), &join(path, key), &claims);
                }
            }
            (Value::Array(wanted), Some(Value::Array(live))) if !is_whole(claims) => {
                self.items(wanted, live, path, claims);
            }
            (wanted, Some(live)) => self.leaf(wanted, live, path, claims),
        }
    }

    /// A list that the server merges by the keys of its items, or as a set.
    fn items(&mut self, wanted: &[Value], live: &[Value], path: &str, claims: &[Claim]) {
        let keyed: Vec<(&str, Map<String, Value>)> =
            keys(claims, "k:").into_iter().filter_map(|text| Some((text, serde_json::from_str(text).ok()?))).collect();
        let Some(names) = keyed.first().map(|(_, key)| key.keys().cloned().collect::<Vec<String>>()) else {
            for item in wanted.iter().filter(|item| !live.contains(item)) {
                self.gone(item, &format!("{path}[{}]", short(item)), &[]);
            }
            return;
        };
        for item in wanted {
            let shown: Vec<String> = names.iter().filter_map(|name| item.get(name)).map(short).collect();
            let path = format!("{path}[{}]", shown.join("/"));
            // A part of the key that the item leaves out was defaulted.
            let is_it = |other: &&Value| {
                names.iter().all(|name| match item.get(name) {
                    Some(value) => other.get(name) == Some(value),
                    None => name != "protocol" || other[name] == "TCP",
                })
            };
            let Some(found) = live.iter().find(is_it) else {
                self.gone(item, &path, &[]);
                continue;
            };
            let is_key = |key: &Map<String, Value>| key.iter().all(|(name, value)| found.get(name) == Some(value));
            let Some((text, _)) = keyed.iter().find(|(_, key)| is_key(key)) else { continue };
            self.field(Some(item), Some(found), &path, &below(claims, &format!("k:{text}")));
        }
    }

    /// A field that is one thing to the server.
    fn leaf(&mut self, wanted: &Value, live: &Value, path: &str, claims: &[Claim]) {
        if claims.iter().any(|claim| claim.entry.is_owner) || is_same(wanted, live) {
            return;
        }
        let Some(by) = taken_over(claims, path) else { return };
        let changes = told(path, wanted, live, self.mask);
        self.push(path, changes, Some(by));
    }

    /// A field that is not there. The server leaves out what is empty; and of an owner that does not apply it
    /// drops what its schema does not know, so that only free maps and keyed items can be told there.
    fn gone(&mut self, wanted: &Value, path: &str, claims: &[Claim]) {
        let is_owned = claims.iter().any(|claim| claim.entry.is_owner);
        if is_owned || is_zero(wanted) || !(self.applies || is_in_free_map(path) || path.ends_with(']')) {
            return;
        }
        let changes = told(path, wanted, &Value::Null, self.mask);
        self.push(path, changes, None);
    }

    /// The keys of a Secret, whose values are never read: who has each says enough.
    fn secret_keys(&mut self, wanted: &Value, claims: &[Claim]) {
        for key in wanted.as_object().into_iter().flat_map(Map::keys) {
            let claims = below(claims, &format!("f:{key}"));
            if claims.iter().any(|claim| claim.entry.is_owner) {
                continue;
            }
            let path = join("data", key);
            if let Some(by) = taken_over(&claims, &path) {
                self.push(&path, vec![format!("~ {path}: (masked) -> (masked)")], Some(by));
            }
        }
    }

    fn push(&mut self, path: &str, changes: Vec<String>, by: Option<Author>) {
        self.found.push(Drifted { object: self.object.clone(), path: path.to_owned(), changes, by });
    }
}

/// Whether everybody who has the field has all of it; also where nobody has it.
fn is_whole(claims: &[Claim]) -> bool {
    claims.iter().all(|claim| matches!(claim.fields, Fields::Whole))
}

/// Who took the field at `path` over; `None` where nobody did, or one who may.
fn taken_over(claims: &[Claim], path: &str) -> Option<Author> {
    if claims.iter().any(|claim| claim.entry.is_rightful) || path.ends_with("caBundle") {
        return None;
    }
    let newest = claims.iter().map(|claim| claim.entry).max_by_key(|entry| entry.time)?;
    Some(Author { manager: newest.manager.to_owned(), operation: newest.operation.to_owned(), time: newest.time })
}

fn is_in_free_map(path: &str) -> bool {
    path.split('.').any(|part| FREE_MAPS.contains(&part))
}

/// What a server may leave out without saying so.
fn is_zero(value: &Value) -> bool {
    is_empty(value)
        || match value {
            Value::Bool(value) => !value,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Object(map) => map.values().all(is_zero),
            _ => false,
        }
}

/// Whether the server may show `wanted` as `live`: with defaults, and numbers and quantities spelled otherwise.
fn is_same(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).map_or_else(|| is_zero(value), |other| is_same(value, other))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(value, other)| is_same(value, other))
        }
        (wanted, live) if wanted == live => true,
        (Value::Null, live) | (live, Value::Null) => is_zero(live),
        (Value::Object(_) | Value::Array(_) | Value::Bool(_), _)
        | (_, Value::Object(_) | Value::Array(_) | Value::Bool(_)) => false,
        (wanted, live) => {
            let (wanted, live) = (short(wanted), short(live));
            wanted == live || thousandths(&wanted).is_some_and(|number| thousandths(&live) == Some(number))
        }
    }
}

fn short(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, subresource: Option<&str>, fields: Value) -> Value {
        let mut entry =
            json!({"manager": manager, "operation": operation, "time": "2026-01-01T00:00:00Z", "fieldsV1": fields});
        if let Some(subresource) = subresource {
            entry["subresource"] = json!(subresource);
        }
        entry
    }

    /// A Deployment of a chart, as it is when nobody but helm wrote it.
    fn wanted() -> Manifest {
        Manifest(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "m", "labels": {"app": "a"}, "annotations": {}},
            "spec": {"replicas": 3, "paused": false, "template": {"spec": {"containers": [{"name": "main", "image": "i:1",
                "ports": [{"containerPort": 80}], "args": ["--a"], "resources": {"limits": {"cpu": "1000m"}}}]}}}}))
    }

    fn fields(with: Value) -> Value {
        let mut fields = json!({"f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {"f:meta.helm.sh/release-name": {}}},
            "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:name": {}, "f:image": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                "f:args": {}, "f:resources": {"f:limits": {"f:cpu": {}}}}}}}}});
        for (key, value) in with.as_object().unwrap() {
            fields["f:spec"][key] = value.clone();
        }
        fields
    }

    fn live(entries: &[Value]) -> Value {
        json!({"metadata": {"name": "a", "namespace": "m", "labels": {"app": "a", "theirs": "x"}, "managedFields": entries},
            "spec": {"replicas": 3, "strategy": {"type": "RollingUpdate"}, "template": {"spec": {"restartPolicy": "Always",
                "containers": [{"name": "sidecar"}, {"name": "main", "image": "i:1", "args": ["--a"],
                "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}}}]}}}})
    }

    fn lines(live: &Value) -> Vec<String> {
        drift(&wanted(), live, Owner::Helm).iter().flat_map(|one| one.lines(None)).collect()
    }

    #[test]
    fn defaults_and_other_spellings_are_no_drift() {
        for (manager, operation) in [("helm", "Apply"), ("helm3", "Update")] {
            let live = live(&[
                entry(manager, operation, None, fields(json!({"f:replicas": {}}))),
                entry("kube-controller-manager", "Update", Some("status"), json!({"f:status": {"f:replicas": {}}})),
            ]);
            assert_eq!(lines(&live), Vec::<String>::new());
        }
    }

    #[test]
    fn what_somebody_took_over_is_told_with_who() {
        let mut live = live(&[
            entry("helm", "Apply", None, fields(json!({}))),
            entry("kubectl-edit", "Update", None, json!({"f:spec": {"f:replicas": {}}})),
        ]);
        assert_eq!(lines(&live), Vec::<String>::new(), "they set the same");
        live["spec"]["replicas"] = json!(1);
        assert_eq!(lines(&live), ["~ Deployment m/a spec.replicas: 1 -> 3 (kubectl-edit)"]);
        let found = drift(&wanted(), &live, Owner::Helm);
        let now = "2026-01-01T00:02:10Z".parse().ok();
        assert_eq!(found[0].lines(now), ["~ Deployment m/a spec.replicas: 1 -> 3 (kubectl-edit, 2 min ago)"]);
        live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"] = json!({});
        assert_eq!(lines(&live), Vec::<String>::new(), "helm still has it, so this is as helm wrote it");
    }

    #[test]
    fn items_of_lists_are_known_by_their_keys() {
        let mut helm = fields(json!({"f:replicas": {}}));
        let container = &mut helm["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"];
        container["f:image"].take();
        container.as_object_mut().unwrap().remove("f:image");
        container.as_object_mut().unwrap().remove("f:args");
        let theirs = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}":
            {"f:image": {}, "f:args": {}}}}}}});
        let mut live = live(&[entry("helm", "Apply", None, helm), entry("kubectl-set", "Update", None, theirs)]);
        live["spec"]["template"]["spec"]["containers"][1]["image"] = json!("i:2");
        live["spec"]["template"]["spec"]["containers"][1]["args"] = json!(["--b"]);
        assert_eq!(
            lines(&live),
            [
                "~ Deployment m/a spec.template.spec.containers[main].args: [\"--b\"] -> [\"--a\"] (kubectl-set)",
                "~ Deployment m/a spec.template.spec.containers[main].image: i:2 -> i:1 (kubectl-set)",
            ]
        );
        live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().remove(1);
        let found = drift(&wanted(), &live, Owner::Helm);
        assert_eq!(found[0].to_string(), "Deployment m/a spec.template.spec.containers[main]");
        assert_eq!((found.len(), &found[0].by), (1, &None));
    }

    #[test]
    fn what_others_rightly_have_is_left() {
        let scaled = |manager: &str| {
            let mut live = live(&[
                entry("helm", "Apply", None, fields(json!({}))),
                entry(manager, "Update", Some("scale"), json!({"f:spec": {"f:replicas": {}}})),
            ]);
            live["spec"]["replicas"] = json!(7);
            lines(&live)
        };
        assert_eq!(scaled("kube-controller-manager"), Vec::<String>::new());
        assert_eq!(scaled("kubectl"), ["~ Deployment m/a spec.replicas: 7 -> 3 (kubectl)"]);

        let hook = |bundle: &str| json!({"name": "w", "clientConfig": {"caBundle": bundle}});
        let manifest = Manifest(json!({"apiVersion": "x/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "v"}, "webhooks": [hook("")]}));
        let webhook = |below: Value| json!({"f:webhooks": {"k:{\"name\":\"w\"}": below}});
        for manager in ["drivemaster-mon", "cert-manager-cainjector"] {
            let live = json!({"metadata": {"name": "v", "managedFields": [
                entry("helm", "Apply", None, webhook(json!({".": {}, "f:name": {}}))),
                entry(manager, "Update", None, webhook(json!({"f:clientConfig": {"f:caBundle": {}}})))]},
                "webhooks": [hook("Y2E=")]});
            assert_eq!(drift(&manifest, &live, Owner::Helm), []);
        }
    }

    #[test]
    fn a_field_that_is_gone_is_told_where_the_server_keeps_it() {
        for (operation, expected) in [("Apply", 2), ("Update", 1)] {
            let mut helm = fields(json!({}));
            helm["f:metadata"].as_object_mut().unwrap().remove("f:labels");
            let mut live = live(&[entry("helm", operation, None, helm)]);
            live["spec"].as_object_mut().unwrap().remove("replicas");
            live["metadata"].as_object_mut().unwrap().remove("labels");
            let found = lines(&live);
            // Helm 3 writes fields that the server drops in silence; labels it keeps.
            assert_eq!(found.len(), expected, "{found:?}");
            assert!(found[0].starts_with("+ Deployment m/a metadata.labels"), "{found:?}");
        }
    }

    #[test]
    fn of_a_secret_only_who_has_a_key_is_read() {
        let manifest =
            Manifest(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "m"},
            "data": {"a": "c2VjcmV0"}, "stringData": {"b": "secret", "c": "secret"}}));
        let live = json!({"metadata": {"name": "s", "managedFields": [
            entry("helm", "Apply", None, json!({"f:data": {"f:b": {}}})),
            entry("kubectl-edit", "Update", None, json!({"f:data": {"f:a": {}}}))]}});
        let found: Vec<String> = drift(&manifest, &live, Owner::Helm).iter().flat_map(|one| one.lines(None)).collect();
        assert_eq!(found, ["~ Secret m/s data.a: (masked) -> (masked) (kubectl-edit)"]);
    }

    #[test]
    fn an_object_of_ours_is_ours_by_our_apply_alone() {
        let manifest =
            Manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "m"},
            "data": {"k": "one\ntwo\n"}}));
        let live = json!({"metadata": {"name": "c", "managedFields": [
            entry("drivemaster-mon", "Apply", None, json!({"f:metadata": {"f:labels": {}}})),
            entry("kubectl-edit", "Update", None, json!({"f:data": {"f:k": {}}}))]}, "data": {"k": "one\n2\n"}});
        let found = drift(&manifest, &live, Owner::Us);
        assert_eq!(found[0].lines(None)[0], "~ ConfigMap m/c data.k: (kubectl-edit)");
        assert!(found[0].changes.contains(&"    -2".to_owned()), "{found:?}");
    }

    #[test]
    fn ages_are_said_in_one_word() {
        let ages: Vec<String> = [-5, 59, 60, 7199, 7200, 172_799, 172_800].map(age).into();
        assert_eq!(ages, ["0 s", "59 s", "1 min", "119 min", "2 h", "47 h", "2 days"]);
    }

    #[test]
    fn odd_answers_are_no_panic() {
        for live in [
            json!(null),
            json!({"metadata": {"managedFields": [1, {"fieldsV1": 2}, {"fieldsV1": {"f:spec": 3}}]}}),
            json!([]),
        ] {
            let _ = drift(&wanted(), &live, Owner::Helm);
        }
    }
}
