//! Sources that change all the time, under agents and an arbiter that are killed at random: the
//! catalogue ends up as the truth, and what runs on takes no more and no more.
//!
//! `TEST_SOAK_SECS` says for how long, 60 unless it is set; from ten minutes on memory and
//! descriptors are judged.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_arbiter::store::DATABASE_NAME;
use canister_tests::direct::Direct;
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::postgres::{Cluster, Database, Line};
use canister_tests::programs::{Program, rss_bytes, until};
use std::path::Path;
use std::time::{Duration, Instant};

const SOURCES: usize = 12;
const PACKAGES: usize = 40;
const AGENTS: [&str; 3] = ["p1", "p2", "p3"];
/// The agent that isn't killed in the second half, so that it can be measured.
const MEASURED: usize = 2;
const OPTIONS: [&str; 6] = ["--interval", "3s", "--retry-after", "1s", "--lease", "5s"];
/// From this length on what is measured is judged.
const JUDGED_FROM: Duration = Duration::from_secs(600);

/// The network on one of the stores. What is dropped first stands first.
struct Site {
    network: Network,
    postgres: Option<(Line, Database, Cluster)>,
}

impl Site {
    fn start(is_postgres: bool, origins: &[Origin]) -> Self {
        let sources: Vec<_> = (0..)
            .zip(origins)
            .map(|(number, origin)| flat(&format!("r{number}"), &origin.uri()))
            .collect();
        if !is_postgres {
            return Self { network: Network::start(&sources, &OPTIONS), postgres: None };
        }
        // Agents write into it themselves.
        let Direct { mut network, line, database, cluster } =
            Direct::start(&sources, &AGENTS, Duration::ZERO);
        network.restart_with(&OPTIONS);
        Self { network, postgres: Some((line, database, cluster)) }
    }

    /// The first column of a query over all tables, a row a line.
    fn lines(&self, sql: &str) -> Vec<String> {
        if let Some((_, database, _)) = &self.postgres {
            let text = database.psql(&format!("SET search_path = arbiter, public; {sql}"));
            return text.lines().map(str::to_owned).collect();
        }
        let database = self.network.database();
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// The visible packages of all sources.
    fn catalogue(&self) -> Vec<String> {
        let mut lines = self.lines(
            "SELECT repository_id || ' ' || package_id || ' ' || version FROM package WHERE visible",
        );
        lines.sort();
        lines
    }

    fn is_empty(&self, table: &str) -> bool {
        self.lines(&format!("SELECT CAST(count(*) AS text) FROM {table}")) == ["0"]
    }
}

/// What is drawn; the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    fn secs(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from * 1000 + self.below((to - from) * 1000)) as u64)
    }
}

/// The sources as they are, by the version of each package.
struct Truth(Vec<Vec<usize>>);

impl Truth {
    fn serve(&self, number: usize, origin: &Origin) {
        let stanza = |(package, version): (usize, &usize)| {
            format!(
                "Package: p{package}\nVersion: {version}\nArchitecture: all\nFilename: \
                 {package}.deb\nSize: 1\nDescription: {}\n\n",
                "of a package ".repeat(20)
            )
        };
        let index: String = self.0[number].iter().enumerate().map(stanza).collect();
        serve(origin, index.as_bytes());
    }

    fn catalogue(&self) -> Vec<String> {
        let of_source = |(number, versions): (usize, &Vec<usize>)| {
            let line = move |(package, version)| format!("r{number} p{package} {version}");
            versions.clone().into_iter().enumerate().map(line).collect::<Vec<_>>()
        };
        let mut lines: Vec<String> = self.0.iter().enumerate().flat_map(of_source).collect();
        lines.sort();
        lines
    }
}

/// What a process has at a moment, in seconds: descriptors, megabytes of memory, and of its database on disk.
type Moment = [f64; 4];

/// What a process has at moments.
#[derive(Default)]
struct Measured(Vec<Moment>);

impl Measured {
    fn look(&mut self, at: Duration, pid: u32, database: Option<&Path>) {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let stored = database.map_or(0, |path| std::fs::metadata(path).unwrap().len());
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let has = [descriptors as f64, megabytes(rss_bytes(pid)), megabytes(stored)];
        self.0.push([at.as_secs_f64(), has[0], has[1], has[2]]);
    }

    /// How much more of one of these there is a minute, by least squares.
    fn slope(&self, which: usize) -> f64 {
        let count = self.0.len() as f64;
        let mean = |of: &dyn Fn(&Moment) -> f64| self.0.iter().map(of).sum::<f64>() / count;
        let (middle, level) = (mean(&|it| it[0]), mean(&|it| it[which]));
        let spread = mean(&|it| (it[0] - middle).powi(2));
        mean(&|it| (it[0] - middle) * (it[which] - level)) / spread * 60.0
    }

    /// Says it, and judges where there was time enough.
    fn judge(&self, what: &str, is_judged: bool) {
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        let (descriptors, megabytes, stored) = (self.slope(1), self.slope(2), self.slope(3));
        println!(
            "{what}, {:.0} s: descriptors {} to {}, {descriptors:+.3} a minute; memory {:.1} to {:.1} \
             MB, {megabytes:+.3} MB a minute; database {:.1} to {:.1} MB, {stored:+.3} MB a minute",
            last[0] - first[0],
            first[1],
            last[1],
            first[2],
            last[2],
            first[3],
            last[3]
        );
        if is_judged {
            assert!(descriptors < 0.2, "{what}: {descriptors} descriptors more a minute");
            // Pages of a database that grows are kept in memory, up to 32 MiB.
            let more = megabytes - stored.max(0.0);
            assert!(more < 0.1, "{what}: {more} MB more a minute");
        }
    }
}

/// Kills a program, of which nothing that it said is a panic.
fn kill(program: &mut Program) {
    assert!(!program.stderr().contains("panicked"), "{}", program.stderr());
    program.kill9();
}

fn soak(is_postgres: bool) {
    let length = std::env::var("TEST_SOAK_SECS").map_or(60, |text| text.parse().unwrap());
    let length = Duration::from_secs(length);
    let mut chance = Chance(7);
    let origins: Vec<_> = (0..SOURCES).map(|number| Origin::at(10 + number as u8)).collect();
    let mut truth = Truth(vec![vec![0; PACKAGES]; SOURCES]);
    (0..SOURCES).for_each(|number| truth.serve(number, &origins[number]));
    let mut site = Site::start(is_postgres, &origins);
    let start = |site: &Site, number: usize| site.network.agent(AGENTS[number], &["--slots", "2"]);
    let mut agents: Vec<_> = (0..AGENTS.len()).map(|number| start(&site, number)).collect();

    let since = Instant::now();
    let (mut next_change, mut next_agent, mut next_arbiter, mut next_look) =
        (Duration::ZERO, Duration::from_secs(3), Duration::from_secs(5), length / 2);
    let (mut changes, mut kills) = (0, [0, 0]);
    let (mut of_arbiter, mut of_agent) = (Measured::default(), Measured::default());
    while since.elapsed() < length {
        let now = since.elapsed();
        let is_measured = now >= length / 2;
        if now >= next_change {
            next_change = now + chance.secs(0, 1);
            let number = chance.below(SOURCES);
            for _ in 0..=chance.below(3) {
                truth.0[number][chance.below(PACKAGES)] += 1;
            }
            truth.serve(number, &origins[number]);
            changes += 1;
        }
        if now >= next_agent {
            next_agent = now + chance.secs(1, 7);
            let number = chance.below(if is_measured { MEASURED } else { AGENTS.len() });
            kill(&mut agents[number]);
            agents[number] = start(&site, number);
            kills[1] += 1;
        }
        if now >= next_arbiter && !is_measured {
            next_arbiter = now + chance.secs(4, 20);
            kill(&mut site.network.arbiter);
            site.network.restart();
            kills[0] += 1;
        }
        if now >= next_look {
            // What a process takes at its beginning is no growth.
            if now >= length / 2 + length / 6 {
                let database = site.network.state().join(DATABASE_NAME);
                let database = Some(&*database).filter(|_| !is_postgres);
                of_arbiter.look(now, site.network.arbiter.pid(), database);
                of_agent.look(now, agents[MEASURED].pid(), None);
            }
            next_look = now + length / 300;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = Instant::now();
    until("the catalogue to be the truth", WAIT * 2, || {
        std::thread::sleep(Duration::from_millis(100));
        (site.catalogue() == truth.catalogue()).then_some(())
    });
    let took = ended.elapsed();
    until("every lease to end", WAIT, || {
        (site.is_empty("lease") && site.is_empty("staging")).then_some(())
    });
    if !is_postgres {
        assert_eq!(site.lines("PRAGMA integrity_check"), ["ok"]);
    }
    let store = if is_postgres { "PostgreSQL" } else { "SQLite" };
    println!(
        "{store}, {} s: {changes} changes, killed the arbiter {} times and agents {} times; {} rows right \
         {:.1} s after the last change",
        length.as_secs(),
        kills[0],
        kills[1],
        SOURCES * PACKAGES,
        took.as_secs_f64()
    );
    let is_judged = length >= JUDGED_FROM;
    of_arbiter.judge(&format!("{store}: arbiter"), is_judged);
    of_agent.judge(&format!("{store}: agent"), is_judged);
    agents.iter_mut().for_each(kill);
    kill(&mut site.network.arbiter);
}

#[test]
fn killed_at_random_on_sqlite() {
    soak(false);
}

#[test]
fn killed_at_random_on_postgresql() {
    soak(true);
}
