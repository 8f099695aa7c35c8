//! The guest's kernel: the distribution's package, unpacked into the checkout's
//! cache and never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{tool, vmlinux, workspace};

/// The packages that depend on the newest kernel: Debian's, then Ubuntu's.
const META_PACKAGES: [&str; 2] = ["linux-image-amd64", "linux-image-generic"];

#[derive(Debug, Clone)]
pub struct Kernel {
    pub version: String,
    /// What QEMU boots.
    pub image: PathBuf,
    root: PathBuf,
}

impl Kernel {
    /// The cached kernel, or the newest the package lists know.
    pub fn cached_or_unpacked() -> Result<Self> {
        let cache = workspace::made("")?.join("kernel");
        if !cache.exists() {
            unpack_into(&cache)?;
        }
        let version = only_entry(&cache.join("lib/modules"))?;
        let packed = cache.join("boot").join(format!("vmlinuz-{version}"));
        ensure!(packed.exists(), "no {}", packed.display());
        Ok(Self {
            image: bare_or(packed),
            version,
            root: cache,
        })
    }

    /// The folder that stands in for the guest's `/lib/modules`.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules")
    }

    /// The files to load for `module`, in order; none when it is built in or
    /// this kernel has no such module.
    pub fn module_files(&self, module: &str) -> Result<Vec<PathBuf>> {
        let mut query = tool::command("modprobe");
        query.arg("-d").arg(&self.root);
        query.args(["-S", &self.version, "--show-depends", module]);
        let output = query.output().context("starting modprobe")?;
        Ok(insmod_files(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// The kernel without its unpacker, made once; the packed one serves as well.
fn bare_or(packed: PathBuf) -> PathBuf {
    let bare = packed.with_file_name("vmlinux");
    if !bare.exists()
        && let Err(error) = vmlinux::extract(&packed, &bare)
    {
        println!("lab: guests unpack their kernel themselves: {error:#}");
        return packed;
    }
    bare
}

fn insmod_files(listing: &str) -> Vec<PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.strip_prefix("insmod "))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(PathBuf::from)
        .collect()
}

/// Works beside the cache and renames at the end, so that an interrupted or a
/// parallel run never leaves half a kernel.
fn unpack_into(cache: &Path) -> Result<()> {
    let work = cache.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let unpacked = download_and_unpack(&work).and_then(|()| {
        let renamed = fs::rename(&work, cache);
        // Another lab was faster: its kernel serves as well.
        if renamed.is_err() && cache.exists() {
            fs::remove_dir_all(&work)?;
            return Ok(());
        }
        renamed.context("renaming the unpacked kernel into place")
    });
    if unpacked.is_err() {
        fs::remove_dir_all(&work).ok();
    }
    unpacked
}

fn download_and_unpack(work: &Path) -> Result<()> {
    let packages = packages()?;
    println!(
        "lab: downloading the guest's kernel: {}",
        packages.join(" ")
    );
    let mut download = tool::command("apt-get");
    download.args(["--quiet", "download"]).args(&packages);
    tool::output(download.current_dir(work))?;
    for entry in fs::read_dir(work)? {
        let archive = entry?.path();
        tool::run(tool::command("dpkg").arg("-x").arg(&archive).arg(work))?;
        fs::remove_file(&archive)?;
    }
    // Debian 13 has merged /lib into /usr/lib in the packages too.
    if !work.join("lib/modules").exists() {
        fs::create_dir_all(work.join("lib"))?;
        fs::rename(work.join("usr/lib/modules"), work.join("lib/modules"))
            .context("the kernel package has no lib/modules")?;
    }
    let version = only_entry(&work.join("lib/modules"))?;
    tool::run(tool::command("depmod").arg("-b").arg(work).arg(version))
}

/// The image and, where they are apart (Ubuntu), its modules.
fn packages() -> Result<Vec<String>> {
    for meta in META_PACKAGES {
        let Ok(listing) = tool::output(tool::command("apt-cache").args(["depends", meta])) else {
            continue;
        };
        let mut found = kernel_packages(&listing);
        if let Some(image) = found.first().cloned() {
            let listing = tool::output(tool::command("apt-cache").args(["depends", &image]))?;
            found.extend(kernel_packages(&listing));
            found.dedup();
            return Ok(found);
        }
    }
    bail!("apt-cache knows no kernel (looked for {META_PACKAGES:?}); run apt-get update")
}

/// The versioned image and module packages among what `apt-cache depends` says.
fn kernel_packages(listing: &str) -> Vec<String> {
    let versioned = |name: &str| {
        ["linux-image-", "linux-modules-", "linux-modules-extra-"]
            .iter()
            .filter_map(|prefix| name.strip_prefix(prefix))
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| versioned(name))
        .map(str::to_owned)
        .collect()
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut names = fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        names.len() == 1,
        "{} holds {names:?}, not one kernel",
        dir.display()
    );
    names.pop().context("one entry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_package_is_the_versioned_dependency() {
        let debian = "linux-image-amd64\n  Depends: linux-image-6.1.0-40-amd64\n";
        assert_eq!(kernel_packages(debian), ["linux-image-6.1.0-40-amd64"]);
    }

    #[test]
    fn ubuntu_keeps_modules_apart() {
        let meta = "linux-image-generic\n  Depends: linux-image-6.8.0-31-generic\n  \
                    Depends: linux-modules-extra-6.8.0-31-generic\n  Depends: linux-firmware\n";
        assert_eq!(
            kernel_packages(meta),
            [
                "linux-image-6.8.0-31-generic",
                "linux-modules-extra-6.8.0-31-generic"
            ]
        );
    }

    #[test]
    fn built_in_modules_have_no_file() {
        let listing =
            "builtin virtio\ninsmod /x/virtio_ring.ko \ninsmod /x/virtio_pci.ko.xz opt=1\n";
        assert_eq!(
            insmod_files(listing),
            [
                PathBuf::from("/x/virtio_ring.ko"),
                PathBuf::from("/x/virtio_pci.ko.xz")
            ]
        );
    }
}
