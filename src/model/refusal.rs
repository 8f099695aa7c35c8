//! Why a request is not carried out: a stable code for scripts, a sentence for people.

use serde::{Deserialize, Serialize};

/// A request that was refused, or failed. Says what, where, what was found and what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: Code,
    pub detail: String,
}

/// Part of the API: none is ever renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Exists,
    Busy,
    Protected,
    ForeignOwner,
    WrongKind,
    InvalidSnapshot,
    Merging,
    PoolTooFull,
    PoolDamaged,
    VgReserve,
    VgObstacle,
    TooManySnapshots,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    MisdirectedRequest,
    InvalidName,
    InvalidSize,
    UnknownHook,
    IdempotencyMismatch,
    ConfirmationRequired,
    ConfirmationInvalid,
    RateLimited,
    HeadersTooLarge,
    LvmFailed,
    HookFailed,
    Interrupted,
    Internal,
    JournalUnavailable,
    GuardUnavailable,
    Timeout,
}

impl Code {
    pub const ALL: [Self; 36] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Exists,
        Self::Busy,
        Self::Protected,
        Self::ForeignOwner,
        Self::WrongKind,
        Self::InvalidSnapshot,
        Self::Merging,
        Self::PoolTooFull,
        Self::PoolDamaged,
        Self::VgReserve,
        Self::VgObstacle,
        Self::TooManySnapshots,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::InvalidName,
        Self::InvalidSize,
        Self::UnknownHook,
        Self::IdempotencyMismatch,
        Self::ConfirmationRequired,
        Self::ConfirmationInvalid,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::LvmFailed,
        Self::HookFailed,
        Self::Interrupted,
        Self::Internal,
        Self::JournalUnavailable,
        Self::GuardUnavailable,
        Self::Timeout,
    ];

    /// Its status in HTTP, its name there, and in words.
    const fn told(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (400, "invalid_request", "Invalid request"),
            Self::Unauthenticated => (401, "unauthenticated", "Not known"),
            Self::Forbidden => (403, "forbidden", "Not allowed"),
            Self::NotFound => (404, "not_found", "Not found"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "Method not allowed"),
            Self::Exists => (409, "exists", "Name in use"),
            Self::Busy => (409, "busy", "In use"),
            Self::Protected => (409, "protected", "Protected"),
            Self::ForeignOwner => (409, "foreign_owner", "Managed by others"),
            Self::WrongKind => (409, "wrong_kind", "Not possible for this kind of volume"),
            Self::InvalidSnapshot => (409, "invalid_snapshot", "Snapshot is lost"),
            Self::Merging => (409, "merging", "Merging"),
            Self::PoolTooFull => (409, "pool_too_full", "Thin pool too full"),
            Self::PoolDamaged => (409, "pool_damaged", "Thin pool damaged"),
            Self::VgReserve => (409, "vg_reserve", "Volume group has no room"),
            Self::VgObstacle => (409, "vg_obstacle", "Volume group not to be changed"),
            Self::TooManySnapshots => (409, "too_many_snapshots", "Too many snapshots"),
            Self::PreconditionFailed => (412, "precondition_failed", "Another volume by now"),
            Self::BodyTooLarge => (413, "body_too_large", "Body too large"),
            Self::UnsupportedMediaType => (415, "unsupported_media_type", "Not JSON"),
            Self::MisdirectedRequest => (421, "misdirected_request", "Wrong host"),
            Self::InvalidName => (422, "invalid_name", "Invalid name"),
            Self::InvalidSize => (422, "invalid_size", "Invalid size"),
            Self::UnknownHook => (422, "unknown_hook", "No such hook"),
            Self::IdempotencyMismatch => (422, "idempotency_mismatch", "Key used otherwise"),
            Self::ConfirmationRequired => (428, "confirmation_required", "To be confirmed"),
            Self::ConfirmationInvalid => (403, "confirmation_invalid", "Not confirmed"),
            Self::RateLimited => (429, "rate_limited", "Too many requests"),
            Self::HeadersTooLarge => (431, "headers_too_large", "Headers too large"),
            Self::LvmFailed => (500, "lvm_failed", "LVM failed"),
            Self::HookFailed => (500, "hook_failed", "Hook failed"),
            Self::Interrupted => (500, "interrupted", "Interrupted"),
            Self::Internal => (500, "internal", "Internal error"),
            Self::JournalUnavailable => (503, "journal_unavailable", "Cannot be put on record"),
            Self::GuardUnavailable => (503, "guard_unavailable", "Guard does not answer"),
            Self::Timeout => (504, "timeout", "Not done in time"),
        }
    }

    #[must_use]
    pub const fn status(self) -> u16 {
        self.told().0
    }

    #[must_use]
    pub const fn label(self) -> &'static str {
        self.told().1
    }

    #[must_use]
    pub const fn title(self) -> &'static str {
        self.told().2
    }

    /// Whether the same request may succeed later without anybody changing it.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Merging
                | Self::PoolTooFull
                | Self::VgReserve
                | Self::RateLimited
                | Self::JournalUnavailable
                | Self::GuardUnavailable
                | Self::Timeout
        )
    }
}

impl Refusal {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_called_the_same_in_json_and_in_text() {
        for code in Code::ALL {
            let json = serde_json::to_string(&code).expect("a name");
            assert_eq!(json, format!("\"{}\"", code.label()));
            assert!((400..=504).contains(&code.status()), "{code:?}");
        }
    }
}
