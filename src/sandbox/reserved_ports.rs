//! Ports of loopback that stay ours, from the choice to the end, whoever listens on them when.
//!
//! Programs behind pods begin to listen long after their ports were chosen, and again after each restart. In between
//! a port has to be kept from every other sandbox of the machine. A socket that is bound and never listens does that:
//! Linux refuses the port to whoever binds without `SO_REUSEADDR`, as the choice here does, and gives it to no
//! outgoing connection; a program that binds with `SO_REUSEADDR`, as every Go program does, may listen on it (`socket(7)`).

use super::control_plane::loopback;
use anyhow::{Context, Result};
use tokio::net::TcpSocket;

/// The first port that is looked at; those below belong to well-known services.
const FIRST_QUIET_PORT: u16 = 12_000;
/// How many ports are tried before the system chooses one.
const QUIET_ATTEMPTS: u32 = 50;

/// Keeps ports until it is dropped.
#[derive(Debug, Default)]
pub struct ReservedPorts(Vec<TcpSocket>);

impl ReservedPorts {
    /// One more port that nobody has, if possible one that the system never gives to an outgoing connection: a program
    /// that ignores the reservation cannot meet it by chance then.
    ///
    /// # Errors
    /// When the machine has none.
    pub fn reserve(&mut self) -> Result<u16> {
        let (socket, port) = reserved().context("there is no free port on loopback")?;
        self.0.push(socket);
        Ok(port)
    }
}

fn reserved() -> std::io::Result<(TcpSocket, u16)> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let outgoing = range.split_whitespace().next().and_then(|first| first.parse::<u16>().ok());
    let quiet = FIRST_QUIET_PORT..outgoing.unwrap_or(FIRST_QUIET_PORT);
    if !quiet.is_empty() {
        for _ in 0..QUIET_ATTEMPTS {
            if let Ok(found) = bound(rand::random_range(quiet.clone())) {
                return Ok(found);
            }
        }
    }
    bound(0)
}

fn bound(port: u16) -> std::io::Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    // Not before it is bound: else two reservations would get along.
    socket.bind(loopback(port))?;
    socket.set_reuseaddr(true)?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_port_is_kept_before_while_and_after_somebody_listens() {
        let mut reserved = ReservedPorts::default();
        let port = reserved.reserve().unwrap();
        for _ in 0..2 {
            bound(port).unwrap_err();
            TcpStream::connect(loopback(port)).unwrap_err();
            // The standard library sets SO_REUSEADDR, as Go does.
            let listener = TcpListener::bind(loopback(port)).unwrap();
            bound(port).unwrap_err();
            TcpListener::bind(loopback(port)).unwrap_err();
            TcpStream::connect(loopback(port)).unwrap();
            drop(listener);
            after_a_fork(|| TcpListener::bind(loopback(port)).map(drop));
        }
    }

    /// Tries again for a second: a test beside this one that starts a program has our sockets too until it is started.
    fn after_a_fork(mut attempt: impl FnMut() -> std::io::Result<()>) {
        let begun = std::time::Instant::now();
        while let Err(error) = attempt() {
            assert!(begun.elapsed().as_secs() < 1, "{error}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    #[test]
    fn a_port_is_free_again_once_nobody_keeps_it() {
        let mut reserved = ReservedPorts::default();
        let port = reserved.reserve().unwrap();
        drop(reserved);
        after_a_fork(|| bound(port).map(drop));
    }

    #[test]
    fn what_somebody_listens_on_is_not_chosen() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        bound(listener.local_addr().unwrap().port()).unwrap_err();
    }
}
