//! How much of a disk the arbiter takes: what peers stage is bounded, a reserve is given up first when
//! room runs out, and then nothing is granted until there is some. Functions of bytes.

/// Most bytes in the texts of all that is staged, whoever staged it.
pub const STAGING_MAX: u64 = 1024 * 1024 * 1024;
/// Of what is free, staging takes one in so many.
const STAGING_SHARE: u64 = 10;
/// The reserve, in bytes, and one in how many of a small disk's.
const RESERVE: u64 = 16 * 1024 * 1024;
const RESERVE_SHARE: u64 = 32;

/// A disk with a database on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its bytes.
    pub whole: u64,
    /// Those that nobody uses.
    pub free: u64,
    /// Those of the database's file that it doesn't use: for its rows, not for its log of changes, without
    /// which nothing is written.
    pub spare: u64,
}

impl Disk {
    /// Most that may be staged where so much is already.
    pub fn staging_max(&self, staged: u64) -> u64 {
        STAGING_MAX.min((self.free + self.spare + staged) / STAGING_SHARE)
    }

    /// How large the reserve is to be.
    pub fn reserve(&self) -> u64 {
        RESERVE.min(self.whole / RESERVE_SHARE)
    }

    /// Whether the reserve has to be given up.
    pub fn is_short(&self) -> bool {
        self.free < self.reserve()
    }

    /// Whether nothing may be granted, where it is so or not since the last look. It ends with twice the
    /// room by which it begins.
    pub fn is_full(&self, is_full: bool) -> bool {
        self.free < self.reserve() * if is_full { 4 } else { 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn staging_takes_a_tenth_of_what_is_free() {
        for (free, staged, most) in [
            (100_000 * MIB, 0, 1024 * MIB),
            (1000 * MIB, 0, 100 * MIB),
            (950 * MIB, 50 * MIB, 100 * MIB),
            (0, 0, 0),
        ] {
            assert_eq!(Disk { whole: 200_000 * MIB, free, spare: 0 }.staging_max(staged), most);
        }
    }

    #[test]
    fn what_is_full_needs_twice_the_room_to_be_it_no_more() {
        let disk = |free| Disk { whole: 1000 * MIB, free: free * MIB, spare: 999 * MIB };
        assert_eq!(disk(0).reserve(), 16 * MIB);
        assert_eq!(Disk { whole: 64 * MIB, free: 0, spare: 0 }.reserve(), 2 * MIB);
        for (free, is_short, begins, stays) in [
            (15, true, true, true),
            (16, false, true, true),
            (32, false, false, true),
            (64, false, false, false),
        ] {
            let disk = disk(free);
            let is = (disk.is_short(), disk.is_full(false), disk.is_full(true));
            assert_eq!(is, (is_short, begins, stays), "{free}");
        }
    }
}
