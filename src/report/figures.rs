//! One store's numbers, joined from the places of a view that know something of it.
//!
//! Metrics, page and table all show these, so that they cannot disagree.

use std::collections::BTreeMap;

use crate::model::inventory::{
    CowSnapshot, CowStatus, Kernel, PoolMode, PoolStatus, ThinPool, VolumeGroup,
};
use crate::model::names::{Resource, Target, Uuid, VolumeId};
use crate::model::plan::Hold;
use crate::model::units::{Bytes, Extents};
use crate::model::view::{StoreView, View};

/// What is to be told of one store.
#[derive(Debug, Clone)]
pub struct Figures<'a> {
    pub store: &'a StoreView,
    pub volume: Volume<'a>,
    pub group: &'a VolumeGroup,
    pub hold: Option<&'a Hold>,
    /// What the kernel says the store can hold; LVM's size while the kernel does not tell.
    pub size: Bytes,
    /// Nothing while the kernel does not tell.
    pub used: Option<Bytes>,
    /// Until it is full with every permitted extension spent, at its present rate: infinite when
    /// it is not filling or cannot run full, nothing while its usage is unknown.
    pub secs_to_full: Option<f64>,
}

/// The volume whose store it is.
#[derive(Debug, Clone, Copy)]
pub enum Volume<'a> {
    Pool(&'a ThinPool),
    Snapshot(&'a CowSnapshot),
}

/// How a volume is, in a word or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub text: &'static str,
    pub mood: Mood,
}

/// Whether somebody has to care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    Odd,
    Bad,
}

/// Every store of the view whose volume is in its inventory, in the view's order.
#[must_use]
pub fn all(view: &View) -> Vec<Figures<'_>> {
    let groups = groups(view);
    let volumes = volumes(view);
    let holds: BTreeMap<&Target, &Hold> = view
        .plan
        .holds
        .iter()
        .map(|hold| (&hold.target, hold))
        .collect();
    view.stores
        .iter()
        .filter_map(|store| {
            let volume = *volumes.get(&store.target.volume)?;
            let group = *groups.get(&store.target.volume.vg)?;
            let hold = holds.get(&store.target).copied();
            Some(Figures::of(store, volume, group, hold))
        })
        .collect()
}

/// The volume groups of the view, by identity.
#[must_use]
pub fn groups(view: &View) -> BTreeMap<&Uuid, &VolumeGroup> {
    view.inventory
        .groups
        .iter()
        .map(|group| (&group.uuid, group))
        .collect()
}

fn volumes(view: &View) -> BTreeMap<&VolumeId, Volume<'_>> {
    let pools = view
        .inventory
        .pools
        .iter()
        .map(|pool| (&pool.id, Volume::Pool(pool)));
    let snapshots = view
        .inventory
        .snapshots
        .iter()
        .map(|s| (&s.id, Volume::Snapshot(s)));
    pools.chain(snapshots).collect()
}

impl<'a> Figures<'a> {
    fn of(
        store: &'a StoreView,
        volume: Volume<'a>,
        group: &'a VolumeGroup,
        hold: Option<&'a Hold>,
    ) -> Self {
        let resource = store.target.resource;
        let fill = volume.fill(resource);
        let size = fill.map_or_else(
            || volume.allocated(resource).bytes(group.extent),
            |(_, total)| total,
        );
        let full_size = volume.never_full(resource, group.extent);
        let secs_to_full = fill.map(|(used, total)| {
            if full_size.is_some_and(|full_size| total >= full_size) {
                f64::INFINITY
            } else {
                secs_to_full(total.saturating_sub(used), store)
            }
        });
        Self {
            store,
            volume,
            group,
            hold,
            size,
            used: fill.map(|(used, _)| used),
            secs_to_full,
        }
    }

    /// Nothing while the kernel does not tell.
    #[must_use]
    pub fn free(&self) -> Option<Bytes> {
        self.used.map(|used| self.size.saturating_sub(used))
    }

    /// Between 0 and 1.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.used.map(|used| used.ratio_of(self.size).min(1.0))
    }

    /// Whether more is used than the guard lets be.
    #[must_use]
    pub fn is_past_threshold(&self) -> bool {
        self.used
            .is_some_and(|used| used > self.size.percent_ceil(self.store.threshold_percent))
    }
}

fn secs_to_full(free: Bytes, store: &StoreView) -> f64 {
    let rate = store.fill_bytes_per_second;
    if rate > 0.0 {
        free.saturating_add(store.growable).as_f64() / rate
    } else {
        f64::INFINITY
    }
}

impl Volume<'_> {
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Pool(pool) => kernel_state(&pool.kernel).unwrap_or_else(|| pool_state(pool)),
            Self::Snapshot(snapshot) => {
                kernel_state(&snapshot.kernel).unwrap_or_else(|| snapshot_state(snapshot))
            }
        }
    }

    /// Used and total, as the kernel counts.
    fn fill(&self, resource: Resource) -> Option<(Bytes, Bytes)> {
        match (self, resource) {
            (Self::Pool(pool), Resource::Metadata) => {
                pool.metadata_used().zip(pool.metadata_total())
            }
            (Self::Pool(pool), Resource::Data | Resource::Cow) => {
                pool.data_used().zip(pool.data_total())
            }
            (Self::Snapshot(snapshot), Resource::Metadata | Resource::Data | Resource::Cow) => {
                let usage = snapshot.usage()?;
                Some((usage.allocated.bytes(), usage.total.bytes()))
            }
        }
    }

    /// LVM's size.
    fn allocated(&self, resource: Resource) -> Extents {
        match (self, resource) {
            (Self::Pool(pool), Resource::Metadata) => pool.metadata,
            (Self::Pool(pool), Resource::Data | Resource::Cow) => pool.data,
            (Self::Snapshot(snapshot), Resource::Metadata | Resource::Data | Resource::Cow) => {
                snapshot.size
            }
        }
    }

    /// A store this large can never run full.
    fn never_full(&self, resource: Resource, extent: Bytes) -> Option<Bytes> {
        match (self, resource) {
            (Self::Pool(_), Resource::Metadata) => None,
            (Self::Pool(pool), Resource::Data | Resource::Cow) => Some(pool.virtual_size),
            (Self::Snapshot(snapshot), Resource::Metadata | Resource::Data | Resource::Cow) => {
                Some(snapshot.full_size(extent).bytes(extent))
            }
        }
    }
}

/// What is to be said whatever the target is; nothing when its status is what matters.
fn kernel_state<T>(kernel: &Kernel<T>) -> Option<State> {
    match kernel {
        Kernel::Inactive => Some(State {
            text: "inactive",
            mood: Mood::Well,
        }),
        Kernel::Unreadable { .. } => Some(State {
            text: "unreadable",
            mood: Mood::Bad,
        }),
        Kernel::Late { .. } => Some(State {
            text: "no answer",
            mood: Mood::Bad,
        }),
        Kernel::Known {
            suspended: true, ..
        } => Some(State {
            text: "suspended",
            mood: Mood::Odd,
        }),
        Kernel::Known {
            suspended: false, ..
        } => None,
    }
}

fn pool_state(pool: &ThinPool) -> State {
    let bad = |text| State {
        text,
        mood: Mood::Bad,
    };
    match pool.kernel.status() {
        None => State {
            text: "unknown",
            mood: Mood::Odd,
        },
        Some(PoolStatus::Failed) => bad("failed"),
        Some(PoolStatus::Working(usage)) if usage.needs_check => bad("needs check"),
        Some(PoolStatus::Working(usage)) => match usage.mode {
            PoolMode::Writable => State {
                text: "writable",
                mood: Mood::Well,
            },
            PoolMode::OutOfDataSpace => bad("out of space"),
            PoolMode::ReadOnly => bad("read only"),
        },
    }
}

fn snapshot_state(snapshot: &CowSnapshot) -> State {
    let bad = |text| State {
        text,
        mood: Mood::Bad,
    };
    let merging = State {
        text: "merging",
        mood: Mood::Well,
    };
    match snapshot.kernel.status() {
        None | Some(CowStatus::Unknown) => State {
            text: "unknown",
            mood: Mood::Odd,
        },
        Some(CowStatus::Invalid) => bad("invalid"),
        Some(CowStatus::Overflow) => bad("overflow"),
        Some(CowStatus::MergeFailed) => bad("merge failed"),
        Some(CowStatus::Merging(_)) => merging,
        Some(CowStatus::Valid(_)) if snapshot.merging => merging,
        Some(CowStatus::Valid(_)) => State {
            text: "active",
            mood: Mood::Well,
        },
    }
}
