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

/// Who set the replicas of `live` through its subresource, as autoscalers do, where `wanted`, which `owner` writes,
/// would set others: the manager, theirs and ours.
pub fn autoscaled<'v>(wanted: &Manifest, live: &'v Value, owner: Owner) -> Option<(&'v str, i64, i64)> {
    const REPLICAS: &str = "/spec/replicas";
    let replicas = |object: &Value| object.pointer(REPLICAS).and_then(Value::as_i64);
    let (ours, theirs) = (replicas(&wanted.0)?, replicas(live)?);
    let has_them =
        |entry: &Entry<'_>| entry.manager != FIELD_MANAGER && entry.fields.pointer("/f:spec/f:replicas").is_some();
    let scaler = entries(live, owner).into_iter().find(|entry| entry.is_rightful && has_them(entry))?;
    (ours != theirs).then_some((scaler.manager, theirs, ours))
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
mod tests;
