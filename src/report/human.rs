//! Events for people: moving progress on a terminal, plain lines elsewhere.

use super::terminal::Verbosity;
use crate::event::{Cause, CheckResult, Event, Outcome, Sink, Stage};
use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

/// Shows events on stderr.
pub struct Progress {
    verbosity: Verbosity,
    /// The moving lines; `None` prints plain ones.
    moving: Option<MultiProgress>,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
    /// The stage that goes on, whose line the details are shown in.
    stage: Mutex<Option<Stage>>,
}

impl Progress {
    /// Progress that moves when `moving`.
    pub fn new(verbosity: Verbosity, moving: bool) -> Self {
        let moving = (moving && verbosity > Verbosity::Quiet).then(MultiProgress::new);
        Progress { verbosity, moving, bars: Mutex::new(BTreeMap::new()), stage: Mutex::new(None) }
    }

    /// Takes every moving line away, before something else is printed.
    pub fn settle(&self) {
        if let Ok(mut bars) = self.bars.lock() {
            for bar in std::mem::take(&mut *bars).into_values() {
                bar.finish_and_clear();
            }
        }
    }

    /// The stage that goes on from now, and the end of the line of the one before.
    fn enter(&self, next: Option<Stage>) {
        let Ok(mut stage) = self.stage.lock() else { return };
        if let Some(before) = std::mem::replace(&mut *stage, next) {
            self.end(stage_name(before));
        }
        if let Some(next) = next {
            self.start(stage_name(next));
        }
    }

    /// Shows `detail` in the line of the stage that goes on.
    fn detail(&self, detail: &str) {
        let stage = self.stage.lock().ok().and_then(|stage| *stage);
        if let (Some(stage), Ok(bars)) = (stage, self.bars.lock())
            && let Some(bar) = bars.get(stage_name(stage))
        {
            bar.set_message(detail.to_owned());
        }
    }

    fn line(&self, text: &str) {
        match &self.moving {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
        }
    }

    fn start(&self, step: &str) {
        let Some(moving) = &self.moving else { return };
        let Ok(mut bars) = self.bars.lock() else { return };
        let bar = bars.entry(step.to_owned()).or_insert_with(|| {
            let bar = moving.add(ProgressBar::new_spinner());
            if let Ok(look) = ProgressStyle::with_template("  {spinner:.cyan} {prefix} {wide_msg:.dim}") {
                bar.set_style(look);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_prefix(step.to_owned());
    }

    fn end(&self, step: &str) {
        if let Ok(mut bars) = self.bars.lock()
            && let Some(bar) = bars.remove(step)
        {
            bar.finish_and_clear();
        }
    }

    fn waiting(&self, step: &str, cause: &Cause) {
        let text = waiting_text(cause);
        if self.moving.is_some() {
            self.start(step);
            if let Ok(bars) = self.bars.lock()
                && let Some(bar) = bars.get(step)
            {
                bar.set_message(text.clone());
            }
        }
        if self.moving.is_none() || cause.permanent {
            self.line(&format!("  {} {step}: {text}", style("…").for_stderr().yellow()));
        }
    }
}

impl Sink for Progress {
    fn emit(&self, event: Event) {
        if self.verbosity == Verbosity::Quiet {
            if let Event::Warning { message } = &event {
                self.line(&warning_text(message));
            }
            return;
        }
        match &event {
            Event::StageStarted { stage } => {
                self.enter(Some(*stage));
                if self.verbosity == Verbosity::Verbose {
                    self.line(&style(format!("{} ...", stage_name(*stage))).for_stderr().dim().to_string());
                }
            }
            Event::StageFinished { stage, summary } => {
                self.enter(None);
                if summary.is_empty() {
                    return;
                }
                self.line(&format!("{} {}: {summary}", tick(), style(stage_name(*stage)).for_stderr().bold()));
            }
            Event::StepStarted { step } => {
                self.start(step);
                if self.moving.is_none() && self.verbosity == Verbosity::Verbose {
                    self.line(&format!("    {step} ..."));
                }
            }
            Event::StepWaiting { step, cause } => self.waiting(step, cause),
            Event::StepFinished { step, summary } => {
                self.end(step);
                self.line(&format!("  {} {step} {}", tick(), style(summary).for_stderr().dim()));
            }
            Event::StepFailed { step, message } => {
                self.end(step);
                self.line(&format!("  {} {step}: {message}", style("✗").for_stderr().red()));
            }
            Event::Check { result } => {
                // The table of the result shows them all; while running only the bad ones matter.
                if matches!(result.outcome, Outcome::Fail) || self.verbosity == Verbosity::Verbose {
                    self.line(&format!("  {}", check_line(result)));
                }
            }
            Event::Note { message } => self.line(message),
            Event::Warning { message } => self.line(&warning_text(message)),
            Event::Detail { message } => {
                self.detail(message);
                if self.verbosity == Verbosity::Verbose {
                    self.line(&style(message).for_stderr().dim().to_string());
                }
            }
        }
    }
}

fn tick() -> String {
    style("✓").for_stderr().green().to_string()
}

fn warning_text(message: &str) -> String {
    format!("{} {message}", style("warning:").for_stderr().yellow().bold())
}

/// `waits for pod a/b: ImagePullBackOff: cannot pull ...`
fn waiting_text(cause: &Cause) -> String {
    let mut text = format!("waits for {}: {}", cause.object, cause.reason);
    if !cause.message.is_empty() {
        text.push_str(": ");
        text.push_str(&cause.message);
    }
    text
}

/// The mark of an outcome.
pub fn mark(outcome: Outcome) -> String {
    match outcome {
        Outcome::Pass => style("✓").green().to_string(),
        Outcome::Warn => style("!").yellow().to_string(),
        Outcome::Fail => style("✗").red().to_string(),
        Outcome::Skip => style("-").dim().to_string(),
        Outcome::Unknown => style("?").yellow().to_string(),
    }
}

/// One check in one line.
pub fn check_line(result: &CheckResult) -> String {
    let mut line = format!("{} {}  {}", mark(result.outcome), result.id, style(&result.title).dim());
    if !result.reason.is_empty() {
        line.push_str(&format!("\n      {}", result.reason));
    }
    line
}

/// The name of a stage as people read it.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Sandbox => "sandbox",
        Stage::Render => "render",
        Stage::Observe => "observe",
        Stage::Plan => "plan",
        Stage::Preflight => "preflight",
        Stage::Apply => "apply",
        Stage::Wait => "wait",
        Stage::Verify => "verify",
        Stage::Uninstall => "uninstall",
    }
}
