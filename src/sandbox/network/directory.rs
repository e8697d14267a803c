//! What the sandbox's network knows, and the one question it answers: who is `host:port`? Pure.

use super::pod::holder;
use super::program::{Listening, Program, program_of};
use crate::sandbox::stand_in::{StandIn, stand_ins_of};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port of a Service of the platform whose pods the simulator speaks for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SimulatedPort {
    /// Name of the Service.
    pub service: String,
    /// Port of its pods.
    pub port: u16,
}

/// What stands where on loopback.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Where the API server listens, which is what Service `default/kubernetes` leads to.
    pub api_server: SocketAddr,
    /// Where kwok answers for its nodes.
    pub kwok: SocketAddr,
    /// Where the real programs listen.
    pub real: Listening,
    /// What the simulator speaks for.
    pub simulated: Vec<SimulatedPort>,
    /// Namespace of the simulated Services.
    pub namespace: String,
}

/// Who asks for the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The API server, for a node, a pod, or a Service (service proxy, webhooks).
    Dial,
    /// Prometheus or Alertmanager: pods only where an EndpointSlice lists them.
    Scrape,
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Destination {
    /// A program on loopback.
    Address(SocketAddr),
    /// The simulator, for this pod.
    Simulated {
        /// Service that the pod belongs to.
        service: String,
        /// Name of the pod.
        pod: String,
    },
    /// Made-up pages, for this pod that no program runs behind.
    StandIn {
        /// Which pages.
        stand_in: StandIn,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// Port of the pod.
        port: u16,
    },
    /// The simulated kubelet of this node.
    Kubelet {
        /// Name of the node.
        node: String,
    },
}

/// Name that prometheus-operator gives the port of a kubelet that serves its metrics.
const KUBELET_PORT: &str = "https-metrics";

#[derive(Debug)]
struct PodEntry {
    namespace: String,
    name: String,
    program: Option<Program>,
    stand_ins: BTreeMap<u16, StandIn>,
    ip: Option<IpAddr>,
}

#[derive(Debug)]
struct ServiceEntry {
    cluster_ip: Option<IpAddr>,
    headless: bool,
    /// Name of the port by its number.
    ports: BTreeMap<u16, String>,
}

/// One address and port that an EndpointSlice lists.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    namespace: String,
    service: String,
    ip: IpAddr,
    port: u16,
    port_name: String,
    ready: bool,
    hostname: Option<String>,
    /// Namespace and name of the pod.
    pod: Option<(String, String)>,
    /// Name of the node, where the address is a node's.
    node: Option<String>,
}

/// The pods, Services and endpoints of one moment.
#[derive(Debug)]
pub struct Directory {
    layout: Layout,
    pods: Vec<PodEntry>,
    services: BTreeMap<(String, String), ServiceEntry>,
    endpoints: Vec<Endpoint>,
    /// Index into `pods` of the pod that each program stands behind.
    holders: BTreeMap<Program, usize>,
}

impl Directory {
    /// A directory of what the API server holds.
    pub fn new(layout: Layout, pods: &[Arc<Pod>], services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Self {
        // A finished pod's address may belong to another one by now.
        let live: Vec<&Pod> = pods.iter().map(AsRef::as_ref).filter(|pod| !is_finished(pod)).collect();
        let holders = Program::ALL.into_iter().filter_map(|program| {
            let holder = holder(program, live.iter().copied())?;
            let index = live.iter().position(|pod| std::ptr::eq(*pod, holder))?;
            Some((program, index))
        });
        let mut endpoints: Vec<Endpoint> = slices.iter().flat_map(|slice| endpoints_of(slice)).collect();
        // The same choice every time, whatever order the API server lists them in.
        endpoints.sort();
        Directory {
            holders: holders.collect(),
            pods: live.iter().map(|pod| pod_entry(pod)).collect(),
            services: services.iter().map(|service| service_entry(service)).collect(),
            endpoints,
            layout,
        }
    }

    /// Where a connection to `host:port` goes.
    ///
    /// # Errors
    /// One line for people that says why there is no way.
    pub fn resolve(&self, host: &str, port: u16, purpose: Purpose) -> Result<Destination, String> {
        let found = self.resolve_any(host, port, purpose)?;
        match found {
            // Made-up pages are for scrapes: whoever asks for the program itself learns that there is none.
            Destination::StandIn { namespace, pod, port, .. } if purpose == Purpose::Dial => {
                Err(format!("no program runs behind pod {namespace}/{pod} port {port} in the sandbox"))
            }
            found => Ok(found),
        }
    }

    /// Where a connection to the port of a Service goes, by its namespace and name; the port by its
    /// number or its name.
    ///
    /// # Errors
    /// One line for people that says why there is no way.
    pub fn resolve_named(&self, service: &(String, String), port: &str) -> Result<Destination, String> {
        let known = self.services.get(service).map(|known| &known.ports);
        let mut ports = known.into_iter().flatten();
        let number = ports.find(|(number, name)| *name == port || number.to_string() == port);
        let (namespace, name) = service;
        let (number, _) = number.ok_or_else(|| format!("Service {namespace}/{name} has no port {port}"))?;
        self.resolve_service(namespace, name, None, *number)
    }

    fn resolve_any(&self, host: &str, port: u16, purpose: Purpose) -> Result<Destination, String> {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.resolve_address(ip, port, purpose);
        }
        if purpose == Purpose::Dial && port == self.layout.kwok.port() && host == "localhost" {
            return Ok(Destination::Address(self.layout.kwok));
        }
        let name = parse_service_name(host)
            .ok_or_else(|| format!("{host} is outside the sandbox: it knows pods and Services only"))?;
        self.resolve_service(name.namespace, name.service, name.hostname, port)
    }

    /// The name that `host` is short for, for who asks from `namespace`: a pod's resolver tries its
    /// own namespace, then the cluster's.
    pub fn qualified(&self, host: &str, namespace: &str) -> String {
        let known =
            |namespace: &str, service: &str| self.services.contains_key(&(namespace.to_owned(), service.to_owned()));
        match host.split_once('.') {
            None if known(namespace, host) => format!("{host}.{namespace}.svc"),
            Some((service, namespace)) if known(namespace, service) => format!("{host}.svc"),
            _ => host.to_owned(),
        }
    }

    /// The program that stands behind the pod `namespace`/`name`.
    pub fn program_behind(&self, namespace: &str, name: &str) -> Option<Program> {
        let is_pod = |pod: &PodEntry| pod.namespace == namespace && pod.name == name;
        let mut holders = self.holders.iter().filter(|(program, _)| self.layout.real.contains_key(program));
        holders.find(|(_, index)| self.pods.get(**index).is_some_and(is_pod)).map(|(program, _)| *program)
    }

    /// The first pod of the simulated Service, by address.
    pub fn first_pod(&self, service: &str, port: u16) -> Option<&str> {
        let mut endpoints = self.endpoints.iter();
        let endpoint = endpoints.find(|endpoint| {
            endpoint.namespace == self.layout.namespace && endpoint.service == service && endpoint.port == port
        })?;
        endpoint.pod.as_ref().map(|(_, name)| name.as_str())
    }

    fn resolve_address(&self, ip: IpAddr, port: u16, purpose: Purpose) -> Result<Destination, String> {
        let listing: Vec<&Endpoint> =
            self.endpoints.iter().filter(|endpoint| endpoint.ip == ip && endpoint.port == port).collect();
        // The API server and the kubelets have addresses of nodes.
        if listing.iter().any(|endpoint| (&*endpoint.namespace, &*endpoint.service) == ("default", "kubernetes")) {
            return Ok(Destination::Address(self.layout.api_server));
        }
        let mut kubelets = listing.iter().filter(|endpoint| endpoint.port_name == KUBELET_PORT);
        if let Some(node) = kubelets.find_map(|endpoint| endpoint.node.clone()) {
            return Ok(Destination::Kubelet { node });
        }
        let pod = match listing.iter().find_map(|endpoint| endpoint.pod.as_ref()) {
            Some((namespace, name)) => self.pods.iter().find(|pod| pod.namespace == *namespace && pod.name == *name),
            None => self.pods.iter().find(|pod| pod.ip == Some(ip)),
        };
        if let Some(pod) = pod {
            if purpose == Purpose::Scrape && listing.is_empty() {
                return Err(format!("no EndpointSlice lists {ip}:{port} (pod {}/{})", pod.namespace, pod.name));
            }
            return self.behind(pod, port, &listing);
        }
        let mut services = self.services.iter();
        if let Some(((namespace, name), _)) = services.find(|(_, service)| service.cluster_ip == Some(ip)) {
            return self.resolve_service(namespace, name, None, port);
        }
        // What is left are addresses of nodes, all of which kwok answers for.
        if purpose == Purpose::Dial && port == self.layout.kwok.port() {
            return Ok(Destination::Address(self.layout.kwok));
        }
        Err(format!("no pod or Service of the sandbox has the address {ip}"))
    }

    fn resolve_service(
        &self,
        namespace: &str,
        name: &str,
        hostname: Option<&str>,
        port: u16,
    ) -> Result<Destination, String> {
        let key = (namespace.to_owned(), name.to_owned());
        let service =
            self.services.get(&key).ok_or_else(|| format!("there is no Service {namespace}/{name} in the sandbox"))?;
        let port_name = service.ports.get(&port);
        // The sandbox's API server has no address that an EndpointSlice may list.
        if (namespace, name) == ("default", "kubernetes") && port_name.is_some() {
            return Ok(Destination::Address(self.layout.api_server));
        }
        // The name of a headless Service leads to its pods, whose ports it does not translate.
        if port_name.is_none() && !service.headless {
            return Err(format!("Service {namespace}/{name} has no port {port}"));
        }
        let ready = self.endpoints.iter().find(|endpoint| {
            endpoint.namespace == namespace
                && endpoint.service == name
                && endpoint.ready
                && (hostname.is_none() || endpoint.hostname.as_deref() == hostname)
                && if service.headless { endpoint.port == port } else { Some(&endpoint.port_name) == port_name }
        });
        let endpoint =
            ready.ok_or_else(|| format!("Service {namespace}/{name} has no ready endpoint for port {port}"))?;
        self.resolve_address(endpoint.ip, endpoint.port, Purpose::Scrape)
    }

    /// What stands behind `port` of `pod`, which `listing` gives to its Services.
    fn behind(&self, pod: &PodEntry, port: u16, listing: &[&Endpoint]) -> Result<Destination, String> {
        if let Some(program) = pod.program
            && let Some(address) = self.layout.real.get(&program).and_then(|ports| ports.get(&port))
        {
            return match self.holders.get(&program).and_then(|index| self.pods.get(*index)) {
                Some(holder) if std::ptr::eq(holder, pod) => Ok(Destination::Address(*address)),
                Some(holder) => Err(format!(
                    "no program runs behind pod {}/{}: the sandbox has one {}, behind pod {}/{}",
                    pod.namespace,
                    pod.name,
                    program.title(),
                    holder.namespace,
                    holder.name
                )),
                None => Err(format!("pod {}/{} does not run", pod.namespace, pod.name)),
            };
        }
        let simulated = listing.iter().find(|endpoint| {
            endpoint.namespace == self.layout.namespace
                && self
                    .layout
                    .simulated
                    .iter()
                    .any(|port| port.service == endpoint.service && port.port == endpoint.port)
        });
        if let Some(endpoint) = simulated {
            return Ok(Destination::Simulated { service: endpoint.service.clone(), pod: pod.name.clone() });
        }
        match pod.stand_ins.get(&port) {
            Some(stand_in) => Ok(Destination::StandIn {
                stand_in: *stand_in,
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                port,
            }),
            None => {
                Err(format!("no program runs behind pod {}/{} port {port} in the sandbox", pod.namespace, pod.name))
            }
        }
    }
}

struct ServiceName<'a> {
    hostname: Option<&'a str>,
    service: &'a str,
    namespace: &'a str,
}

/// Reads `service.namespace.svc`, with a pod's hostname before it or the cluster's domain after it.
fn parse_service_name(host: &str) -> Option<ServiceName<'_>> {
    let host = host.strip_suffix(".cluster.local").unwrap_or(host).strip_suffix(".svc")?;
    let parts: Vec<&str> = host.split('.').collect();
    match parts.as_slice() {
        [service, namespace] => Some(ServiceName { hostname: None, service, namespace }),
        [hostname, service, namespace] => Some(ServiceName { hostname: Some(hostname), service, namespace }),
        _ => None,
    }
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn pod_entry(pod: &Pod) -> PodEntry {
    let on_host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default();
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    PodEntry {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        program: program_of(pod),
        stand_ins: stand_ins_of(pod),
        // On the host network it shares the node's address, which then says nothing about the pod.
        ip: address.filter(|_| !on_host_network).and_then(|address| address.parse().ok()),
    }
}

fn service_entry(service: &Service) -> ((String, String), ServiceEntry) {
    let key =
        (service.metadata.namespace.clone().unwrap_or_default(), service.metadata.name.clone().unwrap_or_default());
    let spec = service.spec.as_ref();
    let cluster_ip = spec.and_then(|spec| spec.cluster_ip.as_deref());
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let entry = ServiceEntry {
        cluster_ip: cluster_ip.and_then(|address| address.parse().ok()),
        headless: cluster_ip == Some("None"),
        ports: ports
            .iter()
            .filter_map(|port| Some((u16::try_from(port.port).ok()?, port.name.clone().unwrap_or_default())))
            .collect(),
    };
    (key, entry)
}

fn endpoints_of(slice: &EndpointSlice) -> Vec<Endpoint> {
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(SERVICE_NAME)).cloned().unwrap_or_default();
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let target = |kind: &str| endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some(kind));
        let pod = target("Pod").map(|target| {
            let pod_namespace = target.namespace.clone().unwrap_or_else(|| namespace.clone());
            (pod_namespace, target.name.clone().unwrap_or_default())
        });
        // By the API's definition an unset condition means ready.
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
        for address in &endpoint.addresses {
            for port in slice.ports.iter().flatten() {
                let (Ok(ip), Some(number)) = (address.parse(), port.port.and_then(|port| u16::try_from(port).ok()))
                else {
                    continue;
                };
                endpoints.push(Endpoint {
                    namespace: namespace.clone(),
                    service: service.clone(),
                    ip,
                    port: number,
                    port_name: port.name.clone().unwrap_or_default(),
                    ready,
                    hostname: endpoint.hostname.clone(),
                    pod: pod.clone(),
                    node: target("Node").and_then(|target| target.name.clone()),
                });
            }
        }
    }
    endpoints
}

#[cfg(test)]
#[path = "directory_tests.rs"]
pub(super) mod tests;
