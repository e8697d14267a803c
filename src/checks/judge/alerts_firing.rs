//! No alert fires but those that always do and those that the configuration explains.

use super::facts::{Need, PrometheusAlert};
use super::watchdog::WATCHDOG;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use std::collections::BTreeMap;
use std::time::Duration;

/// The alert that fires while an alert of severity `info` does; it is there to silence those.
const INFO_INHIBITOR: &str = "InfoInhibitor";
/// What a deploy disturbs is soon over.
const SETTLING: Duration = Duration::from_secs(20);

pub(super) const CHECK: Check = Check {
    id: "alerts/none-firing",
    title: "no alert fires that needs a person",
    severity: Severity::Warning,
    hint: "drivemaster-mon status; what is no fault here goes with its reason into `verify.mayFire`",
    doc: "docs/checks.md#alerts-none-firing",
    component: Some("prometheus"),
    needs: &[Need::Alerts],
    judge: judge_firing,
};

fn judge_firing(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let alerts = match &facts.alerts {
        Ok(alerts) => alerts,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let mut firing: BTreeMap<&str, Vec<&PrometheusAlert>> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert.state == "firing") {
        let name = alert.labels.get("alertname").map_or("", String::as_str);
        if name != WATCHDOG && name != INFO_INHIBITOR {
            firing.entry(name).or_default().push(alert);
        }
    }
    let (allowed, unexplained): (Vec<_>, Vec<_>) =
        firing.into_iter().partition(|(name, _)| scope.config.verify.may_fire.contains_key(*name));
    let explained = allowed.into_iter().map(|(name, _)| {
        let reason = scope.config.verify.may_fire.get(name).map_or("", String::as_str);
        format!("`{name}` may: {reason}")
    });
    vec![if unexplained.is_empty() {
        Verdict::pass().evidence(explained.collect())
    } else {
        let count = unexplained.len();
        let lines = unexplained.iter().map(|(name, alerts)| format!("`{name}`: {}", described(alerts)));
        Verdict::fail(format!("{} firing", counted(count, "alert")))
            .evidence(lines.collect())
            .again(Again::Within(SETTLING))
    }]
}

/// What one of the alerts says, and how many there are.
fn described(alerts: &[&PrometheusAlert]) -> String {
    let said = alerts.first().and_then(|alert| {
        ["summary", "description", "message"].iter().find_map(|key| alert.annotations.get(*key)).cloned()
    });
    let severity = alerts.first().and_then(|alert| alert.labels.get("severity")).map_or("none", String::as_str);
    let more = if alerts.len() > 1 { format!(" ({} times)", alerts.len()) } else { String::new() };
    format!("{severity}: {}{more}", said.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::event::Outcome;

    fn facts(alerts: &[(&str, &str)]) -> Facts {
        let alert = |(name, state): &(&str, &str)| PrometheusAlert {
            labels: [("alertname", *name), ("severity", "critical")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            annotations: [("summary".to_owned(), format!("{name} it is"))].into(),
            state: (*state).to_owned(),
        };
        Facts { alerts: Ok(alerts.iter().map(alert).collect()), ..Facts::default() }
    }

    #[test]
    fn only_what_is_explained_may_fire() {
        let (mut config, bundle) = testing::scope();
        config.verify.may_fire.insert("Known".to_owned(), "the test says so".to_owned());
        let judged = |alerts: &[(&str, &str)]| {
            judge_firing(&Scope { config: &config, bundle: &bundle }, &facts(alerts)).remove(0)
        };
        let good =
            judged(&[("Watchdog", "firing"), ("InfoInhibitor", "firing"), ("Soon", "pending"), ("Known", "firing")]);
        assert_eq!((good.outcome, good.evidence.join("\n").as_str()), (Outcome::Pass, "`Known` may: the test says so"));
        let bad = judged(&[("ServiceDown", "firing"), ("ServiceDown", "firing"), ("Known", "firing")]);
        assert_eq!((bad.outcome, bad.reason.as_str()), (Outcome::Fail, "1 alert firing"));
        assert_eq!(bad.evidence, ["`ServiceDown`: critical: ServiceDown it is (2 times)"]);
    }
}
