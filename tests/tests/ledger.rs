//! What a volunteer's machine did and may do: the ledger beside a counting server and the line's own
//! counters, caps, hours, veto.

use canister_protocol::Source;
use canister_tests::network::{Network, WAIT, agent_command, flat, serve, serve_in};
use canister_tests::origin::Origin;
use canister_tests::own_network::{Home, is_inside, world};
use canister_tests::programs::{Program, binary, run_command, until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SERVERS: &str = "ip address add 11.9.0.1/32 dev lo\n";
const HOSTS: &str = "127.0.0.1 localhost\n11.9.0.1 one.example\n";
/// What sleeps keeps the line, and so its counters, for a while when the agent is gone.
const HOME: &str = "sleep 90 >/dev/null 2>&1 &
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip address add 11.LINE.0.2/24 dev home
ip route add default via 11.LINE.0.1
";
const HOME_HOSTS: &str = "11.9.0.1 localhost one.example\n";

/// What passes on each connection to another address, and counts it.
struct Counting {
    port: u16,
    /// From whoever connects, and to it.
    bytes: Arc<[AtomicU64; 2]>,
}

impl Counting {
    fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes: Arc<[AtomicU64; 2]> = Arc::default();
        let counted = Arc::clone(&bytes);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, to) = (stream.unwrap(), TcpStream::connect(target).unwrap());
                for (at, from, into) in
                    [(0, stream.try_clone().unwrap(), to.try_clone().unwrap()), (1, to, stream)]
                {
                    let counted = Arc::clone(&counted);
                    std::thread::spawn(move || pass(from, into, &counted[at]));
                }
            }
        });
        Self { port, bytes }
    }

    fn counted(&self) -> (u64, u64) {
        (self.bytes[0].load(Ordering::SeqCst), self.bytes[1].load(Ordering::SeqCst))
    }
}

fn pass(mut from: TcpStream, mut into: TcpStream, counted: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(read as u64, Ordering::SeqCst);
        if into.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
}

/// Bytes and packets of a line, from the home and to it.
fn line(number: u8) -> [(u64, u64); 2] {
    let name = format!("world{number}");
    let shown =
        Command::new("ip").args(["-s", "-j", "link", "show", "dev", &name]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    ["rx", "tx"].map(|way| {
        let of = |what: &str| shown[0]["stats64"][way][what].as_u64().unwrap();
        (of("bytes"), of("packets"))
    })
}

/// `canister-agent ledger --json` of this file.
fn ledger(path: &Path) -> Value {
    let mut command = Command::new(binary("canister-agent"));
    command.args(["ledger", "--json", "--ledger"]).arg(path);
    let ran = run_command("ledger", &mut command, WAIT);
    assert!(ran.status.success(), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// What was sent and received for a host.
fn of_host(ledger: &Value, host: &str) -> (u64, u64) {
    let rows = ledger["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["host"] == host);
    let of = |what: &str| row.and_then(|row| row[what].as_u64()).unwrap_or(0);
    (of("sent"), of("received"))
}

/// Sources of one server, each with a package index of so many bytes.
fn sources(count: usize, bytes: usize) -> (Origin, Counting, Vec<Source>) {
    let origin = Origin::bound("0.0.0.0".parse().unwrap());
    let stanza = |number: usize| {
        let padding = "x".repeat(900);
        format!("Package: p{number}\nVersion: 1\nArchitecture: all\nDescription: {padding}\n\n")
    };
    let index: String = (0..bytes / 960).map(stanza).collect();
    for number in 0..count {
        serve_in(&origin, &format!("/{number}"), index.as_bytes());
    }
    let before = SocketAddr::from(([127, 0, 0, 1], origin.address().port()));
    let counting = Counting::before(before);
    let uri = format!("http://one.example:{}", counting.port);
    let sources = (0..count).map(|number| flat(&format!("s{number}"), &format!("{uri}/{number}")));
    (origin, counting, sources.collect())
}

fn agent(network: &Network, port: u16, home: &Home, more: &[&str]) -> Program {
    let mut run = agent_command("run", &network.peer("p1"), &[&format!("localhost:{port}")]);
    run.args(more);
    Program::start_command("agent", &mut home.command(&run))
}

#[test]
fn the_ledger_is_what_a_counting_server_and_the_line_say() {
    const NAME: &str = "ledger::the_ledger_is_what_a_counting_server_and_the_line_say";
    if !is_inside(NAME, &(world(&[1]) + SERVERS), HOSTS) {
        return;
    }
    let (_origin, source, sources) = sources(3, 1_000_000);
    let network = Network::start(&sources, &[]);
    let arbiter = Counting::before(network.listen.parse().unwrap());
    let home = Home::new(1, HOME, HOME_HOSTS);
    let path: PathBuf = network.dir().join("p1.ledger");
    let mut agent = agent(&network, arbiter.port, &home, &[]);
    let first = network.until_all("indexed", 0);
    network.sync();
    let newest = first.iter().map(|it| it.last_attempt.as_ref().unwrap().lease).max().unwrap();
    network.until_all("unchanged", newest);
    // The last of them is answered.
    until("no lease in hand", WAIT, || {
        network.peers().iter().all(|it| it.leases == 0).then_some(())
    });
    agent.term();
    assert!(agent.wait(WAIT).success());
    let [from_home, to_home] = line(1);
    let ledger = ledger(&path);
    println!("{ledger}");
    assert_eq!(of_host(&ledger, "one.example"), source.counted());
    let (sent, received) = of_host(&ledger, "localhost");
    let counted = arbiter.counted();
    assert_eq!(sent, counted.0);
    // Its last words may come when nobody listens any more.
    assert!(received <= counted.1 && received + 200 >= counted.1, "{received} of {}", counted.1);
    let all = ledger["rows"].as_array().unwrap();
    let row = all.iter().find(|row| row["host"] == "one.example").unwrap();
    assert_eq!((&row["indexed"], &row["unchanged"]), (&3.into(), &3.into()), "{row}");
    assert_ne!(row["operator"], "-", "{row}");
    assert!(row["requests"].as_u64() >= Some(9), "{row}");
    // The line's own counters have headers, of Ethernet, IPv4 and TCP, and a few packets of the kernel's.
    for ((bytes, packets), carried) in
        [(from_home, source.counted().0 + counted.0), (to_home, source.counted().1 + counted.1)]
    {
        let payload = bytes.saturating_sub(packets * 66);
        println!("the line: {bytes} bytes in {packets} packets, {carried} carried");
        assert!(payload.abs_diff(carried) < 10_000, "{payload} {carried}");
    }
    // With headers, as they are reckoned, it is no less than what the line had.
    let (sum, line) = (&ledger["sum"], from_home.0 + to_home.0);
    let reckoned = sum["sent"].as_u64().unwrap() + sum["received"].as_u64().unwrap();
    println!("the line had {line} bytes, the ledger reckons {reckoned}");
    assert!(reckoned >= line && reckoned < line + line / 5, "{reckoned} {line}");
}

#[test]
fn a_traffic_cap_is_not_passed_by_a_byte() {
    const NAME: &str = "ledger::a_traffic_cap_is_not_passed_by_a_byte";
    const CAP: u64 = 6_000_000;
    if !is_inside(NAME, &(world(&[1, 2]) + SERVERS), HOSTS) {
        return;
    }
    let (_origin, source, sources) = sources(60, 150_000);
    let network = Network::start(&sources, &[]);
    let arbiter = Counting::before(network.listen.parse().unwrap());
    let path: PathBuf = network.dir().join("p1.ledger");
    let options = ["--traffic", "6MB/day", "--rate", "2MB/s"];
    let first = Home::new(1, HOME, HOME_HOSTS);
    let mut killed = agent(&network, arbiter.port, &first, &options);
    until("some of it to be fetched", WAIT, || (source.counted().1 > 1_500_000).then_some(()));
    killed.kill9();
    let before: u64 = line(1).iter().map(|(bytes, _)| bytes).sum();
    let second = Home::new(2, HOME, HOME_HOSTS);
    let mut agent = agent(&network, arbiter.port, &second, &options);
    until("the cap to be reached", 2 * WAIT, || {
        let ledger = ledger(&path);
        let is_idle =
            network.peers().iter().all(|it| it.is_connected && it.leases == 0 && it.slots == 0);
        // What is kept for the session is left of it, and what no lease fits into.
        let [sent, received] = ["sent", "received"].map(|way| ledger["sum"][way].as_u64().unwrap());
        (is_idle && sent + received > 4_000_000).then_some(())
    });
    network.sync();
    agent.term();
    assert!(agent.wait(WAIT).success());
    let all = before + line(2).iter().map(|(bytes, _)| bytes).sum::<u64>();
    let ledger = ledger(&path);
    let reckoned =
        ledger["sum"]["sent"].as_u64().unwrap() + ledger["sum"]["received"].as_u64().unwrap();
    let (sent, received) = source.counted();
    println!(
        "{all} bytes over both lines, {reckoned} reckoned, {} counted at the source",
        sent + received
    );
    assert!(all <= reckoned && reckoned <= CAP, "{all} {reckoned}");
    assert!(received > 1_000_000, "{received}");
    // What wasn't done waits for others, and nobody's failure it is.
    assert!(network.sources().iter().all(|it| it.failures == 0));
    assert!(agent.stderr().contains("works from "), "{}", agent.stderr());
}

#[test]
fn what_is_never_asked_is_not_granted_and_not_planned() {
    let (one, never) = (Origin::at(1), Origin::at(2));
    for origin in [&one, &never] {
        serve(origin, b"Package: a\nVersion: 1\nArchitecture: all\n\n");
    }
    let network = Network::start(&[flat("one", &one.uri()), flat("never", &never.uri())], &[]);
    let _agent = network.agent("p1", &["--never", "127.0.0.2/31"]);
    let verdict = |slug: &str| {
        let sources = network.sources();
        let report = sources.iter().find(|report| report.source == slug).unwrap();
        report.last_attempt.as_ref().map(|last| last.verdict.clone())
    };
    until("one to be indexed", WAIT, || verdict("one"));
    network.sync();
    until("it to be asked again", WAIT, || verdict("one").filter(|it| it == "unchanged"));
    assert!(never.requests().is_empty());
    assert_eq!(verdict("never"), None);
    let plan = |never: &[&str]| {
        let mut command = agent_command("plan", &network.peer("p1"), &[&network.listen]);
        command.args(never).args(["--ahead", "3h"]);
        run_command("plan", &mut command, WAIT)
    };
    let told = plan(&["--never", "127.0.0.2", "--json"]);
    assert!(told.status.success(), "{}", told.stderr);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let hosts: Vec<&str> =
        told["planned"].as_array().unwrap().iter().map(|it| it["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["127.0.0.1"], "{told}");
    // Once in a while.
    let soon = plan(&[]);
    assert_eq!(soon.status.code(), Some(1));
    assert!(soon.stderr.contains("a plan is told once in 10 s"), "{}", soon.stderr);
    // The agent's session went on.
    assert!(network.peers().iter().any(|peer| peer.is_connected && peer.slots == 2));
}

#[test]
fn outside_its_hours_a_peer_asks_for_nothing() {
    let origin = Origin::empty();
    serve(&origin, b"Package: a\nVersion: 1\nArchitecture: all\n\n");
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let hour = |more: u64| (canister_link::clock::wall_millis() / 3_600_000 + more) % 24;
    let hours = format!("{:02}:00-{:02}:30", hour(3), hour(3));
    let mut command = agent_command("run", &network.peer("sleeps"), &[&network.listen]);
    command.args(["--allow-private", "--hours", &hours]).env("TZ", "UTC");
    let sleeps = Program::start_command("sleeps", &mut command);
    until("it to be here", WAIT, || {
        let peers = network.peers();
        peers.iter().any(|it| it.is_connected && it.slots == 0).then_some(())
    });
    let _works = network.agent("works", &[]);
    let reports = network.until_all("indexed", 0);
    assert_eq!(reports[0].last_attempt.as_ref().unwrap().peer, "works");
    let says = format!("works from {:02}:00", hour(3));
    assert!(sleeps.stderr().contains(&says), "{says}: {}", sleeps.stderr());
}
