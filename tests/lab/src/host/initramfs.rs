//! The first root of the guest: busybox, the modules that reach the shared
//! root, and `initramfs.sh`. Made once per kernel and script.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use super::{tool, workspace};

const SCRIPT: &str = include_str!("initramfs.sh");

/// What reaches the shared root, then what LVM needs; dependencies follow by
/// themselves. LVM or a scenario asks modprobe for anything else.
const MODULES: [&str; 11] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "crc32c_generic",
    "9pnet_virtio",
    "9p",
    "overlay",
    "dm-mod",
    "dm-thin-pool",
    "dm-snapshot",
    "loop",
];

/// busybox's names in the script.
const APPLETS: [&str; 10] = [
    "sh",
    "chmod",
    "cp",
    "hostname",
    "insmod",
    "ip",
    "mkdir",
    "mount",
    "rm",
    "switch_root",
];

pub fn cached_or_built(kernel: &Kernel) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (SCRIPT, MODULES, APPLETS).hash(&mut hasher);
    let key = hasher.finish();
    let name = format!("initramfs-{}-{key:016x}.gz", kernel.version);
    let file = workspace::made("")?.join(name);
    if !file.exists() {
        let work = file.with_extension(format!("new-{}", std::process::id()));
        let built = build(kernel, &work, &file);
        fs::remove_dir_all(&work).ok();
        built.context("making the initramfs")?;
    }
    Ok(file)
}

fn build(kernel: &Kernel, work: &Path, file: &Path) -> Result<()> {
    let tree = work.join("tree");
    fs::create_dir_all(tree.join("bin"))?;
    fs::create_dir_all(tree.join("modules"))?;
    fs::copy(busybox()?, tree.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", tree.join("bin").join(applet))?;
    }
    copy_modules(kernel, &tree.join("modules"))?;
    let init = tree.join("init");
    fs::write(&init, SCRIPT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let packed = work.join("packed.gz");
    pack(&tree, &packed)?;
    // Renamed into place whole: a parallel lab never boots half of it.
    fs::rename(&packed, file)?;
    Ok(())
}

fn busybox() -> Result<&'static str> {
    let places = ["/bin/busybox", "/usr/bin/busybox"];
    let found = places.into_iter().find(|p| Path::new(p).exists());
    found.context("busybox-static is installed but has no /bin/busybox")
}

/// Numbers the files, so that the script loads them by their sorted names.
fn copy_modules(kernel: &Kernel, dir: &Path) -> Result<()> {
    let mut seen = BTreeSet::new();
    for module in MODULES {
        for file in kernel.module_files(module)? {
            let name = file.file_name().context("a module file")?.to_string_lossy();
            let plain = name
                .trim_end_matches(".xz")
                .trim_end_matches(".zst")
                .to_owned();
            if seen.insert(plain.clone()) {
                let place = dir.join(format!("{:02}-{plain}", seen.len()));
                fs::write(place, uncompressed(&file)?)?;
            }
        }
    }
    if seen.is_empty() {
        bail!(
            "kernel {} has none of {MODULES:?} as modules",
            kernel.version
        );
    }
    Ok(())
}

/// busybox's insmod reads plain modules only.
fn uncompressed(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some(_) | None => {
            return fs::read(file).with_context(|| format!("reading {}", file.display()));
        }
    };
    let output = tool::command(program).arg("-dc").arg(file).output();
    Ok(output
        .with_context(|| format!("starting {program}"))?
        .stdout)
}

fn pack(tree: &Path, file: &Path) -> Result<()> {
    let script = "find . | cpio --quiet -o -H newc | gzip -1";
    let mut command = tool::command("sh");
    command.args(["-ec", script]).current_dir(tree);
    command.stdout(Stdio::from(fs::File::create(file)?));
    tool::run(&mut command)
}
