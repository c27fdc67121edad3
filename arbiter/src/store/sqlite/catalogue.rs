//! The catalogue, read: search and counts. Works in another process beside the arbiter.

use super::{Sqlite, count, signed};
use crate::store::{Counts, Found, StoreError};
use crate::timestamp::Timestamp;
use rusqlite::params;

/// Words of a search that count; the others are left out.
const WORDS_MAX: usize = 16;

impl Sqlite {
    pub(in crate::store) fn search(
        &mut self,
        text: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let Some(query) = query(text) else {
            return Ok(Vec::new());
        };
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT package.* FROM package_search
                 JOIN package ON package.number = package_search.rowid
                 WHERE package_search MATCH ?1
                 ORDER BY bm25(package_search, 10, 10, 4, 1), quality, package.package_id, id
                 LIMIT ?2",
            )?;
            let found = statement.query_map(params![query, signed(limit as u64)], |row| {
                Ok(Found {
                    id: row.get("id")?,
                    package_id: row.get("package_id")?,
                    name: row.get("name")?,
                    version: row.get("version")?,
                    architecture: row.get("architecture")?,
                    repository_id: row.get("repository_id")?,
                    description: row.get("description")?,
                    author: row.get("author")?,
                    section: row.get("section")?,
                    price: row.get("price")?,
                })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::store) fn counts(&mut self, now: Timestamp) -> Result<Counts, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT
                     count(*) FILTER (WHERE listed) AS sources,
                     count(*) FILTER (WHERE NOT shown AND (discovery IS NULL OR discovery = 'approved')) AS hidden,
                     count(*) FILTER (WHERE polled AND due_at <= ?1
                         AND slug NOT IN (SELECT slug FROM lease)) AS due,
                     (SELECT count(*) FROM lease) AS leased,
                     count(*) FILTER (WHERE listed AND failures > 0) AS failing,
                     count(*) FILTER (WHERE listed AND last_contact IS NULL) AS never_indexed,
                     (SELECT ifnull(sum(package_count), 0) FROM repository) AS packages,
                     (SELECT ifnull(sum(package_count), 0) FROM repository WHERE visible)
                         AS visible,
                     (SELECT count(*) FROM peer) AS peers
                 FROM source",
            )?;
            Ok(statement.query_row([now], |row| {
                Ok(Counts {
                    sources: count(row, "sources")?,
                    hidden: count(row, "hidden")?,
                    due: count(row, "due")?,
                    leased: count(row, "leased")?,
                    failing: count(row, "failing")?,
                    never_indexed: count(row, "never_indexed")?,
                    packages: count(row, "packages")?,
                    visible: count(row, "visible")?,
                    peers: count(row, "peers")?,
                })
            })?)
        })
    }
}

/// The words of `text` as a query of FTS5 that means nothing else; `None` where there are none. A
/// word with dots or dashes in it is found where its parts follow each other.
fn query(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control() || c == '"')
        .filter(|word| word.contains(char::is_alphanumeric))
        .take(WORDS_MAX)
        .collect();
    let (last, others) = words.split_last()?;
    let others: String = others.iter().map(|word| format!("\"{word}\" AND ")).collect();
    // Both, so that the whole word ranks before its continuations.
    Some(format!("{others}(\"{last}\" OR \"{last}\"*)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_query_of_words() {
        for (text, expected) in [
            ("", None),
            (" -*\"():^", None),
            ("Text", Some(r#"("Text" OR "Text"*)"#)),
            ("a OR\"b", Some(r#""a" AND "OR" AND ("b" OR "b"*)"#)),
            ("org.x-y \0 .", Some(r#"("org.x-y" OR "org.x-y"*)"#)),
            ("é中", Some(r#"("é中" OR "é中"*)"#)),
        ] {
            assert_eq!(query(text).as_deref(), expected, "{text:?}");
        }
    }
}
