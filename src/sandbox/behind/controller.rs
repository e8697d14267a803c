//! Watches the pods that ask for a program and keeps each program and its pods' statuses in step.

use super::gather::{Sources, in_time};
use super::status::{Standing, patch_of};
use super::worker::Worker;
use super::{BehindOptions, Board, version};
use crate::sandbox::network::pod::{holder, is_running};
use crate::sandbox::network::program::{Program, program_of};
use anyhow::{Context, Result};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Event, EventSource, ObjectReference, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often everything is looked at without any change: programs end and become ready by themselves.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long changes are gathered: one deploy makes many.
const GATHER: Duration = Duration::from_millis(50);
/// Who speaks in the events.
const COMPONENT: &str = "drivemaster-mon-sandbox";

/// All pods, what their files come from, and ticks at each change of that or of a pod that asks for a program.
pub(super) fn follow(client: &Client) -> (Store<Pod>, Sources, impl Stream<Item = ()> + Send + 'static) {
    let (store, writer) = reflector::store::<Pod>();
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|pod| pod.metadata.managed_fields = None)
        .reflect(writer)
        .filter_map(|event| async move {
            let concerns = match &event {
                Ok(watcher::Event::Apply(pod) | watcher::Event::Delete(pod)) => program_of(pod).is_some(),
                other => matches!(other, Ok(watcher::Event::InitDone)),
            };
            concerns.then_some(())
        });
    let all = watcher::Config::default();
    let (config_maps, of_config_maps) = mirror::<ConfigMap>(client, all.clone());
    let (secrets, of_secrets) = mirror::<Secret>(client, all.clone().fields("type!=helm.sh/release.v1"));
    let (claims, of_claims) = mirror::<PersistentVolumeClaim>(client, all);
    let ticks = stream::select_all([pods.boxed(), of_config_maps.boxed(), of_secrets.boxed(), of_claims.boxed()]);
    (store, Sources { config_maps, secrets, claims }, ticks)
}

/// The objects of a kind, and a tick at each change of one.
fn mirror<K>(client: &Client, config: watcher::Config) -> (Store<K>, impl Stream<Item = ()> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store::<K>();
    let changes = watcher(Api::<K>::all(client.clone()), config)
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .map(drop);
    (store, changes)
}

/// Passes ticks on to `changed` until `stop`.
pub(super) async fn notify(ticks: impl Stream<Item = ()>, changed: watch::Sender<u64>, stop: CancellationToken) {
    let mut ticks = std::pin::pin!(ticks);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            tick = ticks.next() => if tick.is_none() { return },
        }
        changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Looks after `program` until `stop`, then ends it.
pub(super) async fn keep(
    program: Program,
    options: Arc<BehindOptions>,
    (pods, sources): (Store<Pod>, Sources),
    mut changed: watch::Receiver<u64>,
    board: Board,
    stop: CancellationToken,
) {
    let mut worker = Worker::new(program, options.clone(), sources);
    let mut told = Told::new();
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => break,
            outcome = look(program, &mut worker, &options, &pods, &mut told) => outcome,
        };
        board.problems.set(program, outcome.err());
        board.notes.set(program, worker.notes());
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            _ = changed.changed() => tokio::time::sleep(GATHER).await,
        }
        changed.mark_unchanged();
    }
    board.problems.set(program, worker.release().await.err());
}

/// One look at the pods that ask for `program`.
async fn look(
    program: Program,
    worker: &mut Worker,
    options: &BehindOptions,
    pods: &Store<Pod>,
    told: &mut Told,
) -> Result<()> {
    let pods = pods.state();
    told.retain(|uid, _| pods.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid)));
    let Some(holding) = holder(program, pods.iter().map(AsRef::as_ref)) else {
        return worker.release().await;
    };
    let others = pods.iter().filter(|pod| program_of(pod) == Some(program) && is_running(pod));
    for other in others.filter(|pod| !std::ptr::eq(pod.as_ref(), holding)) {
        let message = format!(
            "a sandbox has one {}, which stands behind pod {}/{}",
            program.title(),
            holding.namespace().unwrap_or_default(),
            holding.name_any()
        );
        tell(program, options, other, &Standing::Waiting { reason: "ProgramTaken", message }, 0, told).await?;
    }
    let (standing, restarts) = worker.tend(holding).await?;
    annotate(options, holding, worker.version()).await?;
    for note in worker.news() {
        make_event(options, holding, "Normal", "SandboxNote", &note.message).await?;
    }
    tell(program, options, holding, &standing, restarts, told).await
}

/// The reason and message that an event last told about a pod, by its UID.
type Told = BTreeMap<String, Option<(&'static str, String)>>;

/// Writes `standing` into the status of `pod`, and a reason why it is not ready into an event.
async fn tell(
    program: Program,
    options: &BehindOptions,
    pod: &Pod,
    standing: &Standing,
    restarts: i32,
    told: &mut Told,
) -> Result<()> {
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name_any();
    let told = told.entry(pod.uid().unwrap_or_default()).or_default();
    let container = program.container(pod).map_or(program.key(), |container| container.name.as_str());
    if let Some(patch) = patch_of(pod, container, standing, restarts, Timestamp::now()) {
        let api = Api::<Pod>::namespaced(options.client.clone(), &namespace);
        let parameters = PatchParams::default();
        let patched = in_time(api.patch_status(&name, &parameters, &Patch::Strategic(patch))).await;
        patched.with_context(|| format!("cannot write the status of pod `{namespace}/{name}`"))?;
    }
    // Between two crashes it starts; that is no news.
    if matches!(standing, Standing::Starting { .. }) {
        return Ok(());
    }
    let why = standing.why();
    if *told != why
        && let Some((reason, message)) = &why
    {
        // The word that the kubelet uses for a volume in its events.
        let reason = if message.starts_with("MountVolume.") { "FailedMount" } else { reason };
        make_event(options, pod, "Warning", reason, message).await?;
    }
    *told = why;
    Ok(())
}

/// Writes on `pod` which version really runs behind it, for whoever compares that with its image.
async fn annotate(options: &BehindOptions, pod: &Pod, version: Option<&str>) -> Result<()> {
    let Some(version) =
        version.filter(|version| pod.annotations().get(version::ANNOTATION).is_none_or(|written| written != version))
    else {
        return Ok(());
    };
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let api = Api::<Pod>::namespaced(options.client.clone(), &namespace);
    let patch = json!({ "metadata": { "annotations": { version::ANNOTATION: version } } });
    let patched = in_time(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await;
    patched.with_context(|| format!("cannot annotate pod `{namespace}/{name}`")).map(drop)
}

async fn make_event(options: &BehindOptions, pod: &Pod, kind: &str, reason: &str, message: &str) -> Result<()> {
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<Event>::namespaced(options.client.clone(), &namespace);
    let event = Event { type_: Some(kind.to_owned()), ..event_of(pod, reason, message, Timestamp::now()) };
    let made = in_time(api.create(&PostParams::default(), &event)).await;
    made.with_context(|| format!("cannot make an event of pod `{namespace}/{}`", pod.name_any())).map(drop)
}

fn event_of(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.", pod.name_any())),
            namespace: pod.namespace(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        ..Event::default()
    }
}
