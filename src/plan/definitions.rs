//! What the upgrade of a CustomResourceDefinition would take away from the objects of its kind: versions
//! that they are stored or written in, and fields that the new schema prunes.
//!
//! Pruning after `x-kubernetes-preserve-unknown-fields` and `x-kubernetes-embedded-resource`, as
//! apiextensions.k8s.io/v1 defines it.

use super::model::{Action, Step, Target};
use crate::object::{Manifest, ObjectRef};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What an upgrade would lose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// A version, such as `v1beta1`.
    Version(String),
    /// A field, such as `spec.endpoints[].interval`.
    Field(String),
}

/// The version of `old` in which its objects are read: that they are stored in, if it is served.
pub fn read_version(old: &Value) -> Option<&str> {
    let served = || versions(old).filter(|version| version["served"] == true);
    served().find(|version| version["storage"] == true).or_else(|| served().next())?["name"].as_str()
}

/// Whether the step from `old` to `new` can lose anything at all, so that its objects must be read.
pub fn may_lose(old: &Value, new: &Value) -> bool {
    if !dropped_versions(old, new).is_empty() {
        return true;
    }
    let Some(version) = read_version(old) else { return false };
    match (schema(old, version), schema(new, version)) {
        (Some(old), Some(new)) => narrows(old, new),
        _ => false,
    }
}

/// What the step from `old` to `new` would lose of `objects`, which were read in [`read_version`]: each
/// loss with the objects (`namespace/name`) that have it. A version that the server says objects are
/// stored in is lost even where no object is left.
pub fn losses(old: &Value, new: &Value, objects: &[Value]) -> BTreeMap<Loss, Vec<String>> {
    let mut found: BTreeMap<Loss, Vec<String>> = BTreeMap::new();
    let group = old.pointer("/spec/group").and_then(Value::as_str).unwrap_or_default();
    let stored: Vec<&str> = texts(old.pointer("/status/storedVersions")).collect();
    for version in dropped_versions(old, new) {
        let gone = !versions(new).any(|other| other["name"] == *version);
        let is_stored = gone && stored.contains(&version);
        let written_in = format!("{group}/{version}");
        let users: Vec<String> =
            objects.iter().filter(|object| is_stored || is_written_in(object, &written_in)).map(name_of).collect();
        if is_stored || !users.is_empty() {
            found.insert(Loss::Version(version.to_owned()), users);
        }
    }
    let Some(schema) = read_version(old).and_then(|version| schema(new, version)) else { return found };
    for object in objects {
        let mut fields = BTreeSet::new();
        unknown_at_root(schema, object, &mut fields);
        for field in fields {
            found.entry(Loss::Field(field)).or_default().push(name_of(object));
        }
    }
    found
}

/// The fields of objects of ours that the definitions among the same `steps` do not know, each with its object: the
/// API server, which does not know them yet, would refuse them in the middle.
pub fn unknown_to_planned(steps: &[Step]) -> Vec<(ObjectRef, String)> {
    let objects = || {
        steps.iter().filter(|step| step.action != Action::Delete).filter_map(|step| match &step.target {
            Target::Object { manifest } => Some(manifest),
            _ => None,
        })
    };
    let is_definition = |manifest: &Manifest| manifest.reference().kind == "CustomResourceDefinition";
    let planned: Vec<&Manifest> = objects().filter(|manifest| is_definition(manifest)).collect();
    let others = objects().filter(|manifest| !is_definition(manifest));
    others
        .flat_map(|manifest| {
            unknown_fields(planned.iter().copied(), &manifest.0).into_iter().map(|field| (manifest.reference(), field))
        })
        .collect()
}

/// The fields of `object` that the one of `definitions` that brings its kind does not know; none where none does.
pub fn unknown_fields<'d>(definitions: impl IntoIterator<Item = &'d Manifest>, object: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let (group, version) = object["apiVersion"].as_str().and_then(|text| text.split_once('/')).unwrap_or_default();
    let brings = |definition: &&Manifest| {
        definition.0.pointer("/spec/group").and_then(Value::as_str) == Some(group)
            && definition.0.pointer("/spec/names/kind") == object.get("kind")
    };
    let found = definitions.into_iter().find(brings).and_then(|definition| schema(&definition.0, version));
    if let Some(schema) = found {
        unknown_at_root(schema, object, &mut fields);
    }
    fields
}

/// Adds the fields of `object` that a definition with `schema` prunes.
fn unknown_at_root(schema: &Value, object: &Value, fields: &mut BTreeSet<String>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        // The first three belong to every object, and a status is made anew.
        if !["apiVersion", "kind", "metadata", "status"].contains(&key.as_str()) {
            pruned_at(schema, key, value, "", fields);
        }
    }
}

fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten()
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The versions of `old` that `new` has no more, or serves no more.
fn dropped_versions<'a>(old: &'a Value, new: &Value) -> BTreeSet<&'a str> {
    let names = versions(old).filter_map(|version| Some((version["name"].as_str()?, version["served"] == true)));
    let kept = |name: &str, served: bool| {
        versions(new).any(|other| other["name"] == *name && (!served || other["served"] == true))
    };
    let listed = names.filter(|(name, served)| !kept(name, *served)).map(|(name, _)| name);
    let stored = texts(old.pointer("/status/storedVersions"));
    listed.chain(stored.filter(|name| !versions(new).any(|other| other["name"] == **name))).collect()
}

fn schema<'a>(definition: &'a Value, version: &str) -> Option<&'a Value> {
    versions(definition).find(|other| other["name"] == *version)?.pointer("/schema/openAPIV3Schema")
}

fn is_written_in(object: &Value, api_version: &str) -> bool {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers.into_iter().flatten().any(|manager| manager["apiVersion"] == *api_version)
}

fn name_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").unwrap_or_default();
    text("/metadata/namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn preserves(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true || schema["additionalProperties"] == true
}

/// The schema of the key of a map with `schema`; `None` where there is none.
fn below<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema["properties"].get(key).or_else(|| schema.get("additionalProperties").filter(|below| below.is_object()))
}

/// Whether the key is one that every object has, of an object that is embedded: whatever its properties say.
fn is_of_embedded(schema: &Value, key: &str) -> bool {
    schema["x-kubernetes-embedded-resource"] == true && ["apiVersion", "kind", "metadata"].contains(&key)
}

/// Whether a map of `schema` has the key although no property says so.
fn is_implied(schema: &Value, key: &str) -> bool {
    preserves(schema) || is_of_embedded(schema, key)
}

/// Adds the fields of `value`, which stands at `key` of a map with `schema`, that are pruned.
fn pruned_at(schema: &Value, key: &str, value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    let here = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match below(schema, key) {
        _ if is_of_embedded(schema, key) => {}
        Some(inner) => pruned(inner, value, &here, fields),
        None if is_implied(schema, key) => {}
        None => {
            fields.insert(here);
        }
    }
}

fn pruned(schema: &Value, value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pruned_at(schema, key, value, path, fields)),
        Value::Array(items) => {
            let Some(inner) = schema.get("items") else { return };
            items.iter().for_each(|item| pruned(inner, item, &format!("{path}[]"), fields));
        }
        _ => {}
    }
}

/// Whether `new` prunes anything that `old` keeps.
fn narrows(old: &Value, new: &Value) -> bool {
    if preserves(old) && !preserves(new) {
        return true;
    }
    if let Some(inner) = old.get("additionalProperties").filter(|inner| inner.is_object()) {
        match new.get("additionalProperties").filter(|inner| inner.is_object()) {
            Some(other) if narrows(inner, other) => return true,
            None if !preserves(new) => return true,
            _ => {}
        }
    }
    if old.get("items").zip(new.get("items")).is_some_and(|(old, new)| narrows(old, new)) {
        return true;
    }
    old["properties"].as_object().into_iter().flatten().any(|(key, inner)| match below(new, key) {
        Some(other) => narrows(inner, other),
        None => !is_implied(new, key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A definition with one version `v1` of this schema of `spec`.
    fn definition(spec: Value) -> Value {
        json!({"spec": {"group": "g", "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"properties": {"apiVersion": {}, "kind": {}, "metadata": {}, "spec": spec}}}}]},
            "status": {"storedVersions": ["v1"]}})
    }

    fn object(spec: Value) -> Value {
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "namespace": "n", "labels": {"x": "y"}},
            "spec": spec, "status": {"old": 1}})
    }

    fn fields(old: &Value, new: &Value, spec: Value) -> Vec<String> {
        let lost = losses(old, new, &[object(spec)]);
        lost.into_iter().map(|(loss, users)| format!("{loss:?} {}", users.join(","))).collect()
    }

    #[test]
    fn a_field_that_an_object_uses_and_the_new_schema_prunes_is_lost() {
        let list =
            |inner: Value| json!({"properties": {"endpoints": {"type": "array", "items": {"properties": inner}}}});
        let old = definition(list(json!({"port": {}, "interval": {}})));
        let new = definition(list(json!({"port": {}})));
        assert!(may_lose(&old, &new) && !may_lose(&new, &old) && !may_lose(&old, &old));
        let used = json!({"endpoints": [{"port": "a"}, {"port": "b", "interval": "1s"}, {"interval": "2s"}]});
        assert_eq!(fields(&old, &new, used.clone()), [r#"Field("spec.endpoints[].interval") n/a"#]);
        assert!(fields(&old, &new, json!({"endpoints": [{"port": "a"}]})).is_empty(), "nobody uses it");
        assert!(fields(&old, &old, used).is_empty());
    }

    #[test]
    fn what_a_planned_definition_does_not_know_is_told_of_what_is_made() {
        let mut known = definition(json!({"properties": {"a": {}}}));
        known["apiVersion"] = json!("apiextensions.k8s.io/v1");
        known["kind"] = json!("CustomResourceDefinition");
        known["metadata"] = json!({"name": "ks.g"});
        known["spec"]["names"] = json!({"kind": "K"});
        let step = |action: Action, manifest: Value| Step {
            id: String::new(),
            action,
            reason: super::super::model::Reason::New,
            needs: vec![],
            changes: vec![],
            target: Target::Object { manifest: Manifest(manifest) },
        };
        let made = || json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "namespace": "n"}, "spec": {"b": 1}});
        let told = |steps: &[Step]| {
            let found = unknown_to_planned(steps).into_iter();
            found.map(|(object, field)| format!("{object} {field}")).collect::<Vec<_>>()
        };
        assert_eq!(told(&[step(Action::Create, made()), step(Action::Create, known.clone())]), ["K n/a spec.b"]);
        assert!(told(&[step(Action::Create, made())]).is_empty(), "the API server knows the definition");
        assert!(told(&[step(Action::Delete, made()), step(Action::Create, known)]).is_empty());
    }

    #[test]
    fn maps_and_preserved_fields_are_pruned_by_their_own_rules() {
        let free = definition(json!({"x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}}));
        let map = definition(json!({"additionalProperties": {"properties": {"a": {}}}}));
        let closed = definition(json!({"properties": {"a": {}}}));
        let embedded = definition(json!({"x-kubernetes-embedded-resource": true, "properties": {"a": {}}}));
        assert!(may_lose(&free, &closed) && may_lose(&map, &closed) && !may_lose(&closed, &free));
        assert!(!may_lose(&closed, &embedded) && may_lose(&free, &map));
        assert_eq!(fields(&free, &closed, json!({"b": {"c": 1}})), [r#"Field("spec.b") n/a"#]);
        assert_eq!(fields(&map, &map, json!({"x": {"a": 1, "b": 2}})), [r#"Field("spec.x.b") n/a"#]);
        assert!(fields(&closed, &free, json!({"b": {"c": 1}})).is_empty());
        assert_eq!(fields(&free, &embedded, json!({"kind": "K", "metadata": {"name": "x"}, "b": 1})).len(), 1);
    }

    #[test]
    fn a_version_is_lost_when_objects_are_stored_or_written_in_it() {
        let mut old = definition(json!({}));
        let beta = json!({"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {}}});
        old["spec"]["versions"].as_array_mut().unwrap().push(beta);
        let new = definition(json!({}));
        assert!(may_lose(&old, &new));
        assert!(losses(&old, &new, &[object(json!({}))]).is_empty(), "nobody uses it");
        let mut written = object(json!({}));
        written["metadata"]["managedFields"] = json!([{"manager": "x", "apiVersion": "g/v1beta1"}]);
        let expected = BTreeMap::from([(Loss::Version("v1beta1".to_owned()), vec!["n/a".to_owned()])]);
        assert_eq!(losses(&old, &new, std::slice::from_ref(&written)), expected);
        // Served no more is as bad for whoever writes it.
        let mut unserved = old.clone();
        unserved["spec"]["versions"][1]["served"] = json!(false);
        assert_eq!(losses(&old, &unserved, &[written]), expected);
        old["status"]["storedVersions"] = json!(["v1beta1", "v1"]);
        assert_eq!(losses(&old, &new, &[])[&Loss::Version("v1beta1".to_owned())], Vec::<String>::new());
        assert!(losses(&old, &unserved, &[]).is_empty(), "it can still be read");
    }

    #[test]
    fn objects_are_read_in_the_version_they_are_stored_in() {
        let version =
            |name: &str, served: bool, storage: bool| json!({"name": name, "served": served, "storage": storage});
        let read = |versions: Value| read_version(&json!({"spec": {"versions": versions}})).map(str::to_owned);
        assert_eq!(read(json!([version("a", true, false), version("b", true, true)])).as_deref(), Some("b"));
        assert_eq!(read(json!([version("a", true, false), version("b", false, true)])).as_deref(), Some("a"));
        assert_eq!(read(json!([])), None);
    }
}
