//! Tells when something in a namespace changed, by watches. What changed is read again by whoever
//! is told: a watch only wakes, so one that is lost or lags costs time and never the truth. Many are told at once, and
//! share what is read.

use crate::cluster::objects;
use crate::cluster::shared::Shared;
use crate::cluster::snapshot::snapshot;
use crate::object::ObjectRef;
use crate::ready::Snapshot;
use anyhow::Result;
use futures::StreamExt;
use kube::Client;
use kube::api::WatchParams;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The kinds whose changes can change a verdict.
const KINDS: &[(&str, &str)] = &[
    ("v1", "Pod"),
    ("v1", "Event"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    // Where they are not served, these two are asked for now and then.
    ("monitoring.coreos.com/v1", "Prometheus"),
    ("monitoring.coreos.com/v1", "Alertmanager"),
];
/// The shortest time between two reads of a namespace, however many ask: each is nine lists, without a cache.
const BETWEEN_READS: Duration = Duration::from_millis(250);
/// The first pause before a lost watch is opened again; doubled each time it fails at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Watches that run until this is dropped.
pub struct Changes {
    told: watch::Receiver<u64>,
    _watches: JoinSet<()>,
    client: Client,
    reads: Shared<Snapshot>,
}

impl Changes {
    /// Starts to watch `namespaces`.
    pub fn watch<'a>(client: &Client, namespaces: impl IntoIterator<Item = &'a str>) -> Self {
        let (tell, told) = watch::channel(0);
        let mut watches = JoinSet::new();
        for namespace in namespaces {
            for (api_version, kind) in KINDS {
                let any = ObjectRef::namespaced(api_version, kind, namespace, "");
                watches.spawn(watch_kind(client.clone(), any, tell.clone()));
            }
        }
        Changes { told, _watches: watches, client: client.clone(), reads: Shared::every(BETWEEN_READS) }
    }

    /// What `namespace` holds now or a little later.
    ///
    /// # Errors
    /// As [`snapshot()`].
    pub async fn read(&self, namespace: &str) -> Result<Snapshot> {
        self.reads.get(namespace, async || snapshot(&self.client, namespace).await).await
    }

    /// One listener, told of every change from now on.
    pub fn listen(&self) -> watch::Receiver<u64> {
        let mut told = self.told.clone();
        told.mark_unchanged();
        told
    }
}

async fn watch_kind(client: Client, any: ObjectRef, tell: watch::Sender<u64>) {
    let api = objects::api(&client, &any);
    let parameters = WatchParams::default();
    let mut pause = FIRST_PAUSE;
    loop {
        // From version 0: whatever the server has at hand, then every change.
        if let Ok(stream) = api.watch_metadata(&parameters, "0").await {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(_)) = stream.next().await {
                tell.send_modify(|count| *count = count.wrapping_add(1));
                pause = FIRST_PAUSE;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
