//! The order of Debian versions, as a key that sorts by its bytes.
//!
//! `key(a).cmp(&key(b))` is what dpkg's comparison says of `a` and `b` (deb-version(7); dpkg
//! `lib/dpkg/version.c`), so a database sorts versions without knowing their rules. It never
//! fails: a version that no Debian tool would accept gets a key by the same rules, with every byte
//! that is not a digit, a letter or `~` sorted after the letters by its value.
//!
//! The key, in the order in which dpkg compares:
//!
//! ```text
//! key      = number(epoch) part(upstream) part(revision)
//! part     = run number { run number } END          runs of non-digits and of digits in turn
//! run      = { byte(c) } END                        '~' < END < letters < everything else
//! number   = length-of-digits digits                without leading zeros; absent = 0
//! ```

/// Ends a run of non-digits, and a part; `~` sorts before it, everything else after.
const END: u8 = 2;
const TILDE: u8 = 1;
const FIRST_LETTER: u8 = 3;
const FIRST_OTHER: u8 = FIRST_LETTER + 52;

/// The order-preserving key of `version`. At most three times as long as it, and a few bytes.
pub fn key(version: &str) -> Vec<u8> {
    let version = version.trim_ascii().as_bytes();
    let mut key = Vec::with_capacity(version.len() * 2 + 8);

    let colon = version.iter().position(|&byte| byte == b':');
    let (epoch, rest) = match colon {
        Some(at) if at > 0 && version[..at].iter().all(u8::is_ascii_digit) => {
            (&version[..at], &version[at + 1..])
        }
        _ => (&b""[..], version),
    };
    let (upstream, revision) = match rest.iter().rposition(|&byte| byte == b'-') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &b""[..]),
    };
    number(epoch, &mut key);
    part(upstream, &mut key);
    part(revision, &mut key);
    key
}

fn part(text: &[u8], key: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let run = rest.iter().position(u8::is_ascii_digit).unwrap_or(rest.len());
        key.extend(rest[..run].iter().map(|&byte| order(byte)));
        key.push(END);
        rest = &rest[run..];
        let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        number(&rest[..digits], key);
        rest = &rest[digits..];
        if rest.is_empty() {
            // A part that goes on has a run of at least one non-digit here, so one byte decides.
            key.push(END);
            return;
        }
    }
}

fn order(byte: u8) -> u8 {
    match byte {
        b'~' => TILDE,
        b'A'..=b'Z' => FIRST_LETTER + (byte - b'A'),
        b'a'..=b'z' => FIRST_LETTER + 26 + (byte - b'a'),
        // The other 193 byte values keep their order: count those below that are not "other".
        0..b'A' => FIRST_OTHER + byte - if byte > b'9' { 10 } else { 0 },
        b'['..b'a' => FIRST_OTHER + byte - 10 - 26,
        b'{'..b'~' => FIRST_OTHER + byte - 10 - 52,
        _ => FIRST_OTHER + (byte - 10 - 52 - 1),
    }
}

fn number(digits: &[u8], key: &mut Vec<u8>) {
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    let digits = &digits[zeros..];
    let mut length = digits.len();
    while length >= 255 {
        key.push(255);
        length -= 255;
    }
    key.push(length as u8);
    key.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    /// Ascending; each differs from its neighbours.
    const ASCENDING: &[&str] = &[
        "~~",
        "~~a",
        "~",
        "",
        "0a",
        "0.1",
        "1~~",
        "1~rc1",
        "1-0~",
        "1",
        "1-1",
        "1-1+b1",
        "1a",
        "1b",
        "1+",
        "1.",
        "1.0.0",
        "1.2",
        "1.10",
        "1.10a",
        "2",
        "10",
        "10.0",
        "999999999999999999999999999998",
        "999999999999999999999999999999",
        "a",
        "1:0",
        "1:1",
        "2:0.1",
        "10:0",
    ];

    #[test]
    fn keys_sort_as_versions_do() {
        for (i, a) in ASCENDING.iter().enumerate() {
            for (j, b) in ASCENDING.iter().enumerate() {
                assert_eq!(key(a).cmp(&key(b)), i.cmp(&j), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn equal_versions_have_equal_keys() {
        for (a, b) in [
            ("", "0"),
            ("1", "1-0"),
            ("1", "0:1"),
            ("1.0", "1."),
            ("1.01", "1.1"),
            ("00:1", "1"),
            ("1-1a", "1-1a0"),
            (" 1 ", "1"),
        ] {
            assert_eq!(key(a).cmp(&key(b)), Ordering::Equal, "{a:?} and {b:?}");
        }
    }

    #[test]
    fn order_of_bytes_is_strict() {
        let mut others: Vec<u8> = (0..=255)
            .filter(|b: &u8| !b.is_ascii_alphanumeric() && *b != b'~')
            .map(order)
            .collect();
        assert_eq!(others.len(), 193);
        assert!(others.is_sorted());
        others.dedup();
        assert_eq!(others.len(), 193);
        assert_eq!(others[0], FIRST_OTHER);
    }

    #[test]
    fn any_text_has_a_key_of_bounded_length() {
        for text in ["v1.0", "a:1", ":", "::", "-", "--", "1:", "é", "1.2.3-4-5-6", "\0", "1 2"] {
            assert!(key(text).len() <= 3 * text.len() + 8, "{text:?}");
        }
        let long = "9".repeat(1000);
        assert!(key(&long) < key(&format!("{long}0")));
        assert!(key(&format!("{}8", &long[1..])) < key(&long));
    }
}
