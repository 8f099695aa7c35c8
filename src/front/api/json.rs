//! JSON taken strictly: no name twice, no number that is rounded in silence, nothing left over.
//!
//! serde's own structures take lists for objects and objects for names, and their complaints do not say
//! where: a body is read into a tree first, and `Fields` takes its parts out by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::bounds::shown;
use crate::model::refusal::{Code, Refusal};

/// `serde_json` reads a float to within the last few of its 53 bits. Below 2^48 that is never another whole number.
const EXACT_END: f64 = 281_474_976_710_656.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Whole(u64),
    /// A negative number, one with a fraction, or one that may have been rounded.
    Number(f64),
    Text(String),
    List(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

/// An object whose fields are taken out one by one.
#[derive(Debug)]
pub(super) struct Fields {
    /// What stands before a field's name in a complaint.
    above: &'static str,
    left: BTreeMap<String, Tree>,
}

pub(super) fn refused(code: Code, what: &str, found: &Tree, expected: &str) -> Refusal {
    let detail = format!("`{what}`: found {found}, expected {expected}");
    Refusal::new(code, detail)
}

impl Tree {
    pub(super) fn bool(&self, what: &str) -> Result<bool, Refusal> {
        match self {
            Self::Bool(value) => Ok(*value),
            Self::Null
            | Self::Whole(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Object(_) => Err(refused(Code::InvalidRequest, what, self, "true or false")),
        }
    }

    pub(super) fn text(&self, what: &str) -> Result<&str, Refusal> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Null
            | Self::Bool(_)
            | Self::Whole(_)
            | Self::Number(_)
            | Self::List(_)
            | Self::Object(_) => Err(refused(Code::InvalidRequest, what, self, "a text")),
        }
    }

    pub(super) fn list(&self, what: &str) -> Result<&[Self], Refusal> {
        match self {
            Self::List(parts) => Ok(parts),
            Self::Null
            | Self::Bool(_)
            | Self::Whole(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Object(_) => Err(refused(Code::InvalidRequest, what, self, "a list")),
        }
    }

    /// A number that is a size: a text such as "10M", which LVM takes, is a size that is wrong.
    pub(super) fn size(&self, what: &str) -> Result<u64, Refusal> {
        let code = match self {
            Self::Whole(number) => return Ok(*number),
            Self::Number(_) | Self::Text(_) => Code::InvalidSize,
            Self::Null | Self::Bool(_) | Self::List(_) | Self::Object(_) => Code::InvalidRequest,
        };
        Err(refused(code, what, self, "a whole number"))
    }
}

impl Fields {
    /// # Errors
    /// When the bytes are no JSON, or no object.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let tree = serde_json::from_slice(body).map_err(|error| {
            let detail = format!("the body is no JSON that is taken: {error}");
            Refusal::new(Code::InvalidRequest, detail)
        })?;
        Self::of(tree, "").map_err(|tree| {
            let detail = format!("the body: found {tree}, expected an object");
            Refusal::new(Code::InvalidRequest, detail)
        })
    }

    /// # Errors
    /// Gives back what is no object.
    pub(super) fn of(tree: Tree, above: &'static str) -> Result<Self, Tree> {
        match tree {
            Tree::Object(left) => Ok(Self { above, left }),
            other @ (Tree::Null
            | Tree::Bool(_)
            | Tree::Whole(_)
            | Tree::Number(_)
            | Tree::Text(_)
            | Tree::List(_)) => Err(other),
        }
    }

    /// What the reader makes of a field; the default when it is not there.
    pub(super) fn or_default<T: Default>(
        &mut self,
        name: &'static str,
        reader: impl FnOnce(&Tree, &str) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match self.left.remove(name) {
            None => Ok(T::default()),
            Some(tree) => reader(&tree, &self.full(name)),
        }
    }

    /// The same of a field that may be null.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        reader: impl FnOnce(&Tree, &str) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        match self.left.remove(name) {
            None | Some(Tree::Null) => Ok(None),
            Some(tree) => reader(&tree, &self.full(name)).map(Some),
        }
    }

    pub(super) fn needed<T>(
        &mut self,
        name: &'static str,
        reader: impl FnOnce(&Tree, &str) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let full = self.full(name);
        let Some(tree) = self.left.remove(name) else {
            let detail = format!("`{full}` of the body: found none, expected one");
            return Err(Refusal::new(Code::InvalidRequest, detail));
        };
        reader(&tree, &full)
    }

    /// # Errors
    /// When a field is left that nobody took.
    pub(super) fn end(self) -> Result<(), Refusal> {
        let Some(name) = self.left.keys().next() else {
            return Ok(());
        };
        let place = if self.above.is_empty() {
            "the body".to_owned()
        } else {
            format!("`{}`", self.above)
        };
        let detail = format!(
            "{place}: found a field {}, which it does not have",
            shown(name)
        );
        Err(Refusal::new(Code::InvalidRequest, detail))
    }

    fn full(&self, name: &str) -> String {
        if self.above.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.above)
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Whole(number) => number.fmt(f),
            // As JSON has it: 1e+300 does not become three hundred digits.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(&shown(text)),
            Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Whole(number))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "it is refused wherever it stands, and only shown"
    )]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    /// To JSON 267.0 and 2.67e2 are whole as well, and some clients write them so.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, and in range"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<Tree, E> {
        let is_exact = number.fract() == 0.0 && (0.0..EXACT_END).contains(&number);
        Ok(if is_exact {
            Tree::Whole(number as u64)
        } else {
            Tree::Number(number)
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element()? {
            parts.push(part);
        }
        Ok(Tree::List(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Tree, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = object.next_entry::<String, Tree>()? {
            let twice = format!("the name {} twice", shown(&name));
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom(twice));
            }
        }
        Ok(Tree::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_taken_however_it_is_written() {
        for (text, expected) in [
            ("267", Some(267)),
            ("267.0", Some(267)),
            ("2.67e2", Some(267)),
            ("-0.0", Some(0)),
            ("281474976710655.0", Some((1 << 48) - 1)),
            ("281474976710656", Some(1 << 48)),
            ("281474976710656.0", None),
            ("9007199254740991.0", None),
            ("1e16", None),
            ("267.5", None),
            ("-1.0", None),
            ("-1", None),
        ] {
            let tree: Tree = serde_json::from_str(text).expect("a number");
            assert_eq!(tree.size("size").ok(), expected, "{text} is {tree:?}");
        }
    }
}
