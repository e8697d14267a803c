//! What a dashboard asks Prometheus.

use super::{Report, model, units};
use crate::config::schema::nearest;
use crate::promql::tokens;
use crate::validate::finding::{Code, Severity};
use crate::validate::promql;
use crate::validate::vocabulary::Vocabulary;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const UNKNOWN_VARIABLE: Code = Code::new(
    "dashboards/unknown-variable",
    Severity::Error,
    "a query uses a variable that the dashboard does not have",
    "add the variable to `templating`, or correct its name: Grafana sends `$name` as it is",
)
.foreign(Severity::Warning);

/// Stands for a value that a person chooses.
const CHOSEN: &str = "chosen-by-a-person";

/// Judges the queries of the marks on the time axis, and those that give variables their values.
pub(super) fn judge_dashboard(report: &mut Report<'_, '_>, vocabulary: &Vocabulary) {
    let file = report.file;
    let marks = file.model.pointer("/annotations/list").and_then(Value::as_array);
    for (index, mark) in marks.into_iter().flatten().enumerate() {
        let kind = kind_of(&file.model, mark.get("datasource"));
        let is_ours = |text: &&str| kind.map_or_else(|| !asks_for_logs(text), |kind| kind == "prometheus");
        if let Some(text) = mark.get("expr").and_then(Value::as_str).filter(is_ours) {
            let name = mark.get("name").and_then(Value::as_str).unwrap_or_default();
            of_text(report, text, vocabulary, &mut |report, code, needles, message, fix| {
                let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
                let pointer = format!("/annotations/list/{index}/expr");
                report.of_dashboard(code, &pointer, &needles, format!("marks `{name}`: {message}"));
                if let (Some(fix), Some(finding)) = (fix, report.findings.last_mut()) {
                    finding.fix = fix;
                }
            });
        }
    }
    for (index, variable) in variables(&file.model).iter().enumerate() {
        let query = variable.get("query").unwrap_or(&Value::Null);
        let text = query.as_str().or_else(|| query.get("query")?.as_str()).unwrap_or_default();
        let inner = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let Some((series, label)) = inner.and_then(|inner| inner.rsplit_once(',')) else { continue };
        let name = variable.get("name").and_then(Value::as_str).unwrap_or_default();
        let text = format!("group by ({}) ({series})", label.trim());
        of_text(report, &text, vocabulary, &mut |report, code, needles, message, fix| {
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let pointer = format!("/templating/list/{index}");
            report.of_dashboard(code, &pointer, &needles, format!("variable `{name}`: {message}"));
            if let (Some(fix), Some(finding)) = (fix, report.findings.last_mut()) {
                finding.fix = fix;
            }
        });
    }
}

/// Judges the queries of one panel, and its unit by what they give.
pub(super) fn judge_panel<'p>(
    report: &mut Report<'_, '_>,
    (pointer, panel): (&str, &'p Value),
    vocabulary: &Vocabulary,
) {
    let at = (pointer, panel);
    let mut readable = Vec::new();
    for target in panel.get("targets").and_then(Value::as_array).into_iter().flatten() {
        let datasource = |owner: &'p Value| owner.get("datasource").filter(|own| !own.is_null());
        // A target without a datasource asks that of its panel.
        let kind = kind_of(&report.file.model, [target, panel].into_iter().find_map(datasource));
        if kind.is_some_and(|kind| kind != "prometheus" && !kind.starts_with("--")) {
            continue;
        }
        let Some(text) = target.get("expr").and_then(Value::as_str).filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        // A datasource may be named without its kind.
        if kind.is_none() && asks_for_logs(text) {
            continue;
        }
        let expression = of_text(report, text, vocabulary, &mut |report, code, needles, message, fix| {
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            report.of_panel(code, at, &needles, message, fix);
        });
        readable.extend(expression.map(|expression| (expression, target)));
    }
    if model::asks(panel) {
        units::judge(report, at, &readable, vocabulary);
    }
}

/// The kind of a datasource, such as `prometheus`: what it says itself, or the variable that it names.
fn kind_of<'m>(model: &'m Value, datasource: Option<&'m Value>) -> Option<&'m str> {
    let datasource = datasource?;
    // `-- Mixed --` and Grafana's own are of the kind `datasource`, which says nothing.
    if let Some(kind) = datasource.get("type").and_then(Value::as_str) {
        return Some(kind).filter(|kind| *kind != "datasource");
    }
    let name = datasource.as_str().or_else(|| datasource.get("uid")?.as_str())?;
    let (variable, length) = variable_at(name)?;
    let is_meant = |found: &&Value| found.get("name").and_then(Value::as_str) == Some(variable);
    if length < name.len() {
        return None;
    }
    let found = variables(model).iter().find(is_meant)?;
    let is_datasource = found.get("type").and_then(Value::as_str) == Some("datasource");
    found.get("query").and_then(Value::as_str).filter(|_| is_datasource)
}

/// Whether `text` is a query of LogQL and none of PromQL: by a pipe, a line filter behind a selector, or a function.
fn asks_for_logs(text: &str) -> bool {
    const FUNCTIONS: [&str; 3] = ["bytes_over_time", "bytes_rate", "rate_counter"];
    let tokens: Vec<&str> = tokens(text).filter(|token| !token.trim().is_empty()).collect();
    let is_filter = |part: &[&str]| match part {
        ["}", "!", "=" | "~", value] => value.starts_with(['"', '`']),
        _ => false,
    };
    tokens.iter().any(|token| *token == "|" || FUNCTIONS.contains(token)) || tokens.windows(4).any(is_filter)
}

type Tell<'t> = dyn FnMut(&mut Report<'_, '_>, &'static Code, Vec<String>, String, Option<String>) + 't;

/// Judges one query, and returns it where it can be read.
fn of_text(
    report: &mut Report<'_, '_>,
    text: &str,
    vocabulary: &Vocabulary,
    tell: &mut Tell<'_>,
) -> Option<crate::promql::Expr> {
    let known = values(&report.file.model);
    let expanded = expand(text, &known);
    for name in &expanded.unknown {
        let names: Vec<&String> = known.keys().collect();
        let near = nearest(name, &names).map(|near| format!("did you mean `${near}`?"));
        let needles = vec![format!("${name}"), format!("${{{name}")];
        tell(report, &UNKNOWN_VARIABLE, needles, format!("there is no variable `${name}`"), near);
    }
    let (expression, problems) = promql::judge(&expanded.text, vocabulary);
    // What stands in the place of a variable outside of quotes was guessed.
    if expression.is_none() && (expanded.guessed || !expanded.unknown.is_empty()) {
        return None;
    }
    for problem in problems {
        if !problem.needles.iter().any(|needle| needle.contains(CHOSEN)) {
            tell(report, problem.code, problem.needles, problem.message, problem.fix);
        }
    }
    expression
}

/// `text` with values for its variables.
pub(super) fn filled_in(model: &Value, text: &str) -> String {
    expand(text, &values(model)).text
}

fn variables(model: &Value) -> &[Value] {
    model.pointer("/templating/list").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The variables by name, each with the value that it has when the dashboard is opened, where that is a word.
fn values(model: &Value) -> BTreeMap<String, Option<String>> {
    let is_word = |value: &&str| !value.is_empty() && !value.starts_with('$');
    let list = variables(model).iter();
    let of_model = list.filter_map(|variable| {
        let value = variable.pointer("/current/value").and_then(Value::as_str).filter(is_word);
        Some((variable.get("name")?.as_str()?.to_owned(), value.map(str::to_owned)))
    });
    of_model.collect()
}

#[derive(Debug, PartialEq)]
struct Expanded {
    text: String,
    /// Whether a value was made up outside of quotes and ranges.
    guessed: bool,
    /// Variables that the dashboard does not have.
    unknown: Vec<String>,
}

/// `text` with values for `$name`, `${name}`, `${name:format}` and `[[name]]`, as far as they matter for
/// judging: in quotes a word that stands for whatever is chosen, in a range five minutes.
fn expand(text: &str, known: &BTreeMap<String, Option<String>>) -> Expanded {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), guessed: false, unknown: Vec::new() };
    let mut quote: Option<char> = None;
    let mut in_range = false;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some((name, length)) = variable_at(rest) {
            rest = &rest[length..];
            let value = if !name.starts_with("__") && !known.contains_key(name) {
                expanded.unknown.push(name.to_owned());
                if quote.is_some() { CHOSEN } else { "1" }
            } else if quote.is_some() {
                CHOSEN
            } else if in_range {
                "5m"
            } else if name.starts_with("__") {
                "60"
            } else {
                expanded.guessed = true;
                known.get(name).and_then(Option::as_deref).unwrap_or("1")
            };
            expanded.text.push_str(value);
            continue;
        }
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), '\\') => {
                // What is escaped ends nothing.
                expanded.text.push(letter);
                rest = &rest[1..];
                if let Some(escaped) = rest.chars().next() {
                    expanded.text.push(escaped);
                    rest = &rest[escaped.len_utf8()..];
                }
                continue;
            }
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(letter),
            (None, '[') => in_range = true,
            (None, ']') => in_range = false,
            (None, _) => {}
        }
        expanded.text.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    expanded
}

/// The name of the variable that `text` begins with, and how many bytes it takes.
fn variable_at(text: &str) -> Option<(&str, usize)> {
    let name_end =
        |text: &str| text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    let is_name = |name: &str| name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if let Some(inner) = text.strip_prefix("${") {
        let end = inner.find('}')?;
        let name = &inner[..name_end(inner)];
        return is_name(name).then_some((name, end + 3));
    }
    if let Some(inner) = text.strip_prefix("[[") {
        let end = inner.find("]]")?;
        let name = &inner[..name_end(inner)];
        return is_name(name).then_some((name, end + 4));
    }
    let inner = text.strip_prefix('$')?;
    let name = &inner[..name_end(inner)];
    is_name(name).then_some((name, name.len() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_so_that_the_query_can_be_read() {
        let known: BTreeMap<String, Option<String>> =
            [("job".to_owned(), None), ("label".to_owned(), Some("service".to_owned()))].into();
        for (text, expected) in [
            ("up{job=~\"$job\"}", "up{job=~\"chosen-by-a-person\"}"),
            ("up{job=~'${job:regex}'}", "up{job=~'chosen-by-a-person'}"),
            ("rate(a[$__rate_interval])", "rate(a[5m])"),
            ("a * $__interval_ms", "a * 60"),
            ("sum by ($label) (a)", "sum by (service) (a)"),
            ("label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\")", "label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\")"),
            ("a{b=\"\\\"$\"}", "a{b=\"\\\"$\"}"),
            ("a[[job]]", "a1"),
        ] {
            assert_eq!(expand(text, &known).text, expected);
        }
        assert_eq!(expand("up{job=\"$jb\"}", &known).unknown, ["jb"]);
    }

    #[test]
    fn a_query_of_logs_is_known_by_what_promql_has_not() {
        for text in [
            r#"count_over_time({a="b"} |= "c" [5m])"#,
            r#"{app="x"} != "debug""#,
            "{app=\"x\"}!~`a`",
            "sum(bytes_over_time({app=\"x\"}[5m]))",
        ] {
            assert!(asks_for_logs(text), "{text}");
        }
        for text in [r#"up{a=~"b|c", d!="}|"} != 1"#, r#"up{a="b"} unless up{c!="d"}"#, "sum(up"] {
            assert!(!asks_for_logs(text), "{text}");
        }
    }

    #[test]
    fn a_datasource_says_its_kind_or_names_a_variable_that_does() {
        let model = serde_json::json!({"templating": {"list": [
            {"name": "logs", "type": "datasource", "query": "loki"},
            {"name": "job", "type": "query", "query": "label_values(up, job)"},
        ]}});
        for (datasource, kind) in [
            (r#"{"type": "loki", "uid": "$job"}"#, Some("loki")),
            (r#"{"uid": "${logs}"}"#, Some("loki")),
            (r#""$logs""#, Some("loki")),
            (r#""$logs and more""#, None),
            (r#""$job""#, None),
            (r#""Loki""#, None),
            ("null", None),
        ] {
            let datasource: Value = serde_json::from_str(datasource).unwrap_or_default();
            assert_eq!(kind_of(&model, Some(&datasource)), kind, "{datasource}");
        }
    }
}
