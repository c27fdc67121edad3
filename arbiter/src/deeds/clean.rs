//! Deleting what is gone for long enough, a little at a time.

use crate::hub::Hub;
use crate::store::Store;
use log::{error, info};
use smol::Timer;
use std::rc::Rc;
use std::time::Duration;

/// How often it is looked at what can be deleted.
const CLEAN_EVERY: Duration = Duration::from_secs(60 * 60);

/// Deletes for ever the packages that left, and what is left of sources that were delisted, so long
/// ago.
pub async fn for_ever(hub: Rc<Hub>, left: Duration, delisted: Duration) {
    loop {
        let now = hub.now();
        let clean = move |store: &mut Store| {
            store.forget_tallies(now)?;
            store.forget_nearness(now)?;
            store.clean(now.minus(left), now.minus(delisted))
        };
        let cleaned = hub.store.long().call(clean).await;
        let pause = match cleaned {
            Ok(0) => CLEAN_EVERY,
            Ok(packages) => {
                info!(packages; "deleted what left long ago");
                Duration::from_millis(100)
            }
            Err(cause) => {
                error!(cause:%; "couldn't delete what left long ago");
                CLEAN_EVERY
            }
        };
        Timer::after(pause).await;
    }
}
