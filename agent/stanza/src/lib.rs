//! Reading deb822 as a stream: stanza by stanza out of any [`Read`], with one buffer.
//!
//! The input is other people's: line ends may be LF, CRLF or both, separators may hold blanks, the
//! last line may lack its end, a byte order mark may stand before any stanza, bytes may be in any
//! encoding. None of that is an error. What is odd is counted and skipped a line at a time, see
//! [`Oddities`]; only a stanza over [`STANZA_BYTES_MAX`] and a failing reader end the reading.
//!
//! How it is built: the buffer always holds one stanza from its first byte on. Whole lines are taken
//! one after the other; of a line that isn't whole yet nothing is taken, and more is read. So the
//! result can't depend on how the input is cut. A line is looked at twice: for its end, and for the
//! colon behind its name. What a value says is nobody's business here.
//!
//! A line of blanks may part stanzas, or stand in a value that somebody wrote with an editor: the
//! next line that says something tells. It is looked for where such a line is met, so that no other
//! line pays for it; until it is there the line of blanks isn't taken either.
//!
//! Spec: deb822(5) SYNTAX. Departures: comments (`#`) are skipped in any file; a line without a
//! colon and a continuation without a field are skipped; field names are compared without case; of
//! a field that stands twice in a stanza [`Stanza::get`] gives the first; what has no field is no
//! stanza; a line of blanks (not an empty one) ends a stanza only before `Package`, before a field
//! that the stanza has already, before an empty line and at the end.

pub mod words;

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
/// First fields of a stanza with which one behind a line of blanks is compared.
const FIELDS_COMPARED: usize = 64;
/// Most odd lines that are kept for [`StanzaReader::odd_lines`].
const ODD_LINES_MAX: usize = 256;
/// What some editors write before a text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    /// Up to where lines behind one of blanks were looked at, if that is behind `scanned`.
    ahead: usize,
    /// Whether what stands there goes on with the stanza; else it isn't known yet.
    goes_on: bool,
    fields: Vec<Place>,
    /// The line on which the current stanza begins, from 1.
    first_line: u64,
    /// Lines that were skipped, since they were asked for.
    odd_lines: Vec<(u64, OddLine)>,
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

/// Why a line was skipped, or looked at twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OddLine {
    /// A line of blanks with which the stanza goes on.
    Blanks,
    /// One field too many for a stanza.
    FieldOver,
    /// A continuation line before any field of its stanza.
    StrayContinuation,
    /// A byte order mark stands in front of it; the rest of it counts.
    Mark,
    /// A line without a colon.
    WithoutColon,
}

/// Where a field is, relative to its stanza. Small, for it is written for each line.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: u32,
    name_bytes: u16,
    is_folded: bool,
    value: u32,
    end: u32,
}

impl Place {
    fn name(&self) -> Range<usize> {
        let begin = self.name as usize;
        begin..begin + usize::from(self.name_bytes)
    }

    const fn value(&self) -> Range<usize> {
        self.value as usize..self.end as usize
    }
}

// What a place has to reach: the end of the line with which a stanza turns out to be too long, and
// the longest name.
const _: () =
    assert!(2 * STANZA_BYTES_MAX < u32::MAX as usize && NAME_BYTES_MAX < u16::MAX as usize);

/// One stanza.
#[derive(Debug)]
pub struct Stanza<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    bytes: &'a [u8],
    places: &'a [Place],
    oddities: &'a Cell<Oddities>,
}

/// One field of a stanza.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    /// Its name as it is written.
    pub name: &'a [u8],
    /// Its value as it stands in the input, from the first byte that is no blank after the colon to
    /// the end of the last continuation line, line ends between them included.
    pub value: &'a [u8],
    /// Where the value is in [`Stanza::bytes`].
    pub place: Range<usize>,
    /// Whether the value has more than one line.
    pub is_folded: bool,
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
            ahead: 0,
            goes_on: false,
            fields: Vec::with_capacity(32),
            first_line: 0,
            odd_lines: Vec::new(),
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
        while !self.take_lines()? && !self.is_ended {
            self.fill()?;
        }
        if self.fields.is_empty() {
            return Ok(None);
        }
        Ok(Some(Stanza {
            line: self.first_line,
            bytes: &self.buffer[self.start..self.scanned],
            places: &self.fields,
            oddities: &self.oddities,
        }))
    }

    /// What was odd so far.
    pub const fn oddities(&self) -> Oddities {
        self.oddities.get()
    }

    /// The lines that were odd since this was last asked, by number from 1; at most 256 are kept. Of
    /// those that stand before a stanza, it is told with it.
    pub fn odd_lines(&mut self) -> impl Iterator<Item = (u64, OddLine)> {
        self.odd_lines.drain(..)
    }

    /// Gives the reader back, which is at some place behind the last stanza.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Keeps the line that was just looked at.
    #[cold]
    fn is_odd(&mut self, why: OddLine) {
        let oddities = self.oddities.get_mut();
        match why {
            OddLine::Blanks | OddLine::Mark => {}
            OddLine::FieldOver => oddities.fields_over += 1,
            OddLine::StrayContinuation => oddities.stray_continuations += 1,
            OddLine::WithoutColon => oddities.without_colon += 1,
        }
        if self.odd_lines.len() < ODD_LINES_MAX {
            self.odd_lines.push((self.lines, why));
        }
    }

    /// Takes the whole lines that are there, up to one that ends the stanza; whether there is one.
    /// Else more is to be read.
    fn take_lines(&mut self) -> Result<bool, StanzaError> {
        let mut at = self.scanned;
        while let Some(length) = memchr(b'\n', &self.buffer[at..self.filled]) {
            let line = at..at + length;
            if line.end - self.start > STANZA_BYTES_MAX {
                return Err(self.too_long());
            }
            at = line.end + 1;
            self.scanned = at;
            self.lines += 1;
            if let Some(is_end) = self.take(line) {
                return Ok(is_end);
            }
        }
        Ok(false)
    }

    /// Takes one line without its `\n`: true if it ends the stanza, false if it can't be taken
    /// before more is read, else nothing.
    #[inline]
    fn take(&mut self, mut line: Range<usize>) -> Option<bool> {
        // Files that were joined have a mark before each first stanza.
        if self.fields.is_empty() && self.buffer[line.clone()].starts_with(BYTE_ORDER_MARK) {
            line.start += BYTE_ORDER_MARK.len();
            self.is_odd(OddLine::Mark);
        }
        let text = &self.buffer[line.clone()];
        let begin = line.start - self.start;
        match text.first() {
            // Most lines: no letter or digit comes before this one.
            Some(b'$'..) => {}
            None => return self.end_stanza(),
            Some(b' ' | b'\t' | b'\r' | b'\x0c') if text.iter().all(u8::is_ascii_whitespace) => {
                return self.take_blanks(line);
            }
            Some(b' ' | b'\t') => {
                match self.fields.last_mut() {
                    Some(place) => {
                        place.end = (begin + text.trim_ascii_end().len()) as u32;
                        place.is_folded = true;
                    }
                    None => self.is_odd(OddLine::StrayContinuation),
                }
                return None;
            }
            Some(b'#') => return None,
            Some(_) => {}
        }
        let Some(colon) = colon(text) else {
            self.is_odd(OddLine::WithoutColon);
            return None;
        };
        if self.fields.len() == FIELDS_MAX {
            self.is_odd(OddLine::FieldOver);
            return None;
        }
        if self.fields.is_empty() {
            self.first_line = self.lines;
        }
        let name = text[..colon].trim_ascii_end();
        // One without bytes is at the end of its line.
        let value = text[colon + 1..].trim_ascii_start();
        let at = begin + text.len() - value.len();
        self.fields.push(Place {
            name: begin as u32,
            name_bytes: name.len() as u16,
            is_folded: false,
            value: at as u32,
            end: (at + value.trim_ascii_end().len()) as u32,
        });
        None
    }

    /// Takes a line of white space, as [`take`](Self::take) does.
    #[cold]
    fn take_blanks(&mut self, line: Range<usize>) -> Option<bool> {
        let is_empty = self.buffer[line.clone()].iter().all(|byte| *byte == b'\r');
        if is_empty || self.fields.is_empty() {
            return self.end_stanza();
        }
        if self.ahead <= line.end {
            self.ahead = line.end + 1;
            self.goes_on = false;
        }
        if self.goes_on {
            self.is_odd(OddLine::Blanks);
            return None;
        }
        // Lines that end beyond it are none of this stanza's.
        let reach = self.filled.min(self.start + STANZA_BYTES_MAX + 1);
        while let Some(length) = memchr(b'\n', &self.buffer[self.ahead..reach]) {
            let next = &self.buffer[self.ahead..self.ahead + length];
            if let Some(goes_on) = self.goes_on_with(next) {
                self.goes_on = goes_on;
                if goes_on {
                    self.is_odd(OddLine::Blanks);
                }
                return if goes_on { None } else { Some(true) };
            }
            self.ahead += length + 1;
        }
        if self.is_ended || self.filled - self.start > STANZA_BYTES_MAX {
            return Some(true);
        }
        self.scanned = line.start;
        self.lines -= 1;
        Some(false)
    }

    /// Whether a line that follows one of blanks goes on with the stanza; `None` if it says nothing.
    fn goes_on_with(&self, line: &[u8]) -> Option<bool> {
        let text = line.trim_ascii();
        match line.first() {
            _ if line.iter().all(|byte| *byte == b'\r') => Some(false),
            Some(b'#') => None,
            _ if text.is_empty() => None,
            Some(b' ' | b'\t') => Some(true),
            _ if line.starts_with(BYTE_ORDER_MARK) => Some(false),
            _ => {
                let name = line[..colon(line)?].trim_ascii_end();
                let is_it = |place: &Place| {
                    let name_of = place.name();
                    self.buffer[self.start..][name_of].eq_ignore_ascii_case(name)
                };
                let mut found = self.fields.iter().take(FIELDS_COMPARED);
                Some(!name.eq_ignore_ascii_case(b"Package") && !found.any(is_it))
            }
        }
    }

    fn end_stanza(&mut self) -> Option<bool> {
        if self.fields.is_empty() {
            // Separators before the first field are no part of the stanza to come.
            self.start = self.scanned;
            return None;
        }
        Some(true)
    }

    /// The stanza ends, if at all, over the limit. Where that is found doesn't depend on how much of
    /// it is in the buffer.
    fn too_long(&self) -> StanzaError {
        let line = if self.fields.is_empty() { self.lines + 1 } else { self.first_line };
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
            self.ahead = self.ahead.saturating_sub(self.start);
            self.start = 0;
            if self.buffer.len() - self.filled < READ_BYTES / 2 {
                let doubled = self.buffer.len() * 2;
                self.buffer.resize(doubled, 0);
            }
        }
        loop {
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Ok(0) => {
                    self.is_ended = true;
                    // The last line gets the end it may lack.
                    if self.scanned < self.filled {
                        self.buffer[self.filled] = b'\n';
                        self.filled += 1;
                    }
                }
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
        let name = name.as_bytes();
        let initial = |name: &[u8]| name.first().map(u8::to_ascii_lowercase);
        let is_called = |place: &&Place| {
            // Length and first letter leave hardly any other field to compare with.
            let found = &self.bytes[place.name()];
            found.len() == name.len()
                && initial(found) == initial(name)
                && found.eq_ignore_ascii_case(name)
        };
        let place = self.places.iter().find(is_called)?;
        Some(&self.bytes[place.value()])
    }

    /// Counts `repeated` fields, and the lines that are no UTF-8: once for each stanza, by who reads
    /// its values. Here it would take as long as finding the fields.
    pub fn count_oddities(&self, repeated: u64, may_be_not_utf8: bool) {
        let mut oddities = self.oddities.get();
        oddities.repeated_fields += repeated;
        if may_be_not_utf8 {
            let is_odd = |line: &&[u8]| std::str::from_utf8(line).is_err();
            let lines = self.bytes.split(|byte| *byte == b'\n');
            oddities.not_utf8 += lines.filter(is_odd).count() as u64;
        }
        self.oddities.set(oddities);
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let bytes = self.bytes;
        self.places.iter().map(move |place| Field {
            name: &bytes[place.name()],
            value: &bytes[place.value()],
            place: place.value(),
            is_folded: place.is_folded,
        })
    }

    /// The line on which a field of it begins, from 1. It counts line ends: for those few that are told
    /// of.
    pub fn line_of(&self, field: &Field<'_>) -> u64 {
        let ends = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.first_line() + ends(&self.bytes[..field.place.start])
    }

    /// All its lines with their numbers, from 1, without their `\n`.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let lines = self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes);
        (self.first_line()..).zip(lines.split(|byte| *byte == b'\n'))
    }

    /// The line on which its bytes begin: what was skipped before its first field is part of them.
    fn first_line(&self) -> u64 {
        let before = self.places.first().map_or(0, |place| place.name as usize);
        self.line - memchr::memchr_iter(b'\n', &self.bytes[..before]).count() as u64
    }

    /// All of it as it stands in the input; its last line always has its end.
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
                write!(f, "line {line}: stanza longer than {STANZA_BYTES_MAX} bytes")
            }
        }
    }
}

impl std::error::Error for StanzaError {}

/// Where the colon behind a line's name is: nearly always in the first two words.
fn colon(line: &[u8]) -> Option<usize> {
    let (words, _) = line.as_chunks();
    for (number, word) in words.iter().take(2).enumerate() {
        let found = words::equal(u64::from_le_bytes(*word), b':');
        if let Some(at) = words::first(found) {
            return Some(number * 8 + at);
        }
    }
    memchr(b':', &line[..line.len().min(NAME_BYTES_MAX)])
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
            let size = self.1[self.2 % self.1.len()].min(self.0.len()).min(into.len());
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
            let fields =
                stanza.fields().map(|field| (text(field.name), text(field.value))).collect();
            stanzas.push((stanza.line, fields));
        }
        (stanzas, reader.oddities())
    }

    fn check(text: &[u8], expected: &[(u64, &[(&str, &str)])], oddities: Oddities) {
        let expected: Read1 = expected
            .iter()
            .map(|(line, fields)| {
                (*line, fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
            })
            .collect();
        for pieces in [vec![usize::MAX], vec![1], vec![2, 3], vec![7, 1, 1, 31], vec![1000, 1]] {
            let (stanzas, odd) = all(text, pieces.clone());
            assert_eq!(stanzas, expected, "{pieces:?} of {:?}", String::from_utf8_lossy(text));
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
            b"A: 1\r\nB: 2\r\n\r\nA: 3\r\n",
            &[(1, &[("A", "1"), ("B", "2")]), (4, &[("A", "3")])],
            none,
        );
        check(b"\xef\xbb\xbfA: 1\n", &[(1, &[("A", "1")])], none);
        check(b"A:\nB: \n", &[(1, &[("A", ""), ("B", "")])], none);
        check(b"A : 1\n", &[(1, &[("A", "1")])], none);
        check(b"A: 1\n# B: 2\nC: 3\n", &[(1, &[("A", "1"), ("C", "3")])], none);
    }

    #[test]
    fn continuations_belong_to_their_field() {
        let none = Oddities::default();
        check(
            b"D: short\n long\n .\n See: not a field\nE: 1\n",
            &[(1, &[("D", "short\n long\n .\n See: not a field"), ("E", "1")])],
            none,
        );
        check(b"D:\n one\n\ttwo  \n", &[(1, &[("D", "\n one\n\ttwo")])], none);
        check(b"D: a\r\n b\r\n", &[(1, &[("D", "a\r\n b")])], none);
    }

    #[test]
    fn a_line_of_blanks_is_what_the_next_line_makes_of_it() {
        let none = Oddities::default();
        let one: &[(&str, &str)] = &[("A", "1"), ("B", "2")];
        let two: &[(u64, &[(&str, &str)])] = &[(1, &[("A", "1")]), (3, &[("A", "2")])];
        for blanks in [" ", "\t", "  \t ", " \r", "\x0c"] {
            let said = |text: &str| text.replace('_', blanks).into_bytes();
            let text = said("D: a\n b\n_\n c\nE: 1\n");
            let value = String::from_utf8(said("a\n b\n_\n c")).unwrap();
            check(&text, &[(1, &[("D", &value), ("E", "1")])], none);
            check(&said("A: 1\n_\nB: 2\n"), &[(1, one)], none);
            check(&said("A: 1\n_\n_\n_\n# no\nB: 2\n"), &[(1, one)], none);
            check(&said("A: 1\n_\nA: 2\n"), two, none);
            check(&said("A: 1\n_\na : 2\n"), &[two[0], (3, &[("a", "2")])], none);
            check(&said("A: 1\n_\nPackage: b"), &[two[0], (3, &[("Package", "b")])], none);
            // A mark begins a file that was joined to this one.
            let marked = said("A: 1\n_\n\u{feff}B: b");
            check(&marked, &[two[0], (3, &[("B", "b")])], none);
            for end in ["A: 1\n_", "A: 1\n_\n", "A: 1\n_\n_\n", "\n_\n\nA: 1\n_\n\n_\n"] {
                let line = if end.starts_with('A') { 1 } else { 4 };
                check(&said(end), &[(line, &[("A", "1")])], none);
            }
            // An empty line ends it, whatever follows.
            let odd = Oddities { stray_continuations: 1, ..none };
            let parted = [two[0], (5, &[("B", "2")][..])];
            check(&said("A: 1\n_\n\n b\nB: 2\n"), &parted, odd);
            check(&said("A: 1\n\n_\n b\nB: 2\n"), &parted, odd);
            check(&said("A: 1\n_\n\r\n b\nB: 2\n"), &parted, odd);
            let odd = Oddities { without_colon: 1, ..none };
            check(&said("A: 1\n_\nno colon\nB: 2\n"), &[(1, one)], odd);
        }
    }

    #[test]
    fn many_lines_of_blanks_are_looked_at_once() {
        // A reader that began anew with each of them, or each time something came, would take hours.
        let blanks = " \n".repeat(STANZA_BYTES_MAX / 2 - 100);
        for (last, fields) in [(" b\nB: 1\n", 2), ("A: 1\n", 1), ("", 1)] {
            let text = format!("A: 1\n{blanks}{last}");
            for pieces in [vec![61], vec![usize::MAX]] {
                let mut reader = StanzaReader::new(Pieces(text.as_bytes(), pieces, 0));
                assert_eq!(reader.read().unwrap().unwrap().fields().count(), fields);
            }
        }
        // What comes too late for a stanza to hold it is another's, however the input is cut.
        for (more, expected) in [(0, Some(2)), (1, None), (2, Some(1)), (3, Some(1))] {
            let blanks = format!("{}\n", " ".repeat(1023)).repeat(STANZA_BYTES_MAX / 1024 - 1);
            let text = format!("A: 1\n{blanks}{}\nB: 1\n", " ".repeat(1013 + more));
            assert_eq!(text.len(), STANZA_BYTES_MAX + more);
            for pieces in [vec![usize::MAX], vec![61], vec![4099, 1]] {
                let mut reader = StanzaReader::new(Pieces(text.as_bytes(), pieces, 0));
                let fields = reader.read().map(|stanza| stanza.unwrap().fields().count());
                assert_eq!(fields.ok(), expected, "{more}");
            }
        }
    }

    #[test]
    fn oddities_are_counted_and_skipped() {
        check(
            b" stray\nno colon\nA: 1\nnor here\n",
            &[(3, &[("A", "1")])],
            Oddities { without_colon: 2, stray_continuations: 1, ..Oddities::default() },
        );
        check(
            b"<html>\n<body>Not found</body>\n</html>\n",
            &[],
            Oddities { without_colon: 3, ..Oddities::default() },
        );
    }

    #[test]
    fn odd_lines_are_told_by_their_numbers() {
        let text = b"\xef\xbb\xbf\n stray\nno colon\nA: 1\n \nB: 2\n# no\nC: 3\n\n d\n";
        for pieces in [vec![usize::MAX], vec![1], vec![7, 1, 3]] {
            let mut reader = StanzaReader::new(Pieces(text, pieces, 0));
            let stanza = reader.read().unwrap().unwrap();
            let lines: Vec<_> = stanza.fields().map(|field| stanza.line_of(&field)).collect();
            assert_eq!((stanza.line, lines), (4, vec![4, 6, 8]));
            let numbers: Vec<_> = stanza.lines().map(|(number, _)| number).collect();
            assert_eq!(numbers.last(), Some(&9), "{numbers:?}");
            let odd: Vec<_> = reader.odd_lines().collect();
            let expected = [
                (1, OddLine::Mark),
                (2, OddLine::StrayContinuation),
                (3, OddLine::WithoutColon),
                (5, OddLine::Blanks),
            ];
            assert_eq!(odd, expected);
            assert!(reader.read().unwrap().is_none());
            assert_eq!(reader.odd_lines().next(), Some((10, OddLine::StrayContinuation)));
        }
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
        assert_eq!(reader.read().unwrap().unwrap().get("A").unwrap().len(), STANZA_BYTES_MAX - 100);
        assert_eq!(reader.read().unwrap().unwrap().get("B"), Some(&b"1"[..]));

        let mut endless = StanzaReader::new((&b"A: 1\n\nB: "[..]).chain(io::repeat(b'x')));
        assert!(endless.read().unwrap().is_some());
        assert!(matches!(endless.read(), Err(StanzaError::TooLong { line: 3 })));
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
