//! From the arguments of the container to those of the program that runs here. Pure.
//!
//! The closed list of what differs: file and folder paths become local ones, the listen address is
//! the one given, and Alertmanager's cluster is off (`--cluster.listen-address=`), for it would
//! listen outside loopback. No other flag is added.

use super::places::Places;
use crate::sandbox::network::pod::Program;
use std::net::SocketAddr;

/// Flags whose value is a file or folder that is read.
const READ: [&str; 5] =
    ["--config.file", "--web.config.file", "--web.console.templates", "--web.console.libraries", "--web.user-assets"];
/// Flags whose value is a folder that is written.
const WRITTEN: [&str; 3] = ["--storage.tsdb.path", "--storage.agent.path", "--storage.path"];
/// Flags that are set here, whatever the container says.
const SET: [&str; 2] = ["--web.listen-address", "--cluster.listen-address"];

/// How a program is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The arguments.
    pub arguments: Vec<String>,
    /// Path of the configuration in the container.
    pub config: String,
    /// What its paths begin with, without a slash at the end; mostly empty.
    pub prefix: String,
}

/// What the image runs the program with when the container names no arguments.
fn arguments_of_image(program: Program) -> Vec<String> {
    let arguments: &[&str] = match program {
        Program::Prometheus => &["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        Program::Alertmanager => &["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"],
    };
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

/// The arguments to run `program` with on `address` in place of `deployed`.
pub fn rewrite(program: Program, deployed: &[String], places: &Places, address: SocketAddr) -> CommandLine {
    let image = arguments_of_image(program);
    let deployed = if deployed.is_empty() { &image } else { deployed };
    let mut line = CommandLine { arguments: Vec::new(), config: default_config(program), prefix: String::new() };
    let mut external = None;
    let mut route = None;
    let mut rest = deployed.iter().peekable();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            // A switch has no value; what follows is another flag then.
            None => (argument.as_str(), rest.next_if(|next| !next.starts_with('-')).cloned()),
        };
        match value {
            _ if SET.contains(&name) => {}
            Some(value) if READ.contains(&name) => {
                let local = places.local(&value).unwrap_or_else(|| value.clone());
                line.arguments.push(format!("{name}={local}"));
                if name == "--config.file" {
                    line.config = value;
                }
            }
            Some(value) if WRITTEN.contains(&name) => {
                let unmounted = || places.within_root(&value).to_string_lossy().into_owned();
                line.arguments.push(format!("{name}={}", places.local(&value).unwrap_or_else(unmounted)));
            }
            Some(value) => {
                match name {
                    "--web.external-url" => external = Some(path_of(&value).to_owned()),
                    "--web.route-prefix" => route = Some(value.clone()),
                    _ => {}
                }
                line.arguments.push(format!("{name}={value}"));
            }
            None => line.arguments.push(argument.clone()),
        }
    }
    line.prefix = match route.or(external).unwrap_or_default().trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    };
    line.arguments.push(format!("--web.listen-address={address}"));
    if program == Program::Alertmanager {
        line.arguments.push("--cluster.listen-address=".to_owned());
    }
    line
}

/// The working folder of the program in its image.
pub fn working_directory(program: Program) -> &'static str {
    match program {
        Program::Prometheus => "/prometheus",
        Program::Alertmanager => "/alertmanager",
    }
}

/// What the program reads when no flag says so: a file in its working folder.
fn default_config(program: Program) -> String {
    format!("{}/{}.yml", working_directory(program), program.key())
}

/// The path of a URL; of a path itself, the whole.
fn path_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return url };
    rest.find('/').and_then(|start| rest.get(start..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::behind::places::tests::places;

    fn rewritten(program: Program, deployed: &[&str]) -> CommandLine {
        let deployed: Vec<String> = deployed.iter().map(|argument| (*argument).to_owned()).collect();
        rewrite(program, &deployed, &places(), ([127, 0, 0, 1], 19090).into())
    }

    #[test]
    fn paths_and_addresses_change_and_nothing_else() {
        let line = rewritten(
            Program::Prometheus,
            &[
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path",
                "/prometheus",
                "--storage.tsdb.retention.time=30d",
                "--web.listen-address=0.0.0.0:9090",
                "--web.listen-address=:9091",
                "--web.enable-lifecycle",
                "--web.console.templates=/etc/of/image",
                "--web.route-prefix=/prometheus",
            ],
        );
        assert_eq!(
            line.arguments,
            [
                "--config.file=/run/root/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/run/claims/data",
                "--storage.tsdb.retention.time=30d",
                "--web.enable-lifecycle",
                "--web.console.templates=/etc/of/image",
                "--web.route-prefix=/prometheus",
                "--web.listen-address=127.0.0.1:19090",
            ]
        );
        assert_eq!((line.config.as_str(), line.prefix.as_str()), ("/etc/prometheus/prometheus.yml", "/prometheus"));
    }

    #[test]
    fn alertmanager_never_joins_a_cluster_and_data_without_a_volume_stays_in_the_root() {
        let line = rewritten(
            Program::Alertmanager,
            &[
                "--storage.path=/alertmanager",
                "--cluster.listen-address=[10.0.0.1]:9094",
                "--web.external-url=http://a/b/",
            ],
        );
        assert_eq!(
            line.arguments,
            [
                "--storage.path=/run/root/alertmanager",
                "--web.external-url=http://a/b/",
                "--web.listen-address=127.0.0.1:19090",
                "--cluster.listen-address=",
            ]
        );
        assert_eq!(line.prefix, "/b");
    }

    #[test]
    fn a_container_without_arguments_runs_with_those_of_its_image() {
        let line = rewritten(Program::Prometheus, &[]);
        assert_eq!(line.config, "/etc/prometheus/prometheus.yml");
        assert!(line.arguments.contains(&"--storage.tsdb.path=/run/claims/data".to_owned()));
    }

    #[test]
    fn the_prefix_is_the_path_of_the_external_url_unless_it_is_set() {
        for (flags, prefix) in [
            (&["--web.external-url=https://prometheus.drivemaster.com"] as &[&str], ""),
            (&["--web.external-url=https://drivemaster.com/prom/"], "/prom"),
            (&["--web.external-url=https://drivemaster.com/prom", "--web.route-prefix=/"], ""),
            (&["--web.external-url", "/sub"], "/sub"),
        ] {
            assert_eq!(rewritten(Program::Prometheus, flags).prefix, prefix, "{flags:?}");
        }
    }
}
