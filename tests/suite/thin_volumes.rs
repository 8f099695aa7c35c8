//! The collector of thin volumes: what a report has of each, what the kernel adds, and that nobody pays for it unasked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cowherd::config::{self, Config};
use cowherd::guard::{Engine, Input, Order};
use cowherd::model::inventory::{Inventory, ThinVolume};
use cowherd::model::names::VolumeId;
use cowherd::model::policy::Collectors;
use cowherd::model::tally::Collector;
use cowherd::model::units::{Bytes, Sectors};
use cowherd::model::view::Build;
use cowherd::observe::dm_status;

use super::common::NOW;
use super::fixtures;

fn engine() -> Engine {
    let build = Build {
        version: "1".to_owned(),
        revision: "1".to_owned(),
    };
    Engine::new(Config::default().policy, build, NOW)
}

/// What is to be measured after this report.
fn report(engine: &mut Engine, inventory: Inventory) -> Vec<VolumeId> {
    let input = Input::Reported {
        result: Ok(inventory),
        is_complete: true,
        faults: Vec::new(),
        took: Duration::ZERO,
    };
    let orders = engine.handle(input, NOW).into_iter();
    let measured = |order| {
        if let Order::Measure(volumes) = order {
            Some(volumes)
        } else {
            None
        }
    };
    orders.filter_map(measured).flatten().collect()
}

fn measured(engine: &mut Engine, result: Result<BTreeMap<VolumeId, Bytes>, String>) {
    let took = Duration::ZERO;
    drop(engine.handle(Input::Measured { result, took }, NOW));
}

fn told(engine: &Engine) -> Vec<Option<Bytes>> {
    let volumes = engine.view(NOW).inventory.thin_volumes;
    volumes.into_iter().map(|thin| thin.mapped).collect()
}

#[test]
fn each_thin_volume_is_read_with_its_pool_and_origin() {
    let read = fixtures::inventory("thin").thin_volumes;
    let shown = |thin: &ThinVolume| {
        let ThinVolume {
            name,
            pool,
            origin,
            size,
            ..
        } = thin;
        format!("{name} in {pool} of {origin:?}: {size}")
    };
    let shown: Vec<String> = read.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "vg0/thin1 in pool of \"\": 300 MiB",
            "vg0/thin1-snap in pool of \"thin1\": 300 MiB",
            "vg0/thin2 in pool of \"\": 1 GiB",
        ]
    );
}

#[test]
fn what_a_volume_maps_is_what_lvm_shows_as_a_percentage() {
    let text = fixtures::read("thin", "fullreport.json");
    let document: serde_json::Value = serde_json::from_str(&text).expect("a report");
    let rows = document["report"][0]["lv"].as_array().expect("volumes");
    let row = rows.iter().find(|row| row["lv_name"] == "thin1");
    let percent = row.and_then(|row| row["data_percent"].as_str());
    let percent: f64 = percent.and_then(|text| text.parse().ok()).expect("active");
    let lines = fixtures::lines("thin", "thin");
    let (_, line) = lines
        .iter()
        .find(|(device, _)| device == "vg0-thin1")
        .expect("active");
    let mapped = dm_status::thin(line).expect("a status").map(Sectors::bytes);
    let share = mapped.expect("the pool works").ratio_of(Bytes::mib(300));
    assert!((share * 100.0 - percent).abs() < 0.01, "{share} {percent}");
}

#[test]
fn what_they_map_is_asked_after_each_report_and_kept_until_then() {
    let mut engine = engine();
    let inventory = fixtures::inventory("thin");
    let volumes = report(&mut engine, inventory.clone());
    assert_eq!(volumes.len(), 3);
    assert_eq!(told(&engine), [None, None, None]);
    // While one measure is under way there is no second one.
    assert_eq!(report(&mut engine, inventory.clone()), []);
    let mapped = [(volumes[1].clone(), Bytes::mib(7))];
    measured(&mut engine, Ok(mapped.into()));
    let expected = [None, Some(Bytes::mib(7)), None];
    assert_eq!(told(&engine), expected);
    assert_eq!(report(&mut engine, inventory), volumes);
    assert_eq!(told(&engine), expected, "it is not forgotten meanwhile");
    assert!(engine.view(NOW).tally.collectors[&Collector::ThinVolumes].success);
    measured(&mut engine, Err("no device-mapper".to_owned()));
    assert_eq!(told(&engine), [None, None, None]);
    assert!(!engine.view(NOW).tally.collectors[&Collector::ThinVolumes].success);
}

#[test]
fn without_thin_volumes_nothing_is_measured() {
    let mut engine = engine();
    let mut inventory = fixtures::inventory("thin");
    inventory.thin_volumes.clear();
    assert_eq!(report(&mut engine, inventory), []);
}

#[test]
fn fields_that_nobody_asked_for_are_counted() {
    // The captures have many fields more than a guard asks for.
    let inventory = fixtures::inventory("thin");
    let count = inventory.unknown_fields;
    assert!(count > 30, "{count}");
    let mut engine = engine();
    report(&mut engine, inventory.clone());
    report(&mut engine, inventory);
    assert_eq!(engine.view(NOW).tally.lvm_unknown_fields, 2 * count);
}

#[test]
fn the_collector_is_off_unless_configured() {
    for (text, expected) in [
        ("", Some(false)),
        ("collector.thin_volumes = true", Some(true)),
        ("collector.thin-volumes = true", None),
    ] {
        let parsed = config::parse(text, Path::new("test.toml")).ok();
        let expected = expected.map(|thin_volumes| Collectors { thin_volumes });
        assert_eq!(parsed.map(|config| config.collectors), expected, "{text}");
    }
}
