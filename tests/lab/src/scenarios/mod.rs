//! x
pub struct Scenario { pub name: &'static str, pub about: &'static str }
pub static ALL: &[Scenario] = &[];
