//! The published snapshot: everything the front may show, complete in itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::history::Record;
use super::inventory::Inventory;
use super::names::{Name, Resource, Target, VolumeName};
use super::plan::Plan;
use super::policy::Policy;
use super::tally::Tally;
use super::time::{Now, UnixSeconds};
use super::units::Bytes;

/// One immutable picture of the guard, made after a look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// When it was made.
    pub at: Now,
    /// When the guard started.
    pub started: UnixSeconds,
    pub policy: Policy,
    pub inventory: Inventory,
    /// One for each store of the inventory, in its order.
    pub stores: Vec<StoreView>,
    pub plan: Plan,
    pub reserves: Vec<(Name, Bytes)>,
    pub tally: Tally,
    /// The last few things that happened, newest last.
    pub events: Vec<Arc<Event>>,
    pub build: Build,
}

/// What is known of one store beyond the inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreView {
    pub target: Target,
    pub name: VolumeName,
    pub record: Record,
    /// What the guard may still add under its policy and with the group's free space; zero as
    /// soon as less than one step fits.
    pub growable: Bytes,
    /// Slow average; negative while it drains.
    pub fill_bytes_per_second: f64,
    /// Largest size that LVM and the kernel can use.
    pub useful_max: Bytes,
    /// Whether the policy lets the guard extend it.
    pub enabled: bool,
    /// Where it is extended: the policy's threshold, or LVM's lower one for small pool metadata.
    pub threshold_percent: u64,
}

/// Something worth a line on the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Now,
    pub volume: Option<VolumeName>,
    pub resource: Option<Resource>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    pub version: String,
    pub revision: String,
}
