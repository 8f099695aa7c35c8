//! The program itself, with the socket of the API handed down as standard output.

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use cowherd::link::{self, FromFront, FromGuard};

use super::super::served::read;
use super::{json, text};

/// A front, and the guard's end of its link.
fn start(stdout: Stdio) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair can be made");
    let arguments = [
        "--listen-address=127.0.0.1:0",
        "--telemetry-path=/metrics",
        "--host-root=/",
        "--lock-file=/nonexistent",
        "--log-level=error",
        "--api",
    ];
    let child = Command::new(env!("CARGO_BIN_EXE_cowherd"))
        .arg("front")
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn();
    (child.expect("it was built"), ours)
}

#[test]
fn a_socket_that_is_handed_down_is_served() {
    let socket = std::env::temp_dir().join(format!("cowherd-handed-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a temporary socket can be bound");
    let (mut child, mut link) = start(Stdio::from(OwnedFd::from(listener)));
    let told = link::receive::<FromFront>(&mut link).expect("a whole frame");
    assert!(
        matches!(told, Some(FromFront::Listening { .. })),
        "{told:?}"
    );
    let mut stream = UnixStream::connect(&socket).expect("it listens");
    let request = text("GET /api/v1/version", &[], "");
    stream.write_all(request.as_bytes()).expect("it reads");
    let answer = read(&mut BufReader::new(stream));
    assert_eq!(
        json(&answer)["version"],
        env!("CARGO_PKG_VERSION"),
        "{answer:?}"
    );
    link::send(&mut link, &FromGuard::Stop).expect("it reads");
    assert!(child.wait().expect("it ends").success());
    std::fs::remove_file(&socket).expect("it was bound above");
}

#[test]
fn what_does_not_listen_or_is_no_unix_socket_is_refused() {
    let (connected, _other) = UnixStream::pair().expect("a socket pair can be made");
    let inet = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    for (name, stdout) in [
        ("nothing", Stdio::null()),
        ("a connection", Stdio::from(OwnedFd::from(connected))),
        ("an address", Stdio::from(OwnedFd::from(inet))),
    ] {
        let (mut child, _link) = start(stdout);
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{name}");
        let mut told = String::new();
        let mut stderr = child.stderr.take().expect("it is a pipe");
        stderr.read_to_string(&mut told).expect("it is text");
        let expected = "cowherd: take the socket of the API from standard output";
        assert!(told.starts_with(expected), "{name}: {told}");
    }
}
