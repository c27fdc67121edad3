//! The network of one arbiter: its sessions, its turns, this machine's clock.

use super::Sqlite;
use crate::store::StoreError;
use crate::timestamp::Timestamp;
use rusqlite::params;
use std::time::Duration;

impl Sqlite {
    pub(in crate::store) fn moment(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }
}

impl Sqlite {
    pub(in crate::store) fn beat(
        &mut self,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        // There is no other that could wonder.
        Ok(())
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
            super::peers::seen(tx, peer, None, now)?;
            tx.prepare_cached(
                "UPDATE peer SET address = ?2, slots = ?3, writes = ?4 WHERE name = ?1",
            )?
            .execute(params![peer, address, slots, writes])?;
            Ok(())
        })
    }

    pub(in crate::store) fn session_over(&mut self, peer: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE peer SET address = NULL, slots = NULL, writes = NULL WHERE name = ?1",
            )?
            .execute([peer])?;
            Ok(())
        })
    }

    pub(in crate::store) fn take_turn(
        &mut self,
        _: &str,
        _: Duration,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        // Who else?
        Ok(true)
    }
}
