//! A client of the public listener that says exactly the bytes it is told to.

use canister_link::clock;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

impl Reply {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends these bytes over a connection of their own and reads until it is closed; `None` if
/// nothing that is an answer came.
pub fn raw(address: &str, bytes: &[u8]) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).expect("the listener takes connections");
    stream.set_read_timeout(Some(WAIT)).expect("a time");
    // It may have answered and closed before it was sent everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    reply(&answer)
}

fn reply(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let body = &answer[end + 4..];
    let body = if is_chunked { chunks(body)? } else { body.to_vec() };
    Some(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// The chunks of a body as one; `None` where it is cut off.
///
/// Spec: RFC 9112 §7.1, without extensions and trailers.
fn chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend(body.get(end + 2..end + 2 + length)?);
        body = body.get(end + 4 + length..)?;
    }
}

/// How long it takes until the first byte of an answer is here, and the rest.
pub fn timed(address: &str, path: &str) -> (Duration, Reply) {
    let since = clock::now();
    let mut stream = TcpStream::connect(address).expect("the listener takes connections");
    stream.set_read_timeout(Some(WAIT)).expect("a time");
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = vec![0];
    stream.read_exact(&mut answer).expect("a byte");
    let first = since.elapsed();
    let _ = stream.read_to_end(&mut answer);
    (first, reply(&answer).expect("an answer"))
}

/// A request without a body.
pub fn ask(address: &str, method: &str, path: &str) -> Reply {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    raw(address, request.as_bytes()).expect("an answer")
}

/// A request with a body and these headers, a line each.
pub fn send(address: &str, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        request.extend(header.as_bytes());
        request.extend(b"\r\n");
    }
    request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    request.extend(body);
    raw(address, &request).expect("an answer")
}
