//! A file that its server keeps packed once more, and says so in `Content-Encoding`.
//!
//! The agent asks for files as they are. Some object stores hold a file packed and can't but send it
//! so: then what Release lists is what comes out of it. Others say `gzip` of what is a gzip file
//! itself: then it is what came. So both are hashed, the one is read, and whichever is listed is the
//! file.
//!
//! Only gzip is undone. What is called so and isn't is taken as it came.

use crate::apt::release::{Algorithm, FileDigest};
use crate::compression::Compression;
use crate::fetch::{Body, FetchError, Hash};
use crate::unpack::{Packed, Unpack};
use std::io::{self, Read};

/// What unpacking gzip takes, in bytes.
const MEMORY_BYTES: u64 = 1024 * 1024;

/// A body without what its server packed it in.
#[derive(Debug)]
pub enum Stored<'a> {
    AsItCame(&'a mut Body),
    Undone(Box<Undone<'a>>),
}

/// What comes out of a body, hashed as it does.
pub struct Undone<'a> {
    unpack: Unpack<&'a mut Body>,
    hash: Hash,
    bytes: u64,
    limit: u64,
}

impl std::fmt::Debug for Undone<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Undone({} bytes so far)", self.bytes)
    }
}

impl<'a> Stored<'a> {
    /// Looks at a body of which at most `limit` bytes may come out, to be hashed with `algorithm`.
    /// One of `listed_bytes` is what Release lists, whatever its server calls it.
    ///
    /// # Errors
    /// The body's.
    pub fn new(
        body: &'a mut Body,
        limit: u64,
        algorithm: Algorithm,
        listed_bytes: Option<u64>,
    ) -> io::Result<Self> {
        let is_listed = listed_bytes.is_some() && body.announced_bytes() == listed_bytes;
        if is_listed || !body.encoding().is_some_and(is_gzip) {
            return Ok(Self::AsItCame(body));
        }
        let unpack = Packed::look(body)?.only(Compression::Gz).unpack(MEMORY_BYTES)?;
        let hash = Hash::new(algorithm);
        Ok(Self::Undone(Box::new(Undone { unpack, hash, bytes: 0, limit })))
    }

    /// Reads the body to its end. Returns size and digest of what came out of it, if it was packed.
    ///
    /// # Errors
    /// The body's.
    pub fn finish(self) -> io::Result<Option<(u64, FileDigest)>> {
        let Self::Undone(undone) = self else {
            return Ok(None);
        };
        let Undone { unpack, hash, bytes, .. } = *undone;
        unpack.drain()?;
        Ok(Some((bytes, hash.finish())))
    }
}

/// Whether a list of encodings comes to gzip.
fn is_gzip(encodings: &str) -> bool {
    let is = |name: &str, others: &[&str]| others.iter().any(|it| it.eq_ignore_ascii_case(name));
    let names = encodings.split(',').map(str::trim).filter(|name| !is(name, &["", "identity"]));
    let mut are_gzip = names.map(|name| is(name, &["gzip", "x-gzip"]));
    are_gzip.next() == Some(true) && are_gzip.next().is_none()
}

impl Read for Stored<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let undone = match self {
            Self::AsItCame(body) => return body.read(into),
            Self::Undone(undone) => undone,
        };
        let read = undone.unpack.read(into)?;
        undone.bytes += read as u64;
        if undone.bytes > undone.limit {
            return Err(io::Error::other(FetchError::TooLong { limit: undone.limit }));
        }
        undone.hash.update(&into[..read]);
        Ok(read)
    }
}
