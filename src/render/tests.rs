#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::Profile;
use crate::config::layers::merge;
use crate::error::{exit_code_of, failure_of};
use crate::stack::COMPONENTS;

fn config_of(layers: &[&str], more: Value) -> Config {
    let mut merged = json!({});
    for layer in layers {
        merge(&mut merged, &serde_yaml::from_str(values_layer(layer).unwrap()).unwrap());
    }
    merge(&mut merged, &more);
    serde_json::from_value(merged).unwrap()
}

fn local(more: Value) -> Config {
    config_of(&["defaults", "local"], more)
}

fn overlay(files: &[(&str, &str)]) -> Sources {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Sources::embedded().with_overlay(files)
}

fn values<'b>(bundle: &'b Bundle, release: &str) -> &'b Value {
    &bundle.releases.iter().find(|found| found.name == release).unwrap().values
}

fn message_of(error: &anyhow::Error) -> String {
    failure_of(error).unwrap().message.clone()
}

#[test]
fn the_layers_of_each_profile_leave_no_option_to_guess() {
    assert_eq!(local(json!({})).profile, Profile::Local);
    assert_eq!(config_of(&["defaults", "production"], json!({})).profile, Profile::Production);
    let sandbox = config_of(&["defaults", "local", "sandbox"], json!({}));
    assert_eq!(sandbox.storage.class, "fast-ssd");
    assert_eq!(sandbox.prometheus.scrape_interval, "2s");
    assert_eq!(sandbox.deploy.fail_after_seconds, 0);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let config = local(json!({}));
    let rendered = || {
        let files = files::files(&render(&config).unwrap()).into_iter();
        files.map(|(path, content)| (path, String::from_utf8(content).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let first = rendered();
    for _ in 0..5 {
        for (path, content) in rendered() {
            assert!(first[&path] == content, "{path} changed");
        }
    }
}

#[test]
fn every_component_has_its_release_and_its_job() {
    let bundle = render(&local(json!({}))).unwrap();
    let names: Vec<&str> = bundle.releases.iter().map(|release| release.name.as_str()).collect();
    assert_eq!(names, ["prometheus", "loki", "jaeger", "otel-collector"]);
    let collector = &bundle.releases[3];
    assert_eq!(collector.needs, ["jaeger", "loki"]);
    for component in COMPONENTS.iter().filter(|component| !component.production_only) {
        assert!(bundle.expected.targets.iter().any(|target| target.job == component.job), "{}", component.key);
    }
}

#[test]
fn every_expected_target_has_its_scrape_job_and_no_other_has() {
    let bundle = render(&local(json!({ "platform": { "exporters": { "kafka": "none" } } }))).unwrap();
    let jobs = values(&bundle, "prometheus").pointer("/prometheus/config/scrape_configs").unwrap();
    let jobs: Vec<&str> = jobs.as_array().unwrap().iter().map(|job| job["job_name"].as_str().unwrap()).collect();
    let mut expected: Vec<&str> = bundle.expected.targets.iter().map(|target| target.job.as_str()).collect();
    assert!(expected.contains(&"user-service") && expected.contains(&"redis") && !expected.contains(&"kafka"));
    expected.push("annotated-services");
    assert_eq!(jobs, expected);
}

#[test]
fn what_is_disabled_leaves_no_trace() {
    for (key, text) in [
        ("prometheus", "9090"),
        ("alertmanager", "9093"),
        ("loki", "loki.drivemaster-monitoring"),
        ("jaeger", "jaeger-query"),
        ("otelCollector", "14268"),
    ] {
        let bundle = render(&local(json!({ key: { "enabled": false } }))).unwrap();
        let rendered: String = bundle.releases.iter().map(|release| release.values.to_string()).collect();
        assert!(!rendered.contains(text), "{key}");
        let release = crate::stack::component(key).unwrap().release;
        assert_eq!(bundle.releases.iter().any(|found| found.name == release), release == "prometheus", "{key}");
    }
    let none = json!({ "prometheus": { "enabled": false }, "alertmanager": { "enabled": false }, "grafana": { "enabled": false } });
    let bundle = render(&local(none)).unwrap();
    assert!(bundle.releases.iter().all(|release| release.name != "prometheus"));
    assert!(bundle.objects.is_empty() && bundle.generated_secrets.is_empty());
    assert_eq!(bundle.expected, Expected::default());
}

#[test]
fn rules_become_one_config_map_and_the_groups_expected_of_prometheus() {
    let sources = overlay(&[
        (
            "alerts/zz-mine.yaml",
            "groups:\n  - name: mine\n    rules:\n      - {alert: A, expr: 'up{job=\"@{ services[0].name }@\"} == 0'}\n      - {record: 'b:c', expr: vector(1)}\n",
        ),
        ("alerts/zz-mine.test.yaml", "@{ not a template }@"),
    ]);
    let bundle = render_from(&local(json!({})), &sources, &Charts::new()).unwrap();
    let rules = bundle.objects.iter().find(|object| object.reference().name == "drivemaster-rules").unwrap();
    assert!(rules.0["data"]["zz-mine.yaml"].as_str().unwrap().contains("job=\"user-service\""));
    assert!(rules.0["data"].get("zz-mine.test.yaml").is_none());
    let group = bundle.expected.rule_groups.iter().find(|group| group.name == "mine").unwrap();
    assert_eq!(group.rules, ["A", "b:c"]);
}

#[test]
fn a_dashboard_becomes_a_config_map_that_grafana_finds() {
    let sources = overlay(&[(
        "dashboards/zz-mine.json",
        r#"{"uid": "mine", "title": "Mine", "x": @{ config.cluster | json }@}"#,
    )]);
    let bundle = render_from(&local(json!({})), &sources, &Charts::new()).unwrap();
    let expected = bundle.expected.dashboards.iter().find(|dashboard| dashboard.uid == "mine").unwrap();
    assert_eq!((expected.config_map.as_str(), expected.title.as_str()), ("drivemaster-dashboard-zz-mine", "Mine"));
    let object = bundle.objects.iter().find(|object| object.reference().name == expected.config_map).unwrap();
    assert_eq!(object.0["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(object.0["metadata"]["annotations"]["grafana_folder"], "DriveMaster");
    let model: Value = serde_json::from_str(object.0["data"]["zz-mine.json"].as_str().unwrap()).unwrap();
    assert_eq!(model, json!({ "uid": "mine", "title": "Mine", "x": "drivemaster" }));
}

#[test]
fn bad_templates_are_usage_errors_that_name_the_file() {
    for (path, text, message) in [
        ("alerts/x.yaml", "groups: @{ config.nope }@", "alerts/x.yaml:1:12: unknown variable `config.nope`"),
        ("alerts/x.yaml", "groups: [", "template `alerts/x.yaml` renders to invalid YAML"),
        ("alerts/x.yaml", "group: []", "`alerts/x.yaml` is not a file of rules"),
        (
            "alerts/x.yaml",
            "groups: [{name: g, rules: [{expr: up}]}]",
            "group `g` of `alerts/x.yaml` has a rule without",
        ),
        ("dashboards/x.json", "{", "template `dashboards/x.json` renders to invalid JSON"),
        ("dashboards/x.json", r#"{"dashboard": {"uid": "a"}}"#, "template `dashboards/x.json` has no `uid`"),
        ("dashboards/x.json", r#"{"uid": "a", "title": ""}"#, "template `dashboards/x.json` has no `title`"),
        (
            "templates/values/local/loki.yaml",
            "a: b: c",
            "template `templates/values/local/loki.yaml` renders to invalid YAML",
        ),
    ] {
        let error = render_from(&local(json!({})), &overlay(&[(path, text)]), &Charts::new()).unwrap_err();
        assert_eq!(exit_code_of(&error), 64, "{text}");
        assert!(message_of(&error).starts_with(message), "{}", message_of(&error));
    }
}

#[test]
fn what_is_wrong_in_an_overlay_is_told_by_the_path_of_its_file() {
    for (path, text, message) in [
        ("alerts/x.yaml", "groups: @{ config.nope }@", "my/dir/alerts/x.yaml:1:12: unknown variable `config.nope`"),
        ("alerts/x.yaml", "a\n @{ }@", "my/dir/alerts/x.yaml:2:5: Found"),
        ("alerts/x.yaml", "\n@{ config.cluster | nope }@", "my/dir/alerts/x.yaml:2:"),
        ("alerts/x.yaml", "groups: [", "template `my/dir/alerts/x.yaml` renders to invalid YAML"),
        ("alerts/slo/x.yaml", "apiVersion: 1", "`my/dir/alerts/slo/x.yaml`: "),
        ("alerts/contract.yaml", "a: 1", "`my/dir/alerts/contract.yaml` is no contract"),
        ("dashboards/x.json", "{", "template `my/dir/dashboards/x.json` renders to invalid JSON"),
    ] {
        let files = [(path.to_owned(), text.to_owned())].into();
        let sources = Sources::embedded().with_overlay_at("my/dir/", files);
        let error = render_from(&local(json!({})), &sources, &Charts::new()).unwrap_err();
        assert!(message_of(&error).starts_with(message), "{}", message_of(&error));
    }
}

#[test]
fn rules_that_prometheus_would_refuse_are_refused_and_merge_keys_are_read() {
    let rules = |rules: &str| {
        let text = format!("groups:\n  - name: mine\n    rules:\n{rules}");
        render_from(&local(json!({})), &overlay(&[("alerts/x.yaml", &text)]), &Charts::new())
    };
    let error = rules("      - {record: a, expr: 'limitk(2, up)'}\n").unwrap_err();
    assert!(message_of(&error).contains("asks for `limitk`, which is experimental"), "{}", message_of(&error));
    let merged = rules("      - &one {record: a, expr: up}\n      - {<<: *one, record: b}\n").unwrap();
    let group = merged.expected.rule_groups.iter().find(|group| group.name == "mine").unwrap();
    assert_eq!(group.rules, ["a", "b"]);
}

#[test]
fn the_metrics_of_an_overlay_are_expected_of_the_services_and_exporters_that_are_watched() {
    let metric = "[{ name: mine_total, type: counter, unit: things, labels: [], meaning: m }]";
    for (source, jobs) in
        [("service", Some(5)), ("user-service", Some(1)), ("redis", Some(1)), ("postgresql", None), ("nobody", None)]
    {
        let sources = overlay(&[("alerts/contract.yaml", &format!("{source}: {metric}"))]);
        let exporters = json!({ "platform": { "exporters": { "postgresql": "none" } } });
        let bundle = render_from(&local(exporters), &sources, &Charts::new()).unwrap();
        let expected = bundle.expected.metrics.iter().find(|expected| expected.metric.name == "mine_total");
        assert_eq!(expected.map(|expected| expected.jobs.len()), jobs, "{source}");
        assert!(bundle.expected.metrics.iter().any(|expected| expected.metric.name == "http_requests_total"));
    }
}

#[test]
fn two_dashboards_never_share_a_uid() {
    let sources = overlay(&[
        ("dashboards/x.json", r#"{"uid": "same", "title": "X"}"#),
        ("dashboards/y.json", r#"{"uid": "same", "title": "Y"}"#),
    ]);
    let error = render_from(&local(json!({})), &sources, &Charts::new()).unwrap_err();
    assert_eq!(
        message_of(&error),
        "template `dashboards/y.json` has the same `uid` as ConfigMap `drivemaster-dashboard-x`"
    );
}

#[test]
fn a_chart_that_was_not_loaded_is_named() {
    let error = render(&config_of(&["defaults", "production"], json!({}))).unwrap_err();
    assert_eq!(error.to_string(), "the chart `kube-prometheus-stack` of release `prometheus` was not loaded");
}

#[test]
fn the_link_to_the_dashboard_is_one_that_opens() {
    for (ingress, link) in [
        (json!({ "enabled": false }), "http://127.0.0.1:3000/d/"),
        (json!({ "enabled": true, "tls": true }), "https://grafana.drivemaster.com/d/"),
        (json!({ "enabled": true, "tls": false }), "http://grafana.drivemaster.com/d/"),
    ] {
        let bundle = render(&local(json!({ "ingress": ingress }))).unwrap();
        let rules = bundle.objects.iter().find(|object| object.reference().name == "drivemaster-rules").unwrap();
        assert!(rules.0["data"]["application.yaml"].as_str().unwrap().contains(link), "{link}");
    }
}

#[test]
fn a_threshold_holds_for_the_objective_and_for_the_alert_about_the_same() {
    let with =
        |threshold: f64| render(&local(json!({ "slo": { "objectives": { "latency": { "threshold": threshold } } } })));
    let bundle = with(0.25).unwrap();
    let rules = bundle.objects.iter().find(|object| object.reference().name == "drivemaster-rules").unwrap();
    let of = |file: &str| rules.0["data"][file].as_str().unwrap();
    assert!(of("slo-latency.yaml").contains("le=\\\"0.25\\\"") || of("slo-latency.yaml").contains("le=\"0.25\""));
    assert!(!of("slo-latency.yaml").contains("0.1\""));
    assert!(
        of("application.yaml").contains("> 0.25\n") && of("application.yaml").contains("{{ 0.25 | humanizeDuration }}")
    );
    let refused = message_of(&with(0.2).unwrap_err());
    assert!(refused.contains("0.2") && refused.contains("0.25"), "{refused}");
}

#[test]
fn the_page_of_every_alert_stands_where_it_is_published() {
    let url = "https://wiki.example.com/runbooks/";
    let bundle = render(&local(json!({ "alertmanager": { "runbooksUrl": url } }))).unwrap();
    let rules = bundle.objects.iter().find(|object| object.reference().name == "drivemaster-rules").unwrap();
    let mut alerts = 0;
    for text in rules.0["data"].as_object().unwrap().values() {
        let file: Value = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
        for rule in file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let Some(alert) = rule["alert"].as_str() else { continue };
            let page = rule["annotations"]["runbook_url"].as_str().unwrap();
            assert_eq!(page, format!("{url}{alert}.md"));
            alerts += 1;
        }
    }
    assert!(alerts > 40, "{alerts}");
}

#[test]
fn credentials_are_mounted_only_where_a_receiver_reads_one() {
    for (receivers, is_mounted) in [
        (json!({}), false),
        (json!({ "slack": { "enabled": true } }), true),
        (json!({ "pagerduty": { "enabled": true } }), true),
        (json!({ "heartbeat": { "enabled": true } }), true),
        (json!({ "email": { "enabled": true } }), true),
        (json!({ "email": { "enabled": true, "username": "" } }), false),
    ] {
        let bundle = render(&local(json!({ "alertmanager": { "receivers": receivers } }))).unwrap();
        let alertmanager = &values(&bundle, "prometheus")["alertmanager"];
        assert_eq!(alertmanager["credentialsSecret"] == "alertmanager-credentials", is_mounted, "{receivers}");
        assert_eq!(alertmanager["config"].to_string().contains("_file"), is_mounted, "{receivers}");
    }
}

#[test]
fn the_monitoring_namespace_is_restricted_and_the_platform_is_only_warned() {
    let labels = |bundle: &Bundle, index: usize| bundle.namespaces[index].0["metadata"]["labels"].clone();
    let enforce = "pod-security.kubernetes.io/enforce";
    let bundle = render(&local(json!({}))).unwrap();
    assert_eq!(labels(&bundle, 0)[enforce], Value::Null);
    assert_eq!(labels(&bundle, 0)["pod-security.kubernetes.io/warn"], "restricted");
    assert_eq!(labels(&bundle, 1)[enforce], "restricted");
}

#[test]
fn everything_of_ours_says_so() {
    let bundle = render(&local(json!({}))).unwrap();
    for object in bundle.namespaces.iter().chain(&bundle.objects) {
        let labels = &object.0["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "drivemaster-mon");
        assert_eq!(labels["app.kubernetes.io/part-of"], "drivemaster-monitoring");
    }
}

#[test]
fn hosts_follow_the_catalogue_and_only_grafana_is_reached_from_outside() {
    let ingress = json!({ "domain": "example.org", "ingress": { "enabled": true, "tls": true } });
    let bundle = render(&local(ingress)).unwrap();
    let prometheus = values(&bundle, "prometheus");
    assert_eq!(
        prometheus["alertmanager"]["ingress"],
        json!({ "enabled": true, "className": "nginx-internal", "host": "alerts.example.org", "tlsSecret": "alerts-tls" })
    );
    assert_eq!(prometheus["alertmanager"]["externalUrl"], "https://alerts.example.org");
    assert_eq!(prometheus["grafana"]["ingress"]["className"], "nginx");
    assert_eq!(prometheus["grafana"]["settings"]["GF_SERVER_ROOT_URL"], "https://grafana.example.org");
    assert_eq!(values(&bundle, "jaeger")["ingress"]["host"], "tracing.example.org");
}

#[test]
fn strings_of_the_configuration_cannot_break_out_of_their_place() {
    for text in ["yes", "a: b", "\"q\"", "{{ x }}", "@{ x }@", "a\nb: c", "#c"] {
        let bundle = render(&local(json!({ "cluster": text, "environment": text }))).unwrap();
        let labels = values(&bundle, "prometheus").pointer("/prometheus/config/global/external_labels").unwrap();
        assert_eq!(labels, &json!({ "cluster": text, "environment": text }));
    }
}
