//! What the network did, counted by the hour: how leases ended, why, and what they cost.

use super::sql::{Cause, Tx, read, sql, values};
use super::{SourceDay, Store, StoreError, Tally, Verdict};
use crate::rules::timestamp::Timestamp;
use crate::rules::traffic;
use canister_protocol::message::{Cost, FailureKind};
use std::time::Duration;

/// How long it is remembered.
const KEPT_FOR: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// How long it is remembered of each source, by the day.
const DAYS_KEPT_FOR: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Most requests, bytes and milliseconds of one lease that count: a peer says what it likes.
const REQUESTS_MAX: u64 = 1 << 20;
const BYTES_MAX: u64 = 1 << 40;
const MILLIS_MAX: u64 = 1 << 32;

impl Store {
    /// What the network did in each hour that began at `since` or later, oldest first; at most a week is
    /// known.
    pub fn tallies(&mut self, since: Timestamp) -> Result<Vec<Tally>, StoreError> {
        let sums = "SELECT hour, verdict, nullif(reason, '') AS reason,
                 CAST(sum(leases) AS bigint) AS leases, CAST(sum(requests) AS bigint) AS requests,
                 CAST(sum(bytes) AS bigint) AS bytes, CAST(sum(millis) AS bigint) AS millis
             FROM tally WHERE hour >= $1 GROUP BY hour, verdict, tally.reason ORDER BY hour";
        self.read(|tx| {
            tx.query(sums, values![since], |row| {
                read!(row => Tally { hour, verdict, reason, leases, requests, bytes, millis })
            })
        })
    }

    /// Forgets what is older than anybody asks for.
    ///
    /// **Repeated**: the same again.
    pub fn forget_tallies(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let old = "DELETE FROM tally WHERE hour < $1";
        let days = "DELETE FROM source_day WHERE day < $1";
        self.write(|tx| {
            tx.execute(old, values![now.minus(KEPT_FOR)])?;
            tx.execute(days, values![traffic::day(now.minus(DAYS_KEPT_FOR))]).map(drop)
        })
    }

    /// What was asked of a source on each day on which something was, from that of `since` on.
    pub fn days_of(&mut self, slug: &str, since: Timestamp) -> Result<Vec<SourceDay>, StoreError> {
        let days = "SELECT * FROM source_day WHERE slug = $1 AND day >= $2 ORDER BY day";
        self.read(|tx| {
            tx.query(
                days,
                values![slug, traffic::day(since)],
                |row| read!(row => SourceDay { day, leases, requests, bytes }),
            )
        })
    }
}

/// Counts a lease that ended.
pub(super) fn count(
    tx: &mut dyn Tx,
    (slug, verdict): (&str, Verdict),
    (cost, reason): (&Cost, Option<FailureKind>),
    now: Timestamp,
) -> Result<(), Cause> {
    tx.defer(
        sql!(
            "INSERT INTO tally (hour, verdict, reason, writer, leases, requests, bytes, millis)
             VALUES ($1, $2, $3, " ["0" | "pg_backend_pid()"] ", 1, $4, $5, $6)
             ON CONFLICT (hour, verdict, reason, writer) DO UPDATE
             SET leases = tally.leases + 1, requests = tally.requests + excluded.requests,
                 bytes = tally.bytes + excluded.bytes, millis = tally.millis + excluded.millis"
        ),
        values![
            now.hour(),
            verdict.words(),
            reason.map_or("", FailureKind::words),
            cost.requests.min(REQUESTS_MAX),
            cost.bytes_fetched.min(BYTES_MAX),
            cost.millis.min(MILLIS_MAX),
        ],
    )?;
    tx.defer(
        "INSERT INTO source_day (slug, day, leases, requests, bytes) VALUES ($1, $2, 1, $3, $4)
         ON CONFLICT (slug, day) DO UPDATE
         SET leases = source_day.leases + 1, requests = source_day.requests + excluded.requests,
             bytes = source_day.bytes + excluded.bytes",
        values![
            slug,
            traffic::day(now),
            cost.requests.min(REQUESTS_MAX),
            cost.bytes_fetched.min(BYTES_MAX),
        ],
    )
}
