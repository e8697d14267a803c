//! The alerts that look back farther than five minutes, on blocks: promtool fills a fresh Prometheus
//! with hours of traffic whose every value is known beforehand, and with what the recording rules
//! make of it. Prometheus then says since when the condition holds. It is started once more with that
//! moment as the state that it keeps of pending alerts, as after any restart, and fires those whose
//! `for` is over, no others.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use drivemaster_mon::config::Profile;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::alerts::{Alert, alerts_of_every_profile, rules, seconds};
use support::firing::{Firing, Way, shown};
use support::{free_port, tool};

/// Between two samples, and two evaluations of what is recorded, in seconds.
const STEP: u64 = 30;
/// How much there is, in seconds.
const PAST: u64 = 4 * 3600;
/// How much longer than its `for` one service's trouble lasts, and shorter that of the other.
const MARGIN: u64 = 5 * 60;
/// The service whose trouble does not last long enough.
const BRIEF: &str = "content-service";

/// What makes one alert fire.
struct Trouble {
    alert: &'static str,
    /// Seconds from the beginning of the trouble to the moment when the condition holds, by arithmetic.
    noticed_after: u64,
    /// The samples of `service` at `time`, which is `bad` seconds into the trouble, if it is.
    samples: fn(service: &str, time: u64, bad: u64) -> String,
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        alert: "LowLearningEffectiveness",
        // The mean of an hour falls from 0.9 towards 0.5, and passes 0.75 after three eighths of it.
        noticed_after: 3600 * 3 / 8,
        samples: |service, time, bad| {
            let score = if bad > 0 { 0.5 } else { 0.9 };
            format!(
                "learning_effectiveness_score{{job=\"{service}\",service=\"{service}\",user_id=\"a\"}} {score} {time}\n"
            )
        },
    },
    Trouble {
        alert: "LowUserEngagement",
        // One session ends each second; the mean of a quarter of an hour falls from 600 s towards 100 s, and passes
        // 300 s after three fifths of it.
        noticed_after: 900 * 3 / 5,
        samples: |service, time, bad| {
            let labels = format!("job=\"{service}\",service=\"{service}\",user_id=\"a\"");
            let seconds = 600 * (time - bad) + 100 * bad;
            format!(
                "user_session_duration_seconds_sum{{{labels}}} {seconds} {time}\n\
                 user_session_duration_seconds_count{{{labels}}} {time} {time}\n"
            )
        },
    },
];

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of blocks, and the Prometheus that reads them.
struct Blocks {
    folder: tempfile::TempDir,
    /// The end of what is filled, in seconds since 1970.
    end: u64,
    client: reqwest::Client,
}

impl Blocks {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn promtool(&self, arguments: &[&str]) {
        let output = Command::new(tool("promtool")).args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes blocks of `samples`.
    fn fill(&self, samples: &str) {
        std::fs::write(self.path("samples"), format!("{samples}# EOF\n")).unwrap();
        self.promtool(&["tsdb", "create-blocks-from", "openmetrics", "--quiet", "samples", "data"]);
    }

    /// Starts Prometheus with `groups` of rules, and nothing but the blocks.
    async fn start(&self, groups: &Value) -> (Program, String) {
        for rest in ["wal", "chunks_head", "lock"].map(|name| self.path("data").join(name)) {
            let _ = if rest.is_dir() { std::fs::remove_dir_all(rest) } else { std::fs::remove_file(rest) };
        }
        std::fs::write(self.path("rules.yml"), json!({ "groups": groups }).to_string()).unwrap();
        std::fs::write(self.path("prometheus.yml"), "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n")
            .unwrap();
        let port = free_port();
        let child = Command::new(tool("prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=90d"])
            .arg("--rules.alert.for-grace-period=0s")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap();
        let (program, url) = (Program(child), format!("http://127.0.0.1:{port}"));
        self.eventually("Prometheus is ready", async || {
            let answer = self.client.get(format!("{url}/-/ready")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        (program, url)
    }

    async fn eventually<T>(&self, what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
        for _ in 0..300 {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{what}: did not happen\n{}", std::fs::read_to_string(self.path("log")).unwrap())
    }

    async fn ask(&self, url: &str) -> Value {
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The alerts that Prometheus knows, by name and service: state and labels.
    async fn alerts(&self, url: &str) -> BTreeMap<(String, String), (String, Value)> {
        let answer = self.ask(&format!("{url}/api/v1/alerts")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let alerts = answer["alerts"].as_array().unwrap();
        alerts
            .iter()
            .map(|alert| {
                let labels = &alert["labels"];
                ((text(&labels["alertname"]), text(&labels["service"])), (text(&alert["state"]), labels.clone()))
            })
            .collect()
    }

    /// Since when, up to the end, `expression` has held without a break, by the label `service`.
    async fn holds_since(&self, url: &str, expression: &str) -> BTreeMap<String, u64> {
        let address = reqwest::Url::parse_with_params(
            &format!("{url}/api/v1/query_range"),
            [
                ("query", expression.to_owned()),
                ("start", (self.end - PAST).to_string()),
                ("end", self.end.to_string()),
                ("step", STEP.to_string()),
            ],
        )
        .unwrap();
        let answer = self.ask(address.as_str()).await;
        let mut since = BTreeMap::new();
        for series in answer["result"].as_array().unwrap() {
            let times = series["values"].as_array().unwrap().iter().map(|sample| sample[0].as_f64().unwrap() as u64);
            let mut expected = self.end;
            for time in times.rev().take_while(|time| std::mem::replace(&mut expected, time - STEP) == *time) {
                since.insert(series["metric"]["service"].as_str().unwrap().to_owned(), time);
            }
        }
        since
    }
}

/// The rules of `rows`, and those that record what they ask for.
fn needed(rows: &[Firing]) -> Vec<Value> {
    let all = rules(Profile::Local);
    let of_rows = |rule: &&Value| rows.iter().any(|row| rule["alert"] == row.alert.as_str());
    let mut needed: Vec<Value> = all.iter().filter(of_rows).cloned().collect();
    let mut next = 0;
    while let Some(rule) = needed.get(next).cloned() {
        let asks_for = |record: &Value| rule["expr"].as_str().unwrap().contains(record["record"].as_str().unwrap());
        let records = all.iter().filter(|record| record["record"].is_string() && asks_for(record));
        let more: Vec<Value> = records.filter(|record| !needed.contains(record)).cloned().collect();
        needed.extend(more);
        next += 1;
    }
    needed
}

fn group(rules: &[Value]) -> Value {
    json!([{ "name": "backfill", "rules": rules }])
}

fn alert_named(name: &str) -> Alert {
    alerts_of_every_profile().into_iter().find(|alert| alert.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_with_long_windows_fire_on_backfilled_blocks_after_their_time_and_not_before() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let folder = tempfile::tempdir().unwrap();
    let blocks = Blocks { folder, end: now / STEP * STEP, client: reqwest::Client::new() };
    let rows: Vec<Firing> = shown(Way::Backfill).into_iter().filter(|row| row.by.is_none()).collect();
    let groups = group(&needed(&rows));
    // When the condition is to begin to hold, by alert and service.
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut samples = String::new();
    for row in &rows {
        let trouble = TROUBLES.iter().find(|trouble| trouble.alert == row.alert);
        let trouble = trouble.unwrap_or_else(|| panic!("nothing here makes `{}` fire", row.alert));
        let lasting = seconds(&alert_named(&row.alert).lasting);
        for (service, holds) in [(row.service.as_deref().unwrap(), lasting + MARGIN), (BRIEF, lasting - MARGIN)] {
            expected.insert((row.alert.clone(), service.to_owned()), blocks.end - holds);
            let began = blocks.end - holds - trouble.noticed_after;
            for time in (blocks.end - PAST..=blocks.end).step_by(usize::try_from(STEP).unwrap()) {
                samples.push_str(&(trouble.samples)(service, time, time.saturating_sub(began)));
            }
        }
    }
    blocks.fill(&samples);
    record(&blocks, &needed(&rows)).await;

    let (prometheus, url) = blocks.start(&groups).await;
    let known = blocks
        .eventually("every condition is seen to hold", async || {
            let known = blocks.alerts(&url).await;
            expected.keys().all(|alert| known.contains_key(alert)).then_some(known)
        })
        .await;
    let mut state = String::new();
    for row in &rows {
        let since = blocks.holds_since(&url, &alert_named(&row.alert).expression).await;
        for ((alert, service), wanted) in expected.iter().filter(|((alert, _), _)| *alert == row.alert) {
            let found = since[service];
            assert!(found.abs_diff(*wanted) <= 2 * STEP, "{alert} {service}: since {found}, expected {wanted}");
            let (before, labels) = &known[&(alert.clone(), service.clone())];
            assert_eq!(before, "pending", "{alert} {service}: Prometheus knows nothing of before yet");
            let labels: Vec<String> =
                labels.as_object().unwrap().iter().map(|(label, value)| format!("{label}={value}")).collect();
            for time in (found..=blocks.end).step_by(usize::try_from(STEP).unwrap()) {
                writeln!(state, "ALERTS_FOR_STATE{{{}}} {found} {time}", labels.join(",")).unwrap();
            }
        }
    }
    drop(prometheus);
    blocks.fill(&state);
    let (_prometheus, url) = blocks.start(&groups).await;
    let firing = |row: &Firing| (row.alert.clone(), row.service.clone().unwrap());
    let known = blocks
        .eventually("every alert fires", async || {
            let known = blocks.alerts(&url).await;
            let fires = |alert: &(String, String)| known.get(alert).is_some_and(|(state, _)| state == "firing");
            rows.iter().all(|row| fires(&firing(row))).then_some(known)
        })
        .await;
    for row in &rows {
        let brief = &known[&(row.alert.clone(), BRIEF.to_owned())].0;
        assert_eq!(brief, "pending", "`{}` fires before its time", row.alert);
    }
    println!("{} alerts fire on backfilled blocks, and none before its time", rows.len());
}

/// Fills in what the rules record: first what is made of samples, then what is made of that, and so on.
async fn record(blocks: &Blocks, rules: &[Value]) {
    let mut left: Vec<&Value> = rules.iter().filter(|rule| rule["record"].is_string()).collect();
    while !left.is_empty() {
        let is_made_of = |rule: &Value, other: &Value| {
            rule["expr"].as_str().unwrap().contains(other["record"].as_str().unwrap())
                && rule["record"] != other["record"]
        };
        let (ready, later): (Vec<&Value>, Vec<&Value>) =
            left.iter().partition(|rule| !left.iter().any(|other| is_made_of(rule, other)));
        assert!(!ready.is_empty(), "rules record each other in a circle");
        let groups = json!({ "groups": [{ "name": "backfill", "rules": ready }] });
        std::fs::write(blocks.path("records.yml"), groups.to_string()).unwrap();
        let (_prometheus, url) = blocks.start(&json!([])).await;
        let (start, end) = ((blocks.end - PAST).to_string(), blocks.end.to_string());
        let interval = format!("{STEP}s");
        blocks.promtool(&[
            "tsdb",
            "create-blocks-from",
            "rules",
            "--url",
            &url,
            "--start",
            &start,
            "--end",
            &end,
            "--eval-interval",
            &interval,
            "--output-dir",
            "data",
            "records.yml",
        ]);
        left = later;
    }
}
