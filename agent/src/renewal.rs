//! Renewing the peer's certificate over its session: from two thirds of its life on, for a new key.
//!
//! ```text
//!  waiting ── due ──▶ asked ── Certificate ──▶ checked, kept, used from the next session on ──▶ waiting
//!     ▲                 ├── NoCertificate ──▶ (not before its time) ──┐
//!     └─────────────────┴── the session ended ──▶ (after a pause) ────┘
//! ```
//!
//! The new key is in memory until its certificate has come, and then the two are kept as one
//! ([`pair`](crate::pair)). The old certificate is good until it ends, so nothing is lost by a kill
//! at any moment: a later session asks again, with another key.

use crate::pair::PairOnDisk;
use canister_link::certificate::Life;
use canister_link::clock;
use canister_link::identity::{Files, Identity};
use canister_link::refusal::date;
use canister_link::request;
use canister_protocol::ToArbiter;
use log::{info, warn};
use rcgen::KeyPair;
use std::time::{Duration, Instant};

/// The wall clock is looked at least this often, for it may be set.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long until a request that wasn't answered is made again: a twentieth of the certificate's
/// life, within these bounds.
const AGAIN_SECS: std::ops::RangeInclusive<u64> = 1..=3600;

/// Where a peer stands with its renewal.
#[derive(Debug)]
pub struct CertificateRenewal {
    files: Files,
    /// When to ask, in seconds since 1970.
    due: u64,
    /// The key that a certificate was asked for, in this session.
    asked: Option<KeyPair>,
}

/// When to ask next, where nobody has said anything else: pure.
fn due(life: Life) -> u64 {
    life.renewal()
}

fn pause(life: Life) -> u64 {
    (life.length().as_secs() / 20).clamp(*AGAIN_SECS.start(), *AGAIN_SECS.end())
}

impl CertificateRenewal {
    /// For the certificate that `identity` has and that came from `files`.
    pub fn new(files: Files, identity: &Identity) -> Self {
        Self { files, due: due(identity.certificate().life), asked: None }
    }

    /// Another session begins, perhaps with another arbiter: what was asked is not answered any
    /// more, and what the last one refused this one may grant.
    pub fn session_begins(&mut self, identity: &Identity) {
        let now = clock::wall_millis() / 1000;
        let due = due(identity.certificate().life);
        self.due = if self.asked.take().is_some() {
            due.max(now + pause(identity.certificate().life))
        } else {
            due
        };
    }

    /// When [`request`](Self::request) is to be called next.
    pub fn deadline(&self) -> Instant {
        let wait = self.due.saturating_sub(clock::wall_millis() / 1000);
        clock::now() + Duration::from_secs(wait).min(LOOK_EVERY)
    }

    /// What to say to the arbiter now, if it is time. It isn't while an answer is waited for.
    pub fn request(&mut self, identity: &Identity) -> Option<ToArbiter> {
        let now = clock::wall_millis() / 1000;
        if now < self.due {
            return None;
        }
        let own = identity.certificate();
        self.due = now + pause(own.life);
        let name = own.name.as_deref()?;
        if self.asked.is_some() {
            return None;
        }
        // Found out before somebody signs what then can't be kept.
        if let Err(cause) = PairOnDisk::prepare(&self.files) {
            let path = self.files.certificate.display();
            let ends = date(own.life.ends);
            warn!(certificate:% = path, ends, cause:%; "can't renew the certificate: its folder and its key's must be the peer's own to write to");
            self.due = now + *AGAIN_SECS.end();
            return None;
        }
        let made = KeyPair::generate().and_then(|key| Ok((request::signed(&key, name)?, key)));
        match made {
            Ok((request, key)) => {
                info!(ends = date(own.life.ends); "asking for a new certificate");
                self.asked = Some(key);
                Some(ToArbiter::Renewal { request })
            }
            Err(cause) => {
                warn!(cause:%; "couldn't make a key");
                None
            }
        }
    }

    /// Takes the arbiter's answer: the identity to use from the next session on, if it is good and
    /// kept.
    pub fn certificate(&mut self, chain: &str, identity: &Identity) -> Option<Identity> {
        let Some(key) = self.asked.take() else {
            warn!("a certificate that wasn't asked for");
            return None;
        };
        let key = key.serialize_pem();
        let now = clock::wall_millis() / 1000;
        let kept = identity.renewed(chain, &key, now).and_then(|renewed| {
            let pair = PairOnDisk::prepare(&self.files);
            pair.and_then(|pair| pair.replace(chain.as_bytes(), key.as_bytes()))
                .map_err(|cause| format!("keep it: {cause}"))?;
            Ok(renewed)
        });
        match kept {
            Ok(renewed) => {
                let life = renewed.certificate().life;
                self.due = due(life).max(now + *AGAIN_SECS.start());
                info!(ends = date(life.ends); "certificate renewed");
                Some(renewed)
            }
            Err(cause) => {
                warn!(cause; "couldn't use the new certificate");
                self.due = now + *AGAIN_SECS.end();
                None
            }
        }
    }

    /// Takes the arbiter's answer that there is none.
    pub fn refused(&mut self, reason: &str, again_secs: u32, identity: &Identity) {
        self.asked = None;
        self.due = clock::wall_millis() / 1000 + u64::from(again_secs);
        let ends = date(identity.certificate().life.ends);
        warn!(reason, ends; "the arbiter gave no new certificate");
    }
}
