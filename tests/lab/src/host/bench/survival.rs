//! Which rate each guard's stores survived, out of the raw runs. Pure.

use std::collections::BTreeMap;

use crate::figures::figures;
use crate::samples::{Guard, Store, SurvivalRun};

/// Above every rate that is a number.
pub type Rate = Option<u32>;

/// What is known of one guard and one store.
#[derive(Debug, Clone, PartialEq)]
pub struct Survived {
    pub store: Store,
    pub guard: Guard,
    /// The highest rate that every run survived, and its runs.
    pub highest: Option<(Rate, Tally)>,
    /// The lowest rate above it, and its runs; none above unlimited.
    pub beyond: Option<(Rate, Tally)>,
    /// The median of each run's longest write at the unlimited rate; of a pool only.
    pub worst_write_ms: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub survived: usize,
    pub runs: usize,
    /// The median of what the writers reached.
    pub mib_per_sec: f64,
}

#[must_use]
pub fn all(runs: &[SurvivalRun]) -> Vec<Survived> {
    let pairs = Store::ALL
        .into_iter()
        .flat_map(|store| Guard::BOTH.map(|guard| (store, guard)));
    pairs
        .filter_map(|(store, guard)| one(runs, store, guard))
        .collect()
}

/// None when no such run was made.
#[must_use]
pub fn one(runs: &[SurvivalRun], store: Store, guard: Guard) -> Option<Survived> {
    let mut rates: BTreeMap<u32, Vec<&SurvivalRun>> = BTreeMap::new();
    for run in runs.iter().filter(|r| r.store == store && r.guard == guard) {
        rates
            .entry(run.rate_mib_per_sec.unwrap_or(u32::MAX))
            .or_default()
            .push(run);
    }
    let (mut highest, mut beyond) = (None, None);
    for (rate, runs) in &rates {
        let rate = (*rate != u32::MAX).then_some(*rate);
        let tally = tally(runs);
        if tally.survived < tally.runs {
            beyond = Some((rate, tally));
            break;
        }
        highest = Some((rate, tally));
    }
    let unlimited = rates.get(&u32::MAX).into_iter().flatten();
    let worst = figures(
        unlimited.map(|run| f64::from(u32::try_from(run.worst_write_ms).unwrap_or(u32::MAX))),
    );
    (!rates.is_empty()).then_some(Survived {
        store,
        guard,
        highest,
        beyond,
        worst_write_ms: worst
            .filter(|_| !store.is_cow())
            .map(|figures| figures.median),
    })
}

fn tally(runs: &[&SurvivalRun]) -> Tally {
    let reached = figures(runs.iter().map(|run| run.mib_per_sec()));
    Tally {
        survived: runs.iter().filter(|run| run.survived()).count(),
        runs: runs.len(),
        mib_per_sec: reached.map_or(0.0, |figures| figures.median),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: Rate, survived: bool) -> SurvivalRun {
        SurvivalRun {
            store: Store::Cow64,
            guard: Guard::Dmeventd,
            rate_mib_per_sec: rate,
            began_after_ms: 0,
            lost: (!survived).then(|| "Invalid".to_owned()),
            asked_mib: 256,
            written_mib: 64,
            took_ms: 2000,
            worst_write_ms: 7,
            ran_out: false,
            size_after_mib: 64,
        }
    }

    #[test]
    fn the_highest_rate_is_the_one_below_the_first_loss() {
        let runs = [
            run(None, false),
            run(Some(4), true),
            run(Some(4), false),
            run(Some(2), true),
            run(Some(2), true),
        ];
        let found = one(&runs, Store::Cow64, Guard::Dmeventd).unwrap();
        let (highest, beyond) = (found.highest.unwrap(), found.beyond.unwrap());
        assert_eq!(
            (highest.0, highest.1.survived, highest.1.runs),
            (Some(2), 2, 2)
        );
        assert_eq!(
            (beyond.0, beyond.1.survived, beyond.1.runs),
            (Some(4), 1, 2)
        );
        assert_eq!(found.worst_write_ms, None, "a snapshot's");
    }

    #[test]
    fn nothing_lies_beyond_unlimited() {
        let found = one(&[run(None, true)], Store::Cow64, Guard::Dmeventd).unwrap();
        assert_eq!(found.highest.map(|(rate, _)| rate), Some(None));
        assert_eq!(found.beyond, None);
        assert_eq!(one(&[], Store::Cow64, Guard::Cowherd), None);
    }
}
