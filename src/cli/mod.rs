//! The command line: one file for each command, exit codes at the end.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong. `check` exits as a plugin
//! of a monitoring system. What asks the guard (`snapshot`, `jobs`) exits with 3 for what it understood and refused
//! (any status from 400 to 499), 4 where it cannot be reached or is not ready (503, 504), and 5 where what it
//! does had not ended when it was no longer waited for. `snapshot remove` of several exits with 1 if any failed.

mod api;
mod change;
mod check;
mod completions;
mod front;
mod guard;
mod history;
mod jobs;
mod manifest;
mod plan;
mod run;
mod snapshot;
mod status;
mod token;
mod values;
mod wait;

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::config::{self, Config, ConfigError, LogLevel};
use crate::guard::GuardError;
use crate::model::cause::chain;
use crate::model::journal;
use crate::model::names::Name;
use crate::model::policy::Collectors;
use crate::model::time::UnixSeconds;
use crate::model::view::Build;

use snapshot::SnapshotCommand;
use token::TokenCommand;

/// Made by the guard, for whom its configuration lets in.
const SOCKET: &str = "/run/cowherd/api.sock";

/// Watches LVM thin pools and copy-on-write snapshots and extends them before they are lost.
#[derive(Debug, Parser)]
#[command(name = "cowherd", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Guard this host until stopped
    Run(RunArguments),
    /// Show thin pools and snapshots, how full they are, and what is held back
    Status(LookArguments),
    /// Show what would be extended now, and what would not and why
    Plan(LookArguments),
    /// Check the configuration and audit this host: what would run full, and what mends it. Exits with 0 when
    /// all is well, 1 for warnings, 2 for what is critical or cannot be read
    Check(CheckArguments),
    /// List, take, extend, merge and remove snapshots, by asking the guard
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Show what the guard was asked to do, and how it ended
    Jobs(JobsArguments),
    /// Show from the journal who asked for what, and what came of it
    History(HistoryArguments),
    /// Make, list and revoke the tokens that callers over the network show
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a script that completes this command line
    Completions(CompletionsArguments),
    /// Print names of volumes; started by a shell
    #[command(hide = true)]
    CompleteNames(CompleteNamesArguments),
    /// Serve what the guard publishes on standard input; started by the guard
    #[command(hide = true)]
    Front(FrontArguments),
    /// Guard with the options on standard input; started by `run` in its lifeboat
    #[command(hide = true)]
    Guard,
    /// Print what a lifeboat would carry; started by the guard
    #[command(hide = true)]
    Manifest(ManifestArguments),
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// Configuration file; without it /etc/cowherd/cowherd.toml is read if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Decide and report, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Address to serve on, instead of the configured ones; may be repeated
    #[arg(long = "web.listen-address", value_name = "ADDRESS:PORT")]
    listen_addresses: Vec<SocketAddr>,
    /// Path of the metrics, instead of the configured one
    #[arg(long = "web.telemetry-path", value_name = "PATH", value_parser = telemetry_path)]
    telemetry_path: Option<String>,
    /// File with TLS, passwords and headers, as other exporters have it, instead of the configured one
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// How much to log, instead of what is configured
    #[arg(long = "log.level", value_name = "LEVEL")]
    log_level: Option<Level>,
    #[command(flatten)]
    collectors: CollectorArguments,
}

/// Each switch with its opposite: the later of the two counts, and either overrides the configuration.
#[derive(Debug, Args)]
struct CollectorArguments {
    /// Export series of each thin volume
    #[arg(
        long = "collector.thin-volumes",
        overrides_with_all = ["thin_volumes", "no_thin_volumes"]
    )]
    thin_volumes: bool,
    /// Export none, whatever is configured
    #[arg(
        long = "no-collector.thin-volumes",
        overrides_with_all = ["thin_volumes", "no_thin_volumes"]
    )]
    no_thin_volumes: bool,
}

#[derive(Debug, Args)]
struct LookArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Check the configuration alone
    #[arg(long)]
    config_only: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Where the guard is asked.
#[derive(Debug, Args)]
struct GuardArguments {
    /// Socket to ask the guard on
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Guard to ask over TLS instead
    #[arg(
        long,
        value_name = "https://HOST:PORT",
        requires = "ca",
        conflicts_with = "socket"
    )]
    url: Option<String>,
    /// Certificates that sign that guard's, in PEM
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// File with the token to show it
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// Certificate to show it, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["url", "key"])]
    cert: Option<PathBuf>,
    /// Key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// How long the guard may take to answer, and may have too much to do
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = values::span)]
    timeout: u32,
}

#[derive(Debug, Args)]
struct JobsArguments {
    /// Only this one
    id: Option<String>,
    /// Print the guard's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guard: GuardArguments,
}

#[derive(Debug, Args)]
struct HistoryArguments {
    /// Only what is not older, such as 24h
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    since: Option<u32>,
    /// Only what was to be done in this volume group
    #[arg(long, value_parser = values::name)]
    vg: Option<Name>,
    /// Print the journal's lines as they are
    #[arg(long)]
    json: bool,
    /// Check that no line was changed or taken out
    #[arg(long, conflicts_with_all = ["since", "vg", "json"])]
    verify: bool,
    /// Journal to read, and what is older in FILE.1
    #[arg(long, value_name = "FILE", default_value = journal::PATH)]
    journal: PathBuf,
}

#[derive(Debug, Args)]
struct CompletionsArguments {
    /// Shell that the script is for
    shell: completions::Shell,
}

#[derive(Debug, Args)]
struct CompleteNamesArguments {
    #[arg(long)]
    kind: completions::Kind,
    #[arg(long, default_value = SOCKET)]
    socket: PathBuf,
}

#[derive(Debug, Args)]
struct FrontArguments {
    #[arg(long = "listen-address", required = true)]
    listen_addresses: Vec<SocketAddr>,
    #[arg(long)]
    telemetry_path: String,
    #[arg(long)]
    web_config_file: Option<PathBuf>,
    #[arg(long)]
    host_root: PathBuf,
    #[arg(long)]
    lock_file: PathBuf,
    /// Standard output is the socket of the API, and listens
    #[arg(long)]
    api: bool,
    #[arg(long = "api-listen-address", requires_all = ["api", "api_tls_cert", "api_tls_key"])]
    api_listen_addresses: Vec<SocketAddr>,
    #[arg(long)]
    api_tls_cert: Option<PathBuf>,
    #[arg(long)]
    api_tls_key: Option<PathBuf>,
    #[arg(long)]
    api_tls_client_ca: Option<PathBuf>,
    #[arg(long)]
    log_level: Level,
}

#[derive(Debug, Args)]
struct ManifestArguments {
    /// The host's root, as the guard sees it
    #[arg(long)]
    root: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// What a command ends with when it fails.
enum Failure {
    Config(ConfigError),
    /// The same, found by somebody who checks it.
    Misconfigured(Box<dyn Error>),
    Other(Box<dyn Error>),
    /// Whoever started the command has been told already.
    Told,
    /// An audit found something, and its exit code says how bad it is.
    Found(u8),
    /// An audit could not be made.
    Unknown(Box<dyn Error>),
    /// What the guard was asked came to nothing, and the exit code says why.
    Coded(Box<dyn Error>, u8),
    /// Options that do not go together.
    Misused(&'static str),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // clap exits with 2 itself when the command line is wrong.
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Snapshot(command) => snapshot::run(command),
        Command::Jobs(arguments) => jobs::run(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Token(command) => token::run(&command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::CompleteNames(arguments) => completions::names(&arguments),
        Command::Front(arguments) => front::run(arguments),
        Command::Guard => guard::run(),
        Command::Manifest(arguments) => manifest::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(error)) => fail(&error, 2),
        Err(Failure::Other(error)) => fail(error.as_ref(), 1),
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(Failure::Found(code)) => ExitCode::from(code),
        Err(Failure::Misconfigured(error) | Failure::Unknown(error)) => fail(error.as_ref(), 2),
        Err(Failure::Coded(error, code)) => fail(error.as_ref(), code),
        Err(Failure::Misused(why)) => {
            tell(why);
            ExitCode::from(2)
        }
    }
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    tell(&chain(error));
    ExitCode::from(code)
}

/// One line for people.
fn tell(text: &str) {
    // Whoever closed stderr does not want to know.
    let _ = writeln!(io::stderr(), "cowherd: {text}");
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn telemetry_path(text: &str) -> Result<String, String> {
    if config::is_telemetry_path(text) {
        return Ok(text.to_owned());
    }
    Err("expected a path such as /metrics".to_owned())
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        if error.is_of_configuration() {
            Self::Misconfigured(Box::new(error))
        } else {
            Self::other(error)
        }
    }
}

impl Failure {
    fn other(error: impl Error + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}

impl ConfigArguments {
    fn load(&self) -> Result<Config, ConfigError> {
        config::load(self.config.as_deref())
    }
}

impl CollectorArguments {
    const fn over(&self, configured: Collectors) -> Collectors {
        let thin_volumes = configured.thin_volumes && !self.no_thin_volumes;
        Collectors {
            thin_volumes: self.thin_volumes || thin_volumes,
        }
    }
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
        }
    }
}

fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: option_env!("COWHERD_REVISION")
            .unwrap_or("unknown")
            .to_owned(),
    }
}

/// Wall time; a clock before 1970 is taken for that.
fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixSeconds(since.unwrap_or_default().as_secs_f64())
}

/// Prints what the guard answered word for word, if it was JSON.
fn print_answer(answer: Option<Vec<u8>>) -> Result<(), Failure> {
    let Some(mut answer) = answer else {
        return Ok(());
    };
    answer.truncate(answer.trim_ascii_end().len());
    answer.push(b'\n');
    print_bytes(&answer)
}

/// Prints a result.
fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// A reader that has gone away is no failure of ours.
fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::other(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
    use proptest::sample::select;

    use super::*;

    const WORDS: &[&str] = &[
        "run",
        "status",
        "plan",
        "check",
        "front",
        "guard",
        "manifest",
        "snapshot",
        "list",
        "create",
        "extend",
        "activate",
        "deactivate",
        "merge",
        "remove",
        "protect",
        "expire",
        "jobs",
        "history",
        "completions",
        "complete-names",
        "bash",
        "token",
        "revoke",
        "--id=backup",
        "--actions=create,remove",
        "--actions",
        "--volumes",
        "--expires=90d",
        "--directory=/d",
        "vg0/home",
        "vg0/snap",
        "--size=10GiB",
        "--size",
        "15%",
        "--type=thin",
        "--name=a",
        "--ttl=7d",
        "--ttl",
        "never",
        "--expendable",
        "--no-expendable",
        "--protect",
        "--off",
        "--read-only",
        "--activate",
        "--tag",
        "--allow-deferred",
        "--yes",
        "--wait",
        "--wait=5s",
        "--no-wait",
        "--idempotency-key=k",
        "--socket=/s",
        "--url=https://h:1",
        "--ca=/c",
        "--token-file=/t",
        "--cert=/c",
        "--key=/k",
        "--timeout=1s",
        "--vg",
        "--origin=vg0/home",
        "--since=24h",
        "--verify",
        "--kind=snapshots",
        "--config",
        "--dry-run",
        "--json",
        "--config-only",
        "--web.listen-address=[::1]:1",
        "--web.telemetry-path=/m",
        "--web.telemetry-path",
        "--web.config.file=web.yml",
        "--web-config-file",
        "--host-root",
        "--api",
        "--api-listen-address=[::1]:2",
        "--api-tls-cert=/c",
        "--api-tls-key=/k",
        "--listen-address",
        "--telemetry-path",
        "--log.level=warn",
        "--collector.thin-volumes",
        "--no-collector.thin-volumes",
        "--log-level",
        "--root",
        "--",
    ];

    fn word() -> impl Strategy<Value = OsString> {
        prop_oneof![
            3 => select(WORDS).prop_map(OsString::from),
            1 => any::<String>().prop_map(OsString::from),
            1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(OsString::from_vec),
        ]
    }

    proptest! {
        #[test]
        fn any_words_are_a_command_or_a_complaint(words in prop::collection::vec(word(), 0..8)) {
            let words = std::iter::once(OsString::from("cowherd")).chain(words);
            match Arguments::try_parse_from(words) {
                Ok(Arguments { command: Command::Run(run) }) => {
                    assert!(run.telemetry_path.is_none_or(|path| config::is_telemetry_path(&path)));
                }
                Ok(_) => {}
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }

        #[test]
        fn a_collector_is_on_as_the_last_switch_says(switches in prop::collection::vec(any::<bool>(), 0..5), configured: bool) {
            let words = switches.iter().map(|on| if *on { "--collector.thin-volumes" } else { "--no-collector.thin-volumes" });
            let words = ["cowherd", "run"].into_iter().chain(words);
            let Ok(Arguments { command: Command::Run(run) }) = Arguments::try_parse_from(words) else {
                panic!("switches may be repeated");
            };
            let is_on = run.collectors.over(Collectors { thin_volumes: configured }).thin_volumes;
            assert_eq!(is_on, switches.last().copied().unwrap_or(configured));
        }

        #[test]
        fn a_level_is_read_by_its_name(level in prop_oneof![Just(Level::Error), Just(Level::Warn), Just(Level::Info), Just(Level::Debug)]) {
            let again = Level::from_str(level.name(), false).expect("its own name");
            assert_eq!(again.filter(), level.filter());
        }
    }
}
