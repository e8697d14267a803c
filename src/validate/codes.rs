//! Every kind of finding there is.

use super::finding::Code;
use super::{promql, rules};

/// Every kind of finding, in the order of the documentation.
pub fn codes() -> Vec<&'static Code> {
    [rules::CODES, promql::CODES].into_iter().flatten().copied().collect()
}
