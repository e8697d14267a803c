//! From a Service to the ports of its ready pods. Pure.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::fmt;

/// Which port of the pods behind a Service is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortOf {
    /// A port of the Service; its target port (a number or a name) is looked up.
    Service(u16),
    /// A port of the pods that the Service does not list, such as a health port.
    Pod(u16),
}

/// One port of a Service, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Which port.
    pub port: PortOf,
}

impl ServicePort {
    /// Port `port` of the Service `service` in `namespace`.
    pub fn new(namespace: &str, service: &str, port: u16) -> Self {
        ServicePort { namespace: namespace.to_owned(), service: service.to_owned(), port: PortOf::Service(port) }
    }

    /// Port `port` of the pods behind the Service `service` in `namespace`.
    pub fn of_pods(namespace: &str, service: &str, port: u16) -> Self {
        ServicePort { namespace: namespace.to_owned(), service: service.to_owned(), port: PortOf::Pod(port) }
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            PortOf::Service(port) => write!(formatter, "{}/{}:{port}", self.namespace, self.service),
            PortOf::Pod(port) => write!(formatter, "{}/{} (pod port {port})", self.namespace, self.service),
        }
    }
}

/// A port of a ready pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Name of the pod, in the namespace of the Service.
    pub pod: String,
    /// Port of the pod.
    pub port: u16,
}

/// Why a Service leads to no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The Service does not have the port; the text lists those it has.
    NoSuchPort(String),
    /// No pod is ready; the text is what the pods say.
    NoReadyPod(String),
}

/// The ready pods behind `port` of `service`, in stable order.
///
/// The EndpointSlices already hold the target port as a number, for named ones too, and only they
/// know which pods are ready. `pods` (those the Service selects) serve to say why none is.
///
/// # Errors
/// The Service has no such port, or no pod is ready.
pub fn resolve_target(
    service: &Service,
    slices: &[EndpointSlice],
    pods: &[Pod],
    port: PortOf,
) -> Result<Vec<Target>, Unresolved> {
    let port_name = match port {
        PortOf::Pod(_) => None,
        PortOf::Service(number) => Some(name_of_service_port(service, number)?),
    };
    let mut targets: Vec<Target> = Vec::new();
    for slice in slices {
        let number = match port {
            PortOf::Pod(number) => Some(number),
            PortOf::Service(_) => slice
                .ports
                .iter()
                .flatten()
                .find(|candidate| candidate.name.as_deref().unwrap_or_default() == port_name.unwrap_or_default())
                .and_then(|found| found.port)
                .and_then(|number| u16::try_from(number).ok()),
        };
        let Some(number) = number else { continue };
        // A missing condition counts as ready: that is what its definition says.
        let ready = slice
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
        for reference in ready.filter_map(|endpoint| endpoint.target_ref.as_ref()) {
            if let ("Pod", Some(pod)) = (reference.kind.as_deref().unwrap_or_default(), &reference.name) {
                targets.push(Target { pod: pod.clone(), port: number });
            }
        }
    }
    // One pod stands in two slices when the Service has two address families.
    targets.sort();
    targets.dedup();
    if targets.is_empty() { Err(Unresolved::NoReadyPod(state_of_pods(pods))) } else { Ok(targets) }
}

/// The name of the Service's port `number`; empty where a single port has none.
fn name_of_service_port(service: &Service, number: u16) -> Result<&str, Unresolved> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    if let Some(port) = ports.iter().find(|port| port.port == i32::from(number)) {
        return Ok(port.name.as_deref().unwrap_or_default());
    }
    let known: Vec<String> = ports
        .iter()
        .map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    Err(Unresolved::NoSuchPort(if known.is_empty() {
        "it has none".to_owned()
    } else {
        format!("it has {}", known.join(", "))
    }))
}

/// What the pods say of themselves, one clause a pod.
pub fn state_of_pods(pods: &[Pod]) -> String {
    if pods.is_empty() {
        return "no pod matches its selector".to_owned();
    }
    pods.iter().map(state_of_pod).collect::<Vec<_>>().join("; ")
}

fn state_of_pod(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        return format!("pod `{name}` is being deleted");
    }
    let status = pod.status.as_ref();
    let containers = status.into_iter().flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    });
    for container in containers {
        let Some(state) = &container.state else { continue };
        let stopped = state
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.reason.as_ref().map(|reason| (reason, waiting.message.as_deref())))
            .or_else(|| {
                let terminated = state.terminated.as_ref().filter(|terminated| terminated.exit_code != 0)?;
                terminated.reason.as_ref().map(|reason| (reason, terminated.message.as_deref()))
            });
        if let Some((reason, message)) = stopped {
            return with_message(&format!("pod `{name}`: container `{}`: {reason}", container.name), message);
        }
    }
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    // PodScheduled before Ready: it is the cause, the other the effect.
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
        if let Some(condition) =
            conditions.iter().find(|condition| condition.type_ == kind && condition.status != "True")
        {
            let reason = condition.reason.as_deref().unwrap_or("not true");
            return with_message(&format!("pod `{name}`: {kind}: {reason}"), condition.message.as_deref());
        }
    }
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    format!("pod `{name}` is {phase} but not yet among the Service's endpoints")
}

fn with_message(text: &str, message: Option<&str>) -> String {
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{text}: {message}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(ports: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "grafana"}, "spec": {"ports": ports}})).unwrap()
    }

    fn slice(ports: Value, endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4", "metadata": {"name": "grafana-x"}, "ports": ports, "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn endpoint(pod: &str, ready: Value) -> Value {
        json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": pod}})
    }

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "grafana-0"}, "status": status})).unwrap()
    }

    #[test]
    fn a_service_port_leads_to_the_target_port_of_each_ready_pod() {
        let service = service(json!([{"name": "web", "port": 80, "targetPort": "http"}, {"name": "grpc", "port": 81}]));
        let slices = [
            slice(
                json!([{"name": "grpc", "port": 9000}, {"name": "web", "port": 3000}]),
                json!([endpoint("b", json!(true)), endpoint("c", json!(false)), endpoint("a", Value::Null)]),
            ),
            // The same pod once more, in the slice of the other address family.
            slice(json!([{"name": "web", "port": 3000}]), json!([endpoint("b", json!(true))])),
        ];
        let target = |pod: &str, port| Target { pod: pod.to_owned(), port };
        assert_eq!(
            resolve_target(&service, &slices, &[], PortOf::Service(80)),
            Ok(vec![target("a", 3000), target("b", 3000)])
        );
        assert_eq!(
            resolve_target(&service, &slices, &[], PortOf::Pod(13133)),
            Ok(vec![target("a", 13133), target("b", 13133)])
        );
    }

    #[test]
    fn a_single_port_without_a_name_is_found() {
        let service = service(json!([{"port": 80}]));
        let slices = [slice(json!([{"name": "", "port": 8080}]), json!([endpoint("a", json!(true))]))];
        assert_eq!(
            resolve_target(&service, &slices, &[], PortOf::Service(80)),
            Ok(vec![Target { pod: "a".to_owned(), port: 8080 }])
        );
    }

    #[test]
    fn a_port_the_service_lacks_is_refused_with_those_it_has() {
        let service = service(json!([{"name": "web", "port": 80}, {"port": 81}]));
        assert_eq!(
            resolve_target(&service, &[], &[], PortOf::Service(82)),
            Err(Unresolved::NoSuchPort("it has 80 (web), 81".to_owned()))
        );
    }

    #[test]
    fn an_address_that_is_no_pod_is_no_target() {
        let service = service(json!([{"port": 80}]));
        let outside = json!({"addresses": ["192.0.2.1"], "conditions": {"ready": true}});
        let slices = [slice(json!([{"name": "", "port": 80}]), json!([outside]))];
        assert!(resolve_target(&service, &slices, &[], PortOf::Service(80)).is_err());
    }

    #[test]
    fn without_a_ready_pod_the_pods_say_why() {
        let cases = [
            (vec![], "no pod matches its selector"),
            (
                vec![pod(json!({"phase": "Pending", "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"},
                ]}))],
                "pod `grafana-0`: PodScheduled: Unschedulable: 0/1 nodes are available",
            ),
            (
                vec![pod(json!({"phase": "Pending", "containerStatuses": [{
                    "name": "grafana", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
                }]}))],
                "pod `grafana-0`: container `grafana`: ImagePullBackOff: no such image",
            ),
            (
                vec![pod(json!({"phase": "Running", "containerStatuses": [{
                    "name": "grafana", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                    "state": {"terminated": {"reason": "Error", "exitCode": 2}},
                }]}))],
                "pod `grafana-0`: container `grafana`: Error",
            ),
            (
                vec![pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))],
                "pod `grafana-0` is Running but not yet among the Service's endpoints",
            ),
            (vec![pod(json!({}))], "pod `grafana-0` is Pending but not yet among the Service's endpoints"),
        ];
        for (pods, expected) in cases {
            assert_eq!(
                resolve_target(&service(json!([{"port": 80}])), &[], &pods, PortOf::Service(80)),
                Err(Unresolved::NoReadyPod(expected.to_owned()))
            );
        }
    }
}
