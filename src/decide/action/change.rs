//! Whether a snapshot may be extended, switched, merged, removed or labelled.

use crate::model::action::{
    Caller, Label, Merge, OWNER_TAG, Owner, PROTECTED_TAG, Planned, Reference, Verb,
};
use crate::model::inventory::{CowSnapshot, CowStatus};
use crate::model::refusal::{Code, Refusal};
use crate::model::relief::{EXPENDABLE_TAG, EXPIRES_TAG, Tag};
use crate::model::step::Step;
use crate::model::units::Bytes;
use crate::model::volume::{Volume, VolumeKind};

use super::create::expiry;
use super::{Subject, harmless, origin_uuid, owner};

impl Subject<'_> {
    pub(super) fn extend(&self, to: Bytes) -> Result<(Step, Planned), Refusal> {
        if self.volume.kind != VolumeKind::Cow {
            return self.refuse(
                Code::WrongKind,
                "only the store of a copy-on-write snapshot is extended; it is none",
            );
        }
        self.is_not_merging()?;
        let cow = self.is_valid()?;
        let extent = self.group.extent;
        let wanted = to.extents_ceil(extent);
        let now = self.volume.size;
        if to == Bytes::ZERO || i64::try_from(to.0).is_err() {
            return self.refuse(
                Code::InvalidSize,
                format!("a size of {} B, expected more than {now}", to.0),
            );
        }
        if wanted.bytes(extent) == now {
            return Ok((
                Step::Nothing,
                harmless(format!("{} has {now} already", self.volume.name)),
            ));
        }
        if wanted.bytes(extent) < now {
            return self.refuse(
                Code::InvalidSize,
                format!("its store has {now}, and {to} is less: nothing is ever shrunk"),
            );
        }
        let useful = cow.map(|cow| cow.full_size(extent));
        if let Some(useful) = useful.filter(|useful| wanted > *useful) {
            return self.refuse(
                Code::InvalidSize,
                format!(
                    "{to} is more than the {} that LVM ever uses for it",
                    useful.bytes(extent)
                ),
            );
        }
        let to = wanted.bytes(extent);
        self.has_room(to.saturating_sub(now))?;
        let summary = format!(
            "extend the store of {} from {now} to {to}",
            self.volume.name
        );
        Ok((Step::Extend { to }, harmless(summary)))
    }

    pub(super) fn activate(&self) -> Result<(Step, Planned), Refusal> {
        self.is_switched()?;
        let name = &self.volume.name;
        if self.volume.opened.is_some() {
            return Ok((Step::Nothing, harmless(format!("{name} is active already"))));
        }
        Ok((Step::Activate, harmless(format!("activate {name}"))))
    }

    pub(super) fn deactivate(&self) -> Result<(Step, Planned), Refusal> {
        self.is_switched()?;
        let name = &self.volume.name;
        match self.volume.opened {
            None => Ok((
                Step::Nothing,
                harmless(format!("{name} is inactive already")),
            )),
            Some(0) => Ok((Step::Deactivate, harmless(format!("deactivate {name}")))),
            Some(_) => self.is_in_use(self.volume),
        }
    }

    fn is_switched(&self) -> Result<(), Refusal> {
        match self.volume.kind {
            VolumeKind::Thin if self.volume.is_snapshot() || origin_uuid(self.volume).is_some() => {
            }
            VolumeKind::Cow => {
                return self.refuse(
                    Code::WrongKind,
                    "a copy-on-write snapshot is active for as long as its origin is",
                );
            }
            VolumeKind::Thin | VolumeKind::Thick | VolumeKind::ThinPool | VolumeKind::Other => {
                return self.is_no_snapshot();
            }
        }
        self.is_own()?;
        self.is_not_merging()
    }

    pub(super) fn merge(
        &self,
        caller: &Caller,
        wanted: &Merge,
    ) -> Result<(Step, Planned), Refusal> {
        self.is_one()?;
        self.is_own()?;
        self.is_not_merging()?;
        self.is_valid()?;
        self.is_not_protected(self.volume)?;
        let origin = self.merged_into(caller)?;
        if self.volume.opened.is_some_and(|count| count > 0) {
            return self.is_in_use(self.volume);
        }
        let is_open = origin.opened.is_some_and(|count| count > 0);
        if is_open && !wanted.allow_deferred {
            return self.refuse(
                Code::Busy,
                format!(
                    "{} is in use, so LVM would merge when it is next activated; stop who uses it, or allow that",
                    origin.name
                ),
            );
        }
        let (name, of) = (&self.volume.name, &origin.name);
        let when = if is_open {
            ", when it is next activated"
        } else {
            ""
        };
        let mut loses = vec![
            format!("everything written to {of} since {name} was taken"),
            format!("the snapshot {name} itself"),
        ];
        let others = self.site.volumes.iter().filter(|other| {
            other.is_snapshot()
                && other.id.lv != self.volume.id.lv
                && other.origin.as_ref() == Some(&origin.id.lv)
        });
        if self.volume.kind == VolumeKind::Thin {
            loses.extend(others.map(|other| format!("the tie of {} to its origin", other.name)));
        }
        Ok((
            Step::Merge {
                origin: origin.id.lv.clone(),
            },
            Planned {
                summary: format!("put {of} back to what it was when {name} was taken{when}"),
                loses,
                needs_confirmation: true,
            },
        ))
    }

    /// What is put back by a merge: whoever made the snapshot chose its name, so that alone gives no right to this.
    fn merged_into(&self, caller: &Caller) -> Result<&Volume, Refusal> {
        let uuid = self.volume.origin.as_ref();
        let Some(origin) = uuid.and_then(|uuid| self.site.volume(uuid)) else {
            return self.refuse(
                Code::WrongKind,
                "what it was taken of is gone: there is nothing to merge into",
            );
        };
        let name = &origin.name;
        if !self.site.access.allows(caller, Verb::Merge, name) {
            let target = Reference::Name(name.clone());
            return Err(self.site.forbidden(caller, Verb::Merge, &target));
        }
        if origin.is_merging {
            return self.refuse(
                Code::Merging,
                format!("another snapshot is being merged into {name}"),
            );
        }
        self.is_not_protected(origin)?;
        if owner(origin) == Owner::Pve {
            return self.refuse(Code::ForeignOwner, format!("Proxmox VE manages {name}"));
        }
        Ok(origin)
    }

    pub(super) fn remove(&self) -> Result<(Step, Planned), Refusal> {
        self.is_one()?;
        self.is_own()?;
        self.is_not_protected(self.volume)?;
        self.is_not_merging()?;
        if self.volume.opened.is_some_and(|count| count > 0) {
            return self.is_in_use(self.volume);
        }
        let name = &self.volume.name;
        let is_last = !self.site.volumes.iter().any(|other| {
            other.id.lv != self.volume.id.lv
                && other.is_snapshot()
                && origin_uuid(other) == self.origin_uuid()
        });
        let is_dispensable = self
            .volume
            .tags
            .iter()
            .filter_map(|tag| Tag::parse(tag))
            .any(|tag| match tag {
                Tag::Expendable => true,
                Tag::Expires(at) => at.0 <= self.site.now.0,
            });
        let is_empty = self.cow().is_some_and(is_lost);
        Ok((
            Step::Remove,
            Planned {
                summary: format!("remove the snapshot {name}"),
                loses: vec![format!("everything in {name}")],
                needs_confirmation: is_last && !is_dispensable && !is_empty,
            },
        ))
    }

    pub(super) fn label(&self, wanted: &Label) -> Result<(Step, Planned), Refusal> {
        self.is_one()?;
        match owner(self.volume) {
            Owner::Cowherd => {}
            Owner::Foreign | Owner::Pve => self.is_own()?,
        }
        let tags = &self.volume.tags;
        let (mut add, mut delete) = (Vec::new(), Vec::new());
        let mut switch = |tag: &str, on: Option<bool>| match (on, self.volume.has_tag(tag)) {
            (Some(true), false) => add.push(tag.to_owned()),
            (Some(false), true) => delete.push(tag.to_owned()),
            (Some(true), true) | (Some(false), false) | (None, _) => {}
        };
        switch(PROTECTED_TAG, wanted.protected);
        switch(EXPENDABLE_TAG, wanted.expendable);
        if let Some(ttl) = wanted.ttl_s {
            delete.extend(
                tags.iter()
                    .filter(|tag| tag.starts_with(EXPIRES_TAG))
                    .cloned(),
            );
            add.extend((ttl > 0).then(|| expiry(self.site.now, ttl)));
        }
        let name = &self.volume.name;
        if add.is_empty() && delete.is_empty() {
            return Ok((
                Step::Nothing,
                harmless(format!("{name} is labelled so already")),
            ));
        }
        let summary = format!(
            "label {name}: add [{}], delete [{}]",
            add.join(" "),
            delete.join(" ")
        );
        Ok((Step::Tag { add, delete }, harmless(summary)))
    }

    /// A snapshot, also one of ours that LVM no longer knows to be one.
    fn is_one(&self) -> Result<(), Refusal> {
        let is_ours = self.volume.has_tag(OWNER_TAG) && self.volume.kind == VolumeKind::Thin;
        if self.volume.is_snapshot() || is_ours {
            Ok(())
        } else {
            self.is_no_snapshot()
        }
    }

    fn is_no_snapshot<T>(&self) -> Result<T, Refusal> {
        self.refuse(Code::WrongKind, "it is no snapshot")
    }

    fn is_in_use<T>(&self, volume: &Volume) -> Result<T, Refusal> {
        let count = volume.opened.unwrap_or_default();
        self.refuse(
            Code::Busy,
            format!(
                "{} is in use: its device is open {count} times; unmount it first",
                volume.name
            ),
        )
    }

    fn cow(&self) -> Option<&CowSnapshot> {
        let mut all = self.site.inventory.snapshots.iter();
        all.find(|cow| cow.id == self.volume.id)
    }

    fn is_valid(&self) -> Result<Option<&CowSnapshot>, Refusal> {
        let cow = self.cow();
        if cow.is_some_and(is_lost) {
            return self.refuse(
                Code::InvalidSnapshot,
                "its store ran full and what it held is lost; remove it",
            );
        }
        Ok(cow)
    }
}

fn is_lost(cow: &CowSnapshot) -> bool {
    matches!(
        cow.kernel.status(),
        Some(CowStatus::Invalid | CowStatus::Overflow)
    )
}
