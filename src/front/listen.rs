//! Binding the addresses, before anything else is done.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

/// The front of a guard that was killed holds the port until it sees the new guard's lock.
const IN_USE_LIMIT: Duration = Duration::from_secs(3);
const IN_USE_RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub struct ListenError {
    pub address: SocketAddr,
    pub source: io::Error,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// With the port that was given.
    pub(super) address: SocketAddr,
}

/// Binds every address or none.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<Listener>, ListenError> {
    let deadline = Instant::now() + IN_USE_LIMIT;
    addresses
        .iter()
        .map(|address| bind_by(*address, deadline))
        .collect()
}

fn bind_by(address: SocketAddr, deadline: Instant) -> Result<Listener, ListenError> {
    loop {
        match bind_one(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(IN_USE_RETRY);
            }
            Err(source) => return Err(ListenError { address, source }),
            Ok(listener) => return Ok(listener),
        }
    }
}

fn bind_one(address: SocketAddr) -> io::Result<Listener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}
