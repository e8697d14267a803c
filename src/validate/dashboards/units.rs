//! The unit that a panel shows, beside that of the metrics it asks for.

use super::{Report, model};
use crate::contract::MetricType;
use crate::promql::{Expr, metric_of};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;
use serde_json::Value;

pub(super) const NO_UNIT: Code = Code::new(
    "dashboards/no-unit",
    Severity::Error,
    "a panel does not say in which unit its values are",
    "set `fieldConfig.defaults.unit`, `short` or `none` where it is a mere number",
)
.foreign(Severity::Info);

pub(super) const WRONG_UNIT: Code = Code::new(
    "dashboards/wrong-unit",
    Severity::Error,
    "a panel shows values in a unit that they are not in",
    "set the unit of the metric: `s` for seconds, `bytes` for bytes, `Bps` for their rate",
)
.foreign(Severity::Warning);

/// Kinds of panels that draw numbers.
const NUMBERS: [&str; 7] = ["timeseries", "stat", "gauge", "bargauge", "heatmap", "histogram", "barchart"];

const SECONDS: [&str; 6] = ["s", "dtdurations", "dtdhms", "clocks", "suffix:s", "dateTimeFromNow"];
const BYTES: [&str; 2] = ["bytes", "decbytes"];
const BYTES_A_SECOND: [&str; 2] = ["Bps", "binBps"];
/// Grafana's units that say something else than a mere number, as far as people mix them up.
const TELLING: [&str; 24] = [
    "s",
    "ms",
    "µs",
    "ns",
    "m",
    "h",
    "d",
    "dtdurations",
    "dtdurationms",
    "bytes",
    "decbytes",
    "kbytes",
    "mbytes",
    "gbytes",
    "bits",
    "Bps",
    "binBps",
    "bps",
    "KBs",
    "MBs",
    "percent",
    "percentunit",
    "reqps",
    "ops",
];

/// What a query's values are, where that is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Seconds,
    Bytes,
    BytesASecond,
    /// Seconds spent in a second, or the like: a share.
    Other,
}

impl Quantity {
    fn units(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Quantity::Seconds => Some(("seconds", &SECONDS)),
            Quantity::Bytes => Some(("bytes", &BYTES)),
            Quantity::BytesASecond => Some(("bytes a second", &BYTES_A_SECOND)),
            Quantity::Other => None,
        }
    }
}

/// Judges the unit of the panel `at`, whose `queries` could be read, each with its target.
pub(super) fn judge(
    report: &mut Report<'_, '_>,
    at: (&str, &Value),
    queries: &[(Expr, &Value)],
    vocabulary: &Vocabulary,
) {
    let panel = at.1;
    let unit = panel.pointer("/fieldConfig/defaults/unit").and_then(Value::as_str).unwrap_or_default();
    let has_none = |query: &(Expr, &Value)| unit_of(panel, query.1, unit) == Some("");
    if unit.is_empty() && NUMBERS.contains(&model::kind(panel)) && (queries.is_empty() || queries.iter().any(has_none))
    {
        report.of_panel(&NO_UNIT, at, &[], "it has no unit".to_owned(), None);
    }
    // A heatmap's unit is that of its cells, and a table has one a column.
    if ["heatmap", "table"].contains(&model::kind(panel)) {
        return;
    }
    for (query, target) in queries {
        let Some(unit) = unit_of(panel, target, unit).filter(|unit| TELLING.contains(unit)) else { continue };
        let Some((name, fitting)) = quantity(query, vocabulary).and_then(Quantity::units) else { continue };
        if !fitting.contains(&unit) {
            let message = format!("it shows {name} in the unit `{unit}`");
            let needles = [format!("unit=\"{unit}\""), format!("\"unit\": \"{unit}\""), format!("\"{unit}\"")];
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let fix = format!("set the unit `{}`", fitting[0]);
            report.of_panel(&WRONG_UNIT, at, &needles, message, Some(fix));
            return;
        }
    }
}

/// The unit in which `panel` shows what `target` asks for: the last override that meets it, else `default`;
/// `None` where only the answer tells whether an override meets it.
fn unit_of<'p>(panel: &'p Value, target: &Value, default: &'p str) -> Option<&'p str> {
    let text = |key: &str| target.get(key).and_then(Value::as_str).unwrap_or_default();
    let (letter, legend) = (text("refId"), text("legendFormat"));
    let is_fixed =
        !legend.is_empty() && legend != "__auto" && !["{{", "[[", "$"].iter().any(|part| legend.contains(part));
    let overrides = panel.pointer("/fieldConfig/overrides").and_then(Value::as_array);
    for one in overrides.into_iter().flatten().rev() {
        let properties = one.get("properties").and_then(Value::as_array);
        let is_unit = |property: &&Value| property.get("id").and_then(Value::as_str) == Some("unit");
        let Some(unit) = properties.into_iter().flatten().find(is_unit) else { continue };
        let matcher = |key: &str| one.pointer(&format!("/matcher/{key}")).and_then(Value::as_str).unwrap_or_default();
        let meets = match matcher("id") {
            "byFrameRefID" => matcher("options") == letter,
            // `Value` is what every series is called beneath its legend.
            "byName" if is_fixed && matcher("options") != "Value" => matcher("options") == legend,
            _ => return None,
        };
        if meets {
            return unit.get("value")?.as_str();
        }
    }
    Some(default)
}

fn quantity(expression: &Expr, vocabulary: &Vocabulary) -> Option<Quantity> {
    match expression {
        Expr::Paren(paren) => quantity(&paren.expr, vocabulary),
        Expr::VectorSelector(selector) => of_metric(metric_of(selector)?, vocabulary),
        Expr::Aggregate(aggregate) => match aggregate.op.to_string().as_str() {
            "sum" | "avg" | "min" | "max" | "topk" | "bottomk" | "quantile" => quantity(&aggregate.expr, vocabulary),
            _ => None,
        },
        Expr::Call(call) => {
            let argument = call.args.args.last()?;
            match (call.func.name, argument.as_ref()) {
                ("rate" | "irate", Expr::MatrixSelector(selector)) => {
                    match of_metric(metric_of(&selector.vs)?, vocabulary)? {
                        Quantity::Bytes => Some(Quantity::BytesASecond),
                        _ => Some(Quantity::Other),
                    }
                }
                (
                    "increase" | "max_over_time" | "min_over_time" | "avg_over_time" | "last_over_time",
                    Expr::MatrixSelector(selector),
                ) => of_metric(metric_of(&selector.vs)?, vocabulary),
                ("histogram_quantile", inner) => of_buckets(inner, vocabulary),
                _ => None,
            }
        }
        _ => None,
    }
}

fn of_metric(name: &str, vocabulary: &Vocabulary) -> Option<Quantity> {
    let known = vocabulary.get(name)?;
    // Buckets count, whatever their bounds are.
    if name.ends_with("_bucket") && known.metric_type == Some(MetricType::Counter) {
        return None;
    }
    match known.unit.as_deref()? {
        "seconds" => Some(Quantity::Seconds),
        "bytes" => Some(Quantity::Bytes),
        _ => None,
    }
}

/// The unit of the bounds of the histogram that `expression` is made of.
fn of_buckets(expression: &Expr, vocabulary: &Vocabulary) -> Option<Quantity> {
    let selector = crate::promql::selectors(expression).into_iter().next()?;
    let known = vocabulary.get(selector.metric.as_deref()?)?;
    match known.unit.as_deref()? {
        "seconds" => Some(Quantity::Seconds),
        "bytes" => Some(Quantity::Bytes),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_override_stands_above_the_panels_own_unit() {
        let with = |matcher: Value| {
            json!({"fieldConfig": {"overrides": [
                {"matcher": matcher, "properties": [{"id": "color"}, {"id": "unit", "value": "bytes"}]},
                {"matcher": {"id": "byType", "options": "time"}, "properties": [{"id": "custom.width", "value": 9}]},
            ]}})
        };
        let unit = |matcher: Value, legend: &str| {
            let target = json!({"refId": "B", "legendFormat": legend});
            unit_of(&with(matcher), &target, "s").map(str::to_owned)
        };
        let of = |id: &str, options: &str, legend: &str| unit(json!({"id": id, "options": options}), legend);
        assert_eq!(of("byFrameRefID", "B", "").as_deref(), Some("bytes"));
        assert_eq!(of("byFrameRefID", "A", "").as_deref(), Some("s"));
        assert_eq!(of("byName", "used", "used").as_deref(), Some("bytes"));
        assert_eq!(of("byName", "used", "free").as_deref(), Some("s"));
        assert_eq!(of("byName", "Value", "used"), None);
        for legend in ["", "__auto", "{{pod}}", "$pod"] {
            assert_eq!(of("byName", "used", legend), None, "only the answer tells: {legend}");
        }
        assert_eq!(of("byRegexp", "/used/", "used"), None);
    }
}
