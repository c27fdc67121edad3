//! Unpacking a package index as a stream, within limits of memory, of output and of ratio.
//!
//! What a file is says its first bytes, not its name: servers misname. The window a decoder needs
//! is compared with what the lease may use before it is allocated.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// Most bytes that an index may unpack to.
pub const PLAIN_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Most plain bytes for each packed byte, beyond [`RATIO_FREE_BYTES`]. Indexes of real archives
/// pack to a tenth; made-up ones of like stanzas to a hundredth.
const RATIO_MAX: u64 = 500;
/// Plain bytes that any file may unpack to.
const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of packed input that are read at once.
const INPUT_BYTES: usize = 32 * 1024;

/// How a package index is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// bzip2, `.bz2`.
    Bz2,
    /// gzip, `.gz`.
    Gz,
    /// The old LZMA format, `.lzma`.
    Lzma,
    /// Not at all.
    Plain,
    /// XZ, `.xz`.
    Xz,
    /// Zstandard, `.zst`.
    Zst,
}

impl Compression {
    /// In the order in which they are tried where nobody says which there are: the design's.
    pub const PROBED: [Self; 6] =
        [Self::Zst, Self::Xz, Self::Bz2, Self::Lzma, Self::Gz, Self::Plain];

    /// What a file's name ends in.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Bz2 => ".bz2",
            Self::Gz => ".gz",
            Self::Lzma => ".lzma",
            Self::Plain => "",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
        }
    }

    /// The compression whose files' names end so.
    pub fn of_suffix(suffix: &[u8]) -> Option<Self> {
        Self::PROBED.into_iter().find(|compression| compression.suffix().as_bytes() == suffix)
    }

    fn of_magic(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bz2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zst,
            // Properties below 225, a dictionary whose size's low bytes are zero: no text begins
            // so, for its third byte is a NUL.
            [0..=224, 0, 0, ..] => Self::Lzma,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            other => &other.suffix()[1..],
        })
    }
}

/// A limit that the input would break; found inside the `io::Error` that reading gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitError {
    /// The decoder's window doesn't fit the memory budget.
    Memory {
        /// What it may use, in bytes.
        limit: u64,
    },
    /// It unpacks to too much.
    Plain {
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// It unpacks to too many times its size.
    Ratio {
        /// What is allowed.
        limit: u64,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { limit } => {
                write!(f, "unpacking takes more than the {limit} bytes of memory it may use")
            }
            Self::Plain { limit } => write!(f, "unpacks to more than {limit} bytes"),
            Self::Ratio { limit } => write!(f, "unpacks to more than {limit} times its size"),
        }
    }
}

impl std::error::Error for LimitError {}

/// The plain bytes of whatever it is made over.
pub struct Unpack<R: Read> {
    decoder: Decoder<Counted<R>>,
    packed: Rc<Cell<u64>>,
    plain: u64,
    memory_bytes_max: u64,
    compression: Compression,
}

enum Decoder<R: Read> {
    Bz2(bzip2::bufread::MultiBzDecoder<io::BufReader<R>>),
    Gz(flate2::bufread::MultiGzDecoder<io::BufReader<R>>),
    Plain(io::BufReader<R>),
    Xz(liblzma::bufread::XzDecoder<io::BufReader<R>>),
    Zst(zstd::stream::read::Decoder<'static, io::BufReader<R>>),
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

impl<R: Read> Unpack<R> {
    /// Looks at the first bytes and makes the decoder they ask for, which will use at most
    /// `memory_bytes_max` (a little over its window).
    ///
    /// # Errors
    /// The reader's; a decoder that can't be made.
    pub fn new(inner: R, memory_bytes_max: u64) -> io::Result<Self> {
        let packed = Rc::new(Cell::new(0));
        let counted = Counted { inner, bytes: Rc::clone(&packed) };
        let mut input = io::BufReader::with_capacity(INPUT_BYTES, counted);
        // A first read may give a single byte; the magic needs six.
        let mut start = [0; 6];
        let mut length = 0;
        while length < start.len() {
            match input.read(&mut start[length..])? {
                0 => break,
                read => length += read,
            }
        }
        let _ = input;
        todo!()
    }
}
