//! `sandbox up | status | run | down | list | scenario`.

use super::session::Session;
use crate::cli::{SandboxName, SandboxUp, SandboxVerb, ScenarioVerb, Verb};
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::event::Event;
use crate::report::table::aligned;
use crate::sandbox::client::{self, Running, UpOptions};
use serde_json::json;
use std::time::Duration;

/// The sandbox that is meant when none is named.
const DEFAULT_NAME: &str = "default";

pub(super) async fn run(session: &Session<'_>, verb: SandboxVerb) -> anyhow::Result<u8> {
    match verb {
        SandboxVerb::Up(arguments) => up(session, &arguments).await.map(|()| 0),
        SandboxVerb::Status(argument) => status(session, &name(session, &argument)).await,
        SandboxVerb::Down(argument) => down(session, &name(session, &argument)).await.map(|()| 0),
        SandboxVerb::List => list(session).map(|()| 0),
        SandboxVerb::Run(arguments) => run_command(session, arguments.ephemeral, &arguments.command).await,
        SandboxVerb::Scenario(verb) => scenario(session, verb).await.map(|()| 0),
    }
}

impl Session<'_> {
    /// Starts the sandbox `name`, or attaches to it.
    pub(super) async fn sandbox_up(&self, name: &str, config: &Config) -> anyhow::Result<Running> {
        client::up(self.up_options(name, config)).await
    }

    fn up_options<'c>(&self, name: &str, config: &'c Config) -> UpOptions<'c> {
        UpOptions {
            name: name.to_owned(),
            tools: self.global.tools.clone(),
            config,
            bound: false,
            pods_start_after: Duration::ZERO,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        }
    }
}

/// Refuses a verb that only reads on a sandbox that nobody ever started: its name is mistyped more often than meant.
///
/// # Errors
/// [`Kind::Usage`] with the names that there are.
pub(super) fn refuse_mistyped(session: &Session<'_>, verb: &Verb) -> anyhow::Result<()> {
    let only_reads = matches!(
        verb,
        Verb::Verify(_) | Verb::Status(_) | Verb::Access(_) | Verb::PortForward(_) | Verb::Dashboards(_)
    );
    let Some(name) = session.global.sandbox.as_deref().filter(|name| only_reads && *name != DEFAULT_NAME) else {
        return Ok(());
    };
    let known: Vec<String> = client::list()?.into_iter().map(|(name, _)| name).collect();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let known = if known.is_empty() { "there is none".to_owned() } else { format!("known: {}", known.join(", ")) };
    Err(Failure::new(Kind::Usage, format!("there is no sandbox `{name}`; {known}"))
        .hint(format!("`drivemaster-mon sandbox up {name}` starts it"))
        .into())
}

fn name(session: &Session<'_>, argument: &SandboxName) -> String {
    argument.name.clone().or_else(|| session.global.sandbox.clone()).unwrap_or_else(|| DEFAULT_NAME.to_owned())
}

async fn up(session: &Session<'_>, arguments: &SandboxUp) -> anyhow::Result<()> {
    let name = &name(session, &arguments.sandbox);
    let config = session.config()?;
    let pods_start_after = Duration::from_secs(arguments.pods_start_after);
    let running = client::up(UpOptions { pods_start_after, ..session.up_options(name, &config) }).await?;
    if running.attached && !pods_start_after.is_zero() {
        let message = format!("sandbox `{name}` ran already: its pods start as they did");
        session.events.emit(Event::Warning { message });
    }
    let text = format!(
        "sandbox `{name}` is up\n  kubeconfig  {}\n  state       {}\n  use it      drivemaster-mon deploy --sandbox={name}\n  \
         end it      drivemaster-mon sandbox down {name}\n",
        running.kubeconfig.display(),
        running.state_directory.display()
    );
    let value = json!({
        "name": name, "kubeconfig": running.kubeconfig, "stateDirectory": running.state_directory,
        "pathDirectory": running.path_directory,
    });
    session.terminal.result("sandbox", value, &text);
    Ok(())
}

async fn status(session: &Session<'_>, name: &str) -> anyhow::Result<u8> {
    let Some(status) = client::status(name).await? else {
        session.terminal.result(
            "sandbox-status",
            json!({ "name": name, "up": false }),
            &format!("sandbox `{name}` is down\n"),
        );
        return Ok(Kind::Negative.exit_code());
    };
    let mut rows = vec![vec!["PROGRAM".to_owned(), "PID".to_owned(), "PORT".to_owned(), "STATE".to_owned()]];
    rows.extend(status.programs.iter().map(|program| {
        vec![
            program.name.clone(),
            program.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            program.port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            program.state.clone(),
        ]
    }));
    rows.extend(
        status
            .missing
            .iter()
            .map(|program| vec![program.name.clone(), "-".to_owned(), "-".to_owned(), program.state.clone()]),
    );
    let scenarios = if status.scenarios.is_empty() { "none".to_owned() } else { status.scenarios.join(", ") };
    let notes: String = status.notes.iter().map(|note| format!("note: pod {}: {}\n", note.pod, note.message)).collect();
    let text = format!(
        "sandbox `{name}`, up for {} s, scenarios: {scenarios}\n{}{notes}",
        status.uptime_seconds,
        aligned(&rows)
    );
    session.terminal.result("sandbox-status", json!({ "name": name, "up": true, "status": status }), &text);
    Ok(if status.healthy { 0 } else { Kind::Negative.exit_code() })
}

async fn down(session: &Session<'_>, name: &str) -> anyhow::Result<()> {
    let was_up = client::down(name, &session.events).await?;
    let text = if was_up { format!("sandbox `{name}` is down\n") } else { format!("sandbox `{name}` was not up\n") };
    session.terminal.result("sandbox", json!({ "name": name, "wasUp": was_up }), &text);
    Ok(())
}

fn list(session: &Session<'_>) -> anyhow::Result<()> {
    let found = client::list()?;
    let rows: Vec<Vec<String>> =
        found.iter().map(|(name, up)| vec![name.clone(), if *up { "up" } else { "down" }.to_owned()]).collect();
    let text = if rows.is_empty() { "no sandbox\n".to_owned() } else { aligned(&rows) };
    let value = found.iter().map(|(name, up)| json!({ "name": name, "up": up })).collect::<Vec<_>>();
    session.terminal.result("sandboxes", json!({ "sandboxes": value }), &text);
    Ok(())
}

async fn run_command(session: &Session<'_>, ephemeral: bool, command: &[std::ffi::OsString]) -> anyhow::Result<u8> {
    let config = session.config()?;
    let name = match (&session.global.sandbox, ephemeral) {
        (Some(_), true) => {
            return Err(Failure::new(
                Kind::Usage,
                "`--ephemeral` makes a sandbox of its own; it takes no `--sandbox=NAME`",
            )
            .into());
        }
        (Some(name), false) => name.clone(),
        (None, true) => format!("run-{}", std::process::id()),
        (None, false) => DEFAULT_NAME.to_owned(),
    };
    let options = UpOptions { bound: ephemeral, ..session.up_options(&name, &config) };
    let running = client::up(options).await?;
    let code = client::run(&running, command, &session.cancel).await;
    if ephemeral {
        client::down(&name, &session.events).await?;
    }
    code
}

async fn scenario(session: &Session<'_>, verb: ScenarioVerb) -> anyhow::Result<()> {
    let name = session.global.sandbox.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let on = match verb {
        ScenarioVerb::Set { words } => client::scenario_set(&name, &words).await?,
        ScenarioVerb::Clear { words } => client::scenario_clear(&name, &words).await?,
        ScenarioVerb::List => client::scenario_list(&name).await?,
    };
    let text = if on.is_empty() {
        "no scenario is on; `sandbox scenario set --help` lists them\n".to_owned()
    } else {
        format!("{}\n", on.join("\n"))
    };
    session.terminal.result("scenarios", json!({ "scenarios": on }), &text);
    Ok(())
}
