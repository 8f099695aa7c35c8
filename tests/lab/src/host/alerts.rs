//! The files below `alerts/`, held against the programs that read them: promtool and amtool of Debian.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{tool, workspace};

/// A program with its words, and the files that it gets one by one.
struct Check {
    program: &'static str,
    words: &'static [&'static str],
    /// Below `alerts/`.
    directory: &'static str,
    /// How the names of the files begin and end.
    names: (&'static str, &'static str),
}

const CHECKS: [Check; 4] = [
    Check {
        program: "promtool",
        words: &["check", "rules", "--lint=all", "--lint-fatal"],
        directory: "",
        names: ("", ".rules.yml"),
    },
    Check {
        program: "promtool",
        words: &["check", "config", "--lint=all", "--lint-fatal"],
        directory: "",
        names: ("prometheus", ".yml"),
    },
    Check {
        program: "amtool",
        words: &["check-config"],
        directory: "",
        names: ("alertmanager", ".yml"),
    },
    Check {
        program: "promtool",
        words: &["test", "rules"],
        directory: "tests",
        names: ("", ".yml"),
    },
];

/// Runs every check on every file; false when one fails. The programs say what is wrong.
pub fn check() -> Result<bool> {
    let alerts = workspace::root().join("alerts");
    let mut passed = true;
    for check in CHECKS {
        let files = files(&alerts.join(check.directory), check.names)?;
        ensure!(
            !files.is_empty(),
            "alerts/{} has no file {:?} to check",
            check.directory,
            check.names
        );
        for file in files {
            let mut command = tool::command(check.program);
            command.args(check.words).arg(&file).current_dir(&alerts);
            let told = tool::told(&command);
            let status = command
                .status()
                .with_context(|| format!("starting {told}"))?;
            passed &= status.success();
        }
    }
    Ok(passed)
}

fn files(directory: &Path, (start, end): (&str, &str)) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.context("listing the alerts")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(start) && name.ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
