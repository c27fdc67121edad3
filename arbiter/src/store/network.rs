//! By whose clock the store goes.
//! Which arbiters there are and which sessions they have, so that any of them shows the whole
//! network; and who of them does what one does for all.

use super::{Store, StoreError, own};
use crate::timestamp::Timestamp;
use std::time::Duration;

impl Store {
    /// The moment by the store's own clock, which all that use it go by; `None` where that is this
    /// machine's.
    pub fn moment(&mut self) -> Result<Option<Timestamp>, StoreError> {
        own!(self, moment())
    }

    /// Notes that this arbiter is here. One that wasn't noted for [`SILENT_MAX`](super::SILENT_MAX)
    /// while others were is taken for gone, with its sessions.
    ///
    /// **Repeated**: the same again.
    pub fn beat(&mut self, listen: &str, program: &str, now: Timestamp) -> Result<(), StoreError> {
        own!(self, beat(listen, program, now))
    }

    /// Notes a session of a peer with this arbiter, or what changed of it. A session that it has
    /// with another one is over by that, and the other one is told.
    ///
    /// **Repeated**: the same again.
    pub fn session(
        &mut self,
        peer: &str,
        address: &str,
        slots: u32,
        writes: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        own!(self, session(peer, address, slots, writes, now))
    }

    /// Notes that the peer has no session with this arbiter any more; it may have one with another.
    ///
    /// **Repeated**: the same again.
    pub fn session_over(&mut self, peer: &str) -> Result<(), StoreError> {
        own!(self, session_over(peer))
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
        own!(self, take_turn(work, pause, now))
    }
}
