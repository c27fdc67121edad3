//! Binary messages: rows and digests come back as they were, and any other bytes give an error, within the
//! memory of one message.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod common;

use canister_protocol::codec::{Message, decode_binary};
use canister_protocol::limits::*;
use canister_protocol::{Error, PackageRow, Rows, ToArbiter, ToPeer};
use common::Random;
use flate2::{Compress, Compression, FlushCompress};
use std::fmt::Debug;

/// A Put of rows that are these bytes unpacked, and say that they are so long.
fn put(plain: &[u8], says: usize) -> Vec<u8> {
    let mut out = [&[1][..], &[0; 15], &[7], &(says as u32).to_be_bytes()].concat();
    out.reserve(plain.len() + 1024);
    let mut pack = Compress::new(Compression::new(6), false);
    pack.compress_vec(plain, &mut out, FlushCompress::Finish).unwrap();
    out
}

/// What a row has, with its sizes: `forms` of its first texts.
fn head(forms: &[u64], more: u64) -> Vec<u8> {
    let texts = forms.iter().enumerate().map(|(at, form)| form << (2 * at)).sum::<u64>();
    let mut bytes = (texts | more).to_be_bytes()[3..].to_vec();
    bytes.push(0);
    bytes
}

/// A row of five texts and its tags, and nothing else.
fn small(id: &[u8], tags: &[u8]) -> Vec<u8> {
    let mut row = head(&[3, 3, 3, 3, 3], 3 << 34);
    for text in [id, b"1", b"x", b"", b"Free", tags] {
        row.push(text.len() as u8);
        row.extend_from_slice(text);
    }
    row
}

#[test]
fn frames_that_are_none_are_refused_in_a_line() {
    let good = small(b"a", b"\x1ft");
    assert!(decode_binary::<ToArbiter>(&put(&good, good.len())).is_ok());
    let row = |row: Vec<u8>| put(&row, row.len());
    let same = [good.clone(), head(&[1, 1, 1, 1, 1], 1 << 34)].concat();
    assert!(decode_binary::<ToArbiter>(&row(same.clone())).is_ok());
    // 500 rows, in a kilobyte, of which each has the text of 128 KiB that the first has.
    let long = [&head(&[3, 3, 3, 3, 3], 3 << 34)[..], &[1, b'a', 1, b'1', 1, b'x', 0x80, 0x80, 7]];
    let long = [long.concat(), vec![b'f'; 7 << 14], vec![4], b"Free".to_vec(), vec![0]].concat();
    let bomb = [long, head(&[1, 1, 1, 1, 1], 1 << 34).repeat(499)].concat();
    let zeros = vec![0; PUT_PLAIN_BYTES_MAX];
    let of_digests = |kind: u8, numbers: usize, bytes: usize| {
        [vec![kind], vec![0; 8 * numbers], vec![1; bytes]].concat()
    };
    for (name, bytes, why) in [
        ("nothing", vec![], "nothing in it"),
        ("no such kind", vec![9, 0, 0], "no peer says a message 9"),
        ("what an arbiter says", of_digests(3, 1, 17), "no peer says a message 3"),
        ("text", b"{\"Offer\":{}}".to_vec(), "no peer says a message 123"),
        ("a Put without a lease", vec![1, 0], "cut short"),
        ("a Put without rows", of_digests(1, 2, 0), "cut short"),
        ("no DEFLATE", [of_digests(1, 2, 0), vec![0, 0, 0, 1], vec![255; 9]].concat(), "packed"),
        ("longer than it says", put(&good, good.len() - 1), "packed"),
        ("shorter than it says", put(&good, good.len() + 1), "packed"),
        ("bytes behind the rows", [put(&good, good.len()), vec![0]].concat(), "packed"),
        ("a gigabyte, as it says", put(b"", 1 << 30), "rows (unpacked bytes)"),
        ("a gigabyte, as it is", put(&vec![0; 1 << 26], zeros.len()), "packed"),
        ("more than may be", put(&[&zeros[..], b"0"].concat(), zeros.len() + 1), "unpacked bytes"),
        ("rows of zeros", put(&zeros, zeros.len()), "rows"),
        ("500 times 112 KiB in a kilobyte", row(bomb), "rows (bytes)"),
        ("501 rows", row(good.repeat(501)), "rows"),
        ("a row cut short", row(good[..good.len() - 1].to_vec()), "cut short"),
        ("a head cut short", row(vec![0; 3]), "cut short"),
        ("what no row has", row(head(&[], 1 << 37)), "what no row has"),
        ("like the row before the first", row(head(&[1], 0)), "like none before it"),
        ("a number without an end", row([&head(&[], 0)[..5], &[0xff; 12]].concat()), "too long"),
        ("a number of 65 bits", row([&head(&[], 0)[..5], &[0xff; 9], &[2]].concat()), "too large"),
        (
            "a text of 2^63 bytes",
            row([head(&[3], 0), vec![0x80; 9], vec![1]].concat()),
            "cut short",
        ),
        ("a text that isn't UTF-8", row(small(b"\xff", b"")), "UTF-8"),
        ("half a character", row(small(&"é".as_bytes()[..1], b"")), "UTF-8"),
        ("tags that begin with none", row(small(b"a", b"t\x1fu")), "U+001F"),
        ("no id", row(small(b"", b"")), "package_id"),
        ("a control character", row(small(b"a\x1fb", b"")), "row"),
        ("257 tags", row(small(b"a", b"").split_at(17).0.to_vec()), "cut short"),
        ("half a digest", of_digests(2, 2, 8), "16 bytes each"),
        ("more digests than may be", of_digests(2, 2, 16 * (DIGESTS_MAX + 1)), "digests"),
        ("longer than a message", vec![1; MESSAGE_BYTES_MAX + 1], "at most"),
    ] {
        let error = decode_binary::<ToArbiter>(&bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
        assert!(!error.contains('\n') && error.len() < 200, "{name}: {error}");
    }
    let error = decode_binary::<ToPeer>(&of_digests(3, 1, 0)).unwrap_err();
    assert!(matches!(error, Error::NotAMessage { .. }), "{error}");
    let error = decode_binary::<ToPeer>(&[of_digests(3, 1, 0), vec![2]].concat()).unwrap_err();
    assert!(error.to_string().contains("not 0 or 1"), "{error}");
}

fn packed() -> Vec<Vec<u8>> {
    let to_arbiter = common::to_arbiter();
    let to_peer = common::to_peer();
    to_arbiter
        .iter()
        .filter_map(Message::pack)
        .chain(to_peer.iter().filter_map(Message::pack))
        .collect()
}

#[test]
fn every_truncation_is_an_error() {
    for bytes in packed() {
        for end in 0..bytes.len() {
            // Digests may end anywhere between two.
            let is_whole = bytes[0] != 1 && (end + 16 - bytes.len() % 16).is_multiple_of(16);
            let is_error = decode_binary::<ToArbiter>(&bytes[..end]).is_err()
                && decode_binary::<ToPeer>(&bytes[..end]).is_err();
            assert!(is_error || is_whole, "{end} of {bytes:?}");
        }
    }
}

/// Whether `bytes` are a message, which then must stay what it is.
fn is_stable<M: Message + Debug + PartialEq>(bytes: &[u8]) -> bool {
    let Ok(message) = decode_binary::<M>(bytes) else { return false };
    assert_eq!(decode_binary::<M>(&message.pack().unwrap()).as_ref(), Ok(&message));
    true
}

#[test]
fn mutated_frames_never_panic_and_what_is_accepted_stays_what_it_is() {
    let base = packed();
    // Behind the compression, too: it alone would refuse nearly all of them.
    let rows: Vec<_> =
        (0..40u64).map(|number| common::full_row(["", "a"][number as usize % 2], number)).collect();
    let mut plain = vec![];
    for row in &rows {
        plain.extend(small(row.package_id.as_bytes(), b"\x1ft"));
    }
    let (mut kept, mut seen) = (0, 0);
    for seed in 0..60_000 {
        let mut random = Random(seed);
        let mut bytes = random.pick(&base).clone();
        let is_plain = seed % 2 == 0;
        if is_plain {
            bytes.clone_from(&plain);
        }
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len().max(1));
            match random.below(4) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                1 => bytes.insert(at.min(bytes.len()), random.next() as u8),
                2 => bytes.truncate(at),
                _ => {
                    let end = (at + random.below(40)).min(bytes.len());
                    let piece = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at.min(end)..at.min(end), piece);
                }
            }
        }
        if is_plain {
            bytes = put(&bytes, bytes.len());
        }
        seen += 1;
        kept += u32::from(is_stable::<ToArbiter>(&bytes)) + u32::from(is_stable::<ToPeer>(&bytes));
    }
    assert!(kept > seen / 20, "{kept} of {seen}");
}

#[test]
fn rows_of_every_kind_come_back() {
    let mut random = Random(7);
    let texts =
        ["", "a", "é\t", &"0123456789abcdef".repeat(4), &"A".repeat(64), "\"\\", &"x".repeat(300)];
    for _ in 0..500 {
        let rows: Vec<PackageRow> = (0..random.below(60))
            .map(|_| {
                let mut text = || (*random.pick(&texts)).to_owned();
                let (first, second) = (text(), text());
                let number = random.next() >> random.below(64);
                let mut row = common::full_row(&first, number);
                row.name = (!number.is_multiple_of(3)).then_some(second.clone());
                row.installed_size = (!number.is_multiple_of(2)).then_some(number);
                row.tags = vec![second; random.below(4)];
                row
            })
            .collect();
        let message = ToArbiter::Put { lease: 1, number: 2, rows: Rows::of(&rows) };
        let came = ToArbiter::unpack(1, &message.pack().unwrap()[1..]).unwrap();
        assert_eq!(came, message);
        let ToArbiter::Put { rows: came, .. } = came else { panic!("it was a Put") };
        assert_eq!(came.iter().map(|row| row.map(str::to_owned)).collect::<Vec<_>>(), rows);
        assert_eq!(came.bytes(), rows.iter().map(PackageRow::bytes).sum::<usize>());
    }
}
