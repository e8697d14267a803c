//! The metrics side of profile `production`, judged by the programs it is for: helm renders the upstream
//! charts with our values, promtool reads what comes out.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::config::Profile;
use drivemaster_mon::render::{Bundle, render};
use drivemaster_mon::stack::KUBERNETES_JOBS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use support::rendered::{
    self, alertmanager_text, bundle, config, containers, find, names, of_kind, own, pod_templates,
};
use support::tool;

/// The releases of the metrics side.
const RELEASES: [&str; 6] = [
    "prometheus",
    "blackbox-exporter",
    "postgres-exporter",
    "redis-exporter",
    "kafka-exporter",
    "elasticsearch-exporter",
];

/// What helm makes of the metrics side of `bundle`.
fn templated(bundle: &Bundle, helm: &str) -> Vec<Value> {
    let releases = bundle.releases.iter().filter(|release| RELEASES.contains(&release.name.as_str()));
    releases.flat_map(|release| rendered::templated(release, helm)).collect()
}

fn pod_specs(objects: &[Value]) -> Vec<(String, Value)> {
    pod_templates(objects).into_iter().map(|(name, template)| (name, template["spec"].clone())).collect()
}

/// What of Pod Security `restricted` the pod breaks.
fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[key] == true {
            found.push(key.to_owned());
        }
    }
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    let allowed = ["name", "configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim", "downwardAPI"];
    for volume in volumes {
        found.extend(volume.as_object().unwrap().keys().filter(|key| !allowed.contains(&key.as_str())).cloned());
    }
    let of_pod = &pod["securityContext"];
    for container in containers(pod) {
        let name = &container["name"];
        let own = &container["securityContext"];
        let either = |key: &str| if own[key].is_null() { &of_pod[key] } else { &own[key] };
        let capabilities = &own["capabilities"];
        for (broken, what) in [
            (own["allowPrivilegeEscalation"] != false, "allowPrivilegeEscalation"),
            (own["privileged"] == true, "privileged"),
            (either("runAsNonRoot") != true, "runAsNonRoot"),
            (either("runAsUser") == 0, "runAsUser"),
            (either("seccompProfile")["type"] != "RuntimeDefault", "seccompProfile"),
            (!capabilities["drop"].as_array().is_some_and(|drop| drop.contains(&json!("ALL"))), "capabilities.drop"),
            (capabilities["add"].as_array().is_some_and(|add| !add.is_empty()), "capabilities.add"),
        ] {
            if broken {
                found.push(format!("{name}: {what}"));
            }
        }
    }
    found
}

#[test]
fn both_helms_render_the_same() {
    let bundle = bundle("");
    let (four, three) = (templated(&bundle, "helm"), templated(&bundle, "helm3"));
    assert!(four.len() > 100, "{}", four.len());
    let sorted = |mut objects: Vec<Value>| {
        objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]));
        objects
    };
    assert_eq!(sorted(four), sorted(three));
    assert_eq!(bundle.releases.iter().filter(|release| RELEASES.contains(&release.name.as_str())).count(), 6);
}

#[test]
fn only_the_node_exporter_needs_more_than_pod_security_restricted() {
    for more in ["", "security: {internalTls: {mode: secret}}"] {
        let objects = templated(&bundle(more), "helm");
        let pods = pod_specs(&objects);
        assert!(pods.len() >= 9, "{}", pods.len());
        for (name, pod) in pods {
            let found = violations(&pod);
            if name == "prometheus-prometheus-node-exporter" {
                assert_eq!(found, ["hostNetwork", "hostPID", "hostPath", "hostPath", "hostPath"]);
            } else {
                assert_eq!(found, Vec::<String>::new(), "{name}");
            }
        }
        for (kind, name) in [("Prometheus", "prometheus"), ("Alertmanager", "alertmanager")] {
            let object = find(&objects, kind, &format!("prometheus-kube-prometheus-{name}"));
            // The operator adds what each container needs.
            assert_eq!(object["spec"]["securityContext"]["runAsNonRoot"], true);
            assert_eq!(object["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        }
        let node = find(&objects, "DaemonSet", "prometheus-prometheus-node-exporter");
        assert_eq!(node["metadata"]["namespace"], "drivemaster-node-exporter");
    }
}

#[test]
fn grafanas_sidecar_may_read_config_maps_and_nothing_else() {
    let bundle = bundle("");
    let mut objects = templated(&bundle, "helm");
    objects.extend(own(&bundle));
    let grafana = find(&objects, "Role", "prometheus-grafana");
    assert_eq!(
        grafana["rules"],
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}])
    );
    let binding = find(&objects, "RoleBinding", "prometheus-grafana");
    let account = binding["subjects"][0]["name"].as_str().unwrap();
    assert!(names(&objects, "ServiceAccount").contains(account), "{account}");
    let others = of_kind(&objects, "RoleBinding").chain(of_kind(&objects, "ClusterRoleBinding"));
    assert_eq!(others.filter(|binding| binding["subjects"].to_string().contains(account)).count(), 1);
}

#[test]
fn no_secret_comes_from_values_and_no_job_runs_in_a_hook() {
    let objects = templated(&bundle(""), "helm");
    // The configuration of Alertmanager, which names files only.
    let secrets = names(&objects, "Secret");
    assert_eq!(secrets, BTreeSet::from(["alertmanager-prometheus-kube-prometheus-alertmanager".to_owned()]));
    let text = alertmanager_text(&objects);
    for word in ["_password:", "api_url:", "routing_key:"] {
        assert!(!text.contains(word), "{word} in\n{text}");
    }
    assert_eq!(names(&objects, "Job"), BTreeSet::new());
    for object in &objects {
        assert!(object["metadata"]["annotations"]["helm.sh/hook"].is_null(), "{}", object["metadata"]["name"]);
    }
}

#[test]
fn every_variable_with_a_password_comes_from_a_secret() {
    let objects = templated(&bundle(""), "helm");
    let wanted = [
        ("postgres-exporter", "DATA_SOURCE_NAME", "postgres-exporter-dsn", "dsn"),
        ("redis-exporter", "REDIS_PASSWORD", "redis-exporter-password", "password"),
        ("kafka-exporter", "SCRAM_PASSWORD", "kafka-exporter-sasl", "password"),
        ("elasticsearch-exporter", "ES_PASSWORD", "elasticsearch-exporter-credentials", "password"),
        ("prometheus-grafana", "GF_SECURITY_ADMIN_PASSWORD", "grafana-admin", "admin-password"),
    ];
    let pods: BTreeMap<String, Value> = pod_specs(&objects).into_iter().collect();
    for (workload, variable, secret, key) in wanted {
        let mut variables =
            containers(&pods[workload]).flat_map(|container| container["env"].as_array().into_iter().flatten());
        let found = variables.find(|found| found["name"] == variable).unwrap_or_else(|| panic!("{variable}"));
        assert_eq!(found["valueFrom"]["secretKeyRef"], json!({"name": secret, "key": key}), "{workload}");
    }
    // Whoever reloads Grafana would need its password; the sidecar has none.
    let sidecar = containers(&pods["prometheus-grafana"]).find(|container| container["name"] != "grafana").unwrap();
    assert!(!sidecar["env"].to_string().contains("secretKeyRef"), "{}", sidecar["env"]);
}

#[test]
fn both_profiles_route_alike_and_show_the_same_datasources() {
    let production = bundle("");
    let receivers = "alertmanager: {groupWait: 10s, receivers: {slack: {enabled: true}, email: {enabled: true}, \
                     pagerduty: {enabled: true}}}";
    let local = render(&config(Profile::Local, receivers)).unwrap();
    let values =
        |bundle: &Bundle| bundle.releases.iter().find(|release| release.name == "prometheus").unwrap().values.clone();
    let (production, local) = (values(&production), values(&local));
    assert_eq!(production["alertmanager"]["config"], local["alertmanager"]["config"]);
    let provisioned = &production["grafana"]["datasources"]["datasources.yaml"]["datasources"];
    assert_eq!(*provisioned, local["grafana"]["datasources"]);
    let uids: Vec<&str> =
        provisioned.as_array().unwrap().iter().map(|source| source["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, ["prometheus", "alertmanager", "loki", "jaeger"]);
}

#[test]
fn both_profiles_load_the_same_rules() {
    // Profile `local` has no probes, by which availability is judged where there are any.
    let bundle = bundle("blackboxExporter: {enabled: false}");
    let local = render(&config(Profile::Local, "ingress: {enabled: true, tls: true}")).unwrap();
    let files = local.objects.iter().find(|object| object.0["metadata"]["name"] == "drivemaster-rules").unwrap();
    let rules: BTreeMap<String, Value> = of_kind(&own(&bundle), "PrometheusRule")
        .map(|rule| (rule["metadata"]["name"].as_str().unwrap().to_owned(), rule["spec"].clone()))
        .collect();
    let mut compared = 0;
    for (file, text) in files.0["data"].as_object().unwrap() {
        let expected: Value = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
        assert_eq!(rules[&format!("drivemaster-{}", file.trim_end_matches(".yaml"))], expected, "{file}");
        compared += 1;
    }
    assert_eq!(compared, rules.len());
    assert_eq!(bundle.expected.rule_groups, local.expected.rule_groups);
}

/// The rules of ours, as files by their names.
fn rule_files(bundle: &Bundle) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for rule in of_kind(&own(bundle), "PrometheusRule") {
        let name = rule["metadata"]["name"].as_str().unwrap().strip_prefix("drivemaster-").unwrap();
        std::fs::write(folder.path().join(format!("{name}.yaml")), rule["spec"].to_string()).unwrap();
    }
    folder
}

fn promtool_tests(folder: &Path, files: &[String]) {
    let mut promtool = Command::new(tool("promtool"));
    let output = promtool.args(["test", "rules"]).args(files).current_dir(folder).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_unit_tests_hold_for_the_rules_of_this_profile_too() {
    // Links to dashboards are those of a Grafana without an Ingress.
    let folder = rule_files(&bundle("ingress: {enabled: false}"));
    let mut files = Vec::new();
    for tests in ["alerts", "alerts/slo"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(tests)).unwrap() {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            if name.ends_with(".test.yaml") {
                std::fs::copy(entry.unwrap().path(), folder.path().join(&name)).unwrap();
                files.push(name);
            }
        }
    }
    promtool_tests(folder.path(), &files);
}

#[test]
fn a_service_is_as_available_as_its_probe_says_and_without_one_as_its_scrape() {
    const CASES: [(&str, &str); 4] = [
        ("probe_success{job=\"health-probes\", service=\"user-service\"} 1, up{job=\"user-service\"} 0", "0"),
        ("probe_success{job=\"health-probes\", service=\"user-service\"} 0, up{job=\"user-service\"} 1", "1"),
        ("up{job=\"user-service\"} 0", "1"),
        ("up{job=\"user-service\"} 1", "0"),
    ];
    let folder = rule_files(&bundle(""));
    let mut tests = Vec::new();
    for (given, slice) in CASES {
        let series = given.split(", up").enumerate().map(|(index, series)| {
            let series = if index == 0 { series.to_owned() } else { format!("up{series}") };
            let (series, value) = series.rsplit_once(' ').unwrap();
            json!({ "series": series, "values": format!("{value}x20") })
        });
        let sample = json!({
            "labels": "slo:sli_slice:bad{slo=\"availability\", service=\"user-service\"}",
            "value": slice.parse::<f64>().unwrap(),
        });
        tests.push(json!({
            "name": given,
            "interval": "15s",
            "input_series": series.collect::<Vec<_>>(),
            "promql_expr_test": [{ "expr": "slo:sli_slice:bad", "eval_time": "1m", "exp_samples": [sample] }],
        }));
    }
    let file = json!({ "rule_files": ["slo-availability.yaml"], "evaluation_interval": "15s", "tests": tests });
    std::fs::write(folder.path().join("probes.test.yaml"), file.to_string()).unwrap();
    promtool_tests(folder.path(), &["probes.test.yaml".to_owned()]);
}

#[test]
fn promtool_accepts_every_rule_of_ours_and_of_the_chart() {
    let bundle = bundle("");
    let mut objects = templated(&bundle, "helm");
    objects.extend(own(&bundle));
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (index, rule) in of_kind(&objects, "PrometheusRule").enumerate() {
        let path = folder.path().join(format!("{index}.json"));
        std::fs::write(&path, rule["spec"].to_string()).unwrap();
        files.push(path);
    }
    assert!(files.len() > 35, "{}", files.len());
    let output = Command::new(tool("promtool")).args(["check", "rules"]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_expected_target_has_one_monitor_and_its_service() {
    let bundle = bundle("");
    let objects = templated(&bundle, "helm");
    let own = own(&bundle);
    let mine = names(&own, "ServiceMonitor");
    let charts = names(&objects, "ServiceMonitor");
    let by_probe = ["health-probes", "url-probes"];
    for target in &bundle.expected.targets {
        let job = target.job.as_str();
        let ours = mine.contains(&format!("drivemaster-{job}"));
        let kubernetes = KUBERNETES_JOBS.iter().any(|row| row.job == job);
        let service = format!("prometheus-kube-prometheus-{job}");
        let of_chart = charts.contains(&target.service) || (kubernetes && charts.contains(&service));
        let makers = usize::from(ours) + usize::from(of_chart) + usize::from(by_probe.contains(&job));
        assert_eq!(makers, 1, "{target:?} by one of {mine:?} {charts:?}");
        let from_here = bundle.releases.iter().filter(|release| RELEASES.contains(&release.name.as_str()));
        let is_ours = target.service.starts_with("prometheus-")
            || from_here.clone().any(|release| release.name == target.service);
        // The operator makes the kubelets' Service.
        if is_ours && job != "kubelet" {
            let found = find(&objects, "Service", &target.service);
            // Without a namespace it is that of the release.
            let namespace = found["metadata"]["namespace"].as_str().unwrap_or("drivemaster-monitoring");
            assert_eq!(namespace, target.namespace, "{target:?}");
        }
    }
    let annotated = usize::from(mine.contains("drivemaster-annotated-services"));
    let expected_of_ours =
        bundle.expected.targets.iter().filter(|target| mine.contains(&format!("drivemaster-{}", target.job)));
    assert_eq!(mine.len(), expected_of_ours.count() + annotated, "{mine:?}");
    for monitor in of_kind(&own, "ServiceMonitor").chain(of_kind(&objects, "ServiceMonitor")) {
        let namespace = monitor["metadata"]["namespace"].as_str().unwrap();
        let selected = &find(&objects, "Prometheus", "prometheus-kube-prometheus-prometheus")["spec"];
        let namespaces = &selected["serviceMonitorNamespaceSelector"]["matchExpressions"][0]["values"];
        assert!(namespaces.as_array().unwrap().iter().any(|selected| selected == namespace), "{namespace}");
    }
}

#[test]
fn a_managed_control_plane_is_neither_scraped_nor_alerted_on_nor_shown() {
    let all = templated(&bundle(""), "helm");
    let managed = templated(&bundle("prometheus: {managedControlPlane: true}"), "helm");
    let in_kube_system = |objects: &[Value]| {
        of_kind(objects, "Service").filter(|service| service["metadata"]["namespace"] == "kube-system").count()
    };
    assert_eq!((in_kube_system(&all), in_kube_system(&managed)), (5, 0));
    for kind in ["ServiceMonitor", "PrometheusRule", "ConfigMap"] {
        let gone: Vec<String> = names(&all, kind).difference(&names(&managed, kind)).cloned().collect();
        assert!(gone.len() >= 4, "{kind}: {gone:?}");
        let parts = ["etcd", "scheduler", "controller-manager", "proxy", "dns"];
        assert!(gone.iter().all(|name| parts.iter().any(|part| name.contains(part))), "{kind}: {gone:?}");
    }
    let rules: String = of_kind(&managed, "PrometheusRule").map(|rule| rule["spec"].to_string()).collect();
    for alert in ["KubeSchedulerDown", "KubeControllerManagerDown", "KubeProxyDown", "etcdMembersDown"] {
        assert!(!rules.contains(alert), "{alert}");
    }
}

#[test]
fn ingress_and_routes_lead_to_the_same_interfaces() {
    let hosts = |objects: &[Value], kind: &str, pointer: &str| -> BTreeSet<String> {
        of_kind(objects, kind).map(|object| object.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
    };
    let ingress = templated(&bundle(""), "helm");
    let expected: BTreeSet<String> =
        ["alerts", "grafana", "prometheus"].iter().map(|host| format!("{host}.drivemaster.com")).collect();
    assert_eq!(hosts(&ingress, "Ingress", "/spec/rules/0/host"), expected);
    let classes: BTreeMap<String, Value> = of_kind(&ingress, "Ingress")
        .map(|object| {
            (object["metadata"]["name"].as_str().unwrap().to_owned(), object["spec"]["ingressClassName"].clone())
        })
        .collect();
    assert_eq!(classes["prometheus-grafana"], "nginx");
    assert_eq!(classes["prometheus-kube-prometheus-prometheus"], "nginx-internal");
    let routes =
        templated(&bundle("ingress: {kind: gateway, gateway: {name: p, internalName: i, namespace: n}}"), "helm");
    assert_eq!(names(&routes, "Ingress"), BTreeSet::new());
    assert_eq!(hosts(&routes, "HTTPRoute", "/spec/hostnames/0"), expected);
}

#[test]
fn a_federation_comes_by_its_own_way_from_its_own_networks() {
    let open = bundle("prometheus: {federation: {enabled: true, sourceRanges: [10.1.0.0/16]}}");
    let own_objects = own(&open);
    let ingress = find(&own_objects, "Ingress", "prometheus-federate");
    assert_eq!(
        ingress["metadata"]["annotations"],
        json!({"nginx.ingress.kubernetes.io/whitelist-source-range": "10.1.0.0/16"})
    );
    assert_eq!(ingress["spec"]["rules"][0]["http"]["paths"][0]["path"], "/federate");
    for more in ["", "prometheus: {federation: {enabled: true}}"] {
        assert_eq!(names(&own(&bundle(more)), "Ingress"), BTreeSet::new(), "{more}");
    }
}

#[test]
fn what_runs_already_stands_in_for_what_is_not_deployed() {
    let more = "prometheus: {enabled: false, existingUrl: 'https://metrics.example.com'}\n\
                loki: {enabled: false, existingUrl: 'https://logs.example.com'}";
    let bundle = bundle(more);
    let objects = templated(&bundle, "helm");
    assert_eq!(names(&objects, "Prometheus"), BTreeSet::new());
    assert_eq!(names(&objects, "ServiceMonitor"), BTreeSet::new());
    assert_eq!(names(&objects, "PrometheusRule"), BTreeSet::new());
    assert!(names(&objects, "Deployment").contains("prometheus-kube-prometheus-operator"), "Alertmanager needs it");
    for kind in ["ServiceMonitor", "Probe", "PrometheusRule"] {
        assert_eq!(names(&own(&bundle), kind), BTreeSet::new());
    }
    let sources = find(&objects, "ConfigMap", "prometheus-grafana")["data"]["datasources.yaml"].as_str().unwrap();
    assert!(
        sources.contains("https://metrics.example.com") && sources.contains("https://logs.example.com"),
        "{sources}"
    );
    assert!(bundle.expected.targets.is_empty());
}

#[test]
fn internal_tls_holds_on_both_sides() {
    let bundle = bundle("security: {internalTls: {mode: secret}}");
    let objects = templated(&bundle, "helm");
    for (kind, part) in [("Prometheus", "prometheus"), ("Alertmanager", "alertmanager")] {
        let name = format!("prometheus-kube-prometheus-{part}");
        let web = &find(&objects, kind, &name)["spec"]["web"]["tlsConfig"];
        assert_eq!(web["keySecret"], json!({"name": format!("{name}-internal-tls"), "key": "tls.key"}));
        let endpoints = find(&objects, "ServiceMonitor", &name)["spec"]["endpoints"].as_array().unwrap();
        for endpoint in endpoints {
            assert_eq!(endpoint["scheme"], "https");
            assert_eq!(endpoint["tlsConfig"]["serverName"], format!("{name}.drivemaster-monitoring.svc"));
        }
    }
    let alerting =
        &find(&objects, "Prometheus", "prometheus-kube-prometheus-prometheus")["spec"]["alerting"]["alertmanagers"][0];
    assert_eq!((&alerting["scheme"], alerting["tlsConfig"]["ca"].is_object()), (&json!("https"), true));
    let own_objects = own(&bundle);
    assert_eq!(find(&own_objects, "ServiceMonitor", "drivemaster-loki")["spec"]["endpoints"][0]["scheme"], "https");
    let text = find(&objects, "ConfigMap", "prometheus-grafana")["data"]["datasources.yaml"].as_str().unwrap();
    let sources: Value = serde_yaml::from_str(text).unwrap();
    let pods: BTreeMap<String, Value> = pod_specs(&objects).into_iter().collect();
    let mounted = pods["prometheus-grafana"]["volumes"].to_string();
    for source in sources["datasources"].as_array().unwrap() {
        let uid = source["uid"].as_str().unwrap();
        assert!(source["url"].as_str().unwrap().starts_with("https://"), "{source}");
        assert_eq!(source["secureJsonData"]["tlsCACert"], format!("$__file{{/etc/grafana/tls/{uid}/ca.crt}}"));
        assert!(mounted.contains(&format!("\"{uid}/ca.crt\"")), "{uid}: {mounted}");
    }
    assert!(!mounted.contains("tls.key"), "{mounted}");
}

#[test]
fn one_registry_stands_before_every_image() {
    let objects = templated(&bundle("images: {registry: registry.example.com/mirror, pullSecrets: [pull]}"), "helm");
    let mut images: Vec<String> = of_kind(&objects, "Prometheus")
        .chain(of_kind(&objects, "Alertmanager"))
        .map(|object| object["spec"]["image"].as_str().unwrap().to_owned())
        .collect();
    for (name, pod) in pod_specs(&objects) {
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull"}]), "{name}");
        images.extend(containers(&pod).map(|container| container["image"].as_str().unwrap().to_owned()));
        for argument in containers(&pod).flat_map(|container| container["args"].as_array().into_iter().flatten()) {
            let argument = argument.as_str().unwrap();
            if let Some((_, image)) = argument.split_once("config-reloader=") {
                images.push(image.to_owned());
            }
        }
    }
    assert!(images.len() >= 12, "{images:?}");
    for image in images {
        let rest = image.strip_prefix("registry.example.com/mirror/").unwrap_or_else(|| panic!("{image}"));
        assert!(!rest.split('/').next().unwrap().contains('.'), "{image} has two registries");
        assert!(!image.ends_with(":latest") && image.contains(':'), "{image}");
    }
}

#[test]
fn series_of_users_are_dropped_at_scrape_in_both_profiles() {
    let more = "privacy: {userMetrics: drop}";
    let production = own(&bundle(more));
    let relabelled =
        |name: &str| find(&production, "ServiceMonitor", name)["spec"]["endpoints"][0]["metricRelabelings"].clone();
    let dropped = json!([{"sourceLabels": ["user_id"], "regex": ".+", "action": "drop"}]);
    assert_eq!(relabelled("drivemaster-user-service"), dropped);
    assert_eq!(relabelled("drivemaster-annotated-services"), dropped);
    assert_eq!(relabelled("drivemaster-redis"), Value::Null);
    let kept = own(&bundle(""));
    assert!(
        find(&kept, "ServiceMonitor", "drivemaster-user-service")["spec"]["endpoints"][0]["metricRelabelings"]
            .is_null()
    );
    let local = render(&config(Profile::Local, more)).unwrap();
    let jobs = &local.releases[0].values["prometheus"]["config"]["scrape_configs"];
    let dropping = jobs.as_array().unwrap().iter().filter(|job| job["metric_relabel_configs"].is_array());
    assert_eq!(dropping.count(), 6, "five services and what asks by annotation");
}
