//! Parses the JSON of `lvm fullreport`. Pure.
//!
//! Unknown keys are counted and ignored, and one bad field is one fault, never a lost report: decimal commas, extra
//! sections and control characters in device ids have each blinded other exporters.

mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::model::action::PROTECTED_TAG;
use crate::model::inventory::{
    CowSnapshot, GroupObstacle, Inventory, Kernel, ThinPool, ThinVolume, VolumeGroup,
};
use crate::model::names::{Name, Uuid, VolumeId, VolumeName};
use crate::model::relief::{Expendable, SpareDisk, Tag};
use crate::model::time::UnixSeconds;
use crate::model::units::{Bytes, Extents};
use crate::model::volume::Volume;

/// Every field that is asked for, by section. All exist since lvm2 2.02.158, the first with JSON.
pub(super) const FIELDS: [(&str, &str); 5] = [
    (
        "vg",
        "vg_name,vg_uuid,vg_attr,vg_size,vg_extent_size,vg_free_count,vg_missing_pv_count,vg_mda_size,vg_mda_free",
    ),
    (
        "lv",
        "lv_name,lv_uuid,lv_attr,lv_role,lv_size,lv_time,lv_metadata_size,lv_when_full,origin,origin_uuid,origin_size,pool_lv_uuid,lv_tags",
    ),
    ("seg", "lv_uuid,segtype,chunk_size,discards,transaction_id"),
    ("pv", "pv_name,pv_uuid,pv_attr,pv_size,pv_free"),
    ("pvseg", "pv_name"),
];

/// Letters of `lv_attr`, as in lvs(8); a later LVM may add some.
const VOLUME_ATTRIBUTES_MIN: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("output is not the JSON of a full report")]
    Json { source: serde_json::Error },
}

/// What was read, and what could not be.
#[derive(Debug, Default)]
pub struct Parsed {
    pub inventory: Inventory,
    pub volumes: Vec<Volume>,
    pub faults: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    report: Vec<Sections>,
}

/// One volume group.
#[derive(Deserialize)]
struct Sections {
    #[serde(default)]
    vg: Vec<Row>,
    /// Of a group it is there, also without a volume.
    lv: Option<Vec<Row>>,
    #[serde(default)]
    seg: Vec<Row>,
    #[serde(default)]
    pv: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Row(BTreeMap<String, serde_json::Value>);

/// # Errors
/// When `output` is not JSON of the shape that lvm prints.
pub fn parse(output: &[u8]) -> Result<Parsed, ReportError> {
    // LVM prints device ids as they are; a control character would make the whole text no JSON.
    let text: String = String::from_utf8_lossy(output)
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    let document: Document =
        serde_json::from_str(&text).map_err(|source| ReportError::Json { source })?;
    let mut parsed = Parsed::default();
    let mut names = BTreeSet::new();
    for sections in &document.report {
        match group(sections, &mut parsed.faults) {
            Ok(Some(group)) if names.insert(group.name.clone()) => {
                volumes(sections, &group, &mut parsed);
                parsed.inventory.groups.push(group);
            }
            // LVM is given names: with two groups of one, neither may be changed.
            Ok(Some(group)) => {
                parsed.inventory.duplicate_names += 1;
                let first = parsed
                    .inventory
                    .groups
                    .iter_mut()
                    .find(|g| g.name == group.name);
                if let Some(first) = first {
                    first.obstacle = Some(GroupObstacle::DuplicateName);
                }
            }
            // Physical volumes without a group have a section of their own.
            Ok(None) => spare_disks(&sections.pv, &mut parsed),
            Err(fault) => parsed.faults.push(fault),
        }
    }
    parsed.inventory.unknown_fields = unknown_fields(&document);
    parsed.inventory.sort();
    Ok(parsed)
}

/// Names in the report that were not asked for, each once in each section.
fn unknown_fields(document: &Document) -> u64 {
    let mut unknown = BTreeSet::new();
    for sections in &document.report {
        let rows: [&[Row]; 4] = [
            &sections.vg,
            sections.volumes(),
            &sections.seg,
            &sections.pv,
        ];
        for ((section, asked), rows) in FIELDS.iter().zip(rows) {
            let names = rows.iter().flat_map(|row| row.0.keys());
            let others = names.filter(|name| asked.split(',').all(|asked| asked != *name));
            unknown.extend(others.map(|name| (section, name)));
        }
    }
    unknown.len() as u64
}

/// A number that no extension hangs on goes to `faults` when it cannot be read.
fn group(sections: &Sections, faults: &mut Vec<String>) -> Result<Option<VolumeGroup>, String> {
    let row = sections.vg.first();
    let Some(row) = row.filter(|row| !row.text("vg_name").is_empty()) else {
        return match sections.volumes() {
            [] => Ok(None),
            [first, ..] => Err(format!("{}: no vg_name", first.text("lv_name"))),
        };
    };
    if sections.lv.is_none() {
        return Err(format!("{}: no section lv", row.text("vg_name")));
    }
    let extent = row.bytes("vg_extent_size")?;
    let spare = sections
        .volumes()
        .iter()
        .find(|row| row.text("lv_role").contains("spare"));
    let attributes = Attributes(row.text("vg_attr"));
    let mut or_zero = |told: Result<u64, String>| {
        told.unwrap_or_else(|fault| {
            faults.push(format!("{}: {fault}", row.text("vg_name")));
            0
        })
    };
    Ok(Some(VolumeGroup {
        name: row.name("vg_name")?,
        uuid: row.uuid("vg_uuid")?,
        size: row.bytes("vg_size")?,
        extent,
        free: allocatable(row, &sections.pv, extent)?,
        missing_pvs: or_zero(row.number("vg_missing_pv_count")),
        metadata_area_size: Bytes(or_zero(row.number("vg_mda_size"))),
        metadata_area_free: Bytes(or_zero(row.number("vg_mda_free"))),
        pool_metadata_spare: spare
            .map(|row| row.bytes("lv_size"))
            .transpose()?
            .unwrap_or_default(),
        obstacle: attributes.obstacle(),
    }))
}

fn spare_disks(rows: &[Row], parsed: &mut Parsed) {
    // A missing one is told as `[unknown]`.
    for row in rows
        .iter()
        .filter(|row| row.text("pv_name").starts_with('/'))
    {
        match spare_disk(row) {
            Ok(disk) => parsed.inventory.spare_disks.push(disk),
            Err(fault) => {
                let device = row.text("pv_name");
                parsed.faults.push(format!("{device}: {fault}"));
            }
        }
    }
}

fn spare_disk(row: &Row) -> Result<SpareDisk, String> {
    let attributes = row.text("pv_attr");
    // Allocatable or used: it has a group, whatever the rest of the section says.
    if attributes.starts_with(['a', 'u']) {
        return Err(format!("pv_attr is {attributes:?} without a group"));
    }
    Ok(SpareDisk {
        uuid: row.uuid("pv_uuid")?,
        device: row.text("pv_name").to_owned(),
        size: row.bytes("pv_size")?,
    })
}

/// Free extents on physical volumes that LVM may allocate from; all free ones without a PV section.
fn allocatable(group: &Row, pvs: &[Row], extent: Bytes) -> Result<Extents, String> {
    let all = Extents(group.number("vg_free_count")?);
    if pvs.is_empty() {
        return Ok(all);
    }
    let usable = pvs.iter().filter(|pv| {
        let attributes = Attributes(pv.text("pv_attr"));
        attributes.has(0, 'a') && !attributes.has(2, 'm')
    });
    let mut free = Extents::ZERO;
    for pv in usable {
        free = free.saturating_add(pv.bytes("pv_free")?.extents_floor(extent));
    }
    Ok(free.min(all))
}

/// lvm's attribute strings: one letter a place.
struct Attributes<'a>(&'a str);

impl Attributes<'_> {
    fn has(&self, place: usize, letter: char) -> bool {
        self.0.chars().nth(place) == Some(letter)
    }

    fn obstacle(&self) -> Option<GroupObstacle> {
        [
            (0, 'r', GroupObstacle::ReadOnly),
            (2, 'x', GroupObstacle::Exported),
            (3, 'p', GroupObstacle::Partial),
            (5, 'c', GroupObstacle::Clustered),
            (5, 's', GroupObstacle::Shared),
        ]
        .into_iter()
        .find(|(place, letter, _)| self.has(*place, *letter))
        .map(|(_, _, obstacle)| obstacle)
    }
}

fn volumes(sections: &Sections, group: &VolumeGroup, parsed: &mut Parsed) {
    let segments: BTreeMap<&str, &Row> = sections
        .seg
        .iter()
        .rev()
        .map(|row| (row.text("lv_uuid"), row))
        .collect();
    let mut seen = BTreeSet::new();
    for row in sections.volumes() {
        let uuid = row.text("lv_uuid");
        if !uuid.is_empty() && !seen.insert(uuid) {
            continue;
        }
        let segment = segments.get(row.text("lv_uuid")).copied();
        parsed.inventory.expendable.extend(expendable(row, group));
        let result = row.kind().and_then(|kind| {
            parsed.volumes.extend(volumes::volume(row, group)?);
            match kind {
                't' => {
                    let pool = pool(row, segment, group, sections.volumes())?;
                    parsed.inventory.pools.push(pool);
                }
                's' | 'S' => {
                    let snapshot = snapshot(row, segment, group)?;
                    parsed.inventory.snapshots.push(snapshot);
                }
                'V' => {
                    let thin_volume = thin_volume(row, group, sections.volumes())?;
                    parsed.inventory.thin_volumes.push(thin_volume);
                }
                _ => {}
            }
            Ok(())
        });
        if let Err(fault) = result {
            parsed
                .faults
                .push(format!("{}/{}: {fault}", group.name, row.text("lv_name")));
        }
    }
}

fn pool(
    row: &Row,
    segment: Option<&Row>,
    group: &VolumeGroup,
    all: &[Row],
) -> Result<ThinPool, String> {
    let segment = segment.ok_or("no segment")?;
    let uuid = row.text("lv_uuid");
    let volumes: Vec<&Row> = all
        .iter()
        .filter(|lv| lv.text("pool_lv_uuid") == uuid && lv.text("lv_attr").starts_with('V'))
        .collect();
    let snapshots = || volumes.iter().filter(|lv| !lv.text("origin").is_empty());
    let virtual_size = volumes
        .iter()
        .map(|lv| lv.bytes("lv_size"))
        .try_fold(Bytes::ZERO, |sum, size| {
            size.map(|size| sum.saturating_add(size))
        })?;
    Ok(ThinPool {
        id: row.id(group)?,
        name: row.volume_name(group)?,
        data: row.bytes("lv_size")?.extents_floor(group.extent),
        metadata: row.bytes("lv_metadata_size")?.extents_floor(group.extent),
        chunk: segment.bytes("chunk_size")?,
        when_full: row.text("lv_when_full").to_owned(),
        discards: segment.text("discards").to_owned(),
        virtual_size,
        volumes: volumes.len() as u64 - snapshots().count() as u64,
        snapshots: snapshots().count() as u64,
        oldest_snapshot: snapshots()
            .filter_map(|lv| lv.time("lv_time"))
            .min_by(|a, b| a.0.total_cmp(&b.0)),
        transaction_id: segment.number("transaction_id").ok(),
        tags: row.tags(),
        kernel: Kernel::Inactive,
    })
}

fn snapshot(row: &Row, segment: Option<&Row>, group: &VolumeGroup) -> Result<CowSnapshot, String> {
    let segment = segment.ok_or("no segment")?;
    let origin = row.uuid("origin_uuid").ok();
    Ok(CowSnapshot {
        id: row.id(group)?,
        name: row.volume_name(group)?,
        origin: row.text("origin").trim_matches(['[', ']']).to_owned(),
        origin_id: origin.map(|lv| VolumeId {
            vg: group.uuid.clone(),
            lv,
        }),
        origin_size: row.bytes("origin_size")?,
        size: row.bytes("lv_size")?.extents_floor(group.extent),
        chunk: segment.bytes("chunk_size")?,
        created: row.time("lv_time"),
        merging: row.text("lv_attr").starts_with('S'),
        tags: row.tags(),
        kernel: Kernel::Inactive,
    })
}

fn thin_volume(row: &Row, group: &VolumeGroup, all: &[Row]) -> Result<ThinVolume, String> {
    let pool = row.text("pool_lv_uuid");
    let pool = all.iter().find(|lv| lv.text("lv_uuid") == pool);
    let bare = |name: &str| name.trim_matches(['[', ']']).to_owned();
    Ok(ThinVolume {
        id: row.id(group)?,
        name: row.volume_name(group)?,
        pool: bare(pool.map(|pool| pool.text("lv_name")).unwrap_or_default()),
        origin: bare(row.text("origin")),
        size: row.bytes("lv_size")?,
        created: row.time("lv_time"),
        mapped: None,
    })
}

/// A snapshot that may be removed, if its tags say so. One that merges is not there for long.
fn expendable(row: &Row, group: &VolumeGroup) -> Option<Expendable> {
    let tags = row.tags();
    if tags.iter().any(|tag| tag == PROTECTED_TAG) {
        return None;
    }
    let tag = tags.iter().find_map(|tag| Tag::parse(tag))?;
    let is_thin = row.text("lv_attr").starts_with('V') && !row.text("origin").is_empty();
    if !is_thin && !row.text("lv_attr").starts_with('s') {
        return None;
    }
    let pool = is_thin.then(|| row.uuid("pool_lv_uuid")).transpose().ok()?;
    Some(Expendable {
        id: row.id(group).ok()?,
        name: row.volume_name(group).ok()?,
        pool,
        created: row.time("lv_time"),
        tag,
    })
}

impl Sections {
    fn volumes(&self) -> &[Row] {
        self.lv.as_deref().unwrap_or_default()
    }
}

impl Row {
    /// The first of a volume's attributes: what is not known is another kind, what is none is a fault.
    fn kind(&self) -> Result<char, String> {
        let text = self.text("lv_attr");
        text.chars()
            .next()
            .filter(|kind| !kind.is_ascii_digit() && text.len() >= VOLUME_ATTRIBUTES_MIN)
            .ok_or_else(|| format!("lv_attr is {text:?}, expected at least ten letters"))
    }

    /// A field as text; a missing one and one of another type are empty.
    fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    }

    fn number(&self, field: &str) -> Result<u64, String> {
        let text = self.text(field);
        text.trim()
            .parse()
            .map_err(|_| format!("{field} is {text:?}, expected a whole number"))
    }

    fn bytes(&self, field: &str) -> Result<Bytes, String> {
        self.number(field).map(Bytes)
    }

    fn tags(&self) -> Vec<String> {
        let tags = self.text("lv_tags").split(',');
        tags.filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn time(&self, field: &str) -> Option<UnixSeconds> {
        let secs: f64 = self.text(field).trim().parse().ok()?;
        // Rust also reads nan and inf.
        secs.is_finite().then_some(UnixSeconds(secs))
    }

    /// Hidden volumes are shown in brackets.
    fn name(&self, field: &str) -> Result<Name, String> {
        let text = self.text(field).trim_matches(['[', ']']);
        Name::parse(text).map_err(|error| format!("{field}: {error}"))
    }

    fn uuid(&self, field: &str) -> Result<Uuid, String> {
        Uuid::parse(self.text(field)).map_err(|error| format!("{field}: {error}"))
    }

    fn id(&self, group: &VolumeGroup) -> Result<VolumeId, String> {
        Ok(VolumeId {
            vg: group.uuid.clone(),
            lv: self.uuid("lv_uuid")?,
        })
    }

    fn volume_name(&self, group: &VolumeGroup) -> Result<VolumeName, String> {
        Ok(VolumeName {
            vg: group.name.clone(),
            lv: self.name("lv_name")?,
        })
    }
}
