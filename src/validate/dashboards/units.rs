//! The unit that a panel shows, beside that of the metrics it asks for.

use super::{Report, model};
use crate::contract::MetricType;
use crate::promql::Expr;
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

/// Judges the unit of the panel `at`, whose `queries` could be read.
pub(super) fn judge(report: &mut Report<'_, '_>, at: (&str, &Value), queries: &[Expr], vocabulary: &Vocabulary) {
    let panel = at.1;
    let unit = panel.pointer("/fieldConfig/defaults/unit").and_then(Value::as_str).filter(|unit| !unit.is_empty());
    let Some(unit) = unit else {
        if NUMBERS.contains(&model::kind(panel)) {
            report.of_panel(&NO_UNIT, at, &[], "it has no unit".to_owned(), None);
        }
        return;
    };
    // A heatmap's unit is that of its cells, and a table has one a column.
    if ["heatmap", "table"].contains(&model::kind(panel)) || !TELLING.contains(&unit) {
        return;
    }
    for query in queries {
        let Some((name, fitting)) = quantity(query, vocabulary).and_then(Quantity::units) else { continue };
        if !fitting.contains(&unit) {
            let message = format!("it shows {name} in the unit `{unit}`");
            let needles = [format!("unit=\"{unit}\""), format!("\"unit\": \"{unit}\"")];
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let fix = format!("set the unit `{}`", fitting[0]);
            report.of_panel(&WRONG_UNIT, at, &needles, message, Some(fix));
            return;
        }
    }
}

fn quantity(expression: &Expr, vocabulary: &Vocabulary) -> Option<Quantity> {
    match expression {
        Expr::Paren(paren) => quantity(&paren.expr, vocabulary),
        Expr::VectorSelector(selector) => of_metric(selector.name.as_deref()?, vocabulary),
        Expr::Aggregate(aggregate) => match aggregate.op.to_string().as_str() {
            "sum" | "avg" | "min" | "max" | "topk" | "bottomk" | "quantile" => quantity(&aggregate.expr, vocabulary),
            _ => None,
        },
        Expr::Call(call) => {
            let argument = call.args.args.last()?;
            match (call.func.name, argument.as_ref()) {
                ("rate" | "irate", Expr::MatrixSelector(selector)) => {
                    match of_metric(selector.vs.name.as_deref()?, vocabulary)? {
                        Quantity::Bytes => Some(Quantity::BytesASecond),
                        _ => Some(Quantity::Other),
                    }
                }
                (
                    "increase" | "max_over_time" | "min_over_time" | "avg_over_time" | "last_over_time",
                    Expr::MatrixSelector(selector),
                ) => of_metric(selector.vs.name.as_deref()?, vocabulary),
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
