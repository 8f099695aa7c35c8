//! Gives `act` the eyes of `observe`: the present state of one store, and the devices of one group.

use crate::act::{Eyes, Sight};
use crate::model::inventory::{CowStatus, Layer, PoolStatus};
use crate::model::names::{Resource, Target, Uuid};
use crate::model::units::{Bytes, THIN_METADATA_BLOCK};
use crate::observe::device_mapper::{
    DeviceMapper, DeviceMapperError, DeviceStatus, Found, Watched,
};

/// Reads the kernel through its own control node.
#[derive(Debug)]
pub struct KernelEyes {
    kernel: DeviceMapper,
}

impl KernelEyes {
    #[must_use]
    pub const fn new(kernel: DeviceMapper) -> Self {
        Self { kernel }
    }

    fn read(&self, target: &Target) -> Result<Sight, DeviceMapperError> {
        let watched = match target.resource {
            Resource::Data | Resource::Metadata => Watched::ThinPool,
            Resource::Cow => Watched::Snapshot,
        };
        let found = Found {
            name: target.volume.lv.as_str().to_owned(),
            volume: target.volume.clone(),
            target: watched,
        };
        let look = self.kernel.look(&found)?;
        let (total, sound) = match &look.status {
            DeviceStatus::Pool(PoolStatus::Working(usage)) => {
                let total = if target.resource == Resource::Metadata {
                    THIN_METADATA_BLOCK.saturating_mul(usage.metadata_total_blocks)
                } else {
                    // The size of its chunks stands in its table, not in its status.
                    let chunk = self.kernel.thin_pool_chunk(&found)?;
                    Bytes(usage.data_total_blocks).saturating_mul(chunk.0)
                };
                (total, !usage.needs_check)
            }
            DeviceStatus::Cow(CowStatus::Valid(usage)) => (usage.total.bytes(), true),
            DeviceStatus::Pool(PoolStatus::Failed)
            | DeviceStatus::Cow(
                CowStatus::Merging(_)
                | CowStatus::Invalid
                | CowStatus::MergeFailed
                | CowStatus::Overflow
                | CowStatus::Unknown,
            ) => (Bytes::ZERO, false),
        };
        Ok(Sight {
            total,
            suspended: look.suspended,
            sound,
        })
    }
}

impl Eyes for KernelEyes {
    fn sight(&self, target: &Target) -> Result<Option<Sight>, String> {
        match self.read(target) {
            Ok(sight) => Ok(Some(sight)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(crate::model::cause::chain(&error)),
        }
    }

    fn layers(&self, group: &Uuid) -> Result<Vec<Layer>, String> {
        let all = self
            .kernel
            .layers()
            .map_err(|error| crate::model::cause::chain(&error))?;
        Ok(all
            .into_iter()
            .filter(|layer| layer.volume.vg == *group)
            .collect())
    }
}
