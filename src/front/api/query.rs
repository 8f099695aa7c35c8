//! What stands behind the question mark: only keys that the route has, none twice, each with its value.

use std::time::Duration;

use crate::model::action::Reference;
use crate::model::bounds::shown;
use crate::model::names::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::volume::VolumeKind;

use super::named;

/// Whoever waits holds a connection.
pub(super) const WAIT_SECS_MAX: u64 = 60;

const KINDS: [(&str, VolumeKind); 5] = [
    ("thick", VolumeKind::Thick),
    ("cow", VolumeKind::Cow),
    ("thin", VolumeKind::Thin),
    ("thin_pool", VolumeKind::ThinPool),
    ("other", VolumeKind::Other),
];

#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) vg: Option<Name>,
    pub(super) kind: Option<VolumeKind>,
    pub(super) origin: Option<Reference>,
    pub(super) dry_run: bool,
    pub(super) wait: Option<Duration>,
}

impl Query {
    /// # Errors
    /// Names the first key or value that is not taken.
    pub(super) fn parse(text: &str, allowed: &[&str]) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split('&').filter(|_| !text.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !allowed.contains(&key) {
                return Err(unknown(key, allowed));
            }
            if seen.contains(&key) {
                let detail = format!("the query: found {} twice", shown(key));
                return Err(Refusal::new(Code::InvalidRequest, detail));
            }
            seen.push(key);
            let value = named::decoded(value)?;
            match key {
                "vg" => query.vg = Some(group(&value)?),
                "type" => query.kind = Some(kind(&value)?),
                "origin" => query.origin = Some(named::reference(&value)?),
                "dry_run" => query.dry_run = claim(key, &value)?,
                "wait" => query.wait = Some(wait(&value)?),
                _ => return Err(unknown(key, &[])),
            }
        }
        Ok(query)
    }
}

fn unknown(key: &str, allowed: &[&str]) -> Refusal {
    let expected = match allowed {
        [] => "none here".to_owned(),
        allowed => allowed.join(" or "),
    };
    let detail = format!("the query: found {}, expected {expected}", shown(key));
    Refusal::new(Code::InvalidRequest, detail)
}

fn refused(key: &str, value: &str, expected: &str) -> Refusal {
    let detail = format!(
        "`{key}` in the query: found {}, expected {expected}",
        shown(value)
    );
    Refusal::new(Code::InvalidRequest, detail)
}

fn group(value: &str) -> Result<Name, Refusal> {
    Name::parse(value).map_err(|_| Refusal {
        code: Code::InvalidName,
        ..refused("vg", value, "the name of a volume group")
    })
}

fn kind(value: &str) -> Result<VolumeKind, Refusal> {
    let found = KINDS.iter().find(|(name, _)| *name == value);
    let expected = "thick, cow, thin, thin_pool or other";
    found.map_or_else(
        || Err(refused("type", value, expected)),
        |(_, kind)| Ok(*kind),
    )
}

fn claim(key: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(refused(key, value, "true or false")),
    }
}

fn wait(value: &str) -> Result<Duration, Refusal> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse().ok());
    let in_range = seconds.filter(|seconds| (1..=WAIT_SECS_MAX).contains(seconds));
    in_range
        .map(Duration::from_secs)
        .ok_or_else(|| refused("wait", value, "seconds, a whole number of 1 to 60"))
}
