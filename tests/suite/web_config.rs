//! The web configuration: what every key does to it, and what is refused, with where and why.

use std::path::Path;
use std::time::Duration;

use cowherd::config::ConfigError;
use cowherd::config::web_file::{
    self, ClientAuth, Curve, Pem, TLS12_SUITES, Tls, Version, WebFile,
};
use cowherd::model::bucket::RateLimit;

/// Of "secret", of the least cost.
pub(crate) const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

const PAIR: &str = "tls_server_config: {cert_file: c.pem, key_file: k.pem}";

fn parse(text: &str) -> Result<WebFile, ConfigError> {
    web_file::parse(text, Path::new("/etc/cowherd/web.yml"))
}

fn tls(keys: &str) -> Tls {
    let text = format!("tls_server_config:\n  cert_file: c.pem\n  key_file: k.pem\n{keys}");
    let parsed = parse(&text).unwrap_or_else(|error| panic!("{keys}: {error}"));
    parsed.tls.expect("it is there")
}

fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Faults { faults, .. }) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_file_without_anything_asks_for_nothing() {
    for text in [
        "",
        "# nothing\n",
        "tls_server_config:\n",
        "tls_server_config: {}\nbasic_auth_users:\n",
        "---\n",
    ] {
        assert_eq!(parse(text).expect(text), WebFile::default(), "{text:?}");
    }
}

#[test]
fn what_is_not_said_has_the_defaults_of_other_exporters() {
    let expected = Tls {
        // Beside the configuration.
        certificate: Pem::File("/etc/cowherd/c.pem".into()),
        key: Pem::File("/etc/cowherd/k.pem".into()),
        client_ca: None,
        client_auth: ClientAuth::No,
        client_allowed_sans: Vec::new(),
        min_version: Version::Tls12,
        max_version: Version::Tls13,
        tls12_suites: TLS12_SUITES.into(),
        curves: vec![Curve::X25519, Curve::P256, Curve::P384],
        prefers_own_suites: true,
    };
    assert_eq!(tls(""), expected);
}

#[test]
fn every_key_of_tls_is_read() {
    let absolute = parse("tls_server_config: {cert_file: /c.pem, key: 'a key'}").expect("valid");
    let absolute = absolute.tls.expect("it is there");
    assert_eq!(absolute.certificate, Pem::File("/c.pem".into()));
    assert_eq!(absolute.key, Pem::Inline("a key".to_owned()));
    let all = tls(
        "  client_ca_file: ca/ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_allowed_sans: [a.example, 10.0.0.1]\n  min_version: TLS13\n  max_version: TLS13\n  \
         cipher_suites:\n  - TLS_AES_128_GCM_SHA256\n  - TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n  \
         curve_preferences: [CurveP384, X25519]\n  prefer_server_cipher_suites: false\n",
    );
    assert_eq!(
        all.client_ca,
        Some(Pem::File("/etc/cowherd/ca/ca.pem".into()))
    );
    assert_eq!(all.client_allowed_sans, ["a.example", "10.0.0.1"]);
    assert_eq!(
        (all.min_version, all.max_version),
        (Version::Tls13, Version::Tls13)
    );
    assert_eq!(all.tls12_suites, ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]);
    assert_eq!(all.curves, [Curve::P384, Curve::X25519]);
    assert!(!all.prefers_own_suites);
    for (name, ca, expected) in [
        ("NoClientCert", "", ClientAuth::No),
        ("RequestClientCert", "", ClientAuth::Request),
        ("RequireAnyClientCert", "", ClientAuth::RequireAny),
        ("RequireClientCert", "", ClientAuth::RequireAny),
        (
            "VerifyClientCertIfGiven",
            "  client_ca: pem\n",
            ClientAuth::VerifyIfGiven,
        ),
        (
            "RequireAndVerifyClientCert",
            "  client_ca: pem\n",
            ClientAuth::RequireAndVerify,
        ),
    ] {
        assert_eq!(
            tls(&format!("{ca}  client_auth_type: {name}\n")).client_auth,
            expected,
            "{name}"
        );
    }
}

#[test]
fn headers_users_and_the_rate_limit_are_read() {
    let text = format!(
        "http_server_config:\n  http2: false\n  headers:\n    Content-Security-Policy: default-src 'self'\n    \
         Strict-Transport-Security: max-age=60\n    X-Content-Type-Options: nosniff\n    X-Frame-Options: deny\n    \
         X-XSS-Protection: ''\nbasic_auth_users:\n  alice: {HASH}\n  42: \"{HASH}\"\n\
         rate_limit: {{interval: 1m30s, burst: 20}}\n"
    );
    let parsed = parse(&text).expect("valid");
    let names: Vec<&str> = parsed.headers.iter().map(|(name, _)| *name).collect();
    let expected = [
        "Content-Security-Policy",
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Frame-Options",
    ];
    assert_eq!(names, expected, "an empty value sets no header");
    let users: Vec<&str> = parsed.users.keys().map(String::as_str).collect();
    assert_eq!(users, ["42", "alice"]);
    let interval = Duration::from_secs(90);
    assert_eq!(
        parsed.rate_limit,
        Some(RateLimit {
            interval,
            burst: 20
        })
    );
    let none = parse("rate_limit: {interval: 0, burst: 20}").expect("valid");
    assert_eq!(none.rate_limit, None);
}

#[test]
fn what_is_wrong_is_refused_where_it_is() {
    for (text, expected) in [
        ("tls_config: {}", "tls_config is an unknown key"),
        ("[]", "the file is [], expected keys and values"),
        (
            "? [a]\n: b",
            "the file is a key that is no text, expected a name",
        ),
        (
            "tls_server_config: yes",
            "tls_server_config is \"yes\", expected a table",
        ),
        (
            "tls_server_config: {cert_file: c}",
            "tls_server_config.key_file is missing, expected key_file or key",
        ),
        (
            "tls_server_config: {key_file: c}",
            "tls_server_config.cert_file is missing",
        ),
        (
            "http_server_config: {http3: true}",
            "http_server_config.http3 is an unknown key",
        ),
        (
            "http_server_config: {http2: 2}",
            "http_server_config.http2 is 2, expected true or false",
        ),
        (
            "http_server_config: {headers: {Server: x}}",
            "http_server_config.headers.Server is an unknown key",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}",
            "X-Frame-Options is \"allow\", expected deny or sameorigin",
        ),
        (
            "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
            "expected nosniff",
        ),
        (
            "http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}",
            "expected a text of one line",
        ),
    ] {
        let told = faults(text);
        assert!(
            told.iter().any(|fault| fault.contains(expected)),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn wrong_users_and_limits_are_refused_where_they_are() {
    let hash = HASH;
    for (text, expected) in [
        (
            "basic_auth_users: {alice: secret}",
            "basic_auth_users.alice is something else, expected a bcrypt hash",
        ),
        (
            "basic_auth_users: {alice: 7}",
            "basic_auth_users.alice is something else",
        ),
        (
            &format!("basic_auth_users: {{'a:b': {hash}}}"),
            "expected a name without a colon",
        ),
        (
            &format!("basic_auth_users: {{a: {}}}", hash.replace("$04$", "$20$")),
            "of cost 4 to 16",
        ),
        (
            "rate_limit: {interval: 5, burst: 1}",
            "rate_limit.interval is 5, expected a duration",
        ),
        ("rate_limit: {interval: 25h, burst: 1}", "up to 24h"),
        (
            "rate_limit: {interval: 1s}",
            "rate_limit.burst is 0, expected at least 1",
        ),
        (
            "rate_limit: {interval: 1s, burst: -1}",
            "rate_limit.burst is -1",
        ),
        ("rate_limit: {rate: 1}", "rate_limit.rate is an unknown key"),
    ] {
        let told = faults(text);
        assert!(
            told.iter().any(|fault| fault.contains(expected)),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn what_tls_cannot_be_is_refused_where_it_is() {
    for (keys, expected) in [
        (
            "cert: x",
            "tls_server_config.cert_file is c.pem, expected either cert_file or cert",
        ),
        (
            "no_such_key: 1",
            "tls_server_config.no_such_key is an unknown key (1), expected one of cert, cert_file, cipher_suites",
        ),
        (
            "client_auth_type: Maybe",
            "client_auth_type is \"Maybe\", expected one of NoClientCert",
        ),
        (
            "client_auth_type: VerifyClientCertIfGiven",
            "client_ca_file is missing",
        ),
        (
            "client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file is missing",
        ),
        (
            "client_ca_file: ca.pem",
            "client_auth_type is NoClientCert, expected RequireAndVerifyClientCert",
        ),
        (
            "client_allowed_sans: [a]",
            "client_allowed_sans is given, expected client_auth_type RequireAnyClientCert",
        ),
        ("client_allowed_sans: []", "an empty list lets nobody in"),
        (
            "min_version: TLS11",
            "min_version is \"TLS11\", expected one of TLS12, TLS13",
        ),
        ("max_version: TLS10", "max_version is \"TLS10\""),
        (
            "{min_version: TLS13, max_version: TLS12}",
            "min_version is TLS13, expected at most max_version",
        ),
        (
            "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
            "cipher_suites is TLS_RSA_WITH_AES_128_CBC_SHA, expected some of TLS_ECDHE_ECDSA",
        ),
        (
            "{max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
            "only suites of TLS 1.3",
        ),
        (
            "curve_preferences: [CurveP521]",
            "curve_preferences is CurveP521, expected some of CurveP256, CurveP384, X25519",
        ),
        (
            "prefer_server_cipher_suites: 1",
            "prefer_server_cipher_suites is 1, expected true or false",
        ),
    ] {
        let keys = keys.trim_matches(['{', '}']);
        let text = PAIR.replace('}', &format!(", {keys}}}"));
        let told = faults(&text);
        assert!(
            told.iter().any(|fault| fault.contains(expected)),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let told = faults("tls_server_config: {min_version: TLS9}\nrate_limit: {burst: x}\nunknown: 1");
    assert_eq!(told.len(), 5, "{told:?}");
}

#[test]
fn a_password_is_never_told() {
    let told = faults("basic_auth_users: {alice: hunter2}").concat();
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn what_is_no_yaml_is_told_as_such() {
    for text in ["tls_server_config: {", "a: b: c", "a: 1\na: 2", "\tx: 1"] {
        let error = parse(text).expect_err(text);
        assert!(
            matches!(error, ConfigError::Yaml { .. }),
            "{text}: {error:?}"
        );
        let told = std::error::Error::source(&error).map(ToString::to_string);
        assert!(told.is_some_and(|told| !told.is_empty()), "{text}");
    }
}
