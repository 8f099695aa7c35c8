//! What is told of volume groups, thin pools, snapshots, and their stores.
//!
//! What is not known of a volume is left out: a series that ends says so, a made-up number does not.

use std::collections::BTreeMap;

use crate::model::inventory::{
    CowSnapshot, CowStatus, Inventory, Kernel, PoolMode, PoolStatus, PoolUsage, ThinPool,
    VolumeGroup,
};
use crate::model::names::Resource;
use crate::model::plan::Failure;
use crate::model::relief::{Ladder, Rung};
use crate::model::tally::Attempts;
use crate::model::units::Bytes;
use crate::model::view::View;
use crate::report::figures::{self, Figures, Volume};
use crate::report::names;

use super::sheet::Sheet;

/// The values of the `mode` label, sorted: the crate need not do it.
const MODES: [&str; 4] = ["fail", "out_of_data_space", "ro", "rw"];
/// The values of the `state` label, sorted.
const STATES: [&str; 6] = [
    "active",
    "inactive",
    "invalid",
    "merge_failed",
    "merging",
    "overflow",
];
pub(super) fn write(sheet: &mut Sheet, view: &View) {
    for group in &view.inventory.groups {
        volume_group(sheet, &view.inventory, group);
        reliefs(sheet, view, group);
    }
    for (name, reserve) in &view.reserves {
        sheet.value(&names::VG_RESERVED, [name.as_str()], reserve.as_f64());
    }
    kernel_answers(sheet, &view.inventory);
    for pool in &view.inventory.pools {
        thin_pool(sheet, pool);
    }
    for snapshot in &view.inventory.snapshots {
        cow_snapshot(sheet, snapshot);
    }
    origins(sheet, &view.inventory.snapshots);
    for figures in figures::all(view) {
        store(sheet, view, &figures);
    }
}

/// A group without a rule for relief has none of these series: there are many groups, and few such rules.
fn reliefs(sheet: &mut Sheet, view: &View, group: &VolumeGroup) {
    let reliefs = view.tally.reliefs.get(&group.name);
    if reliefs.is_none() && view.policy.ladder(&group.name) == Ladder::default() {
        return;
    }
    for rung in Rung::LABELS {
        let counts = reliefs.and_then(|reliefs| reliefs.get(rung));
        let Attempts { done, failed } = counts.copied().unwrap_or_default();
        for (result, count) in [("done", done), ("failed", failed)] {
            let labels = [group.name.as_str(), rung, result];
            sheet.count(&names::RELIEFS, labels, count);
        }
    }
}

fn volume_group(sheet: &mut Sheet, inventory: &Inventory, group: &VolumeGroup) {
    let vg = group.name.as_str();
    sheet.truth(&names::VG_INFO, [vg, &group.uuid.lvm_form()], true);
    sheet.value(&names::VG_SIZE, [vg], group.size.as_f64());
    sheet.value(&names::VG_FREE, [vg], group.free_bytes().as_f64());
    sheet.truth(&names::VG_EXTENDABLE, [vg], group.obstacle.is_none());
    sheet.count(&names::VG_MISSING_PVS, [vg], group.missing_pvs);
    sheet.value(
        &names::VG_METADATA_AREA_SIZE,
        [vg],
        group.metadata_area_size.as_f64(),
    );
    sheet.value(
        &names::VG_METADATA_AREA_FREE,
        [vg],
        group.metadata_area_free.as_f64(),
    );
    sheet.value(
        &names::VG_POOL_METADATA_SPARE,
        [vg],
        group.pool_metadata_spare.as_f64(),
    );
    let sums = inventory.thin_sums(group);
    sheet.value(
        &names::VG_THIN_VIRTUAL_SIZE,
        [vg],
        sums.virtual_size.as_f64(),
    );
    sheet.value(&names::VG_THIN_POOLS_SIZE, [vg], sums.pools.as_f64());
}

fn kernel_answers(sheet: &mut Sheet, inventory: &Inventory) {
    for pool in &inventory.pools {
        kernel_answer(
            sheet,
            [pool.name.vg.as_str(), pool.name.lv.as_str()],
            &pool.kernel,
        );
    }
    for snapshot in &inventory.snapshots {
        let object = [snapshot.name.vg.as_str(), snapshot.name.lv.as_str()];
        kernel_answer(sheet, object, &snapshot.kernel);
    }
}

fn kernel_answer<T>(sheet: &mut Sheet, object: [&str; 2], kernel: &Kernel<T>) {
    match kernel {
        Kernel::Inactive => {}
        Kernel::Known { suspended, .. } => {
            sheet.truth(&names::VOLUME_ANSWERING, object, true);
            sheet.truth(&names::VOLUME_SUSPENDED, object, *suspended);
        }
        Kernel::Unreadable { .. } | Kernel::Late { .. } => {
            sheet.truth(&names::VOLUME_ANSWERING, object, false);
        }
    }
}

fn thin_pool(sheet: &mut Sheet, pool: &ThinPool) {
    let object @ [vg, lv] = [pool.name.vg.as_str(), pool.name.lv.as_str()];
    let info = [
        vg,
        lv,
        &pool.id.lv.lvm_form(),
        &pool.when_full,
        &pool.discards,
    ];
    sheet.truth(&names::THIN_POOL_INFO, info, true);
    sheet.value(&names::THIN_POOL_CHUNK_SIZE, object, pool.chunk.as_f64());
    sheet.value(
        &names::THIN_POOL_VIRTUAL_SIZE,
        object,
        pool.virtual_size.as_f64(),
    );
    sheet.count(&names::THIN_POOL_VOLUMES, [vg, lv, "volume"], pool.volumes);
    sheet.count(
        &names::THIN_POOL_VOLUMES,
        [vg, lv, "snapshot"],
        pool.snapshots,
    );
    let oldest = pool.oldest_snapshot.unwrap_or_default().0;
    sheet.value(&names::THIN_POOL_OLDEST_SNAPSHOT, object, oldest);
    if let Some(status) = pool.kernel.status() {
        for mode in MODES {
            sheet.truth(
                &names::THIN_POOL_MODE,
                [vg, lv, mode],
                mode == mode_label(status),
            );
        }
    }
    if let Some(usage) = pool.usage() {
        pool_usage(sheet, object, pool, usage);
    }
}

fn pool_usage(sheet: &mut Sheet, object: [&str; 2], pool: &ThinPool, usage: &PoolUsage) {
    sheet.truth(&names::THIN_POOL_NEEDS_CHECK, object, usage.needs_check);
    if let Some(transaction_id) = pool.transaction_id {
        let differs = transaction_id != usage.transaction_id;
        sheet.truth(&names::THIN_POOL_TRANSACTION_MISMATCH, object, differs);
    }
}

const fn mode_label(status: &PoolStatus) -> &'static str {
    let [failed, out_of_data_space, read_only, writable] = MODES;
    match status {
        PoolStatus::Failed => failed,
        PoolStatus::Working(usage) => match usage.mode {
            PoolMode::Writable => writable,
            PoolMode::OutOfDataSpace => out_of_data_space,
            PoolMode::ReadOnly => read_only,
        },
    }
}

fn cow_snapshot(sheet: &mut Sheet, snapshot: &CowSnapshot) {
    let object @ [vg, lv] = [snapshot.name.vg.as_str(), snapshot.name.lv.as_str()];
    let info = [vg, lv, &snapshot.origin, &snapshot.id.lv.lvm_form()];
    sheet.truth(&names::SNAPSHOT_INFO, info, true);
    if let Some(created) = snapshot.created {
        sheet.value(&names::SNAPSHOT_CREATED, object, created.0);
    }
    if let Some(current) = state_label(snapshot) {
        for state in STATES {
            sheet.truth(&names::SNAPSHOT_STATE, [vg, lv, state], state == current);
        }
    }
}

fn origins(sheet: &mut Sheet, snapshots: &[CowSnapshot]) {
    let mut counts: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for snapshot in snapshots {
        let origin = [snapshot.name.vg.as_str(), &snapshot.origin];
        *counts.entry(origin).or_default() += 1;
    }
    for (origin, count) in counts {
        sheet.count(&names::ORIGIN_SNAPSHOTS, origin, count);
    }
}

/// Nothing when the kernel does not tell.
fn state_label(snapshot: &CowSnapshot) -> Option<&'static str> {
    let [active, inactive, invalid, merge_failed, merging, overflow] = STATES;
    if matches!(snapshot.kernel, Kernel::Inactive) {
        return Some(inactive);
    }
    match snapshot.kernel.status()? {
        CowStatus::Merging(_) => Some(merging),
        CowStatus::Valid(_) if snapshot.merging => Some(merging),
        CowStatus::Valid(_) => Some(active),
        CowStatus::Invalid => Some(invalid),
        CowStatus::Overflow => Some(overflow),
        CowStatus::MergeFailed => Some(merge_failed),
        CowStatus::Unknown => None,
    }
}

fn store(sheet: &mut Sheet, view: &View, figures: &Figures<'_>) {
    match figures.volume {
        Volume::Pool(_) => pool_store(sheet, view, figures),
        Volume::Snapshot(snapshot) => snapshot_store(sheet, view, figures, snapshot),
    }
    record(sheet, figures);
}

fn pool_store(sheet: &mut Sheet, view: &View, figures: &Figures<'_>) {
    let object @ [vg, lv] = object(figures);
    let resource = figures.store.target.resource;
    let (size, used) = match resource {
        Resource::Metadata => (
            &names::THIN_POOL_METADATA_SIZE,
            &names::THIN_POOL_METADATA_USED,
        ),
        Resource::Data | Resource::Cow => {
            (&names::THIN_POOL_DATA_SIZE, &names::THIN_POOL_DATA_USED)
        }
    };
    sheet.value(size, object, figures.size.as_f64());
    value_if_known(sheet, used, object, figures.used.map(Bytes::as_f64));
    match resource {
        Resource::Metadata => {
            let limit = figures.store.useful_max.as_f64();
            sheet.value(&names::THIN_POOL_METADATA_LIMIT, object, limit);
        }
        // One store of a pool speaks for the volume.
        Resource::Data | Resource::Cow => enabled(sheet, view, figures),
    }
    let labels = [vg, lv, resource.label()];
    sheet.value(
        &names::THIN_POOL_EXTEND_THRESHOLD,
        labels,
        threshold(figures),
    );
    sheet.value(
        &names::THIN_POOL_GROWABLE,
        labels,
        figures.store.growable.as_f64(),
    );
    sheet.value(
        &names::THIN_POOL_FILL,
        labels,
        figures.store.fill_bytes_per_second,
    );
    let full_at = full_at(view, figures);
    value_if_known(sheet, &names::THIN_POOL_FORECAST_FULL, labels, full_at);
}

fn snapshot_store(sheet: &mut Sheet, view: &View, figures: &Figures<'_>, snapshot: &CowSnapshot) {
    let object = object(figures);
    let extent = figures.group.extent;
    let full_size = snapshot.full_size(extent).bytes(extent);
    sheet.value(&names::SNAPSHOT_COW_SIZE, object, figures.size.as_f64());
    let used = figures.used.map(Bytes::as_f64);
    value_if_known(sheet, &names::SNAPSHOT_COW_USED, object, used);
    sheet.value(&names::SNAPSHOT_COW_FULL_SIZE, object, full_size.as_f64());
    sheet.value(
        &names::SNAPSHOT_EXTEND_THRESHOLD,
        object,
        threshold(figures),
    );
    sheet.value(
        &names::SNAPSHOT_GROWABLE,
        object,
        figures.store.growable.as_f64(),
    );
    sheet.value(
        &names::SNAPSHOT_FILL,
        object,
        figures.store.fill_bytes_per_second,
    );
    let full_at = full_at(view, figures);
    value_if_known(sheet, &names::SNAPSHOT_FORECAST_FULL, object, full_at);
    enabled(sheet, view, figures);
}

fn enabled(sheet: &mut Sheet, view: &View, figures: &Figures<'_>) {
    let acts = figures.store.enabled && !view.policy.dry_run && figures.group.obstacle.is_none();
    sheet.truth(&names::GUARD_ENABLED, object(figures), acts);
    let by_lvm = view
        .tally
        .extended_by_dmeventd
        .contains(&figures.store.name);
    sheet.truth(&names::LVM_AUTOEXTEND_ENABLED, object(figures), by_lvm);
}

/// What was done to the store, and what is held back.
fn record(sheet: &mut Sheet, figures: &Figures<'_>) {
    let [vg, lv] = object(figures);
    let resource = figures.store.target.resource.label();
    let labels = [vg, lv, resource];
    let record = &figures.store.record;
    sheet.count(&names::EXTENDS, labels, record.attempts);
    for failure in Failure::ALL {
        let count = record.failures.get(&failure).copied().unwrap_or_default();
        sheet.count(
            &names::EXTEND_FAILURES,
            [vg, lv, resource, failure.label()],
            count,
        );
    }
    sheet.value(&names::EXTENDED_BYTES, labels, record.added.as_f64());
    sheet.count(
        &names::EXTEND_CONSECUTIVE_FAILURES,
        labels,
        record.failures_in_a_row,
    );
    let last_success = record.last_success.unwrap_or_default().0;
    sheet.value(&names::EXTEND_LAST_SUCCESS, labels, last_success);
    if let Some(hold) = figures.hold {
        sheet.truth(
            &names::EXTEND_HELD,
            [vg, lv, resource, hold.reason.label()],
            true,
        );
    }
}

fn object<'a>(figures: &Figures<'a>) -> [&'a str; 2] {
    let name = &figures.store.name;
    [name.vg.as_str(), name.lv.as_str()]
}

fn threshold(figures: &Figures<'_>) -> f64 {
    Bytes(figures.store.threshold_percent).ratio_of(Bytes(100))
}

fn full_at(view: &View, figures: &Figures<'_>) -> Option<f64> {
    figures.secs_to_full.map(|secs| view.at.wall.0 + secs)
}

fn value_if_known<const N: usize>(
    sheet: &mut Sheet,
    family: &names::Family<N>,
    labels: [&str; N],
    value: Option<f64>,
) {
    if let Some(value) = value {
        sheet.value(family, labels, value);
    }
}
