//! Who was ever here, and how their leases went.

use super::sql::{Cause, Row, Sql, Tx, first, read, sql, values};
use super::{Lease, Peer, SILENT_MAX, SessionState, Store, StoreError};
use crate::rules::families::{HostFamilies, may_reach};
use crate::rules::fault::{PeerPlace, network};
use crate::rules::record::{Record, Went};
use crate::rules::timestamp::Timestamp;
use canister_protocol::address::AddressFamilies;

/// Most peers among whom it is looked for one that could look at a source.
const ASKED_MAX: u32 = 1000;

/// Peers with whether each has a session; `$1` is how long an arbiter may be silent. Whoever asks is
/// heard of himself: others are gone by comparison.
macro_rules! with_session {
    ($columns:literal, $which:literal) => {
        sql!(
            "SELECT " $columns " FROM (SELECT peer.*, "
            ["'' AS arbiter, address IS NOT NULL AS here FROM peer"
                | "coalesce(seen_at > (SELECT max(seen_at) FROM arbiter) - $1, false) AS here
                   FROM peer LEFT JOIN arbiter ON arbiter.name = peer.arbiter"]
            ") AS peer " $which
        )
    };
}

impl Store {
    /// Notes that `peer` is here with the program `agent`.
    ///
    /// **Repeated**: the same again.
    pub fn seen(&mut self, peer: &str, agent: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| seen(tx, peer, Some(agent), now))
    }

    /// All peers that were ever seen, by name.
    pub fn peers(&mut self) -> Result<Vec<Peer>, StoreError> {
        let all = with_session!(
            "peer.*, (SELECT count(*) FROM lease WHERE lease.peer = peer.name) AS held",
            "ORDER BY peer.name COLLATE \"C\""
        );
        self.read(|tx| tx.query(all, values![SILENT_MAX], peer))
    }

    /// How a peer's last leases ended.
    pub fn record(&mut self, peer: &str) -> Result<Record, StoreError> {
        self.read(|tx| record(tx, peer))
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
        revoked, held, trust, trust_why, confirmed, audits, public_name, record; session: session
    })
}

/// Notes that a peer is here, and with which program, where it said so.
pub(super) fn seen(
    tx: &mut dyn Tx,
    peer: &str,
    agent: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.defer(
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
    )
}

/// Its record; the same, of one whose lease ends; and where it is.
pub(super) const RECORD: &str = "SELECT record FROM peer WHERE name = $1";
pub(super) const RECORD_ENDING: Sql =
    sql!("SELECT record FROM peer WHERE name = $1"["" | " FOR NO KEY UPDATE"]);
pub(super) const ADDRESS: &str = "SELECT address FROM peer WHERE name = $1";

/// See [`Store::record`].
pub(super) fn record(tx: &mut dyn Tx, peer: &str) -> Result<Record, Cause> {
    let found = tx.maybe(RECORD, values![peer], first)?;
    Ok(found.unwrap_or_default())
}

/// Remembers how a lease went.
pub(super) fn went(
    tx: &mut dyn Tx,
    lease: &Lease,
    went: &Went,
    now: Timestamp,
) -> Result<(), Cause> {
    let before: Record = tx.maybe(RECORD_ENDING, values![&lease.peer], first)?.unwrap_or_default();
    let mut record = before.clone();
    record.after(went, lease.granted_at, now);
    if record != before {
        tx.defer(
            "UPDATE peer SET record = $2, rests_until = $3 WHERE name = $1",
            values![&lease.peer, &record, record.rests_until],
        )?;
    }
    Ok(())
}

/// A peer, and where it is.
pub(super) fn place(tx: &mut dyn Tx, peer: &str) -> Result<PeerPlace, Cause> {
    let address = tx.maybe(ADDRESS, values![peer], first)?;
    let address: Option<String> = address.flatten();
    Ok(PeerPlace { peer: peer.to_owned(), network: network(&address.unwrap_or_default()) })
}

/// The other peers that could look at a source of this domain and these families of addresses now: they
/// are here, get all that they offer, reach it, and its servers sent none of them away. Of very many some.
pub(super) fn others(
    tx: &mut dyn Tx,
    peer: &str,
    (domain, families): (&str, Option<HostFamilies>),
    now: Timestamp,
) -> Result<Vec<PeerPlace>, Cause> {
    let free = with_session!(
        "name, address, reaches, record",
        "WHERE here AND slots > 0 AND name <> $2
           AND coalesce(rests_until, 0) <= $4
           AND NOT EXISTS (SELECT 1 FROM cooling
               WHERE cooling.peer = peer.name AND domain = $3 AND until > $4)
         ORDER BY last_seen DESC LIMIT $5"
    );
    let found: Vec<(PeerPlace, bool)> =
        tx.query(free, values![SILENT_MAX, peer, domain, now, ASKED_MAX], |row| {
            let address: Option<String> = row.get("address")?;
            let network = network(&address.unwrap_or_default());
            let reaches = row.get::<Option<_>>("reaches")?.unwrap_or(AddressFamilies::BOTH);
            let record: Record = row.get("record")?;
            let is_free = record.share(now, 2) == 2 && may_reach(reaches, families, None);
            Ok((PeerPlace { peer: row.get("name")?, network }, is_free))
        })?;
    Ok(found.into_iter().filter(|(_, is_free)| *is_free).map(|(place, _)| place).collect())
}
