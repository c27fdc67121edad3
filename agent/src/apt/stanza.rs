//! Reading deb822 as a stream: stanza by stanza out of any [`Read`], with one buffer.
//!
//! The input is other people's: line ends may be LF, CRLF or both, separators may hold blanks, the
//! last line may lack its end, a byte order mark may stand before any stanza, bytes may be in any
//! encoding. None of that is an error. What is odd is counted and skipped a line at a time, see
//! [`Oddities`]; only a stanza over [`STANZA_BYTES_MAX`] and a failing reader end the reading.
//!
//! How it is built: the buffer always holds one stanza from its first byte on. Lines are found one
//! after the other; a line that isn't whole yet leaves the state as it was and more is read. So the
//! result can't depend on how the input is cut.
//!
//! Spec: deb822(5) SYNTAX. Departures: comments (`#`) are skipped in any file; a line without a
//! colon and a continuation without a field are skipped; field names are compared without case; of
//! a field that stands twice in a stanza [`Stanza::get`] gives the first; what has no field is no
//! stanza.

use memchr::memchr;
use std::cell::Cell;
use std::io::{self, Read};
use std::ops::Range;

/// Longest stanza in bytes. The longest in large archives have about 100 KB.
pub const STANZA_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are asked for at once, and the buffer's first size.
const READ_BYTES: usize = 64 * 1024;
/// Longest field name that is taken for one.
const NAME_BYTES_MAX: usize = 256;
/// Most fields of a stanza that are kept. Real stanzas have under 60; each takes memory.
const FIELDS_MAX: usize = 1024;

/// A reader of stanzas.
#[derive(Debug)]
pub struct StanzaReader<R> {
    inner: R,
    buffer: Vec<u8>,
    /// Where the current stanza begins in the buffer.
    start: usize,
    /// Up to where lines have been looked at.
    scanned: usize,
    /// Up to where the buffer is filled.
    filled: usize,
    is_ended: bool,
    /// Lines before `scanned`.
    lines: u64,
    fields: Vec<Field>,
    /// The line on which the current stanza begins, from 1.
    first_line: u64,
    /// In a cell, for who reads a stanza's values counts here too.
    oddities: Cell<Oddities>,
}

/// What was met that a strict reader would refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Lines of stanzas that are no UTF-8; they are read as Latin-1. Counted where rows are made.
    pub not_utf8: u64,
    /// Fields of a row that their stanza has said before; the first one counts. Counted where rows
    /// are made.
    pub repeated_fields: u64,
    /// Fields too many for one stanza, which were skipped.
    pub fields_over: u64,
    /// Lines without a colon.
    pub without_colon: u64,
    /// Continuation lines before any field of their stanza.
    pub stray_continuations: u64,
}

/// Where a field is, relative to its stanza.
#[derive(Debug, Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// One stanza. Values are as they stand in the input, from the first byte that is no blank after
/// the colon to the end of the last continuation line, line ends between them included.
#[derive(Debug)]
pub struct Stanza<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    bytes: &'a [u8],
    fields: &'a [Field],
    oddities: &'a Cell<Oddities>,
}

/// Why reading ended early.
#[derive(Debug)]
pub enum StanzaError {
    /// The reader failed.
    Read(io::Error),
    /// A stanza is longer than [`STANZA_BYTES_MAX`].
    TooLong {
        /// The line on which it begins, from 1.
        line: u64,
    },
}

impl<R: Read> StanzaReader<R> {
    /// A reader of stanzas out of `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; READ_BYTES],
            start: 0,
            scanned: 0,
            filled: 0,
            is_ended: false,
            lines: 0,
            fields: Vec::with_capacity(32),
            first_line: 0,
            oddities: Cell::default(),
        }
    }

    /// The next stanza; `None` at the end.
    ///
    /// # Errors
    /// [`StanzaError`]. What was read before stays true.
    pub fn read(&mut self) -> Result<Option<Stanza<'_>>, StanzaError> {
        self.start = self.scanned;
        self.fields.clear();
        loop {
            let line = match memchr(b'\n', &self.buffer[self.scanned..self.filled]) {
                Some(length) => self.scanned..self.scanned + length,
                None if !self.is_ended => {
                    self.fill()?;
                    continue;
                }
                None if self.scanned == self.filled => break,
                None => self.scanned..self.filled,
            };
            if line.end - self.start > STANZA_BYTES_MAX {
                return Err(self.too_long());
            }
            self.scanned = self.filled.min(line.end + 1);
            if self.take(line) {
                break;
            }
        }
        if self.fields.is_empty() {
            return Ok(None);
        }
        Ok(Some(Stanza {
            line: self.first_line,
            bytes: &self.buffer[self.start..self.scanned],
            fields: &self.fields,
            oddities: &self.oddities,
        }))
    }

    /// What was odd so far.
    pub const fn oddities(&self) -> Oddities {
        self.oddities.get()
    }

    /// Gives the reader back, which is at some place behind the last stanza.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Takes one line without its `\n`; true if it ends a stanza.
    #[inline]
    fn take(&mut self, line: Range<usize>) -> bool {
        self.lines += 1;
        let mut line = line;
        // Files that were joined have a mark before each first stanza.
        if self.fields.is_empty() && self.buffer[line.clone()].starts_with(b"\xef\xbb\xbf") {
            line.start += 3;
        }
        let text = &self.buffer[line.clone()];
        match text.first() {
            Some(b' ' | b'\t' | b'\r' | b'\x0c') if text.iter().all(u8::is_ascii_whitespace) => {
                return self.end_stanza();
            }
            None => return self.end_stanza(),
            Some(b' ' | b'\t') => {
                let end = trimmed(text) + line.start - self.start;
                match self.fields.last_mut() {
                    Some(field) => field.value.end = end,
                    None => self.oddities.get_mut().stray_continuations += 1,
                }
                return false;
            }
            Some(b'#') => return false,
            Some(_) => {}
        }
        let Some(colon) = memchr(b':', &text[..text.len().min(NAME_BYTES_MAX)]) else {
            self.oddities.get_mut().without_colon += 1;
            return false;
        };
        if self.fields.len() == FIELDS_MAX {
            self.oddities.get_mut().fields_over += 1;
            return false;
        }
        let name_length = text[..colon].trim_ascii_end().len();
        let begin = line.start - self.start;
        let blanks = text[colon + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        let value = begin + colon + 1 + blanks;
        let end = (begin + trimmed(text)).max(value);
        if self.fields.is_empty() {
            self.first_line = self.lines;
        }
        self.fields.push(Field {
            name: begin..begin + name_length,
            value: value..end,
        });
        false
    }

    fn end_stanza(&mut self) -> bool {
        if self.fields.is_empty() {
            // Separators before the first field are no part of the stanza to come.
            self.start = self.scanned;
            return false;
        }
        true
    }

    /// The stanza ends, if at all, over the limit. Where that is found doesn't depend on how much of
    /// it is in the buffer.
    fn too_long(&self) -> StanzaError {
        let line = if self.fields.is_empty() {
            self.lines + 1
        } else {
            self.first_line
        };
        StanzaError::TooLong { line }
    }

    /// Reads more behind what is there; moves the current stanza to the front if need be.
    fn fill(&mut self) -> Result<(), StanzaError> {
        if self.filled - self.start > STANZA_BYTES_MAX {
            return Err(self.too_long());
        }
        if self.buffer.len() - self.filled < READ_BYTES / 2 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.scanned -= self.start;
            self.filled -= self.start;
            self.start = 0;
            if self.buffer.len() - self.filled < READ_BYTES / 2 {
                let doubled = self.buffer.len() * 2;
                self.buffer.resize(doubled, 0);
            }
        }
        loop {
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.is_ended = true,
                Ok(bytes) => self.filled += bytes,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(StanzaError::Read(cause)),
            }
            return Ok(());
        }
    }
}

impl<'a> Stanza<'a> {
    /// The value of the first field of this name, compared without case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, v)| v)
    }

    /// Counts `repeated` fields, and the lines that are no UTF-8: once for each stanza, by who reads
    /// its values. Here it would take as long as finding the fields.
    pub(super) fn count_oddities(&self, repeated: u64, may_be_not_utf8: bool) {
        let mut oddities = self.oddities.get();
        oddities.repeated_fields += repeated;
        if may_be_not_utf8 {
            let is_odd = |line: &&[u8]| std::str::from_utf8(line).is_err();
            let lines = self.bytes.split(|byte| *byte == b'\n');
            oddities.not_utf8 += lines.filter(is_odd).count() as u64;
        }
        self.oddities.set(oddities);
    }

    /// All fields in their order: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.places()
            .map(move |(name, value)| (name, &bytes[value]))
    }

    /// All fields in their order: name, and where the value is in [`bytes`](Self::bytes).
    pub fn places(&self) -> impl Iterator<Item = (&'a [u8], Range<usize>)> + use<'a> {
        let bytes = self.bytes;
        self.fields
            .iter()
            .map(move |field| (&bytes[field.name.clone()], field.value.clone()))
    }

    /// All of it as it stands in the input.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl std::fmt::Display for Oddities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} lines not UTF-8, {} fields repeated and {} too many, {} lines without colon, \
             {} stray continuations",
            self.not_utf8,
            self.repeated_fields,
            self.fields_over,
            self.without_colon,
            self.stray_continuations,
        )
    }
}

impl std::fmt::Display for StanzaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(cause) => write!(f, "{cause}"),
            Self::TooLong { line } => {
                write!(
                    f,
                    "line {line}: stanza longer than {STANZA_BYTES_MAX} bytes"
                )
            }
        }
    }
}

impl std::error::Error for StanzaError {}

/// Length of a line without the blanks at its end, a carriage return among them.
fn trimmed(line: &[u8]) -> usize {
    line.trim_ascii_end().len()
}

/// The lines of a value, without their line ends; those of a continuation still begin with a
/// blank. Comments and lines without a colon that stand between them are left out.
pub fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(number, line)| *number == 0 || matches!(line.first(), Some(b' ' | b'\t')))
        .map(|(_, line)| line.trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read1 = Vec<(u64, Vec<(String, String)>)>;

    /// A reader that gives the text in pieces of these sizes, over and over.
    struct Pieces<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let size = self.1[self.2 % self.1.len()]
                .min(self.0.len())
                .min(into.len());
            self.2 += 1;
            into[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn all(text: &[u8], pieces: Vec<usize>) -> (Read1, Oddities) {
        let mut reader = StanzaReader::new(Pieces(text, pieces, 0));
        let mut stanzas = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while let Some(stanza) = reader.read().unwrap() {
            let fields = stanza
                .fields()
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            stanzas.push((stanza.line, fields));
        }
        (stanzas, reader.oddities())
    }

    fn check(text: &[u8], expected: &[(u64, &[(&str, &str)])], oddities: Oddities) {
        let expected: Read1 = expected
            .iter()
            .map(|(line, fields)| {
                (
                    *line,
                    fields
                        .iter()
                        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                        .collect(),
                )
            })
            .collect();
        for pieces in [
            vec![usize::MAX],
            vec![1],
            vec![2, 3],
            vec![7, 1, 1, 31],
            vec![1000, 1],
        ] {
            let (stanzas, odd) = all(text, pieces.clone());
            assert_eq!(
                stanzas,
                expected,
                "{pieces:?} of {:?}",
                String::from_utf8_lossy(text)
            );
            assert_eq!(odd, oddities);
        }
    }

    #[test]
    fn stanzas_and_fields() {
        let none = Oddities::default();
        check(b"", &[], none);
        check(b"\n\n \n\t\r\n", &[], none);
        check(b"A: 1", &[(1, &[("A", "1")])], none);
        check(b"A: 1\n", &[(1, &[("A", "1")])], none);
        check(
            b"A:1\nB:\t 2 \n\n\nA: 3\n",
            &[(1, &[("A", "1"), ("B", "2")]), (5, &[("A", "3")])],
            none,
        );
        check(
            b"\n\nA: 1\n  \nB: 2\n",
            &[(3, &[("A", "1")]), (5, &[("B", "2")])],
            none,
        );
        check(
            b"A: 1\r\nB: 2\r\n\r\nA: 3\r\n",
            &[(1, &[("A", "1"), ("B", "2")]), (4, &[("A", "3")])],
            none,
        );
        check(b"\xef\xbb\xbfA: 1\n", &[(1, &[("A", "1")])], none);
        check(b"A:\nB: \n", &[(1, &[("A", ""), ("B", "")])], none);
        check(b"A : 1\n", &[(1, &[("A", "1")])], none);
        check(
            b"A: 1\n# B: 2\nC: 3\n",
            &[(1, &[("A", "1"), ("C", "3")])],
            none,
        );
    }

    #[test]
    fn continuations_belong_to_their_field() {
        let none = Oddities::default();
        check(
            b"D: short\n long\n .\n See: not a field\nE: 1\n",
            &[(
                1,
                &[("D", "short\n long\n .\n See: not a field"), ("E", "1")],
            )],
            none,
        );
        check(
            b"D:\n one\n\ttwo  \n",
            &[(1, &[("D", "\n one\n\ttwo")])],
            none,
        );
        check(b"D: a\r\n b\r\n", &[(1, &[("D", "a\r\n b")])], none);
    }

    #[test]
    fn oddities_are_counted_and_skipped() {
        check(
            b" stray\nno colon\nA: 1\nnor here\n",
            &[(3, &[("A", "1")])],
            Oddities {
                without_colon: 2,
                stray_continuations: 1,
                ..Oddities::default()
            },
        );
        check(
            b"<html>\n<body>Not found</body>\n</html>\n",
            &[],
            Oddities {
                without_colon: 3,
                ..Oddities::default()
            },
        );
    }

    #[test]
    fn fields_are_bounded() {
        let many = "x:\n".repeat(FIELDS_MAX + 7);
        let mut reader = StanzaReader::new(many.as_bytes());
        let fields = reader.read().unwrap().unwrap().fields().count();
        assert_eq!((fields, reader.oddities().fields_over), (FIELDS_MAX, 7));
    }

    #[test]
    fn lines_that_were_skipped_are_not_in_a_value() {
        let mut reader = StanzaReader::new(&b"A: 1\n# no\n 2\nno colon\n\t3\n# end\n"[..]);
        let stanza = reader.read().unwrap().unwrap();
        let found: Vec<_> = lines(stanza.get("A").unwrap()).collect();
        assert_eq!(found, [&b"1"[..], b" 2", b"\t3"]);
    }

    #[test]
    fn names_are_found_without_case_and_the_first_counts() {
        let mut reader = StanzaReader::new(&b"pAckage: a\nPackage: b\n"[..]);
        let stanza = reader.read().unwrap().unwrap();
        assert_eq!(stanza.get("Package"), Some(&b"a"[..]));
        assert_eq!(stanza.get("Version"), None);
    }

    #[test]
    fn a_stanza_may_be_long_but_not_endless() {
        let long = format!("A: {}\n\nB: 1\n", "x".repeat(STANZA_BYTES_MAX - 100));
        let mut reader = StanzaReader::new(long.as_bytes());
        assert_eq!(
            reader.read().unwrap().unwrap().get("A").unwrap().len(),
            STANZA_BYTES_MAX - 100
        );
        assert_eq!(reader.read().unwrap().unwrap().get("B"), Some(&b"1"[..]));

        let mut endless = StanzaReader::new((&b"A: 1\n\nB: "[..]).chain(io::repeat(b'x')));
        assert!(endless.read().unwrap().is_some());
        assert!(matches!(
            endless.read(),
            Err(StanzaError::TooLong { line: 3 })
        ));
        // However much is read at once, and by the line on which it begins.
        let over = format!("A: 1\n\nB: {}\nC: 1\n\n", "x".repeat(STANZA_BYTES_MAX));
        for pieces in [vec![usize::MAX], vec![1 << 16, 1], vec![100]] {
            let mut reader = StanzaReader::new(Pieces(over.as_bytes(), pieces, 0));
            assert!(reader.read().unwrap().is_some());
            let error = reader.read().map(drop).unwrap_err();
            assert!(matches!(error, StanzaError::TooLong { line: 3 }));
        }
        assert!(endless.buffer.len() <= 4 * STANZA_BYTES_MAX);
    }
}
