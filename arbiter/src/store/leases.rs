//! Who indexes what until when.

use super::{Grant, Lease, Store, StoreError, Terms, own};
use crate::timestamp::Timestamp;
use canister_protocol::message;

impl Store {
    /// Grants up to `slots` due sources to `peer`, in the order of
    /// [`choose`](crate::schedule::choose); none where nothing is due. A peer never holds more
    /// than [`SLOTS_MAX`](canister_protocol::limits::SLOTS_MAX).
    ///
    /// A lease that is past its time still counts until [`expire`](Self::expire) ended it, so that
    /// whoever must hear of its end does.
    ///
    /// **Repeated**: grants further sources. The peer whose grants got lost says which leases it
    /// knows when it connects again; the others are to be given back for it.
    pub fn claim(
        &mut self,
        peer: &str,
        slots: usize,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<Grant>, StoreError> {
        own!(self, claim(peer, slots, now, terms))
    }

    /// Extends those of `tokens` that `peer` holds, and returns them; all others are over or were
    /// never its.
    ///
    /// **Repeated**: the same again.
    pub fn renew(
        &mut self,
        peer: &str,
        tokens: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError> {
        own!(self, renew(peer, tokens, now, terms))
    }

    /// Ends a lease that `peer` won't do. Its source is due as before.
    ///
    /// **Repeated**: `Refused`.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn give_back(
        &mut self,
        peer: &str,
        token: u64,
        now: Timestamp,
    ) -> Result<Lease, StoreError> {
        own!(self, give_back(peer, token, now))
    }

    /// Ends all leases whose time is over, and returns them. Their sources are due as before: that
    /// a peer vanished is not the source's failure.
    ///
    /// **Repeated**: returns what ended since.
    pub fn expire(&mut self, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        own!(self, expire(now))
    }

    /// Takes a lease away, whoever holds it; `None` where it is over already. Its source is due as
    /// before.
    pub fn revoke(&mut self, token: u64, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        own!(self, revoke(token, now))
    }

    /// Brings forward what lies further ahead than anything granted or scheduled `now` could: the
    /// clock was set back, or a time in the configuration was shortened. Finds anew who runs each
    /// source's server. To be called at start.
    ///
    /// **Repeated**: the same again.
    pub fn bring_forward(&mut self, now: Timestamp, terms: &Terms) -> Result<(), StoreError> {
        own!(self, bring_forward(now, terms))
    }

    /// The leases that `peer` holds, oldest first.
    pub fn held_by(&mut self, peer: &str, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        own!(self, held_by(peer, now))
    }

    /// The next moment at which something happens by itself: a lease expires, a waiting source
    /// becomes due, a server may be asked again. `None` where nothing ever will.
    ///
    /// A source that is due already is not counted: it waits for a slot, or for its operator.
    pub fn next_deadline(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Option<Timestamp>, StoreError> {
        own!(self, next_deadline(now, terms))
    }
}

/// What is written down of a lease that ended.
#[derive(Default)]
pub(super) struct Report<'a> {
    pub(super) cost: message::Cost,
    pub(super) counts: message::Counts,
    pub(super) error: Option<&'a str>,
}
