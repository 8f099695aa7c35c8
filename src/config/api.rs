//! The API: who may have what done, and how many snapshots there may be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use wildmatch::WildMatch;

use crate::model::access::{Access, Grant, Limits};
use crate::model::action::{Verb, Who};
use crate::model::names::Name;
use crate::model::quiesce::{HookKind, QuiesceHook};
use crate::model::relief::Hook;
use crate::model::remote::Remote;
use crate::model::token;

use super::rules;
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
    let hooks = hooks(section);
    let grants = section.sections("caller", |section| grant(section, &hooks));
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
            hooks,
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

fn grant(section: &mut Section<'_>, hooks: &[QuiesceHook]) -> Grant {
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
        hooks: granted_hooks(section, hooks),
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

fn granted_hooks(section: &mut Section<'_>, hooks: &[QuiesceHook]) -> Vec<Name> {
    let named = section.texts("hooks").unwrap_or_default();
    let known = |name: &String| hooks.iter().find(|hook| hook.name.as_str() == name);
    let granted = named.iter().filter_map(known).map(|hook| hook.name.clone());
    let granted = granted.collect();
    if let Some(unknown) = named.iter().find(|name| known(name).is_none()) {
        section.fault("hooks", unknown, "names of [[api.hook]]".to_owned());
    }
    granted
}

fn hooks(section: &mut Section<'_>) -> Vec<QuiesceHook> {
    let hooks = section.sections("hook", hook);
    let name = |hook: &Option<QuiesceHook>| hook.as_ref().map(|hook| hook.name.clone());
    let names: Vec<Option<Name>> = hooks.iter().map(name).collect();
    for (place, name) in names.iter().enumerate() {
        if let Some(name) = name
            && names[..place].contains(&Some(name.clone()))
        {
            let key = format!("hook[{}].name", place + 1);
            section.fault(&key, name, "a name that no other hook has".to_owned());
        }
    }
    hooks.into_iter().flatten().collect()
}

/// Nothing where something is missing, which is a fault.
fn hook(section: &mut Section<'_>) -> Option<QuiesceHook> {
    let expected = "1 to 127 of a-z A-Z 0-9 _ . + -";
    if !section.contains("name") {
        section.fault("name", &"missing", expected.to_owned());
    }
    let name = section.given_text("name", expected, |name| Name::parse(name).is_ok());
    let kind = hook_kind(section);
    let seconds =
        |section: &mut Section<'_>, key| Duration::from_secs(section.whole(key, 1..=60, 10));
    let max_hold = seconds(section, "max_hold_s");
    let ready = seconds(section, "ready_s");
    let identity = identity(section);
    Some(QuiesceHook {
        name: Name::parse(&name?).ok()?,
        kind: kind?,
        ready,
        max_hold,
        identity,
    })
}

/// What belongs to the other mode would never run: it is a fault.
fn hook_kind(section: &mut Section<'_>) -> Option<HookKind> {
    let is_said = section.contains("mode");
    let is_pair = section.one_of("mode", &[("pair", true), ("hold", false)]);
    let [command, before, after] = ["command", "before", "after"].map(|key| {
        let is_wanted = is_pair == Some(key != "command");
        needed_program(section, key, is_pair.map(|_| is_wanted))
    });
    match is_pair {
        None if is_said => None,
        None => {
            section.fault("mode", &"missing", "one of pair, hold".to_owned());
            None
        }
        Some(true) => Some(HookKind::Pair {
            before: before?,
            after: after?,
        }),
        Some(false) => Some(HookKind::Hold { command: command? }),
    }
}

fn needed_program(
    section: &mut Section<'_>,
    key: &'static str,
    is_wanted: Option<bool>,
) -> Option<Hook> {
    let program = section.contains(key).then(|| rules::hook(section, key));
    match (&program, is_wanted) {
        (None, Some(true)) => {
            let expected = "a program by its absolute path, and its arguments";
            section.fault(key, &"missing", expected.to_owned());
        }
        (Some(_), Some(false)) => {
            let expected = "`command` in a hook of mode hold, `before` and `after` in a pair";
            section.fault(key, &"in a hook of the other mode", expected.to_owned());
        }
        (None, Some(false) | None) | (Some(_), Some(true) | None) => {}
    }
    section.knows(key);
    program.flatten()
}

/// By their numbers: the guard asks no name service.
fn identity(section: &mut Section<'_>) -> Option<(u32, u32)> {
    let [uid, gid] = ["uid", "gid"].map(|key| {
        let number = section.given_whole(key, 0..=(u32::MAX - 1).into());
        number.and_then(|number| u32::try_from(number).ok())
    });
    if uid.is_some() != gid.is_some() {
        let expected = "both of uid and gid, or none for root".to_owned();
        section.fault("uid", &"without the other", expected);
    }
    Some((uid?, gid?))
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
