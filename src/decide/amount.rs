//! By how much a store is to grow, before anybody asks whether there is room.

use crate::model::names::Resource;
use crate::model::plan::{Cap, Capped};
use crate::model::policy::Growth;
use crate::model::time::Moment;
use crate::model::units::{Bytes, Extents};

use super::Situation;
use super::store::{Fill, Store};
use super::trigger;

/// The growth that clears every trigger and lasts for the horizon; at least what LVM would add.
pub(super) fn wanted(situation: &Situation<'_>, store: &Store<'_>) -> Extents {
    let growth = &store.growth(situation.policy);
    let extent = store.group.extent;
    let Some(fill) = store.fill else {
        return Extents::ZERO;
    };
    lvm_step(store, fill, growth)
        .max(growth.extend_min.extents_ceil(extent))
        .max(lasting(situation, store).extents_ceil(extent))
        .max(clearing(situation, store, fill, growth).extents_ceil(extent))
        .max(Extents(1))
}

/// What an extension adds when nothing presses: the configured share, one percent more for metadata.
pub(super) fn usual(store: &Store<'_>, growth: &Growth) -> Extents {
    let extra = u64::from(store.target.resource == Resource::Metadata);
    let percent = growth.extend_percent.saturating_add(extra);
    store.size.percent_ceil(percent).max(Extents(1))
}

/// What `lvextend --use-policies` would add (lvm2 `lv_manip.c`): the configured share, or as much as
/// brings usage down to the threshold; one percent more for metadata.
fn lvm_step(store: &Store<'_>, fill: Fill, growth: &Growth) -> Extents {
    let threshold = trigger::threshold_percent(store, growth);
    let scaled = u128::from(fill.used.0) * 10_000;
    let needed = scaled.div_ceil(u128::from(fill.total.0.max(1)) * u128::from(threshold));
    let needed = u64::try_from(needed)
        .unwrap_or(u64::MAX)
        .saturating_sub(100);
    let extra = u64::from(store.target.resource == Resource::Metadata);
    store
        .size
        .percent_ceil(growth.extend_percent.max(needed).saturating_add(extra))
}

/// Room for the horizon at the present rate, but not more than the store can ever fill.
fn lasting(situation: &Situation<'_>, store: &Store<'_>) -> Bytes {
    let rate = situation.history.rate(&store.target).as_f64();
    let horizon = Bytes::from_f64_ceil(rate * situation.policy.timing.horizon.as_secs_f64());
    let size = store.size.bytes(store.group.extent);
    store
        .never_full
        .map_or(horizon, |enough| horizon.min(enough.saturating_sub(size)))
}

/// Room enough that neither headroom nor rate would ask again at once.
fn clearing(situation: &Situation<'_>, store: &Store<'_>, fill: Fill, growth: &Growth) -> Bytes {
    let rate = situation.history.rate(&store.target);
    let timing = &situation.policy.timing;
    let needed = trigger::needed_for(rate, situation.latency(), timing);
    // The kernel may count a little less than LVM: whole chunks only, and the metadata reserve.
    let uncounted = store
        .size
        .bytes(store.group.extent)
        .saturating_sub(fill.total);
    let free = growth.headroom.max(needed).saturating_sub(fill.free());
    if free == Bytes::ZERO {
        Bytes::ZERO
    } else {
        free.saturating_add(uncounted)
    }
}

/// `wanted`, cut to what the store may and can use.
pub(super) fn allowed(
    store: &Store<'_>,
    growth: &Growth,
    wanted: Extents,
) -> (Extents, Option<Cap>) {
    let useful = store.useful_max.saturating_sub(store.size);
    let (granted, cap) = if wanted > useful {
        (useful, Some(Cap::UsefulSize))
    } else {
        (wanted, None)
    };
    let Some(max) = growth.max_size else {
        return (granted, cap);
    };
    let left = max
        .extents_floor(store.group.extent)
        .saturating_sub(store.size);
    if granted > left {
        (left, Some(Cap::MaxSize))
    } else {
        (granted, cap)
    }
}

/// What `growth_per_hour` still allows, and until when it is no more; nothing where it is not set.
pub(super) fn left_this_hour(
    situation: &Situation<'_>,
    store: &Store<'_>,
    growth: &Growth,
) -> Option<(Extents, Moment)> {
    let limit = growth.growth_per_hour?;
    let (added, until) = situation
        .history
        .added_within_an_hour(&store.target, situation.now);
    let left = limit.saturating_sub(added);
    Some((left.extents_floor(store.group.extent), until))
}

pub(super) fn within_an_hour(
    (allowed, cap): (Extents, Option<Cap>),
    left: Option<Extents>,
) -> (Extents, Option<Cap>) {
    match left {
        Some(left) if left < allowed => (left, Some(Cap::GrowthPerHour)),
        Some(_) | None => (allowed, cap),
    }
}

/// Half as much for each time that lvextend refused the last ones: stripes, mirrors, tags and allocation
/// policies can make extents that are free not usable, and some room is better than none.
pub(super) fn after_refusals(
    (allowed, cap): (Extents, Option<Cap>),
    refusals: u64,
) -> (Extents, Option<Cap>) {
    let halvings = u32::try_from(refusals).unwrap_or(u32::MAX).min(63);
    if halvings == 0 || allowed == Extents::ZERO {
        return (allowed, cap);
    }
    (Extents((allowed.0 >> halvings).max(1)), Some(Cap::Refusals))
}

/// What to tell about the difference between wanted and granted.
pub(super) fn capped(
    wanted: Extents,
    (allowed, cap): (Extents, Option<Cap>),
    granted: Extents,
    by_room: Option<Cap>,
) -> Option<Capped> {
    let by = if granted < allowed { by_room } else { cap };
    by.map(|by| Capped { wanted, by })
}
