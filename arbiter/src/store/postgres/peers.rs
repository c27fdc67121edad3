//! Peers: who was seen, and how their leases went.

use super::{Cause, Postgres, Tx, count};
use crate::store::{Peer, Peers, StoreError};
use crate::timestamp::Timestamp;

impl Peers for Postgres {
    fn seen(&mut self, peer: &str, agent: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| seen(tx, peer, Some(agent), now))
    }

    fn peers(&mut self) -> Result<Vec<Peer>, StoreError> {
        self.read(|tx| {
            let peers = tx.query(
                "SELECT *, (SELECT count(*) FROM lease WHERE lease.peer = name) AS held
                 FROM peer ORDER BY name COLLATE \"C\"",
                &[],
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
