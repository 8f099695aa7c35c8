//! What helps a volume group that has no room left.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{Name, Uuid};
use super::units::Bytes;

/// A physical volume that belongs to no group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpareDisk {
    pub uuid: Uuid,
    /// LVM `pv_name`.
    pub device: String,
    pub size: Bytes,
}

/// One standby disk for one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relief {
    pub group: Name,
    pub group_uuid: Uuid,
    pub disk: SpareDisk,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relieved {
    pub relief: Relief,
    pub took: Duration,
    pub error: Option<String>,
}

impl fmt::Display for Relief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpareDisk { uuid, device, size } = &self.disk;
        write!(
            f,
            "add the standby disk {device} ({size}, {}) to {}",
            uuid.lvm_form(),
            self.group
        )
    }
}
