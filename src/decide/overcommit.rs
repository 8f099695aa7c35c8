//! What LVM says of a pool whose volumes could outgrow it, computed as LVM computes it, so that it can be
//! told without making a volume, and told what LVM leaves out. Words and sums are those of lvm2's
//! `thin_pool_check_overprovisioning` (`lib/metadata/thin_manip.c`).

use crate::model::audit::Autoextend;
use crate::model::inventory::{Inventory, ThinPool, ThinSums, VolumeGroup};
use crate::model::units::Bytes;

/// The sums of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit {
    /// Of all thin volumes that count here, snapshots included.
    pub virtual_size: Bytes,
    /// Of all thin pools that count here.
    pub pools: Bytes,
    /// All thin pools of the group are counted, because the pool's own sums do not tell enough.
    pub is_of_group: bool,
    pub exceeds: Exceeds,
}

/// What the virtual sizes exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeds {
    Nothing,
    Pools,
    /// And what the group could give them.
    Free(Bytes),
    /// And all that the group has.
    Group(Bytes),
}

/// As LVM sums up when a thin volume of this pool is made.
#[must_use]
pub fn of(inventory: &Inventory, group: &VolumeGroup, pool: &ThinPool) -> Overcommit {
    let own = pool.data.bytes(group.extent);
    if pool.virtual_size <= own {
        return Overcommit {
            virtual_size: pool.virtual_size,
            pools: own,
            is_of_group: false,
            exceeds: Exceeds::Nothing,
        };
    }
    let all = || inventory.pools.iter().filter(|p| p.id.vg == group.uuid);
    let ThinSums {
        virtual_size,
        pools,
    } = inventory.thin_sums(group);
    let free = group.free_bytes();
    let exceeds = if virtual_size <= pools {
        Exceeds::Nothing
    } else if group.size < virtual_size {
        Exceeds::Group(group.size)
    } else if free < virtual_size {
        Exceeds::Free(free)
    } else {
        Exceeds::Pools
    };
    Overcommit {
        virtual_size,
        pools,
        is_of_group: all().count() > 1,
        exceeds,
    }
}

/// LVM's warnings about this pool, word for word; none when LVM would be silent.
#[must_use]
pub fn warnings(overcommit: &Overcommit, pool: &ThinPool, lvm: Autoextend) -> Vec<String> {
    let (beyond, size) = match overcommit.exceeds {
        Exceeds::Nothing => return Vec::new(),
        Exceeds::Group(size) => (" and the size of whole volume group", size),
        Exceeds::Free(Bytes::ZERO) => ("", Bytes::ZERO),
        Exceeds::Free(size) => (" and the amount of free space in volume group", size),
        // With room left LVM trusts its own autoextension.
        Exceeds::Pools if lvm.is_on() => return Vec::new(),
        Exceeds::Pools => ("", overcommit.pools),
    };
    let pools = if overcommit.is_of_group {
        "s".to_owned()
    } else {
        format!(" {}", pool.name)
    };
    let size = if size == Bytes::ZERO {
        "no free space in volume group".to_owned()
    } else {
        as_lvm(size)
    };
    let sums = format!(
        "WARNING: Sum of all thin volume sizes ({}) exceeds the size of thin pool{pools}{beyond} ({size}).",
        as_lvm(overcommit.virtual_size)
    );
    let mut said = vec![sums];
    if !lvm.is_on() {
        said.push(
            "WARNING: You have not turned on protection against thin pools running out of space."
                .to_owned(),
        );
    }
    if lvm.threshold > 99 {
        said.push(
            "WARNING: Set activation/thin_pool_autoextend_threshold below 100 to trigger automatic extension of thin pools before they get full."
                .to_owned(),
        );
    }
    if lvm.percent == 0 {
        said.push(
            "WARNING: Set activation/thin_pool_autoextend_percent above 0 to specify by how much to extend thin pools reaching the threshold."
                .to_owned(),
        );
    }
    said
}

/// A size as LVM prints it: two decimals of the largest unit, with a sign when it was rounded
/// (lvm2 `libdm/libdm-string.c`, `dm_size_to_string` with the suffix `r`).
fn as_lvm(size: Bytes) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let exponent = (size.0.max(1).ilog2() / 10).min(6);
    let unit = 1_u128 << (10 * exponent);
    let hundredths = u128::from(size.0) * 100;
    let rounded = (hundredths + unit / 2) / unit;
    let sign = match (rounded * unit).cmp(&hundredths) {
        std::cmp::Ordering::Greater => "<",
        std::cmp::Ordering::Equal | std::cmp::Ordering::Less => "",
    };
    let name = UNITS.get(exponent as usize).copied().unwrap_or("EiB");
    format!("{sign}{}.{:02} {name}", rounded / 100, rounded % 100)
}
