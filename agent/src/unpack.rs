//! Unpacking a package index as a stream, within limits of memory, of output and of ratio.
//!
//! What a file is says its first bytes, not its name: servers misname. The window a decoder needs
//! is compared with what the lease may use before it is allocated.
//!
//! A file of gzip, bzip2 or xz may have several members, one behind the other. What stands behind the
//! last and begins no other is passed over, as gzip, zlib and apt do, and counted. Of zstd it is an
//! error, as it is to apt.

use crate::compression::{Compression, MAGIC_BYTES};
use crate::window::{self, LOOK_BYTES};
use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
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
    Ratio { limit: u64 },
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
    decoder: Decoder<R>,
    packed: Rc<Cell<u64>>,
    plain: u64,
    /// Bytes behind the last member that were looked at.
    behind: u64,
    memory_bytes_max: u64,
    compression: Compression,
}

/// Input whose first bytes were looked at.
pub struct Packed<R> {
    compression: Compression,
    memory_bytes: u64,
    start: Vec<u8>,
    rest: CountedInput<R>,
}

impl<R: Read> Packed<R> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    /// The reader's.
    pub fn look(inner: R) -> io::Result<Self> {
        let mut rest = CountedInput { inner, bytes: Rc::default() };
        let mut start = Vec::with_capacity(LOOK_BYTES as usize);
        (&mut rest).take(LOOK_BYTES).read_to_end(&mut start)?;
        let compression = Compression::of_magic(&start);
        Ok(Self {
            compression,
            memory_bytes: window::memory_bytes(compression, &start),
            start,
            rest,
        })
    }

    /// What the decoder will need, in bytes.
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Takes it as it is unless it is packed so.
    #[must_use]
    pub fn only(self, compression: Compression) -> Self {
        if self.compression == compression {
            return self;
        }
        Self { compression: Compression::Plain, memory_bytes: 0, ..self }
    }

    /// Makes the decoder, which will take at most `memory_bytes_max` bytes of memory.
    ///
    /// # Errors
    /// A decoder that can't be made; [`LimitError::Memory`].
    pub fn unpack(self, memory_bytes_max: u64) -> io::Result<Unpack<R>> {
        let compression = self.compression;
        if self.memory_bytes > memory_bytes_max {
            return Err(io::Error::other(LimitError::Memory { limit: memory_bytes_max }));
        }
        let packed = Rc::clone(&self.rest.bytes);
        let rest = io::BufReader::with_capacity(INPUT_BYTES, self.rest);
        let input = io::Cursor::new(self.start).chain(rest);
        let decoder = Decoder::new(compression, input, memory_bytes_max)?;
        Ok(Unpack { decoder, packed, plain: 0, behind: 0, memory_bytes_max, compression })
    }
}

/// What was looked at, then the rest.
type Input<R> = io::Chain<io::Cursor<Vec<u8>>, io::BufReader<CountedInput<R>>>;

/// The decoder of one member; of zstd, of all.
enum Decoder<R: Read> {
    Bz2(bzip2::bufread::BzDecoder<Input<R>>),
    /// There is nothing more to decode.
    Ended(io::BufReader<CountedInput<R>>),
    Gz(flate2::bufread::GzDecoder<Input<R>>),
    Plain(Input<R>),
    /// For the moment in which one member's decoder is taken apart and the next one's made.
    Taken,
    Xz(liblzma::bufread::XzDecoder<Input<R>>),
    Zst(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: Read> Decoder<R> {
    fn new(compression: Compression, input: Input<R>, memory_bytes_max: u64) -> io::Result<Self> {
        use liblzma::stream::Stream;
        Ok(match compression {
            Compression::Bz2 => Self::Bz2(bzip2::bufread::BzDecoder::new(input)),
            Compression::Gz => Self::Gz(flate2::bufread::GzDecoder::new(input)),
            Compression::Lzma => {
                let stream = Stream::new_lzma_decoder(memory_bytes_max)?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Plain => Self::Plain(input),
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(memory_bytes_max, 0)?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Zst => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                // 10 and 27 are the least and the most that a decoder takes without being asked.
                decoder.window_log_max(memory_bytes_max.max(1024).ilog2().clamp(10, 27))?;
                Self::Zst(decoder)
            }
        })
    }

    /// Gives the input back, where one member's decoder has come to its end.
    fn into_input(self) -> Option<Input<R>> {
        match self {
            Self::Bz2(decoder) => Some(decoder.into_inner()),
            Self::Gz(decoder) => Some(decoder.into_inner()),
            Self::Xz(decoder) => Some(decoder.into_inner()),
            Self::Ended(_) | Self::Plain(_) | Self::Taken | Self::Zst(_) => None,
        }
    }
}

/// Counts what passes.
struct CountedInput<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountedInput<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

impl<R: Read> Unpack<R> {
    /// Makes the decoder that the first bytes ask for, which will take at most
    /// `memory_bytes_max` bytes of memory.
    ///
    /// # Errors
    /// The reader's; a decoder that can't be made; [`LimitError::Memory`].
    pub fn new(inner: R, memory_bytes_max: u64) -> io::Result<Self> {
        Packed::look(inner)?.unpack(memory_bytes_max)
    }

    /// How it is compressed, by its first bytes.
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// Plain bytes that were given so far.
    pub const fn plain_bytes(&self) -> u64 {
        self.plain
    }

    /// Reads what the decoder left, so that the whole of the input passed whatever lies below.
    /// Returns how many bytes stand behind the last member.
    ///
    /// # Errors
    /// The reader's.
    pub fn drain(mut self) -> io::Result<u64> {
        let left: &mut dyn Read = match &mut self.decoder {
            Decoder::Bz2(decoder) => decoder.get_mut(),
            Decoder::Ended(rest) => rest,
            Decoder::Gz(decoder) => decoder.get_mut(),
            Decoder::Plain(input) => input,
            Decoder::Taken => return Ok(self.behind),
            Decoder::Xz(decoder) => decoder.get_mut(),
            Decoder::Zst(decoder) => decoder.get_mut(),
        };
        Ok(self.behind + io::copy(left, &mut io::sink())?)
    }

    /// One member is at its end: whether another follows, for which the decoder is then.
    fn next_member(&mut self) -> io::Result<bool> {
        let compression = self.compression;
        let has_members =
            matches!(compression, Compression::Bz2 | Compression::Gz | Compression::Xz);
        if !has_members || matches!(self.decoder, Decoder::Ended(_)) {
            return Ok(false);
        }
        let decoder = std::mem::replace(&mut self.decoder, Decoder::Taken);
        let Some(mut input) = decoder.into_input() else {
            return Ok(false);
        };
        let mut start = Vec::with_capacity(MAGIC_BYTES as usize);
        loop {
            let missing = MAGIC_BYTES - start.len() as u64;
            (&mut input).take(missing).read_to_end(&mut start)?;
            // The .xz File Format §2.2: zeros, four at a time, may part streams.
            if compression == Compression::Xz && start.starts_with(&[0; 4]) {
                start.drain(..4);
            } else {
                break;
            }
        }
        let (looked_at, rest) = input.into_inner();
        let unread = looked_at.get_ref().len() as u64 - looked_at.position();
        let is_next = Compression::of_magic(&start) == compression;
        if is_next {
            start.extend(looked_at.get_ref().iter().skip(looked_at.position() as usize));
            let input = io::Cursor::new(start).chain(rest);
            self.decoder = Decoder::new(compression, input, self.memory_bytes_max)?;
        } else {
            self.behind = start.len() as u64 + unread;
            self.decoder = Decoder::Ended(rest);
        }
        Ok(is_next)
    }

    fn check(&self) -> Result<(), LimitError> {
        if self.plain > PLAIN_BYTES_MAX {
            return Err(LimitError::Plain { limit: PLAIN_BYTES_MAX });
        }
        let allowed = self.packed.get().saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        if self.plain > allowed {
            return Err(LimitError::Ratio { limit: RATIO_MAX });
        }
        Ok(())
    }

    /// liblzma says only *which* limit; the number is ours.
    fn explain(&self, cause: io::Error) -> io::Error {
        let inner = cause.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(liblzma::stream::Error::MemLimit) = inner {
            return io::Error::other(LimitError::Memory { limit: self.memory_bytes_max });
        }
        cause
    }
}

impl<R: Read> Read for Unpack<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.decoder {
                Decoder::Bz2(decoder) => decoder.read(into),
                Decoder::Ended(_) | Decoder::Taken => Ok(0),
                Decoder::Gz(decoder) => decoder.read(into),
                Decoder::Plain(input) => input.read(into),
                Decoder::Xz(decoder) => decoder.read(into),
                Decoder::Zst(decoder) => decoder.read(into),
            };
            let read = read.map_err(|cause| self.explain(cause))?;
            self.plain += read as u64;
            self.check().map_err(io::Error::other)?;
            if read > 0 || into.is_empty() || !self.next_member()? {
                return Ok(read);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Packs with the tool a repository's owner would use.
    fn pack(words: &[&str], plain: &[u8]) -> Vec<u8> {
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|cause| panic!("{}: {cause}; install it", words[0]));
        let mut stdin = child.stdin.take().unwrap();
        let plain = plain.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&plain));
        let packed = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(packed.status.success());
        packed.stdout
    }

    const PACKERS: [(Compression, &[&str]); 6] = [
        (Compression::Bz2, &["bzip2", "-c"]),
        (Compression::Gz, &["gzip", "-c"]),
        (Compression::Lzma, &["xz", "--format=lzma", "-c"]),
        (Compression::Plain, &["cat"]),
        (Compression::Xz, &["xz", "-c"]),
        (Compression::Zst, &["zstd", "-q", "-c"]),
    ];

    fn text() -> Vec<u8> {
        let line =
            |n: u32| format!("Package: p{n}\nVersion: {}\n\n", n.wrapping_mul(2_654_435_761));
        (0..20_000).map(line).collect::<String>().into_bytes()
    }

    /// Gives the input in pieces of `.1` bytes.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(into.len());
            self.0.read(&mut into[..size])
        }
    }

    #[test]
    fn all_formats_however_cut_give_the_plain_text() {
        let plain = text();
        for (compression, words) in PACKERS {
            let packed = pack(words, &plain);
            for size in [1, 7, 4096, usize::MAX] {
                let mut unpack = Unpack::new(Pieces(&packed, size), 1 << 26).unwrap();
                assert_eq!(unpack.compression(), compression);
                let mut unpacked = Vec::new();
                unpack.read_to_end(&mut unpacked).unwrap();
                assert!(unpacked == plain, "{compression} in pieces of {size}");
                assert_eq!(unpack.plain_bytes(), plain.len() as u64);
                assert_eq!(unpack.packed.get(), packed.len() as u64);
            }
        }
    }

    #[test]
    fn several_members_are_one_text() {
        for (compression, words) in PACKERS {
            if compression == Compression::Lzma {
                continue; // The format has no members.
            }
            let mut packed = pack(words, b"Package: a\n");
            packed.extend(pack(words, b"Version: 1\n"));
            let mut unpacked = String::new();
            Unpack::new(&packed[..], 1 << 26).unwrap().read_to_string(&mut unpacked).unwrap();
            assert_eq!(unpacked, "Package: a\nVersion: 1\n", "{compression}");
        }
    }

    #[test]
    fn what_stands_behind_the_last_member_is_counted() {
        for (compression, words) in PACKERS {
            let has_members =
                matches!(compression, Compression::Bz2 | Compression::Gz | Compression::Xz);
            if !has_members {
                continue;
            }
            let member = pack(words, b"Package: a\n");
            let twice = member.repeat(2);
            for (file, times, count) in [
                (member.clone(), 1, 0),
                ([&twice[..], b"</html>\n"].concat(), 2, 8),
                ([&member[..], b"x", &member].concat(), 1, 1 + member.len() as u64),
                ([&twice[..], &[0; 70_001]].concat(), 2, 70_001),
            ] {
                // Zeros that part streams of xz are counted only where they are no multiple of four.
                let is_padding = compression == Compression::Xz && count == 70_001;
                for size in [1, 7, 4096, usize::MAX] {
                    let mut unpack = Unpack::new(Pieces(&file, size), 1 << 26).unwrap();
                    let mut unpacked = String::new();
                    unpack.read_to_string(&mut unpacked).unwrap();
                    assert_eq!(unpacked, "Package: a\n".repeat(times), "{compression}");
                    assert_eq!(unpack.read(&mut [0; 8]).unwrap(), 0);
                    let behind = unpack.drain().unwrap();
                    assert_eq!(behind, if is_padding { 1 } else { count }, "{compression}");
                }
            }
            let parted = [&member[..], &[0; 8], &member].concat();
            let mut unpacked = String::new();
            Unpack::new(&parted[..], 1 << 26).unwrap().read_to_string(&mut unpacked).unwrap();
            let times = if compression == Compression::Xz { 2 } else { 1 };
            assert_eq!(unpacked, "Package: a\n".repeat(times), "{compression}");
        }
    }

    #[test]
    fn a_cut_or_changed_file_is_an_error() {
        let plain = text();
        for (compression, words) in PACKERS {
            if compression == Compression::Plain {
                continue;
            }
            let packed = pack(words, &plain);
            let read = |packed: &[u8]| {
                let mut unpacked = Vec::new();
                Unpack::new(packed, 1 << 26)
                    .and_then(|mut unpack| unpack.read_to_end(&mut unpacked))
            };
            for end in [packed.len() / 2, packed.len() - 1] {
                assert!(read(&packed[..end]).is_err(), "{compression} cut at {end}");
            }
            let mut changed = packed.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x55;
            // Old LZMA has no check sum; Release's digest finds what it can't.
            assert!(
                compression == Compression::Lzma || read(&changed).is_err(),
                "{compression} changed"
            );
        }
    }

    #[test]
    fn a_window_over_the_budget_is_refused() {
        let plain = text();
        let refused = |words: &[&str]| {
            let packed = pack(words, &plain);
            Unpack::new(&packed[..], 1 << 20).err().unwrap()
        };
        for words in [&["xz", "-9", "-c"][..], &["xz", "--format=lzma", "-9", "-c"]] {
            let cause = refused(words);
            let limit = cause.get_ref().and_then(|inner| inner.downcast_ref());
            assert_eq!(limit, Some(&LimitError::Memory { limit: 1 << 20 }), "{words:?}");
        }
        refused(&["zstd", "-q", "-c", "--long=27"]);
    }

    #[test]
    fn a_bomb_ends_early() {
        for (compression, words) in PACKERS {
            if compression == Compression::Plain {
                continue;
            }
            let packed = pack(words, &vec![0; 256 << 20]);
            let mut unpack = Unpack::new(&packed[..], 1 << 26).unwrap();
            let cause = io::copy(&mut unpack, &mut io::sink()).unwrap_err();
            let limit = cause.get_ref().and_then(|inner| inner.downcast_ref());
            assert_eq!(limit, Some(&LimitError::Ratio { limit: RATIO_MAX }), "{compression}");
        }
    }

    #[test]
    fn what_is_not_packed_is_plain() {
        for text in ["", "P", "Package: a\n", "<html>", "BZip\n"] {
            let mut unpacked = String::new();
            let mut unpack = Unpack::new(text.as_bytes(), 0).unwrap();
            unpack.read_to_string(&mut unpacked).unwrap();
            assert_eq!((unpack.compression(), &*unpacked), (Compression::Plain, text));
        }
    }
}
