//! Source lists that are changed by chance keep the properties that the fuzzer looks for.

#[path = "source_list/property.rs"]
mod property;

use property::source_list;

/// One entry of each shape, good and bad.
const LISTS: [&str; 3] = [
    include_str!("source_list/shapes.json"),
    r#"[{"slug":"a","uri":"https://a.example","suite":"./"}]"#,
    r#"[{"slug":"a","slug":"b","uri":"https://a.example","suite":"./","aliases":["a","b"]},
        {"slug":"b","uri":"HTTPS://A.example:8080/x?y","suite":"../","ranking":1.0},
        {"slug":"\ud83d\ude00","uri":"https://\u0000","suite":"\/"}, [[[]]], -0e-99, 1e999]"#,
];

/// What a list's reader looks for.
const TOKENS: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "\\ud800",
    "1e400",
    "-1",
    "\u{0}",
    "é",
    r#""slug":"a""#,
    r#""component":"main","binary":"x","#,
];

#[test]
fn changed_lists_keep_the_properties() {
    for (number, list) in LISTS.iter().enumerate() {
        source_list(list.as_bytes());
        for seed in 1..=500 {
            let changed = changed((seed << 8) | number as u64, list.as_bytes());
            if std::panic::catch_unwind(|| source_list(&changed)).is_err() {
                let text = String::from_utf8_lossy(&changed);
                panic!("list {number} with seed {seed}: {text}");
            }
        }
    }
}

/// A few changes somewhere in `list`, the same for the same seed.
fn changed(seed: u64, list: &[u8]) -> Vec<u8> {
    let mut state = seed;
    let mut below = |bound: usize| {
        // Spec: Marsaglia 2003, xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let mut list = list.to_vec();
    for _ in 0..1 + below(4) {
        let at = below(list.len() + 1);
        let end = (at + below(40)).min(list.len());
        match below(4) {
            0 if at < list.len() => list[at] ^= 1 << below(8),
            1 => drop(list.drain(at..end)),
            2 => {
                let again = list[at..end].to_vec();
                drop(list.splice(at..at, again));
            }
            _ => {
                let token = TOKENS[below(TOKENS.len())].bytes();
                drop(list.splice(at..at, token));
            }
        }
    }
    list
}
