//! Who signed a text, a Release for instance, and whether it is so: OpenPGP signatures, clear-signed or
//! detached.
//!
//! What is signed is hashed while it is read, and nothing of it is kept. Which digest a signature is
//! by stands in it, and it comes last, so all that count are made. Of rpgp its packets are used and
//! its arithmetic; what binds a key's parts to each other, and what ends them, is decided here.
//!
//! Spec: RFC 9580 §5.2 (signatures), §7 (clear-signed texts), §10.1 (keys).

use canister_protocol::limits::KEYS_BYTES_MAX;
use canister_protocol::message::{ReleaseSignature, SignatureState};
use data_encoding::{BASE64, HEXUPPER};
use pgp::armor::{Dearmor, DearmorOptions};
use pgp::crypto::hash::HashAlgorithm;
use pgp::errors::Error;
use pgp::packet::{
    PacketHeader, PublicKey, PublicSubkey, Signature, SignatureType, SignatureVersion,
    SubpacketData, UserId,
};
use pgp::types::{PacketLength, Tag, VerifyingKey};
use ring::digest::{Context, SHA256, SHA384, SHA512};
use std::fmt;
use std::io::Read as _;

/// Longest signature, or several of them, in bytes as they come. One by an RSA key of 4,096 bits has
/// under 1 KB, with its key inside 6 KB.
pub const SIGNATURE_BYTES_MAX: usize = 64 * 1024;
/// Most signatures of one Release that are looked at.
const SIGNATURES_MAX: usize = 16;
/// Most keys of one file that are looked at, and most of their owner's signatures, by which the parts
/// of a key are bound: each is checked.
const KEYS_MAX: usize = 32;
const BINDINGS_MAX: usize = 64;
/// The kind of subpacket in which GnuPG puts the signer's key (`--include-key-block`).
const KEY_BLOCK: u8 = 38;
/// What a clear-signed text begins with.
pub const CLEAR: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
/// What its signature begins with, and ends with.
pub const BEGIN: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END: &[u8] = b"-----END PGP SIGNATURE-----";

/// What is signed of a Release, as far as it was read, and its signatures.
pub struct SignedText {
    /// By the digests that count, those of SHA-2.
    sha2: [Context; 3],
    /// Whether it is the text of a clear-signed message.
    is_clear: bool,
    /// Whether a line of it was hashed.
    is_begun: bool,
    /// In armor or not; a byte more of it than is looked at tells that there is too much.
    signature: Vec<u8>,
}

impl fmt::Debug for SignedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedText({} bytes of signature)", self.signature.len())
    }
}

impl Default for SignedText {
    fn default() -> Self {
        Self {
            sha2: [&SHA256, &SHA384, &SHA512].map(Context::new),
            is_clear: false,
            is_begun: false,
            signature: Vec::new(),
        }
    }
}

impl SignedText {
    /// A text that is hashed as those of clear-signed messages are: without blanks at the ends of
    /// lines, and without the line's end before the signature.
    pub fn clear() -> Self {
        Self { is_clear: true, ..Self::default() }
    }

    /// Takes the next line of what is signed, its end included.
    pub fn line(&mut self, line: &[u8]) {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let text = match self.is_clear {
            true => &line[..line.iter().rposition(|byte| !is_blank(byte)).map_or(0, |at| at + 1)],
            false => line,
        };
        for hash in &mut self.sha2 {
            if self.is_clear && self.is_begun {
                hash.update(b"\r\n");
            }
            hash.update(text);
        }
        self.is_begun = true;
    }

    /// Takes more of the signature; whether this was the last line of its armor.
    pub fn signature(&mut self, bytes: &[u8]) -> bool {
        let room = SIGNATURE_BYTES_MAX + 1 - self.signature.len();
        self.signature.extend_from_slice(&bytes[..bytes.len().min(room)]);
        bytes.trim_ascii_end() == END
    }

    /// What its signatures are worth at the moment `now`, in seconds since 1970, by these keys: the
    /// best of them, and of equal ones that of `signer`. A signature whose key isn't among them may
    /// bring it along.
    pub fn verify(&self, keys: &Keys, signer: &str, now: u64) -> ReleaseSignature {
        let signatures = self.signatures();
        let found = signatures.iter().map(|(signature, body)| {
            let by = |keys: &Keys| self.verify_one(signature, body, keys, now);
            let known = by(keys);
            if known.state != SignatureState::Unverifiable {
                return known;
            }
            let brought = key_blocks(signature).map(|block| {
                let keys = Keys::read(block);
                let found = by(&keys);
                ReleaseSignature { keys: keys.text_of(&found.key), ..found }
            });
            brought.min_by_key(|found| found.state).unwrap_or(known)
        });
        let best = found.min_by_key(|found| (found.state, !found.is_by(signer)));
        best.unwrap_or_else(|| ReleaseSignature {
            // Something is there, and no signature that can be read.
            state: match self.signature.is_empty() {
                true => SignatureState::Missing,
                false => SignatureState::Bad,
            },
            ..ReleaseSignature::default()
        })
    }

    /// The signatures with the bytes that they were read of.
    fn signatures(&self) -> Vec<(Signature, Vec<u8>)> {
        let bytes = binary(&self.signature, SIGNATURE_BYTES_MAX).unwrap_or_default();
        let packets = packets(&bytes).filter(|packet| packet.header.tag() == Tag::Signature);
        let read = |packet: Packet<'_>| Some((packet.signature()?, packet.body.to_vec()));
        packets.filter_map(read).take(SIGNATURES_MAX).collect()
    }

    fn verify_one(
        &self,
        signature: &Signature,
        body: &[u8],
        keys: &Keys,
        now: u64,
    ) -> ReleaseSignature {
        let named = named(signature);
        let as_named = |state| ReleaseSignature {
            state,
            key: named.clone(),
            named: named.clone(),
            ..ReleaseSignature::default()
        };
        let weak = [HashAlgorithm::Md5, HashAlgorithm::Ripemd160, HashAlgorithm::Sha1];
        if signature.hash_alg().is_some_and(|digest| weak.contains(&digest)) {
            return as_named(SignatureState::Weak);
        }
        let Some((certificate, part)) = keys.find(signature) else {
            return as_named(SignatureState::Unverifiable);
        };
        let primary = &certificate.primary;
        let key_ends = [primary.ends, part.ends].into_iter().flatten().min();
        let created = signature.created().map(|created| created.as_secs());
        let ends = created.zip(signature.signature_expiration_time()).and_then(ends_after);
        let is_past = |ends: Option<u64>| ends.is_some_and(|ends| ends <= now);
        let state = match self.is_made_by(signature, body, part) {
            None => SignatureState::Unknown,
            // A key that isn't bound to sign signs nothing.
            Some(is_so) if !is_so || !part.can_sign => SignatureState::Bad,
            Some(_) if primary.is_revoked || part.is_revoked => SignatureState::Revoked,
            Some(_) if is_past(key_ends) || is_past(ends) => SignatureState::Expired,
            Some(_) => SignatureState::Good,
        };
        ReleaseSignature {
            state,
            ends: key_ends,
            named: part.fingerprint(),
            key: primary.fingerprint(),
            ..ReleaseSignature::default()
        }
    }

    /// Whether the key `part` made the signature of this text; `None` where that can't be told.
    fn is_made_by(&self, signature: &Signature, body: &[u8], part: &KeyPart) -> Option<bool> {
        let kind = if self.is_clear { SignatureType::Text } else { SignatureType::Binary };
        let config = signature.config().filter(|config| config.typ() == kind)?;
        let algorithms = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
        let at = algorithms.iter().position(|algorithm| *algorithm == config.hash_alg)?;
        // A critical part that isn't known may say that it counts for something else.
        let is_unknown = config
            .hashed_subpackets()
            .any(|part| part.is_critical && matches!(part.data, SubpacketData::Other(..)));
        if is_unknown {
            return None;
        }
        let mut hash = self.sha2[at].clone();
        match config.version() {
            // RFC 4880 §5.2.4: its kind and date.
            SignatureVersion::V2 | SignatureVersion::V3 => hash.update(body.get(2..7)?),
            // RFC 9580 §5.2.4: all before what isn't hashed, and how much that is.
            SignatureVersion::V4 => {
                let length = 6 + usize::from(u16::from_be_bytes([*body.get(4)?, *body.get(5)?]));
                hash.update(body.get(..length)?);
                hash.update(&[4, 0xff]);
                hash.update(&u32::try_from(length).ok()?.to_be_bytes());
            }
            _ => return None,
        }
        let digest = hash.finish();
        match part.key.verify(config.hash_alg, digest.as_ref(), signature.signature()?) {
            Ok(()) => Some(true),
            Err(Error::Unsupported { .. } | Error::Unimplemented { .. }) => None,
            Err(_) => Some(false),
        }
    }
}

/// Public keys by which signatures are checked.
#[derive(Default)]
pub struct Keys(Vec<OpenPgpKey>);

/// A key with its subkeys: a transferable public key.
struct OpenPgpKey {
    primary: KeyPart,
    subkeys: Vec<KeyPart>,
    /// What of it is bound, as it came: others' signatures and pictures are left out.
    bytes: Vec<u8>,
}

/// A key that may have made a signature.
struct KeyPart {
    key: Box<dyn VerifyingKey>,
    /// Whether its owner says so.
    can_sign: bool,
    /// In seconds since 1970.
    ends: Option<u64>,
    is_revoked: bool,
    /// When its owner said all this last.
    said: Option<u32>,
}

impl KeyPart {
    fn new(key: impl VerifyingKey + 'static) -> Self {
        Self { key: Box::new(key), can_sign: false, ends: None, is_revoked: false, said: None }
    }

    fn fingerprint(&self) -> String {
        HEXUPPER.encode(self.key.fingerprint().as_bytes())
    }

    fn is_named_by(&self, signature: &Signature) -> bool {
        let (fingerprints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
        match fingerprints.is_empty() {
            true => ids.contains(&&self.key.legacy_key_id()),
            false => fingerprints.contains(&&self.key.fingerprint()),
        }
    }

    /// Takes what its owner says of it, where that is newer than what was said before.
    fn said(&mut self, signature: &Signature, can_sign: bool) {
        let at = signature.created().map(|created| created.as_secs());
        if at >= self.said {
            let ends = signature.key_expiration_time();
            self.ends = ends.and_then(|after| ends_after((self.key.created_at().as_secs(), after)));
            (self.can_sign, self.said) = (can_sign, at);
        }
    }
}

impl Keys {
    /// Reads the keys of a file, in armor or not. What isn't a key there is passed over; what is too
    /// long has none.
    pub fn read(file: &[u8]) -> Self {
        let bytes = binary(file, KEYS_BYTES_MAX).unwrap_or_default();
        let mut keys = Self::default();
        let mut reading: Option<Reading> = None;
        for packet in packets(&bytes) {
            if packet.header.tag() == Tag::PublicKey {
                keys.0.extend(reading.take().map(|reading| reading.certificate));
                if keys.0.len() == KEYS_MAX {
                    break;
                }
                let key = PublicKey::try_from_reader(packet.header, packet.body).ok();
                reading = key.map(|key| Reading::new(key, packet.bytes));
            } else if let Some(reading) = &mut reading {
                reading.take(&packet);
            }
        }
        keys.0.extend(reading.map(|reading| reading.certificate));
        keys
    }

    /// The same of base64; none of what isn't.
    pub fn of_text(text: &str) -> Self {
        BASE64.decode(text.as_bytes()).map_or_else(|_| Self::default(), |file| Self::read(&file))
    }

    /// Their fingerprints, in capital hexadecimal digits.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|it| it.primary.fingerprint())
    }

    /// The key of this fingerprint in base64.
    pub fn text_of(&self, fingerprint: &str) -> Option<String> {
        let found = self.0.iter().find(|it| it.primary.fingerprint() == fingerprint)?;
        Some(BASE64.encode(&found.bytes))
    }

    fn find(&self, signature: &Signature) -> Option<(&OpenPgpKey, &KeyPart)> {
        self.0.iter().find_map(|certificate| {
            let mut parts = [&certificate.primary].into_iter().chain(&certificate.subkeys);
            let part = parts.find(|part| part.is_named_by(signature))?;
            Some((certificate, part))
        })
    }
}

/// A key that is being read: of what its next signatures are.
struct Reading {
    key: PublicKey,
    certificate: OpenPgpKey,
    of: Bound,
    bindings: usize,
}

enum Bound {
    Key,
    Nothing,
    Subkey(Box<PublicSubkey>),
    User(UserId),
}

impl Reading {
    fn new(key: PublicKey, bytes: &[u8]) -> Self {
        let primary = KeyPart::new(key.clone());
        let certificate = OpenPgpKey { primary, subkeys: Vec::new(), bytes: bytes.to_vec() };
        Self { key, certificate, of: Bound::Key, bindings: 0 }
    }

    fn take(&mut self, packet: &Packet<'_>) {
        let is_kept = match packet.header.tag() {
            Tag::UserId => {
                let user = UserId::try_from_reader(packet.header, packet.body);
                self.of = user.map_or(Bound::Nothing, Bound::User);
                true
            }
            Tag::PublicSubkey => {
                let subkey = PublicSubkey::try_from_reader(packet.header, packet.body);
                self.of = subkey.map_or(Bound::Nothing, |key| Bound::Subkey(key.into()));
                if let Bound::Subkey(subkey) = &self.of {
                    self.certificate.subkeys.push(KeyPart::new((**subkey).clone()));
                }
                !matches!(self.of, Bound::Nothing)
            }
            Tag::Signature => packet.signature().is_some_and(|signature| self.binds(&signature)),
            _ => {
                self.of = Bound::Nothing;
                false
            }
        };
        if is_kept {
            self.certificate.bytes.extend_from_slice(packet.bytes);
        }
    }

    /// Takes a signature of the key itself by which it binds what stands before; whether it is one.
    fn binds(&mut self, signature: &Signature) -> bool {
        if !self.certificate.primary.is_named_by(signature) || self.bindings == BINDINGS_MAX {
            return false;
        }
        self.bindings += 1;
        let (key, kind) = (&self.key, signature.typ());
        let is_so = match &self.of {
            Bound::Nothing => false,
            Bound::Key => signature.verify_key(key).is_ok(),
            Bound::User(user) => signature.verify_certification(key, Tag::UserId, user).is_ok(),
            Bound::Subkey(subkey) => signature.verify_subkey_binding(key, &**subkey).is_ok(),
        };
        let flags = signature.key_flags();
        let has_flags = signature.config().is_some_and(|config| {
            config.hashed_subpackets().any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
        });
        let OpenPgpKey { primary, subkeys, .. } = &mut self.certificate;
        match (kind, subkeys.last_mut(), &self.of) {
            _ if !is_so => {}
            (Some(SignatureType::KeyRevocation), ..) => primary.is_revoked = true,
            (Some(SignatureType::SubkeyRevocation), Some(subkey), _) => subkey.is_revoked = true,
            (Some(SignatureType::SubkeyBinding), Some(part), Bound::Subkey(subkey)) => {
                // The subkey must say so as well, or anybody's could be called one's own.
                let is_mutual = signature.embedded_signature().is_some_and(|by_subkey| {
                    by_subkey.verify_primary_key_binding(&**subkey, key).is_ok()
                });
                part.said(signature, flags.sign() && is_mutual);
            }
            (Some(SignatureType::CertRevocation), ..) => {}
            // Old keys have no flags, and do everything.
            _ => primary.said(signature, !has_flags || flags.sign()),
        }
        is_so
    }
}

/// A packet of OpenPGP.
struct Packet<'a> {
    header: PacketHeader,
    body: &'a [u8],
    /// Header and body.
    bytes: &'a [u8],
}

impl Packet<'_> {
    fn signature(&self) -> Option<Signature> {
        Signature::try_from_reader(self.header, self.body).ok()
    }
}

/// The packets of some bytes, to the first that can't be told from the next.
fn packets(bytes: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let whole = left;
        let header = PacketHeader::try_from_reader(&mut left).ok()?;
        let PacketLength::Fixed(length) = header.packet_length() else {
            return None;
        };
        let (body, rest) = left.split_at_checked(usize::try_from(length).ok()?)?;
        left = rest;
        Some(Packet { header, body, bytes: &whole[..whole.len() - rest.len()] })
    })
}

/// Whether a file is a signature, in armor or not, and not the page that some servers send for
/// whatever is asked.
pub fn is_signature(file: &[u8]) -> bool {
    let is_packet = || packets(file).next().is_some_and(|it| it.header.tag() == Tag::Signature);
    file.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == BEGIN) || is_packet()
}

/// What is in a file, without its armor; `None` where that is longer than `limit` bytes, or can't be
/// read.
fn binary(file: &[u8], limit: usize) -> Option<Vec<u8>> {
    if file.len() > limit {
        return None;
    }
    // The first bit of a packet is set, and none of a text's letters.
    if file.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Some(file.to_vec());
    }
    let mut bytes = Vec::new();
    let options = DearmorOptions::new().set_limit(limit);
    let mut armor = Dearmor::with_options(file, options);
    armor.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The key that a signature names, by its fingerprint or where it doesn't say by its id.
fn named(signature: &Signature) -> String {
    let fingerprint =
        signature.issuer_fingerprint().first().map(|it| HEXUPPER.encode(it.as_bytes()));
    let id = || signature.issuer_key_id().first().map(|id| HEXUPPER.encode(id.as_ref()));
    fingerprint.or_else(id).unwrap_or_default()
}

/// The keys that a signature brings along.
fn key_blocks(signature: &Signature) -> impl Iterator<Item = &[u8]> {
    let parts = signature.config().into_iter();
    let parts = parts.flat_map(|it| it.hashed_subpackets().chain(it.unhashed_subpackets()));
    parts.filter_map(|part| match &part.data {
        // Its first byte is reserved.
        SubpacketData::Other(KEY_BLOCK, block) => block.get(1..),
        _ => None,
    })
}

/// The moment in seconds since 1970 that is so long after another; none where that is no time at all.
fn ends_after((from, after): (u32, pgp::types::Duration)) -> Option<u64> {
    let after = u64::from(after.as_secs());
    (after > 0).then(|| u64::from(from) + after)
}
