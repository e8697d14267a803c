//! The command line without a cluster: help, wrong usage, wrong configuration, no cluster.

#![allow(clippy::unwrap_used)]

mod support;

use support::Run;

#[test]
fn help_names_the_verbs_and_the_exit_codes() {
    let answer = Run::new().run(&["--help"]).exits(0);
    for word in
        ["render", "plan", "deploy", "verify", "status", "access", "port-forward", "uninstall", "sandbox", "Exit codes"]
    {
        assert!(answer.stdout.contains(word), "no `{word}` in:\n{}", answer.stdout);
    }
}

#[test]
fn every_verb_has_examples() {
    for verb in ["render", "plan", "deploy", "verify", "status", "access", "port-forward", "uninstall"] {
        Run::new().run(&[verb, "--help"]).exits(0).prints("Example");
    }
    for verb in [&["images"][..], &["charts", "list"], &["charts", "lock"], &["charts", "pull"]] {
        Run::new().run(&[verb, &["--help"]].concat()).exits(0).prints("Example");
    }
}

#[test]
fn wrong_usage_exits_64() {
    let run = Run::new();
    run.run(&["deplyo"]).exits(64).says("deploy");
    run.run(&["plan", "--nonsense"]).exits(64).says("--nonsense");
    run.run(&["plan", "-o", "yaml"]).exits(64).says("expected `human` or `json`");
    run.run(&["render"]).exits(64).says("-o bundle/");
    run.run::<&str>(&[]).exits(64);
}

#[test]
fn problems_of_the_configuration_come_all_at_once_with_their_place() {
    let run = Run::new();
    run.file("drivemaster-mon.yaml", "promtheus: {}\nloki:\n  enabled: maybe\n");
    let answer = run.run(&["config", "show", "--set", "grafana.sise=1Gi"]).exits(64);
    let answer = answer.says("the configuration has 3 problems");
    let answer = answer.says("drivemaster-mon.yaml:1:1: `promtheus`: unknown key; did you mean `prometheus`?");
    let answer = answer.says("drivemaster-mon.yaml:3:3: `loki.enabled`: expected true or false, found `maybe`");
    answer.says("--set: `grafana.sise`: unknown key").says("hint:");
}

#[test]
fn malformed_yaml_says_where() {
    let run = Run::new();
    run.file("bad.yaml", "prometheus:\n  retention: [\n");
    run.run(&["config", "show", "-f", "bad.yaml"]).exits(64).says("bad.yaml:").says("malformed YAML");
    run.run(&["config", "show", "-f", "missing.yaml"]).exits(64).says("`missing.yaml`").says("No such file");
}

#[test]
fn a_failure_is_one_json_document() {
    let run = Run::new();
    let answer = run.run(&["config", "show", "-o", "json", "--set", "nope=1"]).exits(64);
    let document = answer.json();
    assert_eq!(document["schema"], "drivemaster-mon/error/v1");
    assert_eq!(document["error"]["exitCode"], 64);
}

#[test]
fn the_configuration_is_shown_resolved() {
    let run = Run::new();
    run.file("mine.yaml", "cluster: mine\n");
    let document = run.run(&["config", "show", "-f", "mine.yaml", "-n", "watch", "-o", "json"]).exits(0).json();
    assert_eq!(document["config"]["cluster"], "mine");
    assert_eq!(document["config"]["namespaces"]["monitoring"], "watch");
    let schema = run.run(&["config", "schema"]).exits(0).json();
    assert!(schema["properties"]["prometheus"].is_object());
}

#[test]
fn without_a_cluster_every_verb_says_so() {
    let run = Run::new();
    for verb in ["plan", "status", "verify"] {
        run.run(&[verb]).exits(3).says("kubeconfig").says("hint:");
    }
    run.run(&["deploy", "--yes"]).exits(3).says("kubeconfig");
    run.run(&["uninstall", "--yes"]).exits(3).says("kubeconfig");
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: there\n\
         clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\n\
         contexts: [{{name: there, context: {{cluster: c, user: u}}}}]\n"
    )
}

#[test]
fn an_unreachable_api_server_is_named_with_the_cause() {
    // A port that was free a moment ago refuses.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = Run::new();
    run.file("kubeconfig", &kubeconfig(&format!("https://127.0.0.1:{port}")));
    run.run(&["plan", "--kubeconfig", "kubeconfig"]).exits(3).says(&port.to_string()).says("onnection refused");
}

#[test]
fn a_time_that_no_clock_holds_is_refused() {
    let run = Run::new();
    for option in ["--timeout", "--fail-after"] {
        run.run(&["deploy", option, "18446744073709551615"]).exits(64).says("604800");
    }
    run.run(&["charts", "list", "--outdated", "--timeout", "9999999999"]).exits(64).says("604800");
}

#[test]
fn an_unknown_context_is_told_with_those_there_are() {
    let run = Run::new();
    run.file("kubeconfig", &kubeconfig("https://127.0.0.1:1"));
    run.run(&["plan", "--kubeconfig", "kubeconfig", "--context", "ther"]).exits(3).says("`ther`").says("there");
}

#[test]
fn a_server_that_is_no_api_server_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers everything with 403, as a proxy in between would.
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0_u8; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\nconnection: close\r\n\r\ndenied");
        }
    });
    let run = Run::new();
    run.file("kubeconfig", &kubeconfig(&format!("http://127.0.0.1:{port}")));
    let answer = run.run(&["plan", "--kubeconfig", "kubeconfig"]).exits(3);
    assert!(answer.stderr.to_lowercase().contains("forbid") || answer.stderr.contains("denied"), "{}", answer.stderr);
    assert!(!answer.stderr.contains("Status {"), "{}", answer.stderr);
}

#[test]
fn render_refuses_a_folder_of_somebody_else() {
    let run = Run::new();
    run.file("mine/precious.txt", "x");
    run.run(&["render", "-o", "mine"]).exits(5).says("`precious.txt` is not ours");
    assert!(run.home.path().join("mine/precious.txt").exists());
}

#[test]
fn render_writes_the_same_bytes_twice() {
    let run = Run::new();
    run.run(&["render", "-o", "one"]).exits(0);
    run.run(&["render", "-o", "two"]).exits(0);
    let status =
        std::process::Command::new("diff").args(["-r", "one", "two"]).current_dir(run.home.path()).status().unwrap();
    assert!(status.success());
    run.run(&["render", "-o", "-"]).exits(0).prints("kind: Namespace");
    // A result that nobody gets is not a success.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run.command(&["render", "-o", "-"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn checks_can_be_listed_and_a_wrong_name_is_refused() {
    let run = Run::new();
    run.run(&["verify", "--list"]).exits(0).prints("rules/healthy");
    run.run(&["verify", "--only", "ruls"]).exits(64).says("did you mean `rules`?");
    run.run(&["verify", "--only", "rules,targets/user-service"]).exits(3);
}

#[test]
fn a_template_error_names_file_and_line() {
    let run = Run::new();
    run.file("mine/templates/values/local/loki.yaml", "a: 1\nb: @{ config.lokki.image }@\n");
    let answer = run.run(&["render", "-o", "-", "--overlay", "mine"]).exits(64);
    answer.says("loki.yaml:2").says("lokki");
    run.run(&["render", "-o", "-", "--overlay", "nowhere"]).exits(64).says("`nowhere`");
    run.file("empty/readme.txt", "");
    run.run(&["render", "-o", "-", "--overlay", "empty"]).exits(64).says("alerts/");
}

#[cfg(feature = "sandbox")]
#[test]
fn a_verb_that_only_reads_starts_no_sandbox_of_an_unknown_name() {
    let run = Run::new();
    for verb in [&["verify"][..], &["status"], &["access"], &["port-forward"], &["dashboards", "preview"]] {
        let answer = run.run(&[verb, &["--sandbox=demp"]].concat()).exits(64);
        answer.says("there is no sandbox `demp`").says("sandbox up demp");
    }
    let answer = run.run(&["sandbox", "scenario", "set", "errors", "user-service", "-5%", "--sandbox=demp"]).exits(64);
    answer.says("`-5%` begins like an option, and nothing here takes a negative number");
}

#[test]
fn an_overlay_adds_an_alert() {
    let run = Run::new();
    run.file("mine/alerts/team.yaml", "groups: [{name: team, rules: [{alert: TeamAlert, expr: vector(1)}]}]\n");
    run.run(&["render", "-o", "-", "--overlay", "mine"]).exits(0).prints("TeamAlert");
}

#[test]
fn completion_scripts_are_printed() {
    Run::new().run(&["completion", "bash"]).exits(0).prints("drivemaster-mon");
}

#[test]
fn a_pipe_in_an_overlay_and_an_endless_file_are_refused() {
    let run = Run::new();
    run.file("mine/alerts/a.yaml", "groups: []\n");
    let made = std::process::Command::new("mkfifo").arg(run.home.path().join("mine/alerts/b.yaml")).status().unwrap();
    assert!(made.success());
    run.run(&["render", "-o", "-", "--overlay", "mine"]).exits(64).says("b.yaml").says("not a regular file");
    run.run(&["config", "show", "-f", "/dev/zero"]).exits(64).says("longer than 1 MiB");
}

#[test]
fn thousands_of_nested_blocks_are_a_problem_of_the_file() {
    let run = Run::new();
    run.file("deep.yaml", &(0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>());
    run.run(&["config", "show", "-f", "deep.yaml"]).exits(64).says("deep.yaml:65:65").says("in each other");
}

#[cfg(feature = "sandbox")]
#[test]
fn places_of_a_sandbox_that_cannot_be_used_are_told() {
    let run = Run::new().variable("DRIVEMASTER_MON_STATE", "/proc/self/cmdline");
    run.run(&["sandbox", "up"]).exits(3).says("DRIVEMASTER_MON_STATE");
    run.run(&["sandbox", "list"]).exits(3).says("DRIVEMASTER_MON_STATE");
    let run = Run::new();
    run.run(&["sandbox", "up", "--tools", "nowhere"]).exits(64).says("`--tools nowhere` is not a folder");
}
