//! What people say, damaged: the configuration, and names and uuids.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use cowherd::config::{self, Config};
use cowherd::model::names::{Name, Resource, Uuid};
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};

use super::damage::{any_bytes, cases, damaged_text, damages, numbers, replaced};
use super::written::Folder;
use crate::config::every_key;

pub(super) fn parsed(text: &str) -> Option<Config> {
    config::parse(text, Path::new("any.toml")).ok()
}

/// A key, its value, and the bounds that `packaging/cowherd.toml` tells.
type Bound = (&'static str, u128, RangeInclusive<u128>);

/// What of a configuration is beyond its bounds.
fn beyond(config: &Config) -> Vec<Bound> {
    let all = [times(config), counts(config), shares(config)].concat();
    all.into_iter()
        .filter(|(_, value, range)| !range.contains(value))
        .collect()
}

fn times(config: &Config) -> Vec<Bound> {
    let (timing, history) = (&config.policy.timing, &config.policy.history);
    let (look_max, slow) = (
        timing.look_max.as_millis(),
        history.slow_average.as_millis(),
    );
    let retry_max = history.retry_max.as_millis();
    let all = [
        ("look_min_ms", timing.look_min, 1..=look_max.min(10_000)),
        ("look_max_ms", timing.look_max, 10..=60_000),
        ("look_busy_ms", timing.look_busy, 1..=60_000),
        ("device_check_ms", timing.count_every, 100..=10_000),
        ("lock_wait_ms", timing.lock_wait, 100..=15_000),
        ("late_after_ms", timing.late_after, 100..=60_000),
        ("horizon_secs", timing.horizon, 0..=86_400_000),
        ("lvm_report_secs", timing.report_every, 5000..=3_600_000),
        ("fast_average_ms", history.fast_average, 10..=slow),
        ("slow_average_ms", history.slow_average, 10..=3_600_000),
        ("first_latency_ms", history.first_latency, 10..=60_000),
        ("retry_first_ms", history.retry_first, 100..=retry_max),
        ("retry_max_ms", history.retry_max, 100..=3_600_000),
        ("changed_pause_ms", history.changed_pause, 100..=60_000),
    ];
    all.map(|(key, time, range)| (key, time.as_millis(), range))
        .into()
}

fn counts(config: &Config) -> Vec<Bound> {
    let timing = &config.policy.timing;
    let (looks, pulses) = (timing.look_budget_permille, timing.pulse_budget_permille);
    vec![
        ("safety_factor", timing.safety_factor.into(), 1..=100),
        ("metadata_slower", timing.metadata_slower.into(), 1..=10_000),
        ("look_budget_permille", looks.into(), 1..=1000),
        ("pulse_budget_permille", pulses.into(), 1..=1000),
        (
            "plausible_rate",
            timing.plausible_rate.0.into(),
            1..=i64::MAX.unsigned_abs().into(),
        ),
    ]
}

/// Percents, with those of rules.
fn shares(config: &Config) -> Vec<Bound> {
    let policy = &config.policy;
    let growths = [policy.data, policy.metadata, policy.snapshot];
    let resources = [Resource::Data, Resource::Metadata, Resource::Cow];
    let rules = policy.rules.iter();
    let changes = rules.flat_map(|rule| resources.map(|resource| rule.change(resource)));
    // A change of what is in bounds is in bounds where it says nothing.
    let grown = changes.map(|change| change.over(policy.data));
    let reserves = policy
        .rules
        .iter()
        .map(|rule| rule.reserve.over(policy.reserve));
    let grown = growths.into_iter().chain(grown).flat_map(|growth| {
        [
            ("threshold_percent", growth.threshold_percent.into(), 1..=99),
            ("extend_percent", growth.extend_percent.into(), 1..=1000),
        ]
    });
    let reserves = reserves.chain([policy.reserve]);
    let reserves = reserves.map(|reserve| ("reserve_percent", reserve.percent.into(), 0..=100));
    grown.chain(reserves).collect()
}

/// The least that is beyond some bound, and what would show a bound that is not there.
const BEYOND: [i64; 15] = [
    -1,
    0,
    4,
    9,
    99,
    101,
    1001,
    3601,
    10_001,
    15_001,
    60_001,
    86_401,
    100_001,
    3_600_001,
    i64::MAX,
];

#[test]
fn a_number_just_beyond_a_bound_is_refused() {
    let text = every_key();
    for place in numbers(text.as_bytes()) {
        for number in BEYOND {
            let text = replaced(text.as_bytes(), &place, &number.to_string());
            let config = parsed(&String::from_utf8_lossy(&text));
            let beyond = config.map(|config| beyond(&config)).unwrap_or_default();
            assert!(beyond.is_empty(), "{number} at {place:?}: {beyond:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_configuration_panics_and_none_that_is_taken_is_out_of_bounds(noise in any_bytes(), damages in damages()) {
        for text in [String::from_utf8_lossy(&noise).into_owned(), damaged_text(&every_key(), &damages)] {
            match config::parse(&text, Path::new("any.toml")) {
                Ok(config) => prop_assert_eq!(beyond(&config), Vec::new(), "{}", text),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn any_number_of_any_key_is_within_its_bounds_or_refused(at in any::<Index>(), number in prop_oneof![any::<i64>(), -2..=100_i64, 0..=100_000_000_i64]) {
        let text = every_key();
        let numbers = numbers(text.as_bytes());
        let text = replaced(text.as_bytes(), at.get(&numbers), &number.to_string());
        let config = parsed(&String::from_utf8_lossy(&text));
        let beyond = config.map(|config| beyond(&config)).unwrap_or_default();
        prop_assert!(beyond.is_empty(), "{number}: {beyond:?}");
    }

    #[test]
    fn a_file_of_any_bytes_is_a_configuration_or_an_error(noise in any_bytes()) {
        let folder = Folder::new("config");
        let path = folder.0.join("any.toml");
        fs::write(&path, &noise).expect("the temporary folder is writable");
        let text = str::from_utf8(&noise).ok();
        prop_assert_eq!(config::load(Some(&path)).ok(), text.and_then(parsed));
    }

    #[test]
    fn a_size_is_its_number_in_its_unit(number in any::<u64>(), shift in 0..64_u32, (unit, bytes) in select(vec![("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1_u64 << 40)])) {
        let number = number >> shift;
        let config = parsed(&format!("[snapshot]\nmax_size = \"{number} {unit}\"\n"));
        let read = config.and_then(|config| config.policy.snapshot.max_size);
        let expected = number.checked_mul(bytes).filter(|bytes| i64::try_from(*bytes).is_ok());
        prop_assert_eq!(read.map(|size| size.0), expected);
    }

    #[test]
    fn a_name_that_is_taken_is_one_harmless_word(text in prop_oneof![any::<String>(), "[-a-z.+_/ @\u{e4}]{0,6}"]) {
        let name = Name::parse(&text);
        if let Ok(name) = &name {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!(!text.starts_with('-') && !text.contains(['/', '@', '\0']) && text != "..");
            prop_assert!(!text.contains(char::is_whitespace) && !text.is_empty());
        }
        let word = serde_json::to_vec(&text).expect("a text is JSON");
        prop_assert_eq!(serde_json::from_slice::<Name>(&word).ok(), name.ok());
    }

    #[test]
    fn a_uuid_that_is_taken_is_told_and_read_again(text in prop_oneof![any::<String>(), "[-a-zA-Z0-9]{30,40}", "[a-zA-Z0-9\u{e4}]{32}"]) {
        if let Ok(uuid) = Uuid::parse(&text) {
            prop_assert_eq!(uuid.as_str(), text.replace('-', ""));
            prop_assert_eq!(Uuid::parse(&uuid.lvm_form()), Ok(uuid));
        }
    }
}
