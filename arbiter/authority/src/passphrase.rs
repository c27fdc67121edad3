//! Keys encrypted at rest: PKCS#8 with PBES2 (scrypt, AES-256), which openssl reads and writes.

use super::error::CaError;
use super::folder::{FILE_BYTES_MAX, read};
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use rcgen::KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::path::Path;

/// The label of an encrypted key's PEM.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// Gives the passphrase of the key in a file, when that turns out to be encrypted.
pub type AskPassphrase<'a> = &'a dyn Fn(&Path) -> Result<String, CaError>;

/// For those who have none: an encrypted key is an error that says how to give one.
///
/// # Errors
/// Always.
pub fn none(path: &Path) -> Result<String, CaError> {
    Err(CaError::content(
        path,
        "the key is encrypted; use --passphrase-file, or CANISTER_CA_PASSPHRASE with its passphrase",
    ))
}

/// A key in PEM, encrypted if there is a passphrase.
pub(super) fn seal(key: &KeyPair, passphrase: Option<&str>) -> Result<String, CaError> {
    let Some(passphrase) = passphrase else {
        return Ok(key.serialize_pem());
    };
    let der = key.serialize_der();
    let sealed = PrivateKeyInfoRef::try_from(&*der)
        .map_err(|cause| cause.to_string())
        .and_then(|key| key.encrypt(passphrase).map_err(|cause| cause.to_string()))
        .and_then(|sealed| {
            let pem = sealed.to_pem(ENCRYPTED, LineEnding::LF);
            pem.map_err(|cause| cause.to_string())
        })
        .map_err(|cause| CaError::Refused(format!("encrypt a key: {cause}")))?;
    Ok(sealed.as_str().to_owned())
}

/// The key in a file, decrypted if need be.
pub(super) fn open(path: &Path, ask: AskPassphrase<'_>) -> Result<KeyPair, CaError> {
    let text = read(path, FILE_BYTES_MAX)?;
    let content = |cause: String| CaError::content(path, cause);
    if !text.contains(ENCRYPTED) {
        return KeyPair::from_pem(&text)
            .map_err(|cause| content(format!("no private key in PEM: {cause}")));
    }
    let (_, sealed) =
        SecretDocument::from_pem(&text).map_err(|cause| content(format!("broken PEM: {cause}")))?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes())
        .map_err(|cause| content(format!("no encrypted key: {cause}")))?;
    let key =
        sealed.decrypt(ask(path)?).map_err(|_| content("the passphrase is wrong".to_owned()))?;
    let der = PrivatePkcs8KeyDer::from(key.as_bytes());
    KeyPair::try_from(&der).map_err(|cause| content(format!("no key that can be used: {cause}")))
}
