//! From the arguments of the container to those of the program that runs here. Pure.
//!
//! The closed list of what differs: file and folder paths become local ones, flags that say where to
//! listen go, the listen address is the one given, and Alertmanager's cluster is off
//! (`--cluster.listen-address=`), for it would listen outside loopback. No other flag is added.
//! (How prometheus-operator finds the API server stands in [`super::kubeconfig`].)

use super::places::Places;
use crate::sandbox::network::program::Program;
use std::net::SocketAddr;

/// What is known of a program's flags, by their names without dashes.
struct Flags {
    /// What the image runs the program with when the container names no arguments.
    image: &'static [&'static str],
    /// The working folder of the program in its image.
    working: &'static str,
    /// Flag that names the configuration.
    config: &'static str,
    /// What it reads when no flag says so; none where it needs no file.
    default_config: Option<&'static str>,
    /// Flags whose value is a file or folder that is read.
    read: &'static [&'static str],
    /// Flags whose value is a folder that is written.
    written: &'static [&'static str],
    /// Flags that are set here, whatever the container says; a whole family where a name ends in a dot.
    set: &'static [&'static str],
}

const PROMETHEUS: Flags = Flags {
    image: &["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
    working: "/prometheus",
    config: "config.file",
    default_config: Some("/prometheus/prometheus.yml"),
    read: &["web.config.file", "web.console.templates", "web.console.libraries", "web.user-assets"],
    written: &["storage.tsdb.path", "storage.agent.path"],
    set: &["web.listen-address"],
};

const ALERTMANAGER: Flags = Flags {
    image: &["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"],
    working: "/alertmanager",
    config: "config.file",
    default_config: Some("/alertmanager/alertmanager.yml"),
    read: &["web.config.file"],
    written: &["storage.path"],
    set: &["web.listen-address", "cluster.listen-address"],
};

const LOKI: Flags = Flags {
    image: &["-config.file=/etc/loki/local-config.yaml"],
    working: "/loki",
    config: "config.file",
    default_config: Some("/loki/config.yaml"),
    read: &["runtime-config.file"],
    written: &[],
    // The ring is kept in memory, so nobody is met.
    set: &[
        "memberlist.",
        "server.http-listen-address",
        "server.http-listen-port",
        "server.grpc-listen-address",
        "server.grpc-listen-port",
    ],
};

const JAEGER: Flags =
    Flags { image: &[], working: "/", config: "config", default_config: None, read: &[], written: &[], set: &[] };

const COLLECTOR: Flags = Flags { image: &["--config=/etc/otelcol/config.yaml"], ..JAEGER };

/// It is told everything by its environment.
const CHAOS_CONTROLLER_MANAGER: Flags = Flags { config: "", ..JAEGER };

/// It finds the API server by a kubeconfig, which its environment names.
const OPERATOR: Flags = Flags {
    read: &["web.cert-file", "web.key-file", "web.client-ca-file"],
    set: &["web.listen-address"],
    ..CHAOS_CONTROLLER_MANAGER
};

fn flags_of(program: Program) -> &'static Flags {
    match program {
        Program::Prometheus => &PROMETHEUS,
        Program::Alertmanager => &ALERTMANAGER,
        Program::Loki => &LOKI,
        Program::Jaeger => &JAEGER,
        Program::Collector => &COLLECTOR,
        Program::ChaosControllerManager => &CHAOS_CONTROLLER_MANAGER,
        Program::Operator => &OPERATOR,
    }
}

/// How a program is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The arguments.
    pub arguments: Vec<String>,
    /// Paths of the configuration in the container; several are merged by the program.
    pub configs: Vec<String>,
    /// What its paths begin with, without a slash at the end; mostly empty.
    pub prefix: String,
}

/// The arguments to run `program` with on `address` in place of `deployed`.
pub fn rewrite(program: Program, deployed: &[String], places: &Places, address: SocketAddr) -> CommandLine {
    let flags = flags_of(program);
    let image: Vec<String> = flags.image.iter().map(|argument| (*argument).to_owned()).collect();
    let deployed = if deployed.is_empty() { &image } else { deployed };
    let mut line = CommandLine { arguments: Vec::new(), configs: Vec::new(), prefix: String::new() };
    let mut external = None;
    let mut route = None;
    let mut rest = deployed.iter().peekable();
    while let Some(argument) = rest.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            // A switch has no value; what follows is another flag then.
            None => (argument.as_str(), rest.next_if(|next| !next.starts_with('-')).cloned()),
        };
        let name = flag.trim_start_matches('-');
        match value {
            _ if is_set(flags, name) => {}
            Some(value) if name == flags.config || flags.read.contains(&name) => {
                let local = places.local(&value).unwrap_or_else(|| value.clone());
                line.arguments.push(format!("{flag}={local}"));
                if name == flags.config {
                    line.configs.push(value);
                }
            }
            Some(value) if flags.written.contains(&name) => {
                let unmounted = || places.within_root(&value).to_string_lossy().into_owned();
                line.arguments.push(format!("{flag}={}", places.local(&value).unwrap_or_else(unmounted)));
            }
            Some(value) => {
                match name {
                    "web.external-url" => external = Some(path_of(&value).to_owned()),
                    "web.route-prefix" => route = Some(value.clone()),
                    _ => {}
                }
                line.arguments.push(format!("{flag}={value}"));
            }
            None => line.arguments.push(argument.clone()),
        }
    }
    if line.configs.is_empty() {
        line.configs.extend(flags.default_config.map(str::to_owned));
    }
    line.prefix = match route.or(external).unwrap_or_default().trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    };
    match program {
        Program::Prometheus | Program::Operator => line.arguments.push(format!("--web.listen-address={address}")),
        Program::Alertmanager => {
            line.arguments.push(format!("--web.listen-address={address}"));
            line.arguments.push("--cluster.listen-address=".to_owned());
        }
        // Their configuration or environment says where they listen.
        Program::Loki | Program::Jaeger | Program::Collector | Program::ChaosControllerManager => {}
    }
    line
}

/// The port that a program is told to listen on by the flag of its web server.
pub fn web_port(deployed: &[String]) -> Option<u16> {
    let value =
        deployed.iter().find_map(|argument| argument.trim_start_matches('-').strip_prefix("web.listen-address="));
    value?.rsplit(':').next()?.parse().ok()
}

fn is_set(flags: &Flags, name: &str) -> bool {
    flags.set.iter().any(|set| name == *set || (set.ends_with('.') && name.starts_with(set)))
}

/// The working folder of the program in its image.
pub fn working_directory(program: Program) -> &'static str {
    flags_of(program).working
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
        assert_eq!(
            (line.configs, line.prefix.as_str()),
            (vec!["/etc/prometheus/prometheus.yml".to_owned()], "/prometheus")
        );
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
        assert_eq!(line.configs, ["/etc/prometheus/prometheus.yml"]);
        assert!(line.arguments.contains(&"--storage.tsdb.path=/run/claims/data".to_owned()));
    }

    #[test]
    fn loki_joins_nobody_and_a_configuration_may_stand_apart_from_its_flag() {
        let line = rewritten(
            Program::Loki,
            &[
                "-config.file=/etc/prometheus/config.yaml",
                "-config.expand-env=true",
                "-memberlist.advertise-addr=10.0.0.1",
                "-server.http-listen-port",
                "3101",
                "-target=all",
            ],
        );
        assert_eq!(
            line.arguments,
            ["-config.file=/run/root/etc/prometheus/config.yaml", "-config.expand-env=true", "-target=all"]
        );
        let line = rewritten(
            Program::Jaeger,
            &["--config", "/etc/prometheus/a.yaml", "--config=yaml:a::b: 1", "--feature-gates=-x"],
        );
        assert_eq!(
            line.arguments,
            ["--config=/run/root/etc/prometheus/a.yaml", "--config=yaml:a::b: 1", "--feature-gates=-x"]
        );
        assert_eq!(line.configs, ["/etc/prometheus/a.yaml", "yaml:a::b: 1"]);
    }

    #[test]
    fn the_operator_serves_with_its_mounted_certificate_on_loopback() {
        let deployed = [
            "--kubelet-service=kube-system/kubelet",
            "--localhost=127.0.0.1",
            "--web.enable-tls=true",
            "--web.cert-file=/etc/prometheus/cert",
            "--web.key-file=/etc/prometheus/key",
            "--web.listen-address=:10250",
            "--web.tls-min-version=VersionTLS13",
        ];
        assert_eq!(web_port(&deployed.map(str::to_owned)), Some(10250));
        assert_eq!(
            rewritten(Program::Operator, &deployed).arguments,
            [
                "--kubelet-service=kube-system/kubelet",
                "--localhost=127.0.0.1",
                "--web.enable-tls=true",
                "--web.cert-file=/run/root/etc/prometheus/cert",
                "--web.key-file=/run/root/etc/prometheus/key",
                "--web.tls-min-version=VersionTLS13",
                "--web.listen-address=127.0.0.1:19090",
            ]
        );
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
