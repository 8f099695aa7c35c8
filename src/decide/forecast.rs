//! What may still be added to a store, and when it will be full after that.

use crate::model::units::{Bytes, Extents};

use super::Situation;
use super::amount;
use super::store::Store;

/// What the guard may still add under its policy and with the group's free space, were this store
/// the only one to ask; zero as soon as less than one configured step fits, so that "cannot grow"
/// is a comparison with zero.
#[must_use]
pub fn growable(situation: &Situation<'_>, store: &Store<'_>) -> Bytes {
    let growth = &store.growth(situation.policy);
    let forbidden = store.damage.is_some() || store.group.obstacle.is_some();
    if forbidden || !growth.enabled || situation.policy.dry_run {
        return Bytes::ZERO;
    }
    let extent = store.group.extent;
    let reserve = situation.policy.reserve(store.group).extents_ceil(extent);
    let free = store.group.free.saturating_sub(reserve);
    let left = amount::left_this_hour(situation, store, growth);
    let allowed = amount::allowed(store, growth, free);
    let (allowed, _) = amount::within_an_hour(allowed, left.map(|(left, _)| left));
    let step = store
        .size
        .percent_ceil(growth.extend_percent)
        .max(Extents(1));
    if allowed < step {
        Bytes::ZERO
    } else {
        allowed.bytes(extent)
    }
}
