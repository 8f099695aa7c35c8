//! What LVM and the kernel really say, read: every capture parses, and the telling ones mean what they are.

use std::fs;
use std::path::PathBuf;

use cowherd::model::inventory::{CowStatus, GroupObstacle, Inventory, PoolMode, PoolStatus};
use cowherd::model::units::{Bytes, Extents};
use cowherd::observe::{dm_status, lvm_report};

pub(crate) fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lvm-2.03.16")
}

pub(crate) fn states() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(captures())
        .expect("the captures are here")
        .map(|entry| entry.expect("the captures are readable"))
        .filter(|entry| entry.path().join("fullreport.json").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    names
}

pub(crate) fn read(state: &str, file: &str) -> String {
    let path = captures().join(state).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn inventory(state: &str) -> Inventory {
    let parsed = lvm_report::parse(read(state, "fullreport.json").as_bytes()).expect(state);
    assert_eq!(parsed.faults, Vec::<String>::new(), "{state}");
    parsed.inventory
}

/// Status lines of one target: device and the rest.
pub(crate) fn lines(state: &str, target: &str) -> Vec<(String, String)> {
    lines_of(state, "status.txt", target)
}

pub(crate) fn lines_of(state: &str, file: &str, target: &str) -> Vec<(String, String)> {
    let needle = format!(" {target} ");
    let text = read(state, file);
    text.lines()
        .filter_map(|line| {
            let (head, rest) = line.split_once(&needle)?;
            let (device, _) = head.split_once(": ")?;
            Some((device.to_owned(), rest.to_owned()))
        })
        .collect()
}

#[test]
fn every_capture_is_read_without_a_fault() {
    for state in states() {
        inventory(&state);
        let all = captures().join(&state).join("fullreport-all.json");
        if let Ok(text) = fs::read(&all) {
            lvm_report::parse(&text).expect(&state);
        }
        for (device, line) in lines(&state, "thin-pool") {
            dm_status::thin_pool(&line).unwrap_or_else(|error| panic!("{state} {device}: {error}"));
        }
        for target in ["snapshot", "snapshot-merge"] {
            for (device, line) in lines(&state, target) {
                dm_status::snapshot(&line, target == "snapshot-merge")
                    .unwrap_or_else(|error| panic!("{state} {device}: {error}"));
            }
        }
    }
}

#[test]
fn a_pool_is_read_with_its_volumes() {
    let inventory = inventory("thin");
    let pool = &inventory.pools[0];
    assert_eq!(pool.name.to_string(), "vg0/pool");
    assert_eq!((pool.data, pool.metadata), (Extents(128), Extents(2)));
    assert_eq!(pool.chunk, Bytes(64 << 10));
    assert_eq!((pool.volumes, pool.snapshots), (2, 1));
    assert_eq!(pool.virtual_size, Bytes::mib(300 + 1024 + 300));
    assert!(
        pool.oldest_snapshot.is_none(),
        "captured with lv_time as a text"
    );
    assert_eq!(inventory.groups[0].pool_metadata_spare, Bytes::mib(8));
}

#[test]
fn snapshots_are_read_with_their_state() {
    let inventory = inventory("cow-one-invalid");
    let names: Vec<String> = inventory
        .snapshots
        .iter()
        .map(|s| s.name.to_string())
        .collect();
    assert_eq!(names, ["vg0/snap", "vg0/snap-dying"]);
    assert_eq!(inventory.snapshots[1].chunk, Bytes(64 << 10));
    assert_eq!(inventory.snapshots[0].origin_size, Bytes::mib(200));
    let mut invalid = lines("cow-one-invalid", "snapshot")
        .into_iter()
        .filter(|(_, line)| dm_status::snapshot(line, false) == Ok(CowStatus::Invalid));
    assert_eq!(invalid.next().expect("one is invalid").0, "vg0-snap--dying");
    assert!(invalid.next().is_none());
}

#[test]
fn a_merging_snapshot_is_known_as_one() {
    let inventory = inventory("cow-merge-deferred");
    assert!(inventory.snapshots[0].merging);
    assert!(inventory.snapshots[0].origin_id.is_some());
}

#[test]
fn obstacles_are_recognised() {
    for (state, obstacle) in [
        ("exported", Some(GroupObstacle::Exported)),
        ("partial", Some(GroupObstacle::Partial)),
        ("thin", None),
    ] {
        assert_eq!(inventory(state).groups[0].obstacle, obstacle, "{state}");
    }
}

#[test]
fn a_full_group_and_one_that_may_not_allocate_have_no_room() {
    assert_eq!(inventory("vg-full").groups[0].free, Extents::ZERO);
    let two = inventory("two-vgs");
    assert_eq!(
        two.groups[1].free,
        Extents::ZERO,
        "its only volume is not allocatable"
    );
}

#[test]
fn names_with_hyphens_are_whole() {
    let inventory = inventory("hyphens");
    assert_eq!(inventory.pools[0].name.to_string(), "vg-a/pool-b--c");
    assert_eq!(inventory.snapshots[0].name.to_string(), "vg-a/sn.ap_1+2");
}

#[test]
fn three_hundred_volumes_are_counted() {
    assert_eq!(inventory("thin-300").pools[0].volumes, 300);
}

#[test]
fn pool_states_of_the_kernel_are_told_apart() {
    let status = |state: &str| {
        let (_, line) = lines(state, "thin-pool").remove(0);
        dm_status::thin_pool(&line).expect(state)
    };
    let working = |state: &str| match status(state) {
        PoolStatus::Working(usage) => usage,
        PoolStatus::Failed => panic!("{state} has failed"),
    };
    assert_eq!(working("thin").mode, PoolMode::Writable);
    assert_eq!(
        working("out-of-data-space-queue").mode,
        PoolMode::OutOfDataSpace
    );
    assert!(working("out-of-data-space-error").errors_when_full);
    assert_eq!(working("metadata-full").mode, PoolMode::ReadOnly);
    assert_eq!(working("metadata-full-extended").mode, PoolMode::Writable);
    assert!(working("needs-check").needs_check);
    assert_eq!(status("pool-fail"), PoolStatus::Failed);
}

#[test]
fn growth_of_a_sick_pool_has_no_effect_in_the_kernel() {
    let total = |state: &str| match dm_status::thin_pool(&lines(state, "thin-pool")[0].1) {
        Ok(PoolStatus::Working(usage)) => usage.data_total_blocks,
        other => panic!("{other:?}"),
    };
    assert_eq!(total("needs-check"), total("needs-check-extended"));
    assert!(
        inventory("needs-check-extended").pools[0].data > inventory("needs-check").pools[0].data
    );
}

#[test]
fn one_bad_field_loses_one_volume_and_nothing_else() {
    let text = read("cow-one-invalid", "fullreport.json");
    let broken = text.replacen(r#""lv_name":"snap-dying""#, r#""lv_name":"-snap""#, 1);
    assert_ne!(text, broken);
    let parsed = lvm_report::parse(broken.as_bytes()).expect("still a report");
    assert_eq!(parsed.inventory.snapshots.len(), 1);
    assert_eq!(parsed.faults.len(), 1, "{:?}", parsed.faults);
}

#[test]
fn what_is_not_read_is_a_fault_and_not_left_out() {
    let text = read("cow-one-invalid", "fullreport.json");
    for (what, from, to) in [
        ("no kind", r#""lv_attr":"swi-a-s---""#, r#""lv_attr":"""#),
        ("no such kind", r#""lv_attr":"swi"#, r#""lv_attr":"1wi"#),
        ("no volumes", r#""lv": ["#, r#""LV": ["#),
        ("no group", r#""vg": ["#, r#""VG": ["#),
        ("no name", r#""vg_name":"vg0""#, r#""vg_name":"""#),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(text, broken, "{what}");
        let parsed = lvm_report::parse(broken.as_bytes()).expect("still a report");
        assert_eq!(parsed.faults.len(), 1, "{what}: {:?}", parsed.faults);
        assert_eq!(parsed.inventory.spare_disks.len(), 0, "{what}");
    }
}

#[test]
fn a_disk_that_has_a_group_is_no_spare_one() {
    let report = |attributes: &str| {
        let disk = format!(
            r#"{{"pv_name":"/dev/sdb", "pv_uuid":"gFIcZw-PfnP-Mru5-3DaY-7JqT-i1GU-L0l144", "pv_size":"1", "pv_attr":"{attributes}"}}"#
        );
        let text = format!(r#"{{"report": [{{"vg": [], "pv": [{disk}], "lv": []}}]}}"#);
        lvm_report::parse(text.as_bytes()).expect("a report")
    };
    for (attributes, spare, faults) in [("---", 1, 0), ("a--", 0, 1), ("u--", 0, 1)] {
        let parsed = report(attributes);
        let found = (parsed.inventory.spare_disks.len(), parsed.faults.len());
        assert_eq!(found, (spare, faults), "{attributes}");
    }
}

#[test]
fn a_protected_snapshot_is_never_expendable() {
    let text = read("cow-valid", "fullreport.json");
    let expendable = |tags: &str| {
        let (before, after) = text
            .split_once(r#""lv_name":"snap","#)
            .expect("a snapshot of that name");
        let tagged = after.replacen(r#""lv_tags":"""#, &format!(r#""lv_tags":"{tags}""#), 1);
        let text = format!(r#"{before}"lv_name":"snap",{tagged}"#);
        let parsed = lvm_report::parse(text.as_bytes()).expect("a report");
        parsed.inventory.expendable.len()
    };
    for (tags, count) in [
        ("cowherd", 0),
        ("cowherd,cowherd.expendable", 1),
        ("cowherd.expires=1600000000", 1),
        ("cowherd,cowherd.expendable,cowherd.protected", 0),
        ("cowherd.protected,cowherd.expires=1600000000", 0),
    ] {
        assert_eq!(expendable(tags), count, "{tags}");
    }
}

#[test]
fn unknown_sections_and_control_characters_do_not_blind_us() {
    let text = read("thin", "fullreport.json");
    let logged = text.replacen('{', r#"{ "log": [{"log_seq_num":"1"}], "#, 1);
    assert_eq!(
        lvm_report::parse(logged.as_bytes())
            .expect("a log key")
            .inventory
            .pools
            .len(),
        1
    );
    let dirty = text.replacen(
        r#""pv_name":"#,
        "\"pv_device_id\":\"a\0b\u{1}\", \"pv_name\":",
        1,
    );
    assert_ne!(dirty, text);
    assert_eq!(
        lvm_report::parse(dirty.as_bytes())
            .expect("control")
            .inventory
            .pools
            .len(),
        1
    );
}

#[test]
fn two_groups_of_one_name_are_one_and_a_count() {
    let report = |name: &str| {
        let text = read(name, "fullreport.json");
        let start = text.find('[').expect("a list") + 1;
        let end = text.rfind(']').expect("a list");
        text[start..end].to_owned()
    };
    let both = format!(
        "{{\"report\": [{}, {}]}}",
        report("thin"),
        report("cow-valid")
    );
    let parsed = lvm_report::parse(both.as_bytes()).expect("two groups called vg0");
    assert_eq!(
        (
            parsed.inventory.groups.len(),
            parsed.inventory.duplicate_names
        ),
        (1, 1)
    );
}
