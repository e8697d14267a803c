//! Carries out one step.

use super::definition::{is_definition, until_served};
use super::{Worker, certificate, release};
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::cluster::uninstall::{delete, until_gone};
use crate::cluster::wait::{WaitOptions, wait_until_ready};
use crate::error::{Failure, Kind};
use crate::event::{Cause, Event};
use crate::object::{MANAGED_BY_LABEL, Manifest, ObjectRef};
use crate::plan::model::FIELD_MANAGER;
use crate::plan::{Action, Step, Target};
use crate::ready::chain::{is_awaited, leads_to_services};
use crate::render::bundle::GeneratedSecret;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::json;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How long a webhook that does not answer is waited for.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two tries.
const WEBHOOK_PAUSE: Duration = Duration::from_secs(1);
/// Length of a generated password: 24 of 62 characters are 142 bits.
const PASSWORD_LENGTH: usize = 24;
const PASSWORD_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Carries out `step`; what it came to, in a few words. Its `slot` is given back once there is nothing to do but
/// wait.
pub(super) async fn carry_out(step: &Step, worker: &Worker, slot: OwnedSemaphorePermit) -> Result<String> {
    match &step.target {
        Target::Release { release } => release::deploy(step, release, worker, slot).await,
        Target::UnwantedRelease { namespace, name } => {
            release::uninstall(name, namespace, worker).await?;
            Ok("uninstalled".to_owned())
        }
        Target::UnwantedObject { reference, uid } => {
            let client = &worker.cluster.client;
            delete(client, reference, Some(uid)).await?;
            drop(slot);
            // What a controller takes away must be gone before its release is, which is after it.
            until_gone(client, reference, uid, worker.deadline, &worker.stop_waiting).await?;
            Ok("deleted".to_owned())
        }
        Target::Namespace { manifest } | Target::Object { manifest } => {
            let summary = write(&step.id, manifest, step.action, worker).await?;
            drop(slot);
            if is_definition(&manifest.reference()) {
                until_served(step, manifest, worker).await?;
            } else if is_awaited(manifest) && !leads_to_services(&manifest.reference()) {
                // What leads to a Service of a release would be waited for before that release.
                until_ready(step, &[manifest.reference()], worker).await?;
            }
            Ok(summary)
        }
        Target::GeneratedSecret { secret } => generate(secret, worker).await,
        Target::WebhookCertificate { certificate } => certificate::make_secret(certificate, step.action, worker).await,
        Target::WebhookAuthority { certificate, configuration } => {
            certificate::tell_authority(certificate, configuration, worker).await
        }
    }
}

/// Server-side apply. Forced: the objects are ours, and a field that somebody else set in them is
/// drift that the plan showed.
///
/// A webhook of a release that has just become ready may not answer at once: its Service is not routed
/// yet, or its certificate not read. That is waited for, within [`WEBHOOK_PATIENCE`].
async fn write(step: &str, manifest: &Manifest, action: Action, worker: &Worker) -> Result<String> {
    let reference = manifest.reference();
    let api = objects::api(&worker.cluster.client, &reference);
    // Strict: a field that the server does not know is a mistake and not to be dropped in silence.
    let parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
    let patch = Patch::Apply(&manifest.0);
    let patience = (Instant::now() + WEBHOOK_PATIENCE).min(worker.deadline);
    let mut told = false;
    let what = format!("apply `{reference}`");
    let written = loop {
        let answer = ask(&what, || async {
            // A definition can be a megabyte, which need not come back.
            match api.patch_metadata(&reference.name, &parameters, &patch).await {
                Err(kube::Error::Api(status)) if is_webhook_away(&status) && Instant::now() < patience => {
                    Ok(Err(status))
                }
                answer => answer.map(Ok),
            }
        });
        let status = match answer.await? {
            Ok(written) => break written,
            Err(status) => status,
        };
        if !std::mem::replace(&mut told, true) {
            let cause = Cause {
                object: reference.clone(),
                reason: "WebhookAway".to_owned(),
                message: status.message.clone(),
                permanent: false,
            };
            worker.events.emit(Event::StepWaiting { step: step.to_owned(), cause });
        }
        tokio::select! {
            () = worker.stop_waiting.cancelled() => {
                let message = format!("stopped waiting for the webhook that judges `{reference}`");
                return Err(Failure::new(Kind::Interrupted, message).into());
            }
            () = tokio::time::sleep(WEBHOOK_PAUSE) => {}
        }
    };
    if written.metadata.deletion_timestamp.is_some() {
        return Err(Failure::new(Kind::Refused, format!("`{reference}` is being deleted"))
            .hint("wait until it is gone, then run again")
            .into());
    }
    Ok(if action == Action::Create { "created" } else { "updated" }.to_owned())
}

/// Whether a refusal says that a webhook could not be asked.
fn is_webhook_away(status: &Status) -> bool {
    status.message.contains("failed calling webhook")
}

fn secret_reference(secret: &GeneratedSecret) -> ObjectRef {
    ObjectRef::namespaced("v1", "Secret", &secret.namespace, &secret.name)
}

/// Makes the Secret where there is none. One that is there is kept, whatever it holds.
async fn generate(secret: &GeneratedSecret, worker: &Worker) -> Result<String> {
    let mut content = secret.fixed.clone();
    for key in &secret.generated {
        content.insert(key.clone(), random_password()?);
    }
    let object: Secret = serde_json::from_value(json!({
        "metadata": {"name": secret.name, "namespace": secret.namespace, "labels": {MANAGED_BY_LABEL: FIELD_MANAGER}},
        "stringData": content,
    }))
    .context("the generated Secret is no Secret")?;
    let api: Api<Secret> = Api::namespaced(worker.cluster.client.clone(), &secret.namespace);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let made = ask(&format!("create `{}`", secret_reference(secret)), || async {
        match api.create(&parameters, &object).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await?;
    Ok(if made { "generated" } else { "kept" }.to_owned())
}

/// A random password of letters and digits, from the random numbers of the operating system.
fn random_password() -> Result<String> {
    // The largest multiple of the alphabet's length that fits a byte: bytes above are drawn again,
    // or the first letters would come more often.
    let limit = 256 - 256 % PASSWORD_ALPHABET.len();
    let mut password = String::with_capacity(PASSWORD_LENGTH);
    let mut bytes = [0_u8; 64];
    while password.len() < PASSWORD_LENGTH {
        OsRng.try_fill_bytes(&mut bytes).context("the operating system gives no random numbers")?;
        let letters = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        let letters = letters.filter_map(|byte| PASSWORD_ALPHABET.get(byte % PASSWORD_ALPHABET.len()));
        password.extend(letters.take(PASSWORD_LENGTH - password.len()).map(|byte| char::from(*byte)));
    }
    Ok(password)
}

pub(super) fn wait_options(step: &Step, worker: &Worker) -> WaitOptions {
    WaitOptions {
        step: step.id.clone(),
        deadline: worker.deadline,
        fail_after: worker.fail_after,
        cancel: worker.stop_waiting.clone(),
    }
}

pub(super) async fn until_ready(step: &Step, objects: &[ObjectRef], worker: &Worker) -> Result<()> {
    let options = wait_options(step, worker);
    wait_until_ready(&worker.cluster.client, objects, &worker.changes, &options, &worker.events).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_plain_and_never_the_same() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert_eq!(one.len(), PASSWORD_LENGTH);
        assert!(one.bytes().all(|byte| PASSWORD_ALPHABET.contains(&byte)), "{one}");
        assert_ne!(one, other);
    }
}
