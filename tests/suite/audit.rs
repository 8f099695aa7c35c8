//! What `cowherd check` says of a host, without one. LVM's own words are held against LVM in the lab.

use cowherd::decide::{audit, overcommit};
use cowherd::model::audit::{Autoextend, Finding, Guarding, LvmSettings, Severity};
use cowherd::model::inventory::CowStatus;
use cowherd::model::units::{Bytes, Extents};

use crate::worlds::{World, pool, set_status, snapshot, usage_of};

const ON: Autoextend = Autoextend {
    threshold: 70,
    percent: 20,
};

/// A host that is well: guarded by cowherd, with room and a spare.
fn guarded() -> Guarding {
    Guarding {
        settings: Some(LvmSettings {
            thin: Autoextend::OFF,
            snapshot: Autoextend::OFF,
        }),
        cowherd_runs: true,
        ..Guarding::default()
    }
}

/// A group with 100 free extents, a pool of 50 and a snapshot of 10.
fn well() -> World {
    let mut pool = pool('p', 50, 10, 10);
    pool.virtual_size = Bytes::mib(100);
    World::new(vec![pool], vec![snapshot('s', 10, 10)])
}

fn findings(world: &World, guarding: &Guarding) -> Vec<Finding> {
    audit::findings(&world.policy, &world.inventory, &world.plan(), guarding)
}

fn only(world: &World, guarding: &Guarding) -> Finding {
    let mut found = findings(world, guarding);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn a_host_that_is_well_has_no_findings() {
    assert_eq!(findings(&well(), &guarded()), []);
}

#[test]
fn who_is_missing_is_told_for_each_volume() {
    let alone = Guarding {
        cowherd_runs: false,
        ..guarded()
    };
    let found = findings(&well(), &alone);
    let subjects: Vec<&str> = found
        .iter()
        .map(|finding| finding.subject.as_str())
        .collect();
    assert_eq!(subjects, ["vg/pool-p", "vg/snap-s"]);
    let says = "nobody extends it: cowherd does not run, and dmeventd does not run";
    assert_eq!(found[0].says, says);
    assert_eq!(
        found[0].mend.as_deref(),
        Some("systemctl enable --now cowherd")
    );
}

#[test]
fn a_pool_that_dmeventd_extends_is_guarded() {
    let world = well();
    let mut guarding = Guarding {
        cowherd_runs: false,
        dmeventd_runs: true,
        settings: Some(LvmSettings {
            thin: ON,
            snapshot: ON,
        }),
        ..Guarding::default()
    };
    let unwatched = findings(&world, &guarding);
    assert!(unwatched[0].says.ends_with("dmeventd does not monitor it"));
    let names = [
        &world.inventory.pools[0].name,
        &world.inventory.snapshots[0].name,
    ];
    guarding.monitored = names.map(|name| (name.clone(), true)).into();
    assert_eq!(findings(&world, &guarding), []);
    guarding.cowherd_runs = true;
    let both = findings(&world, &guarding);
    assert!(
        both[0].says.starts_with("dmeventd extends it, too"),
        "{both:#?}"
    );
}

#[test]
fn a_step_that_has_no_room_is_told_before_it_is_due() {
    let mut world = well();
    world.inventory.groups[0].free = Extents(9);
    let part = only(&world, &guarded());
    assert_eq!(part.severity, Severity::Warning);
    assert!(
        part.says
            .contains("the next step takes 40 MiB and the group has 36 MiB"),
        "{part:?}"
    );
    world.inventory.groups[0].free = Extents(0);
    let none = findings(&world, &guarded());
    assert_eq!(none[0].severity, Severity::Critical);
    assert_eq!(none[0].mend.as_deref(), Some("vgextend vg DEVICE"));
}

#[test]
fn a_spare_that_is_too_small_is_told() {
    let mut world = well();
    world.inventory.groups[0].pool_metadata_spare = Bytes::mib(4);
    let found = only(&world, &guarded());
    assert_eq!(
        found.mend.as_deref(),
        Some("lvextend --poolmetadatasize +4096k vg/pool-p")
    );
}

#[test]
fn damage_comes_first_with_its_command() {
    let mut world = well();
    usage_of(&mut world.inventory.pools[0]).needs_check = true;
    set_status(&mut world.inventory.snapshots[0], CowStatus::Invalid);
    let found = findings(&world, &guarded());
    let mends: Vec<&str> = found.iter().filter_map(|f| f.mend.as_deref()).collect();
    let repair = "lvconvert --repair vg/pool-p";
    assert_eq!(mends, [repair, "lvremove vg/snap-s"]);
    assert!(found.iter().all(|f| f.severity == Severity::Critical));
}

#[test]
fn what_lvm_says_depends_on_its_settings() {
    let mut world = well();
    world.inventory.pools[0].virtual_size = Bytes::mib(300);
    let pool = &world.inventory.pools[0];
    let sums = overcommit::of(&world.inventory, &world.inventory.groups[0], pool);
    assert_eq!(overcommit::warnings(&sums, pool, ON), Vec::<String>::new());
    let off = overcommit::warnings(&sums, pool, Autoextend::OFF);
    let first = "WARNING: Sum of all thin volume sizes (300.00 MiB) exceeds the size of thin pool \
                 vg/pool-p (200.00 MiB).";
    assert_eq!(off[0], first);
    assert_eq!(off.len(), 3);
}
