//! One peer's session at the arbiter: handshake, then one message at a time, each answered before
//! the next is read. What a peer does wrong ends its own session and nobody else's.

use crate::PROGRAM;
use crate::announce::Refusal;
use crate::announcement::Announcement;
use crate::door::Door;
use crate::hub::Hub;
use crate::policy::Announcer;
use crate::revocations::Id;
use crate::sessions::{DIRECT, RELAYED, Session};
use crate::store::StoreError;
use crate::timestamp::Timestamp;
use canister_link::certificate::Certificate;
use canister_link::clock;
use canister_link::websocket::{HANDSHAKE_MAX, Link, LinkError, Outbox, REVOKED};
use canister_protocol::limits::{DIGESTS_MAX, PRICES_MAX, PROTOCOL};
use canister_protocol::message::{Blame, Cost, Outcome, cut};
use canister_protocol::row::Digest;
use canister_protocol::session::ArbiterSide;
use canister_protocol::{ToArbiter, ToPeer};
use futures_rustls::TlsAcceptor;
use futures_rustls::server::TlsStream;
use log::{debug, error, info, warn};
use smol::Timer;
use smol::channel::Receiver;
use smol::future::FutureExt as _;
use smol::net::TcpStream;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A session whose answers aren't read is not read either once this many wait to be written.
const UNREAD_MAX: usize = 8;
/// ... and ends if that doesn't change for so long.
const UNREAD_FOR: Duration = Duration::from_secs(60);
/// How often it is looked at whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type PeerLink = Link<TlsStream<TcpStream>>;

/// Serves one connection from its first byte to its last.
pub async fn serve(door: Rc<Door>, tls: TlsAcceptor, stream: TcpStream, address: SocketAddr) {
    let handshake = door.handshake();
    let opened = open(&door, tls, stream)
        .or(async {
            Timer::after(HANDSHAKE_MAX).await;
            Err(format!("no handshake within {} s", HANDSHAKE_MAX.as_secs()))
        })
        .await;
    drop(handshake);
    let (link, client) = match opened {
        Ok(opened) => opened,
        Err(cause) => return info!(address:%, cause; "refused a connection"),
    };
    let (end, ended) = smol::channel::bounded(1);
    let mut session = Served {
        hub: Rc::clone(&door.hub),
        door,
        link,
        name: client.name,
        chain: client.chain,
        certificate: client.certificate,
        asked: None,
        address,
        id: 0,
        end,
    };
    let (code, reason) = session.run(ended).await;
    if code == REVOKED {
        session.lose_leases().await;
    }
    let Served { hub, link, name, id, .. } = session;
    let has_left = hub.sessions.borrow_mut().leave(&name, id);
    if has_left {
        let peer = name.clone();
        let noted = hub.store.call(move |store| store.session_over(&peer)).await;
        if let Err(cause) = noted {
            warn!(peer = name.as_str(), cause:%; "couldn't note the end of a session");
        }
    }
    hub.wake();
    info!(peer = name.as_str(), code, reason = reason.as_str(); "session ends");
    link.close(code, &reason).await;
}

/// Who is at the other end, by the certificates that TLS has verified.
struct Client {
    name: String,
    chain: Rc<[Id]>,
    certificate: Certificate,
}

async fn open(
    door: &Door,
    tls: TlsAcceptor,
    stream: TcpStream,
) -> Result<(PeerLink, Client), String> {
    stream.set_nodelay(true).map_err(|cause| format!("set TCP_NODELAY: {cause}"))?;
    let stream = tls.accept(stream).await.map_err(|cause| format!("TLS handshake: {cause}"))?;
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates().unwrap_or_default();
    let chain: Vec<Certificate> =
        shown.iter().filter_map(|shown| Certificate::read(shown)).collect();
    let ids: Rc<[Id]> = chain.iter().map(Id::of).collect();
    let certificate = chain.into_iter().next();
    let certificate = certificate.ok_or("its certificate can't be read")?;
    let name = certificate.name.clone();
    let refusal = if name.is_none() {
        Some("its certificate has no common name that a peer can have")
    } else if door.revocations().revoke(&ids) {
        Some("its certificate was revoked, or one that it is a renewal of")
    } else {
        None
    };
    let database = door.database.as_ref();
    let accepted = Link::accept(door.hub.executor(), stream, refusal, database).await;
    if let Some(why) = refusal {
        return Err(why.to_owned());
    }
    let name = name.unwrap_or_default();
    let link = accepted.map_err(|cause| format!("WebSocket handshake of {name}: {cause}"))?;
    let client = Client { name, chain: ids, certificate };
    Ok((link, client))
}

fn stopping() -> (u16, String) {
    (1001, "the arbiter stops".to_owned())
}

struct Served {
    hub: Rc<Hub>,
    door: Rc<Door>,
    link: PeerLink,
    name: String,
    chain: Rc<[Id]>,
    /// The newest that this session knows of.
    certificate: Certificate,
    /// When it last asked for a newer one.
    asked: Option<Instant>,
    address: SocketAddr,
    /// Among [`Sessions`](crate::sessions::Sessions); 0 before Hello.
    id: u64,
    end: smol::channel::Sender<(u16, String)>,
}

impl Served {
    /// Runs until the session is to be closed; returns how.
    async fn run(&mut self, ended: Receiver<(u16, String)>) -> (u16, String) {
        let mut side = ArbiterSide::default();
        let greeting_over = clock::now() + HANDSHAKE_MAX;
        loop {
            let is_greeting = self.id == 0;
            let link = &mut self.link;
            let told = ended.recv();
            // First, for a peer that never stops talking would never hear it.
            let arrived = async { Err(told.await.unwrap_or_else(|_| stopping())) }
                .or(async { Ok(link.receive::<ToArbiter>().await) })
                .or(async {
                    if !is_greeting {
                        smol::future::pending::<()>().await;
                    }
                    Timer::at(greeting_over).await;
                    Err((1008, "no Hello in time".to_owned()))
                })
                .await;
            let message = match arrived {
                Err(told) => return told,
                Ok(Ok(message)) => message,
                Ok(Err(cause)) => return self.lost(&cause),
            };
            if let Err(cause) = side.arrived(&message) {
                return self.lost(&cause.into());
            }
            debug!(peer = self.name.as_str(), message = message.name(); "arrived");
            self.answer(message).await;
            // A list may have changed between this session's handshake and its Hello.
            if self.door.revocations().revoke(&self.chain) {
                return (REVOKED, "revoked".to_owned());
            }
            if let Some(told) = self.until_read(&ended).await {
                return told;
            }
        }
    }

    /// A peer that asks and doesn't read waits here, and for so long only; returns how to close
    /// the session if it is to end.
    async fn until_read(&self, ended: &Receiver<(u16, String)>) -> Option<(u16, String)> {
        let since = clock::now();
        while self.link.outbox().len() > UNREAD_MAX {
            if clock::now() - since > UNREAD_FOR {
                return Some((1008, "answers aren't read".to_owned()));
            }
            let look_again = async {
                Timer::after(LOOK_EVERY).await;
                None
            };
            let told = look_again.or(async { ended.recv().await.ok() }).await;
            if told.is_some() {
                return told;
            }
        }
        None
    }

    fn lost(&self, cause: &LinkError) -> (u16, String) {
        if let LinkError::Protocol(_) = cause {
            warn!(peer = self.name.as_str(), address:% = self.address, cause:%; "peer misbehaved");
        }
        (cause.close_code(), cause.to_string())
    }

    async fn answer(&mut self, message: ToArbiter) {
        let now = self.hub.now();
        let peer = self.name.clone();
        let terms = self.hub.terms();
        let store = &self.hub.store;
        let outbox = self.link.outbox().clone();
        // What can't be done for the moment is waited for, as long as the lease would live: only
        // a refusal ends it.
        let longest = terms.lease;
        match message {
            ToArbiter::Hello { agent, leases, .. } => self.hello(agent, leases, now).await,
            ToArbiter::Offer { slots } => {
                if let Some(session) = self.hub.sessions.borrow_mut().session(&peer, self.id) {
                    session.slots = slots as usize;
                }
                self.note(now).await;
                self.hub.wake();
            }
            ToArbiter::Writes { direct, reason } => {
                info!(peer = self.name.as_str(), direct, reason = reason.as_str(); "writes rows");
                if let Some(session) = self.hub.sessions.borrow_mut().session(&peer, self.id) {
                    session.writes =
                        if direct { DIRECT.to_owned() } else { format!("{RELAYED}: {reason}") };
                }
                self.note(now).await;
            }
            ToArbiter::Renew { leases } => {
                let asked = leases.clone();
                match store
                    .lasting(longest, move |store| store.renew(&peer, &leases, now, &terms))
                    .await
                {
                    Ok(held) => {
                        asked.iter().filter(|lease| !held.contains(lease)).for_each(|lease| {
                            self.drops(*lease);
                        });
                        outbox.send(&ToPeer::Renewed { leases: held });
                    }
                    // Not answered: the peer asks again, and its leases live a while yet.
                    Err(cause) => error!(peer = self.name.as_str(), cause:%; "couldn't renew"),
                }
            }
            ToArbiter::Known { lease, after } => {
                let after = Digest::split(&after).and_then(|digests| digests.first().copied());
                let page = store
                    .lasting(longest, move |store| {
                        store.known(&peer, lease, after, DIGESTS_MAX + 1, now)
                    })
                    .await;
                if let Some(mut page) = self.done(lease, page) {
                    let more = page.len() > DIGESTS_MAX;
                    page.truncate(DIGESTS_MAX);
                    outbox.send(&ToPeer::Digests { lease, digests: Digest::join(&page), more });
                }
            }
            ToArbiter::Put { lease, number, rows } => {
                let put =
                    store.lasting(longest, move |store| store.put(&peer, lease, &rows, now)).await;
                self.taken(lease, number, put);
            }
            ToArbiter::Dropped { lease, number, digests } => {
                let digests = Digest::split(&digests).unwrap_or_default();
                let put = store
                    .lasting(longest, move |store| store.dropped(&peer, lease, &digests, now))
                    .await;
                self.taken(lease, number, put);
            }
            ToArbiter::Discard { lease, number } => {
                let put =
                    store.lasting(longest, move |store| store.discard(&peer, lease, now)).await;
                self.taken(lease, number, put);
            }
            ToArbiter::Priced { lease, after } => {
                let since = now.minus(self.door.price_age);
                let page = store
                    .lasting(longest, move |store| {
                        store.priced(&peer, lease, &after, PRICES_MAX + 1, since, now)
                    })
                    .await;
                if let Some(mut packages) = self.done(lease, page) {
                    let more = packages.len() > PRICES_MAX;
                    packages.truncate(PRICES_MAX);
                    outbox.send(&ToPeer::PricedIds { lease, packages, more });
                }
            }
            ToArbiter::Prices { lease, number, prices } => {
                let put = store
                    .lasting(longest, move |store| store.prices(&peer, lease, &prices, now))
                    .await;
                self.taken(lease, number, put);
            }
            ToArbiter::Finish { lease, outcome, cost } => {
                let finished = store
                    .lasting(longest, move |store| {
                        store.finish(&peer, lease, &outcome, &cost, now, &terms)
                    })
                    .await;
                if let Some(finished) = self.done(lease, finished) {
                    info!(
                        lease, peer = self.name.as_str(), source = finished.slug.as_str(),
                        verdict:% = finished.verdict, put = finished.put, left = finished.left,
                        packages = finished.packages;
                        "lease finished"
                    );
                    outbox.send(&ToPeer::Finished { lease });
                    self.drops(lease);
                }
            }
            ToArbiter::Announce { cid, named } => {
                self.announced(cid.as_deref(), &named, now);
            }
            ToArbiter::Renewal { request } => {
                let last = self.asked.replace(clock::now());
                let current = self.certificate.clone();
                let renewed = self.door.renewals.renew(request, current, last).await;
                if let Some(certificate) = renewed.certificate {
                    if let Some(session) = self.hub.sessions.borrow_mut().session(&peer, self.id) {
                        session.ends = certificate.life.ends;
                    }
                    self.certificate = certificate;
                }
                outbox.send(&renewed.answer);
            }
            ToArbiter::GiveBack { lease } => {
                let given =
                    store.lasting(longest, move |store| store.give_back(&peer, lease, now)).await;
                if self.done(lease, given).is_some() {
                    info!(lease, peer = self.name.as_str(); "lease given back");
                    self.drops(lease);
                }
            }
        }
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

    /// Has the session noted, for whoever asks for the peers.
    async fn note(&self, now: Timestamp) {
        let (peer, address) = (self.name.clone(), self.address.to_string());
        let said = |session: &mut Session| (session.slots as u32, session.writes.clone());
        let now_said = {
            let mut peers = self.hub.sessions.borrow_mut();
            peers.session(&self.name, self.id).map(said)
        };
        let Some((slots, writes)) = now_said else {
            return;
        };
        let noted = self
            .hub
            .store
            .call(move |store| store.session(&peer, &address, slots, &writes, now))
            .await;
        if let Err(cause) = noted {
            warn!(peer = self.name.as_str(), cause:%; "couldn't note a session");
        }
    }

    async fn hello(&mut self, agent: String, leases: Vec<u64>, now: Timestamp) {
        let (name, terms, said) = (self.name.clone(), self.hub.terms(), agent.clone());
        let lifetime = terms.lease;
        let greeted =
            self.hub.store.call(move |store| store.greet(&name, &said, &leases, now, &terms)).await;
        let held = greeted.unwrap_or_else(|cause: StoreError| {
            error!(peer = self.name.as_str(), cause:%; "couldn't look up its leases");
            Vec::new()
        });
        info!(
            peer = self.name.as_str(), address:% = self.address, agent, leases = held.len();
            "session begins"
        );
        self.id = self.hub.sessions.borrow_mut().join(&self.name, |id| Session {
            id,
            outbox: self.link.outbox().clone(),
            end: self.end.clone(),
            slots: 0,
            leases: held.iter().copied().collect(),
            writes: RELAYED.to_owned(),
            address: self.address.to_string(),
            chain: Rc::clone(&self.chain),
            ends: self.certificate.life.ends,
        });
        self.note(now).await;
        self.link.send(&ToPeer::Welcome {
            protocol: PROTOCOL,
            arbiter: PROGRAM.to_owned(),
            peer: self.name.clone(),
            leases: held,
            lease_secs: u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX),
        });
    }

    /// Tells a peer that was revoked that it holds no lease any more, and makes it so.
    async fn lose_leases(&self) {
        let (name, now) = (self.name.clone(), Timestamp::from_millis(clock::wall_millis()));
        match self.hub.store.call(move |store| store.end_all(&name, now)).await {
            Ok(ended) => {
                for lease in ended {
                    let reason = "the peer's certificate was revoked".to_owned();
                    self.outbox().send(&ToPeer::Revoked { lease: lease.token, reason });
                }
            }
            Err(cause) => {
                error!(peer = self.name.as_str(), cause:%; "couldn't end a revoked peer's leases; they will expire");
            }
        }
    }

    fn taken(&self, lease: u64, number: u64, done: Result<(), StoreError>) {
        if self.done(lease, done).is_some() {
            self.outbox().send(&ToPeer::Taken { lease, number });
        }
    }

    /// What the store did; where it did nothing, the peer is told that the lease is over.
    fn done<T>(&self, lease: u64, result: Result<T, StoreError>) -> Option<T> {
        let cause = match result {
            Ok(done) => return Some(done),
            Err(cause) => cause,
        };
        // What goes wrong on the arbiter's machine is the operator's to read, not the peer's.
        let reason = if cause.is_refusal() {
            info!(lease, peer = self.name.as_str(), cause:%; "refused");
            cut(&cause.to_string(), canister_protocol::limits::TEXT_BYTES_MAX).to_owned()
        } else {
            error!(lease, peer = self.name.as_str(), cause:%; "the store failed");
            "the arbiter's store failed".to_owned()
        };
        self.outbox().send(&ToPeer::Refused { lease, reason: reason.clone() });
        self.abandon(lease, reason);
        self.drops(lease);
        None
    }

    /// Ends a lease in the store, too, after its peer was told that it is over: as the peer's
    /// failure, so that its source waits a little before it is granted again. If the lease is over
    /// already, or was never this peer's, that is refused and does nothing; if the store fails, the
    /// lease expires.
    fn abandon(&self, lease: u64, reason: String) {
        let (store, peer, terms) = (self.hub.store.clone(), self.name.clone(), self.hub.terms());
        let now = self.hub.now();
        let hub = Rc::clone(&self.hub);
        self.hub.spawn(async move {
            let outcome = Outcome::Failed {
                blame: Blame::Peer,
                retry_after_secs: None,
                status: None,
                reason,
            };
            let cost = Cost::default();
            let ended = store
                .call(move |store| store.finish(&peer, lease, &outcome, &cost, now, &terms))
                .await;
            match ended {
                Ok(_) => hub.wake(),
                Err(cause) if cause.is_refusal() => {}
                Err(cause) => warn!(lease, cause:%; "couldn't end a lease; it will expire"),
            }
        });
    }

    fn outbox(&self) -> &Outbox {
        self.link.outbox()
    }

    fn drops(&self, lease: u64) {
        if let Some(session) = self.hub.sessions.borrow_mut().session(&self.name, self.id) {
            session.leases.remove(&lease);
        }
        self.hub.wake();
    }
}
