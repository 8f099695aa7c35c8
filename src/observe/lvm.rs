//! Reads LVM's metadata: one `lvm fullreport` for all volume groups.
//!
//! The report runs with `--readonly`: it takes no lock and asks device-mapper nothing, so it neither
//! waits behind a held VG lock nor delays an extension, and a sick pool cannot hang it; a physical volume
//! that hangs still can. Usage and state come from the kernel instead.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{self, AtDeadline, CommandError};
use crate::model::inventory::Inventory;
use crate::model::policy::Collectors;
use crate::model::volume::Volume;

use super::lvm_report::{self, FIELDS, ReportError};

/// Where distributions put lvm. Never looked up in PATH.
const PROGRAMS: [&str; 2] = ["/usr/sbin/lvm", "/sbin/lvm"];

/// 1 000 volumes take two seconds in an emulated guest; beyond this lvm hangs.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    #[error("find lvm: neither {} nor {} exists; install the package lvm2", PROGRAMS[0], PROGRAMS[1])]
    Missing,
    #[error("run lvm fullreport")]
    Run { source: CommandError },
    #[error("lvm fullreport: {complaint}")]
    Refused { complaint: String },
    #[error("read the output of lvm fullreport")]
    Output { source: ReportError },
}

/// What a report brought.
#[derive(Debug)]
pub struct Reported {
    /// With every device still inactive: the kernel's part is filled in from looks.
    pub inventory: Inventory,
    /// Every volume that has a name of its own, whether it is watched or not.
    pub volumes: Vec<Volume>,
    pub took: Duration,
    /// False when lvm could not read every group, or something that it told could not be read.
    pub is_complete: bool,
    /// What was missing or unreadable, one text each.
    pub faults: Vec<String>,
}

/// The absolute path of lvm on this host.
///
/// # Errors
/// When there is none.
pub fn program() -> Result<PathBuf, LvmError> {
    PROGRAMS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or(LvmError::Missing)
}

/// # Errors
/// When lvm fails or prints something that is no report.
pub fn report(lvm: &Path, collectors: Collectors) -> Result<Reported, LvmError> {
    let finished = command::run(lvm, &arguments(), DEADLINE, AtDeadline::Kill)
        .map_err(|source| LvmError::Run { source })?;
    // A missing physical volume of one group is no reason to see nothing of the others.
    if !finished.status.success() && finished.stdout.is_empty() {
        return Err(LvmError::Refused {
            complaint: finished.complaint(),
        });
    }
    let mut parsed =
        lvm_report::parse(&finished.stdout).map_err(|source| LvmError::Output { source })?;
    let mut faults = parsed.faults;
    if !finished.status.success() {
        faults.push(finished.complaint());
    }
    if !collectors.thin_volumes {
        parsed.inventory.thin_volumes = Vec::new();
    }
    let is_complete = faults.is_empty();
    Ok(Reported {
        inventory: parsed.inventory,
        volumes: parsed.volumes,
        took: finished.took,
        is_complete,
        faults,
    })
}

fn arguments() -> Vec<String> {
    let fixed = [
        "fullreport",
        // Hidden volumes too: the spare of the pool metadata is one.
        "--all",
        "--readonly",
        "--reportformat",
        "json",
        "--units",
        "b",
        "--nosuffix",
        "--config",
        r#"report { time_format="%s" } devices { hints="none" }"#,
    ];
    let sections = FIELDS
        .iter()
        .flat_map(|(section, fields)| ["--configreport", section, "-o", fields]);
    fixed
        .into_iter()
        .chain(sections)
        .map(str::to_owned)
        .collect()
}
