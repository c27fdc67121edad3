//! The only reader of time in both programs; everything else is handed what it says.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on the clock that never goes back: for deadlines and measured durations.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time that the process has spent since its start, all threads together.
pub fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}

/// The wall clock, to compare with what files say.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970 UTC by the wall clock: for what is written down and outlives a process.
/// Zero if the clock stands before 1970.
pub fn wall_millis() -> u64 {
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Blocks this thread: for the threads of leases, never for the loop.
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// Time since the machine was started, its sleep included: by a clock that nobody sets.
pub fn since_boot() -> Duration {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(since.tv_sec.unsigned_abs(), since.tv_nsec.unsigned_abs() as u32)
}
