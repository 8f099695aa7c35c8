//! The journal: read from whatever bytes the file has, checked, and shown.
//!
//! A line that is no record is told of and left out: it hides none of the others. A crash may cut off the last line
//! only.

use crate::model::journal::{NOTHING_BEFORE, Record, digest};
use crate::model::names::Name;
use crate::model::time::UnixSeconds;

use super::columns::{Side, Table};
use super::text;

/// One file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading<'a> {
    pub lines: Vec<Line<'a>>,
    /// The last line has no end, and is no record: it is being written, or its writer was stopped.
    pub is_torn: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// From 1 on.
    pub number: usize,
    /// Without its line feed.
    pub bytes: &'a [u8],
    /// Nothing where it is none.
    pub record: Option<Box<Record>>,
}

/// Where a journal is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {fault}")]
pub struct Break {
    /// It is in the file that was rotated.
    pub is_rotated: bool,
    pub number: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("is no record of the journal")]
    Foreign,
    #[error(
        "does not continue the line before it: one of the two was changed, or something between them is gone"
    )]
    Unchained,
    #[error("continues a file that is not there")]
    Headless,
}

/// What to show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub since: Option<UnixSeconds>,
    pub vg: Option<Name>,
}

#[must_use]
pub fn read(bytes: &[u8]) -> Reading<'_> {
    let (whole, rest) = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => (bytes.get(..end), bytes.get(end + 1..)),
        None => (None, Some(bytes)),
    };
    let whole = whole.map(|lines| lines.split(|byte| *byte == b'\n'));
    let mut lines: Vec<Line<'_>> = whole
        .into_iter()
        .flatten()
        .zip(1..)
        .map(|(bytes, number)| line(number, bytes))
        .collect();
    let rest = rest.filter(|rest| !rest.is_empty());
    let last = rest.map(|rest| line(lines.len() + 1, rest));
    let is_torn = last.as_ref().is_some_and(|last| last.record.is_none());
    lines.extend(last.filter(|_| !is_torn));
    Reading { lines, is_torn }
}

/// Whether each line continues the one before it.
///
/// # Errors
/// The first line that does not, or is no record.
pub fn verify(rotated: Option<&Reading<'_>>, current: &Reading<'_>) -> Result<(), Break> {
    let mut before = None;
    let older = rotated.iter().flat_map(|reading| &reading.lines);
    let all = older.map(|line| (true, line));
    for (is_rotated, line) in all.chain(current.lines.iter().map(|line| (false, line))) {
        let fault = |fault| Break {
            is_rotated,
            number: line.number,
            fault,
        };
        let record = line.record.as_ref().ok_or(fault(Fault::Foreign))?;
        match before {
            Some(digest) if digest != record.prev => return Err(fault(Fault::Unchained)),
            // What the rotated file continues was given up.
            None if !is_rotated && record.prev != NOTHING_BEFORE => {
                return Err(fault(Fault::Headless));
            }
            Some(_) | None => {}
        }
        before = Some(digest(line.bytes));
    }
    Ok(())
}

impl Filter {
    #[must_use]
    pub fn shows(&self, record: &Record) -> bool {
        let is_late = self.since.is_none_or(|since| record.ts >= since);
        is_late && self.vg.as_ref().is_none_or(|vg| is_about(record, vg))
    }
}

/// One line each, in the order of the journal. Times are UTC.
#[must_use]
pub fn table<'a>(records: impl Iterator<Item = &'a Record>) -> String {
    let heads = ["TIME (UTC)", "WHO", "WHAT", "TARGET", "RECORD", "DETAIL"];
    let mut table = Table {
        sides: [Side::Left; 6],
        rows: vec![heads.map(str::to_owned)],
    };
    table.rows.extend(records.map(row));
    if table.rows.len() == 1 {
        return "nothing on record\n".to_owned();
    }
    table.text()
}

/// What was refused before anybody knew what it was about tells that in its request, or in the reason.
fn is_about(record: &Record, vg: &Name) -> bool {
    if let Some(target) = &record.target {
        return target.vg == *vg;
    }
    let start = format!("{vg}/");
    let mut parts = record.line.split(['/', '?']);
    let mut words = record.detail.split_whitespace();
    parts.any(|part| decoded(part).starts_with(start.as_bytes()))
        || words.any(|word| word.starts_with(&start))
}

/// A part of a path. What is no escape stands for itself.
fn decoded(part: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = rest.next() {
        let mut after = rest.clone();
        let value = digit(after.next()).zip(digit(after.next()));
        let value = value.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        if let (b'%', Some(value)) = (byte, value) {
            bytes.push(value);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    bytes
}

fn line(number: usize, bytes: &[u8]) -> Line<'_> {
    Line {
        number,
        bytes,
        record: serde_json::from_slice(bytes).ok(),
    }
}

fn row(record: &Record) -> [String; 6] {
    let target = record.target.as_ref();
    let verb = record.verb.map(|verb| verb.label().to_owned());
    let detail = text::one_line(&record.detail);
    [
        text::date(record.ts),
        text::one_line(&record.caller.to_string()),
        verb.unwrap_or_else(|| text::one_line(&record.line)),
        target.map_or_else(
            || text::NOTHING.to_owned(),
            |target| format!("{}/{}", target.vg, target.lv),
        ),
        record.kind.label().to_owned(),
        match record.code {
            Some(code) => format!("{}: {detail}", code.label()),
            None => detail,
        },
    ]
}
