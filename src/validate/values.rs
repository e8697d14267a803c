//! Helm values by the schemas of their charts.

use super::finding::{Code, Finding, NotJudged, Severity, Verdict};
use super::place::Judged;
use super::rendered::Rendered;
use crate::chart::Chart;
use crate::config::merge;
use crate::config::schema::nearest;
use crate::render::Release;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

/// Every kind of finding about values.
pub(super) const CODES: &[&Code] = &[&REFUSED, &UNKNOWN_VALUE];

const REFUSED: Code = Code::new(
    "values/refused",
    Severity::Error,
    "the chart's schema refuses a value",
    "Helm stops the deploy for it; correct the value in the template of the values, or in the configuration it is made of",
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
    if !problems.is_empty() {
        let rendered = Rendered::new(judged);
        verdict.findings.extend(problems.into_iter().map(|problem| {
            let last = problem.pointer.rsplit('/').next().unwrap_or_default();
            let key = format!("{last}:");
            Finding {
                code: problem.code,
                severity: problem.code.severity,
                message: format!("values of the release `{}`: {}", release.name, problem.message),
                fix: problem.fix.unwrap_or_else(|| problem.code.fix.to_owned()),
                place: rendered.place(&problem.pointer, &[&key]),
            }
        }));
    }
    let by = if schemas.is_empty() { "the chart's own values" } else { "the chart's schema" };
    verdict.judged.push(format!("values of `{}` by {by}", release.name));
    verdict
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
            pointer: format!("/{key}"),
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
        let told = at.trim_start_matches('/').replace('/', ".");
        let (code, at) = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                (&UNKNOWN_VALUE, format!("{at}/{}", unexpected.first().map(String::as_str).unwrap_or_default()))
            }
            _ => (&REFUSED, at),
        };
        let said = crate::validate::objects::shortened(&error.to_string());
        let message = if told.is_empty() { said } else { format!("`{told}`: {said}") };
        Problem { code, pointer: at, message, fix: None }
    });
    Ok(problems.collect())
}
