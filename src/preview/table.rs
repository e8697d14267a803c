//! Tables, as HTML.

use super::{colour, escaped, unit};
use crate::dashboard::answer::Answer;
use crate::dashboard::model::{Panel, Thresholds};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A column: a label, or the value of a query.
struct Column {
    field: String,
    title: String,
    unit: String,
    decimals: Option<usize>,
    thresholds: Thresholds,
}

impl Column {
    /// The query whose value it shows.
    fn query(&self) -> Option<usize> {
        match self.field.strip_prefix("Value")? {
            "" => Some(0),
            letter => {
                letter.trim_start_matches(" #").bytes().next().map(|letter| usize::from(letter.saturating_sub(b'A')))
            }
        }
    }
}

/// The columns that the panel's transformations leave, in their order.
fn columns(panel: &Panel) -> Vec<Column> {
    let organize = panel.transformations.iter().find(|step| step["id"] == "organize").map(|step| &step["options"]);
    let Some(order) = organize.and_then(|options| options["indexByName"].as_object()) else { return Vec::new() };
    let mut fields: Vec<(&String, u64)> =
        order.iter().map(|(field, place)| (field, place.as_u64().unwrap_or_default())).collect();
    fields.sort_by_key(|(_, place)| *place);
    let of = |(field, _): (&String, u64)| {
        let title = organize.and_then(|options| options["renameByName"][field].as_str()).unwrap_or(field).to_owned();
        let property = |id: &str| {
            let matching =
                panel.field_config.overrides.iter().filter(|rule| rule["matcher"]["options"] == title.as_str());
            let properties = matching.filter_map(|rule| rule["properties"].as_array()).flatten();
            properties.filter(|property| property["id"] == id).map(|property| property["value"].clone()).next_back()
        };
        Column {
            field: field.clone(),
            unit: property("unit").and_then(|unit| unit.as_str().map(str::to_owned)).unwrap_or_default(),
            decimals: property("decimals").and_then(|digits| digits.as_u64()).map(|digits| digits as usize),
            thresholds: property("thresholds")
                .and_then(|steps| Thresholds::deserialize(steps).ok())
                .unwrap_or_default(),
            title,
        }
    };
    fields.into_iter().map(of).collect()
}

/// The rows of the merged answers: one for each set of the labels that are shown.
pub(super) fn html(panel: &Panel, answers: &[Answer]) -> String {
    let columns = columns(panel);
    let labels: Vec<&str> =
        columns.iter().filter(|column| column.query().is_none()).map(|column| column.field.as_str()).collect();
    let mut rows: BTreeMap<Vec<String>, BTreeMap<usize, f64>> = BTreeMap::new();
    for (query, series) in
        answers.iter().enumerate().flat_map(|(query, answer)| answer.iter().flatten().map(move |one| (query, one)))
    {
        let key = labels.iter().map(|label| series.labels.get(*label).cloned().unwrap_or_default()).collect();
        if let Some(value) = series.last() {
            rows.entry(key).or_default().insert(query, value);
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    let sorted = &panel.options["sortBy"][0];
    let by = columns.iter().find(|column| sorted["displayName"] == column.title.as_str()).and_then(Column::query);
    if let Some(query) = by {
        let value = |row: &BTreeMap<usize, f64>| row.get(&query).copied().unwrap_or(f64::MIN);
        rows.sort_by(|(_, one), (_, other)| value(other).total_cmp(&value(one)));
    }
    let heads: String = columns.iter().map(|column| format!("<th>{}</th>", escaped(&column.title))).collect();
    let cell = |column: &Column, key: &[String], values: &BTreeMap<usize, f64>| match column.query() {
        None => {
            let place = labels.iter().position(|label| *label == column.field);
            format!("<td>{}</td>", place.map(|place| escaped(&key[place])).unwrap_or_default())
        }
        Some(query) => values.get(&query).map_or("<td></td>".to_owned(), |value| {
            let colour = colour::at(&column.thresholds, *value).map_or_else(String::new, colour::css);
            format!(
                "<td class=number style=\"color:{colour}\">{}</td>",
                unit::text(*value, &column.unit, column.decimals)
            )
        }),
    };
    let body: String = rows
        .iter()
        .map(|(key, values)| {
            let cells: String = columns.iter().map(|column| cell(column, key, values)).collect();
            format!("<tr>{cells}</tr>")
        })
        .collect();
    format!("<div class=scroll><table><tr>{heads}</tr>{body}</table></div>")
}

/// The first text and colour that the panel's mappings have for `value`.
pub(super) fn mapping(mappings: &[Value], value: f64) -> Option<(String, Option<String>)> {
    let key = format!("{value}");
    let found = mappings.iter().find_map(|mapping| mapping["options"].get(&key))?;
    Some((found["text"].as_str()?.to_owned(), found["color"].as_str().map(str::to_owned)))
}
