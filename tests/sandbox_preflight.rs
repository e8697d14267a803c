//! What is missing or in the way is named before anything is written; planted secrets come out nowhere.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::charts::charts_dir;
use support::sandbox::Sandbox;
use support::{Answer, tool};

const NAMESPACE: &str = "drivemaster-monitoring";

/// Every key that the built-in configuration needs on the sandbox, with a value that is found nowhere else.
/// Certificates are left to an issuer that the sandbox has not: `ingress.tls` is off.
const SECRETS: &[(&str, &str, &str)] = &[
    ("alertmanager-credentials", "slack-webhook-url", "https://hooks.slack.example.com/planted-zq1"),
    ("alertmanager-credentials", "smtp-password", "planted-zq2"),
    ("alertmanager-credentials", "pagerduty-routing-key", "plantedzq3plantedzq3plantedzq3pl"),
    ("postgres-exporter-dsn", "dsn", "postgresql://exporter:planted-zq4@db.example.com:5432/postgres"),
    ("redis-exporter-password", "password", "planted-zq5"),
    ("kafka-exporter-sasl", "username", "planted-zq6"),
    ("kafka-exporter-sasl", "password", "planted-zq7"),
    ("elasticsearch-exporter-credentials", "username", "planted-zq8"),
    ("elasticsearch-exporter-credentials", "password", "planted-zq9"),
];
/// What each of these values holds.
const PLANTED: &str = "planted";

/// The verb on profile `production` with the charts at hand.
fn production<'a>(verb: &[&'a str], charts: &'a str) -> Vec<&'a str> {
    [verb, &["--profile", "production", "--charts", charts, "--set", "ingress.tls=false"]].concat()
}

fn apply(sandbox: &Sandbox, manifest: &str) {
    let mut kubectl = Command::new(tool("kubectl"))
        .args(["apply", "-f", "-"])
        .env("KUBECONFIG", sandbox.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    assert!(kubectl.wait().unwrap().success(), "{manifest}");
}

/// Stores a value by standard input.
fn set(sandbox: &Sandbox, charts: &str, secret: &str, key: &str, value: &str) -> Answer {
    let name = format!("{secret}/{key}");
    let mut child = sandbox
        .command(&production(&["secrets", "set", &name], charts))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{value}\n").as_bytes()).unwrap();
    Answer::from(child.wait_with_output().unwrap())
}

/// One thing that is missing or in the way: how it comes, how it goes, what is said, and further options.
struct Row {
    plant: Vec<Vec<String>>,
    manifest: &'static str,
    undo: Vec<Vec<String>>,
    options: &'static [&'static str],
    says: Vec<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn row(plant: &[&str], undo: &[&str], says: &[&str]) -> Row {
    let lines = |lines: &[&str]| lines.iter().map(|line| words(line)).collect();
    Row {
        plant: lines(plant),
        manifest: "",
        undo: lines(undo),
        options: &[],
        says: says.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn rows() -> Vec<Row> {
    let object = |manifest: &'static str, undo: &[&str], says: &[&str]| Row { manifest, ..row(&[], undo, says) };
    let option = |options: &'static [&'static str], says: &[&str]| Row { options, ..row(&[], &[], says) };
    let mut rows = vec![
        option(
            &["--set", "storage.class=slow"],
            &["the StorageClass `slow`, which does not exist", "there is `fast-ssd`"],
        ),
        option(&["--set", "ingress.className=absent"], &["the IngressClass `absent`, which does not exist"]),
        option(&["--set", "prometheus.resources.requests.memory=9Ti"], &["fits on no node", "Prometheus"]),
        option(
            &["--set", "security.internalTls.mode=cert-manager"],
            &["certificates.cert-manager.io` does not exist", "install cert-manager"],
        ),
        option(
            &["--set", "ingress.kind=gateway"],
            &["httproutes.gateway.networking.k8s.io` does not exist", "`Gateway gateway-system/public` does not exist"],
        ),
        option(
            &["--set", "helmValues.blackbox-exporter.priorityClassName=urgent"],
            &["names the PriorityClass `urgent`, which does not exist"],
        ),
        object(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: tight, namespace: drivemaster-monitoring}\n\
             spec: {hard: {requests.memory: 1Gi}}\n",
            &["delete resourcequota tight -n drivemaster-monitoring"],
            &["the ResourceQuota `drivemaster-monitoring/tight` leaves 1.0Gi of `requests.memory`"],
        ),
        object(
            "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small, namespace: drivemaster-monitoring}\n\
             spec: {limits: [{type: Container, max: {memory: 1Gi}}]}\n",
            &["delete limitrange small -n drivemaster-monitoring"],
            &["the LimitRange `drivemaster-monitoring/small` allows a container at most 1.0Gi"],
        ),
        object(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {name: default-deny, namespace: drivemaster-monitoring}\nspec: {podSelector: {}}\n",
            &["delete networkpolicy default-deny -n drivemaster-monitoring"],
            &["`NetworkPolicy drivemaster-monitoring/default-deny` is there already and is not ours"],
        ),
        object(
            "apiVersion: v1\nkind: Service\nmetadata: {name: loki, namespace: drivemaster-monitoring}\n\
             spec: {ports: [{port: 1}]}\n",
            &["delete service loki -n drivemaster-monitoring"],
            &["`Service drivemaster-monitoring/loki` is there already, and no Helm release made it"],
        ),
        object(
            "apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\n\
             metadata: {name: sh.helm.release.v1.loki.v1, namespace: drivemaster-monitoring, \
             labels: {owner: helm, name: loki, status: pending-install, version: '1'}}\n",
            &["delete secret sh.helm.release.v1.loki.v1 -n drivemaster-monitoring"],
            &["the release `loki` is `pending-install`", "helm uninstall loki"],
        ),
        object(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: gone}\n\
             webhooks:\n- {name: gone.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Fail, \
             clientConfig: {service: {namespace: default, name: gone}}, \
             rules: [{apiGroups: [apps], apiVersions: [v1], resources: [statefulsets], operations: [CREATE]}]}\n",
            &["delete validatingwebhookconfiguration gone"],
            &["the webhook `gone.example.com` of `gone`", "nothing is ready behind its Service `default/gone`"],
        ),
        object(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {name: probes.monitoring.coreos.com, labels: {app.kubernetes.io/managed-by: Helm}, \
             annotations: {meta.helm.sh/release-name: other, meta.helm.sh/release-namespace: elsewhere}}\n\
             spec: {group: monitoring.coreos.com, scope: Namespaced, names: {kind: Probe, plural: probes, singular: probe}, \
             versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}\n",
            &["delete customresourcedefinition probes.monitoring.coreos.com"],
            &["probes.monitoring.coreos.com` belongs to the release `elsewhere/other`"],
        ),
    ];
    for (secret, key, _) in SECRETS {
        let patch = format!("[{{\"op\":\"remove\",\"path\":\"/data/{key}\"}}]");
        let mut missing = row(
            &[],
            &[],
            &[&format!("the Secret `{NAMESPACE}/{secret}` lacks `{key}`"), "drivemaster-mon secrets set"],
        );
        missing.plant =
            vec![["patch", "secret", secret, "-n", NAMESPACE, "--type=json", "-p", &patch].map(str::to_owned).to_vec()];
        rows.push(missing);
    }
    rows
}

#[test]
fn every_obstacle_is_named_before_anything_is_written() {
    let charts = charts_dir();
    let charts = charts.to_str().unwrap();
    let sandbox = Sandbox::up();
    // Before anything stands: every Secret is named at once, and nothing is made.
    let told = sandbox.run(&production(&["deploy", "--yes", "--no-verify"], charts)).exits(5);
    for (secret, ..) in SECRETS {
        assert!(told.stderr.contains(&format!("the Secret `{NAMESPACE}/{secret}` does not exist")), "{}", told.stderr);
    }
    assert!(sandbox.writes().is_empty(), "{:?}", sandbox.writes());
    sandbox.run(&production(&["secrets", "check"], charts)).exits(1).prints("missing");

    for (secret, key, value) in SECRETS {
        let stored = set(&sandbox, charts, secret, key, value).exits(0);
        assert!(!stored.stdout.contains(PLANTED) && !stored.stderr.contains(PLANTED), "{stored:?}");
    }
    let checked = sandbox.run(&production(&["secrets", "check", "-o", "json"], charts)).exits(0);
    assert_eq!(checked.json()["wrong"], 0);
    assert!(!checked.stdout.contains(PLANTED), "{}", checked.stdout);
    let malformed =
        set(&sandbox, charts, "alertmanager-credentials", "slack-webhook-url", "http://planted-zq1").exits(64);
    assert!(malformed.stderr.contains("`https://`") && !malformed.stderr.contains(PLANTED), "{}", malformed.stderr);

    a_value_comes_from_a_variable_or_a_file(&sandbox, charts);

    let mut wrong = Vec::new();
    for row in rows() {
        let Row { plant, manifest, undo, options, says } = row;
        if !manifest.is_empty() {
            apply(&sandbox, manifest);
        }
        for line in &plant {
            sandbox.kubectl(&line.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let before = sandbox.writes().len();
        let verb = [&production(&["deploy", "--yes", "--no-verify"], charts)[..], options].concat();
        let told = sandbox.run(&verb);
        let unsaid: Vec<&String> = says.iter().filter(|text| !told.stderr.contains(text.as_str())).collect();
        let wrote = sandbox.writes().split_off(before);
        if told.code != 5 || !unsaid.is_empty() || !wrote.is_empty() || told.stderr.contains(PLANTED) {
            wrong.push(format!("{says:?}: exit {}, wrote {wrote:?}:\n{}", told.code, told.stderr));
        }
        for line in &undo {
            sandbox.kubectl(&line.iter().map(String::as_str).collect::<Vec<_>>());
        }
        // The key that the row took away.
        let taken = |secret: &str, key: &str| {
            plant.iter().any(|line| {
                line.contains(&secret.to_owned())
                    && line.iter().any(|word| word.ends_with(&format!("/data/{key}\"}}]")))
            })
        };
        for (secret, key, value) in SECRETS.iter().filter(|(secret, key, _)| taken(secret, key)) {
            set(&sandbox, charts, secret, key, value).exits(0);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    an_old_helm_is_refused(&sandbox, charts);
    somebody_without_rights_is_refused(&sandbox, charts);
    a_namespace_that_goes_is_told(&sandbox, charts);
}

fn a_value_comes_from_a_variable_or_a_file(sandbox: &Sandbox, charts: &str) {
    let [(slack, webhook, slack_value), (smtp, password, smtp_value), ..] = SECRETS else { panic!("too few") };
    let set = |name: &str, option: [&str; 2]| {
        let verb = [&production(&["secrets", "set", name], charts)[..], &option].concat();
        Answer::from(sandbox.command(&verb).env("THE_VALUE", slack_value).output().unwrap())
    };
    let stored = |secret: &str, key: &str| {
        let path = format!("jsonpath={{.data.{key}}}");
        let encoded = sandbox.kubectl(&["get", "secret", secret, "-n", NAMESPACE, "-o", &path]);
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    };
    for (secret, key) in [(slack, webhook), (smtp, password)] {
        let patch = format!("[{{\"op\":\"remove\",\"path\":\"/data/{key}\"}}]");
        sandbox.kubectl(&["patch", "secret", secret, "-n", NAMESPACE, "--type=json", "-p", &patch]);
    }
    sandbox.run(&production(&["secrets", "check"], charts)).exits(1).prints("missing");
    set(webhook, ["--from-env", "THE_VALUE"]).exits(0);
    let file = sandbox.run.file("value", &format!("{smtp_value}\n"));
    set(&format!("{smtp}/{password}"), ["--from-file", file.to_str().unwrap()]).exits(0);
    assert_eq!((stored(slack, webhook).as_str(), stored(smtp, password).as_str()), (*slack_value, *smtp_value));
    set(webhook, ["--from-env", "NOT_SET"]).exits(64).says("`NOT_SET` is not set");
    set(webhook, ["--from-file", "/nowhere/value"]).exits(64).says("cannot read the value from `/nowhere/value`");
    set("no-such-key", ["--from-env", "THE_VALUE"]).exits(64).says("known: alertmanager-credentials/");
    sandbox.run(&production(&["secrets", "check"], charts)).exits(0);
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn an_old_helm_is_refused(sandbox: &Sandbox, charts: &str) {
    let helm = script(sandbox.run.home.path(), "old-helm", "echo v3.2.0");
    let before = sandbox.writes().len();
    let verb = production(&["deploy", "--yes", "--no-verify", "--helm", helm.to_str().unwrap()], charts);
    sandbox.run(&verb).exits(5).says("helm `3.2.0` is not supported");
    assert_eq!(sandbox.writes().len(), before);
}

fn somebody_without_rights_is_refused(sandbox: &Sandbox, charts: &str) {
    apply(
        sandbox,
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: reader, namespace: default}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reader}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}\n\
         subjects: [{kind: ServiceAccount, name: reader, namespace: default}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\n\
         rules: [{apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}]\n",
    );
    let token = sandbox.kubectl(&["create", "token", "reader", "-n", "default"]);
    let config = sandbox.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
    let path = sandbox.run.file("reader.json", &config.to_string());
    let mut verb = production(&["deploy", "--yes", "--no-verify", "--set", "storage.class=fast-ssd"], charts);
    verb.extend(["--set", "prometheus.managedControlPlane=true", "--set", "jaeger.storage=badger"]);
    verb.extend(["--set", "jaeger.archive.enabled=false", "--kubeconfig", path.to_str().unwrap()]);
    let helm = tool("helm");
    verb.extend(["--helm", helm.to_str().unwrap()]);
    let before = sandbox.writes().len();
    let told = sandbox.run.run(&verb).exits(5);
    assert!(told.stderr.contains("not allowed to create"), "{}", told.stderr);
    assert_eq!(sandbox.writes().len(), before);
}

fn a_namespace_that_goes_is_told(sandbox: &Sandbox, charts: &str) {
    apply(
        sandbox,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: chaos-mesh}\n---\napiVersion: v1\nkind: ConfigMap\n\
         metadata: {name: held, namespace: chaos-mesh, finalizers: [example.com/held]}\n",
    );
    sandbox.kubectl(&["delete", "namespace", "chaos-mesh", "--wait=false"]);
    let before = sandbox.writes().len();
    let told = sandbox.run(&production(&["deploy", "--yes", "--no-verify"], charts)).exits(5);
    assert!(told.stderr.contains("the namespace `chaos-mesh` is being deleted"), "{}", told.stderr);
    assert_eq!(sandbox.writes().len(), before);
    let patch = r#"[{"op":"remove","path":"/metadata/finalizers"}]"#;
    sandbox.kubectl(&["patch", "configmap", "held", "-n", "chaos-mesh", "--type=json", "-p", patch]);
}

/// Everything in `folder`, decompressed where it is compressed, that holds the planted mark.
fn leaks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(leaks(&entry));
        } else if entry.is_file() && holds(&std::fs::read(&entry).unwrap_or_default()) {
            found.push(entry);
        }
    }
    found
}

fn holds(bytes: &[u8]) -> bool {
    let encoded = BASE64_STANDARD.encode(PLANTED);
    let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    has(PLANTED.as_bytes()) || has(&encoded.as_bytes()[..8])
}

#[test]
fn planted_secrets_are_found_nowhere_else() {
    let charts = charts_dir();
    let charts = charts.to_str().unwrap();
    let sandbox = Sandbox::up();
    for (secret, key, value) in SECRETS {
        set(&sandbox, charts, secret, key, value).exits(0);
    }
    // A helm that writes down what it is given.
    let record = sandbox.run.home.path().join("record");
    std::fs::create_dir_all(&record).unwrap();
    let text = format!(
        "n={0}/$$\nprintf '%s\\n' \"$@\" > $n.argv\nenv > $n.env\ncase \" $* \" in *' -f - '*|*' --values - '*|*'-f=-'*) tee $n.stdin | {1} \"$@\" ;; *) exec {1} \"$@\" ;; esac",
        record.display(),
        tool("helm").display()
    );
    let helm = script(sandbox.run.home.path(), "helm-that-tells", &text);
    let out = sandbox.run.home.path().join("bundle");
    sandbox.run.run(&production(&["render", "-o", out.to_str().unwrap()], charts)).exits(0);
    assert_eq!(leaks(&out), Vec::<PathBuf>::new());
    // Only one release: what is done with Secrets is the same for each.
    let deploy = production(
        &[
            "deploy",
            "--yes",
            "--no-verify",
            "--verbose",
            "-o",
            "json",
            "--helm",
            helm.to_str().unwrap(),
            "--timeout",
            "120",
        ],
        charts,
    );
    let deployed = sandbox.run.command(&[&deploy[..], &["--sandbox"]].concat()).output().unwrap();
    assert!(!holds(&deployed.stdout) && !holds(&deployed.stderr), "{}", String::from_utf8_lossy(&deployed.stderr));
    let calls = std::fs::read_dir(&record).unwrap().count();
    assert!(calls > 10, "helm wrote down {calls} files: {}", String::from_utf8_lossy(&deployed.stderr));
    assert_eq!(leaks(&record), Vec::<PathBuf>::new());

    let releases: Value =
        serde_json::from_str(&sandbox.kubectl(&["get", "secrets", "-A", "-l", "owner=helm", "-o", "json"])).unwrap();
    let releases = releases["items"].as_array().unwrap();
    assert!(!releases.is_empty());
    for release in releases {
        let once = BASE64_STANDARD.decode(release["data"]["release"].as_str().unwrap()).unwrap();
        let packed = BASE64_STANDARD.decode(&once).unwrap();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
        assert!(!holds(&text), "{}", release["metadata"]["name"]);
    }
    for kind in ["configmaps", "events"] {
        assert!(!holds(sandbox.kubectl(&["get", kind, "-A", "-o", "json"]).as_bytes()), "{kind}");
    }
    let audit = std::fs::read(sandbox.directory().join("audit.log")).unwrap();
    assert!(!holds(&audit), "the audit log holds a value");
}
