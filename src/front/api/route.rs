//! The route table: what can be asked for, with which method, and with what in its query.
//!
//! A path is compared as it came: nothing is decoded, no dot resolved and no slash merged before its parts are
//! known to be those of a route. What is in no row is not there.

use hyper::Method;

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// `{id}` stands for one part of a path.
    pub pattern: &'static str,
    pub operation: Operation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Version,
    Document,
    Volumes,
    Volume,
    SnapshotsOf,
    Snapshots,
    Snapshot,
    Create,
    Label,
    Remove,
    Activate,
    Deactivate,
    Extend,
    Merge,
    Confirm,
    Jobs,
    Job,
}

/// What a path and a method lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// With the part of the path that names something, if one does.
    Operation(Operation, &'a str),
    /// The path is known, with other methods: these.
    OtherMethods(String),
    Nothing,
}

pub const ROUTES: [Route; 17] = [
    route("GET", "/api/v1/version", Operation::Version),
    route("GET", "/api/v1/openapi.json", Operation::Document),
    route("GET", "/api/v1/volumes", Operation::Volumes),
    route("GET", "/api/v1/volumes/{id}", Operation::Volume),
    route(
        "GET",
        "/api/v1/volumes/{id}/snapshots",
        Operation::SnapshotsOf,
    ),
    route("POST", "/api/v1/volumes/{id}/snapshots", Operation::Create),
    route("GET", "/api/v1/snapshots", Operation::Snapshots),
    route("GET", "/api/v1/snapshots/{id}", Operation::Snapshot),
    route("PATCH", "/api/v1/snapshots/{id}", Operation::Label),
    route("DELETE", "/api/v1/snapshots/{id}", Operation::Remove),
    route(
        "POST",
        "/api/v1/snapshots/{id}/activate",
        Operation::Activate,
    ),
    route(
        "POST",
        "/api/v1/snapshots/{id}/deactivate",
        Operation::Deactivate,
    ),
    route("POST", "/api/v1/snapshots/{id}/extend", Operation::Extend),
    route("POST", "/api/v1/snapshots/{id}/merge", Operation::Merge),
    route("POST", "/api/v1/confirmations", Operation::Confirm),
    route("GET", "/api/v1/jobs", Operation::Jobs),
    route("GET", "/api/v1/jobs/{id}", Operation::Job),
];

const fn route(method: &'static str, pattern: &'static str, operation: Operation) -> Route {
    Route {
        method,
        pattern,
        operation,
    }
}

/// Whether a request takes a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Nothing,
    Maybe,
    Body,
}

impl Operation {
    /// The keys that its query may have.
    #[must_use]
    pub const fn queries(self) -> &'static [&'static str] {
        match self {
            Self::Volumes => &["vg", "type"],
            Self::Snapshots => &["vg", "origin"],
            Self::Create
            | Self::Label
            | Self::Remove
            | Self::Activate
            | Self::Deactivate
            | Self::Extend
            | Self::Merge => &["dry_run", "wait"],
            Self::Version
            | Self::Document
            | Self::Volume
            | Self::SnapshotsOf
            | Self::Snapshot
            | Self::Confirm
            | Self::Jobs
            | Self::Job => &[],
        }
    }

    pub(super) const fn wants(self) -> Wants {
        match self {
            Self::Create | Self::Label | Self::Extend | Self::Confirm => Wants::Body,
            Self::Merge => Wants::Maybe,
            Self::Version
            | Self::Document
            | Self::Volumes
            | Self::Volume
            | Self::SnapshotsOf
            | Self::Snapshots
            | Self::Snapshot
            | Self::Remove
            | Self::Activate
            | Self::Deactivate
            | Self::Jobs
            | Self::Job => Wants::Nothing,
        }
    }

    /// Whether it is to be repeated with the same key only: a repeated DELETE or PATCH does no more than one.
    pub(super) const fn needs_key(self) -> bool {
        match self {
            Self::Create | Self::Activate | Self::Deactivate | Self::Extend | Self::Merge => true,
            Self::Version
            | Self::Document
            | Self::Volumes
            | Self::Volume
            | Self::SnapshotsOf
            | Self::Snapshots
            | Self::Snapshot
            | Self::Label
            | Self::Remove
            | Self::Confirm
            | Self::Jobs
            | Self::Job => false,
        }
    }
}

/// HEAD is where GET is: the answer's body is left out by the server.
pub(super) fn look_up<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut others: Vec<&str> = Vec::new();
    for route in &ROUTES {
        match id_in(route.pattern, path) {
            Some(id) if route.method == method => return Found::Operation(route.operation, id),
            Some(_) => others.push(route.method),
            None => {}
        }
    }
    if others.is_empty() {
        return Found::Nothing;
    }
    if others.contains(&"GET") {
        others.push("HEAD");
    }
    Found::OtherMethods(others.join(", "))
}

/// What stands for `{id}`, or for nothing where the pattern has none. Nothing when the path is another one.
fn id_in<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let mut id = "";
    let mut parts = path.split('/');
    for expected in pattern.split('/') {
        let part = parts.next()?;
        if expected == "{id}" && is_id(part) {
            id = part;
        } else if part != expected {
            return None;
        }
    }
    parts.next().is_none().then_some(id)
}

/// A dot and two are parts that other servers resolve, however they are written: no route has one.
fn is_id(part: &str) -> bool {
    let dots = part.to_ascii_lowercase().replace("%2e", ".");
    !["", ".", ".."].contains(&dots.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_table_is_there() {
        for (method, path, expected) in [
            (
                Method::GET,
                "/api/v1/volumes",
                Found::Operation(Operation::Volumes, ""),
            ),
            (
                Method::HEAD,
                "/api/v1/jobs/x",
                Found::Operation(Operation::Job, "x"),
            ),
            (
                Method::POST,
                "/api/v1/snapshots/vg%2Flv/merge",
                Found::Operation(Operation::Merge, "vg%2Flv"),
            ),
            (
                Method::PUT,
                "/api/v1/snapshots/x",
                Found::OtherMethods("GET, PATCH, DELETE, HEAD".to_owned()),
            ),
            (Method::GET, "/api/v1/snapshots/vg/lv", Found::Nothing),
            (Method::GET, "/api/v1/volumes/", Found::Nothing),
            (Method::GET, "/api/v1/volumes/%2E%2e", Found::Nothing),
            (Method::GET, "/api/v1//volumes", Found::Nothing),
            (Method::GET, "/API/v1/volumes", Found::Nothing),
            (Method::GET, "*", Found::Nothing),
            (Method::GET, "", Found::Nothing),
        ] {
            assert_eq!(look_up(&method, path), expected, "{method} {path}");
        }
    }
}
