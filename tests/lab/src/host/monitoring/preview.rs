//! Draws the dashboards as Prometheus answers them: each panel of each, as plain as can be. Grafana draws them
//! better; this shows what is on them, from real data, without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::list;
use super::queries::{self, STEP};
use super::servers::Server;

/// Pixels of one column and one row of Grafana's grid.
const COLUMN: f64 = 50.0;
const ROW: f64 = 30.0;
const GAP: f64 = 4.0;
/// Of a panel, above what it shows.
const TITLE: f64 = 24.0;
/// Lines of a legend, rows of a table.
const LINES_MAX: usize = 6;
const COLOURS: [&str; 8] = [
    "#73bf69", "#5794f2", "#f2cc0c", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#c8f2c2",
];

/// One series of an answer: what it is called, its labels, and its points.
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    points: Vec<(f64, f64)>,
}

impl Series {
    /// The last that is a number.
    fn latest(&self) -> Option<f64> {
        let values = self.points.iter().rev().map(|(_, value)| *value);
        values.into_iter().find(|value| !value.is_nan())
    }
}

/// Where a panel stands.
#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Writes `NAME.svg` for each dashboard to the folder.
pub(super) fn draw(prometheus: &Server, from: f64, to: f64, folder: &Path) -> Result<()> {
    for (name, dashboard) in queries::dashboards()? {
        let mut body = String::new();
        let mut bottom: f64 = 0.0;
        for panel in list(&dashboard["panels"]) {
            let place = place(panel);
            bottom = bottom.max(place.y + place.height);
            body += &if panel["type"] == "row" {
                text(
                    place.x + GAP,
                    place.y + 20.0,
                    15.0,
                    "#ccccdc",
                    words(&panel["title"]),
                )
            } else {
                draw_panel(prometheus, panel, place, (from, to))?
            };
        }
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" \
             font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#111217\"/>\n{body}</svg>\n",
            COLUMN * 24.0,
            bottom + GAP
        );
        let file = folder.join(name.replace(".json", ".svg"));
        fs::write(&file, svg).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn place(panel: &Value) -> Place {
    let grid = |key: &str| panel["gridPos"][key].as_f64().unwrap_or_default();
    Place {
        x: grid("x") * COLUMN,
        y: grid("y") * ROW,
        width: grid("w") * COLUMN,
        height: grid("h") * ROW,
    }
}

fn draw_panel(
    prometheus: &Server,
    panel: &Value,
    place: Place,
    (from, to): (f64, f64),
) -> Result<String> {
    let mut all = Vec::new();
    for target in list(&panel["targets"]) {
        if is_left_out(panel, &format!("Value #{}", words(&target["refId"]))) {
            continue;
        }
        let legend = words(&target["legendFormat"]);
        all.extend(answer(
            prometheus,
            words(&target["expr"]),
            legend,
            (from, to),
        )?);
    }
    let inner = Place {
        x: place.x + GAP * 2.0,
        y: place.y + TITLE + GAP,
        width: place.width - GAP * 4.0,
        height: place.height - TITLE - GAP * 3.0,
    };
    let unit = words(&panel["fieldConfig"]["defaults"]["unit"]);
    let shown = match words(&panel["type"]) {
        "stat" => stat(panel, &all, inner),
        "timeseries" => lines(&all, unit, inner, (from, to)),
        "state-timeline" => states(&all, inner, (from, to)),
        _ => table(panel, &all, inner),
    };
    let frame = format!(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\" fill=\"#181b1f\" stroke=\"#2c3235\"/>\n",
        place.x + GAP / 2.0,
        place.y + GAP / 2.0,
        place.width - GAP,
        place.height - GAP
    );
    let title = text(
        place.x + GAP * 2.0,
        place.y + 18.0,
        12.0,
        "#ccccdc",
        words(&panel["title"]),
    );
    Ok(frame + &title + &shown)
}

fn answer(
    prometheus: &Server,
    expr: &str,
    legend: &str,
    (from, to): (f64, f64),
) -> Result<Vec<Series>> {
    let expr = queries::filled_in(expr, queries::EVERY_HOST);
    let (from, to) = (from.to_string(), to.to_string());
    let data = prometheus.api(
        "/api/v1/query_range",
        &[
            ("query", &expr),
            ("start", &from),
            ("end", &to),
            ("step", STEP),
        ],
    )?;
    let series = |one: &Value| {
        let points = list(&one["values"]).iter();
        let points =
            points.filter_map(|point| Some((point[0].as_f64()?, words(&point[1]).parse().ok()?)));
        let labels = one["metric"].as_object().into_iter().flatten();
        let labels: BTreeMap<String, String> = labels
            .map(|(label, value)| (label.clone(), words(value).to_owned()))
            .collect();
        Series {
            name: named(legend, &labels),
            labels,
            points: points.collect(),
        }
    };
    Ok(list(&data["result"]).iter().map(series).collect())
}

/// The legend with the labels put in.
fn named(legend: &str, labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .fold(legend.to_owned(), |name, (label, value)| {
            name.replace(&format!("{{{{{label}}}}}"), value)
        })
}

/// Whether a table does not show this column.
fn is_left_out(panel: &Value, column: &str) -> bool {
    list(&panel["transformations"])
        .iter()
        .any(|one| one["options"]["excludeByName"][column] == true)
}

fn stat(panel: &Value, all: &[Series], place: Place) -> String {
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = words(&defaults["unit"]);
    let count = all.len().clamp(1, LINES_MAX);
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let height = place.height / count as f64;
    let mut svg = String::new();
    let mut y = place.y;
    for series in all.iter().take(LINES_MAX) {
        let Some(value) = series.latest() else {
            continue;
        };
        let mapped = &defaults["mappings"][0]["options"][value.to_string()];
        let (shown, colour) = match mapped["text"].as_str() {
            Some(word) => (word.to_owned(), words(&mapped["color"])),
            None => (
                told(value, unit),
                colour_at(&defaults["thresholds"]["steps"], value),
            ),
        };
        let fill = match colour {
            "red" => "#c4162a",
            "orange" => "#e0752d",
            "blue" => "#3274d9",
            _ => "#37872d",
        };
        writeln!(
            svg,
            "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"{fill}\"/>",
            place.x,
            place.width,
            height - 1.0
        )
        .expect("a string takes all");
        let label = if all.len() > 1 {
            format!("{}: {shown}", series.name)
        } else {
            shown
        };
        svg += &text(
            place.x + GAP,
            y + height / 2.0 + 5.0,
            14.0,
            "#ffffff",
            &label,
        );
        y += height;
    }
    svg
}

fn colour_at(steps: &Value, value: f64) -> &str {
    let mut reached = list(steps)
        .iter()
        .filter(|step| step["value"].as_f64().is_none_or(|from| value >= from));
    reached
        .next_back()
        .map_or("green", |step| words(&step["color"]))
}

fn lines(all: &[Series], unit: &str, place: Place, (from, to): (f64, f64)) -> String {
    let values = || {
        all.iter()
            .flat_map(|series| &series.points)
            .map(|(_, value)| *value)
            .filter(|v| v.is_finite())
    };
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().fold(0.0, f64::min);
    let legend = 14.0 * f64::from(u32::try_from(all.len().min(LINES_MAX)).unwrap_or_default());
    let height = (place.height - legend - GAP * 2.0).max(20.0);
    let at = |(time, value): (f64, f64)| {
        let x = place.x + (time - from) / (to - from) * place.width;
        let y = place.y + height - (value - least) / (most - least) * height;
        format!("{x:.1},{y:.1}")
    };
    let mut svg = text(place.x, place.y + 9.0, 9.0, "#8e8e8e", &told(most, unit));
    for (number, series) in all.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = series.points.iter().filter(|(_, value)| value.is_finite());
        let points: Vec<String> = points.map(|point| at(*point)).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>",
            points.join(" ")
        )
        .expect("a string takes all");
    }
    let mut y = place.y + height + 14.0;
    for (number, series) in all.iter().take(LINES_MAX).enumerate() {
        let latest = series.latest().map(|value| told(value, unit));
        let latest = latest.unwrap_or_default();
        svg += &text(
            place.x,
            y,
            10.0,
            COLOURS[number % COLOURS.len()],
            &format!("{}  {latest}", series.name),
        );
        y += 14.0;
    }
    svg
}

fn states(all: &[Series], place: Place, (from, to): (f64, f64)) -> String {
    let mut svg = String::new();
    let mut y = place.y;
    for (number, series) in all.iter().take(LINES_MAX).enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let step: f64 = STEP.parse().unwrap_or_default();
        let width = step / (to - from) * place.width;
        for (time, _) in &series.points {
            let x = place.x + (time - from) / (to - from) * place.width;
            writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\" fill-opacity=\"0.5\"/>")
                .expect("a string takes all");
        }
        svg += &text(place.x + GAP, y + 11.0, 10.0, "#ffffff", &series.name);
        y += 17.0;
    }
    svg
}

/// A row for each set of labels; of each query the last value, with its column's unit.
fn table(panel: &Value, all: &[Series], place: Place) -> String {
    let overrides = list(&panel["fieldConfig"]["overrides"]);
    let unit = |column: &str| {
        let is_it = |one: &&Value| {
            list(&one["properties"])
                .iter()
                .any(|p| p["id"] == "displayName" && p["value"] == column)
        };
        let found = overrides.iter().find(is_it)?;
        list(&found["properties"])
            .iter()
            .find(|p| p["id"] == "unit")
            .map(|p| words(&p["value"]))
    };
    let shown = |series: &Series| -> BTreeMap<String, String> {
        let mut labels = series.labels.clone();
        labels.retain(|label, _| !is_left_out(panel, label) && label != "__name__");
        labels
    };
    let mut columns: Vec<&str> = Vec::new();
    let mut rows: BTreeMap<BTreeMap<String, String>, BTreeMap<&str, String>> = BTreeMap::new();
    for series in all {
        if !columns.contains(&series.name.as_str()) {
            columns.push(&series.name);
        }
        let row = rows.entry(shown(series)).or_default();
        if let Some(value) = series.latest() {
            let unit = unit(&series.name).unwrap_or("none");
            row.insert(&series.name, told(value, unit));
        }
    }
    let labels: BTreeSet<&String> = rows.keys().flat_map(BTreeMap::keys).collect();
    let cells = u32::try_from(labels.len() + columns.len()).unwrap_or(1);
    let width = place.width / f64::from(cells.max(1));
    let line = |y: f64, colour: &str, cells: &mut dyn Iterator<Item = &str>| {
        let mut x = place.x;
        let mut svg = String::new();
        for cell in cells {
            svg += &text(x, y, 11.0, colour, cell);
            x += width;
        }
        svg
    };
    let mut y = place.y + 12.0;
    let heads = labels.iter().map(|label| label.as_str());
    let mut svg = line(y, "#8e8e8e", &mut heads.chain(columns.iter().copied()));
    for (row, values) in rows.iter().take(LINES_MAX) {
        y += 16.0;
        let names = labels
            .iter()
            .map(|label| row.get(*label).map_or("", String::as_str));
        let values = columns
            .iter()
            .map(|column| values.get(column).map_or("-", String::as_str));
        svg += &line(y, "#ccccdc", &mut names.chain(values));
    }
    svg
}

fn told(value: f64, unit: &str) -> String {
    let binary = |value: f64| {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut left = value;
        let mut unit = 0;
        while left.abs() >= 1024.0 && unit + 1 < units.len() {
            left /= 1024.0;
            unit += 1;
        }
        format!("{left:.1} {}", units[unit])
    };
    match unit {
        _ if value.is_infinite() => "never".to_owned(),
        "percentunit" => format!("{:.1} %", value * 100.0),
        "bytes" => binary(value),
        "Bps" => format!("{}/s", binary(value)),
        "s" if value.abs() >= 3600.0 => format!("{:.1} h", value / 3600.0),
        "s" => format!("{value:.2} s"),
        "ops" | "cps" | "reqps" => format!("{value:.2}/s"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn text(x: f64, y: f64, size: f64, colour: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{colour}\">{words}</text>\n"
    )
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
