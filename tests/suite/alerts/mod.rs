//! The rules below `alerts/` against the table of metric families: nothing in them may name what is not
//! exported, and each alert has all that whoever is woken needs. That they fire as they should is promtool's to
//! say, in `cargo lab test`; here it is held that each of them is asked.

mod files;
mod promql;

use std::collections::{BTreeMap, BTreeSet};

use cowherd::report::names::{self, Kind};

use files::{Alert, alerts, cases, recordings};
use promql::Series;

const RUNBOOKS: &str = "https://github.com/cowherd/cowherd/blob/main/alerts/runbooks/";
/// What Prometheus adds to every series.
const TARGET: [&str; 2] = ["instance", "job"];
/// What a page of a runbook answers, in this order.
const SECTIONS: [&str; 5] = [
    "## What it means",
    "## What cowherd does",
    "## Look",
    "## Do",
    "## Do not",
];
/// A page fits a screen or two, and is not empty talk.
const RUNBOOK_LINES: std::ops::RangeInclusive<usize> = 22..=60;

/// The labels of a series that may be scraped, or nothing when there is none of that name.
fn labels_of(metric: &str) -> Option<BTreeSet<&'static str>> {
    let target = TARGET.into_iter();
    if metric == "up" {
        return Some(target.collect());
    }
    names::ALL.iter().find_map(|family| {
        let parts: &[(&str, &[&str])] = match family.kind {
            Kind::Counter | Kind::Gauge => &[("", &[])],
            Kind::Histogram => &[("_bucket", &["le"]), ("_sum", &[]), ("_count", &[])],
        };
        let suffix = metric.strip_prefix(family.name)?;
        let (_, more) = parts.iter().find(|(part, _)| *part == suffix)?;
        let own = family.labels.iter().chain(*more).copied();
        Some(own.chain(target.clone()).collect())
    })
}

/// Every expression with the name of its rule.
fn expressions() -> Vec<(String, String)> {
    let alerting = alerts().into_iter().map(|alert| (alert.name, alert.expr));
    let recording = recordings().into_iter().map(|rule| (rule.name, rule.expr));
    alerting.chain(recording).collect()
}

/// Every value that a label has in a view of everything.
fn values() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let golden = include_str!("../golden/metrics.txt").lines();
    for line in golden.filter(|line| !line.starts_with('#')) {
        for series in promql::named(line).series {
            for matcher in series.matchers {
                found
                    .entry(matcher.label)
                    .or_default()
                    .insert(matcher.value);
            }
        }
    }
    found
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn rules_name_only_series_and_labels_that_exist() {
    let recorded: BTreeSet<String> = recordings().into_iter().map(|rule| rule.name).collect();
    let all = names::ALL.iter().flat_map(|family| family.labels);
    let known: BTreeSet<&str> = all.copied().chain(TARGET).chain(["le"]).collect();
    let mut faults = Vec::new();
    for (rule, expr) in expressions() {
        let named = promql::named(&expr);
        if named.series.is_empty() {
            faults.push(format!("{rule}: names no series"));
        }
        let unknown = named
            .groupings
            .iter()
            .filter(|l| !known.contains(l.as_str()));
        faults.extend(unknown.map(|label| format!("{rule}: no family has a label `{label}`")));
        for series in named.series {
            if !recorded.contains(&series.metric) {
                faults.extend(unknown_in(&series).map(|fault| format!("{rule}: {fault}")));
            }
        }
    }
    none(&faults);
}

fn unknown_in(series: &Series) -> impl Iterator<Item = String> {
    let metric = &series.metric;
    let Some(labels) = labels_of(metric) else {
        return vec![format!("nothing exports `{metric}`")].into_iter();
    };
    let unknown = series.matchers.iter().map(|matcher| matcher.label.as_str());
    let unknown = unknown.filter(|label| !labels.contains(label));
    let faults: Vec<String> = unknown
        .map(|label| format!("`{metric}` has no label `{label}`"))
        .collect();
    faults.into_iter()
}

#[test]
fn rules_match_only_values_that_a_label_can_have() {
    let values = values();
    let mut faults = Vec::new();
    for (rule, expr) in expressions() {
        let named = promql::named(&expr);
        let matchers = named.series.iter().flat_map(|series| &series.matchers);
        // What is left out may be there only at times.
        let positive = matchers.filter(|m| !m.operator.starts_with('!'));
        for matcher in positive.filter(|m| !TARGET.contains(&m.label.as_str())) {
            let known = values.get(&matcher.label).cloned().unwrap_or_default();
            let wanted = matcher.value.split('|');
            let unknown = wanted.filter(|value| !known.contains(*value));
            let label = &matcher.label;
            faults.extend(unknown.map(|value| format!("{rule}: {label} is never `{value}`")));
        }
    }
    none(&faults);
}

#[test]
fn recorded_names_tell_level_metric_and_operation() {
    for rule in recordings() {
        let parts: Vec<&str> = rule.name.split(':').collect();
        assert_eq!(parts.len(), 3, "{}", rule.name);
        let is_ours = parts[1].starts_with("cowherd_");
        assert!(
            is_ours && parts.iter().all(|p| !p.is_empty()),
            "{}",
            rule.name
        );
    }
}

#[test]
fn alerts_tell_how_urgent_they_are_and_what_happened() {
    let mut faults = Vec::new();
    for alert in alerts() {
        faults.extend(lacking(&alert).map(|lack| format!("{}: {lack}", alert.name)));
    }
    none(&faults);
}

fn lacking(alert: &Alert) -> impl Iterator<Item = &'static str> {
    let url = format!("{RUNBOOKS}{}.md", alert.name);
    let is_of_a_fleet =
        promql::named(&alert.expr).series.len() == 1 && alert.expr.contains("absent(");
    let holds = [
        (alert.name.starts_with("Cowherd"), "the name is not of ours"),
        (alert.waits.is_some(), "no `for`"),
        (
            ["critical", "info", "warning"].contains(&alert.severity.as_str()),
            "severity is none of critical, warning, info",
        ),
        (
            alert.summary.ends_with('.') && !alert.summary.contains("{{"),
            "summary is no fixed sentence",
        ),
        (
            alert.description.ends_with('.')
                && (is_of_a_fleet || alert.description.contains("{{ $labels.instance }}")),
            "description is no sentence, or does not tell the host",
        ),
        (
            alert.runbook_url == url,
            "runbook_url is not that of its page",
        ),
    ];
    holds
        .into_iter()
        .filter_map(|(holds, lack)| (!holds).then_some(lack))
}

#[test]
fn descriptions_use_only_labels_that_their_alert_keeps() {
    let mut faults = Vec::new();
    for alert in alerts() {
        let named = promql::named(&alert.expr);
        let first = named.series.iter().filter_map(|s| labels_of(&s.metric));
        let mut kept: BTreeSet<String> = first.flatten().map(str::to_owned).collect();
        if alert.expr.trim_start().starts_with("sum by") || alert.expr.starts_with("count by") {
            kept = named.groupings.into_iter().collect();
        }
        for (_, rest) in alert
            .description
            .match_indices("$labels.")
            .map(|(at, found)| alert.description.split_at(at + found.len()))
        {
            let label: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !kept.contains(&label) {
                faults.push(format!("{}: has no label `{label}`", alert.name));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let named: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let pages: BTreeSet<String> = files::files(&files::directory().join("runbooks"))
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let missing: Vec<&String> = named.difference(&pages).collect();
    let orphans: Vec<&String> = pages.difference(&named).collect();
    assert!(
        missing.is_empty() && orphans.is_empty(),
        "no page: {missing:?}, no alert: {orphans:?}"
    );
}

#[test]
fn a_page_says_what_it_means_what_to_look_at_and_what_to_do() {
    let mut faults = Vec::new();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for path in files::files(&files::directory().join("runbooks")) {
        let text = files::text(&path);
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if text.lines().next() != Some(&format!("# {name}")) {
            faults.push(format!("{name}: does not begin with its name"));
        }
        let sections: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        if sections != SECTIONS {
            faults.push(format!("{name}: sections are {sections:?}"));
        }
        let lines = text.lines().count();
        if !RUNBOOK_LINES.contains(&lines) {
            faults.push(format!(
                "{name}: {lines} lines, should be {RUNBOOK_LINES:?}"
            ));
        }
        for paragraph in text.split("\n\n").filter(|p| p.len() > 120) {
            if let Some(other) = told.insert(paragraph.to_owned(), name.clone()) {
                faults.push(format!("{name}: repeats a paragraph of {other}"));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_rule_fires_in_one_case_and_stays_silent_in_another() {
    let cases = cases();
    let mut faults = Vec::new();
    for alert in alerts() {
        let (name, severity) = (&alert.name, &alert.severity);
        let named = promql::named(&alert.expr);
        let metrics: BTreeSet<&str> = named.series.iter().map(|s| s.metric.as_str()).collect();
        let mut fires = false;
        let mut is_silent = false;
        for case in &cases {
            let asserted = case.asserted.iter().filter(|a| a.alert == *name);
            // Silence without any series would prove nothing.
            let has_series = case.series.iter().any(|s| metrics.contains(metric_of(s)));
            for asserted in asserted {
                let does = asserted.severities.contains(severity);
                fires |= does;
                is_silent |= !does && has_series;
            }
        }
        if !(fires && is_silent) {
            faults.push(format!(
                "{name} ({severity}): fires {fires}, silent {is_silent}"
            ));
        }
    }
    none(&faults);
}

fn metric_of(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

#[test]
fn every_recording_rule_is_asked_in_a_case() {
    let asked: BTreeSet<String> = cases()
        .into_iter()
        .flat_map(|case| case.expressions)
        .flat_map(|expr| promql::named(&expr).series)
        .map(|series| series.metric)
        .collect();
    let missing: Vec<String> = recordings()
        .into_iter()
        .map(|rule| rule.name)
        .filter(|name| !asked.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn cases_have_series_as_they_are_scraped_and_ask_of_alerts_that_exist() {
    let known: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let mut faults = Vec::new();
    for case in cases() {
        let asked = case.asserted.iter().map(|asserted| &asserted.alert);
        let unknown = asked.filter(|name| !known.contains(*name));
        faults.extend(unknown.map(|name| format!("{}: no alert {name}", case.shown)));
        for series in case.series.iter().flat_map(|s| promql::named(s).series) {
            let labels: BTreeSet<&str> = series.matchers.iter().map(|m| m.label.as_str()).collect();
            if labels_of(&series.metric) != Some(labels) {
                let metric = &series.metric;
                faults.push(format!(
                    "{}: `{metric}` is not scraped with these labels",
                    case.shown
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn routes_and_inhibitions_name_only_alerts_that_exist() {
    let known: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let file = files::yaml(&files::directory().join("alertmanager.yml"));
    let mut faults = Vec::new();
    for rule in files::list(&file["inhibit_rules"]) {
        let sides = ["source_matchers", "target_matchers"];
        let matchers = sides.iter().flat_map(|side| files::list(&rule[*side]));
        for matcher in matchers.map(files::string) {
            let Some((_, names)) = matcher.split_once("alertname=") else {
                continue;
            };
            let names = names.trim_matches(|c| c == '~' || c == '"').split('|');
            let unknown = names.filter(|name| *name != "Cowherd.*" && !known.contains(*name));
            faults.extend(unknown.map(|name| format!("no alert `{name}`")));
        }
        let equal = files::list(&rule["equal"]);
        if !equal.iter().any(|label| label.as_str() == Some("instance")) {
            faults.push(format!("{rule:?} would mute other hosts"));
        }
    }
    none(&faults);
}
