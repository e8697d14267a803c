//! Keeps the directory up to date from the API server.

use super::Shared;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use std::sync::Arc;
use std::time::Duration;

/// How long changes are gathered before the directory is made anew.
const GATHER: Duration = Duration::from_millis(20);

/// Watches pods, Services and EndpointSlices of all namespaces until the network stops.
pub(super) async fn keep(shared: Arc<Shared>, client: Client) {
    let (pods, pod_changes) = follow::<Pod>(&client);
    let (services, service_changes) = follow::<Service>(&client);
    let (slices, slice_changes) = follow::<EndpointSlice>(&client);
    let mut changes = stream::select_all([pod_changes.boxed(), service_changes.boxed(), slice_changes.boxed()]);
    while changes.next().await.is_some() {
        let gathered = tokio::time::sleep(GATHER);
        tokio::pin!(gathered);
        loop {
            tokio::select! {
                () = &mut gathered => break,
                change = changes.next() => if change.is_none() { break },
            }
        }
        shared.know(&pods.state(), &services.state(), &slices.state());
    }
}

/// A store of all objects of a kind, and a stream that ticks when it has changed. A broken watch is
/// started again with growing pauses; meanwhile the store holds what was last known.
pub(super) fn follow<K>(client: &Client) -> (Store<K>, impl Stream<Item = ()> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store::<K>();
    let changes = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .filter_map(|event| async move {
            // The store takes a new list over only when it is complete.
            let shown =
                matches!(event, Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone));
            shown.then_some(())
        });
    (store, changes)
}
