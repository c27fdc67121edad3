//! The one way in which the rules in force change: an act, in its turn. Start, refresh, `reload`, what
//! the operator decides and what other arbiters were told all come through here, one after the other,
//! and each is done to what the one before left: nothing that was read earlier is written back.

use crate::config::{ArbiterConfig, SettingChange, is_reloaded};
use crate::hub::{Hub, Turn};
use crate::rules::changes::{Act, Changed};
use crate::rules::policy;
use crate::store::{Settled, StoreError, Terms};
use canister_link::settings::Given;
use log::{error, info, warn};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// Does what an act says, makes the sources what the rules in force say then, and tells the holders of
/// leases that ended. It goes on though the caller gives up waiting.
///
/// # Errors
/// As [`Store::settle`](crate::store::Store::settle); nothing changed then.
pub async fn settle(hub: &Rc<Hub>, act: Act) -> Result<Settled, StoreError> {
    lasting(hub, |hub| async move {
        let turn = hub.turn().await;
        let (settings, terms) = (hub.policy().settings.clone(), Terms::clone(&hub.terms()));
        in_turn(&hub, &turn, act, settings, terms).await
    })
    .await
}

/// What reading the configuration again came to, or would come to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloaded {
    #[serde(flatten)]
    pub changed: Changed,
    /// The settings that have another value than the one in force.
    pub settings: Vec<SettingChange>,
    /// Whether the arbiter was started with a configuration file.
    pub is_of_file: bool,
}

/// Reads the configuration again and applies what a running arbiter can take; a dry run only says what
/// that would change.
///
/// # Errors
/// One line; nothing changed then.
pub async fn reload(hub: &Rc<Hub>, given: Given, is_dry: bool) -> Result<Reloaded, String> {
    lasting(hub, move |hub| async move {
        // Of two at once, the later reads the newer file.
        let turn = hub.turn().await;
        let config = smol::unblock(move || ArbiterConfig::read(&given)).await?;
        let settings_changed = config.changes(&hub.told.borrow());
        // How long leases live was told to the peers that are here.
        let terms = Terms { lease: hub.terms().lease, ..config.terms };
        let (told, is_of_file) = (config.told, config.is_of_file);
        let settings = config.policy;
        let now = hub.now();
        let changed = match is_dry {
            true => hub.store.call(move |store| store.plan(&settings, &terms, now)).await,
            false => in_turn(&hub, &turn, Act::Configured, settings, terms)
                .await
                .map(|settled| settled.changed),
        };
        let changed = changed.map_err(|cause| cause.to_string())?;
        if !is_dry {
            warn_of_idle(&changed);
            for SettingChange { setting, before, now, needs_restart } in &settings_changed {
                info!(setting, before, now, needs_restart; "a setting changed");
            }
            hub.told.borrow_mut().extend(told.into_iter().filter(|(name, _)| is_reloaded(name)));
        }
        Ok(Reloaded { changed, settings: settings_changed, is_of_file })
    })
    .await
}

/// Logs the overrides of poll schedules that name no source.
pub fn warn_of_idle(changed: &Changed) {
    for entry in &changed.idle_overrides {
        warn!(entry:%; "an override of the poll schedule names no source");
    }
}

/// Takes the decisions and the blocked hosts as they are kept: another arbiter on the same store may
/// have been told some. What they change in the sources, that one does.
pub async fn learn(hub: &Hub) {
    let turn = hub.turn().await;
    let settings = hub.policy().settings.clone();
    match hub.store.call(move |store| store.policy(&settings)).await {
        Ok(policy) => hub.put_in_force(&turn, policy, Terms::clone(&hub.terms())),
        Err(cause) => error!(cause:%; "couldn't read the decisions"),
    }
}

/// Settles with these settings and terms, which are in force from then on.
async fn in_turn(
    hub: &Hub,
    turn: &Turn<'_>,
    act: Act,
    settings: policy::PolicySettings,
    terms: Terms,
) -> Result<Settled, StoreError> {
    let now = hub.now();
    let (does, new_terms) = (act.clone(), terms.clone());
    let settled =
        hub.store.long().call(move |store| store.settle(&does, &settings, &new_terms, now)).await?;
    if let Act::Decided { said, by, why } = &act {
        info!(said:%, by = by.as_str(), why = why.as_str(); "the operator decided");
    }
    if let Some(policy) = &settled.policy {
        hub.put_in_force(turn, policy.clone(), terms);
    }
    if let Some(why) = &settled.changed.held {
        warn!(why = why.as_str(); "the policy is held; `held` lists what waits");
    }
    for (lease, why) in &settled.ended {
        hub.taken_away(&lease.peer, lease.token, why);
    }
    hub.wake();
    Ok(settled)
}

/// Does something to its end, whether or not the caller still waits for it.
pub async fn lasting<T: 'static, F: Future<Output = T> + 'static>(
    hub: &Rc<Hub>,
    what: impl FnOnce(Rc<Hub>) -> F,
) -> T {
    let (sender, done) = smol::channel::bounded(1);
    let what = what(Rc::clone(hub));
    hub.spawn(async move {
        // Whoever asked may be gone by now.
        let _ = sender.try_send(what.await);
    });
    done.recv().await.expect("the task ends by sending")
}
