//! `cowherd guard`: what `cowherd run` becomes once it is in its lifeboat.

use clap::ValueEnum;

use crate::guard;
use crate::report::log;

use super::{Failure, Level};

pub(super) fn run() -> Result<(), Failure> {
    let options = guard::handed_over().map_err(Failure::other)?;
    let level = Level::from_str(&options.log_level, false).unwrap_or(Level::Info);
    let log = log::start(level.filter());
    guard::run(options, &log).map_err(Failure::from)
}
