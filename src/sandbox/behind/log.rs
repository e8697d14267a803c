//! What a program says about itself in its log. Pure.

/// Phrases by which the programs say that they do not take their configuration.
const REJECTIONS: [&str; 17] = [
    "Error loading config",
    "Error loading rule file",
    "Error reloading config",
    "Failed to apply configuration",
    "Loading configuration file failed",
    "error loading configuration file",
    "error reading configuration file",
    "loading groups failed",
    ": error: ",
    // Loki.
    "failed parsing config:",
    "msg=\"validating config\"",
    "flag provided but not defined",
    // What is built on the Collector.
    "Error: failed to get config",
    "Error: invalid configuration",
    "Error: failed to build",
    "Error: unknown flag",
    "decoding failed due to the following error(s):",
];
/// How an error is marked.
const LEVELS: [&str; 2] = ["level=ERROR", "level=error"];
/// A summary that hides its cause, which stands in a line of its own.
const SUMMARY: &str = "one or more errors occurred";
/// Said when a signal to read the configuration again was obeyed.
const RELOADED: &str = "Completed loading of configuration file";

/// Why a program does not run as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Whether it rejects its configuration, flags included.
    pub rejected: bool,
    /// Its own words.
    pub message: String,
}

/// The complaint in what a program has logged since it was started or asked to reload.
pub fn complaint_of(log: &str) -> Option<Complaint> {
    let rejections = || log.lines().filter(|line| REJECTIONS.iter().any(|phrase| line.contains(phrase)));
    let cause = rejections().find(|line| !line.contains(SUMMARY)).or_else(|| rejections().next());
    if let Some(line) = cause {
        let message = if line.contains("level=") { message_of(line) } else { paragraph_of(log, line) };
        return Some(Complaint { rejected: true, message });
    }
    let told = || log.lines().rev().filter(|line| !line.trim().is_empty());
    let last = told().find(|line| LEVELS.iter().any(|level| line.contains(level))).or_else(|| told().next())?;
    Some(Complaint { rejected: false, message: message_of(last) })
}

/// Whether a signal to read the configuration again was answered, and how; `None` when not yet.
pub fn reload_outcome(log: &str) -> Option<Result<(), Complaint>> {
    match complaint_of(log) {
        Some(complaint) if complaint.rejected => Some(Err(complaint)),
        _ => log.contains(RELOADED).then_some(Ok(())),
    }
}

/// A line without fields and those that go on after it, on one line. What begins with a date is
/// another message.
fn paragraph_of(log: &str, first: &str) -> String {
    let rest = log.lines().skip_while(|line| *line != first).skip(1);
    let more =
        rest.take_while(|line| !line.starts_with(|start: char| start.is_ascii_digit()) && !line.contains("level="));
    let words = [first].into_iter().chain(more).flat_map(str::split_whitespace);
    words.collect::<Vec<_>>().join(" ")
}

/// What a line of the log says: its error, else its message, else the whole line.
fn message_of(line: &str) -> String {
    let value = field(line, "err").or_else(|| field(line, "error")).or_else(|| field(line, "msg"));
    value.unwrap_or_else(|| line.trim().to_owned())
}

/// The value of `key=value` in a line of Go's text log, with its quotes undone.
fn field(line: &str, key: &str) -> Option<String> {
    let rest = line.split_once(&format!(" {key}="))?.1;
    let Some(quoted) = rest.strip_prefix('"') else {
        return rest.split(' ').next().map(str::to_owned);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                // Messages are told on one line.
                Some('n' | 't' | 'r') => value.push(' '),
                Some(escaped) => value.push(escaped),
                None => break,
            },
            plain => value.push(plain),
        }
    }
    // Line breaks leave runs of blanks.
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_in_the_programs_own_words() {
        for (log, rejected, message) in [
            (
                "time=x level=INFO msg=\"Loading\"\ntime=x level=ERROR source=main.go:751 msg=\"Error loading config (--config.file=bad.yml)\" file=/b err=\"parsing YAML file bad.yml: yaml: unmarshal errors:\\n  line 1: field job_nam not found in type config.ScrapeConfig\"\n",
                true,
                "parsing YAML file bad.yml: yaml: unmarshal errors: line 1: field job_nam not found in type config.ScrapeConfig",
            ),
            (
                "time=x level=ERROR msg=\"loading groups failed\" component=\"rule manager\" err=\"r.yml: 1:45: group \\\"a\\\"\"\ntime=x level=ERROR msg=\"Failed to apply configuration\" err=\"error loading rules\"\ntime=x level=ERROR msg=\"Error reloading config\" err=\"one or more errors occurred while applying the new configuration\"\n",
                true,
                "r.yml: 1:45: group \"a\"",
            ),
            (
                "time=x level=ERROR source=main.go:198 msg=\"alertmanager exited with error\" err=\"error loading configuration file: undefined receiver \\\"x\\\" used in route\"\n",
                true,
                "error loading configuration file: undefined receiver \"x\" used in route",
            ),
            (
                "Error parsing command line arguments: unknown long flag '--nope'\nprometheus: error: unknown long flag '--nope'\n",
                true,
                "prometheus: error: unknown long flag '--nope'",
            ),
            (
                "time=x level=ERROR msg=\"Unable to start web listener\" err=\"listen tcp 127.0.0.1:1: bind: permission denied\"\ntime=x level=INFO msg=bye\n",
                false,
                "listen tcp 127.0.0.1:1: bind: permission denied",
            ),
            ("panic: oh\n\n", false, "panic: oh"),
            (
                "failed parsing config: /l.yaml: yaml: unmarshal errors:\n  line 3: field auth_enable not found in type loki.ConfigWrapper. Use x\n",
                true,
                "failed parsing config: /l.yaml: yaml: unmarshal errors: line 3: field auth_enable not found in type loki.ConfigWrapper. Use x",
            ),
            (
                "level=error ts=x caller=main.go:92 msg=\"validating config\" err=\"CONFIG ERROR: invalid compactor config\"\n",
                true,
                "CONFIG ERROR: invalid compactor config",
            ),
            (
                "2026-11-24T23:00:00Z\tinfo\tstarting\nError: failed to get config: cannot unmarshal the configuration: decoding failed due to the following error(s):\n\n'' has invalid keys: use_v3\n2026/11/24 23:00:00 failed\n",
                true,
                "Error: failed to get config: cannot unmarshal the configuration: decoding failed due to the following error(s): '' has invalid keys: use_v3",
            ),
            ("time=x level=ERROR msg=\"unfinished", false, "unfinished"),
        ] {
            assert_eq!(complaint_of(log), Some(Complaint { rejected, message: message.into() }), "{log}");
        }
        assert_eq!(complaint_of("\n \n"), None);
    }

    #[test]
    fn a_reload_is_answered_by_its_end_or_its_refusal() {
        assert_eq!(reload_outcome("time=x level=INFO msg=\"Loading configuration file\""), None);
        assert_eq!(reload_outcome("msg=\"Completed loading of configuration file\""), Some(Ok(())));
        let refused = reload_outcome("level=ERROR msg=\"Loading configuration file failed\" err=bad");
        assert_eq!(refused, Some(Err(Complaint { rejected: true, message: "bad".into() })));
    }
}
