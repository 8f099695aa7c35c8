//! The log: lines on stderr, through a bounded queue.
//!
//! stderr may be a pipe to a logger that is stuck on the very storage that is sick. So nobody waits for
//! it: a line that does not fit into the queue is dropped and counted. Under systemd each line carries
//! its priority and no time, because the journal adds its own.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// A burst of as many lines is kept while stderr is slow.
const QUEUE_LINES: usize = 1024;
/// The lines of a process that ends get this long to reach stderr.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// Counts what was logged, and waits for the last lines when it is dropped.
#[derive(Debug)]
pub struct Log {
    counts: Arc<Counts>,
    queue: Option<SyncSender<Vec<u8>>>,
    done: Receiver<()>,
}

#[derive(Debug, Default)]
struct Counts {
    error: AtomicU64,
    warn: AtomicU64,
    info: AtomicU64,
    dropped: AtomicU64,
}

/// Starts logging for this process. A second call changes nothing.
#[must_use]
pub fn start(level: LevelFilter) -> Log {
    let (queue, lines) = sync_channel::<Vec<u8>>(QUEUE_LINES);
    let (finished, done) = sync_channel(1);
    let counts = Arc::new(Counts::default());
    let writing = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            while let Ok(line) = lines.recv() {
                if line.is_empty() {
                    break;
                }
                // There is nowhere left to complain to.
                let _ = io::stderr().write_all(&line);
            }
            let _ = finished.try_send(());
        });
    drop(writing);
    let systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let sink = Sink {
        queue: queue.clone(),
        counts: Arc::clone(&counts),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(Line {
            systemd,
            inner: Format::default().with_target(false),
        })
        .with_writer(sink)
        .with_filter(level);
    let counter = Counter(Arc::clone(&counts));
    // Only a second call in the same process can fail, and then the first one's log goes on.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(counter)
        .try_init();
    Log {
        counts,
        queue: Some(queue),
        done,
    }
}

impl Log {
    /// Lines logged so far, by level, and how many never reached stderr.
    #[must_use]
    pub fn counts(&self) -> ([(&'static str, u64); 3], u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let by_level = [
            ("error", read(&self.counts.error)),
            ("info", read(&self.counts.info)),
            ("warn", read(&self.counts.warn)),
        ];
        (by_level, read(&self.counts.dropped))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // An empty line ends the writing thread; the subscriber keeps its own end of the queue.
        if let Some(queue) = self.queue.take()
            && queue.try_send(Vec::new()).is_ok()
        {
            match self.done.recv_timeout(FLUSH_LIMIT) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

/// Makes one line of an event.
struct Line {
    systemd: bool,
    inner: Format<Full, SystemTime>,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.systemd {
            return self.inner.format_event(context, writer, event);
        }
        // sd-daemon(3): a priority in angle brackets at the start of a line.
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        let bare = self.inner.clone().without_time().with_level(false);
        bare.format_event(context, writer, event)
    }
}

/// Hands each finished line to the queue.
#[derive(Clone)]
struct Sink {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Sink;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.queue.try_send(line.to_vec()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Counter(Arc<Counts>);

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let count = match *event.metadata().level() {
            Level::ERROR => &self.0.error,
            Level::WARN => &self.0.warn,
            Level::INFO => &self.0.info,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
