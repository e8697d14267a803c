//! Panels that are drawn over time, as SVG.

use super::{Frame, colour, unit};
use crate::dashboard::answer::Series;
use crate::dashboard::model::Panel;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// Grey of lines and letters; the page gives letters its own colour.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const LETTERS: (&str, u32) = ("sans-serif", 11);
/// Room for the names of rows, in pixels.
const NAMES: u32 = 190;
/// About how many pixels a letter is wide.
const LETTER_WIDTH: u32 = 6;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A series with its name.
pub(super) type Named<'a> = (String, &'a Series);

fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area).and_then(|()| area.present())
    };
    // Nothing is written but a string.
    drawn.map_or_else(|error| super::escaped(&error.to_string()), |()| text)
}

/// The parts of a line without a hole: two points further apart than that are not joined.
fn unbroken(points: &[(f64, f64)], step: f64) -> Vec<Vec<(f64, f64)>> {
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    for point in points.iter().filter(|(_, value)| value.is_finite()) {
        match parts.last_mut() {
            Some(part) if part.last().is_some_and(|last| point.0 - last.0 <= step * 1.5) => part.push(*point),
            _ => parts.push(vec![*point]),
        }
    }
    parts
}

/// Lines; one above the other where the panel stacks them.
pub(super) fn lines(panel: &Panel, series: &[Named<'_>], frame: &Frame, size: (u32, u32)) -> String {
    let stacked = panel.field_config.defaults.custom["stacking"]["mode"] == "normal";
    let layers: Vec<Vec<(f64, f64)>> =
        if stacked { stack(series) } else { series.iter().map(|(_, series)| series.points.clone()).collect() };
    let values = layers.iter().flatten().map(|(_, value)| *value).filter(|value| value.is_finite());
    let (least, greatest) =
        values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let defaults = &panel.field_config.defaults;
    let low = defaults.min.map_or(least, |min| min.min(least));
    let high = if greatest > low { greatest + (greatest - low) * 0.08 } else { low + 1.0 };
    let unit = defaults.unit.as_deref().unwrap_or_default();
    svg(size, |area| {
        let mut chart = plane(area, frame, low..high, 62)?;
        mesh(&mut chart, frame, &|value| unit::text(*value, unit, None))?;
        for step in &defaults.thresholds.steps {
            if let (Some(from), Some(line)) =
                (step.value.filter(|from| (low..high).contains(from)), colour::named(&step.color))
            {
                let ends = [(frame.start, from), (frame.end, from)];
                chart.draw_series(DashedLineSeries::new(ends, 6, 4, line.mix(0.8).stroke_width(1)))?;
            }
        }
        // The highest layer first, so that each covers the foot of the one above it.
        for (index, points) in layers.iter().enumerate().rev() {
            let line = colour::of_series(index);
            for part in unbroken(points, frame.step) {
                // The feet of many lines would add up to one brown.
                let share = if stacked { 0.5 } else { 0.1_f64.min(0.3 / layers.len() as f64) };
                chart.draw_series(AreaSeries::new(part.iter().copied(), low, line.mix(share)))?;
                chart.draw_series(LineSeries::new(part, line.stroke_width(2)))?;
            }
        }
        Ok(())
    })
}

/// Each series on top of those before it.
fn stack(series: &[Named<'_>]) -> Vec<Vec<(f64, f64)>> {
    let mut below: BTreeMap<i64, f64> = BTreeMap::new();
    let layer = |(_, series): &Named<'_>| {
        let on_top = |(time, value): &(f64, f64)| {
            let sum = below.entry(*time as i64).or_default();
            *sum += if value.is_finite() { *value } else { 0.0 };
            (*time, *sum)
        };
        series.points.iter().map(on_top).collect()
    };
    series.iter().map(layer).collect()
}

/// The small line under a number.
pub(super) fn spark(points: &[(f64, f64)], line: RGBColor, frame: &Frame, size: (u32, u32)) -> String {
    let values = || points.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
    let (least, greatest) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
    let spare = ((greatest - least) * 0.2).max(greatest.abs() * 0.05).max(1e-9);
    svg(size, |area| {
        let low = least - spare;
        let mut chart = ChartBuilder::on(area).build_cartesian_2d(frame.start..frame.end, low..greatest + spare)?;
        for part in unbroken(points, frame.step) {
            chart.draw_series(AreaSeries::new(part.iter().copied(), low, line.mix(0.15)))?;
            chart.draw_series(LineSeries::new(part, line.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// A row of cells for each series, the darker the more.
pub(super) fn heatmap(series: &[Named<'_>], frame: &Frame, size: (u32, u32)) -> String {
    let greatest = series.iter().filter_map(|(_, series)| series.greatest()).fold(0.0, f64::max);
    rows(series, frame, size, |value| {
        let share = if greatest > 0.0 { (value / greatest).clamp(0.0, 1.0) } else { 0.0 };
        (share > 0.0).then(|| RGBColor(0xFF, 0x78, 0x0A).mix(share.sqrt()))
    })
}

/// A row for each series, in the colours of the states that the panel names.
pub(super) fn states(panel: &Panel, series: &[Named<'_>], frame: &Frame, size: (u32, u32)) -> String {
    rows(series, frame, size, |value| {
        let (_, name) = super::mapped(panel, value)?;
        colour::named(&name?).map(|colour| colour.mix(0.75))
    })
}

/// Rows from the top; `colour` says how a value is drawn, if it is.
fn rows(series: &[Named<'_>], frame: &Frame, size: (u32, u32), colour: impl Fn(f64) -> Option<RGBAColor>) -> String {
    let count = series.len().max(1) as f64;
    svg(size, |area| {
        let mut chart = plane(area, frame, 0.0..count, NAMES)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .disable_y_axis()
            .x_labels(8)
            .x_label_formatter(&|time| unit::time(*time, frame.end - frame.start))
            .axis_style(GREY.mix(0.4))
            .label_style(LETTERS.into_font().color(&GREY))
            .draw()?;
        for (index, (name, series)) in series.iter().enumerate() {
            let top = count - index as f64;
            let cells = same_values(&series.points, frame).into_iter().filter_map(|(from, to, value)| {
                let corners = [(from.max(frame.start), top - 0.92), (to.min(frame.end), top - 0.08)];
                Some(Rectangle::new(corners, colour(value)?.filled()))
            });
            chart.draw_series(cells)?;
            let (_, middle) = chart.backend_coord(&(frame.start, top - 0.5));
            let longest = (NAMES / LETTER_WIDTH) as usize - 1;
            let name: String = name.chars().take(longest).collect();
            area.draw(&Text::new(name, (4, middle - LETTERS.1 as i32 / 2), LETTERS.into_font().color(&GREY)))?;
        }
        Ok(())
    })
}

/// From when to when a value held.
fn same_values(points: &[(f64, f64)], frame: &Frame) -> Vec<(f64, f64, f64)> {
    let mut spans: Vec<(f64, f64, f64)> = Vec::new();
    for (time, value) in points.iter().copied().filter(|(_, value)| value.is_finite()) {
        match spans.last_mut() {
            Some((_, to, held)) if *held == value && time - *to <= frame.step * 0.5 => *to = time + frame.step,
            _ => spans.push((time, time + frame.step, value)),
        }
    }
    spans
}

fn plane<'a, 'b>(
    area: &'a Area<'b>,
    frame: &Frame,
    values: Range<f64>,
    left: u32,
) -> Result<Plane<'a, 'b>, DrawingAreaErrorKind<std::io::Error>> {
    ChartBuilder::on(area)
        .margin_top(6)
        .margin_right(10)
        .x_label_area_size(22)
        .y_label_area_size(left)
        .build_cartesian_2d(frame.start..frame.end, values)
}

fn mesh(chart: &mut Plane<'_, '_>, frame: &Frame, text: &dyn Fn(&f64) -> String) -> Drawn {
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.2))
        .axis_style(GREY.mix(0.4))
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|time| unit::time(*time, frame.end - frame.start))
        .y_label_formatter(text)
        .label_style(LETTERS.into_font().color(&GREY))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_points_are_missing() {
        let points = [(0.0, 1.0), (15.0, 2.0), (45.0, 3.0), (60.0, f64::NAN), (75.0, 4.0)];
        let parts = unbroken(&points, 15.0);
        assert_eq!(parts, [vec![(0.0, 1.0), (15.0, 2.0)], vec![(45.0, 3.0)], vec![(75.0, 4.0)]]);
    }

    #[test]
    fn layers_stand_on_each_other() {
        let one = Series { points: vec![(0.0, 1.0), (15.0, 2.0)], ..Series::default() };
        let two = Series { points: vec![(0.0, 10.0), (15.0, f64::NAN)], ..Series::default() };
        let layers = stack(&[("a".to_owned(), &one), ("b".to_owned(), &two)]);
        assert_eq!(layers, [vec![(0.0, 1.0), (15.0, 2.0)], vec![(0.0, 11.0), (15.0, 2.0)]]);
    }

    #[test]
    fn a_state_is_one_bar_as_long_as_it_holds() {
        let frame = Frame { start: 0.0, end: 100.0, step: 15.0 };
        let points = [(0.0, 1.0), (15.0, 1.0), (30.0, 0.0), (60.0, 0.0)];
        assert_eq!(same_values(&points, &frame), [(0.0, 30.0, 1.0), (30.0, 45.0, 0.0), (60.0, 75.0, 0.0)]);
    }
}
