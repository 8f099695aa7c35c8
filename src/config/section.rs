//! One table of the file: takes its keys one by one, notes every fault, and finds what is left over.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use crate::model::units::Bytes;

use super::Fault;

/// Sizes are written as LVM people write them, in binary units.
const UNITS: [(&str, u64); 5] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("B", 1),
];

const SIZE_EXPECTED: &str = "a size such as \"64 MiB\" or a number of bytes, up to 8 EiB";

pub(super) struct Section<'a> {
    path: String,
    table: Table,
    known: BTreeSet<&'static str>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Table, faults: &'a mut Vec<Fault>) -> Self {
        Self {
            path: String::new(),
            table,
            known: BTreeSet::new(),
            faults,
        }
    }

    /// Reads a table below this one; without it everything below has its default.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let table = self.entries(key);
        self.below(&format!("{key}."), table, read)
    }

    /// As `section`; nothing when there is no such table, or nothing in it.
    pub(super) fn given_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let is_empty = match self.table.get(key) {
            None => true,
            Some(Value::Table(table)) => table.is_empty(),
            Some(_) => false,
        };
        if is_empty {
            self.take(key);
            return None;
        }
        Some(self.section(key, read))
    }

    /// A table whose keys are names of somebody else's.
    pub(super) fn entries(&mut self, key: &'static str) -> Table {
        match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.fault(key, &other, "a table".to_owned());
                Table::new()
            }
        }
    }

    /// Reads a list of tables below this one, counted from 1.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Value::Array(items) = value else {
            self.fault(key, &value, format!("tables, each below [[{key}]]"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let place = format!("{key}[{}]", place + 1);
            if let Value::Table(table) = item {
                all.push(self.below(&format!("{place}."), table, &mut read));
            } else {
                self.fault(&place, &item, "a table".to_owned());
            }
        }
        all
    }

    fn below<T>(
        &mut self,
        path: &str,
        table: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section {
            path: format!("{}{path}", self.path),
            table,
            known: BTreeSet::new(),
            faults: self.faults,
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Whatever has not been asked for is unknown.
    pub(super) fn finish(self) {
        let known: Vec<&str> = self.known.iter().copied().collect();
        for (key, value) in &self.table {
            self.faults.push(Fault {
                key: format!("{}{key}", self.path),
                found: format!("an unknown key ({})", shown(value)),
                expected: format!("one of {}", known.join(", ")),
            });
        }
    }

    pub(super) fn fault(&mut self, key: &str, found: &impl Display, expected: String) {
        let key = format!("{}{key}", self.path);
        self.faults.push(Fault {
            key,
            found: found.to_string(),
            expected,
        });
    }

    /// Whether fault has been found with this key.
    pub(super) fn has_fault(&self, key: &str) -> bool {
        let key = format!("{}{key}", self.path);
        self.faults.iter().any(|fault| fault.key == key)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.given_boolean(key).unwrap_or(default)
    }

    pub(super) fn given_boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        if value.as_bool().is_none() {
            self.fault(key, &value, "true or false".to_owned());
        }
        value.as_bool()
    }

    pub(super) fn whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.given_whole(key, range).unwrap_or(default)
    }

    pub(super) fn given_whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let number = value
            .as_integer()
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.fault(key, &value, expected);
        }
        number
    }

    /// A whole number of milliseconds.
    pub(super) fn millis(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Duration {
        Duration::from_millis(self.whole(key, range, default))
    }

    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        self.given_text(key, "a text", |text| !text.is_empty())
            .unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn given_text(
        &mut self,
        key: &'static str,
        expected: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let value = self.take(key)?;
        let text = value.as_str().filter(|text| is_good(text));
        if text.is_none() {
            self.fault(key, &value, expected.to_owned());
        }
        text.map(str::to_owned)
    }

    /// A value that `read` knows.
    pub(super) fn given_value<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let known = read(&value);
        if known.is_none() {
            self.fault(key, &value, expected.to_owned());
        }
        known
    }

    /// What has this name.
    pub(super) fn one_of<T: Copy>(&mut self, key: &'static str, all: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        self.given_value(key, &expected, |value| {
            let known = all.iter().find(|(name, _)| Some(*name) == value.as_str());
            known.map(|(_, value)| *value)
        })
    }

    pub(super) fn size(&mut self, key: &'static str) -> Option<Bytes> {
        let value = self.take(key)?;
        let size = match &value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Bytes),
            Value::String(text) => size(text),
            Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => None,
        };
        if size.is_none() {
            self.fault(key, &value, SIZE_EXPECTED.to_owned());
        }
        size
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let all = value.as_array().and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect()
        });
        if all.is_none() {
            self.fault(key, &value, "a list of texts".to_owned());
        }
        all
    }

    pub(super) fn addresses(&mut self, key: &'static str, default: SocketAddr) -> Vec<SocketAddr> {
        let Some(value) = self.take(key) else {
            return vec![default];
        };
        let parsed: Option<Vec<SocketAddr>> = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().and_then(|text| text.parse().ok()))
                .collect()
        });
        match parsed {
            Some(addresses) if !addresses.is_empty() => addresses,
            Some(_) | None => {
                let expected = "a list of addresses such as [\"127.0.0.1:10845\"]";
                self.fault(key, &value, expected.to_owned());
                vec![default]
            }
        }
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// It may stand here, though nobody has asked for it.
    pub(super) fn knows(&mut self, key: &'static str) {
        self.known.insert(key);
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.insert(key);
        self.table.remove(key)
    }
}

fn size(text: &str) -> Option<Bytes> {
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    let number: u64 = number.trim_end().parse().ok()?;
    // TOML's integers are signed; a text may not name a size that a number could not.
    number
        .checked_mul(factor)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .map(Bytes)
}

fn shown(value: &Value) -> String {
    /// A value is repeated so that it is recognised, not in full.
    const SHOWN_MAX: usize = 40;
    let text = value.to_string();
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}
