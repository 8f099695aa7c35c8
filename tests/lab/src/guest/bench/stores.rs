//! The stores of the benchmark: made, filled, looked at, removed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{disks, guards};
use crate::guest::dm::dm_status;
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::sh::sh;
use crate::samples::{Guard, Store};
use crate::size::Size;

/// Of what the writer writes, the store's size is this share.
pub const TIMES_ITS_SIZE: u64 = 4;
/// More than the pool of 512 MiB asks for at four times its size.
const POOL_METADATA: Size = Size::mib(16);
/// What an origin has beyond what is written to it.
const SPARE_MIB: u64 = 64;

/// A store in the volume group `vg0`, and what to write to so that it fills.
#[derive(Debug)]
pub struct Made {
    pub store: Store,
    /// `VG/LV` of what is extended.
    pub lv: String,
    /// The device whose status tells how full it is.
    pub device: &'static str,
    /// What the writer writes to.
    pub target: String,
}

pub fn make_vg() -> Result<Vg> {
    Vg::create("vg0", &disks())
}

pub fn make(vg: &Vg, store: Store) -> Result<Made> {
    let size = Size::mib(store.mib());
    let written = Size::mib(TIMES_ITS_SIZE * store.mib());
    if store.is_cow() {
        let origin = Size::mib(written.as_mib() + SPARE_MIB);
        let target = vg.thick("origin", origin)?;
        let chunks = match store {
            Store::Cow64Coarse => "-c 512k",
            Store::Cow64 | Store::Cow256 | Store::PoolQueues | Store::PoolFails => "",
        };
        vg.cow_snapshot_with("origin", "snap", size, chunks)?;
        return Ok(Made {
            store,
            lv: vg.lv("snap"),
            device: "vg0-snap",
            target,
        });
    }
    let when_full = match store {
        Store::PoolFails => "--errorwhenfull y",
        Store::PoolQueues | Store::Cow64 | Store::Cow64Coarse | Store::Cow256 => "",
    };
    vg.pool("pool", size, POOL_METADATA, when_full)?;
    let target = vg.thin("pool", "thin", written)?;
    Ok(Made {
        store,
        lv: vg.lv("pool"),
        device: "vg0-pool-tpool",
        target,
    })
}

/// Removes every volume of the group.
pub fn remove_all(vg: &Vg) -> Result<()> {
    // Else LVM would start dmeventd again, to tell it that they go.
    guards::configure(Guard::Cowherd)?;
    let name = vg.name();
    sh(&format!(
        "vgchange -q -an {name} && lvremove -q -ff -y {name}"
    ))
    .map(drop)
}

impl Made {
    /// Why it counts as lost by what its status tells, if it does.
    pub fn lost(&self) -> Result<Option<String>> {
        let status = dm_status(self.device)?;
        let is_lost = if self.store.is_cow() {
            status.contains("Invalid")
        } else {
            !status.contains(" rw ")
        };
        Ok(is_lost.then_some(status))
    }

    pub fn size_mib(&self) -> Result<u64> {
        Ok(lv_size(&self.lv)? >> 20)
    }

    /// The share in use, in percent.
    pub fn percent_used(&self) -> Result<f64> {
        let status = dm_status(self.device)?;
        percent_used(&status).with_context(|| format!("{}: {status}", self.device))
    }

    /// The devices of it, as the kernel shows them below `/sys`.
    pub fn devices(&self) -> Result<Devices> {
        let (sized, others) = if self.store.is_cow() {
            ("vg0-snap-cow", ["vg0-snap", "vg0-origin"])
        } else {
            (self.device, ["vg0-pool", "vg0-thin"])
        };
        Devices::find(sized, &others)
    }
}

/// Data of a pool is its second pair of numbers, of a snapshot the only one.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of blocks or sectors of the lab is far below 2^52"
)]
fn percent_used(status: &str) -> Option<f64> {
    let mut words = status.split_whitespace();
    let pair = words.rfind(|word| word.contains('/'))?;
    let (used, total) = pair.split_once('/')?;
    let (used, total): (u64, u64) = (used.parse().ok()?, total.parse().ok()?);
    Some(100.0 * used as f64 / total as f64)
}

/// Devices watched by reading `/sys`: that takes a fraction of a millisecond, and
/// neither starts a program nor takes a lock of LVM's or device-mapper's.
#[derive(Debug)]
pub struct Devices {
    /// Its size is the total that the store's status shows.
    sized: PathBuf,
    others: Vec<PathBuf>,
}

impl Devices {
    /// By their names: the one that grows, and those that are suspended with it.
    pub fn find(sized: &str, others: &[&str]) -> Result<Self> {
        let others = others.iter().map(|name| folder(name));
        Ok(Self {
            sized: folder(sized)?,
            others: others.collect::<Result<_>>()?,
        })
    }

    pub fn sectors(&self) -> Result<u64> {
        let text = fs::read_to_string(self.sized.join("size")).context("reading a size")?;
        text.trim().parse().context("a size in sectors")
    }

    /// Larger than it was, and nothing of it suspended: writes go on.
    pub fn is_larger_than(&self, sectors: u64) -> Result<bool> {
        if self.sectors()? <= sectors {
            return Ok(false);
        }
        let mut all = std::iter::once(&self.sized).chain(&self.others);
        Ok(all.all(|device| {
            fs::read_to_string(device.join("dm/suspended")).is_ok_and(|text| text.trim() == "0")
        }))
    }
}

fn folder(name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir("/sys/block").context("reading /sys/block")? {
        let path = entry.context("reading /sys/block")?.path();
        if name_of(&path).is_some_and(|found| found.trim() == name) {
            return Ok(path);
        }
    }
    anyhow::bail!("no device {name} below /sys/block")
}

fn name_of(device: &Path) -> Option<String> {
    fs::read_to_string(device.join("dm/name")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_both_kinds_of_status() {
        let used = |status| percent_used(status).map(f64::round);
        assert_eq!(used("0 131072 snapshot 65536/131072 272"), Some(50.0));
        let pool = "0 1048576 thin-pool 1 20/4096 819/8192 - rw no_discard_passdown \
                    queue_if_no_space - 1024";
        assert_eq!(used(pool), Some(10.0));
        assert_eq!(used("0 131072 snapshot Invalid"), None);
    }
}
