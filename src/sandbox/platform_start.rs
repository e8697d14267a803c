//! Brings the simulated platform into a sandbox: which parts of it, on which ports, as which objects.

use super::control_plane::{Ports, loopback};
use super::network::tls::Identity;
use super::network::{NetworkOptions, SimulatedPort};
use super::objects::{plain, until};
use super::pki::Pki;
use super::platform::{Scenario, Simulator, workloads};
use super::state::Folder;
use crate::config::model::{Config, ExporterMode, PlatformService};
use crate::stack::{EXPORTERS, Exporter};
use anyhow::{Result, anyhow};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The traffic is the same in every sandbox.
const SEED: u64 = 1;
/// Field manager of what the sandbox itself applies.
const FIELD_MANAGER: &str = "drivemaster-mon-sandbox";
/// How long the platform's pods may take to run.
const DEADLINE: Duration = Duration::from_secs(60);

/// The part of a configuration that a sandbox is made for: with another one it is another sandbox.
pub(super) fn platform_of(config: &Config) -> Value {
    json!({"namespace": config.namespaces.platform, "platform": config.platform})
}

/// The part of the platform that is simulated.
pub(super) struct Platform {
    pub(super) namespace: String,
    pub(super) simulator: Arc<Simulator>,
    services: Vec<PlatformService>,
    exporters: Vec<&'static Exporter>,
}

impl Platform {
    /// The platform of `config`: its services, and the exporters that a deploy expects to exist.
    ///
    /// # Errors
    /// Only when an embedded file is broken.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let services = config.platform.services.clone();
        let of_mode =
            |mode: ExporterMode| EXPORTERS.iter().filter(move |exporter| config.exporter_mode(exporter.key) == mode);
        let exporters: Vec<&'static Exporter> = of_mode(ExporterMode::Existing).collect();
        let namespace = config.namespaces.platform.clone();
        // What a deploy brings has pods of its own; the databases behind it are simulated all the same.
        let simulated = exporters.iter().copied().chain(of_mode(ExporterMode::Deployed)).collect();
        let simulator = Arc::new(Simulator::new(services.clone(), simulated, &namespace, SEED)?);
        Ok(Platform { namespace, simulator, services, exporters })
    }

    /// How the network reaches it.
    pub(super) fn network(&self, folder: &Folder, ports: &Ports, pki: &Pki) -> NetworkOptions {
        let services = self.services.iter().map(|service| (service.name.as_str(), service.port));
        let exporters = self.exporters.iter().map(|exporter| (exporter.service, exporter.port));
        NetworkOptions {
            socket: folder.egress_socket(),
            api_server: loopback(ports.api_server),
            kwok: loopback(ports.kwok),
            real: ports.listening(),
            simulated: services
                .chain(exporters)
                .map(|(service, port)| SimulatedPort { service: service.to_owned(), port })
                .collect(),
            namespace: self.namespace.clone(),
            simulator: self.simulator.clone(),
            kubelet: Some(Identity { certificate: pki.certificate("kubelet"), key: pki.key("kubelet") }),
            node: Some(Identity { certificate: pki.certificate("kwok"), key: pki.key("kwok") }),
            programs: folder.behind(),
        }
    }

    /// Applies its workloads and waits until their pods run. Gives how many do.
    ///
    /// # Errors
    /// When the API server refuses an object, or after a minute, with the reason last seen.
    pub(super) async fn apply(&self, client: &Client) -> Result<i32> {
        apply(client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})).await?;
        let manifests = workloads(&self.services, &self.exporters, &self.namespace)?;
        futures::future::try_join_all(manifests.into_iter().map(|manifest| apply(client, manifest.0))).await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        until("the platform's pods do not run", Instant::now() + DEADLINE, async || {
            let list = deployments.list(&ListParams::default()).await.map_err(|error| plain(&error))?;
            let pods = list.items.iter().map(pods_of).collect::<Result<Vec<i32>, String>>()?;
            Ok(pods.iter().sum())
        })
        .await
    }

    /// The scenarios that are on, in the person's words.
    pub(super) fn scenarios(&self) -> Vec<String> {
        self.simulator.scenarios().iter().map(ToString::to_string).collect()
    }

    /// Turns on the scenario that `words` name.
    ///
    /// # Errors
    /// When they name none of this platform.
    pub(super) fn set_scenario(&self, words: &[String]) -> Result<()> {
        self.simulator.set_scenario(self.scenario(words)?)
    }

    /// Turns off the scenario that `words` name, or every one where there are no words.
    ///
    /// # Errors
    /// When they name none that is on.
    pub(super) fn clear_scenarios(&self, words: &[String]) -> Result<()> {
        if words.is_empty() {
            self.simulator.clear();
            return Ok(());
        }
        self.simulator.clear_one(&self.scenario(words)?)
    }

    fn scenario(&self, words: &[String]) -> Result<Scenario> {
        let services: Vec<String> = self.services.iter().map(|service| service.name.clone()).collect();
        Scenario::parse(words, &services)
    }
}

/// How many pods of a Deployment are available; an error names what is missing.
fn pods_of(deployment: &Deployment) -> Result<i32, String> {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    if available >= wanted {
        return Ok(available);
    }
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    Err(format!("{available} of {wanted} pods of `{name}` are available"))
}

/// Applies one object.
pub(super) async fn apply(client: &Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let name = object.metadata.name.clone().unwrap_or_default();
    let types = object.types.clone().unwrap_or_default();
    let kind = GroupVersionKind::try_from(&types).map_err(|error| anyhow!("`{name}` has no kind: {error}"))?;
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.patch(&name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(&object))
        .await
        .map(|_| ())
        .map_err(|error| anyhow!("cannot apply the {} `{name}`: {}", kind.kind, plain(&error)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_runs_when_all_its_pods_are_available() {
        let deployment = |replicas: i32, available: Option<i32>| -> Deployment {
            let status = available.map_or_else(|| json!({}), |count| json!({"availableReplicas": count}));
            serde_json::from_value(
                json!({"metadata": {"name": "d"}, "spec": {"replicas": replicas, "selector": {}, "template": {}}, "status": status}),
            )
            .unwrap()
        };
        assert_eq!(pods_of(&deployment(2, Some(2))), Ok(2));
        assert_eq!(pods_of(&deployment(0, None)), Ok(0));
        assert_eq!(pods_of(&deployment(2, Some(1))), Err("1 of 2 pods of `d` are available".to_owned()));
        assert_eq!(pods_of(&deployment(1, None)), Err("0 of 1 pods of `d` are available".to_owned()));
    }
}
