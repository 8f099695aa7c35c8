//! The command line asks a guard elsewhere: with a token, with a certificate, and in vain.

use std::net::TcpListener;
use std::path::PathBuf;

use cowherd::model::action::{Caller, Question};

use super::super::fake_guard::{Told, cowherd};
use super::super::setting::{authority, dns, signed};
use super::remote::{Net, good, text};

/// Runs it with these options more.
fn told(net: &Net, port: u16, words: &[&str], options: &[(&str, &str)]) -> Told {
    let mut command = cowherd(words);
    command
        .arg("--url")
        .arg(format!("https://localhost:{port}"));
    for (option, file) in options {
        command.arg(option).arg(net.setting.folder.join(file));
    }
    Told::of(&mut command)
}

#[test]
fn a_guard_elsewhere_is_asked_with_a_token_or_a_certificate() {
    let net = Net::start();
    let port = net.address.port();
    net.setting.write("token", &format!("{}\n", good()));
    let (cert, key) = signed(
        &net.setting.authority,
        vec![dns("backup.example.org")],
        2120,
    );
    net.setting.write("own.pem", &cert);
    net.setting.write("own.key", &key);
    let by_token = [("--ca", "ca.pem"), ("--token-file", "token")];
    let by_cert = [
        ("--ca", "ca.pem"),
        ("--cert", "own.pem"),
        ("--key", "own.key"),
    ];
    for options in [&by_token[..], &by_cert] {
        let listed = told(&net, port, &["snapshot", "list"], options);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        assert!(listed.out.contains("vg0/s1"), "{listed:?}");
        let words = ["snapshot", "create", "vg0/vm-1", "--no-wait"];
        let made = told(&net, port, &words, options);
        assert_eq!(made.code, Some(0), "{made:?}");
        let last = net.asked().pop().expect("it was asked");
        assert!(matches!(last.question, Question::Act(_)), "{last:?}");
        let is_remote = matches!(
            last.caller,
            Caller::Token { .. } | Caller::Certificate { .. }
        );
        assert!(is_remote, "{last:?}");
    }
    let words = ["snapshot", "remove", "vg0/vm-1", "--yes"];
    let refused = told(&net, port, &words, &by_token);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("forbidden"), "{refused:?}");
}

#[test]
fn what_keeps_a_guard_elsewhere_from_being_asked_is_told() {
    let net = Net::start();
    let port = net.address.port();
    net.setting.write("token", &text("backup", &[8; 32]));
    net.setting.write("other.pem", &authority().pem());
    net.setting.write("none", "");
    let nobody = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let free = nobody.local_addr().expect("it is bound").port();
    drop(nobody);
    let plain = net.guard.address.port();
    let ca = ("--ca", "ca.pem");
    let token = ("--token-file", "token");
    for (port, options, code, expected) in [
        (port, vec![ca, token], 3, "unauthenticated: token backup"),
        (port, vec![ca], 3, "unauthenticated: `Authorization`"),
        (
            port,
            vec![("--ca", "other.pem"), token],
            4,
            "speak TLS with",
        ),
        (plain, vec![ca, token], 4, "speak TLS with"),
        (
            free,
            vec![ca, token],
            4,
            "nothing answers at https://localhost",
        ),
        (port, vec![("--ca", "none")], 2, "has no certificates"),
        (port, vec![ca, ("--token-file", "none")], 2, "has no token"),
        (port, vec![ca, ("--token-file", "gone")], 1, "read "),
        (
            port,
            vec![ca, ("--cert", "ca.pem"), ("--key", "none")],
            2,
            "are no certificate and its key",
        ),
        (port, vec![token], 2, "--ca"),
        (port, vec![ca, ("--cert", "ca.pem")], 2, "--key"),
        (port, vec![ca, ("--socket", "s")], 2, "--socket"),
    ] {
        let told = told(&net, port, &["jobs"], &options);
        assert_eq!(told.code, Some(code), "{options:?}: {told:?}");
        assert!(told.err.contains(expected), "{options:?}: {told:?}");
    }
    let ca: PathBuf = net.setting.folder.join("ca.pem");
    let mut command = cowherd(&["jobs", "--url", "http://localhost:1", "--ca"]);
    let told = Told::of(command.arg(ca));
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("expected https://HOST:PORT"), "{told:?}");
}
