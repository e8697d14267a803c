//! Every expected scrape job has a target for each ready endpoint of its Service, all up.

use super::facts::{ActiveTarget, Need, Readiness, ServiceFact};
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted, programs};
use crate::event::Outcome;
use crate::render::bundle::ExpectedTarget;
use crate::stack;
use std::time::Duration;

pub(super) const CHECK: Check = Check {
    id: "targets/<job>",
    title: "every target of the job is up",
    severity: Severity::Critical,
    hint: "drivemaster-mon port-forward prometheus; open http://127.0.0.1:9090/targets",
    doc: "docs/checks.md#targets-job",
    component: Some("prometheus"),
    needs: &[Need::Targets, Need::Services, Need::Programs],
    judge: judge_targets,
};

/// A target that is down is asked again for so many of its scrape intervals: it may just have started.
const SETTLING_SCRAPES: u32 = 2;
/// How long Prometheus may go on asking a pod that is gone: it takes over what discovery finds every 5 s.
const DISCOVERY: Duration = Duration::from_secs(10);
/// The longest such time.
const LONGEST_SETTLING: Duration = Duration::from_secs(40);

fn judge_targets(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    scope.bundle.expected.targets.iter().map(|expected| judge_target(scope, facts, expected)).collect()
}

fn judge_target(scope: &Scope<'_>, facts: &Facts, expected: &ExpectedTarget) -> Verdict {
    let verdict = judge_job(scope, facts, expected);
    let verdict = match absent_program(scope, facts, expected) {
        // Nothing runs there to be scraped, and the configuration knows of it.
        Some(check) if verdict.outcome == Outcome::Fail => Verdict {
            outcome: Outcome::Unknown,
            reason: format!("its program does not answer: see `{check}`"),
            again: Again::Never,
            ..verdict
        },
        _ => verdict,
    };
    Verdict {
        instance: Some((format!("targets/{}", expected.job), format!("every target of job `{}` is up", expected.job))),
        component: expected.component.clone(),
        ..verdict
    }
}

/// The check that tells why the program behind the target does not answer, where that is allowed.
fn absent_program(scope: &Scope<'_>, facts: &Facts, expected: &ExpectedTarget) -> Option<&'static str> {
    let key = expected.component.as_deref()?;
    if !scope.config.verify.may_be_unknown.iter().any(|allowed| allowed == key) {
        return None;
    }
    match facts.programs.get(key)? {
        Ok(Readiness::Ready) => None,
        Ok(Readiness::NotReady(_)) | Err(_) => programs::check_of(key),
    }
}

fn judge_job(scope: &Scope<'_>, facts: &Facts, expected: &ExpectedTarget) -> Verdict {
    let targets: Vec<&ActiveTarget> = match &facts.targets {
        Ok(targets) => targets.active_targets.iter().filter(|target| target.job() == expected.job).collect(),
        Err(why) => return Verdict::unknown(why),
    };
    let service = facts.services.as_ref().ok().and_then(|services| services.get(&expected.job)).copied();
    let name = format!("{}/{}", expected.namespace, expected.service);
    if let (true, Some(ServiceFact::Missing)) = (targets.is_empty(), service) {
        return with_way_out(scope, expected, Verdict::fail(format!("service `{name}` does not exist")));
    }
    if let (true, Some(ServiceFact::Endpoints(0))) = (targets.is_empty(), service) {
        return with_way_out(scope, expected, Verdict::fail(format!("service `{name}` has no ready endpoint")));
    }
    if targets.is_empty() {
        return Verdict::fail("Prometheus has no target of this job").again(Again::UntilTimeout);
    }
    let down: Vec<&&ActiveTarget> = targets.iter().filter(|target| target.health == "down").collect();
    if !down.is_empty() {
        let interval = down.iter().map(|target| seconds_of(&target.scrape_interval)).max().unwrap_or_default();
        let settling = LONGEST_SETTLING.min(Duration::from_secs(interval) * SETTLING_SCRAPES + DISCOVERY);
        let evidence = down.iter().map(|target| format!("{}: {}", target.scrape_url, target.last_error)).collect();
        return Verdict::fail(format!("{} of {} down", down.len(), counted(targets.len(), "target")))
            .evidence(evidence)
            .again(Again::Within(settling));
    }
    let waiting = targets.iter().filter(|target| target.health != "up").count();
    if waiting > 0 {
        return Verdict::fail(format!("{waiting} of {} not scraped yet", counted(targets.len(), "target")))
            .again(Again::UntilTimeout);
    }
    match service {
        Some(ServiceFact::Endpoints(endpoints)) if endpoints > targets.len() => {
            let found = targets.len();
            let all = counted(endpoints, "ready endpoint");
            Verdict::fail(format!("only {found} of {all} of service `{name}` scraped")).again(Again::UntilTimeout)
        }
        _ => Verdict::pass().evidence(vec![format!("{} up", counted(targets.len(), "target"))]),
    }
}

/// What is watched but not there: either it is started, or the configuration says that it is not.
fn with_way_out(scope: &Scope<'_>, expected: &ExpectedTarget, verdict: Verdict) -> Verdict {
    if expected.component.is_some() {
        return verdict;
    }
    if let Some(exporter) = stack::EXPORTERS.iter().find(|exporter| exporter.job == expected.job) {
        let key = exporter.key;
        return verdict.hint(format!("start it, or set `platform.exporters.{key}: none` in drivemaster-mon.yaml"));
    }
    if scope.config.platform.services.iter().any(|service| service.name == expected.job) {
        let job = &expected.job;
        return verdict.hint(format!("start it, or take `{job}` out of `platform.services` in drivemaster-mon.yaml"));
    }
    verdict
}

/// The seconds of a Prometheus duration such as `1m30s`, rounded up; 15 where it cannot be read.
pub(super) fn seconds_of(text: &str) -> u64 {
    let mut seconds = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            "y" => 31_536_000,
            // Less than a second counts as one.
            "ms" => 0,
            _ => return 15,
        };
        seconds += number.parse::<u64>().unwrap_or(15).saturating_mul(factor);
        rest = tail;
    }
    seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::facts::{CannotAsk, Fact, Targets};
    use super::super::testing;
    use super::*;
    use std::collections::BTreeMap;

    fn target(job: &str, health: &str) -> ActiveTarget {
        ActiveTarget {
            labels: BTreeMap::from([("job".to_owned(), job.to_owned())]),
            scrape_url: "http://10.244.0.7:3001/metrics".to_owned(),
            last_error: if health == "down" { "connection refused".to_owned() } else { String::new() },
            health: health.to_owned(),
            scrape_interval: "15s".to_owned(),
            ..ActiveTarget::default()
        }
    }

    fn facts(targets: Vec<ActiveTarget>, services: &[(&str, ServiceFact)]) -> Facts {
        Facts {
            targets: Ok(Targets { active_targets: targets, ..Targets::default() }),
            services: Ok(services.iter().map(|(job, fact)| ((*job).to_owned(), *fact)).collect()),
            ..Facts::default()
        }
    }

    /// The verdict on one job of the test bundle.
    fn on(job: &str, facts: &Facts) -> Verdict {
        let id = format!("targets/{job}");
        testing::judge(&CHECK, facts)
            .into_iter()
            .find(|verdict| verdict.instance.as_ref().is_some_and(|(found, _)| *found == id))
            .unwrap()
    }

    #[test]
    fn each_state_of_a_job_is_told_apart() {
        use ServiceFact::{Endpoints, Missing};
        let settling = Again::Within(Duration::from_secs(40));
        let cases = [
            (vec![target("user-service", "up")], Some(Endpoints(1)), Outcome::Pass, "", Again::Never),
            (vec![target("user-service", "up")], None, Outcome::Pass, "", Again::Never),
            (
                vec![target("user-service", "up")],
                Some(Endpoints(2)),
                Outcome::Fail,
                "only 1 of 2 ready endpoints of service `drivemaster/user-service` scraped",
                Again::UntilTimeout,
            ),
            (
                vec![target("user-service", "up"), target("user-service", "down")],
                Some(Endpoints(2)),
                Outcome::Fail,
                "1 of 2 targets down",
                settling,
            ),
            (
                vec![target("user-service", "unknown")],
                Some(Endpoints(1)),
                Outcome::Fail,
                "1 of 1 target not scraped yet",
                Again::UntilTimeout,
            ),
            (
                vec![target("other", "up")],
                Some(Endpoints(1)),
                Outcome::Fail,
                "Prometheus has no target of this job",
                Again::UntilTimeout,
            ),
            (vec![], Some(Missing), Outcome::Fail, "service `drivemaster/user-service` does not exist", Again::Never),
            (
                vec![],
                Some(Endpoints(0)),
                Outcome::Fail,
                "service `drivemaster/user-service` has no ready endpoint",
                Again::Never,
            ),
        ];
        for (targets, service, outcome, reason, again) in cases {
            let services: Vec<(&str, ServiceFact)> = service.into_iter().map(|fact| ("user-service", fact)).collect();
            let verdict = on("user-service", &facts(targets, &services));
            assert_eq!((verdict.outcome, verdict.reason.as_str(), verdict.again), (outcome, reason, again));
        }
    }

    #[test]
    fn the_last_error_is_the_evidence() {
        let verdict = on("user-service", &facts(vec![target("user-service", "down")], &[]));
        assert_eq!(verdict.evidence, ["http://10.244.0.7:3001/metrics: connection refused"]);
    }

    #[test]
    fn what_the_platform_lacks_can_be_said_in_the_configuration() {
        let missing = [("user-service", ServiceFact::Missing), ("redis", ServiceFact::Missing)];
        let facts = facts(vec![], &missing);
        let hint = |job| on(job, &facts).hint.unwrap_or_default();
        assert!(hint("user-service").contains("take `user-service` out of `platform.services`"));
        assert!(hint("redis").contains("`platform.exporters.redis: none`"));
    }

    #[test]
    fn only_the_absent_program_of_a_listed_component_makes_a_target_unknown() {
        let with = |job: &str, key: &'static str, program: Fact<Readiness>| {
            let mut facts = facts(vec![target(job, "down")], &[]);
            facts.programs = BTreeMap::from([(key, program)]);
            on(job, &facts)
        };
        let silent = || Err(CannotAsk::lasting("no program"));
        // Of the two, only Loki is listed in the test configuration.
        let listed = with("loki", "loki", silent());
        assert_eq!(
            (listed.outcome, listed.component.as_deref(), listed.again),
            (Outcome::Unknown, Some("loki"), Again::Never)
        );
        assert_eq!(listed.reason, "its program does not answer: see `loki/healthy`");
        assert_eq!(with("loki", "loki", Ok(Readiness::Ready)).outcome, Outcome::Fail);
        assert_eq!(with("prometheus", "prometheus", silent()).outcome, Outcome::Fail);
        assert_eq!(with("user-service", "loki", silent()).outcome, Outcome::Fail);
    }

    #[test]
    fn prometheus_durations_become_seconds() {
        for (text, expected) in [
            ("15s", 15),
            ("1m30s", 90),
            ("1h", 3600),
            ("1w2d", 777_600),
            ("1y", 31_536_000),
            ("500ms", 1),
            ("", 1),
            ("often", 15),
        ] {
            assert_eq!(seconds_of(text), expected, "{text}");
        }
    }
}
