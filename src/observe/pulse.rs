//! Whether anything has been written to what lies below a device: the cheapest sign that it may fill.
//!
//! The kernel counts finished writes of every device in sysfs. Reading a count neither takes a lock nor waits
//! for storage, and costs a small part of a status request. How full a device is only its status tells.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Of `stat`: reads, reads merged, sectors read, time reading, then the writes that finished
/// (Documentation/block/stat.rst).
const WRITES: usize = 4;
/// What of a pool or a snapshot is written to when it fills: whatever fills a pool's metadata writes data too,
/// and a new snapshot is a new device.
const FILLING: [&str; 2] = ["-tdata", "-cow"];
/// Seventeen numbers of at most 20 digits.
const STAT_MAX: usize = 512;

/// The counts below one device, kept open.
#[derive(Debug)]
pub struct Pulse {
    counts: Vec<File>,
}

impl Pulse {
    /// Of a device by its number.
    ///
    /// # Errors
    /// When sysfs does not have what lies below it.
    pub fn open((major, minor): (u32, u32)) -> io::Result<Self> {
        let below = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/slaves"));
        let below: io::Result<Vec<PathBuf>> = fs::read_dir(below)?
            .map(|entry| Ok(entry?.path()))
            .collect();
        let below = below?;
        let fills = |device: &&PathBuf| {
            let uuid = fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
            FILLING.iter().any(|layer| uuid.trim_end().ends_with(layer))
        };
        // Where LVM has put something else in between, all that lies below counts.
        let filling: Vec<&PathBuf> = below.iter().filter(fills).collect();
        let counted = if filling.is_empty() {
            below.iter().collect()
        } else {
            filling
        };
        let counts: io::Result<Vec<File>> = counted
            .iter()
            .map(|device| File::open(device.join("stat")))
            .collect();
        let counts = counts?;
        if counts.is_empty() {
            return Err(io::Error::other("nothing lies below the device"));
        }
        Ok(Self { counts })
    }

    /// A number that is another one when something has been written.
    ///
    /// # Errors
    /// When a device below is gone, as after an extension that swapped it.
    pub fn read(&self) -> io::Result<u64> {
        self.counts.iter().try_fold(0, |sum: u64, count| {
            let mut text = [0; STAT_MAX];
            let length = count.read_at(&mut text, 0)?;
            let writes = text.get(..length).and_then(writes);
            let writes = writes.ok_or_else(|| io::Error::other("not the counts of a device"))?;
            Ok(sum.wrapping_add(writes))
        })
    }
}

fn writes(stat: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(stat).ok()?;
    text.split_ascii_whitespace().nth(WRITES)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn the_fifth_number_counts_writes() {
        let stat =
            b"     446        0    15106      352     1289        0    69362      901        0\n";
        assert_eq!(writes(stat), Some(1289));
        assert_eq!(writes(b"1 2 3 4"), None);
        assert_eq!(writes(b"1 2 3 4 many"), None);
    }

    proptest! {
        #[test]
        fn any_counts_are_read_and_no_bytes_panic(counts in prop::collection::vec(any::<u64>(), 0..17), noise in prop::collection::vec(any::<u8>(), 0..STAT_MAX)) {
            let words: Vec<String> = counts.iter().map(|count| format!("{count:>8}")).collect();
            assert_eq!(writes(words.join(" ").as_bytes()), counts.get(WRITES).copied());
            let _ = writes(&noise);
        }
    }
}
