//! Families under construction. The number of labels of every sample is checked by the compiler.

use prometheus::proto;

use crate::model::tally::Histogram;
use crate::report::names::{self, Family, Kind};

/// By place in the table of names.
#[derive(Debug)]
pub(super) struct Sheet {
    families: Vec<proto::MetricFamily>,
}

impl Default for Sheet {
    fn default() -> Self {
        let families = names::ALL.iter().map(|_| proto::MetricFamily::default());
        Self {
            families: families.collect(),
        }
    }
}

impl Sheet {
    /// Adds one sample of a counter or a gauge. A value that is no number is unknown, and what is
    /// unknown is left out.
    pub(super) fn value<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: [&str; N],
        value: f64,
    ) {
        if value.is_nan() {
            return;
        }
        let mut metric = labelled(family, labels);
        match family.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.push(family, metric);
    }

    pub(super) fn count<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: [&str; N],
        count: u64,
    ) {
        self.value(family, labels, float(count));
    }

    pub(super) fn truth<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: [&str; N],
        truth: bool,
    ) {
        self.value(family, labels, f64::from(u8::from(truth)));
    }

    pub(super) fn histogram<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: [&str; N],
        durations: &Histogram,
    ) {
        let bucket = |(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(durations.cumulative().map(bucket).collect());
        histogram.set_sample_count(durations.count());
        histogram.set_sample_sum(durations.sum_secs());
        let mut metric = labelled(family, labels);
        metric.set_histogram(histogram);
        self.push(family, metric);
    }

    /// The families that have samples.
    pub(super) fn into_families(self) -> Vec<proto::MetricFamily> {
        let families = self.families.into_iter();
        families.filter(|f| !f.get_metric().is_empty()).collect()
    }

    fn push<const N: usize>(&mut self, family: &Family<N>, metric: proto::Metric) {
        let place = &mut self.families[family.place];
        if place.get_metric().is_empty() {
            *place = empty(family);
        }
        place.mut_metric().push(metric);
    }
}

fn empty<const N: usize>(family: &Family<N>) -> proto::MetricFamily {
    let mut empty = proto::MetricFamily::default();
    empty.set_name(family.name.to_owned());
    empty.set_help(family.help.to_owned());
    empty.set_field_type(match family.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    empty
}

/// The labels keep the order of the table: the encoder writes them as they come.
fn labelled<const N: usize>(family: &Family<N>, labels: [&str; N]) -> proto::Metric {
    let pair = |(name, value): (&'static str, &str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    proto::Metric::from_label(family.labels.into_iter().zip(labels).map(pair).collect())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric value is a double by definition"
)]
const fn float(count: u64) -> f64 {
    count as f64
}
