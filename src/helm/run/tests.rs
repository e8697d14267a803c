use super::*;
use crate::error::{chain_of, exit_code_of};
use crate::render::bundle::Chart;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A folder with a shell script that plays helm.
fn fake(body: &str) -> (TempDir, Helm) {
    fake_program(&format!("if [ \"$1\" = version ]; then echo v4.3.1; exit 0; fi\n{body}"))
}

fn fake_program(body: &str) -> (TempDir, Helm) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("helm");
    std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Another test that forks at this moment still holds the script open for writing.
    while std::process::Command::new(&program).arg("version").output().is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let helm = Helm::locate(Some(&program), None).unwrap();
    (folder, helm)
}

fn release() -> Release {
    Release {
        name: "loki".to_owned(),
        namespace: "m".to_owned(),
        chart: Chart {
            name: "loki".to_owned(),
            version: "0.1.0".to_owned(),
            app_version: "3".to_owned(),
            files: BTreeMap::from([("Chart.yaml".to_owned(), b"name: loki".to_vec())]),
        },
        values: json!({"greeting": "hello from the values"}),
        needs: Vec::new(),
    }
}

async fn upgrade(helm: &Helm, timeout: Duration, cancel: &CancellationToken) -> Result<()> {
    let labels = argv::Labels::of(&release(), "api");
    helm.upgrade(&release(), &labels, Instant::now() + timeout, cancel).await
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn helm_is_found_in_the_path_and_its_absence_is_told() {
    let (folder, _) = fake("");
    let path = std::env::join_paths([Path::new("/nonexistent"), folder.path()]).unwrap();
    assert_eq!(Helm::locate(None, Some(&path)).unwrap().program(), folder.path().join("helm"));
    assert_eq!(exit_code_of(&Helm::locate(None, Some(OsStr::new("/nonexistent"))).unwrap_err()), 3);
    assert_eq!(exit_code_of(&Helm::locate(None, None).unwrap_err()), 3);
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    assert_eq!(exit_code_of(&Helm::locate(Some(&plain), None).unwrap_err()), 3);
}

#[tokio::test]
async fn chart_and_values_reach_helm() {
    let (folder, helm) = fake(
        "echo \"$@\" > \"$OUT/argv\"; cat > \"$OUT/stdin\"; cp \"$4/Chart.yaml\" \"$OUT/chart\"; env > \"$OUT/env\"",
    );
    let helm = helm.with_context(Context {
        arguments: vec!["--kube-context".to_owned(), "sandbox".to_owned()],
        environment: vec![("OUT".into(), folder.path().into()), ("KUBECONFIG".into(), "/tmp/k".into())],
    });
    upgrade(&helm, LONG, &CancellationToken::new()).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("stdin"), r#"{"greeting":"hello from the values"}"#);
    assert_eq!(read("chart"), "name: loki");
    assert!(read("argv").trim().ends_with("--kube-context sandbox"), "{}", read("argv"));
    assert!(!read("argv").contains("hello from the values"));
    assert!(read("env").lines().any(|line| line == "KUBECONFIG=/tmp/k"));
    assert!(read("env").lines().any(|line| line == "HELM_DRIVER=secret"));
}

#[tokio::test]
async fn a_helm_that_hangs_is_stopped_in_order_when_cancelled() {
    let (folder, helm) =
        fake("trap 'echo stopped > \"$OUT/trap\"; exit 1' TERM\ntouch \"$OUT/up\"\nwhile :; do sleep 0.05; done");
    let helm =
        helm.with_context(Context { arguments: Vec::new(), environment: vec![("OUT".into(), folder.path().into())] });
    let cancel = CancellationToken::new();
    let up = folder.path().join("up");
    let stopper = async {
        while !up.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(upgrade(&helm, LONG, &cancel), stopper);
    assert_eq!(exit_code_of(&result.unwrap_err()), 130);
    assert_eq!(std::fs::read_to_string(folder.path().join("trap")).unwrap(), "stopped\n");
}

#[tokio::test]
async fn a_helm_that_ignores_sigterm_is_killed_after_the_grace() {
    let (_folder, mut helm) = fake("trap '' TERM\necho 'still busy' >&2\nwhile :; do sleep 0.05; done");
    helm.grace = Duration::from_millis(200);
    let call = Call {
        argv: vec!["upgrade".to_owned()],
        stdin: Vec::new(),
        deadline: Instant::now() + Duration::from_millis(500),
        stdout_limit: 1024,
    };
    let finished = helm.run(call, &CancellationToken::new()).await.unwrap();
    let error = helm.judge("deploy", finished, "loki", "m").unwrap_err();
    assert_eq!(exit_code_of(&error), 4);
    assert!(chain_of(&error).iter().any(|line| line.contains("still busy")), "{:?}", chain_of(&error));
}

#[tokio::test]
async fn a_flood_on_standard_error_is_cut_and_its_end_is_kept() {
    let (_folder, helm) =
        fake("head -c 20000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo 'Error: the reason' >&2; exit 1");
    let call = Call {
        argv: vec!["upgrade".to_owned()],
        stdin: Vec::new(),
        deadline: Instant::now() + LONG,
        stdout_limit: 1024,
    };
    let finished = helm.run(call, &CancellationToken::new()).await.unwrap();
    assert!(finished.stderr.len() <= 2 * STDERR_LIMIT, "{} bytes kept", finished.stderr.len());
    let error = helm.judge("deploy", finished, "loki", "m").unwrap_err();
    assert_eq!(chain_of(&error).last().unwrap(), "the reason");
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_open_does_not_hang_us() {
    let (_folder, helm) = fake("sleep 30 & echo 'Error: gone' >&2; exit 1");
    let error = upgrade(&helm, LONG, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(chain_of(&error).last().unwrap(), "gone");
}

#[tokio::test]
async fn broken_output_is_an_error_and_not_a_panic() {
    let (_folder, helm) = fake("printf 'a: [\\377'; exit 0");
    let rendered = helm.render(&release(), "v1.37.2", &BTreeSet::new()).await;
    assert_eq!(exit_code_of(&rendered.unwrap_err()), 3);
    let (_folder, helm) = fake_program("echo '<html>'");
    let error = helm.version().await.unwrap_err();
    assert_eq!(exit_code_of(&error), 3);
    assert!(chain_of(&error).iter().any(|line| line.contains("<html>")));
}
