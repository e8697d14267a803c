use super::*;
use serde_json::json;

fn entry(manager: &str, operation: &str, subresource: Option<&str>, fields: Value) -> Value {
    let mut entry =
        json!({"manager": manager, "operation": operation, "time": "2026-01-01T00:00:00Z", "fieldsV1": fields});
    if let Some(subresource) = subresource {
        entry["subresource"] = json!(subresource);
    }
    entry
}

/// A Deployment of a chart, as it is when nobody but helm wrote it.
fn wanted() -> Manifest {
    Manifest(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "m", "labels": {"app": "a"}, "annotations": {}},
        "spec": {"replicas": 3, "paused": false, "template": {"spec": {"containers": [{"name": "main", "image": "i:1",
            "ports": [{"containerPort": 80}], "args": ["--a"], "resources": {"limits": {"cpu": "1000m"}}}]}}}}))
}

fn fields(with: Value) -> Value {
    let mut fields = json!({"f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {"f:meta.helm.sh/release-name": {}}},
        "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:name": {}, "f:image": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            "f:args": {}, "f:resources": {"f:limits": {"f:cpu": {}}}}}}}}});
    for (key, value) in with.as_object().unwrap() {
        fields["f:spec"][key] = value.clone();
    }
    fields
}

fn live(entries: &[Value]) -> Value {
    json!({"metadata": {"name": "a", "namespace": "m", "labels": {"app": "a", "theirs": "x"}, "managedFields": entries},
        "spec": {"replicas": 3, "strategy": {"type": "RollingUpdate"}, "template": {"spec": {"restartPolicy": "Always",
            "containers": [{"name": "sidecar"}, {"name": "main", "image": "i:1", "args": ["--a"],
            "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}}}]}}}})
}

fn lines(live: &Value) -> Vec<String> {
    drift(&wanted(), live, Owner::Helm).iter().flat_map(|one| one.lines(None)).collect()
}

#[test]
fn defaults_and_other_spellings_are_no_drift() {
    for (manager, operation) in [("helm", "Apply"), ("helm3", "Update")] {
        let live = live(&[
            entry(manager, operation, None, fields(json!({"f:replicas": {}}))),
            entry("kube-controller-manager", "Update", Some("status"), json!({"f:status": {"f:replicas": {}}})),
        ]);
        assert_eq!(lines(&live), Vec::<String>::new());
    }
}

#[test]
fn what_somebody_took_over_is_told_with_who() {
    let mut live = live(&[
        entry("helm", "Apply", None, fields(json!({}))),
        entry("kubectl-edit", "Update", None, json!({"f:spec": {"f:replicas": {}}})),
    ]);
    assert_eq!(lines(&live), Vec::<String>::new(), "they set the same");
    live["spec"]["replicas"] = json!(1);
    assert_eq!(lines(&live), ["~ Deployment m/a spec.replicas: 1 -> 3 (kubectl-edit)"]);
    let found = drift(&wanted(), &live, Owner::Helm);
    let now = "2026-01-01T00:02:10Z".parse().ok();
    assert_eq!(found[0].lines(now), ["~ Deployment m/a spec.replicas: 1 -> 3 (kubectl-edit, 2 min ago)"]);
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"] = json!({});
    assert_eq!(lines(&live), Vec::<String>::new(), "helm still has it, so this is as helm wrote it");
}

#[test]
fn items_of_lists_are_known_by_their_keys() {
    let mut helm = fields(json!({"f:replicas": {}}));
    let container = &mut helm["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"];
    container["f:image"].take();
    container.as_object_mut().unwrap().remove("f:image");
    container.as_object_mut().unwrap().remove("f:args");
    let theirs = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}":
        {"f:image": {}, "f:args": {}}}}}}});
    let mut live = live(&[entry("helm", "Apply", None, helm), entry("kubectl-set", "Update", None, theirs)]);
    live["spec"]["template"]["spec"]["containers"][1]["image"] = json!("i:2");
    live["spec"]["template"]["spec"]["containers"][1]["args"] = json!(["--b"]);
    assert_eq!(
        lines(&live),
        [
            "~ Deployment m/a spec.template.spec.containers[main].args: [\"--b\"] -> [\"--a\"] (kubectl-set)",
            "~ Deployment m/a spec.template.spec.containers[main].image: i:2 -> i:1 (kubectl-set)",
        ]
    );
    live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().remove(1);
    let found = drift(&wanted(), &live, Owner::Helm);
    assert_eq!(found[0].to_string(), "Deployment m/a spec.template.spec.containers[main]");
    assert_eq!((found.len(), &found[0].by), (1, &None));
}

#[test]
fn what_others_rightly_have_is_left() {
    let scaled = |manager: &str| {
        let mut live = live(&[
            entry("helm", "Apply", None, fields(json!({}))),
            entry(manager, "Update", Some("scale"), json!({"f:spec": {"f:replicas": {}}})),
        ]);
        live["spec"]["replicas"] = json!(7);
        lines(&live)
    };
    assert_eq!(scaled("kube-controller-manager"), Vec::<String>::new());
    assert_eq!(scaled("kubectl"), ["~ Deployment m/a spec.replicas: 7 -> 3 (kubectl)"]);

    let hook = |bundle: &str| json!({"name": "w", "clientConfig": {"caBundle": bundle}});
    let manifest = Manifest(json!({"apiVersion": "x/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "v"}, "webhooks": [hook("")]}));
    let webhook = |below: Value| json!({"f:webhooks": {"k:{\"name\":\"w\"}": below}});
    for manager in ["drivemaster-mon", "cert-manager-cainjector"] {
        let live = json!({"metadata": {"name": "v", "managedFields": [
            entry("helm", "Apply", None, webhook(json!({".": {}, "f:name": {}}))),
            entry(manager, "Update", None, webhook(json!({"f:clientConfig": {"f:caBundle": {}}})))]},
            "webhooks": [hook("Y2E=")]});
        assert_eq!(drift(&manifest, &live, Owner::Helm), []);
    }
}

#[test]
fn a_field_that_is_gone_is_told_where_the_server_keeps_it() {
    for (operation, expected) in [("Apply", 2), ("Update", 1)] {
        let mut helm = fields(json!({}));
        helm["f:metadata"].as_object_mut().unwrap().remove("f:labels");
        let mut live = live(&[entry("helm", operation, None, helm)]);
        live["spec"].as_object_mut().unwrap().remove("replicas");
        live["metadata"].as_object_mut().unwrap().remove("labels");
        let found = lines(&live);
        // Helm 3 writes fields that the server drops in silence; labels it keeps.
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found[0].starts_with("+ Deployment m/a metadata.labels"), "{found:?}");
    }
}

#[test]
fn of_a_secret_only_who_has_a_key_is_read() {
    let manifest = Manifest(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "m"},
        "data": {"a": "c2VjcmV0"}, "stringData": {"b": "secret", "c": "secret"}}));
    let live = json!({"metadata": {"name": "s", "managedFields": [
        entry("helm", "Apply", None, json!({"f:data": {"f:b": {}}})),
        entry("kubectl-edit", "Update", None, json!({"f:data": {"f:a": {}}}))]}});
    let found: Vec<String> = drift(&manifest, &live, Owner::Helm).iter().flat_map(|one| one.lines(None)).collect();
    assert_eq!(found, ["~ Secret m/s data.a: (masked) -> (masked) (kubectl-edit)"]);
}

#[test]
fn an_object_of_ours_is_ours_by_our_apply_alone() {
    let manifest =
        Manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "m"},
        "data": {"k": "one\ntwo\n"}}));
    let live = json!({"metadata": {"name": "c", "managedFields": [
        entry("drivemaster-mon", "Apply", None, json!({"f:metadata": {"f:labels": {}}})),
        entry("kubectl-edit", "Update", None, json!({"f:data": {"f:k": {}}}))]}, "data": {"k": "one\n2\n"}});
    let found = drift(&manifest, &live, Owner::Us);
    assert_eq!(found[0].lines(None)[0], "~ ConfigMap m/c data.k: (kubectl-edit)");
    assert!(found[0].changes.contains(&"    -2".to_owned()), "{found:?}");
}

#[test]
fn ages_are_said_in_one_word() {
    let ages: Vec<String> = [-5, 59, 60, 7199, 7200, 172_799, 172_800].map(age).into();
    assert_eq!(ages, ["0 s", "59 s", "1 min", "119 min", "2 h", "47 h", "2 days"]);
}

#[test]
fn odd_answers_are_no_panic() {
    for live in [
        json!(null),
        json!({"metadata": {"managedFields": [1, {"fieldsV1": 2}, {"fieldsV1": {"f:spec": 3}}]}}),
        json!([]),
    ] {
        let _ = drift(&wanted(), &live, Owner::Helm);
    }
}
