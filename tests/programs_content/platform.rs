//! What the simulated platform answers, read by promtool.

use crate::support::tool;
use drivemaster_mon::config::model::PlatformService;
use drivemaster_mon::sandbox::platform::{Answer, Simulator};
use drivemaster_mon::stack::EXPORTERS;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn promtool_reads_every_page() {
    let service = PlatformService { name: "adaptive-service".to_owned(), port: 3002 };
    let simulator = Simulator::new(vec![service], EXPORTERS.iter().collect(), "drivemaster", 1).unwrap();
    for name in EXPORTERS.iter().map(|exporter| exporter.service).chain(["adaptive-service"]) {
        simulator.respond(name, "pod", "/metrics", 1_790_000_000.0);
        let Answer::Response { status: 200, body, .. } = simulator.respond(name, "pod", "/metrics", 1_790_000_600.0)
        else {
            panic!("{name} does not answer");
        };
        let mut promtool = Command::new(tool("promtool"))
            .args(["check", "metrics", "--extended", "--lint=none"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
