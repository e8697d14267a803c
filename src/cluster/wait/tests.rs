use super::*;
use crate::cluster::script::{Answer, Asked, empty, list, refusal, scripted};
use crate::error::{chain_of, exit_code_of, failure_of};
use crate::event::Recorder;
use serde_json::{Value, json};
use std::sync::Arc;

fn set() -> ObjectRef {
    ObjectRef::namespaced("apps/v1", "StatefulSet", "m", "a")
}

fn stateful_set(ready: i32) -> Value {
    json!({"metadata": {"name": "a", "namespace": "m", "uid": "set", "generation": 1},
        "spec": {"replicas": 1, "selector": {}, "serviceName": "a", "template": {}},
        "status": {"replicas": 1, "observedGeneration": 1, "readyReplicas": ready, "currentRevision": "1", "updateRevision": "1"}})
}

fn pod(reason: &str) -> Value {
    json!({"metadata": {"name": "a-0", "namespace": "m", "uid": "pod",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a", "uid": "set", "controller": true}]},
        "spec": {"containers": [], "nodeName": "n"},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "main", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "it says so"}}}]}})
}

/// Answers everything a wait asks; `seen` gives the StatefulSets and pods of the round.
fn answer(asked: &Asked, stateful_sets: Value, pods: Value) -> Answer {
    let path = asked.path.split('?').next().unwrap();
    if asked.path.contains("watch=true") {
        Answer::Silence
    } else if path.ends_with("/statefulsets") {
        list(stateful_sets)
    } else if path.ends_with("/pods") {
        list(pods)
    } else {
        empty()
    }
}

async fn wait(
    client: &Client,
    fail_after: u64,
    timeout: u64,
    cancel: CancellationToken,
) -> (Result<()>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let events: Events = recorder.clone();
    let changes = Changes::watch(client, ["m"]);
    let options = WaitOptions {
        step: "release a".to_owned(),
        deadline: Instant::now() + Duration::from_secs(timeout),
        fail_after: Duration::from_secs(fail_after),
        cancel,
    };
    (wait_until_ready(client, &[set()], &changes, &options, &events).await, recorder)
}

fn reasons(recorder: &Recorder) -> Vec<String> {
    let waiting = |event| match event {
        Event::StepWaiting { cause, .. } => Some(cause.reason),
        _ => None,
    };
    recorder.events().into_iter().filter_map(waiting).collect()
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_ready_and_names_each_cause_once() {
    let mut round = 0;
    let (client, _) = scripted(move |asked| {
        round += usize::from(asked.path.contains("/statefulsets") && !asked.path.contains("watch"));
        let (ready, reason) = [(0, "ContainerCreating"), (0, "ContainerCreating"), (0, "ImagePullBackOff"), (1, "")]
            [round.clamp(1, 4) - 1];
        answer(asked, json!([stateful_set(ready)]), json!([pod(reason)]))
    });
    let (result, recorder) = wait(&client, 60, 600, CancellationToken::new()).await;
    result.unwrap();
    assert_eq!(reasons(&recorder), ["ContainerCreating", "ImagePullBackOff"]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_cause_ends_it_at_once_and_a_fault_after_it_held() {
    for (reason, fail_after, expected) in [
        ("InvalidImageName", 60, 0..1),
        ("ImagePullBackOff", 60, 60..66),
        ("ImagePullBackOff", 0, 2..4),
        ("ContainerCreating", 0, 300..301),
    ] {
        let (client, _) = scripted(move |asked| answer(asked, json!([stateful_set(0)]), json!([pod(reason)])));
        let before = Instant::now();
        let (result, _) = wait(&client, fail_after, 300, CancellationToken::new()).await;
        let error = result.unwrap_err();
        // The clock is paused: this is the logic's time and not the machine's.
        assert!(expected.contains(&before.elapsed().as_secs()), "{reason}: {:?}", before.elapsed());
        assert_eq!(exit_code_of(&error), 4);
        let chain = chain_of(&error);
        assert!(chain[0].contains("`Pod m/a-0`") && chain[0].contains(reason), "{chain:?}");
        assert!(chain[1].contains("it says so"), "{chain:?}");
        assert_eq!(failure_of(&error).unwrap().hint.as_deref(), Some("kubectl describe -n m pod/a-0"));
    }
}

#[test]
fn what_a_container_said_is_masked_and_what_kubernetes_says_is_not() {
    for (message, shown) in [
        (
            "container `a` ends with code 1 (Error): bad password=x",
            "container `a` ends with code 1 (Error): bad password= (masked)",
        ),
        ("container `a` ends with code 137 (OOMKilled)", "container `a` ends with code 137 (OOMKilled)"),
        (
            "MountVolume.SetUp failed for volume \"a-secret\" : secret \"b\" not found",
            "MountVolume.SetUp failed for volume \"a-secret\" : secret \"b\" not found",
        ),
    ] {
        assert_eq!(masked_end(message), shown);
    }
}

#[tokio::test(start_paused = true)]
async fn what_crashed_tells_its_last_lines_without_secrets() {
    let crashing = || {
        let mut pod = pod("CrashLoopBackOff");
        let container = &mut pod["status"]["containerStatuses"][0];
        container["lastState"] = json!({"terminated": {"exitCode": 1, "message": "no such option: --port"}});
        pod
    };
    let log = "starting\npassword=hunter2\n\u{1b}[31mno config file\u{1b}[0m\n\nno such option: --port\n";
    for (answered, expected) in [
        (
            Answer::Bytes(log),
            &[
                "previous log of `main`: starting",
                "previous log of `main`: password= (masked)",
                "previous log of `main`: no config file",
            ][..],
        ),
        (refusal(403, "Forbidden", "pods \"a-0\" is forbidden"), &[]),
        (Answer::Silence, &[]),
    ] {
        let (client, asked) = scripted(move |asked| match asked.path.contains("/pods/a-0/log") {
            true => answered.clone(),
            false => answer(asked, json!([stateful_set(0)]), json!([crashing()])),
        });
        let (result, _) = wait(&client, 0, 600, CancellationToken::new()).await;
        let chain = chain_of(&result.unwrap_err());
        assert_eq!(chain[1], "container `main` ends with code 1: no such option: --port");
        assert_eq!(chain[2..], *expected);
        let paths: Vec<String> = asked.lock().unwrap().iter().map(|asked| asked.path.clone()).collect();
        let of_log = paths.iter().find(|path| path.contains("/log?")).unwrap();
        for option in ["container=main", "previous=true", "tailLines=5"] {
            assert!(of_log.contains(option), "{of_log}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_stood_before_may_be_mended_by_this_deploy() {
    let mut round = 0;
    let (client, _) = scripted(move |asked| {
        round += usize::from(asked.path.contains("/statefulsets") && !asked.path.contains("watch"));
        let (ready, reason) = if round < 3 { (0, "ConfigurationRejected") } else { (1, "") };
        answer(asked, json!([stateful_set(ready)]), json!([pod(reason)]))
    });
    wait(&client, 0, 600, CancellationToken::new()).await.0.unwrap();

    let (client, _) =
        scripted(move |asked| answer(asked, json!([stateful_set(0)]), json!([pod("ConfigurationRejected")])));
    let before = Instant::now();
    let (result, _) = wait(&client, 60, 600, CancellationToken::new()).await;
    assert_eq!(exit_code_of(&result.unwrap_err()), 4);
    assert_eq!(before.elapsed().as_secs(), RELOAD.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_gone_at_the_next_look_ends_nothing() {
    let mut round = 0;
    let (client, _) = scripted(move |asked| {
        round += usize::from(asked.path.contains("/statefulsets") && !asked.path.contains("watch"));
        let (ready, reason) = if round < 2 { (0, "CreateContainerError") } else { (1, "") };
        answer(asked, json!([stateful_set(ready)]), json!([pod(reason)]))
    });
    wait(&client, 0, 600, CancellationToken::new()).await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_alternates_between_its_two_names_still_holds() {
    let mut round = 0;
    let (client, _) = scripted(move |asked| {
        round += usize::from(asked.path.contains("/pods") && !asked.path.contains("watch"));
        let reason = if round % 2 == 0 { "ErrImagePull" } else { "ImagePullBackOff" };
        answer(asked, json!([stateful_set(0)]), json!([pod(reason)]))
    });
    let before = Instant::now();
    let (result, _) = wait(&client, 60, 600, CancellationToken::new()).await;
    assert_eq!(exit_code_of(&result.unwrap_err()), 4);
    assert!(before.elapsed().as_secs() < 70, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_watch_and_a_busy_server_do_not_hang_or_end_it() {
    let mut lists = 0;
    let (client, _) = scripted(move |asked| {
        if asked.path.contains("watch=true") {
            return Answer::Bytes("{\"type\":\"BOOKMARK\",\"obj");
        }
        lists += 1;
        match lists {
            1..=20 => refusal(if lists % 2 == 0 { 429 } else { 503 }, "", "later"),
            21..=70 => refusal(500, "InternalError", "etcdserver: no leader"),
            _ => answer(asked, json!([stateful_set(i32::from(lists > 120))]), json!([])),
        }
    });
    let (result, recorder) = wait(&client, 0, 600, CancellationToken::new()).await;
    result.unwrap();
    assert!(recorder.events().iter().any(|event| matches!(event, Event::Warning { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_is_the_reason_of_the_timeout() {
    let (client, _) = scripted(|_| refusal(500, "InternalError", "etcdserver: no leader"));
    let (result, _) = wait(&client, 0, 60, CancellationToken::new()).await;
    let error = result.unwrap_err();
    assert_eq!(exit_code_of(&error), 3);
    assert!(chain_of(&error).iter().any(|line| line.contains("reports a fault")), "{:?}", chain_of(&error));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_for_good_end_it_and_for_a_moment_do_not() {
    let mut lists = 0;
    let (client, _) = scripted(move |asked| {
        lists += usize::from(!asked.path.contains("watch=true"));
        match lists {
            0..=8 => refusal(401, "Unauthorized", "Unauthorized"),
            _ => answer(asked, json!([stateful_set(1)]), json!([])),
        }
    });
    wait(&client, 0, 600, CancellationToken::new()).await.0.unwrap();

    let (client, _) = scripted(|_| refusal(401, "Unauthorized", "Unauthorized"));
    let before = Instant::now();
    let error = wait(&client, 0, 600, CancellationToken::new()).await.0.unwrap_err();
    assert_eq!(exit_code_of(&error), 3);
    assert!(chain_of(&error)[0].ends_with(NOT_ACCEPTED), "{:?}", chain_of(&error));
    let took = before.elapsed();
    assert!((NOT_ACCEPTED_FOR..NOT_ACCEPTED_FOR + READ_AGAIN + SETTLE).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_allowed_before_ends_it_only_when_it_is_forbidden_for_good() {
    let forbidden = || refusal(403, "Forbidden", "pods is forbidden: User \"jane\" cannot list resource \"pods\"");
    let ended = async |from: usize, until: usize| {
        let mut lists = 0;
        let (client, _) = scripted(move |asked| {
            lists += usize::from(!asked.path.contains("watch=true"));
            match lists {
                list if (from..until).contains(&list) => forbidden(),
                list => answer(asked, json!([stateful_set(i32::from(list >= until))]), json!([])),
            }
        });
        let before = Instant::now();
        let result = wait(&client, 0, 600, CancellationToken::new()).await.0;
        (result.map_err(|error| exit_code_of(&error)), before.elapsed())
    };
    assert_eq!(ended(20, 30).await.0, Ok(()));
    let (result, took) = ended(20, usize::MAX).await;
    assert_eq!(result, Err(5));
    assert!(took >= FORBIDDEN_FOR, "{took:?}");
    // Who may not read from the beginning is told at once.
    let (result, took) = ended(0, usize::MAX).await;
    assert_eq!(result, Err(5));
    assert!(took < FORBIDDEN_FOR / 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_cannot_outlast_the_deadline() {
    let (client, _) = scripted(|_| Answer::Silence);
    let before = Instant::now();
    let (result, _) = wait(&client, 0, 20, CancellationToken::new()).await;
    assert_eq!(exit_code_of(&result.unwrap_err()), 4);
    assert_eq!(before.elapsed().as_secs(), 20);
    // Also where it showed something before.
    let mut rounds = 0;
    let (client, _) = scripted(move |asked| {
        rounds += usize::from(asked.path.contains("/pods") && !asked.path.contains("watch"));
        match rounds {
            0 | 1 => answer(asked, json!([stateful_set(0)]), json!([pod("ContainerCreating")])),
            _ => refusal(500, "InternalError", "etcdserver: no leader"),
        }
    });
    let (result, _) = wait(&client, 0, 60, CancellationToken::new()).await;
    let chain = chain_of(&result.unwrap_err());
    assert!(chain[0].contains("cannot see") && chain[0].contains("ContainerCreating"), "{chain:?}");
    assert!(chain[1].contains("reports a fault"), "{chain:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_says_what_it_waited_for() {
    let cancel = CancellationToken::new();
    let (client, _) = scripted(|asked| answer(asked, json!([stateful_set(0)]), json!([pod("ContainerCreating")])));
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        later.cancel();
    });
    let (result, _) = wait(&client, 0, 600, cancel).await;
    let error = result.unwrap_err();
    assert_eq!(exit_code_of(&error), 130);
    assert!(error.to_string().contains("ContainerCreating"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_before_the_next_regular_read() {
    let mut sets = 0;
    let (client, _) = scripted(move |asked| {
        if asked.path.contains("/pods") && asked.path.contains("watch=true") {
            return Answer::Bytes(
                "{\"type\":\"ADDED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a-0\",\"resourceVersion\":\"2\"}}}\n",
            );
        }
        sets += usize::from(asked.path.contains("/statefulsets") && !asked.path.contains("watch"));
        answer(asked, json!([stateful_set(i32::from(sets > 1))]), json!([]))
    });
    let before = Instant::now();
    wait(&client, 0, 600, CancellationToken::new()).await.0.unwrap();
    assert!(before.elapsed() < READ_AGAIN, "{:?}", before.elapsed());
}

#[test]
fn each_cause_has_its_hint() {
    let cause = |reason: &str, message: &str| Cause {
        object: ObjectRef::namespaced("v1", "Pod", "m", "a-0"),
        reason: reason.to_owned(),
        message: message.to_owned(),
        permanent: false,
    };
    assert!(hint(&cause("StorageClassNotFound", "")).contains("storage.class"));
    assert!(hint(&cause("CrashLoopBackOff", "")).contains("kubectl logs -n m a-0"));
    assert!(hint(&cause("CrashLoopBackOff", "it ends with code 137 (OOMKilled)")).contains("memory limit"));
    assert!(hint(&cause("FailedCreate", "exceeded quota: x")).contains("resourcequota"));
    assert!(hint(&cause("Unschedulable", "")).contains("kubectl describe -n m pod/a-0"));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_gives_up_is_told_with_what_its_pod_said() {
    let pod_of_job = || {
        let mut pod = pod("CrashLoopBackOff");
        pod["metadata"]["ownerReferences"][0]["uid"] = json!("job");
        pod
    };
    let mut round = 0;
    let (client, _) = scripted(move |asked| {
        let path = asked.path.split('?').next().unwrap();
        let is_list = !asked.path.contains("watch=true");
        round += usize::from(path.ends_with("/jobs") && is_list);
        let condition = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
        let status = if round < 2 { json!({}) } else { json!({"conditions": condition}) };
        match path.ends_with("/jobs") && is_list {
            true => list(json!([{"metadata": {"name": "a", "namespace": "m", "uid": "job"},
                "spec": {"template": {}}, "status": status}])),
            false => answer(asked, json!([]), if round < 2 { json!([pod_of_job()]) } else { json!([]) }),
        }
    });
    let events: Events = Arc::new(Recorder::default());
    let changes = Changes::watch(&client, ["m"]);
    let options = WaitOptions {
        step: "release a".to_owned(),
        deadline: Instant::now() + Duration::from_secs(600),
        fail_after: Duration::from_secs(60),
        cancel: CancellationToken::new(),
    };
    let job = ObjectRef::namespaced("batch/v1", "Job", "m", "a");
    let error = wait_until_ready(&client, &[job], &changes, &options, &events).await.unwrap_err();
    let chain = chain_of(&error).join(": ");
    assert!(
        chain.contains("BackoffLimitExceeded") && chain.contains("before that `Pod m/a-0`: CrashLoopBackOff"),
        "{chain}"
    );
}

#[test]
fn a_hook_is_known_by_the_release_it_belongs_to() {
    let job = |name: &str, labels: Value, annotations: Value| -> ObjectMeta {
        serde_json::from_value(json!({"name": name, "labels": labels, "annotations": annotations})).unwrap()
    };
    let hook = json!({"helm.sh/hook": "pre-install"});
    for (job, expected) in [
        (job("loki-migrate", json!({}), hook.clone()), true),
        (job("migrate", json!({"app.kubernetes.io/instance": "loki"}), hook.clone()), true),
        (job("migrate", json!({"release": "loki"}), hook.clone()), true),
        (job("migrate", json!({"release": "other"}), hook), false),
        (job("loki-migrate", json!({"release": "loki"}), json!({})), false),
    ] {
        assert_eq!(is_hook_of(&job, "loki"), expected, "{job:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_ends_the_wait_for_helm_and_one_that_is_done_does_not() {
    let job = |condition: Value| {
        json!({"metadata": {"name": "a-hook", "namespace": "m", "uid": "job", "annotations": {"helm.sh/hook": "pre-install"}},
            "spec": {"template": {}}, "status": {"conditions": [condition]}})
    };
    for (condition, ends) in [
        (json!({"type": "Complete", "status": "True"}), false),
        (json!({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}), true),
    ] {
        let (client, _) = scripted(move |asked| match asked.path.split('?').next().unwrap().ends_with("/jobs") {
            true if !asked.path.contains("watch=true") => list(json!([job(condition.clone())])),
            _ => answer(asked, json!([]), json!([])),
        });
        let recorder = Arc::new(Recorder::default());
        let events: Events = recorder.clone();
        let changes = Changes::watch(&client, ["m"]);
        let options = WaitOptions {
            step: "release a".to_owned(),
            deadline: Instant::now() + Duration::from_secs(600),
            fail_after: Duration::ZERO,
            cancel: CancellationToken::new(),
        };
        let following = follow_hooks(&client, ("a", "m"), &changes, &options, &events);
        let ended = tokio::time::timeout(Duration::from_secs(30), following).await;
        assert_eq!(ended.is_ok(), ends);
        if let Ok(ended) = ended {
            let chain = chain_of(&ended.unwrap_err());
            assert!(chain[0].contains("`Job m/a-hook`") && chain[0].contains("BackoffLimitExceeded"), "{chain:?}");
        }
    }
}
