//! The messages between the guard and its front, framed and bounded.
//!
//! A frame is a length (four bytes, big endian) and that many bytes of postcard: both ends are the same
//! binary, so this is no public format and need not describe itself. What lives here reads and writes frames, blocking, over
//! any stream; no sockets, threads or clocks. The two ends do not trust each other alike: what the
//! unprivileged front sends is read by a privileged process, hence each direction has its own bound.

use std::io::{self, ErrorKind, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::time::Now;
use crate::model::view::View;

/// Length of the header of a frame.
const HEADER_BYTES: usize = 4;

/// A view takes 250 bytes for each snapshot: this carries sixty thousand, far more than one host has,
/// and bounds what a reader allocates.
const VIEW_BYTES_MAX: u32 = 16 << 20;

/// The front has little to say; a guard that locks its memory need not hold more.
const WORD_BYTES_MAX: u32 = 64 << 10;

/// What the guard tells the front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromGuard {
    /// The latest picture; it replaces the one before.
    View(Packed),
    /// The answer to a question: an `Answered`.
    Answer(Json),
    /// The guard ends: so does the front.
    Stop,
}

/// A message of the API: it says of itself what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json(#[serde(with = "serde_bytes")] Vec<u8>);

impl Json {
    /// # Errors
    /// When the message cannot be encoded.
    pub fn of(message: &impl Serialize) -> Result<Self, LinkError> {
        serde_json::to_vec(message)
            .map(Self)
            .map_err(LinkError::Json)
    }

    /// # Errors
    /// When it is another message.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, LinkError> {
        serde_json::from_slice(&self.0).map_err(LinkError::Json)
    }
}

/// A view that is unpacked when somebody asks for it: most are replaced before anybody does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// When the view was made.
    pub at: Now,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Packed {
    /// # Errors
    /// When the view cannot be encoded.
    pub fn of(view: &View) -> Result<Self, LinkError> {
        let bytes = postcard::to_allocvec(view).map_err(LinkError::Encode)?;
        Ok(Self { at: view.at, bytes })
    }

    /// # Errors
    /// When it is no view.
    pub fn unpack(&self) -> Result<View, LinkError> {
        whole(&self.bytes)
    }
}

/// What the front tells the guard: before it serves how that went, then what callers ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromFront {
    /// Every address is bound; with the port that was given where port 0 was asked for.
    Listening { addresses: Vec<String> },
    /// An address could not be bound: the front has ended.
    Failed { message: String },
    /// The web configuration cannot be in force: the front has ended.
    Misconfigured { message: String },
    /// A question of a caller's: an `Ask`.
    Ask(Json),
}

/// Something that travels in one frame.
pub trait Message: Serialize + DeserializeOwned {
    /// No frame of this direction is longer, without its header.
    const FRAME_BYTES_MAX: u32;
}

impl Message for FromGuard {
    const FRAME_BYTES_MAX: u32 = VIEW_BYTES_MAX;
}

impl Message for FromFront {
    const FRAME_BYTES_MAX: u32 = WORD_BYTES_MAX;
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("read a frame")]
    Read(#[source] io::Error),
    #[error("write a frame")]
    Write(#[source] io::Error),
    #[error("the frame ends early: the other end has gone")]
    Truncated,
    #[error("a frame of {length} bytes, expected at most {max}")]
    TooLong { length: u64, max: u32 },
    #[error("encode a frame")]
    Encode(#[source] postcard::Error),
    #[error("decode a frame")]
    Decode(#[source] postcard::Error),
    #[error("the frame has {0} bytes after its message")]
    Surplus(usize),
    #[error("a message of the API")]
    Json(#[source] serde_json::Error),
}

/// The frame of a message, header included.
///
/// # Errors
/// When the message is longer than its direction allows.
pub fn encode<T: Message>(message: &T) -> Result<Vec<u8>, LinkError> {
    let frame = vec![0; HEADER_BYTES];
    let mut frame = postcard::to_extend(message, frame).map_err(LinkError::Encode)?;
    let body_bytes = frame.len() - HEADER_BYTES;
    let header = checked_length::<T>(body_bytes)?.to_be_bytes();
    frame[..HEADER_BYTES].copy_from_slice(&header);
    Ok(frame)
}

/// Writes one message.
///
/// # Errors
/// When the message is too long or the stream does not take it.
pub fn send<T: Message>(stream: &mut impl Write, message: &T) -> Result<(), LinkError> {
    let frame = encode(message)?;
    stream.write_all(&frame).map_err(LinkError::Write)?;
    stream.flush().map_err(LinkError::Write)
}

/// Reads one message; nothing when the other end closed the stream between two frames.
///
/// # Errors
/// When the stream fails or ends within a frame, or the frame is too long or no message. After
/// `TooLong`, `Decode` and `Surplus` the stream cannot be trusted to be at the start of a frame.
pub fn receive<T: Message>(stream: &mut impl Read) -> Result<Option<T>, LinkError> {
    let Some(header) = read_header(stream)? else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(header);
    if length > T::FRAME_BYTES_MAX {
        let length = u64::from(length);
        return Err(LinkError::TooLong {
            length,
            max: T::FRAME_BYTES_MAX,
        });
    }
    let mut body = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    stream.read_exact(&mut body).map_err(cut_short)?;
    whole(&body).map(Some)
}

/// The one thing that these bytes are.
fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LinkError> {
    match postcard::take_from_bytes(bytes).map_err(LinkError::Decode)? {
        (thing, []) => Ok(thing),
        (_, surplus) => Err(LinkError::Surplus(surplus.len())),
    }
}

fn checked_length<T: Message>(length: usize) -> Result<u32, LinkError> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= T::FRAME_BYTES_MAX)
        .ok_or(LinkError::TooLong {
            length: u64::try_from(length).unwrap_or(u64::MAX),
            max: T::FRAME_BYTES_MAX,
        })
}

/// An end before the first byte is an end between frames, an end after it is not.
fn read_header(stream: &mut impl Read) -> Result<Option<[u8; HEADER_BYTES]>, LinkError> {
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match stream.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(LinkError::Truncated),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(LinkError::Read(error)),
        }
    }
    Ok(Some(header))
}

fn cut_short(error: io::Error) -> LinkError {
    if error.kind() == ErrorKind::UnexpectedEof {
        LinkError::Truncated
    } else {
        LinkError::Read(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn listening() -> FromFront {
        FromFront::Listening {
            addresses: vec!["127.0.0.1:10845".to_owned()],
        }
    }

    #[test]
    fn messages_arrive_in_order_and_then_the_end() {
        let failed = FromFront::Failed {
            message: "in use".to_owned(),
        };
        let mut stream = Vec::new();
        send(&mut stream, &listening()).expect("a vector takes all");
        send(&mut stream, &failed).expect("a vector takes all");
        let mut reader = stream.as_slice();
        assert_eq!(receive(&mut reader).expect("whole"), Some(listening()));
        assert_eq!(receive(&mut reader).expect("whole"), Some(failed));
        assert_eq!(
            receive::<FromFront>(&mut reader).expect("a clean end"),
            None
        );
    }

    #[test]
    fn a_frame_cut_anywhere_is_truncated() {
        let frame = encode(&listening()).expect("short");
        for length in 1..frame.len() {
            let received = receive::<FromFront>(&mut &frame[..length]);
            assert!(
                matches!(received, Err(LinkError::Truncated)),
                "{length}: {received:?}"
            );
        }
    }

    #[test]
    fn a_frame_longer_than_its_direction_allows_is_refused_both_ways() {
        let header = (WORD_BYTES_MAX + 1).to_be_bytes();
        let received = receive::<FromFront>(&mut header.as_slice());
        assert!(
            matches!(received, Err(LinkError::TooLong { .. })),
            "{received:?}"
        );
        let message = "x".repeat(WORD_BYTES_MAX as usize);
        let sent = send(&mut Vec::new(), &FromFront::Failed { message });
        assert!(matches!(sent, Err(LinkError::TooLong { .. })), "{sent:?}");
    }

    #[test]
    fn a_frame_that_is_no_message_is_told_apart() {
        let mut frame = 3_u32.to_be_bytes().to_vec();
        frame.extend(b"{}}");
        let received = receive::<FromGuard>(&mut frame.as_slice());
        assert!(
            matches!(received, Err(LinkError::Decode(_))),
            "{received:?}"
        );
    }

    #[test]
    fn a_frame_with_more_than_its_message_is_refused() {
        let mut frame = encode(&FromGuard::Stop).expect("short");
        frame[HEADER_BYTES - 1] += 1;
        frame.push(0);
        let received = receive::<FromGuard>(&mut frame.as_slice());
        assert!(
            matches!(received, Err(LinkError::Surplus(1))),
            "{received:?}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = bytes.as_slice();
            while let Ok(Some(_)) = receive::<FromGuard>(&mut reader) {}
            let mut reader = bytes.as_slice();
            while let Ok(Some(_)) = receive::<FromFront>(&mut reader) {}
        }

        #[test]
        fn any_body_in_a_good_frame_ends_in_a_message_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frame = u32::try_from(body.len()).expect("at most 200").to_be_bytes().to_vec();
            frame.extend(&body);
            let _ = receive::<FromGuard>(&mut frame.as_slice());
        }

        #[test]
        fn any_text_round_trips(addresses in prop::collection::vec(any::<String>(), 0..5), message: String) {
            for sent in [FromFront::Listening { addresses: addresses.clone() }, FromFront::Failed { message: message.clone() }] {
                let frame = encode(&sent).expect("short");
                assert_eq!(receive(&mut frame.as_slice()).expect("whole"), Some(sent));
            }
        }
    }
}
