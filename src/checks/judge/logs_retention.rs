//! Loki runs with the retention of each class of logs.

use super::facts::{CannotAsk, Need};
use super::targets::seconds_of;
use super::{Check, Facts, Scope, Severity, Verdict};
use serde_yaml::Value;

pub(super) const CHECK: Check = Check {
    id: "logs/retention",
    title: "Loki keeps each class of logs as long as configured",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#logs-retention",
    component: Some("loki"),
    needs: &[Need::LokiConfiguration],
    judge: judge_retention,
};

fn judge_retention(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let verdict = match &facts.loki_configuration {
        Ok(text) => match serde_yaml::from_str::<Value>(text) {
            Ok(running) => judge_configuration(scope, &running),
            Err(error) => Verdict::unknown(&CannotAsk::lasting(format!("its configuration is no YAML: {error}"))),
        },
        Err(why) => Verdict::unknown(why),
    };
    vec![Verdict { component: Some("loki".to_owned()), ..verdict }]
}

fn judge_configuration(scope: &Scope<'_>, running: &Value) -> Verdict {
    let wanted = &scope.config.loki.retention;
    let limits = running.get("limits_config");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    if running.get("compactor").and_then(|compactor| compactor.get("retention_enabled")?.as_bool()) != Some(true) {
        wrong.push("the compactor deletes nothing: `compactor.retention_enabled` is not true".to_owned());
    }
    let default = text(limits.and_then(|limits| limits.get("retention_period")));
    if seconds_of(&default) != seconds_of(&wanted.application) {
        wrong.push(format!("application logs are kept for `{default}`, not `{}`", wanted.application));
    }
    let streams = limits.and_then(|limits| limits.get("retention_stream")).and_then(Value::as_sequence);
    for (class, period) in [("security", &wanted.security), ("audit", &wanted.audit)] {
        let selector = format!("{{log_type=\"{class}\"}}");
        let is_it = |rule: &&Value| {
            let found: String = text(rule.get("selector")).chars().filter(|letter| !letter.is_whitespace()).collect();
            found == selector
        };
        let found = streams.into_iter().flatten().find(is_it).map(|rule| text(rule.get("period")));
        match found {
            Some(found) if seconds_of(&found) == seconds_of(period) => {}
            Some(found) => wrong.push(format!("{class} logs are kept for `{found}`, not `{period}`")),
            // Without a rule of its own a class is kept like every other.
            None if seconds_of(period) == seconds_of(&default) => {}
            None => wrong.push(format!("{class} logs have no retention of their own")),
        }
    }
    if wrong.is_empty() {
        let of = [("application", &wanted.application), ("security", &wanted.security), ("audit", &wanted.audit)];
        return Verdict::pass().evidence(of.iter().map(|(class, period)| format!("{class}: {period}")).collect());
    }
    Verdict::fail("Loki runs with another retention").evidence(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;

    /// As a real Loki returns it, shortened.
    const RUNNING: &str = r#"
compactor: {retention_enabled: true, delete_request_store: filesystem}
limits_config:
  retention_period: 4w2d
  retention_stream:
    - {period: 12w6d, priority: 10, selector: '{log_type="security"}'}
    - {period: 1y, priority: 20, selector: '{log_type = "audit"}'}
"#;

    fn on(text: &str) -> Verdict {
        judge(&CHECK, &Facts { loki_configuration: Ok(text.to_owned()), ..Facts::default() }).remove(0)
    }

    #[test]
    fn each_class_must_be_kept_as_long_as_configured() {
        let good = on(RUNNING);
        assert_eq!(good.outcome, Outcome::Pass, "{:?}", good.evidence);
        let cases = [
            (RUNNING.replace("4w2d", "30h"), "application logs are kept for `30h`, not `720h`"),
            (RUNNING.replace("12w6d", "12w"), "security logs are kept for `12w`, not `2160h`"),
            (RUNNING.replace("\"audit\"", "\"other\""), "audit logs have no retention of their own"),
            (
                RUNNING.replace("retention_enabled: true", "retention_enabled: false"),
                "the compactor deletes nothing: `compactor.retention_enabled` is not true",
            ),
        ];
        for (text, expected) in cases {
            let verdict = on(&text);
            assert_eq!((verdict.outcome, verdict.evidence), (Outcome::Fail, vec![expected.to_owned()]));
        }
        assert_eq!(on("a: [").outcome, Outcome::Unknown);
    }
}
