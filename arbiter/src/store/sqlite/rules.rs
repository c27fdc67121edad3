//! The operator's rules: rulings, block lists, what they change, and what the brake holds.

use super::{Cause, Sqlite, sources};
use crate::entry::Entry;
use crate::policy::Ruling;
use crate::rules::Change;
use crate::schedule::Standing;
use crate::store::{HeldChange, Kind, Lease, Rules, StoreError};
use crate::timestamp::Timestamp;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::collections::BTreeSet;

impl Rules for Sqlite {
    fn rulings(&mut self) -> Result<Vec<Ruling>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM ruling ORDER BY entry")?;
            let rulings = statement.query_map([], |row| {
                let entry: String = row.get("entry")?;
                Ok(Ruling {
                    entry: entry.parse::<Entry>().map_err(|why| odd(row, "entry", why))?,
                    is_allowed: row.get("allowed")?,
                    by: row.get("by_whom")?,
                    at: row.get("ruled_at")?,
                    why: row.get("why")?,
                })
            })?;
            Ok(rulings.collect::<Result<_, _>>()?)
        })
    }

    fn rule(&mut self, ruling: &Ruling) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO ruling (entry, allowed, by_whom, ruled_at, why)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                ruling.entry.to_string(),
                ruling.is_allowed,
                ruling.by,
                ruling.at,
                ruling.why
            ])?;
            Ok(())
        })
    }

    fn blocked_hosts(&mut self) -> Result<BTreeSet<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT host FROM blocked_host")?;
            let hosts = statement.query_map([], |row| row.get(0))?;
            Ok(hosts.collect::<Result<_, _>>()?)
        })
    }

    fn set_blocked_hosts(&mut self, hosts: &BTreeSet<String>) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM blocked_host", [])?;
            let mut insert = tx.prepare_cached("INSERT INTO blocked_host (host) VALUES (?1)")?;
            for host in hosts {
                insert.execute([host])?;
            }
            Ok(())
        })
    }

    fn apply_changes(
        &mut self,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            let mut ended = Vec::new();
            for change in changes {
                tx.prepare_cached(
                    "UPDATE source SET blocked = ?2, standing = ?3, due_at = ?4,
                         stood_at = iif(standing = ?3, stood_at, ?5)
                     WHERE slug = ?1",
                )?
                .execute(params![
                    change.slug,
                    change.blocked,
                    change.clock.standing.word(),
                    change.clock.due_at,
                    now
                ])?;
                if change.shown.0 != change.shown.1 {
                    sources::show(tx, &change.slug)?;
                }
                let is_polled: bool = tx
                    .prepare_cached("SELECT polled FROM source WHERE slug = ?1")?
                    .query_row([&change.slug], |row| row.get(0))?;
                if !is_polled {
                    ended.extend(sources::revoke(tx, &change.slug, now)?);
                }
            }
            Ok(ended)
        })
    }

    fn delist(&mut self, slug: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.write(|tx| {
            let done = tx
                .prepare_cached(
                    "UPDATE source SET standing = ?2, announced = 0,
                         stood_at = iif(standing = ?2, stood_at, ?3)
                     WHERE slug = ?1 AND listed",
                )?
                .execute(params![slug, Standing::Delisted.word(), now])?;
            if done == 1 {
                sources::show(tx, slug)?;
            }
            Ok(done == 1)
        })
    }

    fn hold(&mut self, change: &HeldChange) -> Result<bool, StoreError> {
        self.write(|tx| hold(tx, change))
    }

    fn held(&mut self) -> Result<Vec<HeldChange>, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT * FROM held WHERE decided IS NULL ORDER BY number")?;
            let held = statement.query_map([], held)?;
            Ok(held.collect::<Result<_, _>>()?)
        })
    }

    fn decide(
        &mut self,
        number: u64,
        is_accepted: bool,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<HeldChange>, StoreError> {
        self.write(|tx| {
            let number = super::signed(number);
            let found = tx
                .prepare_cached("SELECT * FROM held WHERE number = ?1")?
                .query_row([number], held)
                .optional()?;
            let word = if is_accepted { "accepted" } else { "rejected" };
            tx.prepare_cached(
                "UPDATE held SET decided = ?2, decided_by = ?3, decided_at = ?4 WHERE number = ?1",
            )?
            .execute(params![number, word, by, now])?;
            Ok(found)
        })
    }

    fn passed(&mut self, fingerprint: &str) -> Result<(), StoreError> {
        self.write(|tx| passed(tx, fingerprint))
    }

    fn clean(&mut self, left: Timestamp, delisted: Timestamp) -> Result<u64, StoreError> {
        /// Most packages that are deleted in one transaction: others wait for the store meanwhile.
        const AT_ONCE: u32 = 2_000;
        self.write(|tx| {
            let mut gone = tx
                .prepare_cached(
                    "DELETE FROM package WHERE number IN
                         (SELECT number FROM package WHERE left_at <= ?1 ORDER BY left_at LIMIT ?2)",
                )?
                .execute(params![left, AT_ONCE])?;
            let slugs: Vec<String> = {
                let mut statement = tx.prepare_cached(
                    "SELECT slug FROM source
                     WHERE standing = 'delisted' AND stood_at <= ?1 AND origin_head IS NOT NULL
                       AND slug NOT IN (SELECT slug FROM lease)",
                )?;
                let slugs = statement.query_map([delisted], |row| row.get(0))?;
                slugs.collect::<Result<_, _>>()?
            };
            for slug in slugs {
                if gone >= AT_ONCE as usize {
                    break;
                }
                let of_it = tx
                    .prepare_cached(
                        "DELETE FROM package WHERE number IN
                             (SELECT number FROM package WHERE repository_id = ?1 LIMIT ?2)",
                    )?
                    .execute(params![slug, AT_ONCE])?;
                gone += of_it;
                if of_it < AT_ONCE as usize {
                    tx.prepare_cached("DELETE FROM price WHERE slug = ?1")?
                        .execute([&slug])?;
                    tx.prepare_cached(
                        "UPDATE repository SET package_count = 0, sections = '[]' WHERE id = ?1",
                    )?
                    .execute([&slug])?;
                    // What is remembered of its files goes, too: with nothing of it in the
                    // catalogue, nothing of it can be unchanged.
                    tx.prepare_cached(
                        "UPDATE source SET origin_head = NULL, origin_release_path = NULL,
                             origin_etag = NULL, origin_last_modified = NULL,
                             origin_index_path = NULL, origin_index_digest = NULL
                         WHERE slug = ?1",
                    )?
                    .execute([&slug])?;
                }
            }
            Ok(gone as u64)
        })
    }
}

/// Holds a change, unless it is held or decided already; whether the operator accepted it.
pub(super) fn hold(tx: &Transaction<'_>, change: &HeldChange) -> Result<bool, Cause> {
    tx.prepare_cached(
        "INSERT INTO held (kind, slug, fingerprint, why, held_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (fingerprint) DO NOTHING",
    )?
    .execute(params![
        change.kind.word(),
        change.slug,
        change.fingerprint,
        change.why,
        change.held_at
    ])?;
    let decided: Option<String> = tx
        .prepare_cached("SELECT decided FROM held WHERE fingerprint = ?1")?
        .query_row([&change.fingerprint], |row| row.get(0))?;
    Ok(decided.as_deref() == Some("accepted"))
}

/// Forgets a held change: it was made, and may be held again when it comes again.
pub(super) fn passed(tx: &Transaction<'_>, fingerprint: &str) -> Result<(), Cause> {
    tx.prepare_cached("DELETE FROM held WHERE fingerprint = ?1")?.execute([fingerprint])?;
    Ok(())
}

fn held(row: &Row<'_>) -> rusqlite::Result<HeldChange> {
    let kind: String = row.get("kind")?;
    Ok(HeldChange {
        number: super::count(row, "number")?,
        kind: Kind::from_word(&kind).ok_or_else(|| odd(row, "kind", kind))?,
        slug: row.get("slug")?,
        fingerprint: row.get("fingerprint")?,
        why: row.get("why")?,
        held_at: row.get("held_at")?,
    })
}

/// A text that only this program writes, and never so.
fn odd(row: &Row<'_>, column: &str, why: String) -> rusqlite::Error {
    let column = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}
