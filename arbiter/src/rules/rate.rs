//! How often each of many may do something: a bucket of tokens for each, which fills again with
//! time. A value; the moment is handed in.
//!
//! A bucket is kept as the moment at which it will be full again, so one that is full needs no
//! place in the table (the "generic cell rate algorithm" of ATM, Traffic Management 4.0).

use crate::rules::timestamp::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How much of something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many at once.
    pub burst: u32,
    /// And then one in so long.
    pub every: Duration,
}

/// Buckets by key, at most so many.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    full_at: HashMap<K, Timestamp>,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Buckets that fill at `rate`, at most `most` of them in the table.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, full_at: HashMap::new() }
    }

    /// Takes one token of `key`'s.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, key: &K, now: Timestamp) -> Result<(), Duration> {
        let whole = self.rate.every.saturating_mul(self.rate.burst);
        // Never longer than the whole bucket takes: the clock may have been set back.
        let known = self.full_at.get(key).copied().unwrap_or(now);
        let full_at = known.max(now).min(now.plus(whole)).plus(self.rate.every);
        let wait = full_at.since(now).saturating_sub(whole);
        if !wait.is_zero() {
            return Err(wait);
        }
        if !self.full_at.contains_key(key) && self.full_at.len() >= self.most {
            self.make_room(now);
        }
        self.full_at.insert(key.clone(), full_at);
        Ok(())
    }

    /// Forgets full buckets; if there are none, the fullest: whoever holds it gains least.
    fn make_room(&mut self, now: Timestamp) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < self.most {
            return;
        }
        let fullest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at);
        if let Some(key) = fullest.map(|(key, _)| key.clone()) {
            self.full_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn buckets(most: usize) -> Buckets<u32> {
        let rate = Rate { burst: 3, every: 10 * SECOND };
        Buckets::new(rate, most)
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let mut buckets = buckets(9);
        for _ in 0..3 {
            assert_eq!(buckets.take(&1, NOW), Ok(()));
        }
        assert_eq!(buckets.take(&1, NOW), Err(10 * SECOND));
        assert_eq!(buckets.take(&2, NOW), Ok(()), "another's is its own");
        // What is refused costs nothing.
        assert_eq!(buckets.take(&1, NOW.plus(9 * SECOND)), Err(SECOND));
        assert_eq!(buckets.take(&1, NOW.plus(10 * SECOND)), Ok(()));
        assert_eq!(buckets.take(&1, NOW.plus(10 * SECOND)), Err(10 * SECOND));
        let later = NOW.plus(1000 * SECOND);
        for _ in 0..3 {
            assert_eq!(buckets.take(&1, later), Ok(()), "never more than full");
        }
        assert!(buckets.take(&1, later).is_err());
    }

    #[test]
    fn a_clock_set_back_costs_at_most_a_whole_bucket() {
        let mut buckets = buckets(9);
        assert_eq!(buckets.take(&1, NOW.plus(100_000 * SECOND)), Ok(()));
        assert_eq!(buckets.take(&1, NOW), Err(10 * SECOND));
        assert_eq!(buckets.take(&1, NOW.plus(10 * SECOND)), Err(10 * SECOND));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_whom_it_limits() {
        let mut buckets = buckets(4);
        for _ in 0..3 {
            assert_eq!(buckets.take(&0, NOW), Ok(()));
        }
        for key in 1..1000 {
            assert_eq!(buckets.take(&key, NOW), Ok(()));
            assert!(buckets.full_at.len() <= 4);
        }
        assert!(buckets.take(&0, NOW).is_err());
        // A new one: of those that were there, which ones stayed is chance.
        assert_eq!(buckets.take(&1000, NOW.plus(60 * SECOND)), Ok(()));
        assert_eq!(buckets.full_at.len(), 1, "full ones are forgotten");
    }
}
