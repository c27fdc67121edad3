//! Which peers can reach a host at all: by the families of its addresses, and of those that lead out
//! of a peer's home. A peer is granted no source that it can't reach; that is no failure of either.
//!
//! | the host's addresses, as they were seen within [`FAMILY_KEPT`] | reached by |
//! | --- | --- |
//! | of both families, or none is known | any peer |
//! | one is not on the public internet | any peer: who reaches it has nothing to do with families |
//! | of IPv4 alone, a translator's for it included | peers with IPv4, be it through a translator |
//! | of IPv6 alone | peers with IPv6 |

use crate::rules::text::in_words;
use canister_protocol::address::{AddressFamilies, is_public};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// For how long an address counts after its host's last look-up found it no more: a name server that
/// fails for one family once makes no host of the other alone. Two look-ups, and a bit.
pub const FAMILY_KEPT: Duration = Duration::from_secs(13 * 60 * 60);

/// The only family of addresses that a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlyFamily {
    V4,
    V6,
}

in_words! { OnlyFamily, word: V4 = "IPv4", V6 = "IPv6" }

impl OnlyFamily {
    /// The family of a host with these addresses, if they are of one.
    pub fn of(addresses: &[IpAddr]) -> Option<Self> {
        let is_v4 = |address: &IpAddr| match address.to_canonical() {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => is_translated(address),
        };
        let first = is_v4(addresses.first()?);
        let is_alike = |address: &IpAddr| is_v4(address) == first && is_public(*address);
        let only = if first { Self::V4 } else { Self::V6 };
        addresses.iter().all(is_alike).then_some(only)
    }
}

/// Whether it is what translators make of an address of IPv4.
///
/// Spec: RFC 6052 §2.1. A network's own prefix isn't known; then the name has its IPv4 address beside.
const fn is_translated(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _])
}

/// Whether a peer with these families reaches a host that has this one alone.
pub fn may_reach(peer: AddressFamilies, only: Option<OnlyFamily>) -> bool {
    match only {
        None => true,
        Some(OnlyFamily::V4) => peer.v4,
        Some(OnlyFamily::V6) => peer.v6,
    }
}

/// Whether none of these peers reaches it, though there are some.
pub fn is_out_of_reach(
    only: Option<OnlyFamily>,
    peers: impl IntoIterator<Item = AddressFamilies>,
) -> bool {
    let mut peers = peers.into_iter().peekable();
    peers.peek().is_some() && !peers.any(|peer| may_reach(peer, only))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: AddressFamilies = AddressFamilies { v4: true, v6: false };
    const V6: AddressFamilies = AddressFamilies { v4: false, v6: true };
    const NOTHING: AddressFamilies = AddressFamilies { v4: false, v6: false };

    #[test]
    fn a_host_has_one_family_or_any() {
        for (addresses, only) in [
            ("", None),
            ("1.1.1.1", Some(OnlyFamily::V4)),
            ("1.1.1.1 9.9.9.9", Some(OnlyFamily::V4)),
            ("::ffff:1.1.1.1", Some(OnlyFamily::V4)),
            ("64:ff9b::1.1.1.1 1.1.1.1", Some(OnlyFamily::V4)),
            ("64:ff9b::1.1.1.1", Some(OnlyFamily::V4)),
            ("64:ff9b::1.1.1.1 2606:4700::1", None),
            ("2606:4700::1 2a00::1", Some(OnlyFamily::V6)),
            ("2606:4700::1 1.1.1.1", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("10.0.0.1 1.1.1.1", None),
            ("2606:4700::1 fd00::1", None),
        ] {
            let all: Vec<IpAddr> =
                addresses.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!(OnlyFamily::of(&all), only, "{addresses}");
        }
    }

    #[test]
    fn a_peer_reaches_what_its_families_lead_to() {
        for (peer, only, may) in [
            (AddressFamilies::BOTH, None, true),
            (AddressFamilies::BOTH, Some(OnlyFamily::V4), true),
            (AddressFamilies::BOTH, Some(OnlyFamily::V6), true),
            (V4, None, true),
            (V4, Some(OnlyFamily::V4), true),
            (V4, Some(OnlyFamily::V6), false),
            (V6, None, true),
            (V6, Some(OnlyFamily::V4), false),
            (V6, Some(OnlyFamily::V6), true),
            (NOTHING, None, true),
            (NOTHING, Some(OnlyFamily::V4), false),
            (NOTHING, Some(OnlyFamily::V6), false),
        ] {
            assert_eq!(may_reach(peer, only), may, "{peer} {only:?}");
        }
        for (only, peers, is) in [
            (Some(OnlyFamily::V6), &[][..], false),
            (Some(OnlyFamily::V6), &[V4, NOTHING], true),
            (Some(OnlyFamily::V6), &[V4, V6], false),
            (Some(OnlyFamily::V4), &[V6], true),
            (None, &[V6], false),
        ] {
            assert_eq!(is_out_of_reach(only, peers.iter().copied()), is, "{only:?} {peers:?}");
        }
    }
}
