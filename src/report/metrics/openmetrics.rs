//! The same families as `OpenMetrics` text 1.0.0, for scrapers that ask for it.
//!
//! What differs from Prometheus' own format: a counter's family is named without its `_total`, a family tells its
//! unit where its name ends with it, quotes are escaped in help texts too, and the end is marked.

use std::fmt::Write as _;

use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};

use crate::report::names::{self, Unit};

/// After the last family.
pub(super) const END: &str = "# EOF\n";

/// Writing to a string cannot fail.
pub(super) fn write(family: &MetricFamily, text: &mut String) {
    let name = family.name();
    let kind = family.get_field_type();
    let (shown, label) = match kind {
        MetricType::COUNTER => (name.strip_suffix("_total").unwrap_or(name), "counter"),
        MetricType::HISTOGRAM => (name, "histogram"),
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => (name, "gauge"),
    };
    let _ = writeln!(text, "# TYPE {shown} {label}");
    if let Some(unit) = unit(name, shown) {
        let _ = writeln!(text, "# UNIT {shown} {unit}");
    }
    let _ = writeln!(text, "# HELP {shown} {}", escaped(family.help()));
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => {
                sample(text, name, metric, None, metric.get_counter().get_value());
            }
            MetricType::HISTOGRAM => histogram(text, name, metric, metric.get_histogram()),
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                sample(text, name, metric, None, metric.get_gauge().get_value());
            }
        }
    }
}

/// Of the table of names, where the name tells it.
fn unit(name: &str, shown: &str) -> Option<&'static str> {
    let family = names::ALL.iter().find(|family| family.name == name)?;
    let unit = match family.unit {
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytes_per_second",
        Unit::Ratio => "ratio",
        Unit::Seconds | Unit::Timestamp => "seconds",
        Unit::Count | Unit::Identity | Unit::State | Unit::Truth => return None,
    };
    shown.strip_suffix(unit)?.ends_with('_').then_some(unit)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "as in the other format; a count that large is far away"
)]
fn histogram(text: &mut String, name: &str, metric: &Metric, histogram: &Histogram) {
    let bucket = format!("{name}_bucket");
    for one in histogram.get_bucket() {
        let bound = number(one.upper_bound());
        sample(
            text,
            &bucket,
            metric,
            Some(&bound),
            one.cumulative_count() as f64,
        );
    }
    let count = histogram.get_sample_count() as f64;
    sample(text, &bucket, metric, Some("+Inf"), count);
    sample(
        text,
        &format!("{name}_sum"),
        metric,
        None,
        histogram.get_sample_sum(),
    );
    sample(text, &format!("{name}_count"), metric, None, count);
}

fn sample(text: &mut String, name: &str, metric: &Metric, bound: Option<&str>, value: f64) {
    let labels = metric.get_label().iter();
    let labels = labels.map(|label| (label.name(), label.value()));
    text.push_str(name);
    for (place, (label, value)) in labels.chain(bound.map(|bound| ("le", bound))).enumerate() {
        let before = if place == 0 { '{' } else { ',' };
        let _ = write!(text, "{before}{label}=\"{}\"", escaped(value));
    }
    if bound.is_some() || !metric.get_label().is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {}", number(value));
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('\n', r"\n")
        .replace('"', "\\\"")
}
