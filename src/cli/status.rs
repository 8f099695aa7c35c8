//! `cowherd status`: what is there and how full it is. Looks for itself; needs no guard.

use crate::guard;
use crate::report::table;

use super::{Failure, LookArguments, build, plan, print};

pub(super) fn run(arguments: &LookArguments) -> Result<(), Failure> {
    let config = arguments.config.load()?;
    let view = guard::look_once(config.policy, build()).map_err(Failure::other)?;
    if arguments.json {
        return plan::print_json(&view);
    }
    print(&table::status(&view))
}
