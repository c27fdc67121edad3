//! The codec is total: every message comes back as it was, and any other bytes give an error, soon.
//!
//! serde_json is the oracle of what JSON is. Differences that are meant: a message nests at most
//! [`JSON_DEPTH_MAX`] deep, and an escape that is half of a surrogate pair is refused.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's panic is its report, and one of these measures time"
)]

mod common;

use canister_protocol::codec::{Message, Payload, accept, decode, decode_binary, encode, payload};
use canister_protocol::limits::*;
use canister_protocol::{Error, ToArbiter, ToPeer};
use common::Random;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn texts() -> Vec<String> {
    let to_arbiter = common::to_arbiter();
    let to_peer = common::to_peer();
    let to_arbiter = to_arbiter.iter().map(payload);
    let all = to_arbiter.chain(to_peer.iter().map(payload));
    all.filter_map(|it| if let Payload::Text(text) = it { Some(text) } else { None }).collect()
}

fn read<M: Message>(payload: &Payload) -> Result<M, Error> {
    match payload {
        Payload::Text(text) => decode(text.as_bytes()),
        Payload::Binary(bytes) => decode_binary(bytes),
    }
}

fn comes_back<M: Message + Debug + PartialEq>(message: &M, name: &str) {
    let text = match payload(message) {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => {
            assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{name}: {} bytes", bytes.len());
            assert_eq!(decode_binary::<M>(&bytes).as_ref(), Ok(message), "{name}");
            return;
        }
    };
    assert!(text.len() <= MESSAGE_BYTES_MAX, "{name}: {} bytes", text.len());
    assert!(text.starts_with(&format!("{{\"{name}\":{{")), "{name}: {text}");
    assert_eq!(decode::<M>(text.as_bytes()).as_ref(), Ok(message), "{name}: {text}");
    // Any reader takes what we write.
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}

#[test]
fn every_message_comes_back() {
    for message in common::to_arbiter() {
        comes_back(&message, message.name());
    }
    for message in common::to_peer() {
        comes_back(&message, message.name());
    }
}

#[test]
fn the_longest_messages_fit() {
    for message in common::longest_to_arbiter() {
        comes_back(&message, message.name());
    }
    for message in common::longest_to_peer() {
        comes_back(&message, message.name());
    }
    // The proof is worth something only where the batch is as full as it may be.
    let renew = encode(&ToArbiter::Renew { leases: vec![1] });
    let one_more = format!("{}{renew}", " ".repeat(MESSAGE_BYTES_MAX + 1 - renew.len()));
    assert_eq!(
        decode::<ToArbiter>(one_more.as_bytes()),
        Err(Error::TooLong { bytes: MESSAGE_BYTES_MAX + 1, limit: MESSAGE_BYTES_MAX })
    );
    assert!(decode::<ToArbiter>(&one_more.as_bytes()[1..]).is_ok());
}

#[test]
fn every_truncation_is_an_error() {
    for text in texts() {
        for end in 0..text.len() {
            let cut = &text.as_bytes()[..end];
            for error in [decode::<ToArbiter>(cut).err(), decode::<ToPeer>(cut).err()] {
                assert!(
                    matches!(error, Some(Error::NotJson { at, .. }) if at <= end),
                    "{error:?} for the first {end} bytes of {text}"
                );
            }
        }
    }
}

#[test]
fn a_message_of_the_other_direction_is_an_error() {
    for payload in common::to_arbiter().iter().map(payload) {
        let error = read::<ToPeer>(&payload).unwrap_err();
        assert!(matches!(error, Error::NotAMessage { .. }), "{error}");
    }
    for payload in common::to_peer().iter().map(payload) {
        let error = read::<ToArbiter>(&payload).unwrap_err();
        assert!(matches!(error, Error::NotAMessage { .. }), "{error}");
    }
}

/// What a text must give: JSON up to which byte and what is missing there, or no message and why.
enum Expect {
    NotJson(usize, &'static str),
    NotAMessage(&'static str),
    Field(&'static str),
    Slots(u32),
}
use Expect::{Field, NotAMessage, NotJson, Slots};

/// Each with nanoserde's own behaviour where it is worth knowing. All are read as `ToArbiter`.
const NAMED: &[(&str, &str, Expect)] = &[
    // What RFC 8259 doesn't have.
    ("nothing", "", NotJson(0, "a value")),
    ("blanks", " \n", NotJson(2, "a value")),
    (
        "an unknown field cut off inside an array; it never returns",
        r#"{"Offer":{"x":["#,
        NotJson(15, "a value"),
    ),
    ("the same inside an object", r#"{"Offer":{"x":{"#, NotJson(15, "a key")),
    ("an unknown field without a value; it panics", r#"{"Offer":{"x":}}"#, NotJson(14, "a value")),
    (
        "an unknown field over a comma; it panics",
        r#"{"Offer":{"x":,"slots":1}}"#,
        NotJson(14, "a value"),
    ),
    (
        "an unknown field over a closing bracket; it panics",
        r#"{"Offer":{"x":]}}"#,
        NotJson(14, "a value"),
    ),
    (
        "brackets that don't match; it takes them",
        r#"{"Offer":{"x":[},"slots":1}}"#,
        NotJson(15, "a value"),
    ),
    ("a comment; it takes it", r#"{"Offer":/**/{"slots":1}}"#, NotJson(9, "a value")),
    ("a line comment; it takes it", "{\"Offer\":{\"slots\":1}}//", NotJson(21, "the end")),
    ("text behind the message; it takes it", r#"{"Offer":{"slots":1}}x"#, NotJson(21, "the end")),
    (
        "two messages; it takes the first",
        r#"{"Offer":{"slots":1}}{"Offer":{"slots":1}}"#,
        NotJson(21, "the end"),
    ),
    ("a comma too many; it takes it", r#"{"Offer":{"slots":1,}}"#, NotJson(20, "a key")),
    (
        "a comma too many in an array; it takes it",
        r#"{"Renew":{"leases":[1,]}}"#,
        NotJson(22, "a value"),
    ),
    ("a comma missing", r#"{"Renew":{"leases":[1 2]}}"#, NotJson(22, ", or ]")),
    ("a colon missing", r#"{"Offer" {"slots":1}}"#, NotJson(9, ":")),
    ("no closing brace; it takes some such", r#"{"Offer":{"slots":1}"#, NotJson(20, ", or }")),
    ("a NUL; it ends the text there", "{\"Offer\":{\"slots\":1}}\0x", NotJson(21, "the end")),
    ("a NUL in a text", "{\"Hello\":{\"agent\":\"\0", NotJson(19, "a character or \"")),
    (
        "a line feed in a text; it takes it",
        "{\"Hello\":{\"agent\":\"\n",
        NotJson(19, "a character or \""),
    ),
    ("a byte order mark", "\u{feff}{\"Offer\":{\"slots\":1}}", NotJson(0, "a value")),
    ("a bare word", "Offer", NotJson(0, "a value")),
    ("a bare key", r#"{Offer:{"slots":1}}"#, NotJson(1, "a key")),
    ("single quotes", r#"{'Offer':{"slots":1}}"#, NotJson(1, "a key")),
    ("a word in capitals", r#"{"Offer":{"x":True}}"#, NotJson(14, "a value")),
    ("half a word", r#"{"Offer":{"x":nul}}"#, NotJson(14, "null")),
    ("a word that goes on", r#"{"Offer":{"x":nullx}}"#, NotJson(18, ", or }")),
    ("a plus; it takes it", r#"{"Offer":{"slots":+1}}"#, NotJson(18, "a value")),
    ("a zero in front; it takes it", r#"{"Offer":{"slots":01}}"#, NotJson(19, ", or }")),
    ("an open fraction", r#"{"Offer":{"slots":1.}}"#, NotJson(20, "a digit")),
    ("an open exponent", r#"{"Offer":{"slots":1e}}"#, NotJson(20, "a digit")),
    ("a fraction alone", r#"{"Offer":{"slots":.5}}"#, NotJson(18, "a value")),
    ("a lone minus", r#"{"Offer":{"slots":-}}"#, NotJson(19, "a digit")),
    ("hexadecimal", r#"{"Offer":{"slots":0x1}}"#, NotJson(19, ", or }")),
    ("not a number", r#"{"Offer":{"slots":NaN}}"#, NotJson(18, "a value")),
    ("an escape that isn't one; it takes it", r#"{"Offer":{"\x":1}}"#, NotJson(12, "an escape")),
    ("an escaped zero; it takes it", r#"{"Offer":{"\0":1}}"#, NotJson(12, "an escape")),
    ("a short escape", r#"{"Offer":{"\u12":1}}"#, NotJson(15, "a hexadecimal digit")),
    ("a sign in an escape", r#"{"Offer":{"\u+123":1}}"#, NotJson(13, "a hexadecimal digit")),
    ("a high surrogate alone", r#"{"Offer":{"\ud83d":1}}"#, NotJson(17, "a low surrogate")),
    ("two high surrogates", r#"{"Offer":{"\ud83d\ud83d":1}}"#, NotJson(23, "a low surrogate")),
    ("a low surrogate alone", r#"{"Offer":{"\ude00":1}}"#, NotJson(17, "no lone surrogate")),
    // JSON, but no message.
    ("null", "null", NotAMessage("String or {")),
    ("a number", "1", NotAMessage("String or {")),
    ("an array", "[]", NotAMessage("String or {")),
    ("a name alone", r#""Offer""#, NotAMessage("String or {")),
    ("an empty object", "{}", NotAMessage("String")),
    ("no such message", r#"{"Orffer":{}}"#, NotAMessage("Enum not defined Orffer")),
    ("a name in lower case", r#"{"offer":{"slots":1}}"#, NotAMessage("Enum not defined offer")),
    ("no such message over another's name", r#"{"Orffer":"Offer"}"#, NotAMessage("expected {")),
    ("fields as an array", r#"{"Offer":[1]}"#, NotAMessage("expected {")),
    ("fields as null", r#"{"Offer":null}"#, NotAMessage("expected {")),
    ("two names", r#"{"Offer":{"slots":1},"Offer":{"slots":1}}"#, NotAMessage("expected }")),
    ("a field missing", r#"{"Offer":{}}"#, NotAMessage("Key not found slots")),
    ("a field by another case", r#"{"Offer":{"Slots":1}}"#, NotAMessage("Key not found slots")),
    ("an integer as text", r#"{"Offer":{"slots":"1"}}"#, NotAMessage("unsigned integer")),
    ("an integer as null", r#"{"Offer":{"slots":null}}"#, NotAMessage("unsigned integer")),
    ("an integer with a fraction", r#"{"Offer":{"slots":1.0}}"#, NotAMessage("unsigned integer")),
    ("an integer with an exponent", r#"{"Offer":{"slots":1e0}}"#, NotAMessage("unsigned integer")),
    ("a negative integer", r#"{"Offer":{"slots":-1}}"#, NotAMessage("unsigned integer")),
    ("minus zero", r#"{"Offer":{"slots":-0}}"#, NotAMessage("unsigned integer")),
    (
        "an integer of 2^32",
        r#"{"Offer":{"slots":4294967296}}"#,
        NotAMessage("4294967296>4294967295"),
    ),
    (
        "an integer of 2^64",
        r#"{"GiveBack":{"lease":18446744073709551616}}"#,
        NotAMessage("Cannot parse number"),
    ),
    (
        "an integer of 20 digits",
        r#"{"GiveBack":{"lease":99999999999999999999}}"#,
        NotAMessage("Cannot parse number"),
    ),
    (
        "text as null",
        r#"{"Hello":{"protocol":1,"agent":null,"leases":[]}}"#,
        NotAMessage("expected string"),
    ),
    (
        "text as a number",
        r#"{"Hello":{"protocol":1,"agent":1,"leases":[]}}"#,
        NotAMessage("expected string"),
    ),
    ("an array as null", r#"{"Renew":{"leases":null}}"#, NotAMessage("expected [")),
    ("an array as an object", r#"{"Renew":{"leases":{}}}"#, NotAMessage("expected [")),
    ("an array in an array", r#"{"Renew":{"leases":[[1]]}}"#, NotAMessage("unsigned integer")),
    // In a field that isn't known, too, a number must be one nanoserde can hold.
    (
        "an unknown integer of 20 digits",
        r#"{"Offer":{"x":99999999999999999999,"slots":1}}"#,
        NotAMessage("Cannot parse number"),
    ),
    (
        "an unknown integer under -2^63",
        r#"{"Offer":{"x":-9223372036854775809,"slots":1}}"#,
        NotAMessage("Cannot parse number"),
    ),
    (
        "an unknown exponent with a plus",
        r#"{"Offer":{"x":1e+5,"slots":1}}"#,
        NotAMessage("Cannot parse number"),
    ),
    // A message, but outside its limits.
    ("more slots than may be", r#"{"Offer":{"slots":65}}"#, Field("slots")),
    ("a key twice: the last counts", r#"{"Offer":{"slots":1,"slots":65}}"#, Field("slots")),
    ("half a digest", r#"{"Known":{"lease":1,"after":"00"}}"#, Field("after")),
    (
        "two digests where one is asked for",
        r#"{"Known":{"lease":1,"after":"0000000000000000000000000000000000000000000000000000000000000000"}}"#,
        Field("after"),
    ),
    // Messages, if odd ones.
    ("a key twice: the last counts, once more", r#"{"Offer":{"slots":65,"slots":1}}"#, Slots(1)),
    ("blanks everywhere", " {\t\"Offer\" : \r\n{ \"slots\" :\n1 } } ", Slots(1)),
    ("escapes in keys", r#"{"\u004fffer":{"\u0073lots":1}}"#, Slots(1)),
    ("an unknown float that overflows", r#"{"Offer":{"x":1e999,"slots":1}}"#, Slots(1)),
    ("an unknown float", r#"{"Offer":{"x":-0.5E-7,"slots":1}}"#, Slots(1)),
    ("an escaped NUL in an unknown text", r#"{"Offer":{"x":"\u0000","slots":1}}"#, Slots(1)),
    ("a surrogate pair", r#"{"Offer":{"x\ud83d\ude00":"\uD83D\uDE00","slots":1}}"#, Slots(1)),
];

#[test]
fn named_cases_give_what_they_must() {
    for (name, text, expect) in NAMED {
        let came = decode::<ToArbiter>(text.as_bytes());
        let fits = match (expect, &came) {
            (NotJson(at, why), Err(error)) => *error == Error::NotJson { at: *at, why },
            (NotAMessage(part), Err(Error::NotAMessage { why })) => why.contains(part),
            (Field(field), Err(Error::Field { field: named, .. })) => named == field,
            (Slots(slots), Ok(message)) => {
                *message == ToArbiter::Offer { reaches: None, bytes: None, slots: *slots }
            }
            _ => false,
        };
        assert!(fits, "{name}: {text} gave {came:?}");
    }
}

#[test]
fn what_is_said_of_signatures_is_bounded() {
    let source = r#""slug":"a","uri":"http://a","suite":"./","ranking":1,"aliases":[],"bootstrap":false,"headers":[]"#;
    let long = "A".repeat(KEYS_TEXT_BYTES_MAX + 1);
    for (absent, signer, keys, wrong) in [
        (r#"["key","Release.gpg","payment_endpoint"]"#, "0123456789ABCDEF", "aA0+/=", ""),
        ("[]", "", "", ""),
        (r#"["InRelease"]"#, "", "", "absent"),
        (r#"["key","key","key","key"]"#, "", "", "absent"),
        ("[]", "0123456789abcdef", "", "signer"),
        ("[]", "0123456789ABCDE", "", "signer"),
        ("[]", "", "a b", "keys"),
        ("[]", "", &long, "keys"),
    ] {
        let probed = format!(r#"{{"absent":{absent},"signer":"{signer}","keys":"{keys}"}}"#);
        let text = format!(r#"{{"Grant":{{"lease":1,"probed":{probed},"source":{{{source}}}}}}}"#);
        let field = match decode::<ToPeer>(text.as_bytes()) {
            Ok(_) => "",
            Err(Error::Field { field, .. }) => field,
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(field, wrong, "{absent} {signer}");
    }
}

#[test]
fn other_quirks_of_fields() {
    let source = r#""slug":"a","uri":"http://a","suite":"./","aliases":[]"#;
    for (fields, ok) in [
        (r#""ranking":5,"bootstrap":false"#, true),
        (r#""ranking":5,"bootstrap":false,"component":null,"architecture":null"#, true),
        // A u8 on this side.
        (r#""ranking":255,"bootstrap":false"#, false),
        (r#""ranking":256,"bootstrap":false"#, false),
        (r#""ranking":5,"bootstrap":0"#, false),
        (r#""ranking":5,"bootstrap":"true""#, false),
        (r#""ranking":5,"bootstrap":null"#, false),
        (r#""ranking":5"#, false),
    ] {
        let text =
            format!(r#"{{"Grant":{{"lease":1,"source":{{{source},"headers":[],{fields}}}}}}}"#);
        let came = decode::<ToPeer>(text.as_bytes());
        assert_eq!(came.is_ok(), ok, "{text} gave {came:?}");
    }
    let finish = |kind: &str| {
        let cost = r#"{"requests":0,"bytes_fetched":0,"bytes_plain":0,"millis":0}"#;
        let outcome = format!(r#"{{"Failed":{{"kind":{kind},"reason":""}}}}"#);
        decode::<ToArbiter>(
            format!(r#"{{"Finish":{{"lease":1,"outcome":{outcome},"cost":{cost}}}}}"#).as_bytes(),
        )
    };
    assert!(finish(r#""Peer""#).is_ok());
    for kind in [r#""peer""#, r#""Arbiter""#, "0", "null", r#"{"Peer":{}}"#] {
        assert!(finish(kind).is_err(), "{kind}");
    }
    // The one message without fields: nanoserde has nothing that would skip an unknown one.
    assert!(decode::<ToPeer>(br#"{"Draining":{}}"#).is_ok());
    assert!(decode::<ToPeer>(br#"{"Draining":{"x":1}}"#).is_err());
    // Bytes that are not UTF-8.
    assert_eq!(
        decode::<ToPeer>(b"{\"Draining\":{}}\xff"),
        Err(Error::NotJson { at: 15, why: "UTF-8" })
    );
}

#[test]
fn deep_nesting_is_refused_before_it_is_followed() {
    for open in ["[", "{\"a\":", "[{\"Offer\":", "[[],"] {
        let text = open.repeat(100_000);
        let cause = decode::<ToArbiter>(text.as_bytes()).unwrap_err();
        let refused = matches!(cause, Error::NotJson { at: 0..100, why: "less nesting" });
        assert!(refused, "{open}: {cause}");
    }
    // The limit is exact: the message and its fields are two.
    let offer = |deep: usize| {
        let (open, close) = ("[".repeat(deep), "]".repeat(deep));
        decode::<ToArbiter>(format!(r#"{{"Offer":{{"x":{open}{close},"slots":1}}}}"#).as_bytes())
    };
    assert!(offer(JSON_DEPTH_MAX - 2).is_ok());
    assert!(matches!(offer(JSON_DEPTH_MAX - 1), Err(Error::NotJson { .. })));
}

#[test]
fn unknown_fields_are_ignored_whatever_they_hold() {
    let values = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "1.5",
        "1E5",
        r#""""#,
        r#""]}{[\"\\""#,
        "[]",
        "{}",
        "[[],{},[[]]]",
        r#"{"a":{"b":[1,{"c":null}]},"a":2}"#,
        r#"["a",-1,true,{"x":"}"}]"#,
    ];
    // Into every object of every message, first and last.
    let unknown = |text: &str, value: &str| -> Vec<String> {
        let quotes = text.bytes().scan((false, false), |(inside, escaped), byte| {
            let was = *inside;
            match byte {
                _ if *escaped => *escaped = false,
                b'\\' => *escaped = true,
                b'"' => *inside = !*inside,
                _ => {}
            }
            Some(was)
        });
        let outside: Vec<bool> = quotes.map(|inside| !inside).collect();
        let bytes = text.as_bytes();
        let mut texts = vec![];
        for at in 1..bytes.len() {
            let (open, close) = (bytes[at - 1] == b'{', bytes[at] == b'}');
            if !outside[at] || !outside[at - 1] || at == 1 || at == bytes.len() - 1 {
                continue;
            }
            let (before, after) = text.split_at(at);
            // The object of an outcome has one key, as that of a message.
            let one_key = ["\"Audited", "\"Failed", "\"Indexed"];
            if one_key.iter().any(|name| after.starts_with(name)) {
                continue;
            }
            if after.starts_with("\"Unchanged") || (close && bytes[at - 1] == b'}') {
                continue;
            }
            if open && !close {
                texts.push(format!("{before}\"unknown\":{value},{after}"));
            }
            if close && !open {
                texts.push(format!("{before},\"unknown\":{value}{after}"));
            }
        }
        texts
    };
    let mut seen = 0;
    for value in values {
        for message in common::to_arbiter().into_iter().filter(|it| it.pack().is_none()) {
            for text in unknown(&encode(&message), value) {
                if accept(&text, JSON_DEPTH_MAX).is_ok() {
                    seen += 1;
                    let came = decode::<ToArbiter>(text.as_bytes());
                    assert_eq!(came.as_ref(), Ok(&message), "{text}");
                }
            }
        }
        for message in common::to_peer().into_iter().filter(|it| it.pack().is_none()) {
            for text in unknown(&encode(&message), value) {
                if accept(&text, JSON_DEPTH_MAX).is_ok() {
                    seen += 1;
                    let came = decode::<ToPeer>(text.as_bytes());
                    assert_eq!(came.as_ref(), Ok(&message), "{text}");
                }
            }
        }
    }
    assert!(seen > 2000, "{seen}");
}

#[test]
fn a_message_of_any_shape_takes_linear_time() {
    // A quadratic step over a megabyte would take minutes; what is allowed is slow machines.
    let fill = |before: &str, unit: &str, after: &str| {
        let room = MESSAGE_BYTES_MAX - before.len() - after.len();
        format!("{before}{}{after}", unit.repeat(room / unit.len()))
    };
    for text in [
        fill("", "[", ""),
        fill("", " ", ""),
        fill("", "1", ""),
        fill("", "\"", ""),
        fill("\"", "\\u0041", "\""),
        fill("\"", "\\ud83d\\ude00", "\""),
        fill("{\"", "x", "\":{}}"),
        fill("{\"Offer\":{\"", "x", "\":0,\"slots\":1}}"),
        fill("{\"Offer\":{\"x\":", "9", ",\"slots\":1}}"),
        fill("{\"Offer\":{\"x\":0.", "9", "e-9,\"slots\":1}}"),
        fill("{\"Offer\":{\"x\":1e", "9", ",\"slots\":1}}"),
        fill("{\"Offer\":{\"x\":[", "[],", "0],\"slots\":1}}"),
        fill("{\"Offer\":{\"x\":\"", "\\\"", "\",\"slots\":1}}"),
        fill("{\"Offer\":{", "\"x\":0,", "\"slots\":1}}"),
        fill("{\"Offer\":{", "\"slots\":0,", "\"slots\":1}}"),
        fill("{\"Renew\":{\"leases\":[", "1,", "1]}}"),
        fill("{\"Hello\":{\"agent\":\"", "\\n", "\",\"protocol\":1,\"leases\":[]}}"),
        fill("{\"Known\":{\"lease\":1,\"after\":\"", "0", "\"}}"),
        fill("{\"Put\":{\"lease\":1,\"number\":1,\"rows\":[", "{},", "{}]}}"),
        fill("{\"Put\":{\"rows\":[{\"tags\":[", "\"\",", "\"\"]}]}}"),
        fill("{\"Offer\":{\"slots\":1}}", "\n", ""),
        fill("/*", "*", "/"),
        fill("", "/**/", ""),
    ] {
        let start = Instant::now();
        let _ = decode::<ToArbiter>(text.as_bytes());
        let took = start.elapsed();
        let shape = &text[..text.len().min(60)];
        assert!(took < Duration::from_secs(5), "{took:?} for {shape}");
    }
}

const MUTATIONS: u64 = 500_000;

#[test]
fn mutated_messages_never_panic_nor_hang_and_what_is_accepted_is_json() {
    // In a thread of its own, watched: a hang must fail this test, not the one who waits for it.
    static SEED: AtomicU64 = AtomicU64::new(0);
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let base = texts();
        let (mut json, mut messages) = (0, 0);
        for seed in 0..MUTATIONS {
            SEED.store(seed, Ordering::Relaxed);
            let bytes = mutated(&base, seed);
            json += u64::from(agrees_with_the_oracle(&bytes));
            messages += u64::from(is_stable::<ToArbiter>(&bytes));
            messages += u64::from(is_stable::<ToPeer>(&bytes));
        }
        let _ = done.send((json, messages));
    });
    match ended.recv_timeout(Duration::from_secs(180)) {
        Ok((json, messages)) => {
            println!("{MUTATIONS} mutated messages: {json} JSON, {messages} messages");
            // The test reaches behind the acceptor only where enough still are.
            assert!(json > MUTATIONS / 20 && messages > MUTATIONS / 50);
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            panic!("seed {} hangs", SEED.load(Ordering::Relaxed))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let cause = thread.join();
            panic!("seed {}: {cause:?}", SEED.load(Ordering::Relaxed))
        }
    }
}

/// Whether `bytes` are JSON, which our acceptor and serde_json must answer alike.
fn agrees_with_the_oracle(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let ours = accept(text, JSON_DEPTH_MAX);
    let oracle = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
    match (&ours, &oracle) {
        (Ok(()), Ok(_)) => true,
        (Err(_), Err(_)) => false,
        (Err(Error::NotJson { why, .. }), Ok(_))
            if ["less nesting", "a low surrogate", "no lone surrogate"].contains(why) =>
        {
            false
        }
        _ => panic!("{ours:?} but serde_json says {oracle:?} of {text}"),
    }
}

/// Whether `bytes` are a message, which then must stay what it is.
fn is_stable<M: Message + Debug + PartialEq>(bytes: &[u8]) -> bool {
    let Ok(message) = decode::<M>(bytes) else {
        return false;
    };
    let text = encode(&message);
    assert_eq!(decode::<M>(text.as_bytes()).as_ref(), Ok(&message), "{text}");
    true
}

fn mutated(base: &[String], seed: u64) -> Vec<u8> {
    const TOKENS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "0",
        "-",
        "1e",
        ".",
        "+",
        "null",
        "true",
        "false",
        " ",
        "\n",
        "\0",
        "/*",
        "//",
        "{}",
        "[]",
        "\"x\":",
        "\"x\":[",
        "1.5e-3",
        "18446744073709551616",
        "\u{feff}",
        "é",
    ];
    let mut random = Random(seed);
    let mut bytes = random.pick(base).clone().into_bytes();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.insert(at, random.next() as u8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                // A piece of another message.
                let other = random.pick(base).as_bytes();
                let from = random.below(other.len());
                let to = (from + random.below(64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            4 => {
                let deep = 1 + random.below(12);
                let (open, close) = *random.pick(&[("[", "]"), ("{\"x\":", "}")]);
                bytes.splice(at..at, open.repeat(deep).bytes());
                bytes.splice(end..end, close.repeat(deep).bytes());
            }
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, random.pick(TOKENS).bytes())),
        }
    }
    bytes
}
