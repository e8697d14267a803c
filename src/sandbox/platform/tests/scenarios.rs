//! What each scenario does to the metrics, and that none does anything else.

use super::*;
use crate::contract::MetricType;
use crate::sandbox::platform::forms::{FORMS, Form, Services, Trouble};
use crate::stack::exporter;

/// How long a scenario holds before it is measured.
const SETTLED: f64 = 15.0;
/// How long it is measured.
const WINDOW: f64 = 120.0;

/// What a target says before and after [`WINDOW`] under scenarios.
struct Measured {
    before: Samples,
    after: Samples,
}

impl Measured {
    fn of(words: &[&str], target: &str) -> Self {
        let simulator = simulator();
        ask(&simulator, target, "pod", START);
        for words in words {
            simulator.set_scenario(scenario(words)).unwrap();
        }
        let before = ask(&simulator, target, "pod", START + SETTLED);
        let after = ask(&simulator, target, "pod", START + SETTLED + WINDOW);
        Measured { before, after }
    }

    fn level(&self, name: &str) -> f64 {
        sum(&self.after, name, |_| true)
    }

    fn mean(&self, name: &str) -> f64 {
        let of_metric = |series: &&String| series.split('{').next() == Some(name);
        self.level(name) / self.after.keys().filter(of_metric).count() as f64
    }

    fn rate(&self, name: &str, takes: impl Fn(&str) -> bool) -> f64 {
        (sum(&self.after, name, &takes) - sum(&self.before, name, &takes)) / WINDOW
    }
}

fn assert_near(what: &str, actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 0.005 * expected.abs().max(1e-9), "{what}: {actual} instead of {expected}");
}

#[test]
fn an_amount_is_what_the_metrics_say() {
    let all = |_: &str| true;
    let of = |words: &str, target: &str| Measured::of(&[words], target);

    let service = of("memory user-service 92%", "user-service");
    assert_near("memory", service.level("process_resident_memory_bytes") / workloads::MEMORY_LIMIT_BYTES, 0.92);
    assert_near("cpu", of("cpu user-service 95%", "user-service").rate("process_cpu_seconds_total", all), 0.95);
    let redis = of("memory redis 91%", "redis-exporter");
    assert_near("redis", redis.level("redis_memory_used_bytes") / redis.level("redis_memory_max_bytes"), 0.91);
    let node = of("memory node 85%", "node-exporter");
    let free = node.level("node_memory_MemAvailable_bytes") / node.level("node_memory_MemTotal_bytes");
    assert_near("memory of the node", 1.0 - free, 0.85);

    let node = of("cpu node 95%", "node-exporter");
    let idle = node.rate("node_cpu_seconds_total", |series| label(series, "mode") == Some("idle"));
    assert_near("cpu of the node", 1.0 - idle / node.rate("node_cpu_seconds_total", all), 0.95);
    assert_near("cores", node.rate("node_cpu_seconds_total", all), 4.0);
    assert_near("load", of("load 9.5", "node-exporter").level("node_load1"), 9.5);

    let node = of("disk 90%", "node-exporter");
    let free = node.level("node_filesystem_avail_bytes") / node.level("node_filesystem_size_bytes");
    assert_near("disk", 1.0 - free, 0.9);
    let search = of("disk elasticsearch 90%", "elasticsearch-exporter");
    for free in ["elasticsearch_filesystem_data_available_bytes", "elasticsearch_filesystem_data_free_bytes"] {
        assert_near(free, 1.0 - search.level(free) / search.level("elasticsearch_filesystem_data_size_bytes"), 0.9);
    }

    let database = of("connections postgresql 90%", "postgres-exporter");
    let used = database.level("pg_stat_activity_count") / database.level("pg_settings_max_connections");
    assert_near("connections", used, 0.9);
    let redis = of("connections redis 90%", "redis-exporter");
    assert_near("clients", redis.level("redis_connected_clients") / redis.level("redis_config_maxclients"), 0.9);

    for (words, target, hit, missed) in [
        ("cache-misses postgresql 10%", "postgres-exporter", "pg_stat_database_blks_hit", "pg_stat_database_blks_read"),
        ("cache-misses redis 10%", "redis-exporter", "redis_keyspace_hits_total", "redis_keyspace_misses_total"),
    ] {
        let cache = of(words, target);
        assert_near(words, cache.rate(missed, all) / (cache.rate(hit, all) + cache.rate(missed, all)), 0.1);
    }
    assert_near("lag", of("replication-lag 45s", "postgres-exporter").level("pg_replication_lag_seconds"), 45.0);
    let kafka = of("kafka-lag 1500", "kafka-exporter");
    assert!(kafka.after.iter().filter(|(series, _)| series.contains("_lag_sum{")).all(|(_, lag)| *lag == 1500.0));

    let search = of("elasticsearch-red", "elasticsearch-exporter");
    for (color, expected) in [("red", 1.0), ("yellow", 0.0), ("green", 0.0)] {
        assert_eq!(search.after[&format!("elasticsearch_cluster_health_status{{color=\"{color}\"}}")], expected);
    }

    let learning = of("effectiveness-low 0.6", "adaptive-service");
    assert_near("effectiveness", learning.mean("learning_effectiveness_score"), 0.6);
    let sessions = of("engagement-low 180s", "user-service");
    let mean = sessions.rate("user_session_duration_seconds_sum", all)
        / sessions.rate("user_session_duration_seconds_count", all);
    assert!((mean - 180.0).abs() < 10.0, "{mean}");
}

#[test]
fn scenarios_on_one_target_hold_together() {
    let all = |_: &str| true;
    let words = ["memory user-service 92%", "cpu user-service 95%", "errors user-service 8%", "engagement-low 180s"];
    let service = Measured::of(&words, "user-service");
    assert_near("memory", service.level("process_resident_memory_bytes") / workloads::MEMORY_LIMIT_BYTES, 0.92);
    assert_near("cpu", service.rate("process_cpu_seconds_total", all), 0.95);
    let errors = service.rate("http_requests_total", is_server_error) / service.rate("http_requests_total", all);
    assert!((errors - 0.08).abs() < 0.005, "{errors}");
    let node = Measured::of(&["disk 90%", "load 9", "memory node 85%", "cpu node 95%"], "node-exporter");
    assert_near("load", node.level("node_load1"), 9.0);
    assert!(node.level("node_filesystem_avail_bytes") < 11e9);
}

/// Every target of `form`, as written.
fn targets(form: &Form) -> Vec<String> {
    let of_services = services().into_iter().map(|service| service.name).filter(|name| match form.services {
        Services::None => false,
        Services::All => true,
        Services::One(only) => name == only,
    });
    of_services.chain(form.exporters.iter().map(|key| (*key).to_owned())).collect()
}

/// The form as a scenario with its usual amount on `target`.
fn on(form: &Form, target: &str) -> Scenario {
    let sole = targets(form).len() == 1;
    scenario(&if sole { form.name.to_owned() } else { format!("{} {target}", form.name) })
}

#[test]
fn every_scenario_does_something_to_each_of_its_targets_and_nothing_to_others() {
    let pages = |simulator: &Simulator, now: f64| -> BTreeMap<String, Answer> {
        let exporters = EXPORTERS.iter().filter(|row| row.key != KUBE_STATE).map(|row| row.service.to_owned());
        let all = services().into_iter().map(|service| service.name).chain(exporters);
        all.map(|name| (name.clone(), simulator.respond(&name, &format!("{name}-0"), "/metrics", now))).collect()
    };
    let run = |scenario: Option<Scenario>| {
        let simulator = simulator();
        pages(&simulator, START);
        scenario.into_iter().for_each(|scenario| simulator.set_scenario(scenario).unwrap());
        pages(&simulator, START + 300.0)
    };
    let healthy = run(None);
    for form in FORMS {
        for target in targets(form).iter().filter(|target| *target != KUBE_STATE) {
            let struck = run(Some(on(form, target)));
            let changed: Vec<&str> = struck
                .iter()
                .filter(|(name, answer)| healthy[name.as_str()] != **answer)
                .map(|(name, _)| name.as_str())
                .collect();
            let expected = exporter(target).map_or(target.as_str(), |row| row.service);
            assert_eq!(changed, [expected], "{}", form.name);
        }
    }
}

#[test]
fn the_traffic_names_scenarios_only_beside_series_of_their_targets() {
    let traffic = Traffic::embedded().unwrap();
    let form_of = |trouble: &Trouble| FORMS.iter().find(|form| form.trouble == *trouble).unwrap();
    for (key, series) in &traffic.exporters {
        for trouble in series.iter().flat_map(|series| series.under.keys()) {
            assert!(form_of(trouble).exporters.contains(&key.as_str()), "{trouble:?} of {key}");
        }
    }
    for (name, service) in &traffic.services {
        for trouble in service.series.iter().flat_map(|series| series.under.keys()) {
            assert!(matches!(form_of(trouble).services, Services::One(only) if only == name), "{trouble:?}");
        }
    }
    for trouble in traffic.every_service.iter().flat_map(|series| series.under.keys()) {
        assert_eq!(form_of(trouble).services, Services::All, "{trouble:?}");
    }
}

#[test]
fn nothing_falls_below_zero_and_no_counter_falls_while_all_scenarios_come_and_go() {
    let simulator = simulator();
    let contract = Contract::embedded().unwrap();
    let cumulative: BTreeSet<&str> = contract
        .exporters
        .values()
        .flatten()
        .filter(|metric| metric.metric_type != MetricType::Gauge)
        .map(|metric| metric.name.as_str())
        .collect();
    let is_cumulative = |series: &str| {
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        cumulative.contains(name) || cumulative.contains(base)
    };
    let all: Vec<(&Form, String)> =
        FORMS.iter().flat_map(|form| targets(form).into_iter().map(move |target| (form, target))).collect();
    let names: Vec<String> = services().into_iter().map(|service| service.name).collect();
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    for step in 0..240_usize {
        if step % 60 == 59 {
            simulator.clear();
        }
        // A step that shares no factor with their number comes by all of them in an odd order.
        let (form, target) = &all[step * 7 % all.len()];
        let extreme = form.amount.map(|amount| amount.written(if step % 2 == 0 { amount.most } else { 0.0 }));
        let sole = targets(form).len() == 1;
        let words = [Some(form.name.to_owned()), (!sole).then(|| target.clone()), extreme];
        let words: Vec<String> = words.into_iter().flatten().collect();
        simulator.set_scenario(Scenario::parse(&words, &names).unwrap()).unwrap();
        for target in names.iter().map(String::as_str).chain(EXPORTERS.iter().map(|row| row.service)) {
            let answer = simulator.respond(target, target, "/metrics", START + step as f64 * 3.1);
            let Answer::Response { body, .. } = answer else { continue };
            for (series, value) in read(&body) {
                assert!(value >= 0.0, "{words:?}: {series} is {value}");
                if is_cumulative(&series) {
                    let before = last.insert(format!("{target} {series}"), value).unwrap_or_default();
                    assert!(value >= before, "{words:?}: {series} of {target} fell from {before} to {value}");
                }
            }
        }
    }
}

#[test]
fn one_instance_down_is_the_first_pod_and_kube_state_metrics_say_so() {
    let simulator = simulator();
    let down = scenario("instance-down user-service");
    let error = simulator.set_scenario(down.clone()).unwrap_err();
    assert!(error.to_string().contains("nobody has asked a pod of `user-service` yet"), "{error:#}");
    for pod in USER_PODS {
        ask(&simulator, "user-service", pod, START);
    }
    simulator.set_scenario(down.clone()).unwrap();
    let later = START + 30.0;
    assert_eq!(simulator.respond("user-service", USER_PODS[0], "/metrics", later), Answer::Refused);
    assert!(simulator.refuses("user-service", USER_PODS[0], later));
    ask(&simulator, "user-service", USER_PODS[1], later);
    let state = ask(&simulator, "kube-state-metrics", "k", later);
    let available = "kube_deployment_status_replicas_available{namespace=\"drivemaster\",deployment=\"user-service\"}";
    assert_eq!(state[available], 1.0);
    simulator.clear_one(&down).unwrap();
    ask(&simulator, "user-service", USER_PODS[0], later);
}

#[test]
fn one_scenario_is_cleared_whatever_its_amount_and_the_others_stay() {
    let simulator = simulator();
    simulator.set_scenario(scenario("errors user-service 8%")).unwrap();
    simulator.set_scenario(scenario("kafka-lag 7000")).unwrap();
    simulator.clear_one(&scenario("kafka-lag")).unwrap();
    assert_eq!(simulator.scenarios(), [scenario("errors user-service 8%")]);
    let error = simulator.clear_one(&scenario("errors content-service")).unwrap_err();
    let failure = crate::error::failure_of(&error).unwrap();
    assert_eq!(failure.message, "scenario `errors content-service 8%` is not on");
    assert_eq!(failure.hint.as_deref(), Some("on: errors user-service 8%"));
}

#[test]
fn what_a_pod_uses_is_what_its_page_says() {
    let simulator = simulator();
    for words in ["memory user-service 92%", "cpu user-service 95%", "down content-service"] {
        let page = ask(&simulator, "user-service", USER_PODS[0], START + 60.0);
        let usage = simulator.usage("user-service", USER_PODS[0], START + 60.0).unwrap();
        assert_eq!(usage.memory, page["process_resident_memory_bytes"]);
        assert_eq!(usage.cpu_seconds, page["process_cpu_seconds_total"]);
        simulator.set_scenario(scenario(words)).unwrap();
    }
    assert_eq!(simulator.usage("redis-exporter", "pod", START), None);
}
