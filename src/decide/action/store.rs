//! How large the store of a copy-on-write snapshot is made. Pure.

use crate::model::action::{Create, StoreSize};
use crate::model::inventory::full_store;
use crate::model::refusal::{Code, Refusal};
use crate::model::units::Bytes;

use super::Subject;

/// The store while nothing is known of its origin. The guard extends it before it is full.
const STORE_PERCENT: u64 = 10;
/// LVM wants room for a header and a few chunks; anything less is lost at once.
const STORE_MIN: Bytes = Bytes::mib(4);
/// No measured rate makes a store smaller: a writer that wakes up fills it before it is extended. One of this size
/// survives an unlimited writer in the lab.
const AUTO_MIN: Bytes = Bytes::mib(64);
/// Chunks that lvcreate(8) makes where none are asked for.
const CHUNK: Bytes = Bytes(4096);
/// How long a snapshot is taken to be wanted for whose request does not say.
const LIFE_SECS: u32 = 86_400;
/// Of what a group has left, no measured rate takes more than one part in as many: the rest is for what runs full.
const ROOM_PARTS: u64 = 2;

/// A size, and what follows it in the plan's sentence.
pub(super) struct Store {
    pub(super) size: Bytes,
    pub(super) why: String,
}

impl Subject<'_> {
    pub(super) fn store(&self, wanted: &Create) -> Result<Store, Refusal> {
        let origin = self.volume.size;
        let (size, why) = match wanted.size {
            None | Some(StoreSize::Auto) => self.measured(wanted.ttl_s),
            Some(StoreSize::PercentOfOrigin(percent @ 1..=200)) => {
                let size = origin.percent_ceil(percent.into()).max(STORE_MIN);
                (size, String::new())
            }
            Some(StoreSize::PercentOfOrigin(percent)) => {
                return self.refuse(
                    Code::InvalidSize,
                    format!("{percent} percent of it, expected 1 to 200"),
                );
            }
            Some(StoreSize::Bytes(bytes)) if Bytes(bytes) >= STORE_MIN => {
                (Bytes(bytes), String::new())
            }
            Some(StoreSize::Bytes(bytes)) => {
                return self.refuse(
                    Code::InvalidSize,
                    format!("a store of {}, expected at least {STORE_MIN}", Bytes(bytes)),
                );
            }
        };
        let extent = self.group.extent;
        let size = size.extents_ceil(extent).bytes(extent);
        Ok(Store { size, why })
    }

    /// Room for what is written to the origin while the snapshot lives. What is written twice to the same place is
    /// copied once, so this is more than is needed, and a guess all the same: the guard extends the store if it was less.
    fn measured(&self, ttl_s: Option<u32>) -> (Bytes, String) {
        let origin = self.volume.size;
        let usual = origin.percent_ceil(STORE_PERCENT).max(STORE_MIN);
        let Some(rate) = self.site.writes.per_second(&self.volume.id) else {
            let why = format!(
                " ({STORE_PERCENT} % of the origin: how fast it is written to has not been measured yet)"
            );
            return (usual, why);
        };
        let life = ttl_s.unwrap_or(LIFE_SECS);
        let written = rate.saturating_mul(life.into());
        let extent = self.group.extent;
        let full = full_store(origin, CHUNK, extent).bytes(extent);
        let most = self.room_share().max(usual);
        let wanted = written.max(AUTO_MIN).min(full.max(STORE_MIN));
        let limit = if wanted > most {
            ", more than half of what the group has left"
        } else if written >= full {
            ", all that it can ever need"
        } else if written < AUTO_MIN {
            ", which is little"
        } else {
            ""
        };
        let span = span(life);
        let why = format!(" (for {span} of writing {rate} a second{limit})");
        (wanted.min(most), why)
    }

    /// What each of those that are taken together may have of what the group has left.
    fn room_share(&self) -> Bytes {
        let reserve = self.site.policy.reserve(self.group);
        let room = self.group.free_bytes().saturating_sub(reserve);
        let extent = self.group.extent;
        let share = Bytes(room.0 / (ROOM_PARTS * self.together));
        share.extents_floor(extent).bytes(extent)
    }
}

/// In the largest unit of which it is a whole number.
fn span(seconds: u32) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let fits = |(length, _): &(u32, &str)| seconds >= *length && seconds.is_multiple_of(*length);
    match units.into_iter().find(fits) {
        Some((length, unit)) => format!("{} {unit}", seconds / length),
        None => format!("{seconds} s"),
    }
}
