//! Callers that are slow, many or deaf, and a guard that is: each is bounded, and the metrics wait for nobody.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use cowherd::link::{self, FromGuard, Json};
use cowherd::model::action::{Answered, Question, Reply};
use cowherd::model::refusal::Code;

use super::super::served::{PROMPT, get, read, wait_for};
use super::{Api, Script, assert_problem, json, text, usual};

const S: &str = "/api/v1/snapshots/vg0%2Fs1";
/// Longer than the front waits for the guard.
const SILENCE: Duration = Duration::from_secs(45);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says nothing to these.
fn silent_to(is_meant: fn(&Question) -> bool) -> Script {
    Box::new(move |question| (!is_meant(question)).then(|| usual(question)))
}

/// Starts a request and does not wait for its answer.
fn begin(api: &Api, line: &str) -> UnixStream {
    let mut stream = api.connect();
    let request = text(line, &[], "");
    stream
        .write_all(request.as_bytes())
        .expect("the front takes a request");
    stream
}

fn assert_metrics(api: &Api) {
    let began = Instant::now();
    assert_eq!(get(api.guard.address, "/-/healthy").status, 200);
    assert!(began.elapsed() < PROMPT, "the metrics wait");
}

/// Whether the other end closes the connection, and what it says before.
pub(crate) fn told(stream: &mut UnixStream) -> String {
    let mut told = Vec::new();
    match stream.read_to_end(&mut told) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn a_guard_that_is_silent_is_waited_for_half_a_minute() {
    let api = Api::with(silent_to(|question| matches!(question, Question::Act(_))));
    let began = Instant::now();
    let answer = api.change(&format!("DELETE {S}"), "");
    assert_problem("silence", &answer, Code::Timeout);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(29) && took < SILENCE, "{took:?}");
    assert_eq!(api.get("/api/v1/jobs").status, 200);
}

#[test]
fn a_guard_that_goes_is_told_at_once_to_whoever_waits_and_whoever_comes() {
    let api = Api::with(silent_to(|_| true));
    let waiting = begin(&api, "GET /api/v1/jobs");
    wait_for("the question", || !api.questions().is_empty());
    api.hang_up();
    let answer = read(&mut BufReader::new(waiting));
    assert_problem("who waits", &answer, Code::GuardUnavailable);
    let change = api.change(&format!("DELETE {S}"), "");
    assert_problem("who comes", &change, Code::GuardUnavailable);
    assert_eq!(api.get("/api/v1/version").status, 200);
    assert_metrics(&api);
}

#[test]
fn questions_that_nobody_answers_are_bounded_and_those_who_hang_up_count() {
    let api = Api::with(silent_to(|question| *question == Question::Jobs));
    let most = if is_root() { 32 } else { 12 };
    for count in 1..=most {
        // Who hangs up before the request was read asks nothing.
        let asker = begin(&api, "GET /api/v1/jobs");
        wait_for("the question", || api.questions().len() == count);
        drop(asker);
    }
    let crowded = api.get("/api/v1/jobs");
    assert_problem("one too many", &crowded, Code::RateLimited);
    assert_eq!(crowded.header("retry-after"), Some("1"));
    // A change that finds no room is on record.
    let change = api.change(&format!("DELETE {S}"), "");
    assert_problem("a change", &change, Code::RateLimited);
    assert_eq!(api.await_refusals(1)[0].code, Code::RateLimited);
    assert!(api.acts().is_empty());
    assert_metrics(&api);
    // Each answer makes room.
    let number = api.asked.lock().expect("nobody panics")[0].number;
    let answer = Ok(Reply::Jobs(Vec::new()));
    let answered = Json::of(&Answered { number, answer }).expect("it can be encoded");
    link::send(&mut &api.guard.link, &FromGuard::Answer(answered)).expect("the front reads");
    wait_for("room", || api.get("/api/v1/volumes").status == 200);
}

#[test]
fn an_answer_that_is_none_is_no_end() {
    let api = Api::start();
    for nonsense in [
        Json::of(&"x"),
        Json::of(&Answered {
            number: 999,
            answer: Ok(Reply::Noted),
        }),
    ] {
        let nonsense = FromGuard::Answer(nonsense.expect("it can be encoded"));
        link::send(&mut &api.guard.link, &nonsense).expect("the front reads");
    }
    assert_eq!(api.get("/api/v1/jobs").status, 200);
    assert_metrics(&api);
}

#[test]
fn changes_are_counted_for_each_user_and_the_first_too_many_is_on_record() {
    let api = Api::start();
    // It is refused before the guard is asked, and still counts.
    let line = format!("POST {S}/activate");
    let mut refused = 0;
    let limited = (0..100_000).find_map(|_| {
        let answer = api.request(&line, &[], "");
        refused += 1;
        (answer.status == 429).then_some(answer)
    });
    let limited = limited.expect("there is a limit");
    assert_problem("one too many", &limited, Code::RateLimited);
    assert_eq!(limited.header("retry-after"), Some("1"));
    let most = if is_root() { 400 } else { 40 };
    assert!(refused > most, "{refused}");
    assert_eq!(
        api.get("/api/v1/jobs").status,
        200,
        "looking is not limited"
    );
    let is_limited = |api: &Api| {
        let refusals = api.await_refusals(1);
        refusals
            .iter()
            .any(|refusal| refusal.code == Code::RateLimited)
    };
    wait_for("the record", || is_limited(&api));
    wait_for("another token", || {
        api.request(&line, &[], "").status == 400
    });
}

#[test]
fn connections_of_one_user_are_bounded() {
    let api = Api::start();
    let mut crowd: Vec<UnixStream> = (0..16).map(|_| api.connect()).collect();
    // All of them are in once the last one is answered.
    let request = text("GET /api/v1/version", &[], "").replace("Connection: close\r\n", "");
    let last = crowd.last_mut().expect("sixteen");
    last.write_all(request.as_bytes()).expect("it is in");
    last.read_exact(&mut [0; 12]).expect("it is answered");
    let refused = told(&mut api.connect());
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\"code\":\"rate_limited\""), "{refused}");
    // Whoever sends a request all the same gets to read why.
    let mut refused = String::new();
    let read = begin(&api, "GET /api/v1/version").read_to_string(&mut refused);
    assert!(read.is_ok() && refused.contains(" 429 "), "{read:?}");
    assert_metrics(&api);
    drop(crowd);
    wait_for("room", || {
        told(&mut begin(&api, "GET /api/v1/version")).contains(" 200 OK")
    });
}

#[test]
fn a_header_and_a_body_that_do_not_come_are_not_waited_for() {
    let api = Api::start();
    let mut idle = api.connect();
    let mut slow = api.connect();
    slow.write_all(b"GET /api/v1/jo").expect("it is in");
    let mut body = api.connect();
    let headers = ["Content-Type: application/json", "Content-Length: 10"];
    let head = text(&format!("PATCH {S}"), &headers, "") + "{";
    body.write_all(head.as_bytes()).expect("it is in");
    let began = Instant::now();
    assert_eq!(api.get("/api/v1/jobs").status, 200);
    assert_metrics(&api);
    assert!(began.elapsed() < PROMPT, "others wait for a slow caller");
    for stream in [&mut idle, &mut slow] {
        assert!(!told(stream).contains(" 200 OK"));
    }
    let answer = read(&mut BufReader::new(body));
    assert_problem("a body that does not come", &answer, Code::InvalidRequest);
    assert_eq!(api.await_refusals(1)[0].code, Code::InvalidRequest);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9) && took < SILENCE, "{took:?}");
    assert!(api.acts().is_empty());
}

#[test]
fn a_body_that_ends_early_changes_nothing() {
    let api = Api::start();
    let mut stream = api.connect();
    let headers = ["Content-Type: application/json", "Content-Length: 10"];
    let half = text(&format!("PATCH {S}"), &headers, "") + "{}";
    stream.write_all(half.as_bytes()).expect("it is in");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("it was connected");
    told(&mut stream);
    // Nothing but the next question reaches the guard.
    assert_eq!(api.get("/api/v1/jobs").status, 200);
    assert!(api.acts().is_empty());
}

#[test]
fn whoever_does_not_read_holds_nobody_up() {
    let api = Api::start();
    let (stuck, is_stuck) = channel();
    let mut deaf = api.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .expect("a socket takes a timeout");
    let request = text("GET /api/v1/openapi.json", &[], "").replace("Connection: close\r\n", "");
    thread::spawn(move || {
        while deaf.write_all(request.as_bytes()).is_ok() {}
        stuck.send(()).expect("somebody waits");
        thread::park();
    });
    is_stuck.recv().expect("it is stuck in the end");
    let began = Instant::now();
    let answer = api.get("/api/v1/openapi.json");
    assert_eq!(json(&answer)["openapi"], "3.1.0");
    assert_metrics(&api);
    assert!(began.elapsed() < PROMPT, "others wait for a deaf caller");
}
