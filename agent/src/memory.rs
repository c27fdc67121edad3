//! The memory that decoders' windows may take, shared by all leases.
//!
//! A window is known before it is allocated ([`window`](crate::window)); its lease takes that much
//! from the budget first, waits its turn where others hold too much of it, and gives it back when
//! the index is read. Turns are in the order of asking, so a large window isn't overtaken by small
//! ones for ever. What could never fit is refused at once.
//!
//! Windows get three eighths of what the agent may use: by default 96 of 256 MiB, so one of
//! 64 MiB (xz -9) fits and two never live at once. The rest is for what every lease has (a read
//! buffer, a batch of rows, TLS, 16 bytes for each known package), for the batches of all leases that
//! go into the database (2 MiB, and once more that much while they are sent), and for the
//! allocator.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a lease that waits looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// Memory that the agent may use, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mebibytes(u32);

impl Mebibytes {
    /// What volunteers are promised.
    pub const PROMISED: Self = Self(256);
    /// The least with which the windows of `xz -6` and `zstd -19` fit.
    const LEAST: u32 = 32;

    /// The same in bytes.
    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }

    const fn for_windows(self) -> u64 {
        self.bytes() / 8 * 3
    }
}

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Mebibytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match (text.strip_suffix("GiB"), text.strip_suffix("MiB")) {
            (Some(number), _) => (number, 1024),
            (None, number) => (number.unwrap_or(text), 1),
        };
        let number = number.parse().ok().and_then(|number: u32| number.checked_mul(unit));
        let number = number.filter(|number| *number >= Self::LEAST);
        number.map(Self).ok_or_else(|| format!("use {0} or more, as {0} or {0}MiB", Self::LEAST))
    }
}

/// Why there is no room for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// The lease is over.
    Cancelled,
    /// It would not fit if all others were gone.
    TooLarge {
        /// What it needs, in bytes.
        needs: u64,
        /// What there is for all windows, in bytes.
        limit: u64,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the lease is over"),
            Self::TooLarge { needs, limit } => write!(
                f,
                "unpacking needs {needs} bytes of memory, over the {limit} that --memory leaves for it"
            ),
        }
    }
}

impl std::error::Error for MemoryError {}

/// Who holds what and who waits: pure.
#[derive(Debug)]
struct Budget {
    limit: u64,
    taken: u64,
    /// Who waits, in the order of asking.
    waiting: VecDeque<Ticket>,
    next: u64,
}

/// A place among those who wait, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    number: u64,
    bytes: u64,
}

impl Budget {
    const fn new(limit: u64) -> Self {
        Self { limit, taken: 0, waiting: VecDeque::new(), next: 0 }
    }

    /// Takes a place among those who wait; none for what can never fit.
    fn ask(&mut self, bytes: u64) -> Option<Ticket> {
        let number = self.next;
        let ticket = Ticket { number, bytes };
        (bytes <= self.limit).then(|| {
            self.next += 1;
            self.waiting.push_back(ticket);
            ticket
        })
    }

    /// Takes what the ticket is for, if it is its turn and there is room.
    fn take(&mut self, ticket: Ticket) -> bool {
        let is_next = self.waiting.front() == Some(&ticket);
        let is_taken = is_next && ticket.bytes <= self.limit - self.taken;
        if is_taken {
            self.waiting.pop_front();
            self.taken += ticket.bytes;
        }
        is_taken
    }

    /// Waits no more.
    fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiting| *waiting != ticket);
    }

    const fn give_back(&mut self, bytes: u64) {
        self.taken -= bytes;
    }
}

/// The budget of all leases.
#[derive(Debug)]
pub struct Memory {
    budget: Mutex<Budget>,
    /// Something was given back, or somebody's turn came.
    changed: Condvar,
}

/// Room for a window; given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// A budget for an agent that may use this much.
    pub fn new(whole: Mebibytes) -> Self {
        Self { budget: Mutex::new(Budget::new(whole.for_windows())), changed: Condvar::new() }
    }

    /// Takes room for a window of `bytes`, when it is there; gives up soon after `cancel` is set.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn take(self: &Arc<Self>, bytes: u64, cancel: &AtomicBool) -> Result<Room, MemoryError> {
        let mut budget = self.lock();
        let limit = budget.limit;
        let too_large = MemoryError::TooLarge { needs: bytes, limit };
        let ticket = budget.ask(bytes).ok_or(too_large)?;
        while !budget.take(ticket) {
            if cancel.load(Ordering::Relaxed) {
                budget.leave(ticket);
                self.changed.notify_all();
                return Err(MemoryError::Cancelled);
            }
            let waited = self.changed.wait_timeout(budget, LOOK);
            budget = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // The next may fit, too.
        self.changed.notify_all();
        Ok(Room { memory: Arc::clone(self), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        // Each change of the budget is whole, also one before a panic.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// How much it is.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.lock().give_back(self.bytes);
        self.memory.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn what_is_promised_is_read() {
        assert_eq!("32".parse(), Ok(Mebibytes(32)));
        assert_eq!("256".parse(), Ok(Mebibytes::PROMISED));
        for text in ["", "31", "-1", "1G", "4294967296"] {
            assert!(text.parse::<Mebibytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn turns_are_in_the_order_of_asking() {
        let mut budget = Budget::new(Mebibytes::PROMISED.for_windows());
        assert_eq!(budget.ask(97 * MIB), None);
        let large = budget.ask(65 * MIB).unwrap();
        let other = budget.ask(65 * MIB).unwrap();
        let small = budget.ask(MIB).unwrap();
        let gone = budget.ask(MIB).unwrap();
        assert!(!budget.take(other) && !budget.take(small));
        assert!(budget.take(large));
        // Not a second large one beside the first, and nobody overtakes it.
        assert!(!budget.take(other) && !budget.take(small));
        budget.leave(gone);
        budget.give_back(65 * MIB);
        assert!(budget.take(other) && budget.take(small) && !budget.take(gone));
        budget.give_back(66 * MIB);
        assert_eq!((budget.taken, budget.waiting.len()), (0, 0));
    }

    #[test]
    fn a_lease_waits_for_its_turn_and_no_longer_than_it_lives() {
        let memory = Arc::new(Memory::new(Mebibytes::PROMISED));
        let cancel = Arc::new(AtomicBool::new(false));
        let too_large = memory.take(97 * MIB, &cancel).unwrap_err();
        assert!(too_large.to_string().contains("over the 100663296"));
        let first = memory.take(65 * MIB, &cancel).unwrap();
        let waiting = std::thread::spawn({
            let (memory, cancel) = (Arc::clone(&memory), Arc::clone(&cancel));
            move || memory.take(65 * MIB, &cancel)
        });
        let is_asking = || !memory.lock().waiting.is_empty();
        while !is_asking() {
            std::thread::yield_now();
        }
        cancel.store(true, Ordering::Relaxed);
        let ended = waiting.join().unwrap();
        assert_eq!(ended.unwrap_err(), MemoryError::Cancelled);
        assert!(!is_asking());

        let waiting = std::thread::spawn({
            let memory = Arc::clone(&memory);
            move || memory.take(65 * MIB, &AtomicBool::new(false))
        });
        while !is_asking() {
            std::thread::yield_now();
        }
        assert_eq!(memory.lock().taken, 65 * MIB);
        drop(first);
        let second = waiting.join().unwrap().unwrap();
        assert_eq!((second.bytes(), memory.lock().taken), (65 * MIB, 65 * MIB));
        drop(second);
        assert_eq!(memory.lock().taken, 0);
    }
}
