//! The hands and eyes that `act` gets in the simulation: they change and see the model instead of a host,
//! and once in a while a tool does not do what it was told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use cowherd::act::lock::LockError;
use cowherd::act::notes::NoteError;
use cowherd::act::{Eyes, Hands, Sight, Tool};
use cowherd::command::{CommandError, Finished};
use cowherd::model::inventory::{CowStatus, Layer};
use cowherd::model::names::{Name, Resource, Target, Uuid, VolumeId};
use cowherd::model::plan::Extension;
use cowherd::model::units::{Bytes, THIN_METADATA_BLOCK};

use super::host::Host;

/// What LVM exits with for everything but a wrong command line.
const FAILED: i32 = 5 << 8;
const KILLED: i32 = 9;

/// What goes wrong with the next lvextend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    /// The kernel has no process, memory or descriptor left to start it with.
    NotStarted,
    /// It fails and has done nothing.
    Refused,
    /// It says that all went well and has done nothing.
    NoEffect,
    /// It has done all and says that it failed.
    DoneButFails,
    /// LVM's metadata is written and the kernel has not taken it over.
    HalfDone,
    /// Killed while devices are suspended, before LVM's commit.
    KilledBefore,
    /// The same after it.
    KilledAfter,
    /// It is asked to end at its deadline, and does its work after that.
    Overdue,
}

impl Mishap {
    pub(super) const ALL: [Self; 8] = [
        Self::NotStarted,
        Self::Refused,
        Self::NoEffect,
        Self::DoneButFails,
        Self::HalfDone,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Overdue,
    ];
}

/// One host in the hands of one command.
#[derive(Debug)]
pub(super) struct Rig<'a> {
    pub(super) host: &'a RefCell<Host>,
    pub(super) intents: &'a RefCell<BTreeMap<Target, Extension>>,
    pub(super) lock_wait: Duration,
    /// Somebody else has the group's lock for longer than we wait.
    pub(super) is_locked: bool,
    pub(super) mishap: Cell<Option<Mishap>>,
    /// What no guard may do, and was done.
    pub(super) faults: RefCell<Vec<String>>,
}

impl Hands for Rig<'_> {
    type Lock = ();

    fn lock(&self, group: &Name, deadline: Duration) -> Result<(), LockError> {
        if self.is_locked {
            let path = PathBuf::from(format!("V_{group}"));
            return Err(LockError::Held { path, deadline });
        }
        Ok(())
    }

    fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    fn remember(&self, extension: &Extension) -> Result<(), NoteError> {
        let intent = (extension.target.clone(), extension.clone());
        self.intents.borrow_mut().extend([intent]);
        Ok(())
    }

    fn forget(&self, target: &Target) {
        self.intents.borrow_mut().remove(target);
    }

    fn run(&self, tool: Tool, arguments: &[String], _: Duration) -> Result<Finished, CommandError> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let last = words.last().copied().unwrap_or_default();
        if self.mishap.get() == Some(Mishap::NotStarted) {
            self.mishap.take();
            let source = io::Error::from(io::ErrorKind::WouldBlock);
            let program = format!("{tool:?}");
            return Err(CommandError::Spawn { program, source });
        }
        let (status, overdue) = match (tool, words.first()) {
            (Tool::Lvm, Some(&"lvextend")) => self.lvextend(&words),
            (Tool::Lvm, Some(&"lvchange")) => {
                let id = self.volume(last);
                id.inspect(|id| self.host.borrow_mut().reload(id));
                (0, false)
            }
            (Tool::Dmsetup, Some(&"resume")) => {
                let mut host = self.host.borrow_mut();
                for pool in host
                    .pools
                    .iter_mut()
                    .filter(|p| p.letter.to_string() == last)
                {
                    pool.suspended = false;
                }
                for cow in host
                    .cows
                    .iter_mut()
                    .filter(|c| c.letter.to_string() == last)
                {
                    cow.suspended = false;
                }
                (0, false)
            }
            (Tool::Dmsetup, Some(&"clear")) => (0, false),
            _ => {
                let fault = format!("ran {tool:?} {words:?}");
                self.faults.borrow_mut().push(fault);
                (FAILED, false)
            }
        };
        Ok(Finished {
            status: ExitStatus::from_raw(status),
            stdout: Vec::new(),
            stderr: b"  as the simulation has it\n".to_vec(),
            took: Duration::ZERO,
            overdue,
            truncated: false,
        })
    }
}

impl Rig<'_> {
    fn volume(&self, name: &str) -> Option<VolumeId> {
        let lv = Name::parse(name.split_once('/')?.1).ok()?;
        self.host.borrow().id_of(&lv)
    }

    /// The raw exit status, and whether it was overdue.
    fn lvextend(&self, words: &[&str]) -> (i32, bool) {
        let asked = words.windows(2).find_map(|pair| {
            let is_metadata = match pair[0] {
                "--size" => false,
                "--poolmetadatasize" => true,
                _ => return None,
            };
            Some((is_metadata, pair[1].strip_suffix('b')?.parse().ok()?))
        });
        let id = self.volume(words.last().copied().unwrap_or_default());
        let (Some((is_metadata, size)), Some(id)) = (asked, id) else {
            return (FAILED, false);
        };
        let mut host = self.host.borrow_mut();
        let resource = match (host.pool_mut(&id), is_metadata) {
            (Some(pool), _) if pool.needs_check => {
                let fault = format!("extended {}, which needs a check", pool.letter);
                self.faults.borrow_mut().push(fault);
                return (0, false);
            }
            (Some(_), true) => Resource::Metadata,
            (Some(_), false) => Resource::Data,
            (None, _) => Resource::Cow,
        };
        let mishap = self.mishap.take();
        match mishap {
            Some(Mishap::Refused) => return (FAILED, false),
            Some(Mishap::NoEffect) => return (0, false),
            Some(Mishap::KilledBefore) => {
                host.suspend(&id);
                return (KILLED, false);
            }
            Some(
                Mishap::NotStarted
                | Mishap::DoneButFails
                | Mishap::HalfDone
                | Mishap::KilledAfter
                | Mishap::Overdue,
            )
            | None => {}
        }
        if host.commit(&id, resource, Bytes(size)).is_err() {
            return (FAILED, false);
        }
        match mishap {
            Some(Mishap::HalfDone) => (FAILED, false),
            Some(Mishap::KilledAfter) => {
                host.suspend(&id);
                (KILLED, false)
            }
            Some(Mishap::DoneButFails) => {
                host.reload(&id);
                (FAILED, false)
            }
            Some(
                Mishap::NotStarted
                | Mishap::Refused
                | Mishap::NoEffect
                | Mishap::KilledBefore
                | Mishap::Overdue,
            )
            | None => {
                host.reload(&id);
                (0, mishap == Some(Mishap::Overdue))
            }
        }
    }
}

impl Eyes for Rig<'_> {
    fn sight(&self, target: &Target) -> Result<Option<Sight>, String> {
        let mut host = self.host.borrow_mut();
        if let Some(pool) = host.pool_mut(&target.volume) {
            let total = match target.resource {
                Resource::Metadata => THIN_METADATA_BLOCK.saturating_mul(pool.metadata_total()),
                Resource::Data | Resource::Cow => Bytes(pool.total()),
            };
            return Ok(Some(Sight {
                total,
                suspended: pool.suspended,
                sound: !pool.needs_check,
            }));
        }
        let Some(cow) = host.cow_mut(&target.volume) else {
            return Ok(None);
        };
        let sound = matches!(cow.status(), CowStatus::Valid(_));
        Ok(Some(Sight {
            total: if sound {
                Bytes(cow.total())
            } else {
                Bytes::ZERO
            },
            suspended: cow.suspended,
            sound,
        }))
    }

    fn layers(&self, _: &Uuid) -> Result<Vec<Layer>, String> {
        let host = self.host.borrow();
        let layer = |letter: char, volume: &VolumeId, layer: &str, suspended| Layer {
            name: letter.to_string(),
            volume: volume.clone(),
            layer: layer.to_owned(),
            suspended,
            inactive_table: false,
        };
        let pools = host
            .pools
            .iter()
            .map(|p| layer(p.letter, &p.id, "tpool", p.suspended));
        let cows = host
            .cows
            .iter()
            .map(|c| layer(c.letter, &c.id, "cow", c.suspended));
        Ok(pools.chain(cows).collect())
    }
}
