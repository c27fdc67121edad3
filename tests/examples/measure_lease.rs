//! Measures what whole leases cost, relayed and direct: CPU time of the agent, the arbiter and the
//! database, and what goes over the lines. Prints a section of docs/performance.md.
//!
//! Its arguments are a package index in a file, and the program `measure_reading`, which tells what
//! decoding costs alone. `benches/database.py lease` calls it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints and fails by panicking"
)]

use canister_protocol::Source;
use canister_tests::apt::Compression;
use canister_tests::direct::Direct;
use canister_tests::index::packed;
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::origin::Origin;
use canister_tests::postgres::Line;
use canister_tests::programs::{cpu_time, run_command};
use std::process::Command;
use std::time::Duration;

/// Sources with the same index: a lease each at a time.
const SOURCES: usize = 5;
/// How often all of them are asked again while nothing is new.
const UNCHANGED: usize = 20;

/// Where rows go, and how.
const WAYS: [&str; 3] = [
    "relayed, SQLite",
    "relayed, PostgreSQL",
    "direct, PostgreSQL",
];

/// What was spent so far, or by one lease.
#[derive(Clone, Copy)]
struct Spent {
    agent: f64,
    arbiter: f64,
    database: f64,
    /// Bytes that the agent sent to the arbiter and the database, and that it received.
    bytes: [f64; 2],
}

impl Spent {
    fn by_each(before: Self, after: Self, leases: usize) -> Self {
        let share = |before: f64, after: f64| (after - before) / leases as f64;
        Self {
            agent: share(before.agent, after.agent),
            arbiter: share(before.arbiter, after.arbiter),
            database: share(before.database, after.database),
            bytes: [0, 1].map(|at| share(before.bytes[at], after.bytes[at])),
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, path, reading] = &words[..] else {
        panic!("usage: measure_lease INDEX MEASURE_READING");
    };
    let index = std::fs::read(path).unwrap_or_else(|cause| panic!("read {path}: {cause}"));
    let rows = index
        .split(|&byte| byte == b'\n')
        .filter(|line| line.starts_with(b"Package:"));
    let rows = rows.count();
    let changed = changed(&index);
    let gz = [
        packed(Compression::Gz, &index),
        packed(Compression::Gz, &changed),
    ];
    let decoding = decoding(reading, &gz[0]);
    let mut table = String::new();
    for way in WAYS {
        for (lease, spent) in measure(way, &gz) {
            let Spent {
                agent,
                arbiter,
                database,
                bytes: [sent, received],
            } = spent;
            let of_decoding = match lease {
                "unchanged" => String::new(),
                _ => format!("{:.2}", agent / decoding),
            };
            let database = match way {
                "relayed, SQLite" => String::new(),
                _ => format!("{:.1}", database * 1e3),
            };
            table += &format!(
                "| {lease} | {way} | {:.1} | {of_decoding} | {:.1} | {database} | {sent:.0} | {received:.0} |\n",
                agent * 1e3,
                arbiter * 1e3,
            );
        }
    }
    println!(
        "## What a lease costs\n\n\
         `make bench-lease`: one agent, one arbiter, {SOURCES} sources with the same index of {rows} packages\n\
         ({} bytes of gz), one lease at a time. CPU time in ms a lease, of a release build, the database's with all\n\
         that it does beside; decoding that file and its SHA-256 alone take {:.0} ms. Bytes are what the agent sends to\n\
         arbiter and database and hears from them, TLS included.\n\n\
         | lease | way | agent | of decoding | arbiter | database | bytes sent | received |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n{table}",
        gz[0].len(),
        decoding * 1e3,
    );
}

/// The index with one package of another version.
fn changed(index: &[u8]) -> Vec<u8> {
    let mut changed = index.to_vec();
    let version = b"\nVersion: ";
    let at = index
        .windows(version.len())
        .position(|part| part == version)
        .unwrap();
    changed.insert(at + version.len(), b'9');
    changed
}

/// CPU seconds of decoding alone, the least of five.
fn decoding(reading: &str, gz: &[u8]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Packages.gz");
    std::fs::write(&file, gz).unwrap();
    let once = || {
        let ran = run_command(
            "decode",
            Command::new(reading).arg("decode").arg(&file),
            WAIT,
        );
        assert!(ran.status.success(), "{}", ran.stderr);
        ran.stdout
            .split_whitespace()
            .nth(2)
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    (0..5).map(|_| once()).min_by(f64::total_cmp).unwrap()
}

/// What a lease of each kind costs one way.
fn measure(way: &str, [first, next]: &[Vec<u8>; 2]) -> Vec<(&'static str, Spent)> {
    let origin = Origin::empty();
    let folders: Vec<String> = (0..SOURCES).map(|number| format!("/s{number}")).collect();
    let sources: Vec<Source> = folders
        .iter()
        .map(|folder| flat(&folder[1..], &format!("{}{folder}", origin.uri())))
        .collect();
    let serve = |gz: &Vec<u8>| {
        let release = canister_tests::index::release("SHA256", &[("Packages.gz", gz)]);
        for folder in &folders {
            origin.put(&format!("{folder}/Packages.gz"), gz.clone());
            origin.put(&format!("{folder}/InRelease"), release.clone());
        }
    };
    serve(first);
    let peers: &[&str] = if way.starts_with("direct") {
        &["measured"]
    } else {
        &[]
    };
    let direct = way
        .ends_with("PostgreSQL")
        .then(|| Direct::start(&sources, peers, Duration::ZERO));
    let own = direct.is_none().then(|| Network::start(&sources, &[]));
    let network = direct
        .as_ref()
        .map(|direct| &direct.network)
        .or(own.as_ref())
        .unwrap();
    let (_, port) = network.listen.rsplit_once(':').unwrap();
    let line = Line::to(port.parse().unwrap(), Duration::ZERO);

    let agent_listen = format!("127.0.0.1:{}", line.port());
    let agent = network.agent_at("measured", &agent_listen, &["--slots", "1"]);
    let spent = || {
        let lines = direct
            .as_ref()
            .map(|direct| direct.line.bytes())
            .unwrap_or_default();
        Spent {
            agent: cpu_time(agent.pid()).as_secs_f64(),
            arbiter: cpu_time(network.arbiter.pid()).as_secs_f64(),
            database: direct
                .as_ref()
                .map_or(0.0, |it| it.cluster.cpu_time().as_secs_f64()),
            bytes: [0, 1].map(|at| (line.bytes()[at] + lines[at]) as f64),
        }
    };
    let zero = Spent {
        agent: 0.0,
        arbiter: 0.0,
        database: spent().database,
        bytes: [0.0; 2],
    };
    let newest = || {
        network
            .sources()
            .iter()
            .filter_map(|it| Some(it.last_attempt.as_ref()?.lease))
            .max()
    };
    network.until_all("indexed", 0);
    let mut found = vec![("all rows are new", Spent::by_each(zero, spent(), SOURCES))];
    if let Some(direct) = &direct {
        let writes = direct.writes();
        assert!(way.starts_with(&writes[..6]), "{way}: {writes}");
    }

    serve(next);
    let (before, last) = (spent(), newest().unwrap());
    network.sync();
    network.until_all("indexed", last);
    found.push(("one row is new", Spent::by_each(before, spent(), SOURCES)));

    let before = spent();
    for _ in 0..UNCHANGED {
        let last = newest().unwrap();
        network.sync();
        network.until_all("unchanged", last);
    }
    found.push((
        "unchanged",
        Spent::by_each(before, spent(), SOURCES * UNCHANGED),
    ));
    found
}
