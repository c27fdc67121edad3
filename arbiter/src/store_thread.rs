//! The store behind a thread of its own. The store blocks (files, fsync); the loop must not.
//!
//! One thread means one writer, in the order in which the loop asked: what SQLite wants, and what
//! makes a session's messages take effect in the order in which they came.

use crate::store::Store;
use smol::channel::{Receiver, Sender};
use std::io;
use std::thread::JoinHandle;

/// Calls that may wait for the store; a session that has one more waits until there is room.
const QUEUE_MAX: usize = 64;

type Call = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// A handle to the thread; clones share it.
#[derive(Clone)]
pub struct StoreThread {
    calls: Sender<Call>,
}

impl StoreThread {
    /// Starts the thread. It ends after [`close`](Self::close), with the store.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(store: impl Store + 'static) -> io::Result<(Self, JoinHandle<()>)> {
        let (calls, queue): (_, Receiver<Call>) = smol::channel::bounded(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let mut store = store;
                while let Ok(call) = queue.recv_blocking() {
                    call(&mut store);
                }
            })?;
        Ok((Self { calls }, thread))
    }

    /// Lets the thread end once all calls so far are done; none may be made after it.
    pub fn close(&self) {
        self.calls.close();
    }

    /// Has `call` done by the thread and gives back what it returned.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Store) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = smol::channel::bounded(1);
        let call: Call = Box::new(move |store| {
            // Whoever asked may be gone by now.
            let _ = sender.try_send(call(store));
        });
        self.calls
            .send(call)
            .await
            .expect("no call is made after close");
        answer
            .recv()
            .await
            .expect("the thread does every call, and in release a panic ends all")
    }
}
