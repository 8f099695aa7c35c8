//! The configuration: what is shipped is valid and tells the defaults; what is wrong is told whole.

use std::path::Path;

use cowherd::config::{self, Config, ConfigError};

fn faults(text: &str) -> Vec<String> {
    match config::parse(text, Path::new("test.toml")) {
        Err(ConfigError::Faults { faults, .. }) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cowherd.toml");
    std::fs::read_to_string(path).expect("the shipped configuration is readable")
}

/// What is shipped, with its commented keys.
pub(crate) fn every_key() -> String {
    // Prose has a space after its `#`.
    let shipped = shipped();
    let lines = shipped.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let config = config::parse(&shipped(), Path::new("cowherd.toml")).expect("it is valid");
    assert_eq!(config, Config::default());
}

#[test]
fn the_shipped_file_names_every_key() {
    // An unknown key is answered with the known ones of its table.
    let tables = [
        "",
        "[[rule]]",
        "[thin_pool.data]",
        "[snapshot]",
        "[volume_group]",
        "[timing]",
        "[history]",
        "[guard]",
        "[collector]",
        "[web]",
        "[front]",
        "[api]",
        "[[api.caller]]",
        "[[api.hook]]",
        "[log]",
    ];
    let text = shipped();
    for table in tables {
        let all = faults(&format!("{table}\nno_such_key = 1\n"));
        let mut unknown = all.iter().filter(|fault| fault.contains("no_such_key"));
        let fault = unknown.next().expect("it is unknown");
        let (_, known) = fault
            .split_once("expected one of ")
            .expect("it lists the known keys");
        for key in known.split(", ") {
            let written = [
                format!("{key} ="),
                format!("[{key}]"),
                format!("[{key}."),
                format!("[[{key}]]"),
                format!(".{key}]]"),
            ];
            assert!(
                written.iter().any(|form| text.contains(form)),
                "{key} of {table:?} is missing"
            );
        }
    }
}

#[test]
fn its_commented_keys_are_valid_too() {
    let text = every_key();
    let config = config::parse(&text, Path::new("cowherd.toml")).expect("it is valid");
    assert!(config.policy.data.max_size.is_some());
    assert!(config.policy.snapshot.growth_per_hour.is_some());
    assert_eq!(config.policy.rules.len(), 2);
    let api = config.api.expect("it is on");
    assert_eq!(
        (api.access.grants.len(), api.group),
        (2, Some("backup".to_owned()))
    );
    let remote = api.remote.expect("it listens");
    assert_eq!(remote.listen_addresses.len(), 1);
    assert!(remote.tls_client_ca.is_some());
    assert_eq!(api.access.hooks.len(), 2);
}

#[test]
fn every_fault_is_told_at_once_with_key_value_and_range() {
    let text = r#"
        dry_run = "yes"
        threshold = 80
        [thin_pool.data]
        threshold_percent = 0
        max_size = "-1 GiB"
        [thin_pool.metadata]
        threshold_percent = 101
        [snapshot]
        extend_percent = 1.5
        headroom = -5
        [volume_group]
        reserve_percent = 101
        [web]
        listen_addresses = ["localhost"]
        telemetry_path = "metrics"
        [timing]
        look_min_ms = 5000
        look_max_ms = 100
        metadata_slower = 0
        late_after_ms = 99
        lock_wait_ms = 15001
        [history]
        fast_average_ms = 2000
        slow_average_ms = 1000
        retry_first_ms = 9000
        retry_max_ms = 8000
        first_latency_ms = 60001
        [log]
        level = "loud"
    "#;
    assert_eq!(
        faults(text),
        [
            r#"dry_run is "yes", expected true or false"#,
            "history.fast_average_ms is 2000, expected at most slow_average_ms (1000)",
            "history.first_latency_ms is 60001, expected a whole number from 10 to 60000",
            "history.retry_first_ms is 9000, expected at most retry_max_ms (8000)",
            "log.level is loud, expected one of error, warn, info, debug",
            "snapshot.extend_percent is 1.5, expected a whole number from 1 to 1000",
            r#"snapshot.headroom is -5, expected a size such as "64 MiB" or a number of bytes, up to 8 EiB"#,
            r#"thin_pool.data.max_size is "-1 GiB", expected a size such as "64 MiB" or a number of bytes, up to 8 EiB"#,
            "thin_pool.data.threshold_percent is 0, expected a whole number from 1 to 99",
            "thin_pool.metadata.threshold_percent is 101, expected a whole number from 1 to 99",
            "threshold is an unknown key (80), expected one of api, collector, dry_run, front, guard, history, log, rule, snapshot, thin_pool, timing, volume_group, web",
            "timing.late_after_ms is 99, expected a whole number from 100 to 60000",
            "timing.lock_wait_ms is 15001, expected a whole number from 100 to 15000",
            "timing.look_min_ms is 5000, expected at most look_max_ms (100)",
            "timing.metadata_slower is 0, expected a whole number from 1 to 10000",
            "volume_group.reserve_percent is 101, expected a whole number from 0 to 100",
            r#"web.listen_addresses is ["localhost"], expected a list of addresses such as ["127.0.0.1:10845"]"#,
            r#"web.telemetry_path is metrics, expected a path such as "/metrics""#,
        ]
    );
}

#[test]
fn what_is_served_over_the_network_needs_tls_and_each_caller_is_one_or_the_other() {
    let pem = "expected the absolute path of a PEM file with";
    let never = "with listen the API is served over TLS, and never without";
    let missing = [
        format!("api.tls_cert is missing, {pem} the server's certificate: {never}"),
        format!("api.tls_key is missing, {pem} the key of tls_cert: {never}"),
    ];
    assert_eq!(
        faults("[api]\nlisten = [\"127.0.0.1:1\"]\n"),
        missing,
        "not even on loopback"
    );
    let text = r#"
        [api]
        listen = ["somewhere:1"]
        tls_cert = "cert.pem"
        tokens = 5
        [[api.caller]]
        certificate = ""
        volumes = ["*"]
        [[api.caller]]
        uid = -1
        volumes = ["*"]
        [[api.caller]]
        volumes = ["*"]
        [[api.caller]]
        uid = 1
        certificate = "a"
        volumes = ["*"]
    "#;
    assert_eq!(
        faults(text),
        [
            r#"api.caller[1].certificate is "", expected a name in a certificate of a caller, such as "backup.example.org""#,
            "api.caller[2].uid is -1, expected a whole number from 0 to 4294967295",
            "api.caller[3].uid is missing, expected the number of a user, as `id -u NAME` prints it, or instead a certificate",
            "api.caller[4].certificate is beside uid, expected either it or uid: a caller is one or the other",
            r#"api.listen is ["somewhere:1"], expected a list of addresses such as ["192.0.2.1:10846"], or [] for none"#,
            r#"api.tls_cert is "cert.pem", expected an absolute path"#,
            "api.tokens is 5, expected an absolute path",
        ]
    );
    let text = r#"
        [api]
        listen = ["127.0.0.1:1"]
        tls_cert = "/c"
        tls_key = "/k"
        [[api.caller]]
        certificate = "backup.example.org"
        volumes = ["*"]
    "#;
    assert_eq!(
        faults(text),
        [format!(
            "api.tls_client_ca is missing, {pem} the certificates that sign those of callers: a [[api.caller]] has a certificate"
        )]
    );
    let config = config::parse("[api]\nlisten = []\ntls_cert = \"/c\"\n", Path::new("t"));
    let api = config.expect("it is off").api.expect("the socket is on");
    assert_eq!(api.remote, None);
}

#[test]
fn a_hook_is_whole_and_of_one_mode_and_callers_name_what_there_is() {
    let text = r#"
        [[api.hook]]
        name = "a b"
        mode = "pair"
        before = ["/bin/true"]
        command = ["/bin/true"]
        [[api.hook]]
        name = "one"
        mode = "hold"
        command = ["true"]
        max_hold_s = 61
        uid = 110
        [[api.hook]]
        name = "one"
        mode = "held"
        [[api.hook]]
        ready_s = 0
        [[api.hook]]
        name = "one"
        mode = "hold"
        command = ["/bin/true"]
        [[api.hook]]
        name = "one"
        mode = "hold"
        command = ["/bin/true"]
        [[api.caller]]
        uid = 34
        volumes = ["vg0/*"]
        hooks = ["one", "two"]
    "#;
    assert_eq!(
        faults(text),
        [
            "api.caller[1].hooks is two, expected names of [[api.hook]]",
            "api.hook[1].after is missing, expected a program by its absolute path, and its arguments",
            "api.hook[1].command is in a hook of the other mode, expected `command` in a hook of mode hold, `before` and `after` in a pair",
            r#"api.hook[1].name is "a b", expected 1 to 127 of a-z A-Z 0-9 _ . + -"#,
            r#"api.hook[2].command is ["true"], expected a program by its absolute path, and its arguments"#,
            "api.hook[2].max_hold_s is 61, expected a whole number from 1 to 60",
            "api.hook[2].uid is without the other, expected both of uid and gid, or none for root",
            r#"api.hook[3].mode is "held", expected one of pair, hold"#,
            "api.hook[4].mode is missing, expected one of pair, hold",
            "api.hook[4].name is missing, expected 1 to 127 of a-z A-Z 0-9 _ . + -",
            "api.hook[4].ready_s is 0, expected a whole number from 1 to 60",
            "api.hook[6].name is one, expected a name that no other hook has",
        ]
    );
}

#[test]
fn sizes_are_read_as_lvm_people_write_them() {
    let max = |value: &str| {
        let text = format!("[snapshot]\nmax_size = {value}\n");
        config::parse(&text, Path::new("t")).map(|c| c.policy.snapshot.max_size.map(|b| b.0))
    };
    for (value, bytes) in [
        ("4096", 4096),
        (r#""4096""#, 4096),
        (r#""512 B""#, 512),
        (r#""64MiB""#, 64 << 20),
        (r#""64 MiB""#, 64 << 20),
        (r#""1 TiB""#, 1 << 40),
    ] {
        assert_eq!(max(value).expect(value), Some(bytes), "{value}");
    }
    for value in [
        r#""64 MB""#,
        r#""1e3""#,
        r#""16 EiB""#,
        r#""9999999 TiB""#,
        r#""""#,
        "1.5",
        "[1]",
    ] {
        assert!(max(value).is_err(), "{value}");
    }
}

#[test]
fn metrics_are_served_where_a_request_can_find_them() {
    let at = |path: &str| {
        let text = format!("[web]\ntelemetry_path = '{path}'\n");
        config::parse(&text, Path::new("t")).is_ok()
    };
    for path in ["/metrics", "/probe/lvm-metrics_1.txt", "/-metrics"] {
        assert!(at(path), "{path}");
    }
    for path in [
        "",
        "/",
        "metrics",
        "/status.json",
        "/-/ready",
        "/a b",
        "/metrics?x=1",
        "/m%20",
        "/müsli",
    ] {
        assert!(!at(path), "{path}");
    }
}

#[test]
fn what_is_no_toml_says_where() {
    let error = config::parse("dry_run = \n", Path::new("/etc/x.toml")).expect_err("no value");
    assert_eq!(error.to_string(), "configuration /etc/x.toml is not TOML");
    let source = std::error::Error::source(&error).expect("the parser's own words");
    assert!(source.to_string().contains("line 1"), "{source}");
}

#[test]
fn a_named_file_must_exist_and_the_default_need_not() {
    let missing = config::load(Some(Path::new("/nonexistent/cowherd.toml")));
    assert!(
        matches!(missing, Err(ConfigError::Read { .. })),
        "{missing:?}"
    );
}
