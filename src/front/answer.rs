//! The routes, and the answer to each: a function of the request's line and the latest view.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use crate::report::metrics::Format;
use crate::report::page;

use super::gzip::{self, Part};
use super::published::Published;
use super::web::Refusal;

/// The guard publishes every second: after a minute nobody should rely on what is shown.
const READY_AGE_MAX: Duration = Duration::from_secs(60);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// The page has a style of its own and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
/// Names and passwords in UTF-8 (RFC 7617).
const CHALLENGE: &str = "Basic realm=\"cowherd\", charset=\"UTF-8\"";
const NOT_YET: &str = "the guard has not published yet\n";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Metrics,
    Status,
    Healthy,
    Ready,
    Unknown,
}

/// What is known when a request is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) published: Option<&'a Published>,
    pub(super) telemetry_path: &'a str,
    /// The front's own families, to follow those of the view.
    pub(super) traffic: &'a str,
    /// The client takes gzip.
    pub(super) takes_gzip: bool,
    /// The format of metrics that it wants.
    pub(super) format: Format,
}

/// A body in pieces that are shared with every other answer.
#[derive(Debug, Default)]
pub(super) struct Pieces(VecDeque<Bytes>);

impl Route {
    pub(super) const ALL: [Self; 6] = [
        Self::Page,
        Self::Metrics,
        Self::Status,
        Self::Healthy,
        Self::Ready,
        Self::Unknown,
    ];

    pub(super) fn of(path: &str, telemetry_path: &str) -> Self {
        match path {
            path if path == telemetry_path => Self::Metrics,
            "/" => Self::Page,
            "/status.json" => Self::Status,
            "/-/healthy" => Self::Healthy,
            "/-/ready" => Self::Ready,
            _ => Self::Unknown,
        }
    }

    /// The value of the `handler` label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Metrics => "metrics",
            Self::Status => "status",
            Self::Healthy => "healthy",
            Self::Ready => "ready",
            Self::Unknown => "unknown",
        }
    }
}

/// The answer to a request for `route`; a hyper server leaves the body of an answer to HEAD out.
pub(super) fn answer(
    method: &Method,
    has_body: bool,
    route: Route,
    known: Known<'_>,
) -> Response<Pieces> {
    let mut response = if method != Method::GET && method != Method::HEAD {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        set(&mut response, ALLOW, "GET, HEAD");
        response
    } else if has_body {
        text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a request here has no body\n".to_owned(),
        )
    } else {
        routed(route, known)
    };
    finish(&mut response, has_body);
    response
}

/// What every answer has.
fn finish(response: &mut Response<Pieces>, has_body: bool) {
    if has_body {
        // What follows in the stream is the body: nobody reads it.
        set(response, CONNECTION, "close");
    }
    set(response, CACHE_CONTROL, "no-store");
    set(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
}

/// The answer to a request that is not admitted.
pub(super) fn refused(refusal: Refusal, has_body: bool) -> Response<Pieces> {
    let (status, why) = match refusal {
        Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized\n"),
        Refusal::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many passwords wait to be checked\n",
        ),
    };
    let mut response = text(status, why.to_owned());
    match refusal {
        Refusal::TooMany | Refusal::Busy => set(&mut response, RETRY_AFTER, "1"),
        Refusal::Unauthorized => set(&mut response, WWW_AUTHENTICATE, CHALLENGE),
    }
    finish(&mut response, has_body);
    response
}

fn routed(route: Route, known: Known<'_>) -> Response<Pieces> {
    match route {
        Route::Page => page(known),
        Route::Metrics => metrics(known),
        Route::Status => status(known),
        Route::Healthy => text(StatusCode::OK, "healthy\n".to_owned()),
        Route::Ready => ready(known),
        Route::Unknown => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn page(known: Known<'_>) -> Response<Pieces> {
    let page = known.published.map(|view| view.page(known.telemetry_path));
    let mut response = match page {
        Some(Some(parts)) => packed(known, HTML, parts.into()),
        Some(None) => failed(),
        None => respond(
            StatusCode::SERVICE_UNAVAILABLE,
            HTML,
            [page::waiting().into()].into(),
        ),
    };
    set(&mut response, CONTENT_SECURITY_POLICY, POLICY);
    response
}

fn metrics(known: Known<'_>) -> Response<Pieces> {
    let Some(published) = known.published else {
        return text(StatusCode::SERVICE_UNAVAILABLE, NOT_YET.to_owned());
    };
    match published.metrics(known.format, known.takes_gzip) {
        Some(families) => {
            let traffic = Bytes::copy_from_slice(known.traffic.as_bytes());
            let parts = vec![Part::Shared(families), Part::Own(traffic)];
            packed(known, known.format.content_type(), parts)
        }
        None => failed(),
    }
}

fn status(known: Known<'_>) -> Response<Pieces> {
    match known.published.map(Published::json) {
        Some(Some(json)) => packed(known, JSON, vec![Part::Shared(json)]),
        Some(None) => failed(),
        None => text(StatusCode::SERVICE_UNAVAILABLE, NOT_YET.to_owned()),
    }
}

fn ready(known: Known<'_>) -> Response<Pieces> {
    let Some(published) = known.published else {
        return text(StatusCode::SERVICE_UNAVAILABLE, NOT_YET.to_owned());
    };
    if published.is_orphaned() {
        let why = "the guard is gone\n".to_owned();
        return text(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    let age = published.age();
    if age > READY_AGE_MAX {
        let why = format!("the guard has been silent for {} s\n", age.as_secs());
        return text(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    text(StatusCode::OK, "ready\n".to_owned())
}

/// The format that a client names with the larger weight (RFC 9110, 12.5.1): `OpenMetrics` only if it is named.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).into_iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let (mut text, mut open) = (0.0, 0.0);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parameters = range.split(';').map(str::trim);
        let place = match parameters.next() {
            Some("application/openmetrics-text") => &mut open,
            Some("text/plain") => &mut text,
            Some(_) | None => continue,
        };
        let weight = parameters.find_map(|parameter| parameter.strip_prefix("q="));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        *place = f64::max(*place, weight);
    }
    if open > 0.0 && open >= text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// Whether a client takes gzip (RFC 9110, 12.5.3): it is named, by itself or by a star, and not with a weight of 0.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut star) = (None, None);
    let accepted = headers.get_all(ACCEPT_ENCODING).into_iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    for coding in accepted.flat_map(|value| value.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").unwrap_or_default();
        let is_wanted = weight.parse().unwrap_or(0.0) > 0.0;
        match name.trim() {
            "*" => star = Some(is_wanted),
            name if ["gzip", "x-gzip"]
                .iter()
                .any(|gzip| name.eq_ignore_ascii_case(gzip)) =>
            {
                gzip = Some(is_wanted);
            }
            _ => {}
        }
    }
    gzip.or(star).unwrap_or(false)
}

/// Compressed for whoever takes it so.
fn packed(known: Known<'_>, content_type: &'static str, parts: Vec<Part<'_>>) -> Response<Pieces> {
    let gzip = known.takes_gzip.then(|| gzip::gzip(&parts)).flatten();
    let is_packed = gzip.is_some();
    let pieces = gzip.unwrap_or_else(|| gzip::plain(parts));
    let mut response = respond(StatusCode::OK, content_type, pieces);
    if is_packed {
        set(&mut response, CONTENT_ENCODING, "gzip");
    }
    set(&mut response, VARY, "Accept, Accept-Encoding");
    response
}

fn failed() -> Response<Pieces> {
    let why = "cannot be told, see the log of the front\n";
    text(StatusCode::INTERNAL_SERVER_ERROR, why.to_owned())
}

fn text(status: StatusCode, text: String) -> Response<Pieces> {
    respond(status, TEXT, [Bytes::from(text)].into())
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    pieces: VecDeque<Bytes>,
) -> Response<Pieces> {
    let mut response = Response::new(Pieces(pieces));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, content_type);
    response
}

fn set(response: &mut Response<Pieces>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes: usize = self.0.iter().map(Bytes::len).sum();
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_whoever_prefers_it() {
        // What Prometheus 2 and 3 send, and what others do.
        for (accepted, expected) in [
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5",
                Format::Text,
            ),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text; q=x", Format::Text),
            ("text/plain", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
        ] {
            let value = HeaderValue::from_static(accepted);
            let headers = HeaderMap::from_iter([(ACCEPT, value)]);
            assert_eq!(format(&headers), expected, "{accepted:?}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn gzip_is_taken_by_whoever_says_so() {
        for (accepted, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0, *", false),
            ("*;q=0", false),
            ("gzip;level=9", false),
            ("gzipped", false),
        ] {
            let value = HeaderValue::from_static(accepted);
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value)]);
            assert_eq!(takes_gzip(&headers), expected, "{accepted:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
