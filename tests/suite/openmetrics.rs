//! `OpenMetrics`: the same samples as in Prometheus' own format, with what the other format wants around them.

use std::collections::BTreeSet;
use std::sync::Arc;

use cowherd::report::metrics::{self, Format, Traffic};

use super::everything::everything;
use super::metrics::golden;

fn told(format: Format) -> String {
    let families = metrics::render(&Arc::new(everything()), format).expect("it can be told");
    let traffic = metrics::render_traffic(&Traffic::default(), None, format);
    families + &traffic.expect("it can be told")
}

fn samples(text: &str) -> Vec<&str> {
    let lines = text.lines();
    lines.filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn openmetrics_of_everything_is_as_reviewed() {
    golden(
        "tests/suite/golden/openmetrics.txt",
        &told(Format::OpenMetrics),
    );
}

#[test]
fn the_samples_are_the_same_in_both_formats() {
    let (text, open) = (told(Format::Text), told(Format::OpenMetrics));
    assert_eq!(samples(&text), samples(&open));
    assert!(!text.contains("# EOF"));
}

#[test]
fn each_family_is_told_as_openmetrics_wants_it() {
    let text = told(Format::OpenMetrics);
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = ("", "");
    for line in text.strip_suffix("# EOF\n").expect("an end").lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            (family, kind) = declared.split_once(' ').expect("name and type");
            assert!(families.insert(family), "{line}");
            assert!(!family.ends_with("_total"), "{line}");
        } else if let Some(declared) = line.strip_prefix("# UNIT ") {
            let (name, unit) = declared.split_once(' ').expect("name and unit");
            assert_eq!(name, family, "{line}");
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.starts_with(&format!("{family} ")), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().expect("a name");
            let suffix = name.strip_prefix(family).expect(line);
            let expected: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            assert!(expected.contains(&suffix), "{line}");
        }
    }
    let units = text.lines().filter(|line| line.starts_with("# UNIT "));
    assert!(units.count() > 20);
}
