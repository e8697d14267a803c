//! The way to each program: a URL that was given, or a port-forward that lives as long as the run.

use super::facts::{CannotAsk, Fact, Readiness};
use crate::cluster::forward::{self, Forward, LocalPort, ServicePort};
use crate::error::chain_of;
use crate::event::{Event, Events, Sink};
use crate::stack::{self, Component};
use crate::telemetry::{Alertmanager, Http, HttpError, Limits, Prometheus};
use kube::Client;
use reqwest::Url;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The ways to all components.
pub(super) struct Reach {
    client: Option<Client>,
    namespace: String,
    endpoints: BTreeMap<String, Url>,
    forwards: BTreeMap<&'static str, OnceCell<Forward>>,
    events: Events,
}

/// The way to one program.
pub(super) struct Way<'a> {
    url: Url,
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
        namespace: &str,
        endpoints: BTreeMap<String, Url>,
        events: &Events,
    ) -> Self {
        Reach {
            client,
            namespace: namespace.to_owned(),
            endpoints,
            forwards: stack::COMPONENTS.iter().map(|component| (component.key, OnceCell::new())).collect(),
            events: Arc::new(Quiet(Arc::clone(events))),
        }
    }

    pub(super) async fn to(&self, key: &str) -> Fact<Way<'_>> {
        if let Some(url) = self.endpoints.get(key) {
            return Ok(Way { url: url.clone(), forward: None });
        }
        let (Some(component), Some(cell)) = (stack::component(key), self.forwards.get(key)) else {
            return Err(CannotAsk::lasting(format!("there is no component `{key}`")));
        };
        let Some(client) = &self.client else {
            return Err(CannotAsk::lasting(format!("neither a cluster nor `--endpoint {key}=URL` is given")));
        };
        let Some(port) = port_of(component, &self.namespace) else {
            return Err(CannotAsk::lasting(format!("component `{key}` has no port")));
        };
        let open = || forward::open(client, port, LocalPort::Free, Arc::clone(&self.events));
        let forward =
            cell.get_or_try_init(open).await.map_err(|error| CannotAsk::passing(chain_of(&error).join(": ")))?;
        let url = Url::parse(&format!("http://{}", forward.address()))
            .map_err(|error| CannotAsk::lasting(error.to_string()))?;
        Ok(Way { url, forward: Some(forward) })
    }

    pub(super) async fn ready(&self, component: &Component) -> Fact<Readiness> {
        let way = self.to(component.key).await?;
        let http = Http::new(&way.url, Limits::default()).map_err(client_failed)?;
        http.ready(component.ready_path).await.map_err(|error| way.explain(&error))
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
    pub(super) fn prometheus(&self) -> Fact<Prometheus> {
        Prometheus::new(&self.url, Limits::default()).map_err(client_failed)
    }

    pub(super) fn alertmanager(&self) -> Fact<Alertmanager> {
        Alertmanager::new(&self.url, Limits::default()).map_err(client_failed)
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

fn client_failed(error: anyhow::Error) -> CannotAsk {
    CannotAsk::lasting(chain_of(&error).join(": "))
}

/// The port with the readiness path: the first of the Service, or the health port of its pods.
fn port_of(component: &Component, namespace: &str) -> Option<ServicePort> {
    match component.health_port {
        Some(port) => Some(ServicePort::of_pods(namespace, component.service, port)),
        None => component.ports.first().map(|port| ServicePort::new(namespace, component.service, port.service)),
    }
}
