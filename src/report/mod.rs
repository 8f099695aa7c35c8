//! A published view, told: as metrics, as a page, as text. So are the API's answers, and the journal.
//!
//! Except for the log, everything here is a pure function of a view. Nothing reads a clock, asks the
//! kernel or LVM, or keeps state between two calls: a scrape can never wait for storage, and a volume
//! that is gone leaves no series behind. Prometheus' conventions rule the names (prometheus.io,
//! "Metric and label naming", "Writing exporters").

mod columns;
pub mod figures;
pub mod history;
pub mod jobs;
pub mod log;
pub mod metrics;
pub mod names;
pub mod page;
pub mod snapshots;
pub mod table;
pub mod text;
pub mod tokens;
