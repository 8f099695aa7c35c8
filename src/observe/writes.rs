//! How much has been written to LVM's volumes, as the kernel counts it in sysfs.
//!
//! Reading a count neither takes a lock nor waits for storage. Of a volume with snapshots it is what is written to the
//! volume itself: what the kernel copies because of that is written to other devices.

use std::fs;
use std::io;
use std::path::Path;

use crate::model::names::VolumeId;
use crate::model::units::Sectors;
use crate::model::writes::Written;

use super::device_mapper::VIRTUAL_DISKS;

/// Of `stat`: reads, reads merged, sectors read, time reading, writes, writes merged, then the sectors of 512 bytes that
/// were written (Documentation/block/stat.rst).
const SECTORS_WRITTEN: usize = 6;

/// Of every volume that is active, but not of what LVM hides below volumes. A device that goes away meanwhile is left
/// out.
///
/// # Errors
/// When sysfs cannot be listed.
pub fn read() -> io::Result<Vec<Written>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(VIRTUAL_DISKS)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"dm-") {
            all.extend(of_device(&entry.path()));
        }
    }
    Ok(all)
}

fn of_device(folder: &Path) -> Option<Written> {
    let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let uuid = text("dm/uuid")?;
    let (volume, layer) = VolumeId::from_dm_uuid(uuid.trim_end())?;
    if !layer.is_empty() {
        return None;
    }
    Some(Written {
        volume,
        device: device(&text("dev")?)?,
        total: sectors_written(&text("stat")?)?.bytes(),
    })
}

/// `253:3`
fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim_end().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn sectors_written(stat: &str) -> Option<Sectors> {
    let field = stat.split_ascii_whitespace().nth(SECTORS_WRITTEN)?;
    field.parse().ok().map(Sectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_written_are_the_seventh_number() {
        let stat = "      20        0      160        8       75        3     4096       12        0       20       20\n";
        assert_eq!(sectors_written(stat), Some(Sectors(4096)));
        assert_eq!(sectors_written("1 2 3"), None);
        assert_eq!(sectors_written("1 2 3 4 5 6 -7 8"), None);
    }

    #[test]
    fn a_device_is_two_numbers() {
        assert_eq!(device("253:3\n"), Some((253, 3)));
        assert_eq!(device("253"), None);
    }
}
