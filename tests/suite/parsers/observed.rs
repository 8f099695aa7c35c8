//! What the kernel and LVM say, damaged: status lines, tables, uuids of devices, reports.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cowherd::model::inventory::{CowStatus, CowUsage, PoolMode, PoolStatus, PoolUsage};
use cowherd::model::names::VolumeId;
use cowherd::model::units::Sectors;
use cowherd::observe::dm_status;
use cowherd::observe::lvm_report::{self, Parsed};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::damage::{
    NO_NUMBERS, any_bytes, cases, damaged, damaged_text, damages, numbers, replaced,
};
use crate::fixtures::{lines_of, read, states};

/// Reports of a few volumes: the one of three hundred would take all the time.
const REPORT_BYTES_MAX: usize = 20_000;

static REPORTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all = states()
        .into_iter()
        .map(|state| read(&state, "fullreport.json"));
    all.filter(|text| text.len() < REPORT_BYTES_MAX).collect()
});
static POOLS: LazyLock<Vec<String>> = LazyLock::new(|| captured("status.txt", "thin-pool"));
static TABLES: LazyLock<Vec<String>> = LazyLock::new(|| captured("table.txt", "thin-pool"));
static COWS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let merging = captured("status.txt", "snapshot-merge");
    captured("status.txt", "snapshot")
        .into_iter()
        .chain(merging)
        .collect()
});
static DM_UUIDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let texts: Vec<String> = states()
        .iter()
        .map(|state| read(state, "info.txt"))
        .collect();
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    words
        .filter(|word| word.starts_with("LVM-"))
        .map(str::to_owned)
        .collect()
});

fn captured(file: &str, target: &str) -> Vec<String> {
    let all = states()
        .into_iter()
        .flat_map(|state| lines_of(&state, file, target));
    let lines: BTreeSet<String> = all.map(|(_, line)| line).collect();
    assert!(!lines.is_empty(), "no {target} in any {file}");
    lines.into_iter().collect()
}

fn one_of(corpus: &'static LazyLock<Vec<String>>) -> impl Strategy<Value = &'static str> {
    any::<Index>().prop_map(|at| at.get(corpus.as_slice()).as_str())
}

/// What a status says of room, whatever else it says.
fn room(status: PoolStatus) -> Option<[u64; 4]> {
    match status {
        PoolStatus::Working(pool) => Some([
            pool.metadata_used_blocks,
            pool.metadata_total_blocks,
            pool.data_used_blocks,
            pool.data_total_blocks,
        ]),
        PoolStatus::Failed => None,
    }
}

/// Allocated and total sectors.
fn cow_room(status: &CowStatus) -> Option<(Sectors, Sectors)> {
    match status {
        CowStatus::Valid(usage) | CowStatus::Merging(usage) => Some((usage.allocated, usage.total)),
        CowStatus::Invalid | CowStatus::MergeFailed | CowStatus::Overflow | CowStatus::Unknown => {
            None
        }
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn no_status_line_panics(noise in any_bytes(), line in prop_oneof![one_of(&POOLS), one_of(&COWS), one_of(&TABLES)], damages in damages(), merging in any::<bool>()) {
        for text in [String::from_utf8_lossy(&noise).into_owned(), damaged_text(line, &damages)] {
            let _ = dm_status::thin_pool(&text);
            let _ = dm_status::thin_pool_chunk(&text);
            let _ = dm_status::snapshot(&text, merging);
        }
    }

    #[test]
    fn a_pool_without_one_of_its_numbers_is_not_read(line in one_of(&POOLS), at in 0..5_usize, junk in select(NO_NUMBERS.to_vec())) {
        // Transaction, then used and total of metadata and of data.
        let Some(number) = numbers(line.as_bytes()).get(at).cloned() else { return Ok(()) };
        let text = replaced(line.as_bytes(), &number, junk);
        let status = dm_status::thin_pool(str::from_utf8(&text).expect("ASCII"));
        prop_assert!(status.is_err(), "{line} with {junk:?}: {status:?}");
    }

    #[test]
    fn a_snapshot_without_one_of_its_numbers_is_not_read(line in one_of(&COWS), at in 0..3_usize, junk in select(NO_NUMBERS.to_vec())) {
        let Some(number) = numbers(line.as_bytes()).get(at).cloned() else { return Ok(()) };
        let text = replaced(line.as_bytes(), &number, junk);
        let status = dm_status::snapshot(str::from_utf8(&text).expect("ASCII"), false);
        prop_assert!(status.is_err(), "{line} with {junk:?}: {status:?}");
    }

    #[test]
    fn a_table_without_its_chunk_is_not_read(line in one_of(&TABLES), junk in select(NO_NUMBERS.to_vec())) {
        let whole = dm_status::thin_pool_chunk(line).expect("a capture");
        let chunk = format!(" {} ", whole.0);
        let text = line.replacen(&chunk, &format!(" {junk}/ "), 1);
        prop_assert!(dm_status::thin_pool_chunk(&text).is_err(), "{text}");
    }

    #[test]
    fn a_status_cut_short_is_not_read_as_less(pool in one_of(&POOLS), cow in one_of(&COWS), at in any::<Index>()) {
        let whole = dm_status::thin_pool(pool).expect("a capture");
        if let Ok(cut) = dm_status::thin_pool(&pool[..at.index(pool.trim_end().len())]) {
            prop_assert_eq!(room(cut), room(whole), "{}", pool);
        }
        let whole = dm_status::snapshot(cow, false).expect("a capture");
        if let Ok(cut) = dm_status::snapshot(&cow[..at.index(cow.trim_end().len())], false) {
            prop_assert_eq!(cow_room(&cut), cow_room(&whole), "{}", cow);
        }
    }

    #[test]
    fn every_number_that_the_kernel_can_print_is_read_as_it_is(n in any::<[u64; 6]>(), (word, mode) in select(vec![("rw", PoolMode::Writable), ("ro", PoolMode::ReadOnly), ("out_of_data_space", PoolMode::OutOfDataSpace)]), errors_when_full in any::<bool>(), needs_check in any::<bool>()) {
        let full = if errors_when_full { "error_if_no_space" } else { "queue_if_no_space" };
        let check = if needs_check { "needs_check" } else { "-" };
        let line = format!("{} {}/{} {}/{} - {word} discard_passdown {full} {check} {}", n[0], n[1], n[2], n[3], n[4], n[5]);
        let pool = PoolUsage {
            transaction_id: n[0],
            metadata_used_blocks: n[1],
            metadata_total_blocks: n[2],
            data_used_blocks: n[3],
            data_total_blocks: n[4],
            mode,
            errors_when_full,
            needs_check,
            metadata_low_water_blocks: Some(n[5]),
        };
        prop_assert_eq!(dm_status::thin_pool(&line), Ok(PoolStatus::Working(pool)));
        let cow = CowUsage { allocated: Sectors(n[0]), total: Sectors(n[1]), metadata: Sectors(n[2]) };
        let line = format!("{}/{} {}", n[0], n[1], n[2]);
        prop_assert_eq!(dm_status::snapshot(&line, true), Ok(CowStatus::Merging(cow)));
    }

    #[test]
    fn a_device_is_a_volume_by_its_whole_uuid_alone(text in one_of(&DM_UUIDS), damages in damages(), noise: String) {
        let (whole, layer) = VolumeId::from_dm_uuid(text).expect("a capture");
        prop_assert_eq!(whole.dm_uuid(layer), text);
        for text in [noise, damaged_text(text, &damages)] {
            if let Some((id, layer)) = VolumeId::from_dm_uuid(&text) {
                prop_assert!(text.starts_with(&id.dm_uuid("")) && text.ends_with(layer), "{}", text);
            }
        }
    }
}

/// What of a report decides whether and by how much something is extended, by what it is said of.
fn sizes(parsed: &Parsed) -> BTreeSet<(String, [u64; 3])> {
    let inventory = &parsed.inventory;
    let id = |id: &VolumeId| id.dm_uuid("");
    let groups = inventory
        .groups
        .iter()
        .map(|g| (g.uuid.lvm_form(), [g.size.0, g.extent.0, 0]));
    let pools = inventory
        .pools
        .iter()
        .map(|p| (id(&p.id), [p.data.0, p.metadata.0, p.chunk.0]));
    let snapshots = inventory
        .snapshots
        .iter()
        .map(|s| (id(&s.id), [s.size.0, s.chunk.0, s.origin_size.0]));
    groups.chain(pools).chain(snapshots).collect()
}

fn report(text: &str) -> (Value, Parsed) {
    let parsed = lvm_report::parse(text.as_bytes()).expect("a capture");
    (serde_json::from_str(text).expect("a capture"), parsed)
}

/// The rows of one section of all groups.
fn rows<'a>(document: &'a mut Value, section: &str) -> Vec<&'a mut serde_json::Map<String, Value>> {
    let groups = document["report"]
        .as_array_mut()
        .expect("a report has groups");
    let rows = groups
        .iter_mut()
        .filter_map(|group| group.get_mut(section)?.as_array_mut());
    rows.flatten().filter_map(Value::as_object_mut).collect()
}

/// What stands in a field that has gone wrong; nothing: the field is not there at all.
fn junk() -> impl Strategy<Value = Option<Value>> {
    let texts = select(NO_NUMBERS.to_vec()).prop_map(|text| Some(json!(text)));
    prop_oneof![
        texts,
        Just(None),
        Just(Some(Value::Null)),
        Just(Some(json!(5))),
        Just(Some(json!(["1"])))
    ]
}

/// All that is read of a report and must not be guessed.
const NEEDED: [(&str, &str); 17] = [
    ("vg", "vg_name"),
    ("vg", "vg_uuid"),
    ("vg", "vg_size"),
    ("vg", "vg_extent_size"),
    ("vg", "vg_free_count"),
    ("lv", "lv_name"),
    ("lv", "lv_uuid"),
    ("lv", "lv_attr"),
    ("lv", "lv_size"),
    ("lv", "lv_metadata_size"),
    ("lv", "origin_size"),
    ("seg", "lv_uuid"),
    ("seg", "chunk_size"),
    ("pv", "pv_name"),
    ("pv", "pv_uuid"),
    ("pv", "pv_attr"),
    ("pv", "pv_free"),
];

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_report_panics(noise in any_bytes(), text in one_of(&REPORTS), damages in damages()) {
        let _ = lvm_report::parse(&noise);
        let _ = lvm_report::parse(&damaged(text.as_bytes(), &damages));
    }

    #[test]
    fn a_report_cut_short_is_no_report(text in one_of(&REPORTS), at in any::<Index>()) {
        let cut = &text[..at.index(text.trim_end().len())];
        prop_assert!(lvm_report::parse(cut.as_bytes()).is_err(), "{} of {} bytes", cut.len(), text.len());
    }

    #[test]
    fn what_a_later_lvm_adds_changes_nothing(text in one_of(&REPORTS), name in "x_[a-z]{1,9}", value in junk(), section in select(vec!["vg", "pv", "lv", "seg", "pvseg"])) {
        let (mut document, before) = report(text);
        let value = value.unwrap_or_default();
        for row in rows(&mut document, section) {
            row.insert(name.clone(), value.clone());
        }
        for group in document["report"].as_array_mut().into_iter().flatten() {
            group[&name] = json!([value.clone()]);
        }
        document[&name] = value;
        let mut after = lvm_report::parse(document.to_string().as_bytes()).expect("still a report");
        let counted = after.inventory.unknown_fields - before.inventory.unknown_fields;
        prop_assert!(counted <= 1, "{counted} of one field");
        after.inventory.unknown_fields = before.inventory.unknown_fields;
        prop_assert_eq!(after.inventory, before.inventory);
        prop_assert_eq!(after.faults, before.faults);
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_and_never_less(text in one_of(&REPORTS), (section, field) in select(NEEDED.to_vec()), at in any::<Index>(), value in junk()) {
        let (mut document, before) = report(text);
        let mut rows = rows(&mut document, section);
        if rows.is_empty() { return Ok(()) }
        let row = at.index(rows.len());
        match &value {
            Some(value) => rows[row].insert(field.to_owned(), value.clone()),
            None => rows[row].remove(field),
        };
        let after = lvm_report::parse(document.to_string().as_bytes()).expect("still a report");
        let (now, then) = (sizes(&after), sizes(&before));
        let changed: Vec<_> = now.symmetric_difference(&then).collect();
        prop_assert!(changed.is_empty() || !after.faults.is_empty(), "{section}[{row}].{field} = {value:?}: {changed:?}");
        prop_assert!(now.is_subset(&then), "{section}[{row}].{field} = {value:?}: {changed:?}");
        prop_assert!(after.inventory.spare_disks.is_empty(), "a disk of a group is no spare");
        for group in &after.inventory.groups {
            let known = before.inventory.groups.iter().find(|g| g.uuid == group.uuid);
            prop_assert!(known.is_some_and(|known| group.free <= known.free), "{section}.{field} = {value:?}");
        }
    }

    #[test]
    fn a_section_that_is_not_there_is_a_fault(text in one_of(&REPORTS), section in select(vec!["vg", "lv", "seg"]), at in any::<Index>()) {
        let (mut document, before) = report(text);
        let groups = document["report"].as_array_mut().expect("a report has groups");
        if groups.is_empty() { return Ok(()) }
        let at = at.index(groups.len());
        groups[at].as_object_mut().expect("a group has sections").remove(section);
        let after = lvm_report::parse(document.to_string().as_bytes()).expect("still a report");
        let is_whole = sizes(&after) == sizes(&before);
        prop_assert!(is_whole || !after.faults.is_empty(), "without {section}: {:?}", after.inventory);
        prop_assert!(after.inventory.spare_disks.is_empty(), "a disk of a group is no spare");
    }

    #[test]
    fn a_time_that_is_read_is_one(text in select(vec!["nan", "inf", "-inf", "1e999", "1700000000"])) {
        let (mut document, _) = report(&read("cow-valid", "fullreport.json"));
        for row in rows(&mut document, "lv") {
            row.insert("lv_time".to_owned(), json!(text));
        }
        let parsed = lvm_report::parse(document.to_string().as_bytes()).expect("still a report");
        let created: Vec<f64> = parsed.inventory.snapshots.iter().filter_map(|s| s.created).map(|t| t.0).collect();
        let expected = if text == "1700000000" { vec![1.7e9; parsed.inventory.snapshots.len()] } else { Vec::new() };
        prop_assert_eq!(created, expected);
    }
}
