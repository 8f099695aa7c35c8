//! From a request to what it asks for: pure, total, and strict. What is not understood is refused.
//!
//! The head is checked before any of the body is read, so that nobody is listened to in vain.

use std::time::Duration;

use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    IF_MATCH, ORIGIN, TRANSFER_ENCODING,
};

use crate::model::action::{Act, Action, Reference};
use crate::model::bounds::{self, shown};
use crate::model::names::{Name, Uuid};
use crate::model::refusal::{Code, Refusal};
use crate::model::volume::VolumeKind;

use super::query::Query;
use super::route::{self, Found, Operation, Wants};
use super::{body, named};

/// The largest body that makes sense has 2 KiB.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;
/// A request of a careful client has ten.
pub(super) const HEADERS_MAX: usize = 32;
/// Whom a request may be meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Only this host: a page in a browser that was led here names another (DNS rebinding).
    Local,
    /// Any: whoever comes over TLS has seen a certificate for the name that was asked for, so nobody can be led
    /// here under another.
    Any,
}

/// Names that a client on this host uses.
const HOSTS: [&str; 3] = ["localhost", "cowherd", ""];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CONFIRM: HeaderName = HeaderName::from_static("confirm");
/// Two of these would be a choice, and whoever stands between might choose otherwise.
const ONCE: [HeaderName; 9] = [
    HOST,
    ORIGIN,
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    IF_MATCH,
    IDEMPOTENCY_KEY,
    CONFIRM,
];

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Version,
    Document,
    Volumes {
        vg: Option<Name>,
        kind: Option<VolumeKind>,
    },
    Volume(Reference),
    SnapshotsOf(Reference),
    Snapshots {
        vg: Option<Name>,
        origin: Option<Reference>,
    },
    Snapshot(Reference),
    Jobs,
    Job(String),
    Change {
        act: Act,
        /// For how long to wait for its end.
        wait: Option<Duration>,
    },
    Confirm(Act),
}

/// All of a request but its body, understood.
#[derive(Debug)]
pub(super) struct Head<'a> {
    operation: Operation,
    id: &'a str,
    query: Query,
    key: Option<String>,
    if_match: Option<Uuid>,
    confirm: Option<String>,
}

/// Understands a request; `target` is what stands in its first line.
///
/// # Errors
/// Names the first thing that is not taken.
pub fn parse(
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Call, Refusal> {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    Head::parse(method, target, headers, length, Hosts::Local)?.call(body)
}

/// Whether it asks for a change, understood or not: what is refused of those is on record.
pub(super) fn wants_change(method: &Method, target: &str) -> bool {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
        && route::look_up(method, path) != Found::Nothing
}

/// The methods that this path has instead.
pub(super) fn allowed(method: &Method, target: &str) -> Option<String> {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    match route::look_up(method, path) {
        Found::OtherMethods(methods) => Some(methods),
        Found::Operation(..) | Found::Nothing => None,
    }
}

impl<'a> Head<'a> {
    /// With the length of the body that is to come.
    pub(super) fn parse(
        method: &Method,
        target: &'a str,
        headers: &HeaderMap,
        length: u64,
        hosts: Hosts,
    ) -> Result<Self, Refusal> {
        check_headers(headers, hosts)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (operation, id) = match route::look_up(method, path) {
            Found::Operation(operation, id) => (operation, id),
            Found::OtherMethods(methods) => {
                let detail = format!("{} here: found {}", methods, shown(method.as_str()));
                return Err(Refusal::new(Code::MethodNotAllowed, detail));
            }
            Found::Nothing => {
                let detail = format!("nothing is at {}", shown(path));
                return Err(Refusal::new(Code::NotFound, detail));
            }
        };
        let query = Query::parse(query, operation.queries())?;
        let head = Self {
            operation,
            id,
            query,
            key: key(operation, headers)?,
            if_match: one(headers, &IF_MATCH)?.map(tag).transpose()?,
            confirm: one(headers, &CONFIRM)?.map(str::to_owned),
        };
        head.confirm.as_deref().map_or(Ok(()), bounds::token)?;
        check_length(operation, length)?;
        if length > 0 {
            check_media_type(headers)?;
        }
        Ok(head)
    }

    /// With the body that came.
    pub(super) fn call(self, body: &[u8]) -> Result<Call, Refusal> {
        check_length(
            self.operation,
            u64::try_from(body.len()).unwrap_or(u64::MAX),
        )?;
        let action = match self.operation {
            Operation::Version => return Ok(Call::Version),
            Operation::Document => return Ok(Call::Document),
            Operation::Volumes => {
                let Query { vg, kind, .. } = self.query;
                return Ok(Call::Volumes { vg, kind });
            }
            Operation::Snapshots => {
                let Query { vg, origin, .. } = self.query;
                return Ok(Call::Snapshots { vg, origin });
            }
            Operation::Volume => return self.target().map(Call::Volume),
            Operation::SnapshotsOf => return self.target().map(Call::SnapshotsOf),
            Operation::Snapshot => return self.target().map(Call::Snapshot),
            Operation::Jobs => return Ok(Call::Jobs),
            Operation::Job => return named::job(&named::decoded(self.id)?).map(Call::Job),
            Operation::Confirm => {
                let (target, action) = body::confirmation(body)?;
                return self.act(target, action).map(Call::Confirm);
            }
            Operation::Create => Action::Create(body::create(body)?),
            Operation::Label => Action::Label(body::label(body)?),
            Operation::Extend => Action::Extend(body::extend(body)?),
            Operation::Merge => Action::Merge(body::merge(body)?),
            Operation::Remove => Action::Remove,
            Operation::Activate => Action::Activate,
            Operation::Deactivate => Action::Deactivate,
        };
        let (target, wait) = (self.target()?, self.query.wait);
        let act = self.act(target, action)?;
        Ok(Call::Change { act, wait })
    }

    fn target(&self) -> Result<Reference, Refusal> {
        named::reference(&named::decoded(self.id)?)
    }

    fn act(self, target: Reference, action: Action) -> Result<Act, Refusal> {
        let act = Act {
            target,
            action,
            key: self.key,
            if_match: self.if_match,
            dry_run: self.query.dry_run,
            confirm: self.confirm,
        };
        bounds::check(&act)?;
        Ok(act)
    }
}

/// What holds for every request, whatever it asks for.
fn check_headers(headers: &HeaderMap, hosts: Hosts) -> Result<(), Refusal> {
    if headers.len() > HEADERS_MAX {
        let found = headers.len();
        let detail = format!("found {found} headers, expected at most {HEADERS_MAX}");
        return Err(Refusal::new(Code::HeadersTooLarge, detail));
    }
    for name in &ONCE {
        one(headers, name)?;
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let detail = "`Transfer-Encoding`: expected none: a body comes with its length";
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    let Some(host) = one(headers, &HOST)? else {
        let detail = "`Host`: found none, expected localhost";
        return Err(Refusal::new(Code::InvalidRequest, detail));
    };
    let is_local = HOSTS.iter().any(|known| host.eq_ignore_ascii_case(known));
    if hosts == Hosts::Local && !is_local {
        let detail = format!("`Host`: found {}, expected localhost", shown(host));
        return Err(Refusal::new(Code::MisdirectedRequest, detail));
    }
    if one(headers, &ORIGIN)?.is_some() {
        let detail = "`Origin`: expected none: no page in a browser is served here";
        return Err(Refusal::new(Code::Forbidden, detail));
    }
    Ok(())
}

/// The value of a header that may be there once.
pub(super) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let refused = |why: &str| Refusal::new(Code::InvalidRequest, format!("`{name}`: {why}"));
    if values.next().is_some() {
        return Err(refused("found several, expected one"));
    }
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| refused("expected visible ASCII"))
}

fn key(operation: Operation, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(text) = one(headers, &IDEMPOTENCY_KEY)? else {
        if operation.needs_key() {
            let detail = "`Idempotency-Key`: found none, expected a new one for each new request";
            return Err(Refusal::new(Code::InvalidRequest, detail));
        }
        return Ok(None);
    };
    bounds::key(text)?;
    Ok(Some(text.to_owned()))
}

/// An entity tag as this API gives it: the uuid of a volume, in quotes.
fn tag(text: &str) -> Result<Uuid, Refusal> {
    let plain = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    plain.and_then(named::uuid).ok_or_else(|| {
        let detail = format!(
            "`If-Match`: found {}, expected an uuid in quotes",
            shown(text)
        );
        Refusal::new(Code::InvalidRequest, detail)
    })
}

fn check_length(operation: Operation, length: u64) -> Result<(), Refusal> {
    let max = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let refused = |code, expected: &str| {
        let detail = format!("the body: found {length} bytes, expected {expected}");
        Err(Refusal::new(code, detail))
    };
    match (operation.wants(), length) {
        (Wants::Nothing, 1..) => refused(Code::InvalidRequest, "none here"),
        (Wants::Body, 0) => refused(Code::InvalidRequest, "an object in JSON"),
        (_, length) if length > max => {
            refused(Code::BodyTooLarge, &format!("at most {BODY_BYTES_MAX}"))
        }
        (Wants::Nothing, 0) | (Wants::Body | Wants::Maybe, _) => Ok(()),
    }
}

/// JSON in UTF-8, as it is. A browser sends other types without asking first.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found = one(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let mut parts = found.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|part| part.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8"));
    if !is_json || !is_utf8 {
        let found = shown(found);
        let detail = format!("`Content-Type`: found {found}, expected application/json");
        return Err(Refusal::new(Code::UnsupportedMediaType, detail));
    }
    match one(headers, &CONTENT_ENCODING)? {
        None | Some("identity") => Ok(()),
        Some(found) => {
            let detail = format!("`Content-Encoding`: found {}, expected none", shown(found));
            Err(Refusal::new(Code::UnsupportedMediaType, detail))
        }
    }
}
