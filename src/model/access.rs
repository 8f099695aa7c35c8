//! Who may have what done to which snapshots, and how many there may be: the checked policy of the API.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::action::{Caller, Verb, Who};
use super::names::{Name, VolumeName};
use super::quiesce::QuiesceHook;

/// Built by `config`, which has checked every range and name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// What may be done at all, and by root on this host. Looking is always allowed to whom is known.
    pub verbs: Vec<Verb>,
    pub grants: Vec<Grant>,
    /// What may have applications hold still, by unique names.
    pub hooks: Vec<QuiesceHook>,
    pub limits: Limits,
}

/// What somebody other than root may have done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub who: Who,
    pub verbs: Vec<Verb>,
    /// Patterns of `VG/LV`, for origins and for snapshots, with `*` for any text and `?` for one letter.
    pub volumes: Vec<WildMatch>,
    /// Hooks that it may name.
    pub hooks: Vec<Name>,
}

/// Where a new snapshot would do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A pool whose data is fuller than this gets no new snapshot. 1 to 100.
    pub pool_data_percent: u64,
    pub pool_metadata_percent: u64,
    /// Every write to an origin is copied into each of its copy-on-write snapshots.
    pub cow_per_origin: u64,
    pub thin_per_origin: u64,
}

impl Access {
    /// With one grant more.
    #[must_use]
    pub fn with(&self, grant: Grant) -> Self {
        let mut access = self.clone();
        access.grants.push(grant);
        access
    }

    /// Whether this caller may have this done to this volume.
    #[must_use]
    pub fn allows(&self, caller: &Caller, verb: Verb, volume: &VolumeName) -> bool {
        let named = volume.to_string();
        let is_granted = |grant: &Grant| {
            grant.verbs.contains(&verb)
                && grant.volumes.iter().any(|pattern| pattern.matches(&named))
        };
        self.verbs.contains(&verb) && (caller.is_root() || self.grants_of(caller).any(is_granted))
    }

    /// Whether this caller may have this done to every volume.
    #[must_use]
    pub fn allows_all(&self, caller: &Caller, verb: Verb) -> bool {
        self.verbs.contains(&verb) && caller.is_root()
    }

    /// Whether this caller may name this hook.
    #[must_use]
    pub fn allows_hook(&self, caller: &Caller, hook: &Name) -> bool {
        let is_granted = |grant: &Grant| grant.hooks.contains(hook);
        caller.is_root() || self.grants_of(caller).any(is_granted)
    }

    #[must_use]
    pub fn hook(&self, name: &Name) -> Option<&QuiesceHook> {
        self.hooks.iter().find(|hook| hook.name == *name)
    }

    /// Whether this caller may see anything.
    #[must_use]
    pub fn knows(&self, caller: &Caller) -> bool {
        caller.is_root() || self.grants_of(caller).next().is_some()
    }

    /// The one of these names in a certificate that somebody is known by, as it is written here.
    #[must_use]
    pub fn certificate(&self, names: &[String]) -> Option<&str> {
        let known = self.grants.iter().filter_map(|grant| match &grant.who {
            Who::Certificate(name) => Some(name.as_str()),
            Who::User(_) | Who::Token(_) | Who::Stranger(_) => None,
        });
        // Names of hosts are the same in upper and lower case.
        let is_shown = |known: &&str| names.iter().any(|name| name.eq_ignore_ascii_case(known));
        known.into_iter().find(is_shown)
    }

    fn grants_of(&self, caller: &Caller) -> impl Iterator<Item = &Grant> {
        let who = caller.who();
        self.grants.iter().filter(move |grant| grant.who == who)
    }
}
