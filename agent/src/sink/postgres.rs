//! A sink that puts rows into the database itself, with the peer's certificate, and relays what it
//! can't.
//!
//! Rows are copied out of the reader's buffer into a batch. While one batch is on its way the
//! next fills: it is sent when the answer to the one before has come, so batches are small where
//! the database is near and grow to their limit where it is far. At most two exist.
//!
//! What follows from the rows (digests that were dropped, prices, discarding, finishing) is
//! the session's, as it is for a peer without a database.
//!
//! When the connection fails, what was not acknowledged is put over the session, and so is the
//! rest of the lease: rows that the database took nevertheless are there already then, and are left
//! as they are.

use super::relay::{FromLease, Relay};
use super::{Sink, SinkError};
use crate::apt::package::BorrowedRow;
use crate::database::{CallError, DatabaseAnswer, DatabaseAsked, DatabaseCall, DatabaseThread};
use canister_protocol::Rows;
use canister_protocol::limits::PUT_BYTES;
use canister_protocol::message::Price;
use canister_protocol::row::Digest;
use log::info;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Most bytes of texts in a batch, where few leases are worked on at once.
const BATCH_BYTES: usize = 1024 * 1024;
/// Most bytes of texts in the batches of all leases together; a lease has two.
const ALL_BATCHES_BYTES: usize = 4 * 1024 * 1024;

/// A [`Sink`] into the database.
#[derive(Debug)]
pub struct PostgresSink {
    lease: u64,
    database: Arc<DatabaseThread>,
    relay: Relay,
    cancel: Arc<AtomicBool>,
    is_direct: bool,
    /// Whether rows may still arrive in the database that nobody waits for.
    is_open: bool,
    filling: Rows,
    /// On its way into the database.
    sent: Option<(Arc<Rows>, DatabaseAsked)>,
    batch_bytes: usize,
}

impl PostgresSink {
    /// A sink of the lease `lease`, one of at most `slots`, that relays over `relay` and ends soon
    /// after `cancel` is set.
    pub fn new(
        lease: u64,
        database: Arc<DatabaseThread>,
        relay: Relay,
        cancel: Arc<AtomicBool>,
        slots: usize,
    ) -> Self {
        let share = ALL_BATCHES_BYTES / 2 / slots.max(1);
        Self {
            lease,
            database,
            relay,
            cancel,
            is_direct: false,
            is_open: false,
            filling: Rows::default(),
            sent: None,
            batch_bytes: share.min(BATCH_BYTES),
        }
    }

    /// Tells the arbiter how rows are written, through the agent's loop.
    fn tell(&self) {
        self.relay.tell(FromLease::Writes);
    }

    /// Waits for the batch that is on its way, if there is one.
    fn acknowledged(&mut self) -> Result<(), SinkError> {
        let Some((batch, asked)) = self.sent.take() else {
            return Ok(());
        };
        match self.database.wait(asked, &self.cancel) {
            Ok(DatabaseAnswer::Put { is_open }) => {
                self.is_open |= is_open;
                Ok(())
            }
            Ok(DatabaseAnswer::Known(_) | DatabaseAnswer::Works) => Err(SinkError::Lost),
            Err(CallError::Unusable { is_open }) => {
                self.is_direct = false;
                self.is_open |= is_open;
                self.tell();
                self.relay_rows(&batch)
            }
            Err(cause) => Err(self.lost(&cause)),
        }
    }

    fn lost(&self, cause: &CallError) -> SinkError {
        if let CallError::Lost(why) = cause {
            info!(lease = self.lease, why = why.as_str(); "refused by the database");
        }
        SinkError::Lost
    }

    /// Sends what is filled, behind what is on its way.
    fn send(&mut self) -> Result<(), SinkError> {
        self.acknowledged()?;
        let batch = Arc::new(std::mem::take(&mut self.filling));
        if batch.is_empty() {
            return Ok(());
        }
        if self.is_direct {
            let call = DatabaseCall::Put(self.lease, Arc::clone(&batch));
            if let Some(asked) = self.database.ask(call) {
                self.sent = Some((batch, asked));
                return Ok(());
            }
            self.is_direct = false;
        }
        self.relay_rows(&batch)
    }

    fn relay_rows(&mut self, batch: &Rows) -> Result<(), SinkError> {
        batch.iter().try_for_each(|row| self.relay.row(&row))
    }
}

impl Sink for PostgresSink {
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError> {
        let Some(asked) = self.database.ask(DatabaseCall::Known(self.lease)) else {
            return self.relay.known();
        };
        let answered = self.database.wait(asked, &self.cancel);
        self.tell();
        match answered {
            Ok(DatabaseAnswer::Known(known)) => {
                self.is_direct = true;
                Ok(Some(known))
            }
            Ok(DatabaseAnswer::Put { .. } | DatabaseAnswer::Works)
            | Err(CallError::Unusable { .. }) => self.relay.known(),
            Err(cause) => Err(self.lost(&cause)),
        }
    }

    fn put(&mut self, row: &BorrowedRow<'_>) -> Result<(), SinkError> {
        if !self.is_direct {
            return self.relay.row(row);
        }
        self.filling.push(row);
        let is_near = self.filling.is_full(PUT_BYTES)
            && self.sent.as_mut().is_none_or(|(_, asked)| asked.is_answered());
        if is_near || self.filling.is_full(self.batch_bytes) {
            self.send()?;
        }
        Ok(())
    }

    fn dropped(&mut self, digests: &[Digest]) -> Result<(), SinkError> {
        // The arbiter doesn't wait for what a peer is still doing in the database, and refuses.
        self.send()?;
        self.acknowledged()?;
        self.relay.dropped(digests)
    }

    fn priced(&mut self) -> Result<Option<BTreeSet<String>>, SinkError> {
        self.relay.priced()
    }

    fn prices(&mut self, prices: Vec<Price>) -> Result<(), SinkError> {
        self.relay.prices(prices)
    }

    fn discard(&mut self) -> Result<(), SinkError> {
        self.filling = Rows::default();
        // What is on its way arrives before it is discarded, or is known not to arrive.
        self.acknowledged()?;
        if self.is_open {
            let why = "rows may still arrive that are to be discarded: the connection to the \
                       database broke while they were put";
            return Err(SinkError::Write(std::io::Error::other(why)));
        }
        self.relay.discard()?;
        // What is put next goes another way and must not overtake it.
        self.relay.flush()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.send()?;
        self.acknowledged()?;
        self.relay.flush()
    }
}
