//! The two readers of addresses that there were before there was one type: of announcements, and of
//! the operator's rules. What they took and what they held for one place is what [`Uri`] is compared
//! with.
//!
//! [`Uri`]: canister_protocol::Uri

use percent_encoding::percent_decode;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How one of them saw an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) is_https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Decoded, without empty ones.
    pub(crate) steps: Vec<Vec<u8>>,
}

impl Seen {
    pub(crate) fn is_own_port(&self) -> bool {
        self.port == if self.is_https { 443 } else { 80 }
    }

    pub(crate) fn announced_is_same(&self, other: &Self) -> bool {
        let is_same_port = self.port == other.port || (self.is_own_port() && other.is_own_port());
        is_same_port && self.host == other.host && self.steps == other.steps
    }

    pub(crate) fn ruled_is_below(&self, prefix: &Self) -> bool {
        let port = |seen: &Self| (!seen.is_own_port()).then_some(seen.port);
        let is_same_server = self.host == prefix.host && port(self) == port(prefix);
        is_same_server && self.steps.starts_with(&prefix.steps)
    }
}

/// As announcements were read, but for blanks around them.
pub(crate) fn announced(text: &str) -> Option<Seen> {
    let text = text.trim_ascii();
    let (scheme, rest) = text.split_once("://")?;
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    if rest.contains(['?', '#', '@']) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host_end = match authority.find(']') {
        Some(at) => at + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(host_end);
    let port = match port_in(port)? {
        Some(0) => return None,
        port => port_or_own(port.unwrap_or(0), is_https),
    };
    let host = host(name)?;
    let last = host.rsplit('.').next()?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if is_number && !host.contains(':') && host.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    let mut steps = Vec::new();
    for step in path.split('/') {
        let step: Vec<u8> = percent_decode(step.as_bytes()).collect();
        match &*step {
            b"" | b"." => {}
            b".." => return None,
            bytes if bytes.iter().any(u8::is_ascii_control) => return None,
            _ => steps.push(step),
        }
    }
    Some(Seen { is_https, host, port, steps })
}

/// As the operator's rules were read, and the sources that they were asked about; but for blanks
/// around them.
pub(crate) fn ruled(text: &str) -> Option<Seen> {
    let text = text.trim_ascii();
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let (rest, is_https) = match lower.starts_with("https://") {
        true => (&text[8..], true),
        false if lower.starts_with("http://") => (&text[7..], false),
        false => return None,
    };
    if rest.contains(['?', '#', '@', '\\']) || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (name, port) = match authority.strip_prefix('[') {
        Some(literal) => literal.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = port_or_own(port_in(port)?.unwrap_or(0), is_https);
    let mut steps = Vec::new();
    for step in path.split('/') {
        let mut bytes = step.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => {
                    let mut digit = || char::from(bytes.next()?).to_digit(16);
                    u8::try_from(digit()? * 16 + digit()?).ok()?
                }
                byte => byte,
            });
        }
        for step in decoded.split(|&byte| byte == b'/') {
            match step {
                b"" | b"." => {}
                b".." => return None,
                step => steps.push(step.to_vec()),
            }
        }
    }
    Some(Seen { is_https, host: host(name)?, port, steps })
}

fn port_or_own(port: u16, is_https: bool) -> u16 {
    match (port, is_https) {
        (0, true) => 443,
        (0, false) => 80,
        (port, _) => port,
    }
}

/// What is behind a host; the inner none where there is no port in it.
fn port_in(text: &str) -> Option<Option<u16>> {
    match text.strip_prefix(':') {
        None => text.is_empty().then_some(None),
        Some("") => Some(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(digits.parse().ok()?))
        }
        Some(_) => None,
    }
}

fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|literal| literal.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Some(address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then_some(name)
}
