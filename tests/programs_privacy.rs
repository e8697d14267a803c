//! What the pipelines let through: the rendered configurations, run by the real programs. Only addresses are
//! rewritten; the Collector's exporters write to a sink here, the shipper takes its lines from here instead of
//! the API server and writes to a real Loki.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::config::{Layer, Profile, resolve};
use drivemaster_mon::render::render;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::rendered::{self, find};
use support::{free_port, tool};

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

fn pseudonym(id: &str) -> String {
    Sha256::digest(format!("{KEY}:{id}")).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The body of the answer to one request; none while nobody listens. Over HTTP/1.0, which has no chunks.
fn request(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // A program that cannot start may take a connection and say nothing.
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.0 20").then(|| body.to_owned())
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

/// Starts a program with its log in `folder`, without the environment of the test.
fn start(name: &str, arguments: &[String], folder: &Path, variables: &[(&str, &str)]) -> Program {
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(tool(name));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    Program(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

/// Waits for a program of [`start`]; its log fails the test.
fn until_ready(name: &str, port: u16, path: &str, folder: &Path) {
    let log = || std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    let ask = || request(port, "GET", path, "").map_or_else(|| Err(log()), Ok);
    eventually(&format!("{name} is ready"), ask, Result::is_ok).unwrap();
}

/// The file that helm renders into a ConfigMap of the release called `release`.
fn rendered_file(release: &str, key: &str) -> String {
    let bundle = rendered::bundle("");
    let found = bundle.releases.iter().find(|found| found.name == release).unwrap();
    let objects = rendered::templated(found, "helm");
    find(&objects, "ConfigMap", release)["data"][key].as_str().unwrap().to_owned()
}

/// The real Loki with the rendered configuration, on loopback and in `folder`.
fn loki(folder: &Path) -> (Program, u16) {
    let text = rendered_file("loki", "config.yaml").replace("/var/loki", folder.join("loki").to_str().unwrap());
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    // Overrides of single tenants, from a file that is not here.
    config["runtime_config"] = json!({});
    config["ingester"]["lifecycler"]["min_ready_duration"] = json!("0s");
    let [http, grpc] = std::array::from_fn(|_| free_port());
    for (key, value) in [
        ("http_listen_address", json!("127.0.0.1")),
        ("grpc_listen_address", json!("127.0.0.1")),
        ("http_listen_port", json!(http)),
        ("grpc_listen_port", json!(grpc)),
    ] {
        config["server"][key] = value;
    }
    let file = folder.join("loki.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let program = start("loki", &[format!("-config.file={}", file.display())], folder, &[]);
    until_ready("loki", http, "/ready", folder);
    (program, http)
}

/// The real Alloy with the rendered configuration from the processing on: lines are pushed to it.
fn alloy(folder: &Path, loki: u16) -> (Program, u16) {
    let text = rendered_file("alloy", "config.alloy");
    let (_, processing) = text.split_once("loki.process \"pods\" {").unwrap();
    let address = "http://loki.drivemaster-monitoring.svc:3100";
    assert!(processing.contains(address), "{processing}");
    let processing = processing.replace(address, &format!("http://127.0.0.1:{loki}"));
    let [lines, grpc, own] = std::array::from_fn(|_| free_port());
    let config = format!(
        "loki.source.api \"test\" {{\n  http {{ \n listen_address = \"127.0.0.1\"\n listen_port = {lines}\n }}\n  \
         grpc {{ \n listen_address = \"127.0.0.1\"\n listen_port = {grpc}\n }}\n  \
         use_incoming_timestamp = true\n  forward_to = [loki.process.pods.receiver]\n}}\n\nloki.process \"pods\" {{{processing}"
    );
    let file = folder.join("config.alloy");
    std::fs::write(&file, config).unwrap();
    let arguments = [
        "run".to_owned(),
        "--disable-reporting".to_owned(),
        format!("--server.http.listen-addr=127.0.0.1:{own}"),
        format!("--storage.path={}", folder.join("alloy").display()),
        file.display().to_string(),
    ];
    let program = start("alloy", &arguments, folder, &[("PSEUDONYM_KEY", KEY)]);
    until_ready("alloy", own, "/-/ready", folder);
    (program, lines)
}

#[test]
fn the_shipper_lets_no_secret_through_and_gives_labels_of_closed_lists() {
    let folder = tempfile::tempdir().unwrap();
    let (_loki, loki) = loki(folder.path());
    let (_alloy, alloy) = alloy(folder.path(), loki);
    let application = json!({ "level": "ERROR", "message": "mail to jane@example.com, card 4111 1111 1111 1111",
        "log_type": "security", "trace_id": "t-1", "request_id": "r-1", "user_id": PERSON,
        "password": "planted-password", "url": "https://x.org/?access_token=planted-token&x=1",
        "session_id": "4111111111111111" });
    let platform = |line: &str| ("drivemaster", "user-service", line.to_owned());
    let monitoring = |container: &'static str, line: &str| ("drivemaster-monitoring", container, line.to_owned());
    // A line, and the level and the class that it shall have.
    let lines = [
        (platform(&application.to_string()), "error", "security"),
        (platform(&format!("level=warn msg=plain user_id={PERSON} token=planted-token")), "warn", "application"),
        (platform(r#"{"level":"invented-4711","log_type":"invented-4712"}"#), "unknown", "application"),
        (platform(r#"{"level":30,"log_type":"audit","message":"who did what"}"#), "info", "audit"),
        (platform("no JSON at all: eyJhbGciOi.eyJzdWIi.c2ln"), "unknown", "application"),
        (monitoring("prometheus", r#"{"msg":"promql query logged","level":"info"}"#), "info", "audit"),
        (monitoring("prometheus", r#"{"msg":"head GC completed","level":"info"}"#), "info", "application"),
        (monitoring("grafana", r#"logger=context level=info msg="Request Completed" path=/login"#), "info", "audit"),
        (monitoring("loki", r#"level=info component=frontend org_id=fake query="{}""#), "info", "audit"),
    ];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let streams: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(number, ((namespace, container, line), ..))| {
            let labels = json!({ "namespace": namespace, "container": container, "service_name": container,
                "pod": format!("{container}-{number}"), "instance": "here", "job": "loki.source.kubernetes.pods" });
            json!({ "stream": labels, "values": [[(now + number as u128).to_string(), line]] })
        })
        .collect();
    let body = json!({ "streams": streams }).to_string();
    assert!(request(alloy, "POST", "/loki/api/v1/push", &body).is_some());

    let query = "/loki/api/v1/query_range?limit=100&query=%7Bnamespace=~%22drivemaster.*%22%7D";
    let found = eventually(
        "every line is in Loki",
        || {
            let answer = request(loki, "GET", query, "").unwrap_or_default();
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            answer["data"]["result"].as_array().cloned().unwrap_or_default()
        },
        |streams| streams.len() == lines.len(),
    );
    let text = Value::from(found.clone()).to_string();
    for planted in PLANTED.iter().filter(|planted| !["Jane Doe", "planted-parameter"].contains(planted)) {
        assert!(!text.contains(planted), "`{planted}` came out: {text}");
    }
    for (number, ((_, container, _), level, class)) in lines.iter().enumerate() {
        let pod = format!("{container}-{number}");
        let stream = found.iter().find(|stream| stream["stream"]["pod"] == *pod).unwrap();
        assert_eq!(
            (&stream["stream"]["level"], &stream["stream"]["log_type"]),
            (&json!(level), &json!(class)),
            "{pod}"
        );
    }
    // The text and the structured metadata of the first line, the text of the second.
    assert_eq!(text.matches(&pseudonym(PERSON)).count(), 3, "{text}");
    let first = found.iter().find(|stream| stream["stream"]["pod"] == "user-service-0").unwrap();
    assert_eq!((&first["stream"]["trace_id"], &first["stream"]["request_id"]), (&json!("t-1"), &json!("r-1")));
    assert_eq!(first["stream"]["user_id"], pseudonym(PERSON));
    let line: Value = serde_json::from_str(first["values"][0][1].as_str().unwrap()).unwrap();
    assert_eq!((&line["password"], &line["session_id"]), (&json!("****"), &json!("4111111111111111")));
    assert_eq!(line["url"], "https://x.org/?access_token=****&x=1");

    // Audit lines are kept for a year, so a year can be asked for at once. One line: Loki begins with the newest
    // hour and goes no further.
    let year = query.replace("limit=100", "limit=1");
    let year = format!("{year}&start={}&end={}", now - 366 * 24 * 3600 * 1_000_000_000, now + 1_000_000_000);
    let answer = request(loki, "GET", &year, "").unwrap_or_default();
    assert!(answer.contains("component=frontend"), "{year}: {answer}");

    // What has many values is metadata of a line, not a label of a stream.
    let series = request(loki, "GET", "/loki/api/v1/series?match[]=%7Bnamespace=~%22.%2B%22%7D", "").unwrap();
    let series: Value = serde_json::from_str(&series).unwrap();
    for stream in series["data"].as_array().unwrap() {
        let labels: BTreeSet<&str> = stream.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(labels, BTreeSet::from(["container", "level", "log_type", "namespace", "service_name"]));
    }
}
