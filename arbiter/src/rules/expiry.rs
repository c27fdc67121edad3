//! The dates that an arbiter itself lives by: its certificates' and the revocation list's.

use crate::rules::text::plural;
use canister_link::refusal::date;
use std::path::PathBuf;

/// What ends in less than this is told to the operator, in seconds.
pub const WARN_BEFORE_SECS: u64 = 30 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// What: `certificate`, `authority's certificate`, `database certificate`, `revocation list`.
    pub what: &'static str,
    /// Its last second, in seconds since 1970.
    pub ends: u64,
    /// What to do before.
    pub help: &'static str,
    /// The file that it is in, where it may be renewed there.
    pub path: Option<PathBuf>,
}

impl Expiry {
    /// What the operator is to know of it at `now`, in seconds since 1970; nothing while there is time.
    pub fn told(&self, now: u64) -> Option<String> {
        let Self { what, ends, help, .. } = self;
        let on = date(*ends);
        match ends.checked_sub(now) {
            None => Some(format!("the {what} ended on {on}: {help}")),
            Some(left) if left < WARN_BEFORE_SECS => {
                let left = plural(left / DAY, "day", "days");
                Some(format!("the {what} ends on {on}, in {left}: {help}"))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_within_thirty_days_is_told() {
        let ends = 1_000 * DAY;
        let expiry = Expiry { what: "certificate", ends, help: "make another", path: None };
        for (now, told) in [
            (0, None),
            (ends - 30 * DAY, None),
            (
                ends - 30 * DAY + 1,
                Some("ends on Wed, 27 Sep 1972 00:00:00 GMT, in 29 days: make another"),
            ),
            (ends, Some("ends on Wed, 27 Sep 1972 00:00:00 GMT, in 0 days: make another")),
            (ends + 1, Some("ended on Wed, 27 Sep 1972 00:00:00 GMT: make another")),
        ] {
            let told = told.map(|told| format!("the certificate {told}"));
            assert_eq!(expiry.told(now), told, "{now}");
        }
    }
}
