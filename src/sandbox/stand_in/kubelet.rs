//! What a kubelet and its cAdvisor tell of a node and the pods on it.
//!
//! Names and labels are those of Kubernetes 1.37. Which pods and containers there are is true; what
//! they use is made up, within what they reserve and may use.

use super::cluster::Cluster;
use super::kube_state::{Families, place};
use super::quantity::number;
use super::standard;
use crate::sandbox::platform::fraction;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use std::sync::Arc;

/// What a container without any request takes, in bytes and cores.
const MEMORY: f64 = 50_331_648.0;
const CPU: f64 = 0.004;
/// How long the certificates of a kubelet are still valid, in seconds: most of a year.
const CERTIFICATE_LIFE: f64 = 28_000_000.0;
/// Bounds of the histograms, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// The pods of `node` that run.
fn pods_of<'a>(cluster: &'a Cluster, node: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
    cluster.pods.iter().filter(move |pod| {
        let on_node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
        on_node && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    })
}

/// `/metrics` of the kubelet of `node` at the Unix time `now` (seconds).
pub fn metrics(cluster: &Cluster, node: &Node, now: f64) -> String {
    let (_, name) = place(&node.metadata);
    let created = node.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0.as_second() as f64);
    let age = (now - created).max(0.0).floor();
    let mut families = Families::default();
    families.add("kubelet_node_name", &[("node", name)], 1.0);
    families.add("kubelet_running_pods", &[], pods_of(cluster, name).count() as f64);
    let containers: usize = pods_of(cluster, name).filter_map(|pod| Some(pod.spec.as_ref()?.containers.len())).sum();
    families.add("kubelet_running_containers", &[("container_state", "running")], containers as f64);
    families.add("kubelet_certificate_manager_client_ttl_seconds", &[], CERTIFICATE_LIFE);
    families.add("kubelet_certificate_manager_server_ttl_seconds", &[], CERTIFICATE_LIFE);
    for operation in ["create_container", "list_containers", "version"] {
        families.add("kubelet_runtime_operations_total", &[("operation_type", operation)], age);
    }
    let requests = [("code", "200"), ("host", "kubernetes.default.svc"), ("method", "GET")];
    families.add("rest_client_requests_total", &requests, age * 2.0);
    let version = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let version = version.map(|info| info.kubelet_version.as_str()).unwrap_or_default();
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let build = [("git_version", version), ("major", major), ("minor", minor), ("platform", "linux/amd64")];
    families.add("kubernetes_build_info", &build, 1.0);
    for pod in pods_of(cluster, name) {
        claims(&mut families, cluster, pod);
    }
    let mut page = families.into_page();
    for (family, labels) in [
        ("kubelet_pleg_relist_duration_seconds", &[][..]),
        ("kubelet_pod_worker_duration_seconds", &[("operation_type", "sync")]),
    ] {
        page.family(family, "histogram", "Of the simulated kubelet");
        // Each takes between 5 and 10 ms.
        let counted: Vec<f64> = BOUNDS.iter().map(|bound| if *bound < 0.01 { 0.0 } else { age }).collect();
        page.histogram(family, labels, &BOUNDS, &counted, ((age * 7.0).floor() / 1000.0, age));
    }
    standard::process(&mut page, created, now);
    page.into_body()
}

/// How full the volumes of `pod` are.
fn claims(families: &mut Families, cluster: &Cluster, pod: &Pod) {
    let (namespace, _) = place(&pod.metadata);
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    for source in volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
        let mut known = cluster.claims.iter();
        let Some(claim) = known.find(|claim| place(&claim.metadata) == (namespace, source.claim_name.as_str())) else {
            continue;
        };
        // The sandbox's volumes are larger than what is asked of them; a file system is not.
        let asked = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"));
        let Some(capacity) = asked.and_then(|amount| number(&amount.0)) else { continue };
        let used = (capacity * (0.1 + 0.1 * fraction(0, [namespace, source.claim_name.as_str()]))).floor();
        let inodes = (capacity / 16_384.0).floor();
        let labels = [("namespace", namespace), ("persistentvolumeclaim", source.claim_name.as_str())];
        for (family, value) in [
            ("kubelet_volume_stats_capacity_bytes", capacity),
            ("kubelet_volume_stats_available_bytes", capacity - used),
            ("kubelet_volume_stats_used_bytes", used),
            ("kubelet_volume_stats_inodes", inodes),
            ("kubelet_volume_stats_inodes_used", (inodes * 0.01).floor()),
            ("kubelet_volume_stats_inodes_free", inodes - (inodes * 0.01).floor()),
        ] {
            families.add(family, &labels, value);
        }
    }
}

/// `/metrics/cadvisor` of the kubelet of `node` at the Unix time `now` (seconds).
pub fn cadvisor(cluster: &Cluster, node: &Node, now: f64) -> String {
    let (_, name) = place(&node.metadata);
    let mut families = Families::default();
    let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
    for (family, resource) in [("machine_cpu_cores", "cpu"), ("machine_memory_bytes", "memory")] {
        if let Some(value) = capacity.and_then(|capacity| number(&capacity.get(resource)?.0)) {
            families.add(family, &[], value);
        }
    }
    for pod in pods_of(cluster, name) {
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            of_container(&mut families, cluster, pod, container, now);
        }
        network(&mut families, pod, now);
    }
    families.into_page().into_body()
}

fn of_container(families: &mut Families, cluster: &Cluster, pod: &Pod, container: &Container, now: f64) {
    let (namespace, name) = place(&pod.metadata);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let id = format!("/kubepods/pod{uid}/{}", container.name);
    let unique = format!("{}_{name}_{namespace}", container.name);
    let labels = [
        ("container", container.name.as_str()),
        ("id", id.as_str()),
        ("image", container.image.as_deref().unwrap_or_default()),
        ("name", unique.as_str()),
        ("namespace", namespace),
        ("pod", name),
    ];
    let resources = container.resources.as_ref();
    let amount = |limit: bool, resource: &str| {
        let amounts =
            resources.and_then(|resources| if limit { resources.limits.as_ref() } else { resources.requests.as_ref() });
        amounts.and_then(|amounts| number(&amounts.get(resource)?.0))
    };
    let part = fraction(0, [namespace, name, container.name.as_str()]);
    let memory_limit = amount(true, "memory");
    // A simulated service tells the same of its process; each of its pods has one container.
    let usage = cluster.usage.get(&(namespace.to_owned(), name.to_owned()));
    let memory = match (usage, memory_limit, amount(false, "memory")) {
        (Some(usage), _, _) => usage.memory,
        (None, Some(limit), _) => limit * (0.25 + 0.3 * part),
        (None, None, Some(request)) => request * (0.5 + 0.3 * part),
        (None, None, None) => MEMORY * (1.0 + part),
    }
    .floor();
    let cores = amount(false, "cpu").map_or(CPU * (1.0 + part), |request| request * (0.15 + 0.25 * part));
    let started = standard::started(pod);
    let age = (now - started).max(0.0);
    let cpu_seconds = usage.map_or(cores * age, |usage| usage.cpu_seconds);
    let of_all = [&labels[..], &[("cpu", "total")]].concat();
    families.add("container_cpu_usage_seconds_total", &of_all, (cpu_seconds * 1000.0).floor() / 1000.0);
    for (family, value) in [
        ("container_memory_working_set_bytes", memory),
        ("container_memory_usage_bytes", (memory * 1.2).floor()),
        ("container_memory_rss", (memory * 0.8).floor()),
        ("container_memory_cache", (memory * 0.2).floor()),
        ("container_memory_swap", 0.0),
        ("container_spec_memory_limit_bytes", memory_limit.unwrap_or(0.0)),
        ("container_start_time_seconds", started),
        ("container_last_seen", now.floor()),
        ("container_fs_usage_bytes", 20_480.0),
        ("container_fs_reads_bytes_total", 0.0),
        ("container_fs_writes_bytes_total", (age * 500.0).floor()),
        ("container_oom_events_total", 0.0),
    ] {
        families.add(family, &labels, value);
    }
    if let Some(limit) = amount(true, "cpu") {
        families.add("container_spec_cpu_quota", &labels, (limit * 100_000.0).floor());
        families.add("container_spec_cpu_period", &labels, 100_000.0);
        families.add("container_cpu_cfs_periods_total", &labels, (age * 10.0).floor());
        families.add("container_cpu_cfs_throttled_periods_total", &labels, 0.0);
        families.add("container_cpu_cfs_throttled_seconds_total", &labels, 0.0);
    }
}

/// The network belongs to the pod, not to one of its containers.
fn network(families: &mut Families, pod: &Pod, now: f64) {
    if pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default() {
        return;
    }
    let (namespace, name) = place(&pod.metadata);
    let id = format!("/kubepods/pod{}", pod.metadata.uid.as_deref().unwrap_or_default());
    let labels = [("id", id.as_str()), ("interface", "eth0"), ("namespace", namespace), ("pod", name)];
    let age = (now - standard::started(pod)).max(0.0);
    let rate = 2000.0 * (1.0 + fraction(0, [namespace, name]));
    for (family, rate) in [
        ("container_network_receive_bytes_total", rate),
        ("container_network_transmit_bytes_total", rate * 0.8),
        ("container_network_receive_packets_total", rate / 500.0),
        ("container_network_transmit_packets_total", rate / 500.0),
        ("container_network_receive_packets_dropped_total", 0.0),
        ("container_network_transmit_packets_dropped_total", 0.0),
    ] {
        families.add(family, &labels, (rate * age).floor());
    }
}

/// `/metrics/probes` of the kubelet of `node` at the Unix time `now` (seconds).
pub fn probes(cluster: &Cluster, node: &Node, now: f64) -> String {
    let (_, name) = place(&node.metadata);
    let mut families = Families::default();
    for pod in pods_of(cluster, name) {
        let (namespace, pod_name) = place(&pod.metadata);
        let age = (now - standard::started(pod)).max(0.0);
        let down = cluster.is_down(pod);
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            let known = [
                ("Liveness", &container.liveness_probe),
                ("Readiness", &container.readiness_probe),
                ("Startup", &container.startup_probe),
            ];
            for (kind, probe) in known.into_iter().filter_map(|(kind, probe)| Some((kind, probe.as_ref()?))) {
                // Ten seconds is what an unset period stands for; a startup probe ends with its success.
                let period = f64::from(probe.period_seconds.unwrap_or(10).max(1));
                let count = if kind == "Startup" { 1.0 } else { (age / period).floor() };
                let labels = [
                    ("container", container.name.as_str()),
                    ("namespace", namespace),
                    ("pod", pod_name),
                    ("probe_type", kind),
                    ("result", if down { "failed" } else { "successful" }),
                ];
                families.add("prober_probe_total", &labels, count);
            }
        }
    }
    families.into_page().into_body()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster() -> (Cluster, Node) {
        let pod = json!({
            "metadata": { "namespace": "m", "name": "p-0", "uid": "u" },
            "spec": { "nodeName": "sandbox-0",
                "containers": [
                    { "name": "main", "image": "r/x:1", "readinessProbe": { "periodSeconds": 5 },
                      "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "1000", "cpu": "2" } } },
                    { "name": "beside", "image": "r/y:1" },
                ],
                "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }] },
            "status": { "phase": "Running", "startTime": "1970-01-01T00:00:00Z" },
        });
        let elsewhere = json!({
            "metadata": { "namespace": "m", "name": "other" }, "spec": { "nodeName": "n-2", "containers": [] },
            "status": { "phase": "Running" },
        });
        let claim = json!({
            "metadata": { "namespace": "m", "name": "c" },
            "spec": { "resources": { "requests": { "storage": "1000" } } },
        });
        let node = json!({
            "metadata": { "name": "sandbox-0", "creationTimestamp": "1970-01-01T00:00:00Z" },
            "status": { "capacity": { "cpu": "64", "memory": "1Ki" }, "nodeInfo": {
                "kubeletVersion": "v1.37.2", "architecture": "", "bootID": "", "containerRuntimeVersion": "",
                "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
            } },
        });
        let cluster = Cluster {
            pods: vec![
                Arc::new(serde_json::from_value(pod).unwrap()),
                Arc::new(serde_json::from_value(elsewhere).unwrap()),
            ],
            claims: vec![Arc::new(serde_json::from_value(claim).unwrap())],
            ..Cluster::default()
        };
        (cluster, serde_json::from_value(node).unwrap())
    }

    fn value_of(page: &str, start: &str) -> f64 {
        let line = page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{page}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    #[test]
    fn the_kubelet_counts_its_own_pods_and_tells_its_version_and_volumes() {
        let (cluster, node) = cluster();
        let page = metrics(&cluster, &node, 100.0);
        assert_eq!(value_of(&page, "kubelet_running_pods "), 1.0);
        assert_eq!(value_of(&page, "kubelet_running_containers{"), 2.0);
        assert!(page.contains("kubernetes_build_info{git_version=\"v1.37.2\",major=\"1\",minor=\"37\""), "{page}");
        let volume = "{namespace=\"m\",persistentvolumeclaim=\"c\"}";
        let used = value_of(&page, &format!("kubelet_volume_stats_used_bytes{volume}"));
        assert!((100.0..=200.0).contains(&used), "{used}");
        assert_eq!(value_of(&page, &format!("kubelet_volume_stats_available_bytes{volume}")), 1000.0 - used);
        assert_eq!(value_of(&page, "kubelet_pleg_relist_duration_seconds_count"), 100.0);
    }

    #[test]
    fn containers_stay_within_their_limits_and_counters_only_grow() {
        let (cluster, node) = cluster();
        let [early, late] = [100.0, 200.0].map(|now| cadvisor(&cluster, &node, now));
        let memory = value_of(&early, "container_memory_working_set_bytes{container=\"main\"");
        assert!((250.0..=550.0).contains(&memory), "{memory}");
        for family in [
            "container_cpu_usage_seconds_total",
            "container_cpu_cfs_periods_total",
            "container_network_receive_bytes_total",
        ] {
            assert!(value_of(&early, family) < value_of(&late, family), "{family}");
        }
        assert!(!early.contains("pod=\"other\""));
        let limited = early.lines().filter(|line| line.starts_with("container_cpu_cfs_periods_total{"));
        assert_eq!(limited.count(), 1, "only a container with a limit is throttled");
    }

    #[test]
    fn a_container_of_a_simulated_service_uses_what_its_process_says() {
        let (mut cluster, node) = cluster();
        let usage = crate::sandbox::platform::Usage { memory: 920.0, cpu_seconds: 7.5 };
        cluster.usage.insert(("m".to_owned(), "p-0".to_owned()), usage);
        let page = cadvisor(&cluster, &node, 100.0);
        assert_eq!(value_of(&page, "container_memory_working_set_bytes{container=\"main\""), 920.0);
        assert_eq!(value_of(&page, "container_cpu_usage_seconds_total{container=\"main\""), 7.5);
    }

    #[test]
    fn only_probes_that_a_container_has_are_counted() {
        let (cluster, node) = cluster();
        let page = probes(&cluster, &node, 100.0);
        let samples: Vec<&str> = page.lines().filter(|line| line.starts_with("prober_probe_total{")).collect();
        let [sample] = samples[..] else { panic!("{page}") };
        assert!(sample.contains("probe_type=\"Readiness\",result=\"successful\"} 20"), "{sample}");
    }
}
