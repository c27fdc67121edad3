//! What everything in a running arbiter needs and nothing more: the store, the time, the connected
//! peers, the rules in force, and a way to have the loop look again. It decides nothing.

pub mod alive;
pub mod metrics;
pub mod sessions;
pub mod store_thread;

use crate::PROGRAM;
use crate::config::SettingTexts;
use crate::hub::alive::Alive;
use crate::hub::metrics::Metrics;
use crate::hub::sessions::Sessions;
use crate::hub::store_thread::{Silence, StoreThread};
use crate::rules::expiry::Expiry;
use crate::rules::policy::{self, Policy};
use crate::rules::revocations::Revocations;
use crate::rules::room::Disk;
use crate::rules::timestamp::Timestamp;
use crate::store::{Store, StoreError, Terms};
use canister_link::clock;
use canister_protocol::ToPeer;
use canister_protocol::limits::{SLOTS_MAX, TEXT_BYTES_MAX};
use canister_protocol::message::cut;
use log::{info, warn};
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender};
use smol::lock::{Mutex, MutexGuard};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the arbiter is noted as being here, and the store's clock is looked at. Between two
/// looks its time goes on by this machine's monotonic clock.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// The clock has stepped that is off by so much: what is less, time servers do all day.
const STEP_MIN: Duration = Duration::from_secs(60);

/// The middle of a running arbiter.
pub struct Hub {
    executor: LocalExecutor<'static>,
    pub store: StoreThread,
    pub sessions: RefCell<Sessions>,
    /// The leases that live though the store may not know it.
    pub alive: RefCell<Alive>,
    /// Peers of whom it is being noted whether they are connected.
    noting: RefCell<BTreeSet<String>>,
    /// How leases, sources and servers are treated.
    terms: RefCell<Arc<Terms>>,
    /// Who may be indexed and who may announce.
    policy: RefCell<Arc<Policy>>,
    /// Whose turn it is to change these two.
    turn: Mutex<()>,
    /// The store's moment, and when it was looked at; none where its clock is this machine's.
    moment: Cell<Option<(Instant, Timestamp)>>,
    /// What each setting in force was told.
    pub told: RefCell<SettingTexts>,
    /// What this arbiter lives by, and until when.
    pub expiries: RefCell<Vec<Expiry>>,
    /// Which certificates are revoked at the moment.
    pub revocations: RefCell<Arc<Revocations>>,
    /// When this arbiter was last noted as being here.
    beat: Cell<Option<Instant>>,
    /// Whether the disk is full: nothing is granted then.
    pub is_full: Cell<bool>,
    /// The disk that the store is on, where that is this machine's, as it was last looked at.
    pub disk: Cell<Option<Disk>>,
    /// How the reading of lists went the last time.
    pub lists: RefCell<ListsRead>,
    /// What this arbiter counts of its own work.
    pub metrics: Metrics,
    /// The last moment that was looked at, by both clocks.
    seen: Cell<(Instant, Timestamp)>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

/// How the reading of lists went.
#[derive(Debug, Default)]
pub struct ListsRead {
    /// When this arbiter last read the source list.
    pub read_at: Option<Timestamp>,
    /// The lists that it couldn't read the last time, since when, and why.
    pub unread: BTreeMap<String, (Timestamp, String)>,
}

impl ListsRead {
    /// A list was read, or wasn't.
    pub fn note(&mut self, list: &str, now: Timestamp, unread: Option<&str>) {
        match unread {
            Some(why) => {
                let (_, reason) =
                    self.unread.entry(list.to_owned()).or_insert_with(|| (now, String::new()));
                why.clone_into(reason);
            }
            None => drop(self.unread.remove(list)),
        }
    }
}

/// The right to change the rules in force, which one task at a time has. Whoever read what they follow
/// from under a turn puts what follows in force under it, so that nothing older replaces it.
pub struct Turn<'a> {
    _lock: MutexGuard<'a, ()>,
}

impl Hub {
    /// A hub around a store whose clock says `moment`; none where that is this machine's. Until it
    /// is settled for the first time, the settings alone are in force.
    pub fn new(
        store: StoreThread,
        settings: policy::PolicySettings,
        terms: Terms,
        moment: Option<Timestamp>,
    ) -> Rc<Self> {
        let (wake, woken) = smol::channel::bounded(1);
        let policy = Policy { settings, ..Policy::default() };
        let metrics = Metrics::new(store.calls.clone());
        Rc::new(Self {
            executor: LocalExecutor::new(),
            store,
            sessions: RefCell::default(),
            alive: RefCell::default(),
            noting: RefCell::default(),
            terms: RefCell::new(Arc::new(terms)),
            policy: RefCell::new(Arc::new(policy)),
            turn: Mutex::new(()),
            moment: Cell::new(moment.map(|moment| (clock::now(), moment))),
            told: RefCell::default(),
            expiries: RefCell::default(),
            revocations: RefCell::default(),
            beat: Cell::new(None),
            is_full: Cell::new(false),
            disk: Cell::new(None),
            lists: RefCell::default(),
            metrics,
            seen: Cell::new((clock::now(), Timestamp::default())),
            wake,
            woken,
        })
    }

    /// How leases, sources and servers are treated at the moment.
    pub fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.borrow())
    }

    /// Who may be indexed and who may announce at the moment.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    /// Waits until nobody else changes what is in force.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { _lock: self.turn.lock().await }
    }

    /// Goes by this policy and these terms from now on.
    pub fn put_in_force(&self, _: &Turn<'_>, policy: Policy, terms: Terms) {
        *self.policy.borrow_mut() = Arc::new(policy);
        *self.terms.borrow_mut() = Arc::new(terms);
    }

    /// Has what comes of a peer's record done and told to it, where it is news, or `is_new` to the peer.
    pub fn judge(self: &Rc<Self>, peer: &str, is_new: bool) {
        let (hub, peer) = (Rc::clone(self), peer.to_owned());
        self.spawn(async move {
            let name = peer.clone();
            let record = match hub.store.call(move |store| store.record(&name)).await {
                Ok(record) => record,
                Err(cause) => {
                    return warn!(peer = peer.as_str(), cause:%; "couldn't look at its record");
                }
            };
            let (now, why) = (hub.now(), record.why());
            let leases = record.share(now, SLOTS_MAX);
            let rests_until = record.rests_until.filter(|_| leases == 0);
            let mut sessions = hub.sessions.borrow_mut();
            let before = sessions.set_record(&peer, why.clone());
            let is_news = (before.is_some() || why.is_some()) && (is_new || before != why || leases == 0);
            let reason = why.unwrap_or_default();
            if before.as_deref().unwrap_or_default() != reason {
                match reason.is_empty() {
                    true => info!(peer = peer.as_str(); "peer gets what it offers again"),
                    false => warn!(peer = peer.as_str(), leases, reason = reason.as_str(); "peer gets less"),
                }
            }
            if let Some(session) = sessions.by_name(&peer) {
                (session.share, session.rests_until) = (leases.max(1), rests_until);
                if reason.is_empty() {
                    session.share = usize::MAX;
                }
                if is_news {
                    let rests = rests_until.map_or(Duration::ZERO, |until| until.since(now));
                    session.outbox.send(&ToPeer::Record {
                        leases: u32::try_from(leases).unwrap_or(u32::MAX),
                        rests_secs: u32::try_from(rests.as_millis().div_ceil(1000)).unwrap_or(u32::MAX),
                        reason: cut(&reason, TEXT_BYTES_MAX).to_owned(),
                    });
                }
            }
            drop(sessions);
            hub.wake();
        });
    }

    /// Has the loop look again.
    pub fn wake(&self) {
        // If it is full, the loop will look anyway.
        let _ = self.wake.try_send(());
    }

    /// Whether somebody has the loop look again.
    pub fn is_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Waits until somebody has the loop look again.
    pub async fn woken(&self) {
        let _ = self.woken.recv().await;
    }

    /// That what is in the file `path` ends at `ends` now, in seconds since 1970.
    pub fn renewed(&self, path: &Path, ends: u64) {
        let mut expiries = self.expiries.borrow_mut();
        let of_file = expiries.iter_mut().filter(|it| it.path.as_deref() == Some(path));
        of_file.for_each(|expiry| expiry.ends = ends);
    }

    /// What the operator is to know of what the arbiter lives by, a line each.
    pub fn ending(&self) -> Vec<String> {
        let now = clock::wall_millis() / 1000;
        self.expiries.borrow().iter().filter_map(|expiry| expiry.told(now)).collect()
    }

    /// The moment, by the store's clock: what all its verbs are told.
    pub fn now(&self) -> Timestamp {
        match self.moment.get() {
            Some((seen, moment)) => moment.plus(clock::now().duration_since(seen)),
            None => Timestamp::from_millis(clock::wall_millis()),
        }
    }

    /// How far this machine's clock is ahead of the store's, in milliseconds, where the store has one.
    pub fn clock_ahead_millis(&self) -> Option<i64> {
        self.moment.get()?;
        let ahead = i128::from(clock::wall_millis()) - i128::from(self.now().millis());
        i64::try_from(ahead).ok()
    }

    /// Whether the store's clock went back since this was last asked, by the clock that never does.
    pub fn has_stepped_back(&self) -> bool {
        let (instant, now) = (clock::now(), self.now());
        let (before, then) = self.seen.replace((instant, now));
        let expected = then.plus(instant.duration_since(before));
        now.plus(STEP_MIN) < expected
    }

    /// Has the arbiter that listens on `listen` noted as being here and looks at the store's clock,
    /// if it is time to; whether it was.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn beat(&self, listen: &str) -> Result<bool, StoreError> {
        let is_early = |beat: Instant| clock::now().duration_since(beat) < BEAT_EVERY;
        if self.beat.get().is_some_and(is_early) {
            return Ok(false);
        }
        let listen = listen.to_owned();
        let moment = self
            .store
            .call(move |store| {
                let moment = store.moment()?;
                let now = moment.unwrap_or_else(|| Timestamp::from_millis(clock::wall_millis()));
                store.beat(&listen, PROGRAM, now)?;
                Ok(moment)
            })
            .await?;
        self.moment.set(moment.map(|moment| (clock::now(), moment)));
        self.beat.set(Some(clock::now()));
        Ok(true)
    }

    /// Tells the holder of a lease, if it is connected and knows of it, that it was taken away.
    pub fn taken_away(&self, peer: &str, token: u64, why: &str) {
        self.alive.borrow_mut().over(peer, token);
        if let Some(session) = self.sessions.borrow_mut().by_name(peer)
            && session.leases.remove(&token).is_some()
        {
            let reason = why.to_owned();
            session.outbox.send(&ToPeer::Revoked { lease: token, reason });
        }
    }

    /// Has it noted in the store whether and how a peer is connected, for whoever asks for the
    /// peers. Nobody waits for that: what is noted follows what is, however slow the store is.
    pub fn note(self: &Rc<Self>, peer: &str) {
        if !self.noting.borrow_mut().insert(peer.to_owned()) {
            // Whoever is at it looks again before the end.
            return;
        }
        let (hub, peer) = (Rc::clone(self), peer.to_owned());
        self.spawn(async move {
            let mut noted = None;
            loop {
                let session = hub.sessions.borrow_mut().by_name(&peer).map(|it| it.said());
                if noted.as_ref() == Some(&session) {
                    break;
                }
                noted = Some(session.clone());
                let (name, now) = (peer.clone(), hub.now());
                let call = move |store: &mut Store| match session {
                    Some(session) => store.session(&name, &session, now),
                    None => store.session_over(&name),
                };
                if let Err(cause) = hub.store.call(call).await {
                    warn!(peer = peer.as_str(), cause:%; "couldn't note whether it is connected");
                }
            }
            hub.noting.borrow_mut().remove(&peer);
        });
    }

    /// Does `work` whatever becomes of who asked, who waits for it no longer than `longest`.
    ///
    /// # Errors
    /// Since when the store is silent; the work goes on.
    pub async fn within<T: 'static>(
        &self,
        longest: Duration,
        work: impl Future<Output = T> + 'static,
    ) -> Result<T, Silence> {
        let mut task = self.executor.spawn(work);
        let done = self.store.in_time(longest, &mut task).await;
        if done.is_err() {
            task.detach();
        }
        done
    }

    /// Whether nothing is done for any peer at the moment.
    pub fn is_idle(&self) -> bool {
        self.noting.borrow().is_empty() && self.sessions.borrow().is_idle()
    }

    /// The executor that everything runs on.
    pub const fn executor(&self) -> &LocalExecutor<'static> {
        &self.executor
    }

    /// Runs a task to its end, whoever else ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }
}
