//! The command line of `cargo lab`: words in, a checked [`Command`] out. Pure.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::samples::Part;
use crate::size::Size;

pub const HELP: &str = "\
Boots a real Linux kernel in QEMU and proves cowherd on it.

Usage: cargo lab COMMAND

  test [NAME...]      without names: format, lints, all cargo tests and all scenarios;
                      with names: only those scenarios; by name only: monitoring,
                      a real Prometheus and Alertmanager that watch a guest; schema,
                      in which schemathesis tries the API's document on a guest;
                      and what list says so of
  list                the scenarios, one line each
  demo [--for SECS] [--port PORT]
                      a guest whose volumes fill while cowherd extends them, with its
                      page on this machine's 127.0.0.1:PORT (10845 unless told)
  bench [--runs N] [--only PART]... [--kept] [--save]
                      cowherd and dmeventd side by side: survival, reaction, scrape,
                      footprint; tables, and JSON and pictures in target/lab/bench;
                      fails when a claim of the README does not hold; --kept tells
                      the last results without measuring; --save puts them to
                      tests/lab/bench
  fleet [--hosts N] [--save]
                      a Prometheus that scrapes N (1000) simulated hosts: what scrapes,
                      rules and dashboards cost it; --save puts it to tests/lab/bench
  exec [--disk SIZE]... [--memory SIZE] [--timeout SECS] [--save DIR] -- COMMAND...
                      run a shell command in a fresh guest (disks are /dev/vda, ...);
                      its exit code is ours; what it leaves in /out/saved goes to DIR
  --help              this text

SIZE is a whole number with M or G. What the lab keeps is in target/lab:
the kernel, and the console of every guest under consoles/.";

/// Where cowherd listens unless told otherwise.
pub const PAGE_PORT: u16 = 10845;
/// Where the API is served in guests.
pub const API_PORT: u16 = 10846;
/// An `exec` guest without `--timeout` is ended after this long.
const EXEC_TIMEOUT: Duration = Duration::from_secs(300);
/// Enough for LVM and a handful of pools; the overlay lives in it too.
const EXEC_MEMORY: Size = Size::gib(1);
/// Runs of what the README claims; what takes minutes is run a seventh as often.
const BENCH_RUNS: u32 = 20;
/// What one Prometheus is expected to carry.
const FLEET_HOSTS: u32 = 1000;
/// Disks of an `exec` guest when none is named.
const EXEC_DISKS: [Size; 2] = [Size::gib(2), Size::gib(2)];

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    List,
    Test { names: Vec<String> },
    Demo(Demo),
    Bench(Bench),
    Fleet { hosts: u32, save: bool },
    Exec(Exec),
    Guest { verb: Vec<String> },
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Demo {
    /// End by itself after this long; until Ctrl-C when absent.
    pub lasts: Option<Duration>,
    pub port: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Bench {
    pub runs: u32,
    /// In order and each once; all when none was named.
    pub parts: Vec<Part>,
    /// Tell what was measured before.
    pub kept: bool,
    pub save: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Exec {
    pub disks: Vec<Size>,
    pub memory: Size,
    pub timeout: Duration,
    pub save: Option<PathBuf>,
    pub command: String,
}

pub fn parse(words: &[String]) -> Result<Command> {
    let Some((verb, rest)) = words.split_first() else {
        return Ok(Command::Help);
    };
    match verb.as_str() {
        "--help" | "-h" | "help" => Ok(Command::Help),
        _ if rest
            .iter()
            .take_while(|w| *w != "--")
            .any(|w| w == "--help") =>
        {
            Ok(Command::Help)
        }
        "list" => {
            ensure!(rest.is_empty(), "list takes no arguments");
            Ok(Command::List)
        }
        "test" => parse_test(rest),
        "demo" => parse_demo(rest),
        "bench" => parse_bench(rest),
        "fleet" => parse_fleet(rest),
        "exec" => parse_exec(rest),
        "guest" => Ok(Command::Guest {
            verb: rest.to_vec(),
        }),
        other => bail!("unknown command {other:?}; see cargo lab --help"),
    }
}

fn parse_test(words: &[String]) -> Result<Command> {
    if let Some(option) = words.iter().find(|w| w.starts_with('-')) {
        bail!("test has no option {option:?}");
    }
    Ok(Command::Test {
        names: words.to_vec(),
    })
}

fn parse_demo(words: &[String]) -> Result<Command> {
    let mut demo = Demo {
        lasts: None,
        port: PAGE_PORT,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--for" => demo.lasts = Some(seconds(word, words.next())?),
            "--port" => demo.port = parsed_value(word, words.next())?,
            other => bail!("demo has no option {other:?}"),
        }
    }
    ensure!(demo.port != 0, "--port must be 1 to 65535");
    Ok(Command::Demo(demo))
}

fn parse_bench(words: &[String]) -> Result<Command> {
    let mut runs = BENCH_RUNS;
    let mut parts = Vec::new();
    let (mut kept, mut save) = (false, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--runs" => runs = parsed_value(word, words.next())?,
            "--only" => {
                let part = words.next().context("--only needs a value")?;
                parts.push(Part::of_word(part).with_context(|| format!("no part {part:?}"))?);
            }
            "--kept" => kept = true,
            "--save" => save = true,
            other => bail!("bench has no option {other:?}"),
        }
    }
    ensure!(runs > 0, "--runs must be at least 1");
    if parts.is_empty() {
        parts.extend(Part::ALL);
    }
    parts.sort_unstable();
    parts.dedup();
    Ok(Command::Bench(Bench {
        runs,
        parts,
        kept,
        save,
    }))
}

fn parse_fleet(words: &[String]) -> Result<Command> {
    let (mut hosts, mut save) = (FLEET_HOSTS, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hosts" => hosts = parsed_value(word, words.next())?,
            "--save" => save = true,
            other => bail!("fleet has no option {other:?}"),
        }
    }
    ensure!((1..=9999).contains(&hosts), "--hosts must be 1 to 9999");
    Ok(Command::Fleet { hosts, save })
}

fn parse_exec(words: &[String]) -> Result<Command> {
    let mut disks = Vec::new();
    let mut memory = EXEC_MEMORY;
    let mut timeout = EXEC_TIMEOUT;
    let mut save = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--disk" => disks.push(parsed_value(word, words.next())?),
            "--memory" => memory = parsed_value(word, words.next())?,
            "--timeout" => timeout = seconds(word, words.next())?,
            "--save" => save = Some(parsed_value(word, words.next())?),
            "--" => break,
            other => bail!("exec has no option {other:?}; the command follows --"),
        }
    }
    let command = words.map(String::as_str).collect::<Vec<_>>().join(" ");
    ensure!(!command.is_empty(), "exec needs a command after --");
    if disks.is_empty() {
        disks.extend(EXEC_DISKS);
    }
    Ok(Command::Exec(Exec {
        disks,
        memory,
        timeout,
        save,
        command,
    }))
}

fn parsed_value<T: std::str::FromStr>(option: &str, value: Option<&String>) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let value = value.with_context(|| format!("{option} needs a value"))?;
    value
        .parse()
        .with_context(|| format!("{option}: {value:?} is not valid"))
}

fn seconds(option: &str, value: Option<&String>) -> Result<Duration> {
    let secs: u64 = parsed_value(option, value)?;
    ensure!(secs > 0, "{option} must be at least 1 second");
    Ok(Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn nothing_and_help_explain_the_command() {
        for line in ["", "--help", "-h", "test --help", "exec --help"] {
            assert_eq!(parsed(line).unwrap(), Command::Help, "{line:?}");
        }
    }

    #[test]
    fn help_after_the_dashes_belongs_to_the_command() {
        let Command::Exec(exec) = parsed("exec -- lvs --help").unwrap() else {
            panic!("not exec");
        };
        assert_eq!(exec.command, "lvs --help");
    }

    #[test]
    fn exec_takes_all_its_options() {
        let expected = Exec {
            disks: vec![Size::gib(1), Size::mib(300)],
            memory: Size::gib(2),
            timeout: Duration::from_secs(7),
            save: Some(PathBuf::from("kept")),
            command: "lvs -a".to_owned(),
        };
        let line = "exec --disk 1G --disk 300M --memory 2G --timeout 7 --save kept -- lvs -a";
        assert_eq!(parsed(line).unwrap(), Command::Exec(expected));
    }

    #[test]
    fn bench_measures_every_part_unless_told() {
        let bench = |runs, parts: &[Part], kept, save| {
            let parts = parts.to_vec();
            Command::Bench(Bench {
                runs,
                parts,
                kept,
                save,
            })
        };
        assert_eq!(
            parsed("bench --kept").unwrap(),
            bench(20, &Part::ALL, true, false)
        );
        let parts = [Part::Reaction, Part::Scrape];
        assert_eq!(
            parsed("bench --only scrape --runs 3 --only reaction --save").unwrap(),
            bench(3, &parts, false, true)
        );
    }

    #[test]
    fn demo_has_the_usual_port_unless_told() {
        let demo = |lasts, port| Command::Demo(Demo { lasts, port });
        assert_eq!(parsed("demo").unwrap(), demo(None, 10845));
        let lasts = Some(Duration::from_secs(90));
        assert_eq!(
            parsed("demo --for 90 --port 8080").unwrap(),
            demo(lasts, 8080)
        );
    }

    #[test]
    fn faulty_command_lines_are_refused() {
        for line in [
            "fly",
            "list all",
            "test --fast",
            "demo --for",
            "demo --for 0",
            "demo --port 70000",
            "demo --port 0",
            "demo now",
            "bench --runs 0",
            "bench --only speed",
            "bench survival",
            "fleet --hosts 0",
            "fleet now",
            "exec",
            "exec --",
            "exec ls",
            "exec --disk 5 -- ls",
        ] {
            assert!(parsed(line).is_err(), "{line:?} was accepted");
        }
    }
}
