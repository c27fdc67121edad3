//! No single peer is believed: one that reaches the arbiter and no source costs the others nothing, is
//! told so, and is back as soon as its way is mended.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_arbiter::doors::admin::PeerReport;
use canister_link::clock::wall_millis;
use canister_protocol::Source;
use canister_tests::network::{Network, agent_command, check, flat, serve};
use canister_tests::origin::{Origin, Validators};
use canister_tests::own_network::is_inside;
use canister_tests::programs::{Program, until};
use canister_tests::proxy::{Proxy, secured};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const SOURCES: usize = 200;
/// How late each answer is: a cycle of two peers with two slots each takes 50 times as long.
const LATENCY: Duration = Duration::from_millis(150);
const GOOD_SLOTS: f64 = 4.0;
const WAIT: Duration = Duration::from_secs(120);
/// Most leases that a peer without a way gets, and one a minute more.
const LEASES_MAX: u64 = 10;
/// How often it is looked at what one costs, each time anew, because of whatever else the machine does.
const TRIES: usize = 5;
/// How many times longer a cycle may take beside one.
const LONGER_MAX: f64 = 1.1;
/// How soon a mended peer must be back.
const BACK_WITHIN: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A network that drops what goes to 198.51.100.0/24.
const DROPS: &str = "
ip link add hole type veth peer name bottom
ip link set hole up
ip link set bottom up
ip address add 192.0.2.1/24 dev hole
ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev hole nud permanent
ip route add 198.51.100.0/24 via 192.0.2.2
";
/// Where it does.
const HOLE: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 1), 3128);
/// Where nobody listens.
const CLOSED: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 3129);

/// How a peer's way to the sources fails.
enum Broken {
    /// What a proxy says to everything.
    Answers(Proxy),
    /// Its clock runs so far ahead that certificates of sources have ended; the file that says so.
    Clock(PathBuf),
    /// Where there should be a proxy: nobody, or a hole.
    Leads((Ipv4Addr, u16)),
    /// Its machine knows no names.
    Names,
}

/// A peer without a way.
struct BadPeer {
    name: String,
    broken: Broken,
    agent: Program,
    since: Instant,
}

impl BadPeer {
    fn mend(&self) {
        let run = |words: &[&str]| {
            assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
        };
        match &self.broken {
            Broken::Answers(proxy) => proxy.heal(),
            Broken::Clock(file) => std::fs::write(file, "+0").unwrap(),
            Broken::Leads(to) => {
                if TcpStream::connect_timeout(&(*to).into(), Duration::from_secs(1)).is_ok() {
                    // Another's mending mended it.
                    return;
                }
                if *to == HOLE {
                    run(&["ip", "address", "add", "198.51.100.1/32", "dev", "lo"]);
                }
                // Its thread stays.
                Proxy::bound(*to, &[], None);
            }
            Broken::Names => {
                let names = format!("--mount=/proc/{}/ns/mnt", self.agent.pid());
                run(&["nsenter", &names, "umount", "/etc/hosts"]);
            }
        }
    }
}

/// How long a cycle of the good peers took, and how many times longer than if they had always been at
/// work: how busy the machine is counts nothing there.
#[derive(Clone, Copy)]
struct Cycle {
    took: Duration,
    longer: f64,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s, {:.2} times its work", self.took.as_secs_f64(), self.longer)
    }
}

struct Cycles {
    network: Network,
    /// What trusts the sources' certificates.
    trusted: Option<PathBuf>,
    _good: Vec<Program>,
}

impl Cycles {
    /// Two good peers that have read all sources.
    fn begin(sources: &[Source], origin: &Origin, trusted: Option<PathBuf>) -> Self {
        let network = Network::start(sources, &["--deactivate-after", "7d"]);
        let mut cycles = Self { network, trusted, _good: Vec::new() };
        for name in ["anna", "ben"] {
            let mut command = cycles.command(name);
            command.args(["--slots", "2"]);
            cycles._good.push(Program::start_command(name, &mut command));
        }
        until("all sources to be read", WAIT, || {
            let sources = cycles.network.sources();
            sources.iter().all(|it| it.last_contact.is_some()).then_some(())
        });
        origin.latency(LATENCY);
        cycles
    }

    fn command(&self, name: &str) -> Command {
        let files = self.network.peer(name);
        let mut command = agent_command("run", &files, &[&self.network.listen]);
        command.arg("--allow-private");
        if let Some(file) = &self.trusted {
            command.env("SSL_CERT_FILE", file);
        }
        command
    }

    /// Has all sources looked at.
    fn cycle(&self) -> Cycle {
        until("nothing to be under way", WAIT, || {
            self.network.sources().iter().all(|it| it.state == "waiting").then_some(())
        });
        let since = wall_millis();
        self.network.sync();
        until("all sources to be looked at", WAIT, || {
            let is_done = |contact: Option<u64>| contact >= Some(since);
            self.network.sources().iter().all(|it| is_done(it.last_contact)).then_some(())
        });
        let work = "SELECT sum(ended - started), max(ended) FROM attempt
             WHERE verdict = 'unchanged' AND started >= ?";
        let since = i64::try_from(since).unwrap();
        let (work, ended): (i64, i64) = self
            .network
            .database()
            .query_row(work, [since], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        let took = Duration::from_millis((ended - since).unsigned_abs());
        Cycle { took, longer: GOOD_SLOTS * (ended - since) as f64 / work as f64 }
    }

    fn peer(&self, name: &str) -> Option<PeerReport> {
        self.network.peers().into_iter().find(|peer| peer.peer == name)
    }

    fn start(&self, name: &str, broken: Broken) -> BadPeer {
        let mut command = self.command(name);
        let around = match &broken {
            Broken::Answers(proxy) => {
                command.env("HTTP_PROXY", proxy.url());
                None
            }
            Broken::Leads((address, port)) => {
                command.env("HTTP_PROXY", format!("http://{address}:{port}"));
                None
            }
            Broken::Names => Some("mount --bind /dev/null /etc/hosts && exec \"$@\"".to_owned()),
            Broken::Clock(file) => Some(format!(
                "export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1) FAKETIME_NO_CACHE=1 \
                 DONT_FAKE_MONOTONIC=1 FAKETIME_TIMESTAMP_FILE={}; exec \"$@\"",
                file.display()
            )),
        };
        if let Some(script) = around {
            let mut there = Command::new("unshare");
            there.args(["--mount", "sh", "-c", &script, "sh"]);
            there.arg(command.get_program()).args(command.get_args());
            for (name, value) in command.get_envs() {
                there.env(name, value.unwrap());
            }
            command = there;
        }
        let agent = Program::start_command(&format!("agent {name}"), &mut command);
        until("the bad peer's session", WAIT, || self.peer(name)?.is_connected.then_some(()));
        BadPeer { name: name.to_owned(), broken, agent, since: Instant::now() }
    }

    /// A cycle of the good peers alone: the slower of two, because of whatever else the machine does.
    fn alone(&self) -> Cycle {
        let (first, second) = (self.cycle(), self.cycle());
        if first.longer > second.longer { first } else { second }
    }

    /// That a cycle beside a peer whose way is broken like this, which nobody knows yet, takes no longer than
    /// `alone`; such peers, which stay.
    fn costs_nothing(&self, bad: &str, broken: impl Fn() -> Broken, alone: Cycle) -> Vec<BadPeer> {
        let mut all = Vec::new();
        let is_right = (0..TRIES).any(|number| {
            let name = format!("{bad}{number}");
            all.push(self.start(&name, broken()));
            let beside = self.cycle();
            println!("beside {name}: {beside}; without it: {alone}");
            beside.longer <= LONGER_MAX * alone.longer
        });
        assert!(is_right, "a cycle beside {bad} takes too long");
        assert!(self.network.sources().iter().all(|source| source.failures == 0));
        all
    }

    /// That all of them got next to nothing, know it, and are back soon after their ways are mended.
    fn come_back(&self, mut all: Vec<BadPeer>) {
        for bad in &mut all {
            let report = self.peer(&bad.name).unwrap();
            println!("{}: {} leases; {:?}", bad.name, report.granted, report.record);
            let most = LEASES_MAX + bad.since.elapsed().as_secs() / 60;
            assert!(report.granted <= most, "{}: {} leases", bad.name, report.granted);
            assert_eq!(report.finished, 0, "{}", bad.name);
            bad.agent.wait_for_line("the arbiter gives this peer less", WAIT);
            if matches!(bad.broken, Broken::Answers(_)) {
                let files = self.network.peer(&bad.name);
                let said = check(&files, &self.network.listen, &[]).stdout;
                assert!(said.contains("note  127.0.0.1 gives this peer less: "), "{said}");
            }
        }
        all.iter().for_each(BadPeer::mend);
        let mended = Instant::now();
        let mut away: Vec<&str> = all.iter().map(|bad| &*bad.name).collect();
        until("the mended peers to be back", WAIT, || {
            away.retain(|name| {
                let is_back = self.peer(name).is_some_and(|peer| peer.record.is_none());
                if is_back {
                    println!("{name} is back {:?} after its way was mended", mended.elapsed());
                }
                !is_back
            });
            away.is_empty().then_some(())
        });
        assert!(mended.elapsed() < BACK_WITHIN, "{:?}", mended.elapsed());
        for bad in &mut all {
            bad.agent.wait_for_line("the arbiter gives this peer what it offers again", WAIT);
        }
        let failed = "SELECT count(*) FROM attempt WHERE verdict = 'source failed'";
        let failed: i64 = self.network.database().query_row(failed, [], |row| row.get(0)).unwrap();
        assert_eq!(failed, 0);
    }
}

fn name(number: usize) -> String {
    format!("s{number}.example")
}

/// Whether this runs in a network that drops, in which all sources have an address.
fn is_in_the_world(test: &str) -> bool {
    let hosts: String = (1..=SOURCES)
        .map(|number| format!("127.22.{number}.1 {}\n", name(number)))
        .chain(["127.0.0.1 localhost\n".to_owned()])
        .collect();
    is_inside(&format!("alone::opinions::{test}"), DROPS, &hosts)
}

fn served() -> Origin {
    let origin = Origin::bound(Ipv4Addr::UNSPECIFIED.into());
    serve(&origin, b"Package: x\nVersion: 1\nArchitecture: all\n");
    origin.validators(Validators::Etag);
    origin
}

fn sources(scheme: &str, port: u16) -> Vec<Source> {
    let source =
        |number| flat(&format!("s{number}"), &format!("{scheme}://{}:{port}", name(number)));
    (1..=SOURCES).map(source).collect()
}

#[test]
fn a_peer_without_a_way_costs_the_others_nothing() {
    if !is_in_the_world("a_peer_without_a_way_costs_the_others_nothing") {
        return;
    }
    let origin = served();
    let cycles = Cycles::begin(&sources("http", origin.address().port()), &origin, None);
    let alone = cycles.alone();
    let answers = |status| move || Broken::Answers(Proxy::start(&[], Some(status)));
    // Each comes anew; those that were there before are known.
    let mut all = cycles.costs_nothing("0refused", || Broken::Leads(CLOSED), alone);
    all.extend(cycles.costs_nothing("0names", || Broken::Names, alone));
    for (name, status) in [("0forbidden", 403), ("0error", 500), ("0captive", 200)] {
        all.extend(cycles.costs_nothing(name, answers(status), alone));
    }
    all.extend(cycles.costs_nothing("0dropped", || Broken::Leads(HOLE), alone));
    cycles.come_back(all);
}

#[test]
fn nor_does_one_whose_clock_is_wrong() {
    if !is_in_the_world("nor_does_one_whose_clock_is_wrong") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Good for three months, as most are.
    let mut params = CertificateParams::new((1..=SOURCES).map(name).collect::<Vec<_>>()).unwrap();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(wall_millis());
    (params.not_before, params.not_after) = (now - 30 * DAY, now + 60 * DAY);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (trusted, clock) = (folder.path().join("own.crt"), folder.path().join("clock"));
    std::fs::write(&trusted, certificate.pem()).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let origin = served();
    let port = origin.address().port();
    let port = secured(settings, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let cycles = Cycles::begin(&sources("https", port), &origin, Some(trusted));
    let alone = cycles.alone();
    std::fs::write(&clock, "+100d").unwrap();
    cycles.come_back(cycles.costs_nothing("0clock", || Broken::Clock(clock.clone()), alone));
}
