//! What was seen and done before: fill rates, extension latency, failures in a row.
//!
//! Pure: every method is told the time. The rates are floating point but deterministic, so the
//! same sequence of looks gives the same decisions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Target;
use super::plan::{End, Failure, Outcome};
use super::policy::HistoryPolicy;
use super::reliefs::Reliefs;
use super::time::{Moment, Now, UnixSeconds};
use super::units::Bytes;

/// Looks closer together than this are one: the kernel's counters move in chunks. No wait between looks
/// that can be configured is much shorter.
const SAMPLE_MIN: Duration = Duration::from_millis(5);
/// The latency of as many extensions is remembered: enough for a p95, soon forgotten. What matters of it
/// to a host is `safety_factor`, which multiplies it.
const LATENCIES_MAX: usize = 32;
/// Of `growth_per_hour`.
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    tracks: BTreeMap<Target, Track>,
    latencies: VecDeque<Duration>,
    /// Their 95th percentile, once there are any: every decision about every store asks for it.
    latency: Option<Duration>,
    pub reliefs: Reliefs,
}

/// What is remembered of one store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    last: Option<(Moment, Bytes)>,
    fast: f64,
    slow: f64,
    /// Set while the last attempt failed.
    cooling: Option<Cooling>,
    /// How often in a row lvextend refused.
    refusals: u64,
    /// What was added within the last hour, oldest first.
    added: VecDeque<(Moment, Bytes)>,
    pub record: Record,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooling {
    /// The failure.
    pub since: Moment,
    pub until: Moment,
    pub failures: u64,
    /// Not before this, however little time is left.
    pub until_at_least: Moment,
}

/// While a store is about to be full, the pause after a failure doubles this often at most.
const URGENT_DOUBLINGS: u32 = 3;

/// What was done to one store since the guard started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub attempts: u64,
    pub failures: BTreeMap<Failure, u64>,
    pub failures_in_a_row: u64,
    pub added: Bytes,
    pub last_success: Option<UnixSeconds>,
}

impl History {
    /// Takes in how much of a store is used now.
    pub fn note_usage(&mut self, target: &Target, used: Bytes, at: Moment, policy: &HistoryPolicy) {
        if let Some(track) = self.tracks.get_mut(target) {
            track.note_usage(used, at, policy);
        } else {
            let track = Track {
                last: Some((at, used)),
                ..Track::default()
            };
            self.tracks.insert(target.clone(), track);
        }
    }

    /// Nothing was written to a store until then.
    pub fn note_still(&mut self, target: &Target, until: Moment, policy: &HistoryPolicy) {
        if let Some(track) = self.tracks.get_mut(target)
            && let Some((_, used)) = track.last
        {
            track.note_usage(used, until, policy);
        }
    }

    pub fn note_outcome(&mut self, outcome: &Outcome, now: Now, policy: &HistoryPolicy) {
        let track = self
            .tracks
            .entry(outcome.extension.target.clone())
            .or_default();
        match &outcome.end {
            // Somebody else was faster. What is known must be read again first.
            End::Changed { .. } => track.note_changed(now.moment, policy),
            End::Extended { .. } => track.note_success(outcome.extension.added(), now),
            End::Failed { failure, .. } => track.note_failure(*failure, now.moment, policy),
        }
        if matches!(outcome.end, End::Extended { .. }) {
            self.note_latency(outcome.took);
        }
    }

    fn note_latency(&mut self, took: Duration) {
        self.latencies.push_back(took);
        if self.latencies.len() > LATENCIES_MAX {
            self.latencies.pop_front();
        }
        let mut sorted: Vec<Duration> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100);
        self.latency = rank.checked_sub(1).and_then(|at| sorted.get(at).copied());
    }

    /// Forgets the stores that are gone.
    pub fn retain(&mut self, mut exists: impl FnMut(&Target) -> bool) {
        self.tracks.retain(|target, _| exists(target));
    }

    /// The fill rate to reckon with: the larger of the fast and the slow average, per second.
    #[must_use]
    pub fn rate(&self, target: &Target) -> Bytes {
        self.tracks.get(target).map_or(Bytes::ZERO, |track| {
            Bytes::from_f64_ceil(track.fast.max(track.slow))
        })
    }

    /// The slow average alone, negative while the store drains: for people and forecasts.
    #[must_use]
    pub fn trend(&self, target: &Target) -> f64 {
        self.tracks.get(target).map_or(0.0, |track| track.slow)
    }

    /// How long an extension takes here: the 95th percentile of the last ones.
    #[must_use]
    pub fn latency(&self, policy: &HistoryPolicy) -> Duration {
        self.latency.unwrap_or(policy.first_latency)
    }

    /// Until when a store that will be full in as many seconds is left alone after a failure.
    #[must_use]
    pub fn cooling(&self, target: &Target, now: Moment, secs_to_full: f64) -> Option<Cooling> {
        let cooling = self.tracks.get(target)?.cooling?;
        let soon = Duration::try_from_secs_f64(secs_to_full / 4.0).unwrap_or(Duration::MAX);
        let until = cooling
            .until
            .min(cooling.until_at_least.max(cooling.since.after(soon)));
        (until > now).then_some(Cooling { until, ..cooling })
    }

    /// What was added to this store within the last hour, and until when the oldest of that counts.
    #[must_use]
    pub fn added_within_an_hour(&self, target: &Target, now: Moment) -> (Bytes, Moment) {
        let added = self.tracks.get(target).map(|track| &track.added);
        let recent = added
            .into_iter()
            .flatten()
            .filter(|(at, _)| now.since(*at) < HOUR);
        let sum = |sum: Bytes, (_, added): &(Moment, Bytes)| sum.saturating_add(*added);
        let until = recent.clone().map(|(at, _)| at.after(HOUR)).next();
        (recent.fold(Bytes::ZERO, sum), until.unwrap_or(now))
    }

    /// How often in a row lvextend refused to extend this store.
    #[must_use]
    pub fn refusals(&self, target: &Target) -> u64 {
        self.tracks.get(target).map_or(0, |track| track.refusals)
    }

    #[must_use]
    pub fn record(&self, target: &Target) -> Record {
        self.tracks
            .get(target)
            .map(|track| track.record.clone())
            .unwrap_or_default()
    }
}

impl Track {
    fn note_usage(&mut self, used: Bytes, at: Moment, policy: &HistoryPolicy) {
        let Some((before, last_used)) = self.last else {
            self.last = Some((at, used));
            return;
        };
        let span = at.since(before);
        if span < SAMPLE_MIN {
            return;
        }
        let rate = (used.as_f64() - last_used.as_f64()) / span.as_secs_f64();
        self.fast = blend(self.fast, rate, span.div_duration_f64(policy.fast_average));
        self.slow = blend(self.slow, rate, span.div_duration_f64(policy.slow_average));
        self.last = Some((at, used));
    }

    fn note_success(&mut self, added: Bytes, now: Now) {
        self.added.push_back((now.moment, added));
        let is_old = |(at, _): &(Moment, Bytes)| now.moment.since(*at) >= HOUR;
        while self.added.front().is_some_and(is_old) {
            self.added.pop_front();
        }
        self.cooling = None;
        self.refusals = 0;
        self.record.attempts += 1;
        self.record.failures_in_a_row = 0;
        self.record.added = self.record.added.saturating_add(added);
        self.record.last_success = Some(now.wall);
    }

    fn note_changed(&mut self, at: Moment, policy: &HistoryPolicy) {
        let failures = self.record.failures_in_a_row;
        self.cooling = Some(Cooling {
            since: at,
            until: at.after(policy.changed_pause),
            until_at_least: at.after(policy.changed_pause),
            failures,
        });
    }

    fn note_failure(&mut self, failure: Failure, at: Moment, policy: &HistoryPolicy) {
        self.refusals = if failure == Failure::Refused {
            self.refusals + 1
        } else {
            0
        };
        self.record.attempts += 1;
        *self.record.failures.entry(failure).or_default() += 1;
        self.record.failures_in_a_row += 1;
        let failures = self.record.failures_in_a_row;
        let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(16);
        let wait = |doublings: u32| {
            let wait = policy.retry_first.saturating_mul(1 << doublings);
            at.after(wait.min(policy.retry_max))
        };
        self.cooling = Some(Cooling {
            since: at,
            until: wait(doublings),
            until_at_least: wait(doublings.min(URGENT_DOUBLINGS)),
            failures,
        });
    }
}

/// Exponential average: after `spans` time constants the old value weighs `e^-spans`.
fn blend(old: f64, new: f64, spans: f64) -> f64 {
    let keep = (-spans).exp();
    old.mul_add(keep, new * (1.0 - keep))
}

#[cfg(test)]
mod tests {
    use super::super::names::{Resource, Uuid, VolumeId};
    use super::*;

    fn target() -> Target {
        let uuid = |c: &str| Uuid::parse(&c.repeat(32)).expect("a literal uuid");
        Target {
            volume: VolumeId {
                vg: uuid("v"),
                lv: uuid("l"),
            },
            resource: Resource::Data,
        }
    }

    const POLICY: HistoryPolicy = HistoryPolicy {
        fast_average: Duration::from_millis(250),
        slow_average: Duration::from_secs(60),
        first_latency: Duration::from_secs(1),
        retry_first: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        changed_pause: Duration::from_secs(1),
    };

    fn at_millis(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    #[test]
    fn a_steady_writer_is_measured_within_two_seconds() {
        let mut history = History::default();
        for step in 0..=40 {
            let used = Bytes::mib(5 * step);
            history.note_usage(&target(), used, at_millis(50 * step), &POLICY);
        }
        let rate = history.rate(&target());
        assert!((Bytes::mib(95)..=Bytes::mib(101)).contains(&rate), "{rate}");
    }

    #[test]
    fn a_store_that_was_still_until_now_tells_its_rate_at_the_next_look() {
        let mut history = History::default();
        history.note_usage(&target(), Bytes::mib(10), at_millis(0), &POLICY);
        history.note_still(&target(), at_millis(6000), &POLICY);
        assert_eq!(history.rate(&target()), Bytes::ZERO);
        history.note_usage(&target(), Bytes::mib(60), at_millis(6500), &POLICY);
        let rate = history.rate(&target());
        // All of the 50 MiB in half a second, of which the average has taken in most.
        assert!((Bytes::mib(80)..=Bytes::mib(100)).contains(&rate), "{rate}");
    }

    #[test]
    fn a_draining_store_has_no_fill_rate() {
        let mut history = History::default();
        for step in 0..10 {
            let used = Bytes::mib(1000 - step);
            history.note_usage(&target(), used, at_millis(100 * step), &POLICY);
        }
        assert_eq!(history.rate(&target()), Bytes::ZERO);
        assert!(history.trend(&target()) < 0.0);
    }

    #[test]
    fn failures_back_off_in_seconds_up_to_a_minute() {
        let mut track = Track::default();
        let waits: Vec<u64> = (0..9)
            .map(|_| {
                track.note_failure(Failure::Refused, Moment::default(), &POLICY);
                track.cooling.expect("just failed").until.0.as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_store_that_is_about_to_be_full_is_retried_within_seconds() {
        let mut track = Track::default();
        for _ in 0..9 {
            track.note_failure(Failure::Refused, Moment::default(), &POLICY);
        }
        let mut history = History::default();
        history.tracks.insert(target(), track);
        let until = |secs_to_full| {
            let cooling = history.cooling(&target(), Moment::default(), secs_to_full);
            cooling.expect("it has just failed").until.0.as_secs()
        };
        assert_eq!([0.0, 40.0, 100.0, 1e9].map(until), [8, 10, 25, 60]);
    }

    #[test]
    fn latency_is_a_guess_until_measured_and_a_p95_then() {
        let mut history = History::default();
        assert_eq!(history.latency(&POLICY), POLICY.first_latency);
        for millis in 1..=20 {
            history.note_latency(Duration::from_millis(millis));
        }
        assert_eq!(history.latency(&POLICY), Duration::from_millis(19));
    }
}
