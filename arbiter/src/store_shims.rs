//! Stand-ins.
#![allow(missing_docs)]
use crate::alive::Renewal;
use crate::store::{Lease, Store, StoreError, Terms};
use crate::timestamp::Timestamp;

pub struct Expired {
    pub gone: Vec<Renewal>,
    pub ended: Vec<Lease>,
}

impl Store {
    pub fn expire_all(
        &mut self,
        now: Timestamp,
        renewals: &[Renewal],
        terms: &Terms,
    ) -> Result<Expired, StoreError> {
        let mut gone = Vec::new();
        for renewal in renewals {
            if self.renew(&renewal.peer, &[renewal.token], renewal.at, terms)?.is_empty() {
                gone.push(renewal.clone());
            }
        }
        Ok(Expired { gone, ended: self.expire(now)? })
    }
    pub fn greet(
        &mut self,
        peer: &str,
        agent: &str,
        knows: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError> {
        self.seen(peer, agent, now)?;
        for held in self.held_by(peer, now)? {
            if !knows.contains(&held.token) {
                match self.give_back(peer, held.token, now) {
                    Err(cause) if cause.is_refusal() => {}
                    other => {
                        other?;
                    }
                }
            }
        }
        self.renew(peer, knows, now, terms)
    }
    pub fn end_all(&mut self, peer: &str, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        let mut ended = Vec::new();
        for held in self.held_by(peer, now)? {
            match self.give_back(peer, held.token, now) {
                Err(cause) if cause.is_refusal() => {}
                other => ended.push(other?),
            }
        }
        Ok(ended)
    }
}
