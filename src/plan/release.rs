//! The step of a release: whether helm is run for it, why, and after what. Pure.

use super::compare::secret_reference;
use super::drift::{Drifted, Owner, drift};
use super::model::{Action, Observed, ObservedRelease, Plan, Reason, Step, StoredRelease, Target};
use crate::object::{Manifest, ObjectRef};
use crate::render::bundle::{Bundle, Release, WebhookCertificate};
use crate::render::digest::{chart_digest, values_digest};

/// The API group of roles and their bindings.
const RIGHTS: &str = "rbac.authorization.k8s.io/";

/// The id of the step of a release.
pub fn release_id(name: &str) -> String {
    format!("release {name}")
}

pub(super) fn plan_release(plan: &mut Plan, release: &Release, bundle: &Bundle, observed: &Observed) {
    let id = release_id(&release.name);
    let place = (release.namespace.clone(), release.name.clone());
    let seen = observed.releases.get(&place);
    // What a helm that failed wrote is nobody's drift, and is written anew.
    let stands = seen.is_some_and(|seen| seen.status == "deployed");
    let stored = observed.stored.get(&place).filter(|_| stands);
    let drifted = stored.map(|stored| drift_of(stored, observed)).unwrap_or_default();
    let judged = judge_release(release, seen, plan.api_digests.get(&release.name));
    let Some((action, reason, mut changes)) =
        judged.or_else(|| (!drifted.is_empty()).then_some((Action::Update, Reason::Drift, Vec::new())))
    else {
        plan.unchanged.push(id);
        return;
    };
    // Whatever helm is run for, it puts that back.
    if !drifted.is_empty() {
        changes.extend(drifted.iter().flat_map(|one| one.lines(None)));
        plan.drift.insert(id.clone(), drifted);
    }
    // All of them: a chart may put objects elsewhere, as the RBAC of service discovery with the platform.
    let mut needs: Vec<String> = bundle.namespaces.iter().map(|namespace| namespace.reference().to_string()).collect();
    // Rights too, wherever: a program that starts without them is refused what it asks for first.
    let is_before = |reference: &ObjectRef| {
        reference.namespace.as_ref() == Some(&release.namespace) || reference.api_version.starts_with(RIGHTS)
    };
    needs.extend(
        bundle
            .generated_secrets
            .iter()
            .map(secret_reference)
            .chain(bundle.webhook_certificates.iter().map(WebhookCertificate::secret_reference))
            .chain(bundle.objects.iter().map(Manifest::reference))
            .filter(is_before)
            .map(|reference| reference.to_string()),
    );
    // A chart may make objects of any of the kinds; [`super::narrow`] leaves those that it does.
    needs.extend(bundle.crds.iter().map(|crd| crd.reference().to_string()));
    plan.steps.push(Step { id, action, reason, needs, changes, target: Target::Release { release: release.clone() } });
}

/// What is not as Helm wrote it.
fn drift_of(stored: &StoredRelease, observed: &Observed) -> Vec<Drifted> {
    let mut drifted = Vec::new();
    for manifest in &stored.manifest {
        let reference = manifest.reference();
        match observed.objects.get(&reference) {
            Some(live) => drifted.extend(drift(manifest, live, Owner::Helm)),
            None if observed.unread.contains(&reference) || ends_by_itself(manifest) => {}
            None => drifted.push(Drifted::gone(reference)),
        }
    }
    drifted
}

/// Whether the cluster takes the object away once its work is done.
fn ends_by_itself(manifest: &Manifest) -> bool {
    manifest.0["kind"] == "Job" && manifest.0.pointer("/spec/ttlSecondsAfterFinished").is_some()
}

pub(super) fn judge_release(
    release: &Release,
    seen: Option<&ObservedRelease>,
    api_digest: Option<&String>,
) -> Option<(Action, Reason, Vec<String>)> {
    let chart = format!("chart {} {}", release.chart.name, release.chart.version);
    let Some(seen) = seen else {
        return Some((Action::Create, Reason::New, vec![chart]));
    };
    let update = |reason: Reason, change: String| Some((Action::Update, reason, vec![change]));
    if seen.status != "deployed" {
        let status = seen.status.clone();
        // Whoever holds our lock knows that no helm of ours is at work any more; of others nobody knows.
        let ours = seen.chart_digest.is_some() && status.starts_with("pending-");
        let reason = match status.as_str() {
            "uninstalling" => Reason::Stuck { status },
            pending if pending.starts_with("pending-") && !ours => Reason::Stuck { status },
            _ => Reason::Repair { status },
        };
        return update(reason, format!("revision {} is `{}`", seen.revision, seen.status));
    }
    if seen.chart_digest.as_deref() != Some(&*chart_digest(&release.chart)) {
        return update(Reason::Version, format!("{chart} differs from revision {}", seen.revision));
    }
    if seen.values_digest.as_deref() != Some(&*values_digest(&release.values)) {
        return update(Reason::Values, format!("values differ from revision {}", seen.revision));
    }
    if seen.api_digest.as_ref() != api_digest {
        return update(
            Reason::ApiVersions,
            "the cluster has other versions that its chart asks for than before".to_owned(),
        );
    }
    None
}
