//! `cowherd check`: the configuration, all faults at once, and an audit of the host. Looks for itself; needs no
//! guard.

use std::path::Path;

use serde::Serialize;

use crate::config;
use crate::front;
use crate::guard;
use crate::model::audit::{Finding, Severity};
use crate::report::table;

use super::{CheckArguments, Failure, build, plan, print, run};

/// What `--json` prints.
#[derive(Serialize)]
struct Audit<'a> {
    severity: Severity,
    findings: &'a [Finding],
}

pub(super) fn run(arguments: &CheckArguments) -> Result<(), Failure> {
    let config = arguments.config.load()?;
    if let Some(path) = &config.web.config_file {
        front::check_web_file(path).map_err(|error| Failure::Misconfigured(Box::new(error)))?;
    }
    if let Some(remote) = config.api.as_ref().and_then(|api| api.remote.as_ref()) {
        front::check_remote(remote).map_err(|error| Failure::Misconfigured(Box::new(error)))?;
    }
    if arguments.config_only {
        return print(&format!("{}\n", about_config(arguments)));
    }
    let (view, findings) = guard::audit_once(config.policy, build(), Path::new(run::RUNTIME))
        .map_err(|error| Failure::Unknown(Box::new(error)))?;
    let severity = findings.iter().map(|finding| finding.severity).max();
    let severity = severity.unwrap_or(Severity::Ok);
    if arguments.json {
        let findings = findings.as_slice();
        plan::print_json(&Audit { severity, findings })?;
    } else {
        print(&table::audit(&view, &findings))?;
        print(&format!("{}\n", about_config(arguments)))?;
    }
    match severity {
        Severity::Ok => Ok(()),
        Severity::Warning | Severity::Critical => Err(Failure::Found(severity.exit_code())),
    }
}

fn about_config(arguments: &CheckArguments) -> String {
    let path = arguments.config.config.as_deref();
    let shown = path.map_or_else(
        || config::DEFAULT_PATH.to_owned(),
        |path| path.display().to_string(),
    );
    let missing = path.is_none() && !Path::new(config::DEFAULT_PATH).exists();
    let what = if missing {
        "does not exist: defaults apply"
    } else {
        "is valid"
    };
    format!("{shown} {what}")
}
