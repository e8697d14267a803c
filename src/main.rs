//! The `drivemaster-mon` executable: parse, run, exit code. The only place that exits.

use clap::error::ErrorKind;
use drivemaster_mon::cli::{Cli, Verb};
use drivemaster_mon::commands;
use drivemaster_mon::error::{Failure, Kind};
use drivemaster_mon::report::Terminal;
use drivemaster_mon::report::findings::Format;
use drivemaster_mon::report::terminal::{Options, Verbosity};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
        if let Some(code) = drivemaster_mon::process::reexec_entry(&arguments) {
            return ExitCode::from(code);
        }
        #[cfg(feature = "sandbox")]
        if let Some(code) = drivemaster_mon::sandbox::reexec_entry(&arguments) {
            return ExitCode::from(code);
        }
    }
    // The defaults of reqwest and kube disagree; without this the first TLS client panics.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::read(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { Kind::Usage.exit_code() });
        }
    };
    let terminal = match options(&cli) {
        Ok(options) => Terminal::new(options),
        Err(failure) => {
            let plain = Options { json: false, verbosity: Verbosity::Normal, progress: false };
            return ExitCode::from(Terminal::new(plain).failure(&failure.into()));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(terminal.failure(&error.into())),
    };
    let code = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let by_terminate = watch_signals(&cancel);
        match Box::pin(commands::run(cli, &terminal, cancel)).await.and_then(|code| terminal.delivered().map(|()| code))
        {
            Ok(code) => code,
            Err(error) => {
                let code = terminal.failure(&error);
                let interrupted = code == Kind::Interrupted.exit_code();
                if interrupted && by_terminate.is_cancelled() { Kind::Terminated.exit_code() } else { code }
            }
        }
    });
    // A pending read of a terminal or a slow DNS answer must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn options(cli: &Cli) -> Result<Options, Failure> {
    let json = match (cli.global.output.as_deref(), &cli.verb) {
        (_, Verb::Render) | (None | Some("human"), _) => false,
        (Some("json"), _) => true,
        (Some(word), Verb::Validate(_)) if Format::named(word).is_some() => false,
        (Some(other), Verb::Validate(_)) => {
            let words = Format::ALL.map(|(word, _)| format!("`{word}`")).join(", ");
            return Err(Failure::new(Kind::Usage, format!("`-o {other}`: expected one of {words}")));
        }
        (Some(other), _) => {
            return Err(Failure::new(Kind::Usage, format!("`-o {other}`: expected `human` or `json`")));
        }
    };
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    Ok(Options { json, verbosity, progress: !cli.global.no_progress })
}

/// Cancels `cancel` on SIGINT and SIGTERM; the token returned tells that it was SIGTERM.
fn watch_signals(cancel: &CancellationToken) -> CancellationToken {
    let by_terminate = CancellationToken::new();
    let (cancel, terminated) = (cancel.clone(), by_terminate.clone());
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => terminated.cancel(),
        }
        cancel.cancel();
    });
    by_terminate
}
