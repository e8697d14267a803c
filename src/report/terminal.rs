//! Standard output and error, and how much is said on them.

use super::{human, json};
use crate::error::{Failure, Kind, chain_of, exit_code_of, failure_of};
use crate::event::{Event, Events, Sink};
use console::{Term, style};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and results.
    Quiet,
    /// Progress too.
    Normal,
    /// Details too.
    Verbose,
}

/// What the person asked of the output.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// One JSON document instead of text.
    pub json: bool,
    /// How much is said.
    pub verbosity: Verbosity,
    /// Whether progress may move.
    pub progress: bool,
}

/// The two output streams; data on stdout, everything else on stderr.
pub struct Terminal {
    options: Options,
    events: Events,
    /// The moving lines, where there are any.
    progress: Option<Arc<human::Progress>>,
    /// Why standard output could not be written.
    lost: Mutex<Option<String>>,
}

impl Terminal {
    /// A terminal as asked for. `NO_COLOR` and a stream that is no terminal end colours.
    pub fn new(options: Options) -> Self {
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            console::set_colors_enabled(false);
            console::set_colors_enabled_stderr(false);
        }
        let moving = options.progress && Term::stderr().is_term();
        let progress = (!options.json).then(|| Arc::new(human::Progress::new(options.verbosity, moving)));
        let events: Events = match (&progress, options.verbosity) {
            (Some(progress), _) => progress.clone(),
            (None, Verbosity::Quiet) => Arc::new(Nothing),
            (None, _) => Arc::new(json::Lines),
        };
        Terminal { options, events, progress, lost: Mutex::new(None) }
    }

    /// Where the stages send their events.
    pub fn events(&self) -> Events {
        Arc::clone(&self.events)
    }

    /// Prints a result: `text` for people, or the document `schema` with `value`'s fields.
    pub fn result(&self, schema: &str, value: Value, text: &str) {
        if self.options.json {
            self.stdout(&format!("{:#}\n", json::document(schema, value)));
        } else {
            self.stdout(text);
        }
    }

    /// Prints raw data, such as a completion script or a rendered stream.
    pub fn stdout(&self, text: &str) {
        self.settle();
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        // A reader that went away (`| head`) is no fault.
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
            && let Ok(mut lost) = self.lost.lock()
        {
            *lost = Some(error.to_string());
        }
    }

    /// Whether [`Terminal::say`] prints anything.
    pub fn speaks(&self) -> bool {
        !self.options.json && self.options.verbosity > Verbosity::Quiet
    }

    /// Prints one look of many: on a terminal in place of the one before, in JSON as a line, else the `changes`
    /// since it.
    pub fn look(&self, schema: &str, value: Value, screen: &str, changes: &[String]) {
        let terminal = Term::stdout();
        if self.options.json {
            self.stdout(&format!("{}\n", json::document(schema, value)));
        } else if terminal.is_term() {
            let _ = terminal.clear_screen();
            self.stdout(screen);
        } else {
            changes.iter().for_each(|line| self.stdout(&format!("{line}\n")));
        }
    }

    /// Prints text for people that is not the result, such as the plan before a question.
    pub fn say(&self, text: &str) {
        if self.speaks() {
            self.settle();
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// Fails when a result could not be written.
    ///
    /// # Errors
    /// [`Kind::Internal`] with the reason, such as a full disk.
    pub fn delivered(&self) -> anyhow::Result<()> {
        match self.lost.lock().ok().and_then(|mut lost| lost.take()) {
            Some(reason) => Err(Failure::new(Kind::Internal, "cannot write to standard output")
                .hint("look at the disk or the program that reads it")
                .caused_by(anyhow::anyhow!(reason))),
            None => Ok(()),
        }
    }

    /// Takes moving lines away before something else is printed.
    fn settle(&self) {
        if let Some(progress) = &self.progress {
            progress.settle();
        }
    }

    /// Says how a run failed, and returns the exit code.
    pub fn failure(&self, error: &anyhow::Error) -> u8 {
        let code = exit_code_of(error);
        let failure = failure_of(error);
        if failure.is_some_and(|failure| failure.shown) {
            return code;
        }
        self.settle();
        // What others said must not drive the terminal.
        let chain: Vec<String> = chain_of(error).iter().map(|line| without_control(line)).collect();
        if self.options.json {
            let value = json!({
                "error": {
                    "message": chain.first(),
                    "causes": chain.get(1..).unwrap_or_default(),
                    "hint": failure.and_then(|failure| failure.hint.as_ref()),
                    "doc": failure.and_then(|failure| failure.doc),
                    "exitCode": code,
                }
            });
            self.stdout(&format!("{:#}\n", json::document("error", value)));
            return code;
        }
        let _ = std::io::stderr().lock().write_all(error_text(&chain, failure).as_bytes());
        code
    }

    /// Asks a person for a value, without echo; `None` where standard input is no terminal.
    pub async fn ask_secret(&self, question: &str) -> Option<String> {
        let terminal = Term::stderr();
        if !std::io::stdin().is_terminal() {
            return None;
        }
        self.settle();
        let _ = terminal.write_str(&format!("{question}: "));
        let read = tokio::task::spawn_blocking(move || terminal.read_secure_line().unwrap_or_default());
        Some(read.await.unwrap_or_default())
    }

    /// Asks a yes-or-no question. `None` when nobody can answer. May be dropped while it waits: the
    /// read then goes on in a thread that keeps nobody.
    pub async fn confirm(&self, question: &str) -> Option<bool> {
        let terminal = Term::stderr();
        if self.options.json || !terminal.is_term() || !console::user_attended() {
            return None;
        }
        self.settle();
        let _ = terminal.write_str(&format!("{question} [y/N] "));
        let read = tokio::task::spawn_blocking(move || terminal.read_line().unwrap_or_default());
        let answer = read.await.unwrap_or_default();
        Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// `text` with every control character but the ends of lines replaced.
fn without_control(text: &str) -> String {
    let shown = |letter: char| letter == '\n' || letter == '\t' || !letter.is_control();
    text.chars().map(|letter| if shown(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn error_text(chain: &[String], failure: Option<&Failure>) -> String {
    let mut text = format!("{} {}\n", style("error:").for_stderr().red().bold(), chain.first().map_or("", |line| line));
    for cause in chain.iter().skip(1) {
        text.push_str(&format!("{} {cause}\n", style("caused by:").for_stderr().red()));
    }
    match failure {
        Some(failure) => {
            if let Some(hint) = &failure.hint {
                text.push_str(&format!("{} {hint}\n", style("hint:").for_stderr().cyan().bold()));
            }
            if let Some(doc) = failure.doc {
                text.push_str(&format!("{} {doc}\n", style("see:").for_stderr().dim()));
            }
        }
        None => text.push_str("this is our own fault; please report it with the command and this text\n"),
    }
    text
}

/// A sink that drops everything.
struct Nothing;

impl Sink for Nothing {
    fn emit(&self, _event: Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_cannot_drive_the_terminal() {
        assert_eq!(without_control("a\n\tb\u{1b}[2J\u{9b}\r"), "a\n\tb\u{fffd}[2J\u{fffd}\u{fffd}");
    }
}
