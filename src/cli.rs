//! The command line, as clap reads it.

mod arguments;

pub use arguments::*;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where the words of `--help` that belong together stand.
const CONFIGURATION: &str = "Configuration";
const CLUSTER: &str = "Cluster";
const OUTPUT: &str = "Output";

impl Cli {
    /// Reads `arguments`, the name of the program first.
    ///
    /// # Errors
    /// What clap says of them; of a negative amount, which clap takes for an option, that there is none.
    pub fn read(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(&arguments).map_err(|error| {
            let is_negative = |word: &&str| {
                word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
            };
            let words = || arguments.iter().skip(1).filter_map(|argument| argument.to_str());
            match words().find(is_negative).filter(|_| error.kind() == ErrorKind::UnknownArgument) {
                Some(word) => {
                    let message = format!("`{word}` begins like an option, and nothing here takes a negative number");
                    Cli::command().error(ErrorKind::InvalidValue, message)
                }
                None => error,
            }
        })
    }
}

/// Deploys the DriveMaster monitoring stack and proves that it works.
#[derive(Debug, Parser)]
#[command(
    name = "drivemaster-mon",
    version,
    about,
    long_about = "Deploys the DriveMaster monitoring stack (Prometheus, Alertmanager, Grafana, Loki, Jaeger, \
                  OpenTelemetry Collector) and proves that it works: every target scraped, every rule evaluated, \
                  the alert path open.",
    after_help = "Examples:\n  \
        drivemaster-mon deploy --sandbox            try it: a throwaway real control plane on this machine\n  \
        drivemaster-mon plan                        what a deploy would change in the current context\n  \
        drivemaster-mon deploy --yes                deploy and verify\n  \
        drivemaster-mon verify                      does the monitoring work?\n  \
        drivemaster-mon port-forward                open every interface on its usual port\n\n\
        Exit codes: 0 done, 1 the answer is no, 2 changes pending, 3 could not ask, 4 not healthy in time,\n\
        5 refused before doing anything, 64 usage or configuration, 70 our own fault, 130 interrupted.",
    disable_help_subcommand = true,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Options of every verb.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Configuration file, later ones win (default: `drivemaster-mon.yaml` here, if there is one).
    #[arg(short = 'f', long = "file", value_name = "FILE", global = true, help_heading = CONFIGURATION)]
    pub files: Vec<PathBuf>,
    /// One value, such as `prometheus.retention=30d`; wins over every file.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true, help_heading = CONFIGURATION)]
    pub sets: Vec<String>,
    /// Which set of charts and sizes.
    #[arg(long, value_enum, value_name = "PROFILE", global = true, help_heading = CONFIGURATION)]
    pub profile: Option<ProfileArg>,
    /// Folder whose `alerts/`, `dashboards/`, `docs/runbooks/` and `templates/` replace or add to the built-in files.
    #[arg(long, value_name = "DIR", global = true, help_heading = CONFIGURATION)]
    pub overlay: Option<PathBuf>,
    /// Folder with the upstream charts as archives, for profile `production` (default: the cache, then
    /// where the lock of charts says they are published).
    #[arg(long, value_name = "DIR", global = true, help_heading = CONFIGURATION)]
    pub charts: Option<PathBuf>,
    /// Lock of charts of your own, in place of the built-in one.
    #[arg(long, value_name = "FILE", global = true, help_heading = CONFIGURATION)]
    pub charts_lock: Option<PathBuf>,
    /// Kubeconfig file (default: $KUBECONFIG, then ~/.kube/config).
    #[arg(long, value_name = "FILE", global = true, help_heading = CLUSTER)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "CONTEXT", global = true, help_heading = CLUSTER)]
    pub context: Option<String>,
    /// Namespace of the monitoring stack; the same as `--set namespaces.monitoring=...`.
    #[arg(short = 'n', long, value_name = "NAMESPACE", global = true, help_heading = CLUSTER)]
    pub namespace: Option<String>,
    /// The helm executable (default: the first on PATH).
    #[arg(long, value_name = "PROGRAM", global = true, help_heading = CLUSTER)]
    pub helm: Option<PathBuf>,
    /// Use a throwaway control plane on this machine, started if needed and left up.
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "default",
          global = true, help_heading = CLUSTER, conflicts_with_all = ["kubeconfig", "context"])]
    pub sandbox: Option<String>,
    /// Folder with the sandbox's programs (default: PATH, then what `make tools` built).
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "DIR", global = true, help_heading = CLUSTER)]
    pub tools: Option<PathBuf>,
    /// How to print: `human` or `json` (for `render`: the folder to write to, or `-`; for `validate` also
    /// `sarif`, `github` or `junit`).
    #[arg(short = 'o', long, value_name = "FORMAT", global = true, help_heading = OUTPUT)]
    pub output: Option<String>,
    /// Say less: errors and results only.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,
    /// Say more.
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub verbose: bool,
    /// Plain lines instead of moving progress.
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub no_progress: bool,
}

/// Which set of charts and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// Light embedded charts, one replica each.
    Local,
    /// The upstream charts.
    Production,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write everything a deploy would install, as files.
    #[command(
        after_help = "Examples:\n  drivemaster-mon render -o bundle/     a folder that can be installed by hand\n  \
        drivemaster-mon render -o -           everything on stdout"
    )]
    Render,
    /// Judge rules, dashboards, routes, values and objects offline; 1 when something is wrong.
    #[command(
        after_help = "Examples:\n  drivemaster-mon validate                          what a deploy would install\n  \
        drivemaster-mon validate --overlay mine/ -o github     annotations of a pull request\n  \
        drivemaster-mon validate -o sarif > findings.sarif     for a code host\n  \
        drivemaster-mon validate --rules rules/*.yaml          other people's files"
    )]
    Validate(ValidateArgs),
    /// Show what a deploy would change, and why.
    #[command(
        visible_alias = "diff",
        after_help = "Examples:\n  drivemaster-mon plan\n  drivemaster-mon plan --detailed-exitcode    exit 2 when there are changes\n  \
        drivemaster-mon plan --out plan.json        then: drivemaster-mon deploy --plan plan.json\n  \
        drivemaster-mon plan --only loki,jaeger     of these components alone"
    )]
    Plan(PlanArgs),
    /// Install or upgrade the stack, wait until it is ready, and verify it.
    #[command(
        after_help = "Examples:\n  drivemaster-mon deploy --sandbox\n  drivemaster-mon deploy -f drivemaster-mon.yaml --yes\n  \
        drivemaster-mon deploy --dry-run          the same as `plan`"
    )]
    Deploy(DeployArgs),
    /// Prove that the monitoring works.
    #[command(
        after_help = "Examples:\n  drivemaster-mon verify\n  drivemaster-mon verify --only targets --only rules/healthy\n  \
        drivemaster-mon verify --endpoint prometheus=http://127.0.0.1:9090\n  drivemaster-mon verify --list"
    )]
    Verify(VerifyArgs),
    /// One screen: releases, drift, components, firing alerts.
    #[command(after_help = "Examples:\n  drivemaster-mon status\n  drivemaster-mon status -o json\n  \
        drivemaster-mon status --watch")]
    Status(StatusArgs),
    /// The deploys before: who, when, what changed, how it ended.
    #[command(after_help = "Examples:\n  drivemaster-mon history\n  drivemaster-mon history -o json")]
    History,
    /// Bring back what a former deploy brought about, and verify it.
    #[command(
        after_help = "Examples:\n  drivemaster-mon rollback              to the last verified deploy before the present\n  \
        drivemaster-mon rollback 7 --dry-run  what it would take to bring back record 7 of `history`"
    )]
    Rollback(RollbackArgs),
    /// Where each interface is reached.
    #[command(after_help = "Examples:\n  drivemaster-mon access\n  drivemaster-mon access --show-secrets")]
    Access(AccessArgs),
    /// Open interfaces on local ports.
    #[command(after_help = "Examples:\n  drivemaster-mon port-forward                         all of them\n  \
        drivemaster-mon port-forward grafana prometheus\n  \
        drivemaster-mon port-forward grafana --port grafana=8300")]
    PortForward(PortForwardArgs),
    /// Take the stack away; volumes, namespaces, CRDs and the Grafana Secret stay unless `--all`.
    #[command(
        after_help = "Examples:\n  drivemaster-mon uninstall             shows what goes and what stays, then asks\n  \
        drivemaster-mon uninstall --all --yes"
    )]
    Uninstall(UninstallArgs),
    /// The dashboards as a person sees them.
    #[command(subcommand)]
    Dashboards(DashboardsVerb),
    /// Upstream charts of profile `production`: what is locked, what is published, the archives.
    #[command(subcommand)]
    Charts(ChartsVerb),
    /// Give the stack the credentials it needs; values are never shown.
    #[command(subcommand)]
    Secrets(SecretsVerb),
    /// List every image that a deploy would run; 1 when one has no fixed tag.
    #[command(after_help = "Examples:\n  drivemaster-mon images --profile production\n  \
        drivemaster-mon images -o json                            for a mirror or a scanner\n  \
        drivemaster-mon images --set images.registry=mirror.example.org    also tells those that are not of it")]
    Images,
    /// Work with the configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// A throwaway real control plane on this machine.
    #[cfg(feature = "sandbox")]
    #[command(subcommand)]
    Sandbox(SandboxVerb),
    /// Print the completion script of a shell.
    #[command(after_help = "Example:\n  source <(drivemaster-mon completion bash)")]
    Completion {
        /// The shell.
        shell: Shell,
    },
}
