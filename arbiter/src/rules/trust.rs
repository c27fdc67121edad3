//! Whom the network believes. No single peer is: what one published is read again by another, at
//! random and without memory, and where two differ a third decides. No store, no clock; chance is an
//! argument.
//!
//! A reading of an index is compared with the catalogue, which stands for the reading of whoever
//! published last:
//!
//! | head and digest of the index | commitment | comes to |
//! | --- | --- | --- |
//! | the same | the same | confirmed: both are credited |
//! | the same | another | disputed |
//! | the same head and path, another digest | any | disputed: one Release lists one digest for a path |
//! | others | any | elsewhere: the source changed, or somebody lied about its head; it is read anew |
//! | of another version of the row mapping | any | nothing |
//!
//! A third peer's reading decides a dispute: whoever agrees with nobody, while others agree, stands
//! alone and is suspended. Voices of one network count as one, unless all are of one.
//!
//! | a peer is | it gets | until |
//! | --- | --- | --- |
//! | first: it came while none was proven | all leases | ten audits of or by it were confirmed: proven |
//! | on probation: it came when others were | one audit at a time | ten of its audits were confirmed: proven |
//! | proven | all leases | it stands alone |
//! | suspended | nothing | the operator says `trust` |
//!
//! Two lies leave no two readings of one head to compare, and are found by what became of them: a head
//! that nobody else ever saw, between two sightings of another ([`is_inventor`]); and "unchanged" while
//! others find the changes ([`is_blind`]).

use crate::rules::families::{HostFamilies, may_reach};
use crate::rules::fault;
use crate::rules::text::in_words;
use crate::rules::timestamp::Timestamp;
use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::AUDIT_PACKAGES_MAX;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// Confirmed audits that prove a peer.
pub const PROVEN_AFTER: u64 = 10;
/// Changes that others found right after a peer was there, since it last found one itself, after which
/// it is blind: an honest one is as often the finder, so by chance it is one in 10⁹.
const MISSED_MAX: u64 = 30;
/// Publications of a peer that are looked at for heads that nobody else ever saw ...
pub const RECENT: usize = 20;
/// ... how many of them may be such ...
const INVENTED_MAX: usize = 5;
/// ... if they are of so many operators at least.
const INVENTED_OPERATORS: usize = 3;
/// Readings of one dispute, at most: then it waits for the operator.
pub const READINGS_MAX: usize = 6;
/// How long the peer that was drawn is waited for before another is.
const DRAWN_FOR: Duration = Duration::from_secs(10 * 60);

/// How much is audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditTerms {
    /// Each source at least once in this time.
    pub source: Duration,
    /// A publication of each peer at least once in this time.
    pub peer: Duration,
    /// Publications of each peer, in percent; with 0 none is audited for its own sake.
    pub share: u8,
}

impl Default for AuditTerms {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { source: 7 * DAY, peer: DAY, share: 2 }
    }
}

/// How far a peer is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerTrust {
    First,
    Probation,
    Proven,
    Suspended,
}

in_words! { PeerTrust, word:
    First = "first", Probation = "probation", Proven = "proven", Suspended = "suspended",
}

impl PeerTrust {
    /// Whether what it reads may be published.
    pub const fn publishes(self) -> bool {
        matches!(self, Self::First | Self::Proven)
    }

    /// The same once so many audits were confirmed.
    pub const fn after(self, confirmed: u64) -> Self {
        match self {
            Self::First | Self::Probation if confirmed >= PROVEN_AFTER => Self::Proven,
            other => other,
        }
    }
}

/// What a lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseKind {
    /// A second peer reads all of a source and publishes nothing.
    Audit,
    /// What changed of a source is read and published.
    Index,
    /// The same, of the whole source and without what is known of its files: after an audit that found
    /// something else.
    Reread,
}

in_words! { LeaseKind, word: Audit = "audit", Index = "index", Reread = "reread" }

impl fmt::Display for LeaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is remembered of a source for its audits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// What the next lease is for, where it isn't to index.
    pub wants: Option<LeaseKind>,
    /// By whom that is not to be done, and of which networks where it can be helped.
    pub not_by: Vec<String>,
    /// When it was last audited, or first published.
    pub checked_at: Option<Timestamp>,
    /// Who last said what its state is.
    pub vouched_by: Option<String>,
    /// The newest publication for which its index was read, by its lease: who made that answers for
    /// the rows, who made the newest of all for which index the head lists.
    pub rows_from: Option<u64>,
}

/// Who asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking<'a> {
    pub name: &'a str,
    pub trust: PeerTrust,
    /// Whether it can audit.
    pub audits: bool,
}

/// A peer that could audit now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auditor {
    pub name: String,
    /// Which families of addresses lead out of its home.
    pub reaches: AddressFamilies,
    /// See [`network`].
    pub network: String,
}

/// A due source, as far as it matters who gets it.
#[derive(Debug, Clone, Copy)]
pub struct DueCheck<'a> {
    pub slug: &'a str,
    pub checks: &'a Checks,
    /// Whether something of it was published and is remembered.
    pub is_published: bool,
    pub packages: u64,
    pub due_at: Timestamp,
    /// Which families of addresses its host has.
    pub families: Option<HostFamilies>,
}

/// What `peer` is granted of a due source `now`; `None` where it is another's.
pub fn lease_for(
    peer: &Asking<'_>,
    due: DueCheck<'_>,
    candidates: &[Auditor],
    seed: u64,
    now: Timestamp,
) -> Option<LeaseKind> {
    let Checks { wants, not_by, vouched_by, .. } = due.checks;
    let is_auditable = due.is_published && due.packages <= AUDIT_PACKAGES_MAX;
    let is_apart = |name: &str| not_by.iter().any(|not| not == name);
    match (peer.trust, wants) {
        (PeerTrust::Suspended, _) => None,
        (PeerTrust::Probation, None | Some(LeaseKind::Audit)) => {
            let is_own = vouched_by.as_deref() == Some(peer.name) || is_apart(peer.name);
            (peer.audits && is_auditable && !is_own).then_some(LeaseKind::Audit)
        }
        (PeerTrust::Probation, _) => None,
        (_, Some(kind)) if is_auditable => {
            let waited = now.since(due.due_at).as_secs() / DRAWN_FOR.as_secs();
            let there = candidates.iter().filter(|it| may_reach(it.reaches, due.families, None));
            match draw(there, not_by, (seed, due.slug, waited)) {
                Some(drawn) if drawn == peer.name => Some(*kind),
                Some(_) => None,
                // Nobody else is here: it is polled as ever.
                None => Some(LeaseKind::Index),
            }
        }
        _ => Some(LeaseKind::Index),
    }
}

/// The candidate whose turn `what` is, as chance has it: none of `not_by`, and of none of their
/// networks where there is such a one.
fn draw<'a>(
    candidates: impl Iterator<Item = &'a Auditor>,
    not_by: &[String],
    (seed, slug, round): (u64, &str, u64),
) -> Option<&'a str> {
    let others = candidates.filter(|it| !not_by.contains(&it.name));
    let drawn = others.min_by_key(|it| {
        (not_by.contains(&it.network), chance(seed, &[slug, &round.to_string(), &it.name]))
    });
    drawn.map(|drawn| &*drawn.name)
}

/// A number that follows from `seed` and `what`, and that nobody can foretell without the seed.
fn chance(seed: u64, what: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    for part in what {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A lease that ended by contact, as far as audits are concerned.
#[derive(Debug, Clone, Copy)]
pub struct AuditedContact<'a> {
    pub slug: &'a str,
    /// The publication that it made.
    pub publication: Option<u64>,
    /// When an audit of the peer's publications was last asked for.
    pub asked_at: Option<Timestamp>,
    /// When the source was last audited, or first published.
    pub checked_at: Option<Timestamp>,
}

/// Whether the next poll is to be an audit.
pub fn wants_audit(
    contact: AuditedContact<'_>,
    terms: &AuditTerms,
    seed: u64,
    now: Timestamp,
) -> bool {
    let AuditedContact { slug, publication, asked_at, checked_at } = contact;
    let is_drawn = publication.is_some_and(|number| {
        chance(seed, &["share", &number.to_string()]) % 100 < terms.share.into()
    });
    let is_peers_turn = terms.share > 0
        && publication.is_some()
        && asked_at.is_none_or(|asked| now.since(asked) >= terms.peer);
    // Each source at its own moment of the second half, so that they don't come all at once.
    let is_sources_turn = checked_at.is_some_and(|checked| {
        let own = chance(seed, &["source", slug, &checked.millis().to_string()]) % 1000;
        let spread = terms.source.mul_f64(own as f64 / 2000.0);
        now.since(checked) >= terms.source.saturating_sub(spread)
    });
    is_drawn || is_peers_turn || is_sources_turn
}

/// What a peer read, or the catalogue has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReading {
    pub peer: String,
    /// See [`network`].
    pub network: String,
    /// The version of its row mapping; none where it wasn't told.
    #[serde(skip)]
    pub mapping: Option<u32>,
    pub head: String,
    pub index_path: String,
    pub index_digest: String,
    pub commitment: String,
}

/// What two readings come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// They can't be compared.
    Apart,
    Confirmed,
    Disputed,
    /// They are of different states of the source.
    Elsewhere,
}

in_words! { Comparison, word:
    Apart = "apart", Confirmed = "confirmed", Disputed = "disputed", Elsewhere = "elsewhere",
}

/// Compares a second reading with a first.
pub fn compare(first: &PeerReading, second: &PeerReading) -> Comparison {
    if first.mapping.is_none() || first.mapping != second.mapping {
        return Comparison::Apart;
    }
    let is_head = first.head == second.head;
    let is_digest = first.index_digest == second.index_digest;
    match (is_digest, first.commitment == second.commitment) {
        (true, true) if is_head => Comparison::Confirmed,
        (true, true) => Comparison::Elsewhere,
        (true, false) => Comparison::Disputed,
        (false, _) if is_head && is_same_file(first, second) => Comparison::Disputed,
        (false, _) => Comparison::Elsewhere,
    }
}

/// Whether Release can list one digest of one kind only for what both read.
fn is_same_file(first: &PeerReading, second: &PeerReading) -> bool {
    let kind = |reading: &PeerReading| reading.index_digest.split(':').next().map(str::to_owned);
    first.index_path == second.index_path && kind(first) == kind(second)
}

/// What the readings of a dispute come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Two agree: those that differ from them, by their places.
    Alone(Vec<usize>),
    /// The newest reading is of another state: nobody can say any more.
    Void,
    /// One more has to read.
    Undecided,
}

/// Decides by the readings of a dispute, in their order.
pub fn rule(readings: &[PeerReading]) -> Ruling {
    let Some((newest, others)) = readings.split_last() else {
        return Ruling::Undecided;
    };
    let is_of_this = |other: &PeerReading| {
        matches!(compare(other, newest), Comparison::Confirmed | Comparison::Disputed)
            || other.index_digest == newest.index_digest
    };
    if !others.iter().any(is_of_this) {
        return Ruling::Void;
    }
    let agree = |one: &PeerReading, other: &PeerReading| {
        one.index_digest == other.index_digest && one.commitment == other.commitment
    };
    let networks: HashSet<&str> = readings.iter().map(|it| &*it.network).collect();
    // How many say the same as each; what one network says is said once, unless there is but one.
    let voices = |of: &PeerReading| {
        let same = readings.iter().filter(|it| agree(it, of));
        match networks.len() {
            1 => same.count(),
            _ => same.map(|it| &*it.network).collect::<HashSet<_>>().len(),
        }
    };
    let most = readings.iter().max_by_key(|of| voices(of)).filter(|of| voices(of) >= 2);
    let Some(most) = most else { return Ruling::Undecided };
    let others = || readings.iter().enumerate().filter(|(_, it)| !agree(it, most));
    if others().any(|(_, it)| voices(it) >= voices(most)) {
        return Ruling::Undecided;
    }
    Ruling::Alone(others().map(|(place, _)| place).collect())
}

/// Whether a peer says "unchanged" whatever there is: so many changes were found by others right after
/// it was there, since it last found one itself. What was announced doesn't count.
pub const fn is_blind(missed: u64) -> bool {
    missed >= MISSED_MAX
}

/// Whether a peer invents heads: of its [`RECENT`] last publications, those whose head nobody else
/// ever saw and that others took back to the one before, by the operator of the source.
pub fn is_inventor(invented: &[String]) -> bool {
    let operators: HashSet<&String> = invented.iter().collect();
    invented.len() >= INVENTED_MAX && operators.len() >= INVENTED_OPERATORS
}

/// The [network](fault::network) of an address; where that is none, what stands there.
pub fn network(address: &str) -> String {
    Some(fault::network(address)).filter(|it| !it.is_empty()).unwrap_or_else(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// `peer network mapping head path digest commitment`
    fn reading(text: &str) -> PeerReading {
        let part: Vec<&str> = text.split(' ').collect();
        PeerReading {
            peer: part[0].into(),
            network: part[1].into(),
            mapping: part[2].parse().ok(),
            head: part[3].into(),
            index_path: part[4].into(),
            index_digest: part[5].into(),
            commitment: part[6].into(),
        }
    }

    #[test]
    fn two_readings_are_compared() {
        let first = reading("a 1 1 H P.xz sha256:x C");
        for (second, comparison) in [
            ("b 2 1 H P.xz sha256:x C", Comparison::Confirmed),
            ("b 2 1 H P.gz sha256:x C", Comparison::Confirmed),
            ("b 2 1 H P.xz sha256:x D", Comparison::Disputed),
            ("b 2 1 H P.xz sha256:y C", Comparison::Disputed),
            ("b 2 1 H P.xz sha256:y D", Comparison::Disputed),
            // Release may list these two side by side.
            ("b 2 1 H P.xz sha512:y D", Comparison::Elsewhere),
            ("b 2 1 H P.gz sha256:y D", Comparison::Elsewhere),
            ("b 2 1 I P.xz sha256:y D", Comparison::Elsewhere),
            // Only Release has changed, or was invented.
            ("b 2 1 I P.xz sha256:x C", Comparison::Elsewhere),
            ("b 2 1 I P.xz sha256:x D", Comparison::Disputed),
            ("b 2 2 H P.xz sha256:x C", Comparison::Apart),
            ("b 2 - H P.xz sha256:x D", Comparison::Apart),
        ] {
            assert_eq!(compare(&first, &reading(second)), comparison, "{second}");
        }
        let unknown = reading("a 1 - H P sha256:x C");
        assert_eq!(compare(&unknown, &unknown), Comparison::Apart);
    }

    #[test]
    fn of_three_readings_two_decide() {
        let is = |network: &str, digest: &str, commitment: &str| {
            reading(&format!("p {network} 1 H P sha256:{digest} {commitment}"))
        };
        for (readings, ruling) in [
            (vec![], Ruling::Undecided),
            (vec![is("1", "x", "C"), is("2", "x", "D")], Ruling::Undecided),
            (vec![is("1", "x", "C"), is("2", "x", "D"), is("3", "x", "D")], Ruling::Alone(vec![0])),
            (vec![is("1", "x", "C"), is("2", "x", "D"), is("3", "x", "C")], Ruling::Alone(vec![1])),
            // A false digest over true rows.
            (vec![is("1", "y", "C"), is("2", "x", "C"), is("3", "x", "C")], Ruling::Alone(vec![0])),
            (vec![is("1", "x", "C"), is("2", "x", "D"), is("3", "x", "E")], Ruling::Undecided),
            (
                vec![is("1", "x", "C"), is("2", "x", "D"), is("3", "x", "E"), is("4", "x", "D")],
                Ruling::Alone(vec![0, 2]),
            ),
            // Two of one network are one voice ...
            (vec![is("1", "x", "C"), is("2", "x", "D"), is("1", "x", "C")], Ruling::Undecided),
            (
                vec![is("1", "x", "C"), is("2", "x", "D"), is("1", "x", "C"), is("3", "x", "D")],
                Ruling::Alone(vec![0, 2]),
            ),
            // ... unless there is but one.
            (vec![is("1", "x", "C"), is("1", "x", "D"), is("1", "x", "D")], Ruling::Alone(vec![0])),
            // Two against two.
            (
                vec![is("1", "x", "C"), is("2", "x", "D"), is("3", "x", "C"), is("4", "x", "D")],
                Ruling::Undecided,
            ),
        ] {
            assert_eq!(rule(&readings), ruling, "{readings:?}");
        }
        let moved = reading("p 3 1 I Q sha256:z D");
        assert_eq!(rule(&[is("1", "x", "C"), is("2", "x", "D"), moved]), Ruling::Void);
    }

    fn checks(wants: Option<LeaseKind>, not_by: &[&str]) -> Checks {
        let not_by = not_by.iter().map(|&it| it.to_owned()).collect();
        Checks { wants, not_by, vouched_by: Some("anna".into()), ..Checks::default() }
    }

    fn lease(
        peer: (&str, PeerTrust),
        checks: &Checks,
        candidates: &[Auditor],
    ) -> Option<LeaseKind> {
        let peer = Asking { name: peer.0, trust: peer.1, audits: true };
        let due = DueCheck {
            slug: "s",
            checks,
            is_published: true,
            packages: 9,
            due_at: NOW,
            families: None,
        };
        lease_for(&peer, due, candidates, 7, NOW)
    }

    fn candidates(all: &[(&str, &str)]) -> Vec<Auditor> {
        let candidate = |&(name, network): &(&str, &str)| Auditor {
            name: name.into(),
            reaches: AddressFamilies::BOTH,
            network: network.into(),
        };
        all.iter().map(candidate).collect()
    }

    #[test]
    fn a_lease_is_for_what_the_source_wants_and_the_peer_may() {
        use LeaseKind::{Audit, Index, Reread};
        use PeerTrust::{First, Probation, Proven, Suspended};
        let two = candidates(&[("anna", "1"), ("ben", "2")]);
        let (none, audit) = (checks(None, &[]), checks(Some(Audit), &["anna", "1"]));
        let reread = checks(Some(Reread), &["anna", "1"]);
        for (peer, checks, kind) in [
            (("ben", First), &none, Some(Index)),
            (("ben", Proven), &none, Some(Index)),
            (("ben", Suspended), &none, None),
            (("ben", Probation), &none, Some(Audit)),
            (("anna", Probation), &none, None),
            (("ben", Proven), &audit, Some(Audit)),
            (("anna", Proven), &audit, None),
            (("new", Probation), &audit, Some(Audit)),
            (("anna", Probation), &audit, None),
            (("ben", First), &reread, Some(Reread)),
            (("new", Probation), &reread, None),
            (("ben", Suspended), &audit, None),
        ] {
            assert_eq!(lease(peer, checks, &two), kind, "{peer:?} {checks:?}");
        }
        // Nobody but anna is here: she polls it.
        let alone = candidates(&[("anna", "1")]);
        assert_eq!(lease(("anna", Proven), &audit, &alone), Some(Index));
        assert_eq!(lease(("anna", Proven), &reread, &[]), Some(Index));
        // Nobody is drawn who can't reach it.
        let mut far = candidates(&[("anna", "1"), ("ben", "2")]);
        far[1].reaches = AddressFamilies { v4: false, v6: true };
        let due = DueCheck {
            slug: "s",
            checks: &audit,
            is_published: true,
            packages: 9,
            due_at: NOW,
            families: Some(HostFamilies::V4),
        };
        let anna = Asking { name: "anna", trust: Proven, audits: true };
        assert_eq!(lease_for(&anna, due, &far, 7, NOW), Some(Index));
    }

    #[test]
    fn who_audits_is_drawn_of_another_network_where_there_is_one() {
        let all = candidates(&[("anna", "1"), ("liar", "1"), ("ben", "2"), ("carl", "3")]);
        let not_by = ["anna".to_owned(), "1".to_owned()];
        let mut drawn = HashSet::new();
        for seed in 0..100 {
            drawn.insert(draw(all.iter(), &not_by, (seed, "s", 0)).unwrap());
        }
        assert_eq!(drawn, ["ben", "carl"].into());
        // Whoever was drawn and doesn't come isn't waited for for ever.
        let rounds: HashSet<_> =
            (0..9).map(|round| draw(all.iter(), &not_by, (1, "s", round))).collect();
        assert_eq!(rounds.len(), 2);
        let near = candidates(&[("anna", "1"), ("liar", "1")]);
        assert_eq!(draw(near.iter(), &not_by, (1, "s", 0)), Some("liar"));
        assert_eq!(draw(near[..1].iter(), &not_by, (1, "s", 0)), None);
    }

    #[test]
    fn audits_are_wanted_by_share_by_peer_and_by_source() {
        let terms = AuditTerms::default();
        let day = terms.peer;
        let wants = |publication, asked: Option<Duration>, checked: Option<Duration>| {
            let ago = |time: Option<Duration>| time.map(|time| NOW.minus(time));
            let contact = AuditedContact {
                slug: "s",
                publication,
                asked_at: ago(asked),
                checked_at: ago(checked),
            };
            wants_audit(contact, &terms, 7, NOW)
        };
        let recently = Some(Duration::ZERO);
        let drawn = (0..10_000).filter(|&number| wants(Some(number), recently, recently)).count();
        assert!((150..250).contains(&drawn), "{drawn}");
        let undrawn = (0..99).find(|&number| !wants(Some(number), recently, recently));
        assert!(wants(undrawn, None, recently) && wants(undrawn, Some(day), recently));
        assert!(!wants(undrawn, Some(day / 2), recently));
        // What didn't change is audited by its own time alone.
        assert!(!wants(None, None, None) && !wants(None, None, Some(3 * day)));
        assert!(wants(None, recently, Some(7 * day)));
        let never = AuditTerms { share: 0, ..terms };
        let contact =
            AuditedContact { slug: "s", publication: Some(1), asked_at: None, checked_at: None };
        assert!((0..999).all(|seed| !wants_audit(contact, &never, seed, NOW)));
    }

    #[test]
    fn ten_confirmed_audits_prove_a_peer() {
        for (trust, confirmed, after) in [
            (PeerTrust::Probation, 9, PeerTrust::Probation),
            (PeerTrust::Probation, 10, PeerTrust::Proven),
            (PeerTrust::First, 10, PeerTrust::Proven),
            (PeerTrust::Suspended, 99, PeerTrust::Suspended),
        ] {
            assert_eq!(trust.after(confirmed), after);
        }
    }

    #[test]
    fn lies_without_a_second_reading_are_known_by_what_became_of_them() {
        assert!(!is_blind(29) && is_blind(30));
        let of = |operators: &[&str]| {
            is_inventor(&operators.iter().map(|&it| it.into()).collect::<Vec<_>>())
        };
        assert!(of(&["a", "b", "c", "a", "b"]));
        assert!(!of(&["a", "b", "c", "a"]) && !of(&["a", "b", "a", "b", "a"]));
    }
}
