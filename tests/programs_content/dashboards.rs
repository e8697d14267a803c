//! Every dashboard is a bare, valid Grafana model, and shows what its readers need. What it asks for is judged by `validate`.

use crate::rules::dashboards_of_alerts;
use crate::support::charts::charts_dir;
use crate::{config, metric_of, promtool};
use drivemaster_mon::chart::{Charts, archive};
use drivemaster_mon::config::{Config, Profile, resolve};
use drivemaster_mon::dashboard::{Dashboard, Expansion, Panel, expand::POINTS};
use drivemaster_mon::promql;
use drivemaster_mon::render::{Bundle, Sources, needed_charts, render, render_from};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

/// A dashboard, as JSON and as it is read.
pub(crate) struct Shown {
    /// The profile and what is special about it, then the uid.
    pub(crate) name: String,
    pub(crate) json: Value,
    pub(crate) read: Dashboard,
}

impl Shown {
    /// The panels that are no headings.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (&Panel, &Value)> {
        let json = self.json["panels"].as_array().unwrap().iter();
        self.read.panels.iter().zip(json).filter(|(panel, _)| panel.kind != "row")
    }

    /// Every query of its panels as it is sent, with the title of the panel.
    pub(crate) fn queries(&self) -> Vec<(String, String)> {
        let expansion = Expansion::new(&self.read, self.read.range(), Duration::from_secs(15), POINTS);
        let of = |panel: &Panel| -> Vec<(String, String)> {
            panel.targets.iter().map(|target| (panel.title.clone(), expansion.query(target))).collect()
        };
        self.read.asking().flat_map(of).collect()
    }
}

fn production() -> Bundle {
    let config = resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
    let is_it = |file: &str, name: &str| {
        let version = file.strip_prefix(&format!("{name}-"));
        version.is_some_and(|version| version.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    let read = |name: &str| {
        let mut paths = std::fs::read_dir(charts_dir()).unwrap().map(|entry| entry.unwrap().path());
        let path = paths.find(|path| is_it(path.file_name().unwrap().to_str().unwrap(), name)).unwrap();
        (name.to_owned(), archive::read(name, &std::fs::read(path).unwrap()).unwrap())
    };
    let charts: Charts = needed_charts(&config).into_iter().map(read).collect();
    render_from(&config, &Sources::embedded(), &charts).unwrap()
}

fn shown_in(name: &str, bundle: &Bundle) -> Vec<Shown> {
    let of = |json: Value| {
        let read = Dashboard::parse(&json).unwrap();
        Shown { name: format!("{name} {}", read.uid), json, read }
    };
    bundle.expected.dashboards.iter().map(|expected| of(bundle.model_of(expected).unwrap())).collect()
}

/// The dashboards of profile `local` with this configuration.
pub(crate) fn local(config: &Config) -> Vec<Shown> {
    shown_in("local", &render(config).unwrap())
}

/// The dashboards of both profiles, and of a platform that tells little.
pub(crate) fn shown() -> &'static [Shown] {
    static SHOWN: OnceLock<Vec<Shown>> = OnceLock::new();
    SHOWN.get_or_init(|| {
        let some = "platform.exporters.redis=none";
        let without_redis = resolve(Some(Profile::Local), &[], &[], &[some.to_owned()]).unwrap();
        let mut all = local(&config("existing"));
        all.extend(shown_in("bare", &render(&config("none")).unwrap()));
        all.extend(shown_in("without redis", &render(&without_redis).unwrap()));
        all.extend(shown_in("production", &production()));
        all
    })
}

#[test]
fn each_profile_has_the_dashboards_of_what_it_runs() {
    let uids = |start: &str| -> Vec<&str> {
        let of = shown().iter().filter(|shown| shown.name.starts_with(start));
        of.map(|shown| shown.read.uid.trim_start_matches("drivemaster-")).collect()
    };
    let local = ["application-overview", "infrastructure-overview", "learning-analytics", "slo", "stack-health"];
    assert_eq!(uids("local "), local);
    // Nothing tells of the infrastructure.
    assert_eq!(uids("bare "), ["application-overview", "learning-analytics", "slo", "stack-health"]);
    assert_eq!(uids("production "), [&["application-overview", "chaos"][..], &local[1..]].concat());
}

#[test]
fn a_dashboard_is_a_bare_model_with_a_stable_uid() {
    for Shown { name, json, read } in shown() {
        assert!(read.uid.starts_with("drivemaster-") && read.uid.len() <= 40, "{name}");
        assert!(!read.title.is_empty() && !read.description.is_empty(), "{name}");
        assert!(json.get("dashboard").is_none() && json.get("id").is_none(), "{name}");
        assert!(json["schemaVersion"].as_u64().unwrap() >= 41, "{name}");
        assert_eq!(read.variables()[0].name, "datasource", "{name}");
        let marks: Vec<&str> = read.annotations().map(|(mark, _)| mark).collect();
        let chaos = name.starts_with("production").then_some("Chaos experiments");
        let expected: Vec<&str> = ["Deploys and restarts", "Alerts"].into_iter().chain(chaos).collect();
        assert_eq!(marks, expected, "{name}");
    }
}

#[test]
fn panels_have_an_id_of_their_own_that_is_the_same_everywhere() {
    let mut titles: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    for Shown { name, read, .. } in shown() {
        let ids: BTreeSet<u64> = read.panels.iter().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), read.panels.len(), "{name}");
        for panel in &read.panels {
            let known = titles.entry((&read.uid, panel.id)).or_insert(&panel.title);
            assert_eq!(*known, panel.title, "{name}");
        }
    }
}

#[test]
fn panels_fill_24_columns_and_do_not_overlap() {
    for Shown { name, read, .. } in shown() {
        let mut taken = BTreeSet::new();
        for panel in &read.panels {
            let place = panel.grid_pos;
            assert!(place.x + place.w <= 24 && place.w > 0 && place.h > 0, "{name}: {}", panel.title);
            for row in place.y..place.y + place.h {
                for column in place.x..place.x + place.w {
                    assert!(taken.insert((row, column)), "{name}: {} overlaps", panel.title);
                }
            }
        }
        let lines = taken.last().unwrap().0 + 1;
        assert_eq!(taken.len() as u32, 24 * lines, "{name} has holes");
    }
}

#[test]
fn no_panel_is_of_a_kind_that_grafana_gave_up() {
    let kinds = ["timeseries", "stat", "gauge", "table", "heatmap", "state-timeline", "text"];
    for shown in shown() {
        for (panel, _) in shown.panels() {
            assert!(kinds.contains(&panel.kind.as_str()), "{}: {}", shown.name, panel.kind);
        }
    }
}

#[test]
fn links_lead_to_dashboards_that_are_there() {
    for shown in shown() {
        let profile = shown.name.split(' ').next().unwrap();
        let uids: BTreeSet<&str> = self::shown()
            .iter()
            .filter(|other| other.name.starts_with(profile))
            .map(|other| other.read.uid.as_str())
            .collect();
        let list = shown.json["links"].as_array().unwrap();
        assert!(list.iter().any(|link| link["type"] == "dashboards" && link["tags"] == json!(["drivemaster"])));
        assert!(shown.json["tags"].as_array().unwrap().contains(&json!("drivemaster")), "{}", shown.name);
        for (panel, json) in shown.panels() {
            for link in json["links"].as_array().unwrap() {
                let url = link["url"].as_str().unwrap();
                let uid = url.strip_prefix("/d/").unwrap().split('?').next().unwrap();
                assert!(uids.contains(uid) && uid != shown.read.uid, "{}: {} -> {url}", shown.name, panel.title);
            }
        }
    }
}

#[test]
fn alerts_lead_to_dashboards_that_are_there() {
    let uids: BTreeSet<&str> =
        shown().iter().filter(|shown| shown.name.starts_with("local ")).map(|shown| shown.read.uid.as_str()).collect();
    for (alert, url) in dashboards_of_alerts(&config("existing")) {
        let uid = url.split("/d/").nth(1).unwrap();
        assert!(uids.contains(uid), "`{alert}` leads to {url}");
    }
}

#[test]
fn panels_ask_for_nothing_that_is_counted_by_user() {
    for shown in shown() {
        for (title, query) in shown.queries() {
            for metric in
                promql::selectors(&promql::parse(&query).unwrap()).into_iter().filter_map(|found| found.metric)
            {
                let by_user = metric_of(&metric)
                    .unwrap_or_default()
                    .iter()
                    .any(|known| known.labels.iter().any(|label| label == "user_id"));
                assert!(!by_user, "{}: {title}: `{metric}` may be dropped: use what is recorded of it", shown.name);
            }
        }
    }
}

#[test]
fn promtool_parses_every_query() {
    let folder = tempfile::tempdir().unwrap();
    let queries: BTreeSet<String> = shown().iter().flat_map(Shown::queries).map(|(_, query)| query).collect();
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(index, query)| json!({ "record": format!("query:{index}"), "expr": query }))
        .collect();
    let file = json!({ "groups": [{ "name": "queries", "rules": rules }] });
    std::fs::write(folder.path().join("queries.yaml"), file.to_string()).unwrap();
    assert_eq!(promtool(folder.path(), &["check", "rules"], &["queries.yaml".to_owned()]), Ok(()));
}

/// What the specification lists, and what stood in the dashboards before.
const SPECIFIED: &[(&str, &[&str])] = &[
    (
        "drivemaster-application-overview",
        &[
            "Service health status",
            "Request rate by service",
            "Response times",
            "Response time p95 by service",
            "Error rate by service",
            "Active users",
            "Learning sessions",
            "Questions answered",
            "Learning effectiveness",
        ],
    ),
    (
        "drivemaster-infrastructure-overview",
        &[
            "Connections",
            "Cache hit ratio",
            "Redis memory",
            "Clients",
            "Message rate",
            "Consumer lag",
            "Elasticsearch health",
            "CPU",
            "Memory",
            "Disks",
            "Replication lag",
        ],
    ),
    (
        "drivemaster-learning-analytics",
        &[
            "Learning effectiveness over time",
            "User engagement",
            "Question success rate by category",
            "Adaptive algorithm performance",
            "Spaced repetition",
            "Content interaction heatmap",
            "Dropout risk",
            "Notification effectiveness",
        ],
    ),
    (
        "drivemaster-slo",
        &["Objectives", "Indicators", "Error budget left", "Burn rate now", "Breaches", "Days observed"],
    ),
    (
        "drivemaster-chaos",
        &["Active experiments", "Most time without an answer", "Error rate during chaos", "Refused answers"],
    ),
    ("drivemaster-stack-health", &["Targets down", "Failed rule evaluations", "Alerts lost", "Parts of the stack"]),
];

#[test]
fn the_dashboards_show_what_the_specification_lists() {
    for (uid, titles) in SPECIFIED {
        let found =
            shown().iter().find(|shown| shown.name.starts_with("production ") && shown.read.uid == *uid).unwrap();
        let there: BTreeSet<&str> = found.read.panels.iter().map(|panel| panel.title.as_str()).collect();
        for title in *titles {
            assert!(there.contains(title), "`{uid}` has no panel `{title}`");
        }
    }
}
