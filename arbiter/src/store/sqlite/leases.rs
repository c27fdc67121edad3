//! Leases: grant, renew, give back, expire.

use super::{Cause, Once, Sqlite, refused, servers, signed, unsigned};
use crate::politeness::{Distance, May, Operator, may_grant};
use crate::schedule::{self, Due};
use crate::store::{self, ATTEMPTS_KEPT, Grant, Lease, Report, StoreError, Terms, Verdict};
use crate::timestamp::Timestamp;
use canister_protocol::limits::SLOTS_MAX;
use rusqlite::{Connection, OptionalExtension, Row, params};

impl Sqlite {
    pub(in crate::store) fn claim(
        &mut self,
        peer: &str,
        slots: usize,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<Grant>, StoreError> {
        self.write(|tx| {
            let held: i64 = tx
                .prepare_cached("SELECT count(*) FROM lease WHERE peer = ?1")?
                .query_row([peer], |row| row.get(0))?;
            let slots = slots.min(SLOTS_MAX.saturating_sub(held as usize));
            if slots == 0 {
                return Ok(Vec::new());
            }
            let due = due(tx, now)?;
            let (operators, distances) = (servers::operators(tx)?, servers::distances(tx)?);
            let (unknown, near) = (Operator::default(), Distance::default());
            let chosen = schedule::choose(due, slots, |due| {
                let operator = operators.get(&due.operator).unwrap_or(&unknown);
                let distance = distances.get(&due.domain).unwrap_or(&near);
                may_grant(operator, distance, peer, now, &terms.politeness) == May::Grant
            });
            if chosen.is_empty() {
                return Ok(Vec::new());
            }
            store::peers::seen(&mut Once(tx), peer, None, now)?;
            chosen.into_iter().map(|source| grant(tx, peer, &source, now, terms)).collect()
        })
    }

    pub(in crate::store) fn renew(
        &mut self,
        peer: &str,
        tokens: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError> {
        self.write(|tx| {
            store::peers::seen(&mut Once(tx), peer, None, now)?;
            // Never shortened: the clock may have been set back since.
            let mut renew = tx.prepare_cached(
                "UPDATE lease SET expires_at = max(expires_at, ?4)
                 WHERE token = ?1 AND peer = ?2 AND expires_at > ?3",
            )?;
            let expires_at = now.plus(terms.lease);
            let mut held = Vec::with_capacity(tokens.len());
            for &token in tokens {
                let Ok(number) = i64::try_from(token) else {
                    continue;
                };
                if renew.execute(params![number, peer, now, expires_at])? == 1 {
                    held.push(token);
                }
            }
            Ok(held)
        })
    }

    pub(in crate::store) fn give_back(
        &mut self,
        peer: &str,
        token: u64,
        now: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.write(|tx| {
            let lease = held(tx, peer, token, now)?;
            store::peers::seen(&mut Once(tx), peer, None, now)?;
            end(tx, &lease, Verdict::GivenBack, &Report::default(), now)?;
            Ok(lease.lease)
        })
    }

    pub(in crate::store) fn expire(&mut self, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        // Most calls find nothing, and need not take the write lock for it.
        let any: Option<i64> = self.read(|connection| {
            Ok(connection
                .prepare_cached("SELECT 1 FROM lease WHERE expires_at <= ?1 LIMIT 1")?
                .query_row([now], |row| row.get(0))
                .optional()?)
        })?;
        if any.is_none() {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            let over = leases(tx, "expires_at <= ?1", params![now])?;
            for lease in &over {
                end(tx, lease, Verdict::Expired, &Report::default(), now)?;
            }
            Ok(over.into_iter().map(|lease| lease.lease).collect())
        })
    }

    pub(in crate::store) fn revoke(
        &mut self,
        token: u64,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.write(|tx| {
            let Some(lease) = leases(tx, "token = ?1", params![signed(token)])?.pop() else {
                return Ok(None);
            };
            end(tx, &lease, Verdict::Revoked, &Report::default(), now)?;
            Ok(Some(lease.lease))
        })
    }

    pub(in crate::store) fn bring_forward(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached("UPDATE lease SET expires_at = ?1 WHERE expires_at > ?1")?
                .execute([now.plus(terms.lease)])?;
            servers::regroup(tx)?;
            for state in store::sources::all(&mut Once(tx))? {
                let latest = terms.polls.of(&state.source).latest(now);
                if state.due_at > latest {
                    tx.prepare_cached("UPDATE source SET due_at = ?2 WHERE slug = ?1")?
                        .execute(params![state.source.slug, latest])?;
                }
            }
            Ok(())
        })
    }

    pub(in crate::store) fn held_by(
        &mut self,
        peer: &str,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM lease WHERE peer = ?1 AND expires_at > ?2 ORDER BY token",
            )?;
            let leases = statement.query_map(params![peer, now], read)?;
            Ok(leases.map(|lease| lease.map(|lease| lease.lease)).collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::store) fn next_deadline(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let welcome = servers::next_welcome(connection, now, &terms.politeness)?;
            let mut statement = connection.prepare_cached(
                "SELECT min(moment) FROM (
                     SELECT min(expires_at) AS moment FROM lease
                     UNION ALL
                     SELECT min(due_at) FROM source WHERE polled AND due_at > ?1)",
            )?;
            let next: Option<Timestamp> = statement.query_row([now], |row| row.get(0))?;
            Ok(next.into_iter().chain(welcome).min())
        })
    }
}

/// A lease's row.
pub(super) struct Held {
    pub(super) lease: Lease,
    /// The token as the tables have it.
    pub(super) number: i64,
    operator: String,
    pub(super) put: u64,
    pub(super) put_bytes: u64,
    pub(super) dropped: u64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Held> {
    let number: i64 = row.get("token")?;
    Ok(Held {
        lease: Lease {
            token: unsigned(number),
            slug: row.get("slug")?,
            peer: row.get("peer")?,
            granted_at: row.get("granted_at")?,
            expires_at: row.get("expires_at")?,
        },
        number,
        operator: row.get("operator")?,
        put: super::count(row, "put")?,
        put_bytes: super::count(row, "put_bytes")?,
        dropped: super::count(row, "dropped")?,
    })
}

pub(super) fn leases(
    tx: &Connection,
    condition: &'static str,
    values: impl rusqlite::Params,
) -> Result<Vec<Held>, Cause> {
    let sql = format!("SELECT * FROM lease WHERE {condition} ORDER BY token");
    let mut statement = tx.prepare_cached(&sql)?;
    let leases = statement.query_map(values, read)?;
    Ok(leases.collect::<Result<_, _>>()?)
}

/// The lease `token`, if `peer` holds it. Every verb of a peer begins here.
pub(super) fn held(tx: &Connection, peer: &str, token: u64, now: Timestamp) -> Result<Held, Cause> {
    let lease = leases(
        tx,
        "token = ?1 AND peer = ?2 AND expires_at > ?3",
        params![signed(token), peer, now],
    )?
    .pop();
    match lease {
        Some(lease) if lease.lease.token == token => Ok(lease),
        _ => refused(format!("lease {token} is over, or was never this peer's")),
    }
}

fn due(tx: &Connection, now: Timestamp) -> Result<Vec<Due>, Cause> {
    let mut statement = tx.prepare_cached(
        "SELECT slug, operator, domain, due_at, announced, last_contact IS NOT NULL, ranking
         FROM source
         WHERE polled AND due_at <= ?1
           AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.slug = source.slug)",
    )?;
    let due = statement.query_map([now], |row| {
        Ok(Due {
            slug: row.get(0)?,
            operator: row.get(1)?,
            domain: row.get(2)?,
            due_at: row.get(3)?,
            is_announced: row.get(4)?,
            is_known: row.get(5)?,
            ranking: row.get(6)?,
        })
    })?;
    Ok(due.collect::<Result<_, _>>()?)
}

fn grant(
    tx: &Connection,
    peer: &str,
    source: &Due,
    now: Timestamp,
    terms: &Terms,
) -> Result<Grant, Cause> {
    let expires_at = now.plus(terms.lease);
    tx.prepare_cached(
        "INSERT INTO lease (slug, operator, peer, granted_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![source.slug, source.operator, peer, now, expires_at])?;
    let token = unsigned(tx.last_insert_rowid());
    tx.prepare_cached("UPDATE peer SET granted = granted + 1 WHERE name = ?1")?.execute([peer])?;
    let remembered = store::sources::one(&mut Once(tx), &source.slug)?;
    Ok(Grant { token, source: remembered.source, origin: remembered.origin, expires_at })
}

/// Ends the lease of a source, if there is one.
pub(super) fn revoke_of(
    tx: &Connection,
    slug: &str,
    now: Timestamp,
) -> Result<Option<Lease>, Cause> {
    let Some(held) = leases(tx, "slug = ?1", [slug])?.pop() else {
        return Ok(None);
    };
    end(tx, &held, Verdict::Revoked, &Report::default(), now)?;
    Ok(Some(held.lease))
}

/// Ends a lease: the only place where one goes, with what is staged under it.
pub(super) fn end(
    tx: &Connection,
    held: &Held,
    verdict: Verdict,
    report: &Report<'_>,
    now: Timestamp,
) -> Result<(), Cause> {
    let lease = &held.lease;
    let Report { cost, counts, error } = report;
    tx.prepare_cached(
        "INSERT INTO attempt (slug, token, peer, started, ended, verdict, requests, bytes_fetched,
             bytes_plain, millis, packages, put, dropped, skipped, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        lease.slug,
        held.number,
        lease.peer,
        lease.granted_at,
        now,
        verdict.words(),
        signed(cost.requests),
        signed(cost.bytes_fetched),
        signed(cost.bytes_plain),
        signed(cost.millis),
        signed(counts.packages),
        signed(held.put),
        signed(held.dropped),
        signed(counts.skipped),
        error,
    ])?;
    tx.prepare_cached(
        "DELETE FROM attempt WHERE slug = ?1 AND number <=
             (SELECT number FROM attempt WHERE slug = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![lease.slug, ATTEMPTS_KEPT])?;

    tx.prepare_cached("DELETE FROM lease WHERE token = ?1")?.execute([held.number])?;
    tx.prepare_cached(
        "INSERT INTO operator (name, last_lease_ended)
         SELECT ?1, ?2 UNION SELECT operator, ?2 FROM source WHERE slug = ?3
         ON CONFLICT (name) DO UPDATE SET last_lease_ended = excluded.last_lease_ended",
    )?
    .execute(params![held.operator, now, lease.slug])?;
    let counter = match verdict {
        Verdict::Expired => "expired",
        Verdict::GivenBack => "given_back",
        Verdict::Held | Verdict::Indexed | Verdict::Unchanged => "finished",
        Verdict::PeerFailed | Verdict::SentAway | Verdict::SourceFailed => "failed",
        Verdict::Revoked => "revoked",
    };
    let count = format!("UPDATE peer SET {counter} = {counter} + 1 WHERE name = ?1");
    tx.prepare_cached(&count)?.execute([&lease.peer])?;
    store::discoveries::give_up(&mut Once(tx), &lease.slug, now)
}
