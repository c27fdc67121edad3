//! A source's base address in one spelling: what two people who write it differently both mean.
//!
//! Case of scheme and host, the scheme's own port, a dot behind the host, slashes at the end or
//! doubled, steps `.` and the choice which characters of a path are percent-encoded make no
//! difference. What a source's uri can't have (a query, a fragment, a user name, a step `..`) is
//! refused, however it is encoded.
//!
//! Spec: RFC 3986 §6.2.

use crate::entry;
use canister_protocol::limits::URI_BYTES_MAX;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use std::fmt;
use std::net::Ipv4Addr;

/// What is encoded in a step of a path: all but what RFC 3986 §3.3 lets stand, and `@`, which no
/// source's uri has.
const STEP: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':');

/// An `http://` or `https://` address of a directory. Two are equal if they mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uri {
    is_https: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Empty, or `/` and steps without a slash at the end.
    path: String,
}

/// A host in the one spelling that [`Uri`] has.
fn host(text: &str) -> Result<String, String> {
    let host = entry::host(text)?;
    if host.contains(':') {
        return Ok(format!("[{host}]"));
    }
    // A name whose last label is a number would be an IPv4 address to some and a name to others.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{text:?} is not an IPv4 address"));
    }
    Ok(host)
}

impl Uri {
    /// Reads an address as people and source lists write it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URI_BYTES_MAX {
            return Err(format!("the uri has {} bytes, at most {URI_BYTES_MAX}", text.len()));
        }
        let other = || format!("{text:?} is not an http:// or https:// address");
        let (scheme, rest) = text.split_once("://").ok_or_else(other)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(other()),
        };
        if rest.contains(['?', '#', '@']) {
            return Err(format!(
                "{text:?} has a query, a fragment or a user name, which a source's uri can't have"
            ));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host_end = match authority.find(']') {
            Some(at) => at + 1,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (name, port) = authority.split_at(host_end);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = digits.parse().ok().filter(|port| *port != 0);
                Some(port.ok_or_else(|| format!("{digits} is not a port"))?)
            }
            _ => return Err(format!("{authority:?} is not a host and a port")),
        };
        let steps = path.split('/').map(|step| percent_decode(step.as_bytes()).collect());
        Self::build(is_https, name, port, steps)
    }

    /// Puts an address together from its parts, the steps of its path not encoded.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn build(
        is_https: bool,
        name: &str,
        port: Option<u16>,
        steps: impl Iterator<Item = Vec<u8>>,
    ) -> Result<Self, String> {
        let mut path = String::new();
        for step in steps {
            if step.is_empty() || step == b"." {
                continue;
            }
            if step == b".." || step.iter().any(u8::is_ascii_control) {
                return Err("its path has a step .. or a control character".to_owned());
            }
            path.push('/');
            path.extend(percent_encode(&step, STEP));
        }
        let uri = Self {
            is_https,
            host: host(name)?,
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            path,
        };
        let bytes = uri.to_string().len();
        if bytes > URI_BYTES_MAX {
            return Err(format!("the uri has {bytes} bytes, at most {URI_BYTES_MAX}"));
        }
        Ok(uri)
    }

    /// Its host: a name in lower case, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its path without a slash at the end; empty for a server's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether both name one directory of one server, be it by http or by https at their own
    /// ports: many servers answer both, and a list names one of them.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let is_same_port = self.port == other.port || (self.is_own_port() && other.is_own_port());
        is_same_port && self.host == other.host && self.path == other.path
    }

    const fn is_own_port(&self) -> bool {
        self.port == if self.is_https { 443 } else { 80 }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if !self.is_own_port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_address() {
        for (text, uri) in [
            ("https://repo.example", "https://repo.example"),
            ("HTTPS://Repo.Example./", "https://repo.example"),
            ("https://repo.example:443//", "https://repo.example"),
            ("http://repo.example:80/a/", "http://repo.example/a"),
            ("http://repo.example:443/a", "http://repo.example:443/a"),
            ("http://repo.example:/a//b/./", "http://repo.example/a/b"),
            ("https://h/%7euser/c%2b%2B", "https://h/~user/c++"),
            ("https://h/a%2fb/%c3%bc/ü", "https://h/a%2Fb/%C3%BC/%C3%BC"),
            ("https://h/a b/100%", "https://h/a%20b/100%25"),
            ("http://[0:0::1]:8080/x", "http://[::1]:8080/x"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
            ("http://a_b-c.example/Case", "http://a_b-c.example/Case"),
        ] {
            let parsed = Uri::parse(text).unwrap();
            assert_eq!(parsed.to_string(), uri);
            assert_eq!(Uri::parse(uri).as_ref(), Ok(&parsed), "{uri} stays");
        }
    }

    #[test]
    fn what_no_source_can_have_is_refused() {
        let long = format!("https://h/{}", "a".repeat(URI_BYTES_MAX));
        let grows = format!("https://h/{}", "ü".repeat(URI_BYTES_MAX / 4));
        let name = format!("https://{}example", "a.".repeat(130));
        for text in [
            "",
            "repo.example",
            "ftp://h",
            "https://",
            "https:///a",
            "https://h/?q",
            "https://h#f",
            "https://u@h",
            "https://h/../a",
            "https://h/a/%2e%2E/b",
            "https://h/a%00",
            "https://h:0",
            "https://h:+1",
            "https://h:65536",
            "https://a b",
            "https://h%2Fa",
            "https://é.example",
            "https://a..b",
            "https://[::1",
            "https://[]",
            "https://[::1]x",
            "https://::1/x",
            "https://1.2.3",
            "https://0x7f000001",
            "https://127.0.0.01",
            long.as_str(),
            grows.as_str(),
            name.as_str(),
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_schemes_are_one_place_at_their_own_ports() {
        let same = |a: &str, b: &str| Uri::parse(a).unwrap().is_same_place(&Uri::parse(b).unwrap());
        assert!(same("http://h/a", "https://H/a/"));
        assert!(same("http://h:8080", "https://h:8080"));
        assert!(!same("http://h:8080", "https://h"));
        assert!(!same("http://h:443", "http://h"));
        assert!(!same("http://h/a", "http://h/A"));
        assert!(!same("http://h", "http://i"));
    }
}
