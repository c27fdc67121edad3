//! The parts of reading a package index by themselves, for `make bench`:
//!
//! - `decode FILE`: the fastest decoder that was found for FILE's compression, and SHA-256 over the
//!   bytes as they come; nothing else is done with what comes out.
//! - `stanzas FILE`: the stanza parser over a plain index, seven fields of each stanza looked up.
//! - `rows FILE`: the same parser, and all rows as JSON, to nowhere.
//!
//! Prints bytes out, stanzas, seconds of CPU time, and peak memory in bytes.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints what it found and has nobody to report to"
)]

use canister_agent::apt::package;
use canister_agent::sink::Sink as _;
use canister_agent::sink::ndjson::Ndjson;
use canister_agent::unpack::Unpack;
use canister_link::clock;
use canister_stanza::StanzaReader;
use ring::digest::{Context, SHA256};
use std::fs::{self, File};
use std::io::{self, Read};

/// Hashes what passes.
struct Hashed(File, Context);

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.update(&into[..read]);
        Ok(read)
    }
}

const FIELDS: [&str; 7] =
    ["Package", "Version", "Architecture", "Filename", "Size", "SHA256", "Description"];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, what, path] = &words[..] else {
        panic!("usage: measure_reading decode|stanzas|rows FILE");
    };
    let file = File::open(path).unwrap();
    let (mut bytes, mut stanzas) = (0, 0);
    let began = clock::cpu();
    match what.as_str() {
        "decode" => {
            let mut buffer = vec![0; 64 * 1024];
            let mut unpack = Unpack::new(Hashed(file, Context::new(&SHA256)), 1 << 30).unwrap();
            loop {
                match unpack.read(&mut buffer).unwrap() {
                    0 => break,
                    read => bytes += read,
                }
            }
        }
        "stanzas" => {
            let mut reader = StanzaReader::new(file);
            while let Some(stanza) = reader.read().unwrap() {
                stanzas += 1;
                let found = FIELDS.iter().filter_map(|field| stanza.get(field));
                bytes += found.map(<[u8]>::len).sum::<usize>();
            }
        }
        "rows" => {
            let mut reader = StanzaReader::new(file);
            let mut sink = Ndjson::new("source", io::sink());
            while let Some(stanza) = reader.read().unwrap() {
                stanzas += 1;
                if let Ok(row) = package::row(&stanza) {
                    sink.put(&row).unwrap();
                    bytes += row.bytes();
                }
            }
        }
        other => panic!("{other}: decode, stanzas or rows would work"),
    }
    let spent = (clock::cpu() - began).as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.unwrap().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    println!("{bytes} {stanzas} {spent:.6} {}", kib * 1024);
}
