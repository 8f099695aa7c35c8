//! Every metric family, in one table: name, type, unit, labels, help.
//!
//! The exposition, the documentation and the dashboards all come from this table, so that a rename
//! cannot be forgotten anywhere. Labels are few and bounded: never an error text, a size or a device
//! number. A volume is always named by `vg` and `lv`, whatever it is, so that series join.

/// A metric family with `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Family<const N: usize> {
    /// Its place in `ALL`.
    pub place: usize,
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub labels: [&'static str; N],
    pub help: &'static str,
}

/// A metric family, whatever the number of its labels.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a value counts, for documentation and for the axes of dashboards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    BytesPerSecond,
    /// Things, or nothing in particular.
    Count,
    /// Always 1: the labels are what it says.
    Identity,
    /// Between 0 and 1.
    Ratio,
    Seconds,
    /// 1 for the state that holds, 0 for the others.
    State,
    /// Seconds since 1970.
    Timestamp,
    /// 1 for yes, 0 for no.
    Truth,
}

macro_rules! families {
    ($($constant:ident $name:literal $kind:ident $unit:ident [$($label:ident),*] $help:literal)*) => {
        /// The order of the table.
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "named after the constants")]
        enum Place { $($constant),* }

        $(pub const $constant: Family<{ let labels: &[&str] = &[$(stringify!($label)),*]; labels.len() }> = Family {
            place: Place::$constant as usize,
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: [$(stringify!($label)),*],
            help: $help,
        };)*

        /// The whole table.
        pub const ALL: &[Described] = &[$(Described {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$(stringify!($label)),*],
            help: $help,
        }),*];
    };
}

families! {
    BUILD_INFO "cowherd_build_info" Gauge Identity [version, revision]
        "Build information; value is always 1."
    GUARD_MODE "cowherd_guard_mode" Gauge State [mode]
        "Guard mode as a state set: 1 for the active mode, 0 for the others."
    VIEW_TIMESTAMP "cowherd_view_timestamp_seconds" Gauge Timestamp []
        "Unix time at which the guard made the snapshot that this scrape shows; every other value is cached from then."
    PROCESS_START_TIME "process_start_time_seconds" Gauge Timestamp []
        "Start time of the guard since unix epoch in seconds."
    LOG_MESSAGES "cowherd_log_messages_total" Counter Count [level]
        "Log messages emitted, by level."
    LOG_MESSAGES_DROPPED "cowherd_log_messages_dropped_total" Counter Count []
        "Log messages dropped because nobody took them in time."
    MENDED "cowherd_mended_total" Counter Count []
        "Volume groups in which an extension that somebody's death left half done was completed."
    HTTP_REQUESTS "cowherd_http_requests_total" Counter Count [handler, code]
        "HTTP requests answered, by what was asked for and status code; since the front started."
    HTTP_CONNECTIONS_REFUSED "cowherd_http_connections_refused_total" Counter Count []
        "HTTP connections closed at once because as many as are allowed were open; since the front started."
    WEB_CONFIG_CURRENT "cowherd_web_config_last_reload_successful" Gauge Truth []
        "Whether the web configuration in force is what its files say now (1), or the last good one because they are broken (0). Only with a web configuration."
    WEB_CONFIG_SINCE "cowherd_web_config_last_reload_success_timestamp_seconds" Gauge Timestamp []
        "Unix time at which the web configuration in force was read. Only with a web configuration."
    WEB_CERTIFICATE_EXPIRY "cowherd_web_certificate_expiry_timestamp_seconds" Gauge Timestamp []
        "Unix time at which the server's certificate in force expires. Only where TLS is spoken."
    WEB_HANDSHAKE_FAILURES "cowherd_web_tls_handshake_failures_total" Counter Count []
        "TLS handshakes that failed or took too long; since the front started. Only where TLS is spoken."

    POLL_INTERVAL "cowherd_poll_interval_seconds" Gauge Seconds []
        "Configured longest interval between timer-driven polls; it shortens while something fills."
    POLLS "cowherd_polls_total" Counter Count [trigger]
        "Polls started, by what woke the poller."
    POLL_FAILURES "cowherd_poll_failures_total" Counter Count []
        "Polls that did not produce a complete snapshot."
    POLL_LAST_SUCCESS "cowherd_poll_last_success_timestamp_seconds" Gauge Timestamp []
        "Unix time of the last poll that produced a complete snapshot, 0 if none since start."
    POLL_DURATION "cowherd_poll_duration_seconds" Histogram Seconds []
        "Wall time of one poll."
    COLLECTOR_SUCCESS "cowherd_collector_success" Gauge Truth [collector]
        "Whether the last run of a collector succeeded (1) or not (0)."
    COLLECTOR_DURATION "cowherd_collector_duration_seconds" Gauge Seconds [collector]
        "Duration of the last run of a collector."
    COLLECTOR_LAST_SUCCESS "cowherd_collector_last_success_timestamp_seconds" Gauge Timestamp [collector]
        "Unix time of the last successful run of a collector, 0 if none since start."
    LVM_COMMANDS "cowherd_lvm_commands_total" Counter Count [command]
        "LVM commands run, by command."
    LVM_COMMAND_FAILURES "cowherd_lvm_command_failures_total" Counter Count [command, reason]
        "LVM commands that failed, by command and reason."
    LVM_COMMAND_DURATION "cowherd_lvm_command_duration_seconds" Histogram Seconds [command]
        "Wall time of LVM commands."
    LVM_LOCK_WAIT "cowherd_lvm_lock_wait_seconds" Histogram Seconds []
        "Time spent waiting for LVM locks."
    LVM_LOCK_TIMEOUTS "cowherd_lvm_lock_timeouts_total" Counter Count []
        "LVM lock waits given up."
    LVM_UNKNOWN_FIELDS "cowherd_lvm_report_unknown_fields_total" Counter Count []
        "Fields in LVM's reports that were not asked for, each counted once a report: this LVM reports otherwise than is known here."
    DM_EVENT_LISTENER_UP "cowherd_dm_event_listener_up" Gauge Truth []
        "Whether the device-mapper event listener is attached (1) or polling only (0)."
    DM_EVENTS "cowherd_dm_events_total" Counter Count [target]
        "Device-mapper events received, by target type."
    DM_EVENT_LAST "cowherd_dm_event_last_timestamp_seconds" Gauge Timestamp []
        "Unix time of the last device-mapper event, 0 if none since start."

    LIFEBOAT_READY "cowherd_lifeboat_ready" Gauge Truth []
        "Whether guard and lvm run from a root of their own in memory (1), or from the host's, where a full pool can stop them (0)."
    LIFEBOAT_SIZE "cowherd_lifeboat_size_bytes" Gauge Bytes []
        "Memory that the copies of lvm, its libraries and settings take in the lifeboat, 0 without one."
    LIFEBOAT_STALE "cowherd_lifeboat_stale" Gauge Truth []
        "Whether the host's lvm or its settings changed and could not be copied again."
    LIFEBOAT_RENEWALS "cowherd_lifeboat_renewals_total" Counter Count []
        "Times the lifeboat was renewed after a change of the host's lvm or its settings."
    MEMORY_LOCKED "cowherd_memory_locked" Gauge Truth []
        "Whether the guard's memory is locked, so that it is never read back from disk."

    VG_INFO "cowherd_vg_info" Gauge Identity [vg, vg_uuid]
        "Volume group identity (LVM vg_uuid); value is always 1."
    VG_SIZE "cowherd_vg_size_bytes" Gauge Bytes [vg]
        "Size of the volume group (LVM vg_size)."
    VG_FREE "cowherd_vg_free_bytes" Gauge Bytes [vg]
        "Space in the volume group that can be allocated (LVM vg_free_count, less extents of missing or not allocatable physical volumes)."
    VG_RESERVED "cowherd_vg_reserved_bytes" Gauge Bytes [vg]
        "Free space the guard's policy keeps back from automatic extension."
    VG_EXTENDABLE "cowherd_vg_extendable" Gauge Truth [vg]
        "Whether LVM lets this host change the volume group: 0 while it is exported, shared, clustered, partial, read-only or not told of by LVM."
    VG_MISSING_PVS "cowherd_vg_missing_pvs" Gauge Count [vg]
        "Physical volumes missing from the volume group (LVM vg_missing_pv_count)."
    VG_METADATA_AREA_SIZE "cowherd_vg_metadata_area_size_bytes" Gauge Bytes [vg]
        "Size of the smallest LVM metadata area in the volume group (LVM vg_mda_size)."
    VG_METADATA_AREA_FREE "cowherd_vg_metadata_area_free_bytes" Gauge Bytes [vg]
        "Free space in the LVM metadata area (LVM vg_mda_free)."
    VG_POOL_METADATA_SPARE "cowherd_vg_pool_metadata_spare_bytes" Gauge Bytes [vg]
        "Size of the pool metadata spare volume (LVM lvol0_pmspare), 0 if there is none."
    VG_THIN_VIRTUAL_SIZE "cowherd_vg_thin_virtual_size_bytes" Gauge Bytes [vg]
        "Sum of the virtual sizes of all thin volumes of the group; LVM warns when it exceeds the thin pools, the free space or the group (LVM lv_size)."
    VG_THIN_POOLS_SIZE "cowherd_vg_thin_pools_size_bytes" Gauge Bytes [vg]
        "Sum of the sizes of all thin pools of the group (LVM lv_size)."
    VG_DUPLICATE_NAMES "cowherd_vg_duplicate_names" Gauge Count []
        "Volume groups left out because another one has the same name."

    THIN_POOL_INFO "cowherd_thin_pool_info" Gauge Identity [vg, lv, lv_uuid, when_full, discards]
        "Thin pool identity and settings (LVM lv_uuid, lv_when_full, discards); value is always 1."
    THIN_POOL_DATA_SIZE "cowherd_thin_pool_data_size_bytes" Gauge Bytes [vg, lv]
        "Size of the pool's data device (kernel thin-pool status; LVM lv_size while the kernel does not tell)."
    THIN_POOL_DATA_USED "cowherd_thin_pool_data_used_bytes" Gauge Bytes [vg, lv]
        "Data space allocated in the pool (kernel thin-pool status)."
    THIN_POOL_METADATA_SIZE "cowherd_thin_pool_metadata_size_bytes" Gauge Bytes [vg, lv]
        "Size of the pool's metadata device (kernel thin-pool status; LVM lv_metadata_size while the kernel does not tell)."
    THIN_POOL_METADATA_USED "cowherd_thin_pool_metadata_used_bytes" Gauge Bytes [vg, lv]
        "Metadata space in use (kernel thin-pool status)."
    THIN_POOL_METADATA_LIMIT "cowherd_thin_pool_metadata_limit_bytes" Gauge Bytes [vg, lv]
        "Largest metadata device the pool can use."
    THIN_POOL_CHUNK_SIZE "cowherd_thin_pool_chunk_size_bytes" Gauge Bytes [vg, lv]
        "Pool chunk size (LVM chunk_size)."
    THIN_POOL_VIRTUAL_SIZE "cowherd_thin_pool_virtual_size_bytes" Gauge Bytes [vg, lv]
        "Sum of the virtual sizes of all thin volumes in the pool, snapshots included (LVM lv_size)."
    THIN_POOL_VOLUMES "cowherd_thin_pool_volumes" Gauge Count [vg, lv, kind]
        "Thin volumes in the pool, by kind."
    THIN_POOL_MODE "cowherd_thin_pool_mode" Gauge State [vg, lv, mode]
        "Kernel mode of the pool as a state set (kernel thin-pool status); absent while the kernel does not tell."
    THIN_POOL_NEEDS_CHECK "cowherd_thin_pool_needs_check" Gauge Truth [vg, lv]
        "Whether the pool metadata is flagged needs_check (kernel thin-pool status)."
    THIN_POOL_TRANSACTION_MISMATCH "cowherd_thin_pool_transaction_mismatch" Gauge Truth [vg, lv]
        "Whether LVM's and the kernel's transaction ids differ (LVM transaction_id, kernel thin-pool status)."
    THIN_POOL_OLDEST_SNAPSHOT "cowherd_thin_pool_oldest_snapshot_created_timestamp_seconds" Gauge Timestamp [vg, lv]
        "Creation time of the oldest thin snapshot in the pool (LVM lv_time), 0 if there is none."
    THIN_POOL_EXTEND_THRESHOLD "cowherd_thin_pool_extend_threshold_ratio" Gauge Ratio [vg, lv, resource]
        "Fill ratio at which the guard extends."
    THIN_POOL_GROWABLE "cowherd_thin_pool_growable_bytes" Gauge Bytes [vg, lv, resource]
        "Further bytes the guard may add under its policy and the VG's free space, 0 if less than one step fits."
    THIN_POOL_FILL "cowherd_thin_pool_fill_bytes_per_second" Gauge BytesPerSecond [vg, lv, resource]
        "Smoothed fill rate of the resource; negative while it drains."
    THIN_POOL_FORECAST_FULL "cowherd_thin_pool_forecast_full_timestamp_seconds" Gauge Timestamp [vg, lv, resource]
        "Forecast Unix time at which the resource is full with every permitted extension spent; +Inf if it is not filling or cannot run full."

    THIN_VOLUME_INFO "cowherd_thin_volume_info" Gauge Identity [vg, lv, pool, origin]
        "Thin volume identity (LVM pool_lv, origin); value is always 1. Only with the collector thin-volumes."
    THIN_VOLUME_SIZE "cowherd_thin_volume_size_bytes" Gauge Bytes [vg, lv]
        "Virtual size of the thin volume (LVM lv_size). Only with the collector thin-volumes."
    THIN_VOLUME_MAPPED "cowherd_thin_volume_mapped_bytes" Gauge Bytes [vg, lv]
        "Space that the thin volume maps in its pool, blocks shared with others included (kernel thin status, which LVM shows as data_percent). Cached from just after LVM's metadata was read, see cowherd_collector_last_success_timestamp_seconds. Only with the collector thin-volumes."
    THIN_VOLUME_CREATED "cowherd_thin_volume_created_timestamp_seconds" Gauge Timestamp [vg, lv]
        "Creation time of the thin volume (LVM lv_time). Only with the collector thin-volumes."

    SNAPSHOT_INFO "cowherd_snapshot_info" Gauge Identity [vg, lv, origin, lv_uuid]
        "Classic snapshot identity (LVM origin, lv_uuid); value is always 1."
    ORIGIN_SNAPSHOTS "cowherd_origin_snapshots" Gauge Count [vg, origin]
        "Number of classic snapshots of a volume that has any (LVM origin)."
    SNAPSHOT_COW_SIZE "cowherd_snapshot_cow_size_bytes" Gauge Bytes [vg, lv]
        "Size of the snapshot's COW store (kernel snapshot status; LVM lv_size while the kernel does not tell)."
    SNAPSHOT_COW_USED "cowherd_snapshot_cow_used_bytes" Gauge Bytes [vg, lv]
        "Space used in the COW store, metadata included (kernel snapshot status)."
    SNAPSHOT_COW_FULL_SIZE "cowherd_snapshot_cow_full_size_bytes" Gauge Bytes [vg, lv]
        "COW store size at which the snapshot can never overflow."
    SNAPSHOT_CREATED "cowherd_snapshot_created_timestamp_seconds" Gauge Timestamp [vg, lv]
        "Creation time of the snapshot (LVM lv_time)."
    SNAPSHOT_STATE "cowherd_snapshot_state" Gauge State [vg, lv, state]
        "Snapshot state as a state set (kernel snapshot status, LVM lv_merging); absent while the kernel does not tell."
    SNAPSHOT_EXTEND_THRESHOLD "cowherd_snapshot_extend_threshold_ratio" Gauge Ratio [vg, lv]
        "Fill ratio at which the guard extends."
    SNAPSHOT_GROWABLE "cowherd_snapshot_growable_bytes" Gauge Bytes [vg, lv]
        "Further bytes the guard may add under its policy and the VG's free space, 0 if less than one step fits."
    SNAPSHOT_FILL "cowherd_snapshot_fill_bytes_per_second" Gauge BytesPerSecond [vg, lv]
        "Smoothed fill rate of the COW store; negative while it drains."
    SNAPSHOT_FORECAST_FULL "cowherd_snapshot_forecast_full_timestamp_seconds" Gauge Timestamp [vg, lv]
        "Forecast Unix time at which the COW store is full with every permitted extension spent; +Inf if it is not filling or cannot run full."

    RELIEFS "cowherd_reliefs_total" Counter Count [vg, rung, result]
        "Steps taken to give a full volume group room, by what was done and how it ended; for groups to which a rule gives relief."

    ACTIONS "cowherd_actions_total" Counter Count [action]
        "Jobs of callers that have ended, by what was to be done. Only with the API."
    ACTION_FAILURES "cowherd_action_failures_total" Counter Count [action]
        "Jobs of callers that failed, or that the end of a guard interrupted, by what was to be done. Only with the API."
    ACTION_REFUSALS "cowherd_action_refusals_total" Counter Count [code]
        "Requests to change something that were refused, by the code that the caller was told. Only with the API."
    ACTION_JOBS "cowherd_action_jobs" Gauge Count [state]
        "Jobs of callers that have not ended: those that wait for their turn, and those under way. Only with the API."
    HOOK_HELD "cowherd_hook_held_seconds" Histogram Seconds []
        "How long applications were held still for each snapshot that was taken of them. Only with the API."
    HOOKS_STUCK "cowherd_hooks_stuck_total" Counter Count []
        "Hooks that may not have let go of what they held still. Only with the API."

    VOLUME_ANSWERING "cowherd_volume_answering" Gauge Truth [vg, lv]
        "Whether the kernel answered the last status request for the pool or snapshot; 0 while storage under it hangs. Absent while it is inactive."
    VOLUME_SUSPENDED "cowherd_volume_suspended" Gauge Truth [vg, lv]
        "Whether the device of the pool or snapshot is suspended, its I/O frozen (kernel device status). Absent while the kernel does not tell."
    GUARD_ENABLED "cowherd_guard_enabled" Gauge Truth [vg, lv]
        "Whether an enabled policy lets the guard act on the volume: no dry run, and a volume group that takes changes from this host."
    LVM_AUTOEXTEND_ENABLED "cowherd_lvm_autoextend_enabled" Gauge Truth [vg, lv]
        "Whether LVM's own autoextend covers the volume: dmeventd runs and monitors it (LVM seg_monitor), and lvm.conf sets a threshold."
    EXTENDS "cowherd_extends_total" Counter Count [vg, lv, resource]
        "Extensions attempted."
    EXTEND_FAILURES "cowherd_extend_failures_total" Counter Count [vg, lv, resource, reason]
        "Extensions that failed, by reason."
    EXTENDED_BYTES "cowherd_extended_bytes_total" Counter Bytes [vg, lv, resource]
        "Bytes added by extensions."
    EXTEND_CONSECUTIVE_FAILURES "cowherd_extend_consecutive_failures" Gauge Count [vg, lv, resource]
        "Extensions that failed since the last success."
    EXTEND_LAST_SUCCESS "cowherd_extend_last_success_timestamp_seconds" Gauge Timestamp [vg, lv, resource]
        "Unix time of the last successful extension, 0 if none since start."
    EXTEND_HELD "cowherd_extend_held" Gauge State [vg, lv, resource, reason]
        "1 while an extension is wanted and held back, by reason; absent otherwise."
    EXTENDS_SUPPRESSED "cowherd_extends_suppressed_total" Counter Count [reason]
        "Extensions wanted but not attempted, by reason; counted once each time a hold begins."
    EXTEND_DURATION "cowherd_extend_duration_seconds" Histogram Seconds []
        "Wall time from decision to verified extension."
}
