//! Finds the highest rate at which a guard saves a store, with as little writing
//! as decides it. Pure: what to try next follows from what came out so far.
//!
//! From the fastest downwards, because a store that is lost is lost within
//! seconds, and one that is saved takes minutes at a low rate.

use crate::guest::writer::Rate;

/// Fastest first.
pub const RATES: [Rate; 8] = [
    Rate::Unlimited,
    Rate::MibPerSec(64),
    Rate::MibPerSec(32),
    Rate::MibPerSec(16),
    Rate::MibPerSec(8),
    Rate::MibPerSec(4),
    Rate::MibPerSec(2),
    Rate::MibPerSec(1),
];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    survived: u32,
    lost: u32,
}

impl Tally {
    const fn runs(self) -> u32 {
        self.survived + self.lost
    }
}

#[derive(Debug)]
pub struct Sweep {
    tallies: [Tally; RATES.len()],
    /// Runs without a loss that make the unlimited rate a survived one.
    at_unlimited: u32,
    /// The same at any other rate; and how often the lowest lost one is tried.
    at_others: u32,
}

/// One run to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub rate: Rate,
    /// Which run at this rate it is, from 0, and of how many.
    pub run: u32,
    pub of: u32,
    index: usize,
}

impl Sweep {
    #[must_use]
    pub fn new(at_unlimited: u32, at_others: u32) -> Self {
        Self {
            tallies: [Tally::default(); RATES.len()],
            at_unlimited,
            at_others,
        }
    }

    pub fn record(&mut self, attempt: Attempt, survived: bool) {
        let tally = &mut self.tallies[attempt.index];
        if survived {
            tally.survived += 1;
        } else {
            tally.lost += 1;
        }
    }

    /// None when the highest rate survived in every run is known, and the one
    /// above it has been tried as often.
    #[must_use]
    pub fn next(&self) -> Option<Attempt> {
        let is_lost = |tally: &&Tally| tally.lost > 0;
        let candidate = self.tallies.iter().take_while(is_lost).count();
        if candidate < RATES.len() && self.tallies[candidate].runs() < self.wanted(candidate) {
            return Some(self.attempt(candidate));
        }
        let above = candidate.checked_sub(1)?;
        (self.tallies[above].runs() < self.wanted(above)).then(|| self.attempt(above))
    }

    fn attempt(&self, index: usize) -> Attempt {
        Attempt {
            rate: RATES[index],
            run: self.tallies[index].runs(),
            of: self.wanted(index),
            index,
        }
    }

    fn wanted(&self, index: usize) -> u32 {
        match RATES[index] {
            Rate::Unlimited => self.at_unlimited,
            Rate::MibPerSec(_) => self.at_others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All attempts, when a store survives what `survives` says of rate and run.
    fn swept(survives: impl Fn(Rate, u32) -> bool) -> Vec<(Rate, u32)> {
        let mut sweep = Sweep::new(3, 2);
        let mut made = Vec::new();
        while let Some(attempt) = sweep.next() {
            made.push((attempt.rate, attempt.run));
            sweep.record(attempt, survives(attempt.rate, attempt.run));
        }
        made
    }

    #[test]
    fn who_survives_all_is_tried_at_full_speed_only() {
        let runs = swept(|_, _| true);
        assert_eq!(runs, [0, 1, 2].map(|run| (Rate::Unlimited, run)));
    }

    #[test]
    fn the_rates_that_decide_are_repeated() {
        let slow = |rate, _| matches!(rate, Rate::MibPerSec(1..=32));
        let (fast, ok) = (Rate::MibPerSec(64), Rate::MibPerSec(32));
        let expected = [(Rate::Unlimited, 0), (fast, 0), (ok, 0), (ok, 1), (fast, 1)];
        assert_eq!(swept(slow), expected);
    }

    #[test]
    fn a_rate_lost_at_the_second_run_is_not_survived() {
        let luck = |rate, run| match rate {
            Rate::Unlimited | Rate::MibPerSec(64) => false,
            Rate::MibPerSec(32) => run == 0,
            Rate::MibPerSec(_) => true,
        };
        let runs = swept(luck);
        assert_eq!(runs.last(), Some(&(Rate::MibPerSec(16), 1)));
        assert_eq!(runs.len(), 6);
    }

    #[test]
    fn who_survives_nothing_is_tried_at_every_rate() {
        let runs = swept(|_, _| false);
        assert_eq!(runs.len(), RATES.len() + 1);
    }
}
