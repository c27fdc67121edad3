//! Decisions: what the operator said of sources and of held changes, with who, when and why. A
//! decision outranks whatever is measured, announced or listed, and lasts until the operator says the
//! opposite. No store, no clock.
//!
//! | question | the two answers | of |
//! | --- | --- | --- |
//! | may it be indexed? | `allow`, `block` | an [`Entry`] |
//! | is it to be shown and polled? | `approve`, `delist` | a source |
//! | is the peer believed? | `trust`, `suspend` | a peer |
//! | may the held change be made? | `accept`, `reject` | a held change |
//!
//! The newest answer to a question about a subject is in force; the older ones are history.

use crate::rules::entry::Entry;
use crate::rules::timestamp::Timestamp;
use std::fmt;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the operator said.
    pub said: Decided,
    pub by: String,
    pub at: Timestamp,
    /// Why; may be empty.
    pub why: String,
}

/// What can be said, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// The held change of this number may be made.
    Accept(u64),
    /// What the entry names may be indexed.
    Allow(Entry),
    /// The source of this slug is to be shown and polled like any other.
    Approve(String),
    /// What the entry names must not be indexed.
    Block(Entry),
    /// The source of this slug is to be hidden, polled no more, and its data deleted.
    Delist(String),
    /// The held change of this number must not be made.
    Reject(u64),
    /// The peer of this name is given nothing.
    Suspend(String),
    /// What the peer of this name reads is published, whatever it has proved or was suspended for.
    Trust(String),
}

impl Decided {
    /// Its word, as it is stored and shown.
    pub const fn word(&self) -> &'static str {
        self.words().0
    }

    /// The word of the other answer to the same question.
    pub const fn opposite(&self) -> &'static str {
        self.words().1
    }

    const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Accept(_) => ("accept", "reject"),
            Self::Allow(_) => ("allow", "block"),
            Self::Approve(_) => ("approve", "delist"),
            Self::Block(_) => ("block", "allow"),
            Self::Delist(_) => ("delist", "approve"),
            Self::Reject(_) => ("reject", "accept"),
            Self::Suspend(_) => ("suspend", "trust"),
            Self::Trust(_) => ("trust", "suspend"),
        }
    }

    /// What it is of, as it is stored and shown: an entry, `held:NUMBER`, or `peer:NAME`.
    pub fn subject(&self) -> String {
        match self {
            Self::Accept(number) | Self::Reject(number) => held(*number),
            Self::Allow(entry) | Self::Block(entry) => entry.to_string(),
            Self::Approve(slug) | Self::Delist(slug) => Entry::Slug(slug.clone()).to_string(),
            Self::Suspend(peer) | Self::Trust(peer) => format!("peer:{peer}"),
        }
    }

    /// What [`word`](Self::word) and [`subject`](Self::subject) say; `None` where nobody can have
    /// said it.
    pub fn read(word: &str, subject: &str) -> Option<Self> {
        let number = || subject.strip_prefix("held:")?.parse().ok();
        let slug = || Some(subject.strip_prefix("slug:")?.to_owned());
        let peer = || Some(subject.strip_prefix("peer:")?.to_owned());
        let entry = || subject.parse().ok();
        match word {
            "accept" => number().map(Self::Accept),
            "allow" => entry().map(Self::Allow),
            "approve" => slug().map(Self::Approve),
            "block" => entry().map(Self::Block),
            "delist" => slug().map(Self::Delist),
            "reject" => number().map(Self::Reject),
            "suspend" => peer().map(Self::Suspend),
            "trust" => peer().map(Self::Trust),
            _ => None,
        }
    }
}

/// The subject of what is said of the held change of this number.
pub fn held(number: u64) -> String {
    format!("held:{number}")
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.subject())
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { said, by, at, why } = self;
        write!(f, "{said} by {by} at {at}")?;
        match &**why {
            "" => Ok(()),
            why => write!(f, ": {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_as_it_was_written() {
        let entry = |text: &str| text.parse::<Entry>().unwrap();
        for (said, shown, opposite) in [
            (Decided::Accept(7), "accept held:7", "reject"),
            (Decided::Reject(7), "reject held:7", "accept"),
            (Decided::Allow(entry("a")), "allow slug:a", "block"),
            (Decided::Block(entry("a.example")), "block host:a.example", "allow"),
            (Decided::Block(entry("https://a.example/B")), "block https://a.example/B", "allow"),
            (Decided::Approve("a".into()), "approve slug:a", "delist"),
            (Decided::Delist("a.b".into()), "delist slug:a.b", "approve"),
            (Decided::Trust("anna".into()), "trust peer:anna", "suspend"),
            (Decided::Suspend("anna".into()), "suspend peer:anna", "trust"),
        ] {
            assert_eq!((&*said.to_string(), said.opposite()), (shown, opposite));
            assert_eq!(Decided::read(said.word(), &said.subject()), Some(said.clone()));
            assert_eq!(said.opposite_of_opposite(), said.word());
        }
        for (word, subject) in [
            ("accept", "7"),
            ("accept", "held:x"),
            ("delist", "host:a.example"),
            ("block", "a b"),
            ("banish", "slug:a"),
        ] {
            assert_eq!(Decided::read(word, subject), None, "{word} {subject}");
        }
    }

    impl Decided {
        fn opposite_of_opposite(&self) -> &'static str {
            Self::read(self.opposite(), &self.subject()).unwrap().opposite()
        }
    }
}
