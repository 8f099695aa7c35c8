//! Sizes as types, so that a sector never meets an extent by accident.
//!
//! All arithmetic that can overflow saturates: a saturated size is larger than any
//! device and every cap brings it back, whereas a panic would stop the guard.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kernel counts in sectors of this many bytes, whatever the disk does.
pub const SECTOR_BYTES: u64 = 512;

/// A thin pool's metadata block, fixed by the kernel (`THIN_METADATA_BLOCK_SIZE`, dm-thin-metadata.h).
pub const THIN_METADATA_BLOCK: Bytes = Bytes(4096);

/// A size in bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A size in sectors of 512 bytes, as device-mapper reports it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sectors(pub u64);

/// A number of physical extents of one volume group.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Extents(pub u64);

impl Bytes {
    pub const ZERO: Self = Self(0);
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(Self::MIB))
    }

    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    #[must_use]
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// `self * percent / 100`, rounded up.
    #[must_use]
    pub fn percent_ceil(self, percent: u64) -> Self {
        let exact = (u128::from(self.0) * u128::from(percent)).div_ceil(100);
        Self(u64::try_from(exact).unwrap_or(u64::MAX))
    }

    /// The fewest extents that hold this many bytes.
    #[must_use]
    pub fn extents_ceil(self, extent: Self) -> Extents {
        Extents(self.0.div_ceil(extent.0.max(1)))
    }

    /// The whole extents that fit into this many bytes.
    #[must_use]
    pub fn extents_floor(self, extent: Self) -> Extents {
        Extents(self.0 / extent.0.max(1))
    }

    /// What is used of `size`, between 0 and 1; an empty device counts as full.
    #[must_use]
    pub fn ratio_of(self, size: Self) -> f64 {
        if size.0 == 0 {
            1.0
        } else {
            self.as_f64() / size.as_f64()
        }
    }

    /// For metrics and rates; exact up to 8 PiB.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a metric value is a double by definition"
    )]
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// The nearest size to a computed one; negative and NaN become zero.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to int casts saturate, and saturating is what every size here does"
    )]
    pub fn from_f64_ceil(value: f64) -> Self {
        Self(value.ceil() as u64)
    }
}

impl Sectors {
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(SECTOR_BYTES))
    }
}

impl Extents {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn bytes(self, extent: Bytes) -> Bytes {
        Bytes(self.0.saturating_mul(extent.0))
    }

    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * percent / 100`, rounded up, as LVM's policy rounds.
    #[must_use]
    pub fn percent_ceil(self, percent: u64) -> Self {
        Self(Bytes(self.0).percent_ceil(percent).0)
    }
}

impl fmt::Display for Bytes {
    /// Two decimals at most in the largest unit that keeps the number above one: `1.5 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.as_f64();
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let text = format!("{value:.2}");
        let short = if unit == 0 {
            text.trim_end_matches('0')
        } else {
            text.as_str()
        };
        let short = if short.contains('.') {
            short.trim_end_matches('0')
        } else {
            short
        };
        write!(f, "{} {}", short.trim_end_matches('.'), UNITS[unit])
    }
}

impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} extent{plural}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_whole_unit() {
        let cases = [
            (0, "0 B"),
            (10, "10 B"),
            (1000, "1000 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (Bytes::mib(100).0, "100 MiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(Bytes(bytes).to_string(), shown, "{bytes}");
        }
    }

    #[test]
    fn percent_rounds_up_and_saturates() {
        assert_eq!(Extents(10).percent_ceil(25), Extents(3));
        assert_eq!(Extents(0).percent_ceil(25), Extents(0));
        assert_eq!(Bytes(u64::MAX).percent_ceil(200), Bytes(u64::MAX));
    }

    #[test]
    fn computed_sizes_never_wrap() {
        assert_eq!(Bytes::from_f64_ceil(-1.0), Bytes::ZERO);
        assert_eq!(Bytes::from_f64_ceil(f64::NAN), Bytes::ZERO);
        assert_eq!(Bytes::from_f64_ceil(f64::INFINITY), Bytes(u64::MAX));
    }
}
