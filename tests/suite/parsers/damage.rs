//! Damage to what a parser reads: cut, flipped, repeated, removed and swapped bytes, numbers that are none.
//!
//! No parser and no claim lives here: `parsers` has those.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed};

/// What no whole number of 64 bits looks like. A minus before digits is in it, a plus is not: Rust takes it.
pub(crate) const NO_NUMBERS: [&str; 8] = [
    "",
    " ",
    "-1",
    "1.5",
    "1e9",
    "nan",
    "0x10",
    "18446744073709551616",
];

/// Numbers that overflow whatever is computed from them.
const EXTREMES: [&str; 3] = ["0", "9223372036854775808", "18446744073709551615"];

/// One thing that happens to a text on its way.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Repeat(Index, Index),
    Remove(Index, Index),
    Swap(Index, Index),
    Number(Index, &'static str),
}

/// The same cases on every machine: what fails here fails wherever it is looked into.
pub(crate) fn cases(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x00c0_44e2d),
        ..Config::default()
    }
}

pub(crate) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..600)
}

/// One to three kinds of damage, one after the other.
pub(crate) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    vec(damage(), 1..4)
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    let texts: Vec<&str> = NO_NUMBERS.into_iter().chain(EXTREMES).collect();
    prop_oneof![
        place().prop_map(Damage::Cut),
        (place(), 1_u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (place(), place()).prop_map(|(a, b)| Damage::Repeat(a, b)),
        (place(), place()).prop_map(|(a, b)| Damage::Remove(a, b)),
        (place(), place()).prop_map(|(a, b)| Damage::Swap(a, b)),
        (place(), select(texts)).prop_map(|(at, text)| Damage::Number(at, text)),
    ]
}

pub(crate) fn damaged(whole: &[u8], damages: &[Damage]) -> Vec<u8> {
    damages
        .iter()
        .fold(whole.to_vec(), |text, damage| damage.done_to(&text))
}

/// The same, as a reader that takes texts alone gets it.
pub(crate) fn damaged_text(whole: &str, damages: &[Damage]) -> String {
    String::from_utf8_lossy(&damaged(whole.as_bytes(), damages)).into_owned()
}

impl Damage {
    fn done_to(&self, whole: &[u8]) -> Vec<u8> {
        if whole.is_empty() {
            return Vec::new();
        }
        match self {
            Self::Cut(at) => whole[..at.index(whole.len())].to_vec(),
            Self::Flip(at, bits) => {
                let mut text = whole.to_vec();
                text[at.index(whole.len())] ^= bits;
                text
            }
            Self::Repeat(a, b) => {
                let part = part(whole, *a, *b);
                [&whole[..part.end], &whole[part.start..]].concat()
            }
            Self::Remove(a, b) => {
                let part = part(whole, *a, *b);
                [&whole[..part.start], &whole[part.end..]].concat()
            }
            // What stands before the part changes places with it.
            Self::Swap(a, b) => {
                let part = part(whole, *a, *b);
                [
                    &whole[part.clone()],
                    &whole[..part.start],
                    &whole[part.end..],
                ]
                .concat()
            }
            Self::Number(at, text) => {
                let numbers = numbers(whole);
                let Some(number) = numbers.get(at.index(numbers.len().max(1))) else {
                    return whole.to_vec();
                };
                replaced(whole, number, text)
            }
        }
    }
}

fn part(whole: &[u8], a: Index, b: Index) -> Range<usize> {
    let (a, b) = (a.index(whole.len()), b.index(whole.len()));
    a.min(b)..a.max(b)
}

pub(crate) fn replaced(whole: &[u8], place: &Range<usize>, text: &str) -> Vec<u8> {
    [&whole[..place.start], text.as_bytes(), &whole[place.end..]].concat()
}

/// Where runs of digits are.
pub(crate) fn numbers(text: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.iter().enumerate().filter(|(_, c)| c.is_ascii_digit()) {
        match found.last_mut() {
            Some(number) if number.end == at => number.end += 1,
            Some(_) | None => found.push(at..at + 1),
        }
    }
    found
}
