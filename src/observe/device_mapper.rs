//! Asks the kernel: which devices there are, how full they are, and when something happened.
//!
//! Status is always read without flush: with it, the status of a thin pool commits the pool's
//! metadata, which is slow and can block on sick storage. Events follow the kernel's protocol: arm,
//! list and compare event numbers, look, then poll the control descriptor; in that order none is lost.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use devicemapper::{
    DM, DevId, DeviceInfo, DmError, DmFlags, DmName, DmNameBuf, DmOptions, DmUuidBuf, errors,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::model::inventory::{CowStatus, Layer, PoolStatus};
use crate::model::names::VolumeId;
use crate::model::units::{Bytes, Sectors};

use super::dm_status::{self, StatusError};

/// The suffixes of a thin volume's uuid: none, or this one while it has snapshots of the classic kind.
const THIN_LAYERS: [&str; 2] = ["", "real"];

/// `DM_DEV_ARM_POLL` and event numbers in the device list came with this ioctl version (Linux 4.13).
const VERSION_MIN: (u32, u32, u32) = (4, 37, 0);

#[derive(Debug, thiserror::Error)]
pub enum DeviceMapperError {
    #[error(
        "open /dev/mapper/control: device-mapper is not available; load the module dm_mod and run as root"
    )]
    Open { source: DmError },
    #[error("device-mapper ioctl version is {}.{}.{}, need 4.37.0 (Linux 4.13)", found.0, found.1, found.2)]
    TooOld { found: (u32, u32, u32) },
    #[error("{action} {device}")]
    Ioctl {
        action: &'static str,
        device: String,
        source: io::Error,
    },
    #[error("{device} has {found} targets, expected 1")]
    Targets { device: String, found: usize },
    #[error("{target} {device}")]
    Status {
        target: &'static str,
        device: String,
        source: StatusError,
    },
    #[error("{device} became a {found} target")]
    Retyped { device: String, found: String },
    #[error("wait for device-mapper events")]
    Poll { source: rustix::io::Errno },
}

impl DeviceMapperError {
    /// Whether the kernel has no such device.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Ioctl { source, .. } if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()))
    }
}

/// Where the kernel has a folder for each device that no hardware stands behind, as for each of ours.
pub(super) const VIRTUAL_DISKS: &str = "/sys/devices/virtual/block";

/// The folder with all of them, kept open.
#[derive(Debug)]
pub struct VirtualDisks {
    folder: Option<File>,
}

impl VirtualDisks {
    #[must_use]
    pub fn open() -> Self {
        Self {
            folder: File::open(VIRTUAL_DISKS).ok(),
        }
    }

    /// A number that differs as soon as there are more or fewer devices than before, for the price of an
    /// `fstat`: sysfs counts the folders in a folder's links (kernfs, `kernfs_refresh_inode`). Nothing
    /// where sysfs cannot be read.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let folder = self.folder.as_ref()?.metadata().ok()?;
        Some(folder.nlink())
    }
}

/// An open control node. Each thread opens its own.
pub struct DeviceMapper {
    dm: DM,
}

/// One line of the kernel's device list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub name: String,
    pub device: (u32, u32),
    pub event: u32,
}

/// The targets that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    ThinPool,
    Snapshot,
    /// On the origin's device, while a snapshot merges into it.
    SnapshotMerge,
}

/// A device worth watching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub volume: VolumeId,
    pub target: Watched,
}

/// What a device turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// It is being made: LVM loads its first table a moment after the device.
    WithoutTable,
    Other,
    Watched(Found),
}

/// What one look at a device saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub suspended: bool,
    pub status: DeviceStatus,
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceStatus {
    Pool(PoolStatus),
    Cow(CowStatus),
}

impl Watched {
    /// The value of the `target` label and the kernel's name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ThinPool => "thin-pool",
            Self::Snapshot => "snapshot",
            Self::SnapshotMerge => "snapshot-merge",
        }
    }

    fn of_target(target: &str) -> Option<Self> {
        [Self::ThinPool, Self::Snapshot, Self::SnapshotMerge]
            .into_iter()
            .find(|watched| watched.label() == target)
    }

    /// The suffix that LVM gives the uuid of a device with this target.
    #[must_use]
    pub const fn layer(self) -> &'static str {
        match self {
            Self::ThinPool => "tpool",
            Self::Snapshot | Self::SnapshotMerge => "",
        }
    }
}

impl std::fmt::Debug for DeviceMapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceMapper")
    }
}

impl DeviceMapper {
    /// # Errors
    /// When the control node cannot be opened or the kernel is too old.
    pub fn open() -> Result<Self, DeviceMapperError> {
        let dm = DM::new().map_err(|source| DeviceMapperError::Open { source })?;
        let found = dm
            .version()
            .map_err(|source| DeviceMapperError::Open { source })?;
        if found < VERSION_MIN {
            return Err(DeviceMapperError::TooOld { found });
        }
        Ok(Self { dm })
    }

    /// # Errors
    /// When the ioctl fails.
    pub fn list(&self) -> Result<Vec<Listed>, DeviceMapperError> {
        let devices = self.dm.list_devices().map_err(failed("list", "devices"))?;
        let mut listed: Vec<Listed> = devices
            .into_iter()
            .map(|(name, device, event)| Listed {
                name: name.to_string(),
                device: (device.major, device.minor),
                event: event.unwrap_or_default(),
            })
            .collect();
        listed.sort();
        Ok(listed)
    }

    /// What a device is, when it is one to watch. Reads its table, not its status: that returns even
    /// while the storage below hangs.
    ///
    /// # Errors
    /// When the ioctl fails, as it does for a device that has just been removed.
    pub fn describe(&self, name: &str) -> Result<Described, DeviceMapperError> {
        let owned = DmNameBuf::new(name.to_owned()).map_err(failed("name", name))?;
        let (device, targets) = self
            .table_status(&DevId::Name(&owned), DmFlags::DM_STATUS_TABLE)
            .map_err(failed("read table of", name))?;
        let [(_, _, target, _)] = targets.as_slice() else {
            let is_empty = targets.is_empty();
            return Ok(if is_empty {
                Described::WithoutTable
            } else {
                Described::Other
            });
        };
        let watched = Watched::of_target(target).and_then(|target| {
            let (volume, layer) = volume_of(&device)?;
            let name = name.to_owned();
            (layer == target.layer()).then_some(Found {
                name,
                volume,
                target,
            })
        });
        Ok(watched.map_or(Described::Other, Described::Watched))
    }

    /// The device, when it is one to watch and can be described now.
    #[must_use]
    pub fn watched(&self, name: &str) -> Option<Found> {
        match self.describe(name) {
            Ok(Described::Watched(found)) => Some(found),
            Ok(Described::WithoutTable | Described::Other) | Err(_) => None,
        }
    }

    /// Reads the status of a device that was found before.
    ///
    /// # Errors
    /// When it is gone, has another target by now, or cannot be parsed.
    pub fn look(&self, found: &Found) -> Result<Look, DeviceMapperError> {
        let started = Instant::now();
        let name = || found.name.clone();
        // By uuid: a volume that was renamed is still the same, one that was made anew is not.
        let uuid = DmUuidBuf::new(found.volume.dm_uuid(found.target.layer()))
            .map_err(failed("name", &found.name))?;
        let (device, targets) = self
            .table_status(&DevId::Uuid(&uuid), DmFlags::DM_NOFLUSH)
            .map_err(failed("read status of", &found.name))?;
        let took = started.elapsed();
        let [(_, _, target, line)] = targets.as_slice() else {
            return Err(DeviceMapperError::Targets {
                device: name(),
                found: targets.len(),
            });
        };
        if target != found.target.label() {
            return Err(DeviceMapperError::Retyped {
                device: name(),
                found: target.clone(),
            });
        }
        let status = parse(found.target, line).map_err(|source| DeviceMapperError::Status {
            target: found.target.label(),
            device: name(),
            source,
        })?;
        let suspended = device.flags().contains(DmFlags::DM_SUSPEND);
        Ok(Look {
            suspended,
            status,
            took,
        })
    }

    /// The chunk size of a thin pool, from its table.
    ///
    /// # Errors
    /// When the table cannot be read or has no chunk size.
    pub fn thin_pool_chunk(&self, found: &Found) -> Result<Bytes, DeviceMapperError> {
        let uuid = DmUuidBuf::new(found.volume.dm_uuid(found.target.layer()))
            .map_err(failed("name", &found.name))?;
        let (_, targets) = self
            .table_status(&DevId::Uuid(&uuid), DmFlags::DM_STATUS_TABLE)
            .map_err(failed("read table of", &found.name))?;
        let line = targets
            .first()
            .map(|(_, _, _, line)| line.as_str())
            .unwrap_or_default();
        let sectors =
            dm_status::thin_pool_chunk(line).map_err(|source| DeviceMapperError::Status {
                target: "thin-pool",
                device: found.name.clone(),
                source,
            })?;
        Ok(sectors.bytes())
    }

    /// What a thin volume maps; nothing when it is not active or the kernel does not tell.
    ///
    /// # Errors
    /// When its status cannot be parsed.
    pub fn thin_mapped(&self, volume: &VolumeId) -> Result<Option<Bytes>, DeviceMapperError> {
        for layer in THIN_LAYERS {
            let uuid = volume.dm_uuid(layer);
            let id = DmUuidBuf::new(uuid.clone()).map_err(failed("name", &uuid))?;
            let Ok((_, targets)) = self.table_status(&DevId::Uuid(&id), DmFlags::DM_NOFLUSH) else {
                continue;
            };
            if let [(_, _, target, line)] = targets.as_slice()
                && target == "thin"
            {
                let mapped = dm_status::thin(line).map_err(|source| DeviceMapperError::Status {
                    target: "thin",
                    device: uuid,
                    source,
                })?;
                return Ok(mapped.map(Sectors::bytes));
            }
        }
        Ok(None)
    }

    /// How often the device that people use of a volume is open; nothing when it has none.
    #[must_use]
    pub fn opened(&self, volume: &VolumeId) -> Option<u32> {
        let uuid = DmUuidBuf::new(volume.dm_uuid("")).ok()?;
        let device = self.dm.device_info(&DevId::Uuid(&uuid)).ok()?;
        u32::try_from(device.open_count()).ok()
    }

    /// Whether a classic snapshot is being merged into this volume.
    #[must_use]
    pub fn merges(&self, origin: &VolumeId) -> bool {
        let Ok(uuid) = DmUuidBuf::new(origin.dm_uuid("")) else {
            return false;
        };
        let table = self.table_status(&DevId::Uuid(&uuid), DmFlags::DM_STATUS_TABLE);
        table.is_ok_and(|(_, targets)| {
            let merge = Watched::SnapshotMerge.label();
            targets.iter().any(|(_, _, target, _)| target == merge)
        })
    }

    /// Every layer of every LVM volume. Uses only ioctls that return while storage hangs.
    ///
    /// # Errors
    /// When the device list cannot be read; a device that vanishes meanwhile is left out.
    pub fn layers(&self) -> Result<Vec<Layer>, DeviceMapperError> {
        let described = self.list()?.into_iter().filter_map(|listed| {
            let name = DmName::new(&listed.name).ok()?;
            let device = self.dm.device_info(&DevId::Name(name)).ok()?;
            let (volume, layer) = volume_of(&device)?;
            Some(Layer {
                name: listed.name,
                volume,
                layer,
                suspended: device.flags().contains(DmFlags::DM_SUSPEND),
                inactive_table: device.flags().contains(DmFlags::DM_INACTIVE_PRESENT),
            })
        });
        Ok(described.collect())
    }

    /// Asks the kernel to make the control node readable at the next event.
    ///
    /// # Errors
    /// When the ioctl fails.
    pub fn arm(&self) -> Result<(), DeviceMapperError> {
        self.dm
            .arm_poll()
            .map(drop)
            .map_err(failed("arm", "events"))
    }

    /// Waits for the next event after `arm`; false when `limit` passed without one.
    ///
    /// # Errors
    /// When poll fails.
    pub fn wait(&self, limit: Duration) -> Result<bool, DeviceMapperError> {
        let control: &File = self.dm.file();
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&limit)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(source) => Err(DeviceMapperError::Poll { source }),
        }
    }

    #[expect(clippy::type_complexity, reason = "the crate's own shape of a table")]
    fn table_status(
        &self,
        device: &DevId<'_>,
        flags: DmFlags,
    ) -> Result<(DeviceInfo, Vec<(u64, u64, String, String)>), DmError> {
        self.dm
            .table_status(device, DmOptions::default().set_flags(flags))
    }
}

/// The volume and layer that a device belongs to, when it is LVM's.
fn volume_of(device: &DeviceInfo) -> Option<(VolumeId, String)> {
    let uuid = device.uuid()?.to_string();
    VolumeId::from_dm_uuid(&uuid).map(|(volume, layer)| (volume, layer.to_owned()))
}

fn parse(target: Watched, line: &str) -> Result<DeviceStatus, StatusError> {
    match target {
        Watched::ThinPool => dm_status::thin_pool(line).map(DeviceStatus::Pool),
        Watched::Snapshot => dm_status::snapshot(line, false).map(DeviceStatus::Cow),
        Watched::SnapshotMerge => dm_status::snapshot(line, true).map(DeviceStatus::Cow),
    }
}

fn failed(action: &'static str, device: &str) -> impl FnOnce(DmError) -> DeviceMapperError {
    let device = device.to_owned();
    move |source| DeviceMapperError::Ioctl {
        action,
        device,
        source: if let DmError::Core(errors::Error::Ioctl(_, _, _, errno)) = source {
            // The crate's own text is the whole header of the request.
            (*errno).into()
        } else {
            io::Error::other(source)
        },
    }
}
