//! What the guard tells of itself.
//!
//! Counters with known labels exist at 0 before they are needed, so that the first event is an
//! increase. A moment in the guard's own past that has not come is 0, so that an alert on its age fires.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::action::Verb;
use crate::model::plan::Failure;
use crate::model::reason::Reason;
use crate::model::refusal::Code;
use crate::model::tally::{Actions, Collector, CollectorRun, CommandRuns, Lifeboat, Tally, Wake};
use crate::model::time::UnixSeconds;
use crate::model::view::View;
use crate::report::names;

use super::sheet::Sheet;

const LEVELS: [&str; 3] = ["error", "info", "warn"];
/// Target types whose devices are watched.
const TARGETS: [&str; 3] = ["snapshot", "snapshot-merge", "thin-pool"];
const COMMANDS: [&str; 3] = ["fullreport", LVEXTEND, "vgcfgbackup"];
const LVEXTEND: &str = "lvextend";
/// The one reason of commands that either work or do not.
const FAILED: &str = "failed";

pub(super) fn write(sheet: &mut Sheet, view: &View) {
    identity(sheet, view);
    polls(sheet, view);
    commands(sheet, &view.tally);
    events(sheet, &view.tally);
    extensions(sheet, &view.tally);
    lifeboat(sheet, &view.tally.lifeboat);
    if let Some(tally) = &view.tally.actions {
        actions(sheet, tally);
    }
}

fn identity(sheet: &mut Sheet, view: &View) {
    let build = &view.build;
    sheet.truth(&names::BUILD_INFO, [&build.version, &build.revision], true);
    let dry_run = view.policy.dry_run;
    for (mode, active) in [("enforce", !dry_run), ("dry_run", dry_run)] {
        sheet.truth(&names::GUARD_MODE, [mode], active);
    }
    sheet.value(&names::VIEW_TIMESTAMP, [], view.at.wall.0);
    sheet.value(&names::PROCESS_START_TIME, [], view.started.0);
    for (level, count) in with_zeros(&view.tally.log_messages, &LEVELS) {
        sheet.count(&names::LOG_MESSAGES, [level], count);
    }
    sheet.count(
        &names::LOG_MESSAGES_DROPPED,
        [],
        view.tally.log_messages_dropped,
    );
    sheet.count(
        &names::VG_DUPLICATE_NAMES,
        [],
        view.inventory.duplicate_names,
    );
}

fn polls(sheet: &mut Sheet, view: &View) {
    let tally = &view.tally;
    sheet.value(
        &names::POLL_INTERVAL,
        [],
        view.policy.timing.look_max.as_secs_f64(),
    );
    for wake in Wake::ALL {
        let polls = tally.polls.get(&wake).copied().unwrap_or_default();
        sheet.count(&names::POLLS, [wake.label()], polls);
    }
    sheet.count(&names::POLL_FAILURES, [], tally.poll_failures);
    sheet.value(
        &names::POLL_LAST_SUCCESS,
        [],
        or_zero(tally.poll_last_success),
    );
    sheet.histogram(&names::POLL_DURATION, [], &tally.poll_duration);
    for collector in Collector::ALL {
        if let Some(run) = tally.collectors.get(&collector) {
            collector_run(sheet, collector.label(), run);
        }
    }
}

fn collector_run(sheet: &mut Sheet, collector: &str, run: &CollectorRun) {
    sheet.truth(&names::COLLECTOR_SUCCESS, [collector], run.success);
    sheet.value(
        &names::COLLECTOR_DURATION,
        [collector],
        run.took.as_secs_f64(),
    );
    sheet.value(
        &names::COLLECTOR_LAST_SUCCESS,
        [collector],
        or_zero(run.last_success),
    );
}

fn commands(sheet: &mut Sheet, tally: &Tally) {
    let seen = tally.commands.keys().map(String::as_str);
    let known: BTreeSet<&str> = COMMANDS.into_iter().chain(seen).collect();
    let none = CommandRuns::default();
    for command in known {
        let runs = tally.commands.get(command).unwrap_or(&none);
        sheet.count(&names::LVM_COMMANDS, [command], runs.runs);
        sheet.histogram(&names::LVM_COMMAND_DURATION, [command], &runs.duration);
        let reasons: &[&str] = if command == LVEXTEND {
            &Failure::ALL.map(Failure::label)
        } else {
            &[FAILED]
        };
        for (reason, count) in with_zeros(&runs.failures, reasons) {
            sheet.count(&names::LVM_COMMAND_FAILURES, [command, reason], count);
        }
    }
    sheet.histogram(&names::LVM_LOCK_WAIT, [], &tally.lock_wait);
    sheet.count(&names::LVM_LOCK_TIMEOUTS, [], tally.lock_timeouts);
    sheet.count(&names::LVM_UNKNOWN_FIELDS, [], tally.lvm_unknown_fields);
}

fn events(sheet: &mut Sheet, tally: &Tally) {
    sheet.truth(&names::DM_EVENT_LISTENER_UP, [], tally.dm_event_listener_up);
    for (target, count) in with_zeros(&tally.dm_events, &TARGETS) {
        sheet.count(&names::DM_EVENTS, [target], count);
    }
    sheet.value(&names::DM_EVENT_LAST, [], or_zero(tally.dm_event_last));
}

fn extensions(sheet: &mut Sheet, tally: &Tally) {
    for (reason, count) in with_zeros(&tally.suppressed, &Reason::LABELS) {
        sheet.count(&names::EXTENDS_SUPPRESSED, [reason], count);
    }
    sheet.histogram(&names::EXTEND_DURATION, [], &tally.extend_duration);
    sheet.count(&names::MENDED, [], tally.mended);
}

fn lifeboat(sheet: &mut Sheet, lifeboat: &Lifeboat) {
    sheet.truth(&names::LIFEBOAT_READY, [], lifeboat.is_aboard);
    sheet.truth(&names::LIFEBOAT_STALE, [], lifeboat.is_stale);
    sheet.value(&names::LIFEBOAT_SIZE, [], lifeboat.size.as_f64());
    sheet.count(&names::LIFEBOAT_RENEWALS, [], lifeboat.renewals);
    sheet.truth(&names::MEMORY_LOCKED, [], lifeboat.is_memory_locked);
}

fn actions(sheet: &mut Sheet, tally: &Actions) {
    for verb in Verb::ALL {
        let attempts = tally.ended.get(&verb).copied().unwrap_or_default();
        let total = attempts.done + attempts.failed;
        sheet.count(&names::ACTIONS, [verb.label()], total);
        sheet.count(&names::ACTION_FAILURES, [verb.label()], attempts.failed);
    }
    for code in Code::ALL {
        let refusals = tally.refusals.get(&code).copied().unwrap_or_default();
        sheet.count(&names::ACTION_REFUSALS, [code.label()], refusals);
    }
    for (state, count) in [("queued", tally.queued), ("running", tally.running)] {
        sheet.count(&names::ACTION_JOBS, [state], count);
    }
    sheet.histogram(&names::HOOK_HELD, [], &tally.held);
    sheet.count(&names::HOOKS_STUCK, [], tally.stuck);
}

/// The counts, and 0 for each known label without one.
fn with_zeros<'a>(
    counts: &'a BTreeMap<String, u64>,
    known: &[&'a str],
) -> impl Iterator<Item = (&'a str, u64)> {
    let mut all: BTreeMap<&str, u64> = known.iter().map(|label| (*label, 0)).collect();
    all.extend(counts.iter().map(|(label, count)| (label.as_str(), *count)));
    all.into_iter()
}

fn or_zero(at: Option<UnixSeconds>) -> f64 {
    at.unwrap_or_default().0
}
