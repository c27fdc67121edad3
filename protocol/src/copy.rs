//! What an arbiter tells of one source to whoever follows its network: `GET /copy/SLUG` of the public listener. A
//! page is lines of JSON: first a [`CopyPage`], then its rows, each a [`CopyRow`], by their ids.
//!
//! Spec: docs/networks.md.

use crate::codec::accept;
use crate::limits::JSON_DEPTH_MAX;
use crate::message::{Facts, Origin};
use crate::row::PackageRow;
use crate::source::Source;
use nanoserde::{DeJson, SerJson};

/// Below this path is the copy of each source.
pub const PATH: &str = "/copy/";
/// Longest page in bytes: rows that fill a megabyte, and one.
pub const PAGE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The first line.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct CopyPage {
    /// As it is indexed there: only who means the same files takes it.
    pub source: Source,
    /// What its rows come from; of all pages the same, or they are of two states.
    pub origin: Origin,
    /// What its Release says, as far as the catalogue keeps it.
    pub facts: Facts,
    /// Where the next page begins, as `?after=`; none on the last.
    pub next: Option<String>,
}

/// A row, with the amount that its shop named.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct CopyRow {
    /// As its stanza gave it; a price is `Free` or `Paid`.
    pub row: PackageRow,
    /// What its shop named.
    pub amount: Option<String>,
}

/// The lines of a page.
pub fn text(page: &CopyPage, rows: &[CopyRow]) -> String {
    let mut text = page.serialize_json() + "\n";
    for row in rows {
        text += &row.serialize_json();
        text.push('\n');
    }
    text
}

/// A line that is well-formed as messages are.
///
/// # Errors
/// What is wrong, in a line.
pub fn line<T: DeJson>(text: &str) -> Result<T, String> {
    accept(text, JSON_DEPTH_MAX).map_err(|cause| cause.to_string())?;
    T::deserialize_json(text).map_err(|cause| cause.to_string())
}
