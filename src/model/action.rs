//! What callers ask of snapshots, and what is promised to them: the messages of the API.
//!
//! These values travel as JSON: between caller and front as the documented bodies, between front and guard in
//! frames, and into the journal. Nothing in a request names a program or an option: names of volumes are
//! checked by their type, and what is done is one of `Action`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::names::{Name, Uuid, VolumeName};
use super::quiesce::{Consistency, Quiesce};
use super::refusal::Refusal;
use super::time::UnixSeconds;
use super::token::{Shown, TokenId};
use super::units::Bytes;

/// The tag of every snapshot that was made here: no other is changed without being told to.
pub const OWNER_TAG: &str = "cowherd";
/// The tag of a volume that nothing here removes or merges.
pub const PROTECTED_TAG: &str = "cowherd.protected";
/// Before the uuid of what a snapshot was taken of: LVM forgets it of thin ones.
pub const ORIGIN_TAG: &str = "cowherd.origin=";
/// The tag of a snapshot that one job made: this, and the job's number.
pub const JOB_TAG: &str = "cowherd.job=";

/// Who asks, as the front found out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Caller {
    /// A process on this host, by the credentials of its socket.
    Peer { uid: u32, gid: u32 },
    /// Over the network, with a token.
    Token { id: TokenId },
    /// Over the network, with a certificate: by the name in it that the configuration knows.
    Certificate { name: String },
    /// Over the network, and has shown nothing that is known. Nothing is ever done for one.
    Stranger { address: IpAddr },
}

/// What a caller is granted something as, and counted as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Whatever their group.
    User(u32),
    Token(TokenId),
    Certificate(String),
    Stranger(IpAddr),
}

/// One question of the front's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Comes back with the answer.
    pub number: u64,
    pub caller: Caller,
    /// The request's line, for the journal.
    pub line: String,
    pub question: Question,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    Volumes,
    Jobs,
    Job(String),
    Act(Act),
    /// What `Act` would do and destroy, and the token that lets it.
    Confirm(Act),
    /// Who somebody is who shows this.
    Admit(Shown),
    /// The front has refused to change anything, and it is to be on record.
    Refused(Refusal),
}

/// What the guard answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    pub number: u64,
    pub answer: Result<Reply, Refusal>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Volumes(Vec<VolumeView>),
    Jobs(Vec<Job>),
    /// `is_new` is false where the idempotency key was known.
    Job {
        job: Box<Job>,
        is_new: bool,
    },
    Plan(Planned),
    Confirmation(Confirmation),
    /// Whoever has shown what was asked about.
    Admitted(Caller),
    Noted,
}

/// A change that is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Of `create` the origin, else the snapshot.
    pub target: Reference,
    pub action: Action,
    /// Repeating a request with the same key does not repeat what it does.
    pub key: Option<String>,
    /// The uuid that the target must still have.
    pub if_match: Option<Uuid>,
    /// Tell what would be done.
    pub dry_run: bool,
    /// The token of a confirmation.
    pub confirm: Option<String>,
}

/// How a caller names a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    Uuid(Uuid),
    Name(VolumeName),
}

/// What to do. The names are those of the API's paths and of the verbs that a configuration allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create(Create),
    Extend(Extend),
    Activate,
    Deactivate,
    Merge(Merge),
    Remove,
    Label(Label),
}

/// The body of `POST /volumes/{id}/snapshots`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the body")]
pub struct Create {
    /// Without one it is made of the origin's name and the time.
    pub name: Option<Name>,
    #[serde(rename = "type")]
    pub kind: SnapshotKind,
    /// Of the store of a copy-on-write snapshot; a thin one has none. Without it is `auto`.
    pub size: Option<StoreSize>,
    pub read_only: bool,
    /// Of a thin snapshot, which else stays inactive. A copy-on-write one always is active.
    pub activate: bool,
    /// From when on it may be removed to make room.
    pub ttl_s: Option<u32>,
    /// It may be removed to make room at any time.
    pub expendable: bool,
    pub protected: bool,
    /// LVM tags of the caller's.
    pub tags: Vec<String>,
    /// Who is to hold still meanwhile.
    pub quiesce: Option<Quiesce>,
    /// More volumes of the same group, of which snapshots are taken at the same moment, all or none. Then `name` is what
    /// follows each origin's name.
    #[serde(with = "references")]
    pub with: Vec<Reference>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// As the origin is.
    #[default]
    Auto,
    Thick,
    Thin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreSize {
    /// What is written to the origin meanwhile, as far as that has been measured.
    Auto,
    Bytes(u64),
    PercentOfOrigin(u32),
}

/// The body of `POST /snapshots/{id}/extend`: the size that the store is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    pub size_bytes: u64,
}

/// The body of `POST /snapshots/{id}/merge`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Merge {
    /// Where the origin is in use LVM merges when it is next activated: accept that.
    pub allow_deferred: bool,
}

/// The body of `PATCH /snapshots/{id}`: what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Label {
    pub protected: Option<bool>,
    pub expendable: Option<bool>,
    /// From now; 0 for never.
    pub ttl_s: Option<u32>,
}

/// What a request would do, for people and scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// In one sentence.
    pub summary: String,
    /// What of it cannot be undone, a line each.
    pub loses: Vec<String>,
    pub needs_confirmation: bool,
}

/// The right to do one thing once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    pub token: String,
    pub expires: UnixSeconds,
    pub plan: Planned,
}

/// A volume as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the body")]
pub struct VolumeView {
    pub uuid: String,
    pub vg: Name,
    pub name: Name,
    #[serde(rename = "type")]
    pub kind: super::volume::VolumeKind,
    pub size_bytes: Bytes,
    pub state: VolumeState,
    pub read_only: bool,
    /// It is a snapshot, or was one of a volume that is gone.
    pub origin: Option<OriginView>,
    pub pool: Option<Name>,
    /// Of the store of a copy-on-write snapshot, or of a pool's data.
    pub used_percent: Option<f64>,
    /// Of what is merged; nothing while it does not.
    pub merged_percent: Option<f64>,
    pub created: Option<UnixSeconds>,
    pub expires: Option<UnixSeconds>,
    pub expendable: bool,
    pub protected: bool,
    pub skip_activation: bool,
    pub owner: Owner,
    pub open: bool,
    /// Beyond cowherd's own.
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginView {
    pub uuid: String,
    /// Nothing when it is gone.
    pub name: Option<Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    Active,
    Inactive,
    Invalid,
    Merging,
    /// It will merge when its origin is next activated.
    MergeDeferred,
}

/// Whose it is, by tags and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    Cowherd,
    /// Named as Proxmox VE names what it manages.
    Pve,
    Foreign,
}

/// Something that takes a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// 26 letters and digits, later ones sort later.
    pub id: String,
    pub verb: Verb,
    pub state: JobState,
    pub created: UnixSeconds,
    pub ended: Option<UnixSeconds>,
    pub target: JobTarget,
    pub progress: Progress,
    pub result: Option<JobResult>,
    pub error: Option<Refusal>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTarget {
    pub vg: Name,
    pub lv: Name,
    pub uuid: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Succeeded,
    Failed,
    /// The guard ended meanwhile, and what it left cannot be told for certain: `error` says what is known.
    Interrupted,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in a word or two.
    pub phase: String,
    pub percent: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobResult {
    /// What was made; of several the first.
    pub snapshot: Option<JobTarget>,
    /// All that were made, in the order in which they were asked for.
    pub snapshots: Vec<JobTarget>,
    /// The merge begins when the origin is next activated.
    pub deferred: bool,
    /// What was to be done had been done before.
    pub unchanged: bool,
    /// Where hooks were to hold applications still: as what the snapshot has their files.
    pub consistency: Option<Consistency>,
    /// Why it is not what was asked for, or what a hook complained of.
    pub remark: Option<String>,
    /// From when the first hook held until the last had let go.
    pub held_ms: Option<u64>,
}

/// The value of an action's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Create,
    Extend,
    Activate,
    Deactivate,
    Merge,
    Remove,
    Label,
}

impl Caller {
    /// On this host: nobody is root over the network.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        matches!(self, Self::Peer { uid: 0, .. })
    }

    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            Self::Peer { uid, .. } => Who::User(*uid),
            Self::Token { id } => Who::Token(id.clone()),
            Self::Certificate { name } => Who::Certificate(name.clone()),
            Self::Stranger { address } => Who::Stranger(*address),
        }
    }

    /// Where what this caller may is written.
    #[must_use]
    pub const fn written(&self) -> &'static str {
        match self {
            Self::Peer { .. } | Self::Certificate { .. } => "[[api.caller]] of the configuration",
            Self::Token { .. } => "line of its file",
            Self::Stranger { .. } => "rule",
        }
    }
}

/// In a body a volume is a text: `VG/LV`, or an uuid.
mod references {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Name, Reference, Uuid, VolumeName};

    pub(super) fn serialize<S: Serializer>(
        all: &[Reference],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(all.iter().map(Reference::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Reference>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parsed = texts.iter().map(|text| match text.split_once('/') {
            Some((vg, lv)) => {
                let (vg, lv) = (Name::parse(vg)?, Name::parse(lv)?);
                Ok(Reference::Name(VolumeName { vg, lv }))
            }
            None => Uuid::parse(text).map(Reference::Uuid),
        });
        let parsed: Result<_, super::super::names::NameError> = parsed.collect();
        parsed.map_err(D::Error::custom)
    }
}

impl Verb {
    pub const ALL: [Self; 7] = [
        Self::Create,
        Self::Extend,
        Self::Activate,
        Self::Deactivate,
        Self::Merge,
        Self::Remove,
        Self::Label,
    ];

    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Extend => "extend",
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Merge => "merge",
            Self::Remove => "remove",
            Self::Label => "label",
        }
    }
}

impl Action {
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Create(_) => Verb::Create,
            Self::Extend(_) => Verb::Extend,
            Self::Activate => Verb::Activate,
            Self::Deactivate => Verb::Deactivate,
            Self::Merge(_) => Verb::Merge,
            Self::Remove => Verb::Remove,
            Self::Label(_) => Verb::Label,
        }
    }
}

impl JobState {
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Interrupted => true,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => f.write_str(&uuid.lvm_form()),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer { uid, .. } => write!(f, "user {uid}"),
            Self::Token { id } => write!(f, "token {id}"),
            Self::Certificate { name } => write!(f, "certificate {name}"),
            Self::Stranger { address } => write!(f, "somebody at {address}"),
        }
    }
}
