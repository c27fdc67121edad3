//! A sink whose calls travel over the session and are done by the arbiter.
//!
//! It lives on the lease's thread. What it says goes through a queue to the agent's loop, which
//! owns the session, keeps what is unanswered and says it again after a reconnection; answers come
//! back through a channel of this lease alone. While no arbiter is reachable its calls wait, and
//! end when the agent cancels the lease.

use super::{Sink, SinkError};
use crate::apt::package::BorrowedRow;
use canister_protocol::limits::{DIGESTS_MAX, PRICES_MAX};
use canister_protocol::message::Price;
use canister_protocol::row::{Digest, PackageRow};
use canister_protocol::{PackedRows, ToArbiter, ToPeer, codec};
use smol::channel::{Receiver, Sender};
use std::collections::BTreeSet;

/// Writes under way at once: one is stored by the arbiter while the next is parsed here. More
/// would only cost memory, for the arbiter does one after the other.
const UNANSWERED_MAX: u64 = 2;

/// A [`Sink`] over the session.
#[derive(Debug)]
pub struct Relay {
    lease: u64,
    say: Sender<FromLease>,
    answers: Receiver<ToPeer>,
    /// Rows that aren't put yet.
    filling: PackedRows,
    number: u64,
    answered: u64,
}

/// What a lease's thread tells the agent's loop.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time")]
pub enum FromLease {
    /// To be said to the arbiter.
    Say(ToArbiter),
    /// A [`Put`](ToArbiter::Put) for this lease, as it is sent.
    Put(u64, Vec<u8>),
    /// How rows are written may have changed.
    Writes,
    /// The thread is about to end.
    Ended(u64),
}

impl Relay {
    /// A sink of the lease `lease`: `say` leads to the agent's loop, `answers` comes from it and
    /// is closed by it when the lease is over.
    pub fn new(lease: u64, say: Sender<FromLease>, answers: Receiver<ToPeer>) -> Self {
        Self { lease, say, answers, filling: PackedRows::default(), number: 0, answered: 0 }
    }

    /// Tells the agent's loop something; if it is gone, so is the process.
    pub(super) fn tell(&self, what: FromLease) {
        let _ = self.say.send_blocking(what);
    }

    fn say(&self, message: ToArbiter) -> Result<(), SinkError> {
        self.send(FromLease::Say(message))
    }

    fn send(&self, what: FromLease) -> Result<(), SinkError> {
        self.say.send_blocking(what).map_err(|_| SinkError::Lost)
    }

    /// Puts a row, with others.
    pub(super) fn row<T: AsRef<str>>(&mut self, row: &PackageRow<T>) -> Result<(), SinkError> {
        self.filling.push(row);
        if self.filling.fill_message() { self.put_filling() } else { Ok(()) }
    }

    fn put_filling(&mut self) -> Result<(), SinkError> {
        if self.filling.is_empty() {
            return Ok(());
        }
        self.number += 1;
        let put = codec::put(self.lease, self.number, &mut self.filling);
        self.send(FromLease::Put(self.lease, put))?;
        self.wait_for_room()
    }

    /// Says a numbered write, then waits until no more than `UNANSWERED_MAX - 1` are under way.
    fn write(&mut self, message: impl FnOnce(u64) -> ToArbiter) -> Result<(), SinkError> {
        self.number += 1;
        self.say(message(self.number))?;
        self.wait_for_room()
    }

    fn wait_for_room(&mut self) -> Result<(), SinkError> {
        self.wait_for(self.number.saturating_sub(UNANSWERED_MAX - 1))
    }

    fn wait_for(&mut self, number: u64) -> Result<(), SinkError> {
        while self.answered < number {
            match self.answers.recv_blocking() {
                Ok(ToPeer::Taken { number, .. }) => self.answered = number,
                // The loop passes on only answers to what this lease asked.
                Ok(_) | Err(_) => return Err(SinkError::Lost),
            }
        }
        Ok(())
    }
}

impl Sink for Relay {
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError> {
        self.flush()?;
        let mut known = Vec::new();
        loop {
            let after = known.last().map_or_else(String::new, |last| Digest::join(&[*last]));
            self.say(ToArbiter::Known { lease: self.lease, after })?;
            let Ok(ToPeer::Digests { digests, more, .. }) = self.answers.recv_blocking() else {
                return Err(SinkError::Lost);
            };
            if digests.is_empty() && more {
                // Would ask the same for ever.
                return Err(SinkError::Lost);
            }
            known.extend(digests);
            if !more {
                return Ok(Some(known));
            }
        }
    }

    fn put(&mut self, row: &BorrowedRow<'_>) -> Result<(), SinkError> {
        self.row(row)
    }

    fn dropped(&mut self, digests: &[Digest]) -> Result<(), SinkError> {
        self.put_filling()?;
        let lease = self.lease;
        for page in digests.chunks(DIGESTS_MAX) {
            let digests = page.to_vec();
            self.write(|number| ToArbiter::Dropped { lease, number, digests })?;
        }
        Ok(())
    }

    fn priced(&mut self) -> Result<Option<BTreeSet<String>>, SinkError> {
        self.flush()?;
        let mut priced = BTreeSet::new();
        loop {
            let after = priced.last().cloned().unwrap_or_default();
            self.say(ToArbiter::Priced { lease: self.lease, after })?;
            let Ok(ToPeer::PricedIds { packages, more, .. }) = self.answers.recv_blocking() else {
                return Err(SinkError::Lost);
            };
            if packages.is_empty() && more {
                // Would ask the same for ever.
                return Err(SinkError::Lost);
            }
            priced.extend(packages);
            if !more {
                return Ok(Some(priced));
            }
        }
    }

    fn prices(&mut self, prices: Vec<Price>) -> Result<(), SinkError> {
        let lease = self.lease;
        for page in prices.chunks(PRICES_MAX) {
            let prices = page.to_vec();
            self.write(|number| ToArbiter::Prices { lease, number, prices })?;
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<(), SinkError> {
        self.filling.clear();
        let lease = self.lease;
        self.write(|number| ToArbiter::Discard { lease, number })
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.put_filling()?;
        self.wait_for(self.number)
    }
}
