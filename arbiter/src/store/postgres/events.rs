//! What one arbiter does and the others must hear of, by LISTEN and NOTIFY. A notification is sent
//! when its transaction is committed, or never. It is a hint: one that is lost (nobody listened
//! while the connection was being made again) costs time, never right.
//!
//! Whoever may log in may LISTEN and NOTIFY, and peers may log in: so the channel's name is a secret
//! of the database's, in a table that only arbiters may read.

use super::connection::Address;
use super::{Closer, LOOK_EVERY, PAUSE, PAUSE_MAX};
use crate::store::Lease;
use canister_link::clock;
use log::debug;
use postgres::fallible_iterator::FallibleIterator as _;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the listener waits for something before it looks whether the arbiter stops.
const WAIT: Duration = Duration::from_millis(500);

/// Something that another arbiter did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// There may be something to grant: a source was made due, or an operator is free.
    Look,
    /// A lease was taken away; its peer is to be told, whoever is connected to it.
    Over {
        token: u64,
        peer: String,
        /// Why, for the holder.
        why: String,
    },
    /// The operator decided, or other hosts are blocked: the policy is another one.
    Decided,
    /// A peer began a session with the other arbiter: it has none here any more.
    Moved { peer: String },
}

impl Event {
    /// That `lease` was taken away.
    pub(in crate::store) fn over(lease: &Lease, why: &str) -> Self {
        Self::Over { token: lease.token, peer: lease.peer.clone(), why: why.to_owned() }
    }
}

#[derive(Serialize, Deserialize)]
struct EventTold {
    /// Who says it; an arbiter doesn't hear itself.
    by: String,
    event: Event,
}

// Whoever may log in can fill the queue, and then no transaction that tells something could be
// committed. The others look by themselves now and then.
pub(super) const TELL: &str =
    "SELECT pg_notify(name, $1) FROM arbiter.channel WHERE pg_notification_queue_usage() < 0.1";

/// What is notified of.
pub(super) fn told(by: &str, event: Event) -> serde_json::Result<String> {
    serde_json::to_string(&EventTold { by: by.to_owned(), event })
}

/// Starts a thread that hands on what the other arbiters do, until the store is closed. `arbiter`
/// is this one's name.
///
/// # Errors
/// The machine has no thread left.
pub fn listen(
    address: Address,
    arbiter: String,
    closer: Closer,
    hand_on: impl Fn(Event) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("listen".to_owned()).spawn(move || {
        let is_closing = || closer.0.load(Ordering::Relaxed);
        let mut pause = PAUSE;
        while !is_closing() {
            let why = match address.listen() {
                Ok(mut client) => {
                    pause = PAUSE;
                    let heard = hear(&mut client, &arbiter, &is_closing, &hand_on);
                    match heard {
                        Ok(()) => continue,
                        Err(cause) => super::said(&cause),
                    }
                }
                Err(why) => why,
            };
            debug!(database:% = address, why; "can't hear the other arbiters; trying again");
            let mut left = pause;
            pause = (pause * 2).min(PAUSE_MAX);
            while !left.is_zero() && !is_closing() {
                clock::sleep(left.min(LOOK_EVERY));
                left = left.saturating_sub(LOOK_EVERY);
            }
        }
    })
}

fn hear(
    client: &mut postgres::Client,
    arbiter: &str,
    is_closing: &impl Fn() -> bool,
    hand_on: &impl Fn(Event),
) -> Result<(), postgres::Error> {
    let channel = client.query_one("SELECT name FROM arbiter.channel", &[])?;
    client.batch_execute(&format!("LISTEN {}", channel.get::<_, &str>(0)))?;
    // Whatever was said before it was listened to.
    hand_on(Event::Look);
    hand_on(Event::Decided);
    while !is_closing() {
        while let Some(notification) = client.notifications().timeout_iter(WAIT).next()? {
            match serde_json::from_str::<EventTold>(notification.payload()) {
                Ok(told) if told.by == arbiter => {}
                Ok(told) => hand_on(told.event),
                // A newer arbiter says more than this one knows.
                Err(cause) => debug!(cause:%; "not understood"),
            }
        }
        // A connection that is gone without a word is found out by using it.
        client.is_valid(WAIT * 4)?;
    }
    Ok(())
}
