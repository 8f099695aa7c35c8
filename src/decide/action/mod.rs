//! What a caller's request comes to: one step, or the reason why not. Pure.
//!
//! The same is decided twice: when a request is accepted, and `again` right before its step is carried out, from what
//! is seen then. A request names a volume; nothing else in it reaches lvm but sizes, and names and tags that
//! have been checked.

mod again;
mod change;
mod create;
mod group;
mod quiesce;
mod store;

use crate::model::access::Access;
use crate::model::action::{
    Act, Action, Caller, ORIGIN_TAG, OWNER_TAG, Owner, PROTECTED_TAG, Planned, Reference, Verb,
};
use crate::model::bounds::{self, PVE_TAG};
use crate::model::inventory::{GroupObstacle, Inventory, VolumeGroup};
use crate::model::names::Uuid;
use crate::model::policy::Policy;
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::time::UnixSeconds;
use crate::model::units::Bytes;
use crate::model::volume::Volume;
use crate::model::writes::Writes;

pub use again::judge_again;

/// What is known when a request is decided.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    pub policy: &'a Policy,
    pub access: &'a Access,
    pub inventory: &'a Inventory,
    pub volumes: &'a [Volume],
    /// How fast origins are written to.
    pub writes: &'a Writes,
    pub now: UnixSeconds,
}

/// What is to be done for this caller. Whether it has been confirmed is not asked here.
///
/// # Errors
/// When it is not to be done.
pub fn judge(site: &Site<'_>, caller: &Caller, act: &Act) -> Result<Task, Refusal> {
    bounds::check(act)?;
    let verb = act.action.verb();
    let volume = site.permitted(caller, verb, &act.target)?;
    if let Some(wanted) = &act.if_match
        && *wanted != volume.id.lv
    {
        let found = volume.id.lv.lvm_form();
        let wanted = wanted.lvm_form();
        let detail = format!(
            "{} is another volume by now: its uuid is {found}, expected {wanted}; look again before you decide",
            volume.name
        );
        return Err(Refusal::new(Code::PreconditionFailed, detail));
    }
    let group = site.group(volume)?;
    if site.policy.dry_run && !act.dry_run {
        let detail = "this guard only watches: dry_run is set in its configuration";
        return Err(Refusal::new(Code::Forbidden, detail));
    }
    let subject = Subject {
        site,
        volume,
        group,
        together: 1,
    };
    let (step, plan) = match &act.action {
        Action::Create(wanted) => {
            subject.may_have_held(caller, wanted)?;
            if !wanted.with.is_empty() {
                return subject.create_all(caller, wanted);
            }
            subject.create(wanted)?
        }
        Action::Extend(wanted) => subject.extend(Bytes(wanted.size_bytes))?,
        Action::Activate => subject.activate()?,
        Action::Deactivate => subject.deactivate()?,
        Action::Merge(wanted) => subject.merge(caller, wanted)?,
        Action::Remove => subject.remove()?,
        Action::Label(wanted) => subject.label(wanted)?,
    };
    Ok(Task {
        id: volume.id.clone(),
        name: volume.name.clone(),
        step,
        plan,
        quiesce: quiesce::wanted(&act.action),
        with: Vec::new(),
    })
}

/// A volume that something is wanted of.
struct Subject<'a> {
    site: &'a Site<'a>,
    volume: &'a Volume,
    group: &'a VolumeGroup,
    /// How many are dealt with at one moment.
    together: u64,
}

impl<'a> Site<'a> {
    /// Whoever may not touch a volume need not learn whether it exists.
    fn permitted(
        &self,
        caller: &Caller,
        verb: Verb,
        target: &Reference,
    ) -> Result<&'a Volume, Refusal> {
        match self.find(target) {
            Some(volume) if self.access.allows(caller, verb, &volume.name) => Ok(volume),
            None if self.access.allows_all(caller, verb) => Err(not_found(target)),
            Some(_) | None => Err(self.forbidden(caller, verb, target)),
        }
    }

    fn find(&self, reference: &Reference) -> Option<&'a Volume> {
        let mut named = self.volumes.iter().filter(|volume| match reference {
            Reference::Uuid(uuid) => volume.id.lv == *uuid,
            Reference::Name(name) => volume.name == *name,
        });
        // LVM's uuids are unique and so are its names, unless two groups have one name: then nothing is meant.
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }

    fn volume(&self, uuid: &Uuid) -> Option<&'a Volume> {
        self.volumes.iter().find(|volume| volume.id.lv == *uuid)
    }

    fn group(&self, volume: &Volume) -> Result<&'a VolumeGroup, Refusal> {
        let group = self.inventory.group(&volume.id.vg);
        let group = group.ok_or_else(|| {
            let detail = format!("LVM does not tell of volume group {}", volume.name.vg);
            Refusal::new(Code::VgObstacle, detail)
        })?;
        match group.obstacle {
            None => Ok(group),
            Some(obstacle) => Err(Refusal::new(
                Code::VgObstacle,
                format!(
                    "volume group {} {}: nothing in it is changed",
                    group.name,
                    obstacle_text(obstacle)
                ),
            )),
        }
    }

    fn forbidden(&self, caller: &Caller, verb: Verb, target: &Reference) -> Refusal {
        let detail = if self.access.verbs.contains(&verb) {
            let written = caller.written();
            format!("{caller} may not {verb} {target}: no {written} lets it")
        } else {
            format!("nobody may {verb}: it is not among `actions` below [api] in the configuration")
        };
        Refusal::new(Code::Forbidden, detail)
    }
}

const fn obstacle_text(obstacle: GroupObstacle) -> &'static str {
    match obstacle {
        GroupObstacle::Exported => "is exported",
        GroupObstacle::Shared => "is shared with other hosts",
        GroupObstacle::Clustered => "is clustered",
        GroupObstacle::Partial => "lacks a physical volume",
        GroupObstacle::ReadOnly => "is read-only",
        GroupObstacle::DuplicateName => "has the name of another one",
        GroupObstacle::Hidden => "is not told of by LVM",
    }
}

fn not_found(target: &Reference) -> Refusal {
    let detail =
        format!("there is no volume {target}; `cowherd snapshot list` shows what there is");
    Refusal::new(Code::NotFound, detail)
}

impl Subject<'_> {
    fn refuse<T>(&self, code: Code, why: impl std::fmt::Display) -> Result<T, Refusal> {
        Err(Refusal::new(code, format!("{}: {why}", self.volume.name)))
    }

    /// Only what was made here is taken away, merged or switched.
    fn is_own(&self) -> Result<(), Refusal> {
        match owner(self.volume) {
            Owner::Cowherd => Ok(()),
            Owner::Pve => self.refuse(
                Code::ForeignOwner,
                "Proxmox VE manages it; use its own tools",
            ),
            Owner::Foreign => self.refuse(
                Code::ForeignOwner,
                format!("it was not made here (it lacks the tag {OWNER_TAG}); use lvm itself"),
            ),
        }
    }

    fn is_not_protected(&self, volume: &Volume) -> Result<(), Refusal> {
        if volume.has_tag(PROTECTED_TAG) {
            let name = &volume.name;
            let what = if volume.id == self.volume.id {
                "it".to_owned()
            } else {
                name.to_string()
            };
            return self.refuse(
                Code::Protected,
                format!("{what} is protected; `cowherd snapshot protect --off {name}` ends that"),
            );
        }
        Ok(())
    }

    fn is_not_merging(&self) -> Result<(), Refusal> {
        if self.volume.is_merging {
            return self.refuse(Code::Merging, "a snapshot is being merged, or will be");
        }
        Ok(())
    }

    /// What it was taken of, as LVM or our own tag says.
    fn origin_uuid(&self) -> Option<Uuid> {
        origin_uuid(self.volume)
    }

    /// Extents are taken from the group: what policy keeps back stays.
    fn has_room(&self, more: Bytes) -> Result<(), Refusal> {
        let reserve = self.site.policy.reserve(self.group);
        let free = self.group.free_bytes();
        if free.saturating_sub(reserve) >= more {
            return Ok(());
        }
        let vg = &self.group.name;
        self.refuse(
            Code::VgReserve,
            format!(
                "it takes {more} and volume group {vg} has {free} free, {reserve} of it in reserve"
            ),
        )
    }
}

/// Whose a volume is.
#[must_use]
pub fn owner(volume: &Volume) -> Owner {
    if is_of_pve(volume) {
        Owner::Pve
    } else if volume.has_tag(OWNER_TAG) {
        Owner::Cowherd
    } else {
        Owner::Foreign
    }
}

/// What a volume was taken of, also when LVM has forgotten it.
#[must_use]
pub fn origin_uuid(volume: &Volume) -> Option<Uuid> {
    let noted = volume
        .tags
        .iter()
        .find_map(|tag| tag.strip_prefix(ORIGIN_TAG));
    let noted = noted.and_then(|uuid| Uuid::parse(uuid).ok());
    volume.origin.clone().or(noted)
}

/// Proxmox VE `LVMPlugin.pm`, `LvmThinPlugin.pm`: `vm-ID-disk-N`, `base-ID-disk-N`, `snap_vm-ID-disk-N_NAME`,
/// `vm-ID-state-NAME`, the tag `pve-vm-ID`, and `del-` before what is being wiped.
fn is_of_pve(volume: &Volume) -> bool {
    reads_as_pve(volume.name.lv.as_str()) || volume.tags.iter().any(|tag| tag.starts_with(PVE_TAG))
}

fn reads_as_pve(name: &str) -> bool {
    let name = name.strip_prefix("del-").unwrap_or(name);
    let name = name.strip_prefix("snap_").unwrap_or(name);
    let rest = name
        .strip_prefix("vm-")
        .or_else(|| name.strip_prefix("base-"));
    rest.and_then(|rest| rest.split_once('-'))
        .is_some_and(|(id, _)| !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit()))
}

fn harmless(summary: String) -> Planned {
    Planned {
        summary,
        loses: Vec::new(),
        needs_confirmation: false,
    }
}
