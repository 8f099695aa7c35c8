//! What the guest tells the host: above all its verdicts, one line per scenario
//! in `/out/verdicts`. Pure. A file of its own, not the serial console: there the
//! kernel may print in the middle of a line.

use std::fmt;
use std::time::Duration;

/// On the demo's console: everything runs, the user can look.
pub const DEMO_READY: &str = "LAB-DEMO-READY";
/// Before the word of a step that is done, on the console.
pub const STEP: &str = "LAB-STEP";
/// The file in the out folder.
pub const FILE: &str = "verdicts";

/// Files in the out folder of a guest that serves the API.
pub mod served {
    pub const CERTIFICATE: &str = "cert.pem";
    pub const TOKEN: &str = "token";
    /// Of a snapshot that there is.
    pub const UUID: &str = "uuid";
    /// All is made, the guard is ready.
    pub const READY: &str = "served";
    /// The host has asked all that it wanted.
    pub const END: &str = "end";
}

/// What the guest does while it is monitored: each when a file of that name appears in the out folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Everything,
    Restart,
    Lose,
    Mend,
    Kill,
    End,
}

impl Step {
    /// In their order.
    pub const ALL: [Self; 6] = [
        Self::Everything,
        Self::Restart,
        Self::Lose,
        Self::Mend,
        Self::Kill,
        Self::End,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Restart => "restart",
            Self::Lose => "lose",
            Self::Mend => "mend",
            Self::Kill => "kill",
            Self::End => "end",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// The scenario left something that cannot be killed or removed: whatever
    /// comes after it in this guest would prove nothing.
    Wedged,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub name: String,
    pub outcome: Outcome,
    pub took: Duration,
}

impl Outcome {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Passed, "PASS"),
        (Self::Failed, "FAIL"),
        (Self::Wedged, "WEDGED"),
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASS",
            Self::Failed => "FAIL",
            Self::Wedged => "WEDGED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, millis) = (self.outcome.word(), self.took.as_millis());
        write!(f, "LAB {word} {} {millis} ms", self.name)
    }
}

/// Every complete verdict line of the text; a line still being written (no line
/// end yet) is left for the next look.
#[must_use]
pub fn parse_all(text: &str) -> Vec<Verdict> {
    text.split_inclusive('\n')
        .filter_map(|line| parse(line.strip_suffix('\n')?))
        .collect()
}

fn parse(line: &str) -> Option<Verdict> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["LAB", word, name, millis, "ms"] = words.as_slice() else {
        return None;
    };
    let (outcome, _) = Outcome::ALL.into_iter().find(|(_, w)| w == word)?;
    Some(Verdict {
        name: (*name).to_owned(),
        outcome,
        took: Duration::from_millis(millis.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict {
            name: "pool_grows".to_owned(),
            outcome,
            took: Duration::from_millis(1234),
        }
    }

    #[test]
    fn a_verdict_survives_being_written_and_read() {
        for (outcome, _) in Outcome::ALL {
            let line = format!("{}\n", verdict(outcome));
            assert_eq!(parse_all(&line), [verdict(outcome)], "{line}");
        }
    }

    #[test]
    fn a_line_without_its_end_is_not_yet_a_verdict() {
        let text = format!("{}\nLAB PASS half 12", verdict(Outcome::Passed));
        assert_eq!(parse_all(&text), [verdict(Outcome::Passed)]);
    }

    #[test]
    fn other_lines_are_no_verdicts() {
        for line in [
            "",
            "LAB",
            "LAB PASS x y ms",
            "LAB MAYBE x 1 ms",
            "[ 1.2] LAB PASS x 1 ms",
            "LAB PASS x 1 ms more",
        ] {
            assert!(parse_all(&format!("{line}\n")).is_empty(), "{line:?}");
        }
    }
}
