use super::*;
use crate::cluster::script::{Answer, Asked, Log, empty, list, refusal, scripted};
use crate::error::{chain_of, exit_code_of};
use crate::event::Recorder;
use crate::object::Manifest;
use crate::plan::{Action, Reason};
use crate::render::bundle::{Chart, GeneratedSecret, Release};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

fn step(id: &str, needs: &[&str], target: Target) -> Step {
    Step {
        id: id.to_owned(),
        action: Action::Create,
        reason: Reason::New,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        changes: Vec::new(),
        target,
    }
}

fn object(name: &str, needs: &[&str]) -> Step {
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "m"}});
    step(name, needs, Target::Object { manifest: Manifest(manifest) })
}

fn release(name: &str, needs: &[&str]) -> Step {
    let chart = Chart {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        app_version: "1".to_owned(),
        files: BTreeMap::from([("Chart.yaml".to_owned(), Vec::new())]),
    };
    let release =
        Release { name: name.to_owned(), namespace: "m".to_owned(), chart, values: json!({}), needs: Vec::new() };
    step(name, needs, Target::Release { release })
}

/// A helm whose upgrade runs `body` (`$3` is the release).
fn fake_helm(body: &str) -> (TempDir, Helm) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("helm");
    let script = format!(
        "#!/bin/sh\ncase $1 in version) echo v4.3.1;;\n\
         upgrade) cat >/dev/null\n{body};;\nesac\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Another test that forks at this moment still holds the script open for writing.
    while std::process::Command::new(&program).arg("version").output().is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let helm = Helm::locate(Some(&program), None).unwrap();
    (folder, helm)
}

fn ready_set() -> Value {
    json!([{"metadata": {"name": "a", "namespace": "m", "uid": "set", "generation": 1},
        "spec": {"replicas": 1, "selector": {}, "serviceName": "a", "template": {}},
        "status": {"replicas": 1, "observedGeneration": 1, "readyReplicas": 1, "currentRevision": "1", "updateRevision": "1"}}])
}

/// What helm stored of each release: StatefulSet `a`.
fn stored() -> Value {
    let manifest = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\n";
    let release = BASE64_STANDARD.encode(json!({"manifest": manifest}).to_string());
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": {"release": BASE64_STANDARD.encode(release)}})
}

/// A server that takes everything; StatefulSet `a` is ready.
fn willing(asked: &Asked) -> Answer {
    if asked.path.contains("watch=true") {
        Answer::Silence
    } else if asked.method == Method::GET && asked.path.contains("/secrets?") {
        let labels = |name: &str| json!({"owner": "helm", "name": name, "version": "1", "status": "deployed"});
        list(json!(["loki", "slow", "bad"].map(
            |name| json!({"metadata": {"name": format!("sh.helm.release.v1.{name}.v1"), "labels": labels(name)}})
        )))
    } else if asked.method == Method::GET && asked.path.contains("/secrets/sh.helm.release.v1.") {
        Answer::Json(200, stored())
    } else if asked.method != Method::GET {
        Answer::Json(200, asked.body.clone())
    } else if asked.path.contains("/statefulsets") {
        list(ready_set())
    } else {
        empty()
    }
}

struct Ran {
    result: Result<Applied>,
    events: Vec<Event>,
    log: Log,
    is_cut_off: bool,
}

async fn run(
    steps: Vec<Step>,
    helm: &Helm,
    cancel: CancellationToken,
    answer: impl FnMut(&Asked) -> Answer + Send + 'static,
) -> Ran {
    run_with(4, steps, helm, cancel, answer).await
}

async fn run_with(
    concurrency: usize,
    steps: Vec<Step>,
    helm: &Helm,
    cancel: CancellationToken,
    answer: impl FnMut(&Asked) -> Answer + Send + 'static,
) -> Ran {
    let (client, log) = scripted(answer);
    let (recorder, cut_off) = (Arc::new(Recorder::default()), CutOff::default());
    let context = ApplyContext {
        cluster: Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2"),
        helm: helm.clone(),
        events: recorder.clone(),
        deadline: Instant::now() + Duration::from_secs(120),
        release_timeouts: BTreeMap::new(),
        fail_after: Duration::ZERO,
        concurrency,
        cancel,
        cut_off: cut_off.clone(),
    };
    let releases = steps.iter().filter_map(|step| match &step.target {
        Target::Release { release } => Some((release.name.clone(), "api".to_owned())),
        _ => None,
    });
    let plan = Plan { api_digests: releases.collect(), steps, ..Plan::default() };
    let result = apply(&plan, context).await;
    Ran { result, events: recorder.events(), log, is_cut_off: cut_off.is_raised() }
}

fn notes(ran: &Ran) -> Vec<String> {
    let note = |event: &Event| match event {
        Event::Note { message } => Some(message.clone()),
        _ => None,
    };
    ran.events.iter().filter_map(note).collect()
}

fn done(ran: &Ran) -> Vec<String> {
    ran.result.as_ref().unwrap().done.iter().map(|done| format!("{} {}", done.id, done.summary)).collect()
}

#[tokio::test]
async fn steps_are_done_in_the_order_of_their_needs() {
    let (_folder, helm) = fake_helm("exit 0");
    let steps = vec![release("loki", &["rules"]), object("rules", &["stands already"])];
    let ran = run(steps, &helm, CancellationToken::new(), willing).await;
    assert_eq!(done(&ran), ["rules created", "loki 1 workload ready"]);
}

#[tokio::test]
async fn objects_are_applied_by_force_strictly_and_under_our_name() {
    let (_folder, helm) = fake_helm("exit 0");
    let ran = run(vec![object("rules", &[])], &helm, CancellationToken::new(), willing).await;
    ran.result.unwrap();
    let log = ran.log.lock().unwrap();
    let patch = log.iter().find(|asked| asked.method == Method::PATCH).unwrap();
    for part in
        ["force=true", "fieldManager=drivemaster-mon", "fieldValidation=Strict", "/namespaces/m/configmaps/rules"]
    {
        assert!(patch.path.contains(part), "{}", patch.path);
    }
}

#[tokio::test]
async fn a_secret_is_generated_once_and_never_read() {
    let (_folder, helm) = fake_helm("exit 0");
    let secret = GeneratedSecret {
        namespace: "m".to_owned(),
        name: "grafana-admin".to_owned(),
        fixed: BTreeMap::from([("admin-user".to_owned(), "admin".to_owned())]),
        generated: vec!["admin-password".to_owned()],
    };
    let steps = vec![step("secret", &[], Target::GeneratedSecret { secret })];
    let ran = run(steps.clone(), &helm, CancellationToken::new(), willing).await;
    assert_eq!(done(&ran), ["secret generated"]);
    let log = ran.log.lock().unwrap().clone();
    assert!(log.iter().all(|asked| asked.method == Method::POST), "{log:?}");
    let password = log[0].body["stringData"]["admin-password"].as_str().unwrap().to_owned();
    assert_eq!((password.len(), &log[0].body["stringData"]["admin-user"]), (24, &json!("admin")));
    assert_eq!(log[0].body["metadata"]["labels"]["app.kubernetes.io/managed-by"], "drivemaster-mon");
    assert!(!serde_json::to_string(&ran.events).unwrap().contains(&password));
    let again = run(steps, &helm, CancellationToken::new(), |_| refusal(409, "AlreadyExists", "it exists")).await;
    assert_eq!(done(&again), ["secret kept"]);
}

#[tokio::test]
async fn the_first_failure_stops_the_rest_and_what_stands_is_told() {
    let (_folder, helm) = fake_helm("exit 0");
    let steps = vec![object("good", &[]), object("bad", &["good"]), object("never", &["bad"])];
    let answer = |asked: &Asked| {
        if asked.path.contains("/configmaps/bad") {
            refusal(
                500,
                "",
                "failed to create typed patch object (m/bad; v1, Kind=ConfigMap): .nope: field not declared in schema",
            )
        } else {
            willing(asked)
        }
    };
    let ran = run(steps, &helm, CancellationToken::new(), answer).await;
    assert_eq!(notes(&ran), ["done: good", "failed: bad", "not started: never"]);
    let attempts = ran.log.lock().unwrap().iter().filter(|asked| asked.path.contains("/configmaps/bad")).count();
    assert_eq!(attempts, 1, "a refusal with status 500 is not repeated");
    let error = ran.result.unwrap_err();
    assert_eq!(exit_code_of(&error), 4);
    assert!(chain_of(&error)[0].contains("`ConfigMap m/bad`"), "{:?}", chain_of(&error));
}

#[tokio::test]
async fn a_release_that_fails_lets_another_helm_finish() {
    let (_folder, helm) = fake_helm("[ $3 = bad ] && { echo 'Error: no such luck' >&2; exit 1; }\nsleep 1; exit 0");
    let steps = vec![release("slow", &[]), release("bad", &[]), release("never", &["bad"])];
    let ran = run(steps, &helm, CancellationToken::new(), willing).await;
    let told = notes(&ran);
    assert!(told.contains(&"failed: bad".to_owned()) && told.contains(&"not started: never".to_owned()), "{told:?}");
    let error = ran.result.unwrap_err();
    assert_eq!(chain_of(&error).last().unwrap(), "no such luck");
    let slow = ran.events.iter().find(|event| matches!(event, Event::StepFailed { step, .. } if step == "slow"));
    // It was written; only the wait for it was ended.
    assert!(matches!(slow, Some(Event::StepFailed { message, .. }) if message.contains("stopped waiting")), "{slow:?}");
}

#[tokio::test]
async fn a_cancelled_run_stops_helm_and_tells_what_stands() {
    let (_folder, helm) = fake_helm("trap 'exit 1' TERM; while :; do sleep 0.05; done");
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    let steps = vec![object("good", &[]), release("loki", &["good"]), object("never", &["loki"])];
    let answer = move |asked: &Asked| {
        if asked.method == Method::PATCH {
            let later = later.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                later.cancel();
            });
        }
        willing(asked)
    };
    let ran = run(steps, &helm, cancel, answer).await;
    assert_eq!(notes(&ran), ["done: good", "cut short: loki", "not started: never"]);
    assert!(!ran.is_cut_off, "helm ended with a word");
    assert_eq!(exit_code_of(&ran.result.unwrap_err()), 130);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_by_itself_is_cut_off_before_the_next_deploy_begins() {
    let (_folder, helm) = fake_helm("exit 0");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    // The object may be written at any time from now, and no answer comes.
    let answer = move |asked: &Asked| {
        if asked.method == Method::PATCH {
            stop.cancel();
            return Answer::Silence;
        }
        willing(asked)
    };
    let begun = Instant::now();
    let ran = run(vec![object("rules", &[])], &helm, cancel, answer).await;
    let left = crate::cluster::lock::DURATION - crate::cluster::lock::GOES_ON;
    assert!(begun.elapsed() < left, "cut off after {:?}", begun.elapsed());
    assert_eq!(notes(&ran), ["cut short: rules"]);
    assert!(ran.is_cut_off, "the lock is not given back");
    assert_eq!(exit_code_of(&ran.result.unwrap_err()), 130);
}

/// The definition `widgets`, and a server that lists its kind and answers `seen` of it, the last one for good.
fn widgets(seen: &[(&str, &[&str])]) -> (impl Fn(Action) -> Step, impl FnMut(&Asked) -> Answer + Send + 'static) {
    let name = "widgets.example.com";
    let manifest = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {"group": "example.com", "names": {"plural": "widgets", "shortNames": ["w"]},
            "versions": [{"name": "v1", "served": true}]},
    });
    let with = |(accepted, short): &(&str, &[&str])| {
        let mut found = manifest.clone();
        found["status"] = json!({"acceptedNames": {"plural": "widgets", "shortNames": short}, "conditions": [
            {"type": "Established", "status": "True"},
            {"type": "NamesAccepted", "status": accepted, "reason": "ShortNamesConflict", "message": "already in use"},
        ]});
        found
    };
    let mut seen: std::collections::VecDeque<Value> = seen.iter().map(with).collect();
    let definition = move |action| {
        let target = Target::Object { manifest: Manifest(manifest.clone()) };
        Step { action, ..step("widgets", &[], target) }
    };
    let answer = move |asked: &Asked| match asked.path.as_str() {
        "/apis/example.com/v1" => {
            let resource = json!({"name": "widgets", "singularName": "", "namespaced": true, "kind": "W", "verbs": []});
            let list = json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": [resource]});
            Answer::Json(200, list)
        }
        "/apis" => Answer::Json(200, json!({"metadata": {}, "items": []})),
        path if asked.method == Method::GET && path.contains(name) => {
            let found = if seen.len() > 1 { seen.pop_front() } else { seen.front().cloned() };
            Answer::Json(200, found.unwrap())
        }
        _ => willing(asked),
    };
    (definition, answer)
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_stands_is_judged_although_it_is_listed() {
    let (_folder, helm) = fake_helm("exit 0");
    let (definition, answer) = widgets(&[("False", &[])]);
    let ran = run(vec![definition(Action::Update)], &helm, CancellationToken::new(), answer).await;
    assert_eq!(done(&ran), ["widgets updated"], "it goes on being served under its former names");
    let warning = |event: &Event| matches!(event, Event::Warning { message } if message.ends_with("already in use"));
    assert!(ran.events.iter().any(warning), "{:?}", ran.events);
    let (definition, answer) = widgets(&[("False", &[])]);
    let ran = run(vec![definition(Action::Create)], &helm, CancellationToken::new(), answer).await;
    assert_eq!(done(&ran), ["widgets created"], "a new one is listed once its names are accepted");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_the_former_names_of_a_definition_is_not_taken_for_the_last_word() {
    let (_folder, helm) = fake_helm("exit 0");
    let (definition, answer) = widgets(&[("False", &["former"]), ("True", &["former"]), ("True", &["w"])]);
    let ran = run(vec![definition(Action::Update)], &helm, CancellationToken::new(), answer).await;
    assert_eq!(done(&ran), ["widgets updated"]);
    let reads = ran
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|asked| asked.path.contains("/widgets.") && asked.method == Method::GET)
        .count();
    assert_eq!(reads, 3);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again() {
    let (_folder, helm) = fake_helm("exit 0");
    let mut attempts = 0;
    let answer = move |asked: &Asked| {
        attempts += 1;
        if attempts < 4 { refusal(429, "TooManyRequests", "later") } else { willing(asked) }
    };
    let ran = run(vec![object("rules", &[])], &helm, CancellationToken::new(), answer).await;
    assert_eq!(done(&ran), ["rules created"]);
}

#[tokio::test]
async fn steps_that_need_each_other_are_told_and_do_not_hang() {
    let (_folder, helm) = fake_helm("exit 0");
    let steps = vec![object("a", &["b"]), object("b", &["a"])];
    let error = run(steps, &helm, CancellationToken::new(), willing).await.result.unwrap_err();
    assert_eq!(exit_code_of(&error), 70);
    assert!(error.to_string().contains("a, b"), "{error}");
}

#[tokio::test]
async fn each_refusal_of_an_object_has_its_exit_code() {
    let (_folder, helm) = fake_helm("exit 0");
    let cases = [
        (403, "Forbidden", "configmaps \"a\" is forbidden: User \"jane\" cannot patch resource \"configmaps\"", 5),
        (
            403,
            "Forbidden",
            "configmaps \"a\" is forbidden: unable to create new content in namespace m because it is being terminated",
            5,
        ),
        (409, "Conflict", "Apply failed with 1 conflict", 4),
        (422, "Invalid", "ConfigMap \"a\" is invalid: data: Too long", 4),
    ];
    for (code, reason, message, expected) in cases {
        let ran =
            run(vec![object("a", &[])], &helm, CancellationToken::new(), move |_| refusal(code, reason, message)).await;
        assert_eq!(exit_code_of(&ran.result.unwrap_err()), expected, "{message}");
    }
}

/// A release's revisions as Helm's Secrets hold them: one that is pending.
fn pending_revision() -> Value {
    json!([{"metadata": {"name": "sh.helm.release.v1.loki.v1", "namespace": "m", "uid": "revision"}}])
}

#[tokio::test]
async fn a_helm_that_lost_the_server_is_run_again_without_what_it_left_pending() {
    let (_folder, helm) = fake_helm(
        "echo >> \"$0.tries\"\n[ $(wc -l < \"$0.tries\") = 1 ] && \
         { echo 'Error: Get \"https://127.0.0.1:1/api\": dial tcp 127.0.0.1:1: connect: connection refused' >&2; exit 1; }\n\
         exit 0",
    );
    let answer = |asked: &Asked| match asked.path.as_str() {
        "/readyz" => Answer::Bytes("ok"),
        path if path.contains("/secrets?") && path.contains("pending-install") => list(pending_revision()),
        _ => willing(asked),
    };
    let ran = run(vec![release("loki", &[])], &helm, CancellationToken::new(), answer).await;
    assert_eq!(done(&ran), ["loki 1 workload ready"]);
    let log = ran.log.lock().unwrap();
    let asked = |method: &Method, part: &str| {
        log.iter().position(|asked| asked.method == *method && asked.path.contains(part)).unwrap()
    };
    let taken_away = asked(&Method::DELETE, "/secrets/sh.helm.release.v1.loki.v1");
    assert!(asked(&Method::GET, "/readyz") < taken_away);
    let told = |event: &Event| matches!(event, Event::Warning { message } if message.contains("it is run again"));
    assert_eq!(ran.events.iter().filter(|event| told(event)).count(), 1, "{:?}", ran.events);
}

#[tokio::test]
async fn a_helm_that_never_reaches_the_server_is_told_after_three_attempts() {
    let (folder, helm) =
        fake_helm("echo >> \"$0.tries\"\necho 'Error: kubernetes cluster unreachable: no' >&2; exit 1");
    let answer = |asked: &Asked| match asked.path.as_str() {
        "/readyz" => Answer::Bytes("ok"),
        _ => willing(asked),
    };
    let ran = run(vec![release("loki", &[])], &helm, CancellationToken::new(), answer).await;
    let tries = std::fs::read_to_string(folder.path().join("helm.tries")).unwrap();
    assert_eq!(tries.lines().count(), 3);
    let error = ran.result.unwrap_err();
    assert_eq!(exit_code_of(&error), 3, "{error:?}");
}

#[tokio::test]
async fn a_step_that_only_waits_gives_its_place_to_the_next() {
    let (_folder, helm) = fake_helm("exit 0");
    let mut is_written = false;
    let answer = move |asked: &Asked| {
        is_written |= asked.method == Method::PATCH && asked.path.contains("/configmaps/rules");
        let is_read = asked.path.contains("/statefulsets") && !asked.path.contains("watch=true");
        if is_read && !is_written { empty() } else { willing(asked) }
    };
    // The release waits for what `rules` brings, and the only place is the release's.
    let steps = vec![release("loki", &[]), object("rules", &[])];
    let ran = run_with(1, steps, &helm, CancellationToken::new(), answer).await;
    assert_eq!(done(&ran), ["rules created", "loki 1 workload ready"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_that_waited_for_its_place_when_all_was_stopped() {
    let (_folder, helm) = fake_helm("exit 0");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let reference = crate::object::ObjectRef::namespaced("v1", "ConfigMap", "m", "old");
    let old = step("old", &[], Target::UnwantedObject { reference, uid: "old".to_owned() });
    let answer = move |asked: &Asked| {
        if asked.method == Method::DELETE {
            stop.cancel();
        }
        // That it is gone is never told: its place is free, and its step still at work.
        let is_read = asked.method == Method::GET && asked.path.contains("/configmaps/old");
        if is_read { Answer::Silence } else { willing(asked) }
    };
    let begun = Instant::now();
    let ran = run_with(1, vec![old, object("rules", &[])], &helm, cancel, answer).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it did not end at once: {:?}", begun.elapsed());
    assert_eq!(notes(&ran), ["cut short: old", "not started: rules"]);
    assert!(ran.log.lock().unwrap().iter().all(|asked| asked.method != Method::PATCH));
}
