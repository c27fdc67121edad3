//! Since when the store fails or can't be reached, and why: shared by all that use it, so that it is
//! logged once, and once that it is over.

use super::StoreError;
use canister_link::clock;
use log::{error, info};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A disk that is full fails some calls, while those that read succeed: it has room again when none
/// failed for so long, which is longer than any is tried again after.
const ROOM_AFTER: Duration = Duration::from_secs(15);

/// An outage of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When it began, in seconds since 1970.
    pub since_secs: u64,
    /// What failed first, in a line.
    pub why: String,
    /// When a call last failed because the disk is full, where one did.
    full_at: Option<Instant>,
}

/// Whether there is an outage; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Outages(Arc<Mutex<Option<Outage>>>);

impl Outages {
    /// The outage there is.
    pub fn now(&self) -> Option<Outage> {
        self.lock().clone()
    }

    /// Something failed by the store; only the first failure of an outage is remembered.
    pub fn begins(&self, why: &StoreError) {
        let mut outage = self.lock();
        let outage = outage.get_or_insert_with(|| {
            let why = why.to_string();
            error!(why = why.as_str(); "the store fails; it is tried again until it works");
            Outage { since_secs: clock::wall_millis() / 1000, why, full_at: None }
        });
        if matches!(why, StoreError::Full { .. }) {
            outage.full_at = Some(clock::now());
        }
    }

    /// Something succeeded.
    pub fn ends(&self) {
        self.ends_at(clock::now());
    }

    fn ends_at(&self, now: Instant) {
        let is_over = |outage: &mut Outage| {
            outage.full_at.is_none_or(|at| now.duration_since(at) > ROOM_AFTER)
        };
        if let Some(outage) = self.lock().take_if(is_over) {
            let secs = (clock::wall_millis() / 1000).saturating_sub(outage.since_secs);
            info!(secs, why = outage.why.as_str(); "the store works again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_first_is_why_until_something_works() {
        let refused = |cause: &str| StoreError::Refused { why: cause.to_owned() };
        let outages = Outages::default();
        assert_eq!(outages.now(), None);
        outages.begins(&refused("connection refused"));
        outages.clone().begins(&refused("no route"));
        assert_eq!(outages.now().unwrap().why, "connection refused");
        outages.ends();
        assert_eq!(outages.now(), None);
    }

    #[test]
    fn a_full_disk_has_room_when_nothing_failed_for_a_while() {
        let outages = Outages::default();
        let full = StoreError::Full { database: "a".to_owned() };
        outages.begins(&full);
        // What reads succeeds meanwhile.
        outages.ends();
        assert!(outages.now().is_some());
        outages.begins(&full);
        outages.ends_at(clock::now() + ROOM_AFTER * 2);
        assert_eq!(outages.now(), None);
    }
}
