//! Who comes in over the network: what a token or a certificate is good for.
//!
//! The front, which talks to everybody, neither reads tokens nor knows what one may have done: it hands in the digest
//! of what was shown, and the guard says whom it belongs to. The file of a token is read whenever the token is used,
//! by its name, so that one that was changed, revoked or made anew is in force at once and nothing has to be kept or
//! looked after. The host's storage may hang: a thread of its own waits for it (`porter`), and nobody but who comes in
//! over the network waits for that thread. What cannot be read lets nobody in.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tracing::warn;

use crate::model::access::Access;
use crate::model::action::Caller;
use crate::model::cause::chain;
use crate::model::refusal::{Code, Refusal};
use crate::model::time::UnixSeconds;
use crate::model::token::{FILE_BYTES_MAX, Shown, TokenError, TokenFile, TokenId};

/// Others than the owner may neither read nor write the file of a token, and not write its folder.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    #[error("there is no token {id} in {}", directory.display())]
    Missing { id: TokenId, directory: PathBuf },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} has owner {owner} and mode {mode:04o}, expected {expected}: others could make themselves tokens; \
            see chown and chmod",
        path.display()
    )]
    Open {
        path: PathBuf,
        owner: u32,
        mode: u32,
        expected: &'static str,
    },
    #[error("{} is no file of a token", path.display())]
    Kind { path: PathBuf },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}", path.display())]
    Content { path: PathBuf, source: TokenError },
}

/// The folder of tokens, and what those with certificates may.
#[derive(Debug)]
pub struct Door {
    access: Access,
    tokens: PathBuf,
    /// What was last found wrong with which token, so that it is told once.
    told: BTreeMap<TokenId, String>,
}

impl Door {
    #[must_use]
    pub const fn new(access: Access, tokens: PathBuf) -> Self {
        Self {
            access,
            tokens,
            told: BTreeMap::new(),
        }
    }

    /// Whom what is shown belongs to.
    ///
    /// # Errors
    /// `unauthenticated` for a token that is good for nothing, whatever the reason; `forbidden` for a certificate of
    /// somebody who is not in the configuration.
    pub fn admit(&mut self, shown: &Shown, now: UnixSeconds) -> Result<Caller, Refusal> {
        match shown {
            Shown::Token { id, sha256 } => {
                let file = self.token(id)?;
                if !file.is_of(sha256) {
                    return Err(unknown(id));
                }
                in_force(&file, now)?;
                Ok(Caller::Token { id: id.clone() })
            }
            Shown::Certificate { names } => match self.access.certificate(names) {
                Some(name) => Ok(Caller::Certificate {
                    name: name.to_owned(),
                }),
                None => Err(Refusal::new(
                    Code::Forbidden,
                    "no [[api.caller]] of the configuration has a name of this certificate",
                )),
            },
        }
    }

    /// What may be done for this caller now.
    ///
    /// # Errors
    /// When it has a token that is no longer good.
    pub fn access(&mut self, caller: &Caller, now: UnixSeconds) -> Result<Access, Refusal> {
        let Caller::Token { id } = caller else {
            return Ok(self.access.clone());
        };
        let file = self.token(id)?;
        in_force(&file, now)?;
        Ok(self.access.with(file.grant()))
    }

    fn token(&mut self, id: &TokenId) -> Result<TokenFile, Refusal> {
        match read_token(&self.tokens, id) {
            Ok(file) => {
                self.told.remove(id);
                Ok(file)
            }
            // Anybody may ask for what does not exist: there is nothing to tell and nothing to keep.
            Err(TokenFault::Missing { .. }) => {
                self.told.remove(id);
                Err(unknown(id))
            }
            Err(fault) => {
                let fault = chain(&fault);
                if self.told.get(id) != Some(&fault) {
                    warn!(error = fault, "a token is not accepted");
                    self.told.insert(id.clone(), fault);
                }
                Err(unknown(id))
            }
        }
    }
}

/// The file of a token, if nobody but root could have made or read it.
///
/// # Errors
/// With what keeps it from being accepted.
pub fn read_token(directory: &Path, id: &TokenId) -> Result<TokenFile, TokenFault> {
    let path = directory.join(id.file_name());
    let unread = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            let (id, directory) = (id.clone(), directory.to_owned());
            TokenFault::Missing { id, directory }
        } else {
            let path = path.clone();
            TokenFault::Read { path, source }
        }
    };
    let folder = fs::metadata(directory).map_err(unread)?;
    is_ours(
        directory,
        &folder,
        OTHERS_WRITE,
        "root and nobody else writing to it",
    )?;
    let file = open(&path).map_err(unread)?;
    let meta = file.metadata().map_err(unread)?;
    if !meta.is_file() {
        return Err(TokenFault::Kind { path });
    }
    is_ours(&path, &meta, OTHERS, "root and 0600")?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unread)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(TokenFault::TooLarge { path });
    }
    TokenFile::parse(id, &text).map_err(|source| TokenFault::Content { path, source })
}

/// No link, and without waiting for whoever is at the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).map_err(io::Error::other)?)
        .open(path)
}

/// Whether it is root's, or of whoever runs this and is as mighty, and closed to others.
fn is_ours(
    path: &Path,
    meta: &fs::Metadata,
    closed: u32,
    expected: &'static str,
) -> Result<(), TokenFault> {
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    let is_known = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if is_known && mode & closed == 0 {
        return Ok(());
    }
    Err(TokenFault::Open {
        path: path.to_owned(),
        owner,
        mode,
        expected,
    })
}

fn in_force(file: &TokenFile, now: UnixSeconds) -> Result<(), Refusal> {
    if file.has_expired(now) {
        let detail = format!("token {} has expired", file.id);
        return Err(Refusal::new(Code::Unauthenticated, detail));
    }
    Ok(())
}

/// Whoever does not have the secret need not learn whether there is such a token.
fn unknown(id: &TokenId) -> Refusal {
    let detail = format!("token {id} is not known, or its secret is another one");
    Refusal::new(Code::Unauthenticated, detail)
}
