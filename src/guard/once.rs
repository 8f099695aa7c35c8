//! One look without a guard: for the commands that show what is and what would be done.

use std::path::Path;
use std::time::Duration;

use crate::decide::audit;
use crate::model::audit::{Finding, Guarding};
use crate::model::cause::chain;
use crate::model::policy::{Collectors, Policy};
use crate::model::tally::Wake;
use crate::model::view::{Build, View};
use crate::observe::device_mapper::{DeviceMapper, DeviceMapperError, Found};
use crate::observe::guarding;
use crate::observe::lvm::{self, LvmError};

use super::claim;
use super::clock;
use super::engine::Engine;
use super::message::Input;
use super::watch::Lane;

#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    #[error(transparent)]
    DeviceMapper(#[from] DeviceMapperError),
    #[error(transparent)]
    Lvm(#[from] LvmError),
}

/// What is wrong with this host, as far as running full goes. `runtime` is where a guard would keep its lock.
///
/// # Errors
/// When the kernel or LVM cannot be read.
pub fn audit_once(
    policy: Policy,
    build: Build,
    runtime: &Path,
) -> Result<(View, Vec<Finding>), OnceError> {
    let view = look_once(policy, build)?;
    let lvm = lvm::program()?;
    let dmeventd_runs = guarding::dmeventd_runs();
    let guarding = Guarding {
        settings: guarding::settings(&lvm),
        dmeventd_runs,
        cowherd_runs: claim::is_running(runtime),
        monitored: if dmeventd_runs {
            guarding::monitored(&lvm)
        } else {
            Guarding::default().monitored
        },
    };
    let findings = audit::findings(&view.policy, &view.inventory, &view.plan, &guarding);
    Ok((view, findings))
}

/// Sees everything once and decides about it. Nothing is carried out, and without a history nothing
/// is known of fill rates.
///
/// # Errors
/// When the kernel or LVM cannot be read.
pub fn look_once(policy: Policy, build: Build) -> Result<View, OnceError> {
    let kernel = DeviceMapper::open()?;
    let found: Vec<Found> = kernel
        .list()?
        .iter()
        .filter_map(|listed| kernel.watched(&listed.name))
        .collect();
    let reported = lvm::report(&lvm::program()?, Collectors::default())?;
    let looks = found
        .iter()
        .map(|found| {
            (
                found.clone(),
                kernel.look(found).map_err(|error| chain(&error)),
            )
        })
        .collect();
    let mut engine = Engine::new(policy, build, clock::now());
    let listed = Input::Listed {
        found,
        changed: true,
        events: Vec::new(),
        wake: Wake::Manual,
    };
    // The report comes last: before it there is no volume to decide about.
    let inputs = [
        listed,
        Input::Looked {
            lane: Lane::Once,
            looks,
            cost: Duration::ZERO,
        },
        Input::Reported {
            result: Ok(reported.inventory),
            is_complete: reported.is_complete,
            faults: reported.faults,
            took: reported.took,
        },
    ];
    for input in inputs {
        // Orders are for a shell that carries them out.
        drop(engine.handle(input, clock::now()));
    }
    Ok(engine.view(clock::now()))
}
