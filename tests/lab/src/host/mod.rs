//! The host half: what a guest needs (packages, kernel, initramfs), QEMU, and
//! the commands of `cargo lab`. Nothing here runs inside a guest.

pub mod accel;
pub mod alerts;
pub mod bench;
pub mod checks;
pub mod demo;
pub mod exec;
pub mod initramfs;
pub mod kernel;
pub mod machine;
pub mod monitoring;
pub mod packages;
pub mod qemu;
pub mod rounds;
pub mod run_dir;
pub mod schema;
pub mod speed;
pub mod tool;
pub mod vmlinux;
pub mod workspace;

use anyhow::Result;

/// What every guest of this lab run shares.
#[derive(Debug)]
pub struct Host {
    pub kernel: kernel::Kernel,
    pub initramfs: std::path::PathBuf,
    pub accel: accel::Accel,
    pub interrupt: machine::Interrupt,
    pub speed: speed::Speed,
}

impl Host {
    /// Installs what is missing, unpacks the kernel, and chooses the accelerator.
    pub fn prepare() -> Result<Self> {
        let interrupt = machine::Interrupt::listen()?;
        let speed = speed::Speed::measured();
        packages::install_missing()?;
        run_dir::remove_abandoned()?;
        let kernel = kernel::Kernel::cached_or_unpacked()?;
        let initramfs = initramfs::cached_or_built(&kernel)?;
        let accel = accel::choose(&kernel, &initramfs);
        Ok(Self {
            kernel,
            initramfs,
            accel,
            interrupt,
            speed,
        })
    }
}
