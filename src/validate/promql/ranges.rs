//! Ranges that hold too few samples.

use super::Problem;
use crate::promql::{Expr, metric_of, visit};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;

pub(super) const SHORT_RANGE: Code = Code::new(
    "promql/short-range",
    Severity::Error,
    "the range is shorter than two scrapes",
    "take at least four scrape intervals, so that one lost scrape leaves no gap",
)
.foreign(Severity::Warning);

/// Functions that need two samples.
const OF_TWO: [&str; 7] = ["rate", "irate", "increase", "delta", "idelta", "deriv", "predict_linear"];

/// Ranges in which these functions never have two samples.
pub(super) fn judge(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(expression, &mut |part| {
        let Expr::Call(call) = part else { return };
        if !OF_TWO.contains(&call.func.name) {
            return;
        }
        for argument in &call.args.args {
            let Expr::MatrixSelector(selector) = argument.as_ref() else { continue };
            let name = metric_of(&selector.vs);
            let interval =
                name.and_then(|name| vocabulary.get(name)).map_or(vocabulary.interval, |known| known.interval);
            let range = selector.range.as_secs_f64();
            if range < 2.0 * interval {
                let message = format!(
                    "`{}` over {range}s of `{}`, which is scraped every {interval}s",
                    call.func.name,
                    name.unwrap_or("a metric")
                );
                let text = selector.to_string();
                let range = text[text.rfind('[').unwrap_or(0)..].trim_end().to_owned();
                problems.push(Problem {
                    needles: vec![range, call.func.name.to_owned()],
                    ..Problem::new(&SHORT_RANGE, message, "")
                });
            }
        }
    });
    problems
}
