//! The table of failures in `docs/failures.md`.

use super::measure::{Helms, Ours};
use super::seeds::Seed;
use std::path::Path;
use std::time::Duration;

/// The longest text in a cell.
const LONGEST: usize = 260;

const HEAD: &str = "# Failures

Each failure is seeded on a sandbox and deployed twice: by `drivemaster-mon deploy`, and by `helm upgrade --install \
--wait --timeout 60s` of the same chart with the same values. `make failures` (some ten minutes) seeds them all and writes this page anew; \
the tests of every change seed most of them and look for the texts and exit codes.

*Named after* is counted from the moment in which the cause could first be seen in the API (in a pod, a claim or an \
event), and, in brackets, from the start. What can be known before anything is written is seen from the start, and \
leaves nothing behind. A failure that *may heal* is named at once and ends the deploy once it held for \
`deploy.failAfterSeconds` (60 s by default; 0 on the sandbox, where nothing heals); one that is normal on the way, \
such as a readiness probe that fails, ends it with `--timeout`, which is 20 s here.

| failure | what we say | named after | exit code, after | may heal | what Helm says | after |
|---|---|---|---|---|---|---|
";

/// Writes the page.
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
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md"), text).unwrap();
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
