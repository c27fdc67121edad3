//! The real source list, simulated, and a real arbiter with three real agents over it: polite to
//! every server, and no request too many.

use canister_arbiter::doors::admin::SourceReport;
use canister_link::clock;
use canister_tests::network::{Network, flat};
use canister_tests::origin::{Fault, Limit, Origin, Validators};
use canister_tests::programs::{Program, until};
use canister_tests::web::raw;
use canister_tests::world::{Asked, LIMIT, World};
use sha2::{Digest as _, Sha256};
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
    reports.iter().filter(last).map(|report| &*report.source).collect()
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
    let network = Network::start(&world.sources, &["--interval", "86400s", "--audit-share", "2"]);
    println!("{all} sources of {} operators, three agents", world.operators());

    let since = clock::now();
    let agents = agents(&network);
    let reports = until_all(&network, 0);
    is_polite("cold", &world, &world.take_asked(), since.elapsed());
    assert_eq!(with_verdict(&reports, "indexed").len(), all);
    assert!(reports.iter().all(|report| report.packages == 2));
    for peer in network.peers() {
        assert!(peer.finished > 0, "{} did nothing", peer.peer);
    }

    // Nothing changed: one request a source, and at most two more for each that is audited.
    let (since, before) = (clock::now(), newest(&reports));
    network.sync();
    let reports = until_all(&network, before);
    let asked = world.take_asked();
    is_polite("unchanged", &world, &asked, since.elapsed());
    let audited = with_verdict(&reports, "audited").len();
    println!("{audited} of them audited");
    assert_eq!(with_verdict(&reports, "unchanged").len() + audited, all);
    assert!((1..all / 10).contains(&audited), "{audited}");
    assert!((all + audited..=all + 2 * audited).contains(&asked.requests), "{}", asked.requests);
    // Nobody found anything else than the others.
    for peer in network.peers() {
        assert_ne!(peer.trust, "suspended", "{}", peer.trust_why);
    }
    assert_eq!(network.peers().iter().map(|peer| peer.audits).sum::<u64>(), audited as u64);

    // One in twenty changed: one request more for each, for a signature or a shop that wasn't there
    // isn't asked for again.
    let of_its_own = |slug: &String| {
        let uri = &world.source(slug).uri;
        let there = world.sources.iter().filter(|source| source.uri == *uri);
        there.count() == 1
    };
    let mut slugs = world.slugs();
    slugs.retain(of_its_own);
    let chosen: BTreeSet<String> = slugs.iter().step_by(20).cloned().collect();
    for slug in &chosen {
        world.publish(slug, 2);
    }
    let (since, before) = (clock::now(), newest(&reports));
    network.sync();
    let reports = until_all(&network, before);
    let asked = world.take_asked();
    is_polite("5 % changed", &world, &asked, since.elapsed());
    let indexed = with_verdict(&reports, "indexed");
    assert!(indexed.iter().copied().eq(chosen.iter().map(String::as_str)), "{indexed:?}");
    assert_eq!(asked.requests, all + chosen.len());
    for slug in &chosen {
        assert_eq!(asked.by_source[slug], 2, "{slug}");
        let versions: Vec<_> = network.rows(slug).into_iter().map(|row| row.package.1).collect();
        assert_eq!(versions, ["2", "1"], "{slug}");
    }

    // Some servers misbehave, each in its own way: the others are none the worse for it, and what
    // was published stays.
    let broken: BTreeSet<String> = slugs.into_iter().skip(7).step_by(40).collect();
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
            let (folder, _) = release.rsplit_once('/').unwrap();
            world.origin(slug).fault(&format!("{folder}/{file}"), fault.clone());
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

/// Sources on one server, and an arbiter with this section `poll`, after whose refusals everybody
/// rests for a second, not for a minute.
fn banning(count: usize, poll: &str) -> (Origin, Network) {
    let origin = Origin::empty();
    origin.validators(Validators::Both);
    let slugs: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    for slug in &slugs {
        publish(&origin, slug, 1);
    }
    let source = |slug: &String| flat(slug, &format!("{}/{slug}", origin.uri()));
    let sources: Vec<_> = slugs.iter().map(source).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arbiter.toml");
    let settings = format!("{poll}[politeness]\npause = \"0s\"\nrest = \"1s\"\n");
    std::fs::write(&file, settings).unwrap();
    let network = Network::start(&sources, &["--config", file.to_str().unwrap()]);
    (origin, network)
}

fn publish(origin: &Origin, slug: &str, version: u32) {
    let index = format!("Package: a\nVersion: {version}\nArchitecture: all\n\n");
    let digest: String = Sha256::digest(&index).iter().map(|byte| format!("{byte:02x}")).collect();
    let release = format!("Origin: {slug}\nSHA256:\n {digest} {} Packages\n", index.len());
    origin.put(&format!("/{slug}/Packages"), index);
    origin.put(&format!("/{slug}/InRelease"), release);
}

/// Waits until each source's one package has this version.
fn until_version(network: &Network, count: usize, version: &str) {
    until("every source to be indexed", Duration::from_secs(120), || {
        let is_there = |number| {
            let rows = network.rows(&format!("s{number}"));
            rows.iter().map(|row| &*row.package.1).eq([version])
        };
        (0..count).all(is_there).then_some(())
    });
}

fn refused(origin: &Origin, client: &str) -> usize {
    let requests = origin.requests();
    let of_client = requests.iter().filter(|request| {
        request.header("user-agent") == Some(client) && [403, 429].contains(&request.status)
    });
    of_client.count()
}

#[test]
fn a_server_that_bans_after_three_429s_is_indexed_by_several_peers_and_bans_none() {
    let (origin, network) = banning(5, "[poll]\nretry_after = \"2s\"\n");
    // Each peer may ask for two sources in an hour: its third is answered with 429.
    origin.limit(Limit { requests: 4, per: Duration::from_secs(60 * 60), ..LIMIT });
    let agents = agents(&network);
    until_version(&network, 5, "1");
    for number in 1..=3 {
        let client = format!("peer-{number}");
        let times = refused(&origin, &client);
        println!("{client}: {times} refusals");
        assert!(times <= 1, "{client} went on after it was sent away");
    }
    assert_eq!(origin.bans(), 0);
    drop(agents);
}

#[test]
fn a_banned_peer_keeps_away_and_another_indexes_its_sources() {
    let (origin, network) = banning(5, "");
    let agents = agents(&network);
    until_version(&network, 5, "1");
    // One of them has been banned, whatever for.
    origin.ban("peer-1", Duration::from_secs(60 * 60));
    for round in 2..=4 {
        for number in 0..5 {
            publish(&origin, &format!("s{number}"), round);
        }
        network.sync();
        until_version(&network, 5, &round.to_string());
    }
    let times = refused(&origin, "peer-1");
    println!("peer-1: {times} refusals while it is banned; bans {}", origin.bans());
    assert!(times <= 1, "{times}");
    assert_eq!(origin.bans(), 1);
    drop(agents);
}

#[test]
fn the_worlds_servers_send_away_who_asks_too_much() {
    let origin = Origin::empty();
    origin.put("/a", "a");
    origin.limit(Limit { requests: 2, per: Duration::from_secs(3600), ..LIMIT });
    let ask = |client: &str| {
        let request =
            format!("GET /a HTTP/1.1\r\nUser-Agent: {client}\r\nConnection: close\r\n\r\n");
        raw(&origin.address().to_string(), request.as_bytes()).unwrap().status
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

#[test]
fn a_lease_that_waits_for_a_pause_keeps_nobody_waiting() {
    const PAUSE: Duration = Duration::from_millis(400);
    let index = "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 1\n\n";
    let digest: String = Sha256::digest(index).iter().map(|byte| format!("{byte:02x}")).collect();
    let release = format!("Origin: Test\nSHA256:\n {digest} {} Packages\n", index.len());
    let origins: Vec<Origin> =
        (1..=21).map(|number| Origin::on(std::net::Ipv4Addr::new(127, 3, 0, number))).collect();
    // One operator has eight sources, twenty have one each; a first lease of each is several requests.
    let mut sources = Vec::new();
    for (number, origin) in origins.iter().enumerate() {
        for own in 0..if number == 0 { 8 } else { 1 } {
            let path = format!("/{own}");
            origin.put(&format!("{path}/Release"), release.clone());
            origin.put(&format!("{path}/Packages"), index);
            sources.push(flat(&format!("s{number}-{own}"), &format!("{}{path}", origin.uri())));
        }
    }
    let network = Network::start(&sources, &["--pause", "400ms", "--interval", "86400s"]);
    let since = clock::now();
    let _agent = network.agent("peer", &["--slots", "1"]);
    until("all to be read", CYCLE, || {
        network.sources().iter().all(|report| report.packages == 1).then_some(())
    });
    let took = since.elapsed();
    let asked: Vec<usize> = origins.iter().map(|origin| origin.requests().len()).collect();
    let pauses = |requests: usize| PAUSE * u32::try_from(requests - 1).unwrap();
    let (largest, all): (Duration, Duration) =
        (pauses(asked[0]), asked.iter().map(|requests| pauses(*requests)).sum());
    println!("{asked:?}: {took:?}, of the largest operator {largest:?}, of all {all:?}");
    assert!(took < largest.mul_f64(1.5) && took < all, "{took:?}");
}
