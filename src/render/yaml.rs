//! Writes JSON values as YAML that a reader of YAML 1.1 (Helm, kubectl) and one of 1.2 read the same.
//!
//! The writers at hand leave strings like `yes`, `on` and `1_000` bare, which 1.1 takes for other
//! things. Here a string is bare only where no version of YAML could take it for anything else.

use serde_json::Value;
use std::fmt::Write;

/// Keys that a person looks for first; all others follow in alphabetical order.
const FIRST_KEYS: &[&str] = &["apiVersion", "kind", "metadata", "name", "namespace"];

/// `value` as one YAML document, ending with a line break.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        scalar => {
            inline(&mut out, scalar, 2);
            out.push('\n');
        }
    }
    out
}

fn mapping(out: &mut String, map: &serde_json::Map<String, Value>, indent: usize) {
    let rank = |key: &str| FIRST_KEYS.iter().position(|first| *first == key).unwrap_or(FIRST_KEYS.len());
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| (rank(key), key.as_str()));
    for (index, (key, value)) in entries.into_iter().enumerate() {
        // The first line of a mapping inside a sequence stands behind its dash.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            pad(out, indent);
        }
        out.push_str(&string(key));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(out, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, indent + 2);
            }
            scalar => {
                out.push(' ');
                inline(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || out.ends_with('\n') {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(out, inner, indent + 2),
            scalar => {
                inline(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A value that begins on the current line; `indent` is that of the lines that may follow.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if is_block(text) => block(out, text, indent),
        Value::String(text) => out.push_str(&string(text)),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        // Null, booleans and numbers are the same in JSON and YAML.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Whether `text` can stand as a literal block: more than one line, and nothing a block would lose.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.trim_start_matches('\n').starts_with(' ')
        && text.lines().all(|line| !line.ends_with([' ', '\t', '\r']) && !line.starts_with('\t'))
        && text.chars().all(|character| character == '\n' || is_printable(character))
}

fn block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    // How many line breaks end the text: none, one, or all that are written.
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

/// A string on one line: bare where it is safe, else in quotes: the kind that needs no escapes, if any.
fn string(text: &str) -> String {
    if is_bare(text) {
        return text.to_owned();
    }
    if text.contains(['"', '\\']) && !text.contains('\'') && text.chars().all(is_printable) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other if is_printable(other) => quoted.push(other),
            other if u32::from(other) <= 0xffff => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(other));
            }
            other => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether YAML takes the character as it is; the rest are line breaks of some version, byte order
/// marks and control characters.
fn is_printable(character: char) -> bool {
    !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Words that some version of YAML reads as something other than a string.
const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];

fn is_bare(text: &str) -> bool {
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_' || first == '/');
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '/');
    begins_well && text.chars().all(plain) && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_reads_like_one_a_person_wrote() {
        let value = json!({
            "spec": { "b": [1, { "name": "x", "a": [[1, 2], []] }], "empty": {}, "none": null },
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "data": { "file.yaml": "a: 1\n\nb:\n  - 2\n", "off": "on" },
        });
        let expected = r#"apiVersion: v1
kind: ConfigMap
data:
  file.yaml: |
    a: 1

    b:
      - 2
  "off": "on"
spec:
  b:
    - 1
    - name: x
      a:
        - - 1
          - 2
        - []
  empty: {}
  none: null
"#;
        assert_eq!(to_yaml(&value), expected);
    }

    #[test]
    fn every_string_reads_back_as_it_was() {
        for text in [
            "",
            " ",
            "yes",
            "No",
            "ON",
            "off",
            "y",
            "N",
            "true",
            "False",
            "null",
            "NULL",
            "~",
            "1",
            "1_000",
            "0x1f",
            "0o7",
            "1e3",
            ".5",
            "+1",
            "-",
            "- a",
            "1:30",
            "2024-01-01",
            ".inf",
            ".NaN",
            "nan",
            "<<",
            "=",
            "a: b",
            "a #b",
            "#a",
            "@a",
            "`a`",
            "%a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "?",
            "{a}",
            "[a]",
            "a\tb",
            "\ta",
            "a\nb",
            "a\nb\n",
            "a\nb\n\n",
            "\na\nb",
            " a\nb",
            "a \nb",
            "a\n\tb",
            "a\r\nb",
            "\n",
            "a\n",
            "\"q\" 'p' \\",
            "é",
            "\u{2028}",
            "a\u{2028}\nb",
            "\u{85}",
            "\u{feff}",
            "😀",
            "\0",
            "\u{7f}",
            "quay.io/a:v1",
            "/etc/x",
            "a\n  b\nc",
            "---",
            "a\n---\nb",
            "...",
        ] {
            for value in [json!(text), json!({ "a": [text, { "k": text }], "z": text }), json!({ text: 1 })] {
                let yaml = to_yaml(&value);
                let back: Value =
                    serde_yaml::from_str(&yaml).unwrap_or_else(|error| panic!("{text:?}: {error}\n{yaml}"));
                assert_eq!(back, value, "{yaml}");
            }
        }
    }

    #[test]
    fn numbers_keep_their_kind() {
        let value = json!([1, -2, 1.0, 0.5, 1e21, u64::MAX, true, null]);
        assert_eq!(serde_yaml::from_str::<Value>(&to_yaml(&value)).unwrap(), value);
    }
}
