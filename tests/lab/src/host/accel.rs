//! Chooses KVM or pure emulation. That /dev/kvm exists proves nothing: on a CPU
//! without the extensions QEMU opens it and hangs, so a probe boot decides.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::kernel::Kernel;
use super::machine::{QEMU, spawn};
use super::qemu::{Machine, PROCESSORS};
use super::run_dir::RunDir;
use crate::wait::wait_for;

/// A KVM guest is in its initramfs in under a second; a hanging one never is.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// The kernel and a small initramfs.
const PROBE_MEMORY_MIB: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    #[must_use]
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // The kernel clears pages by whole words when strings of bytes are not said to be fast. Emulated
            // they are not: a page that once held a program took 0.5 ms to clear.
            Self::Tcg => [
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max,erms=off,fsrm=off",
            ],
        }
    }

    /// An emulated processor has no flaws to be defended from, and clearing pages early is slow there. Its counter is
    /// the host's clock, so that nobody asks an emulated device for the time.
    #[must_use]
    pub const fn kernel_options(self) -> &'static str {
        match self {
            Self::Kvm => "",
            Self::Tcg => "mitigations=off init_on_alloc=0 tsc=reliable",
        }
    }
}

#[must_use]
pub fn choose(kernel: &Kernel, initramfs: &Path) -> Accel {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !has_extensions(&cpu) || !Path::new("/dev/kvm").exists() {
        return Accel::Tcg;
    }
    match probe(kernel, initramfs) {
        Ok(()) => Accel::Kvm,
        Err(error) => {
            println!("lab: no KVM, emulating: {error:#}");
            Accel::Tcg
        }
    }
}

fn has_extensions(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|l| l.starts_with("flags"));
    flags
        .flat_map(str::split_whitespace)
        .any(|f| f == "vmx" || f == "svm")
}

/// Boots the initramfs alone, which says so and powers off.
fn probe(kernel: &Kernel, initramfs: &Path) -> Result<()> {
    let run_dir = RunDir::new()?;
    let machine = Machine {
        accel: Accel::Kvm,
        kernel: &kernel.image,
        initramfs,
        append: "lab_probe=1",
        processors: PROCESSORS,
        memory_mib: PROBE_MEMORY_MIB,
        out: &run_dir.out(),
        disks: &[],
        forward: None,
    };
    let console = run_dir.out().join("console");
    let mut child = spawn(&machine, Stdio::from(fs::File::create(&console)?))?;
    let ended = wait_for("the KVM probe powered off", PROBE_DEADLINE, || {
        child.try_wait().transpose()
    });
    if ended.is_err() {
        child.kill().ok();
        child.wait().with_context(|| format!("ending {QEMU}"))?;
    }
    ended??;
    let text = fs::read(&console).context("reading the probe's console")?;
    let text = String::from_utf8_lossy(&text);
    ensure!(
        text.contains("LAB-PROBE"),
        "the probe did not reach its initramfs"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cpu_flags_tell_of_extensions() {
        assert!(has_extensions("model : x\nflags\t\t: fpu vmx sse\n"));
        assert!(has_extensions("flags : svm\n"));
        assert!(!has_extensions("flags\t\t: fpu sse\nvmx flags\t: vnmi\n"));
    }
}
