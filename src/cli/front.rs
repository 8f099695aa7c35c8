//! `cowherd front`: the unprivileged process, started by the guard only.

use crate::front::{self, FrontError, Options};
use crate::model::remote::Remote;
use crate::report::log;

use super::{Failure, FrontArguments};

pub(super) fn run(arguments: FrontArguments) -> Result<(), Failure> {
    let _log = log::start(arguments.log_level.filter());
    let remote = arguments.remote();
    let api = arguments.api.then(front::api_socket).transpose();
    let options = Options {
        listen_addresses: arguments.listen_addresses,
        telemetry_path: arguments.telemetry_path,
        web_config_file: arguments.web_config_file,
        host_root: arguments.host_root,
        lock_file: arguments.lock_file,
        api: api.map_err(Failure::other)?,
        remote,
    };
    front::run(options).map_err(|error| match error {
        FrontError::Listen(_) | FrontError::Web(_) => Failure::Told,
        FrontError::Stdin(_)
        | FrontError::Stdout(_)
        | FrontError::Signals(_)
        | FrontError::Thread(_)
        | FrontError::Runtime(_)
        | FrontError::Tell(_)
        | FrontError::Understand(_) => Failure::other(error),
    })
}

impl FrontArguments {
    fn remote(&self) -> Option<Remote> {
        Some(Remote {
            tls_cert: self.api_tls_cert.clone()?,
            tls_key: self.api_tls_key.clone()?,
            tls_client_ca: self.api_tls_client_ca.clone(),
            listen_addresses: self.api_listen_addresses.clone(),
        })
    }
}
