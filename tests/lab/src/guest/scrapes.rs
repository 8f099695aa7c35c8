//! Scrapes cowherd's metrics all the time, and tells whether each answer came in time: what else goes on in a
//! scenario must not be felt by whoever watches. One scenario asks for it in one line, and ends it in another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::http::http_get;

/// Of everything that the front serves, whatever else goes on.
pub const SERVED: Duration = Duration::from_secs(1);
/// Between two scrapes: each costs an emulated CPU a few milliseconds.
const SCRAPE_EVERY: Duration = Duration::from_millis(150);

/// They go on until stopped or dropped.
#[derive(Debug)]
pub struct Scrapes {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    count: u32,
    worst: Duration,
    /// The first answer that was none, or late.
    fault: Option<String>,
}

impl Scrapes {
    /// Begins, for a guard that is ready.
    #[must_use]
    pub fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let began = Instant::now();
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                seen.scrape(began);
                thread::sleep(SCRAPE_EVERY);
            }
            seen
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }

    /// Ends, and fails unless each answer since the start was there within a second.
    pub fn stop(mut self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        let seen = thread.and_then(Result::ok);
        let seen = seen.ok_or_else(|| anyhow!("the scrapes have panicked"))?;
        println!("+ {} scrapes, the worst took {:?}", seen.count, seen.worst);
        ensure!(seen.count > 0, "/metrics was never asked for");
        seen.fault.map_or(Ok(()), |fault| Err(anyhow!(fault)))
    }
}

impl Drop for Scrapes {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn scrape(&mut self, began: Instant) {
        let asked = Instant::now();
        let answer = http_get("/metrics");
        let took = asked.elapsed();
        let fault = match answer {
            Err(error) => Some(format!("{error:#}")),
            Ok(response) if response.status != 200 => Some(format!("status {}", response.status)),
            Ok(_) if took > SERVED => Some("late".to_owned()),
            Ok(_) => None,
        };
        self.note(took, fault.map(|why| (asked.duration_since(began), why)));
    }

    fn note(&mut self, took: Duration, fault: Option<(Duration, String)>) {
        self.count += 1;
        self.worst = self.worst.max(took);
        if let (None, Some((at, why))) = (&self.fault, fault) {
            let number = self.count;
            self.fault = Some(format!(
                "/metrics, scrape {number} after {at:.1?}: {why} after {took:.1?}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_and_the_longest_answer_are_kept() {
        let mut seen = Seen::default();
        let second = Duration::from_secs(1);
        seen.note(second, None);
        seen.note(second * 3, Some((second * 10, "late".to_owned())));
        seen.note(second * 2, Some((second * 20, "gone".to_owned())));
        assert_eq!((seen.count, seen.worst), (3, second * 3));
        assert_eq!(
            seen.fault.as_deref(),
            Some("/metrics, scrape 2 after 10.0s: late after 3.0s")
        );
    }
}
