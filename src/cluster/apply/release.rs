//! Carries out the step of a release: by helm, then by waiting.

use super::Worker;
use super::step::{until_ready, wait_options};
use crate::cluster::deployed::objects_of;
use crate::cluster::outage::Outage;
use crate::cluster::request::ask;
use crate::cluster::uninstall::delete;
use crate::cluster::wait::follow_hooks;
use crate::error::{Failure, Kind};
use crate::helm::Labels;
use crate::object::{Manifest, ObjectRef};
use crate::plan::model::CHART_DIGEST_LABEL;
use crate::plan::{Reason, Step};
use crate::ready::chain::{is_awaited, leads_to_services};
use crate::render::bundle::Release;
use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long the hooks are looked at once more when helm failed.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Installs or upgrades the release, then waits until its objects are ready.
pub(super) async fn deploy(
    step: &Step,
    release: &Release,
    worker: &Worker,
    slot: OwnedSemaphorePermit,
) -> Result<String> {
    if let Reason::Repair { status } = &step.reason
        && status.starts_with("pending-")
    {
        forget_pending(release, worker).await?;
    }
    let digest = worker.api_digests.get(&release.name).ok_or_else(|| {
        Failure::new(Kind::Internal, format!("the plan does not know what the chart of `{}` asks for", release.name))
    })?;
    let labels = Labels::of(release, digest);
    let mut outage = outage(worker);
    while let Err(error) = upgrade(step, release, &labels, worker).await {
        let lost = outage.outlast(&release.name, error).await?;
        // Helm could not write down that it failed.
        forget_pending(release, worker).await?;
        if outage.is_over() {
            return Err(lost);
        }
    }
    let manifest = objects_of(&worker.cluster.client, &release.namespace, &release.name).await?;
    drop(slot);
    let awaited: Vec<ObjectRef> =
        manifest.iter().filter(|object| is_awaited(object)).map(Manifest::reference).collect();
    until_ready(step, &awaited, worker).await?;
    let runs = |object: &&ObjectRef| !leads_to_services(object) && object.kind != "PersistentVolumeClaim";
    Ok(match awaited.iter().filter(runs).count() {
        0 => "deployed".to_owned(),
        1 => "1 workload ready".to_owned(),
        count => format!("{count} workloads ready"),
    })
}

/// Uninstalls the release `name`; one that is not there is fine.
pub(super) async fn uninstall(name: &str, namespace: &str, worker: &Worker) -> Result<()> {
    outage(worker).uninstall(&worker.helm, name, namespace, &worker.stop_helm).await
}

fn outage(worker: &Worker) -> Outage<'_> {
    Outage::new(&worker.cluster.client, &worker.events, worker.deadline, &worker.stop_waiting)
}

/// Lets helm install or upgrade the release; ends it where one of its hooks cannot get done.
async fn upgrade(step: &Step, release: &Release, labels: &Labels, worker: &Worker) -> Result<()> {
    let stop = worker.stop_helm.child_token();
    let helm = worker.helm.upgrade(release, labels, worker.deadline, &stop);
    if !has_hooks(release) {
        return helm.await;
    }
    let options = wait_options(step, worker);
    let place = (release.name.as_str(), release.namespace.as_str());
    let hooks = follow_hooks(&worker.cluster.client, place, &worker.changes, &options, &worker.events);
    tokio::pin!(helm, hooks);
    let is_cause = |_: &anyhow::Error| !worker.stop_waiting.is_cancelled();
    let failed = tokio::select! {
        biased;
        done = &mut helm => {
            let Err(said) = done else { return Ok(()) };
            // Helm may see a hook fail before we do, and does not know why.
            let last = tokio::time::timeout(LAST_LOOK, hooks).await;
            return Err(last.ok().and_then(Result::err).filter(is_cause).unwrap_or(said));
        }
        ended = &mut hooks => ended.err().filter(is_cause),
    };
    if failed.is_some() {
        stop.cancel();
    }
    // Never dropped at work: its release would stay `pending`.
    let done = helm.await;
    failed.map_or(done, Err)
}

/// Whether the chart has hooks; its values may still leave them out.
fn has_hooks(release: &Release) -> bool {
    const MARK: &[u8] = b"helm.sh/hook";
    release.chart.files.values().any(|content| content.windows(MARK.len()).any(|part| part == MARK))
}

/// Takes away the revision that a killed helm of ours left `pending-*`: helm would wait for it forever.
/// The revision before it is the newest then, and its number is given once.
async fn forget_pending(release: &Release, worker: &Worker) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(worker.cluster.client.clone(), &release.namespace);
    let pending = "pending-install,pending-upgrade,pending-rollback";
    let selector = format!("owner=helm,name={},status in ({pending}),{CHART_DIGEST_LABEL}", release.name);
    let parameters = ListParams::default().labels(&selector);
    let what = format!("list the revisions of the release `{}`", release.name);
    for revision in ask(&what, || api.list_metadata(&parameters)).await?.items {
        let Some(name) = revision.metadata.name else { continue };
        let reference = ObjectRef::namespaced("v1", "Secret", &release.namespace, &name);
        delete(&worker.cluster.client, &reference, revision.metadata.uid.as_deref()).await?;
    }
    Ok(())
}
