//! The arbiter's loop: whom to grant what, and how long until the next thing is due.
//!
//! One executor on one thread runs everything here; the store has a thread of its own. Each peer's
//! session is a task ([`crate::link`]), and so is each admin request ([`crate::admin`]). The loop
//! itself only expires, grants and sleeps: until a source is due, a lease expires, or somebody
//! wakes it because a slot, a source or a lease has changed.

use crate::admin;
use crate::announce::{Announced, Limits};
use crate::config::{DatabaseAddress, ListAddress, REVOCATIONS_NAME, RunConfig};
use crate::link;
use crate::lookup;
use crate::peers::Peers;
use crate::policy::Policy;
use crate::public;
use crate::refresh;
use crate::reload;
use crate::renewal::{LIST_EVERY, Renewals};
use crate::revocations::{self, Revocations, Watched};
use crate::store::postgres::events::{self, Event};
use crate::store::postgres::{Address, AddressError, Closer};
use crate::store::{Grant, Lease, Postgres, Sqlite, Store, StoreError, Terms};
use crate::store_thread::StoreThread;
use crate::timestamp::Timestamp;
use async_signal::{Signal, Signals};
use canister_authority::Authority;
use canister_link::clock;
use canister_link::identity::{Identity, IdentityError};
use canister_link::notify::Notifier;
use canister_protocol::ToPeer;
use canister_protocol::limits::PAUSE_MILLIS_MAX;
use futures_rustls::TlsAcceptor;
use log::{error, info, warn};
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use smol::net::TcpListener;
use smol::net::unix::UnixListener;
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, Timer};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The loop looks at least this often, so that a step of the wall clock is seen within it.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Most connections that may be in the middle of their handshake; more are closed at once. Each
/// costs some kilobytes and lasts at most as long as a handshake may.
const HANDSHAKES_MAX: usize = 256;
/// How often the arbiter is noted as being here, and the store's clock is looked at. Between two
/// looks its time goes on by this machine's monotonic clock.
const BEAT_EVERY: Duration = SLEEP_MAX;
/// Connections to a database server: calls that are done at the same time.
const CONNECTIONS: usize = 4;
/// Most things that other arbiters did and that wait to be heard of.
const EVENTS_MAX: usize = 1024;
/// How often it is looked at what can be deleted.
const CLEAN_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long sessions get to write their last words when the arbiter stops.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Why the arbiter can't run. Displayed as one line with what would work.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArbiterError {
    /// Its certificate or key.
    Identity(IdentityError),
    /// The database's address, or what is shown to its server.
    Database(AddressError),
    /// A listener can't be opened.
    Listen {
        /// Address or path.
        on: String,
        /// Why, and what would work.
        why: String,
    },
    /// The machine doesn't give what every program needs.
    Machine(&'static str, io::Error),
    /// The revocation list can't be read: nobody may be let in by mistake.
    Revocations {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The source list can't be read, and there are no sources without it.
    SourceList {
        /// Where it should be.
        list: ListAddress,
        /// Why.
        why: String,
    },
    /// The folder of its state can't be made.
    State(PathBuf, io::Error),
    /// The store.
    Store(StoreError),
    /// TLS refuses the identity.
    Tls(rustls::Error),
}

impl fmt::Display for ArbiterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(cause) => write!(f, "{cause}"),
            Self::Database(cause) => write!(f, "{cause}"),
            Self::Listen { on, why } => write!(f, "listen on {on}: {why}"),
            Self::Machine(what, cause) => write!(f, "{what}: {cause}"),
            Self::Revocations { path, why } => write!(
                f,
                "read revocation list {}: {why}; --revocations names another",
                path.display()
            ),
            Self::SourceList { list, why } => write!(f, "read source list {list}: {why}"),
            Self::State(path, cause) => {
                write!(f, "make folder {}: {cause}; --state names another", path.display())
            }
            Self::Store(cause) => write!(f, "{cause}"),
            Self::Tls(cause) => write!(f, "set up TLS: {cause}"),
        }
    }
}

impl std::error::Error for ArbiterError {}

impl From<StoreError> for ArbiterError {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause)
    }
}

/// What sessions, admin requests and the loop share.
pub struct Shared {
    /// The peers' listener.
    pub listen: SocketAddr,
    /// Runs everything of the arbiter.
    pub executor: LocalExecutor<'static>,
    /// The store.
    pub store: StoreThread,
    /// The connected peers.
    pub peers: RefCell<Peers>,
    /// What is revoked.
    pub revocations: RefCell<Arc<Revocations>>,
    /// Who renews peers' certificates.
    pub renewals: Renewals,
    /// How connections of peers begin.
    pub tls: RefCell<TlsAcceptor>,
    /// How leases, sources and servers are treated; another one after a reload.
    pub terms: RefCell<Arc<Terms>>,
    /// What `run` was told; a reload changes `terms` and `policy` only.
    pub config: RunConfig,
    /// Who may be indexed and who may announce.
    pub policy: RefCell<Arc<Policy>>,
    /// Who announced how much lately.
    pub limits: RefCell<Limits>,
    /// How announcements were answered.
    pub announcements: Announced,
    /// The store's moment, and when it was looked at; none where its clock is this machine's.
    moment: Cell<Option<(Instant, Timestamp)>>,
    /// When this arbiter was last noted as being here.
    beat: Cell<Option<Instant>>,
    wake: Sender<()>,
    /// Connections that aren't sessions yet.
    handshakes: Cell<usize>,
}

impl Shared {
    /// How leases, sources and servers are treated at the moment.
    pub fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.borrow())
    }

    /// Has the loop look again.
    pub fn wake(&self) {
        // If it is full, the loop will look anyway.
        let _ = self.wake.try_send(());
    }

    /// The moment, by the store's clock: what all its verbs are told.
    pub fn now(&self) -> Timestamp {
        match self.moment.get() {
            Some((seen, moment)) => moment.plus(clock::now().duration_since(seen)),
            None => Timestamp::from_millis(clock::wall_millis()),
        }
    }

    /// Has this arbiter noted as being here and looks at the store's clock, if it is time to.
    async fn beat(&self) -> Result<(), StoreError> {
        let is_early = |beat: Instant| clock::now().duration_since(beat) < BEAT_EVERY;
        if self.beat.get().is_some_and(is_early) {
            return Ok(());
        }
        let listen = self.listen.to_string();
        let moment = self
            .store
            .call(move |store| {
                let moment = store.moment()?;
                let now = moment.unwrap_or_else(|| Timestamp::from_millis(clock::wall_millis()));
                store.beat(&listen, link::PROGRAM, now)?;
                Ok(moment)
            })
            .await?;
        self.moment.set(moment.map(|moment| (clock::now(), moment)));
        self.beat.set(Some(clock::now()));
        Ok(())
    }

    /// Tells the holder of a new lease, if its session is still the one that was meant.
    fn granted(&self, peer: &str, id: u64, grant: Grant) -> bool {
        let mut peers = self.peers.borrow_mut();
        let Some(session) = peers.session(peer, id) else {
            return false;
        };
        session.leases.insert(grant.token);
        session.outbox.send(&ToPeer::Grant {
            lease: grant.token,
            source: grant.source,
            origin: grant.origin,
            pause_millis: pause_millis(self.terms().politeness.pause),
        });
        true
    }

    /// Tells the holder, if it is connected, that a lease was taken away.
    pub fn revoked(&self, lease: &Lease, why: &str) {
        self.taken_away(&lease.peer, lease.token, why);
    }

    fn taken_away(&self, peer: &str, token: u64, why: &str) {
        if let Some(session) = self.peers.borrow_mut().by_name(peer) {
            session.leases.remove(&token);
            let reason = why.to_owned();
            session.outbox.send(&ToPeer::Revoked { lease: token, reason });
        }
    }

    /// Does what another arbiter did here, too.
    fn heard(self: &Rc<Self>, event: Event) {
        match event {
            Event::Look => self.wake(),
            Event::Ruled => {
                let shared = Rc::clone(self);
                self.spawn(async move { reload::learn(&shared).await });
            }
            Event::Over { token, peer, why } => {
                self.taken_away(&peer, token, &why);
                self.wake();
            }
            Event::Moved { peer } => {
                if let Some(session) = self.peers.borrow_mut().by_name(&peer) {
                    let why = "the peer began a session with another arbiter".to_owned();
                    let _ = session.end.try_send((1008, why));
                }
            }
        }
    }

    /// Counts a connection as in its handshake until what this returns is dropped.
    pub fn handshake(self: &Rc<Self>) -> Handshake {
        self.handshakes.set(self.handshakes.get() + 1);
        Handshake(Rc::clone(self))
    }

    /// Runs a task to its end, whoever else ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }
}

/// The pause as peers are told it: what is longer stands between leases only.
fn pause_millis(pause: Duration) -> Option<u32> {
    let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
    (millis > 0).then_some(millis.min(PAUSE_MILLIS_MAX))
}

/// A connection in its handshake.
pub struct Handshake(Rc<Shared>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.set(self.0.handshakes.get() - 1);
    }
}

/// Runs until SIGTERM or SIGINT. With an `authority` peers' certificates are renewed over their
/// sessions.
///
/// # Errors
/// [`ArbiterError`], at start only.
pub fn run(config: &RunConfig, authority: Option<Authority>) -> Result<(), ArbiterError> {
    let identity = Identity::load(&config.files).map_err(ArbiterError::Identity)?;
    let (watched, revocations) = first_revocations(config, &identity)?;
    let tls = identity.server_config(revocations.lists()).map_err(ArbiterError::Tls)?;
    std::fs::create_dir_all(&config.state)
        .map_err(|cause| ArbiterError::State(config.state.clone(), cause))?;
    let listener = listen(config.listen, "--listen")?;
    let public = match config.public {
        Some(address) => Some(listen(address, "--public")?),
        None => None,
    };
    let (mut stores, others) = open(config, listener.local_addr().unwrap_or(config.listen))?;
    let store = &mut *stores[0];
    let terms = &config.terms;
    let moment = store.moment()?;
    let now = moment.unwrap_or_else(|| Timestamp::from_millis(clock::wall_millis()));
    store.bring_forward(now, terms)?;
    let policy = Policy {
        settings: config.policy.clone(),
        blocked_hosts: refresh::block_lists(store, &config.blocks)?,
        rulings: store.rulings()?,
    };
    if let Some(list) = &config.sources {
        refresh::first(store, list, &policy, terms, now)?;
    }
    reload::settle(store, &policy, terms, now)?;
    let (store, store_threads) = StoreThread::start(stores).map_err(no_thread)?;
    let (wake, woken) = smol::channel::bounded(1);
    let shared = Rc::new(Shared {
        listen: listener.local_addr().unwrap_or(config.listen),
        executor: LocalExecutor::new(),
        store,
        peers: RefCell::new(Peers::default()),
        revocations: RefCell::new(Arc::new(revocations)),
        renewals: Renewals::new(authority),
        tls: RefCell::new(TlsAcceptor::from(Arc::new(tls))),
        terms: RefCell::new(Arc::new(terms.clone())),
        config: config.clone(),
        policy: RefCell::new(Arc::new(policy)),
        limits: RefCell::default(),
        announcements: Announced::default(),
        moment: Cell::new(moment.map(|moment| (clock::now(), moment))),
        beat: Cell::new(None),
        wake,
        handshakes: Cell::new(0),
    });
    let listening = others.as_ref().map(|others| hear(&shared, others));
    let listening = listening.transpose().map_err(no_thread)?;
    shared.spawn(shared.renewals.clone().keep_list_young(LIST_EVERY));
    shared.spawn(revocations::watch(Rc::clone(&shared), identity, watched));
    let running = serve(Rc::clone(&shared), config, (listener, public), woken);
    smol::block_on(shared.executor.run(running))?;
    // What was asked of the store is done, and it is closed, before the process ends; but a server
    // that is away isn't waited for.
    shared.store.close();
    if let Some(others) = &others {
        others.closer.close();
    }
    for thread in store_threads.into_iter().chain(listening) {
        let _ = thread.join();
    }
    Ok(())
}

fn no_thread(cause: io::Error) -> ArbiterError {
    ArbiterError::Machine("start a thread", cause)
}

/// The other arbiters on the same database: how they are heard.
struct Others {
    database: Address,
    /// This one's name among them.
    name: String,
    closer: Closer,
}

/// The store, as often as there are to be threads for it.
type Stores = Vec<Box<dyn Store>>;

/// Opens the store.
fn open(config: &RunConfig, listen: SocketAddr) -> Result<(Stores, Option<Others>), ArbiterError> {
    let database = match &config.database {
        DatabaseAddress::File(file) => return Ok((vec![Box::new(Sqlite::open(file)?)], None)),
        DatabaseAddress::Server(address) => {
            address.clone().with_identity(&config.database_files).map_err(ArbiterError::Database)?
        }
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = format!("{} {listen}", host.as_deref().unwrap_or_default().trim());
    let first = Postgres::open(database.clone(), &name)?;
    let closer = first.closer();
    let mut stores: Stores =
        (1..CONNECTIONS).map(|_| -> Box<dyn Store> { Box::new(first.another()) }).collect();
    stores.insert(0, Box::new(first));
    let others = Others { database, name, closer };
    Ok((stores, Some(others)))
}

/// Starts to hear the other arbiters.
fn hear(shared: &Rc<Shared>, others: &Others) -> io::Result<JoinHandle<()>> {
    let (sender, events) = smol::channel::bounded(EVENTS_MAX);
    let hand_on = move |event| {
        // Nobody receives any more while the arbiter stops.
        let _ = sender.send_blocking(event);
    };
    let (database, name) = (others.database.clone(), others.name.clone());
    let thread = events::listen(database, name, others.closer.clone(), hand_on)?;
    let shared_there = Rc::clone(shared);
    shared.spawn(async move {
        while let Ok(event) = events.recv().await {
            shared_there.heard(event);
        }
    });
    Ok(thread)
}

async fn serve(
    shared: Rc<Shared>,
    config: &RunConfig,
    (listener, public): (TcpListener, Option<TcpListener>),
    woken: Receiver<()>,
) -> Result<(), ArbiterError> {
    let mut signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup])
        .map_err(|cause| ArbiterError::Machine("wait for signals", cause))?;
    let socket = listen_for_operator(&config.socket())?;
    shared.spawn(accept_peers(Rc::clone(&shared), listener));
    shared.spawn(admin::accept(Rc::clone(&shared), socket));
    let address = public.as_ref().and_then(|public| public.local_addr().ok());
    if let Some(public) = public {
        let proxies = config.proxies.clone();
        shared.spawn(public::accept(Rc::clone(&shared), public, proxies));
    }
    shared.spawn(refresh::for_ever(Rc::clone(&shared)));
    shared.spawn(lookup::for_ever(Rc::clone(&shared)));
    shared.spawn(clean_for_ever(Rc::clone(&shared)));
    info!(
        listen:% = shared.listen,
        public = address.map_or_else(|| "none".to_owned(), |address| address.to_string()),
        socket:% = config.socket().display(), database:% = config.database;
        "ready"
    );
    let notifier = Rc::new(Notifier::from_environment());
    notifier.ready();
    shared.spawn(beat(Rc::clone(&notifier)));
    let stopped = async {
        while let Some(Ok(Signal::Hup)) = signals.next().await {
            match reload::reload(&shared, false).await {
                Ok(report) => info!(report:%; "reloaded"),
                Err(why) => error!(why; "couldn't reload; nothing changes"),
            }
        }
    };
    grant_for_ever(&shared, &woken).or(stopped).await;
    notifier.stopping();
    info!("stopping: leases stay with their peers");
    stop(&shared).await;
    let _ = std::fs::remove_file(config.socket());
    Ok(())
}

/// Feeds systemd's watchdog, if there is one: a loop that hangs doesn't.
async fn beat(notifier: Rc<Notifier>) {
    let Some(interval) = notifier.watchdog() else {
        return;
    };
    loop {
        notifier.alive();
        Timer::after(interval).await;
    }
}

/// Expires, grants, and sleeps until there is something to do again.
async fn grant_for_ever(shared: &Rc<Shared>, woken: &Receiver<()>) {
    loop {
        let sleep = match grant(shared).await {
            Ok(sleep) => sleep,
            Err(cause) => {
                error!(cause:%; "the store failed; no leases are granted for now");
                Duration::from_secs(5)
            }
        };
        async {
            Timer::after(sleep.min(SLEEP_MAX)).await;
        }
        .or(async {
            let _ = woken.recv().await;
        })
        .await;
    }
}

/// Ends what has expired, grants while there are due sources and free slots; how long to sleep.
async fn grant(shared: &Rc<Shared>) -> Result<Duration, StoreError> {
    shared.beat().await?;
    let now = shared.now();
    for lease in shared.store.call(move |store| store.expire(now)).await? {
        warn!(lease = lease.token, source = lease.slug.as_str(), peer = lease.peer.as_str(); "lease expired");
        shared.revoked(&lease, "not renewed in time");
    }
    let terms = shared.terms();
    // Peers that got nothing because a server sent them away: others may be welcome there.
    let mut idle = HashSet::new();
    loop {
        let next = shared.peers.borrow().next_free(&idle).map(|(name, id)| (name.to_owned(), id));
        let Some((peer, id)) = next else { break };
        let (name, terms) = (peer.clone(), Arc::clone(&terms));
        let (granted, is_sent_away) = shared
            .store
            .call(move |store| {
                let granted = store.claim(&name, 1, now, &terms)?;
                let is_alone = granted.is_empty() && store.is_sent_away(&name, now)?;
                Ok::<_, StoreError>((granted, is_alone))
            })
            .await?;
        let Some(grant) = granted.into_iter().next() else {
            if is_sent_away {
                idle.insert(peer);
                continue;
            }
            break;
        };
        let token = grant.token;
        info!(lease = token, source = grant.source.slug.as_str(), peer = peer.as_str(); "lease granted");
        if !shared.granted(&peer, id, grant) {
            // The session ended meanwhile. A newer one of the same peer has said which leases it
            // knows, and this is none of them.
            shared.store.call(move |store| store.give_back(&peer, token, now)).await?;
        }
    }
    let next = shared.store.call(move |store| store.next_deadline(now, &terms)).await?;
    Ok(next.map_or(SLEEP_MAX, |next| next.since(now)))
}

/// Deletes what is gone for long enough, a little at a time.
async fn clean_for_ever(shared: Rc<Shared>) {
    let (left, delisted) = (shared.config.keep_left, shared.config.keep_delisted);
    loop {
        let now = shared.now();
        let cleaned =
            shared.store.call(move |store| store.clean(now.minus(left), now.minus(delisted))).await;
        let pause = match cleaned {
            Ok(0) => CLEAN_EVERY,
            Ok(packages) => {
                info!(packages; "deleted what left long ago");
                Duration::from_millis(100)
            }
            Err(cause) => {
                error!(cause:%; "couldn't delete what left long ago");
                CLEAN_EVERY
            }
        };
        Timer::after(pause).await;
    }
}

async fn accept_peers(shared: Rc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((_, address)) if shared.handshakes.get() >= HANDSHAKES_MAX => {
                warn!(address:%, at_once = HANDSHAKES_MAX; "refused a connection: too many handshakes");
            }
            Ok((stream, address)) => {
                let tls = shared.tls.borrow().clone();
                shared.spawn(link::serve(Rc::clone(&shared), tls, stream, address));
            }
            Err(cause) => {
                // Out of file descriptors, mostly: those in use go on, and some will be freed.
                warn!(cause:%; "couldn't accept a connection");
                Timer::after(Duration::from_millis(200)).await;
            }
        }
    }
}

/// What is revoked at the start. No list at all is what an authority has that never revoked; a list
/// that was named or is there must be good.
fn first_revocations(
    config: &RunConfig,
    identity: &Identity,
) -> Result<(Watched, Revocations), ArbiterError> {
    let beside = || config.files.authority.with_file_name(REVOCATIONS_NAME);
    let path = config.revocations.clone().unwrap_or_else(beside);
    let error = |why: String| ArbiterError::Revocations { path: path.clone(), why };
    let mut watched = Watched::new(path.clone());
    let none = Revocations::default();
    match watched.read(identity.authorities(), &none).map_err(error)? {
        Some(found) => Ok((watched, found)),
        None if config.revocations.is_some() => Err(error("not there".to_owned())),
        None => Ok((watched, none)),
    }
}

fn listen(address: SocketAddr, option: &str) -> Result<TcpListener, ArbiterError> {
    let bound = std::net::TcpListener::bind(address).and_then(smol::Async::new);
    bound.map(TcpListener::from).map_err(|cause| {
        let help = match cause.kind() {
            io::ErrorKind::AddrNotAvailable => {
                format!("; {option} with an address of this machine would work")
            }
            io::ErrorKind::AddrInUse => format!("; {option} with another port would work"),
            io::ErrorKind::PermissionDenied => {
                format!("; {option} with a port above 1023, or CAP_NET_BIND_SERVICE, would work")
            }
            _ => String::new(),
        };
        ArbiterError::Listen { on: address.to_string(), why: format!("{cause}{help}") }
    })
}

fn listen_for_operator(path: &Path) -> Result<UnixListener, ArbiterError> {
    let error = |cause: io::Error| ArbiterError::Listen {
        on: path.display().to_string(),
        why: format!("{cause}; --state names another folder"),
    };
    // What an arbiter left that was killed, unless one answers.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(error(io::ErrorKind::AddrInUse.into()));
        }
        std::fs::remove_file(path).map_err(error)?;
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(error)?;
    Ok(listener)
}

/// Tells every peer that the arbiter stops; their leases stay theirs.
async fn stop(shared: &Rc<Shared>) {
    for (_, session) in shared.peers.borrow().iter() {
        session.outbox.send(&ToPeer::Draining {});
        let _ = session.end.try_send((1001, "the arbiter stops".to_owned()));
    }
    let gone = async {
        while shared.peers.borrow().iter().next().is_some() {
            Timer::after(Duration::from_millis(10)).await;
        }
        // Sessions leave the list before their last words are written.
        Timer::after(Duration::from_millis(50)).await;
    };
    gone.or(async {
        Timer::after(STOP_MAX).await;
    })
    .await;
}
