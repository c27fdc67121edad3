//! Rows on their way to the arbiter or into the database: their texts one behind the other in one piece of
//! memory, and where each begins and ends. A text that the row before has, too, is there once.
//!
//! # Packed
//!
//! In a message (`docs/protocol.md`, "Packed rows") they are the length of what follows unpacked, in four bytes,
//! and a DEFLATE stream (RFC 1951) of the rows, one behind the other. Five bytes, big-endian, say what a row
//! has: two bits for each text, the first in the lowest, and a bit for the installed size. The texts are
//! those of [`PackageRow::texts`] and the tags in one, each with U+001F before it.

use crate::error::{Error, count};
use crate::limits::{
    DIRECT_BYTES_MAX, DIRECT_ROWS_MAX, PUT_BYTES, PUT_PLAIN_BYTES_MAX, PUT_ROWS_MAX, ROW_BYTES_MAX,
};

use crate::row::{PackageRow, TEXTS};
use crate::version;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::ops::Range;

/// Stands before each tag in a row's text of tags. No row has it in a text of its own.
const BEFORE_TAG: char = '\x1f';

/// What two bits say of a text; without any it is missing.
mod form {
    /// As the row before has it.
    pub(super) const SAME: u64 = 1;
    /// Lower-case hexadecimal digits of 32 bytes, which follow.
    pub(super) const HEX: u64 = 2;
    /// Its length in bytes and its bytes follow.
    pub(super) const OWN: u64 = 3;
}
/// The bit that says that there is an installed size.
const SIZED: u64 = 1 << (2 * Rows::COLUMNS);
/// Bytes that say what a row has.
const HEAD: usize = 5;
const _: () = assert!(SIZED < 1 << (8 * HEAD));

/// How hard they are packed: the fastest, for a peer has half a thread. It halves what is sent.
const LEVEL: u32 = 1;

/// Several rows.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    texts: String,
    rows: Vec<Spans>,
    bytes: usize,
}

/// By what they say, wherever it is.
impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Rows {}

/// One row, as places in the texts.
#[derive(Debug, Clone, Default)]
struct Spans {
    /// As [`Rows::columns`].
    texts: [Option<Range<u32>>; Rows::COLUMNS],
    package_size: u64,
    installed_size: Option<u64>,
}

impl Rows {
    /// Columns of texts: those of [`PackageRow::texts`], and the tags.
    pub const COLUMNS: usize = TEXTS + 1;

    /// These rows.
    pub fn of<T: AsRef<str>>(rows: &[PackageRow<T>]) -> Self {
        let mut all = Self::default();
        rows.iter().for_each(|row| all.push(row));
        all
    }

    /// Adds a row.
    pub fn push<T: AsRef<str>>(&mut self, row: &PackageRow<T>) {
        let mut spans = Spans {
            package_size: row.package_size,
            installed_size: row.installed_size,
            ..Spans::default()
        };
        for (column, text) in row.texts().into_iter().enumerate() {
            spans.texts[column] = text.map(|text| self.add(column, [text].into_iter()));
        }
        let tags = row.tags.iter().flat_map(|tag| ["\x1f", tag.as_ref()]);
        spans.texts[TEXTS] = Some(self.add(TEXTS, tags));
        self.bytes += row.bytes();
        self.rows.push(spans);
    }

    /// Where a text is from now on: where the row before has it, or behind all others.
    fn add<'a>(&mut self, column: usize, parts: impl Iterator<Item = &'a str>) -> Range<u32> {
        // They are far shorter than 4 GiB.
        let begin = self.texts.len();
        parts.for_each(|part| self.texts.push_str(part));
        if let Some(before) = self.rows.last().and_then(|row| row.texts[column].clone())
            && self.texts[begin..] == self.texts[place(&before)]
        {
            self.texts.truncate(begin);
            return before;
        }
        begin as u32..self.texts.len() as u32
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes in all texts of all rows: what batches and limits count.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that they take, about.
    pub fn held_bytes(&self) -> usize {
        self.texts.len() + self.rows.len() * size_of::<Spans>()
    }

    /// Whether no further row may be added where they are to have at most `bytes` and one row.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.rows.len() >= DIRECT_ROWS_MAX
            || self.bytes >= bytes.min(DIRECT_BYTES_MAX - ROW_BYTES_MAX)
    }

    /// Whether each is one that may travel, and they may together.
    ///
    /// # Errors
    /// [`Error::Field`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        count("rows", self.len(), PUT_ROWS_MAX)?;
        count("rows (bytes)", self.bytes, PUT_BYTES + ROW_BYTES_MAX)?;
        self.iter().try_for_each(|row| row.check())
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = PackageRow<&str>> {
        self.rows.iter().map(|row| {
            let texts = std::array::from_fn(|column| self.text(row, column));
            let tags = self.text(row, TEXTS).unwrap_or_default();
            PackageRow {
                tags: tags.split(BEFORE_TAG).skip(1).collect(),
                package_size: row.package_size,
                installed_size: row.installed_size,
                ..PackageRow::of_texts(texts)
            }
        })
    }

    /// A column of texts, an entry a row.
    pub fn column(&self, column: usize) -> Vec<Option<&str>> {
        self.rows.iter().map(|row| self.text(row, column)).collect()
    }

    /// The sizes of the packages.
    pub fn package_sizes(&self) -> Vec<i64> {
        self.rows.iter().map(|row| signed(row.package_size)).collect()
    }

    /// Their installed sizes.
    pub fn installed_sizes(&self) -> Vec<Option<i64>> {
        self.rows.iter().map(|row| row.installed_size.map(signed)).collect()
    }

    /// What the versions are sorted by.
    pub fn version_keys(&self) -> Vec<Vec<u8>> {
        let versions = self.rows.iter().map(|row| self.text(row, 1));
        versions.map(|version| version::key(version.unwrap_or_default())).collect()
    }

    fn text(&self, row: &Spans, column: usize) -> Option<&str> {
        row.texts[column].as_ref().map(|span| &self.texts[place(span)])
    }

    /// Reads what [`PackedRows`] writes. Memory is bounded by what a message may unpack to.
    ///
    /// # Errors
    /// [`Error::NotAMessage`] and [`Error::Field`].
    pub(crate) fn unpack(packed: &mut ArrivedBytes<'_>) -> Result<Self, Error> {
        let length = packed.number_of(4)? as usize;
        count("rows (unpacked bytes)", length, PUT_PLAIN_BYTES_MAX)?;
        let mut plain = Vec::with_capacity(length);
        let mut unpack = Decompress::new(false);
        let ended = unpack.decompress_vec(packed.0, &mut plain, FlushDecompress::Finish);
        let is_whole = matches!(ended, Ok(Status::StreamEnd))
            && plain.len() == length
            && unpack.total_in() == packed.0.len() as u64;
        if !is_whole {
            return Err(not("rows that aren't packed as they say"));
        }
        packed.0 = &[];
        Self::of_plain(&mut ArrivedBytes(&plain))
    }

    fn of_plain(plain: &mut ArrivedBytes<'_>) -> Result<Self, Error> {
        let mut rows = Self { texts: String::with_capacity(plain.0.len()), ..Self::default() };
        let nothing = Spans::default();
        while !plain.0.is_empty() {
            count("rows", rows.rows.len() + 1, PUT_ROWS_MAX)?;
            let head = plain.number_of(HEAD)?;
            if head >= SIZED << 1 {
                return Err(not("a row that has what no row has"));
            }
            let mut row = Spans { package_size: plain.number()?, ..Spans::default() };
            if head & SIZED != 0 {
                row.installed_size = Some(plain.number()?);
            }
            for column in 0..Self::COLUMNS {
                let begin = rows.texts.len() as u32;
                let before = rows.rows.last().unwrap_or(&nothing).texts[column].as_ref();
                row.texts[column] = match head >> (2 * column) & 3 {
                    form::SAME => {
                        let before = before.ok_or_else(|| not("a row like none before it"))?;
                        Some(before.clone())
                    }
                    form::HEX => {
                        let digits = data(plain.take(32)?);
                        rows.texts.push_str(&digits);
                        Some(begin..rows.texts.len() as u32)
                    }
                    form::OWN => {
                        let length = plain.number()?;
                        let text = plain.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                        let text = std::str::from_utf8(text);
                        rows.texts.push_str(text.map_err(|_| not("a text that isn't UTF-8"))?);
                        Some(begin..rows.texts.len() as u32)
                    }
                    _ => None,
                };
                rows.bytes += row.texts[column].as_ref().map_or(0, |span| span.len());
            }
            let tags = rows.text(&row, TEXTS).unwrap_or_default();
            if !tags.is_empty() && !tags.starts_with(BEFORE_TAG) {
                return Err(not("tags without U+001F before them"));
            }
            rows.bytes -= tags.matches(BEFORE_TAG).count();
            rows.rows.push(row);
        }
        Ok(rows)
    }
}

/// Rows that are packed one after the other, for one message after the other: memory is taken once for all.
#[derive(Debug, Default)]
pub struct PackedRows {
    plain: Vec<u8>,
    rows: usize,
    bytes: usize,
    /// The texts of the row before, as places in `plain`.
    before: [Option<Written>; Rows::COLUMNS],
    compress: Option<Compress>,
}

/// A text that was written.
#[derive(Debug, Clone)]
struct Written {
    is_hex: bool,
    place: Range<usize>,
}

impl PackedRows {
    /// Adds a row.
    pub fn push<T: AsRef<str>>(&mut self, row: &PackageRow<T>) {
        let head_at = self.plain.len();
        self.plain.extend_from_slice(&[0; HEAD]);
        number(row.package_size, &mut self.plain);
        let mut head = 0;
        if let Some(size) = row.installed_size {
            head |= SIZED;
            number(size, &mut self.plain);
        }
        for (column, text) in row.texts().into_iter().enumerate() {
            match text {
                Some(text) => {
                    self.bytes += text.len();
                    head |= self.text(column, text.as_bytes()) << (2 * column);
                }
                None => self.before[column] = None,
            }
        }
        head |= self.tags(&row.tags) << (2 * TEXTS);
        self.plain[head_at..head_at + HEAD].copy_from_slice(&head.to_be_bytes()[8 - HEAD..]);
        self.rows += 1;
    }

    /// Writes a text; its form.
    fn text(&mut self, column: usize, text: &[u8]) -> u64 {
        let begin = self.plain.len();
        let before = self.before[column].as_ref();
        let is_before = |is_hex: bool, bytes: &[u8]| {
            before.is_some_and(|it| it.is_hex == is_hex && self.plain[it.place.clone()] == *bytes)
        };
        if is_before(false, text) {
            return form::SAME;
        }
        let is_hex = match unhex(text) {
            Some(bytes) if is_before(true, &bytes) => return form::SAME,
            Some(bytes) => {
                self.plain.extend_from_slice(&bytes);
                true
            }
            None => {
                number(text.len() as u64, &mut self.plain);
                self.plain.extend_from_slice(text);
                false
            }
        };
        let end = self.plain.len();
        let begin = if is_hex { begin } else { end - text.len() };
        self.before[column] = Some(Written { is_hex, place: begin..end });
        if is_hex { form::HEX } else { form::OWN }
    }

    /// The same of a row's text of tags.
    fn tags<T: AsRef<str>>(&mut self, tags: &[T]) -> u64 {
        let begin = self.plain.len();
        let bytes = tags.iter().map(|tag| 1 + tag.as_ref().len()).sum::<usize>();
        self.bytes += bytes - tags.len();
        number(bytes as u64, &mut self.plain);
        for tag in tags {
            self.plain.push(BEFORE_TAG as u8);
            self.plain.extend_from_slice(tag.as_ref().as_bytes());
        }
        let end = self.plain.len();
        let place = end - bytes..end;
        if let Some(before) = &self.before[TEXTS]
            && self.plain[before.place.clone()] == self.plain[place.clone()]
        {
            self.plain.truncate(begin);
            return form::SAME;
        }
        self.before[TEXTS] = Some(Written { is_hex: false, place });
        form::OWN
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether they fill a message.
    pub const fn fill_message(&self) -> bool {
        self.rows >= PUT_ROWS_MAX || self.bytes >= PUT_BYTES
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.plain.clear();
        (self.rows, self.bytes) = (0, 0);
        self.before = Default::default();
    }

    /// Writes them behind what is in `out`, and forgets them.
    pub(crate) fn pack(&mut self, out: &mut Vec<u8>) {
        let plain = &self.plain;
        out.extend_from_slice(&(plain.len() as u32).to_be_bytes());
        // What can't be packed grows by five bytes for each block, of 16 KiB at least.
        out.reserve(plain.len() + plain.len() / 1024 + 64);
        let compress =
            self.compress.get_or_insert_with(|| Compress::new(Compression::new(LEVEL), false));
        compress.reset();
        let packed = compress.compress_vec(plain, out, FlushCompress::Finish);
        debug_assert_eq!(packed.ok(), Some(Status::StreamEnd), "there is room");
        self.clear();
    }
}

fn place(span: &Range<u32>) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// As PostgreSQL holds a size; those of rows that may travel are lower.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn not(why: &str) -> Error {
    Error::NotAMessage { why: why.to_owned() }
}

/// Seven bits a byte, the lowest first; all but the last have their highest bit set.
fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What each byte is as a lower-case hexadecimal digit; over 15: none.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    nibbles
};
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The bytes that 64 digits stand for.
fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let digits = <&[u8; 64]>::try_from(text).ok()?;
    let (mut bytes, mut all) = ([0; 32], 0);
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
        all |= high | low;
        *byte = high << 4 | low & 15;
    }
    (all < 16).then_some(bytes)
}

/// Bytes as hexadecimal digits.
fn data(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)] as char).collect()
}

/// What is left of bytes that arrived.
pub(crate) struct ArrivedBytes<'a>(pub(crate) &'a [u8]);

impl<'a> ArrivedBytes<'a> {
    /// The next so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| not("cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number in so many bytes, at most eight, big-endian.
    pub(crate) fn number_of(&mut self, bytes: usize) -> Result<u64, Error> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number as [`number`] writes it.
    fn number(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for place in 0..10 {
            let byte = u64::from(self.take(1)?[0]);
            value |= (byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return if place == 9 && byte > 1 {
                    Err(not("a number too large"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(not("a number too long"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let mut rows = vec![];
        for (number, tags) in [(0, vec![]), (1, vec![""]), (2, vec!["a", "", "ü"])] {
            rows.push(PackageRow {
                package_id: format!("id{number}"),
                version: "1".to_owned(),
                architecture: "x".to_owned(),
                price: "Free".to_owned(),
                package_size: number,
                sha256_hash: (number > 0)
                    .then(|| "0af".repeat(22)[..63 + number as usize % 2].into()),
                description: (number > 0).then(|| "é\n\"".repeat(number as usize)),
                section: (number > 1).then(String::new),
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                installed_size: (number > 0).then_some(u64::MAX >> number),
                ..PackageRow::default()
            });
        }
        let all = Rows::of(&rows);
        let same = |all: &Rows| {
            let came: Vec<_> = all.iter().map(|row| row.map(str::to_owned)).collect();
            assert_eq!(came, rows);
            assert_eq!(all.bytes(), rows.iter().map(PackageRow::bytes).sum::<usize>());
        };
        same(&all);
        let (mut rows, mut packed) = (PackedRows::default(), vec![]);
        all.iter().for_each(|row| rows.push(&row));
        rows.pack(&mut packed);
        let came = Rows::unpack(&mut ArrivedBytes(&packed)).unwrap();
        same(&came);
        // Of the message before nothing is left.
        let mut again = vec![];
        came.iter().for_each(|row| rows.push(&row));
        rows.pack(&mut again);
        assert_eq!(again, packed);

        assert_eq!(all.column(0), [Some("id0"), Some("id1"), Some("id2")]);
        assert_eq!(all.column(16), [None, None, Some("")]);
        assert_eq!(all.column(17), [Some(""), Some("\x1f"), Some("\x1fa\x1f\x1fü")]);
        assert_eq!(all.version_keys(), vec![version::key("1"); 3]);
        assert_eq!(all.package_sizes(), [0, 1, 2]);
        assert_eq!(all.installed_sizes(), [None, Some(i64::MAX), Some(i64::MAX / 2)]);
        assert!(all.is_full(1) && !all.is_full(1000));
    }
}
