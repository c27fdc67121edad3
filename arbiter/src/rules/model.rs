//! What is remembered of sources, leases and peers, as values: what goes into the store's verbs and
//! comes out of them, and the limits they keep.

use crate::rules::announcer::KeyId;
use crate::rules::brake::Brake;
use crate::rules::entry::GivenFor;
use crate::rules::families::HostFamilies;
use crate::rules::fault::Witnesses;
use crate::rules::feed::FeedCursor;
use crate::rules::owner::OwnerWord;
use crate::rules::politeness::{self, Distance, Operator, Politeness};
use crate::rules::publisher::GivenPublisher;
use crate::rules::record::Record;
use crate::rules::schedule::{Ended, Failing, PollSchedule, Polls, SourceClock, Standing};
use crate::rules::signatures::{GivenKey, SourceSignature};
use crate::rules::sources::Known;
use crate::rules::text::in_words;
use crate::rules::timestamp::Timestamp;
use crate::rules::traffic::Traffic;
use crate::rules::trust::{AuditTerms, Checks, Comparison, LeaseKind, PeerReading, PeerTrust};
use canister_protocol::address::AddressFamilies;
use canister_protocol::message::{FailureKind, Origin, Paths, Probed};
use canister_protocol::publisher::NamedPublisher;
use canister_protocol::{Source, Veto};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// Most rows that may be staged under one lease: what an index of 1 GB plain could hold at most,
/// at 256 bytes a stanza.
pub const STAGED_ROWS_MAX: u64 = 4_000_000;

/// Most bytes in the texts of all rows staged under one lease: an index of 1 GB plain, twice.
pub const STAGED_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Most prices that are kept of one source.
pub const PRICES_KEPT_MAX: u64 = 100_000;

/// How many attempts are kept of each source.
pub const ATTEMPTS_KEPT: u32 = 50;

/// Most discovered sources that wait for a look or for the operator.
pub const DISCOVERIES_UNDECIDED_MAX: u64 = 100;

/// Most of them that one announcer made known.
pub const DISCOVERIES_PER_ANNOUNCER_MAX: u64 = 5;

/// Most that were no repository, of one announcer, until those are forgotten ...
pub const REFUSED_PER_ANNOUNCER_MAX: u64 = 20;
/// ... and of all.
pub const REFUSED_MAX: u64 = 10_000;

/// Most places of one domain that were announced and aren't approved: whoever announces many of them has
/// one server asked for each.
pub const LOOKS_PER_DOMAIN_MAX: u64 = 4;

/// Attempts after which a discovery that nobody could read is forgotten, until it is announced again.
pub const LOOKS_MAX: u32 = 10;

/// Most applicants of one network that wait for the operator.
pub const APPLICANTS_PER_NETWORK_MAX: u64 = 8;

/// How long an applicant is remembered after it last asked, or was answered.
pub const APPLICANT_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long it is remembered that an announced source is no APT repository.
pub const REFUSED_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How far a source has come that an announcement made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is to be looked at once, and then to wait for the operator.
    Look,
    /// It is to be looked at once, and then to be shown: the operator trusts announcements.
    Trust,
    /// It is an APT repository and waits for the operator, hidden and not polled.
    Found,
    /// It is a source like any other.
    Approved,
    /// It is no APT repository.
    Refused,
}

in_words! { Stage, word:
    Look = "look", Trust = "trust", Found = "found", Approved = "approved", Refused = "refused",
}

impl Stage {
    /// Whether a source of this stage is polled.
    pub const fn is_polled(self) -> bool {
        matches!(self, Self::Look | Self::Trust | Self::Approved)
    }

    /// Whether nobody has looked at it yet.
    pub const fn is_unseen(self) -> bool {
        matches!(self, Self::Look | Self::Trust)
    }
}

/// What became of a discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovered {
    /// It is a source now, of this slug.
    As(String),
    /// Too many wait already.
    Full,
}

/// An arbiter that wasn't heard of for this long is gone.
pub const SILENT_MAX: Duration = Duration::from_secs(40);

/// What the verbs keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How long a lease lives after its grant or renewal.
    pub lease: Duration,
    /// How long it lives at most, however it is renewed.
    pub lease_longest: Duration,
    /// How servers are treated.
    pub politeness: Politeness,
    /// When sources are asked.
    pub polls: Polls,
    /// What may be hidden without asking.
    pub brake: Brake,
    /// How much is audited.
    pub audits: AuditTerms,
    /// What volunteers may fetch.
    pub traffic: Traffic,
    /// By which keys sources are to be signed.
    pub signers: GivenFor<GivenKey>,
    /// Which publishers are asked before sources are.
    pub publishers: GivenFor<GivenPublisher>,
    /// Peers that follow another network: while one is here and well, sources are polled by it alone.
    pub followers: Vec<String>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            // Peers renew at a third of it, so a lease survives two lost renewals.
            lease: Duration::from_secs(60),
            // An agent gives up after 40 minutes.
            lease_longest: Duration::from_secs(45 * 60),
            politeness: Politeness::default(),
            polls: Polls::default(),
            brake: Brake::default(),
            audits: AuditTerms::default(),
            traffic: Traffic::default(),
            followers: Vec::new(),
            signers: GivenFor::default(),
            publishers: GivenFor::default(),
        }
    }
}

/// A server's operator or one of its domains, and what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// What the operator is called: the first of its domains.
    pub name: String,
    /// One of its domains.
    pub domain: String,
    /// Polled sources of that domain.
    pub sources: u64,
    /// Leases and pauses, of the operator as a whole.
    pub operator: Operator,
    /// Refusals, of the domain.
    pub distance: Distance,
}

/// A change that the brake holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldChange {
    /// What the operator calls it by; 0 before it is held.
    pub number: u64,
    /// What would make it.
    pub kind: HeldKind,
    /// The source, where it is of one.
    pub slug: Option<String>,
    /// Names what would change; see [`fingerprint`](crate::rules::changes::fingerprint).
    pub fingerprint: String,
    /// Why it is held.
    pub why: String,
    pub held_at: Timestamp,
}

/// What would make a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldKind {
    /// The policy, the poll schedules or a block list.
    Policy,
    /// A source whose index lost packages, or that would be hidden because it fails.
    Source,
    SourceList,
}

in_words! { HeldKind, word: Policy = "policy", Source = "source", SourceList = "source list" }

/// A granted lease: all that the peer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names the lease; higher than every token before it.
    pub token: u64,
    pub kind: LeaseKind,
    pub source: Source,
    /// When it was due.
    pub due_at: Timestamp,
    /// What the last publication of the source came from.
    pub origin: Option<Origin>,
    /// Where its files were, where that is all that is told of them.
    pub paths: Option<Paths>,
    /// What else is remembered of it.
    pub probed: Option<Probed>,
    /// Where it isn't to be looked at as a whole: at which path.
    pub retry: Option<u32>,
    /// When it ends unless it is renewed.
    pub expires_at: Timestamp,
    /// What may be fetched under it, in bytes.
    pub bytes_max: u64,
    /// Who runs its server.
    pub operator: String,
    /// Whether it is only looked if there is a repository.
    pub is_look: bool,
    /// Whether its host is asked for what its owner says; none where that isn't heeded.
    pub owner: Option<bool>,
    /// Who is asked for its head before the source is.
    pub publisher: Option<NamedPublisher>,
    /// What its requests say they are made by: see [`AskedLease`].
    pub request: String,
}

/// A lease, as whoever was asked under it may know it: no peer, no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedLease {
    pub source: String,
    /// Who runs the server, as far as the network knows: its domain, or those that share an address.
    pub operator: String,
    pub uri: String,
    /// When it was granted; all its requests came after that ...
    pub began_at: Timestamp,
    /// ... and before this, if it is over.
    pub ended_at: Option<Timestamp>,
    /// How many they were, once it is over.
    pub requests: Option<u64>,
}

/// A lease, as far as others than its holder need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub token: u64,
    pub slug: String,
    pub peer: String,
    pub kind: LeaseKind,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When it ends unless it is renewed.
    pub expires_at: Timestamp,
}

/// A peer's word that it still has a lease in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub token: u64,
    pub peer: String,
    /// When the arbiter heard it.
    pub at: Timestamp,
    /// Whether the lease's Finish has arrived: then it lives until that is answered.
    pub is_finishing: bool,
}

/// What became of the leases when the arbiter looked at the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    pub ended: Vec<Lease>,
    /// Renewals of leases that are over, or were never that peer's.
    pub gone: Vec<Renewal>,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The source was read for an audit.
    Audited,
    /// It wasn't renewed in time.
    Expired,
    /// The peer wouldn't do it.
    GivenBack,
    /// The source was read and verified, and publishing it waits for the operator.
    Held,
    /// The source was read, verified and published.
    Indexed,
    PeerFailed,
    /// The arbiter took it away.
    Revoked,
    /// The source's server sent the peer away.
    SentAway,
    SourceFailed,
    /// The source is as it was.
    Unchanged,
}

in_words! { Verdict, words:
    Audited = "audited",
    Expired = "expired", GivenBack = "given back", Held = "held", Indexed = "indexed",
    PeerFailed = "peer failed", Revoked = "revoked", SentAway = "sent away",
    SourceFailed = "source failed", Unchanged = "unchanged",
}

impl Verdict {
    /// What it says of its source.
    pub const fn ended(self) -> Ended {
        match self {
            Self::Audited | Self::Held | Self::Indexed | Self::Unchanged => Ended::Contact,
            Self::SourceFailed => Ended::SourceFailed,
            Self::SentAway => Ended::Refused,
            Self::Expired | Self::GivenBack | Self::Revoked => Ended::Open,
            Self::PeerFailed => Ended::PeerFailed,
        }
    }

    /// Whether the head was learned.
    pub const fn is_contact(self) -> bool {
        matches!(self, Self::Held | Self::Indexed | Self::Unchanged)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What a finish did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub slug: String,
    /// How the lease ended.
    pub verdict: Verdict,
    /// Why it failed.
    pub reason: Option<FailureKind>,
    /// Where it served an announcement: how long after that it was granted, and ended.
    pub announced: Option<(Duration, Duration)>,
    /// Catalogue rows that are new or changed.
    pub put: u64,
    /// Catalogue rows that left.
    pub left: u64,
    /// Packages of the source that the catalogue has now.
    pub packages: u64,
    /// When the source is due again.
    pub due_at: Timestamp,
    /// How it stood, and stands now.
    pub stands: (Standing, Standing),
    /// What an audit, or the reading that decided a dispute, came to.
    pub comparison: Option<Comparison>,
    /// Peers that were suspended by it, and why.
    pub suspended: Vec<(String, String)>,
    /// Peers that proved themselves by it.
    pub proven: Vec<String>,
    /// Leases that ended by the suspensions.
    pub ended: Vec<Lease>,
}

/// A source and what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    pub source: Source,
    /// Who runs its server.
    pub operator: String,
    /// Its host's [domain](crate::rules::politeness::domain).
    pub domain: String,
    /// Which families of addresses its host has; `None` where it wasn't looked up yet.
    pub families: Option<HostFamilies>,
    /// Whether it is polled: the source list names it, or it was discovered.
    pub is_listed: bool,
    /// The rule that blocks it, in words.
    pub blocked: Option<String>,
    /// The decision that delists it, in words.
    pub delisted: Option<String>,
    /// How it stands: as failing or that decision makes it.
    pub standing: Standing,
    /// The first and the last attempt that failed by its fault since its last contact.
    pub failed: Option<(Timestamp, Timestamp)>,
    /// When it is or was due.
    pub due_at: Timestamp,
    /// Whether it is due because somebody announced a new head.
    pub is_announced: bool,
    /// The Cid that was last announced of it; none where that led to a failure, or had none.
    pub announced_cid: Option<String>,
    /// When it was last announced.
    pub announced_at: Option<Timestamp>,
    /// When its head was last learned.
    pub last_contact: Option<Timestamp>,
    /// When a lease of it last ended by a finish.
    pub last_attempt: Option<Timestamp>,
    /// Attempts that failed by its fault since its last contact.
    pub failures: u64,
    /// Why the last of them failed; none where it is older than that is remembered.
    pub reason: Option<FailureKind>,
    /// The same in the peer's words.
    pub last_error: Option<String>,
    /// Who met what there since its last contact.
    pub witnesses: Witnesses,
    /// Whether the brake holds a change of it: that failing hides it is one.
    pub is_spared: bool,
    /// What its last publication came from.
    pub origin: Option<Origin>,
    /// What its owner would mend in the index that was read last, a line each.
    pub oddities: Option<String>,
    /// How that was signed; none where no Release was read yet.
    pub signed: Option<SourceSignature>,
    /// What its owner says.
    pub owner: OwnerWord,
    /// Packages of it that the catalogue has.
    pub packages: u64,
    /// The same by name, in whatever versions and architectures.
    pub names: u64,
    /// How far it has come, if an announcement made it known and the source list doesn't name it.
    pub discovery: Option<Stage>,
    pub discovered_at: Option<Timestamp>,
    /// The lease of its newest publication.
    pub publication: Option<u64>,
    /// What is remembered for its audits.
    pub checks: Checks,
    pub lease: Option<Lease>,
}

impl SourceState {
    /// Whether the holder of a key announces as the source's owner: it names the key, or is signed by it.
    pub fn is_owned_by(&self, key: &KeyId) -> bool {
        let signer = self.signed.as_ref().and_then(SourceSignature::checked);
        self.owner.names(key) || signer.and_then(KeyId::of_openpgp).as_ref() == Some(key)
    }

    /// A source that was listed `now` and never read.
    pub fn new(source: Source, now: Timestamp) -> Self {
        Self {
            operator: source.host(),
            domain: politeness::domain(&source.host()),
            source,
            families: None,
            is_listed: true,
            blocked: None,
            delisted: None,
            standing: Standing::Active,
            failed: None,
            due_at: now,
            is_announced: false,
            announced_cid: None,
            announced_at: None,
            last_contact: None,
            last_attempt: None,
            failures: 0,
            reason: None,
            last_error: None,
            witnesses: Witnesses::default(),
            is_spared: false,
            origin: None,
            oddities: None,
            signed: None,
            owner: OwnerWord::default(),
            packages: 0,
            names: 0,
            discovery: None,
            discovered_at: None,
            publication: None,
            checks: Checks::default(),
            lease: None,
        }
    }

    /// Whether it is everybody's to see: what strangers announced isn't until the operator has.
    pub fn is_for_everybody(&self) -> bool {
        self.is_listed
            && self.blocked.is_none()
            && matches!(self.discovery, None | Some(Stage::Approved))
    }

    /// As a source list is compared with it: what was only discovered is on no list.
    pub fn known(&self) -> Known {
        let is_listed = self.is_listed && self.discovery.is_none();
        Known { source: self.source.clone(), is_listed }
    }

    /// Its own clock.
    pub fn clock(&self) -> SourceClock {
        SourceClock {
            due_at: self.due_at,
            is_announced: self.is_announced,
            last_contact: self.last_contact,
            failing: Failing {
                since: self.failed.map(|(since, _)| since),
                last: self.failed.map(|(_, last)| last),
                attempts: self.failures,
            },
            standing: self.standing,
            is_delisted: self.delisted.is_some(),
            is_spared: self.is_spared,
            is_stopped: self.owner.stopped.is_some(),
        }
    }

    /// When it is asked: as the operator says, slowed down by its owner.
    pub fn schedule(&self, polls: &Polls) -> PollSchedule {
        self.owner.slowed(polls.of(&self.source))
    }

    /// Whether the catalogue shows it.
    pub fn is_shown(&self) -> bool {
        self.is_listed && self.blocked.is_none() && self.standing == Standing::Active
    }

    /// Whether contact with it shows it: it is active by that.
    pub(crate) const fn is_shown_by_contact(&self) -> bool {
        self.is_listed && self.blocked.is_none() && self.delisted.is_none()
    }

    /// Whether it is asked at all.
    pub fn is_polled(&self) -> bool {
        self.is_listed && self.blocked.is_none() && self.clock().is_polled()
    }

    /// Where the source stands `now`, in a word: `hidden` where the source list names it no more,
    /// `found` or `refused` where it was discovered and isn't polled, `blocked`, `delisted`, else
    /// `leased`, `due` or `waiting`.
    pub fn standing(&self, now: Timestamp) -> &'static str {
        if !self.is_listed {
            self.discovery.map_or("hidden", Stage::word)
        } else if self.blocked.is_some() {
            "blocked"
        } else if !self.is_polled() {
            "delisted"
        } else if self.lease.is_some() {
            "leased"
        } else if self.due_at <= now {
            "due"
        } else {
            "waiting"
        }
    }
}

/// One lease of a source that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub token: u64,
    pub peer: String,
    /// When it was granted.
    pub started: Timestamp,
    pub ended: Timestamp,
    pub verdict: Verdict,
    /// HTTP requests it took.
    pub requests: u64,
    /// Bytes of bodies as they came.
    pub bytes_fetched: u64,
    /// Bytes of the package index, unpacked.
    pub bytes_plain: u64,
    /// Milliseconds from grant to finish, as the peer measured them.
    pub millis: u64,
    /// Stanzas that gave a row.
    pub packages: u64,
    /// Rows that were put.
    pub put: u64,
    /// Digests that were named as dropped.
    pub dropped: u64,
    /// Stanzas that gave no row.
    pub skipped: u64,
    /// What failed, or where the first skipped stanza is.
    pub error: Option<String>,
    /// Why it failed, in a few words.
    pub reason: Option<FailureKind>,
}

/// What was asked of a source on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceDay {
    /// Since 1970, UTC.
    pub day: u64,
    /// Leases that ended then.
    pub leases: u64,
    pub requests: u64,
    /// Bytes of bodies as they came.
    pub bytes: u64,
}

/// Failing sources of one operator, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingGroup {
    pub operator: String,
    pub reason: Option<FailureKind>,
    pub sources: u64,
}

/// What the network did within an hour: leases that ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// When that hour began.
    pub hour: Timestamp,
    pub verdict: Verdict,
    pub reason: Option<FailureKind>,
    /// How many they were.
    pub leases: u64,
    /// HTTP requests that they took.
    pub requests: u64,
    /// Bytes of bodies as they came.
    pub bytes: u64,
    /// Milliseconds from grant to finish, all together.
    pub millis: u64,
}

/// An arbiter on the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArbiterState {
    /// What its sessions are noted by.
    pub name: String,
    /// Program and version.
    pub program: String,
    pub started_at: Timestamp,
    /// When it last noted that it is here.
    pub seen_at: Timestamp,
    /// Whether it is: it was heard of when others were.
    pub is_here: bool,
}

/// One change of the catalogue by one finished lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its place in the order of all: higher than that of every one before it. 0 until it has one.
    pub number: u64,
    /// The token of its lease: what rows of the catalogue know it by.
    pub lease: u64,
    #[serde(rename = "source")]
    pub slug: String,
    pub peer: String,
    /// When its lease was granted.
    pub granted_at: Timestamp,
    pub published_at: Timestamp,
    /// What was read: the head, and path and digest of the package index.
    pub head: String,
    pub index_path: String,
    pub index_digest: String,
    /// Catalogue rows that are new or changed by it.
    pub put: u64,
    /// Catalogue rows that left by it.
    pub left: u64,
    /// Packages that the source had then.
    pub packages: u64,
    /// The network that its peer came from.
    #[serde(skip)]
    pub network: String,
    /// The version of its peer's row mapping.
    #[serde(skip)]
    pub mapping: Option<u32>,
    /// The peers whose audits found the same, oldest first.
    pub confirmed_by: Vec<String>,
}

/// Readings of one index that differ, and what came of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    pub number: u64,
    #[serde(rename = "source")]
    pub slug: String,
    /// The publication in dispute, by its lease.
    pub publication: u64,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// What came of it, in words.
    pub ruling: Option<String>,
    /// Whether it is open and nobody is here who could decide it: whoever reads for it must have read
    /// nothing of it before.
    #[serde(rename = "waits")]
    pub is_waiting: bool,
    /// Oldest first: the catalogue's, which is its publisher's, then an audit's, then others'.
    pub readings: Vec<PeerReading>,
    /// Rows that were found otherwise, at most [`EVIDENCE_MAX`] of each kind.
    pub evidence: Vec<DisputedRow>,
}

/// Most rows of each kind that are kept of a dispute.
pub const EVIDENCE_MAX: u64 = 1_000;

/// A row that a reread found otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputedRow {
    /// Whether the catalogue had it; else it has it now.
    pub had: bool,
    #[serde(rename = "package")]
    pub package_id: String,
    pub version: String,
    pub architecture: String,
    #[serde(rename = "filename")]
    pub package_filename: String,
    #[serde(rename = "sha256")]
    pub sha256_hash: Option<String>,
}

impl Peer {
    /// Its work that others confirmed: what it is credited for.
    pub const fn credit(&self) -> u64 {
        self.confirmed + self.audits
    }
}

/// What a peer says of itself when it greets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerProgram {
    /// Program and version.
    pub agent: String,
    /// The version of its row mapping; none where it doesn't say.
    pub mapping: Option<u32>,
    /// See [`Peer::public_name`].
    pub public_name: Option<String>,
}

/// One page of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    pub lines: Vec<FeedLine>,
    pub next: FeedCursor,
    /// Whether there is more already.
    pub more: bool,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "most are packages")]
pub enum FeedLine {
    /// A row left.
    Gone {
        number: u64,
        #[serde(rename = "gone")]
        id: String,
        source: String,
    },
    /// A row as it is now.
    Package { number: u64, package: FeedPackage },
    /// All rows of a source are to be forgotten; those that it has, if it is shown, follow.
    Source { number: u64, source: String, shown: bool },
}

/// A row: fields are the catalogue's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedPackage {
    pub id: String,
    pub package_id: String,
    pub latest_version: bool,
    pub quality: u8,
    pub repository_id: String,
    pub price: String,
    pub version: String,
    pub architecture: String,
    pub package_filename: String,
    pub package_size: u64,
    pub sha256_hash: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub author: Option<String>,
    pub maintainer: Option<String>,
    pub depiction: Option<String>,
    pub native_depiction: Option<String>,
    pub sileo_depiction: Option<String>,
    pub header_url: Option<String>,
    pub tint_color: Option<String>,
    pub icon_url: Option<String>,
    pub section: Option<String>,
    pub tags: Option<Vec<String>>,
    pub installed_size: Option<u64>,
}

/// A package that a search found: what a list of results shows. Fields are the catalogue's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The same in every catalogue.
    pub id: String,
    pub package_id: String,
    pub name: Option<String>,
    pub version: String,
    pub architecture: String,
    pub repository_id: String,
    /// Field Description, short and long, lines parted by `\n`.
    pub description: Option<String>,
    pub author: Option<String>,
    pub section: Option<String>,
    /// `Free`, `Paid`, or the amount.
    pub price: String,
}

/// A source as a list of all that everybody may see shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    pub slug: String,
    pub uri: String,
    pub standing: Standing,
    /// Whether it is asked at all.
    pub is_polled: bool,
    /// Whether a peer reads it.
    pub is_leased: bool,
    pub due_at: Timestamp,
    /// When its head was last learned.
    pub last_contact: Option<Timestamp>,
    /// Attempts that failed by its fault since its last contact.
    pub failures: u64,
    /// When the first of them did.
    pub failing_since: Option<Timestamp>,
    /// Why the last of them did.
    pub reason: Option<FailureKind>,
    /// How it is signed; none where no Release was read yet.
    pub signed: Option<SourceSignature>,
    /// Packages of it that the catalogue has.
    pub packages: u64,
}

impl From<&SourceState> for SourceLine {
    fn from(state: &SourceState) -> Self {
        Self {
            slug: state.source.slug.clone(),
            uri: state.source.uri.clone(),
            standing: state.standing,
            is_polled: state.is_polled(),
            is_leased: state.lease.is_some(),
            due_at: state.due_at,
            last_contact: state.last_contact,
            failures: state.failures,
            failing_since: state.failed.map(|(since, _)| since),
            reason: state.reason,
            signed: state.signed.clone(),
            packages: state.packages,
        }
    }
}

/// What there is, for a status page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Sources that the source list names.
    pub sources: u64,
    /// Those that the catalogue doesn't show: named no more, blocked, deactivated or delisted.
    pub hidden: u64,
    /// Announced places that were looked at and are no repositories, until they are forgotten.
    pub refused: u64,
    /// Polled ones that are due and not leased.
    pub due: u64,
    pub leased: u64,
    /// Listed ones whose last attempt failed by their fault.
    pub failing: u64,
    /// Listed ones whose head was never learned.
    pub never_indexed: u64,
    /// Listed ones whose signer's key ends soon, or ended.
    pub ending: u64,
    /// Packages in the catalogue, hidden ones included.
    pub packages: u64,
    /// Those that are visible.
    pub visible: u64,
    /// Peers that were ever seen.
    pub peers: u64,
}

impl AddAssign for StoreCounts {
    fn add_assign(&mut self, more: Self) {
        self.sources += more.sources;
        self.hidden += more.hidden;
        self.refused += more.refused;
        self.due += more.due;
        self.leased += more.leased;
        self.failing += more.failing;
        self.never_indexed += more.never_indexed;
        self.ending += more.ending;
        self.packages += more.packages;
        self.visible += more.visible;
        self.peers += more.peers;
    }
}

/// A peer and how its leases went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name in its certificate.
    pub name: String,
    /// Program and version, as it said.
    pub agent: String,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Leases granted to it: the sum of all others here.
    pub granted: u64,
    /// Finished as indexed or unchanged.
    pub finished: u64,
    /// Finished as failed, whoever is to blame.
    pub failed: u64,
    pub given_back: u64,
    pub expired: u64,
    /// Taken away by the arbiter.
    pub revoked: u64,
    pub held: u64,
    /// How far it is believed.
    pub trust: PeerTrust,
    /// Why it is suspended; empty where it isn't.
    pub trust_why: String,
    /// Publications of it that audits confirmed.
    pub confirmed: u64,
    /// Audits by it that confirmed others.
    pub audits: u64,
    /// The name under which it agrees to be shown to everybody.
    pub public_name: Option<String>,
    /// How the last of them ended.
    pub record: Record,
    /// The session it has, with this arbiter or another on the same database.
    pub session: Option<SessionState>,
}

/// Who asks to become a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    /// The fingerprint of its key.
    pub key: String,
    /// The name that it asks for.
    pub name: String,
    /// Its signing request in PEM.
    pub request: String,
    /// How it can be reached, as it says; may be empty.
    pub contact: String,
    /// Where it asked from first: see [`network`](crate::rules::fault::network).
    pub network: String,
    /// When it first asked.
    pub applied_at: Timestamp,
    /// When it last asked.
    pub asked_at: Timestamp,
    /// What the operator answered.
    pub answer: Option<ApplicantAnswer>,
}

/// What an operator answers to an applicant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicantAnswer {
    /// It is a peer: its certificate and those of its issuers, and the authority's, in PEM.
    Admitted { chain: String, authority: String },
    /// It is none; why, in a line that may be empty.
    Refused(String),
}

/// A peer's session, as far as the operator wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// The arbiter that it is with, by its name; empty where there is only one, or it is this one.
    pub arbiter: String,
    /// Where the peer comes from.
    pub address: String,
    /// Leases it is willing to hold at once.
    pub slots: u32,
    /// How it writes its rows: see [`DIRECT`](crate::hub::sessions::DIRECT).
    pub writes: String,
    /// Which families of addresses lead out of its home.
    pub reaches: AddressFamilies,
}

/// A peer that asks for leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimant<'a> {
    pub name: &'a str,
    /// Which families of addresses lead out of its home.
    pub reaches: AddressFamilies,
    /// Most bytes that its owner lets a lease fetch.
    pub bytes: Option<u64>,
    /// What its owner has it never ask.
    pub never: Option<&'a Veto>,
    /// How many leases others are being granted at this moment. It begins behind them: what comes first is theirs.
    pub behind: usize,
}

impl<'a> From<&'a str> for Claimant<'a> {
    /// One that reaches everything, and is alone.
    fn from(name: &'a str) -> Self {
        Self { name, reaches: AddressFamilies::BOTH, bytes: None, never: None, behind: 0 }
    }
}
