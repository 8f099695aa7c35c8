//! Tokens of callers, as plain text and as JSON: what `cowherd token list` prints. Neither has a digest in it.

use serde::Serialize;

use crate::model::action::Verb;
use crate::model::time::UnixSeconds;
use crate::model::token::TokenFile;

use super::columns::{Side, Table};
use super::text;

/// A token, or a file that is none and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenView {
    pub id: String,
    pub actions: Vec<Verb>,
    pub volumes: Vec<String>,
    /// Seconds since 1970; nothing for never.
    pub expires: Option<u64>,
    pub state: TokenState,
    /// Why it is refused.
    pub fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    Good,
    Expired,
    /// Whatever is shown, it is not accepted.
    Refused,
}

impl TokenView {
    #[must_use]
    pub fn of(file: &TokenFile, now: UnixSeconds) -> Self {
        Self {
            id: file.id.to_string(),
            actions: file.actions.clone(),
            volumes: file.volumes.clone(),
            expires: file.expires,
            state: if file.has_expired(now) {
                TokenState::Expired
            } else {
                TokenState::Good
            },
            fault: None,
        }
    }

    #[must_use]
    pub const fn refused(id: String, fault: String) -> Self {
        Self {
            id,
            actions: Vec::new(),
            volumes: Vec::new(),
            expires: None,
            state: TokenState::Refused,
            fault: Some(fault),
        }
    }
}

/// One line each, as they come. Times are UTC.
#[must_use]
pub fn list(tokens: &[TokenView]) -> String {
    if tokens.is_empty() {
        return "no tokens\n".to_owned();
    }
    let heads = ["ID", "STATE", "EXPIRES (UTC)", "ACTIONS", "VOLUMES"];
    let mut table = Table {
        sides: [Side::Left; 5],
        rows: vec![heads.map(str::to_owned)],
    };
    table.rows.extend(tokens.iter().map(row));
    table.text()
}

fn row(token: &TokenView) -> [String; 5] {
    let named = |names: Vec<&str>| {
        if names.is_empty() {
            text::NOTHING.to_owned()
        } else {
            text::one_line(&names.join(","))
        }
    };
    let state = match token.state {
        TokenState::Good => "good".to_owned(),
        TokenState::Expired => "expired".to_owned(),
        TokenState::Refused => "refused".to_owned(),
    };
    let expires = match (token.state, token.expires) {
        (TokenState::Refused, _) => text::NOTHING.to_owned(),
        (TokenState::Good | TokenState::Expired, None) => "never".to_owned(),
        (TokenState::Good | TokenState::Expired, Some(expires)) => {
            text::date(UnixSeconds::whole(expires))
        }
    };
    [
        text::one_line(&token.id),
        state,
        expires,
        named(token.actions.iter().map(|verb| verb.label()).collect()),
        named(token.volumes.iter().map(String::as_str).collect()),
    ]
}
