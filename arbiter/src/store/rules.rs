//! What the operator ruled, what that changes, and what the brake holds.

use super::postgres::events::Event;
use super::sql::{Alone, Cause, Row, Tx, first, read, sql, values};
use super::{HeldChange, Lease, Store, StoreError, leases, sources};
use crate::entry::Entry;
use crate::policy::Ruling;
use crate::rules::Change;
use crate::schedule::Standing;
use crate::timestamp::Timestamp;
use std::collections::{BTreeSet, HashSet};

/// Most packages that are deleted in one transaction: others wait meanwhile.
const DELETED_AT_ONCE: u64 = 2_000;

impl Store {
    /// All rulings, by entry.
    pub fn rulings(&mut self) -> Result<Vec<Ruling>, StoreError> {
        self.read(|tx| tx.query("SELECT * FROM ruling ORDER BY entry COLLATE \"C\"", &[], ruling))
    }

    /// Keeps a ruling in place of any other of its entry. It changes no source by itself.
    pub fn rule(&mut self, ruling: &Ruling) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO ruling (entry, allowed, by_whom, ruled_at, why)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (entry) DO UPDATE SET
                     allowed = excluded.allowed, by_whom = excluded.by_whom,
                     ruled_at = excluded.ruled_at, why = excluded.why",
                values![
                    ruling.entry.to_string(),
                    ruling.is_allowed,
                    &ruling.by,
                    ruling.at,
                    &ruling.why,
                ],
            )?;
            tx.tell(Event::Ruled)
        })
    }

    /// The hosts of the block lists as they were last kept.
    pub fn blocked_hosts(&mut self) -> Result<BTreeSet<String>, StoreError> {
        self.read(|tx| tx.query("SELECT host FROM blocked_host", &[], first))
    }

    /// Keeps these instead. It changes no source by itself.
    pub fn set_blocked_hosts(&mut self, hosts: &BTreeSet<String>) -> Result<(), StoreError> {
        if self.blocked_hosts()? == *hosts {
            return Ok(());
        }
        let hosts: Vec<String> = hosts.iter().cloned().collect();
        self.write(|tx| {
            tx.lock(Alone::Listing)?;
            tx.execute("DELETE FROM blocked_host", &[])?;
            tx.execute(
                sql!(
                    "INSERT INTO blocked_host (host) SELECT "
                        ["value FROM json_each($1)" | "unnest($1::text[])"]
                ),
                values![&hosts],
            )?;
            tx.tell(Event::Ruled)
        })
    }

    /// Blocks, deactivates and delists sources as these changes say, or takes that back; hides and
    /// shows them in the catalogue. Returns the leases that it ended: of sources that are to be
    /// asked no more.
    ///
    /// **Repeated**: the same again, with no lease left to end.
    pub fn apply_changes(
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
                    values![
                        &change.slug,
                        &change.blocked,
                        change.clock.standing.word(),
                        change.clock.due_at,
                        now,
                    ],
                )?;
                // Another arbiter may have forgotten it since it was looked at.
                let polled = "SELECT polled FROM source WHERE slug = $1";
                let Some(is_polled) = tx.maybe(polled, values![&change.slug], first::<bool>)?
                else {
                    continue;
                };
                if change.shown.0 != change.shown.1 {
                    sources::show(tx, &change.slug)?;
                }
                if !is_polled {
                    ended.extend(leases::revoke(tx, &change.slug, now)?);
                }
            }
            for lease in &ended {
                tx.tell(Event::over(lease, "the arbiter's rules are against its source now"))?;
            }
            tx.tell(Event::Look)?;
            Ok(ended)
        })
    }

    /// Delists a listed source at once; whether there is one. A lease of it goes on, and brings it
    /// back if it makes contact.
    pub fn delist(&mut self, slug: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.write(|tx| {
            let done = tx.execute(
                "UPDATE source SET standing = $2, announced = false,
                     stood_at = CASE WHEN standing = $2 THEN stood_at ELSE $3 END
                 WHERE slug = $1 AND listed",
                values![slug, Standing::Delisted.word(), now],
            )?;
            if done == 1 {
                sources::show(tx, slug)?;
            }
            Ok(done == 1)
        })
    }

    /// Holds a change for the operator, unless one of its fingerprint is held or decided already;
    /// whether it was accepted, and may be made.
    pub fn hold(&mut self, change: &HeldChange) -> Result<bool, StoreError> {
        self.write(|tx| hold(tx, change))
    }

    /// The changes that wait for the operator, oldest first.
    pub fn held(&mut self) -> Result<Vec<HeldChange>, StoreError> {
        let waiting = "SELECT * FROM held WHERE decided IS NULL ORDER BY number";
        self.read(|tx| tx.query(waiting, &[], held))
    }

    /// Keeps what the operator decided of a held change, and returns it; `None` if there is none of
    /// that number. It makes no change by itself.
    pub fn decide(
        &mut self,
        number: u64,
        is_accepted: bool,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<HeldChange>, StoreError> {
        let word = if is_accepted { "accepted" } else { "rejected" };
        self.write(|tx| {
            tx.maybe(
                "UPDATE held SET decided = $2, decided_by = $3, decided_at = $4
                 WHERE number = $1 RETURNING *",
                values![number, word, by, now],
                held,
            )
        })
    }

    /// Forgets a held change that was made: the next of its kind is held again.
    pub fn passed(&mut self, fingerprint: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM held WHERE fingerprint = $1", values![fingerprint])?;
            Ok(())
        })
    }

    /// Deletes packages that left at `left` or before, and all that is left of sources that were
    /// delisted at `delisted` or before, but a few thousand packages at most; how many. To be
    /// called again until there are none.
    pub fn clean(&mut self, left: Timestamp, delisted: Timestamp) -> Result<u64, StoreError> {
        self.write(|tx| {
            // One arbiter does it for all.
            if !tx.try_lock(Alone::Cleaning)? {
                return Ok(0);
            }
            let mut gone = tx.execute(
                "DELETE FROM package WHERE id IN
                     (SELECT id FROM package WHERE left_at <= $1 ORDER BY left_at LIMIT $2)",
                values![left, DELETED_AT_ONCE],
            )?;
            // Locked, so that nobody is granted one of them meanwhile.
            let given_up: Vec<String> = tx.query(
                sql!(
                    "SELECT slug FROM source
                      WHERE standing = 'delisted' AND stood_at <= $1 AND origin_head IS NOT NULL"
                        ["" | " FOR UPDATE SKIP LOCKED"]
                ),
                values![delisted],
                first,
            )?;
            let leased: HashSet<String> = tx.query("SELECT slug FROM lease", &[], first)?;
            for slug in given_up {
                if gone >= DELETED_AT_ONCE {
                    break;
                }
                if !leased.contains(&slug) {
                    gone += forget(tx, &slug)?;
                }
            }
            Ok(gone)
        })
    }
}

/// Deletes packages of a source, and with the last of them what is remembered of its files: with
/// nothing of it in the catalogue, nothing of it can be unchanged.
fn forget(tx: &mut dyn Tx, slug: &str) -> Result<u64, Cause> {
    let gone = tx.execute(
        "DELETE FROM package WHERE id IN
             (SELECT id FROM package WHERE repository_id = $1 LIMIT $2)",
        values![slug, DELETED_AT_ONCE],
    )?;
    if gone < DELETED_AT_ONCE {
        tx.execute("DELETE FROM price WHERE slug = $1", values![slug])?;
        tx.execute(
            "UPDATE repository SET package_count = 0, sections = $2 WHERE id = $1",
            values![slug, Vec::<String>::new()],
        )?;
        tx.execute(
            "UPDATE source SET names = 0, origin_head = NULL, origin_release_path = NULL,
                 origin_etag = NULL, origin_last_modified = NULL, origin_index_path = NULL,
                 origin_index_digest = NULL
             WHERE slug = $1",
            values![slug],
        )?;
    }
    Ok(gone)
}

/// Holds a change, unless it is held or decided already; whether the operator accepted it.
pub(super) fn hold(tx: &mut dyn Tx, change: &HeldChange) -> Result<bool, Cause> {
    // Looked at first: an insert that conflicts takes a number all the same.
    let decided = "SELECT decided FROM held WHERE fingerprint = $1";
    let decided = tx.maybe(decided, values![&change.fingerprint], first::<Option<String>>)?;
    if let Some(decided) = decided {
        return Ok(decided.as_deref() == Some("accepted"));
    }
    tx.execute(
        "INSERT INTO held (kind, slug, fingerprint, why, held_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (fingerprint) DO NOTHING",
        values![
            change.kind.word(),
            &change.slug,
            &change.fingerprint,
            &change.why,
            change.held_at,
        ],
    )?;
    Ok(false)
}

fn ruling(row: Row<'_>) -> Result<Ruling, Cause> {
    let entry: String = row.get("entry")?;
    Ok(Ruling {
        entry: entry.parse::<Entry>().map_err(|why| Cause::Broken(format!("entry: {why}")))?,
        is_allowed: row.get("allowed")?,
        by: row.get("by_whom")?,
        at: row.get("ruled_at")?,
        why: row.get("why")?,
    })
}

fn held(row: Row<'_>) -> Result<HeldChange, Cause> {
    read!(row => HeldChange { number, kind, slug, fingerprint, why, held_at })
}
