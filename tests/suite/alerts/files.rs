//! The files below `alerts/` as values.

use std::fs;
use std::path::{Path, PathBuf};

use yaml_rust2::{Yaml, YamlLoader};

/// One alerting rule. An alert with two severities has two.
#[derive(Debug)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) expr: String,
    pub(super) waits: Option<String>,
    pub(super) severity: String,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) runbook_url: String,
}

#[derive(Debug)]
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) expr: String,
}

/// One rule test: its series, and what is asserted of them.
#[derive(Debug)]
pub(super) struct Case {
    /// File and name, for people.
    pub(super) shown: String,
    pub(super) series: Vec<String>,
    pub(super) asserted: Vec<Asserted>,
    /// What is evaluated beside.
    pub(super) expressions: Vec<String>,
}

/// Of one alert at one moment: the severities with which it fires.
#[derive(Debug)]
pub(super) struct Asserted {
    pub(super) alert: String,
    pub(super) severities: Vec<String>,
}

pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")
}

pub(super) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory, sorted.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory below alerts/ is readable");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry is readable").path())
        .collect();
    found.sort();
    found
}

pub(super) fn yaml(path: &Path) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&text(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(documents.len(), 1, "{}", path.display());
    documents.remove(0)
}

const ALERTS: &str = "cowherd.rules.yml";

pub(super) fn alerts() -> Vec<Alert> {
    let file = yaml(&directory().join(ALERTS));
    let found: Vec<Alert> = rules(&file, "alert")
        .map(|rule| Alert {
            name: string(&rule["alert"]),
            expr: string(&rule["expr"]),
            waits: rule["for"].as_str().map(str::to_owned),
            severity: string(&rule["labels"]["severity"]),
            summary: string(&rule["annotations"]["summary"]),
            description: string(&rule["annotations"]["description"]),
            runbook_url: string(&rule["annotations"]["runbook_url"]),
        })
        .collect();
    assert!(!found.is_empty(), "there are no alerts");
    found
}

/// Those for fleets, and what several alerts begin with.
pub(super) fn recordings() -> Vec<Recording> {
    let mut found = Vec::new();
    for name in [ALERTS, "recording.rules.yml"] {
        let file = yaml(&directory().join(name));
        let before = found.len();
        found.extend(rules(&file, "record").map(|rule| Recording {
            name: string(&rule["record"]),
            expr: string(&rule["expr"]),
        }));
        assert!(found.len() > before, "{name}: no recording rules");
    }
    found
}

pub(super) fn cases() -> Vec<Case> {
    let mut found = Vec::new();
    for path in files(&directory().join("tests")) {
        let file = yaml(&path);
        for test in list(&file["tests"]) {
            let series = list(&test["input_series"]);
            let expressions = list(&test["promql_expr_test"]);
            found.push(Case {
                shown: format!("{}: {}", path.display(), string(&test["name"])),
                series: series.iter().map(|s| string(&s["series"])).collect(),
                asserted: list(&test["alert_rule_test"])
                    .iter()
                    .map(asserted)
                    .collect(),
                expressions: expressions.iter().map(|e| string(&e["expr"])).collect(),
            });
        }
    }
    assert!(!found.is_empty(), "there are no rule tests");
    found
}

fn asserted(test: &Yaml) -> Asserted {
    let expected = list(&test["exp_alerts"]);
    let severity = |alert: &Yaml| string(&alert["exp_labels"]["severity"]);
    Asserted {
        alert: string(&test["alertname"]),
        severities: expected.iter().map(severity).collect(),
    }
}

/// Those of a kind: `alert` or `record`.
fn rules<'a>(file: &'a Yaml, kind: &'a str) -> impl Iterator<Item = &'a Yaml> {
    list(&file["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .filter(move |rule| !rule[kind].is_badvalue())
}

/// Nothing where there is no list.
pub(super) fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

/// Nothing where there is no text: the tests tell which.
pub(super) fn string(yaml: &Yaml) -> String {
    yaml.as_str().unwrap_or_default().to_owned()
}
