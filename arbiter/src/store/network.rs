//! Which arbiters there are and which sessions they have, so that any of them shows the whole
//! network; who of them does what one does for all; and the one clock that all go by. On SQLite
//! there is one arbiter, and most of this is nothing.

use super::peers::seen;
use super::postgres::events::Event;
use super::sql::{first, read, sql, values};
use super::{ArbiterState, SILENT_MAX, SessionState, Store, StoreError};
use crate::rules::room::Disk;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::network;
use log::warn;
use std::time::Duration;

/// For how long an arbiter that is gone is told of.
const SHOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Ends what peers' roles do in the database that holds it up, whatever they have set for themselves:
/// transactions over 15 s, statements over 60 s, and all of them where a tenth of the queue of
/// notifications is full, which an open transaction keeps from being emptied.
const RUDE: &str = "
    SELECT pg_terminate_backend(session.pid) FROM pg_stat_activity AS session
    JOIN pg_auth_members AS member ON member.member = session.usesysid
    JOIN pg_roles AS peers ON peers.oid = member.roleid AND peers.rolname = 'canister_peer'
    WHERE session.usename <> current_user
      AND (session.xact_start < clock_timestamp() - interval '15 s'
          OR session.state = 'active' AND session.query_start < clock_timestamp() - interval '60 s'
          OR pg_notification_queue_usage() > 0.1)";

impl Store {
    /// The moment by the store's own clock, which all that use it go by; `None` where that is this
    /// machine's.
    pub fn moment(&mut self) -> Result<Option<Timestamp>, StoreError> {
        if self.is_alone() {
            return Ok(None);
        }
        self.read(|tx| tx.maybe("SELECT arbiter.now()", &[], first))
    }

    /// The disk that the database is on, where that is this machine's.
    ///
    /// **Repeated**: looks again.
    pub fn disk(&mut self) -> Result<Option<Disk>, StoreError> {
        match self {
            Self::Postgres(_) => Ok(None),
            Self::Sqlite(store) => store.disk().map(Some),
        }
    }

    /// Notes that this arbiter is here. One that wasn't noted for [`SILENT_MAX`]
    /// while others were is taken for gone, with its sessions.
    ///
    /// **Repeated**: the same again.
    pub fn beat(&mut self, listen: &str, program: &str, now: Timestamp) -> Result<(), StoreError> {
        if self.is_alone() {
            return Ok(());
        }
        self.write(|tx| {
            let me = tx.arbiter().to_owned();
            tx.execute(
                "INSERT INTO arbiter (name, listen, program, started_at, seen_at)
                 VALUES ($1, $2, $3, $4, $4)
                 ON CONFLICT (name) DO UPDATE
                 SET listen = excluded.listen, program = excluded.program,
                     seen_at = greatest(arbiter.seen_at, excluded.seen_at)",
                values![me, listen, program, now],
            )?;
            let ended: Vec<bool> = tx.query(RUDE, &[], first)?;
            if !ended.is_empty() {
                warn!(ended = ended.len(); "ended sessions of peers in the database, which held it up");
            }
            Ok(())
        })
    }

    /// The arbiters on the database that were seen within a day, by name; none where there can be one
    /// only.
    pub fn arbiters(&mut self, now: Timestamp) -> Result<Vec<ArbiterState>, StoreError> {
        if self.is_alone() {
            return Ok(Vec::new());
        }
        self.read(|tx| {
            tx.query(
                "SELECT name, program, started_at, seen_at,
                     seen_at > (SELECT max(seen_at) FROM arbiter) - $1 AS is_here
                 FROM arbiter WHERE seen_at > $2 ORDER BY name",
                values![SILENT_MAX, now.minus(SHOWN_FOR)],
                |row| read!(row => ArbiterState { name, program, started_at, seen_at, is_here }),
            )
        })
    }

    /// Whether this arbiter speaks for the network: the first by name of those that are here.
    pub fn is_speaker(&mut self) -> Result<bool, StoreError> {
        if self.is_alone() {
            return Ok(true);
        }
        self.read(|tx| {
            let me = tx.arbiter().to_owned();
            let first_here = "SELECT $1 = min(name) AS is_first FROM arbiter
                 WHERE seen_at > (SELECT max(seen_at) FROM arbiter) - $2";
            let found = tx.maybe(first_here, values![me, SILENT_MAX], first::<Option<bool>>)?;
            Ok(found.flatten().unwrap_or(true))
        })
    }

    /// Notes a session of a peer with this arbiter, or what changed of it. A session that it has
    /// with another one is over by that, and the other one is told.
    ///
    /// **Repeated**: the same again.
    pub fn session(
        &mut self,
        peer: &str,
        session: &SessionState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let SessionState { address, slots, writes, reaches, .. } = session;
        let slots = (*slots).min(i32::MAX.unsigned_abs());
        self.write(|tx| {
            let me = tx.arbiter().to_owned();
            seen(tx, peer, None, now)?;
            let before: Option<String> = tx.value(
                sql!("SELECT " ["NULL" | "arbiter"] " FROM peer WHERE name = $1"),
                values![peer],
            )?;
            tx.execute(
                sql!("UPDATE peer SET address = $2, slots = $3, writes = $4, reaches = $5,
                         network = $6"
                    ["" | ", arbiter = $7"] " WHERE name = $1"),
                values![peer, address, slots, writes, reaches.to_string(), network(address), &me],
            )?;
            if before.is_some_and(|before| before != me) {
                tx.tell(Event::Moved { peer: peer.to_owned() })?;
            }
            Ok(())
        })
    }

    /// Notes that the peer has no session with this arbiter any more; it may have one with another.
    ///
    /// **Repeated**: the same again.
    pub fn session_over(&mut self, peer: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            let me = tx.arbiter().to_owned();
            tx.execute(
                sql!("UPDATE peer SET address = NULL, slots = NULL, writes = NULL, reaches = NULL"
                    ["" | ", arbiter = NULL"] " WHERE name = $1" ["" | " AND arbiter = $2"]),
                values![peer, me],
            )?;
            Ok(())
        })
    }

    /// Whether it is this arbiter's turn to do `work`, which is done once in `pause`, whoever does
    /// it. Asked at once by several, it is one's turn.
    ///
    /// **Repeated**: no.
    pub fn take_turn(
        &mut self,
        work: &str,
        pause: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.is_alone() {
            return Ok(true);
        }
        self.write(|tx| {
            // A turn that was begun in the future (the clock was set back) doesn't count.
            let turns = tx.execute(
                "INSERT INTO turn (work, begun_at) VALUES ($1, $2)
                 ON CONFLICT (work) DO UPDATE SET begun_at = excluded.begun_at
                 WHERE turn.begun_at NOT BETWEEN $2::bigint - $3::bigint + 1 AND $2",
                values![work, now, pause],
            )?;
            Ok(turns == 1)
        })
    }

    /// Whether there can be no other arbiter: nobody wonders, and every turn is this one's.
    const fn is_alone(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}
