//! `cowherd plan`: what would be done now, and why the rest would not. Looks for itself; changes nothing.

use serde::Serialize;

use crate::guard;
use crate::report::table;

use super::{Failure, LookArguments, build, print};

pub(super) fn run(arguments: &LookArguments) -> Result<(), Failure> {
    let config = arguments.config.load()?;
    let view = guard::look_once(config.policy, build()).map_err(Failure::other)?;
    if arguments.json {
        return print_json(&view.plan);
    }
    print(&table::plan(&view))
}

pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::other)?;
    print(&format!("{text}\n"))
}
