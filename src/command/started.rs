//! A program that goes on while others work: somebody waits for what it says and for its end, and holds the leash.
//!
//! Its standard input is a pipe whose other end is the leash. Nobody else has that end, so it closes however this
//! process ends: who reads from it to its end is let go by a guard that dies, too.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::{CommandError, ENVIRONMENT, Finished, Watch};

/// Between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(2);

/// What a program of the administrator's is started with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    pub variables: &'a [(&'a str, &'a str)],
    /// User and group, where they are not ours.
    pub identity: Option<(u32, u32)>,
    /// What it leaves running is killed when it has ended.
    pub is_alone: bool,
}

/// A program that runs. Whoever has it waits for its end.
#[derive(Debug)]
pub struct Started {
    name: String,
    child: Child,
    watch: Watch,
    at: Instant,
    is_alone: bool,
}

/// Lets a program go when it is dropped.
#[derive(Debug)]
pub struct Leash {
    _stdin: ChildStdin,
    end: OwnedFd,
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    TheLine,
    /// It ended without it.
    Nothing,
    TooLate,
}

/// A process that somebody else started, told from a later one of the same number by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stranger {
    pub pid: u32,
    /// proc(5) `starttime`: ticks since boot.
    pub started: u64,
}

/// Starts a program as the leader of a process group, with / as its directory.
///
/// # Errors
/// When it cannot be started or watched; then it does not run.
pub fn start(
    setting: &Setting<'_>,
    program: &Path,
    arguments: &[String],
) -> Result<(Started, Leash), CommandError> {
    let name = program.display().to_string();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(ENVIRONMENT);
    command.envs(setting.variables.iter().copied());
    command.current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    if let Some((uid, gid)) = setting.identity {
        command.uid(uid).gid(gid);
    }
    let spawn_error = |source| CommandError::Spawn {
        program: name.clone(),
        source,
    };
    let mut child = command.spawn().map_err(spawn_error)?;
    let watched = Watch::new(&mut child).and_then(|watch| {
        let end = watch.end.try_clone()?;
        let stdin = child.stdin.take();
        let stdin = stdin.ok_or_else(|| io::Error::other("child without standard input"))?;
        Ok((watch, Leash { _stdin: stdin, end }))
    });
    let (watch, leash) = match watched {
        Ok(watched) => watched,
        Err(source) => {
            signal_group(&child, Signal::KILL);
            let _ = child.wait();
            return Err(spawn_error(source));
        }
    };
    let started = Started {
        name,
        child,
        watch,
        at: Instant::now(),
        is_alone: setting.is_alone,
    };
    Ok((started, leash))
}

impl Leash {
    /// Whether the program still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !has_ended(&self.end, Duration::ZERO)
    }
}

impl Started {
    /// Nothing when it has ended already.
    #[must_use]
    pub fn stranger(&self) -> Option<Stranger> {
        let pid = self.child.id();
        Some(Stranger {
            pid,
            started: start_time(pid)?,
        })
    }

    /// Waits until it has printed `line`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait_line(&mut self, line: &str, limit: Duration) -> Result<Said, CommandError> {
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            let has_ended = self.step(left)?;
            let said = self
                .watch
                .stdout
                .bytes
                .split_inclusive(|byte| *byte == b'\n');
            let mut whole = said.filter_map(|said| said.strip_suffix(b"\n"));
            if whole.any(|said| said == line.as_bytes()) {
                return Ok(Said::TheLine);
            }
            if has_ended {
                return Ok(Said::Nothing);
            }
            if left.is_zero() {
                return Ok(Said::TooLate);
            }
        }
    }

    /// Waits for its end. At the limit it is asked to end with all that it has started, and killed after a while.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait_end(mut self, limit: Duration) -> Result<Finished, CommandError> {
        let begun = Instant::now();
        let mut overdue = false;
        while !self.step(limit.saturating_sub(begun.elapsed()))? {
            if begun.elapsed() < limit {
                continue;
            }
            overdue = true;
            for signal in [Signal::TERM, Signal::CONT] {
                signal_group(&self.child, signal);
            }
            self.wait_grace()?;
            break;
        }
        if overdue || self.is_alone {
            // Before it is waited for: until then its group's number is nobody else's.
            signal_group(&self.child, Signal::KILL);
        }
        let status = self
            .child
            .wait()
            .map_err(|source| self.wait_error(source))?;
        self.watch
            .drain()
            .map_err(|source| self.wait_error(source))?;
        let Watch { stdout, stderr, .. } = self.watch;
        Ok(Finished {
            status,
            truncated: stdout.truncated || stderr.truncated,
            stdout: stdout.bytes,
            stderr: stderr.bytes,
            took: self.at.elapsed(),
            overdue,
        })
    }

    fn wait_grace(&mut self) -> Result<(), CommandError> {
        let begun = Instant::now();
        while begun.elapsed() < GRACE && !self.step(GRACE.saturating_sub(begun.elapsed()))? {}
        Ok(())
    }

    fn step(&mut self, limit: Duration) -> Result<bool, CommandError> {
        let stepped = self.watch.step(Some(limit));
        stepped.map_err(|source| self.wait_error(source))
    }

    fn wait_error(&self, source: io::Error) -> CommandError {
        CommandError::Wait {
            program: self.name.clone(),
            source,
        }
    }
}

fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It can only fail because all of it has just ended, which is what we want.
        let _ = kill_process_group(pid, signal);
    }
}

/// Ends a process that a former guard started, and its group, if it is still the same.
pub fn end_stranger(stranger: Stranger) {
    let pid = i32::try_from(stranger.pid).ok().and_then(Pid::from_raw);
    let opened = pid.and_then(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    let Some((pid, end)) = opened else {
        return;
    };
    // Looked at after it was opened: what has this start time now is what the descriptor is of.
    if start_time(stranger.pid) != Some(stranger.started) {
        return;
    }
    let _ = kill_process_group(pid, Signal::TERM);
    let _ = pidfd_send_signal(&end, Signal::CONT);
    if !has_ended(&end, GRACE) {
        let _ = kill_process_group(pid, Signal::KILL);
        has_ended(&end, GRACE);
    }
}

/// Processes with all of these variables: those of a former guard that was killed before it could note them.
#[must_use]
pub fn strangers_with(variables: &[(&str, &str)]) -> Vec<Stranger> {
    let wanted: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let has_all = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has = |one: &String| {
            let mut all = environment.split(|byte| *byte == 0);
            all.any(|found| found == one.as_bytes())
        };
        wanted.iter().all(has)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| has_all(*pid))
        .filter_map(|pid| {
            let started = start_time(pid)?;
            Some(Stranger { pid, started })
        })
        .collect()
}

fn has_ended(end: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(end, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).is_ok_and(|count| count > 0)
}

/// The twenty-second field of proc(5) `stat`, counted from behind the name, which may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn who_was_not_noted_is_known_by_its_variables() {
        let job = format!("job-{}", std::process::id());
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .envs([("COWHERD_JOB", job.as_str()), ("COWHERD_HOOK", "app")])
            .process_group(0)
            .spawn()
            .expect("sleep is there");
        let with = |hook| strangers_with(&[("COWHERD_JOB", &job), ("COWHERD_HOOK", hook)]);
        assert!(with("other").is_empty());
        let found = with("app");
        assert_eq!(
            found.iter().map(|one| one.pid).collect::<Vec<_>>(),
            [child.id()]
        );
        found.into_iter().for_each(end_stranger);
        assert!(!child.wait().expect("it was started").success());
    }

    fn shell(script: &str) -> (Started, Leash) {
        let setting = Setting {
            variables: &[("COWHERD_JOB", "j")],
            identity: None,
            is_alone: true,
        };
        let arguments = ["-c".to_owned(), script.to_owned()];
        start(&setting, Path::new("/bin/sh"), &arguments).expect("there is a shell")
    }

    #[test]
    fn it_holds_until_its_leash_is_dropped() {
        let (mut held, leash) = shell("echo READ; echo READY; cat; echo over $COWHERD_JOB $PWD");
        assert_eq!(
            held.wait_line("READY", LONG).expect("it runs"),
            Said::TheLine
        );
        assert!(leash.is_alive());
        drop(leash);
        let done = held.wait_end(LONG).expect("it ends");
        assert_eq!(done.stdout, b"READ\nREADY\nover j /\n");
        assert!(done.status.success() && !done.overdue);
    }

    #[test]
    fn one_that_ends_early_is_told_from_one_that_is_late() {
        let (mut ended, leash) = shell("echo no >&2; exit 3");
        assert_eq!(
            ended.wait_line("READY", LONG).expect("it runs"),
            Said::Nothing
        );
        assert!(!leash.is_alive());
        assert_eq!(
            ended.wait_end(LONG).expect("it ended").complaint(),
            "exit status 3: no"
        );
        let (mut late, _leash) = shell("printf READY; cat");
        let limit = Duration::from_millis(100);
        assert_eq!(
            late.wait_line("READY", limit).expect("it runs"),
            Said::TooLate
        );
        let done = late.wait_end(Duration::ZERO).expect("it ends");
        assert!(done.overdue);
    }

    #[test]
    fn what_ignores_being_asked_is_killed_with_all_that_it_started() {
        let (mut deaf, leash) = shell("trap '' TERM; (trap '' TERM; echo READY; cat; sleep 600)");
        assert_eq!(
            deaf.wait_line("READY", LONG).expect("it runs"),
            Said::TheLine
        );
        let begun = Instant::now();
        let done = deaf.wait_end(Duration::ZERO).expect("it ends");
        assert!(done.overdue && done.status.code().is_none(), "{done:?}");
        assert!(begun.elapsed() >= GRACE && begun.elapsed() < LONG);
        drop(leash);
    }

    #[test]
    fn what_it_leaves_running_goes_with_it() {
        let (mut left, leash) = shell("sleep 600 & echo $!; echo READY; cat");
        assert_eq!(
            left.wait_line("READY", LONG).expect("it runs"),
            Said::TheLine
        );
        let first = left.watch.stdout.bytes.split(|byte| *byte == b'\n').next();
        let pid = String::from_utf8_lossy(first.expect("a line")).into_owned();
        let pid: u32 = pid.parse().expect("a number");
        let end = pidfd_open(
            Pid::from_raw(pid.try_into().expect("small")).expect("one"),
            PidfdFlags::empty(),
        );
        drop(leash);
        left.wait_end(LONG).expect("it ends");
        assert!(has_ended(&end.expect("it runs"), LONG));
    }

    #[test]
    fn a_stranger_is_ended_only_if_it_is_the_same() {
        let (mut held, _leash) = shell("echo READY; exec sleep 600");
        assert_eq!(
            held.wait_line("READY", LONG).expect("it runs"),
            Said::TheLine
        );
        let stranger = held.stranger().expect("it runs");
        end_stranger(Stranger {
            started: stranger.started + 1,
            ..stranger
        });
        assert_eq!(held.stranger(), Some(stranger));
        end_stranger(stranger);
        let done = held.wait_end(LONG).expect("it ends");
        assert!(!done.overdue && done.status.code().is_none(), "{done:?}");
    }
}
