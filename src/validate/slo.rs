//! What is wrong with the definition of an objective, as findings. The arithmetic itself is judged where
//! definitions are read.

use super::finding::{Code, Finding, Severity};
use super::place::Judged;
use super::rendered::Rendered;

/// Every kind of finding about objectives.
pub(super) const CODES: &[&Code] = &[&DEFINITION, &TARGET, &WINDOW, &OFF_BUCKET];

const DEFINITION: Code = Code::new(
    "slo/definition",
    Severity::Error,
    "a definition of an objective cannot be read",
    "correct it; docs/slo.md says what stands where",
);

const TARGET: Code = Code::new(
    "slo/target",
    Severity::Error,
    "the target of an objective is no share that can be missed and met",
    "write it as a share, such as 0.999 for 99.9 %: with 1 there is no budget to burn",
);

const WINDOW: Code = Code::new(
    "slo/window",
    Severity::Error,
    "the window of an objective is none that its budget can be counted over",
    "use one rolling window of whole days, such as 30d, or a calendar month",
);

const OFF_BUCKET: Code = Code::new(
    "slo/off-bucket",
    Severity::Error,
    "the bound of an objective is none of its histogram's buckets",
    "take a bound that the contract names, or have the services expose that bucket: between two buckets nothing is known",
);

/// `problems` of the definition `judged`, each with the path of its key in front.
pub(super) fn findings(judged: &Judged, problems: &[String]) -> Vec<Finding> {
    let rendered = Rendered::new(judged);
    let one = |problem: &String| {
        let path = problem.strip_prefix('`').and_then(|rest| rest.split('`').next()).unwrap_or_default();
        let code = if path.ends_with(".target") {
            &TARGET
        } else if path.starts_with("spec.timeWindow") {
            &WINDOW
        } else if path.ends_with(".value") && problem.contains("bucket") {
            &OFF_BUCKET
        } else {
            &DEFINITION
        };
        let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
        let last = path.rsplit('.').next().unwrap_or_default();
        let key = format!("{}:", last.split('[').next().unwrap_or_default());
        Finding {
            code,
            severity: code.severity,
            message: problem.clone(),
            fix: code.fix.to_owned(),
            place: rendered.place(&pointer, &[&key]),
        }
    };
    problems.iter().map(one).collect()
}
