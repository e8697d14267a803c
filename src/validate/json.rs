//! Where each value of a JSON text stands.

use crate::pointer;
use std::collections::BTreeMap;

/// Values deeper than this are shown as a part of what they stand in.
const DEEPEST: usize = 8;

/// From which byte to which.
pub(super) type Span = (usize, usize);

/// A map or list that is open.
struct Frame {
    start: usize,
    is_map: bool,
    /// Number of the item.
    index: usize,
    /// Key of the value that comes.
    key: String,
    /// Whether the next string is a key.
    wants_key: bool,
    pointer: String,
}

/// The span of each value of `text`, which is JSON, by its JSON pointer.
pub(super) fn spans(text: &str) -> BTreeMap<String, Span> {
    let bytes = text.as_bytes();
    let mut spans = BTreeMap::new();
    let mut open: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'{' | b'[' => {
                let is_map = bytes[at] == b'{';
                let pointer = pointer_of(&open);
                open.push(Frame { start, is_map, index: 0, key: String::new(), wants_key: is_map, pointer });
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                if let Some(frame) = open.pop() {
                    remember(&mut spans, &open, frame.pointer, (frame.start, at));
                }
            }
            b',' => {
                if let Some(frame) = open.last_mut() {
                    frame.index += 1;
                    frame.wants_key = frame.is_map;
                }
                at += 1;
            }
            b'"' => {
                at = end_of_string(bytes, at);
                match open.last_mut().filter(|frame| frame.wants_key) {
                    Some(frame) => {
                        frame.wants_key = false;
                        // A key with escapes keeps them: nobody asks for one.
                        frame.key = pointer::escaped(&text[start + 1..at - 1]);
                    }
                    None => remember(&mut spans, &open, pointer_of(&open), (start, at)),
                }
            }
            b':' | b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            _ => {
                let rest = bytes[at..].iter().position(|byte| b",]} \n\r\t".contains(byte));
                at = rest.map_or(bytes.len(), |length| at + length.max(1));
                remember(&mut spans, &open, pointer_of(&open), (start, at));
            }
        }
    }
    spans
}

fn remember(spans: &mut BTreeMap<String, Span>, open: &[Frame], pointer: String, span: Span) {
    if open.len() <= DEEPEST {
        spans.insert(pointer, span);
    }
}

fn pointer_of(open: &[Frame]) -> String {
    match open.last() {
        None => String::new(),
        Some(_) if open.len() > DEEPEST => String::new(),
        Some(frame) if frame.is_map => format!("{}/{}", frame.pointer, frame.key),
        Some(frame) => format!("{}/{}", frame.pointer, frame.index),
    }
}

/// Behind the closing quote of the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_found_at_its_pointer() {
        let text = r#"{"a": [1, {"b/c": "x\"}y"}, null], "d" : {} , "e":-1.5e3}"#;
        let spans = spans(text);
        let at = |pointer: &str| spans.get(pointer).map(|(start, end)| &text[*start..*end]);
        assert_eq!(at("/a/0"), Some("1"));
        assert_eq!(at("/a/1/b~1c"), Some(r#""x\"}y""#));
        assert_eq!(at("/a/1"), Some(r#"{"b/c": "x\"}y"}"#));
        assert_eq!(at("/a/2"), Some("null"));
        assert_eq!(at("/d"), Some("{}"));
        assert_eq!(at("/e"), Some("-1.5e3"));
        assert_eq!(at(""), Some(text));
    }
}
