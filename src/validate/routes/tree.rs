//! The tree of routes and the receivers at its leaves.

use super::matchers::{self, contradiction, covers};
use super::{Alerts, Report, error, items};
use crate::config::duration_seconds;
use crate::config::schema::nearest;
use crate::promql::Matcher;
use crate::validate::finding::{Code, Severity};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const NO_DEFAULT: Code = error(
    "routes/no-default",
    "the topmost route has no receiver, or conditions",
    "Alertmanager refuses the file: give `route` a `receiver` and no matchers",
);

pub(super) const UNKNOWN_RECEIVER: Code = error(
    "routes/unknown-receiver",
    "a route names a receiver that there is not",
    "Alertmanager refuses the file: add the receiver to `receivers`, or correct its name",
);

pub(super) const UNUSED_RECEIVER: Code = Code::new(
    "routes/unused-receiver",
    Severity::Warning,
    "no route names the receiver",
    "add a route to it, or take it away",
);

pub(super) const DUPLICATE_RECEIVER: Code = error(
    "routes/duplicate-receiver",
    "two receivers have the same name",
    "Alertmanager refuses the file: rename one of them",
);

pub(super) const UNREACHABLE: Code = error(
    "routes/unreachable",
    "no alert ever comes to the route",
    "move it before the route that takes its alerts, give that one `continue: true`, or correct the matchers",
);

pub(super) const BAD_DURATION: Code = error(
    "routes/bad-duration",
    "a duration that Alertmanager cannot read",
    "write it as `30s`, `5m` or `1h30m`; `group_interval` and `repeat_interval` are more than 0",
);

/// How deep routes are followed.
const DEEPEST: usize = 32;

/// Judges routes and receivers.
pub(super) fn judge(configuration: &Value, alerts: &Alerts, report: &mut Report<'_>) {
    let mut receivers = BTreeSet::new();
    for (index, receiver) in items(configuration, "receivers").iter().enumerate() {
        let name = receiver.get("name").and_then(Value::as_str).unwrap_or_default();
        if !receivers.insert(name.to_owned()) {
            let message = format!("two receivers are called `{name}`");
            report.add(
                &DUPLICATE_RECEIVER,
                &format!("/receivers/{index}/name"),
                &[&format!("name: {name}"), name],
                message,
                None,
            );
        }
    }
    let Some(route) = configuration.get("route").filter(|route| route.is_object()) else {
        report.add(&NO_DEFAULT, "", &[], "there is no `route`".to_owned(), None);
        return;
    };
    let conditions = ["matchers", "match", "match_re"];
    if route.get("receiver").and_then(Value::as_str).is_none_or(str::is_empty) {
        report.add(&NO_DEFAULT, "/route", &["route:"], "the topmost route has no receiver".to_owned(), None);
    } else if let Some(key) = conditions.into_iter().find(|key| !route.get(key).is_none_or(Value::is_null)) {
        let message = format!("the topmost route has `{key}`, but every alert must come to it");
        report.add(&NO_DEFAULT, &format!("/route/{key}"), &[key], message, None);
    }
    let mut used = BTreeSet::new();
    let mut walk = Walk { receivers: &receivers, used: &mut used, alerts, report };
    walk.route(route, "/route", &[]);
    for (index, name) in items(configuration, "receivers").iter().filter_map(|item| item["name"].as_str()).enumerate() {
        if !used.contains(name) {
            let message = format!("no route names the receiver `{name}`");
            let needles = [format!("name: {name}"), format!("name: \"{name}\""), name.to_owned()];
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            report.add(&UNUSED_RECEIVER, &format!("/receivers/{index}/name"), &needles, message, None);
        }
    }
}

struct Walk<'w, 'r> {
    receivers: &'w BTreeSet<String>,
    used: &'w mut BTreeSet<String>,
    alerts: &'w Alerts,
    report: &'w mut Report<'r>,
}

impl Walk<'_, '_> {
    /// Judges `route`, which only alerts reach that meet `above`.
    fn route(&mut self, route: &Value, pointer: &str, above: &[Matcher]) {
        if let Some(name) = route.get("receiver").and_then(Value::as_str) {
            self.used.insert(name.to_owned());
            if !self.receivers.contains(name) {
                let known: Vec<&String> = self.receivers.iter().collect();
                let near = nearest(name, &known).map(|near| format!("did you mean `{near}`?"));
                let needle = format!("receiver: {name}");
                let message = format!("there is no receiver `{name}`");
                self.report.add(&UNKNOWN_RECEIVER, &format!("{pointer}/receiver"), &[&needle, name], message, near);
            }
        }
        for key in ["group_wait", "group_interval", "repeat_interval"] {
            let Some(text) = route.get(key).and_then(Value::as_str) else { continue };
            let seconds = duration_seconds(text);
            if seconds.is_none() || (seconds == Some(0.0) && key != "group_wait") {
                let needle = format!("{key}: {text}");
                let message = format!("`{needle}` is no duration that Alertmanager takes");
                self.report.add(&BAD_DURATION, &format!("{pointer}/{key}"), &[&needle, text], message, None);
            }
        }
        if pointer.matches("/routes/").count() >= DEEPEST {
            return;
        }
        // Those before that end the search: their conditions and receivers.
        let mut before: Vec<(Vec<Matcher>, String)> = Vec::new();
        for (index, child) in items(route, "routes").iter().enumerate() {
            let at = format!("{pointer}/routes/{index}");
            let own = matchers::read(child, ["matchers", "match", "match_re"], &at, self.alerts, self.report);
            let name = child.get("receiver").and_then(Value::as_str).unwrap_or("of its parent").to_owned();
            let all: Vec<&Matcher> = above.iter().chain(&own).collect();
            let needle =
                own.first().map(|matcher| format!("{} = \"{}\"", matcher.name, matcher.value)).unwrap_or_default();
            let receiver = format!("receiver: {name}");
            let needles = [needle.as_str(), receiver.as_str()];
            if let Some((one, other)) = contradiction(&all) {
                let message = format!("the route to `{name}` asks for `{one}` and `{other}`");
                self.report.add(&UNREACHABLE, &at, &needles, message, None);
            } else if let Some((_, taker)) = before.iter().find(|(wide, _)| covers(wide, &all)) {
                let message = format!("the route to `{taker}` before it takes every alert of the route to `{name}`");
                self.report.add(&UNREACHABLE, &at, &needles, message, None);
            }
            let below: Vec<Matcher> = all.into_iter().cloned().collect();
            self.route(child, &at, &below);
            if child.get("continue").and_then(Value::as_bool) != Some(true) {
                before.push((own, name));
            }
        }
    }
}
