//! Homes whose IPv6 leads nowhere, whose IPv4 does, or that have the one without the other: all of
//! them reach arbiters, sources and the database, quickly, and are told what doesn't answer.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_agent::database::{DatabaseDoor, DatabaseThread};
use canister_link::identity::Identity;
use canister_protocol::database::DatabaseHost;
use canister_tests::apt::big_index;
use canister_tests::index::{Indexed, failed_with, indexed, serve};
use canister_tests::network::{Network, check, flat, list};
use canister_tests::origin::Origin;
use canister_tests::own_network::is_inside;
use canister_tests::programs::until;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What takes longer than this has waited for something that isn't there.
const QUICKLY: Duration = Duration::from_secs(3);

/// A home whose IPv6 is a black hole at 2001:db8:1::/48, forbidden at :2:: and unreachable at :3::; that
/// has IPv4 addresses of its own, and some that lead nowhere.
const HOLES: &str = "
ip link add hole type veth peer name bottom
ip link set hole up
ip link set bottom up
ip address add 2001:db8:ffff::1/64 dev hole nodad
ip address add 192.0.2.1/24 dev hole
ip neighbour add 2001:db8:ffff::2 lladdr 02:00:00:00:00:02 dev hole nud permanent
ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev hole nud permanent
ip -6 route add 2001:db8:1::/48 via 2001:db8:ffff::2
ip -6 route add prohibit 2001:db8:2::/48
ip -6 route add unreachable 2001:db8:3::/48
ip route add 198.51.100.0/24 via 192.0.2.2
ip address add 203.0.113.1/32 dev lo
ip address add 2001:db8:4::1/128 dev lo nodad
";

/// Runs it, which must take [`QUICKLY`] at most.
fn quickly<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = run();
    let took = began.elapsed();
    println!("{what}: {took:?}");
    assert!(took < QUICKLY, "{what} took {took:?}");
    done
}

/// Eight requests to a host, as for a source that lists nothing, each by a connection of its own.
fn source(host: &str, origin: &Origin) -> Indexed {
    let uri = format!("http://{host}:{}", origin.address().port());
    let run = quickly(host, || indexed(&uri, &[]));
    // One more where a connection ended just when it was used again.
    assert!(run.number("packages") == 36 && run.number("requests") >= 8, "{}", run.summary);
    run
}

fn serving(address: IpAddr) -> Origin {
    let origin = Origin::bound(address);
    origin.close_each();
    origin.put("/Packages", big_index(36));
    origin
}

#[test]
fn sources_are_reached_by_the_family_that_works() {
    const NAME: &str = "families::sources_are_reached_by_the_family_that_works";
    let hosts = "127.0.0.1 localhost
2001:db8:1::1 hole
2001:db8:1::2 hole
2001:db8:1::3 hole
2001:db8:1::4 hole
198.51.100.1 hole
203.0.113.1 hole
2001:db8:1::1 one
203.0.113.1 one
2001:db8:2::1 forbidden
2001:db8:2::2 forbidden
203.0.113.1 forbidden
2001:db8:3::1 unreachable
203.0.113.1 unreachable
203.0.113.1 four
198.51.100.1 six
198.51.100.2 six
2001:db8:4::1 six
2001:db8:1::1 none
2001:db8:2::1 none
198.51.100.1 none
";
    if !is_inside(NAME, HOLES, hosts) {
        return;
    }
    let origin = serving(Ipv4Addr::new(203, 0, 113, 1).into());
    for host in ["hole", "one", "forbidden", "unreachable", "four"] {
        source(host, &origin);
    }
    source("six", &serving("2001:db8:4::1".parse().unwrap()));
    let uri = format!("http://none:{}", origin.address().port());
    let parts = ["IPv6 (2 addresses): ", "IPv4 (1 address): no answer"];
    failed_with(&uri, &["--allow-private"], &parts);
}

#[test]
fn a_home_without_ipv4_reaches_it_through_its_translator() {
    const NAME: &str = "families::a_home_without_ipv4_reaches_it_through_its_translator";
    // 64:ff9b::/96 is the translator's: that name servers make addresses of names by it is theirs
    // alone, but an address of IPv4 that stands in a source has to be made here.
    let setup = "
ip address del 127.0.0.1/8 dev lo
ip address add 64:ff9b::203.0.113.7/128 dev lo nodad
";
    let hosts = "::1 localhost
64:ff9b::192.0.0.170 ipv4only.arpa
64:ff9b::203.0.113.7 translated
";
    if !is_inside(NAME, setup, hosts) {
        return;
    }
    let origin = serving("64:ff9b::203.0.113.7".parse().unwrap());
    source("translated", &origin);
    source("203.0.113.7", &origin);
    source("[64:ff9b::203.0.113.7]", &origin);
    // Where it leads is looked at all the same.
    let uri = format!("http://10.0.0.7:{}", origin.address().port());
    failed_with(&uri, &[], &["public internet"]);
    let uri = format!("http://198.51.100.7:{}", origin.address().port());
    failed_with(&uri, &["--allow-private"], &["unreachable"]);
}

#[test]
fn arbiters_are_reached_by_the_family_that_works() {
    const NAME: &str = "families::arbiters_are_reached_by_the_family_that_works";
    let hosts = "2001:db8:1::1 localhost
2001:db8:1::2 localhost
127.0.0.1 localhost
";
    if !is_inside(NAME, HOLES, hosts) {
        return;
    }
    let origin = Origin::empty();
    serve(&origin, "", "Packages", big_index(10));
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let listen = network.listen.replace("127.0.0.1", "localhost");
    let files = network.peer("p1");
    let checked = quickly("check", || check(&files, &listen, &[]));
    let said = checked.stdout + &checked.stderr;
    assert!(checked.status.success(), "{said}");
    let note = "note  some addresses of localhost don't answer, and others do: no answer";
    assert!(said.contains(note), "{said}");
    let began = Instant::now();
    let _agent = network.agent_at("p1", &listen, &[]);
    network.until_all("indexed", 0);
    println!("run: {:?}", began.elapsed());
}

#[test]
fn the_source_list_and_the_database_are_reached_by_the_family_that_works() {
    const NAME: &str =
        "families::the_source_list_and_the_database_are_reached_by_the_family_that_works";
    let hosts = "127.0.0.1 localhost
2001:db8:1::1 hole
2001:db8:1::2 hole
203.0.113.1 hole
";
    if !is_inside(NAME, HOLES, hosts) {
        return;
    }
    let own = Ipv4Addr::new(203, 0, 113, 1);
    let origin = serving(own.into());
    origin.put("/sources.json", list(&[flat("a", "http://a.example")]));
    let url = format!("http://hole:{}/sources.json", origin.address().port());
    let network = quickly("source list", || {
        let network = Network::start(&[], &["--sources", &url]);
        until("a source", QUICKLY, || (network.sources().len() == 1).then_some(()));
        network
    });

    // What isn't PostgreSQL ends the connection; how often it was reached is what counts.
    let listener = TcpListener::bind((own, 0)).unwrap();
    let host =
        DatabaseHost { host: "hole".to_owned(), port: listener.local_addr().unwrap().port() };
    let reached = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&reached);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counting.fetch_add(1, Ordering::Relaxed);
        }
    });
    let identity = Identity::load(&network.peer("p1")).unwrap();
    let tls = Arc::new(identity.client_config().unwrap());
    let database = DatabaseThread::new(tls, true, 0, Arc::default(), None);
    let named = canister_protocol::Database { hosts: vec![host], name: "canister".to_owned() };
    database.named(Some(DatabaseDoor { role: "p1".to_owned(), database: named }));
    let why = quickly("database", || database.trial()).unwrap_err();
    assert!(!why.contains("in time") && !why.contains("timed out"), "{why}");
    assert!(reached.load(Ordering::Relaxed) >= 2, "{why}");
}
