//! How long to wait before trying again: attempt and seed to delay, nothing else.

use std::time::Duration;

/// The wait after the first failure, before jitter.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait, before jitter: an arbiter that comes back has its peers within a minute or
/// so, and a fleet that lost its arbiter for a night doesn't knock more than once a minute each.
const LONGEST: Duration = Duration::from_secs(60);

/// The delay before attempt `attempt` (0 is the first one, at once): doubling from a second to a
/// minute, each multiplied by a factor between 0.5 and 1.5 that `seed` decides, so that peers
/// which lost one arbiter together don't come back together.
pub fn delay(attempt: u32, seed: u64) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let doubled = FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST);
    // splitmix64: neighbouring seeds and attempts give unrelated factors.
    let mut mixed = seed.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    doubled.mul_f64(0.5 + (mixed >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_its_bounds_and_never_overflows() {
        assert_eq!(delay(0, 7), Duration::ZERO);
        for (attempt, base) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)]
        {
            for seed in 0..100 {
                let (low, high) =
                    (Duration::from_millis(base * 500), Duration::from_millis(base * 1500));
                let delay = delay(attempt, seed);
                assert!(low <= delay && delay <= high, "attempt {attempt} seed {seed}: {delay:?}");
            }
        }
    }

    #[test]
    fn seeds_spread() {
        let mut delays: Vec<_> = (0..1000).map(|seed| delay(7, seed)).collect();
        delays.sort();
        // Each tenth of the range holds its share, within a wide margin.
        for tenth in 0..10 {
            let low = Duration::from_secs(30 + 6 * tenth);
            let held =
                delays.iter().filter(|d| **d >= low && **d < low + Duration::from_secs(6)).count();
            assert!((50..200).contains(&held), "{held} delays in {low:?}..");
        }
    }
}
