//! A disk that runs full, by a peer that stages without end or by somebody else's files.

use canister_protocol::Rows;
use canister_protocol::ToArbiter;
use canister_protocol::ToPeer;
use canister_protocol::row::PackageRow;
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::own_network::is_inside;
use canister_tests::peer::Peer;
use canister_tests::programs::until;
use canister_tests::web::ask;
use std::fs;

fn index(version: u32) -> Vec<u8> {
    format!("Package: a\nVersion: {version}\nArchitecture: all\n\n").into_bytes()
}

/// A row of some kilobytes that is like no other.
fn row(number: u64) -> PackageRow {
    PackageRow {
        package_id: format!("p{number}"),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        description: Some("x".repeat(9_000)),
        ..PackageRow::default()
    }
}

#[test]
fn a_full_disk_stops_what_grows_and_all_goes_on_when_there_is_room() {
    const NAME: &str = "disk::a_full_disk_stops_what_grows_and_all_goes_on_when_there_is_room";
    let disk = std::env::temp_dir().join("canister-test-disk");
    let setup = format!("mkdir -p {0}; mount -t tmpfs -o size=64m tmpfs {0}", disk.display());
    if !is_inside(NAME, &setup, "127.0.0.1 localhost\n") {
        return;
    }
    let (origin, other) = (Origin::empty(), Origin::at(2));
    serve(&origin, &index(1));
    serve(&other, &index(1));
    let sources = [flat("a", &origin.uri()), flat("b", &other.uri())];
    let database = disk.join("canister.db").display().to_string();
    let options =
        ["--database", &database, "--interval", "2s", "--retry-after", "1s", "--lease", "5s"];
    let network = Network::start(&sources, &options);
    // A peer that puts as much as it can under one lease after another.
    let mut greedy = Peer::greet(&network.listen, &network.peer("greedy"), 1).unwrap();
    let (mut number, mut refused) = (0, 0);
    while refused < 3 {
        let (lease, _) = greedy.granted();
        for write in 1.. {
            let rows: Vec<_> = (0..10).map(|at| row(number + at)).collect();
            let rows = Rows::of(&rows);
            number += 10;
            greedy.say(&ToArbiter::Put { lease, number: write, rows });
            match greedy.answer() {
                Ok(ToPeer::Taken { .. }) => assert!(number < 10_000, "100 MB were staged"),
                Ok(ToPeer::Refused { reason, .. }) => {
                    assert!(reason.contains("bytes are staged under all leases"), "{reason}");
                    refused += 1;
                    break;
                }
                heard => panic!("{heard:?}"),
            }
        }
    }
    drop(greedy);
    let agent = network.agent("p1", &[]);
    let has = |version: &str| {
        let path = disk.join("canister.db");
        let database = rusqlite::Connection::open(path).unwrap();
        let all = "SELECT count(*) FROM package WHERE visible AND version = ?1";
        database.query_row(all, [version], |row| row.get::<_, i64>(0)).unwrap_or(0)
    };
    until("both to be indexed", WAIT, || (has("1") == 2).then_some(()));
    // Somebody else fills the disk: as far as it goes.
    let filler = disk.join("filler");
    let _ = fs::write(&filler, vec![7; 64 << 20]);
    until("it to be full", WAIT, || network.status().is_full.then_some(()));
    let health = ask(&network.public, "GET", "/health");
    assert_eq!(health.status, 503);
    assert!(health.body.contains("disk is full"), "{health:?}");
    assert!(network.command(&["status"]).contains("full: nothing is granted"));
    serve(&origin, &index(2));
    fs::remove_file(&filler).unwrap();
    until("it to go on by itself", WAIT, || (has("2") == 1).then_some(()));
    assert!(!network.status().is_full);
    until("/health to say so", WAIT, || {
        (ask(&network.public, "GET", "/health").status == 200).then_some(())
    });
    drop(agent);
}
