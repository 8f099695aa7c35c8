//! Which of the guard's volumes a request asks for.

use hyper::StatusCode;

use crate::model::action::{OriginView, Reference, VolumeView};
use crate::model::names::Uuid;
use crate::model::refusal::{Code, Refusal};

use super::answer::{self, Answer};
use super::request::Call;

/// The answer to a request for volumes.
pub(super) fn put(call: &Call, volumes: Vec<VolumeView>) -> Result<Answer, Refusal> {
    let is_snapshot = |volume: &VolumeView| volume.origin.is_some();
    match call {
        Call::Volume(reference) => {
            let volume = find(&volumes, reference)?;
            Ok(answer::volume(volume, &volume.uuid))
        }
        Call::Snapshot(reference) => {
            let volume = find(&volumes, reference)?;
            if !is_snapshot(volume) {
                return Err(missing("snapshot", reference));
            }
            Ok(answer::volume(volume, &volume.uuid))
        }
        Call::SnapshotsOf(reference) => {
            let origin = find(&volumes, reference)?.uuid.clone();
            let is_wanted = |of: &OriginView| is_same(&of.uuid, &origin);
            let of = |volume: &VolumeView| volume.origin.as_ref().is_some_and(is_wanted);
            Ok(listed(volumes, of))
        }
        Call::Volumes { vg, kind } => Ok(listed(volumes, |volume| {
            vg.as_ref().is_none_or(|vg| *vg == volume.vg)
                && kind.is_none_or(|kind| kind == volume.kind)
        })),
        Call::Snapshots { vg, origin } => Ok(listed(volumes, |volume| {
            is_snapshot(volume)
                && vg.as_ref().is_none_or(|vg| *vg == volume.vg)
                && origin.as_ref().is_none_or(|origin| is_of(volume, origin))
        })),
        Call::Version
        | Call::Document
        | Call::Jobs
        | Call::Job(_)
        | Call::Change { .. }
        | Call::Confirm(_) => Err(Refusal::new(Code::Internal, "that asks for no volumes")),
    }
}

fn listed(mut volumes: Vec<VolumeView>, is_wanted: impl Fn(&VolumeView) -> bool) -> Answer {
    volumes.retain(is_wanted);
    answer::json(StatusCode::OK, &volumes)
}

fn find<'a>(volumes: &'a [VolumeView], reference: &Reference) -> Result<&'a VolumeView, Refusal> {
    let is_it = |volume: &&VolumeView| match reference {
        Reference::Uuid(uuid) => is_uuid(&volume.uuid, uuid),
        Reference::Name(name) => volume.vg == name.vg && volume.name == name.lv,
    };
    let found = volumes.iter().find(is_it);
    found.ok_or_else(|| missing("volume", reference))
}

fn missing(what: &str, reference: &Reference) -> Refusal {
    Refusal::new(Code::NotFound, format!("no {what} {reference}"))
}

/// By the name of an origin only what still has one: another may have taken the name of one that is gone.
fn is_of(volume: &VolumeView, origin: &Reference) -> bool {
    volume.origin.as_ref().is_some_and(|of| match origin {
        Reference::Uuid(uuid) => is_uuid(&of.uuid, uuid),
        Reference::Name(name) => volume.vg == name.vg && of.name.as_ref() == Some(&name.lv),
    })
}

/// With hyphens or without.
fn is_uuid(text: &str, uuid: &Uuid) -> bool {
    Uuid::parse(text).is_ok_and(|other| other == *uuid)
}

fn is_same(text: &str, other: &str) -> bool {
    Uuid::parse(other).is_ok_and(|uuid| is_uuid(text, &uuid))
}
