//! How far peers are from servers, and who else could take a lease now: what `rules::nearness` is told.

use super::sql::{Cause, Tx, sql, values};
use super::{SILENT_MAX, Store, StoreError};
use crate::rules::nearness::{KEPT, OthersHere, PEERS_MAX};
use crate::rules::schedule::DAY;
use crate::rules::timestamp::Timestamp;
use std::time::Duration;

/// Remembers how far `peer` was from a source's server in a lease.
pub(super) fn noted(
    tx: &mut dyn Tx,
    slug: &str,
    peer: &str,
    millis: u32,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.defer(
        "INSERT INTO near (domain, peer, millis, at)
         SELECT domain, $2, CAST($3 AS bigint), CAST($4 AS bigint) FROM source WHERE slug = $1
         ON CONFLICT (domain, peer) DO UPDATE
         SET millis = (3 * near.millis + excluded.millis) / 4, at = excluded.at",
        values![slug, peer, millis, now],
    )
}

/// Who else than `peer` could take a lease of a source of this domain, and did within two days: of them those count
/// as near that did one after `since`.
pub(super) fn others(
    tx: &mut dyn Tx,
    (peer, domain): (&str, &str),
    since: Timestamp,
    now: Timestamp,
) -> Result<OthersHere, Cause> {
    tx.one(
        sql!(
            "SELECT count(CASE WHEN near.at > $6 THEN 1 END) AS here, min(CASE WHEN near.at >= $5 THEN near.millis END) AS nearest
             FROM peer "
                ["" | "JOIN arbiter ON arbiter.name = peer.arbiter
                   AND seen_at > (SELECT max(seen_at) FROM arbiter) - $1"] "
             LEFT JOIN near ON near.peer = peer.name AND near.domain = $3
             WHERE peer.address IS NOT NULL AND peer.name <> $2 AND trust IN ('first', 'proven')
               AND coalesce(rests_until, 0) <= $4
               AND slots > (SELECT count(*) FROM lease WHERE lease.peer = peer.name)
               AND NOT EXISTS (SELECT 1 FROM cooling
                   WHERE cooling.peer = peer.name AND cooling.domain = $3 AND until > $4)"
        ),
        values![SILENT_MAX, peer, domain, now, since, now.minus(2 * DAY)],
        |row| {
            let nearest = row.get::<Option<u64>>("nearest")?.map(Duration::from_millis);
            Ok(OthersHere { any: row.get::<u64>("here")? > 0, nearest })
        },
    )
}

impl Store {
    /// Forgets what was measured long ago of how near peers are, and of each domain all but the nearest.
    ///
    /// **Repeated**: the same again.
    pub fn forget_nearness(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| {
            let forgotten = "DELETE FROM near WHERE at <= $1 OR (domain, peer) IN (
                 SELECT domain, peer FROM (
                     SELECT domain, peer,
                         row_number() OVER (PARTITION BY domain ORDER BY millis, peer) AS place
                     FROM near) AS placed
                 WHERE place > $2)";
            tx.execute(forgotten, values![now.minus(KEPT), PEERS_MAX])?;
            Ok(())
        })
    }
}
