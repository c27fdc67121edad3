//! From nothing to a peer by `join`: two commands of the volunteer's, one of the operator's; and what
//! strangers can do with it.

use canister_link::clock;
use canister_protocol::codec::{decode, encode};
use canister_protocol::join::{Application, JoinAnswer, WorkTask};
use canister_tests::network::{Network, flat, serve};
use canister_tests::origin::Origin;
use canister_tests::programs::{Program, Ran, binary, run_command, until};
use canister_tests::web::{self, Reply};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const INDEX: &[u8] =
    b"Package: a\nVersion: 1\nArchitecture: all\nFilename: ./a.deb\nSize: 1\nSHA256: x\n\n";

/// An arbiter that asks for a little work.
fn network(origin: &Origin, more: &[&str]) -> Network {
    let options = [&["--join-work", "8", "--interval", "1h"], more].concat();
    Network::start(&[flat("a", &origin.uri())], &options)
}

fn home(network: &Network, name: &str) -> PathBuf {
    network.dir().join(format!("home-{name}"))
}

/// A command of the volunteer's, whose folder is of this name.
fn volunteer(network: &Network, home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary("canister-agent"));
    command.args(words).arg("--dir").arg(home);
    match words[0] {
        "join" => command.arg("--join-at").arg(format!("http://{}", network.public)),
        _ => {
            command.arg("--allow-private").arg("--arbiter").arg(format!("wss://{}", network.listen))
        }
    };
    command
}

fn asks(network: &Network, home: &Path, words: &[&str]) -> Ran {
    run_command("join", &mut volunteer(network, home, words), SOON)
}

/// A command of the operator's.
fn ca(network: &Network, words: &[&str]) -> Ran {
    let mut command = Command::new(binary("canister-arbiter"));
    command.arg("ca").args(words).arg("--state").arg(network.state());
    command.arg("--dir").arg(network.dir().join("ca"));
    run_command("ca", &mut command, SOON)
}

fn pending(network: &Network) -> Vec<Value> {
    let ran = ca(network, &["pending", "--json"]);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|cause| panic!("{cause}: {}", ran.stderr))
}

/// The words of who waits under this name, once somebody does.
fn words_of(network: &Network, name: &str) -> String {
    until(&format!("{name} to wait"), SOON, || {
        let waiting = pending(network);
        let found = waiting.iter().find(|it| it["name"] == name)?;
        Some(found["words"].as_str().unwrap().to_owned())
    })
}

#[test]
fn two_commands_and_the_operators_one_make_a_peer_that_publishes() {
    let origin = Origin::empty();
    serve(&origin, INDEX);
    let network = network(&origin, &[]);
    let home = home(&network, "anna");
    let began = clock::now();
    let mut join = Program::start_command(
        "join",
        &mut volunteer(&network, &home, &["join", "anna", "--contact", "anna@a.example"]),
    );
    let words = words_of(&network, "anna");
    until("the words to be shown", SOON, || join.stdout().contains(&words).then_some(()));
    let shown = ca(&network, &["pending"]).stdout;
    assert!(shown.contains("anna@a.example") && shown.contains(&words), "{shown}");
    let ran = ca(&network, &["admit", "anna"]);
    assert!(ran.status.success(), "{}", ran.stderr);
    assert_eq!(ran.stdout, format!("anna: a peer for 365 days; its words are {words}\n"));
    assert!(join.wait(SOON).success(), "{}", join.stderr());
    assert!(join.stdout().contains("anna is a peer"), "{}", join.stdout());
    assert_eq!(
        ca(&network, &["pending"]).stdout,
        "nobody waits; `canister-agent join NAME` asks\n"
    );
    assert!(!home.join("peer.join").exists());

    let mut run = volunteer(&network, &home, &["run"]);
    let _agent = Program::start_command("run", &mut run);
    network.until_all("indexed", 0);
    assert_eq!(network.peers()[0].peer, "anna");
    let secs = began.elapsed().as_secs_f64();
    println!("2 commands of the volunteer's, {secs:.1} s from join to the first publication");

    // Once is enough.
    let again = asks(&network, &home, &["join", "anna"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stderr.contains("this is a peer already"), "{}", again.stderr);
}

#[test]
fn what_is_begun_by_join_is_ended_by_run() {
    let origin = Origin::empty();
    serve(&origin, INDEX);
    let network = network(&origin, &[]);
    let home = home(&network, "ben");
    for _ in 0..2 {
        let ran = asks(&network, &home, &["join", "ben", "--no-wait"]);
        assert!(ran.status.success() && ran.stdout.contains("not admitted yet"), "{}", ran.stderr);
    }
    assert_eq!(pending(&network).len(), 1);
    let other = asks(&network, &home, &["join", "benno", "--no-wait"]);
    assert!(other.stderr.contains("asks for the name \"ben\" already"), "{}", other.stderr);

    // A stop while it waits is a stop.
    let mut command = volunteer(&network, &home, &["run"]);
    let mut waiting = Program::start_command("run", &mut command);
    waiting.wait_for_line("waiting to be admitted", SOON);
    waiting.term();
    assert!(waiting.wait(SOON).success());

    let mut agent = Program::start_command("run", &mut command);
    agent.wait_for_line("waiting to be admitted", SOON);
    assert!(ca(&network, &["admit", "ben"]).status.success());
    network.until_all("indexed", 0);

    // The owner of the name has a new key: the peer's history goes on.
    agent.term();
    agent.wait(SOON);
    let granted = network.peers()[0].granted;
    for file in ["peer.key", "peer.csr", "peer.crt"] {
        let _ = fs::remove_file(home.join(file));
    }
    let ran = asks(&network, &home, &["join", "ben", "--no-wait"]);
    assert!(ran.status.success(), "{}", ran.stderr);
    let shown = ca(&network, &["pending"]).stdout;
    assert!(shown.contains("in use: --again"), "{shown}");
    let refused = ca(&network, &["admit", "ben"]);
    assert!(refused.stderr.contains("in use"), "{}", refused.stderr);
    assert!(ca(&network, &["admit", "--again", "ben"]).status.success());
    assert!(asks(&network, &home, &["join", "ben"]).status.success());
    serve(&origin, &[INDEX, b"Package: b\nVersion: 1\nArchitecture: all\n\n"].concat());
    network.sync();
    let _agent = Program::start_command("run", &mut command);
    until("its history to go on", SOON, || {
        let peers = network.peers();
        assert_eq!(peers.len(), 1);
        (peers[0].granted > granted).then_some(())
    });
}

#[test]
fn an_operator_refuses_and_asks_for_a_token() {
    let origin = Origin::empty();
    let network = network(&origin, &["--join-token", "correct-horse"]);
    let home = home(&network, "eve");
    let ran = asks(&network, &home, &["join", "eve"]);
    assert_eq!(
        ran.stderr,
        "canister-agent: this arbiter wants a token; ask its operator, and use `join --token TOKEN`\n"
    );
    assert_eq!(pending(&network).len(), 0);
    let ran = asks(&network, &home, &["join", "eve", "--token", "correct-horse", "--no-wait"]);
    assert!(ran.status.success(), "{}", ran.stderr);
    // Two of one name are told apart by their words.
    let second = self::home(&network, "eve-2");
    let ran = asks(&network, &second, &["join", "eve", "--token", "correct-horse", "--no-wait"]);
    assert!(ran.status.success(), "{}", ran.stderr);
    let ran = ca(&network, &["refuse", "eve"]);
    assert!(
        ran.stderr.contains("2 applicants ask for the name eve; use --words"),
        "{}",
        ran.stderr
    );
    let words = pending(&network)[0]["words"].as_str().unwrap().to_owned();
    for why in ["", "\n"] {
        let ran = ca(&network, &["refuse", "eve", "--words", "no such", "--why", why]);
        assert!(!ran.status.success(), "{}", ran.stdout);
    }
    let ran = ca(&network, &["refuse", "eve", "--words", &words, "--why", "we don't know you"]);
    assert_eq!(ran.stdout, "eve: refused\n", "{}", ran.stderr);
    let ran = asks(&network, &second, &["join", "eve"]);
    assert_eq!(ran.stderr, "canister-agent: the operator refused the request: we don't know you\n");
    assert_eq!(ran.status.code(), Some(1));
}

/// Its leases go to others at once, and it is out within a second.
#[test]
fn who_leaves_is_revoked_and_told_what_remains() {
    let origin = Origin::empty();
    serve(&origin, INDEX);
    for has_issuer in [true, false] {
        let mut network = network(&origin, &[]);
        if has_issuer {
            let issuer = network.dir().join("ca").display().to_string();
            network.restart_with(&["--issuer", &issuer]);
        }
        let home = home(&network, "zoe");
        assert!(asks(&network, &home, &["join", "zoe", "--no-wait"]).status.success());
        assert!(ca(&network, &["admit", "zoe"]).status.success());
        assert!(asks(&network, &home, &["join", "zoe"]).status.success());
        let mut run = volunteer(&network, &home, &["run"]);
        let mut agent = Program::start_command("run", &mut run);
        network.until_all("indexed", 0);
        let ran = run_command("leave", &mut volunteer(&network, &home, &["leave"]), SOON);
        assert!(ran.status.success(), "{}", ran.stderr);
        let by_whom = if has_issuer { "is revoked\n" } else { "by hand, by Canister's operator\n" };
        assert!(
            ran.stdout.starts_with("zoe is a peer no more; its certificate "),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains(by_whom), "{}", ran.stdout);
        for file in ["peer.key", "peer.crt", "ca.crt", "peer.csr"] {
            assert!(ran.stdout.contains(&format!("/{file}\n")), "{}", ran.stdout);
            assert!(home.join(file).exists());
        }
        if has_issuer {
            until("it to be out", SOON, || {
                (network.status().peers_connected == 0 && network.status().revoked > 0)
                    .then_some(())
            });
            // It has nothing more to do, and isn't started again.
            assert_eq!(agent.wait(SOON).code(), Some(0));
            let said = agent.stderr();
            let told = said.lines().find(|line| line.contains("certificate was revoked, by"));
            let told = told.unwrap_or_else(|| panic!("{said}"));
            let key = home.join("peer.key").display().to_string();
            assert!(told.contains(&key) && told.contains("canister-agent join NAME"), "{told}");
            // Nor later.
            let mut run = volunteer(&network, &home, &["run"]);
            let mut again = Program::start_command("run", &mut run);
            assert_eq!(again.wait(SOON).code(), Some(0));
            assert!(again.stderr().contains("certificate was revoked, by"), "{}", again.stderr());
        } else {
            agent.kill9();
        }
    }
}

fn post(network: &Network, from: &str, body: &[u8]) -> Reply {
    let forwarded = format!("X-Forwarded-For: {from}");
    let headers = ["Content-Type: application/json", &forwarded];
    web::send(&network.public, "POST", "/join", &headers, body)
}

fn application(key: &rcgen::KeyPair, name: &str) -> Application {
    let request = canister_link::request::signed(key, name).unwrap();
    Application { request, ..Default::default() }
}

#[test]
fn what_is_no_application_is_refused_cheaply_and_in_a_line() {
    let origin = Origin::empty();
    let network = network(&origin, &["--trusted-proxy", "127.0.0.1"]);
    let key = rcgen::KeyPair::generate().unwrap();
    let good = application(&key, "good");
    let work = |application: Application| Application {
        work: WorkTask::new(&application.request).done(8),
        ..application
    };
    let reply = post(&network, "192.0.2.1", encode(&good).as_bytes());
    assert_eq!(reply.status, 428);
    assert_eq!(decode::<JoinAnswer>(reply.body.as_bytes()), Ok(JoinAnswer::Work { bits: 8 }));
    let broken = work(Application { request: good.request.replace('A', "B"), ..good.clone() });
    let named = work(application(&key, "Not A Name"));
    for (body, status, part) in [
        (String::new(), 400, ""),
        ("{".to_owned(), 400, "not JSON"),
        ("[1]".to_owned(), 400, ""),
        (encode(&work(Application::default())), 400, "not a PEM file"),
        (encode(&broken), 400, "the request"),
        (encode(&named), 400, "its name can't be a peer's: use 1 to 63"),
        ("x".repeat(100_000), 413, "at most"),
    ] {
        let reply = post(&network, "192.0.2.1", body.as_bytes());
        assert_eq!(reply.status, status, "{body:.40}: {}", reply.body);
        assert!(reply.body.contains(part) && reply.body.lines().count() == 1, "{}", reply.body);
    }
    assert_eq!(web::ask(&network.public, "GET", "/join").status, 405);
    assert_eq!(pending(&network).len(), 0);
    assert_eq!(post(&network, "192.0.2.1", encode(&work(good)).as_bytes()).status, 202);
    assert_eq!(pending(&network).len(), 1);
    // One address alone is told to wait.
    let all = (0..30).map(|_| post(&network, "198.51.100.1", b"{}"));
    let slowed: Vec<_> = all.filter(|reply| reply.status == 429).collect();
    assert!(slowed.len() >= 8, "{}", slowed.len());
    assert!(slowed[0].header("retry-after").is_some(), "{:?}", slowed[0]);

    let closed = self::network(&origin, &["--join-waiting", "0"]);
    let reply = post(&closed, "192.0.2.1", b"{}");
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("takes no requests to join"), "{}", reply.body);
}

/// Each from a network of its own, each with a key of its own and no work asked for: the worst case.
#[test]
fn ten_thousand_strangers_cost_nothing_and_hide_nobody() {
    const JUNK: u32 = 10_000;
    const THREADS: u32 = 4;
    let origin = Origin::empty();
    let options = ["--trusted-proxy", "127.0.0.1", "--join-work", "0"];
    let network = Network::start(&[flat("a", &origin.uri())], &options);
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", network.arbiter.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let disk = || -> u64 {
        let files = fs::read_dir(network.state()).unwrap().flatten();
        files.map(|file| file.metadata().unwrap().len()).sum()
    };
    let (memory_before, disk_before) = (memory(), disk());
    let began = clock::now();
    let taken: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let network = &network;
                scope.spawn(move || {
                    let own = (thread..JUNK).step_by(THREADS as usize);
                    own.filter(|number| {
                        let key = rcgen::KeyPair::generate().unwrap();
                        let body = encode(&application(&key, &format!("junk-{number}")));
                        let from = format!("{}.{}.0.1", 20 + number % 100, number / 100);
                        post(network, &from, body.as_bytes()).status == 202
                    })
                    .count()
                })
            })
            .collect();
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        counts.map(|count| u32::try_from(count).unwrap()).sum()
    });
    let (memory_after, disk_after) = (memory(), disk());
    println!(
        "{JUNK} strangers in {:.1} s: {taken} remembered; memory {memory_before} to {memory_after} kB, \
         disk {disk_before} to {disk_after} bytes",
        began.elapsed().as_secs_f64()
    );
    assert!(memory_after < memory_before + 16 * 1024, "{memory_before} to {memory_after} kB");
    assert!(disk_after < disk_before + 24 * 1024 * 1024, "{disk_before} to {disk_after} bytes");

    // Somebody real is seen first.
    let home = home(&network, "real");
    until("a real one to be taken", SOON, || {
        asks(&network, &home, &["join", "real", "--no-wait"]).status.success().then_some(())
    });
    let began = clock::now();
    let shown = ca(&network, &["pending"]).stdout;
    println!("`ca pending` shows {} lines in {:?}", shown.lines().count(), began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(shown.lines().nth(1).unwrap().starts_with("real "), "{shown}");
    assert!(shown.lines().count() <= 52, "{}", shown.lines().count());
    assert!(pending(&network).len() <= 1000);
    assert!(ca(&network, &["admit", "real"]).status.success());
    assert!(asks(&network, &home, &["join", "real"]).status.success());
}
