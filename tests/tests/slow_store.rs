//! A store that is slow, locked or silent: no door waits for it. A revoked peer is out at once,
//! renewals are answered, a lease whose Finish has arrived doesn't end, and whoever asks is told.
//!
//! `TEST_ROWS` says how many rows a long publication has, 100,000 unless it is set.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_protocol::message::{Cost, Counts, Facts, Origin as From, Outcome};
use canister_protocol::row::PackageRow;
use canister_protocol::{Head, Rows, Source, ToArbiter, ToPeer};
use canister_tests::arbiters::Arbiters;
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::{Fault, Origin};
use canister_tests::peer::{Peer, hello};
use canister_tests::postgres::{Cluster, Database};
use canister_tests::programs::{run, until};
use canister_tests::web;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Within which time a revoked peer is out, and what needs no store is answered.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A network on one of the stores. What is dropped first stands first.
struct Site {
    network: Network,
    postgres: Option<(Database, Cluster)>,
}

/// What keeps the store from answering, until it is dropped.
enum Obstacle<'a> {
    Client(#[expect(dead_code, reason = "its end is what lets go")] Box<postgres::Client>),
    File(#[expect(dead_code, reason = "its end is what lets go")] rusqlite::Connection),
    Frozen(&'a Cluster),
}

impl Drop for Obstacle<'_> {
    fn drop(&mut self) {
        if let Self::Frozen(cluster) = self {
            cluster.thaw();
        }
    }
}

impl Site {
    fn start(is_postgres: bool, sources: &[Source], options: &[&str]) -> Self {
        let postgres = is_postgres.then(|| {
            let cluster = Cluster::start();
            (cluster.database(), cluster)
        });
        let address = postgres.as_ref().map(|(database, _)| database.address());
        let mut options = options.to_vec();
        if let Some(address) = &address {
            options.extend(["--database", address]);
        }
        Self { network: Network::start(sources, &options), postgres }
    }

    /// The first number of a query over the arbiter's tables.
    fn count(&self, sql: &str) -> i64 {
        match &self.postgres {
            Some((database, _)) => {
                let sql = format!("SET search_path = arbiter, public; {sql}");
                database.psql(&sql).parse().unwrap()
            }
            None => self.network.database().query_row(sql, [], |row| row.get(0)).unwrap(),
        }
    }

    fn leases(&self, peer: &str) -> i64 {
        self.count(&format!("SELECT count(*) FROM lease WHERE peer = '{peer}'"))
    }

    /// How often a lease ended so.
    fn ended(&self, verdict: &str) -> i64 {
        self.count(&format!("SELECT count(*) FROM attempt WHERE verdict = '{verdict}'"))
    }

    /// As somebody does who makes an index, or a copy: nobody changes a package until it is over.
    fn lock(&self) -> Obstacle<'_> {
        match &self.postgres {
            Some((database, _)) => {
                let mut client =
                    postgres::Client::connect(&database.address(), postgres::NoTls).unwrap();
                let lock = "BEGIN; LOCK TABLE public.package IN SHARE MODE";
                client.batch_execute(lock).unwrap();
                Obstacle::Client(Box::new(client))
            }
            None => {
                let file = self.writable();
                file.execute_batch("BEGIN IMMEDIATE").unwrap();
                Obstacle::File(file)
            }
        }
    }

    fn freeze(&self) -> Obstacle<'_> {
        let (_, cluster) = self.postgres.as_ref().unwrap();
        cluster.freeze();
        Obstacle::Frozen(cluster)
    }

    fn writable(&self) -> rusqlite::Connection {
        let path = self.network.state().join(canister_arbiter::store::DATABASE_NAME);
        let file = rusqlite::Connection::open(path).unwrap();
        file.busy_timeout(WAIT).unwrap();
        file
    }

    /// Has a lease that one row was put under have `count` more, without anybody having sent them.
    fn stage(&self, lease: u64, count: usize) {
        const COLUMNS: &str = "version_key, version, architecture, package_filename, package_size,
            price, sha256_hash, name, description, author, maintainer, depiction, native_depiction,
            sileo_depiction, header_url, tint_color, icon_url, section, tags, installed_size";
        match &self.postgres {
            Some((database, _)) => database.psql(&format!(
                "INSERT INTO arbiter.staging (token, id, digest, package_id, {COLUMNS})
                 SELECT token, 'T' || lpad(n::text, 25, '0'), decode(md5(n::text), 'hex'),
                     'com.example.p' || n, {COLUMNS}
                 FROM arbiter.staging, generate_series(1, {count}) AS n WHERE token = {lease};
                 UPDATE arbiter.staged SET put = put + {count} WHERE token = {lease}"
            )),
            None => {
                self.writable()
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE;
                         WITH RECURSIVE series (n) AS
                             (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})
                         INSERT INTO staging (token, id, digest, package_id, {COLUMNS})
                         SELECT token, printf('T%025d', n), randomblob(16),
                             'com.example.p' || n, {COLUMNS}
                         FROM staging, series WHERE token = {lease};
                         UPDATE staged SET put = put + {count} WHERE token = {lease};
                         COMMIT"
                    ))
                    .unwrap();
                String::new()
            }
        };
    }
}

/// Sources on servers of their own, at which nobody listens.
fn sources(count: usize) -> Vec<Source> {
    (1..=count)
        .map(|number| flat(&format!("r{number}"), &format!("http://127.0.0.{number}:1")))
        .collect()
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

/// Puts one row under a lease.
fn put_one(peer: &mut Peer, lease: u64) {
    let row: PackageRow = PackageRow {
        package_id: "com.example.first".to_owned(),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        price: "Free".to_owned(),
        description: Some("of a package".repeat(20)),
        ..PackageRow::default()
    };
    peer.say(&ToArbiter::Put { lease, number: 1, rows: Rows::of(&[row]) });
    assert_eq!(peer.hear(), Ok(ToPeer::Taken { lease, number: 1 }));
}

/// Has a peer's leases renewed, and says how long the answer took.
fn renew(peer: &mut Peer, leases: &[u64]) -> Duration {
    let since = Instant::now();
    peer.say(&ToArbiter::Renew { leases: leases.to_vec() });
    assert_eq!(peer.hear(), Ok(ToPeer::Renewed { leases: leases.to_vec() }));
    since.elapsed()
}

/// Has many rows staged under the first of a peer's leases, while it renews them.
fn stage(site: &Site, rows: usize, peer: &mut Peer, leases: &[u64]) {
    if rows == 0 {
        return;
    }
    std::thread::scope(|scope| {
        let staging = scope.spawn(|| site.stage(leases[0], rows));
        until("the rows to be staged", WAIT * 10, || {
            assert!(renew(peer, leases) < AT_ONCE);
            staging.is_finished().then_some(())
        });
    });
}

/// A peer that has two leases and has finished one of them is revoked while `obstruct` keeps the
/// store from answering: how long it takes until it is out. Nothing of it is left in the end.
fn revoked(site: &Site, rows: usize, obstruct: impl FnOnce(&Site) -> Option<Obstacle<'_>>) {
    let network = &site.network;
    let mut good = Peer::greet(&network.listen, &network.peer("good"), 1).unwrap();
    let (kept, _) = good.granted();
    let mut bad = Peer::greet(&network.listen, &network.peer("bad"), 3).unwrap();
    let ((first, _), (second, other)) = (bad.granted(), bad.granted());
    put_one(&mut bad, first);
    stage(site, rows, &mut bad, &[first, second]);
    let obstacle = obstruct(site);
    let finished = Instant::now();
    bad.say(&finish(first, 1 + rows as u64));
    let took = renew(&mut bad, &[first, second]);
    assert!(took < AT_ONCE, "renewed after {took:?}");

    let locked = matches!(obstacle, Some(Obstacle::Client(_)));
    match &site.postgres {
        // The command ends its leases, too, and waits for none.
        Some((database, _)) if locked => {
            let folder = network.dir().join("ca").display().to_string();
            let words = ["ca", "revoke", "bad", "--why", "test", "--dir", &folder];
            let address = database.address();
            let words = [&words[..], &["--database", &address]].concat();
            let ran = run("canister-arbiter", words, Duration::from_secs(8));
            assert!(ran.status.success(), "{}", ran.stderr);
        }
        _ => drop(network.ca(&["revoke", "bad", "--why", "test"])),
    }
    let since = Instant::now();
    let (mut told, mut granted_late) = (Vec::new(), Vec::new());
    let ended = loop {
        match bad.hear() {
            Ok(ToPeer::Revoked { lease, .. }) => told.push(lease),
            // The command ended a lease before this arbiter knew that its peer is revoked.
            Ok(ToPeer::Grant { lease, .. }) if locked => granted_late.push(lease),
            Ok(heard) => panic!("{heard:?}"),
            Err(ended) => break ended,
        }
    };
    let took = since.elapsed();
    println!("out after {took:?}, {:?} after its Finish", finished.elapsed());
    assert!(took < AT_ONCE, "out after {took:?}");
    assert_eq!((ended.code, &*ended.reason), (4003, "revoked"));
    // It is still being published.
    assert!(rows == 0 || site.ended("indexed") == 0);
    told.sort_unstable();
    assert_eq!(told, [&[first, second], &granted_late[..]].concat(), "and nothing else");
    // What it wasn't finishing goes to others at once, where the store can do that.
    let until_granted = |good: &mut Peer| {
        good.say(&ToArbiter::Offer { reaches: None, bytes: None, slots: 3 });
        while good.granted().1.slug != other.slug {}
    };
    if locked {
        until_granted(&mut good);
        assert_eq!(site.ended("indexed"), 0);
    }
    drop(obstacle);
    // A publication of many rows may take a millisecond for each.
    let at_most = WAIT + Duration::from_millis(rows as u64);
    until("the revoked peer's leases to end", at_most, || {
        // Others aren't disturbed.
        assert!(locked || renew(&mut good, &[kept]) < AT_ONCE);
        (site.leases("bad") == 0).then_some(())
    });
    println!("its leases ended {:?} after its Finish", finished.elapsed());
    if !locked {
        until_granted(&mut good);
    }
    // Its Finish counts, or doesn't; that it expired is nobody's fault here.
    assert_eq!(site.ended("expired"), 0);
}

fn site(is_postgres: bool) -> Site {
    Site::start(is_postgres, &sources(3), &["--lease", "600s"])
}

/// How many rows a long publication has.
fn rows() -> usize {
    std::env::var("TEST_ROWS").map_or(100_000, |rows| rows.parse().unwrap())
}

#[test]
fn a_revoked_peer_is_out_at_once_while_the_catalogue_is_locked() {
    revoked(&site(true), 0, |site| Some(site.lock()));
}

#[test]
fn a_revoked_peer_is_out_at_once_while_the_database_is_silent() {
    revoked(&site(true), 0, |site| Some(site.freeze()));
}

#[test]
fn a_revoked_peer_is_out_at_once_while_the_file_is_locked() {
    revoked(&site(false), 0, |site| Some(site.lock()));
}

#[test]
fn a_revoked_peer_is_out_at_once_while_postgresql_publishes_much() {
    revoked(&site(true), rows(), |_| None);
}

#[test]
fn a_revoked_peer_is_out_at_once_while_sqlite_publishes_much() {
    revoked(&site(false), rows(), |_| None);
}

/// A peer's leases live while one of them is published, and longer than they would by themselves.
fn nothing_expires(is_postgres: bool) {
    let site = Site::start(is_postgres, &sources(2), &["--lease", "5s"]);
    let network = &site.network;
    let mut peer = Peer::greet(&network.listen, &network.peer("p1"), 2).unwrap();
    let ((first, _), (second, _)) = (peer.granted(), peer.granted());
    put_one(&mut peer, first);
    stage(&site, rows(), &mut peer, &[first, second]);
    peer.say(&finish(first, 1 + rows() as u64));
    // It renews the other only: the first is the arbiter's to keep.
    let mut renewed = Instant::now();
    peer.say(&ToArbiter::Renew { leases: vec![second] });
    loop {
        match peer.hear() {
            Ok(ToPeer::Renewed { leases }) => {
                assert_eq!(leases, [second]);
                assert!(renewed.elapsed() < AT_ONCE * 2, "{:?}", renewed.elapsed());
                // It is busy, and well.
                let health = web::ask(&site.network.public, "GET", "/health");
                assert_eq!(health.status, 200, "{}", health.body);
                std::thread::sleep(AT_ONCE);
                renewed = Instant::now();
                peer.say(&ToArbiter::Renew { leases: vec![second] });
            }
            Ok(ToPeer::Finished { lease }) => break assert_eq!(lease, first),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((site.ended("indexed"), site.ended("expired")), (1, 0));
    assert_eq!(site.leases("p1"), 1);
}

#[test]
fn nothing_expires_while_postgresql_publishes_much() {
    nothing_expires(true);
}

#[test]
fn nothing_expires_while_sqlite_publishes_much() {
    nothing_expires(false);
}

/// For longer than its lease lives an agent can't be answered.
fn asked_once(is_postgres: bool) {
    let origins = [Origin::at(2), Origin::at(3)];
    for origin in &origins {
        serve(origin, b"Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 1\n\n");
        origin.fault("/InRelease", Fault::Hang);
    }
    let sources = [flat("r1", &origins[0].uri()), flat("r2", &origins[1].uri())];
    let site = Site::start(is_postgres, &sources, &["--lease", "5s"]);
    let _agent = site.network.agent("p1", &["--slots", "2"]);
    until("both sources to be asked", WAIT, || {
        origins.iter().all(|origin| !origin.requests().is_empty()).then_some(())
    });
    let obstacle = site.lock();
    origins.iter().for_each(Origin::let_go);
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(site.ended("expired"), 0);
    drop(obstacle);
    until("both to be published", WAIT, || (site.ended("indexed") == 2).then_some(()));
    for origin in &origins {
        assert_eq!(origin.requests_for("/InRelease").len(), 1);
    }
    assert_eq!(site.count("SELECT count(*) FROM attempt"), 2);
}

#[test]
fn no_source_is_asked_twice_because_the_catalogue_is_locked() {
    asked_once(true);
}

#[test]
fn no_source_is_asked_twice_because_the_file_is_locked() {
    asked_once(false);
}

#[test]
fn no_other_arbiter_ends_a_lease_that_is_being_published() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let arbiters = Arbiters::start(2, &database.address(), &sources(2), &["--lease", "5s"]);
    let mut peer = Peer::greet(arbiters.listen(0), &arbiters.peer("p1"), 1).unwrap();
    let (lease, _) = peer.granted();
    put_one(&mut peer, lease);
    // It has a lease, so its arbiter looks twice a second what has expired.
    let mut other = Peer::greet(arbiters.listen(1), &arbiters.peer("p2"), 2).unwrap();
    let (others, _) = other.granted();
    let mut client = postgres::Client::connect(&database.address(), postgres::NoTls).unwrap();
    client.batch_execute("BEGIN; LOCK TABLE public.package IN SHARE MODE").unwrap();
    peer.say(&finish(lease, 1));
    // One try after the other fails, and in between nothing is locked.
    let fail = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
        WHERE relation = 'arbiter.package'::regclass AND NOT granted";
    let (since, mut failed) = (Instant::now(), 0);
    while since.elapsed() < Duration::from_secs(13) {
        std::thread::sleep(Duration::from_millis(100));
        failed += database.psql(fail).parse::<u32>().unwrap();
        assert!(renew(&mut other, &[others]) < AT_ONCE * 2);
    }
    assert!(failed > 5, "{failed}");
    let attempts = "SELECT count(*) FROM arbiter.attempt";
    assert_eq!(database.psql(attempts), "0");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(peer.hear(), Ok(ToPeer::Finished { lease }));
}

/// A lease ends by itself in the moment in which its peer's greeting would end it.
#[test]
fn a_greeting_that_loses_a_race_keeps_the_other_leases() {
    let site = Site::start(true, &sources(2), &["--lease", "600s"]);
    let network = &site.network;
    let (database, _) = site.postgres.as_ref().unwrap();
    let mut first = Peer::greet(&network.listen, &network.peer("p1"), 2).unwrap();
    let ((known, _), (lost, _)) = (first.granted(), first.granted());
    let mut client = postgres::Client::connect(&database.address(), postgres::NoTls).unwrap();
    let lock = format!("BEGIN; SELECT FROM arbiter.lease WHERE token = {lost} FOR UPDATE");
    client.batch_execute(&lock).unwrap();
    let mut second = Peer::connect(&network.listen, &network.peer("p1")).unwrap();
    second.say(&hello(&[known]));
    let is_welcome = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the greeting to wait, or to be over", WAIT, || {
                let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
                let is_over = is_welcome.load(Ordering::Relaxed);
                (is_over || database.psql(waits) != "0").then_some(())
            });
            let end = format!("DELETE FROM arbiter.lease WHERE token = {lost}; COMMIT");
            client.batch_execute(&end).unwrap();
        });
        match second.hear() {
            Ok(ToPeer::Welcome { leases, .. }) => assert_eq!(leases, [known]),
            other => panic!("{other:?}"),
        }
        is_welcome.store(true, Ordering::Relaxed);
    });
    assert!(renew(&mut second, &[known]) < AT_ONCE);
    assert_eq!(first.end().code, 1008);
}
