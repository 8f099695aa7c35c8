//! Runs scenarios in guests: those that share one in as few as their disks
//! allow, the others each in its own. First two guests beside each other; then, one
//! guest at a time, those whose claims are timings. One of these that failed while the machine was slow is asked again:
//! it says nothing of cowherd.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::Host;
use super::machine::{Boot, Build, End, Event, Guest};
use super::qemu::{DISKS_MAX, PROCESSORS};
use super::speed::Speed;
use crate::scenarios::{self, Scenario};
use crate::size::Size;
use crate::verdict::{self, Outcome, Verdict};

/// From QEMU's start to the first scenario on a busy, emulated machine.
const BOOT: Duration = Duration::from_secs(90);
/// Cleaning up after one scenario, at worst.
const CLEANUP: Duration = Duration::from_secs(60);

/// How one scenario ended, as the host tells it.
#[derive(Debug)]
pub struct Judged {
    pub name: &'static str,
    pub passed: bool,
    /// How many times slower than at its best the machine was meanwhile, where that is worth telling.
    pub slowdown: Option<f64>,
}

/// Runs all of them; every scenario given has exactly one entry in the answer.
pub fn run(host: &Host, chosen: &[Scenario]) -> Result<Vec<Judged>> {
    let (timed, others): (Vec<Scenario>, Vec<Scenario>) =
        chosen.iter().copied().partition(|s| s.is_timed);
    let [one, two] = halves(&others);
    let mut judged = thread::scope(|scope| {
        let beside = scope.spawn(|| in_turn(host, "beside", &two));
        let judged = in_turn(host, "shared", &one);
        let beside = beside.join().map_err(|_| anyhow!("a guest's thread"))?;
        let mut judged = judged?;
        judged.extend(beside?);
        anyhow::Ok(judged)
    })?;
    judged.extend(timed_in_turn(host, &timed)?);
    Ok(judged)
}

fn timed_in_turn(host: &Host, timed: &[Scenario]) -> Result<Vec<Judged>> {
    let mut judged = in_turn(host, "timed", timed)?;
    let is_void = |one: &Judged| !one.passed && one.slowdown.is_some();
    let void = judged.iter().filter(|one| is_void(one));
    let void: Vec<Scenario> = void.filter_map(|one| scenarios::find(one.name)).collect();
    if !void.is_empty() {
        println!("  ----  once more what failed while the machine was slow, and for the last time");
        judged.retain(|one| !is_void(one));
        judged.extend(in_turn(host, "again", &void)?);
    }
    Ok(judged)
}

/// Dealt out like cards: long ones are next to each other in the list.
fn halves(scenarios: &[Scenario]) -> [Vec<Scenario>; 2] {
    let dealt = |to| scenarios.iter().skip(to).step_by(2).copied().collect();
    [dealt(0), dealt(1)]
}

/// One guest after the other; those that are shared are called `shared-N`, with that word.
fn in_turn(host: &Host, shared: &str, chosen: &[Scenario]) -> Result<Vec<Judged>> {
    let mut judged = Vec::new();
    let mut rounds = rounds(chosen);
    rounds.reverse();
    let mut number = 0;
    while let Some(round) = rounds.pop() {
        number += 1;
        let name = match round.as_slice() {
            [only] => only.name.to_owned(),
            _ => format!("{shared}-{number}"),
        };
        let rest = run_round(host, &name, &round, &mut judged)?;
        if !rest.is_empty() {
            rounds.push(rest);
        }
    }
    Ok(judged)
}

/// Groups of scenarios, one guest each.
fn rounds(chosen: &[Scenario]) -> Vec<Vec<Scenario>> {
    let mut shared: Vec<Vec<Scenario>> = Vec::new();
    let mut own = Vec::new();
    for scenario in chosen {
        match scenario.boot {
            scenarios::Boot::Own => own.push(vec![*scenario]),
            scenarios::Boot::Shared => match shared.last_mut() {
                Some(round) if disks(round).len() + scenario.disks.len() <= DISKS_MAX => {
                    round.push(*scenario);
                }
                Some(_) | None => shared.push(vec![*scenario]),
            },
        }
    }
    shared.extend(own);
    shared
}

fn disks(round: &[Scenario]) -> Vec<Size> {
    round.iter().flat_map(|s| s.disks).copied().collect()
}

/// One guest. Gives the scenarios it did not come to: they need a fresh one.
fn run_round(
    host: &Host,
    name: &str,
    round: &[Scenario],
    judged: &mut Vec<Judged>,
) -> Result<Vec<Scenario>> {
    let mut guest = boot(host, name, round)?;
    let began = Instant::now();
    let mut verdicts = Verdicts::of(&guest, &host.speed);
    let end = guest.watch(
        &host.interrupt,
        Some(deadline(round)),
        |event| match event {
            Event::Line(_) => {}
            Event::Tick => verdicts.tell_new(),
        },
    )?;
    if end == End::Interrupted {
        bail!("interrupted");
    }
    let told = verdicts.told;
    let all = round.iter().zip(&told);
    judged.extend(all.map(|(scenario, (verdict, slowdown))| Judged {
        name: scenario.name,
        passed: verdict.outcome == Outcome::Passed,
        slowdown: *slowdown,
    }));
    let rest = &round[told.len().min(round.len())..];
    let last = told.last().map(|(verdict, _)| verdict.outcome);
    let gave_up = last == Some(Outcome::Wedged);
    match rest.split_first() {
        // It ended without a word: the one that ran is to blame.
        Some((running, rest)) if !gave_up => {
            println!("  FAIL  {}: the guest {}", running.name, died(end));
            println!("        console: {}", guest.console_file.display());
            judged.push(Judged {
                name: running.name,
                passed: false,
                slowdown: host.speed.slowdown_since(began),
            });
            Ok(rest.to_vec())
        }
        Some(_) | None => Ok(rest.to_vec()),
    }
}

fn boot(host: &Host, name: &str, round: &[Scenario]) -> Result<Guest> {
    let names: Vec<&str> = round.iter().map(|s| s.name).collect();
    let memory = round.iter().map(|s| s.memory).max();
    Guest::boot(
        host,
        &Boot {
            name,
            verb: &format!("scenarios {}", names.join(" ")),
            disks: &disks(round),
            processors: processors(round),
            memory: memory.context("a round without a scenario")?,
            forward: None,
            cowherd: Build::Dev,
        },
    )
}

/// Guests beside each other share two: with one each, neither waits for the other in the middle of something.
fn processors(round: &[Scenario]) -> u8 {
    if round.iter().any(|s| s.is_timed) {
        PROCESSORS
    } else {
        1
    }
}

fn died(end: End) -> &'static str {
    match end {
        End::PoweredOff => "died",
        End::Deadline => "was ended at its deadline",
        End::Interrupted => "was interrupted",
    }
}

fn deadline(round: &[Scenario]) -> Duration {
    let each = |s: &Scenario| s.deadline + CLEANUP;
    BOOT + round.iter().map(each).sum::<Duration>()
}

/// The verdicts the guest has left so far, each told once, and how slow the machine was meanwhile.
struct Verdicts<'a> {
    out: PathBuf,
    console: PathBuf,
    speed: &'a Speed,
    told: Vec<(Verdict, Option<f64>)>,
}

impl<'a> Verdicts<'a> {
    fn of(guest: &Guest, speed: &'a Speed) -> Self {
        Self {
            out: guest.run_dir.out(),
            console: guest.console_file.clone(),
            speed,
            told: Vec::new(),
        }
    }

    fn tell_new(&mut self) {
        let text = fs::read_to_string(self.out.join(verdict::FILE)).unwrap_or_default();
        for verdict in verdict::parse_all(&text).into_iter().skip(self.told.len()) {
            let since = Instant::now().checked_sub(verdict.took);
            let slowdown = since.and_then(|since| self.speed.slowdown_since(since));
            self.tell(&verdict);
            if let Some(slowdown) = slowdown {
                println!("        the machine took {slowdown:.1} times as long as at its best");
            }
            self.told.push((verdict, slowdown));
        }
    }

    fn tell(&self, verdict: &Verdict) {
        let (name, secs) = (&verdict.name, verdict.took.as_secs_f64());
        match verdict.outcome {
            Outcome::Passed => println!("  ok    {name} ({secs:.1} s)"),
            Outcome::Failed | Outcome::Wedged => {
                println!("  FAIL  {name} ({secs:.1} s)");
                let report = fs::read_to_string(self.out.join(name)).unwrap_or_default();
                for line in report.lines() {
                    println!("        {line}");
                }
                println!("        console: {}", self.console.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: &[Size] = &[Size::mib(1); 50];

    fn scenario(name: &'static str) -> Scenario {
        Scenario::new(name, "", |_| Ok(())).disks(MANY)
    }

    #[test]
    fn shared_scenarios_fill_guests_and_others_are_alone() {
        let chosen = [
            scenario("a"),
            scenario("own").own_guest(),
            scenario("b"),
            scenario("c"),
        ];
        let names: Vec<Vec<&str>> = rounds(&chosen)
            .iter()
            .map(|round| round.iter().map(|s| s.name).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["own"]]);
    }

    #[test]
    fn each_scenario_is_dealt_out_once() {
        let chosen = ["a", "b", "c"].map(scenario);
        let names = halves(&chosen).map(|half| half.iter().map(|s| s.name).collect::<Vec<_>>());
        assert_eq!(names, [vec!["a", "c"], vec!["b"]]);
    }
}
