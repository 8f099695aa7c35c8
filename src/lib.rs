#![doc = "placeholder"]
pub mod act;
pub mod command;
pub mod config;
pub mod decide;
pub mod link;
pub mod model;
pub mod observe;
