//! What differs between the deployed and the run configuration of the Collector and of Jaeger, and
//! that nothing else does.

use super::notes;
use crate::sandbox::behind::rewrite::rewrite;
use crate::sandbox::behind::rewrite::tests::{differences, rewritten, sorted, sprinkle, surroundings};
use crate::sandbox::network::program::Program;
use serde_yaml::Value;

const COLLECTOR: &str = r#"
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: "${env:MY_POD_IP}:4317"
        tls: { cert_file: /etc/prometheus/tls.crt, key_file: /etc/elsewhere/tls.key }
      http: { cors: { allowed_origins: ["*"] } }
  jaeger: { protocols: { thrift_http: { endpoint: "0.0.0.0:14268" }, thrift_compact: { queue_size: 1 } } }
processors:
  batch: { timeout: 1s }
  k8s_attributes: { passthrough: false, extract: { metadata: [k8s.pod.name] } }
connectors: { span_metrics: { namespace: traces } }
exporters:
  otlp_grpc/jaeger: { endpoint: "jaeger.monitoring.svc:4317", tls: { ca_file: /etc/prometheus/ca.crt } }
  otlp_http/loki: { endpoint: "http://loki.monitoring.svc:3100/otlp", proxy_url: "http://away:1" }
  prometheus: { endpoint: "${MY_POD_IP}:8889", enable_open_metrics: true }
extensions: { health_check: { path: /health } }
service:
  extensions: [health_check]
  telemetry:
    metrics: { readers: [{ pull: { exporter: { prometheus: { host: "${env:MY_POD_IP}", port: 8888 } } } }] }
    resource: { k8s.pod.ip: "${env:MY_POD_IP}" }
  pipelines: { traces: { receivers: [otlp, jaeger], exporters: [otlp_grpc/jaeger] } }
"#;

fn collector_differences() -> Vec<String> {
    let expected = [
        "receivers.otlp.protocols.grpc.endpoint = 127.0.0.1:14317",
        "receivers.otlp.protocols.grpc.tls.cert_file = /run/root/etc/prometheus/tls.crt",
        // Its default is the pod's own loopback, which nobody reaches.
        "receivers.otlp.protocols.http.endpoint = 127.0.0.1:0",
        "receivers.jaeger.protocols.thrift_http.endpoint = 127.0.0.1:24268",
        "receivers.jaeger.protocols.thrift_compact.endpoint = 127.0.0.1:0",
        "processors.k8s_attributes.auth_type = kubeConfig",
        "exporters.otlp_grpc/jaeger.tls.ca_file = /run/root/etc/prometheus/ca.crt",
        "exporters.otlp_http/loki.proxy_url = http://127.0.0.1:4444",
        "exporters.prometheus.endpoint = 127.0.0.1:18889",
        "extensions.health_check.endpoint = 127.0.0.1:0",
        "service.telemetry.metrics.readers[0].pull.exporter.prometheus.host = 127.0.0.1",
        "service.telemetry.metrics.readers[0].pull.exporter.prometheus.port = 18888",
    ];
    sorted(expected.map(str::to_owned).to_vec())
}

const JAEGER: &str = r#"
extensions:
  healthcheckv2: { use_v2: true, http: { endpoint: "0.0.0.0:13133" } }
  jaeger_query: { storage: { traces: main, traces_archive: archive, metrics: prom }, ui: { config_file: /etc/prometheus/ui.json } }
  jaeger_storage:
    backends:
      main: { elasticsearch: { server_urls: ["${env:ES}"], auth: { basic: { password: "${env:P}" } } } }
      archive: { badger: { directories: { keys: /prometheus/k, values: /nowhere/v }, ephemeral: false } }
    metric_backends: { prom: { prometheus: { endpoint: "http://prometheus.monitoring.svc:9090" } } }
receivers: { otlp: { protocols: { grpc: { endpoint: "0.0.0.0:4317" }, http: } } }
exporters: { jaeger_storage_exporter: { trace_storage: main } }
service: { pipelines: { traces: { receivers: [otlp], exporters: [jaeger_storage_exporter] } } }
"#;

fn jaeger_differences() -> Vec<String> {
    let expected = [
        "extensions.healthcheckv2.http.endpoint = 127.0.0.1:23133",
        "extensions.jaeger_query.http.endpoint = 127.0.0.1:26686",
        "extensions.jaeger_query.grpc.endpoint = 127.0.0.1:26685",
        "extensions.jaeger_query.ui.config_file = /run/root/etc/prometheus/ui.json",
        "extensions.jaeger_storage.backends.main.memory.max_traces = 100000",
        "-extensions.jaeger_storage.backends.main.elasticsearch.server_urls[0]",
        "-extensions.jaeger_storage.backends.main.elasticsearch.auth.basic.password",
        "extensions.jaeger_storage.backends.archive.badger.directories.keys = /run/claims/data/k",
        "extensions.jaeger_storage.backends.archive.badger.directories.values = /run/root/nowhere/v",
        "receivers.otlp.protocols.grpc.endpoint = 127.0.0.1:14317",
        "receivers.otlp.protocols.http.endpoint = 127.0.0.1:0",
        "-receivers.otlp.protocols.http",
        "service.telemetry.metrics.readers[0].pull.exporter.prometheus.host = 127.0.0.1",
        "service.telemetry.metrics.readers[0].pull.exporter.prometheus.port = 0",
    ];
    sorted(expected.map(str::to_owned).to_vec())
}

#[test]
fn the_closed_list_is_rewritten_and_nothing_else() {
    for (program, text, expected) in
        [(Program::Collector, COLLECTOR, collector_differences()), (Program::Jaeger, JAEGER, jaeger_differences())]
    {
        let before = serde_yaml::from_str(text).unwrap();
        assert_eq!(sorted(differences(&before, &rewritten(program, text))), expected, "{}", program.title());
    }
}

#[test]
fn keys_it_does_not_know_survive_untouched_wherever_they_stand() {
    for seed in 0..200 {
        let mut before: Value = serde_yaml::from_str(COLLECTOR).unwrap();
        sprinkle(&mut before, &mut seed.clone());
        let after = rewritten(Program::Collector, &serde_yaml::to_string(&before).unwrap());
        assert_eq!(sorted(differences(&before, &after)), collector_differences(), "seed {seed}");
    }
}

#[test]
fn what_would_leave_the_machine_or_reach_nobody_is_refused_by_name() {
    for (text, expected) in [
        (
            "extensions: { jaeger_storage: { backends: { a: { cassandra: {} } } } }",
            "`jaeger_storage.backends.a.cassandra` would leave",
        ),
        (
            "extensions: { jaeger_storage: { metric_backends: { a: { elasticsearch: {} } } } }",
            "`jaeger_storage.metric_backends.a.elasticsearch` would leave",
        ),
        (
            "receivers: { otlp: { protocols: { grpc: { endpoint: '0.0.0.0:99' } } } }",
            "receiver `otlp`, protocol grpc: it is to listen on port 99, which",
        ),
        ("extensions: { health_check: { endpoint: '0.0.0.0:99' } }", "extension `health_check`: it is to listen on"),
        ("exporters: { prometheus/a: { endpoint: ':99' } }", "exporter `prometheus/a`: it is to listen on"),
    ] {
        let told = rewrite(Program::Jaeger, text, &surroundings()).unwrap_err();
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn a_store_that_is_not_here_is_said_to_be_replaced() {
    assert_eq!(notes(JAEGER), ["backend `main` keeps its traces in memory here: nothing is proved of elasticsearch"]);
    assert!(notes(COLLECTOR).is_empty() && notes("{").is_empty());
}

#[test]
fn strange_shapes_go_to_the_program_as_they_are() {
    for text in [
        "",
        "[]",
        "receivers: 7",
        "receivers: { otlp: 7 }",
        "exporters: [x]",
        "service: x",
        "extensions: { health_check: 7 }",
    ] {
        assert!(rewrite(Program::Collector, text, &surroundings()).is_ok(), "{text}");
    }
}
