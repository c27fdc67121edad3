//! Which leases live by the arbiter's word, though the store may not know it yet: their renewals
//! were heard and answered, or their Finish has arrived and isn't answered. The store is told
//! behind. A value.

use crate::rules::timestamp::Timestamp;
use crate::store::Renewal;
use std::collections::BTreeMap;
use std::time::Duration;

/// The leases, by holder and token.
#[derive(Debug, Default)]
pub struct Alive {
    /// The first and the last renewal that the store wasn't told.
    heard: BTreeMap<(String, u64), (Timestamp, Timestamp)>,
    finishing: BTreeMap<(String, u64), Finishing>,
}

/// A lease whose Finish is unanswered.
#[derive(Debug)]
struct Finishing {
    /// When the first came.
    since: Timestamp,
    /// When the lease was last known to be renewed, before that.
    renewed: Timestamp,
    /// How many came: a later session may say it again.
    times: usize,
}

impl Alive {
    /// A renewal was heard and answered.
    pub fn renewed(&mut self, peer: &str, token: u64, at: Timestamp) {
        let heard = self.heard.entry((peer.to_owned(), token)).or_insert((at, at));
        heard.1 = heard.1.max(at);
    }

    /// A Finish has arrived, of a lease that was last `renewed` at a moment.
    pub fn finishes(&mut self, peer: &str, token: u64, renewed: Timestamp, at: Timestamp) {
        let finishing = self.finishing.entry((peer.to_owned(), token));
        finishing.or_insert(Finishing { since: at, renewed, times: 0 }).times += 1;
    }

    /// A Finish was answered, or never will be.
    pub fn answered(&mut self, peer: &str, token: u64) {
        let key = (peer.to_owned(), token);
        if let Some(finishing) = self.finishing.get_mut(&key) {
            finishing.times -= 1;
            if finishing.times == 0 {
                self.finishing.remove(&key);
            }
        }
    }

    /// A lease is over.
    pub fn over(&mut self, peer: &str, token: u64) {
        self.heard.remove(&(peer.to_owned(), token));
    }

    /// Whether a Finish of this lease is unanswered.
    pub fn is_finishing(&self, peer: &str, token: u64) -> bool {
        self.finishing.contains_key(&(peer.to_owned(), token))
    }

    /// Whether the store may have to be told something soon.
    pub fn is_any(&self) -> bool {
        !self.heard.is_empty() || !self.finishing.is_empty()
    }

    /// What the store is to be told at `now`, where leases live for `lifetime`. So that a store
    /// that was silent for longer than a lifetime can follow, each lease is renewed from the first
    /// moment on that the store doesn't know of, in steps that are shorter than its life. Of a Finish
    /// it is told only where it takes its time: most are over before their leases could be.
    pub fn renewals(&self, now: Timestamp, lifetime: Duration) -> Vec<Renewal> {
        let heard = self.heard.iter().map(|(key, (first, last))| (key, *first, *last, false));
        let is_slow = |of: &Finishing| now.since(of.renewed) >= lifetime / 2;
        let finishing = self.finishing.iter().filter(|(_, of)| is_slow(of));
        let finishing = finishing.map(|(key, of)| (key, of.since, now, true));
        heard
            .chain(finishing)
            .flat_map(|((peer, token), first, last, is_finishing)| {
                steps((peer, *token), (first, last), lifetime, is_finishing)
            })
            .collect()
    }

    /// The renewals of one lease that the store should know of by `now` and doesn't: what is said
    /// under the lease must not be taken for late because of that.
    pub fn late(&self, peer: &str, token: u64, now: Timestamp, lifetime: Duration) -> Vec<Renewal> {
        match self.heard.get(&(peer.to_owned(), token)) {
            Some((first, last)) if now.since(*first) > told_within(lifetime) * 2 => {
                steps((peer, token), (*first, *last), lifetime, false).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The store was told this; what was heard since, it wasn't.
    pub fn told(&mut self, renewals: &[Renewal]) {
        for renewal in renewals {
            let key = (renewal.peer.clone(), renewal.token);
            if let Some((first, last)) = self.heard.get_mut(&key) {
                *first = (*first).max(renewal.at);
                if *last <= renewal.at {
                    self.heard.remove(&key);
                }
            }
        }
    }
}

/// Within which time the store is told of a renewal, if it answers: peers renew when a third of
/// `lifetime` has passed, and another arbiter on the store ends what it takes for expired.
pub fn told_within(lifetime: Duration) -> Duration {
    lifetime / 10
}

fn steps(
    (peer, token): (&str, u64),
    (first, last): (Timestamp, Timestamp),
    lifetime: Duration,
    is_finishing: bool,
) -> impl Iterator<Item = Renewal> {
    let step = (lifetime / 2).max(Duration::from_millis(1));
    let moments =
        std::iter::successors(Some(first), move |&at| (at < last).then(|| at.plus(step).min(last)));
    let peer = peer.to_owned();
    moments.map(move |at| Renewal { token, peer: peer.clone(), at, is_finishing })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_millis(60);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn told(alive: &Alive, now: u64) -> Vec<(u64, u64)> {
        let renewals = alive.renewals(at(now), LIFETIME);
        renewals.iter().map(|renewal| (renewal.token, renewal.at.millis())).collect()
    }

    /// What happens to one peer's leases.
    enum Step {
        Renewed(u64, u64),
        /// By a lease that was renewed at the moment before.
        Finishes(u64, u64, u64),
        Answered(u64),
        Over(u64),
        /// The store is told what is to be told at this moment.
        Told(u64),
    }
    use Step::{Answered, Finishes, Over, Renewed, Told};

    /// What happens, a moment, and what the store is told then: tokens and moments.
    type Row = (&'static [Step], u64, &'static [(u64, u64)]);

    #[test]
    fn the_store_is_told_what_it_does_not_know() {
        let table: &[Row] = &[
            (&[], 5, &[]),
            (&[Renewed(1, 20)], 25, &[(1, 20)]),
            (&[Renewed(1, 20), Told(25)], 30, &[]),
            (&[Renewed(1, 20), Told(25), Renewed(1, 40)], 45, &[(1, 40)]),
            (&[Renewed(1, 20), Over(1)], 25, &[]),
            // The store was silent for long: no step is longer than a lease lives.
            (
                &[Renewed(1, 20), Renewed(1, 40), Renewed(1, 60), Renewed(1, 85)],
                90,
                &[(1, 20), (1, 50), (1, 80), (1, 85)],
            ),
            // A Finish keeps its lease alive for as long as it isn't answered, whatever the store
            // was told; but it isn't told while the lease has time.
            (&[Finishes(2, 0, 10)], 29, &[]),
            (&[Finishes(2, 0, 10)], 30, &[(2, 10), (2, 30)]),
            (&[Finishes(2, 0, 55)], 55, &[(2, 55)]),
            (&[Finishes(2, 0, 10), Told(35)], 75, &[(2, 10), (2, 40), (2, 70), (2, 75)]),
            (&[Finishes(2, 0, 10), Answered(2)], 75, &[]),
            // Said again in a later session, it is unanswered until both are.
            (&[Finishes(2, 0, 10), Finishes(2, 15, 20), Answered(2)], 30, &[(2, 10), (2, 30)]),
            (&[Finishes(2, 0, 10), Finishes(2, 15, 20), Answered(2), Answered(2)], 30, &[]),
            (&[Answered(3), Over(3)], 20, &[]),
        ];
        for (number, (steps, now, expected)) in table.iter().enumerate() {
            let mut alive = Alive::default();
            for step in *steps {
                match *step {
                    Renewed(token, millis) => alive.renewed("a", token, at(millis)),
                    Finishes(token, renewed, millis) => {
                        alive.finishes("a", token, at(renewed), at(millis));
                    }
                    Answered(token) => alive.answered("a", token),
                    Over(token) => alive.over("a", token),
                    Told(now) => {
                        let renewals = alive.renewals(at(now), LIFETIME);
                        alive.told(&renewals);
                    }
                }
            }
            assert_eq!(&told(&alive, *now), expected, "row {number}");
        }
    }

    #[test]
    fn what_is_heard_while_the_store_is_told_is_told_later() {
        let mut alive = Alive::default();
        alive.renewed("a", 1, at(20));
        let renewals = alive.renewals(at(25), LIFETIME);
        alive.renewed("a", 1, at(40));
        alive.told(&renewals);
        assert_eq!(told(&alive, 45), [(1, 20), (1, 40)]);
        // Another peer that names the token is another matter.
        alive.finishes("b", 1, at(0), at(30));
        alive.answered("b", 1);
        assert!(!alive.is_finishing("a", 1));
    }

    #[test]
    fn only_what_the_store_should_have_been_told_is_late() {
        let mut alive = Alive::default();
        alive.renewed("a", 1, at(100));
        for (now, is_late) in [(100, false), (112, false), (113, true), (500, true)] {
            let late = alive.late("a", 1, at(now), LIFETIME);
            assert_eq!(!late.is_empty(), is_late, "{now}");
        }
        assert!(alive.late("b", 1, at(500), LIFETIME).is_empty());
    }
}
