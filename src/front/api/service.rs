//! One request, from its first line to its answer.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode, Version};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout, timeout_at};

use crate::model::action::{Act, Action, Caller, Job, Question, Reply, VolumeView};
use crate::model::bucket::{Bucket, RateLimit};
use crate::model::refusal::{Code, Refusal};

use super::answer::{self, Answer, Served};
use super::asks::Asks;
use super::buckets::{Buckets, Taken};
use super::guest::Guest;
use super::request::{self, BODY_BYTES_MAX, Call, Head, Hosts};
use super::strikes::Strikes;
use super::{DOCUMENT, volumes};

/// Sixteen KiB over a socket on this host.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// A waiting request asks for its job so often, and then less.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// As much of a request's line is put on record.
const LINE_CHARS_MAX: usize = 256;
/// Of refusals of those whom nobody knows so many are put on record, and then one in each interval: a day of them is
/// less than half of what a guard reads of the journal of its predecessor. The guard would leave the others out, too;
/// here it does not even hear of them.
const STRANGERS_ON_RECORD: RateLimit = RateLimit {
    interval: Duration::from_secs(15),
    burst: 40,
};

#[derive(Debug)]
pub(super) struct Service {
    asks: Asks,
    buckets: Buckets,
    strikes: Strikes,
    strangers: Bucket,
}

/// Who asks, and how it began.
struct Asker<'a> {
    caller: &'a Caller,
    line: String,
}

#[derive(Debug, Serialize)]
struct Known {
    version: &'static str,
    api: &'static str,
}

impl Service {
    pub(super) fn new(asks: Asks) -> Self {
        Self {
            asks,
            buckets: Buckets::default(),
            strikes: Strikes::default(),
            strangers: Bucket::new(STRANGERS_ON_RECORD, Instant::now()),
        }
    }

    pub(super) async fn serve(&self, caller: &Caller, request: Request<Incoming>) -> Served {
        let line = line(request.method(), &target(&request));
        let asker = Asker { caller, line };
        self.serve_known(&asker, Hosts::Local, request).await
    }

    /// Whoever it is is found out first: of others not even what is wrong with their requests is told.
    pub(super) async fn serve_guest(&self, guest: &Guest, request: Request<Incoming>) -> Served {
        let target = target(&request);
        let (path, _) = target.split_once('?').unwrap_or((&target, ""));
        // What does not belong into a query may be there all the same, such as a token.
        let line = line(request.method(), path);
        let address = guest.address;
        let stranger = Asker {
            caller: &Caller::Stranger { address },
            line: line.clone(),
        };
        let refusal = match self.admit(&stranger, guest, request.headers()).await {
            Ok(caller) => {
                let asker = Asker {
                    caller: &caller,
                    line,
                };
                return self.serve_known(&asker, Hosts::Any, request).await;
            }
            Err(refusal) => refusal,
        };
        let is_noted =
            request::wants_change(request.method(), &target) && self.strangers.take(Instant::now());
        Ok(self.refuse(&stranger, &refusal, is_noted))
    }

    async fn admit(
        &self,
        stranger: &Asker<'_>,
        guest: &Guest,
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        let address = guest.address;
        if !self.strikes.may_try(address, Instant::now()) {
            let detail = "too many failures from this address: ask again in a second";
            return Err(Refusal::new(Code::RateLimited, detail));
        }
        let admitted = match guest.shown(headers) {
            Ok(shown) => self.ask(stranger, Question::Admit(shown)).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok(Reply::Admitted(caller)) => Ok(caller),
            Ok(other) => Err(mistaken(&other)),
            Err(refusal) => {
                if [Code::Unauthenticated, Code::Forbidden].contains(&refusal.code) {
                    self.strikes.strike(address, Instant::now());
                }
                Err(refusal)
            }
        }
    }

    async fn serve_known(
        &self,
        asker: &Asker<'_>,
        hosts: Hosts,
        request: Request<Incoming>,
    ) -> Served {
        let target = target(&request);
        let method = request.method().clone();
        let wants_change = request::wants_change(&method, &target);
        if wants_change {
            let taken = self.buckets.take(asker.caller, Instant::now());
            if taken != Taken::Token {
                let refusal =
                    Refusal::new(Code::RateLimited, "too many changes: ask again in a second");
                // A flood of them would bury what is on record.
                return Ok(self.refuse(asker, &refusal, taken == Taken::Spent));
            }
        }
        match understand(request, &target, hosts).await {
            Ok(call) => Ok(self.answer(asker, call).await),
            Err(refusal) => {
                let answer = self.refuse(asker, &refusal, wants_change);
                Ok(match request::allowed(&method, &target) {
                    Some(methods) if refusal.code == Code::MethodNotAllowed => {
                        answer::with_methods(answer, &methods)
                    }
                    Some(_) | None => answer,
                })
            }
        }
    }

    /// What is left of the request is not read: its connection ends.
    fn refuse(&self, asker: &Asker<'_>, refusal: &Refusal, is_noted: bool) -> Answer {
        if is_noted {
            self.asks.note(asker.caller, &asker.line, refusal);
        }
        answer::last(answer::problem(refusal))
    }

    async fn answer(&self, asker: &Asker<'_>, call: Call) -> Answer {
        match self.answered(asker, call).await {
            Ok(answer) => answer,
            Err(refusal) => answer::problem(&refusal),
        }
    }

    async fn answered(&self, asker: &Asker<'_>, call: Call) -> Result<Answer, Refusal> {
        match call {
            Call::Version => Ok(answer::json(StatusCode::OK, &Known::now())),
            Call::Document => Ok(answer::document(DOCUMENT)),
            Call::Jobs => {
                let reply = self.ask(asker, Question::Jobs).await?;
                let Reply::Jobs(jobs) = reply else {
                    return Err(mistaken(&reply));
                };
                Ok(answer::json(StatusCode::OK, &jobs))
            }
            Call::Job(id) => {
                let job = self.job(asker, Question::Job(id)).await?;
                Ok(answer::json(StatusCode::OK, &job))
            }
            Call::Change { act, wait } => self.change(asker, act, wait).await,
            Call::Confirm(act) => {
                let reply = self.ask(asker, Question::Confirm(act)).await?;
                let Reply::Confirmation(given) = reply else {
                    return Err(mistaken(&reply));
                };
                Ok(answer::json(StatusCode::CREATED, &given))
            }
            Call::Volumes { .. }
            | Call::Volume(_)
            | Call::SnapshotsOf(_)
            | Call::Snapshots { .. }
            | Call::Snapshot(_) => {
                let volumes = self.volumes(asker).await?;
                // Thousands of volumes take milliseconds to put: metrics wait for nobody.
                let put = spawn_blocking(move || volumes::put(&call, volumes)).await;
                put.unwrap_or_else(|_| {
                    Err(Refusal::new(Code::Internal, "the volumes cannot be put"))
                })
            }
        }
    }

    async fn change(
        &self,
        asker: &Asker<'_>,
        act: Act,
        wait: Option<Duration>,
    ) -> Result<Answer, Refusal> {
        let makes = matches!(act.action, Action::Create(_));
        let (job, is_new) = match self.ask(asker, Question::Act(act)).await? {
            Reply::Plan(plan) => return Ok(answer::json(StatusCode::OK, &plan)),
            Reply::Job { job, is_new } => (*job, is_new),
            other @ (Reply::Volumes(_)
            | Reply::Jobs(_)
            | Reply::Confirmation(_)
            | Reply::Admitted(_)
            | Reply::Noted) => {
                return Err(mistaken(&other));
            }
        };
        let done = if makes && is_new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        match wait {
            None if is_new => Ok(answer::accepted(&job)),
            None => Ok(answer::json(StatusCode::OK, &job)),
            Some(wait) => {
                let job = self.awaited(asker, job, wait).await;
                Ok(if job.state.has_ended() {
                    answer::ended(done, &job)
                } else {
                    answer::accepted(&job)
                })
            }
        }
    }

    /// The job when it has ended or the time is over. It has been accepted: that the guard does not answer
    /// meanwhile is no failure of the job's.
    async fn awaited(&self, asker: &Asker<'_>, mut job: Job, wait: Duration) -> Job {
        let deadline = tokio::time::Instant::now() + wait;
        let mut pause = LOOK_FIRST;
        while !job.state.has_ended() {
            let look = async {
                sleep(pause).await;
                self.job(asker, Question::Job(job.id.clone())).await
            };
            match timeout_at(deadline, look).await {
                Ok(Ok(latest)) => job = latest,
                Ok(Err(_)) => {}
                Err(_) => break,
            }
            pause = (pause * 2).min(LOOK_MAX);
        }
        job
    }

    async fn job(&self, asker: &Asker<'_>, question: Question) -> Result<Job, Refusal> {
        let reply = self.ask(asker, question).await?;
        let Reply::Job { job, .. } = reply else {
            return Err(mistaken(&reply));
        };
        Ok(*job)
    }

    async fn volumes(&self, asker: &Asker<'_>) -> Result<Vec<VolumeView>, Refusal> {
        let reply = self.ask(asker, Question::Volumes).await?;
        let Reply::Volumes(volumes) = reply else {
            return Err(mistaken(&reply));
        };
        Ok(volumes)
    }

    async fn ask(&self, asker: &Asker<'_>, question: Question) -> Result<Reply, Refusal> {
        self.asks.ask(asker.caller, &asker.line, question).await
    }
}

impl Known {
    const fn now() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            api: "v1",
        }
    }
}

/// The guard has answered another question.
fn mistaken(reply: &Reply) -> Refusal {
    tracing::error!(?reply, "the guard gave an answer of another kind");
    Refusal::new(Code::Internal, "the guard gave an answer of another kind")
}

/// Reads no more of a request than it takes to refuse it.
async fn understand(
    request: Request<Incoming>,
    target: &str,
    hosts: Hosts,
) -> Result<Call, Refusal> {
    if request.version() != Version::HTTP_11 {
        let detail = "the version of HTTP: expected HTTP/1.1";
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    let (parts, body) = request.into_parts();
    let length = body.size_hint().lower();
    let head = Head::parse(&parts.method, target, &parts.headers, length, hosts)?;
    head.call(&read(body).await?)
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let refused = |code, detail: &str| Err(Refusal::new(code, detail));
    match timeout(BODY_LIMIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => refused(
            Code::InvalidRequest,
            "the body does not come as it was announced",
        ),
        Err(_) => refused(Code::InvalidRequest, "the body has not come within 10 s"),
    }
}

/// As it stands in the first line. One with a host in it is not one of ours, whatever its path.
fn target(request: &Request<Incoming>) -> String {
    let uri = request.uri();
    match uri.path_and_query() {
        Some(path) if uri.authority().is_none() => path.to_string(),
        Some(_) | None => uri.to_string(),
    }
}

/// The request's line as it is put on record: a URI is printable, so this is.
fn line(method: &Method, target: &str) -> String {
    format!("{method} {target}")
        .chars()
        .map(|letter| {
            if letter.is_ascii_graphic() || letter == ' ' {
                letter
            } else {
                '?'
            }
        })
        .take(LINE_CHARS_MAX)
        .collect()
}
