//! `cowherd token` as somebody types it: what is made, shown, taken away and refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cowherd::guard::read_token;
use cowherd::model::action::Verb;
use cowherd::model::token::{Shown, TokenId};
use serde_json::Value;

use super::fake_guard::{Told, cowherd, folder, write};
use super::metrics::golden;

/// Removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(folder("tokens"))
    }

    fn directory(&self) -> PathBuf {
        self.0.join("etc/tokens.d")
    }

    fn told(&self, words: &str) -> Told {
        let mut arguments = vec!["token"];
        arguments.extend(words.split(' '));
        let directory = self.directory();
        let mut command = cowherd(&arguments);
        Told::of(command.arg("--directory").arg(directory))
    }

    fn create(&self, id: &str) -> Told {
        self.told(&format!(
            "create --id {id} --actions create,remove --volumes vg0/vm-* vg1/* --expires 90d"
        ))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).expect("it was made");
        let names = entries.map(|entry| entry.expect("readable").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn a_token_is_shown_once_and_its_file_is_roots_alone() {
    let folder = Folder::new();
    let told = folder.create("backup-1");
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    let token = told.out.strip_suffix('\n').expect("a line");
    let Some(Shown::Token { id, sha256 }) = Shown::token(token) else {
        panic!("a token: {token}");
    };
    let file = read_token(&folder.directory(), &id).expect("it is accepted");
    assert!(file.is_of(&sha256));
    assert_eq!(file.actions, [Verb::Create, Verb::Remove]);
    assert_eq!(file.volumes, ["vg0/vm-*", "vg1/*"]);
    let path = folder.directory().join("backup-1.toml");
    assert_eq!((mode(&path), mode(&folder.directory())), (0o600, 0o700));
    let text = fs::read_to_string(path).expect("ours");
    let (_, secret) = token.rsplit_once('_').expect("a secret");
    assert!(!text.contains(secret));
    assert_eq!(folder.names(), ["backup-1.toml"], "nothing is left over");
    let other = folder.create("backup-2");
    assert_ne!(other.out.rsplit_once('_'), told.out.rsplit_once('_'));
}

#[test]
fn a_token_that_is_there_stays_and_others_have_proper_names() {
    let folder = Folder::new();
    let first = folder.create("a").out;
    let before = fs::read(folder.directory().join("a.toml")).expect("it was made");
    let expected = "cowherd: there is a token a already: revoke it, or take another name\n";
    folder.create("a").is(1, "", expected);
    assert_eq!(
        fs::read(folder.directory().join("a.toml")).expect("it is there"),
        before
    );
    assert!(first.starts_with("cowherd_a_"));
    let long = "x".repeat(65);
    for id in ["../a", ".", "..", "a/b", "a_b", "a.b", "-a", "ä", &long] {
        let told = folder.create(id);
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{id}");
        assert_eq!(folder.told(&format!("revoke {id}")).code, Some(2), "{id}");
    }
    for words in [
        "create --id b --actions create",
        "create --id b --volumes *",
        "create --id b --actions create --volumes vg0",
        "create --id b --actions create --volumes vg0/%",
        "create --id b --actions frobnicate --volumes *",
        "create --id b --actions create --volumes * --expires never",
        "revoke",
        "",
    ] {
        let told = folder.told(words);
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{words}");
    }
    assert_eq!(folder.names(), ["a.toml"]);
}

#[test]
fn a_revoked_token_is_gone_and_can_be_made_anew() {
    let folder = Folder::new();
    let first = folder.create("a").out;
    folder.told("revoke a").is(0, "", "");
    assert_eq!(folder.names(), [""; 0]);
    let directory = folder.directory();
    let expected = format!("cowherd: there is no token a in {}\n", directory.display());
    folder.told("revoke a").is(1, "", &expected);
    let second = folder.create("a");
    assert_eq!(second.code, Some(0));
    assert_ne!(second.out, first);
}

#[test]
fn a_token_that_would_not_be_accepted_is_not_made() {
    let folder = Folder::new();
    fs::create_dir_all(folder.directory()).expect("ours");
    fs::set_permissions(folder.directory(), Permissions::from_mode(0o777)).expect("ours");
    let told = folder.create("a");
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    let expected = "cowherd: the token was not made: it would not be accepted: ";
    assert!(told.err.starts_with(expected), "{}", told.err);
    assert!(
        told.err.contains("mode 0777, expected root"),
        "{}",
        told.err
    );
    assert_eq!(folder.names(), [""; 0]);
}

/// Two that are good, one that has expired, and files that are none.
fn several() -> Folder {
    let folder = Folder::new();
    fs::create_dir_all(folder.directory()).expect("ours");
    fs::set_permissions(folder.directory(), Permissions::from_mode(0o700)).expect("ours");
    let digest = "0123456789abcdef".repeat(4);
    let put = |name: &str, mode: u32, text: &str| {
        let path = folder.directory().join(name);
        let text = text.replace("DIGEST", &digest);
        write(&path, text.as_bytes());
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    };
    let text = |id: &str, rest: &str| {
        format!(
            "id = \"{id}\"\nsha256 = \"DIGEST\"\nactions = [\"create\"]\nvolumes = [\"vg0/*\", \"vg1/home\"]\n{rest}"
        )
    };
    put(
        "backup.toml",
        0o600,
        &text("backup", "expires = 4102444770\n"),
    );
    put("ci.toml", 0o400, &text("ci", ""));
    put("old.toml", 0o600, &text("old", "expires = 1700000000\n"));
    put("open.toml", 0o644, &text("open", ""));
    put("other.toml", 0o600, &text("another", ""));
    put("a_b.toml", 0o600, &text("a_b", ""));
    put(".half.17", 0o600, "");
    put("README", 0o644, "");
    folder
}

#[test]
fn a_list_tells_what_each_token_may_and_which_files_are_none() {
    let folder = several();
    let told = folder.told("list");
    assert_eq!(told.code, Some(0));
    golden("tests/suite/golden/tokens.txt", &told.out);
    let directory = format!("{}/", folder.directory().display());
    let faults: Vec<String> = told
        .err
        .lines()
        .map(|line| line.replace(&directory, ""))
        .collect();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].starts_with("cowherd: id \"a_b\" is not a token's"));
    assert!(faults[1].contains("open.toml has owner "), "{faults:?}");
    assert!(faults[1].contains("mode 0644, expected root and 0600"));
    let expected = "cowherd: other.toml: id is another, expected other as in the name of the file";
    assert_eq!(faults[2], expected);
    let json = folder.told("list --json");
    let tokens: Value = serde_json::from_str(&json.out).expect("JSON");
    let states: Vec<&str> = tokens
        .as_array()
        .expect("a list")
        .iter()
        .map(|token| token["state"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        states,
        ["refused", "good", "good", "expired", "refused", "refused"]
    );
    for out in [&told.out, &json.out] {
        assert!(!out.contains("abcdef"), "a digest is shown: {out}");
    }
}

#[test]
fn no_tokens_are_no_failure_and_a_broken_configuration_keeps_nobody_from_revoking() {
    let folder = Folder::new();
    folder.told("list").is(0, "no tokens\n", "");
    folder.told("list --json").is(0, "[]\n", "");
    let config = folder.0.join("cowherd.toml");
    let shown = config.display().to_string();
    write(&config, b"x = 1\n");
    let list = |words: &[&str]| {
        let words = [&["token", "list", "--config", &shown], words].concat();
        Told::of(&mut cowherd(&words))
    };
    assert_eq!(list(&[]).code, Some(2));
    list(&["--directory", &shown.replace("cowherd.toml", "none")]).is(0, "no tokens\n", "");
    let text = format!("[api]\ntokens = \"{}\"\n", folder.directory().display());
    write(&config, text.as_bytes());
    folder.create("a");
    assert!(
        list(&[]).out.contains("\na   good"),
        "the configured folder"
    );
    // A name is one whoever looks for it.
    assert!(TokenId::parse("a").is_ok());
}
