//! What an announcement says: that a source has a new head. Bytes in, a value out; whether anybody
//! acts on it is decided elsewhere.
//!
//! | form | looks like |
//! | --- | --- |
//! | IPNI announce message, JSON | `{"Cid":{"/":"bafk…"},"Addrs":["…"]}`; an address is a multiaddr's bytes in base64, or its text |
//! | IPNI announce message, CBOR | `[ Cid, [ bytes, … ], extra data ]`, perhaps with a fourth item |
//! | for people, JSON | `{"source":"slug"}` or `{"uri":"https://…"}`, with or without a Cid |
//! | the same with a suite | with `"suite"`, and where it isn't flat `"component"` and `"architecture"` |
//! | any of those in JSON, signed | with `"time"`, `"key"` or `"certificate"`, and `"signature"`, see [`announcer`] |
//! | an IPNI announce message, signed | the same as an object in JSON in its extra data; the key may be that of its peer id |
//!
//! Other extra data and keys that aren't known are ignored: an announcement is a hint, and nothing of it
//! is believed. Who is said to publish it (`OrigPeer`) is only passed on. Keys are taken in any case, as the senders' own decoder
//! does. Reading takes time linear in the body, at most [`BODY_BYTES_MAX`], and memory a small
//! multiple of it.
//!
//! Spec: ipni/specs, IPNI.md "Announce messages"; ipld/specs, DAG-CBOR and DAG-JSON.

mod multiaddr;

use self::multiaddr::WebPlace;

use crate::rules::announcer::{
    self, AnnouncerKey, KeyId, OPENPGP, SIGNATURE_BYTES_MAX, SignedBy, statement,
};
use canister_protocol::limits::{NAME_BYTES_MAX, SLUG_BYTES_MAX, URI_BYTES_MAX};
use canister_protocol::message::cut;
use canister_protocol::{Head, Uri};
use cid::{Cid, Version};
use data_encoding::{BASE32_NOPAD, BASE64};
use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Map, Value, json};
use std::fmt;

/// Longest announcement in bytes. The longest that makes sense has a few hundred.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most addresses of one announcement.
pub const ADDRESSES_MAX: usize = 16;
/// Longest Cid in bytes, in either form: a version, a codec and a multihash of 64 bytes have less.
const CID_BYTES_MAX: usize = 160;
/// Longest reason in bytes: reasons quote what is wrong.
const WHY_BYTES_MAX: usize = 256;

/// The header in which an arbiter says over how many arbiters an announcement came, and the most that it is passed
/// on over.
pub const HOPS_HEADER: &str = "Canister-Hops";
pub const HOPS_MAX: u8 = 4;
/// Longest name of who published it: of a peer of libp2p with a large key.
const PUBLISHER_BYTES_MAX: usize = 128;

/// How an announcement came here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Over how many arbiters.
    pub hops: u8,
    /// Who is said to have published it.
    pub from: Option<String>,
}

impl Passed {
    fn by(name: &str) -> Self {
        let is_name = !name.is_empty()
            && name.len() <= PUBLISHER_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Self { hops: 0, from: is_name.then(|| name.to_owned()) }
    }
}

/// What an announcement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// What is new, if that is said.
    pub news: Option<News>,
    pub of: Of,
    /// Where its Release is below the uri, if that is said: for who doesn't know the source.
    pub layout: Option<Layout>,
    /// Under which name, if it is signed.
    pub signed: Option<SignedBy>,
    pub passed: Passed,
}

/// Suite, and where it isn't flat, component and architecture, as a source list names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub suite: String,
    pub component: Option<String>,
    pub architecture: Option<String>,
}

/// The Cid of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Head(Head),
    /// Of something else, an advertisement for instance, as text. It can only be told from another.
    Other(String),
}

/// Which source an announcement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// The one of this slug, as it was said.
    Slug(String),
    /// The ones at these addresses: at least one, at most [`ADDRESSES_MAX`], each once.
    Uris(Vec<Uri>),
}

impl Announcement {
    /// An announcement in two words: perhaps a Cid, and the slug or uri of a source.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn by_word(cid: Option<&str>, named: &str) -> Result<Self, String> {
        let of = match named.contains("://") {
            true => Of::Uris(vec![short(Uri::parse(named)?)?]),
            false => Of::Slug(slug_of(named)?),
        };
        let news = cid.map(cid_of_text).transpose()?;
        Ok(Self { news, of, layout: None, signed: None, passed: Passed::default() })
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(head) => head.fmt(f),
            Self::Other(cid) => f.write_str(cid),
        }
    }
}

/// Why a body is no announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is in no format that announcements have.
    MediaType(String),
    /// What is wrong with it, in one line.
    Malformed(String),
    /// It is longer than [`BODY_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MediaType(given) => {
                write!(f, "an announcement is application/json or application/cbor, not {given}")
            }
            Self::Malformed(why) => f.write_str(why),
            Self::TooLong => write!(f, "an announcement has at most {BODY_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Cbor,
}

/// The format that a media type names. `application/octet-stream` is what the Go sender says of its
/// CBOR. Where nothing is said, JSON is known by its bracket, which begins no announcement in CBOR.
fn format(media_type: Option<&str>, body: &[u8]) -> Result<Format, Unreadable> {
    let Some(given) = media_type else {
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        return Ok(match first {
            Some(b'{') => Format::Json,
            _ => Format::Cbor,
        });
    };
    let essence = given.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    match (essence.as_str(), suffix) {
        (_, "json") | ("application/vnd.ipld.dag-json", _) => Ok(Format::Json),
        (_, "cbor") | ("application/vnd.ipld.dag-cbor" | "application/octet-stream", _) => {
            Ok(Format::Cbor)
        }
        _ => Err(Unreadable::MediaType(format!("{:?}", cut(given, WHY_BYTES_MAX)))),
    }
}

/// Reads a body that came with this media type (the header Content-Type), if it came with one.
///
/// # Errors
/// [`Unreadable`], in bounded time whatever the body.
pub fn read(media_type: Option<&str>, body: &[u8]) -> Result<Announcement, Unreadable> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Unreadable::TooLong);
    }
    let read = match format(media_type, body)? {
        Format::Json => json(body),
        Format::Cbor => cbor(body),
    };
    read.map_err(|why| Unreadable::Malformed(cut(&why, WHY_BYTES_MAX).to_owned()))
}

fn json(body: &[u8]) -> Result<Announcement, String> {
    // serde_json nests 128 deep and no deeper.
    let value = serde_json::from_slice(body).map_err(|cause| format!("not JSON: {cause}"))?;
    let Value::Object(fields) = value else {
        return Err("an announcement in JSON is an object".to_owned());
    };
    let field = |name| field(&fields, name);
    let news = match field("Cid") {
        None => None,
        Some(Value::String(text)) => Some(cid_of_text(text)?),
        Some(Value::Object(link)) => match link.get("/") {
            Some(Value::String(text)) => Some(cid_of_text(text)?),
            _ => return Err("Cid is an object without a text \"/\"".to_owned()),
        },
        Some(_) => return Err("Cid is neither a text nor a link {\"/\": text}".to_owned()),
    };
    let mut publisher = None;
    let of = match (field("source"), field("uri"), field("Addrs")) {
        (Some(Value::String(slug)), None, None) => Of::Slug(slug_of(slug)?),
        (None, Some(Value::String(uri)), None) => Of::Uris(vec![short(Uri::parse(uri)?)?]),
        (None, None, Some(Value::Array(addresses))) => {
            let address = |value: &Value| match value {
                Value::String(text) if text.starts_with('/') => multiaddr::from_text(text),
                Value::String(text) => {
                    let bytes = BASE64
                        .decode(text.as_bytes())
                        .map_err(|cause| format!("neither a multiaddr nor base64: {cause}"))?;
                    multiaddr::from_bytes(&bytes)
                }
                _ => Err("it is not a text".to_owned()),
            };
            let (of, id) = uris(addresses.len(), addresses.iter().map(address))?;
            publisher = id;
            of
        }
        (None, None, None) => {
            return Err("it names no source: Addrs, source or uri would".to_owned());
        }
        (Some(_), None, None) | (None, Some(_), None) => {
            return Err("source and uri are texts".to_owned());
        }
        (None, None, Some(_)) => return Err("Addrs is not an array".to_owned()),
        _ => {
            return Err("it names a source twice: one of Addrs, source and uri would do".to_owned());
        }
    };
    let text = |name| match field(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= NAME_BYTES_MAX => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is no text of at most {NAME_BYTES_MAX} bytes")),
    };
    let (component, architecture) = (text("component")?, text("architecture")?);
    let layout = match text("suite")? {
        Some(suite) => Some(Layout { suite, component, architecture }),
        None if component.or(architecture).is_some() => {
            return Err("it says a component or an architecture, and no suite".to_owned());
        }
        None => None,
    };
    let first = || field("Addrs").and_then(Value::as_array)?.first();
    let named = field("source").or_else(|| field("uri")).or_else(first);
    let cid = field("Cid").and_then(|cid| cid.as_str().or_else(|| cid.get("/")?.as_str()));
    let about = (named.and_then(Value::as_str).unwrap_or_default(), cid.unwrap_or_default());
    let signed = match (field("signature"), field("ExtraData").and_then(Value::as_str)) {
        (None, Some(extra)) => {
            let bytes = BASE64.decode(extra.as_bytes()).unwrap_or_default();
            signed(&proof(&bytes), about, publisher.as_deref())?
        }
        _ => signed(&fields, about, publisher.as_deref())?,
    };
    let passed = Passed::by(field("OrigPeer").and_then(Value::as_str).unwrap_or_default());
    Ok(Announcement { news, of, layout, signed, passed })
}

/// What extra data has in it of who signed: nothing of what isn't an object in JSON.
fn proof(extra: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(extra).unwrap_or_default()
}

/// Who signed an announcement of `named` and `cid`, both as they are written, if anybody did: fields key or
/// certificate, time and signature. `publisher` is the peer id in its address.
fn signed(
    fields: &Map<String, Value>,
    (named, cid): (&str, &str),
    publisher: Option<&str>,
) -> Result<Option<SignedBy>, String> {
    let text = |name| field(fields, name).and_then(Value::as_str);
    let Some(signature) = field(fields, "signature") else {
        return Ok(None);
    };
    let signature = signature.as_str().filter(|text| text.len() <= SIGNATURE_BYTES_MAX);
    let signature = signature.and_then(|text| {
        if text.starts_with(OPENPGP) {
            return Some(text.as_bytes().to_vec());
        }
        // OpenSSH's has lines and words around it.
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        let bare = lines.collect::<String>().replace(char::is_whitespace, "");
        BASE64.decode(bare.as_bytes()).ok()
    });
    let signature = signature.ok_or("signature is neither base64 nor OpenPGP's, as a text")?;
    let (chain, key) = match (text("certificate"), text("key").or(publisher)) {
        (Some(pem), _) => announcer::chain(pem)?,
        (None, Some(key)) => (Vec::new(), key.parse::<AnnouncerKey>()?),
        (None, None) => return Err("it is signed, and says no key".to_owned()),
    };
    if publisher.is_some_and(|id| KeyId::named(id) != Some(key.id())) {
        return Err("its key isn't that of the peer id in its address".to_owned());
    }
    let secs = field(fields, "time").and_then(Value::as_u64);
    let secs = secs.ok_or("it is signed, and has no time in seconds since 1970")?;
    Ok(Some(SignedBy { key, chain, text: statement(named, cid, secs), secs, signature }))
}

/// A field by its name in any case; one that is null is none.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_it = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
    let (_, value) = fields.iter().find(is_it)?;
    (!value.is_null()).then_some(value)
}

fn slug_of(text: &str) -> Result<String, String> {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if text.is_empty() || text.len() > SLUG_BYTES_MAX || !text.bytes().all(is_byte) {
        return Err(format!(
            "{:?} is not a slug: 1 to {SLUG_BYTES_MAX} of A-Z a-z 0-9 . _ + -",
            cut(text, SLUG_BYTES_MAX)
        ));
    }
    Ok(text.to_owned())
}

fn cbor(body: &[u8]) -> Result<Announcement, String> {
    let bad = |cause: minicbor::decode::Error| format!("not an announcement in CBOR: {cause}");
    let mut decoder = Decoder::new(body);
    let Some(items @ 3..=4) = decoder.array().map_err(bad)? else {
        return Err("an announcement in CBOR is an array of 3 or 4".to_owned());
    };
    if decoder.tag().map_err(bad)?.as_u64() != 42 {
        return Err("its first item is not a link".to_owned());
    }
    let link = decoder.bytes().map_err(bad)?;
    let link = link.strip_prefix(&[0]).ok_or("its link doesn't begin with a zero")?;
    let news = Some(cid_of_bytes(link)?);
    let count = match decoder.array().map_err(bad)? {
        Some(count) if count <= ADDRESSES_MAX as u64 => count,
        Some(_) => return Err(too_many()),
        None => return Err("its addresses have no count".to_owned()),
    };
    let mut addresses = Vec::new();
    for _ in 0..count {
        addresses.push(decoder.bytes().map_err(bad)?);
    }
    let extra = match decoder.datatype().map_err(bad)? {
        Type::Null => decoder.null().map(|()| &[][..]),
        _ => decoder.bytes(),
    };
    let proof = proof(extra.map_err(bad)?);
    let passed = match items {
        4 => Passed::by(decoder.str().map_err(bad)?),
        _ => Passed::default(),
    };
    if decoder.position() != body.len() {
        return Err("something follows the announcement".to_owned());
    }
    let each = addresses.iter().map(|bytes| multiaddr::from_bytes(bytes));
    let (of, publisher) = uris(addresses.len(), each)?;
    let named = addresses.first().map(|bytes| BASE64.encode(bytes)).unwrap_or_default();
    let cid = news.as_ref().map(News::to_string).unwrap_or_default();
    let signed = signed(&proof, (&named, &cid), publisher.as_deref())?;
    Ok(Announcement { news, of, layout: None, signed, passed })
}

/// Writes one as IPNI's senders do in JSON.
pub fn written(cid: &str, uris: &[Uri], from: &str) -> String {
    let addresses = uris.iter().map(|uri| BASE64.encode(&multiaddr::to_bytes(uri)));
    let addresses: Vec<String> = addresses.collect();
    json!({ "Cid": { "/": cid }, "Addrs": addresses, "ExtraData": null, "OrigPeer": from })
        .to_string()
}

/// The web address that a multiaddr's text names.
///
/// # Errors
/// Why it names none, in a line.
pub fn web_address(multiaddr: &str) -> Result<Uri, String> {
    multiaddr::from_text(multiaddr).map(|web| web.uri)
}

/// A web address as a multiaddr's text.
pub fn place_of(uri: &Uri) -> String {
    multiaddr::to_text(uri)
}

fn too_many() -> String {
    format!("it has more than {ADDRESSES_MAX} addresses")
}

/// The addresses that are a web server's, each once. The others are of transports that Canister
/// doesn't speak and others do; only if there is no other is that an error.
///
/// With who publishes at the first of them, where that is said.
fn uris(
    count: usize,
    addresses: impl Iterator<Item = Result<WebPlace, String>>,
) -> Result<(Of, Option<String>), String> {
    if count > ADDRESSES_MAX {
        return Err(too_many());
    }
    let mut uris: Vec<Uri> = Vec::new();
    let (mut first, mut publisher) = (None, None);
    for address in addresses {
        match address.and_then(|web| Ok(WebPlace { uri: short(web.uri)?, ..web })) {
            Ok(web) if uris.iter().any(|known| known.is_same_place(&web.uri)) => {}
            Ok(web) => {
                publisher = publisher.or(web.publisher);
                uris.push(web.uri);
            }
            Err(why) => {
                first.get_or_insert(why);
            }
        }
    }
    match (uris.is_empty(), first) {
        (false, _) => Ok((Of::Uris(uris), publisher)),
        (true, Some(why)) => Err(format!("none of its addresses can be used: {why}")),
        (true, None) => Err("it has no addresses".to_owned()),
    }
}

/// An address that a source can have: what is written in a byte may be asked for in three.
fn short(uri: Uri) -> Result<Uri, String> {
    match uri.to_string().len() {
        0..=URI_BYTES_MAX => Ok(uri),
        bytes => {
            Err(format!("an address of {bytes} bytes as it is asked for, at most {URI_BYTES_MAX}"))
        }
    }
}

/// A Cid's bytes: of version 1 in base32 in lower case, as the tools of IPNI write it, of version 0 in base58.
pub(super) fn cid_bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > CID_BYTES_MAX {
        return None;
    }
    match text.strip_prefix('b') {
        Some(digits) if !digits.bytes().any(|digit| digit.is_ascii_uppercase()) => {
            BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes()).ok()
        }
        Some(_) => None,
        None if text.len() == 46 && text.starts_with("Qm") => bs58::decode(text).into_vec().ok(),
        None => None,
    }
}

/// A Cid's text, by its bytes.
pub(super) fn cid_text(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > CID_BYTES_MAX {
        return Err(format!("a Cid of {} bytes, at most {CID_BYTES_MAX}", bytes.len()));
    }
    let cid = Cid::try_from(bytes).map_err(|cause| format!("not a Cid: {cause}"))?;
    if cid.encoded_len() != bytes.len() {
        return Err("something is behind a Cid".to_owned());
    }
    Ok(match cid.version() {
        Version::V0 => bs58::encode(bytes).into_string(),
        Version::V1 => format!("b{}", BASE32_NOPAD.encode(bytes).to_ascii_lowercase()),
    })
}

fn cid_of_text(text: &str) -> Result<News, String> {
    let other = || format!("{:?} is not a Cid in base32", cut(text, CID_BYTES_MAX));
    cid_of_bytes(&cid_bytes(text).ok_or_else(other)?)
}

fn cid_of_bytes(bytes: &[u8]) -> Result<News, String> {
    let text = cid_text(bytes)?;
    Ok(match Head::parse(&text) {
        Some(head) => News::Head(head),
        None => News::Other(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    /// A Cid of an advertisement: codec dag-json, SHA-256 of 32 bytes `0x11`.
    const ADVERTISEMENT: &str = "baguqeeraceirceirceirceirceirceirceirceirceirceirceirceirceiq";

    fn hex(digits: &str) -> Vec<u8> {
        let digits = digits.replace([' ', '\n'], "");
        data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    /// The worked bytes of a sender written in Go: `/dns4/repo.example/tcp/443/https/p2p/…`, no
    /// extra data.
    fn worked(items: u8) -> Vec<u8> {
        let mut bytes = vec![0x80 | items];
        bytes.extend(hex("d82a 5826 00 01a90212 20"));
        bytes.extend([0x11; 32]);
        bytes.extend(hex("81 583c 36 0c 7265706f2e6578616d706c65 06 01bb bb03"));
        bytes.extend(hex("a503 26 00 24 08011220"));
        bytes.extend([0x22; 32]);
        bytes.push(0x40);
        bytes
    }

    #[test]
    fn extra_data_may_bring_the_proof_of_who_publishes() {
        use ring::signature::{Ed25519KeyPair, KeyPair as _};
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let signed = |text: String, publisher: &[u8]| {
            let signature = BASE64.encode(pair.sign(text.as_bytes()).as_ref());
            let proof = format!("{{\"time\":7,\"signature\":\"{signature}\"}}");
            let mut body = worked(3);
            body.truncate(body.len() - 33);
            body.extend(publisher);
            body.extend([0x58, proof.len() as u8]);
            body.extend(proof.as_bytes());
            read(Some("application/cbor"), &body).unwrap().signed.unwrap()
        };
        let publisher = pair.public_key().as_ref();
        let address = BASE64.encode(
            &[
                &hex("36 0c 7265706f2e6578616d706c65 06 01bb bb03 a503 26 00 24 08011220"),
                publisher,
            ]
            .concat(),
        );
        let text = statement(&address, ADVERTISEMENT, 7);
        let good = signed(text.clone(), publisher);
        assert_eq!((&good.text, good.secs), (&text, 7));
        assert!(good.key.signed(&good.text, &good.signature, 7));
        // Whoever's id it is alone.
        let other = signed(text, &[0x22; 32]);
        assert!(!other.key.signed(&other.text, &other.signature, 7));
    }

    fn uris(texts: &[&str]) -> Of {
        Of::Uris(texts.iter().map(|text| Uri::parse(text).unwrap()).collect())
    }

    fn why(media_type: &str, body: &[u8]) -> String {
        read(Some(media_type), body).unwrap_err().to_string()
    }

    #[test]
    fn an_address_that_grows_by_being_encoded_is_refused() {
        let grown = |blanks: usize| format!("https://repo.example/{}a", "|".repeat(blanks));
        let said = |uri: &str| json!({ "uri": uri }).to_string();
        let named = |uri: &str| json!({ "Addrs": [multiaddr::to_text(&Uri::parse(uri).unwrap())] });
        let fits = (URI_BYTES_MAX - "https://repo.example/a".len()) / 3;
        for body in [said(&grown(fits)), named(&grown(fits)).to_string()] {
            assert!(read(None, body.as_bytes()).is_ok(), "{body}");
        }
        for body in [said(&grown(fits + 1)), named(&grown(fits + 1)).to_string()] {
            let why = why("application/json", body.as_bytes());
            assert!(why.contains("bytes as it is asked for, at most 2048"), "{why}");
        }
        let why = Announcement::by_word(None, &grown(fits + 1)).unwrap_err();
        assert!(why.contains("at most 2048"), "{why}");
    }

    #[test]
    fn the_worked_bytes_are_read() {
        let announcement = Announcement {
            news: Some(News::Other(ADVERTISEMENT.to_owned())),
            of: uris(&["https://repo.example"]),
            layout: None,
            signed: None,
            passed: Passed::default(),
        };
        let named = Announcement { passed: Passed::by("abc"), ..announcement.clone() };
        let three = worked(3);
        let mut four = worked(4);
        four.extend(hex("63 616263"));
        for media_type in [
            None,
            Some("application/octet-stream"),
            Some("application/cbor"),
            Some("Application/vnd.ipld.dag-cbor; x=y"),
        ] {
            assert_eq!(read(media_type, &three), Ok(announcement.clone()));
            assert_eq!(read(media_type, &four), Ok(named.clone()));
        }
        // The same as a sender's JSON.
        let address = BASE64.encode(&three[46..106]);
        let json = format!(
            r#"{{"Cid":{{"/":"{ADVERTISEMENT}"}},"Addrs":["{address}"],"ExtraData":null,"OrigPeer":""}}"#
        );
        for media_type in [
            None,
            Some("application/json"),
            Some("application/json; charset=utf-8"),
            Some("APPLICATION/LD+JSON"),
            Some("text/json"),
            Some("application/vnd.ipld.dag-json"),
        ] {
            assert_eq!(read(media_type, json.as_bytes()), Ok(announcement.clone()));
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for name in ["", "12D3KooWBckWLKiYoUX4k3HTrbrSe4DD5SPNTKgP6vKTva1NaRkJ"] {
            let places =
                ["https://repo.example/apt%20x", "http://192.0.2.7:8080", "http://[2001:db8::1]"];
            let Of::Uris(places) = uris(&places) else { unreachable!() };
            let body = written(HEAD, &places, name);
            let announcement = Announcement {
                news: Some(News::Head(Head::parse(HEAD).unwrap())),
                of: Of::Uris(places),
                layout: None,
                signed: None,
                passed: Passed::by(name),
            };
            assert_eq!(read(Some("application/json"), body.as_bytes()), Ok(announcement));
        }
        for odd in ["a b", "é", &"a".repeat(PUBLISHER_BYTES_MAX + 1)] {
            assert_eq!(Passed::by(odd).from, None);
        }
    }

    #[test]
    fn a_head_is_told_from_other_cids() {
        let head = Head::parse(HEAD).unwrap();
        for body in [
            format!(r#"{{"Cid":{{"/":"{HEAD}"}},"Addrs":["/dns/h/https"]}}"#),
            format!(r#"{{"cid":"{HEAD}","ADDRS":["/dns/h/https","/dns4/h/tcp/443/https"]}}"#),
            format!(r#"{{"CID":"{HEAD}","Uri":"HTTPS://H:443"}}"#),
        ] {
            let read = read(Some("application/json"), body.as_bytes()).unwrap();
            assert_eq!(read.news, Some(News::Head(head)), "{body}");
            assert_eq!(read.of, uris(&["https://h"]), "{body}");
        }
    }

    #[test]
    fn people_name_a_slug_or_a_uri() {
        let plain = |body: &str| read(Some("application/json"), body.as_bytes()).unwrap();
        assert_eq!(
            plain(r#" {"source":"chariz"} "#),
            Announcement {
                news: None,
                of: Of::Slug("chariz".to_owned()),
                layout: None,
                signed: None,
                passed: Passed::default()
            }
        );
        assert_eq!(
            plain(r#"{"uri":" https://repo.example./apt","Cid":null,"note":[1,{}]}"#).of,
            uris(&["https://repo.example/apt"])
        );
    }

    #[test]
    fn addresses_of_other_transports_are_passed_over() {
        let body = format!(
            r#"{{"Cid":{{"/":"{HEAD}"}},"Addrs":["/ip4/192.0.2.7/tcp/24001/p2p/x","/dns/h/https"]}}"#
        );
        let read = read(None, body.as_bytes()).unwrap();
        assert_eq!(read.of, uris(&["https://h"]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = format!(r#"{{"Addrs":[{}"/dns/h/https"]}}"#, r#""/dns/h/https","#.repeat(16));
        for (body, text) in [
            ("", "not JSON: EOF"),
            ("{", "not JSON: EOF"),
            ("[]", "an announcement in JSON is an object"),
            ("{}", "it names no source"),
            (r#"{"source":7}"#, "source and uri are texts"),
            (r#"{"source":"a","uri":"https://h"}"#, "it names a source twice"),
            (r#"{"source":"a/b"}"#, "\"a/b\" is not a slug"),
            (r#"{"uri":"ftp://h"}"#, "\"ftp://h\" is not an http"),
            (r#"{"Addrs":[]}"#, "it has no addresses"),
            (r#"{"Addrs":{}}"#, "Addrs is not an array"),
            (r#"{"Addrs":[1]}"#, "none of its addresses can be used: it is not a text"),
            (r#"{"Addrs":["?"]}"#, "none of its addresses can be used: neither a multiaddr"),
            (
                r#"{"Addrs":["/ip4/192.0.2.7/tcp/1/p2p/x"]}"#,
                "none of its addresses can be used: the multiaddr names neither",
            ),
            (many.as_str(), "it has more than 16 addresses"),
            (r#"{"Cid":1,"source":"a"}"#, "Cid is neither"),
            (r#"{"Cid":{},"source":"a"}"#, "Cid is an object without"),
            (r#"{"Cid":"Qmf412jQZ","source":"a"}"#, "\"Qmf412jQZ\" is not a Cid"),
            (r#"{"Cid":"b","source":"a"}"#, "not a Cid"),
        ] {
            let said = why("application/json", body.as_bytes());
            assert!(said.starts_with(text), "{body}: {said}");
        }
        assert_eq!(
            why("text/html", b"{}"),
            "an announcement is application/json or application/cbor, not \"text/html\""
        );
    }

    #[test]
    fn cut_off_and_lengthened_bytes_are_refused() {
        let whole = worked(3);
        for end in 0..whole.len() {
            assert!(read(Some("application/cbor"), &whole[..end]).is_err(), "{end}");
        }
        let longer = [&whole[..], &[0]].concat();
        let said = why("application/cbor", &longer);
        assert_eq!(said, "something follows the announcement");
        // Lengths that are longer than the body, and ones without an end.
        for (body, text) in [
            ("9f", "an announcement in CBOR is an array of 3 or 4"),
            ("9bffffffffffffffff", "an announcement in CBOR is an array of 3 or 4"),
            ("83 d82a 5bffffffffffffffff", "not an announcement in CBOR"),
            ("83 d82b 41 00", "its first item is not a link"),
            ("83 d82a 41 01", "its link doesn't begin with a zero"),
            ("83 d82a 41 00", "not a Cid"),
            ("a1 6143 6144", "not an announcement in CBOR"),
        ] {
            let said = why("application/cbor", &hex(body));
            assert!(said.starts_with(text), "{body}: {said}");
        }
    }

    #[test]
    fn a_huge_count_of_addresses_reserves_nothing() {
        let mut bytes = worked(3);
        bytes.truncate(43);
        bytes.extend(hex("9bffffffffffffffff"));
        assert_eq!(why("application/cbor", &bytes), "it has more than 16 addresses");
    }

    #[test]
    fn deep_and_long_bodies_are_refused() {
        for (open, media_type) in [
            ("[", "application/json"),
            ("{\"a\":", "application/json"),
            ("\u{1}", "application/cbor"),
        ] {
            let deep = open.repeat(BODY_BYTES_MAX / open.len());
            assert!(read(Some(media_type), deep.as_bytes()).is_err(), "{open}");
        }
        let deep = [0x83].repeat(BODY_BYTES_MAX);
        assert!(read(Some("application/cbor"), &deep).is_err());
        let long = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(read(None, &long), Err(Unreadable::TooLong));
    }

    #[test]
    fn reasons_stay_short() {
        let body = format!(r#"{{"uri":"{}"}}"#, "x".repeat(60_000));
        assert!(why("application/json", body.as_bytes()).len() <= WHY_BYTES_MAX);
        assert!(why(&"x".repeat(60_000), b"").len() <= 2 * WHY_BYTES_MAX);
    }
}
