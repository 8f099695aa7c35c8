//! The API: who may have what done, and how many snapshots there may be.

use std::path::PathBuf;

use wildmatch::WildMatch;

use crate::model::access::{Access, Grant, Limits};
use crate::model::action::Verb;

use super::section::Section;

/// Made by the guard.
const SOCKET: &str = "/run/cowherd/api.sock";

/// What callers may have done, and where they connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    pub access: Access,
    pub socket: PathBuf,
    /// Whose members may open the socket besides root.
    pub group: Option<String>,
}

/// Nothing when it is turned off.
pub(super) fn api(section: &mut Section<'_>) -> Option<Api> {
    let is_enabled = section.boolean("enabled", true);
    let socket = section.given_text("socket", "an absolute path", |path| path.starts_with('/'));
    let api = Api {
        socket: PathBuf::from(socket.unwrap_or_else(|| SOCKET.to_owned())),
        group: section.given_text("group", "the name of a group", |name| !name.is_empty()),
        access: Access {
            verbs: verbs(section),
            limits: Limits {
                pool_data_percent: section.whole("pool_data_max_percent", 1..=100, 85),
                pool_metadata_percent: section.whole("pool_metadata_max_percent", 1..=100, 70),
                cow_per_origin: section.whole("thick_snapshots_max", 1..=100, 3),
                thin_per_origin: section.whole("thin_snapshots_max", 1..=10_000, 16),
            },
            grants: section.sections("caller", grant),
        },
    };
    is_enabled.then_some(api)
}

fn grant(section: &mut Section<'_>) -> Grant {
    let uid = section.given_whole("uid", 0..=u32::MAX.into());
    if uid.is_none() {
        section.fault(
            "uid",
            &"missing",
            "the number of a user, as `id -u NAME` prints it".to_owned(),
        );
    }
    let patterns = section.texts("volumes").unwrap_or_default();
    if patterns.is_empty() {
        let expected = "patterns of VG/LV such as [\"vg0/vm-*\"]";
        section.fault("volumes", &"nothing", expected.to_owned());
    }
    Grant {
        uid: uid
            .and_then(|uid| u32::try_from(uid).ok())
            .unwrap_or(u32::MAX),
        verbs: verbs(section),
        volumes: patterns
            .iter()
            .map(|pattern| WildMatch::new(pattern))
            .collect(),
    }
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
