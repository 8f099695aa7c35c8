//! `cowherd check` on real volume groups, beside what LVM itself says of them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Scenario;
use crate::guest::Lab;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::lvm::Vg;
use crate::guest::sh::try_sh;
use crate::size::Size;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "check_says_what_lvm_says_of_overcommitted_pools",
        "the warnings of lvcreate, word for word, for 14 layouts",
        words,
    )
    .deadline(Duration::from_secs(300)),
    Scenario::new(
        "check_says_what_lvm_does_not",
        "nobody guards, no room for the next step, a spare that is too small: and what mends each",
        beyond,
    ),
];

/// What LVM reads after lvm.conf.
const LOCAL_CONF: &str = "/etc/lvm/lvmlocal.conf";
const METADATA: Size = Size::mib(4);

/// Volumes of a group of 4 GiB, but for what LVM keeps of it.
struct Layout {
    /// Data sizes in MiB; the first has the thin volumes.
    pools: &'static [u64],
    /// The last one is the one whose making LVM comments on.
    thin: &'static [u64],
    /// Leaves nothing free.
    fills_up: bool,
    /// LVM's threshold and percent.
    autoextend: (u64, u64),
}

const OFF: (u64, u64) = (100, 20);

const fn layout(pools: &'static [u64], thin: &'static [u64]) -> Layout {
    Layout {
        pools,
        thin,
        fills_up: false,
        autoextend: OFF,
    }
}

const LAYOUTS: [Layout; 14] = [
    layout(&[64], &[32]),
    layout(&[64], &[128]),
    layout(&[64], &[40, 40]),
    layout(&[1000], &[2047]),
    layout(&[64], &[2348]),
    layout(&[64], &[4000]),
    layout(&[64], &[8192]),
    layout(&[64], &[1_048_580]),
    layout(&[64, 256], &[128]),
    layout(&[64, 64], &[300]),
    Layout {
        fills_up: true,
        ..layout(&[64], &[128])
    },
    Layout {
        autoextend: (70, 20),
        ..layout(&[64], &[128])
    },
    Layout {
        autoextend: (70, 0),
        ..layout(&[64], &[128])
    },
    Layout {
        autoextend: (70, 20),
        ..layout(&[64], &[8192])
    },
];

#[derive(Debug, Deserialize)]
struct Audit {
    severity: String,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    severity: String,
    subject: String,
    says: String,
    mend: Option<String>,
}

/// Runs `cowherd check --json`, whose exit code must say what it says.
fn check() -> Result<Audit> {
    let output = cowherd(&["check", "--json"])?;
    let audit: Audit = serde_json::from_str(&output.stdout).context("reading the audit")?;
    let code = match audit.severity.as_str() {
        "ok" => 0,
        "warning" => 1,
        _ => 2,
    };
    ensure!(output.code == Some(code), "{output}");
    Ok(audit)
}

fn words(lab: &mut Lab) -> Result<()> {
    let told = LAYOUTS.iter().enumerate().try_for_each(|(number, layout)| {
        compare(lab, layout).with_context(|| format!("layout {}", number + 1))
    });
    fs::remove_file(LOCAL_CONF).ok();
    told
}

fn compare(lab: &Lab, layout: &Layout) -> Result<()> {
    let (threshold, percent) = layout.autoextend;
    let conf = format!(
        "activation {{ thin_pool_autoextend_threshold={threshold} thin_pool_autoextend_percent={percent} }}\n"
    );
    fs::write(LOCAL_CONF, conf).context("writing lvmlocal.conf")?;
    let vg = Vg::create("vg0", lab.disks())?;
    for (number, size) in layout.pools.iter().enumerate() {
        vg.pool(&format!("pool{number}"), Size::mib(*size), METADATA, "")?;
    }
    if layout.fills_up {
        try_sh("lvcreate -qy -l 100%FREE -n rest vg0")?;
    }
    let mut said = Vec::new();
    for (number, size) in layout.thin.iter().enumerate() {
        let made = try_sh(&format!(
            "lvcreate -y -V {size}m --thinpool vg0/pool0 -n thin{number}"
        ))?;
        ensure!(made.success(), "{made}");
        said = warnings(made.stdout.lines().chain(made.stderr.lines()));
    }
    let audit = check()?;
    let of_pool = audit.findings.iter().filter(|f| f.subject == "vg0/pool0");
    let ours = warnings(of_pool.map(|finding| finding.says.as_str()));
    ensure!(ours == said, "LVM says {said:#?}, cowherd {ours:#?}");
    vg.remove()
}

/// Those of LVM's lines that warn, in any order.
fn warnings<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines = lines.map(str::trim);
    let mut found: Vec<String> = lines
        .filter(|line| line.starts_with("WARNING: "))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

fn beyond(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(512), METADATA, "")?;
    vg.thin("pool", "thin", Size::mib(512))?;
    let bare = check()?;
    find(
        &bare,
        "warning",
        "nobody extends it",
        Some("systemctl enable --now cowherd"),
    )?;
    let guard = Cowherd::ready(None, &[])?;
    let guarded = check()?;
    ensure!(guarded.severity == "ok", "{guarded:#?}");
    // Room for a part of the next step only.
    try_sh("lvcreate -qy -l 98%FREE -n rest vg0")?;
    let narrow = check()?;
    find(
        &narrow,
        "warning",
        "cowherd takes what there is",
        Some("vgextend vg0 DEVICE"),
    )?;
    try_sh("lvcreate -qy -l 100%FREE -n last vg0")?;
    find(
        &check()?,
        "critical",
        "nothing can be extended",
        Some("vgextend vg0 DEVICE"),
    )?;
    try_sh("lvremove -qy vg0/last vg0/rest vg0/lvol0_pmspare")?;
    let mend = "lvextend --poolmetadatasize +4096k vg0/pool";
    find(
        &check()?,
        "warning",
        "a repair would find no room",
        Some(mend),
    )?;
    let mended = try_sh(mend)?;
    ensure!(mended.success(), "{mended}");
    let well = check()?;
    ensure!(well.severity == "ok", "{well:#?}");
    guard.stop()?;
    vg.remove()
}

fn find(audit: &Audit, severity: &str, says: &str, mend: Option<&str>) -> Result<()> {
    let is_it = |finding: &&Finding| {
        finding.severity == severity
            && finding.says.contains(says)
            && finding.mend.as_deref() == mend
    };
    ensure!(
        audit.findings.iter().any(|finding| is_it(&finding)),
        "no {severity} that says {says:?} in {audit:#?}"
    );
    Ok(())
}
