//! An authority's folder.
//!
//! ```text
//! ca.crt                  the root's certificate and the issuing one: for everyone
//! crl.pem                 what is revoked: for arbiters and database servers
//! root/root.key           the root's key: to be taken away
//! root/root.crt           its certificate
//! issuer/issuer.crt       the issuing certificate, signed by the root
//! issuer/issuer.key       its key, for daily use
//! issuer/root.crl         what the root has revoked; stands in crl.pem, too
//! issuer/register.json    what was issued and revoked
//! issuer/issued/SERIAL.crt    each certificate, as it was handed out
//! issuer/lock             held by whoever changes anything here
//! ```

use super::error::CaError;
use canister_link::{clock, durable};
use rustix::fs::Access;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file that is read as a request, certificate or key, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Largest register or revocation list that is read, in bytes: a hundred thousand certificates.
pub const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a second command waits for a first to end.
const LOCK_MAX: Duration = Duration::from_secs(10);
/// How often it looks whether it has.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// The right to change what is in the folder, until it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing it lets go")] File);

impl Folder {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The root's certificate, and behind it the issuing certificate: who has a whole chain at
    /// hand needs the root's alone, and whoever reads but the first of a peer's finds the other.
    pub fn certificates(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// The root's certificate, beside its key.
    pub fn root_certificate(&self) -> PathBuf {
        self.0.join("root/root.crt")
    }

    /// The root's key.
    pub fn root_key(&self) -> PathBuf {
        self.0.join("root/root.key")
    }

    /// What the root has revoked.
    pub fn root_revocations(&self) -> PathBuf {
        self.0.join("issuer/root.crl")
    }

    /// The issuing certificate.
    pub fn issuer_certificate(&self) -> PathBuf {
        self.0.join("issuer/issuer.crt")
    }

    /// The issuing certificate's key.
    pub fn issuer_key(&self) -> PathBuf {
        self.0.join("issuer/issuer.key")
    }

    /// What was issued and revoked.
    pub fn register(&self) -> PathBuf {
        self.0.join("issuer/register.json")
    }

    /// A certificate that was issued.
    pub fn issued(&self, serial: &str) -> PathBuf {
        self.0.join("issuer/issued").join(format!("{serial}.crt"))
    }

    /// What is revoked, as arbiters and database servers read it.
    pub fn revocations(&self) -> PathBuf {
        self.0.join("crl.pem")
    }

    /// Makes the folders that aren't there, keys' closed to others.
    ///
    /// # Errors
    /// [`CaError::File`].
    pub fn make(&self) -> Result<(), CaError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = |path: &Path, mode| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(path)
                .map_err(CaError::file("make folder", path))
        };
        made(&self.0, 0o755)?;
        made(&self.0.join("root"), 0o700)?;
        made(&self.0.join("issuer"), 0o700)?;
        made(&self.0.join("issuer/issued"), 0o700)
    }

    /// Whether what is to be written later can be: a folder that belongs to another, or that a
    /// service sees read-only, is told at once instead of when the first certificate is due.
    ///
    /// # Errors
    /// [`CaError::File`] naming the folder that can't be written to.
    pub fn writable(&self) -> Result<(), CaError> {
        let issuer = self.0.join("issuer");
        for path in [&self.0, &issuer, &issuer.join("issued")] {
            rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|cause| CaError::file("write to", path)(cause.into()))?;
        }
        Ok(())
    }

    /// Waits for its turn to change something.
    ///
    /// # Errors
    /// [`CaError::File`]; [`CaError::Refused`] if another takes too long.
    pub fn lock(&self) -> Result<Lock, CaError> {
        let path = self.0.join("issuer/lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(CaError::file("open", &path))?;
        let deadline = clock::now() + LOCK_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) if clock::now() < deadline => clock::sleep(LOCK_LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(CaError::Refused(format!(
                        "{}: another command is at work here; wait until it ends",
                        self.0.display()
                    )));
                }
                Err(TryLockError::Error(cause)) => {
                    return Err(CaError::file("lock", &path)(cause));
                }
            }
        }
    }
}

/// Reads a text of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<String, CaError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|opened| opened.take(limit).read_to_string(&mut text))
        .map_err(CaError::file("read", path))?;
    Ok(text)
}

/// The same; `None` if it isn't there.
pub(super) fn read_if_there(path: &Path, limit: u64) -> Result<Option<String>, CaError> {
    match read(path, limit) {
        Ok(text) => Ok(Some(text)),
        Err(CaError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}

/// Writes a file that isn't there yet, whole or not at all.
///
/// # Errors
/// [`CaError::File`], also if the file is there.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    durable::write_new(path, text.as_bytes(), mode).map_err(CaError::file("write new file", path))
}

/// Writes a file in place of what is there, whole or not at all.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    durable::replace(path, text.as_bytes(), mode).map_err(CaError::file("write", path))
}

/// The bytes of the first PEM block, which must be a `label`.
pub(super) fn pem(label: &str, path: &Path, text: &str) -> Result<Vec<u8>, CaError> {
    let wrong = |why: &str| {
        let why = format!("{why}; use a PEM file with BEGIN {label}");
        CaError::content(path, why)
    };
    let (_, block) =
        x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| wrong("not a PEM file"))?;
    // openssl has called requests by both names.
    if block.label != label && block.label != format!("NEW {label}") {
        return Err(wrong(&format!("it has BEGIN {}", block.label)));
    }
    Ok(block.contents)
}
