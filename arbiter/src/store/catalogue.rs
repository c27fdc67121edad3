//! The published packages, read. Works in another process beside the arbiter.

use super::sql::{Cause, Row, read, sql, values};
use super::{Found, Store, StoreCounts, StoreError};
use crate::rules::signatures::ENDING_WITHIN;
use crate::rules::timestamp::Timestamp;

/// Words of a search that count; the others are left out.
const WORDS_MAX: usize = 16;
/// Sources that are counted at once, which takes some 10 ms.
pub const COUNTED: usize = 20_000;

impl Store {
    /// Finds visible packages, in their latest versions, that have all the words of `text`; the
    /// last one may be the beginning of a word. Best first: what is called `text`, by name or
    /// package id, then what is called so at the beginning. Then words in the name and package id
    /// weigh most, then the author's, then the description's; then the source's ranking.
    ///
    /// # Errors
    /// Never `Refused`: any text is a search.
    pub fn search(&mut self, text: &str, limit: usize) -> Result<Vec<Found>, StoreError> {
        let words = match self {
            Self::Postgres(_) => tsqueries(text),
            Self::Sqlite(_) => fts5_query(text).map(|query| (query, String::new())),
        };
        let Some((words, whole)) = words else {
            return Ok(Vec::new());
        };
        let search = sql!(
            "SELECT package.* FROM "
            ["package_search JOIN package ON package.number = package_search.rowid
              WHERE package_search MATCH $1"
                | "package, to_tsquery('simple', $1) AS begun, to_tsquery('simple', $2) AS whole
                   WHERE search_vector @@ begun AND visible AND latest_version"]
            " ORDER BY CASE
                  WHEN $3 IN (lower(package.name), lower(package.package_id)) THEN 0
                  WHEN $3 IN (substr(lower(package.name), 1, length($3)),
                      substr(lower(package.package_id), 1, length($3))) THEN 1
                  ELSE 2 END, "
            ["bm25(package_search, 10, 10, 4, 1), quality, package.package_id, id"
                | "ts_rank('{0.1, 0.1, 0.4, 1.0}', search_vector, begun, 1)
                       + ts_rank('{0.1, 0.1, 0.4, 1.0}', search_vector, whole, 1) DESC,
                   quality, package_id COLLATE \"C\", id COLLATE \"C\""]
            " LIMIT $4"
        );
        let called = text.trim().to_lowercase().replace('\0', "");
        self.read(|tx| tx.query(search, values![&words, &whole, &called, limit], found))
    }

    /// What there is, a transaction for each [`COUNTED`] sources. Takes time in proportion to their number, not to
    /// that of packages.
    pub fn counts(&mut self, now: Timestamp) -> Result<StoreCounts, StoreError> {
        let (mut counts, mut after) = (StoreCounts::default(), Some(String::new()));
        while let Some(from) = after {
            let (part, next) = self.counts_after(&from, COUNTED, now)?;
            counts += part;
            after = next;
        }
        Ok(counts)
    }

    /// The same of the next `limit` sources behind `after`, and the slug behind which there may be more. Leases and
    /// peers count with the first, for which `after` is empty.
    pub fn counts_after(
        &mut self,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<(StoreCounts, Option<String>), StoreError> {
        let part = sql!("SELECT
                 count(*) FILTER (WHERE listed) AS sources,
                 count(*) FILTER (WHERE NOT shown
                     AND (discovery IS NULL OR discovery = 'approved')) AS hidden,
                 count(*) FILTER (WHERE discovery = 'refused') AS refused,
                 count(*) FILTER (WHERE polled AND due_at <= $3
                     AND slug NOT IN (SELECT slug FROM lease)) AS due,
                 count(*) FILTER (WHERE listed AND failures > 0) AS failing,
                 count(*) FILTER (WHERE listed AND last_contact IS NULL) AS never_indexed,
                 count(*) FILTER (WHERE listed AND signed_until <= $4) AS ending,
                 CAST(coalesce(sum(package_count), 0) AS bigint) AS packages,
                 CAST(coalesce(sum(package_count) FILTER (WHERE visible), 0) AS bigint) AS visible,
                 CASE WHEN $1 = '' THEN (SELECT count(*) FROM lease) ELSE 0 END AS leased,
                 CASE WHEN $1 = '' THEN (SELECT count(*) FROM peer) ELSE 0 END AS peers,
                 CASE WHEN count(*) = $2 THEN max(slug" ["" | " COLLATE \"C\""] ") END AS last
             FROM (SELECT slug, listed, shown, discovery, polled, due_at, failures, last_contact, signed_until
                   FROM source WHERE slug" ["" | " COLLATE \"C\""] " > $1
                   ORDER BY slug" ["" | " COLLATE \"C\""] " LIMIT $2) AS part
             LEFT JOIN repository ON repository.id = slug");
        let ending = now.plus(ENDING_WITHIN);
        self.read(|tx| {
            tx.one(part, values![after, limit, now, ending], |row| {
                Ok((counts(row)?, row.get("last")?))
            })
        })
    }
}

fn found(row: Row<'_>) -> Result<Found, Cause> {
    read!(row => Found {
        id, package_id, name, version, architecture, repository_id, description, author, section,
        price,
    })
}

fn counts(row: Row<'_>) -> Result<StoreCounts, Cause> {
    read!(row => StoreCounts {
        sources, hidden, refused, due, leased, failing, never_indexed, ending, packages, visible, peers,
    })
}

/// The words of `text` as a query of FTS5 that means nothing else; `None` where there are none. A
/// word with dots or dashes in it is found where its parts follow each other.
fn fts5_query(text: &str) -> Option<String> {
    let words: Vec<&str> = words(text, |c| c == '"').collect();
    let (last, others) = words.split_last()?;
    let others: String = others.iter().map(|word| format!("\"{word}\" AND ")).collect();
    // Both, so that the whole word ranks before its continuations.
    Some(format!("{others}(\"{last}\" OR \"{last}\"*)"))
}

/// The words of `text` as two tsqueries that mean nothing else; `None` where there are none. For
/// the first the last word may be the beginning of one, for the second all must be there as they
/// are. Both count, so that the whole word ranks before its continuations.
fn tsqueries(text: &str) -> Option<(String, String)> {
    // In quotes a word is parsed as the texts were; a quote or backslash ends none.
    let words: Vec<String> = words(text, |_| false)
        .map(|word| format!("'{}'", word.replace(['\'', '\\'], " ")))
        .collect();
    let whole = words.join(" & ");
    (!words.is_empty()).then(|| (format!("{whole}:*"), whole))
}

fn words(text: &str, parts: fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |c: char| c.is_whitespace() || c.is_control() || parts(c))
        .filter(|word| word.contains(char::is_alphanumeric))
        .take(WORDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_query_of_words() {
        for (text, fts5, tsquery) in [
            ("", None, None),
            (" -*\"():^", None, None),
            ("Text", Some(r#"("Text" OR "Text"*)"#), Some("'Text'")),
            ("a OR\"b", Some(r#""a" AND "OR" AND ("b" OR "b"*)"#), Some("'a' & 'OR\"b'")),
            ("a | b\\'c", Some(r#""a" AND ("b\'c" OR "b\'c"*)"#), Some("'a' & 'b  c'")),
            ("org.x-y \0 .", Some(r#"("org.x-y" OR "org.x-y"*)"#), Some("'org.x-y'")),
            ("é中", Some(r#"("é中" OR "é中"*)"#), Some("'é中'")),
        ] {
            assert_eq!(fts5_query(text).as_deref(), fts5, "{text:?}");
            let tsquery = tsquery.map(|whole| (format!("{whole}:*"), whole.to_owned()));
            assert_eq!(tsqueries(text), tsquery, "{text:?}");
        }
    }
}
