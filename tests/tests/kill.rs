//! Either program may be killed at any moment, and either may come back late: the catalogue ends
//! up as the truth, no lease is lost or held twice, and what is said under an old token changes
//! nothing.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_protocol::Head;
use canister_protocol::message::{Cost, Counts, Facts, Origin as From, Outcome};
use canister_protocol::row::PackageRow;
use canister_protocol::{Digest, Rows, ToArbiter, ToPeer};
use canister_tests::apt::big_index;
use canister_tests::network::{Network, WAIT, flat, rows, serve, truth, without_descriptions};
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::Peer;
use canister_tests::programs::until;
use std::time::{Duration, Instant};

fn count(network: &Network, sql: &str) -> i64 {
    network.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Waits until rows of a lease are staged, so that it is in the middle.
fn until_staged(network: &Network, at_least: i64) {
    until("rows to be staged", WAIT, || {
        (count(network, "SELECT count(*) FROM staging") >= at_least).then_some(())
    });
}

/// The newest lease that has ended.
fn newest(network: &Network) -> i64 {
    count(network, "SELECT coalesce(max(token), 0) FROM attempt")
}

fn verdicts(network: &Network) -> Vec<String> {
    let database = network.database();
    let mut statement = database.prepare("SELECT verdict FROM attempt ORDER BY token").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_agent_killed_in_the_middle_of_a_lease_loses_nothing() {
    let origin = Origin::empty();
    let index = String::from_utf8(big_index(3000)).unwrap();
    serve(&origin, index.as_bytes());
    // A third of the index in the time that a lease lives.
    origin.fault("/Packages", Fault::Trickle(index.len() / 150, Duration::from_millis(100)));
    let network = Network::start(&[flat("a", &origin.uri())], &["--lease", "5s"]);
    let mut first = network.agent("p1", &[]);
    until_staged(&network, 500);
    first.kill9();
    assert_eq!(count(&network, "SELECT count(*) FROM lease"), 1);
    origin.heal("/Packages");
    let _second = network.agent("p2", &[]);
    network.until_all("indexed", 1);
    assert_eq!(verdicts(&network), ["expired", "indexed"]);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));
    assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
    assert_eq!(count(&network, "SELECT count(*) FROM lease"), 0);
    assert_eq!(origin.concurrent_max(), 1);
}

#[test]
fn an_arbiter_killed_in_the_middle_of_a_publication_publishes_all_or_nothing() {
    let origin = Origin::empty();
    let mut network = Network::start(&[flat("a", &origin.uri())], &["--retry-after", "1s"]);
    let mut agent = network.agent("p1", &[]);
    let mut old = Vec::new();
    let (mut before, mut after) = (0, 0);
    for round in 1..=8u32 {
        if round % 3 == 0 {
            // One that has seen no arbiter die is back sooner.
            agent.kill9();
            agent = network.agent("p1", &[]);
        }
        // Every package has a new version: the whole catalogue of the source changes.
        let index = String::from_utf8(big_index(4000)).unwrap();
        let index = index.replace("\nVersion: ", &format!("\nVersion: {round}:"));
        let new = truth(&index);
        serve(&origin, index.as_bytes());
        network.sync();
        // Somewhere in the publication, a little later each time, but no later than its end.
        let last = newest(&network);
        until_staged(&network, new.len() as i64);
        let (since, later) = (Instant::now(), Duration::from_millis(u64::from(round) * 60));
        until("the moment to come", WAIT, || {
            (since.elapsed() > later || newest(&network) > last).then_some(())
        });
        network.arbiter.kill9();
        let state = network.state();
        let found = without_descriptions(rows(&canister_tests::network::database(&state), "a"));
        assert!(found == old || found == new, "round {round}: a part was published");
        if found == old {
            before += 1;
        } else {
            after += 1;
        }
        network.restart();
        until("the catalogue to be the truth", WAIT, || {
            (without_descriptions(network.rows("a")) == new).then_some(())
        });
        until("the lease to end", WAIT, || {
            (count(&network, "SELECT count(*) FROM lease") == 0).then_some(())
        });
        old = new;
    }
    println!("killed before the commit {before} times, after it {after} times");
    assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
    assert_eq!(origin.concurrent_max(), 1);
}

#[test]
fn a_lease_outlives_its_arbiter() {
    let origin = Origin::empty();
    let index = String::from_utf8(big_index(3000)).unwrap();
    serve(&origin, index.as_bytes());
    origin.fault("/Packages", Fault::Trickle(index.len() / 40, Duration::from_millis(100)));
    let mut network = Network::start(&[flat("a", &origin.uri())], &["--lease", "60s"]);
    let _agent = network.agent("p1", &[]);
    until_staged(&network, 500);
    network.arbiter.kill9();
    network.restart();
    network.until_all("indexed", 0);
    // The same lease, the same download: nothing was done twice.
    assert_eq!(verdicts(&network), ["indexed"]);
    assert_eq!(origin.requests_for("/Packages").len(), 1);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));

    // Stopped in the usual way it is the same.
    let changed = index.replace("\nVersion: ", "\nVersion: 9:");
    serve(&origin, changed.as_bytes());
    network.sync();
    until_staged(&network, 500);
    network.arbiter.term();
    assert!(network.arbiter.wait(WAIT).success());
    network.restart();
    network.until_all("indexed", 1);
    assert_eq!(verdicts(&network), ["indexed", "indexed"]);
    assert_eq!(origin.requests_for("/Packages").len(), 2);
    assert_eq!(without_descriptions(network.rows("a")), truth(&changed));
}

#[test]
fn both_killed_at_once() {
    let origin = Origin::empty();
    let index = String::from_utf8(big_index(3000)).unwrap();
    serve(&origin, index.as_bytes());
    origin.fault("/Packages", Fault::Trickle(index.len() / 100, Duration::from_millis(50)));
    let mut network = Network::start(&[flat("a", &origin.uri())], &["--lease", "5s"]);
    let mut agent = network.agent("p1", &[]);
    until_staged(&network, 500);
    network.arbiter.kill9();
    agent.kill9();
    origin.heal("/Packages");
    network.restart();
    // The same peer comes back and knows nothing of its lease: it is granted anew at once.
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 1);
    assert_eq!(verdicts(&network), ["given back", "indexed"]);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));
    assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
}

#[test]
fn a_stopped_agent_gives_its_leases_back() {
    let origin = Origin::empty();
    let index = String::from_utf8(big_index(3000)).unwrap();
    serve(&origin, index.as_bytes());
    origin.fault("/Packages", Fault::Trickle(index.len() / 400, Duration::from_millis(100)));
    let network = Network::start(&[flat("a", &origin.uri())], &["--lease", "600s"]);
    let mut first = network.agent("p1", &["--drain", "1s"]);
    until_staged(&network, 100);
    first.term();
    assert!(first.wait(WAIT).success());
    // It doesn't wait for an answer to that.
    until("the lease to end", WAIT, || (!verdicts(&network).is_empty()).then_some(()));
    assert_eq!(verdicts(&network), ["given back"]);
    assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
    // Another gets it long before the lease would have expired; a slower stop finishes it.
    origin.heal("/Packages");
    origin.fault("/Packages", Fault::Trickle(index.len() / 20, Duration::from_millis(100)));
    let mut second = network.agent("p2", &["--drain", "50s"]);
    until_staged(&network, 100);
    second.term();
    assert!(second.wait(WAIT).success());
    assert_eq!(verdicts(&network), ["given back", "indexed"]);
    assert_eq!(without_descriptions(network.rows("a")), truth(&index));
}

fn row(name: &str) -> PackageRow {
    PackageRow {
        package_id: name.to_owned(),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        price: "Free".to_owned(),
        ..PackageRow::default()
    }
}

fn finish(lease: u64, put: u64) -> ToArbiter {
    let origin = From {
        head: Head::from_sha256([7; 32]).to_string(),
        release_path: "Release".to_owned(),
        index_path: "Packages".to_owned(),
        index_digest: format!("sha256:{}", "ab".repeat(32)),
        ..From::default()
    };
    let counts = Counts { packages: put, put, ..Counts::default() };
    let outcome = Outcome::Indexed { origin, facts: Facts::default(), counts };
    ToArbiter::Finish { lease, outcome, owner: None, cost: Cost::default() }
}

#[test]
fn what_is_said_under_an_old_token_changes_nothing() {
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &["--lease", "5s"]);
    let mut late = Peer::greet(&network.listen, &network.peer("late"), 1).unwrap();
    let (old, _) = late.granted();
    late.say(&ToArbiter::Put { lease: old, number: 1, rows: Rows::of(&[row("old")]) });
    assert_eq!(late.hear(), Ok(ToPeer::Taken { lease: old, number: 1 }));
    late.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 0 });

    // It doesn't renew: the arbiter takes the lease away, and another peer gets the source.
    match late.hear() {
        Ok(ToPeer::Revoked { lease, .. }) => assert_eq!(lease, old),
        other => panic!("{other:?}"),
    }
    let mut quick = Peer::greet(&network.listen, &network.peer("quick"), 1).unwrap();
    let (new, _) = quick.granted();
    assert!(new > old);
    quick.say(&ToArbiter::Put { lease: new, number: 1, rows: Rows::of(&[row("new")]) });
    assert_eq!(quick.hear(), Ok(ToPeer::Taken { lease: new, number: 1 }));

    let refused = |peer: &mut Peer, message: &ToArbiter, token: u64| {
        peer.say(message);
        match peer.hear() {
            Ok(ToPeer::Refused { lease, reason }) => assert_eq!(lease, token, "{reason}"),
            other => panic!("{other:?} to {message:?}"),
        }
    };
    let writes = |token: u64| {
        [
            ToArbiter::Put { lease: token, number: 2, rows: Rows::of(&[row("late")]) },
            ToArbiter::Dropped { lease: token, number: 2, digests: vec![Digest([0; 16])] },
            finish(token, 1),
        ]
    };
    for message in writes(old) {
        refused(&mut late, &message, old);
    }
    // Nor may it speak under the other's token.
    for message in writes(new) {
        refused(&mut late, &message, new);
    }
    assert!(network.rows("a").is_empty());

    quick.say(&finish(new, 1));
    assert_eq!(quick.hear(), Ok(ToPeer::Finished { lease: new }));
    let names: Vec<_> = network.rows("a").into_iter().map(|row| row.package.0).collect();
    assert_eq!(names, ["new"]);
    // And a finish that is said twice, because its answer was lost, is over.
    refused(&mut quick, &finish(new, 1), new);
    assert_eq!(network.rows("a").len(), 1);
}

#[test]
fn a_finish_that_counts_wrong_publishes_nothing() {
    let options = ["--lease", "600s", "--retry-after", "1s"];
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &options);
    let mut peer = Peer::greet(&network.listen, &network.peer("p1"), 1).unwrap();
    let (lease, _) = peer.granted();
    peer.say(&ToArbiter::Put { lease, number: 1, rows: Rows::of(&[row("a"), row("b")]) });
    assert_eq!(peer.hear(), Ok(ToPeer::Taken { lease, number: 1 }));
    peer.say(&finish(lease, 1)); // Two were put.
    match peer.hear() {
        Ok(ToPeer::Refused { reason, .. }) => assert!(reason.contains("arrived"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(network.rows("a").is_empty());
    // The lease is over on both sides, and the source is granted anew after a pause.
    let (again, _) = peer.granted();
    assert!(again > lease);
    assert_eq!(count(&network, "SELECT count(*) FROM staging"), 0);
}
