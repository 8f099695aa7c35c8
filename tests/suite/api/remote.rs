//! The API over TLS: who is let in by a token or a certificate, who is not, and what that is on record as.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use cowherd::config::Config;
use cowherd::guard::{self, Door};
use cowherd::link::{self, FromFront, FromGuard, Json};
use cowherd::model::access::{Access, Grant};
use cowherd::model::action::{Answered, Ask, Caller, Question, Reference, Reply, Verb, Who};
use cowherd::model::refusal::{Code, Refusal};
use cowherd::model::remote::Remote;
use cowherd::model::token::{self, SECRET_BYTES, TokenFile, TokenId};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use wildmatch::WildMatch;

use super::super::served::{ANY, Answer, Guard, get, spawn_with_remote, wait_for};
use super::super::setting::{Client, Issuer, Setting, authority, dns, signed};
use super::{assert_problem, documented, usual};

const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];
const CREATE: &str = "POST /api/v1/volumes/vg0%2Fvm-1/snapshots";
/// Half a minute before the year 2100.
const LATE: u64 = 4_102_444_770;

/// A front that serves the API over TLS, with a guard that knows tokens and certificates.
pub(super) struct Net {
    pub(super) setting: Setting,
    pub(super) guard: Guard,
    pub(super) address: SocketAddr,
    pub(super) socket: PathBuf,
    pub(super) asked: Arc<Mutex<Vec<Ask>>>,
}

impl Net {
    pub(super) fn start() -> Self {
        let setting = Setting::new();
        fs::create_dir(setting.folder.join("tokens.d")).expect("ours");
        let socket = setting.folder.join("api.sock");
        let listener = UnixListener::bind(&socket).expect("a temporary socket can be bound");
        let guard = Guard::listening(spawn_with_remote(listener, files(&setting)));
        let asked = Arc::default();
        let door = Door::new(access(), setting.folder.join("tokens.d"));
        let link = guard.link.try_clone().expect("a socket can be shared");
        let seen = Arc::clone(&asked);
        thread::spawn(move || answer_for_ever(link, door, &seen));
        let net = Self {
            address: guard.remote.expect("it is served"),
            setting,
            guard,
            socket,
            asked,
        };
        net.put(&file("backup"));
        net
    }

    pub(super) fn put(&self, file: &TokenFile) {
        let name = format!("tokens.d/{}", file.id.file_name());
        let text = toml::to_string(file).expect("it is TOML");
        let new = self.setting.folder.join("new");
        fs::write(&new, text).expect("ours");
        fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("ours");
        fs::rename(&new, self.setting.folder.join(name)).expect("ours");
    }

    /// As with the given client; again for as long as it has failed too often.
    fn as_client(&self, client: &Client, line: &str, headers: &[&str], body: &str) -> Answer {
        let text = super::text(line, headers, body).replace("Host: localhost", "Host: h:1");
        let mut told = None;
        wait_for("an answer that is no 429", || {
            let answer = client.ask(self.address, &text).expect("TLS is spoken");
            let is_final = answer.status != 429;
            told = Some(answer);
            is_final
        });
        let (method, path) = line.split_once(' ').expect("two words");
        let told = told.expect("there was one");
        documented::assert_known(method, path, told.status);
        told
    }

    pub(super) fn request(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        self.as_client(&self.setting.client(), line, headers, body)
    }

    /// With a token.
    pub(super) fn get(&self, path: &str, token: &str) -> Answer {
        let header = format!("Authorization: Bearer {token}");
        self.request(&format!("GET {path}"), &[&header], "")
    }

    fn create(&self, line: &str, authorization: &str) -> Answer {
        let headers = [
            authorization,
            "Idempotency-Key: k1",
            "Content-Type: application/json",
        ];
        self.request(line, &headers, "{}")
    }

    pub(super) fn asked(&self) -> Vec<Ask> {
        self.asked.lock().expect("nobody panics").clone()
    }

    fn records(&self) -> Vec<(Caller, String, Code)> {
        let asked = self.asked().into_iter();
        let records = asked.filter_map(|ask| {
            let Question::Refused(refusal) = ask.question else {
                return None;
            };
            Some((ask.caller, ask.line, refusal.code))
        });
        records.collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.guard.link.shutdown(std::net::Shutdown::Both);
    }
}

fn files(setting: &Setting) -> Remote {
    Remote {
        listen_addresses: vec![ANY],
        tls_cert: setting.folder.join("cert.pem"),
        tls_key: setting.folder.join("key.pem"),
        tls_client_ca: Some(setting.folder.join("ca.pem")),
    }
}

/// Everything may be done at all; somebody with a certificate may have volumes extended.
fn access() -> Access {
    let mut access = Config::default().api.expect("it is on").access;
    access.verbs = Verb::ALL.to_vec();
    access.grants = vec![Grant {
        who: Who::Certificate("backup.example.org".to_owned()),
        verbs: vec![Verb::Create],
        volumes: vec![WildMatch::new("vg0/vm-*")],
        hooks: Vec::new(),
    }];
    access
}

fn file(id: &str) -> TokenFile {
    TokenFile {
        id: TokenId::parse(id).expect("an id"),
        sha256: token::sha256(&SECRET),
        actions: vec![Verb::Create],
        volumes: vec!["vg0/vm-*".to_owned()],
        expires: None,
    }
}

pub(super) fn text(id: &str, secret: &[u8; SECRET_BYTES]) -> String {
    token::text(&TokenId::parse(id).expect("an id"), secret)
}

pub(super) fn good() -> String {
    text("backup", &SECRET)
}

fn caller(id: &str) -> Caller {
    let id = TokenId::parse(id).expect("an id");
    Caller::Token { id }
}

fn stranger() -> Caller {
    let address = ANY.ip();
    Caller::Stranger { address }
}

/// Everything that a guard says, but for what becomes of volumes.
fn answer_for_ever(mut link: UnixStream, mut door: Door, seen: &Mutex<Vec<Ask>>) {
    while let Ok(Some(FromFront::Ask(ask))) = link::receive(&mut link) {
        let ask: Ask = ask.read().expect("the front asks");
        let (number, answer) = (ask.number, answer(&mut door, &ask));
        seen.lock().expect("nobody panics").push(ask);
        let answered = Json::of(&Answered { number, answer }).expect("it can be encoded");
        if link::send(&mut link, &FromGuard::Answer(answered)).is_err() {
            return;
        }
    }
}

fn answer(door: &mut Door, ask: &Ask) -> Result<Reply, Refusal> {
    let now = guard::now().wall;
    if let Question::Admit(shown) = &ask.question {
        return door.admit(shown, now).map(Reply::Admitted);
    }
    let access = door.access(&ask.caller, now)?;
    if let Question::Act(act) = &ask.question {
        let Reference::Name(name) = &act.target else {
            panic!("a name: {act:?}");
        };
        if !access.allows(&ask.caller, act.action.verb(), name) {
            return Err(Refusal::new(Code::Forbidden, "it may not"));
        }
    }
    usual(&ask.question)
}

#[test]
fn a_token_is_let_in_for_what_its_file_says() {
    let net = Net::start();
    for path in ["/api/v1/version", "/api/v1/jobs", "/api/v1/volumes"] {
        assert_eq!(net.get(path, &good()).status, 200, "{path}");
    }
    let header = format!("Authorization: bearer {}", good());
    assert_eq!(net.create(CREATE, &header).status, 202);
    let last = net.asked().pop().expect("it was asked");
    assert_eq!(last.caller, caller("backup"));
    let elsewhere = net.create(&CREATE.replace("vm-1", "root"), &header);
    assert_problem("another volume", &elsewhere, Code::Forbidden);
    let other = net.request("DELETE /api/v1/snapshots/vg0%2Fvm-1", &[&header], "");
    assert_problem("another action", &other, Code::Forbidden);
    let secrets = serde_json::to_string(&net.asked()).expect("JSON");
    assert!(!secrets.contains(&good()[16..]), "a secret went further");
}

#[test]
fn whoever_shows_nothing_good_is_told_so_and_learns_nothing_else() {
    let net = Net::start();
    net.put(&TokenFile {
        expires: Some(1),
        ..file("old")
    });
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let good = good();
    for (name, headers) in [
        ("nothing", vec![]),
        ("a wrong secret", vec![bearer(&text("backup", &[8; 32]))]),
        ("an unknown one", vec![bearer(&text("other", &SECRET))]),
        ("an expired one", vec![bearer(&text("old", &SECRET))]),
        (
            "another scheme",
            vec![format!("Authorization: Basic {good}")],
        ),
        ("no scheme", vec![format!("Authorization: {good}")]),
        ("none at all", vec![bearer("")]),
        ("a longer one", vec![bearer(&format!("{good}0"))]),
        (
            "another file",
            vec![bearer(&good.replace("backup", "../x"))],
        ),
        ("two", vec![bearer(&good), bearer(&good)]),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        for line in [
            "GET /api/v1/jobs",
            "GET /api/v1/version",
            "DELETE /api/v1/snapshots/vg0%2Fs1",
        ] {
            let answer = net.request(line, &headers, "");
            assert_problem(name, &answer, Code::Unauthenticated);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{name}");
            assert!(!answer.body.contains(&good[16..]), "{name}: {answer:?}");
        }
    }
    let known = |question: &Question| matches!(question, Question::Admit(_) | Question::Refused(_));
    assert!(net.asked().iter().all(|ask| known(&ask.question)));
}

#[test]
fn a_token_in_the_query_is_none_and_stands_nowhere() {
    let net = Net::start();
    for query in ["access_token", "token", "wait"] {
        let line = format!("DELETE /api/v1/snapshots/vg0%2Fs1?{query}={}", good());
        let answer = net.request(&line, &[], "");
        assert_problem(query, &answer, Code::Unauthenticated);
    }
    wait_for("records", || net.records().len() == 3);
    let known = net.request(
        &format!("DELETE /api/v1/snapshots/vg0%2Fs1?token={}", good()),
        &[&format!("Authorization: Bearer {}", good())],
        "",
    );
    assert_problem("in both places", &known, Code::InvalidRequest);
    wait_for("another record", || net.records().len() == 4);
    let line = "DELETE /api/v1/snapshots/vg0%2Fs1";
    let expected = |caller, code| (caller, line.to_owned(), code);
    let records = net.records();
    assert_eq!(records[0], expected(stranger(), Code::Unauthenticated));
    assert_eq!(records[3], expected(caller("backup"), Code::InvalidRequest));
}

#[test]
fn a_token_is_good_for_as_long_as_its_file_is() {
    let net = Net::start();
    let status = || net.get("/api/v1/jobs", &good()).status;
    let path = net.setting.folder.join("tokens.d/backup.toml");
    assert_eq!(status(), 200);
    net.put(&TokenFile {
        expires: Some(1),
        ..file("backup")
    });
    assert_eq!(status(), 401, "it has expired");
    net.put(&TokenFile {
        expires: Some(LATE),
        ..file("backup")
    });
    assert_eq!(status(), 200);
    fs::remove_file(&path).expect("ours");
    assert_eq!(status(), 401, "it was revoked");
    net.put(&TokenFile {
        sha256: token::sha256(&[8; SECRET_BYTES]),
        ..file("backup")
    });
    assert_eq!(status(), 401, "it is another one of the same name");
}

#[test]
fn files_that_others_can_read_or_make_are_not_accepted() {
    let net = Net::start();
    let status = || net.get("/api/v1/jobs", &good()).status;
    let folder = net.setting.folder.join("tokens.d");
    let path = folder.join("backup.toml");
    let set = |path: &PathBuf, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    };
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        set(&path, mode);
        assert_eq!(status(), 401, "{mode:o}");
    }
    set(&path, 0o400);
    assert_eq!(status(), 200);
    for mode in [0o770, 0o707] {
        set(&folder, mode);
        assert_eq!(status(), 401, "{mode:o} of the folder");
    }
    set(&folder, 0o755);
    assert_eq!(status(), 200);
    fs::rename(&path, net.setting.folder.join("elsewhere")).expect("ours");
    symlink("../elsewhere", &path).expect("ours");
    assert_eq!(status(), 401, "a link");
    fs::remove_file(&path).expect("ours");
    fs::create_dir(&path).expect("ours");
    assert_eq!(status(), 401, "a folder");
}

/// In PEM, with a common name and no other.
fn common(authority: &Issuer, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_is_good_for_whom_the_configuration_names() {
    let net = Net::start();
    let authority = &net.setting.authority;
    let create = |pair: &(String, String)| {
        let headers = ["Idempotency-Key: k1", "Content-Type: application/json"];
        let client = Client::new(authority, Some(pair));
        net.as_client(&client, CREATE, &headers, "{}")
    };
    let named = |name: &str| signed(authority, vec![dns("a.example.org"), dns(name)], 2120);
    for pair in [
        named("backup.example.org"),
        named("Backup.Example.ORG"),
        common(authority, "backup.example.org"),
    ] {
        assert_eq!(create(&pair).status, 202);
        let name = "backup.example.org".to_owned();
        let last = net.asked().pop().expect("it was asked");
        assert_eq!(last.caller, Caller::Certificate { name });
    }
    for pair in [
        named("other.example.org"),
        common(authority, "0"),
        common(authority, "root"),
    ] {
        assert_problem("another name", &create(&pair), Code::Forbidden);
    }
    wait_for("records", || net.records().len() == 3);
    assert!(
        net.records()
            .iter()
            .all(|(caller, ..)| *caller == stranger())
    );
    // Who has another authority's, or one of yesterday, does not even get that far.
    let right = || vec![dns("backup.example.org")];
    for pair in [
        signed(&self::authority(), right(), 2120),
        signed(authority, right(), 2021),
    ] {
        let client = Client::new(authority, Some(&pair));
        assert!(client.get(net.address, "/api/v1/version").is_err());
    }
}

#[test]
fn who_shows_a_token_is_whom_it_names_whatever_the_certificate() {
    let net = Net::start();
    let names = vec![dns("backup.example.org")];
    let client = net.setting.client_of(&net.setting.authority, names);
    let token = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        net.as_client(&client, "GET /api/v1/jobs", &[&header], "")
    };
    assert_problem("nonsense", &token("x"), Code::Unauthenticated);
    assert_eq!(token(&good()).status, 200);
    assert_eq!(net.asked().pop().expect("asked").caller, caller("backup"));
}

#[test]
fn a_page_in_a_browser_gets_nothing_done() {
    let net = Net::start();
    let token = format!("Authorization: Bearer {}", good());
    let origin = "Origin: https://evil.example";
    let key = "Idempotency-Key: k1";
    for (line, headers, body, code) in [
        ("GET /api/v1/jobs", vec![origin], "", Code::Forbidden),
        (CREATE, vec![origin, key], "{}", Code::Forbidden),
        (CREATE, vec![key], "{}", Code::UnsupportedMediaType),
        (
            CREATE,
            vec!["Content-Type: application/json"],
            "{}",
            Code::InvalidRequest,
        ),
    ] {
        let headers: Vec<&str> = headers.into_iter().chain([token.as_str()]).collect();
        assert_problem(line, &net.request(line, &headers, body), code);
    }
    // What a browser asks first has no token.
    let text = super::text(&CREATE.replace("POST", "OPTIONS"), &[origin], "");
    let answer = net.setting.client().ask(net.address, &text);
    let answer = answer.expect("TLS is spoken");
    assert_problem("what a browser asks first", &answer, Code::Unauthenticated);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn tls_is_spoken_and_nothing_else_and_certificates_change_while_it_runs() {
    let net = Net::start();
    let plain = get(net.address, "/api/v1/version");
    assert_problem("plain HTTP", &plain, Code::InvalidRequest);
    assert!(plain.body.contains("https"), "{plain:?}");
    let client = net.setting.client();
    let first = client.shown(net.address);
    net.setting.certify(2121);
    let second = client.shown(net.address);
    assert_ne!(first, second, "the next connection has the new one");
    net.setting.write("key.pem", "no key");
    assert_eq!(client.shown(net.address), second, "the last good one");
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_one_message() {
    let told = |setting: &Setting| {
        let socket = setting.folder.join("api.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a temporary socket can be bound");
        let (mut link, _lock, front) = spawn_with_remote(listener, files(setting));
        let told = link::receive::<FromFront>(&mut link).expect("a whole frame");
        assert!(front.join().expect("no panic").is_err());
        match told {
            Some(FromFront::Misconfigured { message }) => message,
            other => panic!("{other:?}"),
        }
    };
    let setting = Setting::new();
    let shown = setting.folder.display().to_string();
    setting.write("ca.pem", "");
    let expected = format!("api.tls_client_ca {shown}/ca.pem has no certificate");
    assert!(told(&setting).starts_with(&expected));
    setting.write("key.pem", "");
    let expected = format!("api.tls_key {shown}/key.pem has no private key");
    assert!(told(&setting).starts_with(&expected));
    fs::remove_file(setting.folder.join("cert.pem")).expect("ours");
    let expected = format!("read api.tls_cert {shown}/cert.pem");
    let told = told(&setting);
    assert!(
        told.starts_with(&expected) && told.contains("No such file"),
        "{told}"
    );
}
