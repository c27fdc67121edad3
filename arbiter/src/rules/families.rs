//! Which peers can reach a host at all: by the families of its addresses, and of those that lead out
//! of a peer's home. A peer is granted no source that it can't reach; that is no failure of either.
//!
//! | the host's addresses, as they were seen within [`FAMILY_KEPT`] | reached by |
//! | --- | --- |
//! | of both families, or none could be found | any peer |
//! | one is not on the public internet | any peer: who reaches it has nothing to do with families |
//! | of IPv4 alone, a translator's for it included | peers with IPv4, be it through a translator |
//! | of IPv6 alone | peers with IPv6 |
//! | not looked up yet | peers with both; for 10 s no other, if its source is new |

use crate::rules::text::in_words;
use canister_protocol::Veto;
use canister_protocol::address::{AddressFamilies, is_public};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// For how long an address counts after its host's last look-up found it no more: a name server that
/// fails for one family once makes no host of the other alone. Two look-ups, and a bit.
pub const FAMILY_KEPT: Duration = Duration::from_secs(13 * 60 * 60);

/// How long a new source waits for its host to be looked up, for a peer that may not reach it.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);

/// Which families of addresses a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFamilies {
    /// Both, or what is reached for another reason.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

in_words! { HostFamilies, word: Any = "any", V4 = "IPv4", V6 = "IPv6" }

impl HostFamilies {
    /// Those of a host with these addresses, if there are any.
    pub fn of(addresses: &[IpAddr]) -> Option<Self> {
        let is_v4 = |address: &IpAddr| match address.to_canonical() {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => is_translated(address),
        };
        let first = is_v4(addresses.first()?);
        let is_alike = |address: &IpAddr| is_v4(address) == first && is_public(*address);
        Some(match (addresses.iter().all(is_alike), first) {
            (false, _) => Self::Any,
            (true, true) => Self::V4,
            (true, false) => Self::V6,
        })
    }
}

/// Whether it is what translators make of an address of IPv4.
///
/// Spec: RFC 6052 §2.1. A network's own prefix isn't known; then the name has its IPv4 address beside.
const fn is_translated(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _])
}

/// Whether a peer with these families may be granted a source whose host has those. `new_for`: for how
/// long the source is known, if it was never attempted.
pub fn may_reach(
    peer: AddressFamilies,
    host: Option<HostFamilies>,
    new_for: Option<Duration>,
) -> bool {
    match host {
        _ if peer == AddressFamilies::BOTH => true,
        Some(HostFamilies::Any) => true,
        Some(HostFamilies::V4) => peer.v4,
        Some(HostFamilies::V6) => peer.v6,
        None => new_for.is_none_or(|known| known >= LOOK_UP_MAX),
    }
}

/// Whether a peer's owner lets it ask a host that is at these addresses.
pub fn may_ask(never: &Veto, host: &str, addresses: &[IpAddr]) -> bool {
    !never.names(host) && !addresses.iter().any(|address| never.has(*address))
}

/// The only family of a host that none of these peers has, though there are some.
pub fn out_of_reach(
    host: Option<HostFamilies>,
    peers: impl IntoIterator<Item = AddressFamilies>,
) -> Option<HostFamilies> {
    let mut peers = peers.into_iter().peekable();
    let is_out = peers.peek().is_some() && !peers.any(|peer| may_reach(peer, host, None));
    host.filter(|_| is_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: AddressFamilies = AddressFamilies { v4: true, v6: false };
    const V6: AddressFamilies = AddressFamilies { v4: false, v6: true };
    const NOTHING: AddressFamilies = AddressFamilies { v4: false, v6: false };

    #[test]
    fn a_host_has_one_family_or_any() {
        let (any, four, six) = (HostFamilies::Any, HostFamilies::V4, HostFamilies::V6);
        for (addresses, families) in [
            ("", None),
            ("1.1.1.1", Some(four)),
            ("1.1.1.1 9.9.9.9", Some(four)),
            ("::ffff:1.1.1.1", Some(four)),
            ("64:ff9b::1.1.1.1 1.1.1.1", Some(four)),
            ("64:ff9b::1.1.1.1", Some(four)),
            ("64:ff9b::1.1.1.1 2606:4700::1", Some(any)),
            ("2606:4700::1 2a00::1", Some(six)),
            ("2606:4700::1 1.1.1.1", Some(any)),
            ("127.0.0.1", Some(any)),
            ("::1", Some(any)),
            ("10.0.0.1 1.1.1.1", Some(any)),
            ("2606:4700::1 fd00::1", Some(any)),
        ] {
            let all: Vec<IpAddr> =
                addresses.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!(HostFamilies::of(&all), families, "{addresses}");
        }
    }

    #[test]
    fn a_peer_reaches_what_its_families_lead_to() {
        let both = AddressFamilies::BOTH;
        let (any, four, six) =
            (Some(HostFamilies::Any), Some(HostFamilies::V4), Some(HostFamilies::V6));
        let secs = |secs| Some(Duration::from_secs(secs));
        for (peer, host, new_for, may) in [
            (both, None, secs(0), true),
            (both, four, None, true),
            (both, six, None, true),
            (V4, any, secs(0), true),
            (V4, four, None, true),
            (V4, six, None, false),
            (V4, six, secs(99), false),
            (V4, None, secs(0), false),
            (V4, None, secs(9), false),
            (V4, None, secs(10), true),
            (V4, None, None, true),
            (V6, any, None, true),
            (V6, four, None, false),
            (V6, six, None, true),
            (NOTHING, any, None, true),
            (NOTHING, four, None, false),
            (NOTHING, six, None, false),
        ] {
            assert_eq!(may_reach(peer, host, new_for), may, "{peer} {host:?} {new_for:?}");
        }
        for (host, peers, is) in [
            (six, &[][..], false),
            (six, &[V4, NOTHING], true),
            (six, &[V4, V6], false),
            (four, &[V6], true),
            (any, &[NOTHING], false),
            (None, &[V6], false),
        ] {
            let out = out_of_reach(host, peers.iter().copied());
            assert_eq!(out, host.filter(|_| is), "{host:?} {peers:?}");
        }
    }
}
