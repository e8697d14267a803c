//! Configurations of admission webhooks.

use super::Ready;
use crate::object::ObjectRef;
use serde_json::Value;
use std::collections::BTreeMap;

/// The Services, as `(namespace, name)`, that the webhooks of `object` are behind.
pub fn services(object: &Value) -> Vec<(String, String)> {
    let webhooks = object.get("webhooks").and_then(Value::as_array);
    let services = webhooks.into_iter().flatten().filter_map(|webhook| {
        let service = webhook.pointer("/clientConfig/service")?;
        Some((service["namespace"].as_str()?.to_owned(), service["name"].as_str()?.to_owned()))
    });
    let mut found: Vec<(String, String)> = services.collect();
    found.sort();
    found.dedup();
    found
}

/// Whether each webhook of `object` has a certificate to be judged by.
pub fn has_authority(object: &Value) -> bool {
    let webhooks = object.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().all(|webhook| {
        let bundle = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
        bundle.is_some_and(|bundle| !bundle.is_empty())
    })
}

/// Whether the webhooks of `object` can be asked: each has a certificate to be judged by, and its
/// Service has a ready endpoint; `endpoints` counts those.
pub fn judge(reference: &ObjectRef, object: &Value, endpoints: &BTreeMap<(String, String), usize>) -> Ready {
    if !has_authority(object) {
        return Ready::waiting(reference.clone(), "Progressing", "it has no certificate (`caBundle`) yet");
    }
    let silent = services(object).into_iter().find(|service| endpoints.get(service).copied().unwrap_or(0) == 0);
    match silent {
        Some((namespace, name)) => Ready::waiting(
            reference.clone(),
            "Progressing",
            format!("its service `{namespace}/{name}` has no ready endpoint"),
        ),
        None => Ready::Ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_webhook_needs_a_certificate_and_an_endpoint() {
        let reference =
            ObjectRef::cluster_scoped("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "a");
        let object = |bundle: &str| json!({"webhooks": [{"clientConfig": {"caBundle": bundle, "service": {"namespace": "m", "name": "hook"}}}]});
        let endpoints = |count: usize| BTreeMap::from([(("m".to_owned(), "hook".to_owned()), count)]);
        let said = |bundle: &str, count: usize| {
            judge(&reference, &object(bundle), &endpoints(count)).cause().map(|cause| cause.message.clone())
        };
        assert_eq!(said("Y2E=", 1), None);
        assert_eq!(said("Y2E=", 0).as_deref(), Some("its service `m/hook` has no ready endpoint"));
        assert_eq!(said("", 1).as_deref(), Some("it has no certificate (`caBundle`) yet"));
        assert_eq!(judge(&reference, &json!({}), &BTreeMap::new()), Ready::Ready);
    }
}
