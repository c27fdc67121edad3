//! Chance, for simulations.

#![allow(dead_code, reason = "each simulation uses what it needs")]

#[path = "../../../protocol/tests/common/random.rs"]
mod random;

pub(crate) use random::Random;
use std::time::Duration;

impl Random {
    pub(crate) fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = (most - least).as_millis() as usize;
        least + Duration::from_millis(self.below(span + 1) as u64)
    }
}
