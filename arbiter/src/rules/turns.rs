//! Whose turn it is among one session's messages. Those of one lease are worked on one after the
//! other, in the order in which they came; those of different leases don't wait for each other. A
//! value: who works on them, and when, is the session's business.

use std::collections::{BTreeMap, VecDeque};

/// Most messages of one session that are worked on at once; each is a call of the store. A lease
/// has one at a time, and few agents hold more leases than this.
pub const UNDER_WAY_MAX: usize = 16;
/// A session is not read while its messages that aren't answered yet have this many bytes, as they are
/// held: what nine leases put that each have two full writes (of 220 KiB) unanswered. One more message
/// may come on top, which is at most 1 MiB.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a message counts as at least, in bytes: what is kept of a short one.
const BYTES_MIN: usize = 1024;

/// What a message is about. Those about the same thing keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Certificate,
    /// The lease of this token.
    Lease(u64),
}

/// Messages that wait, and what is worked on.
#[derive(Debug)]
pub struct Turns<T> {
    /// In the order in which they came, with their bytes.
    waiting: VecDeque<(About, usize, T)>,
    /// With the bytes of the message.
    under_way: BTreeMap<About, usize>,
    bytes: usize,
}

impl<T> Turns<T> {
    /// Nothing has come yet; of earlier sessions of the peer this is still worked on.
    pub fn after(earlier: impl IntoIterator<Item = About>) -> Self {
        let under_way = earlier.into_iter().map(|of| (of, 0)).collect();
        Self { waiting: VecDeque::new(), under_way, bytes: 0 }
    }

    /// Takes a message in that has `bytes` bytes.
    pub fn arrived(&mut self, of: About, bytes: usize, message: T) {
        let bytes = bytes.max(BYTES_MIN);
        self.bytes += bytes;
        self.waiting.push_back((of, bytes, message));
    }

    /// The next message that may be worked on, and is from now on.
    pub fn begin(&mut self) -> Option<(About, T)> {
        if self.under_way.len() >= UNDER_WAY_MAX {
            return None;
        }
        // The first that may is the oldest of its lease, too: an older one could go as well.
        let may_go = |(of, ..): &(About, usize, T)| !self.under_way.contains_key(of);
        let at = self.waiting.iter().position(may_go)?;
        let (of, bytes, message) = self.waiting.remove(at)?;
        self.under_way.insert(of, bytes);
        Some((of, message))
    }

    /// What was worked on of this is done.
    pub fn done(&mut self, of: About) {
        self.bytes -= self.under_way.remove(&of).unwrap_or_default();
    }

    /// Whether no more is to be taken in for the moment.
    pub const fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// The messages whose turn hasn't come, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(_, _, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens: a message of a lease arrives, or what is under way of a lease is done.
    enum Step {
        Arrives(u64, &'static str),
        Done(u64),
    }
    use Step::{Arrives, Done};

    fn next(turns: &mut Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.begin().map(|(_, message)| message)).collect()
    }

    #[test]
    fn a_lease_keeps_its_order_and_waits_for_no_other() {
        let table: &[(&[Step], &[u64], &[&str])] = &[
            (&[Arrives(1, "put"), Arrives(1, "put 2"), Arrives(1, "finish")], &[], &["put"]),
            (&[Arrives(1, "put"), Arrives(1, "finish"), Done(1), Done(1)], &[], &["put", "finish"]),
            (
                &[Arrives(1, "finish"), Arrives(2, "put"), Arrives(2, "finish 2"), Done(2)],
                &[],
                &["finish", "put", "finish 2"],
            ),
            // One that waits for its turn keeps those behind it from none but its own.
            (
                &[Arrives(1, "a"), Arrives(1, "b"), Arrives(2, "c"), Arrives(1, "d"), Done(1)],
                &[],
                &["a", "c", "b"],
            ),
            // What an earlier session had under way goes first.
            (&[Arrives(1, "again"), Arrives(2, "put")], &[1], &["put"]),
            (&[Arrives(1, "again"), Done(1)], &[1], &["again"]),
            // That something is done which wasn't under way changes nothing.
            (&[Done(7), Arrives(7, "put"), Done(8), Arrives(7, "finish")], &[], &["put"]),
        ];
        for (number, (steps, earlier, expected)) in table.iter().enumerate() {
            let mut turns = Turns::after(earlier.iter().map(|&lease| About::Lease(lease)));
            let mut begun = Vec::new();
            for step in *steps {
                match *step {
                    Arrives(lease, message) => turns.arrived(About::Lease(lease), 1, message),
                    Done(lease) => turns.done(About::Lease(lease)),
                }
                begun.extend(next(&mut turns));
            }
            assert_eq!(&begun, expected, "row {number}");
        }
    }

    #[test]
    fn what_is_under_way_and_what_waits_is_bounded() {
        let mut turns = Turns::after([]);
        for lease in 0..UNDER_WAY_MAX as u64 + 2 {
            turns.arrived(About::Lease(lease), 0, "put");
        }
        assert_eq!(next(&mut turns).len(), UNDER_WAY_MAX);
        turns.done(About::Lease(3));
        assert_eq!(next(&mut turns).len(), 1);
        assert_eq!(turns.waiting().count(), 1);

        let mut turns = Turns::after([]);
        let mut arrived = 0;
        while !turns.is_full() {
            turns.arrived(About::Lease(1), 200 * 1024, "put");
            arrived += 1;
        }
        assert_eq!(arrived, 21);
        // It counts until it is done, and a short message counts, too.
        assert_eq!(next(&mut turns), ["put"]);
        assert!(turns.is_full());
        turns.done(About::Lease(1));
        assert!(!turns.is_full());
        while !turns.is_full() {
            turns.arrived(About::Certificate, 0, "renewal");
            arrived += 1;
        }
        assert!(arrived < BYTES_MAX / BYTES_MIN, "{arrived}");
    }
}
