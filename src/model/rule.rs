//! What differs from the policy for some volumes: by volume group, by name, by LVM tag.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::names::{Name, Resource, VolumeName};
use super::policy::{Growth, Reserve};
use super::relief::Ladder;
use super::units::Bytes;

/// One rule. Of two that match and say something of the same key, the later decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub selector: Selector,
    pub data: Change,
    pub metadata: Change,
    pub snapshot: Change,
    /// Of a group: only a rule that selects by group alone has this and what follows.
    pub reserve: ReserveChange,
    /// What helps the group when it has no room.
    pub relief: Ladder,
}

/// Which volumes: those that match all that is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Selector {
    /// Patterns with `*` for any text and `?` for one letter.
    pub volume_group: Option<WildMatch>,
    pub name: Option<WildMatch>,
    /// An LVM tag of the volume, without its `@`.
    pub tag: Option<String>,
}

/// What a rule says of one kind of store; what it leaves out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub enabled: Option<bool>,
    pub threshold_percent: Option<u64>,
    pub extend_percent: Option<u64>,
    pub extend_min: Option<Bytes>,
    pub headroom: Option<Bytes>,
    pub max_size: Option<Bytes>,
    pub growth_per_hour: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveChange {
    pub bytes: Option<Bytes>,
    pub percent: Option<u64>,
}

impl Rule {
    #[must_use]
    pub const fn change(&self, resource: Resource) -> &Change {
        match resource {
            Resource::Data => &self.data,
            Resource::Metadata => &self.metadata,
            Resource::Cow => &self.snapshot,
        }
    }
}

impl Selector {
    #[must_use]
    pub fn selects(&self, volume: &VolumeName, tags: &[String]) -> bool {
        self.selects_group(&volume.vg)
            && matches(self.name.as_ref(), &volume.lv)
            && self.tag.as_ref().is_none_or(|tag| tags.contains(tag))
    }

    #[must_use]
    pub fn selects_group(&self, group: &Name) -> bool {
        matches(self.volume_group.as_ref(), group)
    }
}

fn matches(pattern: Option<&WildMatch>, name: &Name) -> bool {
    pattern.is_none_or(|pattern| pattern.matches(name.as_str()))
}

impl Change {
    #[must_use]
    pub fn over(&self, base: Growth) -> Growth {
        Growth {
            enabled: self.enabled.unwrap_or(base.enabled),
            threshold_percent: self.threshold_percent.unwrap_or(base.threshold_percent),
            extend_percent: self.extend_percent.unwrap_or(base.extend_percent),
            extend_min: self.extend_min.unwrap_or(base.extend_min),
            headroom: self.headroom.unwrap_or(base.headroom),
            max_size: self.max_size.or(base.max_size),
            growth_per_hour: self.growth_per_hour.or(base.growth_per_hour),
        }
    }
}

impl ReserveChange {
    #[must_use]
    pub fn over(&self, base: Reserve) -> Reserve {
        Reserve {
            bytes: self.bytes.unwrap_or(base.bytes),
            percent: self.percent.unwrap_or(base.percent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(vg: &str, lv: &str) -> VolumeName {
        let name = |text| Name::parse(text).expect("an LVM name");
        VolumeName {
            vg: name(vg),
            lv: name(lv),
        }
    }

    #[test]
    fn a_rule_selects_what_matches_all_that_it_gives() {
        let selector = |vg: Option<&str>, lv: Option<&str>, tag: Option<&str>| Selector {
            volume_group: vg.map(WildMatch::new),
            name: lv.map(WildMatch::new),
            tag: tag.map(str::to_owned),
        };
        let volume = name("pve", "vm-100-disk-0");
        let tags = ["gold".to_owned()];
        for (selector, expected) in [
            (selector(None, None, None), true),
            (selector(Some("pve"), Some("vm-*"), Some("gold")), true),
            (selector(Some("p?e"), None, None), true),
            (selector(Some("pv"), None, None), false),
            (selector(None, Some("vm-1"), None), false),
            (selector(None, None, Some("gol")), false),
            (selector(Some("pve"), Some("vm-*"), Some("iron")), false),
        ] {
            assert_eq!(selector.selects(&volume, &tags), expected, "{selector:?}");
        }
    }
}
