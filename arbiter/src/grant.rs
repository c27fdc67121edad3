//! The grants: what has expired ends, who has a free slot gets what is due, and how long it is until
//! the next thing is due. It sleeps until then, or until somebody wakes it because a slot, a source
//! or a lease has changed.

use crate::hub::Hub;
use crate::store::{Grant, StoreError};
use canister_protocol::ToPeer;
use canister_protocol::limits::PAUSE_MILLIS_MAX;
use log::{error, info, warn};
use smol::Timer;
use smol::future::FutureExt as _;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The loop looks at least this often, so that a step of the wall clock is seen within it.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// Expires, grants, and sleeps until there is something to do again.
pub async fn for_ever(hub: &Rc<Hub>, listen: &str) {
    loop {
        let sleep = match grant(hub, listen).await {
            Ok(sleep) => sleep,
            Err(cause) => {
                error!(cause:%; "the store failed; no leases are granted for now");
                Duration::from_secs(5)
            }
        };
        async {
            Timer::after(sleep.min(SLEEP_MAX)).await;
        }
        .or(hub.woken())
        .await;
    }
}

/// Ends what has expired, grants while there are due sources and free slots; how long to sleep.
async fn grant(hub: &Rc<Hub>, listen: &str) -> Result<Duration, StoreError> {
    hub.beat(listen).await?;
    let now = hub.now();
    let terms = hub.terms();
    let lifetimes = Arc::clone(&terms);
    let expired = hub.store.call(move |store| store.expire(now, &[], &lifetimes)).await?;
    for lease in expired.ended {
        warn!(lease = lease.token, source = lease.slug.as_str(), peer = lease.peer.as_str(); "lease expired");
        hub.taken_away(&lease.peer, lease.token, "not renewed in time");
    }
    // Peers that got nothing because a server sent them away: others may be welcome there.
    let mut idle = HashSet::new();
    loop {
        let next = hub.sessions.borrow().next_free(&idle).map(|(name, id)| (name.to_owned(), id));
        let Some((peer, id)) = next else { break };
        let (name, terms) = (peer.clone(), Arc::clone(&terms));
        let (granted, is_sent_away) = hub
            .store
            .call(move |store| {
                let granted = store.claim(&name, 1, now, &terms)?;
                let is_alone = granted.is_empty() && store.is_sent_away(&name, now)?;
                Ok::<_, StoreError>((granted, is_alone))
            })
            .await?;
        let Some(grant) = granted.into_iter().next() else {
            if is_sent_away {
                idle.insert(peer);
                continue;
            }
            break;
        };
        let token = grant.token;
        info!(lease = token, source = grant.source.slug.as_str(), peer = peer.as_str(); "lease granted");
        if !tell(hub, &peer, id, grant) {
            // The session ended meanwhile. A newer one of the same peer has said which leases it
            // knows, and this is none of them.
            hub.store.call(move |store| store.give_back(&peer, token, now)).await?;
        }
    }
    let next = hub.store.call(move |store| store.next_deadline(now, &terms)).await?;
    Ok(next.map_or(SLEEP_MAX, |next| next.since(now)))
}

/// Tells the holder of a new lease, if its session is still the one that was meant.
fn tell(hub: &Hub, peer: &str, id: u64, grant: Grant) -> bool {
    let mut sessions = hub.sessions.borrow_mut();
    let Some(session) = sessions.session(peer, id) else {
        return false;
    };
    session.leases.insert(grant.token);
    session.outbox.send(&ToPeer::Grant {
        lease: grant.token,
        source: grant.source,
        origin: grant.origin,
        pause_millis: pause_millis(hub.terms().politeness.pause),
    });
    true
}

/// The pause as peers are told it: what is longer stands between leases only.
fn pause_millis(pause: Duration) -> Option<u32> {
    let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
    (millis > 0).then_some(millis.min(PAUSE_MILLIS_MAX))
}
