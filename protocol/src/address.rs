//! What is on the public internet. Agents run in people's homes, and whom they ask is decided by
//! servers' redirects, name servers and announcements: what is not on it is refused.
//!
//! Spec: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its successors);
//! for names RFC 6761, RFC 6762, RFC 8375.

use nanoserde::{DeJson, SerJson};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The families of addresses that lead out of a peer's home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeJson, SerJson)]
pub struct AddressFamilies {
    /// IPv4, be it through a translator.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl AddressFamilies {
    /// Those of a peer that says nothing else.
    pub const BOTH: Self = Self { v4: true, v6: true };
}

impl fmt::Display for AddressFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.v4, self.v6) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
            (false, false) => "nothing",
        })
    }
}

/// Whether an address is on the public internet. IPv6 forms that carry an IPv4 address are judged
/// by it.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Names below these are known in one home or on one machine only.
const AT_HOME: [&str; 5] = ["home.arpa", "internal", "lan", "local", "localhost"];

/// Whether a host, as [`Uri::host`](crate::Uri::host) spells it, can be on the public internet. Where
/// a name leads is not looked up; one without a dot leads nowhere else than home.
pub fn is_public_host(host: &str) -> bool {
    if let Ok(address) = host.parse() {
        return is_public(address);
    }
    let is_below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    host.contains('.') && !AT_HOME.iter().any(|name| host == *name || is_below(name))
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        (0 | 10 | 127, _, _) => true, // this network, private, loopback
        (100, 64..=127, _) => true,   // carrier-grade NAT
        (169, 254, _) => true,        // link-local
        (172, 16..=31, _) => true,    // private
        (192, 0, 0 | 2) => true,      // protocol assignments, documentation
        (192, 88, 99) => true,        // 6to4 relays, withdrawn
        (192, 168, _) => true,        // private
        (198, 18 | 19, _) => true,    // benchmarks
        (198, 51, 100) | (203, 0, 113) => true, // documentation
        (224.., _, _) => true,        // multicast, reserved, broadcast
        _ => false,
    };
    !is_special
}

/// The IPv4 address that a form of IPv6 carries.
pub fn v4_within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let (high, low) = match (a, b) {
        (0, 0) if [c, d, e] == [0, 0, 0] && f == 0xffff => (g, h), // IPv4-mapped
        (0x64, 0xff9b) if [c, d, e, f] == [0, 0, 0, 0] => (g, h),  // NAT64
        (0x64, 0xff9b) if c == 1 => (g, h),                        // NAT64 of a network's own
        (0x2002, _) => (b, c),                                     // 6to4
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = v4_within(address) {
        return is_public_v4(v4);
    }
    match (address.segments()[0], address.segments()[1]) {
        (0x2001, 0..=0x1ff) => false, // protocol assignments, Teredo
        (0x2001, 0xdb8) => false,     // documentation
        (0x3fff, 0..=0xfff) => false, // documentation
        (0x2000..=0x3fff, _) => true, // global unicast
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.112.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "64:ff9b:1:fffe::1.1.1.1",
            "2002:101:101::1",
            "2a00::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.80",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "64:ff9b:1:fffe::192.168.1.1",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn hosts_are_judged_by_what_they_can_be() {
        for (uri, is) in [
            ("https://repo.example", true),
            ("https://localhost.example", true),
            ("https://notlocal", false),
            ("https://mylocal.example.org", true),
            ("http://1.1.1.1", true),
            ("http://[2606:4700::1111]", true),
            ("http://[::ffff:1.1.1.1]", true),
            ("http://localhost", false),
            ("http://LocalHost./", false),
            ("http://a.localhost:8080", false),
            ("http://printer.local", false),
            ("http://nas.home.arpa", false),
            ("http://home.arpa", false),
            ("http://db.internal", false),
            ("http://router.lan", false),
            ("http://router", false),
            ("http://0.0.0.0", false),
            ("http://127.0.0.1", false),
            ("http://10.1.2.3", false),
            ("http://169.254.169.254", false),
            ("http://[::]", false),
            ("http://[::1]", false),
            ("http://[fd00::1]", false),
            ("http://[::ffff:192.168.0.1]", false),
            ("http://[64:ff9b::10.0.0.1]", false),
        ] {
            let uri = crate::Uri::parse(uri).unwrap();
            assert_eq!(is_public_host(uri.host()), is, "{uri}");
        }
        // Spellings of addresses that some take for whole ones are no hosts at all.
        for spelling in ["2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.0.0.1", "0"] {
            assert!(crate::Uri::parse(&format!("http://{spelling}/")).is_err(), "{spelling}");
        }
    }
}
