//! Since when the store fails or can't be reached, and why: shared by all that use it, so that it is
//! logged once, and once that it is over.

use canister_link::clock;
use log::{error, info};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An outage of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When it began, in seconds since 1970.
    pub since_secs: u64,
    /// What failed first, in a line.
    pub why: String,
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
    pub fn begins(&self, why: impl ToString) {
        let mut outage = self.lock();
        if outage.is_none() {
            let why = why.to_string();
            error!(why = why.as_str(); "the store fails; it is tried again until it works");
            *outage = Some(Outage { since_secs: clock::wall_millis() / 1000, why });
        }
    }

    /// Something succeeded.
    pub fn ends(&self) {
        if let Some(outage) = self.lock().take() {
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
        let outages = Outages::default();
        assert_eq!(outages.now(), None);
        outages.begins("connection refused");
        outages.clone().begins("no route");
        assert_eq!(outages.now().unwrap().why, "connection refused");
        outages.ends();
        assert_eq!(outages.now(), None);
    }
}
