//! The operator's rules, applied while the arbiter runs: the configuration read again, a source
//! blocked or allowed by command. What would hide too much is held.

use crate::config::RunConfig;
use crate::entry::Entry;
use crate::hub::Hub;
use crate::policy::{Policy, Ruling};
use crate::refresh::Lists;
use crate::rules::{self, Change};
use crate::schedule::Standing;
use crate::store::{HeldChange, Kind, Lease, Store, StoreError, Terms};
use crate::timestamp::Timestamp;
use log::{error, info, warn};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What rules change, or would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Sources that leave the catalogue.
    pub hidden: Vec<String>,
    /// Sources that enter it.
    pub shown: Vec<String>,
    /// Sources that are due by it.
    pub due: Vec<String>,
    /// Sources that are delisted by it.
    pub delisted: Vec<String>,
    /// Why what would be hidden is held, where it is.
    pub held: Option<String>,
}

impl Changed {
    fn of(changes: &[Change]) -> Self {
        let slugs = |is: &dyn Fn(&Change) -> bool| {
            let those = changes.iter().filter(|change| is(change));
            those.map(|change| change.slug.clone()).collect()
        };
        Self {
            hidden: slugs(&Change::hides),
            shown: slugs(&|change| !change.shown.0 && change.shown.1),
            due: slugs(&|change| !change.due.0 && change.due.1),
            delisted: slugs(&|change| {
                change.stands.0 != Standing::Delisted && change.stands.1 == Standing::Delisted
            }),
            held: None,
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hidden, shown, due, delisted, held } = self;
        write!(
            f,
            "{} hidden, {} shown, {} due, {} delisted",
            hidden.len(),
            shown.len(),
            due.len(),
            delisted.len()
        )?;
        match held {
            Some(why) => write!(f, "; what would be hidden is held: {why}"),
            None => Ok(()),
        }
    }
}

/// What `policy` and `terms` would change now, and whether the brake would hold it.
fn plan(
    store: &mut Store,
    policy: &Policy,
    terms: &Terms,
    now: Timestamp,
) -> Result<(Vec<Change>, Option<HeldChange>), StoreError> {
    let states = store.sources()?;
    let changes = rules::changes(&states, policy, &terms.polls, None, now);
    let lately = store.lately(now)?;
    let held = terms.brake.holds(&rules::losses(&changes), &lately, rules::visible(&states));
    let hidden = changes.iter().filter(|change| change.hides());
    let fingerprint = rules::fingerprint(Kind::Policy.word(), hidden.map(|change| &*change.slug));
    let held = held.map(|why| HeldChange {
        number: 0,
        kind: Kind::Policy,
        slug: None,
        fingerprint,
        why: why.to_string(),
        held_at: now,
    });
    Ok((changes, held))
}

/// Makes the sources what `policy` and `terms` say; what the brake holds waits, unless it was
/// accepted. Returns what changed and the leases that ended.
///
/// # Errors
/// [`StoreError`]
pub fn settle(
    store: &mut Store,
    policy: &Policy,
    terms: &Terms,
    now: Timestamp,
) -> Result<(Changed, Vec<Lease>), StoreError> {
    let (mut changes, held) = plan(store, policy, terms, now)?;
    let mut why = None;
    if let Some(change) = held {
        if store.hold(&change)? {
            store.passed(&change.fingerprint)?;
        } else {
            warn!(why = change.why.as_str(); "the policy is held; `held` lists what waits");
            changes.retain(|change| !change.hides());
            why = Some(change.why);
        }
    } else {
        store.lose(&rules::losses(&changes), now)?;
    }
    let ended = store.apply_changes(&changes, now)?;
    let changed = Changed { held: why, ..Changed::of(&changes) };
    Ok((changed, ended))
}

/// Reads the configuration again and applies policy, poll, politeness and brake; a dry run only says
/// what that would change.
///
/// # Errors
/// One line; nothing changed then.
pub async fn reload(lists: &Lists, is_dry: bool) -> Result<Changed, String> {
    let hub = &lists.hub;
    let flags = lists.config.flags.clone();
    let config = smol::unblock(move || RunConfig::read(&flags)).await?;
    let before = hub.policy();
    let policy = Arc::new(Policy { settings: config.policy, ..Policy::clone(&before) });
    // How long leases live was told to the peers that are here.
    let terms = Arc::new(Terms { lease: hub.terms().lease, ..config.terms });
    let now = hub.now();
    let (new_policy, new_terms) = (Arc::clone(&policy), Arc::clone(&terms));
    let applied = hub
        .store
        .call(move |store| match is_dry {
            true => {
                let (changes, held) = plan(store, &new_policy, &new_terms, now)?;
                let held = held.map(|held| held.why);
                Ok((Changed { held, ..Changed::of(&changes) }, Vec::new()))
            }
            false => settle(store, &new_policy, &new_terms, now),
        })
        .await;
    let (changed, ended) = applied.map_err(|cause: StoreError| cause.to_string())?;
    if !is_dry {
        hub.set_policy(policy);
        hub.set_terms(terms);
        end(hub, &ended);
    }
    Ok(changed)
}

/// Settles again by the rules of the moment: a held change was accepted.
///
/// # Errors
/// [`StoreError`]
pub async fn settle_again(hub: &Hub) -> Result<Changed, StoreError> {
    let (policy, terms) = (hub.policy(), hub.terms());
    let now = hub.now();
    let (changed, ended) = hub.store.call(move |store| settle(store, &policy, &terms, now)).await?;
    end(hub, &ended);
    Ok(changed)
}

/// Keeps a ruling and applies it at once to the sources that it names. It is the operator's own
/// word, so nothing brakes it.
///
/// # Errors
/// [`StoreError`]
pub async fn rule(hub: &Hub, ruling: Ruling) -> Result<Changed, StoreError> {
    let before = hub.policy();
    let terms = hub.terms();
    let now = ruling.at;
    info!(ruling:%; "ruled");
    let (policy, changed, ended) = hub
        .store
        .call(move |store| {
            store.rule(&ruling)?;
            let policy = Policy { rulings: store.rulings()?, ..Policy::clone(&before) };
            let entry: &Entry = &ruling.entry;
            let states = store.sources()?;
            let changes = rules::changes(&states, &policy, &terms.polls, Some(entry), now);
            let ended = store.apply_changes(&changes, now)?;
            Ok::<_, StoreError>((policy, Changed::of(&changes), ended))
        })
        .await?;
    hub.set_policy(Arc::new(policy));
    end(hub, &ended);
    Ok(changed)
}

/// Reads the rulings and the blocked hosts as they are kept: another arbiter on the same store may
/// have been told some. What they change in the sources, that one does.
pub async fn learn(hub: &Hub) {
    let kept = hub
        .store
        .call(|store| Ok::<_, StoreError>((store.rulings()?, store.blocked_hosts()?)))
        .await;
    match kept {
        Ok((rulings, blocked_hosts)) => {
            let settings = hub.policy().settings.clone();
            hub.set_policy(Arc::new(Policy { settings, blocked_hosts, rulings }));
        }
        Err(cause) => error!(cause:%; "couldn't read the rulings"),
    }
}

/// Tells the holders of leases that ended, and has the loop look again.
pub fn end(hub: &Hub, ended: &[Lease]) {
    hub.ended(ended, "the arbiter's rules are against its source now");
}
