//! The `drivemaster-mon` executable: parse, run, exit code.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "sandbox")]
    if let Some(code) = drivemaster_mon::sandbox::reexec_entry(&arguments) {
        return ExitCode::from(code);
    }
    #[cfg(feature = "sandbox")]
    return ExitCode::from(trial::main(&arguments));
    #[cfg(not(feature = "sandbox"))]
    ExitCode::SUCCESS
}

/// Drives the sandbox until the command line is there: `sandbox up|status|list|down NAME`, `sandbox run NAME CMD`.
#[cfg(feature = "sandbox")]
#[allow(clippy::print_stdout, clippy::print_stderr)]
mod trial {
    use drivemaster_mon::error::{Failure, Kind, chain_of, exit_code_of, failure_of};
    use drivemaster_mon::event::{Event, Sink};
    use drivemaster_mon::sandbox::client::{self, UpOptions};
    use std::ffi::OsString;
    use std::path::PathBuf;
    use std::sync::Arc;

    struct Printer;

    impl Sink for Printer {
        fn emit(&self, event: Event) {
            eprintln!("{}", serde_json::to_string(&event).unwrap_or_default());
        }
    }

    pub fn main(arguments: &[OsString]) -> u8 {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("{error}");
                return 70;
            }
        };
        match runtime.block_on(run(&words, arguments)) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("{}", chain_of(&error).join("\ncaused by: "));
                if let Some(hint) = failure_of(&error).and_then(|failure| failure.hint.as_ref()) {
                    eprintln!("hint: {hint}");
                }
                exit_code_of(&error)
            }
        }
    }

    async fn run(words: &[String], arguments: &[OsString]) -> anyhow::Result<u8> {
        let name = words.get(2).cloned().unwrap_or_else(|| "default".to_owned());
        match words.get(1).map(String::as_str) {
            Some("up") => {
                let config = std::env::var("TRIAL_CONFIG")?;
                let config = serde_json::from_str(&std::fs::read_to_string(config)?)?;
                let up = UpOptions {
                    name,
                    tools: words.get(3).map(PathBuf::from),
                    config: &config,
                    events: Arc::new(Printer),
                    executable: client::own_executable(),
                };
                println!("{}", serde_json::to_string_pretty(&client::up(up).await?)?);
            }
            Some("status") => println!("{}", serde_json::to_string_pretty(&client::status(&name).await?)?),
            Some("list") => println!("{}", client::list().await?.join(" ")),
            Some("down") => println!("{}", client::down(&name).await?),
            Some("run") => return client::run(&name, arguments.get(4..).unwrap_or_default()).await,
            _ => return Err(Failure::new(Kind::Usage, "sandbox up|status|list|down|run").into()),
        }
        Ok(0)
    }
}
