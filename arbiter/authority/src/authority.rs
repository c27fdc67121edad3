//! An authority's folder, and what can be done with it.
//!
//! Whatever changes something holds the folder's lock and writes in an order that a kill at any
//! moment leaves whole: a certificate before the register names it, the register before the
//! revocation list follows it. What a kill left undone the next command does: a request that was
//! signed is answered with the certificate it got, a list that lags behind the register is signed
//! anew.

use super::error::CaError;
use super::folder::{
    FILE_BYTES_MAX, Folder, LIST_BYTES_MAX, pem, read, read_if_there, replace, write_new,
};
use super::passphrase::{self, AskPassphrase};
use super::profile::{self, DAY, ISSUER_DAYS};
use super::register::{CertificateKind, Issued, Register, Revoked};
use super::request::SigningRequest;
use super::revocation::{self, ListedRevocations};
use super::serial::{self, Family};
use canister_link::certificate::{Certificate, Life, fingerprint};
use canister_link::clock;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Most certificates of one name that may be good at once and came of renewals: a peer that loses
/// what it was sent asks again, and one that asks for ever is refused.
const RENEWALS_MAX: usize = 4;

/// An authority that can sign.
pub struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    issuer_certificate: String,
    issuer_life: Life,
    certificate: String,
}

/// A new key and its certificate, in PEM.
#[derive(Debug)]
pub struct Pair {
    /// The certificate, and behind it the issuing certificate.
    pub certificate: String,
    /// The private key (PKCS#8).
    pub key: String,
}

/// How a request is signed.
#[derive(Debug, Clone, Copy)]
pub struct CertificateTerms<'a> {
    /// For a peer or an announcer.
    pub kind: CertificateKind,
    /// Its name, if it shall not be the request's common name.
    pub name: Option<&'a str>,
    /// How long the certificate is good.
    pub length: Duration,
    /// Whether the name may be in use: its owner asks with a new key.
    pub is_again: bool,
}

/// What came of a request.
#[derive(Debug)]
pub struct Signed {
    /// The peer's or announcer's name.
    pub name: String,
    /// As what a peer logs into PostgreSQL.
    pub role: Option<String>,
    /// The certificate and the issuing certificate, in PEM.
    pub certificate: String,
    /// When it is good.
    pub life: Life,
    /// Whether it was signed already, by an earlier command.
    pub is_old: bool,
}

impl Authority {
    /// Makes a new authority in the folder `dir`, which is made if need be. Goes on where an
    /// earlier attempt was killed.
    ///
    /// # Errors
    /// [`CaError`]; an authority that is there already is never overwritten.
    pub fn init(dir: &Path) -> Result<Self, CaError> {
        Self::init_with(dir, None)
    }

    /// The same with keys that are encrypted with a passphrase.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_with(dir: &Path, passphrase: Option<&str>) -> Result<Self, CaError> {
        let folder = Folder::new(dir);
        if folder.issuer_certificate().exists() && folder.revocations().exists() {
            let why = "an authority exists already and nothing is overwritten: move it away, or \
                       name another folder with --dir";
            return Err(CaError::content(&folder.issuer_key(), why));
        }
        folder.make()?;
        let lock = folder.lock()?;
        let ask = |path: &Path| match passphrase {
            Some(passphrase) => Ok(passphrase.to_owned()),
            None => passphrase::none(path),
        };
        let root_key = key(&folder.root_key(), passphrase, &ask)?;
        let root_path = folder.root_certificate();
        let root = unless_there(&root_path, 0o644, || {
            let params = profile::root(profile::life(DAY * profile::AUTHORITY_DAYS))?;
            Ok(params.self_signed(&root_key)?.pem())
        })?;
        belongs(&root_path, &root, &folder.root_key(), &root_key)?;
        let issuer = Issuer::from_ca_cert_pem(&root, root_key)?;
        let issuer_key = key(&folder.issuer_key(), passphrase, &ask)?;
        let issuing =
            unless_there(&folder.issuer_certificate(), 0o644, || issuing(&issuer_key, &issuer))?;
        unless_there(&folder.root_revocations(), 0o644, || {
            revocation::empty(&issuer, 1, DAY * profile::AUTHORITY_DAYS)
        })?;
        let all = folder.certificates();
        let both = format!("{root}{issuing}");
        if unless_there(&all, 0o644, || Ok(both.clone()))? != both {
            let why = "another authority's certificate is there and nothing is overwritten; use \
                       --dir with another folder";
            return Err(CaError::content(&all, why));
        }
        drop(lock);
        let authority = Self::open_with(dir, &ask)?;
        authority.refresh()?;
        Ok(authority)
    }

    /// Renews the issuing certificate of the authority in `dir`, for the same key. Needs the root's
    /// key; what was issued stays good.
    ///
    /// # Errors
    /// [`CaError`] naming the file.
    pub fn renew_issuer(dir: &Path, ask: AskPassphrase<'_>) -> Result<Life, CaError> {
        let folder = Folder::new(dir);
        let (root_path, key_path) = (folder.root_certificate(), folder.root_key());
        let away = |cause| match cause {
            CaError::File { path, cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                let why = "the root isn't there; bring the folder root/ back for this, and take it \
                           away again";
                CaError::content(&path, why)
            }
            other => other,
        };
        let root = read(&root_path, FILE_BYTES_MAX).map_err(away)?;
        let root_key = passphrase::open(&key_path, ask).map_err(away)?;
        belongs(&root_path, &root, &key_path, &root_key)?;
        let issuer = Issuer::from_ca_cert_pem(&root, root_key)?;
        let key = passphrase::open(&folder.issuer_key(), ask).map_err(missing)?;
        let _lock = folder.lock()?;
        let certificate = issuing(&key, &issuer)?;
        let path = folder.issuer_certificate();
        replace(&path, &certificate, 0o644)?;
        let both = format!("{root}{certificate}");
        replace(&folder.certificates(), &both, 0o644)?;
        Ok(certificate_in(&path, &certificate)?.life)
    }

    /// Opens the authority in the folder `dir`, whose key isn't encrypted.
    ///
    /// # Errors
    /// [`CaError`] naming the file.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        Self::open_with(dir, &passphrase::none)
    }

    /// Opens the authority in the folder `dir`, and asks for its key's passphrase if it has one.
    ///
    /// # Errors
    /// [`CaError`] naming the file.
    pub fn open_with(dir: &Path, ask: AskPassphrase<'_>) -> Result<Self, CaError> {
        let folder = Folder::new(dir);
        let certificate = read(&folder.certificates(), FILE_BYTES_MAX).map_err(missing)?;
        let path = folder.issuer_certificate();
        let issuer_certificate = read(&path, FILE_BYTES_MAX).map_err(missing)?;
        let key = passphrase::open(&folder.issuer_key(), ask).map_err(missing)?;
        belongs(&path, &issuer_certificate, &folder.issuer_key(), &key)?;
        Ok(Self {
            issuer_life: certificate_in(&path, &issuer_certificate)?.life,
            issuer: Issuer::from_ca_cert_pem(&issuer_certificate, key)?,
            issuer_certificate,
            certificate,
            folder,
        })
    }

    /// Whether it can be changed later: what renewals need.
    ///
    /// # Errors
    /// [`CaError::File`] naming the folder that can't be written to.
    pub fn writable(&self) -> Result<(), CaError> {
        self.folder.writable()
    }

    /// The root's certificate and the issuing one, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// When the issuing certificate is good.
    pub const fn issuer_life(&self) -> Life {
        self.issuer_life
    }

    /// Signs a peer's or an announcer's request. One that was signed already under the same name gets the same
    /// certificate.
    ///
    /// # Errors
    /// [`CaError`]: a bad name, a name in use, a key that is another's or was revoked.
    pub fn sign(
        &self,
        request: &SigningRequest,
        terms: &CertificateTerms<'_>,
    ) -> Result<Signed, CaError> {
        let name = terms.name.or(request.name.as_deref()).unwrap_or_default();
        let (life, kind) = (self.life(terms.length)?, terms.kind);
        let params = match kind {
            CertificateKind::Announcer => profile::announcer(name, life)?,
            _ => profile::peer(name, life, Family::new()?)?,
        };
        self.change(|register| {
            let now = clock::wall_millis() / 1000;
            if let Some(old) = judge(register, request, (kind, name), terms.is_again, now)? {
                let path = self.folder.issued(&old.serial);
                let certificate = read(&path, FILE_BYTES_MAX)?;
                return signed(&path, certificate, true);
            }
            let certificate = self.issue(register, &params, &request.key, kind, name, false)?;
            signed(Path::new("the new certificate"), certificate, false)
        })
    }

    /// Renews a peer's certificate, which is `current`, for a new key: same name, same family, same
    /// length, if the issuing certificate lives that long. Returns the chain in PEM.
    ///
    /// # Errors
    /// [`CaError::Refused`]: not yet due, revoked, another name, a key that was used before, too
    /// many.
    pub fn renew(
        &self,
        request: &SigningRequest,
        current: &Certificate,
    ) -> Result<String, CaError> {
        let refused = |why: &str| Err(CaError::Refused(why.to_owned()));
        let name = current.name.as_deref().unwrap_or_default();
        if request.name.as_deref().is_some_and(|asked| asked != name) {
            return refused("the request is for another name");
        }
        let now = clock::wall_millis() / 1000;
        if now < current.life.renewal() {
            return refused("a certificate is renewed in the last third of its life");
        }
        let Some(family) = Family::of(&current.serial) else {
            return refused("the certificate wasn't issued by this authority");
        };
        let mut life = profile::life(current.life.length());
        life.ends = life.ends.min(self.issuer_life.ends);
        if life.ends <= current.life.ends {
            return refused("the issuing certificate is about to end");
        }
        let params = profile::peer(name, life, family)?;
        self.change(|register| {
            let of_family = |it: &&Issued| {
                let serial = serial::bytes(&it.serial);
                serial.is_some_and(|serial| Family::of(&serial) == Some(family))
            };
            if register.issued.iter().filter(of_family).any(|it| it.revoked.is_some()) {
                return refused("the certificate was revoked");
            }
            if register.issued.iter().any(|it| it.key == request.fingerprint) {
                return refused("the key was used before; use a new one");
            }
            let renewals = register.good(CertificateKind::Peer, name, now);
            if renewals.filter(|it| it.is_renewal).count() >= RENEWALS_MAX {
                return refused("too many renewals that are still good");
            }
            self.issue(register, &params, &request.key, CertificateKind::Peer, name, true)
        })
    }

    /// A new key and certificate for a peer.
    ///
    /// # Errors
    /// [`CaError`]: a bad name, or one that is in use.
    pub fn new_peer(&self, name: &str, days: u32) -> Result<Pair, CaError> {
        self.new_peer_for(name, DAY * days)
    }

    /// The same for any length of life.
    ///
    /// # Errors
    /// As [`new_peer`](Self::new_peer).
    pub fn new_peer_for(&self, name: &str, length: Duration) -> Result<Pair, CaError> {
        let key = KeyPair::generate()?;
        let params = profile::peer(name, self.life(length)?, Family::new()?)?;
        let certificate = self.change(|register| {
            let now = clock::wall_millis() / 1000;
            if register.good(CertificateKind::Peer, name, now).next().is_some() {
                return Err(in_use(name));
            }
            self.issue(register, &params, &key, CertificateKind::Peer, name, false)
        })?;
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    /// A new key and certificate for a server that is reached under `names` (host names or
    /// addresses; at least one).
    ///
    /// # Errors
    /// [`CaError`].
    pub fn new_server(&self, names: &[String], days: u32) -> Result<Pair, CaError> {
        self.new_server_for(names, DAY * days)
    }

    /// The same for any length of life.
    ///
    /// # Errors
    /// As [`new_server`](Self::new_server).
    pub fn new_server_for(&self, names: &[String], length: Duration) -> Result<Pair, CaError> {
        let params = profile::server(names, self.life(length)?)?;
        let name = names.first().map_or("", |name| name);
        let key = KeyPair::generate()?;
        let certificate = self.change(|register| {
            self.issue(register, &params, &key, CertificateKind::Server, name, false)
        })?;
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    /// Renews a server's certificate for the key that it has, where it is in the last third of its life
    /// or over: same names, same length, if the issuing certificate lives that long. `chain` is what is
    /// in its file, which is called `path` in errors. Returns the new chain in PEM; `None` while there is
    /// time.
    ///
    /// # Errors
    /// [`CaError`]: not a server's of this authority, revoked, or the issuing certificate is about to
    /// end.
    pub fn renew_server(&self, chain: &str, path: &Path) -> Result<Option<String>, CaError> {
        let refused = |why: &str| CaError::Refused(format!("{}: {why}", path.display()));
        let der = pem("CERTIFICATE", path, chain)?;
        let wrong = || CaError::content(path, "no certificate");
        let current = Certificate::read(&der).ok_or_else(wrong)?;
        let now = clock::wall_millis() / 1000;
        if now < current.life.renewal() {
            return Ok(None);
        }
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| wrong())?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let names: Vec<String> = names.filter_map(host).collect();
        let mut life = profile::life(current.life.length());
        life.ends = life.ends.min(self.issuer_life.ends);
        if life.ends <= current.life.ends {
            return Err(refused("the issuing certificate is about to end"));
        }
        let params = profile::server(&names, life)?;
        let key = SubjectPublicKeyInfo::from_der(&current.key).map_err(|_| wrong())?;
        self.change(|register| {
            let serial = serial::text(&current.serial);
            let own = register.issued.iter().find(|it| it.serial == serial);
            let Some(own) = own.filter(|it| it.kind == CertificateKind::Server) else {
                return Err(refused("this authority gave it to no server"));
            };
            if own.revoked.is_some() {
                return Err(refused("it was revoked"));
            }
            let name = own.name.clone();
            let renewals = register.good(CertificateKind::Server, &name, now);
            let of_key = renewals.filter(|it| it.is_renewal && it.key == own.key).count();
            if of_key >= RENEWALS_MAX {
                return Err(refused("too many renewals that are still good"));
            }
            self.issue(register, &params, &key, CertificateKind::Server, &name, true).map(Some)
        })
    }

    /// Revokes every certificate of a name that is still good, and all that will come of their
    /// renewals, and signs a new list. Returns what was revoked by this; nothing if all was before.
    ///
    /// # Errors
    /// [`CaError::Refused`]: no such name.
    pub fn revoke(
        &self,
        kind: CertificateKind,
        name: &str,
        revoked: &Revoked,
    ) -> Result<Vec<Issued>, CaError> {
        self.change(|register| {
            let mut of_name = register
                .issued
                .iter_mut()
                .filter(|it| it.kind == kind && it.name == name)
                .peekable();
            if of_name.peek().is_none() {
                let name: String = name.chars().take(80).collect();
                return Err(CaError::Refused(format!(
                    "no certificate was issued to {name:?}; `ca list` lists them"
                )));
            }
            let mut newly = vec![];
            for issued in of_name.filter(|it| it.is_good(revoked.at)) {
                issued.revoked = Some(revoked.clone());
                newly.push(issued.clone());
            }
            if !newly.is_empty() {
                register.list_number += 1;
                register.write(&self.folder.register())?;
            }
            Ok(newly)
        })
    }

    /// Signs a new revocation list, whatever the age of the one that is there.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn refresh(&self) -> Result<(), CaError> {
        self.change(|register| {
            register.list_number += 1;
            register.write(&self.folder.register())
        })
    }

    /// Signs a new revocation list if the one that is there lags behind the register or is past a
    /// third of its life; whether it did.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn refresh_if_due(&self) -> Result<bool, CaError> {
        let now = clock::wall_millis() / 1000;
        let text = read_if_there(&self.folder.revocations(), LIST_BYTES_MAX)?;
        let listed = text.as_deref().and_then(ListedRevocations::read);
        if listed.is_some_and(|listed| listed.is_young(now)) {
            self.change(|_| Ok(()))?;
            return Ok(false);
        }
        self.refresh()?;
        Ok(true)
    }

    /// Does something with the register that nobody else does at the same time. The list follows.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut Register) -> Result<T, CaError>,
    ) -> Result<T, CaError> {
        let _lock = self.folder.lock()?;
        let mut register = Register::read(&self.folder.register())?;
        let done = act(&mut register)?;
        let path = self.folder.revocations();
        let text = read_if_there(&path, LIST_BYTES_MAX)?;
        let listed = text.as_deref().and_then(ListedRevocations::read);
        if listed.is_none_or(|listed| listed.number != register.list_number) {
            let roots = read(&self.folder.root_revocations(), FILE_BYTES_MAX)?;
            let list = revocation::list(&self.issuer, &register)?;
            replace(&path, &format!("{list}{roots}"), 0o644)?;
        }
        Ok(done)
    }

    /// Signs, and writes down that it did; the chain in PEM.
    fn issue(
        &self,
        register: &mut Register,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        kind: CertificateKind,
        name: &str,
        is_renewal: bool,
    ) -> Result<String, CaError> {
        let leaf = params.signed_by(key, &self.issuer)?.pem();
        let issued = certificate_in(Path::new("the new certificate"), &leaf)?;
        let serial = serial::text(&issued.serial);
        let chain = format!("{leaf}{}", self.issuer_certificate);
        write_new(&self.folder.issued(&serial), &chain, 0o644)?;
        register.issued.push(Issued {
            serial,
            kind,
            name: name.to_owned(),
            key: fingerprint(&issued.key),
            begins: issued.life.begins,
            ends: issued.life.ends,
            is_renewal,
            revoked: None,
        });
        register.write(&self.folder.register())?;
        Ok(chain)
    }

    /// A life of this length that ends before the issuing certificate's.
    fn life(&self, length: Duration) -> Result<Life, CaError> {
        let life = profile::life(length);
        if life.ends <= self.issuer_life.ends {
            return Ok(life);
        }
        let left = self.issuer_life.days_left(clock::wall_millis() / 1000);
        Err(CaError::Refused(format!(
            "the issuing certificate ends in {left} days; use --life with less, or `ca \
             issuer` with the root's key"
        )))
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

/// A host name or an address that a certificate is for.
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
        },
        _ => None,
    }
}

fn signed(path: &Path, certificate: String, is_old: bool) -> Result<Signed, CaError> {
    let Certificate { name, announcer, role, life, .. } = certificate_in(path, &certificate)?;
    let Some(name) = name.or(announcer) else {
        return Err(CaError::content(path, "no certificate of a peer or an announcer"));
    };
    Ok(Signed { name, role, certificate, life, is_old })
}

/// Whether a request may be signed for `name`; the certificate that it got before, if it did.
fn judge<'a>(
    register: &'a Register,
    request: &SigningRequest,
    (kind, name): (CertificateKind, &str),
    is_again: bool,
    now: u64,
) -> Result<Option<&'a Issued>, CaError> {
    let of_key = register.issued.iter().filter(|it| it.key == request.fingerprint);
    for issued in of_key {
        if issued.revoked.is_some() {
            return Err(CaError::Refused(format!(
                "a certificate of {} with this key was revoked; use a request with a new key",
                issued.name
            )));
        }
        if issued.kind != kind || issued.name != name {
            return Err(CaError::Refused(format!(
                "this key is that of {} already; use a request with a new key",
                issued.name
            )));
        }
        if issued.is_good(now) && !is_again {
            return Ok(Some(issued));
        }
    }
    if !is_again && register.good(kind, name, now).next().is_some() {
        return Err(in_use(name));
    }
    Ok(None)
}

fn in_use(name: &str) -> CaError {
    CaError::Refused(format!(
        "the name {name} is in use; use --name with another, or --again if its owner asks \
         with a new key"
    ))
}

fn issuing(key: &KeyPair, root: &Issuer<'_, KeyPair>) -> Result<String, CaError> {
    let name = fingerprint(&key.subject_public_key_info()).replace(' ', "");
    let life = profile::life(DAY * ISSUER_DAYS);
    let params = profile::issuing(&name[..8], life)?;
    Ok(params.signed_by(key, root)?.pem())
}

/// The key in a file, made if there is none.
fn key(path: &Path, passphrase: Option<&str>, ask: AskPassphrase<'_>) -> Result<KeyPair, CaError> {
    if path.exists() {
        return passphrase::open(path, ask);
    }
    let key = KeyPair::generate()?;
    write_new(path, &passphrase::seal(&key, passphrase)?, 0o600)?;
    Ok(key)
}

/// What is in a file, made if there is none.
fn unless_there(
    path: &Path,
    mode: u32,
    make: impl FnOnce() -> Result<String, CaError>,
) -> Result<String, CaError> {
    if let Some(text) = read_if_there(path, FILE_BYTES_MAX)? {
        return Ok(text);
    }
    let text = make()?;
    write_new(path, &text, mode)?;
    Ok(text)
}

/// Whether a certificate (PEM) is that of a key.
fn belongs(path: &Path, text: &str, key_path: &Path, key: &KeyPair) -> Result<(), CaError> {
    if certificate_in(path, text)?.key == key.subject_public_key_info() {
        return Ok(());
    }
    let why = format!("not the certificate of {}", key_path.display());
    Err(CaError::content(path, why))
}

fn certificate_in(path: &Path, text: &str) -> Result<Certificate, CaError> {
    let der = pem("CERTIFICATE", path, text)?;
    X509Certificate::from_der(&der)
        .map_err(|cause| CaError::content(path, format!("no certificate: {cause}")))?;
    Certificate::read(&der).ok_or_else(|| CaError::content(path, "no certificate"))
}

fn missing(cause: CaError) -> CaError {
    match cause {
        CaError::File { path, cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
            let why = "not there; `ca init` makes an authority, --dir names the folder of one";
            CaError::content(&path, why)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::reason::Reason;
    use super::*;
    use rcgen::{BasicConstraints, DistinguishedName, DnType, IsCa};
    use std::os::unix::fs::PermissionsExt as _;

    fn terms(name: Option<&str>) -> CertificateTerms<'_> {
        let kind = CertificateKind::Peer;
        CertificateTerms { kind, name, length: DAY * 30, is_again: false }
    }

    /// A request with a new key.
    fn request(name: &str) -> SigningRequest {
        let key = KeyPair::generate().unwrap();
        request_of(&key, name)
    }

    fn request_of(key: &KeyPair, name: &str) -> SigningRequest {
        let text = canister_link::request::signed(key, name).unwrap();
        SigningRequest::from_pem(&text, Path::new("x.csr")).unwrap()
    }

    fn parsed(text: &str) -> Certificate {
        certificate_in(Path::new("x"), text).unwrap()
    }

    fn revoked(at: u64) -> Revoked {
        Revoked { at, reason: Reason::KeyCompromise, why: "leaked".to_owned() }
    }

    fn now() -> u64 {
        clock::wall_millis() / 1000
    }

    fn listed(dir: &Path) -> ListedRevocations {
        ListedRevocations::read(&std::fs::read_to_string(dir.join("crl.pem")).unwrap()).unwrap()
    }

    #[test]
    fn an_authority_is_made_once_and_signs_without_its_root() {
        let dir = tempfile::tempdir().unwrap();
        Authority::init(dir.path()).unwrap();
        let again = Authority::init(dir.path()).err().unwrap().to_string();
        assert!(again.contains("exists"), "{again}");
        for key in ["root/root.key", "issuer/issuer.key"] {
            let found = std::fs::metadata(dir.path().join(key)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o600);
        }
        std::fs::rename(dir.path().join("root"), dir.path().join("safe")).unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let pair = authority.new_peer("peer-1", 1).unwrap();
        assert_eq!(parsed(&pair.certificate).name.as_deref(), Some("peer-1"));
        assert_eq!(pair.certificate.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(authority.new_peer("Peer 1", 1).is_err());
        assert!(authority.new_peer("peer-2", ISSUER_DAYS + 1).is_err());
        let said = Authority::renew_issuer(dir.path(), &passphrase::none).unwrap_err();
        assert!(said.to_string().contains("bring the folder root/ back"), "{said}");
        std::fs::rename(dir.path().join("safe"), dir.path().join("root")).unwrap();
        Authority::renew_issuer(dir.path(), &passphrase::none).unwrap();
        Authority::open(dir.path()).unwrap().new_peer("peer-2", 1).unwrap();
    }

    #[test]
    fn an_init_that_was_killed_goes_on() {
        let whole = tempfile::tempdir().unwrap();
        Authority::init(whole.path()).unwrap();
        // In the order in which they are written.
        let files = [
            "root/root.key",
            "root/root.crt",
            "issuer/issuer.key",
            "issuer/issuer.crt",
            "issuer/root.crl",
            "ca.crt",
        ];
        for count in 0..=files.len() {
            let dir = tempfile::tempdir().unwrap();
            for file in &files[..count] {
                let to = dir.path().join(file);
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(whole.path().join(file), to).unwrap();
            }
            let authority = Authority::init(dir.path()).unwrap();
            authority.new_peer("a", 1).unwrap();
            for file in &files[..count] {
                let read = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
                assert_eq!(read(dir.path()), read(whole.path()), "{file}");
            }
        }
    }

    #[test]
    fn a_passphrase_is_needed_again() {
        let dir = tempfile::tempdir().unwrap();
        Authority::init_with(dir.path(), Some("correct horse")).unwrap();
        let text = std::fs::read_to_string(dir.path().join("issuer/issuer.key")).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
        let said = Authority::open(dir.path()).err().unwrap().to_string();
        assert!(said.contains("--passphrase-file"), "{said}");
        let with =
            |word: &'static str| Authority::open_with(dir.path(), &move |_| Ok(word.to_owned()));
        let said = with("wrong").err().unwrap().to_string();
        assert!(said.contains("passphrase is wrong"), "{said}");
        with("correct horse").unwrap().new_peer("a", 1).unwrap();
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
        let text = wish.serialize_request(&key).unwrap().pem().unwrap();
        let request = SigningRequest::from_pem(&text, Path::new("x.csr")).unwrap();
        assert!(
            request.ignored.iter().any(|it| it == "SubjectAlternativeName"),
            "{:?}",
            request.ignored
        );

        let signed = authority.sign(&request, &terms(None)).unwrap();
        assert_eq!((&*signed.name, signed.is_old), ("peer-7", false));
        let der = pem("CERTIFICATE", Path::new("x"), &signed.certificate).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(!certificate.is_ca());
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
        // As after a kill between signing and handing over: the same again.
        let again = authority.sign(&request, &terms(None)).unwrap();
        assert!(again.is_old);
        assert_eq!(again.certificate, signed.certificate);
        assert!(authority.sign(&request, &terms(Some("Ö"))).is_err());
    }

    #[test]
    fn a_name_and_a_key_belong_to_one_peer() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        authority.sign(&request_of(&key, "a"), &terms(None)).unwrap();
        let refused = |request: &SigningRequest, terms: &CertificateTerms<'_>| {
            let said = authority.sign(request, terms).unwrap_err().to_string();
            assert!(said.contains("use "), "{said}");
            said
        };
        assert!(refused(&request("a"), &terms(None)).contains("in use"));
        assert!(refused(&request("b"), &terms(Some("a"))).contains("in use"));
        assert!(refused(&request_of(&key, "b"), &terms(None)).contains("that of a already"));
        let again = CertificateTerms { is_again: true, ..terms(None) };
        authority.sign(&request("a"), &again).unwrap();
        assert_eq!(authority.revoke(CertificateKind::Peer, "a", &revoked(now())).unwrap().len(), 2);
        assert!(refused(&request_of(&key, "a"), &terms(None)).contains("revoked"));
        // The name is free for a new key.
        authority.sign(&request("a"), &terms(None)).unwrap();
    }

    #[test]
    fn what_is_revoked_is_listed_and_the_list_counts_up() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        assert_eq!(listed(dir.path()).number, 1);
        let pair = authority.new_peer("a", 1).unwrap();
        authority.new_peer("b", 1).unwrap();
        assert_eq!(listed(dir.path()).number, 1);
        let newly = authority.revoke(CertificateKind::Peer, "a", &revoked(now())).unwrap();
        assert_eq!(newly.len(), 1);
        let list = listed(dir.path());
        assert_eq!((list.number, list.serials), (2, vec![parsed(&pair.certificate).serial]));
        assert!(authority.revoke(CertificateKind::Peer, "a", &revoked(now())).unwrap().is_empty());
        assert!(authority.revoke(CertificateKind::Server, "a", &revoked(now())).is_err());
        assert!(authority.revoke(CertificateKind::Peer, "nobody", &revoked(now())).is_err());
        // As after a kill between register and list.
        std::fs::remove_file(dir.path().join("crl.pem")).unwrap();
        assert!(authority.revoke(CertificateKind::Peer, "a", &revoked(now())).unwrap().is_empty());
        assert_eq!(listed(dir.path()).number, 2);
        assert!(!authority.refresh_if_due().unwrap());
        authority.refresh().unwrap();
        assert_eq!((listed(dir.path()).number, listed(dir.path()).serials.len()), (3, 1));
    }

    #[test]
    fn a_certificate_is_renewed_in_its_last_third_within_its_family() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        let mut current = parsed(&authority.new_peer("a", 30).unwrap().certificate);
        let refused = |request: &SigningRequest, current: &Certificate, part: &str| {
            let said = authority.renew(request, current).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        };
        refused(&request("a"), &current, "last third");
        // Twenty-five of thirty days later.
        current.life.begins -= 25 * DAY.as_secs();
        current.life.ends -= 25 * DAY.as_secs();
        refused(&request("b"), &current, "another name");
        let stranger = Certificate { serial: vec![1], ..current.clone() };
        refused(&request("a"), &stranger, "this authority");
        let key = KeyPair::generate().unwrap();
        let renewed = parsed(&authority.renew(&request_of(&key, "a"), &current).unwrap());
        assert_eq!(renewed.name.as_deref(), Some("a"));
        assert_eq!(Family::of(&renewed.serial), Family::of(&current.serial));
        assert!(renewed.life.ends > current.life.ends);
        refused(&request_of(&key, "a"), &current, "used before");
        for _ in 1..RENEWALS_MAX {
            authority.renew(&request("a"), &current).unwrap();
        }
        refused(&request("a"), &current, "too many");
        let newly = authority.revoke(CertificateKind::Peer, "a", &revoked(now())).unwrap();
        assert_eq!(newly.len(), 1 + RENEWALS_MAX);
        refused(&request("a"), &current, "revoked");
    }

    #[test]
    fn commands_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        Authority::init(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    let authority = Authority::open(dir).unwrap();
                    authority.new_peer(&format!("peer-{number}"), 1).unwrap();
                });
            }
        });
        let register = Register::read(&dir.path().join("issuer/register.json")).unwrap();
        assert_eq!(register.issued.len(), 4);
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
            let said = SigningRequest::read(&path).err().unwrap().to_string();
            assert!(said.contains("x.csr"), "{said}");
        }
        assert!(SigningRequest::read(&dir.path().join("absent")).is_err());
    }
}
