//! Which families of addresses lead out of this home: measured, not configured. Functions of values.
//!
//! | a family has here | it leads out |
//! | --- | --- |
//! | no route to the internet, or (IPv6) no address of ours that is on it | no, unless it was used well in the last ten minutes; IPv4 also where a translator makes IPv6 of it |
//! | a route | yes, until two hosts answered by the other family and not by this one |
//!
//! Any answer by a family makes it good again, and so does another address of ours, which is another
//! network. What is not on the internet tells nothing.

use super::REMEMBERED;
use canister_protocol::address::{AddressFamilies, is_public};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

/// Hosts at which a family was silent that are enough to take it for dead: one has its own reasons.
const SILENT_HOSTS: usize = 2;
/// Somewhere on the internet, of either family: a.root-servers.net. Nothing is sent there.
const SOMEWHERE: [&str; 2] = ["198.41.0.4:53", "[2001:503:ba3e::2:30]:53"];

/// What is known of both families.
#[derive(Debug)]
pub struct ReachMemory {
    v4: Evidence,
    v6: Evidence,
    /// Whether there is a translator, which makes IPv4's addresses reachable by IPv6.
    pub has_translator: bool,
}

#[derive(Debug)]
struct Evidence {
    /// Our own address when it was last looked at, if it was: what was seen since then.
    ours: Option<Option<IpAddr>>,
    silent: BTreeSet<String>,
    answered: Option<Instant>,
}

impl Evidence {
    const NONE: Self = Self { ours: None, silent: BTreeSet::new(), answered: None };

    fn leads_out(&mut self, ours: Option<IpAddr>, now: Instant) -> bool {
        if self.ours.is_some_and(|before| before != ours) {
            *self = Self::NONE;
        }
        self.ours = Some(ours);
        let is_used = |at: Instant| now.saturating_duration_since(at) < REMEMBERED;
        self.silent.len() < SILENT_HOSTS && (ours.is_some() || self.answered.is_some_and(is_used))
    }
}

impl ReachMemory {
    /// Of nothing.
    pub const fn new() -> Self {
        Self { v4: Evidence::NONE, v6: Evidence::NONE, has_translator: false }
    }

    fn of(&mut self, address: SocketAddr) -> Option<&mut Evidence> {
        let it = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        is_public(address.ip()).then_some(it)
    }

    /// Notes that `address` answered, be it by refusing a connection.
    pub fn answered(&mut self, address: SocketAddr, now: Instant) {
        if let Some(evidence) = self.of(address) {
            evidence.silent.clear();
            evidence.answered = Some(now);
        }
    }

    /// Notes that `address` of `host` didn't answer, and one of the other family did.
    pub fn silent(&mut self, address: SocketAddr, host: &str) {
        if let Some(evidence) = self.of(address)
            && evidence.silent.len() < SILENT_HOSTS
        {
            evidence.silent.insert(host.to_owned());
        }
    }

    /// What leads out, where these are our own addresses of IPv4 and of IPv6 towards the internet.
    pub fn families(&mut self, ours: [Option<IpAddr>; 2], now: Instant) -> AddressFamilies {
        let [v4, v6] = ours;
        let v6 = self.v6.leads_out(v6, now);
        AddressFamilies { v4: self.v4.leads_out(v4, now) || (v6 && self.has_translator), v6 }
    }
}

impl Default for ReachMemory {
    fn default() -> Self {
        Self::new()
    }
}

/// Our own addresses of IPv4 and of IPv6 towards the internet, by the system's routes.
pub fn ours() -> [Option<IpAddr>; 2] {
    let towards = |there: &str| -> io::Result<IpAddr> {
        let any = if there.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(there)?;
        Ok(socket.local_addr()?.ip())
    };
    // A home's own addresses of IPv4 are private, and lead out all the same.
    let is_ours = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(_) => is_public(*address),
    };
    SOMEWHERE.map(|there| towards(there).ok().filter(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 443)
    }

    #[test]
    fn a_family_leads_out_until_the_other_is_better() {
        let now = crate::clock::now();
        let (four, six) = (Some("192.168.0.2".parse().unwrap()), Some("2a00::2".parse().unwrap()));
        let (there_4, there_6) = (address("1.1.1.1"), address("2606:4700::1"));
        let mut memory = ReachMemory::new();
        let said = |memory: &mut ReachMemory, ours| {
            let AddressFamilies { v4, v6 } = memory.families(ours, now);
            (v4, v6)
        };
        for (ours, families) in [
            ([None, None], (false, false)),
            ([four, None], (true, false)),
            ([None, six], (false, true)),
            ([four, six], (true, true)),
        ] {
            assert_eq!(said(&mut memory, ours), families);
        }
        // One host that is silent is one host; the same again is none more.
        for _ in 0..2 {
            memory.silent(there_6, "a.example");
        }
        assert_eq!(said(&mut memory, [four, six]), (true, true));
        memory.silent(there_6, "b.example");
        assert_eq!(said(&mut memory, [four, six]), (true, false));
        // That the other family goes on answering changes nothing, and that its own does everything.
        memory.answered(there_4, now);
        assert_eq!(said(&mut memory, [four, six]), (true, false));
        memory.answered(there_6, now);
        assert_eq!(said(&mut memory, [four, six]), (true, true));
        // Another network.
        for host in ["a.example", "b.example"] {
            memory.silent(there_6, host);
        }
        assert_eq!(said(&mut memory, [four, six]), (true, false));
        assert_eq!(said(&mut memory, [four, Some("2a01::2".parse().unwrap())]), (true, true));
        // What was seen before the first look counts.
        let mut early = ReachMemory::new();
        early.silent(there_6, "a.example");
        early.silent(there_6, "b.example");
        assert_eq!(said(&mut early, [four, six]), (true, false));
        // What is at home tells nothing.
        for host in ["a.example", "b.example"] {
            memory.silent(address("192.168.0.1"), host);
        }
        assert_eq!(said(&mut memory, [four, six]), (true, true));
    }

    #[test]
    fn what_is_used_leads_out_whatever_the_routes_say() {
        let now = crate::clock::now();
        let mut memory = ReachMemory::new();
        memory.answered(address("1.1.1.1"), now);
        assert!(memory.families([None, None], now).v4);
        assert!(!memory.families([None, None], now + REMEMBERED).v4);
        // A translator needs IPv6.
        memory.has_translator = true;
        assert!(!memory.families([None, None], now + REMEMBERED).v4);
        let six = Some("2a00::2".parse().unwrap());
        assert_eq!(
            memory.families([None, six], now + Duration::from_secs(1)),
            AddressFamilies::BOTH
        );
    }
}
