//! What the operator's rules change: which sources they hide and show, and which are due or delisted
//! by them. A function of what the store remembers; a dry run prints it, a reload applies it, the
//! brake looks at it first.

use crate::brake::Loss;
use crate::entry::{Entry, Subject};
use crate::policy::Policy;
use crate::schedule::{Polls, SourceClock, Standing};
use crate::store::SourceState;
use crate::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};

/// What the rules make of one source that was something else before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The source.
    pub slug: String,
    /// The rule that blocks it now, in words.
    pub blocked: Option<String>,
    /// Its clock now.
    pub clock: SourceClock,
    /// Whether the catalogue showed it, and shows it now.
    pub shown: (bool, bool),
    /// Whether it was due, and is due now.
    pub due: (bool, bool),
    /// How it stood, and stands now.
    pub stands: (Standing, Standing),
    /// Its packages.
    pub packages: u64,
    /// The same by name.
    pub names: u64,
}

impl Change {
    /// Whether it is hidden by this.
    pub const fn hides(&self) -> bool {
        self.shown.0 && !self.shown.1
    }
}

/// What `policy` and `polls` change in `states` `now`; only in those that `only` names, where there
/// is one.
pub fn changes(
    states: &[SourceState],
    policy: &Policy,
    polls: &Polls,
    only: Option<&Entry>,
    now: Timestamp,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for state in states {
        let source = &state.source;
        let is_meant = only.is_none_or(|entry| {
            Subject::of(source).is_ok_and(|subject| entry.names(&subject).is_some())
        });
        if !is_meant {
            continue;
        }
        let decision = policy.decide(source, None);
        let blocked = (!decision.is_allowed).then(|| decision.to_string());
        let before = state.clock();
        let mut clock = before;
        clock.reschedule(now, &polls.of(source));
        if blocked.is_none() && state.blocked.is_some() {
            clock.due_at = clock.due_at.min(now);
        }
        let shown = |blocked: &Option<String>, clock: &SourceClock| {
            state.is_listed && blocked.is_none() && clock.standing == Standing::Active
        };
        let due = |blocked: &Option<String>, clock: &SourceClock| {
            state.is_listed && blocked.is_none() && clock.is_due(now)
        };
        let change = Change {
            slug: source.slug.clone(),
            shown: (shown(&state.blocked, &before), shown(&blocked, &clock)),
            due: (due(&state.blocked, &before), due(&blocked, &clock)),
            stands: (before.standing, clock.standing),
            packages: state.packages,
            names: state.names,
            blocked,
            clock,
        };
        if change.blocked != state.blocked || change.clock != before {
            changes.push(change);
        }
    }
    changes
}

/// What these changes would take from the catalogue.
pub fn losses(changes: &[Change]) -> Vec<Loss> {
    let hidden = changes.iter().filter(|change| change.hides());
    hidden
        .map(|change| Loss { slug: change.slug.clone(), shown: change.names, lost: change.names })
        .collect()
}

/// How many packages the catalogue shows, by name.
pub fn visible(states: &[SourceState]) -> u64 {
    let shown = states.iter().filter(|state| state.is_shown());
    shown.map(|state| state.names).sum()
}

/// Names a change by what it is of and what it would do, in whatever order that is told.
pub fn fingerprint<'a>(kind: &str, parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut parts: Vec<&str> = parts.into_iter().collect();
    parts.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(kind);
    for part in parts {
        hash.update([0]);
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
