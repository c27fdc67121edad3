//! Who runs the sources' servers, and how they took us.

use super::{ServerState, Store, StoreError, own};
use crate::timestamp::Timestamp;
use std::net::IpAddr;

impl Store {
    /// The hosts of all polled sources, in lower case.
    pub fn hosts(&mut self) -> Result<Vec<String>, StoreError> {
        own!(self, hosts())
    }

    /// Remembers that `host` has these addresses `now`, beside those that were seen lately. Where
    /// that is new, operators are found anew.
    ///
    /// **Repeated**: the same again.
    pub fn locate(
        &mut self,
        host: &str,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        own!(self, locate(host, addresses, now))
    }

    /// Whether any server sent `peer` away and still keeps it so.
    pub fn is_sent_away(&mut self, peer: &str, now: Timestamp) -> Result<bool, StoreError> {
        own!(self, is_sent_away(peer, now))
    }

    /// All domains of polled sources with their operators, by operator.
    pub fn servers(&mut self) -> Result<Vec<ServerState>, StoreError> {
        own!(self, servers())
    }
}
