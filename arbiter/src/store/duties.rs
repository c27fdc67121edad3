//! The verbs of a store by duty. Their docs are the contract; the stores themselves say only how
//! they keep it.

use super::{
    Attempt, Counts, Discovered, Finished, Found, Grant, HeldChange, Lease, Peer, ServerState,
    SourceState, StoreError, Terms,
};
use crate::policy::Ruling;
use crate::rules::Change;
use crate::sources::{Diff, Known};
use crate::timestamp::Timestamp;
use canister_protocol::message::{Cost, Outcome, Price};
use canister_protocol::{Digest, PackageRow, Source};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// A whole store: what the arbiter runs on.
pub trait Store:
    Sources
    + Discoveries
    + Leases
    + Staging
    + Prices
    + Publication
    + Rules
    + Servers
    + Catalogue
    + Peers
    + Network
    + Clock
    + Send
{
}

impl<T> Store for T where
    T: Sources
        + Discoveries
        + Leases
        + Staging
        + Prices
        + Publication
        + Rules
        + Servers
        + Catalogue
        + Peers
        + Network
        + Clock
        + Send
{
}

/// By whose clock the store goes.
pub trait Clock {
    /// The moment by the store's own clock, which all that use it go by; `None` where that is this
    /// machine's.
    ///
    /// # Errors
    /// Never `Refused`.
    fn moment(&mut self) -> Result<Option<Timestamp>, StoreError>;
}

/// Which arbiters there are and which sessions they have, so that any of them shows the whole
/// network; and who of them does what one does for all.
pub trait Network {
    /// Notes that this arbiter is here. One that wasn't noted for [`SILENT_MAX`](super::SILENT_MAX)
    /// while others were is taken for gone, with its sessions.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn beat(&mut self, listen: &str, program: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Notes a session of a peer with this arbiter, or what changed of it. A session that it has
    /// with another one is over by that, and the other one is told.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn session(
        &mut self,
        peer: &str,
        address: &str,
        slots: u32,
        writes: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Notes that the peer has no session with this arbiter any more; it may have one with another.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn session_over(&mut self, peer: &str) -> Result<(), StoreError>;

    /// Whether it is this arbiter's turn to do `work`, which is done once in `pause`, whoever does
    /// it. Asked at once by several, it is one's turn.
    ///
    /// **Repeated**: no.
    ///
    /// # Errors
    /// Never `Refused`.
    fn take_turn(
        &mut self,
        work: &str,
        pause: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}

/// What is to be indexed, and what is remembered of it.
pub trait Sources {
    /// All sources that were ever listed, by slug: what a source list is compared with.
    ///
    /// # Errors
    /// Never `Refused`.
    fn known_sources(&mut self) -> Result<Vec<Known>, StoreError>;

    /// Applies what a source list changed, and returns the leases that it ended.
    ///
    /// A removed source is hidden and polled no more; a returned one is shown again and due. A
    /// changed one has its catalogue columns changed at once; where its files are to be found
    /// elsewhere now, it is due and what is remembered of them is forgotten. The leases of sources
    /// that were removed or are found elsewhere are revoked: their peers read what is not meant
    /// any more.
    ///
    /// **Repeated**: the same again, with no lease left to end.
    ///
    /// # Errors
    /// Never `Refused`.
    fn apply_sources(&mut self, diff: &Diff, now: Timestamp) -> Result<Vec<Lease>, StoreError>;

    /// All sources, by slug.
    ///
    /// # Errors
    /// Never `Refused`.
    fn sources(&mut self) -> Result<Vec<SourceState>, StoreError>;

    /// One source.
    ///
    /// # Errors
    /// Never `Refused`.
    fn source(&mut self, slug: &str) -> Result<Option<SourceState>, StoreError>;

    /// The newest `limit` attempts of a source, newest first. At most
    /// [`ATTEMPTS_KEPT`](super::ATTEMPTS_KEPT) are kept.
    ///
    /// # Errors
    /// Never `Refused`.
    fn attempts(&mut self, slug: &str, limit: usize) -> Result<Vec<Attempt>, StoreError>;

    /// Makes a listed source due at once, or all of them, and returns how many there are. One
    /// that is leased is due again only as its finish says.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn sync(&mut self, slug: Option<&str>, now: Timestamp) -> Result<u64, StoreError>;

    /// Makes a listed source due at once because somebody announced `cid` of it, and remembers
    /// that; any other source stays as it is. One that is leased is due again after its lease,
    /// unless the lease finds exactly `cid` as its head.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn announce(&mut self, slug: &str, cid: Option<&str>, now: Timestamp)
    -> Result<(), StoreError>;
}

/// Sources that announcements made known.
pub trait Discoveries {
    /// Takes in a source that is not known, to be looked at once; under its slug, or with a number
    /// behind it where another source is called so. It is not shown before that look, nor is
    /// anything of it published: with `Indexed` it becomes [`Found`](super::Stage::Found), hidden
    /// and polled no more, or, where announcements are trusted, an
    /// [`Approved`](super::Stage::Approved) source that is published like any other. A look that
    /// fails by the source's fault, or so often by anybody's, makes it
    /// [`Refused`](super::Stage::Refused). Refusals that are older than
    /// [`REFUSED_FOR`](super::REFUSED_FOR) are forgotten here.
    ///
    /// **Repeated**: takes it in twice. The caller asks first whether it is known.
    ///
    /// # Errors
    /// Never `Refused`.
    fn discover(
        &mut self,
        source: &Source,
        by: &str,
        is_trusted: bool,
        now: Timestamp,
    ) -> Result<Discovered, StoreError>;

    /// Makes a discovered source one like any other, due at once; whether there is one that wasn't.
    ///
    /// **Repeated**: false.
    ///
    /// # Errors
    /// Never `Refused`.
    fn approve(&mut self, slug: &str, now: Timestamp) -> Result<bool, StoreError>;
}

/// Who indexes what until when.
pub trait Leases {
    /// Grants up to `slots` due sources to `peer`, in the order of
    /// [`choose`](crate::schedule::choose); none where nothing is due. A peer never holds more
    /// than [`SLOTS_MAX`](canister_protocol::limits::SLOTS_MAX).
    ///
    /// A lease that is past its time still counts until [`expire`](Self::expire) ended it, so that
    /// whoever must hear of its end does.
    ///
    /// **Repeated**: grants further sources. The peer whose grants got lost says which leases it
    /// knows when it connects again; the others are to be given back for it.
    ///
    /// # Errors
    /// Never `Refused`.
    fn claim(
        &mut self,
        peer: &str,
        slots: usize,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<Grant>, StoreError>;

    /// Extends those of `tokens` that `peer` holds, and returns them; all others are over or were
    /// never its.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn renew(
        &mut self,
        peer: &str,
        tokens: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError>;

    /// Ends a lease that `peer` won't do. Its source is due as before.
    ///
    /// **Repeated**: `Refused`.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    fn give_back(&mut self, peer: &str, token: u64, now: Timestamp) -> Result<Lease, StoreError>;

    /// Ends all leases whose time is over, and returns them. Their sources are due as before: that
    /// a peer vanished is not the source's failure.
    ///
    /// **Repeated**: returns what ended since.
    ///
    /// # Errors
    /// Never `Refused`.
    fn expire(&mut self, now: Timestamp) -> Result<Vec<Lease>, StoreError>;

    /// Takes a lease away, whoever holds it; `None` where it is over already. Its source is due as
    /// before.
    ///
    /// # Errors
    /// Never `Refused`.
    fn revoke(&mut self, token: u64, now: Timestamp) -> Result<Option<Lease>, StoreError>;

    /// Brings forward what lies further ahead than anything granted or scheduled `now` could: the
    /// clock was set back, or a time in the configuration was shortened. Finds anew who runs each
    /// source's server. To be called at start.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn bring_forward(&mut self, now: Timestamp, terms: &Terms) -> Result<(), StoreError>;

    /// The leases that `peer` holds, oldest first.
    ///
    /// # Errors
    /// Never `Refused`.
    fn held_by(&mut self, peer: &str, now: Timestamp) -> Result<Vec<Lease>, StoreError>;

    /// The next moment at which something happens by itself: a lease expires, a waiting source
    /// becomes due, a server may be asked again. `None` where nothing ever will.
    ///
    /// A source that is due already is not counted: it waits for a slot, or for its operator.
    ///
    /// # Errors
    /// Never `Refused`.
    fn next_deadline(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Option<Timestamp>, StoreError>;
}

/// What a peer asks and puts under its lease. Nothing here touches the catalogue.
pub trait Staging {
    /// Digests of the live packages of the lease's source, ascending, at most `limit` of them and
    /// all above `after`. Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    fn known(
        &mut self,
        peer: &str,
        token: u64,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError>;

    /// Stages rows, in their order. A row that is staged under the lease already (by its digest)
    /// is left as it is.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or would hold more than
    /// [`STAGED_ROWS_MAX`](super::STAGED_ROWS_MAX) or
    /// [`STAGED_BYTES_MAX`](super::STAGED_BYTES_MAX), or where a row isn't one the catalogue could
    /// hold ([`PackageRow::check`]).
    fn put(
        &mut self,
        peer: &str,
        token: u64,
        rows: &[PackageRow],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Stages that the index has these digests no more. One that is staged already is left as it
    /// is; one that the catalogue doesn't have does nothing later.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or would hold more than
    /// [`STAGED_ROWS_MAX`](super::STAGED_ROWS_MAX).
    fn dropped(
        &mut self,
        peer: &str,
        token: u64,
        digests: &[Digest],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Forgets all that was put and dropped under the lease.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    fn discard(&mut self, peer: &str, token: u64, now: Timestamp) -> Result<(), StoreError>;
}

/// What paid packages cost, as their shops said.
pub trait Prices {
    /// Package ids of the lease's source whose price was asked for at `since` or later, ascending,
    /// at most `limit` of them and all above `after`. Fewer than `limit` means that there are no
    /// more.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    fn priced(
        &mut self,
        peer: &str,
        token: u64,
        after: &str,
        limit: usize,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError>;

    /// Keeps prices that were asked for just now. They stand in the catalogue after the source's
    /// next publication, and are kept whatever becomes of the lease.
    ///
    /// **Repeated**: changes nothing.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or the source would have more than
    /// [`PRICES_KEPT_MAX`](super::PRICES_KEPT_MAX).
    fn prices(
        &mut self,
        peer: &str,
        token: u64,
        prices: &[Price],
        now: Timestamp,
    ) -> Result<(), StoreError>;
}

/// What is staged under a lease becomes the catalogue's, or nothing does.
pub trait Publication {
    /// Ends a lease as its peer says, and publishes what it staged if it says `Indexed`. One
    /// transaction: when this returns all of it is durable, and before that none of it is there.
    ///
    /// - `Indexed`: as many rows and digests as `counts` says must be staged: distinct ones, for a
    ///   repeated row is staged once.
    /// - `Unchanged`: something of the source must have been published. The catalogue is written
    ///   only where the head or the index is another than remembered.
    /// - `Failed`: the catalogue stays. Where the peer is to blame, or the server sent it away, the
    ///   source's failures are not counted.
    ///
    /// Where a publication would hide more than the brake lets pass, nothing is published: the
    /// change is held for the operator, unless it was accepted, and the head counts as learned.
    ///
    /// The source's clock and the distance to its server follow
    /// ([`SourceClock::after`](crate::schedule::SourceClock::after),
    /// [`Distance::after`](crate::politeness::Distance::after)): a source that failed for long is
    /// hidden or delisted by this, and one that was is shown again by any contact.
    ///
    /// **Repeated**: `Refused`, for the lease is over. A peer whose answer was lost can take that
    /// as done.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or one of the above doesn't hold;
    /// nothing changed then, and a lease that was alive still is, until the caller revokes it.
    fn finish(
        &mut self,
        peer: &str,
        token: u64,
        outcome: &Outcome,
        cost: &Cost,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Finished, StoreError>;
}

/// What the operator ruled, what that changes, and what the brake holds.
pub trait Rules {
    /// All rulings, by entry.
    ///
    /// # Errors
    /// Never `Refused`.
    fn rulings(&mut self) -> Result<Vec<Ruling>, StoreError>;

    /// Keeps a ruling in place of any other of its entry. It changes no source by itself.
    ///
    /// # Errors
    /// Never `Refused`.
    fn rule(&mut self, ruling: &Ruling) -> Result<(), StoreError>;

    /// The hosts of the block lists as they were last kept.
    ///
    /// # Errors
    /// Never `Refused`.
    fn blocked_hosts(&mut self) -> Result<BTreeSet<String>, StoreError>;

    /// Keeps these instead. It changes no source by itself.
    ///
    /// # Errors
    /// Never `Refused`.
    fn set_blocked_hosts(&mut self, hosts: &BTreeSet<String>) -> Result<(), StoreError>;

    /// Blocks, deactivates and delists sources as these changes say, or takes that back; hides and
    /// shows them in the catalogue. Returns the leases that it ended: of sources that are to be
    /// asked no more.
    ///
    /// **Repeated**: the same again, with no lease left to end.
    ///
    /// # Errors
    /// Never `Refused`.
    fn apply_changes(
        &mut self,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError>;

    /// Delists a listed source at once; whether there is one. A lease of it goes on, and brings it
    /// back if it makes contact.
    ///
    /// # Errors
    /// Never `Refused`.
    fn delist(&mut self, slug: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// Holds a change for the operator, unless one of its fingerprint is held or decided already;
    /// whether it was accepted, and may be made.
    ///
    /// # Errors
    /// Never `Refused`.
    fn hold(&mut self, change: &HeldChange) -> Result<bool, StoreError>;

    /// The changes that wait for the operator, oldest first.
    ///
    /// # Errors
    /// Never `Refused`.
    fn held(&mut self) -> Result<Vec<HeldChange>, StoreError>;

    /// Keeps what the operator decided of a held change, and returns it; `None` if there is none of
    /// that number. It makes no change by itself.
    ///
    /// # Errors
    /// Never `Refused`.
    fn decide(
        &mut self,
        number: u64,
        is_accepted: bool,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<HeldChange>, StoreError>;

    /// Forgets a held change that was made: the next of its kind is held again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn passed(&mut self, fingerprint: &str) -> Result<(), StoreError>;

    /// Deletes packages that left at `left` or before, and all that is left of sources that were
    /// delisted at `delisted` or before, but a few thousand packages at most; how many. To be
    /// called again until there are none.
    ///
    /// # Errors
    /// Never `Refused`.
    fn clean(&mut self, left: Timestamp, delisted: Timestamp) -> Result<u64, StoreError>;
}

/// Who runs the sources' servers, and how they took us.
pub trait Servers {
    /// The hosts of all polled sources, in lower case.
    ///
    /// # Errors
    /// Never `Refused`.
    fn hosts(&mut self) -> Result<Vec<String>, StoreError>;

    /// Remembers that `host` has these addresses `now`, beside those that were seen lately. Where
    /// that is new, operators are found anew.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn locate(
        &mut self,
        host: &str,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Whether any server sent `peer` away and still keeps it so.
    ///
    /// # Errors
    /// Never `Refused`.
    fn is_sent_away(&mut self, peer: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// All domains of polled sources with their operators, by operator.
    ///
    /// # Errors
    /// Never `Refused`.
    fn servers(&mut self) -> Result<Vec<ServerState>, StoreError>;
}

/// The published packages, read.
pub trait Catalogue {
    /// Finds visible packages, in their latest versions, that have all the words of `text`; the
    /// last one may be the beginning of a word. Best first: words in the name and package id weigh
    /// most, then the author's, then the description's; then the source's ranking.
    ///
    /// # Errors
    /// Never `Refused`: any text is a search.
    fn search(&mut self, text: &str, limit: usize) -> Result<Vec<Found>, StoreError>;

    /// What there is. Takes time in proportion to the number of sources, not of packages.
    ///
    /// # Errors
    /// Never `Refused`.
    fn counts(&mut self, now: Timestamp) -> Result<Counts, StoreError>;
}

/// Who was ever here.
pub trait Peers {
    /// Notes that `peer` is here with the program `agent`.
    ///
    /// **Repeated**: the same again.
    ///
    /// # Errors
    /// Never `Refused`.
    fn seen(&mut self, peer: &str, agent: &str, now: Timestamp) -> Result<(), StoreError>;

    /// All peers that were ever seen, by name.
    ///
    /// # Errors
    /// Never `Refused`.
    fn peers(&mut self) -> Result<Vec<Peer>, StoreError>;
}
