//! Which snapshots may be taken, and what they become.

use super::*;

#[test]
fn a_snapshot_is_of_its_origins_kind() {
    let host = Host::new();
    let safe = snapshot::arguments(&host.ask("thin", Action::Create(create())).expect("granted"));
    let safe = safe.expect("a command");
    let prefix = safe[..5].join(" ");
    assert_eq!(
        host.arguments("origin", Action::Create(create())),
        format!(
            "{prefix} --snapshot --yes --name origin-20270115T080000Z --permission rw --size 41943040b \
             --addtag cowherd --addtag cowherd.origin=oooooo-oooo-oooo-oooo-oooo-oooo-oooooo -- vg/origin"
        )
    );
    let wanted = Create {
        read_only: true,
        activate: true,
        protected: true,
        expendable: true,
        ttl_s: Some(60),
        tags: vec!["mine".to_owned()],
        ..create()
    };
    assert_eq!(
        host.arguments("thin", Action::Create(wanted)),
        format!(
            "{prefix} --snapshot --yes --name thin-20270115T080000Z --permission r --setactivationskip y \
             --activate y --ignoreactivationskip --addtag cowherd --addtag cowherd.origin=tttttt-tttt-tttt-tttt-tttt-tttt-tttttt \
             --addtag cowherd.protected --addtag cowherd.expendable --addtag cowherd.expires=1800000060 \
             --addtag mine -- vg/thin"
        )
    );
    // Also of a thin snapshot, but never of a copy-on-write one.
    host.ask("nightly", Action::Create(create()))
        .expect("a snapshot of a snapshot");
    host.refuses(
        "snap-s",
        Action::Create(create()),
        Code::WrongKind,
        "LVM takes none",
    );
    host.refuses(
        "pool-p",
        Action::Create(create()),
        Code::WrongKind,
        "a thin pool",
    );
    host.refuses(
        "odd",
        Action::Create(create()),
        Code::WrongKind,
        "no known kind",
    );
    host.refuses(
        "thin",
        of_kind(SnapshotKind::Thick),
        Code::WrongKind,
        "its snapshots are thin",
    );
    host.refuses(
        "origin",
        of_kind(SnapshotKind::Thin),
        Code::WrongKind,
        "no thin volume",
    );
}

#[test]
fn a_store_has_a_size_that_lvm_can_use() {
    let host = Host::new();
    for (size, bytes) in [
        (StoreSize::Bytes(Bytes::mib(5).0), Bytes::mib(8)),
        (StoreSize::PercentOfOrigin(1), Bytes::mib(4)),
        (StoreSize::PercentOfOrigin(100), Bytes::mib(400)),
    ] {
        let arguments = host.arguments("origin", sized(size));
        assert!(
            arguments.contains(&format!("--size {}b ", bytes.0)),
            "{arguments}"
        );
    }
    for size in [
        StoreSize::Bytes(0),
        StoreSize::Bytes(511),
        StoreSize::PercentOfOrigin(0),
        StoreSize::PercentOfOrigin(201),
        StoreSize::PercentOfOrigin(u32::MAX),
    ] {
        host.refuses("origin", sized(size), Code::InvalidSize, "expected");
    }
    host.refuses(
        "origin",
        sized(StoreSize::Bytes(1 << 62)),
        Code::VgReserve,
        "400 MiB free",
    );
    host.refuses(
        "thin",
        sized(StoreSize::Bytes(1 << 30)),
        Code::InvalidSize,
        "leave `size` out",
    );
}

#[test]
fn the_reserve_of_a_group_is_nobodys() {
    let mut host = Host::new();
    host.world.policy.reserve.bytes = Bytes::mib(380);
    host.refuses(
        "origin",
        Action::Create(create()),
        Code::VgReserve,
        "380 MiB of it in reserve",
    );
    host.refuses("snap-s", extend(80), Code::VgReserve, "400 MiB free");
    host.ask("snap-s", extend(60))
        .expect("what is not in reserve");
}

#[test]
fn a_pool_that_is_full_or_sick_gets_no_snapshot() {
    let take = || Action::Create(create());
    let mut host = Host::new();
    host.world.inventory.pools = vec![pool('p', 100, 86, 40)];
    host.refuses(
        "thin",
        take(),
        Code::PoolTooFull,
        "the data of its pool vg/pool-p is 86.0 % full",
    );
    host.world.inventory.pools = vec![pool('p', 100, 40, 71)];
    host.refuses(
        "thin",
        take(),
        Code::PoolTooFull,
        "the metadata of its pool",
    );
    for damage in [
        |pool: &mut cowherd::model::inventory::PoolUsage| pool.needs_check = true,
        |pool: &mut cowherd::model::inventory::PoolUsage| pool.mode = PoolMode::ReadOnly,
        |pool: &mut cowherd::model::inventory::PoolUsage| pool.mode = PoolMode::OutOfDataSpace,
    ] {
        let mut sick = pool('p', 100, 40, 40);
        damage(worlds::usage_of(&mut sick));
        host.world.inventory.pools = vec![sick];
        host.refuses("thin", take(), Code::PoolDamaged, "cannot be written to");
    }
    let mut failed = pool('p', 100, 40, 40);
    failed.kernel = Kernel::Known {
        at: host.world.now,
        suspended: false,
        status: PoolStatus::Failed,
    };
    host.world.inventory.pools = vec![failed.clone()];
    host.refuses("thin", take(), Code::PoolDamaged, "cannot be written to");
    failed.kernel = Kernel::Late {
        since: host.world.now,
        last: None,
    };
    host.world.inventory.pools = vec![failed];
    host.refuses("thin", take(), Code::Busy, "does not answer");
    host.world.inventory.pools = Vec::new();
    host.refuses(
        "thin",
        take(),
        Code::PoolDamaged,
        "does not tell of its pool",
    );
}

#[test]
fn a_name_is_new_and_short_enough() {
    let mut host = Host::new();
    host.refuses(
        "origin",
        named("nightly"),
        Code::Exists,
        "vg/nightly exists",
    );
    host.ask("origin", named(&"n".repeat(100)))
        .expect("it fits");
    // One that is made up gives way.
    host.of("odd").name = worlds::name("origin-20270115T080000Z");
    let arguments = host.arguments("origin", Action::Create(create()));
    assert!(
        arguments.contains("--name origin-20270115T080000Z-2 "),
        "{arguments}"
    );
    host.of("origin").name = worlds::name(&"o".repeat(120));
    host.refuses(
        &"o".repeat(120),
        Action::Create(create()),
        Code::InvalidName,
        "",
    );
}

#[test]
fn an_origin_has_so_many_snapshots_and_no_more() {
    let mut host = Host::new();
    host.access.limits.cow_per_origin = 2;
    host.refuses(
        "origin",
        Action::Create(create()),
        Code::TooManySnapshots,
        "it has 2 snapshots, at most 2",
    );
    host.access.limits.thin_per_origin = 4;
    host.ask("thin", Action::Create(create()))
        .expect("a fourth");
    host.access.limits.thin_per_origin = 3;
    host.refuses(
        "thin",
        Action::Create(create()),
        Code::TooManySnapshots,
        "it has 3",
    );
}

#[test]
fn nothing_is_called_what_proxmox_takes_for_its_own() {
    let mut host = Host::new();
    host.of("thin").name = worlds::name("vm-5");
    for (wanted, name) in [
        (create(), "s-vm-5-20270115T080000Z"),
        (
            Create {
                name: Some(Name::parse("vm-day").expect("a literal name")),
                ..create()
            },
            "vm-day",
        ),
    ] {
        let task = host.ask("vm-5", Action::Create(wanted)).expect("granted");
        let Step::Create(new) = &task.step else {
            panic!("{task:?}");
        };
        assert_eq!(new.name.as_str(), name);
        // What is made is not taken for another's.
        host.of("nightly").name = worlds::name(name);
        host.ask(name, Action::Remove).expect("it is ours");
        host.of(name).name = worlds::name("nightly");
    }
    for name in ["vm-9-x", "base-1-disk-0", "snap_vm-9-disk-0_day"] {
        host.refuses("vm-5", named(name), Code::InvalidName, "Proxmox VE");
    }
}
