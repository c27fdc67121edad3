//! A program's certificate and key, and the TLS settings they give: TLS 1.3 only, both sides
//! authenticated, the authority's certificate as the only root.

use crate::certificate::{self, Certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the three files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The program's certificate in PEM, then its issuers' up to the authority (which may be left
    /// out).
    pub certificate: PathBuf,
    /// The certificate's private key in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted.
    pub key: PathBuf,
    /// The authority's certificate in PEM; several are allowed while one replaces another, and the
    /// issuing certificates beside them.
    pub authority: PathBuf,
}

/// What was read from [`Files`].
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    certificate: Certificate,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    authorities: Vec<CertificateDer<'static>>,
}

/// Why a program has no identity. Displayed as one line that names the file and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file can't be read, or isn't what it should be.
    File {
        /// What the file should be.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key are no pair, or of a kind TLS can't use.
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        why: String,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { what, path, why } => write!(f, "read {what} {}: {why}", path.display()),
            Self::Pair { certificate, key, why } => {
                write!(f, "use {} with {}: {why}", certificate.display(), key.display())
            }
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// [`IdentityError`], for the operator.
    pub fn load(files: &Files) -> Result<Self, IdentityError> {
        let chain = certificates("certificate", "--certificate", &files.certificate)?;
        let key = read("private key", "--key", &files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| IdentityError::File {
            what: "private key",
            path: files.key.clone(),
            why: "it is damaged; use the file as it was made".to_owned(),
        })?;
        only_ours(&files.key).map_err(|why| IdentityError::File {
            what: "private key",
            path: files.key.clone(),
            why,
        })?;
        let wrong = |why: &str| IdentityError::File {
            what: "certificate",
            path: files.certificate.clone(),
            why: why.to_owned(),
        };
        let certificate = chain.first().and_then(|own| Certificate::read(own));
        let certificate = certificate.ok_or_else(|| wrong("it is damaged; copy it again"))?;
        let roots = roots(&files.authority);
        if roots.is_err() && chain.first().is_some_and(|own| certificate::is_authority(own)) {
            return Err(wrong("it is an authority's; is it swapped with ca.crt?"));
        }
        let (roots, mut authorities) = roots?;
        authorities.extend(chain.iter().skip(1).cloned());
        let identity = Self { chain, certificate, key, roots: Arc::new(roots), authorities };
        // Both programs find out at start, not at the first handshake.
        identity.client_config().map_err(|cause| IdentityError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            why: match cause {
                rustls::Error::InconsistentKeys(_) => {
                    "they are no pair; the key that the certificate was asked for with would \
                         work"
                        .to_owned()
                }
                other => other.to_string(),
            },
        })?;
        Ok(identity)
    }

    /// The identity that a new certificate gives: `chain` (PEM), for the new `key` (PEM).
    ///
    /// # Errors
    /// One line: it isn't the same name's, isn't for this key, doesn't end later, or isn't of the
    /// authority, at `now` in seconds since 1970.
    pub fn renewed(&self, chain: &str, key: &str, now: u64) -> Result<Self, String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|cause| format!("broken PEM: {cause}"))?;
        let certificate = chain.first().and_then(|own| Certificate::read(own));
        let certificate = certificate.ok_or("no certificate")?;
        if certificate.name != self.certificate.name {
            return Err("it is another peer's".to_owned());
        }
        if certificate.life.ends <= self.certificate.life.ends {
            return Err("it doesn't end later".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|it| it.to_string())?;
        let renewed = Self {
            chain,
            certificate,
            key,
            roots: Arc::clone(&self.roots),
            authorities: self.authorities.clone(),
        };
        renewed.signed_by_authority(now)?;
        renewed.client_config().map_err(|cause| cause.to_string())?;
        Ok(renewed)
    }

    /// What the program's own certificate says.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whether the authority signed the certificate for a peer, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn signed_by_authority(&self, now: u64) -> Result<(), String> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let (own, issuers) = self.chain.split_first().ok_or("no certificate")?;
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
            .build()
            .map_err(|cause| cause.to_string())?
            .verify_client_cert(own, issuers, now)
            .map(|_| ())
            .map_err(|cause| match cause {
                rustls::Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => "the authority that --authority names didn't sign the certificate; use its file \
                      that came with the certificate, and the certificate as it came, with all that \
                      is in its file"
                    .to_owned(),
                cause => format!("the authority didn't sign the certificate for a peer: {cause}"),
            })
    }

    /// TLS settings of a peer that goes to an arbiter.
    ///
    /// # Errors
    /// Certificate and key are no pair; [`load`](Self::load) has checked that.
    pub fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
    }

    /// Whom it trusts: the authority's roots.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    /// The certificates whose owners may have signed one of a peer's: those of the authority's
    /// file, and those behind the program's own.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// TLS settings of an arbiter that peers come to: a certificate of the authority is required,
    /// and none that a revocation list names. The lists' signatures must have been checked: with one
    /// that is wrong nobody gets in. A list past its date stays in force.
    ///
    /// # Errors
    /// Certificate and key are no pair, the authority's file holds no root, or a list is broken.
    pub fn server_config(
        &self,
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .with_crls(lists)
                // Of an issuer without a list nothing is revoked.
                .allow_unknown_revocation_status()
                .build()
                .map_err(|cause| rustls::Error::General(cause.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        // A resumed session would skip the check of the client's certificate.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// The roots in the authority's file. What stands beside them there are issuing certificates, for
/// programs that want them: here they come with the chain of whoever they were signed for, and are
/// no more trusted than the root says.
///
/// All that is in the file comes back, too.
fn roots(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), IdentityError> {
    let error = |why: String| IdentityError::File {
        what: "authority's certificate",
        path: path.to_owned(),
        why,
    };
    let all = certificates("authority's certificate", "--authority", path)?;
    if !all.iter().all(|it| certificate::is_authority(it)) {
        let name = all.first().and_then(|own| Certificate::read(own)).and_then(|own| own.name);
        return Err(error(match name {
            Some(name) => format!("it is the certificate of {name}; use the authority's ca.crt"),
            None => "a certificate in it is no authority's; use the authority's ca.crt".to_owned(),
        }));
    }
    let mut roots = RootCertStore::empty();
    let mut own: Vec<_> = all.iter().filter(|it| certificate::is_root(it)).collect();
    if own.is_empty() {
        own = all.iter().collect();
    }
    for root in own {
        roots.add(root.clone()).map_err(|cause| error(cause.to_string()))?;
    }
    Ok((roots, all))
}

/// The one crypto provider of both programs, handed over wherever rustls is used.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Refuses a key that others may read or replace. A service's key may be root's and readable for the
/// service's own group, which is how a package gives it.
fn only_ours(path: &Path) -> Result<(), String> {
    let found = std::fs::metadata(path).map_err(|cause| cause.to_string())?;
    let is_roots = found.uid() == 0 && found.gid() == rustix::process::getegid().as_raw();
    let allowed = if is_roots { 0o640 } else { 0o600 };
    match found.mode() & 0o777 & !allowed {
        0 => Ok(()),
        _ => Err(format!(
            "others may use it, too (mode {:04o}); chmod {allowed:04o} {}",
            found.mode() & 0o7777,
            path.display()
        )),
    }
}

/// Reads a file in PEM, whoever saved it: a mark that Windows puts in front is passed over.
fn read(what: &'static str, option: &str, path: &Path) -> Result<Vec<u8>, IdentityError> {
    let error = |why: String| IdentityError::File { what, path: path.to_owned(), why };
    let read = std::fs::read(path).map_err(|cause| {
        error(match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("{cause}; run this as a user who may read it, or by sudo")
            }
            io::ErrorKind::IsADirectory => format!("it is a folder; {option} names the file"),
            io::ErrorKind::NotFound => match alike(path) {
                Some(other) => {
                    let (from, to) = (other.display(), path.display());
                    format!("it isn't there, but another is: mv '{from}' {to}")
                }
                None => format!("{cause}; {option} names another"),
            },
            _ => format!("{cause}; {option} names another"),
        })
    })?;
    let bytes = read.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&read);
    match refused(what, bytes) {
        Some(why) => Err(error(why)),
        None => Ok(bytes.to_vec()),
    }
}

/// A file beside `path` that was probably meant: saved under a name like `peer.crt.txt`, `peer (1).crt`.
pub fn alike(path: &Path) -> Option<PathBuf> {
    let (stem, ending) = (path.file_stem()?.to_str()?, path.extension()?.to_str()?);
    let is_like = |name: &str| {
        let name = name.to_ascii_lowercase();
        let rest = name.strip_prefix(stem).unwrap_or_default();
        let is_renamed = [".cer", ".pem", ".txt"].iter().any(|other| rest.ends_with(other));
        let is_copy = rest.contains(&format!(".{ending}")) && !rest.ends_with(".pairs");
        is_copy || (is_renamed && ending == "crt")
    };
    let entries = std::fs::read_dir(crate::durable::folder(path)).ok()?.flatten();
    let mut found = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_like));
    found.next().map(|entry| entry.path()).filter(|other| other.is_file())
}

/// Why this isn't such a file in PEM, by what it looks like, with what to do.
fn refused(what: &str, bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let is_key = what == "private key";
    let label = if is_key { "PRIVATE KEY" } else { "CERTIFICATE" };
    let has = |label: &str| text.contains(&format!("{label}-----"));
    let why = if text.is_empty() {
        "it is empty; copy it again".to_owned()
    } else if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        "it is UTF-16 text; save it as plain text, UTF-8".to_owned()
    } else if bytes.starts_with(b"\x30") && !text.contains("-----BEGIN") {
        "it is DER, not PEM; `openssl x509 -inform der -in FILE -out FILE.pem` makes one of it"
            .to_owned()
    } else if text.starts_with('<') {
        "it is a web page; download it again, as a file".to_owned()
    } else if is_key && has("BEGIN ENCRYPTED PRIVATE KEY")
        || text.contains("Proc-Type: 4,ENCRYPTED")
    {
        "it is encrypted, and nobody is asked for its passphrase; `openssl pkey -in FILE -out NEW` \
         makes one that isn't"
            .to_owned()
    } else if is_key && has("BEGIN CERTIFICATE") {
        "it is a certificate; use the key that was made for it".to_owned()
    } else if !is_key && has("PRIVATE KEY") && !has("BEGIN CERTIFICATE") {
        "it is a private key; the certificate is what came back for the request".to_owned()
    } else if !is_key && has("CERTIFICATE REQUEST") && !has("BEGIN CERTIFICATE") {
        "it is the request; the certificate is what came back for it".to_owned()
    } else if is_key && has("PUBLIC KEY") && !has(label) {
        "it is a public key; use the private one".to_owned()
    } else if !text.contains("-----BEGIN") || !text.contains(label) {
        format!("no {} in it; use a PEM file with BEGIN {label}", what.rsplit(' ').next()?)
    } else if text.lines().any(|line| line.contains("-----BEGIN") && line.trim().len() > 60) {
        "its line ends are lost; copy the file itself, not its text".to_owned()
    } else if !text.lines().last()?.trim_end().ends_with("-----") {
        let end = if is_key { "-----END PRIVATE KEY-----" } else { "-----END CERTIFICATE-----" };
        format!("it isn't whole: its last line must be {end}; copy it again")
    } else {
        return None;
    };
    Some(why)
}

fn certificates(
    what: &'static str,
    option: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = read(what, option, path)?;
    let error = |why: &str| {
        let why = why.to_owned();
        Err(IdentityError::File { what, path: path.to_owned(), why })
    };
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => {
            error("no certificate in it; use a PEM file with BEGIN CERTIFICATE")
        }
        Ok(found) => Ok(found),
        // What it says of it are bytes as numbers.
        Err(_) => error("it is damaged; copy it again"),
    }
}
