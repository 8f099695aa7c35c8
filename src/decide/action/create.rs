//! Whether a snapshot may be taken, of which kind and how large.

use crate::model::action::{
    Create, ORIGIN_TAG, OWNER_TAG, Owner, PROTECTED_TAG, Planned, SnapshotKind, StoreSize,
};
use crate::model::bounds;
use crate::model::inventory::{Kernel, PoolMode, ThinPool};
use crate::model::names::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::relief::Tag;
use crate::model::step::{NewSnapshot, Step};
use crate::model::time::UnixSeconds;
use crate::model::volume::VolumeKind;

use super::group::member_name;
use super::{Subject, harmless, origin_uuid, owner, quiesce, reads_as_pve};

/// LVM's limit on the names of a group and a volume together (lvm2 `NAME_LEN`).
const NAMES_MAX: usize = 126;

impl Subject<'_> {
    pub(super) fn create(&self, wanted: &Create) -> Result<(Step, Planned), Refusal> {
        let is_thin = self.kind(wanted.kind)?;
        self.is_not_merging()?;
        if owner(self.volume) == Owner::Pve {
            return self.refuse(
                Code::ForeignOwner,
                "Proxmox VE manages it and would not know of the snapshot; use `qm snapshot`",
            );
        }
        if self.volume.kind == VolumeKind::Cow {
            return self.refuse(Code::WrongKind, "it is a copy-on-write snapshot itself");
        }
        self.is_not_too_many(is_thin)?;
        let store = if is_thin {
            self.has_sound_pool()?;
            if !matches!(wanted.size, None | Some(StoreSize::Auto)) {
                return self.refuse(
                    Code::InvalidSize,
                    "a thin snapshot has no store of its own: leave `size` out",
                );
            }
            None
        } else {
            let store = self.store(wanted)?;
            self.has_room(store.size)?;
            Some(store)
        };
        let name = self.name(wanted.name.as_ref())?;
        let held = quiesce::told(wanted.quiesce.as_ref());
        let summary = match &store {
            Some(store) => format!(
                "take a copy-on-write snapshot {}/{name} of {} with a store of {}{}{held}",
                self.group.name, self.volume.name, store.size, store.why
            ),
            None => format!(
                "take a thin snapshot {}/{name} of {}{held}",
                self.group.name, self.volume.name
            ),
        };
        let new = NewSnapshot {
            name,
            store: store.map(|store| store.size),
            read_only: wanted.read_only,
            activate: wanted.activate || !is_thin,
            tags: self.tags(wanted),
        };
        Ok((Step::Create(new), harmless(summary)))
    }

    /// Whether the snapshot is a thin one.
    fn kind(&self, wanted: SnapshotKind) -> Result<bool, Refusal> {
        match (self.volume.kind, wanted) {
            (VolumeKind::Thin, SnapshotKind::Auto | SnapshotKind::Thin) => Ok(true),
            (VolumeKind::Thick, SnapshotKind::Auto | SnapshotKind::Thick) => Ok(false),
            (VolumeKind::Thin, SnapshotKind::Thick) => self.refuse(
                Code::WrongKind,
                "it is a thin volume: its snapshots are thin, of type \"thin\" or \"auto\"",
            ),
            (VolumeKind::Thick, SnapshotKind::Thin) => self.refuse(
                Code::WrongKind,
                "it is no thin volume: its snapshots are of type \"thick\" or \"auto\"",
            ),
            (VolumeKind::Cow, _) => self.refuse(
                Code::WrongKind,
                "it is a copy-on-write snapshot, of which LVM takes none",
            ),
            (VolumeKind::ThinPool, _) => self.refuse(
                Code::WrongKind,
                "it is a thin pool; name one of its volumes",
            ),
            (VolumeKind::Other, _) => self.refuse(
                Code::WrongKind,
                "LVM is at work on it, or it is of no known kind",
            ),
        }
    }

    fn is_not_too_many(&self, is_thin: bool) -> Result<(), Refusal> {
        let limits = &self.site.access.limits;
        let max = if is_thin {
            limits.thin_per_origin
        } else {
            limits.cow_per_origin
        };
        let of_this = self.site.volumes.iter().filter(|other| {
            other.is_snapshot() && origin_uuid(other).is_some_and(|uuid| uuid == self.volume.id.lv)
        });
        let count = of_this.count() as u64;
        if count < max {
            return Ok(());
        }
        self.refuse(
            Code::TooManySnapshots,
            format!("it has {count} snapshots, at most {max} are allowed; remove one first"),
        )
    }

    fn has_sound_pool(&self) -> Result<(), Refusal> {
        let pool = self.site.inventory.pools.iter();
        let pool = pool
            .filter(|pool| Some(&pool.id.lv) == self.volume.pool.as_ref())
            .find(|pool| pool.id.vg == self.volume.id.vg);
        let Some(pool) = pool else {
            return self.refuse(Code::PoolDamaged, "LVM does not tell of its pool");
        };
        let name = &pool.name;
        match &pool.kernel {
            // Nobody can tell how full it is; LVM activates it for the snapshot and finds out.
            Kernel::Inactive => return Ok(()),
            Kernel::Late { .. } | Kernel::Unreadable { .. } => {
                return self.refuse(
                    Code::Busy,
                    format!("the kernel does not answer for its pool {name}"),
                );
            }
            Kernel::Known {
                suspended: true, ..
            } => {
                return self.refuse(Code::Busy, format!("its pool {name} is suspended"));
            }
            Kernel::Known { .. } => {}
        }
        let usage = pool.usage();
        let is_sound =
            usage.is_some_and(|usage| !usage.needs_check && usage.mode == PoolMode::Writable);
        if !is_sound {
            return self.refuse(
                Code::PoolDamaged,
                format!("its pool {name} cannot be written to; `cowherd status` tells why"),
            );
        }
        self.is_not_too_full(pool)
    }

    fn is_not_too_full(&self, pool: &ThinPool) -> Result<(), Refusal> {
        let limits = &self.site.access.limits;
        let stores = [
            (
                "data",
                pool.data_used(),
                pool.data_total(),
                limits.pool_data_percent,
            ),
            (
                "metadata",
                pool.metadata_used(),
                pool.metadata_total(),
                limits.pool_metadata_percent,
            ),
        ];
        for (what, used, total, max) in stores {
            let (Some(used), Some(total)) = (used, total) else {
                continue;
            };
            if used > total.percent_ceil(max) {
                let percent = used.ratio_of(total) * 100.0;
                let name = &pool.name;
                return self.refuse(
                    Code::PoolTooFull,
                    format!(
                        "the {what} of its pool {name} is {percent:.1} % full, the limit for new snapshots is {max} %"
                    ),
                );
            }
        }
        Ok(())
    }

    fn name(&self, wanted: Option<&Name>) -> Result<Name, Refusal> {
        let taken = |name: &str| {
            let mut others = self.site.volumes.iter();
            others.any(|other| other.id.vg == self.volume.id.vg && other.name.lv.as_str() == name)
        };
        let vg = &self.group.name;
        let name = if let Some(wanted) = wanted {
            if reads_as_pve(wanted.as_str()) {
                return Err(Refusal::new(
                    Code::InvalidName,
                    format!(
                        "{vg}/{wanted}: Proxmox VE would take it for its own; choose another name"
                    ),
                ));
            }
            wanted.as_str().to_owned()
        } else {
            let first = member_name(self.volume, &self.site.now.compact_utc());
            let later = (2..).map(|number| format!("{first}-{number}"));
            let mut all = std::iter::once(first.clone()).chain(later);
            all.find(|name| !taken(name)).unwrap_or(first)
        };
        if taken(&name) {
            return Err(Refusal::new(
                Code::Exists,
                format!("{vg}/{name} exists; choose another name"),
            ));
        }
        let length = vg.as_str().len() + name.len();
        if length > NAMES_MAX {
            let detail = format!(
                "{vg}/{name}: the names of group and volume have {length} letters, at most {NAMES_MAX} fit"
            );
            return Err(Refusal::new(Code::InvalidName, detail));
        }
        bounds::new_name(&name)
    }

    fn tags(&self, wanted: &Create) -> Vec<String> {
        let mut tags = vec![
            OWNER_TAG.to_owned(),
            format!("{ORIGIN_TAG}{}", self.volume.id.lv.lvm_form()),
        ];
        tags.extend(wanted.protected.then(|| PROTECTED_TAG.to_owned()));
        tags.extend(wanted.expendable.then(|| Tag::Expendable.text()));
        let expires = wanted.ttl_s.map(|ttl| expiry(self.site.now, ttl));
        tags.extend(expires);
        tags.extend(wanted.tags.iter().cloned());
        tags
    }
}

/// The tag of what may be removed `ttl` seconds from now on.
pub(super) fn expiry(now: UnixSeconds, ttl: u32) -> String {
    Tag::Expires(UnixSeconds((now.0 + f64::from(ttl)).ceil())).text()
}
