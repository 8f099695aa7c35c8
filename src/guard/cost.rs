//! What something costs that is done again and again. No clock: who does it says what it took.

use std::time::Duration;

/// The lower of the last two times. The first time finds everything cold, and now and then one is disturbed:
/// neither may be taken for what the next one costs, or the guard would not look again for seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    last: Option<Duration>,
    lower: Duration,
}

impl Cost {
    pub(super) fn note(&mut self, took: Duration) {
        self.lower = self.last.map_or(Duration::ZERO, |last| last.min(took));
        self.last = Some(took);
    }

    /// Nothing before it was done twice.
    pub(super) const fn each(self) -> Duration {
        self.lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_first_time_nor_a_disturbed_one_counts() {
        let mut cost = Cost::default();
        let each: Vec<u128> = [12_000, 150, 160, 9_000, 170, 400, 410]
            .map(|micros| {
                cost.note(Duration::from_micros(micros));
                cost.each().as_micros()
            })
            .into();
        assert_eq!(each, [0, 150, 150, 160, 170, 170, 400]);
    }
}
