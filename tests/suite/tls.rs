//! The front behind TLS: who gets in, who does not, and certificates that change while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::SanType;

use super::served::{PROMPT, get, is_cut, wait_for};
use super::setting::{Client, May2020, Setting, authority, dns, refusal, signed};

#[test]
fn tls_is_spoken_and_nothing_else() {
    let setting = Setting::new();
    setting.configure("", "");
    let client = setting.client();
    let guard = setting.serve_tls(&client);
    let answer = client
        .get(guard.address, "/metrics")
        .expect("it is trusted");
    assert_eq!(answer.status, 200);
    for family in [
        "cowherd_web_config_last_reload_successful 1\n",
        "cowherd_web_certificate_expiry_timestamp_seconds 4733510400\n",
        "cowherd_web_tls_handshake_failures_total 0\n",
        "cowherd_vg_size_bytes",
    ] {
        assert!(answer.body.contains(family), "{family} in {}", answer.body);
    }
    let plain = get(guard.address, "/metrics");
    assert_eq!(plain.status, 400);
    assert_eq!(
        plain.body,
        "client sent an HTTP request to an HTTPS server\n"
    );
    let stranger = Client::new(&authority(), None);
    assert!(stranger.get(guard.address, "/metrics").is_err());
    wait_for("both to be counted", || {
        let text = client
            .get(guard.address, "/metrics")
            .expect("it is trusted")
            .body;
        text.contains("cowherd_web_tls_handshake_failures_total 2\n")
    });
}

/// Without a certificate, with a good one, with one of somebody else's authority, and with one of another name.
fn clients(setting: &Setting) -> BTreeMap<&'static str, Client> {
    let other = authority();
    let named = || {
        vec![
            dns("prometheus.example"),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ]
    };
    [
        ("none", setting.client()),
        ("good", setting.client_of(&setting.authority, named())),
        ("foreign", setting.client_of(&other, named())),
        (
            "misnamed",
            setting.client_of(&setting.authority, vec![dns("grafana.example")]),
        ),
    ]
    .into()
}

#[test]
fn a_client_needs_what_the_configuration_says() {
    let setting = Setting::new();
    let clients = clients(&setting);
    let ca = "  client_ca_file: ca.pem\n  client_auth_type: ";
    for (keys, welcome) in [
        (
            "  client_auth_type: NoClientCert".to_owned(),
            ["foreign", "good", "misnamed", "none"].as_slice(),
        ),
        (
            "  client_auth_type: RequestClientCert".to_owned(),
            &["foreign", "good", "misnamed", "none"],
        ),
        (
            "  client_auth_type: RequireAnyClientCert".to_owned(),
            &["foreign", "good", "misnamed"],
        ),
        (
            format!("{ca}VerifyClientCertIfGiven"),
            &["good", "misnamed", "none"],
        ),
        (
            format!("{ca}RequireAndVerifyClientCert"),
            &["good", "misnamed"],
        ),
        (
            format!("{ca}RequireAndVerifyClientCert\n  client_allowed_sans: [10.0.0.1]"),
            &["good"],
        ),
        (
            format!(
                "{ca}RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.example]\n  max_version: TLS12"
            ),
            &["good"],
        ),
        (
            "  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [prometheus.example]"
                .to_owned(),
            &["foreign", "good"],
        ),
    ] {
        setting.configure(&keys, "");
        let guard = setting.serve_tls(&clients["good"]);
        let is_in = |client: &Client| {
            client
                .get(guard.address, "/-/healthy")
                .is_ok_and(|a| a.status == 200)
        };
        let inside: Vec<&str> = clients
            .iter()
            .filter(|(_, c)| is_in(c))
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(inside, welcome, "{keys}");
    }
}

#[test]
fn versions_and_suites_are_those_that_were_asked_for() {
    let setting = Setting::new();
    let spoken = |keys: &str| {
        setting.configure(keys, "");
        let guard = setting.serve_tls(&setting.client());
        // Who comes again agrees on less.
        let mut stream = setting.client().connect(guard.address);
        stream
            .write_all(b"GET /-/healthy HTTP/1.1\r\n")
            .expect("a handshake");
        let connection = &stream.conn;
        let group = connection
            .negotiated_key_exchange_group()
            .expect("one")
            .name();
        let suite = connection.negotiated_cipher_suite().expect("one").suite();
        (
            format!("{:?}", connection.protocol_version().expect("one")),
            format!("{suite:?}"),
            format!("{group:?}"),
        )
    };
    let (version, _, group) = spoken("");
    assert_eq!((version.as_str(), group.as_str()), ("TLSv1_3", "X25519"));
    let (version, suite, group) = spoken(
        "  max_version: TLS12\n  curve_preferences: [CurveP384]\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
    );
    assert_eq!(
        (version.as_str(), suite.as_str(), group.as_str()),
        (
            "TLSv1_2",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "secp384r1"
        )
    );
}

#[test]
fn certificates_change_while_it_runs_and_a_broken_one_does_not_come_into_force() {
    let setting = Setting::new();
    setting.configure("", "");
    let client = setting.client();
    let guard = setting.serve_tls(&client);
    let status = |value: u32| format!("cowherd_web_config_last_reload_successful {value}\n");
    let metrics = || {
        client
            .get(guard.address, "/metrics")
            .expect("it is trusted")
            .body
    };
    let first = client.shown(guard.address);
    setting.certify(2121);
    let second = client.shown(guard.address);
    assert_ne!(first, second, "the next connection has the new one");
    assert!(metrics().contains("cowherd_web_certificate_expiry_timestamp_seconds 4765132800\n"));
    for (name, text) in [
        ("cert.pem", "no certificate"),
        ("key.pem", "no key"),
        ("web.yml", "tls_server_config: {"),
        (
            "web.yml",
            "tls_server_config: {cert_file: nowhere.pem, key_file: key.pem}",
        ),
    ] {
        let good = fs::read_to_string(setting.folder.join(name)).expect("ours");
        setting.write(name, text);
        assert_eq!(client.shown(guard.address), second, "{name}: {text}");
        assert!(metrics().contains(&status(0)), "{name}: {text}");
        setting.write(name, &good);
        assert!(metrics().contains(&status(1)), "{name}: {text}");
    }
    fs::remove_file(setting.folder.join("key.pem")).expect("ours");
    assert_eq!(client.shown(guard.address), second);
    assert!(metrics().contains(&status(0)));
}

#[test]
fn plain_http_and_tls_change_places_while_it_runs() {
    let setting = Setting::new();
    setting.write("web.yml", "");
    let guard = setting.serve(|address| get(address, "/-/ready").status == 200);
    assert!(
        !get(guard.address, "/metrics")
            .body
            .contains("cowherd_web_certificate")
    );
    setting.configure("", "");
    assert_eq!(get(guard.address, "/metrics").status, 400);
    let answer = setting.client().get(guard.address, "/metrics");
    assert_eq!(answer.expect("it is trusted").status, 200);
}

#[test]
fn an_expired_certificate_is_served_and_told() {
    let setting = Setting::new();
    setting.certify(2021);
    setting.configure("", "");
    let mut late = (*setting.client().0).clone();
    late.time_provider = Arc::new(May2020);
    let late = Client(Arc::new(late));
    let guard = setting.serve_tls(&late);
    assert!(
        setting.client().get(guard.address, "/metrics").is_err(),
        "clients refuse it"
    );
    let told = late
        .get(guard.address, "/metrics")
        .expect("it was good then");
    let expiry = "cowherd_web_certificate_expiry_timestamp_seconds 1609459200\n";
    assert!(told.body.contains(expiry), "{}", told.body);
}

#[test]
fn a_slow_handshake_and_an_endless_header_are_cut_and_hold_nobody_up() {
    let setting = Setting::new();
    setting.configure("", "");
    let client = setting.client();
    let guard = setting.serve_tls(&client);
    let mut slow = guard.connect();
    slow.write_all(&[22, 3, 1, 2, 0, 1])
        .expect("it takes a start");
    let idle = guard.connect();
    let mut stream = client.connect(guard.address);
    let endless = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    // It may be cut while it is still talking.
    let _ = stream.write_all(endless.as_bytes());
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    assert!(
        answer.starts_with(b"HTTP/1.1 431") || end.is_err(),
        "{answer:?}"
    );
    let began = Instant::now();
    assert_eq!(
        client
            .get(guard.address, "/metrics")
            .expect("it is trusted")
            .status,
        200
    );
    assert!(began.elapsed() < PROMPT, "others wait for a slow client");
    assert!(is_cut(&slow) && is_cut(&idle));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it was waited for too long"
    );
}

#[test]
fn what_cannot_be_in_force_ends_the_start_with_one_message() {
    let setting = Setting::new();
    setting.configure("", "");
    let shown = setting.folder.display();
    fs::remove_file(setting.folder.join("key.pem")).expect("ours");
    let told = setting.refusal();
    let expected = format!("read tls_server_config.key_file {shown}/key.pem");
    assert!(
        told.starts_with(&expected) && told.contains("No such file"),
        "{told}"
    );
    setting.write(
        "key.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let told = setting.refusal();
    assert!(
        told.contains("key.pem has no private key, expected one without a passphrase"),
        "{told}"
    );
    let (_, other) = signed(&setting.authority, vec![dns("localhost")], 2120);
    setting.write("key.pem", &other);
    let told = setting.refusal();
    assert!(
        told.contains("key.pem is not the key of tls_server_config.cert_file"),
        "{told}"
    );
    setting.write("cert.pem", &other);
    let told = setting.refusal();
    assert!(
        told.contains("cert.pem has no certificate, expected some that begin with"),
        "{told}"
    );
    setting.certify(2120);
    setting.write("ca.pem", "");
    setting.configure(
        "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert",
        "",
    );
    let told = setting.refusal();
    assert!(told.contains("ca.pem has no certificate"), "{told}");
    setting.write("web.yml", "rate_limit: {burst: x}\nunknown: 1");
    let told = setting.refusal();
    assert!(
        told.contains("web.yml has 2 faults:\n  rate_limit.burst is \"x\""),
        "{told}"
    );
    let told = refusal(Path::new("/nowhere/web.yml"));
    assert!(
        told.starts_with("read web configuration /nowhere/web.yml on the file systems of"),
        "{told}"
    );
}
