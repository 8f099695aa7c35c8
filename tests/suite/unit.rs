//! The systemd unit: what the guard's safety needs of it.

use std::collections::BTreeMap;

/// Sections and keys; a key given twice keeps all its values.
fn unit() -> BTreeMap<String, Vec<String>> {
    let text = include_str!("../../packaging/cowherd.service");
    let mut keys = BTreeMap::<String, Vec<String>>::new();
    let mut section = "";
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .unwrap_or_else(|| panic!("line {}: {line}", number + 1));
        keys.entry(format!("{section}.{key}"))
            .or_default()
            .push(value.to_owned());
    }
    keys
}

#[test]
fn it_never_kills_an_lvm_command() {
    let unit = unit();
    assert_eq!(unit["Service.KillMode"], ["process"]);
    assert_eq!(unit["Service.SendSIGKILL"], ["no"]);
    // Longer than the guard itself waits for an extension.
    assert_eq!(unit["Service.TimeoutStopSec"], ["90"]);
}

#[test]
fn it_restarts_for_ever_but_not_on_bad_configuration() {
    let unit = unit();
    assert_eq!(unit["Service.Restart"], ["always"]);
    assert_eq!(unit["Unit.StartLimitIntervalSec"], ["0"]);
    assert_eq!(unit["Service.RestartPreventExitStatus"], ["2"]);
}

#[test]
fn it_leaves_alone_what_breaks_lvm() {
    let unit = unit();
    // Each of these was tried one by one: lvm fails or hangs under it.
    for key in [
        "PrivateDevices",
        "PrivateIPC",
        "PrivateUsers",
        "ProcSubset",
        "PrivateNetwork",
    ] {
        assert!(!unit.contains_key(&format!("Service.{key}")), "{key}");
    }
    assert!(
        unit["Service.DeviceAllow"]
            .iter()
            .any(|value| value == "/dev/mapper/control rw")
    );
}

#[test]
fn what_a_running_extension_left_outlives_a_restart() {
    let unit = unit();
    assert_eq!(unit["Service.RuntimeDirectory"], ["cowherd"]);
    assert_eq!(unit["Service.RuntimeDirectoryPreserve"], ["yes"]);
}

#[test]
fn it_waits_for_nothing_that_waits_for_file_systems() {
    let unit = unit();
    let after: Vec<&str> = unit["Unit.After"]
        .iter()
        .flat_map(|value| value.split_whitespace())
        .collect();
    for late in [
        "systemd-tmpfiles-setup.service",
        "local-fs.target",
        "network-online.target",
    ] {
        assert!(
            !after.contains(&late),
            "{late} comes after local-fs-pre.target"
        );
    }
    // It would want /tmp and /var/tmp mounted first.
    assert!(!unit.contains_key("Service.PrivateTmp"));
}

#[test]
fn it_lives_longer_than_the_file_systems() {
    let unit = unit();
    assert_eq!(unit["Unit.DefaultDependencies"], ["no"]);
    // What is started before something is stopped after it.
    assert_eq!(unit["Unit.Before"], ["local-fs-pre.target shutdown.target"]);
    assert_eq!(unit["Unit.Conflicts"], ["shutdown.target"]);
    assert_eq!(unit["Install.WantedBy"], ["sysinit.target"]);
}

#[test]
fn the_hook_of_mariadb_refuses_a_database_on_several_volumes() {
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/hooks/mariadb");
    let output = std::process::Command::new(hook)
        .env("COWHERD_VOLUMES", "vg0/data vg0/log")
        .output()
        .expect("it is a program");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("(vg0/data vg0/log)"), "{complaint}");
    assert!(output.stdout.is_empty(), "it is not ready");
}
