//! The network of several arbiters: who is here, which sessions each has, whose turn it is, and the
//! one clock that all go by.

use super::events::{self, Event};
use super::{Postgres, signed};
use crate::store::StoreError;
use crate::timestamp::Timestamp;
use std::time::Duration;

impl Postgres {
    pub(in crate::store) fn moment(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|tx| Ok(Some(tx.one("SELECT arbiter.now()", &[])?.get(0))))
    }
}

impl Postgres {
    pub(in crate::store) fn beat(
        &mut self,
        listen: &str,
        program: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let me = tx.arbiter;
            tx.execute(
                "INSERT INTO arbiter (name, listen, program, started_at, seen_at)
                 VALUES ($1, $2, $3, $4, $4)
                 ON CONFLICT (name) DO UPDATE
                 SET listen = excluded.listen, program = excluded.program,
                     seen_at = greatest(arbiter.seen_at, excluded.seen_at)",
                &[&me, &listen, &program, &now],
            )?;
            Ok(())
        })
    }

    pub(in crate::store) fn session(
        &mut self,
        peer: &str,
        address: &str,
        slots: u32,
        writes: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let me = tx.arbiter;
            super::peers::seen(tx, peer, None, now)?;
            let before = tx.one("SELECT arbiter FROM peer WHERE name = $1", &[&peer])?;
            tx.execute(
                "UPDATE peer SET arbiter = $2, address = $3, slots = $4, writes = $5
                 WHERE name = $1",
                &[&peer, &me, &address, &i32::try_from(slots).unwrap_or(i32::MAX), &writes],
            )?;
            if before.get::<_, Option<&str>>(0).is_some_and(|name| name != me) {
                let peer = peer.to_owned();
                events::tell(tx, Event::Moved { peer })?;
            }
            Ok(())
        })
    }

    pub(in crate::store) fn session_over(&mut self, peer: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            let me = tx.arbiter;
            tx.execute(
                "UPDATE peer SET arbiter = NULL, address = NULL, slots = NULL, writes = NULL
                 WHERE name = $1 AND arbiter = $2",
                &[&peer, &me],
            )?;
            Ok(())
        })
    }

    pub(in crate::store) fn take_turn(
        &mut self,
        work: &str,
        pause: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let pause = signed(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.write(|tx| {
            // A turn that was begun in the future (the clock was set back) doesn't count.
            let turns = tx.execute(
                "INSERT INTO turn (work, begun_at) VALUES ($1, $2)
                 ON CONFLICT (work) DO UPDATE SET begun_at = excluded.begun_at
                 WHERE turn.begun_at NOT BETWEEN $2::bigint - $3::bigint + 1 AND $2",
                &[&work, &now, &pause],
            )?;
            Ok(turns == 1)
        })
    }
}
