//! The one place that sleeps: waiting for a condition with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Fine enough to measure what a guest does, coarse enough to cost an emulated
/// CPU nothing.
const POLL: Duration = Duration::from_millis(20);

/// Polls until `condition` holds; the error says what was awaited for how long.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, deadline, || condition().then_some(()))
}

/// Polls until `probe` gives a value.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if start.elapsed() >= deadline {
            bail!("after {:.1} s still not: {what}", deadline.as_secs_f64());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_ends_at_the_deadline() {
        let error = wait_until("pigs fly", Duration::ZERO, || false).unwrap_err();
        assert_eq!(error.to_string(), "after 0.0 s still not: pigs fly");
    }

    #[test]
    fn the_condition_is_asked_before_the_deadline_is() {
        assert!(wait_until("now", Duration::ZERO, || true).is_ok());
    }
}
