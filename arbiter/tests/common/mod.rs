//! Chance, for simulations.

#![allow(dead_code, reason = "each simulation uses what it needs")]

use std::time::Duration;

/// Numbers that a seed repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Spec: splitmix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = (most - least).as_millis() as u64;
        least + Duration::from_millis(self.below(span + 1))
    }
}
