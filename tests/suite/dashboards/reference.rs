//! `dashboards/metrics.md`: every family, what it means, where its value comes from, and who uses it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cowherd::report::names::{self, Described, Kind, Unit};

const HEAD: &str = "\
# Metrics

Every family that cowherd exposes. This file is made from the table that the exposition is made from: see
`src/report/names.rs`.

A scrape shows the last picture that the guard made and never runs a command:
`cowherd_view_timestamp_seconds` says when that was. A volume is always `vg` and `lv`, whatever it is, so that
series join. Sizes are bytes, shares are between 0 and 1, states are sets of which one is 1, and forecasts are
times, not durations: those of a guard that hangs come true by themselves. What is not known is absent.

*Source* is where the value comes from: a field of LVM's reports, a status of the kernel, or the guard itself.
*Used by* says whether the dashboards (d) and the alerts (a) beside this file use it; what neither uses is for
questions that come up.

| metric | type | labels | unit | source | meaning | used by |
|---|---|---|---|---|---|---|
";

pub(super) fn document(shown: &BTreeSet<&str>, alerted: &BTreeSet<&str>) -> String {
    let mut text = HEAD.to_owned();
    for family in names::ALL {
        let (meaning, source) = meaning_and_source(family.help);
        let users = [(shown, "d"), (alerted, "a")];
        let users: Vec<&str> = users
            .iter()
            .filter(|(set, _)| set.contains(family.name))
            .map(|(_, letter)| *letter)
            .collect();
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {source} | {meaning} | {} |",
            family.name,
            kind(family),
            labels.join(", "),
            unit(family.unit),
            users.join(" "),
        )
        .expect("a string takes all");
    }
    text
}

/// A help text names its source in brackets.
fn meaning_and_source(help: &str) -> (String, &str) {
    let source = help
        .rsplit_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(source, _)| source);
    match source.filter(|source| source.starts_with("LVM") || source.starts_with("kernel")) {
        Some(source) => (help.replacen(&format!(" ({source})"), "", 1), source),
        None => (help.to_owned(), "guard"),
    }
}

fn kind(family: &Described) -> &'static str {
    match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytes per second",
        Unit::Count => "",
        Unit::Identity => "always 1",
        Unit::Ratio => "0 to 1",
        Unit::Seconds => "seconds",
        Unit::Timestamp => "seconds since 1970",
        Unit::State | Unit::Truth => "1 or 0",
    }
}
