//! A view as it is served: each text made once, when it is first asked for, and shared by all who
//! read it, however slowly.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use tracing::error;

use crate::model::view::View;
use crate::report::{metrics, page};

#[derive(Debug)]
pub(super) struct Published {
    view: Arc<View>,
    received: Instant,
    /// How old the view was when it arrived.
    lag: Duration,
    metrics: OnceLock<Option<Bytes>>,
    page_body: OnceLock<Bytes>,
    json: OnceLock<Option<Bytes>>,
}

impl Published {
    pub(super) fn now(view: View) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let lag = Duration::try_from_secs_f64(wall.as_secs_f64() - view.at.wall.0);
        Self {
            view: Arc::new(view),
            received: Instant::now(),
            // A clock that was set back makes it negative: then it is as young as can be.
            lag: lag.unwrap_or_default(),
            metrics: OnceLock::new(),
            page_body: OnceLock::new(),
            json: OnceLock::new(),
        }
    }

    /// How long ago the guard made it. From the arrival on it does not depend on the wall clock.
    pub(super) fn age(&self) -> Duration {
        self.lag.saturating_add(self.received.elapsed())
    }

    /// Nothing when it cannot be told: the log says why.
    pub(super) fn metrics(&self) -> Option<Bytes> {
        let render = || match metrics::render(&self.view) {
            Ok(text) => Some(Bytes::from(text)),
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "cannot render the metrics"
                );
                None
            }
        };
        self.metrics.get_or_init(render).clone()
    }

    /// The part that grows old, and the part that does not.
    pub(super) fn page(&self, telemetry_path: &str) -> [Bytes; 2] {
        let head = page::head(&self.view, self.age(), telemetry_path);
        let body = self
            .page_body
            .get_or_init(|| Bytes::from(page::body(&self.view)));
        [Bytes::from(head), body.clone()]
    }

    /// Nothing when it cannot be told: the log says why.
    pub(super) fn json(&self) -> Option<Bytes> {
        let render = || match serde_json::to_vec(&*self.view) {
            Ok(json) => Some(Bytes::from(json)),
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "cannot encode the status"
                );
                None
            }
        };
        self.json.get_or_init(render).clone()
    }
}
