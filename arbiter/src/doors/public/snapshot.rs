//! What the public pages tell, taken from the store at most once a second however often they are
//! asked for, and kept for the time when the store is gone.

use crate::hub::Hub;
use crate::hub::store_thread::{PUBLIC_MAX, Silence};
use crate::rules::timestamp::Timestamp;
use crate::store::{Peer, SourceState, Stage, StoreCounts, StoreError};
use canister_link::clock;
use smol::Timer;
use smol::lock::Mutex;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How old a snapshot may be.
const AGE_MAX: Duration = Duration::from_secs(1);
/// How long a newer one is waited for, where there is one.
const NEWER_MAX: Duration = Duration::from_millis(80);
/// How old one becomes at most while nobody asks and the store answers.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The arbiter at a moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) counts: StoreCounts,
    /// Those that the source list names.
    pub(super) sources: Vec<SourceState>,
    pub(super) peers: Vec<Peer>,
}

impl Snapshot {
    /// In a few words, with so many peers.
    pub(super) fn line(&self, peers: usize) -> String {
        let StoreCounts { sources, due, failing, .. } = self.counts;
        format!("{sources} sources, {due} due, {failing} failing; {peers} peers connected")
    }
}

/// The newest snapshot, and what is known of the store's trouble since.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) snapshot: Rc<Snapshot>,
    pub(super) trouble: Option<Silence>,
}

/// The newest snapshot.
#[derive(Default)]
pub(super) struct Snapshots {
    newest: RefCell<Option<(Instant, Rc<Snapshot>)>>,
    /// Held while one is taken.
    taking: Mutex<()>,
}

impl Snapshots {
    /// One that is at most a second old, where the store gives it at once; else the last there is.
    ///
    /// # Errors
    /// There is none yet, and the store gives none.
    pub(super) async fn latest(self: &Rc<Self>, hub: &Rc<Hub>) -> Result<Shown, Silence> {
        let mut silence = None;
        if !self.is_fresh() {
            let trouble = hub.store.trouble();
            let is_first = self.newest.borrow().is_none();
            let longest = match (&trouble, is_first) {
                (Some(_), _) => Duration::ZERO,
                (None, true) => PUBLIC_MAX,
                (None, false) => NEWER_MAX,
            };
            // Whoever asks meanwhile waits for the same one.
            if trouble.is_none() || self.taking.try_lock().is_some() {
                let (all, there) = (Rc::clone(self), Rc::clone(hub));
                let taking = async move { all.take(&there).await };
                silence = hub.within(longest, taking).await.err();
            }
        }
        let newest = self.newest.borrow();
        match &*newest {
            Some((_, snapshot)) => {
                Ok(Shown { snapshot: Rc::clone(snapshot), trouble: hub.store.trouble() })
            }
            None => {
                let trouble = hub.store.trouble().or(silence);
                Err(trouble.unwrap_or_else(|| hub.store.silence(Duration::ZERO)))
            }
        }
    }

    /// Takes one now and then though nobody asks, so that there is one when the store is gone.
    pub(super) async fn keep(self: Rc<Self>, hub: Rc<Hub>) {
        loop {
            self.take(&hub).await;
            Timer::after(KEPT_FOR).await;
        }
    }

    fn is_fresh(&self) -> bool {
        let is_fresh = |(at, _): &(Instant, _)| clock::now() - *at < AGE_MAX;
        self.newest.borrow().as_ref().is_some_and(is_fresh)
    }

    async fn take(&self, hub: &Hub) {
        let _taking = self.taking.lock().await;
        if self.is_fresh() {
            return;
        }
        match take(hub).await {
            Ok(snapshot) => {
                hub.store.outages.ends();
                *self.newest.borrow_mut() = Some((clock::now(), Rc::new(snapshot)));
            }
            Err(cause) => hub.store.outages.begins(cause),
        }
    }
}

async fn take(hub: &Hub) -> Result<Snapshot, StoreError> {
    let now = hub.now();
    let (counts, mut sources, peers) = hub
        .store
        .call(move |store| Ok((store.counts(now)?, store.sources()?, store.peers()?)))
        .await?;
    // What strangers announced is nobody's to see until the operator has.
    sources.retain(|state| {
        state.is_listed
            && state.blocked.is_none()
            && matches!(state.discovery, None | Some(Stage::Approved))
    });
    Ok(Snapshot { now, counts, sources, peers })
}
