//! What a certificate says of the one it was given to: the name, when it is good, for which key.
//!
//! Nothing here judges who signed it; TLS does that, and [`Identity`](crate::identity::Identity).

use std::time::Duration;
use x509_parser::oid_registry::OID_USERID;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Longest name of a peer: in earlier certificates it is a PostgreSQL role, and those have 63 bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// What a name that is refused is told.
pub const NAMES_THAT_WORK: &str =
    "use 1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit";
/// To whom requests are sent.
pub const OPERATOR: &str = "support@canister.me";
/// What an announcer's certificate alone is for: document signing (RFC 9336), its object identifier.
pub const ANNOUNCES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 36];
/// The part of its life after which a certificate is renewed: two thirds.
const RENEWED_AFTER: (u64, u64) = (2, 3);

/// What the names of peers' roles begin with. No name of a peer has an underscore.
const ROLE_BEGINS: &str = "peer_";
/// Hexadecimal digits of a role's name behind that.
const ROLE_DIGITS: usize = 16;

/// The role in PostgreSQL of a peer, by what only its certificates have in common: it says nothing of who
/// it is. `family` is in hexadecimal.
pub fn role(family: &str) -> String {
    format!("{ROLE_BEGINS}{family}")
}

/// Whether a role may be called so, by an authority's word.
pub fn is_role(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(ROLE_BEGINS)
        .is_some_and(|rest| rest.len() == ROLE_DIGITS && rest.bytes().all(is_digit))
}

/// Whether a peer may be called so: it stands in logs and files.
pub fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// One certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The peer's name, if it has one that a peer can have, and only one, and is a peer's.
    pub name: Option<String>,
    /// The announcer's name, of one that is an announcer's.
    pub announcer: Option<String>,
    /// As what a peer logs into PostgreSQL: its user identifier (UID) says it. Earlier certificates have
    /// none; there it is the name. None where there is no name.
    pub role: Option<String>,
    /// The serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Who signed it: the issuer's name in DER.
    pub issuer: Vec<u8>,
    /// When it is good.
    pub life: Life,
    /// The public key, as a SubjectPublicKeyInfo in DER.
    pub key: Vec<u8>,
}

/// When a certificate is good, in seconds since 1970 UTC, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its first second.
    pub begins: u64,
    /// Its last second.
    pub ends: u64,
}

impl Certificate {
    /// Reads a certificate in DER; `None` if it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        // A server's name may look like a peer's, as localhost does.
        let usage = parsed.extended_key_usage().ok()?.map(|usage| usage.value);
        let is_server = usage.is_some_and(|usage| usage.server_auth || usage.any);
        let is_peer = !is_server && usage.is_none_or(|usage| usage.client_auth);
        let announces = usage.is_some_and(|usage| {
            usage.other.iter().any(|other| other.as_bytes() == ANNOUNCES) && !usage.client_auth
        });
        let mut names = parsed.subject().iter_common_name();
        let first = names.next().and_then(|name| name.as_str().ok());
        // Two names would be two identities: one for us, the other for PostgreSQL.
        let only = first.filter(|name| names.next().is_none() && is_name(name));
        let name = only.filter(|_| is_peer);
        let announcer = only.filter(|_| !is_server && announces);
        let said = parsed.subject().iter_by_oid(&OID_USERID).next();
        let role = match said.map(|said| said.as_str()) {
            Some(said) => said.ok().filter(|role| is_role(role)),
            None => name,
        };
        let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
        let validity = parsed.validity();
        let serial = parsed.raw_serial();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        Some(Self {
            name: name.map(str::to_owned),
            announcer: announcer.map(str::to_owned),
            role: name.and(role).map(str::to_owned),
            serial: serial[zeros..].to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            life: Life {
                begins: seconds(validity.not_before.timestamp()),
                ends: seconds(validity.not_after.timestamp()),
            },
            key: parsed.public_key().raw.to_vec(),
        })
    }
}

impl Life {
    /// How long it is good altogether.
    pub const fn length(&self) -> Duration {
        Duration::from_secs(self.ends.saturating_sub(self.begins))
    }

    /// From when on it is to be renewed, in seconds since 1970.
    pub const fn renewal(&self) -> u64 {
        let (part, whole) = RENEWED_AFTER;
        self.begins.saturating_add(self.length().as_secs() / whole * part)
    }

    /// Whole days left at `now`, seconds since 1970; 0 if it is over.
    pub const fn days_left(&self, now: u64) -> u64 {
        self.ends.saturating_sub(now) / (24 * 60 * 60)
    }
}

/// Whether a certificate (DER) is one with which others may be signed.
pub fn is_authority(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, parsed)| {
        let signs = parsed.key_usage().ok().flatten();
        parsed.is_ca() && signs.is_none_or(|usage| usage.value.key_cert_sign())
    })
}

/// Whether a certificate (DER) is signed by the one it was given to.
pub fn is_root(der: &[u8]) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

/// What is read out to tell one public key (a SubjectPublicKeyInfo in DER) from another: its
/// SHA-256 in hexadecimal, in groups of four.
pub fn fingerprint(key: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key);
    let pairs = digest.as_ref().chunks_exact(2);
    let groups: Vec<String> = pairs.map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
    groups.join(" ")
}

/// The words that [`spoken`] says: 2,048, each known by its first four letters. They are those of
/// BIP-39 in English.
const SPOKEN: &str = include_str!("certificate/spoken.txt");
/// How many of them tell one key from another: 66 bits.
const SPOKEN_WORDS: usize = 6;

/// The beginning of a [`fingerprint`] as words, 11 bits each: who compares a key by the telephone reads
/// these out. What is none has words as well, which tell nothing.
pub fn spoken(fingerprint: &str) -> String {
    let digits: String = fingerprint.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    let head = u128::from_str_radix(&digits, 16).unwrap_or_default();
    let all: Vec<&str> = SPOKEN.lines().collect();
    let word = |at: usize| all[(head >> (128 - 11 * (at + 1))) as usize % all.len()];
    (0..SPOKEN_WORDS).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_spoken_in_six_words() {
        assert_eq!(SPOKEN.lines().count(), 2048);
        // ba7816bf8f01cfea41…: the first eleven bits are 1491.
        let said = spoken(&fingerprint(b"abc"));
        assert_eq!(said.split(' ').next(), SPOKEN.lines().nth(0xba78 >> 5));
        assert_eq!(said.split(' ').count(), SPOKEN_WORDS);
        assert_ne!(said, spoken(&fingerprint(b"abd")));
        assert_eq!(spoken("").split(' ').count(), SPOKEN_WORDS);
    }

    #[test]
    fn names() {
        for good in ["a", "peer-1", "0", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        let (long, longer) = ("a".repeat(64), "a".repeat(1000));
        for bad in
            ["", "-", "a-", "-a", "A", "a b", "a\n", "a\0", "\u{1b}[2J", "é", "a.b", &long, &longer]
        {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn roles() {
        assert!(is_role(&role("0123456789abcdef")));
        for bad in
            ["", "peer_", "peer-1", "peer_0123456789abcde", "peer_0123456789abcdeF", "postgres"]
        {
            assert!(!is_role(bad), "{bad}");
            assert!(!is_name(&role("0123456789abcdef")));
        }
    }

    #[test]
    fn a_life_has_days_left_and_a_time_to_renew() {
        let day = 24 * 60 * 60;
        let life = Life { begins: 10 * day, ends: 40 * day };
        assert_eq!(life.length(), Duration::from_secs(30 * day));
        assert_eq!(life.renewal(), 30 * day);
        for (now, left) in [(0, 40), (10 * day, 30), (40 * day - 1, 0), (50 * day, 0)] {
            assert_eq!(life.days_left(now), left, "{now}");
        }
        let backwards = Life { begins: 9, ends: 3 };
        assert_eq!((backwards.length(), backwards.renewal()), (Duration::ZERO, 9));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for bytes in [&b""[..], b"hello", &[0x30; 100]] {
            assert_eq!(Certificate::read(bytes), None);
        }
    }

    #[test]
    fn a_fingerprint_can_be_read_out() {
        let text = fingerprint(b"abc");
        assert!(text.starts_with("ba78 16bf 8f01 "), "{text}");
        assert_eq!(text.split(' ').count(), 16);
    }
}
