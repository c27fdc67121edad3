//! One peer's session at the arbiter: handshake, greeting, then messages as they come. What a peer
//! does wrong ends its own session and nobody else's.
//!
//! ```text
//!               ┌──▶ Renew, Offer, Writes, Announce: done at once, from memory
//!  arrives ─────┤
//!               └──▶ about a lease: waits for its turn ──▶ a task of its own asks the store,
//!                    (turns.rs)         ▲                   answers, and is done
//!                                       └───────────────────────────┘
//! ```
//!
//! The session's own loop never waits for the store: that it is to end, and what is answered from
//! memory, is heard while any number of calls are under way. Those outlive the session. A session
//! whose peer sends more than may wait, or doesn't read its answers, isn't read for as long.

use crate::PROGRAM;
use crate::deeds::announce::Refusal;
use crate::deeds::trust::{let_in, shut_out};
use crate::doors::door::Door;
use crate::doors::entrance::Visit;
use crate::hub::Hub;
use crate::hub::sessions::{DIRECT, RELAYED, Session};
use crate::hub::store_thread::{GREETING_MAX, LASTING_MAX, StoreThread};
use crate::rules::announcement::Announcement;
use crate::rules::plan;
use crate::rules::policy::Announcer;
use crate::rules::revocations::Id;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::Comparison;
use crate::rules::turns::{About, Turns};
use crate::store::{Claimant, FinishTold, Finished, PeerProgram, Store, StoreError, Verdict};
use canister_link::certificate::Certificate;
use canister_link::clock;
use canister_link::websocket::NoSession;
use canister_link::websocket::{HANDSHAKE_MAX, Link, LinkError, Outbox, REVOKED, Told};
use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::{DIGESTS_MAX, PLANNED_MAX, PRICES_MAX, PROTOCOL, TEXT_BYTES_MAX};
use canister_protocol::message::{Cost, FailureKind, Outcome, OwnerFound};
use canister_protocol::plain::one_line;
use canister_protocol::row::Digest;
use canister_protocol::session::ArbiterSide;
use canister_protocol::{ToArbiter, ToPeer, Veto};
use futures_rustls::LazyConfigAcceptor;
use futures_rustls::server::TlsStream;
use log::{debug, error, info, warn};
use rustls::server::Acceptor;
use smol::Timer;
use smol::channel::Sender;
use smol::future::FutureExt as _;
use smol::net::TcpStream;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection may take to say the first that TLS says.
const CLIENT_HELLO_MAX: Duration = Duration::from_secs(3);
/// A lease is old that was granted so many lifetimes ago: most take no second one.
const OLD: u32 = 2;
/// A session whose answers aren't read is not read either once this many wait to be written, and
/// nothing more is begun for it.
const UNREAD_MAX: usize = 8;
/// ... and ends if that doesn't change for so long.
const UNREAD_FOR: Duration = Duration::from_secs(60);
/// How often it is looked at whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// When to look again for leases of a revoked peer that couldn't be ended.
const LEFT_AFTER: Duration = Duration::from_secs(1);

type PeerLink = Link<TlsStream<TcpStream>>;

/// Serves one connection from its first byte to its last.
pub async fn serve(door: Rc<Door>, stream: TcpStream, address: SocketAddr, visit: Visit) {
    let opened = open(&door, stream, address, &visit);
    let (link, client) = match within(HANDSHAKE_MAX, "no handshake", opened).await {
        Ok(opened) => opened,
        Err(cause) => return visit.refused(address, &cause),
    };
    drop(visit);
    let seat = Rc::new(Seat {
        hub: Rc::clone(&door.hub),
        door,
        outbox: link.outbox().clone(),
        name: client.name,
        chain: client.chain,
        certificate: RefCell::new(client.certificate),
        asked: Cell::new(None),
        address,
        id: Cell::new(0),
    });
    let mut session = Served { seat: Rc::clone(&seat), link, turns: Turns::after([]) };
    let (code, reason) = session.run().await;
    let Served { link, turns, .. } = session;
    seat.leave(code, &turns);
    info!(peer = seat.name.as_str(), code, reason = reason.as_str(); "session ends");
    link.close(code, &reason).await;
}

/// What is `done`, unless it takes longer than that.
async fn within<T>(
    longest: Duration,
    none: &str,
    done: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let over = async {
        Timer::after(longest).await;
        Err(format!("{none} within {} s", longest.as_secs()))
    };
    done.or(over).await
}

/// Who is at the other end, by the certificates that TLS has verified.
struct PeerClient {
    name: String,
    chain: Rc<[Id]>,
    certificate: Certificate,
}

async fn open(
    door: &Door,
    stream: TcpStream,
    address: SocketAddr,
    visit: &Visit,
) -> Result<(PeerLink, PeerClient), String> {
    stream.set_nodelay(true).map_err(|cause| format!("set TCP_NODELAY: {cause}"))?;
    let failed = |cause| format!("TLS handshake: {cause}");
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = async { hello.await.map_err(failed) };
    let hello = within(CLIENT_HELLO_MAX, "no ClientHello", hello).await?;
    visit.speaks(true);
    let stream = hello.into_stream(door.tls()).await.map_err(failed)?;
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates().unwrap_or_default();
    let chain: Vec<Certificate> =
        shown.iter().filter_map(|shown| Certificate::read(shown)).collect();
    let ids: Rc<[Id]> = chain.iter().map(Id::of).collect();
    let certificate = chain.into_iter().next();
    let certificate = certificate.ok_or("its certificate can't be read")?;
    let name = certificate.name.clone();
    let refusal = if name.is_none() {
        Some(NoSession::Nameless)
    } else {
        door.revocations().revoke(&ids).then_some(NoSession::Revoked)
    };
    let told = Told {
        database: door.database.clone(),
        record: name
            .as_ref()
            .and_then(|name| door.hub.sessions.borrow().record(name).map(str::to_owned)),
        address: Some(address.ip()),
        floor: door.floor.clone(),
        ..Told::default()
    };
    let accepted = Link::accept(door.hub.executor(), stream, refusal, &told).await;
    match refusal {
        Some(NoSession::Revoked) => {
            return Err("its certificate was revoked, or one that it is a renewal of".to_owned());
        }
        Some(why) => return Err(why.to_string()),
        None => {}
    }
    let name = name.unwrap_or_default();
    let link = accepted.map_err(|cause| format!("WebSocket handshake of {name}: {cause}"))?;
    let client = PeerClient { name, chain: ids, certificate };
    Ok((link, client))
}

fn stopping() -> (u16, String) {
    (1001, "the arbiter stops".to_owned())
}

/// A message that waits for its turn, and when it came.
type HeardMessage = (Timestamp, ToArbiter);

struct Served {
    seat: Rc<Seat>,
    link: PeerLink,
    turns: Turns<HeardMessage>,
}

/// What a session and what is done for it share.
struct Seat {
    hub: Rc<Hub>,
    door: Rc<Door>,
    outbox: Outbox,
    name: String,
    chain: Rc<[Id]>,
    /// The newest that this session knows of.
    certificate: RefCell<Certificate>,
    /// When it last asked for a newer one.
    asked: Cell<Option<Instant>>,
    address: SocketAddr,
    /// Among [`Sessions`](crate::hub::sessions::Sessions); 0 before Hello.
    id: Cell<u64>,
}

/// What a session waits for.
#[expect(clippy::large_enum_variant, reason = "a session has one at a time")]
enum SessionEvent {
    /// It is to end: how.
    Told((u16, String)),
    /// What was worked on is done.
    Done(About),
    /// The store knows which leases the peer holds; or doesn't answer.
    Greeted(Result<Vec<u64>, String>),
    Arrived(Result<ToArbiter, LinkError>),
    /// Something may have changed by itself.
    Look,
}

/// A greeting under way; it is given up with the session.
type Greeting = smol::Task<Result<Vec<u64>, String>>;

impl Served {
    /// Runs until the session is to be closed; returns how.
    async fn run(&mut self) -> (u16, String) {
        let (end, ended) = smol::channel::bounded(1);
        let (done, over) = smol::channel::unbounded();
        let mut side = ArbiterSide::default();
        let hello_until = clock::now() + HANDSHAKE_MAX;
        let mut greeting: Option<Greeting> = None;
        let mut unread_since = None;
        loop {
            let is_unread = self.link.outbox().len() > UNREAD_MAX;
            if is_unread {
                let since = *unread_since.get_or_insert_with(clock::now);
                if clock::now() - since > UNREAD_FOR {
                    return (1008, "answers aren't read".to_owned());
                }
            } else {
                unread_since = None;
                self.begin_what_may();
            }
            // Nothing is said to a peer, nor heard of it, until it is welcome.
            let is_read = !is_unread && !self.turns.is_full() && greeting.is_none();
            let is_here = self.seat.id.get() != 0;
            let link = &mut self.link;
            // The end first, for a peer that never stops talking would never hear it.
            let event =
                async { SessionEvent::Told(ended.recv().await.unwrap_or_else(|_| stopping())) }
                    .or(async { over.recv().await.map_or(SessionEvent::Look, SessionEvent::Done) })
                    .or(async {
                        match &mut greeting {
                            Some(greeting) => SessionEvent::Greeted(greeting.await),
                            None => pending().await,
                        }
                    })
                    .or(async {
                        match is_read {
                            true => SessionEvent::Arrived(link.receive::<ToArbiter>().await),
                            false => pending().await,
                        }
                    })
                    .or(async {
                        match (is_here, is_unread) {
                            (_, true) => Timer::after(LOOK_EVERY).await,
                            (false, _) => Timer::at(hello_until).await,
                            _ => pending().await,
                        };
                        SessionEvent::Look
                    })
                    .await;
            match event {
                SessionEvent::Told(told) => return told,
                SessionEvent::Done(of) => self.turns.done(of),
                SessionEvent::Greeted(Ok(held)) => {
                    greeting = None;
                    self.seat.welcome(held);
                }
                SessionEvent::Greeted(Err(why)) => return (1001, why),
                SessionEvent::Arrived(Err(cause)) => return self.lost(&cause),
                SessionEvent::Arrived(Ok(message)) => {
                    if let Err(cause) = side.arrived(&message) {
                        return self.lost(&cause.into());
                    }
                    let seat = &self.seat;
                    debug!(peer = seat.name.as_str(), message = message.name(); "arrived");
                    if let ToArbiter::Hello {
                        agent,
                        mapping,
                        public_name,
                        leases,
                        never,
                        obeys,
                        ..
                    } = message
                    {
                        // A list may have changed between this session's handshake and its Hello.
                        if seat.door.revocations().revoke(&seat.chain) {
                            return (REVOKED, "revoked".to_owned());
                        }
                        let never = Arc::new(Veto::of(&never.unwrap_or_default()));
                        let ends = (end.clone(), done.clone());
                        self.turns = Turns::after(seat.join(ends, &agent, (obeys, never)));
                        greeting =
                            Some(seat.greet(PeerProgram { agent, mapping, public_name }, leases));
                    } else if let ToArbiter::Plan { never, reaches, bytes, hours, .. } = message {
                        if !seat.hub.sessions.borrow_mut().may_plan(&seat.name, seat.hub.now()) {
                            return (1008, "a plan is told once in 10 s".to_owned());
                        }
                        let never = Veto::of(&never.unwrap_or_default());
                        let reaches = reaches.unwrap_or(AddressFamilies::BOTH);
                        seat.plan(end.clone(), (reaches, bytes, never), hours);
                    } else {
                        self.take(message);
                    }
                }
                SessionEvent::Look if !is_here && clock::now() >= hello_until => {
                    return (1008, "no Hello in time".to_owned());
                }
                SessionEvent::Look => {}
            }
        }
    }

    fn lost(&self, cause: &LinkError) -> (u16, String) {
        if let LinkError::Protocol(_) = cause {
            let seat = &self.seat;
            warn!(peer = seat.name.as_str(), address:% = seat.address, cause:%; "peer misbehaved");
        }
        (cause.close_code(), cause.to_string())
    }

    /// Does what needs no store; all else waits for its turn.
    fn take(&mut self, message: ToArbiter) {
        let seat = &self.seat;
        let now = seat.hub.now();
        let of = match &message {
            ToArbiter::Leave {} | ToArbiter::Renewal { .. } => About::Certificate,
            ToArbiter::Known { lease, .. }
            | ToArbiter::Put { lease, .. }
            | ToArbiter::Dropped { lease, .. }
            | ToArbiter::Discard { lease, .. }
            | ToArbiter::Priced { lease, .. }
            | ToArbiter::Prices { lease, .. }
            | ToArbiter::GiveBack { lease } => About::Lease(*lease),
            ToArbiter::Finish { lease, .. } => {
                // It lives until it is answered, however long that takes.
                let renewed = seat.renewed(*lease);
                seat.hub.alive.borrow_mut().finishes(&seat.name, *lease, renewed, now);
                About::Lease(*lease)
            }
            ToArbiter::Renew { leases } => return seat.renew(leases, now),
            ToArbiter::Offer { reaches, bytes, slots } => {
                seat.changed(|session| {
                    session.bytes = *bytes;
                    session.slots = *slots as usize;
                    session.reaches = reaches.unwrap_or(AddressFamilies::BOTH);
                });
                return seat.hub.wake();
            }
            ToArbiter::Writes { direct, reason } => {
                info!(peer = seat.name.as_str(), direct, reason = reason.as_str(); "writes rows");
                let writes =
                    if *direct { DIRECT.to_owned() } else { format!("{RELAYED}: {reason}") };
                return seat.changed(|session| session.writes = writes);
            }
            ToArbiter::Announce { cid, named } => {
                return seat.announced(cid.as_deref(), named, now);
            }
            ToArbiter::Hello { .. } | ToArbiter::Plan { .. } => return,
        };
        let bytes = match &message {
            ToArbiter::Put { rows, .. } => rows.held_bytes(),
            _ => self.link.received_bytes(),
        };
        self.turns.arrived(of, bytes, (now, message));
    }

    /// Begins what waits and whose turn it is.
    fn begin_what_may(&mut self) {
        while let Some((of, (heard, message))) = self.turns.begin() {
            let seat = Rc::clone(&self.seat);
            seat.hub.sessions.borrow_mut().begins(&seat.name, of);
            seat.hub.spawn({
                let seat = Rc::clone(&seat);
                async move {
                    seat.answer(message, heard).await;
                    seat.hub.sessions.borrow_mut().done(&seat.name, of);
                }
            });
        }
    }
}

/// The role that a certificate names, where that is another than an earlier arbiter would have made.
fn role_to_name(certificate: &Certificate) -> Option<String> {
    certificate.role.clone().filter(|_| certificate.role != certificate.name)
}

/// Has the role of a peer in the database be called so. Until it is, the peer's rows are relayed.
fn name_role(store: &mut Store, peer: &str, role: Option<&str>) {
    match role.map(|role| store.rename_role(peer, role)) {
        Some(Ok(true)) => {
            info!(peer; "renamed its role in the database, as its certificate is now")
        }
        Some(Err(cause)) => warn!(peer, cause:%; "couldn't rename its role in the database"),
        Some(Ok(false)) | None => {}
    }
}

impl Seat {
    /// Enters the book of who is here; returns what is still worked on for an earlier session of the
    /// peer.
    fn join(
        &self,
        (end, done): (Sender<(u16, String)>, Sender<About>),
        agent: &str,
        (obeys, never): (Option<bool>, Arc<Veto>),
    ) -> BTreeSet<About> {
        let mut sessions = self.hub.sessions.borrow_mut();
        self.id.set(sessions.join(&self.name, |id| Session {
            id,
            outbox: self.outbox.clone(),
            end,
            is_ending: false,
            done,
            slots: 0,
            share: usize::MAX,
            rests_until: None,
            last_grant: 0,
            leases: [].into(),
            reaches: AddressFamilies::BOTH,
            bytes: None,
            never: Arc::clone(&never),
            too_old_from: self.door.too_old_from(agent),
            obeys,
            writes: RELAYED.to_owned(),
            address: self.address.to_string(),
            chain: Rc::clone(&self.chain),
            ends: self.certificate.borrow().life.ends,
        }));
        sessions.under_way(&self.name)
    }

    /// Has the store say which of these leases the peer holds.
    fn greet(&self, program: PeerProgram, leases: Vec<u64>) -> Greeting {
        info!(
            peer = self.name.as_str(), address:% = self.address, agent = program.agent.as_str(),
            leases = leases.len();
            "session begins"
        );
        let (name, terms, now) = (self.name.clone(), self.hub.terms(), self.hub.now());
        let role = role_to_name(&self.certificate.borrow());
        let hub = Rc::clone(&self.hub);
        self.hub.executor().spawn(async move {
            let greeted = hub.store.lasting(GREETING_MAX, move |store| {
                let held = store.greet(&name, &program, &leases, now, &terms)?;
                name_role(store, &name, role.as_deref());
                Ok(held)
            });
            match hub.store.in_time(GREETING_MAX, greeted).await {
                Ok(Ok(held)) => {
                    // It may be on probation from now on.
                    let there = Rc::clone(&hub);
                    hub.spawn(async move { shut_out(&there, Vec::new()).await });
                    Ok(held)
                }
                Ok(Err(cause)) => {
                    error!(cause:%; "couldn't look up a peer's leases");
                    Err("the arbiter's store failed".to_owned())
                }
                Err(silence) => {
                    error!(silence:%; "couldn't look up a peer's leases");
                    Err("the arbiter's store doesn't answer".to_owned())
                }
            }
        })
    }

    /// Tells the peer what it may be asked for, and ends the session.
    fn plan(
        &self,
        end: Sender<(u16, String)>,
        (reaches, bytes, never): (AddressFamilies, Option<u64>, Veto),
        hours: u32,
    ) {
        let (hub, outbox, name) = (Rc::clone(&self.hub), self.outbox.clone(), self.name.clone());
        let (now, terms) = (hub.now(), hub.terms());
        let until = now.plus(Duration::from_secs(u64::from(hours) * 60 * 60));
        let call = move |store: &mut Store| {
            let (states, addresses) = (store.sources()?, store.addresses()?);
            let never = Some(&never);
            let peer = Claimant { reaches, bytes, never, ..Claimant::from(&*name) };
            Ok(plan::planned(&states, &peer, &addresses, &terms.polls, (now, until)))
        };
        self.hub.spawn(async move {
            let ended = match hub.store.call(call).await {
                Ok(mut planned) => {
                    let left_out = planned.len().saturating_sub(PLANNED_MAX);
                    planned.truncate(PLANNED_MAX);
                    let left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
                    outbox.send(&ToPeer::Planned { planned, left_out });
                    (1000, "that is the plan".to_owned())
                }
                Err(cause) => {
                    let cause: StoreError = cause;
                    warn!(cause:%; "couldn't tell a peer its plan");
                    (1001, "the arbiter's store doesn't answer".to_owned())
                }
            };
            let _ = end.try_send(ended);
        });
    }

    fn welcome(&self, held: Vec<u64>) {
        let now = self.hub.now();
        self.changed(|session| {
            session.leases = held.iter().map(|lease| (*lease, (now, now))).collect()
        });
        let lifetime = self.hub.terms().lease;
        self.outbox.send(&ToPeer::Welcome {
            protocol: PROTOCOL,
            arbiter: PROGRAM.to_owned(),
            peer: self.name.clone(),
            leases: held,
            lease_secs: u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX),
        });
        self.hub.judge(&self.name, true);
    }

    /// Leaves the book at once: from here on the peer is granted nothing. What is under way for it
    /// goes on; what waits in `turns` it may say again.
    fn leave(self: &Rc<Self>, code: u16, turns: &Turns<HeardMessage>) {
        let hub = &self.hub;
        let left = hub.sessions.borrow_mut().leave(&self.name, self.id.get());
        for (_, message) in turns.waiting() {
            if let ToArbiter::Finish { lease, .. } = message {
                hub.alive.borrow_mut().answered(&self.name, *lease);
            }
        }
        if code == REVOKED {
            for token in left.iter().flat_map(|session| session.leases.keys()) {
                hub.alive.borrow_mut().over(&self.name, *token);
                let reason = "the peer's certificate was revoked".to_owned();
                self.outbox.send(&ToPeer::Revoked { lease: *token, reason });
            }
            // Unless its owner is here again, with a new certificate.
            if hub.sessions.borrow_mut().by_name(&self.name).is_none() {
                hub.spawn(Rc::clone(self).lose_leases());
            }
        }
        if left.is_some() {
            hub.note(&self.name);
        }
        hub.wake();
    }

    /// Ends the leases of a peer that was revoked and is out by now. One that somebody is at in this
    /// very moment is left out, and so it is looked again until there is none.
    async fn lose_leases(self: Rc<Self>) {
        let since = clock::now();
        loop {
            let (name, now) = (self.name.clone(), self.hub.now());
            let ended = self.hub.store.lasting(LASTING_MAX, move |store| {
                let ended = store.end_all(&name, now)?.len();
                let left = store.peers()?.into_iter().find(|peer| peer.name == name);
                Ok((ended, left.map_or(0, |peer| peer.held)))
            });
            match ended.await {
                Ok((ended, left)) => {
                    info!(peer = self.name.as_str(), ended, left; "a revoked peer's leases end");
                    self.hub.wake();
                    // Its owner may be here again, with a new certificate.
                    let is_here = self.hub.sessions.borrow_mut().by_name(&self.name).is_some();
                    if left == 0 || is_here || clock::now() - since > LASTING_MAX {
                        return;
                    }
                }
                Err(cause) => {
                    return error!(peer = self.name.as_str(), cause:%; "couldn't end a revoked peer's leases; they will expire");
                }
            }
            Timer::after(LEFT_AFTER).await;
        }
    }

    /// Changes what others see of the session, if it is still here.
    fn changed(&self, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.hub.sessions.borrow_mut().session(&self.name, self.id.get()) {
            change(session);
        }
        self.hub.note(&self.name);
    }

    /// Renews those of the leases that the peer is known to hold. The store is told behind; should
    /// it know better, the peer is told that the lease was taken away.
    fn renew(&self, leases: &[u64], now: Timestamp) {
        let mut sessions = self.hub.sessions.borrow_mut();
        let mut alive = self.hub.alive.borrow_mut();
        let mut held = Vec::new();
        let old = now.minus(self.hub.terms().lease.saturating_mul(OLD));
        let beyond = sessions.beyond_share(&self.name, old);
        if let Some(session) = sessions.session(&self.name, self.id.get()) {
            for lease in leases.iter().filter(|lease| !beyond.contains(lease)) {
                if let Some((_, renewed)) = session.leases.get_mut(lease) {
                    *renewed = now;
                    alive.renewed(&self.name, *lease, now);
                    held.push(*lease);
                }
            }
        }
        self.outbox.send(&ToPeer::Renewed { leases: held });
    }

    /// When a lease was last renewed, as far as is known.
    fn renewed(&self, lease: u64) -> Timestamp {
        let mut sessions = self.hub.sessions.borrow_mut();
        let session = sessions.session(&self.name, self.id.get());
        session
            .and_then(|session| session.leases.get(&lease))
            .map_or_else(Timestamp::default, |it| it.1)
    }

    /// Has the store do what the peer said under a lease at the moment `heard`. What can't be done
    /// for the moment is tried again: the lease lives meanwhile.
    async fn ask<T: Send + 'static>(
        &self,
        store: &StoreThread,
        lease: u64,
        heard: Timestamp,
        call: impl Fn(&mut Store) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let terms = self.hub.terms();
        let late = self.hub.alive.borrow().late(&self.name, lease, heard, terms.lease);
        let call = move |store: &mut Store| {
            // By the first moment there is nothing has expired: it only renews.
            if !late.is_empty() {
                store.expire(Timestamp::default(), &late, &terms)?;
            }
            call(store)
        };
        store.lasting(LASTING_MAX, call).await
    }

    async fn answer(&self, message: ToArbiter, heard: Timestamp) {
        let peer = self.name.clone();
        let store = &self.hub.store;
        let outbox = &self.outbox;
        match message {
            ToArbiter::Known { lease, after } => {
                let after = Digest::split(&after).and_then(|digests| digests.first().copied());
                let call = move |store: &mut Store| {
                    store.known(&peer, lease, after, DIGESTS_MAX + 1, heard)
                };
                let page = self.ask(store, lease, heard, call).await;
                if let Some(mut page) = self.done(lease, heard, page).await {
                    let more = page.len() > DIGESTS_MAX;
                    page.truncate(DIGESTS_MAX);
                    outbox.send(&ToPeer::Digests { lease, digests: page, more });
                }
            }
            ToArbiter::Put { lease, number, rows } => {
                let call = move |store: &mut Store| store.put(&peer, lease, &rows, heard);
                let put = self.ask(store, lease, heard, call).await;
                self.taken(lease, number, heard, put).await;
            }
            ToArbiter::Dropped { lease, number, digests } => {
                let call = move |store: &mut Store| store.dropped(&peer, lease, &digests, heard);
                let put = self.ask(store, lease, heard, call).await;
                self.taken(lease, number, heard, put).await;
            }
            ToArbiter::Discard { lease, number } => {
                let call = move |store: &mut Store| store.discard(&peer, lease, heard);
                let put = self.ask(store, lease, heard, call).await;
                self.taken(lease, number, heard, put).await;
            }
            ToArbiter::Priced { lease, after } => {
                let since = heard.minus(self.door.price_age);
                let call = move |store: &mut Store| {
                    store.priced(&peer, lease, &after, PRICES_MAX + 1, since, heard)
                };
                let page = self.ask(store, lease, heard, call).await;
                if let Some(mut packages) = self.done(lease, heard, page).await {
                    let more = packages.len() > PRICES_MAX;
                    packages.truncate(PRICES_MAX);
                    outbox.send(&ToPeer::PricedIds { lease, packages, more });
                }
            }
            ToArbiter::Prices { lease, number, prices } => {
                let call = move |store: &mut Store| store.prices(&peer, lease, &prices, heard);
                let put = self.ask(store, lease, heard, call).await;
                self.taken(lease, number, heard, put).await;
            }
            ToArbiter::Finish { lease, outcome, owner, cost } => {
                self.finish(lease, outcome, (owner, cost), heard).await;
            }
            ToArbiter::GiveBack { lease } => {
                let call = move |store: &mut Store| store.give_back(&peer, lease, heard);
                let given = self.ask(store, lease, heard, call).await;
                if self.done(lease, heard, given).await.is_some() {
                    info!(lease, peer = self.name.as_str(); "lease given back");
                    self.hub.metrics.ended(Verdict::GivenBack, None);
                    self.judged(true);
                    self.drops(lease);
                }
            }
            ToArbiter::Leave {} => {
                let is_revoked = self.door.renewals.revoke(&self.name).await;
                self.outbox.send(&ToPeer::Left { is_revoked });
            }
            ToArbiter::Renewal { request } => self.renew_certificate(request).await,
            // Those are done as they arrive.
            ToArbiter::Announce { .. }
            | ToArbiter::Hello { .. }
            | ToArbiter::Offer { .. }
            | ToArbiter::Plan { .. }
            | ToArbiter::Renew { .. }
            | ToArbiter::Writes { .. } => {}
        }
    }

    async fn finish(
        &self,
        lease: u64,
        outcome: Outcome,
        (owner, cost): (Option<OwnerFound>, Cost),
        heard: Timestamp,
    ) {
        let (peer, terms) = (self.name.clone(), self.hub.terms());
        let is_long = matches!(outcome, Outcome::Indexed { .. });
        let spent = cost.clone();
        let call = move |store: &mut Store| {
            let told = FinishTold { cost: &cost, owner: owner.as_ref() };
            store.finish(&peer, lease, &outcome, told, heard, &terms)
        };
        let store = if is_long { self.hub.store.long() } else { self.hub.store.clone() };
        let finished = self.ask(&store, lease, heard, call).await;
        if let Some(finished) = self.done(lease, heard, finished).await {
            self.hub.metrics.finished(&finished, &spent);
            let Finished { slug, verdict, put, left, packages, .. } = finished;
            let Finished { comparison, suspended, proven, ended, .. } = finished;
            let came = comparison.map_or("", Comparison::word);
            info!(
                lease, peer = self.name.as_str(), source = slug.as_str(), verdict:%, put, left,
                packages, came;
                "lease finished"
            );
            self.outbox.send(&ToPeer::Finished { lease });
            self.judged(!verdict.is_contact());
            self.drops(lease);
            for (peer, why) in &suspended {
                warn!(peer = peer.as_str(), why = why.as_str(); "peer suspended; `trust` or `suspend` decides");
            }
            let_in(&self.hub, proven).await;
            if !suspended.is_empty() {
                let hub = Rc::clone(&self.hub);
                self.hub.spawn(async move { shut_out(&hub, ended).await });
            }
            if put > 0 {
                let store = self.hub.store.long();
                self.hub.spawn(async move { store.call(move |store| store.grown(put)).await });
            }
        }
        self.hub.alive.borrow_mut().answered(&self.name, lease);
    }

    async fn renew_certificate(&self, request: String) {
        let last = self.asked.replace(Some(clock::now()));
        let current = self.certificate.borrow().clone();
        let renewed = self.door.renewals.renew(request, current, last).await;
        if let Some(certificate) = renewed.certificate {
            let ends = certificate.life.ends;
            if let Some(session) = self.hub.sessions.borrow_mut().session(&self.name, self.id.get())
            {
                session.ends = ends;
            }
            let role = role_to_name(&certificate);
            self.certificate.replace(certificate);
            let peer = self.name.clone();
            // Before the peer logs in so.
            self.hub.store.call(move |store| name_role(store, &peer, role.as_deref())).await;
        }
        self.outbox.send(&renewed.answer);
    }

    /// A peer is told nothing of what comes of its hint, so it may take its time.
    fn announced(&self, cid: Option<&str>, named: &str, now: Timestamp) {
        let announcer = Announcer::Peer(self.name.clone());
        let announcements = Rc::clone(&self.door.announcements);
        let announcement = announcements
            .admit(&announcer, now)
            .and_then(|()| Announcement::by_word(cid, named).map_err(Refusal::Unknown));
        let peer = self.name.clone();
        let taken = async move {
            let announcer = Some(announcer);
            let taken = match announcement {
                Ok(announcement) => announcements.take(announcer, announcement).await,
                Err(why) => Err(why),
            };
            match taken {
                Ok(taken) => debug!(peer, taken:?; "announcement taken"),
                Err(why) => info!(peer, why:%; "announcement refused"),
            }
        };
        self.hub.spawn(taken);
    }

    async fn taken(&self, lease: u64, number: u64, heard: Timestamp, done: Result<(), StoreError>) {
        if self.done(lease, heard, done).await.is_some() {
            self.outbox.send(&ToPeer::Taken { lease, number });
        }
    }

    /// What the store did; where it did nothing, the peer is told that the lease is over, and so it
    /// is made.
    async fn done<T>(
        &self,
        lease: u64,
        heard: Timestamp,
        result: Result<T, StoreError>,
    ) -> Option<T> {
        let cause = match result {
            Ok(done) => return Some(done),
            Err(cause) => cause,
        };
        // What goes wrong on the arbiter's machine is the operator's to read, not the peer's.
        let reason = if cause.is_refusal() {
            info!(lease, peer = self.name.as_str(), cause:%; "refused");
            one_line(&cause.to_string(), TEXT_BYTES_MAX)
        } else {
            error!(lease, peer = self.name.as_str(), cause:%; "the store failed");
            "the arbiter's store failed".to_owned()
        };
        self.outbox.send(&ToPeer::Refused { lease, reason: reason.clone() });
        self.drops(lease);
        self.abandon(lease, reason, heard).await;
        None
    }

    /// Ends a lease in the store, too, after its peer was told that it is over: as the peer's
    /// failure, so that its source waits a little before it is granted again. If the lease is over
    /// already, or was never this peer's, that is refused and does nothing; if the store fails, the
    /// lease expires.
    async fn abandon(&self, lease: u64, reason: String, heard: Timestamp) {
        let (peer, terms) = (self.name.clone(), self.hub.terms());
        let kind = FailureKind::Peer;
        let outcome = Outcome::Failed { kind, retry_after_secs: None, status: None, reason };
        let call = move |store: &mut Store| {
            store.finish(&peer, lease, &outcome, &Cost::default(), heard, &terms)
        };
        match self.hub.store.call(call).await {
            Ok(ended) => {
                self.hub.metrics.ended(ended.verdict, ended.reason);
                self.judged(true);
                self.hub.wake();
            }
            Err(cause) if cause.is_refusal() => {}
            Err(cause) => warn!(lease, cause:%; "couldn't end a lease; it will expire"),
        }
    }

    /// Looks what comes of the peer's record, after a lease that may have changed it: one that went
    /// badly, or any where it was bad before.
    fn judged(&self, is_bad: bool) {
        if is_bad || self.hub.sessions.borrow().record(&self.name).is_some() {
            self.hub.judge(&self.name, false);
        }
    }

    fn drops(&self, lease: u64) {
        let hub = &self.hub;
        if let Some(session) = hub.sessions.borrow_mut().session(&self.name, self.id.get()) {
            session.leases.remove(&lease);
        }
        hub.alive.borrow_mut().over(&self.name, lease);
        hub.wake();
    }
}
