//! The exposition: one golden file, and rules that hold for every view.
//!
//! `COWHERD_UPDATE_GOLDEN=1 cargo test` writes the golden files anew; the change is then reviewed
//! like code. That promtool accepts the exposition is proved in the lab.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cowherd::config::Config;
use cowherd::guard::{Engine, Input};
use cowherd::link::{self, FromGuard, Packed};
use cowherd::model::action::Verb;
use cowherd::model::inventory::{CowStatus, PoolMode};
use cowherd::model::names::Resource;
use cowherd::model::reason::Reason;
use cowherd::model::refusal::Code;
use cowherd::model::tally::Happening;
use cowherd::model::view::View;
use cowherd::report::metrics::{self, Format, Traffic, WebStatus};
use cowherd::report::names::{self, Kind};
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

use super::common::{self, Herd, NOW, known, valid, working};
use super::everything::everything;

fn exposition(view: &View) -> String {
    metrics::render(&Arc::new(view.clone()), Format::Text).expect("every view can be told")
}

/// Compares with a golden file, by its path in the project, or writes it when asked to.
pub(crate) fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("COWHERD_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is readable");
    for (number, (found, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{file}:{}", number + 1);
    }
    assert_eq!(
        text.lines().count(),
        expected.lines().count(),
        "{file}: another length"
    );
}

#[test]
fn the_expositions_of_everything_and_of_an_ordinary_host_are_as_reviewed() {
    golden("tests/suite/golden/metrics.txt", &exposition(&everything()));
    let ordinary = Herd::ordinary().view;
    golden("tests/suite/golden/ordinary.txt", &exposition(&ordinary));
}

#[test]
fn the_exposition_of_everything_follows_the_format() {
    let faults = faults(&exposition(&everything()));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_family_of_the_table_is_exposed_and_no_other() {
    let traffic = Traffic {
        requests: [(("metrics", 200), 1)].into(),
        connections_refused: 0,
        handshake_failures: 1,
    };
    let web = WebStatus {
        is_current: true,
        since: 1.0,
        certificate_expiry: Some(2),
    };
    let traffic =
        metrics::render_traffic(&traffic, Some(web), Format::Text).expect("counts can be told");
    let text = exposition(&everything()) + &traffic;
    let exposed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let table: BTreeSet<&str> = names::ALL.iter().map(|family| family.name).collect();
    assert_eq!(exposed, table);
    assert_eq!(
        table.len(),
        names::ALL.len(),
        "a name stands twice in the table"
    );
}

#[test]
fn the_table_follows_the_naming_rules() {
    for family in names::ALL {
        let name = family.name;
        assert!(is_name(name), "{name}");
        assert!(
            name.starts_with("cowherd_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{name}"
        );
        assert!(
            family.help.ends_with('.') && !family.help.contains('\n'),
            "{name}"
        );
        assert!(family.labels.iter().all(|label| is_name(label)), "{name}");
        let volume = family.labels.contains(&"lv");
        assert!(
            !volume || family.labels.starts_with(&["vg", "lv"]),
            "{name}"
        );
    }
}

#[test]
fn what_callers_ask_for_is_counted_where_they_can_ask() {
    let build = Herd::small().view.build;
    let mut engine = Engine::new(Config::default().policy, build, NOW);
    let told = |engine: &Engine| exposition(&engine.view(NOW));
    assert!(!told(&engine).contains("cowherd_action"), "nobody can ask");

    engine.note_desk();
    let ended = |was_running, has_failed, held| Happening::Ended {
        verb: Verb::Create,
        was_running,
        has_failed,
        held,
    };
    let happenings = [
        Happening::Queued,
        Happening::Queued,
        Happening::Queued,
        Happening::Begun,
        ended(true, false, Some(Duration::from_millis(312))),
        // It was not its caller's any more when its turn came.
        ended(false, true, None),
        Happening::Refused(Code::Protected),
        Happening::Stuck,
    ];
    for happening in happenings {
        engine.handle(Input::Asked(happening), NOW);
    }
    let told = told(&engine);
    for line in [
        "cowherd_actions_total{action=\"create\"} 2",
        "cowherd_action_failures_total{action=\"create\"} 1",
        "cowherd_action_failures_total{action=\"merge\"} 0",
        "cowherd_action_refusals_total{code=\"protected\"} 1",
        "cowherd_action_refusals_total{code=\"vg_reserve\"} 0",
        "cowherd_action_jobs{state=\"queued\"} 1",
        "cowherd_action_jobs{state=\"running\"} 0",
        "cowherd_hook_held_seconds_sum 0.312",
        "cowherd_hooks_stuck_total 1",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}\n{told}");
    }
}

#[test]
fn what_is_unknown_is_left_out() {
    let mut herd = Herd::small();
    herd.pool("vg0", "asleep", cowherd::model::inventory::Kernel::Inactive);
    let text = exposition(&herd.view);
    for family in [
        "data_used_bytes",
        "forecast_full_timestamp_seconds",
        "mode",
        "needs_check",
    ] {
        let series = format!("cowherd_thin_pool_{family}{{vg=\"vg0\",lv=\"asleep\"");
        assert!(!text.contains(&series), "{series}");
    }
    let size = "cowherd_thin_pool_data_size_bytes{vg=\"vg0\",lv=\"asleep\"} 524288000\n";
    assert!(text.contains(size), "LVM tells the size all the same");
    assert!(!text.contains(" -1\n"));
}

#[test]
fn a_store_at_rest_is_full_at_plus_infinity() {
    let text = exposition(&Herd::small().view);
    let forecast =
        "cowherd_snapshot_forecast_full_timestamp_seconds{vg=\"vg0\",lv=\"snap0\"} +Inf\n";
    assert!(text.contains(forecast), "{text}");
}

#[test]
fn the_forecast_counts_what_is_free_and_what_may_be_added() {
    let mut herd = Herd::small();
    // 250 MiB are free in the pool and 1 GiB may be added.
    herd.store_of("pool0", Resource::Data).fill_bytes_per_second = 1_048_576.0;
    let text = exposition(&herd.view);
    let at = common::NOW.wall.0 + 250.0 + 1024.0;
    let forecast = format!(
        "cowherd_thin_pool_forecast_full_timestamp_seconds{{vg=\"vg0\",lv=\"pool0\",resource=\"data\"}} {at}\n"
    );
    assert!(text.contains(&forecast), "{forecast} in {text}");
}

#[test]
fn a_volume_that_is_gone_leaves_nothing_behind() {
    let text = exposition(&Herd::small().view);
    assert!(text.contains("snap0"));
    let mut herd = Herd::small();
    herd.view.inventory.snapshots.clear();
    herd.view
        .stores
        .retain(|store| store.target.resource != Resource::Cow);
    assert!(!exposition(&herd.view).contains("snap0"));
}

#[test]
fn a_dry_run_enables_nothing() {
    let mut herd = Herd::small();
    herd.view.policy.dry_run = true;
    let text = exposition(&herd.view);
    assert!(text.contains("cowherd_guard_mode{mode=\"dry_run\"} 1\n"));
    assert!(text.contains("cowherd_guard_mode{mode=\"enforce\"} 0\n"));
    assert!(text.contains("cowherd_guard_enabled{vg=\"vg0\",lv=\"pool0\"} 0\n"));
}

#[test]
fn odd_text_cannot_break_out_of_its_label() {
    let mut herd = Herd::small();
    herd.snapshot("vg0", "odd", known(valid(1))).origin = "a\"} 1\n# HELP x\\".to_owned();
    let text = exposition(&herd.view);
    assert!(text.contains(r#"origin="a\"} 1\n# HELP x\\""#), "{text}");
    assert_eq!(faults(&text), Vec::<String>::new());
}

#[test]
fn series_are_never_duplicated_even_when_names_are() {
    let mut herd = Herd::small();
    herd.snapshot("vg0", "snap0", known(valid(1)));
    herd.pool("vg0", "pool0", known(working(1, PoolMode::Writable)));
    assert_eq!(faults(&exposition(&herd.view)), Vec::<String>::new());
}

#[test]
fn counters_exist_before_they_are_needed() {
    let text = exposition(&Herd::small().view);
    for series in [
        "cowherd_polls_total{trigger=\"manual\"} 0",
        "cowherd_lvm_commands_total{command=\"lvextend\"} 0",
        "cowherd_lvm_command_failures_total{command=\"lvextend\",reason=\"timeout\"} 0",
        "cowherd_dm_events_total{target=\"thin-pool\"} 0",
        "cowherd_extend_failures_total{vg=\"vg0\",lv=\"snap0\",resource=\"cow\",reason=\"lock\"} 0",
        "cowherd_log_messages_total{level=\"error\"} 0",
    ] {
        assert!(text.contains(&format!("{series}\n")), "{series}");
    }
    for reason in Reason::LABELS {
        let series = format!("cowherd_extends_suppressed_total{{reason=\"{reason}\"}} 0\n");
        assert!(text.contains(&series), "{series}");
    }
}

proptest! {
    #[test]
    fn any_view_can_be_told(view in views()) {
        let text = exposition(&view);
        assert_eq!(faults(&text), Vec::<String>::new());
        assert!(!cowherd::report::table::status(&view).is_empty());
        assert!(!cowherd::report::page::body(&view).is_empty());
    }

    #[test]
    fn any_view_crosses_the_link_unchanged(view in views()) {
        let packed = Packed::of(&view).expect("it can be encoded");
        let sent = FromGuard::View(packed);
        let frame = link::encode(&sent).expect("shorter than the limit");
        let received = link::receive(&mut frame.as_slice()).expect("a whole frame");
        let Some(FromGuard::View(packed)) = received else {
            panic!("not the view: {received:?}");
        };
        assert_eq!(packed.unpack().expect("a whole view"), view);
    }
}

/// Views of arbitrary numbers, with text that needs escaping.
fn views() -> impl Strategy<Value = View> {
    let number = || prop_oneof![0..100_u64, any::<u64>()];
    let numbers = prop::collection::vec(number(), 12);
    let rate = prop::num::f64::NORMAL | prop::num::f64::ZERO;
    (numbers, rate, any::<String>(), 0..4_usize).prop_map(|(numbers, rate, text, count)| {
        let mut herd = Herd::new();
        herd.group("vg0", None);
        for at in 0..count {
            let pool = herd.pool(
                "vg0",
                &format!("p{at}"),
                known(working(numbers[0], PoolMode::Writable)),
            );
            pool.chunk.0 = numbers[1];
            pool.virtual_size.0 = numbers[2];
            pool.when_full.clone_from(&text);
            let snapshot = herd.snapshot("vg0", &format!("s{at}"), known(valid(numbers[3])));
            snapshot.chunk.0 = numbers[4];
            snapshot.origin_size.0 = numbers[5];
            snapshot.origin.clone_from(&text);
            if numbers[6] % 2 == 0 {
                snapshot.kernel = known(CowStatus::Unknown);
            }
        }
        let group = &mut herd.view.inventory.groups[0];
        (group.size.0, group.extent.0, group.free.0) = (numbers[7], numbers[8], numbers[9]);
        for store in &mut herd.view.stores {
            store.fill_bytes_per_second = rate;
            store.growable.0 = numbers[10];
        }
        herd.view.policy.data.threshold_percent = numbers[11];
        herd.view.tally.suppressed.insert(text, numbers[0]);
        herd.view
    })
}

/// What is wrong with an exposition, by the rules of the text format and the naming rules.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helps = BTreeSet::new();
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            if help.is_empty() || !helps.insert(name) {
                faults.push(format!("described twice or not at all: {line}"));
            }
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap_or((kind, ""));
            if types.insert(name, kind).is_some() || !helps.contains(name) {
                faults.push(format!("typed twice or before its help: {line}"));
            }
        } else if let Err(fault) = check_sample(line, &types, &mut series) {
            faults.push(format!("{fault}: {line}"));
        }
    }
    faults
}

fn check_sample<'a>(
    line: &'a str,
    types: &BTreeMap<&str, &str>,
    series: &mut BTreeSet<&'a str>,
) -> Result<(), &'static str> {
    let (identity, value) = line.rsplit_once(' ').ok_or("no value")?;
    let number = value.parse::<f64>().map_err(|_| "no number")?;
    if number.is_nan() || (number.is_infinite() && value != "+Inf") {
        return Err("neither finite nor +Inf");
    }
    let (name, labels) = identity.split_once('{').unwrap_or((identity, "}"));
    let family = ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|family| types.get(family) == Some(&"histogram"))
        .unwrap_or(name);
    let kind = types.get(family).ok_or("not typed before")?;
    if *kind == "counter" && number < 0.0 {
        return Err("a negative counter");
    }
    if (family == name) == (*kind == "histogram") {
        return Err("not a sample of its type");
    }
    // A value may have any text; what is wrong with a list shows at its end.
    if !labels.ends_with('}') || labels.ends_with(",}") {
        return Err("malformed labels");
    }
    series.insert(identity).then_some(()).ok_or("twice")
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
