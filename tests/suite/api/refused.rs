//! Bad requests: each is answered with its code, changes nothing, and is on record where it would have.

use std::io::Write;

use cowherd::model::action::Question;
use cowherd::model::refusal::Code;

use super::super::served::Answer;
use super::crowds::told;
use super::documented;
use super::{Api, assert_problem};

/// A front takes so many changes at once from whoever is not root.
const AT_ONCE: usize = 30;

/// `name | method and path | headers | body | code`. In the paths V is a volume and S a snapshot, in the headers K is
/// a key and J says JSON. A host is added to headers without one.
const BAD: &str = r#"
no route | GET /api/v1/guests ||| not_found
no version | GET /volumes ||| not_found
a path with two slashes | GET /api/v1//volumes ||| not_found
a slash at the end | GET /api/v1/volumes/ ||| not_found
another case | GET /API/V1/volumes ||| not_found
a parameter in a path | GET /api/v1/volumes;x=y ||| not_found
dots | GET /api/v1/../v1/volumes ||| not_found
encoded dots | GET /api/v1/%2e%2e/volumes ||| not_found
encoded dots for an id | DELETE /api/v1/snapshots/%2e%2E | K || not_found
an encoded letter of a route | GET /api/v1/%76olumes ||| not_found
a name that is two parts | GET /api/v1/volumes/vg0/vm101 ||| not_found
a name that is two parts, of a change | DELETE /api/v1/snapshots/vg0/s1 | K || not_found
too many parts | POST S/merge/now | K || not_found
an absolute target | GET http://localhost/api/v1/volumes ||| not_found
a star | OPTIONS * ||| not_found
another server's path | GET /metrics ||| not_found
PUT | PUT S | K;J | {} | method_not_allowed
DELETE of a volume | DELETE V | K || method_not_allowed
POST to a list | POST /api/v1/jobs | K;J | {} | method_not_allowed
GET of a merge | GET S/merge ||| method_not_allowed
HEAD of a merge | HEAD S/merge ||| method_not_allowed
a method of its own | MERGE S ||| method_not_allowed
TRACE | TRACE /api/v1/version ||| method_not_allowed
OPTIONS, as a browser asks | OPTIONS S/merge | Origin: http://x || forbidden
a foreign host | GET /api/v1/volumes | Host: evil.example || misdirected_request
a foreign host, of a change | DELETE S | K;Host: evil.example:80 || misdirected_request
an address for a host | GET /api/v1/volumes | Host: 127.0.0.1 || misdirected_request
a host with a port | GET /api/v1/volumes | Host: localhost:80 || misdirected_request
two hosts | GET /api/v1/volumes | Host: localhost;Host: localhost || invalid_request
an origin | DELETE S | K;Origin: https://evil.example || forbidden
our own origin | GET /api/v1/volumes | Origin: http://localhost || forbidden
no origin that is told | POST S/activate | K;Origin: null || forbidden
two authorizations | DELETE S | K;Authorization: Bearer a;Authorization: Bearer b || invalid_request
two keys | POST S/activate | K;K || invalid_request
two preconditions | DELETE S | If-Match: "U";If-Match: "U" || invalid_request
two confirmations | DELETE S | Confirm: a;Confirm: b || invalid_request
two types | POST S/extend | K;J;J | {"size_bytes": 1} | invalid_request
no key | POST S/activate ||| invalid_request
no key to create | POST V/snapshots | J | {} | invalid_request
no key to extend | POST S/extend | J | {"size_bytes": 1} | invalid_request
no key to merge | POST S/merge ||| invalid_request
no key to deactivate | POST S/deactivate ||| invalid_request
an empty key | POST S/activate | Idempotency-Key: || invalid_request
a key with a space | POST S/activate | Idempotency-Key: a b || invalid_request
a key of 65 | POST S/activate | Idempotency-Key: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa || invalid_request
a bad key of a removal | DELETE S | Idempotency-Key: a/b || invalid_request
a precondition without quotes | DELETE S | If-Match: U || invalid_request
a weak precondition | DELETE S | If-Match: W/"U" || invalid_request
any precondition | DELETE S | If-Match: * || invalid_request
two in one precondition | DELETE S | If-Match: "U", "U" || invalid_request
a precondition that is no uuid | PATCH S | J;If-Match: "x" | {} | invalid_request
an empty confirmation | DELETE S | Confirm: || confirmation_invalid
a confirmation with a space | POST S/merge | K;Confirm: a b || confirmation_invalid
a chunked body | POST S/extend | K;J;Transfer-Encoding: chunked || invalid_request
an unknown key in a query | GET /api/v1/volumes?vmid=1 ||| invalid_request
a token in a query | DELETE S?token=x | K || invalid_request
a query where there is none | GET /api/v1/jobs?since=1 ||| invalid_request
a query of another route | GET /api/v1/volumes?origin=vg0%2Fvm101 ||| invalid_request
a repeated key in a query | GET /api/v1/volumes?vg=a&vg=a ||| invalid_request
an encoded key in a query | GET /api/v1/volumes?%76g=a ||| invalid_request
a key without a value | DELETE S?dry_run ||| invalid_request
dry_run=1 | DELETE S?dry_run=1 ||| invalid_request
dry_run=TRUE | DELETE S?dry_run=TRUE ||| invalid_request
dry_run twice | DELETE S?dry_run=true&dry_run=false ||| invalid_request
an empty pair in a query | DELETE S?dry_run=true& ||| invalid_request
a dry run of a confirmation | POST /api/v1/confirmations?dry_run=true | J | {} | invalid_request
wait=0 | DELETE S?wait=0 ||| invalid_request
wait=61 | DELETE S?wait=61 ||| invalid_request
wait=-1 | DELETE S?wait=-1 ||| invalid_request
wait=+1 | DELETE S?wait=+1 ||| invalid_request
wait=1s | DELETE S?wait=1s ||| invalid_request
wait=1e1 | DELETE S?wait=1e1 ||| invalid_request
wait beyond all | DELETE S?wait=99999999999999999999 ||| invalid_request
a bad escape in a query | GET /api/v1/volumes?vg=%zz ||| invalid_request
a bad group in a query | GET /api/v1/volumes?vg=-x ||| invalid_name
an empty group in a query | GET /api/v1/volumes?vg= ||| invalid_name
a tag for a group | GET /api/v1/snapshots?vg=@prod ||| invalid_name
no kind | GET /api/v1/volumes?type=raid ||| invalid_request
an origin that is no volume | GET /api/v1/snapshots?origin=vm101 ||| invalid_name
a group without a volume | DELETE /api/v1/snapshots/vg0 | K || invalid_name
a group and a slash | DELETE /api/v1/snapshots/vg0%2F | K || invalid_name
a slash and a volume | DELETE /api/v1/snapshots/%2Fs1 | K || invalid_name
a device for an id | DELETE /api/v1/snapshots/%2Fdev%2Fvg0%2Fs1 | K || invalid_name
a way up in an id | DELETE /api/v1/snapshots/vg0%2F.. | K || invalid_name
a way up and down in an id | DELETE /api/v1/snapshots/vg0%2F..%2Fs1 | K || invalid_name
an option for an id | DELETE /api/v1/snapshots/--config=x | K || invalid_name
an option for a volume | DELETE /api/v1/snapshots/vg0%2F-S | K || invalid_name
a tag for an id | DELETE /api/v1/snapshots/@prod | K || invalid_name
twice encoded | DELETE /api/v1/snapshots/vg0%252Fs1 | K || invalid_name
a NUL in an id | DELETE /api/v1/snapshots/vg0%2Fs1%00 | K || invalid_name
a new line in an id | POST /api/v1/snapshots/vg0%2Fs1%0A/merge | K || invalid_name
a space in an id | POST /api/v1/snapshots/vg0%2Fs+1%20/merge | K || invalid_name
letters of another script in an id | DELETE /api/v1/snapshots/vg0%2F%C3%BC | K || invalid_name
a uuid that is short | DELETE /api/v1/snapshots/HeDn2l9XRhaBcD1234wxyZ0aA1b2C3d | K || invalid_name
a uuid with its hyphens elsewhere | DELETE /api/v1/snapshots/HeDn2l9XRhaBcD1234wxyZ0aA1b2C3-d4 | K || invalid_name
no UTF-8 in an id | DELETE /api/v1/snapshots/vg0%2F%C3 | K || invalid_request
half an escape in an id | DELETE /api/v1/snapshots/vg0%2 | K || invalid_request
a body of a GET | GET /api/v1/volumes | J | {} | invalid_request
a body of a removal | DELETE S | K;J | {} | invalid_request
a body of an activation | POST S/activate | K;J | {} | invalid_request
no body to create | POST V/snapshots | K;J || invalid_request
no body to extend | POST S/extend | K;J || invalid_request
no body to label | PATCH S | J || invalid_request
no body to confirm | POST /api/v1/confirmations | J || invalid_request
no type | POST V/snapshots | K | {} | unsupported_media_type
a form | POST V/snapshots | K;Content-Type: application/x-www-form-urlencoded | name=x | unsupported_media_type
a text | POST V/snapshots | K;Content-Type: text/plain | {} | unsupported_media_type
another charset | POST V/snapshots | K;Content-Type: application/json; charset=latin1 | {} | unsupported_media_type
another parameter | POST V/snapshots | K;Content-Type: application/json; profile=x | {} | unsupported_media_type
a packed body | POST V/snapshots | K;J;Content-Encoding: gzip | {} | unsupported_media_type
no JSON | POST V/snapshots | K;J | name=x | invalid_request
half of JSON | POST V/snapshots | K;J | {"name": "x" | invalid_request
two of JSON | POST V/snapshots | K;J | {}{} | invalid_request
something after JSON | POST V/snapshots | K;J | {} x | invalid_request
a comment in JSON | POST V/snapshots | K;J | {/**/} | invalid_request
a comma too many | POST V/snapshots | K;J | {"activate": true,} | invalid_request
NaN | POST S/extend | K;J | {"size_bytes": NaN} | invalid_request
1e400 | POST S/extend | K;J | {"size_bytes": 1e400} | invalid_request
a list for a body | POST V/snapshots | K;J | [] | invalid_request
a full list for a body | POST S/merge | K;J | [true] | invalid_request
null for a body | POST V/snapshots | K;J | null | invalid_request
a text for a body | POST V/snapshots | K;J | "x" | invalid_request
an unknown field | POST V/snapshots | K;J | {"nmae": "x"} | invalid_request
an unknown field inside | POST V/snapshots | K;J | {"size": {"bytes": 1, "extents": 1}} | invalid_request
an unknown field to label | PATCH S | J | {"tags": []} | invalid_request
a field twice | POST V/snapshots | K;J | {"name": "a", "name": "b"} | invalid_request
a field twice inside | POST V/snapshots | K;J | {"size": {"bytes": 1, "bytes": 2}} | invalid_request
a field twice, once escaped | POST V/snapshots | K;J | {"name": "a", "n\u0061me": "b"} | invalid_request
a number for a name | POST V/snapshots | K;J | {"name": 7} | invalid_request
a text for a claim | POST V/snapshots | K;J | {"read_only": "true"} | invalid_request
a number for a claim | POST V/snapshots | K;J | {"activate": 1} | invalid_request
null for a claim | POST V/snapshots | K;J | {"protected": null} | invalid_request
a list for tags' tag | POST V/snapshots | K;J | {"tags": [["a"]]} | invalid_request
a text for tags | POST V/snapshots | K;J | {"tags": "a"} | invalid_request
no type of snapshot | POST V/snapshots | K;J | {"type": "cow"} | invalid_request
an object for a type | POST V/snapshots | K;J | {"type": {"auto": null}} | invalid_request
a negative time | POST V/snapshots | K;J | {"ttl_s": -1} | invalid_request
a time with a fraction | POST V/snapshots | K;J | {"ttl_s": 1.5} | invalid_request
more than ten years | POST V/snapshots | K;J | {"ttl_s": 315360001} | invalid_request
more than ten years to label | PATCH S | J | {"ttl_s": 4294967296} | invalid_request
seventeen tags | POST V/snapshots | K;J | {"tags": ["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"]} | invalid_request
no name | POST V/snapshots | K;J | {"name": ""} | invalid_name
a space for a name | POST V/snapshots | K;J | {"name": " "} | invalid_name
an option for a name | POST V/snapshots | K;J | {"name": "--config=global/x=1"} | invalid_name
a short option for a name | POST V/snapshots | K;J | {"name": "-S"} | invalid_name
a tag for a name | POST V/snapshots | K;J | {"name": "@prod"} | invalid_name
a way up for a name | POST V/snapshots | K;J | {"name": ".."} | invalid_name
a dot in front | POST V/snapshots | K;J | {"name": ".x"} | invalid_name
a path for a name | POST V/snapshots | K;J | {"name": "../x"} | invalid_name
a device for a name | POST V/snapshots | K;J | {"name": "/dev/vg0/x"} | invalid_name
group and name for a name | POST V/snapshots | K;J | {"name": "vg0/x"} | invalid_name
a new line in a name | POST V/snapshots | K;J | {"name": "a\nb"} | invalid_name
a NUL in a name | POST V/snapshots | K;J | {"name": "a\u0000"} | invalid_name
a command in a name | POST V/snapshots | K;J | {"name": "$(id)"} | invalid_name
a semicolon in a name | POST V/snapshots | K;J | {"name": "a;b"} | invalid_name
a quote in a name | POST V/snapshots | K;J | {"name": "a'b"} | invalid_name
a hash in a name | POST V/snapshots | K;J | {"name": "a#b"} | invalid_name
a format in a name | POST V/snapshots | K;J | {"name": "%s"} | invalid_name
an escape in a name | POST V/snapshots | K;J | {"name": "a%20b"} | invalid_name
a name from right to left | POST V/snapshots | K;J | {"name": "a\u202eb"} | invalid_name
an emoji for a name | POST V/snapshots | K;J | {"name": "🐄"} | invalid_name
LVM's own start | POST V/snapshots | K;J | {"name": "snapshot1"} | invalid_name
LVM's own start of a move | POST V/snapshots | K;J | {"name": "pvmove0"} | invalid_name
LVM's own end | POST V/snapshots | K;J | {"name": "x_tdata"} | invalid_name
LVM's own middle | POST V/snapshots | K;J | {"name": "x_rimage_0"} | invalid_name
an empty tag | POST V/snapshots | K;J | {"tags": [""]} | invalid_name
an option for a tag | POST V/snapshots | K;J | {"tags": ["-x"]} | invalid_name
a tag with a sign | POST V/snapshots | K;J | {"tags": ["a=b"]} | invalid_name
our own tag | POST V/snapshots | K;J | {"tags": ["cowherd"]} | invalid_name
our own tag to protect | POST V/snapshots | K;J | {"tags": ["ok", "cowherd.protected"]} | invalid_name
size 0 | POST S/extend | K;J | {"size_bytes": 0} | invalid_size
a negative size | POST S/extend | K;J | {"size_bytes": -1} | invalid_size
a size with a fraction | POST S/extend | K;J | {"size_bytes": 1.5} | invalid_size
a size that may be rounded | POST S/extend | K;J | {"size_bytes": 1e16} | invalid_size
more than 64 bits | POST S/extend | K;J | {"size_bytes": 99999999999999999999} | invalid_size
more than 8 EiB | POST S/extend | K;J | {"size_bytes": 9223372036854775809} | invalid_size
a size as LVM takes it | POST S/extend | K;J | {"size_bytes": "10M"} | invalid_size
a share as LVM takes it | POST S/extend | K;J | {"size_bytes": "+100%FREE"} | invalid_size
true for a size | POST S/extend | K;J | {"size_bytes": true} | invalid_request
null for a size | POST S/extend | K;J | {"size_bytes": null} | invalid_request
no size | POST S/extend | K;J | {} | invalid_request
a size that is a text | POST V/snapshots | K;J | {"size": "10%ORIGIN"} | invalid_size
a size that is a number | POST V/snapshots | K;J | {"size": 4096} | invalid_size
a size that is a list | POST V/snapshots | K;J | {"size": [4096]} | invalid_request
no size inside | POST V/snapshots | K;J | {"size": {}} | invalid_request
two sizes | POST V/snapshots | K;J | {"size": {"bytes": 1, "percent_of_origin": 1}} | invalid_request
0 percent | POST V/snapshots | K;J | {"size": {"percent_of_origin": 0}} | invalid_size
201 percent | POST V/snapshots | K;J | {"size": {"percent_of_origin": 201}} | invalid_size
more percent than fit | POST V/snapshots | K;J | {"size": {"percent_of_origin": 4294967297}} | invalid_size
a size for a thin one | POST V/snapshots | K;J | {"type": "thin", "size": {"bytes": 4096}} | invalid_size
a confirmation of nothing | POST /api/v1/confirmations | J | {"target": "vg0/s1"} | invalid_request
a confirmation of another action | POST /api/v1/confirmations | J | {"action": "create", "target": "vg0/s1"} | invalid_request
a confirmation without a target | POST /api/v1/confirmations | J | {"action": "remove"} | invalid_request
a merge in a removal | POST /api/v1/confirmations | J | {"action": "remove", "target": "vg0/s1", "merge": {}} | invalid_request
an unknown field in a merge | POST /api/v1/confirmations | J | {"action": "merge", "target": "vg0/s1", "merge": {"x": 1}} | invalid_request
a list for a merge | POST /api/v1/confirmations | J | {"action": "merge", "target": "vg0/s1", "merge": [true]} | invalid_request
an encoded target in JSON | POST /api/v1/confirmations | J | {"action": "merge", "target": "vg0%2Fs1"} | invalid_name
"#;

struct Case {
    name: String,
    method: String,
    path: String,
    request: Vec<u8>,
    code: Code,
}

fn header(text: &str) -> String {
    match text {
        "K" => "Idempotency-Key: k1".to_owned(),
        "J" => "Content-Type: application/json".to_owned(),
        other => other
            .replace('\0', "; ")
            .replace('U', "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4"),
    }
}

impl Case {
    /// Of one line of the table.
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, first, headers, body, code] = fields.as_slice() else {
            panic!("five fields: {line}");
        };
        let (method, path) = first.split_once(' ').expect("a method and a path");
        let path = match path.split_at(1) {
            ("V", rest) => format!("/api/v1/volumes/vg0%2Fvm101{rest}"),
            ("S", rest) => format!("/api/v1/snapshots/vg0%2Fs1{rest}"),
            _ => path.to_owned(),
        };
        // A semicolon within a header has a space behind it.
        let headers = headers.replace("; ", "\0");
        let headers = headers.split(';').filter(|header| !header.is_empty());
        let mut lines: Vec<String> = headers.map(header).collect();
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            lines.push("Host: localhost".to_owned());
        }
        let lines = lines.iter().map(|line| format!("{line}\r\n"));
        let lines: String = lines.collect();
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let request = format!("{method} {path} HTTP/1.1\r\n{lines}{length}\r\n{body}");
        let known = |known: &Code| known.label() == *code;
        Self {
            name: (*name).to_owned(),
            method: method.to_owned(),
            path,
            request: request.into_bytes(),
            code: Code::ALL.into_iter().find(known).expect("a known code"),
        }
    }

    /// With bytes that no table can hold.
    fn made(name: &str, method: &str, path: &str, rest: &[u8], code: Code) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        Self {
            name: name.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            request: [head.as_bytes(), rest].concat(),
            code,
        }
    }

    fn would_change(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        let known = documented::patterns()
            .iter()
            .any(|pattern| documented::fits(pattern, path));
        known && !["GET", "HEAD", "OPTIONS"].contains(&self.method.as_str())
    }
}

fn made() -> Vec<Case> {
    let create = "/api/v1/volumes/vg0%2Fvm101/snapshots";
    let posted = |name: &str, body: &[u8], code| {
        let head = "Idempotency-Key: k1\r\nContent-Type: application/json\r\n";
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        Case::made(
            name,
            "POST",
            create,
            &[head.as_bytes(), body].concat(),
            code,
        )
    };
    let name = |length: usize| format!("{{\"name\": \"{}\"}}", "n".repeat(length)).into_bytes();
    let deep = format!("{{\"size\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    let tag = format!("{{\"tags\": [\"{}\"]}}", "t".repeat(101));
    let large = format!("{{}}{}", " ".repeat(16 << 10));
    let headers = "X: y\r\n".repeat(40) + "\r\n";
    let huge = b"Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: 9000000000\r\n\r\n{}";
    let foreign = b"Idempotency-Key: k\xfc\r\n\r\n";
    vec![
        posted("a name of 101", &name(101), Code::InvalidName),
        posted("a name of 1000", &name(1000), Code::InvalidName),
        posted("a tag of 101", tag.as_bytes(), Code::InvalidName),
        posted(
            "a mark of byte order",
            b"\xef\xbb\xbf{}",
            Code::InvalidRequest,
        ),
        posted("no UTF-8", b"{\"name\": \"\xff\"}", Code::InvalidRequest),
        posted(
            "half a surrogate",
            b"{\"name\": \"\\ud800\"}",
            Code::InvalidRequest,
        ),
        posted("five thousand lists", deep.as_bytes(), Code::InvalidRequest),
        posted(
            "a body that is too long",
            large.as_bytes(),
            Code::BodyTooLarge,
        ),
        Case::made(
            "a body without end",
            "POST",
            create,
            huge,
            Code::BodyTooLarge,
        ),
        Case::made(
            "forty headers",
            "POST",
            create,
            headers.as_bytes(),
            Code::HeadersTooLarge,
        ),
        Case::made(
            "a key that is no ASCII",
            "POST",
            create,
            foreign,
            Code::InvalidRequest,
        ),
    ]
}

fn bare(line: &str, rest: &str) -> Vec<u8> {
    format!("{line}\r\n{rest}\r\n").into_bytes()
}

#[test]
fn bad_requests_are_refused_change_nothing_and_are_on_record() {
    let lines = BAD.lines().filter(|line| !line.is_empty());
    let cases: Vec<Case> = lines.map(Case::read).chain(made()).collect();
    assert!(cases.len() > 200, "{}", cases.len());
    for cases in cases.chunks(AT_ONCE) {
        let api = Api::start();
        let mut recorded = Vec::new();
        for case in cases {
            let answer = api.raw(&case.request);
            if case.method == "HEAD" {
                assert_eq!(answer.status, case.code.status(), "{}", case.name);
            } else {
                assert_problem(&case.name, &answer, case.code);
            }
            documented::assert_known(&case.method, &case.path, answer.status);
            assert_allow(case, &answer);
            if case.would_change() {
                recorded.push(case.code);
            }
        }
        let refusals = api.await_refusals(recorded.len());
        let codes: Vec<Code> = refusals.iter().map(|refusal| refusal.code).collect();
        assert_eq!(codes, recorded);
        let other = |question: &Question| !matches!(question, Question::Refused(_));
        let others: Vec<Question> = api.questions().into_iter().filter(other).collect();
        assert_eq!(others, [], "the guard is asked for nothing");
    }
}

fn assert_allow(case: &Case, answer: &Answer) {
    let methods = answer.header("allow");
    assert_eq!(
        methods.is_some(),
        case.code == Code::MethodNotAllowed,
        "{}",
        case.name
    );
    if case.name == "PUT" {
        assert_eq!(methods, Some("GET, PATCH, DELETE, HEAD"));
    }
}

#[test]
fn what_is_no_request_is_refused_as_it_comes() {
    let api = Api::start();
    let get = "GET /api/v1/jobs HTTP/1.1";
    let host = |rest: &str| bare(get, &format!("Host: localhost\r\n{rest}"));
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let long = "x".repeat(32 << 10);
    for (name, request, start) in [
        ("no HTTP", bare("hello", ""), "HTTP/1.1 400 "),
        // It is closed without a word.
        ("HTTP/2", bare("PRI * HTTP/2.0", "\r\nSM\r\n"), ""),
        ("TLS", tls.to_vec(), "HTTP/1.1 400 "),
        ("folded", host("X: y\r\n z\r\n"), "HTTP/1.1 400 "),
        ("NUL", host("X: a\0b\r\n"), "HTTP/1.1 400 "),
        (
            "a space",
            bare("GET /api/v1/jobs x HTTP/1.1", ""),
            "HTTP/1.1 400 ",
        ),
        (
            "two lengths",
            host("Content-Length: 1\r\nContent-Length: 2\r\n"),
            "HTTP/1.1 400 ",
        ),
        ("no length", host("Content-Length: -1\r\n"), "HTTP/1.1 400 "),
        (
            "a coding",
            host("Transfer-Encoding: gzip\r\n"),
            "HTTP/1.1 400 ",
        ),
        (
            "a hundred headers",
            host(&"X: y\r\n".repeat(100)),
            "HTTP/1.1 431 ",
        ),
        (
            "a long header",
            host(&format!("X: {long}\r\n")),
            "HTTP/1.1 431 ",
        ),
        (
            "a long path",
            bare(&format!("GET /{long} HTTP/1.1"), ""),
            "HTTP/1.1 431 ",
        ),
    ] {
        let mut stream = api.connect();
        // It may be refused while it is still talking.
        let _ = stream.write_all(&request);
        let told = told(&mut stream);
        let is_as_expected = told.starts_with(start) && told.is_empty() == start.is_empty();
        assert!(is_as_expected, "{name}: {told:?}");
    }
    let old = bare("GET /api/v1/jobs HTTP/1.0", "Host: localhost\r\n");
    assert_problem("HTTP/1.0", &api.raw(&old), Code::InvalidRequest);
    assert_problem("no host", &api.raw(&bare(get, "")), Code::InvalidRequest);
    // hyper drops the length of a message that has a coding as well, and ours takes no coding.
    let both = "Host: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    assert_problem("both", &api.raw(&bare(get, both)), Code::InvalidRequest);
    assert_eq!(api.questions(), []);
}
