//! The JSON Schema of the configuration, and the judgement of one layer by it.

use super::document::{Document, key_path};
use super::{Config, Problem};
use crate::pointer;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// The JSON Schema of a configuration file: every key optional, unknown keys refused.
pub fn of_file() -> Value {
    let mut schema = of_config();
    drop_required(&mut schema);
    schema
}

/// The JSON Schema of the resolved configuration.
pub fn of_config() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// Everything in `document` that `schema` refuses.
pub fn judge(schema: &Value, document: &Document) -> Vec<Problem> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            return vec![problem(document, "", format!("the schema itself is wrong (our fault): {error}"))];
        }
    };
    let mut problems: Vec<Problem> = validator
        .iter_errors(&document.value)
        .flat_map(|error| {
            let pointer = error.instance_path().to_string();
            match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                    .iter()
                    .map(|key| {
                        let known = known_keys(schema, &pointer);
                        let below = pointer::below(&pointer, key);
                        problem(document, &below, unknown(key, &known))
                    })
                    .collect(),
                kind => {
                    let here = schema_at(schema, &pointer);
                    vec![problem(document, &pointer, explain(kind, error.instance(), here))]
                }
            }
        })
        .collect();
    problems.sort();
    problems.dedup();
    problems
}

/// `unknown key`, with the nearest of `known` or all of them.
pub fn unknown(key: &str, known: &[String]) -> String {
    match nearest(key, known) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The entry of `known` that `word` was most likely meant to be.
pub fn nearest<'a, S: AsRef<str>>(word: &str, known: &'a [S]) -> Option<&'a str> {
    known
        .iter()
        .map(AsRef::as_ref)
        .map(|candidate: &str| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

fn problem(document: &Document, pointer: &str, message: String) -> Problem {
    let (line, column) = document.position(pointer).unwrap_or((0, 0));
    Problem { file: document.file.clone(), line, column, path: key_path(pointer), message }
}

fn explain(kind: &ValidationErrorKind, instance: &Value, schema: Option<&Value>) -> String {
    let seen = match instance {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("`{}`", without_password(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        other => format!("`{other}`"),
    };
    let description = schema.and_then(|schema| schema.get("description")).and_then(Value::as_str);
    let meaning = description.map(|text| format!(" ({})", text.trim_end_matches('.'))).unwrap_or_default();
    match kind {
        ValidationErrorKind::Type { .. } => {
            let wanted = schema.map(type_name).unwrap_or_else(|| "another type".to_owned());
            format!("expected {wanted}, found {seen}{meaning}")
        }
        ValidationErrorKind::Pattern { pattern } => {
            let example = example_of(pattern);
            format!("{seen} does not have the form expected here, such as `{example}`{meaning}")
        }
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::Enum { .. } => {
            let choices = schema.map(choices_of).unwrap_or_default();
            let near = match instance {
                Value::String(text) => nearest(text, &choices).map(|near| format!("; did you mean `{near}`?")),
                _ => None,
            };
            format!("expected one of {}, found {seen}{}", choices.join(", "), near.unwrap_or_default())
        }
        ValidationErrorKind::Minimum { limit } => format!("{seen} is less than {limit}{meaning}"),
        ValidationErrorKind::Maximum { limit } => format!("{seen} is more than {limit}{meaning}"),
        ValidationErrorKind::MinLength { .. } => format!("must not be empty{meaning}"),
        ValidationErrorKind::Required { property } => format!("{property} is missing"),
        other => format!("{seen} is refused by the schema's `{}`{meaning}", other.keyword()),
    }
}

/// An example for each pattern used in the model; tested to match.
fn example_of(pattern: &str) -> &'static str {
    // The narrow forms first: a tag may look like anything, and a size like a number.
    const EXAMPLES: &[&str] = &[
        "v1.2.3-RC1",
        "drivemaster.com",
        "drivemaster",
        "15s",
        "720h",
        "8GB",
        "10Gi",
        "250m",
        "https://drivemaster.com",
        "/run/containerd/containerd.sock",
        "ClusterIssuer",
        "https://drivemaster.com/runbooks/",
    ];
    let fits = |example: &&&str| {
        jsonschema::validator_for(&serde_json::json!({"pattern": pattern}))
            .is_ok_and(|validator| validator.is_valid(&Value::String((**example).to_owned())))
    };
    EXAMPLES.iter().find(fits).copied().unwrap_or("the default")
}

fn type_name(schema: &Value) -> String {
    // What may be left out has a list of types, with `null`.
    let kinds =
        schema.get("type").and_then(|kind| kind.as_array().map(Vec::as_slice).or(Some(std::slice::from_ref(kind))));
    match kinds.into_iter().flatten().filter_map(Value::as_str).find(|kind| *kind != "null") {
        Some("string") => "text".to_owned(),
        Some("object") => "a map".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        _ if schema.get("oneOf").is_some() => choices_of(schema).join(", "),
        _ => "another type".to_owned(),
    }
}

fn choices_of(schema: &Value) -> Vec<String> {
    let constants = schema.get("oneOf").and_then(Value::as_array).map(|choices| {
        choices.iter().filter_map(|choice| choice.get("const").and_then(Value::as_str)).map(str::to_owned).collect()
    });
    let listed = || {
        schema
            .get("enum")
            .and_then(Value::as_array)
            .map(|choices| choices.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    constants.or_else(listed).unwrap_or_default()
}

/// The part of `schema` that describes what stands at `pointer`.
fn schema_at<'a>(schema: &'a Value, pointer: &str) -> Option<&'a Value> {
    let resolve = |mut part: &'a Value| {
        while let Some(reference) = part.get("$ref").and_then(Value::as_str) {
            part = schema.pointer(reference.trim_start_matches('#'))?;
        }
        Some(part)
    };
    let mut here = resolve(schema)?;
    for part in pointer.split('/').skip(1) {
        let below = here
            .get("properties")
            .and_then(|properties| properties.get(pointer::unescaped(part)))
            .or_else(|| here.get("items"))
            .or_else(|| here.get("additionalProperties").filter(|value| value.is_object()))?;
        here = resolve(below)?;
    }
    Some(here)
}

fn known_keys(schema: &Value, pointer: &str) -> Vec<String> {
    schema_at(schema, pointer)
        .and_then(|here| here.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

fn drop_required(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // A list under "required" is the keyword; a map would be a property of that name.
            if map.get("required").is_some_and(Value::is_array) {
                map.remove("required");
            }
            map.values_mut().for_each(drop_required);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_required),
        _ => {}
    }
}

/// `text` without the user name and password of a URL in it.
fn without_password(text: &str) -> String {
    match (text.find("://"), text.find('@')) {
        (Some(scheme), Some(at)) if scheme < at && !text[scheme + 3..at].contains('/') => {
            format!("{}...{}", &text[..scheme + 3], &text[at..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Vec<String> {
        judge(&of_file(), &Document::parse("my.yaml", text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_password_of_a_url_is_not_told() {
        assert_eq!(without_password("http://u:secret@h:9200/a"), "http://...@h:9200/a");
        assert_eq!(without_password("https://h/a@b"), "https://h/a@b");
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_place() {
        let told =
            judged("profle: local\nprometheus:\n  retention: soon\n  storageSise: 1Gi\nloki:\n  enabled: maybe\n");
        assert_eq!(told.len(), 4, "{told:#?}");
        assert_eq!(told[0], "my.yaml:1:1: `profle`: unknown key; did you mean `profile`?");
        assert!(told[1].starts_with("my.yaml:3:3: `prometheus.retention`: `soon` does not have the form"), "{told:#?}");
        assert!(told[1].contains("such as `15s` (How long samples are kept)"), "{told:#?}");
        assert_eq!(told[2], "my.yaml:4:3: `prometheus.storageSise`: unknown key; did you mean `storageSize`?");
        assert!(told[3].contains("`loki.enabled`: expected true or false, found `maybe`"), "{told:#?}");
    }

    #[test]
    fn a_wrong_choice_names_the_choices() {
        let told = judged("profile: locl\n");
        assert!(
            told[0].contains("expected one of local, production, found `locl`; did you mean `local`?"),
            "{told:#?}"
        );
        let told = judged("platform: {exporters: {redis: sometimes}}\n");
        assert!(told[0].contains("`platform.exporters.redis`: expected one of deployed, existing, none"), "{told:#?}");
    }

    #[test]
    fn numbers_have_bounds_and_lists_have_types() {
        assert!(judged("deploy: {concurrency: 0}\n")[0].contains("`0` is less than 1"));
        assert!(judged("platform: {services: [{name: a, port: 99999}]}\n")[0].contains("platform.services[0].port"));
        assert!(judged("platform: {services: user-service}\n")[0].contains("expected a list"));
    }

    #[test]
    fn an_empty_file_is_fine() {
        assert!(judged("").is_empty());
    }

    #[test]
    fn every_pattern_of_the_model_has_an_example() {
        fn patterns(schema: &Value, found: &mut Vec<String>) {
            match schema {
                Value::Object(map) => {
                    if let Some(Value::String(pattern)) = map.get("pattern") {
                        found.push(pattern.clone());
                    }
                    map.values().for_each(|below| patterns(below, found));
                }
                Value::Array(items) => items.iter().for_each(|below| patterns(below, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        patterns(&of_config(), &mut found);
        assert!(found.len() > 10);
        for pattern in found {
            assert_ne!(example_of(&pattern), "the default", "{pattern}");
        }
    }
}
