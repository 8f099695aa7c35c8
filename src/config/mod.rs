//! The configuration: a TOML file, checked whole before anything starts.
//!
//! Every fault is reported at once, with its key path, what was found and what is allowed. Unknown keys
//! are faults: a misspelt threshold must not be a default in silence.

mod api;
mod rules;
mod section;
pub mod web_file;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::policy::{Collectors, Growth, HistoryPolicy, Policy, Reserve, Timing};
use crate::model::units::Bytes;

use section::Section;

/// Read when no other file is named; it need not exist.
pub const DEFAULT_PATH: &str = "/etc/cowherd/cowherd.toml";

/// A configuration is a page or two.
const FILE_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read configuration {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("configuration {} is larger than {FILE_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("configuration {} is not TOML", path.display())]
    Syntax {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("configuration {} is not YAML", path.display())]
    Yaml {
        path: PathBuf,
        source: Box<serde_norway::Error>,
    },
    #[error("configuration {} has {}:\n{}", path.display(), count(faults), list(faults))]
    Faults { path: PathBuf, faults: Vec<Fault> },
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    pub found: String,
    pub expected: String,
}

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub policy: Policy,
    pub collectors: Collectors,
    pub web: Web,
    pub front: Front,
    pub api: Option<Api>,
    /// Guard from a root of our own in memory.
    pub lifeboat: bool,
    pub log_level: LogLevel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    pub listen_addresses: Vec<SocketAddr>,
    pub telemetry_path: String,
    /// A `WebFile`, by its absolute path.
    pub config_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// The user that the front runs as.
    pub user: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

pub use api::Api;

/// Reads and checks a file. Without a name the default one is read if it exists.
///
/// # Errors
/// When a named file cannot be read, or anything in it is wrong.
pub fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    match read(path) {
        Err(ConfigError::Read { source, .. })
            if source.kind() == io::ErrorKind::NotFound && named.is_none() =>
        {
            parse("", path)
        }
        text => parse(&text?, path),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    read.map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })?;
    if text.len() as u64 > FILE_MAX {
        return Err(ConfigError::TooLarge { path: path.into() });
    }
    Ok(text)
}

/// Checks a text; `path` is for messages.
///
/// # Errors
/// With every fault that was found.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let table: toml::Table = text.parse().map_err(|source| ConfigError::Syntax {
        path: path.into(),
        source: Box::new(source),
    })?;
    let mut faults = Vec::new();
    let config = check(table, &mut faults);
    if faults.is_empty() {
        return Ok(config);
    }
    Err(ConfigError::faults(path, faults))
}

fn check(table: toml::Table, faults: &mut Vec<Fault>) -> Config {
    let mut root = Section::root(table, faults);
    let dry_run = root.boolean("dry_run", false);
    let (data, metadata) = root.section("thin_pool", |pool| {
        (
            pool.section("data", growth),
            pool.section("metadata", growth),
        )
    });
    let policy = Policy {
        dry_run,
        data,
        metadata,
        snapshot: root.section("snapshot", growth),
        reserve: root.section("volume_group", |group| Reserve {
            bytes: group.size("reserve").unwrap_or_default(),
            percent: group.whole("reserve_percent", 0..=100, 0),
        }),
        timing: root.section("timing", timing),
        history: root.section("history", history),
        rules: root.sections("rule", rules::rule),
    };
    let config = Config {
        policy,
        collectors: root.section("collector", |collector| Collectors {
            thin_volumes: collector.boolean("thin_volumes", false),
        }),
        web: root.section("web", web),
        front: root.section("front", |front| Front {
            user: front.text("user", "nobody"),
        }),
        api: root.section("api", api::api),
        lifeboat: root.section("guard", |guard| guard.boolean("lifeboat", true)),
        log_level: root.section("log", log_level),
    };
    root.finish();
    config
}

fn growth(section: &mut Section<'_>) -> Growth {
    rules::change(section).over(Growth {
        enabled: true,
        threshold_percent: 80,
        extend_percent: 20,
        extend_min: Bytes::ZERO,
        headroom: Bytes::ZERO,
        max_size: None,
        growth_per_hour: None,
    })
}

fn timing(section: &mut Section<'_>) -> Timing {
    let look_min = section.millis("look_min_ms", 1..=10_000, 20);
    let look_max = section.millis("look_max_ms", 10..=60_000, 5000);
    at_most(
        section,
        ("look_min_ms", look_min),
        ("look_max_ms", look_max),
    );
    let plausible_rate = section.size("plausible_rate").unwrap_or(Bytes::mib(200));
    if plausible_rate == Bytes::ZERO {
        section.fault("plausible_rate", &plausible_rate, "at least 1 B".to_owned());
    }
    Timing {
        horizon: Duration::from_secs(section.whole("horizon_secs", 0..=86_400, 60)),
        safety_factor: section.whole("safety_factor", 1..=100, 2),
        plausible_rate,
        metadata_slower: section.whole("metadata_slower", 1..=10_000, 32),
        look_min,
        look_max,
        look_busy: section.millis("look_busy_ms", 1..=60_000, 100),
        look_budget_permille: section.whole("look_budget_permille", 1..=1000, 10),
        pulse_budget_permille: u32::try_from(section.whole("pulse_budget_permille", 1..=1000, 2))
            .unwrap_or(1000),
        report_every: Duration::from_secs(section.whole("lvm_report_secs", 5..=3600, 300)),
        count_every: section.millis("device_check_ms", 100..=10_000, 1000),
        lock_wait: section.millis("lock_wait_ms", 100..=15_000, 10_000),
        late_after: section.millis("late_after_ms", 100..=60_000, 2000),
    }
}

fn history(section: &mut Section<'_>) -> HistoryPolicy {
    let fast = section.millis("fast_average_ms", 10..=3_600_000, 250);
    let slow = section.millis("slow_average_ms", 10..=3_600_000, 60_000);
    at_most(
        section,
        ("fast_average_ms", fast),
        ("slow_average_ms", slow),
    );
    let first = section.millis("retry_first_ms", 100..=3_600_000, 1000);
    let max = section.millis("retry_max_ms", 100..=3_600_000, 60_000);
    at_most(section, ("retry_first_ms", first), ("retry_max_ms", max));
    HistoryPolicy {
        fast_average: fast,
        slow_average: slow,
        first_latency: section.millis("first_latency_ms", 10..=60_000, 1000),
        retry_first: first,
        retry_max: max,
        changed_pause: section.millis("changed_pause_ms", 100..=60_000, 1000),
    }
}

/// The first of two keys may not be more than the second.
fn at_most(section: &mut Section<'_>, less: (&str, Duration), more: (&str, Duration)) {
    let ((key, value), (bound, max)) = (less, more);
    if value > max {
        let expected = format!("at most {bound} ({})", max.as_millis());
        section.fault(key, &value.as_millis(), expected);
    }
}

fn web(section: &mut Section<'_>) -> Web {
    let default = SocketAddr::from(([127, 0, 0, 1], 10845));
    let telemetry_path = section.text("telemetry_path", "/metrics");
    if !is_telemetry_path(&telemetry_path) {
        section.fault(
            "telemetry_path",
            &telemetry_path,
            "a path such as \"/metrics\"".to_owned(),
        );
    }
    let config_file = section.given_text("config_file", "an absolute path", |path| {
        path.starts_with('/')
    });
    Web {
        listen_addresses: section.addresses("listen_addresses", default),
        telemetry_path,
        config_file: config_file.map(PathBuf::from),
    }
}

/// A path of its own, as a request has it: nothing else is served there, and nothing in it would come encoded.
#[must_use]
pub fn is_telemetry_path(path: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let is_taken = path == "/" || path == "/status.json" || path.starts_with("/-/");
    path.starts_with('/') && path.chars().all(is_plain) && !is_taken
}

fn log_level(section: &mut Section<'_>) -> LogLevel {
    let text = section.text("level", "info");
    match text.as_str() {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        _ => {
            section.fault("level", &text, "one of error, warn, info, debug".to_owned());
            LogLevel::Info
        }
    }
}

impl ConfigError {
    fn faults(path: &Path, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| a.key.cmp(&b.key));
        Self::Faults {
            path: path.into(),
            faults,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        // Without a table there is nothing to find fault with.
        check(toml::Table::new(), &mut Vec::new())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}, expected {}",
            self.key, self.found, self.expected
        )
    }
}

fn count(faults: &[Fault]) -> String {
    if faults.len() == 1 {
        "1 fault".to_owned()
    } else {
        format!("{} faults", faults.len())
    }
}

fn list(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    lines.join("\n")
}
