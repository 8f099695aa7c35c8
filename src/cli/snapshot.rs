//! `cowherd snapshot`: lists, takes, extends, merges and removes snapshots, by asking the guard.

use crate::client;
use crate::model::action::{
    Action, Create, Extend, Label, Merge, Reference, SnapshotKind, StoreSize, VolumeView,
};
use crate::model::names::Name;
use crate::model::quiesce::{Quiesce, QuiesceMode};
use crate::report::snapshots;

use super::api::{self, Api};
use super::change::{self, Manner};
use super::values::{self, Lifetime, Patience};
use super::{Failure, GuardArguments, now, print, print_answer, tell};

#[derive(Debug, clap::Subcommand)]
pub(super) enum SnapshotCommand {
    /// Show snapshots: how full they are, how old, whose, and when they expire
    List(ListArguments),
    /// Take a snapshot of a volume
    Create(CreateArguments),
    /// Give the store of a copy-on-write snapshot a size; it never shrinks
    Extend(ExtendArguments),
    /// Make a snapshot's device available
    Activate(OneArguments),
    /// Take a snapshot's device away; it must not be in use
    Deactivate(OneArguments),
    /// Roll the origin back to the snapshot, which is gone then
    Merge(MergeArguments),
    /// Remove snapshots, each by itself
    Remove(RemoveArguments),
    /// Keep a snapshot from being merged or removed
    Protect(ProtectArguments),
    /// Say from when on a snapshot may be removed to make room
    Expire(ExpireArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    /// Only those of this volume group
    #[arg(long, value_name = "VG", value_parser = values::name)]
    vg: Option<Name>,
    /// Only those of this volume
    #[arg(long, value_name = "VG/LV", value_parser = values::volume)]
    origin: Option<Reference>,
    /// Print the guard's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guard: GuardArguments,
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub(super) struct CreateArguments {
    /// Volume to take a snapshot of; a uuid will do, too
    #[arg(value_name = "VG/LV", value_parser = values::volume)]
    origin: Reference,
    /// More volumes of that group, of which snapshots are taken at the same moment, all or none
    #[arg(value_name = "VG/LV", value_parser = values::volume)]
    with: Vec<Reference>,
    /// Name of the snapshot, instead of the origin's with the time; of several what follows each origin's name
    #[arg(long, value_parser = values::name)]
    name: Option<Name>,
    /// Kind of snapshot; auto takes that of the origin
    #[arg(long = "type", value_name = "TYPE", default_value = "auto")]
    kind: Kind,
    /// Size of the store of a thick one, such as 10GiB, or 15% of the origin; auto, as without it, is for what is written
    /// to the origin meanwhile
    #[arg(long, value_parser = values::store_size)]
    size: Option<StoreSize>,
    /// How long it is kept at least, such as 7d: then it may be removed to make room
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    ttl: Option<u32>,
    /// It may be removed to make room at any time
    #[arg(long)]
    expendable: bool,
    /// Nobody merges or removes it until `protect --off`
    #[arg(long)]
    protect: bool,
    /// It cannot be written to
    #[arg(long)]
    read_only: bool,
    /// Make the device of a thin one available, too
    #[arg(long)]
    activate: bool,
    /// LVM tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Hook of the configuration that has an application hold still meanwhile; may be repeated
    #[arg(long = "hook", value_name = "NAME", value_parser = values::name)]
    hooks: Vec<Name>,
    /// Take it also where a hook fails, as after a power failure
    #[arg(long, requires = "hooks")]
    best_effort: bool,
    /// Take those of several volumes though nobody holds still: they are of different moments
    #[arg(long, conflicts_with = "hooks")]
    no_quiesce: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Auto,
    Thick,
    Thin,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExtendArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Size that the store is to have, such as 20GiB
    #[arg(long, value_parser = values::size_ceil)]
    size: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct OneArguments {
    /// Snapshot; a uuid will do, too
    #[arg(value_name = "VG/SNAP", value_parser = values::volume)]
    snapshot: Reference,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct MergeArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Where the origin is in use, merge when it is next activated
    #[arg(long)]
    allow_deferred: bool,
    #[command(flatten)]
    confirm: ConfirmArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct RemoveArguments {
    /// Snapshots; uuids will do, too
    #[arg(value_name = "VG/SNAP", value_parser = values::volume, required = true)]
    snapshots: Vec<Reference>,
    #[command(flatten)]
    change: ChangeArguments,
    #[command(flatten)]
    confirm: ConfirmArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct ProtectArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Let it be merged and removed again
    #[arg(long)]
    off: bool,
}

#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = true, args = ["ttl", "expendable", "no_expendable"])]
pub(super) struct ExpireArguments {
    #[command(flatten)]
    one: OneArguments,
    /// How long it is kept from now on, such as 7d, or never to keep it
    #[arg(long, value_name = "SPAN|never", value_parser = values::lifetime)]
    ttl: Option<Lifetime>,
    /// It may be removed to make room at any time
    #[arg(long)]
    expendable: bool,
    /// It may not, unless it expires
    #[arg(long, conflicts_with = "expendable")]
    no_expendable: bool,
}

#[derive(Debug, clap::Args)]
struct ConfirmArguments {
    /// Do not ask whether what is lost may be lost
    #[arg(long, short)]
    yes: bool,
}

/// Of every command that changes something.
#[derive(Debug, clap::Args)]
struct ChangeArguments {
    /// Print the guard's last answer as it is
    #[arg(long)]
    json: bool,
    /// Show what would be done and lost, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until it has ended, as without this; with a span, no longer than that
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, default_missing_value = "end",
        value_parser = values::patience)]
    wait: Option<Patience>,
    /// Do not wait until it has ended
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// The same key with the same request does it once, however often it is sent: up to 64 letters, digits, - and _
    #[arg(long, value_name = "KEY", value_parser = values::idempotency_key)]
    idempotency_key: Option<String>,
    #[command(flatten)]
    guard: GuardArguments,
}

pub(super) fn run(command: SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::List(arguments) => list(&arguments),
        SnapshotCommand::Create(arguments) => create(arguments),
        SnapshotCommand::Extend(ExtendArguments { one, size }) => {
            one.change(false, &Action::Extend(Extend { size_bytes: size }))
        }
        SnapshotCommand::Activate(one) => one.change(false, &Action::Activate),
        SnapshotCommand::Deactivate(one) => one.change(false, &Action::Deactivate),
        SnapshotCommand::Merge(arguments) => {
            let allow_deferred = arguments.allow_deferred;
            let merge = Action::Merge(Merge { allow_deferred });
            arguments.one.change(arguments.confirm.yes, &merge)
        }
        SnapshotCommand::Remove(arguments) => remove(&arguments),
        SnapshotCommand::Protect(ProtectArguments { one, off }) => {
            let label = Label {
                protected: Some(!off),
                ..Label::default()
            };
            one.change(false, &Action::Label(label))
        }
        SnapshotCommand::Expire(arguments) => {
            let label = Label {
                ttl_s: arguments.ttl.map(Lifetime::ttl_s),
                expendable: (arguments.expendable || arguments.no_expendable)
                    .then_some(arguments.expendable),
                protected: None,
            };
            arguments.one.change(false, &Action::Label(label))
        }
    }
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let vg = arguments.vg.as_ref().map(|vg| ("vg", vg.to_string()));
    let origin = arguments.origin.as_ref();
    let origin = origin.map(|origin| ("origin", origin.to_string()));
    let given = vg.into_iter().chain(origin);
    let query: Vec<String> = given
        .map(|(key, value)| format!("{key}={}", client::encoded(&value)))
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("/snapshots{mark}{}", query.join("&"));
    let mut api = Api::at(&arguments.guard)?;
    let found = api.get::<Vec<VolumeView>>(&path);
    if arguments.json {
        print_answer(api.take_last())?;
        found?;
        return Ok(());
    }
    print(&snapshots::list(&found?, now()))
}

fn create(arguments: CreateArguments) -> Result<(), Failure> {
    let create = Create {
        name: arguments.name,
        kind: match arguments.kind {
            Kind::Auto => SnapshotKind::Auto,
            Kind::Thick => SnapshotKind::Thick,
            Kind::Thin => SnapshotKind::Thin,
        },
        size: arguments.size,
        read_only: arguments.read_only,
        activate: arguments.activate,
        ttl_s: arguments.ttl,
        expendable: arguments.expendable,
        protected: arguments.protect,
        tags: arguments.tags,
        quiesce: quiesce(arguments.hooks, arguments.best_effort, arguments.no_quiesce),
        with: arguments.with,
    };
    let (origin, change) = (arguments.origin, arguments.change);
    change.one(false, &origin, &Action::Create(create))
}

fn quiesce(hooks: Vec<Name>, is_best_effort: bool, is_nobody: bool) -> Option<Quiesce> {
    let mode = match (is_nobody, is_best_effort) {
        (true, _) => QuiesceMode::None,
        (false, true) => QuiesceMode::BestEffort,
        (false, false) => QuiesceMode::Required,
    };
    (is_nobody || !hooks.is_empty()).then_some(Quiesce { hooks, mode })
}

fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let (change, yes) = (&arguments.change, arguments.confirm.yes);
    if let [only] = arguments.snapshots.as_slice() {
        return change.one(yes, only, &Action::Remove);
    }
    if change.idempotency_key.is_some() {
        return Err(Failure::Misused(
            "--idempotency-key is for one snapshot at a time",
        ));
    }
    let mut api = Api::at(&change.guard)?;
    let mut answers = Vec::new();
    let mut has_failed = false;
    for snapshot in &arguments.snapshots {
        let told = change::carry_out(&mut api, &change.manner(yes), snapshot, &Action::Remove);
        let answer = api.take_last().unwrap_or_else(|| b"null".to_vec());
        answers.push(answer);
        match told {
            Ok(text) if !change.json => print(&text)?,
            Ok(_) => {}
            Err(error) => {
                has_failed = true;
                tell(&api::line_about(snapshot, &error));
            }
        }
    }
    if change.json {
        let mut all = b"[".to_vec();
        all.extend(answers.join(b",".as_slice()));
        all.push(b']');
        print_answer(Some(all))?;
    }
    if has_failed {
        return Err(Failure::Told);
    }
    Ok(())
}

impl OneArguments {
    fn change(&self, yes: bool, action: &Action) -> Result<(), Failure> {
        self.change.one(yes, &self.snapshot, action)
    }
}

impl ChangeArguments {
    fn manner(&self, yes: bool) -> Manner {
        Manner {
            dry_run: self.dry_run,
            wait: (!self.no_wait).then(|| self.wait.unwrap_or(Patience::UntilEnd)),
            yes,
            key: self.idempotency_key.clone(),
        }
    }

    fn one(&self, yes: bool, target: &Reference, action: &Action) -> Result<(), Failure> {
        let mut api = Api::at(&self.guard)?;
        let told = change::carry_out(&mut api, &self.manner(yes), target, action);
        if self.json {
            print_answer(api.take_last())?;
        }
        match told {
            Ok(text) if !self.json => print(&text),
            Ok(_) => Ok(()),
            Err(error) => Err(error.about(target)),
        }
    }
}
