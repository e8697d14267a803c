//! What differs between an object as it is to be and as it stands, in the fields that are ours.
//!
//! Server-side apply owns fields, not objects: fields that others own (status, defaults, an
//! autoscaler's replicas) are no difference. A field of ours that is no longer wanted is one.

use super::masked_text::{masked_lines, masked_text};
use super::model::FIELD_MANAGER;
use crate::secrets::is_secret_name;
use serde_json::{Map, Value};
use similar::TextDiff;

/// Lines kept of one long text's difference.
const DIFF_LINES: usize = 40;

/// What stands for what is not shown.
const MASKED: &str = "(masked)";
/// Characters kept of a long value.
const SHOWN: usize = 80;
/// Characters shown before the first that differs in a long value.
const BEFORE: usize = 20;

/// What of a document is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    /// Everything may be seen.
    Nothing,
    /// The content of a Secret.
    Secret,
    /// Whatever is called as secrets are.
    Names,
    /// Everything.
    All,
}

impl Mask {
    /// What of `object` is not shown.
    pub(super) fn of(object: &Value) -> Self {
        match object.get("kind").and_then(Value::as_str) {
            Some("Secret") => Mask::Secret,
            // It describes fields that are called so, and has none.
            Some("CustomResourceDefinition") => Mask::Nothing,
            _ => Mask::Names,
        }
    }

    /// What is not shown of the field `key` of `fields`: the value of a variable goes by the name of the variable.
    fn below(self, key: &str, fields: &Map<String, Value>) -> Self {
        if self == Mask::Names && key == "value" && names_secret(fields) { Mask::All } else { self }
    }

    fn hides(self, path: &str) -> bool {
        match self {
            Mask::Nothing => false,
            Mask::All => true,
            Mask::Secret => path.starts_with("data.") || path.starts_with("stringData."),
            // A volume says which Secret it is.
            Mask::Names => path.strip_suffix(".secret.secretName").unwrap_or(path).split('.').any(is_secret_name),
        }
    }
}

/// Whether `fields` are those of something that is called as secrets are.
fn names_secret(fields: &Map<String, Value>) -> bool {
    fields.get("name").and_then(Value::as_str).is_some_and(is_secret_name)
}

/// The differences between `wanted` and `live`, one line each; empty when nothing of ours differs.
/// The content of Secrets is masked.
pub fn difference(wanted: &Value, live: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare(wanted, live, "", Mask::of(wanted), &mut lines);
    for fields in our_fields(live) {
        unwanted(fields, wanted, "", &mut lines);
    }
    if wanted.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition") {
        schemas(wanted, live, &mut lines);
        return cut(lines);
    }
    lines
}

/// Every difference between two documents that one hand wrote, so that what `old` has too much is one as well.
pub(super) fn whole_difference(new: &Value, old: &Value, mask: Mask) -> Vec<String> {
    let mut lines = Vec::new();
    compare(new, old, "", mask, &mut lines);
    surplus(new, old, "", &mut lines);
    lines
}

/// At most [`DIFF_LINES`] of `lines`, and how many more there are.
pub(super) fn cut(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > DIFF_LINES {
        let more = lines.len() - DIFF_LINES;
        lines.truncate(DIFF_LINES);
        lines.push(format!("~ {more} more"));
    }
    lines
}

/// What the schemas of a definition have too much. Its versions are one field for their owner, so that
/// nothing says who brought what in them; and into a schema the server writes nothing.
fn schemas(wanted: &Value, live: &Value, lines: &mut Vec<String>) {
    let versions = wanted.pointer("/spec/versions").and_then(Value::as_array);
    for (index, version) in versions.into_iter().flatten().enumerate() {
        let other = live.pointer(&format!("/spec/versions/{index}")).filter(|other| other["name"] == version["name"]);
        let Some(other) = other else { continue };
        surplus(&version["schema"], &other["schema"], &format!("spec.versions[{index}].schema"), lines);
    }
}

/// The fields of `live` that `wanted` has not.
fn surplus(wanted: &Value, live: &Value, path: &str, lines: &mut Vec<String>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, other) in live {
                let below = join(path, key);
                match wanted.get(key) {
                    Some(value) => surplus(value, other, &below, lines),
                    None if is_empty(other) => {}
                    None => lines.push(format!("- {below}")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (index, (value, other)) in wanted.iter().zip(live).enumerate() {
                surplus(value, other, &format!("{path}[{index}]"), lines);
            }
        }
        _ => {}
    }
}

fn compare(wanted: &Value, live: &Value, path: &str, mask: Mask, lines: &mut Vec<String>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                let (below, mask) = (join(path, key), mask.below(key, live).below(key, wanted));
                match live.get(key) {
                    Some(other) => compare(value, other, &below, mask, lines),
                    // The API server drops empty maps and lists.
                    None if is_empty(value) => {}
                    None => lines.extend(told(&below, value, &Value::Null, mask)),
                }
            }
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (index, (value, other)) in wanted.iter().zip(live).enumerate() {
                compare(value, other, &format!("{path}[{index}]"), mask, lines);
            }
        }
        (wanted, live) if wanted == live => {}
        (wanted, live) => lines.extend(told(path, wanted, live, mask)),
    }
}

/// How the field at `path` is to change from `live` to `wanted`; `live` is null where there is none.
pub(super) fn told(path: &str, wanted: &Value, live: &Value, mask: Mask) -> Vec<String> {
    match (wanted, live) {
        (wanted, Value::Null) => vec![format!("+ {path}: {}", show(wanted, path, mask))],
        (Value::String(wanted), Value::String(live)) if is_long(wanted, live) && !mask.hides(path) => {
            let mut lines = vec![format!("~ {path}:")];
            lines.extend(text_difference(live, wanted, mask));
            lines
        }
        (wanted, live) => {
            let is_alike = std::mem::discriminant(live) == std::mem::discriminant(wanted);
            let (live, wanted) = (visible(live, path, mask), visible(wanted, path, mask));
            // They differ in what is not shown.
            if live == wanted && live != MASKED && is_alike {
                return vec![format!("~ {path}: {} {MASKED} -> {MASKED}", short(&live, 0))];
            }
            let from = window(&live, &wanted);
            vec![format!("~ {path}: {} -> {}", short(&live, from), short(&wanted, from))]
        }
    }
}

/// Text compared line by line, context of one line, cut to [`DIFF_LINES`].
fn text_difference(old: &str, new: &str, mask: Mask) -> Vec<String> {
    let difference = TextDiff::from_lines(old, new);
    let shown = |lines: Vec<&str>| match mask {
        Mask::Names => masked_lines(lines),
        _ => lines.into_iter().map(|line| line.trim_end_matches(['\n', '\r']).to_owned()).collect(),
    };
    let old = shown(difference.iter_old_slices().collect());
    let new = shown(difference.iter_new_slices().collect());
    let mut lines = Vec::new();
    for hunk in difference.unified_diff().context_radius(1).iter_hunks() {
        lines.push(format!("    {}", hunk.header()));
        for change in hunk.iter_changes() {
            let line = match (change.new_index(), change.old_index()) {
                (Some(index), _) => new.get(index),
                (None, index) => index.and_then(|index| old.get(index)),
            };
            lines.push(format!("    {}{}", change.tag(), line.map_or("", String::as_str)));
        }
    }
    if lines.len() > DIFF_LINES {
        let more = lines.len() - DIFF_LINES;
        lines.truncate(DIFF_LINES);
        lines.push(format!("    ... {more} more lines"));
    }
    lines
}

fn is_long(left: &str, right: &str) -> bool {
    left.contains('\n') || right.contains('\n')
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

fn show(value: &Value, path: &str, mask: Mask) -> String {
    short(&visible(value, path, mask), 0)
}

/// What may be seen of the value.
fn visible(value: &Value, path: &str, mask: Mask) -> String {
    let is_text = !matches!(value, Value::Bool(_) | Value::Null);
    if mask.hides(path) && is_text || (mask == Mask::Secret && matches!(path, "data" | "stringData")) {
        return MASKED.to_owned();
    }
    match value {
        Value::String(text) if mask == Mask::Names => masked_text(text),
        Value::String(text) => text.clone(),
        other if mask == Mask::Names => without_secrets(other).to_string(),
        other => other.to_string(),
    }
}

/// The first line of `text` from its character `from` on, cut to [`SHOWN`].
fn short(text: &str, from: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let count = text.lines().count();
    let mut rest = line.chars().skip(from);
    let short: String = rest.by_ref().take(SHOWN).collect();
    let before = if from > 0 { "... " } else { "" };
    match (count > 1, rest.next().is_some()) {
        (true, _) => format!("{before}{short} ... ({count} lines)"),
        (false, true) => format!("{before}{short} ..."),
        (false, false) => format!("{before}{short}"),
    }
}

/// From which character on two texts are shown, so that what differs in long ones is seen.
fn window(one: &str, other: &str) -> usize {
    if one.chars().count().max(other.chars().count()) <= SHOWN {
        return 0;
    }
    let alike = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    if alike <= 2 * BEFORE { 0 } else { alike - BEFORE }
}

/// The same document, without what is called as secrets are.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let masked = map.iter().map(|(name, value)| {
                let is_secret = is_secret_name(name) || Mask::Names.below(name, map) == Mask::All;
                let value = if is_secret { "(masked)".into() } else { without_secrets(value) };
                (name.clone(), value)
            });
            Value::Object(masked.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        Value::String(text) => Value::String(masked_text(text)),
        other => other.clone(),
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The `fieldsV1` of what our field manager applied.
fn our_fields(live: &Value) -> impl Iterator<Item = &Value> {
    live.pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER)
                && entry.get("operation").and_then(Value::as_str) == Some("Apply")
                && entry.get("subresource").is_none()
        })
        .filter_map(|entry| entry.get("fieldsV1"))
}

/// Fields we own and no longer want. List items (`k:`, `v:`) are compared by [`compare`].
fn unwanted(fields: &Value, wanted: &Value, path: &str, lines: &mut Vec<String>) {
    let Value::Object(fields) = fields else { return };
    for (key, below) in fields {
        let Some(name) = key.strip_prefix("f:") else { continue };
        let path = join(path, name);
        match wanted.get(name) {
            Some(value) => unwanted(below, value, &path, lines),
            None => lines.push(format!("- {path}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_our_fields_count() {
        let wanted = json!({"kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "v"}});
        let live = json!({
            "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"x": "1", "theirs": "2"}, "uid": "u", "annotations": {"a": "b"}},
            "data": {"k": "v"}
        });
        assert!(difference(&wanted, &live).is_empty());
    }

    #[test]
    fn what_differs_in_a_long_value_is_seen() {
        let query = |tail: &str| json!({"expr": format!("{}{tail}", "sum by (job) (rate(x[5m])) + ".repeat(5))});
        assert_eq!(
            difference(&query("rate(new[5m])"), &query("rate(old[5m])")),
            ["~ expr: ... rate(x[5m])) + rate(old[5m]) -> ... rate(x[5m])) + rate(new[5m])"]
        );
        let long = |head: &str| json!({"expr": format!("{head}{}", "x".repeat(100))});
        let shown = difference(&long("b"), &long("a"));
        assert_eq!(shown, [format!("~ expr: a{} ... -> b{} ...", "x".repeat(79), "x".repeat(79))]);
        // Characters and not bytes.
        let word = |tail: &str| json!({"a": format!("{}{tail}", "ü".repeat(90))});
        assert_eq!(
            difference(&word("1"), &word("2")),
            [format!("~ a: ... {}2 -> ... {}1", "ü".repeat(20), "ü".repeat(20))]
        );
    }

    #[test]
    fn changed_added_and_dropped_fields_are_told() {
        let wanted = json!({"kind": "ConfigMap", "metadata": {"labels": {"x": "2"}}, "data": {"new": "v"}});
        let live = json!({
            "kind": "ConfigMap",
            "metadata": {"labels": {"x": "1"}, "managedFields": [
                {"manager": "drivemaster-mon", "operation": "Apply",
                 "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}, "f:data": {"f:old": {}}}},
                {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:data": {"f:theirs": {}}}}
            ]},
            "data": {"old": "v", "theirs": "t"}
        });
        assert_eq!(difference(&wanted, &live), ["+ data.new: v", "~ metadata.labels.x: 1 -> 2", "- data.old"]);
    }

    #[test]
    fn long_texts_are_compared_by_line() {
        let wanted = json!({"data": {"rules.yaml": "a\nb\nc\n"}});
        let live = json!({"data": {"rules.yaml": "a\nx\nc\n"}});
        let lines = difference(&wanted, &live);
        assert_eq!(lines[0], "~ data.rules.yaml:");
        assert!(lines.contains(&"    -x".to_owned()) && lines.contains(&"    +b".to_owned()), "{lines:?}");
    }

    #[test]
    fn the_content_of_secrets_is_masked() {
        let wanted = json!({"kind": "Secret", "data": {"password": "bmV3", "added": "eA=="}});
        let live = json!({"kind": "Secret", "data": {"password": "b2xk"}});
        let text = difference(&wanted, &live).join("\n");
        assert_eq!(text, "+ data.added: (masked)\n~ data.password: (masked) -> (masked)");
        let text = difference(&wanted, &json!({"kind": "Secret"})).join("\n");
        assert_eq!(text, "+ data: (masked)");
    }

    #[test]
    fn in_values_what_is_called_a_secret_is_masked() {
        let new = json!({"adminPassword": "s3cret", "existingSecret": "grafana", "admin": {"passwordKey": "p"}, "a": {"token": "s3cret", "b": 1},
            "text": "url: a\napi_key: s3cret-1\n"});
        let old = json!({"adminPassword": "s3cret-0", "text": "url: b\napi_key: s3cret-2\n", "gone": {"x": "s3cret"}});
        let lines = whole_difference(&new, &old, Mask::Names);
        let text = lines.join("\n");
        assert!(!text.contains("s3cret"), "{text}");
        for told in [
            "~ adminPassword: (masked) -> (masked)",
            "+ a: {\"b\":1,\"token\":\"(masked)\"}",
            "+ admin: {\"passwordKey\":\"p\"}",
            "    -url: b",
            "- gone",
        ] {
            assert!(lines.iter().any(|line| line == told), "no `{told}` in {text}");
        }
        assert_eq!(cut(vec![String::new(); 50]).len(), DIFF_LINES + 1);
    }

    #[test]
    fn in_other_objects_what_is_called_a_secret_is_masked_too() {
        let object = |secret: &str, plain: &str| {
            json!({"kind": "Deployment", "spec": {
                "env": [{"name": "GF_CLIENT_SECRET", "value": secret}, {"name": "MODE", "value": plain}],
                "automountServiceAccountToken": plain == "new",
                "volumes": [{"secret": {"secretName": plain}}],
                "grafana.ini": format!("client_secret = {secret}\nmode = {plain}\n"),
            }})
        };
        let (new, old) = (object("s3cret-1", "new"), object("s3cret-0", "old"));
        let lines = whole_difference(&new, &old, Mask::of(&old));
        assert!(!lines.join("\n").contains("s3cret"), "{lines:?}");
        for told in [
            "~ spec.env[0].value: (masked) -> (masked)",
            "~ spec.env[1].value: old -> new",
            "~ spec.automountServiceAccountToken: false -> true",
            "~ spec.volumes[0].secret.secretName: old -> new",
            "    +mode = new",
        ] {
            assert!(lines.iter().any(|line| line == told), "no `{told}` in {lines:?}");
        }
        // One that is new, and a list of which one item is.
        for old in [json!({"spec": {}}), json!({"spec": {"env": []}})] {
            let lines = whole_difference(&new, &old, Mask::Names).join("\n");
            assert!(!lines.contains("s3cret") && lines.contains("MODE"), "{lines}");
        }
        let named = |name: &str| json!({"name": name, "value": "s3cret"});
        let lines = whole_difference(&named("TOKEN"), &named("MODE"), Mask::Names);
        assert_eq!(lines, ["~ name: MODE -> TOKEN"]);
        let lines = whole_difference(&json!({"name": "MODE", "value": "x"}), &named("TOKEN"), Mask::Names);
        assert!(lines.contains(&"~ value: (masked) -> (masked)".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_field_that_only_the_standing_definition_has_is_told() {
        let definition = |properties: Value| {
            json!({"kind": "CustomResourceDefinition", "spec": {"versions": [{"name": "v1", "schema":
                {"openAPIV3Schema": {"properties": {"spec": {"properties": properties}}}}}]}})
        };
        let (wanted, mut live) = (definition(json!({"a": {}})), definition(json!({"a": {}, "b": {"type": "string"}})));
        live["spec"]["conversion"] = json!({"strategy": "None"});
        live["spec"]["versions"][0]["additional"] = json!("default");
        let secret = definition(json!({"password": {"type": "x"}}));
        let told = difference(&secret, &definition(json!({"password": {"type": "y"}})));
        assert!(told[0].ends_with("properties.password.type: y -> x"), "it holds none itself: {told:?}");
        let path = "spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.b";
        assert_eq!(difference(&wanted, &live), [format!("- {path}")]);
        assert!(difference(&live, &live).is_empty());
        let many: serde_json::Map<String, Value> =
            (0..100).map(|key| (format!("k{key}"), json!({"type": "x"}))).collect();
        assert_eq!(difference(&wanted, &definition(Value::Object(many))).len(), DIFF_LINES + 1);
    }

    #[test]
    fn empty_fields_that_the_server_drops_are_no_difference() {
        assert!(difference(&json!({"data": {}, "list": []}), &json!({})).is_empty());
    }
}
