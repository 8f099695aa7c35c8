//! What holds for every dashboard, whatever is on it. The queries themselves are run in the lab.

use std::collections::{BTreeMap, BTreeSet};

use cowherd::report::names::{self, Described, Kind};
use serde_json::Value;

use super::thresholds;

/// Series that are not cowherd's own: Prometheus makes them.
const OF_PROMETHEUS: &[(&str, &[&str])] = &[("up", &[]), ("ALERTS", &["alertname", "alertstate"])];
/// Units that Grafana knows by these names.
const UNITS: &[&str] = &[
    "none",
    "short",
    "percentunit",
    "s",
    "bytes",
    "Bps",
    "cps",
    "ops",
    "reqps",
];
/// What a histogram is told by.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A series as a query names it, and its matchers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) matchers: BTreeMap<String, String>,
}

/// Every metric that a query or a rule names: a word that is followed by a brace, or begins as ours do.
pub(super) fn selectors(expr: &str) -> Vec<Selector> {
    let mut selectors = Vec::new();
    let mut rest = expr;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '"') {
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let body = after
            .strip_prefix('{')
            .and_then(|body| body.split_once('}'));
        if body.is_some() || name.starts_with("cowherd_") {
            let matchers = body.map_or_else(BTreeMap::new, |(body, _)| matchers(body));
            selectors.push(Selector {
                name: name.to_owned(),
                matchers,
            });
        }
        if let Some((_, after)) = body {
            rest = after;
        }
    }
    selectors
}

fn matchers(body: &str) -> BTreeMap<String, String> {
    let one = |matcher: &str| {
        let (label, value) = matcher.split_once('=')?;
        Some((
            label.trim().trim_end_matches('!').to_owned(),
            value.trim_start_matches('~').to_owned(),
        ))
    };
    body.split("\",").filter_map(one).collect()
}

/// The family of ours that a series belongs to.
pub(super) fn family(series: &str) -> Option<&'static Described> {
    names::ALL.iter().find(|family| match family.kind {
        Kind::Histogram => OF_HISTOGRAMS
            .iter()
            .any(|part| series == format!("{}{part}", family.name)),
        Kind::Counter | Kind::Gauge => series == family.name,
    })
}

/// Every query of a dashboard: of panels, annotations and variables.
pub(super) fn queries(dashboard: &Value) -> Vec<String> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let targets = list(&dashboard["panels"])
        .into_iter()
        .flat_map(|panel| list(&panel["targets"]));
    let mut queries: Vec<String> = targets.filter_map(|target| text(&target, "expr")).collect();
    queries.extend(
        list(&dashboard["annotations"]["list"])
            .iter()
            .filter_map(|one| text(one, "expr")),
    );
    let variables = list(&dashboard["templating"]["list"]);
    queries.extend(
        variables
            .iter()
            .filter(|one| one["type"] == "query")
            .filter_map(|one| text(one, "query")),
    );
    queries
}

fn panels(dashboard: &Value) -> Vec<Value> {
    let all = dashboard["panels"].as_array().cloned().unwrap_or_default();
    all.into_iter()
        .filter(|panel| panel["type"] != "row")
        .collect()
}

/// What is wrong with one series of one query.
fn series_faults(selector: &Selector, is_variable: bool) -> Vec<String> {
    let Selector { name, matchers } = selector;
    let other = OF_PROMETHEUS.iter().find(|(series, _)| series == name);
    let labels = match (family(name), other) {
        (Some(family), _) => family.labels,
        (None, Some((_, labels))) => *labels,
        (None, None) => return vec![format!("there is no metric {name}")],
    };
    let mut faults = Vec::new();
    for label in matchers.keys() {
        if !["job", "instance"].contains(&label.as_str()) && !labels.contains(&label.as_str()) {
            faults.push(format!("{name} has no label {label}"));
        }
    }
    for (label, value) in [("job", "\"$job"), ("instance", "\"$instance")] {
        let is_chosen = matchers
            .get(label)
            .is_some_and(|found| found.trim_end_matches('"') == value);
        if !is_variable && !is_chosen {
            faults.push(format!("{name} is not chosen by {label}"));
        }
    }
    faults
}

/// Counters are looked at through their rates, and rates over what Grafana takes for long enough.
fn rate_faults(expr: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for selector in selectors(expr) {
        let Some(found) = family(&selector.name) else {
            continue;
        };
        let at = expr.find(&selector.name).unwrap_or_default();
        let before = &expr[..at];
        let is_rate = ["rate(", "increase("]
            .iter()
            .any(|call| before.ends_with(call));
        if found.kind != Kind::Gauge && !is_rate {
            faults.push(format!("{} is a counter outside a rate", selector.name));
        }
    }
    for part in expr.split("rate(").skip(1) {
        let window = part
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        if window.is_none_or(|(window, _)| window != "$__rate_interval") {
            faults.push(format!(
                "a rate over another time than $__rate_interval: {part}"
            ));
        }
    }
    faults
}

fn panel_faults(panel: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let says = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
    if !says("title") || !says("description") {
        faults.push("no title or no description".to_owned());
    }
    if panel["datasource"]["uid"] != "${datasource}" {
        faults.push("another data source".to_owned());
    }
    if panel["targets"].as_array().is_none_or(Vec::is_empty) {
        faults.push("no query".to_owned());
    }
    let unit = panel["fieldConfig"]["defaults"]["unit"]
        .as_str()
        .unwrap_or_default();
    if !UNITS.contains(&unit) {
        faults.push(format!("unit {unit:?}"));
    }
    faults.extend(
        steps(panel)
            .filter(|step| !is_threshold(*step))
            .map(|step| format!("no alert fires at {step}")),
    );
    faults
}

/// Where the panel and its columns change colour.
fn steps(panel: &Value) -> impl Iterator<Item = f64> {
    let mut found = Vec::new();
    let mut pending = vec![&panel["fieldConfig"]];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(object) => {
                if let Some(steps) = object.get("steps").and_then(Value::as_array) {
                    found.extend(steps.iter().filter_map(|step| step["value"].as_f64()));
                }
                pending.extend(object.values());
            }
            Value::Array(array) => pending.extend(array),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found.into_iter()
}

/// One of what ought not to be is too many everywhere.
#[expect(
    clippy::float_cmp,
    reason = "the same constants, written and read back"
)]
fn is_threshold(step: f64) -> bool {
    step == 1.0 || thresholds::ALERTS.iter().any(|(from, _, _)| *from == step)
}

fn layout_faults(dashboard: &Value) -> Vec<String> {
    let all = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in &all {
        let title = &panel["title"];
        if !ids.insert(panel["id"].as_u64()) {
            faults.push(format!("the id of {title} is taken"));
        }
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                if x >= 24 || !taken.insert((x, y)) {
                    faults.push(format!("{title} has no room at {x}, {y}"));
                }
            }
        }
    }
    faults
}

/// All that is wrong with a dashboard.
pub(super) fn faults(dashboard: &Value) -> Vec<String> {
    let mut faults = layout_faults(dashboard);
    if dashboard["editable"] != false {
        faults.push("editable".to_owned());
    }
    for panel in panels(dashboard) {
        faults.extend(
            panel_faults(&panel)
                .into_iter()
                .map(|fault| format!("{}: {fault}", panel["title"])),
        );
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let is_query = variable["type"] == "query";
        let is_all = variable["includeAll"] == true;
        if is_query && variable["refresh"] != 2 || is_all && variable["allValue"] != ".+" {
            faults.push(format!("variable {}", variable["name"]));
        }
    }
    for expr in queries(dashboard) {
        let is_variable = expr.starts_with("label_values(");
        let found = selectors(&expr);
        if found.is_empty() && !is_variable {
            faults.push(format!("asks for nothing: {expr}"));
        }
        let of_series = found
            .iter()
            .flat_map(|selector| series_faults(selector, is_variable));
        faults.extend(of_series.map(|fault| format!("{fault}: {expr}")));
        if !is_variable {
            faults.extend(
                rate_faults(&expr)
                    .into_iter()
                    .map(|fault| format!("{fault}: {expr}")),
            );
        }
    }
    faults
}
