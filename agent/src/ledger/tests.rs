//! A simulated month, by chance and a seed: random sources, restarts, kills at any write, a machine that
//! starts anew and a clock that is set. What a counting server and the line's own counters see never
//! passes a cap.

use super::*;
use crate::caps::{RequestCap, pages};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// 2026-10-10 00:00 UTC: clocks are set back within that month.
const BEGINS: u64 = 1_791_590_400_000;

/// xorshift64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// What others count.
#[derive(Default)]
struct CountedThere {
    /// What connections carried, by host.
    carried: BTreeMap<String, (u64, u64)>,
    /// The line's counters, by day and by month of the machine's clock.
    line: BTreeMap<u32, u64>,
    /// The same since a day and since a month began for the ledger, and when the first of both did.
    since: [u64; 2],
    /// When requests were made, in true time.
    requests: VecDeque<u64>,
}

struct Month {
    chance: Chance,
    caps: Caps,
    dir: tempfile::TempDir,
    ledger: Option<Ledger>,
    /// Wall, boot, id: what the machine's clocks show.
    clocks: Arc<[AtomicU64; 3]>,
    now: u64,
    seen: CountedThere,
    /// The periods, as they were seen last.
    periods: [Option<book::Period>; 2],
    /// Whether it is never killed.
    is_spared: bool,
    kills: u64,
    torn: u64,
    /// How often the machine was started anew, and its clock set.
    boots: u64,
    steps: u64,
}

impl Month {
    fn new(seed: u64, caps: Caps, id: u64) -> Self {
        // No test is about the disk's speed.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let clocks = [BEGINS, 5 * SECOND, id].map(AtomicU64::new);
        let mut month = Self {
            chance: Chance(seed * 2 + 1),
            caps,
            dir,
            ledger: None,
            clocks: Arc::new(clocks),
            now: BEGINS,
            seen: CountedThere::default(),
            periods: [None, None],
            is_spared: false,
            kills: 0,
            torn: 0,
            boots: 0,
            steps: 0,
        };
        month.start();
        month
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn start(&mut self) {
        self.ledger = None;
        // A program that another test has just started has this one's files, and so its lock, for a moment.
        let opened = (0..1000).find_map(|_| {
            let opened = Journal::open(&self.path());
            if opened.is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened.ok()
        });
        let (journal, book) = opened.unwrap();
        let clocks = Arc::clone(&self.clocks);
        let clock = move || {
            let [wall, boot, id] = [0, 1, 2].map(|at: usize| clocks[at].load(Ordering::Relaxed));
            Moment { wall, boot, id }
        };
        let caps = self.caps.clone();
        self.ledger =
            Some(Ledger::with(Some(journal), book, caps, zone(), Box::new(clock)).unwrap());
        self.look();
    }

    /// Whether a period is another one by now.
    fn look(&mut self) {
        let state = self.ledger.as_ref().unwrap().state();
        let periods = [state.accounts.book.day, state.accounts.book.month];
        drop(state);
        for (at, period) in periods.into_iter().enumerate() {
            let begins = |period: Option<book::Period>| period.map(|it| it.page);
            if begins(period) != begins(self.periods[at]) {
                self.seen.since[at] = 0;
            }
            self.periods[at] = period;
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.clocks[0].fetch_add(millis, Ordering::Relaxed);
        self.clocks[1].fetch_add(millis, Ordering::Relaxed);
    }

    /// Does something with the ledger; whether it was killed instead, at any byte that it wrote.
    fn act<T>(&mut self, act: impl Fn(&Ledger) -> T) -> Option<T> {
        let file = |month: &Self| {
            use std::os::unix::fs::MetadataExt as _;
            month.path().metadata().map(|it| (it.ino(), it.len())).unwrap()
        };
        let before = file(self);
        let done = act(self.ledger.as_ref().unwrap());
        let after = file(self);
        self.look();
        // Mostly where something was written.
        let one_in = if before == after { 3_000 } else { 40 };
        if self.is_spared || !self.chance.is(one_in) {
            return Some(done);
        }
        self.kills += 1;
        if before.0 == after.0 && after.1 > before.1 {
            let left = before.1 + self.chance.below(after.1 - before.1 + 1);
            OpenOptions::new().write(true).open(self.path()).unwrap().set_len(left).unwrap();
            self.torn += 1;
        }
        self.ledger = None;
        if self.chance.is(3) {
            // The machine is started anew; what was written is there, for it was flushed.
            self.boots += 1;
            let pause = self.chance.below(HOUR);
            self.pass(pause);
            self.clocks[1].store(5 * SECOND, Ordering::Relaxed);
            if self.clocks[2].load(Ordering::Relaxed) != 0 {
                self.clocks[2].fetch_add(1, Ordering::Relaxed);
            }
        } else if self.chance.is(3) {
            self.step();
        }
        self.start();
        None
    }

    /// The clock is set.
    fn step(&mut self) {
        self.steps += 1;
        let most = [90 * SECOND, 5 * HOUR, 3 * DAY, 40 * DAY][self.chance.below(4) as usize];
        let by = self.chance.below(most);
        let wall = self.clocks[0].load(Ordering::Relaxed);
        let wall = match self.chance.below(3) {
            0 => wall + by,
            1 => wall - by,
            // Right again.
            _ => self.now,
        };
        self.clocks[0].store(wall, Ordering::Relaxed);
    }

    /// Bytes go over the line.
    fn line(&mut self, bytes: u64) {
        let at = caps::at(self.clocks[0].load(Ordering::Relaxed), &zone());
        let (day, month) = pages(&at);
        for page in [day, month] {
            *self.seen.line.entry(page).or_default() += bytes;
        }
        self.seen.since.iter_mut().for_each(|since| *since += bytes);
        let caps = [self.caps.traffic.day, self.caps.traffic.month];
        for (at, page) in [day, month].into_iter().enumerate() {
            if let Some(cap) = caps[at] {
                let (line, since) = (self.seen.line[&page], self.seen.since[at]);
                assert!(line <= cap, "page {page}: {line} of {cap}");
                assert!(since <= cap, "since {page} began: {since} of {cap}");
            }
        }
    }

    /// One connection of a lease: asks, and reads so many bytes, or until it may no more.
    fn connection(&mut self, host: &str, bytes: u64) -> Option<()> {
        if self.act(|ledger| ledger.opens(host))?.is_err() {
            return Some(());
        }
        // Look-up, handshake, and the end.
        self.line(1200);
        let mut left = bytes;
        let (mut is_amid, mut is_first) = (false, true);
        while left > 0 {
            if is_first || self.chance.is(2000) {
                if self.act(|ledger| ledger.request(Some("operator"), host))?.is_err() {
                    break;
                }
                let now = self.now;
                self.seen.requests.push_back(now);
                while self.seen.requests.front().is_some_and(|at| at + HOUR <= now) {
                    self.seen.requests.pop_front();
                }
                if let Some(RequestCap(cap)) = self.caps.requests {
                    assert!(self.seen.requests.len() as u64 <= cap);
                }
            }
            let wanted = (1 + self.chance.below(64 * 1024)).min(left);
            let wanted = usize::try_from(wanted).unwrap();
            let allowed = match self.act(|ledger| ledger.allows(wanted))? {
                Ok(Allowed::Now(allowed)) => allowed,
                Ok(Allowed::After(time)) => {
                    self.pass(u64::try_from(time.as_millis()).unwrap().max(1));
                    continue;
                }
                Err(_) => {
                    is_amid = true;
                    break;
                }
            };
            let carried = 1 + self.chance.below(allowed as u64);
            // Headers as most lines have them.
            let packets = carried.div_ceil(1448);
            self.line(carried + packets * 66 + packets.div_ceil(2) * 66);
            let (sent, received) = if is_first { (carried, 0) } else { (0, carried) };
            is_first = false;
            let told = |ledger: &Ledger| {
                ledger.carried(
                    host,
                    allowed,
                    usize::try_from(sent).unwrap(),
                    usize::try_from(received).unwrap(),
                );
            };
            let of_host = self.seen.carried.entry(host.to_owned()).or_default();
            *of_host = (of_host.0 + sent, of_host.1 + received);
            self.act(told)?;
            left = left.saturating_sub(carried);
            if self.chance.is(50) {
                let pause = self.chance.below(3 * SECOND);
                self.pass(pause);
            }
            if self.chance.is(5000) {
                self.step();
            }
        }
        if is_amid {
            // What was on its way.
            self.line(64 * 1024);
        }
        self.act(|ledger| ledger.closes(host, 0, is_amid))
    }

    fn lease(&mut self, lease: u64) -> Option<()> {
        let host = format!("host{}.example", self.chance.below(40));
        let works = self.act(Ledger::allowance)?.works;
        let room = self.act(|ledger| ledger.lease_bytes(2))?;
        if !works || room.is_some_and(|room| room < caps::LEASE_MIN) {
            return Some(());
        }
        let most = [20_000, 400_000, 9_000_000][self.chance.below(3) as usize];
        let wanted = 1 + self.chance.below(most);
        let bytes = room.map_or(wanted, |room| wanted.min(room));
        if self.act(|ledger| ledger.reserve(lease, room.unwrap_or(bytes)))?.is_err() {
            return Some(());
        }
        // More than its share, now and then: the session takes its part, too.
        let more = if self.chance.is(10) { 3 } else { 1 };
        self.connection(&host, bytes * more)?;
        self.act(|ledger| ledger.release(lease, Some("operator"), &host, verdict(None)))
    }

    fn run(&mut self) {
        let mut lease = 0;
        while self.now < BEGINS + 31 * DAY {
            lease += 1;
            // A kill leaves it as it is.
            let _ = self.lease(lease);
            let pause = self.chance.below(30 * 60 * SECOND);
            self.pass(pause);
            let _ = self.act(Ledger::tick);
            if self.chance.is(400) {
                self.step();
            }
        }
    }

    /// What the ledger says of all hosts together, and of those that are real.
    fn booked(&self) -> (u64, BTreeMap<String, (u64, u64)>) {
        let state = self.ledger.as_ref().unwrap();
        let _ = state.sums();
        let text = std::fs::read_to_string(self.path()).unwrap();
        let (book, is_whole) = Book::read(&text);
        assert!(is_whole);
        let mut hosts = BTreeMap::new();
        let mut all = 0;
        for rows in book.pages.values() {
            for ((_, host), counts) in rows {
                all += counts.bytes();
                if host.ends_with(".example") {
                    let of_host: &mut (u64, u64) = hosts.entry(host.clone()).or_default();
                    *of_host = (of_host.0 + counts.sent, of_host.1 + counts.received);
                }
            }
        }
        (all, hosts)
    }
}

fn caps(traffic: &str, requests: &str) -> Caps {
    Caps { traffic: traffic.parse().unwrap(), requests: requests.parse().ok(), ..Caps::default() }
}

#[test]
fn no_cap_is_passed_in_a_month() {
    for seed in 1..=6 {
        let id = if seed == 6 { 0 } else { 7 };
        let mut month = Month::new(seed, caps("40MB/day,700MB/month", "60/h"), id);
        month.run();
        let line: u64 = month
            .seen
            .line
            .iter()
            .filter(|(page, _)| **page > 1_000_000)
            .map(|(_, bytes)| bytes)
            .sum();
        let (booked, _) = month.booked();
        println!(
            "seed {seed}: {} MB over the line, {} MB booked; {} kills, {} of them in a write, {} times \
             the machine was started anew, {} times its clock was set",
            line / 1_000_000,
            booked / 1_000_000,
            month.kills,
            month.torn,
            month.boots,
            month.steps
        );
        assert!(month.boots > 5 && month.steps > 5, "{} {}", month.boots, month.steps);
        assert!(month.kills > 20 && month.torn > 10, "{} {}", month.kills, month.torn);
        // Caps that let nothing through would hold, too.
        assert!(line > 300_000_000, "{line}");
        assert!(booked >= line, "{booked} booked, {line} carried");
    }
}

#[test]
fn without_a_kill_the_ledger_is_what_was_carried() {
    let mut month = Month::new(9, Caps::default(), 7);
    month.is_spared = true;
    for lease in 0..200 {
        month.lease(lease);
        month.pass(HOUR);
    }
    let (_, hosts) = month.booked();
    assert_eq!(hosts, month.seen.carried);
    assert!(hosts.len() > 10);
}

#[test]
fn a_clock_that_is_set_renews_nothing_and_time_that_passes_does() {
    let mut month = Month::new(1, caps("10MB/day", ""), 7);
    let left = |month: &Month| {
        let state = month.ledger.as_ref().unwrap().state();
        state.accounts.caps().left(&state.accounts.used()).unwrap()
    };
    month.chance = Chance(u64::MAX);
    let ledger = month.ledger.as_ref().unwrap();
    while let Ok(Allowed::Now(allowed)) = ledger.allows(10_000) {
        ledger.carried("a.example", allowed, 0, allowed);
    }
    let none = left(&month);
    assert!(none < 2_000, "{none}");
    let by = |month: &Month, millis: i64| {
        month.clocks[0].fetch_add(millis.cast_unsigned(), Ordering::Relaxed);
    };
    let day = DAY.cast_signed();
    for step in [day, -2 * day, 40 * day, -39 * day] {
        by(&month, step);
        assert!(left(&month) <= none, "after {step}");
        // Nor after another start.
        month.start();
        assert!(left(&month) <= none, "after {step} and a start");
    }
    month.pass(DAY + HOUR);
    assert!(left(&month) > 9_000_000);
}

#[test]
fn what_cant_be_written_stops_what_is_capped() {
    let month = Month::new(1, caps("10MB/day", ""), 7);
    let ledger = month.ledger.as_ref().unwrap();
    // The file is only read from here on.
    let broken = File::open(month.path()).unwrap();
    ledger.state.lock().unwrap().journal.as_mut().unwrap().file = broken;
    let mut carried = 0;
    let why = loop {
        match ledger.allows(10_000) {
            Ok(Allowed::Now(allowed)) => {
                ledger.carried("a.example", allowed, 0, allowed);
                carried += allowed;
            }
            Ok(Allowed::After(_)) => {}
            Err(cause) => break cause.to_string(),
        }
    };
    assert_eq!(why, "its caps can't be kept while the ledger can't be written");
    assert!(carried < 300_000, "{carried}");
    // It is written anew, whole, and all goes on.
    assert!(ledger.allows(10_000).is_ok());
    let second = Ledger::open(&month.path(), Caps::default());
    assert_eq!(second.unwrap_err().to_string(), "another canister-agent has it open");
}
