//! The shell of the privileged process: threads, clocks, and the order in which things start and stop.
//!
//! `engine`, `intake`, `message`, `note`, `picture`, `sight` and `watch` are pure and decide what follows from what;
//! everything else here only carries messages to and from them. No network, no TLS, no mail, no async runtime
//! in this process.

mod claim;
mod clock;
mod cost;
mod desk;
mod devices;
mod engine;
mod eyes;
mod front;
mod intake;
mod lifeboat;
mod message;
mod note;
mod once;
mod picture;
mod pulses;
mod run;
mod sight;
mod watch;
mod workers;

pub use clock::now;
pub use desk::{DeskOptions, Door, TokenFault, read_token};
pub use engine::Engine;
pub use eyes::KernelEyes;
pub use lifeboat::{Berth, Manifest, ManifestError, board, handed_over};
pub use message::{Grant, Input, Order};
pub use note::{Level, Note};
pub use once::{OnceError, audit_once, look_once};
pub use run::{GuardError, Options, run};
pub use watch::Lane;
