//! Every kind of finding there is.

use super::finding::Code;
use super::{dashboards, objects, promql, routes, rules, slo, values};

/// Every kind of finding, in the order of the documentation.
pub fn codes() -> Vec<&'static Code> {
    let all =
        [rules::CODES, promql::CODES, slo::CODES, dashboards::CODES, routes::CODES, values::CODES, objects::CODES];
    all.into_iter().flatten().copied().collect()
}
