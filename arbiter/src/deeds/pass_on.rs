//! Passing announcements on: what was taken in of known sources is sent to other arbiters and to IPNI indexers that
//! the configuration names, as an IPNI announce message, by HTTP.
//!
//! Nothing goes round for ever: an arbiter passes a Cid of a source on once, whoever sends it how often; and what came
//! over [`HOPS_MAX`] arbiters is passed on no more. Each receiver has a queue of its own, which forgets its oldest
//! when it is full, and a few attempts.

use crate::deeds::download::USER_AGENT;
use crate::hub::Hub;
use crate::rules::announcement::{HOPS_HEADER, HOPS_MAX, Passed, written};
use canister_link::dial::web;
use canister_protocol::Uri;
use log::{debug, info, warn};
use smol::Timer;
use smol::channel::{self, Receiver, Sender};
use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Most announcements that wait for one receiver.
const WAITING_MAX: usize = 256;
/// Most Cids that are remembered as passed on.
const PASSED_MAX: usize = 4096;
/// How long to wait after each attempt that failed; after the last it is given up.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];
/// How long an attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// One announcement on its way.
#[derive(Debug, Clone)]
struct Passing {
    body: String,
    hops: u8,
}

/// Who it is passed on to.
#[derive(Default)]
pub struct PassOn {
    queues: Vec<(Sender<Passing>, Receiver<Passing>)>,
    passed: RefCell<PassedOnce>,
}

/// What was passed on lately.
#[derive(Debug, Default)]
struct PassedOnce {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl PassedOnce {
    /// Whether it is the first time.
    fn is_first(&mut self, what: String) -> bool {
        if !self.known.insert(what.clone()) {
            return false;
        }
        self.order.push_back(what);
        if self.order.len() > PASSED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl PassOn {
    /// Passes on to these addresses from now on.
    pub fn start(hub: &Rc<Hub>, to: Vec<String>) -> Self {
        let mut queues = Vec::new();
        for to in to {
            let (sender, receiver) = channel::bounded(WAITING_MAX);
            queues.push((sender, receiver.clone()));
            hub.spawn(send_all(to, receiver));
        }
        Self { queues, passed: RefCell::default() }
    }

    /// Takes an announcement of the sources at these addresses. Without a Cid it isn't passed on: nobody could tell it
    /// from the next.
    pub fn offer(&self, cid: Option<&str>, uris: &[Uri], passed: &Passed) {
        let (Some(cid), [first, ..]) = (cid, uris) else { return };
        if self.queues.is_empty() || passed.hops >= HOPS_MAX {
            return;
        }
        if !self.passed.borrow_mut().is_first(format!("{cid} {first}")) {
            return;
        }
        let body = written(cid, uris, passed.from.as_deref().unwrap_or_default());
        let passing = Passing { body, hops: passed.hops + 1 };
        for (sender, receiver) in &self.queues {
            if sender.is_full() {
                // The newest of a source counts.
                let _ = receiver.try_recv();
            }
            let _ = sender.try_send(passing.clone());
        }
    }
}

/// Sends what comes, one after the other.
async fn send_all(to: String, waiting: Receiver<Passing>) {
    while let Ok(passing) = waiting.recv().await {
        let mut attempts = RETRY_AFTER.iter();
        loop {
            let (to_there, it) = (to.clone(), passing.clone());
            match smol::unblock(move || send(&to_there, &it)).await {
                Ok(204) => debug!(to:%; "passed an announcement on"),
                // It doesn't know the source, or doesn't want to hear of it.
                Ok(status @ 400..=428) => info!(to:%, status; "an announcement isn't wanted there"),
                answer => {
                    let why = answer.map_or_else(|why| why, |status| format!("status {status}"));
                    if let Some(pause) = attempts.next() {
                        Timer::after(*pause).await;
                        continue;
                    }
                    warn!(to:%, why; "couldn't pass an announcement on");
                }
            }
            break;
        }
    }
}

fn send(to: &str, passing: &Passing) -> Result<u16, String> {
    let client = web::client(USER_AGENT, ATTEMPT_MAX, None);
    let sent = client
        .put(to)
        .header("Content-Type", "application/json")
        .header(HOPS_HEADER, passing.hops.to_string())
        .send(passing.body.as_bytes());
    sent.map(|answer| answer.status().as_u16()).map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_on_is_known_until_it_is_long_ago() {
        let mut passed = PassedOnce::default();
        assert!(passed.is_first("a".into()) && !passed.is_first("a".into()));
        for number in 0..PASSED_MAX {
            assert!(passed.is_first(number.to_string()));
        }
        assert_eq!((passed.known.len(), passed.order.len()), (PASSED_MAX, PASSED_MAX));
        assert!(passed.is_first("a".into()));
    }
}
