//! cowherd watches LVM thin pools and copy-on-write snapshots and extends them before they are lost.
//!
//! # The loop
//!
//! ```text
//!  observe ------> decide ------> act ------> report
//!  kernel, LVM     pure: a Plan   one writer  metrics, page,
//!                  with Holds     per VG      table, log
//!     ^                              |
//!     +---------- history <----------+
//! ```
//!
//! Two processes from one binary. The **guard** is privileged and runs the loop on plain threads,
//! without network or async runtime. The **front** is unprivileged, renders what the guard publishes
//! over a socket pair, and may die at any time. `guard` and `front` are shells: they own threads,
//! clocks and sockets. The stages between them are functions of values. The command line asks the front
//! over a socket, as any `client` does.
//!
//! # Who imports whom
//!
//! ```text
//!  model, command, client   nothing       config, decide, link, report   model
//!  observe, act     model, command        front   model, config, link, report
//!  guard            model, command, observe, decide, act, link, report
//!  cli              model, config, report, front, guard, client
//! ```
//!
//! The stages never import each other; they meet in `guard`. `tests/tidy.rs` holds the map.
//!
//! # Glossary
//!
//! Words are LVM's and device-mapper's. Ours, beyond those:
//!
//! - **store**: something that can run full: a pool's data, a pool's metadata, a snapshot's exception
//!   store. A **target** names one: volume and resource.
//! - **trigger**: what makes an extension due: threshold, fill rate or headroom.
//! - **hold**: a store past its trigger that is not extended, with its **reason**.
//! - **look**: one read of one device's status. **Report**: one read of LVM's metadata. **Pulse**: the
//!   kernel's count of writes below a device; what is not written to is looked at more seldom.
//! - **lane**: the devices that one thread looks at, so that hanging storage costs only its own.
//! - **intent**: the record on tmpfs of the extension being carried out. **Mending** is what a guard
//!   does about a predecessor's.
//! - **desk**: the threads of the guard that answer callers, and have done what they ask for.
//! - **job**: one change that somebody asked for, from its queue to its end. The **journal** is the record on disk of
//!   who asked for what, each line chained to the one before it.
//! - **quiescing**: having applications hold still, by **hooks** of the administrator's, while a snapshot is made. A
//!   hook is **held** from when it is ready until it is **released**; its **keeper** is the thread that sees to the
//!   latter. A **lease** is the record on disk of one that the next guard would have to release.
//! - **view**: the immutable picture that the guard publishes and the front shows.

pub mod act;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod decide;
pub mod front;
pub mod guard;
pub mod link;
pub mod model;
pub mod observe;
pub mod report;
