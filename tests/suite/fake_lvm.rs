//! Programs that misbehave: the real `act` and `observe` with an lvm of a few lines of shell, whose kernel is
//! a file beside it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cowherd::act::intent::Intents;
use cowherd::act::lock::{GroupLocks, LockError};
use cowherd::act::mend::{Mended, mend};
use cowherd::act::notes::NoteError;
use cowherd::act::{self, Eyes, Hands, Sight, Tool, Tools};
use cowherd::command::{CommandError, Finished};
use cowherd::model::inventory::{GroupObstacle, Layer};
use cowherd::model::names::{Name, Resource, Target, Uuid};
use cowherd::model::plan::{End, Extension, Failure, Outcome, Trigger};
use cowherd::model::policy::Collectors;
use cowherd::model::units::{Bytes, Extents};
use cowherd::observe::lvm::{self, LvmError};

use crate::fixtures;
use crate::worlds::{self, EXTENT};

/// What the kernel has before any extension.
const TOTAL: Bytes = Bytes::mib(40);
const GROW: &str = "echo 83886080 > kernel";
/// Far beyond what a script takes.
const LONG: Duration = Duration::from_secs(60);

/// A host in a folder of its own: the programs, what they were called with, the kernel, the intents.
struct Rig {
    folder: PathBuf,
    tools: Tools,
    is_locked: bool,
}

impl Rig {
    /// The same script is lvm and dmsetup.
    fn new(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir();
        let folder = folder.join(format!("cowherd-fake-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let text = format!("#!/bin/sh\ncd \"${{0%/*}}\"\necho \"$*\" >> calls\n{script}\n");
        // By a process of its own: what this one has open for writing, another thread's child may still have.
        let make = "for name in lvm dmsetup; do printf %s \"$1\" > $name && chmod +x $name; done";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", make, "sh", &text]).current_dir(&folder);
        assert!(shell.status().expect("there is a shell").success());
        let rig = Self {
            tools: Tools {
                lvm: folder.join("lvm"),
                locks: GroupLocks::default(),
                lock_wait: Duration::from_secs(5),
                intents: Intents::in_directory(&folder),
                host: None,
            },
            folder,
            is_locked: false,
        };
        rig.write("kernel", &TOTAL.0.to_string());
        rig
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("the folder is writable");
    }

    fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// A line for each time a program was started.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn extend(&self) -> Outcome {
        act::extend(self, self, &extension())
    }

    fn report(script: &str) -> Result<lvm::Reported, LvmError> {
        let rig = Self::new(script);
        lvm::report(&rig.tools.lvm, Collectors::default())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // What stays is in the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Hands for Rig {
    type Lock = ();

    fn lock(&self, group: &Name, deadline: Duration) -> Result<(), LockError> {
        let path = PathBuf::from(format!("V_{group}"));
        if self.is_locked {
            return Err(LockError::Held { path, deadline });
        }
        Ok(())
    }

    fn lock_wait(&self) -> Duration {
        self.tools.lock_wait()
    }

    fn remember(&self, extension: &Extension) -> Result<(), NoteError> {
        self.tools.remember(extension)
    }

    fn forget(&self, target: &Target) {
        self.tools.forget(target);
    }

    fn run(
        &self,
        tool: Tool,
        arguments: &[String],
        deadline: Duration,
    ) -> Result<Finished, CommandError> {
        self.tools.run(tool, arguments, deadline)
    }
}

impl Eyes for Rig {
    fn sight(&self, _: &Target) -> Result<Option<Sight>, String> {
        if !self.has("kernel") {
            return Ok(None);
        }
        let text = fs::read_to_string(self.folder.join("kernel"));
        let total = text.map_err(|error| error.to_string())?;
        Ok(Some(Sight {
            total: Bytes(total.trim().parse().map_err(|_| total)?),
            suspended: self.has("suspended"),
            sound: true,
        }))
    }

    fn layers(&self, _: &Uuid) -> Result<Vec<Layer>, String> {
        Ok(vec![Layer {
            name: "vg-snap--s".to_owned(),
            volume: worlds::volume_id('s'),
            layer: String::new(),
            suspended: self.has("suspended"),
            inactive_table: true,
        }])
    }
}

fn extension() -> Extension {
    Extension {
        target: worlds::target('s', Resource::Cow),
        name: worlds::name("snap-s"),
        extent: EXTENT,
        from: Extents(10),
        to: Extents(20),
        kernel_total: TOTAL,
        trigger: Trigger::Threshold { percent: 80 },
        capped: None,
    }
}

fn failure(outcome: &Outcome) -> (Failure, &str) {
    match &outcome.end {
        End::Failed { failure, detail } => (*failure, detail),
        End::Extended { .. } | End::Changed { .. } => panic!("{outcome:?}"),
    }
}

fn capture(state: &str) -> String {
    let path = fixtures::captures().join(state).join("fullreport.json");
    path.display().to_string()
}

#[test]
fn an_lvextend_that_does_what_it_says_is_a_success() {
    let rig = Rig::new(GROW);
    let outcome = rig.extend();
    let kernel_total = Bytes::mib(80);
    assert_eq!(outcome.end, End::Extended { kernel_total });
    assert_eq!(rig.calls().len(), 1);
    assert!(rig.tools.intents.left_over().is_empty());
}

#[test]
fn an_lvextend_that_exits_0_without_effect_is_a_failure() {
    let outcome = Rig::new("exit 0").extend();
    assert_eq!(failure(&outcome).0, Failure::NoEffect);
}

#[test]
fn an_lvextend_that_fails_after_its_work_is_a_success() {
    let outcome = Rig::new(&format!("{GROW}; exit 5")).extend();
    assert!(matches!(outcome.end, End::Extended { .. }), "{outcome:?}");
}

#[test]
fn what_lvextend_complains_of_is_told_in_its_own_words() {
    let script = "echo '  /dev/mapper/control: open failed: Permission denied' >&2; exit 5";
    let outcome = Rig::new(script).extend();
    let told = "exit status 5: /dev/mapper/control: open failed: Permission denied";
    assert_eq!(failure(&outcome), (Failure::Refused, told));
}

#[test]
fn a_flood_of_messages_is_drained_and_its_rest_is_thrown_away() {
    let rig = Rig::new(&format!("head -c 100000000 /dev/zero >&2; {GROW}"));
    let done = rig.run(Tool::Lvm, &[], LONG).expect("it ends");
    assert!(done.status.success() && done.truncated && !done.overdue);
    assert_eq!(done.stderr.len(), 64 << 20);
    assert!(rig.has("kernel"));
}

#[test]
fn an_lvm_that_cannot_be_started_is_a_failure_to_start() {
    let rig = Rig::new(GROW);
    fs::remove_file(&rig.tools.lvm).expect("it was made");
    let is_told = |cause: &str| {
        let outcome = rig.extend();
        let (failure, why) = failure(&outcome);
        assert_eq!(failure, Failure::Spawn);
        assert!(why.contains(cause), "{why}");
    };
    is_told("No such file or directory");
    rig.write("lvm", "no program");
    is_told("Permission denied");
    assert!(rig.calls().is_empty());
}

#[test]
fn what_cannot_be_noted_for_a_successor_is_done_all_the_same_and_told() {
    let rig = Rig::new(GROW);
    // No folder can be made where a file is, whoever asks.
    rig.write("intents", "");
    let outcome = rig.extend();
    assert!(matches!(outcome.end, End::Extended { .. }), "{outcome:?}");
    let why = outcome.unnoted.unwrap_or_default();
    assert!(
        why.starts_with("write ") && why.contains("(os error "),
        "{why}"
    );
}

#[test]
fn a_volume_that_others_suspended_is_left_alone() {
    let rig = Rig::new(GROW);
    rig.write("suspended", "");
    let outcome = rig.extend();
    assert!(matches!(outcome.end, End::Changed { .. }), "{outcome:?}");
    assert!(rig.calls().is_empty() && rig.has("suspended"));
}

#[test]
fn a_volume_that_others_switch_off_meanwhile_is_no_failure() {
    let outcome = Rig::new("rm kernel").extend();
    let End::Changed { found } = &outcome.end else {
        panic!("{outcome:?}");
    };
    assert_eq!(found, "its device is gone");
}

#[test]
fn devices_are_not_resumed_while_a_living_command_holds_the_lock() {
    let mut rig = Rig::new("rm -f suspended");
    rig.write("suspended", "");
    rig.is_locked = true;
    let mended = mend(&rig, &rig, &extension());
    assert!(matches!(mended, Mended::Stuck { .. }), "{mended:?}");
    assert!(rig.calls().is_empty() && rig.has("suspended"));
    rig.is_locked = false;
    let mended = mend(&rig, &rig, &extension());
    assert!(matches!(mended, Mended::Resumed { .. }), "{mended:?}");
}

/// Of extending and of each step of mending: only the last one helps here.
#[test]
fn no_command_waits_for_a_stuck_udevd() {
    let script = r#"
        case " $* " in *" --noudevsync "*) ;; *) touch waits; exit 5;; esac
        case $1 in
            lvextend) [ -e begun ] && exit 5; touch begun suspended; kill -9 $$;;
            clear) touch cleared;;
            resume) rm suspended;;
        esac"#;
    let rig = Rig::new(script);
    let outcome = rig.extend();
    assert!(outcome.mended, "{outcome:?}");
    assert!(!rig.has("waits"), "{:#?}", rig.calls());
    assert!(rig.has("cleared") && !rig.has("suspended"));
    let calls = rig.calls();
    let ran = |verb: &str| calls.iter().any(|call| call.starts_with(verb));
    let verbs = ["lvextend", "lvchange --refresh", "clear", "resume"];
    assert!(verbs.into_iter().all(ran), "{calls:#?}");
}

#[test]
fn what_is_no_whole_report_is_an_error_and_no_empty_host() {
    let whole = capture("thin");
    for (case, script) in [
        ("half of it", format!("head -c 3000 {whole}")),
        ("nothing", "exit 0".to_owned()),
        ("an empty object", "echo '{}'".to_owned()),
        ("words", "echo '  No volume groups found'".to_owned()),
        ("twice", format!("cat {whole} {whole}")),
    ] {
        let told = Rig::report(&script);
        assert!(matches!(told, Err(LvmError::Output { .. })), "{case}");
    }
    let refused = Rig::report("echo '  it hurts' >&2; exit 5");
    assert!(matches!(refused, Err(LvmError::Refused { .. })));
}

#[test]
fn thin_volumes_are_kept_only_where_they_are_collected() {
    let rig = Rig::new(&format!("cat {}", capture("thin")));
    for (thin_volumes, expected) in [(false, 0), (true, 3)] {
        let told = lvm::report(&rig.tools.lvm, Collectors { thin_volumes });
        let kept = told.expect("a report").inventory.thin_volumes.len();
        assert_eq!(kept, expected);
    }
}

#[test]
fn a_report_that_lvm_calls_incomplete_is_told_as_such() {
    let script = format!("cat {}; echo '  it hurts' >&2; exit 5", capture("thin"));
    let told = Rig::report(&script).expect("what there is, is read");
    assert!(!told.is_complete);
    assert_eq!(told.faults, ["exit status 5: it hurts"]);
    assert_eq!(told.inventory.pools.len(), 1);
}

#[test]
fn a_missing_key_loses_one_volume_and_is_never_taken_for_nothing() {
    for key in ["lv_metadata_size", "chunk_size"] {
        let script = format!("sed 's/\"{key}\"/\"no_{key}\"/g' {}", capture("thin"));
        let told = Rig::report(&script).expect("the rest is a report");
        assert!(told.inventory.pools.is_empty(), "{key}");
        assert!(!told.faults.is_empty(), "{key}");
        assert_eq!(told.inventory.groups.len(), 1, "{key}");
    }
}

#[test]
fn numbers_with_a_decimal_comma_are_not_asked_for_and_not_misread() {
    let comma = format!(
        r#"sed -E 's/"(lv_size|lv_metadata_size)":"([0-9]+)"/"\1":"\2,00"/g' {}"#,
        capture("thin")
    );
    let told = Rig::report(&comma).expect("the rest is a report");
    assert!(told.inventory.pools.is_empty() && !told.faults.is_empty());
    let asked = format!(
        "if [ \"$LC_ALL\" = C ]; then cat {}; else {comma}; fi",
        capture("thin")
    );
    let told = Rig::report(&asked).expect("a report");
    assert_eq!((told.inventory.pools.len(), told.faults.len()), (1, 0));
}

#[test]
fn groups_of_others_are_known_by_their_attributes() {
    for (letter, obstacle) in [
        ('c', GroupObstacle::Clustered),
        ('s', GroupObstacle::Shared),
    ] {
        let script = format!(
            r#"sed -E 's/"vg_attr":"(.....)."/"vg_attr":"\1{letter}"/' {}"#,
            capture("thin")
        );
        let told = Rig::report(&script).expect("a report");
        assert_eq!(told.inventory.groups[0].obstacle, Some(obstacle));
    }
}
