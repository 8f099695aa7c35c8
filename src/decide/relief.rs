//! What is added to a volume group that has no room left: the next of its standby disks. Only where a rule
//! names them, and only a physical volume that LVM says is in no group: a disk with anything else on it is not
//! one, and is never touched.

use crate::model::inventory::Inventory;
use crate::model::names::Uuid;
use crate::model::plan::{Cap, Plan};
use crate::model::reason::Reason;
use crate::model::relief::Relief;
use crate::model::units::Extents;

use super::Situation;

/// One disk for each group that is short of room; and whether another one is due once time has passed.
pub(super) fn of(situation: &Situation<'_>, plan: &Plan) -> (Vec<Relief>, bool) {
    let mut is_waiting = false;
    let mut reliefs = Vec::new();
    for group in &situation.inventory.groups {
        let is_free = group.obstacle.is_none() && !situation.busy.contains_key(&group.uuid);
        if !is_free || !is_short(plan, &group.uuid) {
            continue;
        }
        let spares = &situation.inventory.spare_disks;
        let standby = situation.policy.standby(group);
        let mut there = standby.filter_map(|uuid| spares.iter().find(|disk| disk.uuid == *uuid));
        let ready = there.find(|disk| {
            let rests = situation.history.disk_rests(&disk.uuid, situation.now);
            is_waiting |= rests;
            !rests
        });
        reliefs.extend(ready.map(|disk| Relief {
            group: group.name.clone(),
            group_uuid: group.uuid.clone(),
            disk: disk.clone(),
        }));
    }
    (reliefs, is_waiting)
}

/// Whether something in the group got nothing, or less than it wants.
fn is_short(plan: &Plan, group: &Uuid) -> bool {
    let holds = plan.holds.iter().any(|hold| {
        hold.target.volume.vg == *group && matches!(hold.reason, Reason::NoRoom { .. })
    });
    let is_capped = plan.extensions.iter().any(|extension| {
        let cap = extension.capped.as_ref().map(|capped| capped.by);
        extension.target.volume.vg == *group && cap == Some(Cap::GroupSpace)
    });
    holds || is_capped
}

/// Brings the inventory to where it stands once the disk has been added, as nearly as can be told before LVM is
/// asked: what LVM keeps for itself is less than an extent, unless somebody wanted more.
pub fn apply(inventory: &mut Inventory, relief: &Relief) {
    let disk = &relief.disk;
    inventory
        .spare_disks
        .retain(|spare| spare.uuid != disk.uuid);
    let uuid = &relief.group_uuid;
    let group = inventory
        .groups
        .iter_mut()
        .find(|group| group.uuid == *uuid);
    if let Some(group) = group {
        let added = disk.size.extents_floor(group.extent);
        let added = added.saturating_sub(Extents(1));
        group.free = group.free.saturating_add(added);
    }
}
