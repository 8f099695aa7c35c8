//! The metrics of a view, in Prometheus' text format 0.0.4.
//!
//! The families are built anew from the view each time, so no series can outlive its volume. The
//! `prometheus` crate sorts and encodes; it checks nothing of what a collector hands it, so the
//! table of names is the only source of names and labels, and doubles are dropped here.

mod guard;
mod sheet;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Registry, TextEncoder};

use crate::model::view::View;

use super::names;
use sheet::Sheet;

/// Prometheus 3 refuses a scrape whose type it does not know.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("gather the metric families")]
    Gather(#[source] prometheus::Error),
    #[error("encode the metric families")]
    Encode(#[source] prometheus::Error),
}

/// What the front counts itself: the guard knows nothing of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// By what was asked for and status code.
    pub requests: BTreeMap<(&'static str, u16), u64>,
    pub connections_refused: u64,
}

/// The families of one view.
struct ViewCollector {
    view: Arc<View>,
    descriptions: Vec<Desc>,
}

/// The exposition of a view.
///
/// # Errors
/// When the crate refuses a family: a fault of the table of names, which the tests rule out.
pub fn render(view: &Arc<View>) -> Result<String, MetricsError> {
    let registry = Registry::new();
    let collector = ViewCollector::new(Arc::clone(view)).map_err(MetricsError::Gather)?;
    registry
        .register(Box::new(collector))
        .map_err(MetricsError::Gather)?;
    encode(registry.gather())
}

/// The exposition of what the front counts itself; to follow a view's.
///
/// # Errors
/// As `render`.
pub fn render_traffic(traffic: &Traffic) -> Result<String, MetricsError> {
    let mut sheet = Sheet::default();
    for ((handler, code), count) in &traffic.requests {
        sheet.count(&names::HTTP_REQUESTS, [handler, &code.to_string()], *count);
    }
    sheet.count(
        &names::HTTP_CONNECTIONS_REFUSED,
        [],
        traffic.connections_refused,
    );
    encode(sheet.into_families())
}

impl ViewCollector {
    fn new(view: Arc<View>) -> Result<Self, prometheus::Error> {
        let describe = |family: &names::Described| {
            let labels = family
                .labels
                .iter()
                .map(|label| (*label).to_owned())
                .collect();
            Desc::new(
                family.name.to_owned(),
                family.help.to_owned(),
                labels,
                HashMap::new(),
            )
        };
        let descriptions = names::ALL.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { view, descriptions })
    }
}

impl Collector for ViewCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut sheet = Sheet::default();
        guard::write(&mut sheet, &self.view);
        volumes::write(&mut sheet, &self.view);
        sheet.into_families()
    }
}

fn encode(mut families: Vec<MetricFamily>) -> Result<String, MetricsError> {
    for family in &mut families {
        // They are sorted by their labels. Prometheus would keep one of two equal series in silence.
        family
            .mut_metric()
            .dedup_by(|a: &mut Metric, b| a.get_label() == b.get_label());
    }
    let text = TextEncoder::new()
        .encode_to_string(&families)
        .map_err(MetricsError::Encode)?;
    Ok(with_prometheus_infinity(text))
}

/// The crate writes infinity as Rust does; the format's grammar has `+Inf`. Only a value can end a
/// line so: label values end in a quote, and no help text ends in this word.
fn with_prometheus_infinity(text: String) -> String {
    if text.contains(" inf\n") {
        text.replace(" inf\n", " +Inf\n")
    } else {
        text
    }
}
