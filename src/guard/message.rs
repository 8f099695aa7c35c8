//! What the engine takes in, and what it asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::audit::Guarding;
use crate::model::inventory::Inventory;
use crate::model::names::{Name, Uuid, VolumeId};
use crate::model::plan::{Extension, Outcome};
use crate::model::relief::{Relief, Relieved};
use crate::model::tally::{Happening, Wake};
use crate::model::time::Moment;
use crate::model::units::Bytes;
use crate::model::view::View;
use crate::observe::device_mapper::{Found, Look};

use super::note::Note;
use super::watch::Lane;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The kernel's device list, read because of `wake`.
    Listed {
        found: Vec<Found>,
        changed: bool,
        events: Vec<String>,
        wake: Wake,
    },
    /// The device list could not be read.
    ListFailed {
        error: String,
    },
    /// Something was written to these devices; how often that is looked for.
    Stirred {
        devices: Vec<Found>,
        every: Duration,
    },
    Looked {
        lane: Lane,
        looks: Vec<(Found, Result<Look, String>)>,
        /// What each of them cost in processor time.
        cost: Duration,
    },
    Reported {
        result: Result<Inventory, String>,
        /// Whether lvm told everything it knows.
        is_complete: bool,
        faults: Vec<String>,
        took: Duration,
    },
    /// How LVM is set up, and what dmeventd extends by that.
    Guarded(Guarding),
    /// What thin volumes map, of those that map something.
    Measured {
        result: Result<BTreeMap<VolumeId, Bytes>, String>,
        took: Duration,
    },
    Carried(Outcome),
    Relieved(Relieved),
    /// A predecessor's extension is being mended, or has been.
    Mending {
        group: Uuid,
        done: Option<Note>,
    },
    BackedUp {
        group: Name,
        error: Option<String>,
        took: Duration,
    },
    /// The desk wants to run lvm in a group, of which it knows what was there then: once nothing else does.
    Wish {
        group: Uuid,
        number: u64,
        known: Moment,
    },
    /// It has, or wants it no longer.
    Waived {
        group: Uuid,
        name: Name,
        number: u64,
    },
    /// What became of something that a caller asked the desk for.
    Asked(Happening),
    /// Some lvm command, perhaps one of ours, has changed LVM's metadata.
    MetadataChanged,
    /// What the lifeboat carries was renewed, or could not be.
    Lifeboat(Note),
    /// Time passed.
    Tick,
}

/// The group of a wish is the desk's until it waives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub number: u64,
    /// Nothing is known to have changed in it since the desk looked.
    pub is_untouched: bool,
}

/// Something to do.
#[derive(Debug)]
pub enum Order {
    Look {
        lane: Lane,
        devices: Vec<Found>,
    },
    /// Describe every device again: one has another table than before.
    Rescan,
    ReadReport,
    /// Ask the kernel what these thin volumes map.
    Measure(Vec<VolumeId>),
    Extend(Box<Extension>),
    Relieve(Box<Relief>),
    Grant(Grant),
    BackUp(Name),
    Publish(Box<View>),
    Tell(Note),
}
