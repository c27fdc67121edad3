//! The rules in force, as functions of values and a moment: what an act is about, what the rules make
//! of the sources, and what of that the brake holds. A dry run prints it, settling applies it
//! ([`Store::settle`](crate::store::Store::settle)).

use super::model::{HeldChange, HeldKind, SourceState, Terms};
use crate::rules::brake::{Lately, Loss};
use crate::rules::decision::Decided;
use crate::rules::entry::{Entry, Subject};
use crate::rules::exchange::SharedSources;
use crate::rules::policy::Policy;
use crate::rules::schedule::{Polls, SourceClock, Standing};
use crate::rules::sources::{self, Diff, Known};
use crate::rules::timestamp::Timestamp;
use canister_protocol::Source;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What changes the rules in force, or has the sources made what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The configuration was read.
    Configured,
    Decided {
        said: Decided,
        by: String,
        why: String,
    },
    /// What another arbiter tells was read.
    Imported {
        told: Arc<SharedSources>,
        by: String,
    },
    /// The lists were read. What couldn't be read is none, and stays as it is.
    Listed {
        /// What the source list names.
        sources: Option<Vec<Source>>,
        /// The hosts of the block lists.
        blocked_hosts: Option<BTreeSet<String>>,
    },
    /// The operator makes a source due, or all that are polled.
    Synced {
        /// Its slug. By name, a source that was delisted is approved.
        source: Option<String>,
        by: String,
    },
}

/// What the rules make of one source that was something else before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub slug: String,
    /// The rule that blocks it now, in words.
    pub blocked: Option<String>,
    /// The decision that delists it now, in words.
    pub delisted: Option<String>,
    pub clock: SourceClock,
    /// Whether the catalogue showed it, and shows it now.
    pub shown: (bool, bool),
    /// Whether it was due, and is due now.
    pub due: (bool, bool),
    /// How it stood, and stands now.
    pub stands: (Standing, Standing),
    pub packages: u64,
    /// The same by name.
    pub names: u64,
}

impl Change {
    /// Whether it is hidden by this.
    pub const fn hides(&self) -> bool {
        self.shown.0 && !self.shown.1
    }

    /// Whether it is asked now.
    pub fn is_polled(&self) -> bool {
        self.blocked.is_none() && self.clock.is_polled()
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
    let delisted = policy.delisted();
    let mut changes = Vec::new();
    for state in states {
        let source = &state.source;
        let is_meant = only.is_none_or(|entry| {
            Subject::of(source).is_ok_and(|subject| entry.names(&subject).is_some())
        });
        if !is_meant {
            continue;
        }
        let answer = policy.answer(source, None);
        let blocked = (!answer.is_allowed).then(|| answer.to_string());
        let delisted = delisted.get(&*source.slug).map(ToString::to_string);
        let before = state.clock();
        let mut clock = SourceClock { is_delisted: delisted.is_some(), ..before };
        clock.reschedule(now, &state.schedule(polls));
        clock.is_announced &= delisted.is_none();
        let is_allowed_again = blocked.is_none() && state.blocked.is_some();
        if is_allowed_again || before.is_delisted && !clock.is_delisted {
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
            delisted,
            clock,
        };
        let is_same = change.blocked == state.blocked && change.delisted == state.delisted;
        if !is_same || change.clock != before {
            changes.push(change);
        }
    }
    changes
}

/// What settling comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the rules in force change.
    pub changes: Vec<Change>,
    /// What they take from the catalogue.
    pub losses: Vec<Loss>,
    /// What the brake makes of that, if it holds it.
    pub braked: Option<HeldChange>,
}

/// What settling by these rules comes to, where so much left `lately`. An act of the operator's that
/// is about `only` some sources is the operator's own word: nothing brakes it.
pub fn plan(
    states: &[SourceState],
    policy: &Policy,
    terms: &Terms,
    only: Option<&Entry>,
    lately: &Lately,
    now: Timestamp,
) -> Plan {
    let changes = changes(states, policy, &terms.polls, only, now);
    if only.is_some() {
        return Plan { changes, losses: Vec::new(), braked: None };
    }
    let hidden = changes.iter().filter(|change| change.hides());
    let losses: Vec<Loss> = hidden.map(|change| whole(&change.slug, change.names)).collect();
    let parts: Vec<&str> = losses.iter().map(|loss| &*loss.slug).collect();
    let why = terms.brake.holds(&losses, lately, shown_names(states));
    let braked = why.map(|why| held_change((HeldKind::Policy, None, &parts), &why, now));
    Plan { changes, losses, braked }
}

impl Plan {
    /// What is done of it, and why the rest is held; all, where what the brake holds was accepted.
    pub fn settled(self, is_accepted: bool) -> (Vec<Change>, Option<String>) {
        let Self { mut changes, braked, .. } = self;
        let held = braked.filter(|_| !is_accepted).map(|change| change.why);
        if held.is_some() {
            changes.retain(|change| !change.hides());
        }
        (changes, held)
    }
}

/// What a source list changes, what it takes from the catalogue by what it removes, and what the brake
/// makes of that, if it holds it.
pub fn list(
    states: &[SourceState],
    list: &[Source],
    terms: &Terms,
    lately: &Lately,
    now: Timestamp,
) -> (Diff, Vec<Loss>, Option<HeldChange>) {
    let known: Vec<Known> = states.iter().map(SourceState::known).collect();
    let diff = sources::diff(&known, list);
    let removed: BTreeSet<&str> = diff.removed.iter().map(String::as_str).collect();
    let lost = states.iter().filter(|state| state.is_shown());
    let lost = lost.filter(|state| removed.contains(&*state.source.slug));
    let losses: Vec<Loss> = lost.map(|state| whole(&state.source.slug, state.names)).collect();
    let parts: Vec<&str> = removed.into_iter().collect();
    let why = terms.brake.holds(&losses, lately, shown_names(states));
    let braked = why.map(|why| held_change((HeldKind::SourceList, None, &parts), &why, now));
    (diff, losses, braked)
}

/// A source that goes as a whole.
fn whole(slug: &str, names: u64) -> Loss {
    Loss { slug: slug.to_owned(), shown: names, lost: names }
}

/// A change that the brake holds. It is known again by its kind and its parts.
pub fn held_change(
    (kind, slug, parts): (HeldKind, Option<&str>, &[&str]),
    why: &impl fmt::Display,
    now: Timestamp,
) -> HeldChange {
    HeldChange {
        number: 0,
        kind,
        slug: slug.map(str::to_owned),
        fingerprint: fingerprint(kind.word(), parts.iter().copied()),
        why: why.to_string(),
        held_at: now,
    }
}

/// How many packages the catalogue shows, by name.
fn shown_names(states: &[SourceState]) -> u64 {
    states.iter().filter(|state| state.is_shown()).map(|state| state.names).sum()
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

/// What settling changed, or would change, as the operator is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Sources that leave the catalogue.
    pub hidden: Vec<String>,
    /// Sources that enter it.
    pub shown: Vec<String>,
    /// Sources that are due by it.
    pub due: Vec<String>,
    /// Sources that are delisted by it.
    pub delisted: Vec<String>,
    /// Why what would be hidden is held, where it is.
    pub held: Option<String>,
    /// Overrides of poll schedules that name no source.
    pub idle_overrides: Vec<Entry>,
}

impl Changed {
    /// What these changes come to.
    pub fn of(changes: &[Change]) -> Self {
        let slugs = |is: &dyn Fn(&Change) -> bool| {
            let those = changes.iter().filter(|change| is(change));
            those.map(|change| change.slug.clone()).collect()
        };
        let is_delisted = |change: &Change| change.stands.1 == Standing::Delisted;
        Self {
            hidden: slugs(&Change::hides),
            shown: slugs(&|change| !change.shown.0 && change.shown.1),
            due: slugs(&|change| !change.due.0 && change.due.1),
            delisted: slugs(&|change| change.stands.0 != change.stands.1 && is_delisted(change)),
            ..Self::default()
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hidden, shown, due, delisted, held, .. } = self;
        write!(
            f,
            "{} hidden, {} shown, {} due, {} delisted",
            hidden.len(),
            shown.len(),
            due.len(),
            delisted.len()
        )?;
        match held {
            Some(why) => write!(f, "; what would be hidden is held: {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::decision::Decision;
    use crate::rules::policy::PolicySettings;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn source(slug: &str) -> Source {
        Source {
            slug: slug.into(),
            uri: format!("https://{slug}.example"),
            suite: "./".into(),
            ranking: 3,
            ..Source::default()
        }
    }

    /// A source with packages that was read a minute ago.
    fn state(slug: &str, packages: u64) -> SourceState {
        let mut state = SourceState::new(source(slug), NOW);
        state.due_at = NOW.plus(Duration::from_secs(60));
        (state.packages, state.names) = (packages, packages);
        state
    }

    fn decided(said: Decided) -> Decision {
        Decision { said, by: "root".into(), at: NOW, why: String::new() }
    }

    fn entry(text: &str) -> Entry {
        text.parse().unwrap()
    }

    /// In the order of the alphabet, what changes: `-a` is hidden, `+a` shown, `!a` due, `xa` delisted.
    fn shown(changes: &[Change]) -> String {
        let told = Changed::of(changes);
        let mut words = Vec::new();
        for (sign, slugs) in
            [('-', told.hidden), ('+', told.shown), ('!', told.due), ('x', told.delisted)]
        {
            words.extend(slugs.into_iter().map(|slug| format!("{sign}{slug}")));
        }
        words.join(" ")
    }

    #[test]
    fn what_the_rules_make_of_a_source() {
        let except =
            |slug| PolicySettings { except: vec![entry(slug)], ..PolicySettings::default() };
        let block = |text| decided(Decided::Block(entry(text)));
        let allow = |text| decided(Decided::Allow(entry(text)));
        let delist = |slug: &str| decided(Decided::Delist(slug.into()));
        let approve = |slug: &str| decided(Decided::Approve(slug.into()));
        let blocked = SourceState { blocked: Some("some rule".into()), ..state("a", 9) };
        let delisted = SourceState {
            delisted: Some("some decision".into()),
            standing: Standing::Delisted,
            ..state("a", 9)
        };
        let silent = SourceState {
            standing: Standing::Deactivated,
            failed: Some((NOW.minus(Duration::from_secs(8 * 86_400)), NOW)),
            failures: 99,
            ..state("a", 9)
        };
        let mut unlisted = state("a", 9);
        unlisted.is_listed = false;
        for (name, before, settings, decisions, only, expected) in [
            ("nothing", state("a", 9), PolicySettings::default(), vec![], None, ""),
            ("setting", state("a", 9), except("a"), vec![], None, "-a"),
            ("another's", state("a", 9), except("b"), vec![], None, ""),
            ("not named", state("a", 9), except("a"), vec![], Some("b"), ""),
            ("block", state("a", 9), PolicySettings::default(), vec![block("a")], Some("a"), "-a"),
            ("allow wins", state("a", 9), except("a"), vec![allow("a")], None, ""),
            ("allowed again", blocked.clone(), PolicySettings::default(), vec![], None, "+a !a"),
            ("still", blocked.clone(), except("a"), vec![], None, ""),
            ("delist", state("a", 9), PolicySettings::default(), vec![delist("a")], None, "-a xa"),
            ("approved", state("a", 9), PolicySettings::default(), vec![approve("a")], None, ""),
            ("stays", delisted.clone(), PolicySettings::default(), vec![delist("a")], None, ""),
            (
                "back",
                delisted.clone(),
                PolicySettings::default(),
                vec![approve("a")],
                None,
                "+a !a",
            ),
            ("both", blocked, PolicySettings::default(), vec![delist("a")], None, "xa"),
            ("back, blocked", delisted, except("a"), vec![], None, ""),
            ("silent", silent, PolicySettings::default(), vec![], None, ""),
            ("not listed", unlisted, except("a"), vec![delist("a")], None, "xa"),
        ] {
            let policy = Policy { settings, decisions, ..Policy::default() };
            let only = only.map(entry);
            let changes = changes(&[before], &policy, &Polls::default(), only.as_ref(), NOW);
            assert_eq!(shown(&changes), expected, "{name}");
        }
    }

    #[test]
    fn no_measurement_makes_a_delisted_source_polled() {
        let policy =
            Policy { decisions: vec![decided(Decided::Delist("a".into()))], ..Policy::default() };
        let mut announced = state("a", 9);
        announced.is_announced = true;
        announced.due_at = NOW;
        let changes = changes(&[announced], &policy, &Polls::default(), None, NOW);
        assert!(!changes[0].is_polled() && !changes[0].clock.is_announced);
        assert_eq!(changes[0].delisted.as_deref(), Some(&*policy.decisions[0].to_string()));
    }

    #[test]
    fn what_settling_comes_to() {
        let terms = Terms::default();
        let states = [state("a", 60), state("b", 10), state("c", 930)];
        let large = entry("c");
        for (name, except, only, is_accepted, done, held) in [
            ("little", "b", None, false, "-b", None),
            ("much", "c", None, false, "", Some("930 of 930 packages of c")),
            ("much, accepted", "c", None, true, "-c", None),
            ("the operator's own word", "c", Some(&large), false, "-c", None),
            ("many", "host:example", None, false, "", Some("1000 of 1000 packages would be")),
        ] {
            let settings =
                PolicySettings { except: vec![entry(except)], ..PolicySettings::default() };
            let policy = Policy { settings, ..Policy::default() };
            let plan = plan(&states, &policy, &terms, only, &Lately::default(), NOW);
            let (changes, why) = plan.settled(is_accepted);
            assert_eq!(shown(&changes), done, "{name}");
            match held {
                None => assert_eq!(why, None, "{name}"),
                Some(held) => assert!(why.is_some_and(|why| why.contains(held)), "{name}"),
            }
        }
        // What is shown is shown, though something else is held.
        let mut states = states;
        states[0].blocked = Some("some rule".into());
        let settings = PolicySettings { except: vec![entry("c")], ..PolicySettings::default() };
        let policy = Policy { settings, ..Policy::default() };
        let lately = Lately::default();
        let plan = plan(&states, &policy, &terms, None, &lately, NOW);
        let (changes, why) = plan.settled(false);
        assert_eq!((&*shown(&changes), why.is_some()), ("+a !a", true));
    }

    #[test]
    fn what_a_source_list_comes_to() {
        let terms = Terms::default();
        let mut hidden = state("hidden", 999);
        hidden.blocked = Some("some rule".into());
        let states = [state("a", 60), state("b", 10), hidden, state("c", 930)];
        for (named, removed, is_held) in [
            (&["a", "b", "hidden", "c"][..], &[][..], false),
            (&["a", "hidden", "c"], &["b"], false),
            // What isn't shown can't be lost.
            (&["a", "b", "c"], &["hidden"], false),
            (&["b", "hidden", "c"], &["a"], true),
            (&["a", "b"], &["hidden", "c"], true),
        ] {
            let named: Vec<Source> = named.iter().map(|slug| source(slug)).collect();
            let (diff, losses, braked) = list(&states, &named, &terms, &Lately::default(), NOW);
            assert_eq!(losses.len(), removed.iter().filter(|slug| **slug != "hidden").count());
            assert_eq!(diff.removed, removed);
            assert_eq!(braked.is_some(), is_held, "{removed:?}");
        }
    }

    #[test]
    fn a_change_is_known_again_by_its_kind_and_parts() {
        let fingerprint = |kind, parts: &[&'static str]| fingerprint(kind, parts.iter().copied());
        let one = fingerprint("source list", &["b", "a"]);
        assert_eq!(one, fingerprint("source list", &["a", "b"]));
        assert_ne!(one, fingerprint("source list", &["ab"]));
        assert_ne!(one, fingerprint("policy", &["a", "b"]));
    }
}
