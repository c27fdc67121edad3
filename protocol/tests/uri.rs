//! Addresses by chance: [`Uri`] against the two readers that there were before, and what holds for
//! any text.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod common;
#[path = "uri/oracle.rs"]
mod oracle;

use canister_protocol::Uri;
use common::Random;
use oracle::{announced, ruled};

const SCHEMES: &[&str] =
    &["http://", "https://", "HTTPS://", "Http://", " http://", "ftp://", "//", ""];
const HOSTS: &[&str] = &[
    "h",
    "H",
    "h.",
    "i.h",
    "127.0.0.1",
    "127.1",
    "1.2.3.4.",
    "0x7f.1",
    "[::1]",
    "[0:0::1]",
    "[::ffff:1.2.3.4]",
    "1.2.3.4",
    "[::1",
    "::1",
    "ü.h",
    "xn--h",
    "a_b",
    "a..b",
    "u@h",
    "h%2e",
    "h\\",
    "h h",
    "",
];
const PORTS: &[&str] =
    &["", "", ":", ":80", ":443", ":8080", ":0", ":08080", ":65536", ":x", ":+1"];
const STEPS: &[&str] = &[
    "",
    "/",
    "//",
    "/a",
    "/b",
    "/A",
    "/%61",
    "/%41",
    "/a%2fb",
    "/%2F",
    "/a%5Cb",
    "/.",
    "/%2e",
    "/%2E.",
    "/..",
    "/..%2fa",
    "/%00",
    "/%0a",
    "/\t",
    "/ü",
    "/%C3%bc",
    "/ ",
    "/%20",
    "/%",
    "/%6",
    "/%zz",
    "/%25",
    "/%2561",
    "/[",
    "/\\",
    "/a+b",
    "/%2b",
    "/@",
    "/%40",
    "/~",
    "/%7e",
    "?q",
    "#f",
    "/%3f",
    "/%23",
    "/;x=1",
    "/a:b",
    "/\"<>`{|}^",
];

fn text(random: &mut Random) -> String {
    // Mostly what two readers can disagree about, seldom what none takes.
    let few = |random: &mut Random, from: &'static [&'static str], good: usize| {
        let end = if random.below(8) == 0 { from.len() } else { good };
        *random.pick(&from[..end])
    };
    let mut text = format!("{}{}", few(random, SCHEMES, 4), few(random, HOSTS, 4));
    if random.below(4) == 0 {
        text = format!("{}{}", few(random, SCHEMES, 4), few(random, HOSTS, 12));
    }
    text.push_str(few(random, PORTS, 6));
    for _ in 0..random.below(5) {
        let step: &&str = random.pick(STEPS);
        text.push_str(step);
    }
    if random.below(20) == 0 {
        let at = random.below(text.len() + 1);
        if text.is_char_boundary(at) {
            text.insert(at, char::from((random.next() % 128) as u8));
        }
    }
    text
}

/// Of each text: what announcements or rules took is taken, and means the same, but for the
/// departures that stand on the type.
#[test]
fn what_was_taken_is_taken_but_for_the_departures() {
    let mut random = Random(1);
    let mut both = 0;
    for number in 0..100_000 {
        let text = text(&mut random);
        let (first, second) = (announced(&text), ruled(&text));
        let read = Uri::parse(&text);
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
        let climbs = decoded.split(|byte| b"/\\".contains(byte)).any(|step| step == b"..");
        match &read {
            Ok(uri) => {
                both += usize::from(first.is_some() && second.is_some());
                let is_new = path.contains('@');
                assert!(first.is_some() || second.is_some() || is_new, "{number}: {text:?}");
                for seen in first.iter().chain(&second) {
                    let is_mapped = seen.host.starts_with("::ffff:");
                    assert!(is_mapped || seen.host == uri.host(), "{number}: {text:?}");
                    assert_eq!(
                        (seen.is_https, seen.port),
                        (uri.is_https(), uri.port()),
                        "{text:?}"
                    );
                    // Steps end at any slash, and at a backslash.
                    let steps =
                        seen.steps.iter().flat_map(|step| step.split(|b| b"/\\".contains(b)));
                    let steps = steps.filter(|step| !step.is_empty() && *step != b".");
                    assert!(steps.eq(uri.steps().iter().map(|step| &**step)), "{number}: {text:?}");
                }
            }
            Err(why) => {
                // Rules took control characters, port 0 and numbers that are no address;
                // announcements took a backslash.
                let is_control = decoded.iter().any(u8::is_ascii_control);
                let is_odd = why.contains("odd port") || why.contains("whole IPv4");
                assert!(
                    second.is_none() || climbs || is_control || is_odd,
                    "{number}: {text:?}: {why}"
                );
                assert!(
                    first.is_none() || climbs || path.contains('\\'),
                    "{number}: {text:?}: {why}"
                );
            }
        }
    }
    assert!(both > 10_000, "{both}");
}

/// Of each pair: one place for announcements or rules is one place, and no other is, but for the
/// departures that stand on the type.
#[test]
fn places_are_the_same_as_they_were_but_for_the_departures() {
    let mut random = Random(2);
    let mut seen = [0; 3];
    for number in 0..150_000 {
        let (a, b) = (text(&mut random), text(&mut random));
        let (Ok(left), Ok(right)) = (Uri::parse(&a), Uri::parse(&b)) else {
            continue;
        };
        let said = format!("{number}: {a:?} {b:?}");
        let (is_same, is_below) = (left.is_same_place(&right), left.is_below(&right));
        assert_eq!(is_same, right.is_same_place(&left), "{said}");
        assert_eq!(is_same, is_below && right.is_below(&left), "{said}");
        // What is judged is one spelling by scheme.
        let (one, other) = (left.normal(), right.normal());
        let is_equal = one == other;
        assert_eq!(is_equal, is_same && left.scheme() == right.scheme(), "{said}");
        assert!(one.is_same_place(&left) && one.normal() == one, "{said}");
        // A backslash and an address within an address weren't known for what they are.
        let is_departure = [&a, &b]
            .iter()
            .any(|text| text.to_ascii_lowercase().contains("%5c") || text.contains("[::ffff"));
        if let (Some(first), Some(second)) = (ruled(&a), ruled(&b))
            && !is_departure
        {
            assert_eq!(is_below, first.ruled_is_below(&second), "{said}");
            seen[0] += usize::from(is_below);
        }
        if let (Some(first), Some(second)) = (announced(&a), announced(&b)) {
            // An encoded slash parted no steps, and http at 443 was https at 443.
            let is_slash = [&a, &b].iter().any(|text| text.to_ascii_lowercase().contains("%2f"));
            let is_port = first.port == second.port && first.is_https != second.is_https;
            if first.announced_is_same(&second) {
                assert!(is_same || is_port, "{said}");
                seen[1] += 1;
            } else if is_same {
                assert!(is_slash || is_departure, "{said}");
                seen[2] += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

/// What is read is read again as itself; what a reference leads to has no dots and stays so.
#[test]
fn any_text_gives_an_address_that_can_be_asked_for() {
    let mut random = Random(3);
    let base = Uri::parse("https://base.example/x/y").unwrap();
    let mut seen = 0;
    for number in 0..100_000 {
        let whole = text(&mut random);
        let reference = match random.below(3) {
            0 => &whole[..],
            1 => whole.split_once("://").map_or("", |(_, rest)| rest),
            _ => whole.find("//").map_or("", |at| &whole[at..]),
        };
        let Ok(uri) = base.resolve(reference.as_bytes()) else {
            continue;
        };
        seen += 1;
        let asked = uri.to_string();
        assert!(asked.bytes().all(|byte| byte.is_ascii_graphic()), "{number}: {asked}");
        assert_eq!(base.resolve(asked.as_bytes()), Ok(uri.clone()), "{number}: {reference:?}");
        let rest = &asked[uri.scheme().len() + 3..];
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        assert!(!rest[..end].contains(['@', '\\', '%']), "{number}: {asked}");
        assert!(
            !uri.path().split('/').any(|step| [".", ".."].contains(&step)),
            "{number}: {asked}"
        );
        assert!(uri.steps().iter().all(|step| !step.iter().any(u8::is_ascii_control)), "{asked}");
        // An address that stands alone is where it leads from anywhere.
        if let Ok(alone) = Uri::parse(reference) {
            assert_eq!(alone, uri, "{number}: {reference:?}");
        }
    }
    assert!(seen > 10_000, "{seen}");
}
