//! Texts that are served compressed: each compressed once, when it is first asked for, and shared by all answers.
//!
//! An answer is what is shared and what is its own, such as the front's own families behind those of a view. It has
//! to be one gzip member (RFC 1952), because not every client reads a second one. Deflate (RFC 1951) lets that be:
//! the shared parts end on a byte boundary, an answer's own parts stand between them as stored blocks, and checksums
//! of parts combine to the checksum of the whole.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::sync::OnceLock;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use hyper::body::Bytes;

/// Deflate, no name, no time, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block, stored and empty.
const END: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// A stored block has a length of two bytes.
const STORED_MAX: usize = 0xffff;

/// A text that many answers share.
#[derive(Debug)]
pub(super) struct Shared {
    plain: Bytes,
    deflated: OnceLock<Option<Deflated>>,
}

/// Whole blocks, none of them the last, and the checksum of what they say.
#[derive(Debug)]
struct Deflated {
    blocks: Bytes,
    crc: Crc,
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Shared(&'a Shared),
    Own(Bytes),
}

impl Shared {
    pub(super) fn new(plain: impl Into<Bytes>) -> Self {
        Self {
            plain: plain.into(),
            deflated: OnceLock::new(),
        }
    }

    /// Compresses before anybody asks.
    pub(super) fn prepare(&self) {
        self.deflated();
    }

    fn deflated(&self) -> Option<&Deflated> {
        let made = self.deflated.get_or_init(|| deflate(&self.plain).ok());
        made.as_ref()
    }
}

/// The parts as they are.
pub(super) fn plain(parts: Vec<Part<'_>>) -> VecDeque<Bytes> {
    let bytes = parts.into_iter().map(|part| match part {
        Part::Shared(shared) => shared.plain.clone(),
        Part::Own(own) => own,
    });
    bytes.collect()
}

/// The parts as one gzip member. Nothing if one could not be compressed, which a part in memory always can be.
pub(super) fn gzip(parts: &[Part<'_>]) -> Option<VecDeque<Bytes>> {
    let mut pieces = VecDeque::from([Bytes::from_static(&HEADER)]);
    let mut whole = Crc::new();
    let mut size: usize = 0;
    for part in parts {
        match part {
            Part::Shared(shared) => {
                let deflated = shared.deflated()?;
                pieces.push_back(deflated.blocks.clone());
                whole.combine(&deflated.crc);
                size += shared.plain.len();
            }
            Part::Own(own) => {
                for chunk in own.chunks(STORED_MAX) {
                    pieces.push_back(stored(chunk));
                }
                let mut crc = Crc::new();
                crc.update(own);
                whole.combine(&crc);
                size += own.len();
            }
        }
    }
    // As the format has it, of larger texts the rest beyond 4 GiB.
    let size = u32::try_from(size & 0xffff_ffff).unwrap_or(u32::MAX);
    let checks = [whole.sum().to_le_bytes(), size.to_le_bytes()];
    pieces.push_back(Bytes::from(
        [END.as_slice(), checks.as_flattened()].concat(),
    ));
    Some(pieces)
}

fn deflate(plain: &[u8]) -> io::Result<Deflated> {
    // Names and labels repeat so much that the fastest level takes a tenth.
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain)?;
    // Ends on a byte boundary, unlike the end that `finish` would write, which would be the last block's, too.
    encoder.flush()?;
    let mut crc = Crc::new();
    crc.update(plain);
    Ok(Deflated {
        blocks: mem::take(encoder.get_mut()).into(),
        crc,
    })
}

/// A block that is not compressed: its length, the same inverted, and the bytes.
fn stored(chunk: &[u8]) -> Bytes {
    let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
    let head = [
        [0_u8; 1].as_slice(),
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
    ]
    .concat();
    [head.as_slice(), chunk].concat().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn joined(pieces: VecDeque<Bytes>) -> Vec<u8> {
        pieces.into_iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn any_parts_are_one_member_that_says_the_same(texts in prop::collection::vec((any::<bool>(), "\\PC{0,300}", 0..400_usize), 0..5)) {
            let texts: Vec<_> = texts.into_iter().map(|(own, text, times)| (own, text.repeat(times))).collect();
            let shared: Vec<_> = texts.iter().map(|(_, text)| Shared::new(text.clone())).collect();
            let parts = || texts.iter().zip(&shared).map(|((own, text), shared)| {
                if *own { Part::Own(text.clone().into()) } else { Part::Shared(shared) }
            }).collect::<Vec<_>>();
            let expected = joined(plain(parts()));
            let packed = joined(gzip(&parts()).expect("memory takes all"));
            let mut read = Vec::new();
            let mut reader = GzDecoder::new(packed.as_slice());
            reader.read_to_end(&mut read).expect("a whole member");
            assert_eq!(read, expected);
            assert_eq!(reader.into_inner(), b"", "nothing follows the member");
        }
    }
}
