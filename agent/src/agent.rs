//! The agent's loop: connect to an arbiter, offer slots, take leases, carry what their threads say,
//! give back what can't be finished.
//!
//! ```text
//!             ┌────────────── failed, or the session ended: next arbiter, after a pause
//!             ▼                                                               │
//!  start ─▶ connecting ── Welcome ─▶ serving ── signal ─▶ draining ─▶ end     │
//!                                      └──────────────────────────────────────┘
//! ```
//!
//! Its owner is heard in each of these states ([`control`]). A pause ends no session:
//! nothing is offered then, and what was in hand is given back.
//!
//! One executor on one thread; everything that blocks (a lease's fetching, unpacking, parsing) has
//! a thread of its own, of which so many are at work as there are [`slots`](crate::slots). A lease outlives the session: its thread goes on while
//! the agent reconnects, and what it said and was not answered is said again.

use crate::PROGRAM;
use crate::backoff;
use crate::caps::{Allowance, LEASE_MIN};
use crate::config::{AgentConfig, ArbiterAddress};
use crate::control::{self, OwnersDoor, Question, Word, about};
use crate::database::{DatabaseDoor, DatabaseThread, Writes};
use crate::dial::{ArbiterLink, dial};
use crate::fetch::{Bounds, FetchConfig, Progress};
use crate::follow;
use crate::ledger::book::LedgerCounts;
use crate::ledger::{self, Ledger};
use crate::pause::{self, Pause};
use crate::pulse::Pulse;
use crate::renewal::CertificateRenewal;
use crate::sink::Sink;
use crate::sink::audit::AuditSink;
use crate::sink::postgres::PostgresSink;
use crate::sink::relay::{FromLease, Relay};
use crate::slots::{LEASES_A_SLOT, Slots};
use crate::status::{AgentStatus, LeaseInHand};
use crate::way::Way;
use crate::work::{self, Context};
use async_signal::{Signal, Signals};
use canister_link::clock::{self, wall_millis};
use canister_link::dial::{DialStep, reaches, reaches_by_now};
use canister_link::identity::{Identity, IdentityError};
use canister_link::meter::{MaybeMeter, Meter};
use canister_link::notify::Notifier;
use canister_link::process;
use canister_link::refusal;
use canister_link::websocket::{HANDSHAKE_MAX, LinkError};
use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::{LEASE_BYTES, PROTOCOL, SLOTS_MAX, TEXT_BYTES_MAX};
use canister_protocol::message::{Cost, Origin, Outcome, Paths, PeerWish, Probed};
use canister_protocol::plain::one_line;
use canister_protocol::publisher::NamedPublisher;
use canister_protocol::row::MAPPING;
use canister_protocol::session::PeerSide;
use canister_protocol::version;
use canister_protocol::{Database, Floor, Source, ToArbiter, ToPeer, Veto};
use log::{debug, error, info, warn};
use nanoserde::SerJson as _;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, Timer};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A session that lasted this long was a good one: the next connection is tried at once.
const GOOD_SESSION: Duration = Duration::from_secs(30);
/// The state of a lease that takes long is logged this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// It isn't looked more often whether caps let the agent work.
const LOOK_AT_MOST: Duration = Duration::from_millis(100);
/// How often that is looked at, beside the moment at which it changes by itself: the clock may be set.
const LOOK_AT_CAPS: Duration = Duration::from_secs(20);

/// Why the agent can't run at all. What goes wrong later is logged and tried again.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// Its certificate or key.
    Identity(IdentityError),
    /// TLS refuses the identity.
    Tls(rustls::Error),
    /// Signals can't be waited for.
    Signals(io::Error),
    /// There are caps, and no ledger to keep them by.
    Ledger(PathBuf, io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(cause) => write!(f, "{cause}"),
            Self::Tls(cause) => write!(f, "set up TLS: {cause}"),
            Self::Signals(cause) => write!(f, "wait for signals: {cause}"),
            Self::Ledger(path, cause) => write!(
                f,
                "{}: {cause}; caps are kept by a ledger, --ledger names another file",
                path.display()
            ),
        }
    }
}

impl std::error::Error for AgentError {}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnded {
    /// The operator wishes that the agent is started again.
    ToRestart,
    /// It is to stay so.
    Stopped,
}

/// Runs until SIGTERM or SIGINT, or until the operator wishes that it ends.
///
/// # Errors
/// [`AgentError`], at start only.
pub fn run(config: AgentConfig) -> Result<RunEnded, AgentError> {
    let identity = Identity::load(&config.files()).map_err(AgentError::Identity)?;
    let tls = Arc::new(identity.client_config().map_err(AgentError::Tls)?);
    let ledger = Arc::new(ledger(&config)?);
    let fetch = FetchConfig { ledger: Some(Arc::clone(&ledger)), ..config.fetch() };
    let context = Context::new(&fetch, Some(config.cpu), config.memory);
    let meter: MaybeMeter = Some(Arc::clone(&ledger) as Arc<dyn Meter>);
    let signals = Signals::new([Signal::Term, Signal::Int]).map_err(AgentError::Signals)?;
    let executor = LocalExecutor::new();
    let seed = std::hash::RandomState::new().build_hasher().finish();
    let is_private = config.is_database_private();
    let never = Arc::clone(&fetch.never);
    let database = DatabaseThread::new(Arc::clone(&tls), is_private, seed, never, meter.clone());
    let pulse = Rc::new(Pulse::new(Notifier::from_environment(), config.health.clone()));
    let slots = config.slots as usize;
    let leases_max = (slots * LEASES_A_SLOT).min(SLOTS_MAX);
    let (working, paused) = Slots::new(slots);
    let (say, said) = smol::channel::bounded(2 * leases_max);
    let (ask, asked) = smol::channel::bounded(1);
    let door = OwnersDoor::open(control::place(&config));
    let renewal = CertificateRenewal::new(config.files(), &identity);
    let kept = Pause::kept(&pause::file(&config.dir), wall_millis());
    let pause = kept.unwrap_or_else(|why| {
        warn!(why; "the file of a pause can't be read; this peer isn't paused");
        None
    });
    let mut agent = Agent {
        floor: None,
        wish: None,
        ends: None,
        identity,
        renewal,
        leases: Leases {
            context,
            ledger: Arc::clone(&ledger),
            works: true,
            changes: None,
            told: None,
            database: Arc::new(database),
            told_writes: None,
            reaches: AddressFamilies::BOTH,
            way: Way::default(),
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            slots,
            leases_max,
            working,
            offered: 0,
            is_resting: pause.is_some(),
            threads: 0,
            lifetime: Duration::from_secs(60),
            renewed: clock::now(),
            next_renewal: clock::now(),
            renewals: VecDeque::new(),
            say,
            follow: config.follow.clone().map(|follow| Arc::new(follow.0)),
        },
        said,
        paused,
        asked,
        signals,
        tls,
        meter,
        config,
        pulse: Rc::clone(&pulse),
        pause: None,
        draining: None,
        session: (String::new(), wall_millis()),
        record: None,
        newest: VERSION.to_owned(),
        started: wall_millis(),
        database: None,
    };
    agent.rests(pause);
    executor
        .spawn({
            let pulse = Rc::clone(&pulse);
            async move { pulse.beat().await }
        })
        .detach();
    pulse.ready();
    let serving = async {
        door.serve(&ask).await;
        smol::future::pending().await
    };
    // Not smol's own, which waits for readiness on this thread: smol's other thread then looks ten times
    // whether it should, after each event.
    smol::future::block_on(executor.run(agent.run(&executor, seed).or(serving)));
    pulse.stopping();
    ledger.close();
    Ok(agent.ends.unwrap_or(RunEnded::Stopped))
}

/// The ledger; where there are no caps, it may be one that is forgotten.
fn ledger(config: &AgentConfig) -> Result<Ledger, AgentError> {
    match Ledger::open(&config.ledger, config.caps()) {
        Ok(ledger) => Ok(ledger),
        Err(cause) if config.caps().is_any() => {
            Err(AgentError::Ledger(config.ledger.clone(), cause))
        }
        Err(cause) => {
            let path = config.ledger.display();
            warn!(path:%, cause:%; "no ledger is kept; --ledger names another file");
            Ok(Ledger::forgetful())
        }
    }
}

struct Agent {
    leases: Leases,
    /// What the leases' threads say.
    said: Receiver<FromLease>,
    /// Whether one of them began to wait for a pause.
    paused: Receiver<()>,
    /// What its owner asks.
    asked: Receiver<Question>,
    signals: Signals,
    /// Who the next session is for; a renewal changes it.
    identity: Identity,
    renewal: CertificateRenewal,
    tls: Arc<rustls::ClientConfig>,
    meter: MaybeMeter,
    config: AgentConfig,
    pulse: Rc<Pulse>,
    /// While it lasts, no lease is taken.
    pause: Option<Pause>,
    /// Set by the first signal: when to stop waiting for the leases in hand.
    draining: Option<Instant>,
    /// The arbiter of the session, empty without one, and since when that is so.
    session: (String, u64),
    /// The oldest version that is granted leases, where this one is older.
    floor: Option<Floor>,
    /// What the operator wishes of this peer, in words.
    wish: Option<String>,
    /// How it is to end by the operator's wish, unless a signal came first.
    ends: Option<RunEnded>,
    /// Why an arbiter gives this peer less, if one does.
    record: Option<String>,
    /// The newest version that is known of.
    newest: String,
    started: u64,
    /// Where the arbiter says that rows may go.
    database: Option<Database>,
}

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the loop waits for.
enum AgentEvent {
    /// A lease began to wait for a pause: its slot is free.
    Paused,
    Arrived(Result<ToPeer, LinkError>),
    /// By the owner.
    Asked(Question),
    /// From a lease's thread.
    Said(FromLease),
    Signal,
    /// The deadline that was waited for has come.
    Tick,
}

/// Why a session was left.
enum Left {
    /// The link failed or was closed.
    Lost(LinkError),
    /// The agent is to stop.
    Stopped,
}

impl Agent {
    async fn run(&mut self, executor: &LocalExecutor<'_>, seed: u64) {
        let arbiters = self.config.arbiter.clone();
        // Peers that were all given the same list spread over it.
        let mut next = (seed % arbiters.len() as u64) as usize;
        let mut attempt = 0;
        loop {
            if !self.pause(backoff::delay(attempt, seed)).await {
                return;
            }
            self.leases.look_at_caps();
            if self.leases.ledger.is_out() {
                if !self.pause(LOOK_AT_CAPS).await {
                    return;
                }
                continue;
            }
            let address = &arbiters[next];
            next = (next + 1) % arbiters.len();
            attempt += 1;
            let (tls, meter) = (Arc::clone(&self.tls), self.meter.clone());
            let link = self.meanwhile(dial(executor, address, &tls, &meter)).await;
            let link = match link {
                None => return info!("stopped while connecting"),
                Some(Ok(dialled)) => {
                    if let Some(why) = dialled.passed_over {
                        info!(arbiter:% = address, why; "some of the arbiter's addresses don't answer");
                    }
                    dialled.link
                }
                Some(Err(cause)) if cause.step == DialStep::Revoked => {
                    if self.is_revoked().await {
                        attempt = 0;
                        continue;
                    }
                    return;
                }
                Some(Err(cause)) => {
                    warn!(arbiter:% = address, cause:%; "couldn't connect to arbiter");
                    continue;
                }
            };
            self.told_floor(link.told().floor.clone());
            let began = clock::now();
            self.leases.reaches = reaches_by_now().await;
            let left = self.serve(link, address).await;
            self.pulse.session_ends();
            self.session = (String::new(), wall_millis());
            match left {
                Left::Stopped if self.stays().await => attempt = 0,
                Left::Stopped => return info!("stopped"),
                Left::Lost(LinkError::Revoked) if self.is_revoked().await => attempt = 0,
                Left::Lost(LinkError::Revoked) => return,
                Left::Lost(cause) => {
                    warn!(arbiter:% = address, cause:%; "session ended");
                    if clock::now() - began >= GOOD_SESSION {
                        attempt = 0;
                    }
                }
            }
        }
    }

    /// Ends, for no arbiter takes this certificate any more; true if the owner has it try again.
    async fn is_revoked(&mut self) -> bool {
        let files = self.config.files();
        let (certificate, key) = (files.certificate.display(), files.key.display());
        error!(
            "this peer's certificate was revoked, by `canister-agent leave` or by Canister's operator; \
             stopping. To come back, move {certificate} and {key} away, then `canister-agent join NAME`"
        );
        (self.ends, self.wish) = (Some(RunEnded::Stopped), Some("certificate revoked".to_owned()));
        self.stays().await
    }

    /// What the operator's `stop` comes to for the first process of a container: if it ended, the engine
    /// would start it again at once. It stays, without a session, until the owner resumes (then it is
    /// true) or has it end.
    async fn stays(&mut self) -> bool {
        if self.ends != Some(RunEnded::Stopped) || std::process::id() != 1 {
            return false;
        }
        (self.draining, self.ends) = (None, None);
        self.session = (String::new(), wall_millis());
        self.rests(Some(Pause { until: None, operator: self.wish.clone() }));
        while self.pause.is_some() {
            let (signals, asked) = (&mut self.signals, &self.asked);
            let asked = async { Some(control::next(asked).await) };
            let signal = async {
                signals.next().await;
                None
            };
            match signal.or(asked).await {
                None => return false,
                Some(question) => self.asked(&question, None),
            }
        }
        self.wish = None;
        true
    }

    /// Waits between two connections; false if the agent is to stop. Leases' threads go on.
    async fn pause(&mut self, delay: Duration) -> bool {
        self.leases.cancel_expired();
        if !delay.is_zero() {
            debug!(delay:?; "waiting before the next connection");
        }
        let is_over = self.meanwhile(Timer::after(delay)).await.is_some();
        if !is_over {
            info!("stopped while not connected");
        }
        is_over
    }

    /// Waits for something without a session, and hears the owner meanwhile; none if the agent is to stop.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            let (signals, asked) = (&mut self.signals, &self.asked);
            let came = async { Ok(what.as_mut().await) }
                .or(async {
                    signals.next().await;
                    Err(None)
                })
                .or(async { Err(Some(control::next(asked).await)) })
                .await;
            match came {
                Ok(came) => return Some(came),
                Err(None) => return None,
                Err(Some(ask)) => self.asked(&ask, None),
            }
        }
    }

    /// What the arbiter says of versions, where it concerns this one.
    fn told_floor(&mut self, floor: Option<Floor>) {
        self.floor = floor.filter(|floor| floor.is_above(PROGRAM));
        if let Some(floor) = &self.floor {
            warn!("{}", too_old(floor));
        }
    }

    /// One session, from Hello to its end.
    async fn serve(&mut self, mut link: ArbiterLink, address: &ArbiterAddress) -> Left {
        let mut side = PeerSide::default();
        let never = Veto::new(self.config.never.clone());
        link.send(&ToArbiter::Hello {
            protocol: PROTOCOL,
            mapping: Some(MAPPING),
            public_name: self.config.public_name.clone(),
            never: Some(never.texts()).filter(|texts| !texts.is_empty()),
            obeys: Some(self.config.obey),
            agent: PROGRAM.to_owned(),
            leases: self.leases.held.keys().copied().collect(),
        });
        let mut is_welcome = false;
        let greeting_over = clock::now() + HANDSHAKE_MAX;
        loop {
            let deadline = if is_welcome { self.next_deadline() } else { greeting_over };
            let event = {
                let (said, signals, asked) = (&self.said, &mut self.signals, &self.asked);
                let pauses = &self.paused;
                let arrived = async { AgentEvent::Arrived(link.receive().await) };
                let said = async {
                    // Before the welcome nothing may be said, and nothing is taken from the queue.
                    if !is_welcome {
                        smol::future::pending::<()>().await;
                    }
                    said.recv().await.map_or(AgentEvent::Tick, AgentEvent::Said)
                };
                let signal = async {
                    signals.next().await;
                    AgentEvent::Signal
                };
                let asked = async { AgentEvent::Asked(control::next(asked).await) };
                let paused = async {
                    if !is_welcome || pauses.recv().await.is_err() {
                        smol::future::pending::<()>().await;
                    }
                    AgentEvent::Paused
                };
                let tick = async {
                    Timer::at(deadline).await;
                    AgentEvent::Tick
                };
                // Who has the machine first.
                signal.or(asked).or(arrived).or(said).or(paused).or(tick).await
            };
            match event {
                AgentEvent::Asked(ask) => self.asked(&ask, is_welcome.then_some(&link)),
                AgentEvent::Arrived(Ok(message)) => {
                    if let Err(cause) = side.arrived(&message) {
                        return lose(link, cause.into()).await;
                    }
                    if let ToPeer::Welcome { arbiter, peer, .. } = &message {
                        info!(arbiter:% = address, program = arbiter, peer; "session begins");
                        self.pulse.session_begins(address.as_str());
                        self.session = (address.to_string(), wall_millis());
                        self.newest = newer(arbiter, &self.newest);
                        is_welcome = true;
                        self.renewal.session_begins(&self.identity);
                    }
                    let held = self.leases.held.len();
                    self.arrived(message, &link);
                    // What a lease had reserved and didn't need is there for others.
                    if self.leases.held.len() < held {
                        self.leases.keep_to_caps(&link);
                    }
                }
                AgentEvent::Arrived(Err(cause)) => return lose(link, cause).await,
                AgentEvent::Said(FromLease::Say(message)) => {
                    // What it came to know counts for the next grant.
                    if let ToArbiter::Finish { outcome, .. } = &message {
                        self.leases.look_out(&link);
                        self.leases.way.after(outcome, clock::now());
                    }
                    self.leases.said(message, &link);
                }
                AgentEvent::Said(FromLease::Put(lease, bytes)) => {
                    self.leases.say(lease, LeaseSaid::Put(bytes), &link);
                }
                AgentEvent::Said(FromLease::Writes) => self.leases.tell_writes(&link),
                AgentEvent::Said(FromLease::Ended(lease)) => {
                    self.leases.ended(lease);
                    self.leases.keep_to_caps(&link);
                    self.leases.keep_busy(&link);
                }
                AgentEvent::Paused => self.leases.keep_busy(&link),
                AgentEvent::Signal => {
                    // Whatever the operator wished.
                    self.ends = None;
                    if self.draining.is_some() {
                        return self.stop(link, "stopping at once").await;
                    }
                    self.drains(&link);
                }
                AgentEvent::Tick if !is_welcome => return lose(link, LinkError::Silent).await,
                AgentEvent::Tick => {
                    self.leases.ledger.tick();
                    self.leases.keep_to_caps(&link);
                    if self.pause.as_ref().is_some_and(Pause::is_over) {
                        self.resumes(Some(&link));
                    }
                    self.leases.look_out(&link);
                    self.leases.renew(&link);
                    if let Some(request) = self.renewal.request(&self.identity) {
                        link.send(&request);
                    }
                }
            }
            if let Some(until) = self.draining
                && (self.leases.held.is_empty() || clock::now() >= until)
            {
                return self.stop(link, "drained").await;
            }
        }
    }

    fn arrived(&mut self, message: ToPeer, link: &ArbiterLink) {
        match message {
            ToPeer::Welcome { leases, lease_secs, .. } => {
                self.database = link.told().database.clone();
                if let Some(address) = link.told().address {
                    self.leases.context.home().seen_at(address);
                }
                self.open_door();
                self.leases.told_writes = None;
                self.leases.tell_writes(link);
                self.leases.welcome(&leases, Duration::from_secs(lease_secs.into()), link);
                self.leases.offer(link);
            }
            ToPeer::Grant {
                lease,
                audit,
                paths,
                bytes_max,
                looks,
                operator,
                owner,
                publisher,
                request,
                source,
                origin,
                retry,
                pause_millis,
                probed,
            } => {
                let bounds = Bounds {
                    pause: Duration::from_millis(pause_millis.unwrap_or_default().into()),
                    bytes: bytes_max.unwrap_or(LEASE_BYTES),
                    is_own: false,
                    connect: self.leases.way.patience(clock::now()),
                    looks: looks.unwrap_or_default(),
                };
                let at = |Paths { release_path, index_path }| Origin {
                    release_path,
                    index_path,
                    ..Origin::default()
                };
                let remembered = (origin.or_else(|| paths.map(at)), probed.unwrap_or_default());
                let is_audit = audit.unwrap_or_default();
                let held = HeldLease {
                    retry,
                    operator,
                    owner,
                    publisher,
                    request,
                    is_audit,
                    ..HeldLease::new(source, remembered, bounds)
                };
                self.leases.granted(lease, held, link);
            }
            ToPeer::Renewed { leases } => self.leases.renewed(&leases),
            ToPeer::Digests { lease, .. }
            | ToPeer::PricedIds { lease, .. }
            | ToPeer::Taken { lease, .. } => {
                self.leases.answered(lease, message);
            }
            ToPeer::Finished { lease } => self.leases.over(lease, "finished"),
            ToPeer::Refused { lease, reason } => {
                info!(lease, reason; "refused by the arbiter");
                self.leases.over(lease, "refused");
            }
            ToPeer::Revoked { lease, reason } => {
                info!(lease, reason; "revoked by the arbiter");
                self.leases.over(lease, "revoked");
            }
            ToPeer::Certificate { chain } => self.renewed(&chain),
            ToPeer::NoCertificate { reason, again_secs } => {
                self.renewal.refused(&reason, again_secs, &self.identity);
            }
            ToPeer::Record { leases, rests_secs, reason } if !reason.is_empty() => {
                warn!(leases, rests_secs, reason; "the arbiter gives this peer less");
                self.record = Some(reason);
            }
            ToPeer::Record { .. } => {
                info!("the arbiter gives this peer what it offers again");
                self.record = None;
            }
            ToPeer::Wish { what, why } => self.wished(what, &why, link),
            // A run asks for none.
            ToPeer::Left { .. } | ToPeer::Planned { .. } => {}
            ToPeer::Draining {} => info!("the arbiter is about to stop"),
        }
    }

    /// Takes no more and ends when what is in hand is done.
    fn drains(&mut self, link: &ArbiterLink) {
        let leases = self.leases.held.len();
        info!(leases; "draining: taking no more leases");
        self.pulse.stopping();
        self.draining = Some(clock::now() + self.config.drain);
        self.leases.is_resting = true;
        self.leases.give_back(Some(link), |held| held.receiver.is_some());
        self.leases.offer(link);
    }

    /// Does what the operator wishes, if the owner lets it.
    fn wished(&mut self, what: PeerWish, why: &str, link: &ArbiterLink) {
        let (word, is_refused) = (what.word(), !self.config.obey);
        warn!(wish = word, why, is_refused; "the operator wishes something of this peer");
        let why = if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") };
        if is_refused {
            self.wish = Some(format!("{why}; refused by --obey no"));
            return;
        }
        let operators = self.pause.as_ref().is_some_and(|pause| pause.operator.is_some());
        match what {
            // The owner's own pause outlasts it.
            PeerWish::Drain if self.pause.is_none() || operators => {
                self.pauses(
                    Pause { until: None, operator: Some(why) },
                    |held| held.receiver.is_some(),
                    Some(link),
                );
            }
            PeerWish::Resume if operators => {
                self.resumes(Some(link));
            }
            PeerWish::Drain | PeerWish::Resume => {}
            PeerWish::Restart | PeerWish::Stop if self.draining.is_none() => {
                let is_stop = what == PeerWish::Stop;
                self.ends = Some(if is_stop { RunEnded::Stopped } else { RunEnded::ToRestart });
                self.wish = Some(why);
                self.drains(link);
            }
            PeerWish::Restart | PeerWish::Stop => {}
        }
    }

    /// Does what the owner asks, over the session if there is one, and answers.
    fn asked(&mut self, ask: &Question, link: Option<&ArbiterLink>) {
        let said = match ask.word {
            Word::Status => self.status().serialize_json(),
            Word::Resume => self.resumes(link),
            Word::Pause(time) => self.pauses(Pause::of_owner(time), |_| true, link),
            Word::Drain => self.pauses(Pause::of_owner(None), |held| held.receiver.is_some(), link),
        };
        // Whoever asked may be gone.
        let _ = ask.answer.try_send(said);
    }

    /// Begins a pause: takes no more, and gives back those of the leases in hand that `goes` says.
    fn pauses(
        &mut self,
        pause: Pause,
        goes: impl Fn(&HeldLease) -> bool,
        link: Option<&ArbiterLink>,
    ) -> String {
        let kept = Pause::keep(Some(&pause), &pause::file(&self.config.dir));
        self.rests(Some(pause));
        self.leases.give_back(link, goes);
        if let Some(link) = link {
            self.leases.offer(link);
        }
        let state = self.state();
        info!("{state}");
        match kept {
            Ok(()) => state,
            Err(cause) => {
                warn!(folder:% = self.config.dir.display(), cause:%; "this pause ends when the agent is started again");
                format!(
                    "{state}; until it is started again, for the pause can't be kept in {}: {cause}",
                    self.config.dir.display()
                )
            }
        }
    }

    /// Ends a pause.
    fn resumes(&mut self, link: Option<&ArbiterLink>) -> String {
        let kept = Pause::keep(None, &pause::file(&self.config.dir));
        self.rests(None);
        info!("resumed: {}", self.state());
        if let Some(link) = link {
            self.leases.offer(link);
        }
        match kept {
            Ok(()) => self.state(),
            Err(cause) => format!("{}; started again it is paused: {cause}", self.state()),
        }
    }

    fn rests(&mut self, pause: Option<Pause>) {
        self.leases.is_resting = pause.is_some() || self.draining.is_some();
        self.pause = pause;
        self.pulse.is_at(&self.state());
    }

    /// What the agent does and when it works next, in a sentence.
    fn state(&self) -> String {
        let hand = match self.leases.held.len() {
            0 => String::new(),
            1 => ", and finishes the lease in hand".to_owned(),
            leases => format!(", and finishes the {leases} leases in hand"),
        };
        if let Some(until) = self.draining {
            let left = about(until.saturating_duration_since(clock::now()));
            return format!("stops within {left}{hand}");
        }
        let Some(pause) = &self.pause else {
            return match self.session.0.is_empty() {
                true => "works when it is connected".to_owned(),
                false if self.config.caps().is_any() => self.leases.ledger.allowance().says,
                false => "works".to_owned(),
            };
        };
        let by = pause
            .operator
            .as_ref()
            .map_or_else(String::new, |why| format!(" by the operator ({why})"));
        match pause.left(wall_millis()) {
            Some(left) => format!(
                "paused{by}{hand}; works again in {}, or after `canister-agent resume`",
                about(left)
            ),
            None => format!("paused{by}{hand}; works again after `canister-agent resume`"),
        }
    }

    /// What the arbiters say of this peer.
    fn told(&self) -> Vec<String> {
        let record =
            self.record.as_ref().map(|why| format!("the arbiter gives this peer less: {why}"));
        let wish = self.wish.as_ref().map(|why| format!("the operator wishes: {why}"));
        [self.floor.as_ref().map(too_old), record, wish].into_iter().flatten().collect()
    }

    fn status(&self) -> AgentStatus {
        let certificate = self.identity.certificate();
        let (arbiter, since) = self.session.clone();
        let (today, month) = self.leases.ledger.sums();
        AgentStatus {
            program: PROGRAM.to_owned(),
            newest: self.newest.clone(),
            peer: certificate.name.clone().unwrap_or_default(),
            arbiter,
            since,
            state: self.state(),
            told: self.told(),
            leases: self.leases.held.iter().map(|(lease, held)| held.report(*lease)).collect(),
            slots: self.config.slots.into(),
            started: self.started,
            today: today.into(),
            month: month.into(),
            cpu_millis: u64::try_from(clock::cpu().as_millis()).unwrap_or(u64::MAX),
            memory_bytes: process::rss_bytes("self").unwrap_or_default(),
            memory_bytes_peak: process::peak_rss_bytes("self").unwrap_or_default(),
            certificate_ends: certificate.life.ends.saturating_mul(1000),
        }
    }

    fn renewed(&mut self, chain: &str) {
        let Some(identity) = self.renewal.certificate(chain, &self.identity) else {
            return;
        };
        match identity.client_config() {
            Ok(tls) => {
                self.tls = Arc::new(tls);
                self.leases.database.renewed(Arc::clone(&self.tls));
                self.identity = identity;
                self.open_door();
            }
            Err(cause) => error!(cause:%; "couldn't set up TLS with the new certificate"),
        }
    }

    /// Has rows go into the database that the arbiter named, in the role that the certificate says.
    fn open_door(&self) {
        let role = self.identity.certificate().role.clone();
        let door = role.zip(self.database.clone());
        let door = door.map(|(role, database)| DatabaseDoor { role, database });
        self.leases.database.named(door);
    }

    fn next_deadline(&self) -> Instant {
        let mut renewal = self.leases.next_renewal.min(self.renewal.deadline());
        if self.config.caps().is_any() {
            let look = clock::now() + LOOK_AT_CAPS;
            renewal = self.leases.changes.map_or(look, |at| at.min(look)).min(renewal);
        }
        let left = self.pause.as_ref().and_then(|pause| pause.left(wall_millis()));
        let resumes = left.map(|left| clock::now() + left);
        [self.draining, resumes].into_iter().flatten().fold(renewal, Instant::min)
    }

    async fn stop(&mut self, link: ArbiterLink, why: &str) -> Left {
        self.leases.give_back(Some(&link), |_| true);
        info!("{why}");
        link.close(1000, "the peer stops").await;
        Left::Stopped
    }
}

/// Tells the arbiter why, where it isn't gone already, and passes the cause on.
async fn lose(link: ArbiterLink, cause: LinkError) -> Left {
    link.close(cause.close_code(), &cause.to_string()).await;
    Left::Lost(cause)
}

/// The leases in hand.
struct Leases {
    context: Context,
    /// Whose copies are put, if another network is followed.
    follow: Option<Arc<canister_protocol::Uri>>,
    ledger: Arc<Ledger>,
    /// Whether the caps let it, and when that changes by itself.
    works: bool,
    changes: Option<Instant>,
    /// What they say, and what this session's arbiter was offered by that.
    told: Option<(String, Option<u64>)>,
    database: Arc<DatabaseThread>,
    /// What this session's arbiter was told of how rows are written.
    told_writes: Option<Writes>,
    /// Which families of addresses lead out of this home.
    reaches: AddressFamilies,
    /// Whether the way to servers works.
    way: Way,
    held: BTreeMap<u64, HeldLease>,
    /// Granted, but every thread is still at work for a lease that is over.
    waiting: VecDeque<u64>,
    /// How many are at work at once, and how many may be in hand while others wait for a pause.
    slots: usize,
    leases_max: usize,
    working: Arc<Slots>,
    /// How many the arbiter was told.
    offered: usize,
    /// Whether nothing is offered, whatever slots there are.
    is_resting: bool,
    /// Threads alive; at most as many as there may be leases in hand.
    threads: usize,
    /// How long a lease lives without renewal, as the arbiter says.
    lifetime: Duration,
    /// When the leases in hand were last known to be held.
    renewed: Instant,
    /// When to ask for their renewal next.
    next_renewal: Instant,
    /// Which leases each renewal named that isn't answered yet, oldest first.
    renewals: VecDeque<Vec<u64>>,
    say: Sender<FromLease>,
}

struct HeldLease {
    source: Source,
    /// Who runs its server, as the arbiter says.
    operator: Option<String>,
    /// How it ends, as far as is known.
    verdict: LedgerCounts,
    /// What is remembered of it.
    remembered: (Option<Origin>, Probed),
    /// The only path to be asked first, by its number.
    retry: Option<u32>,
    /// Whether its host is asked what the owner says.
    owner: Option<bool>,
    /// Who is asked first.
    publisher: Option<NamedPublisher>,
    /// What its requests say they are made by.
    request: Option<String>,
    is_audit: bool,
    /// Between two of its requests.
    bounds: Bounds,
    cancel: Arc<AtomicBool>,
    progress: Arc<Progress>,
    /// When it was granted, and when its state is logged.
    since: u64,
    logged: Instant,
    answers: Sender<ToPeer>,
    /// For the lease's thread, until it begins.
    receiver: Option<Receiver<ToPeer>>,
    /// What was said for this lease and not answered, oldest first.
    unanswered: VecDeque<LeaseSaid>,
}

/// What is said again in another session.
#[expect(clippy::large_enum_variant, reason = "few wait at a time")]
enum LeaseSaid {
    Message(ToArbiter),
    /// Rows, as they were sent.
    Put(Vec<u8>),
}

impl LeaseSaid {
    fn send(&self, link: &ArbiterLink) {
        match self {
            Self::Message(message) => link.send(message),
            Self::Put(bytes) => link.outbox().send_binary(bytes.clone()),
        }
    }
}

impl HeldLease {
    fn new(source: Source, remembered: (Option<Origin>, Probed), bounds: Bounds) -> Self {
        let (answers, receiver) = smol::channel::unbounded();
        Self {
            source,
            operator: None,
            verdict: ledger::verdict(None),
            remembered,
            retry: None,
            owner: None,
            publisher: None,
            request: None,
            is_audit: false,
            bounds,
            cancel: Arc::new(AtomicBool::new(false)),
            progress: Arc::default(),
            since: wall_millis(),
            logged: clock::now() + PROGRESS_EVERY,
            answers,
            receiver: Some(receiver),
            unanswered: VecDeque::new(),
        }
    }

    /// Whether its work is done and the arbiter is to confirm that.
    fn is_finished(&self) -> bool {
        matches!(self.unanswered.back(), Some(LeaseSaid::Message(ToArbiter::Finish { .. })))
    }

    fn report(&self, lease: u64) -> LeaseInHand {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        LeaseInHand {
            lease,
            source: self.source.slug.clone(),
            uri: self.source.uri.clone(),
            since: self.since,
            bytes_fetched: of(&self.progress.bytes_fetched),
            bytes_expected: of(&self.progress.bytes_expected),
            packages: of(&self.progress.packages),
            is_finished: self.is_finished(),
        }
    }
}

impl Leases {
    fn granted(&mut self, lease: u64, mut held: HeldLease, link: &ArbiterLink) {
        // What was offered before it was busy comes yet.
        let (more, fits) = match self.held.len() < self.leases_max {
            true => self.fits(self.free().max(1)),
            false => (0, None),
        };
        if self.is_resting || more == 0 || !self.works {
            return link.send(&ToArbiter::GiveBack { lease });
        }
        let bounds = &mut held.bounds;
        if let Some(most) = fits {
            // Whose bound it is that the grant says can't be told from it: then no source is to blame.
            (bounds.bytes, bounds.is_own) = (bounds.bytes.min(most), true);
        }
        if let Err(why) = self.ledger.reserve(lease, bounds.bytes) {
            info!(lease, why; "giving back a lease");
            return link.send(&ToArbiter::GiveBack { lease });
        }
        if self.held.is_empty() {
            self.renewed = clock::now();
            self.next_renewal = self.renewed + self.lifetime / 3;
        }
        let source = &held.source;
        debug!(lease, source = source.slug.as_str(), uri = source.uri.as_str(); "lease granted");
        self.held.insert(lease, held);
        self.waiting.push_back(lease);
        self.begin();
    }

    /// Begins what waits, while there are threads for it.
    fn begin(&mut self) {
        while self.threads < self.leases_max {
            let Some(lease) = self.waiting.pop_front() else {
                return;
            };
            let Some(held) = self.held.get_mut(&lease) else {
                continue;
            };
            let Some(receiver) = held.receiver.take() else {
                continue;
            };
            let mut sink = PostgresSink::new(
                lease,
                Arc::clone(&self.database),
                Relay::new(lease, self.say.clone(), receiver),
                Arc::clone(&held.cancel),
                self.slots,
            );
            let say = self.say.clone();
            let (cancel, is_over) = (Arc::clone(&held.cancel), Arc::clone(&held.cancel));
            let progress = Arc::clone(&held.progress);
            let work = self.context.lease(&held.source, held.bounds, cancel, progress);
            let work = work
                .with_retry(held.retry)
                .with_owner(held.owner)
                .with_publisher(held.publisher.take())
                .with_request(held.request.take())
                .with_slot(Arc::clone(&self.working))
                .with_operator(held.operator.clone());
            let (source, remembered) = (held.source.clone(), std::mem::take(&mut held.remembered));
            let mut audit = held.is_audit.then(|| AuditSink::new(&source.slug));
            // What is to be checked is read where it is.
            let follow = self.follow.clone().filter(|_| audit.is_none());
            let spawned =
                std::thread::Builder::new().name(format!("lease-{lease}")).spawn(move || {
                    let into: &mut dyn Sink = match &mut audit {
                        Some(audit) => audit,
                        None => &mut sink,
                    };
                    let (origin, probed) = remembered;
                    let remembered = (origin.as_ref(), &probed);
                    let followed = follow.and_then(|from| {
                        follow::run(&source, remembered.0, work.fetcher(), into, &from)
                    });
                    let (outcome, owner, cost) = match followed {
                        Some((outcome, cost)) => (outcome, None, cost),
                        None => work::run(&source, remembered, &work, into),
                    };
                    let outcome = match audit {
                        Some(audit) => audit.ended(outcome),
                        None => outcome,
                    };
                    // Of one that is over already the loop has told.
                    if !is_over.load(Ordering::Relaxed) {
                        report(lease, &source, &outcome, &cost);
                    }
                    // If the loop is gone, so is the process.
                    let _ = say.send_blocking(FromLease::Say(ToArbiter::Finish {
                        lease,
                        outcome,
                        owner,
                        cost,
                    }));
                    let _ = say.send_blocking(FromLease::Ended(lease));
                });
            match spawned {
                Ok(_) => self.threads += 1,
                // It stays held and expires; the machine has no thread left to work with.
                Err(cause) => error!(lease, cause:%; "couldn't start a thread"),
            }
        }
    }

    /// Tells the arbiter what may be granted.
    fn offer(&mut self, link: &ArbiterLink) {
        let (more, bytes) = self.fits(self.free());
        // What is in hand has what it needs.
        let is_offered = self.works && !self.is_resting;
        let slots = if is_offered { self.held.len() + more } else { 0 };
        self.offered = slots;
        let (reaches, slots) = (Some(self.reaches), slots as u32);
        // What is granted before the next offer comes in has enough.
        let least = bytes.map(|bytes| bytes.max(LEASE_MIN));
        link.send(&ToArbiter::Offer { reaches, bytes: least, slots });
        if let Some((_, told)) = &mut self.told {
            *told = bytes;
        }
    }

    /// Leases that have a slot or wait for one.
    fn busy(&self) -> usize {
        self.held.len().saturating_sub(self.working.pausing())
    }

    /// How many more leases keep all slots busy.
    fn free(&self) -> usize {
        let room = self.leases_max.saturating_sub(self.held.len());
        self.slots.saturating_sub(self.busy()).min(room)
    }

    /// Tells the arbiter where it may grant more, because leases wait for a pause, or less, because many wait
    /// for a slot.
    fn keep_busy(&mut self, link: &ArbiterLink) {
        if !self.works || self.is_resting {
            return;
        }
        let wanted = self.held.len() + self.free();
        if wanted > self.offered || (wanted < self.offered && self.busy() > 2 * self.slots) {
            self.offer(link);
        }
    }

    /// How many of `free` more leases fit into what the caps leave, and where there is a bound, most bytes
    /// that each of them may fetch.
    fn fits(&self, free: usize) -> (usize, Option<u64>) {
        let bytes = |more: usize| self.ledger.lease_bytes(more as u64);
        let is_enough = |more: &usize| bytes(*more).is_none_or(|bytes| bytes >= LEASE_MIN);
        match (1..=free).rev().find(is_enough) {
            Some(more) => (more, bytes(more)),
            None => (0, bytes(free.max(1))),
        }
    }

    /// Looks what the caps let, and logs it where it changed.
    fn look_at_caps(&mut self) {
        let Allowance { works, changes, says } = self.ledger.allowance();
        self.works = works;
        self.changes = changes.map(|at| {
            let at = u64::try_from(at.as_millisecond()).unwrap_or_default();
            let left = Duration::from_millis(at.saturating_sub(wall_millis()));
            clock::now() + left.max(LOOK_AT_MOST)
        });
        // What is used changes all the time.
        let now = says.split(';').next().unwrap_or_default();
        if self.told.as_ref().is_none_or(|(told, _)| told != now) {
            // That nothing is capped is no news.
            if self.ledger.has_caps() {
                info!("{says}");
            }
            let bytes = self.told.take().and_then(|(_, bytes)| bytes);
            self.told = Some((now.to_owned(), bytes));
        }
    }

    /// The same; gives back what is in hand where nothing may be done, and tells the arbiter what it may
    /// grant where that changed.
    fn keep_to_caps(&mut self, link: &ArbiterLink) {
        let worked = self.works;
        self.look_at_caps();
        if !self.works {
            for lease in self.held.keys().copied().collect::<Vec<_>>() {
                link.send(&ToArbiter::GiveBack { lease });
                self.over(lease, "given back");
            }
        }
        let told = self.told.as_ref().and_then(|(_, bytes)| *bytes);
        let is_other = match (told, self.fits(self.free()).1) {
            (Some(told), Some(now)) => {
                let is_enough = |bytes: u64| bytes >= LEASE_MIN;
                now < told / 8 * 7 || now > told / 8 * 9 || is_enough(now) != is_enough(told)
            }
            (told, now) => told != now,
        };
        if self.works != worked || (self.works && is_other) {
            self.offer(link);
        }
    }

    /// Looks which families lead out of this home, and tells the arbiter if that changed.
    fn look_out(&mut self, link: &ArbiterLink) {
        let reaches = reaches();
        if reaches != self.reaches {
            info!(reaches:%; "other addresses lead out of this home now");
            self.reaches = reaches;
            self.offer(link);
        }
    }

    /// Tells the arbiter how rows are written, where that is news to it.
    fn tell_writes(&mut self, link: &ArbiterLink) {
        let writes = self.database.writes();
        if writes == self.told_writes {
            return;
        }
        let (direct, reason) = match &writes {
            Some(Writes::Direct) => (true, ""),
            Some(Writes::Relayed(why)) => (false, &**why),
            None => return,
        };
        let reason: String =
            reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let reason = one_line(&reason, TEXT_BYTES_MAX);
        link.send(&ToArbiter::Writes { direct, reason });
        self.told_writes = writes;
    }

    fn said(&mut self, message: ToArbiter, link: &ArbiterLink) {
        if let Some(lease) = lease_of(&message) {
            self.say(lease, LeaseSaid::Message(message), link);
        }
    }

    fn say(&mut self, lease: u64, said: LeaseSaid, link: &ArbiterLink) {
        // A lease that is over has nothing more to say.
        let Some(held) = self.held.get_mut(&lease) else {
            return;
        };
        if let LeaseSaid::Message(ToArbiter::Finish { outcome, .. }) = &said {
            held.verdict = ledger::verdict(Some(outcome));
        }
        said.send(link);
        held.unanswered.push_back(said);
    }

    fn answered(&mut self, lease: u64, answer: ToPeer) {
        let Some(held) = self.held.get_mut(&lease) else {
            return;
        };
        held.unanswered.pop_front();
        // The thread may just have ended.
        let _ = held.answers.try_send(answer);
    }

    /// A thread ended; its slot is free.
    fn ended(&mut self, lease: u64) {
        debug!(lease; "thread ended");
        self.threads = self.threads.saturating_sub(1);
        self.begin();
    }

    fn over(&mut self, lease: u64, how: &str) {
        if let Some(held) = self.held.remove(&lease) {
            debug!(lease, source = held.source.slug.as_str(); "lease {how}");
            // Dropping the answers ends a thread that waits for one, the flag one that reads.
            held.cancel.store(true, Ordering::Relaxed);
            let verdict = if how == "finished" { held.verdict } else { ledger::verdict(None) };
            let host = held.source.host();
            self.ledger.release(lease, held.operator.as_deref(), &host, verdict);
        }
    }

    fn welcome(&mut self, still_held: &[u64], lifetime: Duration, link: &ArbiterLink) {
        self.lifetime = lifetime;
        // What was asked in another session isn't answered in this one.
        self.renewals = VecDeque::from([self.held.keys().copied().collect()]);
        self.renewed(still_held);
        for held in self.held.values() {
            held.unanswered.iter().for_each(|said| said.send(link));
        }
    }

    fn renewed(&mut self, still_held: &[u64]) {
        self.renewed = clock::now();
        self.next_renewal = self.renewed + self.lifetime / 3;
        // One that was granted since isn't named, and not lost.
        let named = self.renewals.pop_front().unwrap_or_default();
        let is_lost = |lease: &u64| self.held.contains_key(lease) && !still_held.contains(lease);
        let lost: Vec<u64> = named.into_iter().filter(is_lost).collect();
        for lease in lost {
            info!(lease; "lease was lost");
            self.over(lease, "lost");
        }
    }

    /// Asks for renewal where it is time to.
    fn renew(&mut self, link: &ArbiterLink) {
        let now = clock::now();
        if now < self.next_renewal {
            return;
        }
        self.next_renewal = now + self.lifetime / 3;
        self.cancel_expired();
        for (lease, held) in &mut self.held {
            if held.logged <= now && !held.is_finished() {
                held.logged = now + PROGRESS_EVERY;
                let LeaseInHand { source, bytes_fetched, bytes_expected, packages, .. } =
                    held.report(*lease);
                info!(lease, source, bytes_fetched, bytes_expected, packages; "at work");
            }
        }
        if self.held.is_empty() {
            self.renewed = now;
            // Each look wakes the machine.
            self.next_renewal = now + self.lifetime;
        } else {
            let leases: Vec<u64> = self.held.keys().copied().collect();
            self.renewals.push_back(leases.clone());
            link.send(&ToArbiter::Renew { leases });
        }
    }

    /// Ends work on leases that another peer may hold by now.
    fn cancel_expired(&mut self) {
        if clock::now() - self.renewed >= self.lifetime {
            let leases: Vec<_> = self.held.keys().copied().collect();
            for lease in leases {
                info!(lease; "lease expired without a renewal");
                self.over(lease, "expired");
            }
        }
    }

    /// Gives back those leases that `goes` says, over the session if there is one; without one they
    /// are named in no greeting more. What is done already isn't given back.
    fn give_back(&mut self, link: Option<&ArbiterLink>, goes: impl Fn(&HeldLease) -> bool) {
        let given = self.held.iter().filter(|(_, held)| !held.is_finished() && goes(held));
        let given: Vec<u64> = given.map(|(lease, _)| *lease).collect();
        for lease in given {
            info!(lease; "giving back a lease");
            if let Some(link) = link {
                link.send(&ToArbiter::GiveBack { lease });
            }
            self.over(lease, "given back");
        }
    }
}

/// What a floor means for this version.
pub(crate) fn too_old(floor: &Floor) -> String {
    let (version, day) = (&floor.version, refusal::date(floor.from));
    let is = if floor.from <= wall_millis() / 1000 { "is" } else { "will be" };
    format!(
        "this version, {VERSION}, {is} too old: the arbiter grants it no leases from {day} on; \
         install {version} or newer"
    )
}

/// The newer of an arbiter's version and the one that is known.
fn newer(arbiter: &str, known: &str) -> String {
    let theirs = arbiter.rsplit('/').next().unwrap_or_default();
    let is_newer = version::key(theirs) > version::key(known);
    let is_version =
        theirs.len() <= VERSION_BYTES_MAX && theirs.starts_with(|it: char| it.is_ascii_digit());
    if is_newer && is_version { theirs.to_owned() } else { known.to_owned() }
}

/// Longest version that is believed to be one, in bytes.
const VERSION_BYTES_MAX: usize = 32;

fn lease_of(message: &ToArbiter) -> Option<u64> {
    match message {
        ToArbiter::Known { lease, .. }
        | ToArbiter::Put { lease, .. }
        | ToArbiter::Dropped { lease, .. }
        | ToArbiter::Discard { lease, .. }
        | ToArbiter::Priced { lease, .. }
        | ToArbiter::Prices { lease, .. }
        | ToArbiter::Finish { lease, .. }
        | ToArbiter::GiveBack { lease } => Some(*lease),
        ToArbiter::Hello { .. }
        | ToArbiter::Offer { .. }
        | ToArbiter::Plan { .. }
        | ToArbiter::Renew { .. }
        | ToArbiter::Renewal { .. }
        | ToArbiter::Writes { .. }
        | ToArbiter::Announce { .. }
        | ToArbiter::Leave {} => None,
    }
}

fn report(lease: u64, source: &Source, outcome: &Outcome, cost: &Cost) {
    let slug = source.slug.as_str();
    let Cost { requests, bytes_fetched, millis, .. } = *cost;
    match outcome {
        Outcome::Indexed { counts, .. } => {
            let (packages, put, dropped, skipped) =
                (counts.packages, counts.put, counts.dropped, counts.skipped);
            info!(
                lease, source = slug, packages, put, dropped, skipped, requests, bytes_fetched, millis;
                "indexed"
            );
        }
        Outcome::Audited { counts, .. } => {
            let packages = counts.packages;
            info!(lease, source = slug, packages, requests, bytes_fetched, millis; "audited");
        }
        Outcome::Unchanged { .. } => {
            info!(lease, source = slug, requests, bytes_fetched, millis; "unchanged");
        }
        Outcome::Failed { reason, .. } => {
            info!(lease, source = slug, requests, bytes_fetched, millis, reason; "failed");
        }
    }
}
