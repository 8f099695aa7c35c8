//! The command line as somebody types it: messages and exit codes.

use std::process::{Command, Output};

fn cowherd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cowherd"))
        .args(arguments)
        .output()
        .expect("it was built")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["run", "--no-such-flag"],
        &["run", "--web.listen-address", "nowhere"],
        &["run", "--log.level", "loud"],
        &["run", "--web.telemetry-path", "metrics"],
        &[],
    ] {
        let output = cowherd(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let folder = std::env::temp_dir().join(format!("cowherd-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let path = folder.join("bad.toml");
    std::fs::write(&path, "[snapshot]\nthreshold_percent = 0\nsise = 1\n").expect("writable");
    let shown = path.display().to_string();
    for command in ["check", "run", "status", "plan"] {
        let output = cowherd(&[command, "--config", &shown]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{command}: {}",
            told(&output)
        );
        let expected = format!(
            "cowherd: configuration {shown} has 2 faults:\n  \
             snapshot.sise is an unknown key (1), expected one of enabled, extend_min, \
             extend_percent, growth_per_hour, headroom, max_size, threshold_percent\n  \
             snapshot.threshold_percent is 0, expected a whole number from 1 to 99\n"
        );
        assert_eq!(told(&output), expected, "{command}");
    }
    std::fs::remove_dir_all(&folder).expect("it was made above");
}

#[test]
fn a_missing_configuration_is_one_message_and_exit_code_2() {
    let output = cowherd(&["check", "--config", "/nonexistent/cowherd.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "cowherd: read configuration /nonexistent/cowherd.toml: \
                    No such file or directory (os error 2)\n";
    assert_eq!(told(&output), expected);
}

#[test]
fn a_broken_web_configuration_is_one_message_and_exit_code_2() {
    let folder = std::env::temp_dir().join(format!("cowherd-cli-web-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let shown = |name: &str| folder.join(name).display().to_string();
    let (config, web) = (shown("cowherd.toml"), shown("web.yml"));
    std::fs::write(&config, format!("web.config_file = {web:?}\n")).expect("writable");
    let missing =
        format!("cowherd: read configuration {web}: No such file or directory (os error 2)\n");
    assert_fails(&["run", "--web.config.file", &web], &missing);
    std::fs::write(&web, "rate_limit:\n  burst: many\nuser: {}\n").expect("writable");
    let faults = format!(
        "cowherd: configuration {web} has 2 faults:\n  \
         rate_limit.burst is \"many\", expected a whole number from 0 to 1000000\n  \
         user is an unknown key ({{}}), expected one of basic_auth_users, http_server_config, \
         rate_limit, tls_server_config\n"
    );
    for arguments in [
        &["run", "--web.config.file", &web][..],
        &["run", "--config", &config],
        &["check", "--config-only", "--config", &config],
    ] {
        assert_fails(arguments, &faults);
    }
    // What the files hold is read by the front, and by who checks.
    std::fs::write(&web, "tls_server_config: {cert_file: none.pem, key: x}").expect("writable");
    let output = cowherd(&["check", "--config-only", "--config", &config]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!("read tls_server_config.cert_file {}", shown("none.pem"));
    assert!(told(&output).contains(&expected), "{}", told(&output));
    std::fs::remove_dir_all(&folder).expect("it was made above");
}

fn assert_fails(arguments: &[&str], expected: &str) {
    let output = cowherd(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert_eq!(told(&output), expected, "{arguments:?}");
}

#[test]
fn the_shipped_configuration_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/cowherd.toml");
    let output = cowherd(&["check", "--config-only", "--config", path]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{path} is valid\n")
    );
}

#[test]
fn help_names_the_commands_and_hides_the_front() {
    let help = String::from_utf8(cowherd(&["--help"]).stdout).expect("UTF-8");
    for command in ["run", "status", "plan", "check"] {
        assert!(help.contains(&format!("  {command} ")), "{command}: {help}");
    }
    assert!(!help.contains("front"), "{help}");
}
