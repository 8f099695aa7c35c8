//! Reads Prometheus' text exposition. Pure, and strict: a line Prometheus would
//! refuse is an error.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate();
        let series = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                parse_line(line).with_context(|| format!("line {}: {line:?}", number + 1))
            })
            .collect::<Result<_>>()?;
        Ok(Self { series })
    }

    /// The value of the one series that has this name and at least these labels;
    /// none when there is no such series or more than one.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.all(name, labels).as_slice() {
            [one] => Some(one.value),
            _ => None,
        }
    }

    /// Whether the one series that matches has this value: for counts and states,
    /// which are whole.
    #[must_use]
    pub fn is(&self, name: &str, labels: &[(&str, &str)], value: u32) -> bool {
        let found = self.get(name, labels);
        found.is_some_and(|found| (found - f64::from(value)).abs() < f64::EPSILON)
    }

    /// Every series with this name and at least these labels.
    #[must_use]
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Series> {
        let has = |series: &Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(l, v)| series.labels.get(*l).is_some_and(|found| found == v))
        };
        self.series.iter().filter(|s| has(s)).collect()
    }

    /// Their sum; 0 when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().map(|s| s.value).sum()
    }
}

fn parse_line(line: &str) -> Result<Series> {
    let name_ends = line.find(['{', ' ']).context("no value")?;
    let (name, rest) = line.split_at(name_ends);
    ensure!(is_name(name), "not a metric name: {name:?}");
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => parse_labels(inner)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = parse_value(words.next().context("no value")?)?;
    if let Some(timestamp) = words.next() {
        timestamp.parse::<i64>().context("a timestamp")?;
    }
    ensure!(words.next().is_none(), "more than a value and a timestamp");
    Ok(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Takes `a="b",c="d"}`; gives the labels and what follows the brace.
fn parse_labels(mut text: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text.split_once("=\"").context("a label without a value")?;
        ensure!(is_name(name), "not a label name: {name:?}");
        let (value, rest) = parse_quoted(rest)?;
        ensure!(
            labels.insert(name.to_owned(), value).is_none(),
            "label {name} twice"
        );
        text = rest.strip_prefix(',').unwrap_or(rest);
        ensure!(
            rest.starts_with([',', '}']),
            "text after the value of label {name}"
        );
    }
}

/// Takes what follows an opening quote; gives the value and what follows the
/// closing one.
fn parse_quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                Some((_, c)) => bail!("escape \\{c}"),
                None => break,
            },
            c => value.push(c),
        }
    }
    bail!("a label value without its end")
}

fn parse_value(word: &str) -> Result<f64> {
    match word {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        number => number
            .parse()
            .with_context(|| format!("a value: {number:?}")),
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# HELP x_total Things.
# TYPE x_total counter
x_total{vg=\"vg0\",lv=\"a\"} 3
x_total{vg=\"vg0\",lv=\"b\",} 4.5 1700000000000

up 1
edge{path=\"a\\\\b\\\"c\\nd,e}\"} +Inf
";

    #[test]
    fn series_are_found_by_some_of_their_labels() {
        let metrics = Metrics::parse(SAMPLE).unwrap();
        assert_eq!(metrics.get("x_total", &[("lv", "a")]), Some(3.0));
        assert_eq!(metrics.get("up", &[]), Some(1.0));
        assert!(metrics.is("up", &[], 1) && !metrics.is("up", &[], 0));
        assert_eq!(metrics.get("x_total", &[("lv", "c")]), None);
        assert_eq!(metrics.get("x_total", &[("vg", "vg0")]), None, "two match");
        assert_eq!(metrics.all("x_total", &[("vg", "vg0")]).len(), 2);
        assert!((metrics.sum("x_total", &[]) - 7.5).abs() < f64::EPSILON);
    }

    #[test]
    fn label_values_are_unescaped() {
        let metrics = Metrics::parse(SAMPLE).unwrap();
        let found = metrics.get("edge", &[("path", "a\\b\"c\nd,e}")]);
        assert_eq!(found, Some(f64::INFINITY));
    }

    #[test]
    fn what_prometheus_refuses_is_an_error() {
        for line in [
            "up",
            "up one",
            "1up 1",
            "up{a} 1",
            "up{a=\"b} 1",
            "up{a=\"b\"c=\"d\"} 1",
            "up{a=\"b\",a=\"c\"} 1",
            "up{a=\"\\x\"} 1",
            "up 1 2 3",
            "up 1 soon",
        ] {
            assert!(Metrics::parse(line).is_err(), "{line:?} was accepted");
        }
    }
}
