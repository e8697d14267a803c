//! One YAML file as JSON, with the position of every key and value kept beside it.

use super::Problem;
use crate::pointer;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use saphyr_parser::Event;
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// Line and column, both from 1.
pub type Position = (usize, usize);

/// How deep maps and lists may stand in each other. The parser's own limit spares blocks.
const DEEPEST: usize = 64;
/// The key whose maps lend their keys to the map that it stands in.
const MERGE: &str = "<<";
/// How many values a file may have; one of 1 MiB has fewer.
const MOST_VALUES: usize = 1 << 20;

/// A file that was read: its value, and where each part of it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Name for messages.
    pub file: String,
    /// The content. An empty file is an empty map.
    pub value: Value,
    /// Position of the key (or list item) at each JSON pointer.
    positions: BTreeMap<String, Position>,
    /// The same positions in the order of the text.
    ordered: Vec<Position>,
}

impl Document {
    /// Reads `text`, named `file` in messages.
    ///
    /// # Errors
    /// Malformed YAML, duplicate keys, more than one document, keys that are not text, tags, and a
    /// top level that is not a map; the first malformation only, as nothing after it has a meaning.
    pub fn parse(file: &str, text: &str) -> Result<Document, Vec<Problem>> {
        let problem = |(line, column): Position, message: String| Problem {
            file: file.to_owned(),
            line,
            column,
            path: String::new(),
            message,
        };
        if let Err((position, message)) = bounded(text) {
            return Err(vec![problem(position, message)]);
        }
        let nodes = MarkedYaml::load_from_str(text).map_err(|error| {
            let marker = error.marker();
            vec![problem((marker.line(), marker.col() + 1), format!("malformed YAML: {}", error.info()))]
        })?;
        if nodes.len() > 1 {
            return Err(vec![problem((1, 1), "more than one YAML document; join them into one".to_owned())]);
        }
        let mut document = Document {
            file: file.to_owned(),
            value: Value::Object(Map::new()),
            positions: BTreeMap::from([(String::new(), (1, 1))]),
            ordered: Vec::new(),
        };
        let Some(root) = nodes.first() else { return Ok(document) };
        let mut problems = Vec::new();
        let value = document.convert(root, "", &mut problems);
        document.ordered = document.positions.values().copied().collect();
        document.ordered.sort_unstable();
        match value {
            Value::Null => {}
            Value::Object(_) => document.value = value,
            _ => problems.push(problem(position_of(root), "the top level is not a map of keys".to_owned())),
        }
        if problems.is_empty() { Ok(document) } else { Err(problems) }
    }

    /// A document made from values of the command line, without positions.
    pub fn synthetic(file: &str, value: Value) -> Document {
        Document { file: file.to_owned(), value, positions: BTreeMap::new(), ordered: Vec::new() }
    }

    /// Where the key at `pointer` stands, or the nearest key above it.
    pub fn position(&self, pointer: &str) -> Option<Position> {
        let mut pointer = pointer;
        loop {
            if let Some(position) = self.positions.get(pointer) {
                return Some(*position);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    /// Where what follows the key at `pointer`, and everything below it, begins.
    pub fn position_after(&self, pointer: &str) -> Option<Position> {
        let start = *self.positions.get(pointer)?;
        let below = format!("{pointer}/");
        let inside = self.positions.range(below.clone()..).take_while(|(other, _)| other.starts_with(&below));
        let last = inside.map(|(_, position)| *position).max().unwrap_or(start);
        self.ordered.get(self.ordered.partition_point(|position| *position <= last)).copied()
    }

    fn convert(&mut self, node: &MarkedYaml<'_>, pointer: &str, problems: &mut Vec<Problem>) -> Value {
        match &node.data {
            YamlData::Value(scalar) => self.scalar(scalar, node, pointer, problems),
            YamlData::Sequence(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let below = format!("{pointer}/{index}");
                        self.positions.insert(below.clone(), position_of(item));
                        self.convert(item, &below, problems)
                    })
                    .collect(),
            ),
            YamlData::Mapping(entries) => {
                let mut map = Map::new();
                let mut merged = Vec::new();
                for (key, item) in entries {
                    match &key.data {
                        YamlData::Value(Scalar::String(name)) if name == MERGE => merged.push(item),
                        YamlData::Value(Scalar::String(name)) => {
                            self.entry(name, key, item, pointer, &mut map, problems)
                        }
                        _ => problems.push(self.problem(key, pointer, "a key must be text; put it in quotes")),
                    }
                }
                for item in merged {
                    self.merge(item, pointer, &mut map, problems);
                }
                Value::Object(map)
            }
            _ => {
                problems.push(self.problem(node, pointer, "tags and unresolved aliases have no meaning here"));
                Value::Null
            }
        }
    }

    /// Adds what stands under the key `name` of the map at `pointer`.
    fn entry(
        &mut self,
        name: &str,
        key: &MarkedYaml<'_>,
        item: &MarkedYaml<'_>,
        pointer: &str,
        map: &mut Map<String, Value>,
        problems: &mut Vec<Problem>,
    ) {
        let below = pointer::below(pointer, name);
        self.positions.insert(below.clone(), position_of(key));
        let value = self.convert(item, &below, problems);
        map.insert(name.to_owned(), value);
    }

    /// Adds the keys of the map `item`, or of the maps in the list `item`, that `map` does not have: what stands under
    /// a merge key, of which the first word counts.
    fn merge(
        &mut self,
        item: &MarkedYaml<'_>,
        pointer: &str,
        map: &mut Map<String, Value>,
        problems: &mut Vec<Problem>,
    ) {
        match &item.data {
            YamlData::Mapping(_) => {
                // What stood there before keeps its place.
                let before = std::mem::take(&mut self.positions);
                let Value::Object(added) = self.convert(item, pointer, problems) else { return };
                for (pointer, position) in std::mem::replace(&mut self.positions, before) {
                    self.positions.entry(pointer).or_insert(position);
                }
                for (name, value) in added {
                    map.entry(name).or_insert(value);
                }
            }
            YamlData::Sequence(items) if items.iter().all(|item| matches!(item.data, YamlData::Mapping(_))) => {
                items.iter().for_each(|item| self.merge(item, pointer, map, problems));
            }
            _ => problems.push(self.problem(item, pointer, "a merge key `<<` takes a map or a list of maps")),
        }
    }

    fn scalar(&self, scalar: &Scalar<'_>, node: &MarkedYaml<'_>, pointer: &str, problems: &mut Vec<Problem>) -> Value {
        match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(*value),
            Scalar::Integer(value) => Value::Number((*value).into()),
            Scalar::FloatingPoint(value) => match Number::from_f64(value.into_inner()) {
                Some(number) => Value::Number(number),
                None => {
                    problems.push(self.problem(node, pointer, "a number must be finite"));
                    Value::Null
                }
            },
            Scalar::String(text) => Value::String(text.to_string()),
        }
    }

    fn problem(&self, node: &MarkedYaml<'_>, pointer: &str, message: &str) -> Problem {
        let (line, column) = position_of(node);
        Problem { file: self.file.clone(), line, column, path: key_path(pointer), message: message.to_owned() }
    }
}

/// Refuses a text whose value would not fit into stack or memory: one that is nested too deep, or small
/// but with aliases of aliases that multiply.
///
/// # Errors
/// Where it is too much, and what. What is no YAML passes: the parser tells that better.
pub(crate) fn bounded(text: &str) -> Result<(), (Position, String)> {
    let mut values = 0_usize;
    let mut size_of: BTreeMap<usize, usize> = BTreeMap::new();
    // Anchor of each open map or list, and how many values came before it.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for event in saphyr_parser::Parser::new_from_str(text) {
        let Ok((event, span)) = event else { return Ok(()) };
        match event {
            Event::MappingStart(anchor, _) | Event::SequenceStart(anchor, _) => {
                open.push((anchor, values));
                values += 1;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some((anchor, before)) = open.pop() {
                    size_of.insert(anchor, values - before);
                }
            }
            Event::Scalar(..) => values += 1,
            Event::Alias(anchor) => values = values.saturating_add(size_of.get(&anchor).copied().unwrap_or(1)),
            _ => {}
        }
        let position = || (span.start.line(), span.start.col() + 1);
        if open.len() > DEEPEST {
            return Err((position(), format!("more than {DEEPEST} maps or lists in each other")));
        }
        if values > MOST_VALUES {
            return Err((
                position(),
                format!("more than {MOST_VALUES} values, aliases counted as often as they stand"),
            ));
        }
    }
    Ok(())
}

fn position_of(node: &MarkedYaml<'_>) -> Position {
    (node.span.start.line(), node.span.start.col() + 1)
}

/// The JSON pointer `/platform/services/0/name` as people write it: `platform.services[0].name`.
pub fn key_path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.chars().all(|character| character.is_ascii_digit()) && !part.is_empty() {
            path.push_str(&format!("[{part}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&pointer::unescaped(part));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_keep_their_positions() {
        let document = Document::parse("a.yaml", "prometheus:\n  retention: 5d\nlist:\n  - x: 1\n").unwrap();
        assert_eq!(document.value, json!({"prometheus": {"retention": "5d"}, "list": [{"x": 1}]}));
        assert_eq!(document.position("/prometheus/retention"), Some((2, 3)));
        assert_eq!(document.position("/list/0/x"), Some((4, 5)));
        assert_eq!(document.position("/prometheus/nothing"), Some((1, 1)));
        assert_eq!(document.position_after("/prometheus"), Some((3, 1)));
        assert_eq!(document.position_after("/list"), None);
    }

    #[test]
    fn bad_files_say_where() {
        let cases = [
            ("a: [1, 2", "malformed YAML"),
            ("a: 1\na: 2", "malformed YAML"),
            ("- a", "not a map"),
            ("a: 1\n---\nb: 2", "more than one"),
            ("1: a", "a key must be text"),
            ("a: .inf", "finite"),
            ("a: {<<: 1}", "a merge key `<<` takes a map"),
            ("a: {<<: [{b: 1}, 2]}", "a merge key `<<` takes a map"),
        ];
        for (text, expected) in cases {
            let problems = Document::parse("a.yaml", text).unwrap_err();
            assert!(problems[0].message.contains(expected), "{text}: {}", problems[0]);
            assert!(problems[0].line > 0, "{text}");
        }
    }

    #[test]
    fn a_file_that_would_exhaust_the_stack_is_refused() {
        let blocks: String = (0..5000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        for text in
            [blocks, "a: ".to_owned() + &"- ".repeat(5000), "- ".repeat(5000), "a: ".to_owned() + &"[".repeat(5000)]
        {
            assert!(!Document::parse("a.yaml", &text).unwrap_err().is_empty());
        }
        assert_eq!(bounded(&"a:\n  - b: 1\n    c: [1]\n".repeat(500)), Ok(()));
    }

    #[test]
    fn aliases_that_multiply_are_refused_and_others_are_read() {
        let lists: String = (1..12)
            .map(|level| format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 9].join(", ")))
            .collect();
        let problems = Document::parse("a.yaml", &format!("l0: &l0 [x, x, x]\n{lists}")).unwrap_err();
        assert!(problems[0].message.contains("aliases counted"), "{}", problems[0]);
        assert!(!Document::parse("a.yaml", "a: &a [*a]\n").unwrap_err().is_empty());
        assert_eq!(Document::parse("a.yaml", "a: &a [1]\nb: *a\n").unwrap().value, json!({"a": [1], "b": [1]}));
    }

    #[test]
    fn a_merge_key_lends_what_is_not_there() {
        let text = "base: &base {team: a, severity: info}\nmore: &more {severity: none, page: x}\n\
            one:\n  <<: *base\n  team: b\nboth: {<<: [*base, *more]}\n";
        let document = Document::parse("a.yaml", text).unwrap();
        assert_eq!(document.value["one"], json!({"team": "b", "severity": "info"}));
        assert_eq!(document.value["both"], json!({"team": "a", "severity": "info", "page": "x"}));
        assert_eq!(document.position("/one/team"), Some((5, 3)));
        assert_eq!(document.position("/one/severity"), Some((1, 23)));
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        assert_eq!(Document::parse("a.yaml", "# nothing\n").unwrap().value, json!({}));
    }
}
