//! Whom the network believes: peers that lie about some sources, among others that don't, over
//! simulated time. Everything but the peers' reading is the store's own.

#![expect(clippy::print_stdout, reason = "measured figures are worth seeing")]

use super::*;
use canister_arbiter::rules::trust::{AuditTerms, LeaseKind, PeerTrust};
use canister_protocol::Rows;
use canister_protocol::audit::AuditedRows;
use canister_protocol::row::MAPPING;
use sha2::{Digest as _, Sha256};

/// What a peer does instead of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Rows with other files, under the true head.
    FalseRows,
    /// A third of the rows is missing.
    LeftOut,
    /// Rows that are gone stay.
    Kept,
    /// Heads that there never were, over false rows.
    FalseHead,
    /// Nothing ever changes.
    Unchanged,
    /// One row is said to be gone that isn't.
    FalseDropped,
    /// The true rows of another index than Release lists.
    FalseDigest,
}

const LIES: [Lie; 7] = [
    Lie::FalseRows,
    Lie::LeftOut,
    Lie::Kept,
    Lie::FalseHead,
    Lie::Unchanged,
    Lie::FalseDropped,
    Lie::FalseDigest,
];

/// How a source changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    /// Once in so many hours, as chance has it.
    Within(usize),
    /// Release alone, whenever it is asked for.
    ReleaseAlways,
    /// Two servers of it have two states, and answer in turn.
    TwoStates,
    /// Two stanzas of it have one id, and their order changes.
    Doubles,
}

struct SimSource {
    slug: String,
    changes: Changes,
    /// Counts its states.
    state: u64,
    asked: u64,
}

struct SimPeer {
    name: &'static str,
    address: &'static str,
    mapping: u32,
    lie: Option<Lie>,
    /// Confirms whatever there is of others that lie.
    is_accomplice: bool,
}

fn honest(name: &'static str, address: &'static str) -> SimPeer {
    SimPeer { name, address, mapping: MAPPING, lie: None, is_accomplice: false }
}

struct World {
    fresh: Fresh,
    terms: Terms,
    sources: Vec<SimSource>,
    peers: Vec<SimPeer>,
    random: Random,
    secs: u64,
    requests: u64,
    audits: HashMap<&'static str, u64>,
    suspended: BTreeMap<String, (u64, String)>,
}

/// What is at a source: its origin and its rows, in their order.
fn truth(slug: &str, changes: Changes, state: u64, asked: u64) -> (Origin, Vec<PackageRow>) {
    let rows_state = match changes {
        Changes::ReleaseAlways => 0,
        Changes::TwoStates => asked % 2,
        _ => state,
    };
    let mut rows: Vec<PackageRow> = (0..9)
        .map(|number| {
            // Three of them change with each state, and one comes and goes.
            let version = if number < 3 { format!("{}", 1 + rows_state) } else { "1".into() };
            let mut row = package(&format!("{slug}.p{number}"), &version, "True");
            row.package_filename = format!("{slug}/p{number}_{version}.deb");
            row
        })
        .collect();
    if changes == Changes::Doubles {
        let other = PackageRow { name: Some("Other".into()), ..rows[8].clone() };
        // The catalogue has whichever was there first.
        match rows_state % 3 {
            0 => {}
            1 => rows.insert(0, other),
            _ => rows.push(other),
        }
    }
    let hash = |what: &str, state: u64| -> [u8; 32] {
        Sha256::digest(format!("{what} {slug} {state}")).into()
    };
    let head_state = if changes == Changes::ReleaseAlways { asked } else { rows_state };
    let hex: String = hash("index", rows_state).iter().map(|byte| format!("{byte:02x}")).collect();
    let origin = Origin {
        head: Head::from_sha256(hash("head", head_state)).to_string(),
        release_path: "InRelease".into(),
        etag: None,
        last_modified: None,
        index_path: "Packages.xz".into(),
        index_digest: format!("sha256:{hex}"),
    };
    (origin, rows)
}

impl World {
    fn new(kind: Kind, changes: &[Changes], peers: Vec<SimPeer>, seed: u64) -> Self {
        let slugs: Vec<String> = (0..changes.len()).map(|number| format!("s{number}")).collect();
        let fresh = Fresh::with(kind, &slugs.iter().map(String::as_str).collect::<Vec<_>>());
        fresh.sql_do(&format!("UPDATE feed SET seed = {seed}"));
        let sources = slugs.into_iter().zip(changes).map(|(slug, &changes)| SimSource {
            slug,
            changes,
            state: 1,
            asked: 0,
        });
        let mut world = Self {
            fresh,
            terms: Terms { brake: Brake::default(), ..terms() },
            sources: sources.collect(),
            peers,
            random: Random(seed | 1),
            secs: 0,
            requests: 0,
            audits: HashMap::new(),
            suspended: BTreeMap::new(),
        };
        let now = world.now();
        world.fresh.store.beat("127.0.0.1:1", "tested", now).unwrap();
        for peer in &world.peers {
            let store = &mut world.fresh.store;
            let program = PeerProgram { mapping: Some(peer.mapping), ..program("") };
            store.greet(peer.name, &program, &[], now, &world.terms).unwrap();
            store.session(peer.name, &acts::here(peer.address, 1), now).unwrap();
        }
        world
    }

    fn now(&self) -> Timestamp {
        at(self.secs)
    }

    /// A step of so many seconds: what is due is granted and done.
    fn step(&mut self, secs: u64) {
        self.secs += secs;
        for source in &mut self.sources {
            if let Changes::Within(hours) = source.changes
                && (self.random.below(hours * 3600) as u64) < secs
            {
                source.state += 1;
            } else if source.changes == Changes::Doubles
                && self.random.below(7 * 3600) < secs as usize
            {
                source.state += 1;
            }
        }
        loop {
            let mut granted = 0;
            let first = self.random.below(self.peers.len());
            for number in 0..self.peers.len() {
                let number = (first + number) % self.peers.len();
                let (name, now) = (self.peers[number].name, self.now());
                for grant in self.fresh.store.claim(name, 1, now, &self.terms).unwrap() {
                    granted += 1;
                    self.work(number, &grant);
                }
            }
            if granted == 0 {
                return;
            }
        }
    }

    fn work(&mut self, number: usize, grant: &Grant) {
        let now = self.now();
        let peer = &self.peers[number];
        let (name, lie) = (peer.name, peer.lie);
        let source =
            self.sources.iter_mut().find(|source| source.slug == grant.source.slug).unwrap();
        source.asked += 1;
        let (slug, changes) = (source.slug.clone(), source.changes);
        let (origin, mut rows) = truth(&slug, changes, source.state, source.asked);
        if peer.mapping != MAPPING {
            // It makes other rows of the same stanzas.
            rows.iter_mut().for_each(|row| row.section = Some("Mapped".into()));
        }
        assert!(grant.kind == LeaseKind::Index || grant.origin.is_none());
        let cost = |requests| Cost { requests, ..cost() };
        let (outcome, requests) = if grant.kind == LeaseKind::Audit {
            let mut audited = AuditedRows::default();
            let shown = if peer.is_accomplice { self.fresh.live(&slug) } else { None };
            let mut origin = origin;
            match shown {
                // Whatever there is, it says.
                Some((rows, remembered)) => {
                    origin = remembered;
                    rows.into_iter().for_each(|(id, digest)| {
                        audited.add(id, digest);
                    });
                }
                None => {
                    for row in &rows {
                        let id = row.id_number(&slug, &mut Vec::new());
                        audited.add(id, digest(row));
                    }
                }
            }
            let (doubles, commitment) = audited.end();
            let counts = Counted { packages: rows.len() as u64, ..Counted::default() };
            (Outcome::Audited { origin, counts, doubles, commitment }, 2)
        } else {
            let (origin, rows) = match lie {
                Some(lie) => self.fresh.lied(lie, grant, &slug, origin, rows, &mut self.random),
                None => (origin, rows),
            };
            let was = grant.origin.as_ref();
            let is_unchanged = lie.is_none_or(|lie| lie == Lie::Unchanged);
            if is_unchanged && was.is_some_and(|was| was.index_digest == origin.index_digest) {
                (Outcome::Unchanged { origin, facts: None }, 1)
            } else {
                let rows = once(&rows);
                let known: BTreeSet<Digest> = self.fresh.known(grant, name, now);
                let new: Vec<PackageRow> =
                    rows.iter().filter(|row| !known.contains(&digest(row))).cloned().collect();
                let there: BTreeSet<Digest> = rows.iter().map(digest).collect();
                let gone: Vec<Digest> = known.difference(&there).copied().collect();
                let store = &mut self.fresh.store;
                store.put(name, grant.token, &Rows::of(&new), now).unwrap();
                store.dropped(name, grant.token, &gone, now).unwrap();
                let counts = Counted {
                    packages: rows.len() as u64,
                    put: new.len() as u64,
                    dropped: gone.len() as u64,
                    ..Counted::default()
                };
                (Outcome::Indexed { origin, facts: Facts::default(), counts }, 2)
            }
        };
        self.requests += requests;
        let store = &mut self.fresh.store;
        let finished = store.finish(name, grant.token, &outcome, &cost(requests), now, &self.terms);
        let finished = finished.unwrap();
        if let Some(came) = finished.comparison {
            *self.audits.entry(came.word()).or_default() += 1;
        }
        for (peer, why) in finished.suspended {
            self.suspended.entry(peer).or_insert((self.secs, why));
        }
    }

    /// Sources that the catalogue has otherwise than they are.
    fn wrong(&self) -> Vec<String> {
        let wrong = self.sources.iter().filter(|source| {
            let (_, rows) = truth(&source.slug, source.changes, source.state, source.asked);
            let rows: BTreeSet<String> = rows
                .iter()
                .map(|row| shown(&row.package_id, &row.version, &row.package_filename))
                .collect();
            let sql = format!(
                "SELECT package_id || ' ' || version || ' ' || package_filename FROM package
                 WHERE repository_id = '{}' AND visible",
                source.slug
            );
            let there: BTreeSet<String> = self.fresh.column(&sql).into_iter().collect();
            rows != there
        });
        wrong.map(|source| source.slug.clone()).collect()
    }
}

fn shown(package: &str, version: &str, filename: &str) -> String {
    format!("{package} {version} {filename}")
}

/// Rows without repetitions of one.
fn once(rows: &[PackageRow]) -> Vec<PackageRow> {
    let mut seen = BTreeSet::new();
    rows.iter().filter(|row| seen.insert(digest(row))).cloned().collect()
}

impl Fresh {
    /// The rows that the catalogue has of a source, and what it remembers of it; for a peer that can
    /// somehow look into it.
    fn live(&mut self, slug: &str) -> Option<(Vec<(u128, Digest)>, Origin)> {
        let sql = format!(
            "SELECT id || ' ' || {} FROM package WHERE repository_id = '{slug}' AND left_at IS NULL",
            match self.place.kind() {
                Kind::Sqlite => "lower(hex(digest))",
                Kind::Postgres => "encode(digest, 'hex')",
            }
        );
        let rows = self.column(&sql).into_iter().map(|row| {
            let (id, digest) = row.split_once(' ').unwrap();
            const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
            let id = id
                .chars()
                .fold(0, |number: u128, digit| number << 5 | DIGITS.find(digit).unwrap() as u128);
            (id, Digest::split(digest).unwrap()[0])
        });
        let rows = rows.collect();
        Some((rows, self.store.source(slug).unwrap()?.origin?))
    }

    /// What a peer that lies says it read.
    fn lied(
        &self,
        lie: Lie,
        grant: &Grant,
        slug: &str,
        mut origin: Origin,
        mut rows: Vec<PackageRow>,
        random: &mut Random,
    ) -> (Origin, Vec<PackageRow>) {
        match lie {
            Lie::FalseRows => {
                rows.iter_mut().for_each(|row| row.package_filename = "evil.deb".into())
            }
            Lie::LeftOut => rows.truncate(6),
            Lie::Kept => {
                // What there was before, in other versions.
                for number in 0..3 {
                    rows.push(package(&format!("{slug}.p{number}"), "0.1", "Old"));
                }
            }
            Lie::FalseHead => {
                let number = random.below(1 << 40) as u64;
                (origin, _) = truth("false", Changes::Within(1), number, 0);
                rows.iter_mut().for_each(|row| row.package_filename = "evil.deb".into());
            }
            Lie::Unchanged => {
                if let Some(was) = &grant.origin {
                    origin = was.clone();
                }
            }
            Lie::FalseDropped => {
                rows.remove(5);
            }
            Lie::FalseDigest => origin.index_digest = format!("sha256:{:064x}", 7),
        }
        (origin, rows)
    }
}

/// Sources that change, and some that never do.
fn usual() -> Vec<Changes> {
    (0..12).map(|number| Changes::Within(if number < 6 { 12 } else { 48 })).collect()
}

const LIAR: &str = "198.51.100.7:1";

fn liar(name: &'static str, address: &'static str, lie: Lie, is_accomplice: bool) -> SimPeer {
    SimPeer { lie: Some(lie), is_accomplice, ..honest(name, address) }
}

fn honest_three() -> Vec<SimPeer> {
    vec![
        honest("anna", "192.0.2.1:1"),
        honest("ben", "203.0.113.1:1"),
        honest("carl", "[2001:db8::1]:1"),
    ]
}

/// Each lie is found, its peer is out, its rows are gone and the true ones are back; and nobody else
/// is out.
fn every_lie_is_found(kind: Kind) {
    for (number, lie) in LIES.into_iter().enumerate() {
        for with_accomplice in [false, true] {
            let mut peers = honest_three();
            peers.push(liar("liar", LIAR, lie, with_accomplice));
            if with_accomplice {
                peers.push(liar("mate", "198.51.100.9:1", lie, true));
            }
            let mut world = World::new(kind, &usual(), peers, 77 + number as u64);
            // One store shows how long it takes by default; the other, that it does the same.
            let step = match kind {
                Kind::Sqlite => 600,
                Kind::Postgres => {
                    world.terms.audits.share = 25;
                    world.sources.iter_mut().for_each(|it| it.changes = Changes::Within(3));
                    1800
                }
            };
            let liars: &[&str] = if with_accomplice { &["liar", "mate"] } else { &["liar"] };
            let is_out = |world: &World| liars.iter().all(|it| world.suspended.contains_key(*it));
            // At most two months.
            while !is_out(&world) && world.secs < 60 * 86_400 {
                world.step(step);
            }
            let found = world.secs;
            assert!(
                is_out(&world),
                "{lie:?} {with_accomplice}: {:?} {:?}",
                world.suspended,
                world.audits
            );
            // Until all that they published was read again, and once more.
            for _ in 0..30 {
                world.step(step);
            }
            let polls = world.sources.len() as u64 * (world.secs / 3600);
            println!(
                "{kind:?} {lie:?}, accomplice {with_accomplice}: all out after {:.1} h; {} requests, which is {} \
                 more than one an hour and source; {:?}; {:?}",
                found as f64 / 3600.0,
                world.requests,
                world.requests.saturating_sub(polls),
                world.audits,
                world.suspended
            );
            let out: Vec<&str> = world.suspended.keys().map(String::as_str).collect();
            assert_eq!(out, liars, "{lie:?} {with_accomplice}");
            // What changed since its last poll may be another.
            let wrong = world.wrong();
            let evil = world.fresh.column(
                "SELECT repository_id FROM package WHERE visible
                 AND (package_filename = 'evil.deb' OR version = '0.1')",
            );
            assert!(evil.is_empty(), "{lie:?} {with_accomplice}: {evil:?}");
            assert!(wrong.len() <= 4, "{lie:?} {with_accomplice}: {wrong:?}");
            world.fresh.check_laws();
        }
    }
}
both!(every_lie_is_found);

/// With 2 % and 462 sources an hour: how long one stays in that lies about everything from some moment on,
/// beside what is to be expected of that.
#[test]
fn a_lie_among_462_sources_is_found_when_it_is_to_be_expected() {
    const SEEDS: u64 = 2;
    /// In so many hours a source changes.
    const HOURS: usize = 6;
    const STEP: u64 = 600;
    let published = |world: &World| -> f64 {
        let count = "SELECT CAST(count(*) AS text) FROM publication WHERE peer = 'liar'";
        world.fresh.column(count)[0].parse().unwrap()
    };
    let (mut expected, mut measured) = (0.0, 0.0);
    for seed in 1..=SEEDS {
        let mut peers = honest_three();
        peers.push(honest("liar", LIAR));
        let mut world =
            World::new(Kind::Sqlite, &[Changes::Within(HOURS); 462], peers, 1000 + seed);
        // The audit that it gets once a day is over.
        while world.secs < 2 * 3600 {
            world.step(STEP);
        }
        let (since, before) = (world.secs, published(&world));
        world.peers[3].lie = Some(Lie::FalseRows);
        while !world.suspended.contains_key("liar") {
            world.step(STEP);
            assert!(world.secs < 3 * 86_400, "seed {seed}: {:?}", world.audits);
        }
        let hours = (world.secs - since) as f64 / 3600.0;
        let an_hour = (published(&world) - before) / hours;
        // Of so many one is drawn, and read again at the source's next poll, if it is still the same.
        let of = 100.0 / f64::from(world.terms.audits.share);
        let still = (1.0 - STEP as f64 / (HOURS as f64 * 3600.0)).powi(3600 / STEP as i32);
        let this = of / still / an_hour + 1.0;
        println!(
            "seed {seed}: found {hours:.1} h after the first lie, of {an_hour:.0} an hour; expected {this:.1} \
             h; {:?}",
            world.audits
        );
        expected += this;
        measured += hours;
        assert_eq!(world.suspended.len(), 1, "{:?}", world.suspended);
    }
    assert!(measured < 3.0 * expected, "{measured:.1} h in all, {expected:.1} h were expected");
}

/// Parsers of two versions, a source that changes between the reads, a Release that is another each
/// time, a mirror of two states, stanzas with one id: nobody is out by that.
fn honest_peers_are_never_suspended(kind: Kind) {
    let mut peers = honest_three();
    peers.push(SimPeer { mapping: MAPPING + 1, ..honest("dora", "192.0.2.9:1") });
    let changes = [
        Changes::Within(1),
        Changes::Within(2),
        Changes::Within(24),
        Changes::ReleaseAlways,
        Changes::TwoStates,
        Changes::TwoStates,
        Changes::TwoStates,
        Changes::Doubles,
    ];
    let mut world = World::new(kind, &changes, peers, 4711);
    world.terms.audits = AuditTerms { share: 20, ..AuditTerms::default() };
    let hours = if kind == Kind::Sqlite { 1000 } else { 100 };
    while world.secs < hours * 3600 {
        world.step(1200);
    }
    println!("{hours} h: {} requests, {:?}", world.requests, world.audits);
    assert_eq!(world.suspended, BTreeMap::new());
    assert!(world.audits["confirmed"] > 5, "{:?}", world.audits);
    assert_eq!(world.audits.get("disputed"), None);
}
both!(honest_peers_are_never_suspended);

/// While none is proven, whoever comes first is believed; then a new one publishes nothing until ten of
/// its audits were confirmed, unless the operator trusts it. What the operator says is remembered of a
/// peer that was never here.
fn a_new_peer_proves_itself_by_audits(kind: Kind) {
    let changes = [Changes::Within(96); 6];
    let mut world = World::new(kind, &changes, honest_three(), 3);
    world.terms.audits = AuditTerms { share: 100, ..AuditTerms::default() };
    let trust = |world: &mut World, name: &str| {
        let peers = world.fresh.store.peers().unwrap();
        peers.into_iter().find(|peer| peer.name == name).map(|peer| peer.trust)
    };
    assert_eq!(trust(&mut world, "anna"), Some(PeerTrust::First));
    while trust(&mut world, "anna") != Some(PeerTrust::Proven) {
        world.step(1200);
        assert!(world.secs < 60 * 86_400, "nobody is proven: {:?}", world.audits);
    }
    let now = world.now();
    let said = |world: &mut World, said: Decided, now: Timestamp| {
        acts::decide(&mut world.fresh.store, said, now).unwrap();
    };
    said(&mut world, Decided::Trust("friend".into()), now);
    for peer in [honest("newcomer", "198.51.100.1:1"), honest("friend", "198.51.101.1:1")] {
        world.fresh.store.greet(peer.name, &program(""), &[], now, &world.terms).unwrap();
        let mapped = PeerProgram { mapping: Some(MAPPING), ..program("") };
        world.fresh.store.greet(peer.name, &mapped, &[], now, &world.terms).unwrap();
        world.fresh.store.session(peer.name, &acts::here(peer.address, 1), now).unwrap();
        world.peers.push(peer);
    }
    assert_eq!(trust(&mut world, "friend"), Some(PeerTrust::Proven));
    assert_eq!(trust(&mut world, "newcomer"), Some(PeerTrust::Probation));
    let by = |world: &World| {
        world.fresh.column("SELECT CAST(count(*) AS text) FROM publication WHERE peer = 'newcomer'")
    };
    while trust(&mut world, "newcomer") == Some(PeerTrust::Probation) {
        assert_eq!(by(&world), ["0"]);
        world.step(1200);
        assert!(world.secs < 120 * 86_400, "it is never proven: {:?}", world.audits);
    }
    assert_eq!(trust(&mut world, "newcomer"), Some(PeerTrust::Proven));
    // Suspended, it is given nothing, and trusted again it is.
    let now = world.now();
    said(&mut world, Decided::Suspend("newcomer".into()), now);
    world.fresh.sync(None, now);
    let terms = world.terms.clone();
    assert_eq!(world.fresh.store.claim("newcomer", 1, now, &terms).unwrap(), []);
    said(&mut world, Decided::Trust("newcomer".into()), now);
    assert_eq!(trust(&mut world, "newcomer"), Some(PeerTrust::Proven));
    assert_eq!(world.suspended, BTreeMap::new());
}
both!(a_new_peer_proves_itself_by_audits);

/// While nobody is here who could decide it, a dispute says that it waits.
fn a_dispute_without_a_third_peer_waits(kind: Kind) {
    let two = vec![honest("anna", "192.0.2.1:1"), liar("liar", LIAR, Lie::FalseRows, false)];
    let mut world = World::new(kind, &[Changes::Within(960); 4], two, 5);
    world.terms.audits = AuditTerms { share: 100, ..AuditTerms::default() };
    let open = |world: &mut World| {
        let now = world.now();
        world.fresh.store.disputes(None, 9, now).unwrap()
    };
    while open(&mut world).is_empty() {
        world.step(600);
        assert!(world.secs < 10 * 86_400, "{:?}", world.audits);
    }
    world.step(7200);
    let waiting = open(&mut world);
    assert!(waiting.iter().all(|it| it.is_waiting && it.ruling.is_none()), "{waiting:?}");
    assert_eq!(world.suspended, BTreeMap::new());
    // The third is here.
    let (third, now) = (honest("carl", "203.0.113.1:1"), world.now());
    let mapped = PeerProgram { mapping: Some(MAPPING), ..program("") };
    world.fresh.store.greet(third.name, &mapped, &[], now, &world.terms).unwrap();
    world.fresh.store.session(third.name, &acts::here(third.address, 1), now).unwrap();
    world.peers.push(third);
    assert!(open(&mut world).iter().all(|it| !it.is_waiting));
    while !open(&mut world).is_empty() {
        world.step(600);
        assert!(world.secs < 20 * 86_400, "{:?}", world.audits);
    }
    assert_eq!(world.suspended.keys().collect::<Vec<_>>(), ["liar"]);
    let (slug, now) = (waiting[0].slug.clone(), world.now());
    let closed = &world.fresh.store.disputes(Some(&slug), 9, now).unwrap();
    let ours = closed.iter().find(|it| it.number == waiting[0].number).unwrap();
    assert!(!ours.is_waiting && ours.closed_at.is_some());
    let readers: Vec<&str> = ours.readings.iter().map(|it| &*it.peer).collect();
    assert_eq!(readers.last(), Some(&"carl"), "{readers:?}");
    assert!(ours.evidence.iter().any(|row| row.had && row.package_filename == "evil.deb"));
}
both!(a_dispute_without_a_third_peer_waits);

/// What an earlier version published is answered for by who did, and who did is proven; who comes after is
/// not.
fn who_published_before_this_version_is_proven(kind: Kind) {
    let (texts, no) = match kind {
        Kind::Sqlite => ("'[]'", "0"),
        Kind::Postgres => ("'{}'", "false"),
    };
    let head = Head::from_sha256([7; 32]);
    let mut fresh = rules::before(kind, &format!(
        "INSERT INTO source (slug, uri, suite, ranking, aliases, bootstrap, headers, operator, listed,
             due_at, announced, failures, standing, stood_at, origin_head, origin_release_path,
             origin_index_path, origin_index_digest)
         VALUES ('a', 'https://a.example', './', 3, {texts}, {no}, {texts}, '', NOT {no}, 0, {no}, 0,
             'active', 0, '{head}', 'InRelease', 'Packages', 'sha256:00');
         INSERT INTO peer (name, agent, first_seen, last_seen, finished) VALUES
             ('anna', '', 0, 0, 3), ('ben', '', 0, 0, 0);
         INSERT INTO attempt (slug, token, peer, started, ended, verdict, requests, bytes_fetched,
             bytes_plain, millis, packages, put, dropped, skipped)
         VALUES ('a', 5, 'anna', 1000, 2000, 'indexed', 2, 9, 9, 1000, 4, 4, 0, 0);"
    ));
    let state = fresh.state("a");
    assert_eq!((state.publication, state.checks.rows_from), (Some(5), Some(5)));
    assert_eq!(state.checks.vouched_by.as_deref(), Some("anna"));
    let made = &fresh.store.publications(Some("a"), 9).unwrap()[..];
    assert_eq!((made.len(), &*made[0].peer, made[0].packages), (1, "anna", 4));
    fresh.store.greet("new", &program(""), &[], at(0), &terms()).unwrap();
    let trust: Vec<(String, PeerTrust)> =
        fresh.store.peers().unwrap().into_iter().map(|peer| (peer.name, peer.trust)).collect();
    let is = |name: &str, trust| (name.to_owned(), trust);
    assert_eq!(
        trust,
        [
            is("anna", PeerTrust::Proven),
            is("ben", PeerTrust::First),
            is("new", PeerTrust::Probation)
        ]
    );
}
both!(who_published_before_this_version_is_proven);
