//! What goes wrong on a real cluster: each fault is told in one message with the right exit code,
//! and leaves nothing half-applied. The cases share one sandbox, each in a namespace of its own.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::sandbox::Sandbox;
use support::{Answer, Run};

/// What goes wrong, and the test of it.
type Case = (&'static str, fn(&Sandbox));

/// One small component is enough to fail.
const ONLY_LOKI: [&str; 5] = [
    "prometheus.enabled=false",
    "alertmanager.enabled=false",
    "grafana.enabled=false",
    "jaeger.enabled=false",
    "otelCollector.enabled=false",
];

#[test]
fn faults_are_told_with_their_cause_and_leave_nothing_half_applied() {
    let sandbox = Sandbox::up();
    let cases: [Case; 20] = [
        ("a StorageClass that does not exist", a_missing_storage_class_is_refused_before_anything_is_written),
        ("an image that cannot be pulled", an_image_that_cannot_be_pulled_is_named),
        ("a container that crashes", a_crash_loop_is_named),
        ("a pending release", a_pending_release_is_refused_with_the_way_out),
        ("a terminating namespace", a_terminating_namespace_is_refused),
        ("objects of somebody else", objects_of_somebody_else_are_refused_before_anything_is_written),
        ("no rights", a_forbidding_api_server_is_told),
        ("few rights", missing_permissions_are_all_named_before_anything_is_written),
        ("no right to delete", a_release_that_may_not_be_taken_away_is_told_before_anything_is_written),
        ("no helm", a_missing_helm_is_told),
        ("an old or broken helm", an_old_or_broken_helm_is_refused),
        ("the oldest helm", the_oldest_helm_deploys_and_the_newest_takes_over),
        ("a helm that floods", a_helm_that_floods_is_told_by_its_last_words),
        ("a helm that hangs", a_helm_that_hangs_is_stopped),
        ("a helm that is killed", a_helm_that_is_killed_is_told_and_repaired),
        ("a helm that prints nonsense", nonsense_of_helm_is_told),
        ("no home", a_home_that_cannot_be_written_or_is_missing_is_no_obstacle),
        ("a full disk", a_full_disk_is_told),
        ("Ctrl-C", an_interrupt_says_what_stands),
        ("a hand-made change", a_change_by_hand_is_shown_and_put_back),
    ];
    // Two at once: the machine may be small, and each case starts several programs.
    let failed: Vec<&str> = cases
        .chunks(2)
        .flat_map(|pair| {
            std::thread::scope(|scope| {
                let running: Vec<_> = pair.iter().map(|(name, case)| (*name, scope.spawn(|| case(&sandbox)))).collect();
                running.into_iter().filter_map(|(name, case)| case.join().is_err().then_some(name)).collect::<Vec<_>>()
            })
        })
        .collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// `deploy` of Loki alone into `namespace`, with `sets`.
fn arguments<'a>(verb: &[&'a str], namespace: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = verb.to_vec();
    arguments.extend(["-n", namespace]);
    for set in ONLY_LOKI.iter().chain(sets) {
        arguments.extend(["--set", set]);
    }
    arguments
}

fn deploy(sandbox: &Sandbox, namespace: &str, sets: &[&str]) -> Answer {
    sandbox.run(&arguments(&["deploy"], namespace, sets))
}

fn has_namespace(sandbox: &Sandbox, name: &str) -> bool {
    sandbox.kubectl(&["get", "namespaces", "-o", "name"]).lines().any(|line| line == format!("namespace/{name}"))
}

fn a_missing_storage_class_is_refused_before_anything_is_written(sandbox: &Sandbox) {
    deploy(sandbox, "fault-class", &["storage.class=slow"]).exits(5).says("`slow`").says("hint:");
    assert!(!has_namespace(sandbox, "fault-class"));
}

fn an_image_that_cannot_be_pulled_is_named(sandbox: &Sandbox) {
    let image = "loki.image.repository=registry.invalid/does-not-exist";
    let answer = sandbox.run(&arguments(&["deploy", "-o", "json"], "fault-image", &[image])).exits(4);
    let document = answer.json();
    assert_eq!(document["error"]["exitCode"], 4);
    let told = document["error"].to_string();
    for word in ["loki-0", "ImagePullBackOff", "kubectl describe"] {
        assert!(told.contains(word), "no `{word}` in {told}");
    }
    // A service without a ready pod cannot be forwarded.
    let answer =
        sandbox.run(&arguments(&["port-forward", "loki", "--port", "loki=39998"], "fault-image", &[])).exits(3);
    answer.says("loki").says("ImagePullBackOff");
    // The good image mends it, without a question.
    deploy(sandbox, "fault-image", &["verify.timeoutSeconds=20"]).exits(0);
    // A sandbox has one Loki, and the next case needs it.
    sandbox.run(&arguments(&["uninstall", "--yes"], "fault-image", &[])).exits(0);
}

fn a_crash_loop_is_named(sandbox: &Sandbox) {
    let answer = deploy(sandbox, "fault-crash", &["loki.image.repository=registry.invalid/crash-loop"]).exits(4);
    answer.says("loki-0").says("CrashLoopBackOff").says("hint:");
}

fn a_pending_release_is_refused_with_the_way_out(sandbox: &Sandbox) {
    sandbox.kubectl(&["create", "namespace", "fault-pending"]);
    let secret = ["create", "secret", "generic", "sh.helm.release.v1.loki.v1", "-n", "fault-pending"];
    sandbox.kubectl(&[&secret[..], &["--type=helm.sh/release.v1", "--from-literal=release=x"]].concat());
    let labels = ["owner=helm", "name=loki", "status=pending-install", "version=1"];
    let name = "secret/sh.helm.release.v1.loki.v1";
    sandbox.kubectl(&[&["label", "-n", "fault-pending", name][..], &labels[..]].concat());
    deploy(sandbox, "fault-pending", &[]).exits(5).says("pending-install").says("helm");
    let objects = sandbox.kubectl(&["get", "statefulsets,services", "-n", "fault-pending", "-o", "name"]);
    assert!(objects.is_empty(), "{objects}");
}

fn a_terminating_namespace_is_refused(sandbox: &Sandbox) {
    sandbox.kubectl(&["create", "namespace", "fault-ending"]);
    sandbox.kubectl(&["create", "configmap", "keeps", "-n", "fault-ending"]);
    let patch = |finalizers: &str| {
        let patch = format!("{{\"metadata\":{{\"finalizers\":{finalizers}}}}}");
        sandbox.kubectl(&["patch", "configmap", "keeps", "-n", "fault-ending", "--type=merge", "-p", &patch]);
    };
    patch("[\"drivemaster.com/test\"]");
    sandbox.kubectl(&["delete", "namespace", "fault-ending", "--wait=false"]);
    deploy(sandbox, "fault-ending", &[]).exits(5).says("`fault-ending`").says("is being deleted");
    patch("null");
}

fn objects_of_somebody_else_are_refused_before_anything_is_written(sandbox: &Sandbox) {
    sandbox.kubectl(&["create", "namespace", "fault-taken"]);
    sandbox.kubectl(&["create", "service", "clusterip", "loki", "--tcp=3100", "-n", "fault-taken"]);
    deploy(sandbox, "fault-taken", &[]).exits(5).says("`Service fault-taken/loki` is there already").says("hint:");
    let objects = sandbox.kubectl(&["get", "statefulsets", "-n", "fault-taken", "-o", "name"]);
    assert!(objects.is_empty(), "{objects}");
}

/// A kubeconfig of the ServiceAccount `name`, made in `namespace`.
fn account(sandbox: &Sandbox, namespace: &str, name: &str) -> PathBuf {
    sandbox.kubectl(&["create", "namespace", namespace]);
    sandbox.kubectl(&["create", "serviceaccount", name, "-n", namespace]);
    let token = sandbox.kubectl(&["create", "token", name, "-n", namespace]);
    let own = std::fs::read_to_string(sandbox.kubeconfig()).unwrap();
    let value: serde_yaml::Value = serde_yaml::from_str(&own).unwrap();
    let cluster = serde_json::to_string(&value["clusters"][0]["cluster"]).unwrap();
    sandbox.run.file(
        &format!("{name}.kubeconfig"),
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {cluster}}}]\n\
             users: [{{name: a, user: {{token: {}}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n",
            token.trim()
        ),
    )
}

/// Runs `verb` of Loki alone outside the sandbox's own attachment, with `kubeconfig`.
fn as_account(sandbox: &Sandbox, verb: &[&str], namespace: &str, kubeconfig: &str, path: &std::ffi::OsStr) -> Answer {
    let mut words = arguments(verb, namespace, &[]);
    words.extend(["--kubeconfig", kubeconfig, "--quiet"]);
    Answer::from(sandbox.run.command(&words).env("PATH", path).output().unwrap())
}

fn a_forbidding_api_server_is_told(sandbox: &Sandbox) {
    let kubeconfig = account(sandbox, "fault-nobody", "nobody");
    let answer = as_account(sandbox, &["plan"], "fault-nobody", kubeconfig.to_str().unwrap(), &sandbox.path()).exits(5);
    answer.says("forbidden").says("nobody");
}

fn missing_permissions_are_all_named_before_anything_is_written(sandbox: &Sandbox) {
    let kubeconfig = account(sandbox, "fault-reader", "reader");
    let binding = ["create", "clusterrolebinding", "fault-reader", "--clusterrole=view"];
    sandbox.kubectl(&[&binding[..], &["--serviceaccount=fault-reader:reader"]].concat());
    let role = ["create", "clusterrole", "fault-lists", "--verb=get,list,watch"];
    sandbox.kubectl(&[&role[..], &["--resource=secrets,namespaces,nodes,storageclasses.storage.k8s.io"]].concat());
    let binding = ["create", "clusterrolebinding", "fault-lists", "--clusterrole=fault-lists"];
    sandbox.kubectl(&[&binding[..], &["--serviceaccount=fault-reader:reader"]].concat());
    let path = sandbox.path();
    let answer =
        as_account(sandbox, &["deploy", "--yes"], "fault-reader", kubeconfig.to_str().unwrap(), &path).exits(5);
    answer.says("`StatefulSet`").says("`Secret`").says("`Namespace`").says("kubectl auth can-i");
    let objects = sandbox.kubectl(&["get", "all", "-n", "fault-reader", "-o", "name"]);
    assert!(objects.is_empty(), "{objects}");
}

/// Helm would say that the release is gone, and leave what it may not read.
fn a_release_that_may_not_be_taken_away_is_told_before_anything_is_written(sandbox: &Sandbox) {
    let kubeconfig = account(sandbox, "fault-keeper", "keeper");
    let rights = sandbox.run.file(
        "keeper.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: fault-keeper}\nrules:\n\
         - {apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch, create, update, patch, bind, escalate]}\n\
         - {apiGroups: ['', rbac.authorization.k8s.io, coordination.k8s.io], resources: ['*'], verbs: [delete]}\n",
    );
    sandbox.kubectl(&["apply", "-f", rights.to_str().unwrap()]);
    let binding = ["create", "clusterrolebinding", "fault-keeper", "--clusterrole=fault-keeper"];
    sandbox.kubectl(&[&binding[..], &["--serviceaccount=fault-keeper:keeper"]].concat());
    sandbox.run(&arguments(&["deploy", "--no-verify"], "fault-keeper", &GRAFANA)).exits(0);
    let verb = ["deploy", "--yes", "--no-verify"];
    let kubeconfig = kubeconfig.to_str().unwrap();
    let answer = as_account(sandbox, &verb, "fault-keeper", kubeconfig, &sandbox.path()).exits(5);
    answer.says("not allowed to delete objects of kind `Deployment` in namespace `fault-keeper`");
    let objects = sandbox.kubectl(&["get", "statefulsets,deployments", "-n", "fault-keeper", "-o", "name"]);
    assert!(objects.contains("grafana") && !objects.contains("loki"), "{objects}");
    let answer = as_account(sandbox, &["uninstall", "--yes"], "fault-keeper", kubeconfig, &sandbox.path()).exits(5);
    answer.says("not allowed to delete objects of kind `Deployment` in namespace `fault-keeper`");
    let left = sandbox.kubectl(&["get", "deployments,secrets", "-n", "fault-keeper", "-o", "name"]);
    assert!(left.contains("/prometheus-grafana") && left.contains("sh.helm.release.v1.prometheus."), "{left}");
}

fn a_missing_helm_is_told(sandbox: &Sandbox) {
    let kubeconfig = sandbox.kubeconfig();
    let nowhere = std::ffi::OsStr::new("/nonexistent");
    let answer =
        as_account(sandbox, &["deploy", "--yes"], "fault-helm", kubeconfig.to_str().unwrap(), nowhere).exits(3);
    answer.says("helm").says("hint:");
    assert!(!has_namespace(sandbox, "fault-helm"));
}

fn an_old_or_broken_helm_is_refused(sandbox: &Sandbox) {
    let script = |name: &str, text: &str| {
        let path = sandbox.run.file(name, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old = script("old-helm", "echo v3.5.4");
    sandbox.run(&arguments(&["deploy", "--helm", &old], "fault-old", &[])).exits(5).says("3.5.4").says("3.14");
    let broken = script("broken-helm", "echo '{\"half\": '");
    sandbox.run(&arguments(&["deploy", "--helm", &broken], "fault-old", &[])).exits(3).says("broken-helm");
    assert!(!has_namespace(sandbox, "fault-old"));
}

/// A helm of `name` that does as `script` says for the verb `upgrade`, `$helm` being a real one that does the rest.
fn odd_helm(sandbox: &Sandbox, name: &str, verb: &str, script: &str) -> String {
    let real = support::tool("helm").display().to_string();
    let text = format!("#!/bin/sh\nhelm='{real}'\nif [ \"$1\" = {verb} ]; then\n{script}\nfi\nexec \"$helm\" \"$@\"\n");
    let path = sandbox.run.file(name, &text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// Grafana instead of Loki: nothing has to start behind it.
const GRAFANA: [&str; 2] = ["loki.enabled=false", "grafana.enabled=true"];

fn a_helm_that_floods_is_told_by_its_last_words(sandbox: &Sandbox) {
    let flood = "head -c 1000000 /dev/zero | tr '\\0' x >&2\necho 'Error: the last words' >&2\nexit 1";
    let helm = odd_helm(sandbox, "flooding-helm", "upgrade", flood);
    let verb = ["deploy", "--no-verify", "--helm", &helm];
    let answer = sandbox.run(&arguments(&verb, "fault-flood", &GRAFANA)).exits(4).says("the last words");
    assert!(answer.stderr.len() < 10_000, "{} bytes of it are passed on", answer.stderr.len());
}

fn a_helm_that_hangs_is_stopped(sandbox: &Sandbox) {
    let helm = odd_helm(sandbox, "hanging-helm", "upgrade", "echo 'still thinking' >&2\nexec sleep 98765");
    let verb = ["deploy", "--no-verify", "--timeout", "3", "--helm", &helm];
    let answer = sandbox.run(&arguments(&verb, "fault-hang", &GRAFANA)).exits(4);
    let stopped = "helm did not finish with the release `prometheus` in time and was stopped";
    answer.says(stopped).says("still thinking");
    // A release may have a time of its own.
    let sets = [&GRAFANA[..], &["deploy.releaseTimeouts.prometheus=3"]].concat();
    let verb = ["deploy", "--no-verify", "--helm", &helm];
    let begun = Instant::now();
    sandbox.run(&arguments(&verb, "fault-hang", &sets)).exits(4).says(stopped);
    assert!(begun.elapsed() < Duration::from_secs(40), "it had the time of all: {:?}", begun.elapsed());
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    assert_eq!(lines.filter(|line| line.contains("sleep\098765")).count(), 0, "it is still there");
}

fn a_helm_that_is_killed_is_told_and_repaired(sandbox: &Sandbox) {
    // Once it has written that it is at work.
    let script = "exec 3<&0\n\"$helm\" \"$@\" <&3 >&2 &\nfor try in $(seq 300); do [ -z \"$(\"$helm\" list -q --pending -n \
                  fault-kill --kube-context sandbox-default)\" ] || break; sleep 0.1; done\nkill -9 $!\nkill -9 $$";
    let slow = ["grafana.enabled=true", "loki.enabled=false", "grafana.image.repository=registry.invalid/slow"];
    let helm = odd_helm(sandbox, "killed-helm", "upgrade", script);
    let verb = ["deploy", "--no-verify", "--helm", &helm];
    let overlay = slow_hook(sandbox);
    let mut words = arguments(&verb, "fault-kill", &slow);
    words.extend(["--overlay", &overlay]);
    sandbox.run(&words).exits(4).says("helm was killed by signal 9 while it worked on the release `prometheus`");
    sandbox.run(&arguments(&["plan"], "fault-kill", &GRAFANA)).exits(0).prints("repair (pending-install)");
    sandbox.run(&arguments(&["deploy", "--no-verify"], "fault-kill", &GRAFANA)).exits(0);
    sandbox.run(&arguments(&["plan", "--detailed-exitcode"], "fault-kill", &GRAFANA)).exits(0);
}

/// An overlay whose chart has a hook that takes long, so that helm can be met at work.
fn slow_hook(sandbox: &Sandbox) -> String {
    let hook = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: slow\n  namespace: {{ .Release.Namespace }}\n  \
                annotations: {helm.sh/hook: pre-install}\nspec:\n  restartPolicy: Never\n  securityContext: \
                {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}\n  containers:\n  - name: a\n    \
                image: registry.invalid/never-ready\n    \
                securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n";
    sandbox.run.file("slow-hook/templates/charts/prometheus/templates/slow.yaml", hook);
    sandbox.run.home.path().join("slow-hook").display().to_string()
}

fn nonsense_of_helm_is_told(sandbox: &Sandbox) {
    let helm = odd_helm(sandbox, "nonsense-helm", "template", "echo 'a: [b'\nexit 0");
    let verb = ["deploy", "--no-verify", "--helm", &helm];
    let answer = sandbox.run(&arguments(&verb, "fault-nonsense", &GRAFANA)).exits(3);
    answer.says("nonsense-helm` printed for the release `prometheus` is no YAML");
}

fn a_home_that_cannot_be_written_or_is_missing_is_no_obstacle(sandbox: &Sandbox) {
    let words = |namespace: &'static str| {
        let mut words = arguments(&["deploy", "--no-verify"], namespace, &GRAFANA);
        words.push("--sandbox");
        words
    };
    // Nobody can write there, not even root.
    let mut command = sandbox.run.command(&words("fault-home"));
    for name in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(name, "/proc/sys");
    }
    Answer::from(command.output().unwrap()).exits(0);
    let mut command = sandbox.run.command(&words("fault-homeless"));
    Answer::from(command.env_remove("HOME").output().unwrap()).exits(0);
}

fn a_full_disk_is_told(sandbox: &Sandbox) {
    let verb = ["deploy", "--no-verify"];
    let mut words = arguments(&verb, "fault-full", &GRAFANA);
    words.push("--sandbox");
    let program = sandbox.run.command(&words);
    // Files may not grow, which is how a full disk looks to who writes.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]).arg(program.get_program());
    shell.args(program.get_args()).env_clear().current_dir(sandbox.run.home.path());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let answer = Answer::from(shell.output().unwrap()).exits(3);
    answer.says("cannot write").says("for the chart `prometheus`").says("TMPDIR");
    assert!(!has_namespace(sandbox, "fault-full"));
    let full = arguments(&["plan", "--out", "/dev/full"], "fault-full", &GRAFANA);
    sandbox.run(&full).exits(64).says("/dev/full").says("No space left on device");
}

fn the_oldest_helm_deploys_and_the_newest_takes_over(sandbox: &Sandbox) {
    let oldest = support::tool("helm3");
    let verb = ["deploy", "--no-verify", "--helm", oldest.to_str().unwrap()];
    sandbox.run(&arguments(&verb, "fault-helm3", &[])).exits(0);
    sandbox.run(&arguments(&["plan", "--detailed-exitcode"], "fault-helm3", &[])).exits(0);
    let newer = ["loki.retention.audit=9000h"];
    sandbox.run(&arguments(&["deploy", "--no-verify"], "fault-helm3", &newer)).exits(0);
    sandbox.run(&arguments(&["plan", "--detailed-exitcode"], "fault-helm3", &newer)).exits(0);
}

fn an_interrupt_says_what_stands(sandbox: &Sandbox) {
    let image = "loki.image.repository=registry.invalid/does-not-exist";
    let words = ["deploy", "-o", "json", "--fail-after", "600"];
    let mut words = arguments(&words, "fault-interrupt", &[image]);
    words.push("--sandbox");
    let mut child = sandbox.run.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // The cause is in the stream of events, long before the wait ends.
    assert!(lines.by_ref().any(|line| line.unwrap().contains("ImagePullBackOff")));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["exitCode"], 130);
    assert!(document["error"].to_string().contains("loki") || rest.join("\n").contains("loki"), "{document}");
}

fn a_change_by_hand_is_shown_and_put_back(sandbox: &Sandbox) {
    let sets = ["grafana.enabled=true", "loki.enabled=false", "verify.timeoutSeconds=20"];
    deploy(sandbox, "fault-hand", &sets).exits(0);
    let name = "drivemaster-dashboard-application-overview";
    sandbox.kubectl(&["label", "configmap", name, "-n", "fault-hand", "--overwrite", "grafana_dashboard=0"]);
    let plan = sandbox.run(&arguments(&["plan"], "fault-hand", &sets)).exits(0);
    let plan = plan.prints(&format!("ConfigMap fault-hand/{name}")).prints("grafana_dashboard: 0 -> 1");
    assert!(plan.stdout.contains("0 to create, 1 to update"), "{}", plan.stdout);
    deploy(sandbox, "fault-hand", &sets).exits(0);
    let label = sandbox.kubectl(&[
        "get",
        "configmap",
        name,
        "-n",
        "fault-hand",
        "-o",
        "jsonpath={.metadata.labels.grafana_dashboard}",
    ]);
    assert_eq!(label, "1");
}

#[test]
fn missing_programs_of_the_sandbox_are_named_all_at_once() {
    let run = Run::new();
    let state = run.home.path().join("state");
    let empty = run.home.path().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let mut command = run.command(&["deploy", "--sandbox", "--quiet"]);
    command.env("DRIVEMASTER_MON_STATE", &state).env("DRIVEMASTER_MON_TOOLS", &empty).env("PATH", &empty);
    let answer = Answer::from(command.output().unwrap()).exits(3);
    answer.says("etcd").says("kube-apiserver").says("kwok").says("prometheus").says("make tools");
}
