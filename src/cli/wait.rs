//! Waiting until there is room for a request, and until a job has ended, with a bar for whoever sits before a terminal.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{self, Answer, ClientError};
use crate::model::action::Job;
use crate::report::jobs;

use super::api::{Api, ApiError};
use super::values::Patience;

/// A guard that is started anew carries on with its jobs: it gets this long to do so.
const GONE_LIMIT: Duration = Duration::from_secs(30);

/// HTTP's status for a caller, or a host, that asks for too much at once.
const TOO_MANY: u16 = 429;
/// The guard's word is a second.
const CROWD_PAUSE: Duration = Duration::from_secs(1);

/// Between two looks: short jobs are seen to end, long ones cost little.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

const BAR: &str = "{msg} [{bar:30}] {percent:>3} %, {elapsed}";
const SPINNER: &str = "{spinner} {msg}, {elapsed}";

/// Asks again for as long as there is too much to do: nothing was done then, others come first.
pub(super) fn for_room(
    limit: Duration,
    mut ask: impl FnMut() -> Result<Answer, ClientError>,
) -> Result<Answer, ClientError> {
    let begun = Instant::now();
    loop {
        let answer = ask()?;
        if answer.status != TOO_MANY || begun.elapsed() >= limit {
            return Ok(answer);
        }
        thread::sleep(CROWD_PAUSE);
    }
}

/// Returns the job as it ended.
pub(super) fn for_end(api: &mut Api, mut job: Job, patience: Patience) -> Result<Job, ApiError> {
    let begun = Instant::now();
    let path = format!("/jobs/{}", client::encoded(&job.id));
    let mut bar = Bar::start();
    let mut pause = FIRST_PAUSE;
    let mut heard = Instant::now();
    while !job.state.has_ended() {
        bar.show(&job);
        let left = patience
            .limit()
            .map(|limit| limit.saturating_sub(begun.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ApiError::Running(job.id));
        }
        thread::sleep(left.map_or(pause, |left| left.min(pause)));
        pause = (pause * 2).min(LAST_PAUSE);
        match api.get(&path) {
            Ok(seen) => {
                job = seen;
                heard = Instant::now();
            }
            Err(error) if error.is_unreachable() && heard.elapsed() < GONE_LIMIT => {}
            Err(error) => {
                return Err(ApiError::Lost {
                    id: job.id,
                    source: Box::new(error),
                });
            }
        }
    }
    Ok(job)
}

/// What is done and how far it is, on stderr if that is a terminal.
struct Bar {
    bar: ProgressBar,
    has_length: bool,
}

impl Bar {
    fn start() -> Self {
        let bar = if io::stderr().is_terminal() {
            ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(style(SPINNER));
        Self {
            bar,
            has_length: false,
        }
    }

    fn show(&mut self, job: &Job) {
        let percent = job.progress.percent;
        if percent.is_some() != self.has_length {
            self.has_length = percent.is_some();
            self.bar
                .set_style(style(if self.has_length { BAR } else { SPINNER }));
        }
        self.bar.set_message(format!(
            "{}/{}: {}",
            job.target.vg,
            job.target.lv,
            jobs::doing(job)
        ));
        match percent {
            Some(percent) => self.bar.set_position(whole(percent)),
            None => self.bar.tick(),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are literals of this file")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what a bar can show"
)]
const fn whole(percent: f64) -> u64 {
    percent.clamp(0.0, 100.0) as u64
}
