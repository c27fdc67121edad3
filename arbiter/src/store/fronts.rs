//! The fronts: of each domain and head start the source that is due first, kept by the database itself
//! (`migration/*/0024_fronts.sql`), so that a claim finds what comes first without looking at all that is
//! due. Of an operator that has a lease or rests the fronts say so and aren't looked at.
//!
//! Those marks are hints: one that isn't there makes a claim look in vain. A mark that isn't true any more
//! would hide a source; so a lease's end takes away the first, and [`wake`] the second. Nothing waits for
//! another's lock on a front but the end of a lease.

use super::sql::{Cause, Row, Sql, SqlValue, Tx, sql, values};
use super::{Claimant, Terms};
use crate::rules::politeness::Politeness;
use crate::rules::schedule::{self, Due, DueTurn};
use crate::rules::timestamp::Timestamp;
use crate::rules::traffic;
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

/// Who asks, as far as it matters to what is looked at.
#[derive(Clone, Copy)]
pub(super) struct Looking<'a> {
    peer: &'a str,
    /// Whether what it reads counts by itself.
    publishes: bool,
    /// Whether the bytes of a lease are bounded for it.
    has_most: bool,
}

impl<'a> Looking<'a> {
    pub(super) fn of(claimant: &Claimant<'a>, publishes: bool) -> Self {
        Self { peer: claimant.name, publishes, has_most: claimant.bytes.is_some() }
    }

    /// The values of [`EARLY`].
    pub(super) fn early(self, terms: &Terms, now: Timestamp) -> Vec<SqlValue<'a>> {
        let rested = SqlValue::from(now.minus(terms.politeness.pause));
        self.values(terms, now).into_iter().chain([rested]).collect()
    }

    /// What [`EARLY`] and [`DUE`] begin with.
    fn values(self, terms: &Terms, now: Timestamp) -> [SqlValue<'a>; 6] {
        [
            now.into(),
            traffic::day(now).into(),
            terms.traffic.day.into(),
            (!self.publishes).into(),
            self.has_most.into(),
            self.peer.into(),
        ]
    }

    fn due(self, window: Window, terms: &Terms, now: Timestamp) -> Vec<SqlValue<'a>> {
        let starts: Vec<u64> = schedule::head_starts(window.known_only)
            .into_iter()
            .map(|start| start.as_millis() as u64)
            .collect();
        let starts = serde_json::to_string(&starts).expect("numbers are always JSON");
        let (own, rest) = terms.politeness.longest();
        let where_to_look = values![
            window.sources,
            starts,
            window.fronts,
            now.minus(terms.politeness.pause),
            now.plus(rest),
            now.plus(own),
        ]
        .to_vec();
        self.values(terms, now).into_iter().chain(where_to_look).collect()
    }
}

/// How far is looked.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// At so many fronts.
    pub(super) fronts: usize,
    /// At so many sources of each.
    pub(super) sources: usize,
    /// At no source that was never read.
    pub(super) known_only: bool,
}

/// The fronts that come first, of operators that may be free and of domains that may be asked by this peer now,
/// in their order; and as `read` makes them, the first sources of each that no lease is of and of whose day
/// something is left.
pub(super) fn first<T>(
    tx: &mut dyn Tx,
    looking: Looking<'_>,
    window: Window,
    terms: &Terms,
    now: Timestamp,
    mut read: impl FnMut(Row<'_>) -> Result<T, Cause>,
) -> Result<(Vec<Front>, Vec<T>), Cause> {
    let (mut fronts, mut found) = (Vec::<Front>::new(), Vec::new());
    let row = |row: Row<'_>| {
        let front = Front {
            domain: row.get("front_domain")?,
            head_start: row.get("front_head_start")?,
            due_at: row.get("front_due_at")?,
            slug: row.get("front_slug")?,
        };
        if row.get::<Option<String>>("slug")?.is_some() {
            found.push(read(row)?);
        }
        // Each of its sources is told with it.
        if fronts.last().is_none_or(|last| last.slug != front.slug) {
            fronts.push(front);
        }
        Ok(())
    };
    tx.query::<(), ()>(DUE, &looking.due(window, terms, now), row)?;
    Ok((fronts, found))
}

/// That [`first`] is about to be asked for.
pub(super) fn foresee(
    tx: &mut dyn Tx,
    looking: Looking<'_>,
    window: Window,
    terms: &Terms,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.foresee(DUE, &looking.due(window, terms, now))
}

/// What is looked at of a source that may be granted.
macro_rules! looked_at {
    () => {
        "source.slug, source.operator, source.domain, source.due_at, announced,
             last_contact IS NOT NULL AS known, ranking, failures > 0 AS failing, witnesses, families,
             last_attempt IS NULL AND last_contact IS NULL AS is_new, uri,
             wants, not_by, checked_at, vouched_by, rows_from,
             owner_release, owner_host, max_age, stopped, relied, announced_itself,
             rows_from IS NOT NULL AND origin_head IS NOT NULL AS published, plain_at, plain_by,
             (SELECT millis FROM near WHERE near.domain = source.domain AND near.peer = $6) AS near_millis,
             (SELECT at FROM near WHERE near.domain = source.domain AND near.peer = $6) AS near_at,
             (SELECT last_lease_ended FROM operator WHERE operator.name = source.operator) AS last_ended,
             CASE WHEN wants IS NOT NULL OR $4 OR $5
                 THEN coalesce((SELECT package_count FROM repository WHERE id = source.slug), 0)
                 ELSE 0 END AS packages,
             CASE WHEN $5
                 THEN coalesce(
                     (SELECT max(bytes_fetched) FROM attempt WHERE attempt.slug = source.slug), 0)
                 ELSE 0 END AS fetched "
    };
}

/// Of whose day something is left, and that no lease is of.
macro_rules! left {
    ($it:literal) => {
        concat!(
            $it,
            ".polled AND (",
            $it,
            ".spent_on IS NULL OR ",
            $it,
            ".spent_on <> $2 OR ",
            $it,
            ".spent < $3) AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.slug = ",
            $it,
            ".slug)"
        )
    };
}

/// The first fronts, each with its first sources: what lists the head starts, the first fronts of each and
/// their end, and what joins the first sources of a front and their end.
macro_rules! due {
    ($starts:literal, $fronts:literal, $fronts_end:literal, $sources:literal, $sources_end:literal) => {
        concat!(
            "SELECT place.domain AS front_domain, place.head_start AS front_head_start,
                 place.due_at AS front_due_at, place.slug AS front_slug, ",
            looked_at!(),
            "FROM (SELECT domain, head_start, due_at, slug FROM (
                 SELECT it.domain, it.head_start, it.due_at, it.slug
                 FROM (SELECT CAST(value AS bigint) AS head_start FROM ",
            $starts,
            ") AS starts ",
            $fronts,
            " WHERE front.head_start = starts.head_start AND front.due_at <= $1
                       AND NOT front.leased AND front.rests_since IS NULL
                       AND NOT EXISTS (SELECT 1 FROM distance WHERE distance.domain = front.domain
                           AND rests_until > $1 AND rests_until <= $11)
                       AND NOT EXISTS (SELECT 1 FROM cooling WHERE cooling.domain = front.domain
                           AND peer = $6 AND until > $1 AND until <= $12)
                     ORDER BY front.due_at, front.slug LIMIT $9)",
            $fronts_end,
            " UNION ALL
                 SELECT domain, head_start, due_at, slug FROM front
                 WHERE due_at <= $1 AND NOT leased
                   AND (rests_since <= CAST($10 AS bigint) OR rests_since > CAST($1 AS bigint))
                   AND NOT EXISTS (SELECT 1 FROM distance WHERE distance.domain = front.domain
                       AND rests_until > $1 AND rests_until <= $11)
                   AND NOT EXISTS (SELECT 1 FROM cooling WHERE cooling.domain = front.domain
                       AND peer = $6 AND until > $1 AND until <= $12)) AS found
             ORDER BY due_at - head_start, slug LIMIT $9) AS place ",
            $sources,
            " WHERE it.domain = place.domain AND it.head_start = place.head_start AND it.due_at <= $1 AND ",
            left!("it"),
            $sources_end,
            " ORDER BY place.due_at - place.head_start, place.slug"
        )
    };
}

const DUE: Sql = Sql {
    sqlite: due!(
        "json_each($8)",
        "CROSS JOIN front AS it ON it.number IN (SELECT front.number FROM front",
        "",
        "LEFT JOIN source ON source.slug IN (SELECT it.slug FROM source AS it",
        " ORDER BY it.due_at, it.slug LIMIT $7)"
    ),
    postgres: due!(
        "json_array_elements_text($8::text::json)",
        "CROSS JOIN LATERAL (SELECT * FROM front",
        " AS it",
        "LEFT JOIN LATERAL (SELECT * FROM source AS it",
        " ORDER BY it.due_at, it.slug COLLATE \"C\" LIMIT $7) AS source ON true"
    ),
};

/// The next to be due, of operators that are free and wanted for nothing that is, and of owners who don't say when.
pub(super) const EARLY: &str = concat!(
    "SELECT ",
    looked_at!(),
    "FROM source
     WHERE due_at > $1 AND wants IS NULL AND last_contact IS NOT NULL AND failures = 0
       AND coalesce(owner_release, owner_host, stopped) IS NULL AND max_age = 0
       AND NOT EXISTS (SELECT 1 FROM front WHERE front.operator = source.operator
           AND (front.due_at <= $1 OR leased
               OR rests_since > CAST($7 AS bigint) AND rests_since <= CAST($1 AS bigint)))
       AND ",
    left!("source"),
    "
     ORDER BY source.due_at LIMIT 64"
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
