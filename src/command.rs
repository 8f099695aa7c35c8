//! Runs one program: absolute path, fixed environment, deadline, bounded output.
//!
//! This is the only place that starts lvm. The environment is built, never inherited: `LVM_*`, locale
//! and PATH of whoever started us must not change what lvm does or how it prints. A program that only
//! reads is killed at its deadline; one that writes never is, because a killed lvextend leaves
//! devices suspended: it gets a SIGTERM, which lvm honours wherever that is safe, and a SIGCONT, without which a
//! stopped one would never hear it. Both are waited for,
//! however long a program that hangs in the kernel takes: whoever runs one has a thread for it, and
//! starts no second one.

mod started;

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// `lvm fullreport` of 10 000 volumes prints about 20 MiB; a tool gone wild may print for ever.
const OUTPUT_MAX: usize = 64 << 20;
/// Read from a pipe at once: the kernel's default pipe size.
const CHUNK: usize = 64 << 10;

const ENVIRONMENT: [(&str, &str); 5] = [
    ("LC_ALL", "C"),
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/"),
    ("TZ", "UTC"),
    // lvm warns about every descriptor it did not open itself.
    ("LVM_SUPPRESS_FD_WARNINGS", "1"),
];

pub use started::{Leash, Said, Setting, Started, Stranger, end_stranger, start, strangers_with};

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("start {program}")]
    Spawn { program: String, source: io::Error },
    #[error("wait for {program}")]
    Wait { program: String, source: io::Error },
    #[error("{program} did not end within {} s", deadline.as_secs_f64())]
    Deadline { program: String, deadline: Duration },
}

/// What happens to a program at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtDeadline {
    /// It only reads.
    Kill,
    /// It writes: ask it to end, and wait for as long as it takes.
    TermAndWait,
}

impl AtDeadline {
    const fn signals(self) -> &'static [Signal] {
        match self {
            Self::Kill => &[Signal::KILL],
            Self::TermAndWait => &[Signal::TERM, Signal::CONT],
        }
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
    /// It was still running at its deadline.
    pub overdue: bool,
    /// It printed more than the cap; the rest was thrown away.
    pub truncated: bool,
}

impl Finished {
    /// The last line of stderr, which is where lvm says why.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let last = text
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        match (self.status.code(), last.trim()) {
            (Some(code), "") => format!("exit status {code} without a message"),
            (Some(code), line) => format!("exit status {code}: {line}"),
            (None, _) => format!("ended by {}", self.status),
        }
    }
}

/// Runs `program` to its end.
///
/// # Errors
/// When it cannot be started or waited for, or was killed at its deadline.
pub fn run(
    program: &Path,
    arguments: &[String],
    deadline: Duration,
    at_deadline: AtDeadline,
) -> Result<Finished, CommandError> {
    run_with(&[], program, arguments, deadline, at_deadline)
}

/// As `run`, with a few variables more.
///
/// # Errors
/// As `run`.
pub fn run_with(
    variables: &[(&str, &str)],
    program: &Path,
    arguments: &[String],
    deadline: Duration,
    at_deadline: AtDeadline,
) -> Result<Finished, CommandError> {
    let name = program.display().to_string();
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group: a Ctrl-C meant for us must not interrupt lvm.
        .process_group(0)
        .spawn()
        .map_err(|source| CommandError::Spawn {
            program: name.clone(),
            source,
        })?;
    let wait_error = |source| CommandError::Wait {
        program: name.clone(),
        source,
    };
    let mut watch = match Watch::new(&mut child) {
        Ok(watch) => watch,
        Err(source) => {
            // Without a watch it can still be waited for: a writer must not go on unattended.
            child.wait().map_err(wait_error)?;
            return Err(wait_error(source));
        }
    };
    let mut overdue = false;
    while !watch
        .step(remaining(started, deadline, overdue))
        .map_err(wait_error)?
    {
        if overdue || started.elapsed() < deadline {
            continue;
        }
        overdue = true;
        at_deadline
            .signals()
            .iter()
            .for_each(|s| signal(&child, *s));
    }
    watch.drain().map_err(wait_error)?;
    let status = child.wait().map_err(wait_error)?;
    if overdue && at_deadline == AtDeadline::Kill {
        return Err(CommandError::Deadline {
            program: name,
            deadline,
        });
    }
    let Watch { stdout, stderr, .. } = watch;
    Ok(Finished {
        status,
        truncated: stdout.truncated || stderr.truncated,
        stdout: stdout.bytes,
        stderr: stderr.bytes,
        took: started.elapsed(),
        overdue,
    })
}

fn remaining(started: Instant, deadline: Duration, overdue: bool) -> Option<Duration> {
    (!overdue).then(|| deadline.saturating_sub(started.elapsed()))
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It can only fail because the child has just ended, which is what we want.
        let _ = kill_process(pid, signal);
    }
}

/// The three things to wait for at once: both outputs and the end.
#[derive(Debug)]
struct Watch {
    stdout: Capture,
    stderr: Capture,
    end: OwnedFd,
}

#[derive(Debug)]
struct Capture {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
    truncated: bool,
}

impl Watch {
    fn new(child: &mut Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("child without a process id"))?;
        Ok(Self {
            stdout: Capture::new(child.stdout.take().map(OwnedFd::from))?,
            stderr: Capture::new(child.stderr.take().map(OwnedFd::from))?,
            end: pidfd_open(pid, PidfdFlags::empty())?,
        })
    }

    /// Waits for output or the end, at most for `limit`; true at the end.
    fn step(&mut self, limit: Option<Duration>) -> io::Result<bool> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut fds = vec![PollFd::new(&self.end, PollFlags::IN)];
        for pipe in [&self.stdout.pipe, &self.stderr.pipe].into_iter().flatten() {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        self.drain()?;
        Ok(ended)
    }

    fn drain(&mut self) -> io::Result<()> {
        self.stdout.read()?;
        self.stderr.read()
    }
}

impl Capture {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            pipe,
            bytes: Vec::new(),
            truncated: false,
        })
    }

    /// Takes what is there without waiting for more.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK / 16];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe.as_fd(), &mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(count) => self.keep(&chunk[..count]),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn keep(&mut self, chunk: &[u8]) {
        let room = OUTPUT_MAX - self.bytes.len();
        self.truncated |= chunk.len() > room;
        let mut kept = chunk.take(room as u64);
        // Reading from a slice into a vector cannot fail.
        let _ = kept.read_to_end(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration, at: AtDeadline) -> Result<Finished, CommandError> {
        run(
            Path::new("/bin/sh"),
            &["-c".into(), script.into()],
            deadline,
            at,
        )
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn output_and_status_are_kept_apart() {
        let done = shell("echo out; echo err >&2; exit 5", LONG, AtDeadline::Kill).expect("runs");
        assert_eq!(done.stdout, b"out\n");
        assert_eq!(done.complaint(), "exit status 5: err");
    }

    #[test]
    fn nothing_of_our_environment_is_inherited() {
        let done = shell("env", LONG, AtDeadline::Kill).expect("runs");
        let text = String::from_utf8(done.stdout).expect("ASCII");
        let mut names: Vec<&str> = text.lines().filter_map(|l| l.split('=').next()).collect();
        names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
        names.sort_unstable();
        assert_eq!(
            names,
            ["HOME", "LC_ALL", "LVM_SUPPRESS_FD_WARNINGS", "PATH", "TZ"]
        );
    }

    #[test]
    fn a_reader_is_killed_at_its_deadline() {
        let started = Instant::now();
        let result = shell(
            "exec sleep 60",
            Duration::from_millis(100),
            AtDeadline::Kill,
        );
        assert!(
            matches!(result, Err(CommandError::Deadline { .. })),
            "{result:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_writer_is_asked_to_end_and_waited_for() {
        let script = "trap 'echo asked; exit 3' TERM; while :; do sleep 0.05; done";
        let done =
            shell(script, Duration::from_millis(300), AtDeadline::TermAndWait).expect("ends");
        assert!(done.overdue);
        assert_eq!(
            (done.stdout.as_slice(), done.status.code()),
            (b"asked\n".as_slice(), Some(3))
        );
    }

    #[test]
    fn a_writer_that_somebody_stopped_is_woken_to_end() {
        let script = "trap 'echo asked; exit 3' TERM; kill -STOP $$; sleep 60";
        let done =
            shell(script, Duration::from_millis(300), AtDeadline::TermAndWait).expect("ends");
        assert_eq!((done.overdue, done.status.code()), (true, Some(3)));
        assert!(done.took < LONG, "{:?}", done.took);
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_keep_us() {
        let started = Instant::now();
        let done = shell("sleep 60 & echo done", LONG, AtDeadline::Kill).expect("runs");
        assert_eq!(done.stdout, b"done\n");
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn much_output_is_not_lost() {
        let done = shell("head -c 3000000 /dev/zero", LONG, AtDeadline::Kill).expect("runs");
        assert_eq!((done.stdout.len(), done.truncated), (3_000_000, false));
    }
}
