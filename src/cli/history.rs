//! `cowherd history`: who asked for what and what came of it, from the journal itself: it needs no guard.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::journal::{Record, digest};
use crate::model::time::UnixSeconds;
use crate::report::history::{self, Break, Filter, Line, Reading};

use super::{Failure, HistoryArguments, now, print, print_bytes, tell};

/// More of one file is not read: no guard lets a journal grow so large.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A journal is rotated once in a long while.
const ROTATIONS_MAX: usize = 3;

#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error("{0}: you may not read it: run as root")]
    Denied(PathBuf),
    #[error("read journal {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} is larger than {max} GiB", max = FILE_BYTES_MAX >> 30)]
    TooLarge(PathBuf),
    #[error("{path}: {at}")]
    Broken { path: PathBuf, at: Break },
}

impl HistoryError {
    fn is_absence(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// Both files of a journal, as they were at one time.
struct Files {
    current: Vec<u8>,
    /// What is older, if it is there.
    rotated: Option<Vec<u8>>,
}

pub(super) fn run(arguments: &HistoryArguments) -> Result<(), Failure> {
    let (path, rotated_path) = (&arguments.journal, rotated(&arguments.journal));
    let files = read_both(path, &rotated_path).map_err(Failure::other)?;
    let current = history::read(&files.current);
    let older = files.rotated.as_deref().map(history::read);
    tell_faults(path, &current);
    if let Some(older) = &older {
        tell_faults(&rotated_path, older);
    }
    if arguments.verify {
        return verify(path, &rotated_path, &current, older.as_ref());
    }
    let filter = Filter {
        since: arguments
            .since
            .map(|span| UnixSeconds(now().0 - f64::from(span))),
        vg: arguments.vg.clone(),
    };
    let older = older.iter().flat_map(|reading| &reading.lines);
    let shown = older.chain(&current.lines).filter_map(|line| {
        let record = line.record.as_deref()?;
        filter.shows(record).then_some((line, record))
    });
    if arguments.json {
        return print_bytes(&as_they_are(shown));
    }
    print(&history::table(shown.map(|(_, record)| record)))
}

fn as_they_are<'a>(shown: impl Iterator<Item = (&'a Line<'a>, &'a Record)>) -> Vec<u8> {
    let mut all = Vec::new();
    for (line, _) in shown {
        all.extend_from_slice(line.bytes);
        all.push(b'\n');
    }
    all
}

fn verify(
    path: &Path,
    rotated_path: &Path,
    current: &Reading<'_>,
    older: Option<&Reading<'_>>,
) -> Result<(), Failure> {
    history::verify(older, current).map_err(|at| {
        let path = if at.is_rotated { rotated_path } else { path };
        Failure::other(HistoryError::Broken {
            path: path.to_owned(),
            at,
        })
    })?;
    let count = current.lines.len() + older.map_or(0, |older| older.lines.len());
    let older = older.iter().flat_map(|reading| &reading.lines);
    let last = older.chain(&current.lines).last();
    let last = last.map(|line| digest(line.bytes));
    let last = last.map_or_else(String::new, |digest| format!(", the last is {digest}"));
    print(&format!(
        "OK: each of {count} lines continues the one before it{last}\n"
    ))
}

/// What is left out hides nothing else, so it fails nothing.
fn tell_faults(path: &Path, reading: &Reading<'_>) {
    let shown = path.display();
    for line in reading.lines.iter().filter(|line| line.record.is_none()) {
        tell(&format!(
            "{shown}: line {} is no record of the journal",
            line.number
        ));
    }
    if reading.is_torn {
        let number = reading.lines.len() + 1;
        tell(&format!(
            "{shown}: line {number} is not whole: it is being written, or whoever wrote it was stopped"
        ));
    }
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The journal may be rotated between opening the one and the other: then both are the same file. Whoever rotated it may
/// have been killed before there was another line: then there is only what is older.
fn read_both(path: &Path, rotated_path: &Path) -> Result<Files, HistoryError> {
    let mut attempts = 1;
    loop {
        let current = match open(path) {
            Err(error) if !error.is_absence() => return Err(error),
            opened => opened,
        };
        let rotated = match open(rotated_path) {
            Err(error) if error.is_absence() => None,
            opened => Some(opened?),
        };
        let current = match (current, &rotated) {
            (Err(_), Some(_)) => None,
            (current, _) => Some(current?),
        };
        let is_same = current
            .as_ref()
            .zip(rotated.as_ref())
            .is_some_and(|(current, rotated)| same(current, rotated));
        if is_same && attempts < ROTATIONS_MAX {
            attempts += 1;
            continue;
        }
        let current = current.map(|file| read(path, file)).transpose()?;
        let rotated = rotated.filter(|_| !is_same);
        return Ok(Files {
            current: current.unwrap_or_default(),
            rotated: rotated.map(|file| read(rotated_path, file)).transpose()?,
        });
    }
}

fn open(path: &Path) -> Result<File, HistoryError> {
    File::open(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == ErrorKind::PermissionDenied {
            HistoryError::Denied(path)
        } else {
            HistoryError::Read { path, source }
        }
    })
}

fn same(one: &File, other: &File) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Ok(_) | Err(_), _) => false,
    }
}

fn read(path: &Path, file: File) -> Result<Vec<u8>, HistoryError> {
    let mut bytes = Vec::new();
    let length = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| HistoryError::Read {
            path: path.to_owned(),
            source,
        })?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(HistoryError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}
