//! The description of the API tells what is served: its routes, its codes, and the fields of what travels.

use std::collections::BTreeSet;

use cowherd::front::api::{DOCUMENT, ROUTES, parse};
use cowherd::model::action::{
    Create, Extend, JobState, Label, Merge, SnapshotKind, StoreSize, Verb,
};
use cowherd::model::quiesce::{Consistency, Quiesce, QuiesceMode};
use cowherd::model::refusal::Code;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{confirmation, job, planned, volumes};

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("it is JSON")
}

pub(crate) fn patterns() -> Vec<&'static str> {
    ROUTES.iter().map(|route| route.pattern).collect()
}

pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let (expected, found) = (pattern.split('/'), path.split('/'));
    let is_dots = |part: &str| part.to_lowercase() == "%2e%2e";
    expected.clone().count() == found.clone().count()
        && expected
            .zip(found)
            .all(|(expected, found)| expected == found || expected == "{id}" && !is_dots(found))
}

/// An answer to a request for something documented is documented.
pub(crate) fn assert_known(method: &str, path: &str, status: u16) {
    let path = path.split('?').next().unwrap_or_default();
    let fit =
        |route: &&cowherd::front::api::Route| route.method == method && fits(route.pattern, path);
    if let Some(route) = ROUTES.iter().find(fit) {
        let operation = &document()["paths"][route.pattern][method.to_lowercase()];
        let known = &operation["responses"][status.to_string()];
        assert!(
            known.is_object(),
            "{status} of {method} {path} is not documented"
        );
    }
}

fn keys(value: &Value) -> BTreeSet<String> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("an object: {value}"));
    object.keys().cloned().collect()
}

fn texts(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

/// What a reference leads to.
fn followed<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(place) = value["$ref"].as_str() else {
        return value;
    };
    let place = place.strip_prefix('#').expect("a place in the document");
    let found = document.pointer(place);
    found.unwrap_or_else(|| panic!("nothing is at {place}"))
}

#[test]
fn its_routes_are_those_that_are_served() {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let told: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = keys(methods).into_iter();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let served = ROUTES.map(|route| (route.method.to_owned(), route.pattern.to_owned()));
    assert_eq!(told, BTreeSet::from(served));
}

#[test]
fn its_queries_are_those_that_are_taken() {
    let document = document();
    let mut names = BTreeSet::new();
    for route in ROUTES {
        let operation = &document["paths"][route.pattern][route.method.to_lowercase()];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let follow = |parameter| followed(&document, parameter);
        let parameters: Vec<&Value> = parameters.map(follow).collect();
        let queries = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query");
        let queries: Vec<&str> = queries.filter_map(|query| query["name"].as_str()).collect();
        assert_eq!(queries, route.operation.queries(), "{}", route.pattern);
        let has_id = parameters.iter().any(|parameter| parameter["in"] == "path");
        assert_eq!(has_id, route.pattern.contains("{id}"), "{}", route.pattern);
        names.insert(operation["operationId"].to_string());
    }
    assert_eq!(names.len(), ROUTES.len(), "each operation has its own name");
}

#[test]
fn its_codes_are_those_that_are_answered() {
    let document = document();
    let told = texts(&document["components"]["schemas"]["Code"]["enum"]);
    assert_eq!(told, Code::ALL.map(|code| code.label().to_owned()).into());
    for code in Code::ALL {
        let response = &document["components"]["responses"][format!("P{}", code.status())];
        let description = response["description"].as_str().expect("a description");
        assert!(
            description.split(", ").any(|label| label == code.label()),
            "{code:?}"
        );
    }
}

#[test]
fn every_operation_tells_how_whoever_comes_over_tls_is_turned_away() {
    let document = document();
    // Whatever is asked for, the guard is asked first who that is.
    let codes = [
        Code::Unauthenticated,
        Code::Forbidden,
        Code::RateLimited,
        Code::Internal,
        Code::GuardUnavailable,
        Code::Timeout,
    ];
    for route in ROUTES {
        let operation = &document["paths"][route.pattern][route.method.to_lowercase()];
        let told = keys(&operation["responses"]);
        let missing = codes
            .iter()
            .filter(|code| !told.contains(&code.status().to_string()));
        let missing: Vec<&Code> = missing.collect();
        assert!(
            missing.is_empty(),
            "{} {}: {missing:?}",
            route.method,
            route.pattern
        );
    }
}

#[test]
fn its_fields_are_those_that_travel() {
    let create = Create {
        kind: SnapshotKind::Thick,
        ..Create::default()
    };
    let problem = json!({"type": "", "title": "", "status": 0, "detail": "", "code": "", "retryable": true, "instance": ""});
    let failed = job(JobState::Failed);
    let job = job(JobState::Succeeded);
    let volumes = volumes();
    let encoded = [
        ("Create", json!(create)),
        ("Extend", json!(Extend { size_bytes: 1 })),
        ("Merge", json!(Merge::default())),
        ("Label", json!(Label::default())),
        ("Planned", json!(planned())),
        ("Confirmation", json!(confirmation())),
        ("Volume", json!(volumes[0])),
        ("Origin", json!(volumes[1].origin)),
        ("Job", json!(job)),
        ("JobTarget", json!(job.target)),
        ("Progress", json!(job.progress)),
        ("JobResult", json!(job.result)),
        ("Quiesce", json!(Quiesce::default())),
        ("JobError", json!(failed.error)),
        ("Problem", problem),
    ];
    let document = document();
    let schemas = &document["components"]["schemas"];
    for (name, value) in &encoded {
        assert_eq!(keys(&schemas[name]["properties"]), keys(value), "{name}");
    }
    let sizes = [StoreSize::Bytes(1), StoreSize::PercentOfOrigin(1)].map(|size| keys(&json!(size)));
    let told = schemas["StoreSize"]["oneOf"]
        .as_array()
        .expect("three ways");
    assert_eq!(told[0]["const"], json!(StoreSize::Auto));
    let told = told[1..].iter().map(|way| keys(&way["properties"]));
    assert_eq!(told.collect::<Vec<_>>(), sizes);
    let modes = [
        QuiesceMode::Required,
        QuiesceMode::BestEffort,
        QuiesceMode::None,
    ];
    let modes: BTreeSet<String> = modes.map(|mode| mode.label().to_owned()).into();
    assert_eq!(
        texts(&schemas["Quiesce"]["properties"]["mode"]["enum"]),
        modes
    );
    for mode in [Consistency::Application, Consistency::Crash] {
        let told = schemas["JobResult"]["properties"]["consistency"]["enum"].as_array();
        assert!(told.is_some_and(|told| told.contains(&json!(mode.label()))));
    }
    let verbs = texts(&schemas["Job"]["properties"]["verb"]["enum"]);
    assert_eq!(verbs, Verb::ALL.map(|verb| verb.label().to_owned()).into());
}

#[test]
fn bodies_of_requests_have_no_other_fields() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let ways = |name: &str| {
        schemas[name]["oneOf"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let whole = ["Create", "Quiesce", "Extend", "Merge", "Label"].map(|name| schemas[name].clone());
    let mut ways = [ways("StoreSize"), ways("ConfirmationRequest")].concat();
    ways.retain(|way| way["const"].is_null());
    assert_eq!(ways.len(), 4);
    for schema in whole.iter().chain(&ways) {
        assert_eq!(schema["additionalProperties"], false, "{schema}");
    }
}

/// Whether a value is what a schema says of fields that go together, as far as this document says so.
fn allows(document: &Value, schema: &Value, value: &Value) -> bool {
    let schema = followed(document, schema);
    let len = value.as_array().map(Vec::len);
    let in_range = |key: &str, holds: fn(u64, u64) -> bool| match (schema[key].as_u64(), len) {
        (Some(bound), Some(len)) => holds(u64::try_from(len).expect("a few"), bound),
        _ => true,
    };
    let has = |name: &Value| value.get(name.as_str().expect("a name")).is_some();
    let ways = |key: &str| schema[key].as_array().cloned();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let mut given = fields.filter_map(|(name, schema)| Some((schema, value.get(name)?)));
    in_range("minItems", |len, min| len >= min)
        && in_range("maxItems", |len, max| len <= max)
        && schema.get("const").is_none_or(|only| value == only)
        && ways("enum").is_none_or(|all| all.contains(value))
        && schema["type"].as_str().is_none_or(|kind| match kind {
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => true,
        })
        && ways("required").is_none_or(|names| names.iter().all(has))
        && given.all(|(schema, value)| allows(document, schema, value))
        && ways("anyOf").is_none_or(|ways| ways.iter().any(|way| allows(document, way, value)))
        && ways("oneOf").is_none_or(|ways| ways.iter().any(|way| allows(document, way, value)))
}

#[test]
fn it_says_what_goes_together() {
    let document = document();
    let headers = [
        ("host", "localhost"),
        ("idempotency-key", "k1"),
        ("content-type", "application/json"),
    ];
    let headers = headers.map(|(name, value)| {
        let value = HeaderValue::from_static(value);
        (HeaderName::from_static(name), value)
    });
    let headers = HeaderMap::from_iter(headers);
    for (body, is_taken) in [
        (json!({}), true),
        (json!({"quiesce": null}), true),
        (json!({"quiesce": {}}), false),
        (json!({"quiesce": {"hooks": []}}), false),
        (json!({"quiesce": {"hooks": ["app"]}}), true),
        (
            json!({"quiesce": {"hooks": ["app"], "mode": "best_effort"}}),
            true,
        ),
        (json!({"quiesce": {"hooks": [], "mode": "required"}}), false),
        (json!({"quiesce": {"mode": "best_effort"}}), false),
        (json!({"quiesce": {"mode": "none"}}), true),
        (
            json!({"quiesce": {"hooks": ["app"], "mode": "none"}}),
            false,
        ),
        (json!({"with": []}), true),
        (json!({"with": ["vg0/log"]}), false),
        (json!({"with": ["vg0/log"], "quiesce": null}), false),
        (
            json!({"with": ["vg0/log"], "quiesce": {"mode": "none"}}),
            true,
        ),
        (
            json!({"with": ["vg0/log"], "quiesce": {"hooks": ["app"]}}),
            true,
        ),
    ] {
        let line = "/api/v1/volumes/vg0%2Fvm101/snapshots";
        let call = parse(&Method::POST, line, &headers, body.to_string().as_bytes());
        assert_eq!(call.is_ok(), is_taken, "{body} is {call:?}");
        let schema = &document["components"]["schemas"]["Create"];
        assert_eq!(
            allows(&document, schema, &body),
            is_taken,
            "{body} in the document"
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value, count: &mut usize) {
        *count += usize::from(value["$ref"].is_string());
        followed(document, value);
        let fields = value
            .as_object()
            .into_iter()
            .flat_map(|object| object.values());
        let parts = value.as_array().into_iter().flatten();
        fields
            .chain(parts)
            .for_each(|part| walk(document, part, count));
    }
    let document = document();
    let mut count = 0;
    walk(&document, &document, &mut count);
    assert!(count > 200, "{count}");
}
