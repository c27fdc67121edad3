//! The record of a peer: how its last leases ended, and what follows from that. One that fails at one
//! operator after the other, loses its leases or can't do them gets one at a time, then none for a
//! while, and then one to try it by, after pauses that grow; whatever it succeeds at clears its record. It
//! is tried by a source that isn't due yet, where there is one: nobody waits for what it holds.
//! Functions of values and a moment.
//!
//! | in a row | gets |
//! | --- | --- |
//! | fewer than 2 | what it offers |
//! | 2 | one lease at a time |
//! | 3 or more | none for 5 s, then one; none for 10 s, then one; and so on up to a minute |
//!
//! What counts: an operator at which it reached nothing that another peer didn't miss, too, each once;
//! each lease that expired, was given back or couldn't be done, and each finish that was refused.

use crate::rules::politeness::doubled;
use crate::rules::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// From so many in a row on a peer gets one lease at a time, and its word on a source counts nothing.
const DOUBTED: usize = 2;
/// From so many in a row on it rests.
const RESTS: usize = 3;
/// Most operators that are remembered by name.
const OPERATORS_MAX: usize = 4;
/// How long it rests at first ...
const REST: Duration = Duration::from_secs(5);
/// ... and at most: so long after its network is mended it is tried.
const REST_MAX: Duration = Duration::from_secs(60);

/// How the last leases of a peer ended, since the last that went well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Operators at which it failed.
    unreached: Vec<String>,
    /// Leases that it lost or didn't do.
    lost: u32,
    /// How often it rested.
    rests: u32,
    /// Until when it rests, or last did.
    pub rests_until: Option<Timestamp>,
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

    /// Remembers how a lease that ended `now` went.
    pub fn after(&mut self, went: &Went, now: Timestamp) {
        match went {
            Went::Silent if self.in_a_row() < RESTS => return,
            // It was to try the peer by, and didn't.
            Went::Silent => {}
            Went::Well => {
                *self = Self::default();
                return;
            }
            Went::Lost => self.lost = self.lost.saturating_add(1),
            Went::Unreached(operator) => {
                if !self.unreached.contains(operator) && self.unreached.len() < OPERATORS_MAX {
                    self.unreached.push(operator.clone());
                }
            }
        }
        // Those that it holds beside are over soon, and say no more than the first.
        if self.in_a_row() >= RESTS && !self.rests(now) {
            self.rests = self.rests.saturating_add(1);
            self.rests_until = Some(now.plus(doubled(REST, self.rests, REST_MAX)));
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
            0..DOUBTED => most,
            _ => most.min(1),
        }
    }

    /// Why it gets less than it offers, if it does.
    pub fn why(&self) -> Option<String> {
        if self.in_a_row() < DOUBTED {
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
            parts.push(format!("It lost or gave back {} leases in a row.", self.lost));
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
        for (went, now, share, rests_until) in [
            (unreached("a"), NOW, 9, None),
            (unreached("a"), NOW, 9, None),
            (Went::Silent, NOW, 9, None),
            (unreached("b"), NOW, 1, None),
            (unreached("c"), NOW, 0, Some(secs(5))),
            // What it still held.
            (unreached("d"), secs(1), 0, Some(secs(5))),
            (unreached("e"), secs(5), 0, Some(secs(15))),
            (Went::Silent, secs(15), 0, Some(secs(35))),
            (Went::Lost, secs(35), 0, Some(secs(75))),
            (unreached("a"), secs(75), 0, Some(secs(135))),
            (unreached("a"), secs(135), 0, Some(secs(195))),
            (Went::Well, secs(140), 9, None),
            (Went::Lost, secs(150), 9, None),
            (unreached("a"), secs(150), 1, None),
            (Went::Lost, secs(150), 0, Some(secs(155))),
        ] {
            record.after(&went, now);
            assert_eq!(
                (record.share(now, 9), record.rests_until),
                (share, rests_until),
                "{went:?}"
            );
        }
        assert_eq!(record.share(secs(155), 9), 1);
        assert_eq!(record.share(secs(155), 0), 0);
        // The clock ran ahead.
        assert_eq!(record.share(NOW.minus(REST_MAX), 9), 1);
    }

    #[test]
    fn it_is_told_why() {
        let mut record = Record::default();
        assert_eq!(record.why(), None);
        record.after(&unreached("a.example"), NOW);
        assert_eq!(record.why(), None);
        record.after(&Went::Lost, NOW);
        let said = "its last leases failed at 1 servers in a row (a.example): does its machine reach \
                    them (name server, firewall, proxy, clock)? It lost or gave back 1 leases in a row.";
        assert_eq!(record.why().as_deref(), Some(said));
        for operator in ["b", "c", "d", "e"] {
            record.after(&unreached(operator), NOW);
        }
        assert!(record.why().is_some_and(|why| why.contains("at 4 or more servers")));
    }

    #[test]
    fn it_is_kept_as_text() {
        let mut record = Record::default();
        record.after(&unreached("a"), NOW);
        record.after(&Went::Lost, NOW);
        record.after(&Went::Lost, NOW);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert!(serde_json::from_str::<Record>("{}").unwrap() == Record::default());
    }
}
