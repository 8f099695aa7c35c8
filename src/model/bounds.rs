//! What a request may say: the grammars of new names, tags and keys, and the ranges of sizes and times.
//!
//! They are held twice: the front refuses early, and the guard, which does not trust it, checks again with
//! `check`. What is found is shown cut and escaped, since it ends up in answers, logs and the journal.

use super::action::{Act, Action, Create, Extend, Label, OWNER_TAG, SnapshotKind, StoreSize};
use super::names::Name;
use super::quiesce::{Quiesce, QuiesceMode};
use super::refusal::{Code, Refusal};

/// LVM takes 127 (`NAME_LEN`), of which it and others append to: `-real`, `_imported_17`.
pub const NEW_NAME_LEN_MAX: usize = 100;
/// LVM takes 1024; these are for people.
pub const TAG_LEN_MAX: usize = 100;
pub const TAGS_MAX: usize = 16;
/// Proxmox VE takes what has such a tag for the disk of a guest (`LVMPlugin.pm`).
pub const PVE_TAG: &str = "pve-vm-";
/// Each may take its time to get ready while nobody else changes the volume group.
pub const HOOKS_MAX: usize = 8;
/// Besides the first: LVM makes one after the other, while applications hold still.
pub const WITH_MAX: usize = 15;
/// A UUID with hyphens has 36.
pub const KEY_LEN_MAX: usize = 64;
pub const TOKEN_LEN_MAX: usize = 128;
/// 8 EiB: LVM counts sectors of 512 bytes in 64 bits and refuses larger ones anyway.
pub const SIZE_BYTES_MAX: u64 = 1 << 63;
/// A store that is larger than its origin and its own metadata is never filled.
pub const PERCENT_MAX: u32 = 200;
/// Ten years.
pub const TTL_SECS_MAX: u32 = 10 * 365 * 86_400;
/// As much of what somebody sent is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// What LVM keeps for itself (lvm2 `apply_lvname_restrictions`): at the start of a name, and anywhere in it.
const RESERVED_STARTS: [&str; 2] = ["snapshot", "pvmove"];
const RESERVED_PARTS: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog",
    "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
];

/// Everything in it that has a grammar or a range, whoever made it.
///
/// # Errors
/// Names the first thing that is beyond its bounds.
pub fn check(act: &Act) -> Result<(), Refusal> {
    act.key.as_deref().map_or(Ok(()), key)?;
    act.confirm.as_deref().map_or(Ok(()), token)?;
    match &act.action {
        Action::Create(wanted) => create(wanted),
        Action::Extend(Extend { size_bytes }) => store_bytes(*size_bytes),
        Action::Label(Label { ttl_s, .. }) => ttl_s.map_or(Ok(()), ttl),
        Action::Activate | Action::Deactivate | Action::Merge(_) | Action::Remove => Ok(()),
    }
}

fn create(wanted: &Create) -> Result<(), Refusal> {
    if let Some(name) = &wanted.name {
        new_name(name.as_str())?;
    }
    if wanted.tags.len() > TAGS_MAX {
        let found = wanted.tags.len();
        let detail = format!("`tags`: found {found}, expected at most {TAGS_MAX}");
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    wanted.tags.iter().try_for_each(|text| tag(text))?;
    wanted.ttl_s.map_or(Ok(()), ttl)?;
    wanted.quiesce.as_ref().map_or(Ok(()), quiesce)?;
    with(wanted)?;
    match (wanted.kind, wanted.size) {
        (_, None) => Ok(()),
        (SnapshotKind::Thin, Some(_)) => {
            let detail = "`size`: found one, expected none: a thin snapshot has no store";
            Err(Refusal::new(Code::InvalidSize, detail))
        }
        (SnapshotKind::Auto | SnapshotKind::Thick, Some(size)) => store_size(size),
    }
}

/// Snapshots of several volumes are of one moment only while nobody writes to any of them.
fn with(wanted: &Create) -> Result<(), Refusal> {
    let found = wanted.with.len();
    if found > WITH_MAX {
        let detail = format!("`with`: found {found}, expected at most {WITH_MAX}");
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    if found > 0 && wanted.quiesce.is_none() {
        let detail = "`quiesce`: found none, expected hooks, or the mode \"none\" (--no-quiesce): LVM makes snapshots of \
                      several volumes one after the other, so they are of different moments unless somebody holds still";
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    Ok(())
}

/// # Errors
/// When hooks and mode do not go together.
pub fn quiesce(wanted: &Quiesce) -> Result<(), Refusal> {
    let hooks = &wanted.hooks;
    let twice = (1..)
        .zip(hooks)
        .find(|(next, hook)| hooks.iter().skip(*next).any(|other| other == *hook));
    let (found, expected) = match (wanted.mode, hooks.len()) {
        (QuiesceMode::None, 1..) => ("some".to_owned(), "none: the mode is \"none\"".to_owned()),
        (QuiesceMode::Required | QuiesceMode::BestEffort, 0) => (
            "none".to_owned(),
            "the names of configured hooks".to_owned(),
        ),
        (_, found) if found > HOOKS_MAX => (found.to_string(), format!("at most {HOOKS_MAX}")),
        (QuiesceMode::None | QuiesceMode::Required | QuiesceMode::BestEffort, _) => match twice {
            Some((_, hook)) => (format!("{hook} twice"), "each once".to_owned()),
            None => return Ok(()),
        },
    };
    let detail = format!("`quiesce.hooks`: found {found}, expected {expected}");
    Err(Refusal::new(Code::InvalidRequest, detail))
}

/// A name that a new volume may be given: within LVM's grammar, and nothing that LVM or a shell would take for
/// something else.
///
/// # Errors
/// When it is none.
pub fn new_name(text: &str) -> Result<Name, Refusal> {
    let refused = |expected: &str| {
        let detail = format!("`name`: found {}, expected {expected}", shown(text));
        Refusal::new(Code::InvalidName, detail)
    };
    let starts = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let is_short = (1..=NEW_NAME_LEN_MAX).contains(&text.len());
    let name = Name::parse(text)
        .ok()
        .filter(|_| is_short && text.starts_with(starts));
    let Some(name) = name else {
        let grammar = "1 to 100 of a-z A-Z 0-9 _ . + -, the first a letter, a digit or _";
        return Err(refused(grammar));
    };
    let starts_so = |start: &&str| text.starts_with(*start);
    let contains = |part: &&str| text.contains(*part);
    let mut reserved = RESERVED_STARTS.iter().filter(|start| starts_so(start));
    let mut reserved_parts = RESERVED_PARTS.iter().filter(|part| contains(part));
    match reserved.next().or_else(|| reserved_parts.next()) {
        Some(part) => Err(refused(&format!("none with {part:?}, which LVM reserves"))),
        None => Ok(name),
    }
}

/// A tag that a caller may give. LVM's own grammar allows more, with which a tag could be taken for a path or
/// an expression.
///
/// # Errors
/// When it is none, or cowherd's, or Proxmox VE's.
pub fn tag(text: &str) -> Result<(), Refusal> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_+.-".contains(letter);
    let is_tag = (1..=TAG_LEN_MAX).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-');
    let expected = if !is_tag {
        "1 to 100 of a-z A-Z 0-9 _ + . - without a leading hyphen"
    } else if text.starts_with(OWNER_TAG) {
        "none that begins with \"cowherd\""
    } else if text.starts_with(PVE_TAG) {
        "none that begins with \"pve-vm-\", which is Proxmox VE's"
    } else {
        return Ok(());
    };
    let detail = format!("`tags`: found {}, expected {expected}", shown(text));
    Err(Refusal::new(Code::InvalidName, detail))
}

/// # Errors
/// When no store can have that size.
pub fn store_size(size: StoreSize) -> Result<(), Refusal> {
    match size {
        StoreSize::Auto => Ok(()),
        StoreSize::Bytes(bytes) => store_bytes(bytes),
        StoreSize::PercentOfOrigin(percent) if (1..=PERCENT_MAX).contains(&percent) => Ok(()),
        StoreSize::PercentOfOrigin(percent) => {
            let detail =
                format!("`percent_of_origin`: found {percent}, expected 1 to {PERCENT_MAX}");
            Err(Refusal::new(Code::InvalidSize, detail))
        }
    }
}

/// # Errors
/// When no store can have that size.
pub fn store_bytes(bytes: u64) -> Result<(), Refusal> {
    if (1..=SIZE_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    let detail = format!("the size: found {bytes}, expected 1 to {SIZE_BYTES_MAX} bytes");
    Err(Refusal::new(Code::InvalidSize, detail))
}

/// # Errors
/// When it is longer than ten years.
pub fn ttl(seconds: u32) -> Result<(), Refusal> {
    if seconds <= TTL_SECS_MAX {
        return Ok(());
    }
    let detail = format!("`ttl_s`: found {seconds}, expected at most {TTL_SECS_MAX}");
    Err(Refusal::new(Code::InvalidRequest, detail))
}

/// What makes repeating a request harmless.
///
/// # Errors
/// When it does not follow its grammar.
pub fn key(text: &str) -> Result<(), Refusal> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if (1..=KEY_LEN_MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(());
    }
    let found = shown(text);
    let detail = format!("`Idempotency-Key`: found {found}, expected 1 to 64 of a-z A-Z 0-9 _ -");
    Err(Refusal::new(Code::InvalidRequest, detail))
}

/// What a confirmation gave. It is a secret: it is not shown.
///
/// # Errors
/// When it can be none.
pub fn token(text: &str) -> Result<(), Refusal> {
    let is_token = (1..=TOKEN_LEN_MAX).contains(&text.len())
        && text.chars().all(|letter| letter.is_ascii_graphic());
    if is_token {
        return Ok(());
    }
    let detail = "`Confirm`: expected the token of a confirmation";
    Err(Refusal::new(Code::ConfirmationInvalid, detail))
}

/// A text from outside in quotes, as much of it as does no harm.
#[must_use]
pub fn shown(text: &str) -> String {
    let escaped = text.chars().flat_map(|letter| {
        let is_plain = letter == ' ' || letter.is_ascii_graphic() && !"\"\\".contains(letter);
        let plain = is_plain.then_some(letter);
        let escaped = (!is_plain).then(|| letter.escape_default());
        plain.into_iter().chain(escaped.into_iter().flatten())
    });
    let mut quoted = String::from("\"");
    for (count, letter) in escaped.enumerate() {
        if count == SHOWN_CHARS_MAX {
            quoted.push_str("...");
            break;
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn new_names_are_stricter_than_lvms() {
        for good in ["a", "_a", "9.a+b-c", "nightly_snapshot", &"n".repeat(100)] {
            assert!(new_name(good).is_ok(), "{good}");
        }
        let mut bad: Vec<String> = RESERVED_PARTS.map(|part| format!("x{part}y")).to_vec();
        let literal = [
            "",
            " ",
            "-x",
            "+x",
            ".x",
            "@x",
            "--config=x",
            "a/b",
            "a b",
            "a\n",
            "ü",
            "snapshot1",
            "pvmove0",
        ];
        bad.extend(literal.map(str::to_owned));
        bad.push("n".repeat(101));
        for bad in bad {
            let refusal = new_name(&bad).expect_err(&bad);
            assert_eq!(refusal.code, Code::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn tags_are_callers_own() {
        for good in ["nightly", "+x", "a.b-c_d", "a-cowherd", &"t".repeat(100)] {
            assert!(tag(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "@x",
            "a=b",
            "a/b",
            "a b",
            "cowherd",
            "cowherd.protected",
            &"t".repeat(101),
        ] {
            assert_eq!(tag(bad).expect_err(bad).code, Code::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn sizes_and_times_have_ends() {
        for (size, is_good) in [
            (StoreSize::Bytes(0), false),
            (StoreSize::Bytes(1), true),
            (StoreSize::Bytes(SIZE_BYTES_MAX), true),
            (StoreSize::Bytes(SIZE_BYTES_MAX + 1), false),
            (StoreSize::PercentOfOrigin(0), false),
            (StoreSize::PercentOfOrigin(200), true),
            (StoreSize::PercentOfOrigin(201), false),
        ] {
            assert_eq!(store_size(size).is_ok(), is_good, "{size:?}");
        }
        assert!(ttl(TTL_SECS_MAX).is_ok() && ttl(TTL_SECS_MAX + 1).is_err());
    }

    #[test]
    fn a_thin_snapshot_has_no_size() {
        let wanted = Create {
            kind: SnapshotKind::Thin,
            size: Some(StoreSize::Bytes(1)),
            ..Create::default()
        };
        let refusal = create(&wanted).expect_err("a thin snapshot has no store");
        assert_eq!(refusal.code, Code::InvalidSize);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_short_and_plain(text in any::<String>()) {
            let shown = shown(&text);
            assert!(shown.len() <= SHOWN_CHARS_MAX + 5, "{shown}");
            assert!(shown.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic()), "{shown}");
        }

        #[test]
        fn any_text_is_a_name_or_refused(text in any::<String>()) {
            if let Ok(name) = new_name(&text) {
                assert_eq!(name.as_str(), text);
            }
        }
    }
}
