//! The operator's rules: rulings, block lists, what they change, and what the brake holds.

use super::{Alone, Cause, Postgres, Tx, count, events, signed, sources};
use crate::entry::Entry;
use crate::policy::Ruling;
use crate::rules::Change;
use crate::schedule::Standing;
use crate::store::{HeldChange, Kind, Lease, Rules, StoreError};
use crate::timestamp::Timestamp;
use postgres::Row;
use std::collections::{BTreeSet, HashSet};

/// Most packages that are deleted in one transaction: others wait for their rows meanwhile.
const DELETED_AT_ONCE: u64 = 2_000;

impl Rules for Postgres {
    fn rulings(&mut self) -> Result<Vec<Ruling>, StoreError> {
        self.read(|tx| {
            let rulings = tx.query("SELECT * FROM ruling ORDER BY entry COLLATE \"C\"", &[])?;
            rulings.iter().map(ruling).collect()
        })
    }

    fn rule(&mut self, ruling: &Ruling) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO ruling (entry, allowed, by_whom, ruled_at, why)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (entry) DO UPDATE SET
                     allowed = excluded.allowed, by_whom = excluded.by_whom,
                     ruled_at = excluded.ruled_at, why = excluded.why",
                &[
                    &ruling.entry.to_string(),
                    &ruling.is_allowed,
                    &ruling.by,
                    &ruling.at,
                    &ruling.why,
                ],
            )?;
            events::ruled(tx)
        })
    }

    fn blocked_hosts(&mut self) -> Result<BTreeSet<String>, StoreError> {
        self.read(blocked_hosts)
    }

    fn set_blocked_hosts(&mut self, hosts: &BTreeSet<String>) -> Result<(), StoreError> {
        let before = self.read(blocked_hosts)?;
        if before == *hosts {
            return Ok(());
        }
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        self.write(|tx| {
            tx.lock(Alone::Listing)?;
            tx.execute("DELETE FROM blocked_host", &[])?;
            tx.execute("INSERT INTO blocked_host (host) SELECT unnest($1::text[])", &[&hosts])?;
            events::ruled(tx)
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
            tx.lock(Alone::Listing)?;
            let mut ended = Vec::new();
            for change in changes {
                tx.execute(
                    "UPDATE source SET blocked = $2, standing = $3, due_at = $4,
                         stood_at = CASE WHEN standing = $3 THEN stood_at ELSE $5 END
                     WHERE slug = $1",
                    &[
                        &change.slug,
                        &change.blocked,
                        &change.clock.standing.word(),
                        &change.clock.due_at,
                        &now,
                    ],
                )?;
                // Another arbiter may have forgotten it since it was looked at.
                let polled = "SELECT polled FROM source WHERE slug = $1";
                let Some(row) = tx.maybe(polled, &[&change.slug])? else {
                    continue;
                };
                if change.shown.0 != change.shown.1 {
                    sources::show(tx, &change.slug)?;
                }
                if !row.get::<_, bool>(0) {
                    ended.extend(sources::revoke(tx, &change.slug, now)?);
                }
            }
            for lease in &ended {
                events::over(tx, lease, "the arbiter's rules are against its source now")?;
            }
            events::look(tx)?;
            Ok(ended)
        })
    }

    fn delist(&mut self, slug: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.write(|tx| {
            let done = tx.execute(
                "UPDATE source SET standing = $2, announced = false,
                     stood_at = CASE WHEN standing = $2 THEN stood_at ELSE $3 END
                 WHERE slug = $1 AND listed",
                &[&slug, &Standing::Delisted.word(), &now],
            )?;
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
        self.read(|tx| {
            let held_now = "SELECT * FROM held WHERE decided IS NULL ORDER BY number";
            tx.query(held_now, &[])?.iter().map(held).collect()
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
            let word = if is_accepted { "accepted" } else { "rejected" };
            let decided = tx.maybe(
                "UPDATE held SET decided = $2, decided_by = $3, decided_at = $4
                 WHERE number = $1 RETURNING *",
                &[&signed(number), &word, &by, &now],
            )?;
            decided.as_ref().map(held).transpose()
        })
    }

    fn passed(&mut self, fingerprint: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM held WHERE fingerprint = $1", &[&fingerprint])?;
            Ok(())
        })
    }

    fn clean(&mut self, left: Timestamp, delisted: Timestamp) -> Result<u64, StoreError> {
        self.write(|tx| {
            // One arbiter does it for all.
            if !tx.try_lock(Alone::Cleaning)? {
                return Ok(0);
            }
            let mut gone = tx.execute(
                "DELETE FROM package WHERE id IN
                     (SELECT id FROM package WHERE left_at <= $1 ORDER BY left_at LIMIT $2)",
                &[&left, &signed(DELETED_AT_ONCE)],
            )?;
            // Locked, so that nobody is granted one of them meanwhile.
            let given_up = tx.query(
                "SELECT slug FROM source
                 WHERE standing = 'delisted' AND stood_at <= $1 AND origin_head IS NOT NULL
                 FOR UPDATE SKIP LOCKED",
                &[&delisted],
            )?;
            let leased = tx.query("SELECT slug FROM lease", &[])?;
            let leased: HashSet<&str> = leased.iter().map(|row| row.get(0)).collect();
            for row in &given_up {
                let slug: &str = row.get(0);
                if gone >= DELETED_AT_ONCE {
                    break;
                }
                if !leased.contains(slug) {
                    gone += forget(tx, slug)?;
                }
            }
            Ok(gone)
        })
    }
}

fn blocked_hosts(tx: &mut Tx<'_>) -> Result<BTreeSet<String>, Cause> {
    let hosts = tx.query("SELECT host FROM blocked_host", &[])?;
    Ok(hosts.iter().map(|row| row.get(0)).collect())
}

/// Deletes packages of a source, and with the last of them what is remembered of its files: with
/// nothing of it in the catalogue, nothing of it can be unchanged.
fn forget(tx: &mut Tx<'_>, slug: &str) -> Result<u64, Cause> {
    let gone = tx.execute(
        "DELETE FROM package WHERE id IN
             (SELECT id FROM package WHERE repository_id = $1 LIMIT $2)",
        &[&slug, &signed(DELETED_AT_ONCE)],
    )?;
    if gone < DELETED_AT_ONCE {
        for statement in [
            "DELETE FROM price WHERE slug = $1",
            "UPDATE repository SET package_count = 0, sections = '{}' WHERE id = $1",
            "UPDATE source SET origin_head = NULL, origin_release_path = NULL,
                 origin_etag = NULL, origin_last_modified = NULL, origin_index_path = NULL,
                 origin_index_digest = NULL
             WHERE slug = $1",
        ] {
            tx.execute(statement, &[&slug])?;
        }
    }
    Ok(gone)
}

/// Holds a change, unless it is held or decided already; whether the operator accepted it.
pub(super) fn hold(tx: &mut Tx<'_>, change: &HeldChange) -> Result<bool, Cause> {
    let decided = "SELECT decided FROM held WHERE fingerprint = $1";
    if let Some(row) = tx.maybe(decided, &[&change.fingerprint])? {
        return Ok(row.get::<_, Option<&str>>(0) == Some("accepted"));
    }
    tx.execute(
        "INSERT INTO held (kind, slug, fingerprint, why, held_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (fingerprint) DO NOTHING",
        &[&change.kind.word(), &change.slug, &change.fingerprint, &change.why, &change.held_at],
    )?;
    Ok(false)
}

/// Whether the operator accepted a change.
pub(super) fn is_accepted(tx: &mut Tx<'_>, change: &HeldChange) -> Result<bool, Cause> {
    let accepted = "SELECT FROM held WHERE fingerprint = $1 AND decided = 'accepted'";
    Ok(tx.maybe(accepted, &[&change.fingerprint])?.is_some())
}

fn ruling(row: &Row) -> Result<Ruling, Cause> {
    let entry: &str = row.get("entry");
    Ok(Ruling {
        entry: entry.parse::<Entry>().map_err(|why| Cause::Broken(format!("entry: {why}")))?,
        is_allowed: row.get("allowed"),
        by: row.get("by_whom"),
        at: row.get("ruled_at"),
        why: row.get("why"),
    })
}

fn held(row: &Row) -> Result<HeldChange, Cause> {
    let kind: &str = row.get("kind");
    Ok(HeldChange {
        number: count(row, "number"),
        kind: Kind::from_word(kind).ok_or_else(|| Cause::Broken(format!("kind {kind:?}")))?,
        slug: row.get("slug"),
        fingerprint: row.get("fingerprint"),
        why: row.get("why"),
        held_at: row.get("held_at"),
    })
}
