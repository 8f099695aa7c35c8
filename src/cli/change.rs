//! One change from request to end: what it would lose is shown and confirmed, then its job is waited for.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::client::Request;
use crate::model::action::{Action, Confirmation, Job, JobState, Planned, Reference};
use crate::report::{jobs, snapshots};

use super::api::{self, Api, ApiError};
use super::values::Patience;
use super::wait;

/// As long as the guard itself is asked to wait: most changes are done by then, and need no second request.
const GUARD_WAITS_SECS: u32 = 1;

/// As much of an answer to a question is read.
const ANSWER_BYTES_MAX: u64 = 64;

/// How a change is to be made, whatever it is.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) dry_run: bool,
    /// Nothing for not at all.
    pub(super) wait: Option<Patience>,
    /// Confirmed beforehand.
    pub(super) yes: bool,
    pub(super) key: Option<String>,
}

/// Returns what to tell who asked.
pub(super) fn carry_out(
    api: &mut Api,
    manner: &Manner,
    target: &Reference,
    action: &Action,
) -> Result<String, ApiError> {
    let key = manner.key.clone().map_or_else(api::new_key, Ok)?;
    let mut request = request(target, action);
    request.headers.push(("Idempotency-Key", key.clone()));
    if manner.dry_run {
        request.path.push_str("?dry_run=true");
        let planned: Planned = api.send(request, Duration::ZERO)?;
        return Ok(told_beforehand(&planned));
    }
    if manner.wait.is_some() {
        request.path = format!("{}?wait={GUARD_WAITS_SECS}", request.path);
    }
    let job = match begin(api, &key, request.clone()) {
        Err(error) if error.wants_confirmation() => {
            let Some(body) = confirmation(target, action) else {
                return Err(error);
            };
            let token = confirmed(api, manner, action, target, body)?;
            request.headers.push(("Confirm", token));
            begin(api, &key, request)?
        }
        other => other?,
    };
    match manner.wait {
        Some(patience) => ended(&wait::for_end(api, job, patience)?),
        None if job.state.has_ended() => ended(&job),
        None => Ok(begun(&job)),
    }
}

fn begin(api: &mut Api, key: &str, request: Request) -> Result<Job, ApiError> {
    let wait = Duration::from_secs(GUARD_WAITS_SECS.into());
    api.send(request, wait).map_err(|error| {
        if !error.may_be_done() {
            return error;
        }
        ApiError::Unsure {
            key: key.to_owned(),
            source: Box::new(error),
        }
    })
}

/// Asks for the right to do it, shows what it loses, and lets somebody say no.
fn confirmed(
    api: &mut Api,
    manner: &Manner,
    action: &Action,
    target: &Reference,
    body: Vec<u8>,
) -> Result<String, ApiError> {
    let has_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !manner.yes && !has_terminal {
        return Err(ApiError::Unconfirmed);
    }
    let request = Request {
        method: "POST",
        path: "/confirmations".to_owned(),
        headers: vec![("Idempotency-Key", api::new_key()?)],
        body: Some(body),
    };
    let Confirmation { token, plan, .. } = api.send(request, Duration::ZERO)?;
    // The token is nobody else's.
    api.take_last();
    tell(&snapshots::plan(&plan));
    if manner.yes || is_agreed(&format!("{} {target}? [y/N] ", action.verb())) {
        return Ok(token);
    }
    Err(ApiError::Declined)
}

fn is_agreed(question: &str) -> bool {
    tell(question);
    let mut answer = String::new();
    let stdin = io::stdin().lock();
    let read = stdin.take(ANSWER_BYTES_MAX).read_line(&mut answer);
    let agreed = ["y", "yes"]
        .iter()
        .any(|word| answer.trim().eq_ignore_ascii_case(word));
    read.is_ok() && agreed
}

/// What is not the result goes to stderr; whoever closed that does not want to know.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The request that asks for an action.
fn request(target: &Reference, action: &Action) -> Request {
    // Neither fails: they are maps of texts and numbers.
    let (method, path, body) = match action {
        Action::Create(create) => {
            let path = api::path_of("volumes", target, "/snapshots");
            ("POST", path, Some(json!(create)))
        }
        Action::Extend(extend) => ("POST", below(target, "/extend"), Some(json!(extend))),
        Action::Activate => ("POST", below(target, "/activate"), None),
        Action::Deactivate => ("POST", below(target, "/deactivate"), None),
        Action::Merge(merge) => ("POST", below(target, "/merge"), Some(json!(merge))),
        Action::Remove => ("DELETE", below(target, ""), None),
        Action::Label(label) => ("PATCH", below(target, ""), Some(json!(label))),
    };
    Request {
        method,
        path,
        headers: Vec::new(),
        body: body.map(|body| body.to_string().into_bytes()),
    }
}

fn below(target: &Reference, below: &str) -> String {
    api::path_of("snapshots", target, below)
}

/// Nothing for what needs none.
fn confirmation(target: &Reference, action: &Action) -> Option<Vec<u8>> {
    let (verb, target) = (action.verb(), target.to_string());
    let body = match action {
        Action::Merge(merge) => json!({"action": verb, "target": target, "merge": merge}),
        Action::Remove => json!({"action": verb, "target": target}),
        Action::Create(_)
        | Action::Extend(_)
        | Action::Activate
        | Action::Deactivate
        | Action::Label(_) => return None,
    };
    Some(body.to_string().into_bytes())
}

fn told_beforehand(planned: &Planned) -> String {
    let mut text = snapshots::plan(planned);
    if planned.needs_confirmation {
        text.push_str("  to be confirmed, or given --yes\n");
    }
    text
}

fn begun(job: &Job) -> String {
    let (id, state) = (&job.id, jobs::state(job.state));
    format!("job {id} is {state}: see cowherd jobs {id}\n")
}

fn ended(job: &Job) -> Result<String, ApiError> {
    match (job.state, &job.error) {
        (JobState::Failed | JobState::Interrupted, Some(error)) => {
            Err(ApiError::Failed(error.clone()))
        }
        (JobState::Failed | JobState::Interrupted, None) => {
            Err(ApiError::FailedSilently(job.id.clone()))
        }
        (JobState::Queued | JobState::Running | JobState::Succeeded, _) => Ok(snapshots::done(job)),
    }
}
