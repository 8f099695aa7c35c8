//! What the desk decides from: LVM's metadata as it is now, and what the guard has last seen of the kernel.
//!
//! The desk asks the kernel only what returns at once. A pool whose storage hangs would keep its thread for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::act::snapshot::Registry;
use crate::model::cause::chain;
use crate::model::inventory::Inventory;
use crate::model::names::Name;
use crate::model::policy::Collectors;
use crate::model::view::View;
use crate::model::volume::{Volume, VolumeKind};
use crate::observe::device_mapper::DeviceMapper;
use crate::observe::lvm;

/// All of it, read together.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) inventory: Inventory,
    pub(super) volumes: Vec<Volume>,
}

/// Reads LVM's metadata, with lvm from where the guard lives.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) lvm: PathBuf,
}

impl Reader {
    /// `known` is what the guard knows of the kernel.
    pub(super) fn see(&self, known: Option<&Arc<View>>) -> Result<Seen, String> {
        let (mut inventory, volumes) = read(&self.lvm)?;
        if let Some(view) = known {
            for pool in &mut inventory.pools {
                let seen = view.inventory.pools.iter().find(|seen| seen.id == pool.id);
                if let Some(seen) = seen {
                    pool.kernel = seen.kernel.clone();
                }
            }
            for cow in &mut inventory.snapshots {
                let seen = view
                    .inventory
                    .snapshots
                    .iter()
                    .find(|seen| seen.id == cow.id);
                if let Some(seen) = seen {
                    cow.kernel = seen.kernel.clone();
                }
            }
        }
        Ok(Seen { inventory, volumes })
    }
}

impl Registry for Reader {
    fn volumes(&self, group: &Name) -> Result<Vec<Volume>, String> {
        let (_, mut volumes) = read(&self.lvm)?;
        volumes.retain(|volume| volume.name.vg == *group);
        Ok(volumes)
    }
}

fn read(lvm: &Path) -> Result<(Inventory, Vec<Volume>), String> {
    let reported = lvm::report(lvm, Collectors::default()).map_err(|error| chain(&error))?;
    let kernel = DeviceMapper::open().map_err(|error| chain(&error))?;
    let mut volumes = reported.volumes;
    for volume in &mut volumes {
        // Of a pool nobody opens a device of that name.
        if volume.kind != VolumeKind::ThinPool {
            volume.opened = kernel.opened(&volume.id);
        }
    }
    Ok((reported.inventory, volumes))
}
