//! Where peers reach the database that they may write to themselves: what an arbiter's operator
//! writes, and what the arbiter says in its answer's header [`HEADER`].
//!
//! Spec: docs/protocol.md, "Values".

use crate::limits::{DATABASE_HOSTS_MAX, DATABASE_NAME_BYTES_MAX, HOST_BYTES_MAX};
use crate::message::cut;
use std::fmt;
use std::str::FromStr;

/// The port of PostgreSQL, where none is given.
pub const PORT: u16 = 5432;
/// The header of an arbiter's answer to the WebSocket's handshake that names the database. There, and
/// not in a message, a peer reads it that only checks and takes over no session.
pub const HEADER: &str = "Canister-Database";
/// Most bytes of what can't be read that are told.
const TOLD_BYTES_MAX: usize = 200;

/// A PostgreSQL database on one or several hosts, of which one is written to at a time.
///
/// This is all that an arbiter can tell of a connection: what else belongs to one (TLS, the role,
/// time limits) is the peer's own and can't be changed from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name: 1 to [`DATABASE_NAME_BYTES_MAX`] bytes of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// 1 to [`DATABASE_HOSTS_MAX`], to be tried in this order.
    pub hosts: Vec<DatabaseHost>,
}

/// One server of a [`Database`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseHost {
    /// A host name or an address literal without brackets, at most [`HOST_BYTES_MAX`] bytes; its
    /// certificate is for this.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl Database {
    fn is_within_limits(&self) -> bool {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=DATABASE_NAME_BYTES_MAX).contains(&self.name.len())
            && self.name.bytes().all(is_name)
            && (1..=DATABASE_HOSTS_MAX).contains(&self.hosts.len())
            && self.hosts.iter().all(DatabaseHost::is_within_limits)
    }
}

impl DatabaseHost {
    fn is_within_limits(&self) -> bool {
        // Neither a path (a Unix socket) nor a list.
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        (1..=HOST_BYTES_MAX).contains(&self.host.len())
            && self.host.bytes().all(is_host)
            && self.port != 0
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.hosts.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, "/{}", self.name)
    }
}

impl fmt::Display for DatabaseHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads `host[:port],host[:port]/name`, whoever wrote it.
impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let told = cut(text, TOLD_BYTES_MAX);
            format!("{told:?}: use HOST[:PORT][,HOST[:PORT]...]/DATABASE")
        };
        let (hosts, name) = text.split_once('/').ok_or_else(wrong)?;
        let hosts = hosts.split(',').map(|host| {
            let (host, port) = match host.strip_prefix('[') {
                Some(literal) => literal.split_once(']')?,
                None => host.split_at(host.find(':').unwrap_or(host.len())),
            };
            let port = match port.strip_prefix(':') {
                // A sign is a number's, too.
                Some(port) if !port.starts_with('+') => port.parse().ok()?,
                Some(_) => return None,
                None if port.is_empty() => PORT,
                None => return None,
            };
            let host = host.to_owned();
            Some(DatabaseHost { host, port })
        });
        let database =
            Self { name: name.to_owned(), hosts: hosts.collect::<Option<_>>().ok_or_else(wrong)? };
        database.is_within_limits().then_some(database).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_writes_is_read_or_refused() {
        for (text, whole) in [
            ("db.example/canister", "db.example:5432/canister"),
            ("10.0.0.7:6432/a_b-C9", "10.0.0.7:6432/a_b-C9"),
            ("a:1,b,[::1]:7,[::2]/c", "a:1,b:5432,[::1]:7,[::2]:5432/c"),
        ] {
            let database: Database = text.parse().unwrap();
            assert_eq!(database.to_string(), whole);
            assert_eq!(whole.parse(), Ok(database));
        }
        let long = "a".repeat(HOST_BYTES_MAX + 1);
        for text in [
            "",
            "/",
            "/canister",
            "a",
            "a/",
            "a:0/b",
            "a:70000/b",
            "a:x/b",
            "a:+1/b",
            "a:-1/b",
            "a:/b",
            "[a",
            "a\n/b",
            "a/b\u{7}",
            "é/b",
            "a,/b",
            "/run/postgresql",
            "a/b?sslmode=disable",
            "a/b sslmode=disable",
            "a b/c",
            "user@a/b",
            "[::1/b",
            "[::1]x/b",
            "a,a,a,a,a,a,a,a,a/b",
            &format!("{long}/b"),
            &format!("a/{}", "b".repeat(DATABASE_NAME_BYTES_MAX + 1)),
        ] {
            let said = text.parse::<Database>().unwrap_err();
            assert!(said.len() < 2 * TOLD_BYTES_MAX, "{said}");
        }
    }

    /// What is read is within its limits and stays what it is when it is said again, whichever byte
    /// of it was changed, left out or put in.
    #[test]
    fn any_text_gives_a_database_or_an_error() {
        for text in ["a:1,b,[::1]:7,[::2]/c", "10.0.0.7:65535/a_b-C9"] {
            for at in 0..text.len() {
                for byte in 0..=0x7f_u8 {
                    for (until, from) in [(at, at), (at, at + 1)] {
                        let odd = char::from(byte);
                        let odd = format!("{}{odd}{}", &text[..until], &text[from..]);
                        let Ok(database) = odd.parse::<Database>() else {
                            continue;
                        };
                        assert!(database.is_within_limits(), "{odd:?}");
                        assert_eq!(database.to_string().parse(), Ok(database), "{odd:?}");
                    }
                }
                let less = format!("{}{}", &text[..at], &text[at + 1..]);
                if let Ok(database) = less.parse::<Database>() {
                    assert_eq!(database.to_string().parse(), Ok(database), "{less:?}");
                }
            }
        }
    }
}
