//! PersistentVolumeClaims.

use super::{Ready, Snapshot};
use crate::object::ObjectRef;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

/// Whether the claim is bound; where it is not, what its StorageClass and events say.
pub fn judge(claim: &PersistentVolumeClaim, snapshot: &Snapshot) -> Ready {
    let meta = &claim.metadata;
    let object = ObjectRef::namespaced(
        "v1",
        "PersistentVolumeClaim",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    );
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    match phase {
        "Bound" => return Ready::Ready,
        "Lost" => return Ready::failed(object, "ClaimLost", "the volume it was bound to is gone"),
        _ => {}
    }
    let spec = claim.spec.as_ref();
    // A claim with a volume's name, or with the class "", is bound by hand and needs no class.
    let by_hand = spec.is_some_and(|spec| spec.volume_name.is_some());
    match spec.and_then(|spec| spec.storage_class_name.as_deref()) {
        Some("") => {}
        Some(class) if !by_hand && snapshot.has_storage_class(class) == Some(false) => {
            return Ready::failed(object, "StorageClassNotFound", format!("there is no StorageClass `{class}`"));
        }
        None if snapshot.has_default_storage_class() == Some(false) => {
            return Ready::waiting(object, "NoStorageClass", "it names no StorageClass and the cluster has no default");
        }
        _ => {}
    }
    if let Some(event) = snapshot.warnings_of(meta.uid.as_deref(), &object).last() {
        return Ready::waiting(object, &event.reason, event.message.clone());
    }
    let class = spec.and_then(|spec| spec.storage_class_name.as_deref()).filter(|class| !class.is_empty());
    let class = class.map(|class| format!(" of the StorageClass `{class}`")).unwrap_or_default();
    Ready::waiting(object, "VolumeBinding", format!("no volume{class} is bound to it yet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready::snapshot::StorageClassSeen;
    use serde_json::{Value, json};

    fn judged(spec: Value, phase: &str, classes: Option<Vec<StorageClassSeen>>, events: Value) -> Ready {
        let claim = serde_json::from_value(json!({
            "metadata": {"name": "data-a-0", "namespace": "m", "uid": "u1"}, "spec": spec, "status": {"phase": phase},
        }))
        .unwrap();
        let snapshot = Snapshot { storage_classes: classes, ..Snapshot::default() }
            .with_events(serde_json::from_value(events).unwrap());
        judge(&claim, &snapshot)
    }

    fn class(name: &str, default: bool) -> Option<Vec<StorageClassSeen>> {
        Some(vec![StorageClassSeen { name: name.to_owned(), default }])
    }

    #[test]
    fn a_claim_without_its_class_is_told_apart_from_one_that_waits() {
        let named = json!({"storageClassName": "fast-ssd"});
        let failing = json!([{"metadata": {}, "involvedObject": {"uid": "u1"}, "type": "Warning",
            "reason": "ProvisioningFailed", "message": "quota"}]);
        let cases = [
            ("bound", named.clone(), "Bound", class("other", false), json!([]), None),
            ("lost", named.clone(), "Lost", None, json!([]), Some(("ClaimLost", true))),
            (
                "no such class",
                named.clone(),
                "Pending",
                class("other", true),
                json!([]),
                Some(("StorageClassNotFound", true)),
            ),
            (
                "class there",
                named.clone(),
                "Pending",
                class("fast-ssd", false),
                json!([]),
                Some(("VolumeBinding", false)),
            ),
            ("classes unknown", named.clone(), "Pending", None, json!([]), Some(("VolumeBinding", false))),
            (
                "provisioner fails",
                named,
                "Pending",
                class("fast-ssd", false),
                failing,
                Some(("ProvisioningFailed", false)),
            ),
            ("no default", json!({}), "Pending", class("a", false), json!([]), Some(("NoStorageClass", false))),
            ("default there", json!({}), "Pending", class("a", true), json!([]), Some(("VolumeBinding", false))),
            (
                "by hand",
                json!({"storageClassName": ""}),
                "Pending",
                class("a", false),
                json!([]),
                Some(("VolumeBinding", false)),
            ),
        ];
        for (name, spec, phase, classes, events, expected) in cases {
            let verdict = judged(spec, phase, classes, events);
            let found = verdict.cause().map(|cause| (cause.reason.as_str(), cause.permanent));
            assert_eq!(found, expected, "{name}");
        }
    }
}
