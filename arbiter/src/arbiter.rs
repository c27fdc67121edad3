//! The wiring: opens the store and the listeners, starts what runs, and stops it in order.
//!
//! One executor on one thread runs everything; the store has threads of its own. Each peer's session
//! is a task ([`crate::doors::session`]), and so is each admin request ([`crate::doors::admin`]).

use crate::config::{ArbiterConfig, ListAddress, REVOCATIONS_NAME};
use crate::deeds::advertise;
use crate::deeds::alerts::{self, AlertTo};
use crate::deeds::announce::Announcements;
use crate::deeds::clean;
use crate::deeds::grant;
use crate::deeds::join::{JoinTerms, Joins};
use crate::deeds::lists::{self, Lists, ListsError};
use crate::deeds::lookup;
use crate::deeds::renewal::{LIST_EVERY, Renewals, certificate_in};
use crate::deeds::room;
use crate::deeds::settle;
use crate::doors::admin::{self, Admin};
use crate::doors::door::{self, Door};
use crate::doors::entrance::{Connections, Entrance};
use crate::doors::public;
use crate::doors::session;
use crate::hub::Hub;
use crate::hub::store_thread::StoreThread;
use crate::rules::advertisement::PublisherKey;
use crate::rules::expiry::Expiry;
use crate::rules::proxies::TrustedProxies;
use crate::rules::revocations::{Revocations, Watched};
use crate::rules::timestamp::Timestamp;
use crate::store::DatabaseAddress;
use crate::store::postgres::events::{self, Event};
use crate::store::postgres::{Address, AddressError, Closer};
use crate::store::{Postgres, Sqlite, Store, StoreError};
use async_signal::{Signal, Signals};
use canister_authority::Authority;
use canister_link::certificate::Certificate;
use canister_link::clock;
use canister_link::identity::{Identity, IdentityError};
use canister_link::local;
use canister_link::notify::Notifier;
use canister_link::refusal::date;
use canister_protocol::ToPeer;
use log::{error, info};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use smol::Timer;
use smol::future::FutureExt as _;
use smol::net::TcpListener;
use smol::net::unix::UnixListener;
use smol::stream::StreamExt as _;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections to a database server: calls that are done at the same time.
const CONNECTIONS: usize = 8;
/// Most things that other arbiters did and that wait to be heard of.
const EVENTS_MAX: usize = 1024;
/// How long sessions get to write their last words when the arbiter stops.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Why the arbiter can't run. Displayed as one line with what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArbiterError {
    /// Its certificate or key.
    Identity(IdentityError),
    /// The database's address, or what is shown to its server.
    Database(AddressError),
    /// A listener can't be opened.
    Listen {
        on: String,
        /// Why, and what to do.
        why: String,
    },
    /// The machine doesn't give what every program needs.
    Machine(&'static str, io::Error),
    /// The revocation list can't be read or is over: nobody may be let in by mistake.
    Revocations {
        /// Where it should be.
        path: PathBuf,
        why: String,
    },
    /// The source list can't be read, and there are no sources without it.
    SourceList {
        /// Where it should be.
        list: ListAddress,
        why: String,
    },
    /// Its own certificate has ended.
    Date {
        /// Where it is.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The folder of its state can't be made.
    State(PathBuf, io::Error),
    Store(StoreError),
    /// The key to publish by can't be used.
    Publisher {
        path: PathBuf,
        why: String,
    },
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
            Self::Publisher { path, why } => {
                write!(f, "read the publisher's key {}: {why}", path.display())
            }
            Self::SourceList { list, why } => write!(f, "read source list {list}: {why}"),
            Self::Date { path, why } => write!(f, "use certificate {}: {why}", path.display()),
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

/// Runs until SIGTERM or SIGINT. With an `authority` peers' certificates are renewed over their
/// sessions.
///
/// # Errors
/// [`ArbiterError`], at start only.
pub fn run(config: &ArbiterConfig, authority: Option<Authority>) -> Result<(), ArbiterError> {
    let renewals = Renewals::new(authority);
    let servers = servers(config);
    renewals.renew_servers(&servers, &mut BTreeSet::new());
    let identity = Identity::load(&config.files).map_err(ArbiterError::Identity)?;
    let expiries = expiries(config, &identity)?;
    renewals.refresh_list();
    let (watched, revocations) = first_revocations(config, &identity)?;
    let mut folder = std::fs::DirBuilder::new();
    // Where peers come from stands in the database.
    let made = folder.recursive(true).mode(0o700).create(&config.state);
    made.map_err(|cause| ArbiterError::State(config.state.clone(), cause))?;
    let publisher = config.publisher_key.as_deref().map(publisher).transpose()?;
    let listener = listen(config.listen, "--listen")?;
    let public = match config.public {
        Some(address) => Some(listen(address, "--public")?),
        None => None,
    };
    let (mut stores, others) = open(config, listener.local_addr().unwrap_or(config.listen))?;
    let store = &mut stores[0];
    let terms = &config.terms;
    let moment = store.moment()?;
    let now = moment.unwrap_or_else(|| Timestamp::from_millis(clock::wall_millis()));
    store.bring_forward(now, terms)?;
    let (store, store_threads) = StoreThread::start(stores).map_err(no_thread)?;
    let hub = Hub::new(store, config.policy.clone(), terms.clone(), moment);
    *hub.expiries.borrow_mut() = expiries;
    hub.told.borrow_mut().clone_from(&config.told);
    let listening = others.as_ref().map(|others| hear(&hub, others));
    let listening = listening.transpose().map_err(no_thread)?;
    let lists = Lists::new(Rc::clone(&hub), config.clone());
    smol::block_on(hub.executor().run(lists.first())).map_err(|cause| match cause {
        ListsError::List { list, why } => ArbiterError::SourceList { list, why },
        ListsError::Store(cause) => ArbiterError::Store(cause),
    })?;
    let pass_on = config.pass_on.iter().map(|to| to.0.clone()).collect();
    let announcements = Announcements::new(Rc::clone(&hub), identity.roots(), pass_on);
    hub.spawn(renewals.clone().keep_list_young(LIST_EVERY));
    hub.spawn(renewals.clone().keep_servers(Rc::clone(&hub), servers, LIST_EVERY));
    let door = Door::new(
        (Rc::clone(&hub), announcements),
        &identity,
        revocations,
        renewals,
        (config.peers_database.clone(), config.price_age),
        config.agent_floor.clone().map(|floor| floor.0),
    );
    let door = door.map_err(ArbiterError::Tls)?;
    let own = (identity, config.files.clone());
    hub.spawn(door::watch(Rc::clone(&door), own, watched));
    if let Some(key) = &publisher {
        info!(peer_id = key.id(); "publishing the catalogue's heads");
        hub.spawn(advertise::for_ever(Rc::clone(&hub), Arc::clone(key)));
    }
    smol::block_on(hub.executor().run(serve(door, lists, (listener, public), publisher)))?;
    // What was asked of the store is done, and it is closed, before the process ends; but a server
    // that is away isn't waited for.
    hub.store.close();
    if let Some(others) = &others {
        others.closer.close();
    }
    for thread in store_threads.into_iter().chain(listening) {
        let _ = thread.join();
    }
    Ok(())
}

/// The key that is published by.
fn publisher(path: &Path) -> Result<Arc<PublisherKey>, ArbiterError> {
    let error = |why: String| ArbiterError::Publisher { path: path.to_owned(), why };
    let der = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|cause| error(cause.to_string()))?;
    PublisherKey::of_pkcs8(der.secret_pkcs8_der()).map(Arc::new).map_err(error)
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
type Stores = Vec<Store>;

/// Opens the store.
fn open(
    config: &ArbiterConfig,
    listen: SocketAddr,
) -> Result<(Stores, Option<Others>), ArbiterError> {
    let database = match &config.database {
        DatabaseAddress::File(file) => return Ok((vec![Store::Sqlite(Sqlite::open(file)?)], None)),
        DatabaseAddress::Server(address) => {
            address.clone().with_identity(&config.database_files).map_err(ArbiterError::Database)?
        }
    };
    let machine = rustix::system::uname();
    let name = format!("{} {listen}", machine.nodename().to_string_lossy());
    let first = Postgres::open(database.clone(), &name)?;
    let closer = first.closer();
    let mut stores: Stores = (1..CONNECTIONS).map(|_| Store::Postgres(first.another())).collect();
    stores.insert(0, Store::Postgres(first));
    let others = Others { database, name, closer };
    Ok((stores, Some(others)))
}

/// Starts to hear the other arbiters.
fn hear(hub: &Rc<Hub>, others: &Others) -> io::Result<JoinHandle<()>> {
    let (sender, events) = smol::channel::bounded(EVENTS_MAX);
    let hand_on = move |event| {
        // Nobody receives any more while the arbiter stops.
        let _ = sender.send_blocking(event);
    };
    let (database, name) = (others.database.clone(), others.name.clone());
    let thread = events::listen(database, name, others.closer.clone(), hand_on)?;
    let there = Rc::clone(hub);
    hub.spawn(async move {
        while let Ok(event) = events.recv().await {
            heard(&there, event);
        }
    });
    Ok(thread)
}

/// Does what another arbiter did here, too.
fn heard(hub: &Rc<Hub>, event: Event) {
    match event {
        Event::Look => hub.wake(),
        Event::Decided => {
            let there = Rc::clone(hub);
            hub.spawn(async move { settle::learn(&there).await });
        }
        Event::Over { token, peer, why } => {
            hub.taken_away(&peer, token, &why);
            hub.wake();
        }
        Event::Moved { peer } => {
            if let Some(session) = hub.sessions.borrow_mut().by_name(&peer) {
                session.tell_end(1008, "the peer began a session with another arbiter");
            }
        }
    }
}

async fn serve(
    door: Rc<Door>,
    lists: Rc<Lists>,
    (listener, public): (TcpListener, Option<TcpListener>),
    publisher: Option<Arc<PublisherKey>>,
) -> Result<(), ArbiterError> {
    let config = &lists.config;
    let mut signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup])
        .map_err(|cause| ArbiterError::Machine("wait for signals", cause))?;
    let socket = listen_for_operator(&config.socket())?;
    let listen = listener.local_addr().unwrap_or(config.listen).to_string();
    let (hub, announcements) = (Rc::clone(&door.hub), Rc::clone(&door.announcements));
    let address = public.as_ref().and_then(|public| public.local_addr().ok());
    let admin = Admin {
        announcements: Rc::clone(&announcements),
        door: Rc::clone(&door),
        hub: Rc::clone(&hub),
        listen: listen.clone(),
        public: address.map(|address| address.to_string()),
        lists: Rc::clone(&lists),
        last: RefCell::default(),
        changed: Cell::default(),
        is_renewing: Cell::default(),
    };
    let room = Connections::of_machine();
    let entrance = Entrance::new("peers", room.peers, TrustedProxies::default());
    let serve = move |stream, from, visit| session::serve(Rc::clone(&door), stream, from, visit);
    hub.spawn(entrance.accept(Rc::clone(&hub), listener, serve));
    hub.spawn(admin::accept(Rc::new(admin), socket));
    if let Some(public) = public {
        let proxies = config.proxies.clone();
        let terms = JoinTerms {
            most: config.join_waiting,
            token: config.join_token.clone().map(|token| token.0),
            work: config.join_work,
        };
        let ours = (Rc::clone(&hub), announcements, Joins::new(Rc::clone(&hub), terms));
        hub.spawn(public::accept(ours, public, proxies, (room.public, publisher)));
    }
    hub.spawn(lists::for_ever(Rc::clone(&lists)));
    hub.spawn(lookup::for_ever(Rc::clone(&hub)));
    if let DatabaseAddress::File(file) = &config.database {
        let folder = file.parent().unwrap_or(&config.state).to_owned();
        hub.spawn(room::for_ever(Rc::clone(&hub), folder));
    }
    let command = config.alert_command.clone().map(AlertTo::Command);
    for to in config.alert_url.clone().map(AlertTo::Url).into_iter().chain(command) {
        let (after, sources) = (config.alert_after, config.alert_sources);
        hub.spawn(alerts::for_ever(Rc::clone(&hub), to, after, sources));
    }
    hub.spawn(clean::for_ever(Rc::clone(&hub), config.keep_left, config.keep_delisted));
    info!(
        listen,
        public = address.map_or_else(|| "none".to_owned(), |address| address.to_string()),
        socket:% = config.socket().display(), database:% = config.database;
        "ready"
    );
    let notifier = Rc::new(Notifier::from_environment());
    notifier.ready();
    hub.spawn(beat(Rc::clone(&notifier)));
    let stopped = async {
        while let Some(Ok(Signal::Hup)) = signals.next().await {
            match settle::reload(&hub, config.given.clone(), false).await {
                Ok(reloaded) => info!(report:% = reloaded.changed; "reloaded"),
                Err(why) => error!(why; "couldn't reload; nothing changes"),
            }
        }
    };
    grant::for_ever(&hub, &listen).or(stopped).await;
    notifier.stopping();
    info!("stopping: leases stay with their peers");
    stop(&hub).await;
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

/// The certificates that are renewed with an authority: the arbiter's own, the one that it shows to the
/// database, and what else the operator names.
fn servers(config: &ArbiterConfig) -> Vec<PathBuf> {
    let (own, shown) = (&config.files.certificate, &config.database_files.certificate);
    let is_shown = matches!(config.database, DatabaseAddress::Server(_)) && shown != own;
    let shown = is_shown.then(|| shown.clone());
    [own.clone()].into_iter().chain(shown).chain(config.renew.iter().cloned()).collect()
}

/// What the arbiter lives by. With a certificate that has ended nobody would speak to it.
fn expiries(config: &ArbiterConfig, identity: &Identity) -> Result<Vec<Expiry>, ArbiterError> {
    let another = "`canister-arbiter ca server` makes another; put it in its place";
    let now = clock::wall_millis() / 1000;
    let of_server =
        |what, ends, path: &Path| Expiry { what, ends, help: another, path: Some(path.to_owned()) };
    let path = &config.files.certificate;
    let mut all = vec![of_server("certificate", identity.certificate().life.ends, path)];
    if config.database_files.certificate != *path
        && matches!(config.database, DatabaseAddress::Server(_))
        && let Ok(shown) = Identity::load(&config.database_files)
    {
        let path = &config.database_files.certificate;
        all.push(of_server("database certificate", shown.certificate().life.ends, path));
    }
    let ends = |der: &CertificateDer<'_>| Some(Certificate::read(der)?.life.ends);
    let authorities: Vec<u64> = identity.authorities().iter().filter_map(ends).collect();
    let help = "`canister-arbiter ca issuer` makes a new issuing one";
    let of_authority = |ends: &u64| {
        let path = Some(config.files.authority.clone());
        Expiry { what: "authority's certificate", ends: *ends, help, path }
    };
    // While one replaces another, one of them may be over.
    let last = authorities.iter().max().map(of_authority);
    if let Some(over) = all.iter().chain(&last).find(|it| now > it.ends) {
        let why = over.told(now).unwrap_or_default();
        return Err(ArbiterError::Date { path: over.path.clone().unwrap_or_default(), why });
    }
    all.extend(authorities.iter().min().map(of_authority));
    for path in &config.renew {
        let ends = certificate_in(path).map_err(|cause| {
            let why = format!("{cause}; --renew names others");
            ArbiterError::Date { path: path.clone(), why }
        })?;
        all.push(of_server("server's certificate", ends, path));
    }
    Ok(all)
}

/// What is revoked at the start. No list at all is what an authority has that never revoked; a list
/// that was named or is there must be good, and not over.
fn first_revocations(
    config: &ArbiterConfig,
    identity: &Identity,
) -> Result<(Watched, Revocations), ArbiterError> {
    let beside = || config.files.authority.with_file_name(REVOCATIONS_NAME);
    let path = config.revocations.clone().unwrap_or_else(beside);
    let error = |why: String| ArbiterError::Revocations { path: path.clone(), why };
    let mut watched = Watched::new(path.clone());
    let none = Revocations::default();
    let now = clock::wall_millis() / 1000;
    match watched.read(identity.authorities(), &none).map_err(error)? {
        // What was revoked since stands in a newer one.
        Some(found) if found.ends().is_some_and(|ends| now > ends) => {
            let ended = date(found.ends().unwrap_or_default());
            Err(error(format!(
                "it ended on {ended}; `canister-arbiter ca crl` signs another, put it there"
            )))
        }
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
                format!("; use {option} with an address of this machine")
            }
            io::ErrorKind::AddrInUse => format!("; use {option} with another port"),
            io::ErrorKind::PermissionDenied => {
                format!("; use {option} with a port above 1023, or give it CAP_NET_BIND_SERVICE")
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
    let listener = local::listen(path, 0o660).and_then(smol::Async::new).map_err(error)?;
    Ok(listener.into())
}

/// Tells every peer that the arbiter stops; their leases stay theirs. What is done for peers at the
/// moment is waited for, but not for long: whoever isn't answered asks another arbiter.
async fn stop(hub: &Hub) {
    let until = clock::now() + STOP_MAX;
    for (_, session) in hub.sessions.borrow_mut().iter_mut() {
        session.is_ending = true;
        session.outbox.send(&ToPeer::Draining {});
    }
    idle(hub, until - STOP_MAX / 3).await;
    for (_, session) in hub.sessions.borrow_mut().iter_mut() {
        session.tell_end(1001, "the arbiter stops");
    }
    while clock::now() < until && hub.sessions.borrow().iter().next().is_some() {
        Timer::after(Duration::from_millis(10)).await;
    }
    idle(hub, until).await;
    // Sessions leave the list before their last words are written.
    Timer::after(Duration::from_millis(50)).await;
}

/// Waits until nothing is done for any peer, but not beyond `until`.
async fn idle(hub: &Hub, until: std::time::Instant) {
    while clock::now() < until && !hub.is_idle() {
        Timer::after(Duration::from_millis(10)).await;
    }
}
