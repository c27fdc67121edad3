//! What a peer asks and puts under its lease. Nothing here touches the catalogue.

use super::{Store, StoreError, own};
use crate::timestamp::Timestamp;
use canister_protocol::{Digest, PackageRow};

impl Store {
    /// Digests of the live packages of the lease's source, ascending, at most `limit` of them and
    /// all above `after`. Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn known(
        &mut self,
        peer: &str,
        token: u64,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        own!(self, known(peer, token, after, limit, now))
    }

    /// Stages rows, in their order. A row that is staged under the lease already (by its digest)
    /// is left as it is.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or would hold more than
    /// [`STAGED_ROWS_MAX`](super::STAGED_ROWS_MAX) or
    /// [`STAGED_BYTES_MAX`](super::STAGED_BYTES_MAX), or where a row isn't one the catalogue could
    /// hold ([`PackageRow::check`]).
    pub fn put(
        &mut self,
        peer: &str,
        token: u64,
        rows: &[PackageRow],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        own!(self, put(peer, token, rows, now))
    }

    /// Stages that the index has these digests no more. One that is staged already is left as it
    /// is; one that the catalogue doesn't have does nothing later.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or would hold more than
    /// [`STAGED_ROWS_MAX`](super::STAGED_ROWS_MAX).
    pub fn dropped(
        &mut self,
        peer: &str,
        token: u64,
        digests: &[Digest],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        own!(self, dropped(peer, token, digests, now))
    }

    /// Forgets all that was put and dropped under the lease.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn discard(&mut self, peer: &str, token: u64, now: Timestamp) -> Result<(), StoreError> {
        own!(self, discard(peer, token, now))
    }
}
