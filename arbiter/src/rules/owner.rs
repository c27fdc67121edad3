//! What a source's owner says, and what follows for when it is asked. It only slows down or stops:
//! the longest interval counts, every quiet hour, and any no. A function of values and a moment.
//!
//! | what is said | by | what follows |
//! | --- | --- | --- |
//! | an interval | Release, file | polls, and announcements of others than the owner, keep it |
//! | `Cache-Control: max-age` | the answer for the head | polls keep it, up to a day |
//! | announcements by its owner, each of something new | announcements | polled half as often after each, down to once a day; not so from the first change on that a poll finds |
//! | quiet hours | Release, file | nobody asks then |
//! | where a publisher is, and its key | Release, file | its signed head is asked for first, and the source itself once a day or when that changes: see [`publisher`](super::publisher) |
//! | no, of any kind; 410 | Release, file, `robots.txt`, the server | once two peers were told so (or the only one there is): it is hidden, and asked once a week whether that still holds |

use crate::rules::announcer::KeyId;
use crate::rules::politeness;
use crate::rules::schedule::{DAY, PollSchedule};
use crate::rules::timestamp::Timestamp;
use canister_protocol::Uri;
use canister_protocol::message::OwnerFound;
use canister_protocol::owner::OwnerSays;
use canister_protocol::span::Span;
use std::time::Duration;

/// How often a host is asked for its owner's files, at most.
pub const HOST_EVERY: Duration = DAY;
/// How often at most where somebody announces by a key that nobody knows: it may have been named since.
pub const ANEW_EVERY: Duration = Duration::from_secs(10 * 60);
/// After so many good announcements no more is gained: an hour has become a day.
const RELIED_MAX: u32 = 5;
/// How often a source that its owner stopped is asked whether it still is.
pub const STOPPED_EVERY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// All that is remembered of what a source's owner says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerWord {
    /// What Release said last.
    pub release: OwnerSays,
    /// What the host's files said when the source was last asked.
    pub host: OwnerSays,
    /// How long the server lets its last answer be kept.
    pub max_age: Duration,
    /// Why it is neither shown nor polled, where its owner stopped that.
    pub stopped: Option<String>,
    /// How often in a row its owner announced what was new.
    pub relied: u32,
    /// Whether its owner made the announcement that it is due by.
    pub announced_itself: bool,
}

impl OwnerWord {
    /// Takes what a lease found.
    pub fn learn(&mut self, found: &OwnerFound) {
        if let Some(said) = &found.release {
            self.release = OwnerSays::read(said);
        }
        if let Some(said) = &found.host {
            self.host = OwnerSays::read(said);
        }
        // A 304 that says nothing of it changes nothing (RFC 9111 §4.3.4).
        if found.max_age_secs > 0 || found.release.is_some() {
            self.max_age = Duration::from_secs(found.max_age_secs.into());
        }
    }

    /// Remembers that it was read `after` its owner announced it, or not, and whether it was new then. Whoever
    /// announces what is new each time is polled half as often after each.
    pub fn was_read(&mut self, by_owner: bool, is_new: bool) {
        self.relied = match (by_owner, is_new) {
            (true, true) => self.relied.saturating_add(1).min(RELIED_MAX),
            // It was announced in vain.
            (true, false) => self.relied.saturating_sub(1),
            // It was new, and its owner had not said so.
            (false, true) => 0,
            (false, false) => self.relied,
        };
    }

    const fn places(&self) -> [(&'static str, &OwnerSays); 2] {
        [("Release", &self.release), ("canister.txt", &self.host)]
    }

    /// Least time from one visit to the next, as it is said.
    fn said(&self) -> Duration {
        self.places().into_iter().filter_map(|(_, says)| says.interval).max().unwrap_or_default()
    }

    /// A schedule, slowed down by this.
    #[must_use]
    pub fn slowed(&self, schedule: PollSchedule) -> PollSchedule {
        let said = self.said();
        let relied = schedule.interval.saturating_mul(1 << self.relied.min(RELIED_MAX)).min(DAY);
        let stopped = if self.stopped.is_some() { STOPPED_EVERY } else { Duration::ZERO };
        PollSchedule {
            interval: schedule.interval.max(said).max(self.max_age).max(stopped).max(relied),
            retry_after: schedule.retry_after.max(said),
            ..schedule
        }
    }

    /// When the quiet hours end within which `now` is, if it is.
    pub fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        let quiet = self.places().into_iter().filter_map(|(_, says)| says.quiet);
        quiet.filter_map(|quiet| quiet.left(now.millis() / 1000)).max().map(|left| {
            // Whole seconds, for that is what the hours are made of.
            Timestamp::from_millis(now.millis() / 1000 * 1000).plus(left)
        })
    }

    /// The first moment from `moment` on at which it may be asked whose last visit was then.
    pub fn free_at(&self, moment: Timestamp, last: Option<Timestamp>) -> Timestamp {
        let mut at = last.map_or(moment, |last| moment.max(last.plus(self.said())));
        // Two quiet times may take turns; if they fill the day, each next moment is as good as any.
        for _ in 0..4 {
            let Some(until) = self.quiet_until(at) else { break };
            at = until;
        }
        at
    }

    /// Whether a key is one whose holder announces as the source's owner.
    pub fn names(&self, key: &KeyId) -> bool {
        let mut all = self.places().into_iter().flat_map(|(_, says)| &says.announcers);
        all.any(|named| KeyId::named(named).as_ref() == Some(key))
    }

    /// Where the publisher is that it names, if that is on servers of this domain: nobody is sent to others'. Whoever
    /// names no key can't be believed by one.
    pub fn publisher(&self, domain: &str) -> Option<&str> {
        let is_its =
            |uri: &str| Uri::parse(uri).is_ok_and(|uri| politeness::domain(uri.host()) == domain);
        let mut all = self.places().into_iter().filter_map(|(_, says)| says.publisher.as_deref());
        let has_key = self.places().iter().any(|(_, says)| !says.announcers.is_empty());
        all.find(|uri| has_key && is_its(uri))
    }

    /// What holds, a line each, and who says so.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.stopped.iter().map(|why| {
            let every = Span(STOPPED_EVERY);
            format!("not indexed: {why}; asked each {every} whether that still holds")
        }));
        for (place, says) in self.places() {
            lines.extend(says.to_string().lines().map(|line| format!("{line} ({place})")));
        }
        if self.relied > 0 {
            lines.push(format!(
                "announces what is new: {} times in a row, and is polled less for it",
                self.relied
            ));
        }
        if !self.max_age.is_zero() {
            lines.push(format!("Cache-Control: max-age, {} (its server)", Span(self.max_age)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    /// A midnight.
    const NOW: Timestamp = Timestamp::from_millis(20_000 * 86_400_000);

    fn word(release: &str, host: &str) -> OwnerWord {
        let (release, host) = (OwnerSays::read(release), OwnerSays::read(host));
        OwnerWord { release, host, ..OwnerWord::default() }
    }

    #[test]
    fn the_longest_interval_counts_and_nothing_speeds_up() {
        let polls = PollSchedule::default();
        for (release, host, max_age, interval) in [
            ("", "", 0, 1),
            ("Interval: 1m", "", 0, 1),
            ("Interval: 6h", "Interval: 2h", 0, 6),
            ("Interval: 2h", "Interval: 6h", 12, 12),
        ] {
            let mut word = word(release, host);
            word.max_age = HOUR * max_age;
            let slowed = word.slowed(polls);
            assert_eq!(slowed.interval, HOUR * interval, "{release} {host}");
            assert!(slowed.retry_after >= polls.retry_after);
            word.stopped = Some("x".into());
            assert_eq!(word.slowed(polls).interval, STOPPED_EVERY);
        }
    }

    #[test]
    fn a_publisher_is_of_the_sources_own_domain_and_has_a_key() {
        for (release, host, publisher) in [
            (
                "Announcer: x\nPublisher: https://a.repo.example/ad",
                "",
                Some("https://a.repo.example/ad"),
            ),
            ("Publisher: https://repo.example/ad", "Announcer: x", Some("https://repo.example/ad")),
            ("Publisher: https://repo.example/ad", "", None),
            ("Announcer: x\nPublisher: https://victim.example/ad", "", None),
            ("Announcer: x\nPublisher: ftp://repo.example/ad", "", None),
        ] {
            assert_eq!(word(release, host).publisher("repo.example"), publisher, "{release}");
        }
    }

    #[test]
    fn nobody_comes_within_the_interval_or_in_quiet_hours() {
        let two = word("Interval: 6h\nQuiet: 22-2", "Quiet: 1-4");
        let at = |hours: u32| NOW.plus(HOUR * hours);
        for (moment, last, free) in [
            (5, None, 5),
            (5, Some(4), 10),
            (5, Some(0), 6),
            // Midnight is quiet until two, then until four.
            (0, None, 4),
            (20, Some(17), 28),
        ] {
            assert_eq!(two.free_at(at(moment), last.map(at)), at(free), "{moment} {last:?}");
        }
        let late = at(1).plus(Duration::from_millis(1234));
        assert_eq!(two.quiet_until(late), Some(at(4)));
        let never = word("Quiet: 0-12", "Quiet: 12-0");
        assert!(never.free_at(NOW, None) > NOW);
    }
}
