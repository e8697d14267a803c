//! Judges of dashboards: what Grafana does with the model, and what its queries ask.

mod links;
mod model;
mod queries;
mod units;

pub(super) use links::uid_of;

use super::finding::{Code, Finding, NotJudged, Severity, Verdict};
use super::json::{Span, spans};
use super::place::{Anchor, Judged, Place};
use super::rules::Scope;
use super::vocabulary::Vocabulary;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Every kind of finding about dashboards.
pub(super) const CODES: &[&Code] = &[
    &MALFORMED,
    &model::NO_UID,
    &model::DUPLICATE_UID,
    &model::DUPLICATE_ID,
    &model::OFF_GRID,
    &model::OVERLAP,
    &model::LEGACY_PANEL,
    &model::NO_QUERY,
    &model::DUPLICATE_QUERY,
    &model::NO_DESCRIPTION,
    &model::FIXED_DATASOURCE,
    &units::NO_UNIT,
    &units::WRONG_UNIT,
    &queries::UNKNOWN_VARIABLE,
    &links::BROKEN_LINK,
];

pub(super) const MALFORMED: Code = Code::new(
    "dashboards/malformed",
    Severity::Error,
    "the file is no model of a dashboard",
    "a dashboard is the bare JSON model: a map with `title` and a list `panels`",
);

/// The most findings of one file that are told.
const MOST_FINDINGS: usize = 300;

/// A dashboard that could be read.
pub(super) struct DashboardFile<'j> {
    judged: &'j Judged,
    model: Value,
    /// The panels, those of collapsed rows too, with the pointer to each.
    panels: Vec<(String, Value)>,
    spans: BTreeMap<String, Span>,
}

impl<'j> DashboardFile<'j> {
    fn read(judged: &'j Judged) -> Result<Option<Self>, Box<Finding>> {
        let content = &judged.text.content;
        // A template that is about something that is not there.
        if judged.template.is_some() && content.trim().is_empty() {
            return Ok(None);
        }
        let malformed = |place: Place, message: String| {
            Box::new(Finding {
                code: &MALFORMED,
                severity: MALFORMED.severity,
                message,
                fix: MALFORMED.fix.to_owned(),
                place,
            })
        };
        let model: Value = serde_json::from_str(content).map_err(|error| {
            let at = judged.text.offset((error.line(), error.column()));
            malformed(judged.place_in((at, at), None, &[]), format!("no JSON: {error}"))
        })?;
        let Some(panels) = model.get("panels").and_then(Value::as_array) else {
            let why = match model.get("dashboard") {
                Some(_) => "it is the answer of Grafana's API; the model is what stands below `dashboard`",
                None => "there is no list `panels`",
            };
            return Err(malformed(judged.place_in((0, content.len()), None, &[]), why.to_owned()));
        };
        let mut found = Vec::new();
        for (index, panel) in panels.iter().enumerate() {
            let pointer = format!("/panels/{index}");
            let inner = panel.get("panels").and_then(Value::as_array);
            let inner = inner.into_iter().flatten().enumerate();
            found.extend(inner.map(|(index, panel)| (format!("{pointer}/panels/{index}"), panel.clone())));
            found.push((pointer, panel.clone()));
        }
        Ok(Some(DashboardFile { judged, panels: found, spans: spans(content), model }))
    }

    fn title(&self) -> &str {
        self.model.get("title").and_then(Value::as_str).unwrap_or("without a title")
    }

    fn uid(&self) -> Option<&str> {
        self.model.get("uid").and_then(Value::as_str).filter(|uid| !uid.is_empty())
    }

    /// The place of the first of `needles` at `pointer`; in the template where `anchor` says.
    fn place(&self, pointer: &str, anchor: Option<&Anchor>, needles: &[&str]) -> Place {
        let mut pointer = pointer;
        loop {
            match (self.spans.get(pointer), pointer.rfind('/')) {
                (Some(span), _) => return self.judged.place_in(*span, anchor, needles),
                (None, Some(end)) => pointer = &pointer[..end],
                (None, None) => return self.judged.whole(),
            }
        }
    }
}

/// What a panel is found by in a template.
fn anchor_of(panel: &Value) -> Option<Anchor> {
    let title = panel.get("title")?.as_str()?;
    Some(Anchor {
        names: vec![format!("title=\"{title}\""), format!("\"title\": \"{title}\"")],
        occurrence: 0,
        next: &["@{ <", "\"title\":"],
        key: None,
    })
}

/// What judges of one dashboard say with.
struct Report<'r, 'j> {
    file: &'r DashboardFile<'j>,
    scope: &'r Scope,
    findings: Vec<Finding>,
}

impl Report<'_, '_> {
    /// A finding about the dashboard as a whole.
    fn of_dashboard(&mut self, code: &'static Code, pointer: &str, needles: &[&str], message: String) {
        let anchor = needles.first().map(|needle| Anchor {
            names: vec![(*needle).to_owned()],
            occurrence: 0,
            next: &[],
            key: None,
        });
        let place = self.file.place(pointer, anchor.as_ref(), needles);
        let message = format!("dashboard `{}`: {message}", self.file.title());
        self.add(code, message, None, place);
    }

    /// A finding about the panel at `pointer`.
    fn of_panel(
        &mut self,
        code: &'static Code,
        (pointer, panel): (&str, &Value),
        needles: &[&str],
        message: String,
        fix: Option<String>,
    ) {
        let title = panel.get("title").and_then(Value::as_str).unwrap_or_default();
        let needles: Vec<&str> = needles.iter().copied().chain([title]).collect();
        let place = self.file.place(pointer, anchor_of(panel).as_ref(), &needles);
        let name = match title {
            "" => format!("panel {}", panel.get("id").and_then(Value::as_u64).unwrap_or_default()),
            title => format!("panel `{title}`"),
        };
        self.add(code, format!("{name} of `{}`: {message}", self.file.title()), fix, place);
    }

    fn add(&mut self, code: &'static Code, message: String, fix: Option<String>, place: Place) {
        let severity = self.scope.severity(code);
        self.findings.push(Finding { code, severity, message, fix: fix.unwrap_or_else(|| code.fix.to_owned()), place });
    }

    fn is_full(&self) -> bool {
        self.findings.len() >= MOST_FINDINGS
    }
}

/// The uids of the dashboards that can be read.
pub(super) fn uids(files: &[Judged]) -> BTreeSet<String> {
    let model = |judged: &Judged| serde_json::from_str::<Value>(&judged.text.content).ok();
    files.iter().filter_map(|judged| model(judged)?.get("uid")?.as_str().map(str::to_owned)).collect()
}

/// Each query of the panels of a dashboard that can be read, variables filled in, as `dashboard: panel`.
pub(super) fn queries_of(judged: &Judged) -> Vec<(String, String)> {
    let Ok(Some(file)) = DashboardFile::read(judged) else { return Vec::new() };
    let mut found = Vec::new();
    for (_, panel) in &file.panels {
        let title = panel.get("title").and_then(Value::as_str).unwrap_or_default();
        let targets = panel.get("targets").and_then(Value::as_array).into_iter().flatten();
        for text in targets.filter_map(|target| target.get("expr")?.as_str()) {
            found.push((format!("{}: {title}", file.title()), queries::filled_in(&file.model, text)));
        }
    }
    found
}

/// The dashboards of `files`.
pub(super) fn judge(files: &[Judged], vocabulary: &Vocabulary, scope: &Scope) -> Verdict {
    let mut verdict = Verdict::default();
    let mut readable = Vec::new();
    for judged in files {
        match DashboardFile::read(judged) {
            Ok(file) => readable.extend(file),
            Err(finding) => verdict.findings.push(*finding),
        }
    }
    let uids: Vec<&str> = readable.iter().filter_map(DashboardFile::uid).collect();
    let mut panels = 0;
    for (index, file) in readable.iter().enumerate() {
        let mut report = Report { file, scope, findings: Vec::new() };
        model::judge_dashboard(&mut report, &readable[..index]);
        links::judge(&mut report, &uids);
        queries::judge_dashboard(&mut report, vocabulary);
        for (pointer, panel) in &file.panels {
            if report.is_full() {
                let subject = format!("the rest of `{}`", file.judged.text.name);
                let reason = format!("it has more than {MOST_FINDINGS} findings");
                verdict.not_judged.push(NotJudged { subject, reason });
                break;
            }
            panels += usize::from(panel.get("targets").is_some());
            model::judge_panel(&mut report, (pointer, panel));
            queries::judge_panel(&mut report, (pointer, panel), vocabulary);
        }
        verdict.findings.append(&mut report.findings);
    }
    if !files.is_empty() {
        verdict.judged.push(format!("{panels} panels of {} dashboards", readable.len()));
    }
    verdict
}
