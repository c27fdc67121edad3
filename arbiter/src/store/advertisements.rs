//! The chain of advertisements: one a publication, in the order of their numbers, each written once.

use super::sql::{Alone, first, values};
use super::{Store, StoreError};
use crate::rules::advertisement::{Advertised, PublisherKey, entries};

/// Most that are added at once: others that write wait meanwhile on SQLite.
const ADDED_AT_ONCE: u64 = 100;

impl Store {
    /// Adds advertisements of publications that have none, of sources that are shown; whether there may be more.
    ///
    /// **Repeated**: the same again, for nothing.
    pub fn advertise(&mut self, key: &PublisherKey) -> Result<bool, StoreError> {
        let new = "SELECT number, published_at, publication.slug AS slug, uri, head
             FROM publication JOIN source ON source.slug = publication.slug
             WHERE number > (SELECT coalesce(max(number), 0) FROM advertisement) AND source.shown
             ORDER BY number LIMIT $1";
        // Most looks find nothing, and nobody waits for them.
        let next: Option<u64> = self.read(|tx| tx.maybe(new, values![1_u64], first))?;
        if next.is_none() {
            return Ok(false);
        }
        self.write(|tx| {
            tx.lock(Alone::Advertising)?;
            let newest = "SELECT cid FROM advertisement ORDER BY number DESC LIMIT 1";
            let mut previous: Option<String> = tx.maybe(newest, &[], first)?;
            let publications: Vec<Advertised> = tx.query(new, values![ADDED_AT_ONCE], |row| {
                Ok(Advertised {
                    number: row.get("number")?,
                    published_at: row.get("published_at")?,
                    slug: row.get("slug")?,
                    uri: row.get("uri")?,
                    head: row.get("head")?,
                })
            })?;
            for of in &publications {
                // An address that isn't one was never published from.
                let Ok((block, chunk)) = key.advertisement(previous.as_deref(), of) else {
                    continue;
                };
                tx.execute(
                    "INSERT INTO advertisement (number, cid, body, entries, head)
                     VALUES ($1, $2, $3, $4, $5)",
                    values![of.number, &block.cid, &block.text, &chunk.cid, &of.head],
                )?;
                previous = Some(block.cid);
            }
            Ok(publications.len() as u64 == ADDED_AT_ONCE)
        })
    }

    /// The Cid of the newest advertisement.
    pub fn newest_advertisement(&mut self) -> Result<Option<String>, StoreError> {
        let newest = "SELECT cid FROM advertisement ORDER BY number DESC LIMIT 1";
        self.read(|tx| tx.maybe(newest, &[], first))
    }

    /// The advertisement or entry chunk of this Cid.
    pub fn block(&mut self, cid: &str) -> Result<Option<String>, StoreError> {
        self.read(|tx| {
            let body = "SELECT body FROM advertisement WHERE cid = $1";
            if let Some(body) = tx.maybe(body, values![cid], first)? {
                return Ok(Some(body));
            }
            let head = "SELECT head FROM advertisement WHERE entries = $1 LIMIT 1";
            let head: Option<String> = tx.maybe(head, values![cid], first)?;
            Ok(head.map(|head| entries(&head).text))
        })
    }
}
