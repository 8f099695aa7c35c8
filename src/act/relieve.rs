//! Adds a standby disk to a volume group. LVM refuses what is in another group by now.

use std::time::{Duration, Instant};

use crate::model::relief::{Relief, Relieved};

use super::{Hands, Tool};

/// Two writes of metadata for each disk of the group.
const DEADLINE: Duration = Duration::from_secs(60);

/// vgextend knows no `--noudevsync`; else as every changing command of ours.
const SAFE: [&str; 3] = [
    "-An",
    "--config",
    r#"backup{archive=0 backup=0} global{notify_dbus=0 use_lvmpolld=0} devices{hints="none"}"#,
];

#[must_use]
pub fn relieve(hands: &impl Hands, relief: &Relief) -> Relieved {
    let started = Instant::now();
    Relieved {
        relief: relief.clone(),
        error: add(hands, relief).err(),
        took: started.elapsed(),
    }
}

fn add(hands: &impl Hands, relief: &Relief) -> Result<(), String> {
    // vgextend takes the lock itself and waits for it without end.
    let lock = hands.lock(&relief.group, hands.lock_wait());
    drop(lock.map_err(|error| error.to_string())?);
    let finished = hands
        .run(Tool::Lvm, &arguments(relief), DEADLINE)
        .map_err(|error| error.to_string())?;
    if finished.status.success() {
        Ok(())
    } else {
        Err(finished.complaint())
    }
}

/// Without `--yes`: whatever LVM would ask about, the answer is no.
fn arguments(relief: &Relief) -> Vec<String> {
    let fixed = ["vgextend"].into_iter().chain(SAFE);
    let named = ["--", relief.group.as_str(), &relief.disk.device];
    fixed.chain(named).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{Name, Uuid};
    use crate::model::relief::SpareDisk;
    use crate::model::units::Bytes;

    #[test]
    fn nothing_is_confirmed_and_nothing_is_an_option() {
        let uuid = Uuid::parse(&"a".repeat(32)).expect("a literal uuid");
        let relief = Relief {
            group: Name::parse("vg0").expect("a literal name"),
            group_uuid: uuid.clone(),
            disk: SpareDisk {
                uuid,
                device: "/dev/sdb".to_owned(),
                size: Bytes::mib(64),
            },
        };
        let words = arguments(&relief);
        assert_eq!(words[words.len() - 3..], ["--", "vg0", "/dev/sdb"]);
        assert!(
            !words
                .iter()
                .any(|word| word.starts_with("-y") || word == "--yes")
        );
    }
}
