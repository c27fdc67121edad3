//! Publishing the catalogue's heads: each publication gets its advertisement soon after it was made, by whichever
//! arbiter of the network comes to it first. All of them have the same key.

use crate::hub::Hub;
use crate::rules::advertisement::PublisherKey;
use log::error;
use smol::Timer;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether there is a publication without one.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Does so for ever.
pub async fn for_ever(hub: Rc<Hub>, key: Arc<PublisherKey>) {
    loop {
        let key = Arc::clone(&key);
        match hub.store.call(move |store| store.advertise(&key)).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(cause) => error!(cause:%; "couldn't write advertisements"),
        }
        Timer::after(LOOK_EVERY).await;
    }
}
