//! No single peer is believed: one that reaches the arbiter and no source costs the others nothing, is
//! told so, and is back as soon as its way is mended.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_arbiter::doors::admin::PeerReport;
use canister_protocol::Source;
use canister_tests::network::{Network, agent_command, check, flat, serve};
use canister_tests::origin::{Origin, Validators};
use canister_tests::own_network::is_inside;
use canister_tests::programs::{Program, until};
use canister_tests::proxy::Proxy;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

const SOURCES: usize = 200;
/// How late each answer is: a cycle of two peers with two slots each takes 50 times as long.
const LATENCY: Duration = Duration::from_millis(150);
const WAIT: Duration = Duration::from_secs(120);
/// Most leases that a peer without a way may get while the others do a cycle.
const LEASES_MAX: u64 = 10;
/// What two cycles may differ by because of whatever else the machine does, other tests first of all.
const NOISE: Duration = Duration::from_secs(3);
/// How soon a mended peer must be back.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// A network that drops what goes to 198.51.100.0/24.
const DROPS: &str = "
ip link add hole type veth peer name bottom
ip link set hole up
ip link set bottom up
ip address add 192.0.2.1/24 dev hole
ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev hole nud permanent
ip route add 198.51.100.0/24 via 192.0.2.2
";

/// How a peer's way to the sources fails.
enum Broken<'a> {
    /// What a proxy says to everything.
    Answers(&'a Proxy),
    /// Where there should be a proxy: nobody, or a hole.
    Leads(&'static str),
    /// Its machine knows no names.
    Names,
}

struct Cycles {
    network: Network,
    last: u64,
}

impl Cycles {
    /// Has all sources looked at, which at first they are by themselves, and waits until each was; how
    /// long that took.
    fn cycle(&mut self, verdict: &str) -> Duration {
        if self.last > 0 {
            until("nothing to be under way", WAIT, || {
                let sources = self.network.sources();
                sources.iter().all(|source| source.state == "waiting").then_some(())
            });
            self.last = self.newest();
            self.network.sync();
        }
        let began = Instant::now();
        self.network.until_all(verdict, self.last);
        let took = began.elapsed();
        self.last = self.newest();
        took
    }

    /// The newest lease that is over.
    fn newest(&self) -> u64 {
        let sources = self.network.sources();
        let leases = sources.iter().filter_map(|source| source.last_attempt.as_ref());
        leases.map(|attempt| attempt.lease).max().unwrap_or(0)
    }

    fn peer(&self, name: &str) -> Option<PeerReport> {
        self.network.peers().into_iter().find(|peer| peer.peer == name)
    }

    fn start(&self, name: &str, broken: &Broken<'_>) -> Program {
        let mut command = agent_command("run", &self.network.peer(name), &[&self.network.listen]);
        command.arg("--allow-private");
        match broken {
            Broken::Answers(proxy) => command.env("HTTP_PROXY", proxy.url()),
            Broken::Leads(to) => command.env("HTTP_PROXY", to),
            Broken::Names => &mut command,
        };
        if matches!(broken, Broken::Names) {
            let mut elsewhere = Command::new("unshare");
            let script = "mount --bind /dev/null /etc/hosts && exec \"$@\"";
            elsewhere.args(["--mount", "sh", "-c", script, "sh"]);
            elsewhere.arg(command.get_program()).args(command.get_args());
            command = elsewhere;
        }
        Program::start_command(&format!("agent {name}"), &mut command)
    }
}

#[test]
fn a_peer_without_a_way_costs_the_others_nothing() {
    let name = |number: usize| format!("s{number}.example");
    let hosts: String = (1..=SOURCES)
        .map(|number| format!("127.22.{number}.1 {}\n", name(number)))
        .chain(["127.0.0.1 localhost\n".to_owned()])
        .collect();
    if !is_inside("opinions::a_peer_without_a_way_costs_the_others_nothing", DROPS, &hosts) {
        return;
    }
    let origin = Origin::bound(Ipv4Addr::UNSPECIFIED.into());
    serve(&origin, b"Package: x\nVersion: 1\nArchitecture: all\n");
    origin.validators(Validators::Etag);
    let port = origin.address().port();
    let sources: Vec<Source> = (1..=SOURCES)
        .map(|number| flat(&format!("s{number}"), &format!("http://{}:{port}", name(number))))
        .collect();
    let network = Network::start(&sources, &["--deactivate-after", "7d"]);
    let _good = ["anna", "ben"].map(|name| network.agent(name, &["--slots", "2"]));
    let mut cycles = Cycles { network, last: 0 };
    cycles.cycle("indexed");
    origin.latency(LATENCY);
    let mut before = cycles.cycle("unchanged");
    let [says_403, says_500, captive] =
        [403, 500, 200].map(|status| Proxy::start(&[], Some(status)));
    // What is dropped is waited for; so the last lease of a cycle may be that long.
    let dropped = Duration::from_secs(15);
    for (bad, broken, more) in [
        ("0refused", Broken::Leads("http://127.0.0.1:1"), Duration::ZERO),
        ("0names", Broken::Names, Duration::ZERO),
        ("0forbidden", Broken::Answers(&says_403), Duration::ZERO),
        ("0error", Broken::Answers(&says_500), Duration::ZERO),
        ("0captive", Broken::Answers(&captive), Duration::ZERO),
        ("0dropped", Broken::Leads("http://198.51.100.1:3128"), dropped),
    ] {
        let mut agent = cycles.start(bad, &broken);
        until("the bad peer's session", WAIT, || cycles.peer(bad)?.is_connected.then_some(()));
        let took = cycles.cycle("unchanged");
        let report = cycles.peer(bad).unwrap();
        println!("beside {bad}: {took:?}, {} leases; {:?}", report.granted, report.record);
        assert!(report.granted <= LEASES_MAX, "{bad}: {} leases", report.granted);
        assert_eq!(report.finished, 0, "{bad}");
        assert!(cycles.network.sources().iter().all(|source| source.failures == 0));
        if let Broken::Answers(proxy) = broken {
            agent.wait_for_line("the arbiter gives this peer less", WAIT);
            let files = cycles.network.peer(bad);
            let said = check(&files, &cycles.network.listen, &[]).stdout;
            assert!(said.contains("note  127.0.0.1 gives this peer less: "), "{said}");
            proxy.heal();
            let mended = Instant::now();
            until("the mended peer to be back", WAIT, || {
                cycles.network.sync();
                cycles.peer(bad)?.record.is_none().then_some(())
            });
            println!("{bad} is back {:?} after its way was mended", mended.elapsed());
            assert!(mended.elapsed() < BACK_WITHIN);
            agent.wait_for_line("the arbiter gives this peer what it offers again", WAIT);
        }
        // It gives back what it holds.
        agent.term();
        agent.wait(WAIT);
        // The machine is as busy before as after, mostly.
        let after = cycles.cycle("unchanged");
        println!("the good peers alone: {before:?} before, {after:?} after");
        let alone = before.max(after);
        assert!(took <= alone.mul_f64(1.1) + NOISE + more, "{bad}: {took:?}, {alone:?} without it");
        before = after;
    }
    let failed = "SELECT count(*) FROM attempt WHERE verdict = 'source failed'";
    let failed: i64 = cycles.network.database().query_row(failed, [], |row| row.get(0)).unwrap();
    assert_eq!(failed, 0);
}
