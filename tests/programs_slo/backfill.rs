//! A real Prometheus over blocks that promtool made of text.

use crate::support::{free_port, tool};
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Blocks of two months at most: promtool reads its input once for each.
const LONG_BLOCKS: &str = "1458h";
/// Blocks of most of a week, as a Prometheus has them that keeps a month or two.
pub(crate) const USUAL_BLOCKS: &str = "162h";

/// Distance of records in seconds.
const STEP: i64 = 60;
/// The most points that Prometheus answers for one series are 11,000.
const POINTS: i64 = 10_000;

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
        self.import_in(LONG_BLOCKS, folder);
    }

    /// Writes blocks that are so long at most.
    pub(crate) fn import_in(self, blocks: &str, folder: &Path) {
        let input = folder.join("input.txt");
        let text: String = self.0.into_values().chain(["# EOF\n".to_owned()]).collect();
        std::fs::write(&input, text).unwrap();
        let arguments =
            ["openmetrics".to_owned(), input.display().to_string(), folder.join("data").display().to_string()];
        let mut command = Command::new(tool("promtool"));
        let output = command
            .args(["tsdb", "create-blocks-from", "--max-block-duration", blocks])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_file(input).unwrap();
    }
}

/// A running Prometheus; it scrapes nothing, and evaluates nothing but what its configuration names.
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
        Self::configured(folder, &json!({})).await
    }

    /// Starts one with `configuration`, whose files stand in `folder` too.
    pub(crate) async fn configured(folder: &Path, configuration: &Value) -> Self {
        let port = free_port();
        std::fs::write(folder.join("prometheus.yml"), configuration.to_string()).unwrap();
        let child = Command::new(tool("prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"])
            .args(["--query.timeout=10m", "--query.max-samples=500000000", "--rules.alert.for-grace-period=0s"])
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

    /// What `path` below `/api/v1/` answers.
    pub(crate) async fn api(&self, path: &str) -> Value {
        let url = self.url.join("api/v1/").unwrap().join(path).unwrap();
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The series of the query over `span`.
    async fn range(&self, query: &str, span: Span) -> Vec<Value> {
        let mut url = self.url.join("api/v1/query_range").unwrap();
        url.query_pairs_mut()
            .append_pair("query", query)
            .append_pair("start", &span.start.to_string())
            .append_pair("end", &span.end.to_string())
            .append_pair("step", &span.step.to_string());
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
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

/// Evaluations `step` seconds apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: i64,
    /// The last one, where `step` meets it.
    pub(crate) end: i64,
    pub(crate) step: i64,
}

/// Each minute from `start` to `end`.
pub(crate) fn minutes(start: i64, end: i64) -> Vec<Span> {
    let part = |start: i64| Span { start, end: end.min(start + STEP * (POINTS - 1)), step: STEP };
    (start..=end).step_by((STEP * POINTS) as usize).map(part).collect()
}

/// Records what `rules` gave in `spans`, one after the other, as if they had always been there, into
/// the blocks in `folder`. A rule sees what was recorded before, not what is recorded with it.
///
/// Not by `promtool tsdb create-blocks-from rules`: that evaluates at seconds that follow from a hash of the
/// file's path, other ones in each run.
pub(crate) async fn record(folder: &Path, rules: &[Value], spans: &[Span]) {
    let prometheus = Prometheus::start(folder).await;
    let mut text = OpenMetrics::default();
    for rule in rules {
        let mut samples: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
        for span in spans {
            for series in prometheus.range(rule["expr"].as_str().unwrap(), *span).await {
                let values = series["values"].as_array().unwrap().iter();
                let known = values
                    .map(|point| (point[0].as_f64().unwrap() as i64, point[1].as_str().unwrap().parse().unwrap()));
                samples.entry(labels(&series["metric"], &rule["labels"])).or_default().extend(known);
            }
        }
        for (labels, samples) in samples {
            text.add(rule["record"].as_str().unwrap(), &labels, samples);
        }
    }
    drop(prometheus);
    text.import(folder);
}

/// The labels of a recorded series, as text: those of the rule win.
fn labels(series: &Value, rule: &Value) -> String {
    let mut labels = series.as_object().unwrap().clone();
    labels.remove("__name__");
    labels.extend(rule.as_object().cloned().unwrap_or_default());
    let texts: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    texts.join(",")
}
