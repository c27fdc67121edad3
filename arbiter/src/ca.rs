//! Canister's certificate authority: who is a peer, who is an arbiter.
//!
//! A folder holds `ca.crt` and `ca.key`, plain PEM. From a signing request only the public key is
//! taken; the name is the operator's word (or the request's common name, if it is a good one),
//! and every extension is this module's own, never the requester's.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SubjectPublicKeyInfo,
};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

/// Days an authority's certificate is good for.
pub const AUTHORITY_DAYS: u32 = 3650;
/// Days any other certificate is good for unless the operator says otherwise.
pub const DAYS: u32 = 365;
/// Longest name of a peer: it is a PostgreSQL role, and those have 63 bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// Smallest RSA key that is signed, in bits.
const RSA_BITS_MIN: usize = 2048;
/// A certificate begins this long before it was made, for clocks that are behind.
const BEGINS_BEFORE: Duration = Duration::hours(1);
/// Largest file that is read as a request, certificate or key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why the authority didn't do it. Displayed as one line with what would work.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaError {
    /// A file can't be read or written.
    File {
        /// What was attempted.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// What is in a file is not what it should be.
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A name that no peer may have.
    Name(String),
    /// The certificate couldn't be made.
    Make(rcgen::Error),
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { verb, path, cause } => {
                write!(f, "{verb} {}: {cause}", path.display())?;
                match (cause.kind(), *verb) {
                    (io::ErrorKind::AlreadyExists, "write new file") => {
                        f.write_str("; nothing is overwritten: move it away, or name another place")
                    }
                    (_, "make folder") => f.write_str("; --dir names another"),
                    (_, "write new file") => f.write_str("; --out names another place"),
                    _ => Ok(()),
                }
            }
            Self::Content { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Name(name) => write!(
                f,
                "{:?} can't be a name: 1 to {NAME_BYTES_MAX} of a-z 0-9 - would work, beginning \
                 and ending with a letter or digit",
                name.chars().take(80).collect::<String>()
            ),
            Self::Make(cause) => write!(f, "make the certificate: {cause}"),
        }
    }
}

impl std::error::Error for CaError {}

impl From<rcgen::Error> for CaError {
    fn from(cause: rcgen::Error) -> Self {
        Self::Make(cause)
    }
}

/// An authority that can sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A new key and its certificate, in PEM.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS#8).
    pub key: String,
}

impl Authority {
    /// Makes a new authority in the folder `dir`, which is made if need be.
    ///
    /// # Errors
    /// [`CaError::File`]; an authority that is there already is never overwritten.
    pub fn init(dir: &Path) -> Result<Self, CaError> {
        std::fs::create_dir_all(dir).map_err(file("make folder", dir))?;
        let key = KeyPair::generate()?;
        let mut params = params("Canister authority", AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        write_new(&dir.join("ca.key"), &key.serialize_pem(), 0o600)?;
        write_new(&dir.join("ca.crt"), &certificate, 0o644)?;
        Self::open(dir)
    }

    /// Opens the authority in the folder `dir`.
    ///
    /// # Errors
    /// [`CaError`] naming the file.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let (key_path, path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let missing = |cause| match cause {
            CaError::File { path, cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                let why = "not there; `ca init` makes an authority, --dir names the folder of one";
                CaError::Content {
                    path,
                    why: why.to_owned(),
                }
            }
            other => other,
        };
        let certificate = read(&path).map_err(missing)?;
        let content = |why: String| CaError::Content {
            path: path.clone(),
            why,
        };
        let key = KeyPair::from_pem(&read(&key_path).map_err(missing)?).map_err(|cause| {
            CaError::Content {
                path: key_path.clone(),
                why: format!("no private key in PEM: {cause}"),
            }
        })?;
        let der = pem("CERTIFICATE", &path, &certificate)?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|cause| content(format!("no certificate: {cause}")))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(content(format!(
                "not the certificate of {}",
                key_path.display()
            )));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self {
            issuer,
            certificate,
        })
    }

    /// The authority's certificate in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs the request in the file `request` for a peer, and returns its name and certificate in
    /// PEM. `name` overrules the request's common name.
    ///
    /// # Errors
    /// [`CaError`]: unreadable, not a request, its own signature wrong, a weak key, a bad name.
    pub fn sign(
        &self,
        request: &Path,
        name: Option<&str>,
        days: u32,
    ) -> Result<(String, String), CaError> {
        let content = |why: String| CaError::Content {
            path: request.to_owned(),
            why,
        };
        let der = pem("CERTIFICATE REQUEST", request, &read(request)?)?;
        let (_, parsed) = X509CertificationRequest::from_der(&der)
            .map_err(|cause| content(format!("no signing request: {cause}")))?;
        let info = &parsed.certification_request_info;
        let key = &info.subject_pki;
        if let Ok(PublicKey::RSA(rsa)) = key.parsed()
            && rsa.key_size() < RSA_BITS_MIN
        {
            let bits = rsa.key_size();
            return Err(content(format!(
                "an RSA key of {bits} bits is too weak; {RSA_BITS_MIN} or more would work"
            )));
        }
        parsed.verify_signature().map_err(|_| {
            content("the request's own signature is wrong; make it anew".to_owned())
        })?;
        let key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|cause| {
            content(format!(
                "its key can't be used: {cause}; ECDSA P-256 or RSA would work"
            ))
        })?;
        let asked = info
            .subject
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok());
        let name = name.or(asked).unwrap_or_default().to_owned();
        Ok((name.clone(), self.peer(&key, &name, days)?))
    }

    /// A new key and certificate for a peer.
    ///
    /// # Errors
    /// [`CaError::Name`] or [`CaError::Make`].
    pub fn new_peer(&self, name: &str, days: u32) -> Result<Pair, CaError> {
        let key = KeyPair::generate()?;
        Ok(Pair {
            certificate: self.peer(&key, name, days)?,
            key: key.serialize_pem(),
        })
    }

    /// A new key and certificate for an arbiter that is reached under `names` (host names or
    /// addresses; at least one).
    ///
    /// # Errors
    /// [`CaError::Name`] or [`CaError::Make`].
    pub fn new_server(&self, names: &[String], days: u32) -> Result<Pair, CaError> {
        let first = names.first().ok_or_else(|| CaError::Name(String::new()))?;
        let mut params = params(first, days);
        params.subject_alt_names = CertificateParams::new(names)
            .map_err(|_| CaError::Name(names.join(" ")))?
            .subject_alt_names;
        // A client's as well: an arbiter shows it to its database.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }

    fn peer(&self, key: &impl PublicKeyData, name: &str, days: u32) -> Result<String, CaError> {
        if !is_name(name) {
            return Err(CaError::Name(name.to_owned()));
        }
        let mut params = params(name, days);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

impl Pair {
    /// Writes `NAME.crt` and `NAME.key` (mode 0600) into `dir`.
    ///
    /// # Errors
    /// [`CaError::File`]; files that are there already are never overwritten.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), CaError> {
        write_new(&dir.join(format!("{name}.key")), &self.key, 0o600)?;
        write_new(&dir.join(format!("{name}.crt")), &self.certificate, 0o644)
    }
}

/// Whether a peer may be called so: it is a PostgreSQL role and stands in logs and files.
pub fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The name of the peer to whom a certificate (DER) was given; `None` if it isn't a peer's, but an
/// arbiter's for instance.
pub fn peer_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let usage = certificate.extended_key_usage().ok()?;
    if usage.is_some_and(|usage| usage.value.server_auth) {
        return None;
    }
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    // Two names would be two identities: one for us, the other for PostgreSQL.
    (names.next().is_none() && is_name(name)).then(|| name.to_owned())
}

/// Writes a file that isn't there yet.
///
/// # Errors
/// [`CaError::File`], also if the file is there.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let verb = "write new file";
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut out = options.open(path).map_err(file(verb, path))?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.sync_all())
        .map_err(file(verb, path))
}

fn params(name: &str, days: u32) -> CertificateParams {
    let now = canister_agent::clock::wall_millis() / 1000;
    let now = i64::try_from(now)
        .ok()
        .and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut params = CertificateParams::default();
    params.not_before = now - BEGINS_BEFORE;
    params.not_after = now + Duration::days(days.into());
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Canister");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn read(path: &Path) -> Result<String, CaError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(file("read", path))?;
    Ok(text)
}

/// The bytes of the first PEM block, which must be a `label`.
fn pem(label: &str, path: &Path, text: &str) -> Result<Vec<u8>, CaError> {
    let wrong = |why: &str| CaError::Content {
        path: path.to_owned(),
        why: format!("{why}; a PEM file with BEGIN {label} would work"),
    };
    let (_, block) =
        x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| wrong("not a PEM file"))?;
    // openssl has called requests by both names.
    if block.label != label && block.label != format!("NEW {label}") {
        return Err(wrong(&format!("it has BEGIN {}", block.label)));
    }
    Ok(block.contents)
}

fn file<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> CaError + 'a {
    move |cause| CaError::File {
        verb,
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "peer-1", "0", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-",
            "a-",
            "-a",
            "A",
            "a b",
            "a\n",
            "é",
            "a.b",
            &"a".repeat(64),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_authority_is_made_once_and_signs() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        let again = Authority::init(dir.path()).err().unwrap().to_string();
        assert!(
            again.contains("ca.key") && again.contains("exists"),
            "{again}"
        );

        let pair = authority.new_peer("peer-1", 1).unwrap();
        let der = pem("CERTIFICATE", Path::new("x"), &pair.certificate).unwrap();
        assert_eq!(peer_name(&der).as_deref(), Some("peer-1"));
        let server = authority.new_server(&["localhost".to_owned()], 1).unwrap();
        let der = pem("CERTIFICATE", Path::new("x"), &server.certificate).unwrap();
        assert_eq!(peer_name(&der), None);
        assert!(authority.new_peer("Peer 1", 1).is_err());
        // An arbiter's certificate makes no peer, whatever it is called.
        let pair = authority.new_server(&["localhost".to_owned()], 1).unwrap();
        let der = pem("CERTIFICATE", Path::new("x"), &pair.certificate).unwrap();
        assert_eq!(peer_name(&der), None);

        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(dir.path().join("ca.key"))
                .unwrap()
                .permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_request_gives_only_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.distinguished_name = DistinguishedName::new();
        wish.distinguished_name.push(DnType::CommonName, "peer-7");
        let key = KeyPair::generate().unwrap();
        let request = dir.path().join("peer.csr");
        std::fs::write(
            &request,
            wish.serialize_request(&key).unwrap().pem().unwrap(),
        )
        .unwrap();

        let (name, certificate) = authority.sign(&request, None, 30).unwrap();
        assert_eq!(name, "peer-7");
        let der = pem("CERTIFICATE", &request, &certificate).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.is_ca());
        assert!(parsed.subject_alternative_name().unwrap().is_none());
        assert_eq!(parsed.public_key().raw, key.subject_public_key_info());

        assert_eq!(
            authority.sign(&request, Some("other"), 30).unwrap().0,
            "other"
        );
        assert!(authority.sign(&request, Some("Ö"), 30).is_err());
    }

    #[test]
    fn what_is_no_request_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        let path = dir.path().join("x.csr");
        for text in [
            "",
            "hello",
            authority.certificate(),
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let said = authority.sign(&path, None, 1).unwrap_err().to_string();
            assert!(said.contains("x.csr"), "{said}");
        }
        assert!(authority.sign(&dir.path().join("absent"), None, 1).is_err());
    }
}
