//! The dashboard of one host: a pool of it, the snapshots beside it, and what its guard does.

use cowherd::report::names::{
    BUILD_INFO, COLLECTOR_SUCCESS, DM_EVENTS, EXTEND_DURATION, EXTEND_FAILURES, EXTEND_HELD,
    EXTEND_LAST_SUCCESS, EXTENDS, GUARD_ENABLED, LIFEBOAT_READY, LVM_COMMAND_DURATION,
    LVM_LOCK_WAIT, MEMORY_LOCKED, POLLS, PROCESS_START_TIME, SNAPSHOT_COW_SIZE, SNAPSHOT_COW_USED,
    SNAPSHOT_CREATED, SNAPSHOT_FORECAST_FULL, SNAPSHOT_INFO, SNAPSHOT_STATE, THIN_POOL_DATA_SIZE,
    THIN_POOL_DATA_USED, THIN_POOL_EXTEND_THRESHOLD, THIN_POOL_FILL, THIN_POOL_FORECAST_FULL,
    THIN_POOL_GROWABLE, THIN_POOL_METADATA_LIMIT, THIN_POOL_METADATA_SIZE, THIN_POOL_METADATA_USED,
    THIN_POOL_MODE, THIN_POOL_NEEDS_CHECK, THIN_POOL_VIRTUAL_SIZE, THIN_POOL_VOLUMES, VG_FREE,
    VG_SIZE, VOLUME_ANSWERING,
};

use super::panel::{BOTTOM, Dashboard, Panel, Scope, Shape, annotation, variable};
use super::thresholds::{DATA_FULL, FILL_SOON, FILLS_NOW, METADATA_FULL, SNAPSHOT_FULL};

const HOST: Scope = Scope::Hosts;
const GROUP: Scope = Scope::Group;
const POOL: Scope = Scope::Pool;

pub(super) fn dashboard() -> Dashboard {
    let host = r#"job=~"$job", instance=~"$instance""#;
    Dashboard {
        uid: "cowherd-pool",
        title: "cowherd / Host and pool",
        description: "One host, one pool of it, its snapshots, and what its guard does about them.",
        variables: vec![
            variable("job", "Job", BUILD_INFO.name, true),
            variable(
                "instance",
                "Host",
                &format!("{}{{job=~\"$job\"}}", BUILD_INFO.name),
                false,
            ),
            variable(
                "vg",
                "Volume group",
                &format!("{}{{{host}}}", VG_SIZE.name),
                true,
            ),
            variable(
                "lv",
                "Pool",
                &format!("{}{{{host}, vg=~\"$vg\"}}", THIN_POOL_DATA_SIZE.name),
                true,
            ),
        ],
        annotations: vec![
            annotation(
                "Extensions",
                "green",
                &format!(
                    "changes({}[$__rate_interval]) > 0",
                    GROUP.of(EXTEND_LAST_SUCCESS, "")
                ),
                "extended {{vg}}/{{lv}} {{resource}}",
            ),
            annotation(
                "Failures",
                "red",
                &format!(
                    "sum by (vg, lv, resource, reason) (increase({}[$__rate_interval])) > 0",
                    GROUP.of(EXTEND_FAILURES, "")
                ),
                "extending {{vg}}/{{lv}} {{resource}} failed: {{reason}}",
            ),
            annotation(
                "Holds",
                "orange",
                &format!("{} == 1", GROUP.of(EXTEND_HELD, "")),
                "{{vg}}/{{lv}} {{resource}} is held back: {{reason}}",
            ),
            annotation(
                "Restarts",
                "blue",
                &format!(
                    "changes({}[$__rate_interval]) > 0",
                    HOST.of(PROCESS_START_TIME, "")
                ),
                "cowherd restarted",
            ),
        ],
        rows: vec![
            ("State", state()),
            ("Space", space()),
            ("Volumes and snapshots", volumes()),
            ("Guard", [health(), guard()].concat()),
        ],
    }
}

fn state() -> Vec<Panel> {
    let stat = |title, description, unit| Panel::new(Shape::Stat, title, description, unit, (4, 4));
    let name = "{{vg}}/{{lv}}";
    let promised = format!(
        "{} / {}",
        POOL.of(THIN_POOL_VIRTUAL_SIZE, ""),
        POOL.of(THIN_POOL_DATA_SIZE, "")
    );
    vec![
        stat("Data", "Share of the pool's data space in use.", "percentunit")
            .query(data_ratio(), name)
            .step(DATA_FULL, "red"),
        stat("Metadata", "Share of the pool's metadata in use.", "percentunit")
            .query(metadata_ratio(), name)
            .step(METADATA_FULL, "red"),
        stat("Full in", "Until data or metadata is full, with every extension spent that the guard may still make.", "s")
            .query(
                format!("min by (vg, lv) ({}) - time()", POOL.of(THIN_POOL_FORECAST_FULL, "")),
                name,
            )
            .step(BOTTOM, "red")
            .step(FILLS_NOW, "orange")
            .step(FILL_SOON, "green"),
        stat("Promised", "Virtual size promised to guests for each byte of the pool.", "none").query(promised, name),
        stat("Needs check", "Whether the kernel asks for a check of the pool's metadata.", "none")
            .query(POOL.of(THIN_POOL_NEEDS_CHECK, ""), name)
            .word("0", "no", "green")
            .word("1", "yes", "red"),
        stat("Guarded", "Whether the guard may extend the pool.", "none")
            .query(POOL.of(GUARD_ENABLED, ""), name)
            .word("0", "no", "red")
            .word("1", "yes", "green"),
        Panel::new(Shape::States, "Mode", "The kernel's mode of the pool over time.", "none", (12, 5))
            .query(format!("{} == 1", POOL.of(THIN_POOL_MODE, "")), "{{vg}}/{{lv}} {{mode}}")
            .word("1", "so", "blue"),
        Panel::new(
            Shape::States,
            "Held back",
            "Extensions that are wanted and not made, and why.",
            "none",
            (12, 5),
        )
        .query(GROUP.of(EXTEND_HELD, ""), "{{vg}}/{{lv}} {{resource}}: {{reason}}")
        .word("1", "held", "orange"),
    ]
}

fn data_ratio() -> String {
    format!(
        "{} / {}",
        POOL.of(THIN_POOL_DATA_USED, ""),
        POOL.of(THIN_POOL_DATA_SIZE, "")
    )
}

fn metadata_ratio() -> String {
    format!(
        "{} / {}",
        POOL.of(THIN_POOL_METADATA_USED, ""),
        POOL.of(THIN_POOL_METADATA_SIZE, "")
    )
}

/// A pool's series and a series of one resource of it have other labels.
fn with_resource(pool: &str, operator: &str, resource: &str) -> String {
    format!("{pool} {operator} on (job, instance, vg, lv) {resource}")
}

fn space() -> Vec<Panel> {
    let bytes = |title, description| Panel::new(Shape::Lines, title, description, "bytes", (12, 9));
    let data = r#"resource="data""#;
    let metadata = r#"resource="metadata""#;
    let size = POOL.of(THIN_POOL_DATA_SIZE, "");
    let metadata_size = POOL.of(THIN_POOL_METADATA_SIZE, "");
    vec![
        bytes(
            "Data space",
            "Steps in the size are extensions; the gap to the ceiling is what may still be added.",
        )
        .query(POOL.of(THIN_POOL_DATA_USED, ""), "used {{vg}}/{{lv}}")
        .query(size.clone(), "size {{vg}}/{{lv}}")
        .query(
            with_resource(&size, "*", &POOL.of(THIN_POOL_EXTEND_THRESHOLD, data)),
            "extended at {{vg}}/{{lv}}",
        )
        .query(
            with_resource(&size, "+", &POOL.of(THIN_POOL_GROWABLE, data)),
            "ceiling {{vg}}/{{lv}}",
        ),
        bytes(
            "Metadata space",
            "No metadata device can usefully be larger than the limit.",
        )
        .query(POOL.of(THIN_POOL_METADATA_USED, ""), "used {{vg}}/{{lv}}")
        .query(metadata_size.clone(), "size {{vg}}/{{lv}}")
        .query(
            with_resource(&metadata_size, "+", &POOL.of(THIN_POOL_GROWABLE, metadata)),
            "ceiling {{vg}}/{{lv}}",
        )
        .query(POOL.of(THIN_POOL_METADATA_LIMIT, ""), "limit {{vg}}/{{lv}}"),
        Panel::new(
            Shape::Lines,
            "Fill rate",
            "How fast data and metadata fill; below zero while they drain.",
            "Bps",
            (8, 8),
        )
        .query(POOL.of(THIN_POOL_FILL, ""), "{{vg}}/{{lv}} {{resource}}"),
        Panel::new(
            Shape::Lines,
            "Full in",
            "Time to full with every extension spent that the guard may still make.",
            "s",
            (8, 8),
        )
        .query(
            format!("({} < +Inf) - time()", POOL.of(THIN_POOL_FORECAST_FULL, "")),
            "{{vg}}/{{lv}} {{resource}}",
        )
        .step(BOTTOM, "red")
        .step(FILLS_NOW, "orange")
        .step(FILL_SOON, "green"),
        Panel::new(
            Shape::Lines,
            "Room in the group",
            "Unallocated space of the volume group.",
            "bytes",
            (8, 8),
        )
        .query(GROUP.of(VG_FREE, ""), "{{vg}}"),
    ]
}

fn volumes() -> Vec<Panel> {
    let cow = format!(
        "{} / {}",
        GROUP.of(SNAPSHOT_COW_USED, ""),
        GROUP.of(SNAPSHOT_COW_SIZE, "")
    );
    let mut snapshots = Panel::new(
        Shape::Table,
        "COW snapshots",
        "Age, fill and origin of every COW snapshot of the volume group.",
        "none",
        (24, 7),
    )
    .column(GROUP.of(SNAPSHOT_INFO, ""), "snapshots", "none", &[])
    .column(
        cow.clone(),
        "used",
        "percentunit",
        &[(SNAPSHOT_FULL, "red")],
    )
    .column(
        format!("time() - {}", GROUP.of(SNAPSHOT_CREATED, "")),
        "age",
        "s",
        &[],
    )
    .column(
        format!("({} < +Inf) - time()", GROUP.of(SNAPSHOT_FORECAST_FULL, "")),
        "full in",
        "s",
        &[],
    );
    snapshots.hidden = &["Value #A", "lv_uuid"];
    vec![
        Panel::new(
            Shape::Lines,
            "Volumes in the pool",
            "Thin volumes and thin snapshots.",
            "short",
            (8, 7),
        )
        .query(POOL.of(THIN_POOL_VOLUMES, ""), "{{vg}}/{{lv}} {{kind}}"),
        Panel::new(
            Shape::Lines,
            "COW snapshots in use",
            "Share of each COW store of the volume group. A full one is lost.",
            "percentunit",
            (8, 7),
        )
        .query(cow, "{{vg}}/{{lv}}")
        .step(SNAPSHOT_FULL, "red"),
        Panel::new(
            Shape::States,
            "States of snapshots",
            "The kernel's state of each COW snapshot over time.",
            "none",
            (8, 7),
        )
        .query(
            format!("{} == 1", GROUP.of(SNAPSHOT_STATE, "")),
            "{{vg}}/{{lv}} {{state}}",
        )
        .word("1", "so", "blue"),
        snapshots,
    ]
}

fn health() -> Vec<Panel> {
    let truth = |title, description, family: String, legend| {
        Panel::new(Shape::Stat, title, description, "none", (6, 4))
            .query(family, legend)
            .word("0", "no", "red")
            .word("1", "yes", "green")
    };
    vec![
        truth(
            "In the lifeboat",
            "Whether guard and lvm run from memory, so that a full pool cannot stop them.",
            HOST.of(LIFEBOAT_READY, ""),
            "guard",
        ),
        truth(
            "Memory locked",
            "Whether the guard's memory is never read back from disk.",
            HOST.of(MEMORY_LOCKED, ""),
            "guard",
        ),
        truth(
            "Sources",
            "Whether the kernel and LVM told everything when they were asked last.",
            HOST.of(COLLECTOR_SUCCESS, ""),
            "{{collector}}",
        ),
        truth(
            "Storage answers",
            "Whether every pool and snapshot of the group answered the last status request.",
            format!("min by (vg) ({})", GROUP.of(VOLUME_ANSWERING, "")),
            "{{vg}}",
        ),
    ]
}

fn guard() -> Vec<Panel> {
    let lines =
        |title, description, unit| Panel::new(Shape::Lines, title, description, unit, (8, 7));
    vec![
        lines("Extensions per hour", "Extensions attempted.", "short").query(
            GROUP.hourly(EXTENDS, "vg, lv, resource"),
            "{{vg}}/{{lv}} {{resource}}",
        ),
        lines(
            "Failed extensions per hour",
            "Extensions that failed, by reason.",
            "short",
        )
        .query(GROUP.hourly(EXTEND_FAILURES, "reason"), "{{reason}}"),
        lines(
            "How long an extension takes",
            "From decision to verified growth: the 90th percentile.",
            "s",
        )
        .query(HOST.p90(EXTEND_DURATION, ""), "extension"),
        lines(
            "How long LVM takes",
            "The 90th percentile, by command.",
            "s",
        )
        .query(HOST.p90(LVM_COMMAND_DURATION, ", command"), "{{command}}"),
        lines(
            "Looks",
            "Looks at pools and snapshots each second, by what woke the guard.",
            "ops",
        )
        .query(HOST.rate(POLLS, "", "trigger"), "{{trigger}}"),
        lines(
            "Events",
            "Device-mapper events each second, by target.",
            "ops",
        )
        .query(HOST.rate(DM_EVENTS, "", "target"), "{{target}}"),
        lines(
            "Waiting for LVM's locks",
            "Share of the time.",
            "percentunit",
        )
        .query(
            format!(
                "sum(rate({}[$__rate_interval]))",
                HOST.of(LVM_LOCK_WAIT, "").replacen('{', "_sum{", 1)
            ),
            "waiting",
        ),
    ]
}
