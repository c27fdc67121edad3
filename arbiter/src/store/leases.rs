//! Who indexes what until when.
//!
//! Several arbiters may look at one due source at the same moment. Whoever locks the operator's row
//! grants; the others pass on to the next source. That there is never a second lease of a source or
//! an operator is the lease table's own law.
//!
//! A publication keeps its lease from ending until it is committed, which may take minutes and several
//! tries. What may not wait for it (expiring, greeting, a revoked peer's end) leaves a locked lease
//! to whoever locked it. Renewed it can be: between two tries it is unlocked for a moment, in which
//! another arbiter must not find it past its time.

use super::fronts::{self, Front, Looking, Window};
use super::postgres::events::Event;
use super::sql::{Alone, Cause, Row, Sql, SqlValue, Tx, first, read, refused, sql, values};
use super::values::StagedLease;
use super::{
    ATTEMPTS_KEPT, AskedLease, Claimant, Expired, Grant, Lease, PeerProgram, Renewal, SourceState,
    Stage, Store, StoreError, Terms, Verdict,
};
use super::{discoveries, near, peers, roster, servers, sources, tally};
use crate::rules::families::{HostFamilies, may_ask, may_reach};
use crate::rules::fault::{Met, Witnesses};
use crate::rules::nearness::Nearness;
use crate::rules::owner::{HOST_EVERY, OwnerWord};
use crate::rules::politeness::{May, Operator, may_grant};
use crate::rules::record::Went;
use crate::rules::schedule::{self, Due};
use crate::rules::timestamp::Timestamp;
use crate::rules::traffic;
use crate::rules::trust::{Asking, Checks, DueCheck, LeaseKind, PeerTrust, lease_for};
use canister_protocol::Source;
use canister_protocol::limits::SLOTS_MAX;
use canister_protocol::message::{self, FailureKind, Origin, Paths};
use canister_protocol::owner::{self, OwnerSays};
use canister_protocol::publisher::NamedPublisher;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Why a lease ended whose peer must leave.
pub(super) const REVOKED: &str = "the peer is revoked";

/// How many more fronts than slots are looked at first, because something may keep the first from this peer.
const SPARE: usize = 4;
/// How many sources of each front are looked at first.
const SOURCES: usize = 2;
/// How many times as many next, and so on, where none of these is for this peer.
const WIDER: usize = 4;

/// Leases with what is staged under them, by token; what PostgreSQL locks of them comes last.
macro_rules! leases {
    ($which:literal, $lock:literal) => {
        sql!(
            "SELECT lease.*, coalesce(put, 0) AS put, coalesce(put_bytes, 0) AS put_bytes,
                 coalesce(dropped, 0) AS dropped
             FROM lease LEFT JOIN staged ON staged.token = lease.token
             WHERE lease." $which " ORDER BY lease.token" ["" | $lock]
        )
    };
}
impl Store {
    /// Grants up to `slots` due sources to `peer`, in the order of
    /// [`choose`](crate::rules::schedule::choose); none where nothing is due that it
    /// [may reach](crate::rules::families). A peer never holds more than [`SLOTS_MAX`], nor than its
    /// [record](crate::rules::record) gives it, and comes behind others where it
    /// [failed](Witnesses::kept_until).
    ///
    /// A lease that is past its time still counts until [`expire`](Self::expire) ended it, so that
    /// whoever must hear of its end does.
    ///
    /// **Repeated**: grants further sources. The peer whose grants got lost says which leases it
    /// knows when it connects again; [`greet`](Self::greet) gives back the others for it.
    pub fn claim<'a>(
        &mut self,
        claimant: impl Into<Claimant<'a>>,
        slots: usize,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<Grant>, StoreError> {
        let claimant = claimant.into();
        self.write(|tx| claim(tx, claimant, slots, now, terms))
    }

    /// Begins a session of `peer`, which says this of itself and `knows` these leases. Gives
    /// back what it holds and doesn't know (the grant was lost on the way), renews the others, and
    /// returns those of `knows` that it holds. A lease that ends meanwhile is not among them.
    ///
    /// **Repeated**: the same again.
    pub fn greet(
        &mut self,
        peer: &str,
        program: &PeerProgram,
        knows: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError> {
        self.write(|tx| {
            let PeerProgram { agent, mapping, public_name } = program;
            peers::seen(tx, peer, Some(agent), now)?;
            tx.execute(
                "UPDATE peer SET mapping = $2, public_name = $3 WHERE name = $1",
                values![peer, *mapping, public_name],
            )?;
            for held in unlocked_of(tx, peer)? {
                if held.lease.expires_at > now && !knows.contains(&held.lease.token) {
                    // The grant was lost on the way, by nobody's fault.
                    let (report, went) = (LeaseReport::default(), Went::Silent);
                    end(tx, &held, Verdict::GivenBack, &report, &went, now)?;
                }
            }
            renew_for(tx, peer, knows, now, terms)
        })
    }

    /// Extends those of `tokens` that `peer` holds, up to their last moment, and returns them; all others are over or were
    /// never its.
    ///
    /// **Repeated**: the same again.
    pub fn renew(
        &mut self,
        peer: &str,
        tokens: &[u64],
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<u64>, StoreError> {
        self.write(|tx| renew_for(tx, peer, tokens, now, terms))
    }

    /// Ends a lease that `peer` won't do. Its source is due as before, for others first.
    ///
    /// **Repeated**: `Refused`.
    ///
    /// # Errors
    /// `Refused` where the lease is over or another peer's.
    pub fn give_back(
        &mut self,
        peer: &str,
        token: u64,
        now: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.write(|tx| {
            let held = held(tx, peer, token, now)?;
            let (report, went) = (LeaseReport::default(), Went::Lost);
            end(tx, &held, Verdict::GivenBack, &report, &went, now)?;
            Ok(held.lease)
        })
    }

    /// Renews, then ends all leases whose time is over by then. A lease that was alive when the
    /// arbiter heard its renewal lives a lifetime from that moment, even if its time has passed
    /// since: that the store was busy is not the peer's failure. Sources of what ended are due as
    /// before: that a peer vanished is not the source's failure.
    ///
    /// **Repeated**: returns what ended since.
    pub fn expire(
        &mut self,
        now: Timestamp,
        renewals: &[Renewal],
        terms: &Terms,
    ) -> Result<Expired, StoreError> {
        // By itself: what waits below keeps no renewed lease from its finish.
        let gone = match renewals {
            [] => Vec::new(),
            _ => self.write(|tx| renew(tx, renewals, terms))?,
        };
        // Most calls find nothing, and need not write for it.
        let is_any = "SELECT EXISTS (SELECT 1 FROM lease WHERE expires_at <= $1)
             OR EXISTS (SELECT 1 FROM staged WHERE token NOT IN (SELECT token FROM lease))";
        if !self.read(|tx| tx.value::<bool>(is_any, values![now]))? {
            return Ok(Expired { gone, ended: Vec::new() });
        }
        let ended = self.write(|tx| {
            // One arbiter does it for all.
            if !tx.try_lock(Alone::Expiring)? {
                return Ok(Vec::new());
            }
            let past = leases!("expires_at <= $1", " FOR UPDATE OF lease SKIP LOCKED");
            let past: Vec<StagedLease> = tx.query(past, values![now], of)?;
            let mut ended = Vec::new();
            for held in past {
                end(tx, &held, Verdict::Expired, &LeaseReport::default(), &Went::Lost, now)?;
                tx.tell(Event::over(&held.lease, "not renewed in time"))?;
                ended.push(held.lease);
            }
            sweep(tx)?;
            Ok(ended)
        })?;
        Ok(Expired { gone, ended })
    }

    /// Ends all leases of a peer that must leave, and returns them. Their sources are due as
    /// before. One that is being published at this moment is left to that: nothing waits here.
    ///
    /// **Repeated**: returns what was left.
    pub fn end_all(&mut self, peer: &str, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        self.write(|tx| end_all(tx, peer, REVOKED, now))
    }

    /// Brings forward what lies further ahead than anything granted or scheduled `now` could: the
    /// clock was set back, or a time in the configuration was shortened. Finds anew who runs each
    /// source's server. To be called at start.
    ///
    /// **Repeated**: the same again.
    pub fn bring_forward(&mut self, now: Timestamp, terms: &Terms) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.lock(Alone::Listing)?;
            tx.execute(
                sql!(
                    "UPDATE lease SET expires_at = $1 WHERE expires_at > $1"[""
                        | "
                       AND token IN (SELECT token FROM lease FOR UPDATE SKIP LOCKED)"]
                ),
                values![now.plus(terms.lease)],
            )?;
            servers::regroup(tx)?;
            // Most lie nearer than any schedule puts them.
            for state in sources::due_after(tx, terms.polls.nearest(now))? {
                let schedule = state.schedule(&terms.polls);
                let latest = schedule.latest(&state.clock().failing, now);
                let latest = state.owner.free_at(latest, None);
                if state.due_at > latest {
                    tx.execute(
                        "UPDATE source SET due_at = $2 WHERE slug = $1",
                        values![&state.source.slug, latest],
                    )?;
                }
            }
            Ok(())
        })
    }

    /// The lease by which requests were made that carry this; none where the network made none such, or none that is
    /// remembered.
    pub fn asked_by(&mut self, id: &str) -> Result<Option<AskedLease>, StoreError> {
        let Some(token) = id.split('-').next().and_then(|token| token.parse::<u64>().ok()) else {
            return Ok(None);
        };
        self.read(|tx| {
            if request_id(token, roster::seed(tx)?) != id {
                return Ok(None);
            }
            let both =
                "SELECT source.slug AS source, source.operator, uri, started AS began_at, ended AS ended_at, requests
                 FROM attempt JOIN source ON source.slug = attempt.slug WHERE token = $1
                 UNION ALL SELECT source.slug, source.operator, uri, granted_at, NULL, NULL
                 FROM lease JOIN source ON source.slug = lease.slug WHERE token = $1";
            tx.maybe(
                both,
                values![token],
                |row| read!(row => AskedLease { source, operator, uri, began_at, ended_at, requests }),
            )
        })
    }

    /// The next moment at which something happens by itself: a lease expires, a waiting source
    /// becomes due, a server may be asked again, a peer has rested. `None` where nothing ever will.
    ///
    /// A source that is due already is not counted: it waits for a slot, or for its operator. Nor
    /// is a lease past its time that [`expire`](Self::expire) left: it is being published.
    pub fn next_deadline(
        &mut self,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(|tx| {
            let kept = "SELECT owner_release, owner_host, max_age, stopped, relied, announced_itself FROM source
                 WHERE polled AND due_at <= $1 AND (owner_release IS NOT NULL OR owner_host IS NOT NULL)";
            tx.foresee(kept, values![now])?;
            servers::foresee_welcome(tx, now, &terms.politeness)?;
            let next: Option<Timestamp> = tx.value(
                "SELECT least((SELECT min(expires_at) FROM lease WHERE expires_at > $1),
                     (SELECT min(due_at) FROM source WHERE polled AND due_at > $1),
                     (SELECT min(rests_until) FROM peer WHERE rests_until > $1))",
                values![now],
            )?;
            let welcome = servers::next_welcome(tx, now, &terms.politeness)?;
            let kept: Vec<OwnerWord> = tx.query(kept, values![now], sources::owner)?;
            let quiet = kept.iter().filter_map(|owner| owner.quiet_until(now));
            Ok(next.into_iter().chain(welcome).chain(quiet).min())
        })
    }
}

/// What is written down of a lease that ended.
#[derive(Default)]
pub(super) struct LeaseReport<'a> {
    pub(super) cost: message::Cost,
    pub(super) counts: message::Counts,
    pub(super) error: Option<&'a str>,
    /// Why it failed.
    pub(super) reason: Option<FailureKind>,
}

fn of(row: Row<'_>) -> Result<StagedLease, Cause> {
    read!(row => StagedLease { operator, put, put_bytes, dropped; lease: sources::lease(row)? })
}

/// The lease `token`, if `peer` holds it; nobody else ends it until this transaction is over. Every
/// verb of a peer that writes begins here, but those that stage, which don't keep the lease from
/// others.
pub(super) fn held(
    tx: &mut dyn Tx,
    peer: &str,
    token: u64,
    now: Timestamp,
) -> Result<StagedLease, Cause> {
    let one = leases!("token = $1", " FOR UPDATE OF lease");
    theirs(tx.maybe(one, values![token], of)?, peer, token, now)
}

/// As [`held`], for what may take minutes: it can be renewed meanwhile. Of two that say it at once,
/// one waits. What is needed besides can be asked for with it.
pub(super) fn held_for_long(
    tx: &mut dyn Tx,
    peer: &str,
    token: u64,
    now: Timestamp,
    foresee: impl FnOnce(&mut dyn Tx) -> Result<(), Cause>,
) -> Result<StagedLease, Cause> {
    let alone = sql!(""["" | "SELECT pg_advisory_xact_lock(-$1::bigint)"]);
    tx.defer(alone, values![token])?;
    let one = leases!("token = $1", " FOR KEY SHARE OF lease");
    tx.foresee(one, values![token])?;
    foresee(tx)?;
    theirs(tx.maybe(one, values![token], of)?, peer, token, now)
}

/// As [`held`], without keeping the lease from others.
pub(super) fn seen_held(
    tx: &mut dyn Tx,
    peer: &str,
    token: u64,
    now: Timestamp,
) -> Result<StagedLease, Cause> {
    theirs(tx.maybe(leases!("token = $1", ""), values![token], of)?, peer, token, now)
}

fn theirs(
    held: Option<StagedLease>,
    peer: &str,
    token: u64,
    now: Timestamp,
) -> Result<StagedLease, Cause> {
    let is_theirs =
        |lease: &Lease| lease.token == token && lease.peer == peer && lease.expires_at > now;
    match held {
        Some(held) if is_theirs(&held.lease) => Ok(held),
        _ => refused(format!("lease {token} is over, or was never this peer's")),
    }
}

/// The leases of a peer that nobody is ending or publishing.
fn unlocked_of(tx: &mut dyn Tx, peer: &str) -> Result<Vec<StagedLease>, Cause> {
    tx.query(leases!("peer = $1", " FOR UPDATE OF lease SKIP LOCKED"), values![peer], of)
}

/// Ends the lease of a source, if there is one.
pub(super) fn revoke(tx: &mut dyn Tx, slug: &str, now: Timestamp) -> Result<Option<Lease>, Cause> {
    let one = leases!("slug = $1", " FOR UPDATE OF lease");
    let Some(held) = tx.maybe(one, values![slug], of)? else {
        return Ok(None);
    };
    end(tx, &held, Verdict::Revoked, &LeaseReport::default(), &Went::Silent, now)?;
    Ok(Some(held.lease))
}

/// What [`Store::end_all`] does.
pub(super) fn end_all(
    tx: &mut dyn Tx,
    peer: &str,
    why: &str,
    now: Timestamp,
) -> Result<Vec<Lease>, Cause> {
    let mut ended = Vec::new();
    for held in unlocked_of(tx, peer)? {
        end(tx, &held, Verdict::Revoked, &LeaseReport::default(), &Went::Silent, now)?;
        tx.tell(Event::over(&held.lease, why))?;
        ended.push(held.lease);
    }
    Ok(ended)
}

/// Renews leases of one peer; returns those that it holds.
fn renew_for(
    tx: &mut dyn Tx,
    peer: &str,
    tokens: &[u64],
    now: Timestamp,
    terms: &Terms,
) -> Result<Vec<u64>, Cause> {
    let renewal =
        |&token: &u64| Renewal { token, peer: peer.to_owned(), at: now, is_finishing: false };
    let renewals: Vec<Renewal> = tokens.iter().map(renewal).collect();
    let gone = renew(tx, &renewals, terms)?;
    let is_gone = |token: u64| gone.iter().any(|renewal| renewal.token == token);
    Ok(tokens.iter().copied().filter(|&token| !is_gone(token)).collect())
}

/// Extends the leases that were alive when their renewals were heard; returns the renewals of
/// others. One that somebody ends is alive as far as can be told, and stays as it is.
fn renew(tx: &mut dyn Tx, renewals: &[Renewal], terms: &Terms) -> Result<Vec<Renewal>, Cause> {
    // A larger token than a column can hold was never granted.
    let tokens = renewals.iter().filter_map(|renewal| i64::try_from(renewal.token).ok());
    let tokens = json(&tokens.collect::<Vec<_>>());
    let known: Vec<Lease> = tx.query(
        sql!(
            "SELECT * FROM lease WHERE token IN (SELECT CAST(value AS bigint) FROM "
            ["json_each($1)" | "json_array_elements_text($1::text::json)"] ")"
        ),
        values![tokens],
        sources::lease,
    )?;
    let mut leases: HashMap<u64, Lease> =
        known.into_iter().map(|lease| (lease.token, lease)).collect();
    let (mut heard, mut gone) = (HashMap::new(), Vec::new());
    let mut in_order: Vec<&Renewal> = renewals.iter().collect();
    in_order.sort_by_key(|renewal| renewal.at);
    for renewal in in_order {
        match leases.get_mut(&renewal.token) {
            Some(lease) if lease.peer == renewal.peer && lease.expires_at > renewal.at => {
                let last = lease.granted_at.plus(terms.lease_longest);
                let until = renewal.at.plus(terms.lease);
                let until = if renewal.is_finishing { until } else { until.min(last) };
                // Never shortened: the clock may have been set back since.
                lease.expires_at = lease.expires_at.max(until);
                let until = lease.expires_at.millis();
                heard.insert(renewal.token, (until, &renewal.peer, renewal.at.millis()));
            }
            _ => gone.push(renewal.clone()),
        }
    }
    if !heard.is_empty() {
        extend(tx, json(&heard))?;
    }
    Ok(gone)
}

/// Writes until when leases live, and when their peers were last heard of: of each token these two
/// with the peer's name between them.
fn extend(tx: &mut dyn Tx, heard: String) -> Result<(), Cause> {
    tx.execute(
        sql!(
            "UPDATE lease SET expires_at = greatest(lease.expires_at, heard.until)
             FROM (SELECT CAST(key AS bigint) AS token, CAST(value ->> 0 AS bigint) AS until
                   FROM " ["json_each($1)" | "json_each($1::text::json)"] ") AS heard
             WHERE lease.token = heard.token" ["" | "
               AND lease.token IN (
                   SELECT lease.token FROM lease
                   JOIN json_each($1::text::json) ON CAST(key AS bigint) = lease.token
                   FOR NO KEY UPDATE OF lease SKIP LOCKED)"]
        ),
        values![&heard],
    )?;
    tx.execute(
        sql!(
            "UPDATE peer SET last_seen = greatest(peer.last_seen, heard.at)
             FROM (SELECT value ->> 1 AS name, max(CAST(value ->> 2 AS bigint)) AS at
                   FROM " ["json_each($1)" | "json_each($1::text::json)"] " GROUP BY 1) AS heard
             WHERE peer.name = heard.name" ["" | "
               AND peer.name IN (
                   SELECT peer.name FROM peer
                   JOIN json_each($1::text::json) ON value ->> 1 = peer.name
                   FOR NO KEY UPDATE OF peer SKIP LOCKED)"]
        ),
        values![&heard],
    )?;
    Ok(())
}

fn json(values: &impl serde::Serialize) -> String {
    serde_json::to_string(values).expect("numbers and strings are always JSON")
}

/// A due source that a peer may be granted, as far as it alone matters.
struct Welcome {
    due: Due,
    uri: String,
    kind: LeaseKind,
    checks: Checks,
    is_published: bool,
    packages: u64,
    families: Option<HostFamilies>,
    nearness: Nearness,
    /// When a lease of its operator ended last.
    last_ended: Option<Timestamp>,
    /// Whether the peer can reach it, its owner lets it be asked now, and the peer's bytes suffice.
    is_reached: bool,
    is_failing: bool,
    witnesses: Witnesses,
}

impl Welcome {
    /// Whether others can read it.
    fn is_sound(&self) -> bool {
        self.due.is_known && !self.is_failing && self.witnesses.are_silent()
    }
}

/// What a peer is given: what is due, and of that what others can read, or what isn't due yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Due,
    DueSound,
    EarlySound,
}

/// What [`Store::claim`] does. What is due first is found in the order of `schedule::DueTurn`, a window at a time: the
/// first fronts of free operators, and the first sources of each.
fn claim(
    tx: &mut dyn Tx,
    claimant: Claimant<'_>,
    slots: usize,
    now: Timestamp,
    terms: &Terms,
) -> Result<Vec<Grant>, Cause> {
    // Most are proven and get what they want: what that takes is asked for at once.
    tx.foresee(peers::RECORD, values![claimant.name])?;
    tx.foresee(roster::SEED, &[])?;
    let fronts = slots.saturating_add(SPARE).saturating_add(claimant.behind);
    let window = Window { fronts, sources: SOURCES, known_only: false };
    fronts::foresee(tx, Looking::of(&claimant, true), window, terms, now)?;
    let asking: Asking<'_> = roster::asking(tx, claimant.name)?;
    let record = peers::record(tx, claimant.name)?;
    let seed = roster::seed(tx)?;
    let share = record.share(now, SLOTS_MAX);
    if asking.trust == PeerTrust::Suspended || share == 0 {
        return Ok(Vec::new());
    }
    // Who has to prove itself does one thing after the other.
    let most = if asking.trust.publishes() { share } else { 1 };
    // A peer in doubt is tried by what isn't due yet, and if there is none, by what others can read: so
    // nobody waits for it.
    let given = match record.is_in_doubt() {
        true => &[Offered::EarlySound, Offered::DueSound, Offered::Due][..],
        false => &[Offered::Due],
    };
    let mut claim = Claim {
        claimant,
        asking,
        is_in_doubt: record.is_in_doubt(),
        seed,
        fronts,
        slots,
        most,
        is_begun: false,
        grants: Vec::new(),
    };
    for given in given {
        claim.grant_of(tx, *given, now, terms)?;
        if claim.is_over() || !claim.grants.is_empty() {
            break;
        }
    }
    // Last: a front that is kept from others while this waits for something could stop both.
    fronts::wake(tx, &terms.politeness, now)?;
    Ok(claim.grants)
}

/// A claim that is under way.
struct Claim<'a> {
    claimant: Claimant<'a>,
    asking: Asking<'a>,
    is_in_doubt: bool,
    /// What the network's chance begins with.
    seed: u64,
    /// How many fronts are looked at first.
    fronts: usize,
    /// How many leases it wants, and may hold in all.
    slots: usize,
    most: usize,
    is_begun: bool,
    grants: Vec<Grant>,
}

impl Claim<'_> {
    fn left(&self) -> usize {
        self.slots.saturating_sub(self.grants.len())
    }

    fn is_over(&self) -> bool {
        self.left() == 0
    }

    fn grant_of(
        &mut self,
        tx: &mut dyn Tx,
        given: Offered,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<(), Cause> {
        let mut tried = HashSet::new();
        let looking = Looking::of(&self.claimant, self.asking.trust.publishes());
        let mut window = Window {
            fronts: self.fronts,
            sources: SOURCES,
            known_only: !self.asking.trust.publishes() || given == Offered::DueSound,
        };
        while !self.is_over() {
            let read = |row: Row<'_>| self.welcome_of(row, now);
            let (fronts, found) = match given {
                Offered::EarlySound => {
                    (Vec::new(), tx.query(fronts::EARLY, &looking.early(terms, now), read)?)
                }
                Offered::Due | Offered::DueSound => {
                    fronts::first(tx, looking, window, terms, now, read)?
                }
            };
            // Up to where nothing can have been missed.
            let last = fronts.last().filter(|_| fronts.len() == window.fronts);
            let mut end = last.map(Front::turn);
            for front in &fronts {
                let of_it = || found.iter().filter(|it| front.has(&it.due));
                if of_it().count() == window.sources {
                    let last = of_it().map(|it| it.due.turn()).max();
                    end = end.into_iter().chain(last).min();
                }
            }
            let is_all = end.is_none();
            let due = found
                .iter()
                .map(|it| &it.due)
                .filter(|due| end.is_none_or(|end| due.turn() <= end));
            let due: Vec<Due> = due.cloned().collect();
            let of_slug: HashMap<String, Welcome> = self.welcome(tx, found, now, terms)?;
            let is_welcome = |due: &Due| {
                let is_sound = |it: &Welcome| given == Offered::Due || it.is_sound();
                !tried.contains(&due.operator) && of_slug.get(&due.slug).is_some_and(is_sound)
            };
            let mut chosen = schedule::choose(due, usize::MAX, is_welcome);
            // What comes first is last, for others are at it.
            let behind = self.claimant.behind.min(chosen.len());
            chosen.rotate_left(behind);
            let mut chosen = chosen.into_iter();
            while chosen.len() > 0 && !self.is_over() {
                let some: Vec<&Welcome> =
                    chosen.by_ref().take(self.left()).map(|due| &of_slug[&due.slug]).collect();
                tried.extend(some.iter().map(|it| it.due.operator.clone()));
                if !self.begin(tx, &some, now)? {
                    return Ok(());
                }
                for it in some.into_iter().take(self.left()) {
                    self.grants.extend(self.grant(tx, it, now, terms)?);
                }
            }
            if self.is_over() {
                return Ok(());
            }
            if is_all {
                break;
            }
            window.fronts = window.fronts.saturating_mul(WIDER);
            window.sources = window.sources.saturating_mul(WIDER);
        }
        Ok(())
    }

    /// Before the first grant: one claim a peer at a time, or its leases could be too many. Whether it gets any.
    /// What is asked of the first is asked for with that.
    fn begin(
        &mut self,
        tx: &mut dyn Tx,
        chosen: &[&Welcome],
        now: Timestamp,
    ) -> Result<bool, Cause> {
        if !self.is_begun {
            peers::seen(tx, self.claimant.name, None, now)?;
        }
        for it in chosen {
            foresee_grant(tx, it, now)?;
        }
        if !self.is_begun {
            let held = "SELECT count(*) FROM lease WHERE peer = $1";
            let held: u64 = tx.value(held, values![self.claimant.name])?;
            let held = usize::try_from(held).unwrap_or(usize::MAX);
            self.slots = self.slots.min(self.most.saturating_sub(held));
            self.is_begun = true;
        }
        Ok(!self.is_over())
    }

    fn welcome_of(&self, row: Row<'_>, now: Timestamp) -> Result<Welcome, Cause> {
        let (peer, publishes) = (self.claimant, self.asking.trust.publishes());
        let due: Result<Due, Cause> = read!(row => Due {
            slug, operator, domain, due_at, ranking;
            is_announced: row.get("announced")?,
            is_known: row.get("known")?
        });
        let due = due?;
        let new_for = row.get::<bool>("is_new")?.then(|| now.since(due.due_at));
        let families = row.get("families")?;
        // Most are for whoever comes.
        let is_special = !publishes || row.get::<Option<LeaseKind>>("wants")?.is_some();
        Ok(Welcome {
            is_reached: may_reach(peer.reaches, families, new_for)
                && sources::owner(row)?.quiet_until(now).is_none()
                && peer.bytes.is_none_or(|most| {
                    let (fetched, packages) = (row.get("fetched"), row.get("packages"));
                    let known = |known: Result<u64, _>| known.unwrap_or_default();
                    traffic::known(known(fetched), known(packages)) <= most
                }),
            families,
            due,
            uri: row.get("uri")?,
            kind: LeaseKind::Index,
            checks: if is_special { sources::checks(row)? } else { Checks::default() },
            nearness: Nearness {
                own: match (row.get::<Option<u64>>("near_millis")?, row.get("near_at")?) {
                    (Some(millis), Some(at)) => Some((Duration::from_millis(millis), at)),
                    _ => None,
                },
                asked_plainly: row.get::<Option<Timestamp>>("plain_at")?.zip(row.get("plain_by")?),
            },
            last_ended: row.get("last_ended")?,
            is_failing: row.get("failing")?,
            witnesses: row.get("witnesses")?,
            is_published: is_special && row.get("published")?,
            packages: if is_special { row.get("packages")? } else { 0 },
        })
    }

    /// Those of `found` that are for this peer by what is known of the sources, by slug. Whether their operators
    /// are free is looked at last.
    fn welcome(
        &self,
        tx: &mut dyn Tx,
        mut found: Vec<Welcome>,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<HashMap<String, Welcome>, Cause> {
        let (peer, publishes) = (self.claimant, self.asking.trust.publishes());
        found.retain(|it| it.is_reached);
        if let Some(never) = peer.never.filter(|never| !never.is_empty()) {
            let host = |it: &Welcome| Source { uri: it.uri.clone(), ..Source::default() }.host();
            let hosts: Vec<String> = found.iter().map(host).collect();
            let addresses = match never.has_nets() {
                true => servers::addresses_of(tx, &hosts)?,
                false => HashMap::new(),
            };
            found.retain(|it| {
                let host = host(it);
                may_ask(never, &host, addresses.get(&host).map_or(&[][..], Vec::as_slice))
            });
        }
        if found.iter().any(|it| it.checks.wants.is_some()) || !(publishes || found.is_empty()) {
            let (candidates, seed) = (roster::candidates(tx, now)?, roster::seed(tx)?);
            found.retain_mut(|it| {
                let source = DueCheck {
                    slug: &it.due.slug,
                    checks: &it.checks,
                    is_published: it.is_published,
                    packages: it.packages,
                    due_at: it.due.due_at,
                    families: it.families,
                };
                let kind = lease_for(&self.asking, source, &candidates, seed, now);
                it.kind = kind.unwrap_or(it.kind);
                kind.is_some()
            });
        }
        if terms.followers.iter().any(|name| name == peer.name) {
            // What it publishes is for others to check.
            found.retain(|it| it.kind == LeaseKind::Index);
        } else if !found.is_empty() && is_followed(tx, now, terms)? {
            found.retain(|it| it.kind != LeaseKind::Index);
        }
        if found.iter().any(|it| !it.witnesses.is_empty()) {
            let others = peers::others(tx, peer.name, ("", None), now)?;
            let schedule = terms.polls.everybody();
            found.retain(|it| {
                let due_at = it.due.due_at.min(now);
                it.witnesses.kept_until(peer.name, due_at, schedule, &others) <= Some(now)
            });
        }
        if !terms.followers.iter().any(|name| name == peer.name) {
            self.wait_for_the_near(tx, &mut found, now)?;
        }
        Ok(found.into_iter().map(|it| (it.due.slug.clone(), it)).collect())
    }
}

impl Claim<'_> {
    /// Leaves to others what this peer [waits](crate::rules::nearness) for one of them to take.
    fn wait_for_the_near(
        &self,
        tx: &mut dyn Tx,
        found: &mut Vec<Welcome>,
        now: Timestamp,
    ) -> Result<(), Cause> {
        let peer = self.claimant.name;
        // Of each domain once.
        let mut others = HashMap::new();
        for it in found.iter() {
            let is_index = it.kind == LeaseKind::Index && !it.due.is_announced;
            if is_index && it.nearness.may_wait(peer, now) && !others.contains_key(&it.due.domain) {
                let since = it.nearness.own.map_or(now, |(_, at)| at);
                let here = near::others(tx, (peer, &it.due.domain), since, now)?;
                others.insert(it.due.domain.clone(), here);
            }
        }
        found.retain(|it| {
            let is_index = it.kind == LeaseKind::Index && !it.due.is_announced;
            let since = it.last_ended.unwrap_or(it.due.due_at).max(it.due.due_at);
            let others = others.get(&it.due.domain).filter(|_| is_index);
            others.is_none_or(|others| !it.nearness.waits(peer, *others, since, now))
        });
        Ok(())
    }
}

/// Whether a peer is here and well that follows another network.
fn is_followed(tx: &mut dyn Tx, now: Timestamp, terms: &Terms) -> Result<bool, Cause> {
    if terms.followers.is_empty() {
        return Ok(false);
    }
    for here in roster::candidates(tx, now)? {
        if terms.followers.contains(&here.name)
            && peers::record(tx, &here.name)?.share(now, SLOTS_MAX) == SLOTS_MAX
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is asked before a source is granted: its operator's last end, kept from others; whether that has a lease
/// by then; and the source, kept from others.
const LAST_ENDED: Sql =
    sql!("SELECT last_lease_ended FROM operator WHERE name = $1"["" | " FOR UPDATE SKIP LOCKED"]);
// Of all sources only those that have a lease are looked at.
const IS_LEASED: &str = "SELECT EXISTS (
     SELECT 1 FROM lease
     WHERE operator = $1 OR $1 = (SELECT operator FROM source WHERE source.slug = lease.slug))";
// The token is used up even where nothing is granted.
const GRANTED: Sql = sql!(
    "SELECT source.*, CAST(0 AS bigint) AS packages, CAST(NULL AS bigint) AS token,
         false AS spared, CASE WHEN spent_on = $4 THEN spent ELSE 0 END AS spent_today, "
        ["(SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'lease')"
            | "nextval('arbiter.token')"] " AS next_token
     FROM source WHERE slug = $1 AND operator = $2 AND polled AND due_at <= $3"
        ["" | " FOR UPDATE SKIP LOCKED"]
);
const GRANT: &str =
    "INSERT INTO lease (token, slug, operator, peer, granted_at, expires_at, kind, plain)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// That a source is about to be granted.
fn foresee_grant(tx: &mut dyn Tx, welcome: &Welcome, now: Timestamp) -> Result<(), Cause> {
    let due = &welcome.due;
    tx.foresee(LAST_ENDED, values![&due.operator])?;
    tx.foresee(IS_LEASED, values![&due.operator])?;
    servers::foresee(tx, Ok(&due.domain))?;
    tx.foresee(GRANTED, &granted_values(due, now))?;
    if welcome.kind != LeaseKind::Audit {
        sources::foresee_probed(tx, &due.slug, now)?;
    }
    if welcome.kind == LeaseKind::Index
        && let Some((place, _)) =
            owner::place(&Source { uri: welcome.uri.clone(), ..Source::default() })
    {
        tx.foresee(OWNER_ASKED, values![place])?;
    }
    Ok(())
}

fn granted_values(due: &Due, now: Timestamp) -> [SqlValue<'_>; 4] {
    let until = due.due_at.max(now);
    [(&due.slug).into(), (&due.operator).into(), until.into(), traffic::day(now).into()]
}

impl Claim<'_> {
    /// Grants a source, unless another arbiter does, or its operator is not to be asked now. Nothing is waited for
    /// after the first: what is [foreseen](foresee_grant) of several sources is one trip, and the end another.
    fn grant(
        &self,
        tx: &mut dyn Tx,
        welcome: &Welcome,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Option<Grant>, Cause> {
        let (peer, due, kind) = (self.claimant.name, &welcome.due, welcome.kind);
        let Some(last_ended) = tx.maybe(LAST_ENDED, values![&due.operator], first)? else {
            return Ok(None);
        };
        // What was read before the lock may be over by now.
        let is_leased = tx.value(IS_LEASED, values![&due.operator])?;
        let distance = servers::distance(tx, &due.domain)?;
        let operator = Operator { is_leased, last_ended };
        if may_grant(&operator, &distance, peer, now, &terms.politeness) != May::Grant {
            return Ok(None);
        }
        let found = tx.maybe(GRANTED, &granted_values(due, now), |row| {
            let plain: (Option<Timestamp>, Option<String>) =
                (row.get("plain_at")?, row.get("plain_by")?);
            let (spent, token) = (row.get::<u64>("spent_today")?, row.get::<u64>("next_token")?);
            Ok((sources::state(row)?, plain, spent, token))
        })?;
        // Who gets it was found by what it wanted then.
        let Some((remembered, (plain_at, plain_by), spent, token)) =
            found.filter(|(it, ..)| it.checks.wants == welcome.checks.wants)
        else {
            return Ok(None);
        };
        let Some(bytes_max) = terms.traffic.next(spent) else {
            return Ok(None);
        };
        let bytes_max = self.claimant.bytes.map_or(bytes_max, |most| bytes_max.min(most));
        let expires_at = now.plus(terms.lease.min(terms.lease_longest));
        // Whoever reads without memory asks without validators.
        let is_plain = kind != LeaseKind::Index
            || schedule::is_plain(plain_at.zip(plain_by.as_deref()), peer, now);
        // The operator's lock is ours and no lease is of it, nor of the source: this takes no other's place.
        tx.defer(
            GRANT,
            values![token, &due.slug, &due.operator, peer, now, expires_at, kind.word(), is_plain],
        )?;
        fronts::leased(tx, &due.operator)?;
        // Nothing can be staged under an audit.
        if kind != LeaseKind::Audit {
            tx.defer("INSERT INTO staged (token) VALUES ($1)", values![token])?;
        }
        tx.defer("UPDATE peer SET granted = granted + 1 WHERE name = $1", values![peer])?;
        // An audit's peer is told where the files are and nothing else.
        let probed = match kind {
            LeaseKind::Audit => None,
            LeaseKind::Index | LeaseKind::Reread => sources::probed(tx, &remembered, terms, now)?,
        };
        let (clock, times) = (remembered.clock(), remembered.witnesses.times());
        let schedule = remembered.schedule(&terms.polls);
        let is_read = remembered.origin.is_some();
        // A peer in doubt is tried by one path: what it misses, the next looks for.
        let is_trial = kind == LeaseKind::Index && is_read && self.is_in_doubt;
        let retry = schedule.retry(&clock, times, is_read, now).or_else(|| is_trial.then_some(0));
        let is_look = remembered.discovery.is_some_and(Stage::is_unseen);
        let owner = match kind {
            LeaseKind::Audit => None,
            LeaseKind::Index if !is_look => Some(asks_owner(tx, &remembered.source, now)?),
            LeaseKind::Index | LeaseKind::Reread => Some(false),
        };
        let is_looked_at = kind != LeaseKind::Index || is_plain || is_look || retry.is_some();
        let given = terms.publishers.of(&remembered.source).map(|given| &*given.uri);
        let publisher = match given.or_else(|| remembered.owner.publisher(&remembered.domain)) {
            Some(uri) if !is_looked_at && is_read && !remembered.is_announced => {
                let followed = sources::followed(tx, &remembered.source.slug)?;
                let head = followed.asked(plain_at, now);
                head.map(|head| NamedPublisher { uri: uri.to_owned(), head: head.to_owned() })
            }
            _ => None,
        };
        // Its answer is to be all that is asked for.
        let owner = if publisher.is_some() { Some(false) } else { owner };
        let SourceState { source, origin, due_at, .. } = remembered;
        let (origin, paths) = match kind {
            LeaseKind::Index if is_plain => {
                (origin.map(|origin| Origin { etag: None, last_modified: None, ..origin }), None)
            }
            LeaseKind::Index => (origin, None),
            LeaseKind::Audit | LeaseKind::Reread => {
                let paths = origin.map(|Origin { release_path, index_path, .. }| Paths {
                    release_path,
                    index_path,
                });
                (None, paths)
            }
        };
        Ok(Some(Grant {
            token,
            kind,
            source,
            due_at,
            origin,
            paths,
            probed,
            retry,
            expires_at,
            bytes_max,
            operator: due.operator.clone(),
            is_look,
            owner,
            publisher,
            request: request_id(token, self.seed),
        }))
    }
}

/// What a lease's requests say they are made by: its token, and what only the network can know of it.
fn request_id(token: u64, seed: u64) -> String {
    let proof = Sha256::digest(format!("request {token} {seed}"));
    format!("{token}-{}", HEXLOWER.encode(&proof[..10]))
}

const OWNER_ASKED: &str = "SELECT asked_at, says FROM owner_file WHERE place = $1";

/// Whether the host of a source is to be asked for its owner's files: once a day, and before anybody
/// believes again what forbids the source.
fn asks_owner(tx: &mut dyn Tx, source: &Source, now: Timestamp) -> Result<bool, Cause> {
    let Some((place, path)) = owner::place(source) else { return Ok(false) };
    let asked = tx.maybe(OWNER_ASKED, values![&place], |row| {
        Ok((row.get::<Timestamp>("asked_at")?, row.get::<OwnerSays>("says")?))
    })?;
    Ok(asked.is_none_or(|(at, says)| at.plus(HOST_EVERY) <= now || says.forbids(&path).is_some()))
}

/// So many bytes were fetched of a source.
pub(super) fn spent(tx: &mut dyn Tx, slug: &str, bytes: u64, now: Timestamp) -> Result<(), Cause> {
    let spent = "UPDATE source SET spent = CASE WHEN spent_on = $2 THEN spent ELSE 0 END + $3,
             spent_on = $2
         WHERE slug = $1";
    tx.defer(spent, values![slug, traffic::day(now), bytes])
}

/// A lease's source was asked; without validators, if it was to be.
pub(super) fn asked(tx: &mut dyn Tx, token: u64, now: Timestamp) -> Result<(), Cause> {
    tx.defer(
        "UPDATE source SET plain_at = $2, plain_by = lease.peer FROM lease
         WHERE lease.slug = source.slug AND lease.token = $1 AND lease.plain",
        values![token, now],
    )
}

/// Ends a lease: the only place where one goes, with what is staged under it.
pub(super) fn end(
    tx: &mut dyn Tx,
    held: &StagedLease,
    verdict: Verdict,
    report: &LeaseReport<'_>,
    went: &Went,
    now: Timestamp,
) -> Result<(), Cause> {
    let lease = &held.lease;
    let LeaseReport { cost, counts, error, reason } = report;
    peers::went(tx, lease, went, now)?;
    tx.defer(
        "INSERT INTO attempt (token, slug, peer, started, ended, verdict, requests, bytes_fetched,
             bytes_plain, millis, packages, put, dropped, skipped, error, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        values![
            lease.token,
            &lease.slug,
            &lease.peer,
            lease.granted_at,
            now,
            verdict.words(),
            cost.requests,
            cost.bytes_fetched,
            cost.bytes_plain,
            cost.millis,
            counts.packages,
            held.put,
            held.dropped,
            counts.skipped,
            *error,
            reason.map(FailureKind::words),
        ],
    )?;
    if let Some(millis) = cost.first_byte_millis {
        near::noted(tx, &lease.slug, &lease.peer, millis, now)?;
    }
    tally::count(tx, (&lease.slug, verdict), (cost, *reason), now)?;
    tx.defer(
        "DELETE FROM attempt WHERE slug = $1 AND token <=
             (SELECT token FROM attempt WHERE slug = $1 ORDER BY token DESC LIMIT 1 OFFSET $2)",
        values![&lease.slug, ATTEMPTS_KEPT],
    )?;
    match (held.put, held.dropped) {
        // What was staged since the lease was looked at, `sweep` takes.
        (0, 0) => tx.defer(
            sql!(
                "DELETE FROM staged WHERE put = 0 AND dropped = 0 AND token "["= $1"
                    | "IN (SELECT token FROM staged WHERE token = $1 FOR UPDATE SKIP LOCKED)"]
            ),
            values![lease.token],
        )?,
        _ => unstage(tx, lease.token)?,
    }
    tx.defer("DELETE FROM lease WHERE token = $1", values![lease.token])?;
    tx.defer(
        "INSERT INTO operator (name, last_lease_ended)
         SELECT $1, CAST($2 AS bigint) UNION SELECT operator, $2 FROM source WHERE slug = $3
         ON CONFLICT (name) DO UPDATE SET last_lease_ended = excluded.last_lease_ended",
        values![&held.operator, now, &lease.slug],
    )?;
    fronts::rest(tx, &held.operator, &lease.slug, now)?;
    discoveries::give_up(tx, &lease.slug, now)?;
    if *went == Went::Lost && matches!(verdict, Verdict::Expired | Verdict::GivenBack) {
        not_done(tx, lease, now)?;
    }
    let is = |verdicts: &[Verdict]| u64::from(verdicts.contains(&verdict));
    let is_heard = !matches!(verdict, Verdict::Expired | Verdict::Revoked);
    tx.defer(
        "UPDATE peer SET finished = finished + $2, failed = failed + $3,
             given_back = given_back + $4, expired = expired + $5, revoked = revoked + $6,
             last_seen = greatest(last_seen, $7)
         WHERE name = $1",
        values![
            &lease.peer,
            is(&[Verdict::Audited, Verdict::Held, Verdict::Indexed, Verdict::Unchanged]),
            is(&[Verdict::PeerFailed, Verdict::SentAway, Verdict::SourceFailed]),
            is(&[Verdict::GivenBack]),
            is(&[Verdict::Expired]),
            is(&[Verdict::Revoked]),
            is_heard.then_some(now),
        ],
    )?;
    // Its operator is free.
    tx.tell(Event::Look)
}

/// Remembers that a peer didn't do a lease, so that another comes first. A source that somebody is at in
/// this very moment is left as it is.
fn not_done(tx: &mut dyn Tx, lease: &Lease, now: Timestamp) -> Result<(), Cause> {
    let one = sql!("SELECT witnesses FROM source WHERE slug = $1"["" | " FOR UPDATE SKIP LOCKED"]);
    if let Some(found) = tx.maybe(one, values![&lease.slug], first::<Witnesses>)? {
        let mut witnesses = found;
        witnesses.note(&peers::place(tx, &lease.peer)?, Met::Nothing, now);
        let noted = "UPDATE source SET witnesses = $2 WHERE slug = $1";
        tx.execute(noted, values![&lease.slug, &witnesses])?;
    }
    Ok(())
}

/// Takes away what is staged, without waiting for a peer that is writing at this very moment: then
/// [`sweep`] takes it.
fn unstage(tx: &mut dyn Tx, token: u64) -> Result<(), Cause> {
    let staged = tx.maybe(
        sql!("DELETE FROM staged WHERE token "
            ["= $1" | "IN (SELECT token FROM staged WHERE token = $1 FOR UPDATE SKIP LOCKED)"]
            " RETURNING put, dropped"),
        values![token],
        |row| Ok((row.get::<u64>("put")?, row.get::<u64>("dropped")?)),
    )?;
    let (put, dropped) = staged.unwrap_or_default();
    if put > 0 {
        tx.execute("DELETE FROM staging WHERE token = $1", values![token])?;
    }
    if dropped > 0 {
        tx.execute("DELETE FROM staging_dropped WHERE token = $1", values![token])?;
    }
    Ok(())
}

/// Takes away what was being staged while its lease ended.
fn sweep(tx: &mut dyn Tx) -> Result<(), Cause> {
    let left = "SELECT token FROM staged WHERE token NOT IN (SELECT token FROM lease)";
    let left: Vec<u64> = tx.query(left, &[], first)?;
    left.into_iter().try_for_each(|token| unstage(tx, token))
}
