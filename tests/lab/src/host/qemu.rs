//! QEMU's command line. Pure: what to boot in, arguments out.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::accel::Accel;
use super::tool::text;

/// As many as the lab machines have at least, and enough that a writer and a
/// guard do not take turns.
pub const PROCESSORS: u8 = 2;
/// The first PCI slot no default device of QEMU's `pc` machine uses, with room
/// for the two shared folders and the network card below.
const FIRST_DISK_SLOT: usize = 0x10;
/// PCI functions per slot: eight disks in each keep every slot in reach.
const FUNCTIONS_PER_SLOT: usize = 8;
/// The slots 0x10 to 0x1f.
pub const DISKS_MAX: usize = 16 * FUNCTIONS_PER_SLOT;

/// From 127.0.0.1 of the host into the guest.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    pub host_port: u16,
    pub guest_port: u16,
}

#[derive(Debug)]
pub struct Machine<'a> {
    pub accel: Accel,
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    /// More words for the kernel's command line.
    pub append: &'a str,
    pub processors: u8,
    pub memory_mib: u64,
    pub out: &'a Path,
    pub disks: &'a [PathBuf],
    pub forward: Option<Forward>,
}

impl Machine<'_> {
    pub fn arguments(&self) -> Result<Vec<String>> {
        let mut words: Vec<String> = self.accel.arguments().map(str::to_owned).into();
        let mut push = |option: &str, value: String| {
            words.push(option.to_owned());
            words.push(value);
        };
        push("-smp", self.processors.to_string());
        push("-m", format!("{}M", self.memory_mib));
        push("-kernel", text(self.kernel)?.to_owned());
        push("-initrd", text(self.initramfs)?.to_owned());
        push("-append", self.command_line());
        push(
            "-virtfs",
            format!(
                "{},readonly=on,multidevs=remap",
                shared("root", Path::new("/"))?
            ),
        );
        push("-virtfs", shared("out", self.out)?);
        push("-nic", self.network());
        for (number, disk) in self.disks.iter().enumerate() {
            push(
                "-drive",
                format!(
                    "id=d{number},file={},format=raw,if=none,cache=unsafe",
                    value(disk)?
                ),
            );
            push("-device", disk_device(number));
        }
        words.extend(
            [
                "-display",
                "none",
                "-serial",
                "stdio",
                "-monitor",
                "none",
                "-no-reboot",
            ]
            .map(str::to_owned),
        );
        Ok(words)
    }

    fn command_line(&self) -> String {
        let (spared, append) = (self.accel.kernel_options(), self.append);
        format!("console=ttyS0 quiet panic=-1 net.ifnames=0 {spared} {append}")
    }

    /// `restrict` keeps the guest off every network but the forwarded port.
    fn network(&self) -> String {
        let card = "user,model=virtio-net-pci,restrict=on";
        let forward = self
            .forward
            .map(|f| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", f.host_port, f.guest_port));
        format!("{card}{}", forward.unwrap_or_default())
    }
}

fn disk_device(number: usize) -> String {
    let slot = FIRST_DISK_SLOT + number / FUNCTIONS_PER_SLOT;
    let function = number % FUNCTIONS_PER_SLOT;
    format!("virtio-blk-pci,drive=d{number},addr={slot:#x}.{function:#x},multifunction=on")
}

fn shared(tag: &str, path: &Path) -> Result<String> {
    Ok(format!(
        "local,path={},mount_tag={tag},security_model=none",
        value(path)?
    ))
}

/// In a QEMU option list a comma is written twice.
fn value(path: &Path) -> Result<String> {
    Ok(text(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_disks_take_two_slots() {
        assert!(disk_device(7).contains("addr=0x10.0x7,"));
        assert!(disk_device(8).contains("addr=0x11.0x0,"));
        assert!(disk_device(DISKS_MAX - 1).contains("addr=0x1f.0x7,"));
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        assert_eq!(value(Path::new("/a,b")).unwrap(), "/a,,b");
    }

    #[test]
    fn a_port_is_forwarded_from_loopback_only() {
        let machine = Machine {
            accel: Accel::Tcg,
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            append: "",
            processors: PROCESSORS,
            memory_mib: 512,
            out: Path::new("/o"),
            disks: &[PathBuf::from("/d0")],
            forward: Some(Forward {
                host_port: 8080,
                guest_port: 10845,
            }),
        };
        let words = machine.arguments().unwrap().join(" ");
        assert!(
            words.contains("restrict=on,hostfwd=tcp:127.0.0.1:8080-:10845"),
            "{words}"
        );
        assert!(words.contains("-m 512M"), "{words}");
    }
}
