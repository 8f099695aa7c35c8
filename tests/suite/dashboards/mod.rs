//! Makes the dashboards and the list of metrics below `dashboards/`, from the same table as the exposition,
//! and holds them against it, against the alerts, and against what a linter of dashboards asks for.
//!
//! `COWHERD_UPDATE_GOLDEN=1 cargo test` writes the files anew. That every query has an answer is
//! proved in the lab, by a real Prometheus.

mod fleet;
mod lint;
mod panel;
mod pool;
mod reference;
mod thresholds;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::metrics::golden;

fn all() -> [(&'static str, Value); 2] {
    [
        ("fleet.json", fleet::dashboard().json()),
        ("pool.json", pool::dashboard().json()),
    ]
}

#[test]
fn the_dashboards_are_as_generated() {
    for (file, dashboard) in all() {
        let text = serde_json::to_string_pretty(&dashboard).expect("any value can be told");
        golden(&format!("dashboards/{file}"), &(text + "\n"));
    }
}

#[test]
fn the_dashboards_have_no_fault() {
    for (file, dashboard) in all() {
        let faults = lint::faults(&dashboard);
        assert!(faults.is_empty(), "{file}:\n{}", faults.join("\n"));
    }
}

#[test]
fn the_list_of_metrics_is_as_generated() {
    let shown = families(
        all()
            .iter()
            .flat_map(|(_, dashboard)| lint::queries(dashboard)),
    );
    let alerted = families(
        [
            read("alerts/cowherd.rules.yml"),
            read("alerts/recording.rules.yml"),
        ]
        .into_iter(),
    );
    golden(
        "dashboards/metrics.md",
        &reference::document(&shown, &alerted),
    );
}

#[test]
fn colours_change_where_alerts_fire() {
    let rules = read("alerts/cowherd.rules.yml");
    for (from, alert, as_written) in thresholds::ALERTS {
        let mut of_alert = rules
            .split("- alert: ")
            .filter(|rule| rule.lines().next() == Some(alert));
        assert!(
            of_alert.any(|rule| rule.contains(as_written)),
            "{alert}: no rule has {as_written} ({from})"
        );
    }
}

/// Of ours, that these texts name.
fn families(texts: impl Iterator<Item = String>) -> BTreeSet<&'static str> {
    let named = texts.flat_map(|text| lint::selectors(&text));
    named
        .filter_map(|selector| lint::family(&selector.name))
        .map(|family| family.name)
        .collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Each fault, put into a good dashboard, is found.
#[test]
fn no_fault_goes_unnoticed() {
    let expr = "/panels/1/targets/0/expr";
    let faults: &[(&str, Value, &str)] = &[
        (
            expr,
            json!(r#"cowherd_polls{job=~"$job", instance=~"$instance"}"#),
            "there is no metric",
        ),
        (
            expr,
            json!(r#"cowherd_vg_free_bytes{job=~"$job"}"#),
            "is not chosen by instance",
        ),
        (expr, json!("cowherd_vg_free_bytes"), "is not chosen by job"),
        (
            expr,
            json!(r#"up{job=~"$job", instance=~"$instance", vg="x"}"#),
            "has no label vg",
        ),
        (
            expr,
            json!(r#"cowherd_extends_total{job=~"$job", instance=~"$instance"}"#),
            "outside a rate",
        ),
        (
            expr,
            json!(r#"rate(cowherd_extends_total{job=~"$job", instance=~"$instance"}[5m])"#),
            "another time",
        ),
        (expr, json!("1"), "asks for nothing"),
        ("/panels/1/description", json!(""), "no description"),
        (
            "/panels/1/datasource/uid",
            json!("mine"),
            "another data source",
        ),
        ("/panels/1/targets", json!([]), "no query"),
        (
            "/panels/1/fieldConfig/defaults/unit",
            json!("furlong"),
            "furlong",
        ),
        (
            "/panels/1/fieldConfig/defaults/thresholds/steps/0/value",
            json!(0.5),
            "no alert fires at 0.5",
        ),
        ("/panels/1/gridPos/x", json!(22), "has no room"),
        ("/panels/2/gridPos/x", json!(0), "has no room"),
        ("/panels/2/id", json!(1), "is taken"),
        ("/editable", json!(true), "editable"),
        ("/templating/list/1/refresh", json!(1), "variable"),
        ("/templating/list/1/allValue", json!(".*"), "variable"),
    ];
    for (place, value, expected) in faults {
        let mut dashboard = fleet::dashboard().json();
        *dashboard
            .pointer_mut(place)
            .unwrap_or_else(|| panic!("{place}")) = value.clone();
        let found = lint::faults(&dashboard);
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{place} {value}: {found:?}"
        );
    }
}
