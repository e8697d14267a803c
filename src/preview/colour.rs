//! Grafana's names of colours, and which of them a value has.

use crate::dashboard::model::Thresholds;
use plotters::style::RGBColor;

/// What series are drawn in, one after the other; each is seen on white and on black.
const SERIES: [RGBColor; 12] = [
    RGBColor(0x56, 0xA6, 0x4B),
    RGBColor(0xE0, 0xB4, 0x00),
    RGBColor(0x57, 0x94, 0xF2),
    RGBColor(0xFF, 0x78, 0x0A),
    RGBColor(0xF2, 0x49, 0x5C),
    RGBColor(0xA3, 0x52, 0xCC),
    RGBColor(0x33, 0xA2, 0xC4),
    RGBColor(0xB8, 0x7D, 0x5B),
    RGBColor(0x8A, 0xB8, 0xFF),
    RGBColor(0x96, 0xD9, 0x8D),
    RGBColor(0xFF, 0xA6, 0xB0),
    RGBColor(0x80, 0x80, 0x80),
];

/// The colour of the series at `index`.
pub(super) fn of_series(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// The colour with Grafana's name; none for one that is not drawn.
pub(super) fn named(name: &str) -> Option<RGBColor> {
    Some(match name {
        "green" => RGBColor(0x56, 0xA6, 0x4B),
        "red" => RGBColor(0xE0, 0x2F, 0x44),
        "orange" => RGBColor(0xFF, 0x78, 0x0A),
        "yellow" => RGBColor(0xE0, 0xB4, 0x00),
        "blue" => RGBColor(0x57, 0x94, 0xF2),
        "purple" => RGBColor(0xA3, 0x52, 0xCC),
        _ => return None,
    })
}

/// The same for HTML.
pub(super) fn css(colour: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

/// The colour that `thresholds` give `value`.
pub(super) fn at(thresholds: &Thresholds, value: f64) -> Option<RGBColor> {
    let reached = thresholds.steps.iter().rev().find(|step| step.value.is_none_or(|from| value >= from));
    reached.and_then(|step| named(&step.color))
}
