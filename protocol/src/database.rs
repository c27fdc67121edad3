//! Where peers reach the database that they may write to themselves.

use crate::error::Error;
use crate::limits::{DATABASE_HOSTS_MAX, DATABASE_NAME_BYTES_MAX, HOST_BYTES_MAX};
use crate::message::cut;
use nanoserde::{DeJson, SerJson};
use std::fmt;
use std::str::FromStr;

/// The port of PostgreSQL, where none is given.
pub const PORT: u16 = 5432;

/// A PostgreSQL database on one or several hosts, of which one is written to at a time.
///
/// This is all that an arbiter can tell of a connection: what else belongs to one (TLS, the role,
/// time limits) is the peer's own and can't be changed from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Database {
    /// Its name: 1 to [`DATABASE_NAME_BYTES_MAX`] bytes of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// 1 to [`DATABASE_HOSTS_MAX`], to be tried in this order.
    pub hosts: Vec<DatabaseHost>,
}

/// One server of a [`Database`].
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct DatabaseHost {
    /// A host name or an address literal without brackets, at most [`HOST_BYTES_MAX`] bytes; its
    /// certificate is for this.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl Database {
    /// Whether every part is within its limits.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn check(&self) -> Result<(), Error> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=DATABASE_NAME_BYTES_MAX).contains(&self.name.len())
            || !self.name.bytes().all(is_name)
        {
            let why = format!("{:?} is no name of a database", cut(&self.name, 80));
            return Err(Error::field("database", why));
        }
        if !(1..=DATABASE_HOSTS_MAX).contains(&self.hosts.len()) {
            let why = format!("{} hosts, 1 to {DATABASE_HOSTS_MAX}", self.hosts.len());
            return Err(Error::field("database", why));
        }
        self.hosts.iter().try_for_each(DatabaseHost::check)
    }
}

impl DatabaseHost {
    fn check(&self) -> Result<(), Error> {
        // Neither a path (a Unix socket) nor a list.
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if !(1..=HOST_BYTES_MAX).contains(&self.host.len())
            || !self.host.bytes().all(is_host)
            || self.port == 0
        {
            let why = format!("{:?}:{} is no host", cut(&self.host, 80), self.port);
            return Err(Error::field("database", why));
        }
        Ok(())
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

/// Reads `host[:port],host[:port]/name`, as an operator writes it.
impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: HOST[:PORT][,HOST[:PORT]...]/DATABASE would work");
        let (hosts, name) = text.split_once('/').ok_or_else(wrong)?;
        let hosts = hosts.split(',').map(|host| {
            let (host, port) = match host.strip_prefix('[') {
                Some(literal) => literal.split_once(']')?,
                None => host.split_at(host.find(':').unwrap_or(host.len())),
            };
            let port = match port.strip_prefix(':') {
                Some(port) => port.parse().ok()?,
                None if port.is_empty() => PORT,
                None => return None,
            };
            let host = host.to_owned();
            Some(DatabaseHost { host, port })
        });
        let database = Self {
            name: name.to_owned(),
            hosts: hosts.collect::<Option<_>>().ok_or_else(wrong)?,
        };
        database.check().map_err(|_| wrong())?;
        Ok(database)
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
            assert!(text.parse::<Database>().is_err(), "{text}");
        }
    }
}
