//! What is to be done about the certificates of admission webhooks.
//!
//! The Secret's data is never read: the authority's certificate and the end of the serving one stand
//! in its annotations as well, and both are public.

use super::model::{Action, Observed, Plan, Reason, Step, Target};
use super::release::release_id;
use crate::object::ObjectRef;
use crate::render::bundle::WebhookCertificate;
use jiff::Timestamp;
use serde_json::Value;

/// Annotation of the Secret with the authority's certificate, as `caBundle` takes it: base64 of PEM.
pub const AUTHORITY_ANNOTATION: &str = "drivemaster-mon/authority";
/// Annotation of the Secret with the time at which the certificate ends, by RFC 3339.
pub const ENDS_ANNOTATION: &str = "drivemaster-mon/ends";
/// A certificate that ends within this many hours (30 days) is made anew.
const RENEW_HOURS: i64 = 30 * 24;

/// The id of the step that tells a configuration its authority.
pub fn authority_id(configuration: &ObjectRef) -> String {
    format!("{configuration} caBundle")
}

/// Plans `certificate`: its Secret, and the authority in each configuration. The steps of releases
/// must stand in `plan` already.
pub(super) fn plan_certificate(plan: &mut Plan, certificate: &WebhookCertificate, observed: &Observed) {
    let authority = plan_secret(plan, certificate, observed);
    for configuration in &certificate.configurations {
        plan_authority(plan, certificate, configuration, authority.as_deref(), observed);
    }
}

/// The authority that stands and stays; `None` when a new one will be made.
fn plan_secret(plan: &mut Plan, certificate: &WebhookCertificate, observed: &Observed) -> Option<String> {
    let reference = certificate.secret_reference();
    let id = reference.to_string();
    let (action, reason, change) = match observed.objects.get(&reference) {
        None => (Action::Create, Reason::New, "makes a certificate and its authority".to_owned()),
        Some(live) => match judge_secret(live, observed.now) {
            Ok(authority) => {
                plan.unchanged.push(id);
                return Some(authority);
            }
            Err(why) => (Action::Update, Reason::Repair { status: why.clone() }, format!("{why}: makes a new one")),
        },
    };
    plan.steps.push(Step {
        id,
        action,
        reason,
        needs: vec![ObjectRef::cluster_scoped("v1", "Namespace", &certificate.namespace).to_string()],
        changes: vec![format!("{change} (keys are never shown)")],
        target: Target::WebhookCertificate { certificate: certificate.clone() },
    });
    None
}

/// The authority of a Secret that may stay; otherwise why it may not.
fn judge_secret(live: &Value, now: Timestamp) -> Result<String, String> {
    let annotation =
        |key: &str| live.pointer("/metadata/annotations").and_then(|all| all.get(key)).and_then(Value::as_str);
    let (Some(authority), Some(ends)) = (annotation(AUTHORITY_ANNOTATION), annotation(ENDS_ANNOTATION)) else {
        return Err("it holds no certificate of ours".to_owned());
    };
    let at: Timestamp = ends.parse().map_err(|_| "the end of its certificate cannot be read".to_owned())?;
    let left = at.as_second().saturating_sub(now.as_second()) / 3600;
    if left < RENEW_HOURS { Err(format!("its certificate ends on {ends}")) } else { Ok(authority.to_owned()) }
}

fn plan_authority(
    plan: &mut Plan,
    certificate: &WebhookCertificate,
    configuration: &ObjectRef,
    authority: Option<&str>,
    observed: &Observed,
) {
    let id = authority_id(configuration);
    let release = release_id(&certificate.after);
    let release_planned = plan.steps.iter().any(|step| step.id == release);
    let wrong: Vec<String> = match observed.objects.get(configuration) {
        // It comes with its release; where that stands without it, its chart was told to make none.
        None if release_planned => Vec::new(),
        None => return,
        Some(live) => {
            let webhooks = webhooks_of(live, certificate);
            let wrong: Vec<String> =
                webhooks.into_iter().filter(|(_, bundle)| authority != Some(bundle)).map(|(name, _)| name).collect();
            if wrong.is_empty() {
                plan.unchanged.push(id);
                return;
            }
            wrong
        }
    };
    let (action, reason) =
        if wrong.is_empty() { (Action::Create, Reason::New) } else { (Action::Update, Reason::Drift) };
    let changes = match wrong.as_slice() {
        [] => vec![format!("the authority of {}", certificate.secret_reference())],
        wrong => wrong.iter().map(|name| format!("~ webhooks[{name}].clientConfig.caBundle")).collect(),
    };
    plan.steps.push(Step {
        id,
        action,
        reason,
        needs: vec![release, certificate.secret_reference().to_string()],
        changes,
        target: Target::WebhookAuthority { certificate: certificate.clone(), configuration: configuration.clone() },
    });
}

/// Name and `caBundle` of each webhook in the configuration `live` that the certificate's Service answers.
pub fn webhooks_of(live: &Value, certificate: &WebhookCertificate) -> Vec<(String, String)> {
    let webhooks = live.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    webhooks
        .filter(|webhook| {
            let text = |key: &str| webhook.pointer(&format!("/clientConfig/service/{key}")).and_then(Value::as_str);
            text("name") == Some(&certificate.service) && text("namespace") == Some(&certificate.namespace)
        })
        .filter_map(|webhook| {
            let bundle = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str).unwrap_or_default();
            Some((webhook.get("name")?.as_str()?.to_owned(), bundle.to_owned()))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn certificate() -> WebhookCertificate {
        WebhookCertificate {
            namespace: "m".to_owned(),
            secret: "admission".to_owned(),
            service: "operator".to_owned(),
            configurations: vec![configuration()],
            after: "prometheus".to_owned(),
        }
    }

    fn configuration() -> ObjectRef {
        ObjectRef::cluster_scoped("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "admission")
    }

    fn secret(ends: &str) -> Value {
        json!({"metadata": {"annotations": {AUTHORITY_ANNOTATION: "Q0E=", ENDS_ANNOTATION: ends}}})
    }

    fn live(bundle: &str) -> Value {
        let service = |name: &str| json!({"name": name, "namespace": "m"});
        json!({"webhooks": [
            {"name": "ours", "clientConfig": {"service": service("operator"), "caBundle": bundle}},
            {"name": "theirs", "clientConfig": {"service": service("other"), "caBundle": "WA=="}},
        ]})
    }

    fn planned(secret: Option<Value>, configuration_live: Option<Value>, release_planned: bool) -> Plan {
        let mut plan = Plan::default();
        if release_planned {
            plan.steps.push(Step {
                id: release_id("prometheus"),
                action: Action::Create,
                reason: Reason::New,
                needs: Vec::new(),
                changes: Vec::new(),
                target: Target::Object { manifest: crate::object::Manifest(json!({})) },
            });
        }
        let objects = [(certificate().secret_reference(), secret), (configuration(), configuration_live)];
        let objects = objects.into_iter().filter_map(|(reference, value)| Some((reference, value?))).collect();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        plan_certificate(&mut plan, &certificate(), &Observed { objects, now, ..Observed::default() });
        plan
    }

    fn steps(plan: &Plan) -> Vec<(&str, Action)> {
        plan.steps.iter().filter(|step| !step.id.starts_with("release")).map(|step| (&*step.id, step.action)).collect()
    }

    const SECRET: &str = "Secret m/admission";
    const AUTHORITY: &str = "ValidatingWebhookConfiguration admission caBundle";

    #[test]
    fn an_empty_cluster_gets_both_and_the_authority_after_the_release() {
        let plan = planned(None, None, true);
        assert_eq!(steps(&plan), [(SECRET, Action::Create), (AUTHORITY, Action::Create)]);
        assert_eq!(plan.steps[2].needs, ["release prometheus", SECRET]);
    }

    #[test]
    fn nothing_is_to_be_done_once_both_agree() {
        let plan = planned(Some(secret("2030-01-01T00:00:00Z")), Some(live("Q0E=")), false);
        assert!(plan.is_empty(), "{:?}", plan.steps);
        assert_eq!(plan.unchanged, [SECRET, AUTHORITY]);
    }

    #[test]
    fn another_authority_is_drift() {
        for other in ["", "b3RoZXI="] {
            let plan = planned(Some(secret("2030-01-01T00:00:00Z")), Some(live(other)), false);
            assert_eq!(steps(&plan), [(AUTHORITY, Action::Update)]);
            assert_eq!((&plan.steps[0].reason, plan.steps[0].changes.len()), (&Reason::Drift, 1));
        }
    }

    #[test]
    fn a_certificate_near_its_end_is_made_anew_with_its_authority() {
        for ends in ["2026-01-30T23:00:00Z", "2025-01-01T00:00:00Z", "soon"] {
            let plan = planned(Some(secret(ends)), Some(live("Q0E=")), false);
            assert_eq!(steps(&plan), [(SECRET, Action::Update), (AUTHORITY, Action::Update)], "{ends}");
        }
        assert!(planned(Some(secret("2026-01-31T00:00:00Z")), Some(live("Q0E=")), false).is_empty());
    }

    #[test]
    fn a_secret_of_somebody_else_gets_a_certificate_of_ours() {
        let plan = planned(Some(json!({"metadata": {}})), Some(live("Q0E=")), false);
        assert_eq!(steps(&plan), [(SECRET, Action::Update), (AUTHORITY, Action::Update)]);
    }

    #[test]
    fn a_release_that_makes_no_configuration_is_left_alone() {
        assert!(planned(Some(secret("2030-01-01T00:00:00Z")), None, false).is_empty());
    }
}
