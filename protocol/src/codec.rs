//! Messages to bytes and back. Total: any bytes give a message or an error, in time linear in
//! their number, with memory a small multiple of it.
//!
//! nanoserde alone is not total: on malformed JSON it may not return (an unknown field cut off
//! inside an array), panic (an unknown field without a value) or overflow the stack (deep
//! nesting), and it accepts comments, trailing text and open numbers. So [`decode`] first has the
//! bytes pass [`accept`], which knows exactly RFC 8259's grammar and our depth; on well-formed,
//! shallow JSON nanoserde is sound. `fuzz/` and this crate's tests hold the pair to that.

use crate::error::Error;
use crate::limits::{JSON_DEPTH_MAX, MESSAGE_BYTES_MAX};
use crate::message::{ToArbiter, ToPeer, cut};
use crate::row::Digest;
use crate::rows::{ArrivedBytes, PackedRows, Rows};
use nanoserde::{DeJson, DeJsonErr, DeJsonState, SerJson, SerJsonState};
use std::str::Chars;

/// The first byte of a binary message says which it is.
mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const DROPPED: u8 = 2;
    pub(super) const DIGESTS: u8 = 3;
}

/// A message as a WebSocket carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// JSON.
    Text(String),
    /// What has many rows or digests.
    Binary(Vec<u8>),
}

/// A message of one direction: [`ToArbiter`] or [`ToPeer`].
pub trait Message: DeJson + SerJson {
    /// Whether every field is within its limits.
    ///
    /// # Errors
    /// [`Error::Field`].
    fn check(&self) -> Result<(), Error>;

    /// Its bytes, where it is a binary one.
    fn pack(&self) -> Option<Vec<u8>> {
        None
    }

    /// The binary message of this kind, whose other bytes are these.
    ///
    /// # Errors
    /// [`Error::NotAMessage`] and [`Error::Field`].
    fn unpack(kind: u8, _: &[u8]) -> Result<Self, Error> {
        Err(Error::NotAMessage { why: format!("no binary message has the number {kind} here") })
    }
}

impl Message for ToArbiter {
    fn check(&self) -> Result<(), Error> {
        Self::check(self)
    }

    fn pack(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Put { lease, number, rows } => {
                let mut packed = PackedRows::default();
                rows.iter().for_each(|row| packed.push(&row));
                return Some(put(*lease, *number, &mut packed));
            }
            Self::Dropped { lease, number, digests } => {
                head(&mut out, kind::DROPPED, [*lease, *number]);
                out.extend(digests.iter().flat_map(|digest| digest.0));
            }
            _ => return None,
        }
        Some(out)
    }

    fn unpack(kind: u8, bytes: &[u8]) -> Result<Self, Error> {
        let mut bytes = ArrivedBytes(bytes);
        let mut both = || Ok((bytes.number_of(8)?, bytes.number_of(8)?));
        match kind {
            kind::PUT => {
                let (lease, number) = both()?;
                Ok(Self::Put { lease, number, rows: Rows::unpack(&mut bytes)? })
            }
            kind::DROPPED => {
                let (lease, number) = both()?;
                Ok(Self::Dropped { lease, number, digests: digests(bytes.0)? })
            }
            _ => Err(Error::NotAMessage { why: format!("no peer says a message {kind}") }),
        }
    }
}

impl Message for ToPeer {
    fn check(&self) -> Result<(), Error> {
        Self::check(self)
    }

    fn pack(&self) -> Option<Vec<u8>> {
        let Self::Digests { lease, digests, more } = self else { return None };
        let mut out = Vec::new();
        head(&mut out, kind::DIGESTS, [*lease]);
        out.push(u8::from(*more));
        out.extend(digests.iter().flat_map(|digest| digest.0));
        Some(out)
    }

    fn unpack(kind: u8, bytes: &[u8]) -> Result<Self, Error> {
        let mut bytes = ArrivedBytes(bytes);
        if kind != kind::DIGESTS {
            return Err(Error::NotAMessage { why: format!("no arbiter says a message {kind}") });
        }
        let lease = bytes.number_of(8)?;
        let more = match bytes.number_of(1)? {
            more @ 0..=1 => more == 1,
            more => return Err(Error::field("more", format!("{more}, not 0 or 1"))),
        };
        Ok(Self::Digests { lease, digests: digests(bytes.0)?, more })
    }
}

/// A [`Put`](ToArbiter::Put) of rows, as it is sent; none of them is left.
pub fn put(lease: u64, number: u64, rows: &mut PackedRows) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, kind::PUT, [lease, number]);
    rows.pack(&mut out);
    // It waits for its answer, and is a third of what it might have been.
    out.shrink_to_fit();
    out
}

fn head<const COUNT: usize>(out: &mut Vec<u8>, kind: u8, numbers: [u64; COUNT]) {
    out.push(kind);
    out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
}

fn digests(bytes: &[u8]) -> Result<Vec<Digest>, Error> {
    let (digests, []) = bytes.as_chunks() else {
        return Err(Error::field("digests", "not digests of 16 bytes each"));
    };
    Ok(digests.iter().map(|digest| Digest(*digest)).collect())
}

/// What only binary messages have is nothing as JSON; nanoserde asks for it all the same.
macro_rules! never_json {
    ($($kind:ident)*) => {$(
        impl SerJson for $kind {
            fn ser_json(&self, _: usize, state: &mut SerJsonState) {
                state.out.push_str("null");
            }
        }

        impl DeJson for $kind {
            fn de_json(state: &mut DeJsonState, _: &mut Chars<'_>) -> Result<Self, DeJsonErr> {
                Err(state.err_nf("a binary message"))
            }
        }
    )*};
}
never_json!(Digest Rows);

/// A message as it is sent.
pub fn payload(message: &impl Message) -> Payload {
    message.pack().map_or_else(|| Payload::Text(encode(message)), Payload::Binary)
}

/// Reads one message from the payload of one binary WebSocket message.
///
/// # Errors
/// As [`decode`], but for [`Error::NotJson`].
pub fn decode_binary<M: Message>(bytes: &[u8]) -> Result<M, Error> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong { bytes: bytes.len(), limit: MESSAGE_BYTES_MAX });
    }
    let nothing = || Error::NotAMessage { why: "nothing in it".to_owned() };
    let (kind, bytes) = bytes.split_first().ok_or_else(nothing)?;
    let message = M::unpack(*kind, bytes)?;
    message.check()?;
    Ok(message)
}

/// The JSON text of a message that isn't a binary one.
pub fn encode(message: &impl Message) -> String {
    message.serialize_json()
}

/// Reads one message from the payload of one WebSocket message of text.
///
/// # Errors
/// Any variant of [`Error`] but `Unexpected` and `Incompatible`, which are the session's.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, Error> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong { bytes: bytes.len(), limit: MESSAGE_BYTES_MAX });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|cause| Error::NotJson { at: cause.valid_up_to(), why: "UTF-8" })?;
    accept(text, JSON_DEPTH_MAX)?;
    let message = M::deserialize_json(text)
        .map_err(|cause| Error::NotAMessage { why: cut(&cause.to_string(), 200).to_owned() })?;
    if message.pack().is_some() {
        return Err(Error::NotAMessage { why: "text, and this message is binary".to_owned() });
    }
    message.check()?;
    Ok(message)
}

/// Whether `text` is exactly one JSON value (RFC 8259) that nests at most `depth_max` deep and
/// whose escapes are characters (RFC 8259 leaves lone surrogates open).
///
/// # Errors
/// [`Error::NotJson`] with the offset of the first byte that doesn't fit.
pub fn accept(text: &str, depth_max: usize) -> Result<(), Error> {
    let mut acceptor = Acceptor { bytes: text.as_bytes(), at: 0 };
    // Each open bracket, innermost last: true for an object.
    let mut open: Vec<bool> = Vec::with_capacity(depth_max);
    loop {
        // A value begins here.
        acceptor.blanks();
        match acceptor.peek() {
            Some(bracket @ (b'{' | b'[')) => {
                if open.len() == depth_max {
                    return acceptor.fail("less nesting");
                }
                acceptor.at += 1;
                acceptor.blanks();
                let is_object = bracket == b'{';
                if acceptor.peek() == Some(if is_object { b'}' } else { b']' }) {
                    acceptor.at += 1;
                } else {
                    open.push(is_object);
                    if is_object {
                        acceptor.key()?;
                    }
                    continue;
                }
            }
            Some(b'"') => acceptor.string()?,
            Some(b'-' | b'0'..=b'9') => acceptor.number()?,
            Some(b't') => acceptor.word("true")?,
            Some(b'f') => acceptor.word("false")?,
            Some(b'n') => acceptor.word("null")?,
            _ => return acceptor.fail("a value"),
        }
        // A value ended here: close what ends with it.
        loop {
            acceptor.blanks();
            let Some(&is_object) = open.last() else {
                return match acceptor.peek() {
                    None => Ok(()),
                    Some(_) => acceptor.fail("the end"),
                };
            };
            match (acceptor.peek(), is_object) {
                (Some(b','), _) => {
                    acceptor.at += 1;
                    if is_object {
                        acceptor.blanks();
                        acceptor.key()?;
                    }
                    break;
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    acceptor.at += 1;
                    open.pop();
                }
                (_, true) => return acceptor.fail(", or }"),
                (_, false) => return acceptor.fail(", or ]"),
            }
        }
    }
}

struct Acceptor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Acceptor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail<T>(&self, why: &'static str) -> Result<T, Error> {
        Err(Error::NotJson { at: self.at, why })
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn key(&mut self) -> Result<(), Error> {
        if self.peek() != Some(b'"') {
            return self.fail("a key");
        }
        self.string()?;
        self.blanks();
        if self.peek() != Some(b':') {
            return self.fail(":");
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), Error> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.fail(word);
        }
        self.at += word.len();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Error> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => self.unicode()?,
                        _ => return self.fail("an escape"),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return self.fail("a character or \""),
            }
        }
    }

    /// `uXXXX`, and a second escape where the first is half of a surrogate pair.
    fn unicode(&mut self) -> Result<(), Error> {
        match self.hex4()? {
            0xd800..=0xdbff => {
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return self.fail("a low surrogate");
                }
                self.at += 1;
                match self.hex4()? {
                    0xdc00..=0xdfff => Ok(()),
                    _ => self.fail("a low surrogate"),
                }
            }
            0xdc00..=0xdfff => self.fail("no lone surrogate"),
            _ => Ok(()),
        }
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        self.at += 1;
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| (byte as char).to_digit(16)) else {
                return self.fail("a hexadecimal digit");
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), Error> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.fail("a digit"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            // nanoserde doesn't know the plus that RFC 8259 allows here, and gives an error.
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.fail("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }
}
