//! Whose fault a failed lease is. One peer alone can't tell its own network from the source, so what it
//! met counts against the source only once a second peer met a failure there, too: one of another
//! network, where there is one to ask. Until then the source goes to another peer first, and at once.
//! Functions of values and a moment; the store keeps, of each source, who met what since its last
//! contact.
//!
//! | what a peer met | who else | whose fault |
//! | --- | --- | --- |
//! | its own trouble (no memory, no database) | — | the peer's |
//! | anything, and it failed at several other operators in a row | — | the peer's |
//! | anything else | one of another network failed there | the source's |
//! | | somebody of another network could look | open: that one is to |
//! | | one of the same network failed there | the source's |
//! | | somebody of the same network could look | open |
//! | | nobody, and its last lease elsewhere went well, or no network makes it so | the source's |
//! | | nobody, and it didn't | the peer's |

use crate::rules::record::{Record, Went};
use crate::rules::schedule::{MINUTE, PollSchedule};
use crate::rules::text::in_words;
use crate::rules::timestamp::Timestamp;
use canister_protocol::message::FailureKind;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Of how many peers it is remembered what they met at one source: the last ones.
pub const WITNESSES_MAX: usize = 8;
/// How long a source is left to those who failed there before.
const YIELDED: Duration = Duration::from_secs(5);

/// What a failure says of its source; it is stored in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// What its files hold is no repository.
    Content,
    /// Nothing: the peer didn't do it.
    Nothing,
    /// It wasn't reached, or didn't answer as it should.
    Way,
}

impl From<FailureKind> for Met {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Peer => Self::Nothing,
            kind if kind.is_of_content() => Self::Content,
            _ => Self::Way,
        }
    }
}

/// What one peer met at a source since its last contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    pub peer: String,
    /// Where it was: see [`network`].
    pub network: String,
    pub met: Met,
    /// When it last did.
    pub at: Timestamp,
    /// How often it did.
    pub times: u32,
}

/// What peers met at a source since its last contact, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnesses(Vec<Witness>);

/// A peer that may be asked, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPlace {
    pub peer: String,
    pub network: String,
}

/// Who has to do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody knows yet: another peer is to look.
    Open,
    Peer,
    Source,
}

in_words! { Fault, word: Open = "open", Peer = "peer", Source = "source" }

/// Where a peer with this address is: the /24 of IPv4 or the /48 of IPv6 that one provider, mostly, runs;
/// empty where the address is none.
pub fn network(address: &str) -> String {
    let ip = address.parse::<SocketAddr>().map(|it| it.ip()).or_else(|_| address.parse());
    match ip.map(|ip: IpAddr| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
        Err(_) => String::new(),
    }
}

impl Witnesses {
    /// Whether so few were asked that another is to look at once: a source that makes peers fail isn't
    /// handed round.
    pub const fn are_few(&self) -> bool {
        self.0.len() < 2
    }

    /// Whether nobody met anything.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nobody who is believed met anything.
    pub fn are_silent(&self) -> bool {
        self.said().next().is_none()
    }

    /// Those who failed there, by what they say of the source.
    fn said(&self) -> impl Iterator<Item = &Witness> {
        self.0.iter().filter(|witness| witness.met != Met::Nothing)
    }

    /// What it says of the peer `by` that it met `kind` at a source of `operator`; nothing, where others
    /// failed there, too, where it was known that it `fails`, or where it is said of its files.
    pub fn went(&self, by: &PeerPlace, operator: &str, kind: FailureKind, fails: bool) -> Went {
        match kind {
            FailureKind::Peer => Went::Lost,
            FailureKind::Owner => Went::Silent,
            _ if fails || kind.is_of_its_files() => Went::Silent,
            _ if self.said().any(|witness| witness.peer != by.peer) => Went::Silent,
            _ => Went::Unreached(operator.to_owned()),
        }
    }

    /// How often it failed in all, whoever was at fault.
    pub fn times(&self) -> u32 {
        self.said().fold(0, |sum, witness| sum.saturating_add(witness.times))
    }

    /// Whether what its files hold was found wrong by everybody who was needed to count its failure: by
    /// two peers, or by the only one there is.
    pub fn blame_content(&self) -> bool {
        let least = self.said().count().clamp(1, 2);
        self.said().filter(|witness| witness.met == Met::Content).count() >= least
    }

    /// Remembers what a peer met `now`.
    pub fn note(&mut self, by: &PeerPlace, met: Met, now: Timestamp) {
        let before = self.0.iter().position(|witness| witness.peer == by.peer);
        let before = before.map(|at| self.0.remove(at));
        // That it didn't do it once takes back nothing of what it met before.
        let (met, times) = match before {
            Some(before) if met == Met::Nothing => (before.met, before.times),
            Some(before) => (met, before.times.saturating_add(1)),
            None => (met, 1),
        };
        let PeerPlace { peer, network } = by.clone();
        self.0.push(Witness { peer, network, met, at: now, times });
        let more = self.0.len().saturating_sub(WITNESSES_MAX);
        self.0.drain(..more);
    }

    /// Who is at fault where the peer `by`, whose record was this, met `kind` at a source of `operator`.
    /// `others` are those who could look now.
    pub fn fault(
        &self,
        by: &PeerPlace,
        record: &Record,
        operator: &str,
        kind: FailureKind,
        others: &[PeerPlace],
    ) -> Fault {
        if kind == FailureKind::Peer || record.is_doubted_beside(operator) {
            return Fault::Peer;
        }
        let is_witness = |peer: &str| self.said().any(|witness| witness.peer == peer);
        let met: Vec<&str> = (self.said().filter(|witness| witness.peer != by.peer))
            .map(|witness| &*witness.network)
            .collect();
        let free: Vec<&str> =
            (others.iter().filter(|other| other.peer != by.peer && !is_witness(&other.peer)))
                .map(|other| &*other.network)
                .collect();
        let is_elsewhere = |network: &&&str| **network != by.network;
        if met.iter().any(|network| is_elsewhere(&network)) {
            Fault::Source
        } else if free.iter().any(|network| is_elsewhere(&network)) {
            Fault::Open
        } else if !met.is_empty() {
            Fault::Source
        } else if !free.is_empty() {
            Fault::Open
        } else if kind.is_of_its_files() || record.is_well_beside(operator) {
            Fault::Source
        } else {
            Fault::Peer
        }
    }

    /// Until when `peer` leaves a source to the `others` that could look now, where it is due at `due_at`.
    /// Whoever didn't fail there comes first, whoever failed last comes last, and nobody comes twice while
    /// it is open whose fault it is, but after the pauses of a failing source. Where there is nobody else
    /// nothing is waited for; a peer's record bounds what it gives back.
    pub fn kept_until(
        &self,
        peer: &str,
        due_at: Timestamp,
        schedule: &PollSchedule,
        others: &[PeerPlace],
    ) -> Option<Timestamp> {
        let witness = self.0.iter().find(|witness| witness.peer == peer)?;
        if others.is_empty() {
            return None;
        }
        let grace = schedule.retry_after.min(MINUTE);
        let is_new = |other: &PeerPlace| self.0.iter().all(|witness| witness.peer != other.peer);
        let after_others = match others.iter().any(is_new) {
            true => grace,
            false if self.said().last() == Some(witness) => grace.min(YIELDED),
            false => Duration::ZERO,
        };
        if witness.met == Met::Nothing {
            Some(witness.at.plus(grace))
        } else if due_at > witness.at {
            Some(due_at.plus(after_others))
        } else {
            Some(witness.at.plus(schedule.pause(witness.times.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn asked(peer: &str, network: &str) -> PeerPlace {
        PeerPlace { peer: peer.into(), network: network.into() }
    }

    /// `a@1` is the peer a in the network 1.
    fn all(text: &str) -> Vec<PeerPlace> {
        let both = text.split_whitespace().filter_map(|it| it.split_once('@'));
        both.map(|(peer, network)| asked(peer, network)).collect()
    }

    fn met(text: &str) -> Witnesses {
        let mut witnesses = Witnesses::default();
        for by in all(text) {
            let met = if by.peer.starts_with('-') { Met::Nothing } else { Met::Way };
            witnesses.note(&by, met, NOW);
        }
        witnesses
    }

    fn failed_at(operators: &str) -> Record {
        let mut record = Record::default();
        for operator in operators.split_whitespace() {
            record.after(&Went::Unreached(operator.into()), NOW, NOW);
        }
        record
    }

    #[test]
    fn whose_fault() {
        use FailureKind as Kind;
        use Fault::{Open, Peer, Source};
        let all_kinds = [
            Kind::Connect,
            Kind::Content,
            Kind::Cut,
            Kind::Limit,
            Kind::Mismatch,
            Kind::NoIndex,
            Kind::Resolve,
            Kind::Status,
            Kind::Timeout,
            Kind::Tls,
        ];
        // Of a@1, who asked a source of the operator o.
        for (failed_before, who_met, others, fault) in [
            // Alone, its word counts while it succeeds elsewhere.
            ("", "", "", Source),
            ("o", "", "", Source),
            ("x", "", "", Peer),
            ("x y", "", "", Peer),
            ("", "a@1", "", Source),
            ("x", "a@1", "", Peer),
            // Somebody else is there.
            ("", "", "b@1", Open),
            ("", "", "b@2", Open),
            ("x", "", "b@2", Open),
            ("", "a@1", "b@2", Open),
            ("", "a@1", "a@1 b@1", Open),
            // Who met it is of another network.
            ("", "b@2", "", Source),
            ("", "b@2", "b@2 c@3", Source),
            ("x", "b@2", "c@3", Source),
            ("", "a@1 b@2", "c@1", Source),
            // Of the same network: that is enough only where there is no other.
            ("", "b@1", "", Source),
            ("", "b@1", "b@1 c@1", Source),
            ("", "b@1", "c@2", Open),
            ("", "b@1 c@1", "c@1 d@2", Open),
            // One that was there itself, from elsewhere, is no second peer.
            ("", "a@2", "b@1", Open),
            // Who gave it back said nothing.
            ("", "-b@2", "", Source),
            ("", "-b@2", "c@2", Open),
            ("x", "-b@2", "", Peer),
            // One that fails everywhere is believed nothing, whoever agrees.
            ("x y", "b@2", "c@3", Peer),
            ("o x y", "", "b@2", Peer),
            ("o x", "b@2", "", Source),
            ("x y z", "b@2", "", Peer),
        ] {
            let (by, record) = (asked("a", "1"), failed_at(failed_before));
            let (witnesses, others) = (met(who_met), all(others));
            let of = |kind| witnesses.fault(&by, &record, "o", kind, &others);
            for kind in all_kinds {
                // Alone, it is believed what no network makes so.
                let is_alone = failed_before == "x" && others.is_empty() && fault == Peer;
                let fault = if is_alone && kind.is_of_its_files() { Source } else { fault };
                assert_eq!(of(kind), fault, "{failed_before:?} {who_met:?} {others:?} {kind:?}");
            }
            assert_eq!(of(Kind::Peer), Peer);
        }
    }

    #[test]
    fn only_what_two_found_in_the_files_is_said_of_the_files() {
        use Met::{Content, Nothing, Way};
        for (met, is) in [
            (&[Content][..], true),
            (&[Way], false),
            (&[Content, Way], false),
            (&[Content, Content], true),
            (&[Content, Content, Way], true),
            (&[Content, Nothing], true),
            (&[], false),
        ] {
            let mut witnesses = Witnesses::default();
            for (number, met) in met.iter().enumerate() {
                witnesses.note(&asked(&format!("p{number}"), "1"), *met, NOW);
            }
            assert_eq!(witnesses.blame_content(), is, "{met:?}");
        }
    }

    #[test]
    fn who_failed_leaves_it_to_others() {
        let schedule = PollSchedule::default();
        let (minute, quarter) = (MINUTE, Duration::from_secs(15 * 60));
        let mut witnesses = met("a@1");
        let kept = |witnesses: &Witnesses, peer: &str, due_at, others: &str| {
            witnesses.kept_until(peer, due_at, &schedule, &all(others))
        };
        assert_eq!(kept(&witnesses, "b", NOW, "a@1"), None);
        assert_eq!(kept(&witnesses, "a", NOW, ""), None);
        // It is open whose fault it is.
        assert_eq!(kept(&witnesses, "a", NOW, "b@1"), Some(NOW.plus(quarter)));
        // It is due anew.
        let later = NOW.plus(2 * quarter);
        assert_eq!(kept(&witnesses, "a", later, "b@1"), Some(later.plus(minute)));
        witnesses.note(&asked("b", "1"), Met::Way, later);
        let due = later.plus(quarter);
        assert_eq!(kept(&witnesses, "a", due, "b@1"), Some(due));
        assert_eq!(kept(&witnesses, "b", due, "a@1"), Some(due.plus(YIELDED)));
        assert_eq!(kept(&witnesses, "b", due, "a@1 c@1"), Some(due.plus(minute)));
        witnesses.note(&asked("a", "1"), Met::Way, due);
        assert_eq!(kept(&witnesses, "a", due, "b@1"), Some(due.plus(2 * quarter)));
        witnesses.note(&asked("c", "1"), Met::Nothing, due);
        assert_eq!(kept(&witnesses, "c", NOW, "a@1"), Some(due.plus(minute)));
        assert_eq!(kept(&witnesses, "c", NOW, ""), None);
        // What it met before still counts.
        witnesses.note(&asked("b", "1"), Met::Nothing, due);
        assert_eq!(witnesses.times(), 3);
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut witnesses = Witnesses::default();
        for number in 0..20 {
            witnesses.note(&asked(&format!("p{number}"), "1"), Met::Way, NOW);
        }
        assert_eq!((witnesses.0.len(), &*witnesses.0[0].peer), (WITNESSES_MAX, "p12"));
    }

    #[test]
    fn a_network_is_what_one_provider_runs() {
        for (address, is) in [
            ("192.0.2.77:51000", "192.0.2.0/24"),
            ("192.0.2.77", "192.0.2.0/24"),
            ("[::ffff:192.0.2.77]:1", "192.0.2.0/24"),
            ("[2001:db8:1:2::3]:443", "2001:db8:1::/48"),
            ("", ""),
            ("somewhere", ""),
        ] {
            assert_eq!(network(address), is, "{address}");
        }
    }
}
