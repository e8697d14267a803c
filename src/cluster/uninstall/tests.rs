use super::*;
use crate::cluster::script::{Answer, empty, list, refusal, scripted};
use crate::render::bundle::{Chart, Expected, Release};
use serde_json::json;

fn owned(kind: &str, name: &str) -> Owned {
    Owned { reference: ObjectRef::namespaced("v1", kind, "m", name), uid: format!("uid-{name}") }
}

fn standing(reason: Option<&str>) -> Standing {
    Standing {
        releases: vec![("m".to_owned(), "jaeger".to_owned()), ("m".to_owned(), "collector".to_owned())],
        late: vec![owned("Schedule", "kill")],
        objects: vec![owned("ConfigMap", "rules")],
        secrets: vec![owned("Secret", "grafana-admin")],
        claims: vec![owned("PersistentVolumeClaim", "data-loki-0")],
        crds: vec![
            (owned("CustomResourceDefinition", "a.example.org"), None),
            (owned("CustomResourceDefinition", "b.example.org"), Some("`K n/x` is not ours".to_owned())),
        ],
        namespaces: vec![(
            Owned { reference: ObjectRef::cluster_scoped("v1", "Namespace", "m"), uid: "n".to_owned() },
            reason.map(str::to_owned),
        )],
    }
}

fn texts(plan: &UninstallPlan) -> Vec<String> {
    plan.removes.iter().map(ToString::to_string).collect()
}

#[test]
fn what_holds_data_stays_with_its_command() {
    let plan = uninstall_plan(standing(None), false);
    assert_eq!(texts(&plan), ["Schedule m/kill", "release collector", "release jaeger", "ConfigMap m/rules"]);
    let commands: Vec<&str> = plan.keeps.iter().map(|(_, command)| command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "kubectl delete -n m secret/grafana-admin",
            "kubectl delete -n m persistentvolumeclaim/data-loki-0",
            "kubectl delete -n m customresourcedefinition/a.example.org",
            "kubectl delete -n m customresourcedefinition/b.example.org",
            "kubectl delete namespace/m"
        ]
    );
}

#[test]
fn all_takes_everything_and_namespaces_last() {
    let plan = uninstall_plan(standing(None), true);
    // With its definition the object of somebody else would go too.
    assert_eq!(plan.keeps.len(), 1, "{:?}", plan.keeps);
    assert!(plan.keeps[0].1.ends_with("b.example.org  # `K n/x` is not ours"), "{:?}", plan.keeps);
    assert_eq!(texts(&plan).last().unwrap(), "Namespace m");
    assert_eq!(plan.removes.len(), 8);
    assert!(before_releases(&plan, 0) && before_releases(&plan, 1) && !before_releases(&plan, 2));
}

#[test]
fn a_namespace_that_is_not_ours_alone_always_stays() {
    let plan = uninstall_plan(standing(Some("`Deployment m/user-service` in it is not ours")), true);
    assert!(!texts(&plan).contains(&"Namespace m".to_owned()));
    let kept = &plan.keeps.last().unwrap().1;
    assert!(kept.ends_with("# `Deployment m/user-service` in it is not ours"), "{:?}", plan.keeps);
}

#[test]
fn who_made_a_namespace_is_seen_by_its_field_managers() {
    let made =
        |managers: serde_json::Value| other_maker(&serde_json::from_value(json!({"managedFields": managers})).unwrap());
    let status = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "status"});
    let ours = json!({"manager": "drivemaster-mon", "operation": "Apply"});
    assert_eq!(made(json!([ours, status])), None);
    assert_eq!(
        made(json!([{"manager": "kubectl-create", "operation": "Update"}, ours])).as_deref(),
        Some("kubectl-create")
    );
}

#[tokio::test]
async fn a_release_of_the_same_name_elsewhere_keeps_its_volumes_and_its_namespace() {
    let namespace = |name: &str| {
        crate::object::Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    };
    let chart = Chart {
        name: "loki".to_owned(),
        version: "0.1.0".to_owned(),
        app_version: "3".to_owned(),
        files: BTreeMap::new(),
    };
    let bundle = Bundle {
        namespaces: vec![namespace("platform"), namespace("m")],
        generated_secrets: Vec::new(),
        objects: Vec::new(),
        releases: vec![Release {
            name: "loki".to_owned(),
            namespace: "m".to_owned(),
            chart,
            values: json!({}),
            needs: Vec::new(),
        }],
        expected: Expected::default(),
        ..Bundle::default()
    };
    // In both namespaces stand a claim and a Deployment of a release called `loki`.
    let (client, _log) = scripted(|asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let place = if path.contains("/platform") { "platform" } else { "m" };
        let meta = json!({"name": "x", "namespace": place, "uid": path,
            "annotations": {"meta.helm.sh/release-name": "loki", "meta.helm.sh/release-namespace": place}});
        if path.ends_with("/namespaces/platform") || path.ends_with("/namespaces/m") {
            Answer::Json(200, json!({"kind": "Namespace", "apiVersion": "v1", "metadata": meta}))
        } else if path.ends_with("/persistentvolumeclaims") || path.ends_with("/deployments") {
            list(json!([{"metadata": meta}]))
        } else if path == "/apis" {
            Answer::Json(200, json!({"groups": []}))
        } else if path == "/api/v1" {
            Answer::Json(200, json!({"groupVersion": "v1", "resources": []}))
        } else {
            empty()
        }
    });
    let cluster = Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2");
    let plan = survey(&cluster, &bundle, &Inventory::default(), true).await.unwrap();
    assert_eq!(texts(&plan), ["PersistentVolumeClaim m/x", "Namespace m"]);
    assert_eq!(plan.keeps[0].0.to_string(), "Namespace platform");
}

fn context(client: Client, cancel: &CancellationToken) -> UninstallContext {
    UninstallContext {
        cluster: Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2"),
        helm: Helm::locate(Some(std::path::Path::new("/bin/true")), None).unwrap(),
        events: std::sync::Arc::new(crate::event::Recorder::default()),
        cancel: cancel.clone(),
        cut_off: CutOff::default(),
    }
}

/// A server that serves the kind `Rule`, and answers `rules` to its list in the namespace `m`.
fn serving_rules(groups: &'static [&'static str], rules: Answer) -> Client {
    let (client, _log) = scripted(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let kind = |name: &str, kind: &str, verbs: serde_json::Value| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs});
        match path {
            "/apis" => {
                let group = |name: &str| {
                    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
                    json!({"name": name, "versions": [version]})
                };
                Answer::Json(200, json!({"groups": groups.iter().map(|name| group(name)).collect::<Vec<_>>()}))
            }
            "/api/v1" => Answer::Json(200, json!({"groupVersion": "v1", "resources": []})),
            "/apis/away.example.com/v1" => refusal(503, "ServiceUnavailable", "its server is away"),
            "/apis/example.com/v1" => {
                let rules = kind("rules", "Rule", json!(["get", "list", "delete"]));
                let status = kind("rules/status", "Rule", json!(["get"]));
                let metrics = kind("podmetrics", "PodMetrics", json!(["get", "list"]));
                Answer::Json(200, json!({"groupVersion": "example.com/v1", "resources": [rules, status, metrics]}))
            }
            "/apis/example.com/v1/namespaces/m/rules" => rules.clone(),
            "/apis/example.com/v1/namespaces/m/podmetrics" => list(json!([{"metadata": {"name": "measured"}}])),
            "/api/v1/namespaces/m/configmaps" => list(json!([{"metadata": {"name": "kube-root-ca.crt"}}])),
            _ => empty(),
        }
    });
    client
}

#[tokio::test]
async fn a_namespace_stays_for_what_somebody_else_made_of_any_kind() {
    let reason = async |groups: &'static [&'static str], rules: Answer| {
        let client = serving_rules(groups, rules);
        let standing = Standing { objects: vec![owned("Rule", "ours")], ..Standing::default() };
        let instances = BTreeMap::from([("m".to_owned(), BTreeSet::from(["loki".to_owned()]))]);
        let known = Known { standing: &standing, instances: &instances };
        let kinds = namespaced_kinds(&client).await.unwrap();
        in_namespace(&client, "m", &kinds, &known).await.unwrap()
    };
    let ours = json!({"metadata": {"name": "ours", "uid": owned("Rule", "ours").uid}});
    let released = json!({"metadata": {"name": "released", "annotations": {"meta.helm.sh/release-name": "loki"}}});
    assert_eq!(reason(&["example.com"], list(json!([ours, released]))).await, None);
    let theirs = list(json!([ours, released, {"metadata": {"name": "theirs"}}]));
    assert_eq!(reason(&["example.com"], theirs).await.as_deref(), Some("`Rule m/theirs` in it is not ours"));
    let forbidden = reason(&["example.com"], refusal(403, "Forbidden", "rules.example.com is forbidden")).await;
    assert_eq!(forbidden.as_deref(), Some("objects of kind `Rule` in it may not be listed"));
    assert_eq!(
        reason(&["example.com"], refusal(404, "NotFound", "the server could not find the requested resource")).await,
        None
    );
    let away = reason(&["example.com", "away.example.com"], list(json!([]))).await;
    assert!(away.unwrap().starts_with("the server of `away.example.com/v1` is away"));
}

#[test]
fn what_programs_and_the_cluster_make_by_themselves_is_not_somebody_elses() {
    let certificate = Owned {
        reference: ObjectRef::namespaced("cert-manager.io/v1", "Certificate", "m", "grafana"),
        uid: "c".to_owned(),
    };
    let standing = Standing { objects: vec![certificate], ..Standing::default() };
    let instances = BTreeMap::from([("m".to_owned(), BTreeSet::from(["loki".to_owned()]))]);
    let known = Known { standing: &standing, instances: &instances };
    let made = |meta: serde_json::Value| known.made(&serde_json::from_value(meta).unwrap(), "m");
    // The operator's Services and Cilium's endpoints have an owner that does not control them.
    let owner = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "name": "p", "uid": "u"});
    assert!(made(json!({"name": "prometheus-operated", "ownerReferences": [owner]})));
    assert!(!made(json!({"name": "a", "ownerReferences": []})));
    let by_certificate = |name: &str| json!({"name": "a", "annotations": {"cert-manager.io/certificate-name": name}});
    assert!(made(by_certificate("grafana")) && !made(by_certificate("theirs")));
    let hook = |release: &str| json!({"name": "a", "annotations": {"helm.sh/hook": "test"}, "labels": {"app.kubernetes.io/instance": release}});
    assert!(made(hook("loki")) && !made(hook("theirs")));
    assert!(made(json!({"name": "a", "labels": {"app.kubernetes.io/managed-by": "drivemaster-mon"}})));

    let releases = BTreeSet::from(["loki".to_owned(), "prometheus".to_owned()]);
    let operated = ["prometheus-kube-prometheus-alertmanager", "prometheus-kube-prometheus-prometheus"];
    assert_eq!(claimants(&releases), [&["loki", "prometheus"][..], &operated].concat());
    assert_eq!(claimants(&instances["m"]), ["loki"]);
}

#[tokio::test]
async fn claims_are_known_by_their_release_their_operators_object_and_what_helm_wrote() {
    let labelled = |name: &str, instance: &str| json!({"metadata": {"name": name, "uid": name, "labels": {"app.kubernetes.io/instance": instance}}});
    let annotated = |name: &str, release: &str| json!({"metadata": {"name": name, "uid": name, "annotations": {"meta.helm.sh/release-name": release}}});
    let found = json!([
        labelled("a", "loki"),
        labelled("b", "prometheus-kube-prometheus-prometheus"),
        labelled("c", "theirs"),
        annotated("d", "prometheus"),
        annotated("e", "theirs"),
        {"metadata": {"name": "f", "uid": "f"}},
    ]);
    let (client, _log) = scripted(move |_| list(found.clone()));
    let cluster = Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2");
    let releases = BTreeSet::from(["loki".to_owned(), "prometheus".to_owned()]);
    let claims = claims(&cluster, "m", &releases).await.unwrap();
    assert_eq!(claims.iter().map(|owned| owned.reference.name.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_does_not_end_is_cut_off_before_the_next_deploy_begins() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let (client, _log) = scripted(move |_| {
        stop.cancel();
        Answer::Silence
    });
    let plan = UninstallPlan {
        removes: vec![Removal::Object {
            reference: ObjectRef::namespaced("v1", "ConfigMap", "m", "rules"),
            uid: "u".to_owned(),
        }],
        keeps: Vec::new(),
    };
    let begun = Instant::now();
    let context = context(client, &cancel);
    let cut_off = context.cut_off.clone();
    let error = uninstall(&plan, context).await.unwrap_err();
    assert!(cut_off.is_raised(), "the lock is not given back");
    let left = crate::cluster::lock::DURATION - crate::cluster::lock::GOES_ON;
    assert!(begun.elapsed() < left, "cut off after {:?}", begun.elapsed());
    assert_eq!(crate::error::exit_code_of(&error), 130);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_not_waited_for() {
    let message = "configmaps \"a\" is forbidden: User \"jane\" cannot get resource \"configmaps\"";
    let (client, _log) = scripted(move |_| refusal(403, "Forbidden", message));
    let reference = ObjectRef::namespaced("v1", "ConfigMap", "m", "a");
    let (begun, cancel) = (Instant::now(), CancellationToken::new());
    let error = until_gone(&client, &reference, "u", begun + TIMEOUT, &cancel).await.unwrap_err();
    assert_eq!(crate::error::exit_code_of(&error), 5);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_before_may_be_forbidden_for_a_moment() {
    let ended = async |kind: &str, forbids: usize| {
        let mut reads = 0;
        let (client, _log) = scripted(move |_| {
            reads += 1;
            match reads {
                1 => Answer::Json(200, json!({"metadata": {"name": "a", "uid": "u"}})),
                read if read <= 1 + forbids => {
                    refusal(403, "Forbidden", "a is forbidden: User \"jane\" cannot get resource \"a\"")
                }
                _ => refusal(404, "NotFound", "a not found"),
            }
        });
        let (begun, cancel) = (Instant::now(), CancellationToken::new());
        let reference = ObjectRef::cluster_scoped("v1", kind, "a");
        let gone = until_gone(&client, &reference, "u", begun + TIMEOUT, &cancel).await;
        (gone.map_err(|error| crate::error::exit_code_of(&error)), begun.elapsed())
    };
    assert_eq!(ended("ConfigMap", 3).await.0, Ok(()));
    let (result, took) = ended("ConfigMap", 1000).await;
    assert_eq!(result, Err(5));
    assert!(took >= FORBIDDEN_FOR && took < TIMEOUT, "{took:?}");
    assert_eq!(ended("Namespace", 1000).await.0, Ok(()), "with it went the role that allowed to read it");
}

#[test]
fn nothing_there_is_nothing_to_do() {
    assert_eq!(uninstall_plan(Standing::default(), true), UninstallPlan::default());
}

#[test]
fn what_goes_with_the_namespace_of_the_lock_is_split_off() {
    let object = |kind: &str, name: &str| Removal::Object {
        reference: ObjectRef::cluster_scoped("v1", kind, name),
        uid: name.to_owned(),
    };
    let removes = vec![object("ClusterRole", "a"), object("Namespace", "monitoring"), object("Namespace", "nodes")];
    let plan = UninstallPlan { removes: removes.clone(), keeps: Vec::new() };
    let (before, last) = plan.clone().split_at(&ObjectRef::cluster_scoped("v1", "Namespace", "monitoring"));
    assert_eq!((before.removes, last.removes), (removes[..1].to_vec(), removes[1..].to_vec()));
    let (before, last) = plan.split_at(&ObjectRef::cluster_scoped("v1", "Namespace", "kept"));
    assert_eq!((before.removes, last.removes), (removes, Vec::new()));
}

#[tokio::test]
async fn what_a_schedule_started_is_taken_back_before_it_is_gone() {
    let (client, log) = scripted(|_| Answer::Json(200, json!({"kind": "Status", "apiVersion": "v1"})));
    let schedule = ObjectRef::namespaced("chaos-mesh.org/v1alpha1", "Schedule", "m", "kill");
    delete(&client, &schedule, Some("u")).await.unwrap();
    delete(&client, &ObjectRef::namespaced("v1", "ConfigMap", "m", "rules"), Some("u")).await.unwrap();
    let asked = log.lock().unwrap();
    let policies: Vec<&str> = asked.iter().map(|asked| asked.body["propagationPolicy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["Foreground", "Background"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_fault_is_told_who_takes_it_back() {
    let schedule = ObjectRef::namespaced("chaos-mesh.org/v1alpha1", "Schedule", "m", "kill");
    let found = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule",
        "metadata": {"name": "kill", "namespace": "m", "uid": "u"}});
    let (client, _log) = scripted(move |_| Answer::Json(200, found.clone()));
    let deadline = Instant::now() + Duration::from_secs(5);
    let error = until_gone(&client, &schedule, "u", deadline, &CancellationToken::new()).await.unwrap_err();
    let told = chain_of(&error).join(": ");
    assert!(told.contains("`Schedule m/kill` is still being deleted: Chaos Mesh has not taken back"), "{told}");
    let hint = failure_of(&error).unwrap().hint.clone().unwrap();
    assert!(hint.starts_with("kubectl get podchaos,networkchaos,stresschaos -n m"), "{hint}");
}
