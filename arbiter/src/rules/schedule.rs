//! When a source is asked again, when it is hidden or delisted, and who comes first among those
//! that are due. Functions of values and a moment: no store, no clock.
//!
//! A source is **waiting** until its `due_at`, then **due**, **leased** while a peer holds it, and
//! then waiting again:
//!
//! | what happened | due again |
//! | --- | --- |
//! | any contact that yielded the head | at the source's own moment of the interval that is nearest to `interval` later |
//! | the source failed | after `retry_after`, twice that at the next failure, and so on, beyond `interval`, up to a day |
//! | its owner stopped it | after a week: see [`crate::rules::owner`] |
//! | it isn't known whose fault it is | at once, for another peer: see [`crate::rules::fault`] |
//! | the peer failed, or its server sent it away | after a minute, or `retry_after` where that is shorter; for another peer, when [`crate::rules::politeness`] lets one |
//! | given back, expired, revoked | at once: nothing is known that wasn't known before |
//!
//! Its own moment follows from its slug: so polls are spread evenly over the interval whenever
//! the arbiter was started, sources don't gather on the hour, and all arbiters agree.
//!
//! A source **stands** as the attempts say that failed since its last contact. Time without an
//! attempt counts nothing: a source that wasn't tried, because there was no peer or no arbiter, is
//! neither hidden nor delisted.
//!
//! | from the first to the last failed attempt since the last contact | and attempts | stands |
//! | --- | --- | --- |
//! | less than `deactivate_after` | any | active |
//! | `deactivate_after` or more | enough | deactivated: hidden, polled as before |
//! | `stop_after` or more | enough | delisted: polled no more, its data goes after a grace time |
//!
//! Enough are half of those that fit into that time; at least 2 and at most 20. One always falls to the
//! moment at which it would be hidden or delisted. Any contact makes it active again. A source that the operator delisted stands delisted
//! whatever is measured or announced.

use crate::rules::entry::{Entry, Subject};
use crate::rules::politeness::doubled;
use crate::rules::text::in_words;
use crate::rules::timestamp::Timestamp;
use canister_protocol::Source;
use canister_protocol::span::Span;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TEN_YEARS: Duration = Duration::from_secs(3653 * 24 * 60 * 60);

/// Least attempts that must have failed before a source is hidden or delisted ...
const TRIES_MIN: u64 = 2;
/// ... and how many are always enough.
const TRIES_MAX: u64 = 20;
/// About as many requests as a look at a whole source takes that has nothing: Release by two names, and
/// six names of a package index.
const WHOLE_LOOK_REQUESTS: u32 = 12;
/// How often a source that was never read is looked at as a whole before one path is asked.
const WHOLE_LOOKS: u64 = 3;

/// One source's four times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollSchedule {
    /// From one contact to the next poll; half of it more or less after an irregular contact.
    pub interval: Duration,
    /// From the first failed attempt to the next; doubled after each.
    pub retry_after: Duration,
    /// Failing for this long hides it.
    pub deactivate_after: Duration,
    /// Failing for this long delists it.
    pub stop_after: Duration,
}

impl Default for PollSchedule {
    fn default() -> Self {
        Self {
            interval: HOUR,
            retry_after: Duration::from_secs(15 * 60),
            deactivate_after: 7 * DAY,
            stop_after: 14 * DAY,
        }
    }
}

/// Two times of a poll schedule that can't both be meant. Nothing is raised or lowered silently:
/// the operator decides which of the two is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistent {
    first: (&'static str, Duration),
    second: (&'static str, Duration),
    rule: &'static str,
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "poll schedule: {} is {}, {} is {}: {}",
            self.first.0,
            Span(self.first.1),
            self.second.0,
            Span(self.second.1),
            self.rule
        )
    }
}

impl std::error::Error for Inconsistent {}

/// How an attempt ended, as far as the schedule is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The head was learned.
    Contact,
    /// It failed, and another peer is to look before it is known whose fault that is.
    Open,
    /// The peer couldn't do it.
    PeerFailed,
    /// The source's server sends this peer away (429): that is between these two.
    Refused,
    /// The source couldn't be read or verified.
    SourceFailed,
    /// Its owner doesn't want it indexed.
    Stopped,
}

/// The attempts of a source that failed by its fault since its last contact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failing {
    /// The first of them.
    pub since: Option<Timestamp>,
    /// The last of them.
    pub last: Option<Timestamp>,
    pub attempts: u64,
}

impl Failing {
    /// The same after one more attempt, which ended `now`.
    #[must_use]
    pub fn after(self, ended: Ended, now: Timestamp) -> Self {
        match ended {
            Ended::Contact | Ended::Stopped => Self::default(),
            Ended::Open | Ended::PeerFailed | Ended::Refused => self,
            Ended::SourceFailed => Self {
                since: self.since.or(Some(now)),
                last: Some(now),
                attempts: self.attempts.saturating_add(1),
            },
        }
    }
}

/// What failing made of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    Active,
    Deactivated,
    /// Hidden and not polled; its data goes.
    Delisted,
}

in_words! { Standing, word:
    Active = "active", Deactivated = "deactivated", Delisted = "delisted",
}

/// One source's own clock: all that its schedule remembers of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceClock {
    /// When it is or was due.
    pub due_at: Timestamp,
    /// Whether somebody announced a new head.
    pub is_announced: bool,
    /// When its head was last learned.
    pub last_contact: Option<Timestamp>,
    pub failing: Failing,
    pub standing: Standing,
    /// Whether it stands so by the operator's decision, whatever failed.
    pub is_delisted: bool,
    /// Whether the brake holds that failing hides it.
    pub is_spared: bool,
    /// Whether its owner doesn't want it indexed.
    pub is_stopped: bool,
}

impl SourceClock {
    /// The clock of a source that is heard of for the first time `now`: it is due.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            due_at: now,
            is_announced: false,
            last_contact: None,
            failing: Failing { since: None, last: None, attempts: 0 },
            standing: Standing::Active,
            is_delisted: false,
            is_spared: false,
            is_stopped: false,
        }
    }

    /// Whether it is asked at all: one that failing delisted only where it was announced, one that
    /// the operator delisted never.
    pub fn is_polled(&self) -> bool {
        !self.is_delisted && (self.standing != Standing::Delisted || self.is_announced)
    }

    /// Whether it is to be asked `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at <= now && self.is_polled()
    }

    /// Makes it due at once.
    pub fn announce(&mut self, now: Timestamp) {
        self.is_announced = true;
        self.due_at = self.due_at.min(now);
    }

    /// Remembers that an attempt of the source `slug` ended `now`. An announcement that led to an
    /// answer or a failure of the source is served.
    pub fn after(&mut self, slug: &str, ended: Ended, now: Timestamp, schedule: &PollSchedule) {
        match ended {
            Ended::Contact => {
                self.last_contact = Some(now);
                self.is_announced = false;
            }
            Ended::SourceFailed | Ended::Stopped => self.is_announced = false,
            Ended::Open | Ended::PeerFailed | Ended::Refused => {}
        }
        self.failing = self.failing.after(ended, now);
        self.stand(schedule);
        let next = schedule.next(slug, ended, &self.failing, now);
        self.due_at = match ended {
            // A peer that was tried by it before its time takes nothing from it.
            Ended::Open | Ended::PeerFailed | Ended::Refused => next.max(self.due_at),
            Ended::Contact | Ended::SourceFailed | Ended::Stopped => next,
        };
    }

    /// Puts it under another schedule, or a clock that was set: nothing lies further ahead than
    /// the schedule could have put it `now`.
    pub fn reschedule(&mut self, now: Timestamp, schedule: &PollSchedule) {
        self.stand(schedule);
        self.due_at = self.due_at.min(schedule.latest(&self.failing, now));
    }

    fn stand(&mut self, schedule: &PollSchedule) {
        self.standing = match self.is_delisted {
            true => Standing::Delisted,
            false if self.is_spared => Standing::Active,
            false if self.is_stopped => Standing::Deactivated,
            false => schedule.standing(&self.failing),
        };
    }
}

/// What an override says of a schedule; what it leaves out is as for everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    #[serde(deserialize_with = "span")]
    pub interval: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub retry_after: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub deactivate_after: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub stop_after: Option<Duration>,
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |why| de::Error::custom(format_args!("{text:?}: {why}"));
    text.parse().map(|Span(span)| Some(span)).map_err(wrong)
}

/// Everybody's schedule and those of some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Polls {
    everybody: PollSchedule,
    overrides: Vec<(Entry, PollSchedule)>,
}

impl From<PollSchedule> for Polls {
    /// The same for all.
    fn from(everybody: PollSchedule) -> Self {
        Self { everybody, overrides: Vec::new() }
    }
}

impl Polls {
    /// `everybody`, but for those whom `overrides` name; the narrowest counts.
    ///
    /// # Errors
    /// One line with the entry whose schedule, inherited times included, is inconsistent.
    pub fn new(
        everybody: PollSchedule,
        overrides: &BTreeMap<Entry, Override>,
    ) -> Result<Self, String> {
        let everybody = everybody.checked().map_err(|why| why.to_string())?;
        let resolved = overrides.iter().map(|(entry, over)| {
            let schedule = PollSchedule {
                interval: over.interval.unwrap_or(everybody.interval),
                retry_after: over.retry_after.unwrap_or(everybody.retry_after),
                deactivate_after: over.deactivate_after.unwrap_or(everybody.deactivate_after),
                stop_after: over.stop_after.unwrap_or(everybody.stop_after),
            };
            match schedule.checked() {
                Ok(schedule) => Ok((entry.clone(), schedule)),
                Err(why) => Err(format!("poll.overrides.\"{entry}\": {why}")),
            }
        });
        Ok(Self { everybody, overrides: resolved.collect::<Result<_, _>>()? })
    }

    /// The overrides that name none of `sources`. They may appear later.
    pub fn idle<'a>(&self, sources: impl IntoIterator<Item = &'a Source>) -> Vec<Entry> {
        let mut idle: Vec<&Entry> = self.overrides.iter().map(|(entry, _)| entry).collect();
        for source in sources {
            if idle.is_empty() {
                break;
            }
            if let Ok(subject) = Subject::of(source) {
                idle.retain(|entry| entry.names(&subject).is_none());
            }
        }
        idle.into_iter().cloned().collect()
    }

    /// The nearest moment up to which every schedule may put a source `now`.
    pub fn nearest(&self, now: Timestamp) -> Timestamp {
        let all = self.overrides.iter().map(|(_, schedule)| schedule).chain([&self.everybody]);
        all.map(|schedule| schedule.latest(&Failing::default(), now)).min().unwrap_or(now)
    }

    /// The schedule of those that no override names.
    pub const fn everybody(&self) -> &PollSchedule {
        &self.everybody
    }

    /// The schedule of one source.
    pub fn of(&self, source: &Source) -> PollSchedule {
        if self.overrides.is_empty() {
            return self.everybody;
        }
        Subject::of(source)
            .ok()
            .and_then(|subject| Entry::narrowest(&self.overrides, |(entry, _)| entry, &subject))
            .map_or(self.everybody, |(_, schedule)| *schedule)
    }
}

impl PollSchedule {
    /// The schedule itself, if its times fit each other.
    ///
    /// # Errors
    /// [`Inconsistent`] with the two times and the rule they break.
    pub fn checked(self) -> Result<Self, Inconsistent> {
        let interval = ("interval", self.interval);
        let retry_after = ("retry_after", self.retry_after);
        let deactivate_after = ("deactivate_after", self.deactivate_after);
        let stop_after = ("stop_after", self.stop_after);
        let least = ("the least", SECOND);
        let most = ("the most", TEN_YEARS);
        let rules = [
            (interval.1 >= SECOND, interval, least, "a source must not be asked without a pause"),
            (
                retry_after.1 >= SECOND,
                retry_after,
                least,
                "a failing source must not be asked without a pause",
            ),
            (
                retry_after.1 < deactivate_after.1,
                retry_after,
                deactivate_after,
                "a failing source must be asked again before it is hidden, so retry_after must \
                 be the shorter",
            ),
            (
                deactivate_after.1 <= stop_after.1,
                deactivate_after,
                stop_after,
                "a source is hidden before it is delisted, so deactivate_after must not be the \
                 longer",
            ),
            (interval.1 <= TEN_YEARS, interval, most, "a source must be asked some day"),
            (
                stop_after.1 <= TEN_YEARS,
                stop_after,
                most,
                "a dead source must be given up some day",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, first, second, rule)) => Err(Inconsistent { first, second, rule }),
            None => Ok(self),
        }
    }

    /// When the source `slug` is due again, an attempt of which ended `now`.
    pub fn next(&self, slug: &str, ended: Ended, failing: &Failing, now: Timestamp) -> Timestamp {
        match ended {
            Ended::Contact => self.own_moment(slug, now),
            Ended::Stopped => now.plus(self.interval),
            Ended::Open => now,
            Ended::PeerFailed | Ended::Refused => now.plus(self.retry_after.min(MINUTE)),
            Ended::SourceFailed => {
                let turns = [self.deactivate_after, self.stop_after]
                    .map(|turn| failing.since.map(|since| since.plus(turn)));
                let turns = turns.into_iter().flatten().filter(|turn| *turn > now);
                turns.chain([now.plus(self.pause(failing.attempts))]).min().unwrap_or(now)
            }
        }
    }

    /// From the failed attempt of this number to the next; a healthy source isn't asked less often.
    pub fn pause(&self, attempts: u64) -> Duration {
        let times = u32::try_from(attempts).unwrap_or(u32::MAX);
        doubled(self.retry_after, times, self.pause_max())
    }

    fn pause_max(&self) -> Duration {
        DAY.max(self.interval)
    }

    /// How many more attempts fit into `time` after the failed one of this number.
    fn tries(&self, mut attempts: u64, mut time: Duration) -> u64 {
        let mut tries = 0_u64;
        loop {
            let pause = self.pause(attempts).max(Duration::from_millis(1));
            if pause >= self.pause_max() {
                let more = time.as_millis() / pause.as_millis();
                return tries.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
            }
            let Some(left) = time.checked_sub(pause) else { return tries };
            (time, attempts, tries) = (left, attempts + 1, tries + 1);
        }
    }

    /// Whether a peer looks at a failing source as a whole, which takes up to a dozen requests, or at which
    /// one path: see [`ToPeer::Grant`](canister_protocol::ToPeer). `times`: how often it failed, whoever is
    /// at fault; `is_known`: whether it was ever read. Whoever asks for it out of its turn wants all looked
    /// at.
    pub fn retry(
        &self,
        clock: &SourceClock,
        times: u32,
        is_known: bool,
        now: Timestamp,
    ) -> Option<u32> {
        let Failing { last, attempts, .. } = clock.failing;
        let pause = self.pause(attempts);
        // What was never read may be anywhere.
        let is_retried = attempts > if is_known { 0 } else { WHOLE_LOOKS }
            && pause < self.interval.saturating_mul(WHOLE_LOOK_REQUESTS)
            && last.is_some_and(|last| now >= last.plus(pause));
        let is_second = attempts == 0 && times > 0 && is_known;
        let is_one = !clock.is_announced && (is_retried || is_second);
        is_one.then(|| u32::try_from(attempts).unwrap_or(u32::MAX))
    }

    /// The latest moment that [`next`](Self::next) can give: what lies further ahead was written
    /// by another clock or under another schedule.
    pub fn latest(&self, failing: &Failing, now: Timestamp) -> Timestamp {
        let pause = self.pause(failing.attempts);
        now.plus((self.interval + self.interval / 2).max(pause))
    }

    /// How often a source will be asked from `now` to `until` if it goes on as it does: a failing one
    /// after pauses that grow, any other once in an interval.
    pub fn polls(&self, clock: &SourceClock, now: Timestamp, until: Timestamp) -> u64 {
        let first = clock.due_at.max(now);
        if first > until {
            return 0;
        }
        let (time, attempts) = (until.since(first), clock.failing.attempts);
        if attempts > 0 {
            return 1 + self.tries(attempts + 1, time).min(u64::MAX - 1);
        }
        let steps = time.as_millis() / self.interval.as_millis().max(1);
        1 + u64::try_from(steps).unwrap_or(u64::MAX - 1)
    }

    /// The moment of `slug` in the interval that is nearest to `interval` after `now`.
    fn own_moment(&self, slug: &str, now: Timestamp) -> Timestamp {
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut hash = [0; 8];
        hash.copy_from_slice(&Sha256::digest(slug)[..8]);
        let own = u64::from_be_bytes(hash) % interval;
        // The first moment after half an interval from now that is `own` modulo the interval.
        let earliest = now.plus(self.interval / 2).millis();
        let wait = (own + interval - earliest % interval) % interval;
        Timestamp::from_millis(earliest.saturating_add(wait))
    }

    /// How a source stands whose failing attempts are these.
    pub fn standing(&self, failing: &Failing) -> Standing {
        let (Some(since), Some(last)) = (failing.since, failing.last) else {
            return Standing::Active;
        };
        let failed_for = last.since(since);
        let is_over = |time: Duration| {
            let enough = (self.tries(1, time) / 2).clamp(TRIES_MIN, TRIES_MAX);
            failed_for >= time && failing.attempts >= enough
        };
        if is_over(self.stop_after) {
            Standing::Delisted
        } else if is_over(self.deactivate_after) {
            Standing::Deactivated
        } else {
            Standing::Active
        }
    }
}

/// A due source, as far as the order is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub slug: String,
    /// Who runs its server.
    pub operator: String,
    /// Its host's [domain](crate::rules::politeness::domain).
    pub domain: String,
    /// Since when it is due.
    pub due_at: Timestamp,
    /// Whether it has a new head, as somebody said.
    pub is_announced: bool,
    /// Whether its head was ever learned.
    pub is_known: bool,
    /// 1 (best) to 5.
    pub ranking: u8,
}

impl Due {
    /// Where the source stands among the due: the least is first.
    ///
    /// Each claim to come first is a head start of fixed length on the moment it became due. So
    /// announced come before never indexed, these before all others, and among equals the better
    /// ranking and the longer overdue come first; but whatever waits longer than the longest
    /// head start comes before everything that became due after it, so none starves.
    pub fn turn(&self) -> DueTurn<'_> {
        DueTurn::of(
            self.due_at,
            head_start(self.ranking, self.is_known, self.is_announced),
            &self.slug,
        )
    }
}

/// Where a due source stands: by its moment less its head start, then by its slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueTurn<'a>(i128, &'a str);

impl<'a> DueTurn<'a> {
    pub const fn of(due_at: Timestamp, head_start: Duration, slug: &'a str) -> Self {
        Self(due_at.millis() as i128 - head_start.as_millis() as i128, slug)
    }
}

/// By how much a source comes before those that became due with it. The column `source.head_start` says the
/// same.
pub fn head_start(ranking: u8, is_known: bool, is_announced: bool) -> Duration {
    let new = if is_known { Duration::ZERO } else { DAY };
    let announced = if is_announced { 3 * DAY } else { Duration::ZERO };
    HOUR * u32::from(5 - ranking.clamp(1, 5)) + new + announced
}

/// All head starts that there are, of those that were read before, or of all.
pub fn head_starts(known_only: bool) -> Vec<Duration> {
    let kinds = [(true, false), (true, true), (false, false), (false, true)];
    let kinds = kinds.into_iter().filter(|(is_known, _)| *is_known || !known_only);
    kinds
        .flat_map(|(known, announced)| (1..=5).map(move |rank| head_start(rank, known, announced)))
        .collect()
}

/// Whether a peer is to ask without validators, which whoever was there before may have made up: once
/// a day if it is another peer than the last that asked so, and on the second day whoever it is.
pub fn is_plain(last: Option<(Timestamp, &str)>, peer: &str, now: Timestamp) -> bool {
    last.is_none_or(|(at, by)| now.since(at) >= if by == peer { 2 * DAY } else { DAY })
}

/// Chooses whom to lease: at most `slots` of `due`, at most one of each operator, of those that
/// `may` be granted only, in the order in which they are to be granted.
pub fn choose(mut due: Vec<Due>, slots: usize, may: impl Fn(&Due) -> bool) -> Vec<Due> {
    due.sort_unstable_by(|a, b| a.turn().cmp(&b.turn()));
    let mut taken = HashSet::new();
    let mut chosen = Vec::new();
    for source in due {
        if chosen.len() == slots {
            break;
        }
        if !taken.contains(&source.operator) && may(&source) {
            taken.insert(source.operator.clone());
            chosen.push(source);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn due(slug: &str, overdue: Duration) -> Due {
        Due {
            slug: slug.into(),
            operator: format!("{slug}.example"),
            domain: format!("{slug}.example"),
            due_at: Timestamp::from_millis(NOW.millis() - overdue.as_millis() as u64),
            is_announced: false,
            is_known: true,
            ranking: 3,
        }
    }

    #[test]
    fn whom_nobody_asked_plainly_for_a_day_another_peer_does() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let hours = |hours: u32| at.plus(HOUR * hours);
        assert!(is_plain(None, "a", at));
        for (peer, after, is) in
            [("a", 47, false), ("a", 48, true), ("b", 23, false), ("b", 24, true)]
        {
            assert_eq!(is_plain(Some((at, "a")), peer, hours(after)), is, "{peer} {after}");
        }
    }

    #[test]
    fn inconsistent_schedules_are_refused_with_both_values_and_the_rule() {
        let good = PollSchedule::default();
        assert_eq!(good.checked(), Ok(good));
        let equal = PollSchedule { stop_after: good.deactivate_after, ..good };
        assert_eq!(equal.checked(), Ok(equal));
        let table = [
            (
                PollSchedule { interval: Duration::ZERO, ..good },
                "interval is 0s, the least is 1s: a source must not be asked without a pause",
            ),
            (
                PollSchedule { retry_after: Duration::from_millis(999), ..good },
                "retry_after is 999ms, the least is 1s: a failing source must not",
            ),
            (
                PollSchedule { interval: TEN_YEARS + DAY, ..good },
                "interval is 3654d, the most is 3653d: a source must be asked some day",
            ),
            (
                PollSchedule { stop_after: TEN_YEARS + DAY, ..good },
                "stop_after is 3654d, the most is 3653d: a dead source must be given up",
            ),
            (
                PollSchedule { retry_after: 8 * DAY, ..good },
                "retry_after is 8d, deactivate_after is 7d: a failing source must be asked again",
            ),
            (
                PollSchedule { stop_after: 3 * HOUR, ..good },
                "deactivate_after is 7d, stop_after is 3h: a source is hidden before it is",
            ),
        ];
        for (schedule, text) in table {
            let said = schedule.checked().unwrap_err().to_string();
            assert!(said.starts_with(&format!("poll schedule: {text}")), "{said}");
        }
    }

    #[test]
    fn an_attempt_says_when_the_source_is_due_again() {
        let schedule = PollSchedule::default();
        let impatient = PollSchedule { retry_after: 5 * SECOND, ..schedule };
        for (schedule, ended, after) in [
            (schedule, Ended::SourceFailed, 15 * MINUTE),
            (schedule, Ended::Open, Duration::ZERO),
            (schedule, Ended::Refused, MINUTE),
            (schedule, Ended::PeerFailed, MINUTE),
            (impatient, Ended::SourceFailed, 5 * SECOND),
            (impatient, Ended::PeerFailed, 5 * SECOND),
        ] {
            let failing = Failing::default().after(ended, NOW);
            assert_eq!(schedule.next("s", ended, &failing, NOW), NOW.plus(after), "{ended:?}");
        }
    }

    #[test]
    fn a_failing_source_is_asked_ever_more_rarely_and_at_its_turns() {
        let schedule = PollSchedule::default();
        let (mut clock, mut asked) = (SourceClock::new(NOW), Vec::new());
        while clock.standing != Standing::Delisted {
            clock.after("s", Ended::SourceFailed, clock.due_at, &schedule);
            asked.push(clock.due_at);
            let times = u32::try_from(asked.len()).unwrap();
            let now = clock.due_at;
            // Whole looks come rarely, or out of turn: the last before it is hidden.
            let retry = schedule.retry(&clock, times, true, now);
            let is_turn = [7 * DAY, 14 * DAY].map(|turn| NOW.plus(turn)).contains(&now);
            assert_eq!(retry, (times < 7 && !is_turn).then_some(times), "{times}");
        }
        let minutes: Vec<u64> =
            asked.iter().map(|due_at| due_at.since(NOW).as_secs() / 60).collect();
        assert_eq!(minutes[..7], [15, 45, 105, 225, 465, 945, 1905]);
        let (week, day) = (7 * 24 * 60, 24 * 60);
        let (before, after) = ([1, 2, 3, 4, 5].map(|days| 1905 + days * day), [0, 1, 2]);
        assert_eq!(minutes[7..12], before);
        assert_eq!(minutes[12..15], after.map(|days| week + days * day));
        let pauses = minutes.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(pauses.max() == Some(day), "{minutes:?}");
        // In two weeks fewer than a healthy one in a day.
        assert!(asked.len() < 24, "{minutes:?}");
        let week_later = schedule.polls(&clock, clock.due_at, clock.due_at.plus(7 * DAY));
        assert_eq!(week_later, 8);
        // One that is asked less than once a day isn't asked more often when it fails.
        let rare = PollSchedule { interval: 3 * DAY, ..schedule };
        assert_eq!(rare.pause(999), 3 * DAY);
    }

    #[test]
    fn a_second_opinion_on_what_was_read_before_is_one_path() {
        let schedule = PollSchedule::default();
        let clock = SourceClock::new(NOW);
        assert_eq!(schedule.retry(&clock, 0, true, NOW), None);
        assert_eq!(schedule.retry(&clock, 1, true, NOW), Some(0));
        assert_eq!(schedule.retry(&clock, 1, false, NOW), None);
        let announced = SourceClock { is_announced: true, ..clock };
        assert_eq!(schedule.retry(&announced, 1, true, NOW), None);
        // Somebody asked for it before its turn.
        let mut failing = clock;
        failing.after("s", Ended::SourceFailed, NOW, &schedule);
        assert_eq!(schedule.retry(&failing, 1, true, NOW.plus(MINUTE)), None);
        assert_eq!(schedule.retry(&failing, 1, true, NOW.plus(HOUR)), Some(1));
        // What was never read is looked at as a whole some times.
        assert_eq!(schedule.retry(&failing, 1, false, NOW.plus(HOUR)), None);
        for _ in 0..3 {
            failing.after("s", Ended::SourceFailed, NOW, &schedule);
        }
        assert_eq!(schedule.retry(&failing, 4, false, NOW.plus(4 * HOUR)), Some(4));
    }

    #[test]
    fn contact_leads_to_the_sources_own_moment_of_the_interval() {
        let schedule = PollSchedule::default();
        let none = Failing::default();
        let next = |now| schedule.next("s", Ended::Contact, &none, now);
        let own = next(NOW);
        // Polled on time, or a little late, it is due exactly one interval after it was due.
        assert_eq!(next(own), own.plus(HOUR));
        assert_eq!(next(own.plus(29 * MINUTE)), own.plus(HOUR));
        // Whatever happened, the next poll is half an interval away at least, and at most one and
        // a half.
        for millis in (0..7_200_000).step_by(9_973) {
            let now = Timestamp::from_millis(NOW.millis() + millis);
            let wait = next(now).since(now);
            assert!(wait >= HOUR / 2 && wait < HOUR + HOUR / 2, "{wait:?}");
            assert!(next(now) <= schedule.latest(&none, now));
        }
        let half = HOUR / 2;
        let just = Duration::from_millis(1);
        assert_eq!(next(own.minus(half)), own);
        assert_eq!(next(own.minus(half).plus(just)), own.plus(HOUR));
        // Another source has another moment, another interval, too.
        assert_ne!(schedule.next("t", Ended::Contact, &none, NOW), own);
        let end = Timestamp::from_millis(u64::MAX);
        assert_eq!(next(end), end);
    }

    #[test]
    fn all_sources_of_a_list_are_spread_over_the_interval() {
        let schedule = PollSchedule::default();
        // All were read at the same moment.
        let mut minutes = [0; 60];
        for number in 0..462 {
            let (slug, none) = (format!("source-{number}"), Failing::default());
            let due_at = schedule.next(&slug, Ended::Contact, &none, NOW);
            minutes[(due_at.since(NOW.plus(HOUR / 2)).as_secs() / 60) as usize] += 1;
        }
        // 7.7 a minute on average.
        assert!(minutes.iter().all(|&count| (1..=18).contains(&count)), "{minutes:?}");
    }

    #[test]
    fn failing_long_and_often_enough_hides_and_then_delists() {
        let schedule = PollSchedule::default();
        let just = Duration::from_millis(1);
        for (failed_for, attempts, standing) in [
            (Duration::ZERO, 0, Standing::Active),
            (Duration::ZERO, 1, Standing::Active),
            (7 * DAY - just, 999, Standing::Active),
            (7 * DAY, 5, Standing::Active),
            (7 * DAY, 6, Standing::Deactivated),
            (14 * DAY - just, 999, Standing::Deactivated),
            (14 * DAY, 8, Standing::Deactivated),
            (14 * DAY, 9, Standing::Delisted),
            (999 * DAY, 999, Standing::Delisted),
            // An arbiter that was off for years, and tried once more.
            (999 * DAY, 2, Standing::Active),
        ] {
            let failing = Failing { since: Some(NOW), last: Some(NOW.plus(failed_for)), attempts };
            assert_eq!(schedule.standing(&failing), standing, "{failed_for:?} {attempts}");
        }
        // Never tried, whatever the time is.
        assert_eq!(schedule.standing(&Failing::default()), Standing::Active);
        // The clock was set back.
        let back = Failing { since: Some(NOW), last: Some(NOW.minus(99 * DAY)), attempts: 999 };
        assert_eq!(schedule.standing(&back), Standing::Active);
        // Where few attempts fit, few are enough.
        let rare = PollSchedule {
            interval: DAY,
            retry_after: 2 * DAY,
            deactivate_after: 4 * DAY,
            stop_after: 12 * DAY,
        };
        for (failed_for, attempts, standing) in [
            (4 * DAY, 1, Standing::Active),
            (4 * DAY, 2, Standing::Deactivated),
            (12 * DAY, 2, Standing::Deactivated),
            (12 * DAY, 3, Standing::Delisted),
        ] {
            let failing = Failing { since: Some(NOW), last: Some(NOW.plus(failed_for)), attempts };
            assert_eq!(rare.standing(&failing), standing, "{failed_for:?} {attempts}");
        }
    }

    #[test]
    fn only_what_is_the_sources_fault_counts_and_contact_forgives_it() {
        let later = |secs| NOW.plus(SECOND * secs);
        let mut failing = Failing::default();
        for (ended, at, since, last, attempts) in [
            (Ended::PeerFailed, 1, None, None, 0),
            (Ended::Refused, 2, None, None, 0),
            (Ended::SourceFailed, 3, Some(3), Some(3), 1),
            (Ended::PeerFailed, 4, Some(3), Some(3), 1),
            (Ended::SourceFailed, 5, Some(3), Some(5), 2),
            (Ended::Contact, 6, None, None, 0),
            (Ended::SourceFailed, 7, Some(7), Some(7), 1),
        ] {
            failing = failing.after(ended, later(at));
            let right = Failing { since: since.map(later), last: last.map(later), attempts };
            assert_eq!(failing, right, "{ended:?} at {at}");
        }
    }

    #[test]
    fn a_delisted_source_is_asked_when_it_is_announced_and_comes_back_by_contact() {
        let schedule = PollSchedule {
            interval: 4 * SECOND,
            retry_after: SECOND,
            deactivate_after: 5 * SECOND,
            stop_after: 10 * SECOND,
        };
        let mut clock = SourceClock::new(NOW);
        assert!(clock.is_due(NOW));
        let mut now = NOW;
        let mut stood = Vec::new();
        while clock.standing != Standing::Delisted {
            clock.after("s", Ended::SourceFailed, now, &schedule);
            stood.push((now.since(NOW).as_secs(), clock.standing));
            now = now.plus(SECOND);
        }
        let (hidden, delisted) = (Standing::Deactivated, Standing::Delisted);
        assert_eq!(stood[4..6], [(4, Standing::Active), (5, hidden)]);
        assert_eq!(stood[9..], [(9, hidden), (10, delisted)]);
        assert!(!clock.is_due(now.plus(99 * DAY)));
        clock.announce(now);
        assert!(clock.is_due(now));
        // In vain: the announcement is served, and it isn't asked again.
        clock.after("s", Ended::SourceFailed, now, &schedule);
        assert!(!clock.is_due(now.plus(99 * DAY)));
        // A peer's failure serves nothing.
        clock.announce(now);
        clock.after("s", Ended::PeerFailed, now, &schedule);
        assert!(!clock.is_due(now) && clock.is_due(now.plus(SECOND)));
        clock.after("s", Ended::Contact, now, &schedule);
        assert_eq!((clock.standing, clock.is_announced), (Standing::Active, false));
        assert_eq!(clock.last_contact, Some(now));
        assert!(clock.is_due(now.plus(6 * SECOND)));
    }

    #[test]
    fn what_hours_will_ask_is_told_before() {
        let schedule = PollSchedule::default();
        let mut clock = SourceClock::new(NOW);
        let polls = |clock: &SourceClock, time| schedule.polls(clock, NOW, NOW.plus(time));
        assert_eq!(polls(&clock, Duration::ZERO), 1);
        assert_eq!(polls(&clock, HOUR - SECOND), 1);
        assert_eq!(polls(&clock, HOUR), 2);
        clock.due_at = NOW.minus(9 * HOUR);
        assert_eq!(polls(&clock, 24 * HOUR), 25);
        clock.due_at = NOW.plus(30 * MINUTE);
        assert_eq!(polls(&clock, 29 * MINUTE), 0);
        assert_eq!(polls(&clock, 3 * HOUR), 3);
        clock.failing.attempts = 1;
        // After 30 min (the second failure) and an hour more.
        assert_eq!(polls(&clock, HOUR), 2);
        assert_eq!(polls(&clock, 2 * HOUR), 3);
    }

    #[test]
    fn another_schedule_takes_effect_at_once() {
        let schedule = PollSchedule::default();
        let mut clock = SourceClock::new(NOW);
        clock.failing = Failing { since: Some(NOW.minus(8 * DAY)), last: Some(NOW), attempts: 99 };
        clock.reschedule(NOW, &schedule);
        assert_eq!((clock.standing, clock.due_at), (Standing::Deactivated, NOW));
        let strict = PollSchedule { stop_after: 8 * DAY, ..schedule };
        clock.due_at = NOW.plus(99 * DAY);
        clock.reschedule(NOW, &strict);
        assert_eq!((clock.standing, clock.due_at), (Standing::Delisted, NOW.plus(DAY)));
        clock.failing = Failing::default();
        clock.reschedule(NOW, &strict);
        assert_eq!(clock.due_at, NOW.plus(HOUR + HOUR / 2));
        // What the brake holds stays shown.
        let hidden = Failing { since: Some(NOW.minus(8 * DAY)), last: Some(NOW), attempts: 99 };
        clock = SourceClock { failing: hidden, is_spared: true, ..clock };
        clock.reschedule(NOW, &schedule);
        assert_eq!(clock.standing, Standing::Active);
    }

    #[test]
    fn overrides_inherit_what_they_leave_out() {
        let everybody = PollSchedule::default();
        let only = |entry: &str, over| [(entry.parse::<Entry>().unwrap(), over)].into();
        let source = |slug: &str| Source {
            slug: slug.into(),
            uri: format!("https://{slug}.example"),
            suite: "./".into(),
            ranking: 3,
            ..Source::default()
        };
        // Each of the four by itself.
        let (a, b, c, d) = (2 * HOUR, 45 * MINUTE, 3 * DAY, 30 * DAY);
        for (over, own) in [
            (
                Override { interval: Some(a), ..Override::default() },
                PollSchedule { interval: a, ..everybody },
            ),
            (
                Override { retry_after: Some(b), ..Override::default() },
                PollSchedule { retry_after: b, ..everybody },
            ),
            (
                Override { deactivate_after: Some(c), ..Override::default() },
                PollSchedule { deactivate_after: c, ..everybody },
            ),
            (
                Override { stop_after: Some(d), ..Override::default() },
                PollSchedule { stop_after: d, ..everybody },
            ),
            (Override::default(), everybody),
        ] {
            let polls = Polls::new(everybody, &only("own", over)).unwrap();
            assert_eq!(polls.of(&source("own")), own);
            // None leaks into the next source.
            assert_eq!(polls.of(&source("other")), everybody);
        }
        // The documented override of the network indexer: without the third time it contradicts
        // itself, and is refused, not raised to a week.
        let over = Override {
            interval: Some(12 * HOUR),
            retry_after: Some(45 * MINUTE),
            stop_after: Some(3 * HOUR),
            ..Override::default()
        };
        let why = Polls::new(everybody, &only("own", over)).unwrap_err();
        assert!(why.starts_with("poll.overrides.\"slug:own\": poll schedule: deactivate_after is 7d, stop_after is 3h"), "{why}");
        // With it all is said. How often a source that answers is asked has nothing to do with how
        // long one may fail.
        for over in [
            Override { deactivate_after: Some(3 * HOUR), ..over },
            Override { interval: Some(7 * DAY), ..Override::default() },
            Override { interval: Some(90 * DAY), ..Override::default() },
        ] {
            let polls = Polls::new(everybody, &only("own", over)).unwrap();
            assert_eq!(Some(polls.of(&source("own")).interval), over.interval);
        }
        // The narrowest counts.
        let interval = |interval| Override { interval: Some(interval), ..Override::default() };
        let both = [
            ("host:example".parse().unwrap(), interval(3 * HOUR)),
            ("slug:own".parse().unwrap(), interval(4 * HOUR)),
        ];
        let polls = Polls::new(everybody, &both.into()).unwrap();
        assert_eq!(polls.of(&source("own")).interval, 4 * HOUR);
        assert_eq!(polls.of(&source("other")).interval, 3 * HOUR);
        // One that names nobody is told, for it may be a slip.
        let idle = |sources: &[Source]| {
            polls.idle(sources).iter().map(Entry::to_string).collect::<Vec<_>>()
        };
        assert_eq!(idle(&[]), ["host:example", "slug:own"]);
        assert_eq!(idle(&[source("other")]), ["slug:own"]);
        assert_eq!(idle(&[source("other"), source("own")]), [""; 0]);
    }

    #[test]
    fn what_the_operator_delists_stays_so_whatever_is_measured() {
        let schedule = PollSchedule::default();
        let mut clock = SourceClock { is_delisted: true, ..SourceClock::new(NOW) };
        clock.reschedule(NOW, &schedule);
        for ended in [Ended::Contact, Ended::SourceFailed, Ended::PeerFailed, Ended::Refused] {
            clock.after("s", ended, NOW, &schedule);
            clock.announce(NOW);
            assert_eq!(clock.standing, Standing::Delisted, "{ended:?}");
            assert!(!clock.is_polled() && !clock.is_due(NOW.plus(99 * DAY)), "{ended:?}");
        }
        clock.is_delisted = false;
        clock.reschedule(NOW, &schedule);
        assert_eq!(clock.standing, Standing::Active);
    }

    #[test]
    fn announced_then_never_indexed_then_ranking_then_overdue() {
        let announced = Due { is_announced: true, ranking: 5, ..due("announced", Duration::ZERO) };
        let new = Due { is_known: false, ranking: 5, ..due("new", Duration::ZERO) };
        let best = Due { ranking: 1, ..due("best", Duration::ZERO) };
        let good_and_late = Due { ranking: 2, ..due("good-and-late", 30 * MINUTE) };
        let good = Due { ranking: 2, ..due("good", Duration::ZERO) };
        let late = due("late", 30 * MINUTE);
        let other = due("other", Duration::ZERO);
        let order = [announced, new, best, good_and_late, good, late, other];
        let mut shuffled = order.to_vec();
        shuffled.reverse();
        assert_eq!(choose(shuffled, 99, |_| true), order);
    }

    #[test]
    fn whatever_waits_long_enough_comes_first() {
        let longest = 3 * DAY + DAY + 4 * HOUR;
        let forgotten = Due { ranking: 5, ..due("forgotten", longest + SECOND) };
        let favoured = Due {
            is_announced: true,
            is_known: false,
            ranking: 1,
            ..due("favoured", Duration::ZERO)
        };
        let chosen = choose(vec![favoured, forgotten.clone()], 1, |_| true);
        assert_eq!(chosen, [forgotten]);
    }

    #[test]
    fn one_of_each_operator() {
        let at = |slug: &str, operator: &str, overdue| Due {
            operator: operator.into(),
            ..due(slug, overdue)
        };
        let list = vec![
            at("a1", "a", 3 * MINUTE),
            at("a2", "a", 4 * MINUTE),
            at("b1", "b", 2 * MINUTE),
            at("c1", "c", 5 * MINUTE),
            at("d1", "d", MINUTE),
        ];
        let slugs = |busy: &[&str], slots| {
            let chosen = choose(list.clone(), slots, |due| !busy.contains(&&*due.operator));
            chosen.into_iter().map(|source| source.slug).collect::<Vec<_>>()
        };
        assert_eq!(slugs(&[], 9), ["c1", "a2", "b1", "d1"]);
        assert_eq!(slugs(&[], 2), ["c1", "a2"]);
        assert_eq!(slugs(&["a", "c"], 2), ["b1", "d1"]);
        assert_eq!(slugs(&["a", "b", "c", "d"], 2), [""; 0]);
        assert_eq!(slugs(&[], 0), [""; 0]);
    }
}
