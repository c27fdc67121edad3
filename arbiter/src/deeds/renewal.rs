//! Renewing and revoking peers' certificates over their sessions, where the operator has given the arbiter the
//! authority's folder; renewing the arbiter's own and the database's, and keeping the authority's revocation
//! list young meanwhile.

use crate::hub::Hub;
use canister_authority::reason::Reason;
use canister_authority::register::{CertificateKind, Revoked};
use canister_authority::request::SigningRequest;
use canister_authority::{Authority, CaError};
use canister_link::certificate::Certificate;
use canister_link::{clock, durable};
use canister_protocol::ToPeer;
use canister_protocol::limits::{CHAIN_BYTES_MAX, TEXT_BYTES_MAX};
use canister_protocol::plain::one_line;
use log::{error, info, warn};
use rustix::fs::Access;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use smol::Timer;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Least time between two requests of one session.
const PAUSE: Duration = Duration::from_secs(1);
/// When to ask again an arbiter that renews nothing, in seconds.
const NEVER_SECS: u32 = 86_400;
/// When to ask again one that refused or failed, in seconds.
const LATER_SECS: u32 = 3600;
/// How often the age of the revocation list is looked at.
pub const LIST_EVERY: Duration = Duration::from_secs(60 * 60);

/// What can be renewed in this arbiter: everything, or nothing.
#[derive(Clone)]
pub struct Renewals(Option<Arc<Authority>>);

/// What became of a request.
pub struct Renewed {
    /// What to say to the peer.
    pub answer: ToPeer,
    /// The new certificate, if there is one.
    pub certificate: Option<Certificate>,
}

impl Renewals {
    /// Renews with this authority, or nothing.
    pub fn new(authority: Option<Authority>) -> Self {
        Self(authority.map(Arc::new))
    }

    /// Renews `current`, which the peer showed or was given over this session. `last` is when the
    /// session asked before.
    pub async fn renew(
        &self,
        request: String,
        current: Certificate,
        last: Option<Instant>,
    ) -> Renewed {
        let Some(authority) = self.0.clone() else {
            return refused("this arbiter renews no certificates", NEVER_SECS);
        };
        if last.is_some_and(|last| clock::now() - last < PAUSE) {
            return refused("asked too often", LATER_SECS);
        }
        let name = current.name.clone().unwrap_or_default();
        // Files, a lock, and up to a millisecond of signing and verifying.
        let signed = smol::unblock(move || {
            let request = SigningRequest::from_pem(&request, Path::new("the request"))?;
            authority.renew(&request, &current)
        });
        match signed.await {
            Ok(chain) => {
                let certificate = CertificateDer::from_pem_slice(chain.as_bytes());
                let certificate = certificate.ok().and_then(|own| Certificate::read(&own));
                if chain.len() > CHAIN_BYTES_MAX || certificate.is_none() {
                    error!(peer = name; "the authority's certificates are too long to be sent");
                    return refused("the arbiter can't renew it", LATER_SECS);
                }
                info!(peer = name; "certificate renewed");
                Renewed { answer: ToPeer::Certificate { chain }, certificate }
            }
            Err(cause @ (CaError::Refused(_) | CaError::Content { .. } | CaError::Name(_))) => {
                info!(peer = name, cause:%; "refused to renew a certificate");
                refused(&cause.to_string(), LATER_SECS)
            }
            // What goes wrong on the arbiter's machine is the operator's to read, not the peer's.
            Err(cause) => {
                error!(peer = name, cause:%; "couldn't renew a certificate");
                refused("the arbiter can't renew it", LATER_SECS)
            }
        }
    }

    /// Revokes what was issued to a peer that leaves; whether that is done.
    pub async fn revoke(&self, peer: &str) -> bool {
        let Some(authority) = self.0.clone() else {
            warn!(peer; "left; `canister-arbiter ca revoke --why left` makes sure that it stays away");
            return false;
        };
        let name = peer.to_owned();
        let revoked = smol::unblock(move || {
            let why = "it left".to_owned();
            let at = clock::wall_millis() / 1000;
            let revoked = Revoked { at, reason: Reason::CessationOfOperation, why };
            authority.revoke(CertificateKind::Peer, &name, &revoked)
        });
        match revoked.await {
            Ok(_) => {
                info!(peer; "left, and is revoked");
                true
            }
            Err(cause) => {
                error!(peer, cause:%; "left, and couldn't be revoked");
                false
            }
        }
    }

    /// Renews these certificates of servers where it is time, for the keys that they have; blocks. Says
    /// which it renewed and until when each is good, in seconds since 1970. What fails is logged unless it
    /// is in `known`, and is in there then.
    pub fn renew_servers(
        &self,
        paths: &[PathBuf],
        known: &mut BTreeSet<String>,
    ) -> Vec<(PathBuf, u64)> {
        let Some(authority) = &self.0 else { return Vec::new() };
        let renewed = paths.iter().filter_map(|path| match renew_server(authority, path) {
            Ok(Some(ends)) => {
                info!(path:% = path.display(); "renewed a server's certificate");
                Some((path.clone(), ends))
            }
            Ok(None) => None,
            Err(why) => {
                if known.insert(why.clone()) {
                    error!(why; "couldn't renew a server's certificate");
                }
                None
            }
        });
        renewed.collect()
    }

    /// The same for ever, each `every` or more often; nothing without an authority.
    pub async fn keep_servers(self, hub: Rc<Hub>, paths: Vec<PathBuf>, every: Duration) {
        let mut known = BTreeSet::new();
        while self.0.is_some() {
            let (this, paths) = (self.clone(), paths.clone());
            let renewing = smol::unblock(move || {
                let renewed = this.renew_servers(&paths, &mut known);
                (renewed, known)
            });
            let (renewed, errors) = renewing.await;
            known = errors;
            renewed.iter().for_each(|(path, ends)| hub.renewed(path, *ends));
            // Those that live for less than others are looked at more often.
            let now = clock::wall_millis() / 1000;
            let left = hub.expiries.borrow().iter().map(|it| it.ends.saturating_sub(now)).min();
            let soon = Duration::from_secs(left.unwrap_or(u64::MAX).max(40)) / 20;
            Timer::after(every.min(soon)).await;
        }
    }

    /// Signs a new revocation list if the one that is there is past a third of its life; blocks. Nothing without
    /// an authority.
    pub fn refresh_list(&self) {
        match self.0.as_ref().map(|authority| authority.refresh_if_due()) {
            Some(Ok(true)) => info!("signed a new revocation list"),
            None | Some(Ok(false)) => {}
            Some(Err(cause)) => error!(cause:%; "couldn't sign a new revocation list"),
        }
    }

    /// Keeps the revocation list young for ever, looking at it now and each `every`; nothing without an authority.
    pub async fn keep_list_young(self, every: Duration) {
        while self.0.is_some() {
            let this = self.clone();
            smol::unblock(move || this.refresh_list()).await;
            Timer::after(every).await;
        }
    }
}

/// Renews a server's certificate if it is time; until when the new one is good.
fn renew_server(authority: &Authority, path: &Path) -> Result<Option<u64>, String> {
    let failed = |cause: io::Error| format!("{}: {cause}", path.display());
    let chain = chain(path).map_err(failed)?;
    if read(&chain).is_some_and(|own| clock::wall_millis() / 1000 < own.life.renewal()) {
        return Ok(None);
    }
    // Before anything is signed.
    let folder = durable::folder(path);
    rustix::fs::access(folder, Access::WRITE_OK).map_err(|cause| {
        let folder = folder.display();
        format!(
            "{}: {cause}; let the arbiter write to {folder}, or renew it by hand",
            path.display()
        )
    })?;
    let Some(new) = authority.renew_server(&chain, path).map_err(|cause| cause.to_string())? else {
        return Ok(None);
    };
    durable::replace(path, new.as_bytes(), 0o644).map_err(failed)?;
    certificate_in(path).map(Some).map_err(|cause| cause.to_string())
}

fn chain(path: &Path) -> io::Result<String> {
    let mut chain = String::new();
    File::open(path)?.take(CHAIN_BYTES_MAX as u64).read_to_string(&mut chain)?;
    Ok(chain)
}

/// Until when the certificate in a file is good, in seconds since 1970.
///
/// # Errors
/// It can't be read, or is none.
pub fn certificate_in(path: &Path) -> io::Result<u64> {
    let read = read(&chain(path)?).ok_or_else(|| io::Error::other("no certificate in PEM"))?;
    Ok(read.life.ends)
}

fn read(chain: &str) -> Option<Certificate> {
    Certificate::read(&CertificateDer::from_pem_slice(chain.as_bytes()).ok()?)
}

fn refused(why: &str, again_secs: u32) -> Renewed {
    let why: String = why.chars().filter(|it| !it.is_control()).collect();
    Renewed {
        answer: ToPeer::NoCertificate { reason: one_line(&why, TEXT_BYTES_MAX), again_secs },
        certificate: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_authority::revocation::ListedRevocations;
    use smol::future::FutureExt as _;

    /// The list is lost, then its folder is where nothing can be done for a while: it is signed
    /// again each time it can be.
    #[test]
    fn a_list_is_kept_young_for_ever() {
        const OFTEN: Duration = Duration::from_millis(5);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("ca");
        let path = dir.join("crl.pem");
        let renewals = Renewals::new(Some(Authority::init(&dir).unwrap()));
        let number = || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            ListedRevocations::read(&text).map(|listed| listed.number)
        };
        let until = async |is_it: &dyn Fn() -> bool| {
            let begun = clock::now();
            while !is_it() {
                assert!(begun.elapsed() < Duration::from_secs(20));
                Timer::after(OFTEN).await;
            }
        };
        let test = async {
            assert_eq!(number(), Some(1));
            // It is young, and left as it is.
            Timer::after(OFTEN * 20).await;
            assert_eq!(number(), Some(1));
            std::fs::remove_file(&path).unwrap();
            until(&|| number() == Some(2)).await;
            let away = dir.with_extension("away");
            std::fs::rename(&dir, &away).unwrap();
            std::fs::remove_file(away.join("crl.pem")).unwrap();
            Timer::after(OFTEN * 20).await;
            std::fs::rename(&away, &dir).unwrap();
            until(&|| number() == Some(3)).await;
        };
        let kept = async {
            renewals.keep_list_young(OFTEN).await;
            panic!("it ended");
        };
        smol::block_on(test.or(kept));
    }
}
