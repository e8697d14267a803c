//! Files of somebody else's.

use super::dashboards;
use super::finding::{Code, Finding, Verdict};
use super::place::{Judged, Place};
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
    pub rules: ForeignFiles,
    /// Models of dashboards.
    pub dashboards: ForeignFiles,
    /// The contract that is about them, where there is one.
    pub contract: Option<Contract>,
}

/// Files of one kind.
#[derive(Debug, Default)]
pub struct ForeignFiles {
    /// Those that could be read.
    pub readable: Vec<Judged>,
    /// The others by name, with the reason.
    pub unreadable: Vec<(String, String)>,
}

impl ForeignFiles {
    fn is_empty(&self) -> bool {
        self.readable.is_empty() && self.unreadable.is_empty()
    }

    /// What could not be read, as findings of the kind `malformed`.
    fn findings(&self, malformed: &'static Code) -> impl Iterator<Item = Finding> {
        self.unreadable.iter().map(move |(file, reason)| Finding {
            code: malformed,
            severity: malformed.severity,
            message: format!("cannot be read: {reason}"),
            fix: malformed.fix.to_owned(),
            place: Place { file: file.clone(), ..Place::default() },
        })
    }
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
        verdict.extend(rules::judge(&foreign.rules.readable, &mut vocabulary, &scope));
    }
    verdict.extend(dashboards::judge(&foreign.dashboards.readable, &vocabulary, &scope));
    verdict.findings.extend(foreign.rules.findings(&rules::MALFORMED));
    verdict.findings.extend(foreign.dashboards.findings(&dashboards::MALFORMED));
    verdict.settle();
    Ok(verdict)
}
