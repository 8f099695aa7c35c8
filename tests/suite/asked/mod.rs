//! What callers ask for: who may, what it comes to, and every reason why not.

mod access;
mod again;
mod change;
mod create;
mod held;
mod sized;
mod together;

use cowherd::act::snapshot::{self, Done};
use cowherd::config::Config;
use cowherd::decide::action::{Site, judge};
use cowherd::model::access::{Access, Grant};
use cowherd::model::action::{
    Act, Action, Caller, Create, Extend, Label, Merge, Reference, SnapshotKind, StoreSize, Verb,
    Who,
};
use cowherd::model::inventory::{CowStatus, GroupObstacle, Kernel, PoolMode, PoolStatus};
use cowherd::model::names::{Name, VolumeName};
use cowherd::model::refusal::{Code, Refusal};
use cowherd::model::step::{Step, Task};
use cowherd::model::time::UnixSeconds;
use cowherd::model::token::TokenId;
use cowherd::model::units::{Bytes, Extents};
use cowherd::model::volume::{Volume, VolumeKind};
use cowherd::model::writes::Writes;
use wildmatch::WildMatch;

use crate::worlds::{self, EXTENT, WALL, World, pool, snapshot, uuid, volume_id};

const ROOT: Caller = Caller::Peer { uid: 0, gid: 0 };
const BACKUP: Caller = Caller::Peer { uid: 34, gid: 34 };

/// A host with a volume of each kind, and root who may do everything.
struct Host {
    world: World,
    volumes: Vec<Volume>,
    access: Access,
    writes: Writes,
}

impl Host {
    fn new() -> Self {
        let world = World::new(vec![pool('p', 100, 40, 40)], vec![snapshot('s', 10, 20)]);
        let volumes = vec![
            volume("origin", 'o', VolumeKind::Thick, None),
            ours(store("snap-s", 's')),
            ours(store("spare", 'z')),
            volume("thin", 't', VolumeKind::Thin, None),
            ours(volume("nightly", 'n', VolumeKind::Thin, Some('t'))),
            ours(volume("weekly", 'w', VolumeKind::Thin, Some('t'))),
            volume("pool-p", 'p', VolumeKind::ThinPool, None),
            volume("odd", 'x', VolumeKind::Other, None),
            volume("theirs", 'f', VolumeKind::Thin, Some('t')),
            volume("vm-101-disk-0", 'v', VolumeKind::Thin, None),
        ];
        let mut access = Config::default().api.expect("it is on").access;
        access.verbs = Verb::ALL.to_vec();
        access.grants = vec![Grant {
            who: Who::User(34),
            verbs: vec![Verb::Create, Verb::Remove],
            volumes: vec![WildMatch::new("vg/thin"), WildMatch::new("vg/night*")],
            hooks: vec![Name::parse("app").expect("a literal name")],
        }];
        Self {
            world,
            volumes,
            access,
            writes: Writes::default(),
        }
    }

    fn of(&mut self, name: &str) -> &mut Volume {
        let found = self
            .volumes
            .iter_mut()
            .find(|volume| volume.name.lv.as_str() == name);
        found.expect("the host has it")
    }

    fn judge(&self, caller: &Caller, act: &Act) -> Result<Task, Refusal> {
        let site = Site {
            policy: &self.world.policy,
            access: &self.access,
            inventory: &self.world.inventory,
            volumes: &self.volumes,
            writes: &self.writes,
            now: WALL,
        };
        judge(&site, caller, act)
    }

    fn ask(&self, name: &str, action: Action) -> Result<Task, Refusal> {
        self.judge(&ROOT, &act(name, action))
    }

    #[track_caller]
    fn refuses(&self, name: &str, action: Action, code: Code, said: &str) {
        let refusal = self.ask(name, action).expect_err("it is refused");
        assert_eq!(refusal.code, code, "{}", refusal.detail);
        assert!(refusal.detail.contains(said), "{}", refusal.detail);
    }

    #[track_caller]
    fn arguments(&self, name: &str, action: Action) -> String {
        let task = self.ask(name, action).expect("it is granted");
        snapshot::arguments(&task).expect("a command").join(" ")
    }
}

fn volume(name: &str, letter: char, kind: VolumeKind, origin: Option<char>) -> Volume {
    Volume {
        id: volume_id(letter),
        name: worlds::name(name),
        kind,
        size: Bytes::mib(400),
        origin: origin.map(uuid),
        pool: (kind == VolumeKind::Thin).then(|| uuid('p')),
        created: None,
        tags: Vec::new(),
        is_writable: true,
        skips_activation: false,
        is_merging: false,
        opened: Some(0),
    }
}

/// A copy-on-write snapshot of the origin, as large as the one of the inventory.
fn store(name: &str, letter: char) -> Volume {
    Volume {
        size: Extents(10).bytes(EXTENT),
        ..volume(name, letter, VolumeKind::Cow, Some('o'))
    }
}

fn ours(mut volume: Volume) -> Volume {
    volume.tags.push("cowherd".to_owned());
    volume
}

fn act(name: &str, action: Action) -> Act {
    Act {
        target: Reference::Name(worlds::name(name)),
        action,
        key: None,
        if_match: None,
        dry_run: false,
        confirm: None,
    }
}

fn create() -> Create {
    Create::default()
}

fn named(name: &str) -> Action {
    Action::Create(Create {
        name: Some(Name::parse(name).expect("a literal name")),
        ..create()
    })
}

fn sized(size: StoreSize) -> Action {
    Action::Create(Create {
        size: Some(size),
        ..create()
    })
}

fn of_kind(kind: SnapshotKind) -> Action {
    Action::Create(Create { kind, ..create() })
}

fn extend(mib: u64) -> Action {
    Action::Extend(Extend {
        size_bytes: Bytes::mib(mib).0,
    })
}

fn merge(allow_deferred: bool) -> Action {
    Action::Merge(Merge { allow_deferred })
}

fn label(protected: bool) -> Action {
    Action::Label(Label {
        protected: Some(protected),
        ..Label::default()
    })
}
