//! The writer is the measure of every other scenario: proved against plain LVM.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::lvm::Vg;
use crate::guest::writer::{Rate, Writer, verify};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "writer_reports_what_it_wrote",
        "amount, rate and error of a writer are the device's",
        reports,
    ),
    Scenario::new(
        "writer_keeps_its_rate",
        "a paced writer is neither faster nor much slower than asked",
        keeps_rate,
    )
    .timed(),
];

fn reports(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let device = vg.thick("small", Size::mib(32))?;

    let whole = Writer::start(&device, Rate::Unlimited, Size::mib(32))?.wait(DEADLINE)?;
    whole.complete()?;
    ensure!(whole.written == Size::mib(32), "{whole}");
    verify(&device, Size::mib(0), Size::mib(32))?;

    let beyond = Writer::start(&device, Rate::Unlimited, Size::mib(40))?.wait(DEADLINE)?;
    ensure!(beyond.written == Size::mib(32), "{beyond}");
    ensure!(
        beyond.complete().is_err(),
        "the device's end was no error: {beyond}"
    );

    let other = Writer::start_from(&device, Size::mib(8), Rate::Unlimited, Size::mib(1))?;
    other.wait(DEADLINE)?.complete()?;
    verify(&device, Size::mib(0), Size::mib(32))?;
    crate::guest::sh::sh(
        "dd if=/dev/zero of=/dev/vg0/small bs=512 seek=40000 count=1 oflag=direct",
    )?;
    let lost = verify(&device, Size::mib(0), Size::mib(32));
    ensure!(lost.is_err(), "512 overwritten bytes were not noticed");
    vg.remove()
}

fn keeps_rate(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let device = vg.thick("paced", Size::mib(64))?;
    let report = Writer::start(&device, Rate::MibPerSec(8), Size::mib(24))?.wait(DEADLINE)?;
    report.complete()?;
    // The last MiB is written at 23/8 s; a loaded machine may make it later.
    ensure!(report.took >= Duration::from_millis(2800), "{report}");
    ensure!(report.took < Duration::from_secs(6), "{report}");
    vg.remove()
}
