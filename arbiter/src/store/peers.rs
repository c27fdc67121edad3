//! Who was ever here, and how their leases went.

use super::sql::{Cause, Row, Tx, read, sql, values};
use super::{Peer, SILENT_MAX, SessionState, Store, StoreError};
use crate::rules::timestamp::Timestamp;
use canister_protocol::address::AddressFamilies;

impl Store {
    /// Notes that `peer` is here with the program `agent`.
    ///
    /// **Repeated**: the same again.
    pub fn seen(&mut self, peer: &str, agent: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| seen(tx, peer, Some(agent), now))
    }

    /// All peers that were ever seen, by name.
    pub fn peers(&mut self) -> Result<Vec<Peer>, StoreError> {
        // Whoever asks is heard of himself: others are gone by comparison.
        let all = sql!(
            "SELECT peer.*, (SELECT count(*) FROM lease WHERE lease.peer = peer.name) AS held, "
            ["'' AS arbiter, address IS NOT NULL AS here FROM peer"
                | "coalesce(seen_at > (SELECT max(seen_at) FROM arbiter) - $1, false) AS here
                   FROM peer LEFT JOIN arbiter ON arbiter.name = peer.arbiter"]
            " ORDER BY peer.name" ["" | " COLLATE \"C\""]
        );
        self.read(|tx| tx.query(all, values![SILENT_MAX], peer))
    }
}

fn peer(row: Row<'_>) -> Result<Peer, Cause> {
    let session = if row.get("here")? {
        Some(SessionState {
            arbiter: row.get("arbiter")?,
            address: row.get("address")?,
            slots: row.get("slots")?,
            writes: row.get::<Option<_>>("writes")?.unwrap_or_default(),
            reaches: row.get::<Option<_>>("reaches")?.unwrap_or(AddressFamilies::BOTH),
        })
    } else {
        None
    };
    read!(row => Peer {
        name, agent, first_seen, last_seen, granted, finished, failed, given_back, expired,
        revoked, held, trust, trust_why, confirmed, audits, public_name; session: session
    })
}

/// Notes that a peer is here, and with which program, where it said so.
pub(super) fn seen(
    tx: &mut dyn Tx,
    peer: &str,
    agent: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.execute(
        // A new one is what the operator said of it; else it has to prove itself, once others have.
        "INSERT INTO peer (name, agent, first_seen, last_seen, trust)
         VALUES ($1, coalesce($2, ''), $3, $3, coalesce(
             (SELECT CASE said WHEN 'trust' THEN 'proven' ELSE 'suspended' END FROM decision
              WHERE in_force AND subject = 'peer:' || $1 AND said IN ('suspend', 'trust')),
             (SELECT 'probation' WHERE EXISTS (SELECT 1 FROM peer WHERE trust = 'proven')),
             'first'))
         ON CONFLICT (name) DO UPDATE
         SET agent = coalesce($2, peer.agent), last_seen = greatest(peer.last_seen, $3)",
        values![peer, agent, now],
    )?;
    Ok(())
}
