//! The certificates of admission webhooks: made in this process, kept in a Secret, told to the API server.

use super::Worker;
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::error::{Failure, Kind};
use crate::object::{MANAGED_BY_LABEL, ObjectRef};
use crate::plan::Action;
use crate::plan::certificate::{AUTHORITY_ANNOTATION, ENDS_ANNOTATION, webhooks_of};
use crate::plan::model::FIELD_MANAGER;
use crate::render::bundle::WebhookCertificate;
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kube::api::{Patch, PatchParams};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};

/// How long a certificate and its authority are good.
const YEARS: i64 = 10;

/// A certificate, its key and its authority; PEM. It is never printed, so it has no `Debug`.
struct Made {
    authority: String,
    certificate: String,
    key: String,
    ends: Timestamp,
}

/// Makes the certificate and writes its Secret.
pub(super) async fn make_secret(certificate: &WebhookCertificate, action: Action, worker: &Worker) -> Result<String> {
    let made = make(&certificate.dns_names(), Timestamp::now()).context("cannot make a certificate")?;
    let reference = certificate.secret_reference();
    let object = json!({
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "metadata": {
            "name": reference.name,
            "namespace": reference.namespace,
            "labels": { MANAGED_BY_LABEL: FIELD_MANAGER },
            "annotations": {
                AUTHORITY_ANNOTATION: BASE64_STANDARD.encode(&made.authority),
                ENDS_ANNOTATION: made.ends.to_string(),
            },
        },
        // As the chart of the operator mounts them.
        "data": {
            "ca": BASE64_STANDARD.encode(&made.authority),
            "cert": BASE64_STANDARD.encode(&made.certificate),
            "key": BASE64_STANDARD.encode(&made.key),
        },
    });
    patch(&reference, &object, worker).await?;
    Ok(if action == Action::Create { "generated" } else { "renewed" }.to_owned())
}

/// Puts the authority of the certificate's Secret into each webhook of `configuration` that its Service answers.
pub(super) async fn tell_authority(
    certificate: &WebhookCertificate,
    configuration: &ObjectRef,
    worker: &Worker,
) -> Result<String> {
    let client = &worker.cluster.client;
    let secret = certificate.secret_reference();
    let api = objects::api(client, &secret);
    let found = ask(&format!("read `{secret}`"), || api.get_metadata_opt(&secret.name)).await?;
    let authority = found
        .and_then(|found| found.metadata.annotations?.remove(AUTHORITY_ANNOTATION))
        .ok_or_else(|| Failure::new(Kind::Unhealthy, format!("`{secret}` has no authority")).hint("run again"))?;
    let api = objects::api(client, configuration);
    let Some(live) = ask(&format!("read `{configuration}`"), || api.get_opt(&configuration.name)).await? else {
        return Ok("there are no webhooks".to_owned());
    };
    let webhooks: Vec<Value> = webhooks_of(&serde_json::to_value(live)?, certificate)
        .into_iter()
        .map(|(name, _)| json!({ "name": name, "clientConfig": { "caBundle": authority } }))
        .collect();
    let count = webhooks.len();
    let object = json!({
        "apiVersion": configuration.api_version,
        "kind": configuration.kind,
        "metadata": { "name": configuration.name },
        "webhooks": webhooks,
    });
    patch(configuration, &object, worker).await?;
    Ok(format!("{count} webhooks know the authority"))
}

/// Server-side apply of only the fields that are ours.
async fn patch(reference: &ObjectRef, object: &Value, worker: &Worker) -> Result<()> {
    let api = objects::api(&worker.cluster.client, reference);
    let parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
    let patch = Patch::Apply(object);
    ask(&format!("apply `{reference}`"), || api.patch(&reference.name, &parameters, &patch)).await?;
    Ok(())
}

/// A certificate for `names`, signed by an authority whose key is gone when this returns: nobody can
/// ever sign another with it.
fn make(names: &[String], now: Timestamp) -> Result<Made> {
    let today = TimeZone::UTC.to_datetime(now).date();
    // From yesterday: the clocks of a cluster differ.
    let (from, to) = (today.checked_sub(1.day())?, today.checked_add(YEARS.years())?);
    let parameters = |names: &[String], common_name: &str| -> Result<CertificateParams> {
        let mut parameters = CertificateParams::new(names.to_vec())?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let date = |day: &jiff::civil::Date| {
            date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
        };
        (parameters.not_before, parameters.not_after) = (date(&from), date(&to));
        Ok(parameters)
    };
    let mut authority = parameters(&[], "drivemaster-mon webhooks")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut serving = parameters(names, names.first().map_or("webhooks", String::as_str))?;
    serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    serving.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = serving.signed_by(&key, &authority)?.pem();
    let ends = TimeZone::UTC.to_timestamp(to.at(0, 0, 0, 0))?;
    Ok(Made { authority: authority.pem(), certificate, key: key.serialize_pem(), ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_new_each_time_and_ends_in_ten_years() {
        let names = vec!["a.b.svc".to_owned()];
        let now: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        let (one, other) = (make(&names, now).unwrap(), make(&names, now).unwrap());
        assert_eq!(one.ends.to_string(), "2036-02-28T00:00:00Z");
        assert!(one.key != other.key && one.authority != other.authority);
        assert!(one.authority.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(one.key.contains("PRIVATE KEY"));
    }

    #[test]
    fn a_client_that_knows_the_authority_trusts_the_service() {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
        let names = vec!["operator.m.svc".to_owned()];
        let made = make(&names, Timestamp::now()).unwrap();
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&made.authority)).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        use rustls::client::danger::ServerCertVerifier;
        let judge = |name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&der(&made.certificate), &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(judge("operator.m.svc"));
        assert!(!judge("other.m.svc"));
    }
}
