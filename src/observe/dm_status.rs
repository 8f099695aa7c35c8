//! Parses status lines of `thin-pool`, `thin`, `snapshot` and `snapshot-merge` targets. Pure.
//!
//! The formats are the kernel's: `pool_status` and `thin_status` in drivers/md/dm-thin.c and
//! `snapshot_status` in drivers/md/dm-snap.c. Older kernels leave out the last fields of a pool; newer ones may add some.

use crate::model::inventory::{CowStatus, CowUsage, PoolMode, PoolStatus, PoolUsage};
use crate::model::units::Sectors;

/// Longest piece of unreadable text that an error repeats.
const SHOWN_MAX: usize = 80;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StatusError {
    #[error("status field {field} ({what}) is {found:?}")]
    Field {
        field: usize,
        what: &'static str,
        found: String,
    },
    #[error("status ends before field {field} ({what})")]
    Missing { field: usize, what: &'static str },
}

/// Reads the status of a `thin-pool` target.
///
/// # Errors
/// When a field that every kernel prints is missing or unreadable.
pub fn thin_pool(line: &str) -> Result<PoolStatus, StatusError> {
    let fields = Fields(line.split_ascii_whitespace().collect());
    // "Error" stands where the kernel could not read its own metadata.
    if fields
        .0
        .iter()
        .any(|field| matches!(*field, "Fail" | "Error"))
    {
        return Ok(PoolStatus::Failed);
    }
    let (metadata_used_blocks, metadata_total_blocks) =
        fields.ratio(1, "used/total metadata blocks")?;
    let (data_used_blocks, data_total_blocks) = fields.ratio(2, "used/total data blocks")?;
    Ok(PoolStatus::Working(PoolUsage {
        transaction_id: fields.number(0, "transaction id")?,
        metadata_used_blocks,
        metadata_total_blocks,
        data_used_blocks,
        data_total_blocks,
        mode: mode(&fields)?,
        errors_when_full: fields.0.contains(&"error_if_no_space"),
        needs_check: fields.0.contains(&"needs_check"),
        metadata_low_water_blocks: fields.0.get(8).and_then(|text| text.parse().ok()),
    }))
}

fn mode(fields: &Fields<'_>) -> Result<PoolMode, StatusError> {
    const FIELD: usize = 4;
    match fields.get(FIELD, "mode")? {
        "rw" => Ok(PoolMode::Writable),
        "ro" => Ok(PoolMode::ReadOnly),
        "out_of_data_space" => Ok(PoolMode::OutOfDataSpace),
        found => Err(unreadable(
            FIELD,
            "mode: rw, ro or out_of_data_space",
            found,
        )),
    }
}

/// Reads the status of a `snapshot` or `snapshot-merge` target.
///
/// # Errors
/// When it is neither one of the kernel's words nor `allocated/total metadata`.
pub fn snapshot(line: &str, merging: bool) -> Result<CowStatus, StatusError> {
    match line.trim() {
        "Invalid" => return Ok(CowStatus::Invalid),
        "Merge failed" => return Ok(CowStatus::MergeFailed),
        "Overflow" => return Ok(CowStatus::Overflow),
        "Unknown" => return Ok(CowStatus::Unknown),
        _ => {}
    }
    let fields = Fields(line.split_ascii_whitespace().collect());
    let (allocated, total) = fields.ratio(0, "allocated/total sectors")?;
    let usage = CowUsage {
        allocated: Sectors(allocated),
        total: Sectors(total),
        metadata: Sectors(fields.number(1, "metadata sectors")?),
    };
    Ok(if merging {
        CowStatus::Merging(usage)
    } else {
        CowStatus::Valid(usage)
    })
}

/// Reads the status of a `thin` target: mapped sectors, then the highest mapped one. Nothing while the kernel
/// cannot tell: its pool has failed (`Fail`), or its metadata cannot be read (`Error`, `-`).
///
/// # Errors
/// When it is neither one of the kernel's words nor a number.
pub fn thin(line: &str) -> Result<Option<Sectors>, StatusError> {
    let fields = Fields(line.split_ascii_whitespace().collect());
    let is_told = !matches!(fields.0.first(), Some(&"Fail" | &"Error" | &"-"));
    is_told
        .then(|| fields.number(0, "mapped sectors").map(Sectors))
        .transpose()
}

/// Reads the chunk size out of the table of a `thin-pool` target: metadata device, data device, chunk.
///
/// # Errors
/// When there is no such field or it is no number.
pub fn thin_pool_chunk(table: &str) -> Result<Sectors, StatusError> {
    let fields = Fields(table.split_ascii_whitespace().collect());
    fields.number(2, "chunk size in sectors").map(Sectors)
}

struct Fields<'a>(Vec<&'a str>);

impl<'a> Fields<'a> {
    fn get(&self, field: usize, what: &'static str) -> Result<&'a str, StatusError> {
        self.0.get(field).copied().ok_or(StatusError::Missing {
            field: field + 1,
            what,
        })
    }

    fn number(&self, field: usize, what: &'static str) -> Result<u64, StatusError> {
        let text = self.get(field, what)?;
        text.parse().map_err(|_| unreadable(field, what, text))
    }

    fn ratio(&self, field: usize, what: &'static str) -> Result<(u64, u64), StatusError> {
        let text = self.get(field, what)?;
        let parsed = text
            .split_once('/')
            .and_then(|(used, total)| Some((used.parse().ok()?, total.parse().ok()?)));
        parsed.ok_or_else(|| unreadable(field, what, text))
    }
}

fn unreadable(field: usize, what: &'static str, found: &str) -> StatusError {
    StatusError::Field {
        field: field + 1,
        what,
        found: found.chars().take(SHOWN_MAX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn usage(line: &str) -> PoolUsage {
        match thin_pool(line).expect(line) {
            PoolStatus::Working(usage) => usage,
            PoolStatus::Failed => panic!("{line}"),
        }
    }

    #[test]
    fn a_pool_line_is_read_whole() {
        let line = "1 141/4096 80/1024 - rw discard_passdown queue_if_no_space - 1024 ";
        let expected = PoolUsage {
            transaction_id: 1,
            metadata_used_blocks: 141,
            metadata_total_blocks: 4096,
            data_used_blocks: 80,
            data_total_blocks: 1024,
            mode: PoolMode::Writable,
            errors_when_full: false,
            needs_check: false,
            metadata_low_water_blocks: Some(1024),
        };
        assert_eq!(usage(line), expected);
    }

    #[test]
    fn pool_states_are_told_apart() {
        assert_eq!(thin_pool("Fail"), Ok(PoolStatus::Failed));
        assert_eq!(thin_pool("1 Error Error"), Ok(PoolStatus::Failed));
        let full = usage("1 9/10 8/8 - out_of_data_space discard_passdown error_if_no_space - 2");
        assert_eq!(
            (full.mode, full.errors_when_full),
            (PoolMode::OutOfDataSpace, true)
        );
        let sick = usage("1 9/10 8/8 - ro no_discard_passdown queue_if_no_space needs_check 2");
        assert_eq!((sick.mode, sick.needs_check), (PoolMode::ReadOnly, true));
        let old = usage("1 9/10 8/8 - rw discard_passdown queue_if_no_space");
        assert_eq!(old.metadata_low_water_blocks, None);
    }

    #[test]
    fn a_broken_pool_line_names_its_field() {
        let error = thin_pool("1 9/10 12 - rw").expect_err("12 is no ratio");
        assert_eq!(
            error.to_string(),
            r#"status field 3 (used/total data blocks) is "12""#
        );
        assert!(matches!(thin_pool(""), Err(StatusError::Missing { .. })));
        assert!(matches!(
            thin_pool("1 9/10 8/8 - wr"),
            Err(StatusError::Field { field: 5, .. })
        ));
    }

    #[test]
    fn snapshot_words_and_numbers_are_told_apart() {
        let used = CowUsage {
            allocated: Sectors(16),
            total: Sectors(131_072),
            metadata: Sectors(16),
        };
        assert_eq!(snapshot("16/131072 16", false), Ok(CowStatus::Valid(used)));
        assert_eq!(snapshot("16/131072 16", true), Ok(CowStatus::Merging(used)));
        for (line, status) in [
            ("Invalid", CowStatus::Invalid),
            ("Merge failed", CowStatus::MergeFailed),
            ("Overflow", CowStatus::Overflow),
            ("Unknown", CowStatus::Unknown),
        ] {
            assert_eq!(snapshot(line, false), Ok(status));
        }
        assert!(snapshot("16 131072 16", false).is_err());
    }

    #[test]
    fn what_a_thin_volume_maps_is_told_or_not() {
        assert_eq!(thin("409600 614399"), Ok(Some(Sectors(409_600))));
        assert_eq!(thin("0 -"), Ok(Some(Sectors(0))));
        for word in ["Fail", "Error", "-"] {
            assert_eq!(thin(word), Ok(None), "{word}");
        }
        assert!(matches!(thin(""), Err(StatusError::Missing { .. })));
        assert!(matches!(thin("x 1"), Err(StatusError::Field { .. })));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in any::<String>(), merging in any::<bool>()) {
            let _ = thin(&line);
            let _ = thin_pool(&line);
            let _ = thin_pool_chunk(&line);
            let _ = snapshot(&line, merging);
        }
    }
}
