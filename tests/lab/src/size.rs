//! The unit of the lab's disks and volumes. Pure.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// A size in whole MiB: the lab's volumes are never odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    mib: u64,
}

impl Size {
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self { mib }
    }

    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Self { mib: gib * 1024 }
    }

    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.mib
    }

    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.mib << 20
    }
}

/// As LVM and QEMU read it: `300M`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.mib)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text).map_err(SizeError)
    }
}

fn parse(text: &str) -> Result<Size> {
    let (number, mib_per_unit) = match text.as_bytes().last() {
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1024),
        Some(_) | None => bail!("a size is a whole number with M or G"),
    };
    let count: u64 = number
        .parse()
        .context("a size is a whole number with M or G")?;
    let mib = count.checked_mul(mib_per_unit).context("too large")?;
    ensure!(mib > 0, "a size is at least 1M");
    Ok(Size { mib })
}

/// Why a text is no size.
#[derive(Debug)]
pub struct SizeError(Error);

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SizeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_lvm_does() {
        assert_eq!("300M".parse::<Size>().unwrap(), Size::mib(300));
        assert_eq!("2G".parse::<Size>().unwrap(), Size::gib(2));
        assert_eq!(Size::gib(2).to_string(), "2048M");
        assert_eq!(Size::mib(3).as_bytes(), 3_145_728);
    }

    #[test]
    fn anything_else_is_no_size() {
        for text in [
            "",
            "M",
            "5",
            "1.5G",
            "0M",
            "-1G",
            "99999999999999999999G",
            "5µ",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text:?} was accepted");
        }
    }
}
