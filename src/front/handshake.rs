//! The beginning of a connection that is to speak TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// From the first byte of a connection to the end of its TLS handshake: some round trips.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The first byte of a TLS record that begins a handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Nothing when the client left without a word, as one does that only tries whether somebody listens. One that does
/// not speak TLS is told `plain`.
pub(super) async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    plain: &[u8],
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let shaken = timeout(HANDSHAKE_LIMIT, begin(stream, config, plain)).await;
    shaken.unwrap_or_else(|_| Err(io::Error::other("it did not end in time")))
}

async fn begin(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    plain: &[u8],
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first == [HANDSHAKE_RECORD] {
        return TlsAcceptor::from(config).accept(stream).await.map(Some);
    }
    // What it said is taken in: closing a socket over unread bytes would take the answer back.
    let _ = stream.try_read(&mut [0; 4096]);
    stream.writable().await?;
    stream.try_write(plain)?;
    Err(io::Error::other("the client does not speak TLS"))
}
