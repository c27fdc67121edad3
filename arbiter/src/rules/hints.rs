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
    /// Whether what was new came by the announcement before, for all that is known of a first one.
    is_first_good: bool,
    of: HashMap<String, Hint>,
}

#[derive(Debug)]
struct Hint {
    /// When it was taken last, the head that was known then, and how long the next has to wait.
    at: Timestamp,
    head: Option<String>,
    interval: Duration,
    /// Whether that head was new since the one before: then somebody else's look came first, and it was right.
    is_good: bool,
}

impl Hints {
    /// Nothing was announced, of at most `most` sources, by strangers.
    pub fn new(most: usize) -> Self {
        Self { most, is_first_good: false, of: HashMap::new() }
    }

    /// The same of announcements by owners: one isn't in vain where a stranger's of the same news, or a
    /// poll, had the source read just before it.
    pub fn of_owners(most: usize) -> Self {
        Self { is_first_good: true, ..Self::new(most) }
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
        let (mut interval, mut is_good) = (INTERVAL_MIN, self.is_first_good);
        if let Some(last) = self.of.get(slug) {
            // The clock may have been set back since.
            let passed = now.since(last.at.min(now));
            let is_changed = last.head.as_deref() != head;
            is_good = self.is_first_good && is_changed;
            let is_new = is_changed || last.is_good;
            // The last one led to something new, or was late by a moment, and so may this.
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
        self.of.insert(slug.to_owned(), Hint { at: now, head, interval, is_good });
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
        let at = |secs| Timestamp::from_millis((1_700_000_000_u64 + secs) * 1000);
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
    fn an_owner_is_right_though_somebody_else_had_it_read_first() {
        let at = |secs| Timestamp::from_millis((1_700_000_000_u64 + secs) * 1000);
        let mut owners = Hints::of_owners(9);
        let is_taken = |(secs, head)| owners.take("a", Some(head), HOUR, at(secs)).is_ok();
        // What is announced was read already each time; the last two are in vain.
        let said = [(0, "1"), (5, "2"), (10, "3"), (15, "3"), (20, "3"), (90, "3")];
        assert_eq!(said.map(is_taken), [true, true, true, true, false, true]);
        let mut strangers = Hints::new(9);
        let is_taken = |(secs, head)| strangers.take("a", Some(head), HOUR, at(secs)).is_ok();
        assert_eq!(said.map(is_taken), [true, true, true, false, false, true]);
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
