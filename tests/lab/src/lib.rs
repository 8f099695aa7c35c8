//! The lab: boots a real Linux kernel in QEMU with this machine's root file
//! system shared read-only, and proves cowherd on real device-mapper and LVM.
//!
//! ```text
//! cargo lab VERB -> args -> host: packages, kernel, initramfs, QEMU --boots--> guest
//!                                 checks, rounds, demo                  |
//!                                      ^--- /out (9p): verdicts, exit --+
//! ```
//!
//! A new scenario: a function `fn(&mut Lab) -> Result<()>` in the file of its
//! theme below `scenarios/`, written with the verbs of `guest` (`lvm`, `dm`, `sh`,
//! `writer`, `cowherd`, `http`), and a line in that file's table. Its name is its
//! claim. It runs as root with empty disks of its own; what it leaves behind is
//! removed, and where that cannot be, or might not, the table says `own_guest()`.
//! The guest sees this machine's files, but neither its /tmp nor its /run.
//!
//! One binary serves both sides: the host half starts QEMU, and the guest's
//! init runs the same binary as `lab guest ...`. `host` and `guest` never
//! import each other; they meet in `scenarios` (the table), `verdict` (what the
//! guest tells the host), `samples` (the same of the benchmark), `args`, `figures`, `size` and
//! `wait`.
#![expect(
    clippy::missing_errors_doc,
    reason = "every fallible function here fails by telling what did not happen in the guest; the text is the doc"
)]

pub mod args;
#[cfg(test)]
mod faults;
pub mod figures;
pub mod guest;
pub mod host;
mod kernel_facts;
pub mod samples;
pub mod scenarios;
pub mod size;
pub mod verdict;
pub mod wait;

use anyhow::Result;

use args::Command;

/// Carries out one command line (without the program's name) and gives the
/// exit code.
pub fn run(words: &[String]) -> Result<u8> {
    match args::parse(words)? {
        Command::Help => {
            println!("{}", args::HELP);
            Ok(0)
        }
        Command::List => {
            for scenario in scenarios::all() {
                let when = if scenario.is_on_demand {
                    " (by name only)"
                } else {
                    ""
                };
                println!("{:<52} {}{when}", scenario.name, scenario.about);
            }
            Ok(0)
        }
        Command::Test { names } => host::checks::test(&names),
        Command::Demo(demo) => host::demo::demo(demo),
        Command::Bench(bench) => host::bench::bench(&bench),
        Command::Fleet { hosts, save } => host::monitoring::fleet::fleet(hosts, save),
        Command::Exec(exec) => host::exec::exec(exec),
        Command::Guest { verb } => guest::run(&verb),
    }
}
