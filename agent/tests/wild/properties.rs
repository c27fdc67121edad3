//! What holds for any bytes, for the tests beside this file and for the fuzzer. Each function
//! panics where it doesn't.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use canister_agent::apt::package;
use canister_agent::apt::release::{Algorithm, Release, date};
use canister_agent::unpack::{PLAIN_BYTES_MAX, Unpack};
use canister_openpgp::SignedText;
use canister_protocol::limits::TEXT_BYTES_MAX;
use canister_protocol::row::is_forbidden;
use canister_protocol::version;
use canister_stanza::{Oddities, STANZA_BYTES_MAX, StanzaError, StanzaReader};
use std::io::{self, BufReader, Read};

/// Gives bytes in pieces of these sizes, over and over.
pub(crate) struct Pieces<'a> {
    left: &'a [u8],
    sizes: &'a [usize],
    turn: usize,
    /// The most bytes that were asked for at once.
    pub(crate) asked_max: usize,
}

impl<'a> Pieces<'a> {
    /// All of `bytes`; `sizes` is neither empty nor has it zeros.
    pub(crate) const fn new(bytes: &'a [u8], sizes: &'a [usize]) -> Self {
        Self { left: bytes, sizes, turn: 0, asked_max: 0 }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.asked_max = self.asked_max.max(into.len());
        let size = self.sizes[self.turn % self.sizes.len()].min(into.len());
        self.turn += 1;
        self.left.read(&mut into[..size])
    }
}

/// Sizes of pieces that an input chooses by its last bytes.
fn split(bytes: &[u8]) -> [usize; 3] {
    let of = |back: usize| match bytes.len().checked_sub(back) {
        Some(at) => 1 + usize::from(bytes[at]),
        None => 1,
    };
    [of(1), of(2) * of(2), of(3) / 16 + 1]
}

/// What is in a package index: a line of text for each stanza.
#[derive(Debug, Default, PartialEq)]
struct Read1 {
    stanzas: Vec<(u64, String)>,
    oddities: Oddities,
    error: Option<String>,
}

fn read(bytes: &[u8], sizes: &[usize]) -> Read1 {
    let mut pieces = Pieces::new(bytes, sizes);
    let mut reader = StanzaReader::new(&mut pieces);
    let mut read = Read1::default();
    loop {
        let stanza = match reader.read() {
            Ok(Some(stanza)) => stanza,
            Ok(None) => break,
            Err(cause) => {
                assert!(matches!(cause, StanzaError::TooLong { .. }), "{cause}");
                read.error = Some(cause.to_string());
                break;
            }
        };
        let said = match package::row(&stanza) {
            Ok(row) => {
                row.check().unwrap();
                // Nothing is no version.
                version::key(&row.version);
                format!("{row:?}")
            }
            Err(why) => why.to_string(),
        };
        read.stanzas.push((stanza.line, said));
    }
    read.oddities = reader.oddities();
    drop(reader);
    let held_max = (4 * bytes.len()).clamp(1 << 17, 4 * STANZA_BYTES_MAX);
    assert!(pieces.asked_max <= held_max, "{} bytes", pieces.asked_max);
    read
}

/// Reading a package index doesn't depend on how it comes, gives rows that may travel, holds no
/// more than a few stanzas, and whatever it begins with, the stanza behind it is read.
pub(crate) fn stanza(bytes: &[u8]) {
    let whole = read(bytes, &[usize::MAX]);
    assert_eq!(read(bytes, &split(bytes)), whole);
    if bytes.len() <= 4096 {
        assert_eq!(read(bytes, &[1]), whole);
    }
    if whole.error.is_some() {
        return;
    }
    let last = b"\n\nPackage: last\nVersion: 1\nArchitecture: all\n";
    let mut longer = read(&[bytes, last].concat(), &[usize::MAX]);
    let (_, said) = longer.stanzas.pop().unwrap();
    assert!(said.contains("\"last\""), "{said}");
    assert_eq!(longer, whole);
}

/// Reading a Release doesn't depend on how it comes, and gives digests, texts and dates that are
/// some.
pub(crate) fn release(bytes: &[u8]) {
    for index_path in ["Packages", "main/binary-amd64/Packages"] {
        let read = |capacity: usize| {
            let input = BufReader::with_capacity(capacity, bytes);
            let read = Release::read(input, index_path, &mut SignedText::default());
            read.map_err(|cause| cause.to_string())
        };
        let whole = read(bytes.len() + 1);
        for capacity in [1, split(bytes)[0], split(bytes)[1]] {
            assert_eq!(read(capacity), whole, "{capacity}");
        }
        let Ok(release) = whole else {
            continue;
        };
        let mut compressions = Vec::new();
        for index in &release.indexes {
            assert!(!compressions.contains(&index.compression), "{index:?}");
            compressions.push(index.compression);
            let digits = match index.digest.algorithm {
                Algorithm::Md5 => 32,
                Algorithm::Sha1 => 40,
                Algorithm::Sha256 => 64,
                Algorithm::Sha512 => 128,
            };
            let hex = index.digest.hex.as_bytes();
            assert_eq!(hex.len(), digits);
            assert!(hex.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')));
        }
        let facts = &release.facts;
        for text in [&facts.name, &facts.version, &facts.description, &facts.payment_gateway] {
            let text = text.as_deref().unwrap_or("-");
            assert!((1..=TEXT_BYTES_MAX).contains(&text.len()), "{text:?}");
            assert!(!text.contains(is_forbidden), "{text:?}");
        }
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        date(line);
    }
}

/// A window limit that many files need more than.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// Unpacking doesn't depend on how a file comes, ends, gives no more than is allowed, and gives the
/// same where more memory is allowed.
pub(crate) fn unpack(bytes: &[u8]) {
    let split = split(bytes);
    let (whole, cut) =
        lockstep((bytes, &[usize::MAX], WINDOW_BYTES), (bytes, &split, WINDOW_BYTES));
    let is_well = whole.is_ok();
    if !is_limit(&whole) && !is_limit(&cut) {
        assert_eq!(is_well, cut.is_ok(), "{whole:?}, {cut:?}");
    }
    if is_well {
        let more = (bytes, &[4096][..], 64 * WINDOW_BYTES);
        lockstep((bytes, &[usize::MAX], WINDOW_BYTES), more).1.unwrap();
    }
}

/// Whether it broke a limit. The limit on the ratio depends a little on how a file comes: what was
/// read ahead counts.
fn is_limit(outcome: &io::Result<()>) -> bool {
    use canister_agent::unpack::LimitError;
    let Err(cause) = outcome else {
        return false;
    };
    cause.get_ref().is_some_and(|inner| inner.is::<LimitError>())
}

type Opened<'a> = (&'a [u8], &'a [usize], u64);

/// Unpacks both at once, comparing: memory is what the decoders take.
fn lockstep(a: Opened<'_>, b: Opened<'_>) -> (io::Result<()>, io::Result<()>) {
    let packed_bytes = a.0.len();
    let allowed = (packed_bytes as u64 * 500).clamp(16 << 20, PLAIN_BYTES_MAX);
    let (mut a, mut b) = (Side::open(a), Side::open(b));
    while a.outcome.is_none() || b.outcome.is_none() {
        let is_both = a.outcome.is_none() && b.outcome.is_none();
        a.fill();
        b.fill();
        // An error may come before the last bytes that could be had without it.
        let both = a.filled.min(b.filled);
        assert!(a.buffer[..both] == b.buffer[..both], "after {}", a.plain);
        let is_well = |side: &Side<'_>| !matches!(side.outcome, Some(Err(_)));
        assert!(!is_both || a.filled == b.filled || !is_well(&a) || !is_well(&b));
        let plain = a.plain.max(b.plain);
        assert!(plain <= allowed, "{plain} of {packed_bytes}");
    }
    (a.end(), b.end())
}

struct Side<'a> {
    unpack: Option<Unpack<Pieces<'a>>>,
    buffer: Vec<u8>,
    filled: usize,
    plain: u64,
    outcome: Option<io::Result<()>>,
}

impl<'a> Side<'a> {
    fn open((bytes, sizes, memory_bytes_max): Opened<'a>) -> Self {
        let opened = Unpack::new(Pieces::new(bytes, sizes), memory_bytes_max);
        let (unpack, outcome) = match opened {
            Ok(unpack) => (Some(unpack), None),
            Err(cause) => (None, Some(Err(cause))),
        };
        Self { unpack, buffer: vec![0; 8192], filled: 0, plain: 0, outcome }
    }

    /// Fills the buffer as far as there is something to fill it with.
    fn fill(&mut self) {
        self.filled = 0;
        while let Some(unpack) = &mut self.unpack
            && self.outcome.is_none()
            && self.filled < self.buffer.len()
        {
            match unpack.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.outcome = Some(Ok(())),
                Ok(bytes) => {
                    self.filled += bytes;
                    self.plain += bytes as u64;
                }
                Err(cause) => self.outcome = Some(Err(cause)),
            }
        }
    }

    /// How it ended. After a good end there is nothing more, and nothing of the input is left.
    fn end(self) -> io::Result<()> {
        self.outcome.unwrap_or(Ok(()))?;
        if let Some(mut unpack) = self.unpack {
            assert_eq!(unpack.read(&mut [0; 16]).unwrap(), 0);
            unpack.drain().unwrap();
        }
        Ok(())
    }
}
