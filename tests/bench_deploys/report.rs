//! The tables, printed and put into docs/benchmarks.md.

use crate::contenders::{Change, Contender};
use crate::measure::Figures;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Medians, by how many seconds pods take to start, by change, by contender.
pub type Medians = BTreeMap<(u64, Change, Contender), Figures>;

/// One row for each contender and change; times as multiples of ours.
pub fn deploys(medians: &Medians) -> String {
    let mut text = "| change | who | times ours | seconds | CPU s | MiB | requests | writes |\n".to_owned();
    text.push_str("|---|---|---:|---:|---:|---:|---:|---:|\n");
    for ((pods, change, contender), figures) in medians {
        let ours = &medians[&(*pods, *change, Contender::Ours)];
        let change = if *pods == 0 { change.to_string() } else { format!("{change}, pods start after {pods} s") };
        row(&mut text, &[&change, &contender.to_string()], figures, ours);
    }
    text
}

/// How long the sandboxes of a run took to come up, in seconds.
pub fn sandboxes(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let of = |index: usize| seconds[index];
    format!(
        "`sandbox up` with the platform of profile `production`, {} times: median {:.1} s, {:.1} to {:.1} s.\n",
        seconds.len(),
        of(seconds.len() / 2),
        of(0),
        of(seconds.len() - 1)
    )
}

/// One row for each number of releases.
pub fn releases(measured: &[(usize, Figures, Figures, Figures)]) -> String {
    let mut text = "| releases | who | times ours | seconds | CPU s | MiB | requests | writes |\n".to_owned();
    text.push_str("|---:|---|---:|---:|---:|---:|---:|---:|\n");
    for (count, helm, ours, nothing) in measured {
        let count = count.to_string();
        row(&mut text, &[&count, "helm, one after the other"], helm, ours);
        row(&mut text, &[&count, "ours"], ours, ours);
        row(&mut text, &[&count, "ours, no change"], nothing, ours);
    }
    text
}

fn row(text: &mut String, names: &[&str], figures: &Figures, ours: &Figures) {
    let Figures { seconds, cpu, memory, requests, writes } = figures;
    let ratio = seconds / ours.seconds;
    writeln!(
        text,
        "| {} | {ratio:.1} | {seconds:.1} | {cpu:.1} | {memory:.0} | {requests} | {writes} |",
        names.join(" | ")
    )
    .unwrap();
}

/// Prints `table`; puts it between the marks `name` of docs/benchmarks.md where `BENCH_WRITE` is set.
pub fn write(name: &str, table: &str) {
    println!("\n{table}");
    if std::env::var_os("BENCH_WRITE").is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    std::fs::write(&path, format!("{before}{begin}\n{table}\n{end}{after}")).unwrap();
}
