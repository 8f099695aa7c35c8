//! `cargo lab test`: every check in order, announced, timed and summed up.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{Host, alerts, monitoring, rounds, schema, tool, workspace};
use crate::scenarios::{self, Scenario};

type Check = fn(&Host) -> Result<()>;
type ByName = (&'static str, Check);

/// They take six minutes each, and the whole must stay well below an hour.
const BY_NAME: [ByName; 2] = [
    (monitoring::NAME, monitoring::check),
    (schema::NAME, schema::check),
];

/// What was run and how it came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Skipped, and therefore failed.
    ignored: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    fn of_one(passed: bool) -> Self {
        Self {
            passed: usize::from(passed),
            failed: usize::from(!passed),
            ignored: 0,
        }
    }
}

pub fn test(names: &[String]) -> Result<u8> {
    let chosen = chosen(names)?;
    let by_name = BY_NAME
        .iter()
        .filter(|(name, _)| names.iter().any(|n| n == name));
    let by_name: Vec<&ByName> = by_name.collect();
    let start = Instant::now();
    let host = Host::prepare()?;
    let mut steps = Vec::new();
    let ready = if names.is_empty() {
        // Cargo has built cowherd for its tests; for itself it would build a third of it again.
        static_checks(&mut steps)?
    } else {
        build_cowherd(&mut steps)?
    };
    if ready {
        if !chosen.is_empty() {
            steps.push(run_scenarios(&host, &chosen)?);
        }
        for (name, check) in by_name {
            steps.push(checked(name, *check, &host)?);
        }
    } else {
        println!("lab: no scenario ran");
        let not_run = Tally {
            ignored: chosen.len() + by_name.len(),
            ..Tally::default()
        };
        steps.push(("scenarios", not_run));
    }
    Ok(sum_up(&steps, start))
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    let all = scenarios::all();
    let by_name = || BY_NAME.iter().map(|(name, _)| *name);
    let known = |name: &String| {
        by_name()
            .chain(all.iter().map(|s| s.name))
            .any(|n| n == name)
    };
    if let Some(unknown) = names.iter().find(|n| !known(n)) {
        let mut list: Vec<&str> = all.iter().map(|s| s.name).collect();
        list.extend(by_name());
        bail!(
            "no scenario {unknown:?}; there are:\n  {}",
            list.join("\n  ")
        );
    }
    let is_chosen = |s: &Scenario| {
        let is_named = names.iter().any(|n| n == s.name);
        is_named || names.is_empty() && !s.is_on_demand
    };
    Ok(all.into_iter().filter(is_chosen).collect())
}

type Step = (&'static str, Tally);

/// Format, lints, alerts and cargo's tests; false at the first that fails.
fn static_checks(steps: &mut Vec<Step>) -> Result<bool> {
    let plain: [(&'static str, &[&str]); 2] = [
        ("format", &["fmt", "--all", "--check"]),
        (
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
    ];
    for (name, words) in plain {
        let passed = announced(name, || Ok(cargo(words).status()?.success()))?;
        steps.push((name, Tally::of_one(passed)));
        if !passed {
            return Ok(false);
        }
    }
    let passed = announced("alerts", alerts::check)?;
    steps.push(("alerts", Tally::of_one(passed)));
    if !passed {
        return Ok(false);
    }
    let mut tally = Tally::default();
    let passed = announced("cargo test", || {
        let (told, succeeded) = cargo_test()?;
        tally = told;
        // Cargo may fail without any test failing: a test that does not build.
        if !succeeded && tally.failed == 0 {
            tally.failed = 1;
        }
        Ok(succeeded && tally.failed + tally.ignored == 0)
    })?;
    steps.push(("cargo tests", tally));
    Ok(passed)
}

fn build_cowherd(steps: &mut Vec<Step>) -> Result<bool> {
    let words = ["build", "--package", "cowherd"];
    let built = announced("build", || Ok(cargo(&words).status()?.success()))?;
    if !built {
        steps.push(("build", Tally::of_one(false)));
    }
    Ok(built)
}

/// Builds cowherd for a command that is no test.
pub fn build() -> Result<()> {
    ensure!(build_cowherd(&mut Vec::new())?, "cowherd does not build");
    Ok(())
}

/// Builds what users run.
pub fn build_release() -> Result<()> {
    let words = ["build", "--release", "--locked", "--package", "cowherd"];
    let built = announced("release build", || Ok(cargo(&words).status()?.success()))?;
    ensure!(built, "cowherd does not build");
    Ok(())
}

fn run_scenarios(host: &Host, chosen: &[Scenario]) -> Result<Step> {
    let mut tally = Tally::default();
    announced("scenarios", || {
        let judged = rounds::run(host, chosen)?;
        for one in &judged {
            tally.add(Tally::of_one(one.passed));
        }
        tally.ignored = chosen.len() - judged.len();
        Ok(tally.failed + tally.ignored == 0)
    })?;
    Ok(("scenarios", tally))
}

fn checked(name: &'static str, check: Check, host: &Host) -> Result<Step> {
    let passed = announced(name, || {
        Ok(match check(host) {
            Ok(()) => true,
            Err(error) => {
                println!("  FAIL  {error:#}");
                false
            }
        })
    })?;
    Ok((name, Tally::of_one(passed)))
}

fn announced(name: &str, check: impl FnOnce() -> Result<bool>) -> Result<bool> {
    println!("==> {name}");
    let start = Instant::now();
    let passed = check().with_context(|| name.to_owned())?;
    let word = if passed { "passed" } else { "FAILED" };
    println!(
        "<== {name} {word} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(passed)
}

fn cargo(words: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = tool::command(&program);
    command.args(words).current_dir(workspace::root());
    command
}

/// Passes its lines on and counts what they tell.
fn cargo_test() -> Result<(Tally, bool)> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let stdout = child.stdout.take().context("cargo's output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading cargo's output")?;
        println!("{line}");
        if let Some(counted) = parse_result(&line) {
            tally.add(counted);
        }
    }
    Ok((tally, child.wait()?.success()))
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; ...`
fn parse_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = counts.split("; ").find_map(|p| p.strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

/// The last line is for machines: `N passed, M failed`.
fn sum_up(steps: &[Step], start: Instant) -> u8 {
    println!("\nsummary, after {:.0} s:", start.elapsed().as_secs_f64());
    let mut whole = Tally::default();
    for (name, tally) in steps {
        let Tally {
            passed,
            failed,
            ignored,
        } = *tally;
        println!("  {name:<12} {passed:>4} passed {failed:>4} failed {ignored:>4} did not run");
        whole.add(*tally);
    }
    let failed = whole.failed + whole.ignored;
    println!("{} passed, {failed} failed", whole.passed);
    u8::from(failed > 0 || whole.passed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tells_what_it_ran() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let expected = Tally {
            passed: 12,
            failed: 3,
            ignored: 1,
        };
        assert_eq!(parse_result(line), Some(expected));
        assert_eq!(parse_result("test model::x ... ok"), None);
        assert_eq!(parse_result("test result: ok. many passed"), None);
    }

    #[test]
    fn what_did_not_run_has_failed() {
        let skipped = Tally {
            passed: 5,
            failed: 0,
            ignored: 1,
        };
        assert_eq!(sum_up(&[("x", skipped)], Instant::now()), 1);
        assert_eq!(sum_up(&[("x", Tally::of_one(true))], Instant::now()), 0);
        assert_eq!(sum_up(&[], Instant::now()), 1, "nothing ran at all");
    }

    #[test]
    fn an_unknown_scenario_is_refused_with_the_list() {
        let error = chosen(&["no_such_claim".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("writer_reports_what_it_wrote"), "{error}");
    }
}
