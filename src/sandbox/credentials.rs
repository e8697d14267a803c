//! The Secrets of somebody else's that a configuration needs, made up for the sandbox: what a person
//! would have stored in a cluster before a deploy. Nothing they open exists here.

use crate::config::model::Config;
use crate::render::bundle::{RequiredSecret, SecretForm};
use crate::render::required_secrets;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Annotation that says that nobody has to keep the content secret.
const MADE_UP: &str = "drivemaster-mon/made-up";

/// The Secrets that `config` needs, each with its namespace before it.
///
/// # Errors
/// When no certificate can be made.
pub(super) fn objects(config: &Config) -> Result<Vec<Value>> {
    let required = required_secrets(config);
    let namespaces: BTreeSet<&str> = required.iter().map(|secret| secret.namespace.as_str()).collect();
    let mut objects: Vec<Value> = namespaces
        .into_iter()
        .map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
        .collect();
    for secret in &required {
        objects.push(object(secret)?);
    }
    Ok(objects)
}

fn object(secret: &RequiredSecret) -> Result<Value> {
    let pair = rcgen::generate_simple_self_signed([secret.name.clone()]).context("cannot make a certificate")?;
    let value = |form: SecretForm| match form {
        SecretForm::Any | SecretForm::Line => "made-up".to_owned(),
        SecretForm::HttpsUrl => "https://receiver.invalid/made-up".to_owned(),
        SecretForm::PagerdutyKey => "0123456789abcdef0123456789abcdef".to_owned(),
        SecretForm::PostgresqlDsn => "postgresql://monitor:made-up@postgresql.drivemaster.svc:5432/postgres".to_owned(),
        SecretForm::Htpasswd => "made-up:$2y$05$abcdefghijklmnopqrstuuKzQ0cZ3vR5m0H0l6yq0vX0w1x2y3z4e".to_owned(),
        SecretForm::Certificate => pair.cert.pem(),
        SecretForm::PrivateKey => pair.signing_key.serialize_pem(),
        SecretForm::DockerConfig => json!({ "auths": { "registry.invalid": { "auth": "bWFkZTp1cA==" } } }).to_string(),
    };
    let data: Map<String, Value> = secret.keys.iter().map(|key| (key.key.clone(), json!(value(key.form)))).collect();
    let kind = match secret.keys.first().map(|key| key.form) {
        Some(SecretForm::DockerConfig) => "kubernetes.io/dockerconfigjson",
        _ => "Opaque",
    };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": { "name": secret.name, "namespace": secret.namespace, "annotations": { MADE_UP: "by the sandbox" } },
        "stringData": data,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Profile, resolve};
    use crate::secrets::form::judge_form;

    #[test]
    fn every_secret_of_production_is_there_and_has_its_form() {
        let sets = ["images.pullSecrets=[mirror]", "ingress.internal.auth=basic", "ingress.internal.authSecret=people"];
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let config = resolve(Some(Profile::Production), &[], &[], &sets).unwrap();
        let objects = objects(&config).unwrap();
        let required = required_secrets(&config);
        assert!(required.len() > 8, "{required:?}");
        for secret in &required {
            let found = objects.iter().find(|object| {
                object["kind"] == "Secret"
                    && object["metadata"]["name"] == secret.name.as_str()
                    && object["metadata"]["namespace"] == secret.namespace.as_str()
            });
            let data = &found.unwrap_or_else(|| panic!("no {}", secret.name))["stringData"];
            for key in &secret.keys {
                let value = data[&key.key].as_str().unwrap();
                judge_form(key.form, value.as_bytes()).unwrap_or_else(|why| panic!("{}: {why}", key.key));
            }
        }
    }
}
