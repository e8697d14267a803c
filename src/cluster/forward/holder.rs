//! Which process listens on a local port, as far as `/proc` tells.

use std::fs;
use std::path::Path;

/// The process that listens on TCP port `port` of this machine, such as `grafana (pid 4711)`.
///
/// `None` where there is no `/proc`, or where the process belongs to somebody else.
pub(super) fn holder_of(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: Vec<String> = tables
        .iter()
        .flat_map(|table| listening_inodes(table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|link| holds(&link, &sockets))
        {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

fn holds(link: &Path, sockets: &[String]) -> bool {
    link.to_str().is_some_and(|link| sockets.iter().any(|socket| socket == link))
}

/// The inodes of the sockets that listen on `port`, from the text of `/proc/net/tcp` or `tcp6`.
///
/// Columns (proc_pid_net(5)): 1 is the local address as `HEX:HEXPORT`, 3 the state (`0A` is
/// LISTEN), 9 the inode.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let listens = columns.get(1)?.ends_with(&suffix) && *columns.get(3)? == "0A";
            if listens { columns.get(9)?.parse().ok() } else { None }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_of_that_port_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0\n\
            1: 0100007F:2382 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0\n\
            2: 0100007F:2383 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0\n\
            garbage\n";
        assert_eq!(listening_inodes(table, 9090), [4242]);
        assert_eq!(listening_inodes("", 9090), [0u64; 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = holder_of(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
