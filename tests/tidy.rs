//! Rules about the source itself that neither rustc nor clippy can hold: who imports whom, where
//! effects live, how large things get, and what a module says of itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom. `lib.rs` and `main.rs` see everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("command", &[]),
    ("config", &["model"]),
    ("decide", &["model"]),
    ("observe", &["model", "command"]),
    ("act", &["model", "command"]),
    ("link", &["model"]),
    ("client", &[]),
    ("report", &["model"]),
    // It reads the web configuration again whenever that changes.
    ("front", &["model", "config", "link", "report"]),
    (
        "guard",
        &[
            "model", "command", "observe", "decide", "act", "link", "report",
        ],
    ),
    (
        "cli",
        &["model", "config", "report", "front", "guard", "client"],
    ),
    ("main", &["cli"]),
];

/// Text that may stand only in the named files or folders: each is one kind of effect.
const ONLY_IN: &[(&str, &[&str])] = &[
    (
        "process::{Child, Command",
        &[
            "command.rs",
            "command/",
            "guard/front.rs",
            "guard/lifeboat/",
        ],
    ),
    ("process::{Command", &["guard/lifeboat/"]),
    ("mount(", &["guard/lifeboat/"]),
    ("chroot(", &["guard/lifeboat/", "cli/manifest.rs"]),
    ("mlockall(", &["guard/claim.rs"]),
    (
        "process::Command",
        &[
            "command.rs",
            "command/",
            "guard/front.rs",
            "guard/lifeboat/",
        ],
    ),
    (
        "SystemTime::now",
        &["guard/clock.rs", "front/", "cli/mod.rs"],
    ),
    ("clock_gettime", &["guard/clock.rs"]),
    (
        "Instant::now",
        &[
            "act/",
            "cli/wait.rs",
            "command.rs",
            "command/",
            "guard/",
            "front/",
            "observe/device_mapper.rs",
        ],
    ),
    (
        "thread::sleep",
        &[
            "act/lock.rs",
            "cli/wait.rs",
            "front/",
            "guard/front.rs",
            "guard/claim.rs",
            "guard/desk/journal.rs",
            "guard/devices.rs",
            "guard/lifeboat/",
        ],
    ),
    ("DM::new", &["observe/device_mapper.rs"]),
    ("env::var", &["report/log.rs"]),
    ("println!", &[]),
    ("unsafe {", &[]),
    ("TcpListener", &["front/"]),
    ("UnixListener", &["front/", "guard/"]),
    ("hyper::", &["front/", "client.rs"]),
    ("tokio", &["front/", "client.rs"]),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn modules_import_only_what_the_map_allows() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let module = source.top_module();
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            faults.push(format!(
                "{}: `{module}` is not in the import map",
                source.shown()
            ));
            continue;
        };
        for used in crate_paths(&source.text) {
            if used != module && !allowed.contains(&used.as_str()) {
                faults.push(format!(
                    "{}: `{module}` must not import `{used}`",
                    source.shown()
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn effects_stay_in_their_files() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let shown = source.path.to_string_lossy().into_owned();
        for (needle, homes) in ONLY_IN {
            let home = homes
                .iter()
                .any(|home| shown == *home || home.ends_with('/') && shown.starts_with(home));
            if !home && source.product().contains(needle) {
                faults.push(format!(
                    "{}: `{needle}` belongs in {homes:?}",
                    source.shown()
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn files_and_functions_stay_small() {
    let mut faults = Vec::new();
    for root in ["src", "tests"] {
        for source in sources(root) {
            let lines = source.product().lines().count();
            if lines > FILE_LINES_MAX {
                faults.push(format!(
                    "{}: {lines} lines, at most {FILE_LINES_MAX}",
                    source.shown()
                ));
            }
            for (name, lines) in functions(&source.text) {
                if lines > FUNCTION_LINES_MAX {
                    faults.push(format!(
                        "{}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                        source.shown()
                    ));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn every_module_says_what_lives_in_it() {
    let mut faults = Vec::new();
    for root in ["src", "tests"] {
        for source in sources(root) {
            let first = source.text.lines().find(|line| !line.starts_with("#!["));
            if !first.is_some_and(|line| line.starts_with("//! ")) {
                faults.push(format!("{}: does not open with //!", source.shown()));
            }
        }
    }
    none(&faults);
}

#[test]
fn our_own_enums_are_matched_whole_and_imports_are_named() {
    let mut faults = Vec::new();
    for source in sources("src") {
        for (number, line) in source.text.lines().enumerate() {
            let glob = line.trim_start().starts_with("use ") && line.contains("::*");
            if glob && !line.contains("use super::*;") {
                faults.push(format!("{}:{}: glob import", source.shown(), number + 1));
            }
            if line.contains("#[allow(") {
                faults.push(format!("{}:{}: bare allow", source.shown(), number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is readable");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for member in ["Cargo.toml", "tests/lab/Cargo.toml"] {
        let text = fs::read_to_string(root().join(member)).expect("a manifest is readable");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{member} leaves the lint table out"
        );
    }
}

struct Source {
    root: &'static str,
    path: PathBuf,
    text: String,
}

impl Source {
    fn shown(&self) -> String {
        format!("{}/{}", self.root, self.path.display())
    }

    fn top_module(&self) -> String {
        let first = self
            .path
            .iter()
            .next()
            .expect("a path has a first part")
            .to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Without the unit tests at the end.
    fn product(&self) -> &str {
        self.text.split("\n#[cfg(test)]").next().unwrap_or_default()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(below: &'static str) -> Vec<Source> {
    let root = root().join(below);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder is readable") {
            let path = entry.expect("a source folder is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                let path = path
                    .strip_prefix(&root)
                    .expect("found below the root")
                    .to_owned();
                found.push(Source {
                    root: below,
                    path,
                    text,
                });
            }
        }
    }
    assert!(!found.is_empty(), "no source below {below}");
    found
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Name and length of each function, by the indentation that rustfmt gives it.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words: Vec<&str> = trimmed.split_whitespace().collect();
        let Some(at) = words.iter().take(4).position(|word| *word == "fn") else {
            continue;
        };
        let Some(name) = words.get(at + 1) else {
            continue;
        };
        let close = format!("{}}}", &line[..line.len() - trimmed.len()]);
        if let Some(length) = lines[start..].iter().position(|line| *line == close) {
            let name = name.split(['(', '<']).next().unwrap_or_default();
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

/// The first segment of every `crate::a` and `crate::{a, b::c}` in the text.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.extend(segment(rest));
            continue;
        };
        let end = group.find("};").unwrap_or(group.len());
        found.extend(group[..end].split(',').filter_map(segment));
    }
    for (at, _) in text.match_indices("cowherd::") {
        found.extend(segment(&text[at + "cowherd::".len()..]));
    }
    found
}

fn segment(path: &str) -> Option<String> {
    let name: String = path
        .trim()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}
