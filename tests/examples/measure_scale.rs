//! Measures what the store's verbs cost when there are many sources, on both databases. Prints a section
//! of docs/performance.md.
//!
//! Its arguments are numbers of sources; without any, 462, 10,000 and 100,000. `make bench-scale` calls
//! it.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement prints, fails by panicking and reads the time"
)]

use canister_arbiter::store::{Grant, Postgres, Sqlite, Store, Terms};
use canister_arbiter::timestamp::Timestamp;
use canister_protocol::Head;
use canister_protocol::message::{Cost, Counts, Facts, Outcome};
use canister_tests::postgres::{Cluster, Database};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The moment of all that is measured; sources are due before and after it.
const NOW: u64 = 1_800_000_000_000;
/// How often a verb is called, at most ...
const TIMES: usize = 200;
/// ... and for how long, but once at least.
const LONGEST: Duration = Duration::from_secs(15);
/// Sources of each operator, as in the real list without its largest host.
const OF_OPERATOR: usize = 5;

/// How many sources are due, and where.
const DUE: [(&str, &str); 3] = [
    ("0.1 % due", "NUMBER % 1000 = 0"),
    ("all due", "true"),
    (
        "all due, the first fiftieth of one operator that rests",
        "true",
    ),
];

/// The number of a source, whatever was written of it since.
const SLUG_NUMBER: &str = "CAST(substr(slug, 7) AS bigint)";

/// The sources of a database, and what stands for the number of each: `n`.
const SEED: &str = "
    INSERT INTO source (slug, uri, suite, ranking, aliases, bootstrap, headers, operator, domain,
        listed, due_at, announced, failures, last_contact, last_attempt, origin_head,
        origin_release_path, origin_index_path, origin_index_digest)
    SELECT 'source' || n, 'https://www.host' || (n / OF) || '.example/repo', './', 1 + n % 5, EMPTY,
        FALSE, EMPTY, 'host' || (n / OF) || '.example', 'host' || (n / OF) || '.example',
        TRUE, MOMENT,
        FALSE, 0, NOW - 3600000, NOW - 3600000, 'HEAD', 'Release', 'Packages.gz', 'sha256:00'
    FROM NUMBERS";

fn main() {
    let counts: Vec<usize> = std::env::args()
        .skip(1)
        .map(|count| count.parse().unwrap())
        .collect();
    let counts = if counts.is_empty() {
        vec![462, 10_000, 100_000]
    } else {
        counts
    };
    let cluster = Cluster::start();
    let mut table: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for (at, count) in counts.iter().enumerate() {
        for (is_postgres, column) in [(false, 2 * at), (true, 2 * at + 1)] {
            let place = Place::new(is_postgres.then_some(&cluster));
            for (number, (verb, said)) in place.measure(*count).into_iter().enumerate() {
                let line = table.entry((number, verb)).or_default();
                line.resize(column, String::new());
                line.push(said);
            }
        }
    }
    let heads: Vec<String> = counts
        .iter()
        .flat_map(|count| ["SQLite", "PostgreSQL"].map(|store| format!("{store}, {count}")))
        .collect();
    println!(
        "## Many sources\n\n\
         Milliseconds of CPU time that a verb of the store takes, the arbiter's and the database's together: of half the\n\
         calls at most, and of 99 in a hundred. Each operator has {OF_OPERATOR} sources. A head of a column is the database and\n\
         the number of sources. (CPU time, because a machine that does other things takes longer, but doesn't\n\
         count more. PostgreSQL doesn't wait for its disk.{})\n\n\
         | verb | {} |\n| --- |{}",
        if cfg!(debug_assertions) {
            " Of a debug build: a release build takes less."
        } else {
            ""
        },
        heads.join(" | "),
        " --- |".repeat(heads.len()),
    );
    for ((_, verb), line) in table {
        println!("| {verb} | {} |", line.join(" | "));
    }
}

/// A database of its own.
struct Place {
    postgres: Option<Database>,
    folder: tempfile::TempDir,
}

/// An open store, and whose CPU time counts.
struct Measured {
    store: Box<dyn Store>,
    /// The database's own process.
    backend: Option<u32>,
    said: Vec<(String, String)>,
    now: u64,
}

impl Place {
    fn new(cluster: Option<&Cluster>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            postgres: cluster.map(Cluster::database),
            folder,
        }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("arbiter.db")
    }

    fn open(&self) -> Box<dyn Store> {
        match &self.postgres {
            Some(database) => {
                let address = database.address().parse().unwrap();
                Box::new(Postgres::open(address, "measured").unwrap())
            }
            None => Box::new(Sqlite::open(&self.file()).unwrap()),
        }
    }

    /// Runs statements beside the store.
    fn run(&self, statements: &str) {
        match &self.postgres {
            Some(database) => drop(database.psql(&format!(
                "SET search_path = arbiter, public, pg_temp; {statements}"
            ))),
            None => sqlite(&self.file(), statements),
        }
    }

    fn measure(&self, count: usize) -> Vec<(String, String)> {
        if let Some(database) = &self.postgres {
            // What other processes of the database's work isn't counted: one works alone.
            database.psql(&format!(
                "ALTER DATABASE {} SET max_parallel_workers_per_gather = 0",
                database.name()
            ));
        }
        drop(self.open());
        let (numbers, empty) = match self.postgres {
            Some(_) => (
                format!("(SELECT generate_series(0, {count} - 1) AS n) AS it"),
                "'{}'",
            ),
            None => (
                format!(
                    "(WITH RECURSIVE it (n) AS
                         (SELECT 0 UNION ALL SELECT n + 1 FROM it WHERE n < {count} - 1)
                      SELECT n FROM it) AS it"
                ),
                "'[]'",
            ),
        };
        let seed = SEED
            .replace("EMPTY", empty)
            .replace("OF", &OF_OPERATOR.to_string())
            .replace("NUMBERS", &numbers)
            .replace("HEAD", &Head::from_sha256([1; 32]).to_string())
            .replace("MOMENT", "NOW + 3600000 + n")
            .replace("NOW", &NOW.to_string());
        self.run(&seed);
        self.run(&format!(
            "INSERT INTO operator (name, last_lease_ended)
                 SELECT DISTINCT operator, {NOW} - 3600000 FROM source WHERE true
             ON CONFLICT DO NOTHING; ANALYZE;"
        ));
        let store = self.open();
        let backend = self.postgres.as_ref().map(|database| {
            let pid = database.psql(
                "SELECT pid FROM pg_stat_activity
                 WHERE application_name = 'canister-arbiter' AND datname = current_database()",
            );
            pid.parse().unwrap()
        });
        let mut measured = Measured {
            store,
            backend,
            said: Vec::new(),
            now: NOW,
        };
        for (number, (words, which)) in DUE.into_iter().enumerate() {
            // In an order that has nothing to do with the slugs'.
            let set = format!(
                "UPDATE source SET due_at = {NOW} - 3000 - NUMBER * 7919 % 3600000 WHERE {which};"
            );
            self.run(&set.replace("NUMBER", SLUG_NUMBER));
            if number == 2 {
                // Its first lease is the first that is granted.
                let set = format!(
                    "UPDATE source SET operator = 'host0.example', domain = 'host0.example',
                         uri = 'https://www.host0.example/repo' || NUMBER,
                         due_at = due_at - 36000000 WHERE NUMBER < {count} / 50;"
                );
                self.run(&set.replace("NUMBER", SLUG_NUMBER));
            }
            self.run("ANALYZE;");
            // Nobody rests.
            measured.now += 2_000;
            measured.leases(words);
        }
        let mut hosts = 0;
        let now = Timestamp::from_millis(measured.now);
        measured.each("`next_deadline`", |store, _| {
            store.next_deadline(now, &terms()).unwrap();
        });
        measured.each("a host's first address", |store, _| {
            hosts += 1;
            let address = [10, (hosts >> 8) as u8, hosts as u8, 1].into();
            let host = format!("www.host{}.example", hosts % (count / OF_OPERATOR));
            store.locate(&host, &[address], now).unwrap();
        });
        measured.each("all sources, as the status page reads them", |store, _| {
            assert_eq!(store.sources().unwrap().len(), count);
        });
        measured.each(
            "all sources counted, as the status page counts them",
            |store, _| {
                assert_eq!(store.counts(now).unwrap().sources, count as u64);
            },
        );
        measured.each("start (`bring_forward`)", |store, _| {
            store.bring_forward(now, &terms()).unwrap();
        });
        measured.said
    }
}

fn sqlite(file: &Path, statements: &str) {
    rusqlite::Connection::open(file)
        .unwrap()
        .execute_batch(statements)
        .unwrap();
}

fn terms() -> Terms {
    let mut terms = Terms::default();
    terms.brake.share = 100;
    terms.brake.packages = u64::MAX;
    terms
}

impl Measured {
    /// CPU time so far of this thread and of the database's process.
    fn cpu(&self) -> Duration {
        let own = clock_gettime(ClockId::ThreadCPUTime);
        let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
        let theirs = self.backend.map_or(0, |pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        });
        own + Duration::from_nanos(theirs)
    }

    fn timed<T>(&mut self, verb: impl FnOnce(&mut dyn Store) -> T) -> (T, f64) {
        let before = self.cpu();
        let done = verb(&mut *self.store);
        (done, (self.cpu() - before).as_secs_f64() * 1e3)
    }

    fn say(&mut self, verb: impl Into<String>, mut millis: Vec<f64>) {
        millis.sort_by(f64::total_cmp);
        let [half, most] = [50, 99].map(|share| millis[(millis.len() - 1) * share / 100]);
        let verb = verb.into();
        eprintln!("{verb}: {half:.2} / {most:.2} ms, {} times", millis.len());
        self.said.push((verb, format!("{half:.2} / {most:.2}")));
    }

    fn each(&mut self, verb: &str, mut call: impl FnMut(&mut dyn Store, usize)) {
        let begun = Instant::now();
        let mut millis = Vec::new();
        while millis.len() < TIMES && begun.elapsed() < LONGEST {
            let number = millis.len();
            millis.push(self.timed(|store| call(store, number)).1);
        }
        self.say(verb, millis);
    }

    /// Claims one lease after the other and ends each, in turn as one of a source that didn't change and
    /// as one that was read and has nothing new.
    fn leases(&mut self, words: &str) {
        let begun = Instant::now();
        let mut times: [Vec<f64>; 3] = Default::default();
        let is_each = |times: &[Vec<f64>; 3]| times.iter().all(|of| !of.is_empty());
        while times[0].len() < TIMES && (begun.elapsed() < LONGEST || !is_each(&times)) {
            let (at, peer) = (self.now, format!("peer{}", times[0].len()));
            self.now += 1;
            let now = Timestamp::from_millis(at);
            let (granted, millis) =
                self.timed(|store| store.claim(&peer, 1, now, &terms()).unwrap());
            times[0].push(millis);
            let Some(Grant {
                token,
                origin: Some(origin),
                ..
            }) = granted.into_iter().next()
            else {
                break;
            };
            let is_read = times[0].len().is_multiple_of(2);
            let facts = Facts::default();
            let outcome = match is_read {
                true => Outcome::Indexed {
                    origin,
                    facts,
                    counts: Counts::default(),
                },
                false => Outcome::Unchanged {
                    origin,
                    facts: None,
                },
            };
            let cost = Cost {
                requests: 1,
                ..Cost::default()
            };
            let (_, millis) = self.timed(|store| {
                store
                    .finish(&peer, token, &outcome, &cost, now, &terms())
                    .unwrap()
            });
            times[if is_read { 2 } else { 1 }].push(millis);
        }
        let [claims, unchanged, read] = times;
        self.say(format!("claim of one, {words}"), claims);
        if words == DUE[1].0 {
            self.say("finish, unchanged", unchanged);
            self.say("finish, read and nothing new", read);
        }
    }
}
