//! Runs the administrator's own programs: in the mount namespace in which the guard was started, without a shell,
//! and only such as nobody but root can change.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::command::{self, AtDeadline};
use crate::model::cause::chain;
use crate::model::names::Name;
use crate::model::relief::HookCall;

/// Who may write besides the owner.
const OTHERS_WRITE: u32 = 0o022;

/// Runs a hook in the mount namespace `host`, where it is another one, and waits for its end. The calling thread
/// stays there: it must be one made for this.
///
/// # Errors
/// A text for people when it cannot be run, or fails.
pub(super) fn run(
    host: Option<&Path>,
    call: &HookCall,
    group: &Name,
    deadline: Duration,
) -> Result<(), String> {
    let enter = |host| enter(host).map_err(|error| format!("go to the host: {error}"));
    host.map(enter).transpose()?;
    let program = trusted(Path::new(&call.hook.program))?;
    let pools: Vec<&str> = call.pools.iter().map(Name::as_str).collect();
    let pools = pools.join(" ");
    let named = [("COWHERD_VG", group.as_str()), ("COWHERD_POOLS", &pools)];
    let arguments = &call.hook.arguments;
    let finished = command::run_with(
        &named,
        &program,
        arguments,
        deadline,
        AtDeadline::TermAndWait,
    )
    .map_err(|error| chain(&error))?;
    if finished.overdue {
        Err(format!("did not end within {} s", deadline.as_secs()))
    } else if finished.status.success() {
        Ok(())
    } else {
        Err(finished.complaint())
    }
}

/// Out of the lifeboat, for good: the calling thread must be one made for this.
///
/// # Errors
/// When the host's mounts cannot be reached.
pub fn enter(host: &Path) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its unsafe successor guards against unsharing descriptors, which these are not"
    )]
    rustix::thread::unshare(UnshareFlags::FS)?;
    let host = File::open(host)?;
    let kind = Some(LinkNameSpaceType::Mount);
    Ok(move_into_link_name_space(host.as_fd(), kind)?)
}

/// The program itself, if it and all directories above it are root's alone.
pub(super) fn trusted(program: &Path) -> Result<PathBuf, String> {
    let shown = program.display();
    let real = fs::canonicalize(program).map_err(|error| format!("find {shown}: {error}"))?;
    for path in real.ancestors() {
        let shown = path.display();
        let meta = fs::metadata(path).map_err(|error| format!("look at {shown}: {error}"))?;
        if meta.uid() != 0 || meta.mode() & OTHERS_WRITE != 0 {
            let owner = meta.uid();
            let mode = meta.mode() & 0o7777;
            return Err(format!(
                "{shown} belongs to user {owner} and has mode {mode:04o}, expected root's and writable by root alone: \
                 chown root and chmod go-w"
            ));
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_root_alone_can_change_is_trusted() {
        assert!(trusted(Path::new("/bin/true")).is_ok());
        let error = trusted(Path::new("/nowhere/hook")).unwrap_err();
        assert!(error.starts_with("find /nowhere/hook: "), "{error}");
        let directory = std::env::temp_dir().join(format!("cowherd-hook-{}", std::process::id()));
        fs::create_dir(&directory).expect("a new directory");
        let hook = directory.join("hook");
        fs::write(&hook, "").expect("a new file");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o775)).expect("ours");
        let error = trusted(&hook).unwrap_err();
        fs::remove_dir_all(&directory).expect("ours");
        // The file, or whoever owns it where the tests do not run as root.
        assert!(error.contains("chown root and chmod go-w"), "{error}");
    }
}
