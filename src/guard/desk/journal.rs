//! The journal: a line for what is about to be done, and one for what came of it, on disk before anybody is told.
//!
//! It lies on the host's own file system, which may be the one that is full: a thread of its own waits for it, and
//! what cannot be put on record in time is not done.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::act::hook;
use crate::model::action::{Act, Caller, Job, JobResult, Verb};
use crate::model::cause::chain;
use crate::model::journal::{self, NOTHING_BEFORE, Record, RecordKind};
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::time::UnixSeconds;

use super::super::workers;

/// How long a caller waits for the disk.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How soon what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A file of this size is put aside, in place of the one before.
const FILE_MAX: u64 = 16 << 20;
/// What is read of a predecessor's journal: more than a day of it where nobody floods it.
const READ_MAX: u64 = 4 << 20;
const QUEUE: usize = 16;
const STACK: usize = 256 << 10;

/// A line, with what a successor needs beyond what people read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) record: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<Act>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<Task>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<JobResult>,
}

impl Line {
    /// Number and digest are the writer's.
    pub(super) fn of(kind: RecordKind, ts: UnixSeconds, caller: &Caller, line: &str) -> Self {
        Self {
            record: Record {
                ts,
                seq: 0,
                prev: String::new(),
                kind,
                job: None,
                caller: caller.clone(),
                line: line.to_owned(),
                verb: None,
                target: None,
                detail: String::new(),
                code: None,
            },
            act: None,
            task: None,
            result: None,
        }
    }

    /// The end of what this began, for who was told that it cannot be put on record; nothing where it began nothing.
    fn refused_after_all(&self) -> Option<Self> {
        let record = &self.record;
        if record.kind != RecordKind::Intent {
            return None;
        }
        let mut end = Self::of(RecordKind::Outcome, record.ts, &record.caller, &record.line);
        end.record.job.clone_from(&record.job);
        end.record.target.clone_from(&record.target);
        let detail = "it was on record too late and has been refused: nothing was done".to_owned();
        Some(end.with(record.verb, detail, Some(Code::JournalUnavailable)))
    }

    pub(super) fn of_job(mut self, job: &Job) -> Self {
        self.record.job = Some(job.id.clone());
        self.record.target = Some((&job.target).into());
        self
    }

    pub(super) fn with(mut self, verb: Option<Verb>, detail: String, code: Option<Code>) -> Self {
        self.record.verb = verb;
        self.record.detail = detail;
        self.record.code = code;
        self
    }
}

/// Where lines are handed in.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    orders: SyncSender<Order>,
}

/// A line, and who is told when it is on disk.
struct Order {
    line: Box<Line>,
    written: SyncSender<Result<(), String>>,
    /// Set by who comes first: who has written it, or who waits no longer and has refused what it is about.
    is_settled: Arc<AtomicBool>,
}

/// What the guards before wrote, or why it cannot be read.
pub(super) type Left = Result<Vec<Line>, String>;

/// The file, and what its next line continues.
struct Book {
    path: PathBuf,
    file: File,
    seq: u64,
    prev: String,
}

impl Journal {
    /// Opens the journal on the host. The lines that a predecessor left come back once they have been read.
    pub(super) fn start(
        host: Option<PathBuf>,
        path: PathBuf,
    ) -> io::Result<(Self, Receiver<Left>)> {
        let (orders, queue) = sync_channel::<Order>(QUEUE);
        let (told, left) = sync_channel(1);
        workers::spawn("journal", STACK, move || {
            let entered = host.as_deref().map(hook::enter).transpose();
            let left = entered.and_then(|_| left_over(&path));
            let left = left.map_err(|error| format!("read {}: {error}", path.display()));
            // Nobody waits for it any more when the desk is closed.
            let _ = told.send(left);
            Writer::of(path).write_for_ever(&queue);
        })?;
        Ok((Self { orders }, left))
    }

    /// Returns when the line is on disk. What cannot be put on record in time is not done.
    pub(super) fn write(&self, line: Line) -> Result<(), Refusal> {
        let unavailable = |why: &str| {
            let detail = format!("the journal cannot be written ({why}), so nothing is done");
            Refusal::new(Code::JournalUnavailable, detail)
        };
        let (order, result) = Order::of(line);
        let is_settled = Arc::clone(&order.is_settled);
        self.orders
            .try_send(order)
            .map_err(|_| unavailable("it is behind"))?;
        let written = match result.recv_timeout(WRITE_LIMIT) {
            // It was written at the last moment, and is about to be told.
            Err(_) if is_settled.swap(true, Ordering::SeqCst) => result.recv().ok(),
            told => told.ok(),
        };
        let written = written.ok_or_else(|| unavailable("the disk does not answer"))?;
        written.map_err(|error| unavailable(&error))
    }

    /// Returns when the line that ends a job is on disk, however long that takes: a job without one is taken for one
    /// that was not finished, and what it made may be removed.
    ///
    /// # Errors
    /// What keeps it from being written, once `goes_on` says no.
    pub(super) fn write_end(&self, line: &Line, goes_on: impl Fn() -> bool) -> Result<(), String> {
        let mut is_told = false;
        loop {
            let (order, result) = Order::of(line.clone());
            let why = match self.orders.send(order) {
                Err(_) => "nobody writes it any more".to_owned(),
                Ok(()) => loop {
                    match result.recv_timeout(WRITE_LIMIT) {
                        Ok(Ok(())) => return Ok(()),
                        Ok(Err(error)) => break error,
                        Err(_) if !goes_on() => break "the disk does not answer".to_owned(),
                        Err(_) => {}
                    }
                },
            };
            if !goes_on() {
                return Err(why);
            }
            if !is_told {
                is_told = true;
                tracing::error!(
                    job = line.record.job,
                    detail = why,
                    "what became of a job cannot be put on record; nothing else is done until it is"
                );
            }
            thread::sleep(AGAIN);
        }
    }
}

impl Order {
    fn of(line: Line) -> (Self, Receiver<Result<(), String>>) {
        let (written, result) = sync_channel(1);
        let order = Self {
            line: Box::new(line),
            written,
            is_settled: Arc::default(),
        };
        (order, result)
    }
}

/// The thread that waits for the disk.
struct Writer {
    path: PathBuf,
    /// Made when there is something to write: where nobody asks for anything there is no journal.
    book: Option<Book>,
    /// The ends of what was written after all, and refused. They come before anything else.
    owed: VecDeque<Line>,
}

impl Writer {
    const fn of(path: PathBuf) -> Self {
        Self {
            path,
            book: None,
            owed: VecDeque::new(),
        }
    }

    fn write_for_ever(mut self, queue: &Receiver<Order>) {
        while let Ok(order) = queue.recv() {
            if order.is_settled.load(Ordering::SeqCst) {
                continue;
            }
            let line = (*order.line).clone();
            let result = self.pay().and_then(|()| self.write(line));
            self.settle(&order, result);
        }
    }

    fn settle(&mut self, order: &Order, result: Result<(), String>) {
        let is_late = order.is_settled.swap(true, Ordering::SeqCst);
        let end = order.line.refused_after_all().filter(|_| is_late);
        if let (Ok(()), Some(end)) = (&result, end) {
            self.owed.push_back(end);
            // If it cannot be written now it is before the next line.
            let _ = self.pay();
        }
        // Nobody may wait any longer.
        let _ = order.written.send(result);
    }

    fn pay(&mut self) -> Result<(), String> {
        while let Some(line) = self.owed.front().cloned() {
            self.write(line)?;
            self.owed.pop_front();
        }
        Ok(())
    }

    fn write(&mut self, line: Line) -> Result<(), String> {
        let book = match &mut self.book {
            Some(book) => book,
            // What kept it from being opened may have passed.
            none => none.insert(Book::open(&self.path).map_err(|error| chain(&error))?),
        };
        let result = book.append(line).map_err(|error| chain(&error));
        if result.is_err() {
            // Half a line may have been written: whoever opens it again ends it first.
            self.book = None;
        }
        result
    }
}

/// What a predecessor wrote, the latest of it; nothing when there is no journal yet.
fn left_over(path: &Path) -> io::Result<Vec<Line>> {
    let current = tail_of(path)?;
    let mut bytes = Vec::new();
    if (current.len() as u64) < READ_MAX {
        // What was accepted before the journal was put aside may have its end after that, or none.
        bytes = tail_of(&aside(path))?;
    }
    bytes.extend(current);
    Ok(parsed(&bytes).collect())
}

/// Nothing of a file that is not there.
fn tail_of(path: &Path) -> io::Result<Vec<u8>> {
    match File::open(path) {
        Ok(mut file) => tail(&mut file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Where a journal that has become too large is put.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".1");
    aside.into()
}

/// That a file is there is on disk, too.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_MAX)))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let all = bytes.split(|byte| *byte == b'\n');
    all.filter(|line| !line.is_empty())
}

/// Those that are whole.
fn parsed(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Line> {
    lines(bytes).filter_map(|line| serde_json::from_slice(line).ok())
}

fn made(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true).mode(0o640);
    let file = options.open(path)?;
    sync_directory(path)?;
    Ok(file)
}

impl Book {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent()
            && !directory.exists()
        {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(directory)?;
        }
        let mut file = made(path)?;
        let mut bytes = tail(&mut file)?;
        if bytes.last().is_some_and(|last| *last != b'\n') {
            // The writer was killed within a line, before anybody was told of it.
            let torn = bytes
                .rsplit(|byte| *byte == b'\n')
                .next()
                .map_or(0, <[u8]>::len);
            let length = file.metadata()?.len().saturating_sub(torn as u64);
            file.set_len(length)?;
            bytes.truncate(bytes.len() - torn);
            file.sync_data()?;
        }
        if bytes.is_empty() {
            // The writer was killed right after it had put the former journal aside.
            bytes = tail_of(&aside(path))?;
        }
        let prev = lines(&bytes).next_back().map(journal::digest);
        let last = parsed(&bytes).next_back();
        Ok(Self {
            path: path.to_owned(),
            file,
            seq: last.map_or(0, |line| line.record.seq),
            prev: prev.unwrap_or_else(|| NOTHING_BEFORE.to_owned()),
        })
    }

    fn append(&mut self, mut line: Line) -> io::Result<()> {
        if self.file.metadata()?.len() >= FILE_MAX {
            fs::rename(&self.path, aside(&self.path))?;
            self.file = made(&self.path)?;
        }
        line.record.seq = self.seq + 1;
        line.record.prev.clone_from(&self.prev);
        let mut text = serde_json::to_vec(&line).map_err(io::Error::other)?;
        let digest = journal::digest(&text);
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.seq += 1;
        self.prev = digest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for the journal of one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("cowherd-journal-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::remove_dir_all(&folder).ok();
            fs::create_dir(&folder).expect("a new folder");
            Self(folder)
        }

        fn journal(&self) -> PathBuf {
            self.0.join("journal.jsonl")
        }

        fn told(&self) -> Vec<(RecordKind, u64, Option<String>)> {
            let lines = left_over(&self.journal())
                .expect("it can be read")
                .into_iter();
            lines
                .map(|line| (line.record.kind, line.record.seq, line.record.job))
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn line(kind: RecordKind, job: &str) -> Line {
        let caller = Caller::Peer { uid: 0, gid: 0 };
        let mut line = Line::of(kind, UnixSeconds(1.0), &caller, "POST /x");
        line.record.job = Some(job.to_owned());
        line
    }

    fn told(kind: RecordKind, seq: u64, job: &str) -> (RecordKind, u64, Option<String>) {
        (kind, seq, Some(job.to_owned()))
    }

    #[test]
    fn a_journal_put_aside_is_gone_on_with_and_its_open_jobs_are_found() {
        let folder = Folder::new("aside");
        let path = folder.journal();
        let mut writer = Writer::of(path.clone());
        for job in ["a", "b"] {
            writer
                .write(line(RecordKind::Intent, job))
                .expect("written");
        }
        let text = fs::read_to_string(&path).expect("there is one");
        let last = text.lines().next_back().expect("two lines");
        // Killed right after that, once with and once without the new file.
        fs::rename(&path, aside(&path)).expect("put aside");
        for is_made in [false, true] {
            if is_made {
                File::create(&path).expect("made");
            }
            let book = Book::open(&path).expect("opened");
            assert_eq!((book.seq, book.prev), (2, journal::digest(last.as_bytes())));
        }
        let mut writer = Writer::of(path.clone());
        writer
            .write(line(RecordKind::Outcome, "a"))
            .expect("written");
        let (intent, outcome) = (RecordKind::Intent, RecordKind::Outcome);
        assert_eq!(
            folder.told(),
            [
                told(intent, 1, "a"),
                told(intent, 2, "b"),
                told(outcome, 3, "a")
            ]
        );
    }

    #[test]
    fn what_was_refused_for_want_of_a_record_is_ended_by_one() {
        let folder = Folder::new("late");
        let mut writer = Writer::of(folder.journal());
        for (kind, is_late) in [
            (RecordKind::Intent, false),
            (RecordKind::Refused, true),
            (RecordKind::Intent, true),
        ] {
            let (order, _result) = Order::of(line(kind, "a"));
            writer.write((*order.line).clone()).expect("written");
            order.is_settled.store(is_late, Ordering::SeqCst);
            writer.settle(&order, Ok(()));
        }
        let (intent, refused) = (RecordKind::Intent, RecordKind::Refused);
        assert_eq!(
            folder.told(),
            [
                told(intent, 1, "a"),
                told(refused, 2, "a"),
                told(intent, 3, "a"),
                told(RecordKind::Outcome, 4, "a")
            ]
        );
    }

    #[test]
    fn what_nobody_waits_for_any_longer_is_not_written() {
        let folder = Folder::new("withdrawn");
        let (orders, queue) = sync_channel(QUEUE);
        for (job, is_settled) in [("a", true), ("b", false)] {
            let (order, _result) = Order::of(line(RecordKind::Intent, job));
            order.is_settled.store(is_settled, Ordering::SeqCst);
            orders.send(order).expect("there is room");
        }
        drop(orders);
        Writer::of(folder.journal()).write_for_ever(&queue);
        assert_eq!(folder.told(), [told(RecordKind::Intent, 1, "b")]);
    }

    #[test]
    fn the_end_of_a_job_waits_until_the_disk_takes_it() {
        let folder = Folder::new("end");
        let inside = folder.0.join("missing");
        fs::write(&inside, "no folder").expect("written");
        let path = inside.join("journal.jsonl");
        let (journal, _left) = Journal::start(None, path.clone()).expect("a thread");
        journal
            .write(line(RecordKind::Intent, "a"))
            .expect_err("nothing is begun");
        let end = line(RecordKind::Outcome, "a");
        journal
            .write_end(&end, || false)
            .expect_err("nobody waits for it");
        let (failed, failures) = sync_channel(1);
        let waits = thread::spawn(move || {
            journal.write_end(&end, || {
                failed.try_send(()).ok();
                true
            })
        });
        failures.recv().expect("it has failed once");
        fs::remove_file(&inside).expect("what was in the way is gone");
        waits.join().expect("no panic").expect("written");
        let lines = left_over(&path).expect("it can be read");
        assert_eq!(lines.len(), 1);
    }
}
