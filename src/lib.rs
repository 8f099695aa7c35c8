#![doc = "placeholder"]
pub mod decide;
pub mod model;
