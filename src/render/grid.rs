//! Where the panels of a dashboard stand.
//!
//! A template says how wide and how high a panel is and leaves its place open. Panels fill the grid in
//! their order, from left to right and downwards, so that one that is left out leaves no hole.

use serde_json::{Value, json};

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// Gives every panel its `x` and `y`, and makes the panels of each line wide enough to fill it. A
/// dashboard whose panels all have a place keeps it.
///
/// A line ends before a panel that does not fit any more, or that is not as high as those on it.
pub(super) fn place(panels: &mut [Value]) {
    let has_place = |panel: &Value| ["x", "y"].iter().all(|key| panel["gridPos"][key].is_u64());
    if panels.iter().all(has_place) {
        return;
    }
    let side = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().unwrap_or(1).clamp(1, COLUMNS);
    let mut top = 0;
    let mut rest = panels;
    while let Some(first) = rest.first() {
        let height = rest.first().and_then(|panel| panel["gridPos"]["h"].as_u64()).unwrap_or(1);
        let is_row = first["type"] == "row";
        let mut width = 0;
        let mut count = 0;
        for panel in rest.iter() {
            let fits = width + side(panel, "w") <= COLUMNS && panel["gridPos"]["h"].as_u64().unwrap_or(1) == height;
            if count > 0 && !(fits && !is_row && panel["type"] != "row") {
                break;
            }
            width += side(panel, "w");
            count += 1;
        }
        let (line, after) = rest.split_at_mut(count);
        let spare = COLUMNS.saturating_sub(width);
        let (each, more) = (spare / count as u64, spare % count as u64);
        let mut left = 0;
        for (index, panel) in line.iter_mut().enumerate() {
            let wide = side(panel, "w") + each + u64::from((index as u64) < more);
            panel["gridPos"] = json!({ "x": left, "y": top, "w": wide, "h": height });
            left += wide;
        }
        top += height;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(sizes: &[(&str, u64, u64)]) -> Vec<[u64; 4]> {
        let panel = |(kind, w, h): &(&str, u64, u64)| json!({ "type": kind, "gridPos": { "w": w, "h": h } });
        let mut panels: Vec<Value> = sizes.iter().map(panel).collect();
        place(&mut panels);
        panels.iter().map(|panel| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap())).collect()
    }

    #[test]
    fn panels_fill_each_line_in_their_order() {
        let stat = ("stat", 6, 4);
        assert_eq!(placed(&[stat, stat, stat, stat, ("table", 24, 8)])[3..], [[18, 0, 6, 4], [0, 4, 24, 8]]);
        // One is left out: the others share its place.
        assert_eq!(placed(&[stat, stat, stat]), [[0, 0, 8, 4], [8, 0, 8, 4], [16, 0, 8, 4]]);
        assert_eq!(placed(&[("stat", 5, 4); 4]), [[0, 0, 6, 4], [6, 0, 6, 4], [12, 0, 6, 4], [18, 0, 6, 4]]);
        assert_eq!(placed(&[("stat", 7, 4), ("stat", 7, 4), ("stat", 8, 4)])[1..], [[8, 0, 8, 4], [16, 0, 8, 4]]);
    }

    #[test]
    fn a_line_ends_before_what_does_not_fit_or_is_of_another_height_and_around_a_row() {
        assert_eq!(placed(&[("a", 16, 8), ("a", 12, 8)]), [[0, 0, 24, 8], [0, 8, 24, 8]]);
        assert_eq!(placed(&[("a", 12, 8), ("a", 12, 4)]), [[0, 0, 24, 8], [0, 8, 24, 4]]);
        assert_eq!(
            placed(&[("row", 2, 1), ("a", 8, 1), ("row", 24, 1)]),
            [[0, 0, 24, 1], [0, 1, 24, 1], [0, 2, 24, 1]]
        );
    }

    #[test]
    fn places_that_are_given_are_kept() {
        let given = json!({ "type": "stat", "gridPos": { "x": 3, "y": 7, "w": 4, "h": 4 } });
        let mut panels = vec![given.clone()];
        place(&mut panels);
        assert_eq!(panels, [given]);
    }
}
