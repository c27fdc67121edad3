//! What a volunteer is promised holds for the real agent, measured from outside of it.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_tests::apt::{Compression, big_index};
use canister_tests::network::{Network, WAIT, flat};
use canister_tests::origin::Origin;
use canister_tests::programs::{cpu_time, own_bytes, run, until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the agent is kept at work and watched.
const WATCHED: Duration = Duration::from_secs(18);
/// How often its CPU time is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Over any stretch of this length the promise holds.
const WINDOW: Duration = Duration::from_secs(10);

/// A package index with some packages and much beside them, which costs its reader more than it
/// costs the arbiter that the rows are put to.
fn index() -> Vec<u8> {
    let mut text = big_index(500);
    let mut state = 1_u64;
    for number in 0..50 {
        let stanza = format!("Package: p{number}\nVersion: 1\nArchitecture: all\nDepends:");
        text.extend(stanza.into_bytes());
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.extend(format!(" {state:016x}\n").into_bytes());
        }
        text.push(b'\n');
    }
    text
}

/// A server of this package index in one compression and of nothing else: without Release or
/// validators it has to be read as a whole to learn that it is what it was.
fn origin(number: u8, compression: Compression, plain: &Path) -> Origin {
    let packed = fs::read(compression.compress(plain)).unwrap();
    let origin = Origin::at(number);
    origin.put(&format!("/Packages{}", compression.suffix()), packed);
    origin
}

#[test]
fn four_slots_take_half_a_thread() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("Packages");
    fs::write(&plain, index()).unwrap();
    let origins: Vec<Origin> = (2..)
        .zip(Compression::ALL)
        .map(|(number, compression)| origin(number, compression, &plain))
        .collect();
    let sources: Vec<_> = origins
        .iter()
        .enumerate()
        .map(|(number, origin)| flat(&format!("source-{number}"), &origin.uri()))
        .collect();
    let network = Network::start(&sources, &[]);
    let agent = network.agent("a", &["--slots", "4"]);

    let began = Instant::now();
    let mut looks = vec![(began, cpu_time(agent.pid()))];
    let mut leased_most = 0;
    while began.elapsed() < WATCHED {
        std::thread::sleep(LOOK);
        looks.push((Instant::now(), cpu_time(agent.pid())));
        network.sync();
        leased_most = leased_most.max(network.status().leased);
    }

    let shares = looks.iter().filter_map(|(from, spent_before)| {
        let (to, spent) = looks.iter().find(|(at, _)| *at - *from >= WINDOW)?;
        Some((*spent - *spent_before).as_secs_f64() / (*to - *from).as_secs_f64())
    });
    let shares: Vec<f64> = shares.collect();
    let (most, last) = (shares.iter().copied().fold(0.0, f64::max), shares.last().unwrap());
    assert!(most <= 0.55, "{most} of a thread over 10 s: {shares:?}");
    // It was held back, not idle, on a machine that has other tests to run.
    assert!(*last >= 0.25, "{last} of a thread over 10 s: {shares:?}");
    assert!(leased_most >= 4, "{leased_most} leases at once");
    assert_eq!(network.status().packages, 6 * 550);
}

/// The allocator of a program that is built for glibc keeps a second window where it can.
#[test]
fn what_work_needed_is_given_back_when_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("Packages");
    let serve = |origin: &Origin, round: u32| {
        let index = String::from_utf8(index().repeat(6)).unwrap();
        fs::write(&plain, index.replace("\nVersion: ", &format!("\nVersion: {round}:"))).unwrap();
        let packed = Command::new("xz").args(["-6c"]).arg(&plain).output();
        origin.put("/Packages.xz", packed.unwrap().stdout);
    };
    let origin = Origin::empty();
    serve(&origin, 1);
    let network = Network::start(&[flat("a", &origin.uri())], &[]);
    let agent = network.agent("a", &["--cpu", "4"]);
    for round in 2..4 {
        let done = network.until_all("indexed", round - 2);
        serve(&origin, round as u32);
        network.sync();
        network.until_all("indexed", done[0].last_attempt.as_ref().unwrap().lease);
    }
    let (most, pid) = (agent.peak_rss_bytes(), agent.pid());
    until("the agent to be small again", Duration::from_secs(60), || {
        (own_bytes(pid) < 6_000_000).then_some(())
    });
    println!("{} kB at most, {} kB of its own at rest", most / 1000, own_bytes(pid) / 1000);
}

#[test]
fn an_index_whose_window_does_not_fit_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("Packages");
    fs::write(&plain, big_index(50)).unwrap();
    let origin = Origin::empty();
    let packed = Command::new("xz").args(["-9c"]).arg(&plain).output();
    origin.put("/Packages.xz", packed.unwrap().stdout);
    let index = |memory: &str| {
        let args = ["index", "--allow-private", "--memory", memory];
        run("canister-agent", args.into_iter().chain([&*origin.uri()]), WAIT)
    };
    // It is all there is.
    let ran = index("128");
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    let why = "Packages.xz: unpacking needs 68157440 bytes of memory, over the 50331648";
    assert!(ran.stderr.contains(why), "{ran:?}");
    let ran = index("256");
    assert_eq!(ran.stdout.lines().count(), 50, "{ran:?}");
    // Another is, too.
    let packed = fs::read(Compression::Gz.compress(&plain)).unwrap();
    origin.put("/Packages.gz", packed);
    let ran = index("128");
    assert_eq!(ran.stdout.lines().count(), 50, "{ran:?}");
    let requests = origin.requests_for("/Packages.gz");
    assert_eq!(requests.last().unwrap().status, 200);
}
