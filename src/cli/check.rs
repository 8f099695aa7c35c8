//! `cowherd check`: the configuration, all faults at once.

use crate::config;

use super::{CheckArguments, Failure, print};

pub(super) fn run(arguments: &CheckArguments) -> Result<(), Failure> {
    arguments.config.load()?;
    let path = arguments.config.config.as_deref();
    let shown = path.map_or_else(
        || config::DEFAULT_PATH.to_owned(),
        |path| path.display().to_string(),
    );
    let missing = path.is_none() && !std::path::Path::new(config::DEFAULT_PATH).exists();
    let what = if missing {
        "does not exist: defaults apply"
    } else {
        "is valid"
    };
    print(&format!("{shown} {what}\n"))
}
