//! What the pipelines let through: the rendered configurations, run by the real programs. Only addresses are
//! rewritten, and the exporters write to a sink here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::config::{Layer, Profile, resolve};
use drivemaster_mon::render::render;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::tool;

const KEY: &str = "k3yOfThisTestAndOfNothingElse0000";
const PERSON: &str = "person-4711";
/// What must never come out, wherever it was put in.
const PLANTED: [&str; 9] = [
    "jane@example.com",
    "4111 1111 1111 1111",
    "planted-token",
    "planted-password",
    "eyJhbGciOi.eyJzdWIi.c2ln",
    "Jane Doe",
    "planted-parameter",
    PERSON,
    KEY,
];

/// Ends with the test, also when it fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pseudonym(id: &str) -> String {
    Sha256::digest(format!("{KEY}:{id}")).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// One request over HTTP/1.1; none while nobody listens.
fn request(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// Asks until `found` is content; the last answer fails the test.
fn eventually<T: std::fmt::Debug>(what: &str, ask: impl Fn() -> T, found: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask();
        if found(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: {answer:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Takes every body that is posted to it.
fn sink() -> (u16, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let taken = bodies.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let taken = taken.clone();
            std::thread::spawn(move || take(stream, &taken));
        }
    });
    (port, bodies)
}

fn take(mut stream: TcpStream, taken: &Mutex<Vec<Value>>) {
    let mut read = Vec::new();
    let mut piece = [0; 65536];
    loop {
        let head = read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
            let length = text.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or_default();
            if read.len() >= head + length {
                taken.lock().unwrap().push(serde_json::from_slice(&read[head..head + length]).unwrap());
                read.drain(..head + length);
                let answer =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".as_bytes();
                if stream.write_all(answer).is_err() {
                    return;
                }
                continue;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => read.extend_from_slice(&piece[..length]),
        }
    }
}

fn attributes(values: &Value) -> Value {
    let list = values.as_object().unwrap().iter().map(|(key, value)| {
        let value = match value {
            Value::String(text) => json!({ "stringValue": text }),
            number => json!({ "intValue": number.to_string() }),
        };
        json!({ "key": key, "value": value })
    });
    Value::Array(list.collect())
}

/// One resource with one span.
fn spans(service: &str, trace: &str, span: &str, more: Value) -> Value {
    let mut row = json!({ "traceId": trace, "spanId": span, "name": "plain", "kind": 2,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000005000000" });
    drivemaster_mon::config::merge(&mut row, &more);
    json!({ "resource": { "attributes": attributes(&json!({ "service.name": service, "host.name": "h" })) },
        "scopeSpans": [{ "spans": [row] }] })
}

#[test]
fn the_collector_lets_no_secret_through_and_one_person_has_one_pseudonym() {
    let more = json!({ "privacy": { "pseudonymise": true }, "otelCollector": { "samplingPercentage": 0, "decisionWait": "1s" } });
    let config = resolve(Some(Profile::Local), &[], &[Layer::new("test", more.to_string())], &[]).unwrap();
    let bundle = render(&config).unwrap();
    let release = bundle.releases.iter().find(|release| release.name == "otel-collector").unwrap();
    let mut collector = release.values["config"].clone();
    let (sink, bodies) = sink();
    let [grpc, http, thrift, health, own, metrics] = std::array::from_fn(|_| free_port());
    let at = |port: u16| json!(format!("127.0.0.1:{port}"));
    collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] = at(grpc);
    collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"] = at(http);
    collector["receivers"]["jaeger"]["protocols"]["thrift_http"]["endpoint"] = at(thrift);
    collector["extensions"]["health_check"]["endpoint"] = at(health);
    collector["exporters"]["prometheus"]["endpoint"] = at(metrics);
    collector["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"] =
        json!({ "host": "127.0.0.1", "port": own });
    for connector in ["span_metrics", "service_graph"] {
        collector["connectors"][connector]["metrics_flush_interval"] = json!("1s");
    }
    let out = json!({ "endpoint": format!("http://127.0.0.1:{sink}"), "encoding": "json", "compression": "none" });
    collector["exporters"]["otlp_http/loki"] = out.clone();
    collector["exporters"]["otlp_http/jaeger"] = out;
    collector["exporters"].as_object_mut().unwrap().remove("otlp_grpc/jaeger");
    collector["service"]["pipelines"]["traces"]["exporters"] = json!(["otlp_http/jaeger"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, collector.to_string()).unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let _program = Program(
        Command::new(tool("otelcol"))
            .arg("--config")
            .arg(&file)
            .env_clear()
            .env("PSEUDONYM_KEY", KEY)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    eventually("the collector is ready", || request(health, "GET", "/", ""), Option::is_some);

    let failed = "a".repeat(32);
    let dirty = json!({ "user.id": PERSON, "session.id": "4111111111111111", "content.id": "5500005555555559",
        "service.component": "bkt", "algorithm.name": "bkt", "auth.token": "planted-token", "a.password": 12345,
        "http.request.header.authorization": "Bearer planted-token", "db.query.parameter.0": "planted-parameter",
        "db.system": "postgresql", "db.statement": "SELECT a FROM b WHERE name = 'Jane Doe'",
        "url.full": "https://x.org/?access_token=planted-token&x=1",
        "note": "jane@example.com 4111 1111 1111 1111 eyJhbGciOi.eyJzdWIi.c2ln \"password\":\"planted-password\"" });
    let event = json!([{ "timeUnixNano": "1700000000000000000", "name": "exception",
        "attributes": attributes(&json!({ "exception.message": "for jane@example.com", "user_id": PERSON })) }]);
    let traces = json!({ "resourceSpans": [
        spans("user-service", &failed, &"1".repeat(16), json!({ "kind": 3, "name": "GET /jane@example.com",
            "attributes": attributes(&dirty), "events": event })),
        // No event here: statements of an unnamed context would pass it by.
        spans("adaptive-service", &failed, &"2".repeat(16), json!({ "parentSpanId": "1".repeat(16),
            "attributes": attributes(&json!({ "user.id": PERSON, "user.email": "jane@example.com" })),
            "status": { "code": 2, "message": "token=planted-token" } })),
        spans("content-service", &"b".repeat(32), &"3".repeat(16), json!({})),
    ] });
    let record = |body: &str, values: Value| {
        json!({ "timeUnixNano": "1700000000000000000", "severityNumber": 17,
        "body": { "stringValue": body }, "attributes": attributes(&values) })
    };
    let logs = json!({ "resourceLogs": [{
        "resource": { "attributes": attributes(&json!({ "service.name": "user-service", "log_type": "security" })) },
        "scopeLogs": [{ "logRecords": [
            record(&format!("jane@example.com {{\"user_id\":\"{PERSON}\"}}"), json!({ "user_id": PERSON })),
            record("second", json!({ "log_type": "invented" })),
            record("third", json!({})),
        ] }],
    }] });
    assert!(request(http, "POST", "/v1/traces", &traces.to_string()).is_some());
    assert!(request(http, "POST", "/v1/logs", &logs.to_string()).is_some());

    let came = eventually(
        "the trace with the error and the logs come out",
        || serde_json::to_string(&*bodies.lock().unwrap()).unwrap(),
        |text| text.contains("resourceSpans") && text.contains("resourceLogs") && text.contains(&"2".repeat(16)),
    );
    let answer = eventually(
        "the service graph has the failed call",
        || request(metrics, "GET", "/metrics", "").unwrap_or_default(),
        |text| text.contains("traces_service_graph_request_failed_total{client=\"user-service\""),
    );
    let printed = std::fs::read_to_string(folder.path().join("log")).unwrap();
    for planted in PLANTED {
        assert!(!came.contains(planted), "`{planted}` came out: {came}");
        assert!(!answer.contains(planted) && !printed.contains(planted), "`{planted}` is measured or logged");
    }
    // Two spans, an event, an attribute and the text of a record.
    assert_eq!(came.matches(&pseudonym(PERSON)).count(), 5, "{came}");
    assert!(!came.contains("pseudonym.key"), "{came}");
    for kept in ["4111111111111111", "5500005555555559", "service.component", "algorithm.name", "name = ?", "&x=1"] {
        assert!(came.contains(kept), "`{kept}` is gone: {came}");
    }
    assert!(!came.contains(&"b".repeat(32)), "the plain trace was kept with a share of 0 %");
    for (class, count) in [("security", 2), ("application", 1)] {
        assert_eq!(came.matches(&format!("\"stringValue\":\"{class}\"")).count(), count, "{class}: {came}");
    }
    // Plain spans are counted though they are not kept, and no series has an id.
    assert!(answer.contains("service_name=\"content-service\""), "{answer}");
    for id in ["user_id", "session_id", "content_id", "host_name"] {
        assert!(!answer.contains(&format!("{id}=")), "{id}: {answer}");
    }
}
