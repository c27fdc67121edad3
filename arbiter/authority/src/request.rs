//! A signing request: whose key it asks for, and whether that key may be signed.

use super::error::CaError;
use super::folder::{FILE_BYTES_MAX, pem, read};
use canister_link::certificate::fingerprint;
use rcgen::SubjectPublicKeyInfo;
use std::path::Path;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as ParsedKey;

/// RSA keys that are signed, in bits: smaller are weak, larger make every handshake dear.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The least public exponent of such a key.
const RSA_EXPONENT_MIN: u64 = 65_537;
/// Longest name that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 4096;

/// A request whose own signature is right and whose key is strong enough.
pub struct SigningRequest {
    /// The name it asks for: its common name, if it has just one.
    pub name: Option<String>,
    /// Its key's kind and size, for people.
    pub kind: String,
    /// What it asks for besides, which is ignored: the kinds of extensions.
    pub ignored: Vec<String>,
    /// What is read out to tell this key from another.
    pub fingerprint: String,
    pub(super) key: SubjectPublicKeyInfo,
}

impl SigningRequest {
    /// Reads and judges the request in a file.
    ///
    /// # Errors
    /// [`CaError`]: unreadable, not a request, its own signature wrong, a weak key.
    pub fn read(path: &Path) -> Result<Self, CaError> {
        Self::from_pem(&read(path, FILE_BYTES_MAX)?, path)
    }

    /// Reads and judges a request in PEM. `path` is how it is called in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_pem(text: &str, path: &Path) -> Result<Self, CaError> {
        let content = |why: String| CaError::content(path, why);
        let der = pem("CERTIFICATE REQUEST", path, text)?;
        let (_, parsed) = X509CertificationRequest::from_der(&der)
            .map_err(|cause| content(format!("no signing request: {cause}")))?;
        let info = &parsed.certification_request_info;
        let kind = judge(&info.subject_pki).map_err(content)?;
        parsed.verify_signature().map_err(|_| {
            content("the request's own signature is wrong; make it anew".to_owned())
        })?;
        let raw = info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(raw).map_err(|cause| {
            content(format!("its key can't be used: {cause}; use ECDSA P-256 or RSA"))
        })?;
        let mut names = info.subject.iter_common_name();
        let name = names.next().and_then(|name| name.as_str().ok());
        let name = name.filter(|name| names.next().is_none() && name.len() <= NAME_BYTES_MAX);
        let asked = parsed.requested_extensions().into_iter().flatten();
        let ignored = asked.map(|extension| {
            // `SubjectAlternativeName(…)`: the word in front is enough.
            let text = format!("{extension:?}");
            let word = text.split(|it: char| !it.is_alphanumeric()).next();
            word.unwrap_or_default().to_owned()
        });
        Ok(Self {
            name: name.map(str::to_owned),
            kind,
            ignored: ignored.collect(),
            fingerprint: fingerprint(raw),
            key,
        })
    }
}

/// The kind of a key that may be signed; what is wrong with any other.
fn judge(key: &ParsedKey<'_>) -> Result<String, String> {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSAENCRYPTION
        && let Ok(PublicKey::RSA(rsa)) = key.parsed()
    {
        let bits = rsa.key_size();
        if bits < *RSA_BITS.start() {
            return Err(format!(
                "an RSA key of {bits} bits is too weak; use {} or more",
                RSA_BITS.start()
            ));
        }
        if bits > *RSA_BITS.end() {
            return Err(format!(
                "an RSA key of {bits} bits is too long; use {} or fewer",
                RSA_BITS.end()
            ));
        }
        let exponent = rsa.try_exponent().unwrap_or(0);
        if exponent < RSA_EXPONENT_MIN || exponent % 2 == 0 {
            return Err(format!(
                "an RSA key with the exponent {exponent} is weak; use {RSA_EXPONENT_MIN}"
            ));
        }
        return Ok(format!("RSA {bits}"));
    }
    if *algorithm == OID_SIG_ED25519 {
        return Ok("Ed25519".to_owned());
    }
    let curve = key.algorithm.parameters.as_ref();
    let curve = curve.and_then(|parameters| parameters.as_oid().ok());
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        for (known, name) in [(OID_EC_P256, "P-256"), (OID_NIST_EC_P384, "P-384")] {
            if curve.as_ref() == Some(&known) {
                return Ok(format!("ECDSA {name}"));
            }
        }
        let curve = curve.map_or_else(|| "none named".to_owned(), |oid| oid.to_id_string());
        return Err(format!(
            "an elliptic curve that isn't used here ({curve}); use P-256 or P-384"
        ));
    }
    Err(format!("a kind of key that isn't used here ({algorithm}); use ECDSA P-256 or RSA"))
}
