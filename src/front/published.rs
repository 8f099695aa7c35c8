//! A view as it is served: each text made once, when it is first asked for, and shared by all who
//! read it, however slowly.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use tracing::error;

use crate::link::Packed;
use crate::model::view::View;
use crate::report::metrics::{self, Format};
use crate::report::page;

use super::gzip::{Part, Shared};

#[derive(Debug)]
pub(super) struct Published {
    packed: Packed,
    view: OnceLock<Option<Arc<View>>>,
    received: Instant,
    /// How old the view was when it arrived.
    lag: Duration,
    /// The guard that made it is gone.
    is_orphaned: AtomicBool,
    /// In the order of `Format::ALL`.
    metrics: [Exposition; Format::ALL.len()],
    page_body: OnceLock<Option<Shared>>,
    json: OnceLock<Option<Shared>>,
}

/// The metrics in one format.
#[derive(Debug, Default)]
struct Exposition {
    text: OnceLock<Option<Shared>>,
    /// Somebody scrapes, and will scrape the next view.
    is_scraped: AtomicBool,
    /// And takes it compressed.
    is_scraped_packed: AtomicBool,
}

impl Published {
    pub(super) fn now(packed: Packed) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let lag = Duration::try_from_secs_f64(wall.as_secs_f64() - packed.at.wall.0);
        Self {
            packed,
            view: OnceLock::new(),
            received: Instant::now(),
            // A clock that was set back makes it negative: then it is as young as can be.
            lag: lag.unwrap_or_default(),
            is_orphaned: AtomicBool::new(false),
            metrics: Default::default(),
            page_body: OnceLock::new(),
            json: OnceLock::new(),
        }
    }

    /// How long ago the guard made it. From the arrival on it does not depend on the wall clock.
    pub(super) fn age(&self) -> Duration {
        self.lag.saturating_add(self.received.elapsed())
    }

    /// No other view will follow it.
    pub(super) fn orphan(&self) {
        self.is_orphaned.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_orphaned(&self) -> bool {
        self.is_orphaned.load(Ordering::Relaxed)
    }

    /// For somebody who takes it compressed, or does not. Nothing when it cannot be told: the log says why.
    pub(super) fn metrics(&self, format: Format, is_packed: bool) -> Option<&Shared> {
        let exposition = &self.metrics[format as usize];
        exposition.is_scraped.store(true, Ordering::Relaxed);
        exposition
            .is_scraped_packed
            .fetch_or(is_packed, Ordering::Relaxed);
        self.rendered(format)
    }

    /// Renders before anybody asks, where the view before was asked for: a scrape finds all done.
    pub(super) fn prepare(&self, before: Option<&Self>) {
        let Some(before) = before else {
            return;
        };
        for (format, before) in Format::ALL.into_iter().zip(&before.metrics) {
            if before.is_scraped.load(Ordering::Relaxed)
                && let Some(rendered) = self.rendered(format)
                && before.is_scraped_packed.load(Ordering::Relaxed)
            {
                rendered.prepare();
            }
        }
    }

    fn rendered(&self, format: Format) -> Option<&Shared> {
        let render = |view: &Arc<View>| logged("render the metrics", metrics::render(view, format));
        let render = || self.view().and_then(render).map(Shared::new);
        self.metrics[format as usize]
            .text
            .get_or_init(render)
            .as_ref()
    }

    /// The part that grows old, and the part that does not; nothing when it cannot be told.
    pub(super) fn page(&self, telemetry_path: &str) -> Option<[Part<'_>; 2]> {
        let head = page::head(self.view()?, self.age(), telemetry_path);
        let render = || Some(Shared::new(page::body(self.view()?)));
        let body = self.page_body.get_or_init(render).as_ref();
        Some([Part::Own(Bytes::from(head)), Part::Shared(body?)])
    }

    /// Nothing when it cannot be told: the log says why.
    pub(super) fn json(&self) -> Option<&Shared> {
        let render = |view: &Arc<View>| logged("encode the status", serde_json::to_vec(&**view));
        let render = || self.view().and_then(render).map(Shared::new);
        self.json.get_or_init(render).as_ref()
    }

    fn view(&self) -> Option<&Arc<View>> {
        let unpack = || logged("read the view", self.packed.unpack()).map(Arc::new);
        self.view.get_or_init(unpack).as_ref()
    }
}

fn logged<T, E: std::error::Error + 'static>(what: &str, made: Result<T, E>) -> Option<T> {
    made.inspect_err(|error| {
        error!(error = error as &dyn std::error::Error, "cannot {what}");
    })
    .ok()
}
