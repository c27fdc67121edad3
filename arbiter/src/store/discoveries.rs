//! Sources that announcements made known.

use super::{Discovered, Store, StoreError, own};
use crate::timestamp::Timestamp;
use canister_protocol::Source;

impl Store {
    /// Takes in a source that is not known, to be looked at once; under its slug, or with a number
    /// behind it where another source is called so. It is not shown before that look, nor is
    /// anything of it published: with `Indexed` it becomes [`Found`](super::Stage::Found), hidden
    /// and polled no more, or, where announcements are trusted, an
    /// [`Approved`](super::Stage::Approved) source that is published like any other. A look that
    /// fails by the source's fault, or so often by anybody's, makes it
    /// [`Refused`](super::Stage::Refused). Refusals that are older than
    /// [`REFUSED_FOR`](super::REFUSED_FOR) are forgotten here.
    ///
    /// **Repeated**: takes it in twice. The caller asks first whether it is known.
    pub fn discover(
        &mut self,
        source: &Source,
        by: &str,
        is_trusted: bool,
        now: Timestamp,
    ) -> Result<Discovered, StoreError> {
        own!(self, discover(source, by, is_trusted, now))
    }

    /// Makes a discovered source one like any other, due at once; whether there is one that wasn't.
    ///
    /// **Repeated**: false.
    pub fn approve(&mut self, slug: &str, now: Timestamp) -> Result<bool, StoreError> {
        own!(self, approve(slug, now))
    }
}
