//! A sink that writes rows as JSON, one a line, in the catalogue's column names: for
//! `canister-agent index`.
//!
//! What is written can't be taken back. When rows are discarded that were written already, those
//! put next must begin with the same ones, as they do when an index is read in another compression;
//! they are compared and not written again.

use super::{Sink, SinkError};
use crate::apt::package::BorrowedRow;
use canister_protocol::message::Price;
use canister_protocol::row::{Digest, PackageRow};
use canister_stanza::words;
use flate2::Crc;
use std::collections::BTreeSet;
use std::io::Write;

/// What may wait before it is written, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Rows as lines of JSON.
#[derive(Debug)]
pub struct Ndjson<W> {
    slug: String,
    out: W,
    buffer: Vec<u8>,
    /// Used for each row's id.
    scratch: Vec<u8>,
    written: Sum,
    /// After rows were discarded that are written: what was put since. The buffer is emptied at the
    /// same rows each time, so that equal rows give equal sums.
    again: Option<Sum>,
}

/// How many bytes passed, and which. A check sum is enough: it tells a broken index from a good one,
/// and whatever passes is still held against Release.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    crc: Crc,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc.update(bytes);
    }
}

impl<W: Write> Ndjson<W> {
    /// Writes the rows of the source `slug` to `out`.
    pub fn new(slug: &str, out: W) -> Self {
        Self {
            slug: slug.to_owned(),
            out,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            scratch: Vec::new(),
            written: Sum::default(),
            again: None,
        }
    }

    fn empty(&mut self) -> Result<(), SinkError> {
        let Some(again) = &mut self.again else {
            self.written.add(&self.buffer);
            self.out.write_all(&self.buffer).map_err(SinkError::Write)?;
            self.buffer.clear();
            return Ok(());
        };
        again.add(&self.buffer);
        self.buffer.clear();
        if again.bytes < self.written.bytes {
            return Ok(());
        }
        let is_same =
            again.bytes == self.written.bytes && again.crc.sum() == self.written.crc.sum();
        self.again = None;
        if is_same { Ok(()) } else { Err(SinkError::Differs) }
    }
}

impl<W: Write> Sink for Ndjson<W> {
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError> {
        Ok(None)
    }

    fn put(&mut self, row: &BorrowedRow<'_>) -> Result<(), SinkError> {
        line(&self.slug, row, &mut self.scratch, &mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES {
            self.empty()?;
        }
        Ok(())
    }

    fn dropped(&mut self, _: &[Digest]) -> Result<(), SinkError> {
        Ok(())
    }

    fn priced(&mut self) -> Result<Option<BTreeSet<String>>, SinkError> {
        Ok(None)
    }

    fn prices(&mut self, _: Vec<Price>) -> Result<(), SinkError> {
        Ok(())
    }

    fn discard(&mut self) -> Result<(), SinkError> {
        self.buffer.clear();
        self.again = (self.written.bytes > 0).then(Sum::default);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.empty()?;
        if self.again.is_some() {
            return Err(SinkError::Differs);
        }
        self.out.flush().map_err(SinkError::Write)
    }
}

fn line<T: AsRef<str>>(slug: &str, row: &PackageRow<T>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    row.write_id(slug, scratch, out);
    out.extend_from_slice(b"\",\"package_id\":");
    string(row.package_id.as_ref(), out);
    out.extend_from_slice(b",\"version\":");
    string(row.version.as_ref(), out);
    out.extend_from_slice(b",\"architecture\":");
    string(row.architecture.as_ref(), out);
    out.extend_from_slice(b",\"package_filename\":");
    string(row.package_filename.as_ref(), out);
    out.extend_from_slice(b",\"package_size\":");
    number(row.package_size, out);
    out.extend_from_slice(b",\"price\":");
    string(row.price.as_ref(), out);
    for (pair, value) in [
        (&b",\"sha256_hash\":null"[..], &row.sha256_hash),
        (b",\"name\":null", &row.name),
        (b",\"description\":null", &row.description),
        (b",\"author\":null", &row.author),
        (b",\"maintainer\":null", &row.maintainer),
        (b",\"depiction\":null", &row.depiction),
        (b",\"native_depiction\":null", &row.native_depiction),
        (b",\"sileo_depiction\":null", &row.sileo_depiction),
        (b",\"header_url\":null", &row.header_url),
        (b",\"tint_color\":null", &row.tint_color),
        (b",\"icon_url\":null", &row.icon_url),
        (b",\"section\":null", &row.section),
    ] {
        match value {
            Some(value) => {
                out.extend_from_slice(pair.strip_suffix(b"null").unwrap_or(pair));
                string(value.as_ref(), out);
            }
            None => out.extend_from_slice(pair),
        }
    }
    out.extend_from_slice(b",\"tags\":[");
    for (at, tag) in row.tags.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(tag.as_ref(), out);
    }
    out.extend_from_slice(b"],\"installed_size\":");
    match row.installed_size {
        Some(size) => number(size, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}\n");
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Spec: RFC 8259 §7. Rows have no control characters but tab and line feed.
fn string(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    // Few texts have any.
    if words::any(rest, |word| {
        words::below(word, b' ') | words::equal(word, b'"') | words::equal(word, b'\\')
    }) {
        let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n' | b'\t');
        while let Some(at) = rest.iter().position(is_escaped) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(match rest[at] {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                _ => b"\\t",
            });
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(number: usize) -> PackageRow {
        PackageRow {
            package_id: format!("p{number}"),
            description: Some("x".repeat(1000)),
            ..PackageRow::default()
        }
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        let put = |sink: &mut Ndjson<&mut Vec<u8>>, numbers: std::ops::Range<usize>| {
            numbers.into_iter().try_for_each(|n| sink.put(&some(n).map(std::borrow::Cow::Owned)))
        };
        let (mut once, mut out) = (Vec::new(), Vec::new());
        let mut sink = Ndjson::new("s", &mut once);
        put(&mut sink, 0..300).unwrap();
        sink.flush().unwrap();
        // Discarded with nothing, something and most of it written, and while it is repeated.
        let mut sink = Ndjson::new("s", &mut out);
        for end in [1, 100, 299, 80, 250] {
            put(&mut sink, 0..end).unwrap();
            sink.discard().unwrap();
        }
        put(&mut sink, 0..300).unwrap();
        sink.flush().unwrap();
        assert!(out == once);

        for other in [1..300, 0..0, 0..80] {
            let mut out = Vec::new();
            let mut sink = Ndjson::new("s", &mut out);
            put(&mut sink, 0..200).unwrap();
            sink.discard().unwrap();
            let put = put(&mut sink, other).and_then(|()| sink.flush());
            assert!(matches!(put, Err(SinkError::Differs)));
        }
    }

    #[test]
    fn a_row_is_a_line_of_json() {
        let row = PackageRow {
            package_id: "a".into(),
            version: "1\"\\".into(),
            architecture: "all".into(),
            price: "Free".into(),
            description: Some("x\n\ty é".into()),
            tags: vec!["t".into(), "u".into()],
            installed_size: Some(3),
            ..PackageRow::default()
        };
        let mut out = Vec::new();
        let mut sink = Ndjson::new("s", &mut out);
        sink.put(&row.clone().map(std::borrow::Cow::Owned)).unwrap();
        sink.discard().unwrap();
        sink.put(&row.clone().map(std::borrow::Cow::Owned)).unwrap();
        sink.flush().unwrap();
        let expected = format!(
            "{{\"id\":\"{}\",\"package_id\":\"a\",\"version\":\"1\\\"\\\\\",\
             \"architecture\":\"all\",\"package_filename\":\"\",\"package_size\":0,\
             \"price\":\"Free\",\"sha256_hash\":null,\"name\":null,\
             \"description\":\"x\\n\\ty é\",\"author\":null,\"maintainer\":null,\
             \"depiction\":null,\"native_depiction\":null,\"sileo_depiction\":null,\
             \"header_url\":null,\"tint_color\":null,\"icon_url\":null,\"section\":null,\
             \"tags\":[\"t\",\"u\"],\"installed_size\":3}}\n",
            row.id("s")
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
