//! Peers: who was seen, and how their leases went.

use super::{Cause, Postgres, Tx, count};
use crate::store::{Peer, SILENT_MAX, Session, StoreError};
use crate::timestamp::Timestamp;

impl Postgres {
    pub(in crate::store) fn seen(
        &mut self,
        peer: &str,
        agent: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| seen(tx, peer, Some(agent), now))
    }

    pub(in crate::store) fn peers(&mut self) -> Result<Vec<Peer>, StoreError> {
        self.read(|tx| {
            let peers = tx.query(
                // Whoever asks is heard of himself: others are gone by comparison.
                "SELECT peer.*, (SELECT count(*) FROM lease WHERE lease.peer = peer.name) AS held,
                     coalesce(seen_at > (SELECT max(seen_at) FROM arbiter) - $1, false) AS here
                 FROM peer LEFT JOIN arbiter ON arbiter.name = peer.arbiter
                 ORDER BY peer.name COLLATE \"C\"",
                &[&i64::try_from(SILENT_MAX.as_millis()).unwrap_or(i64::MAX)],
            )?;
            Ok(peers
                .iter()
                .map(|row| Peer {
                    name: row.get("name"),
                    agent: row.get("agent"),
                    first_seen: row.get("first_seen"),
                    last_seen: row.get("last_seen"),
                    granted: count(row, "granted"),
                    finished: count(row, "finished"),
                    failed: count(row, "failed"),
                    given_back: count(row, "given_back"),
                    expired: count(row, "expired"),
                    revoked: count(row, "revoked"),
                    held: count(row, "held"),
                    session: row.get::<_, bool>("here").then(|| Session {
                        arbiter: row.get("arbiter"),
                        address: row.get("address"),
                        slots: row.get::<_, i32>("slots").unsigned_abs(),
                        writes: row.get::<_, Option<String>>("writes").unwrap_or_default(),
                    }),
                })
                .collect())
        })
    }
}

pub(super) fn seen(
    tx: &mut Tx<'_>,
    peer: &str,
    agent: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.execute(
        "INSERT INTO peer (name, agent, first_seen, last_seen)
         VALUES ($1, coalesce($2, ''), $3, $3)
         ON CONFLICT (name) DO UPDATE
         SET agent = coalesce($2, peer.agent), last_seen = greatest(peer.last_seen, $3)",
        &[&peer, &agent, &now],
    )?;
    Ok(())
}
