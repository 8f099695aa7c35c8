//! Who extends what on this host besides us: LVM's settings, and dmeventd.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::command::{self, AtDeadline};
use crate::model::audit::{Autoextend, Guarding, LvmSettings};
use crate::model::names::{Name, VolumeName};

const DEADLINE: Duration = Duration::from_secs(20);
/// As LVM names them, in the order in which they are asked for.
const SETTINGS: [&str; 4] = [
    "thin_pool_autoextend_threshold",
    "thin_pool_autoextend_percent",
    "snapshot_autoextend_threshold",
    "snapshot_autoextend_percent",
];

/// Who extends besides a guard that runs. LVM is asked no more than it takes to know: nothing while dmeventd is not there.
#[must_use]
pub fn beside_us(lvm: &Path) -> Guarding {
    let dmeventd_runs = dmeventd_runs();
    let settings = dmeventd_runs.then(|| settings(lvm)).flatten();
    let is_on = settings.is_some_and(|lvm| lvm.thin.is_on() || lvm.snapshot.is_on());
    Guarding {
        settings,
        dmeventd_runs,
        cowherd_runs: true,
        monitored: if is_on {
            monitored(lvm)
        } else {
            BTreeMap::new()
        },
    }
}

/// What `lvm.conf` and LVM's defaults say; nothing when lvm does not tell.
#[must_use]
pub fn settings(lvm: &Path) -> Option<LvmSettings> {
    let keys = SETTINGS.map(|key| format!("activation/{key}"));
    let words = ["lvmconfig", "--typeconfig", "full"].map(str::to_owned);
    let told = ask(lvm, &[words.as_slice(), keys.as_slice()].concat())?;
    parse_settings(&told)
}

fn parse_settings(told: &str) -> Option<LvmSettings> {
    let value = |key: &str| {
        let lines = told.lines().filter_map(|line| line.trim().split_once('='));
        let mut values = lines.filter(|(name, _)| *name == key);
        values.next()?.1.trim().parse::<u64>().ok()
    };
    let [thin_threshold, thin_percent, threshold, percent] = SETTINGS.map(value);
    Some(LvmSettings {
        thin: Autoextend {
            threshold: thin_threshold?,
            percent: thin_percent?,
        },
        snapshot: Autoextend {
            threshold: threshold?,
            percent: percent?,
        },
    })
}

/// Whether a process of that name is there.
#[must_use]
pub fn dmeventd_runs() -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names =
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.any(|name| name.trim_end() == "dmeventd")
}

/// What dmeventd monitors, by LVM's word. LVM would start a dmeventd to ask it, so it is told of one that cannot be
/// started; and it holds no lock, because dmeventd may not answer.
#[must_use]
pub fn monitored(lvm: &Path) -> BTreeMap<VolumeName, bool> {
    let words = [
        "lvs",
        "--noheadings",
        "--nolocking",
        "--separator",
        "/",
        "--config",
        r#"dmeventd/executable="/dev/null""#,
        "-o",
        "vg_name,lv_name,seg_monitor",
    ];
    let told = ask(lvm, &words.map(str::to_owned)).unwrap_or_default();
    told.lines().filter_map(parse_monitored).collect()
}

fn parse_monitored(line: &str) -> Option<(VolumeName, bool)> {
    let mut words = line.trim().splitn(3, '/');
    let name = VolumeName {
        vg: Name::parse(words.next()?).ok()?,
        lv: Name::parse(words.next()?).ok()?,
    };
    Some((name, words.next()? == "monitored"))
}

fn ask(lvm: &Path, arguments: &[String]) -> Option<String> {
    let finished = command::run(lvm, arguments, DEADLINE, AtDeadline::Kill).ok()?;
    let is_told = finished.status.success();
    is_told.then(|| String::from_utf8_lossy(&finished.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn settings_are_read_in_any_order_and_missing_ones_are_not_guessed() {
        let told = "snapshot_autoextend_percent=10\nthin_pool_autoextend_percent=20\n\
                    thin_pool_autoextend_threshold=70\nsnapshot_autoextend_threshold=100\n";
        let settings = parse_settings(told).expect("all four are there");
        assert_eq!((settings.thin.threshold, settings.thin.percent), (70, 20));
        assert!(settings.thin.is_on() && !settings.snapshot.is_on());
        assert_eq!(parse_settings("thin_pool_autoextend_threshold=70\n"), None);
    }

    #[test]
    fn what_is_not_monitored_is_told_apart_from_what_cannot_be() {
        let (name, yes) = parse_monitored("  vg0/pool/monitored").expect("a line");
        assert_eq!((name.to_string().as_str(), yes), ("vg0/pool", true));
        assert!(
            !parse_monitored("  vg0/pool/not monitored")
                .expect("a line")
                .1
        );
        assert!(!parse_monitored("  vg0/thin/").expect("a line").1);
        assert_eq!(parse_monitored("WARNING: no"), None);
    }

    proptest! {
        #[test]
        fn a_setting_is_its_number_or_nothing_is_told(numbers: [u64; 4], wrong in 0..4_usize, junk: String) {
            let told = |values: &[String]| {
                let lines = SETTINGS.iter().zip(values);
                let lines: Vec<String> = lines.map(|(key, value)| format!("{key}={value}")).collect();
                lines.join("\n")
            };
            let mut values = numbers.map(|number| number.to_string());
            let settings = parse_settings(&told(&values)).expect("four numbers");
            let snapshot = settings.snapshot;
            assert_eq!([settings.thin.threshold, settings.thin.percent, snapshot.threshold, snapshot.percent], numbers);
            values[wrong] = format!("x{junk}");
            assert_eq!(parse_settings(&told(&values)), None);
            let _ = parse_settings(&junk);
        }

        #[test]
        fn what_is_monitored_is_said_in_that_word_alone(line: String, word in "[a-z ]{0,12}", cut in 0..19_usize, is_so in any::<bool>()) {
            let _ = parse_monitored(&line);
            let word = if is_so { "monitored" } else { &word };
            let told = parse_monitored(&format!("  vg0/pool/{word}")).expect("two names and a word");
            assert_eq!(told.1, word.trim_end() == "monitored");
            let is_whole = parse_monitored(&"  vg0/pool/monitored"[..cut]).is_some_and(|(_, is_monitored)| is_monitored);
            assert!(!is_whole, "cut at {cut}");
        }
    }
}
