//! Revocation lists: RFC 5280 §5, with a number and reasons.

use super::error::CaError;
use super::profile::{DAY, moment};
use super::reason::Reason;
use super::register::{Register, Revoked};
use super::serial;
use canister_link::clock;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use std::time::Duration;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// Days after which a list is to be replaced by a newer one. PostgreSQL lets nobody in by an older
/// one, so this is the time an operator may be away.
pub const LIST_DAYS: u32 = 90;
/// A list begins this long before it was made, for clocks that are behind.
const BEGINS_BEFORE: Duration = Duration::from_secs(60 * 60);
/// An expired certificate stays on the list for so long, for clocks that are behind.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A list in PEM of what the register says is revoked, signed by `issuer`.
pub(super) fn list(issuer: &Issuer<'_, KeyPair>, register: &Register) -> Result<String, CaError> {
    let now = clock::wall_millis() / 1000;
    let is_listed = |ends: u64| ends.saturating_add(KEPT.as_secs()) >= now;
    let revoked = register.issued.iter().filter_map(|issued| {
        let revoked = issued.revoked.as_ref().filter(|_| is_listed(issued.ends))?;
        Some(entry(&serial::bytes(&issued.serial)?, revoked))
    });
    signed(issuer, register.list_number, now, DAY * LIST_DAYS, revoked.collect())
}

/// An empty list in PEM that is good for `length`: what a root has to say until its issuing
/// certificate's key leaks.
pub(super) fn empty(
    issuer: &Issuer<'_, KeyPair>,
    number: u64,
    length: Duration,
) -> Result<String, CaError> {
    signed(issuer, number, clock::wall_millis() / 1000, length, vec![])
}

fn entry(serial: &[u8], revoked: &Revoked) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: moment(revoked.at),
        // RFC 5280 §5.3.1: rather no reason than this one.
        reason_code: (revoked.reason != Reason::Unspecified).then(|| revoked.reason.into()),
        invalidity_date: None,
    }
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    number: u64,
    now: u64,
    length: Duration,
    revoked_certs: Vec<RevokedCertParams>,
) -> Result<String, CaError> {
    let list = CertificateRevocationListParams {
        this_update: moment(now.saturating_sub(BEGINS_BEFORE.as_secs())),
        next_update: moment(now.saturating_add(length.as_secs())),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(issuer)?.pem()?)
}

/// What a list says, as far as the authority needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRevocations {
    /// Its number.
    pub number: u64,
    /// When it is to be replaced at the latest, in seconds since 1970 UTC.
    pub ends: u64,
    /// The serial numbers that it revokes, without leading zeros.
    pub serials: Vec<Vec<u8>>,
}

impl ListedRevocations {
    /// Whether it has more than two thirds of a list's life before it, at `now` in seconds since
    /// 1970: it needs no successor yet.
    pub fn is_young(&self, now: u64) -> bool {
        let two_thirds = u64::from(LIST_DAYS) * DAY.as_secs() / 3 * 2;
        self.ends > now.saturating_add(two_thirds)
    }

    /// Reads the first list in PEM; `None` if there is none.
    pub fn read(text: &str) -> Option<Self> {
        let (_, block) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
        let (_, list) = CertificateRevocationList::from_der(&block.contents).ok()?;
        let revoked = list.iter_revoked_certificates();
        Some(Self {
            number: list.crl_number()?.try_into().ok()?,
            ends: u64::try_from(list.next_update()?.timestamp()).ok()?,
            serials: revoked
                .map(|revoked| {
                    let serial = revoked.raw_serial();
                    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
                    serial[zeros..].to_vec()
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_young_for_a_month() {
        let made = 1000 * DAY.as_secs();
        let list = ListedRevocations {
            number: 1,
            ends: made + u64::from(LIST_DAYS) * DAY.as_secs(),
            serials: vec![],
        };
        for (days, seconds, is_young) in [
            // By a clock that went back, too.
            (-400, 0, true),
            (0, 0, true),
            (29, 0, true),
            (30, -1, true),
            (30, 0, false),
            (31, 0, false),
            (90, 1, false),
            (4000, 0, false),
        ] {
            let now = made.saturating_add_signed(days * 86_400 + seconds);
            assert_eq!(list.is_young(now), is_young, "{days} days and {seconds} s");
        }
    }
}
