//! What is told of each thin volume, where somebody asked for it: the only series whose number grows with guests
//! instead of pools. Whether they are there is decided where the inventory is made, not here.

use crate::model::inventory::Inventory;
use crate::report::names;

use super::sheet::Sheet;

pub(super) fn write(sheet: &mut Sheet, inventory: &Inventory) {
    for thin in &inventory.thin_volumes {
        let object @ [vg, lv] = [thin.name.vg.as_str(), thin.name.lv.as_str()];
        let info = [vg, lv, &thin.pool, &thin.origin];
        sheet.truth(&names::THIN_VOLUME_INFO, info, true);
        sheet.value(&names::THIN_VOLUME_SIZE, object, thin.size.as_f64());
        if let Some(mapped) = thin.mapped {
            sheet.value(&names::THIN_VOLUME_MAPPED, object, mapped.as_f64());
        }
        if let Some(created) = thin.created {
            sheet.value(&names::THIN_VOLUME_CREATED, object, created.0);
        }
    }
}
