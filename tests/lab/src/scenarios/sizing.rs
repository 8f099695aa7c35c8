//! Stores whose size is left to the guard, and what it counts of those who ask.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::sh::Output;
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "a_store_of_auto_holds_what_is_written_while_the_snapshot_lives",
    "a writer of 2 MiB/s: a tenth of the origin until it has been measured, then rate times life; and it is counted",
    sized_by_rate,
)
.deadline(Duration::from_secs(360))];

const CONFIG: &str = r#"
[api]
actions = ["create"]
"#;
const ORIGIN: Size = Size::gib(1);
const RATE: Rate = Rate::MibPerSec(2);
const LIFE_SECS: u32 = 200;
/// The guard reads the kernel's counts once a minute.
const MEASURED: Duration = Duration::from_secs(180);

fn create(more: &[&str]) -> Result<Output> {
    let life = format!("--ttl={LIFE_SECS}s");
    cowherd(&[&["snapshot", "create", "vg0/thick", &life], more].concat())
}

fn planned() -> Result<String> {
    let output = create(&["--size=auto", "--dry-run"])?;
    ensure!(output.success(), "{output}");
    Ok(output.stdout)
}

fn mib(size: Size) -> Result<f64> {
    let mib = u32::try_from(size.as_mib()).context("less than 4 PiB")?;
    Ok(f64::from(mib))
}

fn sized_by_rate(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let device = vg.thick("thick", ORIGIN)?;
    let writer = Writer::start(&device, RATE, ORIGIN)?;
    let cowherd = Cowherd::ready(Some(CONFIG), &[])?;
    let first = planned()?;
    ensure!(
        first.contains("has not been measured yet"),
        "at first: {first}"
    );
    wait_until("the origin's rate is measured", MEASURED, || {
        planned().is_ok_and(|told| told.contains(" a second"))
    })?;
    let writer = writer
        .kill(DEADLINE)?
        .context("the writer has written nothing")?;

    let refused = create(&["--size=1TiB"])?;
    ensure!(!refused.success(), "{refused}");
    let made = create(&["--name=sized", "--size=auto"])?;
    ensure!(made.success(), "{made}");
    let size = Size::mib(lv_size("vg0/sized")? >> 20);
    let rate = mib(writer.written)? / writer.took.as_secs_f64();
    let expected = rate * f64::from(LIFE_SECS);
    let factor = mib(size)? / expected;
    println!("+ {size} for {LIFE_SECS} s at {rate:.2} MiB/s: {factor:.2} times what is written");
    ensure!(
        (0.67..1.5).contains(&factor),
        "{size} for {expected:.0} MiB"
    );

    cowherd.wait_metrics("all that was asked for is counted", DEADLINE, |metrics| {
        let is = |name, labels: &[_], value| metrics.is(name, labels, value);
        is("cowherd_actions_total", &[("action", "create")], 1)
            && is("cowherd_action_failures_total", &[("action", "create")], 0)
            && is(
                "cowherd_action_refusals_total",
                &[("code", "vg_reserve")],
                1,
            )
            && is("cowherd_action_jobs", &[("state", "queued")], 0)
            && is("cowherd_action_jobs", &[("state", "running")], 0)
    })?;
    cowherd.stop()?;
    vg.remove()
}
