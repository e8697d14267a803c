//! Every alert that `alerts/firing.yaml` calls live fires in the sandbox by its scenario, reaches the
//! real Alertmanager, and is over when the scenario is cleared. Scrapes and evaluations are two
//! seconds apart there; the windows and `for` of the rules are those of every deploy.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::alerts::{alerts_of_every_profile, seconds};
use support::firing::{Firing, Way, shown};
use support::sandbox::Sandbox;

/// The longest wait for one change: a `for` and a window of five minutes each would be the worst.
const PATIENCE: Duration = Duration::from_secs(11 * 60);

/// Where an alert of the table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Set,
    Cleared,
    Over,
}

/// A row of the table on its way.
struct Course {
    row: Firing,
    stage: Stage,
}

impl Course {
    fn of(row: Firing) -> Self {
        Course { row, stage: Stage::Waiting }
    }

    /// The alert as Alertmanager is to hold it.
    fn alert(&self) -> (String, String) {
        (self.row.alert.clone(), self.row.service.clone().unwrap())
    }

    /// Sets or clears its scenario.
    fn scenario(&self, verb: &str, sandbox: &Sandbox) {
        if let Some(scenario) = &self.row.scenario {
            let words = scenario.split(' ');
            sandbox.run(&["sandbox", "scenario", verb].into_iter().chain(words).collect::<Vec<_>>()).exits(0);
        }
    }

    /// Goes on as far as it can; whether it did. `over` are the alerts that need no waiting for.
    fn goes_on(&mut self, held: &BTreeSet<(String, String)>, over: &BTreeSet<String>, sandbox: &Sandbox) -> bool {
        let fires = held.contains(&self.alert());
        let next = match self.stage {
            Stage::Waiting if self.row.after.iter().all(|alert| over.contains(alert)) => {
                self.scenario("set", sandbox);
                Stage::Set
            }
            Stage::Set if fires => {
                self.scenario("clear", sandbox);
                // What always fires is not over before the sandbox is.
                if self.row.scenario.is_none() { Stage::Over } else { Stage::Cleared }
            }
            Stage::Cleared if !fires => Stage::Over,
            stage => stage,
        };
        std::mem::replace(&mut self.stage, next) != next
    }

    /// Whether its alert may fire now.
    fn may_fire(&self) -> bool {
        self.row.scenario.is_none() || [Stage::Set, Stage::Cleared].contains(&self.stage)
    }
}

#[test]
#[ignore = "waits for ten minutes: `make test` runs it beside the rest"]
fn every_live_alert_fires_by_its_scenario_and_is_over_when_it_is_cleared() {
    let sandbox = Sandbox::up();
    sandbox.run(&["deploy"]).exits(0);
    let mut courses: Vec<Course> = shown(Way::Live).into_iter().map(Course::of).collect();
    assert!(!courses.is_empty());
    let start = Instant::now();
    let mut last = Instant::now();
    while courses.iter().any(|course| course.stage != Stage::Over) {
        let held: BTreeSet<(String, String)> = sandbox.held_by_alertmanager().into_iter().collect();
        let expected: BTreeSet<_> = courses.iter().filter(|course| course.may_fire()).map(Course::alert).collect();
        // What looks back farther (the objectives' budgets) may well notice these troubles too.
        let is_live = |(alert, _): &&(String, String)| courses.iter().any(|course| course.row.alert == *alert);
        let stray: Vec<_> = held.difference(&expected).filter(is_live).collect();
        assert!(stray.is_empty(), "fires without its scenario: {stray:?}");
        let over: BTreeSet<String> = courses
            .iter()
            .filter(|course| course.stage == Stage::Over)
            .map(|course| course.row.alert.clone())
            .collect();
        for course in &mut courses {
            if course.goes_on(&held, &over, &sandbox) {
                last = Instant::now();
                println!("{:4} s: {:?} {:?}", start.elapsed().as_secs(), course.alert(), course.stage);
            }
        }
        let waiting: Vec<_> = courses
            .iter()
            .filter(|course| course.stage != Stage::Over)
            .map(|course| (course.alert(), course.stage))
            .collect();
        assert!(last.elapsed() < PATIENCE, "nothing goes on; not over are {waiting:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    the_rules_are_those_of_every_deploy(&sandbox);
    // Budgets are reckoned from slices of five minutes: by now each panel about objectives has something to show.
    let verdict = sandbox.run(&["verify", "--only", "dashboards/drivemaster-slo", "-o", "json"]).exits(0).json();
    assert_eq!(verdict["checks"][0]["outcome"], "pass", "{verdict:#}");
}

/// Prometheus really waits as long as the rules say, and looks back as far.
fn the_rules_are_those_of_every_deploy(sandbox: &Sandbox) {
    let path = "/api/v1/namespaces/drivemaster-monitoring/services/prometheus-kube-prometheus-prometheus:9090/proxy/api/v1/rules";
    let answer: Value = serde_json::from_str(&sandbox.kubectl(&["get", "--raw", path])).unwrap();
    let groups = answer["data"]["groups"].as_array().unwrap();
    let loaded: BTreeSet<(String, u64)> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .filter(|rule| rule["type"] == "alerting")
        .map(|rule| (rule["name"].as_str().unwrap().to_owned(), rule["duration"].as_f64().unwrap() as u64))
        .collect();
    let written: BTreeSet<(String, u64)> = alerts_of_every_profile()
        .into_iter()
        .map(|alert| (alert.name, if alert.lasting.is_empty() { 0 } else { seconds(&alert.lasting) }))
        .collect();
    assert_eq!(loaded, written);
}
