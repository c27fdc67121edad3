//! What the public pages tell, taken from the store at most once a second however often they are
//! asked for, and kept for the time when the store is gone. Of sources so few are kept that it doesn't matter how
//! many there are: what is told of more is counted while they go by, or read when it is asked for.

use super::wish::{Sought, Wish, Wished};
use crate::hub::Hub;
use crate::hub::store_thread::{NEWER_MAX, PUBLIC_MAX, Silence};
use crate::rules::exchange::ToldDecision;
use crate::rules::timestamp::Timestamp;
use crate::store::{
    ArbiterState, HeldChange, Peer, SourceLine, SourceState, Store, StoreCounts, StoreError, Tally,
};
use canister_link::clock;
use canister_protocol::message::FailureKind;
use smol::Timer;
use smol::lock::Mutex;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How old a snapshot may be ...
const AGE_MAX: Duration = Duration::from_secs(1);
/// ... or this for each source, where that is more: some twenty times what it takes to look at one.
const AGE_OF_SOURCE: Duration = Duration::from_micros(40);
/// How old one becomes at most while nobody asks and the store answers.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Most sources that are kept, with all that is known of each.
pub(super) const KEPT_MAX: usize = 5000;
/// Sources that are read at once with all that is known of each, and as lines: either takes some 5 ms.
pub(super) const READ: usize = 500;
pub(super) const READ_LINES: usize = 2000;
/// After how long without contact by a peer a source that is due is late.
const LATE_AFTER: Duration = Duration::from_secs(15 * 60);

/// How far back it is told what the network did.
const TALLIED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The arbiter at a moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) counts: StoreCounts,
    pub(super) census: Census,
    /// What everybody sees who wishes for nothing.
    first: Wished,
    /// The sources that everybody may see, by slug; none where they are too many to be kept.
    pub(super) sources: Option<Vec<SourceState>>,
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

/// What is counted of the sources that everybody may see.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) polled: u64,
    /// Those that have waited for a peer for 15 minutes.
    pub(super) late: u64,
    /// How long the one has waited that waits longest.
    pub(super) waited_max: Duration,
    /// Those that fail, by why in a few words; by none where it is older than that is remembered.
    pub(super) failing: BTreeMap<Option<&'static str>, u64>,
}

impl Census {
    fn see(&mut self, line: &SourceLine, now: Timestamp) {
        if line.failures > 0 {
            *self.failing.entry(line.reason.map(FailureKind::words)).or_default() += 1;
        }
        if line.is_polled {
            self.polled += 1;
            if !line.is_leased {
                let waited = now.since(line.due_at);
                self.late += u64::from(waited > LATE_AFTER);
                self.waited_max = self.waited_max.max(waited);
            }
        }
    }
}

/// What is known of the sources while they go by.
struct GoneBy {
    now: Timestamp,
    census: Census,
    first: Sought,
    kept: Option<Vec<SourceState>>,
}

impl GoneBy {
    fn new(now: Timestamp) -> Self {
        let first = Sought::new(Wish::default(), now);
        Self { now, census: Census::default(), first, kept: Some(Vec::new()) }
    }

    /// Looks at the next sources behind `after`; behind which to go on.
    fn look(&mut self, store: &mut Store, after: &str) -> Result<Option<String>, StoreError> {
        let Some(kept) = &mut self.kept else {
            let (lines, next) = store.lines_after(after, READ_LINES)?;
            lines.iter().for_each(|line| self.see(line));
            return Ok(next);
        };
        let (states, next) = told_after(store, after)?;
        let lines: Vec<SourceLine> = states.iter().map(SourceLine::from).collect();
        kept.extend(states);
        if kept.len() > KEPT_MAX {
            self.kept = None;
        }
        lines.iter().for_each(|line| self.see(line));
        Ok(next)
    }

    fn see(&mut self, line: &SourceLine) {
        self.census.see(line, self.now);
        self.first.see(line);
    }
}

/// Those of the next sources behind `after` that everybody may see, and behind which to go on.
pub(super) fn told_after(
    store: &mut Store,
    after: &str,
) -> Result<(Vec<SourceState>, Option<String>), StoreError> {
    let mut states = store.sources_after(after, READ)?;
    let next = states.last().filter(|_| states.len() == READ).map(|last| last.source.slug.clone());
    states.retain(SourceState::is_for_everybody);
    Ok((states, next))
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
        let found = snapshot.sources.iter().flatten().find(|it| it.source.slug == slug)?;
        Some((found.clone(), snapshot.now))
    }

    fn is_fresh(&self) -> bool {
        let is_fresh = |(at, snapshot): &(Instant, Rc<Snapshot>)| {
            let sources = u32::try_from(snapshot.counts.sources).unwrap_or(u32::MAX);
            clock::now() - *at < AGE_MAX.max(AGE_OF_SOURCE.saturating_mul(sources))
        };
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
    let counts = hub.store.counts(now).await?;
    let seen = hub.store.in_parts(GoneBy::new(now), |store, seen, after| seen.look(store, after));
    let GoneBy { census, first, kept, .. } = seen.await?;
    let decided = ToldDecision::slugs(&hub.policy());
    let asked = move |store: &mut Store| {
        let snapshot = Snapshot {
            now,
            counts,
            census,
            first: first.found(),
            sources: kept,
            peers: store.peers()?,
            decisions: Vec::new(),
            tallies: store.tallies(now.minus(TALLIED))?,
            held: store.held()?,
            arbiters: store.arbiters(now)?,
        };
        Ok::<_, StoreError>((snapshot, store.uris_of(&decided)?))
    };
    let (mut snapshot, uris) = hub.store.call(asked).await?;
    snapshot.decisions = ToldDecision::of(&hub.policy(), &uris);
    Ok(snapshot)
}

impl Snapshot {
    /// The sources that are wished for, unless only the store knows.
    pub(super) fn wished(&self, wish: &Wish) -> Option<Cow<'_, Wished>> {
        if wish.is_none() {
            return Some(Cow::Borrowed(&self.first));
        }
        let mut sought = Sought::new(wish.clone(), self.now);
        self.sources.as_ref()?.iter().for_each(|state| sought.see(&state.into()));
        Some(Cow::Owned(sought.found()))
    }
}
