//! `cowherd guard`: what `cowherd run` becomes once it is in its lifeboat.

use std::io;

use clap::ValueEnum;

use crate::guard::{self, Options};
use crate::report::log;

use super::{Failure, Level};

pub(super) fn run() -> Result<(), Failure> {
    let options: Options = serde_json::from_reader(io::stdin().lock()).map_err(Failure::other)?;
    let level = Level::from_str(&options.log_level, false).unwrap_or(Level::Info);
    let log = log::start(level.filter());
    guard::run(options, &log).map_err(Failure::other)
}
