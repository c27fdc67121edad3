//! The grants: in time the store is told which leases live and what has expired ends; who has a free slot gets
//! what is due, and how long it is until the next thing is due. It sleeps until then, or until
//! somebody wakes it because a slot, a source or a lease has changed.

use crate::deeds::trust::shut_out;
use crate::hub::Hub;
use crate::hub::alive::told_within;
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::LeaseKind;
use crate::store::{Claimant, Grant, Store, StoreError, Terms, Verdict};
use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::{NAME_BYTES_MAX, PAUSE_MILLIS_MAX, cut};
use canister_protocol::{ToPeer, Veto};
use log::{info, warn};
use smol::Timer;
use smol::channel;
use smol::future::FutureExt as _;
use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The loop looks at least this often, so that a step of the wall clock is seen within it.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// How long a round of grants is waited for. Then it goes on by itself, so that the store hears of
/// renewals meanwhile.
const GRANTING_MAX: Duration = Duration::from_secs(1);
/// How long the loop waits after the store failed.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// Most peers that are tried in one round though others before them got nothing.
const IDLE_MAX: usize = 64;

/// What one round leaves to the next.
#[derive(Default)]
struct Rounds {
    /// Whether somebody is at a grant: no more than one, however slow the store is with it.
    is_claiming: Rc<Cell<bool>>,
    /// Whether all who claimed last got something.
    is_busy: Rc<Cell<bool>>,
    /// When what has expired was ended last.
    expired_at: Option<Timestamp>,
    /// When the next thing is due.
    next: Option<Timestamp>,
}

impl Rounds {
    /// Whether something may have expired by now, or the store is to be told which leases live.
    fn is_to_expire(&self, now: Timestamp, every: Duration) -> bool {
        self.expired_at.is_none_or(|at| now < at || at.plus(every) <= now)
            || self.next.is_some_and(|next| next <= now)
    }
}

/// Expires, grants, and sleeps until there is something to do again.
pub async fn for_ever(hub: &Rc<Hub>, listen: &str) {
    let mut rounds = Rounds::default();
    loop {
        let sleep = match look(hub, listen, &mut rounds).await {
            Ok(sleep) => {
                hub.store.outages.ends();
                sleep
            }
            Err(cause) => {
                hub.store.outages.begins(&cause);
                FAILED_FOR
            }
        };
        // Whoever woke it is heard first, or it would be woken by the same again.
        hub.woken()
            .or(async {
                Timer::after(sleep.min(longest(hub))).await;
            })
            .await;
    }
}

/// How long the loop sleeps at most: what peers renew is told to the store in time, whatever the other arbiters do.
fn longest(hub: &Hub) -> Duration {
    let holds = hub.sessions.borrow().iter().any(|(_, session)| !session.leases.is_empty());
    let holds = holds || hub.alive.borrow().is_any();
    if holds { told_within(hub.terms().lease).min(SLEEP_MAX) } else { SLEEP_MAX }
}

/// Ends what has expired, grants while there are due sources and free slots; how long to sleep.
async fn look(hub: &Rc<Hub>, listen: &str, rounds: &mut Rounds) -> Result<Duration, StoreError> {
    if hub.beat(listen).await? {
        // Who was admitted to the database since, and publishes nothing.
        let there = Rc::clone(hub);
        hub.spawn(async move { shut_out(&there, Vec::new()).await });
    }
    if hub.has_stepped_back() {
        warn!("the clock went back; what was to happen later than now allows is brought forward");
        let (now, terms) = (hub.now(), hub.terms());
        hub.store.call(move |store| store.bring_forward(now, &terms)).await?;
    }
    // What happens while this round lasts is the next one's.
    let (now, terms) = (hub.now(), hub.terms());
    if rounds.is_to_expire(now, longest(hub)) {
        expire(hub, now).await?;
        rounds.expired_at = Some(now);
    }
    if !hub.is_full.get() && !rounds.is_claiming.replace(true) {
        let (there, is_claiming) = (Rc::clone(hub), Rc::clone(&rounds.is_claiming));
        let is_busy = Rc::clone(&rounds.is_busy);
        let granting = async move {
            if let Err(cause) = grant(&there, &is_busy).await {
                there.store.outages.begins(&cause);
            }
            is_claiming.set(false);
        };
        // What is late goes on.
        let _ = hub.within(GRANTING_MAX, granting).await;
    }
    if hub.is_woken() {
        // Nobody sleeps until then.
        return Ok(Duration::ZERO);
    }
    rounds.next = hub.store.call(move |store| store.next_deadline(now, &terms)).await?;
    Ok(rounds.next.map_or(SLEEP_MAX, |next| next.since(hub.now())))
}

/// Tells the store which leases live, and ends those that don't.
async fn expire(hub: &Rc<Hub>, now: Timestamp) -> Result<(), StoreError> {
    let terms = hub.terms();
    let renewals = hub.alive.borrow().renewals(now, terms.lease);
    let told = renewals.clone();
    let expired = hub.store.call(move |store| store.expire(now, &renewals, &terms)).await?;
    hub.alive.borrow_mut().told(&told);
    for renewal in expired.gone {
        // What is being finished is answered when that is over.
        if !hub.alive.borrow().is_finishing(&renewal.peer, renewal.token) {
            hub.taken_away(&renewal.peer, renewal.token, "it is over");
        }
    }
    for lease in expired.ended {
        warn!(lease = lease.token, source = lease.slug.as_str(), peer = lease.peer.as_str(); "lease expired");
        hub.metrics.ended(Verdict::Expired, None);
        hub.taken_away(&lease.peer, lease.token, "not renewed in time");
        hub.judge(&lease.peer, false);
    }
    Ok(())
}

/// A peer with free slots, and what it is granted.
struct Asker {
    peer: String,
    id: u64,
    reaches: AddressFamilies,
    bytes: Option<u64>,
    never: Arc<Veto>,
    slots: usize,
    /// How many leases the peers before it ask for.
    behind: usize,
}

impl Asker {
    /// What it is granted, and where that is nothing, whether another might be granted something.
    async fn claim(&self, hub: &Hub, terms: Arc<Terms>) -> Result<(Vec<Grant>, bool), StoreError> {
        // Slots may become free for as long as this goes on, and a lease lives from its own grant.
        let now = hub.now();
        let (name, never) = (self.peer.clone(), Arc::clone(&self.never));
        let (reaches, bytes, slots, behind) = (self.reaches, self.bytes, self.slots, self.behind);
        let call = move |store: &mut Store| {
            let own = Claimant::from(&*name);
            let claimant = Claimant { reaches, bytes, never: Some(&*never), behind, ..own };
            let granted = store.claim(claimant, slots, now, &terms)?;
            let is_choosy =
                reaches != AddressFamilies::BOTH || bytes.is_some() || !never.is_empty();
            let is_apart = granted.is_empty() && (is_choosy || store.is_apart(&name, now)?);
            Ok((granted, is_apart))
        };
        hub.store.call(call).await
    }
}

/// The peers that should get the next leases, at most so many.
fn askers(hub: &Hub, idle: &HashSet<String>, is_any_due: bool, most: usize) -> Vec<Asker> {
    let (sessions, now) = (hub.sessions.borrow(), hub.now());
    let (mut asking, mut behind, mut found) = (idle.clone(), 0, Vec::new());
    while found.len() < most
        && let Some((name, session, slots)) = sessions.next_free(&asking, is_any_due, now)
    {
        let (bytes, never) = session.bounds();
        let (peer, id, reaches) = (name.to_owned(), session.id, session.reaches);
        found.push(Asker { peer, id, reaches, bytes, never, slots, behind });
        asking.insert(name.to_owned());
        behind += slots;
    }
    found
}

/// Grants while there are due sources and free slots. Where there are some, several peers claim at the same time,
/// for what takes long is the way to the database and back; whether there are is known by one, which stands in
/// nobody's way.
async fn grant(hub: &Rc<Hub>, is_busy: &Cell<bool>) -> Result<(), StoreError> {
    let terms = hub.terms();
    // Peers that got nothing where others may.
    let (mut idle, mut is_any_due) = (HashSet::new(), true);
    loop {
        let most = if is_busy.get() { hub.store.at_once() } else { 1 };
        let askers = askers(hub, &idle, is_any_due, most);
        if askers.is_empty() {
            return Ok(());
        }
        let (is_alone, (sender, claims)) = (askers.len() == 1, channel::bounded(askers.len()));
        is_busy.set(true);
        for asker in askers {
            let (there, terms, sender) = (Rc::clone(hub), Arc::clone(&terms), sender.clone());
            hub.spawn(async move {
                let claimed = asker.claim(&there, terms).await;
                // What was granted by then is told, whatever becomes of the others.
                let _ = sender.try_send((asker, claimed));
            });
        }
        drop(sender);
        let mut went = Ok(());
        while let Ok((Asker { peer, id, .. }, claimed)) = claims.recv().await {
            let (granted, is_apart) = match claimed {
                Ok(claimed) => claimed,
                Err(cause) => {
                    went = Err(cause);
                    continue;
                }
            };
            if granted.is_empty() {
                is_busy.set(false);
                // Beside others it may have got nothing because they were at it.
                if is_alone {
                    is_any_due &= is_apart;
                    idle.insert(peer);
                }
                continue;
            }
            for grant in granted {
                let token = grant.token;
                if tell(hub, &peer, id, grant) {
                    continue;
                }
                // The session ended meanwhile, or was told to. A newer one of the same peer has said which
                // leases it knows, and this is none of them.
                let (peer, now) = (peer.clone(), hub.now());
                match hub.store.call(move |store| store.give_back(&peer, token, now)).await {
                    // Somebody else was first: a greeting, or the end of a revoked peer's leases.
                    Err(cause) if !cause.is_refusal() => went = Err(cause),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        went?;
        if idle.len() > IDLE_MAX {
            return Ok(());
        }
    }
}

/// Tells the holder of a new lease, if its session is still the one that was meant.
fn tell(hub: &Hub, peer: &str, id: u64, grant: Grant) -> bool {
    let mut sessions = hub.sessions.borrow_mut();
    if sessions.session(peer, id).is_none_or(|session| session.is_ending) {
        return false;
    }
    sessions.granted(peer, id, grant.token, hub.now());
    let Some(session) = sessions.session(peer, id) else { return false };
    hub.metrics.granted(hub.now().since(grant.due_at));
    let source = grant.source.slug.as_str();
    info!(lease = grant.token, source, peer, kind:% = grant.kind; "lease granted");
    session.outbox.send(&ToPeer::Grant {
        lease: grant.token,
        audit: (grant.kind == LeaseKind::Audit).then_some(true),
        paths: grant.paths,
        bytes_max: Some(grant.bytes_max),
        operator: Some(cut(&grant.operator, NAME_BYTES_MAX).to_owned()),
        looks: grant.is_look.then_some(true),
        owner: grant.owner,
        publisher: grant.publisher,
        request: Some(grant.request),
        source: grant.source,
        origin: grant.origin,
        probed: grant.probed,
        retry: grant.retry,
        pause_millis: pause_millis(hub.terms().politeness.pause),
    });
    true
}

/// The pause as peers are told it: what is longer stands between leases only.
fn pause_millis(pause: Duration) -> Option<u32> {
    let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
    (millis > 0).then_some(millis.min(PAUSE_MILLIS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_looked_for_when_something_may_have_or_in_time() {
        const EVERY: Duration = Duration::from_secs(5);
        let at = |secs: u64| Timestamp::from_millis(secs * 1000);
        let rounds = |expired_at, next| Rounds { expired_at, next, ..Rounds::default() };
        for (expired_at, next, now, is_to) in [
            (None, None, 100, true),
            (Some(100), None, 104, false),
            (Some(100), None, 105, true),
            // A lease's time is over, or something else is due.
            (Some(100), Some(103), 102, false),
            (Some(100), Some(103), 103, true),
            // The clock went back.
            (Some(100), Some(103), 99, true),
        ] {
            let rounds = rounds(expired_at.map(at), next.map(at));
            assert_eq!(rounds.is_to_expire(at(now), EVERY), is_to, "{expired_at:?} {next:?} {now}");
        }
    }
}
