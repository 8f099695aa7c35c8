//! What an administrator ought to know of a host before something runs full: LVM's own warnings, and what
//! LVM leaves out. Pure; each finding says what mends it.

use crate::model::audit::{Autoextend, Finding, Guarding, Severity};
use crate::model::inventory::{Inventory, ThinPool, VolumeGroup};
use crate::model::names::{Resource, Uuid, VolumeName};
use crate::model::plan::{Hold, Plan};
use crate::model::policy::Policy;
use crate::model::reason::Reason;
use crate::model::units::Bytes;

use super::amount;
use super::overcommit;
use super::store::{self, Store};

/// Everything that is not as it should be, worst first; nothing when all is well.
#[must_use]
pub fn findings(
    policy: &Policy,
    inventory: &Inventory,
    plan: &Plan,
    guarding: &Guarding,
) -> Vec<Finding> {
    let mut found: Vec<Finding> = plan.holds.iter().filter_map(held).collect();
    let thin = guarding
        .settings
        .map_or(Autoextend::OFF, |settings| settings.thin);
    for pool in &inventory.pools {
        let Some(group) = inventory.group(&pool.id.vg) else {
            continue;
        };
        let sums = overcommit::of(inventory, group, pool);
        let said = overcommit::warnings(&sums, pool, thin);
        found.extend(said.into_iter().map(|says| warning(&pool.name, says, None)));
        found.extend(spare(group, pool));
    }
    for store in store::all(inventory) {
        found.extend(unguarded(&store, guarding));
        found.extend(next_step(policy, &store));
    }
    for group in &inventory.groups {
        let is_there = |uuid: &&Uuid| inventory.spare_disks.iter().any(|disk| disk.uuid == **uuid);
        let standby = policy.ladder(&group.name).standby;
        let absent = standby.iter().filter(|uuid| !is_there(uuid));
        found.extend(absent.map(|uuid| Finding {
            severity: Severity::Warning,
            subject: group.name.to_string(),
            says: format!(
                "the standby disk {} is not there, or in a group by now",
                uuid.lvm_form()
            ),
            mend: Some("pvs -o pv_name,pv_uuid,vg_name".to_owned()),
        }));
    }
    if guarding.settings.is_none() {
        found.push(Finding {
            severity: Severity::Warning,
            subject: "lvm".to_owned(),
            says: "does not tell its settings: lvmconfig failed".to_owned(),
            mend: Some("lvmconfig activation".to_owned()),
        });
    }
    found.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| a.subject.cmp(&b.subject))
    });
    found
}

fn warning(name: &VolumeName, says: String, mend: Option<String>) -> Finding {
    Finding {
        severity: Severity::Warning,
        subject: name.to_string(),
        says,
        mend,
    }
}

/// What is past its trigger and cannot be extended, or is damaged.
fn held(hold: &Hold) -> Option<Finding> {
    let name = &hold.name;
    let (severity, mend) = match &hold.reason {
        Reason::PoolFailed | Reason::NeedsCheck => (
            Severity::Critical,
            Some(format!("lvconvert --repair {name}")),
        ),
        Reason::Invalid => (Severity::Critical, Some(format!("lvremove {name}"))),
        Reason::NoRoom { .. } => (
            Severity::Critical,
            Some(format!("vgextend {} DEVICE", name.vg)),
        ),
        Reason::MergeFailed | Reason::Suspended | Reason::Late | Reason::Stuck => {
            (Severity::Critical, None)
        }
        Reason::Group { .. }
        | Reason::StateUnknown
        | Reason::AtMaxSize { .. }
        | Reason::AtGrowthPerHour { .. }
        | Reason::CoolingDown { .. }
        | Reason::Disabled => (Severity::Warning, None),
        Reason::DryRun { .. } | Reason::Merging | Reason::AtUsefulSize { .. } | Reason::Busy => {
            return None;
        }
    };
    Some(Finding {
        severity,
        subject: name.to_string(),
        says: format!("{}: {}", hold.target.resource.label(), hold.reason),
        mend,
    })
}

/// `lvol0_pmspare` must hold a copy of the pool's metadata, or a repair finds no room.
fn spare(group: &VolumeGroup, pool: &ThinPool) -> Option<Finding> {
    let metadata = pool.metadata.bytes(group.extent);
    let spare = group.pool_metadata_spare;
    (spare < metadata).then(|| {
        warning(
            &pool.name,
            format!("the group's spare for metadata has {spare}, the pool's metadata {metadata}: a repair would find no room"),
            // There is no command for the spare alone: it grows with the metadata.
            Some(format!(
                "lvextend --poolmetadatasize +{}k {}",
                group.extent.0 / Bytes::KIB,
                pool.name
            )),
        )
    })
}

/// Whether anybody would extend it.
fn unguarded(store: &Store<'_>, guarding: &Guarding) -> Option<Finding> {
    // A pool is monitored as one.
    let is_told_elsewhere = store.target.resource == Resource::Metadata;
    if is_told_elsewhere || store.damage.is_some() {
        return None;
    }
    let settings = guarding.settings?;
    let lvm = match store.target.resource {
        Resource::Data | Resource::Metadata => settings.thin,
        Resource::Cow => settings.snapshot,
    };
    let by_dmeventd = guarding.is_extended_by_dmeventd(store.name, lvm);
    let says = match (guarding.cowherd_runs, by_dmeventd) {
        (true, true) => format!(
            "dmeventd extends it, too, above {} %: each looks again before it does",
            lvm.threshold
        ),
        (true, false) | (false, true) => return None,
        (false, false) => format!("nobody extends it: {}", why_not(guarding, store.name, lvm)),
    };
    let mend = (!guarding.cowherd_runs).then(|| "systemctl enable --now cowherd".to_owned());
    Some(warning(store.name, says, mend))
}

fn why_not(guarding: &Guarding, name: &VolumeName, lvm: Autoextend) -> String {
    let dmeventd = if !guarding.dmeventd_runs {
        "dmeventd does not run"
    } else if guarding.monitored.get(name) != Some(&true) {
        "dmeventd does not monitor it"
    } else if lvm.threshold > 99 {
        "dmeventd monitors it, but lvm.conf sets no threshold"
    } else {
        "dmeventd monitors it, but lvm.conf extends by 0 %"
    };
    format!("cowherd does not run, and {dmeventd}")
}

/// Whether the next step, as LVM and as cowherd would take it, has room.
fn next_step(policy: &Policy, store: &Store<'_>) -> Option<Finding> {
    let growth = &store.growth(policy);
    if store.damage.is_some() || store.size >= store.useful_max || !growth.enabled {
        return None;
    }
    let extent = store.group.extent;
    let step = amount::usual(store, growth).min(store.useful_max.saturating_sub(store.size));
    let cost = store.cost(store.size.saturating_add(step)).bytes(extent);
    let reserve = policy.reserve(store.group);
    let room = store.group.free_bytes().saturating_sub(reserve);
    if cost <= room {
        return None;
    }
    let resource = store.target.resource.label();
    let (severity, then) = if room < extent {
        (Severity::Critical, "nothing can be extended")
    } else {
        (
            Severity::Warning,
            "cowherd takes what there is, LVM nothing",
        )
    };
    let mut found = warning(
        store.name,
        format!("{resource}: the next step takes {cost} and the group has {room} for it: {then}"),
        Some(format!("vgextend {} DEVICE", store.name.vg)),
    );
    found.severity = severity;
    // A snapshot that is lost costs a backup, not guests.
    if store.target.resource == Resource::Cow {
        found.severity = Severity::Warning;
    }
    Some(found)
}
