//! Profile `production` from end to end on one sandbox: an older release with older definitions first,
//! then ours; a green verify; nothing on no change; what the real programs, the API server and helm
//! say of it; the same once more with Helm 3.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod experiments;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::charts::charts_dir;
use support::fault_proxy::{Fault, FaultProxy, Rule};
use support::production::{archive_of_version, production, store_secrets};
use support::sandbox::Sandbox;
use support::{Answer, tool};

const MONITORING: &str = "drivemaster-monitoring";
const PROMETHEUS: &str = "prometheus-kube-prometheus-prometheus:9090";
const ALERTMANAGER: &str = "prometheus-kube-prometheus-alertmanager:9093";
/// The chart that is deployed in an older form first, its version, and the older one.
const STACK: (&str, &str, &str) = ("kube-prometheus-stack", "88.5.3", "88.5.2");
/// A field of rules that the older definitions lack.
const NEWER_FIELD: &str = "query_offset";

/// The releases of the profile.
const RELEASES: [&str; 11] = [
    "alloy",
    "blackbox-exporter",
    "chaos-mesh",
    "elasticsearch-exporter",
    "jaeger",
    "kafka-exporter",
    "loki",
    "otel-collector",
    "postgres-exporter",
    "prometheus",
    "redis-exporter",
];

/// What needs more of a node than Pod Security grants, and so has a namespace of its own.
const PRIVILEGED: [&str; 2] = ["drivemaster-node-exporter", "chaos-mesh"];

struct Story {
    sandbox: Sandbox,
    charts: String,
}

impl Story {
    fn run(&self, verb: &[&str], options: &[&str]) -> Answer {
        self.sandbox.run(&production(verb, &[&["--charts", &self.charts], options].concat()))
    }

    /// What a program answers through the API server and its Service.
    fn ask(&self, service: &str, path: &str) -> Value {
        let path = format!("/api/v1/namespaces/{MONITORING}/services/{service}/proxy{path}");
        serde_json::from_str(&self.sandbox.kubectl(&["get", "--raw", &path])).unwrap()
    }

    fn helm(&self, program: &str, arguments: &[&str]) -> Value {
        let output = Command::new(tool(program))
            .args(arguments)
            .env("KUBECONFIG", self.sandbox.kubeconfig())
            .env("HOME", self.sandbox.run.home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Status and revision of each release.
    fn releases(&self, program: &str) -> BTreeMap<String, (String, String)> {
        let list = self.helm(program, &["list", "-A", "-o", "json"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| (text(&row["name"]), (text(&row["status"]), text(&row["revision"])))).collect()
    }

    /// UID of each object of `kind`, by namespace and name.
    fn uids(&self, kind: &str) -> BTreeMap<String, String> {
        let list: Value = serde_json::from_str(&self.sandbox.kubectl(&["get", kind, "-A", "-o", "json"])).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = |meta: &Value| format!("{}/{}", text(&meta["namespace"]), text(&meta["name"]));
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| (name(&item["metadata"]), text(&item["metadata"]["uid"]))).collect()
    }
}

#[test]
fn the_whole_stack_is_deployed_upgraded_proven_and_taken_away() {
    let charts = charts_dir().to_str().unwrap().to_owned();
    let story = Story { sandbox: Sandbox::up_for(&production(&[], &[])), charts };
    store_secrets(&story.sandbox, &story.charts);
    let before = an_older_release_stands(&story);
    ours_takes_over_and_verifies(&story, &before);
    nothing_is_written_when_nothing_changed(&story);
    the_api_server_had_nothing_to_say(&story);
    the_three_severities_are_routed(&story);
    every_rule_is_healthy_and_no_alert_fires(&story);
    experiments::an_experiment_is_run_shown_and_taken_back(&story);
    no_program_was_forbidden_anything(&story);
    an_annotated_service_is_scraped_once(&story);
    uninstall_leaves_what_holds_data(&story);
    the_oldest_helm_does_the_same(&story);
    uninstall_all_takes_the_rest(&story);
    no_secret_came_out(&story);
}

/// What must outlive the upgrade.
struct Before {
    claims: BTreeMap<String, String>,
    secrets: Value,
    rule: String,
}

/// Deploys an older chart with definitions that lack a field, and another retention of logs.
fn an_older_release_stands(story: &Story) -> Before {
    let folder = story.sandbox.run.home.path().join("older");
    std::fs::create_dir(&folder).unwrap();
    let (chart, version, older) = STACK;
    for entry in std::fs::read_dir(&story.charts).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == format!("{chart}-{version}.tgz") {
            let bytes = archive_of_version(&path, version, older, |name, content| {
                if !name.ends_with("crd-prometheusrules.yaml") {
                    return content;
                }
                without_field(&String::from_utf8(content).unwrap(), NEWER_FIELD).into_bytes()
            });
            std::fs::write(folder.join(format!("{chart}-{older}.tgz")), bytes).unwrap();
        } else {
            std::fs::copy(&path, folder.join(name)).unwrap();
        }
    }
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("charts.lock.yaml")).unwrap();
    let lock = story.sandbox.run.file("older.lock.yaml", &lock.replace(version, older));
    let options = ["--charts", folder.to_str().unwrap(), "--charts-lock", lock.to_str().unwrap()];
    let sets = ["--set", "loki.retention.audit=4380h"];
    let options = [&options[..], &sets].concat();
    deployed_by_a_disturbed_api_server(story, &options);
    // Whatever was asked twice was done once.
    let plan = story.sandbox.run(&production(&["plan", "-o", "json"], &options)).exits(0).json();
    assert_eq!(plan["steps"], Value::Array(Vec::new()));
    assert!(story.releases("helm").values().all(|(status, revision)| status == "deployed" && revision == "1"));
    assert!(!definition_of_rules(story).contains(NEWER_FIELD), "the older definitions know the newer field");
    let rule = story.sandbox.run.file(
        "rule.yaml",
        &format!(
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {{name: theirs, namespace: {MONITORING}}}\n\
             spec: {{groups: [{{name: theirs, rules: [{{record: theirs, expr: vector(1)}}]}}]}}\n"
        ),
    );
    story.sandbox.kubectl(&["create", "-f", rule.to_str().unwrap()]);
    Before {
        claims: story.uids("persistentvolumeclaims"),
        secrets: secrets_of(story),
        rule: story.uids("prometheusrules")[&format!("{MONITORING}/theirs")].clone(),
    }
}

/// Eleven releases at once by an API server that is busy, faulty, contended and forgets who watches. Of the rules that
/// match a request each strikes until it did so often enough, then the next.
fn deployed_by_a_disturbed_api_server(story: &Story, options: &[&str]) {
    let proxy = FaultProxy::start(&story.sandbox.kubeconfig());
    let kubeconfig = proxy.kubeconfig(story.sandbox.run.home.path());
    let rules = [
        Rule::new(Fault::EndAfter(Duration::from_secs(2))).of("GET", "watch=true").chance(0.5),
        Rule::new(Fault::Swallow).of("PATCH", "").chance(0.1).most(3),
        Rule::new(Fault::Status(409, "Conflict")).of("PATCH", "").chance(0.1).most(3),
        Rule::new(Fault::Busy(429, 1)).except("watch=true").chance(0.05).most(4),
        Rule::new(Fault::Status(500, "InternalError")).except("watch=true").chance(0.05).most(8),
        Rule::new(Fault::BreakOff).except("watch=true").chance(0.05).most(5),
        Rule::new(Fault::Busy(429, 1)).by("Helm").chance(0.02).most(6),
    ];
    proxy.script(7, &rules);
    let values = story.sandbox.run.file("sandbox.yaml", include_str!("../../values/sandbox.yaml"));
    let reached =
        ["--kubeconfig", kubeconfig.to_str().unwrap(), "-f", values.to_str().unwrap(), "--yes", "--no-verify"];
    let mut command = story.sandbox.run.command(&production(&["deploy"], &[options, &reached].concat()));
    Answer::from(command.env("PATH", story.sandbox.path()).output().unwrap()).exits(0);
    assert!(proxy.struck().iter().all(|count| *count > 0), "not all rules struck: {:?}", proxy.struck());
}

fn secrets_of(story: &Story) -> Value {
    let read = |name: &str| {
        let text = story.sandbox.kubectl(&["get", "secret", name, "-n", MONITORING, "-o", "json"]);
        serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
    };
    Value::Array(vec![read("grafana-admin"), read("pseudonym-key"), read("prometheus-kube-prometheus-admission")])
}

fn definition_of_rules(story: &Story) -> String {
    story.sandbox.kubectl(&["get", "crd", "prometheusrules.monitoring.coreos.com", "-o", "json"])
}

/// `text` without the key `field` and everything below it.
fn without_field(text: &str, field: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut kept = String::new();
    let mut leaving: Option<usize> = None;
    for line in text.lines() {
        if leaving.is_some_and(|depth| line.trim().is_empty() || indent(line) > depth) {
            continue;
        }
        leaving = (line.trim() == format!("{field}:")).then(|| indent(line));
        if leaving.is_none() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn ours_takes_over_and_verifies(story: &Story, before: &Before) {
    let document = story.run(&["deploy", "-o", "json"], &[]).exits(0).json();
    let counts = &document["summaryOfChecks"];
    // How many checks there are goes with the configuration; that they are many and none failed does not.
    assert!(counts["passed"].as_u64().unwrap() >= 50, "{counts}");
    assert_eq!((&counts["failed"], &counts["unknown"]), (&Value::from(0), &Value::from(0)), "{counts}");
    let all = document["checks"].as_array().unwrap();
    let checks: BTreeMap<&str, &Value> = all.iter().map(|check| (check["id"].as_str().unwrap(), check)).collect();
    for id in [
        "security/pod-security",
        "chaos/controllers",
        "security/network-policies",
        "platform/probes",
        "prometheus-operator/ready",
        "alertmanager/configuration-loaded",
        "alerts/watchdog-arrives",
        "alerts/none-firing",
        "probes/answer",
        "dashboards/provisioned",
        "dashboards/drivemaster-application-overview",
        "dashboards/drivemaster-infrastructure-overview",
        "dashboards/drivemaster-learning-analytics",
        "dashboards/drivemaster-chaos",
        "dashboards/drivemaster-stack-health",
        "logs/round-trip",
        "logs/scrubbed",
        "logs/retention",
        "traces/round-trip",
        "traces/metrics",
        "chaos-mesh/ready",
        "chaos/paused",
    ] {
        assert_eq!(checks[id]["outcome"], "pass", "{:#}", checks[id]);
    }
    // A wrong name here would never be told: without any schedule it is missing rightly.
    let schedules = story.ask(PROMETHEUS, "/api/v1/query?query=sum(chaos_controller_manager_chaos_schedules)");
    assert_eq!(schedules["data"]["result"].as_array().unwrap().len(), 1, "{schedules}");
    let unknown: Vec<&&str> =
        checks.iter().filter(|(_, check)| check["outcome"] == "unknown").map(|(id, _)| id).collect();
    assert_eq!(unknown, [&"alloy/ready", &"blackbox-exporter/healthy", &"grafana/healthy"]);
    // Nothing was lost, and the definitions are today's.
    let claims = story.uids("persistentvolumeclaims");
    assert!(!before.claims.is_empty());
    assert_eq!(claims, before.claims, "a volume was made anew");
    assert_eq!(secrets_of(story), before.secrets, "a generated Secret was made anew");
    assert_eq!(story.uids("prometheusrules")[&format!("{MONITORING}/theirs")], before.rule);
    assert!(definition_of_rules(story).contains(NEWER_FIELD), "the definitions are the older ones");
    let releases = story.releases("helm");
    assert_eq!(releases.keys().map(String::as_str).collect::<Vec<_>>(), RELEASES);
    for (name, (status, revision)) in &releases {
        let upgraded = ["prometheus", "loki"].contains(&name.as_str());
        assert_eq!((status.as_str(), revision.as_str()), ("deployed", if upgraded { "2" } else { "1" }), "{name}");
    }
    helm_has_room_left(story);
}

/// A Secret holds 1 MiB, and helm keeps the chart in it; with its definitions that of Chaos Mesh takes three quarters.
fn helm_has_room_left(story: &Story) {
    let text =
        story.sandbox.kubectl(&["get", "secrets", "-A", "--field-selector=type=helm.sh/release.v1", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let sizes: BTreeMap<&str, usize> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| {
            let content = secret["data"]["release"].as_str().unwrap();
            (secret["metadata"]["name"].as_str().unwrap(), content.len() * 3 / 4)
        })
        .collect();
    assert!(sizes["sh.helm.release.v1.chaos-mesh.v1"] < 200_000, "{sizes:?}");
    assert!(sizes.values().all(|size| *size < 700_000), "{sizes:?}");
}

fn nothing_is_written_when_nothing_changed(story: &Story) {
    let writes = story.sandbox.writes().len();
    let helm = story.sandbox.requests_of("Helm").len();
    // Verify is the same again, and a few log lines are no write into the cluster.
    let document = story.run(&["deploy", "-o", "json"], &["--no-verify"]).exits(0).json();
    assert_eq!(document["changed"], false);
    assert_eq!(story.sandbox.writes().len(), writes, "{:?}", &story.sandbox.writes()[writes..]);
    assert_eq!(story.sandbox.requests_of("Helm").len(), helm, "helm was started");
}

/// No object was refused or warned about; pods violate Pod Security only where they are meant to.
fn the_api_server_had_nothing_to_say(story: &Story) {
    let mut violating = BTreeSet::new();
    for event in story.sandbox.audit() {
        let note = |name: &str| event["annotations"][name].as_str().map(str::to_owned);
        let namespace = event["objectRef"]["namespace"].as_str().unwrap_or_default().to_owned();
        if let Some(violation) = note("pod-security.kubernetes.io/audit-violations") {
            assert!(PRIVILEGED.contains(&namespace.as_str()), "{}: {violation}", event["requestURI"]);
            violating.insert(namespace);
        }
        let agent = event["userAgent"].as_str().unwrap_or_default();
        if agent.starts_with("drivemaster-mon/") || agent.starts_with("Helm") {
            let code = event["responseStatus"]["code"].as_u64().unwrap_or(200);
            // A client that left its answer behind is noted as 500 too, and then without a reason.
            let is_left = code == 500 && event["responseStatus"]["reason"].is_null();
            // What is not there yet is asked for, what is busy is asked again.
            let fine = code < 400 || is_left || matches!(code, 404 | 409 | 429 | 503);
            assert!(fine, "{} {}: {}", event["verb"], event["requestURI"], event["responseStatus"]);
        }
    }
    assert_eq!(
        violating,
        BTreeSet::from(PRIVILEGED.map(str::to_owned)),
        "the list of exceptions is longer than needed"
    );
}

/// What our programs may do is what they do: the real ones of the sandbox were refused nothing.
fn no_program_was_forbidden_anything(story: &Story) {
    let is_refused = |event: &&Value| matches!(event["responseStatus"]["code"].as_u64(), Some(401 | 403));
    let of_program = |event: &Value| {
        let user = event["user"]["username"].as_str().unwrap_or_default();
        let account =
            user.strip_prefix("system:serviceaccount:").filter(|account| !account.starts_with("kube-system:"));
        account.map(|account| format!("{account}: {} {}", event["verb"], event["requestURI"]))
    };
    let audit = story.sandbox.audit();
    let refused: BTreeSet<String> = audit.iter().filter(is_refused).filter_map(of_program).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let programs: BTreeSet<String> = audit.iter().filter_map(of_program).collect();
    assert!(programs.len() > 20, "{programs:?}");
}

/// amtool judges the configuration that the real Alertmanager runs.
fn the_three_severities_are_routed(story: &Story) {
    let running = story.ask(ALERTMANAGER, "/api/v2/status")["config"]["original"].as_str().unwrap().to_owned();
    let file = story.sandbox.run.file("running.yaml", &running);
    let receivers = |labels: &[&str]| {
        let output = Command::new(tool("amtool"))
            .args(["config", "routes", "test", "--config.file", file.to_str().unwrap()])
            .args(labels)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let configuration: serde_yaml::Value = serde_yaml::from_str(&running).unwrap();
    let channels = |receiver: &str| {
        let receivers = configuration["receivers"].as_sequence().unwrap();
        let found = receivers.iter().find(|found| found["name"].as_str() == Some(receiver)).unwrap();
        let kinds = found.as_mapping().unwrap().keys().filter_map(|key| key.as_str()?.strip_suffix("_configs"));
        kinds.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (severity, expected) in
        [("critical", &["email", "pagerduty", "slack"][..]), ("warning", &["email", "slack"]), ("info", &["slack"])]
    {
        let label = format!("severity={severity}");
        let named = receivers(&["alertname=Any", &label, "service=user-service", "namespace=drivemaster"]);
        let reached: BTreeSet<String> = named.split(',').flat_map(channels).collect();
        assert_eq!(reached, expected.iter().map(|name| (*name).to_owned()).collect(), "{severity}");
    }
    assert!(channels(&receivers(&["alertname=Watchdog", "severity=none"])).is_empty(), "Watchdog reaches a person");
}

/// A real Prometheus runs what the operator made. The groups that are evaluated seldom have their turn within minutes.
fn every_rule_is_healthy_and_no_alert_fires(story: &Story) {
    let end = Instant::now() + Duration::from_secs(400);
    loop {
        let answer = story.ask(PROMETHEUS, "/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().unwrap().clone();
        let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        assert!(rules.len() > 200, "{} rules", rules.len());
        let broken: Vec<_> = rules.iter().filter(|rule| rule["health"] == "err").collect();
        assert!(broken.is_empty(), "{broken:?}");
        let waiting = rules.iter().filter(|rule| rule["health"] != "ok").count();
        if waiting == 0 {
            break;
        }
        assert!(Instant::now() < end, "{waiting} rules have not been evaluated");
        std::thread::sleep(Duration::from_secs(2));
    }
    let document = story.run(&["verify", "-o", "json"], &["--only", "alerts,rules"]).exits(0).json();
    for check in document["checks"].as_array().unwrap() {
        assert_eq!(check["outcome"], "pass", "{check}");
    }
}

/// Whoever annotates a Service is scraped, at every port once, and `verify` takes no offence.
fn an_annotated_service_is_scraped_once(story: &Story) {
    let service: Value = serde_json::from_str(&story.sandbox.kubectl(&[
        "get",
        "service",
        "user-service",
        "-n",
        "drivemaster",
        "-o",
        "json",
    ]))
    .unwrap();
    let port = service["spec"]["ports"][0]["port"].clone();
    let annotations = |name: &str| {
        serde_json::json!({ "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": "drivemaster", "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": port.to_string() } },
            "spec": { "selector": service["spec"]["selector"], "ports": [
                { "name": "http", "port": port }, { "name": "other", "port": 1, "targetPort": port }] } })
    };
    let file = story.sandbox.run.file("annotated.json", &annotations("annotated").to_string());
    story.sandbox.kubectl(&["create", "-f", file.to_str().unwrap()]);
    // This one has a job of its own already.
    story.sandbox.kubectl(&["annotate", "service", "user-service", "-n", "drivemaster", "prometheus.io/scrape=true"]);
    let pods = story.sandbox.kubectl(&["get", "endpoints", "user-service", "-n", "drivemaster", "-o", "json"]);
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let pods = pods["subsets"][0]["addresses"].as_array().unwrap().len();
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let answer = story.ask(PROMETHEUS, "/api/v1/targets?state=active");
        let targets = answer["data"]["activeTargets"].as_array().unwrap().clone();
        let of = |job: &str| targets.iter().filter(|target| target["labels"]["job"] == job).collect::<Vec<_>>();
        let annotated = of("annotated");
        assert!(annotated.len() <= pods, "more targets than {pods} pods: {annotated:?}");
        if annotated.len() == pods && annotated.iter().all(|target| target["health"] == "up") {
            assert_eq!(of("user-service").len(), pods, "{:?}", of("user-service"));
            break;
        }
        assert!(Instant::now() < end, "{annotated:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    let verified = story.run(&["verify", "-o", "json"], &["--only", "targets"]).exits(0).json();
    for check in verified["checks"].as_array().unwrap() {
        assert_eq!(check["outcome"], "pass", "{check}");
    }
    story.sandbox.kubectl(&["delete", "service", "annotated", "-n", "drivemaster"]);
}

fn uninstall_leaves_what_holds_data(story: &Story) {
    let claims = story.uids("persistentvolumeclaims");
    experiments::uninstall_takes_a_fault_back(story, || drop(story.run(&["uninstall"], &[]).exits(0)));
    assert_eq!(story.uids("persistentvolumeclaims"), claims);
    let definitions = story.uids("customresourcedefinitions");
    assert!(definitions.contains_key("/prometheusrules.monitoring.coreos.com"), "{definitions:?}");
    assert!(story.releases("helm").is_empty());
}

fn the_oldest_helm_does_the_same(story: &Story) {
    let helm3 = tool("helm3");
    let with = ["--helm", helm3.to_str().unwrap()];
    story.run(&["deploy"], &with).exits(0);
    let releases = story.releases("helm3");
    assert_eq!(releases.keys().map(String::as_str).collect::<Vec<_>>(), RELEASES);
    assert!(releases.values().all(|(status, _)| status == "deployed"), "{releases:?}");
    let writes = story.sandbox.writes().len();
    let again = story.run(&["deploy", "-o", "json"], &[&with[..], &["--no-verify"]].concat()).exits(0).json();
    assert_eq!(again["changed"], false, "{again}");
    assert_eq!(story.sandbox.writes().len(), writes, "{:?}", &story.sandbox.writes()[writes..]);
}

/// The namespace and one rule are somebody else's here. What an operator, a controller and the programs made of ours is
/// ours.
fn uninstall_all_takes_the_rest(story: &Story) {
    let removed = story.run(&["uninstall", "--all"], &[]).exits(0);
    let (_, kept) = removed.stdout.split_once("Keeps:\n").unwrap();
    let kept: Vec<&str> = kept.lines().filter(|line| !line.starts_with("   ")).map(str::trim).collect();
    let expected = [
        "CustomResourceDefinition prometheusrules.monitoring.coreos.com",
        "Namespace drivemaster",
        "Namespace drivemaster-monitoring",
    ];
    assert_eq!(kept, expected, "{}", removed.stdout);
    // A claim goes once nobody uses it any more.
    let begun = Instant::now();
    let ours =
        || story.uids("persistentvolumeclaims").into_keys().find(|name| name.starts_with("drivemaster-monitoring/"));
    while let Some(claim) = ours() {
        assert!(begun.elapsed() < Duration::from_secs(60), "`{claim}` is still there: {}", removed.stdout);
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn no_secret_came_out(story: &Story) {
    let audit = std::fs::read_to_string(story.sandbox.directory().join("audit.log")).unwrap();
    assert!(!audit.contains("planted"), "a Secret stands in the audit log");
}
