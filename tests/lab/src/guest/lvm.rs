//! Volume groups and volumes of a scenario.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use super::sh::{run, sh};
use crate::size::Size;

#[derive(Debug, Clone)]
pub struct Vg {
    name: String,
}

impl Vg {
    pub fn create(name: &str, disks: &[String]) -> Result<Self> {
        Self::create_with(name, disks, "")
    }

    /// With more of vgcreate's options.
    pub fn create_with(name: &str, disks: &[String], options: &str) -> Result<Self> {
        sh(&format!("vgcreate {options} {name} {}", disks.join(" ")))?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `VG/LV`.
    #[must_use]
    pub fn lv(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// `/dev/VG/LV`.
    #[must_use]
    pub fn device(&self, name: &str) -> String {
        format!("/dev/{}/{name}", self.name)
    }

    /// `options` are more words for lvcreate, such as `--errorwhenfull y`; with
    /// that one LVM 2.03.16 refuses `--type thin-pool`, so it is not said.
    pub fn pool(&self, name: &str, data: Size, metadata: Size, options: &str) -> Result<()> {
        let vg = &self.name;
        sh(&format!(
            "lvcreate -y --thinpool {name} -L {data} --poolmetadatasize {metadata} {options} {vg}"
        ))?;
        Ok(())
    }

    /// A thin volume; gives its device.
    pub fn thin(&self, pool: &str, name: &str, size: Size) -> Result<String> {
        sh(&format!(
            "lvcreate -y -V {size} --thinpool {} -n {name}",
            self.lv(pool)
        ))?;
        Ok(self.device(name))
    }

    /// A linear volume; gives its device.
    pub fn thick(&self, name: &str, size: Size) -> Result<String> {
        sh(&format!("lvcreate -y -L {size} -n {name} {}", self.name))?;
        Ok(self.device(name))
    }

    /// A COW snapshot with an exception store of `size`; gives its device.
    pub fn cow_snapshot(&self, origin: &str, name: &str, size: Size) -> Result<String> {
        self.cow_snapshot_with(origin, name, size, "")
    }

    /// With more of lvcreate's options.
    pub fn cow_snapshot_with(
        &self,
        origin: &str,
        name: &str,
        size: Size,
        options: &str,
    ) -> Result<String> {
        sh(&format!(
            "lvcreate -y -s -L {size} -n {name} {options} {}",
            self.lv(origin)
        ))?;
        Ok(self.device(name))
    }

    pub fn free_bytes(&self) -> Result<u64> {
        let vg = &self.name;
        bytes(&sh(&format!(
            "vgs --noheadings --units b --nosuffix -o vg_free {vg}"
        ))?)
    }

    /// Leaves `free` unallocated and gives the rest to a volume named `filler`.
    pub fn leave_free(&self, free: Size) -> Result<()> {
        let filler = self.free_bytes()?.saturating_sub(free.as_bytes());
        sh(&format!("lvcreate -y -L {filler}b -n filler {}", self.name))?;
        Ok(())
    }

    /// Deactivates and removes it with all its volumes.
    pub fn remove(self) -> Result<()> {
        let vg = &self.name;
        sh(&format!("vgchange -an {vg} && vgremove -ff {vg}"))?;
        Ok(())
    }
}

/// Holds the group's lock, as a command of LVM's that changes something, until it is dropped.
pub fn lock_group(vg: &str) -> Result<File> {
    let path = format!("/run/lock/lvm/V_{vg}");
    loop {
        let lock = File::create(&path).with_context(|| format!("opening {path}"))?;
        lock.lock().with_context(|| format!("locking {path}"))?;
        // Whoever of LVM's held it last may have removed the file.
        let held = lock.metadata()?.ino();
        if fs::metadata(&path).is_ok_and(|file| file.ino() == held) {
            return Ok(lock);
        }
    }
}

/// The size of `VG/LV` in bytes, as LVM's metadata has it.
pub fn lv_size(lv: &str) -> Result<u64> {
    bytes(&lvs_field(lv, "lv_size")?)
}

/// One field of `lvs` for `VG/LV`, sizes in bytes; hidden volumes too.
pub fn lvs_field(lv: &str, field: &str) -> Result<String> {
    let options = ["-a", "--noheadings", "--units", "b", "--nosuffix"];
    let output = run("lvs", &[options.as_slice(), &["-o", field, lv]].concat())?;
    ensure!(output.success(), "lvs -o {field} {lv}: {output}");
    Ok(output.stdout.trim().to_owned())
}

fn bytes(text: &str) -> Result<u64> {
    text.parse()
        .with_context(|| format!("a size in bytes: {text:?}"))
}
