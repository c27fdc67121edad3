//! What the network did, counted by the hour: how leases ended, why, and what they cost.

use super::sql::{Cause, Tx, read, sql, values};
use super::{Store, StoreError, Tally, Verdict};
use crate::rules::timestamp::Timestamp;
use canister_protocol::message::{Cost, FailureKind};
use std::time::Duration;

/// How long it is remembered.
const KEPT_FOR: Duration = Duration::from_secs(8 * 24 * 60 * 60);

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
        self.write(|tx| tx.execute(old, values![now.minus(KEPT_FOR)]).map(drop))
    }
}

/// Counts a lease that ended.
pub(super) fn count(
    tx: &mut dyn Tx,
    verdict: Verdict,
    (cost, reason): (&Cost, Option<FailureKind>),
    now: Timestamp,
) -> Result<(), Cause> {
    tx.execute(
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
    Ok(())
}
