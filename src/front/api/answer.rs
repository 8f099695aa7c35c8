//! What callers get back: JSON, or a problem (RFC 9457) that is made of a refusal and nothing else.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tracing::error;

use crate::model::action::{Job, JobState};
use crate::model::refusal::{Code, Refusal};

pub(super) type Answer = Response<Full<Bytes>>;
/// Answers have no way to fail.
pub(super) type Served = Result<Answer, Infallible>;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
/// A job is looked at again after a second, and so is whatever is too busy.
const LATER: HeaderValue = HeaderValue::from_static("1");

/// The body of every answer that is none of 2xx.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: Code,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

/// What is asked for, as it is.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(status, JSON, bytes.into()),
        Err(error) => {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot encode an answer"
            );
            problem(&Refusal::new(Code::Internal, "the answer cannot be put"))
        }
    }
}

/// A text that is JSON already.
pub(super) fn document(text: &'static str) -> Answer {
    typed(StatusCode::OK, JSON, Bytes::from_static(text.as_bytes()))
}

/// One volume, with what it is as its entity tag.
pub(super) fn volume(value: &impl Serialize, uuid: &str) -> Answer {
    let mut answer = json(StatusCode::OK, value);
    set(&mut answer, ETAG, &format!("\"{uuid}\""));
    answer
}

/// A change that goes on.
pub(super) fn accepted(job: &Job) -> Answer {
    let mut answer = json(StatusCode::ACCEPTED, job);
    set(&mut answer, LOCATION, &path(job));
    answer.headers_mut().insert(RETRY_AFTER, LATER);
    answer
}

/// A change that has ended, well or not.
pub(super) fn ended(status: StatusCode, job: &Job) -> Answer {
    if job.state != JobState::Succeeded {
        let unknown = || Refusal::new(Code::Internal, "it failed, and nobody said why");
        let refusal = job.error.clone().unwrap_or_else(unknown);
        return problem_of(&refusal, Some(path(job)));
    }
    let mut answer = json(status, job);
    let made = job.result.as_ref().and_then(|made| made.snapshot.as_ref());
    if let Some(made) = made.filter(|_| status == StatusCode::CREATED) {
        set(
            &mut answer,
            LOCATION,
            &format!("/api/v1/snapshots/{}", made.uuid),
        );
    }
    answer
}

pub(super) fn problem(refusal: &Refusal) -> Answer {
    problem_of(refusal, None)
}

/// Of a path that has other methods.
pub(super) fn with_methods(mut answer: Answer, methods: &str) -> Answer {
    set(&mut answer, ALLOW, methods);
    answer
}

/// The last one on its connection.
pub(super) fn last(mut answer: Answer) -> Answer {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

/// A whole answer in bytes, for a connection that nobody speaks HTTP on.
pub(super) fn raw(refusal: &Refusal) -> Vec<u8> {
    let (bytes, code) = (encoded(refusal, None), refusal.code);
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {PROBLEM}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
        code.status(),
        code.title(),
        bytes.len(),
        if code.is_retryable() {
            "Retry-After: 1\r\n"
        } else {
            ""
        }
    );
    [head.into_bytes(), bytes].concat()
}

fn problem_of(refusal: &Refusal, instance: Option<String>) -> Answer {
    let status = StatusCode::from_u16(refusal.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = typed(status, PROBLEM, encoded(refusal, instance).into());
    if refusal.code.is_retryable() {
        answer.headers_mut().insert(RETRY_AFTER, LATER);
    }
    if refusal.code == Code::Unauthenticated {
        let bearer = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    answer
}

fn encoded(refusal: &Refusal, instance: Option<String>) -> Vec<u8> {
    let problem = Problem {
        r#type: format!("urn:cowherd:problem:{}", refusal.code.label()),
        title: refusal.code.title(),
        status: refusal.code.status(),
        detail: &refusal.detail,
        code: refusal.code,
        retryable: refusal.code.is_retryable(),
        instance,
    };
    // Texts, numbers and names: that cannot fail.
    serde_json::to_vec(&problem).unwrap_or_default()
}

fn typed(status: StatusCode, kind: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::<Bytes>::from(bytes));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

fn path(job: &Job) -> String {
    format!("/api/v1/jobs/{}", job.id)
}

/// What cannot stand in a header is left out: the guard made it, and the body has it too.
fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
