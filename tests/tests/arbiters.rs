//! Three arbiters and six agents on one database: who holds what is the database's to say, so any
//! of them may be killed, and so may the database, and nothing is lost or done twice.

use canister_protocol::{Source, ToPeer};
use canister_tests::arbiters::Arbiters;
use canister_tests::network::{WAIT, flat};
use canister_tests::origin::Origin;
use canister_tests::peer::Peer;
use canister_tests::postgres::{Cluster, Database};
use canister_tests::programs::{until, workspace};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// Operators that Canister's sources are spread over here.
const ORIGINS: usize = 40;
/// How long everything may take that is a whole cycle over all sources.
const CYCLE: Duration = Duration::from_secs(240);

/// Canister's sources, each a repository of its own on one of some servers.
struct Sources {
    origins: Vec<Origin>,
    list: Vec<Source>,
}

impl Sources {
    fn serve() -> Self {
        let path = workspace().join("tests/data/index-repositories.json");
        let text = std::fs::read_to_string(path).unwrap();
        let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let origins: Vec<Origin> =
            (0..ORIGINS).map(|number| Origin::at(10 + number as u8)).collect();
        let list = entries.iter().enumerate().map(|(number, entry)| {
            let slug = entry["slug"].as_str().unwrap();
            let uri = format!("{}/{slug}", origins[number % ORIGINS].uri());
            flat(slug, &uri)
        });
        let sources = Self { list: list.collect(), origins };
        sources.publish(1);
        sources
    }

    fn origin(&self, number: usize) -> &Origin {
        &self.origins[number % ORIGINS]
    }

    /// Gives every source a package of this version, beside one that stays.
    fn publish(&self, version: u32) {
        for (number, source) in self.list.iter().enumerate() {
            let slug = &source.slug;
            let stanza = |name: &str, version: u32| {
                format!(
                    "Package: {name}.{slug}\nVersion: {version}\nArchitecture: iphoneos-arm\n\
                     Filename: debs/{name}.deb\nSize: 1\nDescription: of {slug}\n\n"
                )
            };
            let index = stanza("stays", 1) + &stanza("changes", version);
            let digest = Sha256::digest(index.as_bytes());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let release = format!("Origin: Test\nSHA256:\n {digest} {} Packages\n", index.len());
            let origin = self.origin(number);
            origin.put(&format!("/{slug}/Packages"), index);
            origin.put(&format!("/{slug}/InRelease"), release);
        }
    }

    /// How often each package index was asked for since last time.
    fn fetched(&self) -> BTreeMap<String, usize> {
        let mut fetched = BTreeMap::new();
        for origin in &self.origins {
            for request in origin.take_requests() {
                if let Some(slug) = request.path.strip_suffix("/Packages") {
                    *fetched.entry(slug[1..].to_owned()).or_default() += 1;
                }
            }
        }
        fetched
    }

    /// That no server was ever asked for two things at once.
    fn assert_polite(&self) {
        for origin in &self.origins {
            assert_eq!(origin.concurrent_max(), 1, "at {}", origin.uri());
        }
    }

    /// Waits until the catalogue is what the sources say at this version.
    fn until_published(&self, database: &Database, version: u32) {
        let count = format!(
            "SELECT count(*) FROM package WHERE visible AND latest_version AND
                 (package_id = 'changes.' || repository_id AND version = '{version}'
                  OR package_id = 'stays.' || repository_id)"
        );
        let expected = (2 * self.list.len()).to_string();
        until("the catalogue to be the truth", CYCLE, || {
            std::thread::sleep(Duration::from_millis(100));
            (database.psql(&count) == expected).then_some(())
        });
        let others = "SELECT count(*) FROM package WHERE visible";
        assert_eq!(database.psql(others), expected);
    }
}

#[test]
fn each_source_is_indexed_once_a_cycle_whoever_dies() {
    let mut cluster = Cluster::start();
    let database = cluster.database();
    let sources = Sources::serve();
    let options = ["--lease", "10s", "--retry-after", "2s"];
    let mut arbiters = Arbiters::start(3, &database.address(), &sources.list, &options);
    let mut agents: Vec<_> =
        (0..6).map(|number| Some(arbiters.agent(&format!("p{number}"), &[]))).collect();

    // Nobody dies: once each, however many arbiters grant.
    sources.until_published(&database, 1);
    sources.assert_polite();
    let fetched = sources.fetched();
    assert_eq!(fetched.len(), sources.list.len());
    let twice: Vec<_> = fetched.iter().filter(|(_, times)| **times != 1).collect();
    let why = "SELECT slug, verdict, count(*), min(error) FROM arbiter.attempt GROUP BY 1, 2 HAVING count(*) > 1";
    assert!(twice.is_empty(), "not read once: {twice:?}\n{}", database.psql(why));
    // Each arbiter shows the whole network.
    for number in 0..3 {
        arbiters.until_connected(number, 6);
        assert_eq!(arbiters.status(number).sources, sources.list.len() as u64);
    }
    let network = |number: usize| -> Vec<(String, Option<String>)> {
        let peers = arbiters.peers(number).into_iter();
        peers.map(|peer| (peer.peer, peer.arbiter)).collect()
    };
    assert_eq!(network(0).len(), 6);
    assert!(network(0).iter().all(|(_, arbiter)| arbiter.is_some()));
    assert_eq!(network(0), network(1));
    assert_eq!(network(0), network(2));

    // In the middle of the next cycle two arbiters die, three agents, and the database.
    sources.publish(2);
    assert_eq!(arbiters.sync(1), sources.list.len() as u64);
    let changed = "SELECT count(*) FROM package WHERE version = '2' AND visible";
    until("a part to be published", WAIT, || {
        let changed: u64 = database.psql(changed).parse().unwrap();
        (changed > 40).then_some(())
    });
    arbiters.kill9(0);
    agents[0..3].iter_mut().for_each(|agent| agent.take().unwrap().kill9());
    std::thread::sleep(Duration::from_millis(300));
    cluster.kill9();
    arbiters.kill9(2);
    cluster.up();
    let held_twice = "SELECT count(*) FROM (SELECT slug FROM arbiter.lease
        GROUP BY slug HAVING count(*) > 1) AS twice";
    assert_eq!(database.psql(held_twice), "0");
    sources.until_published(&database, 2);
    until("every lease to end", Duration::from_secs(20), || {
        (database.psql("SELECT count(*) FROM arbiter.lease") == "0").then_some(())
    });
    assert_eq!(database.psql("SELECT count(*) FROM arbiter.staging"), "0");
    // Nothing waited longer than a lease lives: all that was under way was granted again.
    let waits = "SELECT count(*) FROM arbiter.attempt WHERE ended - started > 10000 + 5000";
    assert_eq!(database.psql(waits), "0");
    sources.assert_polite();
    // The three agents that are left came to the arbiter that is left.
    arbiters.until_connected(1, 3);
    // And the others come back as if nothing had been.
    arbiters.up(0);
    arbiters.up(2);
    agents[0] = Some(arbiters.agent("p0", &[]));
    arbiters.until_connected(2, 4);
}

#[test]
fn what_one_arbiter_is_told_holds_at_all() {
    let database = Cluster::shared().database();
    let sources = ["kept", "gone"].map(|slug| flat(slug, &format!("https://{slug}.example")));
    let arbiters = Arbiters::start(2, &database.address(), &sources, &[]);
    // A peer that sits on whatever it gets.
    let mut peer = Peer::greet(arbiters.listen(1), &arbiters.peer("p1"), 2).unwrap();
    let granted = BTreeMap::from([peer.granted(), peer.granted()].map(|(lease, source)| {
        let slug = source.slug;
        (slug, lease)
    }));
    let allowed = |number| arbiters.check(number, "gone").starts_with("allowed");
    assert!(allowed(0) && allowed(1));
    let changed = arbiters.rule(0, "slug:gone", false);
    assert_eq!(changed.hidden, ["gone"]);
    let revoked = loop {
        match peer.hear().unwrap() {
            ToPeer::Revoked { lease, .. } => break lease,
            ToPeer::Grant { .. } => panic!("both sources were granted already"),
            _ => {}
        }
    };
    assert_eq!(revoked, granted["gone"]);
    until("the other to hear of it", WAIT, || (!allowed(0) && !allowed(1)).then_some(()));
    // And it comes back, to a peer of either.
    arbiters.rule(1, "slug:gone", true);
    let (again, source) = peer.granted();
    assert_eq!(source.slug, "gone");
    assert!(again > granted["kept"].max(granted["gone"]));
    until("the other to hear of it", WAIT, || (allowed(0) && allowed(1)).then_some(()));
}
