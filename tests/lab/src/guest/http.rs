//! A tiny HTTP client: one request, one answer, a deadline. What it does not
//! understand is an error, because cowherd's answers are what is tested.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::args::PAGE_PORT;

/// An answer comes in milliseconds even when a pool is sick; that is a promise.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest wait that is asked for, and a report of LVM's in a crowd.
const WAITING: Duration = Duration::from_secs(60);
/// More than any page or scrape of a few hundred volumes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// GET from cowherd's port.
pub fn http_get(path: &str) -> Result<Response> {
    http_request(PAGE_PORT, "GET", path, &[], "")
}

pub fn http_request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, DEADLINE)
        .with_context(|| format!("connecting to port {port}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let host = format!("127.0.0.1:{port}");
    let text = request_text(&host, method, path, headers, body);
    exchange(stream, &text).with_context(|| format!("{method} {path}"))
}

/// The same by a socket of this host, to a server that may be asked to wait.
pub fn socket_request(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response> {
    let stream = UnixStream::connect(socket).context("connecting to the socket")?;
    stream.set_read_timeout(Some(WAITING))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let text = request_text("localhost", method, path, headers, body);
    exchange(stream, &text).with_context(|| format!("{method} {path}"))
}

fn exchange(mut stream: impl Read + Write, text: &str) -> Result<Response> {
    stream
        .write_all(text.as_bytes())
        .context("sending the request")?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .context("reading the answer")?;
    parse(&answer).context("the answer")
}

fn request_text(
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut lines = vec![
        format!("{method} {path} HTTP/1.1"),
        format!("Host: {host}"),
        "Connection: close".to_owned(),
    ];
    lines.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    if !body.is_empty() {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

fn parse(answer: &[u8]) -> Result<Response> {
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let split = split.context("no end of headers")?;
    let head = std::str::from_utf8(&answer[..split]).context("headers are not UTF-8")?;
    let mut lines = head.split("\r\n");
    let status = parse_status(lines.next().unwrap_or_default())?;
    let headers = lines.map(parse_header).collect::<Result<Vec<_>>>()?;
    let response = Response {
        status,
        headers,
        body: String::new(),
    };
    let body = parse_body(&response, &answer[split + 4..])?;
    Ok(Response {
        body: String::from_utf8(body).context("the body is not UTF-8")?,
        ..response
    })
}

fn parse_status(line: &str) -> Result<u16> {
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "));
    let code = rest.and_then(|r| r.split(' ').next());
    code.and_then(|c| c.parse().ok())
        .with_context(|| format!("a status line: {line:?}"))
}

fn parse_header(line: &str) -> Result<(String, String)> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("a header: {line:?}"))?;
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn parse_body(response: &Response, bytes: &[u8]) -> Result<Vec<u8>> {
    if response.header("transfer-encoding") == Some("chunked") {
        return unchunked(bytes);
    }
    if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().context("content-length")?;
        ensure!(bytes.len() == length, "{} bytes of {length}", bytes.len());
    }
    Ok(bytes.to_vec())
}

fn unchunked(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes
            .windows(2)
            .position(|w| w == b"\r\n")
            .context("a chunk's size")?;
        let size = std::str::from_utf8(&bytes[..end])?;
        let size = usize::from_str_radix(size, 16).context("a chunk's size")?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Ok(whole);
        }
        let Some((chunk, rest)) = bytes.split_at_checked(size) else {
            bail!("a chunk of {size} bytes is cut short");
        };
        whole.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n").context("a chunk's end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_is_read() {
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";
        let response = parse(answer).unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, "ok\n"));
        assert_eq!(response.header("content-type"), Some("text/plain"));
    }

    #[test]
    fn chunks_are_joined() {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(answer).unwrap().body, "abc0123456789");
    }

    #[test]
    fn cut_or_odd_answers_are_errors() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert!(parse(answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
