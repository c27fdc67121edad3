//! What follows from a suspension beyond the store: the peer's leases are taken away, and its role
//! can't log into the database any more.

use crate::deeds::settle::settle;
use crate::hub::Hub;
use crate::rules::changes::Act;
use crate::rules::decision::Decided;
use crate::store::{Lease, Store, StoreError};
use log::{error, info};
use std::rc::Rc;

/// Lets peers into the database that proved themselves.
pub async fn let_in(hub: &Hub, proven: Vec<String>) {
    for peer in proven {
        info!(peer = peer.as_str(); "peer is proven");
        if let Err(cause) = hub.store.call(move |store| store.let_in(&peer)).await {
            error!(cause:%; "couldn't let a proven peer into the database");
        }
    }
}

/// Takes these leases of suspended peers away, and shuts all out of the database that publish nothing.
pub async fn shut_out(hub: &Hub, ended: Vec<Lease>) {
    for lease in ended {
        hub.taken_away(&lease.peer, lease.token, "the peer is suspended");
    }
    match hub.store.call(Store::shut_out).await {
        Ok(names) if names.is_empty() => {}
        Ok(names) => info!(peers:? = names; "shut out of the database"),
        Err(cause) => error!(cause:%; "couldn't shut peers out of the database"),
    }
}

/// Does what the operator says of a peer.
///
/// # Errors
/// As [`settle`].
pub async fn decide(
    hub: &Rc<Hub>,
    said: Decided,
    by: String,
    why: String,
) -> Result<(), StoreError> {
    let name = match &said {
        Decided::Trust(name) => Some(name.clone()),
        _ => None,
    };
    let settled = settle(hub, Act::Decided { said, by, why }).await?;
    match name {
        Some(name) => hub.store.call(move |store| store.let_in(&name)).await,
        None => {
            shut_out(hub, settled.ended.into_iter().map(|(lease, _)| lease).collect()).await;
            Ok(())
        }
    }
}
