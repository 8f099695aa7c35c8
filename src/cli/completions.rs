//! `cowherd completions`: scripts for shells, with hooks that complete the names of volumes by asking the guard.
//!
//! The scripts are clap's, which know commands and options. What they do not know is appended here: words like
//! `VG/LV` come from the hidden `cowherd complete-names`, which says nothing where nothing answers in time.

use std::time::Duration;

use clap::{CommandFactory, ValueEnum};
use clap_complete::aot::{Bash, Fish, Generator, Zsh};

use crate::model::action::VolumeView;
use crate::model::volume::VolumeKind;

use super::api::Api;
use super::{Arguments, CompleteNamesArguments, CompletionsArguments, Failure, print, print_bytes};

/// Nobody waits longer for a word.
const DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// What a snapshot can be taken of
    Volumes,
    Snapshots,
}

pub(super) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    print_bytes(&match arguments.shell {
        Shell::Bash => script(Bash, include_str!("completions.bash")),
        Shell::Zsh => zsh(),
        Shell::Fish => script(Fish, include_str!("completions.fish")),
    })
}

/// Whatever goes wrong, a line that somebody is typing is no place to tell it.
pub(super) fn names(arguments: &CompleteNamesArguments) -> Result<(), Failure> {
    let path = match arguments.kind {
        Kind::Volumes => "/volumes",
        Kind::Snapshots => "/snapshots",
    };
    let mut api = Api::within(arguments.socket.clone(), DEADLINE);
    let found: Vec<VolumeView> = api.get(path).unwrap_or_default();
    let suits = |volume: &&VolumeView| match volume.kind {
        VolumeKind::Thick | VolumeKind::Thin => true,
        VolumeKind::Cow => arguments.kind == Kind::Snapshots,
        VolumeKind::ThinPool | VolumeKind::Other => false,
    };
    let lines = found
        .iter()
        .filter(suits)
        .map(|volume| format!("{}/{}\n", volume.vg, volume.name));
    print(&lines.collect::<String>())
}

fn script(shell: impl Generator, hooks: &str) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = shown();
    clap_complete::aot::generate(shell, &mut command, "cowherd", &mut script);
    script.extend_from_slice(hooks.as_bytes());
    script
}

/// zsh is told what a word is where it is described.
fn zsh() -> Vec<u8> {
    let script = String::from_utf8_lossy(&script(Zsh, "")).into_owned();
    let mut told = String::new();
    for line in script.lines() {
        told.push_str(&with_names(line));
        told.push('\n');
    }
    let hooks = include_str!("completions.zsh");
    // The last lines run the functions, so that what they call comes before.
    match told.find("\n_cowherd() {") {
        Some(start) => told.insert_str(start + 1, hooks),
        None => told.push_str(hooks),
    }
    told.into_bytes()
}

fn with_names(line: &str) -> String {
    let known = [
        (" -- Snapshot", "_cowherd_snapshots"),
        (" -- Volume", "_cowherd_volumes"),
        ("origin=", "_cowherd_volumes"),
    ];
    let hook = known.iter().find(|(words, _)| line.contains(words));
    match hook {
        Some((_, hook)) => line.replace(":_default'", &format!(":{hook}'")),
        None => line.to_owned(),
    }
}

/// What is started by the guard, or by a shell, is nobody's to type.
fn shown() -> clap::Command {
    let all = Arguments::command();
    let typed = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    clap::Command::new("cowherd")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommands(typed.cloned())
}
