//! An API server that is busy, away, slow, forgetful or wrong: a deploy makes what an undisturbed one makes, or
//! says what stopped it and comes right with the next; `verify` passes nothing that it could not read.
//! The cases share one sandbox, each in a namespace of its own.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::Answer;
use support::fault_proxy::{Fault, FaultProxy, Rule};
use support::sandbox::Sandbox;

/// Grafana and its dashboards: objects of our own, a release, and no program that has to start.
const SMALL: &str = "
prometheus: { enabled: false }
alertmanager: { enabled: false }
loki: { enabled: false }
jaeger: { enabled: false }
otelCollector: { enabled: false }
storage: { class: fast-ssd }
deploy: { failAfterSeconds: 0 }
verify: { timeoutSeconds: 10, mayBeUnknown: [grafana] }
";
/// The file with it, in the folder that the program runs in.
const FILE: &str = "small.yaml";
/// Cases that run at once.
const AT_ONCE: usize = 4;
/// What the draws of the scripts begin with.
const SEED: u64 = 11;

/// How a disturbed deploy ends.
enum End {
    /// With the objects of an undisturbed one; these words are on standard error.
    Right(&'static [&'static str]),
    /// With this exit code, saying these words.
    Stopped(i32, &'static [&'static str]),
}

struct Case {
    namespace: &'static str,
    rules: Vec<Rule>,
    end: End,
}

fn case(namespace: &'static str, rules: &[Rule], end: End) -> Case {
    Case { namespace, rules: rules.to_vec(), end }
}

fn cases() -> Vec<Case> {
    let rule = Rule::new;
    let second = Duration::from_secs(1);
    vec![
        // The longest first.
        case(
            "api-fault-too-slow",
            &[rule(Fault::Stall).of("PATCH", "/configmaps/")],
            End::Stopped(3, &["cannot apply `ConfigMap api-fault-too-slow/", "(tried 2 times in", "did not answer in"]),
        ),
        case(
            "api-fault-busy",
            &[rule(Fault::Busy(429, 1)).chance(0.2).most(8), rule(Fault::Busy(503, 1)).chance(0.2).most(6)],
            End::Right(&["the API server is too busy (HTTP 429)"]),
        ),
        case("api-fault-faulty", &[rule(Fault::Status(500, "InternalError")).chance(0.2).most(40)], End::Right(&[])),
        case("api-fault-broken", &[rule(Fault::BreakOff).except("watch=true").chance(0.2).most(30)], End::Right(&[])),
        case(
            "api-fault-swallowed",
            &[rule(Fault::Swallow).of("PATCH", "").most(6), rule(Fault::Swallow).of("POST", "").most(3)],
            End::Right(&[]),
        ),
        case(
            "api-fault-contended",
            &[
                rule(Fault::Status(409, "Conflict")).of("PATCH", "").chance(0.4).most(8),
                rule(Fault::Status(409, "Conflict")).of("POST", "/leases").most(2),
            ],
            End::Right(&[]),
        ),
        case(
            "api-fault-forgetful",
            &[
                rule(Fault::Status(410, "Expired")).of("GET", "watch=true").chance(0.7),
                rule(Fault::Status(410, "Expired")).of("GET", "/pods").most(2),
            ],
            End::Right(&[]),
        ),
        case("api-fault-dropped", &[rule(Fault::EndAfter(second)).of("GET", "watch=true")], End::Right(&[])),
        case("api-fault-deaf", &[rule(Fault::Stall).of("GET", "watch=true")], End::Right(&[])),
        case(
            "api-fault-slow",
            &[rule(Fault::Stall).of("GET", "/pods").most(1), rule(Fault::Stall).of("PATCH", "/configmaps/").most(1)],
            End::Right(&[]),
        ),
        case(
            "api-fault-away",
            &[rule(Fault::Away(4 * second)).of("PATCH", "/configmaps/").most(1)],
            End::Right(&["the API server is away (", "it is asked again"]),
        ),
        case(
            "api-fault-helm-broken",
            &[rule(Fault::BreakOff).by("Helm").of("PATCH", "").most(1)],
            End::Right(&["it is run again"]),
        ),
        case(
            "api-fault-helm-away",
            &[rule(Fault::Away(2 * second)).by("Helm").of("PATCH", "").most(1)],
            End::Right(&["it is run again"]),
        ),
        case("api-fault-helm", &[rule(Fault::Busy(429, 1)).by("Helm").chance(0.2).most(5)], End::Right(&[])),
        case(
            "api-fault-too-busy",
            &[rule(Fault::Busy(429, 60)).of("PATCH", "/configmaps/")],
            End::Stopped(3, &["cannot apply `ConfigMap api-fault-too-busy/", "too busy and asks for a pause of 60 s"]),
        ),
        case(
            "api-fault-too-faulty",
            &[rule(Fault::Status(500, "InternalError")).of("PATCH", "/configmaps/")],
            End::Stopped(
                3,
                &[
                    "cannot apply `ConfigMap api-fault-too-faulty/",
                    "(tried 4 times in",
                    "the script of the test answers 500",
                ],
            ),
        ),
        case(
            "api-fault-too-contended",
            &[rule(Fault::Status(409, "Conflict")).of("PATCH", "/configmaps/")],
            End::Stopped(
                4,
                &["cannot apply `ConfigMap api-fault-too-contended/", "somebody else changed it at the same time"],
            ),
        ),
        case(
            "api-fault-helm-refused",
            &[rule(Fault::Status(500, "InternalError")).by("Helm").of("", "/deployments")],
            End::Stopped(4, &["helm could not deploy the release `prometheus`", "the script of the test answers 500"]),
        ),
    ]
}

/// `verb` on the small stack in `namespace` by the API server of `kubeconfig`.
fn words<'a>(verb: &[&'a str], namespace: &'a str, kubeconfig: &'a str) -> Vec<&'a str> {
    let mut words = verb.to_vec();
    words.extend(["-n", namespace, "--kubeconfig", kubeconfig, "-f", FILE]);
    words
}

fn command(sandbox: &Sandbox, verb: &[&str], namespace: &str, kubeconfig: &str) -> Command {
    let mut command = sandbox.run.command(&words(verb, namespace, kubeconfig));
    command.env("PATH", sandbox.path());
    command
}

fn run(sandbox: &Sandbox, verb: &[&str], namespace: &str, kubeconfig: &str) -> Answer {
    Answer::from(command(sandbox, verb, namespace, kubeconfig).output().unwrap())
}

const DEPLOY: [&str; 3] = ["deploy", "--yes", "--no-verify"];

/// What stands in `namespace`, the same for every namespace: without its name and what is a digest of it.
fn standing(sandbox: &Sandbox, namespace: &str) -> BTreeMap<String, String> {
    let digest = Regex::new("[0-9a-f]{16,64}").unwrap();
    let plain = |text: &str| digest.replace_all(&text.replace(namespace, "NAMESPACE"), "DIGEST").into_owned();
    let found = sandbox.specifications(namespace);
    found.into_iter().map(|(name, object)| (plain(&name), plain(&object.to_string()))).collect()
}

#[track_caller]
fn same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for name in names {
        assert_eq!(found.get(name), expected.get(name), "{name}: not what an undisturbed deploy makes");
    }
}

#[test]
fn a_disturbed_api_server_costs_time_and_never_the_truth() {
    let sandbox = Sandbox::up();
    sandbox.run.file(FILE, SMALL);
    let direct = sandbox.kubeconfig();
    run(&sandbox, &DEPLOY, "undisturbed", direct.to_str().unwrap()).exits(0);
    let undisturbed = standing(&sandbox, "undisturbed");
    assert!(undisturbed.len() > 10, "{:?}", undisturbed.keys());
    let cases = cases();
    let waiting = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = waiting.lock().unwrap().next() else { return };
                    if catch_unwind(AssertUnwindSafe(|| disturbed(&sandbox, case, &undisturbed))).is_err() {
                        failed.lock().unwrap().push(case.namespace);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {failed:?}");
    std::thread::scope(|scope| {
        scope.spawn(|| an_uninstall_that_loses_its_lock_leaves_the_namespace(&sandbox));
        what_could_not_be_read_is_never_passed(&sandbox);
        credentials_that_end_in_the_middle_are_told(&sandbox);
        an_uninstall_is_done_or_told(&sandbox);
    });
    a_restarted_api_server_is_waited_for(&sandbox, &undisturbed);
}

fn disturbed(sandbox: &Sandbox, case: &Case, undisturbed: &BTreeMap<String, String>) {
    let proxy = FaultProxy::start(&sandbox.kubeconfig());
    let kubeconfig = proxy.kubeconfig(sandbox.run.home.path());
    let kubeconfig = kubeconfig.to_str().unwrap();
    proxy.script(SEED, &case.rules);
    let answer = run(sandbox, &DEPLOY, case.namespace, kubeconfig);
    let struck = proxy.struck();
    assert!(struck.iter().all(|count| *count > 0), "{}: not all rules struck: {struck:?}", case.namespace);
    match &case.end {
        End::Right(says) => {
            let answer = answer.exits(0);
            says.iter().fold(answer, |answer, word| answer.says(word));
        }
        End::Stopped(code, says) => {
            let answer = answer.exits(*code);
            says.iter().fold(answer, |answer, word| answer.says(word));
            proxy.script(SEED, &[]);
            run(sandbox, &DEPLOY, case.namespace, kubeconfig).exits(0);
        }
    }
    same(&standing(sandbox, case.namespace), undisturbed);
    proxy.script(SEED, &[]);
    run(sandbox, &["plan", "--detailed-exitcode"], case.namespace, kubeconfig).exits(0);
}

fn what_could_not_be_read_is_never_passed(sandbox: &Sandbox) {
    let proxy = FaultProxy::start(&sandbox.kubeconfig());
    let kubeconfig = proxy.kubeconfig(sandbox.run.home.path());
    let kubeconfig = kubeconfig.to_str().unwrap();
    let verify = |rules: &[Rule]| {
        proxy.script(SEED, rules);
        run(sandbox, &["verify", "-o", "json"], "undisturbed", kubeconfig)
    };
    let outcomes = |answer: &Answer| -> BTreeMap<String, String> {
        let checks = answer.json()["checks"].as_array().unwrap().clone();
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        checks.iter().map(|check| (word(&check["id"]), word(&check["outcome"]))).collect()
    };
    let calm = outcomes(&verify(&[]));
    let passed = calm.values().filter(|outcome| *outcome == "pass").count();
    assert!(passed > 0, "{calm:?}");
    let read = |fault| Rule::new(fault).of("GET", "/api").except("watch=true");
    for fault in
        [Fault::Status(500, "InternalError"), Fault::BreakOff, Fault::Busy(429, 60), Fault::Status(403, "Forbidden")]
    {
        let answer = verify(&[read(fault)]);
        let found = outcomes(&answer);
        let passed = found.iter().filter(|(_, outcome)| *outcome == "pass").map(|(id, _)| id.as_str());
        // It answers, after all.
        assert_eq!(passed.collect::<Vec<_>>(), ["cluster/api-server-answers"], "{fault:?}");
        answer.exits(3);
    }
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The token of a ServiceAccount is good until the account is gone.
fn credentials_that_end_in_the_middle_are_told(sandbox: &Sandbox) {
    let namespace = "expired";
    sandbox.kubectl(&["create", "namespace", namespace]);
    sandbox.kubectl(&["create", "serviceaccount", "deployer", "-n", namespace]);
    let account = format!("--serviceaccount={namespace}:deployer");
    sandbox.kubectl(&["create", "clusterrolebinding", "deployer", "--clusterrole=cluster-admin", &account]);
    let token = sandbox.kubectl(&["create", "token", "deployer", "-n", namespace]);
    let own: serde_yaml::Value = serde_yaml::from_str(&std::fs::read_to_string(sandbox.kubeconfig()).unwrap()).unwrap();
    let cluster = serde_json::to_string(&own["clusters"][0]["cluster"]).unwrap();
    let kubeconfig = sandbox.run.file(
        "deployer.kubeconfig",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {cluster}}}]\n\
             users: [{{name: a, user: {{token: {}}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n",
            token.trim()
        ),
    );
    let image = "grafana.image.repository=registry.invalid/does-not-exist";
    let verb = [&DEPLOY[..], &["--fail-after", "600", "--set", image]].concat();
    let deploy = spawn(command(sandbox, &verb, namespace, kubeconfig.to_str().unwrap()));
    until("the release is waited for", || {
        sandbox.kubectl(&["get", "pods", "-n", namespace, "-o", "json"]).contains("ImagePullBackOff")
    });
    sandbox.kubectl(&["delete", "serviceaccount", "deployer", "-n", namespace]);
    let answer = Answer::from(deploy.wait_with_output().unwrap()).exits(3);
    answer.says("the API server does not accept the credentials").says("kubectl auth whoami");
}

/// Helm takes a release that it could not read for one that is not there, and objects for none of its own.
fn an_uninstall_is_done_or_told(sandbox: &Sandbox) {
    let proxy = FaultProxy::start(&sandbox.kubeconfig());
    let kubeconfig = proxy.kubeconfig(sandbox.run.home.path());
    let uninstall = |namespace: &str, path: &'static str, most: u32| {
        let refused = Rule::new(Fault::Status(403, "Forbidden")).by("Helm").of("GET", path).most(most);
        proxy.script(SEED, &[refused]);
        let answer = run(sandbox, &["uninstall", "--yes"], namespace, kubeconfig.to_str().unwrap());
        assert!(proxy.struck().iter().all(|count| *count > 0), "{path}: {:?}", proxy.struck());
        answer
    };
    let (done, told) = ("api-fault-helm-broken", "api-fault-helm-away");
    uninstall(done, "/secrets", 1).exits(0).says("it is run again");
    let left = sandbox.kubectl(&["get", "secrets,deployments", "-n", done, "-l", "owner=helm", "-o", "name"]);
    assert_eq!(left.trim(), "");
    assert_eq!(sandbox.kubectl(&["get", "deployments", "-n", done, "-o", "name"]).trim(), "");
    let answer = uninstall(told, "/deployments/", u32::MAX).exits(4);
    answer.says("left objects of it that it could not read").says("[Deployment]");
}

/// Its last step under the lock ends well, and the lock is somebody else's by then.
fn an_uninstall_that_loses_its_lock_leaves_the_namespace(sandbox: &Sandbox) {
    let namespace = "api-fault-deaf";
    let proxy = FaultProxy::start(&sandbox.kubeconfig());
    let kubeconfig = proxy.kubeconfig(sandbox.run.home.path());
    proxy.script(SEED, &[Rule::new(Fault::Stall).of("DELETE", "/persistentvolumeclaims/").most(1)]);
    let verb = ["uninstall", "--all", "--yes"];
    let uninstall = spawn(command(sandbox, &verb, namespace, kubeconfig.to_str().unwrap()));
    until("the claim is being deleted", || proxy.struck().iter().all(|count| *count > 0));
    let holder = r#"{"spec": {"holderIdentity": "somebody else"}}"#;
    sandbox.kubectl(&["patch", "lease", "drivemaster-mon", "-n", namespace, "--type", "merge", "-p", holder]);
    let answer = Answer::from(uninstall.wait_with_output().unwrap()).exits(4);
    answer.says("the lock was lost, another deploy may be at work").says("stopped before the namespaces were removed");
    let phase = sandbox.kubectl(&["get", "namespace", namespace, "-o", "jsonpath={.status.phase}"]);
    assert_eq!(phase, "Active");
    let claims = sandbox.kubectl(&["get", "persistentvolumeclaims", "-n", namespace, "-o", "name"]);
    assert_eq!(claims.trim(), "", "the step itself ended well");
}

/// The API server of the sandbox, started anew; it ends when this is dropped.
struct Restarted(Child);

impl Drop for Restarted {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills the sandbox's API server, and starts it as it was after `pause`.
fn restart(sandbox: &Sandbox, pause: Duration) -> Restarted {
    let folder = sandbox.directory().display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines =
        processes.filter_map(|entry| Some((entry.path(), std::fs::read_to_string(entry.path().join("cmdline")).ok()?)));
    let is_server =
        |line: &str| line.split('\0').next().unwrap().ends_with("/kube-apiserver") && line.contains(&folder);
    let (process, line) = lines.into_iter().find(|(_, line)| is_server(line)).unwrap();
    let mut words = line.trim_end_matches('\0').split('\0');
    let folder = std::fs::read_link(process.join("cwd")).unwrap();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = nix::unistd::Pid::from_raw(process.file_name().unwrap().to_str().unwrap().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    std::thread::sleep(pause);
    Restarted(command.spawn().unwrap())
}

fn a_restarted_api_server_is_waited_for(sandbox: &Sandbox, undisturbed: &BTreeMap<String, String>) {
    let namespace = "restarted";
    let kubeconfig = sandbox.kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    // Helm is met at work: it begins when the server is gone.
    let real = support::tool("helm").display().to_string();
    let slow = format!("#!/bin/sh\n[ \"$1\" = upgrade ] && {{ : >> \"$0.met\"; sleep 1; }}\nexec '{real}' \"$@\"\n");
    let helm = sandbox.run.file("slow-helm", &slow);
    std::fs::set_permissions(&helm, std::fs::Permissions::from_mode(0o755)).unwrap();
    let verb = [&DEPLOY[..], &["--helm", helm.to_str().unwrap()]].concat();
    let deploy = spawn(command(sandbox, &verb, namespace, kubeconfig));
    let met = helm.with_extension("met");
    until("helm is at work", || met.exists());
    let _server = restart(sandbox, Duration::from_secs(3));
    Answer::from(deploy.wait_with_output().unwrap()).exits(0).says("it is run again");
    same(&standing(sandbox, namespace), undisturbed);
    run(sandbox, &["plan", "--detailed-exitcode"], namespace, kubeconfig).exits(0);
}
