//! Who stands at a door: connections that may still have to give way to a newcomer, and which of
//! them does. A value.
//!
//! Whoever connects and says nothing costs a stranger nothing, so those give way first, the one that
//! is silent for longest. Who has spoken and waits for its answer gives way only where all have. Each
//! place has a share of its own, within which its connections give way to each other: what comes from
//! one place crowds out itself before others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Most visitors of one place.
pub const FROM_ONE: usize = 16;

/// The visitors of a door, at most so many.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    visitors: BTreeMap<u64, Visitor>,
    /// Counts what happened here: higher is later.
    moment: u64,
}

#[derive(Debug)]
struct Visitor {
    place: Option<IpAddr>,
    has_spoken: bool,
    /// Since when it is silent, or has spoken.
    since: u64,
}

/// The place that an address counts as: itself, or of IPv6 its network of 64 bits, which is the least
/// that anybody has.
///
/// Spec: RFC 6177 §2.
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Crowd {
    /// Nobody, of at most `most`.
    pub const fn new(most: usize) -> Self {
        Self { most, visitors: BTreeMap::new(), moment: 0 }
    }

    /// A newcomer, and who has to leave for it, if anybody. A visitor without a place has no share of
    /// its own: a proxy that stands for many. With `is_full` there is no room beside those that are
    /// here. None: nobody here can give way.
    pub fn enters(&mut self, place: Option<IpAddr>, is_full: bool) -> Option<(u64, Option<u64>)> {
        let is_near = |visitor: &Visitor| place.is_some() && visitor.place == place;
        let near = self.visitors.values().filter(|visitor| is_near(visitor)).count();
        let leaves = if near >= FROM_ONE {
            self.last(is_near)
        } else if is_full || self.visitors.len() >= self.most {
            Some(self.last(|_| true)?)
        } else {
            None
        };
        leaves.map(|id| self.visitors.remove(&id));
        self.moment += 1;
        let since = self.moment;
        self.visitors.insert(since, Visitor { place, has_spoken: false, since });
        Some((since, leaves))
    }

    /// Who gives way first among those.
    fn last(&self, of: impl Fn(&Visitor) -> bool) -> Option<u64> {
        let of = self.visitors.iter().filter(|(_, visitor)| of(visitor));
        of.min_by_key(|(_, visitor)| (visitor.has_spoken, visitor.since)).map(|(id, _)| *id)
    }

    /// A visitor has said something, or has its answer and is silent again.
    pub fn speaks(&mut self, id: u64, has_spoken: bool) {
        self.moment += 1;
        if let Some(visitor) = self.visitors.get_mut(&id) {
            (visitor.has_spoken, visitor.since) = (has_spoken, self.moment);
        }
    }

    /// A visitor is let in or gone.
    pub fn leaves(&mut self, id: u64) {
        self.visitors.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn a_place_is_an_address_or_a_network() {
        for (address, is) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(place(address.parse().unwrap()), is.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn a_place_crowds_out_itself() {
        let mut crowd = Crowd::new(100);
        let (other, _) = crowd.enters(at(2), false).unwrap();
        let ids: Vec<u64> = (0..FROM_ONE).map(|_| crowd.enters(at(1), false).unwrap().0).collect();
        // The first has spoken, so the second is silent for longest.
        crowd.speaks(ids[0], true);
        assert_eq!(crowd.enters(at(1), false).unwrap().1, Some(ids[1]));
        // Who falls silent again is the last that did.
        crowd.speaks(ids[0], false);
        assert_eq!(crowd.enters(at(1), false).unwrap().1, Some(ids[2]));
        ids.iter().for_each(|id| crowd.speaks(*id, true));
        crowd.leaves(ids[3]);
        assert_eq!(crowd.enters(at(1), false).unwrap().1, None);
        assert_eq!(crowd.enters(at(2), false).unwrap().1, None);
        crowd.leaves(other);
    }

    #[test]
    fn at_the_limit_the_longest_silent_gives_way_and_then_the_longest_here() {
        let mut crowd = Crowd::new(3);
        let ids: Vec<u64> = (0..3).map(|at_| crowd.enters(at(at_), false).unwrap().0).collect();
        crowd.speaks(ids[0], true);
        let (new, left) = crowd.enters(None, false).unwrap();
        assert_eq!(left, Some(ids[1]));
        for id in [ids[2], new] {
            crowd.speaks(id, true);
        }
        assert_eq!(crowd.enters(at(9), false).unwrap().1, Some(ids[0]));
    }

    #[test]
    fn where_there_is_no_room_nobody_enters_unless_somebody_can_leave() {
        let mut crowd = Crowd::new(3);
        assert_eq!(crowd.enters(at(1), true), None);
        let (id, _) = crowd.enters(at(1), false).unwrap();
        assert_eq!(crowd.enters(at(2), true).unwrap().1, Some(id));
    }
}
