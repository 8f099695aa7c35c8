//! cowherd's own life: start, readiness, front, stop.

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::cowherd::Cowherd;
use crate::guest::{DEADLINE, Lab};
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "cowherd_guards_an_empty_host_and_stops_cleanly",
    "ready without any volume group, a front that comes back, exit 0 on SIGTERM",
    guards_nothing,
)];

fn guards_nothing(_lab: &mut Lab) -> Result<()> {
    let mut cowherd = Cowherd::ready(None, &[])?;
    ensure!(cowherd.get("/-/healthy")?.status == 200);
    ensure!(cowherd.get("/")?.status == 200);
    cowherd.metrics()?;
    let front = cowherd.front_pid()?;
    crate::guest::sh::signal(front, "KILL")?;
    wait_until("another front answers", DEADLINE, || {
        cowherd.front_pid().is_ok_and(|pid| pid != front) && cowherd.metrics().is_ok()
    })?;
    ensure!(cowherd.is_running()?, "the guard went with its front");
    cowherd.stop()?;
    Ok(())
}
