//! The bodies of requests, from bytes to what the guard is asked for. The fields are those of the values in
//! `model::action`; their ranges are those of `model::bounds`.

use crate::model::action::{
    Action, Create, Extend, Label, Merge, Reference, SnapshotKind, StoreSize,
};
use crate::model::bounds;
use crate::model::names::Name;
use crate::model::quiesce::{Quiesce, QuiesceMode};
use crate::model::refusal::{Code, Refusal};

use super::json::{Fields, Tree, refused};
use super::named;

pub(super) fn create(body: &[u8]) -> Result<Create, Refusal> {
    let mut fields = Fields::read(body)?;
    let wanted = Create {
        name: fields.optional("name", name)?,
        kind: fields.or_default("type", kind)?,
        size: fields.optional("size", store_size)?,
        read_only: fields.or_default("read_only", Tree::bool)?,
        activate: fields.or_default("activate", Tree::bool)?,
        ttl_s: fields.optional("ttl_s", seconds)?,
        expendable: fields.or_default("expendable", Tree::bool)?,
        protected: fields.or_default("protected", Tree::bool)?,
        tags: fields.or_default("tags", tags)?,
        quiesce: fields.optional("quiesce", quiesce)?,
        with: fields.or_default("with", with)?,
    };
    fields.end()?;
    Ok(wanted)
}

pub(super) fn extend(body: &[u8]) -> Result<Extend, Refusal> {
    let mut fields = Fields::read(body)?;
    let wanted = Extend {
        size_bytes: fields.needed("size_bytes", Tree::size)?,
    };
    fields.end()?;
    Ok(wanted)
}

/// A merge may be asked for without a body.
pub(super) fn merge(body: &[u8]) -> Result<Merge, Refusal> {
    if body.is_empty() {
        return Ok(Merge::default());
    }
    merge_of(Fields::read(body)?)
}

pub(super) fn label(body: &[u8]) -> Result<Label, Refusal> {
    let mut fields = Fields::read(body)?;
    let wanted = Label {
        protected: fields.optional("protected", Tree::bool)?,
        expendable: fields.optional("expendable", Tree::bool)?,
        ttl_s: fields.optional("ttl_s", seconds)?,
    };
    fields.end()?;
    Ok(wanted)
}

/// The body of `POST /confirmations`: what is to be confirmed of which snapshot.
pub(super) fn confirmation(body: &[u8]) -> Result<(Reference, Action), Refusal> {
    let mut fields = Fields::read(body)?;
    let target = fields.needed("target", |tree, what| named::reference(tree.text(what)?))?;
    let mut action = fields.needed("action", |tree, what| match tree.text(what)? {
        "merge" => Ok(Action::Merge(Merge::default())),
        "remove" => Ok(Action::Remove),
        _ => Err(refused(
            Code::InvalidRequest,
            what,
            tree,
            "\"merge\" or \"remove\"",
        )),
    })?;
    // What belongs to a merge is a field that a removal does not have.
    if let Action::Merge(merge) = &mut action {
        let read = |tree: &Tree, what: &str| {
            let refused = |tree| refused(Code::InvalidRequest, what, &tree, "an object");
            merge_of(Fields::of(tree.clone(), "merge").map_err(refused)?)
        };
        *merge = fields.optional("merge", read)?.unwrap_or_default();
    }
    fields.end()?;
    Ok((target, action))
}

fn merge_of(mut fields: Fields) -> Result<Merge, Refusal> {
    let wanted = Merge {
        allow_deferred: fields.or_default("allow_deferred", Tree::bool)?,
    };
    fields.end()?;
    Ok(wanted)
}

fn name(tree: &Tree, what: &str) -> Result<Name, Refusal> {
    bounds::new_name(tree.text(what)?)
}

fn kind(tree: &Tree, what: &str) -> Result<SnapshotKind, Refusal> {
    let kinds = [
        ("auto", SnapshotKind::Auto),
        ("thick", SnapshotKind::Thick),
        ("thin", SnapshotKind::Thin),
    ];
    one_of(tree, what, kinds)
}

/// One of the ways to say it.
fn store_size(tree: &Tree, what: &str) -> Result<StoreSize, Refusal> {
    if matches!(tree, Tree::Text(text) if text == "auto") {
        return Ok(StoreSize::Auto);
    }
    let expected = "\"auto\", or an object with `bytes` or `percent_of_origin`";
    let of_kind = |code| refused(code, what, tree, expected);
    let mut fields = match Fields::of(tree.clone(), "size") {
        Ok(fields) => fields,
        // What LVM's command takes, as in "10M" and 4096, is a size that is wrong.
        Err(Tree::Text(_) | Tree::Whole(_) | Tree::Number(_)) => {
            return Err(of_kind(Code::InvalidSize));
        }
        Err(Tree::Null | Tree::Bool(_) | Tree::List(_) | Tree::Object(_)) => {
            return Err(of_kind(Code::InvalidRequest));
        }
    };
    let is_there = |tree: &Tree, what: &str| tree.size(what).map(Some);
    let bytes = fields.or_default("bytes", is_there)?;
    let percent = fields.or_default("percent_of_origin", is_there)?;
    fields.end()?;
    match (bytes, percent) {
        (Some(bytes), None) => Ok(StoreSize::Bytes(bytes)),
        // What does not fit is out of range as well.
        (None, Some(percent)) => {
            let percent = u32::try_from(percent).unwrap_or(u32::MAX);
            Ok(StoreSize::PercentOfOrigin(percent))
        }
        (None, None) | (Some(_), Some(_)) => Err(of_kind(Code::InvalidRequest)),
    }
}

fn with(tree: &Tree, what: &str) -> Result<Vec<Reference>, Refusal> {
    let reference = |tree: &Tree| named::reference(tree.text(what)?);
    tree.list(what)?.iter().map(reference).collect()
}

fn quiesce(tree: &Tree, what: &str) -> Result<Quiesce, Refusal> {
    let refused_tree = |tree| refused(Code::InvalidRequest, what, &tree, "an object");
    let mut fields = Fields::of(tree.clone(), "quiesce").map_err(refused_tree)?;
    let wanted = Quiesce {
        hooks: fields.or_default("hooks", hooks)?,
        mode: fields.or_default("mode", quiesce_mode)?,
    };
    fields.end()?;
    Ok(wanted)
}

fn hooks(tree: &Tree, what: &str) -> Result<Vec<Name>, Refusal> {
    let name = |tree: &Tree| {
        let name = Name::parse(tree.text(what)?);
        let expected = "the names of hooks, of a-z A-Z 0-9 _ . + -";
        name.map_err(|_| refused(Code::InvalidName, what, tree, expected))
    };
    tree.list(what)?.iter().map(name).collect()
}

fn quiesce_mode(tree: &Tree, what: &str) -> Result<QuiesceMode, Refusal> {
    let modes = [
        ("required", QuiesceMode::Required),
        ("best_effort", QuiesceMode::BestEffort),
        ("none", QuiesceMode::None),
    ];
    one_of(tree, what, modes)
}

fn one_of<T: Copy>(tree: &Tree, what: &str, words: [(&str, T); 3]) -> Result<T, Refusal> {
    let found = tree.text(what)?;
    let chosen = words.iter().find(|(word, _)| *word == found);
    let [one, other, third] = words.map(|(word, _)| word);
    let expected = format!("\"{one}\", \"{other}\" or \"{third}\"");
    chosen
        .map(|(_, value)| *value)
        .ok_or_else(|| refused(Code::InvalidRequest, what, tree, &expected))
}

fn seconds(tree: &Tree, what: &str) -> Result<u32, Refusal> {
    let whole = match tree {
        Tree::Whole(number) => u32::try_from(*number).ok(),
        Tree::Null
        | Tree::Bool(_)
        | Tree::Number(_)
        | Tree::Text(_)
        | Tree::List(_)
        | Tree::Object(_) => None,
    };
    let expected = format!("seconds, a whole number of 0 to {}", bounds::TTL_SECS_MAX);
    whole.ok_or_else(|| refused(Code::InvalidRequest, what, tree, &expected))
}

fn tags(tree: &Tree, what: &str) -> Result<Vec<String>, Refusal> {
    let tags = tree.list(what)?.iter();
    tags.map(|tag| tag.text(what).map(str::to_owned)).collect()
}
