//! What the operator is told of what is wrong, and when: once when it has been wrong for a while, once
//! when it has been well again for a while, and all of a moment in one message.

use crate::rules::text::{plural, span};
use crate::rules::timestamp::Timestamp;
use canister_protocol::plain::one_line;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Most alerts of one message that begin, and that end; the rest waits for the next.
const ALERTS_MAX: usize = 50;
/// Longest line of one, in bytes.
const LINE_BYTES_MAX: usize = 400;

/// What is wrong at a moment: each by a name that it keeps while it lasts, with a line of how it is.
pub type Wrongs = BTreeMap<String, String>;

/// What is wrong, since when, and what of it was told.
#[derive(Debug, Default)]
pub struct Watch {
    known: BTreeMap<String, Wrong>,
}

#[derive(Debug)]
struct Wrong {
    line: String,
    since: Timestamp,
    /// When it was last seen to be wrong.
    seen: Timestamp,
    is_told: bool,
}

/// One message to the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AlertMessage {
    /// All of it, for people.
    pub text: String,
    pub began: Vec<Alert>,
    pub ended: Vec<Alert>,
}

/// One thing that is wrong, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What it is called while it lasts.
    pub name: String,
    pub line: String,
    /// Milliseconds since 1970.
    pub since: u64,
}

impl Watch {
    /// Takes in what is wrong at `now`.
    pub fn look(&mut self, wrongs: &Wrongs, now: Timestamp) {
        self.known.retain(|name, known| known.is_told || wrongs.contains_key(name));
        for (name, line) in wrongs {
            let line = one_line(line, LINE_BYTES_MAX);
            match self.known.get_mut(name) {
                Some(known) => (known.seen, known.line) = (now, line),
                None => {
                    let known = Wrong { line, since: now, seen: now, is_told: false };
                    self.known.insert(name.clone(), known);
                }
            }
        }
    }

    /// Adds to `message` what is to be told at `now` of what lasts for longer than `after`.
    pub fn add_to(&self, message: &mut AlertMessage, now: Timestamp, after: Duration) {
        let alert = |(name, known): (&String, &Wrong)| Alert {
            name: name.clone(),
            line: known.line.clone(),
            since: known.since.millis(),
        };
        let untold = || self.known.iter().filter(|(_, known)| !known.is_told);
        // What began a moment later is told with it.
        if untold().any(|(_, known)| now.since(known.since) >= after) {
            let began = untold().filter(|(_, known)| now.since(known.since) >= after / 2);
            message.began.extend(began.map(alert).take(ALERTS_MAX));
        }
        let over = || self.known.iter().filter(|(_, known)| known.is_told && known.seen < now);
        if over().any(|(_, known)| now.since(known.seen) >= after) {
            let ended = over().filter(|(_, known)| now.since(known.seen) >= after / 2);
            message.ended.extend(ended.map(alert).take(ALERTS_MAX));
        }
    }

    /// That a message arrived.
    pub fn told(&mut self, message: &AlertMessage) {
        for alert in &message.began {
            self.known.entry(alert.name.clone()).and_modify(|known| known.is_told = true);
        }
        for alert in &message.ended {
            self.known.remove(&alert.name);
        }
    }
}

impl AlertMessage {
    /// The message with its text, by an arbiter that calls itself `by`; none where there is nothing to
    /// tell.
    pub fn said(mut self, by: &str, now: Timestamp) -> Option<Self> {
        if self.began.is_empty() && self.ended.is_empty() {
            return None;
        }
        self.text = format!("Canister's arbiter {by}:");
        for (what, alerts) in [("", &self.began), ("over: ", &self.ended)] {
            for Alert { line, since, .. } in alerts {
                let lasted = span(now.since(Timestamp::from_millis(*since)));
                let _ = write!(self.text, "\n{what}{line} (for {lasted})");
            }
        }
        Some(self)
    }
}

/// That sources of one operator fail: its name and its line.
pub fn outage(
    operator: &str,
    sources: u64,
    failing: u64,
    reasons: &[(&str, u64)],
) -> (String, String) {
    let why = reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
    let of = plural(sources, "source", "sources");
    let line =
        format!("{failing} of {of} of {operator} fail: {}", why.collect::<Vec<_>>().join(", "));
    (format!("outage of {operator}"), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + secs * 1000)
    }

    /// What is told of what is wrong at each moment, as names.
    fn told(watch: &mut Watch, secs: u64, wrongs: &[&str]) -> (Vec<String>, Vec<String>) {
        let wrongs = wrongs.iter().map(|name| ((*name).to_owned(), format!("{name} is wrong")));
        watch.look(&wrongs.collect(), at(secs));
        let mut message = AlertMessage::default();
        watch.add_to(&mut message, at(secs), AFTER);
        watch.told(&message);
        let names = |alerts: &[Alert]| alerts.iter().map(|alert| alert.name.clone()).collect();
        (names(&message.began), names(&message.ended))
    }

    #[test]
    fn each_is_told_once_when_it_lasts_and_once_when_it_is_over() {
        let mut watch = Watch::default();
        let none: (Vec<String>, Vec<String>) = Default::default();
        let of = |began: &[&str], ended: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            (own(began), own(ended))
        };
        for (secs, wrongs, tells) in [
            (0, &["a"][..], none.clone()),
            // It was over before it was told.
            (20, &["c"], none.clone()),
            (30, &["a"], none.clone()),
            (50, &["a", "b"], none.clone()),
            // What began meanwhile is told with it.
            (95, &["a", "b"], of(&["a", "b"], &[])),
            (200, &["a", "b"], none.clone()),
            // It flutters.
            (230, &["b"], none.clone()),
            (250, &["a", "b"], none.clone()),
            (300, &[], none.clone()),
            (309, &["b"], none.clone()),
            (310, &["b"], of(&[], &["a"])),
            (400, &["b"], none.clone()),
            (500, &[], of(&[], &["b"])),
            (600, &[], none),
        ] {
            assert_eq!(told(&mut watch, secs, wrongs), tells, "{secs}");
        }
    }

    #[test]
    fn what_did_not_arrive_is_told_again() {
        let mut watch = Watch::default();
        let wrongs = Wrongs::from([("a".to_owned(), "a\u{9b}\nis wrong".to_owned())]);
        watch.look(&wrongs, at(0));
        watch.look(&wrongs, at(100));
        let message = || {
            let mut message = AlertMessage::default();
            watch.add_to(&mut message, at(100), AFTER);
            message.said("i1", at(100))
        };
        let first = message().unwrap();
        assert_eq!(Some(&first), message().as_ref());
        assert!(
            first.text.starts_with("Canister's arbiter i1:\na")
                && first.text.ends_with("wrong (for 100 s)"),
            "{}",
            first.text
        );
        assert_eq!(first.text.lines().count(), 2);
        watch.told(&first);
        let mut message = AlertMessage::default();
        watch.add_to(&mut message, at(100), AFTER);
        assert_eq!(message.said("i1", at(100)), None);
    }
}
