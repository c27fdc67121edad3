//! What a peer's owner has it never ask: hosts, domains and networks.
//!
//! | written | is never asked |
//! | --- | --- |
//! | `repo.example` | that host and all hosts below it |
//! | `203.0.113.7`, `2001:db8::/32` | that address, that network |

use crate::uri;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VetoEntry {
    /// A host and those below it, as [`Uri::host`](crate::Uri::host) spells them.
    Host(String),
    /// A network by an address in it and the number of bits that all its addresses share.
    Net(IpAddr, u8),
}

impl FromStr for VetoEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?}: use a host, a domain, an address or a network as 2001:db8::/32");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => {
                let ip = ip.to_canonical();
                let most = if ip.is_ipv4() { 32 } else { 128 };
                let bits = bits.unwrap_or(most);
                if bits <= most { Ok(Self::Net(ip, bits)) } else { Err(wrong()) }
            }
            Err(_) if bits.is_some() => Err(wrong()),
            Err(_) => uri::host(text).map(Self::Host).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for VetoEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Net(ip, bits) => write!(f, "{ip}/{bits}"),
        }
    }
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Veto(Vec<VetoEntry>);

impl Veto {
    /// These.
    pub const fn new(entries: Vec<VetoEntry>) -> Self {
        Self(entries)
    }

    /// As they are told in a message; those that can't be read are left out.
    pub fn of(texts: &[String]) -> Self {
        Self(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// To be told in a message.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any is about addresses.
    pub fn has_nets(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry, VetoEntry::Net(..)))
    }

    /// Whether a host, by its name or as an address, is never to be asked.
    pub fn names(&self, host: &str) -> bool {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_below = |above: &str| {
            let rest = host.strip_suffix(above);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.0.iter().any(|entry| match entry {
            VetoEntry::Host(above) => is_below(above),
            VetoEntry::Net(..) => ip.is_some_and(|ip| entry.has(ip)),
        })
    }

    /// Whether an address is never to be asked.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|entry| entry.has(address))
    }
}

impl VetoEntry {
    fn has(&self, address: IpAddr) -> bool {
        let shared = |left: u32| left == 0;
        match (self, address.to_canonical()) {
            (Self::Net(IpAddr::V4(net), bits), IpAddr::V4(ip)) => {
                let differs = net.to_bits() ^ ip.to_bits();
                shared(differs.checked_shr(32 - u32::from(*bits)).unwrap_or_default())
            }
            (Self::Net(IpAddr::V6(net), bits), IpAddr::V6(ip)) => {
                let differs = net.to_bits() ^ ip.to_bits();
                differs.checked_shr(128 - u32::from(*bits)).unwrap_or_default() == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_domains_and_networks_are_never_asked() {
        let texts =
            ["Repo.example", "203.0.113.7", "198.51.100.0/24", "2001:db8::/32", "::ffff:9.9.9.9"];
        let veto = Veto::new(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(Veto::of(&veto.texts()), veto);
        for (host, is) in [
            ("repo.example", true),
            ("apt.repo.example", true),
            ("myrepo.example", false),
            ("example", false),
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("[2001:db8:1::2]", true),
            ("2001:db9::", false),
            ("9.9.9.9", true),
        ] {
            assert_eq!(veto.names(host), is, "{host}");
        }
        assert!(veto.has("::ffff:198.51.100.1".parse().unwrap()));
        let all: Veto = Veto::of(&["0.0.0.0/0".to_owned()]);
        assert!(all.has("1.2.3.4".parse().unwrap()) && !all.has("::1".parse().unwrap()));
        for text in ["", "a b", "repo.example/8", "1.2.3.4/33", "::/129", "1.2.3.4/x", "*"] {
            assert!(text.parse::<VetoEntry>().unwrap_err().contains("use a host"), "{text}");
        }
        assert!(Veto::default().is_empty() && !Veto::default().names("a.example"));
    }
}
