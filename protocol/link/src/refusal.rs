//! What an arbiter or the database says when one side won't have the other, in words that tell whose
//! turn it is.

use canister_protocol::message::cut;
use rustls::{AlertDescription, CertificateError, Error};
use std::fmt::{self, Write as _};
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// Most bytes that are told of what a database said.
const DATABASE_BYTES_MAX: usize = 500;

/// What a failed handshake or a broken connection came from: as the system or rustls puts it, and
/// where a certificate or a clock is the cause, what would work.
pub fn explained(cause: &io::Error) -> String {
    let mut text = cause.to_string();
    let tls = cause.get_ref().and_then(|it| it.downcast_ref::<Error>());
    if let Some(help) = tls.and_then(|cause| help(cause, Side::Arbiter)) {
        let _ = write!(text, "; {help}");
    }
    text
}

/// What the database's client failed with: the server's own words where it has said some, and where
/// that is known, what would work.
pub fn of_database(cause: &postgres::Error) -> String {
    let (text, help) = match cause.as_db_error() {
        Some(said) => {
            let code = said.code().code();
            let text = format!("{} (SQLSTATE {code})", said.message());
            (text, database_help(code).map(str::to_owned))
        }
        None => {
            let (mut text, mut found) = (cause.to_string(), None);
            let mut next = std::error::Error::source(cause);
            while let Some(inner) = next {
                let _ = write!(text, ": {inner}");
                found = found.or_else(|| of_connection(inner));
                next = inner.source();
            }
            (text, found)
        }
    };
    let text: String = text.chars().filter(|it| !it.is_control()).collect();
    let text = cut(&text, DATABASE_BYTES_MAX);
    help.map_or_else(|| text.to_owned(), |help| format!("{text}; {help}"))
}

fn of_connection(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = cause.downcast_ref::<Error>() {
        return help(tls, Side::Database);
    }
    let cause = cause.downcast_ref::<io::Error>()?;
    let inner = cause.get_ref().and_then(|it| it.downcast_ref::<Error>());
    match (inner, cause.kind()) {
        (Some(tls), _) => help(tls, Side::Database),
        (None, io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut) => Some(
            "it is down, or a firewall on the way is closed to it; a firewall of yours that lets \
             connections out to that port would work"
                .to_owned(),
        ),
        _ => None,
    }
}

/// What would work, by PostgreSQL's SQLSTATE (its manual, appendix A).
fn database_help(code: &str) -> Option<&'static str> {
    Some(match code {
        "28000" => {
            "it has no role for our name, or none any more; Canister's operator can make one"
        }
        "3D000" | "3F000" | "42501" | "42883" => {
            "it isn't set up for peers; Canister's operator can do that"
        }
        "53300" => "it has as many connections as it takes; later it may take one more",
        "57P03" => "it is starting or stopping; later it will be there",
        _ => return None,
    })
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Arbiter,
    Database,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arbiter => "the arbiter",
            Self::Database => "the database",
        })
    }
}

fn help(cause: &Error, side: Side) -> Option<String> {
    Some(match cause {
        // The other's certificate, judged here.
        Error::InvalidCertificate(cause) => match cause {
            CertificateError::NotValidYetContext { time, not_before } => {
                let (now, begins) = (date(time.as_secs()), date(not_before.as_secs()));
                format!(
                    "{side}'s certificate is not yet valid: it begins on {begins} and this \
                     machine's clock says {now}: is this machine's clock right?"
                )
            }
            CertificateError::ExpiredContext { time, not_after } => {
                let (now, ends) = (date(time.as_secs()), date(not_after.as_secs()));
                format!(
                    "{side}'s certificate ended on {ends} and this machine's clock says {now}: is \
                     this machine's clock right? If it is, {side}'s operator must renew it"
                )
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "{side}'s certificate is not of the authority that --authority names; the ca.crt \
                 that came with your certificate would work"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{side}'s operator must give it a certificate for this name")
            }
            _ => return None,
        },
        // Ours, judged there.
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateExpired => {
                let list = match side {
                    Side::Arbiter => "",
                    // OpenSSL has one alert for both.
                    Side::Database => {
                        "; if there are some, the database's revocation list is past its date, \
                         and its operator must replace it"
                    }
                };
                format!(
                    "{side} finds our certificate expired or not yet valid: is this machine's \
                     clock right? `canister-agent check` tells the days left; if there are none, \
                     ask for a new certificate{list}"
                )
            }
            // OpenSSL's word for it.
            AlertDescription::BadCertificate if side == Side::Database => {
                "the database finds our certificate, or its own revocation list, not yet valid: are \
                 this machine's clock and the database's right?"
                    .to_owned()
            }
            AlertDescription::CertificateRevoked => {
                "our certificate was revoked; ask Canister why, and for a new one".to_owned()
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                let what = match side {
                    Side::Arbiter => "the one of this arbiter's operator would work",
                    Side::Database => {
                        "its operator must give it the authority's ca.crt and revocation list"
                    }
                };
                format!("{side} doesn't know the authority that signed our certificate; {what}")
            }
            AlertDescription::UnsupportedCertificate => {
                "our certificate is not a peer's; the one that answered the peer's request would \
                 work"
                    .to_owned()
            }
            AlertDescription::CertificateRequired => "we sent no certificate".to_owned(),
            _ => return None,
        },
        _ => return None,
    })
}

/// A moment in seconds since 1970, for people.
pub fn date(seconds: u64) -> String {
    // httpdate writes years up to 9999, and panics beyond.
    let seconds = seconds.min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;

    #[test]
    fn a_wrong_clock_is_asked_about() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
        let early =
            CertificateError::NotValidYetContext { time: at(20_000), not_before: at(20_001) };
        let late = CertificateError::ExpiredContext { time: at(20_002), not_after: at(20_001) };
        for cause in [
            Error::InvalidCertificate(early),
            Error::InvalidCertificate(late),
            Error::AlertReceived(AlertDescription::CertificateExpired),
        ] {
            let said = explained(&io::Error::other(cause));
            assert!(said.contains("is this machine's clock right?"), "{said}");
        }
        assert_eq!(explained(&io::Error::other("odd")), "odd");
        assert!(date(u64::MAX).contains("9999"));
    }
}
