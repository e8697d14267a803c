//! Where a program listens: from the address in its pod to the one on loopback. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// An address for what nobody in the cluster could reach either: any free port of loopback.
pub const HIDDEN: &str = "127.0.0.1:0";

/// What a program's addresses are judged by.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// Where it is to listen, by the port of its pod.
    pub ports: BTreeMap<u16, SocketAddr>,
    /// The environment of its container.
    pub environment: BTreeMap<String, String>,
}

impl Listen {
    /// The address to listen on in place of `deployed`, which may name variables of the environment.
    /// What listens on loopback in the pod is reached by nobody, here as there.
    ///
    /// # Errors
    /// One line for people when the address has no port, or one that the sandbox does not know.
    pub fn address(&self, deployed: &str) -> Result<String, String> {
        let expanded = self.expand(deployed);
        let (host, port) = expanded.rsplit_once(':').unwrap_or(("", expanded.as_str()));
        let port = port.parse().map_err(|_| format!("`{deployed}` is no address to listen on"))?;
        if is_loopback(host) {
            return Ok(HIDDEN.to_owned());
        }
        self.port(port).map(|address| address.to_string())
    }

    /// Where to listen for `port` of the pod.
    ///
    /// # Errors
    /// One line for people when the sandbox does not know the port.
    pub fn port(&self, port: u16) -> Result<SocketAddr, String> {
        let known = || self.ports.keys().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let unknown =
            || format!("it is to listen on port {port}, which a sandbox does not lead to; it knows {}", known());
        self.ports.get(&port).copied().ok_or_else(unknown)
    }

    /// Replaces `${env:NAME}`, `${NAME}` and both with a default after `:-`; an unknown name without
    /// a default is empty.
    pub fn expand(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let Some((inner, after)) = after.split_once('}') else {
                expanded.push_str("${");
                rest = after;
                continue;
            };
            let (name, default) = inner.strip_prefix("env:").unwrap_or(inner).split_once(":-").unwrap_or((inner, ""));
            let name = name.strip_prefix("env:").unwrap_or(name);
            expanded.push_str(self.environment.get(name).map_or(default, String::as_str));
            rest = after;
        }
        expanded.push_str(rest);
        expanded
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pod `10.0.0.1` whose port N is answered on loopback port N + 10000, for the given ports.
    pub(in crate::sandbox::behind) fn listen(ports: &[u16]) -> Listen {
        let here = |port: &u16| (*port, SocketAddr::from(([127, 0, 0, 1], port + 10_000)));
        Listen {
            ports: ports.iter().map(here).collect(),
            environment: [("MY_POD_IP".to_owned(), "10.0.0.1".to_owned()), ("PORT".to_owned(), "4317".to_owned())]
                .into(),
        }
    }

    #[test]
    fn an_address_of_the_pod_becomes_its_port_on_loopback() {
        for (deployed, expected) in [
            ("0.0.0.0:4317", Ok("127.0.0.1:14317")),
            (":4317", Ok("127.0.0.1:14317")),
            ("[::]:4317", Ok("127.0.0.1:14317")),
            ("${env:MY_POD_IP}:4317", Ok("127.0.0.1:14317")),
            ("${MY_POD_IP}:${env:PORT}", Ok("127.0.0.1:14317")),
            ("${env:NOPE:-0.0.0.0}:${env:NOPE:-4317}", Ok("127.0.0.1:14317")),
            ("localhost:4317", Ok(HIDDEN)),
            ("127.0.0.1:99", Ok(HIDDEN)),
            ("[::1]:99", Ok(HIDDEN)),
            ("${env:NOPE:-localhost}:4317", Ok(HIDDEN)),
            ("0.0.0.0:99", Err("it is to listen on port 99, which a sandbox does not lead to; it knows 3100, 4317")),
            ("0.0.0.0:${env:NOPE}", Err("`0.0.0.0:${env:NOPE}` is no address to listen on")),
            ("", Err("`` is no address to listen on")),
            ("${env:X", Err("`${env:X` is no address to listen on")),
        ] {
            let found = listen(&[4317, 3100]).address(deployed);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{deployed}");
        }
    }
}
