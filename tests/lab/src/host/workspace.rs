//! Where things are in the checkout. No other place builds these paths.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the checkout the lab was built from.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2);
    root.unwrap_or(package).to_owned()
}

/// Everything the lab keeps; removed with `target`.
#[must_use]
pub fn lab_dir() -> PathBuf {
    root().join("target/lab")
}

/// A folder below [`lab_dir`], made when missing.
pub fn made(name: &str) -> Result<PathBuf> {
    let dir = lab_dir().join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

/// The binary cargo builds: beside the lab's own.
pub fn cowherd_binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("asking for the lab's own path")?;
    Ok(own.with_file_name("cowherd"))
}

/// The release build, where cargo puts it unless told otherwise.
#[must_use]
pub fn cowherd_release() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release/cowherd")
}
