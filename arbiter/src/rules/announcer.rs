//! Who announces under a name: whoever holds a key that the source itself names, in its Release or in its
//! host's file. A function of bytes and a moment.
//!
//! A key is written as `spki:…` (the base64 of what `openssl pkey -pubout -outform DER` gives), as
//! OpenSSH has it (`ssh-ed25519 AAAA…`, `ssh-rsa AAAA…`), or as the peer id of libp2p that holds an
//! Ed25519 key (`12D3KooW…`). What is signed is a text of four lines, see [`statement`]: so a
//! signature is good for one source, one Cid and one moment, and for nothing else. It is made by
//! `openssl pkeyutl -sign -rawin`, `openssl dgst -sha256 -sign` or `ssh-keygen -Y sign -n canister-announce`.
//!
//! Spec: RFC 8032; RFC 8017 §8.2 (with SHA-256, or as OpenSSH has it with SHA-512); OpenSSH's
//! PROTOCOL.sshsig; libp2p's peer ids.

use crate::rules::timestamp::Timestamp;
use data_encoding::BASE64;
use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The first line of what is signed, and the namespace of OpenSSH's signatures.
pub const PURPOSE: &str = "canister-announce";
/// How far the moment of a signed announcement may be away.
pub const SIGNED_FOR: Duration = Duration::from_secs(10 * 60);
/// Longest key as it is written, and longest signature, in bytes: of 8192 bits with room to spare.
pub const KEY_BYTES_MAX: usize = 2048;
pub const SIGNATURE_BYTES_MAX: usize = 4096;

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// What is before the 32 bytes of an Ed25519 key in the peer id that holds it: a multihash of the
/// identity over a protobuf.
const PEER_ID: [u8; 6] = [0, 36, 8, 1, 18, 32];

/// A key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum AnnouncerKey {
    Ed25519([u8; 32]),
    /// Modulus and exponent, without zeros before them.
    Rsa(Vec<u8>, Vec<u8>),
}

/// Names a key without its length.
impl fmt::Debug for AnnouncerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(key) => write!(f, "ed25519 {}", BASE64.encode(key)),
            Self::Rsa(modulus, _) => write!(f, "rsa {}", BASE64.encode(&Sha256::digest(modulus))),
        }
    }
}

/// What a signed announcement brings besides what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    pub key: AnnouncerKey,
    /// What the key is said to have signed, and when, in seconds since 1970.
    pub text: String,
    pub secs: u64,
    pub signature: Vec<u8>,
}

/// What is to be signed: of which source (its slug, its uri or its first address, as the announcement
/// writes it), which Cid (as it is written; empty for none), and when, in seconds since 1970. Each line
/// ends in a line feed.
pub fn statement(source: &str, cid: &str, secs: u64) -> String {
    format!("{PURPOSE}\n{source}\n{cid}\n{secs}\n")
}

impl FromStr for AnnouncerKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a key is spki:BASE64, ssh-ed25519 BASE64, ssh-rsa BASE64 or a peer id 12D3KooW…, \
             Ed25519 or RSA of 2048 bits or more"
                .to_owned()
        };
        let text = text.trim();
        if text.len() > KEY_BYTES_MAX {
            return Err(wrong());
        }
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let key = if let Some(spki) = text.strip_prefix("spki:") {
            bytes(spki.trim()).and_then(|der| of_spki(&der))
        } else if let Some((kind @ ("ssh-ed25519" | "ssh-rsa"), rest)) = text.split_once(' ') {
            let blob = rest.split_whitespace().next().and_then(bytes);
            blob.and_then(|blob| of_ssh(&blob)).filter(|(of, _)| of == kind).map(|(_, key)| key)
        } else {
            of_peer_id(text)
        };
        key.ok_or_else(wrong)
    }
}

fn of_spki(der: &[u8]) -> Option<AnnouncerKey> {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    // RFC 8410 §3.
    if spki.algorithm.algorithm.to_id_string() == "1.3.101.112" {
        return spki.subject_public_key.data.as_ref().try_into().ok().map(AnnouncerKey::Ed25519);
    }
    match spki.parsed().ok()? {
        PublicKey::RSA(rsa) => Some(rsa_key(rsa.modulus, rsa.exponent)),
        _ => None,
    }
}

fn rsa_key(modulus: &[u8], exponent: &[u8]) -> AnnouncerKey {
    let bare = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    AnnouncerKey::Rsa(bare(modulus), bare(exponent))
}

/// The kind and the key of an OpenSSH key's bytes.
fn of_ssh(blob: &[u8]) -> Option<(String, AnnouncerKey)> {
    let mut rest = blob;
    let kind = String::from_utf8(ssh_text(&mut rest)?.to_vec()).ok()?;
    let key = match kind.as_str() {
        "ssh-ed25519" => AnnouncerKey::Ed25519(ssh_text(&mut rest)?.try_into().ok()?),
        "ssh-rsa" => {
            let exponent = ssh_text(&mut rest)?;
            rsa_key(ssh_text(&mut rest)?, exponent)
        }
        _ => return None,
    };
    rest.is_empty().then_some((kind, key))
}

/// A text of OpenSSH's: four bytes for its length, then the text.
fn ssh_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

fn of_peer_id(text: &str) -> Option<AnnouncerKey> {
    // Such an id has 52 letters.
    if text.len() > 60 {
        return None;
    }
    let mut bytes = vec![0_u8; PEER_ID.len() + 32];
    for letter in text.bytes() {
        let mut carry = BASE58.iter().position(|it| *it == letter)?;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    let key = bytes.strip_prefix(&PEER_ID)?.try_into().ok()?;
    // The zero at the front is a 1 in base58.
    text.starts_with('1').then_some(AnnouncerKey::Ed25519(key))
}

/// The peer id that holds an Ed25519 key.
pub fn peer_id(key: [u8; 32]) -> String {
    // Digits of base58, the least first; one zero at the front of the bytes is one 1.
    let mut digits: Vec<usize> = Vec::new();
    for byte in PEER_ID.iter().chain(&key) {
        let mut carry = usize::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let letters = digits.iter().rev().map(|digit| char::from(BASE58[*digit]));
    std::iter::once('1').chain(letters).collect()
}

impl AnnouncerKey {
    fn made(&self, rsa: &RsaParameters, bytes: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature),
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(rsa, bytes, signature),
        }
        .is_ok()
    }

    /// Whether it signed a text: as it is, or by OpenSSH's way.
    pub fn signed(&self, text: &str, signature: &[u8]) -> bool {
        match signature.strip_prefix(b"SSHSIG") {
            Some(rest) => self.signed_by_ssh(text, rest).unwrap_or(false),
            None => self.made(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), signature),
        }
    }

    fn signed_by_ssh(&self, text: &str, mut rest: &[u8]) -> Option<bool> {
        rest = rest.strip_prefix(&1_u32.to_be_bytes())?;
        let (_, key) = of_ssh(ssh_text(&mut rest)?)?;
        let (space, reserved) = (ssh_text(&mut rest)?, ssh_text(&mut rest)?);
        let hash = ssh_text(&mut rest)?;
        let mut made = ssh_text(&mut rest)?;
        let digest = match hash {
            b"sha256" => Sha256::digest(text).to_vec(),
            b"sha512" => Sha512::digest(text).to_vec(),
            _ => return None,
        };
        let rsa = match ssh_text(&mut made)? {
            b"rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
            b"rsa-sha2-256" | b"ssh-ed25519" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return None,
        };
        let signature = ssh_text(&mut made)?;
        let mut bytes = b"SSHSIG".to_vec();
        for part in [space, reserved, hash, &digest] {
            bytes.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
            bytes.extend(part);
        }
        let is_ours = key == *self && space == PURPOSE.as_bytes() && rest.is_empty();
        Some(is_ours && self.made(rsa, &bytes, signature))
    }
}

/// The signed announcements that were taken lately, so that none is taken twice.
#[derive(Debug, Default)]
pub struct SignedOnce(HashMap<[u8; 32], u64>);

impl SignedOnce {
    /// Takes one, if it is as it should be.
    ///
    /// # Errors
    /// What isn't, in a line for whoever sent it.
    pub fn take(&mut self, signed: &SignedBy, now: Timestamp) -> Result<(), String> {
        let (secs, longest) = (now.millis() / 1000, SIGNED_FOR.as_secs());
        if signed.secs.abs_diff(secs) > longest {
            return Err(format!(
                "its time is {}, and here it is {secs}: sign anew, with the seconds since 1970",
                signed.secs
            ));
        }
        if !signed.key.signed(&signed.text, &signed.signature) {
            return Err(format!("its signature isn't its key's of {:?}", signed.text));
        }
        self.0.retain(|_, at| at.saturating_add(2 * longest) >= secs);
        match self.0.insert(Sha256::digest(&signed.text).into(), signed.secs) {
            None => Ok(()),
            Some(_) => {
                Err("it was taken already: sign anew, with the seconds since 1970".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_however_they_are_written() {
        // One key, by openssl, by ssh-keygen, and as a peer id.
        let raw: [u8; 32] = std::array::from_fn(|at| at as u8);
        let spki = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &raw].concat();
        let ssh = [&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], &raw].concat();
        for text in [
            format!("spki:{}", BASE64.encode(&spki)),
            format!("ssh-ed25519 {} me@home", BASE64.encode(&ssh)),
            "12D3KooW9pP4Seg3kZYhySpuVjn1RPdQBsUFZKiFxGMGQN5MeL6A".to_owned(),
        ] {
            assert_eq!(text.parse(), Ok(AnnouncerKey::Ed25519(raw)), "{text}");
        }
        assert_eq!(peer_id(raw), "12D3KooW9pP4Seg3kZYhySpuVjn1RPdQBsUFZKiFxGMGQN5MeL6A");
        let long = "1".repeat(9999);
        for text in [
            "",
            "spki:",
            "spki:AAAA",
            "ssh-rsa AAAA",
            "ssh-ed25519",
            "12D3KooW",
            "QmX",
            "0OIl",
            &*long,
        ] {
            assert!(text.parse::<AnnouncerKey>().is_err(), "{text}");
        }
        assert!(format!("ssh-rsa {}", BASE64.encode(&ssh)).parse::<AnnouncerKey>().is_err());
    }

    #[test]
    fn bytes_that_are_no_signature_are_none() {
        let key = AnnouncerKey::Ed25519([7; 32]);
        for bytes in [&b""[..], b"SSHSIG", b"SSHSIG\0\0\0\x01\xff\xff\xff\xff", &[0; 64]] {
            assert!(!key.signed("x", bytes));
        }
    }
}
