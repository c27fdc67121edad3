//! The catalogue, read: search and counts. Works in another process beside the arbiter.

use super::{Postgres, count, signed};
use crate::store::{Counts, Found, StoreError};
use crate::timestamp::Timestamp;

/// Words of a search that count; the others are left out.
const WORDS_MAX: usize = 16;

impl Postgres {
    pub(in crate::store) fn search(
        &mut self,
        text: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let Some((whole, begun)) = queries(text) else {
            return Ok(Vec::new());
        };
        self.read(|tx| {
            let found = tx.query(
                "SELECT id, package_id, name, version, architecture, repository_id, description,
                     author, section, price
                 FROM package, to_tsquery('simple', $1) AS begun, to_tsquery('simple', $2) AS whole
                 WHERE search_vector @@ begun AND visible AND latest_version
                 ORDER BY ts_rank('{0.1, 0.1, 0.4, 1.0}', search_vector, begun, 1)
                         + ts_rank('{0.1, 0.1, 0.4, 1.0}', search_vector, whole, 1) DESC, quality,
                     package_id COLLATE \"C\", id COLLATE \"C\"
                 LIMIT $3",
                &[&begun, &whole, &signed(limit as u64)],
            )?;
            Ok(found
                .iter()
                .map(|row| Found {
                    id: row.get("id"),
                    package_id: row.get("package_id"),
                    name: row.get("name"),
                    version: row.get("version"),
                    architecture: row.get("architecture"),
                    repository_id: row.get("repository_id"),
                    description: row.get("description"),
                    author: row.get("author"),
                    section: row.get("section"),
                    price: row.get("price"),
                })
                .collect())
        })
    }

    pub(in crate::store) fn counts(&mut self, now: Timestamp) -> Result<Counts, StoreError> {
        self.read(|tx| {
            let row = tx.one(
                "SELECT
                     count(*) FILTER (WHERE listed) AS sources,
                     count(*) FILTER (WHERE NOT shown
                         AND (discovery IS NULL OR discovery = 'approved')) AS hidden,
                     count(*) FILTER (WHERE polled AND due_at <= $1
                         AND slug NOT IN (SELECT slug FROM lease)) AS due,
                     (SELECT count(*) FROM lease) AS leased,
                     count(*) FILTER (WHERE listed AND failures > 0) AS failing,
                     count(*) FILTER (WHERE listed AND last_contact IS NULL) AS never_indexed,
                     (SELECT coalesce(sum(package_count), 0)::bigint FROM repository) AS packages,
                     (SELECT coalesce(sum(package_count), 0)::bigint FROM repository
                         WHERE visible) AS visible,
                     (SELECT count(*) FROM peer) AS peers
                 FROM source",
                &[&now],
            )?;
            Ok(Counts {
                sources: count(&row, "sources"),
                hidden: count(&row, "hidden"),
                due: count(&row, "due"),
                leased: count(&row, "leased"),
                failing: count(&row, "failing"),
                never_indexed: count(&row, "never_indexed"),
                packages: count(&row, "packages"),
                visible: count(&row, "visible"),
                peers: count(&row, "peers"),
            })
        })
    }
}

/// The words of `text` as two tsqueries that mean nothing else; `None` where there are none. For
/// the first all words must be there, for the second the last one may be the beginning of a word.
/// Both count, so that the whole word ranks before its continuations.
fn queries(text: &str) -> Option<(String, String)> {
    // In quotes a word is parsed as the texts were; a quote or backslash ends none.
    let words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| word.contains(char::is_alphanumeric))
        .take(WORDS_MAX)
        .map(|word| format!("'{}'", word.replace(['\'', '\\'], " ")))
        .collect();
    let whole = words.join(" & ");
    (!words.is_empty()).then(|| (whole.clone(), whole + ":*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_query_of_words() {
        for (text, expected) in [
            ("", None),
            (" -*\"():^", None),
            ("Text", Some("'Text'")),
            ("a | b\\'c", Some("'a' & 'b  c'")),
            ("org.x-y \0 .", Some("'org.x-y'")),
        ] {
            let expected = expected.map(|whole| (whole.to_owned(), format!("{whole}:*")));
            assert_eq!(queries(text), expected, "{text:?}");
        }
    }
}
