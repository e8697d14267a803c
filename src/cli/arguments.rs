//! The arguments of each verb.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The longest time that an option takes, in seconds: a week. Helm and the clock end somewhere above it.
const LONGEST: u64 = 7 * 24 * 60 * 60;

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Judge these files of rules and nothing of ours; also PrometheusRule objects.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub rules: Vec<PathBuf>,
    /// Judge the dashboards in this folder and nothing of ours.
    #[arg(long, value_name = "DIR")]
    pub dashboards: Vec<PathBuf>,
    /// Metrics besides the built-in ones; with `--rules` or `--dashboards`, all that these files may ask for.
    #[arg(long, value_name = "FILE")]
    pub contract: Option<PathBuf>,
    /// The lightest finding that fails the run.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "error")]
    pub fail_on: SeverityArg,
    /// Leave out findings of this kind or category, such as `promql/short-range`.
    #[arg(long, value_name = "KIND")]
    pub skip: Vec<String>,
    /// List the kinds of findings and stop.
    #[arg(long, conflicts_with_all = ["rules", "dashboards", "contract", "skip"])]
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

/// Which components a plan is about.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// Only these components, such as `loki,jaeger`, with what they need; nothing is taken away.
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Not these components.
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',')]
    pub skip: Vec<String>,
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
    /// What it is about.
    #[command(flatten)]
    pub limit: LimitArgs,
}

/// How a change of the cluster is made.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Stop after everything is ready.
    #[arg(long)]
    pub no_verify: bool,
    /// Wait until another deploy is done, instead of refusing.
    #[arg(long)]
    pub wait_lock: bool,
    /// How long applying and waiting may take, whatever `deploy.timeoutSeconds` and `deploy.releaseTimeouts` say;
    /// verifying has a timeout of its own.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    pub timeout: Option<u64>,
    /// How long a cause that may heal must hold before the wait ends.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=LONGEST))]
    pub fail_after: Option<u64>,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The record to bring back (default: the last verified one before the present).
    #[arg(value_name = "NUMBER")]
    pub number: Option<u64>,
    /// Only show the plan.
    #[arg(long)]
    pub dry_run: bool,
    /// How it is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// Only show the plan.
    #[arg(long)]
    pub dry_run: bool,
    /// Exit 2 when there are changes; with `--dry-run`.
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    /// Carry out the plan of this file, which `plan --out` made; refuse (5) when the cluster moved since.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "only", "skip"])]
    pub plan: Option<PathBuf>,
    /// What it is about.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What becomes of a deploy that fails: what it did stays; is put back to the last verified one; or is put
    /// back and what it installed for the first time is taken away (never volumes, CRDs and namespaces).
    #[arg(long, value_enum, value_name = "WAY", default_value = "keep")]
    pub on_failure: OnFailure,
    /// How it is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// What becomes of a deploy that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// It stays as it is.
    Keep,
    /// It is put back to the last verified record.
    Rollback,
    /// And what it made for the first time is taken away.
    Remove,
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
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=LONGEST))]
    pub timeout: Option<u64>,
    /// List the checks and stop.
    #[arg(long)]
    pub list: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Look again every few seconds: on a terminal the screen is drawn anew, elsewhere each change is a line (with
    /// `-o json` each look).
    #[arg(long)]
    pub watch: bool,
    /// How many seconds lie between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    pub interval: u64,
}

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
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    pub timeout: Option<u64>,
}

/// Arguments of `charts lock`.
#[derive(Debug, Args)]
pub struct ChartsLockArgs {
    /// The file to write (default: stdout).
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// How long one repository may take.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
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
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
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
    Up(SandboxUp),
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

/// Arguments of `sandbox up`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxUp {
    /// Which.
    #[command(flatten)]
    pub sandbox: SandboxName,
    /// How long pods take to start, as in a cluster that pulls their images; those of real programs start by
    /// themselves.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=600))]
    pub pods_start_after: u64,
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
