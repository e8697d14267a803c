//! Finds the variables a template names but the context does not have.
//!
//! Tera is silent about an unknown variable inside `if`, `or` and `default`, so a mistyped switch
//! would render the wrong thing quietly. Every path in every tag is resolved here against the
//! context, whether the tag is ever reached or not. An `include` sees only the global context;
//! pass values through components instead.

use super::scan::{self, Tag, Token};
use crate::config::schema::nearest;
use serde_json::Value;
use std::collections::BTreeMap;

/// A path that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnknownVariable {
    /// Line of the path's first name, from 1.
    pub(super) line: usize,
    /// Column of it, from 1.
    pub(super) column: usize,
    /// The path as far as the name that does not exist.
    pub(super) path: String,
    /// The same path with the nearest existing name, if one is near.
    pub(super) suggestion: Option<String>,
}

const KEYWORDS: &[&str] = &[
    "and", "or", "not", "is", "in", "if", "elif", "else", "for", "true", "True", "false", "False", "none", "None",
    "null",
];
/// What a name stands for: the values it can have, or `None` where that is not known here.
type Binding<'v> = Option<Vec<&'v Value>>;

#[derive(Default)]
struct Scope<'v> {
    names: BTreeMap<String, Binding<'v>>,
    /// A component sees its arguments and nothing else.
    isolated: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Frame {
    Parenthesis,
    Bracket,
    Brace,
    Component,
}

/// All unknown variables of the template `text`, in order.
pub(super) fn unknown_variables(text: &str, context: &Value) -> Vec<UnknownVariable> {
    let mut checker = Checker { context, scopes: vec![Scope::default()], found: Vec::new() };
    for tag in scan::tags(text) {
        checker.tag(&tag);
    }
    checker.found
}

struct Checker<'v> {
    context: &'v Value,
    scopes: Vec<Scope<'v>>,
    found: Vec<UnknownVariable>,
}

impl<'v> Checker<'v> {
    fn tag(&mut self, tag: &Tag<'_>) {
        let tokens = tag.tokens.as_slice();
        let keyword = match tokens.first().map(|token| &token.kind) {
            Some(Token::Name(name)) if tag.is_block => *name,
            _ => return self.expression(tokens),
        };
        let rest = &tokens[1..];
        match keyword {
            "for" => self.begin_loop(rest),
            "component" => self.begin_component(rest),
            "endfor" | "endcomponent" if self.scopes.len() > 1 => {
                self.scopes.pop();
            }
            "set" | "set_global" => self.set(rest),
            "if" | "elif" => self.expression(rest),
            // The first name is a filter, not a variable.
            "filter" => self.expression(rest.get(1..).unwrap_or_default()),
            _ => {}
        }
    }

    fn begin_loop(&mut self, tokens: &[scan::Placed<'_>]) {
        let split = tokens.iter().position(|token| token.kind == Token::Name("in")).unwrap_or(tokens.len());
        let (names, target) = (&tokens[..split], tokens.get(split + 1..).unwrap_or_default());
        self.expression(target);
        let elements = self.lone_path(target).map(|values| values.into_iter().flat_map(children).collect::<Vec<_>>());
        let mut scope = Scope::default();
        let names: Vec<&str> = names.iter().filter_map(scan::Placed::name).collect();
        if let Some((value, keys)) = names.split_last() {
            for key in keys {
                scope.names.insert((*key).to_owned(), None);
            }
            // A loop over nothing says nothing about its elements.
            scope.names.insert((*value).to_owned(), elements.filter(|values| !values.is_empty()));
        }
        scope.names.insert("loop".to_owned(), None);
        self.scopes.push(scope);
    }

    fn begin_component(&mut self, tokens: &[scan::Placed<'_>]) {
        let mut scope = Scope { isolated: true, ..Scope::default() };
        scope.names.insert("body".to_owned(), None);
        let mut depth = 0;
        for (index, token) in tokens.iter().enumerate() {
            match token.kind {
                Token::Symbol("(" | "[" | "{") => depth += 1,
                Token::Symbol(")" | "]" | "}") => depth -= 1,
                Token::Name(name) if depth == 1 => {
                    let before = index.checked_sub(1).map(|before| &tokens[before].kind);
                    if matches!(before, Some(Token::Symbol("(" | "," | "..."))) {
                        scope.names.insert(name.to_owned(), None);
                    }
                }
                _ => {}
            }
        }
        self.scopes.push(scope);
    }

    fn set(&mut self, tokens: &[scan::Placed<'_>]) {
        let Some(name) = tokens.first().and_then(scan::Placed::name) else { return };
        let value = match tokens.get(1).map(|token| &token.kind) {
            Some(Token::Symbol("=")) => &tokens[2..],
            _ => &[],
        };
        self.expression(value);
        let binding = self.lone_path(value);
        if let Some(scope) = self.scopes.last_mut() {
            // Set in two branches: it can be either.
            let merged = match (scope.names.remove(name), binding) {
                (None, new) => new,
                (Some(Some(mut old)), Some(new)) => {
                    old.extend(new);
                    Some(old)
                }
                (Some(_), _) => None,
            };
            scope.names.insert(name.to_owned(), merged);
        }
    }

    /// Checks every path of one expression.
    fn expression(&mut self, tokens: &[scan::Placed<'_>]) {
        self.scopes.push(comprehension_names(tokens));
        let mut frames: Vec<Frame> = Vec::new();
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            let before = index.checked_sub(1).and_then(|before| tokens.get(before)).map(|token| &token.kind);
            let after = tokens.get(index + 1).map(|token| &token.kind);
            match token.kind {
                Token::Symbol("<") if begins_operand(before) && matches!(after, Some(Token::Name(_))) => {
                    frames.push(Frame::Component);
                }
                Token::Symbol("</") => frames.push(Frame::Component),
                Token::Symbol(">") if frames.last() == Some(&Frame::Component) => {
                    frames.pop();
                }
                Token::Symbol("(") => frames.push(Frame::Parenthesis),
                Token::Symbol("[" | "?[") => frames.push(Frame::Bracket),
                Token::Symbol("{") => frames.push(Frame::Brace),
                Token::Symbol(")" | "]" | "}") => {
                    frames.pop();
                }
                Token::Name(name) => {
                    let is_test = match before {
                        Some(Token::Name("is")) => name != "not",
                        Some(Token::Name("not")) => {
                            index.checked_sub(2).is_some_and(|at| tokens[at].kind == Token::Name("is"))
                        }
                        _ => false,
                    };
                    let is_argument = after == Some(&Token::Symbol("=")) && frames.last() == Some(&Frame::Parenthesis);
                    let is_key = after == Some(&Token::Symbol(":"))
                        && frames.last() == Some(&Frame::Brace)
                        && matches!(before, Some(Token::Symbol("{" | ",")));
                    let is_variable = !is_test
                        && !is_argument
                        && !is_key
                        && !KEYWORDS.contains(&name)
                        && frames.last() != Some(&Frame::Component)
                        && !matches!(before, Some(Token::Symbol("." | "?." | "|")))
                        && after != Some(&Token::Symbol("("));
                    if is_variable {
                        let (path, length) = path_at(&tokens[index..]);
                        if let Err(unknown) = self.resolve(&path, token) {
                            self.found.push(unknown);
                        }
                        index += length;
                        continue;
                    }
                }
                _ => {}
            }
            index += 1;
        }
        self.scopes.pop();
    }

    /// The values of an expression that is one path and nothing else.
    fn lone_path(&self, tokens: &[scan::Placed<'_>]) -> Binding<'v> {
        let first = tokens.first()?;
        first.name()?;
        let (path, length) = path_at(tokens);
        if length != tokens.len() {
            return None;
        }
        self.resolve(&path, first).ok().flatten()
    }

    fn resolve(&self, path: &[&str], at: &scan::Placed<'_>) -> Result<Binding<'v>, UnknownVariable> {
        let (root, rest) = match path {
            [root, rest @ ..] => (*root, rest),
            [] => return Ok(None),
        };
        let mut known: Vec<&str> = Vec::new();
        let mut binding: Option<Binding<'v>> = None;
        let mut global = true;
        for scope in self.scopes.iter().rev() {
            if let Some(found) = scope.names.get(root) {
                binding = Some(found.clone());
                break;
            }
            known.extend(scope.names.keys().map(String::as_str));
            if scope.isolated {
                global = false;
                break;
            }
        }
        if binding.is_none() && global {
            binding = self.context.get(root).map(|value| Some(vec![value]));
            known.extend(keys(self.context));
        }
        let unknown = |depth: usize, known: Vec<&str>| {
            let prefix = &path[..depth];
            let name = path[depth];
            let join = |last: &str| [prefix, &[last]].concat().join(".");
            UnknownVariable {
                line: at.line,
                column: at.column,
                path: join(name),
                suggestion: nearest(name, &known).map(join),
            }
        };
        let mut values = match binding {
            None => return Err(unknown(0, known)),
            Some(None) => return Ok(None),
            Some(Some(values)) => values,
        };
        for (index, name) in rest.iter().enumerate() {
            if values.is_empty() || values.iter().any(|value| value.is_null()) {
                return Ok(None);
            }
            let next: Vec<&'v Value> = values.iter().filter_map(|value| value.get(*name)).collect();
            if next.is_empty() {
                return Err(unknown(index + 1, values.iter().flat_map(|value| keys(value)).collect()));
            }
            values = next;
        }
        Ok(Some(values))
    }
}

/// The dotted path that begins at the first token, and how many tokens it takes.
fn path_at<'t>(tokens: &[scan::Placed<'t>]) -> (Vec<&'t str>, usize) {
    let mut path: Vec<&str> = tokens.first().and_then(scan::Placed::name).into_iter().collect();
    let mut index = 1;
    loop {
        let kind = |offset: usize| tokens.get(index + offset).map(|token| &token.kind);
        match (kind(0), kind(1), kind(2)) {
            (Some(Token::Symbol("." | "?.")), Some(Token::Name(name)), _) => {
                path.push(name);
                index += 2;
            }
            (Some(Token::Symbol("[" | "?[")), Some(Token::Text(name)), Some(Token::Symbol("]"))) => {
                path.push(name);
                index += 3;
            }
            _ => return (path, index),
        }
    }
}

/// The names that `[x for x in ...]` binds within its expression.
fn comprehension_names<'v>(tokens: &[scan::Placed<'_>]) -> Scope<'v> {
    let mut scope = Scope::default();
    for (index, token) in tokens.iter().enumerate() {
        if token.kind == Token::Name("for") {
            for name in tokens[index + 1..].iter().take_while(|token| token.kind != Token::Name("in")) {
                scope.names.extend(name.name().map(|name| (name.to_owned(), None)));
            }
        }
    }
    scope
}

/// Whether an operand, not an operator, is expected after `before`: there `<` opens a component.
fn begins_operand(before: Option<&Token<'_>>) -> bool {
    match before {
        None => true,
        Some(Token::Name(name)) => KEYWORDS.contains(name),
        Some(Token::Text(_) | Token::Number) => false,
        Some(Token::Symbol(symbol)) => !matches!(*symbol, ")" | "]" | "}"),
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context() -> Value {
        json!({
            "config": { "grafana": { "enabled": true, "settings": { "a-b": 1 } }, "none": null, "text": "x" },
            "services": [{ "name": "user-service", "port": 3001 }],
            "empty": [],
        })
    }

    fn found(text: &str) -> Vec<String> {
        unknown_variables(text, &context()).into_iter().map(|unknown| unknown.path).collect()
    }

    #[test]
    fn known_paths_pass_wherever_they_stand() {
        for text in [
            "@{ config.grafana.enabled }@",
            "@{ config.grafana.settings[\"a-b\"] }@",
            "@% if config.grafana.enabled and not config.text %@x@% endif %@",
            "@% for s in services %@@{ s.name }@@{ loop.index }@@% endfor %@",
            "@% for key, s in services %@@{ key }@ @{ s.port }@@% endfor %@",
            "@% for s in services | filter(attribute=\"x\") %@@{ s.anything }@@% endfor %@",
            "@% for s in empty %@@{ s.anything }@@% endfor %@",
            "@% set g = config.grafana %@@{ g.enabled }@",
            "@% set g = config.grafana.enabled or config.text %@@{ g.anything }@",
            "@{ [x for x in services] | length }@",
            "@{ config.text | default(value=\"nope\") | upper }@",
            "@{ config.text is defined }@ @{ config.text is not string }@",
            "@{ {name: config.text} | json }@",
            "@{ range(end=3) }@",
            "@{ config.none.deeper }@",
            "@{ services[0].name }@ @{ \"nope.nope\" }@",
            "@# nope.nope #@ {{ nope }} @% raw %@@{ nope }@@% endraw %@",
            "@% component panel(title: string, unit = \"short\") %@@{ title }@@{ unit }@@{ body }@@% endcomponent panel %@",
            "@{ <panel title={config.text} unit=\"s\" /> }@",
            "@% <panel title=\"a\"> %@@{ config.text }@@% </panel> %@",
            "@{ 1 < 2 }@ @{ services | length > 0 }@",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn unknown_paths_are_found_wherever_they_stand() {
        for (text, path) in [
            ("@{ nope }@", "nope"),
            ("@{ config.nope.deeper }@", "config.nope"),
            ("@{ config.grafana[\"nope\"] }@", "config.grafana.nope"),
            ("@% if config.grafana.enable %@x@% endif %@", "config.grafana.enable"),
            ("@% if true or nope %@x@% elif false %@@% endif %@", "nope"),
            ("@% if true %@x@% elif nope %@@% endif %@", "nope"),
            ("@{ nope or 'e' }@", "nope"),
            ("@{ nope | default(value=1) }@", "nope"),
            ("@{ 1 | default(value=nope) }@", "nope"),
            ("@{ config?.nope }@", "config.nope"),
            ("@{ services[nope].name }@", "nope"),
            ("@{ config.text.deeper }@", "config.text.deeper"),
            ("@% for s in services %@@{ s.nam }@@% endfor %@", "s.nam"),
            ("@% for s in services %@@% endfor %@@{ s.name }@", "s"),
            ("@% set g = config.grafana %@@{ g.nope }@", "g.nope"),
            ("@% for x in nope %@@% endfor %@", "nope"),
            ("@% component panel(title) %@@{ config.text }@@% endcomponent panel %@", "config"),
            ("@{ <panel title={nope} /> }@", "nope"),
            ("@{ {name: nope} | json }@", "nope"),
            ("@{ [x for x in nope] }@", "nope"),
            ("@{- nope -}@", "nope"),
            ("@% filter upper(a=nope) %@x@% endfilter %@", "nope"),
            ("@{ nope is defined }@", "nope"),
            ("@{ loop.index }@", "loop"),
        ] {
            assert_eq!(found(text), [path], "{text}");
        }
    }

    #[test]
    fn an_unknown_variable_has_its_place_and_the_nearest_name() {
        let unknown = unknown_variables("a\n  é @{ config.grafana.enabeld }@", &context());
        assert_eq!(
            unknown,
            [UnknownVariable {
                line: 2,
                column: 8,
                path: "config.grafana.enabeld".to_owned(),
                suggestion: Some("config.grafana.enabled".to_owned()),
            }]
        );
        assert_eq!(unknown_variables("@{ zzz }@", &context())[0].suggestion, None);
    }
}
