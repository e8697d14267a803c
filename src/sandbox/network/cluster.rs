//! Follows the objects that simulated pages are made from, from the first time one is asked for.

use super::watch::follow;
use super::{Shared, simulated};
use crate::sandbox::stand_in::cluster::{Cluster, platform_service};
use anyhow::{Result, anyhow};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, ResourceQuota};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::runtime::reflector::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a page may wait for the first lists.
const DEADLINE: Duration = Duration::from_secs(5);

/// Defines the stores, one a kind, under the names that [`Cluster`] gives them.
macro_rules! stores {
    ($($name:ident: $kind:ty),* $(,)?) => {
        /// What is known of each kind.
        pub(super) struct Stores { $($name: Store<$kind>),* }

        impl Stores {
            /// Stores that follow what `client` sees while the stream is read.
            fn follow(client: &Client) -> (Self, impl Stream<Item = ()> + Send + 'static) {
                $(let $name = follow::<$kind>(client);)*
                let changes = stream::select_all([$($name.1.boxed()),*]);
                (Stores { $($name: $name.0),* }, changes)
            }

            /// Waits until each has been listed once.
            async fn listed(&self) -> Result<()> {
                $(self.$name.wait_until_ready().await.map_err(|_| anyhow!("the sandbox ends"))?;)*
                Ok(())
            }

            fn state(&self) -> Cluster {
                Cluster { $($name: self.$name.state(),)* ..Cluster::default() }
            }
        }
    };
}

stores! {
    nodes: Node,
    namespaces: Namespace,
    deployments: Deployment,
    replica_sets: ReplicaSet,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    jobs: Job,
    claims: PersistentVolumeClaim,
    volumes: PersistentVolume,
    quotas: ResourceQuota,
    autoscalers: HorizontalPodAutoscaler,
    budgets: PodDisruptionBudget,
    ingresses: Ingress,
}

/// The objects as they are now.
///
/// # Errors
/// When the API server has not listed them in time.
pub(super) async fn snapshot(shared: &Shared) -> Result<Cluster> {
    let client = shared.client.get().ok_or_else(|| anyhow!("the sandbox is starting"))?;
    let stores = shared.stores.get_or_init(|| {
        let (stores, changes) = Stores::follow(client);
        let stop = shared.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = changes.for_each(|()| std::future::ready(())) => {}
            }
        });
        stores
    });
    let listed = tokio::time::timeout(DEADLINE, stores.listed()).await;
    listed.map_err(|_| anyhow!("the API server does not list its objects in time"))??;
    let namespace = &shared.layout.namespace;
    let pods = shared.pods();
    let now = simulated::now();
    let (mut down, mut usage) = (BTreeSet::new(), BTreeMap::new());
    for pod in pods.iter().filter(|pod| pod.metadata.namespace.as_ref() == Some(namespace)) {
        let (Some(service), Some(name)) = (platform_service(pod), pod.metadata.name.as_deref()) else { continue };
        let key = (namespace.clone(), name.to_owned());
        if shared.simulator.refuses(service, name, now) {
            down.insert(key.clone());
        }
        usage.extend(shared.simulator.usage(service, name, now).map(|used| (key, used)));
    }
    Ok(Cluster { pods, down, usage, ..stores.state() })
}
