//! Findings for people.

use super::one_line;
use crate::validate::{Finding, Severity, Verdict};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use console::style;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many findings of one kind are shown where they are information only.
const MOST_INFOS: usize = 3;

/// Every finding with its line, the worst first, then a summary. Of one kind of information only the first few.
pub(super) fn text(verdict: &Verdict) -> String {
    let renderer = if console::colors_enabled() { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    let mut findings: Vec<&Finding> = verdict.findings.iter().collect();
    findings.sort_by_key(|finding| Reverse(finding.severity));
    let mut infos: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        if finding.severity == Severity::Info {
            let count = infos.entry(finding.code.id).or_default();
            *count += 1;
            if *count > MOST_INFOS {
                continue;
            }
        }
        text.push_str(&renderer.render(&[group(finding)]));
        text.push_str("\n\n");
    }
    for (code, count) in infos.into_iter().filter(|(_, count)| *count > MOST_INFOS) {
        let more = count - MOST_INFOS;
        text.push_str(&format!("{} {more} more of `{code}`; `-o json` has them all\n", style("info:").dim()));
    }
    for what in &verdict.not_judged {
        text.push_str(&format!("{} {}: {}\n", style("not judged:").yellow(), what.subject, what.reason));
    }
    let judged = verdict.judged.join(", ");
    if !judged.is_empty() {
        text.push_str(&format!("judged {judged}\n"));
    }
    let counted = [Severity::Error, Severity::Warning, Severity::Info]
        .map(|severity| (verdict.count(severity), severity))
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, severity)| match (count, severity) {
            (_, Severity::Info) => format!("{count} info"),
            (1, severity) => format!("1 {}", severity.word()),
            (count, severity) => format!("{count} {}s", severity.word()),
        })
        .collect::<Vec<_>>()
        .join(", ");
    let summary = match (counted.is_empty(), verdict.count(Severity::Error)) {
        (true, _) => style("no findings".to_owned()).green(),
        (false, 0) => style(counted).yellow(),
        _ => style(counted).red(),
    };
    text.push_str(&format!("{summary}\n"));
    text
}

fn group(finding: &Finding) -> Group<'_> {
    let place = &finding.place;
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let file = if place.rendered { format!("{} (rendered)", place.file) } else { place.file.clone() };
    let title = level.primary_title(one_line(&finding.message)).id(finding.code.id);
    let group = if place.line == 0 {
        title.element(Origin::path(one_line(&file)))
    } else if place.excerpt.is_empty() {
        title.element(Origin::path(one_line(&file)).line(place.line).char_column(place.column))
    } else {
        let excerpt = one_line(&place.excerpt);
        let before: String = excerpt.chars().take(place.column - 1 - place.excerpt_start).collect();
        let meant: String = excerpt.chars().skip(before.chars().count()).take(place.length).collect();
        let start = before.len();
        let span = start..(start + meant.len()).max(start);
        let snippet = Snippet::source(excerpt).line_start(place.line).annotation(AnnotationKind::Primary.span(span));
        match place.excerpt_start {
            0 => title.element(snippet.path(one_line(&file))),
            // Of a long line only a part is here, so its columns are not those of the line.
            _ => {
                let origin = Origin::path(one_line(&file)).line(place.line).char_column(place.column);
                title.element(origin).element(snippet)
            }
        }
    };
    group.element(Level::HELP.message(one_line(&finding.fix))).element(Level::NOTE.message(finding.code.doc()))
}
