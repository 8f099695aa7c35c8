//! A bucket of tokens: each request takes one, and one comes back in each interval. What time it is is the caller's to
//! say.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may be done as long as there are tokens: one comes back in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub interval: Duration,
    /// As many tokens are kept at most.
    pub burst: u64,
}

#[derive(Debug)]
pub struct Bucket {
    limit: RateLimit,
    /// Tokens, when there were that many.
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        let level = Mutex::new((whole(limit.burst), now));
        Self { limit, level }
    }

    /// Whether there is a token.
    pub fn has(&self, now: Instant) -> bool {
        self.tokens(*self.lock(), now) >= 1.0
    }

    /// Whether as many have come back as it keeps: it is like a new one.
    pub fn is_full(&self, now: Instant) -> bool {
        self.tokens(*self.lock(), now) >= whole(self.limit.burst)
    }

    /// Takes a token if there is one.
    pub fn take(&self, now: Instant) -> bool {
        let mut level = self.lock();
        let tokens = self.tokens(*level, now);
        let is_taken = tokens >= 1.0;
        *level = (if is_taken { tokens - 1.0 } else { tokens }, now);
        is_taken
    }

    /// With those that have come back.
    fn tokens(&self, (tokens, since): (f64, Instant), now: Instant) -> f64 {
        let passed = now.saturating_duration_since(since).as_secs_f64();
        let back = passed / self.limit.interval.as_secs_f64();
        (tokens + back).min(whole(self.limit.burst))
    }

    fn lock(&self) -> MutexGuard<'_, (f64, Instant)> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A million at most: every number is exact.
fn whole(burst: u64) -> f64 {
    u32::try_from(burst).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_one_by_one() {
        let interval = Duration::from_secs(2);
        let start = Instant::now();
        let bucket = Bucket::new(RateLimit { interval, burst: 3 }, start);
        let at = |secs| bucket.take(start + Duration::from_secs(secs));
        assert_eq!([0, 0, 0, 0, 1].map(at), [true, true, true, false, false]);
        assert_eq!([2, 3, 4].map(at), [true, false, true]);
        // No more than the burst is ever kept.
        let is_full = |secs| bucket.is_full(start + Duration::from_secs(secs));
        assert_eq!([9, 10].map(is_full), [false, true]);
        assert_eq!([100, 100, 100, 100].map(at), [true, true, true, false]);
    }
}
