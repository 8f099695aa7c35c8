//! What the kernel and LVM do with one store, as stories: what somebody does, and what is told of the store then.
//!
//! The lab holds a real kernel against them and the suite its model of a host: both include this file, so neither
//! can tell another story than the other. Data and its wording live here; how a step is done is theirs.

/// The kernel's default for `no_space_timeout`.
pub(crate) const NO_SPACE_TIMEOUT_SECS: u64 = 60;

/// Somebody does things to one store in a volume group of its own; all sizes are in MiB.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) store: Store,
    /// Each with phrases of what is told afterwards.
    pub(crate) steps: &'static [(Step, &'static [&'static str])],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Of chunks of 64 KiB, with one thin volume that is large enough.
    Pool {
        data: u64,
        metadata: u64,
        fails_when_full: bool,
    },
    /// Of chunks of 4 KiB.
    Snapshot { origin: u64, store: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Look,
    /// A guest goes on writing until so much of its volume is written, or until a write fails.
    Write(u64),
    /// `lvextend` of data or store to a size.
    Extend(u64),
    ExtendMetadata(u64),
    /// A guest writes what needs more metadata than there is.
    UseUpMetadata,
    /// As long as the kernel lets writes wait for room.
    Timeout,
}

/// What is told of a pool by its status line.
#[derive(Debug)]
pub(crate) struct PoolTold<'a> {
    pub(crate) mode: &'a str,
    pub(crate) fails: bool,
    pub(crate) chunks: u64,
    pub(crate) chunks_total: u64,
    pub(crate) metadata: u64,
    pub(crate) metadata_total: u64,
}

/// What LVM and the guest tell besides.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Extents that the group has fewer than at the beginning.
    pub(crate) taken: u64,
    /// The step was an `lvextend` that LVM refused.
    pub(crate) refused: bool,
    /// A write of the guest has failed.
    pub(crate) failed: bool,
}

impl PoolTold<'_> {
    /// One line, of which a story has phrases.
    pub(crate) fn line(&self, rest: &Rest) -> String {
        format!(
            "<{}> and {} writes, {} of {} chunks, {} % of {} metadata blocks; {}",
            self.mode,
            if self.fails { "fails" } else { "queues" },
            self.chunks,
            self.chunks_total,
            self.metadata * 100 / self.metadata_total.max(1),
            self.metadata_total,
            rest.line()
        )
    }
}

/// The same of a snapshot: its sectors that are allocated, in all, and for metadata; none when it is lost.
pub(crate) fn snapshot_line(sectors: Option<(u64, u64, u64)>, rest: &Rest) -> String {
    let status = match sectors {
        Some((allocated, total, metadata)) => format!("{allocated}/{total} {metadata}"),
        None => "invalid".to_owned(),
    };
    format!("<{status}>; {}", rest.line())
}

impl Rest {
    fn line(&self) -> String {
        format!(
            "{} extents taken, {}, {}",
            self.taken,
            if self.refused { "refused" } else { "allowed" },
            if self.failed {
                "a write failed"
            } else {
                "no write failed"
            }
        )
    }
}

impl Story {
    /// What is missing in a line that was told after a step.
    pub(crate) fn missing(expected: &[&'static str], told: &str) -> Vec<&'static str> {
        let is_missing = |phrase: &&&str| !told.contains(**phrase);
        expected.iter().filter(is_missing).copied().collect()
    }
}

const QUEUEING: Store = Store::Pool {
    data: 64,
    metadata: 4,
    fails_when_full: false,
};

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "a pool that queues is writable again with room, and no write has failed",
        store: QUEUEING,
        steps: &[
            // The kernel counts a tenth of the metadata as used and keeps it for itself.
            (
                Step::Look,
                &["<rw> and queues", " 0 of 1024", " 10 % of 1024"],
            ),
            // Not before something finds no room.
            (Step::Write(64), &["<rw> and queues", " 1024 of 1024"]),
            (
                Step::Write(72),
                &["<out_of_data_space> and queues", "no write failed"],
            ),
            (Step::Extend(64), &["<out_of_data_space>", "refused"]),
            (
                Step::Extend(96),
                &[
                    "<rw> and queues",
                    " 1152 of 1536",
                    "; 8 extents",
                    "no write",
                ],
            ),
            // Refused, and the metadata that so much data needs was added before, and to its spare.
            (
                Step::Extend(1 << 20),
                &[
                    " of 1536",
                    " of 262144 metadata",
                    "; 518 extents",
                    "refused",
                ],
            ),
        ],
    },
    Story {
        name: "a pool that fails writes does so at once, and says so from the beginning",
        store: Store::Pool {
            data: 64,
            metadata: 4,
            fails_when_full: true,
        },
        steps: &[
            (Step::Look, &["<rw> and fails", "no write failed"]),
            (
                Step::Write(72),
                &[
                    "<out_of_data_space> and fails",
                    " 1024 of 1024",
                    "a write failed",
                ],
            ),
            // To whole extents.
            (
                Step::Extend(65),
                &["<rw> and fails", " 1024 of 1088", "; 1 extents"],
            ),
        ],
    },
    Story {
        name: "a pool that has queued for long fails writes until it has room",
        store: QUEUEING,
        steps: &[
            (
                Step::Write(72),
                &["<out_of_data_space> and queues", "no write failed"],
            ),
            (
                Step::Timeout,
                &["<out_of_data_space> and fails", "a write failed"],
            ),
            (Step::Extend(128), &["<rw> and queues", " 1024 of 2048"]),
        ],
    },
    Story {
        name: "a pool without metadata is read-only until it gets some, and its spare grows along",
        store: Store::Pool {
            data: 128,
            metadata: 4,
            fails_when_full: false,
        },
        steps: &[
            (
                Step::UseUpMetadata,
                &["<ro>", " 100 % of 1024", "a write failed"],
            ),
            (
                Step::ExtendMetadata(8),
                &["<rw>", " of 2048 metadata", "; 2 extents"],
            ),
        ],
    },
    Story {
        name: "metadata grows with data that it could not map, and its spare along",
        store: QUEUEING,
        steps: &[
            (Step::Extend(4000), &[" 1024 metadata", "; 984 extents"]),
            (
                Step::Extend(4608),
                &[" 73728 chunks", " 2048 metadata", "; 1138 extents"],
            ),
        ],
    },
    Story {
        name: "of large metadata the kernel keeps no more than 16 MiB",
        store: Store::Pool {
            data: 64,
            metadata: 256,
            fails_when_full: false,
        },
        steps: &[(Step::Look, &["<rw>", " 6 % of 65536"])],
    },
    Story {
        name: "a snapshot that ran over is lost whatever it gets, and its origin is not",
        store: Store::Snapshot {
            origin: 64,
            store: 8,
        },
        steps: &[
            (Step::Look, &["<16/16384 16>"]),
            (Step::Write(4), &["<8240/16384 48>"]),
            (Step::Extend(12), &["<8240/24576 48>", "; 1 extents"]),
            (Step::Write(16), &["<invalid>", "no write failed"]),
            (Step::Extend(16), &["<invalid>", "; 2 extents"]),
        ],
    },
    Story {
        name: "a snapshot whose store has its full size never runs over and gets no larger",
        store: Store::Snapshot {
            origin: 16,
            store: 8,
        },
        steps: &[
            (Step::Extend(64), &["<16/40960 16>", "; 3 extents"]),
            (Step::Write(16), &["<32912/40960 144>", "no write failed"]),
            (Step::Extend(64), &["<32912/40960 144>", "; 3 extents"]),
        ],
    },
];
