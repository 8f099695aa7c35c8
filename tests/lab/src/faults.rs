//! Holds `faults.toml`, the list of what can go wrong and what is done about it, against what there is: every
//! scenario, test and part of the simulation that it names must exist. What a named test proves is for people to read.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::scenarios;

/// In the list, each once.
const FAULTS: usize = 82;
/// At least so many must be run by something: to take a proof away is a decision, not an accident.
const RUN_MIN: usize = 68;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    fault: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    number: usize,
    #[serde(rename = "fault")]
    what: String,
    holds: String,
    #[serde(default)]
    scenarios: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    simulation: Vec<String>,
    not_run: Option<String>,
}

impl Fault {
    fn runs(&self) -> bool {
        !(self.scenarios.is_empty() && self.tests.is_empty() && self.simulation.is_empty())
    }
}

fn list() -> List {
    toml::from_str(include_str!("../faults.toml")).expect("faults.toml is a list of faults")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The source of `suite::module::name` or `src::module::name`, where there is one.
fn source_of(module: &str) -> Option<String> {
    let path = workspace().join(match module.strip_prefix("suite::") {
        Some(rest) => format!("tests/suite/{}", rest.replace("::", "/")),
        None => module.replace("::", "/"),
    });
    let file = fs::read_to_string(path.with_extension("rs"));
    file.or_else(|_| fs::read_to_string(path.join("mod.rs")))
        .ok()
}

/// Whether a line with this function follows one that makes it a test, as it does in a proptest, too.
fn has_test(source: &str, name: &str) -> bool {
    let begins = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let pairs = lines.windows(2);
    pairs
        .into_iter()
        .any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&begins))
}

fn is_test(name: &str) -> bool {
    let parts = name.rsplit_once("::");
    parts.is_some_and(|(module, test)| {
        source_of(module).is_some_and(|source| has_test(&source, test))
    })
}

fn simulation() -> String {
    let folder = workspace().join("tests/suite/simulation");
    let files = fs::read_dir(folder).expect("the simulation is here");
    let paths = files.map(|file| file.expect("it can be read").path());
    let texts = paths.map(|path| fs::read_to_string(path).expect("it is text"));
    texts.collect::<Vec<_>>().join("\n")
}

/// A variant as it is written, a function of a type, or any other text of the simulation.
fn is_simulated(simulation: &str, item: &str) -> bool {
    let function = item
        .rsplit_once("::")
        .map(|(_, name)| format!("fn {name}("));
    simulation.contains(item) || function.is_some_and(|begins| simulation.contains(&begins))
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_fault_is_there_once_and_in_order() {
    let numbers: Vec<usize> = list().fault.iter().map(|fault| fault.number).collect();
    assert_eq!(numbers, (1..=FAULTS).collect::<Vec<_>>());
}

#[test]
fn every_fault_says_what_holds_and_is_run_or_says_why_not() {
    let is_said = |text: &str| text.len() > 20 && text.ends_with('.');
    let mut faults = Vec::new();
    for fault in list().fault {
        let number = fault.number;
        if fault.what.is_empty() || !is_said(&fault.holds) {
            faults.push(format!("{number}: `fault` and `holds` are sentences"));
        }
        match (&fault.not_run, fault.runs()) {
            (None, false) => faults.push(format!("{number}: neither run nor excused")),
            (Some(why), true) => faults.push(format!("{number}: run and excused: {why}")),
            (Some(why), false) if why.len() < 20 => {
                faults.push(format!("{number}: {why:?} is no reason"));
            }
            (Some(_), false) | (None, true) => {}
        }
    }
    none(&faults);
}

#[test]
fn everything_that_is_named_exists() {
    let simulation = simulation();
    let mut faults = Vec::new();
    for fault in list().fault {
        let missing = |kind: &str, name: &str| format!("{}: no {kind} {name}", fault.number);
        let scenarios = fault.scenarios.iter();
        let scenarios = scenarios.filter(|name| scenarios::find(name).is_none());
        faults.extend(scenarios.map(|name| missing("scenario", name)));
        let tests = fault.tests.iter().filter(|name| !is_test(name));
        faults.extend(tests.map(|name| missing("test", name)));
        let items = fault.simulation.iter();
        let items = items.filter(|item| !is_simulated(&simulation, item));
        faults.extend(items.map(|item| missing("part of the simulation called", item)));
    }
    none(&faults);
}

#[test]
fn no_fewer_faults_are_run_than_before() {
    let list = list();
    let count = |is_it: fn(&&Fault) -> bool| list.fault.iter().filter(is_it).count();
    let run = count(|fault| fault.runs());
    println!(
        "{run} of {FAULTS} run: {} by scenarios, {} by tests, {} by the simulation",
        count(|fault| !fault.scenarios.is_empty()),
        count(|fault| !fault.tests.is_empty()),
        count(|fault| !fault.simulation.is_empty()),
    );
    assert!(run >= RUN_MIN, "{run} of {FAULTS} run, {RUN_MIN} did");
}
