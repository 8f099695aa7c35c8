//! Where the API is served over the network, and by which files.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Built by `config`, passed on by the guard, read by the front. Paths are those of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// At least one. There is no plain TCP.
    pub listen_addresses: Vec<SocketAddr>,
    /// The server's certificate and those between it and the authority, in PEM.
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    /// Who signs the certificates of callers; without it only tokens are accepted.
    pub tls_client_ca: Option<PathBuf>,
}
