//! A new key and the signing request for it: how a peer asks to take part.
//!
//! ```text
//!  nothing ── key written ──▶ peer.key ── request written ──▶ peer.key, peer.csr
//! ```
//!
//! Each arrow is one step that is done or not done, whenever the program is killed. From the middle
//! the same command goes on: the request is made for the key that is there. The key is ECDSA P-256,
//! small and quick on the smallest machines; a request for any other, made by openssl, is as good.

use crate::certificate::{self, NAMES_THAT_WORK, fingerprint, is_name};
use crate::durable;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

/// The key's name in its folder.
pub const KEY: &str = "peer.key";
/// The request's name in its folder.
pub const REQUEST: &str = "peer.csr";
/// Largest key that is read, in bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// What was made, and for whom.
#[derive(Debug)]
pub struct Made {
    /// The private key, which stays.
    pub key: PathBuf,
    /// Whether the key was there already.
    pub is_old_key: bool,
    /// The request, which is sent.
    pub request: PathBuf,
    /// What is in it, in PEM: the folder may be closed to whoever sends it.
    pub text: String,
    /// The name that is asked for.
    pub name: String,
    /// What is read out so that the receiver knows that it is this one.
    pub fingerprint: String,
}

/// Why nothing was made. Displayed as one line with what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// A file can't be read or written.
    File {
        /// What was attempted.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// The key that is there can't be used.
    Key(PathBuf, rcgen::Error),
    /// The request couldn't be made.
    Make(rcgen::Error),
    /// A name that no peer may have.
    Name(String),
    /// A request for this other name is there already.
    Other(PathBuf, String),
    /// A request is there already.
    There(PathBuf),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { verb, path, cause } => {
                write!(f, "{verb} {}: {cause}", path.display())?;
                match cause.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                        f.write_str("; use --dir with a folder that you may write to, or sudo")
                    }
                    _ => Ok(()),
                }
            }
            Self::Key(path, cause) => write!(
                f,
                "use the key {}: {cause}; move it away and a new one is made",
                path.display()
            ),
            Self::Make(cause) => write!(f, "make the request: {cause}"),
            Self::Name(name) => {
                let name = crate::words::short(name);
                write!(f, "{name:?} can't be a name: {NAMES_THAT_WORK}")
            }
            Self::Other(path, name) => {
                let name = crate::words::short(name);
                write!(
                    f,
                    "{} asks for the name {name:?} already: use that, or move it away",
                    path.display()
                )
            }
            Self::There(path) => write!(
                f,
                "{} is there already and nothing is overwritten; send that one, or move it and \
                 {KEY} away",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RequestError {}

/// Makes [`KEY`] (mode 0600) and [`REQUEST`] in the folder `dir` for a peer that shall be called
/// `name`. The folder is made if need be; a key that is there without a request is used.
///
/// # Errors
/// [`RequestError`]; a file that is there is never overwritten.
pub fn make(dir: &Path, name: &str) -> Result<Made, RequestError> {
    if !is_name(name) {
        return Err(RequestError::Name(name.to_owned()));
    }
    let (key_path, request) = (dir.join(KEY), dir.join(REQUEST));
    make_folder(dir)?;
    // A link that leads nowhere is somebody's, too.
    if request.symlink_metadata().is_ok() {
        return Err(RequestError::There(request));
    }
    let written = |path: &Path, text: &str, mode| {
        durable::write_new(path, text.as_bytes(), mode).map_err(|cause| RequestError::File {
            verb: "write",
            path: path.to_owned(),
            cause,
        })
    };
    let (key, is_old_key) = match read(&key_path)? {
        Some(text) => {
            let key = KeyPair::from_pem(&text);
            (key.map_err(|cause| RequestError::Key(key_path.clone(), cause))?, true)
        }
        None => {
            let key = KeyPair::generate().map_err(RequestError::Make)?;
            written(&key_path, &key.serialize_pem(), 0o600)?;
            (key, false)
        }
    };
    let text = signed(&key, name).map_err(RequestError::Make)?;
    written(&request, &text, 0o644)?;
    Ok(Made {
        fingerprint: fingerprint(&key.subject_public_key_info()),
        name: name.to_owned(),
        key: key_path,
        is_old_key,
        request,
        text,
    })
}

/// As [`make`], but a request that is there for this name and this key is taken as it is; `key` is where
/// the key is, if not [`KEY`] in the folder.
///
/// # Errors
/// [`RequestError`]; a request for another name is never overwritten.
pub fn find_or_make(dir: &Path, key: &Path, name: &str) -> Result<Made, RequestError> {
    let request = dir.join(REQUEST);
    let there = fs::read_to_string(&request).ok();
    match there.as_deref().and_then(read_out) {
        Some((asked, fingerprint)) if asked == name && key.exists() => Ok(Made {
            key: key.to_owned(),
            is_old_key: true,
            request,
            text: there.unwrap_or_default(),
            name: asked,
            fingerprint,
        }),
        Some((asked, _)) if asked != name && is_name(name) => {
            Err(RequestError::Other(request, asked))
        }
        _ => make(dir, name),
    }
}

/// The name that a request in PEM asks for, and the fingerprint of its key.
pub fn read_out(text: &str) -> Option<(String, String)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let info = &request.certification_request_info;
    let name = info.subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    Some((name, fingerprint(info.subject_pki.raw)))
}

/// Makes a folder for keys, closed to others, unless it is there.
fn make_folder(dir: &Path) -> Result<(), RequestError> {
    let made = match DirBuilder::new().mode(0o700).create(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Ok(()) => durable::sync_folder(durable::folder(dir)),
        failed => failed,
    };
    made.map_err(|cause| RequestError::File { verb: "make", path: dir.to_owned(), cause })
}

/// The signing request for `key` in PEM, with the subject that Canister's peers have.
///
/// # Errors
/// The key can't sign.
pub fn signed(key: &KeyPair, name: &str) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "New York"),
        (DnType::OrganizationName, "Canister"),
        (DnType::OrganizationalUnitName, "Indexer"),
        (DnType::CommonName, name),
    ] {
        subject.push(kind, value);
    }
    params.distinguished_name = subject;
    params.serialize_request(key)?.pem()
}

fn read(path: &Path) -> Result<Option<String>, RequestError> {
    use io::Read as _;
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(RequestError::File { verb: "read", path: path.to_owned(), cause }),
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let was = if self.is_old_key { "was there already; it" } else { "your private key; it" };
        writeln!(f, "{}  {was} never leaves this machine", self.key.display())?;
        writeln!(
            f,
            "{}  your request; send it to {} with the subject\n    [PEER REQUEST] Indexer: {}\nas a file or as this text:",
            self.request.display(),
            certificate::OPERATOR,
            self.name
        )?;
        writeln!(f, "\n{}", self.text.trim_end())?;
        writeln!(f, "\nfingerprint of the key, to be read out when you are asked for it:")?;
        let groups: Vec<&str> = self.fingerprint.split(' ').collect();
        for line in groups.chunks(8) {
            writeln!(f, "  {}", line.join(" "))?;
        }
        writeln!(f, "  {}", certificate::spoken(&self.fingerprint))?;
        writeln!(
            f,
            "\nBack come your certificate and the authority's. Put them beside the key as peer.crt \
             and ca.crt;\nwith the same folder `canister-agent check` tells whether all is well, and \
             `canister-agent run` takes part."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_request_is_made_once_with_a_key_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(dir.path(), "peer-1").unwrap();
        assert_eq!((mode(&made.key), mode(&made.request)), (0o600, 0o644));
        assert!(!made.is_old_key);
        let text = fs::read(&made.request).unwrap();
        assert_eq!(made.text.as_bytes(), text);
        assert!(made.to_string().contains(&made.text));
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let info = &request.certification_request_info;
        assert_eq!(
            info.subject.to_string(),
            "C=US, ST=New York, O=Canister, OU=Indexer, CN=peer-1"
        );
        assert_eq!(fingerprint(info.subject_pki.raw), made.fingerprint);

        let said = make(dir.path(), "peer-1").unwrap_err().to_string();
        assert!(said.contains("peer.csr") && said.contains("nothing is overwritten"), "{said}");
        assert_eq!(fs::read(&made.request).unwrap(), text);
    }

    #[test]
    fn the_folder_is_made_and_closed_to_others() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("canister");
        make(&dir, "a").unwrap();
        assert_eq!(mode(&dir), 0o700);
        let deeper = dir.join("none/such");
        let said = make(&deeper, "a").unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("make {}: ", deeper.display())) && said.contains("--dir"),
            "{said}"
        );
    }

    #[test]
    fn a_key_without_its_request_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(dir.path(), "a").unwrap();
        let key = fs::read(&made.key).unwrap();
        // As when the program was killed between the two.
        fs::remove_file(&made.request).unwrap();
        let again = make(dir.path(), "b").unwrap();
        assert!(again.is_old_key);
        assert_eq!(again.fingerprint, made.fingerprint);
        assert_eq!(fs::read(&made.key).unwrap(), key);
    }

    #[test]
    fn what_cannot_be_a_key_or_a_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "Peer", "a\nb", &"a".repeat(1000)] {
            let said = make(dir.path(), name).unwrap_err().to_string();
            assert!(said.contains("use ") && said.lines().count() == 1, "{said}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join(KEY), "garbage").unwrap();
        let said = make(dir.path(), "a").unwrap_err().to_string();
        assert!(said.contains("peer.key"), "{said}");
        assert!(!dir.path().join(REQUEST).exists());
    }
}
