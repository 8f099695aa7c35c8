//! The table of scenarios: one file per theme, each with its own `SCENARIOS`.
//! A scenario's name is its claim. Nothing here starts QEMU or knows the host.

mod administering;
mod admitting;
mod asking;
mod auditing;
mod coexisting;
mod comparing;
mod extending;
mod guest;
mod holding;
mod killing;
mod life;
mod model;
mod processes;
mod quiescing;
mod refusing;
mod relieving;
mod serving;
mod sick_disks;
mod sick_host;
mod sick_root;
mod sizing;
mod stopping;
mod waiting;
mod writer;

use std::time::Duration;

use anyhow::Result;

use crate::guest::Lab;
use crate::size::Size;

/// Long enough for a scenario of a few LVM commands in an emulated guest beside another one, short enough that a hang
/// is found while somebody still watches.
const DEADLINE: Duration = Duration::from_secs(120);
/// Two disks of this size hold every ordinary scenario; they are sparse.
const DISKS: &[Size] = &[Size::gib(2), Size::gib(2)];
/// The kernel, the overlay with cowherd in it, and room for LVM and Prometheus.
const MEMORY: Size = Size::gib(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// In a guest with others, one after the other.
    Shared,
    /// Alone: it may leave what cannot be cleaned up, or needs an odd guest.
    Own,
}

#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub boot: Boot,
    pub disks: &'static [Size],
    pub memory: Size,
    pub deadline: Duration,
    /// It claims something of time, be it only that a scrape takes less than a second: no other guest runs meanwhile.
    pub is_timed: bool,
    /// It takes so long that it runs only when it is named.
    pub is_on_demand: bool,
    pub run: fn(&mut Lab) -> Result<()>,
}

impl Scenario {
    /// A shared scenario with two disks and the usual deadline.
    #[must_use]
    pub const fn new(
        name: &'static str,
        about: &'static str,
        run: fn(&mut Lab) -> Result<()>,
    ) -> Self {
        Self {
            name,
            about,
            boot: Boot::Shared,
            disks: DISKS,
            memory: MEMORY,
            deadline: DEADLINE,
            is_timed: false,
            is_on_demand: false,
            run,
        }
    }

    #[must_use]
    pub const fn own_guest(self) -> Self {
        Self {
            boot: Boot::Own,
            ..self
        }
    }

    #[must_use]
    pub const fn disks(self, disks: &'static [Size]) -> Self {
        Self { disks, ..self }
    }

    #[must_use]
    pub const fn memory(self, memory: Size) -> Self {
        Self { memory, ..self }
    }

    #[must_use]
    pub const fn timed(self) -> Self {
        Self {
            is_timed: true,
            ..self
        }
    }

    #[must_use]
    pub const fn on_demand(self) -> Self {
        Self {
            is_on_demand: true,
            ..self
        }
    }

    #[must_use]
    pub const fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

/// Every scenario, in the order they run.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        guest::SCENARIOS,
        model::SCENARIOS,
        auditing::SCENARIOS,
        writer::SCENARIOS,
        life::SCENARIOS,
        extending::SCENARIOS,
        holding::SCENARIOS,
        relieving::SCENARIOS,
        coexisting::SCENARIOS,
        administering::SCENARIOS,
        sick_disks::SCENARIOS,
        sick_host::SCENARIOS,
        processes::SCENARIOS,
        stopping::SCENARIOS,
        serving::SCENARIOS,
        refusing::SCENARIOS,
        asking::SCENARIOS,
        killing::SCENARIOS,
        waiting::SCENARIOS,
        admitting::SCENARIOS,
        sizing::SCENARIOS,
        quiescing::SCENARIOS,
        sick_root::SCENARIOS,
        comparing::SCENARIOS,
    ]
    .concat()
}

#[must_use]
pub fn find(name: &str) -> Option<Scenario> {
    all().into_iter().find(|s| s.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_claims() {
        let mut names: Vec<_> = all().iter().map(|s| s.name).collect();
        for name in &names {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(plain), "{name}");
            assert!(name.matches('_').count() >= 2, "{name} is no sentence");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
