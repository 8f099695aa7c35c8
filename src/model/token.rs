//! Tokens of callers over the network: what they look like, and the file by which each is known.
//!
//! A token is `cowherd_ID_SECRET`, where SECRET is 32 random bytes in hexadecimal. Its file, `ID.toml`, has the
//! digest of those bytes and never the bytes: whoever reads it cannot come in with it.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use wildmatch::WildMatch;

use super::access::Grant;
use super::action::{Verb, Who};
use super::journal::{digest, hexadecimal};
use super::time::UnixSeconds;

/// Where the files are, unless the configuration says otherwise.
pub const DIRECTORY: &str = "/etc/cowherd/tokens.d";
/// What the name of each ends with.
pub const SUFFIX: &str = ".toml";
/// A file is half a KiB; one that lists thousands of patterns is a mistake.
pub const FILE_BYTES_MAX: u64 = 64 << 10;
/// Who looks for secrets that were published by mistake finds these by it.
const PREFIX: &str = "cowherd_";
/// Nobody guesses them.
pub const SECRET_BYTES: usize = 32;
const ID_LEN_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "id {0:?} is not a token's: expected 1 to 64 of a-z A-Z 0-9 - and a letter or digit first"
    )]
    Id(String),
    #[error("it is not the file of a token")]
    Syntax(#[source] Box<toml::de::Error>),
    #[error("id is {found}, expected {expected} as in the name of the file")]
    Other { found: TokenId, expected: TokenId },
    #[error("sha256 is no SHA-256, expected 64 of 0-9 a-f")]
    Digest,
    #[error("actions is empty, expected some of {}", Verb::ALL.map(Verb::label).join(", "))]
    NoActions,
    #[error("volumes is empty, expected patterns of VG/LV such as [\"vg0/vm-*\"]")]
    NoVolumes,
}

/// A token's name, and that of its file: there is nothing in it that leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

/// What the file of a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    pub id: TokenId,
    /// `sha256` of the secret.
    pub sha256: String,
    pub actions: Vec<Verb>,
    /// Patterns of `VG/LV`, as those of a `Grant`.
    pub volumes: Vec<String>,
    /// Seconds since 1970; it is not accepted from then on. Nothing for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// What somebody shows to be let in over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shown {
    /// `sha256` is that of the secret, which goes no further than to who serves.
    Token { id: TokenId, sha256: String },
    /// A certificate that has been verified, by the names in it.
    Certificate { names: Vec<String> },
}

impl TokenId {
    /// # Errors
    /// When `text` is not the name of a token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let valid = (1..=ID_LEN_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError::Id(text.to_owned()))
        }
    }

    /// Of the file in the directory of tokens.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}{SUFFIX}", self.0)
    }
}

impl TokenFile {
    /// What is in the file of this token.
    ///
    /// # Errors
    /// With the first thing that is wrong with it.
    pub fn parse(id: &TokenId, text: &str) -> Result<Self, TokenError> {
        let file: Self =
            toml::from_str(text).map_err(|error| TokenError::Syntax(Box::new(error)))?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if file.id != *id {
            let (found, expected) = (file.id, id.clone());
            return Err(TokenError::Other { found, expected });
        }
        if file.sha256.len() != 2 * SECRET_BYTES || !file.sha256.bytes().all(is_digit) {
            return Err(TokenError::Digest);
        }
        if file.actions.is_empty() {
            return Err(TokenError::NoActions);
        }
        if file.volumes.is_empty() {
            return Err(TokenError::NoVolumes);
        }
        Ok(file)
    }

    /// In a time that does not depend on how much of the digest is right.
    #[must_use]
    pub fn is_of(&self, sha256: &str) -> bool {
        self.sha256.as_bytes().ct_eq(sha256.as_bytes()).into()
    }

    #[must_use]
    pub fn has_expired(&self, now: UnixSeconds) -> bool {
        self.expires
            .is_some_and(|expires| now.0 >= UnixSeconds::whole(expires).0)
    }

    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant {
            who: Who::Token(self.id.clone()),
            verbs: self.actions.clone(),
            volumes: self
                .volumes
                .iter()
                .map(|pattern| WildMatch::new(pattern))
                .collect(),
            // A file of a token names none.
            hooks: Vec::new(),
        }
    }
}

impl Shown {
    /// What a token's text says; nothing when it is no token's.
    #[must_use]
    pub fn token(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        let secret = bytes(secret)?;
        Some(Self::Token {
            id: TokenId::parse(id).ok()?,
            sha256: sha256(&secret),
        })
    }
}

/// The text of a token, which nobody but its caller is to know.
#[must_use]
pub fn text(id: &TokenId, secret: &[u8; SECRET_BYTES]) -> String {
    format!("{PREFIX}{id}_{}", hexadecimal(secret))
}

/// Of a secret, in lower case hexadecimal.
#[must_use]
pub fn sha256(secret: &[u8; SECRET_BYTES]) -> String {
    digest(secret)
}

fn bytes(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * SECRET_BYTES || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl TryFrom<String> for TokenId {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        Self::parse(&text)
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn file() -> TokenFile {
        TokenFile {
            id: TokenId::parse("backup-1").expect("an id"),
            sha256: sha256(&[7; SECRET_BYTES]),
            actions: vec![Verb::Create, Verb::Remove],
            volumes: vec!["vg0/vm-*".to_owned()],
            expires: Some(1_800_000_000),
        }
    }

    #[test]
    fn the_text_of_a_token_leads_to_its_file_and_no_other_does() {
        let file = file();
        let text = text(&file.id, &[7; SECRET_BYTES]);
        let Some(Shown::Token { id, sha256 }) = Shown::token(&text) else {
            panic!("{text} is a token");
        };
        assert_eq!(id.file_name(), "backup-1.toml");
        assert!(file.is_of(&sha256));
        assert!(!file.is_of(&super::sha256(&[8; SECRET_BYTES])));
        assert!(!file.is_of(""));
        for wrong in [
            "",
            "cowherd_",
            &text.replace("cowherd", "Cowherd"),
            &text.replace("backup-1", ""),
            &text.replace("backup-1", ".."),
            &text.replace("backup-1", "../x"),
            &text.replace("07", "0G"),
            &text.replace("_07", "_0A"),
            &text[..text.len() - 1],
            &format!("{text}0"),
            &format!("{text} "),
        ] {
            assert_eq!(Shown::token(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_faults_are_told() {
        let file = file();
        let text = toml::to_string(&file).expect("it is TOML");
        assert_eq!(TokenFile::parse(&file.id, &text).expect("ours"), file);
        let told = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is in {text}");
            let error = TokenFile::parse(&file.id, &text.replace(from, to));
            error.expect_err(to).to_string()
        };
        let expected = "id is other, expected backup-1 as in the name of the file";
        assert_eq!(told("\"backup-1\"", "\"other\""), expected);
        assert!(told("sha256 = \"", "sha256 = \"0").starts_with("sha256 is no SHA-256"));
        let expected = "actions is empty, expected some of create, extend";
        assert!(told("[\"create\", \"remove\"]", "[]").starts_with(expected));
        assert!(told("[\"vg0/vm-*\"]", "[]").starts_with("volumes is empty"));
        let expected = "it is not the file of a token";
        assert_eq!(told("\"remove\"", "\"frobnicate\""), expected);
        assert_eq!(told("expires", "expiers"), expected);
        assert_eq!(told("1800000000", "-1"), expected);
    }

    #[test]
    fn it_expires_at_the_second() {
        let file = file();
        assert!(!file.has_expired(UnixSeconds(1_799_999_999.9)));
        assert!(file.has_expired(UnixSeconds(1_800_000_000.0)));
        let never = TokenFile {
            expires: None,
            ..file
        };
        assert!(!never.has_expired(UnixSeconds(f64::MAX)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_none(text in any::<String>(), secret: [u8; 32]) {
            let _ = Shown::token(&text);
            if let Ok(id) = TokenId::parse(&text) {
                let shown = Shown::token(&super::text(&id, &secret));
                assert_eq!(shown, Some(Shown::Token { id, sha256: sha256(&secret) }));
            }
        }
    }
}
