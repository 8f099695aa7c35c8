//! The journal: a line for what is about to be done, and one for what came of it, on disk before anybody is told.
//!
//! It lies on the host's own file system, which may be the one that is full: a thread of its own waits for it, and
//! what cannot be put on record in time is not done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
type Order = (Box<Line>, SyncSender<Result<(), String>>);
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
            // Made when there is something to write: where nobody asks for anything there is no journal.
            let mut book = None;
            while let Ok((line, written)) = queue.recv() {
                let result = write(&mut book, &path, *line);
                // Who does not wait any longer has refused what this line is about.
                let _ = written.send(result);
            }
        })?;
        Ok((Self { orders }, left))
    }

    /// Returns when the line is on disk.
    pub(super) fn write(&self, line: Line) -> Result<(), Refusal> {
        let unavailable = |why: &str| {
            let detail = format!("the journal cannot be written ({why}), so nothing is done");
            Refusal::new(Code::JournalUnavailable, detail)
        };
        let (written, result) = sync_channel(1);
        self.orders
            .try_send((Box::new(line), written))
            .map_err(|_| unavailable("it is behind"))?;
        match result.recv_timeout(WRITE_LIMIT) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(unavailable("the disk does not answer")),
        }
    }
}

fn write(book: &mut Option<Book>, path: &Path, line: Line) -> Result<(), String> {
    if book.is_none() {
        // What kept it from being opened may have passed.
        *book = Some(Book::open(path).map_err(|error| chain(&error))?);
    }
    let written = book.as_mut().map(|book| book.append(line));
    let result = written.unwrap_or(Ok(())).map_err(|error| chain(&error));
    if result.is_err() {
        // Half a line may have been written: whoever opens it again ends it first.
        *book = None;
    }
    result
}

/// What a predecessor wrote, the latest of it; nothing when there is no journal yet.
fn left_over(path: &Path) -> io::Result<Vec<Line>> {
    match File::open(path) {
        Ok(mut file) => Ok(parsed(&tail(&mut file)?).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
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
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o640)
            .open(path)?;
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
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
            self.file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .mode(0o640)
                .open(&self.path)?;
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
