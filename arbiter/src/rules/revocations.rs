//! The revocation lists in force: read from a file, checked, and read again whenever it changes.
//!
//! A list that doesn't hold together (not PEM, not a list, signed by nobody we know, older than the
//! one in force) is refused with an error in the log, and what was in force stays in force. A list
//! past its date stays in force, too, with a warning each day: what it revokes is revoked, and an
//! operator who forgot to sign a new one doesn't stop the network.
//!
//! TLS refuses a certificate that a list names. What TLS can't know stands here: that a renewal is of
//! a revoked family, and that a session is open whose certificate was revoked since.

use canister_authority::serial::Family;
use canister_link::certificate::Certificate;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashSet;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// Largest file that is read, in bytes: more than a hundred thousand revoked certificates.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most lists in it.
const LISTS_MAX: usize = 64;

/// What is revoked.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    lists: Vec<RevocationList>,
    revoked: HashSet<Id>,
    families: HashSet<Family>,
}

/// One list.
#[derive(Debug, Clone)]
struct RevocationList {
    der: CertificateRevocationListDer<'static>,
    /// Issuer and number: a list replaces those of its issuer with lower ones.
    issuer: Vec<u8>,
    number: Vec<u8>,
    /// When it is to be replaced, in seconds since 1970.
    ends: Option<u64>,
}

/// One certificate, as a list names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl Id {
    /// How a list would name a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self { issuer: certificate.issuer.clone(), serial: certificate.serial.clone() }
    }
}

impl Revocations {
    /// Reads lists in PEM that were signed by one of the certificates `signers` (DER), and that are
    /// no older than those `before`.
    ///
    /// # Errors
    /// What is wrong; then none of it may be used.
    pub fn read(pem: &[u8], signers: &[impl AsRef<[u8]>], before: &Self) -> Result<Self, String> {
        let mut found = Self::default();
        for der in CertificateRevocationListDer::pem_slice_iter(pem) {
            let der = der.map_err(|cause| format!("broken PEM: {cause}"))?;
            if found.lists.len() == LISTS_MAX {
                return Err(format!("more than {LISTS_MAX} lists"));
            }
            found.take(&der, signers)?;
        }
        if found.lists.is_empty() {
            let why = "no revocation list in it; use a PEM file with BEGIN X509 CRL";
            return Err(why.to_owned());
        }
        for list in &found.lists {
            let same = |old: &&RevocationList| old.issuer == list.issuer;
            if let Some(old) = before.lists.iter().find(same)
                && (old.number.len(), &old.number) > (list.number.len(), &list.number)
            {
                return Err("it is older than the list that is in force".to_owned());
            }
        }
        let is_there =
            |old: &RevocationList| found.lists.iter().any(|list| list.issuer == old.issuer);
        if !before.lists.iter().all(is_there) {
            return Err("the list of an issuer is missing that was there before".to_owned());
        }
        Ok(found)
    }

    fn take(
        &mut self,
        der: &CertificateRevocationListDer<'_>,
        signers: &[impl AsRef<[u8]>],
    ) -> Result<(), String> {
        let (rest, list) = CertificateRevocationList::from_der(der)
            .map_err(|cause| format!("no revocation list: {cause}"))?;
        if !rest.is_empty() {
            return Err("no revocation list: bytes behind it".to_owned());
        }
        // RFC 5280 §5.1.1.2. TLS would refuse everybody for it.
        if list.signature_algorithm != list.tbs_cert_list.signature {
            return Err("no revocation list: two kinds of signature".to_owned());
        }
        let issuer = list.issuer().as_raw();
        let is_signer = |signer: &X509Certificate<'_>| {
            signer.subject().as_raw() == issuer
                && list.verify_signature(signer.public_key()).is_ok()
        };
        let signers = signers.iter().map(|der| X509Certificate::from_der(der.as_ref()));
        if !signers.flatten().any(|(_, signer)| is_signer(&signer)) {
            return Err(format!(
                "a list in it was signed by {}, which is neither in the authority's file nor in \
                 the arbiter's chain, or it was changed since",
                list.issuer()
            ));
        }
        for revoked in list.iter_revoked_certificates() {
            let serial = without_zeros(revoked.raw_serial());
            self.families.extend(Family::of(&serial));
            self.revoked.insert(Id { issuer: issuer.to_owned(), serial });
        }
        let number = list.crl_number().map(|number| number.to_bytes_be());
        let ends = list.next_update().map(|at| at.timestamp());
        self.lists.push(RevocationList {
            der: CertificateRevocationListDer::from(der.to_vec()),
            issuer: issuer.to_owned(),
            number: without_zeros(&number.unwrap_or_default()),
            ends: ends.and_then(|at| u64::try_from(at).ok()),
        });
        Ok(())
    }

    /// Whether one of a peer's certificates was revoked, or is of a revoked family.
    pub fn revoke(&self, chain: &[Id]) -> bool {
        let of_family =
            |id: &Id| Family::of(&id.serial).is_some_and(|it| self.families.contains(&it));
        chain.iter().any(|id| self.revoked.contains(id) || of_family(id))
    }

    /// How many certificates the lists name.
    pub fn count(&self) -> usize {
        self.revoked.len()
    }

    /// When the first of the lists is to be replaced, in seconds since 1970; `None` if there is no
    /// list.
    pub fn ends(&self) -> Option<u64> {
        self.lists.iter().filter_map(|list| list.ends).min()
    }

    /// The lists for TLS.
    pub fn lists(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.lists.iter().map(|list| list.der.clone()).collect()
    }
}

fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// What tells one state of a file from another.
type Seen = (u64, u64, i64, i64, i64);

fn seen(path: &Path) -> io::Result<Seen> {
    let found = std::fs::metadata(path)?;
    Ok((found.ino(), found.size(), found.mtime(), found.mtime_nsec(), found.ctime_nsec()))
}

/// The file and how it was when it was last read.
#[derive(Debug, Clone)]
pub struct Watched {
    path: PathBuf,
    seen: Option<Seen>,
}

impl Watched {
    /// The file at `path`, not yet read.
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is as it was when it was last read.
    pub fn is_as_it_was(&self) -> bool {
        seen(&self.path).ok() == self.seen
    }

    /// Reads the file if it isn't as it was; `None` if it is, or if it isn't there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(
        &mut self,
        signers: &[impl AsRef<[u8]>],
        before: &Revocations,
    ) -> Result<Option<Revocations>, String> {
        let now = match seen(&self.path) {
            Ok(now) => Some(now),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(cause.to_string()),
        };
        if now == self.seen {
            return Ok(None);
        }
        self.seen = now;
        if now.is_none() {
            return Err("it is gone".to_owned());
        }
        let mut pem = Vec::new();
        std::fs::File::open(&self.path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut pem))
            .map_err(|cause| cause.to_string())?;
        if pem.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("longer than {FILE_BYTES_MAX} bytes"));
        }
        Revocations::read(&pem, signers, before).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_authority::Authority;
    use canister_authority::reason::Reason;
    use canister_authority::register::{CertificateKind, Revoked};
    use canister_link::clock;
    use std::sync::Arc;

    fn ders(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
        rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap()
    }

    fn ids(pem: &str) -> Vec<Id> {
        let read = |der: &_| Id::of(&Certificate::read(der).unwrap());
        ders(pem).iter().map(|der| read(der)).collect()
    }

    #[test]
    fn a_list_is_taken_whole_and_newer_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        let signers = ders(authority.certificate());
        let list = || std::fs::read(dir.path().join("crl.pem")).unwrap();
        let none = Revocations::default();
        let pair = authority.new_peer("a", 1).unwrap();
        let other = authority.new_peer("b", 1).unwrap();

        let first = list();
        let empty = Revocations::read(&first, &signers, &none).unwrap();
        assert!(!empty.revoke(&ids(&pair.certificate)));
        let revoked = Revoked {
            at: clock::wall_millis() / 1000,
            reason: Reason::Superseded,
            why: "test".to_owned(),
        };
        authority.revoke(CertificateKind::Peer, "a", &revoked).unwrap();
        let second = list();
        let full = Revocations::read(&second, &signers, &empty).unwrap();
        assert_eq!(full.count(), 1);
        assert!(full.revoke(&ids(&pair.certificate)));
        assert!(!full.revoke(&ids(&other.certificate)));
        // A renewal nobody has heard of.
        let mut renewal = ids(&pair.certificate);
        renewal[0].serial[15] ^= 1;
        assert!(full.revoke(&renewal));
        renewal[0].serial[3] ^= 1;
        assert!(!full.revoke(&renewal));

        let refused = |pem: &[u8], part: &str| {
            let said = Revocations::read(pem, &signers, &full).unwrap_err();
            assert!(said.contains(part), "{said}");
        };
        refused(&first, "older");
        refused(b"", "BEGIN X509 CRL");
        refused(&second[..second.len() - 40], "PEM");
        let text = String::from_utf8(second.clone()).unwrap();
        let (one, _) = text.split_at(text[1..].find("-----BEGIN").unwrap() + 1);
        refused(one.as_bytes(), "missing");
        let elsewhere = tempfile::tempdir().unwrap();
        let strange = Authority::init(elsewhere.path()).unwrap();
        let said = Revocations::read(&second, &ders(strange.certificate()), &none).unwrap_err();
        assert!(said.contains("signed by"), "{said}");
        // Every byte of it counts, here or to TLS, which reads it before it is in force.
        let mut roots = rustls::RootCertStore::empty();
        roots.add(signers[0].clone()).unwrap();
        let roots = Arc::new(roots);
        let tls_takes = |list: &CertificateRevocationListDer<'static>| {
            let roots = Arc::clone(&roots);
            let provider = canister_link::identity::provider();
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider)
                .with_crls([list.clone()])
                .build()
                .is_ok()
        };
        let der = CertificateRevocationListDer::from_pem_slice(&second).unwrap();
        for at in 0..der.len() {
            let mut spoilt = der.to_vec();
            spoilt[at] ^= 1;
            let spoilt = CertificateRevocationListDer::from(spoilt);
            let is_taken = Revocations::default().take(&spoilt, &signers).is_ok();
            assert!(!(is_taken && tls_takes(&spoilt)), "byte {at}");
        }
    }
}
