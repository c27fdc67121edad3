//! When a source is asked again, and who comes first among those that are due. Functions of
//! values and a moment: no store, no clock.
//!
//! A source is **waiting** until its `due_at`, then **due**, **leased** while a peer holds it, and
//! then waiting again:
//!
//! | what happened | due again |
//! | --- | --- |
//! | any contact that yielded the head | after `interval` |
//! | the source failed | after `retry_after` |
//! | the peer failed | after a minute, or `retry_after` where that is shorter |
//! | given back, expired, revoked | at once: nothing is known that wasn't known before |

use crate::timestamp::Timestamp;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One source's four times, all counted from its last contact but `retry_after`, which is counted
/// from the last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollSchedule {
    /// A source that wasn't heard of for this long is due.
    pub interval: Duration,
    /// After a failed attempt it is due again this much later.
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
            Short(self.first.1),
            self.second.0,
            Short(self.second.1),
            self.rule
        )
    }
}

impl std::error::Error for Inconsistent {}

/// A duration in the largest unit that shows it whole: `7d`, `90m`, `1500ms`.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")] {
            if millis > 0 && millis.is_multiple_of(unit.as_millis()) {
                return write!(f, "{}{name}", millis / unit.as_millis());
            }
        }
        write!(f, "{millis}ms")
    }
}

/// How an attempt ended, as far as the schedule is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The head was learned.
    Contact,
    /// The peer couldn't do it.
    PeerFailed,
    /// The source couldn't be read or verified.
    SourceFailed,
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
        let rules = [
            (
                interval.1 >= SECOND,
                interval,
                least,
                "a source must not be asked without a pause",
            ),
            (
                retry_after.1 >= SECOND,
                retry_after,
                least,
                "a failing source must not be asked without a pause",
            ),
            (
                interval.1 < deactivate_after.1,
                interval,
                deactivate_after,
                "a source must be asked at least once before it is hidden, so interval must be \
                 the shorter",
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
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, first, second, rule)) => Err(Inconsistent {
                first,
                second,
                rule,
            }),
            None => Ok(self),
        }
    }

    /// When a source is due again whose attempt ended `now`.
    pub fn next(&self, ended: Ended, now: Timestamp) -> Timestamp {
        now.plus(match ended {
            Ended::Contact => self.interval,
            Ended::PeerFailed => self.retry_after.min(MINUTE),
            Ended::SourceFailed => self.retry_after,
        })
    }
}

/// A due source, as far as the order is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its slug.
    pub slug: String,
    /// Who runs its server.
    pub operator: String,
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
    fn turn(&self) -> (i128, &str) {
        let mut start = HOUR * u32::from(5 - self.ranking.clamp(1, 5));
        if !self.is_known {
            start += DAY;
        }
        if self.is_announced {
            start += 3 * DAY;
        }
        let turn = i128::from(self.due_at.millis()) - start.as_millis() as i128;
        (turn, &self.slug)
    }
}

/// Chooses whom to lease: at most `slots` of `due`, at most one of each operator and none of an
/// operator in `busy`, in the order in which they are to be granted.
pub fn choose(mut due: Vec<Due>, mut busy: HashSet<String>, slots: usize) -> Vec<Due> {
    due.sort_unstable_by(|a, b| a.turn().cmp(&b.turn()));
    due.retain(|source| !busy.contains(&source.operator));
    let mut chosen = Vec::new();
    for source in due {
        if chosen.len() == slots {
            break;
        }
        if busy.insert(source.operator.clone()) {
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
            due_at: Timestamp::from_millis(NOW.millis() - overdue.as_millis() as u64),
            is_announced: false,
            is_known: true,
            ranking: 3,
        }
    }

    #[test]
    fn inconsistent_schedules_are_refused_with_both_values_and_the_rule() {
        let good = PollSchedule::default();
        assert_eq!(good.checked(), Ok(good));
        let equal = PollSchedule {
            stop_after: good.deactivate_after,
            ..good
        };
        assert_eq!(equal.checked(), Ok(equal));
        let table = [
            (
                PollSchedule {
                    interval: Duration::ZERO,
                    ..good
                },
                "interval is 0ms, the least is 1s: a source must not be asked without a pause",
            ),
            (
                PollSchedule {
                    retry_after: Duration::from_millis(999),
                    ..good
                },
                "retry_after is 999ms, the least is 1s: a failing source must not",
            ),
            (
                PollSchedule {
                    interval: 7 * DAY,
                    ..good
                },
                "interval is 7d, deactivate_after is 7d: a source must be asked at least once",
            ),
            (
                PollSchedule {
                    retry_after: 8 * DAY,
                    ..good
                },
                "retry_after is 8d, deactivate_after is 7d: a failing source must be asked again",
            ),
            (
                PollSchedule {
                    stop_after: 3 * HOUR,
                    ..good
                },
                "deactivate_after is 7d, stop_after is 3h: a source is hidden before it is",
            ),
        ];
        for (schedule, text) in table {
            let said = schedule.checked().unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("poll schedule: {text}")),
                "{said}"
            );
        }
    }

    #[test]
    fn durations_are_shown_whole() {
        for (duration, text) in [
            (7 * DAY, "7d"),
            (36 * HOUR, "36h"),
            (90 * MINUTE, "90m"),
            (61 * SECOND, "61s"),
            (Duration::from_millis(1500), "1500ms"),
            (Duration::ZERO, "0ms"),
        ] {
            assert_eq!(Short(duration).to_string(), text);
        }
    }

    #[test]
    fn an_attempt_says_when_the_source_is_due_again() {
        let schedule = PollSchedule::default();
        let impatient = PollSchedule {
            retry_after: 5 * SECOND,
            ..schedule
        };
        for (schedule, ended, after) in [
            (schedule, Ended::Contact, HOUR),
            (schedule, Ended::SourceFailed, 15 * MINUTE),
            (schedule, Ended::PeerFailed, MINUTE),
            (impatient, Ended::SourceFailed, 5 * SECOND),
            (impatient, Ended::PeerFailed, 5 * SECOND),
        ] {
            assert_eq!(schedule.next(ended, NOW), NOW.plus(after), "{ended:?}");
        }
    }

    #[test]
    fn announced_then_never_indexed_then_ranking_then_overdue() {
        let announced = Due {
            is_announced: true,
            ranking: 5,
            ..due("announced", Duration::ZERO)
        };
        let new = Due {
            is_known: false,
            ranking: 5,
            ..due("new", Duration::ZERO)
        };
        let best = Due {
            ranking: 1,
            ..due("best", Duration::ZERO)
        };
        let good_and_late = Due {
            ranking: 2,
            ..due("good-and-late", 30 * MINUTE)
        };
        let good = Due {
            ranking: 2,
            ..due("good", Duration::ZERO)
        };
        let late = due("late", 30 * MINUTE);
        let other = due("other", Duration::ZERO);
        let order = [announced, new, best, good_and_late, good, late, other];
        let mut shuffled = order.to_vec();
        shuffled.reverse();
        assert_eq!(choose(shuffled, HashSet::new(), 99), order);
    }

    #[test]
    fn whatever_waits_long_enough_comes_first() {
        let longest = 3 * DAY + DAY + 4 * HOUR;
        let forgotten = Due {
            ranking: 5,
            ..due("forgotten", longest + SECOND)
        };
        let favoured = Due {
            is_announced: true,
            is_known: false,
            ranking: 1,
            ..due("favoured", Duration::ZERO)
        };
        let chosen = choose(vec![favoured, forgotten.clone()], HashSet::new(), 1);
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
            let busy = busy.iter().map(|&name| name.to_owned()).collect();
            let chosen = choose(list.clone(), busy, slots);
            chosen
                .into_iter()
                .map(|source| source.slug)
                .collect::<Vec<_>>()
        };
        assert_eq!(slugs(&[], 9), ["c1", "a2", "b1", "d1"]);
        assert_eq!(slugs(&[], 2), ["c1", "a2"]);
        assert_eq!(slugs(&["a", "c"], 2), ["b1", "d1"]);
        assert_eq!(slugs(&["a", "b", "c", "d"], 2), [""; 0]);
        assert_eq!(slugs(&[], 0), [""; 0]);
    }
}
