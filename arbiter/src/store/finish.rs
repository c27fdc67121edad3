//! What is staged under a lease becomes the catalogue's, or nothing does.

use super::{Finished, HeldChange, Kind, SourceState, Store, StoreError, Terms, Verdict, own};
use crate::brake::{Brake, Loss};
use crate::politeness::Heard;
use crate::rules;
use crate::schedule::{Ended, Standing};
use crate::timestamp::Timestamp;
use canister_protocol::Head;
use canister_protocol::message::{self, Blame, Cost, Origin, Outcome};
use log::info;
use std::time::Duration;

impl Store {
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
    pub fn finish(
        &mut self,
        peer: &str,
        token: u64,
        outcome: &Outcome,
        cost: &Cost,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Finished, StoreError> {
        let finished = own!(self, finish(peer, token, outcome, cost, now, terms))?;
        told(&finished.slug, finished.stands);
        Ok(finished)
    }
}

/// Logs that a source stands otherwise than before, once that is on disk.
pub(super) fn told(source: &str, (before, after): (Standing, Standing)) {
    if before != after {
        let what = match after {
            Standing::Active => "source returned",
            Standing::Deactivated => "source deactivated: it is hidden, and polled as before",
            Standing::Delisted => "source delisted: it is hidden, and polled no more",
        };
        info!(source, before = before.word(), after = after.word(); "{what}");
    }
}

/// Whether everything that the peer says it wrote under the lease `token` is here: `here` is rows
/// put and digests dropped. A row that the peer put twice is staged once, so fewer rows may be here
/// than were put; but not more, and not none.
///
/// # Errors
/// What isn't, for the peer.
pub(super) fn complete(
    token: u64,
    here: (u64, u64),
    counts: &message::Counts,
) -> Result<(), String> {
    let (put, dropped) = here;
    let is_put = put <= counts.put && (put == 0) == (counts.put == 0);
    for (what, here, said, is_right) in [
        ("rows put", put, counts.put, is_put),
        ("digests dropped", dropped, counts.dropped, dropped == counts.dropped),
    ] {
        if !is_right {
            return Err(format!("lease {token}: {said} {what}, but {here} arrived"));
        }
    }
    Ok(())
}

/// The Release's hash in the form of the index's; empty where there is no Release.
pub(super) fn release_hash(origin: &Origin) -> String {
    match Head::parse(&origin.head) {
        Some(head) if !origin.release_path.is_empty() => {
            let hex: String = head.sha256().iter().map(|b| format!("{b:02x}")).collect();
            format!("sha256:{hex}")
        }
        _ => String::new(),
    }
}

/// Whether two origins name the same bytes; their validators may differ.
pub(super) fn is_same_state(one: &Origin, other: &Origin) -> bool {
    one.head == other.head
        && one.release_path == other.release_path
        && one.index_path == other.index_path
        && one.index_digest == other.index_digest
}

/// Whether contact with the source shows it: it is active by that.
pub(super) const fn is_shown_by_contact(source: &SourceState) -> bool {
    source.is_listed && source.blocked.is_none()
}

/// How a lease ends that failed, and what that is to the source's clock.
pub(super) const fn failed(blame: &Blame, is_sent_away: bool) -> (Verdict, Ended) {
    match blame {
        Blame::Source if is_sent_away => (Verdict::SentAway, Ended::Refused),
        Blame::Source => (Verdict::SourceFailed, Ended::SourceFailed),
        Blame::Peer => (Verdict::PeerFailed, Ended::PeerFailed),
    }
}

/// What a finish says of the source's server.
pub(super) fn heard(outcome: &Outcome, was_fine: bool) -> Heard {
    match outcome {
        Outcome::Indexed { .. } | Outcome::Unchanged { .. } => Heard::Answer,
        Outcome::Failed { blame: Blame::Peer, .. } => Heard::Nothing,
        Outcome::Failed { status, retry_after_secs, .. } => {
            let retry_after = retry_after_secs.map(|secs| Duration::from_secs(secs.into()));
            Heard::from_status(*status, retry_after, was_fine)
        }
    }
}

/// The change that publishing would be, if the brake holds it.
pub(super) fn braked(
    source: &SourceState,
    origin: &Origin,
    packages: u64,
    visible: u64,
    now: Timestamp,
    brake: &Brake,
) -> Option<HeldChange> {
    // What isn't shown can't be hidden.
    let before = if source.is_shown() { source.packages } else { 0 };
    if packages >= before {
        return None;
    }
    let slug = &*source.source.slug;
    let loss = Loss { slug: slug.to_owned(), visible: before, hidden: before - packages };
    let what = (Kind::Source, Some(slug), &[slug, &*origin.index_digest][..]);
    rules::braked(what, &[loss], visible, brake, now)
}
