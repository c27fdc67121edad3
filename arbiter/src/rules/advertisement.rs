//! What the arbiter publishes as an IPNI publisher: a chain of advertisements, one a publication, and a signed head
//! that names the newest. A function of values: bytes for whoever follows.
//!
//! | block | codec, digest | says |
//! | --- | --- | --- |
//! | advertisement | dag-json, SHA-256 | the one before (`PreviousID`), the source's address and slug (`Addresses`, `ContextID`), the number and moment of the publication (`Metadata`), and `Entries` |
//! | entry chunk | dag-json, SHA-256 | the source's head as a multihash |
//! | signed head | none: it changes | the Cid of the newest advertisement, the key, and its signature |
//!
//! Keys of objects are in the order of their bytes, as DAG-JSON wants it. The key is Ed25519; the network's peer id
//! follows from it.
//!
//! Spec: ipni/specs, IPNI.md and IPNI_HTTP_PROVIDER.md; go-libipni, `ingest/schema` and `dagsync/ipnisync/head`;
//! libp2p/specs, RFC 2 "signed envelopes" and `peer-ids`; ipld/specs, DAG-JSON.

use super::announcement::place_of;
use super::announcer::AnnouncerKey;
use super::timestamp::Timestamp;
use canister_protocol::Uri;
use data_encoding::{BASE32_NOPAD, BASE64_NOPAD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What heads are signed for: the topic of IPNI's main network, which its readers don't compare.
const TOPIC: &str = "/indexer/ingest/mainnet";
/// What signatures of advertisements are for.
pub(super) const DOMAIN: &str = "indexer";
pub(super) const PAYLOAD_TYPE: &str = "/indexer/ingest/adSignature";
/// A number of the range for private use, as a varint: what follows it in `Metadata` is Canister's own.
const METADATA: [u8; 4] = [0x80, 0x80, 0xc0, 0x01];
/// Before an Ed25519 key in the protobuf that libp2p has of it.
const ED25519: [u8; 4] = [8, 1, 18, 32];
/// What is before a SHA-256 in a Cid of a block in DAG-JSON, and in a multihash.
const DAG_JSON: [u8; 5] = [1, 0xa9, 0x02, 0x12, 0x20];
pub(super) const SHA256: [u8; 2] = [0x12, 0x20];

/// The key that a network publishes by.
pub struct PublisherKey {
    pair: Ed25519KeyPair,
    id: String,
}

/// What an advertisement is of: a publication.
#[derive(Debug, Clone)]
pub struct Advertised {
    pub number: u64,
    pub published_at: Timestamp,
    pub slug: String,
    pub uri: String,
    pub head: String,
}

/// Bytes and their Cid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub cid: String,
    pub text: String,
}

impl PublisherKey {
    /// The key that these bytes are, in PKCS#8 as `openssl genpkey -algorithm ed25519` makes it.
    ///
    /// # Errors
    /// What to do, in a line.
    pub fn of_pkcs8(der: &[u8]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|cause| {
            format!("{cause}; use a key that `openssl genpkey -algorithm ed25519` made")
        })?;
        let key = pair.public_key().as_ref();
        let key = key.try_into().map_err(|_| "not a key of Ed25519".to_owned())?;
        let id = AnnouncerKey::Ed25519(key).id().to_string();
        Ok(Self { pair, id })
    }

    /// The network's peer id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn public(&self) -> Vec<u8> {
        [&ED25519, self.pair.public_key().as_ref()].concat()
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }

    /// The signed head that names an advertisement.
    pub fn head(&self, cid: &str) -> String {
        let signed = [&bytes_of(cid)[..], TOPIC.as_bytes()].concat();
        let head = json!({
            "head": link(cid),
            "pubkey": bytes(&self.public()),
            "sig": bytes(&self.sign(&signed)),
            "topic": TOPIC,
        });
        head.to_string()
    }

    /// The advertisement of a publication, behind the one of Cid `previous`; and the entry chunk that it names.
    ///
    /// # Errors
    /// The source's address is none.
    pub fn advertisement(
        &self,
        previous: Option<&str>,
        of: &Advertised,
    ) -> Result<(Block, Block), String> {
        let entries = entries(&of.head);
        let address = place_of(&Uri::parse(&of.uri)?);
        let about = json!({ "number": of.number, "at": of.published_at.millis() }).to_string();
        let metadata = [&METADATA, about.as_bytes()].concat();

        let mut hash = Sha256::new();
        hash.update(previous.map(bytes_of).unwrap_or_default());
        hash.update(bytes_of(&entries.cid));
        hash.update(&self.id);
        hash.update(&address);
        hash.update(&metadata);
        hash.update([0]);
        let payload = [&SHA256[..], &hash.finalize()].concat();
        let mut signed = Vec::new();
        for part in [DOMAIN.as_bytes(), PAYLOAD_TYPE.as_bytes(), &payload] {
            counted(&mut signed, part);
        }
        let mut envelope = Vec::new();
        let signature = self.sign(&signed);
        for (field, part) in
            [(1, &self.public()[..]), (2, PAYLOAD_TYPE.as_bytes()), (3, &payload), (5, &signature)]
        {
            envelope.push(field << 3 | 2);
            counted(&mut envelope, part);
        }

        let mut advertisement = json!({
            "Addresses": [address],
            "ContextID": bytes(of.slug.as_bytes()),
            "Entries": link(&entries.cid),
            "IsRm": false,
            "Metadata": bytes(&metadata),
            "Provider": self.id,
            "Signature": bytes(&envelope),
        });
        if let Some(previous) = previous {
            advertisement["PreviousID"] = link(previous);
        }
        Ok((block(&advertisement), entries))
    }
}

/// The entry chunk of a head.
pub fn entries(head: &str) -> Block {
    // A head's Cid is of version 1 and codec raw; what follows is its multihash.
    let head = bytes_of(head);
    block(&json!({ "Entries": [bytes(head.get(2..).unwrap_or_default())] }))
}

fn block(value: &Value) -> Block {
    let text = value.to_string();
    let cid = [&DAG_JSON[..], &Sha256::digest(&text)].concat();
    Block { cid: format!("b{}", BASE32_NOPAD.encode(&cid).to_ascii_lowercase()), text }
}

/// The bytes of a Cid in base32; none of anything else.
fn bytes_of(cid: &str) -> Vec<u8> {
    let digits = cid.strip_prefix('b').unwrap_or_default().to_ascii_uppercase();
    BASE32_NOPAD.decode(digits.as_bytes()).unwrap_or_default()
}

pub(super) fn link(cid: &str) -> Value {
    json!({ "/": cid })
}

pub(super) fn bytes(bytes: &[u8]) -> Value {
    json!({ "/": { "bytes": BASE64_NOPAD.encode(bytes) } })
}

/// A part behind its length, which is below 2^14.
pub(super) fn counted(to: &mut Vec<u8>, part: &[u8]) {
    match part.len() {
        short @ 0..=0x7f => to.push(short as u8),
        long => to.extend([(long & 0x7f) as u8 | 0x80, (long >> 7) as u8]),
    }
    to.extend(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8032 §7.1, test 1, in PKCS#8.
    fn key() -> PublisherKey {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let der = format!("302e020100300506032b657004220420{seed}");
        PublisherKey::of_pkcs8(&data_encoding::HEXLOWER.decode(der.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn keys_of_two_blocks_are_in_order_and_the_second_names_the_first() {
        let key = key();
        let public = key.pair.public_key().as_ref().try_into().unwrap();
        assert_eq!(key.id().parse(), Ok(AnnouncerKey::Ed25519(public)));
        let of = |number| Advertised {
            number,
            published_at: Timestamp::from_millis(1_700_000_000_000),
            slug: "a".into(),
            uri: "https://repo.example/apt".into(),
            head: canister_protocol::Head::from_sha256([7; 32]).to_string(),
        };
        let (first, entries) = key.advertisement(None, &of(1)).unwrap();
        let (second, same) = key.advertisement(Some(&first.cid), &of(2)).unwrap();
        assert_eq!(entries, same);
        assert!(first.cid.starts_with("baguqeera") && first.cid != second.cid);
        for (block, names) in [
            (&first, "Addresses ContextID Entries IsRm Metadata Provider Signature"),
            (&second, "Addresses ContextID Entries IsRm Metadata PreviousID Provider Signature"),
        ] {
            let fields: serde_json::Map<String, Value> = serde_json::from_str(&block.text).unwrap();
            let written = names.split(' ').map(|name| block.text.find(&format!("\"{name}\":")));
            assert!(
                written.is_sorted() && fields.len() == names.split(' ').count(),
                "{}",
                block.text
            );
            assert!(fields["Metadata"]["/"]["bytes"].is_string());
        }
        let second: Value = serde_json::from_str(&second.text).unwrap();
        assert_eq!(second["PreviousID"]["/"], json!(first.cid));
        assert_eq!(second["Addresses"][0], "/dns/repo.example/tcp/443/https/http-path/apt");
        assert!(PublisherKey::of_pkcs8(b"x").is_err());
    }
}
