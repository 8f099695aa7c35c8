//! What another process of ours has written, damaged: frames, options, manifests, intents.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use cowherd::act::intent::Intents;
use cowherd::act::notes::NoteError;
use cowherd::config;
use cowherd::guard::{Berth, DeskOptions, Manifest, Options};
use cowherd::link::{self, FromFront, FromGuard, LinkError, Message, Packed};
use cowherd::model::names::Resource;
use cowherd::model::plan::Extension;
use cowherd::model::units::Bytes;
use cowherd::model::view::{Build, View};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::damage::{any_bytes, cases, damaged, damages};
use super::told::parsed;
use crate::common::Herd;
use crate::config::every_key;
use crate::everything::everything;

/// Is removed with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("cowherd-parsers-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("intents")).expect("the temporary folder is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

static FRAME: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let view = Packed::of(&everything()).expect("it can be encoded");
    link::encode(&FromGuard::View(view)).expect("it is short")
});

fn received<T: Message>(mut bytes: &[u8]) -> Result<Option<T>, LinkError> {
    link::receive(&mut bytes)
}

fn unpacked(frame: &[u8]) -> Option<View> {
    match received(frame) {
        Ok(Some(FromGuard::View(packed))) => packed.unpack().ok(),
        Ok(Some(FromGuard::Stop | FromGuard::Answer(_)) | None) | Err(_) => None,
    }
}

/// Options of a guard, with a rule of each kind.
fn options() -> Options {
    let config = parsed(&every_key()).expect("what is shipped is valid");
    Options {
        policy: config.policy,
        collectors: config.collectors,
        listen_addresses: config.web.listen_addresses,
        telemetry_path: config.web.telemetry_path,
        web_config_file: config.web.config_file,
        front_user: config.front.user,
        api: Some(desk(config.api.expect("it is on"))),
        log_level: "info".to_owned(),
        runtime: "/run/cowherd".into(),
        build: Build {
            version: "1".to_owned(),
            revision: "2".to_owned(),
        },
        berth: Berth::Aboard(serde_json::from_value(manifest()).expect("a manifest")),
    }
}

fn desk(api: config::Api) -> DeskOptions {
    DeskOptions {
        access: api.access,
        socket: api.socket,
        group: Some(7),
        journal: "/var/lib/cowherd/journal.jsonl".into(),
        remote: api.remote,
        tokens: api.tokens,
    }
}

fn manifest() -> Value {
    let stamp = json!({"inode": 1, "size": 2, "modified": [3, 4], "changed": [-5, 6]});
    json!({
        "lvm": "/usr/sbin/lvm",
        "files": {
            "/etc/passwd": {"real": "/etc/passwd", "stamp": null},
            "/usr/sbin/dmsetup": {"real": "/usr/sbin/dmsetup", "stamp": stamp},
            "/usr/sbin/lvm": {"real": "/usr/bin/lvm", "stamp": stamp},
        },
        "settings": {"/etc/lvm/lvm.conf": {"real": "/etc/lvm/lvm.conf", "stamp": stamp}},
        "lvm_conf": "devices {\n\tdir=\"/dev\"\n}\n",
        "backup_dir": "/etc/lvm/backup",
    })
}

/// What is read as `T` at all is written and read again as the same.
fn is_stable<T: Serialize + DeserializeOwned>(text: &[u8]) -> bool {
    let again = |thing: &T| serde_json::to_value(thing).expect("it was JSON");
    serde_json::from_slice::<T>(text).is_ok_and(|thing| {
        let told = again(&thing);
        serde_json::from_value::<T>(told.clone()).is_ok_and(|same| again(&same) == told)
    })
}

#[test]
fn what_we_write_is_read_as_it_was() {
    assert_eq!(unpacked(&FRAME), Some(everything()));
    let written = serde_json::to_vec(&options()).expect("options are JSON");
    let again: Options = serde_json::from_slice(&written).expect("our own options");
    assert_eq!(again.policy, options().policy);
    assert!(is_stable::<Options>(&written));
    let taken: Manifest = serde_json::from_value(manifest()).expect("a manifest");
    assert_eq!(
        serde_json::to_value(&taken).expect("it was JSON"),
        manifest()
    );
}

#[test]
fn the_size_of_a_manifest_never_wraps() {
    let mut huge = manifest();
    huge["files"]["/usr/sbin/lvm"]["stamp"]["size"] = json!(u64::MAX);
    let huge: Manifest = serde_json::from_value(huge).expect("a manifest");
    assert_eq!(huge.size(), Bytes(u64::MAX));
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn no_frame_panics(noise in any_bytes(), damages in damages()) {
        for bytes in [&noise, &damaged(&FRAME, &damages)] {
            let _ = unpacked(bytes);
            let _ = received::<FromFront>(bytes);
        }
    }

    #[test]
    fn a_frame_cut_short_is_no_message(at in any::<Index>()) {
        let cut = &FRAME[..at.index(FRAME.len())];
        let cut_short = received::<FromGuard>(cut);
        prop_assert!(matches!(cut_short, Err(LinkError::Truncated)) || cut.is_empty(), "{} bytes", cut.len());
        // Cut before it was framed: the header is right, the view is not.
        let body = postcard::to_allocvec(&everything()).expect("it can be encoded");
        let cut = &body[..at.index(body.len())];
        prop_assert!(postcard::from_bytes::<View>(cut).is_err(), "{} of {} bytes", cut.len(), body.len());
    }

    #[test]
    fn no_options_and_no_manifest_panic_and_none_is_read_in_part(noise in any_bytes(), at in any::<Index>(), damages in damages()) {
        let whole = serde_json::to_vec(&options()).expect("options are JSON");
        prop_assert!(serde_json::from_slice::<Options>(&whole[..at.index(whole.len())]).is_err());
        let _ = serde_json::from_slice::<Options>(&noise);
        let _ = serde_json::from_slice::<Options>(&damaged(&whole, &damages));
        let whole = manifest().to_string().into_bytes();
        prop_assert!(serde_json::from_slice::<Manifest>(&whole[..at.index(whole.len())]).is_err());
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&damaged(&whole, &damages)) {
            let _ = manifest.size();
        }
    }

    #[test]
    fn an_intent_is_read_whole_or_told_as_unreadable(noise in any_bytes(), at in any::<Index>(), damages in damages()) {
        let folder = Folder::new("intents");
        let extension = Herd::small().extension("pool0", Resource::Data);
        let whole = serde_json::to_vec(&extension).expect("an extension is JSON");
        let cut = whole[..at.index(whole.len())].to_vec();
        let damaged = damaged(&whole, &damages);
        for (name, bytes) in [("a", &whole), ("b", &cut), ("c", &damaged), ("d", &noise)] {
            fs::write(folder.0.join("intents").join(name).with_extension("json"), bytes).expect("the folder is writable");
        }
        let found = Intents::in_directory(&folder.0).left_over();
        prop_assert_eq!(found.len(), 4);
        prop_assert_eq!(found[0].as_ref().ok(), Some(&extension));
        prop_assert!(matches!(found[1], Err(NoteError::Parse { .. })), "{:?}", found[1]);
        prop_assert!(found[2].is_err() || is_stable::<Extension>(&damaged));
    }
}
