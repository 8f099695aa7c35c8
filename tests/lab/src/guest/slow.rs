//! HTTP clients that take their time: half of them send a request that never ends, half read an answer,
//! each a byte at a time. Who is cut off comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::DEADLINE;
use crate::args::PAGE_PORT;
use crate::wait::wait_until;

/// Between two bytes of a client. They are to hold connections for long, not to take the emulated processors: at a
/// byte every 50 ms, loopback and clients alone took most of both on a slow machine.
const BYTE_EVERY: Duration = Duration::from_millis(250);
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: slow\r\n\r\n";

/// They go on until dropped.
#[derive(Debug)]
pub struct SlowClients {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SlowClients {
    /// So many clients, all of them connected.
    pub fn start(count: usize) -> Result<Self> {
        println!("+ {count} slow clients");
        let is_over = Arc::new(AtomicBool::new(false));
        let connected = Arc::new(AtomicUsize::new(0));
        let (over, seen) = (Arc::clone(&is_over), Arc::clone(&connected));
        let thread = thread::spawn(move || {
            let mut clients: Vec<Client> = (0..count).map(Client::new).collect();
            while !over.load(Ordering::Relaxed) {
                clients.iter_mut().for_each(Client::step);
                let alive = clients.iter().filter(|client| client.stream.is_some());
                seen.fetch_max(alive.count(), Ordering::Relaxed);
                thread::sleep(BYTE_EVERY);
            }
        });
        let clients = Self {
            is_over,
            thread: Some(thread),
        };
        let all = || connected.load(Ordering::Relaxed) == count;
        wait_until("all slow clients are connected", DEADLINE, all).context("slow clients")?;
        Ok(clients)
    }
}

impl Drop for SlowClients {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Client {
    /// It reads; the others only ever send.
    reads: bool,
    stream: Option<TcpStream>,
}

impl Client {
    fn new(number: usize) -> Self {
        Self {
            reads: number.is_multiple_of(2),
            stream: None,
        }
    }

    fn step(&mut self) {
        let Some(stream) = &mut self.stream else {
            self.stream = self.connect().ok();
            return;
        };
        let done = if self.reads {
            stream.read(&mut [0])
        } else {
            stream.write(b"x")
        };
        let goes_on = match done {
            Ok(count) => count == 1,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if !goes_on {
            self.stream = None;
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PAGE_PORT))?;
        if self.reads {
            stream.write_all(REQUEST)?;
        }
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}
