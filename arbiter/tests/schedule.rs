//! Months of a network, simulated: whatever fails, is announced, stops or is configured anew, no
//! source starves, none is delisted that wasn't tried, no operator sees two leases at once, no
//! pause is undercut, and nobody comes back before the time it was sent away for.
//!
//! What decides is the arbiter's own: [`SourceClock`], [`choose`], [`may_grant`], [`Distance`]. What
//! checks keeps its own books. A failing run names its seed.

mod common;

use canister_arbiter::rules::politeness::{Distance, Heard, May, Operator, Politeness, may_grant};
use canister_arbiter::rules::schedule::{Due, Ended, PollSchedule, SourceClock, Standing, choose};
use canister_arbiter::rules::timestamp::Timestamp;
use common::Random;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Most time that a due source waits whose server sends people away: the longest distance, and its
/// turn after that.
const SENT_AWAY_MAX: Duration = Duration::from_secs(30 * 3600);

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    /// It answers, nearly always.
    Good,
    /// It answers half of the time.
    Flapping,
    /// It never answered.
    Dead,
    /// It dies after 20 days and is back after 60.
    Away,
    /// It sends people away at times.
    Strict,
}

struct Simulated {
    slug: String,
    domain: &'static str,
    server: Server,
    clock: SourceClock,
    /// The checker's own book.
    failures: Vec<Timestamp>,
    waits_since: Option<Timestamp>,
    attempts: u64,
    delisted: u64,
    came_back: u64,
}

struct Lease {
    source: usize,
    peer: &'static str,
    ends: Timestamp,
}

struct World {
    seed: u64,
    random: Random,
    now: Timestamp,
    schedule: PollSchedule,
    terms: Politeness,
    /// How long most leases take.
    takes: (Duration, Duration),
    /// Most time that a due source waits while there are peers and its server sends nobody away.
    wait_max: Duration,
    peers: Vec<&'static str>,
    sources: Vec<Simulated>,
    leases: Vec<Lease>,
    operators: HashMap<&'static str, Operator>,
    distances: HashMap<&'static str, Distance>,
    // The checker's own books.
    ended: HashMap<&'static str, Timestamp>,
    sent_away: BTreeMap<(&'static str, &'static str), Timestamp>,
    refusals: u64,
    restarts: u64,
    reloads: u64,
}

/// Domains of one address are one operator.
fn operator(domain: &'static str) -> &'static str {
    match domain {
        "b.example" | "c.example" => "b.example",
        other => other,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut sources = Vec::new();
        let mut add = |domain: &'static str, count: usize, server| {
            for number in 0..count {
                sources.push(Simulated {
                    slug: format!("{domain}-{number}-{server:?}"),
                    domain,
                    server,
                    clock: SourceClock::new(BEGIN),
                    failures: Vec::new(),
                    waits_since: None,
                    attempts: 0,
                    delisted: 0,
                    came_back: 0,
                });
            }
        };
        add("shared.example", 24, Server::Good);
        add("shared.example", 1, Server::Dead);
        add("a.example", 1, Server::Good);
        add("b.example", 2, Server::Flapping);
        add("c.example", 2, Server::Good);
        add("strict.example", 4, Server::Strict);
        add("dead.example", 2, Server::Dead);
        add("away.example", 2, Server::Away);
        Self {
            seed,
            random: Random(seed),
            now: BEGIN,
            schedule: PollSchedule::default(),
            terms: Politeness::default(),
            takes: (SECOND / 5, 5 * SECOND),
            wait_max: 3 * HOUR,
            peers: vec!["p1", "p2", "p3"],
            sources,
            leases: Vec::new(),
            operators: HashMap::new(),
            distances: HashMap::new(),
            ended: HashMap::new(),
            sent_away: BTreeMap::new(),
            refusals: 0,
            restarts: 0,
            reloads: 0,
        }
    }

    /// Grants all that may be granted; when to look again.
    fn grant(&mut self) -> Timestamp {
        let mut look_again = self.now.plus(HOUR);
        for peer in self.peers.clone() {
            let slots = 4 - self.leases.iter().filter(|lease| lease.peer == peer).count();
            let due: Vec<Due> = (self.sources.iter().enumerate())
                .filter(|(index, source)| {
                    source.clock.is_due(self.now)
                        && self.leases.iter().all(|lease| lease.source != *index)
                })
                .map(|(_, source)| Due {
                    slug: source.slug.clone(),
                    operator: operator(source.domain).to_owned(),
                    domain: source.domain.to_owned(),
                    due_at: source.clock.due_at,
                    is_announced: source.clock.is_announced,
                    is_known: source.clock.last_contact.is_some(),
                    ranking: 3,
                })
                .collect();
            let earliest = std::cell::Cell::new(look_again);
            let chosen = choose(due, slots, |due| {
                let operator = self.operators.get(&*due.operator).copied().unwrap_or_default();
                let far = Distance::default();
                let distance = self.distances.get(&*due.domain).unwrap_or(&far);
                match may_grant(&operator, distance, peer, self.now, &self.terms) {
                    May::Grant => true,
                    May::NotBefore(until) => {
                        earliest.set(earliest.get().min(until));
                        false
                    }
                    May::WhenEnded => false,
                }
            });
            look_again = earliest.get();
            for due in chosen {
                self.begin(peer, &due.slug);
            }
        }
        look_again
    }

    fn begin(&mut self, peer: &'static str, slug: &str) {
        let seed = self.seed;
        let index = self
            .sources
            .iter()
            .position(|source| source.slug == slug)
            .expect("the slug was one of them");
        let domain = self.sources[index].domain;
        let operator = operator(domain);
        for lease in &self.leases {
            let other = self::operator(self.sources[lease.source].domain);
            assert_ne!(other, operator, "seed {seed}: two leases at once");
        }
        if let Some(ended) = self.ended.get(operator) {
            let pause = self.now.since(*ended);
            assert!(pause >= self.terms.pause, "seed {seed}: {operator} rested {pause:?}");
        }
        if let Some(until) = self.sent_away.get(&(peer, domain)) {
            assert!(self.now >= *until, "seed {seed}: {peer} is back at {domain} too early");
        }
        self.operators.entry(operator).or_default().is_leased = true;
        let takes = match self.random.below(100) {
            // It vanishes, and the lease expires.
            0 => MINUTE,
            1..5 => self.random.between(10 * SECOND, 5 * MINUTE),
            _ => self.random.between(self.takes.0, self.takes.1),
        };
        self.leases.push(Lease { source: index, peer, ends: self.now.plus(takes) });
        let source = &mut self.sources[index];
        source.attempts += 1;
        source.waits_since = None;
    }

    /// Ends the lease as its server decides.
    fn end(&mut self, lease: &Lease) {
        let elapsed = self.now.since(BEGIN);
        let source = &self.sources[lease.source];
        let is_vanished = self.random.is(1);
        let is_refused = source.server == Server::Strict && self.random.is(2);
        let is_up = match source.server {
            Server::Good | Server::Strict => !self.random.is(2),
            Server::Flapping => self.random.is(50),
            Server::Dead => false,
            Server::Away => elapsed < 20 * DAY || elapsed > 60 * DAY,
        };
        let (ended, heard) = if is_vanished {
            (None, Heard::Nothing)
        } else if is_refused {
            let wait = self.random.is(50).then(|| self.random.between(SECOND, 40 * HOUR));
            (Some(Ended::Refused), Heard::Refusal(wait))
        } else if is_up {
            (Some(Ended::Contact), Heard::Answer)
        } else if self.random.is(5) {
            (Some(Ended::PeerFailed), Heard::Nothing)
        } else {
            (Some(Ended::SourceFailed), Heard::Nothing)
        };
        let (domain, operator) = (source.domain, operator(source.domain));
        let distance = self.distances.entry(domain).or_default();
        distance.after(lease.peer, heard, self.now, &self.terms);
        if let Heard::Refusal(wait) = heard {
            self.refusals += 1;
            let least = wait.unwrap_or_default().clamp(self.terms.cool_down, DAY);
            self.sent_away.insert((lease.peer, domain), self.now.plus(least));
        }
        *self.operators.entry(operator).or_default() =
            Operator { is_leased: false, last_ended: Some(self.now) };
        self.ended.insert(operator, self.now);
        let source = &mut self.sources[lease.source];
        let stood = source.clock.standing;
        if let Some(ended) = ended {
            source.clock.after(&source.slug, ended, self.now, &self.schedule);
            match ended {
                Ended::Contact | Ended::Stopped => source.failures.clear(),
                Ended::SourceFailed => source.failures.push(self.now),
                Ended::Open | Ended::PeerFailed | Ended::Refused => {}
            }
        }
        if source.clock.standing == Standing::Delisted && stood != Standing::Delisted {
            source.delisted += 1;
            let failures = &source.failures;
            assert!(failures.len() >= 8, "seed {}: delisted after {failures:?}", self.seed);
            let tried_for = self.now.since(failures[0]);
            assert!(
                tried_for >= self.schedule.stop_after,
                "seed {}: delisted after {tried_for:?}",
                self.seed
            );
        }
        if stood == Standing::Delisted && source.clock.standing == Standing::Active {
            source.came_back += 1;
        }
    }

    /// What happens to a network now and then.
    fn happens(&mut self) {
        match self.random.below(100) {
            0..70 => {
                let index = self.random.below(self.sources.len());
                self.sources[index].clock.announce(self.now);
            }
            70..85 => {
                // The arbiter is off for a while: what it remembers is what the store has. Leases
                // expire meanwhile, and are ended when it is back.
                self.restarts += 1;
                let most = if self.random.is(3) { 20 * DAY } else { HOUR };
                let off = self.random.between(SECOND, most);
                self.now = self.now.plus(off);
                for source in &mut self.sources {
                    source.waits_since = None;
                    source.clock.reschedule(self.now, &self.schedule);
                }
            }
            85..95 => {
                self.reloads += 1;
                self.schedule.interval = self.random.between(30 * MINUTE, 2 * HOUR);
                self.schedule.retry_after = self.random.between(5 * MINUTE, 30 * MINUTE);
                self.schedule.stop_after = self.random.between(8 * DAY, 20 * DAY);
                self.schedule = self.schedule.checked().expect("its times fit");
                self.terms.pause = self.random.between(SECOND, 10 * SECOND);
                for source in &mut self.sources {
                    source.clock.reschedule(self.now, &self.schedule);
                }
            }
            _ => {
                // Volunteers come and go; at least one stays.
                let all = ["p1", "p2", "p3"];
                self.peers = match self.random.below(3) {
                    0 => vec!["p1"],
                    1 => vec!["p2", "p3"],
                    _ => all.into(),
                };
            }
        }
    }

    fn check_waits(&mut self) {
        for (index, source) in self.sources.iter_mut().enumerate() {
            let is_leased = self.leases.iter().any(|lease| lease.source == index);
            if is_leased || !source.clock.is_due(self.now) {
                source.waits_since = None;
                continue;
            }
            let since = *source.waits_since.get_or_insert(self.now);
            let most = match source.server {
                Server::Strict => SENT_AWAY_MAX,
                _ => self.wait_max,
            };
            let waits = self.now.since(since);
            assert!(waits <= most, "seed {}: {} waits for {waits:?}", self.seed, source.slug);
        }
    }

    fn run(&mut self, length: Duration) {
        let end = BEGIN.plus(length);
        let mut next_event = self.now.plus(HOUR);
        while self.now < end {
            let look_again = self.grant();
            self.check_waits();
            let ends = self.leases.iter().map(|lease| lease.ends);
            let due = (self.sources.iter())
                .map(|source| source.clock.due_at)
                .filter(|&due_at| due_at > self.now);
            let next = ends
                .chain(due)
                .chain([look_again, next_event])
                .min()
                .expect("there are two at least");
            self.now = self.now.max(next);
            let is_over = |lease: &Lease| lease.ends <= self.now;
            let (over, left) = self.leases.drain(..).partition::<Vec<_>, _>(is_over);
            self.leases = left;
            over.iter().for_each(|lease| self.end(lease));
            if self.now >= next_event {
                self.happens();
                next_event = self.now.plus(self.random.between(MINUTE, 12 * HOUR));
            }
        }
    }
}

#[test]
fn months_of_failures_announcements_restarts_and_reloads() {
    let (mut delisted, mut came_back, mut refusals) = (0, 0, 0);
    for seed in 1..=2 {
        let mut world = World::new(seed);
        world.run(90 * DAY);
        assert!(world.restarts > 10 && world.reloads > 10, "seed {seed}: little happened");
        for source in &world.sources {
            let (slug, attempts) = (&source.slug, source.attempts);
            let least = if source.delisted > 0 || source.server == Server::Dead { 15 } else { 90 };
            assert!(attempts > least, "seed {seed}: {slug} was asked {attempts} times");
            if source.server == Server::Good {
                assert_eq!(source.delisted, 0, "seed {seed}: {slug}");
                assert_eq!(source.clock.standing, Standing::Active, "seed {seed}: {slug}");
            }
            if source.server == Server::Dead {
                assert_ne!(source.clock.standing, Standing::Active, "seed {seed}: {slug}");
            }
            delisted += source.delisted;
            came_back += source.came_back;
        }
        refusals += world.refusals;
    }
    // The rare things did happen.
    assert!(delisted > 2, "{delisted} delisted");
    assert!(came_back > 0, "{came_back} came back");
    assert!(refusals > 25, "{refusals} refusals");
}

#[test]
fn a_server_that_cannot_be_asked_as_often_as_it_should_starves_none_of_its_sources() {
    let mut world = World::new(7);
    // 25 sources of one server, each for 5 minutes: two hours a round, and it should be one.
    world.sources.retain(|source| source.domain == "shared.example");
    world.takes = (4 * MINUTE, 6 * MINUTE);
    // Whatever is announced all the time has a start of 3 days at most, and one that was never
    // indexed and is ranked best of a day and 4 hours.
    world.wait_max = 4 * DAY + 12 * HOUR;
    let end = BEGIN.plus(30 * DAY);
    while world.now < end {
        world.sources[0].clock.announce(world.now);
        world.sources[1].clock.announce(world.now);
        let so_far = world.now.since(BEGIN);
        world.run(so_far + 3 * MINUTE);
    }
    for source in &world.sources {
        assert!(source.attempts > 5, "{} was asked {} times", source.slug, source.attempts);
    }
}
