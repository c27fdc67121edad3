//! The real source list, simulated, and a real arbiter with three real agents over it: polite to
//! every server, and no request too many.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test's panic is its report, and measured figures are worth seeing"
)]

use canister_agent::clock;
use canister_arbiter::admin::SourceReport;
use canister_tests::network::Network;
use canister_tests::origin::{Fault, Limit, Origin};
use canister_tests::programs::Program;
use canister_tests::web::raw;
use canister_tests::world::{Asked, LIMIT, World};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one cycle may take: several times what it does on two busy cores.
const CYCLE: Duration = Duration::from_secs(600);
/// How often a cycle's progress is looked at: each look reads every source of the store.
const LOOK: Duration = Duration::from_millis(500);

/// Starts three agents.
fn agents(network: &Network) -> Vec<Program> {
    (1..=3)
        .map(|number| {
            let name = format!("peer-{number}");
            let options = ["--slots", "8", "--cpu", "2", "--user-agent", &name];
            network.agent(&name, &options)
        })
        .collect()
}

/// Waits until every source has an attempt that is newer than `after`, and reports it.
fn until_all(network: &Network, after: u64) -> Vec<SourceReport> {
    let since = clock::now();
    loop {
        let reports = network.sources();
        let last = |report: &SourceReport| report.last_attempt.as_ref().map(|last| last.lease);
        let left = reports.iter().filter(|report| last(report) <= Some(after));
        match left.count() {
            0 => return reports,
            left => assert!(since.elapsed() < CYCLE, "{left} sources are left"),
        }
        std::thread::sleep(LOOK);
    }
}

fn newest(reports: &[SourceReport]) -> u64 {
    let leases = reports.iter().flat_map(|report| &report.last_attempt);
    leases.map(|attempt| attempt.lease).max().unwrap_or(0)
}

fn with_verdict<'a>(reports: &'a [SourceReport], verdict: &str) -> BTreeSet<&'a str> {
    let last = |report: &&SourceReport| report.last_attempt.as_ref().unwrap().verdict == verdict;
    reports
        .iter()
        .filter(last)
        .map(|report| &*report.source)
        .collect()
}

/// Nobody was asked twice at once or too often.
fn is_polite(what: &str, world: &World, asked: &Asked, took: Duration) {
    println!(
        "{what}: {} requests, peak per operator {}, sent away {}, bans {}, {:.1} s",
        asked.requests,
        asked.peak,
        asked.sent_away,
        world.bans(),
        took.as_secs_f64()
    );
    assert_eq!(asked.peak, 1, "{what}: requests at once to one operator");
    assert_eq!((asked.sent_away, world.bans()), (0, 0), "{what}");
}

#[test]
fn the_real_list_is_indexed_politely_and_costs_one_request_a_source() {
    let world = World::start();
    let all = world.sources.len();
    assert_eq!((all, world.on_static_host()), (462, 241));
    let network = Network::start(&world.sources, &["--interval", "86400"]);
    println!(
        "{all} sources of {} operators, three agents",
        world.operators()
    );

    let since = clock::now();
    let agents = agents(&network);
    let reports = until_all(&network, 0);
    is_polite("cold", &world, &world.take_asked(), since.elapsed());
    assert_eq!(with_verdict(&reports, "indexed").len(), all);
    assert!(reports.iter().all(|report| report.packages == 2));
    for peer in network.peers() {
        assert!(peer.finished > 0, "{} did nothing", peer.peer);
    }

    // Nothing changed: one request a source, no more and no less.
    let (since, before) = (clock::now(), newest(&reports));
    network.sync();
    let reports = until_all(&network, before);
    let asked = world.take_asked();
    is_polite("unchanged", &world, &asked, since.elapsed());
    assert_eq!(with_verdict(&reports, "unchanged").len(), all);
    assert_eq!(asked.requests, all);

    // One in twenty changed: at most two requests more for each. Slugs that share a place change
    // together.
    let chosen: BTreeSet<String> = world.slugs().into_iter().step_by(20).collect();
    let is_shared = |slug: &&String| {
        let uri = &world.source(slug).uri;
        world
            .sources
            .iter()
            .filter(|source| source.uri == *uri)
            .count()
            > 1
    };
    assert_eq!(chosen.iter().filter(is_shared).count(), 0, "choose others");
    for slug in &chosen {
        world.publish(slug, 2);
    }
    let (since, before) = (clock::now(), newest(&reports));
    network.sync();
    let reports = until_all(&network, before);
    let asked = world.take_asked();
    is_polite("5 % changed", &world, &asked, since.elapsed());
    let indexed = with_verdict(&reports, "indexed");
    assert!(
        indexed
            .iter()
            .copied()
            .eq(chosen.iter().map(String::as_str)),
        "{indexed:?}"
    );
    assert!(
        asked.requests <= all + 2 * chosen.len(),
        "{}",
        asked.requests
    );
    for slug in &chosen {
        assert!(
            asked.by_source[slug] <= 3,
            "{slug}: {}",
            asked.by_source[slug]
        );
        let versions: Vec<_> = network
            .rows(slug)
            .into_iter()
            .map(|row| row.package.1)
            .collect();
        assert_eq!(versions, ["2", "1"], "{slug}");
    }

    // Some servers misbehave, each in its own way: the others are none the worse for it, and what
    // was published stays.
    let broken: BTreeSet<String> = world.slugs().into_iter().skip(7).step_by(40).collect();
    let faults = [
        Fault::Status(500, vec![]),
        Fault::Status(404, vec![]),
        Fault::Truncate(20),
        Fault::Redirect("http://127.1.0.99:1/".to_owned()),
    ];
    for (slug, fault) in broken.iter().zip(faults.iter().cycle()) {
        world.publish(slug, 3);
        let release = world.release(slug);
        for file in ["InRelease", "Release", "Packages"] {
            world
                .origin(slug)
                .fault(&release.replace("InRelease", file), fault.clone());
        }
    }
    let (since, before) = (clock::now(), newest(&reports));
    network.sync();
    let reports = until_all(&network, before);
    is_polite("faults", &world, &world.take_asked(), since.elapsed());
    let failed = with_verdict(&reports, "source failed");
    assert!(!failed.is_empty());
    for slug in world.slugs() {
        if !broken.contains(&slug) {
            assert!(!failed.contains(&*slug), "{slug} failed");
        }
        assert_eq!(network.rows(&slug).len(), 2, "{slug}");
    }
    println!("{} of {} broken sources failed", failed.len(), broken.len());
    drop(agents);
}

#[test]
fn the_worlds_servers_send_away_who_asks_too_much() {
    let origin = Origin::empty();
    origin.put("/a", "a");
    origin.limit(Limit {
        requests: 2,
        per: Duration::from_secs(3600),
        ..LIMIT
    });
    let ask = |client: &str| {
        let request =
            format!("GET /a HTTP/1.1\r\nUser-Agent: {client}\r\nConnection: close\r\n\r\n");
        raw(&origin.address().to_string(), request.as_bytes())
            .unwrap()
            .status
    };
    let answers: Vec<u16> = (0..7).map(|_| ask("eager")).collect();
    assert_eq!(answers, [200, 200, 429, 429, 429, 403, 403]);
    assert_eq!(origin.bans(), 1);
    assert_eq!(ask("another"), 200);
    // Two at once are too many, too.
    origin.latency(Duration::from_millis(300));
    std::thread::scope(|scope| {
        let one = scope.spawn(|| ask("one"));
        let two = scope.spawn(|| ask("two"));
        let mut statuses = [one.join().unwrap(), two.join().unwrap()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 429]);
    });
}
