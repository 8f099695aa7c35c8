//! Volumes as callers see them.

use crate::decide::action::{origin_uuid, owner};
use crate::model::action::{
    JOB_TAG, ORIGIN_TAG, OWNER_TAG, OriginView, PROTECTED_TAG, VolumeState, VolumeView,
};
use crate::model::inventory::{CowSnapshot, CowStatus, Inventory};
use crate::model::names::{Name, Uuid};
use crate::model::relief::{EXPENDABLE_TAG, Tag};
use crate::model::time::UnixSeconds;
use crate::model::volume::{Volume, VolumeKind};

/// Every volume of these groups, by name.
pub(super) fn volumes(inventory: &Inventory, volumes: &[Volume]) -> Vec<VolumeView> {
    let mut all: Vec<VolumeView> = volumes
        .iter()
        .map(|volume| view(inventory, volumes, volume))
        .collect();
    all.sort_by(|a, b| (&a.vg, &a.name).cmp(&(&b.vg, &b.name)));
    all
}

fn view(inventory: &Inventory, volumes: &[Volume], volume: &Volume) -> VolumeView {
    let name_of = |uuid: &Uuid| -> Option<Name> {
        let found = volumes.iter().find(|other| other.id.lv == *uuid);
        found.map(|other| other.name.lv.clone())
    };
    let origin = origin_uuid(volume).map(|uuid| OriginView {
        uuid: uuid.lvm_form(),
        name: name_of(&uuid),
    });
    let (used_percent, merged_percent) = used(inventory, volume);
    VolumeView {
        uuid: volume.id.lv.lvm_form(),
        vg: volume.name.vg.clone(),
        name: volume.name.lv.clone(),
        kind: volume.kind,
        size_bytes: volume.size,
        state: state(inventory, volume),
        read_only: !volume.is_writable,
        origin,
        pool: volume.pool.as_ref().and_then(name_of),
        used_percent,
        merged_percent,
        created: volume.created,
        expires: volume.tags.iter().find_map(|tag| expires(tag)),
        expendable: volume.has_tag(EXPENDABLE_TAG),
        protected: volume.has_tag(PROTECTED_TAG),
        skip_activation: volume.skips_activation,
        owner: owner(volume),
        open: volume.opened.is_some_and(|count| count > 0),
        tags: volume
            .tags
            .iter()
            .filter(|tag| !is_ours(tag))
            .cloned()
            .collect(),
    }
}

fn expires(tag: &str) -> Option<UnixSeconds> {
    match Tag::parse(tag)? {
        Tag::Expires(at) => Some(at),
        Tag::Expendable => None,
    }
}

fn is_ours(tag: &str) -> bool {
    tag == OWNER_TAG
        || tag == PROTECTED_TAG
        || tag.starts_with(ORIGIN_TAG)
        || tag.starts_with(JOB_TAG)
        || Tag::parse(tag).is_some()
}

fn state(inventory: &Inventory, volume: &Volume) -> VolumeState {
    let cow = inventory.snapshots.iter().find(|cow| cow.id == volume.id);
    match cow.and_then(|cow| cow.kernel.status()) {
        Some(CowStatus::Invalid | CowStatus::Overflow) => VolumeState::Invalid,
        Some(CowStatus::Merging(_) | CowStatus::MergeFailed) => VolumeState::Merging,
        Some(CowStatus::Valid(_) | CowStatus::Unknown) | None if volume.is_merging => {
            VolumeState::MergeDeferred
        }
        Some(CowStatus::Valid(_) | CowStatus::Unknown) | None if volume.opened.is_some() => {
            VolumeState::Active
        }
        Some(CowStatus::Valid(_) | CowStatus::Unknown) | None => VolumeState::Inactive,
    }
}

/// What of a store is used, and what of a merge is still to be done.
fn used(inventory: &Inventory, volume: &Volume) -> (Option<f64>, Option<f64>) {
    if volume.kind == VolumeKind::ThinPool {
        let pool = inventory.pools.iter().find(|pool| pool.id == volume.id);
        let share = pool.and_then(|pool| Some(pool.data_used()?.ratio_of(pool.data_total()?)));
        return (share.map(percent), None);
    }
    let cow = inventory.snapshots.iter().find(|cow| cow.id == volume.id);
    let Some(usage) = cow.and_then(CowSnapshot::usage) else {
        return (None, None);
    };
    let share = usage.allocated.bytes().ratio_of(usage.total.bytes());
    let is_merging =
        cow.is_some_and(|cow| matches!(cow.kernel.status(), Some(CowStatus::Merging(_))));
    (
        Some(percent(share)),
        is_merging.then(|| percent((1.0 - share).max(0.0))),
    )
}

fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}
