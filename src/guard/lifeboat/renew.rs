//! Keeps the lifeboat as the host is: after an upgrade of lvm, or a change of its settings, what was copied
//! is copied again.
//!
//! On a thread of its own that nobody waits for: it looks at files of the host, where it may hang for as
//! long as the host's root does.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;

use crate::command::{self, AtDeadline};
use crate::guard::message::Input;
use crate::guard::note::{Level, Note};
use crate::guard::workers::{self, Inputs, WORKER_STACK};
use crate::model::cause::chain;

use super::{HOST, Manifest, try_out};

/// A new physical volume may have to be in LVM's devices file before the next extension can use it.
const COMPARE_EVERY: Duration = Duration::from_secs(15);
/// A renewal that failed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// As nice as can be.
const PATIENT: i32 = 19;
/// The loader and lvm, started afresh.
const DEADLINE: Duration = Duration::from_secs(60);

/// Compares for ever, and renews what has changed once it has stopped changing.
pub(in crate::guard) fn renew_for_ever(mut manifest: Manifest, inputs: Inputs) -> io::Result<()> {
    workers::spawn("lifeboat", WORKER_STACK, move || {
        // For this thread and what it starts: nobody waits for them, and an extension may want the processor.
        // Where that is refused they only run sooner.
        let _ = setpriority_process(None, PATIENT);
        let mut before = manifest.stamps();
        loop {
            thread::sleep(COMPARE_EVERY);
            let now = manifest.stamps_now(Path::new(HOST));
            let is_settled = now == before;
            before = now;
            // In the middle of an upgrade old and new files would be mixed.
            if !is_settled || before == manifest.stamps() {
                continue;
            }
            let note = match renew() {
                Ok(fresh) => {
                    manifest = fresh;
                    before = manifest.stamps();
                    Note::new(Level::Info, Note::RENEWED, manifest.size().to_string())
                }
                Err(why) => Note::new(Level::Error, Note::NOT_RENEWED, why),
            };
            let has_failed = note.level != Level::Info;
            if inputs.send(Input::Lifeboat(note)).is_err() {
                return;
            }
            if has_failed {
                thread::sleep(RETRY_AFTER);
            }
        }
    })
}

/// Another process asks on the host's root: this one has left it for good.
fn renew() -> Result<Manifest, String> {
    let program = Path::new("/proc/self/exe");
    let arguments = ["manifest", "--root", HOST].map(str::to_owned);
    let finished = command::run(program, &arguments, DEADLINE, AtDeadline::Kill)
        .map_err(|error| chain(&error))?;
    if !finished.status.success() {
        return Err(finished.complaint());
    }
    let fresh: Manifest = serde_json::from_slice(&finished.stdout).map_err(|e| e.to_string())?;
    fresh
        .stow(Path::new(HOST), Path::new("/"))
        .map_err(|error| chain(&error))?;
    try_out(fresh.lvm(), "version").map_err(|error| chain(&error))?;
    Ok(fresh)
}
