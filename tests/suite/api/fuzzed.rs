//! Any bytes for a request: each is understood or refused, and nothing panics.
//!
//! `FUZZED_REQUESTS=10000000 cargo test --test suite fuzzed` tries more of them than usual, `FUZZED_SEED=N` one.

use std::thread;

use cowherd::front::api::{Call, ROUTES, parse};
use cowherd::model::action::{Action, Create, Extend, Label, Merge, SnapshotKind, StoreSize};
use cowherd::model::bounds;
use cowherd::model::refusal::Refusal;
use fastrand::Rng;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::super::common::name;

const USUALLY: u64 = 20_000;

const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PATCH,
    Method::DELETE,
    Method::PUT,
];
const IDS: [&str; 8] = [
    "vg0%2Fs1",
    "vg0%2fs1",
    "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4",
    "HeDn2l9XRhaBcD1234wxyZ0aA1b2C3d4",
    "01JD4M7Q2ZK8V5T3X9W6R1B0NC",
    "vg0%252Fs1",
    "%2e%2e",
    "@tag",
];
const QUERIES: [&str; 8] = [
    "",
    "?dry_run=true",
    "?wait=5&dry_run=false",
    "?vg=vg0",
    "?type=cow",
    "?origin=vg0/a",
    "?wait=0",
    "?token=x",
];
/// Requests that are understood, before anything happens to them.
const GOOD: [(Method, &str, &str); 14] = [
    (Method::GET, "/api/v1/version", ""),
    (Method::GET, "/api/v1/volumes?type=cow&vg=vg0", ""),
    (Method::HEAD, "/api/v1/volumes/vg0%2Fa", ""),
    (Method::GET, "/api/v1/snapshots?origin=vg0%2Fa", ""),
    (Method::GET, "/api/v1/jobs/01JD4M7Q2ZK8V5T3X9W6R1B0NC", ""),
    (
        Method::POST,
        "/api/v1/volumes/vg0%2Fa/snapshots?wait=5",
        "{}",
    ),
    (
        Method::POST,
        "/api/v1/volumes/HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4/snapshots",
        r#"{"name": "n1", "type": "auto", "size": {"bytes": 4096}, "tags": ["a", "b"], "ttl_s": 60}"#,
    ),
    (
        Method::POST,
        "/api/v1/volumes/HeDn2l9XRhaBcD1234wxyZ0aA1b2C3d4/snapshots?dry_run=true",
        r#"{"size": {"percent_of_origin": 15}, "read_only": true, "activate": false}"#,
    ),
    (Method::POST, "/api/v1/snapshots/vg0%2Fs1/activate", ""),
    (
        Method::POST,
        "/api/v1/snapshots/vg0%2fs1/extend?wait=60&dry_run=false",
        r#"{"size_bytes": 1073741824}"#,
    ),
    (
        Method::POST,
        "/api/v1/snapshots/vg0%2Fs1/merge",
        r#"{"allow_deferred": true}"#,
    ),
    (
        Method::PATCH,
        "/api/v1/snapshots/vg0%2Fs1",
        r#"{"protected": true, "expendable": null, "ttl_s": 0}"#,
    ),
    (Method::DELETE, "/api/v1/snapshots/vg0%2Fs1", ""),
    (
        Method::POST,
        "/api/v1/confirmations",
        r#"{"action": "merge", "target": "vg0/s1", "merge": {"allow_deferred": false}}"#,
    ),
];
const HEADERS: [(&str, &str); 9] = [
    ("host", "localhost"),
    ("idempotency-key", "k1"),
    ("content-type", "application/json"),
    ("content-type", "application/json; charset=utf-8"),
    ("if-match", "\"HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4\""),
    ("confirm", "t0ken"),
    ("origin", "null"),
    ("transfer-encoding", "chunked"),
    ("accept", "*/*"),
];
/// What is put in at any place.
const BITS: [&str; 16] = [
    "\0", "\n", "%", "%00", "/", "//", "..", "{", "}", "[", "\"", "\\u0000", "1e400", "-", "ü", "&",
];

fn damaged(random: &mut Rng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            3 => {
                let part: Vec<u8> = bytes[at..].to_vec();
                bytes.extend(part);
            }
            _ => {
                let bit = random.choice(BITS).expect("there are some");
                bytes.splice(at..at, bit.bytes());
            }
        }
    }
    bytes
}

fn noise(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(0..64)).map(|_| random.u8(..)).collect()
}

/// A request in which little, much or nothing is wrong.
fn request(random: &mut Rng) -> (Method, String, HeaderMap, Vec<u8>) {
    let (method, target, body) = random.choice(&GOOD).expect("there are some");
    let (mut method, mut target) = (method.clone(), target.as_bytes().to_vec());
    let mut body = body.as_bytes().to_vec();
    match random.u8(0..8) {
        0 => method = random.choice(METHODS).expect("there are some"),
        1 => target = damaged(random, &target),
        2 | 3 => body = damaged(random, &body),
        4 => {
            let pattern = random.choice(ROUTES).expect("there are some").pattern;
            let id = random.choice(IDS).expect("there are some");
            let query = random.choice(QUERIES).expect("there are some");
            target = (pattern.replace("{id}", id) + query).into_bytes();
        }
        5 => (target, body) = (noise(random), noise(random)),
        _ => {}
    }
    let headers = headers(random, !body.is_empty());
    let target = String::from_utf8_lossy(&target).into_owned();
    (method, target, headers, body)
}

fn headers(random: &mut Rng, has_body: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS {
        let share = match name {
            "content-type" if !has_body => 10,
            "host" | "idempotency-key" | "content-type" => 97,
            "origin" | "transfer-encoding" => 2,
            _ => 30,
        };
        if random.u8(0..100) >= share {
            continue;
        }
        let value = if random.u8(0..20) == 0 {
            damaged(random, value.as_bytes())
        } else {
            value.as_bytes().to_vec()
        };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if random.u8(0..50) == 0 {
        headers.append("confirm", HeaderValue::from_static("x"));
    }
    headers
}

/// Whether it was understood.
fn try_one(seed: u64) -> Result<bool, String> {
    let mut random = Rng::with_seed(seed);
    let (method, target, headers, body) = request(&mut random);
    let parsed = parse(&method, &target, &headers, &body);
    let fault = match &parsed {
        Ok(call) => fault_of_call(&method, call),
        Err(refusal) => fault_of_refusal(refusal),
    };
    let Some(fault) = fault else {
        return Ok(parsed.is_ok());
    };
    let body = String::from_utf8_lossy(&body);
    let request = format!("{method} {target} {headers:?} {body:?}");
    let again = format!("FUZZED_SEED={seed} cargo test --test suite fuzzed");
    Err(format!("{fault}\n  {request}\n  again: {again}"))
}

fn fault_of_call(method: &Method, call: &Call) -> Option<String> {
    let (Call::Change { act, .. } | Call::Confirm(act)) = call else {
        let is_read = [Method::GET, Method::HEAD].contains(method);
        return (!is_read).then(|| "another method reads".to_owned());
    };
    if method.is_safe() {
        return Some("a safe method changes".to_owned());
    }
    bounds::check(act).err().map(|refusal| refusal.detail)
}

fn fault_of_refusal(Refusal { code, detail }: &Refusal) -> Option<String> {
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    if !(400..500).contains(&code.status()) {
        return Some(format!("{code:?} is no fault of a caller's"));
    }
    let is_good = (1..400).contains(&detail.len()) && detail.chars().all(is_plain);
    (!is_good).then(|| format!("no detail to be shown: {detail:?}"))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a whole number"))
}

#[test]
fn any_fuzzed_request_is_understood_or_refused() {
    if let Some(seed) = number("FUZZED_SEED") {
        try_one(seed).unwrap();
        return;
    }
    let requests = number("FUZZED_REQUESTS").unwrap_or(USUALLY);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let step = u64::try_from(threads).expect("few processors");
    let understood: u64 = thread::scope(|scope| {
        let tries = |first| {
            move || {
                let seeds = (first..requests).step_by(threads);
                let understood = seeds.filter(|seed| try_one(*seed).unwrap());
                u64::try_from(understood.count()).expect("as many as were asked for")
            }
        };
        let all: Vec<_> = (0..step).map(|first| scope.spawn(tries(first))).collect();
        all.into_iter()
            .map(|one| one.join().expect("no panic"))
            .sum()
    });
    // Both ways are tried in earnest.
    let share = understood * 100 / requests;
    assert!((20..80).contains(&share), "{share} % are understood");
}

fn create() -> impl Strategy<Value = Create> {
    let size = prop_oneof![
        Just(None),
        Just(Some(StoreSize::Auto)),
        (1..=bounds::SIZE_BYTES_MAX).prop_map(|bytes| Some(StoreSize::Bytes(bytes))),
        (1..=bounds::PERCENT_MAX).prop_map(|percent| Some(StoreSize::PercentOfOrigin(percent))),
    ];
    let kind = prop_oneof![Just(SnapshotKind::Auto), Just(SnapshotKind::Thick)];
    let ttl = option::of(0..=bounds::TTL_SECS_MAX);
    let tags = vec("[a-bd-z][A-Za-z0-9_+.-]{0,20}", 0..16);
    let names = option::of("n[A-Za-z0-9.+-]{0,99}");
    (names, kind, size, ttl, tags, any::<[bool; 4]>()).prop_map(
        |(lv, kind, size, ttl_s, tags, [read_only, activate, expendable, protected])| Create {
            name: lv.map(|lv| name(&lv)),
            kind,
            size,
            read_only,
            activate,
            ttl_s,
            expendable,
            protected,
            tags,
            quiesce: None,
            with: Vec::new(),
        },
    )
}

fn parsed(method: &Method, path: &str, body: &Value) -> Result<Call, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in &HEADERS[..3] {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    parse(method, path, &headers, body.to_string().as_bytes())
}

fn action(call: Result<Call, Refusal>) -> Action {
    match call {
        Ok(Call::Change { act, .. } | Call::Confirm(act)) => act.action,
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// The hand that reads a body and the derive that writes it agree.
    #[test]
    fn a_body_is_read_as_it_is_written(create in create(), size_bytes in 1..=bounds::SIZE_BYTES_MAX, allow_deferred: bool, protected: Option<bool>, expendable: Option<bool>, ttl_s in option::of(0..=bounds::TTL_SECS_MAX)) {
        let path = "/api/v1/volumes/vg0%2Fvm101/snapshots";
        let read = action(parsed(&Method::POST, path, &json!(create)));
        prop_assert_eq!(read, Action::Create(create));
        let snapshot = "/api/v1/snapshots/vg0%2Fs1";
        let extend = Extend { size_bytes };
        let read = action(parsed(&Method::POST, &format!("{snapshot}/extend"), &json!(extend)));
        prop_assert_eq!(read, Action::Extend(extend));
        let merge = Merge { allow_deferred };
        let read = action(parsed(&Method::POST, &format!("{snapshot}/merge"), &json!(merge)));
        prop_assert_eq!(read, Action::Merge(merge.clone()));
        let asked = json!({"action": "merge", "target": "vg0/s1", "merge": merge});
        let read = action(parsed(&Method::POST, "/api/v1/confirmations", &asked));
        prop_assert_eq!(read, Action::Merge(merge));
        let label = Label { protected, expendable, ttl_s };
        let read = action(parsed(&Method::PATCH, snapshot, &json!(label)));
        prop_assert_eq!(read, Action::Label(label));
    }
}
