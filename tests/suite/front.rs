//! The front, started in this process on a free port, with this test as its guard and its clients.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cowherd::front::FrontError;
use cowherd::link::{self, FromFront, FromGuard, Packed};
use cowherd::model::view::View;
use flate2::read::GzDecoder;
use rustix::fs::{FlockOperation, flock};

use super::served::{Guard, PATIENCE, PROMPT, aged, fresh, get, is_cut, request, spawn, wait_for};

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

/// Asks for gzip, and unpacks it.
fn get_packed(guard: &Guard, path: &str) -> String {
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    );
    let answer = request(guard.address, &text);
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
    assert_eq!(
        answer.header("vary"),
        Some("Accept, Accept-Encoding"),
        "{path}"
    );
    let length = answer.header("content-length").map(str::to_owned);
    assert_eq!(length, Some(answer.bytes.len().to_string()), "{path}");
    let mut unpacked = String::new();
    let mut reader = GzDecoder::new(answer.bytes.as_slice());
    reader
        .read_to_string(&mut unpacked)
        .expect("a whole member");
    assert_eq!(
        reader.into_inner(),
        b"",
        "{path}: something follows the member"
    );
    assert!(unpacked.len() > answer.bytes.len(), "{path}: not packed");
    unpacked
}

#[test]
fn whoever_takes_gzip_gets_the_same_packed() {
    let guard = Guard::with_view();
    // What the front counts itself changes with every request.
    let of_view = |text: &str| text.split("# HELP cowherd_http_").next().map(str::to_owned);
    for path in ["/metrics", "/metrics", "/status.json", "/"] {
        let plain = get(guard.address, path);
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        assert_eq!(
            plain.header("vary"),
            Some("Accept, Accept-Encoding"),
            "{path}"
        );
        let packed = get_packed(&guard, path);
        if path == "/" {
            assert_eq!(
                plain.body.split("<main>").nth(1),
                packed.split("<main>").nth(1)
            );
        } else {
            assert_eq!(of_view(&plain.body), of_view(&packed), "{path}");
        }
    }
    let packed = get_packed(&guard, "/metrics");
    assert!(packed.contains("cowherd_http_requests_total"), "{packed}");
    // An answer of some words is not worth it.
    let small =
        "GET /-/healthy HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    assert_eq!(request(guard.address, small).body, "healthy\n");
}

#[test]
fn openmetrics_is_whole_for_whoever_asks_for_it() {
    let guard = Guard::with_view();
    let text = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\
        Connection: close\r\n\r\n";
    let answer = request(guard.address, text);
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(expected));
    assert!(
        answer
            .body
            .contains("# TYPE cowherd_http_requests counter\n")
    );
    assert!(answer.body.ends_with("\n# EOF\n"), "{}", answer.body);
}

#[test]
fn the_page_links_to_the_metrics() {
    let guard = Guard::with_view();
    let page = get(guard.address, "/").body;
    assert!(page.contains("<a href=\"/metrics\">metrics</a>"), "{page}");
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
    let mut crowd: Vec<TcpStream> = (0..500).map(|_| guard.connect()).collect();
    for mut refused in crowd.split_off(256) {
        let mut told = String::new();
        refused.read_to_string(&mut told).expect("it is closed");
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        assert!(told.ends_with("\r\n\r\ntoo many connections\n"), "{told}");
    }
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
        text.is_ok_and(|text| text.contains("cowherd_http_connections_refused_total 2"))
    });
}

#[test]
fn without_its_guard_it_serves_until_another_guard_lives() {
    let guard = Guard::with_view();
    drop(guard.link);
    let served = get(guard.address, "/metrics");
    assert_eq!(served.status, 200);
    assert!(served.body.contains("pool0"));
    wait_for("that it is not ready", || {
        let ready = get(guard.address, "/-/ready");
        (ready.status, ready.body.as_str()) == (503, "the guard is gone\n")
    });
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
