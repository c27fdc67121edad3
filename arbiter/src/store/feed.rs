//! The change feed: which rows of the catalogue changed and which are gone, for whoever keeps a copy of
//! what it shows.
//!
//! It is no log: each row is told once, as it is now, at the change that touched it last. Changes are
//! publications, and sources that are to be read anew, because they were shown or hidden or ranked
//! otherwise. Both have numbers in the order of their commits. Rows that left are kept, and told, for
//! as long as the retention is; who falls behind that must begin again.

use super::sql::{Cause, Row, Tx, read, values};
use super::{FeedLine, FeedPackage, FeedPage, Store, StoreError, publications};
use crate::rules::feed::FeedCursor;

/// Most lines of a page ...
const LINES_MAX: usize = 2_000;
/// ... and bytes in their texts after which it is full.
const BYTES_MAX: usize = 1024 * 1024;
/// Rows that are asked for at once; a row has at most 128 KiB.
const ROWS_AT_ONCE: u64 = 100;

impl Store {
    /// The next page of the feed; `None` where what the reader missed is deleted already.
    pub fn changes(&mut self, after: &FeedCursor) -> Result<Option<FeedPage>, StoreError> {
        self.read(|tx| {
            let (last, horizon): (u64, u64) =
                tx.one("SELECT last, horizon FROM feed", &[], |row| {
                    Ok((row.get("last")?, row.get("horizon")?))
                })?;
            let reached = match after {
                FeedCursor::After { number, .. } | FeedCursor::Snapshot { until: number, .. } => {
                    *number
                }
                FeedCursor::Begin => last,
            };
            if reached < horizon || reached > last {
                return Ok(None);
            }
            let mut page = Filling::default();
            let next = match after {
                FeedCursor::Begin => snapshot(tx, &mut page, last, String::new())?,
                FeedCursor::Snapshot { until, id } => snapshot(tx, &mut page, *until, id.clone())?,
                FeedCursor::After { number, id } => changes(tx, &mut page, *number, id.clone())?,
            };
            let more = page.is_full()
                || matches!(next, FeedCursor::Snapshot { .. })
                || next != FeedCursor::After { number: last, id: None };
            Ok(Some(FeedPage { lines: page.lines, next, more }))
        })
    }
}

#[derive(Default)]
struct Filling {
    lines: Vec<FeedLine>,
    bytes: usize,
}

impl Filling {
    const fn is_full(&self) -> bool {
        self.lines.len() >= LINES_MAX || self.bytes >= BYTES_MAX
    }

    fn add(&mut self, line: FeedLine) {
        if let FeedLine::Package { package, .. } = &line {
            self.bytes += package.description.as_ref().map_or(0, String::len) + 512;
        }
        self.lines.push(line);
    }
}

/// Fills a page with what is shown, behind `id`; where to go on.
fn snapshot(
    tx: &mut dyn Tx,
    page: &mut Filling,
    until: u64,
    mut id: String,
) -> Result<FeedCursor, Cause> {
    loop {
        let rows: Vec<(FeedPackage, bool, bool)> = tx.query(
            "SELECT * FROM package WHERE id > $1 AND visible ORDER BY id LIMIT $2",
            values![&id, ROWS_AT_ONCE],
            row,
        )?;
        let is_last = (rows.len() as u64) < ROWS_AT_ONCE;
        for (package, ..) in rows {
            id.clone_from(&package.id);
            page.add(FeedLine::Package { number: until, package });
        }
        if is_last {
            return Ok(FeedCursor::After { number: until, id: None });
        }
        if page.is_full() {
            return Ok(FeedCursor::Snapshot { until, id });
        }
    }
}

/// Fills a page with changes after `number`, or with the rest of that one behind `id`; where to go on.
fn changes(
    tx: &mut dyn Tx,
    page: &mut Filling,
    mut number: u64,
    mut id: Option<String>,
) -> Result<FeedCursor, Cause> {
    loop {
        let first = if id.is_some() { number } else { number + 1 };
        let entry: Option<(u64, String, Option<u64>, bool)> = tx.maybe(
            "SELECT entry.number, entry.slug, entry.lease, source.shown AS shown FROM (
                 SELECT number, slug, lease FROM publication WHERE number >= $1
                 UNION ALL
                 SELECT anew, slug, CAST(NULL AS bigint) FROM source WHERE anew >= $1) AS entry
             JOIN source ON source.slug = entry.slug ORDER BY entry.number LIMIT 1",
            values![first],
            |row| Ok((row.get("number")?, row.get("slug")?, row.get("lease")?, row.get("shown")?)),
        )?;
        // One that was begun may have been taken over by a newer one since.
        let Some((next, slug, lease, is_shown)) = entry else {
            return Ok(FeedCursor::After { number, id: None });
        };
        if next != number {
            id = None;
        }
        number = next;
        if id.is_none() && lease.is_none() {
            page.add(FeedLine::Source { number, source: slug.clone(), shown: is_shown });
        }
        let mut behind = id.take().unwrap_or_default();
        loop {
            let rows: Vec<(FeedPackage, bool, bool)> = match lease {
                Some(lease) => tx.query(
                    "SELECT * FROM package WHERE publication = $1 AND id > $2
                     ORDER BY id LIMIT $3",
                    values![lease, &behind, ROWS_AT_ONCE],
                    row,
                )?,
                None if is_shown => tx.query(
                    "SELECT * FROM package WHERE repository_id = $1 AND visible AND id > $2
                     ORDER BY id LIMIT $3",
                    values![&slug, &behind, ROWS_AT_ONCE],
                    row,
                )?,
                None => Vec::new(),
            };
            let is_last = (rows.len() as u64) < ROWS_AT_ONCE;
            for (package, is_visible, has_left) in rows {
                behind.clone_from(&package.id);
                if is_visible {
                    page.add(FeedLine::Package { number, package });
                } else if has_left {
                    let FeedPackage { id, repository_id, .. } = package;
                    page.add(FeedLine::Gone { number, id, source: repository_id });
                }
            }
            if is_last {
                break;
            }
            if page.is_full() {
                return Ok(FeedCursor::After { number, id: Some(behind) });
            }
        }
        if page.is_full() {
            return Ok(FeedCursor::After { number, id: None });
        }
    }
}

/// A row, whether it is shown, and whether it left.
pub(super) fn row(row: Row<'_>) -> Result<(FeedPackage, bool, bool), Cause> {
    let package: Result<FeedPackage, Cause> = read!(row => FeedPackage {
        id, package_id, latest_version, quality, repository_id, price, version, architecture,
        package_filename, package_size, sha256_hash, name, description, author, maintainer,
        depiction, native_depiction, sileo_depiction, header_url, tint_color, icon_url, section,
        tags, installed_size,
    });
    Ok((package?, row.get("visible")?, row.get::<Option<u64>>("left_at")?.is_some()))
}

/// Has readers read a source anew: it is shown or hidden, or ranked otherwise.
pub(super) fn anew(tx: &mut dyn Tx, slug: &str) -> Result<(), Cause> {
    let number = publications::next_number(tx)?;
    tx.execute("UPDATE source SET anew = $2 WHERE slug = $1", values![slug, number])?;
    Ok(())
}
