//! The rules for some volumes: which they select, and what they change.

use wildmatch::WildMatch;

use crate::model::names::Uuid;
use crate::model::relief::{Hook, Ladder};
use crate::model::rule::{Change, ReserveChange, Rule, Selector};

use super::section::Section;

/// Letters of LVM's names, and what stands for any of them.
const PATTERN: &str = "a pattern of letters, digits and + _ . - with * and ?";
/// lvm2 `validate_tag`.
const TAG: &str = "an LVM tag without its @: letters, digits and _ + . - / = ! : & #";

pub(super) fn rule(section: &mut Section<'_>) -> Rule {
    let selector = Selector {
        volume_group: pattern(section, "volume_group"),
        name: pattern(section, "name"),
        tag: section.given_text("tag", TAG, is_tag),
    };
    let reserve = ReserveChange {
        bytes: section.size("reserve"),
        percent: section.given_whole("reserve_percent", 0..=100),
    };
    if selector == Selector::default() {
        let expected = "at least one of volume_group, name, tag".to_owned();
        section.fault("volume_group", &"missing", expected);
    }
    let relief = ladder(section);
    let is_of_group = selector.name.is_none() && selector.tag.is_none();
    let of_group = [
        ("reserve", reserve != ReserveChange::default()),
        ("standby", !relief.standby.is_empty()),
        ("trim", relief.trim.is_some()),
        ("remove_snapshots", relief.remove_snapshots.is_some()),
        ("suspend", relief.suspend.is_some()),
        ("resume", relief.resume.is_some()),
    ];
    for (key, _) in of_group
        .into_iter()
        .filter(|(_, is_said)| *is_said && !is_of_group)
    {
        let expected = "a rule that selects by volume_group alone".to_owned();
        section.fault(key, &"in a rule with name or tag", expected);
    }
    let (data, metadata) = section.section("thin_pool", |pool| {
        (
            pool.section("data", change),
            pool.section("metadata", change),
        )
    });
    Rule {
        selector,
        data,
        metadata,
        snapshot: section.section("snapshot", change),
        reserve,
        relief,
    }
}

fn ladder(section: &mut Section<'_>) -> Ladder {
    let ladder = Ladder {
        standby: standby(section),
        trim: hook(section, "trim"),
        remove_snapshots: section.given_boolean("remove_snapshots"),
        suspend: hook(section, "suspend"),
        resume: hook(section, "resume"),
    };
    // Who is suspended and never resumed is lost as well.
    for (key, other, is_alone) in [
        (
            "suspend",
            "resume",
            ladder.suspend.is_some() && ladder.resume.is_none(),
        ),
        (
            "resume",
            "suspend",
            ladder.resume.is_some() && ladder.suspend.is_none(),
        ),
    ] {
        if is_alone {
            section.fault(key, &"alone", format!("{other} in the same rule"));
        }
    }
    ladder
}

/// Never by a shell, and never looked up in PATH.
pub(super) fn hook(section: &mut Section<'_>, key: &'static str) -> Option<Hook> {
    let words = section.texts(key)?;
    match words.split_first() {
        Some((program, arguments)) if program.starts_with('/') => Some(Hook {
            program: program.clone(),
            arguments: arguments.to_vec(),
        }),
        Some(_) | None => {
            let expected = "a program by its absolute path, and its arguments";
            section.fault(key, &format!("{words:?}"), expected.to_owned());
            None
        }
    }
}

/// By uuid: a device's name may be another one's after the next boot.
fn standby(section: &mut Section<'_>) -> Vec<Uuid> {
    section
        .texts("standby")
        .into_iter()
        .flatten()
        .filter_map(|text| {
            let uuid = Uuid::parse(&text).ok();
            if uuid.is_none() {
                let expected = "uuids of physical volumes, as `pvs -o pv_name,pv_uuid` shows them";
                section.fault("standby", &text, expected.to_owned());
            }
            uuid
        })
        .collect()
}

/// What is said of one kind of store.
pub(super) fn change(section: &mut Section<'_>) -> Change {
    Change {
        enabled: section.given_boolean("enabled"),
        threshold_percent: section.given_whole("threshold_percent", 1..=99),
        extend_percent: section.given_whole("extend_percent", 1..=1000),
        extend_min: section.size("extend_min"),
        headroom: section.size("headroom"),
        max_size: section.size("max_size"),
        growth_per_hour: section.size("growth_per_hour"),
    }
}

fn pattern(section: &mut Section<'_>, key: &'static str) -> Option<WildMatch> {
    let is_pattern = |text: &str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || "+_.-*?".contains(c);
        !text.is_empty() && text.chars().all(is_known)
    };
    let text = section.given_text(key, PATTERN, is_pattern)?;
    Some(WildMatch::new(&text))
}

fn is_tag(text: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "_+.-/=!:&#".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_known)
}
