//! The part of a dashboard's model that says what is asked and how it is drawn.

use crate::promql::parse_duration;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Dashboard {
    /// What links name it by.
    pub uid: String,
    /// Title.
    pub title: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    time: TimeRange,
    templating: Templating,
    annotations: Annotations,
    /// Its panels, in the order of the model.
    pub panels: Vec<Panel>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct TimeRange {
    from: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Annotations {
    list: Vec<Annotation>,
}

/// A variable that a person chooses a value of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// What queries call it.
    pub name: String,
    /// Where its values come from: `datasource`, `query`, `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The question for its values; of a `query` variable an object.
    #[serde(default)]
    query: Value,
    #[serde(default)]
    all_value: Option<String>,
    #[serde(default)]
    current: Value,
}

/// Marks on the time axis.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Annotation {
    /// Its name.
    pub name: String,
    /// PromQL; `None` for Grafana's own.
    #[serde(default)]
    pub expr: Option<String>,
}

/// A panel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// Number within the dashboard.
    pub id: u64,
    /// What it draws: `timeseries`, `stat`, `table`; `row` for a heading.
    #[serde(rename = "type")]
    pub kind: String,
    /// Title.
    #[serde(default)]
    pub title: String,
    /// What it shows, for people.
    #[serde(default)]
    pub description: String,
    /// Where it stands, in a grid of 24 columns.
    pub grid_pos: GridPos,
    /// Its queries.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// How values are shown.
    #[serde(default)]
    pub field_config: FieldConfig,
    /// What else its kind has.
    #[serde(default)]
    pub options: Value,
    /// What becomes of the answers before they are shown.
    #[serde(default)]
    pub transformations: Vec<Value>,
}

/// Place and size in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct GridPos {
    /// Columns from the left.
    pub x: u32,
    /// Lines from the top.
    pub y: u32,
    /// Width in columns.
    pub w: u32,
    /// Height in lines.
    pub h: u32,
}

/// A query of a panel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its letter within the panel.
    pub ref_id: String,
    /// PromQL with Grafana's variables.
    #[serde(default)]
    pub expr: String,
    /// How a series is called, with `{{label}}` for the value of a label.
    #[serde(default)]
    pub legend_format: String,
    /// The shortest step, and what `$__rate_interval` is made from; that of the datasource where it is missing.
    #[serde(default)]
    pub interval: Option<String>,
    /// How the answer is read: `time_series`, `table`, or `heatmap` for the buckets of a histogram.
    #[serde(default)]
    pub format: String,
    /// Whether only the newest value is asked for.
    #[serde(default)]
    pub instant: bool,
}

/// How values are shown.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct FieldConfig {
    /// All of them.
    #[serde(default)]
    pub defaults: FieldDefaults,
    /// Some of them.
    #[serde(default)]
    pub overrides: Vec<Value>,
}

/// How all values of a panel are shown.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldDefaults {
    /// Grafana's id of the unit.
    #[serde(default)]
    pub unit: Option<String>,
    /// Least value of the axis.
    #[serde(default)]
    pub min: Option<f64>,
    /// Greatest value of the axis.
    #[serde(default)]
    pub max: Option<f64>,
    /// Digits behind the point.
    #[serde(default)]
    pub decimals: Option<usize>,
    /// What stands there without any value: the panel may be empty.
    #[serde(default)]
    pub no_value: Option<String>,
    /// From which value on which colour is shown.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Words and colours of single values.
    #[serde(default)]
    pub mappings: Vec<Value>,
    /// What only some kinds of panels have.
    #[serde(default)]
    pub custom: Value,
}

/// Steps of colours.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Thresholds {
    /// The steps, rising.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Step {
    /// Colour from here on.
    pub color: String,
    /// Where it begins; `None` for the first.
    pub value: Option<f64>,
}

impl Dashboard {
    /// Reads a model.
    ///
    /// # Errors
    /// What it lacks, on one line.
    pub fn parse(model: &Value) -> Result<Self, String> {
        Self::deserialize(model).map_err(|error| error.to_string())
    }

    /// How far back it looks when it is opened; an hour where it says something else than `now-<duration>`.
    pub fn range(&self) -> Duration {
        let back = self.time.from.strip_prefix("now-").and_then(|back| parse_duration(back).ok());
        back.unwrap_or(Duration::from_secs(3600))
    }

    /// The variables.
    pub fn variables(&self) -> &[Variable] {
        &self.templating.list
    }

    /// The marks on the time axis that a query gives.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations.list.iter().filter_map(|mark| Some((mark.name.as_str(), mark.expr.as_deref()?)))
    }

    /// The panels that ask something.
    pub fn asking(&self) -> impl Iterator<Item = &Panel> {
        self.panels.iter().filter(|panel| !panel.targets.is_empty())
    }
}

impl Variable {
    /// The value that is chosen when the dashboard is opened, as it is put into a query.
    pub fn chosen(&self) -> Option<String> {
        let value = self.current.get("value")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let values: Vec<String> = match value {
            Value::Array(values) => values.iter().filter_map(text).collect(),
            one => text(one).into_iter().collect(),
        };
        if values.iter().any(|value| value == "$__all") {
            let listed = self.query.as_str().map(|list| list.split(',').map(str::trim).collect::<Vec<_>>().join("|"));
            return self.all_value.clone().or(listed);
        }
        match values.len() {
            0 => None,
            _ => Some(values.join("|")),
        }
    }

    /// The series and the label whose values can be chosen: of `label_values(series, label)`.
    pub fn label_values(&self) -> Option<(&str, &str)> {
        let text = self.query.as_str().or_else(|| self.query.get("query")?.as_str())?;
        let inner = text.strip_prefix("label_values(")?.strip_suffix(')')?;
        let (series, label) = inner.rsplit_once(',')?;
        Some((series.trim(), label.trim()))
    }
}

impl Panel {
    /// Whether it may be empty while all is well: it then says so itself.
    pub fn may_be_empty(&self) -> bool {
        self.field_config.defaults.no_value.as_deref().is_some_and(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variable(value: Value) -> Variable {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_model_is_read_and_what_it_lacks_is_said() {
        let model = json!({ "uid": "u", "title": "T", "time": { "from": "now-24h", "to": "now" },
            "templating": { "list": [] },
            "annotations": { "list": [{ "name": "own" }, { "name": "alerts", "expr": "ALERTS" }] },
            "panels": [
                { "id": 1, "type": "row", "gridPos": { "x": 0, "y": 0, "w": 24, "h": 1 } },
                { "id": 2, "type": "stat", "gridPos": { "x": 0, "y": 1, "w": 4, "h": 4 },
                  "fieldConfig": { "defaults": { "noValue": "none", "thresholds": { "steps": [{ "color": "red", "value": null }] } } },
                  "targets": [{ "refId": "A", "expr": "up", "instant": true }] },
            ] });
        let dashboard = Dashboard::parse(&model).unwrap();
        assert_eq!(dashboard.range(), Duration::from_secs(86_400));
        assert_eq!(dashboard.annotations().collect::<Vec<_>>(), [("alerts", "ALERTS")]);
        let asking: Vec<_> = dashboard.asking().map(|panel| (panel.id, panel.may_be_empty())).collect();
        assert_eq!(asking, [(2, true)]);
        assert_eq!(Dashboard::parse(&json!({ "uid": "u" })), Err("missing field `title`".to_owned()));
    }

    #[test]
    fn the_chosen_value_is_what_a_query_gets() {
        for (current, expected) in [
            (json!("drivemaster"), Some("drivemaster")),
            (json!(["a", "b"]), Some("a|b")),
            (json!(["$__all"]), Some(".+")),
            (json!([]), None),
        ] {
            let read =
                variable(json!({ "name": "n", "type": "query", "allValue": ".+", "current": { "value": current } }));
            assert_eq!(read.chosen().as_deref(), expected);
        }
        let custom = json!({ "name": "n", "type": "custom", "query": "a, b", "current": { "text": ["All"], "value": ["$__all"] } });
        assert_eq!(variable(custom).chosen().as_deref(), Some("a|b"));
    }

    #[test]
    fn a_query_variable_tells_series_and_label() {
        let read = variable(
            json!({ "name": "n", "type": "query", "query": { "query": "label_values(up{a=\"b\", c=\"d\"}, namespace)" } }),
        );
        assert_eq!(read.label_values(), Some(("up{a=\"b\", c=\"d\"}", "namespace")));
    }
}
