//! Finds the kubeconfig and connects to the cluster it names.

use crate::cluster::{answer, request};
use crate::error::{Failure, Kind};
use crate::event::Events;
use crate::helm;
use anyhow::Result;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Every request of ours carries this user agent, by which the audit log knows our writes.
pub const USER_AGENT: &str = concat!("drivemaster-mon/", env!("CARGO_PKG_VERSION"));
/// How long a connection to the API server may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Name of the context when the configuration comes from the pod we run in.
const IN_CLUSTER: &str = "in-cluster";

/// Which cluster to connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Kubeconfig file; else the files of the variable `KUBECONFIG`, else `~/.kube/config`, else
    /// the service account of the pod we run in.
    pub kubeconfig: Option<PathBuf>,
    /// Context; else the current one.
    pub context: Option<String>,
}

/// A cluster we are connected to.
#[derive(Clone)]
pub struct Cluster {
    /// The client. Its requests have no deadline of their own (watches and port-forwards use it).
    pub client: kube::Client,
    /// Name of the kubeconfig context, or `in-cluster`.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// Version of the API server, such as `v1.37.2`.
    pub server_version: String,
    kubeconfigs: Vec<PathBuf>,
}

impl Cluster {
    /// A cluster behind `client`, as [`connect`] makes it; for callers that have a client already.
    pub fn new(client: kube::Client, context: &str, server: &str, server_version: &str) -> Self {
        Cluster {
            client,
            context: context.to_owned(),
            server: server.to_owned(),
            server_version: server_version.to_owned(),
            kubeconfigs: Vec::new(),
        }
    }

    /// What helm needs to work on the same cluster.
    pub fn helm_context(&self) -> helm::Context {
        if self.kubeconfigs.is_empty() {
            return helm::Context::default();
        }
        let files = std::env::join_paths(&self.kubeconfigs).unwrap_or_default();
        helm::Context {
            arguments: vec!["--kube-context".to_owned(), self.context.clone()],
            environment: vec![(OsString::from("KUBECONFIG"), files)],
        }
    }
}

/// Connects to the cluster that `options` name and asks for its version. Trouble with it is told to `events` from
/// then on.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when there is no kubeconfig or context, or no answer.
pub async fn connect(options: &ConnectOptions, events: &Events) -> Result<Cluster> {
    let places = places(options, std::env::var_os("KUBECONFIG"), std::env::var_os("HOME"));
    let files: Vec<PathBuf> = places.iter().filter(|place| place.is_file()).cloned().collect();
    let (mut config, context) =
        if files.is_empty() { in_cluster(options, &places)? } else { from_files(options, &files).await? };
    config.headers.push((kube_header("user-agent")?, kube_header(USER_AGENT)?));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Retries are counted and bounded by our own requests.
    config.default_retry = false;
    if config.cluster_url.host().is_some_and(is_loopback) {
        // As kubectl does: a proxy of the environment is never asked for this machine itself.
        config.proxy_url = None;
    }
    let server = config.cluster_url.to_string();
    let client = answer::client(config, Arc::clone(events)).map_err(|error| {
        Failure::new(Kind::CouldNotAsk, format!("cannot use the kubeconfig context `{context}`"))
            .hint("kubectl config view --minify")
            .caused_by(anyhow::anyhow!(request::root_cause(&error)))
    })?;
    let what = format!("reach the cluster `{context}` at `{server}`");
    let version = request::ask_first(&what, || client.apiserver_version()).await?;
    Ok(Cluster { client, context, server, server_version: version.git_version, kubeconfigs: files })
}

/// A header's name or value; ours are constants that always parse.
fn kube_header<T: std::str::FromStr<Err: Into<anyhow::Error>>>(text: &str) -> Result<T> {
    text.parse().map_err(Into::into)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The files a kubeconfig may be in, as kubectl looks for them.
fn places(options: &ConnectOptions, variable: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    if let Some(file) = &options.kubeconfig {
        return vec![file.clone()];
    }
    if let Some(variable) = variable.filter(|variable| !variable.is_empty()) {
        return std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()).collect();
    }
    home.map(|home| Path::new(&home).join(".kube/config")).into_iter().collect()
}

fn in_cluster(options: &ConnectOptions, places: &[PathBuf]) -> Result<(Config, String)> {
    if options.kubeconfig.is_none()
        && options.context.is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok((config, IN_CLUSTER.to_owned()));
    }
    let looked: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
    let looked = if looked.is_empty() { "KUBECONFIG and HOME are not set".to_owned() } else { looked.join(", ") };
    Err(Failure::new(Kind::CouldNotAsk, format!("no kubeconfig found (looked at {looked})"))
        .hint("name one with --kubeconfig or KUBECONFIG, or add --sandbox")
        .into())
}

async fn from_files(options: &ConnectOptions, files: &[PathBuf]) -> Result<(Config, String)> {
    let mut merged = Kubeconfig::default();
    for file in files {
        let unreadable = |error: KubeconfigError| {
            Failure::new(Kind::CouldNotAsk, format!("cannot read the kubeconfig `{}`", file.display()))
                .hint("kubectl config view")
                .caused_by(anyhow::anyhow!(request::root_cause(&error)))
        };
        let next = Kubeconfig::read_from(file).map_err(unreadable)?;
        merged = merged.merge(next).map_err(unreadable)?;
    }
    let names: Vec<String> = merged.contexts.iter().map(|context| context.name.clone()).collect();
    let Some(context) =
        options.context.clone().or_else(|| merged.current_context.clone()).filter(|name| !name.is_empty())
    else {
        return Err(Failure::new(Kind::CouldNotAsk, "the kubeconfig has no current context")
            .hint(format!("name one with --context ({})", listed(&names)))
            .into());
    };
    if !names.contains(&context) {
        return Err(Failure::new(Kind::CouldNotAsk, format!("there is no context `{context}` in the kubeconfig"))
            .hint(format!("nearest: {}", listed(&nearest(&context, names))))
            .into());
    }
    let chosen = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(merged, &chosen).await.map_err(|error| {
        Failure::new(Kind::CouldNotAsk, format!("cannot use the kubeconfig context `{context}`"))
            .hint("kubectl config view --minify")
            .caused_by(anyhow::anyhow!(plain_path(&error.to_string())))
    })?;
    Ok((config, context))
}

/// The same text with paths as we write them: kube puts two kinds of quotes around one.
fn plain_path(text: &str) -> String {
    text.replace("'\"", "`").replace("\"'", "`")
}

/// Up to three of `names`, the most alike first.
fn nearest(wanted: &str, mut names: Vec<String>) -> Vec<String> {
    let likeness = |name: &String| strsim::jaro_winkler(wanted, name);
    names.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)).then_with(|| one.cmp(other)));
    names.truncate(3);
    names
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "it has none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{chain_of, exit_code_of, failure_of};
    use crate::event::Recorder;

    #[test]
    fn the_option_wins_over_the_variable_and_that_over_home() {
        let with = |file: Option<&str>| ConnectOptions { kubeconfig: file.map(PathBuf::from), context: None };
        let variable = Some(OsString::from("/one::/two"));
        let home = Some(OsString::from("/home/jane"));
        assert_eq!(places(&with(Some("/given")), variable.clone(), home.clone()), [PathBuf::from("/given")]);
        assert_eq!(places(&with(None), variable, home.clone()), [PathBuf::from("/one"), PathBuf::from("/two")]);
        assert_eq!(places(&with(None), Some(OsString::new()), home), [PathBuf::from("/home/jane/.kube/config")]);
        assert!(places(&with(None), None, None).is_empty());
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for (host, expected) in
            [("127.0.0.1", true), ("localhost", true), ("[::1]", true), ("10.0.0.1", false), ("example.com", false)]
        {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    fn nobody() -> Events {
        Arc::new(Recorder::default())
    }

    async fn fails(kubeconfig: &str, context: Option<&str>) -> (u8, Vec<String>, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, kubeconfig).unwrap();
        let options = ConnectOptions { kubeconfig: Some(file), context: context.map(str::to_owned) };
        let error = connect(&options, &nobody()).await.err().expect("there is no such cluster");
        let hint = failure_of(&error).and_then(|failure| failure.hint.clone()).unwrap_or_default();
        (exit_code_of(&error), chain_of(&error), hint)
    }

    fn kubeconfig(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: staging\nclusters: [{{name: a, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: a, user: {{}}}}]\ncontexts: [{{name: staging, context: {{cluster: a, user: a}}}}]\n"
        )
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let options = ConnectOptions { kubeconfig: Some("/nonexistent/config".into()), context: None };
        let error = connect(&options, &nobody()).await.err().expect("there is no such file");
        assert_eq!(exit_code_of(&error), 3);
        assert!(error.to_string().contains("`/nonexistent/config`"), "{error}");
    }

    #[tokio::test]
    async fn an_unknown_context_gets_the_nearest_names() {
        let (code, chain, hint) = fails(&kubeconfig("https://127.0.0.1:1"), Some("stagin")).await;
        assert_eq!(code, 3);
        assert!(chain[0].contains("no context `stagin`"), "{chain:?}");
        assert_eq!(hint, "nearest: `staging`");
    }

    #[tokio::test]
    async fn a_malformed_kubeconfig_is_one_clear_failure() {
        for text in ["a: [", "", "contexts: 7", "\u{0}"] {
            assert_eq!(fails(text, None).await.0, 3, "{text}");
        }
    }

    #[tokio::test]
    async fn a_missing_certificate_is_named_by_its_path() {
        let text = kubeconfig("https://127.0.0.1:1', certificate-authority: '/nonexistent/ca.crt");
        let (code, chain, _) = fails(&text, None).await;
        assert_eq!(code, 3);
        assert!(chain[1].contains("`/nonexistent/ca.crt`"), "{chain:?}");
    }

    #[tokio::test]
    async fn a_refused_connection_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (code, chain, _) = fails(&kubeconfig(&format!("https://127.0.0.1:{port}")), None).await;
        assert_eq!(code, 3);
        assert!(chain[0].ends_with("connection refused") && chain[0].contains("`staging`"), "{chain:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_no_api_server_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>").await;
            }
        });
        let (code, chain, _) = fails(&kubeconfig(&format!("http://127.0.0.1:{port}")), None).await;
        assert_eq!(code, 3);
        assert!(chain[0].contains("not that of a Kubernetes API server"), "{chain:?}");
    }

    #[tokio::test]
    async fn helm_gets_the_same_files_and_context() {
        let mut cluster = Cluster::new(unused_client(), "staging", "https://127.0.0.1", "v1.37.2");
        assert_eq!(cluster.helm_context(), helm::Context::default());
        cluster.kubeconfigs = vec!["/one".into(), "/two".into()];
        let context = cluster.helm_context();
        assert_eq!(context.arguments, ["--kube-context", "staging"]);
        assert_eq!(context.environment, [("KUBECONFIG".into(), "/one:/two".into())]);
    }

    fn unused_client() -> kube::Client {
        let (service, _handle) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        kube::Client::new(service, "default")
    }
}
