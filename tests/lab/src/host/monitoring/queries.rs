//! The dashboards' own queries, put to the real Prometheus: each must have an answer.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::workspace;
use super::list;
use super::servers::Server;

/// What Grafana puts in for its variables but `$instance`: everything, and four scrapes.
const VARIABLES: &[(&str, &str)] = &[
    ("$__rate_interval", "1m"),
    ("$job", ".+"),
    ("$vg", ".+"),
    ("$lv", ".+"),
];
/// For `$instance`.
pub(super) const EVERY_HOST: &str = ".+";
/// Between two points of a graph.
pub(super) const STEP: &str = "15";

/// What of a dashboard asks for something.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) dashboard: String,
    pub(super) place: String,
    pub(super) expr: String,
}

/// Every query of every dashboard but those of variables, for these hosts.
pub(super) fn of_dashboards(hosts: &str) -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for (name, dashboard) in dashboards()? {
        let panels = list(&dashboard["panels"]).iter();
        let targets = panels.flat_map(|panel| {
            let title = &panel["title"];
            list(&panel["targets"])
                .iter()
                .map(move |target| (title, &target["expr"]))
        });
        let annotations = list(&dashboard["annotations"]["list"]).iter();
        let annotations = annotations.map(|annotation| (&annotation["name"], &annotation["expr"]));
        for (place, expr) in targets.chain(annotations) {
            let expr = expr
                .as_str()
                .with_context(|| format!("{name}, {place}: no query"))?;
            queries.push(Query {
                dashboard: name.clone(),
                place: place.to_string(),
                expr: filled_in(expr, hosts),
            });
        }
    }
    ensure!(
        queries.len() > 50,
        "only {} queries were found",
        queries.len()
    );
    Ok(queries)
}

/// The values of every variable, as Grafana asks for them.
pub(super) fn of_variables() -> Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for (name, dashboard) in dashboards()? {
        for variable in list(&dashboard["templating"]["list"]) {
            let Some(inner) = variable["query"]
                .as_str()
                .and_then(|query| query.strip_prefix("label_values("))
            else {
                continue;
            };
            let (series, label) = inner
                .trim_end_matches(')')
                .rsplit_once(", ")
                .context("label_values")?;
            found.push((
                name.clone(),
                filled_in(series, EVERY_HOST),
                label.to_owned(),
            ));
        }
    }
    Ok(found)
}

pub(super) fn filled_in(expr: &str, hosts: &str) -> String {
    let expr = expr.replace("$instance", hosts);
    VARIABLES
        .iter()
        .fold(expr, |expr, (name, value)| expr.replace(name, value))
}

pub(super) fn dashboards() -> Result<Vec<(String, Value)>> {
    let folder = workspace::root().join("dashboards");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let dashboard =
                serde_json::from_str(&fs::read_to_string(&path)?).context(name.clone())?;
            found.push((name, dashboard));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// The queries that fail, or that had no answer between the two times (seconds since 1970).
pub(super) fn unanswered(prometheus: &Server, from: f64, to: f64) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for Query {
        dashboard,
        place,
        expr,
    } in of_dashboards(EVERY_HOST)?
    {
        let (from, to) = (from.to_string(), to.to_string());
        let range = [
            ("query", expr.as_str()),
            ("start", &from),
            ("end", &to),
            ("step", STEP),
        ];
        match prometheus.api("/api/v1/query_range", &range) {
            Ok(data) if !list(&data["result"]).is_empty() => {}
            Ok(_) => faults.push(format!("{dashboard}, {place}: no data: {expr}")),
            Err(error) => faults.push(format!("{dashboard}, {place}: {error:#}")),
        }
    }
    for (dashboard, series, label) in of_variables()? {
        let values = prometheus.api(
            &format!("/api/v1/label/{label}/values"),
            &[("match[]", &series)],
        )?;
        if list(&values).is_empty() {
            faults.push(format!("{dashboard}: no {label} of {series}"));
        }
    }
    Ok(faults)
}

/// The rules that Prometheus could not evaluate.
pub(super) fn faulty_rules(prometheus: &Server) -> Result<Vec<String>> {
    let data = prometheus.api("/api/v1/rules", &[])?;
    let rules: Vec<&Value> = list(&data["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .collect();
    ensure!(rules.len() > 30, "only {} rules are loaded", rules.len());
    let is_faulty = |rule: &&&Value| rule["health"] != "ok";
    Ok(rules
        .iter()
        .filter(is_faulty)
        .map(|rule| format!("{}: {}", rule["name"], rule["lastError"]))
        .collect())
}
