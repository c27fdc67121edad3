//! Half a thread, held by the agent itself: how much CPU time the process may spend, and the pauses
//! that keep it to that.
//!
//! CPU time is earned by the second and spent by the process as a whole, whichever of its threads
//! runs. What isn't spent is kept only up to a small burst, so over any stretch of time the process
//! spends at most its share of it, plus the burst, plus what its threads do between two looks at the
//! clock (the work on one read of a body, a few milliseconds each). Only threads of leases pause, at
//! such points; the agent's loop never does, but what it spends is theirs to earn.

use canister_link::clock;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most CPU time that is kept for later, in seconds: what an idle agent may spend at once.
const BURST_SECS: f64 = 0.1;
/// Longest sleep before the clock and the lease are looked at again.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Threads' worth of CPU time: 0.5 is half a thread.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// What a peer spends at most unless it is told otherwise: what volunteers are promised.
    pub const PROMISED: Self = Self(0.5);
    /// The least and the most that can be asked for.
    const RANGE: std::ops::RangeInclusive<f64> = 0.05..=64.0;
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.parse().ok().filter(|it| Self::RANGE.contains(it));
        share.map(Self).ok_or_else(|| {
            let (least, most) = (Self::RANGE.start(), Self::RANGE.end());
            format!("use {least} to {most} (threads)")
        })
    }
}

/// What was earned and spent so far: pure.
#[derive(Debug, Clone, Copy)]
struct Account {
    share: Share,
    /// CPU time that may be spent, in seconds; below zero it is owed.
    left_secs: f64,
    /// When that was so: the process's CPU time, and the time.
    at: (Duration, Instant),
}

impl Account {
    const fn open(share: Share, spent: Duration, now: Instant) -> Self {
        Self { share, left_secs: BURST_SECS, at: (spent, now) }
    }

    /// How long to pause when the process has spent `spent` in all and it is `now`.
    fn pause(&mut self, spent: Duration, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.at.1).as_secs_f64() * self.share.0;
        let spending = spent.saturating_sub(self.at.0).as_secs_f64();
        self.left_secs = (self.left_secs + earned - spending).min(BURST_SECS);
        self.at = (spent, now);
        Duration::from_secs_f64((-self.left_secs).max(0.0) / self.share.0)
    }
}

/// Keeps the process to its share; one for all leases.
#[derive(Debug)]
pub struct Throttle(Option<Mutex<Account>>);

impl Throttle {
    /// A throttle that keeps the process to `share`; without one to nothing.
    pub fn new(share: Option<Share>) -> Self {
        let open = |share| Mutex::new(Account::open(share, clock::cpu(), clock::now()));
        Self(share.map(open))
    }

    /// Sleeps as long as the process has spent too much, unless `cancel` is set. To be called where
    /// a lease's thread has just done a little work.
    pub fn rest(&self, cancel: &AtomicBool) {
        let Some(account) = &self.0 else {
            return;
        };
        loop {
            let pause = {
                // The account is whole after each look, also after one that panicked.
                let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
                account.pause(clock::cpu(), clock::now())
            };
            if pause.is_zero() || cancel.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(pause.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_within_their_range() {
        for (text, share) in [("0.5", 0.5), ("0.05", 0.05), ("64", 64.0), ("1e0", 1.0)] {
            assert_eq!(text.parse(), Ok(Share(share)));
        }
        for text in ["", "0", "-1", "0.04", "64.1", "NaN", "inf", "50%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_owed_is_paid_in_time() {
        let start = clock::now();
        let millis = Duration::from_millis;
        // Milliseconds of CPU time and of time since the start; how long to pause.
        type Step = (u64, u64, u64);
        let table: &[(f64, &[Step])] = &[
            // The burst is free, what is over it costs its time over the share.
            (0.5, &[(0, 0, 0), (100, 100, 0), (160, 120, 0)]),
            (0.5, &[(100, 0, 0), (150, 0, 100), (150, 60, 40)]),
            // An hour of idling earns no more than the burst.
            (0.5, &[(0, 3_600_000, 0), (150, 3_600_000, 100)]),
            // Two threads that run at once owe twice.
            (1.0, &[(100, 0, 0), (300, 100, 100), (300, 200, 0)]),
            (0.05, &[(110, 0, 200)]),
            (64.0, &[(6_500, 100, 0), (12_900, 100, 100)]),
            // To look again costs nothing.
            (0.5, &[(150, 0, 100), (150, 0, 100)]),
        ];
        for (share, steps) in table {
            let mut account = Account::open(Share(*share), Duration::ZERO, start);
            for (spent, now, pause) in *steps {
                let is = account.pause(millis(*spent), start + millis(*now));
                let off = is.abs_diff(millis(*pause));
                assert!(off < millis(1), "{share}: {steps:?}: {is:?} at {now}");
            }
        }
    }

    /// Threads that work in pieces and pause as they are told, on a machine made of numbers: over
    /// no ten seconds do they spend more than share, burst and one piece each.
    #[test]
    fn no_ten_seconds_cost_more_than_their_share() {
        const WINDOW: usize = 10_000;
        for (share, threads, piece) in [(0.5, 1, 3), (0.5, 4, 7), (0.05, 4, 20), (2.0, 8, 5)] {
            let start = clock::now();
            let mut account = Account::open(Share(share), Duration::ZERO, start);
            let (mut spent, mut history) = (0, vec![]);
            // When each thread looks again.
            let mut looks = vec![0; threads];
            for now in 0..40_000 {
                history.push(spent);
                // For ten seconds there is nothing to do.
                if (15_000..25_000).contains(&now) {
                    continue;
                }
                for look in &mut looks {
                    if *look > now {
                        continue;
                    }
                    let pause = account
                        .pause(Duration::from_millis(spent), start + Duration::from_millis(now));
                    if pause.is_zero() {
                        spent += piece;
                        *look = now + piece;
                    } else {
                        *look = now + (pause.as_millis() as u64).clamp(1, 50);
                    }
                }
            }
            let allowed =
                share * WINDOW as f64 + BURST_SECS * 1e3 + (piece * threads as u64) as f64;
            let most = history.windows(WINDOW).map(|them| them[WINDOW - 1] - them[0]);
            let most = most.max().unwrap_or_default() as f64;
            assert!(most <= allowed, "{most} of {allowed}: share {share}");
            // Nor is much of it left lying.
            assert!(most >= 0.9 * share * WINDOW as f64, "{most}: share {share}");
        }
    }

    #[test]
    fn a_cancelled_lease_does_not_rest() {
        let throttle = Throttle::new(Some(Share(0.05)));
        if let Throttle(Some(account)) = &throttle {
            account.lock().unwrap().left_secs = -1e6;
        }
        // It would be for years.
        throttle.rest(&AtomicBool::new(true));
        Throttle::new(None).rest(&AtomicBool::new(false));
    }
}
