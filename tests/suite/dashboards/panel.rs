//! Panels, rows and dashboards, and the JSON that Grafana imports: its classic model, which files, imports
//! and provisioning all take. What is on a dashboard stands in `fleet` and `pool`.

use cowherd::report::names::Family;
use serde_json::{Value, json};

/// Grafana upgrades older models when it loads them.
const SCHEMA: u32 = 39;
/// A row of a dashboard is as many columns wide.
const WIDTH: u32 = 24;

/// Which series a query asks for, by the dashboard's variables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    Hosts,
    /// Whatever is in the chosen volume group.
    Group,
    /// The chosen pool.
    Pool,
}

impl Scope {
    /// The family's series, with a matcher for each variable that it has a label for, and `more`.
    pub(super) fn of<const N: usize>(self, family: Family<N>, more: &str) -> String {
        let is_chosen = |label: &&&str| match self {
            Self::Hosts => false,
            Self::Group => **label == "vg",
            Self::Pool => **label == "vg" || **label == "lv",
        };
        let by_label = family.labels.iter().filter(|label| is_chosen(label));
        let by_label = by_label.map(|label| format!("{label}=~\"${label}\""));
        let more = (!more.is_empty()).then(|| more.to_owned());
        let matchers: Vec<String> = [
            r#"job=~"$job""#.to_owned(),
            r#"instance=~"$instance""#.to_owned(),
        ]
        .into_iter()
        .chain(by_label)
        .chain(more)
        .collect();
        format!("{}{{{}}}", family.name, matchers.join(", "))
    }

    /// How often it happens each second, by what the sum is made.
    pub(super) fn rate<const N: usize>(self, family: Family<N>, more: &str, by: &str) -> String {
        let series = self.of(family, more);
        format!("sum by ({by}) (rate({series}[$__rate_interval]))")
    }

    /// How much more it is than an hour ago.
    pub(super) fn hourly<const N: usize>(self, family: Family<N>, by: &str) -> String {
        let series = self.of(family, "");
        format!("sum by ({by}) (increase({series}[1h]))")
    }

    /// The 90th percentile of a histogram.
    pub(super) fn p90<const N: usize>(self, family: Family<N>, by: &str) -> String {
        let series = self.of(family, "").replacen('{', "_bucket{", 1);
        format!("histogram_quantile(0.9, sum by (le{by}) (rate({series}[$__rate_interval])))")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Stat,
    Lines,
    Table,
    States,
}

/// One column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) steps: Vec<(f64, &'static str)>,
}

#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) shape: Shape,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) unit: &'static str,
    pub(super) size: (u32, u32),
    /// Expressions and their legends.
    pub(super) queries: Vec<(String, &'static str)>,
    /// From these values on, in these colours.
    pub(super) steps: Vec<(f64, &'static str)>,
    /// Words for values.
    pub(super) words: Vec<(&'static str, &'static str, &'static str)>,
    /// Of a table: one for each query, in its order.
    pub(super) columns: Vec<Column>,
    /// Labels that a table need not show.
    pub(super) hidden: &'static [&'static str],
    /// A table whose rows lead to the pool of a row.
    pub(super) leads_to_pool: bool,
}

impl Panel {
    pub(super) fn new(
        shape: Shape,
        title: &'static str,
        description: &'static str,
        unit: &'static str,
        size: (u32, u32),
    ) -> Self {
        Self {
            shape,
            title,
            description,
            unit,
            size,
            queries: Vec::new(),
            steps: Vec::new(),
            words: Vec::new(),
            columns: Vec::new(),
            hidden: &[],
            leads_to_pool: false,
        }
    }

    pub(super) fn query(mut self, expr: String, legend: &'static str) -> Self {
        self.queries.push((expr, legend));
        self
    }

    pub(super) fn step(mut self, from: f64, colour: &'static str) -> Self {
        self.steps.push((from, colour));
        self
    }

    pub(super) fn word(
        mut self,
        value: &'static str,
        word: &'static str,
        colour: &'static str,
    ) -> Self {
        self.words.push((value, word, colour));
        self
    }

    /// A query of a table, with the column that shows it.
    pub(super) fn column(
        mut self,
        expr: String,
        title: &'static str,
        unit: &'static str,
        steps: &[(f64, &'static str)],
    ) -> Self {
        self.queries.push((expr, title));
        self.columns.push(Column {
            title,
            unit,
            steps: steps.to_vec(),
        });
        self
    }

    fn json(&self, id: u32, (x, y): (u32, u32)) -> Value {
        json!({
            "type": match self.shape {
                Shape::Stat => "stat",
                Shape::Lines => "timeseries",
                Shape::Table => "table",
                Shape::States => "state-timeline",
            },
            "id": id,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": { "w": self.size.0, "h": self.size.1, "x": x, "y": y },
            "fieldConfig": { "defaults": self.defaults(), "overrides": self.overrides() },
            "options": self.options(),
            "targets": self.targets(),
            "transformations": self.transformations(),
        })
    }

    fn defaults(&self) -> Value {
        let colour = match self.shape {
            Shape::Stat | Shape::Table => "thresholds",
            Shape::Lines | Shape::States => "palette-classic",
        };
        let custom = match self.shape {
            Shape::Lines => json!({
                "lineWidth": 1, "fillOpacity": 10, "showPoints": "never",
                "thresholdsStyle": { "mode": if self.steps.is_empty() { "off" } else { "line" } },
            }),
            Shape::Stat | Shape::Table | Shape::States => json!({}),
        };
        json!({
            "unit": self.unit,
            "color": { "mode": colour },
            "custom": custom,
            "mappings": self.mappings(),
            "thresholds": thresholds(&self.steps),
            "links": [],
        })
    }

    fn mappings(&self) -> Value {
        if self.words.is_empty() {
            return json!([]);
        }
        let options: serde_json::Map<String, Value> = self
            .words
            .iter()
            .map(|(value, text, color)| {
                ((*value).to_owned(), json!({ "text": text, "color": color }))
            })
            .collect();
        json!([{ "type": "value", "options": options }])
    }

    fn overrides(&self) -> Value {
        let mut overrides: Vec<Value> = self
            .columns
            .iter()
            .enumerate()
            .map(|(number, column)| {
                let mut properties = vec![
                    json!({ "id": "displayName", "value": column.title }),
                    json!({ "id": "unit", "value": column.unit }),
                ];
                if !column.steps.is_empty() {
                    properties
                        .push(json!({ "id": "thresholds", "value": thresholds(&column.steps) }));
                    let cell = json!({ "type": "color-text" });
                    properties.push(json!({ "id": "custom.cellOptions", "value": cell }));
                }
                override_of(&format!("Value #{}", ref_id(number)), &properties)
            })
            .collect();
        if self.leads_to_pool {
            let url = "/d/cowherd-pool?${datasource:queryparam}&${job:queryparam}\
                       &var-instance=${__data.fields.instance}&var-vg=${__data.fields.vg}&var-lv=${__data.fields.lv}\
                       &${__url_time_range}";
            let link = json!([{ "title": "Show this pool", "url": url }]);
            overrides.push(override_of(
                "lv",
                &[json!({ "id": "links", "value": link })],
            ));
        }
        json!(overrides)
    }

    fn options(&self) -> Value {
        match self.shape {
            Shape::Stat => json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "background", "graphMode": "none", "textMode": "auto",
            }),
            Shape::Lines => json!({
                "legend": {
                    "displayMode": "table", "placement": "bottom", "showLegend": true,
                    "calcs": ["lastNotNull", "max"],
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Shape::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
            Shape::States => json!({
                "showValue": "auto", "mergeValues": true,
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
        }
    }

    fn targets(&self) -> Value {
        let is_table = self.shape == Shape::Table;
        let target = |(number, (expr, legend)): (usize, &(String, &str))| {
            json!({
                "refId": ref_id(number),
                "datasource": datasource(),
                "expr": expr,
                "legendFormat": legend,
                "instant": is_table,
                "range": !is_table,
                "format": if is_table { "table" } else { "time_series" },
            })
        };
        self.queries.iter().enumerate().map(target).collect()
    }

    /// One row for each object, whatever query told of it.
    fn transformations(&self) -> Value {
        if self.shape != Shape::Table {
            return json!([]);
        }
        let hidden: serde_json::Map<String, Value> = ["Time", "job", "__name__"]
            .iter()
            .chain(self.hidden)
            .map(|label| ((*label).to_owned(), json!(true)))
            .collect();
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": hidden, "indexByName": {}, "renameByName": {} } },
        ])
    }
}

/// A dashboard: its rows, each with a title.
#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    /// After the data source.
    pub(super) variables: Vec<Value>,
    pub(super) annotations: Vec<Value>,
    pub(super) rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Dashboard {
    pub(super) fn json(&self) -> Value {
        let mut variables = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "refresh": 1, "regex": "", "hide": 0, "multi": false, "includeAll": false, "options": [],
        })];
        variables.extend(self.variables.iter().cloned());
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["cowherd", "lvm", "storage"],
            "timezone": "browser",
            "editable": false,
            "graphTooltip": 1,
            "schemaVersion": SCHEMA,
            "version": 1,
            "refresh": "1m",
            "time": { "from": "now-24h", "to": "now" },
            "timepicker": {},
            "fiscalYearStartMonth": 0,
            "links": [{
                "title": "cowherd", "type": "dashboards", "tags": ["cowherd"], "asDropdown": true,
                "includeVars": true, "keepTime": true, "icon": "external link", "targetBlank": false,
                "tooltip": "", "url": "",
            }],
            "templating": { "list": variables },
            "annotations": { "list": self.annotations },
            "panels": self.panels(),
        })
    }

    /// From left to right, a new line where the next does not fit.
    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        let mut id = 0..;
        let mut next_id = || id.next().map_or(0, |id| id + 1);
        for (title, row) in &self.rows {
            panels.push(json!({
                "type": "row", "id": next_id(), "title": title, "collapsed": false, "panels": [],
                "gridPos": { "w": WIDTH, "h": 1, "x": 0, "y": y },
            }));
            y += 1;
            let (mut x, mut tallest) = (0, 0);
            for panel in row {
                if x + panel.size.0 > WIDTH {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                panels.push(panel.json(next_id(), (x, y)));
                x += panel.size.0;
                tallest = tallest.max(panel.size.1);
            }
            y += tallest;
        }
        panels
    }
}

/// A variable whose values are those of a label.
pub(super) fn variable(name: &str, label: &str, of: &str, many: bool) -> Value {
    let query = format!("label_values({of}, {name})");
    let mut variable = json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "query": query, "definition": query, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "options": [],
        "multi": many, "includeAll": many,
    });
    if many {
        variable["allValue"] = json!(".+");
    }
    variable
}

/// Marks on every graph of a dashboard, where the expression has a value.
pub(super) fn annotation(name: &str, colour: &str, expr: &str, title: &str) -> Value {
    json!({
        "name": name, "datasource": datasource(), "enable": true, "hide": false, "iconColor": colour,
        "expr": expr, "step": "60s", "titleFormat": title, "useValueForTime": false,
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Green below the first step, but for a step from the very bottom.
pub(super) const BOTTOM: f64 = f64::NEG_INFINITY;

fn thresholds(steps: &[(f64, &'static str)]) -> Value {
    let is_bottom = steps.first().is_some_and(|(from, _)| from.is_infinite());
    let green = (!is_bottom).then(|| json!({ "color": "green", "value": null }));
    // JSON has no infinity: its null is what Grafana takes for the bottom.
    let others = steps
        .iter()
        .map(|(value, color)| json!({ "color": color, "value": value }));
    let steps: Vec<Value> = green.into_iter().chain(others).collect();
    json!({ "mode": "absolute", "steps": steps })
}

fn override_of(field: &str, properties: &[Value]) -> Value {
    json!({ "matcher": { "id": "byName", "options": field }, "properties": properties })
}

/// A, B, C, ...
fn ref_id(number: usize) -> char {
    (b'A'..=b'Z').nth(number).map_or('Z', char::from)
}
