//! The nouns: units, names, what was seen, the policy, the plan, the history.
//!
//! Nothing here does I/O, reads a clock or logs, and nothing here imports another
//! module of the crate: every stage speaks in these values.

pub mod access;
pub mod action;
pub mod audit;
pub mod bounds;
pub mod bucket;
pub mod cause;
pub mod history;
pub mod inventory;
pub mod journal;
pub mod names;
pub mod plan;
pub mod policy;
pub mod quiesce;
pub mod reason;
pub mod refusal;
pub mod relief;
pub mod reliefs;
pub mod remote;
pub mod rule;
pub mod step;
pub mod tally;
pub mod time;
pub mod token;
pub mod units;
pub mod view;
pub mod volume;
pub mod writes;
