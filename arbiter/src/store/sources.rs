//! What is to be indexed, and what is remembered of it.

use super::{Attempt, Lease, SourceState, Store, StoreError, own};
use crate::sources::{Diff, Known};
use crate::timestamp::Timestamp;
use canister_protocol::Source;

impl Store {
    /// All sources that were ever listed, by slug: what a source list is compared with.
    pub fn known_sources(&mut self) -> Result<Vec<Known>, StoreError> {
        own!(self, known_sources())
    }

    /// Applies what a source list changed, and returns the leases that it ended.
    ///
    /// A removed source is hidden and polled no more; a returned one is shown again and due. A
    /// changed one has its catalogue columns changed at once; where its files are to be found
    /// elsewhere now, it is due and what is remembered of them is forgotten. The leases of sources
    /// that were removed or are found elsewhere are revoked: their peers read what is not meant
    /// any more.
    ///
    /// **Repeated**: the same again, with no lease left to end.
    pub fn apply_sources(&mut self, diff: &Diff, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        own!(self, apply_sources(diff, now))
    }

    /// All sources, by slug.
    pub fn sources(&mut self) -> Result<Vec<SourceState>, StoreError> {
        own!(self, sources())
    }

    /// One source.
    pub fn source(&mut self, slug: &str) -> Result<Option<SourceState>, StoreError> {
        own!(self, source(slug))
    }

    /// The newest `limit` attempts of a source, newest first. At most
    /// [`ATTEMPTS_KEPT`](super::ATTEMPTS_KEPT) are kept.
    pub fn attempts(&mut self, slug: &str, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        own!(self, attempts(slug, limit))
    }

    /// Makes a listed source due at once, or all of them, and returns how many there are. One
    /// that is leased is due again only as its finish says.
    ///
    /// **Repeated**: the same again.
    pub fn sync(&mut self, slug: Option<&str>, now: Timestamp) -> Result<u64, StoreError> {
        own!(self, sync(slug, now))
    }

    /// Makes a listed source due at once because somebody announced `cid` of it, and remembers
    /// that; any other source stays as it is. One that is leased is due again after its lease,
    /// unless the lease finds exactly `cid` as its head.
    ///
    /// **Repeated**: the same again.
    pub fn announce(
        &mut self,
        slug: &str,
        cid: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        own!(self, announce(slug, cid, now))
    }
}

/// Whether two definitions of a source name different files.
pub(super) fn is_elsewhere(before: &Source, after: &Source) -> bool {
    before.uri != after.uri
        || before.suite != after.suite
        || before.component != after.component
        || before.architecture != after.architecture
}
