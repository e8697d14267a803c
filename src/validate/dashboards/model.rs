//! What Grafana does with the model, whatever its queries ask.

use super::{DashboardFile, Report};
use crate::validate::finding::{Code, Severity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const NO_UID: Code = Code::new(
    "dashboards/no-uid",
    Severity::Error,
    "the dashboard has no uid",
    "set `uid`: without one Grafana makes another at each start, and links to it break",
)
.foreign(Severity::Warning);

pub(super) const DUPLICATE_UID: Code = Code::new(
    "dashboards/duplicate-uid",
    Severity::Error,
    "two dashboards have the same uid",
    "give each a uid of its own: Grafana keeps one of them and refuses to save any",
);

pub(super) const DUPLICATE_ID: Code = Code::new(
    "dashboards/duplicate-id",
    Severity::Error,
    "two panels have the same id",
    "give each panel an id of its own: links and images of one show the other",
)
.foreign(Severity::Warning);

pub(super) const OFF_GRID: Code = Code::new(
    "dashboards/off-grid",
    Severity::Error,
    "a panel stands outside the grid",
    "the grid has 24 columns: `x + w` is at most 24, and `w` and `h` at least 1",
);

pub(super) const OVERLAP: Code = Code::new(
    "dashboards/overlap",
    Severity::Error,
    "two panels overlap",
    "move one of them: Grafana pushes the other down, and nobody knows where to",
)
.foreign(Severity::Warning);

pub(super) const LEGACY_PANEL: Code = Code::new(
    "dashboards/legacy-panel",
    Severity::Error,
    "a panel of a kind that Grafana no longer has",
    "Grafana 12 has no Angular panels: `graph` is now `timeseries`, `singlestat` is `stat`, `table-old` is `table`",
);

pub(super) const NO_QUERY: Code = Code::new(
    "dashboards/no-query",
    Severity::Error,
    "a panel asks nothing",
    "give it a query in `targets`, or take it away",
)
.foreign(Severity::Warning);

pub(super) const DUPLICATE_QUERY: Code = Code::new(
    "dashboards/duplicate-query",
    Severity::Error,
    "two queries of a panel have the same letter",
    "give each a `refId` of its own: transformations and alerts find only one of them",
);

pub(super) const NO_DESCRIPTION: Code = Code::new(
    "dashboards/no-description",
    Severity::Error,
    "a panel does not say what it shows",
    "set `description`: what it is, and from which value on it is bad",
)
.foreign(Severity::Info);

pub(super) const FIXED_DATASOURCE: Code = Code::new(
    "dashboards/fixed-datasource",
    Severity::Error,
    "a panel asks one datasource, whatever is chosen",
    "use the variable `${datasource}`",
)
.foreign(Severity::Info);

/// Columns of the grid.
const COLUMNS: u64 = 24;
/// Kinds of panels that Grafana removed, all of them written for Angular.
const LEGACY: [&str; 8] = [
    "graph",
    "singlestat",
    "table-old",
    "heatmap-old",
    "grafana-piechart-panel",
    "grafana-worldmap-panel",
    "grafana-singlestat-panel",
    "natel-discrete-panel",
];
/// Kinds that ask nothing.
const SILENT: [&str; 6] = ["row", "text", "dashlist", "news", "alertlist", "welcome"];

pub(super) fn kind(panel: &Value) -> &str {
    panel.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a panel of its kind shows answers to queries.
pub(super) fn asks(panel: &Value) -> bool {
    !SILENT.contains(&kind(panel))
}

/// Judges the dashboard as a whole; `earlier` ones have had their turn.
pub(super) fn judge_dashboard(report: &mut Report<'_, '_>, earlier: &[DashboardFile<'_>]) {
    let file = report.file;
    match file.uid() {
        None => report.of_dashboard(&NO_UID, "/title", &[file.title()], "it has no `uid`".to_owned()),
        Some(uid) => {
            if let Some(other) = earlier.iter().find(|other| other.uid() == Some(uid)) {
                let message = format!("`{}` has the uid `{uid}` too", other.title());
                report.of_dashboard(&DUPLICATE_UID, "/uid", &[uid], message);
            }
        }
    }
    let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
    for (pointer, panel) in &file.panels {
        let title = panel.get("title").and_then(Value::as_str).unwrap_or_default();
        if let Some(id) = panel.get("id").and_then(Value::as_u64)
            && let Some(other) = ids.insert(id, title)
        {
            let needles = [format!("id={{{id}}}"), format!("\"id\": {id}")];
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let message = format!("the panel `{other}` has the id {id} too");
            report.of_panel(&DUPLICATE_ID, (pointer, panel), &needles, message, None);
        }
    }
    overlaps(report);
}

/// Columns and lines of a panel: left, top, right, bottom.
type Square = (u64, u64, u64, u64);

fn square(panel: &Value) -> Option<Square> {
    let side = |key: &str| panel.get("gridPos")?.get(key)?.as_u64();
    let (x, y, w, h) = (side("x")?, side("y")?, side("w")?, side("h")?);
    Some((x, y, x.saturating_add(w), y.saturating_add(h)))
}

/// Panels that cover each other, found line by line of the grid.
fn overlaps(report: &mut Report<'_, '_>) {
    let file = report.file;
    // Panels of a collapsed row have places of their own, which hold once it is opened.
    let is_top = |pointer: &str| pointer.matches("/panels/").count() == 1;
    let mut placed: Vec<(Square, &str, &Value)> = file
        .panels
        .iter()
        .filter(|(pointer, _)| is_top(pointer))
        .filter_map(|(pointer, panel)| Some((square(panel)?, pointer.as_str(), panel)))
        .collect();
    placed.sort_by_key(|(square, ..)| (square.1, square.0));
    // Those that reach below the top of the next one; at most a grid's width of them where all is well.
    let mut open: Vec<(Square, &Value)> = Vec::new();
    for (square, pointer, panel) in placed {
        open.retain(|(other, _)| other.3 > square.1);
        let covered = open.iter().find(|(other, _)| other.0 < square.2 && square.0 < other.2);
        if let Some((_, other)) = covered {
            let title = other.get("title").and_then(Value::as_str).unwrap_or_default();
            let message = format!("it covers a part of `{title}`");
            report.of_panel(&OVERLAP, (pointer, panel), &["gridPos"], message, None);
            if report.is_full() {
                return;
            }
        }
        open.push((square, panel));
    }
}

/// Judges one panel.
pub(super) fn judge_panel(report: &mut Report<'_, '_>, (pointer, panel): (&str, &Value)) {
    let at = (pointer, panel);
    let kind = kind(panel);
    if LEGACY.contains(&kind) {
        report.of_panel(
            &LEGACY_PANEL,
            at,
            &[kind],
            format!("Grafana has no panels of the kind `{kind}` any more"),
            None,
        );
    }
    let negative = ["x", "y", "w", "h"].into_iter().find_map(|side| {
        let number = panel.get("gridPos")?.get(side)?.as_i64()?;
        (number < 0).then(|| format!("its `{side}` is {number}"))
    });
    if let Some(message) = negative {
        report.of_panel(&OFF_GRID, at, &["gridPos"], message, None);
    }
    if let Some((left, top, right, bottom)) = square(panel)
        && (right > COLUMNS || right == left || bottom == top)
    {
        let message = format!("it is {} wide and {} high from column {left} on", right - left, bottom - top);
        report.of_panel(&OFF_GRID, at, &["gridPos"], message, None);
    }
    if !asks(panel) {
        return;
    }
    let targets = panel.get("targets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if targets.is_empty() && panel.get("libraryPanel").is_none() {
        report.of_panel(&NO_QUERY, at, &[], "it has no query".to_owned(), None);
    }
    let mut letters = BTreeSet::new();
    for letter in targets.iter().filter_map(|target| target.get("refId")?.as_str()) {
        if !letters.insert(letter) {
            let needle = format!("\"refId\": \"{letter}\"");
            report.of_panel(&DUPLICATE_QUERY, at, &[&needle], format!("two queries are called `{letter}`"), None);
        }
    }
    if panel.get("description").and_then(Value::as_str).is_none_or(|text| text.trim().is_empty()) {
        report.of_panel(&NO_DESCRIPTION, at, &[], "it has no description".to_owned(), None);
    }
    let uids = [Some(panel)].into_iter().chain(targets.iter().map(Some)).flatten();
    let uids = uids.filter_map(|owner| owner.get("datasource")?.get("uid")?.as_str());
    // Grafana's own sources, such as `-- Mixed --` and `__expr__`, are the same everywhere.
    let is_free =
        |uid: &str| uid.starts_with('$') || uid.starts_with("--") || uid.starts_with("__") || uid == "grafana";
    let fixed: BTreeSet<&str> = uids.filter(|uid| !is_free(uid)).collect();
    for uid in fixed {
        report.of_panel(&FIXED_DATASOURCE, at, &[uid], format!("it always asks the datasource `{uid}`"), None);
    }
}
