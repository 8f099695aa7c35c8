//! How fast this machine is by now, against its best in this run. Others share its processors: at times it takes twice
//! as long for everything, and a claim of time says nothing of cowherd then.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Additions that take about a millisecond.
const ROUNDS: u64 = 400_000;
/// The best of so many counts: who is interrupted in one is not in all.
const TRIES: u32 = 5;
/// A hundredth of a processor.
const EVERY: Duration = Duration::from_millis(500);
/// More than it varies by itself while guests run.
const SLOW: f64 = 1.4;

/// Measures for as long as the lab runs.
#[derive(Debug, Clone, Default)]
pub struct Speed(Arc<Mutex<Vec<Sample>>>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    took: Duration,
}

impl Speed {
    #[must_use]
    pub fn measured() -> Self {
        let speed = Self::default();
        let samples = speed.clone();
        thread::spawn(move || {
            loop {
                samples.note(Instant::now(), measure());
                thread::sleep(EVERY);
            }
        });
        speed
    }

    fn note(&self, at: Instant, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Sample { at, took });
    }

    /// How many times slower than at its best the machine was since then, at the median; nothing where that is usual.
    #[must_use]
    pub fn slowdown_since(&self, since: Instant) -> Option<f64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let best = all.iter().map(|sample| sample.took).min()?;
        let mut later: Vec<Duration> = all
            .iter()
            .filter(|sample| sample.at >= since)
            .map(|sample| sample.took)
            .collect();
        later.sort_unstable();
        let median = later.get(later.len() / 2)?;
        let slowdown = median.as_secs_f64() / best.as_secs_f64();
        (slowdown > SLOW).then_some(slowdown)
    }
}

fn measure() -> Duration {
    let times = (0..TRIES).map(|_| {
        let start = Instant::now();
        let mut value = black_box(1_u64);
        for round in 0..ROUNDS {
            value = value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(round);
        }
        black_box(value);
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_was_slow_most_of_the_time_was_slow() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let speed = Speed::default();
        assert_eq!(speed.slowdown_since(start), None, "nothing is known");
        let times = [10, 13, 30, 13, 20, 30, 20];
        for (secs, millis) in (0..).zip(times) {
            speed.note(at(secs), Duration::from_millis(millis));
        }
        assert_eq!(speed.slowdown_since(start), Some(2.0));
        assert_eq!(speed.slowdown_since(at(7)), None, "nothing was measured");
        speed.note(at(7), Duration::from_millis(11));
        speed.note(at(8), Duration::from_millis(11));
        speed.note(at(9), Duration::from_millis(11));
        assert_eq!(speed.slowdown_since(at(6)), None);
    }
}
