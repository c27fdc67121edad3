//! Peers: who was seen, and how their leases went.

use super::{Cause, Sqlite, count};
use crate::store::{Peer, Session, StoreError};
use crate::timestamp::Timestamp;
use rusqlite::{Connection, params};

impl Sqlite {
    pub(in crate::store) fn seen(
        &mut self,
        peer: &str,
        agent: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| seen(tx, peer, Some(agent), now))
    }

    pub(in crate::store) fn peers(&mut self) -> Result<Vec<Peer>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT *, (SELECT count(*) FROM lease WHERE lease.peer = name) AS held
                 FROM peer ORDER BY name",
            )?;
            let peers = statement.query_map([], |row| {
                Ok(Peer {
                    name: row.get("name")?,
                    agent: row.get("agent")?,
                    first_seen: row.get("first_seen")?,
                    last_seen: row.get("last_seen")?,
                    granted: count(row, "granted")?,
                    finished: count(row, "finished")?,
                    failed: count(row, "failed")?,
                    given_back: count(row, "given_back")?,
                    expired: count(row, "expired")?,
                    revoked: count(row, "revoked")?,
                    held: count(row, "held")?,
                    session: match row.get("address")? {
                        None => None,
                        Some(address) => Some(Session {
                            arbiter: String::new(),
                            address,
                            slots: row.get("slots")?,
                            writes: row.get::<_, Option<String>>("writes")?.unwrap_or_default(),
                        }),
                    },
                })
            })?;
            Ok(peers.collect::<Result<_, _>>()?)
        })
    }
}

pub(super) fn seen(
    tx: &Connection,
    peer: &str,
    agent: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    tx.prepare_cached(
        "INSERT INTO peer (name, agent, first_seen, last_seen) VALUES (?1, ifnull(?2, ''), ?3, ?3)
         ON CONFLICT (name) DO UPDATE
         SET agent = ifnull(?2, agent), last_seen = max(last_seen, ?3)",
    )?
    .execute(params![peer, agent, now])?;
    Ok(())
}
