//! Who announces under a name: whoever holds a key that the source itself names, in its Release or in its
//! host's file; who signs the source's Release; and who has a certificate of the authority. A function
//! of bytes and a moment.
//!
//! | a key is | written as | it signs by |
//! | --- | --- | --- |
//! | Ed25519, RSA, ECDSA P-256 and P-384 | `spki:…`: base64 of what `openssl pkey -pubout -outform DER` gives | `openssl pkeyutl -sign -rawin`, `openssl dgst -sign` |
//! | OpenSSH's | `ssh-ed25519 AAAA…`, `ssh-rsa AAAA…` | `ssh-keygen -Y sign -n canister-announce` |
//! | libp2p's | `12D3KooW…` or `16Uiu2HA…`, which holds an Ed25519 or secp256k1 key; `Qm…`, the digest of another, which the announcement brings | as those of openssl |
//! | OpenPGP's | `openpgp:FINGERPRINT`, and the announcement brings what `gpg --export --armor` gives | `gpg --detach-sign --armor` |
//!
//! What is signed is a text of four lines, see [`statement`]: so a signature is good for one source, one
//! Cid and one moment, and for nothing else.
//!
//! Spec: RFC 8032; RFC 8017 §8.2 (with SHA-256, or as OpenSSH has it with SHA-512); FIPS 186-5 (ECDSA
//! with SHA-256 for P-256 and secp256k1, SHA-384 for P-384); RFC 9580; OpenSSH's PROTOCOL.sshsig; libp2p's peer ids.

use crate::rules::revocations::{Id, Revocations};
use crate::rules::timestamp::Timestamp;
use canister_link::certificate::{ANNOUNCES, Certificate};
use canister_openpgp::{Keys, SignedText};
use canister_protocol::message::SignatureState;
use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use k256::ecdsa::signature::Verifier as _;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The first line of what is signed, and the namespace of OpenSSH's signatures.
pub const PURPOSE: &str = "canister-announce";
/// How far the moment of a signed announcement may be away.
pub const SIGNED_FOR: Duration = Duration::from_secs(10 * 60);
/// Longest key or certificate as it is written, and longest signature, in bytes: of 8192 bits with room
/// to spare, and the certificate's issuer beside it.
pub const KEY_BYTES_MAX: usize = 16 * 1024;
pub const SIGNATURE_BYTES_MAX: usize = 8192;
/// Most certificates of a chain.
const CHAIN_MAX: usize = 4;
const NO_ANNOUNCERS: &str =
    "its certificate isn't an announcer's; the operator's `ca sign --announcer` gives one";
/// What an OpenPGP key begins with.
pub const OPENPGP: &str = "-----BEGIN PGP";
const OPENPGP_KEY: &str = "openpgp:";

/// Longest key in bytes, as libp2p writes it, that its peer id holds; that of another is a multihash of its SHA-256.
const HELD_BYTES_MAX: usize = 42;
const PEER_ID_DIGEST: [u8; 2] = [0x12, 32];
/// Longest peer id that is looked at, in letters: such an id has 46 or 52.
const PEER_ID_BYTES_MAX: usize = 60;
/// What is before an ECDSA point in its SubjectPublicKeyInfo (RFC 5480 §2), by how long the point is.
const CURVES: [(usize, &[u8]); 2] = [
    (65, b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0"),
    (97, b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\0\x22\x03\x62\0"),
];
/// An RSA key's algorithm, in DER (RFC 3279 §2.3.1).
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\0";

/// A key that may have made a signature.
#[derive(Clone, PartialEq, Eq)]
pub enum AnnouncerKey {
    /// A point of one of the curves.
    Ecdsa(Vec<u8>),
    Ed25519([u8; 32]),
    /// In armor, and the fingerprint by which it is known.
    OpenPgp(String, String),
    /// Modulus and exponent, without zeros before them.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point of it, compressed.
    Secp256k1([u8; 33]),
}

/// By what a key is known, however it is written: libp2p's peer id of it, or `openpgp:FINGERPRINT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

/// Names a key without its length.
impl fmt::Debug for AnnouncerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id().0)
    }
}

/// What a signed announcement brings besides what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    pub key: AnnouncerKey,
    /// The key's certificate and those behind it, if it brings one.
    pub chain: Vec<CertificateDer<'static>>,
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

impl KeyId {
    /// Of a key as a source names it.
    pub fn named(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(fingerprint) = text.strip_prefix(OPENPGP_KEY) {
            return Self::of_openpgp(&fingerprint.replace(' ', ""));
        }
        if let Ok(key) = text.parse::<AnnouncerKey>() {
            return Some(key.id());
        }
        let bytes = base58(text)?;
        let digest = bytes.strip_prefix(&PEER_ID_DIGEST)?;
        (digest.len() == 32).then(|| Self(text.to_owned()))
    }

    /// Of an OpenPGP key by its fingerprint in hexadecimal.
    pub fn of_openpgp(fingerprint: &str) -> Option<Self> {
        let bytes = HEXUPPER_PERMISSIVE.decode(fingerprint.as_bytes()).ok()?;
        [20, 32]
            .contains(&bytes.len())
            .then(|| Self(format!("{OPENPGP_KEY}{}", fingerprint.to_ascii_uppercase())))
    }
}

fn base58(text: &str) -> Option<Vec<u8>> {
    (text.len() <= PEER_ID_BYTES_MAX).then(|| bs58::decode(text).into_vec().ok())?
}

impl FromStr for AnnouncerKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a key is spki:BASE64, ssh-ed25519 BASE64, ssh-rsa BASE64, a peer id 12D3KooW… or an OpenPGP \
             key in armor; Ed25519, ECDSA P-256 or P-384, or RSA of 2048 bits or more"
                .to_owned()
        };
        let text = text.trim();
        if text.len() > KEY_BYTES_MAX {
            return Err(wrong());
        }
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let key = if text.starts_with(OPENPGP) {
            let fingerprint = Keys::read(text.as_bytes()).fingerprints().next();
            fingerprint.map(|fingerprint| Self::OpenPgp(text.to_owned(), fingerprint))
        } else if let Some(spki) = text.strip_prefix("spki:") {
            bytes(spki.trim()).and_then(|der| of_spki(&der))
        } else if let Some((kind @ ("ssh-ed25519" | "ssh-rsa"), rest)) = text.split_once(' ') {
            let blob = rest.split_whitespace().next().and_then(bytes);
            blob.and_then(|blob| of_ssh(&blob)).filter(|(of, _)| of == kind).map(|(_, key)| key)
        } else {
            let bytes = base58(text).unwrap_or_default();
            bytes
                .strip_prefix(&[0, bytes.len().saturating_sub(2) as u8])
                .and_then(Self::of_protobuf)
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
        PublicKey::EC(_) => {
            let is_it = |(_, begin): &&(usize, &[u8])| der.starts_with(begin);
            let (length, begin) = CURVES.iter().find(is_it)?;
            let point = &der[begin.len()..];
            (point.len() == *length).then(|| AnnouncerKey::Ecdsa(point.to_vec()))
        }
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

/// One element in DER (X.690 §10.1).
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut bytes = vec![tag];
    if content.len() >= 0x80 {
        bytes.push(0x80 | length.len() as u8);
    }
    bytes.extend(length);
    bytes.extend(content);
    bytes
}

/// A whole number in DER, which no first bit makes negative.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zero: &[u8] = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    der(2, &[zero, bytes])
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AnnouncerKey {
    /// By what it is known.
    pub fn id(&self) -> KeyId {
        if let Self::OpenPgp(_, fingerprint) = self {
            return KeyId(format!("{OPENPGP_KEY}{fingerprint}"));
        }
        let key = self.protobuf();
        let id = match key.len() {
            length @ ..=HELD_BYTES_MAX => [&[0, length as u8], &key[..]].concat(),
            _ => [&PEER_ID_DIGEST[..], &Sha256::digest(&key)].concat(),
        };
        KeyId(bs58::encode(id).into_string())
    }

    /// As libp2p writes it: a protobuf of its kind, and of the key behind its length; nothing for OpenPGP's.
    fn protobuf(&self) -> Vec<u8> {
        let (kind, key) = match self {
            Self::OpenPgp(..) => return Vec::new(),
            Self::Rsa(n, e) => {
                let key = der(0x30, &[&integer(n), &integer(e)]);
                (0, der(0x30, &[RSA, &der(3, &[&[0], &key])]))
            }
            Self::Ed25519(key) => (1, key.to_vec()),
            Self::Secp256k1(key) => (2, key.to_vec()),
            Self::Ecdsa(point) => {
                let begin = CURVES.iter().find(|(length, _)| *length == point.len());
                (3, [begin.map_or(&[][..], |(_, begin)| begin), point].concat())
            }
        };
        let mut bytes = vec![8, kind, 18];
        let mut left = key.len();
        while left >= 0x80 {
            bytes.push(0x80 | (left & 0x7f) as u8);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes.extend(key);
        bytes
    }

    /// Of a key as libp2p writes it, and in no other way.
    ///
    /// Spec: libp2p/specs, `peer-ids`.
    pub fn of_protobuf(bytes: &[u8]) -> Option<Self> {
        let (&[8, kind, 18, length], mut key) = bytes.split_first_chunk()? else { return None };
        if length & 0x80 != 0 {
            key = key.get(1..)?;
        }
        let key = match kind {
            1 => key.try_into().ok().map(Self::Ed25519),
            2 => key.try_into().ok().map(Self::Secp256k1),
            _ => of_spki(key),
        };
        key.filter(|key| key.protobuf() == bytes)
    }

    /// Whether it signed these bytes as they are, as libp2p's keys do.
    pub fn signed_bytes(&self, bytes: &[u8], signature: &[u8]) -> bool {
        self.made(&RSA_PKCS1_2048_8192_SHA256, bytes, signature)
    }

    fn made(&self, rsa: &RsaParameters, bytes: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ecdsa(point) if point.len() == CURVES[0].0 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(bytes, signature)
            }
            Self::Ecdsa(point) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point).verify(bytes, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature),
            Self::OpenPgp(..) => Err(ring::error::Unspecified),
            Self::Secp256k1(point) => {
                let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(point);
                let signature = k256::ecdsa::Signature::from_der(signature);
                // Publishers sign by either half of the order; this reader takes the lower alone.
                let both = key.ok().zip(signature.ok());
                let both = both.map(|(key, it)| (key, it.normalize_s().unwrap_or(it)));
                both.and_then(|(key, it)| key.verify(bytes, &it).ok())
                    .ok_or(ring::error::Unspecified)
            }
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(rsa, bytes, signature),
        }
        .is_ok()
    }

    /// Whether it signed a text at `secs` since 1970: as it is, or by OpenSSH's or OpenPGP's way.
    pub fn signed(&self, text: &str, signature: &[u8], secs: u64) -> bool {
        if let Self::OpenPgp(armor, fingerprint) = self {
            let mut signed = SignedText::default();
            text.split_inclusive('\n').for_each(|line| signed.line(line.as_bytes()));
            signed.signature(signature);
            let found = signed.verify(&Keys::read(armor.as_bytes()), fingerprint, secs);
            return found.state == SignatureState::Good && found.key == *fingerprint;
        }
        match signature.strip_prefix(b"SSHSIG") {
            Some(rest) => self.signed_by_ssh(text, rest).unwrap_or(false),
            None => self.signed_bytes(text.as_bytes(), signature),
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

/// A certificate in PEM, and those behind it; the key of the first.
///
/// # Errors
/// What is wrong with it.
pub fn chain(pem: &str) -> Result<(Vec<CertificateDer<'static>>, AnnouncerKey), String> {
    if pem.len() > KEY_BYTES_MAX {
        return Err(format!("a certificate has at most {KEY_BYTES_MAX} bytes"));
    }
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).take(CHAIN_MAX).collect();
    let chain = chain.map_err(|_| "certificate is broken PEM".to_owned())?;
    let own = chain.first().and_then(|own| Certificate::read(own));
    let key = own.and_then(|own| of_spki(&own.key));
    Ok((chain, key.ok_or("certificate is no certificate in PEM")?))
}

/// The announcer whose certificate is the first of `chain`, if the authority gave it for announcing and
/// didn't take it back, at `now`.
///
/// # Errors
/// What is wrong with it, for whoever sent it.
pub fn certified(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    revoked: &Revocations,
    now: Timestamp,
) -> Result<String, String> {
    let (own, behind) = chain.split_first().ok_or("there is no certificate")?;
    let time = UnixTime::since_unix_epoch(Duration::from_millis(now.millis()));
    let judged = EndEntityCert::try_from(own).and_then(|own| {
        // Issuers say nothing of it; that the certificate itself does is looked at below.
        let usage = KeyUsage::required_if_present(ANNOUNCES);
        let (algorithms, roots) = (ALL_VERIFICATION_ALGS, &roots.roots);
        own.verify_for_usage(algorithms, roots, behind, time, usage, None, None).map(|_| ())
    });
    judged.map_err(|cause| match cause {
        Error::CertExpired { .. } => "its certificate has ended".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => NO_ANNOUNCERS.to_owned(),
        Error::UnknownIssuer => "its certificate is another authority's".to_owned(),
        other => format!("its certificate isn't good: {other}"),
    })?;
    let read: Vec<Certificate> = chain.iter().filter_map(|it| Certificate::read(it)).collect();
    if revoked.revoke(&read.iter().map(Id::of).collect::<Vec<_>>()) {
        return Err("its certificate was revoked".to_owned());
    }
    let name = read.into_iter().next().and_then(|own| own.announcer);
    name.ok_or_else(|| NO_ANNOUNCERS.to_owned())
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
        if !signed.key.signed(&signed.text, &signed.signature, secs) {
            return Err(format!("its signature isn't its key's of {:?}", signed.text));
        }
        self.0.retain(|_, at| at.saturating_add(2 * longest) >= secs);
        // Another may sign the same: that is another announcement.
        let this = format!("{}\n{}", signed.key.id(), signed.text);
        match self.0.insert(Sha256::digest(this).into(), signed.secs) {
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
            let id = "12D3KooW9pP4Seg3kZYhySpuVjn1RPdQBsUFZKiFxGMGQN5MeL6A";
            assert_eq!(KeyId::named(&text), Some(KeyId(id.to_owned())));
        }
        let print = "0123456789abcdef0123456789ABCDEF01234567";
        let id = KeyId(format!("openpgp:{}", print.to_uppercase()));
        for text in
            [format!("openpgp:{print}"), format!(" openpgp:{} {}", &print[..20], &print[20..])]
        {
            assert_eq!(KeyId::named(&text).as_ref(), Some(&id));
        }
        let digest = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert_eq!(KeyId::named(digest), Some(KeyId(digest.to_owned())));
        let long = "1".repeat(9999);
        for text in ["openpgp:", "openpgp:0123", "openpgp:xyz", "QmX", "", &*long] {
            assert_eq!(KeyId::named(text), None, "{text}");
        }
        for text in [
            "",
            OPENPGP,
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
            assert!(!key.signed("x", bytes, 0));
        }
    }
}
