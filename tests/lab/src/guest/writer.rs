//! A writer of known data that tells what the device did: a process of its own,
//! so that one stuck in the kernel can be left behind. 1 MiB at a time, straight
//! to the device (`O_DIRECT`), each page stamped with its place.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::sh::scratch_file;
use crate::size::Size;
use crate::wait::wait_for;

const MIB: usize = 1 << 20;
/// What `O_DIRECT` asks of a buffer on any device of the guest.
const PAGE: usize = 4096;
/// Linux's value on `x86_64`.
const O_DIRECT: i32 = 0o40000;
/// So that a stuck writer's last report is nearly true, at little cost.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// A paced writer that was held up makes up for this much at full speed: a suspended guest's clock stands still too.
const ARREARS: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    Unlimited,
    MibPerSec(u32),
}

/// A running writer. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    report: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterReport {
    pub asked: Size,
    pub written: Size,
    pub took: Duration,
    /// The longest single write.
    pub worst_write: Duration,
    /// What ended it early.
    pub error: Option<String>,
}

impl Writer {
    /// Writes the device's first `total`.
    pub fn start(device: &str, rate: Rate, total: Size) -> Result<Self> {
        Self::start_from(device, Size::mib(0), rate, total)
    }

    /// Writes `total` beginning at `from`.
    pub fn start_from(device: &str, from: Size, rate: Rate, total: Size) -> Result<Self> {
        println!("+ writer: {total} to {device} from {from}, {rate:?}");
        let report = scratch_file("writer");
        let child = Command::new("/proc/self/exe")
            .args(["guest", "writer", device])
            .args([
                rate.as_word(),
                from.as_mib().to_string(),
                total.as_mib().to_string(),
            ])
            .arg(&report)
            .stdin(Stdio::null())
            .spawn()
            .context("starting a writer")?;
        Ok(Self { child, report })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has done so far; none before its first write.
    #[must_use]
    pub fn so_far(&self) -> Option<WriterReport> {
        parse(&fs::read_to_string(&self.report).ok()?).ok()
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self
            .child
            .try_wait()
            .context("asking for the writer")?
            .is_some())
    }

    /// Waits for its end. That it met an error is no error here: see
    /// [`WriterReport::complete`].
    pub fn wait(mut self, deadline: Duration) -> Result<WriterReport> {
        let ended = wait_for("the writer ended", deadline, || {
            self.child.try_wait().ok().flatten()
        });
        match (ended, self.so_far()) {
            (Ok(status), Some(report)) if status.success() => {
                println!("+ writer: {report}");
                Ok(report)
            }
            (Ok(status), _) => bail!("the writer died: {status}"),
            (Err(late), Some(report)) => bail!("{late}; so far: {report}"),
            (Err(late), None) => bail!("{late}; it wrote nothing"),
        }
    }

    /// Ends it now; gives what it had done.
    pub fn kill(mut self, deadline: Duration) -> Result<Option<WriterReport>> {
        self.child.kill().context("killing the writer")?;
        wait_for("the killed writer is gone", deadline, || {
            self.child.try_wait().transpose()
        })?
        .context("waiting for the writer")?;
        Ok(self.so_far())
    }
}

impl Rate {
    fn as_word(self) -> String {
        match self {
            Self::Unlimited => "unlimited".to_owned(),
            Self::MibPerSec(mib) => mib.to_string(),
        }
    }

    fn from_word(word: &str) -> Result<Self> {
        if word == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let mib = word.parse().with_context(|| format!("a rate: {word:?}"))?;
        ensure!(mib > 0, "a rate is at least 1 MiB/s");
        Ok(Self::MibPerSec(mib))
    }

    /// MiB a second; none when unlimited.
    #[must_use]
    pub const fn limit(self) -> Option<u32> {
        match self {
            Self::Unlimited => None,
            Self::MibPerSec(mib) => Some(mib),
        }
    }

    /// When `written` should have been written, counted from the start.
    fn due(self, written: Size) -> Duration {
        let mib = self.limit().map_or(u64::MAX, u64::from);
        Duration::from_millis(written.as_mib() * 1000 / mib)
    }
}

/// Holds a writer to its rate.
struct Pace {
    rate: Rate,
    /// How long it stood still for longer than it makes up for.
    forgiven: Duration,
}

impl Pace {
    /// How long to wait when `written` was written `elapsed` after the start.
    fn ahead(&mut self, written: Size, elapsed: Duration) -> Duration {
        let due = self.rate.due(written) + self.forgiven;
        self.forgiven += elapsed.saturating_sub(due + ARREARS);
        due.saturating_sub(elapsed)
    }
}

impl WriterReport {
    /// Fails unless everything asked for was written.
    pub fn complete(&self) -> Result<()> {
        ensure!(
            self.error.is_none() && self.written == self.asked,
            "not all was written: {self}"
        );
        Ok(())
    }

    #[must_use]
    pub fn mib_per_sec(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        self.written.as_mib() * 1000 / millis.max(1)
    }

    /// The line between the writer's process and its [`Writer`].
    fn as_line(&self) -> String {
        format!(
            "{} {} {} {} {}\n",
            self.asked.as_mib(),
            self.written.as_mib(),
            self.took.as_millis(),
            self.worst_write.as_millis(),
            self.error.as_deref().unwrap_or_default()
        )
    }
}

fn parse(line: &str) -> Result<WriterReport> {
    let mut words = line.trim_end_matches('\n').splitn(5, ' ');
    let mut number = || -> Result<u64> { Ok(words.next().context("too short")?.parse()?) };
    let (asked, written) = (Size::mib(number()?), Size::mib(number()?));
    let (took, worst) = (number()?, number()?);
    let error = words.next().filter(|e| !e.is_empty()).map(str::to_owned);
    Ok(WriterReport {
        asked,
        written,
        took: Duration::from_millis(took),
        worst_write: Duration::from_millis(worst),
        error,
    })
}

impl fmt::Display for WriterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wrote {} of {} in {:.1} s ({} MiB/s), worst write {} ms, {}",
            self.written,
            self.asked,
            self.took.as_secs_f64(),
            self.mib_per_sec(),
            self.worst_write.as_millis(),
            self.error.as_deref().unwrap_or("no error")
        )
    }
}

/// The writer's process: `DEVICE RATE FROM_MIB TOTAL_MIB REPORT`.
pub(super) fn main(words: &[&str]) -> Result<u8> {
    let [device, rate, from, total, report] = words else {
        bail!("writer DEVICE RATE FROM TOTAL REPORT, not {words:?}");
    };
    let (from, total) = (Size::mib(from.parse()?), Size::mib(total.parse()?));
    let mut log = ReportLog {
        path: report,
        last: None,
    };
    let done = write(device, Rate::from_word(rate)?, from, total, &mut log);
    log.save(&done)?;
    Ok(0)
}

fn write(device: &str, rate: Rate, from: Size, asked: Size, log: &mut ReportLog) -> WriterReport {
    let start = Instant::now();
    let mut report = WriterReport {
        asked,
        written: Size::mib(0),
        took: Duration::ZERO,
        worst_write: Duration::ZERO,
        error: None,
    };
    let mut block = Block::new();
    let mut pace = Pace {
        rate,
        forgiven: Duration::ZERO,
    };
    let file = match open(device, OpenOptions::new().write(true)) {
        Ok(file) => file,
        Err(error) => {
            report.error = Some(format!("{error:#}"));
            return report;
        }
    };
    while report.written < asked && report.error.is_none() {
        let at = Size::mib(from.as_mib() + report.written.as_mib());
        let before = Instant::now();
        match file.write_all_at(block.stamped(at), at.as_bytes()) {
            Ok(()) => report.written = Size::mib(report.written.as_mib() + 1),
            Err(error) => report.error = Some(error.to_string()),
        }
        report.worst_write = report.worst_write.max(before.elapsed());
        report.took = start.elapsed();
        log.save_sometimes(&report);
        thread::sleep(pace.ahead(report.written, start.elapsed()));
    }
    report
}

struct ReportLog<'a> {
    path: &'a str,
    last: Option<Instant>,
}

impl ReportLog<'_> {
    fn save_sometimes(&mut self, report: &WriterReport) {
        if self.last.is_none_or(|last| last.elapsed() > REPORT_EVERY) {
            // The last one is saved with its error checked.
            self.save(report).ok();
            self.last = Some(Instant::now());
        }
    }

    /// Renamed into place, so that a reader never sees half a line.
    fn save(&self, report: &WriterReport) -> Result<()> {
        let new = format!("{}.new", self.path);
        fs::write(&new, report.as_line()).context("saving the writer's report")?;
        fs::rename(&new, self.path).context("saving the writer's report")
    }
}

/// Writes the one MiB at `at`, in this process: for what begins at its end.
pub fn write_mib(device: &str, at: Size) -> Result<()> {
    let file = open(device, OpenOptions::new().write(true))?;
    file.write_all_at(Block::new().stamped(at), at.as_bytes())
        .with_context(|| format!("writing to {device} at {at}"))
}

/// Reads back what writers wrote at `from`, and fails at the first page that is
/// not what they wrote.
pub fn verify(device: &str, from: Size, total: Size) -> Result<()> {
    println!("+ verify: {total} of {device} from {from}");
    let file = open(device, OpenOptions::new().read(true))?;
    let (mut expected, mut found) = (Block::new(), Block::new());
    for mib in from.as_mib()..from.as_mib() + total.as_mib() {
        let at = Size::mib(mib);
        file.read_exact_at(found.bytes(), at.as_bytes())
            .with_context(|| format!("reading {device} at {at}"))?;
        let pages = expected
            .stamped(at)
            .chunks(PAGE)
            .zip(found.bytes().chunks(PAGE));
        if let Some(page) = pages.into_iter().position(|(e, f)| e != f) {
            bail!("{device} lost what was written at {at}, page {page}");
        }
    }
    Ok(())
}

fn open(device: &str, options: &mut OpenOptions) -> Result<File> {
    let file = options.custom_flags(O_DIRECT).open(device);
    file.with_context(|| format!("opening {device}"))
}

/// One MiB of noise on a page boundary.
struct Block {
    memory: Vec<u8>,
    start: usize,
}

impl Block {
    fn new() -> Self {
        let mut memory = vec![0; MIB + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        // Xorshift64: noise that nothing below can compress, the same each time.
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        for word in memory[start..start + MIB].chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + MIB]
    }

    /// The block for the MiB `at`: every page begins with its own place.
    fn stamped(&mut self, at: Size) -> &[u8] {
        let first = at.as_bytes();
        for (page, number) in self.bytes().chunks_exact_mut(PAGE).zip(0..) {
            let place = first + number * PAGE as u64;
            page[..8].copy_from_slice(&place.to_le_bytes());
        }
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(error: Option<&str>) -> WriterReport {
        WriterReport {
            asked: Size::mib(300),
            written: Size::mib(120),
            took: Duration::from_secs(2),
            worst_write: Duration::from_millis(37),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn a_report_survives_its_line() {
        for error in [None, Some("No space left on device (os error 28)")] {
            let report = report(error);
            assert_eq!(parse(&report.as_line()).unwrap(), report);
        }
    }

    #[test]
    fn half_a_report_is_none() {
        for line in ["", "300", "300 120 2000", "a b c d "] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn speed_is_written_by_time() {
        assert_eq!(report(None).mib_per_sec(), 60);
        let at_once = WriterReport {
            took: Duration::ZERO,
            ..report(None)
        };
        assert_eq!(at_once.mib_per_sec(), 120_000);
    }

    fn pace(rate: Rate) -> Pace {
        let forgiven = Duration::ZERO;
        Pace { rate, forgiven }
    }

    #[test]
    fn a_paced_writer_waits_only_when_ahead() {
        let mut pace = pace(Rate::MibPerSec(4));
        let mut ahead = |mib, millis| pace.ahead(Size::mib(mib), Duration::from_millis(millis));
        assert_eq!(ahead(8, 500), Duration::from_millis(1500));
        assert_eq!(ahead(8, 2000), Duration::ZERO);
        assert_eq!(ahead(8, 2900), Duration::ZERO);
        assert_eq!(ahead(16, 3900), Duration::from_millis(100));
    }

    #[test]
    fn a_writer_that_stood_still_makes_up_for_a_second() {
        let mut pace = pace(Rate::MibPerSec(4));
        let mut ahead = |mib, millis| pace.ahead(Size::mib(mib), Duration::from_millis(millis));
        assert_eq!(ahead(8, 20_000), Duration::ZERO);
        // Where it should have been a second before.
        assert_eq!(ahead(12, 20_000), Duration::ZERO);
        assert_eq!(ahead(16, 20_000), Duration::from_secs(1));
    }

    #[test]
    fn an_unlimited_writer_never_waits() {
        let wait = pace(Rate::Unlimited).ahead(Size::gib(9), Duration::ZERO);
        assert_eq!(wait, Duration::ZERO);
    }

    #[test]
    fn rates_survive_the_command_line() {
        for rate in [Rate::Unlimited, Rate::MibPerSec(7)] {
            assert_eq!(Rate::from_word(&rate.as_word()).unwrap(), rate);
        }
        assert!(Rate::from_word("0").is_err());
        assert!(Rate::from_word("fast").is_err());
    }

    #[test]
    fn blocks_are_aligned_and_differ_by_place() {
        let (mut one, mut two) = (Block::new(), Block::new());
        assert_eq!(one.bytes().as_ptr().align_offset(PAGE), 0);
        assert_eq!(one.stamped(Size::mib(5)), two.stamped(Size::mib(5)));
        assert_ne!(one.stamped(Size::mib(5)), two.stamped(Size::mib(6)));
    }
}
