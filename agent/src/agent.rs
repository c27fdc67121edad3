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
//! One executor on one thread; everything that blocks (a lease's fetching, unpacking, parsing) has
//! a thread of its own, at most one a slot. A lease outlives the session: its thread goes on while
//! the agent reconnects, and what it said and was not answered is said again.

use crate::PROGRAM;
use crate::backoff;
use crate::caps::{Allowance, LEASE_MIN};
use crate::config::{AgentConfig, ArbiterAddress};
use crate::database::{DatabaseDoor, DatabaseThread, Writes};
use crate::dial::{ArbiterLink, dial};
use crate::fetch::{Bounds, FetchConfig};
use crate::ledger::book::LedgerCounts;
use crate::ledger::{self, Ledger};
use crate::pulse::Pulse;
use crate::renewal::CertificateRenewal;
use crate::sink::Sink;
use crate::sink::audit::AuditSink;
use crate::sink::postgres::PostgresSink;
use crate::sink::relay::{FromLease, Relay};
use crate::work::{self, Context};
use async_signal::{Signal, Signals};
use canister_link::clock;
use canister_link::dial::{reaches, reaches_by_now};
use canister_link::identity::{Identity, IdentityError};
use canister_link::meter::{MaybeMeter, Meter};
use canister_link::notify::Notifier;
use canister_link::websocket::{HANDSHAKE_MAX, LinkError};
use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::{LEASE_BYTES, PROTOCOL, TEXT_BYTES_MAX};
use canister_protocol::message::{Cost, Origin, Outcome, Paths, Probed};
use canister_protocol::plain::one_line;
use canister_protocol::row::MAPPING;
use canister_protocol::session::PeerSide;
use canister_protocol::{Source, ToArbiter, ToPeer, Veto};
use log::{debug, error, info, warn};
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A session that lasted this long was a good one: the next connection is tried at once.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// How often it is looked at whether caps let the agent work.
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

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`AgentError`], at start only.
pub fn run(config: AgentConfig) -> Result<(), AgentError> {
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
    let (say, said) = smol::channel::bounded(2 * config.slots as usize);
    let renewal = CertificateRenewal::new(config.files(), &identity);
    let mut agent = Agent {
        identity,
        renewal,
        leases: Leases {
            context,
            ledger: Arc::clone(&ledger),
            works: true,
            told: None,
            database: Arc::new(database),
            told_writes: None,
            reaches: AddressFamilies::BOTH,
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            slots: config.slots as usize,
            threads: 0,
            lifetime: Duration::from_secs(60),
            renewed: clock::now(),
            next_renewal: clock::now(),
            renewals: VecDeque::new(),
            say,
        },
        said,
        signals,
        tls,
        meter,
        config,
        pulse: Rc::clone(&pulse),
        draining: None,
    };
    executor
        .spawn({
            let pulse = Rc::clone(&pulse);
            async move { pulse.beat().await }
        })
        .detach();
    pulse.ready();
    smol::block_on(executor.run(agent.run(&executor, seed)));
    pulse.stopping();
    ledger.close();
    Ok(())
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
    signals: Signals,
    /// Who the next session is for; a renewal changes it.
    identity: Identity,
    renewal: CertificateRenewal,
    tls: Arc<rustls::ClientConfig>,
    meter: MaybeMeter,
    config: AgentConfig,
    pulse: Rc<Pulse>,
    /// Set by the first signal: when to stop waiting for the leases in hand.
    draining: Option<Instant>,
}

/// What the loop waits for.
enum AgentEvent {
    Arrived(Result<ToPeer, LinkError>),
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
            let connecting = dial(executor, address, &self.tls, &self.meter);
            let signals = &mut self.signals;
            let link = async { Some(connecting.await) }
                .or(async {
                    signals.next().await;
                    None
                })
                .await;
            let link = match link {
                None => return info!("stopped while connecting"),
                Some(Ok(dialled)) => {
                    if let Some(why) = dialled.passed_over {
                        info!(arbiter:% = address, why; "some of the arbiter's addresses don't answer");
                    }
                    dialled.link
                }
                Some(Err(cause)) => {
                    warn!(arbiter:% = address, cause:%; "couldn't connect to arbiter");
                    continue;
                }
            };
            let began = clock::now();
            self.leases.reaches = reaches_by_now().await;
            let left = self.serve(link, address).await;
            self.pulse.session_ends();
            match left {
                Left::Stopped => return info!("stopped"),
                Left::Lost(cause) => {
                    warn!(arbiter:% = address, cause:%; "session ended");
                    if clock::now() - began >= GOOD_SESSION {
                        attempt = 0;
                    }
                }
            }
        }
    }

    /// Waits between two connections; false if the agent is to stop. Leases' threads go on.
    async fn pause(&mut self, delay: Duration) -> bool {
        self.leases.cancel_expired();
        if !delay.is_zero() {
            debug!(delay:?; "waiting before the next connection");
        }
        let signals = &mut self.signals;
        async {
            Timer::after(delay).await;
            true
        }
        .or(async {
            signals.next().await;
            info!("stopped while not connected");
            false
        })
        .await
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
            agent: PROGRAM.to_owned(),
            leases: self.leases.held.keys().copied().collect(),
        });
        let mut is_welcome = false;
        let greeting_over = clock::now() + HANDSHAKE_MAX;
        loop {
            let deadline = if is_welcome { self.next_deadline() } else { greeting_over };
            let event = {
                let (said, signals) = (&self.said, &mut self.signals);
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
                let tick = async {
                    Timer::at(deadline).await;
                    AgentEvent::Tick
                };
                arrived.or(said).or(signal).or(tick).await
            };
            match event {
                AgentEvent::Arrived(Ok(message)) => {
                    if let Err(cause) = side.arrived(&message) {
                        return lose(link, cause.into()).await;
                    }
                    if let ToPeer::Welcome { arbiter, peer, .. } = &message {
                        info!(arbiter:% = address, program = arbiter, peer; "session begins");
                        self.pulse.session_begins(address.as_str());
                        is_welcome = true;
                        self.renewal.session_begins(&self.identity);
                    }
                    self.arrived(message, &link);
                }
                AgentEvent::Arrived(Err(cause)) => return lose(link, cause).await,
                AgentEvent::Said(FromLease::Say(message)) => {
                    // What it came to know counts for the next grant.
                    if matches!(message, ToArbiter::Finish { .. }) {
                        self.leases.look_out(&link);
                    }
                    self.leases.said(message, &link);
                }
                AgentEvent::Said(FromLease::Writes) => self.leases.tell_writes(&link),
                AgentEvent::Said(FromLease::Ended(lease)) => {
                    self.leases.ended(lease);
                    self.leases.keep_to_caps(&link);
                }
                AgentEvent::Signal => {
                    if self.draining.is_some() {
                        return self.stop(link, "stopping at once").await;
                    }
                    let leases = self.leases.held.len();
                    info!(leases; "draining: taking no more leases");
                    self.pulse.stopping();
                    self.draining = Some(clock::now() + self.config.drain);
                    self.leases.slots = 0;
                    self.leases.give_back_waiting(&link);
                    self.leases.offer(&link);
                }
                AgentEvent::Tick if !is_welcome => return lose(link, LinkError::Silent).await,
                AgentEvent::Tick => {
                    self.leases.ledger.tick();
                    self.leases.keep_to_caps(&link);
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
            ToPeer::Welcome { peer, leases, lease_secs, .. } => {
                let database = link.told().database.clone();
                if let Some(address) = link.told().address {
                    self.leases.context.home().seen_at(address);
                }
                self.leases
                    .database
                    .named(database.map(|database| DatabaseDoor { role: peer, database }));
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
                    is_audit,
                    operator,
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
                warn!(lease, reason; "refused by the arbiter");
                self.leases.over(lease, "refused");
            }
            ToPeer::Revoked { lease, reason } => {
                warn!(lease, reason; "revoked by the arbiter");
                self.leases.over(lease, "revoked");
            }
            ToPeer::Certificate { chain } => self.renewed(&chain),
            ToPeer::NoCertificate { reason, again_secs } => {
                self.renewal.refused(&reason, again_secs, &self.identity);
            }
            ToPeer::Record { leases, rests_secs, reason } if !reason.is_empty() => {
                warn!(leases, rests_secs, reason; "the arbiter gives this peer less");
            }
            ToPeer::Record { .. } => info!("the arbiter gives this peer what it offers again"),
            // A run asks for none.
            ToPeer::Left { .. } | ToPeer::Planned { .. } => {}
            ToPeer::Draining {} => info!("the arbiter is about to stop"),
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
            }
            Err(cause) => error!(cause:%; "couldn't set up TLS with the new certificate"),
        }
    }

    fn next_deadline(&self) -> Instant {
        let mut renewal = self.leases.next_renewal.min(self.renewal.deadline());
        if self.config.caps().is_any() {
            renewal = renewal.min(clock::now() + LOOK_AT_CAPS);
        }
        self.draining.map_or(renewal, |until| until.min(renewal))
    }

    async fn stop(&mut self, link: ArbiterLink, why: &str) -> Left {
        let leases: Vec<_> = self.leases.held.keys().copied().collect();
        for lease in leases {
            info!(lease; "giving back a lease");
            link.send(&ToArbiter::GiveBack { lease });
            self.leases.over(lease, "given back");
        }
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
    ledger: Arc<Ledger>,
    /// Whether the caps let it.
    works: bool,
    /// What they say, and what this session's arbiter was offered by that.
    told: Option<(String, Option<u64>)>,
    database: Arc<DatabaseThread>,
    /// What this session's arbiter was told of how rows are written.
    told_writes: Option<Writes>,
    /// Which families of addresses lead out of this home.
    reaches: AddressFamilies,
    held: BTreeMap<u64, HeldLease>,
    /// Granted, but every thread is still at work for a lease that is over.
    waiting: VecDeque<u64>,
    slots: usize,
    /// Threads alive; at most as many as slots were offered at first.
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
    is_audit: bool,
    /// Between two of its requests.
    bounds: Bounds,
    cancel: Arc<AtomicBool>,
    answers: Sender<ToPeer>,
    /// For the lease's thread, until it begins.
    receiver: Option<Receiver<ToPeer>>,
    /// What was said for this lease and not answered, oldest first.
    unanswered: VecDeque<ToArbiter>,
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
            is_audit: false,
            bounds,
            cancel: Arc::new(AtomicBool::new(false)),
            answers,
            receiver: Some(receiver),
            unanswered: VecDeque::new(),
        }
    }
}

impl Leases {
    fn granted(&mut self, lease: u64, mut held: HeldLease, link: &ArbiterLink) {
        let (more, fits) = self.fits();
        if more == 0 || !self.works {
            return link.send(&ToArbiter::GiveBack { lease });
        }
        let bounds = &mut held.bounds;
        if let Some(most) = fits.filter(|most| *most <= bounds.bytes) {
            (bounds.bytes, bounds.is_own) = (most, true);
        }
        if let Err(why) = self.ledger.reserve(lease, bounds.bytes) {
            info!(lease, why; "giving back a lease");
            return link.send(&ToArbiter::GiveBack { lease });
        }
        if self.held.is_empty() {
            self.renewed = clock::now();
        }
        let source = &held.source;
        info!(lease, source = source.slug.as_str(), uri = source.uri.as_str(); "lease granted");
        self.held.insert(lease, held);
        self.waiting.push_back(lease);
        self.begin();
    }

    /// Begins what waits, while there are threads for it.
    fn begin(&mut self) {
        while self.threads < self.slots.max(1) {
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
            let cancel = Arc::clone(&held.cancel);
            let work = self.context.lease(&held.source, held.bounds, cancel, Arc::default());
            let work = work.with_retry(held.retry).with_operator(held.operator.clone());
            let (source, remembered) = (held.source.clone(), std::mem::take(&mut held.remembered));
            let mut audit = held.is_audit.then(|| AuditSink::new(&source.slug));
            let spawned =
                std::thread::Builder::new().name(format!("lease-{lease}")).spawn(move || {
                    let into: &mut dyn Sink = match &mut audit {
                        Some(audit) => audit,
                        None => &mut sink,
                    };
                    let (origin, probed) = remembered;
                    let remembered = (origin.as_ref(), &probed);
                    let (outcome, cost) = work::run(&source, remembered, &work, into);
                    let outcome = match audit {
                        Some(audit) => audit.ended(outcome),
                        None => outcome,
                    };
                    report(lease, &source, &outcome, &cost);
                    // If the loop is gone, so is the process.
                    let _ = say.send_blocking(FromLease::Say(ToArbiter::Finish {
                        lease,
                        outcome,
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
        let (more, bytes) = self.fits();
        // What is in hand has what it needs.
        let slots = if self.works { self.held.len() + more } else { 0 };
        let (reaches, slots) = (Some(self.reaches), slots as u32);
        link.send(&ToArbiter::Offer { reaches, bytes, slots });
        if let Some((_, told)) = &mut self.told {
            *told = bytes;
        }
    }

    /// How many more leases fit into what the caps leave, and where there is a bound, most bytes that each
    /// of them may fetch.
    fn fits(&self) -> (usize, Option<u64>) {
        let bytes = |more: usize| self.ledger.lease_bytes(more as u64);
        let is_enough = |more: &usize| bytes(*more).is_none_or(|bytes| bytes >= LEASE_MIN);
        let free = self.slots.saturating_sub(self.held.len());
        match (1..=free).rev().find(is_enough) {
            Some(more) => (more, bytes(more)),
            None => (0, bytes(1)),
        }
    }

    /// Looks what the caps let, and logs it where it changed.
    fn look_at_caps(&mut self) {
        let Allowance { works, says, .. } = self.ledger.allowance();
        self.works = works;
        // What is used changes all the time.
        let now = says.split(';').next().unwrap_or_default();
        if self.told.as_ref().is_none_or(|(told, _)| told != now) {
            info!("{says}");
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
        let is_other = match (told, self.fits().1) {
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
        let lease = lease_of(&message);
        // A lease that is over has nothing more to say.
        let Some(held) = lease.and_then(|lease| self.held.get_mut(&lease)) else {
            return;
        };
        if let ToArbiter::Finish { outcome, .. } = &message {
            held.verdict = ledger::verdict(Some(outcome));
        }
        link.send(&message);
        held.unanswered.push_back(message);
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
            held.unanswered.iter().for_each(|message| link.send(message));
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
            warn!(lease; "lease was lost");
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
        if self.held.is_empty() {
            self.renewed = now;
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
                warn!(lease; "lease expired without a renewal");
                self.over(lease, "expired");
            }
        }
    }

    fn give_back_waiting(&mut self, link: &ArbiterLink) {
        for lease in std::mem::take(&mut self.waiting) {
            if self.held.contains_key(&lease) {
                link.send(&ToArbiter::GiveBack { lease });
                self.over(lease, "given back");
            }
        }
    }
}

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
            warn!(lease, source = slug, requests, millis, reason; "failed");
        }
    }
}
