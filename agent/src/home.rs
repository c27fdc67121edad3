//! The home that the agent runs in: this machine's own addresses, what is on its links, and the address
//! that an arbiter sees it at. All of them can be public, and none is a source's: a server that knows
//! whom it serves could have the agent ask the house's other machines, behind its firewall.
//!
//! Own addresses are what the kernel would send from to themselves; links are its routes that have no
//! gateway (ipv6_route and route of proc(5)). Both are looked at anew for each connection.

use canister_protocol::address::v4_within;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// A network is a link only from so many bits on: whole internets are routed through tunnels.
const LINK_BITS_MIN: (u32, u32) = (8, 32);
/// Most bytes of a list of routes: a home has a few.
const ROUTES_BYTES_MAX: u64 = 256 * 1024;
/// Routes' flags.
///
/// Spec: linux/route.h, linux/ipv6_route.h.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const REJECT: u32 = 0x200;

/// What is known of the home beside what its kernel says.
#[derive(Debug, Default)]
pub struct Home {
    /// As arbiters see it: the last of each family.
    seen: Mutex<[Option<IpAddr>; 2]>,
}

impl Home {
    /// An arbiter says that the agent comes from there.
    pub fn seen_at(&self, address: IpAddr) {
        let address = address.to_canonical();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen[usize::from(address.is_ipv6())] = Some(address);
    }

    /// Whether an address is the home's: of this machine, on a link of it, or where it is seen.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => v4_within(v6).map_or(IpAddr::V6(v6), IpAddr::V4),
            v4 @ IpAddr::V4(_) => v4,
        };
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let from = sent_from(address);
        let is_near = |own: &IpAddr| *own == address || is_one_network(*own, address);
        seen.iter().flatten().chain(&from).any(is_near) || is_on_link(address)
    }
}

/// The address that the kernel would send from to another; nothing is sent. Its own it sends to from
/// themselves.
fn sent_from(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Any port will do.
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    socket.local_addr().ok().map(|from| from.ip())
}

/// Whether two addresses of IPv6 are in one network of 64 bits, which is what one house has at least.
fn is_one_network(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() >> 64 == other.to_bits() >> 64,
        _ => false,
    }
}

fn is_on_link(address: IpAddr) -> bool {
    let (file, is_link): (_, fn(&str, IpAddr) -> bool) = match address {
        IpAddr::V4(_) => ("/proc/self/net/route", is_link_v4),
        IpAddr::V6(_) => ("/proc/self/net/ipv6_route", is_link_v6),
    };
    let mut routes = String::new();
    let read = File::open(file).map(|it| it.take(ROUTES_BYTES_MAX).read_to_string(&mut routes));
    // By `self`, for a service may see no more of /proc than that (ProcSubset=pid). Where there is no such
    // file there is no such family.
    read.is_ok() && routes.lines().any(|route| is_link(route, address))
}

/// Interface, destination, gateway, flags, three counters, mask: numbers in the machine's order of bytes.
fn is_link_v4(route: &str, address: IpAddr) -> bool {
    let words: Vec<&str> = route.split_ascii_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| u32::from_str_radix(word, 16).ok());
    let (Some(to), Some(flags), Some(mask), IpAddr::V4(address)) =
        (number(1), number(3), number(7), address)
    else {
        return false;
    };
    let (to, mask) = (u32::from_be(to), u32::from_be(mask));
    is_of_link(flags) && mask.leading_ones() >= LINK_BITS_MIN.0 && address.to_bits() & mask == to
}

/// Destination and its bits, source and its bits, gateway, three counters, flags, interface.
fn is_link_v6(route: &str, address: IpAddr) -> bool {
    let words: Vec<&str> = route.split_ascii_whitespace().collect();
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let (Ok(to), Ok(bits), Ok(flags), IpAddr::V6(address)) = (
        u128::from_str_radix(word(0), 16),
        u32::from_str_radix(word(1), 16),
        u32::from_str_radix(word(8), 16),
        address,
    ) else {
        return false;
    };
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or_default();
    is_of_link(flags) && bits >= LINK_BITS_MIN.1 && address.to_bits() & mask == to & mask
}

const fn is_of_link(flags: u32) -> bool {
    flags & UP != 0 && flags & (GATEWAY | REJECT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_route_without_a_gateway_leads_to_is_on_a_link() {
        // As a machine of little endian writes them.
        let v4 = "eth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0";
        let by_gateway = "eth0\t0002000A\t0102000A\t0003\t0\t0\t100\t00FFFFFF\t0\t0\t0";
        let tunnel = "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0";
        let v6 = "26064700000000000000000000000000 40 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0";
        let whole = "20000000000000000000000000000000 03 00000000000000000000000000000000 00 \
                     00000000000000000000000000000000 00000100 00000001 00000000 00000001 tun0";
        for (route, address, is) in [
            (v4, "10.0.2.9", cfg!(target_endian = "little")),
            (v4, "10.0.3.9", false),
            (by_gateway, "10.0.2.9", false),
            (tunnel, "10.0.2.9", false),
            ("Iface\tDestination", "10.0.2.9", false),
            (v6, "2606:4700::5", true),
            (v6, "2606:4700:0:1::5", false),
            (whole, "2606:4700::5", false),
            ("", "2606:4700::5", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(is_link_v4(route, address) || is_link_v6(route, address), is, "{route}");
        }
    }

    #[test]
    fn where_an_arbiter_sees_it_is_home() {
        let home = Home::default();
        let has = |address: &str| home.has(address.parse().unwrap());
        assert!(has("127.0.0.1") && !has("9.9.9.9"));
        home.seen_at("::ffff:9.9.9.9".parse().unwrap());
        home.seen_at("2606:4700:1:2::3".parse().unwrap());
        for own in ["9.9.9.9", "::ffff:9.9.9.9", "64:ff9b::9.9.9.9", "2606:4700:1:2:9::"] {
            assert!(has(own), "{own}");
        }
        assert!(!has("9.9.9.10") && !has("2606:4700:1:3::3"));
    }
}
