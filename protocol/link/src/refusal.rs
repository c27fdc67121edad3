//! What an arbiter, the database or a source's server says when one side won't have the other, in words
//! that tell whose turn it is.

use canister_protocol::message::cut;
use rustls::{AlertDescription, CertificateError, Error};
use std::fmt::{self, Write as _};
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// Most bytes that are told of what a database said.
const DATABASE_BYTES_MAX: usize = 500;
/// Most bytes that are told of what a source's server did.
const SOURCE_BYTES_MAX: usize = 500;
/// Most names of a certificate that are told.
const NAMES_MAX: usize = 3;

/// What a failed handshake or a broken connection came from: as the system or rustls puts it, and
/// where a certificate or a clock is the cause, what to do.
pub fn explained(cause: &io::Error) -> String {
    let tls = cause.get_ref().and_then(|it| it.downcast_ref::<Error>());
    if matches!(tls, Some(Error::InvalidMessage(_))) {
        return "something on the way answers without TLS: a proxy, or a hotspot that wants a login"
            .to_owned();
    }
    if tls.is_none() && cause.kind() == io::ErrorKind::UnexpectedEof {
        return "the connection was ended at its first words: a proxy or firewall on the way lets \
                only the web through, or something else than an arbiter is there"
            .to_owned();
    }
    let mut text = cause.to_string();
    if let Some(help) = tls.and_then(|cause| help(cause, Side::Arbiter)) {
        let _ = write!(text, "; {help}");
    }
    text
}

/// What a connection to a source's server failed with: in words where TLS failed, else as the system
/// puts it.
pub fn of_source(cause: &io::Error) -> String {
    let tls = cause.get_ref().and_then(|it| it.downcast_ref::<Error>());
    let text = match (tls, cause.kind()) {
        (Some(tls), _) => of_source_tls(tls),
        (None, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            format!("the server broke the connection off: {cause}")
        }
        (None, io::ErrorKind::UnexpectedEof) => {
            format!("the server ended the connection too early: {cause}")
        }
        _ => cause.to_string(),
    };
    let text: String = text.chars().filter(|it| !it.is_control()).collect();
    cut(&text, SOURCE_BYTES_MAX).to_owned()
}

/// The same, of TLS alone.
pub fn of_source_tls(cause: &Error) -> String {
    let words = help(cause, Side::Source).unwrap_or_else(|| cause.to_string());
    format!("TLS handshake: {words}")
}

/// What the database's client failed with: the server's own words where it has said some, and where
/// that is known, what to do.
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
            "it is down, or a firewall on the way is closed to it; have your firewall let \
             connections out to that port"
                .to_owned(),
        ),
        _ => None,
    }
}

/// What a peer whose certificate was revoked is told, by whichever way it learns of it: TLS refuses the
/// list's certificates, an arbiter also the renewals of those.
pub const REVOKED: &str = "our certificate was revoked; ask Canister why, and for a new one";

/// Whether a connection ended because our certificate was revoked.
pub fn is_revoked(cause: &io::Error) -> bool {
    let tls = cause.get_ref().and_then(|it| it.downcast_ref::<Error>());
    matches!(tls, Some(Error::AlertReceived(AlertDescription::CertificateRevoked)))
}

/// What to do, by PostgreSQL's SQLSTATE (its manual, appendix A).
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
    /// A source's server, or any on the web.
    Source,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arbiter => "the arbiter",
            Self::Database => "the database",
            Self::Source => "the server",
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
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match side {
                Side::Arbiter | Side::Database => format!(
                    "{side}'s certificate is not of the authority that --authority names; use the ca.crt \
                     that came with your certificate"
                ),
                Side::Source => "the server's certificate is of no authority that this machine \
                                 trusts, or the server leaves out the certificate in between"
                    .to_owned(),
            },
            CertificateError::NotValidForNameContext { expected, presented }
                if side == Side::Source =>
            {
                let name = expected.to_str();
                let names: Vec<_> = presented.iter().take(NAMES_MAX).map(|it| bare(it)).collect();
                let more = if presented.len() > NAMES_MAX { " and others" } else { "" };
                let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
                format!("the server's certificate is for {names}{more}, not for {name}")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{side}'s operator must give it a certificate for this name")
            }
            _ if side == Side::Source => of_certificate(cause)?,
            _ => return None,
        },
        _ if side == Side::Source => return of_web(cause),
        // Ours, judged there.
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateExpired => {
                let list = match side {
                    Side::Arbiter => "",
                    // OpenSSL has one alert for both.
                    Side::Database | Side::Source => {
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
            AlertDescription::CertificateRevoked => REVOKED.to_owned(),
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                let what = match side {
                    Side::Arbiter => "use the one of this arbiter's operator",
                    Side::Database | Side::Source => {
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

/// What is wrong with a web server's certificate, beside its issuer, its time and its names.
fn of_certificate(cause: &CertificateError) -> Option<String> {
    let what = match cause {
        CertificateError::BadEncoding => "can't be read",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not one for a server"
        }
        CertificateError::Revoked => "was revoked",
        CertificateError::UnhandledCriticalExtension => "has a condition that isn't known here",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed in a way that isn't safe any more, or isn't known here"
        }
        // Its type is another crate's: this is for people, and nothing depends on it.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is signed by itself"
        }
        _ => return None,
    };
    Some(format!("the server's certificate {what}"))
}

/// What TLS with a web server failed by, beside its certificate.
fn of_web(cause: &Error) -> Option<String> {
    let what = match cause {
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3"
        }
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | Error::PeerIncompatible(_) => {
            return Some(format!(
                "the server and this program have no safe way of TLS in common: one that offers \
                 only RSA key exchange or CBC ciphers, or wants a certificate of its clients, \
                 can't be reached ({cause})"
            ));
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server doesn't know this name"
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::AccessDenied,
        ) => "the server wants a certificate of its clients",
        Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | Error::NoApplicationProtocol => "the server doesn't speak HTTP/1.1",
        Error::AlertReceived(alert) => {
            return Some(format!("the server refuses it, by the alert {alert:?}"));
        }
        Error::InvalidMessage(_) => "what answers there doesn't speak TLS",
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            return Some(format!("the server breaks TLS's rules ({cause})"));
        }
        _ => return None,
    };
    Some(what.to_owned())
}

/// A name as rustls shows it, `DnsName("a.example")`, without its kind.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
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

    #[test]
    fn a_source_s_tls_is_told_in_words() {
        use rustls::{InvalidMessage, PeerIncompatible};
        let certificate = |cause| Error::InvalidCertificate(cause);
        let names = |presented: &[&str]| {
            certificate(CertificateError::NotValidForNameContext {
                expected: "a.example".try_into().unwrap(),
                presented: presented.iter().map(|name| format!("DnsName({name:?})")).collect(),
            })
        };
        let alert = Error::AlertReceived;
        for (cause, part) in [
            (certificate(CertificateError::UnknownIssuer), "leaves out the certificate in between"),
            (certificate(CertificateError::Revoked), "was revoked"),
            (certificate(CertificateError::BadEncoding), "can't be read"),
            (names(&["b.example"]), "is for b.example, not for a.example"),
            (names(&["b", "c", "d", "e"]), "is for b, c, d and others, not for a.example"),
            (names(&[]), "is for nobody"),
            (alert(AlertDescription::ProtocolVersion), "neither TLS 1.2 nor TLS 1.3"),
            (alert(AlertDescription::HandshakeFailure), "RSA key exchange or CBC"),
            (alert(AlertDescription::UnrecognisedName), "doesn't know this name"),
            (alert(AlertDescription::InternalError), "by the alert InternalError"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "doesn't speak TLS"),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), "no safe way of TLS in common"),
            (Error::NoApplicationProtocol, "doesn't speak HTTP/1.1"),
            (Error::General("odd".to_owned()), "odd"),
        ] {
            let said = of_source(&io::Error::other(cause));
            assert!(said.starts_with("TLS handshake: ") && said.contains(part), "{said}");
        }
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(of_source(&reset).starts_with("the server broke the connection off"));
        assert_eq!(of_source(&io::Error::other("a\nb")), "ab");
    }
}
