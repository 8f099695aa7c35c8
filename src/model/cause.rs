//! Why something failed: an error with all that caused it, in one line. Made where an error becomes text that
//! somebody reads, and nowhere before.

use std::error::Error;

/// Joins an error and its causes into one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
