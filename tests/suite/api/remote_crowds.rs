//! Callers over the network that are slow, many, or try again and again: they hold nobody up but themselves.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use cowherd::model::action::Question;
use cowherd::model::refusal::Code;

use super::super::served::{PATIENCE, PROMPT, get, is_cut, read, wait_for};
use super::remote::{Net, good, text};
use super::{assert_problem, text as request};

/// On this host, as whoever runs the test.
fn local(net: &Net) -> u16 {
    let mut stream = UnixStream::connect(&net.socket).expect("the front listens");
    let text = request("GET /api/v1/version", &[], "");
    stream.write_all(text.as_bytes()).expect("it reads");
    read(&mut BufReader::new(stream)).status
}

fn assert_nobody_waits(net: &Net) {
    let began = Instant::now();
    assert_eq!(get(net.guard.address, "/-/healthy").status, 200);
    assert_eq!(local(net), 200);
    assert!(began.elapsed() < PROMPT, "others wait");
}

fn admissions(net: &Net) -> usize {
    let asked = net.asked();
    let admissions = asked
        .iter()
        .filter(|ask| matches!(ask.question, Question::Admit(_)));
    admissions.count()
}

#[test]
fn five_hundred_connections_keep_out_nobody_who_is_on_this_host() {
    let net = Net::start();
    let mut crowd: Vec<TcpStream> = (0..500)
        .map(|_| TcpStream::connect(net.address).expect("it is taken"))
        .collect();
    // All but those that have a place are closed at once, and not when their handshake has not come.
    let refused = crowd.split_off(16);
    let began = Instant::now();
    for stream in &refused {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert!(is_cut(stream));
    }
    assert!(began.elapsed() < PROMPT, "they were let in");
    assert_nobody_waits(&net);
    drop(crowd);
    wait_for("room", || {
        let client = net.setting.client();
        let token = format!("Authorization: Bearer {}\r\n", good());
        let answer = client.get_with(net.address, "/api/v1/jobs", &token);
        answer.is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_slow_handshake_and_a_header_that_does_not_end_are_cut() {
    let net = Net::start();
    let connect = || {
        let stream = TcpStream::connect(net.address).expect("it is taken");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    let idle = connect();
    let mut slow = connect();
    slow.write_all(&[22, 3, 1, 2, 0, 1]).expect("it is taken");
    let client = net.setting.client();
    let mut endless = client.connect(net.address);
    endless
        .write_all(b"GET /api/v1/jobs HTTP/1.1\r\nAuthorization: ")
        .expect("it is taken");
    assert_nobody_waits(&net);
    assert_eq!(net.get("/api/v1/jobs", &good()).status, 200);
    assert!(is_cut(&idle) && is_cut(&slow));
    endless
        .sock
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout");
    assert!(is_cut(&endless.sock));
}

#[test]
fn whoever_tries_in_vain_has_to_wait_and_the_guard_is_not_asked() {
    let net = Net::start();
    let wrong = format!("Authorization: Bearer {}\r\n", text("backup", &[8; 32]));
    let client = net.setting.client();
    let attempt = |headers: &str| {
        client
            .get_with(net.address, "/api/v1/jobs", headers)
            .expect("TLS is spoken")
    };
    let limited = (0..10_000).find_map(|_| {
        let answer = attempt(&wrong);
        if answer.status == 401 {
            return None;
        }
        Some(answer)
    });
    let limited = limited.expect("there is a limit");
    assert_problem("one too many", &limited, Code::RateLimited);
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert!(admissions(&net) >= 10);
    let before = admissions(&net);
    // In a second the guard may be asked once more, and no request takes as long.
    let began = Instant::now();
    for _ in 0..20 {
        attempt(&wrong);
    }
    let most = usize::try_from(began.elapsed().as_secs()).expect("a few") + 1;
    assert!(admissions(&net) - before <= most);
    assert_eq!(local(&net), 200);
    wait_for("another try", || {
        let right = format!("Authorization: Bearer {}\r\n", good());
        attempt(&right).status == 200
    });
}

#[test]
fn without_a_guard_nobody_who_comes_is_let_in() {
    let net = Net::start();
    assert_eq!(net.get("/api/v1/version", &good()).status, 200);
    net.guard
        .link
        .shutdown(Shutdown::Both)
        .expect("it was connected");
    for path in ["/api/v1/version", "/api/v1/openapi.json", "/api/v1/jobs"] {
        // It is one that the document tells of, too.
        let answer = net.get(path, &good());
        assert_problem(path, &answer, Code::GuardUnavailable);
    }
    assert_eq!(local(&net), 200);
}
