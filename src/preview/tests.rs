//! A page of one dashboard with a panel of each kind.

use super::*;
use crate::dashboard::Dashboard;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn series(labels: &[(&str, &str)], values: &[f64]) -> Series {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    Series { labels, points: values.iter().enumerate().map(|(index, value)| (index as f64 * 15.0, *value)).collect() }
}

fn panel(kind: &str, rest: Value) -> Value {
    let mut panel = json!({ "id": 1, "type": kind, "title": "A <title>", "gridPos": { "x": 0, "y": 0, "w": 12, "h": 8 },
        "targets": [{ "refId": "A", "expr": "a", "legendFormat": "{{job}}" }, { "refId": "B", "expr": "b", "legendFormat": "b" }] });
    panel.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    panel
}

fn page_of(panel: Value, answers: Vec<Answer>) -> String {
    let model = json!({ "uid": "u", "title": "T", "time": { "from": "now-1h" }, "templating": { "list": [] },
        "annotations": { "list": [] }, "panels": [panel] });
    let dashboard = Dashboard::parse(&model).unwrap();
    page(&[Answered { dashboard, start: 0.0, end: 60.0, answers: BTreeMap::from([(1, answers)]) }])
}

fn steps() -> Value {
    json!({ "steps": [{ "color": "green", "value": null }, { "color": "red", "value": 5 }] })
}

#[test]
fn every_kind_of_panel_is_drawn_and_the_page_needs_nothing_else() {
    let two =
        || vec![Ok(vec![series(&[("job", "x<y")], &[1.0, 2.0, 7.0])]), Ok(vec![series(&[("le", "0.1")], &[3.0])])];
    let state = json!({ "fieldConfig": { "defaults": { "mappings": [{ "options": { "7": { "text": "down", "color": "red" } } }] } } });
    let mapped = page_of(panel("stat", state.clone()), two());
    assert!(mapped.contains("color:#e02f44\">down</b>"), "{mapped}");
    let thresholds =
        json!({ "fieldConfig": { "defaults": { "unit": "s", "min": 0, "max": 10, "thresholds": steps() } } });
    for (kind, rest, wanted) in [
        ("timeseries", thresholds.clone(), "<svg"),
        ("timeseries", thresholds.clone(), "<span>x&lt;y</span><em>7 s</em><em>max 7 s</em>"),
        ("stat", thresholds.clone(), "color:#e02f44\">7 s</b>"),
        ("gauge", thresholds, "width:70.0%"),
        ("heatmap", json!({}), "<svg"),
        ("state-timeline", state, "<rect"),
        ("text", json!({ "options": { "content": "a & b" } }), "a &amp; b"),
    ] {
        let page = page_of(panel(kind, rest), two());
        assert!(page.contains(wanted) && page.contains("A &lt;title&gt;"), "{kind}: {page}");
        for foreign in ["<script", "src=", "url(", "@import", "href=\"http", "A <title>"] {
            assert!(!page.contains(foreign), "{kind}: {foreign}");
        }
    }
}

#[test]
fn what_has_no_data_says_so() {
    let empty = || vec![Ok(vec![]), Ok(vec![series(&[], &[f64::NAN])])];
    let said = json!({ "fieldConfig": { "defaults": { "noValue": "no alert fires" } } });
    assert!(page_of(panel("timeseries", json!({})), empty()).contains("<p class=nothing>no data</p>"));
    assert!(page_of(panel("table", said), empty()).contains("<p class=nothing>no alert fires</p>"));
    let refused = vec![Err("parse error".to_owned())];
    assert!(page_of(panel("stat", json!({})), refused).contains("<p class=nothing>parse error</p>"));
}

#[test]
fn a_table_merges_the_answers_by_their_labels_and_sorts() {
    let table = json!({
        "transformations": [{ "id": "organize", "options": {
            "indexByName": { "route": 0, "Value #A": 1, "Value #B": 2 },
            "renameByName": { "route": "Route", "Value #A": "Requests", "Value #B": "Errors" } } }],
        "options": { "sortBy": [{ "displayName": "Requests", "desc": true }] },
        "fieldConfig": { "overrides": [
            { "matcher": { "options": "Errors" }, "properties": [
                { "id": "unit", "value": "percentunit" }, { "id": "decimals", "value": 1 }, { "id": "thresholds", "value": steps() }] }] },
    });
    let of = |route: &str, value: f64| series(&[("route", route), ("pod", "unseen")], &[value]);
    let page = page_of(panel("table", table), vec![Ok(vec![of("/a", 1.0), of("/b", 2.0)]), Ok(vec![of("/b", 0.5)])]);
    let rows = "<tr><td>/b</td><td class=number style=\"color:\">2</td><td class=number style=\"color:#56a64b\">50.0%</td></tr>\
                <tr><td>/a</td><td class=number style=\"color:\">1</td><td></td></tr>";
    assert!(page.contains(rows) && page.contains("<th>Route</th><th>Requests</th><th>Errors</th>"), "{page}");
    assert!(!page.contains("unseen"));
}

#[test]
fn buckets_count_what_falls_into_them_alone() {
    let all = [series(&[("le", "+Inf")], &[9.0]), series(&[("le", "0.1")], &[4.0]), series(&[("le", "0.5")], &[7.0])];
    let named: Vec<Named<'_>> = all.iter().map(|one| (String::new(), one)).collect();
    let alone: Vec<(String, f64)> =
        buckets(&named).into_iter().map(|(name, series)| (name, series.last().unwrap())).collect();
    let expected = [("more", 2.0), ("up to 500 ms", 3.0), ("up to 100 ms", 4.0)];
    assert_eq!(alone, expected.map(|(name, value)| (name.to_owned(), value)));
}
