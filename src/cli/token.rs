//! `cowherd token`: makes, lists and revokes the tokens of callers over the network. Needs no guard, which reads
//! the file of a token whenever that is used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::guard::{self, TokenFault};
use crate::model::action::Verb;
use crate::model::cause::chain;
use crate::model::token::{self, SECRET_BYTES, SUFFIX, TokenFile, TokenId};
use crate::report::tokens::{self, TokenView};

use super::{ConfigArguments, Failure, now, plan, print, tell, values};

/// Root's alone.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Of the folder above, which has what others read.
const PARENT_MODE: u32 = 0o755;

#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it: this is the only time that it is shown
    Create(CreateArguments),
    /// Show tokens: what each may have done to which volumes, and until when
    List(ListArguments),
    /// Take a token away: it is not accepted any more from now on
    Revoke(RevokeArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArguments {
    /// Name of the token: letters, digits and hyphens
    #[arg(long, value_name = "NAME", value_parser = values::token_id)]
    id: TokenId,
    /// What it may have done, of that which `actions` below [api] allows at all
    #[arg(long, value_name = "ACTION,..", value_delimiter = ',', required = true, value_parser = values::verb)]
    actions: Vec<Verb>,
    /// To which volumes: patterns of VG/LV such as 'vg0/vm-*', for origins and for snapshots
    #[arg(long, value_name = "PATTERN", num_args = 1.., required = true, value_parser = values::pattern)]
    volumes: Vec<String>,
    /// How long it is accepted, such as 90d; without it until it is revoked
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    expires: Option<u32>,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArguments {
    /// Name of the token
    #[arg(value_name = "NAME", value_parser = values::token_id)]
    id: TokenId,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, clap::Args)]
struct PlaceArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Folder of the tokens, instead of the configured one
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("no random numbers")]
    NoRandom,
    #[error("there is a token {0} already: revoke it, or take another name")]
    Exists(TokenId),
    #[error("there is no token {id} in {}", directory.display())]
    Missing { id: TokenId, directory: PathBuf },
    #[error("put the token into words")]
    Encode(#[source] toml::ser::Error),
    #[error("make {}: run as root", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("read {}: run as root", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("take {} away", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("the token was not made: it would not be accepted")]
    Refused(#[source] TokenFault),
}

pub(super) fn run(command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(arguments) => create(arguments),
        TokenCommand::List(arguments) => list(arguments),
        TokenCommand::Revoke(arguments) => {
            let directory = arguments.place.directory()?;
            revoke(&directory, &arguments.id).map_err(Failure::other)
        }
    }
}

fn create(arguments: &CreateArguments) -> Result<(), Failure> {
    let directory = arguments.place.directory()?;
    let text = new(arguments, &directory).map_err(Failure::other)?;
    let printed = print(&format!("{text}\n"));
    if printed.is_err() {
        // Nobody has it, and nobody ever will.
        revoke(&directory, &arguments.id).map_err(Failure::other)?;
    }
    printed
}

/// The text of a token whose file is on disk.
fn new(arguments: &CreateArguments, directory: &Path) -> Result<String, TokenError> {
    let mut secret = [0; SECRET_BYTES];
    let filled = SystemRandom::new().fill(&mut secret);
    filled.map_err(|_| TokenError::NoRandom)?;
    let id = &arguments.id;
    let file = TokenFile {
        id: id.clone(),
        sha256: token::sha256(&secret),
        actions: arguments.actions.clone(),
        volumes: arguments.volumes.clone(),
        expires: arguments.expires.map(expiry),
    };
    let text = toml::to_string(&file).map_err(TokenError::Encode)?;
    put(directory, id, &text)?;
    if let Err(fault) = guard::read_token(directory, id) {
        revoke(directory, id)?;
        return Err(TokenError::Refused(fault));
    }
    Ok(token::text(id, &secret))
}

/// Seconds since 1970, so long from now.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the time of a clock that was read just now"
)]
fn expiry(span: u32) -> u64 {
    now().0 as u64 + u64::from(span)
}

/// Whole or not at all, and never in place of another one.
fn put(directory: &Path, id: &TokenId, text: &str) -> Result<(), TokenError> {
    make_directory(directory)?;
    let path = directory.join(id.file_name());
    let part = directory.join(format!(".{id}.{}", std::process::id()));
    let written = write(&part, text).and_then(|()| fs::hard_link(&part, &path));
    // Under its own name it is another link to the same file.
    let _ = fs::remove_file(&part);
    written.map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            TokenError::Exists(id.clone())
        } else {
            TokenError::Make { path, source }
        }
    })?;
    sync(directory).map_err(|source| TokenError::Make {
        path: directory.to_owned(),
        source,
    })
}

fn make_directory(directory: &Path) -> Result<(), TokenError> {
    let make = |path: &Path, mode| {
        let made = DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|source| TokenError::Make {
            path: path.to_owned(),
            source,
        })
    };
    if let Some(parent) = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        make(parent, PARENT_MODE)?;
    }
    make(directory, DIRECTORY_MODE)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What was made or taken away in it stays so when the power fails.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn revoke(directory: &Path, id: &TokenId) -> Result<(), TokenError> {
    let path = directory.join(id.file_name());
    let removed = fs::remove_file(&path).and_then(|()| sync(directory));
    removed.map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            let (id, directory) = (id.clone(), directory.to_owned());
            TokenError::Missing { id, directory }
        } else {
            TokenError::Remove { path, source }
        }
    })
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let directory = arguments.place.directory()?;
    let tokens = all(&directory).map_err(Failure::other)?;
    if arguments.json {
        return plan::print_json(&tokens);
    }
    print(&tokens::list(&tokens))?;
    for fault in tokens.iter().filter_map(|token| token.fault.as_ref()) {
        tell(fault);
    }
    Ok(())
}

/// Sorted by name.
fn all(directory: &Path) -> Result<Vec<TokenView>, TokenError> {
    let unread = |source| TokenError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unread)?,
    };
    let mut tokens = Vec::new();
    for entry in entries {
        let name = entry.map_err(unread)?.file_name();
        let name = name.to_string_lossy();
        // What begins with a dot is half of a token.
        if let Some(id) = name.strip_suffix(SUFFIX).filter(|id| !id.starts_with('.')) {
            tokens.push(view(directory, id));
        }
    }
    tokens.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(tokens)
}

fn view(directory: &Path, name: &str) -> TokenView {
    let id = match TokenId::parse(name) {
        Ok(id) => id,
        Err(error) => return TokenView::refused(name.to_owned(), error.to_string()),
    };
    match guard::read_token(directory, &id) {
        Ok(file) => TokenView::of(&file, now()),
        Err(fault) => TokenView::refused(name.to_owned(), chain(&fault)),
    }
}

impl PlaceArguments {
    /// The configuration is not read for nothing: a broken one keeps nobody from revoking.
    fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.directory {
            return Ok(directory.clone());
        }
        let api = self.config.load()?.api;
        Ok(api.map_or_else(|| token::DIRECTORY.into(), |api| api.tokens))
    }
}
