//! Reading the source list and the block lists from where they are, at start and again and again,
//! into the store. A list that can't be read changes nothing; one that would hide too much is held.

use crate::brake::Loss;
use crate::config::{ListAddress, RunConfig};
use crate::download;
use crate::hub::Hub;
use crate::policy::{BLOCK_LIST_BYTES_MAX, Policy, read_block_list};
use crate::reload;
use crate::rules;
use crate::sources::{self, Diff, SourceList};
use crate::store::{HeldChange, Kind, Lease, Store, StoreError, Terms};
use crate::timestamp::Timestamp;
use log::{error, info, warn};
use smol::Timer;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::rc::Rc;
use std::sync::Arc;

/// Longest block list in bytes is [`BLOCK_LIST_BYTES_MAX`]; reading stops one byte behind.
const READ_MAX: u64 = BLOCK_LIST_BYTES_MAX + 1;

/// Why there is no source list at the start.
#[derive(Debug)]
pub enum FirstError {
    /// It can't be read; why.
    List(String),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for FirstError {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause)
    }
}

/// The lists of a running arbiter and where they come from.
pub struct Lists {
    /// The middle of the arbiter.
    pub hub: Rc<Hub>,
    /// What `run` was told.
    pub config: RunConfig,
}

/// Reads the list when the arbiter starts and applies it. A list that can't be read is an error,
/// unless it is elsewhere and sources are known already.
///
/// # Errors
/// [`FirstError`]
pub fn first(
    store: &mut Store,
    list: &ListAddress,
    policy: &Policy,
    terms: &Terms,
    now: Timestamp,
) -> Result<(), FirstError> {
    match read(list) {
        Ok(read) => {
            apply(store, &read, policy, terms, now)?;
            Ok(())
        }
        Err(why) => {
            let is_known = store.counts(now)?.sources > 0;
            if is_known && matches!(list, ListAddress::Url(_)) {
                warn!(list:%, why; "couldn't read the source list; going on with the known one");
                return Ok(());
            }
            Err(FirstError::List(why))
        }
    }
}

/// Reads the block lists and keeps what is in them; those that are known where one can't be read.
///
/// # Errors
/// [`StoreError`]
pub fn block_lists(
    store: &mut Store,
    lists: &[ListAddress],
) -> Result<BTreeSet<String>, StoreError> {
    match read_blocks(lists) {
        Ok(hosts) => {
            store.set_blocked_hosts(&hosts)?;
            Ok(hosts)
        }
        Err(why) => {
            warn!(why; "couldn't read a block list; going on with what is known");
            store.blocked_hosts()
        }
    }
}

/// Reads and applies all lists after every pause. Of several arbiters on one database the first to
/// come to it does for all, so their lists should be the same; the others learn what it kept.
pub async fn for_ever(lists: Rc<Lists>) {
    let hub = &lists.hub;
    let pause = lists.config.refresh;
    loop {
        Timer::after(pause).await;
        let now = hub.now();
        let turn =
            hub.store.call(move |store| store.take_turn("source list", pause / 2, now)).await;
        match turn {
            Ok(true) => once(&lists).await,
            Ok(false) => reload::learn(hub).await,
            Err(cause) => error!(cause:%; "couldn't take the turn to read the lists"),
        }
    }
}

/// Reads and applies all lists. What can't be read changes nothing.
pub async fn once(lists: &Lists) {
    let hub = &lists.hub;
    let blocks = lists.config.blocks.clone();
    reload::learn(hub).await;
    let before = hub.policy();
    let mut policy = Policy::clone(&before);
    match smol::unblock(move || read_blocks(&blocks)).await {
        Ok(hosts) => {
            policy.blocked_hosts.clone_from(&hosts);
            let kept = hub.store.call(move |store| store.set_blocked_hosts(&hosts)).await;
            if let Err(cause) = kept {
                error!(cause:%; "couldn't keep the block lists");
            }
        }
        Err(why) => warn!(why; "couldn't read a block list; nothing changes"),
    }
    let policy = Arc::new(policy);
    hub.set_policy(Arc::clone(&policy));
    let list = lists.config.sources.clone();
    let read = match list.clone() {
        None => None,
        Some(address) => match smol::unblock(move || read(&address)).await {
            Ok(read) => Some(read),
            Err(why) => {
                let list = list.map(|list| list.to_string()).unwrap_or_default();
                warn!(list, why; "couldn't read the source list; nothing changes");
                None
            }
        },
    };
    let terms = hub.terms();
    let now = hub.now();
    let applied = hub
        .store
        .call(move |store| {
            let mut ended = match &read {
                Some(read) => apply(store, read, &policy, &terms, now)?,
                None => Vec::new(),
            };
            ended.extend(reload::settle(store, &policy, &terms, now)?.1);
            Ok::<_, StoreError>(ended)
        })
        .await;
    match applied {
        Ok(ended) => reload::end(hub, &ended),
        Err(cause) => error!(cause:%; "couldn't apply the lists"),
    }
}

fn read_blocks(lists: &[ListAddress]) -> Result<BTreeSet<String>, String> {
    let mut hosts = BTreeSet::new();
    for list in lists {
        let mut text = Vec::new();
        let result = match list {
            ListAddress::File(path) => std::fs::File::open(path)
                .and_then(|file| file.take(READ_MAX).read_to_end(&mut text)),
            ListAddress::Url(url) => match download::open(url) {
                Ok(body) => body.take(READ_MAX).read_to_end(&mut text),
                Err(cause) => return Err(format!("block list {list}: {cause}")),
            },
        };
        result.map_err(|cause| format!("block list {list}: {cause}"))?;
        if text.len() as u64 > BLOCK_LIST_BYTES_MAX {
            return Err(format!("block list {list}: longer than {BLOCK_LIST_BYTES_MAX} bytes"));
        }
        let (found, skipped) =
            read_block_list(&text).map_err(|why| format!("block list {list}: {why}"))?;
        if skipped > 0 {
            warn!(list:%, skipped; "skipped entries of a block list that are no host");
        }
        hosts.extend(found);
    }
    Ok(hosts)
}

fn read(list: &ListAddress) -> Result<SourceList, String> {
    match list {
        ListAddress::File(path) => {
            let file = std::fs::File::open(path)
                .map_err(|cause| format!("{cause}; --sources names another"))?;
            sources::read(file).map_err(|cause| cause.to_string())
        }
        ListAddress::Url(url) => {
            let body = download::open(url).map_err(|cause| cause.to_string())?;
            sources::read(body).map_err(|cause| cause.to_string())
        }
    }
}

/// Applies what was read; returns the leases that it ended.
fn apply(
    store: &mut Store,
    read: &SourceList,
    policy: &Policy,
    terms: &Terms,
    now: Timestamp,
) -> Result<Vec<Lease>, StoreError> {
    for skipped in &read.skipped {
        let slug = skipped.slug.as_deref().unwrap_or("-");
        warn!(entry = skipped.index, slug, why = skipped.why.as_str(); "skipped an entry of the source list");
    }
    let mut diff = sources::diff(&store.known_sources()?, &read.sources);
    if let Some(change) = braked(store, &diff, terms, now)? {
        if store.hold(&change)? {
            store.passed(&change.fingerprint)?;
        } else {
            warn!(
                removed = diff.removed.len(), why = change.why.as_str();
                "the source list is held; `held` lists what waits"
            );
            diff.removed.clear();
        }
    }
    let mut revoked = store.apply_sources(&diff, now)?;
    let (listed, added) = (read.sources.len(), diff.added.len());
    let (changed, removed) = (diff.changed.len(), diff.removed.len());
    info!(listed, added, changed, removed; "source list applied");
    // What is new is blocked before anybody is granted it.
    revoked.extend(reload::settle(store, policy, terms, now)?.1);
    Ok(revoked)
}

/// The change that removing sources would be, if the brake holds it.
fn braked(
    store: &mut Store,
    diff: &Diff,
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<HeldChange>, StoreError> {
    if diff.removed.is_empty() {
        return Ok(None);
    }
    let states = store.sources()?;
    let removed =
        states.iter().filter(|state| state.is_shown() && diff.removed.contains(&state.source.slug));
    let losses: Vec<Loss> = removed
        .map(|state| Loss {
            slug: state.source.slug.clone(),
            shown: state.names,
            lost: state.names,
        })
        .collect();
    let why = terms.brake.holds(&losses, &store.lately(now)?, rules::visible(&states));
    if why.is_none() {
        store.lose(&losses, now)?;
    }
    let removed = diff.removed.iter().map(String::as_str);
    Ok(why.map(|why| HeldChange {
        number: 0,
        kind: Kind::SourceList,
        slug: None,
        fingerprint: rules::fingerprint(Kind::SourceList.word(), removed),
        why: why.to_string(),
        held_at: now,
    }))
}
