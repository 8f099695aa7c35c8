//! The front behind passwords, with headers of the administrator's and a limit.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::served::{PROMPT, get, read, request};
use super::setting::Setting;
use super::web_config::HASH;

fn basic(name: &str, password: &str) -> String {
    let text = STANDARD.encode(format!("{name}:{password}"));
    format!("Authorization: Basic {text}\r\n")
}

#[test]
fn a_name_and_its_password_are_needed() {
    let setting = Setting::new();
    let users = format!("basic_auth_users: {{alice: \"{HASH}\"}}");
    setting.configure("", &users);
    let client = setting.client();
    let alice = basic("alice", "secret");
    let guard = setting.serve(|address| {
        let ready = client.get_with(address, "/-/ready", &alice);
        ready.is_ok_and(|answer| answer.status == 200)
    });
    for (headers, expected) in [
        (alice.clone(), 200),
        (String::new(), 401),
        (basic("alice", "Secret"), 401),
        (basic("alice", ""), 401),
        (basic("bob", "secret"), 401),
        ("Authorization: Basic ???\r\n".to_owned(), 401),
        ("Authorization: Bearer secret\r\n".to_owned(), 401),
        // What was right once is still right, and what is wrong still wrong.
        (alice.clone(), 200),
        (basic("alice", "secre"), 401),
    ] {
        for path in ["/metrics", "/", "/-/healthy", "/nowhere"] {
            let answer = client
                .get_with(guard.address, path, &headers)
                .expect("it is trusted");
            let expected = if expected == 200 && path == "/nowhere" {
                404
            } else {
                expected
            };
            assert_eq!(answer.status, expected, "{path} {headers}");
            let challenge = answer.header("www-authenticate");
            let is_challenged = challenge == Some("Basic realm=\"cowherd\", charset=\"UTF-8\"");
            assert_eq!(
                is_challenged,
                expected == 401,
                "{path} {headers}: {challenge:?}"
            );
            assert!(
                expected != 401 || !answer.body.contains("cowherd_"),
                "{}",
                answer.body
            );
        }
    }
    // Who is taken out is out.
    setting.configure("", &users.replace("alice", "carol"));
    let answer = client
        .get_with(guard.address, "/metrics", &alice)
        .expect("it is trusted");
    assert_eq!(answer.status, 401);
}

#[test]
fn a_flood_of_wrong_passwords_holds_nobody_up_who_is_in() {
    let setting = Setting::new();
    // Cost 9: tens of milliseconds each.
    let hash = bcrypt::hash("secret", 9).expect("a hash");
    setting.write(
        "web.yml",
        &format!("basic_auth_users: {{alice: \"{hash}\"}}"),
    );
    let text = |headers: &str| {
        format!("GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
    };
    let alice = text(&basic("alice", "secret"));
    let guard = setting.serve(|address| request(address, &alice).status == 200);
    let mut flood: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = guard.connect();
            let wrong = text(&basic("mallory", &number.to_string()));
            stream
                .write_all(wrong.as_bytes())
                .expect("it takes a request");
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(request(guard.address, &alice).status, 200);
    assert!(
        began.elapsed() < PROMPT,
        "who is in waits behind who is not"
    );
    let answers: Vec<u16> = flood
        .drain(..)
        .map(|stream| read(&mut BufReader::new(stream)).status)
        .collect();
    assert!(
        answers.iter().all(|status| [401, 503].contains(status)),
        "{answers:?}"
    );
    assert!(
        answers.contains(&401) && answers.contains(&503),
        "{answers:?}"
    );
}

#[test]
fn headers_are_added_and_requests_limited() {
    let setting = Setting::new();
    setting.write(
        "web.yml",
        "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: default-src 'self'}}\n\
         rate_limit: {interval: 1h, burst: 4}",
    );
    let guard = setting.serve(|address| get(address, "/-/healthy").status == 200);
    for path in ["/", "/nowhere"] {
        let answer = get(guard.address, path);
        assert_eq!(answer.header("x-frame-options"), Some("deny"), "{path}");
        assert_eq!(
            answer.header("content-security-policy"),
            Some("default-src 'self'"),
            "{path}"
        );
    }
    assert_eq!(get(guard.address, "/-/healthy").status, 200);
    let refused = get(guard.address, "/-/healthy");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1"))
    );
    assert_eq!(refused.header("x-frame-options"), Some("deny"));
}

#[test]
fn a_new_password_takes_the_place_of_the_old_one() {
    let setting = Setting::new();
    let configure = |hash: &str| {
        setting.write(
            "web.yml",
            &format!("basic_auth_users: {{alice: \"{hash}\"}}"),
        );
    };
    let status = |address, password| {
        let headers = basic("alice", password);
        let text =
            format!("GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        request(address, &text).status
    };
    configure(HASH);
    let guard = setting.serve(|address| status(address, "secret") == 200);
    configure(&bcrypt::hash("changed", 4).expect("a hash"));
    assert_eq!(status(guard.address, "secret"), 401, "it was right once");
    assert_eq!(status(guard.address, "changed"), 200);
}
