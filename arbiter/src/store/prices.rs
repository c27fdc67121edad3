//! What paid packages cost, as their shops said.

use super::{Store, StoreError, own};
use crate::timestamp::Timestamp;
use canister_protocol::message::Price;

impl Store {
    /// Package ids of the lease's source whose price was asked for at `since` or later, ascending,
    /// at most `limit` of them and all above `after`. Fewer than `limit` means that there are no
    /// more.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn priced(
        &mut self,
        peer: &str,
        token: u64,
        after: &str,
        limit: usize,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        own!(self, priced(peer, token, after, limit, since, now))
    }

    /// Keeps prices that were asked for just now. They stand in the catalogue after the source's
    /// next publication, and are kept whatever becomes of the lease.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or the source would have more than
    /// [`PRICES_KEPT_MAX`](super::PRICES_KEPT_MAX).
    pub fn prices(
        &mut self,
        peer: &str,
        token: u64,
        prices: &[Price],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        own!(self, prices(peer, token, prices, now))
    }
}
