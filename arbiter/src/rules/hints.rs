//! How often strangers' announcements may make one source due. Whoever says that there is something new,
//! where there is nothing, is asked for more patience the next time: a source that changes is looked at as
//! often as it is announced, one that doesn't as often as it is polled. A value.

use crate::rules::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Least time between two looks.
const INTERVAL_MIN: Duration = Duration::from_secs(60);

/// The sources that strangers announced lately, at most so many.
#[derive(Debug)]
pub struct Hints {
    most: usize,
    of: HashMap<String, Hint>,
}

#[derive(Debug)]
struct Hint {
    /// When it was taken last, the head that was known then, and how long the next has to wait.
    at: Timestamp,
    head: Option<String>,
    interval: Duration,
}

impl Hints {
    /// Nothing was announced, of at most `most` sources.
    pub fn new(most: usize) -> Self {
        Self { most, of: HashMap::new() }
    }

    /// Takes a stranger's announcement of a source whose `head` is known by now, and which is polled each
    /// `longest` anyway.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn take(
        &mut self,
        slug: &str,
        head: Option<&str>,
        longest: Duration,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let mut interval = INTERVAL_MIN;
        if let Some(last) = self.of.get(slug) {
            // The clock may have been set back since.
            let passed = now.since(last.at.min(now));
            let is_new = last.head.as_deref() != head;
            // The last one led to something new, and so may this.
            let wait = if is_new { Duration::ZERO } else { last.interval }.saturating_sub(passed);
            if !wait.is_zero() && last.at <= now {
                return Err(wait);
            }
            if !is_new {
                interval = (last.interval * 2).min(longest.max(INTERVAL_MIN));
            }
        }
        if self.of.len() >= self.most && !self.of.contains_key(slug) {
            self.make_room(now);
        }
        let head = head.map(str::to_owned);
        self.of.insert(slug.to_owned(), Hint { at: now, head, interval });
        Ok(())
    }

    /// Forgets those whose time is over; if there are none, the one that is over first.
    fn make_room(&mut self, now: Timestamp) {
        self.of.retain(|_, hint| hint.at.plus(hint.interval) > now);
        if self.of.len() >= self.most {
            let first = self.of.iter().min_by_key(|(_, hint)| hint.at.plus(hint.interval));
            if let Some(slug) = first.map(|(slug, _)| slug.clone()) {
                self.of.remove(&slug);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// How often a source is made due in a day that is announced each second, whose head is that.
    fn taken(head: impl Fn(u64) -> String) -> usize {
        let mut hints = Hints::new(9);
        let at = |secs| Timestamp::from_millis((1_700_000_000 + secs) * 1000);
        let is_taken = |secs: &u64| hints.take("a", Some(&head(*secs)), HOUR, at(*secs)).is_ok();
        (0..24 * 60 * 60).filter(is_taken).count()
    }

    #[test]
    fn what_is_never_new_is_looked_at_as_often_as_it_is_polled() {
        assert_eq!(taken(|_| "x".into()), 29);
        // One that changes each quarter of an hour is seen each time.
        let changing = taken(|secs| (secs / 900).to_string());
        assert!((96..=96 * 5).contains(&changing), "{changing}");
    }

    #[test]
    fn the_table_is_bounded_and_a_clock_that_was_set_back_stops_nothing() {
        let mut hints = Hints::new(3);
        let now = Timestamp::from_millis(1_700_000_000_000);
        for number in 0..100 {
            assert_eq!(hints.take(&number.to_string(), None, HOUR, now), Ok(()));
            assert!(hints.of.len() <= 3);
        }
        assert!(hints.take("99", None, HOUR, now).is_err());
        assert_eq!(hints.take("99", None, HOUR, now.minus(HOUR)), Ok(()));
    }
}
