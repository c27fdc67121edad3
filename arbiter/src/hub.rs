//! What everything in a running arbiter needs and nothing more: the store, the time, the connected
//! peers, the rules in force, and a way to have the loop look again. It decides nothing.

use crate::PROGRAM;
use crate::policy::Policy;
use crate::sessions::Sessions;
use crate::store::{Lease, StoreError, Terms};
use crate::store_thread::StoreThread;
use crate::timestamp::Timestamp;
use canister_link::clock;
use canister_protocol::ToPeer;
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the arbiter is noted as being here, and the store's clock is looked at. Between two
/// looks its time goes on by this machine's monotonic clock.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// The middle of a running arbiter.
pub struct Hub {
    executor: LocalExecutor<'static>,
    /// The store.
    pub store: StoreThread,
    /// The connected peers.
    pub sessions: RefCell<Sessions>,
    /// How leases, sources and servers are treated.
    terms: RefCell<Arc<Terms>>,
    /// Who may be indexed and who may announce.
    policy: RefCell<Arc<Policy>>,
    /// The store's moment, and when it was looked at; none where its clock is this machine's.
    moment: Cell<Option<(Instant, Timestamp)>>,
    /// When this arbiter was last noted as being here.
    beat: Cell<Option<Instant>>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Hub {
    /// A hub around a store whose clock says `moment`; none where that is this machine's.
    pub fn new(
        store: StoreThread,
        terms: Terms,
        policy: Policy,
        moment: Option<Timestamp>,
    ) -> Rc<Self> {
        let (wake, woken) = smol::channel::bounded(1);
        Rc::new(Self {
            executor: LocalExecutor::new(),
            store,
            sessions: RefCell::default(),
            terms: RefCell::new(Arc::new(terms)),
            policy: RefCell::new(Arc::new(policy)),
            moment: Cell::new(moment.map(|moment| (clock::now(), moment))),
            beat: Cell::new(None),
            wake,
            woken,
        })
    }

    /// How leases, sources and servers are treated at the moment.
    pub fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.borrow())
    }

    /// Treats them so from now on.
    pub fn set_terms(&self, terms: Arc<Terms>) {
        *self.terms.borrow_mut() = terms;
    }

    /// Who may be indexed and who may announce at the moment.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    /// Decides by this policy from now on.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        *self.policy.borrow_mut() = policy;
    }

    /// Has the loop look again.
    pub fn wake(&self) {
        // If it is full, the loop will look anyway.
        let _ = self.wake.try_send(());
    }

    /// Waits until somebody has the loop look again.
    pub async fn woken(&self) {
        let _ = self.woken.recv().await;
    }

    /// The moment, by the store's clock: what all its verbs are told.
    pub fn now(&self) -> Timestamp {
        match self.moment.get() {
            Some((seen, moment)) => moment.plus(clock::now().duration_since(seen)),
            None => Timestamp::from_millis(clock::wall_millis()),
        }
    }

    /// Has the arbiter that listens on `listen` noted as being here and looks at the store's clock,
    /// if it is time to.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn beat(&self, listen: &str) -> Result<(), StoreError> {
        let is_early = |beat: Instant| clock::now().duration_since(beat) < BEAT_EVERY;
        if self.beat.get().is_some_and(is_early) {
            return Ok(());
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
        Ok(())
    }

    /// Tells the holders of leases that ended, if they are connected, and has the loop look again.
    pub fn ended(&self, leases: &[Lease], why: &str) {
        for lease in leases {
            self.taken_away(&lease.peer, lease.token, why);
        }
        self.wake();
    }

    /// Tells the holder of a lease, if it is connected, that it was taken away.
    pub fn taken_away(&self, peer: &str, token: u64, why: &str) {
        if let Some(session) = self.sessions.borrow_mut().by_name(peer) {
            session.leases.remove(&token);
            let reason = why.to_owned();
            session.outbox.send(&ToPeer::Revoked { lease: token, reason });
        }
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
