//! Measures what connected peers cost: an agent that waits for work, and an arbiter with so many
//! sessions that nothing is said in but signs of life. Prints a section of docs/performance.md.
//!
//! Its only argument is the folder of the two programs. `make bench-sessions` calls it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement prints, fails by panicking and reads the time"
)]

use canister_agent::config::ArbiterAddress;
use canister_agent::dial::dial;
use canister_authority::{Authority, DAYS};
use canister_link::identity::{Files, Identity};
use canister_protocol::{ToArbiter, ToPeer};
use canister_tests::network::{call, made};
use canister_tests::peer::hello;
use canister_tests::programs::{Program, cpu_time, rss_bytes, threads};
use rustls::ClientConfig;
use smol::{LocalExecutor, Timer};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many peers there are when the arbiter is looked at.
const PEERS: [usize; 4] = [0, 100, 1_000, 10_000];
/// How many join at once; an arbiter takes 1,024.
const HANDSHAKES: usize = 64;
/// How long CPU time is counted: three signs of life a session and side.
const WATCHED: Duration = Duration::from_secs(60);
/// How long anything may take.
const WAIT: Duration = Duration::from_secs(600);

fn main() {
    let folder = std::env::args().nth(1).expect("the folder of the programs");
    let folder = PathBuf::from(folder);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let authority = Authority::init(&dir.join("ca")).unwrap();
    let pair =
        authority.new_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], DAYS).unwrap();
    pair.write(dir, "arbiter").unwrap();

    let mut command = Command::new(folder.join("canister-arbiter"));
    command.args(["run", "--listen", "127.0.0.1:0", "--public", "none"]);
    files(&mut command, dir, "arbiter");
    command.arg("--state").arg(dir.join("state"));
    let mut arbiter = Program::start_command("arbiter", &mut command);
    let ready = arbiter.wait_for_line("] ready ", WAIT);
    let listen = ready.split("listen=").nth(1).unwrap();
    let listen = listen.split(' ').next().unwrap().to_owned();

    let idle = agent(&folder, dir, &authority, &listen);
    let executor = Rc::new(LocalExecutor::new());
    let lines = smol::block_on(executor.run(under_load(&executor, &arbiter, dir, &listen)));
    println!(
        "## Sessions\n\n\
         An agent that is connected and waits for work has {:.1} MB resident.\n\n\
         The table shows an arbiter with this many peers connected and waiting for work. Each side of a session sends a\n\
         ping every 20 s. MB is resident memory. CPU time is a share of one thread, over {} s. The last column is how many\n\
         peers joined a second since the line above, {HANDSHAKES} at once; half of that work is the peers', on the same machine.\n\n\
         | peers | MB | kB a peer | threads | CPU, % of one | joined a second |\n\
         | --- | --- | --- | --- | --- | --- |\n{}",
        idle as f64 / 1e6,
        WATCHED.as_secs(),
        lines.join("\n"),
    );
}

/// The resident memory of an agent that is connected and has nothing to do.
fn agent(folder: &Path, dir: &Path, authority: &Authority, listen: &str) -> u64 {
    authority.new_peer("idle", DAYS).unwrap().write(dir, "idle").unwrap();
    let mut command = Command::new(folder.join("canister-agent"));
    command.args(["run", "--arbiter", &format!("wss://{listen}/connect")]);
    files(&mut command, dir, "idle");
    let mut agent = Program::start_command("agent", &mut command);
    agent.wait_for_line("session begins", WAIT);
    // Until it has said and heard signs of life.
    std::thread::sleep(WATCHED / 2);
    rss_bytes(agent.pid())
}

fn files(command: &mut Command, dir: &Path, name: &str) {
    command.arg("--certificate").arg(dir.join(format!("{name}.crt")));
    command.arg("--key").arg(dir.join(format!("{name}.key")));
    command.arg("--authority").arg(dir.join("ca/ca.crt"));
}

/// A line of the table for each number of sessions.
async fn under_load(
    executor: &Rc<LocalExecutor<'static>>,
    arbiter: &Program,
    dir: &Path,
    listen: &str,
) -> Vec<String> {
    let address: ArbiterAddress = format!("wss://{listen}/connect").parse().unwrap();
    let (mut there, mut empty, mut lines) = (0, 0, vec![]);
    for peers in PEERS {
        let joining: Vec<_> = (there..peers).map(|number| peer(dir, number)).collect();
        let (count, joining) = (joining.len(), Rc::new(RefCell::new(joining)));
        let began = Instant::now();
        let tasks: Vec<_> = (0..HANDSHAKES)
            .map(|_| {
                let (executor, joining) = (Rc::clone(executor), Rc::clone(&joining));
                executor.clone().spawn(join(executor, address.clone(), joining))
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let rate = count as f64 / began.elapsed().as_secs_f64();
        there = peers;
        let before = cpu_time(arbiter.pid());
        Timer::after(WATCHED).await;
        let spent = (cpu_time(arbiter.pid()) - before).as_secs_f64();
        let resident = rss_bytes(arbiter.pid());
        let (mut each, mut joined) = (String::new(), String::new());
        if peers == 0 {
            empty = resident;
        } else {
            each = format!("{:.1}", (resident - empty) as f64 / 1e3 / peers as f64);
            joined = format!("{rate:.0}");
        }
        lines.push(format!(
            "| {peers} | {:.1} | {each} | {} | {:.1} | {joined} |",
            resident as f64 / 1e6,
            threads(arbiter.pid()),
            100.0 * spent / WATCHED.as_secs_f64(),
        ));
    }
    lines
}

/// Begins sessions one after the other while there are peers that wait, and leaves them open.
async fn join(
    executor: Rc<LocalExecutor<'static>>,
    address: ArbiterAddress,
    joining: Rc<RefCell<Vec<Arc<ClientConfig>>>>,
) {
    loop {
        let next = joining.borrow_mut().pop();
        let Some(tls) = next else { return };
        let mut link = dial(&executor, &address, &tls, &None).await.unwrap().link;
        link.send(&hello(&[]));
        let welcome = link.receive::<ToPeer>().await.unwrap();
        assert!(matches!(welcome, ToPeer::Welcome { .. }), "{welcome:?}");
        link.send(&ToArbiter::Offer { reaches: None, bytes: None, slots: 2 });
        let idle = async move {
            // Nothing but signs of life, until the arbiter stops.
            let ended = link.receive::<ToPeer>().await;
            panic!("an idle session heard {ended:?}");
        };
        executor.spawn(idle).detach();
    }
}

/// The TLS settings of a peer of its own. Its certificate is made with the issuing key alone, for
/// the register of so many takes longer than all the rest.
fn peer(dir: &Path, number: usize) -> Arc<ClientConfig> {
    let pair = made(&dir.join("ca"), |params| call(params, &format!("peer-{number}")));
    let files = Files {
        certificate: dir.join("peer.crt"),
        key: dir.join("peer.key"),
        authority: dir.join("ca/ca.crt"),
    };
    fs::write(&files.certificate, pair.certificate).unwrap();
    fs::write(&files.key, pair.key).unwrap();
    let identity = Identity::load(&files).unwrap();
    Arc::new(identity.client_config().unwrap())
}
