//! The front, started in this process on a free port, with this test as its guard and its clients.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cowherd::front::{self, FrontError, Options};
use cowherd::link::{self, FromFront, FromGuard, Packed};
use cowherd::model::view::View;
use rustix::fs::{FlockOperation, flock};

use super::common::Herd;

/// Whatever is waited for comes within this, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody may be held up for as long by another client.
const PROMPT: Duration = Duration::from_secs(3);

/// Is removed with the test.
struct LockFile(PathBuf);

struct Guard {
    link: UnixStream,
    lock_file: LockFile,
    address: SocketAddr,
    front: JoinHandle<Result<(), FrontError>>,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a client got back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Guard {
    fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (mut link, lock_file, front) = spawn(any);
        let address = match link::receive(&mut link) {
            Ok(Some(FromFront::Listening { addresses })) => addresses[0].parse(),
            other => panic!("{other:?}"),
        };
        let address = address.expect("the front tells an address");
        Self {
            link,
            lock_file,
            address,
            front,
        }
    }

    /// A front that has published one view.
    fn with_view() -> Self {
        let mut guard = Self::start();
        guard.publish(&fresh());
        guard
    }

    fn publish(&mut self, view: &View) {
        let message = FromGuard::View(Packed::of(view).expect("it can be encoded"));
        link::send(&mut self.link, &message).expect("the front reads");
        // It has arrived once it is served.
        let stamp = format!("cowherd_view_timestamp_seconds {}\n", view.at.wall.0);
        wait_for("the view", || {
            get(self.address, "/metrics").body.contains(&stamp)
        });
    }

    fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

fn spawn(address: SocketAddr) -> (UnixStream, LockFile, JoinHandle<Result<(), FrontError>>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = format!("cowherd-front-{}-{number}.lock", std::process::id());
    let lock_file = std::env::temp_dir().join(file);
    File::create(&lock_file).expect("a temporary file can be made");
    let options = Options {
        listen_addresses: vec![address],
        telemetry_path: "/metrics".to_owned(),
        lock_file: lock_file.clone(),
    };
    let (ours, theirs) = UnixStream::pair().expect("a socket pair can be made");
    let front = thread::spawn(move || front::serve(theirs, options));
    (ours, LockFile(lock_file), front)
}

/// A view made just now.
fn fresh() -> View {
    aged(Duration::ZERO)
}

fn aged(age: Duration) -> View {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is past 1970");
    let mut view = Herd::small().view;
    view.at.wall.0 = (now.saturating_sub(age)).as_secs_f64().floor();
    view
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the front listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket takes a timeout");
    stream
}

fn get(address: SocketAddr, path: &str) -> Answer {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends all of a request and reads all of what comes back.
fn request(address: SocketAddr, text: &str) -> Answer {
    let mut stream = connect(address);
    stream
        .write_all(text.as_bytes())
        .expect("the front takes a request");
    let mut reader = BufReader::new(stream);
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
    let mut body = String::new();
    reader
        .read_to_string(&mut body)
        .expect("the front answers in UTF-8");
    let status = lines[0]
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    Answer {
        status: status.expect("a status line has a code"),
        headers: headers
            .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
            .collect(),
        body,
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the other end closes the connection; what it says before does not matter.
fn is_cut(mut stream: &TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_view_that_cannot_be_read_is_an_error_of_its_routes_alone() {
    let mut guard = Guard::start();
    let packed = Packed::of(&fresh()).expect("it can be encoded");
    let mut frame = link::encode(&FromGuard::View(packed)).expect("short");
    let end = frame.len();
    frame[end - 20..].fill(0xff);
    guard.link.write_all(&frame).expect("the front reads");
    wait_for("the view", || get(guard.address, "/-/ready").status == 200);
    for route in ["/", "/metrics", "/status.json"] {
        let answer = get(guard.address, route);
        assert_eq!(answer.status, 500, "{route}");
        assert!(answer.body.contains("see the log"), "{}", answer.body);
    }
}

#[test]
fn every_route_answers_with_its_type() {
    let guard = Guard::with_view();
    let routes = [
        ("/", "text/html; charset=utf-8", "pool0"),
        (
            "/metrics",
            "text/plain; version=0.0.4; charset=utf-8",
            "cowherd_vg_size_bytes",
        ),
        (
            "/metrics?x=y",
            "text/plain; version=0.0.4; charset=utf-8",
            "cowherd_vg_size_bytes",
        ),
        ("/status.json", "application/json", "\"pool0\""),
        ("/-/healthy", "text/plain; charset=utf-8", "healthy"),
        ("/-/ready", "text/plain; charset=utf-8", "ready"),
    ];
    for (path, content_type, content) in routes {
        let answer = get(guard.address, path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
        assert!(answer.body.contains(content), "{path}: {}", answer.body);
        let length = answer.header("content-length").map(str::to_owned);
        assert_eq!(length, Some(answer.body.len().to_string()), "{path}");
    }
}

#[test]
fn the_status_is_the_view() {
    let mut guard = Guard::start();
    let view = fresh();
    guard.publish(&view);
    let served: View = serde_json::from_str(&get(guard.address, "/status.json").body)
        .expect("the status is JSON of a view");
    assert_eq!(served, view);
}

#[test]
fn a_head_has_no_body() {
    let guard = Guard::with_view();
    let answer = request(
        guard.address,
        "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn what_is_not_offered_is_refused() {
    let guard = Guard::with_view();
    assert_eq!(get(guard.address, "/etc/passwd").status, 404);
    assert_eq!(get(guard.address, "//metrics").status, 404);
    let posted = request(
        guard.address,
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(
        (posted.status, posted.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let with_body = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(request(guard.address, with_body).status, 413);
    let chunked = "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    assert_eq!(request(guard.address, chunked).status, 413);
}

#[test]
fn requests_are_counted_by_handler_and_code() {
    let guard = Guard::with_view();
    get(guard.address, "/nothing");
    let text = get(guard.address, "/metrics").body;
    for series in [
        "cowherd_http_requests_total{handler=\"unknown\",code=\"404\"} 1",
        "cowherd_http_requests_total{handler=\"ready\",code=\"200\"} 0",
        "cowherd_http_connections_refused_total 0",
    ] {
        assert!(text.contains(&format!("{series}\n")), "{series} in {text}");
    }
}

#[test]
fn before_the_first_view_it_is_healthy_and_not_ready() {
    let guard = Guard::start();
    assert_eq!(get(guard.address, "/-/healthy").status, 200);
    for path in ["/-/ready", "/metrics", "/status.json", "/"] {
        let answer = get(guard.address, path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(
            answer.body.contains("has not published"),
            "{path}: {}",
            answer.body
        );
    }
}

#[test]
fn an_old_view_is_shown_with_its_age_and_is_not_ready() {
    let mut guard = Guard::with_view();
    assert_eq!(get(guard.address, "/-/ready").status, 200);
    guard.publish(&aged(Duration::from_secs(90)));
    let ready = get(guard.address, "/-/ready");
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.starts_with("the guard has been silent for 9"),
        "{}",
        ready.body
    );
    let page = get(guard.address, "/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("silent for 1.5"), "{}", page.body);
}

#[test]
fn a_header_without_end_is_refused() {
    let guard = Guard::with_view();
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    for text in [long, many] {
        let mut stream = guard.connect();
        // It may be cut while it is still talking.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let refused = answer.starts_with(b"HTTP/1.1 431");
        assert!(refused || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let guard = Guard::with_view();
    let mut slow = guard.connect();
    slow.write_all(b"GET / HT")
        .expect("the front takes a start");
    let idle = guard.connect();
    let began = Instant::now();
    assert_eq!(get(guard.address, "/metrics").status, 200);
    assert!(began.elapsed() < PROMPT, "others wait for a slow client");
    assert!(is_cut(&slow) && is_cut(&idle));
}

#[test]
fn an_answer_that_is_not_read_holds_nobody_up_and_is_cut() {
    let guard = Guard::with_view();
    let mut deaf = guard.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .expect("a socket takes a timeout");
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let mut is_stuck = false;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(
            Instant::now() < deadline,
            "a client that does not read is never cut"
        );
        match deaf.write(requests.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                is_stuck = true;
                let began = Instant::now();
                assert_eq!(get(guard.address, "/metrics").status, 200);
                assert!(began.elapsed() < PROMPT, "others wait for a deaf client");
            }
            Err(_) => break,
        }
    }
    assert!(is_stuck, "the client was cut before it was stuck");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_the_rest_is_served() {
    let guard = Guard::with_view();
    let mut crowd: Vec<TcpStream> = (0..300).map(|_| guard.connect()).collect();
    let refused = crowd.split_off(256);
    assert!(refused.iter().all(is_cut), "more are kept than allowed");
    let mut last = crowd.pop().expect("256 are left");
    last.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("a kept connection is open");
    let mut answer = String::new();
    last.read_to_string(&mut answer)
        .expect("a kept connection is served");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(crowd);
    wait_for("room for another connection", || {
        let text = TcpStream::connect(guard.address).and_then(|mut stream| {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        text.is_ok_and(|text| text.contains("cowherd_http_connections_refused_total 4"))
    });
}

#[test]
fn without_its_guard_it_serves_until_another_guard_lives() {
    let guard = Guard::with_view();
    drop(guard.link);
    let served = get(guard.address, "/metrics");
    assert_eq!(served.status, 200);
    assert!(served.body.contains("pool0"));
    assert!(!guard.front.is_finished());
    let lock = File::open(&guard.lock_file.0).expect("the lock file exists");
    // The front looks at the lock by taking it for a moment.
    wait_for("the lock", || {
        flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    });
    wait_for("the end", || guard.front.is_finished());
    guard.front.join().expect("no panic").expect("a good end");
    TcpListener::bind(guard.address).expect("the port is free for the next front");
}

#[test]
fn a_guard_that_dies_in_the_middle_of_a_frame_is_gone_as_well() {
    let mut guard = Guard::with_view();
    guard
        .link
        .write_all(&[0, 0, 1, 0, b'{'])
        .expect("the front reads");
    drop(guard.link);
    assert_eq!(get(guard.address, "/metrics").status, 200);
    assert!(!guard.front.is_finished());
}

#[test]
fn it_stops_when_the_guard_says_so() {
    let mut guard = Guard::with_view();
    // One that waits for something must not hold the end up.
    let _idle = guard.connect();
    link::send(&mut guard.link, &FromGuard::Stop).expect("the front reads");
    wait_for("the end", || guard.front.is_finished());
    guard.front.join().expect("no panic").expect("a good end");
}

#[test]
fn it_ends_with_an_error_when_the_guard_talks_nonsense() {
    let mut guard = Guard::with_view();
    guard
        .link
        .write_all(b"\0\0\0\x02{}")
        .expect("the front reads");
    wait_for("the end", || guard.front.is_finished());
    let end = guard.front.join().expect("no panic");
    assert!(matches!(end, Err(FrontError::Understand(_))), "{end:?}");
}

#[test]
fn an_address_in_use_is_told_and_is_tried_for_a_while() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address");
    let (mut link, _, front) = spawn(address);
    let told = link::receive(&mut link).expect("a whole frame");
    let Some(FromFront::Failed { message }) = told else {
        panic!("{told:?}")
    };
    assert!(
        message.starts_with(&format!("listen on {address}: Address already in use")),
        "{message}"
    );
    assert!(front.join().expect("no panic").is_err());

    let (mut link, _, _) = spawn(address);
    drop(taken);
    let told = link::receive::<FromFront>(&mut link).expect("a whole frame");
    assert!(
        matches!(told, Some(FromFront::Listening { .. })),
        "{told:?}"
    );
}
