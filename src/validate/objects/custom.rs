//! Custom kinds, by the OpenAPI schema of their definitions.

use super::{Problem, shortened};
use crate::object::Manifest;
use crate::pointer;
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How deep schemas are followed.
const DEEPEST: usize = 64;

/// A schema, ready to judge with, or why it cannot be.
type Compiled = Result<Rc<Validator>, String>;

/// The schemas of custom kinds, compiled when they are needed.
pub(super) struct Definitions<'c> {
    schemas: BTreeMap<(String, &'c str), &'c Value>,
    compiled: RefCell<BTreeMap<(String, String), Compiled>>,
}

impl<'c> Definitions<'c> {
    /// Those that the CustomResourceDefinitions `definitions` have.
    pub(super) fn of(definitions: &'c [Manifest]) -> Self {
        let mut schemas = BTreeMap::new();
        for definition in definitions {
            let spec = &definition.0["spec"];
            let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str()) else { continue };
            for version in spec["versions"].as_array().into_iter().flatten() {
                let Some(name) = version["name"].as_str() else { continue };
                if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
                    schemas.insert((format!("{group}/{name}"), kind), schema);
                }
            }
        }
        Definitions { schemas, compiled: RefCell::default() }
    }

    /// What is wrong with `manifest`, or why that cannot be said; `None` where nothing defines its kind.
    pub(super) fn judge(&self, manifest: &Manifest) -> Option<Result<Vec<Problem>, String>> {
        let reference = manifest.reference();
        let schema = *self.schemas.get(&(reference.api_version.clone(), reference.kind.as_str()))?;
        let mut compiled = self.compiled.borrow_mut();
        let validator = compiled.entry((reference.api_version, reference.kind)).or_insert_with(|| {
            let strict = strict(schema, 0);
            let made = jsonschema::validator_for(&strict);
            made.map(Rc::new).map_err(|error| format!("the schema of its definition cannot be used: {error}"))
        });
        Some(validator.clone().map(|validator| problems(&validator, &manifest.0)))
    }
}

fn problems(validator: &Validator, object: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    for error in validator.iter_errors(object) {
        let pointer = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                found.extend(unexpected.iter().map(|key| {
                    let at = pointer::below(&pointer, key);
                    let message = format!("there is no field `{}`", at.trim_start_matches('/').replace('/', "."));
                    Problem { is_unknown: true, pointer: at, message }
                }));
            }
            _ => {
                let told = pointer.trim_start_matches('/').replace('/', ".");
                let said = shortened(&error.to_string());
                let message = if told.is_empty() { said } else { format!("`{told}`: {said}") };
                found.push(Problem { is_unknown: false, pointer, message });
            }
        }
    }
    found
}

/// A structural schema of Kubernetes as a JSON Schema that refuses what the API server would drop.
fn strict(schema: &Value, depth: usize) -> Value {
    let Some(map) = schema.as_object().filter(|_| depth < DEEPEST) else { return schema.clone() };
    let is = |key: &str| map.get(key).and_then(Value::as_bool) == Some(true);
    let mut made = Map::new();
    for (key, value) in map {
        let value = match key.as_str() {
            "properties" => {
                let inner = value.as_object().into_iter().flatten();
                Value::Object(inner.map(|(name, schema)| (name.clone(), strict(schema, depth + 1))).collect())
            }
            "items" | "additionalProperties" => strict(value, depth + 1),
            // Those of OpenAPI are other ones, and a part of what is said again elsewhere must not refuse fields.
            "format" | "nullable" | "example" | "default" | "description" => continue,
            name if name.starts_with("x-kubernetes-") => continue,
            _ => value.clone(),
        };
        made.insert(key.clone(), value);
    }
    // In OpenAPI 3.0 these say whether the bound itself is left out.
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        match made.get(exclusive).and_then(Value::as_bool) {
            Some(true) => {
                if let Some(limit) = made.remove(bound) {
                    made.insert(exclusive.to_owned(), limit);
                }
            }
            Some(false) => {
                made.remove(exclusive);
            }
            None => {}
        }
    }
    if is("x-kubernetes-int-or-string") {
        made.remove("anyOf");
        made.insert("type".to_owned(), json!(["integer", "string"]));
    }
    let keeps_all = is("x-kubernetes-preserve-unknown-fields") || is("x-kubernetes-embedded-resource");
    let has_fields = made.get("properties").and_then(Value::as_object).is_some_and(|fields| !fields.is_empty());
    if has_fields && !keeps_all && !made.contains_key("additionalProperties") {
        made.insert("additionalProperties".to_owned(), json!(false));
    }
    if is("nullable")
        && let Some(Value::String(kind)) = made.get("type").cloned()
    {
        made.insert("type".to_owned(), json!([kind, "null"]));
    }
    if depth == 0
        && let Some(fields) = made.get_mut("properties").and_then(Value::as_object_mut)
    {
        // The API server knows these of every kind.
        for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
            fields.insert(name.to_owned(), json!({ "type": kind }));
        }
    }
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_judged_by_its_definition() {
        let definition = Manifest(json!({
            "spec": { "group": "a.io", "names": { "kind": "B" }, "versions": [{ "name": "v1", "schema": {
                "openAPIV3Schema": { "type": "object", "required": ["spec"], "properties": { "spec": {
                    "type": "object", "required": ["x"], "properties": {
                        "x": { "type": "string", "pattern": "^[0-9]+s$" },
                        "port": { "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] },
                        "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                        "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                        "none": { "type": "integer", "nullable": true },
                        "share": { "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": false },
                    } } } } } }] },
        }));
        let definitions = [definition];
        let definitions = Definitions::of(&definitions);
        let of = |spec: Value| {
            let object = json!({ "apiVersion": "a.io/v1", "kind": "B", "metadata": { "name": "n" }, "spec": spec });
            definitions.judge(&Manifest(object)).unwrap().unwrap()
        };
        assert_eq!(
            of(
                json!({ "x": "5s", "port": "http", "free": { "a": 1 }, "labels": { "a": "b" }, "none": null, "share": 1 })
            ),
            []
        );
        let unknown = of(json!({ "x": "5s", "y": 1 }));
        assert_eq!((unknown[0].is_unknown, unknown[0].pointer.as_str()), (true, "/spec/y"));
        for wrong in [
            json!({}),
            json!({ "x": 5 }),
            json!({ "x": "5m" }),
            json!({ "x": "5s", "share": 0 }),
            json!({ "x": "5s", "labels": { "a": 1 } }),
        ] {
            assert!(of(wrong).iter().any(|problem| !problem.is_unknown));
        }
        let other = Manifest(json!({ "apiVersion": "a.io/v2", "kind": "B" }));
        assert!(definitions.judge(&other).is_none());
    }
}
