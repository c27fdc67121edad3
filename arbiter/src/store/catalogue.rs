//! The published packages, read.

use super::{Counts, Found, Store, StoreError, own};
use crate::timestamp::Timestamp;

impl Store {
    /// Finds visible packages, in their latest versions, that have all the words of `text`; the
    /// last one may be the beginning of a word. Best first: words in the name and package id weigh
    /// most, then the author's, then the description's; then the source's ranking.
    ///
    /// # Errors
    /// Never `Refused`: any text is a search.
    pub fn search(&mut self, text: &str, limit: usize) -> Result<Vec<Found>, StoreError> {
        own!(self, search(text, limit))
    }

    /// What there is. Takes time in proportion to the number of sources, not of packages.
    pub fn counts(&mut self, now: Timestamp) -> Result<Counts, StoreError> {
        own!(self, counts(now))
    }
}
