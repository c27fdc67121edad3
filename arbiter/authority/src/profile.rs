//! What each kind of certificate says: RFC 5280 as far as it is used here, and no more.
//!
//! | kind | basicConstraints | keyUsage | extendedKeyUsage | good for |
//! | --- | --- | --- | --- | --- |
//! | root | CA, one below | keyCertSign, cRLSign | — | [`AUTHORITY_DAYS`] |
//! | issuing | CA, none below | keyCertSign, cRLSign | — | [`ISSUER_DAYS`] |
//! | server | no CA | digitalSignature | serverAuth, clientAuth | [`DAYS`] |
//! | peer | no CA | digitalSignature | clientAuth | [`DAYS`] |
//! | announcer | no CA | digitalSignature | document signing (RFC 9336): opens no door | [`DAYS`] |
//!
//! A peer's subject has a user identifier (UID): its role in PostgreSQL.
//!
//! All but the root's have the identifier of the key that signed them; all have their own key's.

use super::error::CaError;
use super::serial::Family;
use canister_link::certificate::{Life, is_name};
use canister_link::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SerialNumber,
};
use std::time::Duration;
use time::OffsetDateTime;

/// Days a root's certificate is good for.
pub const AUTHORITY_DAYS: u32 = 3650;
/// Days an issuing certificate is good for.
pub const ISSUER_DAYS: u32 = 1825;
/// Days any other certificate is good for unless the operator says otherwise.
pub const DAYS: u32 = 365;
/// A certificate begins this long before it was made, for clocks that are behind ...
const BEGINS_BEFORE: Duration = Duration::from_secs(60 * 60);
/// ... or this part of its life, where that is shorter.
const BEGINS_BEFORE_PART: u32 = 24;
/// Longest host name in bytes (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// Longest common name (RFC 5280, ub-common-name).
const COMMON_NAME_BYTES_MAX: usize = 64;

/// A day.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate's life that begins about now.
pub fn life(length: Duration) -> Life {
    let now = clock::wall_millis() / 1000;
    let before = BEGINS_BEFORE.min(length / BEGINS_BEFORE_PART);
    Life {
        begins: now.saturating_sub(before.as_secs()),
        ends: now.saturating_add(length.as_secs()),
    }
}

/// Seconds since 1970 as the library for certificates wants them.
pub(super) fn moment(seconds: u64) -> OffsetDateTime {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The root's.
pub(super) fn root(life: Life) -> Result<CertificateParams, CaError> {
    authority("Canister authority", 1, life, Family::new()?)
}

/// An issuing certificate's. `key` tells it from others of the same root.
pub(super) fn issuing(key: &str, life: Life) -> Result<CertificateParams, CaError> {
    let name = format!("Canister issuing {key}");
    authority(&name, 0, life, Family::new()?)
}

/// A server's that is reached under these host names and addresses.
pub(super) fn server(names: &[String], life: Life) -> Result<CertificateParams, CaError> {
    let first = names
        .first()
        .ok_or_else(|| CaError::Refused("a server needs a host name or an address".to_owned()))?;
    if let Some(bad) = names.iter().find(|name| !is_host(name)) {
        let bad: String = bad.chars().take(80).collect();
        return Err(CaError::Refused(format!(
            "{bad:?} is no host name and no address; use arbiter.example.org or 192.0.2.1"
        )));
    }
    // PostgreSQL goes by the common name alone: no server's may be one that a peer can have.
    let name = if first.len() <= COMMON_NAME_BYTES_MAX && !is_name(first) {
        first
    } else {
        "Canister server"
    };
    let mut params = params(&[(DnType::CommonName, name)], life, Family::new()?)?;
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    // An arbiter is also a client: of a database on another machine.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// A peer's.
pub(super) fn peer(name: &str, life: Life, family: Family) -> Result<CertificateParams, CaError> {
    if !is_name(name) {
        return Err(CaError::Name(name.to_owned()));
    }
    // PostgreSQL goes by both: as what the peer logs in, which tells other peers nothing of it.
    let subject = [(user_id(), &*family.role()), (DnType::CommonName, name)];
    let mut params = params(&subject, life, family)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// An announcer's: neither the arbiter's TLS nor PostgreSQL's lets anybody in by it.
pub(super) fn announcer(name: &str, life: Life) -> Result<CertificateParams, CaError> {
    if !is_name(name) {
        return Err(CaError::Name(name.to_owned()));
    }
    let mut params = params(&[(DnType::CommonName, name)], life, Family::new()?)?;
    // 1.3.6.1.5.5.7.3.36, `canister_link::certificate::ANNOUNCES`.
    let announces = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36]);
    params.extended_key_usages = vec![announces];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// RFC 4519 §2.39.
fn user_id() -> DnType {
    DnType::CustomDnType(vec![0, 9, 2342, 19200300, 100, 1, 1])
}

fn authority(
    name: &str,
    below: u8,
    life: Life,
    family: Family,
) -> Result<CertificateParams, CaError> {
    let mut params = params(&[(DnType::CommonName, name)], life, family)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(
    subject: &[(DnType, &str)],
    life: Life,
    family: Family,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.not_before = moment(life.begins);
    params.not_after = moment(life.ends);
    params.serial_number = Some(SerialNumber::from_slice(&family.member()?));
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Canister");
    for (kind, value) in subject {
        name.push(kind.clone(), *value);
    }
    params.distinguished_name = name;
    Ok(params)
}

fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.parse::<std::net::IpAddr>().is_ok()
        || (name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["localhost", "a.example", "192.0.2.1", "::1", "i1_x.example"] {
            assert!(is_host(good), "{good}");
        }
        let long = "a.".repeat(200);
        for bad in ["", ".", "a..b", "a b", "a/b", "-a", "*.a", "é", "a\n", &long] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_short_life_begins_shortly_before() {
        let (short, long) = (life(Duration::from_secs(48)), life(DAY * 30));
        assert!(short.length() <= Duration::from_secs(50), "{short:?}");
        assert_eq!(long.length(), DAY * 30 + BEGINS_BEFORE);
    }
}
