//! The dashboard of all hosts: is anyone home, what fills first, what did the guards do, how much is left.

use cowherd::report::names::{
    ACTION_FAILURES, ACTION_REFUSALS, ACTIONS, BUILD_INFO, EXTEND_CONSECUTIVE_FAILURES,
    EXTEND_FAILURES, EXTEND_HELD, EXTENDED_BYTES, EXTENDS, Family, GUARD_MODE, HTTP_REQUESTS,
    LIFEBOAT_READY, LOG_MESSAGES, POLL_INTERVAL, POLL_LAST_SUCCESS, PROCESS_START_TIME, RELIEFS,
    SNAPSHOT_COW_SIZE, SNAPSHOT_COW_USED, SNAPSHOT_FORECAST_FULL, SNAPSHOT_STATE,
    THIN_POOL_DATA_SIZE, THIN_POOL_DATA_USED, THIN_POOL_FORECAST_FULL, THIN_POOL_GROWABLE,
    THIN_POOL_METADATA_SIZE, THIN_POOL_METADATA_USED, THIN_POOL_MODE, THIN_POOL_NEEDS_CHECK,
    THIN_POOL_VIRTUAL_SIZE, VG_FREE, VG_RESERVED,
};

use super::panel::{BOTTOM, Dashboard, Panel, Scope, Shape, annotation, variable};
use super::thresholds::{DATA_FULL, FILL_SOON, FILLS_NOW, METADATA_FULL, SNAPSHOT_FULL};

const ALL: Scope = Scope::Hosts;
/// Of counts of things that ought not to be.
const FIRST_IS_RED: (f64, &str) = (1.0, "red");

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "cowherd-fleet",
        title: "cowherd / Fleet",
        description: "Every guarded host: who is watched, what fills first, what the guards did, how much room is left.",
        variables: vec![
            variable("job", "Job", BUILD_INFO.name, true),
            variable(
                "instance",
                "Host",
                &format!("{}{{job=~\"$job\"}}", BUILD_INFO.name),
                true,
            ),
        ],
        annotations: vec![
            annotation(
                "Restarts",
                "blue",
                &format!(
                    "changes({}[$__rate_interval]) > 0",
                    ALL.of(PROCESS_START_TIME, "")
                ),
                "cowherd restarted on {{instance}}",
            ),
            annotation(
                "Lost",
                "red",
                &format!(
                    "{} == 1",
                    ALL.of(SNAPSHOT_STATE, r#"state=~"invalid|overflow""#)
                ),
                "snapshot {{vg}}/{{lv}} of {{instance}} is lost",
            ),
        ],
        rows: vec![
            ("Is anyone home", home()),
            ("What fills first", fills()),
            ("What the guards did", work()),
            ("How much room is left", room()),
            ("The guards themselves", guards()),
        ],
    }
}

/// As the alert on stale polls has it.
fn is_stale() -> String {
    format!(
        "time() - {} > 60 + 6 * {}",
        ALL.of(POLL_LAST_SUCCESS, ""),
        ALL.of(POLL_INTERVAL, "")
    )
}

fn count(of: &str) -> String {
    format!("count({of}) or vector(0)")
}

fn home() -> Vec<Panel> {
    let stat = |title, description| Panel::new(Shape::Stat, title, description, "short", (4, 4));
    let enforcing = ALL.of(GUARD_MODE, r#"mode="enforce""#);
    let broken = format!(
        "max by (job, instance, vg, lv) ({} or {}) == 1",
        ALL.of(THIN_POOL_MODE, r#"mode!="rw""#),
        ALL.of(THIN_POOL_NEEDS_CHECK, "")
    );
    vec![
        stat("Hosts guarded", "Hosts whose guard extends, and has seen every pool and snapshot lately.")
            .query(count(&format!("{enforcing} == 1 unless on (job, instance) ({})", is_stale())), "hosts"),
        stat("Hosts down or blind", "Hosts that cannot be scraped, or whose guard has not seen everything lately.")
            .query(
                count(&format!(
                    r#"up{{job=~"$job", instance=~"$instance"}} == 0 or on (job, instance) ({})"#,
                    is_stale()
                )),
                "hosts",
            )
            .step(FIRST_IS_RED.0, FIRST_IS_RED.1),
        stat("Pools not writable", "Thin pools in a kernel mode other than rw, or flagged needs_check.")
            .query(count(&broken), "pools")
            .step(FIRST_IS_RED.0, FIRST_IS_RED.1),
        stat("Snapshots lost", "COW snapshots that ran full and are invalid.")
            .query(
                count(&format!("{} == 1", ALL.of(SNAPSHOT_STATE, r#"state=~"invalid|overflow""#))),
                "snapshots",
            )
            .step(FIRST_IS_RED.0, FIRST_IS_RED.1),
        stat("Extensions failing", "Volumes whose last two extensions or more failed.")
            .query(count(&format!("{} >= 2", ALL.of(EXTEND_CONSECUTIVE_FAILURES, ""))), "volumes")
            .step(FIRST_IS_RED.0, FIRST_IS_RED.1),
        stat("Alerts", "Alerts of cowherd that fire now.")
            .query(
                count(r#"ALERTS{alertname=~"Cowherd.+", alertstate="firing", job=~"$job", instance=~"$instance"}"#),
                "alerts",
            )
            .step(1.0, "orange"),
    ]
}

fn ratio<const N: usize>(used: Family<N>, size: Family<N>) -> String {
    format!("{} / {}", ALL.of(used, ""), ALL.of(size, ""))
}

fn fills() -> Vec<Panel> {
    let data = ratio(THIN_POOL_DATA_USED, THIN_POOL_DATA_SIZE);
    let metadata = ratio(THIN_POOL_METADATA_USED, THIN_POOL_METADATA_SIZE);
    let cow = ratio(SNAPSHOT_COW_USED, SNAPSHOT_COW_SIZE);
    let soonest = |forecast: String| {
        format!("bottomk(20, min by (job, instance, vg, lv) ({forecast} < +Inf) - time())")
    };
    let fullest = |of: &str| format!("topk(10, {of})");
    let soon = [(BOTTOM, "red"), (FILLS_NOW, "orange"), (FILL_SOON, "green")];
    let mut pools = Panel::new(
        Shape::Table,
        "Pools that fill, soonest first",
        "Time until the pool is full with every extension spent that its guard may still make.",
        "none",
        (24, 8),
    )
    .column(
        soonest(ALL.of(THIN_POOL_FORECAST_FULL, "")),
        "full in",
        "s",
        &soon,
    )
    .column(data.clone(), "data", "percentunit", &[(DATA_FULL, "red")])
    .column(
        metadata.clone(),
        "metadata",
        "percentunit",
        &[(METADATA_FULL, "red")],
    )
    .column(
        format!(
            "sum by (job, instance, vg, lv) ({})",
            ALL.of(THIN_POOL_GROWABLE, r#"resource="data""#)
        ),
        "may grow by",
        "bytes",
        &[],
    );
    pools.leads_to_pool = true;
    let lines =
        |title, description| Panel::new(Shape::Lines, title, description, "percentunit", (12, 8));
    vec![
        pools,
        lines("Fullest pools: data", "The ten pools with the largest part of their data space in use.")
            .query(fullest(&data), "{{instance}} {{vg}}/{{lv}}")
            .step(DATA_FULL, "red"),
        lines(
            "Fullest pools: metadata",
            "The ten pools with the largest part of their metadata in use. What runs out of metadata is repaired offline.",
        )
        .query(fullest(&metadata), "{{instance}} {{vg}}/{{lv}}")
        .step(METADATA_FULL, "red"),
        lines("Fullest snapshots", "The ten COW snapshots with the largest part of their store in use. A full one is lost.")
            .query(fullest(&cow), "{{instance}} {{vg}}/{{lv}}")
            .step(SNAPSHOT_FULL, "red"),
        Panel::new(
            Shape::Lines,
            "Snapshots that fill, soonest first",
            "Time until a COW snapshot is lost, with every extension spent that its guard may still make.",
            "s",
            (12, 8),
        )
        .query(
            format!("bottomk(10, {} < +Inf) - time()", ALL.of(SNAPSHOT_FORECAST_FULL, "")),
            "{{instance}} {{vg}}/{{lv}}",
        ),
    ]
}

fn work() -> Vec<Panel> {
    let lines =
        |title, description, unit| Panel::new(Shape::Lines, title, description, unit, (8, 7));
    vec![
        lines(
            "Extensions per hour",
            "Extensions attempted, by host.",
            "short",
        )
        .query(ALL.hourly(EXTENDS, "instance"), "{{instance}}"),
        lines(
            "Space added per hour",
            "What extensions added to pools and snapshots, by host.",
            "bytes",
        )
        .query(ALL.hourly(EXTENDED_BYTES, "instance"), "{{instance}}"),
        lines(
            "Failed extensions per hour",
            "Extensions that failed, by reason.",
            "short",
        )
        .query(ALL.hourly(EXTEND_FAILURES, "reason"), "{{reason}}"),
        lines(
            "Held back",
            "Volumes that want an extension and do not get it, by reason.",
            "short",
        )
        .query(
            format!("sum by (reason) ({})", ALL.of(EXTEND_HELD, "")),
            "{{reason}}",
        ),
        lines(
            "Relief per hour",
            "Steps taken to give full volume groups room, by what was done and how it ended.",
            "short",
        )
        .query(ALL.hourly(RELIEFS, "rung, result"), "{{rung}}: {{result}}"),
        lines(
            "Snapshot jobs per hour",
            "What callers had done to snapshots, failures included.",
            "short",
        )
        .query(ALL.hourly(ACTIONS, "action"), "{{action}}"),
        lines(
            "Failed snapshot jobs per hour",
            "What callers were promised and did not get, by host.",
            "short",
        )
        .query(
            ALL.hourly(ACTION_FAILURES, "instance, action"),
            "{{instance}} {{action}}",
        ),
        lines(
            "Refused requests per hour",
            "Changes that callers asked for and that were refused, by code.",
            "short",
        )
        .query(ALL.hourly(ACTION_REFUSALS, "code"), "{{code}}"),
        lines(
            "Warnings and errors",
            "Lines in the guards' logs each second.",
            "cps",
        )
        .query(
            ALL.rate(LOG_MESSAGES, r#"level=~"warn|error""#, "instance, level"),
            "{{instance}} {{level}}",
        ),
    ]
}

fn room() -> Vec<Panel> {
    let lines = |title, description| Panel::new(Shape::Lines, title, description, "bytes", (12, 8));
    let sum = |of: String| format!("sum({of})");
    vec![
        lines(
            "Groups with the least room",
            "Unallocated space less what the policy keeps back: the ten smallest.",
        )
        .query(
            format!(
                "bottomk(10, {} - {})",
                ALL.of(VG_FREE, ""),
                ALL.of(VG_RESERVED, "")
            ),
            "{{instance}} {{vg}}",
        ),
        lines(
            "Promised and stored",
            "Virtual size promised to guests, size of the pools, and data stored, over all hosts.",
        )
        .query(sum(ALL.of(THIN_POOL_VIRTUAL_SIZE, "")), "promised")
        .query(sum(ALL.of(THIN_POOL_DATA_SIZE, "")), "pools")
        .query(sum(ALL.of(THIN_POOL_DATA_USED, "")), "stored"),
    ]
}

fn guards() -> Vec<Panel> {
    let mut versions = Panel::new(
        Shape::Table,
        "Versions",
        "Which version of cowherd runs on how many hosts.",
        "none",
        (8, 7),
    )
    .column(
        format!("count by (version, revision) ({})", ALL.of(BUILD_INFO, "")),
        "hosts",
        "short",
        &[],
    );
    versions.hidden = &["instance"];
    let lines =
        |title, description, unit| Panel::new(Shape::Lines, title, description, unit, (8, 7));
    vec![
        versions,
        lines(
            "Guards without a lifeboat",
            "Guards that run from the host's root: where that lies on a pool, a full pool stops them too.",
            "short",
        )
        .query(count(&format!("{} == 0", ALL.of(LIFEBOAT_READY, ""))), "guards"),
        lines("Requests", "HTTP requests that the guards' fronts answered each second, by code.", "reqps")
            .query(ALL.rate(HTTP_REQUESTS, "", "code"), "{{code}}"),
    ]
}
