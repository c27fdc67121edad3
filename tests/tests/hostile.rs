//! Servers that mean no good, all at once, beside good ones: each ends with a clear error in
//! bounded time and memory, nothing of it is published, and the other slots keep working.

#![allow(clippy::disallowed_methods, reason = "real time is looked at here")]

use canister_tests::apt::{Compression, big_index};
use canister_tests::network::{Network, flat, serve, truth, without_descriptions};
use canister_tests::origin::{Fault, Origin};
use canister_tests::programs::until;
use std::fs;
use std::time::{Duration, Instant};

/// Zeros in one member of a bomb.
const MEMBER_BYTES: usize = 64 << 20;
/// Members of a bomb: 10 GB in all.
const MEMBERS: usize = 160;
/// A server that says nothing is given up after 30 s, one that trickles after a minute; with four
/// slots all are through well within this.
const ALL_MAX: Duration = Duration::from_secs(240);
/// What four slots may hold while all that goes on: a decoder's window each, and the programs.
const RSS_BYTES_MAX: u64 = 64 << 20;

/// 10 GB of zeros in a few megabytes. The old LZMA format has no members: of it a gigabyte.
fn bomb(compression: Compression) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("zeros");
    let is_whole = compression == Compression::Lzma;
    let file = fs::File::create(&plain).unwrap();
    file.set_len(if is_whole { 1 << 30 } else { MEMBER_BYTES as u64 }).unwrap();
    let packed = fs::read(compression.compress(&plain)).unwrap();
    if is_whole { packed } else { packed.repeat(MEMBERS) }
}

#[test]
fn hostile_servers_end_with_an_error_and_hold_up_nobody() {
    let mut origins = Vec::new();
    let mut bad = Vec::new();
    let mut add = |slug: &str, why: &'static str, prepare: &dyn Fn(&Origin)| {
        let origin = Origin::at(u8::try_from(origins.len()).unwrap() + 2);
        prepare(&origin);
        bad.push((slug.to_owned(), why));
        let source = flat(slug, &origin.uri());
        origins.push(origin);
        source
    };
    let mut sources = vec![
        add("trickles", "slower than", &|origin| {
            origin.put("/InRelease", vec![b'a'; 100_000]);
            origin.fault("/InRelease", Fault::Trickle(1, Duration::from_secs(1)));
        }),
        add("says-nothing", "timeout", &|origin| {
            origin.put("/InRelease", "Origin: a\n");
            origin.fault("/InRelease", Fault::Hang);
        }),
        add("goes-round", "redirects", &|origin| {
            origin.fault("*", Fault::Redirect("/InRelease".to_owned()));
        }),
        add("one-line", "stanza longer than", &|origin| {
            origin.put("/Packages", "a");
            origin.fault("/Packages", Fault::Endless(vec![b'a'; 65_536]));
        }),
        add("endless-release", "longer than", &|origin| {
            origin.put("/InRelease", "a");
            origin.fault("/InRelease", Fault::Endless(b"Origin: a\n".repeat(4096)));
        }),
        add("cut-off", "Packages", &|origin| {
            serve(origin, &big_index(100));
            origin.fault("/Packages", Fault::Truncate(5000));
        }),
    ];
    for compression in Compression::ALL {
        if compression != Compression::Plain {
            let path = format!("/Packages{}", compression.suffix());
            let slug = format!("bomb-{}", &compression.suffix()[1..]);
            sources.push(add(&slug, "stanza longer than", &|origin| {
                origin.put(&path, bomb(compression));
            }));
        }
    }
    let index = String::from_utf8(big_index(200)).unwrap();
    let good: Vec<Origin> = (100..104).map(Origin::at).collect();
    for (number, origin) in good.iter().enumerate() {
        serve(origin, index.as_bytes());
        sources.push(flat(&format!("good-{number}"), &origin.uri()));
    }

    let network = Network::start(&sources, &[]);
    let began = Instant::now();
    let agent = network.agent("p1", &["--slots", "4"]);
    let mut good_after = None;
    let reports = until("every source to be done", ALL_MAX, || {
        let reports = network.sources();
        let is_done = |prefix: &str| {
            let mut some = reports.iter().filter(|report| report.source.starts_with(prefix));
            some.all(|report| report.last_attempt.is_some())
        };
        if good_after.is_none() && is_done("good-") {
            good_after = Some(began.elapsed());
            // The two that keep a slot each busy are still at it.
            assert!(!is_done("trickles"), "the good ones had to wait");
        }
        is_done("").then_some(reports)
    });
    println!("good ones after {good_after:?}, all after {:?}", began.elapsed());
    for report in &reports {
        let attempt = report.last_attempt.as_ref().unwrap();
        let Some((slug, why)) = bad.iter().find(|(slug, _)| *slug == report.source) else {
            // A peer that failed that often is tried by a source that isn't due yet.
            assert!(["indexed", "unchanged"].contains(&&*attempt.verdict), "{report:?}");
            continue;
        };
        // What may be the way's fault is believed of a peer alone only after success elsewhere.
        let verdicts = ["source failed", "peer failed"];
        assert!(verdicts.contains(&&*attempt.verdict), "{report:?}");
        let error = attempt.error.as_deref().unwrap();
        assert!(error.contains(why) && error.contains(slug.as_str()), "{slug}: {error}");
        println!("{error}");
        assert!(network.rows(slug).is_empty(), "{slug}");
    }
    for number in 0..good.len() {
        let rows = without_descriptions(network.rows(&format!("good-{number}")));
        assert_eq!(rows, truth(&index));
    }
    let peak = agent.peak_rss_bytes();
    println!("peak memory of the agent: {:.1} MB", peak as f64 / 1e6);
    assert!(peak < RSS_BYTES_MAX, "{peak} bytes");
    origins.iter().for_each(Origin::let_go);
}
