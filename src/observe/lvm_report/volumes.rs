//! The volumes that somebody may name, from the same report.

use crate::model::inventory::VolumeGroup;
use crate::model::volume::{Volume, VolumeKind};

use super::{Attributes, Row};

/// A volume of the group; nothing for one of LVM's hidden ones.
pub(super) fn volume(row: &Row, group: &VolumeGroup) -> Result<Option<Volume>, String> {
    let letter = row.kind()?;
    // LVM hides a snapshot as soon as it is being merged.
    if row.text("lv_name").starts_with('[') && letter != 'S' {
        return Ok(None);
    }
    let attributes = Attributes(row.text("lv_attr"));
    Ok(Some(Volume {
        id: row.id(group)?,
        name: row.volume_name(group)?,
        kind: kind(letter, !row.text("pool_lv_uuid").is_empty()),
        size: row.bytes("lv_size")?,
        origin: row.uuid("origin_uuid").ok(),
        pool: row.uuid("pool_lv_uuid").ok(),
        created: row.time("lv_time"),
        tags: row.tags(),
        is_writable: attributes.has(1, 'w'),
        skips_activation: attributes.has(9, 'k'),
        is_merging: letter == 'S' || letter == 'O',
        opened: None,
    }))
}

/// By lvs(8), `lv_attr`. A volume that moves (`p`), is converted (`c`) or virtual (`v`) is nobody's to touch.
const fn kind(letter: char, has_pool: bool) -> VolumeKind {
    match letter {
        // Merging, or merged into.
        'S' | 'O' if has_pool => VolumeKind::Thin,
        '-' | 'o' | 'O' | 'm' | 'M' | 'r' | 'R' | 'C' => VolumeKind::Thick,
        's' | 'S' => VolumeKind::Cow,
        'V' => VolumeKind::Thin,
        't' => VolumeKind::ThinPool,
        _ => VolumeKind::Other,
    }
}
