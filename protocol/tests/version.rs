//! The version key against the real `dpkg --compare-versions`, and as an order over any text.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod common;

use canister_protocol::version::key;
use common::Random;
use std::cmp::Ordering;
use std::process::Command;

/// Versions that dpkg accepts and that have something about them.
const NASTY: &[&str] = &[
    "0",
    "0~",
    "0~~",
    "00",
    "1",
    "01",
    "1~",
    "1~~a",
    "1~1",
    "1-0",
    "1-0~",
    "1-1~",
    "1-00",
    "1-a",
    "1.0",
    "1.",
    "1.0.",
    "1.00",
    "1.0a",
    "1.a",
    "1+",
    "1a",
    "1A",
    "1Z",
    "1z",
    "1.0-1-1",
    "1.0-1.1",
    "0:1",
    "00:1",
    "1:1",
    "1:1:1",
    "2:0",
    "1+b1",
    "1-1+b1",
    "1-1~bpo1",
    "1.9",
    "1.10",
    "9",
    "10",
    "99999999999999999999",
    "1.99999999999999999998",
    "1.99999999999999999999",
    "1a0",
    "1a00b",
    "1a0b",
    "1~a",
    "1~+",
    "1+~",
    "1.-1",
    "1+dfsg-1",
    "1.0+git20200101-1",
    "1-1ubuntu0.1",
    "1~rc1",
];

fn dpkg(a: &str, b: &str) -> Ordering {
    let said = |operator: &str| {
        let run = Command::new("dpkg")
            .args(["--compare-versions", a, operator, b])
            .output()
            .expect("this test compares with dpkg: install the package dpkg");
        assert!(
            run.stderr.is_empty() && matches!(run.status.code(), Some(0 | 1)),
            "{a:?} {operator} {b:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        run.status.success()
    };
    if said("lt") {
        Ordering::Less
    } else if said("eq") {
        Ordering::Equal
    } else {
        Ordering::Greater
    }
}

fn agrees(a: &str, b: &str) {
    assert_eq!(key(a).cmp(&key(b)), dpkg(a, b), "{a:?} and {b:?}");
}

#[test]
fn nasty_versions_sort_as_dpkg_says() {
    // dpkg's order is total, so the pairs of one half say all about the other.
    for (i, a) in NASTY.iter().enumerate() {
        for b in &NASTY[i..] {
            agrees(a, b);
        }
    }
}

#[test]
fn random_versions_sort_as_dpkg_says() {
    let mut random = Random(20);
    let word = |random: &mut Random, letters: &str| -> String {
        let letters: Vec<char> = letters.chars().collect();
        (0..random.below(6)).map(|_| *random.pick(&letters)).collect()
    };
    let version = |random: &mut Random| {
        // Few letters, so that versions share beginnings.
        let epoch = *random.pick(&["", "", "0:", "1:"]);
        let first = random.below(3);
        let upstream = word(random, "001a~+.-");
        let revision = *random.pick(&["", "-0", "-1", "-~", "-a0"]);
        format!("{epoch}{first}{upstream}{revision}")
    };
    for _ in 0..400 {
        let (a, b) = (version(&mut random), version(&mut random));
        // An upstream version that ends in a dash would leave an empty revision, which dpkg refuses.
        if !a.ends_with('-') && !b.ends_with('-') {
            agrees(&a, &b);
        }
    }
}

/// dpkg's algorithm as its source has it (`lib/dpkg/version.c`), over any text: slow and readable.
fn reference(a: &str, b: &str) -> Ordering {
    fn split(version: &str) -> (&[u8], &[u8], &[u8]) {
        let version = version.trim_ascii();
        let (epoch, rest) = match version.split_once(':') {
            Some((epoch, rest))
                if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) =>
            {
                (epoch, rest)
            }
            _ => ("", version),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
    }
    fn order(byte: Option<&u8>) -> i32 {
        match byte {
            None | Some(b'0'..=b'9') => 0,
            Some(b'~') => -1,
            Some(&byte) if byte.is_ascii_alphabetic() => i32::from(byte),
            Some(&byte) => i32::from(byte) + 256,
        }
    }
    fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
        let is_digit = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        while !a.is_empty() || !b.is_empty() {
            while (!a.is_empty() && !is_digit(a)) || (!b.is_empty() && !is_digit(b)) {
                let by_byte = order(a.first()).cmp(&order(b.first()));
                if by_byte != Ordering::Equal {
                    return by_byte;
                }
                (a, b) = (&a[1..], &b[1..]);
            }
            let number = |text: &mut &[u8]| {
                let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
                let (number, rest) = text.split_at(digits);
                *text = rest;
                let zeros = number.iter().take_while(|&&b| b == b'0').count();
                number[zeros..].to_vec()
            };
            let (x, y) = (number(&mut a), number(&mut b));
            let by_number = x.len().cmp(&y.len()).then(x.cmp(&y));
            if by_number != Ordering::Equal {
                return by_number;
            }
        }
        Ordering::Equal
    }
    let (a, b) = (split(a), split(b));
    let by_epoch = part(a.0, b.0);
    by_epoch.then(part(a.1, b.1)).then(part(a.2, b.2))
}

#[test]
fn any_text_sorts_by_the_same_rules() {
    // Keys are bytes, so their order is total and transitive; that it is the right one where dpkg
    // has none is what its algorithm says of texts it would refuse.
    let mut random = Random(30);
    let mut texts: Vec<String> = NASTY.iter().map(|text| (*text).to_owned()).collect();
    for _ in 0..600 {
        let bytes: Vec<u8> = (0..random.below(9))
            .map(|_| match random.below(3) {
                0 => random.next() as u8,
                1 => *random.pick(b"019"),
                _ => *random.pick(b"~:-+.aZ \0"),
            })
            .collect();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    let long = "9".repeat(300);
    texts.extend([long.clone(), format!("{long}0"), format!("1.{long}"), "0".repeat(300)]);
    texts.extend((0..=255_u8).map(|byte| format!("1{}1", char::from(byte))));
    let mut keys: Vec<(Vec<u8>, &String)> = texts.iter().map(|text| (key(text), text)).collect();
    for (a_key, a) in &keys {
        for (b_key, b) in &keys {
            assert_eq!(a_key.cmp(b_key), reference(a, b), "{a:?} and {b:?}");
        }
    }
    // No key is the beginning of another: what stands behind a key in a database's index can't
    // change the order.
    keys.sort();
    for pair in keys.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert!(a.0 == b.0 || !b.0.starts_with(&a.0), "{:?} and {:?}", a.1, b.1);
    }
}
