//! A head: what identifies a source's current state.

use std::fmt;

/// The CIDv1 (codec raw, sha2-256, multibase base32 lower) of a source's Release bytes as they
/// were fetched; of its package index's bytes as they were fetched where it has no Release.
///
/// Spec: multiformats CID v1; the same value an IPNI announce message carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Head([u8; 32]);

/// CID version 1, codec raw (0x55), multihash sha2-256 (0x12) of 32 bytes.
const PREFIX: [u8; 4] = [0x01, 0x55, 0x12, 0x20];
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 'b' and 36 bytes in base32 without padding.
const TEXT_LEN: usize = 1 + (36 * 8_usize).div_ceil(5);

impl Head {
    /// The head of bytes whose SHA-256 is `sha256`.
    pub const fn from_sha256(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The SHA-256 inside.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a head from its text. `None` for anything but a CIDv1, raw, sha2-256, in base32 lower
    /// case: the only form this system writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('b')?.as_bytes();
        if digits.len() + 1 != TEXT_LEN {
            return None;
        }
        let (mut bytes, mut bits, mut held) = (Vec::with_capacity(36), 0u32, 0u32);
        for digit in digits {
            let value = ALPHABET.iter().position(|letter| letter == digit)? as u32;
            held = (held << 5) | value;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits) as u8);
                held &= (1 << bits) - 1;
            }
        }
        let sha256 = bytes.strip_prefix(&PREFIX)?;
        // Left-over bits must be zero, or two texts would name one head.
        if held != 0 {
            return None;
        }
        Some(Self(sha256.try_into().ok()?))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_LEN);
        text.push('b');
        let (mut bits, mut held) = (0u32, 0u32);
        for byte in PREFIX.iter().chain(&self.0) {
            held = (held << 8) | u32::from(*byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                text.push(ALPHABET[(held >> bits) as usize & 31] as char);
            }
            held &= (1 << bits) - 1;
        }
        if bits > 0 {
            text.push(ALPHABET[(held << (5 - bits)) as usize & 31] as char);
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn of(bytes: &[u8]) -> Head {
        Head::from_sha256(Sha256::digest(bytes).into())
    }

    #[test]
    fn text_is_the_cid_other_tools_compute() {
        // base32 of 01 55 12 20 and the SHA-256, computed apart from this code.
        let table: &[(&[u8], &str)] = &[
            (b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
            (b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        ];
        for (bytes, text) in table {
            assert_eq!(of(bytes).to_string(), *text);
            assert_eq!(Head::parse(text), Some(of(bytes)));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let good = of(b"hello world").to_string();
        for text in [
            "",
            "b",
            "hello",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}a"),
            // Left-over bits set: the last letter of a 36-byte base32 text ends in two zero bits.
            &format!("{}f", &good[..good.len() - 1]),
            // CIDv1 with codec dag-json.
            "baguqeeraaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD",
        ] {
            assert_eq!(Head::parse(text), None, "{text}");
        }
    }
}
