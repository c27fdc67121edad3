//! The record of a peer: how its last leases ended, and what follows from that. One that fails at one
//! operator after the other, loses its leases or can't do them gets one at a time, then none for a
//! while, and then one to try it by, after pauses that grow; whatever it succeeds at gives it all again. It
//! is tried by a source that isn't due yet, where there is one: nobody waits for what it holds. A pause
//! counts from the grant of what failed, so that a mended peer is tried within the longest. One that
//! succeeds only now and then is soon back at its long pauses, for each success shortens them by one step.
//! Functions of values and a moment.
//!
//! | in a row | gets |
//! | --- | --- |
//! | fewer than 2 | what it offers; until it succeeded for the first time at most 8 |
//! | 2 | one lease at a time |
//! | 3 or more | none for 5 s, then one; none for 10 s, then one; and so on up to a minute, one step for each that fails |
//!
//! What counts: an operator at which it reached nothing that another peer didn't miss, too, each once;
//! each lease that expired, was given back or couldn't be done, and each finish that was refused.

use crate::rules::politeness::doubled;
use crate::rules::text::plural;
use crate::rules::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// From so many in a row on a peer gets one lease at a time, and its word on a source counts nothing.
const DOUBTED: usize = 2;
/// From so many in a row on it rests.
const RESTS: usize = 3;
/// Most leases of a peer that never succeeded.
const UNTRIED_MAX: usize = 8;
/// Most operators that are remembered by name.
const OPERATORS_MAX: usize = 4;
/// How long it rests at first ...
const REST: Duration = Duration::from_secs(5);
/// ... and at most: so long after its network is mended it is tried at the latest.
const REST_MAX: Duration = Duration::from_secs(60);
/// After so many steps it rests longest.
const STEPS_MAX: u32 = 5;

/// How the last leases of a peer ended, since the last that went well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Operators at which it failed.
    unreached: Vec<String>,
    /// Leases that it lost or didn't do.
    lost: u32,
    /// How many steps its rests have grown.
    rests: u32,
    /// Until when it rests, or last did.
    pub rests_until: Option<Timestamp>,
    /// Whether it ever succeeded.
    is_tried: bool,
}

/// How a lease went, as far as its peer's record is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Went {
    /// It expired, was given back, couldn't be done, or its finish was refused.
    Lost,
    /// It says nothing of the peer.
    Silent,
    /// It failed at this operator, and nobody else is known to.
    Unreached(String),
    Well,
}

impl Record {
    fn in_a_row(&self) -> usize {
        self.unreached.len() + self.lost as usize
    }

    /// Whether it failed at several operators but this one in a row.
    pub(crate) fn is_doubted_beside(&self, operator: &str) -> bool {
        self.failed_beside(operator) >= DOUBTED
    }

    /// Whether its last lease of another operator went well, or there was none.
    pub(crate) fn is_well_beside(&self, operator: &str) -> bool {
        self.failed_beside(operator) == 0
    }

    fn failed_beside(&self, operator: &str) -> usize {
        self.unreached.iter().filter(|other| *other != operator).count()
    }

    /// Whether it gets less than it offers, and is tried by what nobody waits for.
    pub fn is_in_doubt(&self) -> bool {
        self.in_a_row() >= DOUBTED
    }

    /// Remembers how a lease that was granted at `granted_at` and ended `now` went.
    pub fn after(&mut self, went: &Went, granted_at: Timestamp, now: Timestamp) {
        match went {
            Went::Silent if self.in_a_row() < RESTS || self.rests(now) => return,
            // It was to try the peer by, and didn't.
            Went::Silent => {}
            Went::Well => {
                let rests = self.rests.saturating_sub(1);
                *self = Self { rests, is_tried: true, ..Self::default() };
                return;
            }
            Went::Lost => self.lost = self.lost.saturating_add(1),
            Went::Unreached(operator) => {
                if !self.unreached.contains(operator) && self.unreached.len() < OPERATORS_MAX {
                    self.unreached.push(operator.clone());
                }
            }
        }
        if self.in_a_row() >= RESTS {
            let is_resting = self.rests(now);
            self.rests = self.rests.saturating_add(1).min(STEPS_MAX);
            // What it still holds is over soon, and makes only the next rest longer.
            if !is_resting {
                self.rests_until = Some(granted_at.plus(doubled(REST, self.rests, REST_MAX)));
            }
        }
    }

    /// Whether it rests `now`. A moment that lies further ahead was set by a clock that ran ahead.
    pub fn rests(&self, now: Timestamp) -> bool {
        self.rests_until.is_some_and(|until| until > now && until.since(now) <= REST_MAX)
    }

    /// How many leases it may hold at once `now`, of `most`.
    pub fn share(&self, now: Timestamp, most: usize) -> usize {
        match self.in_a_row() {
            _ if self.rests(now) => 0,
            0..DOUBTED if self.is_tried => most,
            0..DOUBTED => most.min(UNTRIED_MAX),
            _ => most.min(1),
        }
    }

    /// Why it gets less than it offers, if it does.
    pub fn why(&self) -> Option<String> {
        if !self.is_in_doubt() {
            return None;
        }
        let mut parts = Vec::new();
        if !self.unreached.is_empty() {
            let more = if self.unreached.len() == OPERATORS_MAX { " or more" } else { "" };
            let (names, count) = (self.unreached.join(", "), self.unreached.len());
            parts.push(format!(
                "its last leases failed at {count}{more} servers in a row ({names}): does its machine \
                 reach them (name server, firewall, proxy, clock)?"
            ));
        }
        if self.lost > 0 {
            let leases = plural(self.lost.into(), "lease", "leases");
            parts.push(format!("It lost or gave back {leases} in a row."));
        }
        Some(parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn unreached(operator: &str) -> Went {
        Went::Unreached(operator.to_owned())
    }

    fn secs(secs: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(secs))
    }

    #[test]
    fn failing_in_a_row_gives_less_then_pauses_that_grow_and_success_gives_all() {
        let mut record = Record::default();
        assert_eq!(record.share(NOW, 64), UNTRIED_MAX);
        for (went, granted, now, share, rests_until) in [
            (unreached("a"), 0, 0, 8, None),
            (unreached("a"), 0, 0, 8, None),
            (Went::Silent, 0, 0, 8, None),
            (unreached("b"), 0, 0, 1, None),
            (unreached("c"), 0, 1, 0, Some(5)),
            // What it still held: the next rest is longer.
            (unreached("d"), 0, 2, 0, Some(5)),
            (Went::Silent, 0, 2, 0, Some(5)),
            (unreached("e"), 5, 6, 0, Some(25)),
            (Went::Silent, 25, 30, 0, Some(65)),
            (Went::Lost, 65, 66, 0, Some(125)),
            (unreached("a"), 125, 145, 0, Some(185)),
            // It took longer than it would have rested: the next is granted at once.
            (unreached("a"), 185, 250, 1, Some(245)),
            (Went::Well, 250, 251, 8, None),
            // It succeeds only now and then.
            (Went::Lost, 251, 252, 8, None),
            (unreached("a"), 251, 252, 1, None),
            (Went::Lost, 251, 252, 0, Some(311)),
            (Went::Well, 311, 312, 8, None),
        ] {
            record.after(&went, secs(granted), secs(now));
            let expected = (share, rests_until.map(secs));
            assert_eq!(
                (record.share(secs(now), 8), record.rests_until),
                expected,
                "{went:?} at {now}"
            );
        }
        assert_eq!((record.share(secs(312), 64), record.share(secs(312), 0)), (64, 0));
        // It stays well.
        (0..STEPS_MAX).for_each(|_| record.after(&Went::Well, NOW, NOW));
        assert_eq!(record, Record { is_tried: true, ..Record::default() });
        // The clock ran ahead.
        (0..RESTS).for_each(|_| record.after(&Went::Lost, NOW, NOW));
        assert_eq!((record.share(NOW, 9), record.share(NOW.minus(REST_MAX), 9)), (0, 1));
    }

    #[test]
    fn at_most_one_a_minute_after_the_first_ten_whatever_a_peer_offers() {
        for offers in [1, 2, 3, 4, 9, 10, 64] {
            for takes in [0, 1, 4, 15, 30, 59, 61] {
                let (mut record, mut now, mut held) = (Record::default(), 0, Vec::new());
                let (mut grants, mut failed) = (Vec::new(), 0);
                while now < 3600 {
                    let (over, left): (Vec<u64>, Vec<u64>) =
                        held.into_iter().partition(|granted| granted + takes <= now);
                    held = left;
                    for granted in over {
                        failed += 1;
                        record.after(&unreached(&failed.to_string()), secs(granted), secs(now));
                    }
                    if held.len() < record.share(secs(now), offers) {
                        grants.push(now);
                        held.push(now);
                    } else {
                        now += 1;
                    }
                }
                let pauses = grants[9..].windows(2).map(|pair| pair[1] - pair[0]);
                let (least, most) = (pauses.clone().min(), pauses.max());
                assert!(least >= Some(60) && most <= Some(61), "{offers} {takes}: {grants:?}");
            }
        }
    }

    #[test]
    fn it_is_told_why() {
        let mut record = Record::default();
        assert_eq!(record.why(), None);
        record.after(&unreached("a.example"), NOW, NOW);
        assert_eq!(record.why(), None);
        record.after(&Went::Lost, NOW, NOW);
        let said = "its last leases failed at 1 servers in a row (a.example): does its machine reach \
                    them (name server, firewall, proxy, clock)? It lost or gave back 1 lease in a row.";
        assert_eq!(record.why().as_deref(), Some(said));
        for operator in ["b", "c", "d", "e"] {
            record.after(&unreached(operator), NOW, NOW);
        }
        assert!(record.why().is_some_and(|why| why.contains("at 4 or more servers")));
    }

    #[test]
    fn it_is_kept_as_text() {
        let mut record = Record::default();
        record.after(&unreached("a"), NOW, NOW);
        record.after(&Went::Lost, NOW, NOW);
        record.after(&Went::Lost, NOW, NOW);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert!(serde_json::from_str::<Record>("{}").unwrap() == Record::default());
    }
}
