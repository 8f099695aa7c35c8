//! Holds the kernel and LVM against the stories that the suite holds its model of a host against: what the
//! simulation proves is worth as much as its model is true. cowherd itself does not run here.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::guest::dm::dm_status;
use crate::guest::lvm::{Vg, lock_group};
use crate::guest::sh::{scratch_file, sh, try_sh};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::kernel_facts::{
    NO_SPACE_TIMEOUT_SECS, PoolTold, Rest, STORIES, Step, Store, Story, snapshot_line,
};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "the_model_behaves_as_the_kernel",
    "modes, refusals, status numbers and extents: the stories that the simulation's model tells, told by the kernel",
    tell,
)
.disks(&[Size::gib(3), Size::gib(3)])
.deadline(Duration::from_secs(400))];

const TIMEOUT: &str = "/sys/module/dm_thin_pool/parameters/no_space_timeout";
/// As long as the kernel lets writes wait here.
const SHORT_TIMEOUT_SECS: u64 = 5;
/// A story's thin volume: larger than what is ever written.
const VIRTUAL: Size = Size::gib(1);
const EXTENT: u64 = 4 << 20;
/// Devices in a pool's metadata that LVM knows nothing of: each has one mapping, which takes a block. Together they
/// leave a few of the 922 that the kernel hands out of 4 MiB.
const BLOCK_EATERS: u32 = 890;

fn tell(lab: &mut Lab) -> Result<()> {
    let before = fs::read_to_string(TIMEOUT).context("the kernel's patience")?;
    ensure!(
        before.trim() == NO_SPACE_TIMEOUT_SECS.to_string(),
        "the kernel waits {before} s for room"
    );
    for story in STORIES {
        println!("--- {}", story.name);
        // It must be over soon in a story that is about it, and not before its time in the others.
        let is_short = has(story, Step::Timeout);
        let secs = if is_short {
            SHORT_TIMEOUT_SECS
        } else {
            NO_SPACE_TIMEOUT_SECS
        };
        fs::write(TIMEOUT, secs.to_string())?;
        told(lab, story).with_context(|| story.name)?;
    }
    fs::write(TIMEOUT, before)?;
    locked_out(lab)
}

/// One story in a group of its own.
fn told(lab: &Lab, story: &Story) -> Result<()> {
    let mut real = Real::make(lab, story)?;
    for (step, expected) in story.steps {
        real.take(*step).with_context(|| format!("{step:?}"))?;
        let mut line = String::new();
        let mut missing = Vec::new();
        let waited = wait_until("it is told as in the story", DEADLINE, || {
            line = real.line().unwrap_or_else(|error| format!("{error:#}"));
            missing = Story::missing(expected, &line);
            missing.is_empty()
        });
        waited.with_context(|| format!("{step:?}: {missing:?} is not in {line:?}"))?;
        println!("{step:?}: {line}");
    }
    real.end()
}

fn has(story: &Story, wanted: Step) -> bool {
    story.steps.iter().any(|(step, _)| *step == wanted)
}

struct Real {
    vg: Vg,
    store: Store,
    /// What is written to.
    device: String,
    free: u64,
    written: u64,
    writer: Option<Writer>,
    refused: bool,
    failed: bool,
}

impl Real {
    fn make(lab: &Lab, story: &Story) -> Result<Self> {
        let vg = Vg::create("vg0", lab.disks())?;
        let device = match story.store {
            Store::Pool {
                data,
                metadata,
                fails_when_full,
            } => {
                let answer = if fails_when_full { 'y' } else { 'n' };
                let options = format!("--chunksize 64k --errorwhenfull {answer}");
                vg.pool("pool", Size::mib(data), Size::mib(metadata), &options)?;
                let device = vg.thin("pool", "thin", VIRTUAL)?;
                if has(story, Step::UseUpMetadata) {
                    eat_metadata(data * 1024 / 64)?;
                }
                device
            }
            Store::Snapshot { origin, store } => {
                let device = vg.thick("origin", Size::mib(origin))?;
                vg.cow_snapshot_with("origin", "snap", Size::mib(store), "--chunksize 4k")?;
                device
            }
        };
        Ok(Self {
            free: vg.free_bytes()?,
            vg,
            store: story.store,
            device,
            written: 0,
            writer: None,
            refused: false,
            failed: false,
        })
    }

    fn take(&mut self, step: Step) -> Result<()> {
        self.refused = false;
        match (step, self.store) {
            (Step::Look | Step::Timeout, _) => Ok(()),
            (Step::Write(to), _) => self.write(to),
            (Step::UseUpMetadata, _) => self.write(VIRTUAL.as_mib() / 10),
            (Step::Extend(to), Store::Pool { .. }) => self.extend(&format!("-L {to}m vg0/pool")),
            (Step::Extend(to), Store::Snapshot { .. }) => {
                self.extend(&format!("-L {to}m vg0/snap"))
            }
            (Step::ExtendMetadata(to), _) => {
                self.extend(&format!("--poolmetadatasize {to}m vg0/pool"))
            }
        }
    }

    fn write(&mut self, to: u64) -> Result<()> {
        let from = Size::mib(self.written);
        let more = Size::mib(to - self.written);
        self.writer = Some(Writer::start_from(
            &self.device,
            from,
            Rate::Unlimited,
            more,
        )?);
        self.written = to;
        Ok(())
    }

    fn extend(&mut self, words: &str) -> Result<()> {
        self.refused = !try_sh(&format!("lvextend -y {words}"))?.success();
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        if let Some(writer) = &mut self.writer {
            // One that waits for room has not failed.
            let has_ended = writer.has_ended()?;
            let failed = writer.so_far().is_some_and(|told| told.error.is_some());
            self.failed |= has_ended && failed;
            ensure!(
                has_ended || matches!(self.store, Store::Pool { .. }),
                "the origin is still written to"
            );
        }
        let rest = Rest {
            taken: (self.free - self.vg.free_bytes()?) / EXTENT,
            refused: self.refused,
            failed: self.failed,
        };
        match self.store {
            Store::Pool { .. } => pool_line(&dm_status("vg0-pool-tpool")?, &rest),
            Store::Snapshot { .. } => cow_line(&dm_status("vg0-snap")?, &rest),
        }
    }

    fn end(self) -> Result<()> {
        if let Some(writer) = self.writer {
            writer.wait(DEADLINE)?;
        }
        self.vg.remove()
    }
}

/// `0 131072 thin-pool 1 114/1024 0/1024 - rw discard_passdown queue_if_no_space - 256`
fn pool_line(status: &str, rest: &Rest) -> Result<String> {
    let fields: Vec<&str> = status.split_whitespace().collect();
    let [
        _,
        _,
        "thin-pool",
        _,
        metadata,
        chunks,
        _,
        mode,
        _,
        when_full,
        needs_check,
        ..,
    ] = fields.as_slice()
    else {
        anyhow::bail!("no status of a pool: {status}");
    };
    ensure!(*needs_check == "-", "the pool is damaged: {status}");
    let (metadata, metadata_total) = ratio(metadata)?;
    let (chunks, chunks_total) = ratio(chunks)?;
    let told = PoolTold {
        mode,
        fails: *when_full == "error_if_no_space",
        chunks,
        chunks_total,
        metadata,
        metadata_total,
    };
    Ok(told.line(rest))
}

/// `0 131072 snapshot 16/16384 16`, or a word for the numbers.
fn cow_line(status: &str, rest: &Rest) -> Result<String> {
    let fields: Vec<&str> = status.split_whitespace().collect();
    let sectors = match fields.as_slice() {
        [_, _, "snapshot", "Invalid"] => None,
        [_, _, "snapshot", used, metadata] => {
            let (allocated, total) = ratio(used)?;
            Some((allocated, total, metadata.parse()?))
        }
        _ => anyhow::bail!("no status of a snapshot: {status}"),
    };
    Ok(snapshot_line(sectors, rest))
}

fn ratio(text: &str) -> Result<(u64, u64)> {
    let (used, total) = text.split_once('/').context("no ratio")?;
    Ok((used.parse()?, total.parse()?))
}

/// Puts devices into the pool's metadata until hardly a block of it is left.
fn eat_metadata(chunks: u64) -> Result<()> {
    let mut text = format!(
        "<superblock uuid=\"\" time=\"0\" transaction=\"1\" data_block_size=\"128\" \
         nr_data_blocks=\"{chunks}\">\n"
    );
    for number in 1..=BLOCK_EATERS {
        let mapping = if number == 1 {
            // LVM's own.
            ""
        } else {
            "<single_mapping origin_block=\"0\" data_block=\"0\" time=\"0\"/>"
        };
        let mapped = u32::from(number > 1);
        writeln!(
            text,
            "<device dev_id=\"{number}\" mapped_blocks=\"{mapped}\" transaction=\"0\" \
             creation_time=\"0\" snap_time=\"0\">{mapping}</device>"
        )?;
    }
    let file = scratch_file("devices");
    fs::write(&file, text + "</superblock>\n")?;
    sh(&format!(
        "lvcreate -qqy -L 4m -n restored vg0 && thin_restore -q -i {file} -o /dev/vg0/restored && \
         vgchange -qqan vg0 && lvconvert -qqy --thinpool vg0/pool --poolmetadata vg0/restored && \
         lvremove -qqy vg0/restored && vgchange -qqay vg0"
    ))
    .map(drop)
}

/// Who does not wait for a lock that another holds is refused, and the group is as it was.
fn locked_out(lab: &Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.thick("origin", Size::mib(64))?;
    let before = vg.free_bytes()?;
    let lock = lock_group("vg0")?;
    let extend = "lvextend -L 128m vg0/origin --config global/wait_for_locks=0";
    let refused = try_sh(extend)?;
    drop(lock);
    ensure!(
        refused.code == Some(5) && refused.stderr.contains("Can't get lock for vg0"),
        "beside a held lock: {refused}"
    );
    ensure!(vg.free_bytes()? == before, "changed beside a held lock");
    sh(extend)?;
    vg.remove()
}
