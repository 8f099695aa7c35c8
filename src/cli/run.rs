//! `cowherd run`: the guard.

use std::fs;
use std::path::PathBuf;

use crate::config::{self, web_file};
use crate::guard::{self, Berth, DeskOptions, Options};
use crate::model::cause::chain;
use crate::model::journal;
use crate::report::log;

use super::{Failure, Level, RunArguments, build};

/// Made by systemd (`RuntimeDirectory=`) or by the guard itself; /run is a tmpfs.
pub(super) const RUNTIME: &str = "/run/cowherd";

const GROUPS: &str = "/etc/group";

#[derive(Debug, thiserror::Error)]
#[error("api.group is {name:?}, expected a group of {GROUPS}")]
struct NoGroup {
    name: String,
}

pub(super) fn run(arguments: RunArguments) -> Result<(), Failure> {
    let mut config = arguments.config.load()?;
    config.policy.dry_run |= arguments.dry_run;
    if !arguments.listen_addresses.is_empty() {
        config.web.listen_addresses = arguments.listen_addresses;
    }
    if let Some(path) = arguments.telemetry_path {
        config.web.telemetry_path = path;
    }
    if let Some(path) = arguments.web_config_file {
        config.web.config_file = Some(std::path::absolute(path).map_err(Failure::other)?);
    }
    if let Some(path) = &config.web.config_file {
        // The front reads it as its user, and says what that finds. What the text says is told before anything starts.
        web_file::load(path)?;
    }
    let api = config.api.map(desk).transpose()?;
    let level = arguments
        .log_level
        .unwrap_or_else(|| Level::from(config.log_level));
    let mut options = Options {
        policy: config.policy,
        collectors: arguments.collectors.over(config.collectors),
        listen_addresses: config.web.listen_addresses,
        telemetry_path: config.web.telemetry_path,
        web_config_file: config.web.config_file,
        front_user: config.front.user,
        api,
        log_level: level.name().to_owned(),
        runtime: PathBuf::from(RUNTIME),
        build: build(),
        berth: Berth::Ashore("turned off by the configuration".to_owned()),
    };
    if config.lifeboat {
        // It comes back only when it could not, and before there is a second thread.
        let error = guard::board(&options);
        options.berth = Berth::Ashore(chain(&error));
    }
    let log = log::start(level.filter());
    guard::run(options, &log).map_err(Failure::from)
}

/// The name of a group is its number from here on: the guard asks no name service.
fn desk(api: config::Api) -> Result<DeskOptions, Failure> {
    let group = api.group.map(|name| {
        let file = fs::read_to_string(GROUPS).map_err(Failure::other)?;
        let number = find_group(&file, &name);
        number.ok_or_else(|| Failure::other(NoGroup { name }))
    });
    Ok(DeskOptions {
        access: api.access,
        socket: api.socket,
        group: group.transpose()?,
        journal: PathBuf::from(journal::PATH),
        remote: api.remote,
        tokens: api.tokens,
    })
}

fn find_group(file: &str, name: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        found.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
