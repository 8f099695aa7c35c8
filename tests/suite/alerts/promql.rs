//! What an expression of Prometheus names: its series with their matchers, and the labels it groups by. No parser:
//! promtool has one, and runs on every file that is read here.

/// Words that are followed by a list of labels.
const GROUPINGS: [&str; 6] = [
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "on",
    "without",
];
/// Words that look like a series. An aggregation may stand before its grouping instead of its parenthesis.
const WORDS: [&str; 10] = [
    "and", "avg", "bool", "count", "max", "min", "offset", "or", "sum", "unless",
];

/// What an expression names.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) series: Vec<Series>,
    /// Labels of `by`, `on` and the like.
    pub(super) groupings: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) metric: String,
    pub(super) matchers: Vec<Matcher>,
}

#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) operator: String,
    pub(super) value: String,
}

/// Everything that the expression names, in its order.
pub(super) fn named(expression: &str) -> Named {
    let mut named = Named::default();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = if first.is_ascii_digit() {
            rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.')
        } else if is_in_word(first) {
            word(rest, &mut named)
        } else if first == '[' {
            after(rest, ']')
        } else {
            &rest[first.len_utf8()..]
        };
        rest = rest.trim_start();
    }
    named
}

const fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

fn word<'a>(text: &'a str, named: &mut Named) -> &'a str {
    let end = text.find(|c| !is_in_word(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let rest = rest.trim_start();
    if GROUPINGS.contains(&word) {
        let list = rest.trim_start_matches('(');
        let (labels, rest) = list.split_once(')').unwrap_or((list, ""));
        named
            .groupings
            .extend(labels.split(',').map(|label| label.trim().to_owned()));
        return rest;
    }
    if WORDS.contains(&word) || rest.starts_with('(') {
        return rest;
    }
    let mut series = Series {
        metric: word.to_owned(),
        matchers: Vec::new(),
    };
    let rest = match rest.strip_prefix('{') {
        Some(inside) => matchers(inside, &mut series.matchers),
        None => rest,
    };
    named.series.push(series);
    rest
}

/// Reads up to the closing brace, and gives what follows.
fn matchers<'a>(inside: &'a str, found: &mut Vec<Matcher>) -> &'a str {
    let mut rest = inside.trim_start();
    while !rest.is_empty() && !rest.starts_with('}') {
        let end = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
        let (label, tail) = rest.split_at(end);
        let (operator, tail) = tail.split_once('"').unwrap_or((tail, ""));
        let (value, tail) = tail.split_once('"').unwrap_or((tail, ""));
        found.push(Matcher {
            label: label.to_owned(),
            operator: operator.trim().to_owned(),
            value: value.to_owned(),
        });
        rest = tail.trim_start_matches([',', ' ', '\n']);
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

#[test]
fn an_expression_names_series_matchers_and_groupings() {
    let named = named(
        r#"sum by (job, instance) (increase(a_total{x!~"b|c", y="d"}[15m])) > 3 * 86400 and on (vg) job:b:sum == 1e9"#,
    );
    let series: Vec<&str> = named.series.iter().map(|s| s.metric.as_str()).collect();
    assert_eq!(series, ["a_total", "job:b:sum"]);
    let matchers: Vec<String> = named.series[0]
        .matchers
        .iter()
        .map(|m| format!("{}{}{}", m.label, m.operator, m.value))
        .collect();
    assert_eq!(matchers, ["x!~b|c", "y=d"]);
    assert_eq!(named.groupings, ["job", "instance", "vg"]);
}
