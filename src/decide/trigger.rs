//! Whether a store is due.

use std::time::Duration;

use crate::model::names::Resource;
use crate::model::plan::Trigger;
use crate::model::policy::{Growth, Timing};
use crate::model::units::Bytes;

use super::store::{Fill, Store};

/// The first trigger that holds, or none.
pub(super) fn of(
    store: &Store<'_>,
    fill: Fill,
    growth: &Growth,
    rate: Bytes,
    latency: Duration,
    timing: &Timing,
) -> Option<Trigger> {
    let percent = threshold_percent(store, growth);
    if over_threshold(fill, percent) {
        return Some(Trigger::Threshold { percent });
    }
    if fill.free() < growth.headroom {
        return Some(Trigger::Headroom {
            floor: growth.headroom,
        });
    }
    // A store at the size it can never outgrow is safe at any rate.
    let can_fill = store.never_full.is_none_or(|size| fill.total < size);
    if can_fill && fill.free() < needed_for(rate, latency, timing) {
        return Some(Trigger::Rate {
            bytes_per_second: rate,
        });
    }
    None
}

/// The configured threshold; for small metadata devices LVM's own, lower one
/// (lvm2 `lv_manip.c`, `_adjust_policy_params`): 4 MiB must stay free, or a quarter.
#[must_use]
pub fn threshold_percent(store: &Store<'_>, growth: &Growth) -> u64 {
    if store.target.resource != Resource::Metadata {
        return growth.threshold_percent;
    }
    let size = store.size.bytes(store.group.extent).0.max(1);
    let margin = (100 * 4 * Bytes::MIB).div_ceil(size).min(25);
    growth.threshold_percent.min(100 - margin)
}

/// What must be free for an extension to finish in time at this rate.
pub(super) fn needed_for(rate: Bytes, latency: Duration, timing: &Timing) -> Bytes {
    let secs = latency.as_secs_f64();
    Bytes::from_f64_ceil(rate.as_f64() * secs).saturating_mul(timing.safety_factor)
}

pub(super) fn over_threshold(fill: Fill, percent: u64) -> bool {
    u128::from(fill.used.0) * 100 > u128::from(fill.total.0) * u128::from(percent)
}
