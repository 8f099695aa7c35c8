//! The metrics of a view, in Prometheus' text format 0.0.4 and in that of `OpenMetrics` 1.0.0.
//!
//! The families are built anew from the view each time, so no series can outlive its volume. The
//! `prometheus` crate sorts and encodes; it checks nothing of what a collector hands it, so the
//! table of names is the only source of names and labels, and doubles are dropped here.

mod guard;
mod openmetrics;
mod sheet;
mod thin_volumes;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use prometheus::{Registry, TextEncoder};

use crate::model::view::View;

use super::names;
use sheet::Sheet;

/// How families are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    /// Prometheus 3 refuses a scrape whose type it does not know.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

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
    pub handshake_failures: u64,
}

/// What the front knows of its web configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WebStatus {
    /// It is what the files say now.
    pub is_current: bool,
    /// When it came into force, in seconds since 1970.
    pub since: f64,
    /// Without TLS there is none.
    pub certificate_expiry: Option<i64>,
}

/// The families of one view.
struct ViewCollector {
    view: Arc<View>,
    descriptions: &'static [Desc],
}

/// Bytes of a sample, most of them names and labels: a buffer that need not grow need not be copied.
const SAMPLE_BYTES: usize = 96;

/// The exposition of a view.
///
/// # Errors
/// When the crate refuses a family: a fault of the table of names, which the tests rule out.
pub fn render(view: &Arc<View>, format: Format) -> Result<String, MetricsError> {
    let registry = Registry::new();
    let collector = ViewCollector {
        view: Arc::clone(view),
        descriptions: descriptions().map_err(MetricsError::Gather)?,
    };
    registry
        .register(Box::new(collector))
        .map_err(MetricsError::Gather)?;
    encode(registry.gather(), format)
}

/// The exposition of what the front counts itself; to follow a view's, and the end.
///
/// # Errors
/// As `render`.
pub fn render_traffic(
    traffic: &Traffic,
    web: Option<WebStatus>,
    format: Format,
) -> Result<String, MetricsError> {
    let mut sheet = Sheet::default();
    for ((handler, code), count) in &traffic.requests {
        sheet.count(&names::HTTP_REQUESTS, [handler, &code.to_string()], *count);
    }
    sheet.count(
        &names::HTTP_CONNECTIONS_REFUSED,
        [],
        traffic.connections_refused,
    );
    if let Some(web) = web {
        sheet.truth(&names::WEB_CONFIG_CURRENT, [], web.is_current);
        sheet.value(&names::WEB_CONFIG_SINCE, [], web.since);
        if let Some(expiry) = web.certificate_expiry {
            sheet.value(&names::WEB_CERTIFICATE_EXPIRY, [], seconds(expiry));
            sheet.count(
                &names::WEB_HANDSHAKE_FAILURES,
                [],
                traffic.handshake_failures,
            );
        }
    }
    let mut text = encode(sheet.into_families(), format)?;
    if format == Format::OpenMetrics {
        text.push_str(openmetrics::END);
    }
    Ok(text)
}

/// Whole seconds since 1970: exact for longer than certificates last.
#[expect(
    clippy::cast_precision_loss,
    reason = "nothing is lost before the year 285 000 000"
)]
const fn seconds(time: i64) -> f64 {
    time as f64
}

/// The table of names as the crate wants it. Made once: the crate checks and hashes every word of it.
fn descriptions() -> Result<&'static [Desc], prometheus::Error> {
    static DESCRIPTIONS: OnceLock<Vec<Desc>> = OnceLock::new();
    if let Some(made) = DESCRIPTIONS.get() {
        return Ok(made);
    }
    let describe = |family: &names::Described| {
        let labels = family.labels.iter().map(|label| (*label).to_owned());
        Desc::new(
            family.name.to_owned(),
            family.help.to_owned(),
            labels.collect(),
            HashMap::new(),
        )
    };
    let made = names::ALL.iter().map(describe).collect::<Result<_, _>>()?;
    Ok(DESCRIPTIONS.get_or_init(|| made))
}

impl Collector for ViewCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut sheet = Sheet::default();
        guard::write(&mut sheet, &self.view);
        volumes::write(&mut sheet, &self.view);
        thin_volumes::write(&mut sheet, &self.view.inventory);
        sheet.into_families()
    }
}

/// One family after the other, so that each is gone before the next is written.
fn encode(families: Vec<MetricFamily>, format: Format) -> Result<String, MetricsError> {
    let samples: usize = families.iter().map(|f| f.get_metric().len()).sum();
    let mut text = String::with_capacity(samples * SAMPLE_BYTES);
    for mut family in families {
        // They are sorted by their labels. Prometheus would keep one of two equal series in silence.
        let metrics = family.mut_metric();
        metrics.dedup_by(|a, b| values(a).eq(values(b)));
        match format {
            Format::Text => write_text(family, &mut text)?,
            Format::OpenMetrics => openmetrics::write(&family, &mut text),
        }
    }
    Ok(text)
}

fn write_text(family: MetricFamily, text: &mut String) -> Result<(), MetricsError> {
    let metrics = family.get_metric();
    let has_infinity = metrics
        .iter()
        .any(|m| m.get_gauge().get_value().is_infinite());
    let start = text.len();
    TextEncoder::new()
        .encode_utf8(&[family], text)
        .map_err(MetricsError::Encode)?;
    if has_infinity {
        let written = text.split_off(start);
        text.push_str(&with_prometheus_infinity(&written));
    }
    Ok(())
}

/// The values of its labels; their names are the family's.
fn values(metric: &Metric) -> impl Iterator<Item = &str> {
    metric.get_label().iter().map(LabelPair::value)
}

/// The crate writes infinity as Rust does; the format's grammar has `+Inf`. Only a value can end a
/// line so: label values end in a quote, and no help text ends in this word.
fn with_prometheus_infinity(text: &str) -> String {
    text.replace(" inf\n", " +Inf\n")
}
