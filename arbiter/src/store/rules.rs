//! What the operator decided, what the rules in force make of the sources, and what the brake holds.

use super::postgres::events::Event;
use super::sql::{Alone, Cause, Row, Tx, first, read, refused, sql, values};
use super::{HeldChange, HeldKind, Lease, SourceState, Store, StoreError, Terms};
use super::{discoveries, leases, listing, losses, publications, servers, sources, trust};
use crate::rules::changes::{self, Act, Change, Changed};
use crate::rules::decision::{self, Decided, Decision};
use crate::rules::entry::Entry;
use crate::rules::exchange::{self, Imported, Importing, SharedSources};
use crate::rules::policy::{self, Policy};
use crate::rules::schedule::Standing;
use crate::rules::sources::Diff;
use crate::rules::timestamp::Timestamp;
use canister_protocol::Source;
use log::info;
use std::collections::{BTreeSet, HashSet};

/// Most packages that are deleted in one transaction: others wait meanwhile.
const DELETED_AT_ONCE: u64 = 2_000;

/// Why a lease ended whose source the source list names no more, or finds elsewhere.
const LISTED_OTHERWISE: &str = "its source was changed or is listed no more";
/// Why a lease ended whose source is to be asked no more.
const AGAINST: &str = "the arbiter's rules are against its source now";

/// What an act did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The policy in force after it; none where the act can't change it.
    pub policy: Option<Policy>,
    /// What it changed in the sources.
    pub changed: Changed,
    /// The leases that it ended, and why.
    pub ended: Vec<(Lease, &'static str)>,
    /// What the source list changed, where one was read.
    pub listed: Option<ListSettled>,
    /// The held change that was decided on.
    pub decided: Option<HeldChange>,
    /// What was imported.
    pub imported: Imported,
    /// How many sources it made due by their name, or all together.
    pub synced: u64,
}

/// What a source list changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSettled {
    /// Sources that it names.
    pub listed: usize,
    /// What is new in it.
    pub diff: Diff,
    /// Why what it would remove is held, where it is.
    pub held: Option<String>,
}

/// A decision as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Higher than that of every decision before it.
    pub number: u64,
    pub decision: Decision,
    /// What the held change was that it is of.
    pub about: Option<String>,
    /// Whether it still counts.
    pub is_in_force: bool,
}

impl Store {
    /// Does what an act says and makes the sources what the rules in force say then, all in one
    /// transaction: nobody else does so meanwhile, and it follows from what is remembered at that
    /// moment alone. `settings` and `terms` are the arbiter's own.
    ///
    /// What would hide too much is held, unless it was accepted; what the operator says of some
    /// sources isn't braked. Of what was held before, that is forgotten which would not be done any
    /// more.
    ///
    /// **Repeated**: the same again, with no lease left to end; a decision is remembered twice.
    ///
    /// # Errors
    /// `Refused` where the act is of a source or a held change that isn't there.
    pub fn settle(
        &mut self,
        act: &Act,
        settings: &policy::PolicySettings,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let (settled, changes) = self.write(|tx| {
            tx.lock(Alone::Listing)?;
            settle(tx, act, settings, terms, now)
        })?;
        for change in changes {
            told(&change.slug, change.stands);
        }
        Ok(settled)
    }

    /// What would change if these were the arbiter's settings and terms.
    pub fn plan(
        &mut self,
        settings: &policy::PolicySettings,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Changed, StoreError> {
        self.read(|tx| {
            let states = sources::all(tx)?;
            let (policy, lately) = (in_force(tx, settings)?, losses::lately(tx, now)?);
            let plan = changes::plan(&states, &policy, terms, None, &lately, now);
            let held = match &plan.braked {
                Some(change) if !is_accepted(tx, change)? => Some(change.why.clone()),
                _ => None,
            };
            let idle_overrides = idle(&states, terms);
            Ok(Changed { held, idle_overrides, ..Changed::of(&plan.changes) })
        })
    }

    /// What importing would come to.
    pub fn plan_import(
        &mut self,
        told: &SharedSources,
        by: &str,
        settings: &policy::PolicySettings,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<(Imported, Changed), StoreError> {
        self.read(|tx| {
            let states = sources::all(tx)?;
            let mut policy = in_force(tx, settings)?;
            let room = discoveries::room(tx)?;
            let Importing { decisions, report, .. } =
                exchange::importing(&states, &policy, told, by, room, now);
            policy.decisions.extend(decisions);
            let lately = losses::lately(tx, now)?;
            let plan = changes::plan(&states, &policy, terms, None, &lately, now);
            let held = plan.braked.as_ref().map(|change| change.why.clone());
            Ok((report, Changed { held, ..Changed::of(&plan.changes) }))
        })
    }

    /// The policy in force, with these settings.
    pub fn policy(&mut self, settings: &policy::PolicySettings) -> Result<Policy, StoreError> {
        self.read(|tx| in_force(tx, settings))
    }

    /// The newest `limit` decisions, newest first.
    pub fn decisions(&mut self, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        // What was said of a held change is over when that was made, or would be made no more.
        let newest = "SELECT decision.*, in_force AND (said NOT IN ('accept', 'reject') OR EXISTS
                 (SELECT 1 FROM held WHERE 'held:' || held.number = subject)) AS counts
             FROM decision ORDER BY number DESC LIMIT $1";
        self.read(|tx| {
            tx.query(newest, values![limit], |row| {
                Ok(Remembered {
                    number: row.get("number")?,
                    decision: decision(row)?,
                    about: row.get("about")?,
                    is_in_force: row.get("counts")?,
                })
            })
        })
    }

    /// The changes that wait for the operator, oldest first.
    pub fn held(&mut self) -> Result<Vec<HeldChange>, StoreError> {
        let waiting = "SELECT * FROM held WHERE NOT EXISTS
                 (SELECT 1 FROM decision WHERE in_force AND subject = 'held:' || held.number)
             ORDER BY number";
        self.read(|tx| tx.query(waiting, &[], held))
    }

    /// Deletes packages that left at `left` or before, publications of that time that nothing comes
    /// from any more, and all that is left of sources that were
    /// delisted at `delisted` or before, but a few thousand packages at most; how many. To be
    /// called again until there are none.
    pub fn clean(&mut self, left: Timestamp, delisted: Timestamp) -> Result<u64, StoreError> {
        self.write(|tx| {
            // One arbiter does it for all.
            if !tx.try_lock(Alone::Cleaning)? {
                return Ok(0);
            }
            let mut gone = tx.execute(
                "DELETE FROM package WHERE id IN
                     (SELECT id FROM package WHERE left_at <= $1 ORDER BY left_at LIMIT $2)",
                values![left, DELETED_AT_ONCE],
            )?;
            // Locked, so that nobody is granted one of them meanwhile.
            let given_up: Vec<String> = tx.query(
                sql!(
                    "SELECT slug FROM source
                      WHERE standing = 'delisted' AND stood_at <= $1 AND origin_head IS NOT NULL"
                        ["" | " FOR UPDATE SKIP LOCKED"]
                ),
                values![delisted],
                first,
            )?;
            let leased: HashSet<String> = tx.query("SELECT slug FROM lease", &[], first)?;
            for slug in given_up {
                if gone >= DELETED_AT_ONCE {
                    break;
                }
                if !leased.contains(&slug) {
                    gone += forget(tx, &slug)?;
                }
            }
            gone += publications::forget(tx, left, DELETED_AT_ONCE)?;
            Ok(gone)
        })
    }
}

/// Deletes packages of a source, and with the last of them what is remembered of its files: with
/// nothing of it in the catalogue, nothing of it can be unchanged.
fn forget(tx: &mut dyn Tx, slug: &str) -> Result<u64, Cause> {
    let gone = tx.execute(
        "DELETE FROM package WHERE id IN
             (SELECT id FROM package WHERE repository_id = $1 LIMIT $2)",
        values![slug, DELETED_AT_ONCE],
    )?;
    if gone < DELETED_AT_ONCE {
        for rest in [
            "DELETE FROM absent WHERE slug = $1",
            "DELETE FROM keyring WHERE slug = $1",
            "DELETE FROM price WHERE slug = $1",
        ] {
            tx.execute(rest, values![slug])?;
        }
        tx.execute(
            "UPDATE repository SET package_count = 0, sections = $2 WHERE id = $1",
            values![slug, Vec::<String>::new()],
        )?;
        tx.execute(
            "UPDATE source SET names = 0, origin_head = NULL, origin_release_path = NULL,
                 origin_etag = NULL, origin_last_modified = NULL, origin_index_path = NULL,
                 origin_index_digest = NULL, signature = NULL, signed_by = NULL,
                 signed_until = NULL, next_signers = $2, next_until = NULL
             WHERE slug = $1",
            values![slug, Vec::<String>::new()],
        )?;
    }
    Ok(gone)
}

/// See [`Store::settle`]; with what was changed in the sources.
fn settle(
    tx: &mut dyn Tx,
    act: &Act,
    settings: &policy::PolicySettings,
    terms: &Terms,
    now: Timestamp,
) -> Result<(Settled, Vec<Change>), Cause> {
    let mut settled = Settled::default();
    let only = match act {
        Act::Configured | Act::Imported { .. } | Act::Listed { .. } => None,
        Act::Decided { said, by, why } => {
            let (said, by, why) = (said.clone(), by.clone(), why.clone());
            let decision = Decision { said, by, at: now, why };
            settled.decided = decide(tx, &decision)?;
            if let Decided::Suspend(_) | Decided::Trust(_) = decision.said {
                let ended = trust::decide(tx, &decision.said, &decision.why, now)?;
                settled.ended = ended.into_iter().map(|lease| (lease, trust::SUSPENDED)).collect();
                tx.tell(Event::Look)?;
                return Ok((settled, Vec::new()));
            }
            match (decision.said, settled.decided.as_ref().map(|change| change.kind)) {
                (Decided::Accept(_), Some(HeldKind::Policy)) => None,
                (Decided::Allow(entry) | Decided::Block(entry), _) => Some(entry),
                (Decided::Approve(slug) | Decided::Delist(slug), _) => Some(Entry::Slug(slug)),
                _ => return Ok((settled, Vec::new())),
            }
        }
        Act::Synced { source: None, .. } => {
            let due = "UPDATE source SET due_at = least(due_at, $1), plain_at = NULL WHERE polled";
            settled.synced = tx.execute(due, values![now])?;
            tx.tell(Event::Look)?;
            return Ok((settled, Vec::new()));
        }
        Act::Synced { source: Some(slug), by } => {
            let before = sources::find(tx, slug)?;
            if before.is_none_or(|state| state.delisted.is_none()) {
                settled.synced = sync(tx, slug, now)?;
                return Ok((settled, Vec::new()));
            }
            let said = Decided::Approve(slug.clone());
            decide(tx, &Decision { said, by: by.clone(), at: now, why: String::new() })?;
            Some(Entry::Slug(slug.clone()))
        }
    };
    let mut states = match &only {
        Some(Entry::Slug(slug)) => sources::find(tx, slug)?.into_iter().collect(),
        _ => sources::all(tx)?,
    };
    if let Act::Listed { sources, blocked_hosts } = act {
        if let Some(hosts) = blocked_hosts {
            block(tx, hosts)?;
        }
        if let Some(listed) = sources {
            let (listed, ended) = list(tx, &mut states, listed, terms, now)?;
            settled.listed = Some(listed);
            settled.ended = ended.into_iter().map(|lease| (lease, LISTED_OTHERWISE)).collect();
        }
    }
    if let Act::Imported { told, by } = act {
        settled.imported = import(tx, &mut states, settings, (told, by), now)?;
    }
    let policy = in_force(tx, settings)?;
    let lately = losses::lately(tx, now)?;
    let plan = changes::plan(&states, &policy, terms, only.as_ref(), &lately, now);
    let passage = match only {
        Some(_) => Passage::Accepted,
        None => passage(tx, (HeldKind::Policy, None), plan.braked.as_ref())?,
    };
    if passage == Passage::Free {
        losses::lose(tx, &plan.losses, now)?;
    }
    let (planned, why) = plan.settled(passage == Passage::Accepted);
    let mut changes = Vec::new();
    for planned in planned {
        let ended = apply(tx, &planned, &policy, terms, &mut changes, now)?;
        settled.ended.extend(ended.into_iter().map(|lease| (lease, AGAINST)));
    }
    if let Act::Synced { source: Some(slug), .. } = act {
        settled.synced = sync(tx, slug, now)?;
    }
    for (lease, why) in &settled.ended {
        tx.tell(Event::over(lease, why))?;
    }
    tx.tell(Event::Look)?;
    settled.changed = Changed { held: why, ..Changed::of(&changes) };
    if only.is_none() {
        settled.changed.idle_overrides = idle(&states, terms);
    }
    settled.policy = Some(policy);
    Ok((settled, changes))
}

/// Takes in what another told; `states` are all sources, and are so after it, too.
fn import(
    tx: &mut dyn Tx,
    states: &mut Vec<SourceState>,
    settings: &policy::PolicySettings,
    (told, by): (&SharedSources, &str),
    now: Timestamp,
) -> Result<Imported, Cause> {
    let (policy, room) = (in_force(tx, settings)?, discoveries::room(tx)?);
    let Importing { sources, decisions, report } =
        exchange::importing(states, &policy, told, by, room, now);
    for decision in &decisions {
        remember(tx, decision, None)?;
    }
    for (told, stage) in &sources {
        discoveries::import(tx, told, *stage, by, now)?;
    }
    if !sources.is_empty() {
        servers::regroup(tx)?;
        *states = sources::all(tx)?;
    }
    Ok(report)
}

/// Overrides of poll schedules that name no source.
fn idle(states: &[SourceState], terms: &Terms) -> Vec<Entry> {
    terms.polls.idle(states.iter().map(|state| &state.source))
}

/// The policy of this moment.
fn in_force(tx: &mut dyn Tx, settings: &policy::PolicySettings) -> Result<Policy, Cause> {
    let decided = "SELECT * FROM decision
         WHERE in_force AND said NOT IN ('accept', 'reject', 'suspend', 'trust') ORDER BY number";
    Ok(Policy {
        settings: settings.clone(),
        blocked_hosts: tx.query("SELECT host FROM blocked_host", &[], first)?,
        decisions: tx.query(decided, &[], decision)?,
    })
}

/// Does what a decision says, and remembers it. Returns the held change that it is of.
fn decide(tx: &mut dyn Tx, decision: &Decision) -> Result<Option<HeldChange>, Cause> {
    let Decision { said, at, .. } = decision;
    let mut change = None;
    match said {
        Decided::Allow(_) | Decided::Block(_) | Decided::Suspend(_) | Decided::Trust(_) => {}
        Decided::Accept(number) | Decided::Reject(number) => {
            let of_number = "SELECT * FROM held WHERE number = $1";
            change = tx.maybe(of_number, values![*number], held)?;
            let Some(change) = &change else {
                return refused(format!(
                    "nothing of number {number} is held; run `held` to list what is"
                ));
            };
            if let (Decided::Accept(_), Some(slug)) = (said, &change.slug) {
                // What it staged is gone: it is read again, and published then.
                sync(tx, slug, *at)?;
            }
        }
        Decided::Approve(slug) => {
            let is_delisted = sources::find(tx, slug)?.is_some_and(|it| it.delisted.is_some());
            if discoveries::approve(tx, slug, *at)? {
                sources::show(tx, slug)?;
            } else if !is_delisted {
                return refused(format!(
                    "no source named {slug:?} awaits approval or is delisted; run `sources` to list them"
                ));
            }
        }
        Decided::Delist(slug) => {
            if !sources::find(tx, slug)?.is_some_and(|state| state.is_listed) {
                return refused(format!(
                    "no source on the source list is named {slug:?}; run `sources` to list them"
                ));
            }
        }
    }
    let about = change.as_ref().map(|change| format!("{}: {}", change.kind.word(), change.why));
    remember(tx, decision, about)?;
    Ok(change)
}

/// Remembers a decision, which is in force from now on instead of the one before on its subject.
fn remember(tx: &mut dyn Tx, decision: &Decision, about: Option<String>) -> Result<(), Cause> {
    let Decision { said, by, at, why } = decision;
    let subject = said.subject();
    tx.execute(
        "UPDATE decision SET in_force = false
         WHERE in_force AND subject = $1 AND said IN ($2, $3)",
        values![&subject, said.word(), said.opposite()],
    )?;
    tx.execute(
        "INSERT INTO decision (said, subject, about, by_whom, decided_at, why, in_force)
         VALUES ($1, $2, $3, $4, $5, $6, true)",
        values![said.word(), &subject, &about, by, *at, why],
    )?;
    tx.tell(Event::Decided)
}

/// Makes a listed source due at once, also where failing delisted it; how many there are. One that is
/// leased is due again only as its finish says.
fn sync(tx: &mut dyn Tx, slug: &str, now: Timestamp) -> Result<u64, Cause> {
    let due = tx.execute(
        "UPDATE source SET due_at = least(due_at, $2), plain_at = NULL,
             announced = announced OR standing = 'delisted'
         WHERE listed AND blocked IS NULL AND delisted IS NULL AND slug = $1",
        values![slug, now],
    )?;
    tx.tell(Event::Look)?;
    Ok(due)
}

/// Keeps the hosts of the block lists.
fn block(tx: &mut dyn Tx, hosts: &BTreeSet<String>) -> Result<(), Cause> {
    let kept: BTreeSet<String> = tx.query("SELECT host FROM blocked_host", &[], first)?;
    if kept == *hosts {
        return Ok(());
    }
    let hosts: Vec<String> = hosts.iter().cloned().collect();
    tx.execute("DELETE FROM blocked_host", &[])?;
    tx.execute(
        sql!(
            "INSERT INTO blocked_host (host) SELECT "
                ["value FROM json_each($1)" | "unnest($1::text[])"]
        ),
        values![&hosts],
    )?;
    tx.tell(Event::Decided)
}

/// Applies a source list, but for what the brake holds of it; `states` are all sources, and are so
/// after it, too. With the leases that it ended.
fn list(
    tx: &mut dyn Tx,
    states: &mut Vec<SourceState>,
    listed: &[Source],
    terms: &Terms,
    now: Timestamp,
) -> Result<(ListSettled, Vec<Lease>), Cause> {
    let lately = losses::lately(tx, now)?;
    let (mut diff, losses, braked) = changes::list(states, listed, terms, &lately, now);
    let passage = passage(tx, (HeldKind::SourceList, None), braked.as_ref())?;
    if passage == Passage::Free {
        losses::lose(tx, &losses, now)?;
    }
    let is_held = passage == Passage::Held;
    let held = braked.filter(|_| is_held).map(|change| change.why);
    let removed = if is_held { std::mem::take(&mut diff.removed) } else { Vec::new() };
    let mut ended = Vec::new();
    if !diff.is_empty() {
        ended = listing::apply(tx, &diff, now)?;
        *states = sources::all(tx)?;
    }
    if is_held {
        diff.removed = removed;
    }
    Ok((ListSettled { listed: listed.len(), diff, held }, ended))
}

/// Whether a change may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// The operator accepted it.
    Accepted,
    /// The brake doesn't hold it.
    Free,
    /// It waits for the operator.
    Held,
}

/// Whether what the brake makes of a change of this kind, or of this source, may be made. Whatever else
/// was held of it is held no more, for it would not be done any more; what was rejected stays so.
pub(super) fn passage(
    tx: &mut dyn Tx,
    (kind, slug): (HeldKind, Option<&str>),
    braked: Option<&HeldChange>,
) -> Result<Passage, Cause> {
    tx.defer(
        "DELETE FROM held WHERE kind = $1 AND slug IS NOT DISTINCT FROM CAST($3 AS text)
           AND fingerprint IS DISTINCT FROM CAST($2 AS text) AND NOT EXISTS
             (SELECT 1 FROM decision
              WHERE in_force AND said = 'reject' AND subject = 'held:' || held.number)",
        values![kind.word(), braked.map(|change| &*change.fingerprint), slug],
    )?;
    let Some(change) = braked else {
        return Ok(Passage::Free);
    };
    if !hold(tx, change)? {
        return Ok(Passage::Held);
    }
    // It is made now: the next of its kind is held again.
    let made = "DELETE FROM held WHERE fingerprint = $1";
    tx.execute(made, values![&change.fingerprint])?;
    Ok(Passage::Accepted)
}

/// Makes one source what `planned` says: blocks, deactivates or delists it, or takes that back; hides
/// or shows it in the catalogue. What was changed is added to `changes`. Returns the leases that it
/// ended: of a source that is to be asked no more.
fn apply(
    tx: &mut dyn Tx,
    planned: &Change,
    policy: &Policy,
    terms: &Terms,
    changes: &mut Vec<Change>,
    now: Timestamp,
) -> Result<Vec<Lease>, Cause> {
    let slug = &planned.slug;
    let mut ended = Vec::new();
    if !planned.is_polled() {
        ended.extend(leases::revoke(tx, slug, now)?);
    }
    // A lease may have ended since the sources were looked at, or somebody forgot the source.
    let state = sources::locked(tx, slug)?;
    let anew = changes::changes(state.as_slice(), policy, &terms.polls, None, now).pop();
    let Some(change) = anew.filter(|change| planned.hides() || !change.hides()) else {
        return Ok(ended);
    };
    let is_polled: bool = tx.value(
        "UPDATE source SET blocked = $2, delisted = $3, standing = $4, due_at = $5,
             announced = announced AND $7,
             stood_at = CASE WHEN standing = $4 THEN stood_at ELSE $6 END
         WHERE slug = $1 RETURNING polled",
        values![
            slug,
            &change.blocked,
            &change.delisted,
            change.clock.standing.word(),
            change.clock.due_at,
            now,
            change.delisted.is_none(),
        ],
    )?;
    if change.shown.0 != change.shown.1 {
        sources::show(tx, slug)?;
    }
    if !is_polled {
        ended.extend(leases::revoke(tx, slug, now)?);
    }
    changes.push(change);
    Ok(ended)
}

/// Holds a change, unless it is held or decided already; whether the operator accepted it.
fn hold(tx: &mut dyn Tx, change: &HeldChange) -> Result<bool, Cause> {
    // Looked at first: an insert that conflicts takes a number all the same.
    let number = "SELECT number FROM held WHERE fingerprint = $1";
    if tx.maybe(number, values![&change.fingerprint], first::<u64>)?.is_some() {
        return is_accepted(tx, change);
    }
    tx.execute(
        "INSERT INTO held (kind, slug, fingerprint, why, held_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (fingerprint) DO NOTHING",
        values![
            change.kind.word(),
            &change.slug,
            &change.fingerprint,
            &change.why,
            change.held_at,
        ],
    )?;
    Ok(false)
}

/// Whether the operator accepted a change.
fn is_accepted(tx: &mut dyn Tx, change: &HeldChange) -> Result<bool, Cause> {
    let number = "SELECT number FROM held WHERE fingerprint = $1";
    let Some(number) = tx.maybe(number, values![&change.fingerprint], first::<u64>)? else {
        return Ok(false);
    };
    tx.value(
        "SELECT EXISTS (SELECT 1 FROM decision WHERE in_force AND said = 'accept' AND subject = $1)",
        values![decision::held(number)],
    )
}

fn decision(row: Row<'_>) -> Result<Decision, Cause> {
    let (word, subject): (String, String) = (row.get("said")?, row.get("subject")?);
    Ok(Decision {
        said: Decided::read(&word, &subject)
            .ok_or_else(|| Cause::Broken(format!("decision {word:?} {subject:?}")))?,
        by: row.get("by_whom")?,
        at: row.get("decided_at")?,
        why: row.get("why")?,
    })
}

fn held(row: Row<'_>) -> Result<HeldChange, Cause> {
    read!(row => HeldChange { number, kind, slug, fingerprint, why, held_at })
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
