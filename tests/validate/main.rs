//! `validate` finds each planted fault by its code at its place, nothing in what is shipped, and bears
//! whatever it is given.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod runbooks;
#[path = "../support/mod.rs"]
mod support;

use drivemaster_mon::chart::{Chart, Charts, archive};
use drivemaster_mon::config::{Config, Profile, resolve};
use drivemaster_mon::render::{Sources, needed_charts, render_from};
use drivemaster_mon::validate::{Finding, Foreign, ForeignFiles, Judged, Own, Text, Verdict, judge_foreign, judge_own};
use faults::{DASHBOARDS, EXPRESSIONS, Fault, GIVEN, OBJECTIVES, ROUTING, RULES};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

fn config(profile: Profile) -> Config {
    resolve(Some(profile), &[], &[], &[]).unwrap()
}

/// The upstream charts, or empty ones in their place.
fn charts(config: &Config, at_hand: bool) -> Charts {
    let read = |name: &str| {
        let folder = std::fs::read_dir(support::charts::charts_dir()).unwrap();
        let is_it = |path: &Path| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.strip_prefix(name).is_some_and(|rest| rest.trim_start_matches('-').starts_with(char::is_numeric))
        };
        let path = folder.map(|entry| entry.unwrap().path()).find(|path| is_it(path)).unwrap();
        archive::read(name, &std::fs::read(path).unwrap()).unwrap()
    };
    let empty = |name: &str| Chart {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        app_version: "1.0.0".to_owned(),
        files: BTreeMap::new(),
    };
    let needed = needed_charts(config).into_iter();
    needed.map(|name| (name.to_owned(), if at_hand { read(name) } else { empty(name) })).collect()
}

fn runbooks() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|entry| format!("docs/runbooks/{}", entry.unwrap().file_name().to_str().unwrap())).collect()
}

fn judged(config: &Config, charts: Option<&Charts>, sources: &Sources) -> Verdict {
    let bundle = match charts {
        Some(charts) => render_from(config, sources, charts),
        None => Err(anyhow::anyhow!("not rendered")),
    };
    let own =
        Own { config, sources, runbooks: runbooks(), bundle: bundle.as_ref().map_err(|error| format!("{error:#}")) };
    judge_own(&own).unwrap()
}

/// The built-in file `path`.
fn shipped(path: &str) -> String {
    let sources = Sources::embedded();
    let (folder, file) = path.split_at(path.rfind('/').unwrap() + 1);
    let content = sources.below(folder).find(|(name, _)| *name == file).expect(path).1;
    String::from_utf8(content.to_vec()).unwrap()
}

fn told(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let place = &finding.place;
        format!("{} {}:{}:{} {}\n", finding.code.id, place.file, place.line, place.column, finding.message)
    };
    findings.iter().map(line).collect()
}

fn underlined(finding: &Finding) -> String {
    finding.place.text()
}

#[test]
fn nothing_is_found_in_what_is_shipped() {
    // A platform that tells little has fewer rules and panels.
    let exporters = ["postgresql", "redis", "kafka", "elasticsearch", "node", "kubeState"];
    for missing in [&exporters[..], &["redis"]] {
        let sets: Vec<String> = missing.iter().map(|key| format!("platform.exporters.{key}=none")).collect();
        let config = resolve(Some(Profile::Local), &[], &[], &sets).unwrap();
        let findings = judged(&config, Some(&charts(&config, false)), &Sources::embedded()).findings;
        assert!(findings.is_empty(), "without {missing:?}:\n{}", told(&findings));
    }
    for (profile, at_hand) in [(Profile::Local, false), (Profile::Production, false), (Profile::Production, true)] {
        let config = config(profile);
        let verdict = judged(&config, Some(&charts(&config, at_hand)), &Sources::embedded());
        assert!(verdict.findings.is_empty(), "{profile:?}:\n{}", told(&verdict.findings));
        if profile == Profile::Local || at_hand {
            assert!(verdict.not_judged.is_empty(), "{:?}", verdict.not_judged);
        } else {
            let told = format!("{:?}", verdict.not_judged);
            assert!(told.contains("values of the release `loki`") && told.contains("ServiceMonitor"), "{told}");
        }
        assert!(verdict.judged.iter().any(|what| what.contains("rules in")), "{:?}", verdict.judged);
    }
}

/// Routes and values are a part of the whole bundle, which takes longer to render than the files of content.
fn find_each(faults: &[Fault], in_bundle: bool) {
    let config = config(Profile::Local);
    let charts = in_bundle.then(|| charts(&config, false));
    let mut missed = Vec::new();
    for (path, stands, planted, code, text, follows) in faults {
        let before = shipped(path);
        let start = before.find(stands).unwrap_or_else(|| panic!("`{path}` has no `{stands}`"));
        let after = before.replacen(stands, planted, 1);
        let sources = Sources::embedded().with_overlay(BTreeMap::from([((*path).to_owned(), after)]));
        let findings = judged(&config, charts.as_ref(), &sources).findings;
        let first = before[..start].matches('\n').count() + 1;
        let is_it = |finding: &&Finding| {
            let place = &finding.place;
            // In the lines of what was planted, or of the rule or panel around it.
            let is_near = place.rendered || place.line.abs_diff(first) <= 9;
            finding.code.id == *code && place.file == *path && underlined(finding) == *text && is_near
        };
        // Nothing but what follows from it.
        let follows = |finding: &Finding| finding.code.id == *code || follows.contains(&finding.code.id);
        if !findings.iter().any(|finding| is_it(&finding)) || !findings.iter().all(follows) {
            let underlines: Vec<String> = findings.iter().map(underlined).collect();
            missed.push(format!("`{planted}` in `{path}` at {first}: {underlines:?}\n{}", told(&findings)));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn each_fault_in_rules_is_found_by_its_kind_at_its_place() {
    find_each(RULES, false);
}

#[test]
fn each_fault_in_expressions_is_found_by_its_kind_at_its_place() {
    find_each(EXPRESSIONS, false);
}

#[test]
fn each_fault_in_dashboards_is_found_by_its_kind_at_its_place() {
    find_each(DASHBOARDS, false);
}

#[test]
fn each_fault_in_objectives_is_found_by_its_kind_at_its_place() {
    find_each(OBJECTIVES, false);
}

#[test]
fn each_fault_in_routes_and_values_is_found_by_its_kind_at_its_place() {
    find_each(ROUTING, true);
    find_each(GIVEN, true);
    let planted =
        [RULES, EXPRESSIONS, OBJECTIVES, DASHBOARDS, ROUTING, GIVEN].map(<[Fault]>::len).iter().sum::<usize>();
    assert!(planted >= 40, "{planted}");
}

#[test]
fn objects_are_judged_by_their_types_and_by_the_definitions_of_the_charts() {
    let config = config(Profile::Production);
    let charts = charts(&config, true);
    for (path, stands, planted, code, message) in [
        (
            "templates/objects/production/grafana.yaml",
            "resources: [configmaps]",
            "resorces: [configmaps]",
            "objects/unknown-field",
            "rules.0.resorces",
        ),
        (
            "templates/objects/production/grafana.yaml",
            "verbs: [get, list, watch]",
            "verbs: get",
            "objects/refused",
            "expected",
        ),
        (
            "templates/objects/production/service-monitors.yaml",
            "endpoints:",
            "endpoint:",
            "objects/unknown-field",
            "spec.endpoint",
        ),
        (
            "templates/objects/production/service-monitors.yaml",
            "interval: ",
            "interval: every-",
            "objects/refused",
            "interval",
        ),
    ] {
        let before = shipped(path);
        assert!(before.contains(stands), "{path}: {before}");
        let after = before.replacen(stands, planted, 1);
        let sources = Sources::embedded().with_overlay(BTreeMap::from([(path.to_owned(), after)]));
        let findings = judged(&config, Some(&charts), &sources).findings;
        let is_it = |finding: &&Finding| finding.code.id == code && finding.message.contains(message);
        let found = findings.iter().find(is_it).unwrap_or_else(|| panic!("`{planted}`:\n{}", told(&findings)));
        assert!(found.place.file.starts_with("03-objects/") && found.place.line > 0, "{}", told(&findings));
    }
}

fn foreign_dashboard(text: &str) -> Vec<Finding> {
    let dashboards = vec![Judged::file(Text::new("d.json", text))];
    let dashboards = ForeignFiles { readable: dashboards, ..ForeignFiles::default() };
    judge_foreign(&Foreign { dashboards, ..Foreign::default() }, &config(Profile::Local)).unwrap().findings
}

#[test]
fn each_fault_in_dashboards_of_others_is_found() {
    let good = r#"{
  "uid": "u", "title": "T", "templating": { "list": [{ "name": "datasource", "type": "datasource" }] },
  "panels": [
    { "id": 1, "title": "One", "type": "timeseries", "description": "d", "gridPos": { "x": 0, "y": 0, "w": 12, "h": 8 },
      "datasource": { "uid": "${datasource}" }, "fieldConfig": { "defaults": { "unit": "s" } },
      "targets": [{ "refId": "A", "expr": "up" }, { "refId": "B", "expr": "up" }] },
    { "id": 2, "title": "Two", "type": "row", "gridPos": { "x": 0, "y": 8, "w": 24, "h": 1 }, "panels": [
      { "id": 3, "title": "Three", "type": "text", "gridPos": { "x": 0, "y": 0, "w": 24, "h": 4 } } ] }
  ] }"#;
    assert_eq!(told(&foreign_dashboard(good)), "");
    for (stands, planted, code, line) in [
        ("\"panels\": [\n    { \"id\": 1", "\"panels\": [\n    { id: 1", "dashboards/malformed", 4),
        ("\"w\": 12", "\"w\": 25", "dashboards/off-grid", 4),
        ("\"y\": 8, \"w\": 24", "\"y\": 7, \"w\": 24", "dashboards/overlap", 7),
        ("\"timeseries\"", "\"graph\"", "dashboards/legacy-panel", 4),
        ("\"refId\": \"B\"", "\"refId\": \"A\"", "dashboards/duplicate-query", 6),
        ("\"${datasource}\"", "\"P1\"", "dashboards/fixed-datasource", 5),
        ("{ \"unit\": \"s\" }", "{}", "dashboards/no-unit", 4),
        ("\"id\": 3", "\"id\": 1", "dashboards/duplicate-id", 8),
        ("\"expr\": \"up\" }, {", "\"expr\": \"sum(up\" }, {", "promql/syntax", 6),
        ("\"expr\": \"up\" }, {", "\"expr\": \"up{a=\\\"$b\\\"}\" }, {", "dashboards/unknown-variable", 6),
    ] {
        assert!(good.contains(stands), "{stands}");
        let findings = foreign_dashboard(&good.replacen(stands, planted, 1));
        let found = findings.iter().find(|finding| finding.code.id == code);
        let found = found.unwrap_or_else(|| panic!("`{planted}`:\n{}", told(&findings)));
        assert_eq!(found.place.line, line, "{}", told(&findings));
    }
    let empty = good.replacen(
        "\"targets\": [{ \"refId\": \"A\", \"expr\": \"up\" }, { \"refId\": \"B\", \"expr\": \"up\" }]",
        "\"targets\": []",
        1,
    );
    assert!(foreign_dashboard(&empty).iter().any(|finding| finding.code.id == "dashboards/no-query"));
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let binary = env!("CARGO_BIN_EXE_drivemaster-mon");
    let output = Command::new(binary).arg("validate").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("ended by a signal"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn files_of_others_are_judged_whatever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let rule = |expression: &str| format!("groups:\n- name: a\n  rules:\n  - record: b\n    expr: {expression}\n");
    let bomb: String = (1..12)
        .map(|level| format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 9].join(", ")))
        .collect();
    // Refused with a finding that says why.
    for (name, content, code) in [
        ("deep.yaml", "[".repeat(200_000), "rules/malformed"),
        ("bomb.yaml", format!("l0: &l0 [x]\n{bomb}groups: *l11\n"), "rules/malformed"),
        ("documents.yaml", "---\na: 1\n".repeat(100_000), "rules/malformed"),
        ("empty.yaml", String::new(), "rules/malformed"),
        ("nested.yaml", rule(&format!("\"{}up{}\"", "(".repeat(20_000), ")".repeat(20_000))), "promql/syntax"),
        ("long.yaml", rule(&format!("\"{}\"", vec!["up"; 20_000].join(" + "))), "promql/syntax"),
        ("regex.yaml", rule("'up{a=~\"(((((a{1000}){1000}){1000}\"}'"), "promql/syntax"),
    ] {
        let path = write(name, content.as_bytes());
        let (exit, stdout, stderr) = run(&["-o", "json", "--rules", &path]);
        assert_eq!(exit, 1, "{name}: {stderr}");
        assert!(stdout.contains(code), "{name}: {stdout}");
    }
    // Many findings, and as many as a person can read are told.
    let many: String = (0..20_000).map(|index| format!("  - {{ record: a{index}, expr: 'sum(' }}\n")).collect();
    let path = write("many.yaml", format!("groups:\n- name: a\n  rules:\n{many}").as_bytes());
    let (exit, stdout, _) = run(&["-o", "json", "--rules", &path]);
    assert_eq!(exit, 1);
    assert!(stdout.contains("more than 500 findings"));
    // Files that are none.
    for content in [&[0xff, 0xfe, 0x00][..], &vec![b' '; 2 << 20]] {
        let path = write("bad.yaml", content);
        let (exit, stdout, stderr) = run(&["--rules", &path]);
        assert_eq!(exit, 1, "{stderr}");
        assert!(stdout.contains("bad.yaml") && stdout.contains("cannot be read"), "{stdout}");
    }
    let (exit, _, stderr) = run(&["--rules", "/dev/zero"]);
    assert_eq!(exit, 64, "{stderr}");

    // A folder: links are not followed, and each file is judged by itself.
    write("dashboards/deep.json", format!("{{\"panels\": {}", "[".repeat(100_000)).as_bytes());
    write("dashboards/one.json", br#"{"uid": "a", "title": "t", "panels": []}"#);
    std::os::unix::fs::symlink("/", folder.path().join("dashboards/root")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("dashboards/passwd.json")).unwrap();
    let path = folder.path().join("dashboards");
    let (exit, stdout, stderr) = run(&["-o", "json", "--dashboards", path.to_str().unwrap()]);
    assert_eq!(exit, 1, "{stderr}");
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let findings = value["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{stdout}");
    assert_eq!(findings[0]["code"], "dashboards/malformed");
    let (exit, ..) = run(&["--dashboards", "/nowhere/at/all"]);
    assert_eq!(exit, 64);
}

#[test]
fn the_exit_code_follows_the_severity_that_fails_and_what_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, "groups:\n- name: a\n  rules:\n  - alert: B\n    expr: rate(nobody_total[5m]) > 0\n")
        .unwrap();
    let path = path.to_str().unwrap();
    // Of somebody else's metrics and conventions we only know that we do not know them.
    assert_eq!(run(&["--rules", path]).0, 0);
    assert_eq!(run(&["--rules", path, "--fail-on", "info"]).0, 1);
    assert_eq!(
        run(&["--rules", path, "--fail-on", "info", "--skip", "alerts", "--skip", "promql/unknown-metric"]).0,
        0
    );
    assert_eq!(run(&["--rules", path, "--skip", "nothing"]).0, 64);
    assert_eq!(run(&["--rules", path, "-o", "yaml"]).0, 64);
    for format in ["human", "json", "sarif", "github", "junit"] {
        let (exit, stdout, stderr) = run(&["--rules", path, "-o", format]);
        assert_eq!(exit, 0, "{format}: {stderr}");
        assert!(stdout.contains("nobody_total"), "{format}: {stdout}");
    }
    // A contract makes what it does not have an error.
    let contract = folder.path().join("contract.yaml");
    std::fs::write(&contract, "service:\n  - { name: a, type: gauge, unit: answer, labels: [], meaning: b }\n")
        .unwrap();
    let (exit, stdout, stderr) = run(&["--rules", path, "--contract", contract.to_str().unwrap()]);
    assert_eq!(exit, 1, "{stdout}{stderr}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_finding_and_the_others_are_judged() {
    let run = support::Run::new();
    run.file("d/a.json", &" ".repeat((1 << 20) + 1));
    run.file("d/b.json", "{\"uid\": \"b\", \"title\": \"B\"}");
    run.file("long.yaml", &" ".repeat((1 << 20) + 1));
    run.file("rules.yaml", "groups: [{name: a, rules: [{record: 'a:b', expr: 'limitk(2, up)'}]}]");
    let arguments = ["validate", "--dashboards", "d", "--rules", "long.yaml", "rules.yaml", "-o", "json"];
    let document = run.run(&arguments).exits(1).json();
    let told: BTreeSet<(String, String)> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| [&finding["code"], &finding["place"]["file"]].map(|text| text.as_str().unwrap().to_owned()))
        .map(|[code, file]| (code, file))
        .collect();
    for (code, file) in [
        ("dashboards/malformed", "d/a.json"),
        ("dashboards/malformed", "d/b.json"),
        ("rules/malformed", "long.yaml"),
        ("promql/experimental", "rules.yaml"),
    ] {
        assert!(told.contains(&(code.to_owned(), file.to_owned())), "{code} {file}: {told:?}");
    }
    run.run(&["validate", "--rules", "rules.yaml", "missing.yaml"]).exits(64).says("missing.yaml");
    run.file("empty.yaml", "groups: []\n");
    run.run(&["validate", "--contract", "empty.yaml"]).exits(64).says("`empty.yaml` names no metric");
    run.run(&["validate", "--list", "--contract", "empty.yaml"]).exits(64);
}

#[test]
fn merge_keys_in_rules_are_read_as_prometheus_reads_them() {
    let text = "groups:\n  - name: a\n    rules:\n      - &one\n        record: a:b\n        expr: up\n        labels: &labels {team: x}\n      - <<: *one\n        record: a:c\n        expr: rate(up[5m)\n        labels: {<<: *labels, on: call}\n";
    let rules = ForeignFiles { readable: vec![Judged::file(Text::new("r.yaml", text))], ..ForeignFiles::default() };
    let found = judge_foreign(&Foreign { rules, ..Foreign::default() }, &config(Profile::Local)).unwrap().findings;
    assert_eq!(found.len(), 1, "{}", told(&found));
    assert_eq!((found[0].code.id, found[0].place.line), ("promql/syntax", 10), "{}", told(&found));
}

#[test]
fn an_objective_of_ones_own_needs_what_the_documentation_says_and_nothing_else() {
    let files = support::own_objective::files();
    let judged = |files: &BTreeMap<String, String>, more: &[&str]| {
        let run = support::Run::new();
        for (path, text) in files {
            run.file(&format!("mine/{path}"), text);
        }
        run.file("shop.yaml", &support::own_objective::files()["alerts/contract.yaml"]);
        let arguments = [&["validate", "--overlay", "mine", "--fail-on", "info", "-o", "json"], more].concat();
        run.run(&arguments)
    };
    judged(&files, &[]).exits(0);
    // Each of them is needed.
    for (path, code, text) in [
        ("alerts/contract.yaml", "promql/unknown-metric", "orders_total"),
        ("alerts/slo/checkout.test.yaml", "alerts/no-test", "CheckoutBreach"),
        ("docs/runbooks/CheckoutBreach.md", "alerts/no-runbook", "CheckoutBreach"),
    ] {
        let mut fewer = files.clone();
        fewer.remove(path).expect(path);
        let answer = judged(&fewer, &[]).exits(1);
        let findings = answer.json()["findings"].as_array().unwrap().clone();
        assert!(findings.iter().all(|finding| finding["code"] == code), "{path}: {findings:#?}");
        // Once, at the line of the definition that a person can correct, not for each rule that it becomes.
        let lines = files["alerts/slo/checkout.yaml"].lines().enumerate().filter(|(_, line)| line.contains(text));
        let lines: Vec<u64> = lines.map(|(index, _)| index as u64 + 1).collect();
        let told: Vec<u64> = findings.iter().map(|finding| finding["place"]["line"].as_u64().unwrap()).collect();
        assert_eq!(told, lines, "{path}: {findings:#?}");
        assert!(findings.iter().all(|finding| finding["place"]["rendered"] == false), "{path}: {findings:#?}");
    }
    // Wherever the pages are published, they must be there.
    let published = ["--set", "alertmanager.runbooksUrl=https://wiki.example.com/r/"];
    judged(&files, &published).exits(0);
    let mut fewer = files.clone();
    fewer.remove("docs/runbooks/CheckoutBreach.md");
    judged(&fewer, &published).exits(1).prints("alerts/no-runbook");
    // The contract may stand elsewhere.
    let mut fewer = files.clone();
    fewer.remove("alerts/contract.yaml");
    judged(&fewer, &["--contract", "shop.yaml"]).exits(0);
    judged(&fewer, &["--contract", "missing.yaml"]).exits(64).prints("missing.yaml");
    let mut broken = files.clone();
    broken.insert("alerts/contract.yaml".to_owned(), "shop: [{ name: orders_total }]\n".to_owned());
    judged(&broken, &[]).exits(64).prints("`mine/alerts/contract.yaml` is no contract");
    // Into another Grafana nobody looks.
    for (dashboard, severity) in
        [("@{ components.grafana.openUrl }@/d/shop", "error"), ("https://shop/d/shop", "warning")]
    {
        let mut other = files.clone();
        let definition = other.get_mut("alerts/slo/checkout.yaml").unwrap();
        *definition = definition.replace("@{ components.grafana.openUrl }@/d/drivemaster-slo", dashboard);
        let document = judged(&other, &[]).exits(1).json();
        let found = &document["findings"][0];
        assert_eq!(document["findings"].as_array().unwrap().len(), 1, "{document:#}");
        assert_eq!(
            (&found["code"], &found["severity"]),
            (&"alerts/no-dashboard".into(), &severity.into()),
            "{document:#}"
        );
    }
}

#[test]
fn an_objective_of_a_histogram_of_ones_own_is_rendered_where_the_overlay_has_its_contract() {
    let histogram = shipped("alerts/slo/latency.yaml")
        .replace("http_request_duration_seconds", "checkout_duration_seconds")
        .replace("value: @{ slo.threshold }@,", "value: 3,");
    let contract = "service:\n  - { name: checkout_duration_seconds, type: histogram, unit: seconds, labels: [service], meaning: m, buckets: [1, 3] }\n";
    let definition = ("alerts/slo/latency.yaml".to_owned(), histogram);
    let config = config(Profile::Local);
    let rendered = |files: Vec<(String, String)>| {
        let sources = Sources::embedded().with_overlay(files.into_iter().collect());
        render_from(&config, &sources, &charts(&config, false)).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = rendered(vec![definition.clone()]).unwrap_err();
    assert!(refused.contains("`checkout_duration_seconds` is no histogram"), "{refused}");
    assert_eq!(rendered(vec![definition, ("alerts/contract.yaml".to_owned(), contract.to_owned())]), Ok(()));
}
