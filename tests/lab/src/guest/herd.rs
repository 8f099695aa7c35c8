//! Hundreds of volumes within a minute. LVM takes half a second for each in an
//! emulated guest, so it makes one; that one is multiplied in LVM's metadata and
//! in the pool's, and LVM activates the lot.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::lvm::Vg;
use super::sh::{run_for, scratch_file, sh};
use crate::size::Size;

/// Activating a thousand volumes takes half of this.
const COMMAND: Duration = Duration::from_secs(120);
/// The one that is multiplied.
const FIRST: &str = "vm-1-disk-0";
/// A whole bitmap of the pool's space map: 16320 chunks. `thin_restore` counts in
/// the last bitmap only the chunks that the pool has, and the kernel leaves that
/// count alone when the pool grows (`sm_ll_extend`): of a pool of 1 GiB it never
/// handed out the next 16256 chunks, and ran out of space with 46 % free.
const POOL: Size = Size::mib(1020);
/// Enough for a thousand volumes that hold nothing and one that is written.
const POOL_METADATA: Size = Size::mib(32);
/// LVM's default for a pool of this size, in sectors and for `POOL`.
const CHUNK_SECTORS: u64 = 128;
const CHUNKS: u64 = POOL.as_bytes() / 512 / CHUNK_SECTORS;
const _: () = assert!(CHUNKS.is_multiple_of(16_320), "a bitmap is left open");
/// The pool has seen this many volumes made: `busy` and the first.
const TRANSACTION: u32 = 2;

/// What is made: in a pool `pool` the thin volumes `vm-N-disk-0`, and one more,
/// `busy`, to write to; of an origin `origin` the COW snapshots `snap-N`.
#[derive(Debug, Clone, Copy)]
pub struct Herd {
    pub volumes: u32,
    pub snapshots: u32,
    /// Of `busy`.
    pub busy: Size,
}

impl Herd {
    pub fn make(self, vg: &Vg) -> Result<()> {
        self.make_first(vg)?;
        let name = vg.name();
        let devices = scratch_file("devices");
        fs::write(&devices, self.pool_metadata())?;
        lvm(&format!(
            "thin_restore -q -i {devices} -o /dev/{name}/restored && vgchange -q -an {name} && \
             lvconvert -q -y --thinpool {name}/pool --poolmetadata {name}/restored && \
             lvremove -q -y {name}/restored"
        ))?;
        let (one, many) = (scratch_file("one"), scratch_file("many"));
        sh(&format!("vgcfgbackup -q -f {one} {name}"))?;
        let text = fs::read_to_string(&one).context("reading LVM's metadata")?;
        fs::write(&many, multiplied(&text, self.volumes)?)?;
        lvm(&format!(
            "vgcfgrestore -q --force -f {many} {name} && vgchange -q -ay {name}"
        ))?;
        let made = sh(&format!("dmsetup ls | grep -c '^{name}-vm--'"))?;
        ensure!(
            made == self.volumes.to_string(),
            "{made} volumes are active"
        );
        Ok(())
    }

    /// All but the many, by one shell of LVM's: each program of it takes a tenth
    /// of a second to start.
    fn make_first(self, vg: &Vg) -> Result<()> {
        let name = vg.name();
        let mut lines = format!(
            "lvcreate -y --thinpool pool -L {POOL} --poolmetadatasize {POOL_METADATA} \
             --chunksize {CHUNK_SECTORS}s {name}\n\
             lvcreate -y -V {} --thinpool {name}/pool -n busy\n\
             lvcreate -y -V 16M --thinpool {name}/pool -n {FIRST}\n\
             lvcreate -y -L {POOL_METADATA} -n restored {name}\n\
             lvcreate -y -L 64M -n origin {name}\n",
            self.busy
        );
        for number in 1..=self.snapshots {
            writeln!(lines, "lvcreate -y -s -L 8M -n snap-{number} {name}/origin")?;
        }
        let file = scratch_file("lines");
        fs::write(&file, lines)?;
        lvm(&format!("lvm < {file}"))
    }

    /// For `thin_restore`: devices that hold nothing, numbered as LVM does.
    fn pool_metadata(self) -> String {
        let mut text = format!(
            "<superblock uuid=\"\" time=\"0\" transaction=\"{TRANSACTION}\" \
             data_block_size=\"{CHUNK_SECTORS}\" nr_data_blocks=\"{CHUNKS}\">\n"
        );
        let device = |number: u32| {
            format!(
                "<device dev_id=\"{number}\" mapped_blocks=\"0\" transaction=\"0\" \
                 creation_time=\"0\" snap_time=\"0\"></device>\n"
            )
        };
        text.extend((1..=self.volumes + 1).map(device));
        text + "</superblock>\n"
    }
}

/// LVM's metadata with the first volume `count` times: other names, ids and
/// device numbers. `busy` has device 1, the first 2.
fn multiplied(text: &str, count: u32) -> Result<String> {
    let head = format!("\t\t{FIRST} {{\n");
    let start = text.find(&head).context("no first volume")?;
    let length = text[start..].find("\n\t\t}\n").context("no end of it")? + "\n\t\t}\n".len();
    let first = &text[start..start + length];
    let id = first.lines().find(|line| line.trim().starts_with("id = "));
    let id = id.context("no id")?;
    ensure!(first.contains("device_id = 2\n"), "not device 2: {first}");
    let mut many = String::new();
    for number in 2..=count {
        // LVM's ids are letters and digits in groups.
        let new_id = format!("\t\t\tid = \"{number:06}-herd-herd-herd-herd-herd-herd00\"");
        many += &first
            .replace(FIRST, &format!("vm-{number}-disk-0"))
            .replace(id, &new_id)
            .replace("device_id = 2\n", &format!("device_id = {}\n", number + 1));
    }
    let (before, after) = text.split_at(start + length);
    Ok(format!("{before}{many}{after}"))
}

fn lvm(script: &str) -> Result<()> {
    println!("+ {script}");
    let output = run_for(COMMAND, "bash", &["-c", script])?;
    ensure!(output.success(), "{script}: {output}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vg0 {\n\t\tvm-1-disk-0 {\n\t\t\tid = \"abc\"\n\t\t\tsegment1 {\n\
                        \t\t\t\tdevice_id = 2\n\t\t\t}\n\t\t}\n\t\tlast {\n\t\t}\n}\n";

    #[test]
    fn the_first_volume_is_multiplied_in_its_place() {
        let many = multiplied(TEXT, 3).unwrap();
        for part in [
            "vm-1-disk-0",
            "\"abc\"",
            "device_id = 2",
            "vm-3-disk-0",
            "device_id = 4",
        ] {
            assert_eq!(many.matches(part).count(), 1, "{part}: {many}");
        }
        assert!(many.contains("id = \"000003-herd-herd-herd-herd-herd-herd00\""));
        assert!(many.ends_with("\t\tlast {\n\t\t}\n}\n"));
        assert_eq!(multiplied(TEXT, 1).unwrap(), TEXT);
        assert!(multiplied("vg0 {\n}\n", 3).is_err());
    }
}
