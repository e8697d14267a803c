//! The answered dashboards as one HTML page that needs nothing else: no script, no font, no picture from
//! elsewhere. Pure.

mod chart;
mod colour;
mod table;
mod unit;

use crate::dashboard::answer::{Answer, Answered, Series};
use crate::dashboard::model::Panel;
use chart::Named;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");
/// A column and a line of the grid in pixels, on a page as wide as a desktop's, and the gap between panels.
const COLUMN: u32 = 60;
const LINE: u32 = 36;
const GAP: u32 = 8;
/// Lines of a panel that its title takes, in pixels, and those of a legend.
const TITLE: u32 = 34;
const LEGEND_LINE: u32 = 17;
const LEGEND_LINES: usize = 4;

/// The time axis of a panel.
struct Frame {
    /// Unix time in seconds.
    start: f64,
    end: f64,
    /// Seconds between two points.
    step: f64,
}

/// The page.
pub fn page(dashboards: &[Answered]) -> String {
    let mut body = String::from("<nav>");
    for Answered { dashboard, .. } in dashboards {
        let _ = write!(body, "<a href=\"#{}\">{}</a>", escaped(&dashboard.uid), escaped(&dashboard.title));
    }
    body.push_str("</nav>");
    for answered in dashboards {
        section(&mut body, answered);
    }
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=color-scheme content=\"light dark\">\
         <title>DriveMaster dashboards</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )
}

fn section(body: &mut String, answered: &Answered) {
    let Answered { dashboard, start, end, answers } = answered;
    let range = end - start;
    let _ = write!(
        body,
        "<section id=\"{}\"><h1>{}</h1><p>{} <span class=time>{} to {} UTC</span></p><div class=grid>",
        escaped(&dashboard.uid),
        escaped(&dashboard.title),
        escaped(&dashboard.description),
        unit::time(*start, f64::MAX),
        unit::time(*end, f64::MAX),
    );
    for panel in &dashboard.panels {
        let place = panel.grid_pos;
        let _ = write!(
            body,
            "<div class=\"panel {}\" style=\"grid-area:{}/{}/span {}/span {}\" title=\"{}\">",
            escaped(&panel.kind),
            place.y + 1,
            place.x + 1,
            place.h,
            place.w,
            escaped(&panel.description)
        );
        let _ = write!(body, "<h2>{}</h2>", escaped(&panel.title));
        let answers = answers.get(&panel.id).map(Vec::as_slice).unwrap_or_default();
        let frame = Frame { start: *start, end: *end, step: step_of(answers, range) };
        body.push_str(&content(panel, answers, &frame));
        body.push_str("</div>");
    }
    body.push_str("</div></section>");
}

/// Seconds between two points: the least that lie between any two.
fn step_of(answers: &[Answer], range: f64) -> f64 {
    let pairs = answers.iter().flatten().flatten().flat_map(|series| series.points.windows(2));
    pairs.map(|pair| pair[1].0 - pair[0].0).reduce(f64::min).unwrap_or(range)
}

fn content(panel: &Panel, answers: &[Answer], frame: &Frame) -> String {
    if panel.kind == "row" {
        return String::new();
    }
    if panel.kind == "text" {
        return format!("<p>{}</p>", escaped(panel.options["content"].as_str().unwrap_or_default()));
    }
    if let Some(why) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        return format!("<p class=nothing>{}</p>", escaped(why));
    }
    let mut series: Vec<Named<'_>> = Vec::new();
    for (target, answer) in panel.targets.iter().zip(answers) {
        series.extend(answer.iter().flatten().map(|one| (one.name(&target.legend_format), one)));
    }
    series.retain(|(_, series)| series.last().is_some());
    if series.is_empty() {
        let said = panel.field_config.defaults.no_value.as_deref().filter(|text| !text.is_empty());
        return format!("<p class=nothing>{}</p>", escaped(said.unwrap_or("no data")));
    }
    match panel.kind.as_str() {
        "stat" | "gauge" => number(panel, &series, frame),
        "table" => table::html(panel, answers),
        "heatmap" => {
            let rows = if panel.targets.iter().any(|target| target.format == "heatmap") {
                buckets(&series)
            } else {
                series.iter().map(|(name, series)| (name.clone(), (*series).clone())).collect()
            };
            let rows: Vec<Named<'_>> = rows.iter().map(|(name, series)| (name.clone(), series)).collect();
            chart::heatmap(&rows, frame, size(panel, 0))
        }
        "state-timeline" => chart::states(panel, &series, frame, size(panel, 0)),
        _ => {
            let lines = series.len().min(LEGEND_LINES) as u32;
            chart::lines(panel, &series, frame, size(panel, lines * LEGEND_LINE + 4)) + &legend(panel, &series)
        }
    }
}

/// Width and height of what a panel draws, in pixels, with `legend` of them left out below.
fn size(panel: &Panel, legend: u32) -> (u32, u32) {
    let place = panel.grid_pos;
    let inner = |count: u32, each: u32| (count * each + count.saturating_sub(1) * GAP).saturating_sub(16);
    (inner(place.w, COLUMN - GAP).max(60), inner(place.h, LINE).saturating_sub(TITLE + legend).max(30))
}

/// The newest value of each series, large.
fn number(panel: &Panel, series: &[Named<'_>], frame: &Frame) -> String {
    let defaults = &panel.field_config.defaults;
    let mut text = String::from("<div class=numbers>");
    for (_, series) in series {
        let value = series.last().unwrap_or_default();
        let (shown, named) = mapped(panel, value).unwrap_or_else(|| {
            (unit::text(value, defaults.unit.as_deref().unwrap_or_default(), defaults.decimals), None)
        });
        let colour = named.as_deref().and_then(colour::named).or_else(|| colour::at(&defaults.thresholds, value));
        let css = colour.map_or_else(String::new, colour::css);
        let _ = write!(text, "<b style=\"color:{css}\">{}</b>", escaped(&shown));
        if panel.kind == "gauge" {
            let (min, max) = (defaults.min.unwrap_or_default(), defaults.max.unwrap_or(1.0));
            let share = ((value - min) / (max - min) * 100.0).clamp(0.0, 100.0);
            let _ = write!(text, "<i class=bar><i style=\"width:{share:.1}%;background:{css}\"></i></i>");
        } else if series.points.len() > 1
            && let Some(line) = colour
        {
            let (width, height) = size(panel, 48);
            text.push_str(&chart::spark(&series.points, line, frame, (width, height.max(30))));
        }
    }
    text + "</div>"
}

/// What the panel's mappings say of `value`: a word, and the name of a colour.
fn mapped(panel: &Panel, value: f64) -> Option<(String, Option<String>)> {
    table::mapping(&panel.field_config.defaults.mappings, value)
}

/// Names, newest and greatest values of the lines.
fn legend(panel: &Panel, series: &[Named<'_>]) -> String {
    let defaults = &panel.field_config.defaults;
    let value = |value: Option<f64>| {
        let unit = defaults.unit.as_deref().unwrap_or_default();
        value.map(|value| unit::text(value, unit, defaults.decimals)).unwrap_or_default()
    };
    let mut text = String::from("<div class=legend>");
    for (index, (name, series)) in series.iter().enumerate() {
        let _ = write!(
            text,
            "<div><i style=\"background:{}\"></i><span>{}</span><em>{}</em><em>max {}</em></div>",
            colour::css(colour::of_series(index)),
            escaped(name),
            value(series.last()),
            value(series.greatest()),
        );
    }
    text + "</div>"
}

/// What falls into each bucket alone, the greatest bound first: those of a histogram count all below.
fn buckets(series: &[Named<'_>]) -> Vec<(String, Series)> {
    let bound =
        |series: &Series| series.labels.get("le").and_then(|le| le.parse::<f64>().ok()).unwrap_or(f64::INFINITY);
    let mut rising: Vec<&Named<'_>> = series.iter().collect();
    rising.sort_by(|(_, one), (_, other)| bound(one).total_cmp(&bound(other)));
    let below = std::iter::once(None).chain(rising.iter().map(Some));
    let alone = rising.iter().zip(below).map(|((_, series), below)| {
        let under = |time: f64| {
            let point = below.and_then(|(_, below)| below.points.iter().find(|(other, _)| *other == time));
            point.map_or(0.0, |(_, value)| *value)
        };
        let points = series.points.iter().map(|(time, value)| (*time, (value - under(*time)).max(0.0))).collect();
        let upper = bound(series);
        let name =
            if upper.is_finite() { format!("up to {}", unit::text(upper, "s", None)) } else { "more".to_owned() };
        (name, Series { labels: series.labels.clone(), points })
    });
    let mut alone: Vec<(String, Series)> = alone.collect();
    alone.reverse();
    alone
}

/// `text` for HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
