//! What the configuration of Alertmanager says of an alert, worked out here and not by Alertmanager:
//! the two are compared, and the page about routing shows it.

use drivemaster_mon::config::{Profile, resolve};
use drivemaster_mon::render::render;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// The configuration as profile `local` deploys it, with `sets` over the defaults.
pub fn configuration(sets: &[&str]) -> Value {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    let bundle = render(&resolve(Some(Profile::Local), &[], &[], &sets).unwrap()).unwrap();
    let release = bundle.releases.iter().find(|release| release.name == "prometheus").unwrap();
    serde_json::to_value(&release.values).unwrap()["alertmanager"]["config"].clone()
}

/// One matcher: label, operator, value.
struct Matcher {
    label: String,
    operator: &'static str,
    value: String,
}

impl Matcher {
    fn parse(text: &str) -> Self {
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| text.contains(*operator)).unwrap();
        let (label, value) = text.split_once(operator).unwrap();
        let value = value.trim().trim_matches('"').to_owned();
        let plain = |character: char| character.is_alphanumeric() || character == '|';
        assert!(!operator.contains('~') || value.chars().all(plain), "`{text}` is more than a choice of words");
        Matcher { label: label.trim().to_owned(), operator, value }
    }

    /// A label that is not there is an empty one.
    fn matches(&self, labels: &Labels) -> bool {
        let has = labels.get(&self.label).map_or("", String::as_str);
        match self.operator {
            "=" => has == self.value,
            "!=" => has != self.value,
            "=~" => self.value.split('|').any(|word| word == has),
            _ => self.value.split('|').all(|word| word != has),
        }
    }
}

struct Matchers(Vec<Matcher>);

impl Matchers {
    fn of(list: &Value) -> Self {
        Matchers(list.as_array().unwrap().iter().map(|text| Matcher::parse(text.as_str().unwrap())).collect())
    }

    fn match_all(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }
}

/// The receiver of an alert with `labels`: the deepest first route that matches.
pub fn receiver<'c>(configuration: &'c Value, labels: &Labels) -> &'c str {
    let mut route = &configuration["route"];
    let mut receiver = route["receiver"].as_str().unwrap();
    while let Some(next) = route["routes"]
        .as_array()
        .into_iter()
        .flatten()
        .inspect(|route| assert!(route["continue"].is_null(), "routes that go on are not understood here"))
        .find(|route| Matchers::of(&route["matchers"]).match_all(labels))
    {
        route = next;
        receiver = route["receiver"].as_str().unwrap_or(receiver);
    }
    receiver
}

/// The labels that the routes look at.
pub fn routed_by(configuration: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut routes = vec![&configuration["route"]];
    while let Some(route) = routes.pop() {
        routes.extend(route["routes"].as_array().into_iter().flatten());
        if !route["matchers"].is_null() {
            found.extend(Matchers::of(&route["matchers"]).0.into_iter().map(|matcher| matcher.label));
        }
    }
    found
}

/// Which of `alerts` are silent while all of them fire.
pub fn inhibited(configuration: &Value, alerts: &[Labels]) -> Vec<bool> {
    let mut silent = vec![false; alerts.len()];
    for rule in configuration["inhibit_rules"].as_array().unwrap() {
        let (source, target) = (Matchers::of(&rule["source_matchers"]), Matchers::of(&rule["target_matchers"]));
        let equal: Vec<&str> = rule["equal"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
        let key = |labels: &Labels| -> Vec<String> {
            equal.iter().map(|&label| labels.get(label).cloned().unwrap_or_default()).collect()
        };
        let mut sources = BTreeSet::new();
        for labels in alerts.iter().filter(|labels| source.match_all(labels)) {
            assert!(!target.match_all(labels), "{labels:?} is on both sides of {rule}");
            sources.insert(key(labels));
        }
        for (silent, labels) in silent.iter_mut().zip(alerts).filter(|(_, labels)| target.match_all(labels)) {
            *silent |= sources.contains(&key(labels));
        }
    }
    silent
}

/// How a receiver tells people, such as `Slack`.
pub fn ways(configuration: &Value, receiver: &str) -> Vec<String> {
    let receivers = configuration["receivers"].as_array().unwrap();
    let receiver = receivers.iter().find(|entry| entry["name"] == receiver).unwrap();
    [
        ("slack_configs", "Slack"),
        ("email_configs", "Email"),
        ("pagerduty_configs", "PagerDuty"),
        ("webhook_configs", "the heartbeat's URL"),
    ]
    .into_iter()
    .filter_map(|(key, name)| {
        let entry = receiver[key].as_array()?.first()?;
        let place = entry["channel"].as_str().or(entry["to"].as_str());
        Some(place.map_or_else(|| name.to_owned(), |place| format!("{name} {place}")))
    })
    .collect()
}
