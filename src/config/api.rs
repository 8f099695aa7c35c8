//! The API: who may have what done, and how many snapshots there may be.

use std::net::SocketAddr;
use std::path::PathBuf;

use wildmatch::WildMatch;

use crate::model::access::{Access, Grant, Limits};
use crate::model::action::{Verb, Who};
use crate::model::remote::Remote;
use crate::model::token;

use super::section::Section;

/// Made by the guard.
const SOCKET: &str = "/run/cowherd/api.sock";

const ABSOLUTE: &str = "an absolute path";
/// As long as a name of a host may be.
const CERTIFICATE_LEN_MAX: usize = 253;

/// What callers may have done, and where they connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    pub access: Access,
    pub socket: PathBuf,
    /// Whose members may open the socket besides root.
    pub group: Option<String>,
    /// Nothing when it is not served over the network.
    pub remote: Option<Remote>,
    /// A folder with a file for each token.
    pub tokens: PathBuf,
}

/// Nothing when it is turned off.
pub(super) fn api(section: &mut Section<'_>) -> Option<Api> {
    let is_enabled = section.boolean("enabled", true);
    let socket = path(section, "socket");
    let tokens = path(section, "tokens");
    let grants = section.sections("caller", grant);
    let api = Api {
        remote: remote(section, &grants),
        tokens: tokens.unwrap_or_else(|| token::DIRECTORY.into()),
        socket: socket.unwrap_or_else(|| SOCKET.into()),
        group: section.given_text("group", "the name of a group", |name| !name.is_empty()),
        access: Access {
            verbs: verbs(section),
            limits: Limits {
                pool_data_percent: section.whole("pool_data_max_percent", 1..=100, 85),
                pool_metadata_percent: section.whole("pool_metadata_max_percent", 1..=100, 70),
                cow_per_origin: section.whole("thick_snapshots_max", 1..=100, 3),
                thin_per_origin: section.whole("thin_snapshots_max", 1..=10_000, 16),
            },
            grants,
        },
    };
    is_enabled.then_some(api)
}

/// Once an address is named everything that TLS needs must be there: nothing else is spoken over TCP.
fn remote(section: &mut Section<'_>, grants: &[Grant]) -> Option<Remote> {
    let expected = "a list of addresses such as [\"192.0.2.1:10846\"], or [] for none";
    let listen_addresses: Option<Vec<SocketAddr>> =
        section.given_value("listen", expected, |value| {
            let mut all = value.as_array()?.iter();
            all.try_fold(Vec::new(), |mut known, item| {
                known.push(item.as_str()?.parse().ok()?);
                Some(known)
            })
        });
    let [cert, key, client_ca] =
        ["tls_cert", "tls_key", "tls_client_ca"].map(|key| path(section, key));
    let listen_addresses = listen_addresses.filter(|addresses| !addresses.is_empty())?;
    let mut need = |file: Option<PathBuf>, key: &str, what: &str| {
        if file.is_none() && !section.has_fault(key) {
            let expected = format!("the absolute path of a PEM file with {what}");
            section.fault(key, &"missing", expected);
        }
        file
    };
    let cert = need(
        cert,
        "tls_cert",
        "the server's certificate: with listen the API is served over TLS, and never without",
    );
    let key = need(
        key,
        "tls_key",
        "the key of tls_cert: with listen the API is served over TLS, and never without",
    );
    let is_certificate = |grant: &Grant| matches!(grant.who, Who::Certificate(_));
    let client_ca = if grants.iter().any(is_certificate) {
        need(
            client_ca,
            "tls_client_ca",
            "the certificates that sign those of callers: a [[api.caller]] has a certificate",
        )
    } else {
        client_ca
    };
    Some(Remote {
        listen_addresses,
        tls_cert: cert?,
        tls_key: key?,
        tls_client_ca: client_ca,
    })
}

fn path(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = section.given_text(key, ABSOLUTE, |path| path.starts_with('/'));
    path.map(PathBuf::from)
}

fn grant(section: &mut Section<'_>) -> Grant {
    let patterns = section.texts("volumes").unwrap_or_default();
    if patterns.is_empty() {
        let expected = "patterns of VG/LV such as [\"vg0/vm-*\"]";
        section.fault("volumes", &"nothing", expected.to_owned());
    }
    Grant {
        who: who(section),
        verbs: verbs(section),
        volumes: patterns
            .iter()
            .map(|pattern| WildMatch::new(pattern))
            .collect(),
    }
}

/// Either a user of this host or somebody with a certificate.
fn who(section: &mut Section<'_>) -> Who {
    let uid = section.given_whole("uid", 0..=u32::MAX.into());
    let is_name = |text: &str| (1..=CERTIFICATE_LEN_MAX).contains(&text.len());
    let expected = "a name in a certificate of a caller, such as \"backup.example.org\"";
    let certificate = section.given_text("certificate", expected, is_name);
    let uid = uid.and_then(|uid| u32::try_from(uid).ok());
    match (uid, certificate) {
        (Some(uid), None) => return Who::User(uid),
        // Names of hosts are the same in upper and lower case.
        (None, Some(name)) => return Who::Certificate(name.to_lowercase()),
        (Some(_), Some(_)) => {
            let expected = "either it or uid: a caller is one or the other";
            section.fault("certificate", &"beside uid", expected.to_owned());
        }
        (None, None) if !section.has_fault("uid") && !section.has_fault("certificate") => {
            let expected =
                "the number of a user, as `id -u NAME` prints it, or instead a certificate";
            section.fault("uid", &"missing", expected.to_owned());
        }
        (None, None) => {}
    }
    Who::User(u32::MAX)
}

fn verbs(section: &mut Section<'_>) -> Vec<Verb> {
    let named = section.texts("actions").unwrap_or_default();
    let known = |name: &String| Verb::ALL.into_iter().find(|verb| verb.label() == name);
    let verbs: Vec<Verb> = named.iter().filter_map(known).collect();
    if let Some(unknown) = named.iter().find(|name| known(name).is_none()) {
        let all = Verb::ALL.map(Verb::label).join(", ");
        section.fault("actions", unknown, format!("some of {all}"));
    }
    verbs
}
