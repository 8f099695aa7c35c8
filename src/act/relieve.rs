//! Carries out one rung of relief. LVM refuses a disk that is in another group by now, and a snapshot that is in
//! use.

use std::time::{Duration, Instant};

use crate::model::action::PROTECTED_TAG;
use crate::model::cause::chain;
use crate::model::names::Name;
use crate::model::relief::{Expendable, Relief, Relieved, Rung, SpareDisk};

use super::hook;
use super::{Eyes, Hands, Tool, Tools};

/// Two writes of metadata for each disk of the group.
const DEADLINE: Duration = Duration::from_secs(60);
/// A trim of large file systems takes minutes.
const TRIM_DEADLINE: Duration = Duration::from_secs(600);
/// Who is not suspended by then has filled the pool.
const SUSPEND_DEADLINE: Duration = Duration::from_secs(30);

/// vgextend knows no `--noudevsync`; else as every changing command of ours.
const SAFE: [&str; 3] = [
    "-An",
    "--config",
    r#"backup{archive=0 backup=0} global{notify_dbus=0 use_lvmpolld=0} devices{hints="none"}"#,
];

/// Must be called on a thread made for this: a hook takes it out of the lifeboat.
#[must_use]
pub fn relieve(tools: &Tools, eyes: &impl Eyes, relief: &Relief) -> Relieved {
    let started = Instant::now();
    let group = &relief.group;
    let hook = |call, deadline| hook::run(tools.host.as_deref(), call, group, deadline);
    let done = match &relief.rung {
        Rung::Disk(disk) => change(tools, group, &vgextend(group, disk)),
        Rung::Remove(snapshot) => remove(tools, eyes, snapshot),
        Rung::Trim(call) => hook(call, TRIM_DEADLINE),
        Rung::Suspend(call) => {
            let noted = tools.intents.note_suspended(&relief.group_uuid);
            let noted = noted.map_err(|error| chain(&error));
            // As with an extension: what cannot be noted is done all the same, and told.
            hook(call, SUSPEND_DEADLINE).and(noted)
        }
        Rung::Resume(call) => {
            let resumed = hook(call, SUSPEND_DEADLINE);
            // The directory of the intents is the same on the host.
            resumed.inspect(|()| tools.intents.forget_suspended(&relief.group_uuid))
        }
    };
    Relieved {
        relief: relief.clone(),
        error: done.err(),
        took: started.elapsed(),
    }
}

fn change(hands: &impl Hands, group: &Name, arguments: &[String]) -> Result<(), String> {
    // The command takes the lock itself and waits for it without end.
    let lock = hands.lock(group, hands.lock_wait());
    drop(lock.map_err(|error| chain(&error))?);
    let finished = hands.run(Tool::Lvm, arguments, DEADLINE);
    let finished = finished.map_err(|error| chain(&error))?;
    if finished.status.success() {
        Ok(())
    } else {
        Err(finished.complaint())
    }
}

fn remove(hands: &impl Hands, eyes: &impl Eyes, snapshot: &Expendable) -> Result<(), String> {
    change(hands, &snapshot.name.vg, &lvremove(snapshot))?;
    // A selection that matches nothing is no error to LVM.
    let layers = eyes.layers(&snapshot.id.vg)?;
    if layers.iter().any(|layer| layer.volume == snapshot.id) {
        return Err("lvremove reported success and the snapshot is still there".to_owned());
    }
    Ok(())
}

/// Without `--yes`: whatever LVM would ask about, the answer is no.
fn vgextend(group: &Name, disk: &SpareDisk) -> Vec<String> {
    let fixed = ["vgextend"].into_iter().chain(SAFE);
    let named = ["--", group.as_str(), &disk.device];
    fixed.chain(named).map(str::to_owned).collect()
}

/// LVM itself holds the uuid and the tags against what the name means by then. It asks about every active volume,
/// and refuses one that is open whatever the answer.
fn lvremove(snapshot: &Expendable) -> Vec<String> {
    let uuid = snapshot.id.lv.lvm_form();
    let tag = snapshot.tag.text();
    let select =
        format!("lv_uuid=\"{uuid}\" && lv_tags={{\"{tag}\"}} && lv_tags!={{\"{PROTECTED_TAG}\"}}");
    let fixed = ["lvremove"].into_iter().chain(SAFE);
    let name = snapshot.name.to_string();
    let named = ["--yes", "--select", &select, "--", &name];
    fixed.chain(named).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{Uuid, VolumeId, VolumeName};
    use crate::model::relief::Tag;
    use crate::model::time::UnixSeconds;
    use crate::model::units::Bytes;

    fn uuid() -> Uuid {
        Uuid::parse(&"a".repeat(32)).expect("a literal uuid")
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a literal name")
    }

    #[test]
    fn nothing_is_confirmed_and_nothing_is_an_option() {
        let disk = SpareDisk {
            uuid: uuid(),
            device: "/dev/sdb".to_owned(),
            size: Bytes::mib(64),
        };
        let words = vgextend(&name("vg0"), &disk);
        assert_eq!(words[words.len() - 3..], ["--", "vg0", "/dev/sdb"]);
        assert!(!words.iter().any(|word| word.starts_with("-y")));
        assert!(!words.contains(&"--yes".to_owned()));
    }

    #[test]
    fn only_the_very_snapshot_with_its_tag_is_removed() {
        let snapshot = Expendable {
            id: VolumeId {
                vg: uuid(),
                lv: uuid(),
            },
            name: VolumeName {
                vg: name("vg0"),
                lv: name("snap"),
            },
            pool: None,
            created: None,
            tag: Tag::Expires(UnixSeconds(1_800_000_000.0)),
        };
        let words = lvremove(&snapshot);
        let select = r#"lv_uuid="aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa" && lv_tags={"cowherd.expires=1800000000"} && lv_tags!={"cowherd.protected"}"#;
        assert_eq!(
            words[words.len() - 4..],
            ["--select", select, "--", "vg0/snap"]
        );
    }
}
