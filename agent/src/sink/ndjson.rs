//! A sink that writes rows as JSON, one a line, in the catalogue's column names: for
//! `canister-agent index`.
//!
//! What is written can't be taken back. When rows are discarded that were written already, those
//! put next must begin with the same ones, as they do when an index is read in another compression;
//! they are compared and not written again.

use super::{Sink, SinkError};
use canister_protocol::message::Price;
use canister_protocol::row::{Digest, PackageRow};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write;

/// What may wait before it is written, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Rows as lines of JSON.
#[derive(Debug)]
pub struct Ndjson<W> {
    slug: String,
    out: W,
    buffer: Vec<u8>,
    written: Sum,
    /// After rows were discarded that are written: what was put since. The buffer is emptied at the
    /// same rows each time, so that equal rows give equal sums.
    again: Option<Sum>,
}

/// How many bytes passed, and which.
#[derive(Debug, Clone, Default)]
struct Sum {
    bytes: u64,
    hash: DefaultHasher,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.write(bytes);
    }
}

impl<W: Write> Ndjson<W> {
    /// Writes the rows of the source `slug` to `out`.
    pub fn new(slug: &str, out: W) -> Self {
        Self {
            slug: slug.to_owned(),
            out,
            buffer: Vec::with_capacity(BUFFER_BYTES),
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
            again.bytes == self.written.bytes && again.hash.finish() == self.written.hash.finish();
        self.again = None;
        if is_same {
            Ok(())
        } else {
            Err(SinkError::Differs)
        }
    }
}

impl<W: Write> Sink for Ndjson<W> {
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError> {
        Ok(None)
    }

    fn put(&mut self, rows: Vec<PackageRow>) -> Result<(), SinkError> {
        for row in &rows {
            line(&self.slug, row, &mut self.buffer);
            if self.buffer.len() >= BUFFER_BYTES {
                self.empty()?;
            }
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

fn line(slug: &str, row: &PackageRow, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    string(&row.id(slug), out);
    for (key, value) in [
        ("package_id", &row.package_id),
        ("version", &row.version),
        ("architecture", &row.architecture),
        ("package_filename", &row.package_filename),
    ] {
        field(key, out);
        string(value, out);
    }
    field("package_size", out);
    number(row.package_size, out);
    field("price", out);
    string(&row.price, out);
    for (key, value) in [
        ("sha256_hash", &row.sha256_hash),
        ("name", &row.name),
        ("description", &row.description),
        ("author", &row.author),
        ("maintainer", &row.maintainer),
        ("depiction", &row.depiction),
        ("native_depiction", &row.native_depiction),
        ("sileo_depiction", &row.sileo_depiction),
        ("header_url", &row.header_url),
        ("tint_color", &row.tint_color),
        ("icon_url", &row.icon_url),
        ("section", &row.section),
    ] {
        field(key, out);
        match value {
            Some(value) => string(value, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    field("tags", out);
    out.push(b'[');
    for (at, tag) in row.tags.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(tag, out);
    }
    out.push(b']');
    field("installed_size", out);
    match row.installed_size {
        Some(size) => number(size, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}\n");
}

fn field(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(number: u64, out: &mut Vec<u8>) {
    // A Vec takes every write.
    let _ = write!(out, "{number}");
}

/// Spec: RFC 8259 §7. Rows have no control characters but tab and line feed.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\t'))
    {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            _ => b"\\t",
        });
        rest = &rest[at + 1..];
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
            numbers
                .into_iter()
                .try_for_each(|n| sink.put(vec![some(n)]))
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
        sink.put(vec![row.clone()]).unwrap();
        sink.discard().unwrap();
        sink.put(vec![row.clone()]).unwrap();
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
