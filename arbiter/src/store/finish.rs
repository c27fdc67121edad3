//! What is staged under a lease becomes the catalogue's, or nothing does.
//!
//! A finish has a long part and a short one. In the long part, which writes the packages, it keeps
//! its lease, what is staged, and the catalogue's rows of this one source to itself: nobody else
//! needs these. What others need too (the source's own row, its operator, its peer) it takes in the
//! short part at the end. What the finish makes of lease and source is decided there by a pure
//! function, [`ending`], from the source as it is then. On SQLite, which has one writer, every other
//! writing verb waits for the whole of it; readers don't.

use super::sql::{Cause, Tx, first, refused, sql, values};
use super::values::{Differences, Published};
use super::{
    Finished, HeldChange, HeldKind, Lease, Publication, SourceState, Stage, Store, StoreError,
    Terms, Verdict,
};
use super::{
    leases, losses, peers, prices, publications, roster, rules, servers, sources, staging, trust,
};
use crate::rules::announcer::KeyId;
use crate::rules::brake::{Lately, Loss, NewIndex};
use crate::rules::changes::held_change;
use crate::rules::fault::{Fault, Met, PeerPlace, Witnesses};
use crate::rules::owner::OwnerWord;
use crate::rules::politeness::{Distance, Heard};
use crate::rules::record::{Record, Went};
use crate::rules::schedule::{Ended, Polls, SourceClock, Standing};
use crate::rules::signatures::{self, OtherSigner, SourceSignature};
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::{Checks, LeaseKind};
use canister_protocol::message::{
    self, Cost, Facts, FailureKind, Origin, Outcome, OwnerFound, ReleaseSignature,
};
use canister_protocol::owner;
use canister_protocol::publisher::PublishedHead;
use canister_protocol::validators::http_date;
use canister_protocol::{Head, Source};
use leases::LeaseReport;
use rules::Passage;
use std::time::Duration;

/// What a lease's holder tells of it besides its outcome.
#[derive(Debug, Clone, Copy)]
pub struct FinishTold<'a> {
    pub cost: &'a Cost,
    /// What the source's owner says, where it heeds that.
    pub owner: Option<&'a OwnerFound>,
}

impl<'a> From<&'a Cost> for FinishTold<'a> {
    fn from(cost: &'a Cost) -> Self {
        Self { cost, owner: None }
    }
}

/// The HTTP status of what was there and won't be again.
const GONE: u32 = 410;

impl Store {
    /// Ends a lease as its peer says, and publishes what it staged if it says `Indexed`. One
    /// transaction: when this returns all of it is durable, and before that none of it is there.
    ///
    /// - `Indexed`: as many rows and digests as `counts` says must be staged: distinct ones, for a
    ///   repeated row is staged once.
    /// - `Unchanged`: something of the source must have been published. The catalogue is written
    ///   only where the head or the index is another than remembered.
    /// - `Failed`: the catalogue stays. The failure is counted as [the source's](crate::rules::fault) only
    ///   where another peer met one, too, or there is no other.
    ///
    /// Where the brake holds what would be published, or who signed it, nothing is: the change waits for the operator,
    /// unless it was accepted, and the head counts as learned. What is read later and may be
    /// published ends the hold.
    ///
    /// The source's clock and the distance to its server follow
    /// ([`SourceClock::after`](crate::rules::schedule::SourceClock::after),
    /// [`Distance::after`](crate::rules::politeness::Distance::after)): a source that failed for long is
    /// hidden or delisted by this, unless the brake holds that, and one that was is shown again by any
    /// contact. The peer's [record](crate::rules::record) follows as well.
    ///
    /// **Repeated**: `Refused`, for the lease is over. A peer whose answer was lost can take that
    /// as done.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's, or one of the above doesn't hold;
    /// nothing changed then, and a lease that was alive still is, until the caller revokes it.
    pub fn finish<'a>(
        &mut self,
        peer: &str,
        token: u64,
        outcome: &Outcome,
        told: impl Into<FinishTold<'a>>,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Finished, StoreError> {
        let told = told.into();
        let finished = self.write(|tx| finish(tx, peer, token, outcome, told, now, terms))?;
        rules::told(&finished.slug, finished.stands);
        Ok(finished)
    }

    /// Has the database's planner know of a publication that wrote `put` rows: for after the answer, which
    /// depends on nothing of it.
    pub fn grown(&mut self, put: u64) {
        if let Self::Postgres(store) = self {
            store.analyze(put);
        }
    }
}

fn finish(
    tx: &mut dyn Tx,
    peer: &str,
    token: u64,
    outcome: &Outcome,
    FinishTold { cost, owner }: FinishTold<'_>,
    now: Timestamp,
    terms: &Terms,
) -> Result<Finished, Cause> {
    // What has no long part is asked for, and kept from others, at once.
    let is_short = matches!(outcome, Outcome::Failed { .. } | Outcome::Unchanged { .. });
    let mut held = leases::held_for_long(tx, peer, token, now, |tx| match is_short {
        true => foresee(tx, peer, token),
        false => Ok(()),
    })?;
    is_of_its_kind(&held.lease, outcome)?;
    let slug = held.lease.slug.clone();
    let gone = || Cause::Broken(format!("no source {slug}"));
    let before = match is_short {
        true => sources::ending(tx, token)?,
        false => sources::find(tx, &slug)?,
    };
    let before = before.ok_or_else(gone)?;
    let mut published = Published { put: 0, left: 0, packages: before.packages };
    let mut names = before.names;
    let mut counts = message::Counts::default();
    let (mut waiting, mut passage) = (None, Passage::Free);
    // What the catalogue comes from by this, where it is changed.
    let mut from = None;
    let mut came = None;
    let kind = held.lease.kind;
    let answer = owner.and_then(|found| found.published.as_ref());
    let unheard = match answer {
        Some(said) => heard_of_publisher(tx, &before, (said, outcome), terms, now)?,
        None => None,
    };
    // Nobody asked the source, because of a head that isn't to be believed.
    let failed = unheard.as_ref().filter(|_| answer.is_some_and(|said| said.is_all));
    let failed = failed.map(|why| Outcome::Failed {
        kind: FailureKind::Content,
        retry_after_secs: None,
        status: None,
        reason: why.clone(),
    });
    let outcome = failed.as_ref().unwrap_or(outcome);
    match outcome {
        Outcome::Indexed { origin, facts, counts: said } => {
            // Nobody adds to it from here on.
            (held.put, held.dropped) = staging::staged(tx, token)?;
            held.put = staging::distinct(tx, token, held.put)?;
            complete(token, (held.put, held.dropped), said)?;
            counts = said.clone();
            if kind == LeaseKind::Reread {
                came = Some(trust::reread(tx, &held.lease, &before, origin, now)?);
            }
            if !before.discovery.is_some_and(Stage::is_unseen) {
                let change = tx.compare(&before, &held)?;
                // What two peers found is no slip of one; who signed it is another matter.
                let is_agreed = came.as_ref().is_some_and(|came| came.is_agreed);
                let read = (origin, Some(facts), is_agreed);
                waiting = braked(tx, &before, read, &change, terms, now)?;
                passage = rules::passage(tx, (HeldKind::Source, Some(&slug)), waiting.as_ref())?;
                if passage != Passage::Held {
                    repository(tx, &before, origin, facts, now)?;
                    if change.is_any {
                        published = tx.publish(&before, &held, now)?;
                    }
                    prices::apply(tx, &slug, token)?;
                    from = Some(origin);
                    if passage == Passage::Free {
                        losses::lose(tx, &[Loss::of(&before, &change)], now)?;
                    }
                    names = before.names + change.gained - change.lost;
                }
            }
        }
        Outcome::Audited { origin, counts: said, doubles, commitment } => {
            counts = said.clone();
            let read = (origin, &**doubles, &**commitment);
            came = Some(trust::audited(tx, &held.lease, &before, read, terms, now)?);
        }
        Outcome::Unchanged { origin, facts } => {
            let Some(remembered) = &before.origin else {
                return refused(format!(
                    "lease {token}: nothing was published of {slug} yet, so it can't be unchanged"
                ));
            };
            counts.packages = before.packages;
            let none = Differences::default();
            waiting = braked(tx, &before, (origin, facts.as_ref(), false), &none, terms, now)?;
            passage = rules::passage(tx, (HeldKind::Source, Some(&slug)), waiting.as_ref())?;
            if passage != Passage::Held && !is_same_state(remembered, origin) {
                match facts {
                    Some(facts) => repository(tx, &before, origin, facts, now)?,
                    None => move_origin(tx, &slug, origin, now)?,
                }
                from = Some(origin);
            }
        }
        Outcome::Failed { .. } => {}
    }
    let source = match is_short {
        true => before.clone(),
        false => sources::locked(tx, &slug)?.ok_or_else(gone)?,
    };
    let source = SourceState { names, ..source };
    let owner = said(tx, &source, owner, now)?;
    let around = Around {
        owner,
        granted_at: held.lease.granted_at,
        is_braked: passage == Passage::Held,
        others: match outcome {
            Outcome::Failed { .. } => {
                peers::others(tx, peer, (&source.domain, source.families), now)?
            }
            _ => Vec::new(),
        },
        by: peers::place(tx, peer)?,
        record: peers::record(tx, peer)?,
        distance: servers::distance_ending(tx, token)?,
    };
    let Ending { verdict, heard, went, mut after } =
        ending(&source, &around, outcome, now, &terms.polls);
    silenced(tx, &source, &mut after, terms, now)?;
    let made = from.map(|origin: &Origin| Publication {
        number: 0,
        lease: token,
        slug: slug.clone(),
        peer: peer.to_owned(),
        granted_at: held.lease.granted_at,
        published_at: now,
        head: origin.head.clone(),
        index_path: origin.index_path.clone(),
        index_digest: origin.index_digest.clone(),
        put: published.put,
        left: published.left,
        packages: published.packages,
        network: String::new(),
        mapping: None,
        confirmed_by: Vec::new(),
    });
    if made.is_some() {
        after.publication = Some(token);
        let is_read = matches!(outcome, Outcome::Indexed { .. });
        after.checks.rows_from = if is_read { Some(token) } else { after.checks.rows_from };
    }
    let comparison = came.as_ref().and_then(|came| came.comparison);
    let (mut alone, mut proven) = (Vec::new(), Vec::new());
    if let Some(came) = came {
        let rows_from = after.checks.rows_from;
        after.checks = Checks { rows_from, ..came.checks };
        if came.is_due {
            after.due_at = after.owner.free_at(now, Some(now));
        }
        (alone, proven) = (came.alone, came.proven);
    } else if kind == LeaseKind::Audit && verdict != Verdict::SentAway {
        // It couldn't be made. Another time.
        after.checks.wants = None;
    }
    let is_contact = matches!(outcome, Outcome::Indexed { .. } | Outcome::Unchanged { .. });
    if is_contact && passage != Passage::Held {
        let contact =
            trust::contact(tx, &held.lease, &source, &mut after, made.as_ref(), terms, now)?;
        alone.extend(contact);
    }
    remember(tx, &after, now)?;
    let is_shown = after.is_shown();
    if after.source != source.source {
        let Source { slug, suite, component, architecture, .. } = &after.source;
        tx.execute(
            "UPDATE source SET suite = $2, component = $3, architecture = $4 WHERE slug = $1",
            values![slug, suite, component, architecture],
        )?;
    }
    if !matches!(outcome, Outcome::Failed { .. }) {
        leases::asked(tx, token, now)?;
    }
    // A peer can't spend more of the day than it was granted.
    leases::spent(tx, &slug, cost.bytes_fetched.min(terms.traffic.lease), now)?;
    if let Some(facts) = facts(outcome) {
        let signed = after.signed.as_ref().filter(|_| passage != Passage::Held);
        sources::learned(tx, &slug, facts, signed, now)?;
    }
    // It may have been hidden or shown since it was looked at, or is by this.
    let is_hidden_anew = published.put > 0 && is_shown != before.is_shown_by_contact();
    if is_shown != before.is_shown() || is_hidden_anew {
        sources::show(tx, &slug)?;
    }
    let distance = (&*after.domain, &around.distance);
    servers::heard(tx, distance, peer, heard, now, &terms.politeness)?;
    let first_skipped = Some(counts.first_skipped.clone()).filter(|text| !text.is_empty());
    let error = match outcome {
        Outcome::Failed { reason, .. } => Some(&**reason),
        _ if passage == Passage::Held => waiting.as_ref().map(|change| &*change.why),
        _ if unheard.is_some() => unheard.as_deref(),
        _ => first_skipped.as_deref(),
    };
    let reason = match outcome {
        Outcome::Failed { kind, .. } => Some(*kind),
        _ => None,
    };
    let report = LeaseReport { cost: cost.clone(), counts, error, reason };
    leases::end(tx, &held, verdict, &report, &went, now)?;
    let Published { put, left, packages } = published;
    let mut ended = Vec::new();
    for (peer, why) in &alone {
        ended.extend(trust::suspend(tx, peer, why, now)?);
    }
    if let Some(made) = &made {
        // Last of all: from here on others that publish wait.
        publications::add(tx, made)?;
    }
    let stands = (source.standing, after.standing);
    let is_served = is_contact && source.is_announced && !after.is_announced;
    let announced = source.announced_at.filter(|_| is_served);
    Ok(Finished {
        slug,
        verdict,
        reason,
        announced: announced.map(|at| (held.lease.granted_at.since(at), now.since(at))),
        put,
        left,
        packages,
        due_at: after.due_at,
        stands,
        comparison,
        suspended: alone,
        proven,
        ended,
    })
}

/// That a lease is about to end without a publication.
fn foresee(tx: &mut dyn Tx, peer: &str, token: u64) -> Result<(), Cause> {
    tx.foresee(sources::ENDING, values![token])?;
    servers::foresee(tx, Err(token))?;
    tx.foresee(peers::ADDRESS, values![peer])?;
    tx.foresee(peers::RECORD, values![peer])?;
    tx.foresee(trust::ASKED_AT, values![peer])?;
    tx.foresee(roster::SEED, &[])?;
    tx.foresee(peers::RECORD_ENDING, values![peer])
}

/// Takes what the publisher answered that the source's owner names, or the operator; why it isn't to be believed, if so.
fn heard_of_publisher(
    tx: &mut dyn Tx,
    source: &SourceState,
    (said, outcome): (&PublishedHead, &Outcome),
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<String>, Cause> {
    let slug = &source.source.slug;
    let mut followed = sources::followed(tx, slug)?;
    let was_read = matches!(outcome, Outcome::Indexed { .. } | Outcome::Unchanged { .. });
    let names = |key: &KeyId| match terms.publishers.of(&source.source) {
        Some(given) => given.key == *key,
        None => source.owner.names(key),
    };
    let taken = followed.take(&said.head, names, was_read && !said.is_all, now);
    let noted = "UPDATE source SET followed = $2 WHERE slug = $1";
    tx.execute(noted, values![slug, &followed])?;
    Ok(taken.err().map(|why| format!("{slug}: {why}")))
}

/// What its owner says from now on. What the host's files say is noted for its other sources, too.
fn said(
    tx: &mut dyn Tx,
    source: &SourceState,
    found: Option<&OwnerFound>,
    now: Timestamp,
) -> Result<OwnerWord, Cause> {
    let mut word = source.owner.clone();
    let (Some(found), Some((place, _))) = (found, owner::place(&source.source)) else {
        return Ok(word);
    };
    word.learn(found);
    if found.host.is_some() {
        tx.execute(
            "INSERT INTO owner_file (place, asked_at, says) VALUES ($1, $2, $3)
             ON CONFLICT (place) DO UPDATE SET asked_at = excluded.asked_at, says = excluded.says",
            values![&place, now, word.host.to_string()],
        )?;
    } else {
        let says = "SELECT says FROM owner_file WHERE place = $1";
        word.host = tx.maybe(says, values![&place], first)?.unwrap_or_default();
    }
    Ok(word)
}

/// Whether a lease of its kind can end so.
///
/// # Errors
/// Why not, for the peer.
fn is_of_its_kind(lease: &Lease, outcome: &Outcome) -> Result<(), Cause> {
    let is_audit = lease.kind == LeaseKind::Audit;
    match outcome {
        Outcome::Failed { .. } => Ok(()),
        Outcome::Audited { .. } if is_audit => Ok(()),
        Outcome::Unchanged { .. } if lease.kind == LeaseKind::Index => Ok(()),
        Outcome::Indexed { .. } if !is_audit => Ok(()),
        _ => refused(format!(
            "lease {}: of kind {}, it can't end like this",
            lease.token, lease.kind
        )),
    }
}

impl Loss {
    /// What isn't shown can't be hidden.
    fn of(source: &SourceState, change: &Differences) -> Self {
        let shown = |names| if source.is_shown() { names } else { 0 };
        Self {
            slug: source.source.slug.clone(),
            shown: shown(source.names),
            lost: shown(change.lost),
        }
    }
}

/// What Release says, where an attempt read it.
const fn facts(outcome: &Outcome) -> Option<&Facts> {
    match outcome {
        Outcome::Indexed { facts, .. } => Some(facts),
        Outcome::Unchanged { facts, .. } => facts.as_ref(),
        Outcome::Audited { .. } | Outcome::Failed { .. } => None,
    }
}

fn signature(outcome: &Outcome) -> Option<&ReleaseSignature> {
    facts(outcome)?.signature.as_ref()
}

/// What the brake makes of what was read of a source, if it holds it: of its index, and of who signed
/// it. What is held of both is accepted as one. Of what two peers agree on, only the second is asked.
fn braked(
    tx: &mut dyn Tx,
    source: &SourceState,
    read: (&Origin, Option<&Facts>, bool),
    change: &Differences,
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<HeldChange>, Cause> {
    let (slug, (origin, facts, is_agreed)) = (&*source.source.slug, read);
    let loss = Loss::of(source, change);
    let index = NewIndex {
        is_empty: source.names + change.gained == change.lost,
        date: facts.and_then(|facts| facts.date).and_then(Timestamp::from_secs),
        last_date: match (&source.origin, facts) {
            (Some(_), Some(_)) => last_date(tx, slug)?,
            _ => None,
        },
    };
    let (lately, shown) = match loss.lost {
        0 => (Lately::default(), 0),
        _ => (losses::lately(tx, now)?, losses::shown(tx)?),
    };
    let by_index = match is_agreed {
        true => None,
        false => terms.brake.holds_index(&loss, &index, &lately, shown, now),
    };
    let by_signature = facts.and_then(|facts| facts.signature.as_ref()).and_then(|found| {
        let given = terms.signers.of(&source.source);
        signatures::holds(slug, source.signed.as_ref(), given, found, now)
    });
    let mut parts = vec![slug];
    parts.extend(by_index.iter().map(|_| &*origin.index_digest));
    parts.extend(by_signature.iter().flat_map(OtherSigner::parts));
    let why = [by_signature.as_ref().map(ToString::to_string), by_index.map(|why| why.to_string())];
    let why: Vec<String> = why.into_iter().flatten().collect();
    let what = (HeldKind::Source, Some(slug), &parts[..]);
    Ok((!why.is_empty()).then(|| held_change(what, &why.join("; "), now)))
}

/// Shows a source after all that is to be hidden because it failed for long, where the brake holds that.
fn silenced(
    tx: &mut dyn Tx,
    before: &SourceState,
    after: &mut SourceState,
    terms: &Terms,
    now: Timestamp,
) -> Result<(), Cause> {
    if !before.is_shown() || !after.is_listed || after.standing == Standing::Active {
        return Ok(());
    }
    let slug = &*before.source.slug;
    let loss = Loss { slug: slug.to_owned(), shown: before.names, lost: before.names };
    let (lately, shown) = (losses::lately(tx, now)?, losses::shown(tx)?);
    let since = after.failed.map_or(0, |(since, _)| since.millis()).to_string();
    let what = (HeldKind::Source, Some(slug), &[slug, "silent", &*since][..]);
    let why = terms.brake.holds_share(loss.lost, &lately, shown);
    let change = why.map(|why| held_change(what, &why, now));
    match rules::passage(tx, (HeldKind::Source, Some(slug)), change.as_ref())? {
        Passage::Held => after.standing = Standing::Active,
        Passage::Free => losses::lose(tx, &[loss], now)?,
        Passage::Accepted => {}
    }
    Ok(())
}

/// The date of the Release that was published last.
fn last_date(tx: &mut dyn Tx, slug: &str) -> Result<Option<Timestamp>, Cause> {
    let date = sql!("SELECT " ["unixepoch(date)" | "CAST(extract(epoch FROM date) AS bigint)"]
        " FROM repository WHERE id = $1");
    let secs = tx.maybe(date, values![slug], first::<Option<u64>>)?;
    Ok(secs.flatten().and_then(Timestamp::from_secs))
}

/// What a finish makes of its lease and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    /// How the lease ended.
    verdict: Verdict,
    /// What that says of the source's server.
    heard: Heard,
    /// What it says of the peer.
    went: Went,
    /// The source from now on.
    after: SourceState,
}

/// What is known around a finish.
struct Around {
    granted_at: Timestamp,
    /// What its owner says by now.
    owner: OwnerWord,
    /// Whether the brake holds what was read.
    is_braked: bool,
    /// Who finishes, and how its last leases ended.
    by: PeerPlace,
    record: Record,
    /// Who else could look now.
    others: Vec<PeerPlace>,
    /// How the source's servers took us.
    distance: Distance,
}

/// What a finish makes of its lease and of its `source`. Nothing here asks a database.
fn ending(
    source: &SourceState,
    around: &Around,
    outcome: &Outcome,
    now: Timestamp,
    polls: &Polls,
) -> Ending {
    let Around { granted_at, owner, is_braked, by, record, others, distance } = around;
    let (granted_at, is_braked) = (*granted_at, *is_braked);
    let heard = heard(outcome, source.last_contact.is_some() && source.failures == 0);
    let mut after = SourceState { owner: owner.clone(), ..source.clone() };
    let (verdict, ended, went) = match outcome {
        Outcome::Failed { kind, status, reason, .. } => {
            let is_sent_away = distance.is_sent_away(heard);
            let fault = source.witnesses.fault(by, record, &source.operator, *kind, others);
            // Many requests are between the server and this peer.
            let went = match heard {
                Heard::Refusal(_) => Went::Silent,
                _ => {
                    // What one met whose word counts nothing is nothing, where others can look.
                    let is_doubted = fault == Fault::Peer && !others.is_empty();
                    let met = if is_doubted { Met::Nothing } else { Met::from(*kind) };
                    after.witnesses.note(by, met, now);
                    source.witnesses.went(by, &source.operator, *kind, source.failures > 0)
                }
            };
            let others_can = !others.is_empty() && source.witnesses.are_few();
            match fault {
                _ if is_sent_away && others_can => (Verdict::SentAway, Ended::Open, went),
                _ if is_sent_away => (Verdict::SentAway, Ended::Refused, went),
                Fault::Source if *kind == FailureKind::Owner || *status == Some(GONE) => {
                    let slug = format!("{}: ", source.source.slug);
                    let why = reason.strip_prefix(&slug).unwrap_or(reason);
                    after.owner.stopped = Some(why.to_owned());
                    (Verdict::SourceFailed, Ended::Stopped, went)
                }
                Fault::Source => (Verdict::SourceFailed, Ended::SourceFailed, went),
                _ if others_can => (Verdict::PeerFailed, Ended::Open, went),
                Fault::Open | Fault::Peer => (Verdict::PeerFailed, Ended::PeerFailed, went),
            }
        }
        _ if is_braked => (Verdict::Held, Ended::Contact, Went::Well),
        Outcome::Audited { .. } => (Verdict::Audited, Ended::Contact, Went::Well),
        Outcome::Indexed { .. } => (Verdict::Indexed, Ended::Contact, Went::Well),
        Outcome::Unchanged { .. } => (Verdict::Unchanged, Ended::Contact, Went::Well),
    };
    if matches!(ended, Ended::Contact | Ended::Stopped) {
        after.witnesses = Witnesses::default();
    }
    if ended == Ended::Contact {
        after.owner.stopped = None;
        let is_first = source.origin.is_none();
        let is_new = matches!(outcome, Outcome::Indexed { .. }) && !is_first;
        let by_owner = source.is_announced && source.owner.announced_itself;
        after.owner.was_read(by_owner, is_new);
    }
    if let (Some(Stage::Look | Stage::Trust), Outcome::Indexed { origin, .. }) =
        (source.discovery, outcome)
        && let Some(found) = laid_out(&source.source, origin)
    {
        after.source = found;
    }
    match (source.discovery, ended) {
        // Nothing of it was published, and it is polled no more.
        (Some(Stage::Look), Ended::Contact) => {
            after.move_to(Stage::Found, now);
            return Ending { verdict, heard, went, after };
        }
        // And it is read at once.
        (Some(Stage::Trust), Ended::Contact) => {
            after.move_to(Stage::Approved, now);
            after.due_at = now;
            return Ending { verdict, heard, went, after };
        }
        (Some(Stage::Look | Stage::Trust), Ended::SourceFailed)
            if after.witnesses.blame_content() =>
        {
            after.move_to(Stage::Refused, now);
        }
        _ => {}
    }
    let (found, why) = match outcome {
        Outcome::Audited { origin, .. }
        | Outcome::Indexed { origin, .. }
        | Outcome::Unchanged { origin, .. } => (Some(origin), None),
        Outcome::Failed { kind, reason, .. } => (None, Some((*kind, reason.clone()))),
    };
    let is_audit = verdict == Verdict::Audited;
    if !is_braked
        && !is_audit
        && let Some(origin) = found
    {
        after.origin = Some(origin.clone());
        if let Outcome::Indexed { counts, .. } = outcome {
            after.oddities.clone_from(&counts.oddities);
        }
        after.signed = signature(outcome).map(SourceSignature::from).or(after.signed);
    }
    // Whether the brake holds it still is asked anew.
    let mut clock = SourceClock { is_spared: false, ..after.clock() };
    clock.after(&source.source.slug, ended, now, &after.schedule(polls));
    let is_visit = matches!(ended, Ended::Contact | Ended::SourceFailed | Ended::Stopped);
    after.due_at = after.owner.free_at(clock.due_at, is_visit.then_some(now));
    if is_visit {
        // The peer may have read it before it was announced. Every other announcement is served by
        // this, and one that led to a failure is forgotten, so that it may be said again.
        let head = found.map_or("", |origin| &origin.head);
        let is_newer =
            after.announced_at > Some(granted_at) && after.announced_cid.as_deref() != Some(head);
        if after.is_announced && is_newer && ended != Ended::Stopped {
            after.due_at = after.owner.free_at(now, Some(now));
        } else {
            after.is_announced = false;
            after.announced_cid.take_if(|_| found.is_none());
        }
    }
    after.last_attempt = Some(now);
    after.last_contact = clock.last_contact;
    after.standing = clock.standing;
    after.failed = clock.failing.since.zip(clock.failing.last);
    after.failures = clock.failing.attempts;
    if after.failures == 0 {
        (after.reason, after.last_error) = (None, None);
    } else if after.failures > source.failures {
        (after.reason, after.last_error) = why.unzip();
    }
    Ending { verdict, heard, went, after }
}

/// A source of which no suite was said, at the suite that a look found: `dists/SUITE/COMPONENT/binary-…`.
fn laid_out(source: &Source, found: &Origin) -> Option<Source> {
    let (suite, rest) = found.index_path.strip_prefix("dists/")?.split_once('/')?;
    let (component, rest) = rest.split_once("/binary-")?;
    let architecture = rest.strip_suffix("/Packages")?;
    let named = |text: &str| Some(text.to_owned());
    let suite = suite.to_owned();
    let (component, architecture) = (named(component), named(architecture));
    let laid = Source { suite, component, architecture, ..source.clone() };
    (source.is_flat() && laid.check().is_ok()).then_some(laid)
}

impl SourceState {
    /// Moves a discovered source to a stage; whether it is polled follows from that.
    const fn move_to(&mut self, stage: Stage, now: Timestamp) {
        self.discovery = Some(stage);
        self.discovered_at = Some(now);
        self.is_listed = stage.is_polled();
        self.is_announced &= self.is_listed;
    }
}

/// Writes a source as it is after an attempt.
fn remember(tx: &mut dyn Tx, after: &SourceState, now: Timestamp) -> Result<(), Cause> {
    let origin = after.origin.as_ref();
    let text = |field: fn(&Origin) -> &String| origin.map(|origin| field(origin).as_str());
    let next = after.signed.as_ref().and_then(|signed| signed.next.as_ref());
    tx.defer(
        "UPDATE source SET due_at = $2, last_attempt = $3, last_contact = $4, failures = $5,
             failing_since = $6, last_failure = $7, last_error = $8, standing = $9,
             stood_at = CASE WHEN standing = $9 THEN stood_at ELSE $10 END,
             announced = $11, announced_cid = $12, discovery = $13, discovered_at = $14,
             listed = $15, names = $16, origin_head = $17, origin_release_path = $18,
             origin_etag = $19, origin_last_modified = $20, origin_index_path = $21,
             origin_index_digest = $22, publication = $23, wants = $24, not_by = $25, checked_at = $26,
             vouched_by = $27, rows_from = $28, signature = $29, signed_by = $30,
             signed_until = $31, witnesses = $32, owner_release = $33, owner_host = $34,
             max_age = $35, stopped = $36, relied = $37, reason = $38,
             next_signers = $39, next_until = $40, oddities = $41
         WHERE slug = $1",
        values![
            &after.source.slug,
            after.due_at,
            after.last_attempt,
            after.last_contact,
            after.failures,
            after.failed.map(|(since, _)| since),
            after.failed.map(|(_, last)| last),
            &after.last_error,
            after.standing.word(),
            now,
            after.is_announced,
            &after.announced_cid,
            after.discovery.map(Stage::word),
            after.discovered_at,
            after.is_listed,
            after.names,
            text(|origin| &origin.head),
            text(|origin| &origin.release_path),
            origin.and_then(|origin| origin.etag.as_deref()),
            // From tomorrow, it would be true for too long.
            origin.and_then(|origin| origin.last_modified.as_deref()).filter(|date| {
                http_date(date).and_then(Timestamp::from_secs).is_some_and(|date| date <= now)
            }),
            text(|origin| &origin.index_path),
            text(|origin| &origin.index_digest),
            after.publication,
            after.checks.wants.map(LeaseKind::word),
            &after.checks.not_by,
            after.checks.checked_at,
            &after.checks.vouched_by,
            after.checks.rows_from,
            after.signed.as_ref().map(|signed| signed.state.word()),
            after.signed.as_ref().map(|signed| &*signed.by),
            after.signed.as_ref().and_then(|signed| signed.until),
            &after.witnesses,
            &after.owner.release,
            &after.owner.host,
            after.owner.max_age,
            &after.owner.stopped,
            after.owner.relied,
            after.reason.map(FailureKind::words),
            next.map_or(&[][..], |next| &next.keys).to_vec(),
            next.map(|next| next.until),
            &after.oddities,
        ],
    )
}

/// Writes the repository's columns that come from its source and its Release.
fn repository(
    tx: &mut dyn Tx,
    state: &SourceState,
    origin: &Origin,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), Cause> {
    let source = &state.source;
    let date = facts.date.and_then(Timestamp::from_secs);
    tx.execute(
        sql!(
            "INSERT INTO repository (id, aliases, visible, quality, package_count, sections,
                 bootstrap, uri, suite, component, name, version, description, date,
                 payment_gateway, origin_hostname, origin_release_path, origin_release_hash,
                 origin_packages_path, origin_packages_hash, origin_last_updated,
                 origin_has_in_release, origin_has_release_gpg, origin_supports_payment_v1,
                 origin_supports_payment_v2, origin_uses_https, sileo_endpoint, origin_signed_by)
             VALUES ($1, $2, $3, $4, 0, $25, $5, $6, $7, $8, $9, $10, $11,
                 $12" ["" | "::text::timestamp"] ", $13, $14, $15, $16, $17, $18,
                 $19" ["" | "::text::timestamp"] ", $20, $21, CAST($24 AS text) IS NOT NULL, $22,
                 $23, $24, $26)
             ON CONFLICT (id) DO UPDATE SET
                 name = excluded.name,
                 version = excluded.version,
                 description = excluded.description,
                 date = excluded.date,
                 payment_gateway = excluded.payment_gateway,
                 origin_hostname = excluded.origin_hostname,
                 origin_release_path = excluded.origin_release_path,
                 origin_release_hash = excluded.origin_release_hash,
                 origin_packages_path = excluded.origin_packages_path,
                 origin_packages_hash = excluded.origin_packages_hash,
                 origin_last_updated = excluded.origin_last_updated,
                 origin_has_in_release = excluded.origin_has_in_release,
                 origin_has_release_gpg = excluded.origin_has_release_gpg,
                 origin_supports_payment_v2 = excluded.origin_supports_payment_v2,
                 origin_uses_https = excluded.origin_uses_https,
                 origin_signed_by = excluded.origin_signed_by,
                 -- Only asked for when there is a price to ask for.
                 origin_supports_payment_v1 = repository.origin_supports_payment_v1
                     OR excluded.origin_supports_payment_v1,
                 sileo_endpoint = coalesce(excluded.sileo_endpoint, repository.sileo_endpoint)"
        ),
        values![
            &source.slug,
            &source.aliases,
            state.is_shown_by_contact(),
            source.ranking,
            source.bootstrap,
            &source.uri,
            &source.suite,
            &source.component,
            &facts.name,
            &facts.version,
            &facts.description,
            date.map(|date| date.to_string()),
            &facts.payment_gateway,
            source.host(),
            &origin.release_path,
            release_hash(origin),
            &origin.index_path,
            &origin.index_digest,
            now.to_string(),
            facts.has_in_release,
            facts.has_release_gpg,
            facts.payment_gateway.is_some(),
            source.uri.starts_with("https://"),
            &facts.payment_endpoint,
            Vec::<String>::new(),
            signed_by(origin, facts),
        ],
    )?;
    Ok(())
}

/// The key by which it was checked that a repository is its signer's: by a Release that lists its index.
fn signed_by(origin: &Origin, facts: &Facts) -> Option<String> {
    let signed = facts.signature.as_ref().map(SourceSignature::from)?;
    signed.checked().filter(|_| !origin.release_path.is_empty()).map(str::to_owned)
}

/// As [`repository`], where the Release was not read again.
fn move_origin(tx: &mut dyn Tx, slug: &str, origin: &Origin, now: Timestamp) -> Result<(), Cause> {
    tx.execute(
        sql!(
            "UPDATE repository SET origin_release_path = $2, origin_release_hash = $3,
                 origin_packages_path = $4, origin_packages_hash = $5,
                 origin_last_updated = $6" ["" | "::text::timestamp"] "
             WHERE id = $1"
        ),
        values![
            slug,
            &origin.release_path,
            release_hash(origin),
            &origin.index_path,
            &origin.index_digest,
            now.to_string(),
        ],
    )?;
    Ok(())
}

/// Whether everything that the peer says it wrote under the lease `token` is here: `here` is rows
/// put and digests dropped. A row that the peer put twice counts once, so fewer rows may be here
/// than were put; but not more, and not none.
///
/// # Errors
/// What isn't, for the peer.
fn complete(token: u64, here: (u64, u64), counts: &message::Counts) -> Result<(), Cause> {
    let (put, dropped) = here;
    let is_put = put <= counts.put && (put == 0) == (counts.put == 0);
    for (what, here, said, is_right) in [
        ("rows put", put, counts.put, is_put),
        ("digests dropped", dropped, counts.dropped, dropped == counts.dropped),
    ] {
        if !is_right {
            return refused(format!("lease {token}: {said} {what}, but {here} arrived"));
        }
    }
    Ok(())
}

/// The Release's hash in the form of the index's; empty where there is no Release.
fn release_hash(origin: &Origin) -> String {
    match Head::parse(&origin.head) {
        Some(head) if !origin.release_path.is_empty() => {
            let hex: String = head.sha256().iter().map(|b| format!("{b:02x}")).collect();
            format!("sha256:{hex}")
        }
        _ => String::new(),
    }
}

/// Whether two origins name the same bytes; their validators may differ.
fn is_same_state(one: &Origin, other: &Origin) -> bool {
    one.head == other.head
        && one.release_path == other.release_path
        && one.index_path == other.index_path
        && one.index_digest == other.index_digest
}

/// What a finish says of the source's server.
fn heard(outcome: &Outcome, was_fine: bool) -> Heard {
    match outcome {
        Outcome::Audited { .. } | Outcome::Indexed { .. } | Outcome::Unchanged { .. } => {
            Heard::Answer
        }
        Outcome::Failed { kind: FailureKind::Owner, .. } => Heard::Answer,
        Outcome::Failed { kind: FailureKind::Peer, .. } => Heard::Nothing,
        Outcome::Failed { status, retry_after_secs, .. } => {
            let retry_after = retry_after_secs.map(|secs| Duration::from_secs(secs.into()));
            Heard::from_status(*status, retry_after, was_fine)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::schedule::PollSchedule;

    const GRANTED: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn at(secs: u64) -> Timestamp {
        GRANTED.plus(Duration::from_secs(secs))
    }

    fn origin(head: &str) -> Origin {
        Origin { head: head.into(), ..Origin::default() }
    }

    /// One that was read before, and whose last two attempts failed by its fault.
    fn source() -> SourceState {
        let source = Source { slug: "a".into(), ..Source::default() };
        SourceState {
            failed: Some((GRANTED.minus(Duration::from_secs(99)), GRANTED)),
            is_announced: true,
            announced_cid: Some("x".into()),
            announced_at: Some(GRANTED.minus(Duration::from_secs(1))),
            last_contact: Some(GRANTED.minus(Duration::from_secs(999))),
            last_attempt: Some(GRANTED),
            failures: 2,
            last_error: Some("before".into()),
            origin: Some(origin("old")),
            ..SourceState::new(source, GRANTED)
        }
    }

    fn indexed(head: &str) -> Outcome {
        Outcome::Indexed {
            origin: origin(head),
            facts: Facts::default(),
            counts: message::Counts::default(),
        }
    }

    fn failed(kind: FailureKind, status: Option<u32>) -> Outcome {
        Outcome::Failed { kind, retry_after_secs: None, status, reason: "why".into() }
    }

    fn asked(peer: &str) -> PeerPlace {
        PeerPlace { peer: peer.into(), network: "1".into() }
    }

    /// By a peer that is alone.
    fn end(source: &SourceState, outcome: &Outcome, is_braked: bool) -> Ending {
        end_beside(source, outcome, is_braked, &[])
    }

    fn end_beside(
        source: &SourceState,
        outcome: &Outcome,
        is_braked: bool,
        others: &[&str],
    ) -> Ending {
        let polls = Polls::from(PollSchedule::default());
        let around = Around {
            granted_at: GRANTED,
            owner: OwnerWord::default(),
            is_braked,
            by: asked("p"),
            record: Record::default(),
            others: others.iter().map(|name| asked(name)).collect(),
            distance: Distance::default(),
        };
        ending(source, &around, outcome, at(60), &polls)
    }

    #[test]
    fn a_failure_is_open_until_another_peer_met_it() {
        let well = SourceState { failures: 0, failed: None, ..source() };
        let connect = failed(FailureKind::Connect, None);
        let first = end_beside(&well, &connect, false, &["q"]);
        assert_eq!((first.verdict, first.after.due_at), (Verdict::PeerFailed, at(60)));
        assert_eq!((first.after.failures, first.after.is_announced), (0, true));
        assert_eq!(first.went, Went::Unreached(well.operator.clone()));
        // What another met before is the source's, and says nothing of whoever met it after.
        let mut met = well.clone();
        met.witnesses.note(&asked("q"), Met::Way, GRANTED);
        let second = end_beside(&met, &connect, false, &["q"]);
        assert_eq!((second.verdict, second.after.failures), (Verdict::SourceFailed, 1));
        assert_eq!((second.went, second.after.witnesses.times()), (Went::Silent, 2));
        // So does a 403: another tries at once, and a third that gets one counts it.
        let forbidden = failed(FailureKind::Status, Some(403));
        let first = end_beside(&well, &forbidden, false, &["q"]);
        assert_eq!((first.verdict, first.after.due_at), (Verdict::SentAway, at(60)));
        // Many requests are between the two.
        let many = end_beside(&well, &failed(FailureKind::Status, Some(429)), false, &["q"]);
        assert_eq!((many.went, many.after.witnesses.is_empty()), (Went::Silent, true));
        let own = end_beside(&well, &failed(FailureKind::Peer, None), false, &["q"]);
        assert_eq!((own.verdict, own.went), (Verdict::PeerFailed, Went::Lost));
        let contact = end(&second.after, &indexed("new"), false);
        assert_eq!((contact.went, contact.after.witnesses.is_empty()), (Went::Well, true));
    }

    #[test]
    fn an_outcome_makes_a_verdict_and_one_row_of_the_source() {
        let unchanged = Outcome::Unchanged { origin: origin("old"), facts: None };
        let read = |head: &str| (0, None, head.to_owned(), Some(at(60)));
        let unread = |failures, error: &str| {
            (failures, Some(error.to_owned()), "old".to_owned(), source().last_contact)
        };
        let by_source = failed(FailureKind::NoIndex, None);
        for (outcome, is_braked, verdict, remembered, is_announced) in [
            (indexed("new"), false, Verdict::Indexed, read("new"), false),
            (indexed("new"), true, Verdict::Held, read("old"), false),
            (unchanged.clone(), false, Verdict::Unchanged, read("old"), false),
            (unchanged, true, Verdict::Held, read("old"), false),
            (by_source, false, Verdict::SourceFailed, unread(3, "why"), false),
            // Neither is the source's, and its announcement is as unserved as before.
            (
                failed(FailureKind::Peer, None),
                false,
                Verdict::PeerFailed,
                unread(2, "before"),
                true,
            ),
            (
                failed(FailureKind::Status, Some(429)),
                false,
                Verdict::SentAway,
                unread(2, "before"),
                true,
            ),
        ] {
            let ending = end(&source(), &outcome, is_braked);
            let after = ending.after;
            assert_eq!((ending.verdict, after.is_announced), (verdict, is_announced));
            let head = after.origin.unwrap().head;
            assert_eq!((after.failures, after.last_error, head, after.last_contact), remembered);
            assert_eq!((after.last_attempt, after.standing), (Some(at(60)), Standing::Active));
            assert!(after.due_at > at(60), "{verdict}");
        }
    }

    #[test]
    fn what_was_announced_since_the_grant_is_due_unless_it_was_found() {
        let news = |secs, cid: Option<&str>| SourceState {
            announced_at: Some(at(secs)),
            announced_cid: cid.map(str::to_owned),
            ..source()
        };
        let by_source = failed(FailureKind::NoIndex, None);
        for (source, outcome, is_due, cid) in [
            (news(1, Some("y")), indexed("new"), true, Some("y")),
            (news(1, None), indexed("new"), true, None),
            (news(1, Some("new")), indexed("new"), false, Some("new")),
            (news(0, Some("y")), indexed("new"), false, Some("y")),
            (news(1, Some("y")), by_source.clone(), true, Some("y")),
            // It may be said again.
            (news(0, Some("y")), by_source, false, None),
            (SourceState { is_announced: false, ..news(1, None) }, indexed("n"), false, None),
        ] {
            let after = end(&source, &outcome, false).after;
            assert_eq!((after.due_at == at(60), after.is_announced), (is_due, is_due));
            assert_eq!(after.announced_cid.as_deref(), cid);
        }
    }

    #[test]
    fn a_look_finds_the_suite_of_a_source() {
        let flat = Source {
            slug: "a".into(),
            uri: "https://h".into(),
            suite: "./".into(),
            ranking: 5,
            ..Source::default()
        };
        let at = |index: &str| Origin { index_path: index.into(), ..Origin::default() };
        let found = at("dists/stable/main/x/binary-amd64/Packages");
        let laid = laid_out(&flat, &found).unwrap();
        assert_eq!(laid.suite, "stable");
        let both = laid.component.as_deref().zip(laid.architecture.as_deref());
        assert_eq!(both, Some(("main/x", "amd64")));
        assert_eq!(laid_out(&laid, &found), None);
        for index in [
            "",
            "Packages",
            "dists/stable/Packages",
            "dists/../main/binary-amd64/Packages",
            "dists/stable/main/binary-../Packages",
            "dists/stable//binary-/Packages",
            "dists//main/binary-amd64/Packages",
        ] {
            assert_eq!(laid_out(&flat, &at(index)), None, "{index}");
        }
    }

    #[test]
    fn a_discovered_source_moves_on_by_its_first_look() {
        let found = |stage| SourceState { discovery: Some(stage), origin: None, ..source() };
        let by_source = failed(FailureKind::NoIndex, None);
        for (before, outcome, stage, is_listed) in [
            (Stage::Look, indexed("new"), Stage::Found, false),
            (Stage::Trust, indexed("new"), Stage::Approved, true),
            (Stage::Look, by_source.clone(), Stage::Refused, false),
            (Stage::Trust, by_source.clone(), Stage::Refused, false),
            (Stage::Approved, by_source, Stage::Approved, true),
            // Nothing was said of its files.
            (Stage::Look, failed(FailureKind::Connect, None), Stage::Look, true),
            (Stage::Trust, failed(FailureKind::Status, Some(503)), Stage::Trust, true),
            (Stage::Look, failed(FailureKind::Peer, None), Stage::Look, true),
        ] {
            let after = end(&found(before), &outcome, false).after;
            assert_eq!((after.discovery, after.is_listed), (Some(stage), is_listed));
            // A look publishes nothing.
            assert_eq!(after.origin, None);
        }
    }

    #[test]
    fn a_source_that_failed_for_long_is_hidden_and_any_contact_shows_it() {
        let long = Duration::from_secs(8 * 24 * 60 * 60);
        let since = at(60).minus(long);
        let silent = SourceState { failed: Some((since, since)), failures: 999, ..source() };
        let after = end(&silent, &failed(FailureKind::NoIndex, None), false).after;
        assert_eq!((after.standing, after.is_shown()), (Standing::Deactivated, false));
        assert_eq!(after.failed, Some((since, at(60))));
        let after = end(&after, &indexed("new"), true).after;
        assert_eq!((after.is_shown(), after.failed, after.failures), (true, None, 0));
    }
}
