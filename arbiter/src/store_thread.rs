//! The store behind threads of its own. The store blocks (files, fsync, a server that is away); the
//! loop must not.
//!
//! SQLite has one thread, for it has one writer. PostgreSQL has several, each with a connection, so
//! that one large publication doesn't keep everybody's renewals waiting. Either way a session's
//! messages take effect in the order in which they came, for a session asks for one thing at a
//! time.

use crate::store::{Store, StoreError};
use canister_link::clock;
use log::warn;
use smol::Timer;
use smol::channel::{Receiver, Sender};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Calls that may wait for the store; a session that has one more waits until there is room.
const QUEUE_MAX: usize = 64;
/// How long to wait before a call is made again that failed for the moment.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

type Call = Box<dyn FnOnce(&mut Store) + Send>;

/// A handle to the threads; clones share them.
#[derive(Clone)]
pub struct StoreThread {
    calls: Sender<Call>,
}

impl StoreThread {
    /// Starts a thread for each of `stores`, which are one and the same seen several times. They
    /// end after [`close`](Self::close), each with its store.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(stores: Vec<Store>) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (calls, queue): (_, Receiver<Call>) = smol::channel::bounded(QUEUE_MAX);
        let threads = stores.into_iter().enumerate().map(|(number, mut store)| {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("store-{number}")).spawn(move || {
                while let Ok(call) = queue.recv_blocking() {
                    call(&mut store);
                }
            })
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok((Self { calls }, threads))
    }

    /// Lets the threads end once all calls so far are done; none may be made after it.
    pub fn close(&self) {
        self.calls.close();
    }

    /// Has `call` done by a thread and gives back what it returned.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = smol::channel::bounded(1);
        let call: Call = Box::new(move |store| {
            // Whoever asked may be gone by now.
            let _ = sender.try_send(call(store));
        });
        self.calls.send(call).await.expect("no call is made after close");
        answer.recv().await.expect("the thread does every call, and in release a panic ends all")
    }

    /// As [`call`](Self::call), and makes the call again while it fails for the moment (a full
    /// disk, a server that is away), for at most `longest`. The call must be one that can be
    /// repeated, or a single transaction.
    ///
    /// # Errors
    /// What the last call failed with.
    pub async fn lasting<T: Send + 'static>(
        &self,
        longest: Duration,
        call: impl Fn(&mut Store) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let call = Arc::new(call);
        let since = clock::now();
        loop {
            let once = Arc::clone(&call);
            match self.call(move |store| once(store)).await {
                Err(cause) if cause.is_transient() && clock::now() - since < longest => {
                    warn!(cause:%; "the store failed; trying again");
                    Timer::after(AGAIN_AFTER).await;
                }
                done => return done,
            }
        }
    }
}
