//! Offline judges of everything that is rendered, and of other people's rules and dashboards: text in,
//! findings out. Pure.

mod codes;
pub mod finding;
pub mod place;
mod promql;
mod rules;
mod vocabulary;

pub use codes::codes;
pub use finding::{Code, Finding, NotJudged, Severity, Verdict};
pub use place::{Judged, Text};

use crate::config::model::Config;
use crate::contract::Contract;
use anyhow::Result;
use std::collections::BTreeSet;
use vocabulary::Vocabulary;

/// Everything of ours that is judged.
#[derive(Debug, Default)]
pub struct Own {
    /// The files of rules.
    pub rules: Vec<Judged>,
    /// The text of all unit tests of the rules.
    pub tests: String,
    /// The pages about alerts, as paths such as `docs/runbooks/ServiceDown.md`.
    pub runbooks: BTreeSet<String>,
    /// The names of the scrape jobs.
    pub jobs: BTreeSet<String>,
}

/// Files of somebody else's.
#[derive(Debug, Default)]
pub struct Foreign {
    /// Files of rules.
    pub rules: Vec<Judged>,
    /// The contract that is about them, where there is one.
    pub contract: Option<Contract>,
}

/// Judges what is ours.
///
/// # Errors
/// Only when the embedded contract is broken, which its tests rule out.
pub fn judge_own(own: &Own, config: &Config) -> Result<Verdict> {
    let contracts = [Contract::embedded()?, Contract::programs()?];
    let mut vocabulary = Vocabulary::new(&contracts, config, own.jobs.clone());
    let scope =
        rules::Scope { own: true, has_contract: true, tests: Some(own.tests.clone()), runbooks: own.runbooks.clone() };
    let mut verdict = rules::judge(&own.rules, &mut vocabulary, &scope);
    verdict.settle();
    Ok(verdict)
}

/// Judges `foreign` files by what does not depend on us; what the contract does not know is told as
/// information, unless they bring a contract.
///
/// # Errors
/// As [`judge_own`].
pub fn judge_foreign(foreign: &Foreign, config: &Config) -> Result<Verdict> {
    let mut contracts = vec![Contract::programs()?];
    contracts.push(match &foreign.contract {
        Some(contract) => contract.clone(),
        None => Contract::embedded()?,
    });
    let mut vocabulary = Vocabulary::new(&contracts, config, BTreeSet::new());
    let scope = rules::Scope { has_contract: foreign.contract.is_some(), ..rules::Scope::default() };
    let mut verdict = rules::judge(&foreign.rules, &mut vocabulary, &scope);
    verdict.settle();
    Ok(verdict)
}
