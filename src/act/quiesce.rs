//! Has applications hold still, by hooks of the administrator's, and lets them go.
//!
//! Each hook has a keeper: a thread on the host that starts its program, and lets go at the hook's deadline whatever
//! whoever asked for it is at. Letting go is dropping something, so it cannot be forgotten: the pipe to a hook that
//! holds, a channel to the keeper of a pair. What a pair did to an application outlives this process, so a lease on
//! disk tells the next guard.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{self, Finished, Leash, Said, Setting, Started};
use crate::model::cause::chain;
use crate::model::names::Name;
use crate::model::quiesce::{HookEnd, HookKind, HookRun, QuiesceHook, READY};
use crate::model::relief::Hook;
use crate::model::time::UnixSeconds;

use super::hook::{enter, trusted};
use super::lease::{Lease, Leases};

/// Beyond what a program is given: for it to be killed, and for the host's disk to give it.
const SLACK: Duration = Duration::from_secs(10);
const STACK: usize = 256 << 10;

/// For whom applications hold still.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The mount namespace in which hooks run, where it is another one.
    pub host: Option<PathBuf>,
    pub leases: Leases,
    pub job: String,
    pub group: Name,
    /// What the snapshots are of, as `VG/LV` with spaces between.
    pub volumes: String,
    pub now: UnixSeconds,
}

/// A hook that was asked.
#[derive(Debug)]
pub struct Asked {
    name: Name,
    max_hold: Duration,
    answer: Result<Ready, Unready>,
    /// Lets a pair go when it is dropped.
    word: SyncSender<()>,
    end: Receiver<End>,
    limit: Duration,
}

#[derive(Debug)]
struct Ready {
    /// When it may have begun to hold.
    since: Instant,
    at: Instant,
    /// Of one that holds by itself.
    leash: Option<Leash>,
}

#[derive(Debug)]
struct Unready {
    why: String,
    stuck: Option<String>,
}

/// How a hook that was ready ended.
#[derive(Debug)]
struct End {
    at: Instant,
    lost: Option<String>,
    stuck: Option<String>,
}

/// A hook that was let go.
#[derive(Debug)]
pub struct Released {
    pub run: HookRun,
    /// When it held.
    pub span: Option<(Instant, Instant)>,
}

/// Asks a hook, and waits until it is ready or will not be.
#[must_use]
pub fn ask(scope: &Scope, hook: &QuiesceHook) -> Asked {
    let (told, answer) = sync_channel(1);
    let (ended, end) = sync_channel(1);
    let (word, let_go) = sync_channel(1);
    let keeper = Keeper {
        scope: scope.clone(),
        hook: hook.clone(),
        told,
        ended,
    };
    let name = hook.name.clone();
    let started = thread::Builder::new()
        .name("hook".to_owned())
        .stack_size(STACK)
        .spawn(move || keeper.keep(&let_go));
    let limit = hook.ready + hook.ready + SLACK;
    let answer = match started {
        Ok(_) => answer.recv_timeout(limit).unwrap_or_else(|_| {
            Err(Unready {
                why: "the host does not answer".to_owned(),
                stuck: None,
            })
        }),
        Err(error) => Err(Unready {
            why: format!("start a thread: {error}"),
            stuck: None,
        }),
    };
    Asked {
        name,
        max_hold: hook.max_hold,
        answer,
        word,
        end,
        limit: hook.max_hold + hook.ready + SLACK,
    }
}

impl Asked {
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.answer.is_ok()
    }

    /// As far as can be told before it is let go.
    #[must_use]
    pub fn still_holds(&self) -> bool {
        let holds = |ready: &Ready| ready.is_alive() && !ready.is_late(self.max_hold);
        self.answer.as_ref().is_ok_and(holds)
    }

    /// Lets it go, and waits until it has.
    #[must_use]
    pub fn release(self) -> Released {
        let Self { name, answer, .. } = self;
        let ready = match answer {
            Ok(ready) => ready,
            Err(Unready { why, stuck }) => {
                let end = HookEnd::Unready(why);
                let run = HookRun { name, end, stuck };
                return Released { run, span: None };
            }
        };
        let (is_alive, is_late) = (ready.is_alive(), ready.is_late(self.max_hold));
        drop((ready.leash, self.word));
        let end = self.end.recv_timeout(self.limit).unwrap_or_else(|_| End {
            at: Instant::now(),
            lost: Some("what became of it cannot be told".to_owned()),
            stuck: Some("it has not let go".to_owned()),
        });
        let lost = if is_late {
            Some(held_too_long(self.max_hold))
        } else if is_alive {
            end.lost
        } else {
            let how = end.lost.unwrap_or_else(|| "it ended by itself".to_owned());
            Some(format!("it ended before it was let go: {how}"))
        };
        let run = HookRun {
            name,
            end: lost.map_or(HookEnd::Held, HookEnd::Lost),
            stuck: end.stuck,
        };
        Released {
            run,
            span: Some((ready.since, end.at)),
        }
    }
}

impl Ready {
    fn is_alive(&self) -> bool {
        self.leash.as_ref().is_none_or(Leash::is_alive)
    }

    fn is_late(&self, max_hold: Duration) -> bool {
        self.at.elapsed() > max_hold
    }
}

/// Lets go what former guards left, and tells what cannot be, a line each. `hooks` are those of the configuration.
#[must_use]
pub fn run_down(
    host: Option<PathBuf>,
    leases: Leases,
    hooks: Vec<QuiesceHook>,
) -> Vec<(bool, String)> {
    let (told, lines) = sync_channel(1);
    let limit = hooks
        .iter()
        .map(|hook| hook.ready + SLACK)
        .sum::<Duration>()
        + SLACK;
    let started = thread::Builder::new()
        .name("leases".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // Who does not wait any longer does not tell of it either.
            let _ = told.send(run_all_down(host.as_deref(), &leases, &hooks));
        });
    let gone = |why: String| vec![(false, format!("look for leases: {why}"))];
    match started {
        Ok(_) => lines
            .recv_timeout(limit)
            .unwrap_or_else(|_| gone("the host does not answer".to_owned())),
        Err(error) => gone(error.to_string()),
    }
}

fn run_all_down(
    host: Option<&Path>,
    leases: &Leases,
    hooks: &[QuiesceHook],
) -> Vec<(bool, String)> {
    if let Err(error) = host.map(enter).transpose() {
        return vec![(false, format!("go to the host: {error}"))];
    }
    let left = leases.left_over().into_iter();
    left.map(|lease| match lease {
        Ok(lease) => {
            let named = format!("hook {} of job {}", lease.hook, lease.job);
            match run_one_down(host, leases, hooks, &lease) {
                Ok(()) => (true, named),
                Err(why) => (false, format!("{named}: {why}")),
            }
        }
        Err(error) => (false, chain(&error)),
    })
    .collect()
}

fn run_one_down(
    host: Option<&Path>,
    leases: &Leases,
    hooks: &[QuiesceHook],
    lease: &Lease,
) -> Result<(), String> {
    let hook = hooks.iter().find(|hook| hook.name == lease.hook);
    let Some((hook, HookKind::Pair { after, .. })) = hook.map(|hook| (hook, &hook.kind)) else {
        return Err("no such pair is configured any more, so its `after` is not known".to_owned());
    };
    // It would hold what has just been let go. The guard may have been killed before it could note it.
    let before = lease.before.map_or_else(
        || {
            command::strangers_with(&[
                ("COWHERD_HOOK", hook.name.as_str()),
                ("COWHERD_JOB", &lease.job),
            ])
        },
        |before| vec![before],
    );
    before.into_iter().for_each(command::end_stranger);
    let scope = Scope {
        job: lease.job.clone(),
        group: lease.group.clone(),
        volumes: lease.volumes.clone(),
        host: host.map(Path::to_owned),
        leases: leases.clone(),
        now: lease.deadline,
    };
    let (started, rein) = scope.start(hook, after, false)?;
    drop(rein);
    finish(started, hook.ready)?;
    let removed = leases.remove(lease);
    removed.map_err(|error| chain(&error))
}

/// Of one hook, on a thread of its own.
struct Keeper {
    scope: Scope,
    hook: QuiesceHook,
    told: SyncSender<Result<Ready, Unready>>,
    ended: SyncSender<End>,
}

impl Keeper {
    fn keep(self, let_go: &Receiver<()>) {
        let entered = self.scope.host.as_deref().map(enter).transpose();
        let kept = match (entered, &self.hook.kind) {
            (Err(error), _) => Err(Unready {
                why: format!("go to the host: {error}"),
                stuck: None,
            }),
            (Ok(_), HookKind::Hold { command }) => self.hold(command),
            (Ok(_), HookKind::Pair { before, after }) => self.pair(before, after, let_go),
        };
        match kept {
            // Who does not wait any longer has taken it for what it says.
            Ok(end) => drop(self.ended.send(end)),
            Err(unready) => drop(self.told.send(Err(unready))),
        }
    }

    fn hold(&self, command: &Hook) -> Result<End, Unready> {
        let unready = |why| Unready { why, stuck: None };
        let ready = self.hook.ready;
        let started = self.scope.start(&self.hook, command, true);
        let (mut started, leash) = started.map_err(unready)?;
        let said = started.wait_line(READY, ready);
        match said.map_err(|error| unready(chain(&error)))? {
            Said::TheLine => {}
            Said::Nothing => {
                let why = finish(started, ready);
                let why = why.err().unwrap_or_else(|| "exit status 0".to_owned());
                return Err(unready(format!("it ended without {READY}: {why}")));
            }
            Said::TooLate => {
                drop(leash);
                // It is asked to end at once, and its end is as good as any.
                let _ = started.wait_end(Duration::ZERO);
                let why = format!("it did not say {READY} within {} s", ready.as_secs());
                return Err(unready(why));
            }
        }
        // If nobody takes the leash it is dropped.
        let now = Instant::now();
        let _ = self.told.send(Ok(Ready {
            since: now,
            at: now,
            leash: Some(leash),
        }));
        let end = finish(started, self.hook.max_hold);
        Ok(End {
            at: Instant::now(),
            lost: end.err(),
            stuck: None,
        })
    }

    fn pair(&self, before: &Hook, after: &Hook, let_go: &Receiver<()>) -> Result<End, Unready> {
        let hook = &self.hook;
        let mut lease = self.scope.lease(hook);
        let written = self.scope.leases.write(&lease);
        written.map_err(|error| Unready {
            why: chain(&error),
            stuck: None,
        })?;
        let since = Instant::now();
        let asked = self.run_before(before, &mut lease);
        if let Err(why) = asked {
            let stuck = self.run_after(after, &lease);
            return Err(Unready { why, stuck });
        }
        let _ = self.told.send(Ok(Ready {
            since,
            at: Instant::now(),
            leash: None,
        }));
        let is_overdue = let_go.recv_timeout(hook.max_hold) == Err(RecvTimeoutError::Timeout);
        let stuck = self.run_after(after, &lease);
        Ok(End {
            at: Instant::now(),
            lost: is_overdue.then(|| held_too_long(hook.max_hold)),
            stuck,
        })
    }

    fn run_before(&self, before: &Hook, lease: &mut Lease) -> Result<(), String> {
        let (started, rein) = self.scope.start(&self.hook, before, false)?;
        drop(rein);
        lease.before = started.stranger();
        let noted = self.scope.leases.write(lease);
        let ended = finish(started, self.hook.ready);
        lease.before = None;
        noted.map_err(|error| chain(&error))?;
        ended.map_err(|why| format!("`before`: {why}"))
    }

    fn run_after(&self, after: &Hook, lease: &Lease) -> Option<String> {
        let started = self.scope.start(&self.hook, after, false);
        let ended = started.and_then(|(started, rein)| {
            drop(rein);
            finish(started, self.hook.ready)
        });
        match ended {
            Ok(()) => {
                let removed = self.scope.leases.remove(lease);
                removed.err().map(|error| chain(&error))
            }
            Err(why) => Some(format!(
                "`after`: {why}; it is run again when the guard next starts"
            )),
        }
    }
}

impl Scope {
    fn lease(&self, hook: &QuiesceHook) -> Lease {
        let longest = hook.ready + hook.max_hold;
        Lease {
            hook: hook.name.clone(),
            job: self.job.clone(),
            group: self.group.clone(),
            volumes: self.volumes.clone(),
            deadline: UnixSeconds(self.now.0 + longest.as_secs_f64()),
            before: None,
        }
    }

    fn start(
        &self,
        hook: &QuiesceHook,
        program: &Hook,
        is_alone: bool,
    ) -> Result<(Started, Leash), String> {
        let real = trusted(Path::new(&program.program))?;
        let variables = [
            ("COWHERD_HOOK", hook.name.as_str()),
            ("COWHERD_JOB", &self.job),
            ("COWHERD_VG", self.group.as_str()),
            ("COWHERD_VOLUMES", &self.volumes),
        ];
        let setting = Setting {
            variables: &variables,
            identity: hook.identity,
            is_alone,
        };
        let started = command::start(&setting, &real, &program.arguments);
        started.map_err(|error| chain(&error))
    }
}

/// Waits for a good end.
fn finish(started: Started, limit: Duration) -> Result<(), String> {
    let finished: Finished = started.wait_end(limit).map_err(|error| chain(&error))?;
    if finished.overdue {
        Err(overdue(limit))
    } else if finished.status.success() {
        Ok(())
    } else {
        Err(finished.complaint())
    }
}

fn held_too_long(limit: Duration) -> String {
    format!(
        "it was held for more than {} s, and let go",
        limit.as_secs()
    )
}

fn overdue(limit: Duration) -> String {
    format!(
        "it was not done within {} s, and was stopped",
        limit.as_secs()
    )
}
