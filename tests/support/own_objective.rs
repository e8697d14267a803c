//! The files that `docs/slo.md` says an objective of one's own needs.

use std::collections::BTreeMap;
use std::path::Path;

/// The files of the section "An objective of your own", by their path in the overlay.
pub fn files() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/slo.md")).unwrap();
    let section = page.split("### An objective of your own\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("\n```").skip(1).step_by(2);
    let named = |block: &str| {
        let text = block.split_once('\n').unwrap().1;
        let name = text.lines().next().unwrap().trim_start_matches("# ").trim_start_matches("<!-- ");
        let path = name.trim_end_matches(" -->").strip_prefix("mine/").unwrap_or_else(|| panic!("`{name}`"));
        (path.to_owned(), format!("{text}\n"))
    };
    blocks.map(named).collect()
}
