//! Runs the files of `vectors/`, which any implementation of the protocol can run too.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use canister_protocol::codec::{Message, decode, decode_binary};
use canister_protocol::{Error, ToArbiter, ToPeer};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn outcome(came: Result<&'static str, Error>) -> String {
    match came {
        Ok(name) => name.to_owned(),
        Err(Error::Field { field, .. }) => format!("Field {field}"),
        Err(Error::NotAMessage { .. }) => "NotAMessage".to_owned(),
        Err(Error::NotJson { .. }) => "NotJson".to_owned(),
        Err(other) => other.to_string(),
    }
}

/// Reads a message of text, or of bytes in hexadecimal digits.
fn read<M: Message>(header: &str, body: &str) -> Result<M, Error> {
    if !header.contains("\nform: binary") {
        return decode(body.as_bytes());
    }
    let digits: Vec<u32> = body.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    decode_binary(&bytes)
}

#[test]
fn every_vector_gives_what_its_header_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let (mut names, mut refused) = (BTreeSet::new(), 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (header, body) = text.split_once("\n\n").unwrap();
        let body = body.strip_suffix('\n').unwrap();
        let field = |name: &str| {
            let value = header.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or_else(|| panic!("{file}: no {name}")).trim()
        };
        let expect = field("expect:");
        let came = match field("to:") {
            "arbiter" => outcome(read::<ToArbiter>(header, body).map(|message| message.name())),
            "peer" => outcome(read::<ToPeer>(header, body).map(|message| message.name())),
            other => panic!("{file}: to {other}"),
        };
        assert_eq!(came, expect, "{file}");
        if file.starts_with("ok-") {
            names.insert(expect.to_owned());
        } else {
            assert!(file.starts_with("bad-"), "{file}");
            refused += 1;
        }
    }
    // One at least of each message.
    assert_eq!(names.len(), 32, "{names:?}");
    assert!(refused > 50, "{refused}");
}
