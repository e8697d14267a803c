//! Who holds the lock: for people a name, for this program a process that can be looked for.

use crate::object::{FIELD_MANAGER, MANAGED_BY_LABEL};
use crate::process::ProcessRef;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Annotation of the Lease with the process that holds it.
pub(super) const PROCESS_ANNOTATION: &str = "drivemaster-mon/process";

/// One who holds or wants the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// For people: `alice@workstation, process 4711`.
    pub(super) name: String,
    /// The running system and the processes it lets each other see; empty where that cannot be told.
    pub(super) machine: String,
    /// The process.
    pub(super) process: Option<ProcessRef>,
}

impl Holder {
    /// This process.
    pub(super) fn own() -> Self {
        let pid = std::process::id();
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
        let host = nix::sys::utsname::uname().map(|names| names.nodename().to_string_lossy().into_owned());
        let name = format!(
            "{}@{}, process {pid}",
            user.as_deref().unwrap_or("somebody"),
            host.as_deref().unwrap_or("an unknown machine")
        );
        Holder { name, machine: machine().unwrap_or_default(), process: ProcessRef::of(pid) }
    }

    /// The value of [`PROCESS_ANNOTATION`].
    fn mark(&self) -> String {
        match self.process {
            Some(process) => format!("{}/{}/{}", self.machine, process.pid, process.start),
            None => String::new(),
        }
    }

    /// The process that holds `lease`, where it is one of the machine of `self`.
    pub(super) fn neighbour(&self, lease: &Lease) -> Option<ProcessRef> {
        let mark = lease.metadata.annotations.as_ref()?.get(PROCESS_ANNOTATION)?;
        let (machine, process) = mark.rsplit_once('/').and_then(|(rest, start)| {
            let (machine, pid) = rest.rsplit_once('/')?;
            Some((machine, ProcessRef { pid: pid.parse().ok()?, start: start.parse().ok()? }))
        })?;
        (!machine.is_empty() && machine == self.machine).then_some(process)
    }

    /// Whether `lease` is held by this very holder.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        let name = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let mark = lease.metadata.annotations.as_ref().and_then(|all| all.get(PROCESS_ANNOTATION));
        name == Some(&self.name) && mark.map(String::as_str) == Some(&self.mark())
    }

    /// The Lease as it is when this holder has it, from `now` on: `found` renewed or taken over.
    pub(super) fn lease(&self, found: Option<Lease>, duration: Duration, now: Timestamp) -> Lease {
        let mut lease = found.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(super::LEASE.to_owned()),
                labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned())])),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let renewed = self.holds(&lease);
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(PROCESS_ANNOTATION.to_owned(), self.mark());
        // The server keeps its own account of who wrote what.
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        if !renewed {
            let before = spec.holder_identity.as_ref().is_some_and(|name| !name.is_empty());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + i32::from(before));
            spec.acquire_time = Some(MicroTime(now));
        }
        *spec = LeaseSpec {
            holder_identity: Some(self.name.clone()),
            lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
            renew_time: Some(MicroTime(now)),
            ..spec.clone()
        };
        lease
    }
}

/// What two processes have in common that can look for each other: the boot of the system and the
/// namespace of process ids.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let processes = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), processes.to_string_lossy()))
}
