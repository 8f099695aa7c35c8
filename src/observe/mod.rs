//! Turns the world into values of `model`: the kernel's device-mapper and LVM's metadata.
//!
//! Nothing here changes anything. Text from outside never panics and never defaults in silence: it
//! becomes a value, or an error that says which field of what was unreadable.

pub mod changes;
pub mod device_mapper;
pub mod dm_status;
pub mod guarding;
pub mod lvm;
pub mod lvm_report;
pub mod pulse;
pub mod writes;
