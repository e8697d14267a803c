//! Helm values by the schemas of their charts.

use super::finding::{Code, Finding, NotJudged, Severity, Verdict};
use super::place::Judged;
use super::rendered::Rendered;
use crate::chart::Chart;
use crate::config::merge;
use crate::config::schema::nearest;
use crate::pointer::{below, unescaped};
use crate::render::Release;
use crate::secrets::is_secret_name;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

/// Every kind of finding about values.
pub(super) const CODES: &[&Code] = &[&REFUSED, &SECRET, &UNKNOWN_VALUE];

const REFUSED: Code = Code::new(
    "values/refused",
    Severity::Error,
    "the chart's schema refuses a value",
    "Helm stops the deploy for it; correct the value in the template of the values, or in the configuration it is made of",
);

const SECRET: Code = Code::new(
    "values/secret",
    Severity::Warning,
    "a value that is called as secrets are",
    "Helm's Secrets, the records of deploys and what `render` writes hold it as it is; name a Secret instead",
);

const UNKNOWN_VALUE: Code = Code::new(
    "values/unknown",
    Severity::Error,
    "the chart knows no such value",
    "Helm takes it and nothing reads it; correct the name, or take it away",
);

/// File of a chart with its schema.
const SCHEMA: &str = "values.schema.json";

/// Judges the values of `release`; `judged` is their text, for places.
pub(super) fn judge(release: &Release, judged: &Judged) -> Verdict {
    let chart = &release.chart;
    let mut verdict = Verdict::default();
    let mut problems = Vec::new();
    secrets(&release.values, "", &mut problems);
    verdict.findings.extend(findings(release, judged, problems));
    let cannot = |reason: String| NotJudged { subject: format!("values of the release `{}`", release.name), reason };
    let defaults = match defaults_of(chart, "") {
        Ok(Some(defaults)) => defaults,
        Ok(None) => {
            verdict
                .not_judged
                .push(cannot(format!("the chart `{}` is not at hand; `--charts DIR` names its folder", chart.name)));
            return verdict;
        }
        Err(reason) => {
            verdict.not_judged.push(cannot(reason));
            return verdict;
        }
    };
    let mut problems = unknown(&release.values, &defaults, chart);
    let schemas: Vec<&String> = chart.files.keys().filter(|path| path.ends_with(SCHEMA)).collect();
    for path in &schemas {
        match by_schema(release, chart, path, &defaults) {
            Ok(found) => problems.extend(found),
            Err(reason) => verdict.not_judged.push(cannot(reason)),
        }
    }
    verdict.findings.extend(findings(release, judged, problems));
    let by = if schemas.is_empty() { "the chart's own values" } else { "the chart's schema" };
    verdict.judged.push(format!("values of `{}` by {by}", release.name));
    verdict
}

fn findings(release: &Release, judged: &Judged, problems: Vec<Problem>) -> Vec<Finding> {
    if problems.is_empty() {
        return Vec::new();
    }
    let rendered = Rendered::new(judged);
    let finding = |problem: Problem| {
        let key = unescaped(problem.pointer.rsplit('/').next().unwrap_or_default());
        let needles = [format!("{key}:"), format!("\"{key}\":"), format!("'{key}':")];
        let needles = if key.is_empty() { Vec::new() } else { needles.iter().map(String::as_str).collect() };
        Finding {
            code: problem.code,
            severity: problem.code.severity,
            message: format!("values of the release `{}`: {}", release.name, problem.message),
            fix: problem.fix.unwrap_or_else(|| problem.code.fix.to_owned()),
            // Without the value, which may be a secret, and without its neighbours.
            place: rendered.place(&problem.pointer, &needles).alone(&needles),
        }
    };
    problems.into_iter().map(finding).collect()
}

/// Texts in `value`, which is at `pointer`, that are called as secrets are; also those of environment variables.
fn secrets(value: &Value, pointer: &str, problems: &mut Vec<Problem>) {
    let mut found = |pointer: String, name: &str| {
        let message = format!("`{}` holds what is called as a secret is: `{name}`", told(&pointer));
        problems.push(Problem { code: &SECRET, pointer, message, fix: None });
    };
    match value {
        Value::Object(fields) => {
            let variable = fields.get("name").and_then(Value::as_str).filter(|name| is_secret_name(name));
            if let Some(name) = variable
                && fields.get("value").is_some_and(is_literal)
            {
                found(format!("{pointer}/value"), name);
            }
            for (name, _) in fields.iter().filter(|(name, value)| is_secret(name) && is_literal(value)) {
                found(below(pointer, name), name);
            }
            fields.iter().for_each(|(name, value)| secrets(value, &below(pointer, name), problems));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| secrets(item, &format!("{pointer}/{index}"), problems));
        }
        _ => {}
    }
}

/// Whether a field of values that is called `name` holds a secret, and not the name of a Secret as `adminSecret` does.
fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let is_reference = lower.starts_with("existing") || lower.ends_with("secret") && !lower.ends_with("clientsecret");
    is_secret_name(name) && !is_reference
}

/// Whether `value` is a text that stands for itself, and not for a variable or for what a template makes.
fn is_literal(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty() && !text.starts_with('$') && !text.contains("{{"))
}

/// Whether what stands at `pointer` in `values` may be a secret by its name, or by the name of what it is part of;
/// of environment variables by theirs.
fn is_sensitive(values: &Value, pointer: &str) -> bool {
    let mut at = String::new();
    pointer.split('/').skip(1).any(|part| {
        let name = values.pointer(&at).and_then(|above| above.get("name")?.as_str());
        at = format!("{at}/{part}");
        is_secret_name(&unescaped(part)) || name.is_some_and(is_secret_name)
    })
}

/// A JSON pointer for people.
fn told(pointer: &str) -> String {
    unescaped(&pointer.trim_start_matches('/').replace('/', "."))
}

struct Problem {
    code: &'static Code,
    pointer: String,
    message: String,
    fix: Option<String>,
}

/// The chart's own values; of the subchart in the folder `below`. `None` where the chart is empty.
fn defaults_of(chart: &Chart, below: &str) -> Result<Option<Value>, String> {
    let Some(text) = chart.files.get(&format!("{below}values.yaml")) else {
        return Ok((!chart.files.is_empty()).then(|| Value::Object(Map::new())));
    };
    let read: Result<Option<Value>, _> = serde_yaml::from_slice(text);
    let values =
        read.map_err(|error| format!("the file `{below}values.yaml` of chart `{}` is no YAML: {error}", chart.name))?;
    Ok(Some(values.unwrap_or_else(|| Value::Object(Map::new()))))
}

/// Keys at the top of `values` that neither the chart's own values nor a subchart know.
fn unknown(values: &Value, defaults: &Value, chart: &Chart) -> Vec<Problem> {
    let Some(known) = defaults.as_object().filter(|known| !known.is_empty()) else { return Vec::new() };
    let mut names: Vec<String> = known.keys().cloned().collect();
    names.push("global".to_owned());
    names.extend(subcharts(chart));
    let given = values.as_object().into_iter().flatten().map(|(key, _)| key);
    given
        .filter(|key| !names.contains(key) && !is_read(chart, key))
        .map(|key| Problem {
            code: &UNKNOWN_VALUE,
            pointer: below("", key),
            message: format!("the chart `{}` knows no value `{key}`", chart.name),
            fix: nearest(key, &names).map(|near| format!("did you mean `{near}`?")),
        })
        .collect()
}

/// Whether a template of the chart reads the value `key`, as many do with `fullnameOverride`.
fn is_read(chart: &Chart, key: &str) -> bool {
    let reading = format!("Values.{key}");
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    chart.files.iter().filter(|(path, _)| path.starts_with("templates/")).any(|(_, content)| {
        let text = String::from_utf8_lossy(content);
        text.match_indices(&reading).any(|(index, found)| !text[index + found.len()..].starts_with(is_word))
    })
}

/// The names that the values of subcharts stand below.
fn subcharts(chart: &Chart) -> Vec<String> {
    let text = chart.files.get("Chart.yaml").map(Vec::as_slice).unwrap_or_default();
    let described: Value = serde_yaml::from_slice(text).unwrap_or_default();
    let dependencies = described.get("dependencies").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |dependency: &Value, key: &str| dependency.get(key)?.as_str().map(str::to_owned);
    dependencies.iter().flat_map(|dependency| [name(dependency, "name"), name(dependency, "alias")]).flatten().collect()
}

/// What the schema at `path` in the chart says of the values that it is about.
fn by_schema(release: &Release, chart: &Chart, path: &str, defaults: &Value) -> Result<Vec<Problem>, String> {
    let folder = path.strip_suffix(SCHEMA).unwrap_or_default();
    // `charts/a/charts/b/` has its values below `a.b`.
    let pointer: String =
        folder.split('/').filter(|part| !part.is_empty() && *part != "charts").map(|part| format!("/{part}")).collect();
    let mut values = if folder.is_empty() {
        defaults.clone()
    } else {
        let Some(own) = defaults_of(chart, folder)? else { return Ok(Vec::new()) };
        let mut own = own;
        if let Some(parents) = defaults.pointer(&pointer) {
            merge(&mut own, parents);
        }
        own
    };
    match release.values.pointer(&pointer) {
        Some(given) => merge(&mut values, given),
        // A subchart that is given nothing is the chart's own affair.
        None if !folder.is_empty() => return Ok(Vec::new()),
        None => {}
    }
    let text = chart.files.get(path).map(Vec::as_slice).unwrap_or_default();
    let wrong =
        |error: &dyn std::fmt::Display| format!("the file `{path}` of chart `{}` is no schema: {error}", chart.name);
    let schema: Value = serde_json::from_slice(text).map_err(|error| wrong(&error))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| wrong(&error))?;
    let problems = validator.iter_errors(&values).map(|error| {
        let at = format!("{pointer}{}", error.instance_path());
        let told = told(&at);
        let path = error.instance_path().as_str();
        // A text may hold a secret whatever it is called, and some errors are about a part of what they name.
        let is_plain = matches!(error.instance().as_ref(), Value::Number(_) | Value::Bool(_) | Value::Null);
        let is_shown = is_plain && values.pointer(path) == Some(error.instance()) && !is_sensitive(&values, path);
        let (code, at) = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                (&UNKNOWN_VALUE, below(&at, unexpected.first().map(String::as_str).unwrap_or_default()))
            }
            _ => (&REFUSED, at),
        };
        let said = if is_shown { error.to_string() } else { error.masked().to_string() };
        let said = crate::validate::objects::shortened(&said);
        let message = if told.is_empty() { said } else { format!("`{told}`: {said}") };
        Problem { code, pointer: at, message, fix: None }
    });
    Ok(problems.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::validate::place::Text;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn judged(values: &Value, schema: &Value) -> Verdict {
        judged_as(values, schema, &serde_yaml::to_string(values).unwrap())
    }

    fn judged_as(values: &Value, schema: &Value, text: &str) -> Verdict {
        let files = [("values.yaml", json!({"a": {}, "env": [], "auth": {}})), (SCHEMA, schema.clone())];
        let files = files.map(|(path, content)| (path.to_owned(), content.to_string().into_bytes()));
        let (name, version) = ("x".to_owned(), "1".to_owned());
        let chart = Chart { name: name.clone(), app_version: version.clone(), version, files: BTreeMap::from(files) };
        let release = Release { name, namespace: "m".to_owned(), chart, values: values.clone(), needs: Vec::new() };
        judge(&release, &Judged::file(Text::new("x.yaml", text)))
    }

    #[test]
    fn what_is_called_as_a_secret_is_told_without_the_secret() {
        let values = json!({
            "a": {"adminPassword": "s3cret", "existingSecret": "grafana", "passwordKey": "p", "token": "$__env{TOKEN}"},
            "env": [{"name": "API_KEY", "value": "s3cret"}, {"name": "API_TOKEN", "value": "{{ .Values.a }}"}],
        });
        let verdict = judged(&values, &json!({}));
        let found: Vec<(&str, &str)> =
            verdict.findings.iter().map(|finding| (finding.code.id, &*finding.place.excerpt)).collect();
        assert_eq!(found, [("values/secret", "  adminPassword:"), ("values/secret", "  value:")], "{verdict:#?}");
        assert!(!format!("{verdict:?}").contains("s3cret"));
        assert!(
            verdict.findings[1].message.contains("`env.0.value`") && verdict.findings[1].message.contains("API_KEY")
        );
    }

    #[test]
    fn a_secret_that_the_schema_refuses_is_not_told_either() {
        let object = json!({"type": "object"});
        let of_auth = |schema: Value| json!({"properties": {"auth": schema}});
        let of_env = |schema: Value| json!({"properties": {"env": {"items": schema}}});
        let password = json!({"auth": {"password": "s3cret"}});
        let variable = json!({"env": [{"name": "API_TOKEN", "value": "s3cret"}]});
        for (values, schema) in [
            (&password, of_auth(json!({"properties": {"password": object}}))),
            // Above the secret, and beside it.
            (&password, of_auth(json!({"type": "array"}))),
            (&password, of_auth(json!({"additionalProperties": false}))),
            (&password, of_auth(json!({"required": ["user"]}))),
            (&password, json!({"maxProperties": 0})),
            (&variable, of_env(json!({"properties": {"value": object}}))),
            (&variable, of_env(json!({"type": "string"}))),
            (
                &json!({"auth": {"tokens/a": ["s3cret"]}}),
                of_auth(json!({"properties": {"tokens/a": {"items": object}}})),
            ),
        ] {
            let verdict = judged(values, &schema);
            assert!(verdict.findings.iter().any(|finding| finding.code == &REFUSED || finding.code == &UNKNOWN_VALUE));
            assert!(!format!("{verdict:?}").contains("s3cret"), "{verdict:#?}");
        }
    }

    #[test]
    fn a_key_is_shown_alone_however_it_is_written() {
        let schema =
            json!({"properties": {"a": {"properties": {"x/y": {"type": "string"}, "port": {"type": "string"}}}}});
        let values = json!({"a": {"x/y": 17, "port": 18, "adminPassword": "s3cret"}});
        for text in [
            "a:\n  adminPassword: s3cret\n  port: 18\n  x/y: 17\n",
            "a: {adminPassword: s3cret, port: 18, \"x/y\": 17, more: s3cret}\n",
            "a: {'adminPassword': s3cret, 'port': 18, 'x/y': 17}\n",
        ] {
            let verdict = judged_as(&values, &schema, text);
            let shown: Vec<&str> = verdict
                .findings
                .iter()
                .map(|finding| finding.place.excerpt.trim_matches([' ', '\'', '"', ':']))
                .collect();
            assert_eq!(shown, ["adminPassword", "port", "x/y"], "{text}");
            assert!(verdict.findings.iter().all(|finding| finding.place.text() == finding.place.excerpt.trim()));
            // What is no secret is told.
            let message = &verdict.findings[1].message;
            assert_eq!(message, "values of the release `x`: `a.port`: 18 is not of type \"string\"");
        }
    }
}
