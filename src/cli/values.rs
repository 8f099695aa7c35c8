//! What is given to options: sizes, spans, names. Strict: what is not understood whole is refused.

use std::time::Duration;

use crate::model::action::{Reference, StoreSize, Verb};
use crate::model::names::{Name, Uuid, VolumeName};
use crate::model::token::TokenId;

/// Each may be followed by `iB` and stands for 1024 times the one before; upper and lower case are the same, as
/// for lvcreate(8).
const UNITS: &str = "KMGTPE";

/// More of them say nothing that a smaller unit could not say better.
const DECIMALS_MAX: usize = 9;

const SPANS: [(&str, u64); 6] = [
    ("min", 60),
    ("s", 1),
    ("m", 60),
    ("h", 3600),
    ("d", 86_400),
    ("w", 7 * 86_400),
];

const SIZE_EXPECTED: &str =
    "expected a size such as 10GiB, 1.5 TiB or a number of bytes, from 1 byte to less than 8 EiB";
const STORE_EXPECTED: &str = "expected a size such as 10GiB, 512 MiB or a number of bytes, from 1 byte to less \
                              than 8 EiB, a part of the origin such as 15%, or auto";
const SPAN_EXPECTED: &str =
    "expected a whole number of s, min, h, d or w, such as 90min or 7d, from 1s to 10 years";
const VOLUME_EXPECTED: &str = "expected VG/LV, such as vg0/home, or the uuid of a volume";
const PATTERN_EXPECTED: &str =
    "expected a pattern of VG/LV, such as 'vg0/vm-*', with * for any text and ? for one letter";
const KEY_EXPECTED: &str = "expected 1 to 64 letters, digits, hyphens and underscores";

/// The longest lifetime that the API takes.
const SPAN_SECS_MAX: u64 = 10 * 365 * 86_400;

/// What a lifetime is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    Never,
    Seconds(u32),
}

/// How long to wait for the end of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    UntilEnd,
    Seconds(u32),
}

impl Patience {
    pub(super) fn limit(self) -> Option<Duration> {
        match self {
            Self::UntilEnd => None,
            Self::Seconds(seconds) => Some(Duration::from_secs(seconds.into())),
        }
    }
}

impl Lifetime {
    /// As the API has it.
    pub(super) const fn ttl_s(self) -> u32 {
        match self {
            Self::Never => 0,
            Self::Seconds(seconds) => seconds,
        }
    }
}

/// In bytes, rounded up where decimals ask for a part of one.
pub(super) fn size_ceil(text: &str) -> Result<u64, String> {
    bytes_ceil(text).ok_or_else(|| SIZE_EXPECTED.to_owned())
}

pub(super) fn store_size(text: &str) -> Result<StoreSize, String> {
    if text == "auto" {
        return Ok(StoreSize::Auto);
    }
    let size = match text.strip_suffix('%') {
        Some(number) => percent(number).map(StoreSize::PercentOfOrigin),
        None => bytes_ceil(text).map(StoreSize::Bytes),
    };
    size.ok_or_else(|| STORE_EXPECTED.to_owned())
}

/// In seconds.
pub(super) fn span(text: &str) -> Result<u32, String> {
    let seconds = SPANS.iter().find_map(|(unit, factor)| {
        let number = whole(without_space(text.strip_suffix(unit)?))?;
        let seconds = number.checked_mul(*factor)?;
        let is_known = (1..=SPAN_SECS_MAX).contains(&seconds);
        u32::try_from(seconds).ok().filter(|_| is_known)
    });
    seconds.ok_or_else(|| SPAN_EXPECTED.to_owned())
}

pub(super) fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime::Never);
    }
    let seconds = span(text).map(Lifetime::Seconds);
    seconds.map_err(|expected| format!("{expected}, or never"))
}

pub(super) fn patience(text: &str) -> Result<Patience, String> {
    if text == "end" {
        return Ok(Patience::UntilEnd);
    }
    span(text).map(Patience::Seconds)
}

/// LVM's commands take `/dev/VG/LV`, too.
pub(super) fn volume(text: &str) -> Result<Reference, String> {
    let Some((vg, lv)) = text.strip_prefix("/dev/").unwrap_or(text).split_once('/') else {
        let uuid = Uuid::parse(text).map(Reference::Uuid);
        return uuid.map_err(|_| VOLUME_EXPECTED.to_owned());
    };
    let (vg, lv) = (name(vg)?, name(lv)?);
    Ok(Reference::Name(VolumeName { vg, lv }))
}

pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(KEY_EXPECTED.to_owned())
}

pub(super) fn token_id(text: &str) -> Result<TokenId, String> {
    TokenId::parse(text).map_err(|error| error.to_string())
}

pub(super) fn verb(text: &str) -> Result<Verb, String> {
    let known = Verb::ALL.into_iter().find(|verb| verb.label() == text);
    known.ok_or_else(|| format!("expected some of {}", Verb::ALL.map(Verb::label).join(", ")))
}

/// One that could fit some volume.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+_.-/*?".contains(&byte);
    let is_wide = text.contains('/') || text.contains('*');
    if is_wide && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(PATTERN_EXPECTED.to_owned())
}

fn bytes_ceil(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit_bytes(unit.strip_prefix(' ').unwrap_or(unit))?;
    let (wholes, decimals) = number.split_once('.').unwrap_or((number, "0"));
    // A part of a byte is a slip.
    let is_part = unit == 1 && number.contains('.');
    if is_part || decimals.len() > DECIMALS_MAX {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let scaled = u128::from(whole(wholes)?)
        .checked_mul(scale)?
        .checked_add(u128::from(whole(decimals)?))?;
    let bytes = scaled.checked_mul(unit)?.div_ceil(scale);
    let bytes = i64::try_from(bytes).ok()?.cast_unsigned();
    Some(bytes).filter(|bytes| *bytes > 0)
}

/// The number of bytes that a unit stands for; without one, a byte.
fn unit_bytes(unit: &str) -> Option<u128> {
    let mut letters = unit.chars();
    let Some(letter) = letters.next() else {
        return Some(1);
    };
    let rest = letters.as_str();
    let at = UNITS.find(letter.to_ascii_uppercase());
    match at {
        Some(at) if rest.is_empty() || rest.eq_ignore_ascii_case("ib") => Some(1024 << (10 * at)),
        None if unit.eq_ignore_ascii_case("b") => Some(1),
        Some(_) | None => None,
    }
}

fn percent(number: &str) -> Option<u32> {
    let percent = u32::try_from(whole(without_space(number))?).ok()?;
    Some(percent).filter(|percent| *percent > 0)
}

fn without_space(number: &str) -> &str {
    number.strip_suffix(' ').unwrap_or(number)
}

/// Digits alone: `parse` takes a sign, too.
fn whole(digits: &str) -> Option<u64> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| are_digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use proptest::sample::select;

    use super::*;

    #[test]
    fn sizes_are_what_they_say() {
        let cases = [
            ("1", 1),
            ("512 MiB", 512 << 20),
            ("10GiB", 10 << 30),
            ("10gib", 10 << 30),
            ("10G", 10 << 30),
            ("4k", 4096),
            ("17b", 17),
            ("1.5T", 3 << 39),
            ("0.5KiB", 512),
            ("0.1K", 103),
            ("1e", 1 << 60),
            ("7.999999999E", 9_223_372_035_701_854_304),
            ("9223372036854775807", i64::MAX.cast_unsigned()),
        ];
        for (text, bytes) in cases {
            assert_eq!(size_ceil(text), Ok(bytes), "{text}");
            assert_eq!(store_size(text), Ok(StoreSize::Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        let bad = [
            "",
            " ",
            "0",
            "0G",
            "0.0000001",
            "-1",
            "+1",
            "1.5.5M",
            "10M,5",
            "1,5M",
            "1e3",
            "1.5",
            "1.5B",
            "+100%FREE",
            "100%FREE",
            "16E",
            "8E",
            "99999999999999999999",
            "99999999999999999999999999999999999999999G",
            "8q",
            "10MB",
            "10GB",
            "10 GiB ",
            " 10GiB",
            "10  GiB",
            "10G iB",
            "G",
            ".5G",
            "5.G",
            "1_000",
            "0x10",
            "10GiBs",
            "٣G",
            "10\u{a0}G",
            "1.0000000000G",
            "10\nG",
            "NaN",
            "inf",
        ];
        for text in bad {
            assert_eq!(size_ceil(text), Err(SIZE_EXPECTED.to_owned()), "{text:?}");
            assert_eq!(store_size(text), Err(STORE_EXPECTED.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_part_of_the_origin_is_a_whole_number_of_percent() {
        assert_eq!(store_size("15%"), Ok(StoreSize::PercentOfOrigin(15)));
        assert_eq!(store_size("100 %"), Ok(StoreSize::PercentOfOrigin(100)));
        assert_eq!(store_size("auto"), Ok(StoreSize::Auto));
        for text in [
            "%",
            "0%",
            "-1%",
            "+1%",
            "1.5%",
            "15%%",
            "4294967296%",
            "15  %",
            "15%ORIGIN",
        ] {
            assert_eq!(store_size(text), Err(STORE_EXPECTED.to_owned()), "{text:?}");
        }
        assert!(size_ceil("15%").is_err());
    }

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        let cases = [
            ("1s", 1),
            ("90min", 5400),
            ("90m", 5400),
            ("24 h", 86_400),
            ("7d", 604_800),
            ("2w", 1_209_600),
        ];
        for (text, seconds) in cases {
            assert_eq!(span(text), Ok(seconds), "{text}");
            assert_eq!(lifetime(text), Ok(Lifetime::Seconds(seconds)), "{text}");
        }
        for text in [
            "",
            "7",
            "0d",
            "-1d",
            "+1d",
            "1.5d",
            "1d12h",
            "d",
            "1y",
            "7 days",
            "521w1",
            "3651d",
            "99999999999999999999s",
        ] {
            assert_eq!(span(text), Err(SPAN_EXPECTED.to_owned()), "{text:?}");
            assert!(lifetime(text).is_err(), "{text:?}");
        }
        assert_eq!(lifetime("never"), Ok(Lifetime::Never));
        assert!(span("never").is_err());
    }

    #[test]
    fn a_volume_is_named_as_for_lvm() {
        let named = |text: &str| volume(text).map(|volume| volume.to_string());
        assert_eq!(named("vg0/snap").as_deref(), Ok("vg0/snap"));
        assert_eq!(named("/dev/vg0/snap").as_deref(), Ok("vg0/snap"));
        let uuid = "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4";
        assert_eq!(named(uuid).as_deref(), Ok(uuid));
        for text in [
            "",
            "vg0",
            "vg0/",
            "/snap",
            "a/b/c",
            "-a/b",
            "a/--config",
            "a/..",
            "/dev/mapper/vg0-snap/x",
        ] {
            assert!(volume(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_short_and_plain() {
        assert!(idempotency_key("nightly_2026-11-22").is_ok());
        assert!(idempotency_key(&"k".repeat(64)).is_ok());
        for text in ["", "a b", "a\r\nX: y", "ü", &"k".repeat(65)] {
            assert!(idempotency_key(text).is_err(), "{text:?}");
        }
    }

    fn nearly_a_size() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            select(vec![
                ".", " ", "%", "K", "m", "GiB", "e", "iB", "B", "+", "-", ",", "ü"
            ])
            .prop_map(str::to_owned),
            any::<u64>().prop_map(|number| number.to_string()),
            (0_u8..20).prop_map(|number| number.to_string()),
            Just(String::new()),
        ];
        proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whole_sizes_are_exact_or_refused(number: u64, unit in 0_usize..6, space: bool) {
            let letter = &UNITS[unit..=unit];
            let gap = if space { " " } else { "" };
            let exact = u128::from(number) << (10 * (unit + 1));
            let expected = i64::try_from(exact).ok().map(i64::cast_unsigned).filter(|bytes| *bytes > 0);
            assert_eq!(size_ceil(&format!("{number}{gap}{letter}iB")).ok(), expected);
            assert_eq!(size_ceil(&format!("{number}{gap}{letter}")).ok(), expected);
        }

        #[test]
        fn small_sizes_are_taken(number in 1_u64..1000, unit in 0_usize..5) {
            let letter = &UNITS[unit..=unit];
            assert_eq!(size_ceil(&format!("{number}{letter}")), Ok(number << (10 * (unit + 1))));
        }

        #[test]
        fn any_text_is_a_size_or_a_complaint(text in prop_oneof![any::<String>(), nearly_a_size()]) {
            match store_size(&text) {
                Ok(StoreSize::Auto) => assert_eq!(text, "auto"),
                Ok(StoreSize::Bytes(bytes)) => {
                    assert!(bytes > 0 && i64::try_from(bytes).is_ok());
                    assert!(text.starts_with(|c: char| c.is_ascii_digit()));
                    assert_eq!(size_ceil(&text), Ok(bytes));
                    assert_eq!(size_ceil(&bytes.to_string()), Ok(bytes));
                }
                Ok(StoreSize::PercentOfOrigin(percent)) => {
                    assert!(percent > 0 && text.ends_with('%') && size_ceil(&text).is_err());
                }
                Err(error) => assert_eq!(error, STORE_EXPECTED),
            }
            if let Ok(seconds) = span(&text) {
                assert!(u64::from(seconds) <= SPAN_SECS_MAX && seconds > 0);
            }
        }

        #[test]
        fn decimals_never_make_a_size_smaller(wholes in 0_u64..4096, decimals in 0_u64..1_000_000_000, unit in 0_usize..4) {
            let letter = &UNITS[unit..=unit];
            let factor = 1024_u64 << (10 * unit);
            let given = size_ceil(&format!("{wholes}.{decimals:09}{letter}"));
            if (wholes, decimals) == (0, 0) {
                assert!(given.is_err());
            } else {
                let bytes = given.expect("small enough");
                assert!(bytes >= wholes * factor && bytes <= (wholes + 1) * factor);
            }
        }
    }
}
