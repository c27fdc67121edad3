//! Leases: grant, renew, give back, expire.
//!
//! Several arbiters may look at one due source at the same moment. Whoever locks the operator's
//! row grants; the others pass on to the next source. That there is never a second lease of a
//! source or an operator is the lease table's own law.

use super::{Alone, Cause, Postgres, Tx, count, events, refused, servers, signed, sql, unsigned};
use crate::politeness::{Distance, May, Operator, Politeness, may_grant};
use crate::schedule::{self, Due};
use crate::store::{self, ATTEMPTS_KEPT, Grant, Lease, Report, StoreError, Terms, Verdict};
use crate::timestamp::Timestamp;
use canister_protocol::limits::SLOTS_MAX;
use postgres::Row;
use std::collections::HashSet;

/// How many more sources than slots are tried, because other arbiters may be granting the first.
const TRIED_MORE: usize = 32;

impl Postgres {
    pub(in crate::store) fn claim(
        &mut self,
        peer: &str,
        slots: usize,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<Grant>, StoreError> {
        // Most calls find nothing, and need not write for it.
        let welcome = self.read(|tx| welcome(tx, peer, now, &terms.politeness))?;
        if welcome.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            // One claim a peer at a time, or its leases could be too many.
            store::peers::seen(tx, peer, None, now)?;
            let held = tx.one("SELECT count(*) FROM lease WHERE peer = $1", &[&peer])?;
            let held = usize::try_from(held.get::<_, i64>(0)).unwrap_or(usize::MAX);
            let slots = slots.min(SLOTS_MAX.saturating_sub(held));
            if slots == 0 {
                return Ok(Vec::new());
            }
            let tried = slots.saturating_add(TRIED_MORE);
            let chosen = schedule::choose(welcome.clone(), tried, |_| true);
            let mut grants = Vec::new();
            for source in chosen {
                if grants.len() == slots {
                    break;
                }
                grants.extend(grant(tx, peer, &source, now, terms)?);
            }
            Ok(grants)
        })
    }

    pub(in crate::store) fn renew(
        &mut self,
        peer: &str,
        tokens: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError> {
        let numbers: Vec<i64> = tokens.iter().filter_map(|&t| i64::try_from(t).ok()).collect();
        let held = self.write(|tx| {
            // Never shortened: the clock may have been set back since.
            let renewed = tx.query(
                "UPDATE lease SET expires_at = greatest(expires_at, $4)
                 WHERE token = ANY ($1) AND peer = $2 AND expires_at > $3
                 RETURNING token",
                &[&numbers, &peer, &now, &now.plus(terms.lease)],
            )?;
            store::peers::seen(tx, peer, None, now)?;
            let held: HashSet<u64> = renewed.iter().map(|row| count(row, "token")).collect();
            Ok(held)
        })?;
        Ok(tokens.iter().copied().filter(|token| held.contains(token)).collect())
    }

    pub(in crate::store) fn give_back(
        &mut self,
        peer: &str,
        token: u64,
        now: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.write(|tx| {
            let held = held(tx, peer, token, now)?;
            end(tx, &held, Verdict::GivenBack, &Report::default(), now)?;
            store::peers::seen(tx, peer, None, now)?;
            Ok(held.lease)
        })
    }

    pub(in crate::store) fn expire(&mut self, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        let is_any = self.read(|tx| {
            let any = tx.one(
                "SELECT EXISTS (SELECT FROM lease WHERE expires_at <= $1)
                     OR EXISTS (SELECT FROM staged WHERE token NOT IN (SELECT token FROM lease))",
                &[&now],
            )?;
            Ok(any.get::<_, bool>(0))
        })?;
        if !is_any {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            if !tx.try_lock(Alone::Expiring)? {
                return Ok(Vec::new());
            }
            let over = tx.query(
                "SELECT lease.*, 0::bigint AS put, 0::bigint AS put_bytes, 0::bigint AS dropped
                 FROM lease WHERE expires_at <= $1 ORDER BY token FOR UPDATE SKIP LOCKED",
                &[&now],
            )?;
            let mut ended = Vec::new();
            for row in &over {
                let held = counted(tx, read(row))?;
                end(tx, &held, Verdict::Expired, &Report::default(), now)?;
                events::over(tx, &held.lease, "not renewed in time")?;
                ended.push(held.lease);
            }
            sweep(tx)?;
            Ok(ended)
        })
    }

    pub(in crate::store) fn revoke(
        &mut self,
        token: u64,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.write(|tx| {
            let Some(held) = locked(tx, token)? else {
                return Ok(None);
            };
            end(tx, &held, Verdict::Revoked, &Report::default(), now)?;
            events::over(tx, &held.lease, "taken away by the operator")?;
            Ok(Some(held.lease))
        })
    }

    pub(in crate::store) fn bring_forward(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.lock(Alone::Listing)?;
            tx.execute(
                "UPDATE lease SET expires_at = $1 WHERE expires_at > $1",
                &[&now.plus(terms.lease)],
            )?;
            servers::regroup(tx)?;
            for state in store::sources::all(tx)? {
                let latest = terms.polls.of(&state.source).latest(now);
                if state.due_at > latest {
                    tx.execute(
                        "UPDATE source SET due_at = $2 WHERE slug = $1",
                        &[&state.source.slug, &latest],
                    )?;
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
        self.read(|tx| {
            let leases = tx.query(
                "SELECT * FROM lease WHERE peer = $1 AND expires_at > $2 ORDER BY token",
                &[&peer, &now],
            )?;
            Ok(leases.iter().map(lease).collect())
        })
    }

    pub(in crate::store) fn next_deadline(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(|tx| {
            let welcome = servers::next_welcome(tx, now, &terms.politeness)?;
            let row = tx.one(
                "SELECT least(
                     (SELECT min(expires_at) FROM lease),
                     (SELECT min(due_at) FROM source WHERE polled AND due_at > $1))",
                &[&now],
            )?;
            let next: Option<Timestamp> = row.get(0);
            Ok(next.into_iter().chain(welcome).min())
        })
    }
}

/// A lease's row, and how much is staged under it.
pub(super) struct Held {
    pub(super) lease: Lease,
    /// The token as the tables have it.
    pub(super) number: i64,
    operator: String,
    pub(super) put: u64,
    pub(super) dropped: u64,
}

fn lease(row: &Row) -> Lease {
    Lease {
        token: count(row, "token"),
        slug: row.get("slug"),
        peer: row.get("peer"),
        granted_at: row.get("granted_at"),
        expires_at: row.get("expires_at"),
    }
}

fn read(row: &Row) -> Held {
    Held {
        lease: lease(row),
        number: row.get("token"),
        operator: row.get("operator"),
        put: count(row, "put"),
        dropped: count(row, "dropped"),
    }
}

/// With what is staged, as far as it can be told without waiting.
pub(super) fn counted(tx: &mut Tx<'_>, held: Held) -> Result<Held, Cause> {
    let staged = tx.maybe("SELECT put, dropped FROM staged WHERE token = $1", &[&held.number])?;
    Ok(match staged {
        Some(row) => Held { put: count(&row, "put"), dropped: count(&row, "dropped"), ..held },
        None => held,
    })
}

const LOCKED: &str = "
    SELECT lease.*, 0::bigint AS put, 0::bigint AS dropped FROM lease WHERE token = $1 FOR UPDATE";

/// A lease, whoever holds it; nobody else ends it until this transaction is over.
pub(super) fn locked(tx: &mut Tx<'_>, token: u64) -> Result<Option<Held>, Cause> {
    let Ok(number) = i64::try_from(token) else {
        return Ok(None);
    };
    match tx.maybe(LOCKED, &[&number])? {
        Some(row) => counted(tx, read(&row)).map(Some),
        None => Ok(None),
    }
}

/// The lease `token`, if `peer` holds it, locked. Every verb of a peer that writes begins here,
/// but `put`, which doesn't keep the lease from others.
pub(super) fn held(tx: &mut Tx<'_>, peer: &str, token: u64, now: Timestamp) -> Result<Held, Cause> {
    match locked(tx, token)? {
        Some(held) if held.lease.peer == peer && held.lease.expires_at > now => Ok(held),
        _ => refused(format!("lease {token} is over, or was never this peer's")),
    }
}

/// As [`held`], without keeping the lease from others: its source's slug and its token.
pub(super) fn seen_held(
    tx: &mut Tx<'_>,
    peer: &str,
    token: u64,
    now: Timestamp,
) -> Result<(String, i64), Cause> {
    let number = signed(token);
    let row = tx.maybe(
        "SELECT slug FROM lease WHERE token = $1 AND peer = $2 AND expires_at > $3",
        &[&number, &peer, &now],
    )?;
    match row {
        Some(row) if unsigned(number) == token => Ok((row.get(0), number)),
        _ => refused(format!("lease {token} is over, or was never this peer's")),
    }
}

fn due(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<Due>, Cause> {
    let due = tx.query(
        "SELECT slug, operator, domain, due_at, announced, last_contact IS NOT NULL AS known,
             ranking
         FROM source
         WHERE polled AND due_at <= $1
           AND NOT EXISTS (SELECT FROM lease WHERE lease.slug = source.slug)",
        &[&now],
    )?;
    Ok(due
        .iter()
        .map(|row| Due {
            slug: row.get("slug"),
            operator: row.get("operator"),
            domain: row.get("domain"),
            due_at: row.get("due_at"),
            is_announced: row.get("announced"),
            is_known: row.get("known"),
            ranking: u8::try_from(row.get::<_, i32>("ranking")).unwrap_or(5),
        })
        .collect())
}

/// The due sources whose servers `peer` may ask now.
fn welcome(
    tx: &mut Tx<'_>,
    peer: &str,
    now: Timestamp,
    terms: &Politeness,
) -> Result<Vec<Due>, Cause> {
    let mut due = due(tx, now)?;
    if due.is_empty() {
        return Ok(due);
    }
    let (operators, distances) = (servers::operators(tx)?, servers::distances(tx)?);
    let (unknown, near) = (Operator::default(), Distance::default());
    due.retain(|due| {
        let operator = operators.get(&due.operator).unwrap_or(&unknown);
        let distance = distances.get(&due.domain).unwrap_or(&near);
        may_grant(operator, distance, peer, now, terms) == May::Grant
    });
    Ok(due)
}

/// Grants a source, unless another arbiter did or does, or its operator is not to be asked now.
fn grant(
    tx: &mut Tx<'_>,
    peer: &str,
    source: &Due,
    now: Timestamp,
    terms: &Terms,
) -> Result<Option<Grant>, Cause> {
    let locked = tx.maybe(
        "SELECT last_lease_ended FROM operator WHERE name = $1 FOR UPDATE SKIP LOCKED",
        &[&source.operator],
    )?;
    let Some(locked) = locked else {
        return Ok(None);
    };
    // What was read before the lock may be over by now.
    let leased = tx.one(
        "SELECT EXISTS (
             SELECT FROM lease JOIN source ON source.slug = lease.slug
             WHERE $1 IN (lease.operator, source.operator))",
        &[&source.operator],
    )?;
    let operator = Operator { is_leased: leased.get(0), last_ended: locked.get(0) };
    let distance = servers::distance(tx, &source.domain)?;
    if may_grant(&operator, &distance, peer, now, &terms.politeness) != May::Grant {
        return Ok(None);
    }
    let remembered = tx.maybe(
        "SELECT source.*, 0::bigint AS packages, NULL::bigint AS token
         FROM source
         WHERE slug = $1 AND operator = $2 AND polled AND due_at <= $3
         FOR UPDATE SKIP LOCKED",
        &[&source.slug, &source.operator, &now],
    )?;
    let Some(remembered) = remembered else {
        return Ok(None);
    };
    let expires_at = now.plus(terms.lease);
    let granted = tx.maybe(
        "INSERT INTO lease (slug, operator, peer, granted_at, expires_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING token",
        &[&source.slug, &source.operator, &peer, &now, &expires_at],
    )?;
    let Some(granted) = granted else {
        return Ok(None);
    };
    let number: i64 = granted.get(0);
    tx.execute("INSERT INTO staged (token) VALUES ($1)", &[&number])?;
    tx.execute("UPDATE peer SET granted = granted + 1 WHERE name = $1", &[&peer])?;
    let state = store::sources::state(sql::Row(&remembered))?;
    Ok(Some(Grant {
        token: unsigned(number),
        source: state.source,
        origin: state.origin,
        expires_at,
    }))
}

/// Ends the lease of a source, if there is one.
pub(super) fn revoke_of(
    tx: &mut Tx<'_>,
    slug: &str,
    now: Timestamp,
) -> Result<Option<Lease>, Cause> {
    let token = tx.maybe("SELECT token FROM lease WHERE slug = $1", &[&slug])?;
    let Some(token) = token else {
        return Ok(None);
    };
    let Some(held) = locked(tx, count(&token, "token"))? else {
        return Ok(None);
    };
    end(tx, &held, Verdict::Revoked, &Report::default(), now)?;
    Ok(Some(held.lease))
}

/// Ends a lease: the only place where one goes, with what is staged under it.
pub(super) fn end(
    tx: &mut Tx<'_>,
    held: &Held,
    verdict: Verdict,
    report: &Report<'_>,
    now: Timestamp,
) -> Result<(), Cause> {
    let lease = &held.lease;
    let Report { cost, counts, error } = report;
    tx.execute(
        "INSERT INTO attempt (token, slug, peer, started, ended, verdict, requests, bytes_fetched,
             bytes_plain, millis, packages, put, dropped, skipped, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        &[
            &held.number,
            &lease.slug,
            &lease.peer,
            &lease.granted_at,
            &now,
            &verdict.words(),
            &signed(cost.requests),
            &signed(cost.bytes_fetched),
            &signed(cost.bytes_plain),
            &signed(cost.millis),
            &signed(counts.packages),
            &signed(held.put),
            &signed(held.dropped),
            &signed(counts.skipped),
            error,
        ],
    )?;
    tx.execute(
        "DELETE FROM attempt WHERE slug = $1 AND token <=
             (SELECT token FROM attempt WHERE slug = $1 ORDER BY token DESC LIMIT 1 OFFSET $2)",
        &[&lease.slug, &i64::from(ATTEMPTS_KEPT)],
    )?;
    tx.execute("DELETE FROM lease WHERE token = $1", &[&held.number])?;
    unstage(tx, held.number)?;
    tx.execute(
        "UPDATE operator SET last_lease_ended = $2
         WHERE name IN ($1, (SELECT operator FROM source WHERE slug = $3))",
        &[&held.operator, &now, &lease.slug],
    )?;
    store::discoveries::give_up(tx, &lease.slug, now)?;
    let count = match verdict {
        Verdict::Expired => "UPDATE peer SET expired = expired + 1 WHERE name = $1",
        Verdict::GivenBack => "UPDATE peer SET given_back = given_back + 1 WHERE name = $1",
        Verdict::Held | Verdict::Indexed | Verdict::Unchanged => {
            "UPDATE peer SET finished = finished + 1 WHERE name = $1"
        }
        Verdict::PeerFailed | Verdict::SentAway | Verdict::SourceFailed => {
            "UPDATE peer SET failed = failed + 1 WHERE name = $1"
        }
        Verdict::Revoked => "UPDATE peer SET revoked = revoked + 1 WHERE name = $1",
    };
    tx.execute(count, &[&lease.peer])?;
    // Its operator is free.
    events::look(tx)
}

/// Takes away what is staged, without waiting for a peer that is writing at this very moment:
/// what it adds, [`sweep`] takes.
fn unstage(tx: &mut Tx<'_>, number: i64) -> Result<(), Cause> {
    for statement in [
        "DELETE FROM staging WHERE token = $1",
        "DELETE FROM staging_dropped WHERE token = $1",
        "DELETE FROM staged WHERE token IN
             (SELECT token FROM staged WHERE token = $1 FOR UPDATE SKIP LOCKED)",
    ] {
        tx.execute(statement, &[&number])?;
    }
    Ok(())
}

/// Takes away what was staged while its lease ended.
fn sweep(tx: &mut Tx<'_>) -> Result<(), Cause> {
    let left = tx.query(
        "SELECT token FROM staged WHERE token NOT IN (SELECT token FROM lease)
         FOR UPDATE SKIP LOCKED",
        &[],
    )?;
    left.iter().try_for_each(|row| unstage(tx, row.get(0)))
}
