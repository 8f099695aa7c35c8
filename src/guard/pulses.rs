//! Feels the pulse of every watched device, as often as a small part of a core allows, and tells which are
//! being written to. Belongs to the thread that follows the kernel's events; decides nothing.

use std::time::{Duration, Instant};

use crate::model::policy::Timing;
use crate::observe::device_mapper::Found;
use crate::observe::pulse::Pulse;

use super::clock;
use super::cost::Cost;

/// One that is written to all the time is not told more often.
pub(super) const AGAIN: Duration = Duration::from_millis(200);
/// Until the first time it was felt.
const FIRST: Duration = Duration::from_millis(100);

/// One device's pulse as it was last felt.
#[derive(Debug)]
struct Felt {
    found: Found,
    device: (u32, u32),
    /// Opened anew after an error: an extension swaps what lies below.
    pulse: Option<Pulse>,
    count: Option<u64>,
    told: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Pulses {
    all: Vec<Felt>,
    due: Instant,
    every: Duration,
    /// Processor time of the thread, when they were felt last.
    used: Duration,
    cost: Cost,
    timing: Timing,
}

impl Pulses {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            all: Vec::new(),
            due: Instant::now(),
            every: FIRST,
            used: Duration::ZERO,
            cost: Cost::default(),
            timing,
        }
    }

    /// Of these devices from now on.
    pub(super) fn watch(&mut self, devices: impl Iterator<Item = (Found, (u32, u32))>) {
        let felt = |(found, device)| Felt {
            found,
            device,
            pulse: None,
            count: None,
            told: None,
        };
        self.all = devices.map(felt).collect();
    }

    /// How long nothing need be felt.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        if self.all.is_empty() {
            Duration::MAX
        } else {
            self.due.saturating_duration_since(now)
        }
    }

    /// Feels all when it is time: those that stirred, and how often they are felt. A device whose pulse cannot
    /// be felt counts as one that stirs.
    pub(super) fn feel(&mut self, now: Instant) -> Option<(Vec<Found>, Duration)> {
        if now < self.due || self.all.is_empty() {
            return None;
        }
        let stirred: Vec<Found> = self
            .all
            .iter_mut()
            .filter_map(|felt| felt.stirs(now).then(|| felt.found.clone()))
            .collect();
        // All that the thread does: it does little else.
        let before = std::mem::replace(&mut self.used, clock::cpu_used());
        self.cost.note(self.used.saturating_sub(before));
        let every =
            self.cost.each().saturating_mul(1000) / self.timing.pulse_budget_permille.max(1);
        let every = every.clamp(self.timing.look_min, self.timing.look_max);
        let is_rarer = every > self.every * 2 || every * 2 < self.every;
        if is_rarer {
            self.every = every;
        }
        self.due = now + self.every;
        (is_rarer || !stirred.is_empty()).then_some((stirred, self.every))
    }
}

impl Felt {
    fn stirs(&mut self, now: Instant) -> bool {
        let count = self.read();
        let is_same = count.is_some() && count == self.count;
        self.count = count;
        let is_told = self
            .told
            .is_some_and(|told| now.duration_since(told) < AGAIN);
        if is_same || is_told {
            return false;
        }
        self.told = Some(now);
        true
    }

    fn read(&mut self) -> Option<u64> {
        if self.pulse.is_none() {
            self.pulse = Pulse::open(self.device).ok();
        }
        let count = self.pulse.as_ref()?.read().ok();
        if count.is_none() {
            self.pulse = None;
        }
        count
    }
}
