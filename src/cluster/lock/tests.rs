use super::*;
use crate::cluster::script::{Answer, Asked, refusal, scripted};
use crate::error::{chain_of, exit_code_of, failure_of};
use crate::event::Recorder;
use crate::process::ProcessRef;
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// The Lease as a server keeps it: writes are checked against the version they were read at.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<(u64, Option<Value>)>>);

impl Store {
    fn put(&self, lease: &Lease) {
        let mut store = self.0.lock().unwrap();
        store.0 += 1;
        let mut value = serde_json::to_value(lease).unwrap();
        value["metadata"]["resourceVersion"] = json!(store.0.to_string());
        value["metadata"]["uid"] = json!("u");
        store.1 = Some(value);
    }

    fn holder(&self) -> Option<String> {
        let store = self.0.lock().unwrap();
        Some(store.1.as_ref()?["spec"]["holderIdentity"].as_str()?.to_owned())
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let found = self.0.lock().unwrap().1.clone();
        let not_found = || refusal(404, "NotFound", "leases.coordination.k8s.io \"drivemaster-mon\" not found");
        match asked.method {
            Method::GET => found.map_or_else(not_found, |lease| Answer::Json(200, lease)),
            Method::DELETE => {
                let version = &asked.body["preconditions"]["resourceVersion"];
                match found {
                    Some(lease) if lease["metadata"]["resourceVersion"] == *version => {
                        self.0.lock().unwrap().1 = None;
                        Answer::Json(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
                    }
                    Some(_) => refusal(409, "Conflict", "the precondition does not hold"),
                    None => not_found(),
                }
            }
            _ => {
                let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
                if found.as_ref().map(version).unwrap_or_default() != version(&asked.body) {
                    return refusal(409, "Conflict", "the object has been modified");
                }
                self.put(&serde_json::from_value(asked.body.clone()).unwrap());
                Answer::Json(200, self.0.lock().unwrap().1.clone().unwrap())
            }
        }
    }
}

fn context(store: &Store, wait: Option<Duration>) -> (LockContext, Arc<Recorder>) {
    let server = store.clone();
    let (client, _) = scripted(move |asked| server.answer(asked));
    let recorder = Arc::new(Recorder::default());
    let context = LockContext {
        cluster: Cluster::new(client, "c", "https://s", "v1.37.2"),
        namespace: "m".to_owned(),
        events: recorder.clone(),
        wait_until: wait.map(|wait| Instant::now() + wait),
        cancel: CancellationToken::new(),
    };
    (context, recorder)
}

/// Somebody on another machine, who renewed a moment ago.
fn other() -> Holder {
    Holder {
        name: "alice@elsewhere, process 7".to_owned(),
        machine: "elsewhere".to_owned(),
        process: Some(ProcessRef { pid: 7, start: 7 }),
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_taken_renewed_and_given_back() {
    let store = Store::default();
    let (context, _) = context(&store, None);
    let lock = lock(context).await.unwrap();
    assert_eq!(store.holder(), Some(Holder::own().name));
    let first = store.0.lock().unwrap().0;
    tokio::time::sleep(RENEWED_EVERY * 4).await;
    assert!(store.0.lock().unwrap().0 >= first + 3, "it was renewed");
    assert!(!lock.lost().is_cancelled());
    lock.release().await;
    assert_eq!(store.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn one_who_holds_it_is_named() {
    let store = Store::default();
    store.put(&other().lease(None, DURATION, Timestamp::now()));
    let (context, _) = context(&store, None);
    let error = lock(context).await.unwrap_err();
    assert_eq!(exit_code_of(&error), 5);
    let told = chain_of(&error).join(": ");
    assert!(told.contains("`alice@elsewhere, process 7`, begun 0 s ago"), "{told}");
    assert!(failure_of(&error).unwrap().hint.as_deref().unwrap().contains("--wait-lock"));
    assert_eq!(store.holder(), Some(other().name));
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_gets_it_once_it_is_given_back() {
    let store = Store::default();
    store.put(&other().lease(None, DURATION, Timestamp::now()));
    let (context, recorder) = context(&store, Some(Duration::from_secs(600)));
    let waiting = tokio::spawn(lock(context));
    // The holder renews, for longer than a Lease lasts.
    for _ in 0..12 {
        tokio::time::sleep(RENEWED_EVERY).await;
        store.put(&other().lease(None, DURATION, Timestamp::now()));
    }
    assert!(!waiting.is_finished());
    store.0.lock().unwrap().1 = None;
    let lock = waiting.await.unwrap().unwrap();
    assert_eq!(store.holder(), Some(Holder::own().name));
    let told = recorder.events().iter().filter(|event| matches!(event, Event::StepWaiting { .. })).count();
    assert_eq!(told, 1);
    lock.release().await;
}

#[tokio::test(start_paused = true)]
async fn one_who_no_longer_renews_loses_it_by_our_clock() {
    let store = Store::default();
    // A clock that is an hour behind: it looks stale, and is not.
    let behind = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_hours(1);
    store.put(&other().lease(None, DURATION, behind));
    let (context, _) = context(&store, None);
    let begun = Instant::now();
    let lock = lock(context).await.unwrap();
    assert!(begun.elapsed() > DURATION, "{:?}", begun.elapsed());
    assert_eq!(store.holder(), Some(Holder::own().name));
    lock.release().await;
}

#[tokio::test(start_paused = true)]
async fn one_whose_clock_is_behind_and_who_renews_is_named_and_not_waited_for() {
    let renewed = || {
        let behind = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_hours(1);
        other().lease(None, DURATION, behind)
    };
    for wait in [None, Some(RENEWED_EVERY * 4)] {
        let store = Store::default();
        store.put(&renewed());
        let (context, _) = context(&store, wait);
        let begun = Instant::now();
        let waiting = tokio::spawn(lock(context));
        while !waiting.is_finished() {
            assert!(begun.elapsed() < DURATION, "{wait:?}");
            tokio::time::sleep(RENEWED_EVERY).await;
            store.put(&renewed());
        }
        assert_eq!(exit_code_of(&waiting.await.unwrap().unwrap_err()), 5);
        assert!(begun.elapsed() >= wait.unwrap_or_default());
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_a_late_renewal_changes_is_given_back() {
    let store = Store::default();
    // A renewal whose answer got lost is carried out after the Lease was read to be deleted.
    let (server, mut late) = (store.clone(), None);
    let (client, _) = scripted(move |asked| match asked.method {
        Method::PUT => {
            late = serde_json::from_value::<Lease>(asked.body.clone()).ok();
            Answer::Silence
        }
        Method::GET => {
            let answer = server.answer(asked);
            late.take().iter().for_each(|lease| server.put(lease));
            answer
        }
        _ => server.answer(asked),
    });
    let (mut context, _) = context(&store, None);
    context.cluster = Cluster::new(client, "c", "https://s", "v1.37.2");
    let lock = lock(context).await.unwrap();
    tokio::time::sleep(RENEWED_EVERY + Duration::from_millis(100)).await;
    lock.release().await;
    assert_eq!(store.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_of_this_machine_is_not_waited_for() {
    let store = Store::default();
    let own = Holder::own();
    let gone = own.process.map(|process| ProcessRef { start: process.start + 1, ..process });
    let dead = Holder { name: "a@x, process 1".to_owned(), process: gone, ..own.clone() };
    store.put(&dead.lease(None, DURATION, Timestamp::now()));
    let (context, _) = context(&store, None);
    let begun = Instant::now();
    let lock = lock(context).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    lock.release().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_somebody_took_is_lost_and_left_to_them() {
    let store = Store::default();
    let (context, _) = context(&store, None);
    let cancel = context.cancel.clone();
    let lock = lock(context).await.unwrap();
    store.put(&other().lease(None, DURATION, Timestamp::now()));
    lock.lost().cancelled().await;
    assert!(!cancel.is_cancelled());
    lock.release().await;
    assert_eq!(store.holder(), Some(other().name));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_left_stands_and_is_not_renewed() {
    let store = Store::default();
    let (context, _) = context(&store, None);
    lock(context).await.unwrap().leave();
    let left = store.0.lock().unwrap().clone();
    tokio::time::sleep(DURATION).await;
    assert_eq!(*store.0.lock().unwrap(), left);
    assert_eq!(store.holder(), Some(Holder::own().name));
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_renewed_is_lost_with_the_reason() {
    let store = Store::default();
    let (server, mut written) = (store.clone(), 0);
    let (client, _) = scripted(move |asked| {
        written += usize::from(asked.method != Method::GET);
        if written > 2 { refusal(401, "Unauthorized", "Unauthorized") } else { server.answer(asked) }
    });
    let (mut context, _) = context(&store, None);
    context.cluster = Cluster::new(client, "c", "https://s", "v1.37.2");
    let lock = lock(context).await.unwrap();
    assert!(lock.trouble().is_none());
    let begun = Instant::now();
    lock.lost().cancelled().await;
    assert_eq!(begun.elapsed(), RENEWED_EVERY + GOES_ON);
    assert!(GOES_ON + crate::helm::run::GRACE < DURATION, "helm is gone before the next one begins");
    let told = lock.trouble().unwrap().to_string();
    assert!(told.contains("renew the lock") && told.contains("credentials"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_for_a_while_does_not_cost_it() {
    let store = Store::default();
    let away = Instant::now() + RENEWED_EVERY..Instant::now() + GOES_ON - RENEWED_EVERY;
    let server = store.clone();
    let (client, _) =
        scripted(move |asked| if away.contains(&Instant::now()) { Answer::Silence } else { server.answer(asked) });
    let (mut context, _) = context(&store, None);
    context.cluster = Cluster::new(client, "c", "https://s", "v1.37.2");
    let lock = lock(context).await.unwrap();
    tokio::time::sleep(GOES_ON * 2).await;
    assert!(!lock.lost().is_cancelled());
    lock.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_away_is_told() {
    let (client, _) = scripted(|asked| match asked.method {
        Method::GET => refusal(404, "NotFound", "leases.coordination.k8s.io \"drivemaster-mon\" not found"),
        _ => refusal(403, "Forbidden", "unable to create new content in namespace m because it is being terminated"),
    });
    let (mut context, _) = context(&Store::default(), None);
    context.cluster = Cluster::new(client, "c", "https://s", "v1.37.2");
    let told = chain_of(&lock(context).await.unwrap_err()).join(": ");
    assert!(told.contains("take the lock") && told.contains("terminated"), "{told}");
}
