//! Where panels change their colour: where alerts begin to fire. A test holds them against the rules.

/// Share of a pool's data space.
pub(super) const DATA_FULL: f64 = 0.95;
/// Share of a pool's metadata.
pub(super) const METADATA_FULL: f64 = 0.9;
/// Share of a snapshot's store.
pub(super) const SNAPSHOT_FULL: f64 = 0.9;
/// Seconds until a pool is full.
pub(super) const FILLS_NOW: f64 = 4.0 * 3600.0;
pub(super) const FILL_SOON: f64 = 3.0 * 86_400.0;

/// Each with the alert that fires there and how its rule has it.
pub(super) const ALERTS: &[(f64, &str, &str)] = &[
    (DATA_FULL, "CowherdThinPoolDataSpace", "> 0.95"),
    (METADATA_FULL, "CowherdThinPoolMetadataSpace", "> 0.90"),
    (SNAPSHOT_FULL, "CowherdSnapshotSpace", "> 0.90"),
    (FILLS_NOW, "CowherdThinPoolWillFill", "< time() + 4 * 3600"),
    (FILL_SOON, "CowherdThinPoolWillFill", "< time() + 3 * 86400"),
];
