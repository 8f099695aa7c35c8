//! Names and identities of volumes, checked once where they enter.
//!
//! A name that passed here can stand in an lvm command line: LVM's grammar leaves no
//! room for a leading dash, a slash, a tag sign or white space (lvm(8), "VALID NAMES").

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// LVM's limit on the length of a VG or LV name (`NAME_LEN` in lvm2, terminator excluded).
const NAME_LEN_MAX: usize = 127;

/// Length of an LVM uuid without its hyphens (`ID_LEN` in lvm2).
const UUID_LEN: usize = 32;
/// As LVM writes them, with hyphens in between.
const UUID_GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    #[error(
        "name {0:?} is not an LVM name: expected 1 to 127 of a-z A-Z 0-9 + _ . - without a leading hyphen"
    )]
    Name(String),
    #[error("uuid {0:?} is not an LVM uuid: expected 32 letters and digits")]
    Uuid(String),
}

/// The name of a volume group or a logical volume. Shared: every decision and every picture names each of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(Arc<str>);

/// An LVM uuid without hyphens, as device-mapper carries it. Held in place: a decision about a thousand
/// volumes names each of them several times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Uuid([u8; UUID_LEN]);

/// What a volume *is*: it survives a rename, and a new volume of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeId {
    pub vg: Uuid,
    pub lv: Uuid,
}

/// What a volume is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeName {
    pub vg: Name,
    pub lv: Name,
}

/// Which of a volume's stores can run full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    // The order is the order in which scarce room is granted: a lost pool costs guests, a lost COW a backup.
    /// Metadata of a thin pool.
    Metadata,
    /// Data of a thin pool.
    Data,
    /// Exception store of a COW snapshot.
    Cow,
}

/// One store of one volume: what is watched and extended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    pub volume: VolumeId,
    pub resource: Resource,
}

impl Name {
    /// # Errors
    /// When `text` does not follow LVM's grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
        let valid = (1..=NAME_LEN_MAX).contains(&text.len())
            && text.chars().all(allowed)
            && !text.starts_with('-')
            && text != "."
            && text != "..";
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Name(text.to_owned()))
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Uuid {
    /// Takes LVM's form with hyphens and device-mapper's without.
    ///
    /// # Errors
    /// When `text` does not have 32 letters and digits.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::Uuid(text.to_owned());
        let mut plain = [0; UUID_LEN];
        let mut places = plain.iter_mut();
        for letter in text.bytes().filter(|letter| *letter != b'-') {
            let place = places.next().filter(|_| letter.is_ascii_alphanumeric());
            *place.ok_or_else(refused)? = letter;
        }
        if places.next().is_some() {
            return Err(refused());
        }
        Ok(Self(plain))
    }

    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "letters and digits are UTF-8")]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("letters and digits, by `parse`")
    }

    /// As LVM shows it, so that it can be looked for: `HeDn2l-9XRh-...`.
    #[must_use]
    pub fn lvm_form(&self) -> String {
        let mut rest = self.as_str();
        let mut groups = Vec::with_capacity(UUID_GROUPS.len());
        for length in UUID_GROUPS {
            let (group, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            groups.push(group);
            rest = after;
        }
        groups.join("-")
    }
}

impl VolumeId {
    /// Splits a device-mapper uuid: `LVM-`, VG uuid, LV uuid, then the layer's suffix (`tpool`, `cow`, ... or nothing).
    #[must_use]
    pub fn from_dm_uuid(dm_uuid: &str) -> Option<(Self, &str)> {
        let rest = dm_uuid.strip_prefix("LVM-")?;
        let vg = Uuid::parse(rest.get(..UUID_LEN)?).ok()?;
        let lv = Uuid::parse(rest.get(UUID_LEN..2 * UUID_LEN)?).ok()?;
        let layer = rest.get(2 * UUID_LEN..)?;
        Some((Self { vg, lv }, layer.strip_prefix('-').unwrap_or(layer)))
    }

    /// The uuid that LVM gives the device of this volume's layer.
    #[must_use]
    pub fn dm_uuid(&self, layer: &str) -> String {
        let hyphen = if layer.is_empty() { "" } else { "-" };
        format!(
            "LVM-{}{}{hyphen}{layer}",
            self.vg.as_str(),
            self.lv.as_str()
        )
    }
}

impl Resource {
    /// The value of the `resource` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Data => "data",
            Self::Cow => "cow",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vg, self.lv)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for Uuid {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_shown_as_lvm_shows_it() {
        let shown = "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4";
        let uuid = Uuid::parse(shown).expect("a literal uuid");
        assert_eq!(uuid.lvm_form(), shown);
    }

    #[test]
    fn names_follow_lvms_grammar() {
        for good in ["a", "vg-a", "pool--b", "+x", "_.-", &"n".repeat(127)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--config=x",
            ".",
            "..",
            "a/b",
            "a b",
            "a\n",
            "@tag",
            "ü",
            "a\0",
            &"n".repeat(128),
        ] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_dm_uuid_gives_volume_and_layer() {
        let vg = "a".repeat(32);
        let lv = "B".repeat(32);
        let dm_uuid = format!("LVM-{vg}{lv}-tpool");
        let (id, layer) = VolumeId::from_dm_uuid(&dm_uuid).expect("well formed");
        assert_eq!(
            (id.vg.as_str(), id.lv.as_str(), layer),
            (vg.as_str(), lv.as_str(), "tpool")
        );
        assert_eq!(id.dm_uuid("tpool"), format!("LVM-{vg}{lv}-tpool"));
        assert_eq!(id.dm_uuid(""), format!("LVM-{vg}{lv}"));
    }

    #[test]
    fn foreign_dm_uuids_are_no_volumes() {
        for foreign in ["", "LVM-", "mpath-1", "LVM-short", "CRYPT-LUKS2-x", "LVM-ü"] {
            assert!(VolumeId::from_dm_uuid(foreign).is_none(), "{foreign}");
        }
    }
}
