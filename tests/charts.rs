//! Upstream charts are what the lock says: from a folder, the cache, a chart repository, an OCI
//! registry; with the real helm of both majors.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use support::charts::{Fault, Server, archive, charts_dir, digest};
use support::{Answer, Run, tool};

const HELMS: [&str; 2] = ["helm", "helm3"];

/// A lock of one chart `a` in version 1.2.3.
fn lock(run: &Run, repository: &str, more: &str) {
    let text = format!("charts:\n- name: a\n  repository: {repository}\n  version: 1.2.3\n  appVersion: '7'\n{more}");
    run.file("lock.yaml", &text);
}

fn charts(run: &Run, helm: &str, arguments: &[&str]) -> Answer {
    let helm = tool(helm).display().to_string();
    let mut all = vec!["charts"];
    all.extend(arguments);
    all.extend(["--charts-lock", "lock.yaml", "--helm", &helm]);
    run.run(&all)
}

/// The archives in the cache.
fn cached(run: &Run) -> Vec<PathBuf> {
    let below = |folder: PathBuf| {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    below(run.home.path().join(".cache/drivemaster-mon/charts")).into_iter().flat_map(below).collect()
}

#[test]
fn a_folder_gives_the_locked_version_and_no_other() {
    let run = Run::new();
    let bytes = archive("a", "1.2.3");
    lock(&run, "https://charts.invalid", &format!("  digest: {}\n", digest(&bytes)));
    let folder = run.home.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a-1.10.0.tgz"), archive("a", "1.10.0")).unwrap();
    let pull = ["pull", "--charts", "folder", "--to", "out"];
    charts(&run, "helm", &pull).exits(5).says("`a-1.10.0.tgz` where the lock names version 1.2.3 of chart `a`");

    std::fs::write(folder.join("a-1.2.3.tgz"), &bytes).unwrap();
    charts(&run, "helm", &pull).exits(0).prints("1 charts are in out");
    assert_eq!(std::fs::read(run.home.path().join("out/a-1.2.3.tgz")).unwrap(), bytes);

    let other = archive("a", "1.2.4");
    std::fs::write(folder.join("a-1.2.3.tgz"), &other).unwrap();
    charts(&run, "helm", &pull).exits(5).says(&digest(&other)).says(&digest(&bytes)).says("hint:");

    // Without a digest the archive's own word counts.
    lock(&run, "https://charts.invalid", "");
    std::fs::write(folder.join("a-1.2.3.tgz"), archive("b", "1.2.3")).unwrap();
    let render = ["render", "--profile", "production", "-o", "x", "--charts", "folder", "--charts-lock", "lock.yaml"];
    run.run(&render).exits(64).says("the lock of charts `lock.yaml` has no chart `");
    std::fs::write(folder.join("a-1.2.3.tgz"), &bytes[..bytes.len() / 2]).unwrap();
    charts(&run, "helm", &["lock", "--charts", "folder"]).exits(0).prints("digest: sha256:");
}

#[test]
fn the_archives_at_hand_are_locked_by_their_digests() {
    let run = Run::new();
    let folder = charts_dir().display().to_string();
    let answer = run.run(&["charts", "lock", "--charts", &folder, "--to", "my.lock.yaml"]).exits(0);
    answer.prints("locked 11 charts in my.lock.yaml");
    let pull = ["charts", "pull", "loki", "--charts-lock", "my.lock.yaml", "-o", "json"];
    let document = run.run(&[&pull[..], &["--charts", &folder]].concat()).exits(0).json();
    assert_eq!(document["charts"][0]["name"], "loki");
    let text = std::fs::read_to_string(run.home.path().join("my.lock.yaml")).unwrap();
    assert!(text.contains(document["charts"][0]["digest"].as_str().unwrap()), "{text}");
    // One byte more, and it is another archive.
    let name = "loki-18.11.0.tgz";
    let mut bytes = std::fs::read(charts_dir().join(name)).unwrap();
    bytes.push(0);
    std::fs::create_dir(run.home.path().join("changed")).unwrap();
    std::fs::write(run.home.path().join("changed").join(name), bytes).unwrap();
    run.run(&[&pull[..], &["--charts", "changed"]].concat()).exits(5);
}

#[test]
fn a_repository_fills_the_cache_and_the_cache_needs_no_repository() {
    for helm in HELMS {
        let run = Run::new();
        let server = Server::repository();
        let bytes = archive("a", "1.2.3");
        server.publish("a", "1.2.3", &bytes);
        server.publish("a", "1.3.0", &archive("a", "1.3.0"));
        server.publish("a", "2.0.0-rc.1", &archive("a", "2.0.0-rc.1"));
        lock(&run, &server.url(), "");
        let said = charts(&run, helm, &["pull"]).exits(0).says("accepted by version alone").says("`a`");
        assert!(said.stdout.contains("1 charts are in"), "{}", said.stdout);
        assert_eq!(cached(&run).len(), 1, "{helm}");

        let listed = charts(&run, helm, &["list", "--outdated", "-o", "json"]).exits(0).json();
        let row = &listed["charts"][0];
        assert_eq!((&row["newest"], &row["outdated"], &row["cached"]), (&"1.3.0".into(), &true.into(), &true.into()));

        lock(&run, &server.url(), &format!("  digest: {}\n", digest(&bytes)));
        let before = server.asked().len();
        charts(&run, helm, &["pull"]).exits(0);
        assert_eq!(server.asked().len(), before, "the cache was there");

        // Somebody changed the cache: it is neither used nor kept.
        std::fs::write(&cached(&run)[0], archive("a", "6.6.6")).unwrap();
        charts(&run, helm, &["pull", "--to", "out"]).exits(0).says("left the cache aside").says(&digest(&bytes));
        assert_eq!(std::fs::read(&cached(&run)[0]).unwrap(), bytes);
        assert_eq!(std::fs::read(run.home.path().join("out/a-1.2.3.tgz")).unwrap(), bytes);
    }
}

#[test]
fn what_a_repository_does_wrong_is_one_clear_message() {
    for helm in HELMS {
        let run = Run::new();
        let server = Server::repository();
        let bytes = archive("a", "1.2.3");
        server.publish("a", "1.2.3", &bytes);
        lock(&run, &server.url(), "");
        for (fault, code, words) in [
            (Fault::Login, 3, "wants a login"),
            (Fault::Gone, 5, "has no such thing"),
            (Fault::Cut, 3, "broke off in the middle"),
            (Fault::Silence, 3, "does not answer"),
        ] {
            server.set(fault);
            let answer = charts(&run, helm, &["pull", "--timeout", "5"]).exits(code).says(words).says("hint:");
            assert!(answer.stderr.contains(&server.url()), "{helm} {fault:?}: {}", answer.stderr);
            assert!(cached(&run).is_empty(), "{helm} {fault:?}");
        }
        server.set(Fault::None);

        let other = digest(b"other");
        lock(&run, &server.url(), &format!("  digest: {other}\n"));
        let answer = charts(&run, helm, &["pull"]).exits(5).says(&other).says(&digest(&bytes));
        assert!(!answer.stderr.contains("panicked"));
        assert!(cached(&run).is_empty());
        // The index tells what was published; other bytes were changed on the way.
        lock(&run, &server.url(), "");
        server.claim(&other);
        charts(&run, helm, &["pull"]).exits(5).says("the repository's index").says(&other).says(&digest(&bytes));
        assert!(cached(&run).is_empty());

        lock(&run, &server.url(), "");
        let text = std::fs::read_to_string(run.home.path().join("lock.yaml")).unwrap();
        run.file("lock.yaml", &text.replace("1.2.3", "9.9.9"));
        charts(&run, helm, &["pull"]).exits(5).says("has no version 9.9.9 of chart `a`; its newest is 1.2.3");
        lock(&run, &format!("{}/nowhere", server.url()), "");
        charts(&run, helm, &["pull"]).exits(5).says("has no such thing");
        let port = server.port;
        drop(server);
        lock(&run, &format!("http://127.0.0.1:{port}"), "");
        charts(&run, helm, &["pull"]).exits(3).says("does not answer").says("--charts DIR");
        let listed = charts(&run, helm, &["list", "--outdated", "-o", "json"]).exits(3).json();
        assert!(listed["charts"][0]["problem"].to_string().contains("does not answer"), "{listed}");
    }
}

#[test]
fn the_login_that_was_given_to_helm_is_used() {
    for helm in HELMS {
        let run = Run::new();
        let server = Server::repository();
        server.publish("a", "1.2.3", &archive("a", "1.2.3"));
        server.set(Fault::Login);
        lock(&run, &server.url(), "");
        charts(&run, helm, &["pull"]).exits(3).says("wants a login");
        let added = std::process::Command::new(tool(helm))
            .args(["repo", "add", "mine", &server.url(), "--username", "me", "--password", "open"])
            .env_clear()
            .env("HOME", run.home.path())
            .output()
            .unwrap();
        assert!(added.status.success(), "{added:?}");
        let answer = charts(&run, helm, &["pull"]).exits(0);
        assert!(!answer.stderr.contains("open"), "{}", answer.stderr);
    }
}

#[test]
fn a_registry_gives_charts_with_and_without_a_login() {
    for helm in HELMS {
        let run = Run::new();
        let server = Server::registry();
        let bytes = archive("a", "1.2.3");
        server.publish("a", "1.2.3", &bytes);
        server.publish("a", "1.3.0", &archive("a", "1.3.0"));
        let place = format!("oci://127.0.0.1:{}/charts", server.port);
        lock(&run, &place, "  plainHttp: true\n");
        charts(&run, helm, &["pull", "--to", "out"]).exits(0);
        assert_eq!(std::fs::read(run.home.path().join("out/a-1.2.3.tgz")).unwrap(), bytes);
        assert_eq!(cached(&run).len(), 1);
        let listed = charts(&run, helm, &["list", "--outdated", "-o", "json"]).exits(0).json();
        assert_eq!(listed["charts"][0]["newest"], "1.3.0", "{listed}");
        let locked = charts(&run, helm, &["lock", "-o", "json"]).exits(0).json();
        assert_eq!(locked["charts"][0]["digest"], Value::from(digest(&bytes)));
        std::fs::remove_file(&cached(&run)[0]).unwrap();

        lock(&run, &place, &format!("  plainHttp: true\n  digest: {}\n", digest(b"other")));
        charts(&run, helm, &["pull"]).exits(5).says(&digest(b"other")).says(&digest(&bytes));
        lock(&run, &place, "  plainHttp: true\n");
        for (fault, code, words) in
            [(Fault::Login, 3, "wants a login"), (Fault::Gone, 5, "has no such thing"), (Fault::Cut, 3, "broke off")]
        {
            server.set(fault);
            charts(&run, helm, &["pull"]).exits(code).says(words).says("hint:");
            assert!(cached(&run).is_empty(), "{helm} {fault:?}");
        }
        server.set(Fault::None);
        let text = std::fs::read_to_string(run.home.path().join("lock.yaml")).unwrap();
        run.file("lock.yaml", &text.replace("1.2.3", "9.9.9"));
        charts(&run, helm, &["pull"]).exits(5).says("has no such thing");
    }
}

#[test]
fn the_login_that_was_given_to_helm_opens_a_registry_too() {
    for helm in HELMS {
        let run = Run::new();
        let server = Server::registry();
        let bytes = archive("a", "1.2.3");
        server.publish("a", "1.2.3", &bytes);
        server.set(Fault::Login);
        lock(&run, &format!("oci://127.0.0.1:{}/charts", server.port), "  plainHttp: true\n");
        charts(&run, helm, &["pull"]).exits(3).says("wants a login");
        // What `helm registry login` leaves behind: me:open.
        let login = format!(r#"{{"auths":{{"127.0.0.1:{}":{{"auth":"bWU6b3Blbg=="}}}}}}"#, server.port);
        run.file(".config/helm/registry/config.json", &login);
        let answer = charts(&run, helm, &["pull", "--to", "out"]).exits(0);
        assert!(!answer.stderr.contains("bWU6b3Blbg"), "{}", answer.stderr);
        assert_eq!(std::fs::read(run.home.path().join("out/a-1.2.3.tgz")).unwrap(), bytes, "{helm}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_no_failure_and_two_runs_at_once_are_fine() {
    let server = Server::repository();
    let bytes = archive("a", "1.2.3");
    server.publish("a", "1.2.3", &bytes);
    let run = Run::new().variable("XDG_CACHE_HOME", "/dev/null/cache");
    lock(&run, &server.url(), "");
    charts(&run, "helm", &["pull", "--to", "out"]).exits(0);
    assert_eq!(std::fs::read(run.home.path().join("out/a-1.2.3.tgz")).unwrap(), bytes);

    let run = Run::new();
    lock(&run, &server.url(), "");
    let helm = tool("helm").display().to_string();
    let words = ["charts", "pull", "--charts-lock", "lock.yaml", "--helm", &helm];
    let started: Vec<_> = (0..4).map(|_| run.command(&words).spawn().unwrap()).collect();
    for child in started {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(cached(&run).len(), 1, "no part of a file is left");
    assert_eq!(std::fs::read(&cached(&run)[0]).unwrap(), bytes);
}

#[test]
fn every_image_is_listed_with_its_releases() {
    for helm in HELMS {
        let run = Run::new();
        let (folder, helm) = (charts_dir().display().to_string(), tool(helm).display().to_string());
        let words = ["images", "--profile", "production", "--charts", &folder, "--helm", &helm, "-o", "json"];
        let document = run.run(&words).exits(0).json();
        let images = document["images"].as_array().unwrap();
        // Two releases may run two versions of one image.
        let releases = |part: &str| -> Vec<&Value> {
            let rows = images.iter().filter(|row| row["image"].as_str().unwrap().contains(part));
            rows.flat_map(|row| row["releases"].as_array().unwrap()).collect()
        };
        // A container, an option of the operator, a custom resource.
        for part in ["/grafana/grafana:", "/prometheus-config-reloader:", "/prometheus/prometheus:"] {
            let releases = releases(part);
            assert!(releases.iter().any(|release| *release == "prometheus"), "{part}: {releases:?}");
        }
        assert!(images.iter().all(|row| row["finding"].is_null()));
        let loose = [&words[..], &["--set", "helmValues.loki.loki.image.tag=latest"]].concat();
        let document = run.run(&loose).exits(1).json();
        let found: Vec<&Value> =
            document["images"].as_array().unwrap().iter().filter(|row| !row["finding"].is_null()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0]["image"].as_str().unwrap().ends_with("/loki:latest"), "{found:?}");

        // One registry for every image of every release, those that a controller starts included.
        let mirror = [&words[..], &["--set", "images.registry=registry.example.com/mirror"]].concat();
        let document = run.run(&mirror).exits(0).json();
        let mirrored = document["images"].as_array().unwrap();
        assert_eq!(mirrored.len(), images.len(), "{mirrored:?}");
        let of_releases: BTreeSet<&str> = mirrored
            .iter()
            .flat_map(|row| row["releases"].as_array().unwrap().iter().map(|release| release.as_str().unwrap()))
            .collect();
        assert_eq!(of_releases.len(), 11, "{of_releases:?}");
        for image in mirrored.iter().map(|row| row["image"].as_str().unwrap()) {
            let rest = image.strip_prefix("registry.example.com/mirror/").unwrap();
            let first = rest.split_once('/').map_or("", |(first, _)| first);
            assert!(!first.contains(['.', ':']), "{image} has two registries");
        }
    }
}
