//! The table of failures in `docs/failures.md`.

use super::measure::{Helms, Ours};
use super::seeds::Seed;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest text in a cell.
const LONGEST: usize = 260;

/// What the page has around the table.
const MARKS: [&str; 2] = ["<!-- begin of the table: make failures -->\n", "<!-- end of the table -->\n"];
const HEAD: &str = "| failure | what we say | named after | exit code, after | may heal | what Helm says | after |
|---|---|---|---|---|---|---|
";

/// Writes the table into the page.
pub(super) fn write(rows: &[(Seed, (Ours, Helms))]) {
    let mut text = HEAD.to_owned();
    for (seed, (ours, helm)) in rows {
        let told = ours.told.unwrap_or(ours.took);
        text.push_str(&format!(
            "| {} | {} | {} s ({} s) | {}, {} s | {} | {} | {} s |\n",
            seed.failure,
            cell(&ours.said),
            seconds(told.saturating_sub(ours.visible)),
            seconds(told),
            ours.code,
            seconds(ours.took),
            if seed.may_heal { "yes" } else { "no" },
            cell(&helm.said),
            seconds(helm.took),
        ));
    }
    let late: Vec<&str> = rows
        .iter()
        .filter(|(_, (ours, _))| ours.told.unwrap_or(ours.took).saturating_sub(ours.visible) > Duration::from_secs(5))
        .map(|(seed, _)| seed.failure)
        .collect();
    text.push_str(&match late.as_slice() {
        [] => format!("\nAll {} were named within 5 s.\n", rows.len()),
        late => format!("\nNot named within 5 s: {}.\n", late.join(", ")),
    });
    print!("{text}");
    let page = page();
    let (before, _, after) = parts(&page);
    std::fs::write(path(), format!("{before}{}{text}{}{after}", MARKS[0], MARKS[1])).unwrap();
}

/// The failures that the page has a row for.
pub(super) fn rows_of_page() -> Vec<String> {
    let page = page();
    let (_, table, _) = parts(&page);
    let rows = table.strip_prefix(HEAD).unwrap().lines();
    rows.filter_map(|row| Some(row.strip_prefix("| ")?.split_once(" | ")?.0.to_owned())).collect()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md")
}

fn page() -> String {
    std::fs::read_to_string(path()).unwrap()
}

/// What stands before the table, the table, and what stands after it.
fn parts(page: &str) -> (&str, &str, &str) {
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (table, after) = rest.split_once(MARKS[1]).unwrap();
    (before, table, after)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

fn cell(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', " ");
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text,
    }
}
