//! Files of somebody else's.

use super::dashboards;
use super::finding::Verdict;
use super::place::Judged;
use super::rules::{self, Scope};
use super::vocabulary::Vocabulary;
use crate::config::model::Config;
use crate::contract::Contract;
use anyhow::Result;
use std::collections::BTreeSet;

/// Files of somebody else's.
#[derive(Debug, Default)]
pub struct Foreign {
    /// Files of rules.
    pub rules: Vec<Judged>,
    /// Models of dashboards.
    pub dashboards: Vec<Judged>,
    /// The contract that is about them, where there is one.
    pub contract: Option<Contract>,
}

/// Judges `foreign` files by what does not depend on us; what the contract does not know is told as
/// information, unless they bring a contract.
///
/// # Errors
/// Only when the embedded contract is broken, which its tests rule out.
pub fn judge_foreign(foreign: &Foreign, config: &Config) -> Result<Verdict> {
    let mut contracts = vec![Contract::programs()?];
    contracts.push(match &foreign.contract {
        Some(contract) => contract.clone(),
        None => Contract::embedded()?,
    });
    let mut vocabulary = Vocabulary::new(&contracts, config, BTreeSet::new());
    let scope = Scope { has_contract: foreign.contract.is_some(), ..Scope::default() };
    let mut verdict = Verdict::default();
    if !foreign.rules.is_empty() {
        verdict.extend(rules::judge(&foreign.rules, &mut vocabulary, &scope));
    }
    verdict.extend(dashboards::judge(&foreign.dashboards, &vocabulary, &scope));
    verdict.settle();
    Ok(verdict)
}
