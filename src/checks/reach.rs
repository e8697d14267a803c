//! The way to each program: a URL that was given, or a port-forward that lives as long as the run.

use super::facts::{CannotAsk, Fact, Readiness};
use crate::cluster::forward::{self, Forward, LocalPort, ServicePort, message_of};
use crate::config::Config;
use crate::config::model::InternalTlsMode;
use crate::error::chain_of;
use crate::event::{Event, Events, Sink};
use crate::stack::{self, Component};
use crate::telemetry::{Alertmanager, Http, HttpError, Jaeger, Limits, Loki, Prometheus, Trust};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use reqwest::Url;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The port of the Collector that takes OTLP over HTTP.
pub(super) const OTLP_HTTP: &str = "otlp-http";

/// The components whose first port has a certificate where there is TLS between the parts of the
/// stack, and with [`OTLP_HTTP`] the Collector.
const WITH_TLS: &[&str] = &["prometheus", "alertmanager", "loki", "jaeger"];

/// The ways to all components.
pub(super) struct Reach {
    client: Option<Client>,
    namespaces: BTreeMap<&'static str, String>,
    internal_tls: bool,
    endpoints: BTreeMap<String, Url>,
    forwards: BTreeMap<(&'static str, &'static str), OnceCell<Forward>>,
    authorities: BTreeMap<&'static str, OnceCell<Vec<u8>>>,
    events: Events,
}

/// The way to one program.
pub(super) struct Way<'a> {
    url: Url,
    trust: Trust,
    forward: Option<&'a Forward>,
}

/// A program that does not answer is a fact to judge here, not a warning.
struct Quiet(Events);

impl Sink for Quiet {
    fn emit(&self, event: Event) {
        self.0.emit(match event {
            Event::Warning { message } => Event::Detail { message },
            other => other,
        });
    }
}

impl Reach {
    pub(super) fn new(
        client: Option<Client>,
        config: &Config,
        endpoints: BTreeMap<String, Url>,
        events: &Events,
    ) -> Self {
        let components = || stack::COMPONENTS.iter();
        Reach {
            client,
            namespaces: components()
                .map(|component| (component.key, config.namespace_of(component.place()).to_owned()))
                .collect(),
            internal_tls: config.security.internal_tls.mode != InternalTlsMode::Off,
            endpoints,
            forwards: components()
                .flat_map(|component| ["", OTLP_HTTP].map(|port| ((component.key, port), OnceCell::new())))
                .collect(),
            authorities: components().map(|component| (component.key, OnceCell::new())).collect(),
            events: Arc::new(Quiet(Arc::clone(events))),
        }
    }

    /// The way to the port with the readiness path of the component `key`.
    pub(super) async fn to(&self, key: &str) -> Fact<Way<'_>> {
        match self.endpoints.get(key) {
            Some(url) => Ok(Way { url: url.clone(), trust: Trust::System, forward: None }),
            None => self.forwarded(key, "").await,
        }
    }

    /// The way to the port of that name, which no `--endpoint` names.
    pub(super) async fn to_port(&self, key: &str, port: &'static str) -> Fact<Way<'_>> {
        self.forwarded(key, port).await
    }

    async fn forwarded(&self, key: &str, port: &'static str) -> Fact<Way<'_>> {
        let Some(component) = stack::component(key) else {
            return Err(CannotAsk::lasting(format!("there is no component `{key}`")));
        };
        let (Some(cell), Some(namespace)) =
            (self.forwards.get(&(component.key, port)), self.namespaces.get(component.key))
        else {
            return Err(CannotAsk::lasting(format!("component `{key}` has no way to its port `{port}`")));
        };
        let Some(client) = &self.client else {
            return Err(CannotAsk::lasting(format!("neither a cluster nor `--endpoint {key}=URL` is given")));
        };
        let Some(service) = port_of(component, port, namespace) else {
            return Err(CannotAsk::lasting(format!("component `{key}` has no port `{port}`")));
        };
        let open = || forward::open(client, service, LocalPort::Free, Arc::clone(&self.events));
        let forward =
            cell.get_or_try_init(open).await.map_err(|error| CannotAsk::passing(chain_of(&error).join(": ")))?;
        let address = forward.address();
        let tls = self.internal_tls && (port == OTLP_HTTP || (port.is_empty() && WITH_TLS.contains(&key)));
        let (url, trust) = if tls {
            let authority = self.authority(client, component, namespace).await?;
            let url = format!("https://{}.{namespace}.svc:{}", component.service, address.port());
            (url, Trust::Authority { authority, address })
        } else if component.ports.first().is_some_and(|port| port.name == "https") {
            (format!("https://{address}"), Trust::Any)
        } else {
            (format!("http://{address}"), Trust::System)
        };
        let url = Url::parse(&url).map_err(|error| CannotAsk::lasting(error.to_string()))?;
        Ok(Way { url, trust, forward: Some(forward) })
    }

    /// The authority that signed the certificate of `component`.
    async fn authority(&self, client: &Client, component: &Component, namespace: &str) -> Fact<Vec<u8>> {
        let name = format!("{}-internal-tls", component.service);
        let read = async || {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let secret = secrets.get(&name).await.map_err(|error| {
                CannotAsk::lasting(format!("cannot read Secret `{namespace}/{name}`: {}", message_of(&error)))
            })?;
            let found = secret.data.and_then(|mut data| data.remove("ca.crt"));
            found
                .map(|found| found.0)
                .ok_or_else(|| CannotAsk::lasting(format!("Secret `{namespace}/{name}` has no key `ca.crt`")))
        };
        match self.authorities.get(component.key) {
            Some(cell) => cell.get_or_try_init(read).await.cloned(),
            None => read().await,
        }
    }

    pub(super) async fn ready(&self, component: &Component) -> Fact<Readiness> {
        let way = self.to(component.key).await?;
        way.http()?.ready(component.ready_path).await.map_err(|error| way.explain(&error))
    }

    pub(super) async fn close(self) {
        for cell in self.forwards.into_values() {
            if let Some(forward) = cell.into_inner() {
                forward.close().await;
            }
        }
    }
}

impl Way<'_> {
    pub(super) fn http(&self) -> Fact<Http> {
        Http::trusting(&self.url, Limits::default(), &self.trust)
            .map_err(|error| CannotAsk::lasting(chain_of(&error).join(": ")))
    }

    pub(super) fn prometheus(&self) -> Fact<Prometheus> {
        self.http().map(Prometheus::over)
    }

    pub(super) fn alertmanager(&self) -> Fact<Alertmanager> {
        self.http().map(Alertmanager::over)
    }

    pub(super) fn loki(&self) -> Fact<Loki> {
        self.http().map(Loki::over)
    }

    pub(super) fn jaeger(&self) -> Fact<Jaeger> {
        self.http().map(Jaeger::over)
    }

    /// Why a question through this way has no answer.
    pub(super) fn explain(&self, error: &HttpError) -> CannotAsk {
        // Through a forward every failure looks like a closed connection; the forward knows why.
        let why = self.forward.filter(|_| matches!(error, HttpError::Unreachable(_))).and_then(Forward::last_error);
        let reason = match (why, self.forward) {
            (Some(why), _) => why,
            (None, Some(_)) => error.to_string(),
            (None, None) => format!("`{}`: {error}", self.url.host_str().unwrap_or_default()),
        };
        match error {
            HttpError::Malformed(_) | HttpError::TooLarge(_) => CannotAsk::lasting(reason),
            _ => CannotAsk::passing(reason),
        }
    }
}

/// The port of that name; without a name the one with the readiness path: the first of the Service,
/// or the health port of its pods.
fn port_of(component: &Component, name: &str, namespace: &str) -> Option<ServicePort> {
    let of_service = |port: &stack::Port| ServicePort::new(namespace, component.service, port.service);
    match component.health_port {
        _ if !name.is_empty() => component.ports.iter().find(|port| port.name == name).map(of_service),
        Some(port) => Some(ServicePort::of_pods(namespace, component.service, port)),
        None => component.ports.first().map(of_service),
    }
}
