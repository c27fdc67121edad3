//! What a peer and its arbiter say to each other.
//!
//! One WebSocket text message carries one message as JSON: an object with one key, the message's
//! name, over an object of its fields. Fields that the receiver doesn't know are ignored. For each
//! message: who sends it, when, what answers it.
//!
//! A variant's last field is never an `Option` beside others: nanoserde leaves the comma before it
//! in place where it is `None`, which no reader takes. `tests/codec.rs` encodes each variant so.
//!
//! A lease is named by its **token** everywhere: a number that is raised at each grant in the whole
//! network, so an old holder's messages name a lease that is over and are answered by
//! [`ToPeer::Refused`].

pub use crate::limits::cut;

use crate::address::AddressFamilies;
use crate::audit::is_commitment;
use crate::error::{Error, count};
use crate::head::Head;
use crate::limits::{
    CHAIN_BYTES_MAX, DIGESTS_MAX, DOUBLES_MAX, KEYS_TEXT_BYTES_MAX, NAME_BYTES_MAX,
    NEXT_SIGNERS_MAX, PAUSE_MILLIS_MAX, PLANNED_MAX, PRICE_BYTES_MAX, PRICED_ID_BYTES_MAX,
    PRICES_MAX, PUBLIC_NAME_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_ID_BYTES_MAX,
    RETRY_AFTER_SECS_MAX, SIGNED_HEAD_BYTES_MAX, SLOTS_MAX, TEXT_BYTES_MAX, URI_BYTES_MAX,
    VETO_MAX,
};
use crate::owner::OWNER_BYTES_MAX;
use crate::publisher::{NamedPublisher, PublishedHead};
use crate::row::{Digest, ID_LENGTH};
use crate::rows::Rows;
use crate::source::Source;
use crate::uri::Uri;
use crate::validators::{http_date, is_etag};
use crate::veto::VetoEntry;
use nanoserde::{DeJson, SerJson};

/// The header of an arbiter's answer to the WebSocket's handshake that says why the peer gets less than
/// it offers, as [`ToPeer::Record`] does: for a peer that only checks and takes over no session.
pub const RECORD_HEADER: &str = "Canister-Record";

/// The header of a peer's requests to sources that says by what lease they are made.
pub const REQUEST_HEADER: &str = "Canister-Request";

/// The header of that answer that says the oldest version of agents that are granted leases, and from when
/// on, as a [`Floor`](crate::Floor) does.
pub const FLOOR_HEADER: &str = "canister-floor";

/// What a peer says to an arbiter.
#[derive(Debug, Clone, PartialEq, Eq, DeJson, SerJson)]
#[expect(clippy::large_enum_variant, reason = "a message is not kept")]
pub enum ToArbiter {
    /// The first message of a session, and only the first. Answered by [`ToPeer::Welcome`].
    Hello {
        /// [`PROTOCOL`](crate::limits::PROTOCOL) of the peer.
        protocol: u32,
        /// [`MAPPING`](crate::row::MAPPING) of the peer; one that doesn't say isn't asked for audits.
        mapping: Option<u32>,
        /// A name under which the arbiters may show everybody what the peer did, at most
        /// [`PUBLIC_NAME_BYTES_MAX`]; none: they show nothing of it.
        public_name: Option<String>,
        /// What the peer's owner has it never ask, at most [`VETO_MAX`] as
        /// [`VetoEntry`] reads them; it is granted no source there.
        never: Option<Vec<String>>,
        /// Whether the peer does what the operator wishes ([`ToPeer::Wish`]), by its owner's settings; none
        /// from one that doesn't know this message, which isn't sent to it.
        obeys: Option<bool>,
        /// Program and version, for the operator.
        agent: String,
        /// Leases the peer still works on, from an earlier session with this or another arbiter.
        leases: Vec<u64>,
    },
    /// Asks instead of Hello, in a session that is for nothing else: what the arbiter may ask of this peer
    /// in the coming hours, if it offers what this says. Answered by [`ToPeer::Planned`].
    Plan {
        /// [`PROTOCOL`](crate::limits::PROTOCOL) of the peer.
        protocol: u32,
        /// As in [`Hello`](Self::Hello).
        never: Option<Vec<String>>,
        /// As in [`Offer`](Self::Offer).
        reaches: Option<AddressFamilies>,
        /// As in [`Offer`](Self::Offer).
        bytes: Option<u64>,
        /// Hours from now on, 1 to 168.
        hours: u32,
    },
    /// How many leases the peer is willing to hold at once from now on; replaces any earlier
    /// offer. The arbiter knows which the peer holds, so a total can't be misunderstood by
    /// messages that cross on the way. Answered by a [`ToPeer::Grant`] for each free slot, when a
    /// source is due.
    Offer {
        /// Which families of addresses lead out of the peer's home; it is granted no source that it
        /// can't reach by one of them. Both where it isn't said.
        reaches: Option<AddressFamilies>,
        /// Most bytes of bodies that the peer's owner lets one lease fetch; it is granted no source of
        /// which more is known. As many as the arbiter says where it isn't said.
        bytes: Option<u64>,
        /// Slots; 0 asks for nothing more.
        slots: u32,
    },
    /// How the peer writes rows now, where the arbiter named a [`Database`](crate::Database): told
    /// when it is known, when it changes, and again after each welcome. Not answered: it is for the
    /// operator.
    Writes {
        /// Whether its connection to the database is good; else its rows are put over the session.
        direct: bool,
        /// Why they are; empty where `direct`.
        reason: String,
    },
    /// Extends leases; to be sent well before they expire. Answered by [`ToPeer::Renewed`].
    Renew {
        /// Tokens.
        leases: Vec<u64>,
    },
    /// Asks which digests the catalogue has for the lease's source, a page at a time. Answered by
    /// [`ToPeer::Digests`].
    Known {
        /// Token.
        lease: u64,
        /// The last digest of the page before, in hexadecimal; empty for the first page.
        after: String,
    },
    /// Puts rows under a lease. May be repeated: a row that is already there is left as it is.
    /// Answered by [`ToPeer::Taken`].
    Put {
        /// Token.
        lease: u64,
        /// Counts the writes of this lease from 1; comes back in the answer.
        number: u64,
        /// 1 to [`PUT_ROWS_MAX`](crate::limits::PUT_ROWS_MAX) rows, their texts at most
        /// [`PUT_BYTES`](crate::limits::PUT_BYTES) plus one row.
        rows: Rows,
    },
    /// Names digests that the catalogue has and the package index has no more. May be repeated.
    /// Answered by [`ToPeer::Taken`].
    Dropped {
        /// Token.
        lease: u64,
        /// As in [`Put`](Self::Put).
        number: u64,
        /// 1 to [`DIGESTS_MAX`].
        digests: Vec<Digest>,
    },
    /// Forgets all that was put and dropped under the lease: what was read turned out to be
    /// broken, and another package index of the source is read instead. Answered by
    /// [`ToPeer::Taken`].
    Discard {
        /// Token.
        lease: u64,
        /// As in [`Put`](Self::Put).
        number: u64,
    },
    /// Asks of which packages of the lease's source the price is known and not old, a page at a
    /// time. Answered by [`ToPeer::PricedIds`].
    Priced {
        /// Token.
        lease: u64,
        /// The last package id of the page before; empty for the first page.
        after: String,
    },
    /// Tells prices that the source's shop was just asked for. They are kept whatever becomes of
    /// the lease. May be repeated. Answered by [`ToPeer::Taken`].
    Prices {
        /// Token.
        lease: u64,
        /// As in [`Put`](Self::Put).
        number: u64,
        /// At most [`PRICES_MAX`].
        prices: Vec<Price>,
    },
    /// The lease's work is done; after all its writes were answered. Answered by
    /// [`ToPeer::Finished`].
    Finish {
        /// Token.
        lease: u64,
        /// What came out.
        outcome: Outcome,
        /// What the source's owner says, where the grant wants to know.
        owner: Option<OwnerFound>,
        /// What it cost.
        cost: Cost,
    },
    /// The peer won't do this lease; it is granted to another at once. Not answered.
    GiveBack {
        /// Token.
        lease: u64,
    },
    /// A source has a new head, as the peer was told by somebody. Not answered: it is a hint.
    Announce {
        /// The Cid that was announced, in base32; none if there was none.
        cid: Option<String>,
        /// Which source: its slug, or its uri.
        named: String,
    },
    /// The peer leaves for good: its certificate is to be revoked. Answered by [`ToPeer::Left`].
    Leave {},
    /// Asks for a new certificate, for a new key, before the peer's own ends. Answered by
    /// [`ToPeer::Certificate`] or [`ToPeer::NoCertificate`]; one at a time.
    Renewal {
        /// The signing request in PEM, at most [`REQUEST_BYTES_MAX`].
        request: String,
    },
}

/// What an arbiter says to a peer.
#[derive(Debug, Clone, PartialEq, Eq, DeJson, SerJson)]
#[expect(clippy::large_enum_variant, reason = "a message is not kept")]
pub enum ToPeer {
    /// Answers [`ToArbiter::Hello`].
    Welcome {
        /// [`PROTOCOL`](crate::limits::PROTOCOL) of the arbiter.
        protocol: u32,
        /// Program and version.
        arbiter: String,
        /// The peer's name, as its certificate says.
        peer: String,
        /// Those of the peer's leases that it still holds, renewed; it drops the others.
        leases: Vec<u64>,
        /// How long a lease lives after its grant or renewal, in seconds.
        lease_secs: u32,
    },
    /// Grants a lease. It begins when it is sent and lives for the welcome's `lease_secs`.
    Grant {
        /// Token.
        lease: u64,
        /// Whether it is an audit: the whole source is read, nothing is asked, put or dropped, and the
        /// lease is finished with [`Outcome::Audited`].
        audit: Option<bool>,
        /// Where the source's files are, where they are to be read without what is known of them.
        paths: Option<Paths>,
        /// Most bytes of bodies that the peer takes from servers under it, of whatever files and over
        /// whatever redirects; [`LEASE_BYTES`](crate::limits::LEASE_BYTES) where none is told.
        bytes_max: Option<u64>,
        /// Whether nobody knows yet what is there: the peer asks for `InRelease` and `Release` alone, by at
        /// most [`LOOK_REQUESTS_MAX`](crate::limits::LOOK_REQUESTS_MAX) requests, and finishes with
        /// [`Outcome::Indexed`] without an index where there is one of them.
        looks: Option<bool>,
        /// Whether the peer asks the host first for [what its owner says](crate::owner); it is told where the
        /// arbiter heeds that. What forbids the source ends the lease as [`FailureKind::Owner`].
        owner: Option<bool>,
        /// What is known of the source's files from its last publication.
        origin: Option<Origin>,
        /// Where the source failed and isn't to be looked at as a whole: which of the paths that a whole
        /// look would ask for is the only one to be asked first. They are counted from 0, in the order in
        /// which the peer would ask; what is more than there are begins anew.
        retry: Option<u32>,
        /// What each request of this lease carries in the header [`REQUEST_HEADER`], so that whoever is asked can
        /// ask an arbiter whether it was.
        request: Option<String>,
        /// Least milliseconds between two requests of this lease, at most [`PAUSE_MILLIS_MAX`];
        /// none for none.
        pause_millis: Option<u32>,
        /// What else is remembered, where there is anything.
        probed: Option<Probed>,
        /// Who is asked for its signed head first, by one request; where that is what it was, the source itself
        /// isn't asked.
        publisher: Option<NamedPublisher>,
        /// Who runs the source's server, as the arbiter calls it, for the peer's ledger.
        operator: Option<String>,
        /// What to index.
        source: Source,
    },
    /// Answers [`ToArbiter::Renew`].
    Renewed {
        /// Those that are still held; the peer drops the others.
        leases: Vec<u64>,
    },
    /// Answers [`ToArbiter::Known`] with the next digests in ascending order.
    Digests {
        /// Token.
        lease: u64,
        /// At most [`DIGESTS_MAX`].
        digests: Vec<Digest>,
        /// Whether there are more after these.
        more: bool,
    },
    /// Answers [`ToArbiter::Priced`] with the next package ids in ascending order of their bytes.
    PricedIds {
        /// Token.
        lease: u64,
        /// At most [`PRICES_MAX`].
        packages: Vec<String>,
        /// Whether there are more after these.
        more: bool,
    },
    /// Answers [`ToArbiter::Put`], [`ToArbiter::Dropped`], [`ToArbiter::Discard`] and
    /// [`ToArbiter::Prices`]: it is done and kept safe.
    Taken {
        /// Token.
        lease: u64,
        /// The write's number.
        number: u64,
    },
    /// Answers [`ToArbiter::Finish`]: the lease is over, as the peer wished.
    Finished {
        /// Token.
        lease: u64,
    },
    /// Answers any message that names a lease which is over or was never this peer's, or that the
    /// store couldn't carry out: nothing changed, the lease is over, the peer drops it.
    Refused {
        /// Token.
        lease: u64,
        /// Why.
        reason: String,
    },
    /// The arbiter takes a lease away; the peer drops it.
    Revoked {
        /// Token.
        lease: u64,
        /// Why.
        reason: String,
    },
    /// Answers [`ToArbiter::Renewal`]: the new certificate. The old one is good until it ends, and
    /// the session goes on.
    Certificate {
        /// The certificate and behind it those of its issuers, in PEM, at most [`CHAIN_BYTES_MAX`].
        chain: String,
    },
    /// Answers [`ToArbiter::Renewal`]: there is none from this arbiter.
    NoCertificate {
        /// Why.
        reason: String,
        /// When to ask this arbiter again at the earliest, in seconds: 1 to 86,400.
        again_secs: u32,
    },
    /// Answers [`ToArbiter::Leave`].
    Left {
        /// Whether the peer's certificates are revoked; else the operator does that by hand.
        is_revoked: bool,
    },
    /// What comes of the peer's record: it gets fewer leases, or none for a while. Sent when that changes,
    /// and after the welcome where there is something to tell. It is for the peer's owner.
    Record {
        /// Most leases that the peer is granted at once, whatever it offers; 0 while it rests.
        leases: u32,
        /// For how many seconds from now it rests, at most 86,400; then it is tried by one lease.
        rests_secs: u32,
        /// Why, in a line; empty where it gets what it offers again.
        reason: String,
    },
    /// Answers [`ToArbiter::Plan`]; then the session ends. Other peers may be granted the same.
    Planned {
        /// At most [`PLANNED_MAX`], those with the most polls first.
        planned: Vec<PlannedHost>,
        /// How many more hosts there are.
        left_out: u32,
    },
    /// What the operator wishes of the peer. It is shown to the peer's owner, who may have it refused. Not
    /// answered: what comes of it is seen by the peer's offer, or by its going.
    Wish {
        /// What.
        what: PeerWish,
        /// Why, in a line; may be empty.
        why: String,
    },
    /// The arbiter is about to stop: the peer keeps its leases and goes to another arbiter, or
    /// comes back.
    Draining {},
}

/// What may be asked of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct PlannedHost {
    /// Who runs it, as the arbiter calls it.
    pub operator: String,
    /// The host that the source list names.
    pub host: String,
    /// How many of its sources this peer may be granted.
    pub sources: u64,
    /// Polls of them, each one request where nothing changed.
    pub polls: u64,
}

/// What an operator can wish of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeJson, SerJson)]
pub enum PeerWish {
    /// Finish what is leased and take no more, until `Resume`, or until the agent is started again.
    Drain,
    /// Finish what is leased, end, and be started again by whatever looks after the agent.
    Restart,
    /// Work again after `Drain`.
    Resume,
    /// Finish what is leased, end, and stay so until the owner starts the agent.
    Stop,
}

impl PeerWish {
    /// All of them with the words that they are said by.
    pub const WORDS: [(Self, &'static str); 4] = [
        (Self::Drain, "drain"),
        (Self::Restart, "restart"),
        (Self::Resume, "resume"),
        (Self::Stop, "stop"),
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }
}

/// What a package costs, as its shop writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Price {
    /// The package.
    pub package_id: String,
    /// The amount, 1 to [`PRICE_BYTES_MAX`] bytes.
    pub price: String,
}

/// What came out of a lease.
#[derive(Debug, Clone, PartialEq, Eq, DeJson, SerJson)]
pub enum Outcome {
    /// The whole package index was read and verified; what was put and dropped may be published.
    Indexed {
        /// Where it came from, to be handed back with the next grant.
        origin: Origin,
        /// What Release says of the source.
        facts: Facts,
        /// What was counted.
        counts: Counts,
    },
    /// The whole package index was read and verified for an audit; nothing is published by it.
    Audited {
        /// What was read.
        origin: Origin,
        /// What was counted.
        counts: Counts,
        /// Ids that stand more than once in the index, with different rows: at most
        /// [`DOUBLES_MAX`], ascending.
        doubles: Vec<String>,
        /// To all other rows: see [`Commitment`](crate::audit::Commitment).
        commitment: String,
    },
    /// The source is as it was at the last publication.
    Unchanged {
        /// What Release says, where it was read.
        facts: Option<Facts>,
        /// As the grant's, with newer validators, and a newer head where Release changed but not
        /// the package index.
        origin: Origin,
    },
    /// The source couldn't be read or verified; nothing may be published.
    Failed {
        /// What the peer met. Whose fault that is the arbiter decides.
        kind: FailureKind,
        /// Where the server's answer was the reason and says when to come back: in so many
        /// seconds, at most [`RETRY_AFTER_SECS_MAX`].
        retry_after_secs: Option<u32>,
        /// Where a server's answer was the reason: its HTTP status, 100 to 599.
        status: Option<u32>,
        /// What failed, on what, why.
        reason: String,
    },
}

/// What a peer met where a source couldn't be read. One peer alone can't tell whether its own network
/// or the source is the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeJson, SerJson)]
pub enum FailureKind {
    /// No connection: refused, no route, or to an address that the peer may not connect to.
    Connect,
    /// What came is no Release and no package index: somebody's page, or a file that can't be read.
    Content,
    /// The connection ended before the answer did.
    Cut,
    /// Something was longer, larger or more than may be.
    Limit,
    /// A file isn't what Release says.
    Mismatch,
    /// The server has no package index under any name.
    NoIndex,
    /// The source's owner doesn't want it indexed.
    Owner,
    /// The peer's own: no memory, no database, the lease is over.
    Peer,
    /// The host's name wasn't found.
    Resolve,
    /// An HTTP status that is no answer, 304 and 404 excepted.
    Status,
    /// Somebody was silent, or too slow.
    Timeout,
    /// TLS failed.
    Tls,
}

impl FailureKind {
    /// All of them in their order, with the words by which they are stored and shown.
    pub const WORDS: [(Self, &'static str); 12] = [
        (Self::Connect, "no connection"),
        (Self::Content, "no repository"),
        (Self::Cut, "cut off"),
        (Self::Limit, "too large"),
        (Self::Mismatch, "wrong digest"),
        (Self::NoIndex, "not found"),
        (Self::Owner, "its owner's no"),
        (Self::Peer, "the peer's own"),
        (Self::Resolve, "no such name"),
        (Self::Status, "HTTP error"),
        (Self::Timeout, "too slow"),
        (Self::Tls, "TLS failed"),
    ];

    /// In a few words.
    pub const fn words(self) -> &'static str {
        Self::WORDS[self as usize].1
    }

    /// Whether it is said of files that are the source's beyond doubt: no network on the way makes it so.
    pub const fn is_of_its_files(self) -> bool {
        matches!(self, Self::Limit | Self::Mismatch)
    }

    /// Whether it is said of what the source's files hold, and not of the way to them.
    pub const fn is_of_content(self) -> bool {
        matches!(self, Self::Content | Self::Limit | Self::Mismatch | Self::NoIndex | Self::Owner)
    }
}

/// Where a source's files were found and what they were: the peer's memory of a source, which the
/// arbiter keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Origin {
    /// The [`Head`] as text.
    pub head: String,
    /// Release's path below [`Source::release_dir`]: `InRelease`, `Release`, or empty where there
    /// is none and the head is the package index's.
    pub release_path: String,
    /// The server's ETag of the head's file, as [`is_etag`] takes it.
    pub etag: Option<String>,
    /// The server's Last-Modified of the head's file, as [`http_date`] reads it.
    pub last_modified: Option<String>,
    /// The package index's path below [`Source::release_dir`].
    pub index_path: String,
    /// The digest that Release lists for it, `sha256:…` in hexadecimal (or `sha512:`, `sha1:`,
    /// `md5:`); the digest of its bytes where Release lists none.
    pub index_digest: String,
}

/// Where a source's files were found, and nothing of what they were.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Paths {
    /// As [`Origin::release_path`].
    pub release_path: String,
    /// As [`Origin::index_path`].
    pub index_path: String,
}

/// What is remembered of a source besides its [`Origin`]: what peers learned of it by requests that
/// needn't be made again, and by whom it is to be signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Probed {
    /// Files that were asked for in vain and are not to be asked for now: names of [`PROBES`].
    pub absent: Vec<String>,
    /// The key that signs the source, as in [`ReleaseSignature::key`]; empty where none is expected.
    pub signer: String,
    /// That key, as in [`ReleaseSignature::keys`], or a file of such keys as its server or the
    /// operator has it; empty where it isn't known.
    pub keys: String,
}

/// What a source may lack and is then not asked for again within a week: its detached signature, the
/// address of its shop, its public key.
pub const PROBES: [&str; 3] = [RELEASE_GPG, PAYMENT_ENDPOINT, KEY];
/// The detached signature of a Release.
pub const RELEASE_GPG: &str = "Release.gpg";
/// The file that names a source's shop.
pub const PAYMENT_ENDPOINT: &str = "payment_endpoint";
/// The signer's key, at any of the places where keys are usual.
pub const KEY: &str = "key";

/// How a Release is signed, as a peer found it. Of several signatures the best one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct ReleaseSignature {
    /// What it is worth.
    pub state: SignatureState,
    /// When the signer's key ends, in seconds since 1970 UTC, where it does.
    pub ends: Option<u64>,
    /// The signer's key in OpenPGP's binary form, in base64, where it was learned by this lease.
    pub keys: Option<String>,
    /// What the signature names as its key: a fingerprint, or in old ones a key id, in capital
    /// hexadecimal digits. Where the key is known and one of its subkeys signed, that one.
    pub named: String,
    /// The fingerprint of the signer's key; the same as `named` where the key isn't known, and empty
    /// where nothing is signed.
    pub key: String,
    /// Who may sign the next Release, where this one says.
    pub next: Option<NextSigners>,
}

/// The keys by which alone a source's next Release may be signed, for as long as this one is valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct NextSigners {
    /// Field Signed-By: fingerprints of keys or subkeys in capital hexadecimal digits, at most
    /// [`NEXT_SIGNERS_MAX`]. One with `!` at its end doesn't count for the key's subkeys.
    pub keys: Vec<String>,
    /// Field Valid-Until, in seconds since 1970 UTC.
    pub until: u64,
}

/// What a signature is worth, best first: of two signatures the lesser one counts for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, DeJson, SerJson)]
pub enum SignatureState {
    /// The key that it names made it, of these very bytes.
    Good,
    /// The same, but key or signature ended since.
    Expired,
    /// The same, but the key was revoked by its owner.
    Revoked,
    /// The key that it names didn't make it, or not of these bytes.
    Bad,
    /// It can't be checked: an algorithm that isn't known here.
    Unknown,
    /// It is by a digest that can be forged (MD5, SHA-1, RIPEMD-160), and counts for nothing.
    Weak,
    /// The key that it names isn't known.
    Unverifiable,
    /// There is none.
    #[default]
    Missing,
}

/// What a Release says of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Facts {
    /// Field Label, else Origin.
    pub name: Option<String>,
    /// Field Version.
    pub version: Option<String>,
    /// Field Description.
    pub description: Option<String>,
    /// Field Date, in seconds since 1970 UTC.
    pub date: Option<u64>,
    /// Field Payment-Gateway.
    pub payment_gateway: Option<String>,
    /// What the source's `payment_endpoint` names, where it was asked for and there is one.
    pub payment_endpoint: Option<String>,
    /// How it is signed; none from agents that don't look.
    pub signature: Option<ReleaseSignature>,
    /// What was asked for and isn't there, of [`PROBES`].
    #[nserde(default)]
    pub absent: Vec<String>,
    /// Whether an `InRelease` was found.
    pub has_in_release: bool,
    /// Whether a `Release.gpg` was found, where it was asked for: only beside a `Release`.
    pub has_release_gpg: bool,
}

/// What a source's owner says, as a lease found it. Texts are as [`OwnerSays`](crate::owner::OwnerSays)
/// is displayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct OwnerFound {
    /// What Release says; none where it wasn't read.
    pub release: Option<String>,
    /// What the host's files say; none where they weren't asked for.
    pub host: Option<String>,
    /// What the publisher answered that the grant names.
    pub published: Option<PublishedHead>,
    /// For how many seconds the server lets its answer for the head be kept (`Cache-Control`), at most
    /// a day; 0 where it says nothing.
    pub max_age_secs: u32,
}

/// What was counted while a package index was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Counts {
    /// Stanzas that gave a row: `known` + `put` + repetitions of a row.
    pub packages: u64,
    /// Rows that the catalogue already had.
    pub known: u64,
    /// Rows that were put.
    pub put: u64,
    /// Digests that were named as dropped.
    pub dropped: u64,
    /// Stanzas that gave no row.
    pub skipped: u64,
    /// Where the first skipped stanza is and what is wrong with it; empty if none was skipped.
    pub first_skipped: String,
    /// What its owner would mend in the index, a line each; none where nothing is odd.
    pub oddities: Option<String>,
}

/// What a lease cost the source's server and the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeJson, SerJson)]
pub struct Cost {
    /// Milliseconds from the first request to the first byte of its answer; none where there was none, or it
    /// wasn't the source's operator who answered.
    pub first_byte_millis: Option<u32>,
    /// HTTP requests, redirects included.
    pub requests: u64,
    /// Bytes of bodies as they came.
    pub bytes_fetched: u64,
    /// Bytes of the package index, unpacked.
    pub bytes_plain: u64,
    /// Milliseconds from grant to finish.
    pub millis: u64,
}

impl ToArbiter {
    /// The message's name, as on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "Hello",
            Self::Plan { .. } => "Plan",
            Self::Offer { .. } => "Offer",
            Self::Writes { .. } => "Writes",
            Self::Renew { .. } => "Renew",
            Self::Known { .. } => "Known",
            Self::Put { .. } => "Put",
            Self::Dropped { .. } => "Dropped",
            Self::Discard { .. } => "Discard",
            Self::Priced { .. } => "Priced",
            Self::Prices { .. } => "Prices",
            Self::Finish { .. } => "Finish",
            Self::GiveBack { .. } => "GiveBack",
            Self::Announce { .. } => "Announce",
            Self::Leave {} => "Leave",
            Self::Renewal { .. } => "Renewal",
        }
    }

    /// Whether every field is within its limits.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Hello { agent, leases, public_name, never, .. } => {
                check_never(never)?;
                let name = public_name.as_deref().unwrap_or_default();
                text("public_name", name, PUBLIC_NAME_BYTES_MAX)?;
                text("agent", agent, TEXT_BYTES_MAX)?;
                count("leases", leases.len(), SLOTS_MAX)
            }
            Self::Plan { never, hours, .. } => {
                check_never(never)?;
                if (1..=168).contains(hours) {
                    return Ok(());
                }
                Err(Error::field("hours", format!("{hours} is not 1 to 168")))
            }
            Self::Offer { slots, .. } => count("slots", *slots as usize, SLOTS_MAX),
            Self::Writes { reason, .. } => text("reason", reason, TEXT_BYTES_MAX),
            Self::Renew { leases } => count("leases", leases.len(), SLOTS_MAX),
            Self::Known { after, .. } => match Digest::split(after) {
                Some(digests) if digests.len() <= 1 => Ok(()),
                _ => Err(Error::field("after", "not one digest")),
            },
            Self::Put { rows, .. } => rows.check(),
            Self::Dropped { digests, .. } => count("digests", digests.len(), DIGESTS_MAX),
            Self::Priced { after, .. } => text("after", after, PRICED_ID_BYTES_MAX),
            Self::Prices { prices, .. } => {
                count("prices", prices.len(), PRICES_MAX)?;
                prices.iter().try_for_each(Price::check)
            }
            Self::Finish { outcome, owner, .. } => {
                owner.as_ref().map_or(Ok(()), OwnerFound::check)?;
                outcome.check()
            }
            Self::Leave {} => Ok(()),
            Self::Announce { cid, named } => {
                text("cid", cid.as_deref().unwrap_or_default(), NAME_BYTES_MAX)?;
                if named.is_empty() {
                    return Err(Error::field("named", "empty"));
                }
                text("named", named, URI_BYTES_MAX)
            }
            Self::Renewal { request } => lines("request", request, REQUEST_BYTES_MAX),
            Self::Discard { .. } | Self::GiveBack { .. } => Ok(()),
        }
    }
}

impl ToPeer {
    /// The message's name, as on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "Welcome",
            Self::Grant { .. } => "Grant",
            Self::Renewed { .. } => "Renewed",
            Self::Digests { .. } => "Digests",
            Self::PricedIds { .. } => "PricedIds",
            Self::Taken { .. } => "Taken",
            Self::Finished { .. } => "Finished",
            Self::Refused { .. } => "Refused",
            Self::Revoked { .. } => "Revoked",
            Self::Certificate { .. } => "Certificate",
            Self::NoCertificate { .. } => "NoCertificate",
            Self::Left { .. } => "Left",
            Self::Record { .. } => "Record",
            Self::Planned { .. } => "Planned",
            Self::Wish { .. } => "Wish",
            Self::Draining {} => "Draining",
        }
    }

    /// Whether every field is within its limits.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Welcome { arbiter, peer, leases, lease_secs, .. } => {
                text("arbiter", arbiter, TEXT_BYTES_MAX)?;
                text("peer", peer, NAME_BYTES_MAX)?;
                up_to_a_day("lease_secs", *lease_secs)?;
                count("leases", leases.len(), SLOTS_MAX)
            }
            Self::Grant {
                source,
                origin,
                pause_millis,
                paths,
                probed,
                publisher,
                operator,
                request,
                ..
            } => {
                if let Some(NamedPublisher { uri, head }) = publisher {
                    text("publisher", uri, URI_BYTES_MAX)?;
                    text("publisher", head, NAME_BYTES_MAX)?;
                }
                let id = request.as_deref().unwrap_or_default();
                text("request", id, REQUEST_ID_BYTES_MAX)?;
                if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                    return Err(Error::field("request", "not letters, digits and -"));
                }
                let pause = pause_millis.unwrap_or_default();
                if pause > PAUSE_MILLIS_MAX {
                    let why = format!("{pause}, at most {PAUSE_MILLIS_MAX}");
                    return Err(Error::field("pause_millis", why));
                }
                source.check()?;
                text("operator", operator.as_deref().unwrap_or_default(), NAME_BYTES_MAX)?;
                paths.as_ref().map_or(Ok(()), Paths::check)?;
                probed.as_ref().map_or(Ok(()), Probed::check)?;
                origin.as_ref().map_or(Ok(()), Origin::check)
            }
            Self::Renewed { leases } => count("leases", leases.len(), SLOTS_MAX),
            Self::Digests { digests, .. } => count("digests", digests.len(), DIGESTS_MAX),
            Self::PricedIds { packages, .. } => {
                count("packages", packages.len(), PRICES_MAX)?;
                let mut all = packages.iter();
                all.try_for_each(|package| text("packages", package, PRICED_ID_BYTES_MAX))
            }
            Self::Refused { reason, .. } | Self::Revoked { reason, .. } => {
                text("reason", reason, TEXT_BYTES_MAX)
            }
            Self::Record { leases, rests_secs, reason } => {
                if *rests_secs > 0 {
                    up_to_a_day("rests_secs", *rests_secs)?;
                }
                count("leases", *leases as usize, SLOTS_MAX)?;
                text("reason", reason, TEXT_BYTES_MAX)
            }
            Self::Wish { why, .. } => text("why", why, TEXT_BYTES_MAX),
            Self::Certificate { chain } => lines("chain", chain, CHAIN_BYTES_MAX),
            Self::NoCertificate { reason, again_secs } => {
                text("reason", reason, TEXT_BYTES_MAX)?;
                up_to_a_day("again_secs", *again_secs)
            }
            Self::Planned { planned, .. } => {
                count("planned", planned.len(), PLANNED_MAX)?;
                planned.iter().try_for_each(|it| {
                    text("operator", &it.operator, NAME_BYTES_MAX)?;
                    text("host", &it.host, NAME_BYTES_MAX)
                })
            }
            Self::Taken { .. } | Self::Finished { .. } | Self::Left { .. } | Self::Draining {} => {
                Ok(())
            }
        }
    }
}

impl Price {
    fn check(&self) -> Result<(), Error> {
        text("package_id", &self.package_id, PRICED_ID_BYTES_MAX)?;
        text("price", &self.price, PRICE_BYTES_MAX)?;
        if self.package_id.is_empty() || self.price.is_empty() {
            return Err(Error::field("price", "empty, or of a package without id"));
        }
        Ok(())
    }
}

impl Outcome {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Indexed { origin, facts, counts } => {
                counts.check()?;
                origin.check()?;
                facts.check()
            }
            Self::Audited { origin, counts, doubles, commitment } => {
                counts.check()?;
                count("doubles", doubles.len(), DOUBLES_MAX)?;
                let is_id = |id: &String| {
                    id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
                };
                if !doubles.iter().all(is_id) {
                    return Err(Error::field("doubles", "not ids of packages"));
                }
                if !is_commitment(commitment) {
                    return Err(Error::field("commitment", "not 64 hexadecimal digits"));
                }
                origin.check()
            }
            Self::Unchanged { origin, facts } => {
                origin.check()?;
                facts.as_ref().map_or(Ok(()), Facts::check)
            }
            Self::Failed { retry_after_secs, status, reason, .. } => {
                let secs = retry_after_secs.unwrap_or_default();
                if secs > RETRY_AFTER_SECS_MAX {
                    let why = format!("{secs}, at most {RETRY_AFTER_SECS_MAX}");
                    return Err(Error::field("retry_after_secs", why));
                }
                if !(100..=599).contains(&status.unwrap_or(200)) {
                    let why = format!("{status:?} is not 100 to 599");
                    return Err(Error::field("status", why));
                }
                text("reason", reason, TEXT_BYTES_MAX)
            }
        }
    }
}

impl Counts {
    fn check(&self) -> Result<(), Error> {
        text("first_skipped", &self.first_skipped, TEXT_BYTES_MAX)?;
        lines("oddities", self.oddities.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)
    }
}

impl OwnerFound {
    fn check(&self) -> Result<(), Error> {
        for (field, said) in [("release", &self.release), ("host", &self.host)] {
            lines(field, said.as_deref().unwrap_or_default(), OWNER_BYTES_MAX)?;
        }
        let published = self.published.as_ref().map_or("", |published| &published.head);
        lines("published", published, SIGNED_HEAD_BYTES_MAX)?;
        match self.max_age_secs {
            0 => Ok(()),
            secs => up_to_a_day("max_age_secs", secs),
        }
    }
}

impl Origin {
    fn check(&self) -> Result<(), Error> {
        if Head::parse(&self.head).is_none() {
            let why = format!("{:?} is not a CIDv1 (raw, sha2-256)", cut(&self.head, 80));
            return Err(Error::field("head", why));
        }
        // What one peer says here goes into another's requests.
        check_release_path(&self.release_path)?;
        check_path("index_path", &self.index_path)?;
        check_path("index_digest", &self.index_digest)?;
        if let Some(etag) = &self.etag {
            text("etag", etag, NAME_BYTES_MAX)?;
            if !is_etag(etag) {
                return Err(Error::field("etag", "not \"…\" or W/\"…\""));
            }
        }
        if self.last_modified.as_ref().is_some_and(|date| http_date(date).is_none()) {
            return Err(Error::field("last_modified", "not a date of HTTP"));
        }
        Ok(())
    }
}

impl Paths {
    fn check(&self) -> Result<(), Error> {
        check_release_path(&self.release_path)?;
        check_path("index_path", &self.index_path)
    }
}

// What one peer says of paths goes into another's requests.
fn check_release_path(value: &str) -> Result<(), Error> {
    if ["", "InRelease", "Release"].contains(&value) {
        return Ok(());
    }
    let why = format!("{:?} is not InRelease, Release or empty", cut(value, 80));
    Err(Error::field("release_path", why))
}

fn check_path(field: &'static str, value: &str) -> Result<(), Error> {
    text(field, value, URI_BYTES_MAX)?;
    if value.bytes().all(|byte| byte.is_ascii_graphic())
        && !value.starts_with('/')
        && value.split('/').all(|step| step != "..")
    {
        return Ok(());
    }
    let why = format!("{:?} is no path below Release", cut(value, 80));
    Err(Error::field(field, why))
}

impl Facts {
    fn check(&self) -> Result<(), Error> {
        for (field, value) in [
            ("name", &self.name),
            ("version", &self.version),
            ("description", &self.description),
            ("payment_gateway", &self.payment_gateway),
            ("payment_endpoint", &self.payment_endpoint),
        ] {
            text(field, value.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
        }
        if let Some(Err(why)) = self.payment_endpoint.as_deref().map(Uri::parse) {
            return Err(Error::field("payment_endpoint", why));
        }
        check_absent(&self.absent)?;
        self.signature.as_ref().map_or(Ok(()), ReleaseSignature::check)
    }
}

impl SignatureState {
    /// All of them in their order, with the words by which they are stored and shown.
    pub const WORDS: [(Self, &'static str); 8] = [
        (Self::Good, "good"),
        (Self::Expired, "expired"),
        (Self::Revoked, "revoked"),
        (Self::Bad, "bad"),
        (Self::Unknown, "unknown"),
        (Self::Weak, "weak"),
        (Self::Unverifiable, "unverifiable"),
        (Self::Missing, "missing"),
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }
}

impl Probed {
    fn check(&self) -> Result<(), Error> {
        check_absent(&self.absent)?;
        check_key("signer", &self.signer)?;
        check_keys(&self.keys)
    }
}

impl ReleaseSignature {
    fn check(&self) -> Result<(), Error> {
        check_key("named", &self.named)?;
        check_key("key", &self.key)?;
        let next = self.next.iter().flat_map(|next| &next.keys);
        count("next", next.clone().count(), NEXT_SIGNERS_MAX)?;
        for key in next {
            check_key("next", key.strip_suffix('!').unwrap_or(key))?;
        }
        check_keys(self.keys.as_deref().unwrap_or_default())
    }

    /// Whether it is by one of these keys, written as in [`NextSigners::keys`].
    pub fn is_by_one_of(&self, keys: &[String]) -> bool {
        keys.iter().any(|key| match key.strip_suffix('!') {
            Some(alone) => self.named == alone,
            None => self.key == *key || self.named == *key,
        })
    }

    /// Whether `key` is its key, by a fingerprint or by the key id that a fingerprint ends in.
    pub fn is_by(&self, key: &str) -> bool {
        let is_one = |other: &str| {
            let (short, long) = if key.len() < other.len() { (key, other) } else { (other, key) };
            !short.is_empty() && long.ends_with(short)
        };
        is_one(&self.key) || is_one(&self.named)
    }
}

fn check_absent(absent: &[String]) -> Result<(), Error> {
    count("absent", absent.len(), PROBES.len())?;
    match absent.iter().find(|name| !PROBES.contains(&name.as_str())) {
        Some(name) => {
            let why = format!("{:?} is not one of {}", cut(name, 80), PROBES.join(", "));
            Err(Error::field("absent", why))
        }
        None => Ok(()),
    }
}

fn check_never(never: &Option<Vec<String>>) -> Result<(), Error> {
    let never = never.as_deref().unwrap_or_default();
    count("never", never.len(), VETO_MAX)?;
    never.iter().try_for_each(|entry| {
        let read = entry.parse::<VetoEntry>().map(drop);
        read.map_err(|why| Error::field("never", cut(&why, 200).to_owned()))
    })
}

/// Nothing, or a key's fingerprint or id.
fn check_key(field: &'static str, key: &str) -> Result<(), Error> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    if [0, 16, 32, 40, 64].contains(&key.len()) && key.bytes().all(is_digit) {
        return Ok(());
    }
    Err(Error::field(field, format!("{:?} is no fingerprint", cut(key, 80))))
}

fn check_keys(keys: &str) -> Result<(), Error> {
    count("keys", keys.len(), KEYS_TEXT_BYTES_MAX)?;
    if keys.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) {
        return Ok(());
    }
    Err(Error::field("keys", "not base64"))
}

/// A text of one line.
pub(crate) fn text(field: &'static str, value: &str, limit: usize) -> Result<(), Error> {
    if value.contains('\n') {
        return Err(Error::field(field, "has a line feed"));
    }
    lines(field, value, limit)
}

/// A text of any number of lines.
pub(crate) fn lines(field: &'static str, value: &str, limit: usize) -> Result<(), Error> {
    if value.len() > limit {
        return Err(Error::field(field, format!("{} bytes, at most {limit}", value.len())));
    }
    if value.chars().any(crate::row::is_forbidden) {
        return Err(Error::field(field, "has a control character"));
    }
    Ok(())
}

pub(crate) fn up_to_a_day(field: &'static str, secs: u32) -> Result<(), Error> {
    if (1..=86_400).contains(&secs) {
        return Ok(());
    }
    Err(Error::field(field, format!("{secs} is not 1 to 86400")))
}
