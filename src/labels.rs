//! Label selectors, as the API server reads them. Pure.

use serde_json::Value;
use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The labels of `object`.
pub fn labels_of(object: &Value) -> Labels {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether `selector` (with `matchLabels` and `matchExpressions`) selects `labels`; an empty one, or none
/// at all, selects everything.
pub fn selects(selector: Option<&Value>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return true };
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
        && expressions.into_iter().all(|expression| holds(expression, labels))
}

fn holds(expression: &Value, labels: &Labels) -> bool {
    let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
    let value = labels.get(text("key")).map(String::as_str);
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let among = values.filter_map(Value::as_str).any(|one| Some(one) == value);
    match text("operator") {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_read_as_the_api_server_reads_them() {
        let labels = labels_of(&json!({"metadata": {"labels": {"a": "1", "b": "2"}}}));
        let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "1", "b": "3"}}), false),
            (json!({"matchLabels": {"c": "1"}}), false),
            (expression("a", "In", json!(["1", "2"])), true),
            (expression("a", "In", json!(["2"])), false),
            (expression("a", "NotIn", json!(["2"])), true),
            (expression("c", "NotIn", json!(["2"])), true),
            (expression("a", "Exists", json!(null)), true),
            (expression("c", "Exists", json!(null)), false),
            (expression("c", "DoesNotExist", json!(null)), true),
            (expression("a", "Odd", json!(null)), false),
        ] {
            assert_eq!(selects(Some(&selector), &labels), expected, "{selector}");
        }
        assert!(selects(None, &labels));
    }
}
