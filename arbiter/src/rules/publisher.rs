//! Reads what others publish by IPNI: a signed head, and the advertisement that it names. A function of bytes;
//! nothing that isn't signed is believed, and a block is what its Cid says or nothing.
//!
//! | what | may be |
//! | --- | --- |
//! | a block | DAG-JSON or DAG-CBOR, named by its SHA-256 or BLAKE2b-256 |
//! | base64 in DAG-JSON | with or without the padding that the specification forbids and publishers write |
//! | a key | Ed25519, RSA of 2048 bits or more, ECDSA P-256, secp256k1, in libp2p's protobuf |
//! | `Provider` | a peer id in base58, or as a Cid; it need not be the signer's |
//!
//! Of extended providers nothing is read: their signatures are not what a head is believed by.
//!
//! Spec: ipni/specs, IPNI.md and IPNI_HTTP_PROVIDER.md; libp2p/specs, RFC 2 "signed envelopes" and `peer-ids`;
//! ipld/specs, DAG-JSON and DAG-CBOR.

use super::advertisement::{DOMAIN, PAYLOAD_TYPE, SHA256, bytes, counted, link};
use super::announcement::{cid_bytes, cid_text};
use super::announcer::{AnnouncerKey, KeyId};
use super::schedule::DAY;
use super::timestamp::Timestamp;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use canister_protocol::limits::SIGNED_HEAD_BYTES_MAX;
use cid::Cid;
use data_encoding::BASE64_NOPAD;
use minicbor::Decoder;
use minicbor::data::{Tag, Type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Longest advertisement in bytes that is read: one of many addresses, of an RSA key, has 4,000.
pub const ADVERTISEMENT_BYTES_MAX: usize = 16 * 1024;
/// How deep its values lie within each other at most: extended providers' do 4 deep.
const DEPTH_MAX: usize = 8;
/// DAG-JSON and DAG-CBOR, in a Cid; SHA-256 and BLAKE2b-256, in a multihash.
const DAG_JSON: u64 = 0x0129;
const DAG_CBOR: u64 = 0x71;
const SHA2_256: u64 = 0x12;
const BLAKE2B_256: u64 = 0xb220;
/// A link, in CBOR.
const LINK: u64 = 42;

/// Most heads that are remembered, so that an older one is known again.
const HEADS_MAX: usize = 16;

/// A publisher that the operator gave for a source, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenPublisher {
    pub uri: String,
    pub key: KeyId,
}

/// What is remembered of the publisher that a source's owner names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Cids of the heads that were taken from it, newest first.
    heads: Vec<String>,
    /// Until when it isn't asked, because it failed.
    off_until: Option<Timestamp>,
}

impl Followed {
    /// The head that was taken last, empty for none, where the publisher is to be asked now. It is not where nobody
    /// asked the source itself for a day: a publisher that is dead, or lies, hides news for no longer.
    pub fn asked(&self, source_asked_at: Option<Timestamp>, now: Timestamp) -> Option<&str> {
        let is_recent = source_asked_at.is_some_and(|at| now.since(at) < DAY);
        let is_off = self.off_until.is_some_and(|until| until > now && until.since(now) <= DAY);
        (is_recent && !is_off).then(|| self.heads.first().map_or("", String::as_str))
    }

    /// Takes what it answered, where the source `was_read` or need not be.
    ///
    /// # Errors
    /// Why that is not to be believed, in a line. Then it is not asked for a day.
    pub fn take(
        &mut self,
        answer: &str,
        names: impl Fn(&KeyId) -> bool,
        was_read: bool,
        now: Timestamp,
    ) -> Result<(), String> {
        let taken = head(answer.as_bytes()).and_then(|found| {
            if !names(&found.signer) {
                return Err(format!("{} signed it, whom the source doesn't name", found.signer));
            }
            match self.heads.iter().position(|known| *known == found.cid) {
                Some(0) => {}
                Some(_) => return Err(format!("it is an older one: {}", found.cid)),
                None if was_read => {
                    self.heads.insert(0, found.cid);
                    self.heads.truncate(HEADS_MAX);
                }
                None => {}
            }
            Ok(())
        });
        self.off_until = taken.is_err().then(|| now.plus(DAY));
        taken.map_err(|why| {
            format!("its publisher's head: {why}; the publisher isn't asked for a day")
        })
    }
}

/// What a signed head says, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Of the newest advertisement.
    pub cid: String,
    pub signer: KeyId,
}

/// What an advertisement says, as far as it is signed, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    pub previous: Option<String>,
    pub entries: String,
    pub addresses: Vec<String>,
    pub metadata: Vec<u8>,
    pub is_removal: bool,
    /// Its place in the order of all of its publisher, where it says one.
    pub sequence: Option<u64>,
    pub signer: KeyId,
}

/// Reads a signed head.
///
/// # Errors
/// What is wrong with it.
pub fn head(head: &[u8]) -> Result<SignedHead, String> {
    let fields = Fields::of(json(head, SIGNED_HEAD_BYTES_MAX)?)?;
    let (cid, topic) = (fields.link("head")?.ok_or("it has no head")?, fields.maybe_text("topic")?);
    let signed = [&cid, topic.unwrap_or_default().as_bytes()].concat();
    let signer = signed_by(&fields.bytes("pubkey")?, &signed, &fields.bytes("sig")?)?;
    Ok(SignedHead { cid: cid_text(&cid)?, signer })
}

/// Reads the advertisement of a Cid.
///
/// # Errors
/// What is wrong with it.
pub fn advertisement(cid: &str, block: &[u8]) -> Result<Advertisement, String> {
    let bytes = cid_bytes(cid).unwrap_or_default();
    let cid = Cid::try_from(&*bytes).map_err(|cause| format!("not a Cid: {cause}"))?;
    let digest: [u8; 32] = match cid.hash().code() {
        SHA2_256 => Sha256::digest(block).into(),
        BLAKE2B_256 => Blake2b::<U32>::digest(block).into(),
        other => return Err(format!("digests of kind {other:#x} aren't read")),
    };
    if cid.hash().digest() != digest {
        return Err("a block is not what its Cid says".to_owned());
    }
    let fields = match cid.codec() {
        DAG_JSON => json(block, ADVERTISEMENT_BYTES_MAX)?,
        DAG_CBOR => cbor(block)?,
        other => return Err(format!("blocks of codec {other:#x} aren't read")),
    };
    let fields = Fields::of(fields)?;
    let previous = fields.link("PreviousID")?;
    let entries = fields.link("Entries")?.ok_or("it has no Entries")?;
    let addresses = fields.0.get("Addresses").and_then(Value::as_array).into_iter().flatten();
    let addresses: Option<Vec<String>> =
        addresses.map(|it| it.as_str().map(str::to_owned)).collect();
    let addresses = addresses.ok_or("an address is no text")?;
    let is_removal = fields.0.get("IsRm").and_then(Value::as_bool).ok_or("it has no IsRm")?;
    let sequence = fields.0.get("SeqNum").map(|it| it.as_u64().ok_or("its SeqNum is no number"));
    let sequence = sequence.transpose()?;
    let metadata = fields.bytes("Metadata")?;

    let mut said = previous.clone().unwrap_or_default();
    said.extend(&entries);
    said.extend(fields.maybe_text("Provider")?.ok_or("it has no Provider")?.bytes());
    said.extend(addresses.iter().flat_map(|it| it.bytes()));
    said.extend(&metadata);
    said.push(is_removal.into());
    if let Some(mut left) = sequence {
        while left >= 0x80 {
            said.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        said.push(left as u8);
    }
    let payload = [&SHA256[..], &Sha256::digest(&said)].concat();
    let signer = sealed_by(&fields.bytes("Signature")?, &payload)?;
    let (previous, entries) = (previous.map(|it| cid_text(&it)).transpose()?, cid_text(&entries)?);
    Ok(Advertisement { previous, entries, addresses, metadata, is_removal, sequence, signer })
}

/// Who sealed a payload in an envelope.
fn sealed_by(envelope: &[u8], payload: &[u8]) -> Result<KeyId, String> {
    let [key, kind, sealed, signature] = message(envelope)?;
    if kind != PAYLOAD_TYPE.as_bytes() || sealed != payload {
        return Err("it is signed for something else".to_owned());
    }
    let mut signed = Vec::new();
    for part in [DOMAIN.as_bytes(), kind, sealed] {
        counted(&mut signed, part);
    }
    signed_by(key, &signed, signature)
}

fn signed_by(key: &[u8], signed: &[u8], signature: &[u8]) -> Result<KeyId, String> {
    let key = AnnouncerKey::of_protobuf(key).ok_or("a key that isn't read")?;
    if !key.signed_bytes(signed, signature) {
        return Err("its signature isn't its key's".to_owned());
    }
    Ok(key.id())
}

/// The fields 1, 2, 3 and 5 of an envelope, each there once: a protobuf of bytes alone.
fn message(mut rest: &[u8]) -> Result<[&[u8]; 4], String> {
    let mut fields: [Option<&[u8]>; 4] = [None; 4];
    let wrong = || "its envelope is none".to_owned();
    while let Some((&tag, after)) = rest.split_first() {
        let at = [0x0a, 0x12, 0x1a, 0x2a].iter().position(|known| *known == tag);
        let (mut length, mut used) = (0_usize, 0);
        for (place, byte) in after.iter().take(2).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * place);
            used = place + 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (field, after) = after[used..].split_at_checked(length).ok_or_else(wrong)?;
        if fields[at.ok_or_else(wrong)?].replace(field).is_some() {
            return Err(wrong());
        }
        rest = after;
    }
    let [Some(key), Some(kind), Some(payload), Some(signature)] = fields else {
        return Err(wrong());
    };
    Ok([key, kind, payload, signature])
}

/// A map of IPLD, written as DAG-JSON writes it.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err("it is no map".to_owned()),
        }
    }

    fn maybe_text(&self, name: &str) -> Result<Option<&str>, String> {
        let value = self.0.get(name);
        value.map(|it| it.as_str().ok_or_else(|| format!("{name} is no text"))).transpose()
    }

    /// The bytes of the Cid that it links to.
    fn link(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let cid = value.get("/").and_then(Value::as_str).and_then(cid_bytes);
        cid.map(Some).ok_or_else(|| format!("{name} is no link"))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.0.get(name).and_then(|value| value.get("/")?.get("bytes")?.as_str());
        let bytes = text.and_then(|text| {
            let bare = text.trim_end_matches('=');
            let is_whole = bare.len() == text.len() || text.len() % 4 == 0;
            is_whole.then(|| BASE64_NOPAD.decode(bare.as_bytes()).ok())?
        });
        bytes.ok_or_else(|| format!("{name} is no bytes"))
    }
}

fn json(text: &[u8], most: usize) -> Result<Value, String> {
    if text.len() > most {
        return Err(format!("it has more than {most} bytes"));
    }
    serde_json::from_slice(text).map_err(|cause| format!("not JSON: {cause}"))
}

/// What DAG-CBOR says, as DAG-JSON says it.
fn cbor(block: &[u8]) -> Result<Value, String> {
    if block.len() > ADVERTISEMENT_BYTES_MAX {
        return Err(format!("it has more than {ADVERTISEMENT_BYTES_MAX} bytes"));
    }
    let mut decoder = Decoder::new(block);
    let value =
        cbor_value(&mut decoder, DEPTH_MAX).map_err(|cause| format!("not CBOR: {cause}"))?;
    match decoder.position() == block.len() {
        true => Ok(value),
        false => Err("something is behind it".to_owned()),
    }
}

fn cbor_value(from: &mut Decoder<'_>, depth: usize) -> Result<Value, minicbor::decode::Error> {
    use minicbor::decode::Error;
    let below = || depth.checked_sub(1).ok_or_else(|| Error::message("too deep"));
    Ok(match from.datatype()? {
        Type::Bool => from.bool()?.into(),
        Type::Bytes => bytes(from.bytes()?),
        Type::Null => {
            from.null()?;
            Value::Null
        }
        Type::String => from.str()?.into(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => from.u64()?.into(),
        Type::Tag if from.tag()? == Tag::new(LINK) => {
            let cid = from.bytes()?.strip_prefix(&[0]).and_then(|cid| cid_text(cid).ok());
            link(&cid.ok_or_else(|| Error::message("a link without a Cid"))?)
        }
        Type::Array => {
            let (below, length) = (below()?, from.array()?.unwrap_or_default());
            (0..length).map(|_| cbor_value(from, below)).collect::<Result<Value, _>>()?
        }
        Type::Map => {
            let (below, length) = (below()?, from.map()?.unwrap_or_default());
            let mut fields = Map::new();
            for _ in 0..length {
                let name = from.str()?.to_owned();
                if fields.insert(name, cbor_value(from, below)?).is_some() {
                    return Err(Error::message("a field twice"));
                }
            }
            Value::Object(fields)
        }
        other => return Err(Error::message(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::advertisement::{Advertised, PublisherKey};
    use crate::rules::announcement::{self, News, Of};
    use crate::rules::timestamp::Timestamp;
    use data_encoding::BASE64;
    use std::collections::HashMap;

    macro_rules! data {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/data/ipni/", $name))
        };
    }

    /// A head and the blocks that it leads to, by Cid.
    struct Chain {
        signer: String,
        head: Vec<u8>,
        blocks: HashMap<String, Vec<u8>>,
    }

    impl Chain {
        /// Newest first.
        fn read(&self) -> Result<Vec<Advertisement>, String> {
            let found = head(&self.head)?;
            let (mut next, mut all) = (Some(found.cid), Vec::new());
            while let Some(cid) = next {
                let block = self.blocks.get(&cid).ok_or("a block that isn't there")?;
                let read = advertisement(&cid, block)?;
                if [&read.signer, &found.signer].map(ToString::to_string) != [&*self.signer; 2] {
                    return Err("another signer".to_owned());
                }
                next = read.previous.clone();
                all.push(read);
            }
            Ok(all)
        }

        /// With each byte of what is read changed in two ways; of the chain's last block and of its head.
        fn refuses_any_changed_byte(mut self) {
            self.read().unwrap();
            let cid = head(&self.head).unwrap().cid;
            for way in [1, 0x20] {
                for at in 0..self.head.len() {
                    self.head[at] ^= way;
                    assert!(self.read().is_err(), "head, byte {at} by {way}");
                    self.head[at] ^= way;
                }
                for at in 0..self.blocks[&cid].len() {
                    self.blocks.get_mut(&cid).unwrap()[at] ^= way;
                    assert!(self.read().is_err(), "{cid}, byte {at} by {way}");
                    self.blocks.get_mut(&cid).unwrap()[at] ^= way;
                }
            }
        }
    }

    fn made(file: &[u8]) -> Chain {
        let file: Value = serde_json::from_slice(file).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let blocks = file["blocks"].as_object().unwrap().iter();
        let block = |block: &Value| BASE64.decode(text(block).as_bytes()).unwrap();
        Chain {
            signer: text(&file["peer_id"]),
            head: text(&file["head"]).into_bytes(),
            blocks: blocks.map(|(cid, it)| (cid.clone(), block(it))).collect(),
        }
    }

    #[test]
    fn what_is_published_in_the_wild_is_read() {
        let found = head(data!("nft-storage.head")).unwrap();
        let id = "QmQzqxhK82kAmKvARFZSkUVS6fo9sySaiogAnx5EnZ6ZmC";
        assert_eq!(found.signer.to_string(), id);
        let read = advertisement(&found.cid, data!("nft-storage.json")).unwrap();
        assert_eq!((read.signer.to_string().as_str(), read.is_removal), (id, false));
        assert_eq!(read.addresses, ["/dns4/elastic.dag.house/tcp/443/wss"]);
        let previous = "baguqeeramj6uf7ie5brhk5ivzi7e4mccndzke6fizc4qaie6t73xrvspkxrq";
        assert_eq!(read.previous.as_deref(), Some(previous));

        let shown: Value = serde_json::from_slice(data!("index-provider.json")).unwrap();
        let found = head(shown["head"].to_string().as_bytes()).unwrap();
        assert_eq!(shown["cid"], *found.cid);
        let read = advertisement(&found.cid, data!("index-provider.cbor")).unwrap();
        let id = "12D3KooWGVwcVphAgpXjJWHoWyKZUrZsXyc34jeuUmG5nSRZyuQq";
        assert_eq!([&found.signer, &read.signer].map(ToString::to_string), [id; 2]);
        assert_eq!((read.previous, read.sequence), (None, None));
    }

    #[test]
    fn chains_by_others_encoders_are_read_and_refused_with_any_byte_changed() {
        for file in [
            &data!("chain-ed25519.json")[..],
            data!("chain-rsa.json"),
            data!("chain-secp256k1.json"),
            data!("chain-ecdsa.json"),
        ] {
            let chain = made(file);
            let read = chain.read().unwrap();
            let numbers: Vec<_> = read.iter().map(|it| it.sequence).collect();
            assert_eq!(numbers, [Some(400), Some(300), None, None]);
            assert!(read[0].is_removal && !read[1].is_removal && read[3].previous.is_none());
            assert_eq!(read[0].addresses.len(), 2);
            assert_eq!(
                KeyId::named(&chain.signer).map(|id| id.to_string()),
                Some(chain.signer.clone())
            );
            chain.refuses_any_changed_byte();
        }
        for (head, block) in [(&data!("nft-storage.head")[..], &data!("nft-storage.json")[..])] {
            let found = super::head(head).unwrap();
            let mut last = Chain {
                signer: found.signer.to_string(),
                head: head.to_vec(),
                blocks: [(found.cid, block.to_vec())].into(),
            };
            // Its chain is not here.
            assert_eq!(last.read().unwrap_err(), "a block that isn't there");
            for at in 0..last.head.len() {
                last.head[at] ^= 1;
                assert_ne!(last.read().unwrap_err(), "a block that isn't there", "byte {at}");
                last.head[at] ^= 1;
            }
        }
    }

    #[test]
    fn what_we_publish_is_read() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let der = format!("302e020100300506032b657004220420{seed}");
        let der = data_encoding::HEXLOWER.decode(der.as_bytes()).unwrap();
        let key = PublisherKey::of_pkcs8(&der).unwrap();
        let (mut blocks, mut newest) = (HashMap::new(), None);
        for number in 1..4 {
            let of = Advertised {
                number,
                published_at: Timestamp::from_millis(1_700_000_000_000),
                slug: "a".into(),
                uri: "https://repo.example/apt".into(),
                head: canister_protocol::Head::from_sha256([7; 32]).to_string(),
            };
            let (block, chunk) = key.advertisement(newest.as_deref(), &of).unwrap();
            let kept = [&block.cid, &block.text, &chunk.cid, &of.head].map(String::len);
            println!("{} bytes are kept of an advertisement", kept.iter().sum::<usize>());
            blocks.insert(block.cid.clone(), block.text.into_bytes());
            newest = Some(block.cid);
        }
        let head = key.head(&newest.unwrap()).into_bytes();
        let chain = Chain { signer: key.id().to_owned(), head, blocks };
        assert_eq!(chain.read().unwrap().len(), 3);
        chain.refuses_any_changed_byte();
    }

    #[test]
    fn a_head_is_taken_once_and_what_is_older_or_others_never() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let chain = made(data!("chain-ed25519.json"));
        let (answer, signer) = (String::from_utf8(chain.head).unwrap(), chain.signer);
        let cid = head(answer.as_bytes()).unwrap().cid;
        let names = |key: &KeyId| key.to_string() == signer;
        let mut followed = Followed::default();
        assert_eq!(followed.asked(None, now), None);
        assert_eq!(followed.asked(Some(now), now), Some(""));
        assert_eq!(followed.asked(Some(now), now.plus(DAY)), None);
        // The source couldn't be read.
        assert_eq!(followed.take(&answer, names, false, now), Ok(()));
        assert_eq!(followed.asked(Some(now), now), Some(""));
        assert_eq!(followed.take(&answer, names, true, now), Ok(()));
        assert_eq!(followed.asked(Some(now), now), Some(&*cid));
        let before = followed.clone();
        for (answer, names, why) in [
            (&*answer, false, "whom the source doesn't name"),
            (&answer.replace("mainnet", "devnet"), true, "isn't its key's"),
            ("", true, "not JSON"),
        ] {
            let why_not = followed.take(answer, |_: &KeyId| names, true, now).unwrap_err();
            assert!(why_not.contains(why), "{why_not}");
            assert_eq!((followed.asked(Some(now), now), &followed.heads), (None, &before.heads));
            let later = now.plus(DAY);
            assert_eq!(followed.asked(Some(later), later), Some(&*cid));
        }
        followed.heads.insert(0, "bnewer".to_owned());
        let why = followed.take(&answer, names, true, now).unwrap_err();
        assert!(why.contains("an older one"), "{why}");
    }

    #[test]
    fn others_announce_messages_are_read() {
        for message in [&data!("message.cbor")[..], data!("message.json")] {
            let read = announcement::read(None, message).unwrap();
            let cid = "QmPNHBy5h7f19yJDt7ip9TvmMRbqmYsa6aetkrsc1ghjLB";
            assert_eq!(read.news, Some(News::Other(cid.to_owned())));
            let Of::Uris(uris) = read.of else { panic!("{:?}", read.of) };
            let uris: Vec<String> = uris.iter().map(ToString::to_string).collect();
            assert_eq!(uris, ["https://repo.example"]);
            let from = "12D3KooWBckWLKiYoUX4k3HTrbrSe4DD5SPNTKgP6vKTva1NaRkJ";
            assert_eq!(read.passed.from.as_deref(), Some(from));
        }
    }
}
