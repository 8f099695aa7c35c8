//! A running guest: starts QEMU, keeps the serial console, and ends the guest at
//! its deadline or on Ctrl-C. What the guest's lines mean is the caller's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::qemu::{DISKS_MAX, Forward, Machine};
use super::run_dir::RunDir;
use super::{Host, tool, workspace};
use crate::size::Size;

pub const QEMU: &str = "qemu-system-x86_64";
const GUEST_INIT: &str = include_str!("guest-init.sh");
const LVM_CONF: &str = include_str!("lvm.conf");
/// Between these lines the console is the verb's, not the firmware's.
const UP: &str = "LAB-GUEST-UP";
const DOWN: &str = "LAB-GUEST-DOWN";
/// The kernel's last word but one, which may overtake that line.
const POWER_OFF: &str = "sysrq: Power Off";
/// How often Ctrl-C, the deadline and the verdict file are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Chunks of console on their way to the watcher; a full queue slows QEMU's
/// serial port, it loses nothing.
const CONSOLE_QUEUE: usize = 256;

/// Set once Ctrl-C or a termination was asked for.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("catching signals")?;
        }
        Ok(Self(flag))
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What to boot.
#[derive(Debug)]
pub struct Boot<'a> {
    /// Names the kept console.
    pub name: &'a str,
    /// The words after `lab guest`; no shell characters.
    pub verb: &'a str,
    pub disks: &'a [Size],
    pub processors: u8,
    pub memory: Size,
    pub forward: Option<Forward>,
    pub cowherd: Build,
}

/// Which build of cowherd a guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The one of the checks, when there is one.
    AsFound,
    /// The one of the checks.
    Dev,
    /// What users run.
    Release,
}

#[derive(Debug)]
pub struct Guest {
    child: Child,
    console: Receiver<Vec<u8>>,
    pub console_file: PathBuf,
    pub run_dir: RunDir,
    started: Instant,
}

#[derive(Debug)]
pub enum Event<'a> {
    /// A line the verb printed.
    Line(&'a str),
    /// About every tenth of a second.
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest powered off (or its kernel panicked: then there is no exit code).
    PoweredOff,
    Deadline,
    Interrupted,
}

/// Starts QEMU so that it dies with the lab, however the lab dies.
pub fn spawn(machine: &Machine, console: Stdio) -> Result<Child> {
    let mut command = tool::command("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    command.args(machine.arguments()?).stdout(console);
    // QEMU's own complaints belong to the console they explain.
    command.stderr(Stdio::inherit());
    command.spawn().with_context(|| format!("starting {QEMU}"))
}

impl Guest {
    pub fn boot(host: &Host, boot: &Boot) -> Result<Self> {
        ensure!(
            boot.disks.len() <= DISKS_MAX,
            "a guest has at most {DISKS_MAX} disks"
        );
        let run_dir = RunDir::new()?;
        fill_out(host, boot, &run_dir.out())?;
        let disks = run_dir.make_disks(boot.disks)?;
        let machine = Machine {
            accel: host.accel,
            kernel: &host.kernel.image,
            initramfs: &host.initramfs,
            append: "",
            processors: boot.processors,
            memory_mib: boot.memory.as_mib(),
            out: &run_dir.out(),
            disks: &disks,
            forward: boot.forward,
        };
        let console_file = workspace::made("consoles")?.join(format!("{}.log", boot.name));
        let mut child = spawn(&machine, Stdio::piped())?;
        let console = keep_console(&mut child, &console_file)?;
        Ok(Self {
            child,
            console,
            console_file,
            run_dir,
            started: Instant::now(),
        })
    }

    /// Watches until the guest has powered off; ends it at the deadline (counted
    /// from its start) or on Ctrl-C.
    pub fn watch(
        &mut self,
        interrupt: &Interrupt,
        deadline: Option<Duration>,
        mut on_event: impl FnMut(Event),
    ) -> Result<End> {
        let mut lines = Lines::default();
        loop {
            match self.console.recv_timeout(TICK) {
                Ok(bytes) => lines.feed(&bytes, |line| on_event(Event::Line(line))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.child.wait().context("waiting for QEMU")?;
                    on_event(Event::Tick);
                    return Ok(if interrupt.is_set() {
                        End::Interrupted
                    } else {
                        End::PoweredOff
                    });
                }
            }
            on_event(Event::Tick);
            let late = deadline.is_some_and(|d| self.started.elapsed() > d);
            if late || interrupt.is_set() {
                self.kill();
                return Ok(if late {
                    End::Deadline
                } else {
                    End::Interrupted
                });
            }
        }
    }

    /// What the verb exited with; none when the guest never got there.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        let text = fs::read_to_string(self.run_dir.out().join("exit")).ok()?;
        text.trim().parse().ok()
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Puts what the guest's init needs into its /out.
fn fill_out(host: &Host, boot: &Boot, out: &Path) -> Result<()> {
    let modules = host.kernel.modules();
    let modules = tool::text(&modules)?.replace('\'', r"'\''");
    let env = format!("LAB_MODULES='{modules}'\nLAB_VERB='{}'\n", boot.verb);
    fs::write(out.join("env"), env)?;
    fs::write(out.join("init"), GUEST_INIT)?;
    fs::write(out.join("lvm.conf"), LVM_CONF)?;
    // Not by its name: cargo may have replaced the file since we started.
    copy(Path::new("/proc/self/exe"), &out.join("lab"))?;
    let cowherd = match boot.cowherd {
        Build::AsFound | Build::Dev => workspace::cowherd_binary()?,
        Build::Release => workspace::cowherd_release(),
    };
    if boot.cowherd != Build::AsFound || cowherd.exists() {
        copy(&cowherd, &out.join("cowherd"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

/// Copies the console to its file in a thread of its own, so that a slow watcher
/// never costs a line of it.
fn keep_console(child: &mut Child, path: &Path) -> Result<Receiver<Vec<u8>>> {
    // A lab that runs at the same time keeps the file it has open.
    fs::remove_file(path).ok();
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let stdout = child.stdout.take().context("QEMU's console")?;
    let (sender, receiver) = sync_channel(CONSOLE_QUEUE);
    thread::spawn(move || copy_console(stdout, file, &sender));
    Ok(receiver)
}

fn copy_console(mut from: impl Read, mut file: File, to: &SyncSender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = buffer[..count].to_vec();
        if file.write_all(&bytes).is_err() || to.send(bytes).is_err() {
            return;
        }
    }
}

/// Cuts console bytes into lines and passes on those of the verb.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
    is_up: bool,
    is_down: bool,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        self.pending.extend(bytes.iter().filter(|b| **b != b'\r'));
        while let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]);
            self.take(&line, &mut on_line);
        }
    }

    fn take(&mut self, line: &str, on_line: &mut impl FnMut(&str)) {
        if self.is_down {
            return;
        }
        if !self.is_up {
            self.is_up = line.ends_with(UP);
            return;
        }
        if line.ends_with(POWER_OFF) {
            return;
        }
        match line.strip_suffix(DOWN) {
            // The verb's last line may have had no end.
            Some(rest) => {
                self.is_down = true;
                if !rest.is_empty() {
                    on_line(rest);
                }
            }
            None => on_line(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&str]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.feed(chunk.as_bytes(), |line| seen.push(line.to_owned()));
        }
        seen
    }

    #[test]
    fn only_what_the_verb_prints_is_passed_on() {
        let console = [
            "SeaBIOS\r\n",
            "[0.1] x LAB-GUEST-UP\r\n",
            "one\r\ntw",
            "o\r\n",
        ];
        let end = [
            "[9.8] sysrq: Power Off\r\n",
            "no endLAB-GUEST-DOWN\r\n",
            "[9.9] reboot: Power down\r\n",
        ];
        let all = [console.as_slice(), end.as_slice()].concat();
        assert_eq!(lines_of(&all), ["one", "two", "no end"]);
    }

    #[test]
    fn a_verb_that_prints_nothing_gives_no_line() {
        assert!(lines_of(&["LAB-GUEST-UP\n", "LAB-GUEST-DOWN\n"]).is_empty());
    }
}
