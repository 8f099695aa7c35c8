//! Completion: what the scripts offer, asked of a real bash, and the names that they ask for.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fake_guard::{Does, FakeGuard, Told, cowherd, folder, problem, write};

fn volumes() -> FakeGuard {
    let view = |vg: &str, name: &str, kind: &str| {
        json!({"uuid": "u", "vg": vg, "name": name, "type": kind, "size_bytes": 1, "state": "active",
            "read_only": false, "origin": null, "pool": null, "used_percent": null, "merged_percent": null,
            "created": null, "expires": null, "expendable": false, "protected": false, "skip_activation": false,
            "owner": "foreign", "open": false, "tags": []})
    };
    FakeGuard::answering(
        200,
        &json!([
            view("vg0", "home", "thick"),
            view("vg0", "pool", "thin_pool"),
            view("vg0", "thin+1", "thin"),
            view("vg0", "snap", "cow"),
            view("vg0", "odd", "other"),
        ]),
    )
}

#[test]
fn names_are_those_that_a_command_takes() {
    let guard = volumes();
    let names = |kind: &str| guard.told(&["complete-names", "--kind", kind]);
    names("volumes").is(0, "vg0/home\nvg0/thin+1\n", "");
    names("snapshots").is(0, "vg0/home\nvg0/thin+1\nvg0/snap\n", "");
    let lines: Vec<String> = guard
        .asked()
        .iter()
        .map(|asked| asked.line().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/volumes HTTP/1.1",
            "GET /api/v1/snapshots HTTP/1.1"
        ]
    );
}

#[test]
fn nothing_is_said_where_nothing_answers() {
    let told = |guard: &FakeGuard| guard.told(&["complete-names", "--kind", "volumes"]);
    for step in [
        problem(403, "forbidden", "no"),
        Does::Bytes(Vec::new()),
        Does::Answer(200, "[{}]".to_owned()),
    ] {
        told(&FakeGuard::that(vec![step])).is(0, "", "");
    }
    let begun = Instant::now();
    told(&FakeGuard::that(vec![Does::Nothing])).is(0, "", "");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut absent = cowherd(&[
        "complete-names",
        "--kind",
        "volumes",
        "--socket",
        "/nonexistent",
    ]);
    Told::of(&mut absent).is(0, "", "");
}

/// What a real bash offers for the last of `words`.
fn offered(names: &Path, words: &[&str]) -> Vec<String> {
    let script = "source <(\"$BINARY\" completions bash)\n\
        cowherd() { [[ $* == 'complete-names --kind '* ]] && cat \"$NAMES.$3\"; }\n\
        COMP_WORDS=(\"$@\")\n\
        COMP_CWORD=$(($# - 1))\n\
        [[ $(complete -p cowherd) =~ -F.([a-z_]+) ]] || exit 9\n\
        \"${BASH_REMATCH[1]}\" cowherd \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n\
        printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let mut command = Command::new("bash");
    command
        .args(["--norc", "-c", script, "bash", "cowherd"])
        .args(words);
    command
        .env("BINARY", env!("CARGO_BIN_EXE_cowherd"))
        .env("NAMES", names);
    let told = Told::of(&mut command);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{words:?}");
    told.out
        .lines()
        .map(str::to_owned)
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn bash_completes_commands_options_and_names() {
    let folder = folder("bash");
    let names = folder.join("names");
    write(
        &folder.join("names.volumes"),
        b"vg0/home\nvg0/root\nvg1/data\n",
    );
    write(&folder.join("names.snapshots"), b"vg0/home-1\nvg1/data-1\n");
    let cases: [(&[&str], &[&str]); 14] = [
        (&["sna"], &["snapshot"]),
        (&["snapshot", "cr"], &["create"]),
        (&["snapshot", "create", "vg0/"], &["vg0/home", "vg0/root"]),
        (
            &["snapshot", "create", "vg0/home", "--exp"],
            &["--expendable"],
        ),
        (&["snapshot", "create", "--type", "thi"], &["thick", "thin"]),
        (&["snapshot", "create", "--size", "v"], &[]),
        (
            &["snapshot", "create", "--expendable", "vg1"],
            &["vg1/data"],
        ),
        (
            &["snapshot", "remove", "vg0/home-1", "v"],
            &["vg0/home-1", "vg1/data-1"],
        ),
        (&["snapshot", "merge", "vg1/"], &["vg1/data-1"]),
        (&["snapshot", "list", "--origin", "vg1"], &["vg1/data"]),
        (&["snapshot", "list", "--origin", "=", "vg1"], &["vg1/data"]),
        (&["snapshot", "list", "vg1"], &[]),
        (&["snapshot", "extend", "--size", "=", "v"], &[]),
        (&["completions", "z"], &["zsh"]),
    ];
    for (words, expected) in cases {
        assert_eq!(offered(&names, words), expected, "{words:?}");
    }
    assert!(offered(&names, &["snapshot", "merge", "vg9"]).is_empty());
    std::fs::remove_dir_all(&folder).expect("it was made above");
}

#[test]
fn no_shell_is_told_of_what_is_not_to_be_typed() {
    for shell in ["bash", "zsh", "fish"] {
        let told = Told::of(&mut cowherd(&["completions", shell]));
        assert_eq!(told.code, Some(0), "{shell}");
        assert!(told.out.contains("complete-names --kind "), "{shell}");
        assert!(told.out.contains("deactivate"), "{shell}");
        for hidden in ["manifest", "lock-file", "host-root"] {
            assert!(!told.out.contains(hidden), "{shell}: {hidden}");
        }
    }
    let told = Told::of(&mut cowherd(&["completions", "tcsh"]));
    assert_eq!(told.code, Some(2));
}

#[test]
fn zsh_asks_for_names_where_one_may_stand() {
    let script = Told::of(&mut cowherd(&["completions", "zsh"])).out;
    let hooks = |name: &str| script.matches(&format!(":{name}'")).count();
    // extend, activate, deactivate, merge, remove, protect, expire; create, list --origin.
    assert_eq!(
        (hooks("_cowherd_snapshots"), hooks("_cowherd_volumes")),
        (7, 2)
    );
    let called = script
        .find("_cowherd \"$@\"")
        .expect("it runs what it defines");
    assert!(
        script
            .find("_cowherd_volumes() {")
            .is_some_and(|defined| defined < called)
    );
}
