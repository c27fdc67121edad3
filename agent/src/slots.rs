//! The slots: how many leases are at work at once. One that waits for the pause of its server's operator does
//! nothing and has nothing in hand, so its slot is another's meanwhile.

use crate::throttle::SLICE;
use smol::channel::{Receiver, Sender};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// How many leases may be in hand for each slot: so many that what waits keeps no slot idle, and so few
/// that others' is not kept from them.
pub const LEASES_A_SLOT: usize = 8;

/// The slots of all leases.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<SlotsState>,
    given: Condvar,
    /// Whether a lease began to wait for a pause since somebody looked.
    paused: Sender<()>,
}

#[derive(Debug)]
struct SlotsState {
    free: usize,
    /// Leases that wait for a pause.
    pausing: usize,
}

impl Slots {
    /// So many, and what tells that a lease began to wait for a pause.
    pub fn new(free: usize) -> (Arc<Self>, Receiver<()>) {
        let (paused, told) = smol::channel::bounded(1);
        let state = Mutex::new(SlotsState { free, pausing: 0 });
        (Arc::new(Self { state, given: Condvar::new(), paused }), told)
    }

    /// How many leases wait for a pause.
    pub fn pausing(&self) -> usize {
        self.changed(|state| state.pausing)
    }

    // The state is whole after each change, also after one that panicked.
    fn changed<T>(&self, change: impl FnOnce(&mut SlotsState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A lease's claim to one of them; dropped, it is given back.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    has: Cell<bool>,
}

impl Slot {
    /// None of them yet.
    pub const fn of(slots: Arc<Slots>) -> Self {
        Self { slots, has: Cell::new(false) }
    }

    /// Waits until there is one, unless `cancel` is set.
    pub fn take(&self, cancel: &AtomicBool) {
        let mut state = self.slots.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.has.get() && !cancel.load(Ordering::Relaxed) {
            if state.free > 0 {
                state.free -= 1;
                self.has.set(true);
                return;
            }
            let waited = self.slots.given.wait_timeout(state, SLICE);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets others have it while `pause` lasts, and takes one again.
    pub fn without(&self, cancel: &AtomicBool, pause: impl FnOnce()) {
        self.give();
        self.slots.changed(|state| state.pausing += 1);
        // It was told before, and nobody has looked yet.
        let _ = self.slots.paused.try_send(());
        pause();
        self.slots.changed(|state| state.pausing -= 1);
        self.take(cancel);
    }

    fn give(&self) {
        if self.has.take() {
            self.slots.changed(|state| state.free += 1);
            self.slots.given.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lets_others_have_the_slot() {
        let (slots, paused) = Slots::new(1);
        let (first, second) = (Slot::of(Arc::clone(&slots)), Slot::of(Arc::clone(&slots)));
        let (go, over) = (AtomicBool::new(false), AtomicBool::new(true));
        first.take(&go);
        // It isn't there, and who is cancelled doesn't wait.
        second.take(&over);
        assert!(first.has.get() && !second.has.get());
        first.without(&go, || {
            assert_eq!((slots.pausing(), paused.try_recv()), (1, Ok(())));
            second.take(&go);
            assert!(second.has.get());
            drop(second);
        });
        assert!(first.has.get());
        assert_eq!(slots.pausing(), 0);
    }
}
