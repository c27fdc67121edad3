//! Rows on their way into the database: their texts one behind the other in one piece of memory,
//! and where each begins and ends.

use crate::apt::package::BorrowedRow;
use canister_protocol::limits::{DIRECT_BYTES_MAX, DIRECT_ROWS_MAX, ROW_BYTES_MAX};
use canister_protocol::row::TEXTS;
use canister_protocol::{PackageRow, version};
use std::ops::Range;

/// Stands before each tag in a row's text of tags. No row has it in a text of its own.
const BEFORE_TAG: char = '\x1f';

/// Rows to be put by one statement.
#[derive(Debug, Default)]
pub struct Batch {
    texts: String,
    rows: Vec<Spans>,
}

/// One row, as places in the texts.
#[derive(Debug)]
struct Spans {
    texts: [Option<Range<u32>>; TEXTS],
    tags: Range<u32>,
    package_size: i64,
    installed_size: Option<i64>,
}

impl Batch {
    /// Columns of texts: those of [`PackageRow::texts`], and the tags.
    pub const COLUMNS: usize = TEXTS + 1;

    /// Adds a row.
    pub fn push(&mut self, row: &BorrowedRow<'_>) {
        let texts = row.texts().map(|text| text.map(|text| self.add("", [text].into_iter())));
        let mut before = [0; 4];
        let before = &*BEFORE_TAG.encode_utf8(&mut before);
        let tags = self.add(before, row.tags.iter().map(|tag| &**tag));
        // Both are checked when the row is made.
        let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        self.rows.push(Spans {
            texts,
            tags,
            package_size: signed(row.package_size),
            installed_size: row.installed_size.map(signed),
        });
    }

    fn add<'a>(&mut self, before: &str, parts: impl Iterator<Item = &'a str>) -> Range<u32> {
        // A batch is far shorter than 4 GiB.
        let begin = self.texts.len() as u32;
        for part in parts {
            self.texts.push_str(before);
            self.texts.push_str(part);
        }
        begin..self.texts.len() as u32
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether no further row may be added where batches are to have at most `bytes` of texts and
    /// one row.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.rows.len() >= DIRECT_ROWS_MAX
            || self.texts.len() >= bytes.min(DIRECT_BYTES_MAX - ROW_BYTES_MAX)
    }

    /// Each column of texts in turn, an entry a row.
    pub fn columns(&self) -> impl Iterator<Item = Vec<Option<&str>>> {
        (0..TEXTS)
            .map(|column| {
                let of = |row: &Spans| row.texts[column].clone();
                self.rows.iter().map(of).map(|span| self.text(span)).collect()
            })
            .chain([self.rows.iter().map(|row| self.text(Some(row.tags.clone()))).collect()])
    }

    /// The sizes of the packages.
    pub fn package_sizes(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row.package_size).collect()
    }

    /// Their installed sizes.
    pub fn installed_sizes(&self) -> Vec<Option<i64>> {
        self.rows.iter().map(|row| row.installed_size).collect()
    }

    /// What the versions are sorted by.
    pub fn version_keys(&self) -> Vec<Vec<u8>> {
        let versions = self.rows.iter().map(|row| row.texts[1].clone());
        versions.map(|span| version::key(self.text(span).unwrap_or_default())).collect()
    }

    /// The rows as the session carries them.
    pub fn rows(&self) -> impl Iterator<Item = PackageRow> {
        self.rows.iter().map(|row| {
            let texts = row.texts.clone().map(|span| self.text(span).map(str::to_owned));
            let tags = self.text(Some(row.tags.clone())).unwrap_or_default();
            let tags = tags.split(BEFORE_TAG).skip(1).map(str::to_owned).collect();
            PackageRow {
                tags,
                package_size: row.package_size.cast_unsigned(),
                installed_size: row.installed_size.map(i64::cast_unsigned),
                ..PackageRow::of_texts(texts)
            }
        })
    }

    fn text(&self, span: Option<Range<u32>>) -> Option<&str> {
        span.map(|span| &self.texts[span.start as usize..span.end as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

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
                description: (number > 0).then(|| "é\n\"".repeat(number as usize)),
                section: (number > 1).then(String::new),
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                installed_size: (number > 0).then_some(number),
                ..PackageRow::default()
            });
        }
        let mut batch = Batch::default();
        for row in &rows {
            batch.push(&row.clone().map(Cow::Owned));
        }
        assert_eq!(batch.rows().collect::<Vec<_>>(), rows);
        let columns: Vec<_> = batch.columns().collect();
        assert_eq!(columns.len(), Batch::COLUMNS);
        assert_eq!(columns[0], [Some("id0"), Some("id1"), Some("id2")]);
        let section = rows[2].texts().iter().position(|text| *text == Some(""));
        assert_eq!(columns[16], [None, None, Some("")], "{section:?}");
        assert_eq!(columns[17], [Some(""), Some("\x1f"), Some("\x1fa\x1f\x1fü")]);
        assert_eq!(batch.version_keys(), vec![version::key("1"); 3]);
        assert_eq!(batch.package_sizes(), [0, 1, 2]);
        assert_eq!(batch.installed_sizes(), [None, Some(1), Some(2)]);
        assert!(batch.is_full(1) && !batch.is_full(1000));
    }
}
