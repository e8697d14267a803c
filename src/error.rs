//! Failures a person can act on: what happened, why, one hint, and the exit code it means.
//!
//! Code anywhere returns [`anyhow::Result`]; the layer that knows what a failure means for the
//! person attaches a [`Failure`]. `main` finds the outermost one in the chain and exits with its
//! code. A chain without any is a fault of this program and exits 70.

use std::fmt;

/// What a failure means; each kind is one exit code (the table in `docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The answer is no: a failed check, a gate, findings.
    Negative,
    /// Changes are pending; only with `--detailed-exitcode`.
    ChangesPending,
    /// The question could not be asked: cluster, helm or service unreachable.
    CouldNotAsk,
    /// Applied, but not healthy in time.
    Unhealthy,
    /// Refused before anything was done.
    Refused,
    /// Wrong usage, configuration or template.
    Usage,
    /// Our own fault.
    Internal,
    /// Ended by Ctrl-C (SIGINT).
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Kind {
    /// The process exit code of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Negative => 1,
            Kind::ChangesPending => 2,
            Kind::CouldNotAsk => 3,
            Kind::Unhealthy => 4,
            Kind::Refused => 5,
            Kind::Usage => 64,
            Kind::Internal => 70,
            Kind::Interrupted => 130,
            Kind::Terminated => 143,
        }
    }
}

/// One failure as the person sees it. The causes are the rest of the `anyhow` chain.
#[derive(Debug)]
pub struct Failure {
    /// What it means, and so the exit code.
    pub kind: Kind,
    /// What we were doing and to which object (in backticks); lower case, no full stop, no secret.
    pub message: String,
    /// One command to run or one thing to change.
    pub hint: Option<String>,
    /// Anchor in the documentation, such as `docs/errors.md#storage-class`.
    pub doc: Option<&'static str>,
    /// True when a renderer has already shown it, so that `main` only exits with its code.
    pub shown: bool,
}

impl Failure {
    /// A failure of `kind` with `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), hint: None, doc: None, shown: false }
    }

    /// Adds the one hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the documentation anchor.
    #[must_use]
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = Some(doc);
        self
    }

    /// Marks it as already shown.
    #[must_use]
    pub fn already_shown(mut self) -> Self {
        self.shown = true;
        self
    }

    /// Puts this failure on top of `source`, which becomes its cause.
    pub fn caused_by(self, source: impl Into<anyhow::Error>) -> anyhow::Error {
        source.into().context(self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The outermost [`Failure`] in the chain of `error`.
pub fn failure_of(error: &anyhow::Error) -> Option<&Failure> {
    // `downcast_ref` also looks into anyhow contexts, outermost first.
    error.downcast_ref::<Failure>()
}

/// The exit code that `error` means.
pub fn exit_code_of(error: &anyhow::Error) -> u8 {
    failure_of(error).map_or(Kind::Internal.exit_code(), |failure| failure.kind.exit_code())
}

/// The messages of `error`'s chain, outermost first, without texts an outer one already contains.
pub fn chain_of(error: &anyhow::Error) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !text.is_empty() && !messages.iter().any(|shown| shown.contains(&text)) {
            messages.push(text);
        }
    }
    messages
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_failure_decides_the_exit_code() {
        let error = Failure::new(Kind::Unhealthy, "outer")
            .caused_by(Failure::new(Kind::Usage, "inner").caused_by(anyhow::anyhow!("root")));
        assert_eq!(exit_code_of(&error), 4);
        assert_eq!(chain_of(&error), ["outer", "inner", "root"]);
    }

    #[test]
    fn a_chain_without_a_failure_is_our_own_fault() {
        assert_eq!(exit_code_of(&anyhow::anyhow!("surprise")), 70);
    }

    #[test]
    fn a_repeated_cause_is_told_once() {
        let error = anyhow::anyhow!("refused").context("cannot connect: refused");
        assert_eq!(chain_of(&error), ["cannot connect: refused"]);
    }
}
