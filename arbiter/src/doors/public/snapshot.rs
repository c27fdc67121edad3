//! What the public pages tell, taken from the store at most once a second however often they are
//! asked for, and kept for the time when the store is gone.

use crate::hub::Hub;
use crate::hub::store_thread::{NEWER_MAX, PUBLIC_MAX, Silence};
use crate::rules::exchange::{SharedSources, ToldDecision};
use crate::rules::timestamp::Timestamp;
use crate::store::{
    ArbiterState, HeldChange, Peer, SourceState, Stage, Store, StoreCounts, StoreError, Tally,
};
use canister_link::clock;
use smol::Timer;
use smol::lock::Mutex;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How old a snapshot may be.
const AGE_MAX: Duration = Duration::from_secs(1);
/// How old one becomes at most while nobody asks and the store answers.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// How far back it is told what the network did.
const TALLIED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The arbiter at a moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) counts: StoreCounts,
    /// Those that the source list names.
    pub(super) sources: Vec<SourceState>,
    pub(super) peers: Vec<Peer>,
    /// What other arbiters may be told of what was decided.
    pub(super) decisions: Vec<ToldDecision>,
    /// Changes that wait for the operator.
    pub(super) held: Vec<HeldChange>,
    /// What the network did within a week, oldest first.
    pub(super) tallies: Vec<Tally>,
    /// Those on the database; none where there can be one only.
    pub(super) arbiters: Vec<ArbiterState>,
}

/// Peers that have a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeersConnected {
    /// With whichever arbiter.
    pub(super) network: u64,
    /// With this one.
    pub(super) here: u64,
}

/// The newest snapshot, and what is known of the store's trouble since.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) snapshot: Rc<Snapshot>,
    pub(super) trouble: Option<Silence>,
    pub(super) peers: PeersConnected,
}

impl Shown {
    /// In a few words.
    pub(super) fn line(&self) -> String {
        let StoreCounts { sources, due, failing, .. } = self.snapshot.counts;
        let PeersConnected { network, here } = self.peers;
        format!(
            "{sources} sources, {due} due, {failing} failing; {network} peers connected, {here} here"
        )
    }
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
                let here = hub.sessions.borrow().iter().count() as u64;
                let network = snapshot.peers.iter().filter(|peer| peer.session.is_some()).count();
                // What the store knows of this arbiter's follows a moment later.
                let peers = PeersConnected { network: here.max(network as u64), here };
                let (snapshot, trouble) = (Rc::clone(snapshot), hub.store.trouble());
                Ok(Shown { snapshot, trouble, peers })
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

    /// A source as it was last known, and when.
    pub(super) fn source(&self, slug: &str) -> Option<(SourceState, Timestamp)> {
        let newest = self.newest.borrow();
        let (_, snapshot) = newest.as_ref()?;
        let found = snapshot.sources.iter().find(|state| state.source.slug == slug)?;
        Some((found.clone(), snapshot.now))
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
            Err(cause) => hub.store.outages.begins(&cause),
        }
    }
}

async fn take(hub: &Hub) -> Result<Snapshot, StoreError> {
    let now = hub.now();
    let asked = move |store: &mut Store| {
        Ok::<_, StoreError>(Snapshot {
            now,
            counts: store.counts(now)?,
            sources: store.sources()?,
            peers: store.peers()?,
            decisions: Vec::new(),
            tallies: store.tallies(now.minus(TALLIED))?,
            held: store.held()?,
            arbiters: store.arbiters(now)?,
        })
    };
    let mut snapshot = hub.store.call(asked).await?;
    snapshot.decisions = SharedSources::decisions_of(&hub.policy(), &snapshot.sources);
    // What strangers announced is nobody's to see until the operator has.
    snapshot.sources.retain(|state| {
        state.is_listed
            && state.blocked.is_none()
            && matches!(state.discovery, None | Some(Stage::Approved))
    });
    Ok(snapshot)
}
