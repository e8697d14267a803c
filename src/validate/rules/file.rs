//! A file of rules, with the place of everything in it.

use crate::config::Document;
use crate::validate::finding::{Code, Finding, Severity};
use crate::validate::place::{Anchor, Judged, Part, Place};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(in crate::validate) const MALFORMED: Code = Code::new(
    "rules/malformed",
    Severity::Error,
    "the file is no file of rules",
    "a file of rules is `groups:`, a list of `name` and `rules`; or an object of kind PrometheusRule",
);

/// The most documents in one file.
const MOST_DOCUMENTS: usize = 100;

/// One document of rules: a whole file, or one object of a file with several.
#[derive(Debug)]
pub(in crate::validate) struct RuleFile<'j> {
    judged: &'j Judged,
    document: Document,
    /// The groups.
    pub(super) groups: Vec<Group>,
    /// The rules of all groups.
    pub(in crate::validate) rules: Vec<Rule>,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    /// Its name; empty where there is none.
    pub(super) name: String,
    /// Everything that stands in it.
    pub(super) keys: Map<String, Value>,
    /// Pointer to it.
    pub(super) pointer: String,
}

/// One rule.
#[derive(Debug)]
pub(in crate::validate) struct Rule {
    /// Name of the alert, where it is one.
    pub(in crate::validate) alert: Option<String>,
    /// Name of the metric that it records, where it does.
    pub(in crate::validate) record: Option<String>,
    /// The expression; empty where there is none.
    pub(in crate::validate) expression: String,
    /// The labels that it sets.
    pub(in crate::validate) labels: BTreeMap<String, String>,
    /// The annotations.
    pub(super) annotations: BTreeMap<String, String>,
    /// Everything that stands in it.
    pub(super) keys: Map<String, Value>,
    /// Pointer to it.
    pub(super) pointer: String,
    /// Which of the rules of its name in the file, from 0.
    occurrence: usize,
    /// Number of its group.
    pub(super) group: usize,
}

impl Rule {
    /// What it is called in messages.
    pub(super) fn title(&self) -> String {
        match (&self.alert, &self.record) {
            (Some(alert), _) => format!("alert `{alert}`"),
            (None, Some(record)) => format!("record `{record}`"),
            (None, None) => "a rule without a name".to_owned(),
        }
    }

    /// The line that names it, and what begins with it in a template.
    fn names(&self) -> Vec<String> {
        let of = |key: &str, name: &String| {
            [format!("{key}: {name}"), format!("{key}: \"{name}\""), format!("{key}: '{name}'")]
        };
        let alert = self.alert.iter().flat_map(|name| of("alert", name));
        alert.chain(self.record.iter().flat_map(|name| of("record", name))).collect()
    }
}

impl<'j> RuleFile<'j> {
    /// Every document of rules in `judged`; other objects beside them are left out.
    ///
    /// # Errors
    /// The findings that say why there is nothing to judge.
    pub(in crate::validate) fn read(judged: &'j Judged) -> Result<Vec<RuleFile<'j>>, Vec<Finding>> {
        let mut files = Vec::new();
        let mut findings = Vec::new();
        // Each document carries the lines before it, so that its places are those of the file.
        if judged.text.content.lines().filter(|line| is_separator(line)).count() > MOST_DOCUMENTS {
            let message = format!("more than {MOST_DOCUMENTS} documents in one file");
            return Err(vec![malformed(judged.whole(), message)]);
        }
        for text in documents(&judged.text.content) {
            match Document::parse(&judged.text.name, &text) {
                Ok(document) => match Self::of(judged, document) {
                    Ok(found) => files.extend(found),
                    Err(finding) => findings.push(*finding),
                },
                Err(problems) => {
                    for problem in problems {
                        let part = Part { start: (problem.line, problem.column), end: None };
                        findings.push(malformed(judged.place(&part, None, &[]), problem.message));
                    }
                }
            }
        }
        if files.is_empty() && findings.is_empty() {
            findings.push(malformed(judged.whole(), "there are no rules in it".to_owned()));
        }
        if findings.is_empty() { Ok(files) } else { Err(findings) }
    }

    fn of(judged: &'j Judged, document: Document) -> Result<Option<RuleFile<'j>>, Box<Finding>> {
        let wrong = |document: &Document, pointer: &str, message: &str| {
            let part = Part { start: document.position(pointer).unwrap_or((1, 1)), end: None };
            Box::new(malformed(judged.place(&part, None, &[]), message.to_owned()))
        };
        let groups_at = match document.value.get("kind").and_then(Value::as_str) {
            Some("PrometheusRule") => "/spec/groups",
            Some(_) => return Ok(None),
            None if document.value.as_object().is_some_and(Map::is_empty) => return Ok(None),
            None => "/groups",
        };
        let groups = match document.value.pointer(groups_at) {
            Some(Value::Array(groups)) => groups.clone(),
            // As the empty template of an exporter that is not there.
            Some(Value::Null) if groups_at == "/groups" => Vec::new(),
            Some(_) => return Err(wrong(&document, groups_at, "`groups` is not a list")),
            None => return Err(wrong(&document, "", "there is no `groups`")),
        };
        let mut file = RuleFile { judged, document, groups: Vec::new(), rules: Vec::new() };
        let mut seen = Seen::new();
        for (index, group) in groups.iter().enumerate() {
            let pointer = format!("{groups_at}/{index}");
            let Value::Object(keys) = group else {
                return Err(wrong(&file.document, &pointer, "a group is not a map"));
            };
            let rules = match keys.get("rules") {
                None | Some(Value::Null) => &[][..],
                Some(Value::Array(rules)) => rules.as_slice(),
                Some(_) => return Err(wrong(&file.document, &format!("{pointer}/rules"), "`rules` is not a list")),
            };
            for (number, rule) in rules.iter().enumerate() {
                let pointer = format!("{pointer}/rules/{number}");
                let Value::Object(keys) = rule else {
                    return Err(wrong(&file.document, &pointer, "a rule is not a map"));
                };
                let rule = rule_of(keys, pointer, index, &mut seen);
                file.rules.push(rule);
            }
            file.groups.push(Group { name: text(keys, "name").unwrap_or_default(), keys: keys.clone(), pointer });
        }
        Ok(Some(file))
    }

    /// The place of the first of `needles` below `key` of `rule`; of the rule's name with an empty key.
    pub(super) fn place(&self, rule: &Rule, key: &str, needles: &[&str]) -> Place {
        let pointer =
            if rule.keys.contains_key(key) { format!("{}/{key}", rule.pointer) } else { rule.pointer.clone() };
        let part = self.part(&pointer);
        let anchor = Anchor {
            names: rule.names(),
            occurrence: rule.occurrence,
            next: &["- alert:", "- record:"],
            key: rule.keys.contains_key(key).then(|| format!("{key}:")),
        };
        let name = rule.alert.as_deref().or(rule.record.as_deref()).unwrap_or_default();
        let needles: Vec<&str> =
            needles.iter().copied().chain([key, name]).filter(|needle| !needle.is_empty()).collect();
        self.judged.place(&part, Some(&anchor), &needles)
    }

    /// The place of what stands at `pointer`, which is no rule's.
    pub(super) fn place_at(&self, pointer: &str, needles: &[&str]) -> Place {
        let part = self.part(pointer);
        // A group or a key of one is named once in its template, or made by it.
        let anchor = needles.first().map(|needle| Anchor {
            names: vec![(*needle).to_owned()],
            occurrence: 0,
            next: &[],
            key: None,
        });
        self.judged.place(&part, anchor.as_ref(), needles)
    }

    /// What stands at `pointer`, up to the next key or item.
    fn part(&self, pointer: &str) -> Part {
        let start = self.document.position(pointer).unwrap_or((1, 1));
        let end = self.document.position_after(pointer).filter(|end| *end > start);
        Part { start, end }
    }
}

fn malformed(place: Place, message: String) -> Finding {
    Finding { code: &MALFORMED, severity: MALFORMED.severity, message, fix: MALFORMED.fix.to_owned(), place }
}

fn text(keys: &Map<String, Value>, key: &str) -> Option<String> {
    match keys.get(key)? {
        Value::String(text) => Some(text.clone()),
        // As Go reads them; whether it should is asked elsewhere.
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn texts(keys: &Map<String, Value>, key: &str) -> BTreeMap<String, String> {
    let map = keys.get(key).and_then(Value::as_object);
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    map.into_iter().flatten().map(|(name, value)| (name.clone(), word(value))).collect()
}

/// How many rules of each name came before.
type Seen = BTreeMap<(Option<String>, Option<String>), usize>;

fn rule_of(keys: &Map<String, Value>, pointer: String, group: usize, seen: &mut Seen) -> Rule {
    let (alert, record) = (text(keys, "alert"), text(keys, "record"));
    let count = seen.entry((alert.clone(), record.clone())).or_default();
    let occurrence = *count;
    *count += 1;
    Rule {
        expression: text(keys, "expr").unwrap_or_default(),
        labels: texts(keys, "labels"),
        annotations: texts(keys, "annotations"),
        keys: keys.clone(),
        alert,
        record,
        pointer,
        occurrence,
        group,
    }
}

fn is_separator(line: &str) -> bool {
    line.trim_end() == "---" || line.starts_with("--- ")
}

/// The documents of `text`, each with as many lines before it as it has in the file.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (index, line) in text.lines().enumerate() {
        match documents.last_mut() {
            Some(document) if !is_separator(line) => {
                document.push_str(line);
                document.push('\n');
            }
            _ => documents.push("\n".repeat(index + 1)),
        }
    }
    // Comments at the head, or a separator at the end.
    let is_empty = |document: &String| document.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
    documents.retain(|document| !is_empty(document));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::place::Text;

    #[test]
    fn objects_of_a_file_keep_their_lines() {
        let text = "---\n# made\nkind: Service\n---\nkind: PrometheusRule\nspec:\n  groups:\n    - name: a\n      rules:\n        - record: b\n          expr: up\n";
        let judged = Judged::file(Text::new("a.yaml", text));
        let files = RuleFile::read(&judged).unwrap();
        assert_eq!(files.len(), 1);
        let place = files[0].place(&files[0].rules[0], "expr", &["up"]);
        assert_eq!((place.line, place.column), (11, 17));
    }
}
