//! Reading the source list from where it is, at start and again and again, into the store. A list
//! that can't be read changes nothing.

use crate::arbiter::{ArbiterError, Shared};
use crate::config::ListAddress;
use crate::sources::{self, SourceList};
use crate::store::{Lease, Store, StoreError};
use crate::timestamp::Timestamp;
use canister_agent::fetch;
use log::{error, info, warn};
use smol::Timer;
use std::rc::Rc;
use std::time::Duration;

/// Reads the list when the arbiter starts and applies it. A list that can't be read is an error,
/// unless it is elsewhere and sources are known already.
///
/// # Errors
/// [`ArbiterError::SourceList`] or [`ArbiterError::Store`].
pub fn first(
    store: &mut dyn Store,
    list: &ListAddress,
    now: Timestamp,
) -> Result<(), ArbiterError> {
    match read(list) {
        Ok(read) => {
            apply(store, &read, now)?;
            Ok(())
        }
        Err(why) => {
            let is_known = store.counts(now)?.sources > 0;
            if is_known && matches!(list, ListAddress::Url(_)) {
                warn!(list:%, why; "couldn't read the source list; going on with the known one");
                return Ok(());
            }
            Err(ArbiterError::SourceList {
                list: list.clone(),
                why,
            })
        }
    }
}

/// Reads and applies the list after every `pause`. Of several arbiters on one database the first
/// to come to it does, so their lists should be the same.
pub async fn for_ever(shared: Rc<Shared>, list: ListAddress, pause: Duration) {
    loop {
        Timer::after(pause).await;
        // One arbiter reads it for all.
        let now = shared.now();
        let turn = shared
            .store
            .call(move |store| store.take_turn("source list", pause / 2, now))
            .await;
        match turn {
            Ok(true) => {}
            Ok(false) => continue,
            Err(cause) => {
                error!(cause:%; "couldn't take the turn to read the source list");
                continue;
            }
        }
        let address = list.clone();
        let read = match smol::unblock(move || read(&address)).await {
            Ok(read) => read,
            Err(why) => {
                warn!(list:%, why; "couldn't read the source list; nothing changes");
                continue;
            }
        };
        let now = shared.now();
        match shared
            .store
            .call(move |store| apply(store, &read, now))
            .await
        {
            Ok(revoked) => {
                for lease in revoked {
                    shared.revoked(&lease, "its source was changed or is listed no more");
                }
                shared.wake();
            }
            Err(cause) => error!(cause:%; "couldn't apply the source list"),
        }
    }
}

fn read(list: &ListAddress) -> Result<SourceList, String> {
    match list {
        ListAddress::File(path) => {
            let file = std::fs::File::open(path)
                .map_err(|cause| format!("{cause}; --sources names another"))?;
            sources::read(file).map_err(|cause| cause.to_string())
        }
        ListAddress::Url(url) => {
            let body = fetch::open_trusted(url).map_err(|cause| cause.to_string())?;
            sources::read(body).map_err(|cause| cause.to_string())
        }
    }
}

/// Applies what was read; returns the leases that it ended.
fn apply(
    store: &mut dyn Store,
    read: &SourceList,
    now: Timestamp,
) -> Result<Vec<Lease>, StoreError> {
    for skipped in &read.skipped {
        let slug = skipped.slug.as_deref().unwrap_or("-");
        warn!(entry = skipped.index, slug, why = skipped.why.as_str(); "skipped an entry of the source list");
    }
    let diff = sources::diff(&store.known_sources()?, &read.sources);
    let revoked = store.apply_sources(&diff, now)?;
    let (listed, added) = (read.sources.len(), diff.added.len());
    let (changed, removed) = (diff.changed.len(), diff.removed.len());
    info!(listed, added, changed, removed; "source list applied");
    Ok(revoked)
}
