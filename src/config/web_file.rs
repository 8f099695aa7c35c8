//! The file that `--web.config.file` names: who may read what is served, and how, in the format of Prometheus'
//! exporters (exporter-toolkit, docs/web-configuration.md). Pure: what the files that it names hold is for `front`.
//!
//! The format is YAML; whoever has one for other exporters can use it here. What it may ask for and TLS as we have
//! it cannot do, such as TLS 1.1, is a fault and never left out in silence.

mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::bucket::RateLimit;

use super::ConfigError;
use super::section::Section;

/// The one that everybody can compute in an instant, and the one that takes some seconds: bcrypt's cost is a power.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;
/// A bcrypt hash: `$2y$10$`, then 22 letters of salt and 31 of hash.
const HASH_LETTERS: usize = 60;
const HASH: &str = "a bcrypt hash of cost 4 to 16, as `htpasswd -nBC 10 NAME` prints it";
/// Longer and nobody would get two answers on one day.
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
const INTERVAL: &str = "a duration such as \"500ms\" or \"1m30s\", up to 24h; 0 for no limit";

/// Go's names of what TLS 1.2 is spoken with here.
pub const TLS12_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
/// Those of TLS 1.3 may be named and are not chosen: all of them are good.
const TLS13_SUITES: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

const CLIENT_AUTHS: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::No),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    // An older name of the same.
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];
const VERSIONS: [(&str, Version); 2] = [("TLS12", Version::Tls12), ("TLS13", Version::Tls13)];
const CURVES: [(&str, Curve); 3] = [
    ("CurveP256", Curve::P256),
    ("CurveP384", Curve::P384),
    ("X25519", Curve::X25519),
];

/// Everything that the file says, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebFile {
    /// Without it the front speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Name and value of what every answer carries.
    pub headers: Vec<(&'static str, String)>,
    /// Bcrypt hashes by name; with none of them nobody is asked for a password.
    pub users: BTreeMap<String, String>,
    pub rate_limit: Option<RateLimit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificate: Pem,
    pub key: Pem,
    pub client_ca: Option<Pem>,
    pub client_auth: ClientAuth,
    /// One of these must be in a client's certificate; empty for any.
    pub client_allowed_sans: Vec<String>,
    pub min_version: Version,
    pub max_version: Version,
    /// Names of `TLS12_SUITES`, the preferred first.
    pub tls12_suites: Vec<&'static str>,
    /// The preferred first.
    pub curves: Vec<Curve>,
    /// Whose order of suites counts.
    pub prefers_own_suites: bool,
}

impl Tls {
    /// With what is not said otherwise.
    #[must_use]
    pub fn new(certificate: Pem, key: Pem) -> Self {
        Self {
            certificate,
            key,
            client_ca: None,
            client_auth: ClientAuth::No,
            client_allowed_sans: Vec::new(),
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            tls12_suites: TLS12_SUITES.into(),
            curves: vec![Curve::X25519, Curve::P256, Curve::P384],
            prefers_own_suites: true,
        }
    }
}

/// Certificates or a key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    File(PathBuf),
    Inline(String),
}

/// Whether clients have to have certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    No,
    /// Ask for one, and do without and with any.
    Request,
    /// Any will do, whoever signed it.
    RequireAny,
    /// None will do, but one that is shown must be good.
    VerifyIfGiven,
    RequireAndVerify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
    X25519,
}

/// Checks a text; `path` is for messages, and where the files lie that the text names without a slash in front.
///
/// # Errors
/// With every fault that was found.
pub fn parse(text: &str, path: &Path) -> Result<WebFile, ConfigError> {
    let mut faults = Vec::new();
    let table = yaml::table(text, &mut faults).map_err(|source| ConfigError::Yaml {
        path: path.into(),
        source: Box::new(source),
    })?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut root = Section::root(table, &mut faults);
    let file = WebFile {
        tls: root.given_section("tls_server_config", |section| tls(section, folder)),
        headers: root.section("http_server_config", |http| {
            // HTTP/1.1 is all that there is, and every client of HTTP/2 speaks it.
            http.boolean("http2", true);
            http.section("headers", headers)
        }),
        users: users(&mut root),
        rate_limit: root.section("rate_limit", rate_limit),
    };
    root.finish();
    if faults.is_empty() {
        return Ok(file);
    }
    Err(ConfigError::faults(path, faults))
}

/// Reads and checks a file, and none that it names.
///
/// # Errors
/// When it cannot be read, or anything in it is wrong.
pub fn load(path: &Path) -> Result<WebFile, ConfigError> {
    parse(&super::read(path)?, path)
}

fn tls(section: &mut Section<'_>, folder: &Path) -> Tls {
    let missing = Pem::Inline(String::new());
    let certificate = pem(section, ["cert", "cert_file"], folder);
    let key = pem(section, ["key", "key_file"], folder);
    for (name, both, is_missing) in [
        ("cert_file", "cert_file or cert", certificate.is_none()),
        ("key_file", "key_file or key", key.is_none()),
    ] {
        if is_missing {
            section.fault(name, &"missing", format!("{both}: TLS needs both"));
        }
    }
    let usual = Tls::new(
        certificate.unwrap_or_else(|| missing.clone()),
        key.unwrap_or(missing),
    );
    let tls = Tls {
        client_ca: pem(section, ["client_ca", "client_ca_file"], folder),
        client_auth: section
            .one_of("client_auth_type", &CLIENT_AUTHS)
            .unwrap_or(usual.client_auth),
        client_allowed_sans: sans(section),
        min_version: section
            .one_of("min_version", &VERSIONS)
            .unwrap_or(usual.min_version),
        max_version: section
            .one_of("max_version", &VERSIONS)
            .unwrap_or(usual.max_version),
        tls12_suites: suites(section),
        curves: some_of(section, "curve_preferences", &CURVES).unwrap_or(usual.curves),
        prefers_own_suites: section
            .boolean("prefer_server_cipher_suites", usual.prefers_own_suites),
        certificate: usual.certificate,
        key: usual.key,
    };
    agree(section, &tls);
    tls
}

/// What must be said of one key because of another.
fn agree(section: &mut Section<'_>, tls: &Tls) {
    let (is_verified, is_required) = match tls.client_auth {
        ClientAuth::No | ClientAuth::Request => (false, false),
        ClientAuth::RequireAny => (false, true),
        ClientAuth::VerifyIfGiven => (true, false),
        ClientAuth::RequireAndVerify => (true, true),
    };
    if is_verified && tls.client_ca.is_none() {
        let expected =
            "the certificates that sign those of clients: client_auth_type verifies them";
        section.fault("client_ca_file", &"missing", expected.to_owned());
    }
    if tls.client_ca.is_some() && tls.client_auth == ClientAuth::No {
        let expected = "RequireAndVerifyClientCert where there is a client_ca_file";
        section.fault("client_auth_type", &"NoClientCert", expected.to_owned());
    }
    if !tls.client_allowed_sans.is_empty() && !is_required {
        let expected =
            "client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert beside it";
        section.fault("client_allowed_sans", &"given", expected.to_owned());
    }
    if tls.min_version > tls.max_version {
        section.fault("min_version", &"TLS13", "at most max_version".to_owned());
    }
    if tls.max_version == Version::Tls12 && tls.tls12_suites.is_empty() {
        let expected = format!("one of {} for max_version TLS12", TLS12_SUITES.join(", "));
        section.fault("cipher_suites", &"only suites of TLS 1.3", expected);
    }
}

/// As text in the file, or in a file beside it.
fn pem(section: &mut Section<'_>, keys: [&'static str; 2], folder: &Path) -> Option<Pem> {
    let [inline, file] = keys;
    let text = section.given_text(inline, "a text in PEM", |_| true);
    let path = section.given_text(file, "the path of a file", |_| true);
    let text = text.filter(|text| !text.is_empty());
    let path = path.filter(|path| !path.is_empty());
    match (text, path) {
        (Some(_), Some(path)) => {
            section.fault(file, &path, format!("either {file} or {inline}"));
            Some(Pem::File(folder.join(path)))
        }
        (Some(text), None) => Some(Pem::Inline(text)),
        (None, Some(path)) => Some(Pem::File(folder.join(path))),
        (None, None) => None,
    }
}

fn sans(section: &mut Section<'_>) -> Vec<String> {
    let Some(names) = section.texts("client_allowed_sans") else {
        return Vec::new();
    };
    if names.is_empty() {
        let expected = "at least one name, or no such key: an empty list lets nobody in";
        section.fault("client_allowed_sans", &"[]", expected.to_owned());
    }
    names
}

fn suites(section: &mut Section<'_>) -> Vec<&'static str> {
    let all = TLS12_SUITES.iter().chain(&TLS13_SUITES);
    let all: Vec<(&str, &'static str)> = all.map(|name| (*name, *name)).collect();
    match some_of(section, "cipher_suites", &all) {
        Some(mut named) => {
            named.retain(|name| TLS12_SUITES.contains(name));
            named
        }
        None => TLS12_SUITES.into(),
    }
}

/// A list of what has a name here; nothing without one, or with an empty one.
fn some_of<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    all: &[(&str, T)],
) -> Option<Vec<T>> {
    let names = section.texts(key).filter(|names| !names.is_empty())?;
    let mut some = Vec::new();
    for name in names {
        if let Some((_, value)) = all.iter().find(|(known, _)| *known == name) {
            some.push(*value);
        } else {
            let known: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
            section.fault(key, &name, format!("some of {}", known.join(", ")));
        }
    }
    Some(some)
}

/// The five that may be set; an empty value sets none.
fn headers(section: &mut Section<'_>) -> Vec<(&'static str, String)> {
    let any = "a text of one line";
    let all: [(&'static str, &str, &[&str]); 5] = [
        ("Content-Security-Policy", any, &[]),
        ("Strict-Transport-Security", any, &[]),
        ("X-Content-Type-Options", "nosniff", &["nosniff"]),
        (
            "X-Frame-Options",
            "deny or sameorigin",
            &["deny", "sameorigin"],
        ),
        ("X-XSS-Protection", any, &[]),
    ];
    let given = all.into_iter().filter_map(|(name, expected, values)| {
        let is_good = |text: &str| {
            let is_line = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
            text.is_empty() || is_line && (values.is_empty() || values.contains(&text))
        };
        let value = section.given_text(name, expected, is_good)?;
        (!value.is_empty()).then_some((name, value))
    });
    given.collect()
}

fn users(root: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    for (name, hash) in root.entries("basic_auth_users") {
        // A colon ends the name in what a client sends.
        if name.is_empty() || name.contains(':') {
            let expected = "a name without a colon";
            root.fault(
                "basic_auth_users",
                &format!("{name:?}"),
                expected.to_owned(),
            );
        }
        match hash.as_str().filter(|hash| is_hash(hash)) {
            Some(hash) => drop(users.insert(name, hash.to_owned())),
            // It may be a password.
            None => root.fault(
                &format!("basic_auth_users.{name}"),
                &"something else",
                HASH.to_owned(),
            ),
        }
    }
    users
}

fn is_hash(text: &str) -> bool {
    let fields: Vec<&str> = text.split('$').collect();
    let ["", "2a" | "2b" | "2x" | "2y", cost, rest] = fields.as_slice() else {
        return false;
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/';
    let cost = cost.parse().ok().filter(|_| cost.len() == 2);
    text.len() == HASH_LETTERS
        && cost.is_some_and(|cost: u32| COSTS.contains(&cost))
        && rest.chars().all(is_letter)
}

fn rate_limit(section: &mut Section<'_>) -> Option<RateLimit> {
    let interval = section.given_value("interval", INTERVAL, |value| {
        if value.as_integer() == Some(0) {
            return Some(Duration::ZERO);
        }
        duration(value.as_str()?).filter(|interval| *interval <= INTERVAL_MAX)
    });
    let burst = section.given_whole("burst", 0..=1_000_000);
    let interval = interval.filter(|interval| *interval > Duration::ZERO)?;
    let burst = burst.unwrap_or_default();
    if burst == 0 {
        section.fault(
            "burst",
            &burst,
            "at least 1: with none nobody is answered".to_owned(),
        );
    }
    Some(RateLimit { interval, burst })
}

/// As Go writes them: numbers with units, one after the other.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut secs = 0.0;
    loop {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c))?);
        let end = after.find(is_number).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        secs += number.parse::<f64>().ok()? * factor;
        if after.is_empty() {
            return Duration::try_from_secs_f64(secs).ok();
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("1s ", None),
            ("1..5s", None),
        ] {
            let found = duration(text).map(|duration| duration.as_millis());
            assert_eq!(found, millis, "{text:?}");
        }
    }

    #[test]
    fn hashes_are_told_from_anything_else() {
        let hash = "$2y$10$QXMb8qK8jmVpHkVzJWSV1uHZk0ATPxLHrRMeP/tJbu9iYoI4DEqsK";
        assert!(is_hash(hash));
        for (from, to) in [
            ("2y", "2z"),
            ("$10$", "$17$"),
            ("$10$", "$1$0"),
            ("K", ""),
            ("/", "-"),
            ("$2y", "2y"),
        ] {
            assert!(!is_hash(&hash.replacen(from, to, 1)), "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text, Path::new("/etc/cowherd/web.yml"));
            let _ = duration(&text);
            let _ = is_hash(&text);
        }
    }
}
