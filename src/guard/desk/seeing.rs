//! What the desk decides from: LVM's metadata as it is now, and what the guard has last seen of the kernel.
//!
//! The desk asks the kernel only what returns at once. A pool whose storage hangs would keep its thread for ever.

use std::path::PathBuf;
use std::sync::Arc;

use crate::act::snapshot::Registry;
use crate::model::cause::chain;
use crate::model::inventory::Inventory;
use crate::model::names::Name;
use crate::model::policy::Collectors;
use crate::model::time::Moment;
use crate::model::view::View;
use crate::model::volume::{Volume, VolumeKind};
use crate::observe::device_mapper::DeviceMapper;
use crate::observe::lvm;

use super::super::clock;

/// All of it, read together.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) inventory: Inventory,
    pub(super) volumes: Vec<Volume>,
    /// When LVM was asked.
    pub(super) asked: Moment,
}

/// Reads LVM's metadata, with lvm from where the guard lives.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) lvm: PathBuf,
}

impl Reader {
    /// `known` is what the guard knows of the kernel.
    pub(super) fn see(&self, known: Option<&Arc<View>>) -> Result<Seen, String> {
        let asked = clock::moment();
        let reported =
            lvm::report(&self.lvm, Collectors::default()).map_err(|error| chain(&error))?;
        let mut seen = Seen {
            inventory: reported.inventory,
            volumes: reported.volumes,
            asked,
        };
        seen.look_again(known)?;
        Ok(seen)
    }
}

impl Seen {
    /// A group that LVM does not tell of has not lost its volumes: its disks may not be there yet, or not any more.
    pub(super) fn tells_of(&self, group: &Name) -> Result<(), String> {
        if self.inventory.groups.iter().any(|told| told.name == *group) {
            return Ok(());
        }
        Err(format!("LVM does not tell of volume group {group}"))
    }

    /// What the kernel says by now; what LVM said stays.
    pub(super) fn look_again(&mut self, known: Option<&Arc<View>>) -> Result<(), String> {
        let kernel = DeviceMapper::open().map_err(|error| chain(&error))?;
        for volume in &mut self.volumes {
            // Of a pool nobody opens a device of that name.
            if volume.kind != VolumeKind::ThinPool {
                volume.opened = kernel.opened(&volume.id);
            }
        }
        let Some(view) = known else {
            return Ok(());
        };
        for pool in &mut self.inventory.pools {
            let seen = view.inventory.pools.iter().find(|seen| seen.id == pool.id);
            if let Some(seen) = seen {
                pool.kernel = seen.kernel.clone();
            }
        }
        for cow in &mut self.inventory.snapshots {
            let seen = view
                .inventory
                .snapshots
                .iter()
                .find(|seen| seen.id == cow.id);
            if let Some(seen) = seen {
                cow.kernel = seen.kernel.clone();
            }
        }
        Ok(())
    }
}

impl Registry for Reader {
    fn volumes(&self, group: &Name) -> Result<Vec<Volume>, String> {
        let seen = self.see(None)?;
        seen.tells_of(group)?;
        let mut volumes = seen.volumes;
        volumes.retain(|volume| volume.name.vg == *group);
        Ok(volumes)
    }
}
