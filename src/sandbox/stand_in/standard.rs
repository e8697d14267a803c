//! What every program tells of itself: process, memory, build. One row a program.

use crate::sandbox::platform::exposition::Page;
use k8s_openapi::api::core::v1::Pod;

/// A program that tells little more than that.
#[derive(Debug, PartialEq)]
pub struct Standard {
    /// Value of the label `app.kubernetes.io/name` on its pods, or the last part of its image.
    pub label: &'static str,
    /// Its metric with the version of its build.
    build_info: Option<&'static str>,
    /// Gauges that it shows besides, each with the value of health.
    gauges: &'static [(&'static str, f64)],
    /// The histogram of the requests it answers: those of its own probe.
    requests: Option<&'static str>,
}

/// Seconds between two requests of a pod's probe, and how long an answer takes.
const PROBE_INTERVAL: f64 = 10.0;
const PROBE_SECONDS: f64 = 0.002;

/// Known by the label of their pods.
const BY_LABEL: &[Standard] = &[
    Standard {
        label: "grafana",
        build_info: Some("grafana_build_info"),
        gauges: &[("grafana_stat_totals_dashboard", 6.0)],
        requests: Some("grafana_http_request_duration_seconds"),
    },
    Standard {
        label: "alloy",
        build_info: Some("alloy_build_info"),
        gauges: &[("alloy_component_controller_running_components", 1.0)],
        requests: None,
    },
    Standard {
        label: "kube-state-metrics",
        build_info: Some("kube_state_metrics_build_info"),
        gauges: &[],
        requests: None,
    },
    Standard { label: "chaos-mesh", build_info: None, gauges: &[], requests: None },
];

/// Known by their image, for they run beside a program of another name.
const BY_IMAGE: &[Standard] = &[Standard {
    label: "prometheus-config-reloader",
    build_info: Some("prometheus_config_reloader_build_info"),
    // A reloader whose configuration is refused leaves its pod without a ready program, which is
    // told there.
    gauges: &[("reloader_last_reload_successful", 1.0)],
    requests: None,
}];

/// What the blackbox exporter tells of itself.
pub const BLACKBOX: Standard = Standard {
    label: "prometheus-blackbox-exporter",
    build_info: Some("blackbox_exporter_build_info"),
    gauges: &[("blackbox_exporter_config_last_reload_successful", 1.0)],
    requests: None,
};

/// The row of the pods with this label.
pub(super) fn by_label(label: &str) -> Option<&'static Standard> {
    BY_LABEL.iter().find(|row| row.label == label)
}

/// The row of the containers with this image, given by the last part of its repository.
pub(super) fn by_image(image: &str) -> Option<&'static Standard> {
    BY_IMAGE.iter().find(|row| row.label == image)
}

/// `/metrics` of the program `standard` in `pod` at the Unix time `now` (seconds).
pub fn page(standard: &Standard, pod: &Pod, now: f64) -> String {
    let mut page = Page::default();
    process(&mut page, started(pod), now);
    if let Some(name) = standard.build_info {
        let version = version_of(pod, standard.label);
        page.family(name, "gauge", "The version that runs");
        page.sample(name, &[("version", version)], 1.0);
    }
    for (name, value) in standard.gauges {
        page.family(name, "gauge", "As in health");
        page.sample(name, &[], *value);
    }
    if let Some(name) = standard.requests {
        requests(&mut page, name, ((now - started(pod)).max(0.0) / PROBE_INTERVAL).floor());
    }
    page.into_body()
}

/// The histogram `name` of so many requests of a probe.
fn requests(page: &mut Page, name: &str, count: f64) {
    page.family(name, "histogram", "Time from a request to its answer");
    let labels = [("handler", "/api/health"), ("method", "GET"), ("status_code", "200")];
    for bound in ["0.005", "+Inf"] {
        page.sample(&format!("{name}_bucket"), &[&labels[..], &[("le", bound)]].concat(), count);
    }
    page.sample(&format!("{name}_sum"), &labels, count * PROBE_SECONDS);
    page.sample(&format!("{name}_count"), &labels, count);
}

/// What the client libraries of Prometheus tell of every process that started at `started`.
pub(super) fn process(page: &mut Page, started: f64, now: f64) {
    let age = (now - started).max(0.0);
    for (name, kind, help, value) in [
        ("process_cpu_seconds_total", "counter", "Processor time used, in seconds", (age * 4.0).floor() / 1000.0),
        ("process_resident_memory_bytes", "gauge", "Resident memory", 67_108_864.0),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory", 1_342_177_280.0),
        ("process_open_fds", "gauge", "Open file descriptors", 14.0),
        ("process_max_fds", "gauge", "The most file descriptors that may be open", 1_048_576.0),
        ("process_start_time_seconds", "gauge", "Unix time at which the process started", started),
        ("go_goroutines", "gauge", "Goroutines", 42.0),
    ] {
        page.family(name, kind, help);
        page.sample(name, &[], value);
    }
}

/// Unix time at which `pod` started, in seconds; 0 while it has not.
pub(super) fn started(pod: &Pod) -> f64 {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    started.map_or(0.0, |time| time.0.as_second() as f64)
}

/// Tag of the container's image that ends in `program`, else that of the first container.
fn version_of<'a>(pod: &'a Pod, program: &str) -> &'a str {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let images = || containers.iter().filter_map(|container| container.image.as_deref()).map(split_image);
    let of_program = images().find(|(name, _)| *name == program);
    of_program.or_else(|| images().next()).map_or("", |(_, tag)| tag)
}

/// Last part of the repository, and tag.
fn split_image(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').unwrap_or((last, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_program_tells_its_process_and_the_version_of_its_image() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": { "containers": [
                { "name": "sidecar", "image": "quay.io/kiwigrid/k8s-sidecar:2.10.1" },
                { "name": "grafana", "image": "docker.io/grafana/grafana:13.2.0@sha256:aa" },
            ] },
            "status": { "startTime": "1970-01-01T00:16:40Z" },
        }))
        .unwrap();
        let page = page(by_label("grafana").unwrap(), &pod, 2000.0);
        assert!(page.contains("grafana_build_info{version=\"13.2.0\"} 1\n"), "{page}");
        assert!(page.contains("process_start_time_seconds 1000\n") && page.contains("process_cpu_seconds_total 4\n"));
        let answered = "{handler=\"/api/health\",method=\"GET\",status_code=\"200\"} 100\n";
        assert!(page.contains(&format!("grafana_http_request_duration_seconds_count{answered}")), "{page}");
    }
}
