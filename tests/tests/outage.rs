//! A PostgreSQL that is stopped, silent, slow, full or started again, and what each door says then, and
//! when: from what was last known, with since when and why. Each test prints its table.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_protocol::Rows;
use canister_protocol::ToArbiter;
use canister_protocol::ToPeer;
use canister_protocol::row::PackageRow;
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::peer::{Peer, hello};
use canister_tests::postgres::{Cluster, Database};
use canister_tests::programs::{Ends, Ran, run, until};
use canister_tests::web;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Within which time every door answers, however busy the machine is; the table has what it took.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What an outage is told with.
const SILENT: &str = "answered since";
/// An announcement of a source by its address.
const ANNOUNCED: &str = r#"{"Cid":{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"},"Addrs":["/ip4/127.0.0.1/tcp/1/http"]}"#;

/// A network with one source at which nobody listens. What is dropped first stands first.
struct Site {
    network: Network,
    database: Database,
    cluster: Cluster,
    state: &'static str,
}

impl Site {
    fn start(state: &'static str) -> Self {
        let cluster = Cluster::start();
        let database = cluster.database();
        let address = database.address();
        Self::at(state, cluster, database, &address)
    }

    fn at(state: &'static str, cluster: Cluster, database: Database, address: &str) -> Self {
        let options = ["--lease", "600s", "--database", address];
        let network = Network::start(&[flat("r1", "http://127.0.0.1:1")], &options);
        Self { network, database, cluster, state }
    }

    /// Has every door asked once, so that something is known.
    fn look(&self) {
        let public = &self.network.public;
        until("a first page", WAIT, || (web::ask(public, "GET", "/").status == 200).then_some(()));
        for words in [&["status"][..], &["sources"], &["peers"], &["held"], &["decisions"]] {
            self.network.command(words);
        }
    }

    /// Waits until the trouble is known.
    fn trouble(&self) {
        until("the trouble to be known", WAIT, || {
            (web::ask(&self.network.public, "GET", "/health").status == 503).then_some(())
        });
    }

    fn page(&self, method: &str, path: &str, body: &str) -> web::Reply {
        let since = Instant::now();
        let json = ["Content-Type: application/json"];
        let reply = web::send(&self.network.public, method, path, &json, body.as_bytes());
        self.took(&format!("{method} {path}"), &reply.status.to_string(), since, AT_ONCE);
        reply
    }

    fn command(&self, words: &[&str], at_most: Duration) -> Ran {
        let since = Instant::now();
        let ran = self.ask(words);
        let code = ran.status.code().map_or_else(String::new, |code| code.to_string());
        self.took(&format!("canister-arbiter {}", words.join(" ")), &code, since, at_most);
        ran
    }

    fn ask(&self, words: &[&str]) -> Ran {
        let state = self.network.state();
        run("canister-arbiter", [words, &["--state", state.to_str().unwrap()]].concat(), WAIT)
    }

    fn took(&self, door: &str, status: &str, since: Instant, at_most: Duration) {
        let took = since.elapsed();
        println!("{:<10} {door:<34} {status:>4} {:>6} ms", self.state, took.as_millis());
        assert!(took < at_most, "{}: {door}: {took:?}", self.state);
    }

    /// What every door says of a store that is known to be gone, for `why`.
    fn told(&self, why: &str) {
        self.trouble();
        for (method, path, body, status, said) in [
            ("GET", "/health", "", 503, SILENT),
            ("GET", "/", "", 200, SILENT),
            ("GET", "/status.json", "", 200, SILENT),
            ("GET", "/peers.json", "", 200, ""),
            ("GET", "/metrics", "", 200, "\ncanister_store_up 0\n"),
            ("GET", "/source/r1", "", 200, SILENT),
            ("GET", "/source/r1.json", "", 200, SILENT),
            ("GET", "/source/unknown", "", 503, SILENT),
            ("GET", "/feed.atom", "", 503, SILENT),
            ("GET", "/changes?after=0", "", 503, SILENT),
            ("GET", "/request/1", "", 503, SILENT),
            ("GET", "/announced/1/r1", "", 503, SILENT),
            ("POST", "/announce", ANNOUNCED, 503, SILENT),
        ] {
            let reply = self.page(method, path, body);
            assert_eq!(reply.status, status, "{path}: {}", reply.body);
            assert!(reply.body.contains(said), "{path}: {}", reply.body);
            assert_eq!(reply.header("retry-after").is_some(), status == 503, "{path}");
        }
        for words in [&["status"][..], &["sources"], &["peers"], &["held"], &["decisions"]] {
            let ran = self.command(words, AT_ONCE);
            assert!(ran.status.success() && !ran.stdout.is_empty(), "{words:?}: {}", ran.stderr);
            for said in [SILENT, why, "; this is as of "] {
                assert!(ran.stderr.contains(said), "{words:?}: {}", ran.stderr);
            }
        }
        // A command is done once the store answers: this one is of a source that isn't there.
        for words in [&["delist", "r2"][..], &["source", "r1"]] {
            let ran = self.command(words, AT_ONCE);
            assert_eq!(ran.status.code(), Some(1));
            assert!(ran.stderr.contains(SILENT), "{}", ran.stderr);
        }
    }

    /// That doors which have something to show show it though the store is late, and that an
    /// announcement is answered.
    fn answers(&self) {
        for path in ["/", "/status.json", "/peers.json", "/metrics"] {
            let reply = self.page("GET", path, "");
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        }
        self.page("GET", "/health", "");
        let status = self.command(&["status"], AT_ONCE);
        assert!(status.status.success() && status.stdout.contains("sources"), "{}", status.stderr);
        let since = Instant::now();
        let json = ["Content-Type: application/json"];
        let path = "/announce";
        let reply = web::send(&self.network.public, "POST", path, &json, ANNOUNCED.as_bytes());
        self.took("POST /announce", &reply.status.to_string(), since, AT_ONCE * 2);
        assert_eq!(reply.header("retry-after").is_some(), reply.status == 503, "{}", reply.body);
    }

    fn renew(&self, peer: &mut Peer, lease: u64) {
        let since = Instant::now();
        peer.say(&ToArbiter::Renew { leases: vec![lease] });
        assert_eq!(peer.hear(), Ok(ToPeer::Renewed { leases: vec![lease] }));
        self.took("a session renews", "", since, AT_ONCE);
    }

    /// Waits until all is well again, and says how often the log spoke of the outage and of its end.
    fn is_over(&self) -> [usize; 2] {
        let public = &self.network.public;
        until("the store to work again", WAIT, || {
            let metrics = web::ask(public, "GET", "/metrics");
            metrics.body.contains("\ncanister_store_up 1\n").then_some(())
        });
        assert_eq!(web::ask(public, "GET", "/health").status, 200);
        self.network.command(&["status"]);
        let log = self.network.arbiter.stderr();
        ["the store fails", "the store works again"].map(|said| log.matches(said).count())
    }
}

#[test]
fn of_a_silent_database_every_door_tells() {
    let site = Site::start("silent");
    let network = &site.network;
    let mut peer = Peer::greet(&network.listen, &network.peer("p1"), 1).unwrap();
    let (lease, _) = peer.granted();
    site.look();
    site.cluster.freeze();
    // It isn't known yet.
    site.answers();
    site.told("");
    // Whoever needs no store is answered.
    site.renew(&mut peer, lease);
    // Whoever comes is sent to another arbiter, and keeps its leases.
    let since = Instant::now();
    let mut late = Peer::connect(&network.listen, &network.peer("p2")).unwrap();
    late.say(&hello(&[]));
    let ended = late.end();
    assert_eq!((ended.code, &*ended.reason), (1001, "the arbiter's store doesn't answer"));
    assert!(since.elapsed() < Duration::from_secs(14), "{:?}", since.elapsed());
    site.cluster.thaw();
    // It was slow, and nothing failed.
    assert_eq!(site.is_over(), [0, 0]);
}

#[test]
fn of_a_database_that_is_down_every_door_tells() {
    let mut site = Site::start("stopped");
    for number in 1..=2 {
        site.look();
        site.cluster.stop();
        site.told("connect to database");
        site.cluster.up();
        assert_eq!(site.is_over(), [number, number]);
    }
}

#[test]
fn while_a_database_is_started_again_every_door_answers() {
    let mut site = Site::start("restarting");
    let mut peer = Peer::greet(&site.network.listen, &site.network.peer("p1"), 1).unwrap();
    let (lease, _) = peer.granted();
    site.look();
    site.cluster.stop();
    site.answers();
    site.cluster.up();
    site.answers();
    site.renew(&mut peer, lease);
    let [began, ended] = site.is_over();
    assert!(began <= 1 && began == ended, "{began} {ended}");
}

/// Passes on what a client says to a database after a while.
struct Slow {
    port: u16,
    millis: Arc<AtomicU64>,
}

impl Slow {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let millis = Arc::new(AtomicU64::new(0));
        let late = Arc::clone(&millis);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (mut client, mut server) =
                    (client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
                let (mut back, mut answers) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let late = Arc::clone(&late);
                std::thread::spawn(move || {
                    let mut bytes = [0; 65536];
                    while let Ok(count) = client.read(&mut bytes) {
                        std::thread::sleep(Duration::from_millis(late.load(Ordering::Relaxed)));
                        if count == 0 || server.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = server.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut answers, &mut back);
                    let _ = back.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, millis }
    }
}

#[test]
fn of_a_database_that_takes_200_ms_a_call_doors_answer_from_what_is_known() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let slow = Slow::start(cluster.port());
    let name = database.name();
    let address =
        format!("host=127.0.0.1 port={} user=postgres dbname={name} sslmode=disable", slow.port);
    let site = Site::at("slow", cluster, database, &address);
    let mut peer = Peer::greet(&site.network.listen, &site.network.peer("p1"), 1).unwrap();
    let (lease, _) = peer.granted();
    site.look();
    slow.millis.store(200, Ordering::Relaxed);
    for _ in 0..3 {
        site.answers();
        site.renew(&mut peer, lease);
        std::thread::sleep(AT_ONCE);
    }
    // It takes its time, and is complete.
    for path in ["/source/r1", "/feed.atom", "/changes?after=0"] {
        let reply = web::ask(&site.network.public, "GET", path);
        assert!([200, 503].contains(&reply.status), "{path}: {}", reply.body);
    }
    slow.millis.store(0, Ordering::Relaxed);
    assert_eq!(site.is_over(), [0, 0]);
    assert!(site.database.psql("SELECT count(*) FROM arbiter.lease") == "1");
}

/// A small disk of a database's tables, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(owner: &Path) -> Option<Self> {
        let path = tempfile::Builder::new().prefix("canister-disk-").tempdir().unwrap().keep();
        let size = ["-t", "tmpfs", "-o", "size=48m", "tmpfs"];
        let mounted = Command::new("mount").args(size).arg(&path).output();
        if !mounted.is_ok_and(|ran| ran.status.success()) {
            let _ = std::fs::remove_dir(&path);
            return None;
        }
        let owned = Command::new("chown").arg("--reference").arg(owner).arg(&path).status();
        assert!(owned.unwrap().success());
        Some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A row of some kilobytes that nothing packs.
fn row(number: u64) -> PackageRow {
    let mut seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (seed >> 59) as u8 % 26)
    };
    PackageRow {
        package_id: format!("p{number}"),
        version: "1".into(),
        architecture: "all".into(),
        price: "Free".into(),
        description: Some((0..9_000).map(letter).collect()),
        ..PackageRow::default()
    }
}

#[test]
fn of_a_database_whose_disk_is_full_every_door_tells() {
    let cluster = Cluster::start();
    let Some(disk) = SmallDisk::mount(cluster.socket_dir()) else {
        let _ = writeln!(std::io::stderr(), "NOT TESTED: a full disk: mount isn't allowed here");
        return;
    };
    let place = format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display());
    cluster.psql("postgres", &place);
    let database = cluster.database();
    cluster.psql("postgres", &format!("ALTER DATABASE {} SET TABLESPACE small", database.name()));
    let address = database.address();
    let site = Site::at("full", cluster, database, &address);
    let mut peer = Peer::greet(&site.network.listen, &site.network.peer("p1"), 1).unwrap();
    let (lease, _) = peer.granted();
    site.look();
    let filler = disk.0.join("filler");
    let _ = std::fs::write(&filler, vec![7; 64 << 20]);
    // Whatever there was of room in its tables is soon taken.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Ends(&is_over);
        let putting = scope.spawn(|| {
            for number in 1..2000 {
                let rows: Vec<_> = (0..10).map(|at| row(number * 10 + at)).collect();
                let rows = Rows::of(&rows);
                peer.say(&ToArbiter::Put { lease, number, rows });
                assert_eq!(peer.answer(), Ok(ToPeer::Taken { lease, number }));
                if is_over.load(Ordering::Relaxed) {
                    return number;
                }
            }
            panic!("nothing is full");
        });
        // A busy machine's disk may be silent for a while before that, which ends by itself.
        until("a write that has no room", WAIT * 2, || {
            site.ask(&["status"]).stderr.contains("no space left").then_some(())
        });
        site.told("no space left");
        drop(over);
        std::fs::remove_file(&filler).unwrap();
        // While the last room is taken one may seem to be over.
        let [begun, ended] = site.is_over();
        assert!(begun == ended && (1..4).contains(&begun), "{begun} and {ended}");
        println!("the write that had no room at first was the {}th", putting.join().unwrap());
    });
    site.renew(&mut peer, lease);
    drop(site);
    drop(disk);
}
