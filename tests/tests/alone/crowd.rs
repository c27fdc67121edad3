//! Crowds of connections at both doors: whoever has something to say gets in, and the operator is
//! answered.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_link::identity::provider;
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::origin::Origin;
use canister_tests::peer::Peer;
use canister_tests::programs::{Program, until};
use canister_tests::web::ask;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const AGENTS: usize = 20;
/// One crowd at a time, for times are measured.
static ONE: Mutex<()> = Mutex::new(());
/// How long all agents may take to be in, and how long `/health`.
const IN_MAX: Duration = Duration::from_secs(2);
const HEALTH_MAX: Duration = Duration::from_millis(100);

/// Connects from one of this machine's addresses and says nothing.
fn silent(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    // Other tests start servers meanwhile, which must not inherit thousands of them.
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    let made = socket_with(family, SocketType::STREAM, flags, None).unwrap();
    bind(&made, &SocketAddr::new(IpAddr::V4(from), 0)).ok()?;
    connect(&made, &to).ok()?;
    Some(TcpStream::from(made))
}

/// Connections that say nothing, each opened again when it is closed, until this is dropped.
struct Silence {
    over: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Silence {
    fn begin(from: Vec<Ipv4Addr>, each: usize, to: &str) -> Self {
        let (over, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until_over, count) = (Arc::clone(&over), Arc::clone(&opened));
        let to: SocketAddr = to.parse().unwrap();
        let thread = std::thread::spawn(move || {
            let mut open: Vec<(Ipv4Addr, Option<TcpStream>)> =
                from.iter().flat_map(|from| (0..each).map(|_| (*from, None))).collect();
            while !until_over.load(Ordering::Relaxed) {
                for (from, stream) in &mut open {
                    let is_open = stream.as_mut().is_some_and(|stream| {
                        let read = stream.read(&mut [0]);
                        read.is_err_and(|why| why.kind() == std::io::ErrorKind::WouldBlock)
                    });
                    if !is_open {
                        *stream = silent(*from, to);
                        if let Some(stream) = stream {
                            stream.set_nonblocking(true).unwrap();
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let silence = Self { over, opened, thread: Some(thread) };
        let all = (silence.opened.clone(), u64::try_from(each).unwrap());
        until("the crowd to be there", WAIT, || {
            (all.0.load(Ordering::Relaxed) >= all.1).then_some(())
        });
        silence
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Starts all agents and waits until all have a session.
fn all_get_in(network: &Network) -> (Vec<Program>, Duration) {
    let names: Vec<String> = (0..AGENTS).map(|number| format!("p{number}")).collect();
    names.iter().for_each(|name| drop(network.peer(name)));
    let since = Instant::now();
    let agents = names.iter().map(|name| network.agent(name, &[])).collect();
    until("all agents to be in", WAIT, || {
        (network.status().peers_connected == AGENTS as u64).then_some(())
    });
    (agents, since.elapsed())
}

fn slowest_health(network: &Network) -> Duration {
    let health = |_| {
        let since = Instant::now();
        assert_eq!(ask(&network.public, "GET", "/health").status, 200);
        since.elapsed()
    };
    (0..20).map(health).max().unwrap()
}

/// That everybody gets in while those crowd both doors, and those that came once stay there.
fn everybody_gets_in(what: &str, from: Vec<Ipv4Addr>, each: usize, burst: usize) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let doors = [&network.listen, &network.public].map(|to| to.parse::<SocketAddr>().unwrap());
    let crowds =
        [&network.listen, &network.public].map(|to| Silence::begin(from.clone(), each, to));
    let idle: Vec<TcpStream> =
        (0..burst).filter_map(|number| silent(from[0], doors[number % 2])).collect();
    let (agents, took) = all_get_in(&network);
    let health = slowest_health(&network);
    let opened: Vec<u64> =
        crowds.iter().map(|crowd| crowd.opened.load(Ordering::Relaxed)).collect();
    println!(
        "{what}: {AGENTS} agents in after {took:?}, slowest /health {health:?}, {opened:?} and {} opened",
        idle.len()
    );
    assert!(took < IN_MAX, "{what}: {took:?}");
    assert!(health < HEALTH_MAX, "{what}: {health:?}");
    // Told of in a line or two, however many they were.
    let lines = network.arbiter.stderr().matches("refused a connection").count();
    assert!(lines <= 40, "{what}: {lines} lines");
    drop((agents, crowds));
}

#[test]
fn a_crowd_from_one_address_keeps_nobody_out() {
    everybody_gets_in("one address", vec![Ipv4Addr::new(127, 0, 7, 1)], 300, 2000);
}

#[test]
fn nor_does_one_from_the_same_address() {
    everybody_gets_in("the same address", vec![Ipv4Addr::LOCALHOST], 300, 2000);
}

#[test]
fn nor_do_sixty_addresses_of_one_network() {
    let from = (1..=60).map(|last| Ipv4Addr::new(127, 9, 0, last)).collect();
    everybody_gets_in("60 addresses", from, 16, 0);
}

#[test]
fn nor_do_handshakes_without_a_certificate_as_fast_as_they_go() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let network = Network::start(&[flat("a", "http://127.0.0.1:1")], &[]);
    let authority = CertificateDer::from_pem_file(network.dir().join("ca/ca.crt")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (over, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let (took, health) = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(Peer::connect_with(&network.listen, config.clone()).is_err());
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("the flood", WAIT, || (refused.load(Ordering::Relaxed) > 20).then_some(()));
        let (agents, took) = all_get_in(&network);
        let health = slowest_health(&network);
        over.store(true, Ordering::Relaxed);
        drop(agents);
        (took, health)
    });
    let refused = refused.into_inner();
    println!("{refused} handshakes: {AGENTS} agents in after {took:?}, slowest /health {health:?}");
    let lines = network.arbiter.stderr().matches("refused a connection").count();
    assert!(lines <= 40, "{lines} lines");
}

#[test]
fn with_few_descriptors_the_operator_is_answered_and_sessions_go_on() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let origin = Origin::empty();
    origin.put("/Packages", "Package: a\nVersion: 1\nArchitecture: all\n\n");
    let options = ["--interval", "2s", "--retry-after", "1s"];
    let mut network = Network::start(&[flat("a", &origin.uri())], &options);
    network.arbiter.term();
    network.arbiter.wait(WAIT);
    network.restart_under(&["prlimit", "--nofile=128"]);
    let _agent = network.agent("p1", &[]);
    network.until_all("indexed", 0);
    let from = |door| (1..=20).map(|last| Ipv4Addr::new(127, door, 0, last)).collect();
    let _crowds = [(7, &network.listen), (8, &network.public)]
        .map(|(door, to)| Silence::begin(from(door), 16, to));
    // And sessions as many as there are file descriptors.
    let files = network.peer("other");
    let _sessions: Vec<Peer> =
        (0..30).map_while(|_| Peer::greet(&network.listen, &files, 0).ok()).collect();
    let before = origin.requests().len();
    let slowest = (0..20).map(|_| {
        let since = Instant::now();
        assert!(network.status().peers_connected >= 1);
        since.elapsed()
    });
    let slowest = slowest.max().unwrap();
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    until("the session to go on", WAIT, || (origin.requests().len() > before + 2).then_some(()));
    assert_eq!(ask(&network.public, "GET", "/health").status, 200);
    println!("128 descriptors: slowest status {slowest:?}");
}
