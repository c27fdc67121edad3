//! `canister-agent announce`: tells an arbiter that a source has a new head, under the name of the key that
//! the source names (docs/announcing.md).

use crate::fetch::{FetchClient, FetchConfig, FetchError, Fetcher, Progress};
use crate::throttle::Throttle;
use canister_link::clock;
use canister_protocol::{Head, Uri};
use data_encoding::BASE64;
use nanoserde::SerJson;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// The first line of what is signed; see `canister_arbiter::rules::announcer`.
const PURPOSE: &str = "canister-announce";

/// What is announced, to whom.
#[derive(Debug)]
pub struct AnnounceOrder<'a> {
    /// Slug or uri of the source.
    pub source: &'a str,
    /// The arbiter's public address; `/announce` is added where it has no path.
    pub to: &'a str,
    /// The private key in PEM (PKCS#8), Ed25519, ECDSA or RSA; none announces as a stranger.
    pub key: Option<&'a Path>,
    /// Its certificate in PEM, where the arbiter's authority gave one.
    pub certificate: Option<&'a Path>,
    /// InRelease, or Release where there is no InRelease: its bytes are the new head.
    pub release: Option<&'a Path>,
}

/// The announcement as it is posted. A text that is empty says nothing.
#[derive(SerJson)]
struct AnnounceBody {
    source: Option<String>,
    uri: Option<String>,
    #[nserde(rename = "Cid")]
    cid: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    signature: Option<String>,
    time: u64,
}

/// Sends it; returns what the arbiter says, and where it can be read what became of it.
///
/// # Errors
/// One line.
pub fn run(announced: &AnnounceOrder<'_>, config: &FetchConfig) -> Result<String, String> {
    let AnnounceOrder { source, to, key, certificate, release } = announced;
    let cid = match release {
        Some(path) => {
            let digest = ring::digest::digest(&ring::digest::SHA256, &read(path)?);
            let sha256 = digest.as_ref().try_into().map_err(|_| "no SHA-256".to_owned())?;
            Head::from_sha256(sha256).to_string()
        }
        None => String::new(),
    };
    let secs = clock::wall_millis() / 1000;
    let is_uri = source.contains("://");
    let mut body = AnnounceBody {
        source: (!is_uri).then(|| (*source).to_owned()),
        uri: is_uri.then(|| (*source).to_owned()),
        cid: Some(cid.clone()).filter(|cid| !cid.is_empty()),
        certificate: None,
        key: None,
        signature: None,
        time: secs,
    };
    if let Some(path) = key {
        let key = private(path)?;
        let text = format!("{PURPOSE}\n{source}\n{cid}\n{secs}\n");
        let signature = key.sign(text.as_bytes()).map_err(|cause| cause.to_string())?;
        body.signature = Some(BASE64.encode(&signature));
        match certificate {
            Some(path) => body.certificate = Some(text_of(path)?),
            None => body.key = Some(named(&key)),
        }
    } else if certificate.is_some() {
        return Err("--certificate: use --key, too, with the file of its private key".to_owned());
    }
    let url = Uri::parse(to)?;
    let url = if url.path().trim_matches('/').is_empty() {
        format!("{}/announce", url.server())
    } else {
        url.to_string()
    };
    let fetcher = Fetcher::new(
        FetchClient::new(config),
        Arc::default(),
        Arc::<Progress>::default(),
        Arc::new(Throttle::new(None)),
    )
    .with_port(Uri::parse(&url).ok().map(|url| url.port()));
    let failed = |cause: FetchError| format!("announce to {url}: {cause}");
    let answer = fetcher.tell(&url, &body.serialize_json(), ANSWER_BYTES_MAX).map_err(failed)?;
    let said = answer.text.trim();
    if !(200..300).contains(&answer.status) {
        return Err(format!("{url} answers {}: {said}", answer.status));
    }
    let fate = answer.location.map_or_else(String::new, |at| format!("; what becomes of it: {at}"));
    let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
    Ok(format!("announced {source}{said}{fate}\n"))
}

impl AnnounceOrder<'_> {
    /// The line by which a source names the key.
    ///
    /// # Errors
    /// One line.
    pub fn shown(&self) -> Result<String, String> {
        let key = self.key.ok_or("use --key with the file of the private key")?;
        Ok(format!("Canister-Announcer: {}\n", named(&private(key)?)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|cause| format!("read {}: {cause}", path.display()))
}

fn text_of(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?)
        .map_err(|_| format!("{}: no text; use a file in PEM", path.display()))
}

fn private(path: &Path) -> Result<KeyPair, String> {
    let pem = text_of(path)?;
    KeyPair::from_pem(&pem).map_err(|cause| {
        let path = path.display();
        format!("{path}: {cause}; use a key that openssl genpkey made, Ed25519, ECDSA or RSA")
    })
}

/// A key as a source names it.
fn named(key: &KeyPair) -> String {
    format!("spki:{}", BASE64.encode(&key.subject_public_key_info()))
}
