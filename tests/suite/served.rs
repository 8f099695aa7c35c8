//! A front in this process on a free port, and what the tests need to be its guard and its clients.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cowherd::front::{self, FrontError, Options};
use cowherd::link::{self, FromFront, FromGuard, Packed};
use cowherd::model::remote::Remote;
use cowherd::model::view::View;

use super::common::Herd;

/// Whatever is waited for comes within this, also on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody may be held up for as long by another client.
pub(crate) const PROMPT: Duration = Duration::from_secs(3);

/// A free port is given.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Is removed with the test.
pub(crate) struct LockFile(pub(crate) PathBuf);

pub(crate) struct Guard {
    pub(crate) link: UnixStream,
    pub(crate) lock_file: LockFile,
    pub(crate) address: SocketAddr,
    /// Of the API over the network, where it is served.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) front: JoinHandle<Result<(), FrontError>>,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a client got back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// As it came.
    pub(crate) bytes: Vec<u8>,
    /// As text.
    pub(crate) body: String,
}

impl Guard {
    pub(crate) fn start() -> Self {
        Self::listening(spawn(ANY))
    }

    pub(crate) fn listening((mut link, lock_file, front): Spawned) -> Self {
        let addresses: Vec<SocketAddr> = match link::receive(&mut link) {
            Ok(Some(FromFront::Listening { addresses })) => addresses
                .iter()
                .map(|address| address.parse().expect("the front tells addresses"))
                .collect(),
            other => panic!("{other:?}"),
        };
        Self {
            link,
            lock_file,
            address: addresses[0],
            remote: addresses.get(1).copied(),
            front,
        }
    }

    /// A front that has published one view.
    pub(crate) fn with_view() -> Self {
        let mut guard = Self::start();
        guard.publish(&fresh());
        guard
    }

    pub(crate) fn publish(&mut self, view: &View) {
        self.send(view);
        // It has arrived once it is served.
        let stamp = format!("cowherd_view_timestamp_seconds {}\n", view.at.wall.0);
        wait_for("the view", || {
            get(self.address, "/metrics").body.contains(&stamp)
        });
    }

    /// Publishes and does not wait.
    pub(crate) fn send(&mut self, view: &View) {
        let message = FromGuard::View(Packed::of(view).expect("it can be encoded"));
        link::send(&mut self.link, &message).expect("the front reads");
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

/// The link to a front, its lock and its thread.
pub(crate) type Spawned = (UnixStream, LockFile, JoinHandle<Result<(), FrontError>>);

pub(crate) fn spawn(address: SocketAddr) -> Spawned {
    start(address, None, None, None)
}

/// With a web configuration.
pub(crate) fn spawn_with(web_config_file: Option<PathBuf>) -> Spawned {
    start(ANY, web_config_file, None, None)
}

/// With the API on that socket.
pub(crate) fn spawn_with_api(api: UnixListener) -> Spawned {
    start(ANY, None, Some(api), None)
}

/// With the API on that socket and over TLS.
pub(crate) fn spawn_with_remote(api: UnixListener, remote: Remote) -> Spawned {
    start(ANY, None, Some(api), Some(remote))
}

fn start(
    address: SocketAddr,
    web_config_file: Option<PathBuf>,
    api: Option<UnixListener>,
    remote: Option<Remote>,
) -> Spawned {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = format!("cowherd-front-{}-{number}.lock", std::process::id());
    let lock_file = std::env::temp_dir().join(file);
    File::create(&lock_file).expect("a temporary file can be made");
    let options = Options {
        listen_addresses: vec![address],
        telemetry_path: "/metrics".to_owned(),
        web_config_file,
        host_root: "/".into(),
        lock_file: lock_file.clone(),
        api,
        remote,
    };
    let (ours, theirs) = UnixStream::pair().expect("a socket pair can be made");
    let front = thread::spawn(move || front::serve(theirs, options));
    (ours, LockFile(lock_file), front)
}

/// A view made just now.
pub(crate) fn fresh() -> View {
    aged(Duration::ZERO)
}

pub(crate) fn aged(age: Duration) -> View {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is past 1970");
    let mut view = Herd::small().view;
    view.at.wall.0 = (now.saturating_sub(age)).as_secs_f64().floor();
    view
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the front listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket takes a timeout");
    stream
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends all of a request and reads all of what comes back.
pub(crate) fn request(address: SocketAddr, text: &str) -> Answer {
    let mut stream = connect(address);
    stream
        .write_all(text.as_bytes())
        .expect("the front takes a request");
    read(&mut BufReader::new(stream))
}

/// Reads an answer to its end: what its length says, or all that comes.
pub(crate) fn read(reader: &mut impl BufRead) -> Answer {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the front answers");
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let code = |line: &String| line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = lines.first().and_then(code);
    let headers = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let mut answer = Answer {
        status: status.expect("a status line has a code"),
        headers: headers
            .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
            .collect(),
        bytes: Vec::new(),
        body: String::new(),
    };
    let read = reader.read_to_end(&mut answer.bytes);
    // TLS may end without a word once all is there.
    let length = answer
        .header("content-length")
        .and_then(|text| text.parse().ok());
    assert!(
        read.is_ok() || length == Some(answer.bytes.len()),
        "{read:?}"
    );
    answer.body = String::from_utf8_lossy(&answer.bytes).into_owned();
    answer
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the other end closes the connection; what it says before does not matter.
pub(crate) fn is_cut(mut stream: &TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
