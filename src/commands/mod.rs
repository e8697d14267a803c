//! One verb a file: arguments to stages to report; decides nothing.

mod access;
mod change;
mod charts;
mod config;
mod dashboards;
mod deploy;
mod history;
mod images;
mod locked;
mod overlay;
mod plan;
mod port_forward;
mod render;
mod reverse;
mod rollback;
#[cfg(feature = "sandbox")]
mod sandbox;
mod secrets;
mod session;
mod status;
mod text;
mod uninstall;
mod validate;
mod verify;

use crate::cli::{Cli, PlanArgs, Verb};
use crate::error::{Failure, Kind};
use crate::report::Terminal;
use clap::CommandFactory;
use session::Session;
use tokio_util::sync::CancellationToken;

/// Carries out what the command line asks for. Returns the exit code of a run that did not fail.
///
/// # Errors
/// The failure to report; `cancel` ends every verb with [`Kind::Interrupted`].
pub async fn run(cli: Cli, terminal: &Terminal, cancel: CancellationToken) -> anyhow::Result<u8> {
    let session = Session::new(cli.global, terminal, cancel);
    #[cfg(feature = "sandbox")]
    sandbox::refuse_mistyped(&session, &cli.verb)?;
    let done = match cli.verb {
        Verb::Render => render::run(&session).await,
        Verb::Validate(arguments) => validate::run(&session, &arguments).await,
        Verb::Plan(arguments) => return plan::run(&session, &arguments).await,
        Verb::Deploy(arguments) if arguments.dry_run => {
            let arguments =
                PlanArgs { detailed_exitcode: arguments.detailed_exitcode, out: None, limit: arguments.limit };
            return plan::run(&session, &arguments).await;
        }
        Verb::Deploy(arguments) => deploy::run(&session, &arguments).await,
        Verb::Verify(arguments) => verify::run(&session, &arguments).await,
        Verb::Status(arguments) => status::run(&session, &arguments).await,
        Verb::Access(arguments) => access::run(&session, arguments.show_secrets).await,
        Verb::PortForward(arguments) => port_forward::run(&session, &arguments).await,
        Verb::Rollback(arguments) => rollback::run(&session, &arguments).await,
        Verb::History => history::run(&session).await,
        Verb::Uninstall(arguments) => uninstall::run(&session, &arguments).await,
        Verb::Dashboards(verb) => dashboards::run(&session, &verb).await,
        Verb::Charts(verb) => charts::run(&session, &verb).await,
        Verb::Secrets(verb) => return secrets::run(&session, &verb).await,
        Verb::Images => images::run(&session).await,
        Verb::Config(verb) => config::run(&session, &verb),
        #[cfg(feature = "sandbox")]
        Verb::Sandbox(verb) => return sandbox::run(&session, verb).await,
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "drivemaster-mon", &mut script);
            terminal.stdout(&String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    done.map(|()| 0)
}

/// The failure of a run that Ctrl-C ended.
fn interrupted(what_stands: &str) -> anyhow::Error {
    Failure::new(Kind::Interrupted, format!("interrupted; {what_stands}")).into()
}
