//! The command line, as clap reads it. Types only.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// Where the words of `--help` that belong together stand.
const CONFIGURATION: &str = "Configuration";
const CLUSTER: &str = "Cluster";
const OUTPUT: &str = "Output";

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
    /// Folder whose `alerts/`, `dashboards/` and `templates/` replace or add to the built-in files.
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
        drivemaster-mon plan --out plan.json        then: drivemaster-mon deploy --plan plan.json"
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
    /// One screen: releases, components, firing alerts.
    #[command(after_help = "Examples:\n  drivemaster-mon status\n  drivemaster-mon status -o json")]
    Status(StatusArgs),
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

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Judge these files of rules and nothing of ours; also PrometheusRule objects.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub rules: Vec<PathBuf>,
    /// Judge the dashboards in this folder and nothing of ours.
    #[arg(long, value_name = "DIR")]
    pub dashboards: Vec<PathBuf>,
    /// Contract that is about the files of `--rules` and `--dashboards`: what it does not have is an error.
    #[arg(long, value_name = "FILE")]
    pub contract: Option<PathBuf>,
    /// The lightest finding that fails the run.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "error")]
    pub fail_on: SeverityArg,
    /// Leave out findings of this kind or category, such as `promql/short-range`.
    #[arg(long, value_name = "KIND")]
    pub skip: Vec<String>,
    /// List the kinds of findings and stop.
    #[arg(long)]
    pub list: bool,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeverityArg {
    /// Cannot work, or not as it was meant.
    Error,
    /// Probably not what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Exit 2 when there are changes.
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Also write the plan to a file, which `deploy --plan` carries out exactly or not at all.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Only show the plan.
    #[arg(long)]
    pub dry_run: bool,
    /// Exit 2 when there are changes; with `--dry-run`.
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    /// Stop after everything is ready.
    #[arg(long)]
    pub no_verify: bool,
    /// Carry out the plan of this file, which `plan --out` made; refuse (5) when the cluster moved since.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub plan: Option<PathBuf>,
    /// Wait until another deploy is done, instead of refusing.
    #[arg(long)]
    pub wait_lock: bool,
    /// How long applying and waiting may take; verifying has a timeout of its own.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// How long a cause that may heal must hold before the wait ends.
    #[arg(long, value_name = "SECONDS")]
    pub fail_after: Option<u64>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only these checks or categories.
    #[arg(long, value_name = "CHECK")]
    pub only: Vec<String>,
    /// Not these checks or categories.
    #[arg(long, value_name = "CHECK")]
    pub skip: Vec<String>,
    /// Reach a component at a URL instead of through the API server, such as `prometheus=http://...`.
    #[arg(long = "endpoint", value_name = "COMPONENT=URL")]
    pub endpoints: Vec<String>,
    /// How long checks that need a first scrape or evaluation are asked again.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// List the checks and stop.
    #[arg(long)]
    pub list: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Arguments of `access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Print Grafana's password.
    #[arg(long)]
    pub show_secrets: bool,
}

/// Arguments of `port-forward`.
#[derive(Debug, Args)]
pub struct PortForwardArgs {
    /// Components, such as `grafana`; none means all.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Another local port, such as `grafana=8300`.
    #[arg(long = "port", value_name = "SERVICE=PORT")]
    pub ports: Vec<String>,
}

/// Arguments of `uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Also remove volumes, generated Secrets and namespaces.
    #[arg(long)]
    pub all: bool,
    /// Wait until another deploy is done, instead of refusing.
    #[arg(long)]
    pub wait_lock: bool,
}

/// The verbs of `dashboards`.
#[derive(Debug, Subcommand)]
pub enum DashboardsVerb {
    /// Draw every panel of every dashboard, with what Prometheus answers now, into one HTML page.
    #[command(after_help = "Examples:\n  drivemaster-mon dashboards preview --sandbox --range 15m\n  \
        drivemaster-mon dashboards preview --overlay team --out team.html    before they are deployed")]
    Preview(PreviewArgs),
}

/// Arguments of `dashboards preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Where the page is written (default: `dashboards.html` here).
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How far back, such as `30m` (default: as far as each dashboard looks when it is opened).
    #[arg(long, value_name = "DURATION")]
    pub range: Option<String>,
    /// Reach Prometheus at a URL instead of through the API server: `prometheus=http://...`.
    #[arg(long = "endpoint", value_name = "COMPONENT=URL")]
    pub endpoints: Vec<String>,
}

/// The verbs of `charts`.
#[derive(Debug, Subcommand)]
pub enum ChartsVerb {
    /// The charts of the lock.
    #[command(after_help = "Examples:\n  drivemaster-mon charts list\n  \
        drivemaster-mon charts list --outdated       asks the repositories for newer versions")]
    List(ChartsListArgs),
    /// Write the lock with the digest of every archive, as its repository has it now.
    #[command(after_help = "Examples:\n  drivemaster-mon charts lock --to my.lock.yaml\n  \
        drivemaster-mon charts lock --charts DIR --to my.lock.yaml    of archives at hand\n  \
        drivemaster-mon deploy --charts-lock my.lock.yaml             refuses any other archive")]
    Lock(ChartsLockArgs),
    /// Get the archives, into the cache or a folder, such as for a place without a network.
    #[command(after_help = "Examples:\n  drivemaster-mon charts pull --to charts/\n  \
        drivemaster-mon deploy --profile production --charts charts/")]
    Pull(ChartsPullArgs),
}

/// Arguments of `charts list`.
#[derive(Debug, Args)]
pub struct ChartsListArgs {
    /// Ask the repositories for newer versions.
    #[arg(long)]
    pub outdated: bool,
    /// How long one repository may take.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// Arguments of `charts lock`.
#[derive(Debug, Args)]
pub struct ChartsLockArgs {
    /// The file to write (default: stdout).
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// How long one repository may take.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// Arguments of `charts pull`.
#[derive(Debug, Args)]
pub struct ChartsPullArgs {
    /// Charts, such as `loki`; none means all of the lock.
    #[arg(value_name = "CHART")]
    pub names: Vec<String>,
    /// The folder to write them to (default: the cache alone).
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// How long one repository may take.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// The verbs of `secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsVerb {
    /// Every Secret and key that the configuration needs: what for, and whether it is there.
    #[command(after_help = "Examples:\n  drivemaster-mon secrets list --profile production\n  \
        drivemaster-mon secrets list -o json")]
    List,
    /// Store a value under a key: from a variable, a file or standard input, else asked for without echo.
    #[command(
        after_help = "Examples:\n  drivemaster-mon secrets set slack-webhook-url                 asks for it\n  \
        drivemaster-mon secrets set slack-webhook-url --from-env SLACK_WEBHOOK_URL\n  \
        drivemaster-mon secrets set grafana-tls/tls.key --from-file grafana.key\n  \
        vault read -field=dsn secret/pg | drivemaster-mon secrets set postgres-exporter-dsn\n  \
        drivemaster-mon secrets set kafka-exporter-sasl               asks for each of its keys\n\n\
        A value is never an argument: arguments can be seen by every user of the machine."
    )]
    Set(SecretsSetArgs),
    /// Judge the form of every value that is stored; exit 1 when one is missing or malformed.
    #[command(after_help = "Example:\n  drivemaster-mon secrets check && drivemaster-mon deploy --yes")]
    Check,
}

/// Arguments of `secrets set`.
#[derive(Debug, Args)]
pub struct SecretsSetArgs {
    /// A key, the name of a Secret (all its keys), or `SECRET/KEY`; `secrets list` shows them.
    #[arg(value_name = "SECRET|KEY", required = true)]
    pub names: Vec<String>,
    /// Environment variable that holds the value.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "from_file")]
    pub from_env: Option<String>,
    /// File that holds the value.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}

/// The verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the resolved configuration as YAML.
    Show,
    /// Print the JSON Schema of a configuration file.
    Schema,
}

/// The verbs of `sandbox`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Subcommand)]
pub enum SandboxVerb {
    /// Start a sandbox and return once it is ready.
    Up(SandboxName),
    /// What runs in a sandbox.
    Status(SandboxName),
    /// Run a command against a sandbox, with KUBECONFIG and PATH set.
    #[command(after_help = "Examples:\n  drivemaster-mon sandbox run -- kubectl get pods -A\n  \
        drivemaster-mon sandbox run --ephemeral -- ./my-test.sh    up, run, down in one")]
    Run(SandboxRun),
    /// Take a sandbox away.
    Down(SandboxName),
    /// List the sandboxes.
    List,
    /// Change what the simulated platform does.
    #[command(subcommand)]
    Scenario(ScenarioVerb),
}

/// Which sandbox.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxName {
    /// Name of the sandbox (default: that of `--sandbox`, else `default`).
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `sandbox run`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxRun {
    /// Start a sandbox of its own for the command, and take it away afterwards.
    #[arg(long)]
    pub ephemeral: bool,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// What `sandbox scenario set` takes; a test holds it against the table of scenarios.
#[cfg(feature = "sandbox")]
const SCENARIOS: &str = "\
Scenarios; what stands in brackets may be left out:
  errors SERVICE [PERCENT%]
  latency SERVICE [MILLISECONDSms]
  down SERVICE|EXPORTER
  instance-down SERVICE
  database-down EXPORTER
  memory SERVICE|redis|node [PERCENT%]
  cpu SERVICE|node [PERCENT%]
  load [LOAD]
  disk [node|elasticsearch] [PERCENT%]
  connections postgresql|redis [PERCENT%]
  cache-misses postgresql|redis [PERCENT%]
  replication-lag [SECONDSs]
  kafka-lag [MESSAGES]
  elasticsearch-red
  effectiveness-low [SCORE]
  engagement-low [SECONDSs]
Several hold at once; docs/scenarios.md says what each does.

Examples:
  drivemaster-mon sandbox scenario set errors user-service 8%
  drivemaster-mon sandbox scenario set down content-service
  drivemaster-mon sandbox scenario set kafka-lag";

/// The verbs of `sandbox scenario`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Subcommand)]
pub enum ScenarioVerb {
    /// Start a scenario, such as `errors user-service 8%` or `down content-service`.
    #[command(after_help = SCENARIOS)]
    Set {
        /// The scenario.
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
    },
    /// End every scenario, or the one that is named, such as `errors user-service`.
    Clear {
        /// The scenario, with or without its amount.
        #[arg(value_name = "WORD")]
        words: Vec<String>,
    },
    /// The scenarios that are on.
    List,
}
