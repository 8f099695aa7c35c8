//! `cowherd manifest`: what a lifeboat made now would carry, asked on the host's root.

use rustix::process::chroot;

use crate::guard::Manifest;

use super::{Failure, ManifestArguments, print};

pub(super) fn run(arguments: &ManifestArguments) -> Result<(), Failure> {
    chroot(&arguments.root)
        .map_err(std::io::Error::from)
        .and_then(|()| std::env::set_current_dir("/"))
        .map_err(Failure::other)?;
    let manifest = Manifest::take_again().map_err(Failure::other)?;
    print(&serde_json::to_string(&manifest).map_err(Failure::other)?)
}
