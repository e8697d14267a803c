//! What node-exporter tells of the node besides what the platform's contract has. Names as in
//! node-exporter 1.12; the values are those of a node at ease.

use super::standard;
use crate::sandbox::platform::exposition::Page;
use k8s_openapi::api::core::v1::Pod;

/// How a value comes to be.
enum Course {
    /// It stays.
    Level(f64),
    /// It grows by so much a second.
    Rate(f64),
}
use Course::{Level, Rate};

/// A family of one sample.
type Row = (&'static str, &'static [(&'static str, &'static str)], Course);

const DISK: &[(&str, &str)] = &[("device", "sda")];
const CARD: &[(&str, &str)] = &[("device", "eth0")];
const ROOT: &[(&str, &str)] = &[("device", "/dev/sda1"), ("fstype", "ext4"), ("mountpoint", "/")];

const ROWS: &[Row] = &[
    ("node_context_switches_total", &[], Rate(5200.0)),
    ("node_disk_io_now", DISK, Level(0.0)),
    ("node_disk_io_time_seconds_total", DISK, Rate(0.04)),
    ("node_disk_io_time_weighted_seconds_total", DISK, Rate(0.06)),
    ("node_disk_read_bytes_total", DISK, Rate(21_000.0)),
    ("node_disk_reads_completed_total", DISK, Rate(1.5)),
    ("node_disk_writes_completed_total", DISK, Rate(18.0)),
    ("node_disk_written_bytes_total", DISK, Rate(260_000.0)),
    ("node_entropy_available_bits", &[], Level(256.0)),
    ("node_filefd_allocated", &[], Level(4800.0)),
    ("node_filefd_maximum", &[], Level(9_223_372.0)),
    ("node_filesystem_device_error", ROOT, Level(0.0)),
    ("node_filesystem_files", ROOT, Level(6_553_600.0)),
    ("node_filesystem_files_free", ROOT, Level(6_100_000.0)),
    ("node_filesystem_free_bytes", ROOT, Level(64_000_000_000.0)),
    ("node_filesystem_readonly", ROOT, Level(0.0)),
    ("node_intr_total", &[], Rate(2600.0)),
    ("node_load15", &[], Level(1.0)),
    ("node_load5", &[], Level(1.05)),
    ("node_memory_Buffers_bytes", &[], Level(410_000_000.0)),
    ("node_memory_Cached_bytes", &[], Level(5_200_000_000.0)),
    ("node_memory_MemFree_bytes", &[], Level(3_600_000_000.0)),
    ("node_memory_SReclaimable_bytes", &[], Level(380_000_000.0)),
    ("node_memory_Slab_bytes", &[], Level(560_000_000.0)),
    ("node_memory_SwapFree_bytes", &[], Level(0.0)),
    ("node_memory_SwapTotal_bytes", &[], Level(0.0)),
    ("node_netstat_Tcp_CurrEstab", &[], Level(140.0)),
    ("node_network_mtu_bytes", CARD, Level(1500.0)),
    ("node_network_receive_drop_total", CARD, Rate(0.0)),
    ("node_network_receive_errs_total", CARD, Rate(0.0)),
    ("node_network_receive_packets_total", CARD, Rate(2400.0)),
    ("node_network_transmit_drop_total", CARD, Rate(0.0)),
    ("node_network_transmit_errs_total", CARD, Rate(0.0)),
    ("node_network_transmit_packets_total", CARD, Rate(2300.0)),
    ("node_network_up", CARD, Level(1.0)),
    ("node_nf_conntrack_entries", &[], Level(900.0)),
    ("node_nf_conntrack_entries_limit", &[], Level(262_144.0)),
    ("node_procs_blocked", &[], Level(0.0)),
    ("node_procs_running", &[], Level(2.0)),
    ("node_scrape_collector_success", &[("collector", "cpu")], Level(1.0)),
    ("node_sockstat_TCP_inuse", &[], Level(140.0)),
    ("node_textfile_scrape_error", &[], Level(0.0)),
    ("node_timex_maxerror_seconds", &[], Level(0.02)),
    ("node_timex_offset_seconds", &[], Level(0.0001)),
    ("node_timex_sync_status", &[], Level(1.0)),
    ("node_vmstat_pgfault", &[], Rate(3100.0)),
    ("node_vmstat_pgmajfault", &[], Rate(0.1)),
    ("node_vmstat_pgpgin", &[], Rate(20.0)),
    ("node_vmstat_pgpgout", &[], Rate(250.0)),
];

/// The part of `/metrics` of the node-exporter in `pod` that is beyond the contract, at the Unix
/// time `now` (seconds).
pub fn page(pod: &Pod, now: f64) -> String {
    let mut page = Page::default();
    let booted = standard::started(pod);
    for (name, labels, course) in ROWS {
        let (kind, value) = match course {
            Level(value) => ("gauge", *value),
            Rate(rate) => ("counter", (rate * (now - booted).max(0.0)).floor()),
        };
        page.family(name, kind, "Of the simulated node");
        page.sample(name, labels, value);
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let system = [("sysname", "Linux"), ("release", "none"), ("machine", "x86_64"), ("nodename", node)];
    for (name, labels, value) in [
        ("node_uname_info", &system[..], 1.0),
        ("node_boot_time_seconds", &[], booted),
        ("node_time_seconds", &[], now.floor()),
    ] {
        page.family(name, "gauge", "Of the simulated node");
        page.sample(name, labels, value);
    }
    standard::process(&mut page, booted, now);
    page.into_body()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Contract;
    use serde_json::json;

    #[test]
    fn it_adds_to_the_contract_and_repeats_none_of_it() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": { "nodeName": "sandbox-0", "containers": [] }, "status": { "startTime": "1970-01-01T00:00:10Z" },
        }))
        .unwrap();
        let page = page(&pod, 110.0);
        assert!(page.contains("node_disk_io_time_seconds_total{device=\"sda\"} 4\n"), "{page}");
        assert!(page.contains("nodename=\"sandbox-0\"} 1\n"));
        for metric in Contract::embedded().unwrap().metrics_of("node") {
            assert!(!page.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
        }
    }
}
