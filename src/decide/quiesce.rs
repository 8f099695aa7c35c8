//! What follows from what became of hooks: whether the snapshots are taken, and what they are worth. Pure.

use std::time::Instant;

use crate::model::quiesce::{Consistency, HookEnd, HookRun, QuiesceMode};

/// What snapshots that were taken while hooks held are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// They may be kept.
    Kept {
        consistency: Consistency,
        /// Why it is no more than that, or what a hook complained of.
        remark: Option<String>,
    },
    /// Nobody wanted them like this: why.
    Unwanted(String),
}

/// Whether more hooks are asked and snapshots are taken after what has become of one.
#[must_use]
pub const fn goes_on(mode: QuiesceMode, is_ready: bool) -> bool {
    match mode {
        QuiesceMode::Required => is_ready,
        QuiesceMode::BestEffort | QuiesceMode::None => true,
    }
}

/// Whether a snapshot may stay of which nobody can tell any more whether hooks held until it was made.
#[must_use]
pub const fn may_stay(mode: QuiesceMode) -> bool {
    match mode {
        QuiesceMode::Required => false,
        QuiesceMode::BestEffort | QuiesceMode::None => true,
    }
}

/// What the snapshots are worth, once every hook was released. The order is that in which they were asked.
#[must_use]
pub fn worth(mode: QuiesceMode, runs: &[HookRun]) -> Worth {
    let lost: Vec<String> = runs.iter().filter_map(fault).collect();
    let stuck = runs
        .iter()
        .filter_map(|run| Some(format!("hook {}: {}", run.name, run.stuck.as_ref()?)));
    let consistency = if lost.is_empty() && !runs.is_empty() {
        Consistency::Application
    } else {
        Consistency::Crash
    };
    if mode == QuiesceMode::Required && consistency == Consistency::Crash {
        return Worth::Unwanted(lost.into_iter().chain(stuck).collect::<Vec<_>>().join("; "));
    }
    let remarks: Vec<String> = lost.into_iter().chain(stuck).collect();
    Worth::Kept {
        consistency,
        remark: (!remarks.is_empty()).then(|| remarks.join("; ")),
    }
}

fn fault(run: &HookRun) -> Option<String> {
    let name = &run.name;
    match &run.end {
        HookEnd::Held => None,
        HookEnd::Unready(why) => Some(format!("hook {name} did not get ready: {why}")),
        HookEnd::Lost(why) => Some(format!("hook {name} did not hold: {why}")),
    }
}

/// From when the first held until the last had let go, as far as any did.
#[must_use]
pub fn held_ms(spans: &[(Instant, Instant)]) -> Option<u64> {
    let first = spans.iter().map(|(from, _)| *from).min()?;
    let last = spans.iter().map(|(_, to)| *to).max()?;
    u64::try_from(last.saturating_duration_since(first).as_millis()).ok()
}
