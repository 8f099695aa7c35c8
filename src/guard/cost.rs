//! What something costs that is done again and again. No clock: who does it says what it took.

use std::time::Duration;

/// An average that a single disturbed time hardly moves, and that one much cheaper time sets right. The first
/// time finds everything cold and does not count: taken for what the next one costs, it would put that off for
/// seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    is_warm: bool,
    average: Option<Duration>,
}

impl Cost {
    pub(super) fn note(&mut self, took: Duration) {
        self.average = match self.average {
            None if !self.is_warm => None,
            Some(average) if took * 2 >= average => Some((average * 3 + took.min(average * 2)) / 4),
            None | Some(_) => Some(took),
        };
        self.is_warm = true;
    }

    /// Nothing before it was done twice.
    pub(super) fn each(self) -> Duration {
        self.average.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: &[u64]) -> u128 {
        let mut cost = Cost::default();
        for micros in times {
            cost.note(Duration::from_micros(*micros));
        }
        cost.each().as_micros()
    }

    #[test]
    fn the_first_time_does_not_count() {
        assert_eq!(after(&[12_000]), 0);
        assert_eq!(after(&[12_000, 200]), 200);
    }

    #[test]
    fn a_disturbed_time_hardly_counts() {
        assert_eq!(after(&[12_000, 200, 9_000]), 250);
        assert_eq!(
            after(&[12_000, 9_000, 200]),
            200,
            "the second was disturbed"
        );
    }

    #[test]
    fn what_lasts_is_followed() {
        assert_eq!(after(&[200, 100, 140]), 110);
        assert!(after(&[[200, 100].as_slice(), &[300; 20]].concat()) > 295);
    }
}
