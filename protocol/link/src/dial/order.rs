//! In which order the addresses of a host are tried, and what is remembered for that: functions of
//! values.
//!
//! Spec: RFC 8305 §4, with a First Address Family Count of 1.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Most addresses of a host that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// Most hosts of which something is remembered.
const HOSTS_MAX: usize = 1024;

/// The order of these addresses, which are in the system's: the one that answered, then the
/// families in turn, beginning with its family, or with the first one's.
pub fn interleaved(found: &[SocketAddr], answered: Option<IpAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::with_capacity(found.len().min(2 * ADDRESSES_MAX));
    let is_first = |address: &&SocketAddr| answered == Some(address.ip());
    all.extend(found.iter().find(is_first));
    for address in found {
        if !all.contains(address) {
            all.push(*address);
        }
    }
    let is_v4 = match answered {
        Some(ip) => ip.is_ipv4(),
        None => all.first().is_some_and(SocketAddr::is_ipv4),
    };
    let (first, second): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|address| address.is_ipv4() == is_v4);
    let longer = first.len().max(second.len());
    (0..longer)
        .flat_map(|at| [first.get(at), second.get(at)])
        .flatten()
        .copied()
        .take(ADDRESSES_MAX)
        .collect()
}

/// Which address of a host answered when another didn't.
#[derive(Debug)]
pub struct FamilyMemory {
    hosts: BTreeMap<String, (IpAddr, Instant)>,
}

impl FamilyMemory {
    /// Of nothing.
    pub const fn new() -> Self {
        Self { hosts: BTreeMap::new() }
    }

    /// What answered of `host`, if it is still remembered `now`.
    pub fn of(&self, host: &str, now: Instant) -> Option<IpAddr> {
        self.hosts.get(host).filter(|(_, until)| *until > now).map(|(ip, _)| *ip)
    }

    /// Remembers what answered of `host`.
    pub fn answered(&mut self, host: &str, ip: IpAddr, until: Instant, now: Instant) {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(host) {
            self.hosts.retain(|_, (_, until)| *until > now);
            if self.hosts.len() >= HOSTS_MAX {
                self.hosts.pop_first();
            }
        }
        self.hosts.insert(host.to_owned(), (ip, until));
    }
}

impl Default for FamilyMemory {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        let address = |word: &str| SocketAddr::new(word.parse().unwrap(), 443);
        text.split_whitespace().map(address).collect()
    }

    #[test]
    fn families_take_turns() {
        for (found, answered, order) in [
            ("", None, ""),
            ("10.0.0.1 10.0.0.2", None, "10.0.0.1 10.0.0.2"),
            ("2001:db8::1 2001:db8::2 10.0.0.1", None, "2001:db8::1 10.0.0.1 2001:db8::2"),
            ("10.0.0.1 10.0.0.2 ::1", None, "10.0.0.1 ::1 10.0.0.2"),
            ("::1 ::2 10.0.0.1 10.0.0.2", Some("10.0.0.2"), "10.0.0.2 ::1 10.0.0.1 ::2"),
            // An address that the host hasn't any more still tells of its family.
            ("::1 ::2 10.0.0.1", Some("10.0.0.9"), "10.0.0.1 ::1 ::2"),
            ("::1 ::2", Some("10.0.0.9"), "::1 ::2"),
            ("::1 ::1 10.0.0.1 10.0.0.1", None, "::1 10.0.0.1"),
        ] {
            let answered = answered.map(|text: &str| text.parse().unwrap());
            assert_eq!(interleaved(&addresses(found), answered), addresses(order), "{found}");
        }
        let many: Vec<SocketAddr> = (0..40_u16)
            .map(|number| SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, number].into(), 1))
            .chain(addresses("10.0.0.1"))
            .collect();
        let order = interleaved(&many, None);
        assert_eq!((order.len(), order[1]), (ADDRESSES_MAX, addresses("10.0.0.1")[0]));
    }

    #[test]
    fn what_answered_is_forgotten_in_time() {
        let now = crate::clock::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut memory = FamilyMemory::new();
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        memory.answered("a.example", ip, later(10), now);
        assert_eq!(memory.of("a.example", later(9)), Some(ip));
        assert_eq!(memory.of("a.example", later(10)), None);
        assert_eq!(memory.of("b.example", now), None);
        for number in 0..3 * HOSTS_MAX {
            memory.answered(&number.to_string(), ip, later(20), later(11));
        }
        assert_eq!(memory.hosts.len(), HOSTS_MAX);
        assert_eq!(memory.of(&(3 * HOSTS_MAX - 1).to_string(), later(12)), Some(ip));
    }
}
