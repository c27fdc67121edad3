//! Two acts at once on what is in force: whatever comes between, the end is that of one order or of
//! the other. Hubs without listeners, each with its lists and its configuration file: one on a SQLite
//! file, one on a PostgreSQL database with its several connections, two on one database.
//!
//! A failure prints its seed; `SEED=7 cargo test -p canister-tests settle::` runs that one alone.

use canister_arbiter::config::ArbiterConfig;
use canister_arbiter::deeds::lists::Lists;
use canister_arbiter::deeds::settle::{learn, reload, settle};
use canister_arbiter::hub::Hub;
use canister_arbiter::hub::store_thread::StoreThread;
use canister_arbiter::rules::changes::Act;
use canister_arbiter::rules::decision::Decided;
use canister_arbiter::rules::policy::{Policy, PolicySettings};
use canister_arbiter::rules::timestamp::Timestamp;
use canister_arbiter::store::{Discovered, Postgres, Settled, Sqlite, Store, StoreError, Terms};
use canister_link::clock;
use canister_link::settings::Given;
use canister_protocol::message::{Cost, Counts, Facts, Origin as From, Outcome};
use canister_protocol::{Head, PackageRow, Rows, Source};
use canister_tests::network::{flat, list};
use canister_tests::origin::Origin;
use canister_tests::postgres::{Cluster, Database};
use canister_tests::programs::until;
use canister_tests::random::Random;
use smol::Timer;
use std::cell::LazyCell;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Barrier;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often each pair is tried.
const SEEDS: u64 = 2;
/// How late an act, or a list, may come.
const LATE_MAX_MICROS: usize = 4_000;

/// What an operator, or the clock, may do. Those on one source are on the source `b`, which a peer
/// holds; `announced` was found by an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Refresh,
    Reload,
    Block,
    Allow,
    Delist,
    Approve,
    AcceptPolicy,
    AcceptList,
    Sync,
}

const ALL: [Does; 9] = [
    Does::Refresh,
    Does::Reload,
    Does::Block,
    Does::Allow,
    Does::Delist,
    Does::Approve,
    Does::AcceptPolicy,
    Does::AcceptList,
    Does::Sync,
];

impl Does {
    /// Does it, and says what came of it.
    async fn act(self, arbiter: &Arbiter) -> String {
        let decided = |said| async {
            let (by, why) = (format!("{self:?}"), "why".to_owned());
            outcome(settle(&arbiter.hub, Act::Decided { said, by, why }).await)
        };
        let entry = || "slug:b".parse().unwrap();
        match self {
            Self::Refresh => format!("{:?}", arbiter.lists.again().await.is_ok()),
            Self::Reload => {
                let given = arbiter.lists.config.given.clone();
                format!("{:?}", reload(&arbiter.hub, given, false).await.is_ok())
            }
            Self::Block => decided(Decided::Block(entry())).await,
            Self::Allow => decided(Decided::Allow(entry())).await,
            Self::Delist => decided(Decided::Delist("b".to_owned())).await,
            Self::Approve => decided(Decided::Approve("announced".to_owned())).await,
            Self::AcceptPolicy => decided(Decided::Accept(1)).await,
            // The reading that follows it is an act of its own.
            Self::AcceptList => decided(Decided::Accept(2)).await,
            Self::Sync => {
                let (source, by) = (Some("b".to_owned()), "sync".to_owned());
                outcome(settle(&arbiter.hub, Act::Synced { source, by }).await)
            }
        }
    }
}

/// Whether an act was done; what it made due depends on the order, and is seen in the store.
fn outcome(settled: Result<Settled, StoreError>) -> String {
    match settled {
        Ok(_) => "done".to_owned(),
        Err(cause @ StoreError::Refused { .. }) => cause.to_string(),
        Err(cause) => panic!("{cause}"),
    }
}

/// An arbiter without doors.
struct Arbiter {
    hub: Rc<Hub>,
    lists: Rc<Lists>,
    threads: Vec<JoinHandle<()>>,
}

impl Arbiter {
    /// One that started by the first configuration; what it reads is the second.
    fn start(stores: Vec<Store>, config: &Path) -> Self {
        let (store, threads) = StoreThread::start(stores).unwrap();
        let flags = vec![("config", config.display().to_string())];
        let given = Given { flags, ..Given::default() };
        let config = ArbiterConfig::read(&given).unwrap();
        let hub = Hub::new(store, before(), config.terms.clone(), None);
        let lists = Lists::new(Rc::clone(&hub), config);
        smol::block_on(learn(&hub));
        Self { hub, lists, threads }
    }

    /// Stops it: another can open its store then.
    fn stop(self) {
        self.hub.store.close();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn run<T>(&self, what: impl Future<Output = T>) -> T {
        smol::block_on(self.hub.executor().run(what))
    }
}

/// The settings of the first configuration: they would hide `large`, which is held.
fn before() -> PolicySettings {
    PolicySettings { except: vec!["slug:large".parse().unwrap()], ..PolicySettings::default() }
}

fn now() -> Timestamp {
    Timestamp::from_millis(clock::wall_millis())
}

fn source(slug: &str) -> Source {
    flat(slug, &format!("https://{slug}.example"))
}

fn sources(slugs: &[&str]) -> Vec<Source> {
    slugs.iter().map(|slug| source(slug)).collect()
}

/// The store as each run finds it. Held are 1, the policy that hides `large`, and 2, the source list
/// that names `other` no more; `dead` is delisted.
fn prepare(store: &mut Store) {
    let mut terms = Terms::default();
    terms.politeness.pause = Duration::ZERO;
    let listed = |slugs: &[&str]| Act::Listed {
        sources: Some(sources(slugs)),
        blocked_hosts: Some([].into()),
    };
    let whole = listed(&["b", "c", "dead", "large", "other"]);
    store.settle(&whole, &PolicySettings::default(), &terms, now()).unwrap();
    while let Some(grant) = store.claim("p1", 1, now(), &terms).unwrap().pop() {
        let count = if ["large", "other"].contains(&&*grant.source.slug) { 60 } else { 1 };
        index(store, grant.token, count, &terms);
    }
    let found = store.discover(&source("announced"), "somebody", false, now()).unwrap();
    assert_eq!(found, Discovered::As("announced".to_owned()));
    let grant = store.claim("p1", 1, now(), &terms).unwrap().pop().unwrap();
    index(store, grant.token, 1, &terms);
    let (by, why) = ("root".to_owned(), String::new());
    let delist = Act::Decided { said: Decided::Delist("dead".to_owned()), by, why };
    for act in [&delist, &Act::Configured, &listed(&["b", "c", "dead", "large"])] {
        store.settle(act, &before(), &terms, now()).unwrap();
    }
    let held: Vec<u64> = store.held().unwrap().iter().map(|change| change.number).collect();
    assert_eq!(held, [1, 2]);
    let sync = Act::Synced { source: Some("b".to_owned()), by: "root".to_owned() };
    store.settle(&sync, &before(), &terms, now()).unwrap();
    assert_eq!(store.claim("p1", 1, now(), &terms).unwrap().len(), 1);
}

fn index(store: &mut Store, token: u64, count: u64, terms: &Terms) {
    let row = |number: u64| PackageRow {
        package_id: format!("p{number}"),
        version: "1".into(),
        architecture: "all".into(),
        package_filename: "p.deb".into(),
        price: "Free".into(),
        ..PackageRow::default()
    };
    let rows: Vec<PackageRow> = (0..count).map(row).collect();
    store.put("p1", token, &Rows::of(&rows), now()).unwrap();
    let origin = From {
        head: Head::from_sha256([1; 32]).to_string(),
        release_path: "Release".into(),
        index_path: "Packages".into(),
        index_digest: "sha256:00".into(),
        ..From::default()
    };
    let counts = Counts { packages: count, put: count, ..Counts::default() };
    let outcome = Outcome::Indexed { origin, facts: Facts::default(), counts };
    store.finish("p1", token, &outcome, &Cost::default(), now(), terms).unwrap();
}

/// All that is to be the same, in words without moments.
fn state(store: &mut Store) -> String {
    let mut text = String::new();
    for state in store.sources().unwrap() {
        let due = state.due_at <= now();
        let last = store.attempts(&state.source.slug, 1).unwrap().pop();
        let _ = writeln!(
            text,
            "{}: listed {}, blocked {:?}, delisted {:?}, {}, announced {}, due {due}, {:?}, \
             leased {}, last {:?}",
            state.source.slug,
            state.is_listed,
            state.blocked.map(|rule| timeless(&rule)),
            state.delisted.map(|decision| timeless(&decision)),
            state.standing.word(),
            state.is_announced,
            state.discovery,
            state.lease.is_some(),
            last.map(|attempt| attempt.verdict),
        );
    }
    for it in store.decisions(99).unwrap() {
        let decision = timeless(&it.decision.to_string());
        let _ = writeln!(text, "{}: {decision}, {}", it.number, it.is_in_force);
    }
    for held in store.held().unwrap() {
        let _ = writeln!(text, "held {} {}", held.kind.word(), held.why);
    }
    let counts = store.counts(now()).unwrap();
    let _ = writeln!(text, "{} of {} packages visible", counts.visible, counts.packages);
    text
}

/// The text with the moments in it taken out: ` at 2026-01-01 00:00:00`.
fn timeless(text: &str) -> String {
    let mut parts = text.split(" at ");
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        left.push_str(part.get("2026-01-01 00:00:00".len()..).unwrap_or_default());
    }
    left
}

fn told(policy: &Policy) -> String {
    let decisions: Vec<String> = policy.decisions.iter().map(ToString::to_string).collect();
    format!("{:?} {:?} {decisions:?}", policy.settings, policy.blocked_hosts)
}

/// Where the acts are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// One arbiter on a file.
    Sqlite,
    /// One arbiter on a database.
    Postgres,
    /// Two on a database, one for each of the acts.
    Two,
}

/// Where a store is.
enum Place {
    Folder(tempfile::TempDir),
    Database(Database),
}

impl Place {
    fn open(&self, arbiter: &str) -> Store {
        match self {
            // A child of another test's that was just made may have the lock for a moment.
            Self::Folder(folder) => {
                until("the file to be unlocked", Duration::from_secs(60), || {
                    match Sqlite::open(&folder.path().join("arbiter.db")) {
                        Err(StoreError::InUse { .. }) => None,
                        opened => Some(Store::Sqlite(opened.unwrap())),
                    }
                })
            }
            Self::Database(database) => Store::Postgres(
                Postgres::open(database.address().parse().unwrap(), arbiter).unwrap(),
            ),
        }
    }

    fn copy(&self) -> Self {
        match self {
            Self::Folder(folder) => {
                let copy = tempfile::tempdir().unwrap();
                let file = |folder: &tempfile::TempDir| folder.path().join("arbiter.db");
                fs::copy(file(folder), file(&copy)).unwrap();
                Self::Folder(copy)
            }
            Self::Database(database) => Self::Database(Cluster::shared().copy_of(database.name())),
        }
    }
}

/// A prepared store, of which each run has a copy, and where arbiters read their lists from.
struct Prepared {
    on: On,
    place: Place,
    origin: Origin,
    folder: tempfile::TempDir,
}

impl Prepared {
    fn new(on: On) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::empty();
        origin.put("/list.json", list(&sources(&["b", "c", "dead", "large", "new"])));
        let text = format!(
            "[lists]\nsources = \"{}/list.json\"\n[politeness]\npause = \"0s\"\n\
             [policy]\nexcept = [\"slug:c\"]\n",
            origin.uri()
        );
        fs::write(folder.path().join("arbiter.toml"), text).unwrap();
        let place = match on {
            On::Sqlite => Place::Folder(tempfile::tempdir().unwrap()),
            On::Postgres | On::Two => Place::Database(Cluster::shared().database()),
        };
        prepare(&mut place.open("tested"));
        if let Place::Database(database) = &place {
            let others = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
                database.name()
            );
            until("the server to notice", Duration::from_secs(60), || {
                (Cluster::shared().psql("postgres", &others) == "0").then_some(())
            });
        }
        Self { on, place, origin, folder }
    }

    fn copy(&self) -> Copy<'_> {
        Copy { prepared: self, place: self.place.copy() }
    }
}

/// One run's own.
struct Copy<'a> {
    prepared: &'a Prepared,
    place: Place,
}

impl Copy<'_> {
    fn arbiter(&self, name: &str) -> Arbiter {
        let first = self.place.open(name);
        let mut stores = Vec::new();
        if let Store::Postgres(first) = &first {
            stores.extend((1..3).map(|_| Store::Postgres(first.another())));
        }
        stores.push(first);
        Arbiter::start(stores, &self.prepared.folder.path().join("arbiter.toml"))
    }

    /// What is there in the end, and what came of the acts.
    fn end(&self, said: [String; 2]) -> String {
        let mut store = self.place.open("looking");
        format!("{}\n{}", said.join("\n"), state(&mut store))
    }

    /// Does two acts, each so many microseconds from now.
    fn run(&self, acts: [Does; 2], late: [u64; 2]) -> String {
        let late = late.map(Duration::from_micros);
        let said = match self.prepared.on {
            On::Two => {
                let barrier = Barrier::new(2);
                let one = |number: usize| {
                    let arbiter = self.arbiter(["i1", "i2"][number]);
                    barrier.wait();
                    let said = arbiter.run(async {
                        Timer::after(late[number]).await;
                        acts[number].act(&arbiter).await
                    });
                    arbiter.stop();
                    said
                };
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| one(1));
                    [one(0), other.join().unwrap()]
                })
            }
            On::Sqlite | On::Postgres => {
                let arbiter = self.arbiter("i1");
                let one = |number: usize| {
                    let arbiter = &arbiter;
                    async move {
                        Timer::after(late[number]).await;
                        acts[number].act(arbiter).await
                    }
                };
                let said = arbiter.run(smol::future::zip(one(0), one(1)));
                self.check_memory(&arbiter);
                arbiter.stop();
                [said.0, said.1]
            }
        };
        self.end(said)
    }

    /// Does one act after the other; `order` names which is first.
    fn run_in_order(&self, acts: [Does; 2], order: [usize; 2]) -> String {
        let is_two = self.prepared.on == On::Two;
        let arbiters: Vec<Arbiter> = match is_two {
            true => vec![self.arbiter("i1"), self.arbiter("i2")],
            false => vec![self.arbiter("i1")],
        };
        let mut said = [String::new(), String::new()];
        for number in order {
            let arbiter = &arbiters[if is_two { number } else { 0 }];
            // As it is told by the other, if there is one.
            arbiter.run(learn(&arbiter.hub));
            said[number] = arbiter.run(acts[number].act(arbiter));
        }
        arbiters.into_iter().for_each(Arbiter::stop);
        self.end(said)
    }

    /// What an arbiter goes by is what its store remembers.
    fn check_memory(&self, arbiter: &Arbiter) {
        let kept = arbiter.hub.policy();
        let settings = kept.settings.clone();
        let store = &arbiter.hub.store;
        let stored = arbiter.run(store.call(move |store| store.policy(&settings))).unwrap();
        assert_eq!(told(&kept), told(&stored));
    }
}

fn two_acts_at_once(on: On) {
    let prepared = Prepared::new(on);
    // What comes of one after the other has nothing to do with the store.
    let alone = (on == On::Postgres).then(|| Prepared::new(On::Sqlite));
    let alone = alone.as_ref().unwrap_or(&prepared);
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..SEEDS).collect(),
    };
    for (number, one) in ALL.into_iter().enumerate() {
        for other in ALL.into_iter().skip(number) {
            let acts = [one, other];
            let in_order = |order| alone.copy().run_in_order(acts, order);
            let (first, second) = (in_order([0, 1]), LazyCell::new(|| in_order([1, 0])));
            for &seed in &seeds {
                let mut random = Random(seed * 1000 + number as u64);
                let late = [0, 1].map(|_| random.below(LATE_MAX_MICROS) as u64);
                prepared
                    .origin
                    .latency(Duration::from_micros(random.below(LATE_MAX_MICROS) as u64));
                let end = prepared.copy().run(acts, late);
                prepared.origin.latency(Duration::ZERO);
                assert!(
                    end == first || end == *second,
                    "SEED={seed}, {acts:?} on {on:?}: at once\n{end}\none after the other\n{first}\n\
                     the other first\n{}",
                    *second
                );
            }
        }
    }
}

#[test]
fn two_acts_at_once_on_sqlite_end_as_one_after_the_other() {
    two_acts_at_once(On::Sqlite);
}

#[test]
fn two_acts_at_once_on_postgres_end_as_one_after_the_other() {
    two_acts_at_once(On::Postgres);
}

#[test]
fn two_arbiters_acts_at_once_end_as_one_after_the_other() {
    two_acts_at_once(On::Two);
}
