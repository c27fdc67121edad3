//! Servers that send without end: what that costs a volunteer, in one attempt and in a day.

use canister_arbiter::doors::admin::HistoryReport;
use canister_tests::apt::Compression;
use canister_tests::network::{Network, WAIT, flat, serve};
use canister_tests::origin::{Fault, Origin};
use canister_tests::programs::until;
use std::fmt::Write as _;

const MIB: u64 = 1 << 20;
/// Its slug, and what it serves.
type HostileServer<'a> = (&'a str, &'a dyn Fn(&Origin));

/// What a lease and what a source's day may cost, in mebibytes.
const LEASE: u64 = 4;
const DAY: u64 = 9;
/// What tells that there is more, once an attempt.
const OVER: u64 = 8;

fn packed(compression: Compression) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("Packages");
    std::fs::write(&plain, "Package: a\nVersion: 1\nArchitecture: all\n\n").unwrap();
    std::fs::read(compression.compress(&plain)).unwrap()
}

/// A file that begins well and goes on with this for ever.
fn endless(origin: &Origin, path: &str, start: Vec<u8>, tail: &[u8]) {
    origin.put(path, start);
    origin.fault(path, Fault::Endless(tail.to_vec()));
}

fn history(network: &Network, slug: &str) -> HistoryReport {
    serde_json::from_str(&network.command(&["source", slug, "--json"])).unwrap()
}

#[test]
fn a_hostile_server_costs_a_volunteer_no_more_than_is_granted() {
    let kinds: [HostileServer<'_>; 6] = [
        // Six forms of a terabyte each, all listed.
        ("listed", &|origin| {
            let mut release = "Origin: a\nSHA256:\n".to_owned();
            for suffix in ["", ".gz", ".bz2", ".xz", ".lzma", ".zst"] {
                let digest = "0".repeat(64);
                let _ = writeln!(release, " {digest} 1000000000000 Packages{suffix}");
                origin.fault(&format!("/Packages{suffix}"), Fault::Endless(vec![b'a'; 65_536]));
            }
            origin.put("/InRelease", release);
        }),
        // A small frame, then frames to skip (RFC 8878 §3.1.2).
        ("zst", &|origin| {
            let mut frame = vec![0x50, 0x2a, 0x4d, 0x18, 0xf8, 0xff, 0, 0];
            frame.resize(65_536, 0);
            endless(origin, "/Packages.zst", packed(Compression::Zst), &frame);
        }),
        ("xz", &|origin| {
            endless(origin, "/Packages.xz", packed(Compression::Xz), &[0; 65_536]);
        }),
        ("lzma", &|origin| {
            endless(origin, "/Packages.lzma", packed(Compression::Lzma), &[7; 65_536]);
        }),
        ("gz", &|origin| {
            endless(origin, "/Packages.gz", packed(Compression::Gz), &[7; 65_536]);
        }),
        // Each form somewhere else.
        ("redirects", &|origin| {
            for suffix in ["", ".gz", ".bz2", ".xz", ".lzma", ".zst"] {
                let there = format!("/there{suffix}");
                origin.fault(&format!("/Packages{suffix}"), Fault::Redirect(there.clone()));
                let line = b"Package: a\nVersion: 1\nArchitecture: all\n\n".repeat(1000);
                origin.put(&there, "a");
                origin.fault(&there, Fault::Endless(line));
            }
        }),
    ];
    let good = Origin::empty();
    serve(&good, b"Package: a\nVersion: 1\nArchitecture: all\n\n");
    let mut sources = vec![flat("good", &good.uri())];
    let mut origins = Vec::new();
    for (number, (slug, prepare)) in kinds.iter().enumerate() {
        let origin = Origin::at(u8::try_from(number).unwrap() + 2);
        prepare(&origin);
        sources.push(flat(slug, &origin.uri()));
        origins.push(origin);
    }
    let (lease, day) = (LEASE.to_string(), DAY.to_string());
    let options = [
        "--lease-mib",
        &lease,
        "--day-mib",
        &day,
        "--interval",
        "4s",
        "--retry-after",
        "1s",
        "--deactivate-after",
        "1h",
        "--stop-after",
        "2h",
        "--pause",
        "0s",
    ];
    let network = Network::start(&sources, &options);
    let _agent = network.agent("p1", &["--slots", "8"]);
    // Until the good one was asked often enough for all to be asked as often as they may.
    let asked = |slug: &str| history(&network, slug).attempts.len();
    let spent = |slug: &str| {
        let attempts = history(&network, slug).attempts;
        attempts.iter().map(|attempt| attempt.bytes_fetched).collect::<Vec<u64>>()
    };
    for (slug, _) in &kinds[1..] {
        until("its day to be spent", WAIT, || {
            (spent(slug).iter().sum::<u64>() >= DAY * MIB).then_some(())
        });
    }
    let before: Vec<usize> = kinds[1..].iter().map(|(slug, _)| asked(slug)).collect();
    let goods = asked("good");
    until("the good one to be asked on", WAIT, || (asked("good") > goods + 1).then_some(()));
    let after: Vec<usize> = kinds[1..].iter().map(|(slug, _)| asked(slug)).collect();
    assert_eq!(before, after, "asked though their day is spent");
    for (slug, _) in &kinds {
        let spent = spent(slug);
        let (most, all) = (spent.iter().max().unwrap(), spent.iter().sum::<u64>());
        println!("{slug}: {most} bytes in one attempt at most, {all} in all {}", spent.len());
        assert!(*most <= LEASE * MIB + OVER, "{slug}: {most}");
        assert!(all <= DAY * MIB + OVER, "{slug}: {all}");
    }
    // What is too long by its own word isn't asked for.
    assert!(origins[0].requests().iter().all(|request| !request.path.contains("Packages")));
}
