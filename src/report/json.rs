//! JSON for programs: one document a run on stdout, events as lines on stderr.

use crate::event::{Event, Sink};
use serde_json::{Map, Value};
use std::io::Write;

/// The document `schema` with the fields of `value`; a value that is no map stands under `value`.
pub fn document(schema: &str, value: Value) -> Value {
    let mut document = Map::new();
    document.insert("schema".to_owned(), Value::String(format!("drivemaster-mon/{schema}/v1")));
    match value {
        Value::Object(fields) => document.extend(fields),
        other => {
            document.insert("value".to_owned(), other);
        }
    }
    Value::Object(document)
}

/// Each event as one line of JSON on stderr.
pub struct Lines;

impl Sink for Lines {
    fn emit(&self, event: Event) {
        if let Ok(line) = serde_json::to_string(&event) {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_names_its_schema() {
        assert_eq!(document("plan", json!({"a": 1})), json!({"schema": "drivemaster-mon/plan/v1", "a": 1}));
        assert_eq!(document("x", json!([1])), json!({"schema": "drivemaster-mon/x/v1", "value": [1]}));
    }
}
