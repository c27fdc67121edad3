//! The fronts: of each domain and head start the source that is due first, kept by the database itself
//! (`migration/*/0024_fronts.sql`), so that a claim finds what comes first without looking at all that is
//! due. Of an operator that has a lease or rests the fronts say so and aren't looked at.
//!
//! Those marks are hints: one that isn't there makes a claim look in vain. A mark that isn't true any more
//! would hide a source; so a lease's end takes away the first, and [`wake`] the second. Nothing waits for
//! another's lock on a front but the end of a lease.

use super::Terms;
use super::sql::{Cause, Sql, SqlValue, Tx, read, sql, values};
use crate::rules::politeness::Politeness;
use crate::rules::schedule::{self, Due, DueTurn};
use crate::rules::timestamp::Timestamp;
use std::time::Duration;

/// Where a claim looks: the sources of a domain that have one head start, and the first of them.
pub(super) struct Front {
    pub(super) domain: String,
    pub(super) head_start: Duration,
    due_at: Timestamp,
    slug: String,
}

impl Front {
    pub(super) fn turn(&self) -> DueTurn<'_> {
        DueTurn::of(self.due_at, self.head_start, &self.slug)
    }

    /// Whether a source is one of these.
    pub(super) fn has(&self, due: &Due) -> bool {
        let head_start = schedule::head_start(due.ranking, due.is_known, due.is_announced);
        self.domain == due.domain && self.head_start == head_start
    }
}

/// The `many` fronts that come first, of operators that may be free and of domains that may be asked by this
/// peer now.
pub(super) fn first(
    tx: &mut dyn Tx,
    peer: &str,
    many: usize,
    known_only: bool,
    terms: &Terms,
    now: Timestamp,
) -> Result<Vec<Front>, Cause> {
    tx.query(
        FIRST,
        &values(peer, many, known_only, terms, now),
        |row| read!(row => Front { domain, head_start, due_at, slug }),
    )
}

/// That [`first`] is about to be asked for.
pub(super) fn foresee(
    tx: &mut dyn Tx,
    peer: &str,
    many: usize,
    terms: &Terms,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.foresee(FIRST, &values(peer, many, false, terms, now))
}

fn values<'a>(
    peer: &'a str,
    many: usize,
    known_only: bool,
    terms: &Terms,
    now: Timestamp,
) -> Vec<SqlValue<'a>> {
    let starts: Vec<u64> = schedule::head_starts(known_only)
        .into_iter()
        .map(|start| start.as_millis() as u64)
        .collect();
    let starts = serde_json::to_string(&starts).expect("numbers are always JSON");
    let (own, rest) = terms.politeness.longest();
    values![
        now,
        starts,
        many,
        now.minus(terms.politeness.pause),
        now.plus(rest),
        peer,
        now.plus(own),
    ]
    .to_vec()
}

const FIRST: Sql = sql!(
    "SELECT domain, head_start, due_at, slug FROM (
                 SELECT it.domain, it.head_start, it.due_at, it.slug
                 FROM (SELECT CAST(value AS bigint) AS head_start
                       FROM " ["json_each($2)" | "json_array_elements_text($2::text::json)"] ") AS starts
                 " ["CROSS JOIN front AS it ON it.number IN (SELECT front.number FROM front"
            | "CROSS JOIN LATERAL (SELECT * FROM front"] "
                     WHERE front.head_start = starts.head_start AND front.due_at <= $1
                       AND NOT front.leased AND front.rests_since IS NULL
                       AND NOT EXISTS (SELECT 1 FROM distance WHERE distance.domain = front.domain
                           AND rests_until > $1 AND rests_until <= $5)
                       AND NOT EXISTS (SELECT 1 FROM cooling WHERE cooling.domain = front.domain
                           AND peer = $6 AND until > $1 AND until <= $7)
                     ORDER BY front.due_at, front.slug LIMIT $3)" ["" | " AS it"] "
                 UNION ALL
                 SELECT domain, head_start, due_at, slug FROM front
                 WHERE due_at <= $1 AND NOT leased
                   AND (rests_since <= CAST($4 AS bigint) OR rests_since > CAST($1 AS bigint))
                   AND NOT EXISTS (SELECT 1 FROM distance WHERE distance.domain = front.domain
                       AND rests_until > $1 AND rests_until <= $5)
                   AND NOT EXISTS (SELECT 1 FROM cooling WHERE cooling.domain = front.domain
                       AND peer = $6 AND until > $1 AND until <= $7)) AS found
             ORDER BY due_at - head_start, slug LIMIT $3"
);

/// The fronts of operators whose pause is over may be looked at.
pub(super) fn wake(tx: &mut dyn Tx, terms: &Politeness, now: Timestamp) -> Result<(), Cause> {
    tx.defer(
        sql!(
            "UPDATE front SET rests_since = NULL WHERE "
                ["" | "(domain, head_start) IN (SELECT domain, head_start FROM front WHERE "]
                "rests_since <= CAST($2 AS bigint) OR rests_since > CAST($1 AS bigint)"
                ["" | " FOR UPDATE SKIP LOCKED)"]
        ),
        values![now, now.minus(terms.pause)],
    )
}

/// An operator has a lease.
pub(super) fn leased(tx: &mut dyn Tx, operator: &str) -> Result<(), Cause> {
    tx.defer(
        sql!(
            "UPDATE front SET leased = true WHERE " ["operator = $1"
                | "(domain, head_start) IN (SELECT domain, head_start FROM front WHERE operator = $1
                    FOR UPDATE SKIP LOCKED)"]
        ),
        values![operator],
    )
}

/// A lease of an operator's ended `now`, and of whoever runs its source's server by now.
pub(super) fn rest(
    tx: &mut dyn Tx,
    operator: &str,
    slug: &str,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.defer(
        "UPDATE front SET leased = false, rests_since = $3
         WHERE operator IN ($1, (SELECT source.operator FROM source WHERE source.slug = $2))",
        values![operator, slug, now],
    )
}
