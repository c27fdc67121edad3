//! Who was ever here.

use super::{Peer, Store, StoreError, own};
use crate::timestamp::Timestamp;

impl Store {
    /// Notes that `peer` is here with the program `agent`.
    ///
    /// **Repeated**: the same again.
    pub fn seen(&mut self, peer: &str, agent: &str, now: Timestamp) -> Result<(), StoreError> {
        own!(self, seen(peer, agent, now))
    }

    /// All peers that were ever seen, by name.
    pub fn peers(&mut self) -> Result<Vec<Peer>, StoreError> {
        own!(self, peers())
    }
}
