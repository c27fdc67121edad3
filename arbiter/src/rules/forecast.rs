//! What a schedule will ask, before anybody asks it: each source's own clock is run ahead, and what its
//! polls come to is as it was before. Functions of values: no store, no clock.
//!
//! Two questions are answered so. A *forecast* asks what the coming hours bring: a source fails as often
//! as its kept attempts did. A *replay* asks what hours that are over had brought under other rules: a
//! poll comes to what the newest attempt at that moment had come to.
//!
//! It knows no pause between the polls of one operator, which puts them off by seconds; an operator whose
//! polls take longer than there is time is told apart ([`Load::busy`]).

use crate::rules::schedule::{Ended, PollSchedule, SourceClock, Standing};
use crate::rules::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most polls of one source that are looked at: one a minute for a month.
const POLLS_MAX: usize = 50_000;

/// An attempt, as far as it tells how the next ones will go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub ended_at: Timestamp,
    /// How; only contacts and the source's failures tell anything.
    pub ended: Ended,
    pub requests: u64,
    /// How long the lease took.
    pub took: Duration,
}

/// One source before its clock is run ahead.
#[derive(Debug, Clone)]
pub struct Ahead<'a> {
    pub slug: &'a str,
    pub operator: &'a str,
    pub clock: SourceClock,
    pub schedule: PollSchedule,
    /// Its kept attempts, oldest first.
    pub tried: Vec<Tried>,
}

/// What a poll comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PollResult {
    failed: bool,
    requests: u64,
    took: Duration,
}

/// How a source's polls go.
enum Course<'a> {
    /// By the share of its attempts that failed: `sum` grows by `failed` at each, and at `all` one fails.
    Share { failed: u64, all: u64, sum: u64, contact: PollResult, failure: PollResult },
    /// As the attempts went.
    Again(&'a [Tried]),
}

impl<'a> Course<'a> {
    /// From now on.
    fn ahead(source: &Ahead<'_>) -> Self {
        let of = |is_failed: bool| {
            let tried =
                source.tried.iter().filter(move |it| is_failure(it.ended) == Some(is_failed));
            let count = tried.clone().count() as u64;
            let requests = tried.clone().map(|it| it.requests).sum::<u64>();
            let took = tried.map(|it| it.took).sum::<Duration>();
            let each = count.max(1);
            let took = took / u32::try_from(each).unwrap_or(u32::MAX);
            // What was never tried is one request; and what is asked is one at least.
            let requests = ((requests + each / 2) / each).max(1);
            (count, PollResult { failed: is_failed, requests, took })
        };
        let ((contacts, contact), (failed, failure)) = (of(false), of(true));
        let all = contacts + failed;
        // One that fails goes on failing.
        let fails = source.clock.failing.attempts > 0;
        let (failed, all) = if all == 0 { (u64::from(fails), 1) } else { (failed, all) };
        let sum = if fails { all.saturating_sub(failed) } else { 0 };
        Course::Share { failed, all, sum, contact, failure }
    }

    fn next(&mut self, at: Timestamp) -> PollResult {
        match self {
            Self::Share { failed, all, sum, contact, failure } => {
                *sum += *failed;
                if *sum < *all {
                    return *contact;
                }
                *sum -= *all;
                *failure
            }
            Self::Again(tried) => {
                let before = tried.partition_point(|it| it.ended_at <= at);
                let told = |it: &&Tried| is_failure(it.ended).is_some();
                let newest = tried[..before].iter().rfind(told).or_else(|| tried.iter().find(told));
                newest.map_or(
                    PollResult { failed: false, requests: 1, took: Duration::ZERO },
                    |it| {
                        let failed = is_failure(it.ended).unwrap_or(false);
                        PollResult { failed, requests: it.requests.max(1), took: it.took }
                    },
                )
            }
        }
    }
}

/// Whether an attempt says that its source fails, or that it doesn't; nothing where it says neither.
const fn is_failure(ended: Ended) -> Option<bool> {
    match ended {
        Ended::Contact | Ended::Stopped => Some(false),
        Ended::SourceFailed => Some(true),
        Ended::Open | Ended::PeerFailed | Ended::Refused => None,
    }
}

/// What is asked of one operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// By hour, from the first on.
    pub requests: Vec<u64>,
    pub polls: u64,
    /// When it is asked first.
    pub first_at: Option<Timestamp>,
    /// How long all of that takes, one lease after the other with a pause between them.
    pub busy: Duration,
}

/// What comes of a forecast or a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// By operator.
    pub operators: BTreeMap<String, Load>,
    /// Sources that are hidden or delisted by it, with when: failing did that, and no contact came.
    pub deactivated: Vec<(String, Timestamp)>,
    pub delisted: Vec<(String, Timestamp)>,
}

impl Forecast {
    /// What `sources` are asked from `now` to `until`, with `pause` between the leases of an operator.
    pub fn ahead(sources: &[Ahead<'_>], now: Timestamp, until: Timestamp, pause: Duration) -> Self {
        let mut forecast = Self::default();
        for source in sources {
            forecast.run(source, Course::ahead(source), (now, until), pause);
        }
        forecast
    }

    /// What they had been asked from `since` to `now`, as their attempts went.
    pub fn again(sources: &[Ahead<'_>], since: Timestamp, now: Timestamp, pause: Duration) -> Self {
        let mut forecast = Self::default();
        for source in sources {
            forecast.run(source, Course::Again(&source.tried), (since, now), pause);
        }
        forecast
    }

    fn run(
        &mut self,
        source: &Ahead<'_>,
        mut course: Course<'_>,
        (from, until): (Timestamp, Timestamp),
        pause: Duration,
    ) {
        let hour = |at: Timestamp| (at.since(from).as_secs() / 3600) as usize;
        let mut clock = source.clock;
        clock.reschedule(from, &source.schedule);
        let mut stood = clock.standing;
        let (mut deactivated, mut delisted) = (None, None);
        for _ in 0..POLLS_MAX {
            let at = clock.due_at.max(from);
            if at >= until || !clock.is_polled() {
                break;
            }
            let outcome = course.next(at);
            let load = self.operators.entry(source.operator.to_owned()).or_default();
            let hour = hour(at);
            if load.requests.len() <= hour {
                load.requests.resize(hour + 1, 0);
            }
            load.requests[hour] += outcome.requests;
            load.polls += 1;
            load.first_at = Some(load.first_at.map_or(at, |first| first.min(at)));
            load.busy += outcome.took + pause;
            let ended = if outcome.failed { Ended::SourceFailed } else { Ended::Contact };
            clock.after(source.slug, ended, at, &source.schedule);
            if clock.standing != stood {
                stood = clock.standing;
                match stood {
                    Standing::Active => (deactivated, delisted) = (None, None),
                    Standing::Deactivated => deactivated = Some(at),
                    Standing::Delisted => delisted = Some(at),
                }
            }
        }
        let named = |at: Option<Timestamp>| at.map(|at| (source.slug.to_owned(), at));
        self.deactivated.extend(named(deactivated.filter(|_| delisted.is_none())));
        self.delisted.extend(named(delisted));
    }

    /// Requests of all operators by hour, from the first on.
    pub fn hours(&self, hours: usize) -> Vec<u64> {
        let mut sums = vec![0; hours];
        for load in self.operators.values() {
            for (sum, requests) in sums.iter_mut().zip(&load.requests) {
                *sum += requests;
            }
        }
        sums
    }
}

impl Load {
    /// How much of `time` asking takes; above 1 some of the operator's sources starve.
    pub fn busy_share(&self, time: Duration) -> f64 {
        self.busy.as_secs_f64() / time.as_secs_f64().max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn source(failed: usize, all: usize) -> Ahead<'static> {
        let tried = |number: usize| Tried {
            ended_at: NOW.minus(HOUR * (all - number) as u32),
            ended: if number < failed { Ended::SourceFailed } else { Ended::Contact },
            requests: if number < failed { 3 } else { 1 },
            took: Duration::from_secs(2),
        };
        let (clock, schedule) = (SourceClock::new(NOW), PollSchedule::default());
        let tried = (0..all).map(tried).collect();
        Ahead { slug: "a", operator: "o", clock, schedule, tried }
    }

    fn week(source: Ahead<'_>) -> Forecast {
        Forecast::ahead(&[source], NOW, NOW.plus(HOUR * 168), Duration::from_secs(1))
    }

    #[test]
    fn a_source_that_never_failed_is_asked_once_an_hour() {
        let forecast = week(source(0, 10));
        let load = &forecast.operators["o"];
        assert!((168..=169).contains(&load.polls), "{load:?}");
        assert_eq!(load.requests.iter().sum::<u64>(), load.polls);
        assert_eq!(load.busy, Duration::from_secs(3) * load.polls as u32);
        assert_eq!((load.first_at, forecast.deactivated.len()), (Some(NOW), 0));
        assert_eq!(forecast.hours(168).iter().sum::<u64>(), load.polls);
    }

    #[test]
    fn one_that_always_fails_is_hidden_within_the_week() {
        let forecast = week(source(10, 10));
        assert_eq!(forecast.deactivated, []);
        let later = NOW.plus(HOUR * 24 * 20);
        let forecast = Forecast::ahead(&[source(10, 10)], NOW, later, Duration::ZERO);
        assert_eq!((forecast.deactivated.len(), forecast.delisted.len()), (0, 1));
        let mut shorter = source(10, 10);
        shorter.schedule.deactivate_after = HOUR * 48;
        assert_eq!(week(shorter).deactivated.len(), 1);
    }

    #[test]
    fn a_share_of_failures_stays_a_share() {
        let load = week(source(5, 10)).operators["o"].clone();
        let requests = load.requests.iter().sum::<u64>();
        // Half of the polls take 3 requests, the others 1.
        assert!(requests.abs_diff(load.polls * 2) <= 2, "{requests} {}", load.polls);
    }

    #[test]
    fn a_replay_goes_as_it_went() {
        let mut again = source(5, 10);
        again.clock.due_at = NOW.minus(HOUR * 10);
        let forecast = Forecast::again(&[again], NOW.minus(HOUR * 10), NOW, Duration::ZERO);
        let load = &forecast.operators["o"];
        assert!(load.requests[..4].iter().sum::<u64>() >= 9, "{load:?}");
        assert_eq!(load.requests.last(), Some(&1));
    }

    #[test]
    fn an_operator_that_has_no_time_starves() {
        let mut slow = source(0, 10);
        slow.tried.iter_mut().for_each(|it| it.took = HOUR * 2);
        let share = week(slow).operators["o"].busy_share(HOUR * 168);
        assert!(share > 1.9, "{share}");
    }
}
