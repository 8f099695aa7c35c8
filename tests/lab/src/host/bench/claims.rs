//! What the README claims of cowherd beside dmeventd and LVM, judged by the
//! samples. Pure but for telling.

use super::results::Results;
use super::survival;
use crate::figures::{Figures, figures};
use crate::samples::{By, Crossing, Footprint, Guard, Part, Scrapes, Store, SurvivalRun};

/// How much later than a bare lvextend cowherd may be done, in milliseconds.
const BEYOND_LVEXTEND_MS: f64 = 50.0;
/// The bench's ratio of survived rates.
const OUTRUNS: f64 = 20.0;
/// How many scrapes take as long as one fullreport, at this many volumes.
const FASTER_THAN_REPORT: f64 = 100.0;
const FASTER_AT: u32 = 300;
/// The median of a scrape at this many volumes, in milliseconds.
const SCRAPE_MAX_MS: f64 = 30.0;
const SCRAPE_AT: u32 = 1000;
/// Memory beside dmeventd's at this many volumes.
const MEMORY_MAX_RATIO: f64 = 1.2;
const MEMORY_AT: u32 = 300;
/// Processor time while nothing is written, in percent of one.
const IDLE_MAX_PERCENT: f64 = 0.5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub text: String,
    pub figures: String,
    pub holds: bool,
}

/// Those of the parts given.
#[must_use]
pub fn all(results: &Results, parts: &[Part]) -> Vec<Claim> {
    let claims_of = |part: &Part| match part {
        Part::Survival => results
            .survival
            .as_ref()
            .map(|taken| of_survival(&taken.samples)),
        Part::Reaction => results
            .reaction
            .as_ref()
            .map(|taken| of_reaction(&taken.samples)),
        Part::Scrape => results
            .scrape
            .as_ref()
            .map(|taken| of_scrape(&taken.samples)),
        Part::Footprint => results
            .footprint
            .as_ref()
            .map(|taken| of_footprint(&taken.samples)),
    };
    parts.iter().filter_map(claims_of).flatten().collect()
}

/// Prints each; whether all hold.
#[must_use]
pub fn tell(claims: &[Claim]) -> bool {
    println!("claims:");
    for claim in claims {
        let word = if claim.holds { "PASS" } else { "MISS" };
        println!("  {word}  {}: {}", claim.text, claim.figures);
    }
    claims.iter().all(|claim| claim.holds)
}

fn of_survival(runs: &[SurvivalRun]) -> Vec<Claim> {
    vec![
        survives(runs, Store::Cow64),
        survives(runs, Store::PoolFails),
        outruns(runs, Store::Cow64Coarse),
        holds_no_longer(runs, Store::PoolFails),
    ]
}

/// What the fastest writer reached whose store cowherd saved every time, beside the highest rate that dmeventd
/// keeps up with.
fn outruns(runs: &[SurvivalRun], store: Store) -> Claim {
    let highest = |guard| survival::one(runs, store, guard)?.highest;
    let ours = highest(Guard::Cowherd);
    // Without a rate at which it saved the store, the lowest that was tried.
    let theirs = highest(Guard::Dmeventd).map_or(Some(1), |(rate, _)| rate);
    measured(
        format!("{store}: cowherd saves it from a writer {OUTRUNS} times as fast as dmeventd does"),
        ours.zip(theirs).map(|((_, tally), rate)| {
            let told = format!("{:.0} MiB/s, dmeventd {rate} MiB/s", tally.mib_per_sec);
            (told, tally.mib_per_sec >= OUTRUNS * f64::from(rate))
        }),
    )
}

fn holds_no_longer(runs: &[SurvivalRun], store: Store) -> Claim {
    let worst = |guard| survival::one(runs, store, guard)?.worst_write_ms;
    measured(
        format!("{store}: no write waits longer for cowherd than for dmeventd"),
        worst(Guard::Cowherd)
            .zip(worst(Guard::Dmeventd))
            .map(|(ours, theirs)| {
                let told = format!("median of the worst {ours:.0} ms, dmeventd's {theirs:.0} ms");
                (told, ours <= theirs)
            }),
    )
}

/// Every run at the unlimited rate.
fn survives(runs: &[SurvivalRun], store: Store) -> Claim {
    let found = survival::one(runs, store, Guard::Cowherd);
    let highest = found.and_then(|survived| survived.highest);
    let unlimited = highest.filter(|(rate, _)| rate.is_none());
    Claim {
        text: format!("{store}: cowherd saves it from an unlimited writer, every time"),
        figures: match (unlimited, highest) {
            (Some((_, tally)), _) => format!(
                "{} of {}, at {:.0} MiB/s",
                tally.survived, tally.runs, tally.mib_per_sec
            ),
            (None, Some((rate, _))) => format!("only up to {} MiB/s", rate.unwrap_or_default()),
            (None, None) => "at no rate".to_owned(),
        },
        holds: unlimited.is_some(),
    }
}

/// Of one kind of store and who extended it.
#[must_use]
pub fn reaction(crossings: &[Crossing], store: Store, by: By) -> Option<Figures> {
    let chosen = crossings.iter().filter(|c| c.store == store && c.by == by);
    figures(chosen.map(|crossing| crossing.millis))
}

fn of_reaction(crossings: &[Crossing]) -> Vec<Claim> {
    let stores = [Store::Cow64, Store::PoolQueues];
    stores.map(|store| reacts(crossings, store)).into()
}

fn reacts(crossings: &[Crossing], store: Store) -> Claim {
    let ours = reaction(crossings, store, By::Cowherd);
    let bare = reaction(crossings, store, By::Lvextend);
    let text = format!(
        "{store}: cowherd has extended it within the time of a bare lvextend and {BEYOND_LVEXTEND_MS} ms"
    );
    match (ours, bare) {
        (Some(ours), Some(bare)) => Claim {
            text,
            figures: format!(
                "median {:.0} ms, lvextend's {:.0} ms",
                ours.median, bare.median
            ),
            holds: ours.median <= bare.median + BEYOND_LVEXTEND_MS,
        },
        (None, _) | (_, None) => Claim {
            text,
            figures: "not measured".to_owned(),
            holds: false,
        },
    }
}

fn of_scrape(scrapes: &[Scrapes]) -> Vec<Claim> {
    let at = |volumes: u32| scrapes.iter().find(|s| s.volumes == volumes);
    let scrape = |volumes| figures(at(volumes)?.scrapes_ms.iter().copied());
    let report = |volumes| figures(at(volumes)?.fullreports_ms.iter().copied());
    let ratio = scrape(FASTER_AT)
        .zip(report(FASTER_AT))
        .map(|(scrape, report)| report.median / scrape.median);
    let started: u32 = scrapes.iter().map(|s| s.programs_started).sum();
    let counted: u32 = scrapes.iter().map(|s| s.lvm_commands).sum();
    let traced: u32 = scrapes.iter().map(|s| s.traced_scrapes).sum();
    vec![
        measured(
            format!(
                "a scrape of {FASTER_AT} volumes is {FASTER_THAN_REPORT} times as fast as lvm fullreport"
            ),
            ratio.map(|ratio| (format!("{ratio:.0} times"), ratio >= FASTER_THAN_REPORT)),
        ),
        measured(
            format!("a scrape of {SCRAPE_AT} volumes takes less than {SCRAPE_MAX_MS} ms"),
            scrape(SCRAPE_AT).map(|scrape| {
                let told = format!("median {:.1} ms, p99 {:.1} ms", scrape.median, scrape.p99);
                (told, scrape.median < SCRAPE_MAX_MS)
            }),
        ),
        measured(
            "no scrape starts a program: what was started, cowherd's own clock did".to_owned(),
            (traced > 0).then(|| {
                let told = format!("{started} started, {counted} counted in {traced} scrapes");
                (told, started <= counted)
            }),
        ),
    ]
}

fn of_footprint(footprints: &[Footprint]) -> Vec<Claim> {
    let memory = |guard| {
        let found = footprints
            .iter()
            .find(|f| f.guard == guard && f.volumes == MEMORY_AT);
        found.map(resident_mib)
    };
    let beside = memory(Guard::Cowherd)
        .zip(memory(Guard::Dmeventd))
        .map(|(ours, theirs)| {
            let told = format!("{ours:.1} MiB, dmeventd's {theirs:.1} MiB");
            (told, ours <= theirs * MEMORY_MAX_RATIO)
        });
    let idle = |f: &Footprint| f.idle.percent();
    let ours = footprints.iter().filter(|f| f.guard == Guard::Cowherd);
    let told: Vec<String> = ours
        .clone()
        .map(|f| format!("{:.2} % at {}", idle(f), f.volumes))
        .collect();
    let most = figures(ours.map(idle)).map(|figures| figures.greatest);
    vec![
        measured(
            format!("memory at {MEMORY_AT} volumes is at most {MEMORY_MAX_RATIO} times dmeventd's"),
            beside,
        ),
        measured(
            format!("idle, it takes at most {IDLE_MAX_PERCENT} % of a processor"),
            most.map(|most| (told.join(", "), most <= IDLE_MAX_PERCENT)),
        ),
    ]
}

/// Of all its processes.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "KiB of one guest's memory")]
pub fn resident_mib(footprint: &Footprint) -> f64 {
    let kib: u64 = footprint.processes.iter().map(|p| p.resident_kib).sum();
    kib as f64 / 1024.0
}

/// What was not measured does not hold.
fn measured(text: String, found: Option<(String, bool)>) -> Claim {
    let (figures, holds) = found.unwrap_or_else(|| ("not measured".to_owned(), false));
    Claim {
        text,
        figures,
        holds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Load, Process};

    fn crossing(by: By, millis: f64) -> Crossing {
        let store = Store::Cow64;
        Crossing { store, by, millis }
    }

    #[test]
    fn a_reaction_is_judged_by_the_bare_command() {
        let bare = crossing(By::Lvextend, 600.0);
        for (millis, holds) in [(649.0, true), (651.0, false)] {
            let samples = [crossing(By::Cowherd, millis), bare.clone()];
            assert_eq!(reacts(&samples, Store::Cow64).holds, holds, "{millis}");
        }
    }

    fn run(guard: Guard, rate: Option<u32>, lost: bool, worst_write_ms: u64) -> SurvivalRun {
        SurvivalRun {
            store: Store::PoolFails,
            guard,
            rate_mib_per_sec: rate,
            began_after_ms: 0,
            lost: lost.then(|| "lost".to_owned()),
            asked_mib: 80,
            written_mib: 80,
            took_ms: 1000,
            worst_write_ms,
            ran_out: false,
            size_after_mib: 64,
        }
    }

    #[test]
    fn each_claim_of_survival_can_be_missed() {
        let held = |ours: SurvivalRun, theirs: u32| {
            let samples = [
                ours,
                run(Guard::Dmeventd, None, true, 7),
                run(Guard::Dmeventd, Some(theirs), false, 7),
            ];
            let store = Store::PoolFails;
            [
                survives(&samples, store),
                outruns(&samples, store),
                holds_no_longer(&samples, store),
            ]
            .map(|claim| claim.holds)
        };
        let ours = |rate, lost, worst| run(Guard::Cowherd, rate, lost, worst);
        assert_eq!(held(ours(None, false, 7), 4), [true, true, true]);
        assert_eq!(held(ours(None, false, 8), 5), [true, false, false]);
        assert_eq!(held(ours(Some(64), false, 7), 4), [false, true, false]);
        assert_eq!(held(ours(Some(64), false, 7), 5), [false, false, false]);
        assert_eq!(held(ours(None, true, 7), 1)[..2], [false, false]);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert!(!reacts(&[], Store::Cow64).holds);
        assert!(!survives(&[], Store::Cow64).holds);
        let all = [of_scrape(&[]), of_footprint(&[])].concat();
        assert_eq!(all.iter().filter(|claim| claim.holds).count(), 0);
    }

    fn scrapes(volumes: u32, scrape_ms: f64, report_ms: f64, started: u32) -> Scrapes {
        Scrapes {
            volumes,
            scrapes_ms: vec![scrape_ms],
            answers_ms: Vec::new(),
            repeated_ms: Vec::new(),
            fullreports_ms: vec![report_ms],
            exposition_bytes: 1,
            programs_started: started,
            lvm_commands: 1,
            traced_scrapes: 10,
        }
    }

    #[test]
    fn each_claim_of_a_scrape_can_be_missed() {
        let held = |scrape_ms, report_ms, started| {
            let samples = [300, 1000].map(|n| scrapes(n, scrape_ms, report_ms, started));
            of_scrape(&samples)
                .iter()
                .map(|claim| claim.holds)
                .collect::<Vec<_>>()
        };
        assert_eq!(held(20.0, 2000.0, 1), [true, true, true]);
        assert_eq!(held(20.0, 1999.0, 1), [false, true, true]);
        assert_eq!(held(30.0, 3000.0, 1), [true, false, true]);
        assert_eq!(held(20.0, 2000.0, 2), [true, true, false]);
    }

    fn footprint(guard: Guard, resident_kib: u64, idle_secs: f64) -> Footprint {
        let load = |processor_secs| Load {
            over_secs: 60.0,
            processor_secs,
        };
        let process = Process {
            name: "one".to_owned(),
            resident_kib,
            locked_kib: 0,
        };
        Footprint {
            guard,
            volumes: 300,
            processes: vec![process.clone(), process],
            tmpfs_kib: 0,
            idle: load(idle_secs),
            busy: load(1.0),
        }
    }

    #[test]
    fn each_claim_of_a_footprint_can_be_missed() {
        let held = |resident_kib, idle_secs| {
            let theirs = footprint(Guard::Dmeventd, 1000, 9.0);
            let samples = [footprint(Guard::Cowherd, resident_kib, idle_secs), theirs];
            of_footprint(&samples)
                .iter()
                .map(|claim| claim.holds)
                .collect::<Vec<_>>()
        };
        assert_eq!(held(1200, 0.3), [true, true]);
        assert_eq!(held(1201, 0.3), [false, true]);
        assert_eq!(held(1200, 0.31), [true, false]);
    }
}
