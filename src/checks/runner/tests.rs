use super::super::facts::{CannotAsk, Readiness};
use super::super::judge::testing;
use super::*;
use crate::error::failure_of;
use crate::event::Recorder;
use std::sync::Arc;

fn patterns(text: &str) -> Vec<String> {
    if text.is_empty() { vec![] } else { vec![text.to_owned()] }
}

/// Runs the selected checks on scripted facts: the first for the first round, the last for all further ones.
async fn run_on(only: &str, skip: &str, rounds: Vec<Facts>) -> (Report, usize, Vec<Event>) {
    run_slowly(only, skip, Duration::ZERO, rounds).await
}

/// As [`run_on`], where each round of questions takes so long.
async fn run_slowly(only: &str, skip: &str, round: Duration, rounds: Vec<Facts>) -> (Report, usize, Vec<Event>) {
    let (config, bundle) = testing::scope();
    let scope = Scope { config: &config, bundle: &bundle };
    let selection = Selection::new(&bundle, &patterns(only), &patterns(skip)).unwrap();
    let recorder = Arc::new(Recorder::default());
    let events: Events = Arc::clone(&recorder) as Events;
    let mut asked = 0;
    let report = run(&scope, &selection, Duration::from_secs(60), &events, async |_| {
        sleep(round).await;
        asked += 1;
        rounds[(asked - 1).min(rounds.len() - 1)].clone()
    })
    .await;
    (report, asked, recorder.events())
}

fn known(urls: &[&str]) -> Facts {
    Facts { known_alertmanagers: Ok(urls.iter().map(|url| (*url).to_owned()).collect()), ..Facts::default() }
}

fn program(key: &'static str, answer: super::super::Fact<Readiness>) -> Facts {
    Facts { programs: [(key, answer)].into(), ..Facts::default() }
}

#[tokio::test(start_paused = true)]
async fn what_happens_for_the_first_time_is_waited_for() {
    let rounds = vec![known(&[]), known(&[]), known(&["http://a"])];
    let (report, asked, _) = run_on("alertmanager/known-to-prometheus", "", rounds).await;
    assert_eq!((report.results[0].outcome, asked), (Outcome::Pass, 3));
    assert!(report.verdict().is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_the_timeout_the_last_reason_stands() {
    let (report, _, _) = run_on("alertmanager/known-to-prometheus", "", vec![known(&[])]).await;
    assert_eq!(report.results[0].outcome, Outcome::Fail);
    assert_eq!(report.results[0].reason, "Prometheus knows no Alertmanager (asked for 60 s)");
    let failure = report.verdict().unwrap_err();
    assert_eq!(failure.kind, Kind::Negative);
    assert_eq!(failure.message, "1 of 1 checks failed: alertmanager/known-to-prometheus");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_change_is_asked_once() {
    let facts = program("grafana", Err(CannotAsk::lasting("forbidden")));
    let (report, asked, _) = run_on("grafana/healthy", "", vec![facts]).await;
    assert_eq!((report.results[0].reason.as_str(), asked), ("forbidden", 1));
    assert_eq!(report.verdict().unwrap_err().kind, Kind::CouldNotAsk);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_that_is_allowed_neither_waits_nor_fails() {
    let silent = || Err(CannotAsk::passing("no program"));
    // Of the two only Loki is listed in the test configuration.
    let (report, asked, _) = run_on("loki", "", vec![program("loki", silent())]).await;
    assert_eq!((report.results[0].outcome, report.results[0].unknown_allowed, asked), (Outcome::Unknown, true, 1));
    assert!(report.verdict().is_ok());
    assert_eq!(report.summary, Summary { unknown_allowed: 1, ..Summary::default() });

    let (report, asked, _) = run_on("grafana", "", vec![program("grafana", silent())]).await;
    assert!(asked > 1, "a program that should be there may be restarting");
    assert_eq!(report.verdict().unwrap_err().kind, Kind::CouldNotAsk);
}

#[tokio::test(start_paused = true)]
async fn a_first_question_that_takes_long_leaves_a_second_one() {
    let hangs = program("grafana", Err(CannotAsk::passing("no answer in 15 s")));
    let ready = program("grafana", Ok(Readiness::Ready));
    let rounds = vec![hangs.clone(), ready.clone()];
    let (report, asked, _) = run_slowly("grafana/healthy", "", Duration::from_secs(15), rounds).await;
    assert_eq!((report.results[0].outcome, asked), (Outcome::Pass, 2));
    // The patience with what does not answer is not endless.
    let (report, asked, _) = run_slowly("grafana/healthy", "", Duration::from_secs(15), vec![hangs]).await;
    assert_eq!((report.results[0].outcome, asked), (Outcome::Unknown, 2));
    assert_eq!(report.results[0].reason, "no answer in 15 s (asked for 31 s)");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_late_is_asked_again_too() {
    // For half a minute it waits for something else; then a connection breaks for a moment.
    let away = Facts { known_alertmanagers: Err(CannotAsk::passing("connection reset")), ..Facts::default() };
    let rounds: Vec<Facts> = vec![known(&[]); 30].into_iter().chain([away, known(&["http://a"])]).collect();
    let (report, asked, _) = run_on("alertmanager/known-to-prometheus", "", rounds).await;
    assert_eq!((report.results[0].outcome, asked), (Outcome::Pass, 32));
}

#[tokio::test(start_paused = true)]
async fn two_troubles_by_turns_do_not_go_on_for_ever() {
    let starting = program("grafana", Ok(Readiness::NotReady("answered 503".to_owned())));
    let away = program("grafana", Err(CannotAsk::passing("connection reset")));
    let rounds: Vec<Facts> =
        (0..500).map(|round| if round % 2 == 0 { starting.clone() } else { away.clone() }).collect();
    let (_, asked, _) = run_on("grafana/healthy", "", rounds).await;
    // Until the timeout and the time that is left to the last of them.
    assert!((60..=92).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn results_come_in_the_order_of_the_registry_and_only_once() {
    // The first check has to wait, the later ones are final at once.
    let starting = program("prometheus", Ok(Readiness::NotReady("answered 503".to_owned())));
    let mut ready = program("prometheus", Ok(Readiness::Ready));
    ready.api_server = Ok("v1".to_owned());
    let (report, _, events) = run_on("prometheus,alertmanager,grafana,jaeger", "", vec![starting, ready]).await;
    let told: Vec<String> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Check { result } => Some(result.id),
            _ => None,
        })
        .collect();
    let ids: Vec<String> = report.results.iter().map(|result| result.id.clone()).collect();
    assert_eq!(told, ids);
    assert_eq!(ids[0], "prometheus/ready");
    assert_eq!(report.results[0].outcome, Outcome::Pass);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_or_disabled_is_shown_with_its_reason() {
    let (report, asked, _) = run_on("targets,jaeger", "targets", vec![Facts::default()]).await;
    let seen: Vec<(&str, &str)> =
        report.results.iter().map(|result| (result.id.as_str(), result.reason.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("targets/prometheus", "left out by --skip"),
            ("targets/loki", "left out by --skip"),
            ("targets/user-service", "left out by --skip"),
            ("targets/redis", "left out by --skip"),
            ("targets/none-unexpected", "left out by --skip"),
            ("jaeger/healthy", "`jaeger.enabled` is false"),
        ]
    );
    assert_eq!(asked, 0, "nothing is asked that nobody wants to know");
    assert_eq!(report.summary.skipped, 6);
}

#[tokio::test(start_paused = true)]
async fn one_target_can_be_asked_for() {
    let (report, _, _) = run_on("targets/redis", "", vec![Facts::default()]).await;
    let ids: Vec<&str> = report.results.iter().map(|result| result.id.as_str()).collect();
    assert_eq!(ids, ["targets/redis"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_of_lower_severity_only_warns() {
    let facts = Facts {
        targets: serde_json::from_str(r#"{"activeTargets":[{"labels":{"job":"odd"},"health":"up"}]}"#)
            .map_err(|_| CannotAsk::lasting("")),
        ..Facts::default()
    };
    let (report, _, _) = run_on("targets/none-unexpected", "", vec![facts]).await;
    assert_eq!(report.results[0].outcome, Outcome::Warn);
    assert!(report.verdict().is_ok());
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    let (_, bundle) = testing::scope();
    let error = Selection::new(&bundle, &patterns("targets/user-servic"), &[]).err().unwrap();
    let failure = failure_of(&error).unwrap();
    assert_eq!(failure.kind, Kind::Usage);
    assert_eq!(failure.message, "there is no check or category `targets/user-servic`");
    assert!(failure.hint.as_deref().unwrap().starts_with("did you mean `targets/user-service`?"));
    assert!(Selection::new(&bundle, &patterns("rules, alerts"), &patterns("grafana/healthy")).is_ok());
}
