//! Weeks of a network, simulated, in which peers, networks and sources fail at random, one peer never
//! reaches anything, and one lies of some sources: no healthy source is hidden, none that is dead stays
//! shown, a failing one is asked less than a healthy one, and a peer without a way gets next to nothing.
//!
//! What decides is the arbiter's own: [`Witnesses`], [`Record`], [`SourceClock`], [`choose`]. What checks
//! keeps its own books. A failing run names its seed.

#![allow(clippy::print_stdout, reason = "figures are worth seeing")]

mod common;

use canister_arbiter::rules::fault::{Fault, Met, PeerPlace, Witnesses};
use canister_arbiter::rules::record::{Record, Went};
use canister_arbiter::rules::schedule::{Due, Ended, PollSchedule, SourceClock, Standing, choose};
use canister_arbiter::rules::timestamp::Timestamp;
use canister_protocol::message::FailureKind;
use common::Random;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// When sources die.
const DEATH: Duration = Duration::from_secs(86_400);
const SLOTS: usize = 4;
/// Requests of a look at a source that has nothing.
const WHOLE_LOOK: u64 = 10;

/// Times in which something is down, one after the other.
struct Outages(Vec<(Timestamp, Timestamp)>);

impl Outages {
    fn random(random: &mut Random, up: Duration, down: Duration, length: Duration) -> Self {
        let (mut outages, mut now) = (Vec::new(), BEGIN);
        while now < BEGIN.plus(length) {
            let begins = now.plus(random.between(up / 2, up * 2));
            now = begins.plus(random.between(down / 4, down * 2));
            outages.push((begins, now));
        }
        Self(outages)
    }

    fn is_down(&self, now: Timestamp) -> bool {
        let at = self.0.partition_point(|(_, ends)| *ends <= now);
        self.0.get(at).is_some_and(|(begins, _)| *begins <= now)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Healthy,
    /// It doesn't answer any more.
    Dead,
    /// It has nothing any more.
    Emptied,
}

struct Simulated {
    slug: String,
    kind: Kind,
    outages: Outages,
    clock: SourceClock,
    witnesses: Witnesses,
    is_leased: bool,
    /// Requests on each day since sources died.
    requests: Vec<u64>,
    hidden_at: Option<Timestamp>,
}

struct Peer {
    asked: PeerPlace,
    outages: Outages,
    /// Of every so manieth source it says that it failed.
    lies: usize,
    /// It reaches only every so manieth source, where it isn't 0.
    reaches: usize,
    record: Record,
    leases: usize,
    last_grant: u64,
    grants: Vec<Timestamp>,
}

struct Lease {
    peer: usize,
    source: usize,
    granted_at: Timestamp,
    ends: Timestamp,
    met: Option<FailureKind>,
}

struct World {
    seed: u64,
    random: Random,
    now: Timestamp,
    schedule: PollSchedule,
    sources: Vec<Simulated>,
    peers: Vec<Peer>,
    leases: Vec<Lease>,
    granted: u64,
    contacts: u64,
    /// How long it took from an outage's end until a peer in doubt was tried.
    tried: Vec<Duration>,
    /// How often a peer got what it offers again.
    recoveries: usize,
}

impl World {
    fn new(seed: u64, length: Duration) -> Self {
        let mut random = Random(seed);
        let never = || Outages(Vec::new());
        let for_ever = || Outages(vec![(BEGIN, BEGIN.plus(999 * DAY))]);
        let peer = |name: &str, network: &str, outages, lies| Peer {
            asked: PeerPlace { peer: name.to_owned(), network: network.to_owned() },
            outages,
            lies,
            reaches: 0,
            record: Record::default(),
            leases: 0,
            last_grant: 0,
            grants: Vec::new(),
        };
        let mut outages = |up, down| Outages::random(&mut random, up, down, length);
        let shared = outages(4 * DAY, 6 * HOUR);
        let peers = vec![
            peer("0broken", "1", for_ever(), 0),
            peer("anna", "1", outages(2 * DAY, 2 * HOUR), 0),
            // Two of one provider, which is down at times.
            peer("ben", "2", Outages(shared.0.clone()), 0),
            peer("carl", "2", shared, 0),
            peer("flapping", "3", outages(HOUR, HOUR), 0),
            peer("liar", "4", never(), 7),
            // Its clock is wrong, and few sources do without TLS; or a filter lets little through.
            Peer { reaches: 10, ..peer("partial", "5", never(), 0) },
        ];
        let sources = (0..60).map(|number| Simulated {
            slug: format!("s{number}"),
            kind: match number {
                0..5 => Kind::Dead,
                5..10 => Kind::Emptied,
                _ => Kind::Healthy,
            },
            outages: outages(5 * DAY, 3 * HOUR),
            clock: SourceClock::new(BEGIN),
            witnesses: Witnesses::default(),
            is_leased: false,
            requests: vec![0; 32],
            hidden_at: None,
        });
        let sources = sources.collect();
        Self {
            seed,
            random,
            now: BEGIN,
            schedule: PollSchedule::default(),
            sources,
            peers,
            leases: Vec::new(),
            granted: 0,
            contacts: 0,
            tried: Vec::new(),
            recoveries: 0,
        }
    }

    fn others(&self, peer: usize) -> Vec<PeerPlace> {
        let free = self
            .peers
            .iter()
            .enumerate()
            .filter(|(at, it)| *at != peer && it.record.share(self.now, SLOTS) == SLOTS);
        free.map(|(_, it)| it.asked.clone()).collect()
    }

    /// Grants all that may be granted; whether something due is left.
    fn grant(&mut self) -> bool {
        let mut idle = Vec::new();
        loop {
            let free = (0..self.peers.len()).filter(|at| {
                let peer = &self.peers[*at];
                !idle.contains(at) && peer.leases < peer.record.share(self.now, SLOTS)
            });
            let next = free.min_by_key(|at| (self.peers[*at].leases, self.peers[*at].last_grant));
            let Some(peer) = next else { break };
            let others = self.others(peer);
            let name = &self.peers[peer].asked.peer;
            let free = (self.sources.iter()).filter(|it| !it.is_leased).filter(|it| {
                let (due_at, schedule) = (it.clock.due_at.min(self.now), &self.schedule);
                it.witnesses.kept_until(name, due_at, schedule, &others) <= Some(self.now)
            });
            let (mut due, mut early): (Vec<&Simulated>, Vec<_>) =
                free.partition(|it| it.clock.is_due(self.now));
            let is_sound = |it: &&Simulated| {
                it.clock.last_contact.is_some()
                    && it.clock.failing.attempts == 0
                    && it.witnesses.are_silent()
            };
            let is_in_doubt = self.peers[peer].record.is_in_doubt();
            early.retain(is_sound);
            if is_in_doubt && let Some(next) = early.iter().min_by_key(|it| it.clock.due_at) {
                due = vec![*next];
            } else if is_in_doubt && due.iter().any(is_sound) {
                due.retain(is_sound);
            }
            let due = due.into_iter().map(|it| Due {
                slug: it.slug.clone(),
                operator: it.slug.clone(),
                domain: it.slug.clone(),
                due_at: it.clock.due_at,
                is_announced: false,
                is_known: it.clock.last_contact.is_some(),
                ranking: 3,
            });
            let chosen = choose(due.collect(), 1, |_| true).pop();
            match chosen.and_then(|due| self.sources.iter().position(|it| it.slug == due.slug)) {
                Some(source) => self.begin(peer, source),
                None => idle.push(peer),
            }
        }
        self.sources.iter().any(|it| !it.is_leased && it.clock.is_due(self.now))
    }

    fn begin(&mut self, peer: usize, source: usize) {
        let now = self.now;
        self.granted += 1;
        let it = &mut self.sources[source];
        it.is_leased = true;
        let is_known = it.clock.last_contact.is_some();
        let is_in_doubt = self.peers[peer].record.is_in_doubt();
        let retry = self.schedule.retry(&it.clock, it.witnesses.times(), is_known, now);
        let retry = retry.or_else(|| (is_known && is_in_doubt).then_some(0));
        let is_over = it.kind != Kind::Healthy && now.since(BEGIN) >= DEATH;
        let by = &mut self.peers[peer];
        let mended = by.outages.0.iter().map(|(_, ends)| *ends).filter(|ends| *ends <= now).max();
        let is_first = mended >= by.grants.last().copied();
        if let Some(mended) = mended.filter(|_| is_in_doubt && is_first) {
            self.tried.push(now.since(mended));
        }
        by.leases += 1;
        by.last_grant = self.granted;
        by.grants.push(now);
        let met = if by.outages.is_down(now) {
            Some(FailureKind::Timeout)
        } else if by.reaches > 0 && !source.is_multiple_of(by.reaches) {
            Some(FailureKind::Tls)
        } else if by.lies > 0 && source.is_multiple_of(by.lies) {
            Some(FailureKind::Mismatch)
        } else if it.outages.is_down(now) || is_over && it.kind == Kind::Dead {
            Some(FailureKind::Connect)
        } else {
            (is_over && it.kind == Kind::Emptied).then_some(FailureKind::NoIndex)
        };
        let takes = match met {
            Some(FailureKind::Timeout) => 15 * SECOND,
            _ => self.random.between(SECOND / 2, 5 * SECOND),
        };
        let is_reached = !self.peers[peer].outages.is_down(now);
        if let Some(since) = now.since(BEGIN).checked_sub(DEATH).filter(|_| is_reached) {
            let day = (since.as_secs() / DAY.as_secs()) as usize;
            self.sources[source].requests[day] += match (met, retry) {
                (Some(FailureKind::NoIndex), None) => WHOLE_LOOK,
                _ => 1,
            };
        }
        self.leases.push(Lease { peer, source, granted_at: now, ends: now.plus(takes), met });
    }

    /// As a finish does it.
    fn end(&mut self, lease: &Lease) {
        let (now, others) = (self.now, self.others(lease.peer));
        let (it, by) = (&mut self.sources[lease.source], &mut self.peers[lease.peer]);
        (it.is_leased, by.leases) = (false, by.leases - 1);
        let was_in_doubt = by.record.is_in_doubt();
        let (ended, went) = match lease.met {
            None => (Ended::Contact, Went::Well),
            Some(kind) => {
                let fails = it.clock.failing.attempts > 0;
                let fault = it.witnesses.fault(&by.asked, &by.record, &it.slug, kind, &others);
                let others_can = !others.is_empty() && it.witnesses.are_few();
                let went = it.witnesses.went(&by.asked, &it.slug, kind, fails);
                let is_doubted = fault == Fault::Peer && !others.is_empty();
                let met = if is_doubted { Met::Nothing } else { Met::from(kind) };
                it.witnesses.note(&by.asked, met, now);
                match fault {
                    Fault::Source => (Ended::SourceFailed, went),
                    _ if others_can => (Ended::Open, went),
                    Fault::Open | Fault::Peer => (Ended::PeerFailed, went),
                }
            }
        };
        by.record.after(&went, lease.granted_at, now);
        if ended == Ended::Contact {
            it.witnesses = Witnesses::default();
            self.contacts += 1;
            self.recoveries += usize::from(was_in_doubt);
        }
        it.clock.after(&it.slug, ended, now, &self.schedule);
        let is_hidden = it.clock.standing != Standing::Active;
        if is_hidden && it.hidden_at.is_none() {
            it.hidden_at = Some(now);
        }
        let slug = &it.slug;
        assert!(
            !is_hidden || it.kind != Kind::Healthy,
            "seed {}: {slug} is healthy and hidden: {:?}",
            self.seed,
            it.witnesses
        );
    }

    fn run(&mut self, length: Duration) {
        let end = BEGIN.plus(length);
        while self.now < end {
            let is_left = self.grant();
            let ends = self.leases.iter().map(|lease| lease.ends);
            let due = self.sources.iter().map(|it| it.clock.due_at);
            let rests = self.peers.iter().filter_map(|peer| peer.record.rests_until);
            let look = is_left.then(|| self.now.plus(10 * SECOND));
            let next = ends.chain(due).chain(rests).chain(look).filter(|at| *at > self.now).min();
            self.now = next.unwrap_or(end);
            let now = self.now;
            let is_over = |lease: &Lease| lease.ends <= now;
            let (over, left) = self.leases.drain(..).partition::<Vec<_>, _>(is_over);
            self.leases = left;
            over.iter().for_each(|lease| self.end(lease));
        }
    }
}

#[test]
fn weeks_of_outages_hide_nothing_healthy_and_everything_dead() {
    let length = 17 * DAY;
    for seed in 1..=2 {
        let mut world = World::new(seed, length);
        world.run(length);
        let of = |kind: Kind| world.sources.iter().filter(move |it| it.kind == kind);
        let asked = |kind: Kind| of(kind).map(|it| it.requests.iter().sum::<u64>());
        let healthy = asked(Kind::Healthy).min().unwrap_or(0);
        let failing = asked(Kind::Dead).chain(asked(Kind::Emptied)).max().unwrap_or(0);
        let failing_days = of(Kind::Dead).chain(of(Kind::Emptied)).flat_map(|it| &it.requests);
        let in_a_day = failing_days.max().copied().unwrap_or(0);
        assert!(in_a_day <= 24, "seed {seed}: {in_a_day} requests to a failing source in a day");
        // Nearly every hour there was a contact.
        let least = u64::try_from(of(Kind::Healthy).count()).unwrap_or(0) * 24 * 17 * 9 / 10;
        assert!(world.contacts > least, "seed {seed}: {} contacts", world.contacts);
        assert!(
            failing < healthy / 2,
            "seed {seed}: {failing} requests, {healthy} of a healthy one"
        );
        for it in of(Kind::Dead).chain(of(Kind::Emptied)) {
            let after = it.hidden_at.map(|at| at.since(BEGIN.plus(DEATH)));
            let (least, most) = (7 * DAY - 4 * HOUR, 8 * DAY);
            let is_in_time = after.is_some_and(|after| after >= least && after <= most);
            assert!(is_in_time, "seed {seed}: {} was hidden after {after:?}", it.slug);
            assert_eq!(it.clock.standing, Standing::Delisted, "seed {seed}: {}", it.slug);
        }
        let broken = &world.peers[0].grants;
        let pauses = broken[9..].windows(2).map(|pair| pair[1].since(pair[0]));
        let shortest = pauses.min().unwrap_or_default();
        assert!(shortest >= MINUTE, "seed {seed}: {shortest:?} between two leases of it");
        let slowest = world.tried.iter().max().copied().unwrap_or_default();
        assert!(slowest <= MINUTE, "seed {seed}: tried {slowest:?} after its way was mended");
        assert!(world.tried.len() > 20, "seed {seed}: {:?}", world.tried);
        let partial = world.peers[6].grants.len() as u64;
        assert!(partial <= length.as_secs() / 60, "seed {seed}: {partial} leases");
        let share = |at: usize| {
            let held = world.peers[at].grants.len() as f64;
            held * 100.0 / world.granted as f64
        };
        println!(
            "seed {seed}: {} leases, {:.1} % of them of the peer without a way, {:.1} % of that with few; \
             {} outages, tried at most {slowest:?} later, {} recoveries; {failing} requests to a dead \
             source (at most {in_a_day} a day), {healthy} to a healthy one",
            world.granted,
            share(0),
            share(6),
            world.tried.len(),
            world.recoveries
        );
    }
}
