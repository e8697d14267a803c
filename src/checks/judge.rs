//! One check a file, each with its test. Pure.

mod alertmanager_configuration;
mod alertmanager_known;
mod alerts_firing;
mod api_server;
mod chaos_controllers;
mod chaos_paused;
mod dashboards;
mod dashboards_answered;
mod definitions;
mod logs_retention;
mod logs_round_trip;
mod logs_scrubbed;
mod metrics_contract;
mod network_policies;
mod platform_probes;
mod pod_security;
mod probes_answer;
mod programs;
mod programs_version;
mod releases;
mod rules_evaluated;
mod rules_healthy;
mod rules_loaded;
mod targets;
mod targets_unexpected;
mod traces_metrics;
mod traces_round_trip;
mod volumes;
mod watchdog;
mod workloads;

#[cfg(test)]
pub(crate) mod testing;

use super::{Again, Check, Facts, Scope, Severity, Verdict, expected, facts, round_trip};

/// All checks, in the order people see them: what the later ones stand on comes first.
pub(super) const REGISTRY: &[Check] = &[
    api_server::CHECK,
    definitions::CHECK,
    releases::CHECK,
    workloads::CHECK,
    volumes::CHECK,
    programs_version::CHECK,
    pod_security::CHECK,
    network_policies::CHECK,
    platform_probes::CHECK,
    programs::PROMETHEUS_OPERATOR,
    programs::PROMETHEUS,
    targets::CHECK,
    targets_unexpected::CHECK,
    metrics_contract::CHECK,
    programs::BLACKBOX_EXPORTER,
    probes_answer::CHECK,
    rules_loaded::CHECK,
    rules_evaluated::CHECK,
    rules_healthy::CHECK,
    programs::ALERTMANAGER,
    alertmanager_known::CHECK,
    alertmanager_configuration::CHECK,
    watchdog::CHECK,
    alerts_firing::CHECK,
    dashboards::CHECK,
    dashboards_answered::CHECK,
    programs::GRAFANA,
    programs::LOKI,
    programs::ALLOY,
    logs_round_trip::CHECK,
    logs_scrubbed::CHECK,
    logs_retention::CHECK,
    programs::JAEGER,
    programs::OTEL_COLLECTOR,
    traces_round_trip::CHECK,
    traces_metrics::CHECK,
    programs::CHAOS_MESH,
    chaos_controllers::CHECK,
    chaos_paused::CHECK,
];

pub(super) use watchdog::WATCHDOG;
pub(super) use workloads::state_of_workload;

/// `count` things, such as `1 rule` or `2 rules`.
fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_an_id_of_its_own_a_title_and_its_place_in_the_documentation() {
        let page = include_str!("../../docs/checks.md");
        let mut ids = BTreeSet::new();
        for check in REGISTRY {
            assert!(ids.insert(check.id), "`{}` twice", check.id);
            let (category, name) = check.id.split_once('/').unwrap();
            let word = |text: &str| {
                text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') && !text.is_empty()
            };
            assert!(word(category) && word(name.trim_matches(['<', '>'])), "`{}`", check.id);
            assert!(check.title.starts_with(char::is_lowercase) || check.title.starts_with(char::is_uppercase));
            assert!(!check.title.ends_with('.') && !check.hint.is_empty() && !check.needs.is_empty());
            let anchor = check.id.replace('/', "-").replace(['<', '>'], "");
            assert_eq!(check.doc, format!("docs/checks.md#{anchor}"));
            assert!(page.contains(&format!("<a id=\"{anchor}\"></a>\n")), "docs/checks.md lacks `{anchor}`");
            assert!(
                page.contains(&format!("### `{}`", check.id)),
                "docs/checks.md lacks the heading of `{}`",
                check.id
            );
        }
        let documented = page.matches("<a id=\"").count();
        assert_eq!(documented, REGISTRY.len(), "docs/checks.md has anchors of checks that do not exist");
    }

    #[test]
    fn a_judge_that_knows_nothing_never_passes() {
        let (config, bundle) = testing::scope();
        let scope = Scope { config: &config, bundle: &bundle };
        for check in REGISTRY {
            for verdict in (check.judge)(&scope, &Facts::default()) {
                assert_ne!(verdict.outcome, crate::event::Outcome::Pass, "`{}`", check.id);
            }
        }
    }
}
