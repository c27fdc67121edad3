//! The peer's connection to Canister's database: one for all its leases, on a thread of its own.
//!
//! ```text
//!  lease threads ── call ──▶ channel ──▶ thread `database` ── TLS ──▶ PostgreSQL
//!                ◀── answer ─────────────┘
//! ```
//!
//! The thread connects at the first call, and ends with its connection when nothing was asked for
//! `IDLE`: a peer that only finds unchanged sources holds no connection. A call that fails for
//! the connection's sake leaves the database alone for a while that grows; until then callers
//! are told so at once. PostgreSQL's client has no deadline of its own for a server that is
//! silent, so callers watch over it: a thread that is past its deadline is left behind, and ends
//! when its call does.
//!
//! The client is synchronous over a tokio runtime of its own, which runs on the thread that calls
//! it: it starts no other, for host names are looked up here, and of a host's addresses one that
//! answers is found here, whatever family it is of.

mod metered;

use crate::backoff;
use canister_link::clock;
use canister_link::dial;
use canister_link::meter::MaybeMeter;
use canister_link::refusal;
use canister_protocol::address::is_public;
use canister_protocol::row::Digest;
use canister_protocol::{Rows, Veto};
use log::{debug, info};
use metered::MakeMeteredConnect;
use postgres::config::{SslMode, TargetSessionAttrs};
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::ToSql;
use postgres::{Client, Config, Statement};
use rustls::ClientConfig;
use std::net::ToSocketAddrs as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long one address may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the addresses of one host may take until one of them answers.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long all addresses together may take until a statement can be sent.
const CONNECT_ALL_MAX: Duration = Duration::from_secs(15);
/// How long one statement may take. The server ends it earlier; the rest is for a thin line.
const CALL_MAX: Duration = Duration::from_secs(90);
/// How long a trial may take once it is connected.
const TRIAL_MAX: Duration = Duration::from_secs(15);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Most threads that are left behind: when so many servers hang, no other is tried.
const LEFT_BEHIND_MAX: usize = 2;
/// How often a caller looks whether its lease is over, or the thread hangs.
const LOOK: Duration = Duration::from_millis(200);
/// The SQLSTATE with which the functions of peers refuse: the lease is over or another's, or rows
/// can't be taken.
const REFUSED: &str = "CN001";
/// A lease that nobody has: tokens begin at 1.
const NOBODYS: u64 = 0;

/// Where the database is, and in which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseDoor {
    /// As what the certificate says that it logs in.
    pub role: String,
    pub database: canister_protocol::Database,
}

/// How the peer writes its rows now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writes {
    Direct,
    /// Over the session, because of this.
    Relayed(String),
}

/// Why a call came to nothing.
#[derive(Debug)]
pub enum CallError {
    /// The lease is over, says the database.
    Lost(String),
    /// The caller's lease is over.
    Cancelled,
    /// The database can't be used now. What was asked may have been done, or may still be, where
    /// `is_open`.
    Unusable {
        /// Whether that isn't known.
        is_open: bool,
    },
}

/// What leases share of the connection.
#[derive(Debug)]
pub struct DatabaseThread {
    allow_private: bool,
    seed: u64,
    never: Arc<Veto>,
    meter: MaybeMeter,
    state: Mutex<State>,
    /// Threads that hang in a call nobody waits for.
    left_behind: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct State {
    /// For the next connection.
    tls: Arc<ClientConfig>,
    door: Option<DatabaseDoor>,
    worker: Option<Worker>,
    /// Failures in a row, and when the next attempt may be.
    failures: u32,
    retry_at: Instant,
    /// What came of the last call; `None` before the first.
    writes: Option<Writes>,
}

/// The thread, seen from its callers.
#[derive(Debug, Clone)]
struct Worker {
    calls: SyncSender<(DatabaseCall, Sender<Result<DatabaseAnswer, DatabaseFailure>>)>,
    /// What it does, and by when that is to be done.
    busy: Busy,
    is_left_behind: Arc<AtomicBool>,
}

/// What the thread does now, if anything, and by when that is to be done.
type Busy = Arc<Mutex<Option<(&'static str, Instant)>>>;

/// What may be asked of the database.
#[derive(Debug, Clone)]
pub enum DatabaseCall {
    /// The digests that the catalogue has of a lease's source.
    Known(u64),
    /// Puts rows under a lease. May be repeated.
    Put(u64, Arc<Rows>),
    /// Calls both functions for a lease that nobody has. Changes nothing.
    Trial,
}

/// What comes back.
#[derive(Debug)]
pub enum DatabaseAnswer {
    /// To [`DatabaseCall::Known`]: ascending.
    Known(Vec<Digest>),
    /// To [`DatabaseCall::Put`]: they are kept safe.
    Put {
        /// Whether they may arrive once more, for the connection broke the first time.
        is_open: bool,
    },
    /// To [`DatabaseCall::Trial`]: both functions can be called.
    Works,
}

/// A call that is under way.
#[derive(Debug)]
pub struct DatabaseAsked {
    worker: Worker,
    answer: Receiver<Result<DatabaseAnswer, DatabaseFailure>>,
    /// The answer, where it was seen to be there before anybody waited for it.
    early: Option<Result<DatabaseAnswer, DatabaseFailure>>,
}

impl DatabaseAsked {
    /// Whether waiting for the answer would not wait.
    pub fn is_answered(&mut self) -> bool {
        if self.early.is_none() {
            self.early = match self.answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return true,
            };
        }
        self.early.is_some()
    }
}

/// Why the thread couldn't do a call.
#[derive(Debug)]
enum DatabaseFailure {
    /// The database refuses it for the lease's sake.
    Refused(String),
    /// For the connection's sake; whether the call may have been done nevertheless.
    Connection { why: String, is_open: bool },
}

impl DatabaseThread {
    /// The connection of a peer with these TLS settings; nothing is opened yet. `seed` spreads the
    /// waits between attempts; with `allow_private` also private addresses are connected to, but none that
    /// `never` has. `meter` counts what it carries.
    pub fn new(
        tls: Arc<ClientConfig>,
        allow_private: bool,
        seed: u64,
        never: Arc<Veto>,
        meter: MaybeMeter,
    ) -> Self {
        Self {
            allow_private,
            seed,
            never,
            meter,
            state: Mutex::new(State {
                tls,
                door: None,
                worker: None,
                failures: 0,
                retry_at: clock::now(),
                writes: None,
            }),
            left_behind: Arc::default(),
        }
    }

    /// Shows another certificate from the next call on, by a new connection.
    pub fn renewed(&self, tls: Arc<ClientConfig>) {
        let mut state = self.state();
        state.tls = tls;
        // The old one's thread ends when its last call is done.
        state.worker = None;
    }

    /// Takes note of what an arbiter says of the database; none where rows are to be relayed.
    pub fn named(&self, door: Option<DatabaseDoor>) {
        let mut state = self.state();
        if state.door != door {
            // The old one's thread ends when its last call is done.
            state.worker = None;
            state.failures = 0;
            state.retry_at = clock::now();
            state.writes = None;
            state.door = door;
        }
    }

    /// How rows are written, where that is known and there is a choice.
    pub fn writes(&self) -> Option<Writes> {
        self.state().writes.clone()
    }

    /// Tries all that a lease would need of the database that was [`named`](Self::named), and
    /// changes nothing. Takes half a minute at most.
    ///
    /// # Errors
    /// One line: what failed, and where that is known, what to do.
    pub fn trial(&self) -> Result<(), String> {
        let asked = self.ask(DatabaseCall::Trial);
        let done = asked.map(|asked| self.wait(asked, &AtomicBool::new(false)));
        match (done, self.writes()) {
            (Some(Ok(_)), _) => Ok(()),
            (_, Some(Writes::Relayed(why))) => Err(why),
            _ => Err("it can't be asked".to_owned()),
        }
    }

    /// Asks; returns at once. `None` where the database isn't to be used now.
    pub fn ask(&self, call: DatabaseCall) -> Option<DatabaseAsked> {
        let mut state = self.state();
        let door = state.door.clone()?;
        if clock::now() < state.retry_at {
            return None;
        }
        let (mut call, (sender, answer)) = (call, std::sync::mpsc::channel());
        // Its thread may just have ended for want of calls: then once more, with a new one.
        for _ in 0..2 {
            let worker = match &state.worker {
                Some(worker) => worker.clone(),
                None => match self.start(&door, &state.tls) {
                    Ok(worker) => worker,
                    Err(why) => {
                        self.failed(&mut state, why);
                        return None;
                    }
                },
            };
            match worker.calls.try_send((call, sender.clone())) {
                Ok(()) => {
                    state.worker = Some(worker.clone());
                    return Some(DatabaseAsked { worker, answer, early: None });
                }
                Err(TrySendError::Disconnected((back, _))) => {
                    state.worker = None;
                    call = back;
                }
                // There is a place for each lease, and each has one call under way.
                Err(TrySendError::Full(_)) => return None,
            }
        }
        None
    }

    /// Waits for what was asked.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn wait(
        &self,
        mut asked: DatabaseAsked,
        cancel: &AtomicBool,
    ) -> Result<DatabaseAnswer, CallError> {
        let answered = loop {
            if let Some(early) = asked.early.take() {
                break early;
            }
            match asked.answer.recv_timeout(LOOK) {
                Ok(answered) => break answered,
                Err(RecvTimeoutError::Timeout) if cancel.load(Ordering::Relaxed) => {
                    return Err(CallError::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let busy = *lock(&asked.worker.busy);
                    if let Some((what, deadline)) = busy
                        && clock::now() > deadline
                    {
                        self.leave_behind(&asked.worker);
                        let why = format!("{what}: no answer in time");
                        break Err(DatabaseFailure::Connection { why, is_open: true });
                    }
                }
                // The thread is gone with its calls, as when its door was closed.
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "its thread ended".to_owned();
                    break Err(DatabaseFailure::Connection { why, is_open: true });
                }
            }
        };
        let mut state = self.state();
        match answered {
            Ok(answer) => {
                if state.writes != Some(Writes::Direct) {
                    info!("rows are written into the database directly");
                }
                state.failures = 0;
                state.writes = Some(Writes::Direct);
                Ok(answer)
            }
            Err(DatabaseFailure::Refused(why)) => Err(CallError::Lost(why)),
            Err(DatabaseFailure::Connection { why, is_open }) => {
                self.failed(&mut state, why);
                Err(CallError::Unusable { is_open })
            }
        }
    }

    fn failed(&self, state: &mut State, why: String) {
        // Several leases may hear of one failure.
        if clock::now() >= state.retry_at {
            state.failures = state.failures.saturating_add(1);
            let delay = backoff::delay(state.failures, self.seed);
            state.retry_at = clock::now() + delay;
            info!(why = why.as_str(), delay:?; "rows are relayed by the arbiter");
            state.writes = Some(Writes::Relayed(why));
        }
    }

    fn leave_behind(&self, worker: &Worker) {
        if !worker.is_left_behind.swap(true, Ordering::Relaxed) {
            self.left_behind.fetch_add(1, Ordering::Relaxed);
            let mut state = self.state();
            let is_it = |other: &Worker| Arc::ptr_eq(&other.busy, &worker.busy);
            if state.worker.as_ref().is_some_and(is_it) {
                state.worker = None;
            }
        }
    }

    fn start(&self, door: &DatabaseDoor, tls: &Arc<ClientConfig>) -> Result<Worker, String> {
        if self.left_behind.load(Ordering::Relaxed) >= LEFT_BEHIND_MAX {
            return Err("earlier calls still have no answer".to_owned());
        }
        let (calls, receiver) = std::sync::mpsc::sync_channel(canister_protocol::limits::SLOTS_MAX);
        let worker = Worker { calls, busy: Arc::default(), is_left_behind: Arc::default() };
        let mut connection = DatabaseConnection {
            door: door.clone(),
            tls: Arc::clone(tls),
            allow_private: self.allow_private,
            never: Arc::clone(&self.never),
            meter: self.meter.clone(),
            session: None,
        };
        let (busy, is_left_behind) = (Arc::clone(&worker.busy), Arc::clone(&worker.is_left_behind));
        let left_behind = Arc::clone(&self.left_behind);
        let run = move || {
            while let Ok((call, answer)) = receiver.recv_timeout(IDLE) {
                let done = connection.call(&call, &busy);
                *lock(&busy) = None;
                // Its lease may be over.
                let _ = answer.send(done);
                if is_left_behind.load(Ordering::Relaxed) {
                    left_behind.fetch_sub(1, Ordering::Relaxed);
                    break;
                }
            }
            debug!("the connection to the database is closed");
        };
        let spawned = std::thread::Builder::new().name("database".to_owned());
        spawned.spawn(run).map_err(|cause| format!("start a thread: {cause}"))?;
        Ok(worker)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(busy: &Busy, what: &'static str, at_most: Duration) {
    *lock(busy) = Some((what, clock::now() + at_most));
}

/// What the thread has.
struct DatabaseConnection {
    door: DatabaseDoor,
    tls: Arc<ClientConfig>,
    allow_private: bool,
    never: Arc<Veto>,
    meter: MaybeMeter,
    session: Option<DatabaseSession>,
}

struct DatabaseSession {
    client: Client,
    known: Statement,
    put: Statement,
}

impl DatabaseConnection {
    /// Does a call, connecting first where need be. A connection that has lain idle may be closed
    /// by now without anybody having noticed: then once more, with a new one.
    fn call(
        &mut self,
        call: &DatabaseCall,
        busy: &Busy,
    ) -> Result<DatabaseAnswer, DatabaseFailure> {
        let was_open = self.session.is_some();
        match self.attempt(call, busy) {
            Err(DatabaseFailure::Connection { is_open: first, .. }) if was_open => {
                match self.attempt(call, busy) {
                    Ok(DatabaseAnswer::Put { .. }) => Ok(DatabaseAnswer::Put { is_open: first }),
                    Err(DatabaseFailure::Connection { why, is_open }) => {
                        Err(DatabaseFailure::Connection { why, is_open: is_open || first })
                    }
                    done => done,
                }
            }
            done => done,
        }
    }

    fn attempt(
        &mut self,
        call: &DatabaseCall,
        busy: &Busy,
    ) -> Result<DatabaseAnswer, DatabaseFailure> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                begin(busy, "connect to the database", CONNECT_ALL_MAX);
                self.connect().map_err(|why| DatabaseFailure::Connection { why, is_open: false })?
            }
        };
        let at_most = match call {
            DatabaseCall::Known(_) | DatabaseCall::Put(..) => CALL_MAX,
            DatabaseCall::Trial => TRIAL_MAX,
        };
        begin(busy, "ask the database", at_most);
        let session = self.session.insert(session);
        let done = match call {
            DatabaseCall::Trial => session.trial(busy).map(|()| DatabaseAnswer::Works),
            DatabaseCall::Known(lease) => session.known(*lease, busy).map(DatabaseAnswer::Known),
            DatabaseCall::Put(lease, batch) => {
                session.put(*lease, batch).map(|()| DatabaseAnswer::Put { is_open: false })
            }
        };
        done.map_err(|cause| {
            if let Some(why) = refused(&cause) {
                return DatabaseFailure::Refused(why.to_owned());
            }
            self.session = None;
            DatabaseFailure::Connection {
                why: format!("{}: {}", self.door.database, refusal::of_database(&cause)),
                // What the server refused it has not done.
                is_open: cause.as_db_error().is_none(),
            }
        })
    }

    fn connect(&self) -> Result<DatabaseSession, String> {
        let database = &self.door.database;
        let config = self.config()?;
        let tls = MakeMeteredConnect {
            tls: MakeRustlsConnect::new(ClientConfig::clone(&self.tls)),
            meter: self.meter.clone(),
        };
        let failed =
            |cause: postgres::Error| format!("{database}: {}", refusal::of_database(&cause));
        let mut client = config.connect(tls).map_err(failed)?;
        let known =
            client.prepare("SELECT digest FROM peer.known($1) AS digest").map_err(failed)?;
        let put = client.prepare(&put_statement()).map_err(failed)?;
        debug!(database:%; "connected to the database");
        Ok(DatabaseSession { client, known, put })
    }

    /// What a connection is made with. The arbiter has said where to; all else is fixed here.
    fn config(&self) -> Result<Config, String> {
        let database = &self.door.database;
        let mut config = Config::new();
        config
            .user(&self.door.role)
            .dbname(&database.name)
            .application_name(crate::PROGRAM)
            // rustls verifies the server's certificate and its name whatever this says; without
            // TLS there is no connection.
            .ssl_mode(SslMode::Require)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(CALL_MAX / 2)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
        let mut why = String::new();
        for host in &database.hosts {
            if self.never.names(&host.host) {
                why = format!("{host}: --never forbids it");
                continue;
            }
            let found = match (&*host.host, host.port).to_socket_addrs() {
                Ok(found) => found,
                Err(cause) => {
                    why = format!(
                        "look up {}: {cause}; is this machine's name server right?",
                        host.host
                    );
                    continue;
                }
            };
            let found = found.filter(|address| !self.never.has(address.ip()));
            let (allowed, private): (Vec<_>, Vec<_>) =
                found.partition(|address| self.allow_private || is_public(address.ip()));
            if !private.is_empty() {
                why = format!("{host} is at a private address; use --private-database");
            }
            // PostgreSQL's client tries one after the other, and waits for each.
            let answers = match *allowed {
                [] | [_] => allowed,
                _ => match smol::block_on(dial::connect(&host.host, &allowed, ANSWER_MAX)) {
                    Ok(connected) => connected.alike(&allowed),
                    Err(cause) => {
                        why = format!("connect to {host}: {cause}");
                        continue;
                    }
                },
            };
            for address in answers {
                config.host(&host.host).hostaddr(address.ip()).port(host.port);
            }
        }
        if config.get_hosts().is_empty() {
            return Err(why);
        }
        Ok(config)
    }
}

/// Why the functions of peers refuse, if that is what they do.
fn refused(cause: &postgres::Error) -> Option<&str> {
    let error = cause.as_db_error()?;
    (error.code().code() == REFUSED).then(|| error.message())
}

impl DatabaseSession {
    fn trial(&mut self, busy: &Busy) -> Result<(), postgres::Error> {
        // Who is refused for the lease's sake could call them.
        let called = |done: Result<(), postgres::Error>| match done {
            Err(cause) if refused(&cause).is_none() => Err(cause),
            _ => Ok(()),
        };
        called(self.known(NOBODYS, busy).map(drop))?;
        called(self.put(NOBODYS, &Rows::default()))
    }

    /// Streams the digests: 16 bytes are kept of each. Whatever arrives shows that the server is
    /// not silent.
    fn known(&mut self, lease: u64, busy: &Busy) -> Result<Vec<Digest>, postgres::Error> {
        let lease = lease.cast_signed();
        let mut rows = self.client.query_raw(&self.known, [lease])?;
        let mut known: Vec<Digest> = Vec::new();
        while let Some(row) = rows.next()? {
            if known.len().is_multiple_of(1024) {
                begin(busy, "ask the database", CALL_MAX);
            }
            let digest: &[u8] = row.try_get(0)?;
            // A digest of another length would be known by nobody.
            known.extend(digest.try_into().map(Digest));
        }
        known.sort_unstable();
        Ok(known)
    }

    fn put(&mut self, lease: u64, batch: &Rows) -> Result<(), postgres::Error> {
        let lease = lease.cast_signed();
        let texts: Vec<_> = (0..Rows::COLUMNS).map(|column| batch.column(column)).collect();
        let (sizes, installed_sizes) = (batch.package_sizes(), batch.installed_sizes());
        let version_keys = batch.version_keys();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&lease];
        parameters.extend(texts.iter().map(|column| column as &(dyn ToSql + Sync)));
        parameters.push(&sizes);
        parameters.push(&installed_sizes);
        parameters.push(&version_keys);
        self.client.execute(&self.put, &parameters).map(drop)
    }
}

/// `SELECT peer.put($1, …)`: the lease, each column of [`Rows::column`], the two sizes, the
/// version keys.
fn put_statement() -> String {
    // Were the count known to the compiler, it would unroll the loop, which takes it minutes.
    let count = std::hint::black_box(1 + Rows::COLUMNS + 3);
    let parameters: Vec<String> = (1..=count).map(|number| format!("${number}")).collect();
    format!("SELECT peer.put({})", parameters.join(", "))
}
