//! Announcements that are changed by chance keep the properties that the fuzzer looks for, in
//! bounded time.

#![allow(clippy::disallowed_methods, reason = "the time that reading takes is measured")]

#[path = "announcement/property.rs"]
mod property;

use canister_arbiter::rules::announcement::{BODY_BYTES_MAX, read};
use property::announcement;
use std::time::{Duration, Instant};

/// The files of the folder beside this one: one announcement each, what the fuzzer starts from.
const WHOLE: [&[u8]; 6] = [
    include_bytes!("announcement/sender.cbor"),
    include_bytes!("announcement/sender-with-peer.cbor"),
    include_bytes!("announcement/sender.json"),
    include_bytes!("announcement/text-addresses.json"),
    include_bytes!("announcement/slug.json"),
    include_bytes!("announcement/uri.json"),
];

/// What a reader looks for.
const TOKENS: [&[u8]; 20] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"",
    b"\\u0000",
    b"null",
    b"1e999",
    b"\"Cid\":{\"/\":\"b\"}",
    b"\"uri\":\"http://[::]:1\",",
    b"/http-path/%2e%2e%2F",
    b"/ip6/::ffff:1.2.3.4",
    b"\xd8\x2a\x58\x26",
    b"\x9f",
    b"\xff",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xe1\x03\xff\xff\x7f",
    b"\x80\x80\x80\x80\x80",
];

#[test]
fn changed_announcements_keep_the_properties() {
    for (number, whole) in WHOLE.iter().enumerate() {
        announcement(whole);
        assert!(read(None, whole).is_ok(), "{number}");
        for seed in 1..=3000 {
            let changed = changed((seed << 8) | number as u64, whole);
            if std::panic::catch_unwind(|| announcement(&changed)).is_err() {
                panic!("announcement {number} with seed {seed}: {changed:?}");
            }
        }
    }
}

#[test]
fn the_longest_bodies_take_no_time() {
    // Each of these is the most of its kind that a body can hold.
    let filled = |before: &str, piece: &str, after: &str| {
        let room = BODY_BYTES_MAX - before.len() - after.len();
        let body = format!("{before}{}{after}", piece.repeat(room / piece.len()));
        body.into_bytes()
    };
    for body in [
        filled("", "[", ""),
        filled("{\"a\":", "{\"a\":", ""),
        filled("[0", ",0", "]"),
        filled("{\"Addrs\":[\"/dns/h/https\"", ",\"/dns/h/https\"", "]}"),
        filled("{\"uri\":\"https://h/", "a/", "\"}"),
        filled("{\"Cid\":\"b", "a", "\",\"source\":\"a\"}"),
        filled("{\"x\":\"", "\\u0041", "\"}"),
        vec![0x83; BODY_BYTES_MAX],
        vec![0x9f; BODY_BYTES_MAX],
        vec![0xd8; BODY_BYTES_MAX],
    ] {
        let since = Instant::now();
        announcement(&body);
        let took = since.elapsed();
        // A millisecond or so where nothing else runs: 64 KiB three times.
        assert!(took < Duration::from_secs(1), "{took:?}: {:?}", &body[..40]);
    }
}

/// A few changes somewhere in `whole`, the same for the same seed.
fn changed(seed: u64, whole: &[u8]) -> Vec<u8> {
    let mut state = seed;
    let mut below = |bound: usize| {
        // Spec: Marsaglia 2003, xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let mut bytes = whole.to_vec();
    for _ in 0..1 + below(4) {
        let at = below(bytes.len() + 1);
        let end = (at + below(40)).min(bytes.len());
        match below(4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => {
                let token = TOKENS[below(TOKENS.len())].iter().copied();
                drop(bytes.splice(at..at, token));
            }
        }
    }
    bytes
}
