//! The last resort of mending: throw away inactive tables, then resume. Never a bare resume, which
//! would activate a table larger than LVM's metadata says.

use devicemapper::{DM, DevId, DmError, DmFlags, DmName, DmOptions, DmUdevFlags};

use crate::model::inventory::Layer;

/// Lowest first: a device is resumed before those that stand on it.
const BOTTOM_UP: [&str; 7] = ["tmeta", "tdata", "cow", "real", "tpool", "pool", ""];

/// Clears and resumes every suspended device among `layers`.
pub(super) fn clear_and_resume(layers: &[Layer]) -> Result<(), DmError> {
    let dm = DM::new()?;
    let rank = |layer: &Layer| BOTTOM_UP.iter().position(|name| *name == layer.layer);
    let mut suspended: Vec<&Layer> = layers.iter().filter(|layer| layer.suspended).collect();
    suspended.sort_by_key(|layer| (rank(layer), layer.name.clone()));
    for layer in suspended {
        let id = DevId::Name(DmName::new(&layer.name)?);
        if layer.inactive_table {
            dm.table_clear(&id)?;
        }
        let quiet = DmOptions::default()
            .set_flags(DmFlags::DM_NOFLUSH)
            .set_udev_flags(DmUdevFlags::DM_UDEV_DISABLE_LIBRARY_FALLBACK);
        dm.device_suspend(&id, quiet)?;
    }
    Ok(())
}
