//! What the public pages tell, taken from the store at most once a second however often they are
//! asked for.

use crate::deeds::announce::Announced;
use crate::hub::Hub;
use crate::hub::store_thread::{PUBLIC_MAX, Silence};
use crate::rules::timestamp::Timestamp;
use crate::store::{Peer, SourceState, Stage, StoreCounts, StoreError};
use canister_link::clock;
use log::error;
use smol::lock::Mutex;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How old a snapshot may be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The arbiter at a moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) counts: StoreCounts,
    /// Those that the source list names.
    pub(super) sources: Vec<SourceState>,
    pub(super) peers: Vec<Peer>,
    pub(super) peers_connected: usize,
    pub(super) announced: Announced,
}

impl Snapshot {
    /// In a few words.
    pub(super) fn line(&self) -> String {
        let StoreCounts { sources, due, failing, .. } = self.counts;
        let peers = self.peers_connected;
        format!("{sources} sources, {due} due, {failing} failing; {peers} peers connected")
    }
}

/// Why there is no snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    Failed,
    Silent(Silence),
}

type SnapshotTaken = Result<Rc<Snapshot>, Trouble>;

/// The newest snapshot, or why there is none.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Option<(Instant, SnapshotTaken)>>);

impl Snapshots {
    /// One that is at most a second old. Who asks while it is taken waits for it, and hears the
    /// same if there is none.
    pub(super) async fn latest(&self, hub: &Hub, answered: &Announced) -> SnapshotTaken {
        let mut newest = self.0.lock().await;
        if let Some((at, taken)) = &*newest
            && clock::now() - *at < AGE_MAX
        {
            return taken.clone();
        }
        let taken = match hub.store.in_time(PUBLIC_MAX, take(hub, answered)).await {
            Ok(Ok(snapshot)) => Ok(Rc::new(snapshot)),
            Ok(Err(cause)) => {
                error!(cause:%; "the store failed; the public pages can't be shown");
                Err(Trouble::Failed)
            }
            Err(silence) => Err(Trouble::Silent(silence)),
        };
        *newest = Some((clock::now(), taken.clone()));
        taken
    }
}

async fn take(hub: &Hub, answered: &Announced) -> Result<Snapshot, StoreError> {
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
    Ok(Snapshot {
        now,
        counts,
        sources,
        peers,
        peers_connected: hub.sessions.borrow().iter().count(),
        announced: answered.clone(),
    })
}
