//! Who gets which extents of a volume group: what is granted is gone for those after.
//!
//! Metadata is asked first, and as long as it may want more, its next step is kept from data and COW
//! stores: a pool without metadata stops, however much data space it has.

use std::collections::BTreeMap;

use crate::model::inventory::VolumeGroup;
use crate::model::names::{Resource, Uuid};
use crate::model::plan::Cap;
use crate::model::reason::Reason;
use crate::model::units::Extents;

use super::Situation;
use super::amount;
use super::store::{self, Store};

/// What is left of each group.
pub(super) struct Room<'a> {
    left: BTreeMap<&'a Uuid, Left>,
}

struct Left {
    /// Free extents beyond the reserve.
    extents: Extents,
    reserve: Extents,
    /// Of `extents`, what only metadata may take.
    metadata_slice: Extents,
}

impl<'a> Room<'a> {
    pub(super) fn of(situation: &Situation<'a>) -> Self {
        let mut left: BTreeMap<&Uuid, Left> = situation
            .inventory
            .groups
            .iter()
            .map(|group| (&group.uuid, Left::of(situation, group)))
            .collect();
        for store in store::all(situation.inventory) {
            if store.target.resource == Resource::Metadata
                && let Some(left) = left.get_mut(&store.group.uuid)
            {
                let slice = metadata_step(situation, &store);
                left.metadata_slice = left.metadata_slice.saturating_add(slice);
            }
        }
        Self { left }
    }

    /// Takes as much of `allowed` as there is. Nothing at all is a hold.
    pub(super) fn take(
        &mut self,
        store: &Store<'_>,
        (allowed, _): (Extents, Option<Cap>),
    ) -> Result<(Extents, Option<Cap>), Reason> {
        let extent = store.group.extent;
        let no_room = |reserve: Extents| Reason::NoRoom {
            free: store.group.free_bytes(),
            reserve: reserve.bytes(extent),
        };
        let Some(left) = self.left.get_mut(&store.group.uuid) else {
            return Err(no_room(Extents::ZERO));
        };
        let available = left.available_to(store.target.resource);
        let ahead = store.ahead();
        let granted = affordable(store, allowed.saturating_add(ahead), available);
        let granted = granted.saturating_sub(ahead);
        if granted == Extents::ZERO {
            let kept = left
                .reserve
                .saturating_add(left.extents.saturating_sub(available));
            return Err(no_room(kept));
        }
        let cost = store.cost(store.size.saturating_add(ahead).saturating_add(granted));
        left.extents = left.extents.saturating_sub(cost);
        if store.target.resource == Resource::Metadata {
            left.metadata_slice = left.metadata_slice.saturating_sub(cost);
        }
        Ok((granted, (granted < allowed).then_some(Cap::GroupSpace)))
    }
}

impl Left {
    fn of(situation: &Situation<'_>, group: &VolumeGroup) -> Self {
        let reserve = situation.policy.reserve(group).extents_ceil(group.extent);
        Self {
            extents: group.free.saturating_sub(reserve),
            reserve,
            metadata_slice: Extents::ZERO,
        }
    }

    fn available_to(&self, resource: Resource) -> Extents {
        match resource {
            Resource::Metadata => self.extents,
            Resource::Data | Resource::Cow => self.extents.saturating_sub(self.metadata_slice),
        }
    }
}

/// What the next extension of this metadata device will take from the group.
fn metadata_step(situation: &Situation<'_>, store: &Store<'_>) -> Extents {
    let growth = &store.growth(situation.policy);
    let at_max = growth
        .max_size
        .is_some_and(|max| store.size >= max.extents_floor(store.group.extent));
    let stuck =
        store.damage.is_some() || store.size >= store.useful_max || at_max || !growth.enabled;
    if stuck || store.fill.is_none() {
        return Extents::ZERO;
    }
    let step = amount::usual(store, growth);
    store.cost(store.size.saturating_add(step))
}

/// The largest growth up to `allowed` whose whole cost is available.
fn affordable(store: &Store<'_>, allowed: Extents, available: Extents) -> Extents {
    let fits = |growth: u64| store.cost(store.size.saturating_add(Extents(growth))) <= available;
    if fits(allowed.0) {
        return allowed;
    }
    let (mut low, mut high) = (0, allowed.0.min(available.0));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Extents(low)
}
