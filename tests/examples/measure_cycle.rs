//! Measures cycles over many sources of which nothing is new: how long one takes, what is asked, how often the
//! arbiter waits for its database, and whose CPU time each source costs. Prints a section of docs/performance.md.
//!
//! Its arguments are numbers of sources; without any, 462 and 20,000, and a cold cycle of the real list besides, which takes
//! as long as its largest operator's pauses. `make bench-cycle` calls it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement prints, fails by panicking and reads the time"
)]

use canister_arbiter::rules::politeness::Politeness;
use canister_protocol::Source;
use canister_tests::apt::Compression;
use canister_tests::index::{packed, release};
use canister_tests::network::{Network, flat};
use canister_tests::origin::Origin;
use canister_tests::postgres::{Cluster, Database, Line};
use canister_tests::programs::{Program, cpu_time, until};
use canister_tests::world::World;
use postgres::{Client, NoTls};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Operators of servers, an address each; all have as many sources, or one more.
const OPERATORS: usize = 200;
/// Agents.
const PEERS: usize = 3;
/// What each agent offers where the database is far away: a lease takes longer there, by its trips.
const SLOTS_AWAY: &str = "8";
/// How far away a database is that isn't near: there and back.
const AWAY: Duration = Duration::from_millis(40);
/// How long a cycle may take.
const WAIT: Duration = Duration::from_secs(1800);

fn main() {
    let counts: Vec<usize> = std::env::args().skip(1).map(|count| count.parse().unwrap()).collect();
    let is_whole = counts.is_empty();
    let counts = if is_whole { vec![462, 20_000] } else { counts };
    let mut table = String::new();
    for &count in &counts {
        table += &measure(count, None);
        table += &measure(count, Some(Duration::ZERO));
    }
    // Of more the database's distance is all that counts.
    if let Some(fewest) = counts.iter().min() {
        table += &measure(*fewest, Some(AWAY));
    }
    println!(
        "## Cycles\n\n\
         `make bench-cycle`: every source of {OPERATORS} operators is due and nothing is new; {PEERS} agents, one arbiter, no\n\
         pauses; of a release build. An agent has 2 slots, and {SLOTS_AWAY} where the database is away. Seconds are of the whole cycle,\n\
         with the servers on the same two cores; CPU time is in ms a source, of all agents, the arbiter, and PostgreSQL with\n\
         all that it does beside. A trip is when the arbiter says something to PostgreSQL and waits.\n\n\
         | sources | store | seconds | leases a second | requests a source | trips a source | agents | arbiter | database |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n{table}"
    );
    if is_whole {
        println!("\n{}", cold());
    }
}

/// What is told of a cold cycle of the real list at the pauses that an arbiter has unless it is told others.
fn cold() -> String {
    let world = World::start();
    let pause = Politeness::default().pause;
    let options = ["--interval".to_owned(), "1d".to_owned()];
    let options =
        options.into_iter().chain(["--pause".to_owned(), format!("{}s", pause.as_secs())]);
    let began = Instant::now();
    let network = Network::start_with(&world.sources, |_| options.collect());
    let agents: Vec<Program> =
        (0..PEERS).map(|number| network.agent(&format!("peer{number}"), &[])).collect();
    ended(&network, None);
    let took = began.elapsed().as_secs_f64();
    let asked = world.take_asked();
    assert_eq!((asked.peak, asked.sent_away), (1, 0));
    drop(agents);
    let paused = pause.as_secs_f64() * asked.most as f64;
    format!(
        "A cold cycle of the real list at the default pause of {} s: {} sources of {} operators, {} requests, {took:.0} s,\n\
         which is {:.2} times the pauses of the operator that was asked most ({} requests).",
        pause.as_secs(),
        world.sources.len(),
        world.operators(),
        asked.requests,
        took / paused,
        asked.most,
    )
}

/// Waits until nothing is due and nothing is leased; every source was read. A database is asked itself, for an arbiter far
/// away from it tells what it knew a moment ago. Looking takes little of the time: the more there is to look at, the
/// rarer it is.
fn ended(network: &Network, database: Option<&Database>) {
    let mut client = database.map(|it| Client::connect(&it.address(), NoTls).unwrap());
    let (failing, unread) = until("the cycle to end", WAIT, || {
        let looked = Instant::now();
        let (left, failing, unread) = match &mut client {
            Some(client) => {
                let row = client.query_one(LEFT, &[]).unwrap();
                (row.get(0), row.get(1), row.get(2))
            }
            None => {
                let it = network.status();
                ((it.due + it.leased) as i64, it.failing as i64, it.never_indexed as i64)
            }
        };
        let ended = (left == 0).then_some((failing, unread));
        if ended.is_none() {
            std::thread::sleep(looked.elapsed() * 20);
        }
        ended
    });
    assert_eq!((failing, unread), (0, 0));
}

/// What is left of a cycle; what is failing, and what was never read.
const LEFT: &str = "SELECT
     (SELECT count(*) FROM arbiter.lease) + count(*) FILTER
         (WHERE polled AND due_at <= CAST(extract(epoch FROM now()) * 1000 AS bigint)),
     count(*) FILTER (WHERE failures > 0), count(*) FILTER (WHERE origin_head IS NULL)
     FROM arbiter.source";

/// A line of the table; the store is SQLite, or PostgreSQL at the end of a line that takes so long.
fn measure(count: usize, away: Option<Duration>) -> String {
    let origins: Vec<Origin> = (0..OPERATORS)
        .map(|number| Origin::on(Ipv4Addr::new(127, 1, 0, u8::try_from(number + 1).unwrap())))
        .collect();
    let gz = packed(
        Compression::Gz,
        b"Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 1\nDescription: a\n",
    );
    let release = release("SHA256", &[("Packages.gz", &gz)]);
    let sources: Vec<Source> = (0..count)
        .map(|number| {
            let origin = &origins[number % OPERATORS];
            origin.put(&format!("/s{number}/Packages.gz"), gz.clone());
            origin.put(&format!("/s{number}/InRelease"), release.clone());
            flat(&format!("s{number}"), &format!("{}/s{number}", origin.uri()))
        })
        .collect();
    let database = away.map(|away| {
        let cluster = Cluster::start();
        let database = cluster.database();
        let line = Line::to(cluster.port(), away);
        (cluster, database, line)
    });
    let mut options = vec!["--interval".to_owned(), "1d".to_owned()];
    if let Some((_, database, line)) = &database {
        options.extend(["--database".to_owned(), database.address_over(line)]);
    }
    let network = Network::start_with(&sources, |_| options);
    let slots = if away > Some(Duration::ZERO) { SLOTS_AWAY } else { "2" };
    let agents: Vec<Program> = (0..PEERS)
        .map(|number| network.agent(&format!("peer{number}"), &["--slots", slots]))
        .collect();
    let there = database.as_ref().map(|(_, database, _)| database);
    ended(&network, there);
    origins.iter().for_each(|origin| drop(origin.take_requests()));

    let spent = || {
        let agents = agents.iter().map(|agent| cpu_time(agent.pid()).as_secs_f64()).sum::<f64>();
        let arbiter = cpu_time(network.arbiter.pid()).as_secs_f64();
        let of_database =
            database.as_ref().map_or(0.0, |(cluster, ..)| cluster.cpu_time().as_secs_f64());
        let trips = database.as_ref().map_or(0.0, |(.., line)| line.trips() as f64);
        [agents, arbiter, of_database, trips]
    };
    let (before, began) = (spent(), Instant::now());
    assert_eq!(network.sync(), count as u64);
    let asked = || origins.iter().map(|origin| origin.requests_count()).sum::<usize>();
    // Asking the arbiter would be work of its own.
    until("all sources to be asked", WAIT, || (asked() >= count).then_some(()));
    ended(&network, there);
    let (took, after) = (began.elapsed(), spent());
    let each: Vec<f64> =
        before.iter().zip(after).map(|(before, after)| (after - before) / count as f64).collect();
    let [agents, arbiter, database_cpu, trips] = each[..] else { unreachable!() };
    let (store, trips, database_cpu) = match away {
        Some(away) => {
            let far = format!(", {} ms away", away.as_millis());
            let far = if away.is_zero() { "" } else { &far };
            let database_cpu = format!("{:.2}", database_cpu * 1e3);
            (format!("PostgreSQL{far}"), format!("{trips:.2}"), database_cpu)
        }
        None => ("SQLite".to_owned(), String::new(), String::new()),
    };
    format!(
        "| {count} | {store} | {:.1} | {:.0} | {:.2} | {trips} | {:.2} | {:.2} | {database_cpu} |\n",
        took.as_secs_f64(),
        count as f64 / took.as_secs_f64(),
        asked() as f64 / count as f64,
        agents * 1e3,
        arbiter * 1e3,
    )
}
