//! A real Prometheus over blocks that promtool made of text, or of rules.

use crate::support::tool;
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Blocks of most of a week: promtool reads its input once for each, and asks for no more points than
/// Prometheus answers.
const BLOCKS: &str = "--max-block-duration=162h";

/// Series as text, one family after the other.
#[derive(Default)]
pub(crate) struct OpenMetrics(BTreeMap<String, String>);

impl OpenMetrics {
    /// Adds the samples of a counter, whose name ends with `_total`, or of a gauge.
    pub(crate) fn add(&mut self, metric: &str, labels: &str, samples: impl IntoIterator<Item = (i64, f64)>) {
        let (family, kind) = match metric.strip_suffix("_total") {
            Some(family) => (family, "counter"),
            None => (metric, "gauge"),
        };
        let text = self.0.entry(family.to_owned()).or_insert_with(|| format!("# TYPE {family} {kind}\n"));
        for (time, value) in samples {
            writeln!(text, "{metric}{{{labels}}} {value} {time}").unwrap();
        }
    }

    /// Writes blocks of all samples into `folder`.
    pub(crate) fn import(self, folder: &Path) {
        let input = folder.join("input.txt");
        let text: String = self.0.into_values().chain(["# EOF\n".to_owned()]).collect();
        std::fs::write(&input, text).unwrap();
        let arguments =
            ["openmetrics".to_owned(), input.display().to_string(), folder.join("data").display().to_string()];
        create_blocks(&arguments);
        std::fs::remove_file(input).unwrap();
    }
}

fn create_blocks(arguments: &[String]) {
    let mut command = Command::new(tool("promtool"));
    command.args(["tsdb", "create-blocks-from", BLOCKS]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A running Prometheus; it scrapes nothing and evaluates nothing.
pub(crate) struct Prometheus {
    child: Child,
    url: Url,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts one on the blocks in `folder` and waits until it is ready.
    pub(crate) async fn start(folder: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(folder.join("prometheus.yml"), "{}\n").unwrap();
        let child = Command::new(tool("prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"])
            .args(["--query.timeout=10m", "--query.max-samples=500000000"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Prometheus { child, url: Url::parse(&format!("http://127.0.0.1:{port}")).unwrap() };
        for _ in 0..600 {
            let answer = reqwest::get(prometheus.url.join("-/ready").unwrap()).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return prometheus;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", std::fs::read_to_string(folder.join("prometheus.log")).unwrap());
    }

    /// What the instant query answers at `time`, with its statistics.
    pub(crate) async fn answer(&self, query: &str, time: i64) -> Value {
        let mut url = self.url.join("api/v1/query").unwrap();
        url.query_pairs_mut()
            .append_pair("query", query)
            .append_pair("time", &time.to_string())
            .append_pair("stats", "all");
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"].clone()
    }

    /// The values of the instant query at `time` by their label `service`.
    pub(crate) async fn by_service(&self, query: &str, time: i64) -> BTreeMap<String, f64> {
        let data = self.answer(query, time).await;
        let sample = |sample: &Value| {
            let service = sample["metric"]["service"].as_str().unwrap_or_default().to_owned();
            (service, sample["value"][1].as_str().unwrap().parse().unwrap())
        };
        data["result"].as_array().unwrap().iter().map(sample).collect()
    }
}

/// Records what `rules` gave each minute from `start` to `end`, as if they had always been there, into
/// the blocks in `folder`. A rule sees what was recorded before, not what is recorded with it.
pub(crate) async fn record(folder: &Path, rules: &[Value], start: i64, end: i64) {
    let file = folder.join("rules.json");
    let group = json!({ "groups": [{ "name": "backfilled", "interval": "1m", "rules": rules }] });
    std::fs::write(&file, group.to_string()).unwrap();
    let prometheus = Prometheus::start(folder).await;
    create_blocks(&[
        "rules".to_owned(),
        format!("--url={}", prometheus.url),
        format!("--start={start}"),
        format!("--end={end}"),
        format!("--output-dir={}", folder.join("data").display()),
        file.display().to_string(),
    ]);
}
