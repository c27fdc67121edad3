//! What volunteers may fetch of a source: under one lease, and in a day. A server that sends without end
//! costs them that, whichever of them is asked.

use crate::rules::timestamp::Timestamp;
use canister_protocol::limits::LEASE_BYTES;

/// A mebibyte in bytes.
pub const MEBIBYTE: u64 = 1024 * 1024;

/// The bounds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Under one lease.
    pub lease: u64,
    /// Under all leases of one source that ended on one day, of UTC.
    pub day: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { lease: LEASE_BYTES, day: 4 * LEASE_BYTES }
    }
}

impl Traffic {
    /// What the next lease of a source may fetch of which `spent` was fetched on the day of `now`; none
    /// where the day's are spent.
    pub fn next(&self, spent: u64) -> Option<u64> {
        Some(self.day.saturating_sub(spent).min(self.lease)).filter(|left| *left > 0)
    }
}

/// Bytes that a source is known to take, at least, of which so much was fetched at once lately and so
/// many packages are known: each has more than a hundred bytes in an index, however it is packed.
pub const fn known(fetched: u64, packages: u64) -> u64 {
    let least = packages.saturating_mul(100);
    if fetched > least { fetched } else { least }
}

/// The day of a moment, counted from 1970.
pub const fn day(now: Timestamp) -> u64 {
    now.millis() / (24 * 60 * 60 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_gets_its_share_until_the_day_is_spent() {
        let traffic = Traffic { lease: 4, day: 10 };
        for (spent, next) in [(0, Some(4)), (6, Some(4)), (7, Some(3)), (10, None), (12, None)] {
            assert_eq!(traffic.next(spent), next, "{spent}");
        }
        assert_eq!(day(Timestamp::from_millis(86_400_000)), 1);
    }
}
