//! What TLS says when one side won't have the other, in words that tell whose turn it is.

use rustls::{AlertDescription, CertificateError, Error};
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// What a failed handshake or a broken connection came from: as the system or rustls puts it, and
/// where a certificate or a clock is the cause, what would work.
pub fn explained(cause: &io::Error) -> String {
    let mut text = cause.to_string();
    let tls = cause.get_ref().and_then(|it| it.downcast_ref::<Error>());
    if let Some(help) = tls.and_then(help) {
        let _ = write!(text, "; {help}");
    }
    text
}

fn help(cause: &Error) -> Option<String> {
    let said = match cause {
        // The arbiter's certificate, judged here.
        Error::InvalidCertificate(cause) => match cause {
            CertificateError::NotValidYetContext { time, not_before } => {
                let (now, begins) = (date(time.as_secs()), date(not_before.as_secs()));
                return Some(format!(
                    "the arbiter's certificate is not yet valid: it begins on {begins} and this \
                     machine's clock says {now}: is this machine's clock right?"
                ));
            }
            CertificateError::ExpiredContext { time, not_after } => {
                let (now, ends) = (date(time.as_secs()), date(not_after.as_secs()));
                return Some(format!(
                    "the arbiter's certificate ended on {ends} and this machine's clock says {now}: \
                     is this machine's clock right? If it is, the arbiter's operator must renew it"
                ));
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the arbiter's certificate is not of the authority that --authority names; the \
                 ca.crt that came with your certificate would work"
            }
            _ => return None,
        },
        // Ours, judged there.
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateExpired => {
                "the arbiter finds our certificate expired or not yet valid: is this machine's \
                 clock right? `canister-agent check` tells the days left; if there are none, ask \
                 for a new certificate"
            }
            AlertDescription::CertificateRevoked => {
                "our certificate was revoked; ask Canister why, and for a new one"
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "the arbiter doesn't know the authority that signed our certificate; the one of \
                 this arbiter's operator would work"
            }
            AlertDescription::UnsupportedCertificate => {
                "our certificate is not a peer's; the one that answered the peer's request would \
                 work"
            }
            AlertDescription::CertificateRequired => "we sent no certificate",
            _ => return None,
        },
        _ => return None,
    };
    Some(said.to_owned())
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
        let early = CertificateError::NotValidYetContext {
            time: at(20_000),
            not_before: at(20_001),
        };
        let late = CertificateError::ExpiredContext {
            time: at(20_002),
            not_after: at(20_001),
        };
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
