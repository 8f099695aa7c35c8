//! The state and the plan as plain text: what `cowherd status` and `cowherd plan` print.
//!
//! Aligned for a terminal of 100 columns when names are short. Text from outside is stripped of
//! control characters, so that no device can steer the terminal.

use std::fmt::Write as _;

use crate::model::audit::{Finding, Severity};
use crate::model::inventory::Kernel;
use crate::model::names::VolumeName;
use crate::model::plan::{Extension, Hold};
use crate::model::relief::Relief;
use crate::model::units::Bytes;
use crate::model::view::View;

use super::columns::{Side, Table};
use super::figures::{self, Figures};
use super::text;

/// Volume groups, stores, and what is about to happen or held back.
#[must_use]
pub fn status(view: &View) -> String {
    let mut text = mode(view);
    text.push('\n');
    if view.inventory.groups.is_empty() {
        text.push_str("no volume group has a thin pool or a snapshot\n");
        return text;
    }
    text.push_str(&groups(view));
    let figures = figures::all(view);
    if !figures.is_empty() {
        text.push('\n');
        text.push_str(&stores(&figures));
    }
    let remarks = remarks(view);
    if !remarks.is_empty() {
        text.push('\n');
        text.push_str(&remarks);
    }
    text
}

/// One line for each extension that is due and for each that is held back.
#[must_use]
pub fn plan(view: &View) -> String {
    let lines = plan_lines(view);
    if lines.is_empty() {
        let stores = view.stores.len();
        return format!("nothing to do: of {stores} stores watched, none is past its trigger\n");
    }
    lines
}

/// What an audit found, worst first; the first line sums it up, as monitoring systems show it.
#[must_use]
pub fn audit(view: &View, findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (critical, warnings) = (count(Severity::Critical), count(Severity::Warning));
    let stores = view.stores.len();
    let mut text = match (critical, warnings) {
        (0, 0) => format!("OK: {stores} stores are guarded and have room for their next step\n"),
        (0, _) => format!("WARNING: {warnings} warnings about {stores} stores\n"),
        (_, _) => {
            format!("CRITICAL: {critical} critical, {warnings} warnings about {stores} stores\n")
        }
    };
    for finding in findings {
        let (severity, subject) = (finding.severity.label(), &finding.subject);
        let says = text::one_line(&finding.says);
        // LVM's own warnings begin with the word.
        let says = says.strip_prefix("WARNING: ").unwrap_or(&says);
        let _ = writeln!(text, "{severity:<8}  {subject}: {says}");
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "{:<8}  mend: {mend}", "");
        }
    }
    text
}

/// `extend vg0/pool data by 128 MiB to 640 MiB: more than 80 % used`
#[must_use]
pub fn extension_line(extension: &Extension) -> String {
    let Extension {
        name,
        target,
        trigger,
        capped,
        extent,
        ..
    } = extension;
    let resource = target.resource.label();
    let (added, to) = (extension.added(), extension.to_bytes());
    let mut line = format!("extend {name} {resource} by {added} to {to}: {trigger}");
    if let Some(capped) = capped {
        let wanted = capped.wanted.bytes(*extent);
        // Writing to a string cannot fail.
        let _ = write!(line, " ({wanted} wanted, limited to {})", capped.by);
    }
    line
}

/// `hold vg0/snap cow: the snapshot is invalid and cannot be saved: remove it`
#[must_use]
pub fn hold_line(hold: &Hold) -> String {
    format!(
        "hold {} {}: {}",
        hold.name,
        hold.target.resource.label(),
        hold.reason
    )
}

fn mode(view: &View) -> String {
    let mode = if view.policy.dry_run {
        "dry run: decides and reports, changes nothing"
    } else {
        "extends what runs full"
    };
    format!("cowherd {}: {mode}\n", view.build.version)
}

fn groups(view: &View) -> String {
    let heads = ["VOLUME GROUP", "SIZE", "FREE", "RESERVE", ""].map(str::to_owned);
    let mut table = Table {
        sides: [
            Side::Left,
            Side::Right,
            Side::Right,
            Side::Right,
            Side::Left,
        ],
        rows: vec![heads],
    };
    for group in &view.inventory.groups {
        let reserve = view.reserves.iter().find(|(name, _)| *name == group.name);
        let remark = group.obstacle.map_or("", |obstacle| obstacle.label());
        table.rows.push([
            group.name.to_string(),
            text::size(group.size),
            text::size(group.free_bytes()),
            text::size(reserve.map_or(Bytes::ZERO, |(_, bytes)| *bytes)),
            remark.to_owned(),
        ]);
    }
    table.text()
}

fn stores(all: &[Figures<'_>]) -> String {
    use Side::{Left, Right};
    let heads = [
        "VOLUME", "STORE", "USED", "SIZE", "FREE", "STATE", "FILLS AT", "FULL IN", "CAN GROW",
        "GROWN",
    ];
    let mut table = Table {
        sides: [
            Left, Left, Right, Right, Right, Left, Right, Right, Right, Right,
        ],
        rows: vec![heads.map(str::to_owned)],
    };
    table.rows.extend(all.iter().map(store));
    table.text()
}

fn store(figures: &Figures<'_>) -> [String; 10] {
    let record = &figures.store.record;
    let successes = record
        .attempts
        .saturating_sub(record.failures.values().sum());
    let known = |text: Option<String>| text.unwrap_or_else(|| text::NOTHING.to_owned());
    [
        figures.store.name.to_string(),
        figures.store.target.resource.label().to_owned(),
        known(figures.ratio().map(text::percent)),
        text::size(figures.size),
        known(figures.free().map(text::size)),
        figures.volume.state().text.to_owned(),
        text::rate(figures.store.fill_bytes_per_second),
        text::forecast(figures.secs_to_full),
        text::size(figures.store.growable),
        format!("{successes}x"),
    ]
}

/// What the table cannot say.
fn remarks(view: &View) -> String {
    let mut lines = plan_lines(view);
    for pool in &view.inventory.pools {
        lines.extend(fault_line(&pool.name, &pool.kernel));
    }
    for snapshot in &view.inventory.snapshots {
        lines.extend(fault_line(&snapshot.name, &snapshot.kernel));
    }
    if view.inventory.duplicate_names > 0 {
        let count = view.inventory.duplicate_names;
        let _ = writeln!(
            lines,
            "volume groups left out because another one has the same name: {count}"
        );
    }
    lines
}

fn fault_line<T>(name: &VolumeName, kernel: &Kernel<T>) -> Option<String> {
    match kernel {
        Kernel::Unreadable { why } => Some(format!("unreadable {name}: {}\n", text::one_line(why))),
        Kernel::Inactive | Kernel::Known { .. } | Kernel::Late { .. } => None,
    }
}

fn plan_lines(view: &View) -> String {
    let extensions = view.plan.extensions.iter().map(extension_line);
    let holds = view.plan.holds.iter().map(hold_line);
    let reliefs = view.plan.reliefs.iter().map(Relief::to_string);
    let lines = extensions.chain(holds).chain(reliefs);
    lines.map(|line| line + "\n").collect()
}
