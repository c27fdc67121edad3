//! Whether this machine's way to servers works, as its last leases say: so long the next connection is
//! waited for.
//!
//! Behind a filter that drops everything each connection would be waited for as long as one may, and its
//! source is nobody else's meanwhile. So a way that wasn't seen to work lately is given less time, and
//! more at each try: one that is only slow will do.

use crate::fetch::CONNECT_MAX;
use canister_protocol::message::{FailureKind, Outcome};
use std::time::{Duration, Instant};

/// How long a way is waited for at first that wasn't seen to work: TCP asks three times in it.
const UNSEEN_MAX: Duration = Duration::from_secs(4);
/// How long it counts that it worked.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// What the last leases say of the way.
#[derive(Debug, Default)]
pub struct Way {
    /// When a server answered last, if nothing was silent since.
    answered: Option<Instant>,
    /// Leases in a row that met nothing but silence since it was given less time.
    silences: u32,
}

impl Way {
    /// Remembers how a lease ended.
    pub fn after(&mut self, outcome: &Outcome, now: Instant) {
        use FailureKind::{Connect, Peer, Resolve, Timeout, Tls};
        match outcome {
            Outcome::Failed { kind: Resolve | Timeout, .. } => {
                self.silences = match self.answered.take() {
                    Some(_) => 0,
                    None => self.silences.saturating_add(1),
                };
            }
            Outcome::Failed { kind: Connect | Peer | Tls, .. } => {}
            _ => *self = Self { answered: Some(now), silences: 0 },
        }
    }

    /// How long the next name look-up or connection may take.
    pub fn patience(&self, now: Instant) -> Duration {
        match self.answered {
            Some(answered) if now.saturating_duration_since(answered) < SEEN_FOR => CONNECT_MAX,
            _ => UNSEEN_MAX.saturating_mul(1 << self.silences.min(8)).min(CONNECT_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canister_link::clock;

    #[test]
    fn a_way_that_was_not_seen_to_work_is_waited_for_less() {
        let began = clock::now();
        let at = |secs| began + Duration::from_secs(secs);
        let failed = |kind| Outcome::Failed {
            kind,
            retry_after_secs: None,
            status: None,
            reason: String::new(),
        };
        let mut way = Way::default();
        assert_eq!(way.patience(began), UNSEEN_MAX);
        for (kind, secs, patience) in [
            (FailureKind::Timeout, 4, 8),
            (FailureKind::Connect, 5, 8),
            (FailureKind::Resolve, 12, 15),
            (FailureKind::Timeout, 27, 15),
            // It answers, whatever.
            (FailureKind::Status, 30, 15),
            // And is silent again.
            (FailureKind::Timeout, 45, 4),
            (FailureKind::Timeout, 49, 8),
            (FailureKind::NoIndex, 50, 15),
        ] {
            way.after(&failed(kind), at(secs));
            assert_eq!(way.patience(at(secs)).as_secs(), patience, "{kind:?} after {secs} s");
        }
        assert_eq!(way.patience(at(50) + SEEN_FOR), UNSEEN_MAX);
    }
}
