//! Where work goes: to the peer that is near a server, while it has room, and once a day to another. A peer that
//! is far waits a little for one that is near; nobody is ever kept from a source for longer than that.
//!
//! | who asks for a source's lease | waits, up to [`PATIENCE`] from when its operator is free |
//! | --- | --- |
//! | whoever asked the source plainly last, a day ago or longer | for any other that is here, has room and did a lease there within two days: each is read by two |
//! | any other, then | not |
//! | whoever is more than twice as far as another that is here and has room, and further than [`NEAR`] | for that one |
//! | all others, and whoever is announced to | not |
//!
//! Of the others those count that did a lease at this server after this peer did its last: one that is near and
//! takes nothing there is waited for once. How far a peer is, is what it says itself: time to the first byte of a
//! lease's first answer, smoothed. So a lie gets more leases of a server, and no less often another reader.

use crate::rules::schedule::DAY;
use crate::rules::timestamp::Timestamp;
use std::time::Duration;

/// How long a peer waits for a better one, from when the source is due and its operator free.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Whoever is as near as this waits for nobody that is nearer.
pub const NEAR: Duration = Duration::from_millis(100);
/// For how long it is remembered how far a peer is.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Of how many peers a server it is remembered at most: the nearest.
pub const PEERS_MAX: u32 = 100;

/// How far a peer is from a source's server, and who asked the source without validators last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nearness {
    /// Smoothed, and when it was measured last.
    pub own: Option<(Duration, Timestamp)>,
    pub asked_plainly: Option<(Timestamp, String)>,
}

/// Who else is here and has room, whom no server of the source's sent away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OthersHere {
    pub any: bool,
    /// How far the nearest is of those that did a lease there after this peer did.
    pub nearest: Option<Duration>,
}

impl Nearness {
    /// Whether `peer` may have to wait, by what is known of it alone.
    pub fn may_wait(&self, peer: &str, now: Timestamp) -> bool {
        match self.others_turn(peer, now) {
            Some(is_others) => is_others,
            None => self.own.is_some_and(|(own, _)| own > NEAR),
        }
    }

    /// Whether `peer` waits for one of the `others`, if the operator has been free since then.
    pub fn waits(
        &self,
        peer: &str,
        others: OthersHere,
        free_since: Timestamp,
        now: Timestamp,
    ) -> bool {
        if free_since > now || now.since(free_since) >= PATIENCE || !self.may_wait(peer, now) {
            return false;
        }
        match self.others_turn(peer, now) {
            Some(_) => others.any,
            None => {
                let own = self.own.map(|(own, _)| own);
                others.nearest.zip(own).is_some_and(|(nearest, own)| own > 2 * nearest)
            }
        }
    }

    /// Whether it is another's turn to read the source, and not this peer's; none where it is nobody's.
    fn others_turn(&self, peer: &str, now: Timestamp) -> Option<bool> {
        let (at, by) = self.asked_plainly.as_ref()?;
        (now.since(*at) >= DAY).then(|| by == peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_wait_for_the_near_and_once_a_day_it_is_anothers_turn() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let secs = |secs| Duration::from_secs(secs);
        let millis = Duration::from_millis;
        for (own, nearest, any, asked, free_for, waits) in [
            // Nobody else is here, or has been there since.
            (800, None, false, 1, 0, false),
            (800, None, true, 1, 0, false),
            (800, Some(20), true, 1, 0, true),
            (800, Some(20), true, 1, 19, true),
            (800, Some(20), true, 1, 20, false),
            (800, Some(500), true, 1, 0, false),
            (90, Some(1), true, 1, 0, false),
            // Another's turn, whoever is near.
            (20, None, true, 24, 0, true),
            (20, None, true, 24, 20, false),
            (20, None, false, 24, 0, false),
        ] {
            let own = Some((millis(own), now));
            let asked_plainly = Some((now.minus(secs(3600 * asked)), "p".to_owned()));
            let nearness = Nearness { own, asked_plainly };
            let others = OthersHere { any, nearest: nearest.map(millis) };
            let since = now.minus(secs(free_for));
            assert_eq!(nearness.waits("p", others, since, now), waits, "{nearness:?} {others:?}");
            // The other's turn is now, however far it is.
            if asked == 24 {
                let others = OthersHere { any: true, nearest: Some(millis(1)) };
                assert!(!nearness.waits("q", others, since, now));
            }
        }
        let unknown = Nearness::default();
        let others = OthersHere { any: true, nearest: Some(millis(1)) };
        assert!(!unknown.waits("p", others, now, now));
    }
}
